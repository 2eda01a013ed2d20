package rig

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/leadrelay/leadrelay/internal/redistest"
)

// plan is what a round does.
type plan struct {
	seed     int64
	program  string
	load     time.Duration
	clients  int
	mix      mix
	faults   map[fault]int
	disturb  map[string]int // how often what is done to the processes, by weight; see disturbances
	pace     time.Duration  // between two disturbances, at most
	topology func(dir string) redistest.Topology
	patience time.Duration  // without progress, before the backlog counts as stuck
	inspect  func(r *round) // during load, where a test has something of its own to see
}

// usualPlan draws a climate by the seed: many clients or few, remotes that are mostly well or mostly not, processes
// that die often or seldom.
func usualPlan(t *testing.T, seed int64) plan {
	p := plan{
		seed: seed, program: build(t, ""), load: loadTime(0), clients: 8, mix: usualMix, faults: maps.Clone(usual),
		disturb: usualDisturbances, pace: 1500 * time.Millisecond, patience: 90 * time.Second,
		topology: func(dir string) redistest.Topology { return redistest.NewStandalone(dir) },
	}
	dice := rand.New(rand.NewPCG(uint64(seed), 4))
	p.clients = 4 + dice.IntN(9)
	p.mix.leads = 50 + dice.IntN(400)
	p.pace = time.Duration(500+dice.IntN(2500)) * time.Millisecond
	for _, f := range slices.Sorted(maps.Keys(p.faults)) {
		p.faults[f] = p.faults[f] * (dice.IntN(4) + 1) / 2
	}
	return p
}

// round is one run: processes, remotes, clients, and who disturbs them.
type round struct {
	plan
	t        *testing.T
	dir      string
	topology redistest.Topology
	redis    redis.UniversalClient // the same
	fronts   []*process
	workers  []*process
	pages    []string // where processes show their metrics
	secrets  map[string]string
	crowd    *crowd

	hook      *webhook
	list      *mailchimp
	tab       *sheets
	people    *pipedrive
	org       *salesforce
	file      string
	troubles  map[string]*trouble
	receivers []*httptest.Server

	began    time.Time
	done     map[string]int // disturbances
	snooped  atomic.Int64
	failedMu sync.Mutex
	failures []string
}

// remotes names the connectors that are over HTTP, in the order of round.receivers.
var remotes = []string{"hook", "list", "tab", "people", "org"}

const signingSecret = "whsec_czNjcjN0LXMxZ24xbmctazN5LXRoYXQtbXVzdC1ub3Qtc2hvdw=="

// dice returns a source of chance of its own for each purpose, so that one's use does not shift another's.
func (r *round) dice(purpose uint64) *rand.Rand {
	return rand.New(rand.NewPCG(uint64(r.seed), purpose))
}

// run does the whole round and returns what it found wrong.
func (p plan) run(t *testing.T) []string {
	t.Helper()
	t.Logf("seed %d", p.seed)
	dir, err := os.MkdirTemp("", "lr") // short: a socket's path is at most 104 bytes
	if err != nil {
		t.Fatal(err)
	}
	r := &round{plan: p, t: t, dir: dir, troubles: map[string]*trouble{}, done: map[string]int{}}
	stop := sync.OnceFunc(func() {
		for _, p := range r.processes() {
			p.Kill()
		}
		for _, s := range r.receivers {
			s.CloseClientConnections()
			s.Close()
		}
	})
	t.Cleanup(stop)
	r.startRemotes()
	r.startProcesses()

	r.underLoad()
	r.heal()
	problems := r.drain()
	if problems == nil {
		r.crowd.adopt()
		problems = r.compare()
	} else {
		problems = append(problems, r.hook.complaints()...)
	}
	problems = append(problems, r.logLeaks()...)
	r.failedMu.Lock()
	problems = append(problems, r.failures...)
	r.failedMu.Unlock()
	r.tell("compared")
	t.Logf("what was done to the processes: %v", r.done)
	stop()
	if len(problems) == 0 && !*keep {
		os.RemoveAll(dir)
	} else {
		t.Logf("logs and data are in %s", dir)
	}
	return problems
}

// check fails the test with what is wrong and says how to see it again.
func check(t *testing.T, p plan, problems []string) {
	t.Helper()
	if len(problems) == 0 {
		return
	}
	for _, problem := range problems[:min(len(problems), 25)] {
		t.Error(problem)
	}
	t.Errorf("%d problems; again: go test ./internal/rig -run '^%s$' -v -rig.seed %d -rig.round %s", len(problems), t.Name(), p.seed, p.load)
}

