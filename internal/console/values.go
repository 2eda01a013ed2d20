package console

import (
	"fmt"
	"io"
	"reflect"
	"strings"
	"unicode"

	"go.yaml.in/yaml/v3"
)

// text is a value of the configuration file as its input shows it.
func (s Setting) text(value any) string {
	switch typed := value.(type) {
	case nil:
		return ""
	case string:
		switch s.Type {
		case "integer", "number", "bool":
			return yamlText(typed)
		}
		if typed == "" && s.Default != "" {
			return `""` // else it would be read as the default
		}
		return typed
	case []any:
		if len(typed) == 0 {
			return "[]" // which is another thing than none
		}
		var lines []string
		for _, element := range typed {
			lines = append(lines, yamlText(element))
		}
		text := strings.Join(lines, "\n")
		if s.Type == "list" && !reflect.DeepEqual(s.value(text), value) {
			return wholeYAML(value) // not of plain elements
		}
		return text
	case map[string]any:
		return wholeYAML(value)
	}
	return fmt.Sprint(value)
}

// value is what an input's text says. What cannot be read as its type stays a text, against which the loader has
// something to say, and which may be ${NAME}.
func (s Setting) value(text string) any {
	trimmed := strings.TrimSpace(text)
	if trimmed == `""` && s.Type != "list" {
		return ""
	}
	switch s.Type {
	case "integer", "number", "bool":
		return scalar(trimmed)
	case "list":
		if whole, is := parsed(trimmed).([]any); is {
			return whole
		}
		if strings.HasPrefix(trimmed, "${") {
			return trimmed
		}
		list := []any{}
		for line := range strings.Lines(trimmed) {
			if line = strings.TrimSpace(line); line != "" {
				list = append(list, scalar(line))
			}
		}
		return list
	case "mapping":
		if whole, is := parsed(trimmed).(map[string]any); is {
			return whole
		}
		return trimmed
	case "duration":
		return trimmed
	default:
		return text
	}
}

// constantOf is the constant that the text of a field's row says.
func constantOf(text string) any {
	if list, is := parsed(text).([]any); is && strings.HasPrefix(text, "[") {
		return list
	}
	return scalar(text)
}

// scalar is a number, true or false where a text is how these are written; in quotes it is the text between them.
func scalar(text string) any {
	switch value := parsed(text).(type) {
	case bool, int, int64, uint64, float64:
		if fmt.Sprint(value) == text { // not +49 30 …, 007 and the like
			return value
		}
	case string:
		if strings.HasPrefix(text, `"`) || strings.HasPrefix(text, `'`) {
			return value
		}
	}
	return text
}

// yamlText is a value in one line, which scalar and constantOf read again.
func yamlText(value any) string {
	text, is := value.(string)
	switch {
	case is && text != "" && scalar(text) == any(text) && text == strings.TrimSpace(text) && !strings.ContainsAny(text[:1], "[\"'") &&
		!strings.ContainsFunc(text, unicode.IsControl):
		return text
	case is:
		return quoted(text)
	}
	switch value.(type) {
	case []any, map[string]any:
		return quoted(value)
	}
	return fmt.Sprint(value)
}

// quoted is a value as YAML in one line, a text in quotes.
func quoted(value any) string {
	var node yaml.Node
	if err := node.Encode(value); err != nil {
		return fmt.Sprint(value)
	}
	node.Style = yaml.FlowStyle
	if node.Kind == yaml.ScalarNode {
		node.Style = yaml.DoubleQuotedStyle
	}
	return wholeYAML(&node)
}

func wholeYAML(value any) string {
	text, err := yaml.Marshal(value)
	if err != nil {
		return fmt.Sprint(value)
	}
	return strings.TrimSpace(string(text))
}

// parsed is what a text is as YAML, nil where it is none.
func parsed(text string) (value any) {
	decoder := yaml.NewDecoder(strings.NewReader(text))
	if err := decoder.Decode(&value); err != nil {
		return nil
	}
	if err := decoder.Decode(new(any)); err != io.EOF {
		return nil // something follows what was read
	}
	return value
}
