package console

import (
	"context"
	"encoding/json"
	"net/http"
	"sync"
	"time"
)

const (
	liveEvery  = 2 * time.Second
	maxViewers = 64
	// A viewer who takes nothing for as long is gone.
	sendTimeout = 10 * time.Second
	// The badges of a page are this old at most.
	recentFor = 5 * time.Second
	// So many events, and it is asked again whether the viewer's session goes on.
	eventsPerSession = 5
)

// live reads the overview once for all who watch it, while anybody does.
type live struct {
	mu      sync.Mutex
	viewers map[chan event]struct{}
	stop    context.CancelFunc // of the reading; nil: nobody watches
	ended   chan struct{}
	closed  bool

	last   overview
	lastAt time.Time // zero: there is none, or something changed since
}

// event is what all viewers are told.
type event struct {
	name string
	data []byte
}

func (l *live) init() { l.viewers, l.ended = map[chan event]struct{}{}, make(chan struct{}) }

func (l *live) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.closed {
		l.closed = true
		close(l.ended)
	}
}

// fresh reads the overview.
func (l *live) fresh(ctx context.Context, s *site) (overview, error) {
	began := time.Now()
	o, err := s.read(ctx)
	if err != nil {
		return overview{}, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if began.After(l.lastAt) {
		l.last, l.lastAt = o, began
	}
	return o, nil
}

// recent returns the overview as it was a moment ago.
func (l *live) recent(ctx context.Context, s *site) (overview, error) {
	l.mu.Lock()
	last, at := l.last, l.lastAt
	l.mu.Unlock()
	if time.Since(at) < recentFor {
		return last, nil
	}
	return l.fresh(ctx, s)
}

// changed makes what was read old.
func (l *live) changed() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lastAt = time.Time{}
}

// join adds a viewer; ok is false when there are too many.
func (l *live) join(now func() *site) (told chan event, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || len(l.viewers) >= maxViewers {
		return nil, false
	}
	told = make(chan event, 1)
	l.viewers[told] = struct{}{}
	if l.stop == nil {
		ctx, stop := context.WithCancel(context.Background())
		l.stop = stop
		go l.watch(ctx, now)
	}
	return told, true
}

func (l *live) leave(told chan event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.viewers, told)
	if len(l.viewers) == 0 {
		l.stop()
		l.stop = nil
	}
}

// watch tells the viewers how things are, until ctx ends.
func (l *live) watch(ctx context.Context, now func() *site) {
	tick := time.NewTicker(liveEvery)
	defer tick.Stop()
	for {
		e := event{name: "overview"}
		reading, cancel := context.WithTimeout(ctx, storeTimeout)
		o, err := l.fresh(reading, now())
		cancel()
		if err == nil {
			e.data, err = json.Marshal(o)
		}
		if err != nil {
			e = event{"trouble", []byte("{}")}
		}
		l.mu.Lock()
		if ctx.Err() == nil {
			for told := range l.viewers {
				select {
				case <-told: // nobody took what was told before
				default:
				}
				told <- e
			}
		}
		l.mu.Unlock()
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// stream keeps an overview live by server-sent events, until the viewer goes, or has to.
func (s *site) stream(v *visit, now func() *site) error {
	v.w.Header().Set("Content-Type", "text/event-stream")
	v.w.Header().Set("X-Accel-Buffering", "no") // nginx would keep events back
	if v.r.Method == http.MethodHead {
		return nil
	}
	told, ok := s.live.join(now)
	if !ok {
		v.w.Header().Del("Content-Type")
		return refusal{http.StatusServiceUnavailable, "Too many are watching", "The overview is not kept live; reload it to see it as it is."}
	}
	defer s.live.leave(told)
	send := http.NewResponseController(v.w)
	send.SetReadDeadline(time.Time{}) // nothing more is read: the server's timeout for that would end the stream
	tell := func(e event) error {
		send.SetWriteDeadline(time.Now().Add(sendTimeout))
		text := append(append([]byte("event: "+e.name+"\ndata: "), e.data...), '\n', '\n')
		if _, err := v.w.Write(text); err != nil {
			return err
		}
		return send.Flush()
	}
	var shown *activity
	for n := 1; ; n++ {
		select {
		case e := <-told:
			if !v.stays(now(), n) || tell(e) != nil {
				return nil
			}
			if e.name != "overview" {
				continue
			}
			if charts := v.charts(now()); charts != nil && charts != shown {
				if shown = charts; tell(event{"activity", charts.event}) != nil {
					return nil
				}
			}
		case <-v.ctx.Done():
			return nil
		case <-s.live.ended:
			return nil
		}
	}
}

// charts are those a viewer asked for, nil where they cannot be read now.
func (v *visit) charts(now *site) *activity {
	ctx, cancel := context.WithTimeout(v.ctx, storeTimeout)
	defer cancel()
	charts, err := now.activity(ctx, spanOf(v.r))
	if err != nil {
		return nil
	}
	return charts
}

// stays says whether a viewer may be told the nth event: not when their session ended or the operator is gone.
func (v *visit) stays(now *site, n int) bool {
	if !now.counts(v.session) {
		return false
	}
	if n%eventsPerSession != 0 {
		return true
	}
	ctx, cancel := context.WithTimeout(v.ctx, storeTimeout)
	defer cancel()
	_, ok, err := now.Store.Session(ctx, v.has(sessionCookie))
	return ok || err != nil // a Redis that is away has not ended it
}
