package csv

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/leadrelay/leadrelay/connectors"
	"github.com/leadrelay/leadrelay/internal/lead"
)

func TestARehearsalShowsTheRowAsItIsThenWritten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "leads.csv")
	c := sheetOf(t, path, nil, "name", "email", "note")
	for _, i := range []int{1, 2} {
		if _, err := c.Push(t.Context(), create(i), ""); err != nil {
			t.Fatal(err)
		}
	}
	header, _, _ := strings.Cut(strings.TrimPrefix(read(t, path), byteOrderMark), "\n")
	for _, step := range []struct {
		change lead.Change
		line   string
	}{
		{create(3), "new row 4 of " + path},
		{update(2), "row 3 of " + path},
		{remove(1), "remove row 2 of " + path},
	} {
		shown, err := connectors.Rehearse(t.Context(), c, step.change, step.change.Lead.ID)
		if err != nil || len(shown) != 1 || shown[0].Line != step.line {
			t.Fatalf("%s: %v %+v, want %s", step.change.Op, err, shown, step.line)
		}
		if _, err := c.Push(t.Context(), step.change, ""); err != nil {
			t.Fatal(err)
		}
		row, below := strings.CutPrefix(shown[0].Body, header+"\n")
		if step.change.Op != lead.Delete && (!below || row == "" || !strings.Contains(read(t, path), row)) {
			t.Errorf("%s: the rehearsal showed\n%s\nand the file is\n%s", step.change.Op, shown[0].Body, read(t, path))
		}
	}
	if shown, err := connectors.Rehearse(t.Context(), c, remove(1), id(1)); err != nil || len(shown) != 0 {
		t.Errorf("a row that is gone: %v %+v", err, shown)
	}
}
