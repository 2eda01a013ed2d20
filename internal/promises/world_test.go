package promises

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"github.com/leadrelay/leadrelay/connectors"
	"github.com/leadrelay/leadrelay/ingest"
	"github.com/leadrelay/leadrelay/internal/lead"
	"github.com/leadrelay/leadrelay/internal/redistest"
	"github.com/leadrelay/leadrelay/internal/store"
	"github.com/leadrelay/leadrelay/worker"
)

const apiKey = "test-key-of-sixteen-and-more"

// patience is how long a test waits for what must come; it is never waited out when all is well.
const patience = 2 * time.Minute

// world is a Redis database, the remotes and any number of leadrelay processes on it.
type world struct {
	t       testing.TB
	redis   *redistest.Redis
	remotes []*remote
	dedupe  bool
	intake  worker.Intake
	clock   atomic.Int64                             // by how many ns Redis's clock is off
	clockOf func(address string) (off time.Duration) // and a Cluster's server's; may be nil
	logs    syncBuffer
}

func newWorld(t testing.TB, remotes ...*remote) *world {
	t.Helper()
	return newWorldOn(redistest.Start(t), t, remotes...)
}

func newWorldOn(r *redistest.Redis, t testing.TB, remotes ...*remote) *world {
	return &world{t: t, redis: r, remotes: remotes}
}

// process is one leadrelay process: front end and worker on a Redis connection of their own, that can die.
type process struct {
	world *world
	front *httptest.Server
	store *store.Store
	work  *worker.Worker
	dead  atomic.Bool
	armed atomic.Bool // it has started; from now on it can die
	stop  context.CancelFunc
	ended chan struct{}
}

var errDead = errors.New("the process is dead")

// step sees each Redis command or pipeline of a process, before and after it is carried out; it kills the
// process by returning true.
type step func(name string, after bool) (die bool)

// start runs a process. steps may be nil.
func (w *world) start(steps step) *process {
	w.t.Helper()
	p := &process{world: w, ended: make(chan struct{})}
	client := store.Connect(w.redis.Options())
	w.t.Cleanup(func() { client.Close() })
	client.AddHook(&mortal{p, steps})
	if cluster, ok := client.(*redis.ClusterClient); ok {
		cluster.OnNewNode(func(server *redis.Client) { server.AddHook(clock{w, server.Options().Addr}) })
	} else {
		client.AddHook(clock{w, ""})
	}
	log := slog.New(slog.NewTextHandler(&w.logs, &slog.HandlerOptions{Level: slog.LevelDebug}))

	known, list := w.connectors(p, "")
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var err error
	p.store, err = store.New(ctx, client, known, log)
	if err != nil {
		w.t.Error(err)
		return p
	}
	registry := prometheus.NewRegistry()
	p.front = httptest.NewServer(ingest.New(ingest.Options{
		Store: p.store, Log: log, Metrics: registry, Dedupe: w.dedupe,
		Keys: []ingest.Key{{Name: "test", Secret: apiKey, Scope: ingest.Full}},
	}))
	running, stop := context.WithCancel(context.Background())
	p.stop = stop
	p.work = worker.New(list, w.intake, worker.Options{Store: p.store, Log: log, Metrics: registry, Shutdown: 5 * time.Second})
	go func() {
		defer close(p.ended)
		if err := p.work.Run(running); err != nil && !p.dead.Load() {
			w.t.Error(err)
		}
	}()
	w.t.Cleanup(func() {
		stop()
		p.front.CloseClientConnections()
		p.front.Close()
		if !p.dead.Load() {
			<-p.ended
			p.store.Close()
		}
	})
	p.armed.Store(true)
	return p
}

// connectors are those to the remotes, as a configuration with a fingerprint has them.
func (w *world) connectors(p *process, fingerprint string, without ...string) (known []store.Connector, list []worker.Connector) {
	for _, r := range w.remotes {
		if slices.Contains(without, r.name) {
			continue
		}
		known = append(known, store.Connector{Name: r.name, Event: r.event})
		c := r.connector(p)
		c.Fingerprint = fingerprint
		list = append(list, c)
	}
	return known, list
}

// reload has the process work by another configuration.
func (p *process) reload(fingerprint string, without ...string) {
	p.world.t.Helper()
	known, list := p.world.connectors(p, fingerprint, without...)
	p.store.SetConnectors(known)
	if err := p.work.Reload(list, p.world.intake); err != nil {
		p.world.t.Error(err)
	}
}

