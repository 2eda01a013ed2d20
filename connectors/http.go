package connectors

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"html"
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
	"unicode"
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

	// StatusOnly takes the status for the whole answer. The body explains a refusal at most: it may break off
	// or never end, and is not waited for.
	StatusOnly bool

	// Secrets are in no URL that is told of by a Call; SecretURL says that all of a URL is one.
	Secrets   []string
	SecretURL bool
}

// Client is the one HTTP client every connector talks through: bounded in time and size, it follows no
// redirect, keeps URLs and bodies out of its errors, and says whose fault a failure is.
type Client struct {
	http       *http.Client
	statusOnly bool
	secrets    []string
	secretURL  bool
}

// NewClient returns a Client with connections of its own.
func NewClient(opts ClientOptions) *Client {
	if opts.Timeout == 0 {
		opts.Timeout = 30 * time.Second
	}
	dialer := &net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}
	transport := &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		OnProxyConnectResponse: proxyRefusal,
		DialContext:            dialer.DialContext,
		ForceAttemptHTTP2:      true,
		// Else a connection that died silently fails each request until TCP gives it up, a quarter of an hour later.
		HTTP2:                 &http.HTTP2Config{SendPingTimeout: 10 * time.Second, PingTimeout: 10 * time.Second},
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
	return &Client{statusOnly: opts.StatusOnly, secrets: opts.Secrets, secretURL: opts.SecretURL, http: &http.Client{
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

func proxyRefusal(_ context.Context, _ *url.URL, _ *http.Request, answer *http.Response) error {
	switch s := answer.StatusCode; s {
	case http.StatusOK:
		return nil
	case http.StatusForbidden, http.StatusProxyAuthRequired:
		return &Error{Fault: Setup, Err: fmt.Errorf("%d from the proxy", s)}
	default:
		return &Error{Err: fmt.Errorf("%d from the proxy", s)}
	}
}

// errPrivateAddress is what a PublicOnly client says of an address it will not dial.
var errPrivateAddress = &Error{Fault: Setup, Err: errors.New("the address is not public; set allow_private: true if it is meant")}

// notPublic lists what netip's own predicates leave out (IANA special-purpose registries,
// https://www.iana.org/assignments/iana-ipv4-special-registry and -ipv6-), and the prefixes within publicIPv6
// whose addresses stand for an IPv4 one.
var notPublic = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),
	netip.MustParsePrefix("100.64.0.0/10"),
	netip.MustParsePrefix("192.0.0.0/24"),
	netip.MustParsePrefix("192.0.2.0/24"),
	netip.MustParsePrefix("192.88.99.0/24"),
	netip.MustParsePrefix("198.18.0.0/15"),
	netip.MustParsePrefix("198.51.100.0/24"),
	netip.MustParsePrefix("203.0.113.0/24"),
	netip.MustParsePrefix("240.0.0.0/4"),
	netip.MustParsePrefix("2001::/23"),
	netip.MustParsePrefix("2001:db8::/32"),
	netip.MustParsePrefix("2002::/16"),
	netip.MustParsePrefix("3fff::/20"),
}

// publicIPv6 is all that is assigned for global unicast
// (https://www.iana.org/assignments/ipv6-address-space): NAT64, IPv4-translated and site-local addresses are not.
var publicIPv6 = netip.MustParsePrefix("2000::/3")

func refusePrivate(address string) error {
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return errPrivateAddress
	}
	ip := ap.Addr().WithZone("").Unmap()
	if !ip.IsGlobalUnicast() || ip.IsPrivate() || ip.Is6() && !publicIPv6.Contains(ip) {
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

	request *http.Request
	sent    []string // the texts in the request, once they were asked for
}

// Redact is the package's Redact that also removes what the request said: vendors repeat it in their reasons.
func (r *Response) Redact(text string, values ...string) string {
	if r.sent == nil && r.request != nil {
		r.sent = textsOf(r.request)
	}
	return Redact(text, slices.Concat(r.sent, values)...)
}

// JSON decodes the body into v. An answer that is not JSON tells nothing about what was applied: Unknown.
func (r *Response) JSON(v any) error {
	if err := json.Unmarshal(r.Body, v); err != nil {
		return &Error{Fault: Unknown, Err: fmt.Errorf("%d answer is not the expected JSON", r.Status)}
	}
	return nil
}

