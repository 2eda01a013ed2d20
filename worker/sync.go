package worker

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/leadrelay/leadrelay/connectors"
	"github.com/leadrelay/leadrelay/internal/lead"
	"github.com/leadrelay/leadrelay/internal/store"
)

// sync brings the remote up to the newest revision of each claimed lead, together where the connector takes
// batches, and gives the fences back. It reports whether the remote was called. Unless it is a probe, it is begun in
// a slot, which is free again when the remote has answered. begun is told when the claims wait for nothing any more.
func (r *runner) sync(claims []*store.Claim, probe bool, begun func()) (called bool) {
	for {
		pushed, results := r.call(claims, probe, begun)
		begun = func() {}
		if !probe {
			r.giveSlots(1)
		}
		if len(pushed) == 0 {
			return called
		}
		called = true
		if claims = r.concludeAll(pushed, results, probe); len(claims) == 0 {
			return called
		}
		if !probe {
			<-r.slots
		}
	}
}

// call pushes the claims that need it, if the gate and the vendor's limits let them through, and gives the others back.
func (r *runner) call(claims []*store.Claim, probe bool, begun func()) (pushed []*store.Claim, results []result) {
	claims, endCall := r.letThrough(claims, probe)
	begun()
	if len(claims) == 0 {
		return nil, nil
	}
	defer endCall()
	return claims, r.push(claims, &host{runner: r})
}

// letThrough returns the claims that may be pushed now, and how to say that their call is over.
func (r *runner) letThrough(claims []*store.Claim, probe bool) (through []*store.Claim, endCall func()) {
	claims = slices.DeleteFunc(claims, func(c *store.Claim) bool { return r.settledWithoutCall(c) })
	if len(claims) == 0 {
		return nil, nil
	}
	if !probe && !r.pass() {
		r.handBack(claims, r.store.Now())
		return nil, nil
	}
	return r.permit(claims, probe)
}

// concludeAll records what became of a call, in one round trip. It returns the claims that go on.
func (r *runner) concludeAll(claims []*store.Claim, results []result, probe bool) []*store.Claim {
	this := &call{probe: probe, alone: len(claims) == 1}
	if this.alone {
		if r.conclude(claims[0], results[0], this) {
			return claims
		}
		return nil
	}
	more := make([]bool, len(claims))
	var group sync.WaitGroup
	for i, c := range claims {
		group.Go(func() { more[i] = r.conclude(c, results[i], this) })
	}
	group.Wait()
	var changed []*store.Claim
	for i, c := range claims {
		if more[i] {
			changed = append(changed, c)
		}
	}
	return changed
}

// settledWithoutCall settles what needs no call: the delete of a lead that was never sent, and a lead the
// filter leaves out where the remote has nothing of it. It reports whether the claim is done with.
func (r *runner) settledWithoutCall(c *store.Claim) bool {
	for {
		left, err := r.leftOut(c)
		switch {
		case err != nil:
			if !r.conclude(c, result{err: err}, &call{}) {
				return true
			}
			continue
		case c.Change.Op == lead.Delete && !r.mayBeThere(c):
			c.Record, c.Attempt = store.Record{Synced: c.Change.Lead.Revision}, &store.Attempt{Op: lead.Delete}
		case left && (r.Event || !r.mayBeThere(c)):
			c.Record, c.Attempt = skipped(c, r.store.Now()), &store.Attempt{Op: c.Change.Op}
		default:
			return false
		}
		more, err := r.settle(c, store.Done, time.Time{})
		if err != nil || !more {
			r.drop(c)
			return true
		}
	}
}

// leftOut says whether the connector's filter leaves this state of the lead out. A delete is for everyone who
// has the lead.
func (r *runner) leftOut(c *store.Claim) (bool, error) {
	if c.Change.Op == lead.Delete {
		return false, nil
	}
	match, err := r.Filter.Match(c.Change.Lead)
	return !match, err
}

// mayBeThere says whether the remote may have anything of the lead.
func (r *runner) mayBeThere(c *store.Claim) bool {
	return c.Record.Sent || c.Record.Ref != "" || len(c.Record.Tried) > 0
}

