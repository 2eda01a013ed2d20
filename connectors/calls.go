package connectors

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

// Call is one request that a push made, as operators are told of it: without secrets, and without what the request or
// its answer say of the lead. A path may hold what a vendor knows the lead by.
type Call struct {
	Line   string // "POST /crm/v3/objects/contacts"
	Status int    // of the answer; 0: there was none, or the system has no such thing
	Began  time.Time
	Took   time.Duration
	Said   string // an answer that is no success, masked, or why there was none
}

// maxCalls is how many of a push's requests are kept.
const maxCalls = 12

// Calls collects the requests of a push. It is safe for concurrent use.
type Calls struct {
	mu   sync.Mutex
	list []Call
}

type callsKey struct{}

// WithCalls is the context of a push whose requests are collected.
func WithCalls(ctx context.Context, calls *Calls) context.Context {
	return context.WithValue(ctx, callsKey{}, calls)
}

// NoteCall is said by what sends requests, after each. Client does.
func NoteCall(ctx context.Context, call Call) {
	calls, _ := ctx.Value(callsKey{}).(*Calls)
	if calls == nil {
		return
	}
	calls.mu.Lock()
	defer calls.mu.Unlock()
	if len(calls.list) < maxCalls {
		calls.list = append(calls.list, call)
	}
}

// List returns what was collected so far.
func (c *Calls) List() []Call {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.list)
}

// noteCall notes a request of the client, and its answer or why there was none.
func (c *Client) noteCall(req *http.Request, answer *Response, err error, began time.Time) {
	if req.Context().Value(callsKey{}) == nil {
		return
	}
	call := Call{Line: req.Method, Began: began, Took: time.Since(began)}
	if !c.secretURL {
		call.Line += " " + targetOf(req.URL, c.secrets)
	}
	switch {
	case answer == nil && err != nil:
		call.Said = err.Error()
	case answer != nil:
		call.Status = answer.Status
		if err != nil {
			call.Said = answer.Redact(masked(answer.Body), c.secrets...)
		}
	}
	NoteCall(req.Context(), call)
}

// targetOf is a URL's path and what its query asks by, without values.
func targetOf(u *url.URL, secrets []string) string {
	target := pathOf(u, secrets)
	if u.RawQuery == "" {
		return target
	}
	var names []string
	for name := range u.Query() {
		names = append(names, Redact(name, secrets...)+"=•••")
	}
	slices.Sort(names)
	return target + "?" + strings.Join(names, "&")
}

// pathOf is a URL's path, of which each segment tells as much as it may by itself.
func pathOf(u *url.URL, secrets []string) string {
	path := u.EscapedPath()
	for _, secret := range secrets {
		if strings.Contains(secret, "/") && strings.Contains(u.Path, secret) {
			return "/" + redacted
		}
	}
	segments := strings.Split(path, "/")
	for i, segment := range segments {
		segments[i] = Redact(segment, secrets...)
	}
	return strings.Join(segments, "/")
}

// masked is an answer without what it may say of a lead: the shape of its JSON, with the vendor's reasons and small
// numbers. Of another body there is only its length.
func masked(body []byte) string {
	var value any
	if len(body) == 0 {
		return ""
	}
	if json.Unmarshal(body, &value) != nil {
		return fmt.Sprintf("%d bytes that are not JSON", len(body))
	}
	text, _ := json.Marshal(mask("", value, 0)) // what was unmarshalled marshals
	return string(text)
}

const (
	maxMaskedDepth = 6
	maxMaskedItems = 3
	maskedText     = "•••"
)

func mask(key string, value any, depth int) any {
	if depth > maxMaskedDepth {
		return maskedText
	}
	switch v := value.(type) {
	case map[string]any:
		shape := make(map[string]any, len(v))
		for name, member := range v {
			shape[Redact(name)] = mask(name, member, depth+1)
		}
		return shape
	case []any:
		shape := make([]any, 0, maxMaskedItems)
		for _, item := range v[:min(len(v), maxMaskedItems)] {
			shape = append(shape, mask(key, item, depth+1))
		}
		return shape
	case string:
		if slices.Contains(explainingKeys, strings.ToLower(key)) || key == "errors" || key == "errorCode" || key == "category" {
			return Redact(v)
		}
		return maskedText
	case float64:
		if v < 1000 && v > -1000 {
			return v
		}
		return maskedText
	}
	return value
}
