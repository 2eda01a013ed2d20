package promises

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/leadrelay/leadrelay/connectors"
	"github.com/leadrelay/leadrelay/internal/lead"
	"github.com/leadrelay/leadrelay/internal/redistest"
	"github.com/leadrelay/leadrelay/internal/store"
	"github.com/leadrelay/leadrelay/worker"
)

// drain is how many leads wait for a vendor with a limit. With a number of its own the test also asserts how much of
// the limit is used, which wants a machine with nothing else to do:
//
//	go test ./internal/promises -run TestP6ABacklogDrains -v -drain 20000
var drain = flag.Int("drain", 0, "how many leads the vendor with a limit is to get; 0: 3000")

// vendor is an outside system that takes batches and allows so many calls in each window, wherever it begins, by its own
// clock. It answers 429 to any more.
type vendor struct {
	url  string
	most int
	per  time.Duration

	mu      sync.Mutex
	calls   []time.Time
	refused int
	batches []int
	records map[string]int
}

func newVendor(t *testing.T, most int, per time.Duration) *vendor {
	v := &vendor{most: most, per: per, records: map[string]int{}}
	server := httptest.NewServer(v)
	t.Cleanup(server.Close)
	v.url = server.URL
	return v
}

func (v *vendor) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	v.mu.Lock()
	defer v.mu.Unlock()
	now := time.Now()
	v.calls = append(v.calls, now)
	if n := len(v.calls); n > v.most && now.Sub(v.calls[n-1-v.most]) < v.per {
		v.refused++
		w.Header().Set("Retry-After", "1")
		http.Error(w, `{"error":"rate limit"}`, http.StatusTooManyRequests)
		return
	}
	var ids []string
	if err := json.NewDecoder(r.Body).Decode(&ids); err != nil {
		http.Error(w, `{"error":"not a batch"}`, http.StatusBadRequest)
		return
	}
	v.batches = append(v.batches, len(ids))
	for _, id := range ids {
		v.records[id]++
	}
	w.Write([]byte("{}"))
}

// remote is the vendor as the world knows it, under its own limit.
func (v *vendor) remote(name string) *remote {
	r := newRemote(name)
	r.tune = func(c *worker.Connector) {
		c.Connector = &vendorClient{connectors.NewClient(connectors.ClientOptions{}), v.url}
		c.Limits = connectors.Limits{Scope: "account", Rates: []connectors.Rate{{Most: v.most, Per: v.per}}}
	}
	return r
}

type vendorClient struct {
	client *connectors.Client
	url    string
}

func (c *vendorClient) Push(ctx context.Context, change lead.Change, ref string) (string, error) {
	result := c.PushBatch(ctx, []connectors.Item{{Change: change, Ref: ref}})[0]
	return result.Ref, result.Err
}

func (c *vendorClient) MaxBatch() int { return 100 }

func (c *vendorClient) PushBatch(ctx context.Context, items []connectors.Item) []connectors.Result {
	ids := make([]string, len(items))
	for i, item := range items {
		ids[i] = item.Change.Lead.ID
	}
	req, err := connectors.NewJSONRequest(ctx, http.MethodPost, c.url, ids)
	if err == nil {
		_, err = c.client.Do(req)
	}
	results := make([]connectors.Result, len(items))
	for i, id := range ids {
		results[i] = connectors.Result{Ref: id, Err: err}
	}
	return results
}