func (r *round) failed(format string, args ...any) {
	r.failedMu.Lock()
	defer r.failedMu.Unlock()
	r.failures = append(r.failures, fmt.Sprintf(format, args...))
}

func (r *round) processes() []*process {
	all := append(slices.Clone(r.fronts), r.workers...)
	if r.topology != nil {
		for _, s := range r.topology.Servers() {
			all = append(all, s.Process)
		}
	}
	return all
}

func (r *round) startRemotes() {
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(signingSecret, "whsec_"))
	if err != nil {
		r.t.Fatal(err)
	}
	r.hook, r.list, r.tab, r.people, r.org = newWebhook(key), newMailchimp(), newSheets(), newPipedrive(), newSalesforce(r.dice(20))
	r.file = filepath.Join(r.dir, "leads.csv")
	// echo repeats an address out of a request, as vendors' errors do.
	address := regexp.MustCompile(marker + `[^"@]*@people\.example`)
	for i, handler := range []http.Handler{r.hook, r.list, r.tab, r.people, r.org} {
		tr := newTrouble(handler, r.dice(uint64(10+i)), r.faults)
		tr.echo = func(body []byte) string { return string(address.Find(body)) }
		r.troubles[remotes[i]] = tr
		server := httptest.NewServer(tr)
		server.Config.ErrorLog = nil
		r.receivers = append(r.receivers, server)
	}
}

func (r *round) startProcesses() {
	t := r.t
	t.Helper()
	r.topology = r.plan.topology(r.dir)
	if err := r.topology.Start(); err != nil {
		t.Fatal(err)
	}
	r.redis = redis.NewUniversalClient(r.topology.Options())
	t.Cleanup(func() { r.redis.Close() })
	google, private, err := googleKey(r.receivers[2].URL)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(r.dir, "google.json"), google, 0o600); err != nil {
		t.Fatal(err)
	}
	const urlSecret = "u71-5ecre7-that-must-not-show"
	r.secrets = map[string]string{
		"the API key": apiKey, "Mailchimp's key": mailchimpKey, "Google's token": googleToken, "Google's key": private,
		"Pipedrive's token": pipedriveToken, "Salesforce's secret": salesforceSecret, "Salesforce's token": salesforceToken,
		"the webhook's signing secret": strings.TrimPrefix(signingSecret, "whsec_"), "the webhook's URL": urlSecret,
	}
	config := fmt.Sprintf(`
redis: %s
data_dir: %[2]s
log: {level: debug}
api_keys: [{name: rig, key: %[3]s}]
connectors:
  - name: hook
    type: webhook
    settings: {url: "%[4]s/in/%[5]s", secret: %[6]s, allow_private: true, timeout: %[7]s}
    retry: &retry {initial: 50ms, max: 1s, horizon: 72h}
    breaker: &breaker {failures: 8, probe: 200ms, probe_max: 1s}
  - name: list
    type: mailchimp
    settings: {api_key: %[8]s, list_id: %[9]s, base_url: "%[10]s", timeout: %[7]s}
    fields: [{to: FNAME, from: first_name}, {to: LNAME, from: last_name}, {to: NOTE, from: note}]
    retry: *retry
    breaker: *breaker
  - name: tab
    type: googlesheets
    settings: {credentials_file: %[2]s/google.json, spreadsheet_id: %[11]s, base_url: "%[12]s", timeout: %[7]s}
    limits: {rate: 1000, per: 1s, concurrency: 1}
    retry: *retry
    breaker: *breaker
  - name: file
    type: csv
    settings: {path: %[13]s}
    retry: *retry
    breaker: *breaker
  - name: people
    type: rest
    settings: {recipe: %[22]s, company: rig, api_token: %[14]s, lead_id_field: %[15]s, daily_tokens: 1000000000, reserve: 0, base_url: "%[16]s", timeout: %[7]s}
    fields: [{to: name, from: name}, {to: custom_fields.%[17]s, from: note}]
    limits: {rate: 1000, per: 1s}
    retry: *retry
    breaker: *breaker
  - name: org
    type: salesforce
    settings: {my_domain: rig, client_id: %[18]s, client_secret: %[19]s, external_id: %[20]s, reserve: 0, base_url: "%[21]s", timeout: %[7]s}
    limits: {rate: 1000, per: 1s}
    retry: *retry
    breaker: *breaker
`, redistest.Section(r.topology.Options()), r.dir, apiKey, r.receivers[0].URL, urlSecret, signingSecret, timeout,
		mailchimpKey, audience, r.receivers[1].URL, spreadsheetID, r.receivers[2].URL, r.file,
		pipedriveToken, leadIDField, r.receivers[3].URL, noteField,
		salesforceID, salesforceSecret, externalID, r.receivers[4].URL, r.pipedriveRecipe())
	path := filepath.Join(r.dir, "config.yaml")
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	program := func(verb, setting string, port int) func() *exec.Cmd {
		return func() *exec.Cmd {
			cmd := exec.Command(r.program, verb, "--config", path)
			cmd.Env = append(os.Environ(), fmt.Sprintf("%s=127.0.0.1:%d", setting, port))
			return cmd
		}
	}
	var fronts []string
	for i := range 2 {
		port := redistest.FreePort()
		url := fmt.Sprintf("http://127.0.0.1:%d", port)
		fronts = append(fronts, url)
		r.fronts = append(r.fronts, redistest.NewProcess(r.dir, fmt.Sprint("ingest-", i), program("ingest", "LEADRELAY_LISTEN", port)))
		port = redistest.FreePort()
		r.pages = append(r.pages, url, fmt.Sprintf("http://127.0.0.1:%d", port))
		r.workers = append(r.workers, redistest.NewProcess(r.dir, fmt.Sprint("worker-", i), program("worker", "LEADRELAY_WORKER_LISTEN", port)))
	}
	for _, p := range append(slices.Clone(r.fronts), r.workers...) {
		if err := p.Start(); err != nil {
			t.Fatal(err)
		}
	}
	if !within(2*time.Minute, r.ready) {
		for _, p := range append(slices.Clone(r.fronts), r.workers...) {
			t.Logf("%s: %s", p.Name, p.Tail(20))
		}
		t.Fatal("the processes did not become ready")
	}
	r.crowd = &crowd{mix: r.mix, fronts: fronts, failed: r.failed}
}

