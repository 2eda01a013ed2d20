package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/leadrelay/leadrelay/internal/lead"
)

// Claim is one lead that this worker alone may push to one connector, as long as the fence holds.
type Claim struct {
	Connector Connector
	Token     string // the fence

	// Change is what to push: the newest state, or for an event connector the next one it was not told of.
	Change lead.Change
	Record Record
	Until  time.Time // when the fence lapses unless it is renewed, on this process's clock

	// Attempt is what the lead's history is told of the push when it is settled; nil: nothing.
	Attempt *Attempt

	// Newest is the lead's newest revision; for an event connector it may be beyond Change's.
	Newest int64
}

// Verb is what became of a push.
type Verb string

const (
	Done  Verb = "done"  // the remote has the change
	Later Verb = "later" // due again at a time
	Park  Verb = "park"  // refused, until the lead changes or is replayed
	note  Verb = "note"  // nothing yet: the record is written before a call
)

// ErrFenceLost: another worker has taken the lead over, or it is gone. Nothing was written.
var ErrFenceLost = errors.New("the fence was lost")

// Claim takes the fences of up to n leads of a shard that are due for a connector. token must be new.
func (s *Store) Claim(ctx context.Context, c Connector, shard, n int, token string, hold time.Duration) ([]*Claim, error) {
	until := time.Now().Add(hold)
	answer, err := s.run(ctx, claimScript, shard, dueKey(prefixes[shard], c.Name),
		c.Name, s.clock.Now().Add(hold).UnixMilli(), n, token, flag(c.Event))
	if err != nil {
		return nil, err
	}
	claims := make([]*Claim, 0, len(answer)/6)
	for ; len(answer) >= 6; answer = answer[6:] {
		claim := &Claim{Connector: c, Token: token, Until: until}
		if err := claim.read(answer[0], answer[1], answer[2], answer[4], answer[5]); err != nil {
			s.log.Error("a lead cannot be read", "lead", answer[0], "error", err)
			continue
		}
		if answer[3] == "1" {
			// The worker before us died or was too slow: its push may have gone out.
			claim.Record.Sent = true
		}
		claims = append(claims, claim)
	}
	return claims, nil
}

func flag(b bool) string {
	if b {
		return "1"
	}
	return "0"
}

// read fills in what the scripts answer of a claimed lead.
func (c *Claim) read(id, stored, record, event, was string) error {
	r, err := decodeRecord(record)
	if err != nil {
		return err
	}
	l, deleted, err := document(id, stored)
	if err != nil {
		return err
	}
	c.Record, c.Newest = r, l.Revision
	if event != "" {
		revision, err := strconv.ParseInt(event, 10, 64)
		if err != nil {
			return fmt.Errorf("store: lead %s: event revision: %w", id, err)
		}
		if l, err = lead.Decode(id, revision, []byte(was)); err != nil {
			return err
		}
	}
	c.Change = c.Connector.changeTo(l, deleted, r.Synced)
	return nil
}

// Refresh reads the claimed lead again and prolongs the fence. ErrFenceLost when it does not hold.
func (s *Store) Refresh(ctx context.Context, c *Claim, hold time.Duration) error {
	shard, _ := lead.ShardOf(c.Change.Lead.ID)
	until := time.Now().Add(hold)
	answer, err := s.run(ctx, refreshScript, shard, dueKey(prefixes[shard], c.Connector.Name),
		c.Connector.Name, c.Change.Lead.ID, c.Token, s.clock.Now().Add(hold).UnixMilli(), flag(c.Connector.Event))
	if err != nil {
		return err
	}
	if answer[0] == "lost" {
		return ErrFenceLost
	}
	sent := c.Record.Sent
	if err := c.read(c.Change.Lead.ID, answer[1], answer[2], answer[3], answer[4]); err != nil {
		return err
	}
	c.Record.Sent = c.Record.Sent || sent
	c.Until = until
	return nil
}

// Note writes the claim's record before a call goes out, so that a crash cannot forget what the call may have
// left behind. ErrFenceLost when the fence does not hold.
func (s *Store) Note(ctx context.Context, c *Claim) error {
	_, err := s.settle(ctx, c, note, time.Time{}, 0)
	return err
}