// startPausable runs a process whose Redis commands hang from pause to resume, as after SIGSTOP and SIGCONT.
func (w *world) startPausable() (p *process, pause, resume func()) {
	w.t.Helper()
	freeze := make(chan struct{})
	var stopped atomic.Bool
	p = w.start(func(string, bool) bool {
		if stopped.Load() {
			<-freeze
		}
		return false
	})
	return p, func() { stopped.Store(true) }, func() { stopped.Store(false); close(freeze) }
}

// kill makes everything the process does from now on fail, as after kill -9.
func (p *process) kill() {
	p.dead.Store(true)
	p.stop() // nothing it does on its way out has an effect; it only saves the test's time
}

// shutdown ends the process in good order.
func (p *process) shutdown() {
	p.stop()
	<-p.ended
}

// mortal is the Redis connection of a process that can die at any step.
type mortal struct {
	process *process
	steps   step
}

func (m *mortal) DialHook(next redis.DialHook) redis.DialHook { return next }

func (m *mortal) at(name string, after bool) error {
	if m.process.dead.Load() {
		return errDead
	}
	if m.steps != nil && m.process.armed.Load() && m.steps(name, after) {
		m.process.kill()
		return errDead
	}
	return nil
}

func (m *mortal) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if err := m.at(cmd.Name(), false); err != nil {
			cmd.SetErr(err)
			return err
		}
		err := next(ctx, cmd)
		if dead := m.at(cmd.Name(), true); dead != nil {
			cmd.SetErr(dead)
			return dead
		}
		return err
	}
}

func (m *mortal) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		fail := func(err error) error {
			for _, cmd := range cmds {
				cmd.SetErr(err)
			}
			return err
		}
		if err := m.at(cmds[0].Name(), false); err != nil {
			return fail(err)
		}
		err := next(ctx, cmds)
		if dead := m.at(cmds[0].Name(), true); dead != nil {
			return fail(dead)
		}
		return err
	}
}

// clock is that of a server, as the test has set it.
type clock struct {
	world   *world
	address string
}

func (c clock) DialHook(next redis.DialHook) redis.DialHook { return next }

func (c clock) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (c clock) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		if now, ok := cmd.(*redis.TimeCmd); ok && err == nil {
			off := time.Duration(c.world.clock.Load())
			if c.world.clockOf != nil {
				off += c.world.clockOf(c.address)
			}
			now.SetVal(now.Val().Add(off))
		}
		return err
	}
}

// call makes an API request and returns the answer's status and body.
func (p *process) call(method, path, body string, headers ...string) (int, map[string]any) {
	p.world.t.Helper()
	req, err := http.NewRequest(method, p.front.URL+path, strings.NewReader(body))
	if err != nil {
		p.world.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+apiKey)
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, nil
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, nil
	}
	var answer map[string]any
	if err := json.Unmarshal(text, &answer); err != nil {
		p.world.t.Errorf("%s %s: the answer is not JSON: %s", method, path, text)
	}
	return resp.StatusCode, answer
}

// accepted makes a request that must be accepted, and again where the machine had too much to do for it.
func (p *process) accepted(method, path, body string, headers ...string) map[string]any {
	p.world.t.Helper()
	for end := time.Now().Add(patience); ; {
		status, answer := p.call(method, path, body, headers...)
		if status == 200 {
			return answer
		}
		if status != 503 || time.Now().After(end) {
			p.world.t.Fatalf("%s: got %d %v", method, status, answer)
		}
	}
}

// post creates a lead and returns its id.
func (p *process) post(body string, headers ...string) string {
	p.world.t.Helper()
	answer := p.accepted("POST", "/api/v1/leads", body, headers...)
	return answer["data"].(map[string]any)["lead_id"].(string)
}

func (p *process) put(id, body string) {
	p.world.t.Helper()
	p.accepted("PUT", "/api/v1/leads/"+id, body)
}

// remove deletes a lead. One that was answered 503 may have been deleted all the same: then its repeat finds none.
func (p *process) remove(id string) {
	p.world.t.Helper()
	for end, repeated := time.Now().Add(patience), false; ; repeated = true {
		status, answer := p.call("DELETE", "/api/v1/leads/"+id, "")
		if status == 200 || status == 404 && repeated {
			return
		}
		if status != 503 || time.Now().After(end) {
			p.world.t.Fatalf("DELETE: got %d %v", status, answer)
		}
	}
}

