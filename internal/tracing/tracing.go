// Package tracing exports OpenTelemetry traces: one for each change of a lead, from its acceptance to what each connector
// answered. The trace's id follows from the lead and its revision, so that nothing has to be carried from the front end
// to the workers, and whoever knows a lead finds its traces. Spans hold ids, never personal data.
package tracing

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"golang.org/x/time/rate"

	"github.com/leadrelay/leadrelay/internal/lead"
)

// Options say where traces go.
type Options struct {
	Endpoint string            // an OTLP/HTTP collector: http://collector:4318, or with its whole path
	Headers  map[string]string // sent with each export
	Sample   float64           // the share of changes that are traced, 0 to 1
	Version  string            // of this program
	Log      *slog.Logger
}

// Tracing exports traces behind the work it tells of: it never holds that up, and drops what cannot be sent. Of a nil
// Tracing every method does nothing.
type Tracing struct {
	provider *sdk.TracerProvider
	tracer   trace.Tracer
}

// Start begins to export.
func Start(ctx context.Context, o Options) (*Tracing, error) {
	endpoint, err := url.Parse(o.Endpoint)
	if err != nil {
		return nil, fmt.Errorf("tracing: endpoint: not a URL")
	}
	if endpoint.Path == "" || endpoint.Path == "/" {
		endpoint.Path = "/v1/traces"
	}
	exporter, err := otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL(endpoint.String()), otlptracehttp.WithHeaders(o.Headers))
	if err != nil {
		return nil, fmt.Errorf("tracing: %w", err)
	}
	seldom := rate.Sometimes{Interval: time.Minute}
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) {
		seldom.Do(func() {
			o.Log.Warn("traces cannot be exported; while that is so, this is told once a minute", "endpoint", endpoint.Host, "error", err)
		})
	}))
	provider := sdk.NewTracerProvider(
		sdk.WithBatcher(exporter, sdk.WithBatchTimeout(time.Second), sdk.WithMaxQueueSize(1<<13), sdk.WithExportTimeout(10*time.Second)),
		// By the trace's id, so that front end and workers choose the same.
		sdk.WithSampler(sdk.TraceIDRatioBased(o.Sample)),
		sdk.WithIDGenerator(ids{}),
		sdk.WithResource(resource.NewSchemaless(attribute.String("service.name", "leadrelay"), attribute.String("service.version", o.Version))),
	)
	return &Tracing{provider, provider.Tracer("github.com/leadrelay/leadrelay")}, nil
}

// Close exports what is left, until ctx ends.
func (t *Tracing) Close(ctx context.Context) error {
	if t == nil {
		return nil
	}
	return t.provider.Shutdown(ctx)
}

// Change is one accepted change of a lead: what a trace is about.
type Change struct {
	Lead     string // its id
	Revision int64  // 0 for a delete
	Op       lead.Op
}

// accepted is the span of a change's acceptance: its trace, and the parent of all that follows.
func (c Change) accepted() trace.SpanContext {
	what := strconv.FormatInt(c.Revision, 10)
	if c.Op == lead.Delete {
		what = string(c.Op)
	}
	sum := sha256.Sum256([]byte("leadrelay trace " + c.Lead + " " + what))
	return trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: trace.TraceID(sum[:16]), SpanID: trace.SpanID(sum[16:24]), TraceFlags: trace.FlagsSampled, Remote: true,
	})
}

// TraceID is the id of a change's trace, as trace viewers write it.
func (c Change) TraceID() string { return c.accepted().TraceID().String() }

func (c Change) attributes(more ...attribute.KeyValue) []attribute.KeyValue {
	all := []attribute.KeyValue{attribute.String("leadrelay.lead.id", c.Lead), attribute.String("leadrelay.op", string(c.Op))}
	if c.Revision > 0 {
		all = append(all, attribute.Int64("leadrelay.lead.revision", c.Revision))
	}
	return append(all, more...)
}

