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
	local time.Time     // with its monotonic part
	off   time.Duration // at most, when it was read: the answer took twice as long
}

const (
	readClockEvery = 5 * time.Second
	// noticedBack is more than processes may differ in when they read the clock and when they note it.
	noticedBack = 5 * time.Second
	// maxDrift is the part of a time by which two clocks differ more after it, at most: NTP slews each by half as much.
	maxDrift = 1000
)

// newClock reads the clock. It waits for a Redis that is starting until ctx ends. back is by how much the clock was
// set back since any process read it.
func newClock(ctx context.Context, client redis.UniversalClient, log *slog.Logger) (c *Clock, back time.Duration, err error) {
	c = &Clock{client: client}
	for attempt := 0; ; attempt++ {
		back, err := c.read(ctx)
		if err == nil {
			c.read(ctx) // the first answer also took a connection
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
	server := redis.Cmdable(c.client)
	if cluster, ok := c.client.(*redis.ClusterClient); ok {
		// The clocks of its servers may differ: all processes ask the same one.
		if server, err = cluster.MasterForKey(ctx, clockKey); err != nil {
			return 0, err
		}
	}
	before := time.Now()
	now, err := server.Time(ctx).Result()
	if err != nil {
		return 0, err
	}
	after := time.Now()
	off := after.Sub(before) / 2
	c.take(&reading{redis: now.Add(off).Round(0), local: after, off: off})
	last, err := c.client.GetSet(ctx, clockKey, now.UnixMilli()).Int64()
	if err != nil {
		return 0, nil // none yet, or a full Redis that takes no note of it
	}
	if back = time.UnixMilli(last).Sub(now); back < noticedBack {
		return 0, nil
	}
	return back, nil
}

// take goes on from a new reading, unless the last one says the same and is closer: under load an answer takes a while.
func (c *Clock) take(r *reading) {
	if last := c.reading.Load(); last != nil {
		age := r.local.Sub(last.local)
		off := last.off + age/maxDrift
		if off < r.off && r.redis.Sub(last.redis.Add(age)).Abs() <= off+r.off {
			return
		}
	}
	c.reading.Store(r)
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
	due := []string{"fetches"}
	for _, c := range s.Connectors() {
		due = append(due, dueKey("", c.Name))
	}
	for _, name := range due {
		for shard, prefix := range prefixes {
			if err == nil {
				_, err = s.run(ctx, soonerScript, shard, prefix+name, name, by.Milliseconds())
			}
		}
	}
	if err != nil {
		s.log.Error("what waits could not be made due sooner", "error", err)
	}
}
