package worker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/leadrelay/leadrelay/connectors"
	"github.com/leadrelay/leadrelay/internal/lead"
	"github.com/leadrelay/leadrelay/internal/store"
)

// Source is where leads come from whose deliveries only name them.
type Source interface {
	// Fetch gets what a delivery names. Its errors are those of a connector's Push.
	Fetch(ctx context.Context, payload []byte) (fetched []byte, err error)
	// Map says what lead that is. Its errors hold no personal data.
	Map(fetched []byte) (lead.Patch, error)
}

// Intake is how submissions become leads that have to be fetched.
type Intake struct {
	Sources map[string]Source // by a submission's origin
	Dedupe  bool              // a fetched lead with a known address updates that lead
}

const (
	fetchEvery   = time.Second
	fetchesAtOne = 16 // of one process
	fetchLease   = time.Minute
	fetchTimeout = 30 * time.Second
	unknownWait  = time.Minute // for a source to come back to the configuration
)

// fetchRetry is patient for as long as connectors are by default.
var fetchRetry = Retry{Initial: 2 * time.Second, Max: 15 * time.Minute, Horizon: 72 * time.Hour}

// fetch turns submissions that only name a lead into leads, until ctx ends.
func (w *Worker) fetch(ctx context.Context) {
	tick := time.NewTicker(fetchEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		for len(w.intake.Load().Sources) > 0 && w.fetchDue(ctx) == fetchesAtOne && ctx.Err() == nil {
		}
	}
}

// fetchDue fetches what is due, up to fetchesAtOne, and returns how many that were.
func (w *Worker) fetchDue(ctx context.Context) int {
	due, err := w.Store.ClaimFetches(ctx, fetchesAtOne, fetchLease)
	if err != nil {
		return 0 // the next tick comes by again; who needs Redis more says that it is away
	}
	var group errgroup.Group
	for _, sub := range due {
		group.Go(func() error {
			// It is not cut short by a shutdown, which waits for it: the answer may be the only one.
			one, cancel := context.WithTimeout(context.WithoutCancel(ctx), min(fetchTimeout, w.Shutdown))
			defer cancel()
			if err := w.fetchOne(one, sub); err != nil && !errors.Is(err, store.ErrNotFound) { // an operator dropped it
				w.Log.Warn("what became of a fetch could not be recorded; it is repeated", "submission", sub.ID, "error", err)
			}
			return nil
		})
	}
	group.Wait()
	return len(due)
}

// fetchOne makes a lead of a submission, or says when it is tried again, or leaves it to an operator. An error is the
// store's.
func (w *Worker) fetchOne(ctx context.Context, sub store.Submission) error {
	log := w.Log.With("submission", sub.ID, "origin", sub.Origin)
	intake := w.intake.Load()
	source := intake.Sources[sub.Origin]
	if source == nil {
		return w.Store.Postpone(ctx, sub.ID, "the configuration has no such source", w.Store.Now().Add(unknownWait), false)
	}
	fetched, err := source.Fetch(ctx, sub.Payload)
	if err == nil {
		sub.Payload = fetched
		var patch lead.Patch
		if patch, err = source.Map(fetched); err == nil {
			l, err := w.Store.Release(ctx, sub.ID, patch, intake.Dedupe)
			if err == nil {
				log.Debug("lead fetched", "lead", l.ID)
			}
			return err
		}
		return w.setAside(ctx, sub, err.Error())
	}
	now := w.Store.Now()
	fault, wait := connectors.FaultOf(err)
	reason := connectors.Redact(err.Error())
	failingFor := now.Sub(sub.Received)
	switch {
	case fault == connectors.Lead:
		return w.setAside(ctx, sub, reason)
	case failingFor >= fetchRetry.Horizon:
		return w.setAside(ctx, sub, fmt.Sprintf("given up after %s: %s", failingFor.Round(time.Second), reason))
	case fault == connectors.Throttled:
		log.Debug("a fetch waits as it was told to", "error", reason)
		return w.Store.Postpone(ctx, sub.ID, reason, now.Add(min(max(wait, 2*minThrottle), maxThrottle)), false)
	default:
		log.Warn("fetch failed", "fault", fault.String(), "error", reason, "attempt", sub.Attempts+1)
		return w.Store.Postpone(ctx, sub.ID, reason, now.Add(fetchRetry.delay(sub.Attempts+1)), true)
	}
}

// setAside leaves a submission to an operator, who sees the reason.
func (w *Worker) setAside(ctx context.Context, sub store.Submission, reason string) error {
	w.Log.Warn("what was fetched is no lead; see `leadrelay inbox`", "submission", sub.ID, "origin", sub.Origin, "reason", reason)
	sub.State, sub.Reason = store.Unmapped, reason
	return w.Store.Resubmit(ctx, sub)
}
