package store_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/leadrelay/leadrelay/internal/lead"
	"github.com/leadrelay/leadrelay/internal/store"
)

// batch is so many new leads, every second of them with an idempotency key.
func batch(n int) []store.NewLead {
	leads := make([]store.NewLead, n)
	for i := range leads {
		leads[i].Patch = patchOf(fmt.Sprintf("a%d@example.com", i))
		if i%2 == 1 {
			leads[i].Once = &store.Idempotency{Key: fmt.Sprint("k", i), Fingerprint: fmt.Sprint(i)}
		}
	}
	return leads
}

func TestP1ABatchsLeadsAreEachAcceptedWithTheirWorkAndAnsweredInOrder(t *testing.T) {
	onEach(t, func(s *server) {
		p := s.process()
		p.SetConnectors([]store.Connector{crm, {Name: "hook", Event: true}})
		const n = 1000
		created := p.CreateMany(t.Context(), batch(n))
		ids := map[string]bool{}
		for i, one := range created {
			if one.Err != nil || one.Seen || one.Lead.Email != fmt.Sprintf("a%d@example.com", i) || one.Lead.Revision != 1 {
				s.t.Fatalf("lead %d: %+v", i, one)
			}
			ids[one.Lead.ID] = true
		}
		kept := s.leads(p)
		if len(ids) != n || len(kept) != n {
			t.Errorf("of %d leads there are %d under %d ids", n, len(kept), len(ids))
		}
		for _, l := range kept {
			if !ids[l.ID] {
				s.t.Fatalf("%s was not answered", l.ID)
			}
		}
		one := created[500].Lead
		if found, err := p.Get(t.Context(), one.ID); err != nil || !reflect.DeepEqual(found.Lead, one) {
			t.Errorf("answered %+v, kept %+v, %v", one, found.Lead, err)
		}
		if found, _, err := p.List(t.Context(), store.Query{Email: "A501@example.com", Limit: 2}); err != nil || len(found) != 1 || found[0].ID != created[501].Lead.ID {
			t.Errorf("by its address there is %v, %v", found, err)
		}
		totals, err := p.Totals(t.Context(), []string{"crm", "hook"})
		if err != nil || totals["crm"].Backlog != n || totals["hook"].Backlog != n {
			t.Errorf("the work is %+v, %v", totals, err)
		}
		if rest := p.CreateMany(t.Context(), nil); len(rest) != 0 {
			t.Errorf("none became %v", rest)
		}
	})
}

func TestP2ARepeatedBatchIsAnsweredAlikeAndCreatesNothing(t *testing.T) {
	onEach(t, func(s *server) {
		p := s.process()
		leads := batch(300)
		first := p.CreateMany(t.Context(), leads)
		leads[3].Once = &store.Idempotency{Key: "k3", Fingerprint: "another request"}
		again := p.CreateMany(t.Context(), leads)
		for i := range leads {
			was, now := first[i], again[i]
			switch {
			case i == 3:
				if !errors.Is(now.Err, store.ErrKeyReused) {
					t.Errorf("another request under a key: %+v", now)
				}
			case i%2 == 1:
				if !now.Seen || now.Err != nil || !reflect.DeepEqual(was.Lead, now.Lead) {
					s.t.Fatalf("lead %d: %+v, then %+v", i, was, now)
				}
			case now.Seen || now.Err != nil || now.Lead.ID == was.Lead.ID:
				t.Errorf("lead %d, without a key: %+v, then %+v", i, was, now)
			}
		}
		if n := len(s.leads(p)); n != 300+150 {
			t.Errorf("there are %d leads", n)
		}

		// What a single request made, a batch knows, and the other way round.
		single, err := p.Create(t.Context(), patchOf("single@example.com"), &store.Idempotency{Key: "single"})
		if err != nil {
			s.t.Fatal(err)
		}
		some := p.CreateMany(t.Context(), []store.NewLead{
			{Patch: patchOf("single@example.com"), Once: &store.Idempotency{Key: "single"}},
			{Patch: patchOf("twice@example.com"), Once: &store.Idempotency{Key: "twice"}},
			{Patch: patchOf("twice@example.com"), Once: &store.Idempotency{Key: "twice"}},
		})
		if !some[0].Seen || !reflect.DeepEqual(some[0].Lead, single) {
			t.Errorf("got %+v, want %+v", some[0], single)
		}
		if some[1].Seen || !some[2].Seen || !reflect.DeepEqual(some[1].Lead, some[2].Lead) {
			t.Errorf("twice in a batch: %+v and %+v", some[1], some[2])
		}
		if l, err := p.Create(t.Context(), patchOf("twice@example.com"), &store.Idempotency{Key: "twice"}); err != nil || !reflect.DeepEqual(l, some[1].Lead) {
			t.Errorf("got %+v, %v; want %+v", l, err, some[1].Lead)
		}
	})
}

