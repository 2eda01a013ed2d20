package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/leadrelay/leadrelay/internal/redistest"
)

// TestMain lets the test's own program be leadrelay, for tests that kill it.
func TestMain(m *testing.M) {
	if os.Getenv("LEADRELAY_TEST_IS_MAIN") != "" {
		main()
		return
	}
	os.Exit(redistest.Main(m))
}

// TestP1AcceptedLeadsSurviveKill9 kills a whole `leadrelay up` in mid-load and starts it again: every lead that was
// answered 2xx gets its one row.
func TestP1AcceptedLeadsSurviveKill9(t *testing.T) {
	engines(t, func(t *testing.T, dir, engine string) {
		accepted := map[string]bool{}
		unsure := false // whether the machine had too much to do, and a lead is there that was answered 503
		for round := range 3 {
			cmd, url := startProcess(t, dir, engine)
			for i := 0; i < 60; {
				body := fmt.Sprintf(`{"email":"a%d.%d@example.com"}`, round, i)
				req, _ := http.NewRequest("POST", url+"/api/v1/leads", strings.NewReader(body))
				req.Header.Set("Authorization", "Bearer a-key-of-sixteen-characters")
				req.Header.Set("Content-Type", "application/json")
				resp, err := http.DefaultClient.Do(req)
				if err != nil {
					t.Fatal(err)
				}
				var answer struct {
					Data struct {
						LeadID string `json:"lead_id"`
					}
				}
				switch err := json.NewDecoder(resp.Body).Decode(&answer); {
				case resp.StatusCode == 503:
					unsure = true
				case err != nil || resp.StatusCode != 200:
					t.Fatalf("got %d: %v", resp.StatusCode, err)
				default:
					accepted[answer.Data.LeadID] = true
					i++
				}
				resp.Body.Close()
			}
			cmd.Process.Kill()
			cmd.Wait()
		}
		if len(accepted) != 180 {
			t.Fatalf("%d of 180 leads were accepted", len(accepted))
		}
		startProcess(t, dir, engine)
		rows := func() map[string]int {
			text, _ := os.ReadFile(filepath.Join(dir, "leads.csv"))
			found := map[string]int{}
			for _, id := range regexp.MustCompile(`(?m)^lead_[0-9a-v]{23}`).FindAllString(string(text), -1) {
				found[id]++
			}
			return found
		}
		wait(t, "a row for every accepted lead", func() bool {
			have := rows()
			for id := range accepted {
				if have[id] == 0 {
					return false
				}
			}
			return true
		})
		for id, n := range rows() {
			if n != 1 || !accepted[id] && !unsure {
				t.Errorf("%s has %d rows, accepted: %v", id, n, accepted[id])
			}
		}
	})
}

// TestARedisThatHangsDoesNotHoldUpTheEnd: who supervises the program would kill it, deploy's units after 40 s.
func TestARedisThatHangsDoesNotHoldUpTheEnd(t *testing.T) {
	r := redistest.StartAlone(t)
	file := filepath.Join(t.TempDir(), "config.yaml")
	text := fmt.Sprintf("listen: 127.0.0.1:0\nredis: %s\napi_keys: [{name: k, key: a-key-of-sixteen-characters}]\n"+
		"connectors: [{name: sheet, type: csv, settings: {path: leads.csv}}]\n", redistest.Section(r.Options()))
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	p := launch(t, "ingest", "--config", file)
	url := "http://" + p.find(regexp.MustCompile(`accepting leads.* address=(\S+)`))
	post := func() int {
		req, _ := http.NewRequest("POST", url+"/api/v1/leads", strings.NewReader(`{"email":"a@example.com"}`))
		req.Header.Set("Authorization", "Bearer a-key-of-sixteen-characters")
		req.Header.Set("Content-Type", "application/json")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	wait(t, "a lead to be accepted", func() bool { return post() == 200 })
	r.Signal(syscall.SIGSTOP)
	if got := post(); got != 503 {
		t.Fatalf("got %d", got)
	}
	p.cmd.Process.Signal(syscall.SIGTERM)
	ended := make(chan error, 1)
	go func() { ended <- p.cmd.Wait() }()
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("%v: %s", err, p.out)
		}
	case <-time.After(20 * time.Second):
		t.Errorf("it does not end: %s", p.out)
	}
}

// startProcess runs `leadrelay up` as a process of its own and returns where it listens.
func startProcess(t *testing.T, dir, engine string) (*exec.Cmd, string) {
	t.Helper()
	file := filepath.Join(dir, "config.yaml")
	text := fmt.Sprintf("listen: 127.0.0.1:0\ndata_dir: %[1]s/data\nredis: {engine: %[2]s}\napi_keys: [{name: k, key: a-key-of-sixteen-characters}]\n"+
		"connectors: [{name: sheet, type: csv, settings: {path: %[1]s/leads.csv}}]\n", dir, engine)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	p := launch(t, "up", "--config", file)
	return p.cmd, p.find(regexp.MustCompile(`leads API +(http://[^/]+)/`))
}

// launched is leadrelay in a process of its own.
type launched struct {
	t   *testing.T
	cmd *exec.Cmd
	out *output
}

func launch(t *testing.T, args ...string) *launched {
	t.Helper()
	p := &launched{t: t, cmd: exec.Command(os.Args[0], args...), out: &output{}}
	p.cmd.Env = append(os.Environ(), "LEADRELAY_TEST_IS_MAIN=1")
	p.cmd.Stdout, p.cmd.Stderr = p.out, p.out
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.kill)
	return p
}

func (p *launched) kill() {
	p.cmd.Process.Kill()
	p.cmd.Wait()
}

// find waits for what the process prints and returns the match's first group.
func (p *launched) find(pattern *regexp.Regexp) string {
	p.t.Helper()
	var match []string
	wait(p.t, pattern.String()+" to be printed", func() bool {
		match = pattern.FindStringSubmatch(p.out.String())
		return match != nil
	})
	return match[1]
}
