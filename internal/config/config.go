// Package config reads config.yaml and the environment into one checked value. Everything that can fail, to
// building every connector, happens in Load: what it returns is ready to run, and what it refuses it refuses
// with all problems at once, each with its place.
//
// viper lower-cases every key, also inside lists. So names that people choose are values, never keys.
package config

import (
	"errors"
	"io"
	"log/slog"
	"net/netip"
	"time"

	"github.com/leadrelay/leadrelay/connectors"
)

// Config is what the program runs by. config.yaml at the top of the repository explains each setting.
type Config struct {
	Listen          string        `mapstructure:"listen"`
	TLS             TLS           `mapstructure:"tls"`
	DataDir         string        `mapstructure:"data_dir"`
	ShutdownTimeout time.Duration `mapstructure:"shutdown_timeout"`
	Redis           Redis         `mapstructure:"redis"`
	Log             Log           `mapstructure:"log"`
	APIKeys         []APIKey      `mapstructure:"api_keys"`
	Leads           Leads         `mapstructure:"leads"`
	Limits          Limits        `mapstructure:"limits"`
	Worker          Worker        `mapstructure:"worker"`
	Tracing         Tracing       `mapstructure:"tracing"`
	Alerts          Alerts        `mapstructure:"alerts"`
	OIDC            OIDC          `mapstructure:"oidc"`
	TrustedProxies  []string      `mapstructure:"trusted_proxies"` // networks whose X-Forwarded-For is believed; see Proxies

	Proxies []netip.Prefix `mapstructure:"-"` // TrustedProxies

	Operators []Operator `mapstructure:"-"`

	// Forms and Sources are in the order of the file.
	Forms   []Form   `mapstructure:"-"`
	Sources []Source `mapstructure:"-"`

	// Connectors are in the order of the file. They are open; see Close.
	Connectors []Connector `mapstructure:"-"`

	// Path is the file this was read from; "" for the built-in configuration (see DefaultIfMissing).
	Path string `mapstructure:"-"`

	// Revision names what the file held.
	Revision string `mapstructure:"-"`

	// MissingKeys are the API keys that were left out because they had no value; see AllowMissingKeys.
	MissingKeys []MissingKey `mapstructure:"-"`

	// Warnings are worth a line in the log each, such as a LEADRELAY_ variable that is no setting.
	Warnings []string `mapstructure:"-"`
}

// TLS is empty for plain HTTP; otherwise both files are set.
type TLS struct {
	CertFile string `mapstructure:"cert_file"`
	KeyFile  string `mapstructure:"key_file"`
}

// Redis says where the store is. An empty URL means the embedded one; see Options for the others.
type Redis struct {
	URL              connectors.Secret `mapstructure:"url"`
	Cluster          bool              `mapstructure:"cluster"`
	SentinelMaster   string            `mapstructure:"sentinel_master"`   // the hosts of URL are Sentinels
	SentinelPassword connectors.Secret `mapstructure:"sentinel_password"` // of the Sentinels; the one in URL is the Redis servers'
	Engine           string            `mapstructure:"engine"`            // of the embedded one: "", EngineServer or EngineInProcess
}

// Engines of the embedded Redis. "" is the program's choice.
const (
	EngineServer    = "redis-server"
	EngineInProcess = "in-process"
)

// Log says what is logged and how.
type Log struct {
	Level  string `mapstructure:"level"`  // debug, info, warn or error
	Format string `mapstructure:"format"` // text or json
}

// New returns a logger that writes to w.
func (l Log) New(w io.Writer) *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(l.Level)); err != nil {
		level = slog.LevelInfo
	}
	options := &slog.HandlerOptions{Level: level}
	if l.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}

// APIKey lets a caller in. Names and keys are unique; a key has at least 16 characters.
type APIKey struct {
	Name  string            `mapstructure:"name"`
	Key   connectors.Secret `mapstructure:"key"`
	Scope string            `mapstructure:"scope"` // ScopeFull or ScopeCreate
}

// Scopes of an APIKey.
const (
	ScopeFull   = "full"   // everything the leads API offers
	ScopeCreate = "create" // creating leads and nothing else: for keys that end up in a browser or a form
)

// MissingKey is an API key without a value.
type MissingKey struct {
	Name     string
	Scope    string
	Variable string // the one that is not set
}

// Operator may sign in to the console. Names are unique.
type Operator struct {
	Name         string            `mapstructure:"name"`
	PasswordHash connectors.Secret `mapstructure:"password_hash"` // argon2id in the PHC format, or bcrypt
}