// Do sends req and reads the whole answer. Every status but 2xx is an *Error by StatusError, returned beside
// the Response so that a connector can look closer. Without a whole answer the Response is nil and the error is
// Remote when the request cannot have been applied, Unknown when it may have been. In a rehearsal (see
// RehearseRequests) nothing is sent.
func (c *Client) Do(req *http.Request) (*Response, error) {
	began := time.Now()
	answer, err := c.do(req)
	c.noteCall(req, answer, err, began)
	return answer, err
}

func (c *Client) do(req *http.Request) (*Response, error) {
	if req.Header.Get("User-Agent") == "" {
		req.Header.Set("User-Agent", UserAgent)
	}
	ctx := req.Context()
	// A process that was paused past its deadline must not send: the timer that cancels ctx may fire too late.
	err := ctx.Err()
	if deadline, ok := ctx.Deadline(); ok && !time.Now().Before(deadline) {
		err = context.DeadlineExceeded
	}
	if err != nil {
		return nil, &Error{NotSent: true, Err: fmt.Errorf("not sent: %w", err)}
	}
	if s := stageOf(ctx); s != nil {
		return s.perform(req)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var connected atomic.Bool
	req = req.WithContext(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(httptrace.GotConnInfo) { connected.Store(true) },
	}))
	mayApply := req.Method != http.MethodGet && req.Method != http.MethodHead

	answer, err := c.http.Do(req)
	if err == nil {
		defer answer.Body.Close()
		var body []byte
		if body, err = c.read(answer, cancel); err == nil {
			r := &Response{Status: answer.StatusCode, Header: answer.Header, Body: body, request: req}
			return r, StatusError(r)
		}
	}
	fault, reason := trouble(err, connected.Load())
	if connected.Load() && mayApply {
		return nil, &Error{Fault: Unknown, Err: &unanswered{"no whole answer: " + reason, err}}
	}
	return nil, &Error{Fault: fault, NotSent: !connected.Load(), Err: &unanswered{"no answer: " + reason, err}}
}

// bodyPatience is how long the body of an answer is waited for whose status says it all: long enough for a body
// that is on its way, so that the connection can be used again.
const bodyPatience = time.Second

func (c *Client) read(answer *http.Response, cancel func()) ([]byte, error) {
	if answer.StatusCode < 200 {
		return nil, nil // 101: what follows is another protocol, and nothing bounds it
	}
	if c.statusOnly {
		defer time.AfterFunc(bodyPatience, cancel).Stop()
	}
	body, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	if c.statusOnly {
		err = nil
	}
	return body, err
}

// unanswered is a request without a whole answer. Its text is trouble's.
type unanswered struct {
	text string
	err  error
}

func (u *unanswered) Error() string { return u.text }
func (u *unanswered) Unwrap() error { return u.err }

// trouble says why no answer came, and whose fault that is where the request did not go out. It names kinds of
// errors only: the texts of net/http repeat the URL, and whatever the other side sent in place of HTTP.
func trouble(err error, connected bool) (Fault, string) {
	var (
		own         *Error
		certificate *tls.CertificateVerificationError
		dns         *net.DNSError
		operation   *net.OpError
		number      syscall.Errno
		network     net.Error
	)
	switch {
	case errors.As(err, &own):
		return own.Fault, own.Error()
	case errors.Is(err, context.Canceled):
		return Remote, "cancelled"
	case errors.As(err, &certificate):
		return Setup, distrust(certificate.Err)
	case errors.Is(err, http.ErrSchemeMismatch), errors.As(err, new(tls.RecordHeaderError)):
		return Setup, "the server does not speak TLS; is the address http://?"
	case errors.As(err, &dns) && dns.IsNotFound:
		return Remote, "no such host"
	case errors.As(err, &dns):
		return Remote, "the host name cannot be looked up"
	case errors.As(err, &network) && network.Timeout():
		return Remote, "timed out"
	case errors.As(err, &number):
		return Remote, number.Error()
	case errors.As(err, &operation) && operation.Op == "remote error": // a TLS alert
		return Remote, operation.Err.Error()
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return Remote, "the connection was closed"
	case !connected:
		return Remote, "the request could not be sent"
	default:
		return Remote, "the connection was lost, or what came is not HTTP"
	}
}

