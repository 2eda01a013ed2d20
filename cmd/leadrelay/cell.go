package main

import (
	"encoding/json"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/leadrelay/leadrelay/connectors"
)

// sheetCell is what a value looks like in a CSV file for spreadsheets: as connectors/csv writes it, whose package
// comment has the reasons. A text that would become a formula, a number or a date gets an apostrophe.
func sheetCell(value any, comma byte) string {
	text := connectors.CellText(value)
	switch value.(type) {
	case bool:
		return text
	case json.Number, int64:
		if digits(text) > shownDigits {
			return "'" + text
		}
		return text
	}
	var marked strings.Builder
	for part := range cellParts(text, comma) {
		if part.isMarked(text) {
			marked.WriteByte('\'')
		}
		marked.WriteString(part.text)
	}
	return marked.String()
}

// plainCell is the text of which sheetCell made a cell.
func plainCell(cell string, comma byte) string {
	if !strings.Contains(cell, "'") {
		return cell
	}
	var plain strings.Builder
	for part := range cellParts(cell, comma) {
		if part.isMarked(cell) {
			part.text = strings.TrimPrefix(part.text, "'")
		}
		plain.WriteString(part.text)
	}
	return plain.String()
}

// cellPart is a part of a cell that is a cell of its own to a program set to another list separator.
type cellPart struct {
	text  string
	first bool
}

func cellParts(cell string, comma byte) func(yield func(cellPart) bool) {
	breaks := "\n\t" + strings.ReplaceAll(",;", string(comma), "")
	return func(yield func(cellPart) bool) {
		for part := (cellPart{first: true}); cell != ""; part.first = false {
			end := strings.IndexAny(cell, breaks) + 1
			if end == 0 {
				end = len(cell)
			}
			part.text, cell = cell[:end], cell[end:]
			if !yield(part) {
				return
			}
		}
	}
}

// isMarked says whether a part of a cell gets an apostrophe, or has it. Those it begins with count for nothing.
func (p cellPart) isMarked(cell string) bool { return p.first && misread(cell) || isFormula(p.text) }

// formulaSigns begin a formula, in East Asian settings and in LibreOffice, too.
const formulaSigns = "=+-@" + "＝＋－＠" + "﹦﹢﹣﹫" + "−"

func isFormula(text string) bool {
	text = strings.TrimLeftFunc(text, func(r rune) bool {
		return r == '\'' || unicode.IsSpace(r) || unicode.Is(unicode.Cf, r)
	})
	first, _ := utf8.DecodeRuneInString(text)
	return text != "" && strings.ContainsRune(formulaSigns, first)
}

// misread reports a text of which a spreadsheet would make a number, a date, or a text without its leading white space.
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

// shownDigits is how many digits a spreadsheet shows of a number.
const shownDigits = 11

// wholeNumber reports a text that reads the same as a number.
func wholeNumber(text string) bool {
	return text != "" && len(text) <= shownDigits && (text[0] != '0' || text == "0") && strings.Trim(text, "0123456789") == ""
}

func digits(text string) (n int) {
	for _, r := range text {
		if unicode.IsDigit(r) {
			n++
		}
	}
	return n
}
