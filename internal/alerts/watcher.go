package alerts

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/leadrelay/leadrelay/internal/store"
)

const (
	lookEvery   = 3 * time.Second
	lookTimeout = 10 * time.Second

	// lookAlone is how long the process that looks is the only one that does, counted from its last look.
	lookAlone = 4 * lookEvery
)

// Options are what a Watcher gets from the outside. Store, Log and Metrics are required.
type Options struct {
	Store   *store.Store
	Log     *slog.Logger
	Metrics prometheus.Registerer

	Now   func() time.Time // nil: the time on Redis's clock
	Every time.Duration    // how often it looks; 0: 3 s
}

// Watcher looks how connectors and processes are doing, and tells. Any number of them, in any number of processes, may
// share a store.
type Watcher struct {
	Options
	settings atomic.Pointer[Settings]
	token    string // of its leases
	outcomes *prometheus.CounterVec

	mu      sync.Mutex
	sending map[string]bool // destinations
}

// New prepares a Watcher; Run starts it.
func New(settings Settings, opts Options) *Watcher {
	w := &Watcher{Options: opts, token: uuid.NewString(), sending: map[string]bool{}}
	w.outcomes = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "leadrelay_alerts_total",
		Help: "Attempts to tell a destination of alerts, by outcome: sent, failed (it is tried again), refused, " +
			"given up (it failed for too long) or dropped (too many waited).",
	}, []string{"to", "outcome"})
	if w.Now == nil {
		w.Now = w.Store.Now
	}
	if w.Every == 0 {
		w.Every = lookEvery
	}
	w.Metrics.MustRegister(w.outcomes)
	w.Reload(settings)
	return w
}

// Reload replaces the settings. What is being sent goes on as it began.
func (w *Watcher) Reload(settings Settings) {
	for _, d := range settings.To {
		for _, outcome := range []string{sent, failed, refused, givenUp, dropped} {
			w.outcomes.WithLabelValues(d.Name, outcome)
		}
	}
	w.settings.Store(&settings)
}

// Run looks and tells until ctx ends. What is being sent then ends, too, and is sent again by whoever runs next.
func (w *Watcher) Run(ctx context.Context) {
	var sending sync.WaitGroup
	defer sending.Wait()
	tick := time.NewTicker(w.Every)
	defer tick.Stop()
	for ctx.Err() == nil {
		if err := w.look(ctx); err != nil && ctx.Err() == nil {
			w.Log.Warn("cannot look whether operators are to be told of something", "error", err)
		}
		if err := w.deliver(ctx, sending.Go); err != nil && ctx.Err() == nil {
			w.Log.Warn("cannot look for alerts to be sent", "error", err)
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	w.Store.EndAlertLease(end, "look", w.token) // else it lapses
}

// look decides what is to be told, and queues it, where no other process does.
func (w *Watcher) look(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	mine, err := w.Store.LeaseAlerts(ctx, "look", w.token, lookAlone)
	if err != nil || !mine {
		return err
	}
	settings := w.settings.Load()
	was, err := w.Store.Alerts(ctx)
	if err != nil {
		return err
	}
	now, err := w.see(ctx, settings)
	if err != nil {
		return err
	}
	next, events := settings.decide(was.List, now)
	if len(events) == 0 {
		_, _, err := w.Store.NoteAlerts(ctx, was, next, "", nil)
		return err
	}
	m := Message{ID: newID(now.at), At: now.at.UTC(), Events: events, Console: settings.Console}
	encoded, err := json.Marshal(m)
	if err != nil {
		return err
	}
	var to []string
	for _, d := range settings.To {
		to = append(to, d.Name)
	}
	done, gone, err := w.Store.NoteAlerts(ctx, was, next, string(encoded), to)
	if err != nil || !done {
		return err
	}
	w.Log.Info("operators are told: "+m.Title(), "message", m.ID, "events", len(events), "destinations", len(to))
	for name, n := range gone {
		if n > 0 {
			w.outcomes.WithLabelValues(name, dropped).Add(float64(n))
			w.Log.Warn("too many alerts wait for a destination; the oldest are dropped", "destination", name)
		}
	}
	return nil
}

// newID is that of a message.
func newID(at time.Time) string {
	return fmt.Sprintf("alert_%d_%s", at.UnixMilli(), uuid.NewString()[:8])
}

// see looks how everything is doing.
func (w *Watcher) see(ctx context.Context, settings *Settings) (seen, error) {
	statuses, err := w.Store.Statuses(ctx)
	if err != nil {
		return seen{}, err
	}
	refusals, err := w.Store.Refusals(ctx)
	if err != nil {
		return seen{}, err
	}
	now := seen{at: w.Now()}
	paused := map[string]bool{}
	ofConnector := func(s store.Status, condition, reason string, since time.Time) {
		now.sightings = append(now.sightings, sighting{condition, s.Connector, reason, since, s.Backlog})
	}
	for _, s := range statuses {
		paused[s.Connector] = s.State == string(store.GatePaused)
		switch s.State {
		case string(store.GatePaused):
			continue
		case string(store.GateHeld):
			ofConnector(s, Held, s.Reason, s.Since)
		case string(store.GateDown):
			ofConnector(s, Down, s.Reason, s.Since)
		}
		if late := s.Oldest.Add(settings.Oldest); settings.Oldest > 0 && !s.Oldest.IsZero() && now.at.After(late) {
			waited := fmt.Sprintf("its oldest lead has waited since %s, longer than %s", when(s.Oldest), settings.Oldest)
			ofConnector(s, Behind, waited, late)
		}
	}
	gone := map[string]bool{}
	for _, r := range refusals {
		if gone[r.Process] = r.Gone; !r.Gone {
			now.sightings = append(now.sightings, sighting{condition: Config, subject: r.Process, reason: r.Problem, since: r.Since})
		}
	}
	now.ended = func(condition, subject string) string {
		isPaused, configured := paused[subject]
		switch {
		case condition == Config && gone[subject]:
			return "has ended, or cannot be heard of"
		case condition == Config:
			return ""
		case !configured:
			return "was taken out of the configuration"
		case isPaused:
			return "was paused by an operator"
		case condition == Behind && settings.Oldest == 0:
			return "is not watched for that any more"
		}
		return ""
	}
	slices.SortFunc(now.sightings, func(a, b sighting) int { return a.since.Compare(b.since) })
	return now, nil
}
