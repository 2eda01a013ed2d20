package console_test

import (
	"context"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/leadrelay/leadrelay/internal/console"
	"github.com/leadrelay/leadrelay/internal/redistest"
)

// readable are all pages that need no id, actions all that changes something.
var readable = []string{"/console", "/console/leads", "/console/failed", "/console/inbox", "/console/connectors", "/console/catalogue", "/console/history", "/console/audit"}

func actions(id string) []string {
	return []string{
		"/console/leads", "/console/leads/" + id + "/push", "/console/leads/" + id + "/delete", "/console/failed/push",
		"/console/inbox/" + id + "/release", "/console/inbox/" + id + "/drop", "/console/inbox/" + id + "/map", "/console/inbox/many",
		"/console/connectors/crm/pause", "/console/connectors/crm/resume", "/console/logout",
		"/console/connectors/crm", "/console/connectors/crm/remove", "/console/catalogue/list", "/console/history/v0",
	}
}

func TestWhoIsNotSignedInGetsNowhere(t *testing.T) {
	w := newWorld(t, nil)
	l := w.add("Jane Doe", "jane@example.com", "website", nil)
	ended := w.operator()
	kept := *ended.session()
	if said, at := ended.say("/console/logout"); said != "You are signed out." || at != "/console/login" {
		t.Errorf("said %q at %s", said, at)
	}
	stolen := w.browser()
	at, _ := url.Parse(w.url + "/console")
	kept.Path = "/console"
	stolen.client.Jar.SetCookies(at, []*http.Cookie{&kept})
	made := w.browser()
	made.client.Jar.SetCookies(at, []*http.Cookie{{Name: kept.Name, Value: "made-up", Path: "/console"}})
	before := len(w.acts())
	for name, b := range map[string]*browser{"no session": w.browser(), "one that was ended": stolen, "one that is made up": made} {
		for _, path := range append(readable, "/console/leads/"+l.ID, "/console/leads/"+l.ID+"/sends/crm", "/console/leads/"+l.ID+"/delete", "/console/inbox/"+l.ID, "/console/connectors/crm", "/console/connectors/crm/remove", "/console/catalogue/list", "/console/nothing") {
			a := b.get(path)
			if a.status != http.StatusSeeOther || !strings.HasPrefix(a.to(), "/console/login") || strings.Contains(a.body, "jane") {
				t.Errorf("%s: GET %s: %d %s %s", name, path, a.status, a.to(), a.body)
			}
		}
		if a := b.get("/console/live"); a.status != http.StatusUnauthorized {
			t.Errorf("%s: the live overview: %d", name, a.status)
		}
		for _, path := range actions(l.ID) {
			if a := b.do(http.MethodPost, path, url.Values{"token": {"any"}, "connector": {"crm"}}); a.status != http.StatusSeeOther || a.to() != "/console/login" {
				t.Errorf("%s: POST %s: %d %s", name, path, a.status, a.to())
			}
		}
	}
	if _, err := w.store.Get(context.Background(), l.ID); err != nil {
		t.Error(err)
	}
	if got := w.acts(); len(got) != before {
		t.Errorf("the trail is %q", got)
	}
	if gates, err := w.store.Gates(context.Background()); err != nil || len(gates) != 0 {
		t.Errorf("gates %v, %v", gates, err)
	}
}

