package store_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/leadrelay/leadrelay/internal/store"
)

const flight = 10 * time.Second

// asker asks a limiter and fails the test where Redis does.
type asker struct {
	t *testing.T
	*store.Limiter
	n int
}

func (s *server) limiter(p *store.Store, l store.Limits) *asker {
	return &asker{t: s.t, Limiter: p.Limiter(l)}
}

func (a *asker) token() string {
	a.n++
	return fmt.Sprintf("%p-%d", a, a.n)
}

func (a *asker) permit() (wait time.Duration, token string) {
	a.t.Helper()
	token = a.token()
	wait, err := a.Permit(a.t.Context(), token, flight, 0)
	if err != nil {
		a.t.Fatal(err)
	}
	return wait, token
}

func (a *asker) spend(cost int, permitted bool) time.Duration {
	a.t.Helper()
	wait, err := a.Spend(a.t.Context(), a.token(), cost, permitted)
	if err != nil {
		a.t.Fatal(err)
	}
	return wait
}

// granted and refused say what the answer to an ask must be.
func (a *asker) granted(what string, wait time.Duration) {
	a.t.Helper()
	if wait != 0 {
		a.t.Errorf("%s: to wait %s, want leave", what, wait)
	}
}

func (a *asker) refused(what string, wait, most time.Duration) {
	a.t.Helper()
	if wait <= 0 || wait > most {
		a.t.Errorf("%s: to wait %s, want a wait of at most %s", what, wait, most)
	}
}

func TestP6NoWindowHoldsMoreThanItsRate(t *testing.T) {
	onEach(t, func(s *server) {
		calls := store.Rate{Most: 20, Per: 400 * time.Millisecond}
		cost := store.Rate{Most: 1500, Per: 600 * time.Millisecond, ByCost: true} // in slices
		limits := store.Limits{Scope: "account", Rates: []store.Rate{calls, cost}}
		processes := []*asker{s.limiter(s.process(), limits), s.limiter(s.process(), limits)}
		type grant struct {
			before, after time.Time
			cost          int
		}
		var grants []grant
		asks := 0
		for len(grants) < 80 {
			p, g := processes[rand.N(2)], grant{cost: 1 + rand.N(200)}
			for {
				asks++
				g.before = time.Now()
				wait := p.spend(g.cost, false)
				g.after = time.Now()
				if wait == 0 {
					break
				}
				<-time.After(wait)
			}
			grants = append(grants, g)
		}
		for i, first := range grants {
			spent := map[store.Rate]int{}
			for _, g := range grants[i:] {
				if took := g.after.Sub(first.before); took < calls.Per {
					spent[calls]++
				}
				if took := g.after.Sub(first.before); took < cost.Per {
					spent[cost] += g.cost
				}
			}
			for rate, n := range spent {
				if n > rate.Most {
					t.Fatalf("from call %d on %d were spent within %s, of %d allowed", i, n, rate.Per, rate.Most)
				}
			}
		}
		if asks > 3*len(grants) {
			t.Errorf("%d calls took %d asks: the waits told are too short", len(grants), asks)
		}
		for _, key := range s.keys("lr:{limits}:*") {
			n, most := s.client.HLen(t.Context(), key).Val(), int64(62)
			if strings.Contains(key, ":log:") {
				n, most = s.client.ZCard(t.Context(), key).Val(), 20
			}
			if n > most || s.client.TTL(t.Context(), key).Val() <= 0 {
				t.Errorf("%s holds %d, for %s", key, n, s.client.TTL(t.Context(), key).Val())
			}
		}
	})
}

func TestP6ADailyBudgetIsSpentToItsEndAndNoFurther(t *testing.T) {
	onEach(t, func(s *server) {
		day := 24 * time.Hour
		limits := store.Limits{Scope: "account", Rates: []store.Rate{{Most: 250_000, Per: day, ByCost: true}}}
		one, other := s.limiter(s.process(), limits), s.limiter(s.process(), limits)
		for range 50 {
			one.granted("a part of the budget", one.spend(2500, false))
			other.granted("a part of the budget", other.spend(2499, false))
		}
		one.granted("the rest", one.spend(50, false))
		one.refused("a call beyond the budget", one.spend(1, false), day+time.Hour)
		wait, _ := other.permit()
		other.refused("a push beyond the budget", wait, day+time.Hour)
		if wait < day {
			t.Errorf("to wait %s for a budget of a day that was spent just now", wait)
		}
	})
}

