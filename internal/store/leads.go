package store

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/leadrelay/leadrelay/internal/lead"
)

// Idempotency names a request that must have its effect once: a repeat gets the same answer.
type Idempotency struct {
	Key         string        // what the client sent, with whose it is; only its digest is stored
	Fingerprint string        // tells one request from another; only its digest is stored
	For         time.Duration // how long a repeat is known, in whole seconds; 0: a day

	// Group is what many requests have in common that arrive at the same time, such as the form they were posted by: they
	// are accepted together, which is cheaper, and share a shard. "": nothing.
	Group string
}

// request is an Idempotency as it is stored; its zero is none.
type request struct {
	key, fingerprint string
	seconds          int64 // for which a repeat is known
	shard            int   // where the key is kept
	together         bool  // whether it belongs to a group
}

func (i *Idempotency) request() request {
	if i == nil {
		return request{}
	}
	known := i.For
	if known == 0 {
		known = 24 * time.Hour
	}
	r := request{
		key: digest(i.Key), fingerprint: digest(i.Key, i.Fingerprint),
		seconds: max(1, int64(known/time.Second)), together: i.Group != "",
	}
	r.shard = keyShard(r.key)
	if r.together {
		r.shard = keyShard(digest(i.Group))
	}
	return r
}

// keptAt is where it is kept what the request made.
func (r request) keptAt() string { return prefixes[r.shard] + "k:" + r.key }

// maxTries bounds how often a change is tried on a lead that others change at the same time.
const maxTries = 64

// Create accepts a new lead and, in the same atomic step, the work it is for every connector: one round trip.
// It returns the lead as stored; for a repeated request, as it was then.
func (s *Store) Create(ctx context.Context, patch lead.Patch, once *Idempotency) (lead.Lead, error) {
	now := s.clock.Now()
	r := once.request()
	if r.key == "" || r.together {
		l, _, err := patch.Apply(lead.Lead{Revision: 1, Created: now, Updated: now})
		if err != nil {
			return lead.Lead{}, err
		}
		return s.intake.accept(ctx, l, r)
	}
	// The key's record and the lead must be written in one step, so they share a shard.
	l, err := s.create(ctx, lead.NewID(now, r.shard), now, patch, r, keysInShard)
	if errors.Is(err, errExists) {
		// The id is new, so it was this very command, repeated by the client after a lost connection.
		err = nil
	}
	return l, err
}

// errExists: the id to create is taken.
var errExists = errors.New("the lead exists")

// keeping is where the idempotency keys of new leads are kept.
type keeping string

const (
	noKeys       keeping = ""
	keysInShard  keeping = "shard"
	keysWithLead keeping = "lead" // among those of the lead itself
)

// create writes one new lead.
func (s *Store) create(ctx context.Context, id string, now time.Time, patch lead.Patch, r request, keep keeping) (lead.Lead, error) {
	if r.key == "" {
		keep = noKeys
	}
	l, _, err := patch.Apply(lead.Lead{ID: id, Revision: 1, Created: now, Updated: now})
	if err != nil {
		return lead.Lead{}, err
	}
	shard, _ := lead.ShardOf(id)
	entries := []entry{newEntry(l, r)}
	answer, err := s.runAt(ctx, now, createScript, shard, leadKey(prefixes[shard], id), s.creation(keep, entries)...)
	if err != nil {
		return lead.Lead{}, err
	}
	repeats, err := s.written(shard, answer)
	if err != nil || len(repeats) == 0 {
		return l, err
	}
	return repeats[0].answer(l, r)
}

// entry is a new lead as it is written.
type entry struct {
	id, document, address string
	request
}

func newEntry(l lead.Lead, r request) entry {
	return entry{l.ID, encodeDocument(l), emailDigest(l.Email), r}
}

// creation is what the script is given to write new leads of one shard and the work they are, in one step.
func (s *Store) creation(keep keeping, entries []entry) []any {
	names := s.connectors.Load().names
	args := append(make([]any, 0, 2+len(names)+6*len(entries)), string(keep), len(names))
	args = append(args, names...)
	for i := range entries {
		e := &entries[i]
		args = append(args, &e.id, &e.document, &e.address)
		if keep != noKeys {
			args = append(args, &e.key, &e.fingerprint, e.seconds)
		}
	}
	return args
}

