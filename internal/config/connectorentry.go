package config

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"github.com/leadrelay/leadrelay/connectors"
)

// ConnectorEntry is an entry of `connectors:` as people write it: nothing resolved, no default filled in, no secret read.
type ConnectorEntry struct {
	Name, Type, When string
	Settings         map[string]any         // as written: "${MAILCHIMP_API_KEY}" stays so; keys as written
	Fields           []connectors.FieldRule // nil: none, so that the type's own count; empty and not nil: no field at all
	Other            map[string]any         // concurrency, retry, breaker, limits, as written, by their keys in lower case
}

// mapping is the entry in the types of YAML, without what says nothing.
func (e ConnectorEntry) mapping() map[string]any {
	mapping := map[string]any{"name": e.Name}
	maps.Copy(mapping, e.Other)
	if e.Type != "" {
		mapping["type"] = e.Type
	}
	if e.When != "" {
		mapping["when"] = e.When
	}
	if len(e.Settings) > 0 {
		mapping["settings"] = e.Settings
	}
	if e.Fields != nil {
		rules := []any{}
		for _, rule := range e.Fields {
			rules = append(rules, ruleMapping(rule))
		}
		mapping["fields"] = rules
	}
	return plainValue(mapping).(map[string]any)
}

func ruleMapping(rule connectors.FieldRule) map[string]any {
	mapping := map[string]any{"to": rule.To}
	if rule.From != "" {
		mapping["from"] = rule.From
	}
	if rule.Template != "" {
		mapping["template"] = rule.Template
	}
	if rule.Value != nil {
		mapping["value"] = rule.Value
	}
	return mapping
}

// node is the entry as new text, in the order and the style of the examples.
func (e ConnectorEntry) node() *yaml.Node {
	n := &yaml.Node{Kind: yaml.MappingNode}
	for _, p := range inOrder(e.mapping()) {
		n.Content = append(n.Content, yamlNode(p.key, false), entryValue(p))
	}
	return n
}

// entryValue is the new value of a key of an entry: settings in lines, rules in a line each.
func entryValue(p pair) *yaml.Node {
	switch p.key {
	case "settings":
		return yamlNode(p.value, false)
	case "fields":
		list := &yaml.Node{Kind: yaml.SequenceNode}
		for _, rule := range p.value.([]any) {
			list.Content = append(list.Content, nodeLike(ruleExample, rule))
		}
		return list
	}
	return yamlNode(p.value, true)
}

// ruleExample has the order and the style of a new rule.
var ruleExample = &yaml.Node{Kind: yaml.MappingNode, Style: yaml.FlowStyle, Content: []*yaml.Node{
	{Value: "to"}, {}, {Value: "from"}, {}, {Value: "template"}, {}, {Value: "value"}, {},
}}

// inOrder lists the pairs of an entry in the order in which the examples have them; what no entry has comes last.
func inOrder(mapping map[string]any) (pairs []pair) {
	rest := maps.Clone(mapping)
	for _, key := range entryKeys {
		if value, given := rest[key]; given {
			pairs = append(pairs, pair{key, value})
			delete(rest, key)
		}
	}
	return append(pairs, sortedPairs(rest)...)
}

func readEntry(raw any) (entry ConnectorEntry, err error) {
	written, ok := raw.(map[string]any)
	if !ok {
		return entry, errors.New("must be a mapping")
	}
	mapping := lowered(written)
	entry.Name = text(mapping["name"])
	settings, ok := mapping["settings"].(map[string]any)
	if mapping["settings"] != nil && !ok {
		return entry, errors.New("settings: must be a mapping")
	}
	if rules, ok := mapping["fields"].([]any); ok {
		rules = slices.Clone(rules)
		for i, rule := range rules {
			if written, ok := rule.(map[string]any); ok {
				rules[i] = lowered(written)
			}
		}
		mapping["fields"] = rules
	}
	var own struct {
		Name   string                 `mapstructure:"name"`
		Type   string                 `mapstructure:"type"`
		When   string                 `mapstructure:"when"`
		Fields []connectors.FieldRule `mapstructure:"fields"`
	}
	read := map[string]any{}
	for _, key := range connectors.KeysOf(reflect.TypeOf(own)) {
		read[key] = mapping[key]
		delete(mapping, key)
	}
	delete(mapping, "settings")
	err = connectors.Decode(read, &own)
	if len(mapping) == 0 {
		mapping = nil
	}
	return ConnectorEntry{own.Name, own.Type, own.When, settings, own.Fields, mapping}, err
}

// lowered is a mapping with its keys as Load reads them.
func lowered(mapping map[string]any) map[string]any {
	result := make(map[string]any, len(mapping))
	for key, value := range mapping {
		result[strings.ToLower(key)] = value
	}
	return result
}

// writable says what of a value YAML has no words for.
func writable(key string, value any) error {
	switch v := value.(type) {
	case nil, bool, time.Time:
		return nil
	case string:
		if !utf8.ValidString(v) {
			return fmt.Errorf("%s: must be UTF-8", key)
		}
		return nil
	case map[string]any:
		for name, element := range v {
			below := strings.TrimPrefix(key+"."+name, ".")
			if err := errors.Join(writable("a key of "+key, name), writable(below, element)); err != nil {
				return err
			}
		}
		return nil
	}
	if v := reflect.ValueOf(value); v.Kind() == reflect.Slice {
		for i := range v.Len() {
			if err := writable(fmt.Sprintf("%s[%d]", key, i), v.Index(i).Interface()); err != nil {
				return err
			}
		}
		return nil
	}
	if _, ok := number(value); !ok {
		return fmt.Errorf("%s: cannot be written in the file", key)
	}
	return nil
}

// plainValue is a value with the types that YAML gives.
func plainValue(value any) any {
	switch v := value.(type) {
	case map[string]any:
		mapping := map[string]any{}
		for key, element := range v {
			mapping[key] = plainValue(element)
		}
		return mapping
	}
	if v := reflect.ValueOf(value); v.IsValid() && v.Kind() == reflect.Slice {
		list := make([]any, v.Len())
		for i := range list {
			list[i] = plainValue(v.Index(i).Interface())
		}
		return list
	}
	return value
}
