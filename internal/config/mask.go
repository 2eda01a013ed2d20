package config

import (
	"reflect"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/leadrelay/leadrelay/connectors"
	"github.com/leadrelay/leadrelay/internal/sources"
)

// Masked stands where a secret is not shown, maskedNew where it is another than before.
const (
	masked    = "••••"
	maskedNew = "•••• (new)"
)

// Mask returns a configuration's text with its secrets hidden, for people to look at: what Load reads as a secret, and what
// it would refuse. ${NAME} stays, for it tells nothing. Secrets in comments are hidden as well, by the names of settings.
// A text that Load cannot read as YAML is an error: its secrets cannot be told from the rest.
func Mask(text []byte, kinds []connectors.Kind) (string, error) {
	shown, _, err := mask(text, kinds, nil)
	return shown, err
}

// MaskedDiff is Diff of two texts that Mask has hidden the secrets of; one that changed is seen to have.
func MaskedDiff(before, after []byte, kinds []connectors.Kind) (string, error) {
	was, secrets, err := mask(before, kinds, nil)
	if err != nil {
		return "", err
	}
	is, _, err := mask(after, kinds, secrets)
	if err != nil {
		return "", err
	}
	return Diff([]byte(was), []byte(is)), nil
}

// mask hides the secrets of a text and returns them. With known, those that are not among them are marked as new.
func mask(text []byte, kinds []connectors.Kind, known map[string]bool) (string, map[string]bool, error) {
	y, err := parseYAML(text)
	if err != nil {
		return "", nil, err
	}
	m := &masker{yamlEdit: yamlEdit{yamlText: y}, kinds: kinds, known: known, secrets: map[string]bool{}, done: map[*yaml.Node]bool{}}
	m.document()
	m.comments()
	shown, ok := m.apply()
	if !ok {
		return "", nil, errByHand
	}
	return string(shown), m.secrets, nil
}

type masker struct {
	yamlEdit
	kinds   []connectors.Kind
	known   map[string]bool // nil: nothing is new
	secrets map[string]bool
	done    map[*yaml.Node]bool
}

// as is how a secret is shown.
func (m *masker) as(secret string) string {
	m.secrets[secret] = true
	if m.known != nil && !m.known[secret] {
		return maskedNew
	}
	return masked
}

// document goes through all settings. The lists that load reads by themselves have their own types.
func (m *masker) document() {
	lists := map[string]func(entry *yaml.Node){
		"api_keys":   func(n *yaml.Node) { m.structure(n, reflect.TypeFor[APIKey](), 0) },
		"operators":  func(n *yaml.Node) { m.structure(n, reflect.TypeFor[Operator](), 0) },
		"forms":      func(n *yaml.Node) { m.structure(n, reflect.TypeFor[Form](), 0) },
		"sources":    m.source,
		"connectors": m.connector,
	}
	for i := 0; i+1 < len(m.top.Content); i += 2 {
		key, value := m.top.Content[i], m.top.Content[i+1]
		if entry, known := lists[strings.ToLower(key.Value)]; known {
			m.each(value, entry)
			continue
		}
		pair := &yaml.Node{Kind: yaml.MappingNode, Content: []*yaml.Node{key, value}}
		m.structure(pair, reflect.TypeFor[Config](), 0)
	}
}

// each calls entry with each mapping of a list, and hides what is none.
func (m *masker) each(list *yaml.Node, entry func(*yaml.Node)) {
	switch list = resolved(list); list.Kind {
	case yaml.SequenceNode:
		for _, n := range list.Content {
			if n = resolved(n); n.Kind == yaml.MappingNode {
				entry(n)
			} else {
				m.hide(n, 0)
			}
		}
	default:
		m.hide(list, 0)
	}
}

