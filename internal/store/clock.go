package store

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// Clock is Redis's clock, read now and then and carried on by this process's monotonic one, so that all
// processes agree on the time and none is disturbed when its host's clock jumps. Redis's own may be set back, or a
// replica with another take over: then one of the processes is told, to mend the times that are kept.
type Clock struct {
	client  redis.UniversalClient
	reading atomic.Pointer[reading]
}

type reading struct {
	redis time.Time
	local time.Time // with its monotonic part
}

const (
	readClockEvery = 5 * time.Second
	// noticedBack is more than processes may differ in when they read the clock and when they note it.
	noticedBack = 5 * time.Second
)

// newClock reads the clock. It waits for a Redis that is starting until ctx ends. back is by how much the clock was
// set back since any process read it.
func newClock(ctx context.Context, client redis.UniversalClient, log *slog.Logger) (c *Clock, back time.Duration, err error) {
	c = &Clock{client: client}
	for attempt := 0; ; attempt++ {
		back, err := c.read(ctx)
		if err == nil {
			return c, back, nil
		}
		if redis.HasErrorPrefix(err, "WRONGPASS") || redis.HasErrorPrefix(err, "NOAUTH") || redis.HasErrorPrefix(err, "NOPERM") {
			return nil, 0, err // waiting does not help
		}
		if attempt == 0 {
			log.Info("waiting for Redis", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil, 0, err
		case <-time.After(200 * time.Millisecond):
		}
	}
}

func (c *Clock) read(ctx context.Context) (back time.Duration, err error) {
	before := time.Now()
	now, err := c.client.Time(ctx).Result()
	if err != nil {
		return 0, err
	}
	c.reading.Store(&reading{redis: now.Add(time.Since(before) / 2).Round(0), local: time.Now()})
	last, err := c.client.GetSet(ctx, clockKey, now.UnixMilli()).Int64()
	if err != nil {
		return 0, nil // none yet, or a full Redis that takes no note of it
	}
	if back = time.UnixMilli(last).Sub(now); back < noticedBack {
		return 0, nil
	}
	return back, nil
}

// keep reads Redis's clock again from time to time, until ctx ends.
func (c *Clock) keep(ctx context.Context, wentBack func(time.Duration)) {
	tick := time.NewTicker(readClockEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			// A Redis that is away is noticed by everyone else.
			if back, err := c.read(ctx); err == nil && back > 0 {
				wentBack(back)
			}
		}
	}
}

// Now is the time on Redis's clock, to the millisecond.
func (c *Clock) Now() time.Time {
	r := c.reading.Load()
	return r.redis.Add(time.Since(r.local)).Truncate(time.Millisecond).UTC()
}

// clockWentBack mends the times to come that are kept: what was due by the clock as it was is due by the clock as it is.
func (s *Store) clockWentBack(by time.Duration) {
	s.log.Warn("Redis's clock was set back; what waits is due as much sooner", "by", by)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	gates, err := s.Gates(ctx)
	for name, gate := range gates {
		if err == nil && gate.Until.After(s.Now()) {
			gate.Until = gate.Until.Add(-by)
			_, err = s.MoveGate(ctx, name, gate)
		}
	}
	for _, c := range s.Connectors() {
		for shard, prefix := range prefixes {
			if err == nil {
				_, err = s.run(ctx, soonerScript, shard, dueKey(prefix, c.Name), c.Name, by.Milliseconds())
			}
		}
	}
	if err != nil {
		s.log.Error("what waits could not be made due sooner", "error", err)
	}
}
