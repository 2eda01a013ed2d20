package promises

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// scenario is what a client does, with a retry of what was not answered, as the idempotency key allows.
func scenario(p func() *process, id *string) []func() bool {
	return []func() bool{
		func() bool {
			status, answer := p().call("POST", "/api/v1/leads", `{"email":"a@example.com","name":"Ada"}`, "Idempotency-Key", "create-a")
			if status != 200 {
				return false
			}
			*id = answer["data"].(map[string]any)["lead_id"].(string)
			return true
		},
		func() bool {
			status, _ := p().call("PUT", "/api/v1/leads/"+*id, `{"email":"b@example.com"}`, "Idempotency-Key", "update-a")
			return status == 200
		},
	}
}

// crash runs the scenario in a process that dies at the n-th moment of its Redis commands and of its calls to
// remotes, then in one that lives. It reports whether the first process lived to the end.
func crash(t *testing.T, n int64, withDelete bool) (survived bool) {
	var moments atomic.Int64
	crm, hook := newRemote("crm"), newEventRemote("hook")
	die := func(string, bool) bool { return moments.Add(1) == n }
	crm.behave = func(c *call) error {
		if c.process.armed.Load() && die(c.op, c.applied) {
			c.process.kill()
		}
		return nil
	}
	hook.behave = crm.behave
	w := newWorld(t, crm, hook)
	first := w.start(func(name string, after bool) bool {
		switch name {
		case "hello", "client", "subscribe", "time":
			return false // connecting; nothing of a lead is done yet
		}
		return die(name, after)
	})
	current := first
	var id string
	steps := scenario(func() *process { return current }, &id)
	if withDelete {
		steps = append(steps, func() bool {
			status, _ := current.call("DELETE", "/api/v1/leads/"+id, "")
			return status == 200 || status == 404
		})
	}
	restart := func() {
		current = w.start(nil)
		current.armed.Store(false)
	}
	for _, step := range steps {
		for end := time.Now().Add(patience); !step(); {
			switch {
			case time.Now().After(end):
				t.Error("a living process did not accept")
				return false
			case first.dead.Load() && current == first:
				restart()
			}
			// Else it was busy, said 503, and the client tries again.
		}
	}
	w.eventually("in step, or dead", func() bool {
		return current == first && first.dead.Load() || inStepNow(current, "crm", "hook")
	})
	first.armed.Store(false) // what follows only looks
	survived = !first.dead.Load()
	if !survived && current == first {
		restart()
	}
	current.inStep()

	records, events := crm.of(id), hook.told(id)
	if withDelete {
		if len(records) != 0 {
			t.Errorf("the crm still has %+v after the delete", records)
		}
		if len(events) > 0 && events[len(events)-1].op != "delete" {
			t.Errorf("the hook was told %+v, and no delete at the end", events)
		}
		for _, key := range w.redis.Keys(t, "lr:*"+id+"*") {
			t.Errorf("%s is left of a deleted lead", key)
		}
	} else {
		if len(records) != 1 || records[0].email != "b@example.com" {
			t.Errorf("the crm has %+v, want one record of b@example.com", records)
		}
		if len(events) != 2 || events[0].revision != 1 || events[1].revision != 2 {
			t.Errorf("the hook was told %+v, want revisions 1 and 2", events)
		}
	}
	if all, _, err := current.store.List(context.Background(), storeQuery); err != nil || len(all) > 1 {
		t.Errorf("the store has %d leads of one idempotent create: %v", len(all), err)
	}
	if t.Failed() {
		t.Log(w.logs.String())
	}
	return survived
}

func testCrashes(t *testing.T, withDelete bool) {
	const together = 40
	step := int64(1)
	if testing.Short() {
		step = 7
	}
	for n := int64(1); !t.Failed(); n += together * step {
		var group sync.WaitGroup
		var survived atomic.Int64
		for i := range int64(together) {
			group.Go(func() {
				t.Run(fmt.Sprint("moment ", n+i*step), func(t *testing.T) {
					if crash(t, n+i*step, withDelete) {
						survived.Add(1)
					}
				})
			})
		}
		group.Wait()
		if survived.Load() == together {
			t.Logf("died at each of %d moments", n-1)
			if n < 20 {
				t.Errorf("only %d moments: the process hardly did anything", n)
			}
			return
		}
	}
}

func TestP1AndP2ACrashAtAnyStepLosesAndDoublesNothing(t *testing.T) { testCrashes(t, false) }

func TestP1AndP3ACrashAtAnyStepOfADeleteLeavesNothingBehind(t *testing.T) { testCrashes(t, true) }
