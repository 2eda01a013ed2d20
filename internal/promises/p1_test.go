package promises

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/leadrelay/leadrelay/internal/lead"
	"github.com/leadrelay/leadrelay/internal/redistest"
	"github.com/leadrelay/leadrelay/internal/store"
)

// forgetJobs removes everything asynq keeps: the jobs waiting, running, archived.
func (w *world) forgetJobs() int {
	keys := w.redis.Keys(w.t, "asynq:*")
	for _, key := range keys { // one by one: a Cluster has them in several places
		w.redis.Client.Del(context.Background(), key)
	}
	return len(keys)
}

func TestP1TheSweeperFindsWorkWhoseJobsAreLost(t *testing.T) {
	crm := newRemote("crm")
	w := newWorld(t, crm)
	front := w.start(nil)
	front.shutdown() // the worker; the front end goes on accepting
	var ids []string
	for i := range 20 {
		ids = append(ids, front.post(fmt.Sprintf(`{"email":"a%d@example.com"}`, i)))
	}
	w.eventually("the jobs to be enqueued", func() bool { return w.forgetJobs() > 0 })
	w.start(nil)
	front.inStep()
	for _, id := range ids {
		if got := crm.of(id); len(got) != 1 {
			t.Errorf("the crm has %+v of a lead whose job was lost, want one record", got)
		}
	}
}

func TestP1AnArchivedOrTrimmedJobLosesNothing(t *testing.T) {
	crm := newRemote("crm")
	w := newWorld(t, crm)
	front := w.start(nil)
	front.shutdown()
	id := front.post(`{"email":"a@example.com"}`)
	inspector := asynq.NewInspectorFromRedisClient(w.redis.Client)
	w.eventually("the job to be archived and trimmed", func() bool {
		inspector.ArchiveAllPendingTasks("crm")
		n, err := inspector.DeleteAllArchivedTasks("crm")
		return err == nil && n > 0
	})
	w.start(nil)
	front.inStep()
	if got := crm.of(id); len(got) != 1 {
		t.Errorf("the crm has %+v, want one record", got)
	}
}

func TestP1AFullRedisIsAnswered503AndWhatWasAcceptedIsKept(t *testing.T) {
	server := redistest.StartAlone(t)
	crm := newRemote("crm")
	w := newWorldOn(server, t, crm)
	p := w.start(nil)
	server.Configure(t, "maxmemory", fmt.Sprint(used(t, server)+4<<20))
	accepted := map[string]bool{}
	note := strings.Repeat("n", 9000)
	full := false
	for i := 0; i < 5000 && !full; i++ {
		status, answer := p.call("POST", "/api/v1/leads", fmt.Sprintf(`{"email":"a%d@example.com","note":%q}`, i, note))
		switch status {
		case 200:
			accepted[answer["data"].(map[string]any)["lead_id"].(string)] = true
		case 503:
			full = true
		default:
			t.Fatalf("got %d %v", status, answer)
		}
	}
	if !full {
		t.Fatal("Redis never became full")
	}
	server.Configure(t, "maxmemory", "0")
	p.inStep()
	for id := range accepted {
		if got := crm.of(id); len(got) != 1 {
			t.Fatalf("the crm has %+v of an accepted lead, want one record", got)
		}
	}
	all, _, err := p.store.List(context.Background(), store.Query{Limit: 10000})
	if err != nil || len(all) != len(accepted) {
		t.Errorf("%d leads are stored, %d were accepted: %v", len(all), len(accepted), err)
	}
}

func TestP1WhatALeadSurvivesIsThatOfAClustersWeakestMaster(t *testing.T) {
	r := redistest.StartCluster(t)
	r.Configure(t, "appendfsync", "always") // as it was, when the test ends
	p := newWorldOn(r, t).start(nil)
	for _, address := range r.Options().Addrs {
		master := redis.NewClient(&redis.Options{Addr: address})
		defer master.Close()
		for _, setting := range []string{"no", "always"} {
			if err := master.ConfigSet(context.Background(), "appendfsync", setting).Err(); err != nil {
				t.Fatal(err)
			}
			if got := p.store.Persistence(context.Background()); got.Fsync != setting {
				t.Errorf("with appendfsync %s on one of three masters: got %+v", setting, got)
			}
		}
	}
}

