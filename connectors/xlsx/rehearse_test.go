package xlsx

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/leadrelay/leadrelay/connectors"
	"github.com/leadrelay/leadrelay/internal/lead"
)

func TestARehearsalShowsTheCellsAsTheyAreThenWritten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "leads.xlsx")
	c := sheetOf(t, path, nil, "name", "email", "note")
	for _, i := range []int{1, 2} {
		if _, err := c.Push(t.Context(), create(i), ""); err != nil {
			t.Fatal(err)
		}
	}
	place := " of the worksheet Leads in " + path
	for _, step := range []struct {
		change lead.Change
		line   string
		row    int
	}{
		{create(3), "new row 4" + place, 4},
		{update(2), "row 3" + place, 3},
		{remove(1), "empty row 2" + place, 2},
	} {
		shown, err := connectors.Rehearse(t.Context(), c, step.change, step.change.Lead.ID)
		if err != nil || len(shown) != 1 || shown[0].Line != step.line {
			t.Fatalf("%s: %v %+v, want %s", step.change.Op, err, shown, step.line)
		}
		if _, err := c.Push(t.Context(), step.change, ""); err != nil {
			t.Fatal(err)
		}
		var want []string
		for line := range strings.Lines(shown[0].Body) {
			_, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
			want = append(want, value)
		}
		if got := grid(t, path, "Leads")[step.row-1]; !slices.Equal(got, want) {
			t.Errorf("%s: the rehearsal showed\n%q\nand the row is\n%q", step.change.Op, want, got)
		}
	}
}