func TestAFormNeedsItsTokenAndItsOrigin(t *testing.T) {
	w := newWorld(t, nil)
	l := w.add("Jane Doe", "jane@example.com", "website", nil)
	b, other := w.operator(), w.operator()
	right := b.token("/console")
	before := len(w.acts())
	for _, c := range []struct {
		name, token, site, origin string
	}{
		{"no token", "", "same-origin", w.url},
		{"a wrong token", "wrong", "same-origin", w.url},
		{"another session's token", other.token("/console"), "same-origin", w.url},
		{"another site", right, "cross-site", "https://evil.example.com"},
		{"another origin of the site", right, "same-site", "https://shop.example.com"},
		{"another origin, of an old browser", right, "", "https://evil.example.com"},
		{"a sandboxed frame, of an old browser", right, "", "null"},
	} {
		b.site, b.origin = c.site, c.origin
		for _, path := range actions(l.ID) {
			if a := b.do(http.MethodPost, path, url.Values{"token": {c.token}, "connector": {"crm"}, "q": {"jane@example.com"}}); a.status != http.StatusForbidden {
				t.Errorf("%s: POST %s: %d %s", c.name, path, a.status, a.to())
			}
		}
	}
	if got := w.acts(); len(got) != before {
		t.Errorf("the trail is %q", got)
	}
	if _, err := w.store.Get(context.Background(), l.ID); err != nil {
		t.Error(err)
	}
	b.site, b.origin = "same-origin", w.url
	if a := b.post("/console/connectors/crm/pause"); a.status != http.StatusSeeOther {
		t.Errorf("the right form: %d %s", a.status, a.body)
	}

	stranger := w.browser()
	stranger.page("/console/login")
	for _, token := range []string{"", "wrong", right} {
		a := stranger.do(http.MethodPost, "/console/login", url.Values{"token": {token}, "name": {"olga"}, "password": {password}})
		if a.status != http.StatusForbidden || stranger.session() != nil {
			t.Errorf("a login with token %q: %d", token, a.status)
		}
	}
	stranger.site, stranger.origin = "cross-site", "https://evil.example.com"
	if a := stranger.login("olga", password); a.status != http.StatusForbidden || stranger.session() != nil {
		t.Errorf("a login from elsewhere: %d", a.status)
	}
}

func TestSessionsAreSharedAndStoredAsDigestsAndEnd(t *testing.T) {
	w := newWorld(t, nil)
	ctx := context.Background()
	b := w.operator()
	cookie := b.session()
	keys := w.redis.Keys(t, "lr:session:*")
	if len(keys) != 1 || strings.Contains(keys[0], cookie.Value) || strings.Contains(w.redis.Client.Get(ctx, keys[0]).Val(), cookie.Value) {
		t.Fatalf("the sessions are at %q", keys)
	}
	if len(cookie.Value) < 40 {
		t.Errorf("the session %q can be guessed", cookie.Value)
	}
	if ttl := w.redis.Client.TTL(ctx, keys[0]).Val(); ttl <= 59*time.Minute || ttl > time.Hour {
		t.Errorf("idle it lasts for %s, want an hour", ttl)
	}

	// Another process knows it, and may be the one that ends it.
	options := w.options
	options.Store = w.process("crm", "newsletter")
	_, there := w.serve(options)
	b.url, b.origin = there, there
	b.client.Jar.SetCookies(mustURL(there), []*http.Cookie{{Name: cookie.Name, Value: cookie.Value, Path: "/console"}})
	b.page("/console")

	// Use prolongs it.
	if err := w.redis.Client.PExpire(ctx, keys[0], time.Minute).Err(); err != nil {
		t.Fatal(err)
	}
	b.page("/console")
	if ttl := w.redis.Client.TTL(ctx, keys[0]).Val(); ttl <= 59*time.Minute {
		t.Errorf("in use it lasts for %s", ttl)
	}
	b.say("/console/logout")
	first := w.browser()
	first.client.Jar.SetCookies(mustURL(w.url), []*http.Cookie{{Name: cookie.Name, Value: cookie.Value, Path: "/console"}})
	if a := first.get("/console"); a.status != http.StatusSeeOther {
		t.Errorf("a session that another process ended: %d", a.status)
	}

	// An hour passes: Redis forgets it.
	b = w.operator()
	for _, key := range w.redis.Keys(t, "lr:session:*") {
		w.redis.Client.PExpire(ctx, key, time.Millisecond)
	}
	if !redistest.Within(10*time.Second, func() bool { return len(w.redis.Keys(t, "lr:session:*")) == 0 }) {
		t.Fatal("the sessions do not end")
	}
	if a := b.get("/console"); a.status != http.StatusSeeOther {
		t.Errorf("a session that lapsed: %d", a.status)
	}
	// Signing in anew ends the session before.
	b = w.operator()
	if b.session() == nil || len(w.redis.Keys(t, "lr:session:*")) != 1 {
		t.Fatal("not one session")
	}
	// A login page is not shown to who is signed in, and where they wanted to go is kept.
	if a := b.get("/console/login?next=/console/audit"); a.status != http.StatusSeeOther || a.to() != "/console/audit" {
		t.Errorf("%d %s", a.status, a.to())
	}
}