func resolved(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

func (m *masker) source(n *yaml.Node) {
	named := textOf(n, "type")
	settings := reflect.TypeFor[struct{}]()
	for _, kind := range sources.Kinds() {
		if kind.Name == named {
			settings = reflect.TypeOf(kind.Settings)
		}
	}
	m.entry(n, reflect.TypeFor[sourceEntry](), settings)
}

func (m *masker) connector(n *yaml.Node) {
	named := textOf(n, "type")
	settings := reflect.TypeFor[struct{}]()
	for _, kind := range m.kinds {
		if kind.Name != named {
			continue
		}
		if kind.Resolve != nil {
			given := map[string]any{}
			for _, value := range valuesOf(n, "settings") {
				value.Decode(&given)
			}
			if whole, _, err := kind.Resolve(given); err == nil {
				m.entry(n, reflect.TypeFor[entry](), reflect.TypeOf(kind.Settings), reflect.TypeOf(whole.Settings))
				return
			}
		}
		settings = reflect.TypeOf(kind.Settings)
	}
	m.entry(n, reflect.TypeFor[entry](), settings)
}

// entry goes through an entry whose settings are of these types together.
func (m *masker) entry(n *yaml.Node, own reflect.Type, settings ...reflect.Type) {
	rest := &yaml.Node{Kind: yaml.MappingNode}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		switch {
		case strings.EqualFold(key.Value, "settings"):
			m.structures(value, 0, settings...)
		case key.ShortTag() == "!!merge":
			m.merged(value, func(n *yaml.Node) { m.entry(n, own, settings...) })
		default:
			rest.Content = append(rest.Content, key, value)
		}
	}
	m.structure(rest, own, 0)
}

// merged calls with each mapping that a merge names.
func (m *masker) merged(value *yaml.Node, with func(*yaml.Node)) {
	if value = resolved(value); value.Kind == yaml.SequenceNode {
		for _, n := range value.Content {
			m.merged(n, with)
		}
		return
	}
	with(value)
}

func (m *masker) structure(n *yaml.Node, t reflect.Type, indent int) { m.structures(n, indent, t) }

// structures goes through a mapping whose keys are those of several structs, and hides what none of them knows.
func (m *masker) structures(n *yaml.Node, indent int, types ...reflect.Type) {
	n = resolved(n)
	if n.Kind != yaml.MappingNode {
		m.hide(n, indent)
		return
	}
	fields := map[string]reflect.Type{}
	for _, t := range types {
		fieldsOf(t, fields)
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		name := strings.ToLower(key.Value)
		column := m.column(m.begin(key))
		switch t, known := fields[name]; {
		case key.ShortTag() == "!!merge":
			m.merged(value, func(n *yaml.Node) { m.structures(n, indent, types...) })
		case known:
			m.value(value, t, column)
		case isFileOf(name, fields): // the path of a secret
		default:
			m.hide(value, column)
		}
	}
}

func isFileOf(name string, fields map[string]reflect.Type) bool {
	secret, ok := strings.CutSuffix(name, "_file")
	return ok && fields[secret] == reflect.TypeFor[connectors.Secret]()
}

// fieldsOf finds the types of a struct's settings by their names.
func fieldsOf(t reflect.Type, fields map[string]reflect.Type) {
	for i := range t.NumField() {
		field := t.Field(i)
		name, options, _ := strings.Cut(field.Tag.Get("mapstructure"), ",")
		switch {
		case options == "squash":
			fieldsOf(field.Type, fields)
		case name != "" && name != "-":
			fields[name] = field.Type
		}
	}
}

// value hides what is secret of a value that is read as a type.
func (m *masker) value(n *yaml.Node, t reflect.Type, indent int) {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch n = resolved(n); {
	case t == reflect.TypeFor[connectors.Secret]():
		m.hide(n, indent)
	case t.Kind() == reflect.Struct && n.Kind == yaml.MappingNode:
		m.structure(n, t, indent)
	case t.Kind() == reflect.Map && n.Kind == yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			m.value(n.Content[i+1], t.Elem(), m.column(m.begin(n.Content[i])))
		}
	case t.Kind() == reflect.Slice && n.Kind == yaml.SequenceNode:
		for _, element := range n.Content {
			m.value(element, t.Elem(), m.column(m.body(n)))
		}
	case t.Kind() == reflect.Struct || t.Kind() == reflect.Map || t.Kind() == reflect.Slice:
		m.hide(n, indent) // it is not what it should be
	}
}

var reference = regexp.MustCompile(`\$\{[A-Za-z_][A-Za-z0-9_]*\}`)

