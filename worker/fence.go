package worker

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"github.com/leadrelay/leadrelay/internal/store"
)

// fence is the context of a claim's calls. It ends when the fence is lost or lapses; and its Err tells so from
// the moment the fence lapses, so that a process that was paused beyond it sends nothing more.
type fence struct {
	context.Context
	cancel context.CancelFunc
	name   store.Fence
	until  atomic.Pointer[time.Time]
}

func newFence(base context.Context, c *store.Claim) *fence {
	f := &fence{name: c.Fence()}
	f.Context, f.cancel = context.WithTimeout(base, pushFor)
	f.holdUntil(c.Until)
	return f
}

func (f *fence) holdUntil(until time.Time) { f.until.Store(&until) }

// lapsed asks both clocks: the wall clock may have been set back, and the monotonic one stands still while a
// machine sleeps.
func (f *fence) lapsed() bool {
	now, until := time.Now(), *f.until.Load()
	return !now.Before(until) || !now.Round(0).Before(until.Round(0))
}

// cut says whether the fence, and not the time a push may take, ended the calls.
func (f *fence) cut() bool { return f.lapsed() || errors.Is(f.Context.Err(), context.Canceled) }

func (f *fence) Err() error {
	if err := f.Context.Err(); err != nil {
		return err
	}
	if f.lapsed() {
		return context.DeadlineExceeded
	}
	return nil
}

// fences is the context of a batch's call; its Err tells as a fence's does.
type fences struct {
	context.Context
	each []*fence
}

func (all fences) Err() error {
	if err := all.Context.Err(); err != nil {
		return err
	}
	for _, f := range all.each {
		if err := f.Err(); err != nil {
			return err
		}
	}
	return nil
}

// cut says whether a fence, and not the time a push may take, ended the call.
func (all fences) cut() bool { return slices.ContainsFunc(all.each, (*fence).cut) }

// keepFences renews the fences of this runner's claims, and its permits, until ctx ends. It ends the calls of
// claims whose fence it cannot renew.
func (r *runner) keepFences(ctx context.Context) {
	tick := time.NewTicker(hold / 4)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		var fences []*fence
		var names []store.Fence
		r.mu.Lock()
		for _, f := range r.held {
			if f.lapsed() {
				f.cancel()
			} else {
				fences, names = append(fences, f), append(names, f.name)
			}
		}
		calls := slices.Collect(maps.Keys(r.flying))
		r.mu.Unlock()
		for _, token := range calls {
			r.limiter.ProlongCall(ctx, token, hold)
		}
		if len(fences) == 0 {
			continue
		}
		until := time.Now().Add(hold)
		lost, err := r.store.Renew(ctx, r.Name, names, hold)
		if err != nil {
			continue // they lapse unless the next tick succeeds
		}
		for _, f := range fences {
			if slices.Contains(lost, f.name.ID) {
				f.cancel()
			} else {
				f.holdUntil(until)
			}
		}
	}
}
