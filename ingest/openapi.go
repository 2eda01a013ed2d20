package ingest

import (
	_ "embed"
	"net/http"
	"sync"

	"github.com/julienschmidt/httprouter"
	"go.yaml.in/yaml/v3"
)

//go:embed openapi.yaml
var openAPI []byte

// openAPIJSON is the description of all that is answered.
var openAPIJSON = sync.OnceValue(func() *published {
	var document yaml.Node
	if err := yaml.Unmarshal(openAPI, &document); err != nil {
		panic("ingest: openapi.yaml: " + err.Error())
	}
	return publish(jsonType[0], append(appendYAML(nil, &document), '\n'))
})

// appendYAML writes YAML as JSON, members in their order: that of the examples is the one that people know.
func appendYAML(out []byte, node *yaml.Node) []byte {
	switch node.Kind {
	case yaml.DocumentNode:
		return appendYAML(out, node.Content[0])
	case yaml.AliasNode:
		return appendYAML(out, node.Alias)
	case yaml.MappingNode:
		out = append(out, '{')
		for i := 0; i < len(node.Content); i += 2 {
			if i > 0 {
				out = append(out, ',')
			}
			out = append(appendText(out, node.Content[i].Value), ':')
			out = appendYAML(out, node.Content[i+1])
		}
		return append(out, '}')
	case yaml.SequenceNode:
		out = append(out, '[')
		for i, element := range node.Content {
			if i > 0 {
				out = append(out, ',')
			}
			out = appendYAML(out, element)
		}
		return append(out, ']')
	}
	var value any
	if err := node.Decode(&value); err != nil {
		panic("ingest: openapi.yaml: " + err.Error())
	}
	return appendJSON(out, value)
}

// described answers GET /openapi.json.
func (s *server) described(w http.ResponseWriter, r *http.Request, _ httprouter.Params) {
	openAPIJSON().serve(w, r)
}
