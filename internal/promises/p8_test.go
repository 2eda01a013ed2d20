package promises

import (
	"fmt"
	"math/rand"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/leadrelay/leadrelay/connectors"
)

func TestP8ReloadingUnderLoadLosesAndDoublesNothing(t *testing.T) {
	t.Parallel()
	crm, hook := newRemote("crm"), newEventRemote("hook")
	random := rand.New(rand.NewSource(8))
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
	crm.behave, hook.behave = misbehave, misbehave
	w := newWorld(t, crm, hook)
	p, other := w.start(nil), w.start(nil)
	const leads, changes = 40, 5
	var ids [leads]string
	var group sync.WaitGroup
	for n := range leads {
		group.Go(func() {
			ids[n] = p.post(fmt.Sprintf(`{"email":"p%d@example.com"}`, n))
			for i := range changes {
				p.put(ids[n], fmt.Sprintf(`{"note":"%d"}`, i))
			}
			if n%4 == 0 {
				p.remove(ids[n])
			}
		})
	}
	posted := make(chan struct{})
	go func() { group.Wait(); close(posted) }()
	reloads := 0
	for busy := true; busy || reloads < 50; reloads++ {
		p.reload(strconv.Itoa(reloads))
		if reloads%3 == 0 {
			other.reload(strconv.Itoa(reloads))
		}
		select {
		case <-posted:
			busy = false
		default:
		}
	}
	p.inStep()
	for n, id := range ids {
		got, told := crm.of(id), hook.told(id)
		if n%4 == 0 {
			if len(got) != 0 || len(told) > 0 && told[len(told)-1].op != "delete" {
				t.Errorf("lead %d was deleted: the crm has %+v, the hook was told %+v", n, got, told)
			}
			continue
		}
		if len(got) != 1 || got[0].revision != changes+1 {
			t.Errorf("lead %d: the crm has %+v, want revision %d", n, got, changes+1)
		}
		for i, e := range told {
			if e.revision != int64(i+1) {
				t.Errorf("lead %d: the hook was told %+v", n, told)
				break
			}
		}
		if len(told) != changes+1 {
			t.Errorf("lead %d: the hook was told of %d changes, want %d", n, len(told), changes+1)
		}
	}
}

// What is in flight finishes with what it began with, and does not hold up the successor.
func TestP8AConnectorThatChangesFinishesWhatItBegan(t *testing.T) {
	t.Parallel()
	crm := newRemote("crm")
	inFlight, goOn := make(chan struct{}), make(chan struct{})
	var once sync.Once
	crm.behave = func(c *call) error {
		if !c.applied {
			first := false
			once.Do(func() { first = true })
			if first {
				close(inFlight)
				<-goOn
			}
		}
		return nil
	}
	w := newWorld(t, crm)
	p := w.start(nil)
	first := p.post(`{"email":"a@example.com"}`)
	<-inFlight
	p.reload("changed")
	second := p.post(`{"email":"b@example.com"}`)
	w.eventually("the changed connector pushes", func() bool { return len(crm.of(second)) == 1 })
	if len(crm.of(first)) != 0 {
		t.Error("the first push is not in flight any more")
	}
	close(goOn)
	p.inStep()
	if got := crm.of(first); len(got) != 1 || crm.made != 2 {
		t.Errorf("the crm has %+v after %d creates", got, crm.made)
	}
}

func TestP8AConnectorThatIsTakenOutKeepsItsBacklogAndGoesOnWhenItIsBack(t *testing.T) {
	t.Parallel()
	crm, sheet := newRemote("crm"), newRemote("sheet")
	var down atomic.Bool
	var calls atomic.Int32
	down.Store(true)
	crm.behave = func(*call) error {
		calls.Add(1)
		if down.Load() {
			return fault(connectors.Remote, "down")
		}
		return nil
	}
	w := newWorld(t, crm, sheet)
	p := w.start(nil)
	waiting := p.post(`{"email":"a@example.com"}`)
	w.eventually("the crm was tried", func() bool { return p.standing(waiting, "crm")["state"] == "retrying" })
	p.reload("1", "crm")
	var elsewhere string
	w.eventually("the crm is left alone", func() bool { // when what was in flight is done
		before := calls.Load()
		elsewhere = p.post(`{"email":"b@example.com"}`)
		w.eventually("the sheet has it", func() bool { return len(sheet.of(elsewhere)) == 1 })
		return calls.Load() == before
	})
	if got := sheet.of(waiting); len(got) != 1 {
		t.Errorf("the sheet has %+v of the first lead", got)
	}
	down.Store(false)
	p.reload("2")
	w.eventually("the crm has what waited", func() bool { return len(crm.of(waiting)) == 1 })
	if got := crm.of(elsewhere); len(got) != 0 {
		t.Errorf("the crm has a lead that came while it was not configured: %+v", got)
	}
}