func TestP6ARefusedCallSpendsNothing(t *testing.T) {
	onEach(t, func(s *server) {
		p, hour := s.process(), 2*time.Hour
		rates := s.limiter(p, store.Limits{Scope: "rates", Rates: []store.Rate{
			{Most: 2, Per: time.Hour}, {Most: 10, Per: time.Hour, ByCost: true},
		}})
		rates.granted("8 of 10", rates.spend(8, false))
		rates.refused("8 of 2", rates.spend(8, false), hour)
		rates.granted("2 of 2, the second call of two", rates.spend(2, false))
		rates.refused("a third call", rates.spend(1, false), hour)

		turns := s.limiter(p, store.Limits{Scope: "turns", Concurrency: 1, Rates: []store.Rate{{Most: 3, Per: time.Hour}}})
		wait, first := turns.permit()
		turns.granted("the first call", wait)
		for range 5 {
			wait, _ = turns.permit()
			turns.refused("a call beside it", wait, time.Second)
		}
		turns.granted("one more request of the first", turns.spend(1, false))
		if err := turns.EndCall(t.Context(), first, p.Now()); err != nil {
			t.Fatal(err)
		}
		wait, unused := turns.permit()
		turns.granted("the next call", wait)
		if err := turns.EndCall(t.Context(), unused, time.Time{}); err != nil {
			t.Fatal(err)
		}
		wait, last := turns.permit()
		turns.granted("a call in the place of one that was not made", wait)
		if err := turns.EndCall(t.Context(), last, p.Now()); err != nil {
			t.Fatal(err)
		}
		wait, _ = turns.permit()
		turns.refused("a fourth call", wait, hour)
	})
}

func TestP6WhatAPermitPaidIsNotPaidTwice(t *testing.T) {
	onEach(t, func(s *server) {
		l := s.limiter(s.process(), store.Limits{Scope: "account", Rates: []store.Rate{
			{Most: 2, Per: time.Hour}, {Most: 7, Per: time.Hour, ByCost: true},
		}})
		wait, _ := l.permit()
		l.granted("a push", wait)
		l.granted("its first request, of cost 5", l.spend(5, true))
		l.granted("its second, of cost 2", l.spend(2, false))
		l.refused("a third", l.spend(1, false), 2*time.Hour)
	})
}

func TestP6ACallThatCostsMoreThanIsAllowedWaitsForAnEmptyWindow(t *testing.T) {
	onEach(t, func(s *server) {
		l := s.limiter(s.process(), store.Limits{Scope: "account", Rates: []store.Rate{{Most: 5, Per: 200 * time.Millisecond, ByCost: true}}})
		l.granted("a call", l.spend(1, false))
		wait := l.spend(50, false)
		l.refused("one that costs more than is allowed", wait, time.Second)
		<-time.After(wait)
		l.granted("it, in an empty window", l.spend(50, false))
		wait, _ = l.permit()
		<-time.After(wait)
		wait, _ = l.permit()
		l.granted("a push", wait)
		if wait = l.spend(50, true); wait > 0 { // an earlier call may still count
			<-time.After(wait)
			wait = l.spend(50, true)
		}
		l.granted("its one request, which costs more than is allowed", wait)
	})
}

