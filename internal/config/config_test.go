package config_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/leadrelay/leadrelay/connectors"
	"github.com/leadrelay/leadrelay/internal/config"
	"github.com/leadrelay/leadrelay/internal/lead"
)

type sheetSettings struct {
	Path string `mapstructure:"path"`
	Size int    `mapstructure:"size"`
}

type vaultSettings struct {
	Token   connectors.Secret `mapstructure:"token"`
	Timeout time.Duration     `mapstructure:"timeout"`
	Headers map[string]string `mapstructure:"headers"`
	Keys    []vaultKey        `mapstructure:"keys"`
}

type vaultKey struct {
	Token connectors.Secret `mapstructure:"token"`
}

// fake is a connector that shows what it was opened with.
type fake struct {
	Settings any
	Env      connectors.Env
	onClose  func()
}

func (*fake) Push(context.Context, lead.Change, string) (string, error) { return "", nil }

func (f *fake) Close() error {
	f.onClose()
	return nil
}

func (f *fake) Limits() connectors.Limits {
	return connectors.Limits{Scope: "account", Concurrency: 10, Rates: []connectors.Rate{
		{Most: 100, Per: 10 * time.Second}, {Most: 30000, Per: 24 * time.Hour, ByCost: true}, {Most: 250000, Per: 24 * time.Hour},
	}}
}

// kinds are two of them; opened counts the connectors that are not closed again.
func kinds(opened *int) []connectors.Kind {
	open := func(settings any, env connectors.Env) (connectors.Connector, error) {
		*opened++
		return &fake{settings, env, func() { *opened-- }}, nil
	}
	sheet := connectors.Define("sheet", sheetSettings{Size: 1}, func(s sheetSettings, env connectors.Env) (connectors.Connector, error) {
		if s.Path == "" {
			return nil, errors.New("path: required")
		}
		return open(s, env)
	})
	sheet.Fields = []connectors.FieldRule{{To: "name", From: "name"}}
	vault := connectors.Define("vault", vaultSettings{Timeout: time.Second}, func(s vaultSettings, env connectors.Env) (connectors.Connector, error) {
		if s.Token == "" {
			return nil, errors.Join(errors.New("token: required"))
		}
		return open(s, env)
	})
	vault.Event = true
	return []connectors.Kind{sheet, vault}
}

// environ clears what a developer's shell may hold and sets what the test files name.
func environ(t *testing.T, pairs ...string) {
	t.Helper()
	for _, pair := range os.Environ() {
		if name, _, _ := strings.Cut(pair, "="); strings.HasPrefix(name, "LEADRELAY_") {
			t.Setenv(name, "")
		}
	}
	t.Setenv("WORD", "word")
	t.Setenv("NUMBER", "42")
	t.Setenv("EMPTY", "")
	for _, pair := range pairs {
		name, value, _ := strings.Cut(pair, "=")
		t.Setenv(name, value)
	}
}

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func load(t *testing.T, path string, options ...config.Option) *config.Config {
	t.Helper()
	c, err := config.Load(path, kinds(new(int)), options...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func problems(t *testing.T, path string, options ...config.Option) []string {
	t.Helper()
	opened := 0
	c, err := config.Load(path, kinds(&opened), options...)
	var invalid *config.Invalid
	if c != nil || !errors.As(err, &invalid) {
		t.Fatalf("got %v and %v, want nil and an *Invalid", c, err)
	}
	if opened != 0 {
		t.Errorf("%d connectors were left open", opened)
	}
	return invalid.Problems
}

func equal(t *testing.T, what string, got, want any) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s:\n got %#v\nwant %#v", what, got, want)
	}
}

// Each bad file says in its first lines, all of them and in their order, what is wrong with it. What must not
// be repeated is called hush.
func TestP8BadFilesSayWhatIsWrongAndWhere(t *testing.T) {
	environ(t)
	files, _ := filepath.Glob("testdata/bad-*.yaml")
	if len(files) == 0 {
		t.Fatal("no files")
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var want []string
			for line := range strings.Lines(string(text)) {
				if problem, ok := strings.CutPrefix(line, "# want: "); ok {
					want = append(want, strings.TrimSuffix(problem, "\n"))
				}
			}
			got := problems(t, file)
			if !slices.Equal(got, want) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
			if strings.Contains(strings.Join(got, "\n"), "hush") {
				t.Error("the error repeats a value")
			}
		})
	}
}

