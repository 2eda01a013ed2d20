package rig

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// topology is the Redis under the program: how it is laid out, and how it dies.
type topology interface {
	start() error
	config() string // the redis section of config.yaml
	client() redis.UniversalClient
	kill(downFor time.Duration) // one server that has leads, and start it again
	servers() []*process        // all of them
	heal()
	stop()
}

// needRedis skips the test by name where there is no redis-server.
func needRedis(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil {
		if os.Getenv("LEADRELAY_NO_SKIP") != "" {
			t.Fatal("redis-server is not installed: apt-get install redis-server")
		}
		t.Skip("needs a real redis-server: apt-get install redis-server, or brew install redis")
	}
}

// server is one redis-server with an append-only file in a folder of its own.
type server struct {
	*process
	dir     string
	address string // of the client below
	network string
	own     *redis.Client

	mu    sync.Mutex
	extra []string
}

// newServer is reached at port, or by a socket where that is 0.
func newServer(dir, name string, port int, args ...string) *server {
	s := &server{dir: filepath.Join(dir, name), network: "tcp", address: fmt.Sprintf("127.0.0.1:%d", port)}
	at := []string{"--port", fmt.Sprint(port)}
	if port == 0 {
		s.network, s.address = "unix", filepath.Join(dir, "s")
		at = append(at, "--unixsocket", s.address)
	}
	s.process = newProcess(dir, name, func() *exec.Cmd {
		s.mu.Lock()
		defer s.mu.Unlock()
		all := append(append(at, "--dir", s.dir, "--bind", "127.0.0.1", "--save", "", "--appendonly", "yes",
			"--appendfsync", "always", "--maxmemory-policy", "noeviction", "--loglevel", "notice"), args...)
		all = append(all, s.extra...)
		// A file that may not grow is to be an error and not the end of the process.
		return exec.Command("sh", append([]string{"-c", `trap '' XFSZ; exec redis-server "$@"`, "sh"}, all...)...)
	})
	return s
}

func (s *server) start() error {
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return err
	}
	if err := s.process.start(); err != nil {
		return err
	}
	if s.own == nil {
		s.own = redis.NewClient(&redis.Options{Network: s.network, Addr: s.address, MaxRetries: -1, DialTimeout: time.Second})
	}
	if !within(30*time.Second, func() bool { return s.own.Ping(context.Background()).Err() == nil }) {
		return fmt.Errorf("%s does not answer:\n%s", s.name, s.tail(20))
	}
	return nil
}

// standalone is one redis-server.
type standalone struct{ server *server }

func newStandalone(dir string, _ *rand.Rand, args ...string) *standalone {
	return &standalone{newServer(dir, "redis", 0, args...)}
}

func (s *standalone) start() error { return s.server.start() }
func (s *standalone) config() string {
	return fmt.Sprintf("{url: %q}", "unix://"+s.server.address)
}
func (s *standalone) client() redis.UniversalClient { return s.server.own }
func (s *standalone) servers() []*process           { return []*process{s.server.process} }

func (s *standalone) kill(downFor time.Duration) {
	s.server.kill()
	time.Sleep(downFor)
	s.server.start()
}

func (s *standalone) heal() {
	s.server.signal(syscall.SIGCONT)
	if !s.server.running() {
		s.server.start()
	}
}

func (s *standalone) stop() { s.server.kill() }

// sentinel is a master and a replica under three Sentinels.
type sentinel struct {
	nodes     [2]*server
	ports     [2]int
	sentinels [3]*server
	at        []string
	failover  *redis.Client

	mu     sync.Mutex
	master int // who was, when we looked last
}

