package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/leadrelay/leadrelay/connectors/connectortest"
	"github.com/leadrelay/leadrelay/internal/config"
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

// startUp runs `leadrelay up` on a data directory, with a csv connector and further ones, until the test ends or it
// is stopped.
func startUp(t *testing.T, dir, engine string, further ...string) *running {
	t.Helper()
	file := filepath.Join(dir, "config.yaml")
	text := fmt.Sprintf(`
listen: 127.0.0.1:0
data_dir: %[3]q
redis: {engine: %[2]q}
api_keys: [{name: backend, key: "${LEADRELAY_API_KEY}"}]
connectors:
  - {name: sheet, type: csv, settings: {path: %[1]q}}
`, filepath.Join(dir, "leads.csv"), engine, filepath.Join(dir, "data")) + strings.Join(further, "")
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
	key, err := os.ReadFile(filepath.Join(dir, "data", "api_key"))
	if err != nil {
		t.Fatal(err)
	}
	r.key = strings.TrimSpace(string(key))
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

// call makes an API request, and again where the machine had too much to do for it.
func (r *running) call(method, path, body string) (status int, text string) {
	r.t.Helper()
	wait(r.t, "an answer that is not 503", func() bool {
		status, text = r.callOnce(method, path, body)
		return status != 503
	})
	return status, text
}

func (r *running) callOnce(method, path, body string) (int, string) {
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

func engines(t *testing.T, test func(t *testing.T, dir, engine string)) {
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
			test(t, dir, engine)
		})
	}
}

func TestUpPutsALeadInTheSheetAndKeepsItOverARestart(t *testing.T) {
	engines(t, func(t *testing.T, dir, engine string) {
		r := startUp(t, dir, engine)
		id := r.post(`{"name":"John Doe","email":"john@gmail.com","source":"website","note":"n"}`)
		wait(t, "the row", func() bool { return strings.Contains(r.sheet(), id) })
		key := filepath.Join(dir, "data", "api_key")
		if info, err := os.Stat(key); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("the API key is kept as %v, %v; want mode 0600", info, err)
		}
		if !strings.Contains(r.out.String(), "API key     "+r.key) {
			t.Errorf("the key that was made is not printed: %s", r.out)
		}
		if code := r.stop(); code != 0 {
			t.Fatalf("up ended with %d: %s", code, r.out)
		}

		again := startUp(t, dir, engine)
		if again.key != r.key || strings.Contains(again.out.String(), r.key) {
			t.Errorf("the key was %s, and after a restart is %s or printed again: %s", r.key, again.key, again.out)
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

func TestUpTellsAWebhookOfEveryChange(t *testing.T) {
	engines(t, func(t *testing.T, dir, engine string) {
		var mu sync.Mutex
		var told []string
		var failed bool // every first attempt, so that each change is tried again
		receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			var event struct {
				Type string
				Data map[string]any
			}
			json.NewDecoder(r.Body).Decode(&event)
			mu.Lock()
			defer mu.Unlock()
			if failed = !failed; failed && len(told) < 2 {
				http.Error(w, "at first", http.StatusServiceUnavailable)
				return
			}
			told = append(told, fmt.Sprint(event.Type, " ", event.Data["revision"], " ", event.Data["email"]))
		}))
		defer receiver.Close()
		r := startUp(t, dir, engine, fmt.Sprintf("  - {name: hook, type: webhook, settings: {url: %q, allow_private: true}}\n", receiver.URL))
		id := r.post(`{"email":"a@example.com"}`)
		heard := func(events int) {
			wait(t, "the webhook to be told", func() bool { mu.Lock(); defer mu.Unlock(); return len(told) >= events })
		}
		for i, change := range [][2]string{{"PUT", `{"email":"b@example.com"}`}, {"DELETE", ""}} {
			heard(i + 1)
			if status, text := r.call(change[0], "/api/v1/leads/"+id, change[1]); status != 200 {
				t.Fatalf("%d %s", status, text)
			}
		}
		heard(3)
		if want := []string{"lead.created 1 a@example.com", "lead.updated 2 b@example.com", "lead.deleted 3 <nil>"}; !slices.Equal(told, want) {
			t.Errorf("the webhook was told %q, want %q", told, want)
		}
	})
}

