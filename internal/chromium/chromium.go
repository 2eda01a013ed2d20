// Package chromium lets tests see pages in a real browser, headless Chromium, as redistest lets them have a real Redis.
//
// With SCREENSHOTS set to a folder, each test leaves pictures there.
package chromium

import (
	"cmp"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/leadrelay/leadrelay/internal/redistest"
)

// browser is that of all tests of a process; each has a profile of its own in it.
var browser struct {
	once sync.Once
	ctx  context.Context
	stop func()
	err  error
}

// Stop ends the browser, if a test began one; a TestMain calls it at the end.
func Stop() {
	if browser.stop != nil {
		browser.stop()
	}
}

// program is Chromium as systems call it.
func program() string {
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "google-chrome-stable"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	return ""
}

func start() {
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(program()),
		chromedp.NoSandbox, // as root there is none; the pages are ours
		chromedp.DisableGPU,
		chromedp.Flag("disable-quic", true),
		chromedp.Flag("disable-component-update", true),
		chromedp.Flag("lang", "en"),
	)
	allocator, stopAllocator := chromedp.NewExecAllocator(context.Background(), options...)
	ctx, stop := chromedp.NewContext(allocator)
	browser.ctx = ctx
	browser.stop = func() { stop(); stopAllocator() }
	browser.err = chromedp.Do(ctx)
}

// Tab is a page of somebody with a new profile.
type Tab struct {
	T   *testing.T
	Ctx context.Context

	name     string
	patience time.Duration

	mu       sync.Mutex
	problems []string // what the page's console complained of
}

// Open opens a tab for at most patience, of which half may be waited for one thing. Its pictures' names begin with name.
// Without Chromium the test is skipped by name; with LEADRELAY_NO_SKIP it fails.
func Open(t *testing.T, name string, patience time.Duration) *Tab {
	t.Helper()
	if program() == "" {
		if os.Getenv("LEADRELAY_NO_SKIP") != "" {
			t.Fatal("chromium is not installed: apt-get install chromium")
		}
		t.Skip("needs a real browser: apt-get install chromium")
	}
	if browser.once.Do(start); browser.err != nil {
		t.Fatal(browser.err)
	}
	ctx, cancel := context.WithTimeout(browser.ctx, patience)
	ctx, closeTab := chromedp.NewContext(ctx, chromedp.WithNewBrowserContext())
	v := &Tab{T: t, Ctx: ctx, name: name, patience: patience}
	t.Cleanup(func() { v.Picture("end"); closeTab(); cancel() })
	v.Do() // else there is no page to listen to
	err := chromedp.Listen(ctx, func(event any) {
		v.mu.Lock()
		defer v.mu.Unlock()
		switch e := event.(type) {
		case *log.EventEntryAdded:
			if e.Entry.Level == log.EntryLevelError {
				v.problems = append(v.problems, e.Entry.Text)
			}
		case *runtime.EventExceptionThrown:
			v.problems = append(v.problems, cmp.Or(e.ExceptionDetails.Exception.Description, e.ExceptionDetails.Text))
		}
	})
	if err == nil {
		_, err = chromedp.Call(ctx, log.Enable, cdp.Empty{})
	}
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// Do acts in the page.
func (v *Tab) Do(actions ...chromedp.Action[chromedp.Void]) {
	v.T.Helper()
	if err := chromedp.Do(v.Ctx, actions...); err != nil {
		v.T.Fatal(err)
	}
}

// Call runs a command of the DevTools protocol.
func Call[P, R any](v *Tab, command cdp.Command[P, R], params P) R {
	v.T.Helper()
	result, err := chromedp.Call(v.Ctx, command, params)
	if err != nil {
		v.T.Fatal(err)
	}
	return result
}

// Eval returns what an expression is in the page.
func Eval[T any](v *Tab, expression string) T {
	v.T.Helper()
	value, err := chromedp.Run(v.Ctx, chromedp.EvaluateAsDevTools[T](expression))
	if err != nil {
		v.T.Fatalf("%s: %v", expression, err)
	}
	return value
}

// Quote is a text as JavaScript writes it.
func Quote(text string) string {
	quoted, _ := json.Marshal(text)
	return string(quoted)
}

// Until waits for an expression to be true in the page that is there, and in those that follow it.
func (v *Tab) Until(expression string) {
	v.T.Helper()
	var err error
	came := redistest.Within(v.patience/2, func() (ok bool) {
		ok, err = chromedp.Run(v.Ctx, chromedp.EvaluateAsDevTools[bool]("Boolean("+expression+")"))
		return ok
	})
	if !came {
		v.Picture("never")
		v.T.Fatalf("never true: %s (%v)", expression, err)
	}
}

// Complaints are what the console said until now, or since they were forgiven.
func (v *Tab) Complaints() []string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return slices.Clone(v.problems)
}

// Forgive forgets the complaints.
func (v *Tab) Forgive() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.problems = nil
}

// Picture keeps a screenshot of the whole page.
func (v *Tab) Picture(moment string) {
	dir := os.Getenv("SCREENSHOTS")
	if dir == "" {
		return
	}
	png, err := chromedp.Run(v.Ctx, func(ctx context.Context, t *chromedp.Target) ([]byte, error) {
		full := true
		shot, err := cdp.Call(ctx, t, page.CaptureScreenshot, page.CaptureScreenshotParams{CaptureBeyondViewport: &full})
		return shot.Data, err
	})
	if err == nil {
		err = os.MkdirAll(dir, 0o755)
	}
	if err == nil {
		test := strings.ReplaceAll(v.T.Name(), "/", "-")
		err = os.WriteFile(filepath.Join(dir, v.name+"-"+test+"-"+moment+".png"), png, 0o644)
	}
	if err != nil {
		v.T.Log("no screenshot: ", err)
	}
}
