package csv

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/leadrelay/leadrelay/connectors"
)

func TestCells(t *testing.T) {
	for _, test := range []struct {
		name  string
		value any
		want  string
	}{
		{"nothing", nil, ""},
		{"a text", "Zoë", "Zoë"},
		{"a name with an apostrophe", "O'Quill", "O'Quill"},
		{"a text in apostrophes", "'quoted'", "'quoted'"},
		{"an address", "ada@example.com", "ada@example.com"},
		{"a time", "2026-03-14T15:09:26Z", "2026-03-14T15:09:26Z"},
		{"a text with a number", "room 101", "room 101"},
		{"a name that is a month", "May", "May"},

		{"a formula", "=1+1", "'=1+1"},
		{"a command", "=cmd|' /C calc'!A0", "'=cmd|' /C calc'!A0"},
		{"a formula of old", "@SUM(A1)", "'@SUM(A1)"},
		{"a sum", "-1+1", "'-1+1"},
		{"a formula after spaces", " \u00a0=1", "' \u00a0=1"},
		{"a formula after what nobody sees", "\u200b\ufeff=1", "'\u200b\ufeff=1"},
		{"a wide formula", "＝1", "'＝1"},
		{"a formula after a tab", "\t=1", "'\t'=1"},
		{"a text after a tab", "\tx", "'\tx"},
		{"a text after a line break", "\rx", "'\nx"},
		{"a formula that is marked already", "'=1", "''=1"},
		{"a formula where another list separator begins a cell", "x;=1; =2,=3", "x;'=1;' =2,=3"},
		{"a formula on a line of its own", "x\n=1\r\n-1\n\n@y", "x\n'=1\n'-1\n\n'@y"},

		{"a phone number", "+44 20 7946 0000", "'+44 20 7946 0000"},
		{"a phone number of digits", "4915112345678", "'4915112345678"},
		{"leading zeros", "0007", "'0007"},
		{"leading zeros, marked already", "'0007", "''0007"},
		{"a whole number", "1500", "1500"},
		{"a whole number, marked already", "'1500", "''1500"},
		{"zero", "0", "0"},
		{"a decimal", "1.50", "'1.50"},
		{"a date or a fraction", "1/2", "'1/2"},
		{"a day", "2026-03-14", "'2026-03-14"},
		{"a day of words", "5 May 2026", "'5 May 2026"},
		{"a time of day", "3:30 pm", "'3:30 pm"},
		{"an amount", "€ 1,000", "'€ 1,000"},
		{"a share", "50%", "'50%"},
		{"a power", "1e5", "'1e5"},
		{"Arabic digits", "٠٠٧", "'٠٠٧"},
		{"a very long number", strings.Repeat("7", 70), "'" + strings.Repeat("7", 70)},

		{"a number", json.Number("-1500.5"), "-1500.5"},
		{"a number Excel would round", json.Number("12345678901234567890"), "'12345678901234567890"},
		{"a constant", 7, "7"},
		{"a truth", true, "true"},
		{"a list", []any{"one", json.Number("2"), true}, "one, 2, true"},
		{"a list that begins a formula", []any{"=one"}, "'=one"},
		{"an empty list", []any{}, ""},
		{"a nested value", map[string]any{"b": []any{"<&>"}, "a": nil}, `{"a":null,"b":["<&>"]}`},
		{"control characters", "a\x00b\x1b\u0085c\x7f\r\nd", "abc\nd"},
		{"a control character before a formula", "\x00=1", "'=1"},
		{"broken UTF-8", "M\xfcller", "M\uFFFDller"},
	} {
		if got := Cell(test.value, ','); got != test.want {
			t.Errorf("%s: got %q, want %q", test.name, got, test.want)
		}
	}
	for comma, want := range map[byte]string{';': "x,'=1;=2", '|': "x,'=1;'=2", '\t': "x,'=1;'=2"} {
		if got := Cell("x,=1;=2", comma); got != want {
			t.Errorf("delimited by %q: got %q, want %q", comma, got, want)
		}
	}
}

// FuzzEscape: no cell begins a formula, wherever a program may begin one, and every text can be read back.
func FuzzEscape(f *testing.F) {
	for _, seed := range []string{"=1", "'=1", "''0007", " '+1", "a;=1", "1;2", "\n=", "'\t'=x", "1,-5", "'1500", "\u200b'@"} {
		f.Add(seed, uint8(1))
	}
	f.Fuzz(func(t *testing.T, text string, which uint8) {
		comma := ",;\t|"[which%4]
		others := strings.ReplaceAll(",;", string(comma), "")
		text = connectors.CellText(text)
		cell := Cell(text, comma)
		if got := Plain(cell, comma); got != text {
			t.Fatalf("%q became %q and that %q", text, cell, got)
		}
		if !utf8.ValidString(cell) || connectors.CellText(cell) != cell {
			t.Fatalf("%q is no clean text", cell)
		}
		for line := range strings.SplitSeq(cell, "\n") {
			for part := range strings.FieldsFuncSeq(line, func(r rune) bool { return strings.ContainsRune(others, r) }) {
				if part = strings.TrimSpace(part); part != "" && strings.ContainsRune(formulaSigns, []rune(part)[0]) {
					t.Fatalf("%q holds a formula: %q", cell, part)
				}
			}
		}
	})
}
