package worker

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/leadrelay/leadrelay/internal/store"
)

// fence is the context of a claim's calls. It ends when the fence is lost or lapses; and its Err tells so from
// the moment the fence lapses, so that a process that was paused beyond it sends nothing more.
type fence struct {
	context.Context
	cancel context.CancelFunc
	until  atomic.Int64 // Unix ns
}

func newFence(base context.Context, until time.Time) *fence {
	f := &fence{}
	f.Context, f.cancel = context.WithTimeout(base, pushFor)
	f.until.Store(until.UnixNano())
	return f
}

func (f *fence) lapsed() bool { return time.Now().UnixNano() >= f.until.Load() }

func (f *fence) Err() error {
	if err := f.Context.Err(); err != nil {
		return err
	}
	if f.lapsed() {
		return context.DeadlineExceeded
	}
	return nil
}

// keepFences renews the fences of this runner's claims until ctx ends, and ends the calls of those it cannot.
func (r *runner) keepFences(ctx context.Context) {
	tick := time.NewTicker(hold / 4)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		var claims []*store.Claim
		r.mu.Lock()
		for c, f := range r.held {
			if f.lapsed() {
				f.cancel()
			} else {
				claims = append(claims, c)
			}
		}
		r.mu.Unlock()
		if len(claims) == 0 {
			continue
		}
		until := time.Now().Add(hold)
		lost, err := r.store.Renew(ctx, r.Name, claims, hold)
		if err != nil {
			continue // they lapse unless the next tick succeeds
		}
		gone := map[string]bool{}
		for _, id := range lost {
			gone[id] = true
		}
		r.mu.Lock()
		for _, c := range claims {
			f := r.held[c]
			switch {
			case f == nil:
			case gone[c.Change.Lead.ID]:
				f.cancel()
			default:
				f.until.Store(until.UnixNano())
			}
		}
		r.mu.Unlock()
	}
}
