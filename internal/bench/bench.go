package bench

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/leadrelay/leadrelay/internal/store"
)

// Options say what to measure. The zero value of a field takes the default that is named.
type Options struct {
	Program     string        // leadrelay's own executable
	Connections []int         // that post at once; 64 and 256
	For         time.Duration // of one measurement of accepting; 3 s
	Rounds      int           // in which the candidates take turns; 3
	Leads       int           // of the backlog that is drained; 20,000
	Samples     int           // of the idle measurement; 200
	Fsync       string        // redis-server's appendfsync; everysec
	Connectors  int           // webhooks beside the one measured, in the measurement of many; 4
	Only        []string      // sections; all

	Progress func(what string)
}

// Sections are the parts of a run.
var Sections = []string{"accept", "ways", "drain", "idle", "both", "kill", "memory"}

// Report is what a run measured.
type Report struct {
	Machine  Machine  `json:"machine"`
	Accept   []Accept `json:"accept,omitempty"`
	Ways     []Way    `json:"ways,omitempty"`
	Drain    []Drain  `json:"drain,omitempty"`
	Idle     *Idle    `json:"idle,omitempty"`
	Both     *Both    `json:"both,omitempty"`
	Kill     *Kill    `json:"kill,omitempty"`
	Memory   *Memory  `json:"memory,omitempty"`
	Ratios   []Ratio  `json:"ratios"`
	Duration string   `json:"duration"`
}

// Machine is where a run was made.
type Machine struct {
	CPUs        int    `json:"cpus"`
	System      string `json:"system"`
	Go          string `json:"go"`
	AppendFsync string `json:"appendfsync"`
}

// Accept is how fast one candidate accepted leads: the median of its rounds.
type Accept struct {
	Candidate   string  `json:"candidate"` // leadrelay, leadrelay with so many connectors, or a yardstick
	Connections int     `json:"connections"`
	PerSecond   float64 `json:"per_second"`
	Latency
}

// Way is how fast leads were accepted in one way: the median of its rounds.
type Way struct {
	Way         string         `json:"way"`
	Connections int            `json:"connections"`
	PerSecond   float64        `json:"per_second"`
	CPU         *time.Duration `json:"ingest_cpu_per_lead_ns,omitempty"`
}

// Drain is how fast one candidate brought a backlog to the sink: the median of its rounds.
type Drain struct {
	Candidate string  `json:"candidate"`
	Leads     int     `json:"leads"`
	PerSecond float64 `json:"per_second"`
}

// Idle is how soon a lone lead arrives, and what doing nothing costs.
type Idle struct {
	Post      Latency       `json:"post"`    // from sending the POST to its answer
	Arrival   Latency       `json:"arrival"` // from sending the POST to arrival at the sink
	Restarted Latency       `json:"arrival_after_restart"`
	CPU       *float64      `json:"idle_cpu_percent,omitempty"` // of a core, ingest and worker together
	Ready     time.Duration `json:"start_to_ready_ns"`          // of Redis, worker and ingest, one after the other
}

// Both is accepting and draining at once.
type Both struct {
	AcceptedPerSecond float64 `json:"accepted_per_second"`
	InStepPerSecond   float64 `json:"in_step_per_second"`
}

// Kill is how long after a worker was killed in mid-backlog everything was in step.
type Kill struct {
	Leads  int           `json:"leads"`
	InStep time.Duration `json:"in_step_ns"`
}

// Memory is what leads in step cost.
type Memory struct {
	BytesPerLead      float64 `json:"redis_bytes_per_lead"`
	BytesPerConnector float64 `json:"redis_bytes_per_lead_and_further_connector"`
	IngestPeak        int64   `json:"ingest_peak_bytes,omitempty"` // resident, under load
	WorkerPeak        int64   `json:"worker_peak_bytes,omitempty"`
}

// Ratio is one figure over another of the same run: what can be compared between machines.
type Ratio struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
}