func TestErrorNamesTheFile(t *testing.T) {
	environ(t)
	for text, want := range map[string]string{
		"listen: x": ": listen: must be host:port, such as 127.0.0.1:8080",
		"listen: x\ndata_dir: ''": ": 2 problems\n" +
			"  listen: must be host:port, such as 127.0.0.1:8080\n" +
			"  data_dir: required",
	} {
		path := write(t, text)
		if _, err := config.Load(path, nil); err == nil || err.Error() != path+want {
			t.Errorf("got %v\nwant %s%s", err, path, want)
		}
	}
}

func TestFileThatCannotBeRead(t *testing.T) {
	_, err := config.Load("testdata/none.yaml", nil)
	if err == nil || !strings.HasPrefix(err.Error(), "testdata/none.yaml: no such file; copy ") {
		t.Errorf("got %v", err)
	}
	_, err = config.Load("testdata", nil, config.DefaultIfMissing())
	if err == nil || err.Error() != "testdata: is a directory; name a configuration file with --config" {
		t.Errorf("got %v", err)
	}
}

// A wrong path must not take the machine's memory.
func TestFileThatIsNoConfigurationForItsSize(t *testing.T) {
	environ(t)
	path := write(t, strings.Repeat("#\n", 8<<20)+"listen: 127.0.0.1:1\n")
	if _, err := config.Load(path, nil); err == nil || err.Error() != path+": too large for a configuration; name a configuration file with --config" {
		t.Errorf("got %v", err)
	}
}

func TestFileOfAnEditorOnWindows(t *testing.T) {
	environ(t)
	c := load(t, write(t, "\ufefflisten: 127.0.0.1:9\r\nconnectors:\r\n  - name: a\r\n    type: sheet\r\n    settings: {path: Leads.csv}\r\n"))
	equal(t, "listen", c.Listen, "127.0.0.1:9")
	equal(t, "settings", c.Connectors[0].Connector.(*fake).Settings, sheetSettings{"Leads.csv", 1})
}

func TestAnchorsAndMergeKeysAreYAMLs(t *testing.T) {
	environ(t)
	c := load(t, write(t, `
connectors:
  - name: a
    type: sheet
    settings: {path: a}
    retry: &patient {initial: 2s, max: 1m, horizon: 24h}
  - {name: b, type: sheet, settings: {path: b}, retry: *patient}
  - {name: c, type: sheet, settings: {path: c}, retry: {<<: *patient, initial: 5s}}
`))
	equal(t, "retry", []config.Retry{c.Connectors[1].Retry, c.Connectors[2].Retry}, []config.Retry{
		{Initial: 2 * time.Second, Max: time.Minute, Horizon: 24 * time.Hour},
		{Initial: 5 * time.Second, Max: time.Minute, Horizon: 24 * time.Hour},
	})
}

func TestEmptyFileIsTheDefaults(t *testing.T) {
	environ(t)
	for _, file := range []string{"testdata/good-empty.yaml", "testdata/good-comment.yaml", "testdata/good-null.yaml"} {
		c := load(t, file)
		c.Revision = ""
		equal(t, file, c, &config.Config{
			Path:            file,
			Listen:          "127.0.0.1:8080",
			DataDir:         "data",
			ShutdownTimeout: 25 * time.Second,
			Log:             config.Log{Level: "info", Format: "text"},
			Tracing:         config.Tracing{Sample: 1},
			Limits:          config.Limits{BodyBytes: 65536, ConcurrentRequests: 1024},
			Alerts:          config.Alerts{After: time.Minute, Oldest: 15 * time.Minute, Remind: 24 * time.Hour},
			Warnings: []string{
				"api_keys: none, so nobody can send leads",
				"connectors: none, so leads are stored and go nowhere",
			},
		})
	}
}

