package main

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/leadrelay/leadrelay/ingest"
	"github.com/leadrelay/leadrelay/internal/alerts"
	"github.com/leadrelay/leadrelay/internal/config"
	"github.com/leadrelay/leadrelay/internal/console"
	"github.com/leadrelay/leadrelay/internal/openid"
	"github.com/leadrelay/leadrelay/internal/queues"
	"github.com/leadrelay/leadrelay/internal/store"
	"github.com/leadrelay/leadrelay/internal/tracing"
	"github.com/leadrelay/leadrelay/worker"
)

// live is a running program and the configuration it runs by, which can be replaced.
type live struct {
	load     func() (*config.Config, error)
	store    *store.Store
	registry *prometheus.Registry
	log      *slog.Logger
	front    *frontDoor     // nil where there is none
	worker   *worker.Worker // nil where there is none
	alerts   *alerts.Watcher
	queues   http.Handler // asynq's monitor
	traces   *tracing.Tracing
	demo     bool            // whether the front end has the demo page
	options  []config.Option // what load asks for
	asked    chan os.Signal  // has the file read now

	reloads *prometheus.CounterVec
	since   prometheus.Gauge

	mu      sync.Mutex
	config  *config.Config
	loaded  time.Time
	problem string    // why the file is not what it runs by; "": it is
	refused time.Time // since when there is a problem

	turned chan struct{} // closed when a reload has ended
}

func newLive(c *config.Config, s *store.Store, log *slog.Logger, traces *tracing.Tracing, load func() (*config.Config, error)) *live {
	registry := newRegistry(s)
	l := &live{
		load: load, store: s, registry: registry, log: log, config: c, loaded: time.Now(), traces: traces,
		queues: queues.Monitor(s.Client()),
		asked:  make(chan os.Signal, 1), turned: make(chan struct{}),
		reloads: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "leadrelay_config_reloads_total", Help: "Configurations that were to replace the running one, by outcome: taken over or refused.",
		}, []string{"outcome"}),
		since: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "leadrelay_config_loaded_timestamp_seconds", Help: "When the running configuration was loaded.",
		}),
	}
	signal.Notify(l.asked, syscall.SIGHUP) // from now on it ends no process
	registry.MustRegister(l.reloads, l.since)
	for _, outcome := range []string{"taken over", "refused"} {
		l.reloads.WithLabelValues(outcome)
	}
	l.since.SetToCurrentTime()
	return l
}

// frontEnd returns the front end, which goes on by each configuration that is taken over.
func (l *live) frontEnd() (*frontDoor, error) {
	pages, err := console.New(l.consoleOptions())
	if err != nil {
		return nil, err
	}
	l.front = &frontDoor{ingest.New(l.frontEndOptions()), pages}
	return l.front, nil
}

// frontDoor is what listens to the world: the front end, and the operators' console.
type frontDoor struct {
	leads   *ingest.FrontEnd
	console *console.Console
}

func (d *frontDoor) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/console" || strings.HasPrefix(r.URL.Path, "/console/") {
		d.console.ServeHTTP(w, r)
		return
	}
	d.leads.ServeHTTP(w, r)
}

// Close ends the console's pages that are kept live.
func (d *frontDoor) Close() { d.console.Close() }

func (l *live) consoleOptions() console.Options {
	c := l.config
	options := console.Options{
		Store: l.store, Log: l.log, Dedupe: c.Leads.Dedupe == config.DedupeEmail,
		Config: func() console.ConfigState { return console.ConfigState(l.state()) },
		Queues: l.queues, WouldSend: l.wouldSend,
		Client: func(r *http.Request) netip.Addr { return ingest.ClientAddress(r, c.Proxies) },
		Remap:  remapper(l.store, c),
		Secure: c.TLS.CertFile != "" || len(c.Proxies) > 0,

		RemoteURL: recordURLs(c),
	}
	if c.Path != "" {
		options.Settings = l.settings()
	}
	for _, operator := range c.Operators {
		options.Operators = append(options.Operators, console.Operator{Name: operator.Name, PasswordHash: operator.PasswordHash.Reveal()})
	}
	if c.OIDC.Issuer != "" {
		options.OpenID = openIDProvider(c.OIDC)
	}
	return options
}

