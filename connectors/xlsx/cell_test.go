package xlsx

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"
)

func TestT26Cells(t *testing.T) {
	inline := func(text string) string {
		return `<c r="B2" t="inlineStr"><is><t xml:space="preserve">` + text + `</t></is></c>`
	}
	value := func(number string) string { return `<c r="B2"><v>` + number + `</v></c>` }
	for _, test := range []struct {
		name  string
		value any
		want  string
	}{
		{"nothing", nil, `<c r="B2"/>`},
		{"an empty text", "\x00", `<c r="B2"/>`},
		{"a formula", "=1+1", inline("=1+1")},
		{"a phone number", "+44 20 7946 0000", inline("+44 20 7946 0000")},
		{"leading zeros", "0007", inline("0007")},
		{"a number in a text", "1500", inline("1500")},
		{"markup", `<b a="x">&'`, inline("&lt;b a=&#34;x&#34;&gt;&amp;&#39;")},
		{"lines and tabs", "a\r\nb\tc", inline("a&#xA;b&#x9;c")},
		{"control characters", "a\x00b\x1bc\uFFFEd\uFFFFe", inline("abcde")},
		{"broken UTF-8", "M\xfcller", inline("M\uFFFDller")},
		{"what looks like an escape", "_x0041_", inline("_x005F_x0041_")},
		{"two of them", "_x0041_x0042_", inline("_x005F_x0041_x005F_x0042_")},
		{"an escaped one", "_x005F_x0041_", inline("_x005F_x005F_x005F_x0041_")},
		{"what does not", "_x41_ _xyz_ __x", inline("_x41_ _xyz_ __x")},

		{"a number", json.Number("-1500.5"), value("-1500.5")},
		{"a power", json.Number("1.5E-7"), value("1.5E-7")},
		{"a constant", 7, value("7")},
		{"a large constant", uint64(123456789012345), value("123456789012345")},
		{"fifteen digits", json.Number("0.000123456789012345"), value("0.000123456789012345")},
		{"sixteen digits", json.Number("1234567890123456"), inline("1234567890123456")},
		{"too large a number", json.Number("1e308"), inline("1e308")},
		{"too small a number", json.Number("1e-308"), inline("1e-308")},
		{"no number", math.NaN(), inline("NaN")},
		{"an endless number", math.Inf(1), inline("+Inf")},
		{"a truth", true, `<c r="B2" t="b"><v>1</v></c>`},
		{"an untruth", false, `<c r="B2" t="b"><v>0</v></c>`},
		{"a time", time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), inline("2026-01-02T03:04:05Z")},
		{"a list", []any{"=one", json.Number("2"), true}, inline("=one, 2, true")},
		{"a nested value", map[string]any{"b": []any{"<&>"}}, inline("{&#34;b&#34;:[&#34;&lt;&amp;&gt;&#34;]}")},
	} {
		if got := contentOf(test.value).encode("", "B2", ""); got != test.want {
			t.Errorf("%s: got %s, want %s", test.name, got, test.want)
		}
	}
}

func TestPlaces(t *testing.T) {
	for name, want := range map[string][2]int{"A1": {1, 1}, "Z9": {26, 9}, "AA10": {27, 10}, "AZ1": {52, 1}, "BA1": {53, 1}, "ZZ1": {702, 1}, "AAA1": {703, 1}, "XFD1048576": {16384, 1048576}} {
		column, row, ok := position(name)
		if !ok || column != want[0] || row != want[1] || cellName(column, row) != name {
			t.Errorf("%s is %d, %d, %v and that %s", name, column, row, ok, cellName(column, row))
		}
	}
	for _, name := range []string{"", "A", "1", "A0", "A-1", "XFE1", "A1048577", "a1", "$A$1", "A1:B2", "AAAA1"} {
		if _, _, ok := position(name); ok {
			t.Errorf("%q is a place", name)
		}
	}
}

// FuzzTexts: every text can be read back, escapes and all.
func FuzzTexts(f *testing.F) {
	for _, seed := range []string{"=1", "_x0041_", "_x005F_x0041_x", "__x0041__x0042_", "a\nb ", "<&>]]>", "\u200b"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		want := contentOf(value)
		doc := `<worksheet><sheetData><row>` + content{textCell, idColumn}.encode("", "A1", "") + want.encode("", "B1", "") + `</row></sheetData></worksheet>`
		s, err := readSheet(doc, []string{idColumn}, &sharedStrings{})
		if err != nil {
			t.Fatal(err)
		}
		_, _, cells := s.cells(s.rows[0])
		if got := cells[1].content; got != want {
			t.Fatalf("%q became %q", want.value, got.value)
		}
		if strings.Contains(s.rows[0].text, "<f") {
			t.Fatalf("%q made a formula", value)
		}
	})
}

// FuzzSheet: whatever a worksheet holds, reading it does not panic, and a lead that is written to it is found again.
func FuzzSheet(f *testing.F) {
	for _, seed := range []string{
		"", `<row r="1"><c r="A1" t="str"><v>lead_id</v></c><c r="B1" t="s"><v>0</v></c></row>`,
		`<row><c t="str"><v>name</v></c><c t="str"><v>lead_id</v></c></row><row r="5" hidden="1"/><row spans='1:2'><c r="C6" s="1"><f t="shared" si="0" ref="C6:C7">A1</f></c></row>`,
		`<row r="1"><c r="B1" t="inlineStr"><is><t>lead_id</t><rPh><t>x</t></rPh></is></c></row><row r="3"><c r="B3"><f>TRUE()</f><v>1</v></c><c r="D3" cm='1' t="e"><v>#REF!</v></c></row>`,
		`<row><c t="str"><v>lead_id</v><f>"lead_id"</f></c></row>`,
		`<row r="1"><c r="A1" t="str"><v>lead_id</v></c><!-- x --></row><row r="2"><c r="B2"/><c r="A2"/></row>`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, rows string) {
		columns := []string{idColumn, "name", "note"}
		edits := []edit{{"lead_x", []content{{textCell, "lead_x"}, {textCell, "Zoë"}, {numberCell, "1.5"}}}}
		strings_ := func() *sharedStrings {
			return &sharedStrings{items: []sharedString{{value: "name"}, {value: "note"}}}
		}
		s, err := readSheet("<worksheet><sheetData>"+rows+"</sheetData></worksheet>", columns, strings_())
		if err != nil || strings.Contains(rows, "lead_x") {
			return
		}
		if left := s.edit(edits); len(left) != 0 {
			t.Fatalf("there is no room for %v", left)
		}
		written := s.String()
		again, err := readSheet(written, columns, strings_())
		if err != nil {
			t.Fatalf("what was written cannot be read: %v\n%s", err, written)
		}
		if again.edit(edits); again.changed {
			t.Fatalf("the lead is not found again in\n%s", written)
		}
		if again.edit([]edit{{id: "lead_x"}}); !again.changed || strings.Contains(again.String(), "lead_x") {
			t.Fatalf("the lead is not deleted from\n%s", written)
		}
	})
}
