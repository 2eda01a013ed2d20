package console_test

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/leadrelay/leadrelay/internal/console"
	"github.com/leadrelay/leadrelay/internal/openid"
)

func TestAnAnswerToAnotherAttemptSignsNobodyIn(t *testing.T) {
	const elsewhere = "begun elsewhere"
	w, p := signedInBy(t)

	// Somebody's answer, which another browser is made to open: nobody works in an account that is not theirs.
	victim, attacker := w.browser(), w.browser()
	theirs := p.yes(attacker.toProvider(""))
	refused(t, "a browser that began nothing", victim, victim.come(theirs), http.StatusForbidden, elsewhere)
	mine := p.yes(victim.toProvider(""))
	refused(t, "another's answer", victim, victim.come(theirs), http.StatusForbidden, elsewhere)
	mixed, _ := url.Parse(theirs)
	q, own := mixed.Query(), query(t, w.url+mine)
	q.Set("state", own.Get("state"))
	refused(t, "another's code", w.browser(), w.browser().come("/console/openid/callback?"+q.Encode()), http.StatusForbidden, elsewhere)
	// That does not spoil the attempt that is under way.
	in(t, "the own answer", victim, victim.come(mine), "/console")

	// An answer that was used.
	if a := victim.come(mine); a.status != http.StatusForbidden || !strings.Contains(a.body, elsewhere) {
		t.Errorf("the same once more: %d %s", a.status, a.body)
	}
	b := w.browser()
	path := p.yes(b.toProvider(""))
	kept := b.cookies()
	b.come(path)
	stolen := w.browser()
	stolen.client.Jar.SetCookies(mustURL(w.url), kept)
	if a := stolen.come(path); a.status != http.StatusForbidden || !strings.Contains(a.body, elsewhere) || stolen.session() != nil {
		t.Errorf("once more, with the cookie of before: %d %s", a.status, a.body)
	}

	for name, change := range map[string]func(q url.Values){
		"no state":      func(q url.Values) { q.Del("state") },
		"a wrong state": func(q url.Values) { q.Set("state", "wrong") },
		"of another":    func(q url.Values) { q.Set("iss", "https://evil.example.com") },
	} {
		b := w.browser()
		at, _ := url.Parse(p.yes(b.toProvider("")))
		q := at.Query()
		change(q)
		if a := b.come(at.Path + "?" + q.Encode()); a.status != http.StatusForbidden || !strings.Contains(a.body, elsewhere) || b.session() != nil {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
	}
}

func query(t *testing.T, address string) url.Values {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	return u.Query()
}

func (b *browser) cookies() []*http.Cookie {
	all := b.client.Jar.Cookies(mustURL(b.url))
	for _, c := range all {
		c.Path = "/console"
	}
	return all
}

func TestAnAttemptDoesNotLastForEver(t *testing.T) {
	var now atomic.Int64
	now.Store(time.Now().Unix())
	p := newProvider(t)
	w := newWorld(t, func(_ *world, o *console.Options) {
		o.OpenID = openid.New(p.options(allowAnna))
		o.Now = func() time.Time { return time.Unix(now.Load(), 0) }
	})
	b := w.browser()
	path := p.yes(b.toProvider(""))
	now.Add(601)
	refused(t, "after ten minutes", b, b.come(path), http.StatusForbidden, "took too long")
	in(t, "in time", b, b.through(p, ""), "/console")
}

func TestACodeThatTheProviderDoesNotTakeSignsNobodyIn(t *testing.T) {
	w, p := signedInBy(t)
	used := query(t, w.url+p.yes(w.browser().toProvider(""))).Get("code")
	b := w.browser()
	at, _ := url.Parse(p.yes(b.toProvider("")))
	q := at.Query()
	q.Set("code", used) // another attempt's: its verifier does not fit
	refused(t, "another's code", b, b.come(at.Path+"?"+q.Encode()), http.StatusForbidden, "used already")
	q.Set("code", "made up")
	at, _ = url.Parse(p.yes(b.toProvider("")))
	q.Set("state", at.Query().Get("state"))
	refused(t, "no code of the provider's", b, b.come(at.Path+"?"+q.Encode()), http.StatusForbidden, "used already")
}

func TestAnAttemptDoesNotOutliveItsProvider(t *testing.T) {
	w, p := signedInBy(t)
	other := newProvider(t)
	b := w.browser()
	at, _ := url.Parse(p.yes(b.toProvider("")))
	q := at.Query()
	q.Del("iss") // not all providers say it
	options := w.options
	options.OpenID = openid.New(other.options(allowAnna))
	if err := w.console.Reload(options); err != nil {
		t.Fatal(err)
	}
	refused(t, "another provider", b, b.come(at.Path+"?"+q.Encode()), http.StatusForbidden, "begun elsewhere")
	if n := other.times("/token"); n != 0 {
		t.Errorf("the code was shown to another provider %d times", n)
	}
}

func TestAfterTheProviderThereIsOnlyTheConsole(t *testing.T) {
	for next, want := range map[string]string{
		"/console/audit?skip=100": "/console/audit?skip=100", "https://evil.example.com/": "/console", "//evil.example.com/": "/console",
		"/\\evil.example.com": "/console", "/console/\\evil": "/console", "javascript:alert(1)": "/console", "/console/openid": "/console",
		"/console/openid/callback?x": "/console", "/console/logout": "/console", "/console/x\r\nSet-Cookie: a=b": "/console",
		"/console/" + strings.Repeat("x", 5000): "/console",
	} {
		w, p := signedInBy(t)
		b := w.browser()
		in(t, next, b, b.through(p, next), want)
	}
	w, p := signedInBy(t)
	b := w.browser()
	if a := b.through(p, `/console/audit?"><script>`); a.status != http.StatusOK || strings.Contains(a.body, "audit?\"><script>") {
		t.Errorf("%d %s", a.status, a.body)
	}
}

func TestTheProviderSendsNobodyToAnotherAddress(t *testing.T) {
	w, p := signedInBy(t)
	at := func(host string) answer {
		t.Helper()
		r, _ := http.NewRequest(http.MethodGet, w.url+"/console/openid", nil)
		r.Host = host
		return w.browser().send(r)
	}
	if got := query(t, at("127.0.0.1:8080").to()).Get("redirect_uri"); got != "http://127.0.0.1:8080/console/openid/callback" {
		t.Errorf("on this machine: %s", got)
	}
	for _, host := range []string{"evil.example.com", "localhost.evil.example.com", "127.0.0.1.evil.example.com", "10.0.0.1:8080"} {
		if a := at(host); a.status != http.StatusServiceUnavailable || !strings.Contains(a.body, "oidc.redirect_url") {
			t.Errorf("%s: %d %s", host, a.status, a.to())
		}
	}
	options := w.options
	configured := p.options(allowAnna)
	configured.RedirectURL = "https://leads.example.com/console/openid/callback"
	options.OpenID = openid.New(configured)
	if err := w.console.Reload(options); err != nil {
		t.Fatal(err)
	}
	for _, host := range []string{"leads.example.com", "evil.example.com", "127.0.0.1"} {
		if got := query(t, at(host).to()).Get("redirect_uri"); got != configured.RedirectURL {
			t.Errorf("%s: %s", host, got)
		}
	}
}

func TestNoOtherSiteBeginsToSignIn(t *testing.T) {
	w, p := signedInBy(t)
	b := w.browser()
	path := p.yes(b.toProvider(""))
	for _, site := range []string{"cross-site", "same-site"} {
		b.site = site
		if a := b.get("/console/openid"); a.to() != "/console/login" {
			t.Errorf("%s: sent to %d %s", site, a.status, a.to())
		}
	}
	b.site = "same-origin"
	in(t, "the attempt before", b, b.come(path), "/console")
}

func TestTheAttemptsCookieIsSealedAndShort(t *testing.T) {
	w, p := signedInBy(t)
	a := w.browser().get("/console/openid")
	state, verifier := query(t, a.to()).Get("state"), ""
	for _, c := range (&http.Response{Header: a.header}).Cookies() {
		if c.Name != "leadrelay_attempt" {
			continue
		}
		verifier = c.Value
		if !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.Path != "/console" || c.Domain != "" || c.MaxAge != 600 {
			t.Errorf("it is %+v", c)
		}
		opened, _ := base64.RawURLEncoding.DecodeString(c.Value)
		if strings.Contains(string(opened), "state") || strings.Contains(string(opened), state) {
			t.Errorf("it can be read: %q", opened)
		}
	}
	if verifier == "" {
		t.Fatalf("there is none: %v", a.header)
	}
	// What is sealed for something else is no attempt.
	b := w.browser()
	path := p.yes(b.toProvider(""))
	b.client.Jar.SetCookies(mustURL(w.url), []*http.Cookie{{Name: "leadrelay_attempt", Value: "made up", Path: "/console"}})
	refused(t, "a cookie that is made up", b, b.come(path), http.StatusForbidden, "begun elsewhere")
}

func FuzzCallback(f *testing.F) {
	f.Add("code=1&state=2", "")
	f.Add("error=access_denied&state=", "AAAA")
	f.Add("code=1&state=%00&iss=x&state=3", "!!")
	f.Add("code=%zz", "{}")
	f.Fuzz(func(t *testing.T, query, cookie string) {
		w, _ := signedInBy(t)
		b := w.browser()
		r, err := http.NewRequest(http.MethodGet, w.url+"/console/openid/callback", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.URL.RawQuery = url.PathEscape(query)
		r.AddCookie(&http.Cookie{Name: "leadrelay_attempt", Value: cookie})
		if a := b.send(r); a.status != http.StatusForbidden && a.status != http.StatusTooManyRequests || b.session() != nil {
			t.Errorf("%d %s", a.status, a.body)
		}
	})
}
