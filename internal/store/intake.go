package store

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/leadrelay/leadrelay/internal/lead"
)

// intake accepts new leads that arrive at the same time in one script: while one is on its way to Redis and back, what
// arrives gathers for the next. A lone lead goes at once. All of a script share a shard, which changes from one to the
// next; those of requests with a key go to the shard of their group.
type intake struct {
	store *Store

	mu      sync.Mutex
	waiting []*arrival
	filled  chan struct{} // has a value when somebody waits
	stop    context.CancelFunc
	ended   chan struct{}
}

// arrival is a lead that waits to be accepted.
type arrival struct {
	ctx   context.Context
	lead  lead.Lead // as the request is answered with it, when it is accepted
	entry entry
	done  chan error
}

const (
	// maxTogether bounds a script, and so how long Redis is busy with it.
	maxTogether = 64
	// acceptWithin bounds a script's round trip: callers have given up by then.
	acceptWithin = 10 * time.Second
)

func newIntake(s *Store) *intake {
	ctx, stop := context.WithCancel(context.Background())
	i := &intake{store: s, filled: make(chan struct{}, 1), stop: stop, ended: make(chan struct{})}
	go i.run(ctx)
	return i
}

// accept writes a new lead, whose id is chosen here, and the work it is. When ctx ends first, the lead may or may not
// have been accepted.
func (i *intake) accept(ctx context.Context, l lead.Lead, r request) (lead.Lead, error) {
	a := &arrival{ctx, l, newEntry(l, r), make(chan error, 1)}
	i.mu.Lock()
	i.waiting = append(i.waiting, a)
	i.mu.Unlock()
	select {
	case i.filled <- struct{}{}:
	default:
	}
	select {
	case err := <-a.done:
		return a.lead, err
	case <-ctx.Done():
		return lead.Lead{}, ctx.Err()
	}
}

func (i *intake) run(ctx context.Context) {
	defer close(i.ended)
	for {
		select {
		case <-i.filled:
		case <-ctx.Done():
			return
		}
		for together := i.take(); len(together) > 0; together = i.take() {
			i.write(ctx, together)
		}
	}
}

// take returns who waits, but for those who gave up.
func (i *intake) take() []*arrival {
	i.mu.Lock()
	n := min(len(i.waiting), maxTogether)
	together := i.waiting[:n:n]
	i.waiting = i.waiting[n:]
	i.mu.Unlock()
	here := together[:0]
	for _, a := range together {
		if err := a.ctx.Err(); err != nil {
			a.done <- err
		} else {
			here = append(here, a)
		}
	}
	if len(here) == 0 && n > 0 {
		return i.take()
	}
	return here
}

func (i *intake) write(ctx context.Context, together []*arrival) {
	ctx, cancel := context.WithTimeout(ctx, acceptWithin)
	defer cancel()
	var keyless []*arrival
	groups := map[int][]*arrival{}
	for _, a := range together {
		if a.entry.key == "" {
			keyless = append(keyless, a)
		} else {
			groups[a.entry.shard] = append(groups[a.entry.shard], a)
		}
	}
	var writes sync.WaitGroup
	for shard, group := range groups {
		writes.Go(func() { i.writeTo(ctx, shard, keysInShard, group) })
	}
	if len(keyless) > 0 {
		i.writeTo(ctx, rand.IntN(lead.Shards), noKeys, keyless)
	}
	writes.Wait()
}

// writeTo writes leads of one shard.
func (i *intake) writeTo(ctx context.Context, shard int, keep keeping, together []*arrival) {
	entries := make([]entry, len(together))
	for n, a := range together {
		a.lead.ID = lead.NewID(a.lead.Created, shard)
		a.entry.id = a.lead.ID
		entries[n] = a.entry
	}
	answer, err := i.store.run(ctx, createScript, shard, leadKey(prefixes[shard], entries[0].id), i.store.creation(keep, entries)...)
	var repeats []repeat
	if err == nil {
		repeats, err = i.store.written(shard, answer)
	}
	refusals := make([]error, len(together))
	for _, again := range repeats {
		a := together[again.place]
		l, refusal := again.answer(a.lead, a.entry.request)
		if errors.Is(refusal, errExists) {
			refusal = nil // the id is new: it was this very command, repeated by the client after a lost connection
		}
		a.lead, refusals[again.place] = l, refusal
	}
	for n, a := range together {
		if err != nil {
			refusals[n] = err
		}
		a.done <- refusals[n]
	}
}

// close ends the intake. Of what is under way, and nobody waits for any more, it is not known whether it is accepted.
func (i *intake) close() {
	i.stop()
	<-i.ended
}