// result is the outcome of one claim's push.
type result struct {
	ref     string
	removed bool // the record was taken away: the filter leaves the lead out now
	spared  bool // no call was needed: the record is another lead's, too
	cut     bool // the batch's call was ended by the fence of one of its leads
	err     error

	op    lead.Op // as it was pushed
	began time.Time
	took  time.Duration
	calls []*connectors.Calls
}

// push calls the connector for claims that go out together. It makes sure first that nothing an earlier push
// may have left behind is orphaned or doubled.
func (r *runner) push(claims []*store.Claim, h *host) []result {
	results := make([]result, len(claims))
	var items []connectors.Item
	var whose []int
	var called []*store.Claim
	contexts := make([]context.Context, len(claims)) // of the calls for one claim alone
	for i, c := range claims {
		calls := &connectors.Calls{}
		contexts[i] = connectors.WithCalls(connectors.WithHost(r.fenceOf(c), h), calls)
		if err := contexts[i].Err(); err != nil {
			results[i].err = err
			continue
		}
		began := time.Now()
		change, needed, err := r.prepare(contexts[i], c)
		results[i] = result{
			removed: change.Op == lead.Delete && c.Change.Op != lead.Delete, spared: !needed, err: err,
			op: change.Op, began: began, took: time.Since(began), calls: []*connectors.Calls{calls},
		}
		if err != nil || !needed {
			continue
		}
		items = append(items, connectors.Item{Change: change, Ref: c.Record.Ref})
		whose, called = append(whose, i), append(called, c)
	}
	if len(items) == 0 {
		return results
	}
	began := time.Now()
	if r.batcher != nil {
		ctx, cancel := r.fencesOf(called)
		calls := &connectors.Calls{}
		answers := r.batcher.PushBatch(connectors.WithCalls(connectors.WithHost(ctx, h), calls), items)
		cut := ctx.cut()
		cancel()
		for k, i := range whose {
			results[i].calls = append(results[i].calls, calls)
			if k < len(answers) {
				results[i].ref, results[i].err = answers[k].Ref, answers[k].Err
				results[i].cut = cut
				r.pushAgain(answers[k].Spoilt)
			} else {
				results[i].err = &connectors.Error{Fault: connectors.Unknown, Err: errors.New("the batch answered for fewer leads than it was given")}
			}
		}
	} else {
		for k, i := range whose {
			results[i].ref, results[i].err = r.Connector.Connector.Push(contexts[i], items[k].Change, items[k].Ref)
		}
	}
	took := time.Since(began)
	for _, i := range whose {
		results[i].took += took
	}
	r.quick.Store(took < quickPush)
	r.metrics.countCall(r.Name, took)
	return results
}

// pushAgain makes leads due whose records a push of others may have spoilt.
func (r *runner) pushAgain(ids []string) {
	for _, id := range ids {
		if _, ours := lead.ShardOf(id); !ours {
			continue
		}
		err := r.retryRedis(func(ctx context.Context) error { return r.store.PushAgain(ctx, r.Name, id) })
		if err != nil {
			r.log.Error("a record that the push of another spoilt cannot be made due: replay it", "lead", id, "error", err)
		}
	}
}

