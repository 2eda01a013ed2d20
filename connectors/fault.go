package connectors

import (
	"errors"
	"time"
)

// Fault says whose trouble an error is. What follows from each is decided in one place, worker/retry.go.
type Fault int

const (
	// Remote: the system could not be reached or failed by itself; nothing was applied, or repeating does no
	// harm. Retried with growing delays. It is the zero value: forgetting to classify must never lose a lead.
	Remote Fault = iota
	// Throttled: the system asks to wait. Waiting is not an attempt.
	Throttled
	// Setup: the settings or the account are wrong (401, 403, list missing). The connector is held, every lead
	// kept.
	Setup
	// Lead: the system refuses this record as it is. The lead is parked, visible, until it changes or is
	// replayed.
	Lead
	// Unknown: the request went out and no whole answer came back; it may have been applied. As Remote, and
	// Find is asked before a create is repeated.
	Unknown
)

// String is the fault's name in metrics, logs and the API.
func (f Fault) String() string {
	switch f {
	case Throttled:
		return "throttled"
	case Setup:
		return "setup"
	case Lead:
		return "lead"
	case Unknown:
		return "unknown"
	default:
		return "remote"
	}
}

// Error is a failed Push with what the worker must know of it.
type Error struct {
	Fault Fault

	// RetryAfter is the least time to wait before the next attempt, as the system asked; 0: the worker decides.
	RetryAfter time.Duration

	// NotSent: the request that failed never left this machine.
	NotSent bool

	// Err reads as a path, outermost first: "mailchimp: put member: 400 Invalid Resource".
	// It holds neither secrets nor personal data.
	Err error
}

func (e *Error) Error() string { return e.Err.Error() }
func (e *Error) Unwrap() error { return e.Err }

// FaultOf returns the fault of err and the wait it asks for. An error nobody classified is Remote.
func FaultOf(err error) (Fault, time.Duration) {
	var e *Error
	if errors.As(err, &e) {
		return e.Fault, e.RetryAfter
	}
	return Remote, 0
}