func mustURL(text string) *url.URL {
	u, err := url.Parse(text + "/console")
	if err != nil {
		panic(err)
	}
	return u
}

func TestAfterTheLoginThereIsOnlyTheConsole(t *testing.T) {
	w := newWorld(t, nil)
	for next, want := range map[string]string{
		"/console/audit?skip=100": "/console/audit?skip=100", "": "/console", "https://evil.example.com/": "/console",
		"//evil.example.com/": "/console", "/\\evil.example.com": "/console", "/console/\\evil": "/console", "/consoles": "/console",
		"/console/logout": "/console", "javascript:alert(1)": "/console", "/console/x\r\nSet-Cookie: a=b": "/console",
	} {
		if a := w.browser().login("olga", password, "next", next); a.status == http.StatusTooManyRequests {
			w = newWorld(t, nil)
		} else if a.to() != want {
			t.Errorf("after %q: %d %s, want %s", next, a.status, a.to(), want)
		}
	}
	a := w.browser().get("/console/leads?source=a%26b")
	if a.to() != "/console/login?next=%2Fconsole%2Fleads%3Fsource%3Da%2526b" {
		t.Errorf("sent to %s", a.to())
	}
}

func TestTheCookieIsBoundToTheOriginAndToTLS(t *testing.T) {
	w := newWorld(t, nil)
	find := func(a answer, name string) *http.Cookie {
		t.Helper()
		for _, c := range (&http.Response{Header: a.header}).Cookies() {
			if c.Name == name {
				return c
			}
		}
		t.Fatalf("no cookie %s in %v", name, a.header)
		return nil
	}
	c := find(w.browser().login("olga", password), "leadrelay_session")
	if !c.HttpOnly || c.Secure || c.SameSite != http.SameSiteStrictMode || c.Path != "/console" || c.Domain != "" || c.MaxAge != 0 || !c.Expires.IsZero() {
		t.Errorf("without TLS it is %+v", c)
	}
	options := w.options
	options.Secure = true
	_, there := w.serve(options)
	b := w.browserAt(there)
	form := b.get("/console/login")
	l := find(form, "__Host-leadrelay_login")
	b.client.Jar = nil // it would keep a secure cookie from what is no TLS
	r, _ := http.NewRequest(http.MethodPost, there+"/console/login", strings.NewReader(url.Values{
		"token": {tokenPattern.FindStringSubmatch(form.body)[1]}, "name": {"olga"}, "password": {password},
	}.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.AddCookie(&http.Cookie{Name: l.Name, Value: l.Value})
	response, err := b.client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	c = find(answer{header: response.Header}, "__Host-leadrelay_session")
	if !c.HttpOnly || !c.Secure || c.SameSite != http.SameSiteStrictMode || c.Path != "/" || c.Domain != "" {
		t.Errorf("with TLS it is %+v", c)
	}
}

func TestAnOperatorWhoIsGoneIsSignedOut(t *testing.T) {
	w := newWorld(t, func(_ *world, o *console.Options) {
		o.Operators = append(o.Operators, console.Operator{Name: "otto", PasswordHash: hashOf()})
	})
	olga, otto := w.operator(), w.browser()
	otto.login("otto", password)
	olga.page("/console")
	otto.page("/console")
	options := w.options
	options.Operators = options.Operators[:1]
	if err := w.console.Reload(options); err != nil {
		t.Fatal(err)
	}
	olga.page("/console")
	if a := otto.get("/console"); a.status != http.StatusSeeOther {
		t.Errorf("otto is still there: %d", a.status)
	}
	// A password that was replaced signs out, too, and one who is back has to sign in.
	another, err := console.HashPassword("another password")
	if err != nil {
		t.Fatal(err)
	}
	options.Operators = []console.Operator{{Name: "olga", PasswordHash: another}, {Name: "otto", PasswordHash: hashOf()}}
	if err := w.console.Reload(options); err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string]*browser{"olga": olga, "otto": otto} {
		if a := b.get("/console"); a.status != http.StatusSeeOther {
			t.Errorf("%s is still there: %d", name, a.status)
		}
	}
	// What cannot be taken over leaves all as it is.
	if err := w.console.Reload(console.Options{Store: w.store, Operators: []console.Operator{{Name: "eve", PasswordHash: "secret"}}}); err == nil || strings.Contains(err.Error(), "secret") || !strings.Contains(err.Error(), "eve") {
		t.Errorf("got %v", err)
	}
	if a := w.browser().login("olga", "another password"); a.status != http.StatusSeeOther {
		t.Errorf("the new password: %d", a.status)
	}
	// Without operators there is nothing.
	options.Operators = nil
	if err := w.console.Reload(options); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/console", "/console/login", "/console/style.css", "/console/live"} {
		if a := w.browser().get(path); a.status != http.StatusNotFound {
			t.Errorf("%s: %d", path, a.status)
		}
	}
}

