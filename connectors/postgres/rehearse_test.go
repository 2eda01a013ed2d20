package postgres

import (
	"regexp"
	"testing"

	"github.com/leadrelay/leadrelay/connectors"
)

func TestARehearsalShowsTheStatementAndWhatTheRowThenHolds(t *testing.T) {
	p := newPlace(t)
	c := p.open(t, nil, fields("name", "email", "source")...)
	parameters := regexp.MustCompile(`(?m)^-- \$\d+ "(\w+)": (.*)$`)
	for _, push := range []bool{false, true} { // before the table was looked at, and after
		shown, err := connectors.Rehearse(t.Context(), c, create(1), "")
		if err != nil || len(shown) != 1 {
			t.Fatalf("%v %+v", err, shown)
		}
		pushed(t, c, create(1))
		found := parameters.FindAllStringSubmatch(shown[0].Body, -1)
		if len(found) != 5 {
			t.Errorf("pushed before: %v: %d parameters are shown, want 5:\n%s", push, len(found), shown[0].Body)
		}
		for _, f := range found {
			if got := p.text(t, 1, f[1]); got != f[2] {
				t.Errorf("pushed before: %v: the rehearsal showed %s: %s, and the row has %s", push, f[1], f[2], got)
			}
		}
	}
}
