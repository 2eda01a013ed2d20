package promises

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/leadrelay/leadrelay/connectors"
	"github.com/leadrelay/leadrelay/internal/redistest"
	"github.com/leadrelay/leadrelay/internal/store"
	"github.com/leadrelay/leadrelay/worker"
)

func TestP5ARefusedLeadIsVisibleAndTriedAfreshWhenItChangesOrIsReplayed(t *testing.T) {
	crm, hook := newRemote("crm"), newEventRemote("hook")
	var refuse atomic.Bool
	refuse.Store(true)
	crm.behave = func(c *call) error {
		if !c.applied && refuse.Load() {
			return fault(connectors.Lead, "crm: create: 422 phone is not valid")
		}
		return nil
	}
	hook.behave = crm.behave
	w := newWorld(t, crm, hook)
	p := w.start(nil)
	changed, replayed, other := p.post(`{"email":"a@example.com"}`), p.post(`{"email":"b@example.com"}`), p.post(`{"email":"c@example.com"}`)
	p.inStep()
	for _, id := range []string{changed, replayed, other} {
		for _, name := range []string{"crm", "hook"} {
			st := p.standing(id, name)
			outcome, _ := st["last_outcome"].(map[string]any)
			if st["state"] != "parked" || st["in_step"] != false || outcome["fault"] != "lead" || !strings.Contains(fmt.Sprint(outcome["reason"]), "phone is not valid") {
				t.Errorf("%s: a refused lead stands at %v", name, st)
			}
		}
	}
	refuse.Store(false)
	p.put(changed, `{"name":"mended"}`)
	p.inStep()
	if got := crm.of(changed); len(got) != 1 || got[0].revision != 2 {
		t.Errorf("after a change the crm has %+v", got)
	}
	if got := hook.told(changed); len(got) != 2 {
		t.Errorf("after a change the hook was told %+v, want the refused revision and the new one", got)
	}
	if err := p.store.Replay(context.Background(), "crm", replayed); err != nil {
		t.Fatal(err)
	}
	p.inStep()
	if got := crm.of(replayed); len(got) != 1 {
		t.Errorf("after its replay the crm has %+v", got)
	}
	if n, err := p.store.ReplayParked(context.Background(), "crm", func(int) {}); err != nil || n != 1 {
		t.Errorf("replayed %d parked leads, want the one that is left: %v", n, err)
	}
	p.inStep()
	if got := crm.of(other); len(got) != 1 {
		t.Errorf("after the replay of all the crm has %+v", got)
	}
}

func TestT21AReplaySendsTheLeadAsItIsNow(t *testing.T) {
	crm := newRemote("crm")
	w := newWorld(t, crm)
	p := w.start(nil)
	id := p.post(`{"email":"old@example.com"}`)
	p.inStep()
	p.put(id, `{"email":"new@example.com"}`)
	p.inStep()
	if err := p.store.Replay(context.Background(), "crm", id); err != nil {
		t.Fatal(err)
	}
	p.inStep()
	if got := crm.callsMade(); len(got) != 3 {
		t.Errorf("the crm was called %q, want once more for the replay", got)
	}
	if got := crm.of(id); len(got) != 1 || got[0].revision != 2 || got[0].email != "new@example.com" {
		t.Errorf("after the replay the crm has %+v", got)
	}
}

func TestP5ALeadThatFailsPastTheHorizonIsParkedWithItsReason(t *testing.T) {
	crm := newRemote("crm")
	crm.tune = func(c *worker.Connector) { c.Retry.Horizon = 300 * time.Millisecond }
	crm.behave = func(*call) error { return errors.New("crm: connection refused") }
	w := newWorld(t, crm)
	p := w.start(nil)
	id := p.post(`{"email":"a@example.com"}`)
	p.inStep()
	if st := p.standing(id, "crm"); st["state"] != "parked" || !strings.Contains(fmt.Sprint(st), "given up after") {
		t.Errorf("stands at %v", st)
	}
}

