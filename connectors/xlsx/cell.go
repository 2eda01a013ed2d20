package xlsx

import (
	"encoding/json"
	"encoding/xml"
	"math"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/leadrelay/leadrelay/connectors"
)

// What a worksheet holds:
// https://support.microsoft.com/en-us/office/excel-specifications-and-limits-1672b34d-7043-467e-8e27-269d656771c3
const (
	maxColumns = 16_384
	maxText    = 32_767 // characters of a cell, as UTF-16 counts them
	maxDigits  = 15     // of a number
	maxNumber  = 9.99999999999999e307
	minNumber  = 2.2251e-308
)

var maxRows = 1_048_576 // a variable for its test

type kind int

const (
	emptyCell kind = iota
	textCell
	numberCell
	boolCell  // "1" or "0"
	otherCell // an error value, a date of the ISO form
)

// content is what a cell holds.
type content struct {
	kind  kind
	value string
}

// contentOf is what a field's value becomes in the sheet.
func contentOf(value any) content {
	shown := connectors.CellText(value)
	switch v := value.(type) {
	case bool:
		if v {
			return content{boolCell, "1"}
		}
		return content{boolCell, "0"}
	case json.Number, int, int64, uint64, float64:
		if exact(shown) {
			return content{numberCell, shown}
		}
	}
	if shown == "" {
		return content{}
	}
	return content{textCell, shown}
}

// exact reports a number of which Excel, which calculates in float64 and shows 15 digits, keeps every digit.
func exact(shown string) bool {
	value, err := strconv.ParseFloat(shown, 64)
	size := math.Abs(value)
	if err != nil || math.IsNaN(value) || size > maxNumber || size < minNumber && size != 0 {
		return false
	}
	mantissa, _, _ := strings.Cut(strings.ToLower(shown), "e")
	digits := strings.NewReplacer("-", "", "+", "", ".", "").Replace(mantissa)
	return len(strings.TrimLeft(digits, "0")) <= maxDigits
}

func (c content) equals(d content) bool {
	if c.kind != numberCell || d.kind != numberCell {
		return c == d
	}
	a, errA := strconv.ParseFloat(c.value, 64)
	b, errB := strconv.ParseFloat(d.value, 64)
	return a == b && errA == nil && errB == nil
}

// headerText is a column's name as its header cell shows it.
func headerText(name string) string { return strings.TrimSpace(connectors.CellText(name)) }

// textLength counts as Excel does.
func textLength(text string) int {
	n := utf8.RuneCountInString(text)
	for _, r := range text {
		if r > 0xFFFF {
			n++
		}
	}
	return n
}

// encode writes a cell. Texts are inline strings: a text that is shared would stay in the workbook's table of strings
// after its last cell is gone.
func (c content) encode(prefix, ref, style string) string {
	var out strings.Builder
	out.WriteString("<" + prefix + "c r=\"" + ref + "\"")
	if style != "" && style != "0" {
		out.WriteString(" s=\"" + style + "\"")
	}
	switch c.kind {
	case textCell:
		out.WriteString(" t=\"inlineStr\"><" + prefix + "is><" + prefix + "t xml:space=\"preserve\">")
		xml.EscapeText(&out, []byte(escape(c.value)))
		out.WriteString("</" + prefix + "t></" + prefix + "is></" + prefix + "c>")
	case numberCell:
		out.WriteString("><" + prefix + "v>" + c.value + "</" + prefix + "v></" + prefix + "c>")
	case boolCell:
		out.WriteString(" t=\"b\"><" + prefix + "v>" + c.value + "</" + prefix + "v></" + prefix + "c>")
	default:
		out.WriteString("/>")
	}
	return out.String()
}

// Within a workbook's texts, _x000A_ is the character U+000A, and an underscore before what looks like one is _x005F_:
// ECMA-376 part 1, 22.9.2.19, ST_Xstring.
var escaped = regexp.MustCompile(`^_x[0-9A-Fa-f]{4}_`)

func escape(text string) string {
	var out strings.Builder
	for {
		i := strings.Index(text, "_x")
		if i < 0 {
			return out.String() + text
		}
		out.WriteString(text[:i])
		if escaped.MatchString(text[i:]) {
			out.WriteString("_x005F")
		}
		out.WriteByte('_')
		text = text[i+1:]
	}
}

func unescape(text string) string {
	var out strings.Builder
	for {
		i := strings.Index(text, "_x")
		if i < 0 {
			return out.String() + text
		}
		out.WriteString(text[:i])
		text = text[i:]
		if match := escaped.FindString(text); match != "" {
			code, _ := strconv.ParseUint(match[2:6], 16, 16)
			out.WriteRune(rune(code))
			text = text[len(match):]
			continue
		}
		out.WriteByte('_')
		text = text[1:]
	}
}

// cellName is the name of the cell at a column and a row, which count from 1.
func cellName(column, row int) string {
	name := ""
	for ; column > 0; column = (column - 1) / 26 {
		name = string(rune('A'+(column-1)%26)) + name
	}
	return name + strconv.Itoa(row)
}

// position is the column and row of a cell's name; ok is false for what is none.
func position(name string) (column, row int, ok bool) {
	letters := 0
	for letters < len(name) && name[letters] >= 'A' && name[letters] <= 'Z' && letters < 3 {
		column = column*26 + int(name[letters]-'A') + 1
		letters++
	}
	row, err := strconv.Atoi(name[letters:])
	return column, row, err == nil && letters > 0 && column <= maxColumns && row >= 1 && row <= maxRows
}
