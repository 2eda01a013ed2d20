package connectors

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode"
)

// CellText is what a person reads of a field's value in a table's cell: the elements of a list with commas between
// them, anything nested as JSON, a time as 2026-01-02T03:04:05Z, nothing as nothing. A line break is one "\n"; what has
// no place in a cell is removed: control characters but tabs and line breaks, and broken UTF-8.
func CellText(value any) string {
	switch v := value.(type) {
	case nil:
		return ""
	case string:
		return clean(v)
	case bool, json.Number, int, int64, uint64, float64:
		return fmt.Sprint(v)
	case time.Time:
		return v.UTC().Format(time.RFC3339)
	case []any:
		if list, ok := joined(v); ok {
			return clean(list)
		}
	}
	var encoded strings.Builder
	encoder := json.NewEncoder(&encoded)
	encoder.SetEscapeHTML(false)
	if encoder.Encode(value) != nil {
		return ""
	}
	return clean(strings.TrimSpace(encoded.String()))
}

// joined lists texts, numbers and truth values.
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

var lineBreaks = strings.NewReplacer("\r\n", "\n", "\r", "\n")

func clean(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return r
		case unicode.IsControl(r) || r == '\uFFFE' || r == '\uFFFF': // XML has no way to write the last two
			return -1
		}
		return r
	}, strings.ToValidUTF8(lineBreaks.Replace(text), "\uFFFD"))
}
