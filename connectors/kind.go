package connectors

import (
	"errors"
	"io"
	"log/slog"
	"reflect"
)

// Kind is one line of the table in connectors/all: a sort of outside system and how to open a connector to it.
type Kind struct {
	// Name is what config.yaml calls it in `type`.
	Name string

	Title string // what people call it: "HubSpot contacts"
	Docs  string // the vendor's page about the API

	// Event is true for a system that is told of each accepted change in order (webhook, chat, mail), false
	// for one that holds records and gets the newest state (CRM, list, sheet).
	Event bool

	// Fields are the field rules of a connector that configures none.
	Fields []FieldRule

	// Settings is the kind's settings struct with its defaults: documentation and the nearest known key are read
	// from its tags, mapstructure, help, required and oneof.
	Settings any

	Limits   Limits // the vendor's, where they do not follow from the settings
	MaxBatch int    // the most leads in one call; 0 or 1: one

	// Resolve is set for a kind that is read when it is used, or whose settings say what it is. It returns that kind, and
	// the settings that are its own.
	Resolve func(settings map[string]any) (Kind, map[string]any, error)

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
// Settings are decoded by Decode: an unknown key or a value of the wrong type is an error, and a Secret may come
// from a file. Keys are the fields' `mapstructure` tags. A time.Duration is written as "30s".
func Define[S any](name string, defaults S, open func(S, Env) (Connector, error)) Kind {
	return Kind{
		Name:     name,
		Settings: defaults,
		open: func(raw map[string]any, env Env) (Connector, error) {
			settings := defaults
			faulty, err := decode(raw, &settings)
			connector, refusal := open(settings, env)
			return opened(connector, faulty, err, refusal)
		},
	}
}

// DefineDynamic makes a Kind whose settings struct is known when the program runs: k.Settings, with its defaults. open
// gets a value of that type; else it is as in Define.
func DefineDynamic(k Kind, open func(settings reflect.Value, env Env) (Connector, error)) Kind {
	k.open = func(raw map[string]any, env Env) (Connector, error) {
		settings := reflect.New(reflect.TypeOf(k.Settings))
		settings.Elem().Set(reflect.ValueOf(k.Settings))
		faulty, err := decode(raw, settings.Interface())
		connector, refusal := open(settings.Elem(), env)
		return opened(connector, faulty, err, refusal)
	}
	return k
}

// OpenWith decodes raw over defaults and opens what the settings are of, for what is configured as a kind is and is none.
// It reports all problems at once, each beginning with its key, as open does.
func OpenWith[S, T any](raw map[string]any, defaults S, open func(S) (T, error)) (T, error) {
	faulty, err := decode(raw, &defaults)
	result, refusal := open(defaults)
	if err != nil {
		var none T
		return none, errors.Join(err, apartFrom(faulty, refusal))
	}
	return result, refusal
}

// opened is what open made of settings that decode found faulty, or not.
func opened(connector Connector, faulty map[string]bool, err, refusal error) (Connector, error) {
	if err == nil {
		return connector, refusal
	}
	if closer, ok := connector.(io.Closer); ok && refusal == nil {
		closer.Close()
	}
	return nil, errors.Join(err, apartFrom(faulty, refusal))
}

// Open validates settings and returns the connector. Errors begin with the key they are about.
func (k Kind) Open(settings map[string]any, env Env) (Connector, error) {
	return k.open(settings, env)
}

// apartFrom leaves out of the problems that err joins those that come of a faulty setting.
func apartFrom(faulty map[string]bool, err error) error {
	var rest []error
	for _, problem := range Problems(err) {
		if !faulty[setting(problem.Error())] {
			rest = append(rest, problem)
		}
	}
	return errors.Join(rest...)
}

// Problems lists the errors that err joins.
func Problems(err error) []error {
	if err == nil {
		return nil
	}
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return []error{err}
	}
	var all []error
	for _, one := range joined.Unwrap() {
		all = append(all, Problems(one)...)
	}
	return all
}