func TestP6ABacklogDrainsAtTheVendorsLimitAndNeverAboveIt(t *testing.T) {
	leads := *drain
	if leads == 0 {
		leads = 3000
	}
	for _, workers := range []int{1, 2} {
		t.Run(fmt.Sprintf("workers=%d", workers), func(t *testing.T) {
			v := newVendor(t, 10, time.Second)
			w := newWorld(t, v.remote("crm"))
			front := w.start(nil)
			front.shutdown()
			var posts sync.WaitGroup
			for i := range 50 {
				posts.Go(func() {
					for n := i; n < leads; n += 50 {
						front.post(fmt.Sprintf(`{"email":"a%d@example.com"}`, n))
					}
				})
			}
			posts.Wait()
			for range workers {
				w.start(nil)
			}
			front.inStep()

			v.mu.Lock()
			defer v.mu.Unlock()
			if v.refused > 0 {
				t.Errorf("the vendor refused %d of %d calls", v.refused, len(v.calls))
			}
			if len(v.records) != leads {
				t.Errorf("the vendor has %d of %d leads", len(v.records), leads)
			}
			if least := (leads + 99) / 100; len(v.batches) > least+least/10+workers {
				t.Errorf("%d calls were used for what fits in %d: %v", len(v.batches), least, v.batches)
			}
			span := v.calls[len(v.calls)-1].Sub(v.calls[0])
			used := float64(len(v.calls)-v.most) / (float64(v.most) * span.Seconds() / v.per.Seconds())
			t.Logf("%d leads in %d calls within %s: %.1f %% of the limit", leads, len(v.calls), span.Round(time.Millisecond), 100*used)
			if *drain > 0 && used < 0.9 {
				t.Errorf("%.1f %% of the limit was used, want 90 %%", 100*used)
			}
		})
	}
}

// asks returns how to count how often a world's workers ask for leave under the limits of "account", from now on.
func asks(w *world) (count func() int) {
	w.t.Helper()
	each := func(do func(ctx context.Context, c *redis.Client) error) {
		w.t.Helper()
		if err := redistest.EachMaster(w.redis.Client, do); err != nil {
			w.t.Fatal(err)
		}
	}
	each(func(ctx context.Context, c *redis.Client) error { return c.Do(ctx, "SLOWLOG", "RESET").Err() })
	return func() int {
		var n atomic.Int32
		each(func(ctx context.Context, c *redis.Client) error {
			commands, err := c.SlowLogGet(ctx, -1).Result()
			for _, command := range commands {
				if command.Args[0] != "GET" && slices.Contains(command.Args, "lr:{limits}:hold:account") {
					n.Add(1)
				}
			}
			return err
		})
		return int(n.Load())
	}
}

// newSlowWorld is a world whose Redis logs every command as slow, so that asks can count them.
func newSlowWorld(t *testing.T, remotes ...*remote) *world {
	t.Helper()
	r := redistest.StartAlone(t)
	r.Configure(t, "slowlog-max-len", "100000")
	r.Configure(t, "slowlog-log-slower-than", "0")
	return newWorldOn(r, t, remotes...)
}

func TestP6ALoneLeadIsCalledAtOnceWhereTheLimitsAreIdle(t *testing.T) {
	t.Parallel()
	v := newVendor(t, 10, time.Second)
	w := newSlowWorld(t, v.remote("crm"))
	p := w.start(nil)
	p.post(`{"email":"first@example.com"}`) // Redis knows the scripts from now on
	p.inStep()
	asked := asks(w)
	p.post(`{"email":"lone@example.com"}`)
	p.inStep()
	if n := asked(); n != 1 {
		t.Errorf("leave was asked for %d times, want once", n)
	}
	if !slices.Equal(v.batches, []int{1, 1}) {
		t.Errorf("the calls were of %v leads, want two of one", v.batches)
	}
}

func TestP6WhatBecomesDueWhileACallWaitsForLeaveGoesInIt(t *testing.T) {
	t.Parallel()
	crm := newRemote("crm")
	crm.batch = 100
	const atOnce = 4
	crm.tune = func(c *worker.Connector) { c.Limits = connectors.Limits{Scope: "account", Concurrency: atOnce} }
	w := newSlowWorld(t, crm)
	p := w.start(nil)
	elsewhere := p.store.Limiter(store.Limits{Scope: "account", Concurrency: atOnce})
	for i := range atOnce {
		if wait, err := elsewhere.Permit(t.Context(), fmt.Sprint(i), 50*time.Second, 0); wait != 0 || err != nil {
			t.Fatal(wait, err)
		}
	}
	var ids []string
	for i := range 60 {
		ids = append(ids, p.post(fmt.Sprintf(`{"email":"a%d@example.com"}`, i)))
	}
	p.put(ids[0], `{"email":"changed@example.com"}`)
	p.remove(ids[1])
	asked := asks(w)
	w.eventually("a call refused that would have been of less", func() bool { return asked() > 1 })
	for i := range atOnce {
		if err := elsewhere.EndCall(t.Context(), fmt.Sprint(i), p.store.Now()); err != nil {
			t.Fatal(err)
		}
	}
	p.inStep()
	if !slices.Equal(crm.batches, []int{59}) {
		t.Errorf("the calls were of %v leads, want one of 59", crm.batches)
	}
	if got := crm.of(ids[0]); len(got) != 1 || got[0].email != "changed@example.com" {
		t.Errorf("the crm has %+v of a lead that changed meanwhile", got)
	}
}