func TestP5WrongSettingsHoldTheConnectorAndKeepEveryLead(t *testing.T) {
	crm := newRemote("crm")
	var lapsed atomic.Bool
	var calls atomic.Int32
	lapsed.Store(true)
	crm.behave = func(c *call) error {
		if !c.applied {
			calls.Add(1)
		}
		if lapsed.Load() {
			return fault(connectors.Setup, "crm: 401 token expired")
		}
		return nil
	}
	w := newWorld(t, crm)
	p := w.start(nil)
	first := p.post(`{"email":"first@example.com"}`)
	gate := func() store.Gate {
		gates, err := p.store.Gates(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		return gates["crm"]
	}
	w.eventually("the connector held, with its reason", func() bool {
		return gate().State == store.GateHeld && strings.Contains(gate().Reason, "token expired")
	})
	for i := range 50 {
		p.post(fmt.Sprintf(`{"email":"a%d@example.com"}`, i))
	}
	if n, probes := int(calls.Load()), gate().Tries; n > 2+probes {
		t.Errorf("a held connector was called %d times, probed %d times", n, probes)
	}
	lapsed.Store(false)
	p.inStep() // by a probe
	if st := p.standing(first, "crm"); st["in_step"] != true || st["last_outcome"].(map[string]any)["attempts"] != nil {
		t.Errorf("stands at %v, want in step and no attempt counted", st)
	}
	if len(crm.records) != 51 {
		t.Errorf("the crm has %d of 51 leads", len(crm.records))
	}
}

func TestP6AnOutageIsProbedWithOneLeadAndBurnsNoOthersAttempts(t *testing.T) {
	crm := newRemote("crm")
	crm.tune = func(c *worker.Connector) {
		c.Concurrency = 1
		c.Breaker = worker.Breaker{Failures: 3, Probe: 200 * time.Millisecond, ProbeMax: 400 * time.Millisecond}
	}
	var down atomic.Bool
	var calls atomic.Int32
	down.Store(true)
	crm.behave = func(c *call) error {
		if !c.applied {
			calls.Add(1)
		}
		if down.Load() {
			return fault(connectors.Remote, "crm: connection refused")
		}
		return nil
	}
	w := newWorld(t, crm)
	front := w.start(nil)
	front.shutdown()
	var ids []string
	for i := range 100 {
		ids = append(ids, front.post(fmt.Sprintf(`{"email":"a%d@example.com"}`, i)))
	}
	p := w.start(nil)
	w.eventually("a few probes", func() bool {
		gates, err := p.store.Gates(context.Background())
		return err == nil && gates["crm"].State == store.GateDown && gates["crm"].Tries >= 2
	})
	attempts := 0.0
	for _, id := range ids {
		if outcome, ok := p.standing(id, "crm")["last_outcome"].(map[string]any); ok {
			n, _ := outcome["attempts"].(float64)
			attempts += n
		}
	}
	gates, err := p.store.Gates(context.Background())
	if probes := gates["crm"].Tries; err != nil || attempts > float64(4+probes) {
		t.Errorf("an outage burned %v attempts over 100 leads, want 3 and one for each of %d probes: %v", attempts, probes, err)
	}
	down.Store(false)
	p.inStep()
	if len(crm.records) != 100 {
		t.Errorf("the crm has %d of 100 leads", len(crm.records))
	}
}

func TestP6RetryAfterIsObeyedAndIsNoAttempt(t *testing.T) {
	crm := newRemote("crm")
	var first atomic.Int64
	var after atomic.Int64
	crm.behave = func(c *call) error {
		if c.applied {
			return nil
		}
		if first.CompareAndSwap(0, time.Now().UnixNano()) {
			return &connectors.Error{Fault: connectors.Throttled, RetryAfter: 3 * time.Second, Err: errors.New("crm: 429")}
		}
		after.CompareAndSwap(0, time.Now().UnixNano())
		return nil
	}
	w := newWorld(t, crm)
	p := w.start(nil)
	one := p.post(`{"email":"a@example.com"}`)
	w.eventually("the throttle", func() bool { return first.Load() != 0 })
	p.post(`{"email":"b@example.com"}`)
	p.inStep()
	if waited := time.Duration(after.Load() - first.Load()); waited < 2*time.Second { // the clock is Redis's, read from afar
		t.Errorf("called again after %s, though asked to wait 3 s", waited)
	}
	if outcome := p.standing(one, "crm")["last_outcome"].(map[string]any); outcome["attempts"] != nil {
		t.Errorf("waiting was counted as an attempt: %v", outcome)
	}
}

func TestP6WhereTheClocksOfAClusterDifferAWaitIsNotCutShort(t *testing.T) {
	crm := newRemote("crm")
	crm.behave = func(*call) error {
		return &connectors.Error{Fault: connectors.Throttled, RetryAfter: time.Hour, Err: errors.New("crm: 429")}
	}
	r := redistest.StartCluster(t)
	w := newWorldOn(r, t, crm)
	var asked atomic.Int32
	w.clockOf = func(address string) time.Duration {
		asked.Add(1)
		return 2 * time.Hour * time.Duration(slices.Index(r.Options().Addrs, address))
	}
	p := w.start(nil)
	until := func() time.Time {
		gates, err := p.store.Gates(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		return gates["crm"].Until
	}
	p.post(`{"email":"a@example.com"}`)
	w.eventually("the wait", func() bool { return !until().IsZero() })
	before := until()
	w.eventually("the time to be asked for again", func() bool { return asked.Load() >= 2 })
	second := w.start(nil)
	if apart := p.store.Now().Sub(second.store.Now()).Abs(); apart > time.Hour {
		t.Errorf("the clocks of two processes are %s apart", apart)
	}
	if now := until(); !now.Equal(before) {
		t.Errorf("the connector waits until %s, at first until %s", now, before)
	}
}

func TestP6LimitsHoldOverAllWorkersTogether(t *testing.T) {
	crm, sheet := newRemote("crm"), newRemote("sheet")
	crm.tune = func(c *worker.Connector) { c.Limits = connectors.Limits{Scope: "account", Concurrency: 3} }
	sheet.batch = 50
	sheet.tune = func(c *worker.Connector) {
		c.Limits = connectors.Limits{Scope: "sheet", Concurrency: 1, Rates: []connectors.Rate{{Most: 10, Per: time.Second}}}
	}
	var flying, most, sheetFlying, sheetMost atomic.Int32
	track := func(flying, most *atomic.Int32) func(c *call) error {
		return func(c *call) error {
			if c.applied {
				flying.Add(-1)
				return nil
			}
			n := flying.Add(1)
			for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
			}
			return nil
		}
	}
	crm.behave, sheet.behave = track(&flying, &most), track(&sheetFlying, &sheetMost)
	w := newWorld(t, crm, sheet)
	front := w.start(nil)
	front.shutdown()
	for i := range 200 {
		front.post(fmt.Sprintf(`{"email":"a%d@example.com"}`, i))
	}
	p := w.start(nil)
	w.start(nil)
	p.inStep()
	if most.Load() > 3 || sheetMost.Load() > 1 {
		t.Errorf("%d calls at once of 3 allowed, %d batches of 1", most.Load(), sheetMost.Load())
	}
	if len(crm.records) != 200 || len(sheet.records) != 200 {
		t.Errorf("the crm has %d, the sheet %d of 200", len(crm.records), len(sheet.records))
	}
	if n := len(sheet.batches); n > 30 {
		t.Errorf("200 waiting leads went out in %d batches", n)
	}
}

func TestP7NoPersonalDataWhereItDoesNotBelong(t *testing.T) {
	const name, address, note, custom = "Xaviera Quux", "xaviera.quux@example.com", "calls after nine", "custom-secret-value"
	crm, hook := newRemote("crm"), newEventRemote("hook")
	var trouble atomic.Bool
	trouble.Store(true)
	crm.behave = func(c *call) error {
		if trouble.Load() {
			return fault(connectors.Lead, "crm: 422 "+name+" <"+address+"> "+custom+" is not valid")
		}
		return nil
	}
	w := newWorld(t, crm, hook)
	p := w.start(nil)
	client := w.redis.Client
	ctx := context.Background()
	look := func(where, text string) {
		t.Helper()
		for _, personal := range []string{"Xaviera", "quux", "after nine", custom, apiKey} {
			if strings.Contains(strings.ToLower(text), strings.ToLower(personal)) {
				t.Errorf("%s holds %q: %.300s", where, personal, text)
			}
		}
	}
	dump := func() map[string]string {
		all := map[string]string{}
		for _, key := range w.redis.Keys(t, "*") {
			switch client.Type(ctx, key).Val() {
			case "string":
				all[key] = client.Get(ctx, key).Val()
			case "hash":
				all[key] = fmt.Sprint(client.HGetAll(ctx, key).Val())
			case "zset":
				all[key] = fmt.Sprint(client.ZRange(ctx, key, 0, -1).Val())
			case "list":
				all[key] = fmt.Sprint(client.LRange(ctx, key, 0, -1).Val())
			case "set":
				all[key] = fmt.Sprint(client.SMembers(ctx, key).Val())
			}
		}
		return all
	}
	id := p.post(fmt.Sprintf(`{"name":%q,"email":%q,"note":%q,"code":%q}`, name, address, note, custom), "Idempotency-Key", "k1")
	p.call("PUT", "/api/v1/leads/"+id, `{"source":"x"}`, "Idempotency-Key", "k2")
	p.call("POST", "/api/v1/leads", fmt.Sprintf(`{"name":%q,"email":"not one %s"}`, name, address))
	p.inStep()
	for key, value := range dump() {
		if !strings.Contains(key, ":l:"+id) && !strings.Contains(key, ":a:"+id) {
			look("Redis key "+key, key+value)
		}
	}
	resp, err := http.Get(p.front.URL + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	text, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	look("the metrics", string(text))

	// Deleted while a connector has not confirmed: only a tombstone is left.
	p.remove(id)
	for key, value := range dump() {
		look("after the delete, Redis key "+key, key+value)
	}
	trouble.Store(false)
	look("the log", w.logs.String())
}

func TestP4OneLeadThatAlwaysFailsHoldsUpNoOther(t *testing.T) {
	crm := newRemote("crm")
	crm.tune = func(c *worker.Connector) {
		c.Breaker = worker.Breaker{Failures: 2, Probe: time.Hour, ProbeMax: time.Hour}
	}
	crm.behave = func(c *call) error {
		if c.change.Lead.Email == "poison@example.com" {
			return fault(connectors.Remote, "crm: 500")
		}
		return nil
	}
	w := newWorld(t, crm)
	p := w.start(nil)
	poison := p.post(`{"email":"poison@example.com"}`)
	down := func() bool {
		gates, err := p.store.Gates(context.Background())
		return err == nil && gates["crm"].State == store.GateDown
	}
	w.eventually("the breaker opened by one lead alone", down)
	other := p.post(`{"email":"other@example.com"}`)
	w.eventually("another lead through, long before the breaker's next probe", func() bool { return len(crm.of(other)) == 1 })
	w.eventually("the breaker closed", func() bool { return !down() })
	if got := crm.of(poison); len(got) != 0 {
		t.Errorf("the crm has %+v", got)
	}
}

func TestP5AGivenUpLeadThatIsReplayedHasItsWholeHorizonAgain(t *testing.T) {
	crm := newRemote("crm")
	crm.tune = func(c *worker.Connector) { c.Retry.Horizon = 300 * time.Millisecond }
	var calls atomic.Int32
	crm.behave = func(*call) error { calls.Add(1); return errors.New("crm: connection refused") }
	w := newWorld(t, crm)
	p := w.start(nil)
	id := p.post(`{"email":"a@example.com"}`)
	p.inStep()
	before := calls.Load()
	if err := p.store.Replay(context.Background(), "crm", id); err != nil {
		t.Fatal(err)
	}
	p.inStep()
	if again := calls.Load() - before; again < 2 {
		t.Errorf("a replayed lead was given up after %d attempts", again)
	}
}

func TestP6OfTwoCallsToldToWaitTheLongerWaitIsObeyed(t *testing.T) {
	crm := newRemote("crm")
	g := newGate()
	var calls atomic.Int32
	asked := make(chan time.Time, 2)
	crm.behave = func(c *call) error {
		if c.applied || c.op == "find" {
			return nil
		}
		n := calls.Add(1)
		wait := map[int32]time.Duration{1: 4 * time.Second, 2: time.Second}[n]
		if wait == 0 {
			return nil
		}
		if n == 1 {
			g.hold() // answered last
		}
		asked <- time.Now()
		return &connectors.Error{Fault: connectors.Throttled, RetryAfter: wait, Err: errors.New("crm: 429")}
	}
	w := newWorld(t, crm)
	p := w.start(nil)
	p.post(`{"email":"a@example.com"}`)
	<-g.waiting
	p.post(`{"email":"b@example.com"}`)
	<-asked
	close(g.open)
	last := <-asked
	p.inStep()
	if n := calls.Load(); n != 4 {
		t.Errorf("the crm was called %d times, want two that were told to wait and two that got through", n)
	}
	if waited := time.Since(last); waited < 3*time.Second {
		t.Errorf("in step %s after it was asked to wait 4 s", waited)
	}
}

func TestP6AnOperatorsPauseOutlastsWhatWorkersSee(t *testing.T) {
	crm := newRemote("crm")
	crm.tune = func(c *worker.Connector) {
		c.Breaker = worker.Breaker{Failures: 1, Probe: 20 * time.Millisecond, ProbeMax: 20 * time.Millisecond}
	}
	g := newGate()
	var well atomic.Bool
	crm.behave = func(c *call) error {
		if c.applied || well.Load() {
			return nil
		}
		g.hold()
		return fault(connectors.Remote, "crm: 503")
	}
	w := newWorld(t, crm)
	p := w.start(nil)
	id := p.post(`{"email":"a@example.com"}`)
	<-g.waiting
	// Straight into Redis, so that the worker has not heard of it when its push fails.
	if err := w.redis.Client.HSet(context.Background(), "lr:gates", "crm", `{"state":"paused"}`).Err(); err != nil {
		t.Fatal(err)
	}
	close(g.open)
	w.eventually("the failure noted", func() bool { return p.standing(id, "crm")["last_outcome"] != nil })
	other := p.post(`{"email":"b@example.com"}`)
	gates, err := p.store.Gates(context.Background())
	if err != nil || gates["crm"].State != store.GatePaused {
		t.Errorf("the gate is %+v (%v), want paused", gates["crm"], err)
	}
	well.Store(true)
	if err := p.store.SetGate(context.Background(), "crm", store.Gate{}); err != nil {
		t.Fatal(err)
	}
	p.inStep()
	if len(crm.of(id)) != 1 || len(crm.of(other)) != 1 {
		t.Errorf("after resume the crm has %+v", crm.records)
	}
}

func TestP5TheOldestChangeCountsFromWhenItWasAcceptedHoweverOftenItWasTried(t *testing.T) {
	crm := newRemote("crm")
	var failing atomic.Bool
	failing.Store(true)
	g := newGate()
	crm.behave = func(c *call) error {
		if c.applied || !failing.Load() {
			return nil
		}
		g.hold()
		return fault(connectors.Remote, "crm: 503")
	}
	w := newWorld(t, crm)
	p := w.start(nil)
	p.shutdown()
	id := p.post(`{"email":"a@example.com"}`)
	answered := p.store.Now()
	found, err := p.store.Get(context.Background(), id)
	if err != nil {
		t.Fatal(err)
	}
	var accepted time.Time
	oldest := func(when string) {
		t.Helper()
		totals, err := p.store.Totals(context.Background(), []string{"crm"})
		if err != nil || totals["crm"].Backlog != 1 {
			t.Fatalf("%s: got %+v (%v), want one lead", when, totals["crm"], err)
		}
		if accepted.IsZero() {
			accepted = totals["crm"].Oldest
		}
		if !totals["crm"].Oldest.Equal(accepted) {
			t.Errorf("%s it waits since %s, at first since %s", when, totals["crm"].Oldest, accepted)
		}
	}
	oldest("before it was tried")
	const exact = 500 * time.Millisecond // as Redis's clock is known here
	if accepted.Before(found.Lead.Created.Add(-exact)) || accepted.After(answered.Add(exact)) {
		t.Errorf("it waits since %s, but was made at %s and answered by %s", accepted, found.Lead.Created, answered)
	}
	second := w.start(nil)
	<-g.waiting
	oldest("while it is pushed")
	close(g.open)
	w.eventually("it to wait for a retry", func() bool { return second.standing(id, "crm")["state"] == "retrying" })
	oldest("after it failed")
	failing.Store(false)
	second.inStep()
	totals, err := p.store.Totals(context.Background(), []string{"crm"})
	if err != nil || totals["crm"] != (store.Totals{}) {
		t.Errorf("in step: got %+v (%v)", totals["crm"], err)
	}
}
