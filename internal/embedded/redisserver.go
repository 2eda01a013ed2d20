//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package embedded

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	slowLoading  = 2 * time.Second  // after which a start says what it waits for
	orphanEnds   = 30 * time.Second // how long one left by an earlier process may take to end
	stopsWithin  = 15 * time.Second // how long redis-server may take to stop before it is killed
	steady       = time.Minute      // an exit after this long is not one of a row of failures
	mostFailures = 5                // in a row, before its supervisor gives up
)

// program is an installed redis-server that can do what is asked of it.
type program struct {
	path    string
	version string
	parts   bool // keeps its append-only file in parts, as 7 and newer do
}

var versionPattern = regexp.MustCompile(`\bv=((\d+)\.(\d+)\.\d+)`)

// findRedisServer looks for redis-server 6.2 or newer.
func findRedisServer(ctx context.Context) (*program, error) {
	path, err := exec.LookPath("redis-server")
	if err != nil {
		return nil, errors.New("redis-server is not installed")
	}
	out, err := exec.CommandContext(ctx, path, "--version").Output()
	if err != nil {
		return nil, fmt.Errorf("%s --version: %w", path, err)
	}
	v := versionPattern.FindStringSubmatch(string(out))
	if v == nil {
		return nil, fmt.Errorf("%s does not tell its version: %q", path, bytes.TrimSpace(out))
	}
	major, _ := strconv.Atoi(v[2])
	minor, _ := strconv.Atoi(v[3])
	if major < 6 || major == 6 && minor < 2 {
		return nil, fmt.Errorf("%s is version %s, older than 6.2", path, v[1])
	}
	return &program{path: path, version: v[1], parts: major >= 7}, nil
}

// reads says whether the program can read what is in dir. One before 7 would start empty beside the files of a newer
// one, which are in a folder of their own.
func (p *program) reads(dir string) error {
	if newer, err := exists(dir, "appendonlydir"); err != nil || !newer || p.parts {
		return err
	}
	return fmt.Errorf("%s is version %s, older than 7, which wrote the data in %s", p.path, p.version, dir)
}

// takeOver returns a lock on dir that redis-server inherits, and so holds for as long as it or a child of it runs.
// While one left behind by an earlier process has it, that one is told to shut down and waited for: two on the same
// files would ruin them.
func (p *program) takeOver(ctx context.Context, dir string) (*os.File, error) {
	lock, err := os.OpenFile(filepath.Join(dir, "redis-server.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, orphanEnds)
	defer cancel()
	retry := time.NewTicker(10 * time.Millisecond)
	defer retry.Stop()
	for asked := (time.Time{}); ; {
		err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return lock, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			lock.Close()
			return nil, fmt.Errorf("lock %s: %w", lock.Name(), err)
		}
		if time.Since(asked) > time.Second {
			asked = time.Now()
			if old, err := lastSocket(dir); err == nil {
				ask(old.path, "SHUTDOWN")
			}
		}
		select {
		case <-retry.C:
		case <-ctx.Done():
			lock.Close()
			return nil, fmt.Errorf("a redis-server of an earlier run still works in %s and does not shut down: %w", dir, ctx.Err())
		}
	}
}

// redisServer supervises a redis-server: it is started again when it exits by itself.
type redisServer struct {
	program *program
	dir     string
	socket  string
	lock    *os.File
	log     *slog.Logger

	cancel   context.CancelFunc // ends supervision
	watched  chan struct{}      // closed when supervision has ended
	child    *child             // the last one started; its supervisor's until watched is closed
	finished chan struct{}
	mu       sync.Mutex
	failure  error
	ended    bool
}

// start starts redis-server and returns when it has loaded its data. It takes over the lock.
func (p *program) start(ctx context.Context, dir, socket string, lock *os.File, log *slog.Logger) (engine, error) {
	r := &redisServer{
		program: p, dir: dir, socket: socket, lock: lock, log: log,
		watched: make(chan struct{}), finished: make(chan struct{}),
	}
	c, err := r.launch(ctx)
	if err != nil {
		lock.Close()
		return nil, err
	}
	r.child = c
	var supervision context.Context
	supervision, r.cancel = context.WithCancel(context.Background())
	go r.supervise(supervision)
	return r, nil
}

// arguments configure everything that matters here; no configuration file is read.
func (r *redisServer) arguments() []string {
	return []string{
		"--port", "0",
		"--unixsocket", r.socket,
		"--unixsocketperm", "700",
		"--dir", r.dir,
		"--daemonize", "no",
		"--appendonly", "yes",
		"--appendfsync", "everysec",
		"--aof-use-rdb-preamble", "yes",
		"--aof-load-truncated", "yes",
		"--save", "",
		"--maxmemory-policy", "noeviction",
		"--loglevel", "notice",
	}
}

// launch starts a redis-server and waits until it answers.
func (r *redisServer) launch(ctx context.Context) (*child, error) {
	c, err := r.spawn()
	if err != nil {
		return nil, err
	}
	began, told := time.Now(), false
	look := time.NewTicker(5 * time.Millisecond)
	defer look.Stop()
	for {
		select {
		case <-c.exited:
			return nil, fmt.Errorf("redis-server did not start: %w\n%s", c.err, c.output.last())
		case <-ctx.Done():
			c.stop(ctx)
			return nil, fmt.Errorf("redis-server did not get ready: %w", ctx.Err())
		case <-look.C:
		}
		answer, err := ask(r.socket, "PING")
		if err == nil && answer == "+PONG" {
			return c, nil
		}
		if !told && time.Since(began) > slowLoading {
			told = true
			r.log.Info("redis-server is still loading its data")
		}
	}
}

// supervise starts redis-server again when it exits, until ctx ends or it fails too often.
func (r *redisServer) supervise(ctx context.Context) {
	defer close(r.watched)
	failures, began := 0, time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.child.exited:
		}
		if time.Since(began) > steady {
			failures = 0
		}
		err := fmt.Errorf("redis-server stopped: %w\n%s", r.child.err, r.child.output.last())
		for {
			if failures++; failures > mostFailures {
				r.end(err)
				return
			}
			delay := 50 * time.Millisecond << failures
			r.log.Error("starting redis-server again", "error", err, "in", delay)
			select {
			case <-ctx.Done():
				return
			case <-time.After(delay):
			}
			began = time.Now()
			var c *child
			if c, err = r.launch(ctx); err == nil {
				r.child = c
				break
			}
			if ctx.Err() != nil {
				return
			}
		}
		r.log.Info("redis-server runs again")
	}
}

