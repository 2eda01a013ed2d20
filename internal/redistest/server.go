package redistest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// Server is one redis-server with a folder of its own.
type Server struct {
	*Process
	Dir    string
	Client *redis.Client // of this very server, whoever is master

	mu    sync.Mutex
	extra []string
}

// databases is how many a server has that is no part of a Cluster.
const databases = 512

// newServer is reached at port, or by a socket where that is 0. Its append-only file is synced at each write.
func newServer(dir, name string, port int, args ...string) *Server {
	address, at := fmt.Sprintf("127.0.0.1:%d", port), []string{"--port", fmt.Sprint(port), "--bind", "127.0.0.1"}
	if port == 0 {
		address = filepath.Join(dir, "s")
		at = append(at, "--unixsocket", address)
	}
	s := serverAt(dir, name, address)
	s.Process = NewProcess(dir, name, func() *exec.Cmd {
		s.mu.Lock()
		defer s.mu.Unlock()
		all := slices.Concat(at, []string{"--dir", s.Dir, "--save", "", "--appendonly", "yes", "--appendfsync", "always",
			"--maxmemory-policy", "noeviction", "--databases", fmt.Sprint(databases), "--loglevel", "notice"}, args, s.extra)
		// A file that may not grow is to be an error and not the end of the process.
		return exec.Command("sh", append([]string{"-c", `trap '' XFSZ; exec redis-server "$@"`, "sh"}, all...)...)
	})
	return s
}

func serverAt(dir, name, address string) *Server {
	return &Server{
		Dir: filepath.Join(dir, name),
		// Asked so often that it need not try again by itself.
		Client: redis.NewClient(&redis.Options{Addr: address, MaxRetries: -1, DialerRetries: 1, DialTimeout: time.Second, PoolSize: 4}),
	}
}

// Start starts the server, on the data it left, and waits until it answers.
func (s *Server) Start() error {
	if err := os.MkdirAll(s.Dir, 0o700); err != nil {
		return err
	}
	if err := s.Process.Start(); err != nil {
		return err
	}
	// Another process may have been quicker to take the port.
	mine := fmt.Sprintf("process_id:%d\r", s.PID())
	answers := Within(30*time.Second, func() bool {
		info, err := s.Client.Info(context.Background()).Result() // which is answered while the data is read, too
		return err == nil && strings.Contains(info, mine) && !strings.Contains(info, "loading:1") || !s.Running()
	})
	if !answers || !s.Running() {
		return fmt.Errorf("%s does not answer:\n%s", s.Name, s.Tail(20))
	}
	return nil
}

// with sets further arguments for the starts to come.
func (s *Server) with(extra ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.extra = extra
}

// address is where clients reach it.
func (s *Server) address() string { return s.Client.Options().Addr }
