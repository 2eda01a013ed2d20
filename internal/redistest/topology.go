package redistest

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"
)

// Topology is a Redis: how it is laid out, and how it dies.
type Topology interface {
	Start() error
	Options() *redis.UniversalOptions      // how clients connect
	Kill(which int, downFor time.Duration) // one server that has data, and starts it again
	Servers() []*Server                    // all of them
	Heal() error                           // every one runs, and they are of one mind
	databases() int
}

// Stop kills all servers of a topology.
func Stop(t Topology) {
	for _, s := range t.Servers() {
		s.Kill()
		s.Client.Close()
	}
}

// Section is the redis section of config.yaml for what clients connect to.
func Section(o *redis.UniversalOptions) string {
	url := "redis://" + strings.Join(o.Addrs, ",")
	if strings.HasPrefix(o.Addrs[0], "/") {
		url = "unix://" + o.Addrs[0]
	}
	if o.DB != 0 {
		url += fmt.Sprintf("?db=%d", o.DB)
	}
	return fmt.Sprintf("{url: %q, cluster: %v, sentinel_master: %q}", url, o.IsClusterMode, o.MasterName)
}

// startAll starts those that do not run.
func startAll(servers []*Server) error {
	for _, s := range servers {
		s.Signal(syscall.SIGCONT)
		if !s.Running() {
			if err := s.Start(); err != nil {
				return err
			}
		}
	}
	return nil
}

// ofOneMind waits until the servers of a topology see it alike.
func ofOneMind(servers []*Server, ok func() bool) error {
	if Within(60*time.Second, ok) {
		return nil
	}
	err := errors.New("the servers do not come together")
	for _, s := range servers {
		err = fmt.Errorf("%w\n%s: %s", err, s.Name, s.Tail(10))
	}
	return err
}

// Standalone is one redis-server.
type Standalone struct{ Server *Server }

// NewStandalone makes one at a socket in dir, a short path: a socket's is at most 104 bytes.
func NewStandalone(dir string, args ...string) *Standalone {
	return &Standalone{newServer(dir, "redis", 0, args...)}
}

func (s *Standalone) Start() error { return s.Server.Start() }

func (s *Standalone) Options() *redis.UniversalOptions {
	return &redis.UniversalOptions{Addrs: []string{s.Server.address()}}
}

func (s *Standalone) Servers() []*Server { return []*Server{s.Server} }
func (s *Standalone) Heal() error        { return startAll(s.Servers()) }
func (s *Standalone) databases() int     { return databases }

func (s *Standalone) Kill(_ int, downFor time.Duration) {
	s.Server.Kill()
	time.Sleep(downFor)
	s.Server.Start()
}
