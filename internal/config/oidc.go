package config

import (
	"fmt"
	"net"
	"net/url"
	"strings"

	"github.com/leadrelay/leadrelay/connectors"
)

// OIDC is the provider through which operators may sign in to the console. An empty Issuer is none.
type OIDC struct {
	Issuer          string            `mapstructure:"issuer"`
	ClientID        string            `mapstructure:"client_id"`
	ClientSecret    connectors.Secret `mapstructure:"client_secret"` // "": a public client
	RedirectURL     string            `mapstructure:"redirect_url"`  // "": of this machine, as the request has it
	Scopes          []string          `mapstructure:"scopes"`        // beside openid
	Allow           []Allow           `mapstructure:"allow"`         // at least one
	UnverifiedEmail bool              `mapstructure:"unverified_email"`
}

// Allow is who may sign in, by one of Email, Domain, Subject and Claim, which goes with Value.
type Allow struct {
	Email   string `mapstructure:"email"`
	Domain  string `mapstructure:"domain"`
	Subject string `mapstructure:"subject"`
	Claim   string `mapstructure:"claim"`
	Value   string `mapstructure:"value"`
}

// callback is the path where the console takes the provider's answers.
const callback = "/console/openid/callback"

// oidc checks the provider. Whether it is there is not asked.
func (l *loader) oidc(c *Config) {
	o := &c.OIDC
	if o.Issuer == "" {
		if !l.faulty["oidc.issuer"] && (o.ClientID != "" || o.ClientSecret != "" || o.RedirectURL != "") {
			l.problem("", "oidc.issuer: required where the rest of oidc is set")
		}
		return
	}
	if len(o.Scopes) == 0 {
		o.Scopes = []string{"email"}
	}
	if u := secureURL(o.Issuer); u == nil || u.RawQuery != "" {
		l.problem("", "oidc.issuer: must be a URL that begins with https://, or of this machine with http://, such as https://accounts.google.com")
	}
	if o.ClientID == "" {
		l.problem("", "oidc.client_id: required; the provider gives it when leadrelay is registered there")
	}
	listens, _, _ := net.SplitHostPort(c.Listen)
	switch u := secureURL(o.RedirectURL); {
	case o.RedirectURL == "" && (!isLoopback(listens) || len(c.Proxies) > 0):
		l.problem("", "oidc.redirect_url: required where others than this machine reach the console, such as https://leads.example.com%s", callback)
	case o.RedirectURL != "" && (u == nil || u.Path != callback || u.RawQuery != ""):
		l.problem("", "oidc.redirect_url: must be the https:// address of the console and then %s, such as https://leads.example.com%[1]s", callback)
	}
	for i, scope := range o.Scopes {
		if scope == "" || scope == "openid" || strings.ContainsAny(scope, " \t\r\n\"\\") {
			l.problem("", "oidc.scopes[%d]: must be a word other than openid, which is always asked for", i)
		}
	}
	if len(o.Allow) == 0 && !l.faulty["oidc.allow"] {
		l.problem("", "oidc.allow: required, else nobody may sign in; each is an email, domain, subject, or claim and value")
	}
	for i, rule := range o.Allow {
		l.report("", rule.check(fmt.Sprintf("oidc.allow[%d]", i)))
	}
}

func (a Allow) check(place string) error {
	by := 0
	for _, text := range []string{a.Email, a.Domain, a.Subject, a.Claim} {
		if text != "" {
			by++
		}
	}
	switch {
	case by != 1:
		return fmt.Errorf("%s: must have one of email, domain, subject and claim", place)
	case (a.Claim == "") != (a.Value == ""):
		return fmt.Errorf("%s.value: goes with claim, and claim with it", place)
	case a.Email != "" && (strings.Count(a.Email, "@") != 1 || strings.HasPrefix(a.Email, "@") || strings.HasSuffix(a.Email, "@")):
		return fmt.Errorf("%s.email: must be an e-mail address", place)
	case a.Domain != "" && (strings.Contains(a.Domain, "@") || !strings.Contains(a.Domain, ".")):
		return fmt.Errorf("%s.domain: must be like example.com", place)
	}
	return nil
}

// secureURL is a URL by TLS or of this machine, without user and fragment; nil: it is none.
func secureURL(text string) *url.URL {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.User != nil || strings.Contains(text, "#") {
		return nil
	}
	if u.Scheme == "https" || u.Scheme == "http" && isLoopback(u.Hostname()) {
		return u
	}
	return nil
}
