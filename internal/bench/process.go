package bench

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// process is one program under measurement.
type process struct {
	cmd   *exec.Cmd
	ready string // what it said when it was ready

	mu   sync.Mutex
	tail []string // the last lines it printed
}

// startWithin is how long a program may take to be ready.
const startWithin = 30 * time.Second

// start runs a program until its output matches ready, whose first group is kept.
func start(ctx context.Context, ready *regexp.Regexp, name string, args ...string) (*process, error) {
	p := &process{cmd: exec.Command(name, args...)}
	output, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.cmd.Stderr = p.cmd.Stdout
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	found := make(chan string, 1)
	go p.read(output, ready, found)
	select {
	case said, ok := <-found:
		if ok {
			p.ready = said
			return p, nil
		}
		err = errors.New("ended")
	case <-time.After(startWithin):
		err = errors.New("was not ready in time")
	case <-ctx.Done():
		err = ctx.Err()
	}
	p.kill()
	return nil, fmt.Errorf("%s %s: %w: %s", filepath.Base(name), args[0], err, p.lastWords())
}

// read takes what the program prints, for as long as it does.
func (p *process) read(output io.Reader, ready *regexp.Regexp, found chan<- string) {
	defer close(found)
	lines := bufio.NewScanner(output)
	said := false
	for lines.Scan() {
		p.mu.Lock()
		p.tail = append(p.tail, lines.Text())
		p.tail = p.tail[max(0, len(p.tail)-5):]
		p.mu.Unlock()
		if match := ready.FindStringSubmatch(lines.Text()); match != nil && !said {
			said = true
			found <- match[1]
		}
	}
	io.Copy(io.Discard, output)
}

func (p *process) lastWords() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.tail, "; ")
}

func (p *process) kill() {
	if p != nil && p.cmd.ProcessState == nil {
		p.cmd.Process.Kill()
		p.cmd.Wait()
	}
}

// cpu is the processor time the process has used, where the system tells (Linux).
func (p *process) cpu() (time.Duration, bool) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		return 0, false
	}
	_, after, _ := strings.Cut(string(stat), ") ")
	fields := strings.Fields(after)
	if len(fields) < 13 {
		return 0, false
	}
	user, _ := strconv.ParseInt(fields[11], 10, 64)
	system, _ := strconv.ParseInt(fields[12], 10, 64)
	const ticksPerSecond = 100 // USER_HZ, the same on every Linux
	return time.Duration(user+system) * time.Second / ticksPerSecond, true
}

// peakMemory is the most the process has had resident, in bytes, where the system tells (Linux).
func (p *process) peakMemory() (int64, bool) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0, false
	}
	for line := range strings.Lines(string(status)) {
		if value, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kb, err := strconv.ParseInt(strings.Fields(value)[0], 10, 64)
			return kb << 10, err == nil
		}
	}
	return 0, false
}

// redisServer is a redis-server of one measurement, empty at its start.
type redisServer struct {
	process *process
	url     string
	dir     string
	client  *redis.Client
}

var redisReady = regexp.MustCompile(`(eady to accept connections)`)

func startRedis(ctx context.Context, fsync string) (*redisServer, error) {
	dir, err := os.MkdirTemp("", "lrb") // short: a socket's path is at most 104 bytes
	if err != nil {
		return nil, err
	}
	socket := filepath.Join(dir, "s")
	p, err := start(ctx, redisReady, "redis-server", "--port", "0", "--unixsocket", socket, "--dir", dir, "--save", "",
		"--appendonly", "yes", "--appendfsync", fsync, "--maxmemory-policy", "noeviction")
	if errors.Is(err, exec.ErrNotFound) {
		err = errors.New("needs the program redis-server: apt-get install redis-server, or brew install redis")
	}
	if err != nil {
		os.RemoveAll(dir)
		return nil, err
	}
	return &redisServer{p, "unix://" + socket, dir, redis.NewClient(&redis.Options{Network: "unix", Addr: socket})}, nil
}

func (r *redisServer) close() {
	if r == nil {
		return
	}
	r.client.Close()
	r.process.kill()
	os.RemoveAll(r.dir)
}

// usedMemory is what the data take, in bytes.
func (r *redisServer) usedMemory(ctx context.Context) (int64, error) {
	info, err := r.client.Info(ctx, "memory").Result()
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(info) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), "used_memory:"); ok {
			return strconv.ParseInt(value, 10, 64)
		}
	}
	return 0, errors.New("redis does not tell used_memory")
}
