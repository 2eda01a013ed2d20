package console_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/leadrelay/leadrelay/internal/console"
	"github.com/leadrelay/leadrelay/internal/openid"
)

func TestAProviderThatIsAwayLeavesPasswordsAsTheyAre(t *testing.T) {
	const away = "localhost does not answer"
	for name, badly := range map[string]func(w http.ResponseWriter, r *http.Request) bool{
		"errors": func(w http.ResponseWriter, _ *http.Request) bool {
			http.Error(w, "of anna@example.com", http.StatusBadGateway)
			return true
		},
		"no JSON":  func(w http.ResponseWriter, _ *http.Request) bool { w.Write([]byte("<html>")); return true },
		"too much": func(w http.ResponseWriter, _ *http.Request) bool { w.Write(make([]byte, 2<<20)); return true },
		"another": func(w http.ResponseWriter, _ *http.Request) bool {
			reply(w, http.StatusOK, map[string]any{"issuer": "https://evil.example.com"})
			return true
		},
		"a secret in the clear": func(w http.ResponseWriter, r *http.Request) bool {
			reply(w, http.StatusOK, map[string]any{"issuer": "http://" + r.Host, "authorization_endpoint": "https://id.example.com/", "token_endpoint": "http://id.example.com/", "jwks_uri": "https://id.example.com/"})
			return true
		},
		"a redirect": func(w http.ResponseWriter, r *http.Request) bool {
			http.Redirect(w, r, "https://evil.example.com/", http.StatusFound)
			return true
		},
		"silence": nil,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, p := signedInBy(t)
			badly := badly
			if badly == nil {
				badly = p.silent
			}
			p.behave(func() { p.answer = badly })
			b := w.browser()
			r, _ := http.NewRequest(http.MethodGet, w.url+"/console/openid?next=/console/audit", nil)
			var a answer
			came := make(chan error, 1)
			go func() {
				var err error
				a, err = b.try(r)
				came <- err
			}()
			if w.operator().session() == nil { // meanwhile
				t.Error("olga is not let in")
			}
			if err := <-came; err != nil {
				t.Fatal(err)
			}
			refused(t, name, b, a, http.StatusServiceUnavailable, away)
			if a.header.Get("Retry-After") == "" || !strings.Contains(a.body, "audit") {
				t.Errorf("Retry-After %q, and the page is %s", a.header.Get("Retry-After"), a.body)
			}
			// It is back, and needs no restart; then it goes in the middle.
			p.behave(func() { p.answer = nil })
			path := p.yes(b.toProvider(""))
			p.behave(func() {
				p.answer = func(w http.ResponseWriter, r *http.Request) bool { return r.URL.Path == "/token" && badly(w, r) }
			})
			if a := b.come(path); a.status == http.StatusOK || b.session() != nil {
				t.Errorf("without a token: %d %s", a.status, a.body)
			}
			p.behave(func() {
				p.answer = func(w http.ResponseWriter, r *http.Request) bool { return r.URL.Path == "/keys" && badly(w, r) }
			})
			if a := b.through(p, ""); a.status == http.StatusOK || b.session() != nil {
				t.Errorf("without its keys: %d %s", a.status, a.body)
			}
			p.behave(func() { p.answer = nil })
			in(t, "at last", b, b.through(p, ""), "/console")
		})
	}
}

func TestASessionEndsWhenWhatLetItsOperatorInChanges(t *testing.T) {
	operators := openid.Rule{Claim: "groups", Value: "operators"}
	for name, c := range map[string]struct {
		change func(o *openid.Options)
		stays  bool
	}{
		"nothing":            {func(*openid.Options) {}, true},
		"another is allowed": {func(o *openid.Options) { o.Allow = append([]openid.Rule{operators}, o.Allow...) }, true},
		"the scopes":         {func(o *openid.Options) { o.Scopes = []string{"email", "groups"} }, true},
		"the rule":           {func(o *openid.Options) { o.Allow = []openid.Rule{operators} }, false},
		"the secret":         {func(o *openid.Options) { o.ClientSecret = "another" }, false},
		"the client":         {func(o *openid.Options) { o.ClientID = "another" }, false},
		"the issuer":         {func(o *openid.Options) { o.Issuer = "https://id.example.com" }, false},
		"unverified":         {func(o *openid.Options) { o.UnverifiedEmail = true }, false},
	} {
		w, p := signedInBy(t)
		b, olga := w.browser(), w.operator()
		in(t, name, b, b.through(p, ""), "/console")
		options := w.options
		changed := p.options(allowAnna)
		c.change(&changed)
		options.OpenID = openid.New(changed)
		if err := w.console.Reload(options); err != nil {
			t.Fatal(err)
		}
		if a := b.get("/console"); (a.status == http.StatusOK) != c.stays {
			t.Errorf("%s: %d", name, a.status)
		}
		olga.page("/console")
		// Without a provider its pages are none, and its sessions end.
		options.OpenID = nil
		if err := w.console.Reload(options); err != nil {
			t.Fatal(err)
		}
		if a := b.get("/console"); a.status != http.StatusSeeOther {
			t.Errorf("%s: without the provider: %d", name, a.status)
		}
		for _, path := range []string{"/console/openid", "/console/openid/callback?code=1&state=2"} {
			if a := b.get(path); a.status != http.StatusNotFound {
				t.Errorf("%s: %d", path, a.status)
			}
		}
	}
}

