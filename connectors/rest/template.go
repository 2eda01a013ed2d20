package rest

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"unicode"

	"go.yaml.in/yaml/v3"
)

// template is a text of a recipe with {{ expressions }} in it. Values are put in by the place where the text stands:
// no value can become another part of a path, a query or a header, or another JSON value.
type template struct {
	texts       []string      // around the expressions: one more than these
	expressions []*expression // of the template's scope
}

// parseTemplate reads a text. An expression ends at the first }} that makes it whole.
func parseTemplate(source string, in scope, settings []string) (*template, error) {
	t := &template{}
	rest := source
	for {
		before, after, found := strings.Cut(rest, "{{")
		t.texts = append(t.texts, before)
		if !found {
			return t, nil
		}
		e, length, err := expressionIn(after, in, settings)
		if err != nil {
			return nil, err
		}
		t.expressions = append(t.expressions, e)
		rest = after[length:]
	}
}

func expressionIn(text string, in scope, settings []string) (e *expression, length int, err error) {
	first := errors.New("{{ without }}")
	for end := 0; ; {
		next := strings.Index(text[end:], "}}")
		if next > maxExpression {
			return nil, 0, errTooLong
		}
		if next < 0 || end+next > maxExpression {
			return nil, 0, first
		}
		end += next
		e, err := compile(strings.TrimSpace(text[:end]), in, settings)
		if err == nil {
			return e, end + 2, nil
		}
		if first.Error() == "{{ without }}" {
			first = fmt.Errorf("{{%s}}: %w", text[:end], err)
		}
		end++
	}
}

// tells says whether the text may hold personal data.
func (t *template) tells() bool {
	return slices.ContainsFunc(t.expressions, func(e *expression) bool { return e.tells })
}

// value is what the template stands for in a JSON body: of one expression alone its value, else text.
func (t *template) value(env map[string]any) (any, error) {
	if len(t.expressions) == 1 && t.texts[0] == "" && t.texts[1] == "" {
		return t.expressions[0].run(env)
	}
	return t.text(env, func(text string) (string, error) { return text, nil })
}

// text puts the values in, each as escape writes it.
func (t *template) text(env map[string]any, escape func(string) (string, error)) (string, error) {
	var out strings.Builder
	out.WriteString(t.texts[0])
	for i, e := range t.expressions {
		value, err := e.run(env)
		if err != nil {
			return "", err
		}
		escaped, err := escape(text(value))
		if err != nil {
			return "", err
		}
		out.WriteString(escaped)
		out.WriteString(t.texts[i+1])
	}
	return out.String(), nil
}

// plain is text for places that take any.
func (t *template) plain(env map[string]any) (string, error) {
	return t.text(env, func(text string) (string, error) { return text, nil })
}

// inPath escapes for one segment of a path. An empty value would name another resource, such as all of them, and
// "." or ".." one above.
func inPath(value string) (string, error) {
	switch value {
	case "":
		return "", errors.New("a part of the path is empty")
	case ".", "..":
		return "", errors.New("a part of the path leads elsewhere")
	}
	return url.PathEscape(value), nil
}

// inHeader refuses what would end a header.
func inHeader(value string) (string, error) {
	if strings.ContainsFunc(value, unicode.IsControl) {
		return "", errors.New("a header would hold control characters")
	}
	return value, nil
}

// tree is a JSON value of a recipe: mappings, lists and constants as YAML gives them, texts as templates. A mapping's
// keys are templates, too; the key ... puts a mapping's members in its place.
type tree struct {
	constant any
	text     *template
	list     []*tree
	members  []member
	isMap    bool
}

type member struct {
	name  *template // nil: the members of value
	value *tree
}

const spread = "..."

// parseTree reads a YAML node. problem is called with the node that is wrong.
func parseTree(node *yaml.Node, in scope, settings []string, problem func(*yaml.Node, error)) *tree {
	switch node.Kind {
	case yaml.AliasNode:
		return parseTree(node.Alias, in, settings, problem)
	case yaml.SequenceNode:
		t := &tree{list: []*tree{}}
		for _, element := range node.Content {
			t.list = append(t.list, parseTree(element, in, settings, problem))
		}
		return t
	case yaml.MappingNode:
		t := &tree{isMap: true}
		for i := 0; i+1 < len(node.Content); i += 2 {
			m := member{value: parseTree(node.Content[i+1], in, settings, problem)}
			if name := node.Content[i]; name.Value != spread {
				var err error
				if m.name, err = parseTemplate(name.Value, in, settings); err != nil {
					problem(name, err)
				}
			}
			t.members = append(t.members, m)
		}
		return t
	}
	if node.ShortTag() == "!!str" {
		text, err := parseTemplate(node.Value, in, settings)
		if err != nil {
			problem(node, err)
		}
		return &tree{text: text}
	}
	t := &tree{}
	if err := node.Decode(&t.constant); err != nil {
		problem(node, err)
	}
	return t
}

func (t *tree) value(env map[string]any) (any, error) {
	switch {
	case t == nil:
		return nil, nil
	case t.text != nil:
		return t.text.value(env)
	case t.list != nil:
		list := make([]any, len(t.list))
		for i, element := range t.list {
			value, err := element.value(env)
			if err != nil {
				return nil, err
			}
			list[i] = value
		}
		return list, nil
	case t.isMap:
		mapping := map[string]any{}
		for _, m := range t.members {
			value, err := m.value.value(env)
			if err != nil {
				return nil, err
			}
			if m.name == nil {
				members, ok := value.(map[string]any)
				if !ok && value != nil {
					return nil, errors.New("... takes a mapping")
				}
				for name, value := range members {
					mapping[name] = value
				}
				continue
			}
			name, err := m.name.plain(env)
			if err != nil {
				return nil, err
			}
			mapping[name] = value
		}
		return mapping, nil
	}
	return t.constant, nil
}
