package csv

import (
	"context"
	stdcsv "encoding/csv"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/leadrelay/leadrelay/connectors"
	"github.com/leadrelay/leadrelay/connectors/connectortest"
	"github.com/leadrelay/leadrelay/internal/lead"
	"github.com/leadrelay/leadrelay/internal/lockedfile"
)

// spreadsheet is the file as its reader sees it.
type spreadsheet struct{ path string }

func (s spreadsheet) Records() []connectortest.Record {
	content, err := os.ReadFile(s.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	rows, err := stdcsv.NewReader(strings.NewReader(strings.TrimPrefix(string(content), byteOrderMark))).ReadAll()
	if err != nil {
		panic(err)
	}
	var records []connectortest.Record
	for _, row := range rows[1:] {
		fields := map[string]string{}
		for i, name := range rows[0] {
			fields[Plain(name, ',')] = Plain(row[i], ',')
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
				NewVendor: func(t testing.TB) connectortest.Vendor { return spreadsheet{filepath.Join(t.TempDir(), "leads.csv")} },
				Settings: func(_ string, v connectortest.Vendor) map[string]any {
					return map[string]any{"path": v.(spreadsheet).path}
				},
				Required: []string{"path"},
				Fields:   fields,
			})
		})
	}
}

// local is how the kit sees the file.
var local = connectortest.File{
	Kind:    Kind,
	Name:    "leads.csv",
	Records: func(path string) []connectortest.Record { return spreadsheet{path}.Records() },
	Other:   map[string]any{"delimiter": ";"},
	Room:    func(size int) []int { return []int{size, size + 40, size + 5} },
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

func wantFile(t testing.TB, path, want string) {
	t.Helper()
	if got := read(t, path); got != want {
		t.Fatalf("the file is\n%q, want\n%q", got, want)
	}
}

func TestFileAsAPersonFindsIt(t *testing.T) {
	path := newPath(t)
	c := sheetOf(t, path, nil)
	l := connectortest.Sample(1)
	l.Name, l.Note = "Zoë, \"Zee\"", "one\r\ntwo\x00\x07"
	ref, err := c.Push(context.Background(), connectortest.Created(l), "")
	if err != nil || ref != l.ID {
		t.Fatalf("got the ref %q and %v", ref, err)
	}
	wantFile(t, path, "\uFEFFlead_id,name,email,source,note,created_at,updated_at\n"+
		id(1)+",\"Zoë, \"\"Zee\"\"\",zenobia.quillfeather1@example.com,website,\"one\ntwo\",2026-03-14T15:09:26Z,2026-03-14T15:09:26Z\n")
}

func TestSettingsShapeANewFile(t *testing.T) {
	path := newPath(t)
	push(t, sheetOf(t, path, map[string]any{"delimiter": ";", "bom": false}, "source", "phone"), create(1))
	wantFile(t, path, "lead_id;source;phone\n"+id(1)+";website;'+44 20 7946 0001\n")
}

func TestWrongSettingsAreNamed(t *testing.T) {
	mapping, _ := connectors.NewMapping([]connectors.FieldRule{{To: "lead_id", From: "id"}})
	_, err := Kind.Open(map[string]any{"path": "leads/", "delimiter": "::"}, connectors.Env{Fields: mapping})
	want := "path: must name a file, not a folder\n" +
		"delimiter: must be \",\", \";\", \"|\" or a tab (\"\\t\")\n" +
		"fields: lead_id is always the first column, remove its rule"
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestPushingAgainLeavesTheFileAlone(t *testing.T) {
	path := newPath(t)
	c := sheetOf(t, path, nil)
	l := connectortest.Sample(1)
	l.Name, l.Note = "=1+1", "'=x\n+44;-1\t@\n"
	push(t, c, connectortest.Created(l), create(2))
	before, info := read(t, path), stat(t, path)
	for _, c := range []*connector{c, sheetOf(t, path, nil)} {
		push(t, c, connectortest.Created(l), create(2), remove(3))
		wantFile(t, path, before)
		if now := stat(t, path); !os.SameFile(info, now) || !now.ModTime().Equal(info.ModTime()) {
			t.Error("the file was written although nothing changed")
		}
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

func TestNewLeadsAreAppendedAndOthersRewritten(t *testing.T) {
	path := newPath(t)
	c := sheetOf(t, path, nil)
	push(t, c, create(1))
	first := stat(t, path)
	push(t, c, create(2), create(3))
	push(t, sheetOf(t, path, nil), create(4))
	if !os.SameFile(first, stat(t, path)) {
		t.Error("new leads were not appended")
	}
	push(t, c, update(2), create(5), remove(3))
	if os.SameFile(first, stat(t, path)) {
		t.Error("an update was not written to a file of its own")
	}
	if got, want := local.IDs(path), []string{id(1), id(2), id(4), id(5)}; !slices.Equal(got, want) {
		t.Errorf("got the leads %v, want %v", got, want)
	}
}

// What a person did to the file.

func TestOwnColumnsAndOrderOfPeopleStay(t *testing.T) {
	path := newPath(t)
	// A person moved columns, sorted the rows, added a column with a formula, a total and a blank line.
	write(t, path, "\uFEFFCalled?,lead_id,source,Score\r\n"+
		"yes,"+id(2)+",old,=1+1\r\n"+
		"\r\n"+
		"\"no,\nnever\","+id(1)+",\"old\"\r\n"+
		"Total,,,\"2\"\r\n")
	c := sheetOf(t, path, nil, "source")
	push(t, c, create(1), create(2), create(3))
	wantFile(t, path, "\uFEFFCalled?,lead_id,source,Score\r\n"+
		"yes,"+id(2)+",website,=1+1\r\n"+
		"\r\n"+
		"\"no,\nnever\","+id(1)+",website\r\n"+
		"Total,,,\"2\"\r\n"+
		","+id(3)+",website,\r\n")
	push(t, c, remove(1), remove(3))
	wantFile(t, path, "\uFEFFCalled?,lead_id,source,Score\r\nyes,"+id(2)+",website,=1+1\r\n\r\nTotal,,,\"2\"\r\n")
}

func TestChangedColumnsMigrateTheFile(t *testing.T) {
	path := newPath(t)
	write(t, path, "\uFEFFsource,Called?,lead_id\n"+
		"website,yes,"+id(1)+"\n"+
		"website,\"a,b\","+id(2)+",surplus\n"+
		"\n"+
		"short\n")
	push(t, sheetOf(t, path, nil, "budget", "source"), update(2))
	wantFile(t, path, "\uFEFFlead_id,budget,source,Called?\n"+
		id(1)+",,website,yes\n"+
		id(2)+",1500,website,\"a,b\",surplus\n"+
		"\n"+
		",,short,\n")
	push(t, sheetOf(t, path, nil, "newsletter"), create(3))
	wantFile(t, path, "\uFEFFlead_id,newsletter,budget,source,Called?\n"+
		id(1)+",,,website,yes\n"+
		id(2)+",,1500,website,\"a,b\",surplus\n"+
		"\n"+
		",,,short,\n"+
		id(3)+",true,,,\n")
}

func TestEveryCopyOfARowFollows(t *testing.T) {
	path := newPath(t)
	write(t, path, "\uFEFFlead_id,source\n"+id(1)+",a\n"+id(2)+",b\n"+id(1)+",c\n")
	c := sheetOf(t, path, nil, "source")
	push(t, c, create(1))
	wantFile(t, path, "\uFEFFlead_id,source\n"+id(1)+",website\n"+id(2)+",b\n"+id(1)+",website\n")
	push(t, c, remove(1))
	wantFile(t, path, "\uFEFFlead_id,source\n"+id(2)+",b\n")
}

func TestFileSavedWithAnotherDelimiterKeepsIt(t *testing.T) {
	path := newPath(t)
	write(t, path, "\uFEFFlead_id;source\r\n"+id(1)+";old\r\n")
	push(t, sheetOf(t, path, nil, "source"), create(1), create(2))
	wantFile(t, path, "\uFEFFlead_id;source\r\n"+id(1)+";website\r\n"+id(2)+";website\r\n")
}

func TestByteOrderMarkThatAnEditorDroppedIsSetAgain(t *testing.T) {
	path := newPath(t)
	write(t, path, "lead_id,source\n"+id(1)+",website\n")
	push(t, sheetOf(t, path, nil, "source"), create(2))
	wantFile(t, path, "\uFEFFlead_id,source\n"+id(1)+",website\n"+id(2)+",website\n")
}

func TestLastLineWithoutEndIsAPersonsToo(t *testing.T) {
	path := newPath(t)
	write(t, path, "\uFEFFlead_id,source\n"+id(1)+",website\nTotal,1")
	push(t, sheetOf(t, path, nil, "source"), create(2))
	wantFile(t, path, "\uFEFFlead_id,source\n"+id(1)+",website\nTotal,1\n"+id(2)+",website\n")
}

func TestEditorThatSavesByRenamingIsNoticed(t *testing.T) {
	path := newPath(t)
	c := sheetOf(t, path, nil, "source")
	push(t, c, create(1), create(2))
	// Another file of the same size, in which the person removed lead 2 and brought in lead 3.
	edited := strings.ReplaceAll(read(t, path), id(2), id(3))
	write(t, path+"~", edited)
	if err := os.Rename(path+"~", path); err != nil {
		t.Fatal(err)
	}
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
	for _, half := range []func(content string) string{
		func(string) string { return "" },
		func(content string) string { return content[:len(content)-10] },
	} {
		path := newPath(t)
		c := sheetOf(t, path, nil)
		push(t, c, create(1), create(2))
		saving := half(read(t, path))
		write(t, path, saving)
		_, err := c.Push(context.Background(), create(3), "")
		wantFault(t, err, connectors.Remote, "another program changed the file")
		wantFile(t, path, saving)
		push(t, c, create(3))
		if got := local.IDs(path); !slices.Contains(got, id(3)) {
			t.Errorf("the next attempt left %v", got)
		}
	}
}

func TestWriteBesideAnotherProgramsIsNotTakenForDone(t *testing.T) {
	path := newPath(t)
	c := sheetOf(t, path, nil)
	push(t, c, create(1))
	err := c.file.Write(context.Background(), true, func(held *lockedfile.Held) error {
		open, info, err := held.Open()
		if err != nil {
			t.Fatal(err)
		}
		defer open.Close()
		write(t, path, read(t, path)+"a person's row\n")
		return c.file.append(held, open, info, []row{c.file.last.create(edit{id(2), make([]any, 7)})})
	})
	if !errors.Is(err, lockedfile.ErrReplaced) {
		t.Errorf("got %v", err)
	}
}

func TestEmptyFileGetsItsHeaderAndKeepsItsMode(t *testing.T) {
	path := newPath(t)
	write(t, path, "\n")
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	push(t, sheetOf(t, path, nil, "source"), create(1))
	wantFile(t, path, "\uFEFFlead_id,source\n"+id(1)+",website\n")
	if mode := stat(t, path).Mode().Perm(); mode != 0o640 {
		t.Errorf("the mode became %v", mode)
	}
}

// Whose fault it is.

func TestFilesThatAreNotOursAreNeverWritten(t *testing.T) {
	for name, test := range map[string]struct{ content, want string }{
		"no lead_id column":                     {"name,email\nAda,ada@example.com\n", "no lead_id column"},
		"not text":                              {"\x89PNG\r\n\x1a\n\x00\x00\x01", "no lead_id column"},
		"UTF-16":                                {"\xff\xfel\x00e\x00a\x00d\x00_\x00i\x00d\x00", "is UTF-16"},
		"saved in an old encoding":              {"lead_id,source\n" + id(1) + ",a\n" + id(2) + ",M\xfcller\n", "row 3 is not UTF-8"},
		"an open quote that would swallow rows": {"lead_id,source\n" + id(1) + ",\"a\n" + id(2) + ",b\n", "row 2 has a quote that is never closed"},
	} {
		t.Run(name, func(t *testing.T) {
			path := newPath(t)
			write(t, path, test.content)
			c := sheetOf(t, path, nil, "source")
			_, err := c.Push(context.Background(), create(1), "")
			wantFault(t, err, connectors.Setup, test.want)
			wantFile(t, path, test.content)
		})
	}
}

func TestCheckWritesNothing(t *testing.T) {
	folder := t.TempDir()
	path := filepath.Join(folder, "new", "leads.csv")
	if err := sheetOf(t, path, nil).Check(context.Background()); err != nil {
		t.Errorf("a file yet to be made: %v", err)
	}
	if entries, _ := os.ReadDir(folder); len(entries) != 0 {
		t.Errorf("Check made %v", entries)
	}
	path = filepath.Join(folder, "leads.csv")
	write(t, path, "")
	if err := sheetOf(t, path, nil).Check(context.Background()); err != nil {
		t.Errorf("an empty file: %v", err)
	}
	write(t, path, "name,email\n")
	wantFault(t, sheetOf(t, path, nil).Check(context.Background()), connectors.Setup, "no lead_id column")
	write(t, path, "\uFEFFname;lead_id\n"+id(1))
	if err := sheetOf(t, path, nil).Check(context.Background()); err != nil {
		t.Errorf("a file of ours: %v", err)
	}
	if entries, _ := os.ReadDir(folder); len(entries) != 1 {
		t.Errorf("Check made %v", entries)
	}
}

func TestOneBadItemFailsAlone(t *testing.T) {
	path := newPath(t)
	mapping, err := connectors.NewMapping([]connectors.FieldRule{{To: "x", Template: `{{index .tags 0}}`}})
	if err != nil {
		t.Fatal(err)
	}
	c, err := Kind.Open(map[string]any{"path": path}, connectors.Env{Fields: mapping})
	if err != nil {
		t.Fatal(err)
	}
	good := connectortest.Sample(1)
	good.Custom = map[string]any{"tags": []any{"first"}}
	results := c.(*connector).PushBatch(context.Background(), []connectors.Item{{Change: create(2)}, {Change: connectortest.Created(good)}, {Change: remove(3)}})
	wantFault(t, results[0].Err, connectors.Lead, "field x")
	if results[1].Err != nil || results[1].Ref != good.ID || results[2].Err != nil {
		t.Errorf("got %+v", results)
	}
	if got := local.IDs(path); !slices.Equal(got, []string{good.ID}) {
		t.Errorf("the file holds %v", got)
	}
}

// Crashes.

// TestTornAppendHeals cuts the last row at every byte, as a power cut may, and pushes its lead again.
func TestTornAppendHeals(t *testing.T) {
	path := newPath(t)
	c := sheetOf(t, path, nil)
	l := connectortest.Sample(3)
	l.Name, l.Note = "Zoë \"Zee\"", "a, b\n\"c\"\n"
	push(t, c, create(1), create(2))
	before := read(t, path)
	push(t, c, connectortest.Created(l))
	whole := read(t, path)
	for cut := len(before); cut <= len(whole); cut++ {
		for _, blank := range []string{"", strings.Repeat("\x00", 100)} {
			write(t, path, whole[:cut]+blank)
			push(t, sheetOf(t, path, nil), connectortest.Created(l))
			wantFile(t, path, whole)

			// Or it was deleted meanwhile, and another lead comes.
			write(t, path, whole[:cut]+blank)
			push(t, sheetOf(t, path, nil), remove(3), create(4))
			if got, want := local.IDs(path), []string{id(1), id(2), id(4)}; !slices.Equal(got, want) {
				t.Fatalf("cut at %d of %d: got the leads %v, want %v", cut, len(whole), got, want)
			}
		}
	}
}

func BenchmarkAppendTo100kRows(b *testing.B) {
	benchmark(b, func(i int) lead.Change { return create(200_000 + i) })
}
func BenchmarkUpdateIn100kRows(b *testing.B) {
	benchmark(b, func(i int) lead.Change {
		l := connectortest.Sample(i % 100_000)
		l.Note = fmt.Sprint("turn ", i)
		return connectortest.Updated(l)
	})
}

func benchmark(b *testing.B, change func(i int) lead.Change) {
	path := newPath(b)
	c := sheetOf(b, path, nil)
	for from := 0; from < 100_000; from += 10_000 {
		var changes []lead.Change
		for i := range 10_000 {
			changes = append(changes, create(from+i))
		}
		push(b, c, changes...)
	}
	i := 0
	for b.Loop() {
		push(b, c, change(i))
		i++
	}
}