func TestWithoutPasswordsThereIsTheProviderAlone(t *testing.T) {
	p := newProvider(t)
	w := newWorld(t, func(_ *world, o *console.Options) { o.Operators, o.OpenID = nil, openid.New(p.options(allowAnna)) })
	b := w.browser()
	page := b.get("/console/login")
	if page.status != http.StatusOK || strings.Contains(page.body, `type="password"`) || !strings.Contains(page.body, `href="/console/openid"`) {
		t.Errorf("the login page is %d %s", page.status, page.body)
	}
	token := ""
	for _, c := range (&http.Response{Header: page.header}).Cookies() {
		token = c.Value
	}
	for _, name := range []string{"", "olga", "anna@example.com"} {
		a := b.do(http.MethodPost, "/console/login", url.Values{"token": {token}, "name": {name}, "password": {password}})
		refused(t, "a password of "+name, b, a, http.StatusUnauthorized, "wrong")
	}
	in(t, "the provider", b, b.through(p, ""), "/console")
}

func TestSignInsThroughTheProviderAreLimitedByClientAndByName(t *testing.T) {
	var client atomic.Value
	client.Store(netip.MustParseAddr("192.0.2.1"))
	var now atomic.Int64
	now.Store(time.Now().Unix())
	p := newProvider(t)
	w := newWorld(t, func(_ *world, o *console.Options) {
		o.OpenID = openid.New(p.options(allowAnna))
		o.Client = func(*http.Request) netip.Addr { return client.Load().(netip.Addr) }
		o.Now = func() time.Time { return time.Unix(now.Load(), 0) }
	})
	const burst = 10
	b := w.browser()
	for i := range burst {
		if a := b.come("/console/openid/callback?code=1&state=2"); a.status != http.StatusForbidden {
			t.Fatalf("attempt %d: %d", i, a.status)
		}
	}
	tokens := p.times("/token")
	if a := b.through(p, ""); a.status != http.StatusTooManyRequests || a.header.Get("Retry-After") != "6" || b.session() != nil || p.times("/token") != tokens {
		t.Errorf("one client's further attempt: %d", a.status)
	}
	if a := b.login("olga", password); a.status != http.StatusTooManyRequests {
		t.Errorf("one client's password after it: %d", a.status)
	}
	// Nobody's guesses at passwords keep her out; too many of her own sign-ins do.
	for i := range burst + 1 {
		client.Store(netip.AddrFrom4([4]byte{192, 0, 2, byte(10 + i)}))
		b.login("anna@example.com", "wrong")
	}
	for i := range burst {
		client.Store(netip.AddrFrom4([4]byte{192, 0, 2, byte(50 + i)}))
		if a := w.browser().through(p, ""); a.status != http.StatusOK {
			t.Fatalf("sign-in %d: %d", i, a.status)
		}
	}
	client.Store(netip.MustParseAddr("192.0.2.99"))
	if a := w.browser().through(p, ""); a.status != http.StatusTooManyRequests {
		t.Errorf("a further sign-in of hers: %d", a.status)
	}
	now.Add(6)
	in(t, "after the wait", b, b.through(p, ""), "/console")
}

func TestASessionInUseEndsAfterHalfADay(t *testing.T) {
	w, p := signedInBy(t)
	ctx := context.Background()
	b := w.browser()
	in(t, "at first", b, b.through(p, ""), "/console")
	key := w.redis.Keys(t, "lr:session:*")[0]
	began := func(ago time.Duration) {
		t.Helper()
		var session map[string]any
		if err := json.Unmarshal([]byte(w.redis.Client.Get(ctx, key).Val()), &session); err != nil {
			t.Fatal(err)
		}
		session["began"] = w.store.Now().Add(-ago).UTC()
		text, _ := json.Marshal(session)
		if err := w.redis.Client.SetArgs(ctx, key, text, redis.SetArgs{KeepTTL: true}).Err(); err != nil {
			t.Fatal(err)
		}
	}
	began(11*time.Hour + 50*time.Minute)
	b.page("/console")
	if left := w.redis.Client.TTL(ctx, key).Val(); left > 10*time.Minute {
		t.Errorf("it lasts for %s beyond its half day", left)
	}
	began(12 * time.Hour)
	if a := b.get("/console"); a.status != http.StatusSeeOther {
		t.Errorf("after half a day: %d", a.status)
	}
}

func TestBeyondThisMachineNoCookieIsSentWithoutTLS(t *testing.T) {
	w, _ := signedInBy(t)
	for host, local := range map[string]bool{
		"localhost": true, "127.0.0.1:8080": true, "[::1]:8080": true,
		"leads.example.com": false, "10.0.0.1:8080": false, "localhost.example.com": false,
	} {
		for _, path := range []string{"/console/login", "/console/openid"} {
			r, _ := http.NewRequest(http.MethodGet, w.url+path, nil)
			r.Host = host
			a := w.browser().send(r)
			cookies := (&http.Response{Header: a.header}).Cookies()
			if len(cookies) == 0 {
				t.Fatalf("%s at %s sets no cookie", path, host)
			}
			for _, c := range cookies {
				if c.Secure == local || strings.HasPrefix(c.Name, "__Host-") == local || !c.HttpOnly || c.Domain != "" || !local && c.Path != "/" {
					t.Errorf("%s at %s: %+v", path, host, c)
				}
			}
		}
	}
}