// hide hides all texts and numbers of a value, but for what stands for a variable.
func (m *masker) hide(n *yaml.Node, indent int) {
	n = resolved(n)
	switch n.Kind {
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			m.hide(n.Content[i+1], m.column(m.begin(n.Content[i])))
		}
	case yaml.SequenceNode:
		for _, element := range n.Content {
			m.hide(element, m.column(m.body(n)))
		}
	case yaml.ScalarNode:
		if m.done[n] || n.Value == "" || reference.ReplaceAllString(n.Value, "") == "" {
			return
		}
		m.done[n] = true
		m.put(m.body(n), m.end(n, indent), m.as(n.Value)+strings.Join(reference.FindAllString(n.Value, -1), masked))
	}
}

// textOf is what a key of a mapping holds, "" where it is no text.
func textOf(n *yaml.Node, key string) (text string) {
	for _, value := range valuesOf(n, key) {
		if value.Kind == yaml.ScalarNode {
			text = value.Value
		}
	}
	return text
}

// valuesOf lists what a mapping has under a key, what it merges first.
func valuesOf(n *yaml.Node, key string) (values []*yaml.Node) {
	var own []*yaml.Node
	for i := 0; i+1 < len(n.Content); i += 2 {
		switch k := n.Content[i]; {
		case k.ShortTag() == "!!merge":
			(&masker{}).merged(n.Content[i+1], func(n *yaml.Node) { values = append(values, valuesOf(n, key)...) })
		case strings.EqualFold(k.Value, key):
			own = append(own, resolved(n.Content[i+1]))
		}
	}
	return append(values, own...)
}

// comments hides in comments what is written as a value of a setting that is a secret somewhere.
func (m *masker) comments() {
	names := map[string]bool{}
	var collect func(t reflect.Type)
	collect = func(t reflect.Type) {
		for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice || t.Kind() == reflect.Map {
			t = t.Elem()
		}
		if t.Kind() != reflect.Struct {
			return
		}
		fields := map[string]reflect.Type{}
		fieldsOf(t, fields)
		for name, of := range fields {
			if of == reflect.TypeFor[connectors.Secret]() {
				names[regexp.QuoteMeta(name)] = true
			} else {
				collect(of)
			}
		}
	}
	for _, t := range []reflect.Type{reflect.TypeFor[Config](), reflect.TypeFor[Operator](), reflect.TypeFor[Form]()} {
		collect(t)
	}
	for _, kind := range sources.Kinds() {
		collect(reflect.TypeOf(kind.Settings))
	}
	for _, kind := range m.kinds {
		if kind.Resolve != nil {
			if whole, _, err := kind.Resolve(nil); err == nil {
				kind = whole
			}
		}
		collect(reflect.TypeOf(kind.Settings))
	}
	var sorted []string
	for name := range names {
		sorted = append(sorted, name)
	}
	slices.Sort(sorted)
	setting := regexp.MustCompile(`(?i)\b(?:` + strings.Join(sorted, "|") + `)["']?\s*:\s+("[^"]*"|'[^']*'|[^\s#,}]\S*(?:\s+[^\s#,}]\S*)*)`)
	for i := range m.lines {
		text := m.line(i)
		start := comment.FindStringIndex(text)
		if start == nil {
			continue
		}
		for _, at := range setting.FindAllStringSubmatchIndex(text, -1) {
			value := text[at[2]:at[3]]
			if value[0] != '"' && value[0] != '\'' {
				value, _, _ = strings.Cut(value, ", ")
			}
			bare := strings.Trim(reference.ReplaceAllString(value, ""), `"'},`)
			if at[0] >= start[0] && bare != "" && !m.covers(m.lines[i]+at[2]) {
				value = strings.TrimRight(value, "},")
				m.put(m.lines[i]+at[2], m.lines[i]+at[2]+len(value), masked)
			}
		}
	}
}

var comment = regexp.MustCompile(`(^|\s)#`)

// covers says whether a place is hidden already.
func (m *masker) covers(at int) bool {
	return slices.ContainsFunc(m.splices, func(s splice) bool { return s.from <= at && at < s.to })
}
