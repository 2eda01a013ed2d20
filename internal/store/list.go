package store

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"
	"golang.org/x/text/language"
	"golang.org/x/text/search"

	"github.com/leadrelay/leadrelay/internal/lead"
)

// Query selects leads, newest first.
type Query struct {
	Email, Source string // exact, Email without regard to case; "": any
	Name          string // any part of the name, without regard to case and accents, no longer than one; "": any

	Connector string // with State: where the lead stands with this connector; "": anywhere
	State     State

	Since  time.Time // only leads that came since; zero: any
	Before string    // only leads whose id sorts before this one: the cursor
	Limit  int
	Within time.Duration // how long to look for them; 0: as long as it takes to look at maxScanned
}

// looks says whether leads have to be looked at to know which are selected.
func (q Query) looks() bool { return q.Source != "" || q.Name != "" || q.Connector != "" }

// since is the oldest id there can be of Since, "" for any.
func (q Query) since() string {
	if q.Since.IsZero() {
		return ""
	}
	return lead.OldestID(q.Since)
}

const (
	// maxScanned bounds how many leads one List looks at.
	maxScanned = 20_000
	// scanStep is how many leads are looked at at once.
	scanStep = 500
)

// sameName tells names apart by their letters alone (https://pkg.go.dev/golang.org/x/text/search).
var sameName = search.New(language.Und, search.Loose)

// List returns up to Limit leads and the cursor of the next page, "" at the end. A page may hold fewer leads
// than Limit, even none, and still have a next: what is rare is searched for over several pages.
func (s *Store) List(ctx context.Context, q Query) (leads []lead.Lead, next string, err error) {
	began := time.Now()
	ids, err := s.candidates(ctx, q)
	if err != nil {
		return nil, "", err
	}
	var name *search.Pattern
	if q.Name != "" {
		name = sameName.CompileString(q.Name)
	}
	next = q.Before
	for scanned := 0; scanned < maxScanned && (scanned == 0 || q.Within == 0 || time.Since(began) < q.Within); {
		step := q.Limit - len(leads)
		if q.looks() {
			step = max(step, scanStep)
		}
		some, last, err := ids.next(ctx, step)
		if err != nil {
			return nil, "", err
		}
		scanned += len(some)
		batch, err := s.selected(ctx, q, name, some)
		if err != nil {
			return nil, "", err
		}
		room := q.Limit - len(leads)
		leads = append(leads, batch[:min(room, len(batch))]...)
		if last && len(batch) <= room {
			return leads, "", nil
		}
		if len(leads) == q.Limit && len(batch) >= room {
			return leads, leads[len(leads)-1].ID, nil
		}
		next = some[len(some)-1]
	}
	return leads, next, nil
}

// selected reads those of some leads that are selected, in their order.
func (s *Store) selected(ctx context.Context, q Query, name *search.Pattern, ids []string) ([]lead.Lead, error) {
	if q.Connector != "" {
		var err error
		if ids, err = s.inSet(ctx, q, ids); err != nil {
			return nil, err
		}
	}
	leads, err := s.loadAll(ctx, ids)
	if err != nil {
		return nil, err
	}
	leads = slices.DeleteFunc(leads, func(l lead.Lead) bool {
		if l.ID == "" || q.Source != "" && l.Source != q.Source || q.Email != "" && lead.NormalEmail(l.Email) != lead.NormalEmail(q.Email) {
			return true
		}
		if name != nil {
			at, _ := name.IndexString(l.Name)
			return at < 0
		}
		return false
	})
	if q.Connector == "" || q.State == Parked { // of what is parked all stand in a set of their own
		return leads, nil
	}
	return s.standing(ctx, q, leads)
}

// setOf is the set that those leads stand in which are in a state with a connector, "" where there is none. That of
// Pending holds others, too.
func (q Query) setOf(prefix string) string {
	switch q.State {
	case Parked:
		return parkedKey(prefix, q.Connector)
	case Retrying:
		return triedKey(prefix, q.Connector)
	case Pending:
		return dueKey(prefix, q.Connector)
	}
	return ""
}

// candidates are the ids to look at, few where a small set holds all that can be selected.
func (s *Store) candidates(ctx context.Context, q Query) (*newest, error) {
	if q.Email != "" {
		return s.newest("e:"+emailDigest(q.Email), q.Before, q.since()), nil
	}
	all := s.newest("ids", q.Before, q.since())
	if q.Connector == "" || q.setOf("") == "" {
		return all, nil
	}
	var counts [lead.Shards]*redis.IntCmd
	_, err := s.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		for shard, prefix := range prefixes {
			counts[shard] = p.ZCard(ctx, q.setOf(prefix))
		}
		return nil
	})
	if err != nil {
		return nil, wrapRedis(err)
	}
	var size int64
	for _, count := range counts {
		size += count.Val()
	}
	if size > maxScanned {
		return all, nil
	}
	var members [lead.Shards]*redis.StringSliceCmd
	_, err = s.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		for shard, prefix := range prefixes {
			members[shard] = p.ZRange(ctx, q.setOf(prefix), 0, -1)
		}
		return nil
	})
	if err != nil {
		return nil, wrapRedis(err)
	}
	few, since := &newest{}, q.since()
	for shard := range members {
		few.shards[shard].ended = true
		for _, id := range members[shard].Val() {
			if id >= since && (q.Before == "" || id < q.Before) {
				few.ready = append(few.ready, id)
			}
		}
	}
	slices.SortFunc(few.ready, func(a, b string) int { return cmp.Compare(b, a) })
	return few, nil
}

