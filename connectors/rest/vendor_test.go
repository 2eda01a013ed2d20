package rest

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/leadrelay/leadrelay/connectors"
	"github.com/leadrelay/leadrelay/internal/lead"
)

// says is one answer of a vendor that answers as it is told.
type says struct {
	status int
	body   string
	header map[string]string
}

// vendor answers request by request and keeps what it was asked: "METHOD /uri body".
type vendor struct {
	t   testing.TB
	url string
	log strings.Builder

	mu      sync.Mutex
	answers []says
	asked   []string
	headers []http.Header
}

func newVendor(t testing.TB, answers ...says) *vendor {
	v := &vendor{t: t, answers: answers}
	server := httptest.NewServer(v)
	t.Cleanup(server.Close)
	v.url = server.URL
	return v
}

func (v *vendor) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	v.mu.Lock()
	defer v.mu.Unlock()
	body, _ := io.ReadAll(r.Body)
	v.asked = append(v.asked, strings.TrimSpace(r.Method+" "+r.URL.RequestURI()+" "+string(body)))
	v.headers = append(v.headers, r.Header.Clone())
	if len(v.answers) == 0 {
		v.t.Errorf("one request too many: %s", v.asked[len(v.asked)-1])
		w.WriteHeader(http.StatusTeapot)
		return
	}
	next := v.answers[0]
	v.answers = v.answers[1:]
	for name, value := range next.header {
		w.Header().Set(name, value)
	}
	if next.status == 0 { // the answer is lost
		panic(http.ErrAbortHandler)
	}
	w.WriteHeader(next.status)
	io.WriteString(w, next.body)
}

// got returns what was asked since the last call, and fails unless every answer was asked for.
func (v *vendor) got() []string {
	v.t.Helper()
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.answers) > 0 {
		v.t.Errorf("%d answers were not asked for", len(v.answers))
	}
	asked := v.asked
	v.asked = nil
	return asked
}

func (v *vendor) wants(want ...string) {
	v.t.Helper()
	if got := v.got(); !reflect.DeepEqual(got, want) {
		v.t.Errorf("asked\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}
}

// top is the beginning of a recipe that is whole but for what a test is about.
const top = `
name: acme
title: Acme
docs: https://acme.example
base_url: https://api.acme.example
`

// open opens a recipe's connector at a vendor.
func open(t testing.TB, v *vendor, source string, settings map[string]any, fields ...connectors.FieldRule) connectors.Connector {
	t.Helper()
	recipe, err := Parse("acme.yaml", []byte(source))
	if err != nil {
		t.Fatal(err)
	}
	kind := recipe.Kind()
	if fields == nil {
		fields = kind.Fields
	}
	mapping, err := connectors.NewMapping(fields)
	if err != nil {
		t.Fatal(err)
	}
	given := map[string]any{"base_url": v.url}
	for name, value := range settings {
		given[name] = value
	}
	log := slog.New(slog.NewTextHandler(&v.log, nil))
	c, err := kind.Open(given, connectors.Env{Name: "acme", Fields: mapping, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.(io.Closer).Close() })
	return c
}

func person(id string) lead.Lead {
	return lead.Lead{ID: "lead_" + id, Name: "Ada Lovelace", Email: id + "@example.com", Revision: 1, Created: time.Unix(1, 0), Updated: time.Unix(1, 0),
		Custom: map[string]any{"budget": json.Number("1500"), "tags": []any{"a", "b"}}}
}

func change(op lead.Op, l lead.Lead) lead.Change {
	if op == lead.Delete {
		l = lead.Lead{ID: l.ID, Revision: l.Revision + 1}
	}
	return lead.Change{ID: "chg_" + l.ID, Op: op, Lead: l, Time: time.Unix(1, 0)}
}

func push(c connectors.Connector, op lead.Op, id, ref string) (string, error) {
	return c.Push(context.Background(), change(op, person(id)), ref)
}

func wantRef(t testing.TB, want, ref string, err error) {
	t.Helper()
	if err != nil || ref != want {
		t.Errorf("got the ref %q and %v, want %q", ref, err, want)
	}
}

func wantFault(t testing.TB, err error, fault connectors.Fault, reason string) {
	t.Helper()
	if err == nil {
		t.Errorf("no error, want the fault %v with %q", fault, reason)
		return
	}
	if got, _ := connectors.FaultOf(err); got != fault || !strings.Contains(err.Error(), reason) {
		t.Errorf("got the fault %v: %v; want %v with %q", got, err, fault, reason)
	}
}
