package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// ReadConnectors returns the entries of `connectors:` in the order of a configuration's text. Where text merges keys (<<)
// or repeats a value by an alias, an entry has what that gives. Errors say where, and quote no value.
func ReadConnectors(text []byte) ([]ConnectorEntry, error) {
	file, err := parseConnectors(text)
	if err != nil {
		return nil, err
	}
	return file.entries, nil
}

// connectorsFile is a configuration's text and the connectors in it.
type connectorsFile struct {
	*yamlText
	key, list *yaml.Node // nil: there is no `connectors`
	entries   []ConnectorEntry
	raw       []any          // the entries, as YAML has them
	rest      map[string]any // all else
}

func parseConnectors(text []byte) (*connectorsFile, error) {
	y, err := parseYAML(text)
	if err != nil {
		return nil, err
	}
	file := &connectorsFile{yamlText: y}
	for i := 0; i+1 < len(y.top.Content); i += 2 {
		if strings.EqualFold(y.top.Content[i].Value, "connectors") {
			file.key, file.list = y.top.Content[i], y.top.Content[i+1]
		}
	}
	var given any
	file.rest = map[string]any{}
	for key, value := range y.document {
		if strings.EqualFold(key, "connectors") {
			given = value
		} else {
			file.rest[key] = value
		}
	}
	list, ok := given.([]any)
	if given != nil && !ok {
		return nil, errors.New("connectors: must be a list")
	}
	file.raw = list
	for i, raw := range list {
		entry, err := readEntry(raw)
		if err != nil {
			return nil, fmt.Errorf("%s%w", placeOf("connectors", i, entry.Name), err)
		}
		file.entries = append(file.entries, entry)
	}
	return file, nil
}

// SetConnector returns a configuration's text with the entry of that name as e says, or with e added as the last one
// where name is "". What differs is written anew; every other byte stays, of the entry as well. The result is compared
// with what was asked before it is returned: what cannot be written without changing something else is an error that says
// so, and is left to a person with an editor.
func SetConnector(text []byte, name string, e ConnectorEntry) ([]byte, error) {
	file, err := parseConnectors(text)
	if err != nil {
		return nil, err
	}
	for key := range e.Other {
		if key != strings.ToLower(key) || slices.Contains([]string{"name", "type", "when", "settings", "fields"}, key) {
			return nil, fmt.Errorf("%s: not one of an entry's other keys", key)
		}
	}
	if e.Name == "" {
		return nil, errors.New("name: required")
	}
	if err := writable("", e.mapping()); err != nil {
		return nil, err
	}
	if e.Name != name && file.has(e.Name) {
		return nil, fmt.Errorf("there is a connector %q already", e.Name)
	}
	want := slices.Clone(file.entries)
	edit := &yamlEdit{yamlText: file.yamlText}
	at := len(file.entries)
	if name == "" {
		want = append(want, e)
		err = edit.addConnector(file, e)
	} else if at, err = file.index(name); err == nil {
		was := want[at]
		want[at] = e
		edit.setEntry(file.list.Content[at], was, e)
	}
	if err != nil {
		return nil, err
	}
	return file.edited(edit, want, at)
}

// RemoveConnector returns a configuration's text without the lines of the entry of that name. Comments before and after
// them stay.
func RemoveConnector(text []byte, name string) ([]byte, error) {
	file, err := parseConnectors(text)
	if err != nil {
		return nil, err
	}
	at, err := file.index(name)
	if err != nil {
		return nil, err
	}
	edit := &yamlEdit{yamlText: file.yamlText}
	edit.removeConnector(file.list, at)
	return file.edited(edit, slices.Delete(slices.Clone(file.entries), at, at+1), at)
}

func (f *connectorsFile) has(name string) bool {
	return slices.ContainsFunc(f.entries, func(e ConnectorEntry) bool { return e.Name == name })
}

func (f *connectorsFile) index(name string) (int, error) {
	found := -1
	for i, entry := range f.entries {
		switch {
		case entry.Name != name:
		case found >= 0:
			return 0, fmt.Errorf("there are two connectors %q: give one another name in the file first", name)
		default:
			found = i
		}
	}
	if found < 0 {
		return 0, fmt.Errorf("there is no connector %q in the file", name)
	}
	if f.list == nil || f.list.Kind != yaml.SequenceNode {
		return 0, errors.New("connectors: the list is written elsewhere in the file (an anchor): edit it by hand")
	}
	return found, nil
}