// standing is what the API tells of a lead and a connector.
func (p *process) standing(id, connector string) map[string]any {
	_, answer := p.call("GET", "/api/v1/leads/"+id, "")
	data, _ := answer["data"].(map[string]any)
	all, _ := data["connectors"].([]any)
	for _, one := range all {
		if st := one.(map[string]any); st["name"] == connector {
			return st
		}
	}
	return nil
}

// inStep waits until no connector has a backlog.
func (p *process) inStep() {
	p.world.t.Helper()
	var names []string
	for _, r := range p.world.remotes {
		names = append(names, r.name)
	}
	p.world.eventually("every connector in step", func() bool { return inStepNow(p, names...) })
}

// eventually waits for a condition.
func (w *world) eventually(what string, condition func() bool) {
	w.t.Helper()
	for end := time.Now().Add(patience); !condition(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			w.t.Errorf("waited %s in vain for: %s", patience, what)
			w.t.Log(w.logs.String())
			w.t.FailNow()
		}
	}
}

// remote is an outside system that keeps what it is given, and misbehaves as told. As many systems do, it makes
// a new record at each create: only looking first prevents doubles.
type remote struct {
	name    string
	event   bool
	batch   int                       // takes batches of so many, if not 0
	keyed   bool                      // knows its records by the lead's address
	shared  bool                      // makes one record of an address, whatever its id; see sharingClient
	lag     time.Duration             // how long its search does not know of a new record
	behave  func(c *call) error       // may be nil; see call
	tune    func(c *worker.Connector) // changes the connector's settings
	mu      sync.Mutex
	records map[string]record // by remote id
	events  []event
	calls   []string // "create", "update", "delete", "find", in order
	made    int
	batches []int
}

type record struct {
	lead     string
	revision int64
	email    string
	made     time.Time
}

// event is one change an event connector was told of.
type event struct {
	id       string
	lead     string
	op       lead.Op
	revision int64
	email    string
}

// call is one call of a remote, at one of two moments.
type call struct {
	ctx     context.Context
	op      string
	change  lead.Change
	process *process
	applied bool // false: asked before anything is done; true: asked with the change applied, the answer not sent
}

func newRemote(name string) *remote { return &remote{name: name, records: map[string]record{}} }

func newEventRemote(name string) *remote {
	r := newRemote(name)
	r.event = true
	return r
}

// connector is the remote as a process of its own sees it.
func (r *remote) connector(p *process) worker.Connector {
	base := &client{r, p}
	c := worker.Connector{
		Name: r.name, Kind: "test", Event: r.event, Connector: base, Concurrency: 8,
		Retry:   worker.Retry{Initial: 20 * time.Millisecond, Max: 200 * time.Millisecond, Horizon: time.Hour},
		Breaker: worker.Breaker{Failures: 1000, Probe: 50 * time.Millisecond, ProbeMax: time.Second},
	}
	switch {
	case r.event:
		c.Connector = eventClient{base}
	case r.batch > 0:
		c.Connector = batchClient{base}
	case r.keyed:
		c.Connector = keyedClient{base}
	case r.shared:
		c.Connector = sharingClient{base}
	}
	if r.tune != nil {
		r.tune(&c)
	}
	return c
}

// client is a connection to a remote; it is gone with its process.
type client struct {
	remote  *remote
	process *process
}

type eventClient struct{ client *client }

func (e eventClient) Push(ctx context.Context, change lead.Change, ref string) (string, error) {
	return e.client.Push(ctx, change, ref)
}

type batchClient struct{ *client }

func (b batchClient) MaxBatch() int { return b.remote.batch }

func (b batchClient) PushBatch(ctx context.Context, items []connectors.Item) []connectors.Result {
	b.remote.mu.Lock()
	b.remote.batches = append(b.remote.batches, len(items))
	b.remote.mu.Unlock()
	var results []connectors.Result
	for _, item := range items {
		ref, err := b.Push(ctx, item.Change, item.Ref)
		results = append(results, connectors.Result{Ref: ref, Err: err})
	}
	return results
}

type keyedClient struct{ *client }

func (k keyedClient) Key(l lead.Lead) string { return "key of " + lead.NormalEmail(l.Email) }

