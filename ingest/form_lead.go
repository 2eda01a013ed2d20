package ingest

import (
	"cmp"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/leadrelay/leadrelay/internal/lead"
)

// formLead is the lead that a post asks for.
type formLead struct {
	patch   lead.Patch
	members map[string]any // what patch was made of
	content string         // the same, without the time of a consent: one text for one content
	consent bool           // whether it has the fields of a consent
}

// The custom fields that a lead has of a form's consent.
const (
	consentGiven   = "consent"
	consentAt      = "consent_at"
	consentText    = "consent_text"
	consentVersion = "consent_version"
)

var consentFields = []string{consentGiven, consentAt, consentText, consentVersion}

// date notes when it was asked for.
func (l *formLead) date(now time.Time) {
	if l.consent {
		l.members[consentAt] = timestamp(now)
		l.patch.Custom[consentAt] = l.members[consentAt]
	}
}

// body is the one that asks the leads API for the lead.
func (l *formLead) body() []byte {
	names := slices.AppendSeq(make([]string, 0, len(l.members)), maps.Keys(l.members))
	slices.Sort(names)
	out := append(make([]byte, 0, 512), '{')
	for i, name := range names {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(appendText(out, name), ':')
		if text, isText := l.members[name].(string); isText {
			out = appendText(out, text)
		} else {
			out = appendJSON(out, l.members[name])
		}
	}
	return append(out, '}')
}

// read makes of a post's fields the lead it asks for. The error is refused, with problems by the names of the fields.
func (f *form) read(fields sent) (*formLead, error) {
	l := &formLead{members: f.members(fields)}
	maps.Copy(l.members, f.fixed)
	l.members["source"] = f.Source
	var problems lead.Invalid
	for _, name := range []string{"name", "email", "note"} {
		text, differ := oneText(l.members[name])
		if differ {
			problems = append(problems, lead.Problem{Field: name, Message: "is given more than once"})
		}
		if text != nil {
			l.members[name] = text
		}
	}
	for _, name := range f.Required {
		if l.members[name] == nil && name != "email" {
			problems = append(problems, lead.Problem{Field: name, Message: "is required"})
		}
	}
	agreed := f.Consent != nil && affirms(fields[f.Consent.Field])
	if c := f.Consent; c != nil {
		l.consent = true
		l.members[consentGiven] = agreed
		for name, text := range map[string]string{consentText: c.Text, consentVersion: c.Version} {
			if text != "" {
				l.members[name] = text
			}
		}
	}
	var err error
	l.patch, err = lead.New(l.members)
	var invalid lead.Invalid
	errors.As(err, &invalid)
	all := f.problems(append(problems, invalid...))
	if f.Consent != nil && f.Consent.Required && !agreed {
		all.problems = append(all.problems, lead.Problem{Field: f.Consent.Field, Message: "has to be agreed to"})
	}
	if len(all.problems) > 0 {
		slices.SortStableFunc(all.problems, func(a, b lead.Problem) int { return cmp.Compare(a.Field, b.Field) })
		return nil, all
	}
	l.content = string(l.body())
	return l, nil
}

// members are the fields by the names they have in the lead, but for those that are empty or not the visitor's to give.
func (f *form) members(fields sent) map[string]any {
	members := make(map[string]any, len(fields)+len(f.fixed)+len(consentFields)+1)
	ranks := map[string]int{}
	for name, value := range fields {
		rank, to := f.rank[name], name
		switch {
		case rank > 0:
			to = f.Fields[rank-1].To
		case strings.HasPrefix(name, "_") || name == f.Honeypot || isCaptchaField(name):
			continue
		default:
			rank = len(f.Fields) + 1
		}
		if f.Consent != nil && (name == f.Consent.Field || slices.Contains(consentFields, to)) || blank(value) {
			continue
		}
		if before, taken := ranks[to]; !taken || rank < before {
			ranks[to], members[to] = rank, filled(to, value)
		}
	}
	return members
}

// blank says whether a field was left empty.
func blank(value any) bool {
	switch v := value.(type) {
	case nil:
		return true
	case string:
		return strings.TrimSpace(v) == ""
	case []any:
		return !slices.ContainsFunc(v, func(one any) bool { return !blank(one) })
	}
	return false
}

// filled is what a field holds that is not blank: of a list, what was filled in.
func filled(to string, value any) any {
	switch v := value.(type) {
	case []any:
		return slices.DeleteFunc(slices.Clone(v), blank)
	case string:
		if trimmed := strings.TrimSpace(v); (to == "name" || to == "email") && trimmed != v {
			return trimmed
		}
	}
	return value
}

// oneText is the text of a list of texts, nil for anything else; differ says that there are several.
func oneText(value any) (text any, differ bool) {
	list, _ := value.([]any)
	for i, one := range list {
		if _, isText := one.(string); !isText {
			return nil, false
		}
		if i == 0 {
			text = one
		}
		differ = differ || one != text
	}
	return text, differ
}

// affirms says whether a box is ticked: its value is the page's choice, and some pages send one for a box that is not.
func affirms(value any) bool {
	switch v := value.(type) {
	case bool:
		return v
	case string:
		return !blank(v) && !slices.Contains([]string{"0", "false", "no", "off"}, strings.ToLower(strings.TrimSpace(v)))
	case []any:
		return slices.ContainsFunc(v, affirms)
	}
	return false
}

// problems are those of a lead, by the names of the form's fields.
func (f *form) problems(invalid lead.Invalid) refused {
	all := slices.Clone(invalid)
	for i := range all {
		name := all[i].Field
		// A field that is called as in the lead is found there as well, but it is the other that the form is known to have.
		if at := slices.IndexFunc(f.Fields, func(field FormField) bool { return field.To == name }); at >= 0 {
			all[i].Field = strings.TrimSuffix(f.Fields[at].From, "[]")
		}
	}
	return refused{status: http.StatusUnprocessableEntity, code: "validation_failed", message: "Please check what you entered.", problems: all}
}