const leadrelay = "leadrelay"

// bench is one run.
type bench struct {
	Options
	sink   *sink
	dir    string
	report *Report
}

// Run measures. It needs the program redis-server.
func Run(ctx context.Context, opts Options) (*Report, error) {
	opts.setDefaults()
	dir, err := os.MkdirTemp("", "leadrelay-bench")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	s, err := newSink()
	if err != nil {
		return nil, err
	}
	defer s.close()
	b := &bench{Options: opts, sink: s, dir: dir, report: &Report{Machine: machine(opts.Fsync)}}
	began := time.Now()
	measures := []func(context.Context) error{b.accept, b.ways, b.drain, b.idle, b.both, b.kill, b.memory}
	for i, section := range Sections {
		if len(opts.Only) > 0 && !slices.Contains(opts.Only, section) {
			continue
		}
		if err := measures[i](ctx); err != nil {
			return nil, fmt.Errorf("%s: %w", section, err)
		}
	}
	b.report.Duration = time.Since(began).Round(time.Second).String()
	return b.report, nil
}

func (opts *Options) setDefaults() {
	if len(opts.Connections) == 0 {
		opts.Connections = []int{64, 256}
	}
	setDefault(&opts.For, 3*time.Second)
	setDefault(&opts.Rounds, 3)
	setDefault(&opts.Leads, 20_000)
	setDefault(&opts.Samples, 200)
	setDefault(&opts.Fsync, "everysec")
	setDefault(&opts.Connectors, 4)
	if opts.Progress == nil {
		opts.Progress = func(string) {}
	}
}

func machine(fsync string) Machine {
	return Machine{runtime.NumCPU(), runtime.GOOS + "/" + runtime.GOARCH, runtime.Version(), fsync}
}

func setDefault[T comparable](value *T, def T) {
	var zero T
	if *value == zero {
		*value = def
	}
}

func median(values []float64) float64 {
	slices.Sort(values)
	return values[len(values)/2]
}

func (b *bench) ratio(name string, value float64) {
	b.report.Ratios = append(b.report.Ratios, Ratio{name, value})
}

const formName = "bench"

const benchKey = "benchmark-key-of-leadrelay"

// config writes a configuration with so many webhooks to the sink and returns its path.
func (b *bench) config(redisURL string, connectors int) (string, error) {
	var text strings.Builder
	fmt.Fprintf(&text, "listen: 127.0.0.1:0\nredis: {url: %q}\n", redisURL)
	fmt.Fprintf(&text, "api_keys: [{name: bench, key: %q}]\nforms: [{name: %s, origins: ['*'], rate: {posts: 0}}]\nconnectors:\n", benchKey, formName)
	for n := range connectors {
		fmt.Fprintf(&text, "  - {name: %s, type: webhook, settings: {url: %q, allow_private: true}}\n", hookName(n), b.sink.url)
	}
	file, err := os.CreateTemp(b.dir, "config*.yaml")
	if err != nil {
		return "", err
	}
	defer file.Close()
	_, err = file.WriteString(text.String())
	return file.Name(), err
}

func hookName(n int) string { return fmt.Sprintf("hook%d", n) }

var (
	ingestReady    = regexp.MustCompile(`msg="accepting leads" address=(\S+)`)
	workerReady    = regexp.MustCompile(`msg="(connector ready)"`)
	yardstickReady = regexp.MustCompile(`^ready (\S*)$`)
)

func (b *bench) ingest(ctx context.Context, config string) (*process, error) {
	return start(ctx, ingestReady, b.Program, "ingest", "--config", config)
}

func (b *bench) worker(ctx context.Context, config string) (*process, error) {
	return start(ctx, workerReady, b.Program, "worker", "--config", config)
}

func (b *bench) yardstick(ctx context.Context, kind, redisURL string) (*process, error) {
	return start(ctx, yardstickReady, b.Program, "bench", "yardstick", kind, "--redis", redisURL, "--sink", b.sink.url)
}

