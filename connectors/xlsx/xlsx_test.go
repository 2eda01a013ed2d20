package xlsx

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/xuri/excelize/v2"

	"github.com/leadrelay/leadrelay/connectors"
	"github.com/leadrelay/leadrelay/connectors/connectortest"
	"github.com/leadrelay/leadrelay/internal/lead"
	"github.com/leadrelay/leadrelay/internal/lockedfile"
)

// spreadsheet is the file as its reader sees it, through another's eyes.
type spreadsheet struct{ path string }

func (s spreadsheet) Records() []connectortest.Record {
	f, err := excelize.OpenFile(s.path, excelize.Options{RawCellValue: true})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		panic(err)
	}
	defer f.Close()
	rows, err := f.GetRows("Leads")
	if err != nil {
		panic(err)
	}
	var records []connectortest.Record
	for _, row := range rows[1:] {
		if len(row) == 0 {
			continue // a lead was deleted
		}
		fields := map[string]string{}
		for i, name := range rows[0] {
			if i < len(row) {
				fields[name] = row[i]
			} else {
				fields[name] = ""
			}
		}
		records = append(records, connectortest.Record{Key: fields["lead_id"], Fields: fields})
	}
	return records
}

func TestConformance(t *testing.T) {
	for name, fields := range map[string][]connectors.FieldRule{
		"the kind's own columns": nil,
		"custom columns": {
			{To: "Name", From: "name"}, {To: "Email", From: "email"}, {To: "Phone", From: "phone"}, {To: "Budget", From: "budget"},
			{To: "Tags", From: "tags"}, {To: "Address", From: "address"}, {To: "Exact", From: "exact"}, {To: "News, yes?", From: "newsletter"},
			{To: "=Note", From: "note"}, {To: "Greeting", Template: "Dear {{.first_name}}; welcome"}, {To: "Campaign", Value: 7},
		},
	} {
		t.Run(name, func(t *testing.T) {
			connectortest.Run(t, connectortest.Harness{
				Kind:      Kind,
				NewVendor: func(t testing.TB) connectortest.Vendor { return spreadsheet{filepath.Join(t.TempDir(), "leads.xlsx")} },
				Settings: func(_ string, v connectortest.Vendor) map[string]any {
					return map[string]any{"path": v.(spreadsheet).path}
				},
				Required: []string{"path"},
				Fields:   fields,
				BadLead: func(l lead.Lead) lead.Lead {
					l.Note = strings.Repeat("n", maxText+1)
					return l
				},
			})
		})
	}
}

// local is how the kit sees the file.
var local = connectortest.File{
	Kind:    Kind,
	Name:    "leads.xlsx",
	Records: func(path string) []connectortest.Record { return spreadsheet{path}.Records() },
	Other:   map[string]any{"sheet": "Other"},
	Room:    func(size int) []int { return []int{0, 100, size - 100} },
	Sound:   wantSound,
}

func TestFile(t *testing.T) { connectortest.RunFile(t, local) }

var newPath, wantFault, push = local.NewPath, local.WantFault, connectortest.PushAll

// sheetOf opens a connector to path; settings beside path and columns beside lead_id are optional.
func sheetOf(t testing.TB, path string, settings map[string]any, columns ...string) *connector {
	t.Helper()
	return local.Open(t, path, settings, columns...).(*connector)
}

func create(i int) lead.Change { return connectortest.Created(connectortest.Sample(i)) }
func update(i int) lead.Change {
	return connectortest.Updated(connectortest.Edited(connectortest.Sample(i)))
}
func remove(i int) lead.Change { return connectortest.Deleted(connectortest.Sample(i)) }
func id(i int) string          { return connectortest.Sample(i).ID }