// byShard are places of ids, by their shard.
func byShard(ids []string) (places [lead.Shards][]int) {
	for i, id := range ids {
		shard, _ := lead.ShardOf(id)
		places[shard] = append(places[shard], i)
	}
	return places
}

// inSet returns those of the ids that stand in the set of the state that is asked for, or, where that state has no set,
// in none.
func (s *Store) inSet(ctx context.Context, q Query, ids []string) ([]string, error) {
	places := byShard(ids)
	var scores [lead.Shards][]*redis.FloatSliceCmd
	_, err := s.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		for shard, prefix := range prefixes {
			if len(places[shard]) == 0 {
				continue
			}
			members := make([]string, len(places[shard]))
			for i, place := range places[shard] {
				members[i] = ids[place]
			}
			sets := []string{q.setOf(prefix)}
			if sets[0] == "" {
				sets = []string{dueKey(prefix, q.Connector), parkedKey(prefix, q.Connector)}
			}
			for _, set := range sets {
				scores[shard] = append(scores[shard], p.ZMScore(ctx, set, members...))
			}
		}
		return nil
	})
	if err != nil {
		return nil, wrapRedis(err)
	}
	in := make([]bool, len(ids))
	for shard, sets := range scores {
		for _, set := range sets {
			for i, score := range set.Val() {
				if score != 0 { // of a member it is a time
					in[places[shard][i]] = true
				}
			}
		}
	}
	wanted, some := q.setOf("") != "", make([]string, 0, len(ids))
	for i, id := range ids {
		if in[i] == wanted {
			some = append(some, id)
		}
	}
	return some, nil
}

// standing returns those of the leads, of which inSet holds, that are in the state that is asked for.
func (s *Store) standing(ctx context.Context, q Query, leads []lead.Lead) ([]lead.Lead, error) {
	records := make([]*redis.StringCmd, len(leads))
	_, err := s.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, l := range leads {
			shard, _ := lead.ShardOf(l.ID)
			records[i] = p.HGet(ctx, syncKey(prefixes[shard], l.ID), q.Connector)
		}
		return nil
	})
	if err != nil && !errors.Is(err, redis.Nil) {
		return nil, wrapRedis(err)
	}
	some := leads[:0]
	for i, l := range leads {
		if err := records[i].Err(); err != nil && !errors.Is(err, redis.Nil) {
			return nil, wrapRedis(err)
		}
		record, err := decodeRecord(records[i].Val())
		if err != nil {
			return nil, err
		}
		state := record.Standing(l.Revision)
		if state == Parked && q.State == Pending {
			state = Pending // it waits to be pushed again
		}
		if state == q.State {
			some = append(some, l)
		}
	}
	return some, nil
}

// loadAll reads leads by id, in their order; one deleted meanwhile is the zero lead.
func (s *Store) loadAll(ctx context.Context, ids []string) ([]lead.Lead, error) {
	places := byShard(ids)
	var documents [lead.Shards]*redis.SliceCmd
	_, err := s.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		for shard, prefix := range prefixes {
			if len(places[shard]) == 0 {
				continue
			}
			keys := make([]string, len(places[shard]))
			for i, place := range places[shard] {
				keys[i] = leadKey(prefix, ids[place])
			}
			documents[shard] = p.MGet(ctx, keys...)
		}
		return nil
	})
	if err != nil {
		return nil, wrapRedis(err)
	}
	leads := make([]lead.Lead, len(ids))
	for shard := range documents {
		if documents[shard] == nil {
			continue
		}
		for i, stored := range documents[shard].Val() {
			text, ok := stored.(string)
			if !ok {
				continue
			}
			place := places[shard][i]
			l, deleted, err := document(ids[place], text)
			if err != nil {
				return nil, err
			}
			if !deleted {
				leads[place] = l
			}
		}
	}
	return leads, nil
}

// Progress says how many leads a search has looked at that goes on at a cursor, "" for one that is at its end, and how
// many there are to look at.
func (s *Store) Progress(ctx context.Context, q Query, next string) (looked, all int64, err error) {
	oldest, from := "-", "-"
	if since := q.since(); since != "" {
		oldest = "[" + since
		from = oldest
	}
	if next != "" {
		from = "[" + next
	}
	var done, total [lead.Shards]*redis.IntCmd
	_, err = s.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		for shard, prefix := range prefixes {
			done[shard] = p.ZLexCount(ctx, prefix+"ids", from, "+")
			total[shard] = p.ZLexCount(ctx, prefix+"ids", oldest, "+")
		}
		return nil
	})
	if err != nil {
		return 0, 0, wrapRedis(err)
	}
	for shard := range done {
		looked += done[shard].Val()
		all += total[shard].Val()
	}
	return looked, all, nil
}
