package console

import (
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/leadrelay/leadrelay/internal/openid"
)

const (
	openIDPath = "/console/openid"

	// OpenIDCallback is where the provider sends people back to.
	OpenIDCallback = "/console/openid/callback"

	// openIDTimeout bounds what a page waits for the provider: where it is, a token, its keys.
	openIDTimeout = 3 * openid.Timeout

	attemptCookie = "leadrelay_attempt"
	// attemptLife is how long somebody may take at the provider.
	attemptLife = 10 * time.Minute
	maxNext     = 1024 // bytes: browsers keep no cookie of more than 4096
)

// attempt is what the browser of who was sent to the provider holds, sealed.
type attempt struct {
	openid.Attempt
	Next  string    `json:"next"`
	Until time.Time `json:"until"`
}

// beginOpenID sends who wants to sign in to the provider.
func (s *site) beginOpenID(v *visit) error {
	next := v.r.URL.Query().Get("next")
	if len(next) > maxNext {
		next = ""
	}
	if s.OpenID == nil {
		return notFound
	}
	if from := v.r.Header.Get("Sec-Fetch-Site"); from == "cross-site" || from == "same-site" {
		return v.goTo("/console/login") // another origin does not begin it
	}
	if err := v.signIn(); err != nil {
		return err
	}
	if v.operator != "" {
		return v.goTo(after(next))
	}
	redirect, ok := v.callback()
	if !ok {
		s.Log.Warn("a sign-in through the provider cannot begin: set oidc.redirect_url to the address of the console that operators use, and then " + OpenIDCallback)
		return v.showLogin(http.StatusServiceUnavailable, loginForm{Next: next, Problem: "This console does not know its own address. Whoever runs leadrelay has to set oidc.redirect_url."})
	}
	at, begun, err := s.OpenID.Begin(v.ctx, redirect)
	if err != nil {
		return v.refuseOpenID(next, err)
	}
	text, err := json.Marshal(attempt{begun, next, s.Now().Add(attemptLife)})
	if err != nil {
		return err
	}
	sealed, err := v.seal("attempt", string(text))
	if err != nil {
		return err
	}
	c := v.cookie(attemptCookie, sealed)
	c.SameSite = http.SameSiteLaxMode // the answer comes from the provider's site
	c.MaxAge = int(attemptLife.Seconds())
	http.SetCookie(v.w, c)
	return v.goTo(at)
}

// callback is where the provider sends people back to. What a request says of the address counts on this machine alone.
func (v *visit) callback() (redirect string, ok bool) {
	scheme := "http://"
	if v.r.TLS != nil {
		scheme = "https://"
	}
	switch {
	case v.OpenID.RedirectURL != "":
		return v.OpenID.RedirectURL, true
	case openid.IsLocal(v.r.Host):
		return scheme + v.r.Host + OpenIDCallback, true
	}
	return "", false
}

// finishOpenID signs in whom the provider sends back, if it knows them and they may. Each attempt counts once, and in the
// browser that began it.
func (s *site) finishOpenID(v *visit) error {
	if s.OpenID == nil {
		return notFound
	}
	answer := v.r.URL.Query()
	a := v.attempt()
	if wait := s.mayTry(s.clientLimiter(v.r)); wait > 0 {
		return v.tooOften(wait, loginForm{Next: a.Next})
	}
	if !a.Is(answer) || s.Now().After(a.Until) {
		return v.refuseOpenID(a.Next, openid.ErrStranger)
	}
	v.forget(attemptCookie)
	first, err := s.Store.UseOnce(v.ctx, a.State, attemptLife)
	if err != nil {
		return err
	}
	if !first {
		return v.refuseOpenID(a.Next, openid.ErrStranger)
	}
	person, err := s.OpenID.Finish(v.ctx, a.Attempt, answer)
	if err != nil {
		return v.refuseOpenID(a.Next, err)
	}
	if wait := s.mayTry(s.nameLimiter(Operator{person.Name, person.Login})); wait > 0 { // no stranger's passwords use this up
		return v.tooOften(wait, loginForm{Next: a.Next})
	}
	if err := v.begin(person.Name, person.Login, "through "+s.OpenID.Host()); err != nil {
		return err
	}
	// This page was asked for by the provider's, so neither it nor what it redirects to gets the session's cookie: a page of
	// ours has to ask (https://developer.mozilla.org/docs/Web/HTTP/Reference/Headers/Set-Cookie#samesitesamesite-value).
	return v.show(http.StatusOK, "signedin", page{Title: "Signed in", Data: after(a.Next)})
}

// attempt is what the browser holds of one; it is empty where there is none.
func (v *visit) attempt() (a attempt) {
	text, ok := v.unseal("attempt", v.has(attemptCookie))
	if !ok || json.Unmarshal([]byte(text), &a) != nil {
		return attempt{}
	}
	return a
}

// refuseOpenID shows the login page to whom the provider did not get in, with the reason in their words. The log has it
// in ours.
func (v *visit) refuseOpenID(next string, err error) error {
	if gone := v.r.Context().Err(); gone != nil {
		return gone // nobody waits for the provider any more
	}
	var known bool
	form := loginForm{Next: next}
	status := http.StatusForbidden
	host := v.OpenID.Host()
	for _, why := range []struct {
		is      error
		problem string
	}{
		{openid.ErrStranger, "This sign-in was begun elsewhere, was used already, or took too long. Try again from this page."},
		{openid.ErrDenied, host + " did not let you in. Try again, or ask whoever looks after accounts there."},
		{openid.ErrSpent, host + " says that this sign-in was used already or took too long. Try again."},
		{openid.ErrClock, "What " + host + " answered is too old already: a clock is wrong. Tell whoever runs leadrelay."},
		{openid.ErrUntrusted, "What " + host + " answered cannot be trusted, so you are not signed in. The log of leadrelay says why."},
		{openid.ErrUnverified, host + " does not say that your e-mail address is verified. Have it verified there and try again."},
		{openid.ErrNotAllowed, host + " knows you, but you may not sign in here. Whoever runs leadrelay can add you to oidc.allow."},
		{openid.ErrAway, host + " does not answer. Try again in a moment."},
	} {
		if errors.Is(err, why.is) {
			form.Problem, known = why.problem, true
			break
		}
	}
	if !known {
		return err
	}
	if errors.Is(err, openid.ErrAway) {
		status = http.StatusServiceUnavailable
		v.w.Header().Set("Retry-After", "5")
	}
	v.Log.Warn("a sign-in through the provider was refused", "reason", err)
	return v.showLogin(status, form)
}
