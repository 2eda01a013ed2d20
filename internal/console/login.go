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

	"github.com/leadrelay/leadrelay/internal/store"
)

// How often a client, and anybody under one name, may try to sign in.
const loginBurst = 10

var loginEvery = rate.Every(6 * time.Second)

const (
	sessionCookie = "leadrelay_session"
	loginCookie   = "leadrelay_login" // the token of the login form, which there is no session for
)

// cookie is one of ours. On TLS no other host of the domain can have set it
// (https://developer.mozilla.org/docs/Web/HTTP/Reference/Headers/Set-Cookie#cookie_prefixes).
func (s *site) cookie(name, value string) *http.Cookie {
	c := &http.Cookie{Name: name, Value: value, Path: "/console", HttpOnly: true, SameSite: http.SameSiteStrictMode}
	if s.Secure {
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
	if v.path == "/console/live" {
		return nil // by itself a page does not keep its reader signed in
	}
	return v.Store.ProlongSession(v.ctx, id, session)
}

// counts says whether a session's operator may still sign in as they did.
func (s *site) counts(session store.Session) bool {
	o, ok := s.operators[session.Operator]
	return ok && o.login == session.Login
}

// turnAway sends who is not signed in to the login page.
func (v *visit) turnAway(method string) error {
	if v.path == "/console/live" {
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
	if strings.HasPrefix(next, "/console/") && !strings.HasPrefix(next, "/console/log") && !strings.ContainsAny(next, "\\\r\n") {
		return next
	}
	return "/console"
}

// loginForm is what the login page shows.
type loginForm struct {
	Name, Next, Problem string
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
	return v.show(status, "login", page{Title: "Sign in", Data: form})
}

var limiting sync.Mutex

func (s *site) login(v *visit) error {
	form := v.r.PostForm
	name, password, next := form.Get("name"), form.Get("password"), form.Get("next")
	if !same(form.Get("token"), v.has(loginCookie)) {
		return v.showLogin(http.StatusForbidden, loginForm{name, next, "The form was too old, or the browser keeps no cookies. Try again."})
	}
	if wait := s.mayTry(v.r, name); wait > 0 {
		v.w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(wait.Seconds()))))
		return v.showLogin(http.StatusTooManyRequests, loginForm{name, next, "Too many attempts. Wait a little and try again."})
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
		return v.showLogin(http.StatusUnauthorized, loginForm{name, next, "The name or the password is wrong."})
	}
	if old := v.has(sessionCookie); old != "" {
		if err := s.Store.EndSession(v.ctx, old); err != nil {
			return err
		}
	}
	id := secret()
	session := store.Session{Operator: name, Login: s.operators[name].login, Token: secret()}
	v.operator = name
	err := v.act(store.Act{What: "signed in"}, func() error { return s.Store.BeginSession(v.ctx, id, session) })
	if err != nil {
		return err
	}
	http.SetCookie(v.w, v.cookie(sessionCookie, id))
	v.forget(loginCookie)
	return v.goTo(after(next))
}

// passwordOf says whether it is the password of an operator. It takes as long for a name that nobody has.
func (s *site) passwordOf(name, password string) bool {
	o, known := s.operators[name]
	if !known {
		o.password = s.nobody
	}
	return len(password) <= maxPassword && o.password.matches(password) && known
}

// mayTry is 0 when one more attempt to sign in is allowed, else how long until it is. Whether there is somebody of the
// name makes no difference.
func (s *site) mayTry(r *http.Request, name string) time.Duration {
	now := s.Now()
	for _, l := range []*rate.Limiter{
		limiter(s.clients, network(s.Client(r)), &limiting), limiter(s.names, loginOf(Operator{Name: name}), &limiting),
	} {
		reserved := l.ReserveN(now, 1)
		if wait := reserved.DelayFrom(now); wait > 0 {
			reserved.CancelAt(now)
			return wait
		}
	}
	return 0
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
