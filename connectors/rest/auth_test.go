package rest

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/leadrelay/leadrelay/connectors"
	"github.com/leadrelay/leadrelay/internal/lead"
)

func TestRequestsSignIn(t *testing.T) {
	for auth, want := range map[string]func(http.Header, string) bool{
		`{bearer: "{{ settings.token }}"}`:                        func(h http.Header, _ string) bool { return h.Get("Authorization") == "Bearer s3cret" },
		`{basic: {user: me, password: "{{ settings.token }}"}}`:   func(h http.Header, _ string) bool { return h.Get("Authorization") == "Basic bWU6czNjcmV0" },
		`{header: {name: X-Key, value: "{{ settings.token }}"}}`:  func(h http.Header, _ string) bool { return h.Get("X-Key") == "s3cret" },
		`{query: {name: api_key, value: "{{ settings.token }}"}}`: func(_ http.Header, uri string) bool { return strings.HasSuffix(uri, "?api_key=s3cret") },
	} {
		v := newVendor(t, says{status: 200, body: `{"id":1}`})
		c := open(t, v, strings.Replace(least, "verbs:", "auth: "+auth+"\nheaders: {x-version: \"7\"}\nverbs:", 1), map[string]any{"token": "s3cret"})
		if _, err := push(c, lead.Create, "1", ""); err != nil {
			t.Fatal(err)
		}
		if asked := v.got()[0]; !want(v.headers[0], asked) || v.headers[0].Get("X-Version") != "7" {
			t.Errorf("%s: asked %s with %v", auth, asked, v.headers[0])
		}
	}
}

// office gives access tokens and has an API that takes them.
type office struct {
	*httptest.Server
	mu      sync.Mutex
	forms   []url.Values
	valid   map[string]bool
	refuse  int  // the status of a refusal; 0: tokens are given
	rotates bool // refresh tokens are good for one time
	refresh string
	lives   int // seconds
	calls   int
}

func newOffice(t testing.TB) *office {
	o := &office{valid: map[string]bool{}, refresh: "r0", lives: 3600}
	o.Server = httptest.NewServer(o)
	t.Cleanup(o.Close)
	return o
}

func (o *office) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	o.mu.Lock()
	defer o.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	if r.URL.Path == "/token" {
		r.ParseForm()
		o.forms = append(o.forms, r.PostForm)
		given := r.PostForm.Get("refresh_token")
		if o.refuse != 0 || given != "" && given != o.refresh {
			w.WriteHeader(max(o.refuse, 400))
			fmt.Fprintf(w, `{"error":"invalid_grant","error_description":"no %s %s"}`, r.PostForm.Get("client_secret"), given)
			return
		}
		token := fmt.Sprintf("token-%d", len(o.forms))
		o.valid[token] = true
		rotated := ""
		if o.rotates {
			o.refresh = fmt.Sprintf("r%d", len(o.forms))
			rotated = fmt.Sprintf(`,"refresh_token":%q`, o.refresh)
		}
		fmt.Fprintf(w, `{"access_token":%q,"token_type":"Bearer","expires_in":%d%s}`, token, o.lives, rotated)
		return
	}
	o.calls++
	if !o.valid[strings.TrimPrefix(r.Header.Get("Authorization"), "Acme-token ")] {
		w.WriteHeader(401)
		fmt.Fprintf(w, `{"message":"%s is over"}`, r.Header.Get("Authorization"))
		return
	}
	fmt.Fprint(w, `{"id":1}`)
}

func (o *office) revoke() {
	o.mu.Lock()
	defer o.mu.Unlock()
	clear(o.valid)
}

// signedIn opens n connectors of one account, as n workers would.
func signedIn(t *testing.T, o *office, grant string, n int) (all []connectors.Connector) {
	source := strings.Replace(least, "verbs:", `auth: {oauth2: {token_url: "{{ settings.base_url }}/token", client_id: me, client_secret: "{{ settings.token }}", scheme: Acme-token, `+grant+"}}\nverbs:", 1)
	for range n {
		all = append(all, open(t, &vendor{url: o.URL}, source, map[string]any{"token": "s3cret-" + t.Name()}))
	}
	return all
}

func creates(t *testing.T, c connectors.Connector) {
	t.Helper()
	if _, err := push(c, lead.Create, "1", ""); err != nil {
		t.Error(err)
	}
}

func TestAnAccessTokenIsGotOnceForAllWorkers(t *testing.T) {
	o := newOffice(t)
	all := signedIn(t, o, "grant: client_credentials, scopes: [a, b]", 3)
	var group sync.WaitGroup
	for _, c := range all {
		group.Go(func() { creates(t, c) })
		group.Go(func() { creates(t, c) })
	}
	group.Wait()
	if len(o.forms) != 1 || o.forms[0].Get("grant_type") != "client_credentials" || o.forms[0].Get("scope") != "a b" {
		t.Errorf("tokens were asked for by %v", o.forms)
	}
}

