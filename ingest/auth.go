package ingest

import (
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"strings"
)

// Scope is what a key may do.
type Scope int

const (
	CreateOnly Scope = iota // add leads, read nothing
	Full
)

// Key is an API key.
type Key struct {
	Name   string // in logs
	Secret string
	Scope  Scope
}

// keyring knows keys by their digests, so that comparing takes the same time whatever was sent.
type keyring struct {
	digests [][sha256.Size]byte
	keys    []Key
}

func newKeyring(keys []Key) *keyring {
	ring := &keyring{}
	for _, k := range keys {
		ring.digests = append(ring.digests, sha256.Sum256([]byte(k.Secret)))
		k.Secret = ""
		ring.keys = append(ring.keys, k)
	}
	return ring
}

// find returns the key a request carries. A request with two Authorization headers carries none: whoever stands
// between may have judged it by the other one.
func (ring *keyring) find(r *http.Request) (Key, bool) {
	values := r.Header.Values("Authorization")
	if len(values) != 1 {
		return Key{}, false
	}
	scheme, token, _ := strings.Cut(values[0], " ")
	token = strings.TrimLeft(token, " ")
	if token == "" || !strings.EqualFold(scheme, "Bearer") {
		return Key{}, false
	}
	sent := sha256.Sum256([]byte(token))
	found := -1
	for i := range ring.digests {
		if subtle.ConstantTimeCompare(ring.digests[i][:], sent[:]) == 1 {
			found = i
		}
	}
	if found < 0 {
		return Key{}, false
	}
	return ring.keys[found], true
}
