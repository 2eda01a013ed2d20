package ingest

import (
	"context"
	"math"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/julienschmidt/httprouter"
	"golang.org/x/time/rate"
)

// handler answers a request of a known key.
type handler func(w http.ResponseWriter, r *http.Request, id string, key Key)

// guard lets through to next only what may go there: within the limits, with a key of the scope.
func (s *server) guard(route string, scope Scope, next handler) httprouter.Handle {
	return s.observed(route, func(w http.ResponseWriter, r *http.Request, params httprouter.Params) {
		key, known := s.keys.find(r)
		if !known {
			w.Header().Set("WWW-Authenticate", `Bearer realm="leadrelay"`)
			fail(w, http.StatusUnauthorized, "unauthorized", "send the API key as: Authorization: Bearer KEY")
			return
		}
		if key.Scope < scope {
			fail(w, http.StatusForbidden, "forbidden", "this API key may only add leads")
			return
		}
		if wait := s.limits.wait(key.Name); wait > 0 {
			w.Header().Set("Retry-After", seconds(wait))
			fail(w, http.StatusTooManyRequests, "too_many_requests", "this API key's rate is used up; wait as Retry-After says")
			return
		}
		if !s.admit(func() { next(w, r, params.ByName("lead_id"), key) }) {
			s.unavailable(w, errCrowded)
		}
	})
}

// open lets everyone through to next: it knows itself who may go on.
func (s *server) open(route string, next httprouter.Handle) httprouter.Handle {
	return s.observed(route, func(w http.ResponseWriter, r *http.Request, params httprouter.Params) {
		if !s.admit(func() { next(w, r, params) }) {
			s.unavailable(w, errCrowded)
		}
	})
}

// admit calls next, or returns false where too many requests are under way.
func (s *server) admit(next func()) bool {
	if !s.limits.enter() {
		return false
	}
	defer s.limits.leave()
	next()
	return true
}

// observed measures what next does, and answers where it panics.
func (s *server) observed(route string, next httprouter.Handle) httprouter.Handle {
	return func(plain http.ResponseWriter, r *http.Request, params httprouter.Params) {
		began := time.Now()
		w := &recorder{ResponseWriter: plain, status: http.StatusOK}
		defer func() {
			if recovered := recover(); recovered != nil {
				s.panicked(w, r, recovered)
			}
			s.metrics.observe(route, w.status, time.Since(began))
		}()
		next(w, s.Tracing.WithRequest(r, route, began), params)
	}
}

// recorder remembers the status for the metrics.
type recorder struct {
	http.ResponseWriter
	status int
}

func (w *recorder) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

// limits bound what is in memory at once, and what one key may ask for.
type limits struct {
	under atomic.Int64 // requests under way
	most  int64
	every rate.Limit
	burst int

	mu   sync.Mutex
	keys map[string]*rate.Limiter
}

func newLimits(concurrent int, perSecond float64, burst int) *limits {
	if burst == 0 {
		burst = max(1, int(math.Ceil(perSecond)))
	}
	return &limits{
		most: int64(concurrent), every: rate.Limit(perSecond), burst: burst,
		keys: map[string]*rate.Limiter{},
	}
}

func (l *limits) enter() bool {
	if l.under.Add(1) > l.most {
		l.leave()
		return false
	}
	return true
}

func (l *limits) leave() { l.under.Add(-1) }

// inTurn puts a change of a lead, or of the one with an address, to the store when it is its turn.
func (s *server) inTurn(ctx context.Context, name string, change func() error) error {
	yield, err := s.turns.take(ctx, name)
	if err != nil {
		return err
	}
	defer yield()
	return change()
}

// patient is the context of a request's calls to the store: it bounds what the request waits for Redis.
func patient(r *http.Request) (context.Context, context.CancelFunc) {
	return context.WithTimeout(r.Context(), storeTimeout)
}

// wait is 0 when the key may go on now, else how long until it may.
func (l *limits) wait(key string) time.Duration {
	if l.every == 0 {
		return 0
	}
	l.mu.Lock()
	limiter := l.keys[key]
	if limiter == nil {
		limiter = rate.NewLimiter(l.every, l.burst)
		l.keys[key] = limiter
	}
	l.mu.Unlock()
	return waitFor(limiter)
}

// waitFor is 0 when one more may go on now, else how long until it may.
func waitFor(limiter *rate.Limiter) time.Duration {
	reservation := limiter.Reserve()
	wait := reservation.Delay()
	if wait > 0 {
		reservation.Cancel()
	}
	return wait
}

// seconds is a wait as Retry-After has it.
func seconds(wait time.Duration) string { return strconv.Itoa(int(math.Ceil(wait.Seconds()))) }

// turns let requests that change the same lead go to the store one after another. The store tries a change again
// that another overtook; without turns, most of a hundred at once would overtake each other until they gave up.
type turns struct {
	mu    sync.Mutex
	leads map[string]*turn
}

type turn struct {
	taken   chan struct{} // holds one element while somebody has the turn
	callers int           // who have it or wait for it
}

// take waits for the turn to change what name stands for, a lead or an address. yield must be called after the
// change; it is nil when ctx ended first.
func (t *turns) take(ctx context.Context, name string) (yield func(), err error) {
	t.mu.Lock()
	mine := t.leads[name]
	if mine == nil {
		mine = &turn{taken: make(chan struct{}, 1)}
		t.leads[name] = mine
	}
	mine.callers++
	t.mu.Unlock()
	leave := func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if mine.callers--; mine.callers == 0 {
			delete(t.leads, name)
		}
	}
	select {
	case mine.taken <- struct{}{}:
		return func() { <-mine.taken; leave() }, nil
	case <-ctx.Done():
		leave()
		return nil, ctx.Err()
	}
}

// flying knows the idempotent requests this process is answering now.
type flying struct{ keys sync.Map } // of *flight

// flight is a request that is being answered.
type flight struct {
	over chan struct{} // closed when it is
	err  error         // what became of it; only of one that others follow
}

// begin returns the flight of a key; first is false when another began it.
func (f *flying) begin(key string) (of *flight, first bool) {
	there, known := f.keys.LoadOrStore(key, &flight{over: make(chan struct{})})
	return there.(*flight), !known
}

func (f *flying) end(key string) {
	if of, known := f.keys.LoadAndDelete(key); known {
		close(of.(*flight).over)
	}
}

// together calls do, or waits for who is doing it under the same key and returns what came of that.
func (f *flying) together(ctx context.Context, key string, do func() error) error {
	of, first := f.begin(key)
	if !first {
		select {
		case <-of.over:
			return of.err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	defer f.end(key)
	of.err = errUnanswered // until do has returned, which it does not where it panics
	of.err = do()
	return of.err
}

var errUnanswered = refused{status: http.StatusInternalServerError, code: "internal", message: "the request failed unexpectedly; it may be sent again"}
