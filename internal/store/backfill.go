package store

import (
	"context"
	"errors"
	"slices"

	"github.com/redis/go-redis/v9"

	"github.com/leadrelay/leadrelay/internal/lead"
)

// Held is a lead and what one connector has of it.
type Held struct {
	Lead   lead.Lead
	Record Record
	Known  bool // whether the connector ever had to do with the lead; if not, Record is empty
	Due    bool // whether it waits to be pushed, or is parked

	// Deleted leads have nothing but their ID and Revision left. EachHeld leaves them out.
	Deleted bool
}

// EachHeld calls do with every lead, page by page and oldest first within a shard, as one connector has it, until do
// returns an error. total is told first how many leads there are.
func (s *Store) EachHeld(ctx context.Context, connector string, total func(leads int64), do func([]Held) error) error {
	leads, err := s.CountLeads(ctx)
	if err != nil {
		return err
	}
	total(leads)
	for _, prefix := range prefixes {
		if err := s.pages(ctx, prefix, connector, do); err != nil {
			return err
		}
	}
	return nil
}

const heldPage = 500

// pages calls do with the leads of a shard, as a connector has them.
func (s *Store) pages(ctx context.Context, prefix, connector string, do func([]Held) error) error {
	for after := "-"; after != ""; {
		ids, err := s.client.ZRangeByLex(ctx, prefix+"ids", &redis.ZRangeBy{Min: after, Max: "+", Count: heldPage}).Result()
		if err != nil {
			return wrapRedis(err)
		}
		after = ""
		if len(ids) == heldPage {
			after = "(" + ids[len(ids)-1]
		}
		page, err := s.held(ctx, prefix, connector, ids)
		if err != nil {
			return err
		}
		page = slices.DeleteFunc(page, func(h Held) bool { return h.Deleted })
		if err := do(page); err != nil {
			return err
		}
	}
	return nil
}

// held reads leads of a shard and what a connector has of them, in one round trip. Those that are gone are left out.
func (s *Store) held(ctx context.Context, prefix, connector string, ids []string) ([]Held, error) {
	type read struct {
		document, record *redis.StringCmd
		due, parked      *redis.FloatCmd
	}
	reads := make([]read, len(ids))
	_, err := s.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, id := range ids {
			reads[i] = read{
				p.Get(ctx, leadKey(prefix, id)), p.HGet(ctx, syncKey(prefix, id), connector),
				p.ZScore(ctx, dueKey(prefix, connector), id), p.ZScore(ctx, parkedKey(prefix, connector), id),
			}
		}
		return nil
	})
	if err != nil && !errors.Is(err, redis.Nil) {
		return nil, wrapRedis(err)
	}
	page := make([]Held, 0, len(ids))
	for i, id := range ids {
		if reads[i].document.Err() != nil {
			continue
		}
		l, deleted, err := document(id, reads[i].document.Val())
		if err != nil {
			return nil, err
		}
		record, err := decodeRecord(reads[i].record.Val())
		if err != nil {
			return nil, err
		}
		page = append(page, Held{
			Lead: l, Record: record, Known: reads[i].record.Err() == nil, Deleted: deleted,
			Due: reads[i].due.Err() == nil || reads[i].parked.Err() == nil,
		})
	}
	return page, nil
}

// Disown forgets everything that a connector has of leads, its backlog and its parked ones with it, and reports how many
// leads that were. The outside system keeps what it has. progress is told after each page.
func (s *Store) Disown(ctx context.Context, connector string, progress func(done int)) (done int, err error) {
	for shard, prefix := range prefixes {
		forget := func(ids []string) error {
			if len(ids) == 0 {
				return nil
			}
			args := []any{connector}
			for _, id := range ids {
				args = append(args, id)
			}
			_, err := s.run(ctx, disownScript, shard, dueKey(prefix, connector), args...)
			done += len(ids)
			progress(done)
			return err
		}
		// Those that are deleted stand in the backlog alone.
		for {
			ids, err := s.client.ZRange(ctx, dueKey(prefix, connector), 0, heldPage-1).Result()
			if err != nil {
				return done, wrapRedis(err)
			}
			if err := forget(ids); err != nil {
				return done, err
			}
			if len(ids) == 0 {
				break
			}
		}
		err := s.pages(ctx, prefix, connector, func(page []Held) error {
			var known []string
			for _, h := range page {
				if h.Known || h.Due {
					known = append(known, h.Lead.ID)
				}
			}
			return forget(known)
		})
		if err != nil {
			return done, err
		}
	}
	_, err = s.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		p.HDel(ctx, gatesKey, connector)
		p.HDel(ctx, failuresKey, connector)
		return nil
	})
	return done, wrapRedis(err)
}
