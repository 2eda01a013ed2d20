package lead

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/mail"
	"reflect"
	"slices"
	"sort"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Limits of what a lead may hold, in characters.
const (
	MaxName        = 200
	MaxEmail       = 254 // RFC 5321, 4.5.3.1.3, less the angle brackets
	MaxSource      = 200
	MaxNote        = 10_000
	MaxCustom      = 100 // custom fields of one lead
	MaxCustomName  = 100
	MaxCustomValue = 10_000 // of one custom field: of a text itself, of anything else as JSON
	maxDepth       = 8      // of a nested custom value
)

// Problem is one thing wrong with one member of a request. It never repeats the value.
type Problem struct {
	Field   string `json:"field"`
	Message string `json:"message"`
}

// Invalid is everything wrong with a request that is JSON but no lead.
type Invalid []Problem

func (p Invalid) Error() string {
	texts := make([]string, len(p))
	for i, problem := range p {
		texts[i] = problem.Field + ": " + problem.Message
	}
	return strings.Join(texts, "; ")
}

// ErrMalformed is a body that is not one JSON object.
var ErrMalformed = errors.New("the body is not one JSON object")

// Patch is what a request asks to change. A nil pointer leaves a member alone; an empty text clears it.
type Patch struct {
	Name, Email, Source, Note *string

	// Custom holds the other members; a nil value clears the field.
	Custom map[string]any
}

// reserved are the members the server sets.
var reserved = map[string]bool{"lead_id": true, "created_at": true, "updated_at": true, "revision": true, "connectors": true}

// ParsePatch reads a request body. The error is ErrMalformed (wrapped, with the place) or Invalid with all
// problems, sorted by member.
func ParsePatch(body []byte) (Patch, error) {
	members, err := decodeObject(body)
	if err != nil {
		return Patch{}, err
	}
	return patchOf(members)
}

func patchOf(members map[string]any) (Patch, error) {
	var patch Patch
	var problems Invalid
	var name string
	problem := func(format string, args ...any) {
		problems = append(problems, Problem{name, fmt.Sprintf(format, args...)})
	}
	var value any
	for name, value = range members {
		if target, limit := patch.member(name); target != nil {
			text, ok := value.(string)
			if value != nil && !ok {
				problem("must be a string")
				continue
			}
			if name != "note" {
				text = strings.TrimSpace(text)
			}
			switch {
			case utf8.RuneCountInString(text) > limit:
				problem("is longer than %d characters", limit)
			case hasControl(text, name == "note"):
				problem("holds control characters")
			case name == "email" && text == "":
				problem("is required")
			case name == "email" && !validEmail(text):
				problem("is not a valid e-mail address")
			}
			*target = &text
			continue
		}
		switch {
		case reserved[name]:
			problem("is set by the server")
		case name == "":
			problem("a member needs a name")
		case utf8.RuneCountInString(name) > MaxCustomName:
			problems = append(problems, Problem{string([]rune(name)[:MaxCustomName]) + "…", fmt.Sprintf("the name is longer than %d characters", MaxCustomName)})
		case hasControl(name, false):
			problems = append(problems, Problem{"custom field", "a name holds control characters"})
		case !finite(value):
			problem("holds a number that is too large")
		case depth(value) > maxDepth:
			problem("is nested deeper than %d levels", maxDepth)
		case characters(value) > MaxCustomValue:
			problem("is longer than %d characters", MaxCustomValue)
		}
		if patch.Custom == nil {
			patch.Custom = map[string]any{}
		}
		patch.Custom[name] = value
	}
	if len(patch.Custom) > MaxCustom {
		problems = append(problems, Problem{"custom fields", fmt.Sprintf("are more than %d", MaxCustom)})
	}
	if problems != nil {
		sort.Slice(problems, func(i, j int) bool { return problems[i].Field < problems[j].Field })
		return Patch{}, problems
	}
	return patch, nil
}

// ParseNew is ParsePatch for a create, where an address is required.
func ParseNew(body []byte) (Patch, error) {
	members, err := decodeObject(body)
	if err != nil {
		return Patch{}, err
	}
	return New(members)
}

// New is ParseNew of an object that is decoded already: of UTF-8, with numbers as json.Number.
func New(members map[string]any) (Patch, error) {
	patch, err := patchOf(members)
	if _, given := members["email"]; given {
		return patch, err
	}
	var invalid Invalid
	errors.As(err, &invalid)
	return Patch{}, append(Invalid{{"email", "is required"}}, invalid...)
}

// decodeObject decodes exactly one JSON object, numbers kept as they were written. A member given twice has
// the last value, as in encoding/json.
func decodeObject(body []byte) (map[string]any, error) {
	if !utf8.Valid(body) {
		return nil, fmt.Errorf("%w: it is not UTF-8", ErrMalformed)
	}
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.UseNumber()
	var members map[string]any
	if err := decoder.Decode(&members); err != nil {
		var syntax *json.SyntaxError
		if errors.As(err, &syntax) {
			return nil, fmt.Errorf("%w: syntax error at byte %d", ErrMalformed, syntax.Offset)
		}
		return nil, ErrMalformed
	}
	if members == nil {
		return nil, ErrMalformed
	}
	if _, err := decoder.Token(); err != io.EOF {
		return nil, fmt.Errorf("%w: something follows it", ErrMalformed)
	}
	return members, nil
}