// accept measures how fast leads are accepted.
func (b *bench) accept(ctx context.Context) error {
	many := fmt.Sprintf("%s, %d connectors", leadrelay, b.Connectors+1)
	type place struct {
		candidate   string
		connections int
	}
	rates, p50, p99 := map[place][]float64{}, map[place][]float64{}, map[place][]float64{}
	candidates := []string{Bare, HSet, leadrelay, Plain, many}
	for round := range b.Rounds {
		for _, connections := range b.Connections {
			for _, candidate := range candidates {
				b.Progress(fmt.Sprintf("accept, round %d of %d: %s at %d connections", round+1, b.Rounds, candidate, connections))
				connectors := 1
				if candidate == many {
					connectors += b.Connectors
				}
				got, err := b.acceptOnce(ctx, candidate, connectors, connections)
				if err != nil {
					return fmt.Errorf("%s: %w", candidate, err)
				}
				at := place{candidate, connections}
				rates[at] = append(rates[at], got.perSecond())
				p50[at] = append(p50[at], float64(got.Latency.P50))
				p99[at] = append(p99[at], float64(got.Latency.P99))
			}
		}
	}
	for _, connections := range b.Connections {
		of := func(values map[place][]float64, candidate string) float64 {
			return median(values[place{candidate, connections}])
		}
		for _, candidate := range candidates {
			b.report.Accept = append(b.report.Accept, Accept{candidate, connections, of(rates, candidate),
				Latency{time.Duration(of(p50, candidate)), time.Duration(of(p99, candidate))}})
		}
		for _, yardstick := range []string{Bare, HSet, Plain} {
			b.ratio(fmt.Sprintf("accept/%s at %d", yardstick, connections), of(rates, leadrelay)/of(rates, yardstick))
		}
		b.ratio(fmt.Sprintf("accept p99/%s p99 at %d", HSet, connections), of(p99, leadrelay)/of(p99, HSet))
		b.ratio(fmt.Sprintf("accept with %d connectors/with one at %d", b.Connectors+1, connections), of(rates, many)/of(rates, leadrelay))
	}
	return nil
}

func (b *bench) load(front *process) *load {
	return &load{address: front.ready, host: front.ready, key: benchKey}
}

func (b *bench) acceptOnce(ctx context.Context, candidate string, connectors, connections int) (outcome, error) {
	redis, err := startRedis(ctx, b.Fsync)
	if err != nil {
		return outcome{}, err
	}
	defer redis.close()
	var server *process
	if strings.HasPrefix(candidate, leadrelay) {
		config, err := b.config(redis.url, connectors)
		if err != nil {
			return outcome{}, err
		}
		server, err = b.ingest(ctx, config)
		if err != nil {
			return outcome{}, err
		}
	} else if server, err = b.yardstick(ctx, candidate, redis.url); err != nil {
		return outcome{}, err
	}
	defer server.kill()
	l := b.load(server)
	if _, err := l.during(ctx, connections, b.For/4); err != nil { // warm
		return outcome{}, err
	}
	return l.during(ctx, connections, b.For)
}

// ways measures how fast leads are accepted one by one, by a form, and in batches.
func (b *bench) ways(ctx context.Context) error {
	all := []Way{{Way: Create, Connections: b.Connections[0]}, {Way: Form, Connections: b.Connections[0]}, {Way: Batch, Connections: 2}}
	rates, cpus := map[string][]float64{}, map[string][]float64{}
	for round := range b.Rounds {
		for _, w := range all {
			b.Progress(fmt.Sprintf("ways, round %d of %d: %s at %d connections", round+1, b.Rounds, w.Way, w.Connections))
			rate, cpu, err := b.wayOnce(ctx, w)
			if err != nil {
				return fmt.Errorf("%s: %w", w.Way, err)
			}
			rates[w.Way], cpus[w.Way] = append(rates[w.Way], rate), append(cpus[w.Way], cpu)
		}
	}
	for i := range all {
		all[i].PerSecond = median(rates[all[i].Way])
		if cpu := time.Duration(median(cpus[all[i].Way])); cpu > 0 {
			all[i].CPU = &cpu
		}
	}
	b.report.Ways = all
	create, form, batch := all[0], all[1], all[2]
	b.ratio("form/create at "+strconv.Itoa(form.Connections), form.PerSecond/create.PerSecond)
	b.ratio("batch/create", batch.PerSecond/create.PerSecond)
	if create.CPU != nil && batch.CPU != nil {
		b.ratio("form/create per ingest core", float64(*create.CPU)/float64(*form.CPU))
		b.ratio("batch/create per ingest core", float64(*create.CPU)/float64(*batch.CPU))
	}
	return nil
}

