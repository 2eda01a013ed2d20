package connectors

import (
	"context"
	"sync"
	"time"
)

// Host is what the worker lends a connector for one Push, PushBatch or Find, through its context. Where there is none,
// as in Check and in tests, nothing is limited and a Memory of this process serves.
type Host interface {
	Spend(ctx context.Context, cost int) error
	HoldCalls(ctx context.Context, until time.Time)
	Memory() Memory
}

type hostKey struct{}

// WithHost is the context of a push that host serves.
func WithHost(ctx context.Context, host Host) context.Context {
	return context.WithValue(ctx, hostKey{}, host)
}

func hostOf(ctx context.Context) Host {
	host, _ := ctx.Value(hostKey{}).(Host)
	return host
}

// Spend asks leave for one more HTTP request, which costs cost, at least 1, under the connector's Limits. The worker
// has spent one call of cost 1 before the push: the first request uses it up. Spend waits a few seconds for leave, then
// it returns an *Error to return from the push: Throttled, and nothing was sent. A refusal spends nothing.
//
// A connector that never calls Spend makes as many calls of cost 1 as there are pushes.
func Spend(ctx context.Context, cost int) error {
	if host := hostOf(ctx); host != nil {
		return host.Spend(ctx, cost)
	}
	return nil
}

// HoldCalls is for a connector that is told how little of its limits is left: until then, and at most for a day,
// nothing of the connector's RateScope is called by any worker. It must be Limited.
func HoldCalls(ctx context.Context, until time.Time) {
	if host := hostOf(ctx); host != nil {
		host.HoldCalls(ctx, until)
	}
}

// Memory is what all workers share of what a vendor gives to an account and not to one process, such as an access token
// or a refresh token that is replaced when it is used. Keys name the account and where it is, without secrets; a value
// that is secret is encrypted by whoever saves it.
type Memory interface {
	// Load returns what was saved last; ok is false if nothing was, or it is past its time.
	Load(ctx context.Context, key string) (value string, ok bool, err error)

	// Save keeps a value for ttl, or for good where that is 0.
	Save(ctx context.Context, key, value string, ttl time.Duration) error

	// Lock waits until nobody else holds the lock of this name. It lapses by itself half a minute later, for the
	// case that its holder dies: what is done under it takes less.
	Lock(ctx context.Context, key string) (unlock func(), err error)
}

// MemoryOf returns the memory to use in a push, or in what else has this context.
func MemoryOf(ctx context.Context) Memory {
	if host := hostOf(ctx); host != nil {
		return host.Memory()
	}
	return local
}

// local is the memory of this process.
var local = &processMemory{values: map[string]remembered{}, locks: map[string]chan struct{}{}}

type processMemory struct {
	mu     sync.Mutex
	values map[string]remembered
	locks  map[string]chan struct{} // with a value while it is held
}

type remembered struct {
	value string
	until time.Time // zero: for good
}

func (r remembered) past() bool { return !r.until.IsZero() && !time.Now().Before(r.until) }

func (m *processMemory) Load(_ context.Context, key string) (value string, ok bool, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r, ok := m.values[key]
	if !ok || r.past() {
		return "", false, nil
	}
	return r.value, true, nil
}

func (m *processMemory) Save(_ context.Context, key, value string, ttl time.Duration) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for other, r := range m.values {
		if r.past() {
			delete(m.values, other)
		}
	}
	r := remembered{value: value}
	if ttl > 0 {
		r.until = time.Now().Add(ttl)
	}
	m.values[key] = r
	return nil
}

func (m *processMemory) Lock(ctx context.Context, key string) (unlock func(), err error) {
	m.mu.Lock()
	lock := m.locks[key]
	if lock == nil {
		lock = make(chan struct{}, 1)
		m.locks[key] = lock
	}
	m.mu.Unlock()
	select {
	case lock <- struct{}{}:
		return sync.OnceFunc(func() { <-lock }), nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
