package worker

import (
	"context"
	"time"

	"github.com/leadrelay/leadrelay/internal/store"
)

// heldProbe is the first wait before a held connector is probed, and heldProbeMax the longest: settings are
// mended by people.
const (
	heldProbe    = 5 * time.Second
	heldProbeMax = 2 * time.Minute
)

// pass says whether leads may go through.
func (r *runner) pass() bool { return r.gate.Load().Opens(r.store.Now()) && !r.resting() }

// noticeGate looks whether leads may go through since a moment ago, or since this worker began, and then wakes for
// those that waited.
func (r *runner) noticeGate(ctx context.Context) {
	open := r.pass()
	if was := r.open.Swap(open); open && !was {
		if err := r.store.RingDue(ctx, r.Name); err != nil {
			r.open.Store(false) // the sweeper comes by again
		}
	}
}

// readGate takes over what another worker or an operator made of the gate.
func (r *runner) readGate() {
	ctx, cancel := context.WithTimeout(r.base, hold)
	defer cancel()
	gates, err := r.store.Gates(ctx)
	if err != nil {
		return // the sweeper reads it again
	}
	r.gate.Store(new(gates[r.Name]))
	r.noticeGate(ctx)
}

// closeGate spares the connector after a lead's push failed: it waits, or is probed with one lead from time to
// time. An operator's pause stands above all.
func (r *runner) closeGate(state store.GateState, lead, reason string, until time.Time) {
	now := r.store.Now()
	before := *r.gate.Load()
	if before.State == store.GatePaused {
		return
	}
	g := store.Gate{State: state, Reason: reason, Since: now, Until: until}
	if before.State == state {
		g.Since = before.Since
		g.Tries = before.Tries
		if before.Lead != "" && before.Lead != lead {
			before.Lead = "" // not that lead's own trouble, then
		} else if now.Before(before.Until) && !until.After(before.Until) {
			return // said already, by a push that was in flight beside this one
		}
		g.Lead = before.Lead
		g.Tries++
	}
	switch state {
	case store.GateDown:
		if before.State != state {
			g.Lead = r.failures.onlyLead()
		}
		g.Until = now.Add(r.Breaker.wait(g.Tries))
	case store.GateHeld:
		g.Until = now.Add(jittered(doubled(heldProbe, heldProbeMax, g.Tries)))
	}
	if before.State != state {
		r.log.Warn("connector "+string(state), "reason", reason, "until", g.Until)
	}
	r.setGate(g)
}

// openGate lets leads through again after a push that the remote answered.
func (r *runner) openGate() {
	before := r.gate.Load()
	if before.State != store.GateDown && before.State != store.GateHeld {
		return
	}
	r.log.Info("connector well again", "after", r.store.Now().Sub(before.Since).Round(time.Millisecond))
	r.failures.end()
	r.setGate(store.Gate{})
}

func (r *runner) setGate(g store.Gate) {
	r.gate.Store(&g) // even if it cannot be recorded
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.base), hold)
	defer cancel()
	now, err := r.store.MoveGate(ctx, r.Name, g)
	if err != nil {
		r.log.Warn("a gate could not be recorded", "error", err)
	}
	r.gate.Store(&now)
	r.noticeGate(ctx)
}