func newSentinel(dir string, dice *rand.Rand) *sentinel {
	s := &sentinel{}
	for i := range s.nodes {
		s.ports[i] = freePort(dice)
		s.nodes[i] = newServer(dir, fmt.Sprint("redis-", i), s.ports[i], "--repl-diskless-sync-delay", "0")
	}
	s.nodes[1].extra = s.replicaOf(0)
	for i := range s.sentinels {
		port := freePort(dice)
		sentinelDir := filepath.Join(dir, fmt.Sprint("sentinel-", i))
		s.at = append(s.at, fmt.Sprintf("127.0.0.1:%d", port))
		s.sentinels[i] = &server{dir: sentinelDir, network: "tcp", address: s.at[i]}
		s.sentinels[i].process = newProcess(dir, fmt.Sprint("sentinel-", i), func() *exec.Cmd {
			return exec.Command("redis-server", filepath.Join(sentinelDir, "sentinel.conf"), "--sentinel")
		})
	}
	return s
}

func (s *sentinel) replicaOf(node int) []string {
	return []string{"--replicaof", fmt.Sprintf("127.0.0.1 %d", s.ports[node])}
}

func (s *sentinel) start() error {
	for _, n := range s.nodes {
		if err := n.start(); err != nil {
			return err
		}
	}
	for i, n := range s.sentinels {
		if err := os.MkdirAll(n.dir, 0o700); err != nil {
			return err
		}
		_, port, _ := strings.Cut(s.at[i], ":")
		conf := fmt.Sprintf("port %s\nbind 127.0.0.1\ndir %s\nsentinel monitor rig 127.0.0.1 %d 2\n"+
			"sentinel down-after-milliseconds rig 2000\nsentinel failover-timeout rig 3000\n", port, n.dir, s.ports[0])
		if err := os.WriteFile(filepath.Join(n.dir, "sentinel.conf"), []byte(conf), 0o600); err != nil {
			return err
		}
		if err := n.start(); err != nil {
			return err
		}
	}
	s.failover = redis.NewFailoverClient(&redis.FailoverOptions{MasterName: "rig", SentinelAddrs: s.at})
	if !within(30*time.Second, func() bool { return s.replicated() && s.agreed() }) {
		return fmt.Errorf("the replica does not follow its master:\n%s", s.nodes[1].tail(20))
	}
	return nil
}

// replicated says whether the replica follows and has what the master has.
func (s *sentinel) replicated() bool {
	var at [2]string
	for i, n := range s.nodes {
		info, err := n.own.Info(context.Background(), "replication").Result()
		if err != nil || i != s.master && !(strings.Contains(info, "role:slave") && strings.Contains(info, "master_link_status:up")) {
			return false
		}
		field := "slave_repl_offset"
		if i == s.master {
			field = "master_repl_offset"
		}
		_, rest, _ := strings.Cut(info, field+":")
		at[i], _, _ = strings.Cut(rest, "\r")
	}
	return at[0] == at[1]
}

// agreed says whether every Sentinel knows the others and the replica.
func (s *sentinel) agreed() bool {
	for _, n := range s.sentinels {
		info, err := n.own.Info(context.Background(), "sentinel").Result()
		if err != nil || !strings.Contains(info, "slaves=1,sentinels=3") {
			return false
		}
	}
	return true
}

func (s *sentinel) config() string {
	return fmt.Sprintf("{url: %q, sentinel_master: rig}", "redis://"+strings.Join(s.at, ","))
}

func (s *sentinel) client() redis.UniversalClient { return s.failover }

func (s *sentinel) servers() []*process {
	var all []*process
	for _, n := range append(s.nodes[:], s.sentinels[:]...) {
		all = append(all, n.process)
	}
	return all
}