func TestReceivePrintsTheEventsOfAWebhook(t *testing.T) {
	out := &output{}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan int, 1)
	go func() { ended <- run(ctx, []string{"receive", "--listen", "127.0.0.1:0"}, out, out) }()
	printed := regexp.MustCompile(`http://[^/]+/`)
	wait(t, "receive to listen", func() bool { return printed.MatchString(out.String()) })
	r := startUp(t, t.TempDir(), "in-process", fmt.Sprintf("  - {name: hook, type: webhook, settings: {url: %q, allow_private: true}}\n", printed.FindString(out.String())))
	id := r.post(`{"email":"a@example.com"}`)
	wait(t, "the event", func() bool {
		return strings.Contains(out.String(), id+"_1_hook") && strings.Contains(out.String(), `"type": "lead.created"`)
	})
	cancel()
	if code := <-ended; code != 0 {
		t.Errorf("receive ended with %d: %s", code, out)
	}
}

// TestOperatorsVerbs runs status, leads, pause, replay and resume beside a running up.
func TestOperatorsVerbs(t *testing.T) {
	engines(t, func(t *testing.T, dir, engine string) {
		r := startUp(t, dir, engine, fmt.Sprintf("  - {name: other, type: csv, settings: {path: %q}}\n", filepath.Join(dir, "other.csv")))
		verb := func(args ...string) string {
			t.Helper()
			var out, errs bytes.Buffer
			if code := run(context.Background(), append(args, "--config", filepath.Join(dir, "config.yaml")), &out, &errs); code != 0 {
				t.Fatalf("%v: %d %s", args, code, errs.String())
			}
			return out.String()
		}
		verb("pause", "sheet")
		pending := func(id string) bool {
			shown := ""
			wait(t, "the other connector", func() bool {
				shown = verb("leads", "show", id)
				return regexp.MustCompile(`other +in_step`).MatchString(shown)
			})
			return regexp.MustCompile(`sheet +pending`).MatchString(shown)
		}
		id := ""
		wait(t, "the pause to be heard", func() bool {
			id = r.post(`{"email":"jane@example.com"}`)
			if !pending(id) {
				return false
			}
			for range 5 { // else it may only be on its way: later ones would have carried it along
				pending(r.post(`{"email":"later@example.com"}`))
			}
			return pending(id)
		})
		if got := verb("status"); !strings.Contains(got, "paused") || !strings.Contains(got, "survives") {
			t.Errorf("status: %s", got)
		}
		if got := verb("leads", "show", "Jane@example.com"); !strings.Contains(got, id) || !strings.Contains(got, "pending") {
			t.Errorf("leads show: %s", got)
		}
		verb("resume", "sheet")
		wait(t, "the row", func() bool { return strings.Contains(r.sheet(), id) })
		inStep := func() bool { return regexp.MustCompile(`sheet +in_step`).MatchString(verb("leads", "show", id)) }
		wait(t, "in step", inStep)
		var lead struct {
			LeadID     string `json:"lead_id"`
			Revision   int64
			Connectors []struct {
				Name, State string
				Synced      int64 `json:"synced_revision"`
			}
		}
		if text := verb("leads", "show", id, "--json"); json.Unmarshal([]byte(text), &lead) != nil || lead.LeadID != id || lead.Revision != 1 ||
			len(lead.Connectors) != 2 || lead.Connectors[0].State != "in_step" || lead.Connectors[0].Synced != 1 {
			t.Errorf("leads show --json: %s", text)
		}
		if text := verb("leads", "show", id); !strings.Contains(text, "history") || !regexp.MustCompile(`sheet +create of revision 1 +in step`).MatchString(text) ||
			!regexp.MustCompile(`- +create of revision 1 +accepted`).MatchString(text) {
			t.Errorf("leads show tells no history: %s", text)
		}
		if text := verb("leads", "parked", "sheet", "--json"); strings.TrimSpace(text) != "[]" {
			t.Errorf("leads parked --json, with none: %s", text)
		}
		if got := verb("replay", "sheet", id); !strings.Contains(got, "pushed to sheet again") {
			t.Errorf("replay: %s", got)
		}
		wait(t, "in step again", inStep)
		for want, args := range map[string][]string{
			`{"connector":"other","state":"paused"}`:                      {"pause", "other"},
			`{"connector":"other","state":"open"}`:                        {"resume", "other"},
			fmt.Sprintf(`{"connector":"sheet","leads":1,"ids":[%q]}`, id): {"replay", "sheet", id},
			`{"connector":"sheet","leads":0}`:                             {"replay", "sheet", "--parked"},
			`"connector":"sheet","dry_run":true`:                          {"sync", "sheet", "--dry-run"},
		} {
			if got := verb(append(args, "--json")...); !strings.Contains(got, want) || !json.Valid([]byte(got)) {
				t.Errorf("%v --json: %s", args, got)
			}
		}
		var errs bytes.Buffer
		if code := run(context.Background(), []string{"pause", "shet", "--config", filepath.Join(dir, "config.yaml")}, io.Discard, &errs); code == 0 || !strings.Contains(errs.String(), "there are: sheet, other") {
			t.Errorf("pausing what is not there: %d %s", code, errs.String())
		}
	})
}

