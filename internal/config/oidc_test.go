package config_test

import (
	"testing"

	"github.com/leadrelay/leadrelay/internal/config"
)

func TestTheIdentityProviderIsReadFromTheFileAndTheEnvironment(t *testing.T) {
	environ(t, "LEADRELAY_OIDC_ISSUER=https://id.example.com", "LEADRELAY_OIDC_CLIENT_ID=console",
		"LEADRELAY_OIDC_CLIENT_SECRET_FILE=testdata/secret.txt", "LEADRELAY_OIDC_UNVERIFIED_EMAIL=true")
	path := write(t, `
oidc:
  issuer: https://elsewhere.example.com
  client_secret: old
  redirect_url: https://leads.example.com/console/openid/callback
  allow:
    - email: anna@example.com
    - domain: example.com
    - subject: "248289761001"
    - {claim: groups, value: operators}
`)
	c := load(t, path)
	equal(t, "oidc", c.OIDC, config.OIDC{
		Issuer: "https://id.example.com", ClientID: "console", ClientSecret: "from-a-file",
		RedirectURL: "https://leads.example.com/console/openid/callback", Scopes: []string{"email"}, UnverifiedEmail: true,
		Allow: []config.Allow{{Email: "anna@example.com"}, {Domain: "example.com"}, {Subject: "248289761001"}, {Claim: "groups", Value: "operators"}},
	})
	equal(t, "secret", c.OIDC.ClientSecret.Reveal(), "from-a-file")
	// What only pushes does not need it, and its secret neither.
	equal(t, "of a worker", load(t, path, config.SkipFrontEnd()).OIDC, config.OIDC{})
}

// On this machine alone the console knows its address.
func TestAnAddressForTheProviderIsNeededBeyondThisMachine(t *testing.T) {
	environ(t)
	const oidc = "oidc: {issuer: 'https://id.example.com', client_id: console, allow: [{email: anna@example.com}]}\n"
	load(t, write(t, oidc))
	load(t, write(t, "listen: '[::1]:8080'\n"+oidc))
	load(t, write(t, "oidc: {issuer: 'http://localhost:5556/dex', client_id: console, redirect_url: 'http://localhost:8080/console/openid/callback', allow: [{email: anna@example.com}]}\n"))
	const needed = "oidc.redirect_url: required where others than this machine reach the console, such as https://leads.example.com/console/openid/callback"
	equal(t, "on all addresses", problems(t, write(t, "listen: ':8080'\n"+oidc)), []string{needed})
	equal(t, "behind a proxy", problems(t, write(t, "trusted_proxies: [10.0.0.0/8]\n"+oidc)), []string{needed})
}
