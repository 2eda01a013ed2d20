package rig

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/leadrelay/leadrelay/internal/redistest"
)

// TestP1P2P3P5P7SeparateProcessesKilledUnderLoad is the rig at its usual work; -rig.for lets it go on for hours.
func TestP1P2P3P5P7SeparateProcessesKilledUnderLoad(t *testing.T) {
	redistest.Need(t)
	seed := newSeed()
	for began := time.Now(); ; seed++ {
		p := usualPlan(t, seed)
		check(t, p, p.run(t))
		if t.Failed() || time.Since(began) >= *runFor {
			return
		}
	}
}

func TestP1P2P3SentinelFailsOverUnderLoad(t *testing.T) {
	redistest.Need(t)
	t.Parallel()
	p := usualPlan(t, newSeed())
	p.load = loadTime(12 * time.Second)
	p.topology = func(dir string) redistest.Topology { return redistest.NewSentinel(dir) }
	p.disturb = map[string]int{"kill worker": 1, "kill ingest": 1}
	p.pace = 4 * time.Second
	p.inspect = killsOneInMidLoad(t)
	check(t, p, p.run(t))
}

func TestP1P2P3MastersOfAClusterKilledUnderLoad(t *testing.T) {
	redistest.Need(t)
	t.Parallel()
	p := usualPlan(t, newSeed())
	p.load = loadTime(12 * time.Second)
	p.topology = func(dir string) redistest.Topology { return redistest.NewCluster(dir) }
	p.disturb = map[string]int{"kill redis": 1, "kill worker": 1, "kill ingest": 1, "lose jobs": 1, "snoop": 1}
	p.pace = 3 * time.Second
	p.inspect = killsOneInMidLoad(t)
	check(t, p, p.run(t))
}

// killsOneInMidLoad kills a server that has leads once the load is on, and sees that leads are accepted again.
func killsOneInMidLoad(t *testing.T) func(*round) {
	return func(r *round) {
		acceptsMore(t, r, 30)
		r.topology.Kill(int(r.seed), time.Second)
		acceptsMore(t, r, 20)
	}
}

func acceptsMore(t *testing.T, r *round, leads int64) {
	before := r.crowd.created.Load()
	if !within(60*time.Second, func() bool { return r.crowd.created.Load() > before+leads }) {
		t.Error("no leads are accepted")
	}
}

// refusal is a way in which Redis takes no more writes, until it is mended.
type refusal struct {
	fsync        string
	refuse, mend func(t *testing.T, s *redistest.Server)
}

var refusals = map[string]refusal{
	"its memory is full": {
		fsync:  "always",
		refuse: func(_ *testing.T, s *redistest.Server) { s.Client.ConfigSet(context.Background(), "maxmemory", "1") },
		mend:   func(_ *testing.T, s *redistest.Server) { s.Client.ConfigSet(context.Background(), "maxmemory", "0") },
	},
	"the disk is full": {
		fsync:  "everysec",
		refuse: func(t *testing.T, s *redistest.Server) { limitFiles(t, s, fileSize(t, s)) },
		mend:   func(t *testing.T, s *redistest.Server) { limitFiles(t, s, -1) },
	},
	"the disk is full under appendfsync always, and Redis ends": {
		fsync: "always",
		refuse: func(t *testing.T, s *redistest.Server) {
			limitFiles(t, s, fileSize(t, s))
			if !within(time.Minute, func() bool { return !s.Running() }) {
				t.Error("Redis goes on without room for its file")
			}
		},
		mend: func(t *testing.T, s *redistest.Server) {
			if err := s.Start(); err != nil {
				t.Error(err)
			}
		},
	},
}

// TestP1WhileRedisRefusesWritesLeadsAreAnswered503AndNothingAcceptedIsLost also sees that the answers are 503 and
// not something else: the clients know of no other that may be asked again.
func TestP1WhileRedisRefusesWritesLeadsAreAnswered503AndNothingAcceptedIsLost(t *testing.T) {
	redistest.Need(t)
	for name, how := range refusals {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if strings.Contains(name, "disk") {
				needPrlimit(t)
			}
			p := usualPlan(t, newSeed())
			p.load, p.disturb, p.clients = loadTime(5*time.Second), nil, 4
			p.topology = func(dir string) redistest.Topology {
				return redistest.NewStandalone(dir, "--appendfsync", how.fsync)
			}
			p.inspect = func(r *round) {
				s := r.topology.(*redistest.Standalone).Server
				c := r.crowd
				acceptsMore(t, r, 30)
				how.refuse(t, s)
				before := c.unavailable.Load()
				if !within(2*time.Minute, func() bool { return c.unavailable.Load() > before+20 }) {
					t.Error("leads are not answered 503")
				}
				how.mend(t, s)
				acceptsMore(t, r, 20)
			}
			check(t, p, p.run(t))
		})
	}
}

// needPrlimit skips the test by name where no process can be kept from growing its files.
func needPrlimit(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("prlimit"); err != nil {
		if os.Getenv("LEADRELAY_NO_SKIP") != "" {
			t.Fatal("prlimit is not installed: apt-get install util-linux")
		}
		t.Skip("needs prlimit, of Linux: apt-get install util-linux")
	}
}

// fileSize is the size of the append-only file.
func fileSize(t *testing.T, s *redistest.Server) int64 {
	files, err := filepath.Glob(filepath.Join(s.Dir, "appendonlydir", "*.incr.aof"))
	if err != nil || len(files) != 1 {
		t.Fatalf("%d append-only files: %v", len(files), err)
	}
	info, err := os.Stat(files[0])
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

// limitFiles lets no file of the server grow beyond a size, as a full disk would not; -1 lifts that.
func limitFiles(t *testing.T, s *redistest.Server, size int64) {
	limit := "unlimited"
	if size >= 0 {
		limit = fmt.Sprint(size)
	}
	out, err := exec.Command("prlimit", "--pid", fmt.Sprint(s.PID()), "--fsize="+limit+":").CombinedOutput()
	if err != nil {
		t.Errorf("prlimit: %v %s", err, out)
	}
}