// pasted returns the curl that up printed, for a shell.
func (r *running) pasted() string {
	_, after, _ := strings.Cut(r.out.String(), "Post a lead:\n")
	command, _, _ := strings.Cut(after, "\nCtrl-C")
	return command
}

func TestThePrintedCurlWorksWhereverItIsPasted(t *testing.T) {
	if _, err := exec.LookPath("curl"); err != nil {
		connectortest.SkipOrFail(t, "curl is not installed: apt-get install curl")
	}
	dir := filepath.Join(t.TempDir(), "it's mine")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, address := range []string{"127.0.0.1:0", "0.0.0.0:0", ":0", "[::1]:0"} {
		if address == "[::1]:0" {
			probe, err := net.Listen("tcp", address)
			if err != nil {
				continue // this machine has no IPv6
			}
			probe.Close()
		}
		t.Setenv("LEADRELAY_LISTEN", address)
		r := startUp(t, dir, "in-process")
		var out []byte
		var err error
		wait(t, "an answer that is not busy", func() bool {
			shell := exec.Command("bash", "-euc", r.pasted())
			shell.Dir = t.TempDir()
			out, err = shell.CombinedOutput()
			return !strings.Contains(string(out), `"unavailable"`)
		})
		if err != nil || !strings.Contains(string(out), "Lead added successfully") {
			t.Errorf("listening on %s, the curl printed\n%s\ngot %v: %s", address, r.pasted(), err, out)
		}
		if code := r.stop(); code != 0 {
			t.Fatalf("up ended with %d: %s", code, r.out)
		}
	}
}

// outcome is how a command that is expected to end by itself did.
func outcome(args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	code = run(context.Background(), args, &out, &errs)
	return code, out.String(), errs.String()
}

// TestReadyAsksARunningUp is the health check of a container that has nothing else to ask with.
func TestReadyAsksARunningUp(t *testing.T) {
	dir := t.TempDir()
	r := startUp(t, dir, "in-process")
	file := filepath.Join(dir, "config.yaml")
	t.Setenv("LEADRELAY_LISTEN", strings.TrimPrefix(r.url, "http://"))
	if code, out, errs := outcome("ready", "--config", file); code != 0 || out != "ready\n" {
		t.Errorf("while it runs: %d %s %s", code, out, errs)
	}
	if code, _, errs := outcome("ready", r.url+"/nothing"); code != 1 || !strings.Contains(errs, "not ready: 404") {
		t.Errorf("of another page: %d %s", code, errs)
	}
	r.stop()
	if code, _, errs := outcome("ready", "--config", file); code != 1 || !strings.Contains(errs, "not ready: ") {
		t.Errorf("after it ended: %d %s", code, errs)
	}
}

