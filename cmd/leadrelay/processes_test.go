package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/leadrelay/leadrelay/internal/redistest"
)

// sink is a webhook's receiver that misbehaves before and after it has taken an event.
type sink struct {
	mu     sync.Mutex
	dice   *rand.Rand
	calm   bool
	events map[string][]delivered // by lead, each webhook-id once, in order of arrival
	seen   map[string]bool
}

type delivered struct {
	kind     string
	revision int64
	email    string
}

func (s *sink) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	s.mu.Lock()
	dice := s.dice.Intn(12)
	if s.calm {
		dice = 99
	}
	s.mu.Unlock()
	if dice < 2 {
		http.Error(w, "before", []int{http.StatusServiceUnavailable, http.StatusBadGateway}[dice])
		return
	}
	var event struct {
		Type string
		Data struct {
			LeadID   string `json:"lead_id"`
			Revision int64
			Email    string
		}
	}
	if err != nil || json.Unmarshal(body, &event) != nil {
		http.Error(w, "not an event", http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	if id := r.Header.Get("Webhook-Id"); !s.seen[id] {
		s.seen[id] = true
		s.events[event.Data.LeadID] = append(s.events[event.Data.LeadID], delivered{event.Type, event.Data.Revision, event.Data.Email})
	}
	s.mu.Unlock()
	switch dice {
	case 2:
		panic(http.ErrAbortHandler) // applied, and the connection cut
	case 3:
		http.Error(w, "after", http.StatusInternalServerError)
	case 4:
		w.Header().Set("Retry-After", "1")
		http.Error(w, "after", http.StatusTooManyRequests)
	default:
		w.WriteHeader(http.StatusNoContent)
	}
}

// TestP1P2P3SeparateProcessesKilledAtRandom runs ingest, two workers and Redis as processes of their own, kills
// each of them at random while leads come, change and go, and compares what the webhook and the sheet have at the
// end with what was accepted.
func TestP1P2P3SeparateProcessesKilledAtRandom(t *testing.T) {
	seed := time.Now().UnixNano()
	t.Logf("seed %d", seed)
	dice := rand.New(rand.NewSource(seed))
	redis := redistest.Start(t)
	hook := &sink{dice: rand.New(rand.NewSource(seed)), events: map[string][]delivered{}, seen: map[string]bool{}}
	receiver := httptest.NewServer(hook)
	defer receiver.Close()
	dir := t.TempDir()
	file := filepath.Join(dir, "config.yaml")
	text := fmt.Sprintf(`
listen: 127.0.0.1:0
redis: {url: "%s"}
api_keys: [{name: k, key: a-key-of-sixteen-characters}]
connectors:
  - name: hook
    type: webhook
    settings: {url: "%s/in", allow_private: true}
    retry: {initial: 50ms, max: 500ms}
    breaker: {failures: 50, probe: 100ms, probe_max: 500ms}
  - {name: sheet, type: csv, settings: {path: %s/leads.csv}}
`, redis.URL, receiver.URL, dir)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	startIngest := func() (*launched, string) {
		p := launch(t, "ingest", "--config", file)
		return p, "http://" + p.find(regexp.MustCompile(`msg="accepting leads" address=(\S+)`))
	}
	front, url := startIngest()
	startWorker := func() *launched { return launch(t, "worker", "--config", file) }
	workers := []*launched{startWorker(), startWorker()}

	// try sends a request until it is answered; the idempotency key makes that safe.
	try := func(method, path, body, key string) (int, string) {
		for {
			req, _ := http.NewRequest(method, url+path, strings.NewReader(body))
			req.Header.Set("Authorization", "Bearer a-key-of-sixteen-characters")
			req.Header.Set("Content-Type", "application/json")
			if key != "" {
				req.Header.Set("Idempotency-Key", key)
			}
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				continue
			}
			answer, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if err == nil && resp.StatusCode != 503 && resp.StatusCode != 409 {
				return resp.StatusCode, string(answer)
			}
		}
	}
	type state struct {
		email   string
		changes int64
		deleted bool
	}
	accepted := map[string]*state{}
	var ids []string
	for step := range 400 {
		switch n := dice.Intn(100); {
		case n < 50 || len(ids) == 0:
			email := fmt.Sprintf("a%d@example.com", step)
			status, answer := try("POST", "/api/v1/leads", fmt.Sprintf(`{"email":%q}`, email), fmt.Sprint("create-", step))
			id := regexp.MustCompile(`lead_[0-9a-v]{23}`).FindString(answer)
			if status != 200 || id == "" {
				t.Fatalf("got %d %s", status, answer)
			}
			ids = append(ids, id)
			accepted[id] = &state{email: email, changes: 1}
		case n < 85:
			id := ids[dice.Intn(len(ids))]
			if accepted[id].deleted {
				continue
			}
			email := fmt.Sprintf("b%d@example.com", step)
			if status, answer := try("PUT", "/api/v1/leads/"+id, fmt.Sprintf(`{"email":%q}`, email), fmt.Sprint("update-", step)); status != 200 {
				t.Fatalf("got %d %s", status, answer)
			}
			accepted[id].email = email
			accepted[id].changes++
		case n < 93:
			id := ids[dice.Intn(len(ids))]
			if accepted[id].deleted {
				continue
			}
			if status, answer := try("DELETE", "/api/v1/leads/"+id, "", ""); status != 200 && status != 404 {
				t.Fatalf("got %d %s", status, answer)
			}
			accepted[id].deleted = true
		case n < 97:
			k := dice.Intn(2)
			workers[k].kill()
			workers[k] = startWorker()
		case n < 99:
			front.kill()
			front, url = startIngest()
		default:
			redis.Kill()
			redis.Restart(t)
		}
	}
	hook.mu.Lock()
	hook.calm = true
	hook.mu.Unlock()

	status := func() string {
		var out output
		launchStatus := launch(t, "status", "--config", file)
		launchStatus.cmd.Wait()
		out.Write([]byte(launchStatus.out.String()))
		return out.String()
	}
	behind := regexp.MustCompile(`(?m)^(hook|sheet)\s+in step\s+0\s`)
	wait(t, "every connector in step", func() bool { return len(behind.FindAllString(status(), -1)) == 2 })

	rows, _ := os.ReadFile(filepath.Join(dir, "leads.csv"))
	hook.mu.Lock()
	defer hook.mu.Unlock()
	for id, want := range accepted {
		events := hook.events[id]
		if !slices.IsSortedFunc(events, func(a, b delivered) int { return int(a.revision - b.revision) }) {
			t.Errorf("%s: the webhook was told out of order: %v", id, events)
		}
		count := strings.Count(string(rows), id)
		if want.deleted {
			if count != 0 || len(events) > 0 && events[len(events)-1].kind != "lead.deleted" {
				t.Errorf("%s was deleted: %d rows, events %v", id, count, events)
			}
			continue
		}
		if count != 1 || !strings.Contains(string(rows), id+",,"+want.email) {
			t.Errorf("%s: %d rows, want one with %s", id, count, want.email)
		}
		if int64(len(events)) != want.changes || events[len(events)-1].email != want.email {
			t.Errorf("%s: the webhook was told %v, want %d changes up to %s", id, events, want.changes, want.email)
		}
	}
	if n := strings.Count(string(rows), "lead_") - 1; n != len(slices.DeleteFunc(slices.Clone(ids), func(id string) bool { return accepted[id].deleted })) {
		t.Errorf("the sheet has %d rows", n)
	}
	for _, p := range append(workers, front) {
		if strings.Contains(p.out.String(), "@example.com") || strings.Contains(p.out.String(), "a-key-of-sixteen") {
			t.Errorf("a log holds personal data or a secret: %s", p.out.String())
		}
	}
}
