package console

import (
	"fmt"
	"testing"
	"unicode/utf8"
)

// alike says whether two values are written the same: 8 and 8.0 are.
func alike(a, b any) bool { return fmt.Sprintf("%#v", a) == fmt.Sprintf("%#v", b) }

// FuzzATextIsReadAsItIsShown: what a form reads of a text, it shows, and reads again as the same.
func FuzzATextIsReadAsItIsShown(f *testing.F) {
	for _, text := range []string{
		"", `""`, "587", "0123", "+49 30 123", "true", "yes", "0.3", "1e9", ".nan", "${NAME}", "[3, 4]", "- a\n- b", "a\nb: c", "x: 1", "x: {y: [1]}", `"7"`, "'7'",
		"a # b", "*a", "&a b", "2026-01-31", "~", "null", "{{.name}}", `["a", {"b": 1}]`, "a\tb", " a ", "&a [*a]", "Leads <leads@example.com>",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if !utf8.ValidString(text) {
			t.Skip("no browser sends it")
		}
		for _, kind := range []string{"text", "integer", "number", "bool", "duration", "list", "mapping"} {
			s := Setting{Name: "x", Type: kind, Default: "usual"}
			value := s.value(text)
			shown := s.text(value)
			if again := s.value(shown); !alike(again, value) {
				t.Errorf("%s: %q is read as %#v, shown as %q, and read again as %#v", kind, text, value, shown, again)
			}
		}
		value := constantOf(text)
		if again := constantOf(yamlText(value)); !alike(again, value) {
			t.Errorf("a constant: %q is read as %#v, shown as %q, and read again as %#v", text, value, yamlText(value), again)
		}
		if got := constantOf(yamlText(text)); got != any(text) {
			t.Errorf("the text %q is shown as %q, and read as %#v", text, yamlText(text), got)
		}
	})
}