func (r *redisServer) end(failure error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.ended {
		r.ended, r.failure = true, failure
		r.lock.Close()
		close(r.finished)
	}
}

func (r *redisServer) done() <-chan struct{} { return r.finished }

func (r *redisServer) err() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.failure
}

func (r *redisServer) close(ctx context.Context) error {
	r.cancel()
	<-r.watched
	err := r.child.stop(ctx)
	r.end(nil)
	return err
}

// child is one redis-server process.
type child struct {
	cmd    *exec.Cmd
	output *output
	exited chan struct{}
	err    error // how it exited
}

func (r *redisServer) spawn() (*child, error) {
	c := &child{
		// Its files are for their owner only, like the folder they are in; a umask of its own takes a shell.
		cmd:    exec.Command("/bin/sh", append([]string{"-c", `umask 077; exec "$0" "$@"`, r.program.path}, r.arguments()...)...),
		output: &output{log: r.log},
		exited: make(chan struct{}),
	}
	c.cmd.Dir = r.dir
	c.cmd.Stdout = c.output
	c.cmd.Stderr = c.output
	c.cmd.ExtraFiles = []*os.File{r.lock}
	c.cmd.SysProcAttr = processAttributes()
	c.cmd.WaitDelay = time.Second // its own children may have its output open still
	started := make(chan error)
	go func() {
		// The signal at the parent's death comes with the death of the thread that made the child, so that thread
		// stays as long as the child does.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := c.cmd.Start()
		started <- err
		if err != nil {
			return
		}
		if c.err = c.cmd.Wait(); c.err == nil {
			c.err = errors.New("exit status 0")
		}
		close(c.exited)
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return c, nil
}

// stop has it write everything to disk and exit, and kills it when that takes too long or ctx ends.
func (c *child) stop(ctx context.Context) error {
	late := time.NewTimer(stopsWithin)
	defer late.Stop()
	again := time.NewTicker(time.Second) // a signal during the first writing of the file is not obeyed
	defer again.Stop()
	for {
		c.cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-c.exited:
			return nil
		case <-again.C:
			continue
		case <-late.C:
		case <-ctx.Done():
		}
		c.cmd.Process.Kill()
		<-c.exited
		return errors.New("redis-server did not stop in time and was killed")
	}
}

// output passes what redis-server prints on to the log, and keeps the last lines for when it fails.
type output struct {
	log   *slog.Logger
	mu    sync.Mutex
	rest  []byte
	lines []string
}

// trouble is how redis-server words what an operator should see, such as a full disk.
var trouble = regexp.MustCompile(`WARNING|\b(Error|error|Can't|Failed|failed|Unable)\b`)

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.rest = append(o.rest, p...)
	for {
		line, rest, ok := bytes.Cut(o.rest, []byte("\n"))
		if !ok {
			return len(p), nil
		}
		o.rest = rest
		text := strings.TrimSpace(string(line))
		if text == "" {
			continue
		}
		if o.lines = append(o.lines, text); len(o.lines) > 10 {
			o.lines = o.lines[1:]
		}
		level := slog.LevelDebug
		if trouble.MatchString(text) {
			level = slog.LevelWarn
		}
		o.log.Log(context.Background(), level, "redis-server: "+text)
	}
}

func (o *output) last() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return strings.Join(o.lines, "\n")
}
