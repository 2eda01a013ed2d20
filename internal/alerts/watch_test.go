package alerts_test

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/leadrelay/leadrelay/internal/lead"
	"github.com/leadrelay/leadrelay/internal/store"
)

func TestTroubleIsToldOnceItLastsAndSoIsItsEnd(t *testing.T) {
	t.Parallel()
	w, r := newWorld(t), newReceiver(t)
	p := w.process(usual(r.to("ops")))
	p.after(time.Minute)
	r.heardIs("when all is well", "")

	p.gate("hook", store.GateHeld, "401 Unauthorized")
	p.after(50 * time.Second)
	r.heardIs("before it has lasted", "")
	p.after(30 * time.Second)
	messages := r.got()
	r.heardIs("once it has", "held hook alerting")
	e := messages[0].Data.Alerts[0]
	if e.Reason != "401 Unauthorized" || !e.Bad || messages[0].Type != "alert" || messages[0].Timestamp.Sub(e.Since) < time.Minute {
		t.Errorf("got %+v", messages[0])
	}
	for _, want := range []string{"Connector hook is held", "401 Unauthorized", "leadrelay resume hook", "leadrelay status"} {
		if !strings.Contains(messages[0].Data.Text, want) {
			t.Errorf("the text does not say %q: %s", want, messages[0].Data.Text)
		}
	}
	p.after(time.Hour)
	r.heardIs("while it lasts", "")

	p.gate("hook", store.GateOpen, "")
	p.after(50 * time.Second)
	r.heardIs("when it is well for a moment", "")
	p.after(30 * time.Second)
	messages = r.got()
	r.heardIs("when it is well", "held hook over")
	if text := messages[0].Data.Text; !strings.Contains(text, "Connector hook is not held any more") || !strings.Contains(text, "It lasted: 1h") {
		t.Errorf("got %s", text)
	}
	p.after(time.Hour)
	r.heardIs("after that", "")
	if keys := w.redis.Keys(t, "lr:{alerts}:state"); len(keys) > 0 {
		t.Errorf("what is over and told is still remembered: %v", keys)
	}
}

func TestTroubleThatPassesByItselfIsNotTold(t *testing.T) {
	t.Parallel()
	w, r := newWorld(t), newReceiver(t)
	p := w.process(usual(r.to("ops")))
	for range 5 {
		p.gate("hook", store.GateDown, "503")
		p.after(45 * time.Second)
		p.gate("hook", store.GateOpen, "")
		p.after(10 * time.Second)
	}
	p.after(time.Hour)
	r.heardIs("after short troubles", "")
}

func TestAConnectorIsBehindWhenItsOldestLeadWaitsTooLong(t *testing.T) {
	t.Parallel()
	w, r := newWorld(t), newReceiver(t)
	p := w.process(usual(r.to("ops")), "sheet")
	email := "jane@example.com"
	l, err := p.store.Create(t.Context(), lead.Patch{Email: &email}, nil)
	if err != nil {
		t.Fatal(err)
	}
	w.pass(14 * time.Minute)
	p.after(30 * time.Second)
	r.heardIs("below the threshold", "")
	w.pass(time.Minute)
	p.after(2 * time.Minute)
	messages := r.got()
	r.heardIs("above the threshold", "behind sheet alerting")
	if e := messages[0].Data.Alerts[0]; e.Waiting != 1 || !strings.Contains(e.Reason, "longer than 15m") {
		t.Errorf("got %+v", e)
	}
	if strings.Contains(messages[0].Data.Text, email) || strings.Contains(messages[0].Data.Text, "jane") {
		t.Errorf("personal data is told: %s", messages[0].Data.Text)
	}

	shard, _ := lead.ShardOf(l.ID)
	claims, err := p.store.Claim(t.Context(), store.Connector{Name: "sheet"}, shard, 1, "token", time.Minute)
	if err != nil || len(claims) != 1 {
		t.Fatalf("got %v, %v", claims, err)
	}
	claims[0].Record = store.Record{Synced: 1}
	if _, err := p.store.Settle(t.Context(), claims[0], store.Done, p.store.Now(), time.Minute); err != nil {
		t.Fatal(err)
	}
	p.after(90 * time.Second)
	r.heardIs("when it is in step", "behind sheet over")

	never := usual(r.to("ops"))
	never.Oldest = 0
	p.Reload(never)
	if _, err := p.store.Create(t.Context(), lead.Patch{Email: &email}, nil); err != nil {
		t.Fatal(err)
	}
	w.pass(48 * time.Hour)
	p.after(2 * time.Minute)
	r.heardIs("without a threshold", "")
}