func TestFullFile(t *testing.T) {
	environ(t)
	c := load(t, "testdata/good-full.yaml")
	entries := c.Connectors
	c.Connectors, c.Revision = nil, ""
	var told []string
	for _, d := range c.Alerts.To {
		told = append(told, d.Name+" "+d.Type)
	}
	equal(t, "alerts", told, []string{"chat slack", "pager webhook", "mail smtp"})
	c.Alerts.To = nil
	equal(t, "config", c, &config.Config{
		Path:            "testdata/good-full.yaml",
		Listen:          "0.0.0.0:80",
		DataDir:         "/var/lib/leadrelay",
		ShutdownTimeout: 90 * time.Second,
		Redis: config.Redis{
			URL:              "redis://user:p,w@one:6379,two:6380/2?pool_size=7",
			SentinelMaster:   "main",
			SentinelPassword: "word",
		},
		Log:     config.Log{Level: "debug", Format: "json"},
		Tracing: config.Tracing{Sample: 1},
		APIKeys: []config.APIKey{
			{Name: "Backend", Key: "key-word-word-${WORD}", Scope: config.ScopeFull},
			{Name: "form", Key: "a-key-from-a-file", Scope: config.ScopeCreate},
		},
		Leads:  config.Leads{Dedupe: config.DedupeEmail},
		Limits: config.Limits{BodyBytes: 2048, RequestsPerSecond: 1, Burst: 3, ConcurrentRequests: 99},
		Worker: config.Worker{Listen: ":8081"},
		Alerts: config.Alerts{After: 30 * time.Second, Remind: time.Hour, ConsoleURL: "https://leads.example.com/console"},
	})
	if len(entries) != 2 {
		t.Fatalf("got %d connectors, want 2", len(entries))
	}

	sheet := entries[0]
	opened := sheet.Connector.(*fake)
	equal(t, "settings", opened.Settings, sheetSettings{Path: "Leads.csv", Size: 42})
	fields, err := opened.Env.Fields.Apply(lead.Lead{Name: "Ada Lovelace", Note: "hi"})
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "fields", fields, []connectors.Field{
		{To: "FNAME", Value: "Ada"}, {To: "Note", Value: "hi $ $5"}, {To: "List", Value: []any{"word", 2, true}},
	})
	for source, want := range map[string]bool{"website": true, "fair": false} {
		if got, err := sheet.Filter.Match(lead.Lead{Source: source}); got != want || err != nil {
			t.Errorf("source %s: got %v, %v", source, got, err)
		}
	}
	sheet.Connector, sheet.Filter, sheet.Fingerprint, sheet.Written, sheet.Fields = nil, connectors.Filter{}, "", "", connectors.Mapping{}
	equal(t, "connector", sheet, config.Connector{
		Name: "sheet", Type: "sheet", Concurrency: 4,
		Retry:   config.Retry{Initial: 2 * time.Second, Max: time.Minute, Horizon: 24 * time.Hour},
		Breaker: config.Breaker{Failures: 9, Probe: 3 * time.Second, ProbeMax: 30 * time.Second},
		Limits: connectors.Limits{Scope: "account", Concurrency: 2, Rates: []connectors.Rate{
			{Most: 30000, Per: 24 * time.Hour, ByCost: true}, {Most: 10, Per: time.Second},
		}},
	})

	safe := entries[1]
	opened = safe.Connector.(*fake)
	equal(t, "name", opened.Env.Name, "safe")
	equal(t, "settings", opened.Settings, vaultSettings{
		Token:   "from-a-file",
		Timeout: 5 * time.Second,
		Headers: map[string]string{"x-upper": "Value"}, // viper
		Keys:    []vaultKey{{"one"}, {"from-a-file"}},
	})
	safe.Connector, safe.Fingerprint, safe.Written, safe.Fields = nil, "", "", connectors.Mapping{}
	equal(t, "connector", safe, config.Connector{
		Name: "safe", Type: "vault", Event: true, Concurrency: 16,
		Retry:   config.Retry{Initial: time.Second, Max: 15 * time.Minute, Horizon: 72 * time.Hour},
		Breaker: config.Breaker{Failures: 5, Probe: 5 * time.Second, ProbeMax: 5 * time.Minute},
		Limits: connectors.Limits{Scope: "account", Concurrency: 10, Rates: []connectors.Rate{
			{Most: 100, Per: 10 * time.Second}, {Most: 30000, Per: 24 * time.Hour, ByCost: true}, {Most: 250000, Per: 24 * time.Hour},
		}},
	})
}

