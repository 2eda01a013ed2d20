package store

import (
	"cmp"
	"context"
	"slices"

	"github.com/redis/go-redis/v9"

	"github.com/leadrelay/leadrelay/internal/lead"
)

// newest walks over ids from the newest to the oldest, whichever shards they are in.
type newest struct {
	client redis.UniversalClient
	key    string // of each shard, below its prefix: a zset of ids by name
	oldest string // where to end, as ZREVRANGEBYLEX wants it

	ready  []string // what comes next: no id that is still to be read is newer
	shards [lead.Shards]struct {
		waiting []string // read, and not known to be next
		upTo    string   // what is to be read is older
		ask     int64    // how many ids to read next
		ended   bool
	}
}

// A shard is first asked for so many ids, and for twice as many each time: leads that came together may share one.
const firstAsk, maxAsk = 64, 2048

func (s *Store) newest(key, before, since string) *newest {
	w := &newest{client: s.client, key: key, oldest: "-"}
	if since != "" {
		w.oldest = "[" + since
	}
	for i := range w.shards {
		w.shards[i].upTo, w.shards[i].ask = "+", firstAsk
		if before != "" {
			w.shards[i].upTo = "(" + before
		}
	}
	return w
}

// next returns up to most ids, none at the end; last is set when no more follow.
func (w *newest) next(ctx context.Context, most int) (ids []string, last bool, err error) {
	for len(w.ready) <= most && !w.ended() { // one more than that tells whether any follow
		if err := w.read(ctx); err != nil {
			return nil, false, err
		}
	}
	n := min(most, len(w.ready))
	ids, w.ready = w.ready[:n], w.ready[n:]
	return ids, len(w.ready) == 0 && w.ended(), nil
}

func (w *newest) ended() bool {
	for i := range w.shards {
		if !w.shards[i].ended {
			return false
		}
	}
	return true
}

// read reads on in those shards of which few ids wait.
func (w *newest) read(ctx context.Context) error {
	var pages [lead.Shards]*redis.StringSliceCmd
	_, err := w.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i := range w.shards {
			if shard := &w.shards[i]; !shard.ended && int64(len(shard.waiting)) < shard.ask/2 {
				pages[i] = p.ZRevRangeByLex(ctx, prefixes[i]+w.key, &redis.ZRangeBy{Min: w.oldest, Max: shard.upTo, Count: shard.ask})
			}
		}
		return nil
	})
	if err != nil {
		return wrapRedis(err)
	}
	horizon := "" // beyond it there may be ids that were not read
	for i, page := range pages {
		shard := &w.shards[i]
		if page != nil {
			ids := page.Val()
			shard.waiting = append(shard.waiting, ids...)
			if int64(len(ids)) < shard.ask {
				shard.ended = true
			} else {
				shard.upTo = "(" + ids[len(ids)-1]
				shard.ask = min(2*shard.ask, maxAsk)
			}
		}
		if !shard.ended {
			horizon = max(horizon, shard.waiting[len(shard.waiting)-1])
		}
	}
	from := len(w.ready)
	for i := range w.shards {
		shard := &w.shards[i]
		n, _ := slices.BinarySearchFunc(shard.waiting, horizon, func(id, horizon string) int {
			if id >= horizon {
				return -1
			}
			return 1
		})
		w.ready = append(w.ready, shard.waiting[:n]...)
		shard.waiting = shard.waiting[n:]
	}
	slices.SortFunc(w.ready[from:], func(a, b string) int { return cmp.Compare(b, a) })
	return nil
}
