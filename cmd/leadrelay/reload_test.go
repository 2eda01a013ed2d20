package main

import (
	"encoding/csv"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
)

// write replaces the configuration as an editor does that saves atomically.
func (r *running) write(text string) {
	r.t.Helper()
	file := filepath.Join(r.dir, "config.yaml")
	if err := os.WriteFile(file+".new", []byte(text), 0o600); err != nil {
		r.t.Fatal(err)
	}
	if err := os.Rename(file+".new", file); err != nil {
		r.t.Fatal(err)
	}
}

func (r *running) read() string {
	r.t.Helper()
	text, err := os.ReadFile(filepath.Join(r.dir, "config.yaml"))
	if err != nil {
		r.t.Fatal(err)
	}
	return string(text)
}

// inSheet counts the leads in a csv file, by their addresses: one that was answered 503 may be there, and be sent again.
func inSheet(path string) int {
	file, err := os.Open(path)
	if err != nil {
		return 0
	}
	defer file.Close()
	all, err := csv.NewReader(file).ReadAll()
	if err != nil || len(all) == 0 {
		return 0
	}
	email := slices.Index(all[0], "email")
	addresses := map[string]bool{}
	for _, row := range all[1:] {
		addresses[row[email]] = true
	}
	return len(addresses)
}

func TestP8AnEditedConfigIsTakenOverWholeOrNotAtAll(t *testing.T) {
	r := startUp(t, t.TempDir(), "")
	first := r.read()
	r.post(`{"email":"a@example.com"}`)
	wait(t, "a row", func() bool { return inSheet(filepath.Join(r.dir, "leads.csv")) == 1 })

	second := filepath.Join(r.dir, "second.csv")
	r.write(first + fmt.Sprintf("  - {name: second, type: csv, settings: {path: %q}}\n", second))
	wait(t, "the new connector", func() bool { return strings.Contains(r.out.String(), "connectors=2") })
	r.post(`{"email":"b@example.com"}`)
	wait(t, "a row in both", func() bool { return inSheet(filepath.Join(r.dir, "leads.csv")) == 2 && inSheet(second) == 1 })

	r.write(first + "  - {name: third, type: csv, settings: {pth: x}}\n")
	wait(t, "what is wrong to be said", func() bool { return strings.Contains(r.out.String(), "not taken over") })
	if _, ready := r.call("GET", "/readyz", ""); !strings.Contains(ready, "pth: unknown setting, did you mean path?") {
		t.Errorf("/readyz does not say what is wrong: %s", ready)
	}
	r.post(`{"email":"c@example.com"}`)
	wait(t, "the configuration before to go on", func() bool { return inSheet(second) == 2 })

	r.write(strings.Replace(first, `key: "${LEADRELAY_API_KEY}"`, `key: another-key-for-a-backend`, 1))
	wait(t, "the new key", func() bool {
		r.key = "another-key-for-a-backend"
		status, _ := r.callOnce("GET", "/api/v1/leads", "")
		return status == 200
	})
	if _, ready := r.call("GET", "/readyz", ""); !strings.Contains(ready, `"config_problem":""`) {
		t.Errorf("/readyz still has a problem: %s", ready)
	}
	r.post(`{"email":"d@example.com"}`)
	wait(t, "a row in the first", func() bool { return inSheet(filepath.Join(r.dir, "leads.csv")) == 4 })
	if got := inSheet(second); got != 2 {
		t.Errorf("a connector that was taken out has %d rows, want 2", got)
	}
	if r.stop() != 0 {
		t.Error("it did not end in good order")
	}
}

var reloads = flag.Int("reloads", 60, "how many reloads TestP8ReloadsUnderLoad makes, half of them of broken files")

// TestP8ReloadsUnderLoad asks for one reload after another by SIGHUP, half of them of broken files, while leads come in.
func TestP8ReloadsUnderLoad(t *testing.T) {
	r := startUp(t, t.TempDir(), "")
	good := r.read()
	var posted atomic.Int64
	var group sync.WaitGroup
	done := make(chan struct{})
	for client := range 4 {
		group.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-done:
					return
				default:
				}
				status, text := r.call("POST", "/api/v1/leads", fmt.Sprintf(`{"email":"c%d-%d@example.com"}`, client, n))
				if status != 200 {
					t.Errorf("under reloads a lead was answered %d %s", status, text)
					return
				}
				posted.Add(1)
			}
		})
	}
	for n := range *reloads {
		// Each broken one would leave leads without a connector, or lock everybody out, if half of it counted.
		text := strings.Replace(good, "{name: sheet, type: csv,", fmt.Sprintf("{name: sheet, type: csv, concurrency: %d,", 1+n%20), 1)
		said := "is taken over"
		if n%2 == 1 {
			text = strings.Replace(good, "connectors:", "api_keys: []\nconnectors: []\nworker: 5\nforms:", 1)
			said = "is not taken over"
		}
		before := strings.Count(r.out.String(), said)
		r.write(text)
		if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		wait(t, "reload", func() bool { return strings.Count(r.out.String(), said) > before })
	}
	close(done)
	group.Wait()
	wait(t, "every lead in the sheet", func() bool { return inSheet(filepath.Join(r.dir, "leads.csv")) == int(posted.Load()) })
	t.Logf("%d leads during %d reloads", posted.Load(), *reloads)
}
