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
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/leadrelay/leadrelay/connectors"
	"github.com/leadrelay/leadrelay/internal/lead"
	"github.com/leadrelay/leadrelay/internal/store"
	"github.com/leadrelay/leadrelay/internal/tracing"
)

// Connector is a configured connector with everything the worker decides by.
type Connector struct {
	Name      string
	Kind      string
	Event     bool // gets every revision in order, not only the newest
	Connector connectors.Connector
	Filter    connectors.Filter
	Fields    connectors.Mapping

	Concurrency int // pushes at once in this process
	Retry       Retry
	Breaker     Breaker
	Limits      connectors.Limits

	// Fingerprint is the same where everything else is; see Reload.
	Fingerprint string
}

// Options are what a Worker gets from the outside. Store, Log and Metrics are required.
type Options struct {
	Store   *store.Store
	Log     *slog.Logger
	Metrics prometheus.Registerer

	Tracing *tracing.Tracing // nil: nothing is traced

	// Shutdown is how long pushes in flight may take to finish once Run is to end; 0: 25 s.
	Shutdown time.Duration
}

// Worker pushes leads to connectors. Any number of workers, in any number of processes, may share a store.
type Worker struct {
	Options
	metrics *metrics
	intake  atomic.Pointer[Intake]

	mu      sync.Mutex
	list    []Connector
	runners map[string]*runner
	running *running // nil until Run
}

// running is what the runners of a worker share while it runs.
type running struct {
	ctx     context.Context // until nothing new may begin
	pushing context.Context // until what is in flight must end
	runners sync.WaitGroup
}

// New prepares a worker; Run starts it.
func New(list []Connector, intake Intake, opts Options) *Worker {
	if opts.Shutdown == 0 {
		opts.Shutdown = 25 * time.Second
	}
	w := &Worker{Options: opts, metrics: newMetrics(opts.Metrics, opts.Store), list: list, runners: map[string]*runner{}}
	w.intake.Store(&intake)
	for _, c := range list {
		w.runners[c.Name] = w.newRunner(c, list)
	}
	return w
}

func (w *Worker) newRunner(c Connector, list []Connector) *runner {
	return newRunner(c, limiterOf(c, list, w.Store), w.Store, w.Log.With("connector", c.Name), w.metrics, w.Tracing)
}

// Reload replaces the connectors and the intake. A connector that is as it was goes on undisturbed. What is in flight to any other finishes
// with what it began with, while its successor, if it has one, begins: the fences keep them apart. A connector that is
// not used any more is closed when it is done; the backlog of one that has no successor stays as it is.
func (w *Worker) Reload(list []Connector, intake Intake) error {
	w.intake.Store(&intake)
	w.mu.Lock()
	defer w.mu.Unlock()
	next := map[string]*runner{}
	var problems []error
	for _, c := range list {
		old := w.runners[c.Name]
		if old != nil && old.Fingerprint == c.Fingerprint && slices.Equal(countedWith(old.Connector, w.list), countedWith(c, list)) {
			next[c.Name] = old
			continue
		}
		next[c.Name] = w.newRunner(c, list)
	}
	for name, old := range w.runners {
		if next[name] != old {
			old.retire()
		}
	}
	before := w.runners
	w.list, w.runners = list, next
	for name, r := range next {
		if w.running != nil && before[name] != r {
			problems = append(problems, w.begin(r))
		}
	}
	return errors.Join(problems...)
}

// each are the runners there are now.
func (w *Worker) each() map[string]*runner {
	w.mu.Lock()
	defer w.mu.Unlock()
	return maps.Clone(w.runners)
}

// begin lets a runner work until it is retired or the worker ends. The caller holds mu.
func (w *Worker) begin(r *runner) error {
	serving, stop := context.WithCancel(w.running.ctx)
	end := r.begin(w.running.pushing, stop)
	w.Log.Info("connector ready", "connector", r.Name, "kind", r.Kind, "abilities", r.abilities())
	stopServing, err := r.serve(serving, w.Options)
	w.running.runners.Go(func() {
		defer end()
		fences, endFences := context.WithCancel(w.running.pushing)
		var keeping sync.WaitGroup
		keeping.Go(func() { r.keepFences(fences) })
		<-serving.Done()
		stopServing()
		r.finish()
		endFences()
		keeping.Wait()
	})
	return err
}

// Run works until ctx ends. Then it takes nothing new, lets the pushes in flight finish for the time of
// Options.Shutdown, hands back those that do not, and returns. An error is a failure to start.
func (w *Worker) Run(ctx context.Context) error {
	pushing, abort := context.WithCancel(context.WithoutCancel(ctx))
	defer abort()
	working, stop := context.WithCancel(ctx)
	defer stop()
	running := &running{ctx: working, pushing: pushing}
	w.mu.Lock()
	w.running = running
	var problems []error
	for _, r := range w.runners {
		problems = append(problems, w.begin(r))
	}
	w.mu.Unlock()
	err := errors.Join(problems...)
	if err != nil {
		stop()
	}

	var background sync.WaitGroup
	backgroundCtx, endBackground := context.WithCancel(pushing)
	background.Go(func() {
		w.Store.Bell(backgroundCtx, w.listening, func(job store.Job) { w.rung(working, job) }, w.readGates)
	})
	var searching sync.WaitGroup
	searching.Go(func() { w.sweep(working) })
	searching.Go(func() { w.fetch(working) })
	searching.Wait()

	finished := make(chan struct{})
	go func() {
		running.runners.Wait()
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
	for _, r := range w.each() {
		r.ring()
	}
}

// rung hears of a new job and looks for its leads at once: the job itself arrives a few round trips later, for whoever
// did not hear.
func (w *Worker) rung(ctx context.Context, job store.Job) {
	w.mu.Lock()
	r := w.runners[job.Connector]
	w.mu.Unlock()
	if r != nil && job.Shard >= 0 && job.Shard < lead.Shards {
		go r.round(ctx, job.Shard)
		r.ring()
	}
}

// readGates hears of a gate that changed.
func (w *Worker) readGates() {
	for _, r := range w.each() {
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
		for name, r := range w.each() {
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
