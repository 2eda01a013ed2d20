package csv

import (
	"encoding/json"
	"iter"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/leadrelay/leadrelay/connectors"
)

// Cell is what a value looks like in a file delimited by comma. A text that a spreadsheet would take for something else
// gets apostrophes; see the package comment.
func Cell(value any, comma byte) string {
	text := connectors.CellText(value)
	switch value.(type) {
	case bool:
		return text
	case json.Number, int, int64, uint64, float64:
		if digits(text) > shownDigits {
			return "'" + text
		}
		return text
	}
	var marked strings.Builder
	for part := range parts(text, comma) {
		if part.isMarked(text) {
			marked.WriteByte('\'')
		}
		marked.WriteString(part.text)
	}
	return marked.String()
}

// Plain is the text of which Cell made a cell.
func Plain(cell string, comma byte) string {
	if !strings.Contains(cell, "'") {
		return cell
	}
	var plain strings.Builder
	for part := range parts(cell, comma) {
		if part.isMarked(cell) {
			part.text = strings.TrimPrefix(part.text, "'")
		}
		plain.WriteString(part.text)
	}
	return plain.String()
}

// part is a part of a cell that is a cell of its own to a program set to another list separator.
type part struct {
	text  string
	first bool
}

func parts(cell string, comma byte) iter.Seq[part] {
	breaks := "\n\t" + strings.ReplaceAll(",;", string(comma), "")
	return func(yield func(part) bool) {
		for p := (part{first: true}); cell != ""; p.first = false {
			end := strings.IndexAny(cell, breaks) + 1
			if end == 0 {
				end = len(cell)
			}
			p.text, cell = cell[:end], cell[end:]
			if !yield(p) {
				return
			}
		}
	}
}

// isMarked says whether a part of a cell gets an apostrophe, or has it.
func (p part) isMarked(cell string) bool { return p.first && misread(cell) || live(p.text) }

// formulaSigns begin a formula; the wide and small forms do so in East Asian settings, the true minus before a
// number in LibreOffice.
const formulaSigns = "=+-@" + "＝＋－＠" + "﹦﹢﹣﹫" + "−"

// live reports a text that begins a formula. Leading apostrophes count for nothing: a text that has them gets one
// more, so that taking one away is exact.
func live(text string) bool {
	text = strings.TrimLeftFunc(text, func(r rune) bool {
		return r == '\'' || unicode.IsSpace(r) || unicode.Is(unicode.Cf, r)
	})
	first, _ := utf8.DecodeRuneInString(text)
	return text != "" && strings.ContainsRune(formulaSigns, first)
}

// misread reports a text of which a spreadsheet would make something else: a number, a date, or a text without
// its leading white space. Leading apostrophes are as in live.
func misread(text string) bool {
	bare := strings.TrimLeft(text, "'")
	if strings.HasPrefix(bare, "\t") || strings.HasPrefix(bare, "\n") {
		return true
	}
	if digits(bare) == 0 || wholeNumber(text) {
		return false
	}
	for _, r := range bare {
		if !unicode.IsLetter(r) && !unicode.IsDigit(r) && !unicode.IsSpace(r) && !unicode.Is(unicode.Sc, r) &&
			!strings.ContainsRune(".,:;/+-−%()'’", r) {
			return false
		}
	}
	for word := range strings.FieldsFuncSeq(bare, func(r rune) bool { return !unicode.IsLetter(r) }) {
		if !numberWords[strings.ToLower(word)] {
			return false
		}
	}
	return true
}

// numberWords may stand in a number, a date or a time.
var numberWords = func() map[string]bool {
	words := map[string]bool{"e": true, "a": true, "p": true, "am": true, "pm": true, "sept": true}
	for _, month := range []string{"january", "february", "march", "april", "may", "june", "july", "august",
		"september", "october", "november", "december"} {
		words[month], words[month[:3]] = true, true
	}
	return words
}()

// shownDigits is how many digits Excel's General format shows; a longer number is shown, and saved again as CSV, as
// 4.91511E+12 (Microsoft KB 65903, https://mskb.pkisolutions.com/kb/65903).
const shownDigits = 11

// wholeNumber reports a text that reads the same as a number.
func wholeNumber(text string) bool {
	if text == "" || len(text) > shownDigits || text[0] == '0' && text != "0" {
		return false
	}
	return strings.Trim(text, "0123456789") == ""
}

func digits(text string) int {
	n := 0
	for _, r := range text {
		if unicode.IsDigit(r) {
			n++
		}
	}
	return n
}