// edited applies an edit and compares: the entries must be want, and nothing but the one at changed may be another.
func (f *connectorsFile) edited(edit *yamlEdit, want []ConnectorEntry, changed int) ([]byte, error) {
	text, ok := edit.apply()
	if !ok {
		return nil, errByHand
	}
	file, err := parseConnectors(text)
	if err != nil || !same(f.rest, file.rest) || len(file.entries) != len(want) {
		return nil, errByHand
	}
	for i, entry := range file.entries {
		if !same(entry.mapping(), want[i].mapping()) {
			return nil, errByHand
		}
	}
	others := slices.Clone(f.raw)
	if len(want) <= len(others) {
		others = slices.Delete(others, changed, changed+1)
	}
	left := slices.Clone(file.raw)
	if len(left) > len(others) {
		left = slices.Delete(left, changed, changed+1)
	}
	if !slices.EqualFunc(others, left, same) {
		return nil, errByHand
	}
	return text, nil
}

var errByHand = errors.New("this part of the file is written in a way that cannot be changed here without changing something else " +
	"(an anchor, an alias, several settings in one line): edit it by hand")

// setEntry writes what differs of an entry.
func (e *yamlEdit) setEntry(n *yaml.Node, was, entry ConnectorEntry) {
	if n.Kind != yaml.MappingNode {
		return // an alias: the comparison refuses what does not come to be
	}
	had, want := was.mapping(), entry.mapping()
	isKey := func(node *yaml.Node, key string) bool { return strings.EqualFold(node.Value, key) }
	written := map[string]any{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		var value any
		n.Content[i+1].Decode(&value)
		written[strings.ToLower(n.Content[i].Value)] = value
	}
	for key, value := range written {
		// What is the same may be written in another way, and what says nothing, such as `when: ""`, may stay.
		if same(had[key], want[key]) {
			want[key] = value
		}
	}
	var pairs []pair
	for _, p := range inOrder(want) {
		if _, given := written[p.key]; !given && !same(had[p.key], p.value) {
			p.value = entryValue(p)
		}
		pairs = append(pairs, p)
	}
	e.mapping(n, pairs, isKey)
}

// addConnector writes an entry behind the others.
func (e *yamlEdit) addConnector(file *connectorsFile, entry ConnectorEntry) error {
	text := strings.TrimPrefix(blockText([]any{entry.node()}), "- ")
	switch list := file.list; {
	case list == nil:
		if len(e.top.Content) > 0 && isFlow(e.top) {
			return errors.New("the file is one mapping in braces: write it with a setting in each line first")
		}
		column := 0
		if len(e.top.Content) > 0 {
			column = e.column(e.begin(e.top.Content[0]))
		}
		before := "\n"
		if len(e.text) == 0 || strings.HasSuffix(string(e.text), "\n") {
			before = ""
		}
		if len(e.top.Content) > 0 {
			before += "\n"
		}
		indent := strings.Repeat(" ", column)
		e.put(len(e.text), len(e.text), strings.ReplaceAll(before+indent+"connectors:", "\n", e.newline)+e.indented("\n- "+text, column+2)+e.newline)
	case list.Kind == yaml.SequenceNode && len(list.Content) > 0 && isFlow(list):
		end := e.end(list.Content[len(list.Content)-1], 0)
		e.put(end, end, ", "+flowText(entry.mapping(), false))
	case list.Kind == yaml.SequenceNode && len(list.Content) > 0:
		column := e.column(e.body(list))
		last := list.Content[len(list.Content)-1]
		end := e.withComments(e.end(last, column), column)
		before := "\n"
		if n := len(list.Content); n == 1 || strings.TrimSpace(e.line(e.lineOf(e.dash(list, n-1))-1)) == "" {
			before = "\n\n"
		}
		e.put(end, end, e.indented(before+"- "+text, column))
	case list.Kind == yaml.AliasNode:
		return errors.New("connectors: the list is written elsewhere in the file (an anchor): edit it by hand")
	default: // an empty list, or nothing
		column := e.column(e.begin(file.key))
		colon := e.filler(e.end(file.key, column)) + 1
		end := max(colon, e.end(list, column))
		e.put(colon, end, "")
		end = e.lineEnd(end)
		after := ""
		if next := e.lineOf(end) + 1; strings.TrimSpace(e.line(next)) != "" {
			after = e.newline
		}
		e.put(end, end, e.indented("\n- "+text, column+2)+after)
	}
	return nil
}

// removeConnector removes an entry's lines, or its place in a list that is in one line.
func (e *yamlEdit) removeConnector(list *yaml.Node, at int) {
	n := list.Content[at]
	column := e.column(e.body(list))
	if isFlow(list) {
		switch {
		case at > 0:
			e.put(e.end(list.Content[at-1], column), e.end(n, column), "")
		case len(list.Content) > 1:
			e.put(e.begin(n), e.begin(list.Content[1]), "")
		default:
			e.put(e.begin(n), e.end(n, column), "")
		}
		return
	}
	first, end := e.lineOf(e.dash(list, at)), e.withComments(e.end(n, column), column)
	if last := e.lineOf(end); first > 1 && strings.TrimSpace(e.line(first-1)) == "" && strings.TrimSpace(e.line(last+1)) == "" {
		first-- // of two blank lines one stays
	}
	e.dropLines(e.lines[first], end)
}
