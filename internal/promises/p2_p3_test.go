package promises

import (
	"context"
	"errors"
	"fmt"
	"math/rand"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/leadrelay/leadrelay/connectors"
	"github.com/leadrelay/leadrelay/internal/lead"
	"github.com/leadrelay/leadrelay/worker"
)

func TestP2AVendorThatAppliedAndDidNotAnswerHasOneRecord(t *testing.T) {
	for name, lost := range map[string]error{
		"no answer":         fault(connectors.Unknown, "crm: create: no whole answer"),
		"5xx after it":      fault(connectors.Remote, "crm: create: 500"),
		"429 after it":      fault(connectors.Throttled, "crm: create: 429"),
		"nobody classified": errors.New("crm: something"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			crm := newRemote("crm")
			var times atomic.Int32
			crm.behave = func(c *call) error {
				if c.applied && times.Add(1) <= 3 {
					return lost
				}
				return nil
			}
			w := newWorld(t, crm)
			p := w.start(nil)
			id := p.post(`{"email":"a@example.com"}`)
			p.inStep()
			if got := crm.of(id); len(got) != 1 || crm.made != 1 {
				t.Errorf("the crm has %+v after %d creates, want one record: %v", got, crm.made, crm.callsMade())
			}
		})
	}
}

func TestP2ASearchThatLearnsLateOfARecordMakesNoSecondAndLeavesNoneBehind(t *testing.T) {
	t.Parallel()
	crm := newRemote("crm")
	crm.lag = 2 * time.Second // more than the worker waits before it tries again
	var lost sync.Map
	crm.behave = func(c *call) error {
		if !c.applied || c.op != "create" {
			return nil
		}
		if _, again := lost.LoadOrStore(c.change.Lead.ID, true); again {
			return nil
		}
		return fault(connectors.Unknown, "cut")
	}
	w := newWorld(t, crm)
	p := w.start(nil)
	stays, goes := p.post(`{"email":"a@example.com"}`), p.post(`{"email":"b@example.com"}`)
	w.eventually("both creates go out", func() bool { return len(crm.of(stays))+len(crm.of(goes)) == 2 })
	p.remove(goes)
	p.inStep()
	if got := crm.of(stays); len(got) != 1 || crm.made != 2 {
		t.Errorf("the crm has %+v after %d creates of two leads: %v", got, crm.made, crm.callsMade())
	}
	if got := crm.of(goes); len(got) != 0 {
		t.Errorf("the crm still has %+v of a lead that was deleted: %v", got, crm.callsMade())
	}
}

func TestP2AndP3ManyWorkersOverManyChangesEndInTheNewestState(t *testing.T) {
	crm, sheet, hook := newRemote("crm"), newRemote("sheet"), newEventRemote("hook")
	sheet.batch = 25
	random := rand.New(rand.NewSource(1))
	var mu sync.Mutex
	misbehave := func(c *call) error {
		mu.Lock()
		dice := random.Intn(20)
		mu.Unlock()
		switch dice {
		case 0:
			return fault(connectors.Remote, "503")
		case 1:
			return fault(connectors.Unknown, "cut")
		}
		return nil
	}
	crm.behave, sheet.behave, hook.behave = misbehave, misbehave, misbehave
	w := newWorld(t, crm, sheet, hook)
	processes := []*process{w.start(nil), w.start(nil), w.start(nil)}
	type end struct {
		email   string
		deleted bool
		changes int
	}
	const leads = 60
	ends := make([]end, leads)
	ids := make([]string, leads)
	var group sync.WaitGroup
	for n := range leads {
		group.Go(func() {
			dice := rand.New(rand.NewSource(int64(n)))
			p := func() *process { return processes[dice.Intn(len(processes))] }
			ids[n] = p().post(fmt.Sprintf(`{"email":"a%d@example.com"}`, n))
			ends[n] = end{email: fmt.Sprintf("a%d@example.com", n), changes: 1}
			for k := range dice.Intn(8) {
				ends[n].email = fmt.Sprintf("a%d.%d@example.com", n, k)
				ends[n].changes++
				p().put(ids[n], fmt.Sprintf(`{"email":%q}`, ends[n].email))
			}
			if dice.Intn(4) == 0 {
				p().remove(ids[n])
				ends[n].deleted = true
			}
		})
	}
	group.Wait()
	processes[0].inStep()
	for n, want := range ends {
		for _, r := range []*remote{crm, sheet} {
			got := r.of(ids[n])
			if want.deleted && len(got) != 0 || !want.deleted && (len(got) != 1 || got[0].email != want.email) {
				t.Errorf("%s has %+v, want %+v", r.name, got, want)
			}
		}
		events := hook.told(ids[n])
		if !slices.IsSortedFunc(events, func(a, b event) int { return int(a.revision - b.revision) }) {
			t.Errorf("the hook was told out of order: %+v", events)
		}
		if !want.deleted && len(events) != want.changes {
			t.Errorf("the hook was told %d of %d changes", len(events), want.changes)
		}
		if want.deleted && len(events) > 0 && events[len(events)-1].op != lead.Delete {
			t.Errorf("the hook was told of a lead, and not of its delete: %+v", events)
		}
	}
}

