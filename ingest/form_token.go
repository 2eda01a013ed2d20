package ingest

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"net/http"
	"time"
)

const (
	// tokenField says when a form was opened, signed.
	tokenField = "_token"
	// tokenLife is for how long: nobody takes longer to fill in a form.
	tokenLife = 24 * time.Hour
	// clockSkew is how far the clocks of front ends on one Redis may be apart.
	clockSkew = time.Minute
)

// signToken returns what says that a form was opened at a time.
func signToken(secret []byte, form string, at time.Time) string {
	token := binary.BigEndian.AppendUint64(make([]byte, 0, 8+sha256.Size), uint64(at.UnixMilli()))
	return base64.RawURLEncoding.EncodeToString(tokenMAC(token, secret, form))
}

// readToken returns what signToken was given; ok is false when the token is none of the form.
func readToken(secret []byte, form, token string) (at time.Time, ok bool) {
	signed, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil || len(signed) != 8+sha256.Size {
		return time.Time{}, false
	}
	return time.UnixMilli(int64(binary.BigEndian.Uint64(signed))), hmac.Equal(tokenMAC(signed[:8:8], secret, form), signed)
}

// tokenMAC appends to the time of a token what nobody else can.
func tokenMAC(at, secret []byte, form string) []byte {
	mac := hmac.New(sha256.New, secret)
	mac.Write(at) // 8 bytes, so that the rest is the form's name
	mac.Write([]byte(form))
	return mac.Sum(at)
}

// secret returns what tokens are signed with, which all front ends on one Redis share.
func (s *server) secret(r *http.Request) ([]byte, error) {
	if known := s.formSecret.Load(); known != nil {
		return *known, nil
	}
	ctx, cancel := patient(r)
	defer cancel()
	secret, err := s.Store.Secret(ctx, "forms")
	if err == nil {
		s.formSecret.Store(&secret)
	}
	return secret, err
}

// tokenAsked answers GET /f/:form/token. A request without an Origin is one of this server's pages, or of another
// server.
func (s *server) tokenAsked(p *post) {
	if p.r.Header.Get("Origin") != "" && !p.allowed {
		fail(p.w, errOrigin.status, errOrigin.code, errOrigin.message)
		return
	}
	secret, err := s.secret(p.r)
	if err != nil {
		s.unavailable(p.w, err)
		return
	}
	writeJSON(p.w, http.StatusOK, map[string]string{"token": signToken(secret, p.form.Name, s.Store.Now())})
}
