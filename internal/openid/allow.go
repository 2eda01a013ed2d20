package openid

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"unicode"
)

// Rule is who may sign in, by one of these.
type Rule struct {
	Email   string
	Domain  string // of the e-mail address; of Google, of the organisation
	Subject string // the provider's own id of somebody
	Claim   string // one of this Value, or with it in a list
	Value   string
}

// Person is one who may sign in.
type Person struct {
	Name  string // the e-mail address, or what says who it is without
	Login string // names the provider and the rule that let them in; no secret
}

const google = "https://accounts.google.com"

// recognise returns who it is whose claims these are, by the first rule that lets them in.
func (p *Provider) recognise(said claims) (Person, error) {
	email, verified := strings.ToLower(said.text("email")), said.is("email_verified", "true") // Amazon Cognito says it in a text
	if _, domain, found := strings.Cut(email, "@"); !found || domain == "" || !isLabel(email) {
		email = ""
	}
	unverified := email != "" && !verified && !p.UnverifiedEmail
	refused := ErrNotAllowed
	for _, rule := range p.Allow {
		allowed, byEmail := rule.allows(p.Issuer, email, said)
		if !allowed {
			continue
		}
		if byEmail && unverified {
			refused = ErrUnverified
			continue
		}
		name := "subject " + said.text("sub")
		if email != "" && !unverified {
			name = email
		}
		if !isLabel(name) {
			return Person{}, fmt.Errorf("%w: its subject is no name", ErrUntrusted)
		}
		return Person{name, p.login(rule)}, nil
	}
	return Person{}, refused
}

// allows says whether the rule is of somebody, and whether it goes by their address.
func (r Rule) allows(issuer, email string, said claims) (yes, byEmail bool) {
	switch {
	case r.Email != "":
		return email == strings.ToLower(r.Email), true
	case r.Domain != "" && issuer == google:
		// An account of nobody's organisation may have any address
		// (https://developers.google.com/identity/openid-connect/openid-connect#an-id-tokens-payload).
		return strings.EqualFold(said.text("hd"), r.Domain), true
	case r.Domain != "":
		return strings.EqualFold(email[strings.LastIndexByte(email, '@')+1:], r.Domain), true
	case r.Subject != "":
		return said.text("sub") == r.Subject, false
	case r.Claim != "":
		return r.Value != "" && said.is(r.Claim, r.Value), false
	}
	return false, false
}

// login names what lets somebody in. It is another when anything of that is.
func (p *Provider) login(r Rule) string {
	text, err := json.Marshal([]any{p.Issuer, p.ClientID, p.ClientSecret, p.UnverifiedEmail, r})
	if err != nil {
		panic(err) // of texts
	}
	sum := sha256.Sum256(text)
	return "oidc " + base64.RawURLEncoding.EncodeToString(sum[:12])
}

// Counts says whether what let somebody in, their Person's Login, still does.
func (p *Provider) Counts(login string) bool {
	return slices.ContainsFunc(p.Allow, func(r Rule) bool { return p.login(r) == login })
}

// isLabel says whether a text can name somebody in a line.
func isLabel(text string) bool {
	return text != "" && len(text) <= 264 && !strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsGraphic(r) })
}
