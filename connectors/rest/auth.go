package rest

import (
	"cmp"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"go.yaml.in/yaml/v3"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"
	"golang.org/x/oauth2/jwt"

	"github.com/leadrelay/leadrelay/connectors"
)

// auth is how requests sign in: at most one of its parts is given.
type auth struct {
	bearer         *template
	user, password *template
	header, query  *pair
	oauth2         *grant
}

// grant is how an access token is got.
type grant struct {
	kind         *template // client_credentials, refresh_token or jwt_bearer
	tokenURL     *template
	clientID     *template
	clientSecret *template
	refreshToken *template
	privateKey   *template
	subject      *template
	audience     *template
	scopes       []string
	inHeader     bool   // client id and secret by basic authentication, not in the body
	scheme       string // of the Authorization header
	lifetime     time.Duration
}

// grants lists the kinds, and what each cannot do without.
var grants = map[string]string{"client_credentials": "client_secret", "refresh_token": "refresh_token", "jwt_bearer": "private_key"}

type authDocument struct {
	Bearer yaml.Node     `yaml:"bearer"`
	Basic  basicDocument `yaml:"basic"`
	Header pairDocument  `yaml:"header"`
	Query  pairDocument  `yaml:"query"`
	OAuth2 *struct {
		Grant        yaml.Node     `yaml:"grant"`
		TokenURL     yaml.Node     `yaml:"token_url"`
		ClientID     yaml.Node     `yaml:"client_id"`
		ClientSecret yaml.Node     `yaml:"client_secret"`
		RefreshToken yaml.Node     `yaml:"refresh_token"`
		PrivateKey   yaml.Node     `yaml:"private_key"`
		Subject      yaml.Node     `yaml:"subject"`
		Audience     yaml.Node     `yaml:"audience"`
		Scopes       []string      `yaml:"scopes"`
		InHeader     bool          `yaml:"in_header"`
		Scheme       string        `yaml:"scheme"`
		Lifetime     time.Duration `yaml:"lifetime"`
	} `yaml:"oauth2"`
}

type basicDocument struct {
	User     yaml.Node `yaml:"user"`
	Password yaml.Node `yaml:"password"`
}

type pairDocument struct {
	Name  string    `yaml:"name"`
	Value yaml.Node `yaml:"value"`
}

func (p *reader) readAuth(d *authDocument) (a auth) {
	a.bearer = p.template(&d.Bearer, atOpen)
	a.user, a.password = p.template(&d.Basic.User, atOpen), p.template(&d.Basic.Password, atOpen)
	if d.Header.Name != "" {
		a.header = &pair{d.Header.Name, p.template(&d.Header.Value, atOpen)}
	}
	if d.Query.Name != "" {
		a.query = &pair{d.Query.Name, p.template(&d.Query.Value, atOpen)}
	}
	if o := d.OAuth2; o != nil {
		if grants[o.Grant.Value] == "" && !strings.Contains(o.Grant.Value, "{{") {
			p.problem(&o.Grant, "auth: grant: must be %s", strings.Join(slices.Sorted(maps.Keys(grants)), ", "))
		}
		a.oauth2 = &grant{
			kind: p.template(&o.Grant, atOpen), scopes: o.Scopes, inHeader: o.InHeader, scheme: o.Scheme, lifetime: o.Lifetime,
			tokenURL: p.template(&o.TokenURL, atOpen), clientID: p.template(&o.ClientID, atOpen),
			clientSecret: p.template(&o.ClientSecret, atOpen), refreshToken: p.template(&o.RefreshToken, atOpen),
			privateKey: p.template(&o.PrivateKey, atOpen), subject: p.template(&o.Subject, atOpen),
			audience: p.template(&o.Audience, atOpen),
		}
	}
	return a
}

// credentials signs requests in for one connector.
type credentials struct {
	header, value string // the header that signs in; "" for none
	query         [2]string
	tokens        *tokens
}

