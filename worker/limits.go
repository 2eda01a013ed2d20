package worker

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/leadrelay/leadrelay/connectors"
	"github.com/leadrelay/leadrelay/internal/lead"
	"github.com/leadrelay/leadrelay/internal/store"
)

const (
	// waitHere is how long claims, or a request within a call, wait for the vendor's limits. Who would have to wait
	// longer lets go.
	waitHere = 3 * time.Second
	// restAtMost is how long a connector then rests before the limits are asked again: they may have changed.
	restAtMost = 15 * time.Second
	// readAhead is how long before the limits are asked again claims are read again: who then has leave calls at once.
	readAhead = 40 * time.Millisecond
)

// limiterOf returns the limiter of a connector among all of them, nil where it has no limits. Its calls count under the
// rates of others of the same scope, too.
func limiterOf(c Connector, all []Connector, s *store.Store) *store.Limiter {
	_, limited := c.Connector.(connectors.Limited)
	if !limited && c.Limits.Concurrency == 0 && len(c.Limits.Rates) == 0 {
		return nil
	}
	l := store.Limits{Scope: scope(c), RateScope: rateScope(c), Concurrency: c.Limits.Concurrency}
	for _, r := range c.Limits.Rates {
		l.Rates = append(l.Rates, store.Rate(r))
	}
	for _, r := range countedWith(c, all) {
		l.Counted = append(l.Counted, store.Rate(r))
	}
	return s.Limiter(l)
}

// countedWith are the rates that a connector's calls count under, among all connectors.
func countedWith(c Connector, all []Connector) (rates []connectors.Rate) {
	for _, other := range all {
		if rateScope(other) == rateScope(c) {
			rates = append(rates, other.Limits.Rates...)
		}
	}
	return rates
}

func scope(c Connector) string     { return cmp.Or(c.Limits.Scope, c.Name) }
func rateScope(c Connector) string { return cmp.Or(c.Limits.RateScope, scope(c)) }

// permit waits for the vendor's limits. It returns the claims to push, as they are after the wait and as many more as
// fit in the batch, and how to say that the call is over. Waiting is not an attempt.
func (r *runner) permit(claims []*store.Claim, probe bool) (granted []*store.Claim, endCall func()) {
	if r.limiter == nil {
		return claims, func() {}
	}
	token := newToken()
	var asked time.Time
	stale := false
	for began := time.Now(); ; {
		for r.spending.Load() > 0 && r.base.Err() == nil && time.Since(began) < waitHere {
			sleep(r.base, 10*time.Millisecond) // what is begun goes first
		}
		asked = time.Now()
		wait, err := r.limiter.Permit(r.base, token, hold, r.calls.quickest())
		if err == nil && wait == 0 {
			break
		}
		if err != nil || time.Since(began)+wait > waitHere {
			r.rest(max(wait, 100*time.Millisecond))
			r.handBack(claims, r.store.Now())
			return nil, nil
		}
		again := time.Now().Add(wait)
		if stale = wait <= readAhead; !stale {
			sleep(r.base, wait-readAhead)
			if claims = r.renewed(claims, probe); len(claims) == 0 {
				return nil, nil
			}
		}
		sleep(r.base, time.Until(again))
	}
	r.fly(token, true)
	end := func(made time.Time) {
		r.fly(token, false)
		ctx, cancel := context.WithTimeout(context.WithoutCancel(r.base), hold)
		defer cancel()
		r.limiter.EndCall(ctx, token, made)
	}
	if stale {
		claims = r.renewed(claims, probe)
	}
	if len(claims) == 0 {
		end(time.Time{})
		return nil, nil
	}
	return claims, func() {
		// The vendor counts a call when it arrives, any time between our leave and its answer: at the latest as much
		// later than the quickest calls do as it took longer than they. Else one that was held up on its way would
		// meet later ones in one window of the vendor's.
		r.calls.took(time.Since(asked))
		end(r.store.Now().Add(-r.calls.quickest()))
	}
}

// sleep waits for a time, or until ctx ends.
func sleep(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// renewed reads claims again that have waited, and fills up their batch with what has become due.
func (r *runner) renewed(claims []*store.Claim, probe bool) []*store.Claim {
	shard, _ := lead.ShardOf(claims[0].Change.Lead.ID)
	lost := make([]bool, len(claims))
	var group sync.WaitGroup
	for i, c := range claims {
		group.Go(func() {
			if err := r.store.Refresh(r.base, c, hold); err != nil {
				r.drop(c)
				lost[i] = true
				return
			}
			r.fenceOf(c).holdUntil(c.Until)
			lost[i] = r.settledWithoutCall(c)
		})
	}
	group.Wait()
	var still []*store.Claim
	for i, c := range claims {
		if !lost[i] {
			still = append(still, c)
		}
	}
	if r.batcher == nil || probe {
		return still
	}
	all, err := r.fill(r.base, still, shard)
	if err != nil {
		return still
	}
	return append(still, slices.DeleteFunc(all[len(still):], r.settledWithoutCall)...)
}

// rest lets nothing through for a while, because the vendor's limits would not.
func (r *runner) rest(wait time.Duration) {
	until := r.store.Now().Add(wait)
	nap := min(wait, restAtMost)
	wakes := time.Now().Add(nap)
	r.mu.Lock()
	resting := time.Now().Before(r.rests)
	if wakes.After(r.rests) {
		r.rests = wakes
	}
	r.mu.Unlock()
	r.open.Store(false)
	time.AfterFunc(nap, func() { r.noticeGate(r.base) })
	if !resting && wait > waitHere {
		if err := r.store.NoteRest(r.base, r.Name, until, nap+waitHere); err != nil {
			r.log.Debug("cannot note that the connector waits", "error", err)
		}
	}
}

func (r *runner) resting() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return time.Now().Before(r.rests)
}

// durations knows how long the last calls took.
type durations struct {
	mu   sync.Mutex
	last [16]time.Duration
	next int
}

func (d *durations) took(t time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.last[d.next] = t
	d.next = (d.next + 1) % len(d.last)
}

// quickest is the least of them, 0 until there were enough.
func (d *durations) quickest() time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Min(d.last[:])
}
