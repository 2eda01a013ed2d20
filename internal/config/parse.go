package config

import (
	"bytes"
	"errors"
	"io"
	"regexp"
	"strings"

	"github.com/spf13/viper"
	"go.yaml.in/yaml/v3"
)

// delimiter keeps viper from taking a dot in a key for a path: no YAML text holds this.
const delimiter = "\x00"

// parse returns the settings of a YAML text and of the environment, keys in lower case. It reports what is no
// YAML; a text with such a problem has no settings to check.
func (l *loader) parse(text []byte) map[string]any {
	var root, second yaml.Node
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	top := &yaml.Node{Kind: yaml.MappingNode}
	switch err := decoder.Decode(&root); {
	case errors.Is(err, io.EOF):
	case err != nil:
		l.notYAML(err)
		return nil
	case root.Content[0].ShortTag() != "!!null":
		top = root.Content[0]
	}
	if err := decoder.Decode(&second); !errors.Is(err, io.EOF) {
		l.problem("", "a second YAML document follows a line of ---; only one is read")
	}
	if top.Kind != yaml.MappingNode {
		l.problem("", "line %d: the file must be a mapping, such as listen: 127.0.0.1:8080", top.Line)
	}
	if l.nodes(top); l.problems != nil {
		return nil
	}
	v := viper.NewWithOptions(viper.KeyDelimiter(delimiter))
	v.SetConfigType("yaml")
	if err := v.ReadConfig(bytes.NewReader(text)); err != nil {
		l.notYAML(err)
		return nil
	}
	document := l.override(v)
	restore(top, document)
	return document
}

// restore adds the keys without a value, which viper leaves out: an unknown one must not pass because of that.
func restore(n *yaml.Node, document map[string]any) {
	for i := 0; i+1 < len(n.Content); i += 2 {
		name, value := strings.ToLower(n.Content[i].Value), n.Content[i+1]
		below, isMapping := document[name].(map[string]any)
		switch {
		case n.Content[i].ShortTag() == "!!merge":
		case document[name] == nil && value.Kind == yaml.MappingNode && len(value.Content) > 0:
			below = map[string]any{}
			document[name] = below
			restore(value, below)
		case document[name] == nil:
			document[name] = nil
		case isMapping && value.Kind == yaml.MappingNode:
			restore(value, below)
		}
	}
}

// nodes refuses what YAML or viper would let pass in silence: keys that are not text, and those that are the
// same to viper.
func (l *loader) nodes(n *yaml.Node) {
	if n.Kind != yaml.MappingNode {
		for _, child := range n.Content {
			l.nodes(child)
		}
		return
	}
	lines := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		name := strings.ToLower(key.Value)
		switch {
		case key.ShortTag() == "!!merge":
		case key.Kind != yaml.ScalarNode || key.ShortTag() != "!!str":
			l.problem("", "line %d: a key must be text: put it in quotes", key.Line)
		case lines[name] != 0:
			l.problem("", "line %d: %s is given twice, first in line %d", key.Line, name, lines[name])
		default:
			lines[name] = key.Line
		}
		l.nodes(value)
	}
}

var linePattern = regexp.MustCompile(`line (\d+)`)

// notYAML reports a syntax error without what it may quote of a value.
func (l *loader) notYAML(err error) {
	var parse viper.ConfigParseError
	if errors.As(err, &parse) {
		err = parse.Unwrap()
	}
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	switch line := linePattern.FindString(text); {
	case strings.Contains(text, "unknown anchor"):
		l.problem("", `not YAML: a value that begins with "*" must be in quotes`)
	case !strings.ContainsAny(text, "'\"`"):
		l.problem("", "not YAML: %s", text)
	case strings.Contains(text, "cannot decode"):
		l.problem("", "not YAML: a value is not what its !!tag says")
	case line != "":
		l.problem("", "not YAML: %s cannot be read", line)
	default:
		l.problem("", "not YAML")
	}
}
