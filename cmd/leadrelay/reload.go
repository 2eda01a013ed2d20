package main

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/leadrelay/leadrelay/ingest"
	"github.com/leadrelay/leadrelay/internal/config"
	"github.com/leadrelay/leadrelay/internal/store"
	"github.com/leadrelay/leadrelay/worker"
)

// live is a running program and the configuration it runs by, which can be replaced.
type live struct {
	load     func() (*config.Config, error)
	store    *store.Store
	registry *prometheus.Registry
	log      *slog.Logger
	front    *ingest.FrontEnd // nil where there is none
	worker   *worker.Worker   // nil where there is none
	demo     bool             // whether the front end has the demo page

	reloads *prometheus.CounterVec
	since   prometheus.Gauge

	mu      sync.Mutex
	config  *config.Config
	loaded  time.Time
	problem string // why the file is not what it runs by; "": it is
}

func newLive(c *config.Config, s *store.Store, log *slog.Logger, load func() (*config.Config, error)) *live {
	registry := newRegistry(s)
	l := &live{
		load: load, store: s, registry: registry, log: log, config: c, loaded: time.Now(),
		reloads: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "leadrelay_config_reloads_total", Help: "Configurations that were to replace the running one, by outcome: taken over or refused.",
		}, []string{"outcome"}),
		since: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "leadrelay_config_loaded_timestamp_seconds", Help: "When the running configuration was loaded.",
		}),
	}
	registry.MustRegister(l.reloads, l.since)
	for _, outcome := range []string{"taken over", "refused"} {
		l.reloads.WithLabelValues(outcome)
	}
	l.since.SetToCurrentTime()
	return l
}

// frontEnd returns the front end, which goes on by each configuration that is taken over.
func (l *live) frontEnd() *ingest.FrontEnd {
	l.front = ingest.New(l.frontEndOptions())
	return l.front
}

// work returns the worker, which goes on by each configuration that is taken over.
func (l *live) work() *worker.Worker {
	l.worker = worker.New(workerConnectors(l.config), workerIntake(l.config), worker.Options{
		Store: l.store, Log: l.log, Metrics: l.registry, Shutdown: l.config.ShutdownTimeout,
	})
	return l.worker
}

func (l *live) frontEndOptions() ingest.Options {
	options := frontEndOptions(l.config, l.store, l.log)
	options.Config, options.Metrics, options.Demo = l.state, l.registry, l.demo
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
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, syscall.SIGHUP)
	defer signal.Stop(asked)
	if l.config.Path == "" {
		<-ctx.Done()
		return
	}
	config.Watch(ctx, l.config.Path, asked, l.reload)
}

// reload takes a configuration over whole, or leaves everything as it is.
func (l *live) reload() {
	next, err := l.load()
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		l.problem = err.Error()
		l.reloads.WithLabelValues("refused").Inc()
		l.log.Error("the configuration has changed and is not taken over; the one before goes on", "problem", err)
		return
	}
	former := l.config
	if fixed := next.Fixed(former); len(fixed) > 0 {
		l.log.Warn("settings have changed that count from the next start: "+strings.Join(fixed, ", "), "revision", next.Revision)
	}
	next.Adopt(former)
	l.config, l.loaded, l.problem = next, time.Now(), ""
	l.store.SetConnectors(storeConnectors(next))
	if l.front != nil {
		l.front.Reload(l.frontEndOptions())
	}
	if l.worker != nil {
		if err := l.worker.Reload(workerConnectors(next), workerIntake(next)); err != nil {
			l.log.Error("a connector takes no jobs from its queue; its leads are pushed a second later", "error", err)
		}
	}
	former.CloseSources()
	l.reloads.WithLabelValues("taken over").Inc()
	l.since.SetToCurrentTime()
	l.log.Info("the configuration has changed and is taken over", "revision", next.Revision, "connectors", len(next.Connectors))
}

// close closes what the configuration has open.
func (l *live) close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.config.Close()
}
