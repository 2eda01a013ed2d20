package openid

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

// Attempt is somebody's who has been sent to the provider. Only their browser may have it, and nobody may read it there.
type Attempt struct {
	Issuer   string `json:"issuer"`
	Redirect string `json:"redirect"`
	State    string `json:"state"`
	Nonce    string `json:"nonce"`
	Verifier string `json:"verifier"`
}

// Why somebody is not signed in, beside ErrAway.
var (
	ErrStranger   = errors.New("the answer is to no attempt of this browser")
	ErrDenied     = errors.New("the provider lets them not in")
	ErrSpent      = errors.New("the provider does not take the code")
	ErrClock      = errors.New("the ID token has expired")
	ErrUntrusted  = errors.New("the ID token cannot be trusted")
	ErrUnverified = errors.New("the e-mail address is not verified")
	ErrNotAllowed = errors.New("nothing in oidc.allow is of them")
)

// Begin returns where the provider asks who somebody is. It sends them back to redirect.
func (p *Provider) Begin(ctx context.Context, redirect string) (at string, a Attempt, err error) {
	known, err := p.endpoints(ctx)
	if err != nil {
		return "", Attempt{}, err
	}
	// Verifiers are 32 random bytes, which is as good for the others.
	a = Attempt{p.Issuer, redirect, oauth2.GenerateVerifier(), oauth2.GenerateVerifier(), oauth2.GenerateVerifier()}
	return p.config(known, redirect).AuthCodeURL(a.State, oidc.Nonce(a.Nonce), oauth2.S256ChallengeOption(a.Verifier)), a, nil
}

func (p *Provider) config(known *endpoints, redirect string) *oauth2.Config {
	return &oauth2.Config{
		ClientID: p.ClientID, ClientSecret: p.ClientSecret, Endpoint: known.Endpoint, RedirectURL: redirect,
		Scopes: append([]string{oidc.ScopeOpenID}, p.Scopes...),
	}
}

// Is says whether what came back is the provider's answer to the attempt.
func (a Attempt) Is(answer url.Values) bool {
	return a.State != "" && subtle.ConstantTimeCompare([]byte(a.State), []byte(answer.Get("state"))) == 1
}

// Finish returns who it is, of whom the provider's answer came back. The attempt is one that was not finished before.
func (p *Provider) Finish(ctx context.Context, a Attempt, answer url.Values) (Person, error) {
	// Another provider's code is not shown to this one (https://www.rfc-editor.org/rfc/rfc9207.html).
	if from := answer.Get("iss"); !a.Is(answer) || a.Issuer != p.Issuer || from != "" && from != p.Issuer {
		return Person{}, ErrStranger
	}
	switch code := answer.Get("error"); {
	case code == "temporarily_unavailable" || code == "server_error":
		return Person{}, fmt.Errorf("%w: it says %s", ErrAway, code)
	case code != "":
		return Person{}, fmt.Errorf("%w: it says %s", ErrDenied, errorCode(code))
	}
	known, err := p.endpoints(ctx)
	if err != nil {
		return Person{}, err
	}
	token, err := p.config(known, a.Redirect).Exchange(p.context(ctx), answer.Get("code"), oauth2.VerifierOption(a.Verifier))
	if err != nil {
		return Person{}, exchangeProblem(err)
	}
	text, ok := token.Extra("id_token").(string)
	if !ok {
		return Person{}, fmt.Errorf("%w: there is none", ErrUntrusted)
	}
	said, err := p.verify(ctx, known, a, text)
	if err != nil {
		return Person{}, err
	}
	person, err := p.recognise(said)
	if errors.Is(err, ErrNotAllowed) && known.UserInfoEndpoint() != "" {
		// Some put less into the ID token than they know (https://openid.net/specs/openid-connect-core-1_0.html#UserInfo).
		if err := p.ask(ctx, known, token, said); err != nil {
			return Person{}, err
		}
		return p.recognise(said)
	}
	return person, err
}

// ask adds what the provider says of somebody when it is asked, and did not in the ID token.
func (p *Provider) ask(ctx context.Context, known *endpoints, token *oauth2.Token, said claims) error {
	info, err := known.UserInfo(p.context(ctx), oauth2.StaticTokenSource(token))
	if err != nil {
		return fmt.Errorf("%w: userinfo endpoint: %s", ErrAway, brief(err))
	}
	if info.Subject != said.text("sub") {
		return fmt.Errorf("%w: its userinfo endpoint answers of somebody else", ErrUntrusted)
	}
	more := claims{}
	if err := info.Claims(&more); err != nil {
		return fmt.Errorf("%w: userinfo endpoint: %s", ErrAway, brief(err))
	}
	for name, value := range more {
		if _, given := said[name]; !given {
			said[name] = value
		}
	}
	return nil
}

// exchangeProblem leaves out what the provider said in its own words.
func exchangeProblem(err error) error {
	var refused *oauth2.RetrieveError
	switch {
	case !errors.As(err, &refused):
		return fmt.Errorf("%w: token endpoint: %s", ErrAway, brief(err))
	case refused.Response.StatusCode >= 500:
		return fmt.Errorf("%w: token endpoint: %s", ErrAway, refused.Response.Status)
	case refused.ErrorCode == "invalid_grant":
		return ErrSpent
	default:
		return fmt.Errorf("%w: token endpoint: %s %s; see that oidc.client_id, client_secret and redirect_url are what the provider has",
			ErrUntrusted, refused.Response.Status, errorCode(refused.ErrorCode))
	}
}

// errorCode is a code of an error as a log may have it.
func errorCode(text string) string {
	if len(text) > 50 || strings.Trim(text, "abcdefghijklmnopqrstuvwxyz_") != "" {
		return "an unusual error"
	}
	return text
}

// verify returns what an ID token says, if it is the provider's, for this client and this attempt, and has not expired.
func (p *Provider) verify(ctx context.Context, known *endpoints, a Attempt, text string) (claims, error) {
	token, err := known.Verifier(&oidc.Config{ClientID: p.ClientID, Now: p.Now}).Verify(ctx, text)
	var expired *oidc.TokenExpiredError
	switch {
	case errors.As(err, &expired):
		return nil, fmt.Errorf("%w: at %s; see that the clocks of this machine and of the provider are right", ErrClock, expired.Expiry.UTC())
	case err != nil && strings.Contains(err.Error(), "fetching keys"): // which has no type
		return nil, fmt.Errorf("%w: keys: %s", ErrAway, brief(err))
	case err != nil:
		return nil, fmt.Errorf("%w: %s", ErrUntrusted, brief(err))
	}
	if token.Subject == "" {
		return nil, fmt.Errorf("%w: it is of nobody", ErrUntrusted)
	}
	if subtle.ConstantTimeCompare([]byte(token.Nonce), []byte(a.Nonce)) != 1 {
		return nil, fmt.Errorf("%w: its nonce is another", ErrUntrusted)
	}
	said := claims{}
	if err := token.Claims(&said); err != nil {
		return nil, fmt.Errorf("%w: %s", ErrUntrusted, brief(err))
	}
	// Whom it was made for, where others may see it, too
	// (https://openid.net/specs/openid-connect-core-1_0.html#IDTokenValidation).
	if by, given := said["azp"]; given && by != p.ClientID || !given && len(token.Audience) > 1 {
		return nil, fmt.Errorf("%w: it was made for another client", ErrUntrusted)
	}
	return said, nil
}