func TestKindsFieldsAreTheDefault(t *testing.T) {
	environ(t)
	c := load(t, write(t, `connectors: [{name: a, type: sheet, settings: {path: a}}]`))
	equal(t, "fields", c.Connectors[0].Connector.(*fake).Env.Fields.Names(), []string{"name"})
}

func TestEverySettingCanComeFromTheEnvironment(t *testing.T) {
	environ(t,
		"LEADRELAY_LISTEN=127.0.0.1:9",
		"LEADRELAY_DATA_DIR=elsewhere",
		"LEADRELAY_SHUTDOWN_TIMEOUT=9s",
		"LEADRELAY_REDIS_URL=redis://one,two",
		"LEADRELAY_REDIS_CLUSTER=true",
		"LEADRELAY_REDIS_SENTINEL_PASSWORD_FILE=testdata/secret.txt",
		"LEADRELAY_LOG_LEVEL=warn",
		"LEADRELAY_LOG_FORMAT=json",
		"LEADRELAY_LEADS_DEDUPE=email",
		"LEADRELAY_LIMITS_BODY_BYTES=4096",
		"LEADRELAY_LIMITS_REQUESTS_PER_SECOND=0.5",
		"LEADRELAY_LIMITS_BURST=7",
		"LEADRELAY_LIMITS_CONCURRENT_REQUESTS=8",
		"LEADRELAY_WORKER_LISTEN=127.0.0.1:10",
		"LEADRELAY_TRACING_ENDPOINT=http://127.0.0.1:4318",
		"LEADRELAY_TRACING_HEADERS=authorization=Bearer abc",
		"LEADRELAY_TRACING_SAMPLE=0.25",
		"LEADRELAY_ALERTS_AFTER=2m",
		"LEADRELAY_ALERTS_OLDEST=1h",
		"LEADRELAY_ALERTS_REMIND=0s",
		"LEADRELAY_ALERTS_CONSOLE_URL=https://leads.example.com/console",
	)
	for name, text := range map[string]string{
		"nothing in the file":    "",
		"something in the file":  "{listen: '127.0.0.1:1', redis: {url_file: none, cluster: false}, limits: {burst: 1}}",
		"empty maps in the file": "{redis: {}, limits: , log: {level: }}",
	} {
		c := load(t, write(t, text))
		c.Path, c.Warnings, c.Revision = "", nil, ""
		equal(t, name, c, &config.Config{
			Listen:          "127.0.0.1:9",
			DataDir:         "elsewhere",
			ShutdownTimeout: 9 * time.Second,
			Redis:           config.Redis{URL: "redis://one,two", Cluster: true, SentinelPassword: "from-a-file"},
			Log:             config.Log{Level: "warn", Format: "json"},
			Leads:           config.Leads{Dedupe: "email"},
			Limits:          config.Limits{BodyBytes: 4096, RequestsPerSecond: 0.5, Burst: 7, ConcurrentRequests: 8},
			Worker:          config.Worker{Listen: "127.0.0.1:10"},
			Tracing:         config.Tracing{Endpoint: "http://127.0.0.1:4318", Headers: "authorization=Bearer abc", Sample: 0.25},
			Alerts:          config.Alerts{After: 2 * time.Minute, Oldest: time.Hour, ConsoleURL: "https://leads.example.com/console"},
		})
	}
}

func TestWrongTracingIsNamedWithoutWhatIsSecret(t *testing.T) {
	equal(t, "problems", problems(t, write(t, "tracing: {endpoint: 'https://user:secret@otlp.example.com', headers: 'secret', sample: 2}")), []string{
		"tracing.endpoint: must hold no user or password; set tracing.headers",
		"tracing.headers: must be name=value, several by commas, such as authorization=Bearer abc",
		"tracing.sample: must be 0 to 1",
	})
	c := load(t, write(t, "tracing: {endpoint: 'http://otlp:4318', headers: ' a = b=c , Authorization=Bearer x'}"))
	equal(t, "headers", c.Tracing.Header(), map[string]string{"A": "b=c", "Authorization": "Bearer x"})
}

