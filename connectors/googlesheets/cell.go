package googlesheets

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/leadrelay/leadrelay/connectors"
	"github.com/leadrelay/leadrelay/internal/lead"
)

const (
	maxCell   = 50_000 // characters, as Google refuses more: "Your input contains more than the maximum of 50000 characters in a single cell."
	maxDigits = 15     // that a float64 is sure to keep
)

type op int

const (
	put    op = iota // the row is to hold cells
	empty            // its cells are to be emptied; no row is added
	remove           // no row is to be left
)

// edit is what one lead's row is to become.
type edit struct {
	op    op
	id    string
	cells []cell // put: one for each column but lead_id, in their configured order
}

func (c *connector) edit(change lead.Change) (edit, error) {
	e := edit{op: put, id: change.Lead.ID}
	if change.Op == lead.Delete {
		e.op = remove
		return e, nil
	}
	fields, err := c.fields.Apply(change.Lead)
	if err != nil {
		return edit{}, err
	}
	for _, field := range fields {
		content := cellOf(field.Value)
		if content.Value != nil && content.Value.String != nil && length(*content.Value.String) > maxCell {
			return edit{}, &connectors.Error{Fault: connectors.Lead, Err: fmt.Errorf("field %s: longer than the %d characters a cell holds", field.To, maxCell)}
		}
		e.cells = append(e.cells, content)
	}
	return e, nil
}

func (e edit) size() int {
	size := 0
	for _, content := range e.cells {
		size += 50 // of JSON around it
		if content.Value != nil && content.Value.String != nil {
			size += len(*content.Value.String)
		}
	}
	return size
}

// length counts as JavaScript does, the greater of the ways Google may count.
func length(text string) int {
	if len(text) <= maxCell {
		return len(text)
	}
	n := utf8.RuneCountInString(text)
	for _, r := range text {
		if r > 0xffff {
			n++
		}
	}
	return n
}

// cellOf is what a field's value looks like in the sheet.
func cellOf(value any) cell {
	switch v := value.(type) {
	case nil:
		return cell{}
	case string:
		return textCell(v)
	case bool:
		return cell{&cellValue{Bool: &v}}
	case json.Number, int, int64, uint64, float64:
		return numberCell(fmt.Sprint(v))
	case []any:
		if list, ok := joined(v); ok {
			return textCell(list)
		}
	}
	var encoded strings.Builder
	encoder := json.NewEncoder(&encoded)
	encoder.SetEscapeHTML(false)
	if encoder.Encode(value) != nil {
		return cell{}
	}
	return textCell(strings.TrimSpace(encoded.String()))
}

var lineBreaks = strings.NewReplacer("\r\n", "\n", "\r", "\n")

func textCell(text string) cell {
	text = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\n' && r != '\t' {
			return -1
		}
		return r
	}, strings.ToValidUTF8(lineBreaks.Replace(text), "\uFFFD"))
	if text == "" {
		return cell{}
	}
	return cell{&cellValue{String: &text}}
}

// numberCell is a number where Sheets, which calculates in float64, keeps all its digits, else a text.
func numberCell(text string) cell {
	mantissa, _, _ := strings.Cut(strings.ToLower(text), "e")
	digits := strings.TrimLeft(strings.NewReplacer("-", "", ".", "").Replace(mantissa), "0")
	value, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsInf(value, 0) || math.IsNaN(value) || len(digits) > maxDigits {
		return textCell(text)
	}
	number := json.Number(text)
	return cell{&cellValue{Number: &number}}
}

// joined lists texts, numbers and truth values as a person would.
func joined(list []any) (string, bool) {
	texts := make([]string, len(list))
	for i, element := range list {
		switch element.(type) {
		case []any, map[string]any:
			return "", false
		case nil:
		default:
			texts[i] = fmt.Sprint(element)
		}
	}
	return strings.Join(texts, ", "), true
}
