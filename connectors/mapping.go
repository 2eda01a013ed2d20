package connectors

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"text/template"

	"github.com/leadrelay/leadrelay/internal/lead"
)

// FieldRule says where one of the vendor's fields comes from: exactly one of From, Template and Value.
type FieldRule struct {
	To       string `mapstructure:"to"`       // the vendor's name of the field
	From     string `mapstructure:"from"`     // a name lead.Lead.Value knows: a member, a derived value, a custom field
	Template string `mapstructure:"template"` // text/template over the same names: "{{.first_name}} ({{.source}})"
	Value    any    `mapstructure:"value"`    // a constant
}

// Field is one vendor field of one lead. Value is nil where the lead has none: the vendor's field is empty.
type Field struct {
	To    string
	Value any // string, json.Number, bool, or what a custom field or a constant holds
}

// Mapping is a checked list of rules. The zero value maps nothing.
type Mapping struct {
	rules []compiledRule
}

type compiledRule struct {
	FieldRule
	template *template.Template
}

// NewMapping checks rules and reports all problems at once, each beginning with its index: "[1]: to: required".
func NewMapping(rules []FieldRule) (Mapping, error) {
	var m Mapping
	var problems []error
	seen := map[string]bool{}
	for i, rule := range rules {
		problem := func(format string, args ...any) {
			problems = append(problems, fmt.Errorf("[%d]: "+format, append([]any{i}, args...)...))
		}
		if rule.To == "" {
			problem("to: required")
		} else if seen[rule.To] {
			problem("to: %q is mapped twice", rule.To)
		}
		seen[rule.To] = true
		sources := 0
		for _, given := range []bool{rule.From != "", rule.Template != "", rule.Value != nil} {
			if given {
				sources++
			}
		}
		if sources != 1 {
			problem("give one of from, template and value")
			continue
		}
		compiled := compiledRule{FieldRule: rule}
		if rule.Template != "" {
			t, err := template.New("template").Option("missingkey=zero").Funcs(printing).Parse(rule.Template)
			if err != nil {
				problem("template: %v", err)
				continue
			}
			compiled.template = t
		}
		m.rules = append(m.rules, compiled)
	}
	return m, errors.Join(problems...)
}

// Names lists the vendor's field names in their configured order.
func (m Mapping) Names() []string {
	names := make([]string, len(m.rules))
	for i, rule := range m.rules {
		names[i] = rule.To
	}
	return names
}

// Rules lists the rules in their configured order.
func (m Mapping) Rules() []FieldRule {
	rules := make([]FieldRule, len(m.rules))
	for i, rule := range m.rules {
		rules[i] = rule.FieldRule
	}
	return rules
}

// Apply returns the vendor's fields of l, in their configured order. A template that fails on this lead is the
// lead's fault.
func (m Mapping) Apply(l lead.Lead) ([]Field, error) {
	fields := make([]Field, 0, len(m.rules))
	var values map[string]any
	for _, rule := range m.rules {
		switch {
		case rule.From != "":
			value, _ := l.Value(rule.From)
			fields = append(fields, Field{rule.To, value})
		case rule.template != nil:
			if values == nil {
				values = l.Values()
			}
			var text fieldText
			if err := rule.template.Execute(&text, values); err != nil {
				return nil, &Error{Fault: Lead, Err: fmt.Errorf("field %s: the template does not fit this lead", rule.To)}
			}
			fields = append(fields, Field{rule.To, strings.ReplaceAll(text.String(), "<no value>", "")})
		default:
			fields = append(fields, Field{rule.To, rule.Value})
		}
	}
	return fields, nil
}

// Digest is the same for two states of a lead that a record connector has nothing to tell apart by: its fields, name and
// address. It tells nothing of them. "" where the mapping does not fit the lead.
func (m Mapping) Digest(l lead.Lead) string {
	fields, err := m.Apply(l)
	if err != nil {
		return ""
	}
	text, err := json.Marshal([]any{fields, l.Name, l.Email})
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(text)
	return base64.RawURLEncoding.EncodeToString(sum[:6])
}

// maxFieldText is more than any vendor takes, and bounds what a template's loops can write.
const maxFieldText = 1 << 20

// fieldText is what a template wrote.
type fieldText struct{ strings.Builder }

func (t *fieldText) Write(text []byte) (int, error) {
	if t.Len()+len(text) > maxFieldText {
		return 0, errors.New("the text is too long")
	}
	return t.Builder.Write(text)
}

// printing replaces the template functions that would print a field the lead does not have as "<nil>".
var printing = template.FuncMap{
	"printf":   func(format string, args ...any) string { return fmt.Sprintf(format, withoutNil(args)...) },
	"print":    func(args ...any) string { return fmt.Sprint(withoutNil(args)...) },
	"println":  func(args ...any) string { return fmt.Sprintln(withoutNil(args)...) },
	"html":     func(args ...any) string { return template.HTMLEscaper(withoutNil(args)...) },
	"js":       func(args ...any) string { return template.JSEscaper(withoutNil(args)...) },
	"urlquery": func(args ...any) string { return template.URLQueryEscaper(withoutNil(args)...) },
}

func withoutNil(args []any) []any {
	for i, arg := range args {
		if arg == nil {
			args[i] = nothing{}
		}
	}
	return args
}

// nothing prints as nothing, by every verb.
type nothing struct{}

func (nothing) Format(fmt.State, rune) {}
