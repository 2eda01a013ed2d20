package config

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// yamlText is a YAML document and the text it stands in. yaml.v3 says where a part of it begins; this finds where it ends.
// Places in the text are counted in bytes from its start, those on a line from 0.
type yamlText struct {
	text     []byte
	lines    []int          // where each begins
	newline  string         // how they end
	top      *yaml.Node     // a mapping; one without a place where the document is empty
	document map[string]any // what top says
}

const byteOrderMark = "\ufeff"

// parseYAML reads what Load would read. Its errors quote no value of the text.
func parseYAML(text []byte) (*yamlText, error) {
	if !utf8.Valid(text) {
		return nil, errors.New("the file is not UTF-8: save it as UTF-8 in an editor first")
	}
	y := &yamlText{text: text, lines: []int{0}, top: &yaml.Node{Kind: yaml.MappingNode}, newline: "\n"}
	for i := range text {
		if n := breakAt(text, i); n > 0 && !(i > 0 && text[i-1] == '\r' && text[i] == '\n') {
			y.lines = append(y.lines, i+n)
		}
	}
	if bytes.Contains(text, []byte("\r\n")) {
		y.newline = "\r\n"
	}
	var root, second yaml.Node
	var l loader
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	switch err := decoder.Decode(&root); {
	case errors.Is(err, io.EOF):
	case err != nil:
		l.notYAML(err)
	case root.Content[0].ShortTag() != "!!null":
		y.top = root.Content[0]
	}
	if l.problems == nil && !errors.Is(decoder.Decode(&second), io.EOF) {
		l.problem("", "a second YAML document follows a line of ---; only one is read")
	}
	if l.problems == nil && y.top.Kind != yaml.MappingNode {
		l.problem("", "the file must be a mapping, such as listen: 127.0.0.1:8080")
	}
	if l.problems == nil {
		l.nodes("", "", y.top)
	}
	if l.problems == nil {
		if err := y.top.Decode(&y.document); err != nil {
			l.notYAML(err)
		}
	}
	if l.problems != nil {
		return nil, errors.New(l.problems[0])
	}
	return y, nil
}

// breakAt is the length of the line break at i, 0 where there is none. yaml.v3 counts all of these as breaks.
func breakAt(text []byte, i int) int {
	for _, br := range []string{"\r\n", "\n", "\r", "\u0085", "\u2028", "\u2029"} {
		if bytes.HasPrefix(text[i:], []byte(br)) {
			return len(br)
		}
	}
	return 0
}

// lineOf is the line, from 0, that a place is on.
func (y *yamlText) lineOf(at int) int {
	line, found := slices.BinarySearch(y.lines, at)
	if !found {
		line--
	}
	return line
}

// lineEnd is where the line that a place is on ends, before its break.
func (y *yamlText) lineEnd(at int) int {
	for at < len(y.text) && breakAt(y.text, at) == 0 {
		at++
	}
	return at
}

// line is a line's text without its break, "" beyond the last.
func (y *yamlText) line(i int) string {
	if i < 0 || i >= len(y.lines) {
		return ""
	}
	return string(y.text[y.lines[i]:y.lineEnd(y.lines[i])])
}

// startsLine says whether nothing but spaces is before a place on its line.
func (y *yamlText) startsLine(at int) bool {
	return strings.Trim(string(y.text[y.lines[y.lineOf(at)]:at]), " "+byteOrderMark) == ""
}

// column is how many characters are before a place on its line.
func (y *yamlText) column(at int) int {
	before := strings.TrimPrefix(string(y.text[y.lines[y.lineOf(at)]:at]), byteOrderMark)
	return utf8.RuneCountInString(before)
}

// begin is where a node begins, with its anchor and its tag.
func (y *yamlText) begin(n *yaml.Node) int {
	if n.Line == 0 || n.Line > len(y.lines) {
		return len(y.text)
	}
	at := y.lines[n.Line-1]
	if n.Line == 1 && bytes.HasPrefix(y.text, []byte(byteOrderMark)) {
		at += len(byteOrderMark)
	}
	for range n.Column - 1 {
		_, size := utf8.DecodeRune(y.text[at:])
		at += size
	}
	return at
}

// at is the byte at a place, 0 beyond the end.
func (y *yamlText) at(place int) byte {
	if place >= len(y.text) {
		return 0
	}
	return y.text[place]
}

// filler is the first place from at on that is no space, no line break and no comment.
func (y *yamlText) filler(at int) int {
	for at < len(y.text) {
		n := breakAt(y.text, at)
		switch c := y.text[at]; {
		case n > 0:
			at += n
		case c == ' ' || c == '\t':
			at++
		case c == '#' && (at == 0 || strings.ContainsRune(" \t\r\n", rune(y.text[at-1]))):
			at = y.lineEnd(at)
		default:
			return at
		}
	}
	return at
}