func TestVariableWinsOverTheFilesOtherForm(t *testing.T) {
	environ(t, "LEADRELAY_REDIS_SENTINEL_PASSWORD_FILE=testdata/secret.txt")
	c := load(t, write(t, "redis: {sentinel_password: old}"))
	equal(t, "password", c.Redis.SentinelPassword.Reveal(), "from-a-file")

	t.Setenv("LEADRELAY_REDIS_SENTINEL_PASSWORD", "both")
	equal(t, "problems", problems(t, write(t, "")), []string{
		"redis.sentinel_password: give it or sentinel_password_file, not both (LEADRELAY_REDIS_SENTINEL_PASSWORD)",
	})
}

func TestVariableOfTheWrongTypeIsNamed(t *testing.T) {
	environ(t,
		"LEADRELAY_LIMITS_BODY_BYTES=64KB",
		"LEADRELAY_LIMITS_REQUESTS_PER_SECOND=Inf",
		"LEADRELAY_REDIS_CLUSTER=maybe",
		"LEADRELAY_SHUTDOWN_TIMEOUT=30",
		"LEADRELAY_LISTEN=8080",
	)
	equal(t, "problems", problems(t, write(t, "")), []string{
		"limits.body_bytes: must be a whole number (LEADRELAY_LIMITS_BODY_BYTES)",
		"limits.requests_per_second: must be a number (LEADRELAY_LIMITS_REQUESTS_PER_SECOND)",
		"redis.cluster: must be true or false (LEADRELAY_REDIS_CLUSTER)",
		`shutdown_timeout: must be a duration such as "30s" (LEADRELAY_SHUTDOWN_TIMEOUT)`,
		"listen: must be host:port, such as 127.0.0.1:8080 (LEADRELAY_LISTEN)",
	})
}

func TestVariableDoesNotHideASectionThatIsNone(t *testing.T) {
	environ(t, "LEADRELAY_REDIS_URL=redis://localhost")
	equal(t, "problems", problems(t, write(t, "redis: redis://localhost")), []string{"redis: must be a mapping"})
}

func TestWarnsOfVariablesThatChangeNothing(t *testing.T) {
	environ(t,
		"LEADRELAY_LISTN=x",
		"LEADRELAY_limits_brust=1",
		"LEADRELAY_PASSWORD_OF_SOMETHING_ELSE=x",
		"LEADRELAY_KEY=x", "LEADRELAY_API_KEYS=x", "LEADRELAY_CONNECTORS_0_NAME=x",
		"LEADRELAY_API_KEY=0123456789abcdef",
		"LEADRELAY_IN_SETTINGS=x",
		// a Kubernetes Service
		"LEADRELAY_SERVICE_HOST=10.0.0.1", "LEADRELAY_SERVICE_PORT_HTTP=80", "LEADRELAY_PORT=tcp://10.0.0.1:80",
		"LEADRELAY_PORT_80_TCP_ADDR=10.0.0.1", "LEADRELAY_REDIS_PORT=tcp://10.0.0.1:6379",
	)
	c := load(t, write(t, `
api_keys: [{name: a, key: "${LEADRELAY_API_KEY}"}]
connectors: [{name: a, type: sheet, settings: {path: "${LEADRELAY_IN_SETTINGS}"}}]
`), config.SkipConnectors(), config.SkipFrontEnd())
	equal(t, "warnings", c.Warnings, []string{
		"LEADRELAY_API_KEYS: not a setting: api_keys are set in the file, where ${NAME} stands for a variable's value",
		"LEADRELAY_CONNECTORS_0_NAME: not a setting: connectors are set in the file, where ${NAME} stands for a variable's value",
		"LEADRELAY_KEY: not a setting, and the file does not name it",
		"LEADRELAY_LISTN: not a setting, did you mean LEADRELAY_LISTEN?",
		"LEADRELAY_PASSWORD_OF_SOMETHING_ELSE: not a setting, and the file does not name it",
		"LEADRELAY_limits_brust: not a setting, did you mean LEADRELAY_LIMITS_BURST?",
	})

	// Where the file has problems, too: the slip may be their cause.
	t.Setenv("LEADRELAY_API_KEY", "")
	_, err := config.Load(write(t, `api_keys: [{name: a, key: "${LEADRELAY_KYE}"}]`), nil)
	var invalid *config.Invalid
	if !errors.As(err, &invalid) || !slices.Contains(invalid.Warnings, "LEADRELAY_KEY: not a setting, and the file does not name it") {
		t.Errorf("got %#v", err)
	}
}