func newCredentials(a auth, env map[string]any, client *connectors.Client) (c credentials, err error) {
	var problems []error
	plain := func(t *template) string {
		if t == nil {
			return ""
		}
		value, err := t.text(env, inHeader)
		if err != nil {
			problems = append(problems, fmt.Errorf("auth: %w", err))
		}
		return value
	}
	switch {
	case a.bearer != nil:
		c.header, c.value = "Authorization", "Bearer "+plain(a.bearer)
	case a.user != nil:
		userinfo := plain(a.user) + ":" + plain(a.password)
		c.header, c.value = "Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(userinfo))
	case a.header != nil:
		c.header, c.value = a.header.name, plain(a.header.value)
	case a.query != nil:
		c.query = [2]string{a.query.name, plain(a.query.value)}
	case a.oauth2 != nil:
		c.tokens, err = newTokens(a.oauth2, env, client)
		problems = append(problems, err)
	}
	return c, errors.Join(problems...)
}

// sign puts the sign-in into a request. token is the access token it used, "" for none; it is none of refused.
func (c *credentials) sign(ctx context.Context, req *http.Request, refused []string) (token string, err error) {
	if c.tokens != nil {
		token, err := c.tokens.token(ctx, refused)
		if err != nil {
			return "", err
		}
		req.Header.Set("Authorization", c.tokens.scheme+" "+token)
		return token, nil
	}
	if c.header != "" {
		req.Header.Set(c.header, c.value)
	}
	if c.query[0] != "" {
		query := req.URL.Query()
		query.Set(c.query[0], c.query[1])
		req.URL.RawQuery = query.Encode()
	}
	return "", nil
}

// tokens keeps an access token that all workers share: it is got, and got anew, by one of them.
type tokens struct {
	scheme   string
	lifetime time.Duration // of a token whose answer does not say
	key      string        // of the shared memory
	seal     cipher.AEAD   // what is kept there can be read by who has the secrets alone
	fetch    func(ctx context.Context, newerRefreshToken string) (*oauth2.Token, error)

	mu   sync.Mutex
	last kept
}

// kept is a token as the shared memory has it.
type kept struct {
	Access  string    `json:"access"`
	Refresh string    `json:"refresh,omitempty"` // where the vendor gave a new one
	Until   time.Time `json:"until"`
}

// early is how long before its end a token is not used any more.
const early = 30 * time.Second

func newTokens(g *grant, env map[string]any, client *connectors.Client) (*tokens, error) {
	get := func(t *template) string {
		if t == nil {
			return ""
		}
		value, _ := t.plain(env)
		return value
	}
	kind, tokenURL, id, secret, refresh := get(g.kind), get(g.tokenURL), get(g.clientID), get(g.clientSecret), get(g.refreshToken)
	key, subject, audience := strings.ReplaceAll(get(g.privateKey), `\n`, "\n"), get(g.subject), get(g.audience)
	if err := connectors.CheckBaseURL(tokenURL); err != nil {
		return nil, fmt.Errorf("base_url: the address of the access tokens %w", err)
	}
	given := map[string]string{"client_secret": secret, "refresh_token": refresh, "private_key": key}
	if needed := grants[kind]; given[needed] == "" {
		return nil, fmt.Errorf("%s: required to sign in", cmp.Or(needed, "auth"))
	}
	if block, _ := pem.Decode([]byte(key)); kind == "jwt_bearer" && block == nil {
		return nil, errors.New("private_key: is not PEM; the text may have been damaged when it was copied")
	}
	style := oauth2.AuthStyleInParams
	if g.inHeader {
		style = oauth2.AuthStyleInHeader
	}
	t := &tokens{scheme: g.scheme, lifetime: g.lifetime}
	if t.scheme == "" {
		t.scheme = "Bearer"
	}
	if t.lifetime == 0 {
		t.lifetime = 30 * time.Minute
	}
	identity := strings.Join([]string{kind, tokenURL, id, secret, refresh, key, subject, audience, strings.Join(g.scopes, " ")}, "\x00")
	sum := sha256.Sum256([]byte("leadrelay token name\x00" + identity))
	t.key = hex.EncodeToString(sum[:12])
	sealing, err := hkdf.Key(sha256.New, []byte(identity), nil, "leadrelay access token", 32)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(sealing)
	if err != nil {
		return nil, err
	}
	if t.seal, err = cipher.NewGCM(block); err != nil {
		return nil, err
	}
	var source func(ctx context.Context, newer string) oauth2.TokenSource
	switch kind {
	case "client_credentials":
		config := clientcredentials.Config{ClientID: id, ClientSecret: secret, TokenURL: tokenURL, Scopes: g.scopes, AuthStyle: style}
		if audience != "" {
			config.EndpointParams = map[string][]string{"audience": {audience}}
		}
		source = func(ctx context.Context, _ string) oauth2.TokenSource { return config.TokenSource(ctx) }
	case "refresh_token":
		config := oauth2.Config{ClientID: id, ClientSecret: secret, Scopes: g.scopes, Endpoint: oauth2.Endpoint{TokenURL: tokenURL, AuthStyle: style}}
		source = func(ctx context.Context, newer string) oauth2.TokenSource {
			return config.TokenSource(ctx, &oauth2.Token{RefreshToken: cmp.Or(newer, refresh)})
		}
	case "jwt_bearer":
		config := jwt.Config{Email: id, Subject: subject, Audience: audience, PrivateKey: []byte(key), TokenURL: tokenURL, Scopes: g.scopes, Expires: 3 * time.Minute}
		source = func(ctx context.Context, _ string) oauth2.TokenSource { return config.TokenSource(ctx) }
	}
	t.fetch = func(ctx context.Context, newer string) (*oauth2.Token, error) {
		return client.SignIn(ctx, func(ctx context.Context) (*oauth2.Token, error) { return source(ctx, newer).Token() })
	}
	return t, nil
}