func TestP6CallsCountUnderTheRatesOfOthersWhoShareThem(t *testing.T) {
	onEach(t, func(s *server) {
		p := s.process()
		few, many := store.Rate{Most: 3, Per: time.Hour}, store.Rate{Most: 5000, Per: time.Minute}
		slow := s.limiter(p, store.Limits{Scope: "slow", RateScope: "account", Rates: []store.Rate{few}, Counted: []store.Rate{few, many}})
		quick := s.limiter(p, store.Limits{Scope: "quick", RateScope: "account", Rates: []store.Rate{many}, Counted: []store.Rate{few, many}})
		slow.granted("a call", slow.spend(1, false))
		for range 1100 {
			quick.granted("a call of the other", quick.spend(1, false))
		}
		slow.refused("a call after those of the other", slow.spend(1, false), 2*time.Hour)
		for _, key := range s.keys("lr:{limits}:log:*") {
			if n := s.client.ZCard(t.Context(), key).Val(); n > 1000 {
				t.Errorf("%s holds %d calls", key, n)
			}
		}
	})
}

func TestP6NobodyCallsBeforeTheTimeTheVendorSaid(t *testing.T) {
	onEach(t, func(s *server) {
		one := s.limiter(s.process(), store.Limits{Scope: "one", RateScope: "account"})
		other := s.limiter(s.process(), store.Limits{Scope: "other", RateScope: "account", Rates: []store.Rate{{Most: 9, Per: time.Second}}})
		stranger := s.limiter(s.process(), store.Limits{Scope: "stranger"})
		hold := func(wait time.Duration) {
			if err := one.HoldCalls(t.Context(), wait); err != nil {
				t.Fatal(err)
			}
		}
		hold(-time.Minute)
		one.granted("after a time that is past", one.spend(1, false))
		hold(time.Hour)
		hold(time.Minute) // said of something else
		for _, l := range []*asker{one, other} {
			wait, _ := l.permit()
			l.refused("a push", wait, time.Hour+time.Second)
			if again := l.spend(1, false); again < 50*time.Minute {
				t.Errorf("a request is to wait %s", again)
			}
		}
		wait, _ := stranger.permit()
		stranger.granted("another account's", wait)
		hold(1000 * time.Hour)
		wait, _ = one.permit()
		one.refused("a push", wait, 24*time.Hour+time.Second)
		for _, key := range s.keys("lr:{limits}:hold:*") {
			if ttl := s.client.TTL(t.Context(), key).Val(); ttl <= 0 || ttl > 24*time.Hour {
				t.Errorf("it is kept for %s", ttl)
			}
		}
	})
}

// slow is the connection of a process to a Redis whose clock is an hour back.
type slow struct{}

func (slow) DialHook(next redis.DialHook) redis.DialHook { return next }
func (slow) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		if now, ok := cmd.(*redis.TimeCmd); ok {
			now.SetVal(now.Val().Add(-time.Hour))
		}
		return err
	}
}
func (slow) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func TestP6AClockThatIsSetBackNeitherBreaksALimitNorBlocksForLonger(t *testing.T) {
	onEach(t, func(s *server) {
		for name, rate := range map[string]store.Rate{"log": {Most: 10, Per: time.Minute}, "slices": {Most: 2000, Per: time.Minute}} {
			limits := store.Limits{Scope: name, Rates: []store.Rate{rate}}
			before := s.limiter(s.process(), limits)
			for range rate.Most {
				before.granted("a call", before.spend(1, false))
			}
			after := s.limiter(s.process(slow{}), limits)
			after.refused(name+": a call after the clock was set back", after.spend(1, false), 70*time.Second)
		}
	})
}

func TestP6WhoWaitsForItsLimitsIsSeen(t *testing.T) {
	onEach(t, func(s *server) {
		p := s.process()
		until := p.Now().Add(time.Hour)
		if err := p.NoteRest(t.Context(), "crm", until, time.Minute); err != nil {
			t.Fatal(err)
		}
		if err := p.NoteRest(t.Context(), "list", p.Now(), time.Minute); err != nil {
			t.Fatal(err)
		}
		rests, err := p.Rests(t.Context(), []string{"list", "crm", "sheet"})
		if err != nil || len(rests) != 1 || !rests["crm"].Equal(until) {
			t.Errorf("got %v, %v; want crm until %s", rests, err, until)
		}
		for _, key := range s.keys("lr:{limits}:rest:*") {
			if ttl := s.client.TTL(t.Context(), key).Val(); ttl <= 0 || ttl > time.Minute {
				t.Errorf("%s is kept for %s", key, ttl)
			}
		}
	})
}
