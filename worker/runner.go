package worker

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/leadrelay/leadrelay/connectors"
	"github.com/leadrelay/leadrelay/internal/lead"
	"github.com/leadrelay/leadrelay/internal/store"
	"github.com/leadrelay/leadrelay/internal/tracing"
)

// runner pushes to one connector from this process. Nothing it waits for holds up another runner.
type runner struct {
	Connector
	store   *store.Store
	limiter *store.Limiter // nil where nothing is limited
	log     *slog.Logger
	metrics *metrics
	tracing *tracing.Tracing // nil: none

	sharing bool               // leads of one address may have one record
	keyed   connectors.Keyed   // the connector's abilities, nil where it has not
	finder  connectors.Finder  //
	batcher connectors.Batcher //

	slots  chan struct{} // one value for each push that may begin
	tasks  chan task
	quick  atomic.Bool               // the last push was
	turn   chan struct{}             // has a value while one claims, so that freed slots gather for one claim
	bell   chan struct{}             // has a value when the queue has a job
	rounds [lead.Shards]atomic.Int32 // how often a round of a shard was asked for since it began
	pushes sync.WaitGroup
	base   context.Context // of pushes: outlives the jobs, ends when the worker gives up waiting, or they are done
	life   context.Context // of the worker's pushes

	gate      atomic.Pointer[store.Gate]
	open      atomic.Bool  // what noticeGate saw last
	failures  streak       // of the remote's failures
	throttles atomic.Int32 // throttled pushes in a row
	probing   atomic.Bool
	spending  atomic.Int32 // requests within calls that wait for the vendor's limits
	calls     durations

	mu      sync.Mutex
	stop    func()
	retired bool // the connector is not used any more after this
	ending  bool // nothing new may begin
	held    map[*store.Claim]*fence
	flying  map[string]bool // tokens of permitted calls
	rests   time.Time       // until when the vendor's limits let nothing through
}

// task is what goes out together, and who is told when it waits for nothing any more.
type task struct {
	claims []*store.Claim
	begun  func()
}

func newRunner(c Connector, limiter *store.Limiter, s *store.Store, log *slog.Logger, m *metrics, t *tracing.Tracing) *runner {
	if c.Limits.Concurrency > 0 {
		c.Concurrency = min(c.Concurrency, c.Limits.Concurrency)
	}
	r := &runner{
		Connector: c, store: s, limiter: limiter, log: log, metrics: m, tracing: t,
		slots: make(chan struct{}, c.Concurrency), tasks: make(chan task),
		turn: make(chan struct{}, 1), bell: make(chan struct{}, 1),
		held: map[*store.Claim]*fence{}, flying: map[string]bool{},
	}
	r.keyed, _ = c.Connector.(connectors.Keyed)
	if sharing, ok := c.Connector.(connectors.Sharing); ok {
		r.sharing = sharing.SharesRecords()
	}
	r.finder, _ = c.Connector.(connectors.Finder)
	r.batcher, _ = c.Connector.(connectors.Batcher)
	for range c.Concurrency {
		r.slots <- struct{}{}
	}
	r.gate.Store(&store.Gate{})
	return r
}

// abilities tells what the connector can do, for the log.
func (r *runner) abilities() string {
	var all []string
	if r.batcher != nil {
		all = append(all, fmt.Sprintf("batches of %d", r.batcher.MaxBatch()))
	}
	if r.keyed != nil {
		all = append(all, "keyed")
	}
	if r.finder != nil {
		all = append(all, "finds")
	}
	if _, ok := r.Connector.Connector.(connectors.Checker); ok {
		all = append(all, "checkable")
	}
	if r.Event {
		all = append(all, "every revision")
	}
	return strings.Join(all, ", ")
}

// begin prepares the runner for its work, which stop ends. end is called when nothing is under way any more.
func (r *runner) begin(pushing context.Context, stop func()) (end func()) {
	r.life = pushing
	base, endBase := context.WithCancel(pushing)
	r.base = base
	r.mu.Lock()
	r.stop = stop
	r.mu.Unlock()
	return func() {
		endBase()
		r.mu.Lock()
		defer r.mu.Unlock()
		if closer, ok := r.Connector.Connector.(io.Closer); ok && r.retired {
			if err := closer.Close(); err != nil {
				r.log.Warn("a connector that is not used any more could not be closed", "error", err)
			}
		}
	}
}

// retire ends the runner's work, and its connector after that.
func (r *runner) retire() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.retired = true
	if r.stop != nil {
		r.stop()
	}
}

