package config

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/leadrelay/leadrelay/connectors"
)

// Option changes what Load asks for.
type Option func(*loader)

// DefaultIfMissing makes Load use a built-in configuration when there is no file at the path: one API key from
// LEADRELAY_API_KEY, and a csv connector that writes leads.csv in the data directory.
func DefaultIfMissing() Option { return func(l *loader) { l.defaultIfMissing = true } }

// AllowMissingKeys makes an API key whose ${NAME} is not set no error: the key is left out and is one of
// Config.MissingKeys.
func AllowMissingKeys() Option { return func(l *loader) { l.allowMissingKeys = true } }

// SkipFrontEnd leaves Config.APIKeys, Config.Operators, Config.OIDC, Config.Forms, Config.TLS and sources whose deliveries hold the whole lead
// out and what they name unread: for a process that only pushes.
func SkipFrontEnd() Option { return func(l *loader) { l.skipFrontEnd = true } }

// SkipConnectors lists the connectors without opening them, their settings and secrets unread: for a process
// that only accepts leads, or an operator's command.
func SkipConnectors() Option { return func(l *loader) { l.skipConnectors = true } }

// SkipSources leaves Config.Sources empty and what they name unread: for an operator's command.
func SkipSources() Option { return func(l *loader) { l.skipSources = true } }

// SkipAlerts lists the destinations of alerts without opening them, their settings and secrets unread: for a process that
// tells nobody.
func SkipAlerts() Option { return func(l *loader) { l.skipAlerts = true } }

// LogTo gives the connectors their logger, which may depend on what the file says of logging. Without it they
// log nothing.
func LogTo(build func(Log) *slog.Logger) Option { return func(l *loader) { l.log = build } }

// Invalid is everything wrong with a configuration.
type Invalid struct {
	Path     string   // the file; "" for the built-in configuration
	Problems []string // one line each: `connectors[2] "newsletter": settings.list_id: required`
	Warnings []string // as Config.Warnings
}

func (e *Invalid) Error() string {
	path := e.Path
	if path == "" {
		path = "built-in configuration"
	}
	if len(e.Problems) == 1 {
		return path + ": " + e.Problems[0]
	}
	return fmt.Sprintf("%s: %d problems\n  %s", path, len(e.Problems), strings.Join(e.Problems, "\n  "))
}

// Load reads the file at path and the environment, checks everything and opens the connectors. On error there
// is nothing to close; an *Invalid holds all problems, and no secret.
//
// It keeps no state and changes none: it may be called again, and by several goroutines. Paths in the file are
// relative to the working directory.
func Load(path string, kinds []connectors.Kind, options ...Option) (*Config, error) {
	l := newLoader(kinds, options)
	text, err := read(path)
	switch missing := errors.Is(err, fs.ErrNotExist); {
	case missing && l.defaultIfMissing:
		path = ""
	case missing:
		return nil, fmt.Errorf("%s: no such file; copy the commented config.yaml from the leadrelay repository and "+
			"edit it, or name another file with --config (`leadrelay up` also runs without one)", path)
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("%s: permission denied; let the user that leadrelay runs as read it", path)
	case err != nil:
		var reason *fs.PathError
		if errors.As(err, &reason) {
			err = reason.Err
		}
		return nil, fmt.Errorf("%s: %w; name a configuration file with --config", path, err)
	}
	return l.config(path, text)
}

// LoadText is Load for a text that the file at path does not hold yet: what it refuses would be refused there.
func LoadText(text []byte, path string, kinds []connectors.Kind, options ...Option) (*Config, error) {
	return newLoader(kinds, options).config(path, text)
}

func newLoader(kinds []connectors.Kind, options []Option) *loader {
	l := &loader{
		kinds:       kinds,
		environment: environment(),
		used:        map[string]bool{},
		faulty:      map[string]bool{},
		log:         func(Log) *slog.Logger { return slog.New(slog.DiscardHandler) },
	}
	for _, option := range options {
		option(l)
	}
	return l
}

// config is load's, or an *Invalid with its problems.
func (l *loader) config(path string, text []byte) (*Config, error) {
	config := l.load(path, text)
	if l.problems != nil {
		config.Close()
		return nil, &Invalid{Path: path, Problems: l.problems, Warnings: config.Warnings}
	}
	return config, nil
}

// maxFile is far more than any configuration takes, and keeps a wrong path (/dev/zero) harmless.
const maxFile = 16 << 20

func read(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	if err == nil && len(text) > maxFile {
		err = errors.New("too large for a configuration")
	}
	return text, err
}