// distrust says why a certificate is refused, without the names in it.
func distrust(err error) string {
	var (
		invalid   x509.CertificateInvalidError
		authority x509.UnknownAuthorityError
	)
	switch {
	case errors.As(err, new(x509.HostnameError)):
		return "the server's certificate is for another name"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "the server's certificate has expired or is not valid yet"
	case errors.As(err, &authority):
		return "the server's certificate is signed by an unknown authority; if it is yours, make it known by SSL_CERT_FILE"
	default:
		return "the server's certificate is not valid"
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
// 429, and 503 with Retry-After: Throttled; 401, 402, 403, 404, 405, 407, 410 and redirects, which hold for any
// lead: Setup; 408, 423, 425 and 5xx: Remote; other 4xx: Lead.
func StatusError(r *Response) error {
	if r.Status >= 200 && r.Status < 300 {
		return nil
	}
	said := cmp.Or(r.Redact(reason(r.Body)), http.StatusText(r.Status))
	e := &Error{
		RetryAfter: RetryAfter(r.Header, time.Now()),
		Err:        errors.New(strings.TrimSpace(strconv.Itoa(r.Status) + " " + said)),
	}
	switch s := r.Status; {
	case s == http.StatusTooManyRequests, s == http.StatusServiceUnavailable && r.Header.Get("Retry-After") != "":
		e.Fault = Throttled
	case s >= 500, s == http.StatusRequestTimeout, s == http.StatusLocked, s == http.StatusTooEarly:
		e.Fault = Remote
	case s >= 300 && s < 400:
		e.Fault = Setup
		e.Err = fmt.Errorf("%d redirects are not followed; set the final address", s)
	case s >= 401 && s <= 405, s == http.StatusProxyAuthRequired, s == http.StatusGone:
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

// textsOf lists the strings in a request's form or JSON body, and the numbers that could tell something.
func textsOf(req *http.Request) (texts []string) {
	if req.GetBody == nil {
		return nil
	}
	body, err := req.GetBody()
	if err != nil {
		return nil
	}
	defer body.Close()
	if strings.HasPrefix(req.Header.Get("Content-Type"), "application/x-www-form-urlencoded") {
		text, _ := io.ReadAll(body)
		form, _ := url.ParseQuery(string(text))
		for _, values := range form {
			texts = append(texts, values...)
		}
		return texts
	}
	var value any
	decoder := json.NewDecoder(body)
	decoder.UseNumber()
	if decoder.Decode(&value) != nil {
		return nil
	}
	var walk func(any)
	walk = func(value any) {
		switch v := value.(type) {
		case string:
			texts = append(texts, v)
		case json.Number:
			if len(v) > 3 {
				texts = append(texts, v.String())
			}
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

const (
	maxReason = 300            // runes of a reason that are kept
	maxText   = 16 * maxReason // and that are looked at
	redacted  = "<redacted>"
)

var (
	addressPattern = regexp.MustCompile(`[^\s"'<>(),:;=]+(?:@|%40)[^\s"'<>(),:;]+`)
	phonePattern   = regexp.MustCompile(`\+?\d[\d ().-]{6,}\d`)
)

// Redact removes e-mail addresses, long numbers and the given values from a text, and cuts it to a sane length.
// Values are found in upper or lower case, as URLs, JSON or HTML write them, and where only their beginning is
// quoted. Short ones must stand alone: a name "Ann" is not part of "cannot".
func Redact(text string, values ...string) string {
	text = cut(strings.ToValidUTF8(text, "\uFFFD"), maxText)
	given := []rune(text)
	folded := fold(given)
	forms := formsOf(among(values, string(folded)), len(text))
	mayHold := strings.Contains(text, "@") || strings.Contains(text, "%40") || hasNumber(text)
	if len(forms) == 0 && !mayHold {
		return cut(text, maxReason)
	}
	hidden := make([]bool, len(text))
	hide := func(from, to int) {
		for i := from; i < to; i++ {
			hidden[i] = true
		}
	}
	if mayHold {
		for _, pattern := range []*regexp.Regexp{addressPattern, phonePattern} {
			for _, span := range pattern.FindAllStringIndex(text, -1) {
				hide(span[0], span[1])
			}
		}
	}
	var places []int
	for i := range text {
		places = append(places, i)
	}
	places = append(places, len(text))
	for _, form := range forms {
		for i, from := range places[:len(given)] {
			hide(from, places[i+form.at(given, folded, i)])
		}
	}
	var shown strings.Builder
	for i := range len(text) {
		switch {
		case !hidden[i]:
			shown.WriteByte(text[i])
		case i == 0 || !hidden[i-1]:
			shown.WriteString(redacted)
		}
	}
	return cut(shown.String(), maxReason)
}

// hasNumber says whether a text may hold what phonePattern looks for.
func hasNumber(text string) bool {
	run := 0
	for i := range len(text) {
		if c := text[i]; c >= '0' && c <= '9' || strings.IndexByte(" ().-", c) >= 0 {
			if run++; run == 8 {
				return true
			}
			continue
		}
		run = 0
	}
	return false
}

func cut(text string, length int) string {
	if len(text) <= length {
		return text
	}
	if runes := []rune(text); len(runes) > length {
		return string(runes[:length]) + "…"
	}
	return text
}

const (
	shortValue = 4  // runes: a shorter value is only a word by itself
	quoteStart = 12 // runes of a value that tell as much as all of it
)

// form is one way in which a value may be written.
type form struct{ given, folded []rune }

// among lists the values that a folded text may hold: however one is written, it begins with what nobody escapes.
func among(values []string, folded string) (some []string) {
	for _, value := range values {
		if value = strings.TrimSpace(value); strings.Contains(folded, strings.ToLower(plainStart(value))) {
			some = append(some, value)
		}
	}
	return some
}

// formsOf lists the forms of values that a text of a length can hold.
func formsOf(values []string, length int) (forms []form) {
	seen := map[string]bool{}
	for _, value := range values {
		value = cut(strings.TrimSpace(value), length)
		inJSON, _ := json.Marshal(value)
		inForm := url.QueryEscape(value)
		inPath := strings.ReplaceAll(inForm, "+", "%20")
		for _, way := range []string{value, string(inJSON[1 : len(inJSON)-1]), inForm, inPath, html.EscapeString(value)} {
			runes := []rune(way)
			telling := len(runes) > 2 ||
				len(runes) == 2 && way != strings.ToLower(way) || // "Li", but not "no"
				len(runes) == 1 && !joins(runes[0])
			if telling && !seen[way] {
				seen[way] = true
				forms = append(forms, form{runes, fold(runes)})
			}
		}
	}
	return forms
}

// plainStart is how a value begins in whatever form.
func plainStart(value string) string {
	for i := range min(len(value), quoteStart) {
		if c := value[i]; c >= 0x80 || !(unicode.IsLetter(rune(c)) || unicode.IsDigit(rune(c))) {
			return value[:i]
		}
	}
	return value[:min(len(value), quoteStart)]
}

// at is how many runes at place i of a text are this form, or a telling beginning of it.
func (f form) at(given, folded []rune, i int) int {
	n := 0
	for n < len(f.folded) && i+n < len(folded) && folded[i+n] == f.folded[n] {
		n++
	}
	switch whole := n == len(f.folded); {
	case n >= quoteStart, whole && n >= shortValue:
		return n
	case !whole,
		i > 0 && joins(given[i-1]) && joins(given[i]),
		i+n < len(given) && joins(given[i+n]) && joins(given[i+n-1]),
		n == 2 && string(given[i:i+n]) != string(f.given):
		return 0
	}
	return n
}

// joins says whether a rune makes one word with its like beside it. In scripts without spaces none does.
func joins(r rune) bool { return r < 0x250 && (unicode.IsLetter(r) || unicode.IsDigit(r)) }

func fold(runes []rune) []rune {
	lower := make([]rune, len(runes))
	for i, r := range runes {
		lower[i] = unicode.ToLower(r)
	}
	return lower
}
