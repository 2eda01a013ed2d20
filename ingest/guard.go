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
			w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(wait.Seconds()))))
			fail(w, http.StatusTooManyRequests, "too_many_requests", "this API key's rate is used up; wait as Retry-After says")
			return
		}
		s.admit(w, func() { next(w, r, params.ByName("id"), key) })
	})
}

// open lets everyone through to next: it knows itself who may go on.
func (s *server) open(route string, next httprouter.Handle) httprouter.Handle {
	return s.observed(route, func(w http.ResponseWriter, r *http.Request, params httprouter.Params) {
		s.admit(w, func() { next(w, r, params) })
	})
}

// admit calls next unless too many requests are under way.
func (s *server) admit(w http.ResponseWriter, next func()) {
	if !s.limits.enter() {
		s.unavailable(w, errCrowded)
		return
	}
	defer s.limits.leave()
	next()
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
		next(w, r, params)
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
	reservation := limiter.Reserve()
	wait := reservation.Delay()
	if wait > 0 {
		reservation.Cancel()
	}
	return wait
}

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
type flying struct{ keys sync.Map }

// begin is false when the same key is in flight.
func (f *flying) begin(key string) bool {
	_, there := f.keys.LoadOrStore(key, true)
	return !there
}

func (f *flying) end(key string) { f.keys.Delete(key) }
