package lead

import (
	"encoding/json"
	"strings"
	"time"
)

// Value returns what a lead holds under a name that config.yaml may use: id (or lead_id), name, first_name, last_name,
// email, source, note, created_at, updated_at, revision, or a custom field. A custom field first_name or
// last_name goes before the part of name. ok is false, and the value nil, where the lead has none.
func (l Lead) Value(name string) (value any, ok bool) {
	text := func(s string) (any, bool) {
		if s == "" {
			return nil, false
		}
		return s, true
	}
	switch name {
	case "id", "lead_id":
		return text(l.ID)
	case "name":
		return text(l.Name)
	case "email":
		return text(l.Email)
	case "source":
		return text(l.Source)
	case "note":
		return text(l.Note)
	case "created_at":
		return l.Created.UTC().Format(time.RFC3339), true
	case "updated_at":
		return l.Updated.UTC().Format(time.RFC3339), true
	case "revision":
		return l.Revision, true
	}
	if value, ok = l.Custom[name]; ok {
		return value, true
	}
	switch name {
	case "first_name":
		first, _ := splitName(l.Name)
		return text(first)
	case "last_name":
		_, last := splitName(l.Name)
		return text(last)
	}
	return nil, false
}

var derivedNames = []string{
	"id", "lead_id", "name", "first_name", "last_name", "email", "source", "note", "created_at", "updated_at", "revision",
}

// Values returns everything Value knows of the lead; texts it has none of are "".
func (l Lead) Values() map[string]any {
	values := make(map[string]any, len(derivedNames)+len(l.Custom))
	for name, value := range l.Custom {
		values[name] = value
	}
	for _, name := range derivedNames {
		value, ok := l.Value(name)
		if !ok {
			value = ""
		}
		values[name] = value
	}
	return values
}

// NumericValues is Values with every number as a float64 or an int, for expressions that calculate.
func (l Lead) NumericValues() map[string]any {
	values := l.Values()
	for name, value := range values {
		values[name] = Numeric(value)
	}
	return values
}

// Numeric is a value with every number in it as a float64 or an int, for expressions that calculate.
func Numeric(value any) any {
	switch v := value.(type) {
	case json.Number:
		if n, err := v.Int64(); err == nil {
			return int(n)
		}
		f, _ := v.Float64()
		return f
	case int64:
		return int(v)
	case []any:
		converted := make([]any, len(v))
		for i := range v {
			converted[i] = Numeric(v[i])
		}
		return converted
	case map[string]any:
		converted := make(map[string]any, len(v))
		for key := range v {
			converted[key] = Numeric(v[key])
		}
		return converted
	default:
		return value
	}
}

// splitName takes the last word as the family name; a single word is a first name.
func splitName(name string) (first, last string) {
	words := strings.Fields(name)
	switch len(words) {
	case 0:
		return "", ""
	case 1:
		return words[0], ""
	default:
		return strings.Join(words[:len(words)-1], " "), words[len(words)-1]
	}
}

// NormalEmail is the form under which two spellings of an address are one: no surrounding space, lower case.
func NormalEmail(address string) string {
	return strings.ToLower(strings.TrimSpace(address))
}

// Personal lists the texts of a lead that tell whose it is, the words of its name each by itself, too: what no reason, log
// or URL may repeat.
func (l Lead) Personal() []string {
	texts := append(strings.Fields(l.Name), l.Name, l.Email, l.Note)
	var add func(any)
	add = func(value any) {
		switch v := value.(type) {
		case string:
			texts = append(texts, v)
		case []any:
			for _, element := range v {
				add(element)
			}
		case map[string]any:
			for _, element := range v {
				add(element)
			}
		}
	}
	for _, value := range l.Custom {
		add(value)
	}
	return texts
}