// prepare makes the next call for a claim safe to repeat and returns the change to push. It is not needed where
// the record to take away is another lead's, too.
func (r *runner) prepare(ctx context.Context, c *store.Claim) (change lead.Change, needed bool, err error) {
	change = c.Change
	if left, _ := r.leftOut(c); left {
		change.Op = lead.Delete
	}
	if r.Event {
		return change, true, nil
	}
	key := ""
	if r.keyed != nil && change.Op != lead.Delete {
		key = r.keyed.Key(change.Lead)
		// A key that is the lead's own id cannot be forgotten, and is no other lead's.
		if key != c.Record.Ref && key != change.Lead.ID && !slices.Contains(c.Record.Tried, key) {
			// Known before the call goes out: whatever becomes of it, the record it may leave is found again.
			c.Record.Tried = append(c.Record.Tried, key)
			c.Record.Sent = true
			if err := r.store.UseKey(ctx, r.Name, key, change.Lead.ID); err != nil {
				return change, true, err
			}
			if err := r.store.Note(ctx, c); err != nil {
				return change, true, err
			}
		}
	}
	for _, tried := range slices.Clone(c.Record.Tried) {
		if tried == key || tried == c.Record.Ref {
			continue
		}
		if c.Record.Ref == "" {
			c.Record.Ref = tried // moved or deleted by the push itself
			continue
		}
		if shared, err := r.leaveKey(ctx, change.Lead.ID, tried); err != nil {
			return change, true, err
		} else if !shared {
			orphan := lead.Change{ID: change.ID, Op: lead.Delete, Lead: change.Lead, Time: change.Time}
			if _, err := r.Connector.Connector.Push(ctx, orphan, tried); err != nil {
				return change, true, err
			}
		}
		c.Record.Tried = slices.DeleteFunc(c.Record.Tried, func(k string) bool { return k == tried })
	}
	if c.Record.Ref != "" && c.Record.Ref != key {
		shared, err := r.leaveKey(ctx, change.Lead.ID, c.Record.Ref)
		if err != nil {
			return change, true, err
		}
		if shared && change.Op == lead.Delete {
			return change, false, nil
		}
		if shared {
			c.Record.Ref = "" // the other lead keeps it
		}
	}
	switch kept, err := r.isKept(ctx, c.Record, change); {
	case err != nil:
		return change, true, err
	case kept && change.Op == lead.Delete:
		return change, false, nil
	case kept && r.keyed == nil:
		c.Record.Ref, c.Record.Sent = "", false // the other lead keeps it
	}
	if r.finder != nil && r.keyed == nil && c.Record.Ref == "" && c.Record.Sent {
		// An earlier create had no answer; creating again could make a second record.
		ref, found, err := r.finder.Find(ctx, change.Lead)
		if err != nil {
			return change, true, err
		}
		if found {
			c.Record.Ref = ref
		} else if err := r.believe(ctx, c, change); err != nil {
			return change, true, err
		}
	}
	if change.Op != lead.Delete {
		change.Op = lead.Update
		if c.Record.Ref == "" {
			change.Op = lead.Create
		}
	}
	return change, true, nil
}

// tooEarly: a record is not found that may be there, and what was written lately is not found yet.
type tooEarly struct{ until time.Time }

func (e *tooEarly) Error() string { return "what was written lately is not found yet" }

// believe takes a search's word for it that there is no record, when it has missed it for long enough.
func (r *runner) believe(ctx context.Context, c *store.Claim, change lead.Change) error {
	settles := r.finder.Settles()
	if settles == 0 {
		return nil
	}
	now := r.store.Now()
	if c.Record.Missed == 0 {
		c.Record.Missed = now.UnixMilli()
	}
	if until := time.UnixMilli(c.Record.Missed).Add(settles); now.Before(until) {
		return &tooEarly{until}
	}
	c.Record.Missed = 0
	if change.Op == lead.Delete {
		return nil
	}
	return r.store.Note(ctx, c) // the call that goes out now may leave another record to look for
}

// sharingWith lists the leads that have, or may come to have, the record that a change takes away or gives another address.
func (r *runner) sharingWith(ctx context.Context, had store.Record, change lead.Change) (having, coming []string, err error) {
	if had.Address == "" || had.Ref == "" || change.Op != lead.Delete && had.Address == r.address(change.Lead) {
		return nil, nil, nil
	}
	refs, err := r.store.Sharing(ctx, r.Name, had.Address, change.Lead.ID)
	for id, ref := range refs {
		switch {
		case ref == "":
			coming = append(coming, id)
		case ref == had.Ref, r.keyed != nil: // each has its own key, and the record the last one's
			having = append(having, id)
		}
	}
	return having, coming, err
}

// isKept says whether another lead has the record, too, that a change takes away or gives another address.
func (r *runner) isKept(ctx context.Context, had store.Record, change lead.Change) (bool, error) {
	having, _, err := r.sharingWith(ctx, had, change)
	for _, id := range having {
		other, err := r.store.Get(ctx, id)
		if errors.Is(err, store.ErrNotFound) || err == nil && other.Deleted {
			continue
		}
		if err != nil {
			return false, err
		}
		if match, _ := r.Filter.Match(other.Lead); match {
			return true, nil
		}
	}
	return false, err
}

