package store

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strconv"

	"github.com/leadrelay/leadrelay/internal/lead"
)

// prefixes are the shards' key prefixes, each with its hash tag.
var prefixes = func() (all [lead.Shards]string) {
	for shard := range all {
		all[shard] = fmt.Sprintf("lr:{%02d}:", shard)
	}
	return
}()

// prefixArgs are the prefixes as arguments of commands.
var prefixArgs = func() (all [lead.Shards]any) {
	for shard, prefix := range prefixes {
		all[shard] = prefix
	}
	return
}()

const (
	gatesKey = "lr:gates"
	clockKey = "lr:clock"
)

func leadKey(prefix, id string) string     { return prefix + "l:" + id }
func syncKey(prefix, id string) string     { return prefix + "s:" + id }
func triedKey(prefix, name string) string  { return prefix + "b:" + name }
func fencesKey(prefix, name string) string { return prefix + "f:" + name }
func dueKey(prefix, name string) string    { return prefix + "d:" + name }
func parkedKey(prefix, name string) string { return prefix + "p:" + name }

func historyKey(prefix string) string { return prefix + "h" }

func submissionKey(prefix, id string) string { return prefix + "q:" + id }

func keysKey(digest string) string { return prefixes[keyShard(digest)] + "keys" }

// digest is a short name for a text that must not itself be stored.
func digest(parts ...string) string {
	text := make([]byte, 0, 512) // on the stack
	for _, part := range parts {
		text = append(append(strconv.AppendInt(text, int64(len(part)), 10), ':'), part...)
	}
	sum := sha256.Sum256(text)
	return base64.RawURLEncoding.EncodeToString(sum[:12])
}

// AddressDigest is the same for two spellings of an address, and tells nothing of it.
func AddressDigest(address string) string { return emailDigest(address) }

func emailDigest(address string) string { return digest(lead.NormalEmail(address)) }

// emailShard is the shard that knows who owns an address.
func emailShard(address string) int { return keyShard(emailDigest(address)) }

// keyShard spreads digests over the shards.
func keyShard(digest string) int {
	sum := sha256.Sum256([]byte(digest))
	return int(sum[0]) % lead.Shards
}
