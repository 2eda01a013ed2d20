package lead

import "time"

// Lead is one person's interest, as it stands after its latest accepted change.
type Lead struct {
	ID     string // see NewID
	Name   string
	Email  string // as it was sent, without surrounding space; see NormalEmail
	Source string
	Note   string

	// Custom holds every other member of the request under its own name, as JSON gave it: string,
	// json.Number, bool, []any or map[string]any. Never nil values.
	Custom map[string]any

	Revision int64     // 1 for the create, one more for each accepted change; a delete is a revision too
	Created  time.Time // when the create was accepted, to the millisecond, UTC
	Updated  time.Time // when the latest change was accepted
}

// Op is what a change does to the record of a lead.
type Op string

const (
	Create Op = "create"
	Update Op = "update"
	Delete Op = "delete"
)

// Change is one step a connector is asked to take.
type Change struct {
	// ID is the same on every attempt at this change by this connector, and differs from every other's.
	ID string

	Op Op

	// Lead is the state to reach. On Delete of a lead that was itself deleted only ID and Revision are set: the
	// person is already forgotten. It is whole where only this record has to go, such as that of a former address,
	// or of a lead that the connector's filter leaves out.
	Lead Lead

	// Time is when the change was accepted.
	Time time.Time
}