// repeat is a lead that was not created.
type repeat struct {
	place  int    // among those to create
	record string // of the request that made it, "" when its id was taken
}

// written reads what the script answers, and has jobs enqueued for what it wrote.
func (s *Store) written(shard int, answer []string) (repeats []repeat, err error) {
	n := 0
	if len(answer) > 0 {
		n, err = strconv.Atoi(answer[0])
	}
	if err != nil || len(answer) < 1+2*n {
		return nil, errors.New("store: the script that creates leads was not understood")
	}
	for i := 1; i < 1+2*n; i += 2 {
		place, err := strconv.Atoi(answer[i])
		if err != nil {
			return nil, fmt.Errorf("store: the script that creates leads was not understood: %w", err)
		}
		repeats = append(repeats, repeat{place, answer[i+1]})
	}
	s.bell.owe(shard, answer[1+2*n:]...)
	return repeats, nil
}

// answer returns the lead that the request is answered with.
func (again repeat) answer(l lead.Lead, r request) (lead.Lead, error) {
	if again.record == "" {
		return l, errExists
	}
	made, at, err := r.made(again.record)
	if err != nil {
		return lead.Lead{}, err
	}
	// The request is the same to the byte, so the answer follows from it; nothing of it was kept.
	l.ID, l.Created, l.Updated = made, at, at
	return l, nil
}

// made is the id that a request made, and when, by its record; ErrKeyReused when that is another request's.
func (r request) made(record string) (id string, at time.Time, err error) {
	was, id, at, err := splitSeen(record)
	if err == nil && was != r.fingerprint {
		err = ErrKeyReused
	}
	return id, at, err
}

// splitSeen reads what was kept of an idempotent request: its fingerprint, what it made, and when.
func splitSeen(record string) (fingerprint, made string, at time.Time, err error) {
	parts := strings.SplitN(record, " ", 3)
	if len(parts) != 3 {
		return "", "", at, errors.New("store: idempotency record: not one")
	}
	ms, err := strconv.ParseInt(parts[2], 10, 64)
	if err != nil {
		return "", "", at, errors.New("store: idempotency record: not one")
	}
	return parts[0], parts[1], time.UnixMilli(ms).UTC(), nil
}

// CreateOrUpdate accepts a lead under dedupe by address: it updates the lead that owns the address, or creates
// one that does. Concurrent calls for one address end in one lead. A repeated request gets the answer of the first
// and changes nothing, whatever has become of the lead since.
func (s *Store) CreateOrUpdate(ctx context.Context, patch lead.Patch, once *Idempotency) (lead.Lead, error) {
	r := once.request()
	if r.key == "" {
		return s.createOrUpdate(ctx, patch, nil)
	}
	// Which lead it will be is not known yet, so the key cannot be written together with it: it is noted first,
	// kept with the lead in the step that accepts the change, and pointed to the lead at last. Where the last
	// step is missing, a repeat finds the lead by its address and the key there.
	at := r.keptAt()
	noted := r.fingerprint + " - " + strconv.FormatInt(s.clock.Now().UnixMilli(), 10)
	err := s.pipe.do(ctx, redis.NewStatusCmd(ctx, "set", at, noted, "ex", r.seconds, "nx"))
	if errors.Is(err, redis.Nil) {
		seen, err := s.pipe.get(ctx, at)
		if err != nil {
			return lead.Lead{}, wrapRedis(err)
		}
		made, when, err := r.made(seen)
		if err != nil {
			return lead.Lead{}, err
		}
		if made != "-" {
			return s.answered(ctx, made, when, patch, r.key)
		}
	} else if err != nil {
		return lead.Lead{}, wrapRedis(err)
	}
	l, err := s.createOrUpdate(ctx, patch, once)
	if err != nil {
		return lead.Lead{}, err
	}
	pointed := r.fingerprint + " " + l.ID + " " + strconv.FormatInt(l.Updated.UnixMilli(), 10)
	return l, wrapRedis(s.pipe.do(ctx, redis.NewStatusCmd(ctx, "set", at, pointed, "ex", r.seconds)))
}

