package sources

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/leadrelay/leadrelay/connectors"
	"github.com/leadrelay/leadrelay/internal/lead"
)

// Rule fills one member of the lead: exactly one of From and Value.
type Rule struct {
	To    string `mapstructure:"to"`    // name, email, source, note, a custom field, or Everything
	From  string `mapstructure:"from"`  // an expression over the delivery
	Value any    `mapstructure:"value"` // a constant; "" leaves the member out
}

// Everything is the To of a rule whose From is a mapping: each of its members becomes a custom field, but for those
// that config.yaml fills by name.
const Everything = "*"

// rule is a checked Rule.
type rule struct {
	Rule
	own   bool        // from config.yaml
	place string      // what an error calls it
	from  *expression // nil: Value
}

// newMapping checks an operator's rules and puts them over a preset's.
func newMapping(preset, own []Rule) ([]rule, error) {
	var all []rule
	var problems []error
	seen := map[string]int{}
	for i, r := range own {
		compiled, err := r.check()
		if first, taken := seen[r.To]; taken && r.To != "" {
			err = errors.Join(err, fmt.Errorf("to: fields[%d] fills it already", first))
		} else {
			seen[r.To] = i
		}
		compiled.own, compiled.place = true, fmt.Sprintf("fields[%d]", i)
		for _, problem := range connectors.Problems(err) {
			problems = append(problems, fmt.Errorf("%s: %w", compiled.place, problem))
		}
		all = append(all, compiled)
	}
	for _, r := range preset {
		if _, replaced := seen[r.To]; replaced {
			continue
		}
		compiled, err := r.check()
		if err != nil {
			panic("sources: a preset's rule for " + r.To + ": " + err.Error())
		}
		compiled.place = "fields: the preset's " + r.To
		all = append(all, compiled)
	}
	return all, errors.Join(problems...)
}

// check checks one rule by itself.
func (r Rule) check() (rule, error) {
	compiled := rule{Rule: r}
	var problems []error
	switch {
	case r.To == "":
		problems = append(problems, errors.New("to: required"))
	case r.To == Everything, isText[r.To]:
	default:
		if err := fits(r.To, "x"); err != nil {
			problems = append(problems, fmt.Errorf("to: %w", err))
		}
	}
	switch {
	case (r.From != "") == (r.Value != nil):
		problems = append(problems, errors.New("give one of from and value"))
	case r.From != "":
		var err error
		if compiled.from, err = compile(r.From, false, nil); err != nil {
			problems = append(problems, fmt.Errorf("from: %w", err))
		}
	case r.To == Everything && r.Value != "":
		problems = append(problems, errors.New(`value: of "*" must be "", for no fields`))
	case r.To != Everything && r.To != "" && r.Value != "":
		if err := fits(r.To, r.Value); err != nil {
			problems = append(problems, fmt.Errorf("value: %w", err))
		}
	}
	return compiled, errors.Join(problems...)
}

// fits says what the API would say of a member.
func fits(name string, value any) error {
	encoded, err := json.Marshal(map[string]any{name: asMember(name, value)})
	if err != nil {
		return errors.New("must be text, a number, true, false, a list or a mapping")
	}
	_, err = lead.ParsePatch(encoded)
	var invalid lead.Invalid
	if errors.As(err, &invalid) {
		return errors.New(invalid[0].Message)
	}
	return err
}

// fills says whether a rule fills a member.
func fills(mapping []rule, to string) bool {
	return slices.ContainsFunc(mapping, func(r rule) bool { return r.To == to && r.Value != "" })
}