func (r *round) ready() bool {
	for _, page := range r.pages {
		if _, err := fetch(page + "/readyz"); err != nil {
			return false
		}
	}
	return true
}

// fetch gets a page that is answered 200.
func fetch(url string) ([]byte, error) {
	client := http.Client{Timeout: 10 * time.Second}
	resp, err := client.Get(url)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != 200 {
		err = fmt.Errorf("%d %s", resp.StatusCode, text)
	}
	return text, err
}

// underLoad lets the clients ask and disturbs everything until the time is over.
func (r *round) underLoad() {
	r.began = time.Now()
	var clients, others sync.WaitGroup
	for n := range r.clients {
		clients.Go(func() { r.crowd.run(n, r.dice(uint64(100+n))) })
	}
	over := make(chan struct{})
	others.Go(func() { r.disturbAll(over) })
	others.Go(func() {
		for {
			select {
			case <-over:
				return
			case <-time.After(5 * time.Second):
				r.tell("under load")
			}
		}
	})
	if r.inspect != nil {
		r.inspect(r)
	}
	time.Sleep(time.Until(r.began.Add(r.load)))
	r.crowd.stopped.Store(true)
	close(over)
	others.Wait()
	for _, tr := range r.troubles {
		tr.calm.Store(true)
	}
	r.heal()
	clients.Wait()
}

// heal ends all trouble: every process runs, every remote answers.
func (r *round) heal() {
	for _, tr := range r.troubles {
		tr.calm.Store(true)
	}
	r.org.well.Store(true)
	if err := r.topology.Heal(); err != nil {
		r.failed("%v", err)
	}
	for _, p := range append(slices.Clone(r.fronts), r.workers...) {
		p.Signal(syscall.SIGCONT)
		if !p.Running() {
			p.Start()
		}
	}
}

// tell prints one line on how far the round is.
func (r *round) tell(what string) {
	c := r.crowd
	c.mu.Lock()
	live := len(c.live)
	c.mu.Unlock()
	var counts []string
	for _, name := range remotes {
		requests, faults := r.troubles[name].count()
		counts = append(counts, fmt.Sprintf("%s %d/%d", name, requests, faults))
	}
	behind, parked, err := r.behind()
	standing := fmt.Sprintf("behind %v parked %v", behind, parked)
	if err != nil {
		standing = "no metrics"
	}
	r.t.Logf("%3.0fs %s: created %d updated %d deleted %d live %d, asked again %d, 503s %d; requests/faults: %s; %s",
		time.Since(r.began).Seconds(), what, c.created.Load(), c.updated.Load(), c.deleted.Load(), live,
		c.repeated.Load(), c.unavailable.Load(), strings.Join(counts, ", "), standing)
}

