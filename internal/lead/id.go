package lead

import (
	"crypto/rand"
	"encoding/base32"
	"strings"
	"time"
)

// Shards is how many groups the leads are split into. The first random character of an id names the lead's
// shard, so everything kept of one lead can share a Redis Cluster hash slot, found from the id alone.
// Changing it would orphan every stored lead.
const Shards = 32

const (
	prefix      = "lead_"
	alphabet    = "0123456789abcdefghijklmnopqrstuv" // base32hex in lower case: sorts as the bits do
	timeChars   = 9                                  // 45 bits of Unix milliseconds: until the year 3084
	randomChars = 14                                 // 70 bits; the first 5 are the shard
	idLen       = len(prefix) + timeChars + randomChars
)

var encoding = base32.NewEncoding(alphabet).WithPadding(base32.NoPadding)

// NewID returns an id that sorts by time and cannot be guessed. A shard outside 0..Shards-1 leaves the choice
// to chance.
func NewID(now time.Time, shard int) string {
	var id [idLen]byte
	copy(id[:], prefix)
	ms := uint64(now.UnixMilli())
	for i := timeChars - 1; i >= 0; i-- {
		id[len(prefix)+i] = alphabet[ms&31]
		ms >>= 5
	}
	var random [9]byte
	rand.Read(random[:]) // never fails, by its contract
	var text [15]byte
	encoding.Encode(text[:], random[:])
	copy(id[len(prefix)+timeChars:], text[:randomChars])
	if shard >= 0 && shard < Shards {
		id[len(prefix)+timeChars] = alphabet[shard]
	}
	return string(id[:])
}

// OldestID sorts before every id that is made at a time or later, and after those made before.
func OldestID(at time.Time) string {
	if epoch := time.UnixMilli(0); at.Before(epoch) {
		at = epoch
	}
	id := []byte(NewID(at, 0))
	for i := len(prefix) + timeChars; i < idLen; i++ {
		id[i] = alphabet[0]
	}
	return string(id)
}

// ShardOf returns the shard an id names, and whether it is an id at all.
func ShardOf(id string) (shard int, ok bool) {
	if len(id) != idLen || !strings.HasPrefix(id, prefix) {
		return 0, false
	}
	for i := len(prefix); i < idLen; i++ {
		if strings.IndexByte(alphabet, id[i]) < 0 {
			return 0, false
		}
	}
	return strings.IndexByte(alphabet, id[len(prefix)+timeChars]), true
}

// IDTime returns when an id was made, to the millisecond. The id must be one ShardOf accepts.
func IDTime(id string) time.Time {
	var ms int64
	for i := len(prefix); i < len(prefix)+timeChars; i++ {
		ms = ms<<5 | int64(strings.IndexByte(alphabet, id[i]))
	}
	return time.UnixMilli(ms).UTC()
}