// Leads says how leads are told apart.
type Leads struct {
	Dedupe string `mapstructure:"dedupe"` // "" or DedupeEmail
}

// DedupeEmail makes a create with a known address an update of that lead.
const DedupeEmail = "email"

// Limits protect the front end.
type Limits struct {
	BodyBytes          int     `mapstructure:"body_bytes"`          // at least 1024
	RequestsPerSecond  float64 `mapstructure:"requests_per_second"` // of one API key, in one process; 0: unlimited
	Burst              int     `mapstructure:"burst"`               // at once under RequestsPerSecond; 0: as many as a second's
	ConcurrentRequests int     `mapstructure:"concurrent_requests"` // at least 1
}

// Worker is about `leadrelay worker`.
type Worker struct {
	Listen string `mapstructure:"listen"` // metrics and health of a worker process; "" for none
}

// Tracing is about OpenTelemetry traces. Without an Endpoint there are none.
type Tracing struct {
	Endpoint string            `mapstructure:"endpoint"` // of an OTLP/HTTP collector
	Headers  connectors.Secret `mapstructure:"headers"`  // name=value, by commas; see Tracing.Header
	Sample   float64           `mapstructure:"sample"`   // the share of changes that are traced, 0 to 1
}

// Connector is one configured connector, ready to be pushed to.
type Connector struct {
	Name  string // unique; [a-z0-9][a-z0-9_-]{0,40}
	Type  string // its Kind's name
	Event bool   // as its Kind says

	// Connector is open. It is nil where Load was told SkipConnectors.
	Connector connectors.Connector

	Filter      connectors.Filter  // which leads it is given
	Fields      connectors.Mapping // what it is given of them
	Concurrency int                // pushes in flight in one worker process; at least 1
	Retry       Retry
	Breaker     Breaker

	// Fingerprint is the same where a connector of another Load would be no other: of its entry and of the files that it
	// names. It tells nothing of them. It is empty where Load was told SkipConnectors.
	Fingerprint string

	// Written is Fingerprint by what the file says, whether or not it was asked what the environment has for that.
	Written string

	// Limits are what the connector itself says (connectors.Limited), with the configured ones in their place.
	Limits connectors.Limits
}

// Retry is how a failing push is repeated. 0 < Initial <= Max <= Horizon.
type Retry struct {
	Initial time.Duration `mapstructure:"initial" help:"the first delay before a push that failed is repeated"`
	Max     time.Duration `mapstructure:"max" help:"delays grow to this"`
	Horizon time.Duration `mapstructure:"horizon" help:"after this long a lead is parked; it stays visible, and can be pushed again"`
}

// Breaker is when a connector is held, and how it is tried again. 0 < Probe <= ProbeMax.
type Breaker struct {
	Failures int           `mapstructure:"failures" help:"after so many in a row nothing is sent but one lead from time to time; at least 1"`
	Probe    time.Duration `mapstructure:"probe" help:"until the first of these"`
	ProbeMax time.Duration `mapstructure:"probe_max" help:"until the next ones, at most"`
}

// String is the connector's name: what is inside may hold secrets, in fields fmt prints as they are.
func (c Connector) String() string   { return c.Name }
func (c Connector) GoString() string { return c.Name }

// MarshalText is String, for encoding/json and log/slog.
func (c Connector) MarshalText() ([]byte, error) { return []byte(c.Name), nil }

// Adopt takes over the open connectors of a former configuration that are the same, in the place of its own. What only
// the former has is left to whoever uses it.
func (c *Config) Adopt(former *Config) {
	same := map[string]connectors.Connector{}
	for _, old := range former.Connectors {
		same[old.Name+" "+old.Fingerprint] = old.Connector
	}
	for i := range c.Connectors {
		mine := &c.Connectors[i]
		theirs := same[mine.Name+" "+mine.Fingerprint]
		if mine.Fingerprint == "" || theirs == nil {
			continue
		}
		if closer, ok := mine.Connector.(io.Closer); ok {
			closer.Close() // nobody has used it
		}
		mine.Connector = theirs
	}
}

// CloseSources closes what the sources hold open and do not use in this moment.
func (c *Config) CloseSources() {
	for _, source := range c.Sources {
		source.Source.Close()
	}
}

// Close closes the connectors and the sources.
func (c *Config) Close() error {
	var problems []error
	for _, connector := range c.Connectors {
		if closer, ok := connector.Connector.(io.Closer); ok {
			problems = append(problems, closer.Close())
		}
	}
	c.CloseSources()
	c.CloseAlerts()
	return errors.Join(problems...)
}
