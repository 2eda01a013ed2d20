package store

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"github.com/redis/go-redis/v9"

	"github.com/leadrelay/leadrelay/internal/lead"
)

// Standing is where a lead stands with one connector.
type Standing struct {
	Connector string
	State     State
	Record    Record
}

// Found is a lead with its standings, sorted by connector. Of a deleted lead only ID, Revision and Updated (the
// time of the delete) are left, until the last connector has confirmed.
type Found struct {
	Lead      lead.Lead
	Deleted   bool
	Standings []Standing
}

// Get reads a lead and where it stands with each connector.
func (s *Store) Get(ctx context.Context, id string) (Found, error) {
	shard, ok := lead.ShardOf(id)
	if !ok {
		return Found{}, ErrNotFound
	}
	prefix := prefixes[shard]
	var stored *redis.StringCmd
	var records *redis.MapStringStringCmd
	_, err := s.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		stored = p.Get(ctx, leadKey(prefix, id))
		records = p.HGetAll(ctx, syncKey(prefix, id))
		return nil
	})
	if errors.Is(err, redis.Nil) {
		return Found{}, ErrNotFound
	}
	if err != nil {
		return Found{}, wrapRedis(err)
	}
	l, deleted, err := document(id, stored.Val())
	if err != nil {
		return Found{}, err
	}
	found := []Found{{Lead: l, Deleted: deleted}}
	if err := s.stand(&found[0], records.Val()); err != nil {
		return Found{}, err
	}
	err = s.noteReplays(ctx, found)
	return found[0], err
}

// Standings reads where leads stand with each connector, in their order.
func (s *Store) Standings(ctx context.Context, leads []lead.Lead) ([]Found, error) {
	found := make([]Found, len(leads))
	records := make([]*redis.MapStringStringCmd, len(leads))
	_, err := s.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, l := range leads {
			shard, _ := lead.ShardOf(l.ID)
			records[i] = p.HGetAll(ctx, syncKey(prefixes[shard], l.ID))
		}
		return nil
	})
	if err != nil {
		return nil, wrapRedis(err)
	}
	for i, l := range leads {
		found[i].Lead = l
		if err := s.stand(&found[i], records[i].Val()); err != nil {
			return nil, err
		}
	}
	return found, s.noteReplays(ctx, found)
}

// stand fills in the standings of a lead by its sync records.
func (s *Store) stand(found *Found, records map[string]string) error {
	names := map[string]bool{}
	if !found.Deleted {
		for _, c := range s.Connectors() {
			names[c.Name] = true
		}
	}
	for name := range records {
		names[name] = true
	}
	for name := range names {
		record, err := decodeRecord(records[name])
		if err != nil {
			return err
		}
		found.Standings = append(found.Standings, Standing{name, record.Standing(found.Lead.Revision), record})
	}
	slices.SortFunc(found.Standings, func(a, b Standing) int { return cmp.Compare(a.Connector, b.Connector) })
	return nil
}

// noteReplays makes Pending what was parked and waits to be pushed again: its record tells of the last attempt alone.
func (s *Store) noteReplays(ctx context.Context, found []Found) error {
	var parked []*Standing
	var due []*redis.FloatCmd
	_, err := s.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i := range found {
			shard, _ := lead.ShardOf(found[i].Lead.ID)
			for n := range found[i].Standings {
				if st := &found[i].Standings[n]; st.State == Parked {
					parked = append(parked, st)
					due = append(due, p.ZScore(ctx, dueKey(prefixes[shard], st.Connector), found[i].Lead.ID))
				}
			}
		}
		return nil
	})
	if err != nil && !errors.Is(err, redis.Nil) {
		return wrapRedis(err)
	}
	for i, st := range parked {
		if due[i].Err() == nil {
			st.State = Pending
		}
	}
	return nil
}