var gauge = regexp.MustCompile(`(?m)^leadrelay_(backlog|parked)\{connector="\w+"\} (\S+)$`)

// behind reads from the metrics how many leads are not in step, over all connectors.
func (r *round) behind() (backlog, parked float64, err error) {
	for _, page := range r.pages {
		var text []byte
		if text, err = fetch(page + "/metrics"); err != nil {
			continue
		}
		lines := gauge.FindAllSubmatch(text, -1)
		if want := 2 * (len(remotes) + 1); len(lines) != want {
			err = fmt.Errorf("%d of %d gauges", len(lines), want)
			continue
		}
		for _, m := range lines {
			n, _ := strconv.ParseFloat(string(m[2]), 64)
			if string(m[1]) == "backlog" {
				backlog += n
			} else {
				parked += n
			}
		}
		return backlog, parked, nil
	}
	return 0, 0, err
}

// drain waits until every connector is in step and stays so for a while, with nothing in flight.
func (r *round) drain() []string {
	least, changed, still := 1e18, time.Now(), time.Now()
	told := time.Now()
	for {
		backlog, parked, err := r.behind()
		var flying int64
		for _, tr := range r.troubles {
			flying += tr.flying.Load()
		}
		switch {
		case err == nil && parked > 0:
			return []string{fmt.Sprintf("%v leads are parked; no remote refused one", parked)}
		case err != nil || backlog > 0 || flying > 0:
			still = time.Now()
		case time.Since(still) > 2*time.Second:
			r.tell("drained")
			return nil
		}
		if err == nil && backlog < least {
			least, changed = backlog, time.Now()
		}
		if time.Since(changed) > r.patience && still.After(changed) {
			return []string{fmt.Sprintf("the backlog does not drain: %v leads wait (%v)\n%s\n%s", backlog, err, r.workers[0].Tail(15), r.workers[1].Tail(15))}
		}
		if time.Since(told) > 5*time.Second {
			r.tell("draining")
			told = time.Now()
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// compare says in what the remotes, the front end and Redis are not as accepted.
func (r *round) compare() (problems []string) {
	leads := r.crowd.leads
	add := func(more []string) { problems = append(problems, more...) }
	add(r.hook.compare(leads))
	add(r.list.compare(leads))
	add(r.tab.compare(leads))
	add(r.people.compare(leads))
	add(r.org.compare(leads))
	add(compareFile(r.file, leads))
	add(r.compareFront(leads))
	all, err := everything(r.redis, "*")
	if err != nil {
		add([]string{err.Error()})
	}
	add(r.remains(all))
	add(r.snoop())
	return problems
}

// compareFront says what the API shows otherwise than it was accepted.
func (r *round) compareFront(leads []*lead) (problems []string) {
	get := func(path string) (int, []byte) {
		ask := asking{crowd: r.crowd, client: http.DefaultClient, dice: r.dice(2)}
		status, body, _ := ask.until("GET", path, nil, "")
		return status, body
	}
	listed := map[string]bool{}
	for cursor := ""; ; {
		_, body := get("/api/v1/leads?limit=200&cursor=" + cursor)
		var page struct {
			Data []struct {
				ID string `json:"lead_id"`
			}
			Next string `json:"next_cursor"`
		}
		if err := json.Unmarshal(body, &page); err != nil {
			return []string{"front end: " + err.Error()}
		}
		for _, l := range page.Data {
			listed[l.ID] = true
		}
		if cursor = page.Next; cursor == "" {
			break
		}
	}
	for _, l := range leads {
		switch {
		case l.deleted && listed[l.id]:
			problems = append(problems, fmt.Sprintf("front end: %s is listed and was deleted: undead", l.id))
		case !l.deleted && !listed[l.id]:
			problems = append(problems, fmt.Sprintf("front end: %s is not listed: lost", l.id))
		case !l.deleted:
			if problem := l.differs(get("/api/v1/leads/" + l.id)); problem != "" {
				problems = append(problems, problem)
			}
		}
		delete(listed, l.id)
	}
	for id := range listed {
		problems = append(problems, fmt.Sprintf("front end: %s is listed and nobody knows of it: doubled", id))
	}
	return problems
}
