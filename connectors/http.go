package connectors

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// UserAgent is what the one HTTP client calls itself.
const UserAgent = "leadrelay/1 (+https://github.com/leadrelay/leadrelay)"

const (
	maxAnswer     = 1 << 20 // an answer's body is read this far
	maxRetryAfter = 24 * time.Hour
)

// ClientOptions say how a connector's HTTP client differs from the usual one.
type ClientOptions struct {
	// Timeout bounds one request, from dialling to the answer's last byte. 0: 30 s.
	Timeout time.Duration

	// PublicOnly refuses to dial loopback, private, link-local and other non-public addresses, checked after
	// DNS resolution, and uses no proxy. For URLs that come from outside, such as a webhook's.
	PublicOnly bool
}

// Client is the one HTTP client every connector talks through: bounded in time and size, it follows no
// redirect, keeps URLs and bodies out of its errors, and says whose fault a failure is.
type Client struct {
	http *http.Client
}

// NewClient returns a Client with connections of its own.
func NewClient(opts ClientOptions) *Client {
	if opts.Timeout == 0 {
		opts.Timeout = 30 * time.Second
	}
	dialer := &net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}
	transport := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           dialer.DialContext,
		ForceAttemptHTTP2:     true,
		MaxIdleConns:          256,
		MaxIdleConnsPerHost:   256,
		IdleConnTimeout:       90 * time.Second,
		TLSHandshakeTimeout:   10 * time.Second,
		ExpectContinueTimeout: time.Second,
	}
	if opts.PublicOnly {
		transport.Proxy = nil
		dialer.Control = func(_, address string, _ syscall.RawConn) error {
			return refusePrivate(address)
		}
	}
	return &Client{http: &http.Client{
		Transport: transport,
		Timeout:   opts.Timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse
		},
	}}
}

// Close closes idle connections.
func (c *Client) Close() error {
	c.http.CloseIdleConnections()
	return nil
}

// HTTP returns the underlying client, for libraries that fetch by themselves (token sources).
func (c *Client) HTTP() *http.Client { return c.http }

// errPrivateAddress is what a PublicOnly client says of an address it will not dial.
var errPrivateAddress = errors.New("the address is not public; set allow_private: true if it is meant")

// notPublic lists what netip's own predicates leave out (IANA special-purpose registries,
// https://www.iana.org/assignments/iana-ipv4-special-registry and -ipv6-).
var notPublic = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),
	netip.MustParsePrefix("100.64.0.0/10"),
	netip.MustParsePrefix("192.0.0.0/24"),
	netip.MustParsePrefix("192.0.2.0/24"),
	netip.MustParsePrefix("198.18.0.0/15"),
	netip.MustParsePrefix("198.51.100.0/24"),
	netip.MustParsePrefix("203.0.113.0/24"),
	netip.MustParsePrefix("240.0.0.0/4"),
	netip.MustParsePrefix("::/96"),
	netip.MustParsePrefix("100::/64"),
	netip.MustParsePrefix("64:ff9b::/96"),
	netip.MustParsePrefix("64:ff9b:1::/48"),
	netip.MustParsePrefix("2002::/16"),
	netip.MustParsePrefix("2001::/32"),
	netip.MustParsePrefix("2001:db8::/32"),
	netip.MustParsePrefix("fec0::/10"),
}

func refusePrivate(address string) error {
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return errPrivateAddress
	}
	ip := ap.Addr().WithZone("").Unmap()
	if !ip.IsGlobalUnicast() || ip.IsPrivate() {
		return errPrivateAddress
	}
	for _, p := range notPublic {
		if p.Contains(ip) {
			return errPrivateAddress
		}
	}
	return nil
}

// Response is a whole answer; a body over 1 MiB is cut there.
type Response struct {
	Status int
	Header http.Header
	Body   []byte

	sent []string // the texts in the request, where the status is not 2xx
}