func TestP6ARequestWithinAPushIsCountedAndWaitsForLeave(t *testing.T) {
	t.Parallel()
	crm := newRemote("crm")
	var requests atomic.Int32
	crm.behave = func(c *call) error {
		if c.applied {
			return nil
		}
		for _, cost := range []int{1, 5, 0} { // a look, a write, and one that says no cost
			if err := connectors.Spend(c.ctx, cost); err != nil {
				return err
			}
			requests.Add(1)
		}
		return nil
	}
	crm.tune = func(c *worker.Connector) {
		c.Limits = connectors.Limits{Rates: []connectors.Rate{
			{Most: 4, Per: 300 * time.Millisecond}, {Most: 10, Per: 300 * time.Millisecond, ByCost: true},
		}}
	}
	w := newWorld(t, crm)
	p := w.start(nil)
	var ids []string
	for i := range 20 {
		ids = append(ids, p.post(fmt.Sprintf(`{"email":"a%d@example.com"}`, i)))
	}
	p.inStep()
	if n := requests.Load(); n != 60 || len(crm.records) != 20 {
		t.Errorf("%d requests for %d records, want 60 for 20: what is begun goes on before anything new begins", n, len(crm.records))
	}
	for _, id := range ids {
		if outcome, _ := p.standing(id, "crm")["last_outcome"].(map[string]any); outcome["fault"] != nil {
			t.Errorf("a lead stands at %v", outcome)
		}
	}
	if strings.Contains(w.logs.String(), "push failed") {
		t.Error("a push failed")
	}
}

func TestP6ARequestThatWouldWaitForLongEndsThePushAndIsNoAttempt(t *testing.T) {
	t.Parallel()
	crm := newRemote("crm")
	refusals := make(chan error, 10)
	var requests atomic.Int32
	crm.behave = func(c *call) error {
		for !c.applied && c.op != "find" {
			if err := connectors.Spend(c.ctx, 1); err != nil {
				refusals <- err
				return err
			}
			requests.Add(1)
		}
		return nil
	}
	crm.tune = func(c *worker.Connector) {
		c.Limits = connectors.Limits{Rates: []connectors.Rate{{Most: 3, Per: time.Hour}}}
	}
	w := newWorld(t, crm)
	p := w.start(nil)
	id := p.post(`{"email":"a@example.com"}`)
	err := <-refusals
	var e *connectors.Error
	if !errors.As(err, &e) || e.Fault != connectors.Throttled || !e.NotSent || e.RetryAfter < 50*time.Minute || e.RetryAfter > 2*time.Hour {
		t.Errorf("got %#v, want throttled for an hour and nothing sent", err)
	}
	if n := requests.Load(); n != 3 {
		t.Errorf("%d requests were let through, want 3", n)
	}
	w.eventually("the lead waiting", func() bool { return p.standing(id, "crm")["state"] == "retrying" })
	if outcome := p.standing(id, "crm")["last_outcome"].(map[string]any); outcome["attempts"] != nil || !strings.Contains(fmt.Sprint(outcome["reason"]), "limits are used up") {
		t.Errorf("the lead stands at %v", outcome)
	}
}

