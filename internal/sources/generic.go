package sources

import (
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/leadrelay/leadrelay/connectors"
)

// genericSettings are what config.yaml may say of a sender without a preset.
type genericSettings struct {
	Secrets `mapstructure:",squash"`

	// Verify is how the sender proves who it is.
	Verify string `mapstructure:"verify" oneof:"hmac header basic" help:"how the sender proves who it is: it signs (hmac), or it sends the secret in a header or as a password (basic)"`

	Header   string `mapstructure:"header" help:"the header with the signature or the secret"`
	Prefix   string `mapstructure:"prefix" help:"what is before it there, such as \"sha256=\" or \"Bearer \""`
	Username string `mapstructure:"username" help:"of basic; the password is the secret"`

	Algorithm string `mapstructure:"algorithm" oneof:"sha256 sha512 sha1" help:"of hmac"`
	Encoding  string `mapstructure:"encoding" oneof:"hex base64" help:"of the signature"`

	// Signed is what the sender signs, {body}, {timestamp} and {id} in it.
	Signed string `mapstructure:"signed" help:"what is signed: {body}, or with the timestamp, such as \"{timestamp}.{body}\"; {id} is the header id_header"`

	TimestampHeader string        `mapstructure:"timestamp_header" help:"when it was signed, in Unix seconds or milliseconds"`
	Tolerance       time.Duration `mapstructure:"tolerance" help:"how old a signature may be"`

	IDHeader string `mapstructure:"id_header" help:"the header with the id that a delivery keeps when it is repeated"`
	ID       string `mapstructure:"id" help:"or an expression over the delivery for it; else a repeat is known by its content"`
}

var genericDefaults = genericSettings{
	Verify: "hmac", Algorithm: "sha256", Encoding: "hex", Signed: "{body}", Tolerance: 5 * time.Minute,
}

// generic takes whatever posts JSON and proves who it is; the mapping is the operator's.
var generic = define(Kind{
	Name:     "generic",
	Title:    "any sender that signs by HMAC, or sends a secret along",
	Settings: genericDefaults,
}, func(s genericSettings) (preset, error) {
	p, err := s.open()
	p.needsRules = true
	return p, err
})

// jsonForm takes what form plugins post. They sign nothing by themselves, but can be given a header.
var jsonForm = define(Kind{
	Name:  "jsonform",
	Title: "Gravity Forms, WPForms and other forms that post JSON",
	Docs:  "https://docs.gravityforms.com/triggering-webhooks-form-submissions/",
	Settings: func() genericSettings {
		s := genericDefaults
		s.Verify, s.Header = "header", "X-Webhook-Secret"
		return s
	}(),
	Fields: recognised,
}, genericSettings.open)

var hashes = map[string]func() hash.Hash{"sha1": sha1.New, "sha256": sha256.New, "sha512": sha512.New}

var encodings = map[string]func([]byte) string{"hex": hex.EncodeToString, "base64": base64.StdEncoding.EncodeToString}

func (s genericSettings) open() (preset, error) {
	keys, err := s.keys(asText)
	problems := []error{err}
	problem := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	oneOf := func(key, value string, known ...string) {
		if !slices.Contains(known, value) {
			problem("%s: must be one of %s", key, strings.Join(known, ", "))
		}
	}
	oneOf("verify", s.Verify, "hmac", "header", "basic")
	if s.Header == "" && s.Verify != "basic" {
		problem("header: required: where the signature or the secret is")
	}
	for _, header := range []struct{ key, name string }{
		{"header", s.Header}, {"timestamp_header", s.TimestampHeader}, {"id_header", s.IDHeader},
	} {
		if strings.ContainsAny(header.name, " :\t") {
			problem("%s: must be the name of a header, such as X-Signature", header.key)
		}
	}
	p := preset{answers: formAnswers}
	switch s.Verify {
	case "basic":
		if s.Username == "" {
			problem("username: required")
		}
		p.verify = s.basic
	case "header":
		p.verify = s.header
	default:
		oneOf("algorithm", s.Algorithm, slices.Sorted(maps.Keys(hashes))...)
		oneOf("encoding", s.Encoding, slices.Sorted(maps.Keys(encodings))...)
		problems = append(problems, checkTolerance(s.Tolerance))
		signs := func(part string) bool { return strings.Contains(s.Signed, part) }
		switch {
		case !signs("{body}"):
			problem("signed: must have {body} in it")
		case signs("{timestamp}") && s.TimestampHeader == "":
			problem("timestamp_header: required: signed has {timestamp}")
		case !signs("{timestamp}") && s.TimestampHeader != "":
			problem(`signed: must have {timestamp}, such as "{timestamp}.{body}": without it the time proves nothing`)
		case signs("{id}") && s.IDHeader == "":
			problem("id_header: required: signed has {id}")
		case !signs("{id}") && s.IDHeader != "":
			problem("id_header: is not signed, and whoever repeats a delivery could change it; use id, an expression over the body")
		}
		p.verify = s.hmac(signer{keys, hashes[s.Algorithm], encodings[s.Encoding]})
	}
	var id *expression
	if s.ID != "" {
		if s.IDHeader != "" {
			problem("id: give it or id_header, not both")
		}
		if id, err = compile(s.ID, false, nil); err != nil {
			problem("id: %w", err)
		}
	}
	p.read = func(r request, body map[string]any) Delivery {
		d := Delivery{Items: []Item{{Payload: r.body}}}
		switch {
		case s.IDHeader != "":
			d.ID, _ = r.one(s.IDHeader)
		case id != nil:
			value, _ := id.evaluate(newEnvironment(body, formAnswers(body)))
			d.ID, _ = scalarText(value)
		}
		return d
	}
	return p, errors.Join(problems...)
}