// Redact is the package's Redact that also removes what the request said: vendors repeat it in their reasons.
func (r *Response) Redact(text string) string { return Redact(text, r.sent...) }

// JSON decodes the body into v. An answer that is not JSON tells nothing about what was applied: Unknown.
func (r *Response) JSON(v any) error {
	if err := json.Unmarshal(r.Body, v); err != nil {
		return &Error{Fault: Unknown, Err: fmt.Errorf("%d answer is not the expected JSON", r.Status)}
	}
	return nil
}

// Do sends req and reads the whole answer. Every status but 2xx is an *Error by StatusError, returned beside
// the Response so that a connector can look closer. Without a whole answer the Response is nil and the error is
// Remote when the request cannot have been applied, Unknown when it may have been.
func (c *Client) Do(req *http.Request) (*Response, error) {
	if req.Header.Get("User-Agent") == "" {
		req.Header.Set("User-Agent", UserAgent)
	}
	ctx := req.Context()
	// A process that was paused past its deadline must not send: the timer that cancels ctx may fire too late.
	if deadline, ok := ctx.Deadline(); ok && !time.Now().Before(deadline) {
		return nil, fmt.Errorf("not sent: %w", context.DeadlineExceeded)
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("not sent: %w", err)
	}
	var connected atomic.Bool
	req = req.WithContext(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(httptrace.GotConnInfo) { connected.Store(true) },
	}))
	mayApply := req.Method != http.MethodGet && req.Method != http.MethodHead

	answer, err := c.http.Do(req)
	if err == nil {
		defer answer.Body.Close()
		var body []byte
		body, err = io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
		if err == nil {
			r := &Response{Status: answer.StatusCode, Header: answer.Header, Body: body}
			if r.Status < 200 || r.Status >= 300 {
				r.sent = textsOf(req)
			}
			return r, StatusError(r)
		}
	}
	// *url.Error would print the URL, which may hold a secret or an address.
	var withURL *url.Error
	if errors.As(err, &withURL) {
		err = withURL.Err
	}
	switch {
	case errors.Is(err, errPrivateAddress):
		return nil, &Error{Fault: Setup, Err: errPrivateAddress}
	case connected.Load() && mayApply:
		return nil, &Error{Fault: Unknown, Err: fmt.Errorf("no whole answer: %w", err)}
	default:
		return nil, &Error{Fault: Remote, Err: fmt.Errorf("no answer: %w", err)}
	}
}