func TestVariablesAreValuesNeverYAML(t *testing.T) {
	for _, value := range []string{"x: y", "- z", "\"\n", "5", "true", "null", "${WORD}", "*x", "}"} {
		environ(t, "WORD="+value)
		c := load(t, write(t, "connectors: [{name: a, type: vault, settings: {token: 'a${WORD}$$ $$${WORD}'}}]"))
		settings := c.Connectors[0].Connector.(*fake).Settings.(vaultSettings)
		equal(t, value, settings.Token.Reveal(), "a"+value+"$$ $${WORD}")
	}
}

func TestDefaultIfMissing(t *testing.T) {
	environ(t, "LEADRELAY_DATA_DIR=elsewhere")
	csv := kinds(new(int))[:1]
	csv[0].Name = "csv"
	options := []config.Option{config.DefaultIfMissing(), config.AllowMissingKeys()}

	c, err := config.Load("none.yaml", csv, options...)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "path", c.Path, "")
	equal(t, "data_dir", c.DataDir, "elsewhere")
	equal(t, "keys", len(c.APIKeys), 0)
	equal(t, "missing keys", c.MissingKeys, []config.MissingKey{{Name: "default", Scope: "full", Variable: "LEADRELAY_API_KEY"}})
	equal(t, "warnings", len(c.Warnings), 0)
	equal(t, "settings", c.Connectors[0].Connector.(*fake).Settings, sheetSettings{filepath.Join("elsewhere", "leads.csv"), 1})

	t.Setenv("LEADRELAY_API_KEY", "0123456789abcdef")
	if c, err = config.Load("none.yaml", csv, options...); err != nil {
		t.Fatal(err)
	}
	equal(t, "keys", c.APIKeys, []config.APIKey{{Name: "default", Key: "0123456789abcdef", Scope: config.ScopeFull}})
	equal(t, "missing keys", len(c.MissingKeys), 0)

	t.Setenv("LEADRELAY_API_KEY", "short")
	_, err = config.Load("none.yaml", csv, options...)
	if want := `built-in configuration: api_keys[0] "default": key: must have at least 16 characters`; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestAllowMissingKeys(t *testing.T) {
	environ(t)
	file := write(t, `
api_keys:
  - {name: a, key: "${NOT_SET}", scope: create}
  - {name: b, key: "0123456789abcdef"}
  - {name: c, key: "x-${EMPTY}"}
`)
	equal(t, "problems", problems(t, file), []string{
		`api_keys[0] "a": key: the environment variable NOT_SET is not set`,
		`api_keys[2] "c": key: the environment variable EMPTY is not set`,
	})
	c := load(t, file, config.AllowMissingKeys())
	equal(t, "missing keys", c.MissingKeys, []config.MissingKey{
		{Name: "a", Scope: "create", Variable: "NOT_SET"}, {Name: "c", Scope: "full", Variable: "EMPTY"},
	})
	equal(t, "keys", c.APIKeys, []config.APIKey{{Name: "b", Key: "0123456789abcdef", Scope: config.ScopeFull}})

	// Only the key may be missing, and only for want of a variable.
	equal(t, "problems", problems(t, write(t, `
api_keys:
  - {key: "${NOT_SET}", scope: all}
  - {name: b}
  - {name: c, key_file: testdata/none.txt}
`), config.AllowMissingKeys()), []string{
		"api_keys[0]: name: required, at most 100 characters in one line",
		"api_keys[0]: scope: must be full or create",
		`api_keys[1] "b": key: required, or key_file`,
		`api_keys[2] "c": key_file: testdata/none.txt: no such file or directory`,
	})
}