func TestP6WhatAVendorSaysIsLeftHoldsEveryoneBackAndIsNoFailure(t *testing.T) {
	t.Parallel()
	crm, list, other := newRemote("crm"), newRemote("list"), newRemote("other")
	later, err := connectors.NewFilter(`email != "first@example.com"`)
	if err != nil {
		t.Fatal(err)
	}
	shared := func(c *worker.Connector) {
		c.Limits = connectors.Limits{Scope: c.Name, RateScope: "account", Rates: []connectors.Rate{{Most: 100, Per: time.Second}}}
	}
	crm.tune, list.tune = shared, func(c *worker.Connector) { shared(c); c.Filter = later }
	const hold = 8 * time.Second
	var mu sync.Mutex
	var until time.Time
	mid := make(chan error, 1)
	early := func(c *call) error {
		mu.Lock()
		defer mu.Unlock()
		if !c.applied && time.Now().Before(until) {
			t.Errorf("%s was called %s too early", c.change.ID, time.Until(until))
		}
		return nil
	}
	list.behave = early
	crm.behave = func(c *call) error {
		if c.applied || c.change.Lead.Email != "first@example.com" {
			return early(c)
		}
		mu.Lock()
		until = time.Now().Add(hold)
		mu.Unlock()
		connectors.HoldCalls(c.ctx, until)
		connectors.Spend(c.ctx, 1) // paid
		mid <- connectors.Spend(c.ctx, 1)
		return nil
	}
	w := newWorld(t, crm, list, other)
	p := w.start(nil)
	w.start(nil)
	p.post(`{"email":"first@example.com"}`)
	var e *connectors.Error
	if err := <-mid; !errors.As(err, &e) || e.Fault != connectors.Throttled || e.RetryAfter > hold {
		t.Errorf("another request of the same push: got %v, want it held back", err)
	}
	second := p.post(`{"email":"second@example.com"}`)
	w.eventually("the other account's connector in step", func() bool { return inStepNow(p, "other") })
	w.eventually("the connectors of the account seen waiting", func() bool {
		rests, err := p.store.Rests(t.Context(), []string{"crm", "list"})
		return err == nil && len(rests) == 2
	})
	gates, err := p.store.Gates(t.Context())
	if err != nil || gates["crm"].State != store.GateOpen || gates["list"].State != store.GateOpen {
		t.Errorf("the gates are %+v (%v), want them open", gates, err)
	}
	p.inStep()
	if outcome, _ := p.standing(second, "crm")["last_outcome"].(map[string]any); outcome["attempts"] != nil || outcome["fault"] != nil {
		t.Errorf("a lead that was held back stands at %v", outcome)
	}
}

func TestP6ConnectorsOfOneAccountCountTogetherUnderRatesOfTheirOwn(t *testing.T) {
	t.Parallel()
	crm, list := newRemote("crm"), newRemote("list")
	crm.tune = func(c *worker.Connector) {
		c.Limits = connectors.Limits{Scope: "crm", RateScope: "account", Rates: []connectors.Rate{{Most: 2, Per: time.Hour}}}
	}
	list.tune = func(c *worker.Connector) {
		c.Limits = connectors.Limits{Scope: "list", RateScope: "account", Rates: []connectors.Rate{{Most: 1000, Per: time.Second}}}
	}
	w := newWorld(t, crm, list)
	p := w.start(nil)
	p.post(`{"email":"first@example.com"}`)
	p.inStep()
	p.post(`{"email":"second@example.com"}`)
	w.eventually("the list in step, and the crm seen waiting", func() bool {
		rests, err := p.store.Rests(t.Context(), []string{"crm", "list"})
		return err == nil && len(rests) == 1 && !rests["crm"].IsZero() && inStepNow(p, "list")
	})
	if len(crm.records) != 1 || len(list.records) != 2 {
		t.Errorf("the crm has %d leads and the list %d, want 1 and 2", len(crm.records), len(list.records))
	}
}

func TestWorkersShareWhatAConnectorRemembers(t *testing.T) {
	t.Parallel()
	crm := newRemote("crm")
	var signIns atomic.Int32
	crm.behave = func(c *call) error {
		if c.applied {
			return nil
		}
		memory := connectors.MemoryOf(c.ctx)
		unlock, err := memory.Lock(c.ctx, "token of account")
		if err != nil {
			return err
		}
		defer unlock()
		_, ok, err := memory.Load(c.ctx, "token of account")
		if err != nil || ok {
			return err
		}
		signIns.Add(1)
		return memory.Save(c.ctx, "token of account", "sealed", time.Hour)
	}
	w := newWorld(t, crm)
	front := w.start(nil)
	front.shutdown()
	for i := range 60 {
		front.post(fmt.Sprintf(`{"email":"a%d@example.com"}`, i))
	}
	w.start(nil)
	w.start(nil)
	front.inStep()
	if n := signIns.Load(); n != 1 {
		t.Errorf("two workers signed in %d times, want once", n)
	}
}
