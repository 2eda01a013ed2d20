package alerts_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/leadrelay/leadrelay/internal/alerts"
	"github.com/leadrelay/leadrelay/internal/redistest"
	"github.com/leadrelay/leadrelay/internal/store"
)

func TestMain(m *testing.M) { os.Exit(redistest.Main(m)) }

// world is a Redis, processes that share it, and a clock that the test moves.
type world struct {
	t     *testing.T
	redis *redistest.Redis
	mu    sync.Mutex
	ahead time.Duration
}

func newWorld(t *testing.T) *world {
	t.Helper()
	return &world{t: t, redis: redistest.Start(t)}
}

// process is one worker's share of telling.
type process struct {
	*alerts.Watcher
	world    *world
	store    *store.Store
	registry *prometheus.Registry
}

// process begins one that knows the connectors hook, crm and sheet.
func (w *world) process(settings alerts.Settings, connectors ...string) *process {
	w.t.Helper()
	if connectors == nil {
		connectors = []string{"hook", "crm", "sheet"}
	}
	var list []store.Connector
	for _, name := range connectors {
		list = append(list, store.Connector{Name: name})
	}
	client := store.Connect(w.redis.Options())
	s, err := store.New(w.t.Context(), client, list, slog.New(slog.DiscardHandler))
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		s.Close()
		client.Close()
	})
	p := &process{world: w, store: s, registry: prometheus.NewRegistry()}
	p.Watcher = alerts.New(settings, alerts.Options{Store: s, Log: slog.New(slog.DiscardHandler), Metrics: p.registry, Now: p.now})
	return p
}

func (p *process) now() time.Time {
	p.world.mu.Lock()
	defer p.world.mu.Unlock()
	return p.store.Now().Add(p.world.ahead)
}

// pass lets time pass on the clock of all watchers.
func (w *world) pass(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ahead += d
}

// tell looks and delivers, as a worker does every few seconds.
func (p *process) tell() {
	p.world.t.Helper()
	if err := p.Look(p.world.t.Context()); err != nil {
		p.world.t.Fatal(err)
	}
	if err := p.Deliver(p.world.t.Context()); err != nil {
		p.world.t.Fatal(err)
	}
}

// after lets time pass in steps as small as a worker looks, and tells at each.
func (p *process) after(d time.Duration) {
	p.world.t.Helper()
	for p.tell(); d > 0; d -= 5 * time.Second {
		p.world.pass(min(d, 5*time.Second))
		p.tell()
	}
}

// gate makes a connector what a worker or an operator makes of it.
func (p *process) gate(name string, state store.GateState, reason string) {
	p.world.t.Helper()
	g := store.Gate{State: state, Reason: reason, Since: p.now()}
	if state == store.GateOpen {
		g = store.Gate{}
	}
	if err := p.store.SetGate(p.world.t.Context(), name, g); err != nil {
		p.world.t.Fatal(err)
	}
}

// outcomes are the counts of a destination's attempts.
func (p *process) outcomes(to string) map[string]float64 {
	p.world.t.Helper()
	families, err := p.registry.Gather()
	if err != nil {
		p.world.t.Fatal(err)
	}
	counts := map[string]float64{}
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			labels := map[string]string{}
			for _, label := range metric.GetLabel() {
				labels[label.GetName()] = label.GetValue()
			}
			if family.GetName() == "leadrelay_alerts_total" && labels["to"] == to {
				counts[labels["outcome"]] = metric.GetCounter().GetValue()
			}
		}
	}
	return counts
}

const secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo="

// told is one message as a receiver got it.
type told struct {
	id        string
	Type      string
	Timestamp time.Time
	Data      struct {
		Title, Text, Console string
		Alerts               []alerts.Event
	}
}

// receiver takes messages that are signed, and answers as the test says.
type receiver struct {
	t      *testing.T
	server *httptest.Server

	mu       sync.Mutex
	messages []told
	answer   func(w http.ResponseWriter, r *http.Request)
}

func newReceiver(t *testing.T) *receiver {
	t.Helper()
	r := &receiver{t: t}
	r.server = httptest.NewServer(r)
	t.Cleanup(r.server.Close)
	return r
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return // the sender gave up
	}
	id := req.Header.Get("webhook-id")
	key, _ := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(id + "." + req.Header.Get("webhook-timestamp") + "."))
	mac.Write(body)
	if want := "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil)); id == "" || req.Header.Get("webhook-signature") != want {
		r.t.Errorf("a message is not signed: %v", req.Header)
	}
	message := told{id: id}
	if err := json.Unmarshal(body, &message); err != nil {
		r.t.Errorf("a message is not JSON: %s", body)
	}
	r.mu.Lock()
	r.messages = append(r.messages, message)
	answer := r.answer
	r.mu.Unlock()
	if answer != nil {
		answer(w, req)
	}
}

// answers says how the next requests are answered; nil: by 200.
func (r *receiver) answers(answer func(w http.ResponseWriter, r *http.Request)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answer = answer
}

func (r *receiver) got() []told {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.messages)
}

// heard are the events of all messages since it was asked last, "condition subject state"; messages are parted by "|".
func (r *receiver) heard() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var messages []string
	for _, m := range r.messages {
		var events []string
		for _, e := range m.Data.Alerts {
			events = append(events, e.Condition+" "+e.Subject+" "+e.State)
		}
		slices.Sort(events)
		messages = append(messages, strings.Join(events, ", "))
	}
	r.messages = nil
	return strings.Join(messages, " | ")
}

// heardIs checks what a receiver was told since it was asked last.
func (r *receiver) heardIs(moment, want string) {
	r.t.Helper()
	if got := r.heard(); got != want {
		r.t.Errorf("%s: was told %q, want %q", moment, got, want)
	}
}

// to is the receiver as a destination.
func (r *receiver) to(name string) alerts.Destination {
	r.t.Helper()
	return open(r.t, name, "webhook", map[string]any{"url": r.server.URL, "secret": secret, "allow_private": true})
}

func open(t *testing.T, name, kind string, settings map[string]any) alerts.Destination {
	t.Helper()
	for _, k := range alerts.Kinds() {
		if k.Name == kind {
			d, err := k.Open(name, settings)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { d.Close() })
			return d
		}
	}
	t.Fatalf("there is no kind %s", kind)
	return alerts.Destination{}
}

// usual are the settings that config.yaml has by default, to some destinations.
func usual(to ...alerts.Destination) alerts.Settings {
	return alerts.Settings{After: time.Minute, Oldest: 15 * time.Minute, Remind: 24 * time.Hour, To: to}
}
