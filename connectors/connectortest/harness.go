// Package connectortest is the conformance kit: one suite of promises that every connector runs against a
// stand-in of its vendor. A connector's test is a Harness and one call of Run. Where a bug shows in one
// connector, its case is added here.
package connectortest

import (
	"net/http"
	"testing"

	"github.com/leadrelay/leadrelay/connectors"
	"github.com/leadrelay/leadrelay/internal/lead"
)

// Record is one record a stand-in vendor holds.
type Record struct {
	Key    string            // what makes the record ours at the vendor: a row's lead id, an address hash, …
	Fields map[string]string // vendor field -> text, as much as the vendor keeps
}

// Vendor is a stand-in of an outside system that can list what it holds. The kit puts its own misbehaving
// layer before the HTTP ones, so a stand-in only needs to behave. It is used by several goroutines at once.
type Vendor interface {
	// Records lists what a person would see there now: archived and deleted records are left out.
	// An event connector's stand-in lists one Record per lead that was created and not deleted.
	//
	// The kit finds a lead's record by the lead's id, in Key or in a field, or by its address in a field.
	Records() []Record
}

// HTTPVendor is a Vendor reached over HTTP. ServeHTTP checks each request against the vendor's own description
// and answers as the vendor would.
type HTTPVendor interface {
	Vendor
	http.Handler
}

// Harness is what a connector gives the kit.
type Harness struct {
	Kind connectors.Kind

	// NewVendor starts with an empty system.
	NewVendor func(t testing.TB) Vendor

	// Settings are the settings of a working connector. baseURL is where the HTTP vendor listens, "" for a
	// vendor that is not HTTP. v is what NewVendor returned.
	Settings func(baseURL string, v Vendor) map[string]any

	// Fields are field rules for the test; nil: the kind's own.
	Fields []connectors.FieldRule

	// Secrets are the values in Settings that must never show in an error, a log line or a printed config.
	Secrets []string

	// Required are the keys of Settings without which the connector must refuse to open.
	Required []string

	// Faults says what a status means where it is not connectors.StatusError's rule. It is the meaning of a
	// status that comes with a JSON body; without one, a fault that is retried is right as well.
	Faults map[int]connectors.Fault

	// KeyedByEmail is set where two leads of one address share a record.
	KeyedByEmail bool

	// SignIn tells requests that only fetch a token; they always reach the vendor. nil: those whose path ends
	// in /token.
	SignIn func(*http.Request) bool

	// BadLead makes a lead that the vendor refuses as it is (a Lead fault). nil: there is none.
	BadLead func(lead.Lead) lead.Lead

	// CreatesOnly is set for an event connector whose system is told of creates alone.
	CreatesOnly bool

	// Successes are bodies of 200s by which the vendor says, of a change, that it was made, where they could be anybody's,
	// such as {}.
	Successes map[lead.Op][]string

	// NoSuchField is the name of a field that the vendor does not have, where Check says so of mapped ones; "": nobody
	// knows.
	NoSuchField string

	// Unready are vendors that Check must find fault with, by what it must say of them. Each makes a stand-in, as
	// NewVendor returned it, into one.
	Unready map[string]func(Vendor)

	// ReachOnly is set where Check finds out no more than that there is an answer, whatever it says.
	ReachOnly bool

	// NoExample is set where there is no package whose comment has an example of the configuration.
	NoExample bool

	dir string // of the package under test; "": where its tests run
}