// openIDProvider is not asked anything until somebody signs in: one that is away holds up nothing else.
func openIDProvider(c config.OIDC) *openid.Provider {
	options := openid.Options{
		Issuer: c.Issuer, ClientID: c.ClientID, ClientSecret: c.ClientSecret.Reveal(), RedirectURL: c.RedirectURL,
		Scopes: c.Scopes, UnverifiedEmail: c.UnverifiedEmail,
	}
	for _, rule := range c.Allow {
		options.Allow = append(options.Allow, openid.Rule(rule))
	}
	return openid.New(options)
}

// work returns the worker, which goes on by each configuration that is taken over.
func (l *live) work() *worker.Worker {
	l.worker = worker.New(workerConnectors(l.config), workerIntake(l.config), worker.Options{
		Store: l.store, Log: l.log, Metrics: l.registry, Shutdown: l.config.ShutdownTimeout, Tracing: l.traces,
	})
	return l.worker
}

func (l *live) frontEndOptions() ingest.Options {
	options := frontEndOptions(l.config, l.store, l.log)
	options.Config, options.Metrics, options.Demo, options.Tracing = l.state, l.registry, l.demo, l.traces
	return options
}

// state is told on /readyz.
func (l *live) state() ingest.ConfigState {
	l.mu.Lock()
	defer l.mu.Unlock()
	return ingest.ConfigState{Revision: l.config.Revision, Loaded: l.loaded, Problem: l.problem}
}

// keep takes the configuration over whenever its file has changed or SIGHUP asks for it, until ctx ends. Without a file
// there is nothing to watch.
func (l *live) keep(ctx context.Context) {
	defer signal.Stop(l.asked)
	if l.config.Path == "" {
		<-ctx.Done()
		return
	}
	config.Watch(ctx, l.config.Path, l.config.Revision, l.asked, l.reload)
}

// reload takes a configuration over whole, or leaves everything as it is.
func (l *live) reload() {
	next, err := l.load()
	l.mu.Lock()
	defer l.mu.Unlock()
	defer func() { close(l.turned); l.turned = make(chan struct{}) }()
	if err != nil {
		l.refuse(err)
		return
	}
	former := l.config
	l.config = next
	if l.front != nil {
		// Before anything else: a password hash that cannot be read is a configuration that is not taken over.
		if err := l.front.console.Reload(l.consoleOptions()); err != nil {
			l.config = former
			l.refuse(errors.Join(err, next.Close()))
			return
		}
	}
	if fixed := next.Fixed(former); len(fixed) > 0 {
		l.log.Warn("settings have changed that count from the next start: "+strings.Join(fixed, ", "), "revision", next.Revision)
	}
	next.Adopt(former)
	l.loaded, l.problem = time.Now(), ""
	l.store.SetConnectors(storeConnectors(next))
	if l.front != nil {
		l.front.leads.Reload(l.frontEndOptions())
	}
	if l.worker != nil {
		if err := l.worker.Reload(workerConnectors(next), workerIntake(next)); err != nil {
			l.log.Error("a connector takes no jobs from its queue; its leads are pushed a second later", "error", err)
		}
	}
	former.CloseSources()
	if l.alerts != nil {
		l.alerts.Reload(alertSettings(next))
	}
	former.CloseAlerts()
	l.reloads.WithLabelValues("taken over").Inc()
	l.since.SetToCurrentTime()
	l.log.Info("the configuration has changed and is taken over", "revision", next.Revision, "connectors", len(next.Connectors))
}

func (l *live) refuse(problem error) {
	if l.problem == "" {
		l.refused = l.store.Now()
	}
	l.problem = problem.Error()
	l.reloads.WithLabelValues("refused").Inc()
	l.log.Error("the configuration has changed and is not taken over; the one before goes on", "problem", problem)
}

// close closes what the configuration has open.
func (l *live) close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.config.Close()
}