// used is how many bytes the fullest of the servers has in memory.
func used(t *testing.T, r *redistest.Redis) (most int) {
	t.Helper()
	err := redistest.EachMaster(r.Client, func(ctx context.Context, c *redis.Client) error {
		info, err := c.InfoMap(ctx, "memory").Result()
		if err != nil {
			return err
		}
		n, err := strconv.Atoi(info["Memory"]["used_memory"])
		most = max(most, n)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return most
}

func TestP1AnAcceptedLeadSurvivesAKilledRedis(t *testing.T) {
	server := redistest.StartAlone(t)
	crm := newRemote("crm")
	w := newWorldOn(server, t, crm)
	p := w.start(nil)
	p.shutdown()
	id := p.post(`{"email":"a@example.com"}`)
	server.Kill()
	if status, answer := p.call("POST", "/api/v1/leads", `{"email":"b@example.com"}`); status != 503 || answer["success"] != false {
		t.Errorf("without Redis: got %d %v, want 503", status, answer)
	}
	server.Restart(t)
	w.start(nil).inStep()
	if got := crm.of(id); len(got) != 1 {
		t.Errorf("the crm has %+v, want one record", got)
	}
}

func TestP2JobsDoubledAndDelayedMakeNoDoubles(t *testing.T) {
	crm, hook := newRemote("crm"), newEventRemote("hook")
	w := newWorld(t, crm, hook)
	p, second := w.start(nil), w.start(nil)
	id := p.post(`{"email":"a@example.com"}`)
	shard, _ := lead.ShardOf(id)
	jobs := asynq.NewClientFromRedisClient(w.redis.Client)
	ring := func() {
		for range 20 {
			for _, name := range []string{"crm", "hook"} {
				payload, _ := json.Marshal(store.Job{Connector: name, Shard: shard})
				if _, err := jobs.Enqueue(asynq.NewTask(store.TaskType, payload), asynq.Queue(name)); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	ring()
	p.put(id, `{"name":"B"}`)
	ring()
	p.inStep()
	ring() // jobs of old, behind newer ones
	w.eventually("all jobs taken", func() bool {
		for _, name := range []string{"crm", "hook"} {
			info, err := asynq.NewInspectorFromRedisClient(w.redis.Client).GetQueueInfo(name)
			if err != nil || info.Pending+info.Active > 0 {
				return false
			}
		}
		return true
	})
	second.inStep()
	if got := crm.of(id); len(got) != 1 || got[0].revision != 2 {
		t.Errorf("the crm has %+v, want one record of revision 2", got)
	}
	if got := len(hook.told(id)); got != 2 || len(hook.callsMade()) != 2 {
		t.Errorf("the hook was told %d events in %d calls, want 2 in 2", got, len(hook.callsMade()))
	}
}

func TestP2ConcurrentCreatesWithOneIdempotencyKeyMakeOneLead(t *testing.T) {
	crm := newRemote("crm")
	w := newWorld(t, crm)
	one, two := w.start(nil), w.start(nil)
	var group sync.WaitGroup
	var mu sync.Mutex
	ids := map[string]bool{}
	for i := range 40 {
		group.Go(func() {
			p := []*process{one, two}[i%2]
			for {
				status, answer := p.call("POST", "/api/v1/leads", `{"email":"a@example.com"}`, "Idempotency-Key", "k")
				if status == 409 {
					continue
				}
				if status != 200 {
					t.Errorf("got %d %v", status, answer)
					return
				}
				mu.Lock()
				ids[answer["data"].(map[string]any)["lead_id"].(string)] = true
				mu.Unlock()
				return
			}
		})
	}
	group.Wait()
	one.inStep()
	if len(ids) != 1 || len(crm.records) != 1 {
		t.Errorf("one key made %d leads and %d records", len(ids), len(crm.records))
	}
}

func TestP2ConcurrentPostsOfOneAddressUnderDedupeMakeOneLead(t *testing.T) {
	crm := newRemote("crm")
	w := newWorld(t, crm)
	w.dedupe = true
	one, two := w.start(nil), w.start(nil)
	var group sync.WaitGroup
	for i := range 40 {
		group.Go(func() {
			[]*process{one, two}[i%2].post(fmt.Sprintf(`{"email":"Ada@Example.com","name":"Ada","n%d":1}`, i))
		})
	}
	group.Wait()
	one.inStep()
	all, _, err := one.store.List(context.Background(), storeQuery)
	if err != nil || len(all) != 1 || len(crm.records) != 1 {
		t.Fatalf("%d leads and %d records of one address: %v", len(all), len(crm.records), err)
	}
	if len(all[0].Custom) != 40 {
		t.Errorf("the lead has %d of the 40 fields posted", len(all[0].Custom))
	}
	one.remove(all[0].ID)
	again := one.post(`{"email":"ada@example.com"}`)
	if again == all[0].ID {
		t.Error("a new lead took the id of a deleted one")
	}
}

func TestP2UnderDedupeALeadIsKnownByTheAddressItWasChangedTo(t *testing.T) {
	crm := newRemote("crm")
	w := newWorld(t, crm)
	before := w.start(nil)
	early := before.post(`{"email":"early@example.com"}`) // before dedupe was set
	w.dedupe = true
	p := w.start(nil)
	id := p.post(`{"email":"a@example.com"}`)
	p.put(id, `{"email":"b@example.com"}`)
	if got := p.post(`{"email":"B@example.com","name":"again"}`); got != id {
		t.Errorf("a post with the changed address made %s, want an update of %s", got, id)
	}
	if got := p.post(`{"email":"a@example.com"}`); got == id {
		t.Error("a post with the address a lead no longer has updated that lead")
	}
	if got := p.post(`{"email":"early@example.com"}`); got != early {
		t.Errorf("a post with the address of an earlier lead made %s, want an update of %s", got, early)
	}
}

func TestP2UnderDedupeARepeatedRequestGetsItsFirstAnswerAndChangesNothing(t *testing.T) {
	crm := newRemote("crm")
	w := newWorld(t, crm)
	w.dedupe = true
	one, two := w.start(nil), w.start(nil)
	post := func(p *process, key, body string) (int, string) {
		status, answer := p.call("POST", "/api/v1/leads", body, "Idempotency-Key", key)
		text, _ := json.Marshal(answer)
		return status, string(text)
	}
	const create, update = `{"email":"a@example.com","note":"first"}`, `{"email":"A@example.com","note":"second"}`
	_, created := post(one, "create", create)
	_, updated := post(two, "update", update)
	third := one.post(`{"email":"a@example.com","note":"third"}`)
	for _, p := range []*process{one, two} {
		if status, again := post(p, "create", create); status != 200 || again != created {
			t.Errorf("the create repeated: got %d %s, want %s", status, again, created)
		}
		if status, again := post(p, "update", update); status != 200 || again != updated {
			t.Errorf("the update repeated: got %d %s, want %s", status, again, updated)
		}
	}
	if status, answer := post(two, "create", update); status != 422 {
		t.Errorf("a key that came back with another body: got %d %s", status, answer)
	}
	one.inStep()
	all, _, err := one.store.List(context.Background(), storeQuery)
	if err != nil || len(all) != 1 || all[0].Note != "third" || all[0].Revision != 3 {
		t.Errorf("the leads are %+v (%v), want the third state alone", all, err)
	}

	one.remove(third)
	if status, again := post(two, "create", create); status != 200 || again != created {
		t.Errorf("the create repeated after a delete: got %d %s, want %s", status, again, created)
	}
	if all, _, err := one.store.List(context.Background(), storeQuery); err != nil || len(all) != 0 {
		t.Errorf("after its delete a repeated create brought back %+v: %v", all, err)
	}
}

func TestP1WhatIsAcceptedTogetherIsKeptWheneverTheProcessDies(t *testing.T) {
	for n := int64(1); n < 40; n += 3 {
		t.Run(fmt.Sprint("moment ", n), func(t *testing.T) {
			crm, hook := newRemote("crm"), newEventRemote("hook")
			w := newWorld(t, crm, hook)
			var moments atomic.Int64
			first := w.start(func(name string, after bool) bool {
				switch name {
				case "hello", "client", "subscribe", "time":
					return false
				}
				return moments.Add(1) == n
			})
			var mu sync.Mutex
			accepted := map[string]string{}
			var group sync.WaitGroup
			for i := range 40 {
				group.Go(func() {
					email := fmt.Sprintf("a%d@example.com", i)
					if status, answer := first.call("POST", "/api/v1/leads", fmt.Sprintf(`{"email":%q}`, email)); status == 200 {
						mu.Lock()
						defer mu.Unlock()
						id := answer["data"].(map[string]any)["lead_id"].(string)
						if other, taken := accepted[id]; taken {
							t.Errorf("%s and %s have one id", other, email)
						}
						accepted[id] = email
					}
				})
			}
			group.Wait()
			second := w.start(nil)
			second.inStep()
			for id, email := range accepted {
				got, told := crm.of(id), hook.told(id)
				if len(got) != 1 || got[0].email != email || len(told) != 1 {
					t.Errorf("the crm has %+v and the hook %+v of a lead that was accepted with %s", got, told, email)
				}
			}
			all, _, err := second.store.List(context.Background(), store.Query{Limit: 100})
			if err != nil || len(all) > 40 || len(all) < len(accepted) || len(crm.records) != len(all) {
				t.Errorf("%d leads are stored and %d at the crm of %d accepted: %v", len(all), len(crm.records), len(accepted), err)
			}
		})
	}
}
