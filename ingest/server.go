// Package ingest is the front end: HTTP in, store out. It accepts leads, answers for them, and knows nothing of
// the systems they go to.
package ingest

import (
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"time"

	"github.com/julienschmidt/httprouter"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/time/rate"

	"github.com/leadrelay/leadrelay/internal/store"
)

// Options are what the front end gets from the outside.
type Options struct {
	Store   *store.Store
	Log     *slog.Logger
	Metrics *prometheus.Registry

	Keys   []Key
	Dedupe bool // a create with a known address updates that lead

	BodyBytes  int64   // the largest body; 0: 64 KiB
	Concurrent int     // requests at once, more are answered 503; 0: 1024
	Rate       float64 // requests a second for each key, more are answered 429; 0: unlimited
	Burst      int     // requests a key may make at once under Rate; 0: as many as a second's
}

const (
	defaultBodyBytes  = 64 << 10
	defaultConcurrent = 1024

	// storeTimeout bounds what a request that is read waits for Redis: past it the answer is 503.
	storeTimeout = 5 * time.Second
)

// server answers the front end's routes.
type server struct {
	Options
	keys    *keyring
	limits  *limits
	flying  flying
	turns   turns
	metrics *metrics

	toldUnavailable *rate.Limiter
}

// New returns the front end's handler.
func New(opts Options) http.Handler {
	if opts.BodyBytes == 0 {
		opts.BodyBytes = defaultBodyBytes
	}
	if opts.Concurrent == 0 {
		opts.Concurrent = defaultConcurrent
	}
	s := &server{
		Options: opts,
		keys:    newKeyring(opts.Keys),
		limits:  newLimits(opts.Concurrent, opts.Rate, opts.Burst),
		turns:   turns{leads: map[string]*turn{}},
		metrics: newMetrics(opts.Metrics),

		toldUnavailable: rate.NewLimiter(rate.Every(5*time.Second), 1),
	}
	router := httprouter.New()
	router.RedirectTrailingSlash = false
	router.RedirectFixedPath = false

	get := func(path string, handle httprouter.Handle) {
		router.GET(path, handle)
		router.HEAD(path, handle) // net/http leaves the body out
	}
	const leads, one = "/api/v1/leads", "/api/v1/leads/:id"
	router.POST(leads, s.guard("create", CreateOnly, s.create))
	get(leads, s.guard("list", Full, s.list))
	get(one, s.guard("get", Full, s.get))
	router.PUT(one, s.guard("update", Full, s.update))
	router.DELETE(one, s.guard("delete", Full, s.delete))

	get("/healthz", func(w http.ResponseWriter, _ *http.Request, _ httprouter.Params) {
		writeJSON(w, http.StatusOK, map[string]any{"ok": true})
	})
	get("/readyz", s.ready)
	exposition := promhttp.HandlerFor(opts.Metrics, promhttp.HandlerOpts{})
	get("/metrics", func(w http.ResponseWriter, r *http.Request, _ httprouter.Params) { exposition.ServeHTTP(w, r) })

	router.NotFound = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fail(w, http.StatusNotFound, "not_found", "there is nothing at this path; leads are at "+leads)
	})
	router.MethodNotAllowed = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fail(w, http.StatusMethodNotAllowed, "method_not_allowed", "this path takes "+w.Header().Get("Allow"))
	})
	router.PanicHandler = s.panicked
	return router
}

// panicked answers a request that met a defect of ours. What was panicked with may hold what a lead holds, so that
// only its type is told, with the place.
func (s *server) panicked(w http.ResponseWriter, _ *http.Request, recovered any) {
	s.Log.Error("a request failed unexpectedly", "panic", fmt.Sprintf("%T", recovered), "stack", string(debug.Stack()))
	fail(w, http.StatusInternalServerError, "internal", "the request failed unexpectedly; it may be sent again")
}

// Serving returns an http.Server with sane limits for a handler of New.
func Serving(handler http.Handler) *http.Server {
	return &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       15 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
	}
}

// ready says whether leads can be accepted, and what an accepted one survives.
func (s *server) ready(w http.ResponseWriter, r *http.Request, _ httprouter.Params) {
	ctx, cancel := patient(r)
	defer cancel()
	if err := s.Store.Ping(ctx); err != nil {
		s.unavailable(w, err)
		return
	}
	words, safe := s.Store.Persistence(ctx).Survives()
	writeJSON(w, http.StatusOK, map[string]any{
		"ready": true, "redis": "reachable", "config": "loaded", "persistence": words, "persistence_safe": safe,
	})
}