// NewJSONRequest builds a request with a JSON body; body nil means none. method, address and body come from
// the connector's own code, so a failure is a bug and reads as such.
func NewJSONRequest(ctx context.Context, method, address string, body any) (*http.Request, error) {
	var reader io.Reader
	if body != nil {
		encoded, err := json.Marshal(body)
		if err != nil {
			return nil, &Error{Fault: Lead, Err: errors.New("the lead cannot be written as JSON")}
		}
		reader = bytes.NewReader(encoded)
	}
	req, err := http.NewRequestWithContext(ctx, method, address, reader)
	if err != nil {
		return nil, &Error{Fault: Setup, Err: errors.New("the configured address is not a URL")}
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	req.Header.Set("Accept", "application/json")
	return req, nil
}

// StatusError is nil for 2xx, else the *Error that a status means where the vendor says nothing else:
// 429, and 503 with Retry-After: Throttled; 401, 403, 404, 410 and redirects: Setup; 408, 423, 425 and 5xx:
// Remote; other 4xx: Lead.
func StatusError(r *Response) error {
	if r.Status >= 200 && r.Status < 300 {
		return nil
	}
	e := &Error{
		RetryAfter: RetryAfter(r.Header, time.Now()),
		Err:        errors.New(strings.TrimSpace(strconv.Itoa(r.Status) + " " + r.Redact(reason(r.Body)))),
	}
	switch s := r.Status; {
	case s == http.StatusTooManyRequests, s == http.StatusServiceUnavailable && r.Header.Get("Retry-After") != "":
		e.Fault = Throttled
	case s >= 500, s == http.StatusRequestTimeout, s == http.StatusLocked, s == http.StatusTooEarly:
		e.Fault = Remote
	case s >= 300 && s < 400:
		e.Fault = Setup
		e.Err = fmt.Errorf("%d redirects are not followed; set the final address", s)
	case s == http.StatusUnauthorized, s == http.StatusForbidden, s == http.StatusNotFound, s == http.StatusGone:
		e.Fault = Setup
	case s >= 400:
		e.Fault = Lead
	default:
		e.Fault = Unknown
	}
	return e
}

// RetryAfter reads the header in both its forms, seconds and date (RFC 9110, 10.2.3). 0 where there is none or
// it makes no sense; at most a day.
func RetryAfter(h http.Header, now time.Time) time.Duration {
	text := strings.TrimSpace(h.Get("Retry-After"))
	if text == "" {
		return 0
	}
	var wait time.Duration
	if seconds, err := strconv.ParseFloat(text, 64); err == nil {
		if !(seconds > 0) {
			return 0
		}
		wait = time.Duration(min(seconds, maxRetryAfter.Seconds()) * float64(time.Second))
	} else if date, err := http.ParseTime(text); err == nil {
		wait = date.Sub(now)
	}
	return max(0, min(wait, maxRetryAfter))
}

// explainingKeys are where vendors put the reason, most telling first.
var explainingKeys = []string{"title", "detail", "message", "error_description", "error", "code", "status"}

// Explain takes a short reason out of an error answer's body, without the addresses a vendor may echo there.
func Explain(body []byte) string { return Redact(reason(body)) }

func reason(body []byte) string {
	var object map[string]any
	if json.Unmarshal(body, &object) != nil {
		return ""
	}
	if inner, ok := object["error"].(map[string]any); ok {
		object = inner
	}
	var parts []string
	for _, key := range explainingKeys {
		if text, ok := object[key].(string); ok && text != "" && len(parts) < 2 {
			parts = append(parts, text)
		}
	}
	return strings.Join(parts, ": ")
}

// textsOf lists the strings in a request's JSON body.
func textsOf(req *http.Request) (texts []string) {
	if req.GetBody == nil {
		return nil
	}
	body, err := req.GetBody()
	if err != nil {
		return nil
	}
	defer body.Close()
	var value any
	if json.NewDecoder(body).Decode(&value) != nil {
		return nil
	}
	var walk func(any)
	walk = func(value any) {
		switch v := value.(type) {
		case string:
			texts = append(texts, v)
		case []any:
			for _, element := range v {
				walk(element)
			}
		case map[string]any:
			for _, element := range v {
				walk(element)
			}
		}
	}
	walk(value)
	return texts
}

const maxReason = 300 // runes of a reason that are kept

var (
	addressPattern = regexp.MustCompile(`[^\s"'<>(),:;=]+(?:@|%40)[^\s"'<>(),:;]+`)
	phonePattern   = regexp.MustCompile(`\+?\d[\d ().-]{6,}\d`)
)

// Redact removes e-mail addresses, long numbers and the given values from a text, and cuts it to a sane length.
func Redact(text string, values ...string) string {
	// Longest first, and all at once: a first name must not break the full name it is part of.
	values = slices.Clone(values)
	slices.SortFunc(values, func(a, b string) int { return len(b) - len(a) })
	var pairs []string
	for _, v := range values {
		if len(v) > 2 {
			pairs = append(pairs, v, "<redacted>")
		}
	}
	if pairs != nil {
		text = strings.NewReplacer(pairs...).Replace(text)
	}
	text = addressPattern.ReplaceAllString(text, "<redacted>")
	text = phonePattern.ReplaceAllString(text, "<redacted>")
	if runes := []rune(text); len(runes) > maxReason {
		text = string(runes[:maxReason]) + "…"
	}
	return text
}
