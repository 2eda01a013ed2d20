// Package redistest runs a real redis-server for a test.
package redistest

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// Server is a redis-server of the test's own, on a Unix socket, with an append-only file synced at each write.
type Server struct {
	URL  string
	dir  string
	args []string
	cmd  *exec.Cmd
}

// Start runs a redis-server until the test ends, with extra arguments such as "--maxmemory", "5mb". Without the
// program the test is skipped by name; with LEADRELAY_NO_SKIP=1 it fails.
func Start(t testing.TB, args ...string) *Server {
	t.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil {
		if os.Getenv("LEADRELAY_NO_SKIP") != "" {
			t.Fatal("redis-server is not installed: apt-get install redis-server")
		}
		t.Skip("needs a real redis-server: apt-get install redis-server, or brew install redis")
	}
	dir, err := os.MkdirTemp("", "lr") // short: a socket's path is at most 104 bytes
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{URL: "unix://" + filepath.Join(dir, "s"), dir: dir, args: args}
	t.Cleanup(func() {
		s.Kill()
		os.RemoveAll(dir)
	})
	s.Restart(t)
	return s
}

// Restart starts the server again on the data it left, after Kill.
func (s *Server) Restart(t testing.TB) {
	t.Helper()
	s.cmd = exec.Command("redis-server", append([]string{
		"--port", "0", "--unixsocket", filepath.Join(s.dir, "s"), "--dir", s.dir, "--save", "",
		"--appendonly", "yes", "--appendfsync", "always", "--maxmemory-policy", "noeviction",
		"--databases", "512", "--loglevel", "warning",
	}, s.args...)...)
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	client := s.Client(t, 0)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	for client.Ping(ctx).Err() != nil {
		if ctx.Err() != nil {
			t.Fatal("redis-server does not answer")
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// Client returns a client of one of the server's databases, closed when the test ends.
func (s *Server) Client(t testing.TB, db int) *redis.Client {
	t.Helper()
	options, err := redis.ParseURL(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	options.DB = db
	options.ContextTimeoutEnabled = true
	options.PoolSize = 64
	client := redis.NewClient(options)
	t.Cleanup(func() { client.Close() })
	return client
}

// Kill ends the server as kill -9 does.
func (s *Server) Kill() {
	if s.cmd != nil && s.cmd.Process != nil {
		s.cmd.Process.Kill()
		s.cmd.Wait()
		s.cmd = nil
	}
}

// Signal sends the server a signal, such as SIGSTOP.
func (s *Server) Signal(signal syscall.Signal) { s.cmd.Process.Signal(signal) }
