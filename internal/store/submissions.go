package store

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/leadrelay/leadrelay/internal/lead"
)

// Submission is what was accepted and is no lead yet: kept for review, or until what is missing is there. It has the
// id that its lead will have.
type Submission struct {
	ID       string
	Origin   string // where it came in: "form/NAME" or "source/NAME"
	State    SubmissionState
	Reason   string // why it is no lead, for an operator; no personal data
	Received time.Time
	Payload  []byte // what was sent, as its origin reads it again: personal data
	Attempts int    // of fetching
	Next     time.Time
}

// SubmissionState says what a submission waits for.
type SubmissionState string

const (
	Spam     SubmissionState = "spam"     // for an operator to release or drop it
	Unmapped SubmissionState = "unmapped" // for a mended mapping
	Fetching SubmissionState = "fetching" // for what it only names to be fetched
)

// maxSpam is how much spam of an origin is kept, about: each shard keeps its part.
const maxSpam = 10_000

// submissionFields are those of the hash a submission is, in the order of readSubmission.
var submissionFields = []string{"o", "s", "r", "t", "p", "a", "n"}

// readSubmission reads the values of submissionFields; ok is false when there is no such submission.
func readSubmission(id string, values []string) (sub Submission, ok bool) {
	if len(values) != len(submissionFields) || values[1] == "" {
		return Submission{}, false
	}
	sub = Submission{
		ID: id, Origin: values[0], State: SubmissionState(values[1]), Reason: values[2],
		Received: unixMilli(values[3]), Payload: []byte(values[4]), Next: unixMilli(values[6]),
	}
	sub.Attempts, _ = strconv.Atoi(values[5])
	return sub, true
}

// unixMilli reads a time of the store's own; "" is the zero time.
func unixMilli(text string) time.Time {
	ms, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}

// Keep stores a submission, once for a repeated request. ID, Received and, for Fetching, Next are set here. Of an
// origin's spam the newest maxSpam are kept: dropped is how many older ones went for it.
func (s *Store) Keep(ctx context.Context, sub Submission, once *Idempotency) (kept Submission, dropped int, err error) {
	r := once.request()
	shard := -1
	if r.key != "" {
		shard = r.shard // as for a lead: the key's record must be written in the same step
	}
	sub.Received = s.clock.Now()
	sub.ID = lead.NewID(sub.Received, shard)
	shard, _ = lead.ShardOf(sub.ID)
	answer, err := s.runAt(ctx, sub.Received, keepScript, shard, submissionKey(prefixes[shard], sub.ID), r.key, r.fingerprint, r.seconds,
		sub.ID, sub.Origin, string(sub.State), sub.Reason, sub.Payload, maxSpam/lead.Shards)
	if err != nil {
		return Submission{}, 0, err
	}
	if answer[0] == "seen" {
		sub.ID, sub.Received, err = r.made(answer[1])
	} else {
		dropped, err = strconv.Atoi(answer[1])
	}
	if err != nil {
		return Submission{}, 0, err
	}
	sub.Attempts, sub.Next = 0, time.Time{}
	if sub.State == Fetching {
		sub.Next = sub.Received
	}
	return sub, dropped, nil
}

// SubmissionQuery selects submissions, newest first or, where that is asked for, oldest first.
type SubmissionQuery struct {
	Origin string          // "": any
	State  SubmissionState // "": any
	Before string          // the cursor of newest first; "": from the newest
	Limit  int

	OldestFirst bool
	After       string // its cursor; "": from the oldest
}

// Submissions returns up to Limit submissions and the cursor of the next page, "" at the end.
func (s *Store) Submissions(ctx context.Context, q SubmissionQuery) (found []Submission, next string, err error) {
	groups, err := s.groups(ctx)
	if err != nil || q.Limit < 1 {
		return nil, "", err
	}
	between := redis.ZRangeBy{Min: "-", Max: "+", Count: int64(q.Limit) + 1}
	if q.Before != "" {
		between.Max = "(" + q.Before
	}
	if q.After != "" {
		between.Min = "(" + q.After
	}
	var pages []*redis.StringSliceCmd
	_, err = s.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		for shard, counts := range groups {
			for group := range counts {
				state, origin, _ := strings.Cut(group, " ")
				if q.State != "" && state != string(q.State) || q.Origin != "" && origin != q.Origin {
					continue
				}
				read := p.ZRevRangeByLex
				if q.OldestFirst {
					read = p.ZRangeByLex
				}
				pages = append(pages, read(ctx, prefixes[shard]+"i:"+state+":"+origin, &between))
			}
		}
		return nil
	})
	if err != nil {
		return nil, "", wrapRedis(err)
	}
	var ids []string
	for _, page := range pages {
		ids = append(ids, page.Val()...)
	}
	slices.SortFunc(ids, func(a, b string) int {
		if q.OldestFirst {
			return cmp.Compare(a, b)
		}
		return cmp.Compare(b, a)
	})
	ids = slices.Compact(ids) // one that changed its state meanwhile
	if len(ids) > q.Limit {
		ids = ids[:q.Limit]
		next = ids[q.Limit-1]
	}
	found, err = s.submissions(ctx, ids)
	return found, next, err
}