// restore pushes the leads again whose record a change took away, or left for them.
func (r *runner) restore(had store.Record, change lead.Change) {
	having, coming, err := r.sharingWith(r.base, had, change)
	if err != nil {
		r.log.Warn("cannot see whether another lead shared a record", "lead", change.Lead.ID, "error", err)
	}
	r.pushAgain(append(having, coming...))
}

// address is what leads that share a record have in common, "" where none do.
func (r *runner) address(l lead.Lead) string {
	if !r.sharing || l.Email == "" {
		return ""
	}
	return store.AddressDigest(l.Email)
}

// leaveKey is said before a lead's record under a key is taken away, and after. Two leads of one address have one
// record in a system that knows people by theirs: then it stays, and is written as the other lead has it.
func (r *runner) leaveKey(ctx context.Context, id, key string) (shared bool, err error) {
	if r.keyed == nil || key == id {
		return false, nil
	}
	other, err := r.store.LeaveKey(ctx, r.Name, key, id)
	if err != nil || other == "" {
		return false, err
	}
	return true, r.store.PushAgain(ctx, r.Name, other)
}

// conclude records what became of a push. It reports whether the claim goes on with a newer change.
func (r *runner) conclude(c *store.Claim, got result, this *call) (more bool) {
	now := r.store.Now()
	id, revision := c.Change.Lead.ID, c.Change.Lead.Revision
	if errors.Is(got.err, store.ErrFenceLost) {
		r.drop(c)
		return false
	}
	var early *tooEarly
	if errors.As(got.err, &early) {
		r.log.Debug("a record may be there and is not found yet", "lead", id, "until", early.until)
		more, err := r.settle(c, store.Later, early.until)
		r.afterSettle(c, more, err, false)
		return false
	}
	if got.err == nil {
		r.failures.end()
		r.throttles.Store(0)
		r.metrics.countSynced(r.Name)
		before := c.Record
		c.Attempt = attempt(c, got)
		if before.Ref != "" && before.Ref != got.ref && !got.spared {
			// A lead that came under the same key while its record was taken away has none now.
			if _, err := r.leaveKey(r.base, id, before.Ref); err != nil {
				r.log.Warn("cannot see whether another lead shared a record", "lead", id, "error", err)
			}
		}
		change := c.Change
		if got.removed {
			change.Op = lead.Delete
		}
		r.restore(before, change)
		switch {
		case got.removed:
			c.Record = skipped(c, now)
		case c.Change.Op == lead.Delete:
			c.Record = store.Record{Synced: revision}
		default:
			c.Record = r.synced(c, got.ref, now)
		}
		r.log.Debug("in step", "lead", id, "revision", revision)
		more, err := r.settle(c, store.Done, time.Time{})
		if errors.Is(err, store.ErrFenceLost) {
			c.Record.Tried = before.Tried
			if c.Record.Ref == "" {
				c.Record.Ref = before.Ref
			}
		}
		r.afterSettle(c, more, err, true)
		r.openGate()
		return more
	}

	if f := r.fenceOf(c); r.base.Err() != nil || f.cut() || got.cut {
		// Cut short by our own shutdown or a lost fence: not the remote's failure.
		c.Record.Sent = true
		c.Attempt = attempt(c, got)
		more, err := r.settle(c, store.Later, now)
		r.afterSettle(c, more, err, true)
		return false
	}
	v := r.after(c, got.err, now, this)
	v.record.Sent = v.record.Sent || r.mayHaveApplied(got.err)
	fault, reason := v.record.Fault, v.record.Reason
	r.metrics.countFailed(r.Name, fault, reason)
	r.log.Warn("push failed", "lead", id, "revision", revision, "fault", fault, "error", reason, "then", string(v.verb), "attempt", v.record.Attempts)
	c.Record = v.record
	c.Attempt = attempt(c, got)
	c.Attempt.Fault, c.Attempt.Reason = fault, reason
	if v.gate != store.GateOpen {
		r.closeGate(v.gate, id, reason, v.until)
		if this.probe {
			v.at = r.gate.Load().Until // behind those that were not tried yet
		}
	}
	more, err := r.settle(c, v.verb, v.at)
	r.afterSettle(c, more, err, c.Record.Sent)
	if v.record.Fault == connectors.Lead.String() {
		r.failures.end()
		r.openGate() // it refused this lead, so it is there
	}
	return more
}