func TestARedisThatDoesNotAnswerIsNamed(t *testing.T) {
	before := startTimeout
	startTimeout = 300 * time.Millisecond
	t.Cleanup(func() { startTimeout = before })
	t.Setenv("LEADRELAY_REDIS_URL", "redis://:hush@127.0.0.1:1")
	t.Setenv("LEADRELAY_API_KEY", "a-key-of-sixteen-characters")
	t.Chdir(t.TempDir())
	for _, verb := range []string{"status", "up"} {
		code, _, errs := outcome(verb)
		if code != 1 || !strings.Contains(errs, "leadrelay: redis.url: dial tcp 127.0.0.1:1: connect: connection refused; see that") || strings.Contains(errs, "hush") {
			t.Errorf("%s: %d %s", verb, code, errs)
		}
	}
}

// A front end has no vendor's secrets, a worker no API keys: neither asks for them.
func TestEachProcessNeedsOnlyItsOwnSecrets(t *testing.T) {
	before := startTimeout
	startTimeout = 100 * time.Millisecond
	t.Cleanup(func() { startTimeout = before })
	t.Setenv("LEADRELAY_REDIS_URL", "redis://127.0.0.1:1")
	t.Setenv("LEADRELAY_LISTEN", "127.0.0.1:0")
	write := func(text string) string {
		file := filepath.Join(t.TempDir(), "config.yaml")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	const missing = `
  - {name: list, type: mailchimp, settings: {api_key: "${NOT_SET}", list_id: a}}
  - {name: google, type: googlesheets, settings: {credentials_file: none.json, spreadsheet_id: a, sheet: b}}
`
	for command, file := range map[string]string{
		"ingest": write("api_keys: [{name: k, key: a-key-of-sixteen-characters}]\nconnectors:" + missing),
		"worker": write("tls: {cert_file: none, key_file: none}\napi_keys: [{name: k, key: \"${NOT_SET}\"}, {name: l, key_file: none}]\nconnectors: [{name: sheet, type: csv, settings: {path: a.csv}}]"),
		"status": write("api_keys: [{name: k, key: \"${NOT_SET}\"}]\nconnectors:" + missing),
	} {
		// It gets as far as its Redis.
		if code, _, errs := outcome(command, "--config", file); code != 1 || !strings.Contains(errs, "leadrelay: redis.url: ") {
			t.Errorf("%s: %d %s", command, code, errs)
		}
	}
	file := write("connectors:" + missing)
	if code, _, errs := outcome("worker", "--config", file); code != 1 ||
		!strings.Contains(errs, `connectors[0] "list": settings.api_key: the environment variable NOT_SET is not set`) ||
		!strings.Contains(errs, `connectors[1] "google": settings.credentials_file: none.json: no such file`) {
		t.Errorf("a worker without its secrets: %d %s", code, errs)
	}
}

func TestASecondUpIsToldWhatIsTaken(t *testing.T) {
	dir := t.TempDir()
	r := startUp(t, dir, "in-process")
	file := filepath.Join(dir, "config.yaml")
	code, _, errs := outcome("up", "--config", file)
	if want := "data_dir: another leadrelay is running on " + dir + "/data; set data_dir or LEADRELAY_DATA_DIR"; code != 1 || !strings.Contains(errs, want) {
		t.Errorf("on the same folder: %d %s", code, errs)
	}
	t.Setenv("LEADRELAY_LISTEN", strings.TrimPrefix(r.url, "http://"))
	code, _, errs = outcome("up", "--config", file)
	if want := "address already in use; is another leadrelay running? set listen or LEADRELAY_LISTEN to another address"; code != 1 || !strings.Contains(errs, want) {
		t.Errorf("on the same address: %d %s", code, errs)
	}
	if status, text := r.call("POST", "/api/v1/leads", `{"email":"a@example.com"}`); status != 200 {
		t.Errorf("the first then answers %d %s", status, text)
	}
}

// A key for forms is in every visitor's hands: it must not come to read leads because its variable is not set.
func TestUpMakesAFullKeyAndNoOther(t *testing.T) {
	dir := t.TempDir()
	c := &config.Config{DataDir: dir, MissingKeys: []config.MissingKey{
		{Name: "form", Scope: config.ScopeCreate, Variable: "FORM_KEY"},
		{Name: "backend", Scope: config.ScopeFull, Variable: "BACKEND_KEY"},
		{Name: "other", Scope: config.ScopeFull, Variable: "OTHER_KEY"},
	}}
	var log bytes.Buffer
	key, isNew, err := ownKey(c, config.Log{}.New(&log))
	if err != nil || !isNew || len(c.APIKeys) != 1 || c.APIKeys[0].Name != "backend" || c.APIKeys[0].Key.Reveal() != key {
		t.Errorf("got %v %v, and the keys %v", isNew, err, c.APIKeys)
	}
	for _, variable := range []string{"FORM_KEY", "OTHER_KEY"} {
		if !strings.Contains(log.String(), variable) {
			t.Errorf("that %s is left out is not said: %s", variable, log.String())
		}
	}
}

func TestAFileThatIsNamedMustBeThere(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, verb := range [][]string{{"up"}, {"ingest"}, {"worker"}, {"check"}, {"status"}, {"pause", "sheet"}} {
		code, _, errs := outcome(append(verb, "--config", "prod.yaml")...)
		if code != 1 || !strings.HasPrefix(errs, "leadrelay: prod.yaml: no such file; copy ") {
			t.Errorf("%v: %d %s", verb, code, errs)
		}
	}
}

func TestAWrongCommandLineSaysWhatIsRight(t *testing.T) {
	for line, wants := range map[string][]string{
		"stauts":           {"Did you mean this?", "status"},
		"leads shw x":      {"there are list, show and parked", "leadrelay leads --help"},
		"replay":           {"usage: leadrelay replay CONNECTOR [ID...]"},
		"pause a b":        {"usage: leadrelay pause CONNECTOR"},
		"status --jsn":     {"unknown flag: --jsn", "`leadrelay status --help` has examples"},
		"check a -c b":     {"name one file"},
		"check --config=":  {"--config: names no file"},
		"replay x y --bad": {"unknown flag"},
	} {
		code, out, errs := outcome(strings.Fields(line)...)
		if code != 1 || out != "" {
			t.Errorf("%s: got %d, on standard output %q", line, code, out)
		}
		for _, want := range wants {
			if !strings.Contains(errs, want) {
				t.Errorf("%s: %q is not said in %s", line, want, errs)
			}
		}
	}
}

func TestEveryCommandHasExamples(t *testing.T) {
	var walk func(cmd *cobra.Command)
	walk = func(cmd *cobra.Command) {
		if !cmd.Hidden && !strings.Contains(cmd.Example, "leadrelay "+strings.TrimPrefix(strings.TrimPrefix(cmd.CommandPath(), "leadrelay"), " ")) {
			t.Errorf("%s has the examples %q", cmd.CommandPath(), cmd.Example)
		}
		for _, below := range cmd.Commands() {
			walk(below)
		}
	}
	walk(commands())
}

func TestVersion(t *testing.T) {
	for _, args := range [][]string{{"version"}, {"--version"}} {
		if code, out, errs := outcome(args...); code != 0 || !strings.HasPrefix(out, "leadrelay ") || !strings.Contains(out, "go1.") {
			t.Errorf("%v: %d %s %s", args, code, out, errs)
		}
	}
}

func TestAShellCompletesConnectors(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(file, []byte("connectors: [{name: sheet, type: csv}, {name: hook, type: webhook}]"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, verb := range []string{"pause", "resume", "replay", "leads parked"} {
		args := append([]string{"__complete"}, strings.Fields(verb)...)
		if _, out, errs := outcome(append(args, "--config", file, "")...); !strings.HasPrefix(out, "sheet\nhook\n") {
			t.Errorf("%s: got %s %s", verb, out, errs)
		}
	}
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