// submissions reads submissions by id, in their order, but for those that are no more.
func (s *Store) submissions(ctx context.Context, ids []string) (found []Submission, err error) {
	hashes := make([]*redis.SliceCmd, len(ids))
	_, err = s.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, id := range ids {
			shard, _ := lead.ShardOf(id)
			hashes[i] = p.HMGet(ctx, submissionKey(prefixes[shard], id), submissionFields...)
		}
		return nil
	})
	if err != nil {
		return nil, wrapRedis(err)
	}
	for i, hash := range hashes {
		values := make([]string, len(hash.Val()))
		for n, value := range hash.Val() {
			values[n], _ = value.(string)
		}
		if sub, ok := readSubmission(ids[i], values); ok {
			found = append(found, sub)
		}
	}
	return found, nil
}

// Submission returns one; ErrNotFound when there is none, or no more.
func (s *Store) Submission(ctx context.Context, id string) (Submission, error) {
	if _, ok := lead.ShardOf(id); !ok {
		return Submission{}, ErrNotFound
	}
	found, err := s.submissions(ctx, []string{id})
	if err != nil {
		return Submission{}, err
	}
	if len(found) == 0 {
		return Submission{}, ErrNotFound
	}
	return found[0], nil
}

// groups reads how many submissions each shard has, by "STATE ORIGIN".
func (s *Store) groups(ctx context.Context) (groups [lead.Shards]map[string]string, err error) {
	var counts [lead.Shards]*redis.MapStringStringCmd
	_, err = s.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		for shard, prefix := range prefixes {
			counts[shard] = p.HGetAll(ctx, prefix+"inbox")
		}
		return nil
	})
	if err != nil {
		return groups, wrapRedis(err)
	}
	for shard := range counts {
		groups[shard] = counts[shard].Val()
	}
	return groups, nil
}

// CountSubmissions counts by origin and state.
func (s *Store) CountSubmissions(ctx context.Context) (map[string]map[SubmissionState]int, error) {
	groups, err := s.groups(ctx)
	if err != nil {
		return nil, err
	}
	counts := map[string]map[SubmissionState]int{}
	for _, shard := range groups {
		for group, count := range shard {
			state, origin, _ := strings.Cut(group, " ")
			if counts[origin] == nil {
				counts[origin] = map[SubmissionState]int{}
			}
			n, err := strconv.Atoi(count)
			if err != nil {
				return nil, errors.New("store: a count of submissions is none")
			}
			counts[origin][SubmissionState(state)] += n
		}
	}
	return counts, nil
}

// Release makes a submission the lead that patch says, with the work it is for every connector, in one step. Repeating
// it makes no second lead. Under dedupe by address the lead may be one that was there.
func (s *Store) Release(ctx context.Context, id string, patch lead.Patch, dedupe bool) (lead.Lead, error) {
	l, err := s.release(ctx, id, patch, dedupe)
	if err == nil {
		s.CountAccepted(l.Source)
	}
	return l, err
}

func (s *Store) release(ctx context.Context, id string, patch lead.Patch, dedupe bool) (lead.Lead, error) {
	shard, ok := lead.ShardOf(id)
	if !ok {
		return lead.Lead{}, ErrNotFound
	}
	once := &Idempotency{Key: "release\n" + id, For: releasedFor}
	if dedupe {
		return s.releaseByAddress(ctx, id, patch, once)
	}
	now := s.clock.Now()
	l, _, err := patch.Apply(lead.Lead{ID: id, Revision: 1, Created: now, Updated: now})
	if err != nil {
		return lead.Lead{}, err
	}
	names := s.connectors.Load().names
	args := append(make([]any, 0, 3+len(names)), id, encodeDocument(l), emailDigest(l.Email))
	answer, err := s.runAt(ctx, now, releaseScript, shard, submissionKey(prefixes[shard], id), append(args, names...)...)
	if err != nil {
		return lead.Lead{}, err
	}
	switch answer[0] {
	case "released":
		s.bell.owe(shard, answer[1:]...)
		return l, nil
	case "exists":
		l, deleted, err := document(id, answer[1])
		if deleted {
			return lead.Lead{}, ErrNotFound
		}
		return l, err
	}
	return s.released(ctx, id, once)
}

// releasedFor is how long it is known which lead a submission became: an operator may come back days after a crash to
// release it again.
const releasedFor = 7 * 24 * time.Hour

// releaseByAddress accepts the lead first and forgets the submission then: which shard the lead is in, its address
// decides. A repeat between the two steps is one of the same request.
func (s *Store) releaseByAddress(ctx context.Context, id string, patch lead.Patch, once *Idempotency) (lead.Lead, error) {
	if _, err := s.Submission(ctx, id); errors.Is(err, ErrNotFound) {
		return s.released(ctx, id, once)
	} else if err != nil {
		return lead.Lead{}, err
	}
	l, err := s.CreateOrUpdate(ctx, patch, once)
	if err != nil {
		return lead.Lead{}, err
	}
	if err := s.Drop(ctx, id); err != nil && !errors.Is(err, ErrNotFound) {
		return lead.Lead{}, err
	}
	return l, nil
}

