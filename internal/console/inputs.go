package console

import (
	"slices"
	"strings"
)

// input is a setting as the form shows it.
type input struct {
	Setting
	Value   string
	Choices []string // where it is one of some
	From    secretInput
	Problem string
}

func newInput(s Setting, value any) input {
	in := input{Setting: s, Value: s.text(value)}
	switch {
	case s.Type == "bool":
		in.Choices = []string{"true", "false"}
	case len(s.OneOf) > 0:
		in.Choices = s.OneOf
	}
	if in.Choices != nil && in.Value != "" && !slices.Contains(in.Choices, in.Value) {
		in.Choices = append(slices.Clone(in.Choices), in.Value) // ${NAME}, or what the loader has something against
	}
	return in
}

// Many says whether the text may have many lines.
func (in input) Many() bool {
	return in.Lines || in.Type == "list" || in.Type == "mapping" || strings.Contains(in.Value, "\n")
}

// Keyboard is what a phone shows to type it.
func (in input) Keyboard() string {
	return map[string]string{"integer": "numeric", "number": "decimal"}[in.Type]
}

// Hint says how it is written.
func (in input) Hint() string {
	switch in.Type {
	case "list":
		return "one a line"
	case "mapping":
		return "as YAML"
	case "duration":
		return "such as 30s, 5m or 24h"
	case "text":
		if in.Default != "" && in.Choices == nil && !in.Secret {
			return `"" for none`
		}
	}
	return ""
}

// diffLine is a line of a diff, and how it looks.
type diffLine struct{ Text, Look string }

func diffLines(diff string) (lines []diffLine) {
	for line := range strings.Lines(diff) {
		l := diffLine{Text: strings.TrimRight(line, "\r\n"), Look: "same"}
		switch {
		case strings.HasPrefix(line, "+++"), strings.HasPrefix(line, "---"), strings.HasPrefix(line, "@@"):
			l.Look = "place"
		case strings.HasPrefix(line, "+"):
			l.Look = "added"
		case strings.HasPrefix(line, "-"):
			l.Look = "taken"
		}
		lines = append(lines, l)
	}
	return lines
}
