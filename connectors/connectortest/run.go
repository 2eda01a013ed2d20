package connectortest

import (
	"reflect"
	"testing"

	"github.com/leadrelay/leadrelay/connectors"
)

// Run holds a connector to the contract of package connectors, one subtest per promise. What a connector
// cannot do (batches, Find, HTTP) is not asked of it.
func Run(t *testing.T, h Harness) {
	t.Helper()
	can := abilitiesOf(newWorld(t, h))
	for _, c := range checks {
		if c.needs != nil && !c.needs(can) {
			continue
		}
		t.Run(c.promise, func(t *testing.T) { c.run(t, h) })
	}
}

// check is one promise. run may be called with any testing.TB, so that the kit can be tested by itself.
type check struct {
	promise string
	needs   func(abilities) bool // nil: every connector
	run     func(t testing.TB, h Harness)
}

// in makes a check that needs one world.
func in(run func(w *world)) func(testing.TB, Harness) {
	return func(t testing.TB, h Harness) {
		t.Helper()
		run(newWorld(t, h))
	}
}

var checks = func() (all []check) {
	for _, group := range [][]check{recordChecks, answerChecks, batchChecks, privacyChecks, settingsChecks, processChecks, rehearsalChecks} {
		all = append(all, group...)
	}
	return all
}()

type abilities struct {
	http, event, changes, finder, batcher, checker, badLead, required, secrets, example, fields, unready, rehearser bool
}

func abilitiesOf(w *world) abilities {
	can := abilities{
		http:     w.front != nil,
		event:    w.h.Kind.Event,
		changes:  !w.h.CreatesOnly,
		badLead:  w.h.BadLead != nil,
		required: len(w.h.Required) > 0,
		example:  w.h.example() != "",
		fields:   w.h.NoSuchField != "",
		unready:  len(w.h.Unready) > 0,
	}
	if w.h.Kind.Settings != nil {
		eachSetting(reflect.TypeOf(w.h.Kind.Settings), func(_ string, t reflect.Type) {
			can.secrets = can.secrets || t == secretType
		})
	}
	_, can.finder = w.connector.(connectors.Finder)
	_, can.batcher = w.connector.(connectors.Batcher)
	_, can.checker = w.connector.(connectors.Checker)
	_, can.rehearser = w.connector.(connectors.Rehearser)
	return can
}

func needsHTTP(can abilities) bool    { return can.http }
func needsRecords(can abilities) bool { return !can.event }
func needsChanges(can abilities) bool { return can.changes }
func needsFinder(can abilities) bool  { return can.finder }
func needsChecker(can abilities) bool { return can.checker }
func needsBatcher(can abilities) bool { return can.batcher }

func both(a, b func(abilities) bool) func(abilities) bool {
	return func(can abilities) bool { return a(can) && b(can) }
}