// isBlank says whether a value is left out: `key:`.
func isBlank(n *yaml.Node) bool {
	return n.Kind == yaml.ScalarNode && n.Style == 0 && n.Value == "" && n.Anchor == ""
}

func isFlow(n *yaml.Node) bool { return n.Style&yaml.FlowStyle != 0 }

// body is where a node begins, without its anchor and its tag.
func (y *yamlText) body(n *yaml.Node) int {
	at := y.begin(n)
	for n.Kind != yaml.AliasNode && !isBlank(n) && (y.at(at) == '&' || y.at(at) == '!') {
		for at < len(y.text) && !strings.ContainsRune(" \t\r\n", rune(y.text[at])) {
			at++
		}
		if n.Kind == yaml.ScalarNode && n.Value == "" && n.Style&^yaml.TaggedStyle == 0 {
			return at
		}
		at = y.filler(at)
	}
	return at
}

// end is where a node ends, without a comment behind it. indent is the column of the key or the dash that it is the value
// of.
func (y *yamlText) end(n *yaml.Node, indent int) int {
	at := y.body(n)
	switch n.Kind {
	case yaml.AliasNode:
		return at + len("*") + len(n.Value)
	case yaml.ScalarNode:
		return y.scalarEnd(n, at, indent)
	}
	if isFlow(n) {
		at++
		if len(n.Content) > 0 {
			at = y.end(n.Content[len(n.Content)-1], indent)
		}
		for at = y.filler(at); y.at(at) == ',' || y.at(at) == ':'; {
			at = y.filler(at + 1)
		}
		return min(at+1, len(y.text))
	}
	last := n.Content[len(n.Content)-1]
	if n.Kind == yaml.MappingNode {
		return y.end(last, y.column(y.begin(n.Content[0])))
	}
	return y.end(last, y.column(at))
}

func (y *yamlText) scalarEnd(n *yaml.Node, at, indent int) int {
	switch style := n.Style &^ yaml.TaggedStyle; {
	case style == yaml.LiteralStyle || style == yaml.FoldedStyle:
		return y.blockEnd(at, indent)
	case style == yaml.DoubleQuotedStyle:
		for at++; at < len(y.text) && y.text[at] != '"'; at++ {
			if y.text[at] == '\\' {
				at++
			}
		}
		return min(at+1, len(y.text))
	case style == yaml.SingleQuotedStyle:
		for at++; at < len(y.text) && (y.text[at] != '\'' || y.at(at+1) == '\''); at++ {
			if y.text[at] == '\'' {
				at++
			}
		}
		return min(at+1, len(y.text))
	}
	// A plain one is its value but for the line breaks, which became spaces.
	for rest := n.Value; rest != "" && at < len(y.text); {
		trimmed := strings.TrimLeft(rest, " \t\n\r\u0085\u2028\u2029")
		if len(trimmed) < len(rest) {
			for breakAt(y.text, at) > 0 || y.at(at) == ' ' || y.at(at) == '\t' {
				at += max(1, breakAt(y.text, at))
			}
			rest = trimmed
			continue
		}
		rest = rest[1:]
		at++
	}
	return at
}

// blockEnd is where the text after | or > ends.
func (y *yamlText) blockEnd(header, indent int) int {
	end := y.lineEnd(header)
	keeps := strings.ContainsRune(strings.SplitN(string(y.text[header:end]), "#", 2)[0], '+')
	for i := y.lineOf(header) + 1; i < len(y.lines); i++ {
		text := y.line(i)
		blank := strings.Trim(text, " ") == ""
		if !blank && len(text)-len(strings.TrimLeft(text, " ")) <= indent {
			break
		}
		if !blank || keeps && y.lines[i] < len(y.text) {
			end = y.lines[i] + len(text)
		}
	}
	return end
}

// dash is where the dash of a list's element is.
func (y *yamlText) dash(list *yaml.Node, i int) int {
	if i == 0 {
		return y.body(list)
	}
	return y.filler(y.end(list.Content[i-1], y.column(y.body(list))))
}

// withComments is the end of the last line that belongs to what ends at a place: comments farther to the right than a
// column are part of it.
func (y *yamlText) withComments(end, column int) int {
	last := y.lineOf(end)
	for i := last + 1; i < len(y.lines); i++ {
		text := y.line(i)
		trimmed := strings.TrimLeft(text, " \t")
		if trimmed != "" && (trimmed[0] != '#' || len(text)-len(trimmed) <= column) {
			break
		}
		if trimmed != "" {
			last = i
		}
	}
	return y.lineEnd(max(end, y.lines[last]))
}