// mayHaveApplied says whether a failed push may have left something at the remote. Only a refusal of the lead or
// of the settings says for sure that it did not: a gateway may throttle or fail after the system behind it has
// done its work. An event is one request, so that one that never left has told nobody.
func (r *runner) mayHaveApplied(err error) bool {
	var e *connectors.Error
	if r.Event && errors.As(err, &e) && e.NotSent {
		return false
	}
	fault, _ := connectors.FaultOf(err)
	return fault != connectors.Lead && fault != connectors.Setup
}

// afterSettle gives up the claim's fence unless it goes on. Where the fence was lost although a call went out,
// the remote may hold something older than the store: it is made good. Who was told of a delete needs no second.
func (r *runner) afterSettle(c *store.Claim, more bool, err error, called bool) {
	if more && err == nil {
		if f := r.fenceOf(c); f != nil {
			f.holdUntil(c.Until)
		}
		return
	}
	r.drop(c)
	if err != nil && !errors.Is(err, store.ErrFenceLost) && called && !r.Event {
		go r.makeGood(c) // the fence may have been lost meanwhile
	}
	if !errors.Is(err, store.ErrFenceLost) {
		return
	}
	if !called || r.Event && c.Change.Op == lead.Delete {
		r.log.Debug("a late answer changes nothing", "lead", c.Change.Lead.ID)
		return
	}
	r.log.Warn("a push outlived its fence; its lead is pushed again", "lead", c.Change.Lead.ID)
	if err := r.retryRedis(func(ctx context.Context) error { return r.store.Reopen(ctx, c) }); err != nil {
		r.log.Error("cannot make good a late push", "lead", c.Change.Lead.ID, "error", err)
	}
}

// makeGood has a lead pushed again whose outcome could not be recorded, as soon as Redis is there.
func (r *runner) makeGood(c *store.Claim) {
	for {
		err := r.retryRedis(func(ctx context.Context) error { return r.store.Reopen(ctx, c) })
		if err == nil || r.life.Err() != nil {
			return
		}
	}
}

// settle is store.Settle, tried again for as long as the fence would hold when Redis does not answer. An
// outcome that cannot be recorded is found again when the fence lapses.
func (r *runner) settle(c *store.Claim, verb store.Verb, at time.Time) (more bool, err error) {
	record := c.Record
	told := r.trace(c, verb)
	err = r.retryRedis(func(ctx context.Context) (err error) {
		c.Record = record
		more, err = r.store.Settle(ctx, c, verb, at, hold)
		return err
	})
	if err == nil {
		told()
	}
	if err != nil && !errors.Is(err, store.ErrFenceLost) {
		r.log.Warn("an outcome could not be recorded", "lead", c.Change.Lead.ID, "error", err)
	}
	return more, err
}

func (r *runner) retryRedis(do func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.base), hold)
	defer cancel()
	for wait := 50 * time.Millisecond; ; wait *= 2 {
		err := do(ctx)
		if err == nil || errors.Is(err, store.ErrFenceLost) || ctx.Err() != nil {
			return err
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return err
		}
	}
}

// handBack gives claims back as they were, due at a time.
func (r *runner) handBack(claims []*store.Claim, at time.Time) {
	var group sync.WaitGroup
	for _, c := range claims {
		group.Go(func() {
			r.settle(c, store.Later, at)
			r.drop(c)
		})
	}
	group.Wait()
}

// fly notes that a permitted call is in flight: its permit is renewed as fences are, so that a dead worker's is
// free again as soon.
func (r *runner) fly(token string, flying bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if flying {
		r.flying[token] = true
	} else {
		delete(r.flying, token)
	}
}
