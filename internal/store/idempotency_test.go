package store_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/leadrelay/leadrelay/internal/lead"
	"github.com/leadrelay/leadrelay/internal/redistest"
	"github.com/leadrelay/leadrelay/internal/store"
)

func TestARepeatIsKnownForAsLongAsWasAsked(t *testing.T) {
	onEach(t, func(s *server) {
		p := s.process()
		kept := func(pattern string, want time.Duration) {
			s.t.Helper()
			keys := s.keys(pattern)
			if len(keys) != 1 {
				s.t.Fatalf("%s: there are %v, want one", pattern, keys)
			}
			if ttl := s.client.TTL(t.Context(), keys[0]).Val(); ttl <= want-time.Minute || ttl > want {
				s.t.Errorf("%s is kept for %s, want %s", keys[0], ttl, want)
			}
		}
		l, err := p.CreateOrUpdate(t.Context(), patchOf("a@example.com"), &store.Idempotency{Key: "1", For: 10 * time.Minute})
		if err != nil {
			s.t.Fatal(err)
		}
		kept("lr:*:k:*", 10*time.Minute)
		kept("lr:*:a:*", 10*time.Minute)
		name := "A"
		change := func(key string, known time.Duration) lead.Lead {
			s.t.Helper()
			after, err := p.Update(t.Context(), l.ID, lead.Patch{Name: &name}, &store.Idempotency{Key: key, For: known})
			if err != nil {
				s.t.Fatal(err)
			}
			return after
		}
		change("2", 0)
		kept("lr:*:a:*", 24*time.Hour)
		name = "B"
		change("3", time.Second)
		kept("lr:*:a:*", 24*time.Hour) // the other's is not forgotten for it
		name = "A"
		if again := change("2", 0); again.Revision != 2 {
			s.t.Errorf("the repeat of what is known for a day was answered with %+v", again)
		}
		name = "B"
		if _, err := p.Update(t.Context(), l.ID, patchOf("moved@example.com"), nil); err != nil {
			s.t.Fatal(err)
		}
		if !redistest.Within(10*time.Second, func() bool { return change("3", time.Second).Email == "moved@example.com" }) {
			s.t.Error("the repeat of what was known for a second is answered as it was")
		}
	})
}

// TestP1ARequestThatDedupeNeverCameToEndWithIsANewOne: its process died, or dedupe was switched off meanwhile.
func TestP1ARequestThatDedupeNeverCameToEndWithIsANewOne(t *testing.T) {
	onEach(t, func(s *server) {
		p := s.process()
		once := &store.Idempotency{Key: "k"}
		died := s.process(failing(func(args []any) bool { return args[0] == "hget" }))
		if _, err := died.CreateOrUpdate(t.Context(), patchOf("jane@example.com"), once); !errors.Is(err, errFailing) {
			s.t.Fatalf("got %v", err)
		}
		for name, create := range map[string]func(context.Context, lead.Patch, *store.Idempotency) (lead.Lead, error){
			"a create": p.Create, "one by address": p.CreateOrUpdate,
		} {
			if l, err := create(t.Context(), patchOf("jane@example.com"), once); err != nil || len(s.leads(p)) != 1 || s.leads(p)[0].ID != l.ID {
				s.t.Errorf("%s: got %+v, %v; there are %v", name, l, err, s.leads(p))
			}
		}
	})
}