// A backlog that is worked off slowly keeps its connector behind although its oldest lead is always another.
func TestAConnectorIsBehindHoweverItsOldestLeadChanges(t *testing.T) {
	t.Parallel()
	w, r := newWorld(t), newReceiver(t)
	settings := usual(r.to("ops"))
	p := w.process(settings, "sheet")
	for range 30 { // each look finds a lead that waits for ten seconds more than it may
		email := "jane@example.com"
		if _, err := p.store.Create(t.Context(), lead.Patch{Email: &email}, nil); err != nil {
			t.Fatal(err)
		}
		w.mu.Lock()
		ahead := w.ahead
		w.mu.Unlock()
		settings.Oldest = ahead - 10*time.Second
		if settings.Oldest > 0 {
			p.Reload(settings)
		}
		w.pass(5 * time.Second)
		p.tell()
	}
	r.heardIs("after two minutes", "behind sheet alerting")
}

func TestWhatHappensTogetherIsOneMessage(t *testing.T) {
	t.Parallel()
	w, r := newWorld(t), newReceiver(t)
	p := w.process(usual(r.to("ops")))
	p.gate("hook", store.GateDown, "no answer")
	w.pass(5 * time.Second)
	p.gate("crm", store.GateDown, "timed out")
	w.pass(5 * time.Second)
	p.gate("sheet", store.GateHeld, "permission denied")
	p.after(2 * time.Minute)
	messages := r.got()
	r.heardIs("when three fail at once", "down crm alerting, down hook alerting, held sheet alerting")
	if title := messages[0].Data.Title; title != "3 alerts" {
		t.Errorf("its title is %q", title)
	}
	for _, name := range []string{"hook", "crm", "sheet"} {
		p.gate(name, store.GateOpen, "")
	}
	p.after(2 * time.Minute)
	r.heardIs("when they are well at once", "down crm over, down hook over, held sheet over")
}

func TestAConditionThatComesAndGoesIsToldOnceInAWhile(t *testing.T) {
	t.Parallel()
	w, r := newWorld(t), newReceiver(t)
	p := w.process(usual(r.to("ops")))
	flap := func(times int) {
		for range times {
			p.gate("hook", store.GateDown, "503")
			p.after(75 * time.Second)
			p.gate("hook", store.GateOpen, "")
			p.after(75 * time.Second)
		}
	}
	flap(5) // 12.5 minutes
	r.heardIs("within the first minutes", "down hook alerting | down hook over")
	p.after(5 * time.Minute)
	messages := r.got()
	r.heardIs("when it is calm", "down hook flapping")
	e := messages[0].Data.Alerts[0]
	if e.Times != 4 || e.Bad || !strings.Contains(messages[0].Data.Text, "4 times more") {
		t.Errorf("got %+v: %s", e, messages[0].Data.Text)
	}
	p.after(time.Hour)
	r.heardIs("after that", "")

	flap(24) // an hour
	heard := r.heard()
	if n := strings.Count(heard, "down"); n > 10 || n < 4 || !strings.Contains(heard, "flapping") {
		t.Errorf("in an hour of flapping it was told %q", heard)
	}
	p.after(time.Hour)
	r.heard()

	// It is down for good when the time for a summary comes: then its end is told, too.
	flap(2)
	r.heard()
	p.gate("hook", store.GateDown, "503")
	p.after(15 * time.Minute)
	messages = r.got()
	r.heardIs("when it stays down", "down hook flapping")
	if e := messages[0].Data.Alerts[0]; !e.Bad || e.Times != 2 || !strings.Contains(messages[0].Data.Text, "again down") {
		t.Errorf("got %+v: %s", e, messages[0].Data.Text)
	}
	p.gate("hook", store.GateOpen, "")
	p.after(2 * time.Minute)
	r.heardIs("when it is well", "down hook over")
}

func TestTroubleThatLastsIsToldAgain(t *testing.T) {
	t.Parallel()
	w, r := newWorld(t), newReceiver(t)
	p := w.process(usual(r.to("ops")))
	p.gate("hook", store.GateHeld, "401")
	p.after(2 * time.Minute)
	r.heardIs("at first", "held hook alerting")
	w.pass(23 * time.Hour)
	p.after(time.Minute)
	r.heardIs("in less than a day", "")
	w.pass(time.Hour)
	p.after(time.Minute)
	r.heardIs("in a day", "held hook still alerting")
	w.pass(24 * time.Hour)
	p.after(time.Minute)
	r.heardIs("in two", "held hook still alerting")
	settings := usual(r.to("ops"))
	settings.Remind = 0
	p.Reload(settings)
	w.pass(72 * time.Hour)
	p.after(time.Minute)
	r.heardIs("where nobody wants to be reminded", "")
}

