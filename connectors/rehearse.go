package connectors

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/leadrelay/leadrelay/internal/lead"
)

// Masked stands in a rehearsal where a secret would be sent.
const Masked = "••••"

// UnknownID stands in a rehearsal for an id that only the system knows, such as that of a record which is yet to be made.
const UnknownID = "‹id›"

// Rehearsed is one thing that a push would send: a request of HTTP, a row, a statement, a mail.
type Rehearsed struct {
	Line   string      `json:"line"`             // "POST https://api.hubapi.com/crm/v3/objects/contacts/batch/upsert", "UPSERT INTO leads", "row 7 of data/leads.csv"
	Header http.Header `json:"header,omitempty"` // of a request, secrets masked
	Body   string      `json:"body,omitempty"`   // as it would be sent, secrets masked; JSON indented for people

	// Cost is what the request costs under the connector's Limits, 0 where a push is one call whatever it sends (see Spend).
	Cost int `json:"cost,omitempty"`

	// Leads is how many leads one such request takes, where it takes several.
	Leads int `json:"leads,omitempty"`
}

// Rehearser is for connectors that can say what they would send.
type Rehearser interface {
	// Rehearse is Push without sending: it makes no connection, writes no file, and leaves nothing in the connector that a
	// push would notice. What was rehearsed until an error is returned beside it.
	Rehearse(ctx context.Context, change lead.Change, ref string) ([]Rehearsed, error)
}

// ErrUnanswered: what follows depends on an answer that only the system itself could give.
var ErrUnanswered = errors.New("what would follow depends on the system's answer, which is not known here")

// Rehearse says what Push would send for a change, and sends nothing: it makes no connection at all and writes no file.
// The error is that of a push: of a lead that does not fit its mapping it is a Lead fault. What would have been sent until
// then is returned beside it.
func Rehearse(ctx context.Context, c Connector, change lead.Change, ref string) ([]Rehearsed, error) {
	r, ok := c.(Rehearser)
	if !ok {
		return nil, errors.New("this kind of connector cannot say what it would send")
	}
	// Whatever a connector does in there: its Client sends nothing, and no worker's limits are spent.
	return r.Rehearse(onStage(WithHost(ctx, nil), &stage{}), change, ref)
}

// RehearseRequests runs push with a context in which a Client sends nothing: vendor answers in the system's place, and
// says 501 where it does not know how. It returns the requests, without the secrets.
func RehearseRequests(ctx context.Context, vendor http.Handler, secrets []string, push func(context.Context) error) ([]Rehearsed, error) {
	s := &stage{vendor: vendor, mask: masking(secrets)}
	err := push(onStage(WithHost(ctx, nil), s))
	if s.unanswered {
		err = ErrUnanswered
	}
	return s.sent, err
}

// stage is where a Client's requests go that are not to be sent.
type stage struct {
	vendor     http.Handler // nil: nothing is to be asked at all
	mask       *strings.Replacer
	sent       []Rehearsed
	unanswered bool
}

type stageKey struct{}

func onStage(ctx context.Context, s *stage) context.Context {
	return context.WithValue(ctx, stageKey{}, s)
}

func stageOf(ctx context.Context) *stage {
	s, _ := ctx.Value(stageKey{}).(*stage)
	return s
}

// maxRehearsed is more requests than any push makes.
const maxRehearsed = 200

// perform is Client.Do on the stage.
func (s *stage) perform(req *http.Request) (*Response, error) {
	if s.vendor == nil || len(s.sent) == maxRehearsed {
		return nil, &Error{NotSent: true, Err: errors.New("a rehearsal sends nothing")}
	}
	var body []byte
	if req.Body != nil {
		var err error
		if body, err = io.ReadAll(req.Body); err != nil {
			return nil, &Error{NotSent: true, Err: errors.New("the request cannot be read")}
		}
		req.Body.Close()
	}
	s.sent = append(s.sent, s.shown(req, body))
	heard := req.Clone(req.Context())
	heard.Body = io.NopCloser(bytes.NewReader(body))
	heard.Host, heard.RequestURI = cmp.Or(req.Host, req.URL.Host), req.URL.RequestURI()
	answer := &rehearsedAnswer{header: http.Header{}}
	s.vendor.ServeHTTP(answer, heard)
	r := &Response{Status: cmp.Or(answer.status, http.StatusOK), Header: answer.header, Body: answer.body.Bytes(), request: req}
	if r.Status == http.StatusNotImplemented {
		s.unanswered = true
	}
	return r, StatusError(r)
}

func (s *stage) shown(req *http.Request, body []byte) Rehearsed {
	shown := Rehearsed{Line: s.mask.Replace(req.Method + " " + req.URL.String()), Header: http.Header{}}
	for name, values := range req.Header {
		for _, value := range values {
			if value = s.mask.Replace(value); signs(name) {
				value = maskedSignIn(value)
			}
			shown.Header.Add(name, value)
		}
	}
	if indented := (&bytes.Buffer{}); json.Indent(indented, body, "", "  ") == nil {
		body = indented.Bytes()
	}
	shown.Body = s.mask.Replace(string(body))
	return shown
}

// signs says whether a header's value follows from secrets.
func signs(name string) bool {
	name = strings.ToLower(name)
	return name == "authorization" || name == "proxy-authorization" || name == "cookie" || strings.HasSuffix(name, "-signature")
}

// maskedSignIn leaves the scheme of an Authorization header, such as Bearer.
func maskedSignIn(value string) string {
	if scheme, _, found := strings.Cut(value, " "); found && !strings.ContainsAny(scheme, ",:=") {
		return scheme + " " + Masked
	}
	return Masked
}

// masking replaces secrets, however URLs, JSON and HTML write them.
func masking(secrets []string) *strings.Replacer {
	var found []string
	for _, secret := range secrets {
		if secret != "" {
			for _, form := range formsOf([]string{secret}, len(secret)) {
				found = append(found, string(form.given))
			}
			found = append(found, secret, url.PathEscape(secret)) // however short it is
		}
	}
	slices.SortFunc(found, func(a, b string) int { return cmp.Or(cmp.Compare(len(b), len(a)), cmp.Compare(a, b)) })
	var pairs []string
	for _, text := range slices.Compact(found) { // the longest first: one may begin with another
		pairs = append(pairs, text, Masked)
	}
	return strings.NewReplacer(pairs...)
}

// rehearsedAnswer is what a vendor answers on the stage.
type rehearsedAnswer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (a *rehearsedAnswer) Header() http.Header { return a.header }

func (a *rehearsedAnswer) WriteHeader(status int) { a.status = cmp.Or(a.status, status) }

func (a *rehearsedAnswer) Write(p []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	return a.body.Write(p)
}
