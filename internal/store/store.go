package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/leadrelay/leadrelay/internal/lead"
)

var (
	// ErrNotFound: there is no such lead, or it was deleted.
	ErrNotFound = errors.New("no such lead")
	// ErrKeyReused: an idempotency key came back with another request.
	ErrKeyReused = errors.New("the idempotency key was used for another request")
	// ErrBusy: the lead changed at every try; the caller may try again.
	ErrBusy = errors.New("the lead is being changed by others")
)

// awakeFor is how long a woken worker has to renew its mark before the next change wakes another.
const awakeFor = 5 * time.Second

// Connector is what the store must know of a configured connector.
type Connector struct {
	Name  string
	Event bool // gets every revision, not only the newest
}

// Store is leadrelay's Redis. It is safe for concurrent use.
type Store struct {
	client redis.UniversalClient
	pipe   pipe // the same Redis
	log    *slog.Logger

	connectors atomic.Pointer[roster]
	clock      *Clock
	bell       *bell
	intake     *intake
	counting   counting
	stop       context.CancelFunc
}

// roster is the configured connectors, as script arguments: event connectors first.
type roster struct {
	names  []any
	events []any
	list   []Connector
}

// New returns a store on a Redis. It waits for a Redis that is starting until ctx ends.
func New(ctx context.Context, client redis.UniversalClient, connectors []Connector, log *slog.Logger) (*Store, error) {
	clock, back, err := newClock(ctx, client, log)
	if err != nil {
		return nil, fmt.Errorf("redis: %w", err)
	}
	pipe, err := newPipe(client)
	if err != nil {
		return nil, fmt.Errorf("redis: %w", err)
	}
	running, stop := context.WithCancel(context.Background())
	s := &Store{client: client, pipe: pipe, log: log, clock: clock, stop: stop}
	s.counting.ended = make(chan struct{})
	s.SetConnectors(connectors)
	s.bell = newBell(running, asynq.NewClientFromRedisClient(client), client, log)
	s.intake = newIntake(s)
	if back > 0 {
		s.clockWentBack(back)
	}
	go clock.keep(running, s.clockWentBack)
	go s.keepActivity(running)
	return s, nil
}

// SetConnectors replaces the connectors that accepted changes are work for.
func (s *Store) SetConnectors(connectors []Connector) {
	r := &roster{list: connectors}
	for _, c := range connectors {
		if c.Event {
			r.events = append(r.events, c.Name)
		}
	}
	r.names = append(r.names, r.events...)
	for _, c := range connectors {
		if !c.Event {
			r.names = append(r.names, c.Name)
		}
	}
	s.connectors.Store(r)
}

// Connectors returns the connectors that accepted changes are work for.
func (s *Store) Connectors() []Connector { return s.connectors.Load().list }

// Close rings what is still owed a job and closes what New opened; the client stays open. An error says that commands
// are still under way to a Redis that is away; the client's own Close would wait for them.
func (s *Store) Close() error {
	s.intake.close()
	s.bell.close()
	s.stop()
	<-s.counting.ended
	return s.pipe.close()
}

// Ping says whether Redis answers.
func (s *Store) Ping(ctx context.Context) error { return s.client.Ping(ctx).Err() }

// Client returns the Redis client, for asynq.
func (s *Store) Client() redis.UniversalClient { return s.client }

// Now is the time on Redis's clock.
func (s *Store) Now() time.Time { return s.clock.Now() }

// run runs a shard script on behalf of any key of the shard.
func (s *Store) run(ctx context.Context, run script, shard int, key string, args ...any) ([]string, error) {
	return s.runAt(ctx, s.clock.Now(), run, shard, key, args...)
}

// runAt runs a shard script for which it is a certain time.
func (s *Store) runAt(ctx context.Context, now time.Time, run script, shard int, key string, args ...any) ([]string, error) {
	cmd, err := s.pipe.run(ctx, run, shardArgs(now, shard, key, args))
	if err != nil {
		return nil, wrapRedis(err)
	}
	answer, err := cmd.StringSlice()
	return answer, wrapRedis(err)
}

// shardArgs are the arguments of a shard script.
func shardArgs(now time.Time, shard int, key string, args []any) scriptArgs {
	all := append(newScriptArgs(3+len(args), key), prefixArgs[shard], now.UnixMilli(), now.Add(awakeFor).UnixMilli())
	return append(all, args...)
}

// shardCall is a shard script to be run.
type shardCall struct {
	shard int
	key   string // any of the shard
	args  []any

	answer []string
	err    error
}

// runAll runs a shard script, for which it is a certain time, for several shards in one round trip, on a connection of its
// own: nobody else's commands wait behind many or large ones.
func (s *Store) runAll(ctx context.Context, now time.Time, run script, calls []*shardCall) {
	args := make([]scriptArgs, len(calls))
	for i, c := range calls {
		args[i] = shardArgs(now, c.shard, c.key, c.args)
		args[i][0], args[i][1] = "evalsha", run.name
	}
	if !s.runEach(ctx, calls, args) {
		return
	}
	for i := range args {
		args[i][0], args[i][1] = "eval", run.text
	}
	s.runEach(ctx, calls, args)
}

// runEach carries out those of the calls that were not yet, and reports whether Redis has to be sent the script.
func (s *Store) runEach(ctx context.Context, calls []*shardCall, args []scriptArgs) (unknown bool) {
	cmds := make([]*redis.Cmd, len(calls))
	_, err := s.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, c := range calls {
			if c.answer == nil && (c.err == nil || redis.HasErrorPrefix(c.err, "NOSCRIPT")) {
				cmds[i] = args[i].cmd(ctx)
				p.Process(ctx, cmds[i])
			}
		}
		return nil
	})
	for i, c := range calls {
		if cmds[i] == nil {
			continue
		}
		if c.answer, c.err = cmds[i].StringSlice(); cmds[i].Err() == nil && c.err != nil && err != nil {
			c.err = err // it was not told itself
		}
		if c.err = wrapRedis(c.err); redis.HasErrorPrefix(c.err, "NOSCRIPT") {
			unknown = true
		}
	}
	return unknown
}

// document splits what is stored under a lead's key.
func document(id, stored string) (l lead.Lead, deleted bool, err error) {
	number, rest, _ := strings.Cut(stored, " ")
	revision, err := strconv.ParseInt(number, 10, 64)
	if err != nil {
		return l, false, fmt.Errorf("store: lead %s: not a document", id)
	}
	if after, isTombstone := strings.CutPrefix(rest, "D "); isTombstone {
		at, _, _ := strings.Cut(after, " ")
		ms, _ := strconv.ParseInt(at, 10, 64)
		return lead.Lead{ID: id, Revision: revision, Updated: time.UnixMilli(ms).UTC()}, true, nil
	}
	l, err = lead.Decode(id, revision, []byte(rest))
	if err != nil {
		return l, false, fmt.Errorf("store: lead %s: not a document", id)
	}
	return l, false, nil
}

func encodeDocument(l lead.Lead) string {
	return strconv.FormatInt(l.Revision, 10) + " " + string(l.Encode())
}
