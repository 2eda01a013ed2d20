// Package ingest is the front end: HTTP in, store out. It accepts leads, answers for them, and knows nothing of
// the systems they go to.
package ingest

import (
	"crypto/sha256"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"runtime/debug"
	"sync/atomic"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/julienschmidt/httprouter"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sync/semaphore"
	"golang.org/x/time/rate"

	"github.com/leadrelay/leadrelay/internal/store"
	"github.com/leadrelay/leadrelay/internal/tracing"
)

// Options are what the front end gets from the outside.
type Options struct {
	Store   *store.Store
	Log     *slog.Logger
	Metrics *prometheus.Registry
	Config  func() ConfigState // for /readyz; may be nil
	Tracing *tracing.Tracing   // nil: nothing is traced

	Keys    []Key
	Sources []Source
	Forms   []Form
	Dedupe  bool // a create with a known address updates that lead
	Demo    bool // whether there is the page that shows the forms

	// TrustedProxies are the networks whose X-Forwarded-For is believed.
	TrustedProxies []netip.Prefix

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

	visitors   visitors
	humans     *lru.Cache[[sha256.Size]byte, time.Time] // posts whose captcha was verified, and until when that counts
	formSecret atomic.Pointer[[]byte]                   // nil: not asked for yet

	toldUnavailable, toldCaptcha, toldSpam *rate.Limiter
}

// maxClients bounds how many clients of forms are known at once; those that were not seen for longest go.
const maxClients = 1 << 16

// server answers requests by one set of options.
type server struct {
	Options
	*lasting
	keys   *keyring
	limits *limits
	forms  map[string]*form
}

// New returns the front end.
func New(opts Options) *FrontEnd {
	f := &FrontEnd{lasting: &lasting{
		turns:   turns{leads: map[string]*turn{}},
		batches: semaphore.NewWeighted(maxBatchesBytes),
		metrics: newMetrics(opts.Metrics),

		visitors: visitors{newCache[visitor, *rate.Limiter](maxClients)},
		humans:   newCache[[sha256.Size]byte, time.Time](maxClients),

		toldUnavailable: rate.NewLimiter(rate.Every(5*time.Second), 1),
		toldCaptcha:     rate.NewLimiter(rate.Every(5*time.Second), 1),
		toldSpam:        rate.NewLimiter(rate.Every(time.Minute), 1),
	}}
	f.Reload(opts)
	return f
}

func newCache[K comparable, V any](size int) *lru.Cache[K, V] {
	cache, err := lru.New[K, V](size)
	if err != nil {
		panic("ingest: " + err.Error()) // of a size that is none
	}
	return cache
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
		forms:   map[string]*form{},
	}
	for _, f := range opts.Forms {
		s.forms[f.Name] = newForm(f)
	}
	router := httprouter.New()
	router.RedirectTrailingSlash = false
	router.RedirectFixedPath = false

	for _, route := range s.routes() {
		router.Handle(route.method, route.path, route.handle)
		if route.method == http.MethodGet {
			router.HEAD(route.path, route.handle) // net/http leaves the body out
		}
	}
	router.NotFound = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fail(w, http.StatusNotFound, "not_found", "there is nothing at this path; leads are at "+leadsPath)
	})
	router.MethodNotAllowed = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fail(w, http.StatusMethodNotAllowed, "method_not_allowed", "this path takes "+w.Header().Get("Allow"))
	})
	router.PanicHandler = s.panicked
	return router
}

const leadsPath = "/api/v1/leads"

// route is one that is answered.
type route struct {
	method, path string
	handle       httprouter.Handle
}

// routes are all that is answered; openapi.yaml describes each.
func (s *server) routes() []route {
	const lead = leadsPath + "/:lead_id"
	exposition := promhttp.HandlerFor(s.Metrics, promhttp.HandlerOpts{})
	all := []route{
		{"POST", leadsPath, s.guard("create", CreateOnly, s.create)},
		{"POST", leadsPath + "/batch", s.guard("batch", CreateOnly, s.batch)},
		{"GET", leadsPath, s.guard("list", Full, s.list)},
		{"GET", lead, s.guard("get", Full, s.get)},
		{"PUT", lead, s.guard("update", Full, s.update)},
		{"DELETE", lead, s.guard("delete", Full, s.delete)},

		{"POST", "/f/:form", s.formRoute("form", s.posted)},
		{"OPTIONS", "/f/:form", s.formRoute("form_preflight", s.preflight)},
		{"GET", "/f/:form/token", s.formRoute("form_token", s.tokenAsked)},
		{"GET", "/f/:form/embed.js", s.formRoute("form_script", s.embedded)},

		{"POST", "/in/:source", s.open("source", s.delivered)},
		{"GET", "/in/:source", s.open("source_challenge", s.challenged)},

		{"GET", "/healthz", func(w http.ResponseWriter, _ *http.Request, _ httprouter.Params) {
			writeJSON(w, http.StatusOK, map[string]any{"ok": true})
		}},
		{"GET", "/readyz", s.ready},
		{"GET", "/metrics", func(w http.ResponseWriter, r *http.Request, _ httprouter.Params) { exposition.ServeHTTP(w, r) }},
		{"GET", "/openapi.json", s.described},
	}
	if s.Demo {
		all = append(all, route{"GET", "/demo", s.observed("demo", s.demo)})
	}
	return all
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
