// Package worker keeps the outside systems in step with the store: asynq wakes it, it takes the fence of each
// lead that is due, brings the remote up to the wanted revision, and records the outcome. What follows from a
// failure is decided in retry.go alone.
package worker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/leadrelay/leadrelay/connectors"
	"github.com/leadrelay/leadrelay/internal/lead"
	"github.com/leadrelay/leadrelay/internal/store"
)

// Connector is a configured connector with everything the worker decides by.
type Connector struct {
	Name      string
	Kind      string
	Event     bool // gets every revision in order, not only the newest
	Connector connectors.Connector
	Filter    connectors.Filter

	Concurrency int // pushes at once in this process
	Retry       Retry
	Breaker     Breaker
	Limits      connectors.Limits
}

// Options are what a Worker gets from the outside. Every field is required but Shutdown.
type Options struct {
	Store   *store.Store
	Log     *slog.Logger
	Metrics prometheus.Registerer

	// Shutdown is how long pushes in flight may take to finish once Run is to end; 0: 25 s.
	Shutdown time.Duration
}

// Worker pushes leads to connectors. Any number of workers, in any number of processes, may share a store.
type Worker struct {
	Options
	runners map[string]*runner
}

// New prepares a worker; Run starts it.
func New(list []Connector, opts Options) *Worker {
	if opts.Shutdown == 0 {
		opts.Shutdown = 25 * time.Second
	}
	m := newMetrics(opts.Metrics)
	w := &Worker{Options: opts, runners: map[string]*runner{}}
	for _, c := range list {
		w.runners[c.Name] = newRunner(c, limiterOf(c, list, opts.Store), opts.Store, opts.Log.With("connector", c.Name), m)
	}
	return w
}

// Run works until ctx ends. Then it takes nothing new, lets the pushes in flight finish for the time of
// Options.Shutdown, hands back those that do not, and returns. An error is a failure to start.
func (w *Worker) Run(ctx context.Context) error {
	pushing, abort := context.WithCancel(context.WithoutCancel(ctx))
	defer abort()
	for _, r := range w.runners {
		r.begin(pushing)
		w.Log.Info("connector ready", "connector", r.Name, "kind", r.Kind, "abilities", r.abilities())
	}

	var background sync.WaitGroup
	backgroundCtx, endBackground := context.WithCancel(pushing)
	keep := func(do func(context.Context)) {
		background.Add(1)
		go func() { defer background.Done(); do(backgroundCtx) }()
	}
	keep(func(bell context.Context) {
		w.Store.Bell(bell, w.listening, func(job store.Job) { w.rung(ctx, job) }, w.readGates)
	})
	for _, r := range w.runners {
		keep(r.keepFences)
	}

	var queues errgroup.Group
	for _, r := range w.runners {
		queues.Go(func() error { return r.serve(ctx, w.Options) })
	}
	queues.Go(func() error { w.sweep(ctx); return nil })
	err := queues.Wait()

	finished := make(chan struct{})
	go func() {
		for _, r := range w.runners {
			r.finish()
		}
		close(finished)
	}()
	select {
	case <-finished:
	case <-time.After(w.Shutdown):
		w.Log.Warn("pushes did not finish in time; they are handed back")
		abort()
		<-finished
	}
	endBackground()
	background.Wait()
	return err
}

// listening hears the bell from now on: jobs that came before wait in the queues.
func (w *Worker) listening() {
	for _, r := range w.runners {
		r.ring()
	}
}

// rung hears of a new job and looks for its leads at once: the job itself arrives a few round trips later, for whoever
// did not hear.
func (w *Worker) rung(ctx context.Context, job store.Job) {
	if r := w.runners[job.Connector]; r != nil && job.Shard >= 0 && job.Shard < lead.Shards {
		go r.round(ctx, job.Shard)
		r.ring()
	}
}

// readGates hears of a gate that changed.
func (w *Worker) readGates() {
	for _, r := range w.runners {
		r.readGate()
	}
}

// sweepEvery bounds how long work can lie without a job.
const sweepEvery = time.Second

// sweep looks for what no job tells of: leads whose retry is due, whose job was lost, or whose worker died; and
// gates that it is time to open or to probe.
func (w *Worker) sweep(ctx context.Context) {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for ; ctx.Err() == nil; func() {
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}() {
		gates, err := w.Store.Gates(ctx)
		if err != nil {
			w.Log.Warn("cannot sweep", "error", err)
			continue
		}
		var open []string
		for name, r := range w.runners {
			r.gate.Store(new(gates[name]))
			r.noticeGate(ctx)
			if r.pass() {
				open = append(open, name)
			} else {
				r.probeIfDue(ctx)
			}
		}
		if _, err := w.Store.Sweep(ctx, open); err != nil && ctx.Err() == nil {
			w.Log.Warn("cannot sweep", "error", err)
		}
	}
}

// Close closes the connectors.
func Close(list []Connector) error {
	var problems []error
	for _, c := range list {
		if closer, ok := c.Connector.(io.Closer); ok {
			if err := closer.Close(); err != nil {
				problems = append(problems, fmt.Errorf("%s: %w", c.Name, err))
			}
		}
	}
	return errors.Join(problems...)
}