// A front end needs no vendor's secrets, a worker no API keys: neither has to have them.
func TestSkippedSecretsAreNotRead(t *testing.T) {
	environ(t)
	file := write(t, `
tls: {cert_file: none.pem, key_file: none.key}
api_keys: [{name: a, key_file: none}, {name: b, key: "${NOT_SET}"}]
connectors:
  - {name: a, type: sheet, settings: {path: "${NOT_SET}"}}
  - {name: b, type: vault, settings: {token_file: none}}
`)
	c := load(t, file, config.SkipFrontEnd(), config.SkipConnectors())
	equal(t, "keys", len(c.APIKeys), 0)
	equal(t, "tls", c.TLS, config.TLS{})
	equal(t, "connectors", fmt.Sprint(c.Connectors), "[a b]")
	equal(t, "events", []bool{c.Connectors[0].Event, c.Connectors[1].Event}, []bool{false, true})
	if c.Connectors[0].Connector != nil {
		t.Error("a connector was opened")
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

func TestSkippedConnectorsAreStillChecked(t *testing.T) {
	environ(t)
	equal(t, "problems", problems(t, write(t, "connectors: [{name: a, type: sheets, when: '('}]"), config.SkipConnectors()), []string{
		`connectors[0] "a": type: unknown, did you mean sheet?`,
		`connectors[0] "a": when: column 1: unexpected token EOF`,
	})
}

func TestConnectorsLogWhereTheFileSays(t *testing.T) {
	environ(t)
	var out bytes.Buffer
	c := load(t, write(t, "{log: {level: warn, format: json}, connectors: [{name: a, type: sheet, settings: {path: a}}]}"),
		config.LogTo(func(l config.Log) *slog.Logger { return l.New(&out) }))
	log := c.Connectors[0].Connector.(*fake).Env.Log
	log.Info("no")
	log.Warn("yes")
	if got := out.String(); !strings.Contains(got, `"msg":"yes"`) || strings.Contains(got, "no") {
		t.Errorf("got %s", got)
	}
}

func TestCloseClosesAll(t *testing.T) {
	environ(t)
	opened := 0
	c, err := config.Load("testdata/good-full.yaml", kinds(&opened))
	if err != nil || opened != 2 {
		t.Fatalf("%d opened, %v", opened, err)
	}
	if err := c.Close(); err != nil || opened != 0 {
		t.Errorf("%d left open, %v", opened, err)
	}
}

func TestPrintsNoSecrets(t *testing.T) {
	environ(t)
	c := load(t, write(t, `
redis: {url: "redis://:hush@localhost", sentinel_password: hush}
api_keys: [{name: a, key: hush-hush-hush-hush}]
connectors: [{name: a, type: vault, settings: {token: hush, headers: {a: hush}}}]
`))
	var out bytes.Buffer
	for _, value := range []any{c, *c, c.Redis, c.APIKeys, c.Connectors, c.Connectors[0], &c.Connectors[0]} {
		fmt.Fprintf(&out, "%v %+v %#v %s %q\n", value, value, value, value, value)
		slog.New(slog.NewTextHandler(&out, nil)).Info("x", "value", value)
		slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "value", value)
		if err := json.NewEncoder(&out).Encode(value); err != nil {
			t.Error(err)
		}
	}
	if strings.Contains(out.String(), "hush") {
		t.Errorf("a secret is in\n%s", out.String())
	}
}

func TestP8LoadsDoNotTouchEachOther(t *testing.T) {
	environ(t, "LEADRELAY_LIMITS_BURST=5")
	files := []string{
		write(t, "{listen: '127.0.0.1:1', connectors: [{name: one, type: sheet, settings: {path: one}}]}"),
		write(t, "{listen: '127.0.0.1:2', connectors: [{name: two, type: vault, settings: {token: two, headers: {a: b}}}]}"),
	}
	table := kinds(new(int))
	table[0] = connectors.Define("sheet", sheetSettings{}, func(sheetSettings, connectors.Env) (connectors.Connector, error) { return nil, nil })
	table[1] = connectors.Define("vault", vaultSettings{Headers: map[string]string{"default": "x"}, Keys: []vaultKey{{"x"}}},
		func(s vaultSettings, _ connectors.Env) (connectors.Connector, error) {
			if s.Headers["default"] != "" || s.Headers["a"] != "b" {
				return nil, errors.New("headers: mixed with another's")
			}
			return nil, nil
		})
	var wait sync.WaitGroup
	for i := range 40 {
		wait.Go(func() {
			c, err := config.Load(files[i%2], table)
			if err != nil {
				t.Error(err)
				return
			}
			want := [][2]string{{"127.0.0.1:1", "one"}, {"127.0.0.1:2", "two"}}[i%2]
			if got := [2]string{c.Listen, c.Connectors[0].Name}; got != want || c.Limits.Burst != 5 {
				t.Errorf("got %v, want %v", got, want)
			}
		})
	}
	wait.Wait()
}

func TestRedisOptions(t *testing.T) {
	for _, test := range []struct {
		redis config.Redis
		addrs []string
	}{
		{config.Redis{URL: "redis://localhost"}, []string{"localhost:6379"}},
		{config.Redis{URL: "unix:///run/redis.sock?db=2"}, []string{"/run/redis.sock"}},
		{config.Redis{URL: "redis://user:p@ss@one:1,two:2/3?pool_size=7&read_timeout=5s", SentinelMaster: "main"}, []string{"one:1", "two:2"}},
		{config.Redis{URL: "rediss://one,two", Cluster: true}, []string{"one:6379", "two:6379"}},
	} {
		equal(t, "addresses", test.redis.Options().Addrs, test.addrs)
	}
	o := config.Redis{
		URL: "redis://user:p,%40ss@one:1,two:2/3?pool_size=7&read_timeout=5s", SentinelMaster: "main", SentinelPassword: "word",
	}.Options()
	equal(t, "options", []any{o.Username, o.Password, o.DB, o.PoolSize, o.ReadTimeout, o.MasterName, o.SentinelPassword, o.IsClusterMode},
		[]any{"user", "p,@ss", 3, 7, 5 * time.Second, "main", "word", false})
	o = config.Redis{URL: "rediss://one,two", Cluster: true}.Options()
	if o.TLSConfig == nil || o.TLSConfig.ServerName != "" || !o.IsClusterMode {
		t.Errorf("got %v, want a cluster whose hosts have their own names", o.TLSConfig)
	}
}

func FuzzLoad(f *testing.F) {
	files, _ := filepath.Glob("testdata/*.yaml")
	for _, file := range append(files, "../../config.yaml") {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		file := write(t, string(text))
		opened := 0
		c, err := config.Load(file, kinds(&opened))
		var invalid *config.Invalid
		switch {
		case err == nil:
			c.Close()
		case c != nil || !errors.As(err, &invalid) || len(invalid.Problems) == 0:
			t.Fatalf("got %v and %v", c, err)
		default:
			for _, problem := range invalid.Problems {
				if strings.Contains(problem, "\n") {
					t.Errorf("not one line: %q", problem)
				}
			}
		}
		if opened != 0 {
			t.Errorf("%d connectors were left open", opened)
		}
	})
}

