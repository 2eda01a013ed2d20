package openid

import (
	"errors"
	"strings"
	"testing"
)

// The rest is tested by the console, through its front door; of Google there is no stand-in.
func TestOfGoogleADomainIsAnOrganisations(t *testing.T) {
	p := New(Options{Issuer: google, Allow: []Rule{{Domain: "Example.com"}}})
	for name, c := range map[string]struct {
		said claims
		want error
	}{
		"of the organisation":            {claims{"sub": "1", "email": "anna@example.com", "email_verified": true, "hd": "example.com"}, nil},
		"by its other domain":            {claims{"sub": "1", "email": "anna@example.org", "email_verified": true, "hd": "example.com"}, nil},
		"of another organisation":        {claims{"sub": "1", "email": "anna@example.com", "email_verified": true, "hd": "example.org"}, ErrNotAllowed},
		"of none, with such an address":  {claims{"sub": "1", "email": "anna@example.com", "email_verified": true}, ErrNotAllowed},
		"of it, with nobody's address":   {claims{"sub": "1", "email": "anna@example.com", "hd": "example.com"}, ErrUnverified},
		"of one that is called nothing":  {claims{"sub": "1", "email": "anna@example.com", "email_verified": true, "hd": ""}, ErrNotAllowed},
		"of more than one, which is odd": {claims{"sub": "1", "email": "anna@example.com", "email_verified": true, "hd": []any{"example.com"}}, ErrNotAllowed},
	} {
		if _, err := p.recognise(c.said); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
	}
}

// FuzzClaims: a rule lets nobody in whose claims do not hold its value, however they are nested.
func FuzzClaims(f *testing.F) {
	f.Add("groups", "operators", "groups", "operators")
	f.Add("a.b.c", "x", "a", "x")
	f.Add(".", "", "", "")
	f.Add("a..b", "true", "a.", "true")
	f.Fuzz(func(t *testing.T, claim, value, name, text string) {
		for _, said := range []claims{
			{name: text}, {name: []any{text, 1.0, nil}}, {name: map[string]any{name: text}}, {"a": map[string]any{name: []any{text}}},
		} {
			yes, byEmail := Rule{Claim: claim, Value: value}.allows("https://id.example.com", "", said)
			if yes && (value != text && value != "1" || value == "" || !strings.HasSuffix(claim, name)) || byEmail {
				t.Errorf("%q of %q lets in %v", value, claim, said)
			}
		}
	})
}
