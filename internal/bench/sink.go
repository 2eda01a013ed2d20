package bench

import (
	"context"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// sink is the webhook receiver that counts.
type sink struct {
	url    string
	server *http.Server
	count  atomic.Int64
	first  atomic.Int64 // Unix ns of the first arrival since reset
	last   atomic.Int64

	mu      sync.Mutex
	waiting int64
	reached chan struct{}
}

func newSink() (*sink, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &sink{url: "http://" + listener.Addr().String() + "/"}
	s.server = &http.Server{Handler: s, ReadHeaderTimeout: 10 * time.Second}
	go s.server.Serve(listener)
	return s, nil
}

func (s *sink) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	io.Copy(io.Discard, r.Body)
	now := time.Now().UnixNano()
	s.first.CompareAndSwap(0, now)
	s.last.Store(now)
	w.WriteHeader(http.StatusNoContent)
	n := s.count.Add(1)
	s.mu.Lock()
	if s.reached != nil && n >= s.waiting {
		close(s.reached)
		s.reached = nil
	}
	s.mu.Unlock()
}

func (s *sink) reset() {
	s.count.Store(0)
	s.first.Store(0)
	s.last.Store(0)
}

// wait waits until n requests have arrived since reset. No arrival for stalled is an error of its caller's making.
func (s *sink) wait(ctx context.Context, n int64) error {
	s.mu.Lock()
	if s.count.Load() >= n {
		s.mu.Unlock()
		return nil
	}
	reached := make(chan struct{})
	s.waiting, s.reached = n, reached
	s.mu.Unlock()
	select {
	case <-reached:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// rate is arrivals a second from the first to the last.
func (s *sink) rate() float64 {
	took := time.Duration(s.last.Load() - s.first.Load())
	if took <= 0 {
		return 0
	}
	return float64(s.count.Load()) / took.Seconds()
}

func (s *sink) close() { s.server.Close() }
