package connectors

import "time"

// Limited is for systems that bound how they may be called. The worker keeps the limits over all processes.
type Limited interface {
	Limits() Limits
}

// Limits bound the calls to a system, counted over all workers together. A call is one Push or one PushBatch, unless
// the connector says with Spend what it sends. The zero value is no limit.
type Limits struct {
	// Scope names what shares the limits, such as an account or a sheet, without secrets; connectors of one
	// scope are counted together. Empty: this connector alone.
	Scope string

	// RateScope names what shares the rates, where that is more than Scope. Empty: Scope.
	RateScope string

	Concurrency int    // pushes in flight at once; 0: unlimited
	Rates       []Rate // all hold at once
}

// Rate bounds what is called in a time: in each window of Per, wherever it begins, there are at most Most calls, or
// calls that cost Most together. A call that alone costs more than Most counts as Most: it waits for an empty window.
type Rate struct {
	Most   int           // at least 1
	Per    time.Duration // at least a millisecond
	ByCost bool          // counts what calls cost, see Spend, and not how many they are
}
