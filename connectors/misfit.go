package connectors

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// fieldTypes say which texts a field of a type takes.
var fieldTypes = map[string]func(string) bool{
	"text":   func(string) bool { return true },
	"number": func(s string) bool { _, err := strconv.ParseFloat(s, 64); return err == nil },
	"bool":   func(s string) bool { _, err := strconv.ParseBool(strings.ToLower(s)); return err == nil },
	"date": func(s string) bool {
		_, day := time.Parse(time.DateOnly, s)
		_, moment := time.Parse(time.RFC3339, s)
		return day == nil || moment == nil
	},
	"none": func(string) bool { return false },
}

// Misfit says why a vendor's field does not take what the rule maps to it, as far as that is known without a lead: a
// constant, and what a lead has in its own members. Custom fields and templates may hold anything. takes is text, number,
// bool, date, none, or a list of the only values that it takes; nil where that cannot be said. "": it may fit.
func (rule FieldRule) Misfit(takes any) string {
	switch takes := takes.(type) {
	case []any:
		var options []string
		for _, option := range takes {
			options = append(options, fmt.Sprint(option))
		}
		if rule.Value == nil || len(options) == 0 {
			return ""
		}
		for _, given := range valuesOf(rule.Value) {
			if !slices.Contains(options, fmt.Sprint(given)) {
				return fmt.Sprintf("has no option %q, only %s", fmt.Sprint(given), some(options))
			}
		}
	case string:
		fits := fieldTypes[takes]
		switch {
		case fits == nil:
		case takes == "none":
			return "takes no value"
		case rule.Value != nil:
			for _, given := range valuesOf(rule.Value) {
				if !fits(fmt.Sprint(given)) {
					return fmt.Sprintf("takes a %s, and %q is none", takes, fmt.Sprint(given))
				}
			}
		case memberExamples[rule.From] != "" && !fits(memberExamples[rule.From]):
			return fmt.Sprintf("takes a %s, and %s is none", takes, rule.From)
		}
	}
	return ""
}

// memberExamples are values of those members of a lead whose type is sure.
var memberExamples = map[string]string{
	"id": "lead_1", "lead_id": "lead_1", "name": "Ada Lovelace", "first_name": "Ada", "last_name": "Lovelace", "email": "ada@example.com",
	"created_at": "2026-03-14T15:09:26Z", "updated_at": "2026-03-14T15:09:26Z", "revision": "2",
}

// some is a list in words, of a length that people read.
func some(options []string) string {
	const most = 10
	if len(options) > most {
		return strings.Join(options[:most], ", ") + fmt.Sprintf(" and %d more", len(options)-most)
	}
	return strings.Join(options, ", ")
}

// valuesOf is a constant as the list it is, or as one of itself.
func valuesOf(value any) []any {
	if list, ok := value.([]any); ok {
		return list
	}
	return []any{value}
}
