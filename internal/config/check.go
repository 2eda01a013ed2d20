package config

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/leadrelay/leadrelay/connectors"
)

// check reports what is wrong with settings of the right type.
func (l *loader) check(c *Config) {
	if !isAddress(c.Listen) {
		l.problem("", "listen: must be host:port, such as 127.0.0.1:8080")
	}
	if c.Worker.Listen != "" && !isAddress(c.Worker.Listen) {
		l.problem("", "worker.listen: must be host:port, such as 127.0.0.1:8081, or empty")
	}
	switch {
	case c.TLS.CertFile == "" && c.TLS.KeyFile == "":
	case c.TLS.KeyFile == "":
		l.problem("", "tls.key_file: required where tls.cert_file is set")
	case c.TLS.CertFile == "":
		l.problem("", "tls.cert_file: required where tls.key_file is set")
	default:
		if _, err := tls.LoadX509KeyPair(c.TLS.CertFile, c.TLS.KeyFile); err != nil {
			l.problem("", "tls: %s", strings.TrimPrefix(err.Error(), "tls: "))
		}
	}
	if c.DataDir == "" {
		l.problem("", "data_dir: required")
	}
	if c.ShutdownTimeout <= 0 {
		l.problem("", "shutdown_timeout: must be above 0")
	}
	l.oneOf("redis.engine", c.Redis.Engine, "", EngineServer, EngineInProcess)
	l.oneOf("log.level", c.Log.Level, "debug", "info", "warn", "error")
	l.oneOf("log.format", c.Log.Format, "text", "json")
	l.oneOf("leads.dedupe", c.Leads.Dedupe, "", DedupeEmail)
	if !l.faulty["redis.url"] {
		l.report("", c.Redis.check())
	}
	if !l.faulty["tracing.headers"] {
		l.report("", c.Tracing.check())
	}
	if c.Limits.BodyBytes < 1024 {
		l.problem("", "limits.body_bytes: must be at least 1024")
	}
	if c.Limits.RequestsPerSecond < 0 {
		l.problem("", "limits.requests_per_second: must be 0 (no limit) or above")
	}
	if c.Limits.Burst < 0 {
		l.problem("", "limits.burst: must be 0 (as many as a second's) or above")
	}
	if c.Limits.ConcurrentRequests < 1 {
		l.problem("", "limits.concurrent_requests: must be at least 1")
	}
	l.checkAlerts(c.Alerts)
}

func (l *loader) oneOf(key, value string, allowed ...string) { l.oneOfAt("", key, value, allowed...) }

func (l *loader) oneOfAt(place, key, value string, allowed ...string) {
	if slices.Contains(allowed, value) {
		return
	}
	words := make([]string, len(allowed))
	for i, word := range allowed {
		words[i] = word
		if word == "" {
			words[i] = "empty"
		}
	}
	last := len(words) - 1
	l.problem(place, "%s: must be %s or %s", key, strings.Join(words[:last], ", "), words[last])
}

func isAddress(text string) bool {
	host, port, err := net.SplitHostPort(text)
	if err != nil || strings.ContainsFunc(host, unicode.IsSpace) {
		return false
	}
	_, err = strconv.ParseUint(port, 10, 16)
	return err == nil
}

const minKey = 16 // characters of an API key

// keys reads the API keys.
func (l *loader) keys(raw any, c *Config) {
	names := map[string]int{}
	values := map[connectors.Secret]int{}
	for i, element := range l.list("api_keys", raw) {
		entry, ok := element.(map[string]any)
		if !ok {
			l.problem("", "api_keys[%d]: must be a mapping", i)
			continue
		}
		place := placeOf("api_keys", i, text(entry["name"]))
		var missing errUnset
		if text, ok := entry["key"].(string); ok && l.allowMissingKeys {
			if _, err := l.substitute(text); errors.As(err, &missing) {
				delete(entry, "key")
			}
		}
		given := entry["key"] != nil || entry["key_file"] != nil
		key := APIKey{Scope: ScopeFull}
		expanded, _ := l.expand(place, "", entry).(map[string]any)
		before := len(l.problems)
		l.decode(place, expanded, &key)
		readable := len(l.problems) == before

		if first, taken := names[key.Name]; taken && key.Name != "" {
			l.problem(place, "name: api_keys[%d] has it already", first)
		} else if !isLabel(key.Name) {
			l.problem(place, "name: required, at most 100 characters in one line")
		}
		names[key.Name] = i
		if key.Scope != ScopeFull && key.Scope != ScopeCreate {
			l.problem(place, "scope: must be %s or %s", ScopeFull, ScopeCreate)
		}
		if missing.name != "" {
			c.MissingKeys = append(c.MissingKeys, MissingKey{key.Name, key.Scope, missing.name})
			continue
		}
		switch first, taken := values[key.Key]; {
		case !given:
			l.problem(place, "key: required, or key_file")
		case !readable || l.faulty[place+"key"]:
		case len(key.Key) < minKey:
			l.problem(place, "key: must have at least %d characters", minKey)
		case strings.ContainsFunc(key.Key.Reveal(), func(r rune) bool { return r <= ' ' || r > '~' }):
			l.problem(place, "key: must be of visible ASCII characters, without spaces")
		case taken:
			l.problem(place, "key: api_keys[%d] has the same", first)
		default:
			values[key.Key] = i
		}
		c.APIKeys = append(c.APIKeys, key)
	}
	if len(c.APIKeys)+len(c.MissingKeys) == 0 {
		c.Warnings = append(c.Warnings, "api_keys: none, so nobody can send leads")
	}
}

var passwordHash = regexp.MustCompile(`^\$(argon2id\$|2[aby]\$)`)

// operators reads who may sign in to the console.
func (l *loader) operators(raw any, c *Config) {
	names := map[string]int{}
	for i, element := range l.list("operators", raw) {
		entry, ok := element.(map[string]any)
		if !ok {
			l.problem("", "operators[%d]: must be a mapping", i)
			continue
		}
		place := placeOf("operators", i, text(entry["name"]))
		var operator Operator
		expanded, _ := l.expand(place, "", entry).(map[string]any)
		l.decode(place, expanded, &operator)
		if first, taken := names[operator.Name]; taken && operator.Name != "" {
			l.problem(place, "name: operators[%d] has it already", first)
		} else if !isLabel(operator.Name) {
			l.problem(place, "name: required, at most 100 characters in one line")
		}
		names[operator.Name] = i
		if !l.faulty[place+"password_hash"] && !passwordHash.MatchString(operator.PasswordHash.Reveal()) {
			l.problem(place, "password_hash: must be what `leadrelay password` prints")
		}
		c.Operators = append(c.Operators, operator)
	}
}

// isLabel says whether a text can name something in a line of a log.
func isLabel(text string) bool {
	return text != "" && len(text) <= 100 && !strings.ContainsFunc(text, unicode.IsControl)
}

func (l *loader) list(key string, raw any) []any {
	list, ok := raw.([]any)
	if !ok && raw != nil {
		l.problem("", "%s: must be a list", key)
	}
	return list
}

// placeOf is how problems of a list's entry begin: `connectors[2] "newsletter": `.
func placeOf(key string, i int, name string) string {
	if name != "" {
		return fmt.Sprintf("%s[%d] %q: ", key, i, name)
	}
	return fmt.Sprintf("%s[%d]: ", key, i)
}

func text(raw any) string {
	text, _ := raw.(string)
	return text
}
