package store

import (
	"context"
	"fmt"

	"github.com/leadrelay/leadrelay/internal/lead"
)

// changeTo is what a connector is asked for that has the revision synced of a lead, 0 for none, so that it has it as l.
func (c Connector) changeTo(l lead.Lead, deleted bool, synced int64) lead.Change {
	op := lead.Update
	switch {
	case deleted:
		op = lead.Delete
	case c.Event && l.Revision == 1, !c.Event && synced == 0:
		op = lead.Create
	}
	return lead.Change{ID: fmt.Sprintf("%s.%d.%s", l.ID, l.Revision, c.Name), Op: op, Lead: l, Time: l.Updated}
}

// Change is what would be pushed of the lead to the connector that holds it: its newest state, and of an event connector
// the newest change.
func (h Held) Change(c Connector) lead.Change { return c.changeTo(h.Lead, h.Deleted, h.Record.Synced) }

// Held reads a lead as one connector has it, also one that is deleted while not every connector has confirmed that.
func (s *Store) Held(ctx context.Context, connector, id string) (Held, error) {
	shard, ok := lead.ShardOf(id)
	if !ok {
		return Held{}, ErrNotFound
	}
	found, err := s.held(ctx, prefixes[shard], connector, []string{id})
	if err != nil {
		return Held{}, err
	}
	if len(found) == 0 {
		return Held{}, ErrNotFound
	}
	return found[0], nil
}