// An unknown name takes the same path as a wrong password: the hash is computed, and the answer is the same.
func TestNobodyLearnsWhoTheOperatorsAre(t *testing.T) {
	w := newWorld(t, nil)
	b := w.browser()
	known, unknown := b.login("olga", "wrong password"), b.login("nobody@example.com", "wrong password")
	same := strings.ReplaceAll(unknown.body, "nobody@example.com", "olga")
	if known.status != http.StatusUnauthorized || unknown.status != http.StatusUnauthorized || same != known.body {
		t.Errorf("a known name: %d, an unknown one: %d\n%s\n%s", known.status, unknown.status, known.body, same)
	}
	// Even the password of the operator whose hash is compared does not let an unknown name in.
	if a := b.login("nobody@example.com", password); a.status != http.StatusUnauthorized {
		t.Errorf("nobody is let in: %d", a.status)
	}
	if log := w.logs.String(); !strings.Contains(log, "operator=olga") || strings.Contains(log, "nobody") || strings.Contains(log, "wrong password") {
		t.Errorf("the log says %s", log)
	}
	if got := w.acts(); len(got) != 0 {
		t.Errorf("strangers write into the trail: %q", got)
	}
}

func TestLoginsAreLimitedByClientAndByName(t *testing.T) {
	var client atomic.Value
	client.Store(netip.MustParseAddr("192.0.2.1"))
	var now atomic.Int64
	now.Store(time.Now().Unix())
	w := newWorld(t, func(_ *world, o *console.Options) {
		o.Client = func(*http.Request) netip.Addr { return client.Load().(netip.Addr) }
		o.Now = func() time.Time { return time.Unix(now.Load(), 0) }
	})
	b := w.browser()
	const burst = 10
	for i := range burst {
		if a := b.login("nobody"+string(rune('a'+i)), "wrong"); a.status != http.StatusUnauthorized {
			t.Fatalf("attempt %d: %d", i, a.status)
		}
	}
	a := b.login("olga", password)
	if a.status != http.StatusTooManyRequests || a.header.Get("Retry-After") != "6" || b.session() != nil {
		t.Errorf("one client's further attempt: %d, Retry-After %q", a.status, a.header.Get("Retry-After"))
	}
	// Another client is not held up, until the name was tried too often.
	for i := range burst {
		client.Store(netip.AddrFrom4([4]byte{192, 0, 2, byte(10 + i)}))
		if a := b.login("olga", "wrong"); a.status != http.StatusUnauthorized {
			t.Fatalf("attempt %d of another client: %d", i, a.status)
		}
	}
	client.Store(netip.MustParseAddr("192.0.2.99"))
	if a := b.login("olga", password); a.status != http.StatusTooManyRequests {
		t.Errorf("a further attempt on the name: %d", a.status)
	}
	if a := b.login("otto", password); a.status != http.StatusUnauthorized {
		t.Errorf("another name: %d", a.status)
	}
	// A subscriber's addresses of IPv6 are one client.
	for i := range burst + 1 {
		client.Store(netip.AddrFrom16([16]byte{0x20, 0x01, 0xd, 0xb8, 15: byte(i)}))
		a = b.login("somebody"+string(rune('a'+i)), "wrong")
	}
	if a.status != http.StatusTooManyRequests {
		t.Errorf("many addresses of one network: %d", a.status)
	}
	now.Add(6)
	client.Store(netip.MustParseAddr("192.0.2.100"))
	if a := b.login("olga", password); a.status != http.StatusSeeOther {
		t.Errorf("after the wait: %d", a.status)
	}
}

