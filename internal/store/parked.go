package store

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/leadrelay/leadrelay/internal/lead"
)

// ParkedRecord is a lead that is parked for a connector, by its id, and why.
type ParkedRecord struct {
	ID     string
	Record Record
}

// Reason is why the lead is parked, the same for all leads that are for the same: its own id is ID there.
func (p ParkedRecord) Reason() string { return strings.ReplaceAll(p.Record.Reason, p.ID, "ID") }

// LatestParked returns, for each connector, up to limit of the leads that were parked last. It reads as much of each
// shard: where there are more than limit, and most in few shards, some may be missing that were parked later.
func (s *Store) LatestParked(ctx context.Context, names []string, limit int) (map[string][]ParkedRecord, error) {
	counts := map[string]*[lead.Shards]*redis.IntCmd{}
	_, err := s.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, name := range names {
			counts[name] = &[lead.Shards]*redis.IntCmd{}
			for shard, prefix := range prefixes {
				counts[name][shard] = p.ZCard(ctx, parkedKey(prefix, name))
			}
		}
		return nil
	})
	if err != nil {
		return nil, wrapRedis(err)
	}
	pages := map[string][]*redis.ZSliceCmd{}
	_, err = s.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, name := range names {
			share := shareOf(counts[name], int64(limit))
			for shard, prefix := range prefixes {
				if counts[name][shard].Val() > 0 {
					pages[name] = append(pages[name], p.ZRevRangeWithScores(ctx, parkedKey(prefix, name), 0, share-1))
				}
			}
		}
		return nil
	})
	if err != nil {
		return nil, wrapRedis(err)
	}
	type parked struct {
		id string
		at float64
	}
	latest := map[string][]ParkedRecord{}
	for name, shards := range pages {
		var all []parked
		for _, page := range shards {
			for _, z := range page.Val() {
				id, _ := z.Member.(string)
				all = append(all, parked{id, z.Score})
			}
		}
		slices.SortFunc(all, func(a, b parked) int { return cmp.Or(cmp.Compare(b.at, a.at), cmp.Compare(b.id, a.id)) })
		for _, one := range all[:min(limit, len(all))] {
			latest[name] = append(latest[name], ParkedRecord{ID: one.id})
		}
	}
	return latest, s.readParked(ctx, latest)
}

// shareOf is the most to read of each shard so that it is limit of all, or all.
func shareOf(counts *[lead.Shards]*redis.IntCmd, limit int64) int64 {
	for share := int64(1); ; share *= 2 {
		var sum, all int64
		for _, count := range counts {
			all += count.Val()
			sum += min(share, count.Val())
		}
		if sum >= limit || sum == all {
			return share
		}
	}
}

// parkedPage is how many records are read at once.
const parkedPage = 500

// EachParked calls do with all leads that are parked for a connector, page by page, until do returns an error.
func (s *Store) EachParked(ctx context.Context, name string, do func([]ParkedRecord) error) error {
	for _, prefix := range prefixes {
		ids, err := s.client.ZRange(ctx, parkedKey(prefix, name), 0, -1).Result()
		if err != nil {
			return wrapRedis(err)
		}
		for some := range slices.Chunk(ids, parkedPage) {
			page := make([]ParkedRecord, len(some))
			for i, id := range some {
				page[i].ID = id
			}
			if err := s.readParked(ctx, map[string][]ParkedRecord{name: page}); err != nil {
				return err
			}
			if err := do(page); err != nil {
				return err
			}
		}
	}
	return nil
}

// readParked fills in the records by connector.
func (s *Store) readParked(ctx context.Context, all map[string][]ParkedRecord) error {
	reads := map[string][]*redis.StringCmd{}
	_, err := s.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		for name, some := range all {
			for _, one := range some {
				shard, _ := lead.ShardOf(one.ID)
				reads[name] = append(reads[name], p.HGet(ctx, syncKey(prefixes[shard], one.ID), name))
			}
		}
		return nil
	})
	if err != nil && !errors.Is(err, redis.Nil) {
		return wrapRedis(err)
	}
	for name, some := range all {
		for i, read := range reads[name] {
			text, err := read.Result()
			if errors.Is(err, redis.Nil) {
				continue // deleted meanwhile
			}
			if err != nil {
				return wrapRedis(err)
			}
			if some[i].Record, err = decodeRecord(text); err != nil {
				return err
			}
		}
	}
	return nil
}
