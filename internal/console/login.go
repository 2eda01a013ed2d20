package console

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"math"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/leadrelay/leadrelay/internal/openid"
	"github.com/leadrelay/leadrelay/internal/store"
)

// How often a client, and anybody under one name, may try to sign in.
const loginBurst = 10

var loginEvery = rate.Every(6 * time.Second)

const (
	sessionCookie = "leadrelay_session"
	loginCookie   = "leadrelay_login" // the token of the login form, which there is no session for
)

// cookie is one of ours. Beyond this machine it is never sent without TLS. On TLS no other host of the domain can have set it
// (https://developer.mozilla.org/docs/Web/HTTP/Reference/Headers/Set-Cookie#cookie_prefixes).
func (v *visit) cookie(name, value string) *http.Cookie {
	c := &http.Cookie{Name: name, Value: value, Path: "/console", HttpOnly: true, SameSite: http.SameSiteStrictMode}
	if v.Secure || v.r.TLS != nil || !openid.IsLocal(v.r.Host) {
		c.Name, c.Path, c.Secure = "__Host-"+name, "/", true
	}
	return c
}

// has returns what the browser holds in a cookie of ours.
func (v *visit) has(name string) string {
	c, err := v.r.Cookie(v.cookie(name, "").Name)
	if err != nil {
		return ""
	}
	return c.Value
}

func (v *visit) forget(name string) {
	c := v.cookie(name, "")
	c.MaxAge = -1
	http.SetCookie(v.w, c)
}

// secret is a new one that cannot be guessed.
func secret() string {
	random := make([]byte, 32)
	rand.Read(random) // never fails, by its contract
	return base64.RawURLEncoding.EncodeToString(random)
}

// same says whether two secrets are one. An empty one is none.
func same(a, b string) bool {
	return a != "" && subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1
}

// loginOf tells one operator's PasswordHash from another.
func loginOf(o Operator) string {
	sum := sha256.Sum256([]byte(o.Name + "\x00" + o.PasswordHash))
	return base64.RawURLEncoding.EncodeToString(sum[:12])
}

// signIn finds out who visits, by the session, and prolongs it.
func (v *visit) signIn() error {
	id := v.has(sessionCookie)
	if id == "" {
		return nil
	}
	session, ok, err := v.Store.Session(v.ctx, id)
	if err != nil || !ok {
		return err
	}
	if !v.counts(session) {
		return v.Store.EndSession(v.ctx, id)
	}
	v.session, v.operator = session, session.Operator
	if v.byItself() {
		return nil // that does not keep its reader signed in
	}
	return v.Store.ProlongSession(v.ctx, id, session)
}

// counts says whether a session's operator may still sign in as they did.
func (s *site) counts(session store.Session) bool {
	if s.OpenID != nil && s.OpenID.Counts(session.Login) {
		return true
	}
	o, ok := s.operators[session.Operator]
	return ok && o.login == session.Login
}

// turnAway sends who is not signed in to the login page.
func (v *visit) turnAway(method string) error {
	if v.byItself() {
		return refusal{http.StatusUnauthorized, "You are not signed in", "Sign in to go on."}
	}
	if method == http.MethodPost {
		v.flash(flash{Bad: true, Text: "You were signed out, so nothing was done. Sign in and try again."})
		return v.goTo("/console/login")
	}
	if uri := v.r.URL.RequestURI(); uri != "/console" {
		return v.goTo("/console/login?next=" + escape(uri))
	}
	return v.goTo("/console/login")
}

// after is where to go once signed in: only to pages of the console.
func after(next string) string {
	if strings.HasPrefix(next, "/console/") && !strings.HasPrefix(next, "/console/log") && !strings.HasPrefix(next, "/console/openid") && !strings.ContainsAny(next, "\\\r\n") {
		return next
	}
	return "/console"
}

// loginForm is what the login page shows.
type loginForm struct {
	Name, Next, Problem string

	Passwords bool
	OpenID    string // the provider; "": there is none
}

func (s *site) loginPage(v *visit) error {
	if err := v.signIn(); err != nil {
		return err
	}
	next := v.r.URL.Query().Get("next")
	if v.operator != "" {
		return v.goTo(after(next))
	}
	return v.showLogin(http.StatusOK, loginForm{Next: next})
}