func read(t testing.TB, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

func write(t testing.TB, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func stat(t testing.TB, path string) fs.FileInfo {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info
}

// edited lets a person edit a workbook, new or there, and save it.
func edited(t testing.TB, path string, edit func(f *excelize.File)) {
	t.Helper()
	f, err := excelize.OpenFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		f, err = excelize.NewFile(), nil
		f.SetSheetName("Sheet1", "Leads")
	}
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	edit(f)
	if err := f.SaveAs(path); err != nil {
		t.Fatal(err)
	}
}

// rows sets the rows of a sheet, from the first on. A text that begins with = is a formula; nil is no cell.
func rows(t testing.TB, f *excelize.File, sheet string, rows ...[]any) {
	t.Helper()
	for r, row := range rows {
		for c, value := range row {
			cell := cellName(c+1, r+1)
			var err error
			switch v := value.(type) {
			case nil:
			case string:
				if formula, ok := strings.CutPrefix(v, "="); ok {
					err = f.SetCellFormula(sheet, cell, formula)
				} else {
					err = f.SetCellStr(sheet, cell, v)
				}
			default:
				err = f.SetCellValue(sheet, cell, v)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
}

// grid shows the rows of a sheet: texts and numbers as they are, formulas with their =.
func grid(t testing.TB, path, sheet string) (rows [][]string) {
	t.Helper()
	f, err := excelize.OpenFile(path, excelize.Options{RawCellValue: true})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rows, err = f.GetRows(sheet)
	if err != nil {
		t.Fatal(err)
	}
	for r := range rows {
		for c := range rows[r] {
			if formula, _ := f.GetCellFormula(sheet, cellName(c+1, r+1)); formula != "" {
				rows[r][c] = "=" + formula
			}
		}
	}
	return rows
}

func wantGrid(t testing.TB, path string, want ...[]string) {
	t.Helper()
	got := grid(t, path, "Leads")
	for i := range got {
		if got[i] == nil {
			got[i] = []string{}
		}
	}
	for i := range want {
		if want[i] == nil {
			want[i] = []string{}
		}
	}
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("the sheet is\n%q, want\n%q", got, want)
	}
}

func TestFileAsAPersonFindsIt(t *testing.T) {
	path := newPath(t)
	c := sheetOf(t, path, nil)
	l := connectortest.Sample(1)
	l.Name, l.Note = "Zoë, \"Zee\"", "one\r\ntwo\x00\x07\uFFFF"
	ref, err := c.Push(context.Background(), connectortest.Created(l), "")
	if err != nil || ref != l.ID {
		t.Fatalf("got the ref %q and %v", ref, err)
	}
	wantGrid(t, path,
		[]string{"lead_id", "name", "email", "source", "note", "created_at", "updated_at"},
		[]string{id(1), "Zoë, \"Zee\"", "zenobia.quillfeather1@example.com", "website", "one\ntwo", "2026-03-14T15:09:26Z", "2026-03-14T15:09:26Z"})
}

func TestSettingsNameTheWorksheetAndItsColumns(t *testing.T) {
	path := newPath(t)
	push(t, sheetOf(t, path, map[string]any{"sheet": "A & B"}, "source", "phone", "budget", "newsletter"), create(1))
	want := [][]string{{"lead_id", "source", "phone", "budget", "newsletter"}, {id(1), "website", "+44 20 7946 0001", "1500", "1"}}
	if got := grid(t, path, "A & B"); !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestWrongSettingsAreNamed(t *testing.T) {
	mapping, _ := connectors.NewMapping([]connectors.FieldRule{
		{To: "lead_id", From: "id"}, {To: "a", From: "name"}, {To: " a", From: "email"}, {To: "\x00", From: "note"},
	})
	_, err := Kind.Open(map[string]any{"path": "leads/", "sheet": "a/b"}, connectors.Env{Fields: mapping})
	want := "path: must name a file, not a folder\n" +
		"sheet: a worksheet's name holds none of : \\ / ? * [ ] and neither begins nor ends with '\n" +
		"fields: lead_id is always a column, remove its rule\n" +
		"fields: \" a\" would be a second column of that name\n" +
		"fields: \"\\x00\" is no name for a column"
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	for want, settings := range map[string]map[string]any{
		"path: must end in .xlsx": {"path": "leads.csv"},
		"sheet: required":         {"path": "leads.XLSX", "sheet": " "},
		"sheet: a worksheet's name has at most 31 characters": {"path": "leads.xlsx", "sheet": strings.Repeat("x", 32)},
		"sheet: Excel keeps that name for itself":             {"path": "leads.xlsx", "sheet": "History"},
	} {
		if _, err := Kind.Open(settings, connectors.Env{}); err == nil || err.Error() != want {
			t.Errorf("%v: got %v, want %s", settings, err, want)
		}
	}
}

func TestPushingAgainLeavesTheFileAlone(t *testing.T) {
	path := newPath(t)
	l := connectortest.Sample(1)
	l.Name, l.Note = "=1+1", "'=x\n+44;-1\t@\n"
	l.Custom["exact"], l.Custom["tags"] = json.Number("1.50e3"), []any{"a", "b"}
	columns := []string{"name", "note", "budget", "newsletter", "exact", "tags", "nothing"}
	c := sheetOf(t, path, nil, columns...)
	push(t, c, connectortest.Created(l), create(2))
	// Another program's file says the same in other ways.
	for _, save := range []func(){func() {}, func() { edited(t, path, func(f *excelize.File) { rewriteCells(t, f) }) }} {
		save()
		before, info := read(t, path), stat(t, path)
		for _, c := range []*connector{c, sheetOf(t, path, nil, columns...)} {
			push(t, c, connectortest.Created(l), create(2), remove(3))
			if now := stat(t, path); read(t, path) != before || !os.SameFile(info, now) || !now.ModTime().Equal(info.ModTime()) {
				t.Error("the file was written although nothing changed")
			}
		}
	}
}

// rewriteCells writes every cell of the leads as that program does.
func rewriteCells(t testing.TB, f *excelize.File) {
	t.Helper()
	all, err := f.GetRows("Leads", excelize.Options{RawCellValue: true})
	if err != nil {
		t.Fatal(err)
	}
	for r, row := range all {
		for c, value := range row {
			cell := cellName(c+1, r+1)
			switch kind, _ := f.GetCellType("Leads", cell); kind {
			case excelize.CellTypeInlineString, excelize.CellTypeSharedString:
				f.SetCellStr("Leads", cell, value)
			}
		}
	}
}

// What a person did to the workbook.

func TestT13OwnColumnsAndOrderOfPeopleStay(t *testing.T) {
	path := newPath(t)
	edited(t, path, func(f *excelize.File) {
		rows(t, f, "Leads", // a person moved columns, sorted the rows, added a column with a formula, a total and a blank line
			[]any{"Called?", "lead_id", " source ", "Score"},
			[]any{"yes", id(2), "old", "=1+1"},
			nil,
			[]any{"no,\nnever", " " + id(1), "old", 2.5},
			[]any{"Total", nil, nil, "=SUM(D2:D4)"})
	})
	c := sheetOf(t, path, nil, "source")
	push(t, c, create(1), create(2), create(3), create(4))
	wantGrid(t, path,
		[]string{"Called?", "lead_id", " source ", "Score"},
		[]string{"yes", id(2), "website", "=1+1"},
		[]string{"", id(3), "website"},
		[]string{"no,\nnever", " " + id(1), "website", "2.5"},
		[]string{"Total", "", "", "=SUM(D2:D4)"},
		[]string{"", id(4), "website"})
	push(t, c, remove(1), remove(4), remove(2))
	wantGrid(t, path,
		[]string{"Called?", "lead_id", " source ", "Score"},
		[]string{"", "", "", "=1+1"},
		[]string{"", id(3), "website"},
		nil,
		[]string{"Total", "", "", "=SUM(D2:D4)"})
	push(t, c, create(5), create(6)) // where the formula waits for a lead, and in the gap
	wantGrid(t, path,
		[]string{"Called?", "lead_id", " source ", "Score"},
		[]string{"", id(5), "website", "=1+1"},
		[]string{"", id(3), "website"},
		[]string{"", id(6), "website"},
		[]string{"Total", "", "", "=SUM(D2:D4)"})
}

func TestMissingColumnsAreAddedBehindEverything(t *testing.T) {
	path := newPath(t)
	edited(t, path, func(f *excelize.File) {
		rows(t, f, "Leads",
			[]any{"source", "Called?", "lead_id", "source"},
			[]any{"website", "yes", id(1), "a person's", nil, "a remark without a header"},
			[]any{"old", "=A2", id(2)})
	})
	c := sheetOf(t, path, nil, "budget", "source", "phone")
	push(t, c, update(2))
	want := [][]string{
		{"source", "Called?", "lead_id", "source", "", "", "budget", "phone"},
		{"website", "yes", id(1), "a person's", "", "a remark without a header"},
		{"website", "=A2", id(2), "", "", "", "1500", "+44 20 7946 0002"},
	}
	wantGrid(t, path, want...)
	push(t, sheetOf(t, path, nil, "newsletter"), create(3))
	want[0] = append(want[0], "newsletter")
	wantGrid(t, path, append(want, []string{"", "", id(3), "", "", "", "", "", "1"})...)
}

func TestEveryCopyOfARowFollows(t *testing.T) {
	path := newPath(t)
	edited(t, path, func(f *excelize.File) {
		rows(t, f, "Leads", []any{"lead_id", "source"}, []any{id(1), "a"}, []any{id(2), "b"}, []any{id(1), "c"})
	})
	c := sheetOf(t, path, nil, "source")
	push(t, c, create(1))
	wantGrid(t, path, []string{"lead_id", "source"}, []string{id(1), "website"}, []string{id(2), "b"}, []string{id(1), "website"})
	push(t, c, remove(1))
	wantGrid(t, path, []string{"lead_id", "source"}, nil, []string{id(2), "b"})
}

func TestHiddenRowIsNotGivenToANewLead(t *testing.T) {
	path := newPath(t)
	c := sheetOf(t, path, nil, "source")
	push(t, c, create(1), create(2))
	edited(t, path, func(f *excelize.File) { f.SetRowVisible("Leads", 2, false) })
	push(t, c, remove(1))
	push(t, c, create(3))
	wantGrid(t, path, []string{"lead_id", "source"}, nil, []string{id(2), "website"}, []string{id(3), "website"})
}

func TestEmptyWorksheetGetsItsHeader(t *testing.T) {
	path := newPath(t)
	edited(t, path, func(f *excelize.File) {
		style, _ := f.NewStyle(&excelize.Style{Font: &excelize.Font{Bold: true}})
		f.SetCellStyle("Leads", "A1", "D5", style) // formats are no content
	})
	push(t, sheetOf(t, path, nil, "source"), create(1))
	wantGrid(t, path, []string{"lead_id", "source"}, []string{id(1), "website"})
	edited(t, path, func(f *excelize.File) {
		for _, cell := range []string{"A1", "B2"} {
			if style, _ := f.GetCellStyle("Leads", cell); style == 0 {
				t.Errorf("%s lost its format", cell)
			}
		}
	})
}

func TestNewCellsHaveTheFormatOfTheirColumn(t *testing.T) {
	path := newPath(t)
	want := 0
	edited(t, path, func(f *excelize.File) {
		rows(t, f, "Leads", []any{"lead_id", "source"})
		want, _ = f.NewStyle(&excelize.Style{Font: &excelize.Font{Bold: true}})
		f.SetColStyle("Leads", "B", want)
	})
	push(t, sheetOf(t, path, nil, "source"), create(1))
	edited(t, path, func(f *excelize.File) {
		if got, _ := f.GetCellStyle("Leads", "B2"); got != want {
			t.Errorf("got the style %d, want %d", got, want)
		}
	})
}

func TestTableGrowsWithTheLeadsBelowIt(t *testing.T) {
	path := newPath(t)
	edited(t, path, func(f *excelize.File) {
		rows(t, f, "Leads", []any{"lead_id", "source"}, []any{id(1), "website"}, []any{id(2), "website"})
		f.AddTable("Leads", &excelize.Table{Range: "A1:B3", Name: "people"})
	})
	c := sheetOf(t, path, nil, "source")
	push(t, c, remove(1), create(3), create(4), create(5))
	edited(t, path, func(f *excelize.File) {
		tables, err := f.GetTables("Leads")
		if err != nil || len(tables) != 1 || tables[0].Range != "A1:B5" {
			t.Errorf("got %+v, %v", tables, err)
		}
	})
	if got, want := local.IDs(path), []string{id(3), id(2), id(4), id(5)}; !slices.Equal(got, want) {
		t.Errorf("got the leads %v, want %v", got, want)
	}
	if got := parts(t, path)["xl/tables/table1.xml"]; !strings.Contains(got, `<autoFilter ref="A1:B5"`) {
		t.Errorf("its filter did not grow: %s", got)
	}
}

func TestEditorThatSavesByRenamingIsNoticed(t *testing.T) {
	path := newPath(t)
	c := sheetOf(t, path, nil, "source")
	push(t, c, create(1), create(2))
	edited(t, path, func(f *excelize.File) { f.SetCellStr("Leads", "A3", id(3)) })
	push(t, c, create(2), create(3))
	if got, want := local.IDs(path), []string{id(1), id(3), id(2)}; !slices.Equal(got, want) {
		t.Errorf("got the leads %v, want %v", got, want)
	}
	// And a file that is gone is made anew.
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	push(t, c, create(4))
	if got := local.IDs(path); !slices.Equal(got, []string{id(4)}) {
		t.Errorf("got the leads %v, want the new one", got)
	}
}

func TestFileInTheMiddleOfBeingSavedIsLeftForTheNextAttempt(t *testing.T) {
	path := newPath(t)
	c := sheetOf(t, path, nil)
	push(t, c, create(1), create(2))
	whole := read(t, path)
	for _, half := range []string{"", whole[:len(whole)/2]} {
		write(t, path, half)
		_, err := c.Push(context.Background(), create(3), "")
		wantFault(t, err, connectors.Remote, "another program changed the file")
		if read(t, path) != half {
			t.Error("it was written")
		}
		write(t, path, whole)
		push(t, c, create(1))
	}
	// What stays damaged is not in the middle of anything.
	write(t, path, whole[:len(whole)/2])
	for _, want := range []connectors.Fault{connectors.Remote, connectors.Setup, connectors.Setup} {
		_, err := c.Push(context.Background(), create(3), "")
		wantFault(t, err, want, "")
	}
}

func TestWriteBesideAnotherProgramsIsNotTakenForDone(t *testing.T) {
	path := newPath(t)
	c := sheetOf(t, path, nil)
	push(t, c, create(1))
	var saved string
	err := c.file.Write(context.Background(), true, func(held *lockedfile.Held) error {
		old, info, err := held.Open()
		if err != nil {
			t.Fatal(err)
		}
		defer old.Close()
		w, err := c.file.read(old, info)
		if err != nil {
			t.Fatal(err)
		}
		edited(t, path, func(f *excelize.File) { f.SetCellStr("Leads", "A9", "a person's row") })
		saved = read(t, path)
		_, err = held.Replace(info, func(out *bufio.Writer) error { return w.write(out) })
		return err
	})
	if !errors.Is(err, lockedfile.ErrReplaced) || read(t, path) != saved {
		t.Errorf("got %v; the person's save is there: %v", err, read(t, path) == saved)
	}
}

func TestOpenWorkbookIsWaitedFor(t *testing.T) {
	for _, mark := range []string{"~$leads.xlsx", ".~lock.leads.xlsx#"} {
		path := newPath(t)
		c := sheetOf(t, path, nil)
		push(t, c, create(1))
		before := read(t, path)
		mark = filepath.Join(filepath.Dir(path), mark)
		write(t, mark, "a person's name")
		_, err := c.Push(context.Background(), create(2), "")
		wantFault(t, err, connectors.Throttled, "a program has the workbook open: close it there")
		if _, wait := connectors.FaultOf(err); wait <= 0 || read(t, path) != before {
			t.Errorf("waits %v; the file is as it was: %v", wait, read(t, path) == before)
		}
		wantFault(t, c.Check(context.Background()), connectors.Throttled, "a program has the workbook open: close it there")
		os.Remove(mark)
		push(t, c, create(2))
	}
}

func TestEmptyFileGetsItsHeaderAndKeepsItsMode(t *testing.T) {
	path := newPath(t)
	write(t, path, "")
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	c := sheetOf(t, path, nil, "source")
	push(t, c, create(1))
	push(t, c, create(2))
	wantGrid(t, path, []string{"lead_id", "source"}, []string{id(1), "website"}, []string{id(2), "website"})
	if mode := stat(t, path).Mode().Perm(); mode != 0o640 {
		t.Errorf("the mode became %v", mode)
	}
}

// Whose fault it is.

func TestFilesThatAreNotOursAreNeverWritten(t *testing.T) {
	make := func(edit func(f *excelize.File), options ...excelize.Options) string {
		f := excelize.NewFile()
		defer f.Close()
		f.SetSheetName("Sheet1", "Leads")
		edit(f)
		path := newPath(t)
		if err := f.SaveAs(path, options...); err != nil {
			t.Fatal(err)
		}
		return read(t, path)
	}
	whole := make(func(f *excelize.File) { rows(t, f, "Leads", []any{"lead_id"}) })
	for name, test := range map[string]struct{ content, want string }{
		"no lead_id column": {make(func(f *excelize.File) { rows(t, f, "Leads", []any{"name"}) }), `worksheet "Leads": its row 1 has no lead_id column: bring it back`},
		"a header that is not the first row": {make(func(f *excelize.File) {
			rows(t, f, "Leads", nil, []any{"lead_id"})
		}), "no lead_id column"},
		"no such worksheet": {make(func(f *excelize.File) { f.SetSheetName("Leads", "People") }), `no worksheet "Leads"`},
		"a sheet of a chart": {make(func(f *excelize.File) {
			f.SetSheetName("Leads", "Data")
			f.AddChartSheet("Leads", &excelize.Chart{Type: excelize.Col, Series: []excelize.ChartSeries{{Values: "Data!$A$1:$A$2"}}})
		}), `"Leads" is not a worksheet`},
		"a password":       {make(func(*excelize.File) {}, excelize.Options{Password: "secret"}), "without a password"},
		"an old workbook":  {"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + strings.Repeat("x", 5000), "old .xls format"},
		"text":             {"lead_id,name\n", "damaged, or not an Excel workbook"},
		"a part of a file": {whole[:len(whole)-30], "damaged, or not an Excel workbook"},
		"a spoilt byte":    {spoilt(whole), "damaged, or not an Excel workbook"},
		"another archive":  {archive(t, "word/document.xml", "<document/>"), "damaged, or not an Excel workbook"},
		"no XML": {archive(t, "_rels/.rels", `<Relationships><Relationship Id="a" Type="x/officeDocument" Target="b"/></Relationships>`,
			"_rels/b.rels", "<Relationships/>", "b", `<a b="Zenobia`), "damaged, or not an Excel workbook"},
	} {
		t.Run(name, func(t *testing.T) {
			path := newPath(t)
			write(t, path, test.content)
			c := sheetOf(t, path, nil, "source")
			_, err := c.Push(context.Background(), create(1), "")
			wantFault(t, err, connectors.Setup, test.want)
			wantFault(t, c.Check(context.Background()), connectors.Setup, test.want)
			if read(t, path) != test.content {
				t.Error("it was written")
			}
			if strings.Contains(err.Error(), "Zenobia") {
				t.Errorf("the error quotes the file: %v", err)
			}
		})
	}
}

func TestTooLargeAWorkbookIsASetupFault(t *testing.T) {
	path := newPath(t)
	c := sheetOf(t, path, nil)
	push(t, c, create(1))
	defer func(most int64) { maxPart = most }(maxPart)
	maxPart = 500
	_, err := c.Push(context.Background(), create(2), "")
	wantFault(t, sheetOf(t, path, nil).Check(context.Background()), connectors.Setup, "too large")
	wantFault(t, err, connectors.Remote, "") // it was sound a moment ago
}

func TestCheckWritesNothing(t *testing.T) {
	folder := t.TempDir()
	path := filepath.Join(folder, "new", "leads.xlsx")
	if err := sheetOf(t, path, nil).Check(context.Background()); err != nil {
		t.Errorf("a file yet to be made: %v", err)
	}
	if entries, _ := os.ReadDir(folder); len(entries) != 0 {
		t.Errorf("Check made %v", entries)
	}
	path = filepath.Join(folder, "leads.xlsx")
	write(t, path, "")
	if err := sheetOf(t, path, nil).Check(context.Background()); err != nil {
		t.Errorf("an empty file: %v", err)
	}
	os.Remove(path)
	edited(t, path, func(f *excelize.File) { rows(t, f, "Leads", []any{"name", "lead_id"}, []any{"x", id(1)}) })
	before := read(t, path)
	if err := sheetOf(t, path, nil).Check(context.Background()); err != nil {
		t.Errorf("a file of ours: %v", err)
	}
	if entries, _ := os.ReadDir(folder); len(entries) != 1 || read(t, path) != before {
		t.Errorf("Check wrote: %v", entries)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := sheetOf(t, path, nil).Check(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("after the context's end: %v", err)
	}
}

func TestOneBadItemFailsAlone(t *testing.T) {
	path := newPath(t)
	long, wide, fits := connectortest.Sample(1), connectortest.Sample(2), connectortest.Sample(3)
	long.Note, wide.Note, fits.Note = strings.Repeat("n", maxText+1), strings.Repeat("😀", maxText/2+1), strings.Repeat("ü", maxText)
	c := sheetOf(t, path, nil, "note")
	results := c.PushBatch(context.Background(), []connectors.Item{
		{Change: connectortest.Created(long)}, {Change: connectortest.Created(fits)}, {Change: connectortest.Created(wide)}, {Change: remove(4)},
	})
	for _, i := range []int{0, 2} {
		wantFault(t, results[i].Err, connectors.Lead, "field note: longer than the 32767 characters a cell holds")
	}
	if results[1].Err != nil || results[1].Ref != fits.ID || results[3].Err != nil {
		t.Errorf("got %+v", results)
	}
	wantGrid(t, path, []string{"lead_id", "note"}, []string{fits.ID, fits.Note})
}

func TestFullWorksheetTakesEverythingButNewLeads(t *testing.T) {
	defer func(most int) { maxRows = most }(maxRows)
	maxRows = 9
	path := newPath(t)
	write(t, path, archive(t,
		"_rels/.rels", `<Relationships><Relationship Id="a" Type="x/officeDocument" Target="xl/workbook.xml"/></Relationships>`,
		"xl/_rels/workbook.xml.rels", `<Relationships><Relationship Id="a" Type="x/worksheet" Target="sheet.xml"/></Relationships>`,
		"xl/workbook.xml", `<workbook xmlns:r="r"><sheets><sheet name="Leads" r:id="a"/></sheets></workbook>`,
		"xl/sheet.xml", `<worksheet><sheetData><row><c t="str"><v>lead_id</v></c><c t="str"><v>source</v></c></row>`+
			`<row><c t="str"><v>`+id(1)+`</v></c></row>`+
			fullRows(3, maxRows)+`</sheetData></worksheet>`))
	c := sheetOf(t, path, nil, "source")
	items := func(changes ...lead.Change) (items []connectors.Item) {
		for _, change := range changes {
			items = append(items, connectors.Item{Change: change})
		}
		return items
	}
	results := c.PushBatch(context.Background(), items(create(2), update(1)))
	wantFault(t, results[0].Err, connectors.Setup, "the worksheet is full")
	if results[1].Err != nil || results[1].Ref != id(1) {
		t.Errorf("got %+v", results[1])
	}
	results = c.PushBatch(context.Background(), items(create(2), remove(1), create(3)))
	wantFault(t, results[2].Err, connectors.Setup, "the worksheet is full")
	if results[0].Err != nil || results[1].Err != nil {
		t.Errorf("got %+v", results)
	}
	if doc := parts(t, path)["xl/sheet.xml"]; !strings.Contains(doc, id(2)) || strings.Contains(doc, id(1)) || strings.Contains(doc, id(3)) {
		t.Errorf("the file holds %s", doc)
	}
}

func BenchmarkUpdateIn100kRows(b *testing.B) {
	path := newPath(b)
	c := sheetOf(b, path, nil)
	for from := 0; from < 100_000; from += 50_000 {
		var changes []lead.Change
		for i := range 50_000 {
			changes = append(changes, create(from+i))
		}
		push(b, c, changes...)
	}
	i := 0
	for b.Loop() {
		l := connectortest.Sample(i % 100_000)
		l.Note = fmt.Sprint("turn ", i)
		push(b, c, connectortest.Updated(l))
		i++
	}
}
