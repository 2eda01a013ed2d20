package csv

import (
	stdcsv "encoding/csv"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/leadrelay/leadrelay/connectors/connectortest"
)

func (s *sheet) text() string {
	var text strings.Builder
	text.WriteString(s.header)
	for _, r := range s.rows {
		text.WriteString(r.text)
	}
	return text.String()
}

// FuzzRead: whatever a file holds, reading it does not panic, a row written to it can be found again, and a
// well-formed file keeps its other rows.
func FuzzRead(f *testing.F) {
	id := connectortest.Sample(1).ID
	other := connectortest.Sample(2).ID
	for _, seed := range []string{
		"", "\n", "lead_id", "lead_id\n", "\uFEFFlead_id,name\n", "name,email\n",
		"lead_id,name\r\n" + other + ",\"a, \"\"b\"\"\nc\"\r\n\r\nTotal,1",
		"x,lead_id,x\n1," + other + ",2\n,,\n",
		"lead_id;name\n" + other + ";a,b\n", "lead_id\tname\n" + other + "\tb",
		"lead_id,name\n" + other + ",\"torn\n", "lead_id,name\nlead_1jkq", "lead_id,name\n" + other + ",Zo\xc3",
		"lead_id,name\n" + other + ",x\x00\x00", "lead_id,\"na\"me\n" + other + ",\"x\"y,z\n",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, content string) {
		if strings.Contains(content, id) {
			return
		}
		columns := []string{"lead_id", "name", "note"}
		edits := []edit{{id, []any{id, "Zoë", "a;\n\"b\""}}}
		s, err := readSheet(content, columns, ',', false)
		if err != nil {
			return
		}
		if added, _ := s.edit(edits); len(added) != 1 {
			t.Fatalf("%d rows were added", len(added))
		}
		written := s.text()

		again, err := readSheet(written, columns, ',', false)
		if err != nil || again.stale || again.torn {
			t.Fatalf("what was written is not whole: %v\n%q", err, written)
		}
		if added, changed := again.edit(edits); len(added) != 0 || changed || again.text() != written {
			t.Fatalf("the row is not found again in\n%q", written)
		}
		if _, changed := again.edit([]edit{{id: id}}); !changed || strings.Contains(again.text(), id) {
			t.Fatalf("the row is not deleted from\n%q", written)
		}

		before, ok := wellFormed(content)
		if !ok {
			return
		}
		reader := stdcsv.NewReader(strings.NewReader(written))
		reader.FieldsPerRecord = -1
		after, err := reader.ReadAll()
		if err != nil {
			t.Fatalf("what was well-formed is not any more: %v\n%q", err, written)
		}
		before, after = before[1:], after[1:len(after)-1]
		before, after = slices.DeleteFunc(before, blank), slices.DeleteFunc(after, blank)
		if len(before) != len(after) {
			t.Fatalf("%d rows became %d\n%q", len(before), len(after), written)
		}
		for i := range before {
			if !slices.Equal(filled(before[i]), filled(after[i])) {
				t.Fatalf("row %q became %q", before[i], after[i])
			}
		}
	})
}

// wellFormed reads a file as RFC 4180 has it, if it is one with a lead_id column.
func wellFormed(content string) (rows [][]string, ok bool) {
	if strings.Contains(strings.ReplaceAll(content, "\r\n", ""), "\r") || !utf8.ValidString(content) || strings.HasSuffix(content, "\x00") {
		return nil, false
	}
	rows, err := stdcsv.NewReader(strings.NewReader(strings.TrimPrefix(content, byteOrderMark))).ReadAll()
	if err != nil || len(rows) == 0 || !slices.Contains(rows[0], "lead_id") {
		return nil, false
	}
	last := rows[len(rows)-1]
	return rows, len(last) > 1 || strings.HasSuffix(content, "\n") // what is left of a lone lead_id
}

func blank(row []string) bool { return len(filled(row)) == 0 }

func filled(row []string) []string {
	cells := slices.DeleteFunc(slices.Clone(row), func(cell string) bool { return cell == "" })
	slices.Sort(cells)
	return cells
}
