package console_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/leadrelay/leadrelay/internal/console"
	"github.com/leadrelay/leadrelay/internal/openid"
)

const (
	clientID     = "leadrelay-console"
	clientSecret = "a:secret/with?special&characters"
)

// provider is an OpenID Connect provider that checks what it is asked, and misbehaves where a test says so.
type provider struct {
	t   *testing.T
	url string

	ended chan struct{}

	mu      sync.Mutex
	who     map[string]any // the claims of who is signed in there
	key     crypto.Signer
	keyID   string
	methods []string       // how a client may authenticate, as it says; nil: it does not
	info    map[string]any // what it says when it is asked; nil: it cannot be
	access  string         // the token to ask with
	codes   map[string]grant
	asked   map[string]int // by path

	change func(said map[string]any)                          // what an ID token says
	sign   func(said map[string]any) string                   // an ID token otherwise
	answer func(w http.ResponseWriter, r *http.Request) bool  // an answer otherwise; false: as always
	sent   func(form url.Values, user, pass string, has bool) // looks at what the token endpoint is sent
}

// grant is what a code stands for.
type grant struct{ redirect, challenge, nonce string }

// newProvider starts a provider at another site than the console's. anna is signed in there.
func newProvider(t *testing.T) *provider {
	t.Helper()
	p := &provider{t: t, codes: map[string]grant{}, asked: map[string]int{}, who: anna(), ended: make(chan struct{})}
	p.rotate(rsaKey(t))
	server := httptest.NewServer(p)
	t.Cleanup(func() { close(p.ended); server.Close() })
	p.url = strings.Replace(server.URL, "127.0.0.1", "localhost", 1)
	return p
}

func anna() map[string]any {
	return map[string]any{"sub": "248289761001", "email": "Anna@example.com", "email_verified": true, "groups": []string{"staff", "operators"},
		"realm_access": map[string]any{"roles": []string{"leads"}}, "https://example.com/tier": "gold"}
}

// rsaKey is made once: it takes time.
var rsaOnce = sync.OnceValues(func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) })

func rsaKey(t *testing.T) crypto.Signer {
	t.Helper()
	key, err := rsaOnce()
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func ecKey(t *testing.T) crypto.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// rotate gives the provider another key, and its id another name.
func (p *provider) rotate(key crypto.Signer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.key, p.keyID = key, rand.Text()
}

// behave changes what the provider does.
func (p *provider) behave(change func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change()
}

// silent answers nothing until the end.
func (p *provider) silent(http.ResponseWriter, *http.Request) bool {
	<-p.ended
	return true
}

// times says how often a path was asked for.
func (p *provider) times(path string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.asked[path]
}

func algorithm(key crypto.Signer) jose.SignatureAlgorithm {
	if _, ok := key.(*ecdsa.PrivateKey); ok {
		return jose.ES256
	}
	return jose.RS256
}

// signed is a JWT.
func (p *provider) signed(algorithm jose.SignatureAlgorithm, key any, keyID string, said map[string]any) string {
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: algorithm, Key: key}, (&jose.SignerOptions{}).WithType("JWT").WithHeader("kid", keyID))
	if err != nil {
		p.t.Error(err)
		return ""
	}
	text, err := jwt.Signed(signer).Claims(said).Serialize()
	if err != nil {
		p.t.Error(err)
	}
	return text
}

func (p *provider) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	p.asked[r.URL.Path]++
	answer := p.answer
	p.mu.Unlock()
	if answer != nil && answer(w, r) {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch r.URL.Path {
	case "/.well-known/openid-configuration":
		says := map[string]any{
			"issuer": p.url, "authorization_endpoint": p.url + "/authorize", "token_endpoint": p.url + "/token", "jwks_uri": p.url + "/keys",
			"id_token_signing_alg_values_supported": []string{"RS256", "ES256", "HS256", "none"}, "response_types_supported": []string{"code"},
		}
		if p.info != nil {
			says["userinfo_endpoint"] = p.url + "/userinfo"
		}
		if p.methods != nil {
			says["token_endpoint_auth_methods_supported"] = p.methods
		}
		reply(w, http.StatusOK, says)
	case "/keys":
		reply(w, http.StatusOK, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: p.key.Public(), KeyID: p.keyID, Algorithm: string(algorithm(p.key)), Use: "sig"}}})
	case "/authorize":
		p.authorize(w, r)
	case "/token":
		p.token(w, r)
	case "/userinfo":
		if r.Header.Get("Authorization") != "Bearer "+p.access {
			p.t.Errorf("asked with %q", r.Header.Get("Authorization"))
		}
		reply(w, http.StatusOK, p.info)
	case "/favicon.ico":
		w.WriteHeader(http.StatusNoContent)
	default:
		http.NotFound(w, r)
	}
}

func reply(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(body)
}

