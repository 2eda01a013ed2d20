// Package connectors is the contract between the worker and the outside systems: what a connector does, whose
// fault a failure is, and what every connector shares (the HTTP client, the mapping of a lead to fields, the
// filter of leads, the table of kinds). Each outside system has a folder of its own below this one; none of
// them knows another, Redis or the queue.
package connectors

import (
	"context"
	"time"

	"github.com/leadrelay/leadrelay/internal/lead"
)

// Connector keeps one outside system in step with the leads. It holds no state about leads: what it must
// remember of one is its ref, which the worker keeps.
//
// All methods may be called by several goroutines and by several processes at once, but never twice at once
// for the same lead.
type Connector interface {
	// Push makes the outside system match change. ref is what the last successful Push of this lead returned,
	// or "".
	//
	// Repeating a Push after it succeeded, or after it was applied and its answer lost, changes nothing; where
	// the vendor has no keyed write, Finder makes that so. An Update of a record that is not there creates it,
	// a Create of one that is there updates it. Deleting what is already gone is success.
	//
	// Push makes one attempt: it never retries, waits or sleeps by itself. Errors are *Error, see there; their
	// text holds neither secrets nor anything of the lead but its id.
	Push(ctx context.Context, change lead.Change, ref string) (newRef string, err error)
}

// Keyed is for systems where the record's key follows from the lead itself (an address hash). The worker
// stores Key before the first call under that key goes out, so that a crash or a lost answer never orphans a
// record: a later delete, or a move to another key, is then pushed to the old key, too.
type Keyed interface {
	// Key is the ref that a Push of l would return. It holds no personal data in the clear.
	Key(l lead.Lead) string
}

// Finder is for systems whose create has no key. It is asked before a create is repeated whose last attempt
// had no answer.
type Finder interface {
	// Find returns the ref of the record that belongs to l, by the lead's id where the system holds it.
	// Of l only the ID is sure to be set: the lead may have been deleted meanwhile.
	Find(ctx context.Context, l lead.Lead) (ref string, found bool, err error)

	// Settles is how long after a record was written Find may not know of it yet, 0 where it knows at once. Until then
	// the worker takes no miss for an answer.
	Settles() time.Duration
}

// Sharing is for systems that know people by their address although the ref says nothing of it: leads of one address come
// to have one record. The worker then takes no record away, nor gives it another address, while another lead has it.
type Sharing interface {
	SharesRecords() bool
}

// Batcher is for systems that take several leads in one call.
type Batcher interface {
	// MaxBatch is the most items one PushBatch takes, at least 1.
	MaxBatch() int

	// PushBatch is Push for several leads, no lead twice. It returns one Result for each item, in the same
	// order; a failure of one item does not fail its neighbours where the vendor can tell them apart.
	PushBatch(ctx context.Context, items []Item) []Result
}

// Item is one lead's part of a batch: the arguments of Push.
type Item struct {
	Change lead.Change
	Ref    string
}

// Result is the answer to one Item: the results of Push.
type Result struct {
	Ref string
	Err error

	// Spoilt are other leads whose records the push may have hit in this one's place, such as rows that a person
	// moved in that moment: they are pushed again.
	Spoilt []string
}

// Checker is for systems that can be asked whether the settings would work.
type Checker interface {
	// Check signs in and verifies, as far as the system can be asked without writing, that what the settings and the
	// mapping name is there, takes what is mapped to it, and may be written and deleted. It writes nothing. The error
	// joins all that is missing (errors.Join), each with how to mend it in one line.
	Check(ctx context.Context) error
}

// Linked is for systems in which people can look at a record.
type Linked interface {
	// RecordURL is where, "" where that is not known. It holds no secret and, as the ref, no personal data.
	RecordURL(ref string) string
}

// A connector that holds something open also implements io.Closer.
