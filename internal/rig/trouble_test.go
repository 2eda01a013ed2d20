package rig

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// The remotes' times fit together. A connector gives a request up after timeout; a write that is applied late is
// applied within slowest, which a fence outlives by far: no client can be held to what a server does later.
const (
	timeout = 4 * time.Second
	slowest = 1500 * time.Millisecond
)

// fault is one way in which a remote misbehaves.
type fault string

const (
	none            fault = "none"
	errorBefore     fault = "error before applying"
	errorAfter      fault = "error after applying"
	throttledBefore fault = "429 before applying"
	throttledAfter  fault = "429 after applying"
	cutBefore       fault = "cut before applying"
	cutAfter        fault = "cut after applying"
	torn            fault = "cut in the answer"
	slow            fault = "slow"
	hangBefore      fault = "hung before applying"
	hangAfter       fault = "hung after applying"
	garbage         fault = "garbage"
	empty           fault = "empty answer"
	outage          fault = "outage"
)

// usual is how often which fault happens, in a thousand requests.
var usual = map[fault]int{
	errorBefore: 30, errorAfter: 30, throttledBefore: 3, throttledAfter: 3, cutBefore: 20, cutAfter: 30, torn: 20,
	slow: 60, hangBefore: 3, hangAfter: 5, garbage: 15, empty: 10,
}

// trouble stands before a remote and makes it misbehave.
type trouble struct {
	remote http.Handler
	echo   func(body []byte) string // personal data that an error may repeat, as vendors do

	mu     sync.Mutex
	dice   *rand.Rand
	mix    map[fault]int
	down   time.Time // until when nothing is answered
	counts map[fault]int

	calm   atomic.Bool
	flying atomic.Int64
}

func newTrouble(remote http.Handler, dice *rand.Rand, mix map[fault]int) *trouble {
	return &trouble{remote: remote, dice: dice, mix: mix, counts: map[fault]int{}}
}

// roll says what happens to the next request.
func (t *trouble) roll() (f fault, roll int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	f = none
	roll = t.dice.IntN(1 << 20)
	switch {
	case t.calm.Load():
	case time.Now().Before(t.down):
		f = outage
	default:
		n := t.dice.IntN(1000)
		for _, candidate := range slices.Sorted(maps.Keys(t.mix)) {
			if n -= t.mix[candidate]; n < 0 {
				f = candidate
				break
			}
		}
	}
	t.counts[f]++
	return f, roll
}

// breakDown lets the remote answer nothing for a while.
func (t *trouble) breakDown(d time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.down = time.Now().Add(d)
}

func (t *trouble) count() (requests, faults int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for f, n := range t.counts {
		requests += n
		if f != none && f != slow {
			faults += n
		}
	}
	return requests, faults
}

func (t *trouble) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	t.flying.Add(1)
	defer t.flying.Add(-1)
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // it never came whole
	}
	f, roll := t.roll()
	apply := func() *httptest.ResponseRecorder {
		r.Body = io.NopCloser(bytes.NewReader(body))
		answer := httptest.NewRecorder()
		t.remote.ServeHTTP(answer, r)
		return answer
	}
	cut := func() { panic(http.ErrAbortHandler) }
	hang := func() {
		select {
		case <-r.Context().Done():
		case <-time.After(2 * timeout):
		}
		cut()
	}
	switch f {
	case outage, cutBefore:
		cut()
	case errorBefore:
		t.refuse(w, []int{500, 502, 503, 504}[roll%4], body)
	case throttledBefore:
		t.throttle(w, roll, body)
	case errorAfter:
		apply()
		t.refuse(w, []int{500, 502, 503, 504}[roll%4], body)
	case throttledAfter:
		apply()
		t.throttle(w, roll, body)
	case cutAfter:
		apply()
		cut()
	case torn:
		answer := apply()
		text := answer.Body.Bytes()
		if len(text) < 2 {
			cut()
		}
		w.Header().Set("Content-Length", fmt.Sprint(len(text)))
		w.WriteHeader(answer.Code)
		w.Write(text[:len(text)/2])
		w.(http.Flusher).Flush()
		cut()
	case hangBefore:
		hang()
	case hangAfter:
		apply()
		hang()
	case garbage:
		apply()
		w.Header().Set("Content-Type", "text/html")
		io.WriteString(w, []string{"<html><body>It works!</body></html>", "\x00\xff\xfe{", "null", "[[[[", strings.Repeat("x", 3<<20)}[roll%5])
	case empty:
		apply()
		w.WriteHeader(http.StatusOK)
	case slow:
		time.Sleep(time.Duration(roll) * slowest >> 20)
		fallthrough
	default:
		answer := apply()
		maps.Copy(w.Header(), answer.Header())
		w.WriteHeader(answer.Code)
		w.Write(answer.Body.Bytes())
	}
}

// refuse answers an error that repeats what it was sent, as vendors do.
func (t *trouble) refuse(w http.ResponseWriter, status int, body []byte) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	said := ""
	if t.echo != nil {
		said = t.echo(body)
	}
	fmt.Fprintf(w, `{"title":"Not now","detail":%q,"error":{"message":%q}}`, said+" cannot be saved", said+" cannot be saved")
}

// throttle asks to wait in each of the ways there are.
func (t *trouble) throttle(w http.ResponseWriter, roll int, body []byte) {
	switch roll % 3 {
	case 0:
		w.Header().Set("Retry-After", "1")
	case 1:
		w.Header().Set("Retry-After", time.Now().Add(time.Second).UTC().Format(http.TimeFormat))
	}
	t.refuse(w, http.StatusTooManyRequests, body)
}