// enter counts one more push or round that finish waits for, unless finish was called.
func (r *runner) enter() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ending {
		return false
	}
	r.pushes.Add(1)
	return true
}

// finish lets nothing new begin and waits for what is under way.
func (r *runner) finish() {
	r.mu.Lock()
	r.ending = true
	r.mu.Unlock()
	r.pushes.Wait()
}

// ring says that the queue has a job.
func (r *runner) ring() {
	select {
	case r.bell <- struct{}{}:
	default:
	}
}

const (
	// hold is how long a fence holds unless it is renewed: a dead worker's leads wait no longer.
	hold = 9 * time.Second
	// roundFor bounds one job; a longer backlog goes on in the next.
	roundFor = 30 * time.Second
	// claimAtOnce bounds how many leads one claim takes for single pushes.
	claimAtOnce = 32
	// quickPush is a push after which leads are claimed ahead of free slots, and aheadFor how long they wait for one.
	quickPush = 50 * time.Millisecond
	aheadFor  = time.Second
	// pushFor bounds a push or a batch, whatever the connector's own timeout.
	pushFor = 2 * time.Minute
)

func newToken() string { return uuid.NewString() }

// round pushes what is due of a shard until nothing is, or the gate closes. Where a round of the shard is under way,
// that one looks once more instead.
func (r *runner) round(ctx context.Context, shard int) {
	// It counts as a push: asynq stops waiting for its handlers after a while, and what this still starts must end, too.
	if ctx.Err() != nil || !r.enter() {
		return
	}
	defer r.pushes.Done()
	if r.rounds[shard].Add(1) > 1 {
		return
	}
	end := time.Now().Add(roundFor)
	for asked := int32(1); ; {
		for found := true; found && time.Now().Before(end); {
			found = r.claimAndPush(ctx, shard)
		}
		if r.rounds[shard].CompareAndSwap(asked, 0) {
			break
		}
		asked = r.rounds[shard].Load()
	}
	if !time.Now().Before(end) {
		r.store.Ring(r.Name, shard)
	}
}

// claimAndPush waits for free slots, claims as many leads and begins to push them. It reports whether there were any.
func (r *runner) claimAndPush(ctx context.Context, shard int) (found bool) {
	select {
	case r.turn <- struct{}{}:
	case <-ctx.Done():
		return false
	}
	endTurn := func() { <-r.turn }
	defer func() { endTurn() }()
	slots := r.takeSlots(ctx)
	if slots == 0 {
		return false
	}
	if !r.pass() {
		r.giveSlots(slots)
		return false
	}
	n := slots
	if r.quick.Load() {
		n = claimAtOnce // slots will be free before the claims are old
	}
	claims, err := r.claim(ctx, shard, n)
	if err != nil {
		r.giveSlots(slots)
		if ctx.Err() == nil {
			r.log.Warn("cannot claim", "error", err)
		}
		return false
	}
	if r.batcher != nil {
		if len(claims) == 0 {
			r.giveSlots(slots)
			return false
		}
		// What becomes due until the batch has leave to go belongs in it, and not in another that waits behind it.
		r.start(task{claims, endTurn})
		endTurn = func() {}
		return true
	}
	r.giveSlots(max(0, slots-len(claims)))
	for i, c := range claims {
		if i >= slots && !r.waitForSlot(ctx) {
			r.handBack(claims[i:], r.store.Now())
			break
		}
		r.start(task{[]*store.Claim{c}, func() {}})
	}
	return len(claims) > 0
}

// waitForSlot takes a slot, unless none is free for so long that claims would grow old.
func (r *runner) waitForSlot(ctx context.Context) bool {
	select {
	case <-r.slots:
		return true
	default:
	}
	timeout := time.NewTimer(aheadFor)
	defer timeout.Stop()
	select {
	case <-r.slots:
		return true
	case <-timeout.C:
	case <-ctx.Done():
	}
	return false
}

// takeSlots waits for a slot and takes as many others as are free; a batch needs but one. 0 when ctx ends.
func (r *runner) takeSlots(ctx context.Context) int {
	select {
	case <-r.slots:
	case <-ctx.Done():
		return 0
	}
	taken := 1
	for r.batcher == nil && taken < claimAtOnce {
		select {
		case <-r.slots:
			taken++
			continue
		default:
		}
		break
	}
	return taken
}

func (r *runner) giveSlots(n int) {
	for range n {
		r.slots <- struct{}{}
	}
}

