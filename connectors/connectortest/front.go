package connectortest

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"sort"
	"strings"
	"sync"
	"testing"
)

// front stands before an HTTP vendor and misbehaves as it is told. Sign-ins always pass.
type front struct {
	server *httptest.Server
	vendor HTTPVendor
	signIn func(*http.Request) bool
	closed chan struct{}

	mu          sync.Mutex
	misbehave   misbehaviour
	requests    int // that were not sign-ins
	uris        map[string]bool
	connections int
}

// misbehaviour answers in the vendor's place, or passes the request on to it.
type misbehaviour func(w http.ResponseWriter, r *http.Request, vendor http.Handler)

func newFront(t testing.TB, vendor HTTPVendor, signIn func(*http.Request) bool) *front {
	f := &front{vendor: vendor, signIn: signIn, closed: make(chan struct{}), uris: map[string]bool{}}
	if f.signIn == nil {
		f.signIn = func(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, "/token") }
	}
	f.server = httptest.NewUnstartedServer(f)
	f.server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			f.mu.Lock()
			f.connections++
			f.mu.Unlock()
		}
	}
	f.server.Start()
	t.Cleanup(f.close)
	return f
}

func (f *front) close() {
	select {
	case <-f.closed:
	default:
		close(f.closed)
		f.server.Close()
	}
}

func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	signIn := f.signIn(r)
	f.mu.Lock()
	f.uris[r.URL.RequestURI()] = true
	if signIn {
		f.mu.Unlock()
		f.vendor.ServeHTTP(w, r)
		return
	}
	f.requests++
	misbehave := f.misbehave
	f.mu.Unlock()
	if misbehave == nil {
		f.vendor.ServeHTTP(w, r)
		return
	}
	misbehave(w, r, f.vendor)
}

func (f *front) set(m misbehaviour) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.misbehave = m
}

func (f *front) seen() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.requests
}

// asked lists where requests went: paths with their queries.
func (f *front) asked() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Collect(maps.Keys(f.uris))
}

func (f *front) connected() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.connections
}

// instead answers every request, or only those that write, and the vendor gets none of them.
func instead(status int, header http.Header, writesOnly bool, body func(sent []byte) string) misbehaviour {
	return func(w http.ResponseWriter, r *http.Request, vendor http.Handler) {
		if writesOnly && reads(r) {
			vendor.ServeHTTP(w, r)
			return
		}
		sent, _ := io.ReadAll(r.Body)
		maps.Copy(w.Header(), header)
		w.WriteHeader(status)
		io.WriteString(w, body(sent))
	}
}

func reads(r *http.Request) bool { return r.Method == http.MethodGet || r.Method == http.MethodHead }

// afterwards lets the vendor apply each request and then answers in its place.
func afterwards(answer func(w http.ResponseWriter, vendors *httptest.ResponseRecorder)) misbehaviour {
	return func(w http.ResponseWriter, r *http.Request, vendor http.Handler) {
		recorder := httptest.NewRecorder()
		vendor.ServeHTTP(recorder, r)
		answer(w, recorder)
	}
}

// onChange answers in the vendor's place after the n-th request, from 1, that changed what the vendor holds.
// struck says whether that ever came.
func (f *front) onChange(n int, answer func(w http.ResponseWriter, vendors *httptest.ResponseRecorder)) (m misbehaviour, struck func() bool) {
	var mu sync.Mutex
	changes := 0
	m = func(w http.ResponseWriter, r *http.Request, vendor http.Handler) {
		mu.Lock()
		defer mu.Unlock()
		before := canonical(f.vendor.Records())
		recorder := httptest.NewRecorder()
		vendor.ServeHTTP(recorder, r)
		if canonical(f.vendor.Records()) != before {
			if changes++; changes == n {
				answer(w, recorder)
				return
			}
		}
		maps.Copy(w.Header(), recorder.Header())
		w.WriteHeader(recorder.Code)
		w.Write(recorder.Body.Bytes())
	}
	return m, func() bool {
		mu.Lock()
		defer mu.Unlock()
		return changes >= n
	}
}

// lose cuts the connection before the first byte of the answer.
func lose(http.ResponseWriter, *httptest.ResponseRecorder) { panic(http.ErrAbortHandler) }

// cut sends half of the answer's body and cuts the connection.
func cut(w http.ResponseWriter, vendors *httptest.ResponseRecorder) {
	body := vendors.Body.Bytes()
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", fmt.Sprint(len(body)+10))
	w.WriteHeader(http.StatusOK)
	w.Write(body[:len(body)/2])
	http.NewResponseController(w).Flush()
	panic(http.ErrAbortHandler)
}

// replaced answers 200 with body.
func replaced(contentType, body string) func(http.ResponseWriter, *httptest.ResponseRecorder) {
	return func(w http.ResponseWriter, _ *httptest.ResponseRecorder) {
		w.Header().Set("Content-Type", contentType)
		io.WriteString(w, body)
	}
}

// flood answers every request with status and a body that goes on for as long as it is read, up to 64 MB. read
// waits for the end of one answer and says whether all of it was taken.
func (f *front) flood(status int) (m misbehaviour, read func() bool) {
	taken := make(chan bool, 100)
	return func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
		io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		io.WriteString(w, `{"id":"`)
		chunk := bytes.Repeat([]byte("x"), 1<<16)
		for range 1024 {
			if _, err := w.Write(chunk); err != nil {
				taken <- false
				return
			}
		}
		taken <- true
	}, func() bool { return <-taken }
}

// hold answers nothing until the client is gone; arrived is told of each request.
func (f *front) hold(arrived chan<- struct{}) misbehaviour {
	return func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
		io.Copy(io.Discard, r.Body) // only then does the server notice that the client left
		select {
		case arrived <- struct{}{}:
		default:
		}
		select {
		case <-r.Context().Done():
		case <-f.closed:
		}
		panic(http.ErrAbortHandler)
	}
}

// canonical writes records so that equal contents give equal texts, in whatever order they are listed.
func canonical(records []Record) string {
	lines := make([]string, len(records))
	for i, r := range records {
		lines[i] = fmt.Sprintf("%q %q", r.Key, r.Fields)
	}
	sort.Strings(lines)
	return strings.Join(lines, "\n")
}
