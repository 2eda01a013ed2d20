package worker

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/leadrelay/leadrelay/connectors"
	"github.com/leadrelay/leadrelay/internal/store"
)

// Retry is how a failing lead is tried again.
type Retry struct {
	Initial time.Duration // the first delay; each next is twice as long, all are jittered
	Max     time.Duration // the longest delay
	Horizon time.Duration // a lead that has failed for so long is parked
}

// Breaker is how a failing connector is spared.
type Breaker struct {
	Failures int           // failed pushes in a row that open it
	Probe    time.Duration // the first wait before one lead is tried; each next is twice as long
	ProbeMax time.Duration // the longest
}

// Bounds of what a vendor may ask for by Retry-After.
const (
	minThrottle = time.Second
	maxThrottle = time.Hour
)

// verdict is what follows from one push.
type verdict struct {
	verb   store.Verb
	at     time.Time       // for store.Later
	record store.Record    // as it is to be written
	gate   store.GateState // GateWaiting, GateDown or GateHeld: what the whole connector must do
	until  time.Time       // for the gate
}

// call is one call of the remote, for one lead or for a batch. What it says of the connector counts once, however
// many leads it carried.
type call struct {
	probe bool // sent ahead, to see whether the connector is well again
	alone bool // it carried one lead

	mu     sync.Mutex
	failed bool
	until  time.Time // how long the remote asks to wait
}

// first reports whether no other lead of the call has failed.
func (c *call) first() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	was := c.failed
	c.failed = true
	return !was
}

// waitUntil is when the connector may be called again, by what every lead of the call was answered so far.
func (c *call) waitUntil(now time.Time, throttle func() time.Duration, asked time.Duration) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.until.IsZero() {
		c.until = now.Add(throttle())
	}
	if longer := now.Add(min(asked, maxThrottle)); longer.After(c.until) {
		c.until = longer
	}
	return c.until
}

// after decides what follows from a push of a claim that failed with err at now. It is the one place that does.
func (r *runner) after(c *store.Claim, err error, now time.Time, this *call) verdict {
	fault, wait := connectors.FaultOf(err)
	record := c.Record
	record.Fault = fault.String()
	record.Reason = connectors.Redact(err.Error(), c.Change.Lead.Personal()...)
	record.At = now.UnixMilli()
	record.Next = 0

	// again leaves the lead as due as it was: what happened is no failure of it.
	again := verdict{verb: store.Later, at: now, record: record}
	switch fault {
	case connectors.Throttled:
		again.gate = store.GateWaiting
		again.until = this.waitUntil(now, func() time.Duration { return r.throttle(wait) }, wait)
		again.at = again.until
		again.record.State, again.record.Next = store.Retrying, again.until.UnixMilli()
		return again

	case connectors.Setup:
		again.gate = store.GateHeld
		return again

	case connectors.Lead:
		record.State, record.Attempts, record.FailingSince = store.Parked, 0, 0
		return verdict{verb: store.Park, record: record}
	}

	// Remote, Unknown and everything nobody classified.
	if this.probe && r.gate.Load().Lead != c.Change.Lead.ID {
		// The connector is known to be in trouble, and not this lead alone.
		again.record, again.gate = record, store.GateDown
		return again
	}
	if record.Attempts == 0 {
		record.FailingSince = now.UnixMilli()
	}
	record.Attempts++
	failingFor := now.Sub(time.UnixMilli(record.FailingSince))
	if failingFor >= r.Retry.Horizon {
		record.State, record.Attempts, record.FailingSince = store.Parked, 0, 0
		record.Reason = fmt.Sprintf("given up after %s: %s", failingFor.Round(time.Second), record.Reason)
		return verdict{verb: store.Park, record: record}
	}
	v := verdict{verb: store.Later, at: now.Add(max(r.Retry.delay(record.Attempts), min(wait, maxThrottle)))}
	record.State, record.Next = store.Retrying, v.at.UnixMilli()
	v.record = record
	if this.first() && r.failures.failed(c.Change.Lead.ID, this.alone) >= r.Breaker.Failures && r.Breaker.Failures > 0 {
		v.gate = store.GateDown
	}
	return v
}

// delay before the next attempt: doubled after each, at most Max, half of it left to chance.
func (p Retry) delay(attempts int) time.Duration {
	return jittered(doubled(p.Initial, p.Max, attempts-1))
}

// wait before the next probe.
func (b Breaker) wait(tries int) time.Duration {
	return jittered(doubled(b.Probe, b.ProbeMax, tries))
}

func doubled(first, most time.Duration, times int) time.Duration {
	d := first
	for ; times > 0 && d < most; times-- {
		d *= 2
	}
	return min(d, most)
}

func jittered(d time.Duration) time.Duration {
	if d <= 1 {
		return d
	}
	return d/2 + rand.N(d/2)
}

// throttle is how long to wait when the vendor says so: as asked, within bounds, or growing where it does not
// say how long.
func (r *runner) throttle(asked time.Duration) time.Duration {
	times := int(r.throttles.Add(1)) - 1
	if asked > 0 {
		return min(max(asked, minThrottle), maxThrottle)
	}
	return jittered(doubled(2*minThrottle, time.Minute, times))
}

// synced is the record after a push that succeeded.
func (r *runner) synced(c *store.Claim, ref string, now time.Time) store.Record {
	l := c.Change.Lead
	record := store.Record{Synced: l.Revision, Ref: ref, Sent: true, Address: r.address(l), At: now.UnixMilli()}
	if !r.Event {
		record.Payload = r.Fields.Digest(l)
	}
	return record
}

// skipped is the record of a lead that the connector's filter leaves out.
func skipped(c *store.Claim, now time.Time) store.Record {
	record := store.Record{Synced: c.Change.Lead.Revision, State: store.Skipped, At: now.UnixMilli()}
	if c.Connector.Event {
		record.Sent = c.Record.Sent // who was told of the lead must be told when it goes
	}
	return record
}
