package worker

import (
	"strings"
	"time"

	"github.com/leadrelay/leadrelay/connectors"
	"github.com/leadrelay/leadrelay/internal/store"
	"github.com/leadrelay/leadrelay/internal/tracing"
)

// attempt is what a lead's history is told of a push and what came of it.
func attempt(c *store.Claim, got result) *store.Attempt {
	a := &store.Attempt{Op: got.op, Began: got.began, Took: got.took}
	if a.Op == "" {
		a.Op = c.Change.Op // it did not come to a call
	}
	for _, calls := range got.calls {
		made := calls.List()
		if len(made) == 0 {
			continue
		}
		personal := c.Change.Lead.Personal()
		for _, call := range made {
			a.Calls = append(a.Calls, store.Call{
				Line: connectors.Redact(call.Line, personal...), Status: call.Status, Began: call.Began, Ms: call.Took.Milliseconds(),
				Said: connectors.Redact(call.Said, personal...),
			})
		}
	}
	return a
}

// trace is how to export the claim's attempt once it is settled.
func (r *runner) trace(c *store.Claim, verb store.Verb) func() {
	a := c.Attempt
	if r.tracing == nil || a == nil {
		return func() {}
	}
	push := tracing.Push{
		Change:    tracing.Change{Lead: c.Change.Lead.ID, Revision: c.Change.Lead.Revision, Op: c.Change.Op},
		Connector: r.Name, Outcome: string(c.Outcome(verb)), Fault: a.Fault, Reason: a.Reason, Began: a.Began, Took: a.Took,
	}
	if push.Began.IsZero() {
		push.Began = time.Now() // no call was needed
	}
	for _, call := range a.Calls {
		method, _, _ := strings.Cut(call.Line, " ")
		push.Calls = append(push.Calls, tracing.Call{
			Line: call.Line, Method: method, Status: call.Status, Began: call.Began, Took: time.Duration(call.Ms) * time.Millisecond,
		})
	}
	return func() { r.tracing.Pushed(push) }
}