// token returns an access token that still holds and is none of refused.
func (t *tokens) token(ctx context.Context, refused []string) (string, error) {
	holds := func(k kept) bool {
		return k.Access != "" && !slices.Contains(refused, k.Access) && time.Now().Before(k.Until.Add(-early))
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if holds(t.last) {
		return t.last.Access, nil
	}
	memory := connectors.MemoryOf(ctx)
	if shared := t.recall(ctx, memory); holds(shared) {
		t.last = shared
		return shared.Access, nil
	}
	unlock, err := memory.Lock(ctx, t.key)
	if err != nil {
		return "", &connectors.Error{NotSent: true, Err: fmt.Errorf("access token: %w", err)}
	}
	defer unlock()
	shared := t.recall(ctx, memory)
	if holds(shared) {
		t.last = shared
		return shared.Access, nil
	}
	got, err := t.fetch(ctx, shared.Refresh)
	if err != nil {
		return "", fmt.Errorf("access token: %w", err)
	}
	next := kept{Access: got.AccessToken, Refresh: shared.Refresh, Until: got.Expiry}
	if got.RefreshToken != "" {
		next.Refresh = got.RefreshToken
	}
	if next.Until.IsZero() {
		next.Until = time.Now().Add(t.lifetime)
	}
	t.remember(ctx, memory, next)
	t.last = next
	return next.Access, nil
}

func (t *tokens) recall(ctx context.Context, memory connectors.Memory) (k kept) {
	sealed, ok, err := memory.Load(ctx, t.key)
	if err != nil || !ok {
		return k
	}
	raw, err := base64.StdEncoding.DecodeString(sealed)
	if err != nil || len(raw) < t.seal.NonceSize() {
		return k
	}
	plain, err := t.seal.Open(nil, raw[:t.seal.NonceSize()], raw[t.seal.NonceSize():], []byte(t.key))
	if err != nil {
		return k
	}
	if json.Unmarshal(plain, &k) != nil {
		return kept{}
	}
	return k
}

// remember keeps the token for the others. A refresh token that the vendor changed must outlast the access token.
func (t *tokens) remember(ctx context.Context, memory connectors.Memory, k kept) {
	plain, _ := json.Marshal(k)
	nonce := make([]byte, t.seal.NonceSize())
	rand.Read(nonce)
	sealed := base64.StdEncoding.EncodeToString(t.seal.Seal(nonce, nonce, plain, []byte(t.key)))
	ttl := time.Until(k.Until)
	if k.Refresh != "" {
		ttl = 0
	}
	memory.Save(ctx, t.key, sealed, max(ttl, 0))
}