// WithRequest is the context of a request to a route that may change leads.
func (t *Tracing) WithRequest(r *http.Request, route string, began time.Time) *http.Request {
	if t == nil {
		return r
	}
	caller := propagation.TraceContext{}.Extract(context.Background(), propagation.HeaderCarrier(r.Header))
	asked := request{route: route, began: began, caller: trace.SpanContextFromContext(caller)}
	return r.WithContext(context.WithValue(r.Context(), requestKey{}, asked))
}

// request is what asked for a change.
type request struct {
	route  string
	began  time.Time
	caller trace.SpanContext // of its traceparent, if it had one
}

type requestKey struct{}

// Accepted tells of a change that was accepted just now, on behalf of the request that ctx is of, if it is of one. The
// caller's own trace, if it sent one, is linked.
func (t *Tracing) Accepted(ctx context.Context, c Change) {
	if t == nil {
		return
	}
	options := []trace.SpanStartOption{trace.WithNewRoot(), trace.WithSpanKind(trace.SpanKindServer), trace.WithAttributes(c.attributes()...)}
	if asked, ok := ctx.Value(requestKey{}).(request); ok {
		options = append(options, trace.WithTimestamp(asked.began), trace.WithAttributes(attribute.String("leadrelay.route", asked.route)))
		if asked.caller.IsValid() {
			options = append(options, trace.WithLinks(trace.Link{SpanContext: asked.caller}))
		}
	}
	_, span := t.tracer.Start(withIDs(context.Background(), c.accepted()), "accept "+string(c.Op), options...)
	span.End()
}

// Push is one attempt to bring a change to a connector.
type Push struct {
	Change
	Connector string
	Outcome   string // as a lead's history has it
	Fault     string // "": it did not fail
	Reason    string // without personal data
	Began     time.Time
	Took      time.Duration
	Calls     []Call
}

// Call is one request of a Push.
type Call struct {
	Line   string // "POST /crm/v3/objects/contacts", masked
	Method string
	Status int // 0: no answer
	Began  time.Time
	Took   time.Duration
}

// Pushed tells of an attempt.
func (t *Tracing) Pushed(p Push) {
	if t == nil {
		return
	}
	ctx := trace.ContextWithSpanContext(context.Background(), p.accepted())
	ctx, span := t.tracer.Start(ctx, "push "+p.Connector, trace.WithTimestamp(p.Began), trace.WithSpanKind(trace.SpanKindConsumer),
		trace.WithAttributes(p.attributes(attribute.String("leadrelay.connector", p.Connector), attribute.String("leadrelay.outcome", p.Outcome))...))
	for _, c := range p.Calls {
		_, call := t.tracer.Start(ctx, c.Method, trace.WithTimestamp(c.Began), trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(
			attribute.String("http.request.method", c.Method), attribute.String("leadrelay.request", c.Line)))
		if c.Status > 0 {
			call.SetAttributes(attribute.Int("http.response.status_code", c.Status))
		}
		if c.Status == 0 || c.Status >= 400 {
			call.SetStatus(codes.Error, "")
		}
		call.End(trace.WithTimestamp(c.Began.Add(c.Took)))
	}
	if p.Fault != "" {
		span.SetAttributes(attribute.String("error.type", p.Fault))
		span.SetStatus(codes.Error, p.Reason)
	}
	span.End(trace.WithTimestamp(p.Began.Add(p.Took)))
}

// ids gives an accepted change its own ids, and all else random ones.
type ids struct{}

type idsKey struct{}

func withIDs(ctx context.Context, of trace.SpanContext) context.Context {
	return context.WithValue(ctx, idsKey{}, of)
}

func (ids) NewIDs(ctx context.Context) (trace.TraceID, trace.SpanID) {
	if of, ok := ctx.Value(idsKey{}).(trace.SpanContext); ok {
		return of.TraceID(), of.SpanID()
	}
	var trace [16]byte
	rand.Read(trace[:]) // never fails, by its contract
	return trace, ids{}.NewSpanID(ctx, trace)
}

func (ids) NewSpanID(context.Context, trace.TraceID) (id trace.SpanID) {
	rand.Read(id[:])
	return id
}