func TestP8AConnectorIsKeptWhereItIsTheSame(t *testing.T) {
	environ(t)
	secret := write(t, "first")
	text := func(size int) string {
		return fmt.Sprintf("connectors:\n  - {name: one, type: sheet, settings: {path: a, size: %d}}\n  - {name: two, type: vault, settings: {token_file: %q}}\n", size, secret)
	}
	former := load(t, write(t, text(1)))
	kept := func(c *config.Config) (kept []bool) {
		c.Adopt(former)
		for i := range c.Connectors {
			kept = append(kept, c.Connectors[i].Connector == former.Connectors[i].Connector)
		}
		return kept
	}
	equal(t, "the same file", kept(load(t, write(t, text(1)))), []bool{true, true})
	equal(t, "another setting", kept(load(t, write(t, text(2)))), []bool{false, true})
	if err := os.WriteFile(secret, []byte("second"), 0o600); err != nil {
		t.Fatal(err)
	}
	equal(t, "another secret in the same file", kept(load(t, write(t, text(1)))), []bool{true, false})
}

func TestSettingsThatCountFromTheNextStartAreNamed(t *testing.T) {
	environ(t)
	former := load(t, write(t, "listen: 127.0.0.1:1"))
	equal(t, "fixed", load(t, write(t, "{listen: '127.0.0.1:2', redis: {url: 'redis://there'}, limits: {burst: 3}}")).Fixed(former), []string{"listen", "redis"})
}