// wayOnce returns how many leads were accepted a second, and what processor time of ingest each took, in ns; 0 where
// the system does not tell.
func (b *bench) wayOnce(ctx context.Context, w Way) (rate, cpu float64, err error) {
	redis, err := startRedis(ctx, b.Fsync)
	if err != nil {
		return 0, 0, err
	}
	defer redis.close()
	config, err := b.config(redis.url, 1)
	if err != nil {
		return 0, 0, err
	}
	front, err := b.ingest(ctx, config)
	if err != nil {
		return 0, 0, err
	}
	defer front.kill()
	l := b.load(front)
	l.way = w.Way
	if _, err := l.during(ctx, w.Connections, b.For/4); err != nil { // warm
		return 0, 0, err
	}
	before, told := front.cpu()
	got, err := l.during(ctx, w.Connections, b.For)
	if err != nil {
		return 0, 0, err
	}
	if after, _ := front.cpu(); told && got.Accepted > 0 {
		cpu = float64(after-before) / float64(got.Accepted)
	}
	return got.perSecond(), cpu, nil
}

// drain measures how fast a backlog gets in step.
func (b *bench) drain(ctx context.Context) error {
	rates := map[string][]float64{}
	candidates := []string{leadrelay, Asynq, Post}
	for round := range b.Rounds {
		for _, candidate := range candidates {
			b.Progress(fmt.Sprintf("drain, round %d of %d: %s, %d leads", round+1, b.Rounds, candidate, b.Leads))
			b.sink.reset()
			if err := b.drainOnce(ctx, candidate); err != nil {
				return fmt.Errorf("%s: %w", candidate, err)
			}
			rates[candidate] = append(rates[candidate], b.sink.rate())
		}
	}
	for _, candidate := range candidates {
		b.report.Drain = append(b.report.Drain, Drain{candidate, b.Leads, median(rates[candidate])})
	}
	b.ratio("drain/"+Asynq, median(rates[leadrelay])/median(rates[Asynq]))
	b.ratio("drain/"+Post, median(rates[leadrelay])/median(rates[Post]))
	return nil
}

func (b *bench) drainOnce(ctx context.Context, candidate string) error {
	if candidate == Post {
		return postAlone(ctx, b.sink.url, b.Leads)
	}
	redis, err := startRedis(ctx, b.Fsync)
	if err != nil {
		return err
	}
	defer redis.close()
	var drainer *process
	if candidate == Asynq {
		if err := fillPlain(ctx, redis.client, b.Leads); err != nil {
			return err
		}
		drainer, err = b.yardstick(ctx, Asynq, redis.url)
	} else {
		var config string
		if config, err = b.config(redis.url, 1); err != nil {
			return err
		}
		if err := b.fill(ctx, config, b.Leads); err != nil {
			return err
		}
		drainer, err = b.worker(ctx, config)
	}
	if err != nil {
		return err
	}
	defer drainer.kill()
	return b.arrive(ctx, b.Leads)
}

// fill has ingest accept n leads, with no worker beside it.
func (b *bench) fill(ctx context.Context, config string, n int) error {
	front, err := b.ingest(ctx, config)
	if err != nil {
		return err
	}
	defer front.kill()
	_, err = b.load(front).post(ctx, b.Connections[0], n)
	return err
}

