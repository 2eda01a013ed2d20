package config

import (
	"cmp"
	"maps"
	"math"
	"reflect"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// yamlEdit collects what is to be written into a text in the place of what stands there. Whoever applies it has to look
// whether the result says what was meant: there are ways to write YAML that this does not understand.
type yamlEdit struct {
	*yamlText
	splices []splice
}

type splice struct {
	from, to int
	text     string
}

func (e *yamlEdit) put(from, to int, text string) {
	e.splices = append(e.splices, splice{from, to, text})
}

// apply returns the text with all that was put, or false where one thing would be written over another.
func (e *yamlEdit) apply() ([]byte, bool) {
	slices.SortStableFunc(e.splices, func(a, b splice) int {
		return cmp.Or(cmp.Compare(a.from, b.from), cmp.Compare(a.to, b.to))
	})
	var out []byte
	at := 0
	for _, s := range e.splices {
		if s.from < at || s.to < s.from || s.to > len(e.text) {
			return nil, false
		}
		out = append(append(out, e.text[at:s.from]...), s.text...)
		at = s.to
	}
	return append(out, e.text[at:]...), true
}

// pair is a key and its value of a mapping that is to be.
type pair struct {
	key   string
	value any
}

// isWritten says whether a key of a node is one of a mapping that is to be.
func isWritten(node *yaml.Node, key string) bool { return node.Value == key }

// pairsAsIn lists a mapping's pairs in the order that a node has them in, the new ones last.
func pairsAsIn(n *yaml.Node, mapping map[string]any) (pairs []pair) {
	rest := maps.Clone(mapping)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i].Value
		if value, given := rest[key]; given {
			pairs = append(pairs, pair{key, value})
			delete(rest, key)
		}
	}
	return append(pairs, sortedPairs(rest)...)
}

func sortedPairs(mapping map[string]any) (pairs []pair) {
	for _, key := range slices.Sorted(maps.Keys(mapping)) {
		pairs = append(pairs, pair{key, mapping[key]})
	}
	return pairs
}

// mapping writes what differs of a mapping's own keys; those that it has by a merge (<<) are left to it. It returns false
// where nothing of the mapping stays.
func (e *yamlEdit) mapping(n *yaml.Node, want []pair, isKey func(node *yaml.Node, key string) bool) bool {
	flow := isFlow(n)
	var merged any
	n.Decode(&merged)
	effective, _ := merged.(map[string]any)
	indexOf := func(key string) int {
		for i := 0; i+1 < len(n.Content); i += 2 {
			if isKey(n.Content[i], key) {
				return i
			}
		}
		return -1
	}
	keep := map[int]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		keep[i] = n.Content[i].ShortTag() == "!!merge" ||
			slices.ContainsFunc(want, func(p pair) bool { return isKey(n.Content[i], p.key) })
	}
	first := 0
	for first < len(n.Content) && !keep[first] {
		first += 2
	}
	if first == len(n.Content) {
		return false
	}
	column := e.column(e.begin(n.Content[0]))

	after := -1 // the last pair before the place of a new one
	for _, p := range want {
		i := indexOf(p.key)
		switch given, inherited := effective[p.key]; {
		case i >= 0:
			e.value(e.end(n.Content[i], column), n.Content[i+1], p.value, column, flow)
			after = max(after, i)
		case inherited && same(given, p.value):
		default:
			if after < 0 {
				after = first
			}
			end := e.end(n.Content[after+1], column)
			if flow {
				e.put(end, end, ", "+flowText(map[string]any{p.key: p.value}, true))
			} else {
				end = e.lineEnd(end)
				e.put(end, end, e.indented("\n"+blockText(map[string]any{p.key: p.value}), column))
			}
		}
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		switch {
		case keep[i]:
		case i < first && (flow || !e.startsLine(e.begin(n.Content[0]))):
			if i == 0 {
				e.put(e.begin(n.Content[0]), e.begin(n.Content[first]), "")
			}
		case flow:
			e.put(e.end(n.Content[i-1], column), e.end(n.Content[i+1], column), "")
		default:
			e.dropLines(e.begin(n.Content[i]), e.end(n.Content[i+1], column))
		}
	}
	return true
}

