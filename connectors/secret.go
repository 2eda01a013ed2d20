package connectors

import (
	"fmt"
	"log/slog"
)

const hidden = "<secret>"

// Secret is a string that prints as a placeholder wherever fmt, encoding/json or log/slog meet it. Keep it in
// exported fields: fmt ignores methods of unexported ones.
type Secret string

func (Secret) String() string               { return hidden }
func (Secret) GoString() string             { return hidden }
func (Secret) Format(s fmt.State, _ rune)   { fmt.Fprint(s, hidden) }
func (Secret) MarshalJSON() ([]byte, error) { return []byte(`"` + hidden + `"`), nil }
func (Secret) MarshalText() ([]byte, error) { return []byte(hidden), nil }
func (Secret) LogValue() slog.Value         { return slog.StringValue(hidden) }

// Reveal returns the secret itself, for the one place that sends or compares it.
func (s Secret) Reveal() string { return string(s) }
