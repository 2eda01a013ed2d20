package browser

import (
	"cmp"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/leadrelay/leadrelay/internal/redistest"
)

// patience is how long a test waits for what must come; it is never waited out when all is well.
const patience = time.Minute

// chromium is the browser of all tests; each has a profile of its own in it.
var chromium struct {
	once sync.Once
	ctx  context.Context
	stop func()
	err  error
}

func TestMain(m *testing.M) {
	code := redistest.Main(m)
	if chromium.stop != nil {
		chromium.stop()
	}
	os.Exit(code)
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
	chromium.ctx = ctx
	chromium.stop = func() { stop(); stopAllocator() }
	chromium.err = chromedp.Do(ctx)
}

// tab is a page of a visitor with a new profile.
type tab struct {
	t   *testing.T
	ctx context.Context

	mu       sync.Mutex
	problems []string // what the page's console complained of
}

// visitor opens a browser. Without Chromium the test is skipped by name; with LEADRELAY_NO_SKIP it fails.
func visitor(t *testing.T) *tab {
	t.Helper()
	if program() == "" {
		if os.Getenv("LEADRELAY_NO_SKIP") != "" {
			t.Fatal("chromium is not installed: apt-get install chromium")
		}
		t.Skip("needs a real browser: apt-get install chromium")
	}
	if chromium.once.Do(start); chromium.err != nil {
		t.Fatal(chromium.err)
	}
	ctx, cancel := context.WithTimeout(chromium.ctx, patience)
	ctx, closeTab := chromedp.NewContext(ctx, chromedp.WithNewBrowserContext())
	v := &tab{t: t, ctx: ctx}
	t.Cleanup(func() { v.picture("end"); closeTab(); cancel() })
	v.do(chromedp.EmulateViewport(900, 900))
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

func (v *tab) do(actions ...chromedp.Action[chromedp.Void]) {
	v.t.Helper()
	if err := chromedp.Do(v.ctx, actions...); err != nil {
		v.t.Fatal(err)
	}
}

// call runs a command of the DevTools protocol.
func call[P, R any](v *tab, command cdp.Command[P, R], params P) R {
	v.t.Helper()
	result, err := chromedp.Call(v.ctx, command, params)
	if err != nil {
		v.t.Fatal(err)
	}
	return result
}

// eval returns what an expression is in the page.
func eval[T any](v *tab, expression string) T {
	v.t.Helper()
	value, err := chromedp.Run(v.ctx, chromedp.EvaluateAsDevTools[T](expression))
	if err != nil {
		v.t.Fatalf("%s: %v", expression, err)
	}
	return value
}

func (v *tab) open(url string) {
	v.t.Helper()
	v.do(chromedp.Navigate(url))
}

// until waits for an expression to be true in the page that is there, and in those that follow it.
func (v *tab) until(expression string) {
	v.t.Helper()
	var err error
	came := redistest.Within(patience/2, func() (ok bool) {
		ok, err = chromedp.Run(v.ctx, chromedp.EvaluateAsDevTools[bool]("Boolean("+expression+")"))
		return ok
	})
	if !came {
		v.t.Fatalf("never true: %s (%v)", expression, err)
	}
}

// wait waits for what a channel tells.
func (v *tab) wait(told <-chan struct{}) {
	v.t.Helper()
	select {
	case <-told:
	case <-time.After(patience):
		v.t.Fatal("never told")
	}
}

// arrive does what leads to another page and waits until that is loaded.
func (v *tab) arrive(actions ...chromedp.Action[chromedp.Void]) *network.Response {
	v.t.Helper()
	response, err := chromedp.RunResponse(v.ctx, actions...)
	if err != nil {
		v.t.Fatal(err)
	}
	return response
}

func (v *tab) text(css string) string {
	v.t.Helper()
	return eval[string](v, "(document.querySelector("+quote(css)+")?.innerText ?? '').trim()")
}

func quote(text string) string {
	quoted, _ := json.Marshal(text)
	return string(quoted)
}

// fill writes into fields by their names, as with a keyboard.
func (v *tab) fill(fields ...string) {
	v.t.Helper()
	for i := 0; i+1 < len(fields); i += 2 {
		v.do(chromedp.SendKeys(chromedp.CSS("[name="+quote(fields[i])+"]"), fields[i+1]))
	}
}

// refill replaces what a field has.
func (v *tab) refill(name, value string) {
	v.t.Helper()
	eval[any](v, "document.querySelector('[name='+"+quote(quote(name))+"+']').select()")
	v.fill(name, value)
}

// offline cuts the tab from every network, or connects it again.
func (v *tab) offline(is bool) {
	v.t.Helper()
	call(v, network.OverrideNetworkState, network.OverrideNetworkStateParams{Offline: is, DownloadThroughput: -1, UploadThroughput: -1})
	call(v, network.EmulateNetworkConditionsByRule, network.EmulateNetworkConditionsByRuleParams{
		MatchedNetworkConditions: []*network.Conditions{{Offline: is, DownloadThroughput: -1, UploadThroughput: -1}},
	})
}

// emulate sets what a visitor prefers, such as prefers-color-scheme.
func (v *tab) emulate(feature, value string) {
	v.t.Helper()
	call(v, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: feature, Value: value}},
	})
}

// scripts turns the JavaScript of pages on or off.
func (v *tab) scripts(on bool) {
	v.t.Helper()
	call(v, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: !on})
}

// complaints are what the console said until now.
func (v *tab) complaints() []string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return append([]string(nil), v.problems...)
}

// picture keeps a screenshot of the whole page.
func (v *tab) picture(name string) {
	dir := os.Getenv("SCREENSHOTS")
	if dir == "" {
		return
	}
	png, err := chromedp.Run(v.ctx, func(ctx context.Context, t *chromedp.Target) ([]byte, error) {
		full := true
		shot, err := cdp.Call(ctx, t, page.CaptureScreenshot, page.CaptureScreenshotParams{CaptureBeyondViewport: &full})
		return shot.Data, err
	})
	if err == nil {
		err = os.MkdirAll(dir, 0o755)
	}
	if err == nil {
		test := strings.ReplaceAll(v.t.Name(), "/", "-")
		err = os.WriteFile(filepath.Join(dir, test+"-"+name+".png"), png, 0o644)
	}
	if err != nil {
		v.t.Log("no screenshot: ", err)
	}
}