// Push moves a record to the key of the lead's address, in one step as a mailing list does.
func (k keyedClient) Push(ctx context.Context, change lead.Change, ref string) (string, error) {
	if err := k.moment(ctx, string(change.Op), change, false); err != nil {
		return "", err
	}
	r, key := k.remote, ""
	r.mu.Lock()
	r.calls = append(r.calls, string(change.Op))
	delete(r.records, ref)
	if change.Op != lead.Delete {
		key = k.Key(change.Lead)
		r.records[key] = record{change.Lead.ID, change.Lead.Revision, change.Lead.Email, time.Now()}
	}
	r.mu.Unlock()
	return key, k.moment(ctx, string(change.Op), change, true)
}

// sharingClient is of a CRM that has one record for an address, and an id for it: a create adopts what is there.
type sharingClient struct{ *client }

func (s sharingClient) SharesRecords() bool { return true }

func (c *client) Push(ctx context.Context, change lead.Change, ref string) (string, error) {
	r := c.remote
	if err := c.moment(ctx, string(change.Op), change, false); err != nil {
		return "", err
	}
	r.mu.Lock()
	r.calls = append(r.calls, string(change.Op))
	switch {
	case r.event:
		r.events = append(r.events, event{change.ID, change.Lead.ID, change.Op, change.Lead.Revision, change.Lead.Email})
	case change.Op == lead.Delete:
		delete(r.records, ref)
	default:
		if r.shared {
			ref = r.adopt(ref, change.Lead)
		}
		if ref == "" {
			r.made++
			ref = fmt.Sprintf("remote-%d", r.made)
		}
		made := time.Now()
		if had, there := r.records[ref]; there {
			made = had.made
		}
		r.records[ref] = record{change.Lead.ID, change.Lead.Revision, change.Lead.Email, made}
	}
	r.mu.Unlock()
	if err := c.moment(ctx, string(change.Op), change, true); err != nil {
		return "", err
	}
	return ref, nil
}

// adopt is the record that a CRM which has one for each address writes, "" for a new one: that of the address where the
// one with the ref is gone or, as no record may take another's address, where there are both.
func (r *remote) adopt(ref string, l lead.Lead) string {
	if _, there := r.records[ref]; !there {
		ref = ""
	}
	for other, have := range r.records {
		if lead.NormalEmail(have.email) == lead.NormalEmail(l.Email) {
			ref = other
		}
	}
	return ref
}

func (c *client) Find(ctx context.Context, l lead.Lead) (string, bool, error) {
	if err := c.moment(ctx, "find", lead.Change{Lead: l}, false); err != nil {
		return "", false, err
	}
	c.remote.mu.Lock()
	defer c.remote.mu.Unlock()
	c.remote.calls = append(c.remote.calls, "find")
	for ref, have := range c.remote.records {
		if have.lead == l.ID && time.Since(have.made) >= c.remote.lag {
			return ref, true, nil
		}
	}
	return "", false, nil
}

func (c *client) Settles() time.Duration { return 2 * c.remote.lag }

// moment lets the remote misbehave and the process die.
func (c *client) moment(ctx context.Context, op string, change lead.Change, applied bool) error {
	if c.process.dead.Load() {
		return errDead
	}
	if c.remote.behave != nil {
		if err := c.remote.behave(&call{ctx, op, change, c.process, applied}); err != nil {
			return err
		}
	}
	if c.process.dead.Load() {
		return errDead
	}
	return nil
}

// of lists the records the remote has of a lead.
func (r *remote) of(id string) []record {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []record
	for _, have := range r.records {
		if have.lead == id {
			all = append(all, have)
		}
	}
	return all
}

// told lists the events of a lead, a repeated one once.
func (r *remote) told(id string) []event {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []event
	for _, e := range r.events {
		if e.lead == id && !slices.ContainsFunc(all, func(had event) bool { return had.id == e.id }) {
			all = append(all, e)
		}
	}
	return all
}

func (r *remote) callsMade() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.calls)
}

// syncBuffer is a buffer for logs of many goroutines.
type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// fault is a connector's error.
func fault(f connectors.Fault, text string) error {
	return &connectors.Error{Fault: f, Err: errors.New(text)}
}

var storeQuery = store.Query{Limit: 100}

// inStepNow says whether no backlog is left.
func inStepNow(p *process, names ...string) bool {
	totals, err := p.store.Totals(context.Background(), names)
	if err != nil {
		return false
	}
	for _, t := range totals {
		if t.Backlog > 0 {
			return false
		}
	}
	return true
}
