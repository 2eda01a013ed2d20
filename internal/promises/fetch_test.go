package promises

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/leadrelay/leadrelay/connectors"
	"github.com/leadrelay/leadrelay/internal/lead"
	"github.com/leadrelay/leadrelay/internal/store"
	"github.com/leadrelay/leadrelay/worker"
)

// registry is a service whose deliveries only name leads, and that misbehaves as told.
type registry struct {
	mu     sync.Mutex
	asked  map[string]int
	behave func(id string, times int) error
}

func (r *registry) Fetch(_ context.Context, payload []byte) ([]byte, error) {
	id := string(payload)
	r.mu.Lock()
	r.asked[id]++
	times := r.asked[id]
	r.mu.Unlock()
	if err := r.behave(id, times); err != nil {
		return nil, err
	}
	return fmt.Appendf(nil, `{"email":"%s@example.com"}`, id), nil
}

func (r *registry) Map(fetched []byte) (lead.Patch, error) { return lead.ParseNew(fetched) }

func TestP1ADeliveryThatOnlyNamesALeadBecomesOneWhateverFails(t *testing.T) {
	t.Parallel()
	const origin = "source/registry"
	crm := newRemote("crm")
	service := &registry{asked: map[string]int{}, behave: func(id string, times int) error {
		switch {
		case strings.HasPrefix(id, "gone"):
			return fault(connectors.Lead, "registry: there is no such lead")
		case strings.HasPrefix(id, "odd"):
			return nil
		case strings.HasPrefix(id, "slow") && times == 1:
			return fault(connectors.Throttled, "registry: 429")
		case strings.HasPrefix(id, "down") && times <= 2:
			return fault(connectors.Remote, "registry: 503")
		}
		return nil
	}}
	w := newWorld(t, crm)
	w.intake = worker.Intake{Sources: map[string]worker.Source{origin: service}}
	p := w.start(nil)
	w.start(nil)
	ctx := context.Background()
	keep := func(id, origin string) store.Submission {
		t.Helper()
		sub, _, err := p.store.Keep(ctx, store.Submission{Origin: origin, State: store.Fetching, Payload: []byte(id)}, &store.Idempotency{Key: id})
		if err != nil {
			t.Fatal(err)
		}
		return sub
	}
	names := []string{"well1", "well2", "slow1", "down1", "down2"}
	for _, id := range names {
		keep(id, origin)
	}
	refused, unmappable, stray := keep("gone1", origin), keep("odd one", origin), keep("x", "source/nobody")
	w.eventually("every lead that can be fetched is at the crm", func() bool {
		crm.mu.Lock()
		defer crm.mu.Unlock()
		return len(crm.records) == len(names)
	})
	for _, id := range names {
		if leads, _, err := p.store.List(ctx, store.Query{Email: id + "@example.com", Limit: 10}); err != nil || len(leads) != 1 || len(crm.of(leads[0].ID)) != 1 {
			t.Errorf("%s: got %v, %v; want one lead with one record", id, leads, err)
		}
	}
	for name, sub := range map[string]store.Submission{"there is no such lead": refused, "email": unmappable} {
		w.eventually("what cannot be a lead is left to an operator", func() bool {
			got, err := p.store.Submission(ctx, sub.ID)
			return err == nil && got.State == store.Unmapped && strings.Contains(got.Reason, name)
		})
	}
	w.eventually("what nobody can fetch says so and stays", func() bool {
		got, err := p.store.Submission(ctx, stray.ID)
		return err == nil && got.State == store.Fetching && strings.Contains(got.Reason, "no such source")
	})
}
