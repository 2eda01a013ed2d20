package connectors

import (
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"time"

	"github.com/go-viper/mapstructure/v2"
)

// Kind is one line of the table in connectors/all: a sort of outside system and how to open a connector to it.
type Kind struct {
	// Name is what config.yaml calls it in `type`.
	Name string

	// Event is true for a system that is told of each accepted change in order (webhook, chat, mail), false
	// for one that holds records and gets the newest state (CRM, list, sheet).
	Event bool

	// Fields are the field rules of a connector that configures none.
	Fields []FieldRule

	// Settings is a zero value of the kind's settings struct: documentation and the nearest known key are
	// read from its `mapstructure` tags.
	Settings any

	open func(settings map[string]any, env Env) (Connector, error)
}

// Env is what a connector gets from the outside besides its own settings.
type Env struct {
	Name   string       // the connector's name in config.yaml: in logs, metrics and errors
	Fields Mapping      // how a lead becomes the vendor's fields
	Log    *slog.Logger // carries ids only, never personal data
}

// Define makes a Kind from a settings struct's defaults and its constructor. open validates the settings,
// reports all problems at once (errors.Join, each beginning with the key: "list_id: required") and does no I/O
// beyond that.
//
// Settings are decoded strictly: an unknown key or a value of the wrong type is an error. Keys are the fields'
// `mapstructure` tags. A time.Duration is written as "30s".
func Define[S any](name string, defaults S, open func(S, Env) (Connector, error)) Kind {
	return Kind{
		Name:     name,
		Settings: defaults,
		open: func(raw map[string]any, env Env) (Connector, error) {
			settings := defaults
			if err := decode(raw, &settings); err != nil {
				return nil, err
			}
			return open(settings, env)
		},
	}
}

// Open validates settings and returns the connector. Errors begin with the key they are about.
func (k Kind) Open(settings map[string]any, env Env) (Connector, error) {
	return k.open(settings, env)
}

func decode(raw map[string]any, into any) error {
	var unused mapstructure.Metadata
	decoder, err := mapstructure.NewDecoder(&mapstructure.DecoderConfig{
		Result:   into,
		Metadata: &unused,
		DecodeHook: mapstructure.ComposeDecodeHookFunc(
			mapstructure.StringToTimeDurationHookFunc(),
		),
	})
	if err != nil {
		return err
	}
	var problems []error
	if err := decoder.Decode(raw); err != nil {
		problems = append(problems, decodeProblems(err)...)
	}
	for _, key := range unused.Unused {
		problems = append(problems, UnknownKey(key, KeysOf(reflect.TypeOf(into).Elem())))
	}
	return errors.Join(problems...)
}

// decodeProblems says which key has which wrong type, without the value: it may be a secret.
func decodeProblems(err error) []error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var all []error
		for _, e := range joined.Unwrap() {
			all = append(all, decodeProblems(e)...)
		}
		return all
	}
	var wrongType *mapstructure.UnconvertibleTypeError
	var named *mapstructure.DecodeError
	if errors.As(err, &named) {
		if errors.As(err, &wrongType) {
			return []error{fmt.Errorf("%s: must be %s", named.Name(), typeName(wrongType.Expected.Type()))}
		}
		return []error{fmt.Errorf("%s: cannot be read as the setting's type", named.Name())}
	}
	if inner := errors.Unwrap(err); inner != nil {
		return decodeProblems(inner)
	}
	return []error{errors.New("cannot be read: a value has the wrong type")}
}

func typeName(t reflect.Type) string {
	switch {
	case t == reflect.TypeFor[time.Duration]():
		return `a duration such as "30s"`
	case t.Kind() == reflect.String:
		return "text"
	case t.Kind() == reflect.Bool:
		return "true or false"
	case t.Kind() >= reflect.Int && t.Kind() <= reflect.Uint64:
		return "a whole number"
	case t.Kind() == reflect.Slice:
		return "a list"
	default:
		return "a mapping"
	}
}

// KeysOf lists the setting names of a struct type, from its mapstructure tags.
func KeysOf(t reflect.Type) []string {
	var keys []string
	for i := range t.NumField() {
		tag, options, _ := strings.Cut(t.Field(i).Tag.Get("mapstructure"), ",")
		if options == "squash" {
			keys = append(keys, KeysOf(t.Field(i).Type)...)
			continue
		}
		if tag != "" && tag != "-" {
			keys = append(keys, tag)
		}
	}
	return keys
}

// UnknownKey is the error for a key that is none of known; it names the nearest of them.
func UnknownKey(key string, known []string) error {
	best, distance := "", 1+len(key)/2
	last := key[strings.LastIndexByte(key, '.')+1:]
	for _, k := range known {
		if d := editDistance(last, k); d < distance {
			best, distance = k, d
		}
	}
	if best == "" {
		return fmt.Errorf("%s: unknown setting (known: %s)", key, strings.Join(known, ", "))
	}
	return fmt.Errorf("%s: unknown setting, did you mean %s?", key, best)
}

// editDistance is the Levenshtein distance of two short names.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		previous := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := previous
			if a[i] != b[j] {
				cost++
			}
			previous = row[j+1]
			row[j+1] = min(cost, previous+1, row[j]+1)
		}
	}
	return row[len(b)]
}