// claim takes up to n due leads of a shard; for a batch, as many as fit, the shard's first, then all others'.
func (r *runner) claim(ctx context.Context, shard, n int) ([]*store.Claim, error) {
	target := store.Connector{Name: r.Name, Event: r.Event}
	if r.batcher == nil {
		return r.fence(r.store.Claim(ctx, target, shard, n, newToken(), hold))
	}
	return r.fill(ctx, nil, shard)
}

// fill claims more leads until a batch is full: those of a shard, then of all others that have any due.
func (r *runner) fill(ctx context.Context, claims []*store.Claim, shard int) ([]*store.Claim, error) {
	target := store.Connector{Name: r.Name, Event: r.Event}
	shards := []int{shard}
	for i := 0; i < len(shards); i++ {
		room := r.batcher.MaxBatch() - len(claims)
		if room <= 0 {
			break
		}
		more, err := r.fence(r.store.Claim(ctx, target, shards[i], room, newToken(), hold))
		claims = append(claims, more...)
		if i == 0 && err == nil && len(more) < room {
			var others []int
			others, err = r.store.DueShards(ctx, r.Name)
			shards = append(shards, others...)
		}
		if err != nil {
			if len(claims) == 0 {
				return nil, err
			}
			break // what is claimed goes out
		}
	}
	return claims, nil
}

// fence keeps the fences of claims until drop.
func (r *runner) fence(claims []*store.Claim, err error) ([]*store.Claim, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range claims {
		r.held[c] = newFence(r.base, c)
	}
	return claims, err
}

func (r *runner) fenceOf(c *store.Claim) *fence {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.held[c]
}

// fencesOf is a context that ends with the first of the claims' fences.
func (r *runner) fencesOf(claims []*store.Claim) (fences, context.CancelFunc) {
	all := fences{}
	for _, c := range claims {
		all.each = append(all.each, r.fenceOf(c))
	}
	ctx, cancel := context.WithCancel(all.each[0])
	for _, f := range all.each[1:] {
		stop := context.AfterFunc(f, cancel)
		context.AfterFunc(ctx, func() { stop() })
	}
	all.Context = ctx
	return all, cancel
}

func (r *runner) drop(c *store.Claim) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if f := r.held[c]; f != nil {
		f.cancel()
		delete(r.held, c)
	}
}

// start begins to push a task, in the one slot taken for it.
func (r *runner) start(t task) {
	r.pushes.Add(1) // the round that starts it is under way
	select {
	case r.tasks <- t:
	default:
		go r.pusher(t)
	}
}

// pusher pushes a task, and then what others start: its stack has grown by then.
func (r *runner) pusher(t task) {
	for {
		r.sync(t.claims, false, t.begun)
		r.pushes.Done()
		select {
		case t = <-r.tasks:
		case <-r.base.Done():
			return
		}
	}
}

// probeIfDue sends one lead ahead when it is time to see whether the connector is well again: the one that is due
// longest, so that leads which fail take turns with those that were not tried yet.
func (r *runner) probeIfDue(ctx context.Context) {
	g := r.gate.Load()
	if g.State != store.GateDown && g.State != store.GateHeld || g.Lead == "" && r.store.Now().Before(g.Until) {
		return
	}
	if !r.probing.CompareAndSwap(false, true) {
		return
	}
	if !r.enter() {
		return
	}
	go func() {
		defer r.pushes.Done()
		defer r.probing.Store(false)
		alone, err := r.store.Probe(ctx, r.Name, hold)
		if err != nil || !alone {
			return
		}
		defer r.store.EndProbe(context.WithoutCancel(ctx), r.Name)
		shards, err := r.store.DueShards(ctx, r.Name)
		if err != nil {
			return // the sweeper comes by again
		}
		target := store.Connector{Name: r.Name, Event: r.Event}
		for _, shard := range shards {
			claims, err := r.fence(r.store.Claim(ctx, target, shard, 1, newToken(), hold))
			if err != nil {
				return
			}
			if len(claims) == 1 && r.sync(claims, true, func() {}) {
				return
			}
		}
	}()
}

// streak counts failures in a row, and knows whether they are all of one lead.
type streak struct {
	mu    sync.Mutex
	count int
	lead  string // the only one that failed; "" when several did
}

func (s *streak) failed(lead string, alone bool) (count int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.count++; s.count == 1 && alone {
		s.lead = lead
	} else if s.lead != lead || !alone {
		s.lead = ""
	}
	return s.count
}

func (s *streak) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.count, s.lead = 0, ""
}

func (s *streak) onlyLead() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lead
}