func TestP2BatchesWithTheSameKeysAtOnceMakeEachLeadOnce(t *testing.T) {
	onEach(t, func(s *server) {
		processes := []*store.Store{s.process(), s.process()}
		leads := batch(200)
		for i := range leads {
			leads[i].Once = &store.Idempotency{Key: fmt.Sprint("k", i)}
		}
		answers := make([][]store.Created, 10)
		var group sync.WaitGroup
		for n := range answers {
			group.Go(func() { answers[n] = processes[n%2].CreateMany(t.Context(), leads) })
		}
		group.Wait()
		for i := range leads {
			made := 0
			for _, created := range answers {
				if created[i].Err != nil || created[i].Lead.ID != answers[0][i].Lead.ID {
					s.t.Fatalf("lead %d: %+v and %+v", i, answers[0][i], created[i])
				}
				if !created[i].Seen {
					made++
				}
			}
			if made != 1 {
				t.Errorf("lead %d was made %d times", i, made)
			}
		}
		if n := len(s.leads(processes[0])); n != len(leads) {
			t.Errorf("there are %d leads, want %d", n, len(leads))
		}
	})
}

func TestALeadOfABatchThatHoldsTooMuchFailsAlone(t *testing.T) {
	onEach(t, func(s *server) {
		p := s.process()
		leads := batch(4)
		leads[1].Patch.Custom = map[string]any{}
		for i := range lead.MaxCustom + 1 {
			leads[1].Patch.Custom[fmt.Sprint(i)] = "x"
		}
		for i, one := range p.CreateMany(t.Context(), leads) {
			var invalid lead.Invalid
			if errors.As(one.Err, &invalid) != (i == 1) || (one.Err == nil) != (i != 1) {
				t.Errorf("lead %d: %+v", i, one)
			}
		}
		if n := len(s.leads(p)); n != 3 {
			t.Errorf("there are %d leads, want 3", n)
		}
		// It used up no key.
		leads[1].Patch.Custom = nil
		if again := p.CreateMany(t.Context(), leads[1:2]); again[0].Err != nil || again[0].Seen {
			t.Errorf("mended: %+v", again[0])
		}
	})
}

func TestALeadOfABatchThatWasDeletedDoesNotComeBack(t *testing.T) {
	onEach(t, func(s *server) {
		p := s.process()
		leads := batch(2)[1:]
		first := p.CreateMany(t.Context(), leads)
		if err := p.Delete(t.Context(), first[0].Lead.ID); err != nil {
			s.t.Fatal(err)
		}
		if again := p.CreateMany(t.Context(), leads); !again[0].Seen || !reflect.DeepEqual(again[0].Lead, first[0].Lead) {
			t.Errorf("%+v, then %+v", first[0], again[0])
		}
		if leads := s.leads(p); len(leads) != 0 {
			t.Errorf("there are %v", leads)
		}
	})
}

// trips counts what is sent together.
type trips struct{ scripts, pipelines atomic.Int64 }

func (c *trips) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) { return next(ctx, network, addr) }
}
func (c *trips) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }
func (c *trips) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		scripts := int64(0)
		for _, cmd := range cmds {
			if strings.HasPrefix(cmd.Name(), "eval") {
				scripts++
			}
		}
		if scripts > 0 {
			c.pipelines.Add(1)
			c.scripts.Add(scripts)
		}
		return next(ctx, cmds)
	}
}

func TestABatchIsOneRoundTripOfFewScripts(t *testing.T) {
	onEach(t, func(s *server) {
		counted := &trips{}
		p := s.process(counted)
		// It goes to every shard, so that every server has been sent the script.
		p.CreateMany(t.Context(), batch(1000))
		for _, c := range []struct {
			leads   []store.NewLead
			scripts int64 // at most
		}{
			{slices.DeleteFunc(batch(2000), func(l store.NewLead) bool { return l.Once != nil }), 4},
			{batch(1000), 2 + lead.Shards},
			{batch(1), 1},
		} {
			scripts, pipelines := counted.scripts.Load(), counted.pipelines.Load()
			for i, one := range p.CreateMany(t.Context(), c.leads) {
				if one.Err != nil {
					s.t.Fatalf("lead %d: %v", i, one.Err)
				}
			}
			scripts, pipelines = counted.scripts.Load()-scripts, counted.pipelines.Load()-pipelines
			if pipelines != 1 || scripts > c.scripts {
				t.Errorf("%d leads took %d scripts in %d round trips, want at most %d in one", len(c.leads), scripts, pipelines, c.scripts)
			}
		}
	})
}

func TestABatchThatRedisDoesNotGetFailsLeadByLead(t *testing.T) {
	onEach(t, func(s *server) {
		p := s.process(failing(func(args []any) bool { return args[0] == "evalsha" }))
		for i, one := range p.CreateMany(t.Context(), batch(10)) {
			if !errors.Is(one.Err, errFailing) || one.Lead.ID != "" {
				t.Errorf("lead %d: %+v", i, one)
			}
		}
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		for i, one := range s.process().CreateMany(ended, batch(10)) {
			if !errors.Is(one.Err, context.Canceled) {
				t.Errorf("lead %d, nobody waits for it: %+v", i, one)
			}
		}
	})
}