// gate lets a test hold a remote's calls and look at what waits.
type gate struct {
	once    sync.Once
	waiting chan struct{}
	open    chan struct{}
}

func newGate() *gate { return &gate{waiting: make(chan struct{}), open: make(chan struct{})} }

func (g *gate) hold() {
	g.once.Do(func() { close(g.waiting) })
	<-g.open
}

func TestP3AnUpdateDuringAPushArrivesAfterIt(t *testing.T) {
	crm, hook := newRemote("crm"), newEventRemote("hook")
	g := newGate()
	crm.behave = func(c *call) error {
		if c.applied && c.change.Lead.Revision == 1 {
			g.hold()
		}
		return nil
	}
	w := newWorld(t, crm, hook)
	p := w.start(nil)
	id := p.post(`{"email":"a@example.com"}`)
	<-g.waiting
	p.put(id, `{"email":"b@example.com"}`)
	p.put(id, `{"email":"c@example.com"}`)
	close(g.open)
	p.inStep()
	if got := crm.of(id); len(got) != 1 || got[0].email != "c@example.com" {
		t.Errorf("the crm has %+v, want c@example.com", got)
	}
	if got := crm.callsMade(); len(got) != 2 {
		t.Errorf("the crm was called %v, want the create and one update for two changes", got)
	}
}

func TestP3ADeleteDuringAPushLeavesNothing(t *testing.T) {
	crm := newRemote("crm")
	g := newGate()
	crm.behave = func(c *call) error {
		if !c.applied && c.op == "create" {
			g.hold()
		}
		return nil
	}
	w := newWorld(t, crm)
	p := w.start(nil)
	id := p.post(`{"email":"a@example.com"}`)
	<-g.waiting
	p.remove(id)
	close(g.open)
	p.inStep()
	if got := crm.of(id); len(got) != 0 {
		t.Errorf("the crm has %+v of a deleted lead", got)
	}
}

func TestP3ChangesBehindAnOutageBecomeOneCallAndAnUnsentDeleteNone(t *testing.T) {
	crm, hook := newRemote("crm"), newEventRemote("hook")
	w := newWorld(t, crm, hook)
	front := w.start(nil)
	front.shutdown()
	id := front.post(`{"email":"a@example.com"}`)
	for i := range 3 {
		front.put(id, fmt.Sprintf(`{"name":"N%d"}`, i))
	}
	never := front.post(`{"email":"never@example.com"}`)
	front.put(never, `{"name":"x"}`)
	front.remove(never)
	p := w.start(nil)
	p.inStep()
	if got := crm.callsMade(); !slices.Equal(got, []string{"create"}) {
		t.Errorf("the crm was called %v, want one create", got)
	}
	if got := hook.told(never); len(got) != 0 {
		t.Errorf("the hook was told %+v of a lead it never had", got)
	}
	var revisions []int64
	for _, e := range hook.told(id) {
		revisions = append(revisions, e.revision)
	}
	if !slices.Equal(revisions, []int64{1, 2, 3, 4}) {
		t.Errorf("the hook was told revisions %v, want 1 to 4 in order", revisions)
	}
}

