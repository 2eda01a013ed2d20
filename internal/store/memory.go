package store

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"
)

// Memory is what all workers share of an account, such as an access token; see connectors.Memory. Keys are stored as
// their digests.
type Memory struct{ store *Store }

// Memory returns it.
func (s *Store) Memory() Memory { return Memory{s} }

const (
	// lockFor is how long a lock holds: what is done under it is one request. A dead holder's is free as soon.
	lockFor = 30 * time.Second
	// A lock that is held is asked for again after a wait that grows between these.
	minLockWait = 10 * time.Millisecond
	maxLockWait = 250 * time.Millisecond
)

func (m Memory) Load(ctx context.Context, key string) (value string, ok bool, err error) {
	value, err = m.store.pipe.get(ctx, "lr:{memory}:value:"+digest(key))
	if errors.Is(err, redis.Nil) {
		return "", false, nil
	}
	return value, err == nil, wrapRedis(err)
}

func (m Memory) Save(ctx context.Context, key, value string, ttl time.Duration) error {
	args := []any{"set", "lr:{memory}:value:" + digest(key), value}
	if ttl > 0 {
		args = append(args, "px", max(1, ttl.Milliseconds()))
	}
	return wrapRedis(m.store.pipe.do(ctx, redis.NewStatusCmd(ctx, args...)))
}

func (m Memory) Lock(ctx context.Context, key string) (unlock func(), err error) {
	lock, token := "lr:{memory}:lock:"+digest(key), uuid.NewString()
	for wait := minLockWait; ; wait = min(2*wait, maxLockWait) {
		err := m.store.pipe.do(ctx, redis.NewStatusCmd(ctx, "set", lock, token, "nx", "px", lockFor.Milliseconds()))
		if err == nil {
			break
		}
		if !errors.Is(err, redis.Nil) {
			return nil, wrapRedis(err)
		}
		select {
		case <-time.After(wait/2 + rand.N(wait/2)):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return sync.OnceFunc(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lockFor)
		defer cancel()
		m.store.pipe.run(ctx, unlockScript, append(newScriptArgs(1, lock), token)) // else it lapses
	}), nil
}
