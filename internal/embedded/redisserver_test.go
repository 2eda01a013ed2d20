//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package embedded

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

func pidOf(t *testing.T, s *Server) int {
	t.Helper()
	for line := range strings.SplitSeq(connect(t, s.URL()).Info(t.Context(), "server").Val(), "\r\n") {
		if v, ok := strings.CutPrefix(line, "process_id:"); ok {
			pid, _ := strconv.Atoi(v)
			return pid
		}
	}
	t.Fatal("no process id")
	return 0
}

// One left behind by a process that was killed is shut down, with all it holds, before another starts.
func TestP1Orphan(t *testing.T) {
	p := needRedisServer(t)
	data := t.TempDir()
	dir, err := privateDir(data)
	if err != nil {
		t.Fatal(err)
	}
	lock, err := p.takeOver(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	at, err := newSocket(dir)
	if err != nil {
		t.Fatal(err)
	}
	r := &redisServer{program: p, dir: dir, socket: at.path, lock: lock, log: slog.New(slog.DiscardHandler)}
	orphan, err := r.launch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { orphan.cmd.Process.Kill() })
	lock.Close() // as the death of its parent would
	c := connect(t, at.url())
	fill(t, c)
	want := contents(t, c)

	s := start(t, data, RedisServer)
	select {
	case <-orphan.exited:
	default:
		t.Error("two run at once")
	}
	same(t, "after the orphan", contents(t, connect(t, s.URL())), want)
}

func TestRestarted(t *testing.T) {
	needRedisServer(t)
	s := start(t, t.TempDir(), RedisServer)
	c := connect(t, s.URL())
	c.Set(t.Context(), "k", "v", 0)
	if err := syscall.Kill(pidOf(t, s), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it runs again", func() bool { return c.Get(t.Context(), "k").Val() == "v" })
	select {
	case <-s.Done():
		t.Error("done:", s.Err())
	default:
	}
}

func TestGivesUp(t *testing.T) {
	p := needRedisServer(t)
	data := t.TempDir()
	s := start(t, data, RedisServer)
	pid := pidOf(t, s)
	// From now on it cannot read its data.
	manifests, _ := filepath.Glob(filepath.Join(data, "redis", "appendonlydir", "*.manifest"))
	if len(manifests) == 0 {
		t.Skip("a version without a manifest:", p.version)
	}
	if err := os.WriteFile(manifests[0], []byte("nonsense\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	syscall.Kill(pid, syscall.SIGKILL)
	<-s.Done()
	if err := s.Err(); err == nil || !strings.Contains(err.Error(), "redis-server") {
		t.Error(err)
	}
	s.Close(t.Context())

	// And a start says why it fails.
	_, err := Start(t.Context(), Options{Dir: data, Engine: RedisServer})
	if err == nil || !strings.Contains(err.Error(), "manifest") {
		t.Error(err)
	}
}

// One that is too busy to answer is not taken for one that does not run.
func TestABusyOneRuns(t *testing.T) {
	needRedisServer(t)
	dir := t.TempDir()
	s := start(t, dir, RedisServer)
	pid := pidOf(t, s)
	syscall.Kill(pid, syscall.SIGSTOP)
	url, ok := Running(dir)
	syscall.Kill(pid, syscall.SIGCONT)
	if !ok || url != s.URL() {
		t.Error("not found:", url)
	}
}

// Ctrl-C in a terminal goes to the whole process group of leadrelay, which redis-server must not be in.
func TestOwnProcessGroup(t *testing.T) {
	needRedisServer(t)
	s := start(t, t.TempDir(), RedisServer)
	group, err := syscall.Getpgid(pidOf(t, s))
	if err != nil || group == syscall.Getpgrp() {
		t.Error("in leadrelay's group:", group, err)
	}
}

func TestCloseByForce(t *testing.T) {
	needRedisServer(t)
	s := start(t, t.TempDir(), RedisServer)
	pid := pidOf(t, s)
	syscall.Kill(pid, syscall.SIGSTOP) // it obeys nothing now
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Close(ctx); err == nil {
		t.Error("it stopped by itself")
	}
	if err := syscall.Kill(pid, 0); err == nil {
		t.Error("it is there still")
	}
}