// Settle records the outcome of the claim's push: its Record, and verb. at is when the lead is due again, for
// Later. It reports more when the lead has changed meanwhile: then the claim holds the next change to push and
// its fence is prolonged by hold; else the fence is given back. ErrFenceLost when the fence does not hold.
func (s *Store) Settle(ctx context.Context, c *Claim, verb Verb, at time.Time, hold time.Duration) (more bool, err error) {
	return s.settle(ctx, c, verb, at, hold)
}

func (s *Store) settle(ctx context.Context, c *Claim, verb Verb, at time.Time, hold time.Duration) (more bool, err error) {
	shard, _ := lead.ShardOf(c.Change.Lead.ID)
	until := time.Now().Add(hold)
	due := at.UnixMilli()
	if verb == Done || verb == Park {
		due = s.clock.Now().Add(hold).UnixMilli()
	}
	// A refused event is passed over for a newer one; a refused state simply gives way to it.
	passedOver := c.Record
	if c.Connector.Event {
		passedOver.Synced = c.Change.Lead.Revision
	}
	events := s.connectors.Load().events
	told := ""
	if verb != note {
		told = c.told(verb, s.clock.Now())
	}
	args := append(make([]any, 0, 10+len(events)), c.Connector.Name, c.Change.Lead.ID, c.Token, string(verb),
		c.Record.encode(), c.Change.Lead.Revision, due, flag(c.Connector.Event), passedOver.encode(), told)
	answer, err := s.run(ctx, settleScript, shard, dueKey(prefixes[shard], c.Connector.Name), append(args, events...)...)
	if err != nil {
		return false, err
	}
	switch answer[0] {
	case "lost":
		return false, ErrFenceLost
	case "more":
		c.Until, c.Attempt = until, nil
		return true, c.read(c.Change.Lead.ID, answer[1], answer[2], answer[3], answer[4])
	}
	return false, nil
}

// Reopen makes good a push that went out although the fence was lost: the lead is pushed once more.
func (s *Store) Reopen(ctx context.Context, c *Claim) error {
	return s.reopen(ctx, c.Connector, c.Change.Lead.ID, c.Record, c.Change.Lead.Revision)
}

func (s *Store) reopen(ctx context.Context, c Connector, id string, record Record, revision int64) error {
	shard, _ := lead.ShardOf(id)
	woken, err := s.run(ctx, reopenScript, shard, dueKey(prefixes[shard], c.Name),
		c.Name, id, record.encode(), revision, record.Ref, flag(c.Event))
	if err != nil {
		return err
	}
	s.bell.owe(shard, woken...)
	return nil
}

// UseKey notes, before it is pushed, that a lead has its record at a keyed connector under a key. Several leads may
// have the same.
func (s *Store) UseKey(ctx context.Context, name, key, id string) error {
	digest := digest(name, key)
	return wrapRedis(s.pipe.do(ctx, redis.NewIntCmd(ctx, "zadd", keysKey(digest), 0, digest+":"+id)))
}

// LeaveKey notes that a lead has no record under a key, or is about to lose it. It returns a lead that still has
// its record there, "" if none does.
func (s *Store) LeaveKey(ctx context.Context, name, key, id string) (other string, err error) {
	digest := digest(name, key)
	var others *redis.StringSliceCmd
	_, err = s.client.TxPipelined(ctx, func(p redis.Pipeliner) error {
		p.ZRem(ctx, keysKey(digest), digest+":"+id)
		others = p.ZRangeByLex(ctx, keysKey(digest), &redis.ZRangeBy{Min: "[" + digest + ":", Max: "(" + digest + ";", Count: 1})
		return nil
	})
	if err != nil {
		return "", wrapRedis(err)
	}
	for _, member := range others.Val() {
		other = strings.TrimPrefix(member, digest+":")
	}
	return other, nil
}

// maxSharing bounds how many leads of one address are looked at in each shard.
const maxSharing = 100

