package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/leadrelay/leadrelay/connectors/connectortest"
)

// running is a `leadrelay up` in a folder of its own.
type running struct {
	t    *testing.T
	dir  string
	url  string
	key  string
	out  *output
	stop func() int
}

// output is what a command printed so far.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// startUp runs `leadrelay up` on a data directory, with a csv connector, until the test ends or it is stopped.
func startUp(t *testing.T, dir, engine string) *running {
	t.Helper()
	file := filepath.Join(dir, "config.yaml")
	text := fmt.Sprintf(`
listen: 127.0.0.1:0
data_dir: %[1]s/data
redis: {engine: %[2]q}
api_keys: [{name: backend, key: "${LEADRELAY_API_KEY}"}]
connectors:
  - {name: sheet, type: csv, settings: {path: %[1]s/leads.csv}}
`, dir, engine)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("LEADRELAY_API_KEY", "")
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{t: t, dir: dir, out: &output{}}
	status := make(chan int, 1)
	go func() { status <- run(ctx, []string{"up", "--config", file}, r.out, r.out) }()
	r.stop = sync.OnceValue(func() int { cancel(); return <-status })
	t.Cleanup(func() { r.stop() })
	wait(t, "the greeting", func() bool {
		select {
		case code := <-status:
			t.Fatalf("up ended with %d: %s", code, r.out)
		default:
		}
		return strings.Contains(r.out.String(), "Ctrl-C")
	})
	r.url = regexp.MustCompile(`leads API +(http://[^/]+)/`).FindStringSubmatch(r.out.String())[1]
	r.key = regexp.MustCompile(`API key +(\S+)`).FindStringSubmatch(r.out.String())[1]
	return r
}