// loader is one Load.
type loader struct {
	defaultIfMissing bool
	allowMissingKeys bool
	skipFrontEnd     bool
	skipConnectors   bool
	skipSources      bool
	skipAlerts       bool
	log              func(Log) *slog.Logger

	kinds       []connectors.Kind
	environment map[string]string // without the empty variables
	used        map[string]bool   // variables that are settings or stand in ${…}
	fromEnv     map[string]string // settings that came from a variable, and its name
	faulty      map[string]bool   // places that have a problem: what follows from it is not said as well
	problems    []string
}

func defaults() Config {
	return Config{
		Listen:          "127.0.0.1:8080",
		DataDir:         "data",
		ShutdownTimeout: 25 * time.Second,
		Log:             Log{Level: "info", Format: "text"},
		Tracing:         Tracing{Sample: 1},
		Limits:          Limits{BodyBytes: 64 << 10, ConcurrentRequests: 1024},
		Alerts:          Alerts{After: time.Minute, Oldest: 15 * time.Minute, Remind: 24 * time.Hour},
	}
}

// revision is a name for a file's text that tells nothing of it.
func revision(text []byte) string {
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:6])
}

// namedLists are the lists whose entries have names of their own.
var namedLists = []string{"api_keys", "operators", "forms", "sources", "connectors", "alerts.to"}

// take takes a list out of a document.
func take(document map[string]any, key string) any {
	if section, below, inside := strings.Cut(key, "."); inside {
		document, _ = document[section].(map[string]any)
		key = below
	}
	list := document[key]
	delete(document, key)
	return list
}

// load returns what it could read of text, or of the built-in configuration where path is "".
func (l *loader) load(path string, text []byte) *Config {
	// The keys of the lists stay known, so that a slip of theirs is named, too.
	var top struct {
		Config     `mapstructure:",squash"`
		Connectors any `mapstructure:"connectors"`
		Operators  any `mapstructure:"operators"`
		Forms      any `mapstructure:"forms"`
		Sources    any `mapstructure:"sources"`
	}
	top.Config = defaults()
	config := &top.Config
	config.Path, config.Revision = path, revision(text)

	document := l.parse(text)
	if document == nil {
		return config
	}
	if path == "" {
		builtIn(document, config.DataDir)
	}
	l.note(document)
	lists := map[string]any{}
	for _, key := range namedLists {
		lists[key] = take(document, key)
	}
	if l.skipFrontEnd {
		delete(document, "tls")
		delete(document, "oidc")
	}
	document, _ = l.expand("", "", document).(map[string]any)
	l.decode("", document, &top)
	l.check(config)
	config.Proxies = l.proxies(config)
	if !l.skipFrontEnd {
		l.keys(lists["api_keys"], config)
		l.operators(lists["operators"], config)
		l.oidc(config)
		l.forms(lists["forms"], config)
	}
	if !l.skipSources {
		l.sources(lists["sources"], config)
	}
	l.connectors(lists["connectors"], config)
	l.destinations(lists["alerts.to"], config)
	config.Warnings = append(config.Warnings, l.strays()...)
	return config
}

// builtIn adds what a newcomer without a file gets.
func builtIn(document map[string]any, dataDir string) {
	if given, ok := document["data_dir"].(connectors.FromEnv); ok {
		dataDir = string(given)
	}
	document["api_keys"] = []any{map[string]any{"name": "default", "key": "${LEADRELAY_API_KEY}"}}
	document["forms"] = []any{map[string]any{"name": "contact", "honeypot": "company_url"}}
	document["connectors"] = []any{map[string]any{
		"name": "sheet", "type": "csv",
		"settings": map[string]any{"path": filepath.Join(dataDir, "leads.csv")},
	}}
}

// decode reads raw into the struct that into points to. A key it cannot read is faulty.
func (l *loader) decode(place string, raw map[string]any, into any) {
	err := connectors.Decode(raw, into)
	l.report(place, err)
	for _, problem := range connectors.Problems(err) {
		key, _, _ := strings.Cut(problem.Error(), ": ")
		l.faulty[place+key] = true
	}
}

// report adds the problems that err joins, each below place.
func (l *loader) report(place string, err error) {
	for _, problem := range connectors.Problems(err) {
		text := strings.Join(strings.Fields(problem.Error()), " ")
		key, _, _ := strings.Cut(text, ": ")
		if l.faulty[place+key] {
			continue
		}
		if variable := l.fromEnv[key]; variable != "" && place == "" {
			text += " (" + variable + ")"
		}
		l.problems = append(l.problems, place+text)
	}
}

// problem is report for one text.
func (l *loader) problem(place, format string, args ...any) {
	l.report(place, fmt.Errorf(format, args...))
}
