package store

import (
	"cmp"
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

// Limits are a vendor's limits, counted over all workers; see connectors.Limits.
type Limits struct {
	Scope       string
	RateScope   string
	Concurrency int
	Rates       []Rate

	// Counted are rates of others of the same RateScope: calls count under them, too, and are not bound by them.
	Counted []Rate
}

// Rate bounds the calls of a time, or what they cost; see connectors.Rate.
type Rate struct {
	Most   int
	Per    time.Duration
	ByCost bool
}

// maxHold is the longest that a vendor may keep everyone from calling.
const maxHold = 24 * time.Hour

// exactly is the largest rate that is counted call by call: what is kept of it is as large as that. Of larger ones it
// is counted how much was spent in each of some slices of the window, and a slice counts until all of it is past.
const (
	exactly    = 1000
	sliceCount = 60
)

// Limiter grants leave to call under limits. All limits share a slot: a call may be counted under two scopes in one
// step.
//
//	lr:{limits}:flying:SCOPE                  zset: the calls in flight, by when they no longer count
//	lr:{limits}:hold:RATESCOPE                until when nobody calls
//	lr:{limits}:log:calls:WINDOW:RATESCOPE    zset: the calls of the last window, by when they were made
//	lr:{limits}:sum:calls:WINDOW:RATESCOPE    hash: slice -> the calls made in it
//	lr:{limits}:log:cost:…, sum:cost:…        the same of what calls cost
//	lr:{limits}:rest:NAME                     until when a connector waits for its limits, for operators to see
type Limiter struct {
	store        *Store
	concurrency  int
	flying, hold string
	counters     []counter
	keys         []any // of all of them
	logged       []any // of the calls in flight and of those counters that are logs
}

// counter counts what is spent of one rate, or of several that are counted alike.
type counter struct {
	key    string
	most   int // 0: it does not bind
	byCost bool
	window int64 // ms
	width  int64 // of a slice, in ms; 0: a log
}

// Limiter returns the limiter of some limits.
func (s *Store) Limiter(l Limits) *Limiter {
	rateScope := cmp.Or(l.RateScope, l.Scope)
	limiter := &Limiter{
		store: s, concurrency: l.Concurrency,
		flying: "lr:{limits}:flying:" + l.Scope, hold: "lr:{limits}:hold:" + rateScope,
	}
	for _, r := range l.Rates {
		limiter.count(rateScope, r, r.Most)
	}
	for _, r := range l.Counted {
		limiter.count(rateScope, r, 0)
	}
	limiter.keys, limiter.logged = []any{limiter.flying, limiter.hold}, []any{limiter.flying}
	for _, c := range limiter.counters {
		limiter.keys = append(limiter.keys, c.key)
		if c.width == 0 {
			limiter.logged = append(limiter.logged, c.key)
		}
	}
	return limiter
}

// count adds a rate, unless what it counts is counted already.
func (l *Limiter) count(scope string, r Rate, most int) {
	// Calls take different times to arrive, and processes differ a little in what time it is: what our window holds
	// a vendor's must, too.
	window := (r.Per + min(r.Per/20, time.Second)).Milliseconds()
	c := counter{most: most, byCost: r.ByCost, window: window}
	form, what := "log", "calls"
	if r.Most > exactly {
		form, c.width = "sum", (window+sliceCount-1)/sliceCount
	}
	if r.ByCost {
		what = "cost"
	}
	c.key = fmt.Sprintf("lr:{limits}:%s:%s:%d:%s", form, what, window, scope)
	for i, other := range l.counters {
		if other.key == c.key {
			if most > 0 && (other.most == 0 || most < other.most) {
				l.counters[i].most = most
			}
			return
		}
	}
	l.counters = append(l.counters, c)
}

// Permit asks leave for one call, which costs 1, and counts as in flight for flight unless it is prolonged. It answers
// 0, or how long to wait before asking again. token must be new, and is handed back by EndCall. least is how long calls
// take at least.
func (l *Limiter) Permit(ctx context.Context, token string, flight, least time.Duration) (time.Duration, error) {
	return l.ask(ctx, token, l.concurrency, flight, least.Milliseconds(), 1, 0)
}

// Spend asks leave, during a permitted call, for one more that costs so much; where it is what the permit was for, for
// the rest of its cost. It answers as Permit does. token must be new.
func (l *Limiter) Spend(ctx context.Context, token string, cost int, permitted bool) (time.Duration, error) {
	paid := 0
	if permitted {
		paid = 1
	}
	return l.ask(ctx, token, 0, 0, "", cost, paid)
}

func (l *Limiter) ask(ctx context.Context, token string, concurrency int, flight time.Duration, least any, cost, paid int) (time.Duration, error) {
	now := l.store.clock.Now()
	args := append(newScriptArgs(5+4*len(l.counters), l.keys...), now.UnixMilli(), token, concurrency, now.Add(flight).UnixMilli(), least)
	for _, c := range l.counters {
		units := 1
		if c.byCost {
			units = cost
		}
		if c.most > 0 {
			units = min(units, c.most) // what alone is more waits for an empty window, and not for ever
		}
		args = append(args, c.most, c.window, units-paid, c.width)
	}
	cmd, err := l.store.pipe.run(ctx, permitScript, args)
	if err != nil {
		return 0, wrapRedis(err)
	}
	wait, err := cmd.Int64()
	return time.Duration(wait) * time.Millisecond, wrapRedis(err)
}

// ProlongCall lets a permitted call count as in flight for longer.
func (l *Limiter) ProlongCall(ctx context.Context, token string, flight time.Duration) error {
	if l.concurrency == 0 {
		return nil
	}
	until := l.store.clock.Now().Add(flight).UnixMilli()
	return wrapRedis(l.store.pipe.do(ctx, redis.NewIntCmd(ctx, "zadd", l.flying, "xx", until, token)))
}

// EndCall says that a permitted call is over, and when it was made; the zero time: it was not.
func (l *Limiter) EndCall(ctx context.Context, token string, made time.Time) error {
	if l.concurrency == 0 && len(l.logged) == 1 {
		return nil
	}
	at := ""
	if !made.IsZero() {
		at = strconv.FormatInt(made.UnixMilli(), 10)
	}
	_, err := l.store.pipe.run(ctx, overScript, append(newScriptArgs(2, l.logged...), token, at))
	return wrapRedis(err)
}

// HoldCalls lets nobody of the rate scope call for a time, at most a day; who asked for longer before is heeded.
func (l *Limiter) HoldCalls(ctx context.Context, wait time.Duration) error {
	if wait = min(wait, maxHold); wait <= 0 {
		return nil
	}
	until := l.store.clock.Now().Add(wait).UnixMilli()
	_, err := l.store.pipe.run(ctx, holdScript, append(newScriptArgs(2, l.hold), until, wait.Milliseconds()))
	return wrapRedis(err)
}

func restKey(name string) string { return "lr:{limits}:rest:" + name }

// NoteRest notes, for operators, that a connector waits for its limits. It is forgotten unless it is noted again within
// forget.
func (s *Store) NoteRest(ctx context.Context, name string, until time.Time, forget time.Duration) error {
	cmd := redis.NewStatusCmd(ctx, "set", restKey(name), until.UnixMilli(), "px", forget.Milliseconds())
	return wrapRedis(s.pipe.do(ctx, cmd))
}

// Rests reads until when connectors wait for their limits, by name, of those that do.
func (s *Store) Rests(ctx context.Context, names []string) (map[string]time.Time, error) {
	rests := map[string]time.Time{}
	if len(names) == 0 {
		return rests, nil
	}
	keys := make([]string, len(names))
	for i, name := range names {
		keys[i] = restKey(name)
	}
	found, err := s.client.MGet(ctx, keys...).Result()
	if err != nil {
		return nil, wrapRedis(err)
	}
	for i, value := range found {
		text, _ := value.(string)
		if ms, err := strconv.ParseInt(text, 10, 64); err == nil && time.UnixMilli(ms).After(s.Now()) {
			rests[names[i]] = time.UnixMilli(ms).UTC()
		}
	}
	return rests, nil
}
