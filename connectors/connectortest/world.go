package connectortest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/leadrelay/leadrelay/connectors"
	"github.com/leadrelay/leadrelay/internal/lead"
)

const (
	patience     = 20 * time.Second // a call that takes longer hangs
	maxErrorText = 2000             // bytes
)

// world is one vendor and one connector that talks to it. It watches every error, log line and URL for what must
// not be there.
type world struct {
	testing.TB
	h         Harness
	vendor    Vendor
	front     *front // nil: not HTTP
	mapping   connectors.Mapping
	connector connectors.Connector
	log       *logBuffer
	closing   sync.Once

	mu     sync.Mutex
	people map[string]bool // personal data of every lead that was pushed
}

func newWorld(t testing.TB, h Harness) *world {
	t.Helper()
	return newWorldOf(t, h, h.NewVendor(t))
}

func newWorldOf(t testing.TB, h Harness, vendor Vendor) *world {
	t.Helper()
	var f *front
	baseURL := ""
	if served, ok := vendor.(HTTPVendor); ok {
		f = newFront(t, served, h.SignIn)
		baseURL = f.server.URL
	}
	return openWorld(t, h, vendor, f, baseURL)
}

func openWorld(t testing.TB, h Harness, vendor Vendor, f *front, baseURL string) *world {
	t.Helper()
	w := &world{TB: t, h: h, vendor: vendor, front: f, log: &logBuffer{}, people: map[string]bool{}}
	env := environment(t, h, w.log)
	w.mapping = env.Fields
	var err error
	if w.connector, err = h.Kind.Open(h.Settings(baseURL, vendor), env); err != nil {
		t.Fatalf("the harness's settings are refused: %v", err)
	}
	t.Cleanup(w.close)
	return w
}

func environment(t testing.TB, h Harness, log io.Writer) connectors.Env {
	t.Helper()
	rules := h.Fields
	if rules == nil {
		rules = h.Kind.Fields
	}
	mapping, err := connectors.NewMapping(rules)
	if err != nil {
		t.Fatalf("the field rules are refused: %v", err)
	}
	logger := slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	return connectors.Env{Name: "under-test", Fields: mapping, Log: logger}
}

func (w *world) close() {
	w.closing.Do(func() {
		if closer, ok := w.connector.(io.Closer); ok {
			if err := closer.Close(); err != nil {
				w.Errorf("Close: %v", err)
			}
		}
		if leak := w.leak(w.log.String()); leak != "" {
			w.Errorf("a log line holds %s", leak)
		}
		if w.front != nil {
			for _, uri := range w.front.asked() {
				plain, err := url.QueryUnescape(uri)
				if err != nil {
					plain = uri
				}
				// A secret may be there: a webhook's URL is one.
				for _, text := range []string{uri, plain} {
					if leak := w.tells(text); leak != "" {
						w.Errorf("a URL holds %s: %s", leak, uri)
					}
				}
			}
		}
	})
}

// leak names what of the secrets and of the people pushed so far shows in text; "" where nothing does.
func (w *world) leak(text string) string {
	for _, secret := range w.h.Secrets {
		if secret != "" && strings.Contains(text, secret) {
			return "a secret"
		}
	}
	return w.tells(text)
}

// tells is leak for people alone.
func (w *world) tells(text string) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	text = strings.ToLower(text)
	for value := range w.people {
		if strings.Contains(text, value) {
			return fmt.Sprintf("personal data (%q)", value)
		}
	}
	return ""
}

// meet remembers what of l must not show anywhere.
func (w *world) meet(l lead.Lead) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, value := range personal(l) {
		w.people[strings.ToLower(value)] = true
	}
}

// personal lists what of a lead identifies a person.
func personal(l lead.Lead) []string {
	values := append(strings.Fields(l.Name), l.Name, l.Email, l.Note)
	for _, value := range l.Custom {
		if text, ok := value.(string); ok {
			values = append(values, text)
		}
	}
	return slices.DeleteFunc(values, func(v string) bool { return len(v) < 6 })
}

// inspect checks what every error must be.
func (w *world) inspect(call string, err error) {
	w.Helper()
	if err == nil {
		return
	}
	text := err.Error()
	var classified *connectors.Error
	if !errors.As(err, &classified) && !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
		w.Errorf("%s: the error is no *connectors.Error: %s", call, text)
	}
	if leak := w.leak(text); leak != "" {
		w.Errorf("%s: the error text holds %s: %s", call, leak, text)
	}
	if !strings.HasPrefix(text, w.h.Kind.Name+": ") {
		w.Errorf("%s: the error text does not begin with %q: %s", call, w.h.Kind.Name+": ", text)
	}
	if len(text) > maxErrorText {
		w.Errorf("%s: the error text has %d bytes", call, len(text))
	}
}

// guarded runs f and turns a panic or a hang into a failure. It must be called on the test's own goroutine.
func (w *world) guarded(call string, f func()) {
	w.Helper()
	crashed := make(chan string, 1)
	go func() {
		defer func() {
			if p := recover(); p != nil {
				crashed <- fmt.Sprintf("%v\n%s", p, debug.Stack())
				return
			}
			crashed <- ""
		}()
		f()
	}()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case crash := <-crashed:
		if crash != "" {
			w.Fatalf("%s panicked: %s", call, crash)
		}
	case <-timer.C:
		w.Fatalf("%s hangs: no return after %s", call, patience)
	}
}

