package xlsx

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/xml"
	"fmt"
	"io"
	"path"
	"regexp"
	"strings"
	"testing"

	"github.com/xuri/excelize/v2"

	"github.com/leadrelay/leadrelay/connectors"
	"github.com/leadrelay/leadrelay/connectors/connectortest"
)

// parts unpacks a file.
func parts(t testing.TB, path string) map[string]string {
	t.Helper()
	r, err := zip.OpenReader(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	all := map[string]string{}
	for _, f := range r.File {
		packed, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(packed)
		if err != nil {
			t.Fatal(err)
		}
		all[f.Name] = string(content)
	}
	return all
}

// archive packs parts: names and contents in turns.
func archive(t testing.TB, parts ...string) string {
	t.Helper()
	var file bytes.Buffer
	out := zip.NewWriter(&file)
	for i := 0; i < len(parts); i += 2 {
		w, err := out.Create(parts[i])
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(w, parts[i+1])
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	return file.String()
}

// spoilt is a file with its packed content spoilt, and its directory whole.
func spoilt(file string) string {
	content := []byte(file)
	for i := 60; i < len(content)/2; i++ {
		if !strings.HasPrefix(file[i:], "PK") {
			content[i] ^= 0x55
		}
	}
	return string(content)
}

// fullRows are rows with something in each.
func fullRows(from, to int) string {
	var out strings.Builder
	for n := from; n <= to; n++ {
		fmt.Fprintf(&out, `<row r="%d"><c><v>1</v></c></row>`, n)
	}
	return out.String()
}

// wantSound checks what makes Excel offer to repair a file: parts that are not well-formed or not there, formulas that
// share one that is gone, an order of calculation that names a cell without a formula, cells out of order.
func wantSound(t testing.TB, file string) {
	t.Helper()
	all := parts(t, file)
	for name, content := range all {
		if !strings.HasSuffix(name, ".xml") && !strings.HasSuffix(name, ".rels") {
			continue
		}
		d := xml.NewDecoder(strings.NewReader(content))
		shared, shares, formulas := map[string]bool{}, map[string]bool{}, map[string]bool{}
		cell, lastRow, lastColumn := "", 0, 0
		for {
			token, err := d.Token()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			el, ok := token.(xml.StartElement)
			if !ok {
				continue
			}
			switch el.Name.Local {
			case "Relationship":
				if attribute(el, "TargetMode") == "External" {
					continue
				}
				folder := path.Dir(path.Dir(name))
				target := attribute(el, "Target")
				if !strings.HasPrefix(target, "/") {
					target = path.Join("/", folder, target)
				}
				if _, ok := all[target[1:]]; !ok {
					t.Errorf("%s leads to %s, which is not there", name, target)
				}
			case "Override":
				if _, ok := all[attribute(el, "PartName")[1:]]; !ok {
					t.Errorf("%s names %s, which is not there", name, attribute(el, "PartName"))
				}
			case "hyperlinks":
				if !strings.Contains(content, "<hyperlink ") {
					t.Errorf("%s has an empty list of links", name)
				}
			case "c":
				if !strings.HasPrefix(name, "xl/worksheets/") {
					continue
				}
				cell = attribute(el, "r")
				column, row, ok := position(cell)
				if !ok || row < lastRow || row == lastRow && column <= lastColumn {
					t.Errorf("%s: %s is not in order", name, cell)
				}
				lastRow, lastColumn = row, column
			case "f":
				formulas[cell] = true
				if si := attribute(el, "si"); si != "" {
					shares[si] = true
					shared[si] = shared[si] || attribute(el, "ref") != ""
				}
			}
		}
		for si := range shares {
			if !shared[si] {
				t.Errorf("%s: the shared formula %s is gone", name, si)
			}
		}
		if name == "xl/worksheets/sheet1.xml" {
			for _, match := range regexp.MustCompile(`<c r="([A-Z0-9]+)" i="1"`).FindAllStringSubmatch(all["xl/calcChain.xml"], -1) {
				if !formulas[match[1]] {
					t.Errorf("%s is to be calculated and has no formula", match[1])
				}
			}
		}
	}
}

// rich is a workbook of a person who knows what spreadsheets can do, as a program saves it: its texts are shared.
func rich(t testing.TB) string {
	t.Helper()
	path := newPath(t)
	edited(t, path, func(f *excelize.File) {
		do := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		rows(t, f, "Leads", []any{"lead_id", "Stage", "name", "email", "source", "Reads"})
		for i := 1; i <= 4; i++ {
			l := connectortest.Sample(i)
			for column, value := range map[string]string{"A": l.ID, "B": "a person's word " + id(i), "C": l.Name, "D": l.Email, "E": l.Source} {
				do(f.SetCellStr("Leads", fmt.Sprint(column, i+1), value))
			}
			do(f.SetCellHyperLink("Leads", fmt.Sprint("D", i+1), "mailto:"+l.Email, "External"))
			do(f.AddComment("Leads", excelize.Comment{Cell: fmt.Sprint("B", i+1), Author: "Bo", Text: "a note on " + id(i)}))
		}
		shared, over := excelize.STCellFormulaTypeShared, "F2:F5"
		do(f.SetCellFormula("Leads", "F2", `C2&" <"&D2&">"`, excelize.FormulaOpts{Type: &shared, Ref: &over}))
		bold, err := f.NewStyle(&excelize.Style{Font: &excelize.Font{Bold: true}, NumFmt: 4})
		do(err)
		do(f.SetCellStyle("Leads", "A1", "F5", bold))
		red, err := f.NewConditionalStyle(&excelize.Style{Font: &excelize.Font{Color: "9A0511"}})
		do(err)
		do(f.SetConditionalFormat("Leads", "E2:E100", []excelize.ConditionalFormatOptions{{Type: "duplicate", Criteria: "=", Format: &red}}))
		list := excelize.NewDataValidation(true)
		list.Sqref = "B2:B100"
		do(list.SetDropList([]string{"new", "won"}))
		do(f.AddDataValidation("Leads", list))
		do(f.AutoFilter("Leads", "A1:F5", nil))
		do(f.SetColWidth("Leads", "A", "F", 30))
		do(f.SetPanes("Leads", &excelize.Panes{Freeze: true, YSplit: 1, TopLeftCell: "A2", ActivePane: "bottomLeft"}))
		do(f.SetDefinedName(&excelize.DefinedName{Name: "sources", RefersTo: "Leads!$E$2:$E$5"}))
		_, err = f.NewSheet("Numbers")
		do(err)
		rows(t, f, "Numbers", []any{"website", "=COUNTA(Leads!A:A)-1", connectortest.Sample(3).Name}, []any{"words", "=SUM(B1:B1)"})
		do(f.AddChart("Numbers", "D2", &excelize.Chart{Type: excelize.Col, Series: []excelize.ChartSeries{{Values: "Numbers!$B$1:$B$2"}}}))
		do(f.SetCalcProps(&excelize.CalcPropsOptions{CalcMode: new("auto")}))
	})
	return withResults(t, path)
}

// withResults gives a workbook the results that a program keeps with each formula, and the order of calculation.
func withResults(t testing.TB, path string) string {
	t.Helper()
	all := parts(t, path)
	var packed []string
	for name, content := range all {
		switch name {
		case "xl/worksheets/sheet1.xml":
			row := 1
			content = regexp.MustCompile(`(<c r="F\d"[^>]*>)(<f.*?</f>|<f[^>]*/>)(<v></v>|<v/>)?`).ReplaceAllStringFunc(content, func(cell string) string {
				l := connectortest.Sample(row)
				row++
				return strings.NewReplacer("<v></v>", "", "<v/>", "").Replace(cell) + "<v>" + l.Name + " &lt;" + l.Email + "&gt;</v>"
			})
			if row != 5 {
				t.Fatalf("%d formulas in %s", row-1, content)
			}
		case "[Content_Types].xml":
			content = strings.Replace(content, "</Types>", `<Override PartName="/xl/calcChain.xml" ContentType="application/vnd.openxmlformats-officedocument.spreadsheetml.calcChain+xml"/></Types>`, 1)
		case "xl/_rels/workbook.xml.rels":
			content = strings.Replace(content, "</Relationships>", `<Relationship Id="rId99" Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/calcChain" Target="calcChain.xml"/></Relationships>`, 1)
		}
		packed = append(packed, name, content)
	}
	packed = append(packed, "xl/calcChain.xml", `<calcChain xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><c r="F2" i="1"/><c r="F3" i="1"/></calcChain>`)
	write(t, path, archive(t, packed...))
	wantSound(t, path)
	return path
}

// TestWhatPeopleMadeStays: whatever happens to leads, no other part of the file and nothing around the rows changes a
// byte, but for what says how to calculate.
func TestWhatPeopleMadeStays(t *testing.T) {
	path := rich(t)
	before := parts(t, path)
	push(t, sheetOf(t, path, nil, "name", "email", "source"), update(1), create(2), create(5), create(6))
	after := parts(t, path)
	wantSound(t, path)
	const own, book = "xl/worksheets/sheet1.xml", "xl/workbook.xml"
	for name, content := range before {
		switch name {
		case own, book, "xl/sharedStrings.xml":
		default:
			if after[name] != content {
				t.Errorf("%s changed:\n%s\n%s", name, content, after[name])
			}
		}
	}
	if len(after) != len(before) {
		t.Errorf("%d parts became %d", len(before), len(after))
	}
	head, tail := func(doc string) string { return doc[:strings.Index(doc, "<row ")] }, func(doc string) string {
		return doc[strings.Index(doc, "</sheetData>"):]
	}
	if got, want := head(after[own]), strings.Replace(head(before[own]), `ref="A1"`, `ref="A1:F7"`, 1); got != want {
		t.Errorf("before the rows there is\n%s, want\n%s", got, want)
	}
	if got, want := tail(after[own]), tail(before[own]); got != want {
		t.Errorf("after the rows there is\n%s, want\n%s", got, want)
	}
	if got, want := setAttribute(calcTag(after[book]), "fullCalcOnLoad", ""), calcTag(before[book]); got != want || !strings.Contains(after[book], `fullCalcOnLoad="1"`) {
		t.Errorf("how to calculate is %s, want %s and at once", got, want)
	}
	if got, want := strings.Replace(after[book], calcTag(after[book]), "", 1), strings.Replace(before[book], calcTag(before[book]), "", 1); got != want {
		t.Errorf("the workbook is\n%s, want\n%s", got, want)
	}
	wantGrid(t, path,
		[]string{"lead_id", "Stage", "name", "email", "source", "Reads"},
		[]string{id(1), "a person's word " + id(1), "Wilhelmina Featherstone2", "zenobia.quillfeather1@example.com", "website", `=C2&" <"&D2&">"`},
		[]string{id(2), "a person's word " + id(2), "Zenobia Quillfeather2", "zenobia.quillfeather2@example.com", "website", `=C3&" <"&D3&">"`},
		[]string{id(3), "a person's word " + id(3), "Zenobia Quillfeather3", "zenobia.quillfeather3@example.com", "website", `=C4&" <"&D4&">"`},
		[]string{id(4), "a person's word " + id(4), "Zenobia Quillfeather4", "zenobia.quillfeather4@example.com", "website", `=C5&" <"&D5&">"`},
		[]string{id(5), "", "Zenobia Quillfeather5", "zenobia.quillfeather5@example.com", "website"},
		[]string{id(6), "", "Zenobia Quillfeather6", "zenobia.quillfeather6@example.com", "website"})
	edited(t, path, func(f *excelize.File) {
		if style, _ := f.GetCellStyle("Leads", "C2"); style == 0 {
			t.Error("a cell that was written lost its format")
		}
	})
}

func calcTag(book string) string { return regexp.MustCompile(`<calcPr[^>]*>`).FindString(book) }

// TestDeletedLeadLeavesNothing looks through the whole file.
func TestDeletedLeadLeavesNothing(t *testing.T) {
	path := rich(t)
	c := sheetOf(t, path, nil, "name", "email", "source")
	push(t, c, update(4)) // its former name goes as well
	push(t, c, remove(1), remove(2))
	wantSound(t, path)
	for name, content := range parts(t, path) {
		for what, text := range map[string]string{
			"the id": id(1), "the other's id": id(2), "a name": "Quillfeather1", "an address": "quillfeather2@", "a former name": "Quillfeather4",
		} {
			if strings.Contains(content, text) {
				t.Errorf("%s of a deleted lead is left in %s:\n%s", what, name, content)
			}
		}
	}
	wantGrid(t, path,
		[]string{"lead_id", "Stage", "name", "email", "source", "Reads"},
		[]string{"", "", "", "", "", `=C2&" <"&D2&">"`},
		[]string{"", "", "", "", "", `=C3&" <"&D3&">"`},
		[]string{id(3), "a person's word " + id(3), "Zenobia Quillfeather3", "zenobia.quillfeather3@example.com", "website", `=C4&" <"&D4&">"`},
		[]string{id(4), "a person's word " + id(4), "Wilhelmina Featherstone2", "zenobia.quillfeather4@example.com", "website", `=C5&" <"&D5&">"`})
	edited(t, path, func(f *excelize.File) {
		if got, _ := f.GetCellValue("Numbers", "C1"); got != "Zenobia Quillfeather3" {
			t.Errorf("the other worksheet has %q in the place of a text it shared", got)
		}
		if got, _ := f.GetCellValue("Numbers", "A1"); got != "website" {
			t.Errorf("the other worksheet has %q in the place of a text it shared", got)
		}
		notes, err := f.GetComments("Leads")
		if err != nil || len(notes) != 2 || notes[0].Cell != "B4" || notes[1].Cell != "B5" {
			t.Errorf("got the notes %+v, %v", notes, err)
		}
		for cell, want := range map[string]bool{"D2": false, "D3": false, "D4": true, "D5": true} {
			if got, _, _ := f.GetCellHyperLink("Leads", cell); got != want {
				t.Errorf("%s is a link: %v", cell, got)
			}
		}
	})
	push(t, c, remove(3), remove(4)) // the last link is gone
	wantSound(t, path)
	if got := grid(t, path, "Numbers"); got[0][0] != "website" || got[0][2] != "Zenobia Quillfeather3" {
		t.Errorf("the other worksheet lost texts it shared: %q", got)
	}
}

func TestFormulaInAColumnOfOursGivesWay(t *testing.T) {
	path := rich(t)
	l := connectortest.Sample(1)
	l.Custom["Reads"] = "ours"
	push(t, sheetOf(t, path, nil, "Reads"), connectortest.Created(l))
	wantSound(t, path)
	got := grid(t, path, "Leads")
	if got[1][5] != "ours" || got[2][5] != "Zenobia Quillfeather2 <zenobia.quillfeather2@example.com>" {
		t.Errorf("got %q", got)
	}
	if _, there := parts(t, path)["xl/calcChain.xml"]; there {
		t.Error("the order of calculation names a cell without a formula")
	}
}

func TestChangedAddressIsNoLinkToTheFormerOne(t *testing.T) {
	path := rich(t)
	l := connectortest.Edited(connectortest.Sample(1))
	l.Email = "somebody.else@example.org"
	push(t, sheetOf(t, path, nil, "email"), connectortest.Updated(l))
	wantSound(t, path)
	for name, content := range parts(t, path) {
		if strings.Contains(content, "mailto:zenobia.quillfeather1@") {
			t.Errorf("%s leads to the former address", name)
		}
	}
}

// TestUnusualFiles: what the format allows and Excel does not write.
func TestUnusualFiles(t *testing.T) {
	const links = `<Relationship Id='a' Type='http://purl.oclc.org/ooxml/officeDocument/relationships/`
	file := func(sheet string) string {
		return archive(t,
			`_rels\.rels`, `<Relationships>`+links+`officeDocument' Target='/book/B.xml'/></Relationships>`,
			"BOOK/_rels/b.xml.rels", `<Relationships>`+links+`worksheet' Target='../s.xml'/></Relationships>`,
			"book/b.xml", "\uFEFF<?xml version='1.0'?><x:workbook xmlns:x='m' xmlns:o='r'><x:sheets><x:sheet name='LEADS' o:id='a'/></x:sheets></x:workbook>",
			"s.xml", sheet)
	}
	for name, test := range map[string]struct{ sheet, want string }{
		"prefixes, and cells that do not say where they are": {
			`<x:worksheet xmlns:x='m'><x:sheetData><x:row><x:c t='str'><x:v>source</x:v></x:c><x:c t='str'><x:v>lead_id</x:v></x:c></x:row>` +
				`<x:row hidden='0' spans='1:2'><x:c/><x:c t='inlineStr'><x:is><x:r><x:t>` + id(1)[:9] + `</x:t></x:r><x:r><x:t>` + id(1)[9:] + `</x:t></x:r><x:rPh><x:t>x</x:t></x:rPh></x:is></x:c></x:row></x:sheetData></x:worksheet>`,
			`<x:worksheet xmlns:x='m'><x:sheetData>` +
				`<x:row r="1"><x:c t='str' r="A1"><x:v>source</x:v></x:c><x:c t='str' r="B1"><x:v>lead_id</x:v></x:c></x:row>` +
				`<x:row hidden='0' r="2"><x:c r="A2" t="inlineStr"><x:is><x:t xml:space="preserve">website</x:t></x:is></x:c><x:c t='inlineStr' r="B2"><x:is><x:r><x:t>` + id(1)[:9] + `</x:t></x:r><x:r><x:t>` + id(1)[9:] + `</x:t></x:r><x:rPh><x:t>x</x:t></x:rPh></x:is></x:c></x:row>` +
				`<x:row r="3"><x:c r="A3" t="inlineStr"><x:is><x:t xml:space="preserve">website</x:t></x:is></x:c><x:c r="B3" t="inlineStr"><x:is><x:t xml:space="preserve">` + id(2) + `</x:t></x:is></x:c></x:row>` +
				`</x:sheetData></x:worksheet>`,
		},
		"no rows": {
			`<worksheet><sheetData/><pageMargins/></worksheet>`,
			`<worksheet><sheetData>` +
				`<row r="1"><c r="A1" t="inlineStr"><is><t xml:space="preserve">lead_id</t></is></c><c r="B1" t="inlineStr"><is><t xml:space="preserve">source</t></is></c></row>` +
				`<row r="2"><c r="A2" t="inlineStr"><is><t xml:space="preserve">` + id(1) + `</t></is></c><c r="B2" t="inlineStr"><is><t xml:space="preserve">website</t></is></c></row>` +
				`<row r="3"><c r="A3" t="inlineStr"><is><t xml:space="preserve">` + id(2) + `</t></is></c><c r="B3" t="inlineStr"><is><t xml:space="preserve">website</t></is></c></row>` +
				`</sheetData><pageMargins/></worksheet>`,
		},
		"a formula that a column of ours shares with a person's": {
			`<worksheet><sheetData><row r="1"><c r="A1" t="str"><v>lead_id</v></c><c r="B1" t="str"><v>source</v></c></row>` +
				`<row r="2"><c r="A2" t="str"><v>` + id(1) + `</v></c><c r="B2" cm="1"><f t="shared" si="7" ref="B2:C3">A1</f><v>1</v></c><c r="C2" t="b"><f t="shared" si="7"/><v>1</v></c></row>` +
				`<row r="3"><c r="A3" t="str"><v>` + id(2) + `</v></c><c r="B3"><f t="shared" si="7"/><v>3</v></c><c r="C3"><f t="shared" si="7"/><v>4</v></c><c r="D3" t="str" vm="1" cm="1"><f>A3</f><v>x</v></c></row></sheetData></worksheet>`,
			`<worksheet><sheetData><row r="1"><c r="A1" t="str"><v>lead_id</v></c><c r="B1" t="str"><v>source</v></c></row>` +
				`<row r="2"><c r="A2" t="str"><v>` + id(1) + `</v></c><c r="B2" t="inlineStr"><is><t xml:space="preserve">website</t></is></c><c r="C2" t="b"><v>1</v></c></row>` +
				`<row r="3"><c r="A3" t="str"><v>` + id(2) + `</v></c><c r="B3" t="inlineStr"><is><t xml:space="preserve">website</t></is></c><c r="C3"><v>4</v></c><c r="D3" cm="1"><f>A3</f></c></row></sheetData></worksheet>`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := newPath(t)
			write(t, path, file(test.sheet))
			push(t, sheetOf(t, path, nil, "source"), create(1), create(2))
			if got := parts(t, path)["s.xml"]; got != test.want {
				t.Errorf("got\n%s, want\n%s", got, test.want)
			}
			before := read(t, path)
			push(t, sheetOf(t, path, nil, "source"), create(1), create(2))
			if read(t, path) != before {
				t.Error("it is not found again")
			}
		})
	}
	for name, sheet := range map[string]string{
		"rows out of order":       `<worksheet><sheetData><row r="2"/><row r="1"/></sheetData></worksheet>`,
		"a row beyond the last":   `<worksheet><sheetData><row r="1048577"/></sheetData></worksheet>`,
		"a cell beyond the last":  `<worksheet><sheetData><row r="1"><c r="XFE1"/></row></sheetData></worksheet>`,
		"no place for rows":       `<worksheet></worksheet>`,
		"a cell in a cell":        `<worksheet><sheetData><row r="1"><c r="A1"><c/></c></row></sheetData></worksheet>`,
		"cells out of order":      `<worksheet><sheetData><row r="1"><c r="B1"/><c r="A1"/></row></sheetData></worksheet>`,
		"tags that do not match":  `<worksheet><sheetData><row r="1"></sheetData></row></worksheet>`,
		"a cell that never ends":  `<worksheet><sheetData><row r="1"><c r="A1">`,
		"characters of no script": "<worksheet><sheetData><row r=\"1\"><c r=\"A1\" t=\"str\"><v>\xff</v></c></row></sheetData></worksheet>",
	} {
		t.Run(name, func(t *testing.T) {
			path := newPath(t)
			write(t, path, file(sheet))
			_, err := sheetOf(t, path, nil).Push(context.Background(), create(1), "")
			wantFault(t, err, connectors.Setup, "")
		})
	}
}

func TestThreadedNotesOfADeletedLeadGo(t *testing.T) {
	const kinds = "http://schemas.microsoft.com/office/2017/10/relationships/"
	path := newPath(t)
	write(t, path, archive(t,
		"_rels/.rels", `<Relationships><Relationship Id="a" Type="x/officeDocument" Target="xl/workbook.xml"/></Relationships>`,
		"xl/_rels/workbook.xml.rels", `<Relationships><Relationship Id="a" Type="x/worksheet" Target="worksheets/sheet1.xml"/></Relationships>`,
		"xl/workbook.xml", `<workbook xmlns:r="r"><sheets><sheet name="Leads" r:id="a"/></sheets></workbook>`,
		"xl/worksheets/_rels/sheet1.xml.rels", `<Relationships><Relationship Id="a" Type="`+kinds+`threadedComment" Target="../threadedComments/threadedComment1.xml"/></Relationships>`,
		"xl/threadedComments/threadedComment1.xml", `<ThreadedComments><threadedComment ref="B2" id="1"><text>on the first</text></threadedComment>`+
			`<threadedComment ref="A3" id="2"><text>on the second</text></threadedComment></ThreadedComments>`,
		"xl/worksheets/sheet1.xml", `<worksheet><sheetData><row r="1"><c r="A1" t="str"><v>lead_id</v></c></row>`+
			`<row r="2"><c r="A2" t="str"><v>`+id(1)+`</v></c></row><row r="3"><c r="A3" t="str"><v>`+id(2)+`</v></c></row></sheetData></worksheet>`))
	push(t, sheetOf(t, path, nil), remove(1))
	want := `<ThreadedComments><threadedComment ref="A3" id="2"><text>on the second</text></threadedComment></ThreadedComments>`
	if got := parts(t, path)["xl/threadedComments/threadedComment1.xml"]; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