// dropLines removes the lines from that of one place to that of another.
func (e *yamlEdit) dropLines(from, to int) {
	if line := e.lineOf(from); line > 0 {
		e.put(e.lineEnd(e.lines[line-1]), e.lineEnd(to), "")
		return
	}
	end := e.lineEnd(to)
	e.put(0, end+breakAt(e.text, min(end, len(e.text))), "")
}

// value writes want in the place of a value, whose key or dash ends at mark (a key's colon is looked for) and begins in
// the column indent.
func (e *yamlEdit) value(mark int, n *yaml.Node, want any, indent int, flow bool) {
	var has any
	if n.Decode(&has) == nil && same(has, want) {
		return
	}
	switch w := want.(type) {
	case map[string]any:
		if n.Kind == yaml.MappingNode && len(w) > 0 && e.mapping(n, pairsAsIn(n, w), isWritten) {
			return
		}
	case []any:
		if n.Kind == yaml.SequenceNode && len(w) > 0 && len(n.Content) > 0 {
			e.sequence(n, w)
			return
		}
	}
	begin, end := e.begin(n), e.end(n, indent)
	if flow {
		text := flowText(styled(want, n), false)
		if isBlank(n) && begin > 0 && e.text[begin-1] == ':' {
			text = " " + text
		}
		e.put(begin, end, text)
		return
	}
	if colon := e.filler(mark); e.at(colon) == ':' {
		mark = colon + 1
	}
	// What follows the first line goes behind the comment that the line may have.
	first, rest, more := strings.Cut(blockText(map[string]any{"": styled(want, n)})[len(`"":`):], "\n")
	if !more && e.lineOf(mark) == e.lineOf(begin) && !isBlank(n) {
		mark, first = begin, strings.TrimPrefix(first, " ")
	}
	e.put(mark, end, first)
	if more {
		end = e.lineEnd(end)
		e.put(end, end, e.indented("\n"+rest, indent))
	}
}

// sequence writes what differs of a list. Of neither list there are no elements.
func (e *yamlEdit) sequence(n *yaml.Node, want []any) {
	flow := isFlow(n)
	has := make([]any, len(n.Content))
	for i, element := range n.Content {
		element.Decode(&has[i])
	}
	column := e.column(e.body(n))
	head := 0
	for head < min(len(has), len(want)) && same(has[head], want[head]) {
		head++
	}
	tail := 0
	for tail < min(len(has), len(want))-head && same(has[len(has)-1-tail], want[len(want)-1-tail]) {
		tail++
	}
	both := min(len(has), len(want)) - tail
	for i := head; i < both; i++ {
		if flow {
			e.value(e.begin(n.Content[i]), n.Content[i], want[i], column, true)
		} else {
			e.value(e.dash(n, i)+1, n.Content[i], want[i], column, false)
		}
	}
	for i := both; i < len(has)-tail; i++ {
		switch {
		case !flow:
			e.dropLines(e.dash(n, i), e.end(n.Content[i], column))
		case i > 0:
			e.put(e.end(n.Content[i-1], column), e.end(n.Content[i], column), "")
		default: // and all up to the tail
			e.put(e.begin(n.Content[0]), e.begin(n.Content[len(has)-tail]), "")
			return
		}
	}
	added := want[both : len(want)-tail]
	for _, element := range added {
		element := nodeLike(n.Content[0], element)
		text := flowText(element, false)
		switch {
		case flow && both > 0:
			end := e.end(n.Content[both-1], column)
			e.put(end, end, ", "+text)
		case flow:
			begin := e.begin(n.Content[0])
			e.put(begin, begin, text+", ")
		default:
			if !isFlow(n.Content[0]) {
				text = strings.TrimPrefix(blockText([]any{element}), "- ")
			}
			end := e.lineEnd(e.end(n.Content[max(both, 1)-1], column))
			if both == 0 {
				end = e.lineEnd(e.lines[e.lineOf(e.dash(n, 0))-1])
			}
			e.put(end, end, e.indented("\n- "+text, column))
		}
	}
}