// released returns the lead that a submission has become.
func (s *Store) released(ctx context.Context, id string, once *Idempotency) (lead.Lead, error) {
	r := once.request()
	record, err := s.pipe.get(ctx, r.keptAt())
	switch {
	case err == nil:
		if id, _, err = r.made(record); err != nil {
			return lead.Lead{}, err
		}
	case !errors.Is(err, redis.Nil):
		return lead.Lead{}, wrapRedis(err)
	}
	l, deleted, err := s.load(ctx, id)
	if deleted {
		return lead.Lead{}, ErrNotFound
	}
	return l, err
}

// change runs a script that changes a submission.
func (s *Store) change(ctx context.Context, run script, id string, args ...any) error {
	shard, ok := lead.ShardOf(id)
	if !ok {
		return ErrNotFound
	}
	answer, err := s.run(ctx, run, shard, submissionKey(prefixes[shard], id), append([]any{id}, args...)...)
	if err == nil && answer[0] == "gone" {
		err = ErrNotFound
	}
	return err
}

// Drop forgets a submission.
func (s *Store) Drop(ctx context.Context, id string) error { return s.change(ctx, dropScript, id) }

// Postpone records a fetch that failed: it is due again at next. counts says whether it was an attempt.
func (s *Store) Postpone(ctx context.Context, id, reason string, next time.Time, counts bool) error {
	return s.change(ctx, postponeScript, id, reason, next.UnixMilli(), flag(counts))
}

// Resubmit records what became known of a submission: another state, reason or payload. A fetch is due at once.
func (s *Store) Resubmit(ctx context.Context, sub Submission) error {
	return s.change(ctx, resubmitScript, sub.ID, string(sub.State), sub.Reason, sub.Payload, sub.Attempts)
}

// ClaimFetches returns up to most submissions whose fetch is due, and keeps others from claiming them for lease.
func (s *Store) ClaimFetches(ctx context.Context, most int, lease time.Duration) ([]Submission, error) {
	now := s.clock.Now()
	share, err := s.dueFetches(ctx, now, most)
	if err != nil {
		return nil, err
	}
	var calls []*shardCall
	for _, shard := range slices.Sorted(maps.Keys(share)) {
		args := []any{share[shard], now.Add(lease).UnixMilli()}
		for _, field := range submissionFields {
			args = append(args, field)
		}
		calls = append(calls, &shardCall{shard: shard, key: prefixes[shard] + "fetches", args: args})
	}
	if len(calls) == 0 {
		return nil, nil
	}
	s.runAll(ctx, now, fetchScript, calls)
	var claimed []Submission
	for _, c := range calls {
		if c.err != nil {
			err = c.err
		}
		for one := range slices.Chunk(c.answer, 1+len(submissionFields)) {
			if sub, ok := readSubmission(one[0], one[1:]); ok {
				claimed = append(claimed, sub)
			}
		}
	}
	if len(claimed) > 0 {
		return claimed, nil // the others' claims lapse, or were none
	}
	return nil, err
}

// dueFetches says how many fetches to claim in which shards: those that are due longest, up to most.
func (s *Store) dueFetches(ctx context.Context, now time.Time, most int) (share map[int]int, err error) {
	var pages [lead.Shards]*redis.ZSliceCmd
	_, err = s.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		for shard, prefix := range prefixes {
			pages[shard] = p.ZRangeByScoreWithScores(ctx, prefix+"fetches",
				&redis.ZRangeBy{Min: "-inf", Max: strconv.FormatInt(now.UnixMilli(), 10), Count: int64(most)})
		}
		return nil
	})
	if err != nil {
		return nil, wrapRedis(err)
	}
	type due struct {
		shard int
		at    float64
	}
	var all []due
	for shard, page := range pages {
		for _, z := range page.Val() {
			all = append(all, due{shard, z.Score})
		}
	}
	slices.SortFunc(all, func(a, b due) int { return cmp.Compare(a.at, b.at) })
	share = map[int]int{}
	for _, d := range all[:min(most, len(all))] {
		share[d.shard]++
	}
	return share, nil
}

// Secret returns random bytes that all processes on this Redis share under a name, made when they are first asked for.
func (s *Store) Secret(ctx context.Context, name string) ([]byte, error) {
	at := "lr:secret:" + name
	secret, err := s.pipe.get(ctx, at)
	if errors.Is(err, redis.Nil) {
		made := make([]byte, 32)
		rand.Read(made) // never fails, by its contract
		if err := s.pipe.do(ctx, redis.NewStatusCmd(ctx, "set", at, made, "nx")); err != nil && !errors.Is(err, redis.Nil) {
			return nil, wrapRedis(err)
		}
		secret, err = s.pipe.get(ctx, at) // another may have been quicker
	}
	return []byte(secret), wrapRedis(err)
}
