package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/viper"
	"go.yaml.in/yaml/v3"
)

// delimiter keeps viper from taking a dot in a key for a path: no YAML text holds this.
const delimiter = "\x00"

// parse returns the settings of a YAML text and of the environment, keys in lower case, or nil where it finds
// none to check. It reports what is no YAML, or is none that viper reads as it is meant.
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
		return nil
	}
	if l.nodes("", "", top); l.problems != nil {
		// Without what was refused, the rest can be checked as well.
		if rest, err := yaml.Marshal(top); err == nil {
			text = rest
		}
	}
	v := viper.NewWithOptions(viper.KeyDelimiter(delimiter))
	v.SetConfigType("yaml")
	if err := v.ReadConfig(bytes.NewReader(text)); err != nil {
		if l.problems == nil {
			l.notYAML(err)
		}
		return nil
	}
	document := l.override(v)
	restore(top, document)
	return document
}

// restore adds the keys without a value, which viper leaves out: an unknown one must not pass because of that.
func restore(n *yaml.Node, document map[string]any) {
	switch n.Kind {
	case yaml.AliasNode:
		restore(n.Alias, document)
	case yaml.SequenceNode: // of mappings to merge
		for _, merged := range n.Content {
			restore(merged, document)
		}
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			key, value := n.Content[i], n.Content[i+1]
			name := strings.ToLower(key.Value)
			if key.ShortTag() == "!!merge" {
				restore(value, document)
				continue
			}
			below, isMapping := document[name].(map[string]any)
			if isMapping {
				restore(value, below)
			} else if document[name] == nil {
				document[name] = nil
				below = map[string]any{}
				if restore(value, below); len(below) > 0 {
					document[name] = below
				}
			}
		}
	}
}

// nodes refuses, and removes, what YAML or viper would let pass in silence: keys that are not text, and those that
// are the same to viper.
func (l *loader) nodes(place, key string, n *yaml.Node) {
	switch n.Kind {
	case yaml.SequenceNode:
		for i, element := range n.Content {
			if place == "" && slices.Contains(namedLists, key) {
				l.nodes(placeOf(key, i, nameIn(element)), "", element)
			} else {
				l.nodes(place, fmt.Sprintf("%s[%d]", key, i), element)
			}
		}
	case yaml.MappingNode:
		lines := map[string]int{}
		var kept []*yaml.Node
		for i := 0; i+1 < len(n.Content); i += 2 {
			k, value := n.Content[i], n.Content[i+1]
			name := strings.ToLower(k.Value)
			below := name
			if key != "" {
				below = key + "." + name
			}
			switch {
			case k.ShortTag() == "!!merge":
			case k.Kind != yaml.ScalarNode || k.ShortTag() != "!!str":
				l.problem("", "line %d: a key must be text: put it in quotes", k.Line)
				continue
			case lines[name] == k.Line:
				l.problem(place, "%s: given twice in line %d", below, k.Line)
				continue
			case lines[name] != 0:
				l.problem(place, "%s: given twice, in lines %d and %d", below, lines[name], k.Line)
				continue
			}
			lines[name] = k.Line
			kept = append(kept, k, value)
			l.nodes(place, below, value)
		}
		n.Content = kept
	}
}

// nameIn returns the name that an entry of a list has, or "".
func nameIn(n *yaml.Node) string {
	for i := 0; i+1 < len(n.Content) && n.Kind == yaml.MappingNode; i += 2 {
		if strings.EqualFold(n.Content[i].Value, "name") && n.Content[i+1].Kind == yaml.ScalarNode {
			return n.Content[i+1].Value
		}
	}
	return ""
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
	case strings.Contains(text, "contains itself"):
		l.problem("", "not YAML: an anchor's value contains itself")
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
