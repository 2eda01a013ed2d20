package redistest

import (
	"context"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"

	"github.com/redis/go-redis/v9"
)

// Redis is one test's: an empty database that no other test uses.
type Redis struct {
	Client redis.UniversalClient // closed when the test ends
	on     *running
	db     int
}

// Start hands out a Redis until the test ends. Its servers may be others' as well; see StartAlone. Without
// redis-server the test is skipped by name; with LEADRELAY_NO_SKIP=1 it fails.
func Start(t testing.TB) *Redis {
	t.Helper()
	return start(t, chosen(t), false)
}

// StartAlone hands out a Redis whose servers are the test's alone: it may kill, pause and configure them.
func StartAlone(t testing.TB) *Redis {
	t.Helper()
	return start(t, chosen(t), true)
}

// StartCluster hands out a Cluster of the test's own, whatever other tests run on.
func StartCluster(t testing.TB) *Redis {
	t.Helper()
	return start(t, pools["cluster"], true)
}

// Main runs a package's tests and stops the servers that Start kept from one test to the next:
//
//	func TestMain(m *testing.M) { os.Exit(redistest.Main(m)) }
func Main(m *testing.M) int {
	defer func() {
		for _, p := range pools {
			p.stop()
		}
	}()
	return m.Run()
}

// Need skips the test by name where there is no redis-server.
func Need(t testing.TB) {
	t.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil {
		if os.Getenv("LEADRELAY_NO_SKIP") != "" {
			t.Fatal("redis-server is not installed: apt-get install redis-server")
		}
		t.Skip("needs a real redis-server: apt-get install redis-server, or brew install redis")
	}
}

// chosen are the servers that tests run on.
func chosen(t testing.TB) *servers {
	t.Helper()
	name := os.Getenv("LEADRELAY_TEST_REDIS")
	p, ok := pools[name]
	if !ok {
		t.Fatalf("LEADRELAY_TEST_REDIS is %q; it may be sentinel, cluster or empty", name)
	}
	return p
}

func start(t testing.TB, p *servers, alone bool) *Redis {
	t.Helper()
	Need(t)
	r, err := p.take(alone)
	if err != nil {
		t.Fatal(err)
	}
	r.Client = redis.NewUniversalClient(r.Options())
	t.Cleanup(func() {
		if err := r.clean(); err != nil {
			t.Error(err)
		}
		r.Client.Close()
		p.give(r, alone)
	})
	return r
}

// Options are how clients connect.
func (r *Redis) Options() *redis.UniversalOptions {
	o := r.on.Options()
	o.DB = r.db
	return o
}

// Keys lists the keys that match a pattern.
func (r *Redis) Keys(t testing.TB, pattern string) []string {
	t.Helper()
	var all []string
	err := EachMaster(r.Client, func(ctx context.Context, c *redis.Client) error {
		keys, err := c.Keys(ctx, pattern).Result()
		all = append(all, keys...)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// Configure sets a directive of redis.conf until the test ends.
func (r *Redis) Configure(t testing.TB, directive, value string) {
	t.Helper()
	set := func(value string) error {
		return EachMaster(r.Client, func(ctx context.Context, c *redis.Client) error {
			return c.ConfigSet(ctx, directive, value).Err()
		})
	}
	was, err := r.Client.ConfigGet(context.Background(), directive).Result()
	if err == nil {
		err = set(value)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { set(was[directive]) })
}

// Signal sends a signal, such as SIGSTOP, to every server.
func (r *Redis) Signal(signal syscall.Signal) {
	for _, s := range r.on.Servers() {
		s.Signal(signal)
	}
}

// Kill ends every server as kill -9 does.
func (r *Redis) Kill() {
	for _, s := range r.on.Servers() {
		s.Kill()
	}
}

// Restart starts the servers again on the data they left, after Kill.
func (r *Redis) Restart(t testing.TB) {
	t.Helper()
	if err := r.on.Heal(); err != nil {
		t.Fatal(err)
	}
}

// clean leaves the Redis as the next test is to find it.
func (r *Redis) clean() error {
	if err := r.on.Heal(); err != nil {
		return err
	}
	return EachMaster(r.Client, func(ctx context.Context, c *redis.Client) error { return c.FlushDB(ctx).Err() })
}

// EachMaster calls do with a client of each server that holds a part of the data, one after another.
func EachMaster(client redis.UniversalClient, do func(ctx context.Context, c *redis.Client) error) error {
	ctx := context.Background()
	if c, ok := client.(*redis.ClusterClient); ok {
		var one sync.Mutex // ForEachMaster calls all at once
		return c.ForEachMaster(ctx, func(ctx context.Context, c *redis.Client) error {
			one.Lock()
			defer one.Unlock()
			return do(ctx, c)
		})
	}
	return do(ctx, client.(*redis.Client))
}

// running is a topology that runs, with its databases that nobody uses.
type running struct {
	Topology
	dir  string
	free []int
}

// servers are those of one kind of topology, for as many tests as come.
type servers struct {
	new func(dir string) Topology
	// atOnce is how many may run: what has one database alone is needed for each test that runs.
	atOnce int

	mu       sync.Mutex
	changed  *sync.Cond
	all      []*running
	starting int
}

func newServers(atOnce int, new func(dir string) Topology) *servers {
	p := &servers{new: new, atOnce: atOnce}
	p.changed = sync.NewCond(&p.mu)
	return p
}

// pools are the servers by what LEADRELAY_TEST_REDIS calls them.
var pools = map[string]*servers{
	"":         newServers(1, func(dir string) Topology { return NewStandalone(dir) }),
	"sentinel": newServers(1, func(dir string) Topology { return NewSentinel(dir) }),
	"cluster":  newServers(12, func(dir string) Topology { return NewCluster(dir) }),
}

// take returns a Redis that is free, starts one, or waits for one.
func (p *servers) take(alone bool) (*Redis, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		for _, r := range p.all {
			if len(r.free) == r.databases() || len(r.free) > 0 && !alone {
				taken := &Redis{on: r, db: r.free[0]}
				if r.free = r.free[1:]; alone {
					r.free = nil
				}
				return taken, nil
			}
		}
		if len(p.all)+p.starting == p.atOnce {
			p.changed.Wait()
			continue
		}
		p.starting++
		p.mu.Unlock()
		r, err := p.run()
		p.mu.Lock()
		p.starting--
		p.changed.Broadcast()
		if err != nil {
			return nil, err
		}
		p.all = append(p.all, r)
	}
}

// give takes a Redis back, for whoever comes next.
func (p *servers) give(r *Redis, alone bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if r.on.free = append(r.on.free, r.db); alone {
		r.on.free = all(r.on)
	}
	p.changed.Broadcast()
}

func (p *servers) stop() {
	for _, r := range p.all {
		r.end()
	}
}

// run starts one. Another process may be quicker to take one of its ports; then it gets others.
func (p *servers) run() (*running, error) {
	for attempt := 1; ; attempt++ {
		dir, err := os.MkdirTemp("", "lr") // short: a socket's path is at most 104 bytes
		if err != nil {
			return nil, err
		}
		r := &running{Topology: p.new(dir), dir: dir}
		if err = r.Start(); err == nil {
			r.free = all(r)
			return r, nil
		}
		if r.end(); attempt == 3 {
			return nil, err
		}
	}
}

func (r *running) end() {
	Stop(r)
	os.RemoveAll(r.dir)
}

// all are the databases of a topology.
func all(t Topology) (dbs []int) {
	for db := range t.databases() {
		dbs = append(dbs, db)
	}
	return dbs
}
