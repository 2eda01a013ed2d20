package sources

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"net/http"
	"strconv"
	"time"

	"github.com/leadrelay/leadrelay/connectors"
)

// request is a POST whose sender is to be verified.
type request struct {
	header http.Header
	body   []byte
	now    time.Time
}

// one returns a header that is given once. Given twice, it is ambiguous: a proxy may have looked at the other.
func (r request) one(name string) (string, bool) {
	values := r.header.Values(name)
	if len(values) != 1 || values[0] == "" {
		return "", false
	}
	return values[0], true
}

// maxKey is how long a sender's id may be before its digest stands for it.
const maxKey = 200

// key is an id as a key, or the digest of the body where there is no id.
func (r request) key(id string) string {
	switch {
	case id == "":
		return digest(r.body)
	case len(id) > maxKey:
		return digest([]byte(id))
	}
	return id
}

// signer signs as a sender does.
type signer struct {
	keys   [][]byte // the present one, and the one before it
	hash   func() hash.Hash
	encode func([]byte) string
}

func hexSigner(keys [][]byte) signer { return signer{keys, sha256.New, hex.EncodeToString} }

func base64Signer(keys [][]byte) signer {
	return signer{keys, sha256.New, base64.StdEncoding.EncodeToString}
}

// signed says whether one of the claims is the signature of parts. Texts are compared, not what they encode, so that
// each signature is written in one way only; the time it takes tells nothing about how near a claim comes.
func (s signer) signed(claims []string, parts ...[]byte) bool {
	equal := 0
	for _, key := range s.keys {
		mac := hmac.New(s.hash, key)
		for _, part := range parts {
			mac.Write(part)
		}
		expected := []byte(s.encode(mac.Sum(nil)))
		for _, claim := range claims {
			equal |= subtle.ConstantTimeCompare(expected, []byte(claim))
		}
	}
	return equal == 1
}

// fresh says ErrStale of a time of signing that is further than tolerance from now.
func (r request) fresh(signed time.Time, tolerance time.Duration) error {
	if age := r.now.Sub(signed); age > tolerance || age < -tolerance {
		return ErrStale
	}
	return nil
}

// unixTime reads a time in whole seconds or milliseconds, which the number of digits tells apart until the year 5138.
func unixTime(text string) (time.Time, bool) {
	n, err := strconv.ParseUint(text, 10, 63)
	switch {
	case err != nil:
		return time.Time{}, false
	case len(text) > 11:
		return time.UnixMilli(int64(n)), true
	}
	return time.Unix(int64(n), 0), true
}

// same compares a text from outside with a secret; neither the time nor the lengths tell anything.
func same(given string, secret connectors.Secret) int {
	a, b := sha256.Sum256([]byte(given)), sha256.Sum256([]byte(secret))
	return subtle.ConstantTimeCompare(a[:], b[:])
}

// Secrets are the settings of whatever signs with a secret.
type Secrets struct {
	// Secret is the one that the sender has.
	Secret connectors.Secret `mapstructure:"secret" required:"true" help:"signs or accompanies each delivery; as the sender has it"`

	// PreviousSecret is believed as well, while the sender changes over.
	PreviousSecret connectors.Secret `mapstructure:"previous_secret" help:"is believed as well, while the sender changes over to a new secret"`
}

// keys returns the secrets as key reads them.
func (s Secrets) keys(key func(connectors.Secret) ([]byte, error)) ([][]byte, error) {
	if s.Secret == "" {
		return nil, errors.New("secret: required, or secret_file: without it anyone could send leads")
	}
	var keys [][]byte
	var problems []error
	for _, secret := range []struct {
		name  string
		value connectors.Secret
	}{{"secret", s.Secret}, {"previous_secret", s.PreviousSecret}} {
		if secret.value == "" {
			continue
		}
		k, err := key(secret.value)
		if err != nil {
			problems = append(problems, fmt.Errorf("%s: %w", secret.name, err))
		}
		keys = append(keys, k)
	}
	return keys, errors.Join(problems...)
}

// asText takes a secret's characters for the key.
func asText(s connectors.Secret) ([]byte, error) { return []byte(s.Reveal()), nil }

func checkTolerance(tolerance time.Duration) error {
	if tolerance <= 0 || tolerance > 24*time.Hour {
		return errors.New(`tolerance: must be above 0 and at most 24h, such as "5m"`)
	}
	return nil
}
