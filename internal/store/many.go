package store

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/leadrelay/leadrelay/internal/lead"
)

// NewLead is one lead of a batch.
type NewLead struct {
	Patch lead.Patch
	Once  *Idempotency // its own; nil: none
}

// Created is what became of one lead of a batch.
type Created struct {
	Lead lead.Lead
	Seen bool // a repeat: nothing was created by it
	Err  error
}

// ByAddress are the places of leads in a batch, those of one address together and in their order. Every lead has one.
func ByAddress(leads []NewLead) [][]int {
	groups := make([][]int, 0, len(leads))
	of := make(map[string]int, len(leads))
	for n, l := range leads {
		address := lead.NormalEmail(*l.Patch.Email)
		group, known := of[address]
		if !known {
			group = len(groups)
			of[address] = group
			groups = append(groups, nil)
		}
		groups[group] = append(groups[group], n)
	}
	return groups
}

// mostInScript bounds how long Redis is busy with one script of a batch.
const mostInScript = 250

// chunk is the leads of a batch that one script writes.
type chunk struct {
	shard   int
	keep    keeping
	entries []entry
	of      []int // which of the batch they are
}

// CreateMany accepts new leads and the work they are, each by itself, in one round trip per pipeline.
func (s *Store) CreateMany(ctx context.Context, leads []NewLead) []Created {
	created := make([]Created, len(leads))
	now := s.clock.Now()
	chunks := s.chunks(leads, created, now)
	calls := make([]*shardCall, len(chunks))
	for i, c := range chunks {
		calls[i] = &shardCall{shard: c.shard, key: leadKey(prefixes[c.shard], c.entries[0].id), args: s.creation(c.keep, c.entries)}
	}
	s.runAll(ctx, now, createScript, calls)
	for i, call := range calls {
		s.tell(created, chunks[i], call)
	}
	return created
}

// chunks applies the patches and groups what they make by the script that is to write it: leads with a key are in its
// shard, others in any that is the same for many.
func (s *Store) chunks(leads []NewLead, created []Created, now time.Time) (chunks []*chunk) {
	var filling [lead.Shards + 1]*chunk
	for i := range leads {
		r := leads[i].Once.request()
		keep, slot := noKeys, lead.Shards
		if r.key != "" {
			keep, slot = keysInShard, r.shard
		}
		c := filling[slot]
		if c == nil || len(c.entries) == mostInScript {
			c = &chunk{shard: slot, keep: keep}
			if keep == noKeys {
				c.shard = rand.IntN(lead.Shards)
				room := min(len(leads)-i, mostInScript)
				c.entries, c.of = make([]entry, 0, room), make([]int, 0, room)
			}
			filling[slot] = c
		}
		l, _, err := leads[i].Patch.Apply(lead.Lead{ID: lead.NewID(now, c.shard), Revision: 1, Created: now, Updated: now})
		if err != nil {
			created[i].Err = err
			continue
		}
		created[i].Lead = l
		if len(c.entries) == 0 {
			chunks = append(chunks, c)
		}
		c.entries, c.of = append(c.entries, newEntry(l, r)), append(c.of, i)
	}
	return chunks
}

// tell notes what became of a chunk's leads.
func (s *Store) tell(created []Created, c *chunk, call *shardCall) {
	var repeats []repeat
	err := call.err
	if err == nil {
		repeats, err = s.written(c.shard, call.answer)
	}
	if err != nil {
		for _, i := range c.of {
			created[i] = Created{Err: err}
		}
		return
	}
	for _, again := range repeats {
		one := &created[c.of[again.place]]
		id := one.Lead.ID
		one.Lead, one.Err = again.answer(one.Lead, c.entries[again.place].request)
		if errors.Is(one.Err, errExists) {
			one.Err = nil // the id is new: it was this very command, repeated by the client after a lost connection
		}
		one.Seen = one.Err == nil && one.Lead.ID != id // else it was that, too
	}
}
