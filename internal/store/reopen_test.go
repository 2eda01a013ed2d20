package store_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/leadrelay/leadrelay/internal/lead"
	"github.com/leadrelay/leadrelay/internal/redistest"
	"github.com/leadrelay/leadrelay/internal/store"
)

var crm = store.Connector{Name: "crm"}

// accepted is a process with a lead that waits to be pushed to the crm.
func (s *server) accepted() (p *store.Store, l lead.Lead) {
	s.t.Helper()
	p = s.process()
	p.SetConnectors([]store.Connector{crm})
	email := "a@example.com"
	l, err := p.Create(s.t.Context(), lead.Patch{Email: &email}, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	return p, l
}

// claim waits until a lead is due, and takes its fence.
func (s *server) claim(p *store.Store, l lead.Lead, token string, hold time.Duration) *store.Claim {
	s.t.Helper()
	shard, _ := lead.ShardOf(l.ID)
	var claims []*store.Claim
	if !redistest.Within(10*time.Second, func() bool {
		claims, _ = p.Claim(s.t.Context(), crm, shard, 1, token, hold)
		return len(claims) == 1
	}) {
		s.t.Fatalf("%s: nothing is due", token)
	}
	return claims[0]
}

// handBack gives a claim back as it was.
func (s *server) handBack(p *store.Store, c *store.Claim) {
	s.t.Helper()
	if _, err := p.Settle(s.t.Context(), c, store.Later, p.Now(), 0); err != nil {
		s.t.Fatal(err)
	}
}

// TestP3ALatePushThatMayHaveLeftARecordIsRemembered: the fence of a first call was lost, and its answer, too; a delete
// that comes then must not pass for that of a lead that was never sent.
func TestP3ALatePushThatMayHaveLeftARecordIsRemembered(t *testing.T) {
	onEach(t, func(s *server) {
		p, l := s.accepted()
		s.handBack(p, s.claim(p, l, "1", time.Minute))
		late, other := s.claim(p, l, "2", 0), s.claim(p, l, "3", time.Minute)
		late.Record.Sent, late.Record.Tried = true, []string{"old key", "key"}
		if _, err := p.Settle(s.t.Context(), late, store.Later, p.Now(), 0); !errors.Is(err, store.ErrFenceLost) {
			s.t.Fatalf("a late outcome: %v", err)
		}
		if err := p.Reopen(s.t.Context(), late); err != nil {
			s.t.Fatal(err)
		}
		if _, err := p.Settle(s.t.Context(), other, store.Done, time.Time{}, 0); !errors.Is(err, store.ErrFenceLost) {
			s.t.Fatalf("an outcome that the late push may have overtaken: %v", err)
		}
		if next := s.claim(p, l, "4", time.Minute); !next.Record.Sent || !slices.Equal(next.Record.Tried, late.Record.Tried) {
			s.t.Errorf("of the call that may have reached the remote is known: %+v", next.Record)
		}
	})
}

func TestALeadThatWasHandedBackCanBePushedAgain(t *testing.T) {
	onEach(t, func(s *server) {
		p, l := s.accepted()
		s.handBack(p, s.claim(p, l, "1", time.Minute))
		if err := p.PushAgain(s.t.Context(), crm.Name, l.ID); err != nil {
			s.t.Fatal(err)
		}
		s.claim(p, l, "2", time.Minute)
	})
}
