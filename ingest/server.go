// Package ingest is the front end: HTTP in, store out. It accepts leads, answers for them, and knows nothing of
// the systems they go to.
package ingest

import (
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/julienschmidt/httprouter"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sync/semaphore"
	"golang.org/x/time/rate"

	"github.com/leadrelay/leadrelay/internal/store"
)

// Options are what the front end gets from the outside.
type Options struct {
	Store   *store.Store
	Log     *slog.Logger
	Metrics *prometheus.Registry
	Config  func() ConfigState // for /readyz; may be nil

	Keys    []Key
	Sources []Source
	Dedupe  bool // a create with a known address updates that lead

	BodyBytes  int64   // the largest body; 0: 64 KiB
	BatchBytes int64   // the largest body of a batch, whose leads are of BodyBytes each at most; 0: 8 MiB
	Concurrent int     // requests at once, more are answered 503; 0: 1024
	Rate       float64 // requests a second for each key, more are answered 429; 0: unlimited
	Burst      int     // requests a key may make at once under Rate; 0: as many as a second's
}

const (
	defaultBodyBytes  = 64 << 10
	defaultBatchBytes = 8 << 20
	defaultConcurrent = 1024

	// storeTimeout bounds what a request that is read waits for Redis: past it the answer is 503.
	storeTimeout = 5 * time.Second
	batchTimeout = 10 * time.Second // the same for a batch
)

// ConfigState says which configuration is in use.
type ConfigState struct {
	Revision string
	Loaded   time.Time
	Problem  string // why a newer one is not; "": there is none
}

// FrontEnd answers the front end's routes.
type FrontEnd struct {
	lasting *lasting
	current atomic.Pointer[httprouter.Router]
}

// lasting is what outlives a change of the options.
type lasting struct {
	flying  flying
	turns   turns
	batches *semaphore.Weighted // bytes
	metrics *metrics

	toldUnavailable *rate.Limiter
}

// server answers requests by one set of options.
type server struct {
	Options
	*lasting
	keys   *keyring
	limits *limits
}

// New returns the front end.
func New(opts Options) *FrontEnd {
	f := &FrontEnd{lasting: &lasting{
		turns:   turns{leads: map[string]*turn{}},
		batches: semaphore.NewWeighted(maxBatchesBytes),
		metrics: newMetrics(opts.Metrics),

		toldUnavailable: rate.NewLimiter(rate.Every(5*time.Second), 1),
	}}
	f.Reload(opts)
	return f
}

// Reload replaces the options but for Metrics. A request under way is answered by those it began with.
func (f *FrontEnd) Reload(opts Options) { f.current.Store(newRouter(opts, f.lasting)) }

func (f *FrontEnd) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.current.Load().ServeHTTP(w, r)
}

func newRouter(opts Options, lasts *lasting) *httprouter.Router {
	if opts.BodyBytes == 0 {
		opts.BodyBytes = defaultBodyBytes
	}
	if opts.BatchBytes == 0 {
		opts.BatchBytes = defaultBatchBytes
	}
	if opts.Concurrent == 0 {
		opts.Concurrent = defaultConcurrent
	}
	s := &server{
		Options: opts,
		lasting: lasts,
		keys:    newKeyring(opts.Keys),
		limits:  newLimits(opts.Concurrent, opts.Rate, opts.Burst),
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
	router.POST(leads+"/batch", s.guard("batch", CreateOnly, s.batch))
	get(leads, s.guard("list", Full, s.list))
	get(one, s.guard("get", Full, s.get))
	router.PUT(one, s.guard("update", Full, s.update))
	router.DELETE(one, s.guard("delete", Full, s.delete))

	router.POST("/in/:source", s.open("source", s.delivered))
	router.GET("/in/:source", s.open("source_challenge", s.challenged))

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
	state := map[string]any{
		"ready": true, "redis": "reachable", "config": "loaded", "persistence": words, "persistence_safe": safe,
	}
	if s.Config != nil {
		c := s.Config()
		state["config_revision"], state["config_loaded_at"], state["config_problem"] = c.Revision, timestamp(c.Loaded), c.Problem
	}
	writeJSON(w, http.StatusOK, state)
}
