package connectors

import (
	"encoding/json"
	"testing"
	"time"
)

func TestCellText(t *testing.T) {
	for _, test := range []struct {
		name  string
		value any
		want  string
	}{
		{"nothing", nil, ""},
		{"a text", "Zoë =1+1", "Zoë =1+1"},
		{"a number", json.Number("12345678901234567890.50"), "12345678901234567890.50"},
		{"constants", []any{7, 1.5, uint64(8), int64(9)}, "7, 1.5, 8, 9"},
		{"a truth", true, "true"},
		{"a time", time.Date(2026, 1, 2, 4, 4, 5, 6, time.FixedZone("", 3600)), "2026-01-02T03:04:05Z"},
		{"a list", []any{"one", json.Number("2"), true, nil}, "one, 2, true, "},
		{"an empty list", []any{}, ""},
		{"a nested value", map[string]any{"b": []any{"<&>"}, "a": nil}, `{"a":null,"b":["<&>"]}`},
		{"a list of lists", []any{[]any{"a\tb"}}, `[["a\tb"]]`},
		{"control characters", "a\x00b\x1b\u0085c\x7f\r\nd\re\tf", "abc\nd\ne\tf"},
		{"what is no character", "a\uFFFEb\uFFFFc", "abc"},
		{"broken UTF-8", "M\xfcller", "M\uFFFDller"},
	} {
		if got := CellText(test.value); got != test.want {
			t.Errorf("%s: got %q, want %q", test.name, got, test.want)
		}
	}
}