// kill kills the master, waits until the Sentinels have made the replica master, and brings the old one back as its
// replica.
//
// Redis replicates behind its answers: what a master accepted in its last moments may die with it, and no client can
// help that. So the master first takes no more writes until the replica has them all, as Redis's own FAILOVER does;
// what is asked meanwhile hangs and fails.
func (s *sentinel) kill(time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !within(20*time.Second, s.agreed) {
		return
	}
	ctx := context.Background()
	old, next := s.nodes[s.master], s.nodes[1-s.master]
	old.own.Do(ctx, "CLIENT", "PAUSE", 10_000, "WRITE")
	if !within(8*time.Second, s.replicated) {
		old.own.Do(ctx, "CLIENT", "UNPAUSE")
		return
	}
	old.kill()
	within(60*time.Second, func() bool {
		info, err := next.own.Info(context.Background(), "replication").Result()
		return err == nil && strings.Contains(info, "role:master")
	})
	s.master = 1 - s.master
	old.mu.Lock()
	old.extra = s.replicaOf(s.master)
	old.mu.Unlock()
	old.start()
}

func (s *sentinel) heal() {
	for _, p := range s.servers() {
		p.signal(syscall.SIGCONT)
	}
}

func (s *sentinel) stop() {
	for _, p := range s.servers() {
		p.kill()
	}
}

// cluster is a Redis Cluster of three masters.
type cluster struct {
	nodes [3]*server
	at    []string
	all   *redis.ClusterClient

	mu   sync.Mutex // one at a time is killed
	dice *rand.Rand
}

func newCluster(dir string, dice *rand.Rand) *cluster {
	c := &cluster{dice: dice}
	for i := range c.nodes {
		port, bus := freePort(dice), freePort(dice)
		c.at = append(c.at, fmt.Sprintf("127.0.0.1:%d", port))
		c.nodes[i] = newServer(dir, fmt.Sprint("redis-", i), port,
			"--cluster-enabled", "yes", "--cluster-port", fmt.Sprint(bus), "--cluster-node-timeout", "2000")
	}
	return c
}

func (c *cluster) start() error {
	ctx := context.Background()
	const slots = 16384
	for i, n := range c.nodes {
		if err := n.start(); err != nil {
			return err
		}
		if err := n.own.ClusterAddSlotsRange(ctx, i*slots/3, (i+1)*slots/3-1).Err(); err != nil {
			return err
		}
	}
	for _, n := range c.nodes[1:] {
		_, port, _ := strings.Cut(n.address, ":")
		bus := n.make().Args
		// CLUSTER MEET ip port bus-port: the bus is not at its usual offset.
		if err := c.nodes[0].own.Do(ctx, "CLUSTER", "MEET", "127.0.0.1", port, after(bus, "--cluster-port")).Err(); err != nil {
			return err
		}
	}
	c.all = redis.NewClusterClient(&redis.ClusterOptions{Addrs: c.at})
	if !within(30*time.Second, c.ok) {
		return fmt.Errorf("the cluster does not come together:\n%s", c.nodes[0].tail(20))
	}
	return nil
}

func after(args []string, name string) string {
	for i, a := range args {
		if a == name {
			return args[i+1]
		}
	}
	return ""
}

func (c *cluster) ok() bool {
	for _, n := range c.nodes {
		info, err := n.own.ClusterInfo(context.Background()).Result()
		if err != nil || !strings.Contains(info, "cluster_state:ok") || !strings.Contains(info, "cluster_known_nodes:3") {
			return false
		}
	}
	return true
}

func (c *cluster) config() string {
	return fmt.Sprintf("{url: %q, cluster: true}", "redis://"+strings.Join(c.at, ","))
}

func (c *cluster) client() redis.UniversalClient { return c.all }

func (c *cluster) servers() []*process {
	var all []*process
	for _, n := range c.nodes {
		all = append(all, n.process)
	}
	return all
}

func (c *cluster) kill(downFor time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.nodes[c.dice.IntN(len(c.nodes))]
	n.kill()
	time.Sleep(downFor)
	n.start()
	within(20*time.Second, c.ok)
}

func (c *cluster) heal() {
	for _, n := range c.nodes {
		n.signal(syscall.SIGCONT)
		if !n.running() {
			n.start()
		}
	}
	within(20*time.Second, c.ok)
}

func (c *cluster) stop() {
	for _, n := range c.nodes {
		n.kill()
	}
}
