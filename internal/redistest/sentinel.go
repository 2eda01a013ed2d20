package redistest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// Sentinel is a master and a replica under three Sentinels.
type Sentinel struct {
	nodes     [2]*Server
	ports     [2]int
	sentinels [3]*Server

	mu     sync.Mutex
	master int // who was, when we looked last
}

const masterName = "mymaster"

// NewSentinel keeps logs and data in dir.
func NewSentinel(dir string) *Sentinel {
	s := &Sentinel{}
	for i := range s.nodes {
		s.ports[i] = FreePort()
		s.nodes[i] = newServer(dir, fmt.Sprint("redis-", i), s.ports[i], "--repl-diskless-sync-delay", "0")
	}
	s.nodes[1].with(s.replicaOf(0)...)
	for i := range s.sentinels {
		name, port := fmt.Sprint("sentinel-", i), FreePort()
		one := serverAt(dir, name, fmt.Sprintf("127.0.0.1:%d", port))
		file := filepath.Join(one.Dir, "sentinel.conf")
		one.Process = NewProcess(dir, name, func() *exec.Cmd { return exec.Command("redis-server", file, "--sentinel") })
		s.sentinels[i] = one
	}
	return s
}

func (s *Sentinel) replicaOf(node int) []string {
	return []string{"--replicaof", fmt.Sprintf("127.0.0.1 %d", s.ports[node])}
}

// Start waits until a failover is possible.
func (s *Sentinel) Start() error {
	for _, one := range s.sentinels {
		if err := os.MkdirAll(one.Dir, 0o700); err != nil {
			return err
		}
		_, port, _ := strings.Cut(one.address(), ":")
		// A machine with too much to do is not to be taken for a dead master; Kill lets them be quicker.
		conf := fmt.Sprintf("port %s\nbind 127.0.0.1\ndir %s\nsentinel monitor %[3]s 127.0.0.1 %d 2\n"+
			"sentinel down-after-milliseconds %[3]s %d\nsentinel failover-timeout %[3]s 3000\n",
			port, one.Dir, masterName, s.ports[0], patient.Milliseconds())
		if err := os.WriteFile(filepath.Join(one.Dir, "sentinel.conf"), []byte(conf), 0o600); err != nil {
			return err
		}
	}
	return s.Heal()
}

const (
	patient = 10 * time.Minute
	quick   = time.Second
)

func (s *Sentinel) Heal() error {
	if err := startAll(s.Servers()); err != nil {
		return err
	}
	return ofOneMind(s.Servers(), func() bool { return s.agreed() && s.follows() })
}

// replication is a line of what a node tells of it, "" if there is none.
func (s *Sentinel) replication(node int, line string) string {
	info, _ := s.nodes[node].Client.Info(context.Background(), "replication").Result()
	_, rest, _ := strings.Cut(info, line+":")
	value, _, _ := strings.Cut(rest, "\r")
	return value
}

func (s *Sentinel) follows() bool { return s.replication(1-s.master, "master_link_status") == "up" }

// replicated says whether the replica has what the master has.
func (s *Sentinel) replicated() bool {
	return s.follows() && s.replication(s.master, "master_repl_offset") == s.replication(1-s.master, "slave_repl_offset")
}

// agreed says whether every Sentinel knows the others and the replica.
func (s *Sentinel) agreed() bool {
	for _, one := range s.sentinels {
		info, err := one.Client.Info(context.Background(), "sentinel").Result()
		if err != nil || !strings.Contains(info, "status=ok") || !strings.Contains(info, "slaves=1,sentinels=3") {
			return false
		}
	}
	return true
}

func (s *Sentinel) Options() *redis.UniversalOptions {
	o := &redis.UniversalOptions{MasterName: masterName}
	for _, one := range s.sentinels {
		o.Addrs = append(o.Addrs, one.address())
	}
	return o
}

func (s *Sentinel) Servers() []*Server { return append(s.nodes[:], s.sentinels[:]...) }

func (s *Sentinel) databases() int { return databases }

// Kill kills the master, waits until the Sentinels have made the replica master, and brings the old one back as its
// replica.
//
// Redis replicates behind its answers: what a master accepted in its last moments may die with it, and no client can
// help that. So the master first takes no more writes until the replica has them all, as Redis's own FAILOVER does;
// what is asked meanwhile hangs and fails.
func (s *Sentinel) Kill(int, time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !Within(20*time.Second, s.agreed) {
		return
	}
	ctx := context.Background()
	old, next := s.nodes[s.master], s.nodes[1-s.master]
	old.Client.Do(ctx, "CLIENT", "PAUSE", 10_000, "WRITE")
	if !Within(8*time.Second, s.replicated) {
		old.Client.Do(ctx, "CLIENT", "UNPAUSE")
		return
	}
	old.Kill()
	s.downAfter(quick)
	if Within(60*time.Second, func() bool { return s.replication(1-s.master, "role") == "master" }) {
		s.master = 1 - s.master
		next.with()
		old.with(s.replicaOf(s.master)...)
	}
	s.downAfter(patient)
	old.Start()
}

// downAfter sets for how long a master may be silent before the Sentinels take it for dead.
func (s *Sentinel) downAfter(d time.Duration) {
	for _, one := range s.sentinels {
		one.Client.Do(context.Background(), "SENTINEL", "SET", masterName, "down-after-milliseconds", d.Milliseconds())
	}
}
