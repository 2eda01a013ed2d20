package googlesheets

import (
	"context"
	"strings"
	"testing"

	"github.com/leadrelay/leadrelay/connectors"
)

func TestACheckNamesWhatIsProtected(t *testing.T) {
	lock := func(fromRow, toRow, fromColumn, toColumn int) (l protectedRange) {
		l.Range.StartRowIndex, l.Range.EndRowIndex = fromRow, toRow
		l.Range.StartColumnIndex, l.Range.EndColumnIndex = fromColumn, toColumn
		return l
	}
	warns, ours := lock(0, 0, 0, 0), lock(0, 0, 0, 0)
	warns.WarningOnly, ours.RequestingUserCanEdit = true, true
	for name, row := range map[string]struct {
		locks  []protectedRange
		header []string
		want   []string // each in a problem of its own
	}{
		"nothing":                         {nil, nil, nil},
		"from others, or with a warning":  {[]protectedRange{warns, ours}, nil, nil},
		"a row":                           {[]protectedRange{lock(2, 3, 0, 0)}, nil, nil},
		"a header that is whole":          {[]protectedRange{lock(0, 1, 0, 0)}, nil, nil},
		"a header that lacks columns":     {[]protectedRange{lock(0, 1, 0, 0)}, []string{"lead_id", "name"}, []string{`row 1, which lacks email, of the tab "Leads" is protected`}},
		"the whole tab":                   {[]protectedRange{lock(0, 0, 0, 0)}, nil, []string{"the end, where new leads go, of the tab"}},
		"a column of ours, and the end":   {[]protectedRange{lock(1, 0, 1, 2), lock(5, 0, 0, 0)}, nil, []string{"the end, where new leads go,", "the column name of the tab"}},
		"a column that somebody else has": {[]protectedRange{lock(1, 0, 20, 21)}, nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			header := row.header
			if header == nil {
				header = w.c.columns
			}
			w.fill(header)
			w.locks = row.locks
			problems := connectors.Problems(w.c.Check(context.Background()))
			if len(problems) != len(row.want) {
				t.Fatalf("says %v, want %q", problems, row.want)
			}
			for i, problem := range problems {
				if fault, _ := connectors.FaultOf(problem); fault != connectors.Setup || !strings.Contains(problem.Error(), row.want[i]) || !strings.Contains(problem.Error(), "Data, Protect sheets and ranges") {
					t.Errorf("the fault %v: %v, want %q", fault, problem, row.want[i])
				}
			}
		})
	}
}

func TestTheSpreadsheetIsLinked(t *testing.T) {
	w := newWorld(t)
	want := "https://docs.google.com/spreadsheets/d/" + w.c.SpreadsheetID + "/edit"
	if got := w.c.RecordURL("lead_1"); got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