// authorize shows a page that leads back, as providers' pages do once somebody has signed in there.
func (p *provider) authorize(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	redirect, err := url.Parse(q.Get("redirect_uri"))
	switch {
	case err != nil || redirect.Path != console.OpenIDCallback:
		p.t.Errorf("redirect_uri is %q", q.Get("redirect_uri"))
	case q.Get("response_type") != "code" || q.Get("client_id") != clientID || q.Get("scope") != "openid email":
		p.t.Errorf("asked for %v", q)
	case q.Get("code_challenge_method") != "S256" || len(q.Get("code_challenge")) != 43:
		p.t.Errorf("without PKCE: %v", q)
	case len(q.Get("state")) < 40 || len(q.Get("nonce")) < 40 || q.Get("state") == q.Get("nonce"):
		p.t.Errorf("state and nonce can be guessed: %v", q)
	}
	code := rand.Text()
	p.codes[code] = grant{q.Get("redirect_uri"), q.Get("code_challenge"), q.Get("nonce")}
	redirect.RawQuery = url.Values{"code": {code}, "state": {q.Get("state")}, "iss": {p.url}}.Encode()
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	fmt.Fprintf(w, `<!doctype html><html lang="en"><title>Provider</title><h1>You are Anna</h1><a id="yes" href="%s">Go back to leadrelay</a>`, html.EscapeString(redirect.String()))
}

func (p *provider) token(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil || r.Method != http.MethodPost {
		p.t.Errorf("the token endpoint is sent %s, %v", r.Method, err)
	}
	user, pass, basic := r.BasicAuth()
	if p.sent != nil {
		p.sent(r.PostForm, user, pass, basic)
	} else if user, _ := url.QueryUnescape(user); !basic || user != clientID || r.PostForm.Has("client_secret") {
		p.t.Errorf("the client authenticates as %q", user)
	} else if pass, _ := url.QueryUnescape(pass); pass != clientSecret {
		reply(w, http.StatusUnauthorized, map[string]string{"error": "invalid_client", "error_description": "of anna@example.com"})
		return
	}
	code := r.PostForm.Get("code")
	g, known := p.codes[code]
	delete(p.codes, code)
	sum := sha256.Sum256([]byte(r.PostForm.Get("code_verifier")))
	if !known || r.PostForm.Get("grant_type") != "authorization_code" || r.PostForm.Get("redirect_uri") != g.redirect ||
		base64.RawURLEncoding.EncodeToString(sum[:]) != g.challenge {
		reply(w, http.StatusBadRequest, map[string]string{"error": "invalid_grant", "error_description": "of anna@example.com"})
		return
	}
	said := map[string]any{"iss": p.url, "aud": clientID, "nonce": g.nonce, "iat": time.Now().Unix(), "exp": time.Now().Add(time.Minute).Unix()}
	for name, value := range p.who {
		said[name] = value
	}
	if p.change != nil {
		p.change(said)
	}
	text := ""
	if p.sign != nil {
		text = p.sign(said)
	} else {
		text = p.signed(algorithm(p.key), p.key, p.keyID, said)
	}
	p.access = rand.Text()
	reply(w, http.StatusOK, map[string]any{"access_token": p.access, "token_type": "Bearer", "expires_in": 60, "id_token": text})
}

// options is the console's side of it.
func (p *provider) options(allow ...openid.Rule) openid.Options {
	return openid.Options{Issuer: p.url, ClientID: clientID, ClientSecret: clientSecret, Scopes: []string{"email"}, Allow: allow}
}

var (
	allowAnna   = openid.Rule{Email: "anna@example.com"}
	backPattern = regexp.MustCompile(`href="([^"]+)"`)
)

// signedInBy is a world with a provider, beside olga and her password.
func signedInBy(t *testing.T, allow ...openid.Rule) (*world, *provider) {
	t.Helper()
	p := newProvider(t)
	if allow == nil {
		allow = []openid.Rule{allowAnna}
	}
	return newWorld(t, func(_ *world, o *console.Options) { o.OpenID = openid.New(p.options(allow...)) }), p
}

// toProvider begins to sign in and returns the provider's page that the browser is sent to.
func (b *browser) toProvider(next string) string {
	b.w.t.Helper()
	a := b.get("/console/openid?next=" + url.QueryEscape(next))
	if a.status != http.StatusSeeOther || !strings.HasPrefix(a.to(), "http://localhost:") {
		b.w.t.Fatalf("sent to %d %q: %s", a.status, a.to(), a.body)
	}
	return a.to()
}

// yes is what somebody is sent back to by the provider's page, once they have signed in there: a path of the console.
func (p *provider) yes(page string) string {
	p.t.Helper()
	response, err := http.Get(page)
	if err != nil {
		p.t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	found := backPattern.FindSubmatch(body)
	if err != nil || found == nil {
		p.t.Fatalf("the provider says %s, %v", body, err)
	}
	back, err := url.Parse(html.UnescapeString(string(found[1])))
	if err != nil {
		p.t.Fatal(err)
	}
	return back.RequestURI()
}

// come is what a browser gets that the provider sends back.
func (b *browser) come(path string) answer {
	b.w.t.Helper()
	site := b.site
	defer func() { b.site = site }()
	b.site = "cross-site"
	return b.get(path)
}

// through signs in through the provider.
func (b *browser) through(p *provider, next string) answer {
	b.w.t.Helper()
	return b.come(p.yes(b.toProvider(next)))
}
