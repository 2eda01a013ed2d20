package connectortest

import (
	"fmt"
	"iter"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"testing"
)

// Examine is Run outside of a test: promise by promise, what the connector does against it; nothing where it keeps it.
// The error says why no promise could be asked for.
func Examine(h Harness) (iter.Seq2[string, []string], error) {
	var can abilities
	if broken := observed(func(t testing.TB) { can = abilitiesOf(newWorld(t, h)) }); broken != nil {
		return nil, fmt.Errorf("%s", strings.Join(broken, "\n"))
	}
	return func(yield func(string, []string) bool) {
		for _, c := range checks {
			if c.needs != nil && !c.needs(can) {
				continue
			}
			if !yield(c.promise, observed(func(t testing.TB) { c.run(t, h) })) {
				return
			}
		}
	}, nil
}

// observed runs a test and returns what it complained of.
func observed(test func(testing.TB)) (complaints []string) {
	o := &observer{}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer o.finish()
		defer func() {
			if p := recover(); p != nil {
				o.complain(fmt.Sprintf("panic: %v\n%s", p, debug.Stack()))
			}
		}()
		test(o)
	}()
	<-done
	return o.complaints
}

// observer is a testing.TB that only takes note. What it does not have panics.
type observer struct {
	testing.TB
	mu         sync.Mutex
	complaints []string
	cleanups   []func()
}

func (o *observer) complain(text string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.complaints = append(o.complaints, strings.TrimSpace(text))
}

// finish cleans up as a test does; a cleanup may end its goroutine.
func (o *observer) finish() {
	for _, f := range slices.Backward(o.cleanups) {
		done := make(chan struct{})
		go func() {
			defer close(done)
			f()
		}()
		<-done
	}
}

func (o *observer) Helper()                   {}
func (o *observer) Cleanup(f func())          { o.cleanups = append(o.cleanups, f) }
func (o *observer) Error(args ...any)         { o.complain(fmt.Sprintln(args...)) }
func (o *observer) Errorf(f string, a ...any) { o.complain(fmt.Sprintf(f, a...)) }
func (o *observer) Fail()                     { o.complain("failed") }
func (o *observer) FailNow()                  { o.complain("failed"); runtime.Goexit() }
func (o *observer) Fatal(args ...any)         { o.complain(fmt.Sprintln(args...)); runtime.Goexit() }
func (o *observer) Fatalf(f string, a ...any) { o.complain(fmt.Sprintf(f, a...)); runtime.Goexit() }
func (o *observer) Failed() bool              { o.mu.Lock(); defer o.mu.Unlock(); return len(o.complaints) > 0 }
func (o *observer) Log(...any)                {}
func (o *observer) Logf(string, ...any)       {}

// TempDir is a folder that goes at the end.
func (o *observer) TempDir() string {
	dir, err := os.MkdirTemp("", "leadrelay-")
	if err != nil {
		o.Fatal(err)
	}
	o.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}