// Sharing returns the leads but id that have the address of this AddressDigest, each with the ref of its record at a
// connector, "" where it has none yet.
func (s *Store) Sharing(ctx context.Context, name, address, id string) (refs map[string]string, err error) {
	var having [lead.Shards]*redis.StringSliceCmd
	_, err = s.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		for shard := range having {
			having[shard] = p.ZRange(ctx, prefixes[shard]+"e:"+address, 0, maxSharing-1)
		}
		return nil
	})
	if err != nil {
		return nil, wrapRedis(err)
	}
	records := map[string]*redis.StringCmd{}
	_, err = s.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		for shard, ids := range having {
			for _, other := range ids.Val() {
				if other != id {
					records[other] = p.HGet(ctx, syncKey(prefixes[shard], other), name)
				}
			}
		}
		return nil
	})
	if err != nil && !errors.Is(err, redis.Nil) {
		return nil, wrapRedis(err)
	}
	refs = map[string]string{}
	for other, cmd := range records {
		record, err := decodeRecord(cmd.Val())
		if err != nil {
			return nil, err
		}
		refs[other] = record.Ref
	}
	return refs, nil
}

// PushAgain has a lead pushed to a connector once more, whatever a push under way may still report.
func (s *Store) PushAgain(ctx context.Context, name, id string) error {
	return s.reopen(ctx, Connector{Name: name}, id, Record{}, 0)
}

// Fence names a claim's fence.
type Fence struct{ ID, Token string }

// Fence returns the claim's fence.
func (c *Claim) Fence() Fence { return Fence{c.Change.Lead.ID, c.Token} }

// Renew prolongs fences of one connector. It returns the ids whose fence was lost.
func (s *Store) Renew(ctx context.Context, name string, fences []Fence, hold time.Duration) (lost []string, err error) {
	due := s.clock.Now().Add(hold).UnixMilli()
	var shards [lead.Shards][]any
	for _, f := range fences {
		shard, _ := lead.ShardOf(f.ID)
		shards[shard] = append(shards[shard], f.ID, f.Token)
	}
	for shard, pairs := range shards {
		if len(pairs) == 0 {
			continue
		}
		ids, err := s.run(ctx, renewScript, shard, dueKey(prefixes[shard], name), append([]any{name, due}, pairs...)...)
		if err != nil {
			return lost, err
		}
		lost = append(lost, ids...)
	}
	return lost, nil
}

// Sweep finds work that nobody is awake for, among the given connectors, and rings for it. It costs the same
// however many leads there are. It reports how many jobs it rang for.
func (s *Store) Sweep(ctx context.Context, names []string) (rung int, err error) {
	if len(names) == 0 {
		return 0, nil
	}
	args := make([]any, len(names))
	for i, name := range names {
		args[i] = name
	}
	calls := make([]*shardCall, lead.Shards)
	for shard := range calls {
		calls[shard] = &shardCall{shard: shard, key: prefixes[shard] + "w", args: args}
	}
	s.runAll(ctx, s.clock.Now(), sweepScript, calls)
	for _, c := range calls {
		if c.err != nil {
			err = c.err // of a part of a Cluster: the others are swept
			continue
		}
		s.bell.owe(c.shard, c.answer...)
		rung += len(c.answer)
	}
	return rung, err
}

// DueShards lists the shards with leads that are due for a connector, the one first whose lead is due longest.
func (s *Store) DueShards(ctx context.Context, name string) ([]int, error) {
	var oldest [lead.Shards]*redis.ZSliceCmd
	now := strconv.FormatInt(s.clock.Now().UnixMilli(), 10)
	_, err := s.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		for shard, prefix := range prefixes {
			oldest[shard] = p.ZRangeByScoreWithScores(ctx, dueKey(prefix, name), &redis.ZRangeBy{Min: "-inf", Max: now, Count: 1})
		}
		return nil
	})
	if err != nil {
		return nil, wrapRedis(err)
	}
	since := map[int]float64{}
	for shard, first := range oldest {
		for _, z := range first.Val() {
			since[shard] = z.Score
		}
	}
	return slices.SortedFunc(maps.Keys(since), func(a, b int) int { return cmp.Compare(since[a], since[b]) }), nil
}

// RingDue rings for every lead that is due for a connector, whether or not a worker is known to be awake for it.
func (s *Store) RingDue(ctx context.Context, name string) error {
	shards, err := s.DueShards(ctx, name)
	for _, shard := range shards {
		s.Ring(name, shard)
	}
	return err
}

