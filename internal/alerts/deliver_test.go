package alerts_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/leadrelay/leadrelay/internal/store"
)

// status answers by one.
func status(code int) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
}

// destination is how one is doing.
func (p *process) destination(name string) store.AlertDestination {
	p.world.t.Helper()
	all, err := p.store.AlertDestinations(p.world.t.Context(), []string{name})
	if err != nil {
		p.world.t.Fatal(err)
	}
	return all[name]
}

func TestAMessageIsRepeatedUnderItsIDUntilItIsTaken(t *testing.T) {
	t.Parallel()
	w, r := newWorld(t), newReceiver(t)
	p := w.process(usual(r.to("ops")))
	r.answers(status(500))
	p.gate("hook", store.GateHeld, "401")
	p.after(3 * time.Minute)
	first := r.got()
	if len(first) < 2 {
		t.Fatalf("it was sent %d times", len(first))
	}
	d := p.destination("ops")
	if d.Waiting != 1 || d.Trouble == nil || !strings.Contains(d.Trouble.Reason, "500") || d.Trouble.Tries != len(first) {
		t.Errorf("got %+v, %+v", d, d.Trouble)
	}
	if got := p.outcomes("ops"); got["failed"] != float64(len(first)) || got["sent"] != 0 {
		t.Errorf("counted %v", got)
	}
	r.answers(nil)
	p.after(10 * time.Minute)
	all := r.got()
	if len(all) != len(first)+1 {
		t.Errorf("it was sent %d times more, want 1", len(all)-len(first))
	}
	for _, m := range all {
		if m.id != all[0].id || m.Data.Text != all[0].Data.Text {
			t.Errorf("a repeat is another message: %+v", m)
		}
	}
	if d := p.destination("ops"); d.Waiting != 0 || d.Trouble != nil {
		t.Errorf("after it was taken: %+v, %+v", d, d.Trouble)
	}
	if got := p.outcomes("ops"); got["sent"] != 1 {
		t.Errorf("counted %v", got)
	}
}

func TestADestinationIsLeftAloneForAsLongAsItAsks(t *testing.T) {
	t.Parallel()
	w, r := newWorld(t), newReceiver(t)
	p := w.process(usual(r.to("ops")))
	r.answers(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "1800")
		w.WriteHeader(http.StatusTooManyRequests)
	})
	p.gate("hook", store.GateHeld, "401")
	p.after(2 * time.Minute)
	p.after(27 * time.Minute)
	if n := len(r.got()); n != 1 {
		t.Errorf("it was sent %d times in the half hour in which it was not to be", n)
	}
	r.answers(nil)
	p.after(5 * time.Minute)
	if n := len(r.got()); n != 2 {
		t.Errorf("it was sent %d times in all, want 2", n)
	}
}

// TestADestinationThatHangsDelaysNoOther runs two processes as they are: one destination never answers, another fails.
func TestADestinationThatHangsDelaysNoOther(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	hanging, failing, well := newReceiver(t), newReceiver(t), newReceiver(t)
	release := make(chan struct{})
	t.Cleanup(func() { close(release) })
	hanging.answers(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-r.Context().Done():
		case <-release:
		}
	})
	failing.answers(status(503))
	settings := usual(hanging.to("hanging"), failing.to("failing"), well.to("well"))
	settings.After = 0
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{}, 2)
	var all []*process
	for range 2 {
		p := w.process(settings)
		p.Every = 10 * time.Millisecond
		all = append(all, p)
		go func() { p.Run(ctx); ended <- struct{}{} }()
	}
	for i, state := range []store.GateState{store.GateHeld, store.GateOpen, store.GateDown} {
		all[0].gate("hook", state, "no")
		wait(t, "it to be told", func() bool { return len(well.got()) > i })
	}
	well.heardIs("beside one that hangs", "held hook alerting | held hook over | down hook alerting")
	if got := hanging.got(); len(got) != 1 {
		t.Errorf("one that hangs was sent %d messages at once", len(got))
	}
	if d := all[0].destination("hanging"); d.Waiting != 3 {
		t.Errorf("for one that hangs %d messages wait, want 3", d.Waiting)
	}
	stop()
	for range all {
		<-ended // although one hangs
	}
}