func TestAPausedConnectorRaisesNothing(t *testing.T) {
	t.Parallel()
	w, r := newWorld(t), newReceiver(t)
	p := w.process(usual(r.to("ops")), "sheet", "hook")
	email := "jane@example.com"
	if _, err := p.store.Create(t.Context(), lead.Patch{Email: &email}, nil); err != nil {
		t.Fatal(err)
	}
	p.gate("sheet", store.GatePaused, "paused by an operator")
	p.gate("hook", store.GatePaused, "paused by an operator")
	w.pass(time.Hour)
	p.after(5 * time.Minute)
	r.heardIs("while they are paused", "")

	// What was told before is closed, and not as if it were well.
	p.gate("sheet", store.GateHeld, "401")
	p.after(2 * time.Minute)
	r.heardIs("when one is held", "behind sheet alerting | held sheet alerting") // it was late for long
	p.gate("sheet", store.GatePaused, "paused by an operator")
	p.after(2 * time.Minute)
	messages := r.got()
	r.heardIs("when that is paused", "behind sheet over, held sheet over")
	if text := messages[0].Data.Text; !strings.Contains(text, "not held any more: it was paused by an operator") {
		t.Errorf("got %s", text)
	}
}

func TestAConnectorThatIsTakenOutIsClosed(t *testing.T) {
	t.Parallel()
	w, r := newWorld(t), newReceiver(t)
	p := w.process(usual(r.to("ops")))
	p.gate("hook", store.GateHeld, "401")
	p.after(2 * time.Minute)
	r.heardIs("when it is held", "held hook alerting")
	p.store.SetConnectors([]store.Connector{{Name: "crm"}})
	p.after(2 * time.Minute)
	messages := r.got()
	r.heardIs("when it is taken out", "held hook over")
	if text := messages[0].Data.Text; !strings.Contains(text, "it was taken out of the configuration") {
		t.Errorf("got %s", text)
	}
}

func TestAConfigurationThatIsNotTakenOverIsTold(t *testing.T) {
	t.Parallel()
	w, r := newWorld(t), newReceiver(t)
	p, front := w.process(usual(r.to("ops"))), w.process(usual())
	refusal := store.Refusal{Process: "web-1:17", Problem: `config.yaml: connectors[1] "crm": type: required`, Since: front.now()}
	if err := front.store.ReportRefusal(t.Context(), refusal); err != nil {
		t.Fatal(err)
	}
	p.after(2 * time.Minute)
	messages := r.got()
	r.heardIs("when a front end refuses it", "config web-1:17 alerting")
	for _, want := range []string{"not taken over by web-1:17", refusal.Problem, "leadrelay check"} {
		if text := messages[0].Data.Text; !strings.Contains(text, want) {
			t.Errorf("the text does not say %q: %s", want, text)
		}
	}
	if err := front.store.EndRefusal(t.Context(), "web-1:17"); err != nil {
		t.Fatal(err)
	}
	p.after(2 * time.Minute)
	messages = r.got()
	r.heardIs("when it is mended", "config web-1:17 over")
	if text := messages[0].Data.Text; !strings.Contains(text, "runs by its configuration again") {
		t.Errorf("got %s", text)
	}
}

func TestManyProcessesTellOnce(t *testing.T) {
	t.Parallel()
	w, r := newWorld(t), newReceiver(t)
	var all []*process
	for range 5 {
		all = append(all, w.process(usual(r.to("ops"))))
	}
	round := func() {
		var group sync.WaitGroup
		for _, p := range all {
			group.Go(p.tell)
		}
		group.Wait()
	}
	all[0].gate("hook", store.GateHeld, "401")
	round()
	for range 20 {
		w.pass(5 * time.Second)
		round()
	}
	r.heardIs("by five processes", "held hook alerting")

	// Nor do two that both think that it is theirs to look: as when one was paused for long.
	all[0].gate("hook", store.GateOpen, "")
	for range 20 {
		w.pass(5 * time.Second)
		var group sync.WaitGroup
		for _, p := range all {
			w.redis.Client.Del(t.Context(), "lr:{alerts}:lease:look")
			group.Go(p.tell)
		}
		group.Wait()
	}
	r.heardIs("by five that all look", "held hook over")
}

func TestARestartTellsNothingAgain(t *testing.T) {
	t.Parallel()
	w, r := newWorld(t), newReceiver(t)
	p := w.process(usual(r.to("ops")))
	p.gate("hook", store.GateHeld, "401")
	p.after(2 * time.Minute)
	r.heardIs("at first", "held hook alerting")
	w.redis.Client.Del(t.Context(), "lr:{alerts}:lease:look") // as it lapses when its holder is dead
	again := w.process(usual(r.to("ops")))
	again.after(10 * time.Minute)
	r.heardIs("after a restart", "")
	again.gate("hook", store.GateOpen, "")
	again.after(2 * time.Minute)
	r.heardIs("when it is well", "held hook over")
}

func TestWhatNobodyCouldBeToldOfIsToldToTheFirstDestination(t *testing.T) {
	t.Parallel()
	w, r := newWorld(t), newReceiver(t)
	p := w.process(usual())
	p.gate("hook", store.GateHeld, "401")
	p.after(10 * time.Minute)
	known, err := p.store.Alerts(t.Context())
	if err != nil || len(known.List) != 1 || known.List[0].Open {
		t.Fatalf("got %+v, %v", known, err)
	}
	p.Reload(usual(r.to("ops")))
	p.after(time.Minute)
	r.heardIs("with a destination", "held hook alerting")
}
