package csv

import (
	"encoding/json"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/leadrelay/leadrelay/connectors"
)

// cellOf is what a field's value looks like in a file delimited by comma.
func cellOf(value any, comma byte) string {
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
	return escape(text, comma)
}

// escape marks a cell's text with apostrophes so that a spreadsheet takes it as text; see the package comment.
func escape(text string, comma byte) string {
	var marked strings.Builder
	breaks := cellBreaks(comma)
	first := misread(text)
	for rest := text; rest != ""; first = false {
		end := len(rest)
		if i := strings.IndexAny(rest, breaks); i >= 0 {
			end = i + 1
		}
		if first || live(rest[:end]) {
			marked.WriteByte('\'')
		}
		marked.WriteString(rest[:end])
		rest = rest[end:]
	}
	return marked.String()
}

// cellBreaks are what a cell of a file delimited by comma may hold, and a program set to another list separator
// would begin a new one after.
func cellBreaks(comma byte) string { return "\n\t" + strings.ReplaceAll(",;", string(comma), "") }

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