func (s genericSettings) hmac(signer signer) func(request) error {
	return func(r request) error {
		header, _ := r.one(s.Header)
		claim, ok := strings.CutPrefix(header, s.Prefix)
		if !ok || claim == "" {
			return ErrUnverified
		}
		if s.Encoding == "hex" {
			claim = strings.ToLower(claim)
		}
		var signedAt time.Time
		replace := []string{}
		if s.TimestampHeader != "" {
			stamp, _ := r.one(s.TimestampHeader)
			if signedAt, ok = unixTime(stamp); !ok {
				return ErrUnverified
			}
			replace = append(replace, "{timestamp}", stamp)
		}
		if s.IDHeader != "" {
			id, _ := r.one(s.IDHeader)
			replace = append(replace, "{id}", id)
		}
		before, after, _ := strings.Cut(s.Signed, "{body}")
		around := strings.NewReplacer(replace...)
		if !signer.signed([]string{claim}, []byte(around.Replace(before)), r.body, []byte(around.Replace(after))) {
			return ErrUnverified
		}
		if s.TimestampHeader == "" {
			return nil
		}
		return r.fresh(signedAt, s.Tolerance)
	}
}

// matches says whether a text is one of the configured secrets.
func (s genericSettings) matches(given string) bool {
	equal := 0
	for _, secret := range []connectors.Secret{s.Secret, s.PreviousSecret} {
		if secret != "" {
			equal |= same(given, secret)
		}
	}
	return equal == 1
}

func (s genericSettings) header(r request) error {
	header, _ := r.one(s.Header)
	if given, ok := strings.CutPrefix(header, s.Prefix); !ok || !s.matches(given) {
		return ErrUnverified
	}
	return nil
}

func (s genericSettings) basic(r request) error {
	header, _ := r.one("Authorization")
	username, password, ok := (&http.Request{Header: http.Header{"Authorization": {header}}}).BasicAuth()
	known := same(username, connectors.Secret(s.Username)) == 1
	if matches := s.matches(password); !ok || !known || !matches {
		return ErrUnverified
	}
	return nil
}

// formAnswers reads the shapes in which form plugins post: members by name, in fields or data or beside each other; a
// field may be its value, or say its label and value.
func formAnswers(payload map[string]any) []answer {
	var answers []answer
	for _, name := range []string{"fields", "data"} {
		switch inner := payload[name].(type) {
		case map[string]any:
			for _, key := range slices.Sorted(maps.Keys(inner)) {
				answers = append(answers, formField(key, inner[key])...)
			}
		case []any:
			for _, field := range inner {
				answers = append(answers, formField("", field)...)
			}
		default:
			continue
		}
		rest := maps.Clone(payload)
		delete(rest, name)
		return append(answers, ofMembers(rest)...)
	}
	return ofMembers(payload)
}

// formField reads one field, which key names where it does not name itself.
func formField(key string, field any) []answer {
	object, ok := field.(map[string]any)
	value, described := object["value"]
	if !ok || !described {
		return ofMember(key, field)
	}
	name := ""
	var aliases []string
	for _, candidate := range []string{text(object, "label"), text(object, "title"), text(object, "name"), key, text(object, "key"), text(object, "id")} {
		switch {
		case candidate == "":
		case name == "":
			name = candidate
		default:
			aliases = append(aliases, candidate)
		}
	}
	answers := ofMember(name, value)
	for i := range answers {
		if len(answers) == 1 {
			answers[i].aliases = aliases
		}
		switch strings.ToLower(text(object, "type")) {
		case "email":
			answers[i].asks = forAddress
		case "phone", "tel":
			answers[i].asks = forPhone
		}
	}
	return answers
}

// ofMembers makes each member of an object an answer, in the order of their names.
func ofMembers(object any) []answer {
	members, _ := object.(map[string]any)
	var answers []answer
	for _, name := range slices.Sorted(maps.Keys(members)) {
		answers = append(answers, ofMember(name, members[name])...)
	}
	return answers
}

// ofMember makes a member an answer; a name in parts is an answer for each.
func ofMember(name string, value any) []answer {
	if parts, ok := value.(map[string]any); ok && (parts["first"] != nil || parts["last"] != nil) {
		return []answer{
			{name: "first_name", value: parts["first"]},
			{name: "last_name", value: parts["last"]},
		}
	}
	return []answer{{name: name, value: value}}
}