// arriveWithin bounds how long leads may take to arrive at the sink.
const arriveWithin = 10 * time.Minute

func (b *bench) arrive(ctx context.Context, n int) error {
	ctx, cancel := context.WithTimeout(ctx, arriveWithin)
	defer cancel()
	if err := b.sink.wait(ctx, int64(n)); err != nil {
		return fmt.Errorf("%d of %d leads arrived: %w", b.sink.count.Load(), n, err)
	}
	return nil
}

// instance is an ingest and a worker on a Redis of their own.
type instance struct {
	redis         *redisServer
	config        string
	connectors    []string
	front, worker *process
}

func (b *bench) instance(ctx context.Context, connectors int) (i *instance, err error) {
	i = &instance{}
	for n := range connectors {
		i.connectors = append(i.connectors, hookName(n))
	}
	defer func() {
		if err != nil {
			i.close()
		}
	}()
	if i.redis, err = startRedis(ctx, b.Fsync); err != nil {
		return i, err
	}
	if i.config, err = b.config(i.redis.url, connectors); err != nil {
		return i, err
	}
	if i.worker, err = b.worker(ctx, i.config); err != nil {
		return i, err
	}
	i.front, err = b.ingest(ctx, i.config)
	return i, err
}

func (i *instance) close() {
	i.front.kill()
	i.worker.kill()
	i.redis.close()
}

// idle measures how soon a lone lead arrives.
func (b *bench) idle(ctx context.Context) error {
	i, err := b.instance(ctx, 1)
	if err != nil {
		return err
	}
	defer i.close()
	idle := &Idle{}
	b.Progress(fmt.Sprintf("idle: %d lone leads", b.Samples))
	if idle.Post, idle.Arrival, err = b.lone(ctx, i, b.Samples); err != nil {
		return err
	}
	i.worker.kill()
	if i.worker, err = b.worker(ctx, i.config); err != nil {
		return err
	}
	if _, idle.Restarted, err = b.lone(ctx, i, b.Samples/4); err != nil {
		return err
	}
	i.close()

	began := time.Now()
	quiet, err := b.instance(ctx, b.Connectors+1)
	if err != nil {
		return err
	}
	defer quiet.close()
	idle.Ready = time.Since(began)
	b.Progress("idle: processor time")
	before, told := quiet.cpu()
	began = time.Now()
	select {
	case <-time.After(max(5*time.Second, b.For)):
	case <-ctx.Done():
		return ctx.Err()
	}
	if after, _ := quiet.cpu(); told {
		percent := 100 * (after - before).Seconds() / time.Since(began).Seconds()
		idle.CPU = &percent
	}
	b.report.Idle = idle
	b.ratio("arrival p50/POST p50", float64(idle.Arrival.P50)/float64(idle.Post.P50))
	b.ratio("arrival p99/POST p50", float64(idle.Arrival.P99)/float64(idle.Post.P50))
	b.ratio("arrival p50 after restart/POST p50", float64(idle.Restarted.P50)/float64(idle.Post.P50))
	return nil
}

func (i *instance) cpu() (time.Duration, bool) {
	front, told := i.front.cpu()
	worker, also := i.worker.cpu()
	return front + worker, told && also
}

// lone posts leads one by one, each after the one before has arrived.
func (b *bench) lone(ctx context.Context, i *instance, n int) (post, arrival Latency, err error) {
	var posts, arrivals []time.Duration
	l := b.load(i.front)
	b.sink.reset()
	for k := range n {
		began := time.Now()
		got, err := l.post(ctx, 1, 1)
		if err != nil {
			return post, arrival, err
		}
		if err := b.arrive(ctx, k+1); err != nil {
			return post, arrival, err
		}
		posts = append(posts, got.Latency.P50)
		arrivals = append(arrivals, time.Duration(b.sink.last.Load()-began.UnixNano()))
	}
	return latencyOf(posts), latencyOf(arrivals), nil
}