func TestAnAccessTokenThatIsRefusedIsReplacedOnce(t *testing.T) {
	o := newOffice(t)
	c := signedIn(t, o, "grant: client_credentials", 1)[0]
	creates(t, c)
	o.revoke()
	creates(t, c)
	if len(o.forms) != 2 {
		t.Errorf("%d tokens were got, want 2", len(o.forms))
	}
	o.revoke()
	o.refuse = 401
	_, err := push(c, lead.Create, "1", "")
	wantFault(t, err, connectors.Setup, "acme: create: access token: 401")
	if strings.Contains(err.Error(), "s3cret") {
		t.Error(err)
	}
}

func TestATokenThatIsNeverGoodEnoughIsASetupFault(t *testing.T) {
	o := newOffice(t)
	source := strings.Replace(least, "verbs:", `auth: {oauth2: {token_url: "{{ settings.base_url }}/token", grant: client_credentials, client_secret: any, scheme: Wrong}}`+"\nverbs:", 1)
	c := open(t, &vendor{url: o.URL}, source, map[string]any{"token": t.Name()})
	_, err := push(c, lead.Create, "1", "")
	wantFault(t, err, connectors.Setup, "401")
	if o.calls != 3 || strings.Contains(err.Error(), "token-") {
		t.Errorf("%d calls: %v", o.calls, err)
	}
}

func TestATokenIsReplacedBeforeItsEnd(t *testing.T) {
	o := newOffice(t)
	o.lives = 20 // less than what is kept in hand
	c := signedIn(t, o, "grant: client_credentials", 1)[0]
	creates(t, c)
	creates(t, c)
	if len(o.forms) != 2 {
		t.Errorf("%d tokens were got, want 2", len(o.forms))
	}
}

func TestARefreshTokenThatIsReplacedIsKeptForAllWorkers(t *testing.T) {
	o := newOffice(t)
	o.rotates = true
	all := signedIn(t, o, "grant: refresh_token, refresh_token: r0", 2)
	creates(t, all[0])
	o.revoke()
	creates(t, all[1])
	o.revoke()
	creates(t, all[0])
	var used []string
	for _, form := range o.forms {
		used = append(used, form.Get("refresh_token"))
	}
	if strings.Join(used, " ") != "r0 r1 r2" {
		t.Errorf("the refresh tokens used are %v", used)
	}
}

func TestAJWTSignsIn(t *testing.T) {
	o := newOffice(t)
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	text := string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}))
	source := strings.Replace(least, "verbs:", `auth: {oauth2: {token_url: "{{ settings.base_url }}/token", grant: jwt_bearer, client_id: me, subject: you, audience: them, private_key: "{{ settings.token }}", scheme: Acme-token}}`+"\nverbs:", 1)
	creates(t, open(t, &vendor{url: o.URL}, source, map[string]any{"token": text}))
	if o.forms[0].Get("grant_type") != "urn:ietf:params:oauth:grant-type:jwt-bearer" || strings.Count(o.forms[0].Get("assertion"), ".") != 2 {
		t.Errorf("asked with %v", o.forms[0])
	}
	recipe, _ := Parse("acme.yaml", []byte(source))
	if _, err := recipe.Kind().Open(map[string]any{"token": "s3cret", "base_url": o.URL}, connectors.Env{}); err == nil || !strings.Contains(err.Error(), "is not PEM") || strings.Contains(err.Error(), "s3cret") {
		t.Errorf("got %v", err)
	}
}

// host is a worker with a memory and a purse.
type host struct {
	memory
	mu    sync.Mutex
	spent []int
	broke bool
	until time.Time
}

type memory map[string]string

func (h *host) Spend(_ context.Context, cost int) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.broke {
		return &connectors.Error{Fault: connectors.Throttled, NotSent: true, Err: fmt.Errorf("the limit is reached")}
	}
	h.spent = append(h.spent, cost)
	return nil
}

func (h *host) HoldCalls(_ context.Context, until time.Time) { h.until = until }
func (h *host) Memory() connectors.Memory                    { return h.memory }

func (m memory) Load(_ context.Context, key string) (string, bool, error) {
	value, ok := m[key]
	return value, ok, nil
}

func (m memory) Save(_ context.Context, key, value string, _ time.Duration) error {
	m[key] = value
	return nil
}

func (m memory) Lock(context.Context, string) (func(), error) { return func() {}, nil }

