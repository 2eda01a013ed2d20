package rig

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"
)

// build makes the real program, once for all tests, and returns its path. overlay is go build's -overlay file, for
// a program with some source files replaced; "" for the program as it is.
func build(t *testing.T, overlay string) string {
	t.Helper()
	if overlay == "" {
		program, err := plainProgram()
		if err != nil {
			t.Fatal(err)
		}
		return program
	}
	program := filepath.Join(t.TempDir(), "leadrelay")
	if err := goBuild(program, "-overlay", overlay); err != nil {
		t.Fatal(err)
	}
	return program
}

var plainProgram = sync.OnceValues(func() (string, error) {
	program := filepath.Join(builds, "leadrelay")
	return program, goBuild(program)
})

// builds is the folder of programs built once, removed by TestMain.
var builds string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		var err error
		if builds, err = os.MkdirTemp("", "rig-build"); err != nil {
			panic(err)
		}
		defer os.RemoveAll(builds)
		return m.Run()
	}())
}

const module = "github.com/leadrelay/leadrelay"

func goBuild(program string, args ...string) error {
	args = append([]string{"build", "-o", program}, args...)
	if *race {
		args = append(args, "-race")
	}
	out, err := exec.Command("go", append(args, module+"/cmd/leadrelay")...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("go %v: %w\n%s", args, err, out)
	}
	return nil
}

// process is a program that is started, killed, paused and started again. All it ever prints goes to one file.
type process struct {
	name string
	log  string
	make func() *exec.Cmd

	mu     sync.Mutex
	cmd    *exec.Cmd
	exited chan struct{}
}

func newProcess(dir, name string, make func() *exec.Cmd) *process {
	return &process{name: name, log: filepath.Join(dir, name+".log"), make: make}
}

func (p *process) start() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	out, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer out.Close()
	cmd := p.make()
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("%s: %w", p.name, err)
	}
	exited := make(chan struct{})
	p.cmd, p.exited = cmd, exited
	go func() {
		cmd.Wait()
		close(exited)
	}()
	return nil
}

// running says whether the process was started and has not ended.
func (p *process) running() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return false
	}
	select {
	case <-p.exited:
		return false
	default:
		return true
	}
}

func (p *process) signal(s syscall.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd != nil {
		p.cmd.Process.Signal(s)
	}
}

// kill ends the process as kill -9 does.
func (p *process) kill() {
	p.signal(syscall.SIGKILL)
	p.wait()
}

func (p *process) wait() {
	p.mu.Lock()
	exited := p.exited
	p.mu.Unlock()
	if exited != nil {
		<-exited
	}
}

func (p *process) output() []byte {
	text, _ := os.ReadFile(p.log)
	return text
}

// tail is the end of what the process printed.
func (p *process) tail(lines int) []byte {
	all := bytes.SplitAfter(p.output(), []byte("\n"))
	return bytes.Join(all[max(0, len(all)-lines-1):], nil)
}

// freePort returns a port that nobody listens on, below those that systems hand out by themselves: it must stay
// free while its process is dead.
func freePort(dice *rand.Rand) int {
	for {
		port := 12000 + dice.IntN(18000)
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			l.Close()
			return port
		}
	}
}

// within calls done until it is true; it reports whether it was so in time.
func within(d time.Duration, done func() bool) bool {
	for end := time.Now().Add(d); ; time.Sleep(20 * time.Millisecond) {
		if done() {
			return true
		}
		if time.Now().After(end) {
			return false
		}
	}
}
