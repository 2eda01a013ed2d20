package promises

import (
	"strings"
	"sync/atomic"
	"testing"

	"github.com/leadrelay/leadrelay/connectors"
	"github.com/leadrelay/leadrelay/internal/lead"
	"github.com/leadrelay/leadrelay/internal/store"
)

// told is what a history says of a connector, the oldest first: of each attempt op, revision and outcome.
func (p *process) told(id, connector string) (all []store.HistoryEntry) {
	p.world.t.Helper()
	history, err := p.store.History(p.world.t.Context(), id)
	if err != nil {
		p.world.t.Fatal(err)
	}
	for _, e := range history {
		if e.Connector == connector {
			all = append([]store.HistoryEntry{e}, all...)
		}
	}
	return all
}

func TestP5EveryChangeAndAttemptIsInTheHistoryOfALead(t *testing.T) {
	crm := newRemote("crm")
	var trouble atomic.Pointer[error]
	crm.behave = func(c *call) error {
		if err := trouble.Load(); err != nil && !c.applied {
			return *err
		}
		return nil
	}
	fail := func(err error) { trouble.Store(&err) }
	w := newWorld(t, crm)
	p := w.start(nil)

	fail(fault(connectors.Lead, "crm: create: 422 phone of jane@example.com is not valid"))
	id := p.post(`{"email":"jane@example.com","name":"Jane"}`)
	p.inStep()
	trouble.Store(nil)
	p.put(id, `{"name":"Jane Roe"}`)
	p.inStep()
	p.remove(id)
	p.inStep()

	changes := p.told(id, "")
	if len(changes) != 2 || changes[0].Op != lead.Update || changes[0].Revision != 2 || changes[1].Op != lead.Delete || changes[1].Revision != 3 {
		t.Errorf("of the changes the history says %+v", changes)
	}
	attempts := p.told(id, "crm")
	want := []struct {
		revision int64
		op       lead.Op
		outcome  store.Outcome
	}{{1, lead.Create, store.OutcomeParked}, {2, lead.Create, store.OutcomeInStep}, {3, lead.Delete, store.OutcomeInStep}}
	if len(attempts) != len(want) {
		t.Fatalf("of the attempts the history says %+v", attempts)
	}
	for i, a := range attempts {
		if a.Revision != want[i].revision || a.Op != want[i].op || a.Outcome != want[i].outcome || a.At.IsZero() {
			t.Errorf("attempt %d is %+v, want %+v", i+1, a, want[i])
		}
	}
	if a := attempts[0]; a.Fault != "lead" || !strings.Contains(a.Reason, "422 phone") || strings.Contains(a.Reason, "jane") {
		t.Errorf("the refused attempt says %+v", a)
	}
}

func TestP5AFailureThatIsTriedAgainAndALeadLeftOutAreInTheHistory(t *testing.T) {
	crm := newRemote("crm")
	var failed atomic.Bool
	crm.behave = func(c *call) error {
		if !failed.Swap(true) {
			return fault(connectors.Remote, "crm: 502")
		}
		return nil
	}
	w := newWorld(t, crm)
	p := w.start(nil)
	id := p.post(`{"email":"a@example.com"}`)
	p.inStep()
	attempts := p.told(id, "crm")
	if len(attempts) != 2 || attempts[0].Outcome != store.OutcomeRetried || attempts[0].Fault != "remote" || attempts[1].Outcome != store.OutcomeInStep {
		t.Errorf("the history says %+v", attempts)
	}
}
