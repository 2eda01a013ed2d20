package store

import (
	"testing"
	"unicode/utf8"

	"github.com/leadrelay/leadrelay/internal/lead"
)

// What people type and what strangers call themselves is compared without harm.
func FuzzSameName(f *testing.F) {
	for _, seed := range [][2]string{{"zoe", "Zoë Müller"}, {"\u0301", "e\u0301"}, {"\xff", "a\xffb"}, {"", "x"}, {"ß", "SS"}, {"ｊ", "J"}, {"가", "가"}} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, part, name string) {
		if utf8.RuneCountInString(part) > lead.MaxName || utf8.RuneCountInString(name) > lead.MaxName {
			t.Skip("no name is as long, and nobody may search for one")
		}
		pattern := sameName.CompileString(part)
		if from, to := pattern.IndexString(name); from >= 0 && (to < from || to > len(name)) {
			t.Errorf("%q is in %q from %d to %d", part, name, from, to)
		}
	})
}
