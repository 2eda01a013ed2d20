package console

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"
)

const (
	minPassword = 12
	maxPassword = 1024 // bytes: hashing must not be made to take long
)

// What new hashes cost, as OWASP advises
// (https://cheatsheetseries.owasp.org/cheatsheets/Password_Storage_Cheat_Sheet.html#argon2id).
var newHashes = argon{memory: 19 << 10, times: 2, threads: 1}

// argon is what an argon2id hash costs, its salt and the hash itself.
type argon struct {
	memory, times uint32
	threads       uint8
	salt, hash    []byte
}

var unpadded = base64.RawStdEncoding.Strict()

// HashPassword returns what an operator's PasswordHash may be for a password: argon2id in the PHC format
// (https://github.com/P-H-C/phc-string-format).
func HashPassword(password string) (string, error) {
	switch {
	case len([]rune(password)) < minPassword:
		return "", fmt.Errorf("the password is too short: it must have at least %d characters", minPassword)
	case len(password) > maxPassword:
		return "", fmt.Errorf("the password is too long: it may have at most %d bytes", maxPassword)
	}
	h := newHashes
	h.salt = make([]byte, 16)
	rand.Read(h.salt) // never fails, by its contract
	h.hash = h.of(password, 32)
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, h.memory, h.times, h.threads,
		unpadded.EncodeToString(h.salt), unpadded.EncodeToString(h.hash)), nil
}

func (h argon) of(password string, length int) []byte {
	return argon2.IDKey([]byte(password), h.salt, h.times, h.memory, h.threads, uint32(length))
}

// hashed is a password's hash.
type hashed interface{ matches(password string) bool }

func (h argon) matches(password string) bool {
	return subtle.ConstantTimeCompare(h.of(password, len(h.hash)), h.hash) == 1
}

type bcrypted []byte

func (h bcrypted) matches(password string) bool {
	return bcrypt.CompareHashAndPassword(h, []byte(password)) == nil
}

// The most that a hash may cost: a login holds memory and a processor for as long.
const (
	maxMemory  = 256 << 10 // KiB
	maxTimes   = 16
	maxThreads = 16
	maxBcrypt  = 15
)

var (
	errHash   = errors.New("must be an argon2id or bcrypt hash; `leadrelay password` makes one")
	errCostly = errors.New("a login would cost too much; `leadrelay password` makes a hash that costs less")
)

// parseHash reads a PasswordHash. Errors do not repeat it.
func parseHash(text string) (hashed, error) {
	if !strings.HasPrefix(text, "$argon2id$") {
		cost, err := bcrypt.Cost([]byte(text))
		if err != nil {
			return nil, errHash
		}
		if cost > maxBcrypt {
			return nil, errCostly
		}
		return bcrypted(text), nil
	}
	var h argon
	var version int
	parts := strings.Split(text, "$")
	if len(parts) != 6 {
		return nil, errHash
	}
	if _, err := fmt.Sscanf(parts[2]+" ", "v=%d ", &version); err != nil || version != argon2.Version {
		return nil, errHash
	}
	if _, err := fmt.Sscanf(parts[3]+" ", "m=%d,t=%d,p=%d ", &h.memory, &h.times, &h.threads); err != nil {
		return nil, errHash
	}
	var err, err2 error
	h.salt, err = unpadded.DecodeString(parts[4])
	h.hash, err2 = unpadded.DecodeString(parts[5])
	switch {
	case err != nil || err2 != nil || len(h.salt) < 8 || len(h.hash) < 16 || len(h.hash) > 64 || h.times < 1 || h.threads < 1:
		return nil, errHash
	case h.memory > maxMemory || h.times > maxTimes || h.threads > maxThreads:
		return nil, errCostly
	}
	return h, nil
}