// apply returns the members of the lead that a delivery makes.
func apply(mapping []rule, env *environment) (map[string]any, error) {
	members := make(map[string]any, len(mapping))
	var everything any
	for _, r := range mapping {
		value := r.Value
		if r.from != nil {
			var err error
			if value, err = r.from.evaluate(env); err != nil {
				return nil, fmt.Errorf("%s: from: %w", r.place, err)
			}
		}
		switch budget := maxMember; {
		case !within(&budget, value):
			return nil, lead.Invalid{{Field: r.To, Message: "is far too long"}}
		case r.To != Everything && !isNothing(value):
			members[r.To] = asMember(r.To, value)
		case r.To == Everything && !isNothing(value):
			if _, ok := value.(map[string]any); !ok {
				return nil, fmt.Errorf(`%s: from: what goes to "*" must be a mapping`, r.place)
			}
			everything = value
		}
	}
	spread(mapping, members, everything)
	return members, nil
}

// spread makes each member of a mapping a custom field, but for those that config.yaml fills by name. Of two with one
// name, both are kept.
func spread(mapping []rule, members map[string]any, value any) {
	own := map[string]bool{}
	for _, r := range mapping {
		own[r.To] = own[r.To] || r.own
	}
	fields, _ := value.(map[string]any)
	for _, question := range slices.Sorted(maps.Keys(fields)) {
		name := customName(question)
		if own[question] || own[name] || isNothing(fields[question]) {
			continue
		}
		if len(members) > lead.MaxCustom+len(isText) {
			return // more than a lead can hold, and refused for it
		}
		unique := name
		for n := 2; members[unique] != nil; n++ {
			suffix := " (" + strconv.Itoa(n) + ")"
			unique = cut(name, lead.MaxCustomName-len(suffix)) + suffix
		}
		members[unique] = fields[question]
	}
}

var (
	// isText has the members of a lead that are texts, beside its custom fields.
	isText = map[string]bool{"name": true, "email": true, "source": true, "note": true}

	// isServers has the members that are not for others to set.
	isServers = map[string]bool{"lead_id": true, "created_at": true, "updated_at": true, "revision": true, "connectors": true}
)

// customName makes a question of a form the name of a custom field.
func customName(question string) string {
	question = strings.ToValidUTF8(question, "\uFFFD")
	name := strings.Join(strings.FieldsFunc(question, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }), " ")
	switch {
	case name == "":
		return "field"
	case isText[name], isServers[name]:
		return "form_" + name
	}
	return cut(name, lead.MaxCustomName)
}

func cut(text string, length int) string {
	if utf8.RuneCountInString(text) <= length {
		return text
	}
	return string([]rune(text)[:length-1]) + "…"
}

// asMember is a value as its member wants it: those that are texts take numbers and lists of choices, too.
func asMember(name string, value any) any {
	if !isText[name] {
		return value
	}
	if text, ok := scalarText(value); ok {
		return text
	}
	if list, ok := value.([]any); ok {
		var texts []string
		for _, element := range list {
			text, ok := scalarText(element)
			if !ok {
				return value
			}
			texts = append(texts, text)
		}
		return strings.Join(texts, ", ")
	}
	return value
}

// scalarText is a single value as a text.
func scalarText(value any) (string, bool) {
	switch v := value.(type) {
	case string:
		return v, true
	case json.Number, bool, int, float64:
		return fmt.Sprint(v), true
	}
	return "", false
}

// isNothing says whether a value is what a form has for a question without an answer.
func isNothing(value any) bool { return value == nil || value == "" }

// maxMember bounds what is encoded, in bytes, before it is looked at; an expression may repeat what it sees.
const maxMember = 8 * lead.MaxCustom * lead.MaxCustomValue

// within takes a value's size off a budget and says whether something is left.
func within(budget *int, value any) bool {
	*budget -= 8
	switch v := reflect.ValueOf(value); v.Kind() {
	case reflect.String:
		*budget -= v.Len()
	case reflect.Slice, reflect.Array:
		for i := 0; i < v.Len() && *budget > 0; i++ {
			within(budget, v.Index(i).Interface())
		}
	case reflect.Map:
		for entry := v.MapRange(); entry.Next() && *budget > 0; {
			within(budget, entry.Key().Interface())
			within(budget, entry.Value().Interface())
		}
	}
	return *budget > 0
}
