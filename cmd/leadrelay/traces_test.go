package main

import (
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	otlptrace "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/leadrelay/leadrelay/internal/lead"
	"github.com/leadrelay/leadrelay/internal/tracing"
)

// otlp is a collector of traces.
type otlp struct {
	*httptest.Server
	mu      sync.Mutex
	spans   []*otlptrace.Span
	refused []string
	bodies  []byte
}

func newOTLP(t *testing.T) *otlp {
	o := &otlp{}
	o.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		var request collector.ExportTraceServiceRequest
		o.mu.Lock()
		defer o.mu.Unlock()
		switch {
		case r.URL.Path != "/v1/traces" || r.Header.Get("Authorization") != "Bearer trace-secret":
			o.refused = append(o.refused, r.URL.Path+" "+r.Header.Get("Authorization"))
			w.WriteHeader(http.StatusForbidden)
			return
		case err != nil || proto.Unmarshal(body, &request) != nil:
			o.refused = append(o.refused, "not an export")
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		o.bodies = append(o.bodies, body...)
		for _, resource := range request.ResourceSpans {
			for _, scope := range resource.ScopeSpans {
				o.spans = append(o.spans, scope.Spans...)
			}
		}
	}))
	t.Cleanup(o.Close)
	return o
}

// of lists the spans of a change's trace, by name.
func (o *otlp) of(c tracing.Change) map[string][]*otlptrace.Span {
	o.mu.Lock()
	defer o.mu.Unlock()
	found := map[string][]*otlptrace.Span{}
	for _, span := range o.spans {
		if hex.EncodeToString(span.TraceId) == c.TraceID() {
			found[span.Name] = append(found[span.Name], span)
		}
	}
	return found
}

func said(span *otlptrace.Span) map[string]string {
	all := map[string]string{}
	for _, a := range span.Attributes {
		all[a.Key] = a.Value.GetStringValue()
		if n := a.Value.GetIntValue(); n != 0 {
			all[a.Key] = fmt.Sprint(n)
		}
	}
	return all
}

func TestP7OneTraceLeadsFromAcceptToEachConnectorsAnswerAndHoldsIdsAlone(t *testing.T) {
	traces := newOTLP(t)
	var mu sync.Mutex
	refusals, heard := 1, 0
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if refusals > 0 {
			refusals--
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		heard++
	}))
	defer receiver.Close()
	t.Setenv("LEADRELAY_TRACING_ENDPOINT", traces.URL)
	t.Setenv("LEADRELAY_TRACING_HEADERS", "authorization=Bearer trace-secret")
	dir := t.TempDir()
	r := startUp(t, dir, "in-process", fmt.Sprintf(
		"  - {name: hook, type: webhook, settings: {url: %q, allow_private: true}}\n  - {name: other, type: csv, settings: {path: %q}}\n",
		receiver.URL+"/secret-path", filepath.Join(dir, "other.csv")))
	id := r.post(`{"email":"jane@example.com","name":"Jane Roe"}`)
	wait(t, "the row", func() bool { return strings.Contains(r.sheet(), id) })
	if status, text := r.call("PUT", "/api/v1/leads/"+id, `{"name":"Jane Poe"}`); status != 200 {
		t.Fatalf("%d %s", status, text)
	}
	wait(t, "the change", func() bool { return strings.Contains(r.sheet(), "Poe") })
	wait(t, "the webhook", func() bool { mu.Lock(); defer mu.Unlock(); return heard == 2 })
	if status, text := r.call("DELETE", "/api/v1/leads/"+id, ""); status != 200 {
		t.Fatalf("%d %s", status, text)
	}
	made, gone := tracing.Change{Lead: id, Revision: 1, Op: lead.Create}, tracing.Change{Lead: id, Op: lead.Delete}
	wait(t, "the traces", func() bool {
		first, last := traces.of(made), traces.of(gone)
		return len(first["accept create"]) == 1 && len(first["push hook"]) == 2 && len(first["POST"]) == 2 && len(first["push sheet"]) == 1 &&
			len(last["accept delete"]) == 1 && len(last["push hook"]) == 1 && len(last["push sheet"]) == 1 && len(last["push other"]) == 1
	})
	spans := traces.of(made)
	accepted := spans["accept create"][0]
	if len(accepted.ParentSpanId) != 0 || said(accepted)["leadrelay.lead.id"] != id || accepted.EndTimeUnixNano <= accepted.StartTimeUnixNano {
		t.Errorf("the accept is told of as %v", accepted)
	}
	outcomes := map[string]bool{}
	for _, push := range spans["push hook"] {
		outcomes[said(push)["leadrelay.outcome"]] = true
		if string(push.ParentSpanId) != string(accepted.SpanId) || said(push)["leadrelay.connector"] != "hook" {
			t.Errorf("a push is told of as %v", push)
		}
		if failed := push.Status.GetCode() == otlptrace.Status_STATUS_CODE_ERROR; failed != (said(push)["leadrelay.outcome"] == "retried") {
			t.Errorf("a push of outcome %s has the status %v", said(push)["leadrelay.outcome"], push.Status)
		}
	}
	if !outcomes["retried"] || !outcomes["in_step"] {
		t.Errorf("the pushes came to %v", outcomes)
	}
	for _, request := range spans["POST"] {
		if s := said(request); s["http.response.status_code"] != "502" && s["http.response.status_code"] != "200" {
			t.Errorf("a request is told of as %v", s)
		}
	}
	traces.mu.Lock()
	defer traces.mu.Unlock()
	if len(traces.refused) > 0 {
		t.Errorf("the collector refused %q", traces.refused)
	}
	for _, secret := range []string{"jane", "Jane", "Roe", "Poe", "secret-path"} {
		if strings.Contains(string(traces.bodies), secret) {
			t.Errorf("the traces hold %q", secret)
		}
	}
}

func TestACollectorThatIsAwayHoldsUpNothing(t *testing.T) {
	t.Setenv("LEADRELAY_TRACING_ENDPOINT", "http://127.0.0.1:1")
	r := startUp(t, t.TempDir(), "in-process", "")
	id := r.post(`{"email":"jane@example.com"}`)
	wait(t, "the row", func() bool { return strings.Contains(r.sheet(), id) })
}