// answered returns the lead as it was when a request with a key made or changed it. Of a lead that was deleted
// since, nothing was kept but what the request itself says.
func (s *Store) answered(ctx context.Context, id string, at time.Time, patch lead.Patch, key string) (lead.Lead, error) {
	_, l, err := s.kept(ctx, id, key)
	if errors.Is(err, redis.Nil) {
		l, _, err = patch.Apply(lead.Lead{ID: id, Revision: 1, Created: at, Updated: at})
	}
	return l, err
}

// kept reads what was kept with a lead of a request with a key; redis.Nil if nothing was.
func (s *Store) kept(ctx context.Context, id, key string) (fingerprint string, then lead.Lead, err error) {
	shard, _ := lead.ShardOf(id)
	text, err := s.pipe.hget(ctx, prefixes[shard]+"a:"+id, key)
	if err != nil {
		return "", lead.Lead{}, wrapRedis(err)
	}
	return keptAnswer(id, text)
}

// keptAnswer reads what was kept with a lead of an idempotent request: its fingerprint, and how the lead then was.
func keptAnswer(id, kept string) (fingerprint string, then lead.Lead, err error) {
	fingerprint, rest, _ := strings.Cut(kept, " ")
	_, stored, _ := strings.Cut(rest, " ")
	then, _, err = document(id, stored)
	return fingerprint, then, err
}

// proposedFor is how long an id that owns an address may wait for its lead to be created.
const proposedFor = time.Minute

func (s *Store) createOrUpdate(ctx context.Context, patch lead.Patch, once *Idempotency) (lead.Lead, error) {
	address := *patch.Email
	r := once.request()
	formerOwner := ""
	for range maxTries {
		now := s.clock.Now()
		owner, err := s.owner(ctx, address, formerOwner, now)
		if err != nil {
			return lead.Lead{}, err
		}
		current, deleted, err := s.load(ctx, owner)
		switch {
		case errors.Is(err, ErrNotFound) && now.Sub(lead.IDTime(owner)) < proposedFor:
			// Just proposed, by us or by a request that is about to create it: whoever is first does.
			l, err := s.create(ctx, owner, now, patch, r, keysWithLead)
			if !errors.Is(err, errExists) {
				return l, err
			}
		case errors.Is(err, ErrNotFound):
			formerOwner = owner // deleted, or never created: no id comes back
		case err != nil:
			return lead.Lead{}, err
		case deleted || lead.NormalEmail(current.Email) != lead.NormalEmail(address):
			formerOwner = owner
		default:
			l, err := s.Update(ctx, owner, patch, once)
			if !errors.Is(err, ErrNotFound) {
				return l, err
			}
			formerOwner = owner
		}
	}
	return lead.Lead{}, ErrBusy
}

// owner returns the id of the lead that owns an address. Where none does, or former does no more, a lead that has
// the address becomes its owner, else the id of one that is yet to be created.
func (s *Store) owner(ctx context.Context, address, former string, now time.Time) (string, error) {
	owner, err := s.pipe.hget(ctx, prefixes[emailShard(address)]+"own", emailDigest(address))
	if err == nil && owner != former {
		return owner, nil
	}
	if err != nil && !errors.Is(err, redis.Nil) {
		return "", wrapRedis(err)
	}
	proposed := lead.NewID(now, -1)
	having, _, err := s.newest("e:"+emailDigest(address), "", "").next(ctx, 1)
	if err != nil {
		return "", err
	}
	if len(having) == 1 {
		proposed = having[0]
	}
	return s.own(ctx, address, proposed, former)
}