func wait(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !condition(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// call makes an API request.
func (r *running) call(method, path, body string) (int, string) {
	r.t.Helper()
	req, err := http.NewRequest(method, r.url+path, strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+r.key)
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

func (r *running) post(body string) string {
	r.t.Helper()
	status, text := r.call("POST", "/api/v1/leads", body)
	var answer struct {
		Data struct {
			LeadID string `json:"lead_id"`
		}
	}
	if err := json.Unmarshal([]byte(text), &answer); err != nil || status != 200 {
		r.t.Fatalf("got %d %s", status, text)
	}
	return answer.Data.LeadID
}

func (r *running) sheet() string {
	text, _ := os.ReadFile(filepath.Join(r.dir, "leads.csv"))
	return string(text)
}

func engines(t *testing.T, test func(t *testing.T, engine string)) {
	for _, engine := range []string{"redis-server", "in-process"} {
		t.Run(engine, func(t *testing.T) {
			if _, err := exec.LookPath("redis-server"); err != nil && engine == "redis-server" {
				connectortest.SkipOrFail(t, "redis-server is not installed: apt-get install redis-server")
			}
			dir, err := os.MkdirTemp("", "lr")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { os.RemoveAll(dir) })
			test(t, dir+"\n"+engine)
		})
	}
}

func TestUpPutsALeadInTheSheetAndKeepsItOverARestart(t *testing.T) {
	engines(t, func(t *testing.T, both string) {
		dir, engine, _ := strings.Cut(both, "\n")
		r := startUp(t, dir, engine)
		id := r.post(`{"name":"John Doe","email":"john@gmail.com","source":"website","note":"n"}`)
		wait(t, "the row", func() bool { return strings.Contains(r.sheet(), id) })
		key := filepath.Join(dir, "data", "api_key")
		if info, err := os.Stat(key); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("the API key is kept as %v, %v; want mode 0600", info, err)
		}
		if code := r.stop(); code != 0 {
			t.Fatalf("up ended with %d: %s", code, r.out)
		}

		again := startUp(t, dir, engine)
		if again.key != r.key || !strings.Contains(again.out.String(), "(kept in") {
			t.Errorf("the key was %s, and after a restart is %s", r.key, again.key)
		}
		if status, text := again.call("PUT", "/api/v1/leads/"+id, `{"name":"Jane"}`); status != 200 {
			t.Fatalf("after a restart: %d %s", status, text)
		}
		wait(t, "the row to change", func() bool { return strings.Contains(again.sheet(), "Jane") })
		if strings.Count(again.sheet(), id) != 1 {
			t.Errorf("the sheet has %s", again.sheet())
		}
		if status, _ := again.call("DELETE", "/api/v1/leads/"+id, ""); status != 200 {
			t.Fatal(status)
		}
		wait(t, "the row to go", func() bool { return !strings.Contains(again.sheet(), id) })
		if strings.Contains(again.out.String(), "john@gmail.com\"") && strings.Contains(again.out.String(), "Jane") {
			t.Errorf("the log holds personal data: %s", again.out)
		}
	})
}

// TestOperatorsVerbs runs status, leads, pause, replay and resume beside a running up.
func TestOperatorsVerbs(t *testing.T) {
	engines(t, func(t *testing.T, both string) {
		dir, engine, _ := strings.Cut(both, "\n")
		r := startUp(t, dir, engine)
		verb := func(args ...string) string {
			t.Helper()
			var out, errs bytes.Buffer
			if code := run(context.Background(), append(args, "--config", filepath.Join(dir, "config.yaml")), &out, &errs); code != 0 {
				t.Fatalf("%v: %d %s", args, code, errs.String())
			}
			return out.String()
		}
		verb("pause", "sheet")
		wait(t, "the pause to be heard", func() bool {
			_, text := r.call("GET", "/metrics", "")
			return strings.Contains(text, `leadrelay_gate_open{connector="sheet"} 0`)
		})
		id := r.post(`{"email":"jane@example.com"}`)
		if got := verb("status"); !strings.Contains(got, "paused") || !strings.Contains(got, "survives") {
			t.Errorf("status: %s", got)
		}
		if got := verb("leads", "show", "Jane@example.com"); !strings.Contains(got, id) || !strings.Contains(got, "pending") {
			t.Errorf("leads show: %s", got)
		}
		verb("resume", "sheet")
		wait(t, "the row", func() bool { return strings.Contains(r.sheet(), id) })
		wait(t, "in step", func() bool { return strings.Contains(verb("leads", "show", id), "in_step") })
		if got := verb("replay", "sheet", id); !strings.Contains(got, "pushed to sheet again") {
			t.Errorf("replay: %s", got)
		}
		wait(t, "in step again", func() bool { return strings.Contains(verb("leads", "show", id), "in_step") })
		var errs bytes.Buffer
		if code := run(context.Background(), []string{"pause", "shet", "--config", filepath.Join(dir, "config.yaml")}, io.Discard, &errs); code == 0 || !strings.Contains(errs.String(), "there are: sheet") {
			t.Errorf("pausing what is not there: %d %s", code, errs.String())
		}
	})
}

func TestCheckSaysEverythingThatIsWrong(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config.yaml")
	os.WriteFile(file, []byte("listn: x\nconnectors:\n  - {name: hook, type: webhook}\n  - {name: list, type: mailchimp, settings: {api_key: x-us1}}\n"), 0o600)
	var errs bytes.Buffer
	code := run(context.Background(), []string{"check", file}, io.Discard, &errs)
	for _, want := range []string{"listn", "did you mean listen", `connectors[0] "hook": settings.url: required`, `connectors[1] "list": settings.list_id: required`} {
		if code == 0 || !strings.Contains(errs.String(), want) {
			t.Errorf("%q is not said in: %s", want, errs.String())
		}
	}
}

// seedExamples returns the seed's code blocks of a language, in order: add, update, delete.
func seedExamples(t *testing.T, language string) []string {
	files, err := filepath.Glob(filepath.Join(connectortest.SpecDir(t), "..", "seeds", "*.txt"))
	if err != nil || len(files) == 0 {
		connectortest.SkipOrFail(t, "the leads API's seed is not beside SPEC_DIR")
	}
	text, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	var blocks []string
	for _, match := range regexp.MustCompile("(?s)```"+language+"\n(.*?)```").FindAllStringSubmatch(string(text), -1) {
		blocks = append(blocks, match[1])
	}
	if len(blocks) != 3 {
		t.Fatalf("the seed has %d examples in %s, want 3", len(blocks), language)
	}
	return blocks
}

// TestTheSeedsOwnClients runs the seed's examples as they are written, but for host, key and the lead's id.
func TestTheSeedsOwnClients(t *testing.T) {
	for _, c := range []struct {
		language, program string
		args              []string
		needs             []string // a command that must succeed
		calls             [3]string
		prints            [3]string
	}{
		{"bash", "bash", []string{"-euc"}, []string{"curl", "--version"}, [3]string{}, [3]string{"Lead added successfully", "Lead updated successfully", "Lead deleted successfully"}},
		{"python", systemPython(), []string{"-c"}, []string{systemPython(), "-c", "import requests"},
			[3]string{"add_lead()", "update_lead('ID')", "delete_lead('ID')"}, [3]string{"Lead added:", "Lead updated:", "Lead deleted:"}},
		{"jsx", "node", []string{"-e"}, []string{"node", "-e", "require('axios')"},
			[3]string{"addLead()", "updateLead('ID')", "deleteLead('ID')"}, [3]string{"Lead added:", "Lead updated:", "Lead deleted:"}},
	} {
		t.Run(c.language, func(t *testing.T) {
			if err := exec.Command(c.needs[0], c.needs[1:]...).Run(); err != nil {
				connectortest.SkipOrFail(t, fmt.Sprintf("needs %v: apt-get install curl python3-requests; npm install axios, with NODE_PATH at it", c.needs))
			}
			examples := seedExamples(t, c.language)
			dir, err := os.MkdirTemp("", "lr")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { os.RemoveAll(dir) })
			r := startUp(t, dir, "in-process")
			id := ""
			for i, example := range examples {
				code := example + "\n" + c.calls[i]
				code = strings.NewReplacer("https://buisnesstools.com", r.url, "YOUR_API_KEY", r.key, "lead_12345", id, "'ID'", "'"+id+"'").Replace(code)
				out, err := exec.Command(c.program, append(slices.Clone(c.args), code)...).CombinedOutput()
				if err != nil || !strings.Contains(string(out), c.prints[i]) || strings.Contains(string(out), "Error") {
					t.Fatalf("example %d: %v\n%s", i, err, out)
				}
				if i == 0 {
					id = regexp.MustCompile(`lead_[0-9a-v]{23}`).FindString(string(out))
				}
			}
			if status, _ := r.call("PUT", "/api/v1/leads/"+id, `{"name":"x"}`); status != 404 {
				t.Errorf("after the delete an update got %d", status)
			}
		})
	}
}

// systemPython is the Python that Debian's packages belong to.
func systemPython() string {
	if _, err := os.Stat("/usr/bin/python3"); err == nil {
		return "/usr/bin/python3"
	}
	return "python3"
}
