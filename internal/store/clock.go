package store

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// Clock is Redis's clock, read now and then and carried on by this process's monotonic one, so that all
// processes agree on the time and none is disturbed when its host's clock jumps.
type Clock struct {
	reading atomic.Pointer[reading]
}

type reading struct {
	redis time.Time
	local time.Time // with its monotonic part
}

const readClockEvery = 30 * time.Second

func newClock(ctx context.Context, client redis.UniversalClient, log *slog.Logger) (*Clock, error) {
	c := &Clock{}
	for attempt := 0; ; attempt++ {
		err := c.read(ctx, client)
		if err == nil {
			return c, nil
		}
		if redis.HasErrorPrefix(err, "WRONGPASS") || redis.HasErrorPrefix(err, "NOAUTH") || redis.HasErrorPrefix(err, "NOPERM") {
			return nil, err // waiting does not help
		}
		if attempt == 0 {
			log.Info("waiting for Redis", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(200 * time.Millisecond):
		}
	}
}

func (c *Clock) read(ctx context.Context, client redis.UniversalClient) error {
	before := time.Now()
	now, err := client.Time(ctx).Result()
	if err != nil {
		return err
	}
	c.reading.Store(&reading{redis: now.Add(time.Since(before) / 2).Round(0), local: time.Now()})
	return nil
}

// keep reads Redis's clock again from time to time, until ctx ends.
func (c *Clock) keep(ctx context.Context, client redis.UniversalClient) {
	tick := time.NewTicker(readClockEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			c.read(ctx, client) // a Redis that is away is noticed by everyone else
		}
	}
}

// Now is the time on Redis's clock, to the millisecond.
func (c *Clock) Now() time.Time {
	r := c.reading.Load()
	return r.redis.Add(time.Since(r.local)).Truncate(time.Millisecond).UTC()
}