func TestP7WhatIsKeptOfATokenCannotBeReadWithoutTheSecret(t *testing.T) {
	o := newOffice(t)
	o.rotates = true
	h := &host{memory: memory{}}
	ctx := connectors.WithHost(t.Context(), h)
	c := signedIn(t, o, "grant: refresh_token, refresh_token: r0", 1)[0]
	if _, err := c.Push(ctx, change(lead.Create, person("1")), ""); err != nil {
		t.Fatal(err)
	}
	if len(h.memory) != 1 {
		t.Fatalf("kept %v", h.memory)
	}
	for key, value := range h.memory {
		if strings.Contains(key+value, "token-1") || strings.Contains(key+value, "s3cret") {
			t.Errorf("kept %s: %s", key, value)
		}
		h.memory[key] = value[:10] + "AAAA" + value[14:] // spoilt
	}
	o.refresh = "r0"
	other := signedIn(t, o, "grant: refresh_token, refresh_token: r0", 1)[0]
	if _, err := other.Push(ctx, change(lead.Create, person("1")), ""); err != nil {
		t.Errorf("a memory that cannot be read: %v", err)
	}
}

func TestP6EachRequestIsSpentAndNothingIsSentWithoutLeave(t *testing.T) {
	source := strings.Replace(least, "POST /people, ref", "POST /people, cost: 5, ref", 1)
	source = strings.Replace(source, "verbs:", `errors: [{status: 409, exists: error.id}]
limits:
  rates: [{calls: 10, per: 1s}, {cost: 1000, per: 24h}]
  remaining: header["x-remaining"]
  limit: header["x-limit"]
  reset: header["x-reset"]
verbs:`, 1)
	v := newVendor(t, says{status: 409, body: `{"id":4}`, header: map[string]string{"X-Remaining": "31", "X-Limit": "100", "X-Reset": "60"}},
		says{status: 200, body: `{"id":4}`, header: map[string]string{"X-Remaining": "30", "X-Limit": "100", "X-Reset": "60"}})
	c := open(t, v, source, map[string]any{"token": "x"})
	h := &host{memory: memory{}}
	ctx := connectors.WithHost(t.Context(), h)
	if _, err := c.Push(ctx, change(lead.Create, person("1")), ""); err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(h.spent) != "[5 1]" {
		t.Errorf("spent %v, want 5 for the create and 1 for the update", h.spent)
	}
	if wait := time.Until(h.until); wait < 30*time.Second || wait > time.Minute {
		t.Errorf("within the reserve nobody is held (%s)", wait)
	}
	h.broke = true
	_, err := c.Push(ctx, change(lead.Create, person("1")), "")
	wantFault(t, err, connectors.Throttled, "acme: create: ")
	v.got()
}

func TestTheSettingsSayWhichGrant(t *testing.T) {
	o := newOffice(t)
	source := strings.Replace(least, "settings: [", `settings: [{name: renewed, secret: true, help: x}, `, 1)
	source = strings.Replace(source, "verbs:", `auth: {oauth2: {token_url: "{{ settings.base_url }}/token", grant: '{{ settings.renewed != "" ? "refresh_token" : "client_credentials" }}', client_secret: "{{ settings.token }}", refresh_token: "{{ settings.renewed }}", scheme: Acme-token}}`+"\nverbs:", 1)
	creates(t, open(t, &vendor{url: o.URL}, source, map[string]any{"token": t.Name()}))
	o.refresh = "r0"
	creates(t, open(t, &vendor{url: o.URL}, source, map[string]any{"token": t.Name(), "renewed": "r0"}))
	if o.forms[0].Get("grant_type") != "client_credentials" || o.forms[1].Get("grant_type") != "refresh_token" {
		t.Errorf("asked by %v", o.forms)
	}
	for grant, missing := range map[string]string{"client_credentials": "client_secret", "refresh_token": "refresh_token", "jwt_bearer": "private_key", "'{{ settings.token }}'": "auth"} {
		recipe, err := Parse("acme.yaml", []byte(strings.Replace(least, "verbs:", `auth: {oauth2: {token_url: "{{ settings.base_url }}/token", grant: `+grant+"}}\nverbs:", 1)))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := recipe.Kind().Open(map[string]any{"token": "x"}, connectors.Env{}); err == nil || err.Error() != missing+": required to sign in" {
			t.Errorf("%s: %v", grant, err)
		}
	}
}

func TestT23ARefusedSignInMayBe200(t *testing.T) {
	v := newVendor(t, says{status: 200, body: `{"error":"invalid_code"}`, header: map[string]string{"Content-Type": "application/json"}})
	source := strings.Replace(least, "verbs:", `auth: {oauth2: {token_url: "{{ settings.base_url }}/token", grant: refresh_token, refresh_token: "{{ settings.token }}"}}`+"\nverbs:", 1)
	_, err := push(open(t, v, source, map[string]any{"token": t.Name()}), lead.Create, "1", "")
	wantFault(t, err, connectors.Setup, "acme: create: access token: no access token: invalid_code")
}