func (v *visit) showLogin(status int, form loginForm) error {
	token := v.has(loginCookie)
	if token == "" {
		token = secret()
		http.SetCookie(v.w, v.cookie(loginCookie, token))
	}
	v.session.Token = token
	form.Passwords = len(v.operators) > 0
	if v.OpenID != nil {
		form.OpenID = v.OpenID.Host()
	}
	return v.show(status, "login", page{Title: "Sign in", Data: form})
}

var limiting sync.Mutex

func (s *site) login(v *visit) error {
	form := v.r.PostForm
	name, password, next := form.Get("name"), form.Get("password"), form.Get("next")
	if !same(form.Get("token"), v.has(loginCookie)) {
		return v.showLogin(http.StatusForbidden, loginForm{Name: name, Next: next, Problem: "The form was too old, or the browser keeps no cookies: " +
			"beyond this machine it does so on https:// alone. Try again."})
	}
	if wait := s.mayTry(s.clientLimiter(v.r), s.nameLimiter(Operator{Name: name})); wait > 0 {
		return v.tooOften(wait, loginForm{Name: name, Next: next})
	}
	if err := s.hashing.Acquire(v.ctx, 1); err != nil {
		return err
	}
	ok := s.passwordOf(name, password)
	s.hashing.Release(1)
	if !ok {
		if _, known := s.operators[name]; known {
			s.Log.Warn("a login to the console was refused", "operator", name)
		} else {
			s.Log.Warn("a login to the console was refused: there is no such operator") // it may be a password
		}
		return v.showLogin(http.StatusUnauthorized, loginForm{Name: name, Next: next, Problem: "The name or the password is wrong."})
	}
	if err := v.begin(name, s.operators[name].login, ""); err != nil {
		return err
	}
	return v.goTo(after(next))
}

// begin begins an operator's session, in the place of whatever the browser has.
func (v *visit) begin(operator, login, how string) error {
	if old := v.has(sessionCookie); old != "" {
		if err := v.Store.EndSession(v.ctx, old); err != nil {
			return err
		}
	}
	id := secret()
	session := store.Session{Operator: operator, Login: login, Token: secret()}
	v.operator = operator
	err := v.act(store.Act{What: "signed in", Detail: how}, func() error { return v.Store.BeginSession(v.ctx, id, session) })
	if err != nil {
		return err
	}
	v.session = session
	http.SetCookie(v.w, v.cookie(sessionCookie, id))
	v.forget(loginCookie)
	return nil
}

// passwordOf says whether it is the password of an operator. It takes as long for a name that nobody has.
func (s *site) passwordOf(name, password string) bool {
	o, known := s.operators[name]
	if !known {
		o.password = s.nobody
	}
	if o.password == nil {
		return false // nobody has one
	}
	return len(password) <= maxPassword && o.password.matches(password) && known
}

// clientLimiter says how often a client may still try.
func (s *site) clientLimiter(r *http.Request) *rate.Limiter {
	return limiter(s.clients, network(s.Client(r)), &limiting)
}

// nameLimiter says how often anybody may still try as an operator: under a name, where there is no more known of them.
// Whether there is somebody of the name makes no difference.
func (s *site) nameLimiter(o Operator) *rate.Limiter {
	return limiter(s.names, loginOf(o), &limiting)
}

// mayTry is 0 when all of the limiters allow one more attempt to sign in, else how long until they do.
func (s *site) mayTry(limiters ...*rate.Limiter) time.Duration {
	now := s.Now()
	for _, l := range limiters {
		reserved := l.ReserveN(now, 1)
		if wait := reserved.DelayFrom(now); wait > 0 {
			reserved.CancelAt(now)
			return wait
		}
	}
	return 0
}

func (v *visit) tooOften(wait time.Duration, form loginForm) error {
	v.w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(wait.Seconds()))))
	form.Problem = "Too many attempts. Wait a little and try again."
	return v.showLogin(http.StatusTooManyRequests, form)
}

// network is whom a rate counts as one: an address, or of IPv6 the network that a subscriber is given.
func network(client netip.Addr) netip.Prefix {
	bits := client.BitLen()
	if client.Is6() {
		bits = 64
	}
	of, _ := client.Prefix(bits) // none of none
	return of
}

func (s *site) logout(v *visit) error {
	id := v.has(sessionCookie)
	if err := v.act(store.Act{What: "signed out"}, func() error { return s.Store.EndSession(v.ctx, id) }); err != nil {
		return err
	}
	v.forget(sessionCookie)
	v.flash(flash{Text: "You are signed out."})
	return v.goTo("/console/login")
}