func wait(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !condition(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// TestWhatWasDecidedIsSentByWhoeverLives: the process that decided never gets to send.
func TestWhatWasDecidedIsSentByWhoeverLives(t *testing.T) {
	t.Parallel()
	w, r := newWorld(t), newReceiver(t)
	dead := w.process(usual(r.to("ops")))
	dead.gate("hook", store.GateHeld, "401")
	for range 20 {
		if err := dead.Look(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.pass(5 * time.Second)
	}
	r.heardIs("before it dies", "")
	other := w.process(usual(r.to("ops")))
	other.after(time.Minute)
	r.heardIs("by another", "held hook alerting")
	other.after(10 * time.Minute)
	r.heardIs("after that", "")
}

func TestARefusedMessageHoldsUpNoOther(t *testing.T) {
	t.Parallel()
	w, r := newWorld(t), newReceiver(t)
	p := w.process(usual(r.to("ops")))
	r.answers(status(422))
	p.gate("hook", store.GateHeld, "401")
	p.after(5 * time.Minute)
	r.heardIs("when it is refused", "held hook alerting")
	if got, d := p.outcomes("ops"), p.destination("ops"); got["refused"] != 1 || d.Waiting != 0 || d.Trouble == nil {
		t.Errorf("counted %v, and it is %+v", got, d)
	}
	r.answers(nil)
	p.gate("hook", store.GateOpen, "")
	p.after(2 * time.Minute)
	r.heardIs("then", "held hook over")
	if d := p.destination("ops"); d.Trouble != nil {
		t.Errorf("it still has trouble: %+v", d.Trouble)
	}
}

func TestAMessageIsGivenUpAfterHours(t *testing.T) {
	t.Parallel()
	w, r := newWorld(t), newReceiver(t)
	p := w.process(usual(r.to("ops")))
	r.answers(status(404))
	p.gate("hook", store.GateHeld, "401")
	p.after(2 * time.Minute)
	for range 11 {
		w.pass(time.Hour)
		p.tell()
	}
	if d := p.destination("ops"); d.Waiting != 1 {
		t.Errorf("after eleven hours %d messages wait", d.Waiting)
	}
	w.pass(2 * time.Hour)
	p.tell()
	if got, d := p.outcomes("ops"), p.destination("ops"); got["given up"] != 1 || d.Waiting != 0 || d.Trouble == nil {
		t.Errorf("counted %v, and it is %+v", got, d)
	}
}

func TestTheQueueOfADestinationIsBounded(t *testing.T) {
	t.Parallel()
	w, r := newWorld(t), newReceiver(t)
	p := w.process(usual(r.to("ops")))
	ctx := t.Context()
	for i := range 105 {
		was, err := p.store.Alerts(ctx)
		if err != nil {
			t.Fatal(err)
		}
		next := []store.Alert{{Condition: "held", Subject: "hook", Bad: true, Open: true, Since: p.now(), Told: p.now(), Untold: i}}
		done, dropped, err := p.store.NoteAlerts(ctx, was, next, fmt.Sprintf(`{"id":"alert_%d","at":%q}`, i, p.now().Format(time.RFC3339)), []string{"ops"})
		if err != nil || !done || (dropped["ops"] == 1) != (i >= 100) {
			t.Fatalf("the %dth: %v, %v, %v", i, done, dropped, err)
		}
		// Another process that has read what is old by now changes nothing.
		if done, _, err := p.store.NoteAlerts(ctx, was, nil, "late", []string{"ops"}); done || err != nil {
			t.Fatalf("a late one: %v, %v", done, err)
		}
	}
	p.tell()
	var ids []string
	for _, m := range r.got() {
		ids = append(ids, m.id)
	}
	if len(ids) != 100 || ids[0] != "alert_5" || ids[99] != "alert_104" {
		t.Errorf("got %d: %v", len(ids), ids)
	}
}
