package connectors_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/leadrelay/leadrelay/connectors"
)

func TestWithoutAHostNothingIsLimited(t *testing.T) {
	if err := connectors.Spend(t.Context(), 1000); err != nil {
		t.Errorf("got %v", err)
	}
	connectors.HoldCalls(t.Context(), time.Now().Add(time.Hour))
	if err := connectors.Spend(t.Context(), 1); err != nil {
		t.Errorf("got %v", err)
	}
}

func TestWithoutAHostAProcessRemembersByItself(t *testing.T) {
	ctx, memory := t.Context(), connectors.MemoryOf(t.Context())
	load := func(key, want string) {
		t.Helper()
		value, ok, err := connectors.MemoryOf(context.Background()).Load(ctx, key)
		if value != want || ok != (want != "") || err != nil {
			t.Errorf("%s: got %q, %v, %v; want %q", key, value, ok, err, want)
		}
	}
	load("one", "")
	for key, ttl := range map[string]time.Duration{"for good": 0, "for an hour": time.Hour, "past": time.Nanosecond} {
		if err := memory.Save(ctx, key, key, ttl); err != nil {
			t.Fatal(err)
		}
	}
	load("for good", "for good")
	load("for an hour", "for an hour")
	load("past", "")

	var inside, most atomic.Int32
	var group sync.WaitGroup
	for range 50 {
		group.Go(func() {
			unlock, err := memory.Lock(ctx, "lock")
			if err != nil {
				t.Error(err)
				return
			}
			if n := inside.Add(1); n > most.Load() {
				most.Store(n)
			}
			inside.Add(-1)
			unlock()
			unlock() // does no harm
		})
	}
	group.Wait()
	if most.Load() != 1 {
		t.Errorf("%d held the lock at once", most.Load())
	}
	unlock, err := memory.Lock(ctx, "lock")
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	ended, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := memory.Lock(ended, "lock"); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want that the wait was given up", err)
	}
}

// lender notes what is asked of it.
type lender struct {
	memory connectors.Memory
	spent  int
	until  time.Time
}

func (l *lender) Spend(_ context.Context, cost int) error      { l.spent += cost; return nil }
func (l *lender) HoldCalls(_ context.Context, until time.Time) { l.until = until }
func (l *lender) Memory() connectors.Memory                    { return l.memory }

func TestAHostIsAskedThroughTheContext(t *testing.T) {
	type own struct{ connectors.Memory }
	host := &lender{memory: own{}}
	ctx, cancel := context.WithCancel(connectors.WithHost(t.Context(), host))
	defer cancel()
	until := time.Now().Add(time.Minute)
	connectors.Spend(ctx, 5)
	connectors.HoldCalls(ctx, until)
	if host.spent != 5 || !host.until.Equal(until) {
		t.Errorf("the host was asked for %d, and to hold until %s", host.spent, host.until)
	}
	if connectors.MemoryOf(ctx) != host.memory {
		t.Error("the memory is not the host's")
	}
}
