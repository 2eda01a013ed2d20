package connectors

import "log/slog"

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
// Settings are decoded by Decode: an unknown key or a value of the wrong type is an error, and a Secret may come
// from a file. Keys are the fields' `mapstructure` tags. A time.Duration is written as "30s".
func Define[S any](name string, defaults S, open func(S, Env) (Connector, error)) Kind {
	return Kind{
		Name:     name,
		Settings: defaults,
		open: func(raw map[string]any, env Env) (Connector, error) {
			settings := defaults
			if err := Decode(raw, &settings); err != nil {
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