func (p *Patch) member(name string) (target **string, limit int) {
	switch name {
	case "name":
		return &p.Name, MaxName
	case "email":
		return &p.Email, MaxEmail
	case "source":
		return &p.Source, MaxSource
	case "note":
		return &p.Note, MaxNote
	}
	return nil, 0
}

// Apply returns l with the patch applied, and whether anything differs. l is not modified. The error is
// Invalid when the result would hold too much.
func (p Patch) Apply(l Lead) (changed Lead, differs bool, err error) {
	for _, member := range []struct {
		patch *string
		into  *string
	}{{p.Name, &l.Name}, {p.Email, &l.Email}, {p.Source, &l.Source}, {p.Note, &l.Note}} {
		if member.patch != nil && *member.patch != *member.into {
			*member.into = *member.patch
			differs = true
		}
	}
	custom := make(map[string]any, len(l.Custom)+len(p.Custom))
	for name, value := range l.Custom {
		custom[name] = value
	}
	for name, value := range p.Custom {
		before, had := custom[name]
		switch {
		case value == nil && had:
			delete(custom, name)
			differs = true
		case value != nil && (!had || !reflect.DeepEqual(before, value)):
			custom[name] = value
			differs = true
		}
	}
	if len(custom) > MaxCustom {
		return l, false, Invalid{{"custom fields", fmt.Sprintf("would be more than %d", MaxCustom)}}
	}
	l.Custom = custom
	if len(custom) == 0 {
		l.Custom = nil
	}
	return l, differs, nil
}

// validEmail accepts an addr-spec with a dotted domain (RFC 5322, with UTF-8 as in RFC 6532), nothing around it.
func validEmail(text string) bool {
	address, err := mail.ParseAddress(text)
	if err != nil || address.Address != text || address.Name != "" {
		return false
	}
	local, domain, _ := strings.Cut(text, "@")
	if strings.HasPrefix(text, `"`) || len(local) > 64 || strings.ContainsAny(domain, "[]") {
		return false
	}
	if strings.ContainsFunc(local, func(r rune) bool { return !unicode.IsGraphic(r) || unicode.IsSpace(r) }) {
		return false // what is not seen came with a copy from somewhere, or is there to deceive
	}
	labels := strings.Split(domain, ".")
	if len(labels) < 2 || strings.Trim(labels[len(labels)-1], "0123456789") == "" {
		return false // a host's own name, an IP address
	}
	for _, label := range labels {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' ||
			strings.ContainsFunc(label, func(r rune) bool { return !inLabel(r) }) {
			return false
		}
	}
	return true
}

// inLabel reports what a domain's label is made of; beyond ASCII, what words are made of (RFC 5892).
func inLabel(r rune) bool {
	if r < utf8.RuneSelf {
		return r == '-' || '0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z'
	}
	return r == '·' || r == '・' || r == '\u05f3' || r == '\u05f4' || unicode.In(r, unicode.L, unicode.M, unicode.Nd)
}

// hasControl reports control characters; lines allows those that break or indent lines.
func hasControl(text string, lines bool) bool {
	return strings.ContainsFunc(text, func(r rune) bool {
		if lines && (r == '\n' || r == '\r' || r == '\t') {
			return false
		}
		return r < ' ' || r >= 0x7f && r < 0xa0
	})
}

// characters is the length of a custom value: of a text itself, of anything else as JSON.
func characters(value any) int {
	if text, ok := value.(string); ok {
		return utf8.RuneCountInString(text)
	}
	var encoded strings.Builder
	encoder := json.NewEncoder(&encoded)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		panic("lead: what was decoded from JSON encodes again: " + err.Error())
	}
	return utf8.RuneCountInString(encoded.String()) - len("\n")
}

// finite says whether every number can be read as one by those who get the lead: 1e999 is JSON and no number.
func finite(value any) bool {
	switch v := value.(type) {
	case json.Number:
		f, err := v.Float64()
		return err == nil && !math.IsInf(f, 0)
	case []any:
		return !slices.ContainsFunc(v, func(element any) bool { return !finite(element) })
	case map[string]any:
		for _, member := range v {
			if !finite(member) {
				return false
			}
		}
	}
	return true
}

func depth(value any) int {
	deepest := 0
	switch v := value.(type) {
	case []any:
		for _, element := range v {
			deepest = max(deepest, depth(element))
		}
	case map[string]any:
		for _, element := range v {
			deepest = max(deepest, depth(element))
		}
	default:
		return 0
	}
	return deepest + 1
}