// own returns the id of the lead that owns an address, after making proposed the owner where there is none or
// it is former.
func (s *Store) own(ctx context.Context, address, proposed, former string) (string, error) {
	shard := emailShard(address)
	cmd, err := s.pipe.run(ctx, ownScript, append(newScriptArgs(6, prefixes[shard]+"own"),
		prefixes[shard], 0, 0, emailDigest(address), proposed, former))
	if err != nil {
		return "", wrapRedis(err)
	}
	owner, err := cmd.Text()
	return owner, wrapRedis(err)
}

func wrapRedis(err error) error {
	if err != nil {
		return fmt.Errorf("redis: %w", err)
	}
	return nil
}

// load reads one lead. deleted is set for a tombstone.
func (s *Store) load(ctx context.Context, id string) (l lead.Lead, deleted bool, err error) {
	shard, ok := lead.ShardOf(id)
	if !ok {
		return l, false, ErrNotFound
	}
	stored, err := s.pipe.get(ctx, leadKey(prefixes[shard], id))
	if errors.Is(err, redis.Nil) {
		return l, false, ErrNotFound
	}
	if err != nil {
		return l, false, wrapRedis(err)
	}
	return document(id, stored)
}

// Update accepts a partial change and the work it causes. A change that changes nothing makes no revision.
func (s *Store) Update(ctx context.Context, id string, patch lead.Patch, once *Idempotency) (lead.Lead, error) {
	shard, ok := lead.ShardOf(id)
	if !ok {
		return lead.Lead{}, ErrNotFound
	}
	asked := once.request()
	for range maxTries {
		before, deleted, err := s.load(ctx, id)
		if err != nil {
			return lead.Lead{}, err
		}
		if deleted {
			return lead.Lead{}, ErrNotFound
		}
		after, differs, err := patch.Apply(before)
		if err != nil {
			// It may have been accepted before, on a lead that had room for it.
			if asked.key != "" {
				if was, then, unseen := s.kept(ctx, id, asked.key); unseen == nil && was == asked.fingerprint {
					return then, nil
				}
			}
			return lead.Lead{}, err
		}
		if !differs && asked.key == "" {
			return before, nil
		}
		changed := "0"
		if differs {
			after.Revision, after.Updated, changed = before.Revision+1, s.clock.Now(), "1"
		}
		r := s.connectors.Load()
		args := append(make([]any, 0, 10+len(r.names)),
			id, before.Revision, encodeDocument(after), emailDigest(before.Email), emailDigest(after.Email),
			asked.key, asked.fingerprint, asked.seconds, changed, len(r.events))
		answer, err := s.run(ctx, updateScript, shard, leadKey(prefixes[shard], id), append(args, r.names...)...)
		if err != nil {
			return lead.Lead{}, err
		}
		switch answer[0] {
		case "updated":
			s.bell.owe(shard, answer[1:]...)
			return after, nil
		case "gone":
			return lead.Lead{}, ErrNotFound
		case "seen":
			was, then, err := keptAnswer(id, answer[1])
			if err == nil && was != asked.fingerprint {
				err = ErrKeyReused
			}
			return then, err
		}
	}
	return lead.Lead{}, ErrBusy
}

// Delete forgets the person and accepts the deletion as work for every connector that may have the lead.
func (s *Store) Delete(ctx context.Context, id string) error {
	shard, ok := lead.ShardOf(id)
	if !ok {
		return ErrNotFound
	}
	request := lead.NewID(s.clock.Now(), -1)
	for range maxTries {
		before, deleted, err := s.load(ctx, id)
		if err != nil {
			return err
		}
		if deleted {
			return ErrNotFound
		}
		// A deleted lead must never be found to own its address: a new lead would take its id.
		if _, err := s.own(ctx, before.Email, "", id); err != nil {
			return err
		}
		names := s.connectors.Load().names
		args := append(make([]any, 0, 4+len(names)), id, before.Revision, emailDigest(before.Email), request)
		answer, err := s.run(ctx, deleteScript, shard, leadKey(prefixes[shard], id), append(args, names...)...)
		if err != nil {
			return err
		}
		switch answer[0] {
		case "deleted":
			s.bell.owe(shard, answer[1:]...)
			return nil
		case "gone":
			return ErrNotFound
		}
	}
	return ErrBusy
}
