package store

import (
	"context"

	"github.com/redis/go-redis/v9"

	"github.com/leadrelay/leadrelay/internal/lead"
)

// EachLatestHeld is EachHeld from the newest lead to the oldest, over all shards.
func (s *Store) EachLatestHeld(ctx context.Context, connector string, total func(leads int64), do func([]Held) error) error {
	leads, err := s.CountLeads(ctx)
	if err != nil {
		return err
	}
	total(leads)
	for newest := s.newest("ids", "", ""); ; {
		ids, _, err := newest.next(ctx, heldPage)
		if err != nil || len(ids) == 0 {
			return err
		}
		byShard := map[int][]string{}
		for _, id := range ids {
			shard, _ := lead.ShardOf(id)
			byShard[shard] = append(byShard[shard], id)
		}
		held := map[string]Held{}
		for shard, some := range byShard {
			page, err := s.held(ctx, prefixes[shard], connector, some)
			if err != nil {
				return err
			}
			for _, h := range page {
				held[h.Lead.ID] = h
			}
		}
		page := make([]Held, 0, len(held))
		for _, id := range ids {
			if h, ok := held[id]; ok {
				page = append(page, h)
			}
		}
		if err := do(page); err != nil {
			return err
		}
	}
}

// CountLeads counts the leads there are.
func (s *Store) CountLeads(ctx context.Context) (leads int64, err error) {
	counts := make([]*redis.IntCmd, len(prefixes))
	_, err = s.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		for shard, prefix := range prefixes {
			counts[shard] = p.ZCard(ctx, prefix+"ids")
		}
		return nil
	})
	for _, count := range counts {
		leads += count.Val()
	}
	return leads, wrapRedis(err)
}
