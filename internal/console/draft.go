package console

import (
	"maps"
	"net/url"
	"slices"
	"strings"
)

// draft is an entry that an operator edits, as the form has it.
type draft struct {
	Entry
	was  Entry // as the file has it
	kind Kind
}

// fromForm is the entry that a form says. What is not in the form, or reads there as it is written in the file, stays as
// it is written.
func (v *visit) fromForm(form url.Values, was Entry, kind Kind, rows []row) draft {
	d := draft{Entry: was, was: was, kind: kind}
	d.Settings, d.Other = maps.Clone(was.Settings), cloned(was.Other)
	if d.Settings == nil {
		d.Settings = map[string]any{}
	}
	if form.Has("name") {
		d.Name = strings.TrimSpace(form.Get("name"))
	}
	if when := posted(form, "when"); form.Has("when") && when != was.When {
		d.When = strings.TrimSpace(when)
	}
	for _, s := range kind.Settings {
		key := keyOf(d.Settings, s.Name)
		if s.Secret {
			v.secretFromForm(form, s, d.Settings)
		} else if value, is := s.fromForm(form, d.Settings[key]); is {
			d.Settings[key] = value
		} else {
			delete(d.Settings, key)
		}
	}
	for _, s := range kind.Common {
		value, is := s.fromForm(form, at(d.Other, s.Name))
		put(d.Other, s.Name, value, is)
	}
	d.Fields = rulesOf(rows, was.Fields)
	return d
}

// posted is a text of a form; browsers end its lines as the network does.
func posted(form url.Values, name string) string {
	return strings.ReplaceAll(form.Get(name), "\r\n", "\n")
}

// fromForm is the value that a form gives a setting; is is false where it gives none.
func (s Setting) fromForm(form url.Values, written any) (value any, is bool) {
	name := "set." + s.Name
	text := posted(form, name)
	switch {
	case !form.Has(name) || text == s.text(written):
		return written, written != nil
	case text == "":
		return nil, false
	}
	return s.value(text), true
}

// row is a field rule as the form has it.
type row struct {
	To, Source, Text string
	Number           int
	Problem          string
}

// empty says whether nothing was typed into the row.
func (r row) empty() bool { return r.To == "" && strings.TrimSpace(r.Text) == "" }

const maxRows = 200

// rowsFromForm are the rows that a form has.
func rowsFromForm(form url.Values) (rows []row) {
	to, source, text := form["to"], form["source"], form["text"]
	for i := range min(len(to), len(source), len(text), maxRows) {
		r := row{To: strings.TrimSpace(to[i]), Source: source[i], Text: strings.ReplaceAll(text[i], "\r\n", "\n")}
		rows = append(rows, r)
	}
	return rows
}

func rowsOf(rules []FieldRule) (rows []row) {
	for _, rule := range rules {
		r := row{To: rule.To, Source: "from", Text: rule.From}
		switch {
		case rule.Template != "":
			r.Source, r.Text = "template", rule.Template
		case rule.Value != nil:
			r.Source, r.Text = "value", yamlText(rule.Value)
		}
		rows = append(rows, r)
	}
	return rows
}

// rulesOf are the rules of rows; a constant that reads as it is written stays as it is written.
func rulesOf(rows []row, written []FieldRule) (rules []FieldRule) {
	for _, r := range rows {
		if r.empty() {
			continue
		}
		rule := FieldRule{To: r.To}
		switch r.Source {
		case "template":
			rule.Template = r.Text
		case "value":
			if rule.Value = constantOf(r.Text); r.Text == "" {
				rule.Value = nil
			}
			for _, old := range written {
				if old.To == r.To && old.Value != nil && yamlText(old.Value) == r.Text {
					rule.Value = old.Value
				}
			}
		default:
			rule.From = strings.TrimSpace(r.Text)
		}
		rules = append(rules, rule)
	}
	if len(rules) == 0 && len(written) == 0 {
		return written // an empty list is another thing than none
	}
	return rules
}

// keyOf is the key that a mapping has for a setting: the loader makes no difference between cases.
func keyOf(mapping map[string]any, name string) string {
	for key := range mapping {
		if strings.EqualFold(key, name) {
			return key
		}
	}
	return name
}

// at is the value below a name with dots.
func at(mapping map[string]any, name string) any {
	first, rest, deeper := strings.Cut(name, ".")
	value := mapping[keyOf(mapping, first)]
	if !deeper {
		return value
	}
	below, _ := value.(map[string]any)
	return at(below, rest)
}

// put sets the value below a name with dots, or removes it, and mappings that are empty by that.
func put(mapping map[string]any, name string, value any, is bool) {
	first, rest, deeper := strings.Cut(name, ".")
	key := keyOf(mapping, first)
	switch below, isMapping := mapping[key].(map[string]any); {
	case !deeper && is:
		mapping[key] = value
	case !deeper:
		delete(mapping, key)
	case isMapping:
		if put(below, rest, value, is); len(below) == 0 {
			delete(mapping, key)
		}
	case is:
		below := map[string]any{}
		put(below, rest, value, is)
		mapping[key] = below
	}
}

// cloned is a copy whose mappings are copies, too.
func cloned(mapping map[string]any) map[string]any {
	all := map[string]any{}
	for key, value := range mapping {
		if below, is := value.(map[string]any); is {
			value = cloned(below)
		}
		all[key] = value
	}
	return all
}

// kept are the names of settings that the form does not show.
func (d draft) kept() (names []string) {
	for key := range d.Settings {
		if !slices.ContainsFunc(d.kind.Settings, func(s Setting) bool {
			return strings.EqualFold(s.Name, key) || s.Secret && strings.EqualFold(s.Name+"_file", key)
		}) {
			names = append(names, "settings."+key)
		}
	}
	for key := range d.Other {
		if !slices.ContainsFunc(d.kind.Common, func(s Setting) bool {
			first, _, _ := strings.Cut(s.Name, ".")
			return strings.EqualFold(first, key)
		}) {
			names = append(names, key)
		}
	}
	slices.Sort(names)
	return names
}