func TestP3ADeleteOvertakesWhatIsUnsentOfAnEventConnector(t *testing.T) {
	hook := newEventRemote("hook")
	g := newGate()
	hook.behave = func(c *call) error {
		if !c.applied && c.change.Lead.Revision == 1 {
			g.hold()
		}
		return nil
	}
	w := newWorld(t, hook)
	p := w.start(nil)
	id := p.post(`{"email":"a@example.com"}`)
	<-g.waiting
	p.put(id, `{"email":"b@example.com"}`)
	p.put(id, `{"email":"c@example.com"}`)
	p.remove(id)
	close(g.open)
	p.inStep()
	got := hook.told(id)
	if len(got) != 2 || got[0].revision != 1 || got[1].op != lead.Delete || got[1].email != "" {
		t.Errorf("the hook was told %+v, want the create that was under way and then the delete alone", got)
	}
}

func TestP3AWorkerPausedPastItsFenceChangesNothing(t *testing.T) {
	crm := newRemote("crm")
	g := newGate()
	var frozen atomic.Pointer[process]
	crm.behave = func(c *call) error {
		// The first process stops between taking the fence and the write's arrival at the vendor.
		if !c.applied && c.process == frozen.Load() {
			g.hold()
		}
		return nil
	}
	w := newWorld(t, crm)
	first, pause, resume := w.startPausable()
	frozen.Store(first)
	id := first.post(`{"email":"old@example.com"}`)
	<-g.waiting
	pause()
	second := w.start(nil)
	second.put(id, `{"email":"new@example.com"}`)
	w.eventually("the second worker to take over", func() bool {
		got := crm.of(id)
		return len(got) == 1 && got[0].email == "new@example.com"
	})
	resume()
	close(g.open) // the old write arrives late
	w.eventually("the late write made good", func() bool {
		got := crm.of(id)
		return len(got) == 1 && got[0].email == "new@example.com" && inStepNow(second, "crm") &&
			strings.Contains(w.logs.String(), "outlived its fence")
	})
}

func TestP3AClientSeesItsOwnNewestStateAndNoRevisionForNoChange(t *testing.T) {
	crm := newRemote("crm")
	w := newWorld(t, crm)
	p := w.start(nil)
	id := p.post(`{"email":"a@example.com","n":1.0}`)
	p.put(id, `{"email":"a@example.com","n":1.0}`)
	if _, answer := p.call("GET", "/api/v1/leads/"+id, ""); answer["data"].(map[string]any)["revision"] != 1.0 {
		t.Errorf("a change that changes nothing made a revision: %v", answer)
	}
	p.inStep()
	if got := crm.callsMade(); len(got) != 1 {
		t.Errorf("the crm was called %v", got)
	}
}

func TestP4AHangingConnectorDelaysNoOther(t *testing.T) {
	slow, quick := newRemote("slow"), newRemote("quick")
	g := newGate()
	slow.behave = func(c *call) error {
		select {
		case <-g.open:
		case <-c.ctx.Done():
			return fault(connectors.Unknown, "slow: hung")
		}
		return nil
	}
	w := newWorld(t, slow, quick)
	p := w.start(nil)
	var ids []string
	for i := range 300 {
		ids = append(ids, p.post(fmt.Sprintf(`{"email":"a%d@example.com"}`, i)))
	}
	w.eventually("the quick connector in step beside one that hangs", func() bool { return inStepNow(p, "quick") })
	if inStepNow(p, "slow") {
		t.Error("the slow connector did not hang")
	}
	close(g.open)
	p.inStep()
	for _, id := range ids {
		if len(quick.of(id)) != 1 || len(slow.of(id)) != 1 {
			t.Fatalf("quick has %v, slow has %v of a lead", quick.of(id), slow.of(id))
		}
	}
}

func TestGracefulShutdownFinishesWhatIsInFlight(t *testing.T) {
	crm := newRemote("crm")
	g := newGate()
	crm.behave = func(c *call) error {
		if !c.applied {
			g.hold()
		}
		return nil
	}
	w := newWorld(t, crm)
	p := w.start(nil)
	id := p.post(`{"email":"a@example.com"}`)
	<-g.waiting
	time.AfterFunc(50*time.Millisecond, func() { close(g.open) })
	p.shutdown()
	if st := p.standing(id, "crm"); st["in_step"] != true {
		t.Errorf("after an orderly end the lead stands at %v, want in step", st)
	}
}

