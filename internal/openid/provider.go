package openid

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
	"golang.org/x/sync/semaphore"
)

// Options say which provider it is, and what it is asked.
type Options struct {
	Issuer       string // its URL: https, or http on this machine
	ClientID     string
	ClientSecret string   // "": a public client
	RedirectURL  string   // where it sends people back to; "": who begins says
	Scopes       []string // openid apart
	Allow        []Rule   // who may sign in: anyone of these

	// UnverifiedEmail lets addresses count that the provider does not say are verified.
	UnverifiedEmail bool

	Now func() time.Time // nil: time.Now
}

const (
	// Timeout is how long the provider has for each answer.
	Timeout = 5 * time.Second

	maxAnswer = 1 << 20 // bytes
	// freshFor is how long it is not asked again where its endpoints are. Its keys are, when it signs with a new one.
	freshFor = time.Hour
)

// Provider is an OpenID Connect provider.
type Provider struct {
	Options
	client      *http.Client
	discovering *semaphore.Weighted // one at a time
	known       atomic.Pointer[endpoints]
}

// endpoints are what the provider says of itself.
type endpoints struct {
	*oidc.Provider
	oauth2.Endpoint
	at time.Time
}

// New returns a provider. It asks it nothing.
func New(o Options) *Provider {
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Provider{
		Options:     o,
		discovering: semaphore.NewWeighted(1),
		client: &http.Client{
			Timeout:   Timeout,
			Transport: bounded{http.DefaultTransport},
			// A code and the client's secret go where the provider said, and nowhere else.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

// Host is the provider's name for people.
func (p *Provider) Host() string {
	issuer, err := url.Parse(p.Issuer)
	if err != nil {
		return p.Issuer
	}
	return issuer.Hostname()
}

// ErrAway is that the provider does not answer as one.
var ErrAway = errors.New("the provider does not answer")

// endpoints returns what the provider said of itself not long ago. Where it does not answer any more, what it said
// before counts.
func (p *Provider) endpoints(ctx context.Context) (*endpoints, error) {
	if known := p.known.Load(); known != nil && time.Since(known.at) < freshFor {
		return known, nil
	}
	if err := p.discovering.Acquire(ctx, 1); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrAway, err)
	}
	defer p.discovering.Release(1)
	before := p.known.Load()
	if before != nil && time.Since(before.at) < freshFor {
		return before, nil // another has asked meanwhile
	}
	found, err := p.discover(ctx)
	switch {
	case err == nil:
	case before != nil:
		found = &endpoints{before.Provider, before.Endpoint, time.Now()}
	default:
		return nil, fmt.Errorf("%w: discovery: %s", ErrAway, brief(err))
	}
	p.known.Store(found)
	return found, nil
}

func (p *Provider) discover(ctx context.Context) (*endpoints, error) {
	provider, err := oidc.NewProvider(p.context(ctx), p.Issuer)
	if err != nil {
		return nil, err
	}
	var says struct {
		Keys  string   `json:"jwks_uri"`
		Takes []string `json:"token_endpoint_auth_methods_supported"`
	}
	if err := provider.Claims(&says); err != nil {
		return nil, err
	}
	at := provider.Endpoint()
	for what, address := range map[string]string{
		"authorization_endpoint": at.AuthURL, "token_endpoint": at.TokenURL, "jwks_uri": says.Keys, "userinfo_endpoint": provider.UserInfoEndpoint(),
	} {
		if what == "userinfo_endpoint" && address == "" {
			continue // not all have it
		}
		if err := CheckURL(address); err != nil {
			return nil, fmt.Errorf("its %s %w", what, err)
		}
	}
	// By the header unless it says that it takes the other alone
	// (https://openid.net/specs/openid-connect-discovery-1_0.html#ProviderMetadata). Trying both might use up the code.
	at.AuthStyle = oauth2.AuthStyleInHeader
	if p.ClientSecret == "" || slices.Contains(says.Takes, "client_secret_post") && !slices.Contains(says.Takes, "client_secret_basic") {
		at.AuthStyle = oauth2.AuthStyleInParams
	}
	return &endpoints{provider, at, time.Now()}, nil
}

// context has the libraries use the client.
func (p *Provider) context(ctx context.Context) context.Context {
	return oidc.ClientContext(ctx, p.client)
}

// CheckURL says whether secrets may be sent to an address: by TLS, or on this machine.
func CheckURL(address string) error {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.User != nil || u.Scheme != "https" && !(u.Scheme == "http" && IsLocal(u.Host)) {
		return errors.New("must be a URL that begins with https://, or of this machine with http://")
	}
	return nil
}

// IsLocal says whether a host, with or without a port, is this machine.
func IsLocal(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	ip := net.ParseIP(strings.Trim(host, "[]"))
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// bounded reads no answer to the end that has none, and of a failure only what it is: the library's errors repeat the
// rest. Those of the token endpoint have a code, which is read.
type bounded struct{ http.RoundTripper }

func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	answer, err := b.RoundTripper.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	most := int64(maxAnswer)
	if r.Method == http.MethodGet && answer.StatusCode != http.StatusOK {
		most = 0
	}
	answer.Body = struct {
		io.Reader
		io.Closer
	}{io.LimitReader(answer.Body, most), answer.Body}
	return answer, nil
}

// brief is an error in a line of a log: some repeat what was answered.
func brief(err error) string {
	text := strings.Join(strings.Fields(err.Error()), " ")
	if len(text) > 300 {
		text = strings.ToValidUTF8(text[:300], "") + "…"
	}
	return text
}