// Replay makes a lead due at once for a connector: parked, waiting, or in step (its newest state is pushed once
// more).
func (s *Store) Replay(ctx context.Context, name, id string) error {
	shard, ok := lead.ShardOf(id)
	if !ok {
		return ErrNotFound
	}
	answer, err := s.run(ctx, replayScript, shard, dueKey(prefixes[shard], name), name, id)
	if err != nil {
		return err
	}
	if answer[0] == "gone" {
		return ErrNotFound
	}
	s.bell.owe(shard, answer[1:]...)
	return nil
}

// ReplayParked replays every lead parked for a connector and reports how many. progress is told after each
// hundred.
func (s *Store) ReplayParked(ctx context.Context, name string, progress func(done int)) (int, error) {
	done := 0
	for _, prefix := range prefixes {
		ids, err := s.client.ZRange(ctx, parkedKey(prefix, name), 0, -1).Result()
		if err != nil {
			return done, wrapRedis(err)
		}
		for _, id := range ids {
			if err := s.Replay(ctx, name, id); err != nil && !errors.Is(err, ErrNotFound) {
				return done, err
			}
			if done++; done%100 == 0 {
				progress(done)
			}
		}
	}
	return done, nil
}

// Parked lists up to limit leads parked for a connector, oldest first.
func (s *Store) Parked(ctx context.Context, name string, limit int) ([]Found, error) {
	var all []Found
	for _, prefix := range prefixes {
		ids, err := s.client.ZRange(ctx, parkedKey(prefix, name), 0, int64(limit-len(all)-1)).Result()
		if err != nil {
			return nil, wrapRedis(err)
		}
		for _, id := range ids {
			found, err := s.Get(ctx, id)
			if errors.Is(err, ErrNotFound) {
				continue
			}
			if err != nil {
				return nil, err
			}
			all = append(all, found)
		}
		if len(all) >= limit {
			break
		}
	}
	return all, nil
}

// Totals is what is not in step of one connector.
type Totals struct {
	Backlog int64
	Parked  int64
	Oldest  time.Time // when the oldest change of the backlog was accepted; zero if there is none
}

// dueSkew is how far back work for now is dated; see scripts/prelude.lua.
const dueSkew = time.Second

// Totals reads the totals of connectors, by name.
func (s *Store) Totals(ctx context.Context, names []string) (map[string]Totals, error) {
	type read struct {
		backlog, parked *redis.IntCmd
		due, tried      *redis.ZSliceCmd
		fences          *redis.StringSliceCmd
	}
	reads := map[string][]read{}
	_, err := s.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, name := range names {
			for _, prefix := range prefixes {
				reads[name] = append(reads[name], read{
					p.ZCard(ctx, dueKey(prefix, name)),
					p.ZCard(ctx, parkedKey(prefix, name)),
					p.ZRangeWithScores(ctx, dueKey(prefix, name), 0, 0),
					p.ZRangeWithScores(ctx, triedKey(prefix, name), 0, 0),
					p.HVals(ctx, fencesKey(prefix, name)),
				})
			}
		}
		return nil
	})
	if err != nil {
		return nil, wrapRedis(err)
	}
	now := s.clock.Now()
	totals := map[string]Totals{}
	for name, shards := range reads {
		var t Totals
		waitsSince := func(at time.Time) {
			if t.Oldest.IsZero() || at.Before(t.Oldest) {
				t.Oldest = at.UTC()
			}
		}
		for _, r := range shards {
			t.Backlog += r.backlog.Val()
			t.Parked += r.parked.Val()
			for _, z := range r.due.Val() {
				// A time to come is that of a retry or a fence, and those tell since when they wait.
				if at := time.UnixMilli(int64(z.Score)); !at.After(now) {
					waitsSince(at.Add(dueSkew))
				}
			}
			for _, z := range r.tried.Val() {
				waitsSince(time.UnixMilli(int64(z.Score)))
			}
			for _, fence := range r.fences.Val() {
				_, since, _ := strings.Cut(fence, " ")
				if ms, err := strconv.ParseInt(since, 10, 64); err == nil {
					waitsSince(time.UnixMilli(ms))
				}
			}
		}
		totals[name] = t
	}
	return totals, nil
}