func TestP3WhoNeverGotALeadIsNotToldOfItsDelete(t *testing.T) {
	for name, row := range map[string]struct {
		err  error
		told int
	}{
		"never sent":          {&connectors.Error{Fault: connectors.Remote, NotSent: true, Err: errors.New("hook: connection refused")}, 0},
		"refused":             {fault(connectors.Lead, "hook: 422"), 0},
		"may have been taken": {fault(connectors.Remote, "hook: 502"), 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			hook := newEventRemote("hook")
			var well atomic.Bool
			tried := make(chan struct{}, 100)
			hook.behave = func(c *call) error {
				if c.applied || well.Load() {
					return nil
				}
				tried <- struct{}{}
				return row.err
			}
			w := newWorld(t, hook)
			p := w.start(nil)
			id := p.post(`{"email":"a@example.com"}`)
			<-tried
			w.eventually("the failure noted", func() bool { return p.standing(id, "hook")["last_outcome"] != nil })
			p.remove(id)
			well.Store(true)
			p.inStep()
			if got := hook.told(id); len(got) != row.told {
				t.Errorf("the hook was told %+v, want %d events", got, row.told)
			}
		})
	}
}

func TestP2AnAddressChangedAfterALostAnswerLeavesOneRecord(t *testing.T) {
	list := newRemote("list")
	list.keyed = true
	lost := make(chan struct{})
	var changed atomic.Bool
	list.behave = func(c *call) error {
		if c.applied && c.change.Lead.Revision == 1 && !changed.Load() {
			select {
			case lost <- struct{}{}:
			default:
			}
			return fault(connectors.Unknown, "list: no whole answer")
		}
		return nil
	}
	w := newWorld(t, list)
	list.tune = func(c *worker.Connector) { c.Retry.Initial = time.Hour; c.Retry.Max = time.Hour }
	p := w.start(nil)
	id := p.post(`{"email":"a@example.com"}`)
	<-lost
	w.eventually("the lost answer noted", func() bool { return p.standing(id, "list")["last_outcome"] != nil })
	p.put(id, `{"email":"b@example.com"}`)
	changed.Store(true)
	if err := p.store.Replay(context.Background(), "list", id); err != nil {
		t.Fatal(err)
	}
	p.inStep()
	if got := list.of(id); len(got) != 1 || got[0].email != "b@example.com" {
		t.Errorf("the list has %+v, want one record of b@example.com", got)
	}
	// The record is moved, not taken away and made anew: what people did to it stays.
	if got := list.callsMade(); !slices.Equal(got, []string{"create", "update"}) {
		t.Errorf("the list was called %v", got)
	}
}

func TestP2TwoLeadsOfOneAddressShareARecordUntilTheLastOfThemGoes(t *testing.T) {
	byAddress(t, func(t *testing.T, list *remote) {
		w := newWorld(t, list)
		p := w.start(nil)
		have := func(emails ...string) {
			t.Helper()
			p.inStep()
			list.mu.Lock()
			defer list.mu.Unlock()
			var got []string
			for _, r := range list.records {
				got = append(got, r.email)
			}
			slices.Sort(got)
			if !slices.Equal(got, emails) {
				t.Errorf("the list has %v, want %v", got, emails)
			}
		}
		first, second, third := p.post(`{"email":"a@example.com"}`), p.post(`{"email":"A@example.com"}`), p.post(`{"email":"a@example.com"}`)
		p.inStep()
		p.remove(second)
		have("a@example.com")
		p.put(first, `{"email":"moved@example.com"}`)
		have("a@example.com", "moved@example.com")
		p.remove(third)
		have("moved@example.com")
		p.remove(first)
		have()
		if keys := w.redis.Keys(t, "lr:*keys"); len(keys) != 0 {
			t.Errorf("%v are left", keys)
		}
	})
}