func (w *world) pushIn(ctx context.Context, c lead.Change, ref string) (newRef string, err error) {
	w.Helper()
	w.meet(c.Lead)
	call := "Push of " + string(c.Op)
	w.guarded(call, func() { newRef, err = w.connector.Push(ctx, c, ref) })
	w.inspect(call, err)
	return newRef, err
}

func (w *world) push(c lead.Change, ref string) (string, error) {
	w.Helper()
	return w.pushIn(context.Background(), c, ref)
}

// pushed is push that must succeed.
func (w *world) pushed(c lead.Change, ref string) string {
	w.Helper()
	newRef, err := w.push(c, ref)
	if err != nil {
		w.Fatalf("Push of %s: %v", c.Op, err)
	}
	if keyed, ok := w.connector.(connectors.Keyed); ok && c.Op != lead.Delete {
		if key := keyed.Key(c.Lead); key != newRef {
			w.Errorf("Key says %q, Push of %s returned the ref %q", key, c.Op, newRef)
		}
	}
	return newRef
}

// recovered is the ref a worker has of a lead whose create went out and got no answer.
func (w *world) recovered(l lead.Lead) string {
	w.Helper()
	if keyed, ok := w.connector.(connectors.Keyed); ok {
		return keyed.Key(l)
	}
	finder, ok := w.connector.(connectors.Finder)
	if !ok {
		return ""
	}
	ref, found := w.find(finder, l)
	if !found {
		return ""
	}
	return ref
}

func (w *world) find(finder connectors.Finder, l lead.Lead) (ref string, found bool) {
	w.Helper()
	var err error
	w.guarded("Find", func() {
		ref, found, err = finder.Find(context.Background(), lead.Lead{ID: l.ID})
	})
	w.inspect("Find", err)
	if err != nil {
		w.Fatalf("Find: %v", err)
	}
	return ref, found
}

// of lists the vendor's records that are l's.
func (w *world) of(l lead.Lead) []Record {
	var own []Record
	for _, record := range w.vendor.Records() {
		match := strings.Contains(record.Key, l.ID)
		for _, value := range record.Fields {
			match = match || strings.Contains(value, l.ID) || l.Email != "" && strings.Contains(strings.ToLower(value), strings.ToLower(l.Email))
		}
		if match {
			own = append(own, record)
		}
	}
	return own
}

// holds checks that the vendor has exactly one record of l, in l's state.
func (w *world) holds(l lead.Lead) {
	w.Helper()
	own := w.of(l)
	if len(own) != 1 {
		w.Fatalf("the vendor has %d records of the lead, want 1; all it has:\n%s", len(own), canonical(w.vendor.Records()))
	}
	fields, err := w.mapping.Apply(l)
	if err != nil {
		w.Fatalf("mapping: %v", err)
	}
	record := own[0].Fields
	compared := 0
	for _, f := range fields {
		got, kept := record[f.To]
		if !kept {
			continue
		}
		compared++
		switch want := f.Value.(type) {
		case nil:
			if got != "" {
				w.Errorf("the vendor's %s is %q, want it empty: the lead has none", f.To, got)
			}
		case string:
			if !shows(got, want) {
				w.Errorf("the vendor's %s is %q, want %q", f.To, got, want)
			}
		}
	}
	if compared == 0 {
		for _, want := range []string{l.Name, l.Email} {
			found := false
			for _, got := range record {
				found = found || shows(got, want)
			}
			if !found {
				w.Errorf("no field of the vendor's record shows %q: %q", want, record)
			}
		}
	}
}

// shows allows what vendors do to texts: white space, letter case, a mark before formulas, a cut of long ones.
func shows(got, want string) bool {
	got, want = flat(got), flat(want)
	if runes := []rune(want); len(runes) > 200 {
		want = strings.TrimSpace(string(runes[:50]))
	}
	return strings.Contains(got, want)
}

func flat(text string) string { return strings.ToLower(strings.Join(strings.Fields(text), " ")) }

// count checks how many records the vendor has in all.
func (w *world) count(want int) {
	w.Helper()
	if got := len(w.vendor.Records()); got != want {
		w.Fatalf("the vendor has %d records, want %d:\n%s", got, want, canonical(w.vendor.Records()))
	}
}

// status is the fault a status should become.
func (w *world) status(r *connectors.Response) connectors.Fault {
	if fault, ok := w.h.Faults[r.Status]; ok {
		return fault
	}
	fault, _ := connectors.FaultOf(connectors.StatusError(r))
	return fault
}

// wantFault checks that err is there and whose it is.
func (w *world) wantFault(when string, err error, want ...connectors.Fault) {
	w.Helper()
	if err == nil {
		w.Errorf("%s: no error, want %v", when, want)
		return
	}
	if got, _ := connectors.FaultOf(err); !slices.Contains(want, got) {
		w.Errorf("%s: the fault is %v, want %v: %v", when, got, want, err)
	}
}

// logBuffer collects log lines of several goroutines.
type logBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}
