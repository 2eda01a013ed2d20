package rest

import (
	"bytes"
	_ "embed"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
	"go.yaml.in/yaml/v3"
	"golang.org/x/text/language"
	"golang.org/x/text/message"
)

// Schema is the JSON Schema of a recipe, for editors.
//
//go:embed recipe.schema.json
var Schema []byte

var schema = sync.OnceValue(func() *jsonschema.Schema {
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(Schema))
	if err != nil {
		panic(err)
	}
	compiler := jsonschema.NewCompiler()
	if err := compiler.AddResource("recipe.schema.json", document); err != nil {
		panic(err)
	}
	return compiler.MustCompile("recipe.schema.json")
})

// shape holds a recipe to the schema.
func (p *reader) shape(top *yaml.Node) {
	var value any
	if err := top.Decode(&value); err != nil {
		p.problem(top, "%v", err)
		return
	}
	err := schema().Validate(value)
	if err == nil {
		return
	}
	broken, ok := err.(*jsonschema.ValidationError)
	if !ok {
		p.problem(top, "must be a mapping of texts, numbers, lists and mappings")
		return
	}
	printer := message.NewPrinter(language.English)
	said := map[string]bool{}
	var walk func(*jsonschema.ValidationError)
	walk = func(e *jsonschema.ValidationError) {
		if _, either := e.ErrorKind.(*kind.OneOf); len(e.Causes) > 0 && !either {
			for _, cause := range e.Causes {
				walk(cause)
			}
			return
		}
		node := at(top, e.InstanceLocation)
		text := e.ErrorKind.LocalizedString(printer)
		if unknown, ok := e.ErrorKind.(*kind.AdditionalProperties); ok {
			for _, name := range unknown.Properties {
				p.problem(key(node, name), "%s: unknown; see leadrelay connectors schema", place(append(slices.Clone(e.InstanceLocation), name)))
			}
			return
		}
		if line := fmt.Sprintf("%s: %s", place(e.InstanceLocation), text); !said[line] {
			said[line] = true
			p.problem(node, "%s", line)
		}
	}
	walk(broken)
}

func place(path []string) string {
	if len(path) == 0 {
		return "recipe"
	}
	return strings.Join(path, ".")
}

// at finds the node at a place, or the last one on the way.
func at(node *yaml.Node, path []string) *yaml.Node {
	for _, part := range path {
		if node.Kind == yaml.AliasNode {
			node = node.Alias
		}
		next := node
		switch i, err := strconv.Atoi(part); {
		case node.Kind == yaml.SequenceNode && err == nil && i < len(node.Content):
			next = node.Content[i]
		case node.Kind == yaml.MappingNode:
			next = child(node, part)
		}
		if next == node {
			return node
		}
		node = next
	}
	return node
}

// key is the node of a mapping's key.
func key(mapping *yaml.Node, name string) *yaml.Node {
	for i := 0; i+1 < len(mapping.Content); i += 2 {
		if mapping.Content[i].Value == name {
			return mapping.Content[i]
		}
	}
	return mapping
}
