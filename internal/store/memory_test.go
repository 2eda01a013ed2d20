package store_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/leadrelay/leadrelay/connectors"
	"github.com/leadrelay/leadrelay/internal/store"
)

// A connector uses it as such.
var _ connectors.Memory = store.Memory{}

func TestWorkersShareWhatTheyRemember(t *testing.T) {
	onEach(t, func(s *server) {
		ctx := t.Context()
		one, other := s.process().Memory(), s.process().Memory()
		load := func(key, want string) {
			t.Helper()
			value, ok, err := other.Load(ctx, key)
			if value != want || ok != (want != "") || err != nil {
				t.Errorf("%s: got %q, %v, %v; want %q", key, value, ok, err, want)
			}
		}
		save := func(key, value string, ttl time.Duration) {
			t.Helper()
			if err := one.Save(ctx, key, value, ttl); err != nil {
				t.Fatal(err)
			}
		}
		load("refresh of account@example.com", "")
		save("refresh of account@example.com", "a token\x00\xff", 0)
		save("access of account@example.com", "for a while", time.Hour)
		load("refresh of account@example.com", "a token\x00\xff")
		load("access of account@example.com", "for a while")
		save("refresh of account@example.com", "its successor", 0)
		load("refresh of account@example.com", "its successor")

		var kept []time.Duration
		for _, key := range s.keys("lr:{memory}:*") {
			if strings.Contains(key, "account") {
				t.Errorf("the key %s names the account", key)
			}
			kept = append(kept, s.client.TTL(ctx, key).Val())
		}
		if len(kept) != 2 || min(kept[0], kept[1]) >= 0 || max(kept[0], kept[1]) > time.Hour {
			t.Errorf("kept for %v, want one for an hour and one for good", kept)
		}
	})
}

func TestALockIsHeldByOneOfAllWorkersAndLapsesWithItsHolder(t *testing.T) {
	onEach(t, func(s *server) {
		ctx := t.Context()
		one, other := s.process(), s.process()

		var inside, most atomic.Int32
		var group sync.WaitGroup
		for i := range 20 {
			memory := []store.Memory{one.Memory(), other.Memory()}[i%2]
			group.Go(func() {
				unlock, err := memory.Lock(ctx, "account")
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

		late, err := one.Memory().Lock(ctx, "account")
		if err != nil {
			t.Fatal(err)
		}
		if unlock, err := other.Memory().Lock(ctx, "another account"); err != nil {
			t.Error(err)
		} else {
			unlock()
		}
		ended, cancel := context.WithCancel(ctx)
		cancel()
		if _, err := other.Memory().Lock(ended, "account"); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want that the wait was given up", err)
		}

		// Its holder is as good as dead: it would lapse within half a minute, and does so now.
		keys := s.keys("lr:{memory}:lock:*")
		if len(keys) != 1 {
			t.Fatalf("the locks are %v, want one", keys)
		}
		if ttl := s.client.PTTL(ctx, keys[0]).Val(); ttl <= 0 || ttl > 30*time.Second {
			t.Fatalf("a dead holder's lock is held for %s", ttl)
		}
		if err := s.client.PExpire(ctx, keys[0], 50*time.Millisecond).Err(); err != nil {
			t.Fatal(err)
		}
		unlock, err := other.Memory().Lock(ctx, "account")
		if err != nil {
			t.Fatal(err)
		}
		late() // frees nobody else's
		if s.client.Exists(ctx, keys[0]).Val() != 1 {
			t.Error("who was given up for dead took the lock away from another")
		}
		unlock()
		if s.client.Exists(ctx, keys[0]).Val() != 0 {
			t.Error("the lock is held by nobody and was not given back")
		}
	})
}