func TestP2LeadsThatComeAndGoUnderOneAddressAtOnceEndInWhatIsLeft(t *testing.T) {
	byAddress(t, func(t *testing.T, list *remote) {
		w := newWorld(t, list)
		one, two := w.start(nil), w.start(nil)
		var group sync.WaitGroup
		for n := range 12 {
			group.Go(func() {
				p := []*process{one, two}[n%2]
				for range 5 {
					p.remove(p.post(fmt.Sprintf(`{"email":"a%d@example.com"}`, n/3)))
				}
				p.post(fmt.Sprintf(`{"email":"a%d@example.com"}`, n/3))
			})
		}
		group.Wait()
		one.inStep()
		if len(list.records) != 4 {
			t.Errorf("the list has %+v, want one record for each of 4 addresses", list.records)
		}
	})
}

// byAddress runs a test on a remote whose key is the address, and on one with ids that has one record for an address.
func byAddress(t *testing.T, test func(t *testing.T, list *remote)) {
	for name, set := range map[string]func(*remote){
		"the key is the address": func(r *remote) { r.keyed = true },
		"the address has an id":  func(r *remote) { r.shared = true },
	} {
		t.Run(name, func(t *testing.T) {
			list := newRemote("list")
			set(list)
			test(t, list)
		})
	}
}

func TestP2AndP3ALateAnswerToADeleteTellsAnEventConnectorOfNoSecondDelete(t *testing.T) {
	hook := newEventRemote("hook")
	g := newGate()
	var frozen atomic.Pointer[process]
	hook.behave = func(c *call) error {
		if !c.applied && c.process == frozen.Load() && c.change.Op == lead.Delete {
			g.hold()
			return c.ctx.Err()
		}
		return nil
	}
	w := newWorld(t, hook)
	first, pause, resume := w.startPausable()
	frozen.Store(first)
	id := first.post(`{"email":"a@example.com"}`)
	first.inStep()
	first.remove(id)
	<-g.waiting
	pause()
	second := w.start(nil)
	w.eventually("the second worker to take over", func() bool { return inStepNow(second, "hook") })
	resume()
	close(g.open)
	w.eventually("the late answer", func() bool { return strings.Contains(w.logs.String(), "a late answer changes nothing") })
	second.inStep()
	if got := hook.told(id); len(got) != 2 || got[1].op != lead.Delete || got[1].revision != 2 {
		t.Errorf("the hook was told %+v, want the create and one delete", got)
	}
}

func TestP1AndP3ARedisWhoseClockIsSetBackOrForwardLosesNothing(t *testing.T) {
	for name, off := range map[string]time.Duration{"an hour back": -time.Hour, "an hour on": time.Hour} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			crm, hook := newRemote("crm"), newEventRemote("hook")
			var failing atomic.Bool
			failing.Store(true)
			crm.behave = func(c *call) error {
				if failing.Load() && !c.applied {
					return fault(connectors.Remote, "crm: 503")
				}
				return nil
			}
			hook.behave = crm.behave
			w := newWorld(t, crm, hook)
			p := w.start(nil)
			tried := p.post(`{"email":"tried@example.com"}`)
			w.eventually("a failure", func() bool { return p.standing(tried, "crm")["state"] == "retrying" })
			p.shutdown()
			waiting := p.post(`{"email":"waiting@example.com"}`)
			w.clock.Store(int64(off))
			failing.Store(false)
			second := w.start(nil)
			later := second.post(`{"email":"later@example.com"}`)
			second.put(tried, `{"email":"changed@example.com"}`)
			second.inStep()
			for id, email := range map[string]string{tried: "changed@example.com", waiting: "waiting@example.com", later: "later@example.com"} {
				if got := crm.of(id); len(got) != 1 || got[0].email != email {
					t.Errorf("the crm has %+v, want one record of %s", got, email)
				}
				events := hook.told(id)
				if len(events) == 0 || events[len(events)-1].email != email ||
					!slices.IsSortedFunc(events, func(a, b event) int { return int(a.revision - b.revision) }) {
					t.Errorf("the hook was told %+v, want changes in order up to %s", events, email)
				}
			}
		})
	}
}
