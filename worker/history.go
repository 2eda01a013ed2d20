package worker

import (
	"github.com/leadrelay/leadrelay/connectors"
	"github.com/leadrelay/leadrelay/internal/store"
)

// attempt is what a lead's history is told of a push and what came of it.
func attempt(c *store.Claim, got result) *store.Attempt {
	a := &store.Attempt{Op: got.op, Took: got.took}
	if a.Op == "" {
		a.Op = c.Change.Op // it did not come to a call
	}
	for _, calls := range got.calls {
		for _, call := range calls.List() {
			a.Calls = append(a.Calls, store.Call{
				Line: connectors.Redact(call.Line, personal(c)...), Status: call.Status, Ms: call.Took.Milliseconds(),
				Said: connectors.Redact(call.Said, personal(c)...),
			})
		}
	}
	return a
}