// both measures accepting and draining at once.
func (b *bench) both(ctx context.Context) error {
	var accepted, inStep []float64
	for round := range b.Rounds {
		b.Progress(fmt.Sprintf("both at once, round %d of %d", round+1, b.Rounds))
		i, err := b.instance(ctx, 1)
		if err != nil {
			return err
		}
		l := b.load(i.front)
		_, err = l.during(ctx, b.Connections[0], b.For/4)
		before, began := b.sink.count.Load(), time.Now()
		var got outcome
		if err == nil {
			got, err = l.during(ctx, b.Connections[0], b.For)
		}
		arrived := float64(b.sink.count.Load()-before) / time.Since(began).Seconds()
		i.close()
		if err != nil {
			return err
		}
		accepted, inStep = append(accepted, got.perSecond()), append(inStep, arrived)
	}
	b.report.Both = &Both{median(accepted), median(inStep)}
	for _, d := range b.report.Drain {
		if d.Candidate == leadrelay {
			b.ratio("in step while accepting/drain alone", b.report.Both.InStepPerSecond/d.PerSecond)
		}
	}
	return nil
}

// kill measures how long after a worker was killed in mid-backlog all is in step.
func (b *bench) kill(ctx context.Context) error {
	const leads = 2000
	b.Progress("kill: a worker in mid-backlog")
	i, err := b.instance(ctx, 1)
	if err != nil {
		return err
	}
	defer i.close()
	b.sink.reset()
	l := b.load(i.front)
	if _, err := l.post(ctx, b.Connections[0], leads); err != nil {
		return err
	}
	i.worker.kill()
	killed := time.Now()
	if i.worker, err = b.worker(ctx, i.config); err != nil {
		return err
	}
	if err := i.drained(ctx); err != nil {
		return err
	}
	b.report.Kill = &Kill{leads, time.Since(killed)}
	return nil
}

// drained waits until every connector is in step.
func (i *instance) drained(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, arriveWithin)
	defer cancel()
	s, err := store.New(ctx, i.redis.client, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	defer s.Close()
	for {
		totals, err := s.Totals(ctx, i.connectors)
		if err != nil {
			return err
		}
		var backlog int64
		for _, t := range totals {
			backlog += t.Backlog
		}
		if backlog == 0 {
			return nil
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("%d leads are not in step", backlog)
		}
	}
}

// memory measures what leads in step cost, and the processes under load.
func (b *bench) memory(ctx context.Context) error {
	m := &Memory{}
	perLead := map[int]float64{}
	for _, connectors := range []int{1, b.Connectors + 1} {
		b.Progress(fmt.Sprintf("memory: %d leads, %d connectors", b.Leads, connectors))
		i, err := b.instance(ctx, connectors)
		if err != nil {
			return err
		}
		used, err := b.memoryOf(ctx, i)
		if err == nil && connectors == 1 {
			m.IngestPeak, _ = i.front.peakMemory()
			m.WorkerPeak, _ = i.worker.peakMemory()
		}
		i.close()
		if err != nil {
			return err
		}
		perLead[connectors] = used / float64(b.Leads)
	}
	m.BytesPerLead = perLead[1]
	m.BytesPerConnector = (perLead[b.Connectors+1] - perLead[1]) / float64(b.Connectors)
	b.report.Memory = m
	return nil
}

func (b *bench) memoryOf(ctx context.Context, i *instance) (float64, error) {
	before, err := i.redis.usedMemory(ctx)
	if err != nil {
		return 0, err
	}
	l := b.load(i.front)
	if _, err := l.post(ctx, b.Connections[0], b.Leads); err != nil {
		return 0, err
	}
	if err := i.drained(ctx); err != nil {
		return 0, err
	}
	after, err := i.redis.usedMemory(ctx)
	return float64(after - before), err
}