func TestPasswords(t *testing.T) {
	for _, bad := range []string{"", "short", strings.Repeat("x", 1025)} {
		if _, err := console.HashPassword(bad); err == nil {
			t.Errorf("a password of %d bytes is taken", len(bad))
		}
	}
	one, err := console.HashPassword("a password of mine")
	if err != nil || !strings.HasPrefix(one, "$argon2id$v=19$m=") {
		t.Fatalf("got %q, %v", one, err)
	}
	if two, _ := console.HashPassword("a password of mine"); one == two {
		t.Error("two hashes of one password are the same")
	}
	crypted, err := bcrypt.GenerateFromPassword([]byte("a password of mine"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	for name, hash := range map[string]string{
		"argon2id": one, "bcrypt": string(crypted),
	} {
		w := newWorld(t, func(_ *world, o *console.Options) {
			o.Operators = []console.Operator{{Name: "olga", PasswordHash: hash}}
		})
		b := w.browser()
		if a := b.login("olga", "a password of min"); a.status != http.StatusUnauthorized {
			t.Errorf("%s: a wrong password: %d", name, a.status)
		}
		if a := b.login("olga", strings.Repeat("x", 2000)); a.status != http.StatusUnauthorized {
			t.Errorf("%s: a long password: %d", name, a.status)
		}
		if a := b.login("olga", "a password of mine"); a.status != http.StatusSeeOther {
			t.Errorf("%s: the password: %d", name, a.status)
		}
	}
	for _, hash := range []string{
		"", "plain text", "$2a$31$" + strings.Repeat("x", 53), "$argon2i$v=19$m=64,t=1,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNoaGFzaA",
		"$argon2id$v=16$m=64,t=1,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNoaGFzaA", "$argon2id$v=19$m=64,t=1,p=1$c2FsdHNhbHQ$",
		"$argon2id$v=19$m=64,t=0,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNoaGFzaA", "$argon2id$v=19$m=64,t=1,p=1$$aGFzaGhhc2hoYXNoaGFzaA",
		"$argon2id$v=19$m=999999999,t=1,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNoaGFzaA", "$argon2id$v=19$m=64,t=1000,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNoaGFzaA",
		"$argon2id$v=19$m=64,t=1,p=1,x=2$c2FsdHNhbHQ$aGFzaGhhc2hoYXNoaGFzaA",
	} {
		_, err := console.New(console.Options{Operators: []console.Operator{{Name: "olga", PasswordHash: hash}}})
		if err == nil || !strings.Contains(err.Error(), "olga") || !strings.Contains(err.Error(), "leadrelay password") || hash != "" && strings.Contains(err.Error(), hash) {
			t.Errorf("%q: got %v", hash, err)
		}
	}
}

func TestWhatIsNotThereAndWhatCannotBeDone(t *testing.T) {
	w := newWorld(t, nil)
	l := w.add("Jane Doe", "jane@example.com", "website", nil)
	b := w.operator()
	for _, path := range append(readable, "/console/leads/"+l.ID, "/console/login", "/console/style.css", "/console/live") {
		if a := b.do(http.MethodHead, path, nil); path != "/console/login" && a.status != http.StatusOK || a.body != "" {
			t.Errorf("HEAD %s: %d %q", path, a.status, a.body)
		}
	}
	for path, allow := range map[string]string{
		"/console": "GET, HEAD", "/console/leads": "GET, HEAD, POST", "/console/logout": "POST", "/console/style.css": "GET, HEAD",
		"/console/leads/" + l.ID + "/push": "POST",
	} {
		a := b.do(http.MethodDelete, path, nil)
		if a.status != http.StatusMethodNotAllowed || a.header.Get("Allow") != allow || !strings.Contains(a.body, "<h1>") {
			t.Errorf("DELETE %s: %d, allowed are %q", path, a.status, a.header.Get("Allow"))
		}
	}
	for _, path := range []string{
		"/console/nothing", "/console/leads/nothing", "/console/leads/lead_0000000000000000000000000", "/console/inbox/nothing",
		"/console/connectors/none", "/console/connectors/none/remove", "/console/catalogue/none", "/console/history/none",
		"/console/leads/nothing/delete", "/console/inbox/nothing/drop", "/console/leads?found=made-up", "/console/leads/" + l.ID + "/nothing",
	} {
		if a := b.get(path); a.status != http.StatusNotFound || !strings.Contains(a.body, "<h1>") || !strings.Contains(a.body, "Sign out") {
			t.Errorf("GET %s: %d %s", path, a.status, a.body)
		}
	}
	for _, path := range []string{
		"/console/connectors/none/pause", "/console/connectors/none/resume", "/console/leads/nothing/push", "/console/leads/nothing/delete",
		"/console/inbox/nothing/release", "/console/inbox/nothing/drop", "/console/failed/push",
		"/console/connectors/none", "/console/connectors/none/remove", "/console/catalogue/none", "/console/history/none",
	} {
		if a := b.post(path); a.status != http.StatusNotFound {
			t.Errorf("POST %s: %d", path, a.status)
		}
	}
	if a := b.post("/console/leads/"+l.ID+"/push", "connector", "none"); a.status != http.StatusNotFound {
		t.Errorf("pushed to no connector: %d", a.status)
	}
	if a := b.do(http.MethodPost, "/console/logout", url.Values{"token": {strings.Repeat("x", 1<<20)}}); a.status != http.StatusBadRequest {
		t.Errorf("a form of a megabyte: %d", a.status)
	}
	if got := w.acts(); len(got) != 1 {
		t.Errorf("the trail is %q", got)
	}
	if a := b.get("/console/"); a.status != http.StatusSeeOther || a.to() != "/console" {
		t.Errorf("/console/: %d %s", a.status, a.to())
	}
}

func TestHeadersAndFiles(t *testing.T) {
	w := newWorld(t, nil)
	b := w.operator()
	for _, path := range append(readable, "/console/login", "/console/nothing", "/console/style.css") {
		header := b.get(path).header
		policy := header.Get("Content-Security-Policy")
		for _, directive := range []string{
			"default-src 'none'", "script-src 'self'", "style-src 'self'", "connect-src 'self'", "img-src 'self' data:", "form-action 'self'",
			"base-uri 'none'", "frame-ancestors 'none'",
		} {
			if !strings.Contains(policy, directive) {
				t.Errorf("%s: the policy is %q", path, policy)
			}
		}
		if header.Get("X-Content-Type-Options") != "nosniff" || header.Get("Referrer-Policy") != "same-origin" {
			t.Errorf("%s: %v", path, header)
		}
		if want := "no-store"; path != "/console/style.css" && header.Get("Cache-Control") != want {
			t.Errorf("%s: Cache-Control %q", path, header.Get("Cache-Control"))
		}
	}
	for _, path := range []string{"/console/style.css", "/console/script.js", "/console/icon.svg"} {
		a := w.browser().get(path)
		r, _ := http.NewRequest(http.MethodGet, w.url+path, nil)
		r.Header.Set("If-None-Match", a.header.Get("ETag"))
		again, err := b.client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		again.Body.Close()
		if a.status != http.StatusOK || a.header.Get("ETag") == "" || again.StatusCode != http.StatusNotModified {
			t.Errorf("%s: %d, ETag %q, then %d", path, a.status, a.header.Get("ETag"), again.StatusCode)
		}
	}
}

func TestWhileRedisIsAwayThePageSaysSo(t *testing.T) {
	alone := redistest.StartAlone(t)
	w := newWorldOn(t, alone, nil)
	b := w.operator()
	b.page("/console")
	alone.Kill()
	a := b.get("/console")
	if a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") == "" || !strings.Contains(a.body, "Redis") {
		t.Errorf("%d %s", a.status, a.body)
	}
	alone.Restart(t)
	if !redistest.Within(time.Minute, func() bool { return b.get("/console").status == http.StatusOK }) {
		t.Error("the console does not come back")
	}
}
