package console

import (
	"context"
	"errors"
	"time"

	"github.com/leadrelay/leadrelay/internal/lead"
)

// Settings is the configuration file as operators edit it here: its connectors. What is asked of an entry that is not
// saved touches nothing that runs. No answer holds a secret.
type Settings interface {
	// Kinds are the kinds there are, by name. Kind is the one of an entry: of some, the settings say what it is. Where
	// they say nothing yet, it is as much of it as is known, and the error says why.
	Kinds() []Kind
	Kind(e Entry) (Kind, error)

	File() (File, error)

	// Try says what a connector would do with a lead whose record there is ref, "" for none, without asking its system.
	Try(ctx context.Context, e Entry, l lead.Lead, ref string) Outcome

	// Check asks its system whether the settings would work, and writes nothing there.
	Check(ctx context.Context, e Entry) (Answer, []Problem)

	// Plan says what an entry would do with the leads that are recorded.
	Plan(ctx context.Context, e Entry) (Plan, []Problem, error)

	// Diff says what an edit changes in the file, and what the loader would have against it.
	Diff(e Edit) (diff string, problems []Problem, err error)

	// Save edits the file, if the loader has nothing against it, and has the program take it over. ErrChanged: it is no
	// longer of the revision Was.
	Save(ctx context.Context, e Edit, who string) (Saved, []Problem, error)

	// Versions are the texts that saving replaced, newest first. DiffBack says what going back to one would change.
	Versions() ([]Version, error)
	DiffBack(id string) (string, error)
	GoBack(ctx context.Context, id, who string) (Saved, []Problem, error)
}

// ErrChanged: somebody else has edited the file meanwhile.
var ErrChanged = errors.New("the configuration file has changed meanwhile")

// Kind is a sort of outside system.
type Kind struct {
	Name, Title, Docs string
	Event             bool        // it is told of each change, and keeps no record
	Settings          []Setting   // its own
	Common            []Setting   // those that connectors of all kinds have, their names with dots
	Fields            []FieldRule // of an entry that has none
}

// Setting is one that a kind has.
type Setting struct {
	Name, Help       string
	Type             string // text, integer, number, bool, duration, list or mapping
	Secret, Required bool
	Lines            bool // it may have many
	Default          string
	OneOf            []string
}

// Entry is a connector as the file has it: nothing resolved, keys and values as written.
type Entry struct {
	Name, Kind, When string
	Settings         map[string]any
	Fields           []FieldRule // nil: the kind's
	Other            map[string]any
}

// FieldRule says where a field of the system comes from: one of From, Template and Value.
type FieldRule struct {
	To, From, Template string
	Value              any
}

// File is what the configuration file holds.
type File struct {
	Path, Revision string
	Writable       bool
	Entries        []Entry
}

func (f File) entry(name string) (Entry, bool) {
	for _, e := range f.Entries {
		if e.Name == name {
			return e, true
		}
	}
	return Entry{}, false
}

// Edit is a change of the file.
type Edit struct {
	Was   string // the revision it was made from
	Name  string // the entry it is of; "": a new one
	Entry *Entry // what is to be there; nil: nothing
}

// Problem is what the loader has against a setting: when, fields[1], settings.list_id; "": against the file.
type Problem struct{ Place, Text string }

// Outcome is what a connector would do with a lead.
type Outcome struct {
	Taken    bool // when lets it through
	Whole    bool // without fields, all of it
	Fields   []Mapped
	Requests []SendingRequest
	Problems []Problem
	Unfit    string // why it does not fit, in words
}

// Mapped is a field and its value.
type Mapped struct{ To, Value string }

// Answer is what a system said when it was asked.
type Answer struct {
	Good bool
	Text string
}

// Plan is what an entry would do with the leads that are recorded.
type Plan struct {
	New, Event               bool
	Looked, Leads            int64 // how many leads were looked at, the newest, and how many there are
	Missing, Outdated, Leave int64 // to be pushed for the first time, otherwise, and to be taken away
	Fit                      int64 // nothing to do
	Waiting, Parked          int64
	Rejected                 []Rejected
	Calls                    int64
	Takes                    string // the time that the vendor's limits make of it; "": none
	Command                  string // which pushes them
}

// Rejected is how many leads do not fit, and why.
type Rejected struct {
	Reason string
	Leads  int64
}

// Saved is what became of an edit that was saved.
type Saved struct {
	Revision string
	Refused  string // why the program did not take it over; "": it did
}

// Version is a text of the file that was replaced.
type Version struct {
	ID, Who, Revision string
	At                time.Time // when it was replaced, by Who
}
