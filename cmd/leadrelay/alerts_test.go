package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/leadrelay/leadrelay/internal/redistest"
)

// alertReceiver takes alerts, and answers as the test says.
type alertReceiver struct {
	server *httptest.Server
	hang   atomic.Bool

	mu     sync.Mutex
	ids    []string
	events []string // "condition state"
	texts  []string
}

func newAlertReceiver(t *testing.T) *alertReceiver {
	t.Helper()
	r := &alertReceiver{}
	release := make(chan struct{})
	r.server = httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
		var message struct {
			Data struct {
				Text   string
				Alerts []struct{ Condition, Subject, State string }
			}
		}
		json.NewDecoder(req.Body).Decode(&message)
		hang := r.hang.Load()
		r.mu.Lock()
		r.ids = append(r.ids, req.Header.Get("webhook-id"))
		r.texts = append(r.texts, message.Data.Text)
		if !hang {
			for _, e := range message.Data.Alerts {
				r.events = append(r.events, e.Condition+" "+e.State)
			}
		}
		r.mu.Unlock()
		if hang {
			select {
			case <-req.Context().Done():
			case <-release:
			}
		}
	}))
	t.Cleanup(func() { close(release); r.server.Close() })
	return r
}

// heard says whether an event was told, as often as that.
func (r *alertReceiver) heard(event string, times int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for _, e := range r.events {
		if e == event {
			n++
		}
	}
	return n == times
}

func (r *alertReceiver) got() (ids, texts []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.ids), slices.Clone(r.texts)
}

// destination is the receiver in config.yaml.
func (r *alertReceiver) destination(name string) string {
	return fmt.Sprintf("{name: %s, type: webhook, settings: {url: %q, secret: whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=, allow_private: true}}", name, r.server.URL)
}

// TestOperatorsAreToldOfAHeldConnectorAndThatItIsWell, while another destination hangs; P4: that delays no lead.
func TestP4OperatorsAreToldOfAHeldConnectorAndThatItIsWell(t *testing.T) {
	engines(t, func(t *testing.T, dir, engine string) {
		var refuses atomic.Bool
		refuses.Store(true)
		hook := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if refuses.Load() {
				w.WriteHeader(http.StatusUnauthorized)
			}
		}))
		t.Cleanup(hook.Close)
		ops, hanging := newAlertReceiver(t), newAlertReceiver(t)
		hanging.hang.Store(true)
		r := startUp(t, dir, engine,
			fmt.Sprintf("  - {name: hook, type: webhook, settings: {url: %q, allow_private: true}}\n", hook.URL),
			fmt.Sprintf("alerts: {after: 100ms, to: [%s, %s]}\n", hanging.destination("hanging"), ops.destination("ops")))
		r.post(`{"email":"jane@example.com","name":"Jane Doe"}`)
		wait(t, "the alert", func() bool { return ops.heard("held alerting", 1) })
		wait(t, "the other destination to hang", func() bool { ids, _ := hanging.got(); return len(ids) > 0 })
		_, texts := ops.got()
		if text := strings.Join(texts, "\n"); !strings.Contains(text, "401") || !strings.Contains(text, "leadrelay resume hook") || strings.Contains(strings.ToLower(text), "jane") {
			t.Errorf("it says %s", text)
		}
		for i := range 20 {
			r.post(fmt.Sprintf(`{"email":"a%d@example.com"}`, i))
		}
		wait(t, "the leads in the sheet", func() bool { return inSheet(filepath.Join(r.dir, "leads.csv")) == 21 })

		show := func(args ...string) string {
			t.Helper()
			code, out, stderr := outcome(append(args, "--config", filepath.Join(r.dir, "config.yaml"))...)
			if code != 0 {
				t.Fatalf("%v ended with %d: %s", args, code, stderr)
			}
			return out
		}
		var now alerting
		if err := json.Unmarshal([]byte(show("alerts", "--json")), &now); err != nil {
			t.Fatal(err)
		}
		if len(now.Alerts) != 1 || now.Alerts[0].Condition != "held" || now.Alerts[0].Subject != "hook" || !now.Alerts[0].Told || len(now.Destinations) != 2 || now.Destinations[0].Waiting != 1 || now.Destinations[1].Waiting != 0 {
			t.Errorf("got %+v", now)
		}
		if out := show("alerts"); !strings.Contains(out, "hook") || !strings.Contains(out, "401") || !strings.Contains(out, "hanging") {
			t.Errorf("got %s", out)
		}
		if out := show("status"); !strings.Contains(out, "alerts: 1, see") {
			t.Errorf("status says nothing of it: %s", out)
		}

		refuses.Store(false)
		show("resume", "hook")
		wait(t, "the end of it to be told", func() bool { return ops.heard("held over", 1) })
		if out := show("alerts"); !strings.Contains(out, "nothing is alerting") {
			t.Errorf("got %s", out)
		}
		if !ops.heard("held alerting", 1) {
			t.Error("it was told more than once")
		}
		if status, metrics := r.call("GET", "/metrics", ""); status != 200 || !strings.Contains(metrics, `leadrelay_alerts_total{outcome="sent",to="ops"}`) {
			t.Errorf("the metrics have no alerts: %d", status)
		}
		if r.stop() != 0 {
			t.Error("it did not end in good order")
		}
	})
}

