package config

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/expr-lang/expr/file"

	"github.com/leadrelay/leadrelay/connectors"
)

// entry is one connector as the file has it, its settings apart: their kind reads them.
type entry struct {
	Name           string                 `mapstructure:"name"`
	Type           string                 `mapstructure:"type"`
	When           string                 `mapstructure:"when"`
	Settings       any                    `mapstructure:"settings"`
	Fields         []connectors.FieldRule `mapstructure:"fields"`
	CommonSettings `mapstructure:",squash"`
}

var (
	connectorName = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,40}$`)
	entryKeys     = connectors.KeysOf(reflect.TypeFor[entry]())
)

// connectors reads and opens the connectors.
func (l *loader) connectors(raw any, c *Config) {
	logger := l.log(c.Log)
	l.named("connectors", raw, func(place string, mapping map[string]any) string {
		settings := mapping["settings"]
		delete(mapping, "settings")
		mapping, _ = l.expand(place, "", mapping).(map[string]any)
		kind, known := l.kind(place, mapping)
		written := settings // with a recipe, where the kind is made of one
		if known && kind.Resolve != nil {
			kind, settings, known = l.resolve(place, kind, settings)
		}
		if known {
			l.misplaced(place, mapping, kind)
		}
		e := entry{CommonSettings: CommonDefaults()}
		l.decode(place, mapping, &e)
		l.checkEntry(place, e)
		connector := Connector{
			Name: e.Name, Type: kind.Name, Event: kind.Event,
			Filter:      l.filter(place, e.When),
			Concurrency: e.Concurrency, Retry: e.Retry, Breaker: e.Breaker,
		}
		connector.Fields = l.fields(place, e.Fields, kind)
		connector.Written = fingerprint(mapping, written, nil)
		if known && !l.skipConnectors {
			env := connectors.Env{Name: e.Name, Fields: connector.Fields, Log: logger}
			connector.Connector, settings = l.open(place, kind, settings, env)
			connector.Fingerprint = fingerprint(mapping, written, settings)
		}
		connector.Limits = e.Limits.over(connector.Connector)
		c.Connectors = append(c.Connectors, connector)
		return e.Name
	})
	if len(c.Connectors) == 0 {
		c.Warnings = append(c.Warnings, "connectors: none, so leads are stored and go nowhere")
	}
}

// kind finds the kind an entry names.
func (l *loader) kind(place string, mapping map[string]any) (connectors.Kind, bool) {
	var named struct {
		Type string `mapstructure:"type"`
	}
	if mapping["type"] == nil {
		l.problem(place, "type: required")
		return connectors.Kind{}, false
	}
	if connectors.Decode(map[string]any{"type": mapping["type"]}, &named) != nil {
		return connectors.Kind{}, false // reported with the rest of the entry
	}
	var known []string
	for _, kind := range l.kinds {
		if kind.Name == named.Type {
			return kind, true
		}
		known = append(known, kind.Name)
	}
	if nearest := connectors.Nearest(named.Type, known); nearest != "" {
		l.problem(place, "type: unknown, did you mean %s?", nearest)
	} else {
		l.problem(place, "type: unknown (known: %s)", strings.Join(known, ", "))
	}
	return connectors.Kind{}, false
}

// resolve finds the kind that an entry's settings describe, and the settings that are its own.
func (l *loader) resolve(place string, kind connectors.Kind, settings any) (connectors.Kind, any, bool) {
	below := place + "settings."
	mapping, ok := settings.(map[string]any)
	if settings != nil && !ok {
		l.problem(place, "settings: must be a mapping")
		return kind, nil, false
	}
	mapping = maps.Clone(mapping)
	for _, name := range connectors.KeysOf(reflect.TypeOf(kind.Settings)) {
		if value, given := mapping[name]; given {
			expanded, _ := l.expand(below, "", map[string]any{name: value}).(map[string]any)
			mapping[name] = expanded[name]
		}
	}
	resolved, own, err := kind.Resolve(mapping)
	l.report(below, err)
	return resolved, own, err == nil
}

// misplaced reports and removes keys of an entry that are its kind's settings.
func (l *loader) misplaced(place string, mapping map[string]any, kind connectors.Kind) {
	for _, key := range connectors.KeysOf(reflect.TypeOf(kind.Settings)) {
		if _, given := mapping[key]; given && !slices.Contains(entryKeys, key) {
			l.problem(place, "%s: belongs below settings", key)
			delete(mapping, key)
		}
	}
}

func (l *loader) checkName(place, name string) bool {
	switch {
	case l.faulty[place+"name"]:
	case name == "":
		l.problem(place, "name: required")
	case !connectorName.MatchString(name):
		l.problem(place, "name: must be 1 to 41 of a-z, 0-9, - and _, the first a letter or a digit")
	default:
		return true
	}
	return false
}

// checkEntry reports what is wrong with an entry's settings of the right type.
func (l *loader) checkEntry(place string, e entry) {
	if e.Concurrency < 1 {
		l.problem(place, "concurrency: must be at least 1")
	}
	if e.Retry.Initial <= 0 {
		l.problem(place, "retry.initial: must be above 0")
	}
	if e.Retry.Max < e.Retry.Initial {
		l.problem(place, "retry.max: must not be below retry.initial (%s)", e.Retry.Initial)
	}
	if e.Retry.Horizon < e.Retry.Max {
		l.problem(place, "retry.horizon: must not be below retry.max (%s)", e.Retry.Max)
	}
	if e.Breaker.Failures < 1 {
		l.problem(place, "breaker.failures: must be at least 1")
	}
	if e.Breaker.Probe <= 0 {
		l.problem(place, "breaker.probe: must be above 0")
	}
	if e.Breaker.ProbeMax < e.Breaker.Probe {
		l.problem(place, "breaker.probe_max: must not be below breaker.probe (%s)", e.Breaker.Probe)
	}
	if e.Limits.Concurrency < 0 {
		l.problem(place, "limits.concurrency: must be 0 (no limit) or above")
	}
	switch rate, per := e.Limits.Rate, e.Limits.Per; {
	case rate < 0:
		l.problem(place, "limits.rate: must be 0 (no limit) or above")
	case rate > 0 && per < time.Millisecond:
		l.problem(place, `limits.per: required where limits.rate is set, such as "1m"`)
	case rate == 0 && per != 0:
		l.problem(place, "limits.rate: required where limits.per is set")
	}
}

// over puts the configured limits in the place of the connector's own. A configured rate is of calls: what they may
// cost stays as the connector says.
func (own CommonLimits) over(connector connectors.Connector) connectors.Limits {
	var result connectors.Limits
	if limited, ok := connector.(connectors.Limited); ok {
		result = limited.Limits()
	}
	if own.Rate > 0 {
		budgets := slices.DeleteFunc(slices.Clone(result.Rates), func(r connectors.Rate) bool { return !r.ByCost })
		result.Rates = append(budgets, connectors.Rate{Most: own.Rate, Per: own.Per})
	}
	if own.Concurrency > 0 {
		result.Concurrency = own.Concurrency
	}
	return result
}

func (l *loader) filter(place, expression string) connectors.Filter {
	filter, err := connectors.NewFilter(expression)
	var at *file.Error
	switch {
	case errors.As(err, &at) && at.Line > 1:
		l.problem(place, "when: line %d, column %d: %s", at.Line, at.Column+1, at.Message)
	case errors.As(err, &at):
		l.problem(place, "when: column %d: %s", at.Column+1, at.Message)
	case err != nil:
		l.problem(place, "when: %w", err)
	}
	return filter
}

// fields checks the rules, or takes the kind's own where there are none.
func (l *loader) fields(place string, rules []connectors.FieldRule, kind connectors.Kind) connectors.Mapping {
	for i, rule := range rules {
		if !isConstant(rule.Value) {
			// The keys of a mapping would arrive in lower case.
			l.problem(place, "fields[%d]: value: must be text, a number, true, false or a list of these", i)
		}
	}
	if rules == nil {
		rules = kind.Fields
	}
	mapping, err := connectors.NewMapping(rules)
	l.report(place+"fields", err)
	return mapping
}

func isConstant(value any) bool {
	switch v := value.(type) {
	case map[string]any, time.Time:
		return false
	case []any:
		return !slices.ContainsFunc(v, func(element any) bool { return !isConstant(element) })
	}
	return true
}

// fingerprint is another where an entry is another, or what a file holds that it names: settings as they are written and,
// where they were read, as they are meant.
func fingerprint(mapping map[string]any, written, settings any) string {
	sum := sha256.New()
	var add func(key string, value any)
	add = func(key string, value any) {
		switch v := value.(type) {
		case map[string]any:
			for _, name := range slices.Sorted(maps.Keys(v)) {
				add(name, v[name])
			}
		case []any:
			for _, element := range v {
				add(key, element)
			}
		default:
			fmt.Fprintf(sum, "%q=%T %q\n", key, value, fmt.Sprint(value))
			if text := fmt.Sprint(value); strings.HasSuffix(key, "_file") || key == "recipe" {
				if content, err := read(text); err == nil {
					sum.Write(content)
				}
			}
		}
	}
	add("", mapping)
	add("written", written)
	add("settings", settings)
	return hex.EncodeToString(sum.Sum(nil))
}

// open builds one connector, nil where it has problems, and returns its settings as they are meant.
func (l *loader) open(place string, kind connectors.Kind, raw any, env connectors.Env) (connectors.Connector, map[string]any) {
	below := place + "settings."
	settings := map[string]any{}
	if raw != nil {
		mapping, ok := raw.(map[string]any)
		if !ok {
			l.problem(place, "settings: must be a mapping")
			return nil, nil
		}
		settings, _ = l.expand(below, "", mapping).(map[string]any)
	}
	connector, err := kind.Open(settings, env)
	for _, problem := range connectors.Problems(err) {
		if strings.HasPrefix(problem.Error(), "fields") {
			l.report(place, problem) // the mapping is the entry's
		} else {
			l.report(below, problem)
		}
	}
	if err != nil {
		return nil, settings
	}
	return connector, settings
}