// indented puts a column of spaces before each line of a text but the first, and ends lines as the file does.
func (e *yamlEdit) indented(text string, column int) string {
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		if i > 0 && line != "" {
			lines[i] = strings.Repeat(" ", column) + line
		}
	}
	return strings.Join(lines, e.newline)
}

// blockText is a value in YAML, in lines without the last one's end.
func blockText(value any) string {
	var out strings.Builder
	encoder := yaml.NewEncoder(&out)
	encoder.SetIndent(2)
	encoder.Encode(yamlNode(value, false))
	encoder.Close()
	return strings.TrimSuffix(out.String(), "\n")
}

// flowText is a value in YAML, in one line; bare leaves the brackets out.
func flowText(value any, bare bool) string {
	text := blockText(yamlNode([]any{value}, true)) // as an element of a list: what a comma would end is in quotes
	text = text[len("[") : len(text)-len("]")]
	if bare {
		text = text[len("{") : len(text)-len("}")]
	}
	return text
}

// yamlNode is a value as a node, in lines or in one; keys are sorted. A value may be a node itself.
func yamlNode(value any, flow bool) *yaml.Node {
	n := &yaml.Node{}
	if flow {
		n.Style = yaml.FlowStyle
	}
	switch v := value.(type) {
	case *yaml.Node:
		return v
	case map[string]any:
		n.Kind = yaml.MappingNode
		for _, p := range sortedPairs(v) {
			n.Content = append(n.Content, yamlNode(p.key, flow), yamlNode(p.value, flow))
		}
	case []any:
		n.Kind = yaml.SequenceNode
		for _, element := range v {
			n.Content = append(n.Content, yamlNode(element, flow))
		}
	case string:
		if err := n.Encode(v); err != nil || n.Value != v || flow && strings.Contains(v, "\n") || strings.ContainsAny(v, "\r\u0085\u2028\u2029") || strings.HasSuffix(v, "\n\n") || v == "\n" {
			n = &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: v, Style: yaml.DoubleQuotedStyle}
		}
	default:
		n.Encode(v)
	}
	return n
}

// nodeLike is an element of a list in the way of another: in braces or in lines, and in that one's order.
func nodeLike(other *yaml.Node, value any) *yaml.Node {
	n := yamlNode(value, isFlow(other))
	if mapping, ok := value.(map[string]any); ok {
		n.Content = nil
		for _, p := range pairsAsIn(other, mapping) {
			n.Content = append(n.Content, yamlNode(p.key, isFlow(other)), yamlNode(p.value, isFlow(other)))
		}
	}
	return n
}

// styled is a value in the style of the one in whose place it comes: quotes stay quotes, what was in braces stays there.
func styled(value any, was *yaml.Node) *yaml.Node {
	n := yamlNode(value, isFlow(was) && was.Kind != yaml.ScalarNode && len(was.Content) > 0)
	quotes := was.Style & (yaml.DoubleQuotedStyle | yaml.SingleQuotedStyle)
	if text, ok := value.(string); ok && was.Kind == yaml.ScalarNode && quotes != 0 && n.Style&(yaml.LiteralStyle|yaml.DoubleQuotedStyle) == 0 && text != "" {
		n.Style = quotes
	}
	return n
}

// same says whether two values are the same to YAML, where a list or a mapping that holds nothing is not one that is none.
func same(a, b any) bool {
	switch x := a.(type) {
	case map[string]any:
		y, ok := b.(map[string]any)
		return ok && maps.EqualFunc(x, y, same)
	case []any:
		y, ok := b.([]any)
		return ok && slices.EqualFunc(x, y, same)
	case time.Time:
		y, ok := b.(time.Time)
		return ok && x.Equal(y)
	}
	x, isNumber := number(a)
	y, areNumbers := number(b)
	if isNumber && areNumbers {
		return x == y || math.IsNaN(x) && math.IsNaN(y)
	}
	return reflect.DeepEqual(a, b)
}

func number(value any) (float64, bool) {
	switch v := reflect.ValueOf(value); {
	case v.CanInt():
		return float64(v.Int()), true
	case v.CanUint():
		return float64(v.Uint()), true
	case v.CanFloat():
		return v.Float(), true
	}
	return 0, false
}