func TestOperatorsAreToldOfAConfigurationThatIsNotTakenOver(t *testing.T) {
	ops, later := newAlertReceiver(t), newAlertReceiver(t)
	r := startUp(t, t.TempDir(), "", fmt.Sprintf("alerts: {after: 100ms, to: [%s]}\n", ops.destination("ops")))
	good := r.read()
	r.post(`{"email":"jane@example.com"}`)
	wait(t, "a row", func() bool { return inSheet(filepath.Join(r.dir, "leads.csv")) == 1 })
	r.write(good + "limts: {}\n")
	wait(t, "it to be told", func() bool { return ops.heard("config alerting", 1) })
	_, texts := ops.got()
	if text := texts[0]; !strings.Contains(text, "limts: unknown setting, did you mean limits?") || !strings.Contains(text, "leadrelay check") || !strings.Contains(text, processName()) {
		t.Errorf("it says %s", text)
	}
	// The mended one has another destination, which is told that it is well: alerts are taken over, too.
	r.write(strings.Replace(good, ops.server.URL, later.server.URL, 1))
	wait(t, "it to be told that it is well", func() bool { return later.heard("config over", 1) })
	if ids, _ := ops.got(); len(ids) != 1 {
		t.Errorf("the former destination was told %d times, want once", len(ids))
	}
}

// TestAlertsOutliveTheProcessThatDecided runs a front end and a worker as processes. The worker is killed while it sends,
// the next one sends the same again; what the front end says of itself is told by a worker.
func TestAlertsOutliveTheProcessThatDecided(t *testing.T) {
	redis := redistest.Start(t)
	ops := newAlertReceiver(t)
	ops.hang.Store(true)
	dir := t.TempDir()
	file := filepath.Join(dir, "config.yaml")
	text := fmt.Sprintf("listen: 127.0.0.1:0\nredis: %s\napi_keys: [{name: k, key: a-key-of-sixteen-characters}]\n"+
		"connectors: [{name: sheet, type: csv, settings: {path: %s/leads.csv}}]\nalerts: {after: 100ms, to: [%s]}\n",
		redistest.Section(redis.Options()), dir, ops.destination("ops"))
	save := func(name, text string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
		return path
	}
	save("config.yaml", text)
	front := launch(t, "ingest", "--config", save("front.yaml", text))
	front.find(regexp.MustCompile(`(accepting leads)`))
	first := launch(t, "worker", "--config", file)
	first.find(regexp.MustCompile(`(connector ready)`))
	save("front.yaml", text+"limts: {}\n")
	wait(t, "the worker to be sending", func() bool { ids, _ := ops.got(); return len(ids) > 0 })
	first.kill()
	ops.hang.Store(false)
	var others []*launched
	for range 2 {
		others = append(others, launch(t, "worker", "--config", file))
	}
	wait(t, "another to send it", func() bool { return ops.heard("config alerting", 1) })
	ids, texts := ops.got()
	if slices.ContainsFunc(ids, func(id string) bool { return id != ids[0] }) || !strings.Contains(texts[0], fmt.Sprintf(":%d", front.cmd.Process.Pid)) {
		t.Errorf("got %v, %q", ids, texts[0])
	}
	front.kill() // it cannot say that it is well: it is not heard of any more
	wait(t, "its end to be told", func() bool { return ops.heard("config over", 1) })
	if _, texts := ops.got(); !strings.Contains(texts[len(texts)-1], "has ended, or cannot be heard of") || !ops.heard("config alerting", 1) {
		t.Errorf("got %q", texts)
	}
	for _, p := range others {
		if strings.Contains(p.out.String(), "level=ERROR") {
			t.Errorf("a worker says %s", p.out)
		}
	}
}

func TestAlertsTestSaysWhatHappened(t *testing.T) {
	ops := newAlertReceiver(t)
	broken := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(broken.Close)
	file := filepath.Join(t.TempDir(), "config.yaml")
	text := fmt.Sprintf("redis: {url: \"redis://127.0.0.1:1\"}\nalerts: {to: [%s, {name: chat, type: slack, settings: {url: %q, allow_private: true}}]}\n", ops.destination("ops"), broken.URL+"/hush")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	code, out, stderr := outcome("alerts", "test", "--config", file)
	if code != 1 || !strings.Contains(out, "ops (webhook): sent\n") || !strings.Contains(out, "chat (slack): NOT SENT (setup): slack: 404") || !strings.Contains(stderr, "1 of 2 destinations are not reached") {
		t.Errorf("got %d: %s%s", code, out, stderr)
	}
	if strings.Contains(out+stderr, "hush") {
		t.Errorf("it tells the secret: %s%s", out, stderr)
	}
	if code, out, stderr := outcome("alerts", "test", "ops", "--config", file); code != 0 || out != "ops (webhook): sent\n" {
		t.Errorf("got %d: %s%s", code, out, stderr)
	}
	if ids, texts := ops.got(); len(ids) != 2 || ids[0] == ids[1] || !strings.Contains(texts[0], "This is a test") {
		t.Errorf("got %v %q", ids, texts)
	}
	if code, _, stderr := outcome("alerts", "test", "pager", "--config", file); code != 1 || !strings.Contains(stderr, `no destination "pager"; there are: ops, chat`) {
		t.Errorf("got %d: %s", code, stderr)
	}
	if code, _, stderr := outcome("alerts", "tset", "--config", file); code != 1 || !strings.Contains(stderr, "there is test") {
		t.Errorf("got %d: %s", code, stderr)
	}
}
