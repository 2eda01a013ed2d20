package rest

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"html"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/parser"

	"github.com/leadrelay/leadrelay/internal/lead"
)

// heard is what a request says of one lead: the values of what the recipe's expressions name there.
type heard struct {
	ref, key string
	lead     map[string]any // what is known of it: id, email, …
	fields   map[string]any
	change   map[string]any
	item     any
	sums     []sum             // computed values that tell of the lead, such as a digest of its address
	choices  []choice          // that wait for what the request says elsewhere
	texts    map[string]string // what cannot be told apart of it, by the expression
	items    []*heard          // of a batch
}

// sum is what an expression of the request came to, that cannot be calculated backwards.
type sum struct {
	node  ast.Node
	value any
}

// choice is the value of one expression or, where that has none, of another: fields.name ?? "unknown".
type choice struct {
	node  *ast.BinaryNode
	value any
}

func newHeard() *heard {
	return &heard{lead: map[string]any{}, fields: map[string]any{}, change: map[string]any{}, texts: map[string]string{}}
}

func (t *heard) clone() *heard {
	c := *t
	c.lead, c.fields, c.change, c.texts = maps.Clone(t.lead), maps.Clone(t.fields), maps.Clone(t.change), maps.Clone(t.texts)
	c.sums, c.choices = slices.Clone(t.sums), slices.Clone(t.choices)
	c.items = slices.Clone(t.items)
	for i := range c.items {
		c.items[i] = c.items[i].clone()
	}
	return &c
}

// each returns what is said of each lead of a batch, or of the one lead.
func (t *heard) each() []*heard {
	if t.items == nil {
		return []*heard{t}
	}
	return t.items
}

// of is the i-th of a batch.
func (t *heard) of(i int) *heard {
	for len(t.items) <= i {
		t.items = append(t.items, newHeard())
	}
	return t.items[i]
}

// matcher reads one request as one verb's: it walks the verb's templates beside the request and takes, wherever an
// expression stands, the value for what it names.
type matcher struct {
	s       *StandIn
	v       *verb
	literal int      // how much of the request is the verb's own text: of two verbs that fit, the one that says more is meant
	name    string   // of the member that is read, where it stands among the vendor's fields
	free    []string // variables: they may have any value
}

// inside is how the element of a list is called in an expression such as map(items, .lead.id): a path that begins
// with # is put where it belongs.
type inside func(t *heard, path []string, value any) bool

// match says what a request tells, if it is the verb's.
func (s *StandIn) match(v *verb, r *http.Request, body []byte) (t *heard, literal int, ok bool) {
	if r.Method != v.method {
		return nil, 0, false
	}
	m := &matcher{s: s, v: v}
	t = newHeard()
	path, under := strings.CutPrefix(r.URL.EscapedPath(), s.basePath)
	if !under || !m.path(t, path) || !m.query(t, r.URL.Query()) || !m.headers(t, r.Header) || !m.body(t, r, body) {
		return nil, 0, false
	}
	return t, m.literal, m.settle(t, false)
}

func (m *matcher) path(t *heard, path string) bool {
	values, ok := capturedBy(m.v.segments, path, "([^/]+)")
	if !ok {
		return false
	}
	m.literal += len(strings.Join(m.v.segments.texts, ""))
	for i, value := range values {
		plain, err := url.PathUnescape(value)
		if err != nil || !m.text(t, m.v.segments.expressions[i], plain) {
			return false
		}
	}
	return true
}

func (m *matcher) query(t *heard, query url.Values) bool {
	if m.s.recipe.auth.query != nil {
		query.Del(m.s.recipe.auth.query.name)
	}
	return m.pairs(t, m.v.query, query)
}

// pairs reads a query or a form: what is nil there is left out.
func (m *matcher) pairs(t *heard, pairs []pair, values url.Values) bool {
	known := map[string]bool{}
	for _, p := range pairs {
		known[p.name] = true
		given := values[p.name]
		switch {
		case len(given) == 0:
			if !m.template(t, p.value, nil, nil) {
				return false
			}
		case len(given) == 1 && m.attempt(t, func(t *heard) bool { return m.template(t, p.value, given[0], nil) }):
		default:
			list := make([]any, len(given))
			for i := range given {
				list[i] = given[i]
			}
			if !m.template(t, p.value, list, nil) {
				return false
			}
		}
	}
	for name := range values {
		if !known[name] {
			return false
		}
	}
	return true
}

func (m *matcher) headers(t *heard, given http.Header) bool {
	for name, value := range m.v.headers {
		if !m.template(t, value, given.Get(name), nil) {
			return false
		}
	}
	return true
}

func (m *matcher) body(t *heard, r *http.Request, body []byte) bool {
	switch {
	case m.v.form != nil:
		form, err := url.ParseQuery(string(body))
		if err != nil || !strings.HasPrefix(r.Header.Get("Content-Type"), "application/x-www-form-urlencoded") {
			return false
		}
		return m.pairs(t, m.v.form, form)
	case m.v.body == nil:
		return len(bytes.TrimSpace(body)) == 0
	}
	value, isJSON := decode(body)
	if !isJSON {
		return false
	}
	return m.tree(t, m.v.body, value)
}

// attempt keeps what f found only if f says that it fits.
func (m *matcher) attempt(t *heard, f func(*heard) bool) bool {
	before := m.literal
	try := t.clone()
	if f(try) {
		*t = *try
		return true
	}
	m.literal = before
	return false
}

func (m *matcher) tree(t *heard, tree *tree, value any) bool {
	switch {
	case tree == nil:
		return value == nil
	case tree.text != nil:
		return m.template(t, tree.text, value, nil)
	case tree.list != nil:
		list, ok := value.([]any)
		if !ok || len(list) != len(tree.list) {
			return false
		}
		for i, element := range tree.list {
			if !m.tree(t, element, list[i]) {
				return false
			}
		}
		return true
	case tree.isMap:
		mapping, ok := value.(map[string]any)
		return ok && m.members(t, tree, maps.Clone(mapping))
	}
	m.literal++
	return same(tree.constant, value)
}

// members reads a mapping; left is what of it is not read yet.
func (m *matcher) members(t *heard, tree *tree, left map[string]any) bool {
	var spread, dynamic []member // whose places in the mapping are yet to be found
	for _, member := range tree.members {
		switch name, known := m.known(member.name); {
		case member.name == nil:
			spread = append(spread, member)
		case !known:
			dynamic = append(dynamic, member)
		default:
			value, there := left[name]
			if !there {
				return false
			}
			m.literal += len(name)
			delete(left, name)
			if !m.named(name, spreads(tree), func() bool { return m.tree(t, member.value, value) }) {
				return false
			}
		}
	}
	for _, member := range dynamic { // its key tells of the lead
		if len(left) == 0 {
			return false
		}
		name := slices.Min(slices.Collect(maps.Keys(left)))
		value := left[name]
		delete(left, name)
		if !m.template(t, member.name, name, nil) || !m.tree(t, member.value, value) {
			return false
		}
	}
	var parts []ast.Node
	for _, member := range spread {
		switch value := member.value; {
		case value.isMap:
			part := map[string]any{}
			for _, member := range value.members {
				if name, known := m.known(member.name); known {
					part[name] = left[name]
					delete(left, name)
				}
			}
			if !m.members(t, value, part) {
				return false
			}
		case value.text != nil && len(value.text.expressions) == 1:
			parts = append(parts, m.s.ast(value.text.expressions[0]))
		}
	}
	return m.merged(t, parts, left, nil)
}

// spreads says whether there are fields beside the members that a mapping names.
func spreads(tree *tree) bool {
	return slices.ContainsFunc(tree.members, func(m member) bool { return m.name == nil })
}

// named reads what has a name, which is that of a field where it stands among others.
func (m *matcher) named(name string, among bool, read func() bool) bool {
	was := m.name
	defer func() { m.name = was }()
	m.name = ""
	if among {
		m.name = name
	}
	return read()
}

// known is the text of a template that tells nothing of a lead.
func (m *matcher) known(t *template) (string, bool) {
	if t == nil {
		return "", false
	}
	for _, e := range t.expressions {
		if !ofSettings(e.names) {
			return "", false
		}
	}
	text, err := t.plain(map[string]any{"settings": m.s.settings})
	return text, err == nil
}

func ofSettings(names []string) bool {
	return !slices.ContainsFunc(names, func(name string) bool {
		return name != "settings" && !strings.HasPrefix(name, "settings.")
	})
}

// template reads a value by a template. Of one expression alone it has any type, else it is text.
func (m *matcher) template(t *heard, tmpl *template, value any, at inside) bool {
	if len(tmpl.expressions) == 1 && tmpl.texts[0] == "" && tmpl.texts[1] == "" {
		return m.expr(t, m.s.ast(tmpl.expressions[0]), value, at)
	}
	given, ok := value.(string)
	if !ok {
		return false
	}
	values, ok := capturedBy(tmpl, given, "(.*?)")
	if !ok {
		return false
	}
	m.literal += len(strings.Join(tmpl.texts, ""))
	for i, e := range tmpl.expressions {
		if !m.expr(t, m.s.ast(e), values[i], at) {
			return false
		}
	}
	return true
}

// text reads a part of a text.
func (m *matcher) text(t *heard, e *expression, value string) bool {
	return m.expr(t, m.s.ast(e), value, nil)
}

// capturedBy finds what stands in the places of a template's expressions.
func capturedBy(t *template, text, anything string) ([]string, bool) {
	var pattern strings.Builder
	pattern.WriteString("(?s)^")
	for i, literal := range t.texts {
		pattern.WriteString(regexp.QuoteMeta(literal))
		if i < len(t.expressions) {
			pattern.WriteString(anything)
		}
	}
	pattern.WriteString("$")
	compiled, err := regexp.Compile(pattern.String())
	if err != nil {
		return nil, false
	}
	found := compiled.FindStringSubmatch(text)
	if found == nil {
		return nil, false
	}
	return found[1:], true
}

// expr reads a value by an expression: what the expression names has, then, that value. Of what cannot be calculated
// backwards the value itself is kept.
func (m *matcher) expr(t *heard, node ast.Node, value any, at inside) bool {
	if path, ok := pathOf(node); ok {
		if path[0] == "#" {
			return at == nil || at(t, path, value)
		}
		if m.elsewhere(path[0]) {
			return true
		}
		return m.bind(t, path, value)
	}
	if constant, ok := m.s.constant(node); ok {
		m.literal++
		return same(constant, value) || text(constant) == text(value)
	}
	switch n := node.(type) {
	case *ast.ChainNode:
		return m.expr(t, n.Node, value, at)
	case *ast.MemberNode:
		// fields[#] of map(keys(fields), …)
		if _, ok := n.Property.(*ast.PointerNode); ok && at != nil {
			return at(t, []string{"#", "value"}, value)
		}
	case *ast.ArrayNode:
		list, ok := value.([]any)
		if !ok || len(list) != len(n.Nodes) {
			return false
		}
		for i, element := range n.Nodes {
			if !m.expr(t, element, list[i], at) {
				return false
			}
		}
		return true
	case *ast.MapNode:
		mapping, ok := value.(map[string]any)
		if !ok {
			return false
		}
		left := maps.Clone(mapping)
		return m.literalMap(t, n, left, false, false, at) && len(left) == 0
	case *ast.ConditionalNode:
		if holds, ok := m.s.constant(n.Cond); ok {
			if holds == true {
				return m.expr(t, n.Exp1, value, at)
			}
			return m.expr(t, n.Exp2, value, at)
		}
		branches := []ast.Node{n.Exp1, n.Exp2}
		if path, ok := pathOf(n.Exp1); ok && m.elsewhere(path[0]) {
			slices.Reverse(branches) // which has any value
		}
		for _, branch := range branches {
			if m.attempt(t, func(t *heard) bool { return m.expr(t, branch, value, at) }) {
				return true
			}
		}
		return false
	case *ast.VariableDeclaratorNode:
		if at != nil {
			break // it is calculated of each element, nobody knows how
		}
		m.free = append(m.free, n.Name)
		return m.expr(t, n.Expr, value, at)
	case *ast.UnaryNode:
		if _, isBool := value.(bool); !isBool && (n.Operator == "not" || n.Operator == "!") {
			return false
		}
	case *ast.BinaryNode:
		switch n.Operator {
		case "==", "!=", "<", ">", "<=", ">=", "in", "and", "or", "&&", "||", "contains", "startsWith", "endsWith", "matches":
			if _, isBool := value.(bool); !isBool {
				return false
			}
		case "??":
			if at == nil {
				t.choices = append(t.choices, choice{n, value})
				return true
			}
			return m.attempt(t, func(t *heard) bool { return m.expr(t, n.Left, value, at) }) || m.expr(t, n.Right, value, at)
		case "+":
			if given, ok := value.(string); ok {
				return m.sum(t, n, given, at)
			}
		}
	case *ast.CallNode:
		if callee, ok := n.Callee.(*ast.IdentifierNode); ok {
			return m.call(t, node, callee.Value, n.Arguments, value, at)
		}
	case *ast.BuiltinNode:
		return m.call(t, node, n.Name, n.Arguments, value, at)
	}
	return m.keep(t, node, value, at)
}

// elsewhere says whether a name's value comes from another request, or from a calculation.
func (m *matcher) elsewhere(name string) bool {
	return slices.Contains([]string{"answer", "status", "header", "page"}, name) || slices.Contains(m.free, name)
}

// keep remembers a computed value.
func (m *matcher) keep(t *heard, node ast.Node, value any, at inside) bool {
	if at == nil {
		t.sums = append(t.sums, sum{node, value})
	}
	first := cmp.Or(m.name, node.String())
	name := first
	for n := 2; t.texts[name] != ""; n++ {
		name = fmt.Sprintf("%s (%d)", first, n)
	}
	t.texts[name] = strings.Join(textsIn(value), "\n")
	return true
}

// textsIn lists what a value says, without the marks that JSON puts around it.
func textsIn(value any) (texts []string) {
	switch v := value.(type) {
	case []any:
		for _, element := range v {
			texts = append(texts, textsIn(element)...)
		}
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(v)) {
			texts = append(texts, textsIn(v[name])...)
		}
	default:
		texts = append(texts, text(v))
	}
	return texts
}

// sum reads texts that are added.
func (m *matcher) sum(t *heard, n *ast.BinaryNode, given string, at inside) bool {
	var parts []ast.Node
	var walk func(ast.Node)
	walk = func(node ast.Node) {
		if b, ok := node.(*ast.BinaryNode); ok && b.Operator == "+" {
			walk(b.Left)
			walk(b.Right)
			return
		}
		parts = append(parts, node)
	}
	walk(n)
	joined := &template{texts: []string{""}}
	var open []ast.Node
	for _, part := range parts {
		if constant, ok := m.s.constant(part); ok {
			joined.texts[len(joined.texts)-1] += text(constant)
			continue
		}
		open = append(open, part)
		joined.expressions = append(joined.expressions, nil)
		joined.texts = append(joined.texts, "")
	}
	values, ok := capturedBy(joined, given, "(.*?)")
	if !ok {
		return false
	}
	m.literal += len(strings.Join(joined.texts, ""))
	for i, part := range open {
		if !m.expr(t, part, values[i], at) {
			return false
		}
	}
	return true
}

// call reads the value of a function.
func (m *matcher) call(t *heard, node ast.Node, name string, arguments []ast.Node, value any, at inside) bool {
	first := ast.Node(&ast.NilNode{})
	if len(arguments) > 0 {
		first = arguments[0]
	}
	switch name {
	case "text", "string", "int", "float":
		return m.expr(t, first, value, at)
	case "toJSON":
		if given, ok := value.(string); ok {
			if inner, isJSON := decode([]byte(given)); isJSON {
				return m.expr(t, first, inner, at)
			}
		}
		return false
	case "escape_html":
		return m.expr(t, first, html.UnescapeString(text(value)), at)
	case "replace":
		if len(arguments) == 3 {
			was, before := m.s.constant(arguments[1])
			is, after := m.s.constant(arguments[2])
			if before && after && text(is) != "" {
				return m.expr(t, first, strings.ReplaceAll(text(value), text(is), text(was)), at)
			}
		}
	case "normal_email", "lower", "upper", "trim":
		// Spelled otherwise: good enough, unless it is said elsewhere as it is.
		return m.keep(t, node, value, at)
	case "merge":
		mapping, ok := value.(map[string]any)
		return ok && m.merged(t, arguments, maps.Clone(mapping), at)
	case "compact":
		switch given := value.(type) {
		case map[string]any:
			if inner, ok := first.(*ast.MapNode); ok {
				left := maps.Clone(given)
				return m.literalMap(t, inner, left, true, false, at) && len(left) == 0
			}
			return m.expr(t, first, given, at)
		case []any:
			if inner, ok := first.(*ast.ArrayNode); !ok || len(inner.Nodes) == len(given) {
				return m.expr(t, first, given, at)
			}
			return true
		}
		return false
	case "filter", "sort", "uniq":
		return m.expr(t, first, value, at)
	case "trimPrefix", "trimSuffix":
		if constant, ok := m.s.constant(arguments[len(arguments)-1]); ok && len(arguments) == 2 {
			if name == "trimPrefix" {
				return m.expr(t, first, text(constant)+text(value), at)
			}
			return m.expr(t, first, text(value)+text(constant), at)
		}
	case "fromPairs":
		mapping, ok := value.(map[string]any)
		list := []any{}
		for _, name := range slices.Sorted(maps.Keys(mapping)) {
			list = append(list, []any{name, mapping[name]})
		}
		return ok && m.expr(t, first, list, at)
	case "toPairs":
		list, ok := value.([]any)
		mapping := map[string]any{}
		for _, element := range list {
			if pair, isPair := element.([]any); isPair && len(pair) == 2 {
				mapping[text(pair[0])] = pair[1]
			}
		}
		return ok && m.expr(t, first, mapping, at)
	case "concat":
		list, ok := value.([]any)
		return ok && m.joined(t, arguments, list, at)
	case "join":
		given, ok := value.(string)
		separator := ""
		if len(arguments) > 1 {
			constant, _ := m.s.constant(arguments[1])
			separator = text(constant)
		}
		if !ok || separator == "" {
			return ok && m.keep(t, node, value, at)
		}
		list := []any{}
		for part := range strings.SplitSeq(given, separator) {
			list = append(list, part)
		}
		return m.expr(t, first, list, at)
	case "map":
		list, ok := value.([]any)
		predicate, isPredicate := arguments[len(arguments)-1].(*ast.PredicateNode)
		if !ok || !isPredicate {
			return false
		}
		return m.mapped(t, first, predicate.Node, list)
	}
	return m.keep(t, node, value, at)
}

// joined reads a list that was put together of others: one that is not written out has what these leave.
func (m *matcher) joined(t *heard, parts []ast.Node, list []any, at inside) bool {
	spare := len(list)
	for _, part := range parts {
		if written, ok := part.(*ast.ArrayNode); ok {
			spare -= len(written.Nodes)
		}
	}
	for _, part := range parts {
		n := max(0, spare)
		if written, ok := part.(*ast.ArrayNode); ok {
			n = len(written.Nodes)
		} else {
			spare = 0
		}
		if n > len(list) || !m.expr(t, part, list[:n:n], at) {
			return false
		}
		list = list[n:]
	}
	return len(list) == 0
}

// mapped reads the list that a function made of each element of another.
func (m *matcher) mapped(t *heard, source, made ast.Node, list []any) bool {
	for {
		chosen, ok := source.(*ast.BuiltinNode)
		if !ok || !slices.Contains([]string{"filter", "sort", "uniq"}, chosen.Name) {
			break
		}
		source = chosen.Arguments[0]
	}
	over := source.String()
	for i, element := range list {
		if slices.Contains([]string{"items", "each", "refs", "ids"}, over) {
			t.of(i)
		}
		pair := map[string]any{}
		place := func(t *heard, path []string, value any) bool {
			switch over {
			case "items":
				if len(path) == 1 {
					return false
				}
				return m.bind(t.of(i), path[1:], value)
			case "refs":
				return m.bind(t.of(i), []string{"ref"}, value)
			case "ids":
				return m.bind(t.of(i), []string{"lead", "id"}, value)
			case "each":
				return len(path) > 1 || m.tree(t.of(i), m.v.each, value)
			case "toPairs(fields)", "keys(fields)":
				switch {
				case len(path) == 1, path[1] == "0":
					pair["name"] = value
				default:
					pair["value"] = value
				}
			}
			return true
		}
		if !m.expr(t, made, element, place) {
			return false
		}
		if name, ok := pair["name"]; ok {
			value, told := pair["value"]
			if !told {
				value = element
			}
			if !m.bind(t, []string{"fields", text(name)}, value) {
				return false
			}
		}
	}
	return true
}

// literalMap reads the members of a mapping that the expression writes out, and takes them out of left. sparse: some may
// be missing; among: the vendor's fields stand beside them.
func (m *matcher) literalMap(t *heard, n *ast.MapNode, left map[string]any, sparse, among bool, at inside) bool {
	for _, node := range n.Pairs {
		p, ok := node.(*ast.PairNode)
		if !ok {
			return false
		}
		name, known := m.s.constant(p.Key)
		if !known {
			return m.keep(t, n, maps.Clone(left), at)
		}
		value, there := left[text(name)]
		if !there {
			if sparse {
				continue
			}
			return false
		}
		delete(left, text(name))
		m.literal += len(text(name))
		if !m.named(text(name), among, func() bool { return m.expr(t, p.Value, value, at) }) {
			return false
		}
	}
	return true
}

// merged reads a mapping that was put together of parts: those that are written out take their members, and what is
// left belongs to the first other.
func (m *matcher) merged(t *heard, parts []ast.Node, left map[string]any, at inside) bool {
	var rest ast.Node
	for _, part := range parts {
		inner := part
		for {
			call, ok := inner.(*ast.CallNode)
			if !ok || call.Callee.String() != "compact" || len(call.Arguments) != 1 {
				break
			}
			inner = call.Arguments[0]
		}
		var written []*ast.MapNode
		switch n := inner.(type) {
		case *ast.MapNode:
			written = append(written, n)
		case *ast.ConditionalNode:
			for _, branch := range []ast.Node{n.Exp1, n.Exp2} {
				if mapping, ok := branch.(*ast.MapNode); ok {
					written = append(written, mapping)
				}
			}
		}
		if constant, ok := m.s.constant(inner); ok {
			members, _ := constant.(map[string]any)
			for name, value := range members {
				if given, there := left[name]; there && same(value, given) {
					delete(left, name)
				}
			}
			continue
		}
		if written == nil {
			if rest == nil {
				rest = inner
			}
			continue
		}
		for _, mapping := range written {
			if !m.literalMap(t, mapping, left, true, true, at) {
				return false
			}
		}
	}
	if rest == nil {
		return len(left) == 0
	}
	return m.expr(t, rest, left, at)
}

// pathOf returns the names a node stands for: of lead.email these are lead and email. # is the element of a list.
func pathOf(node ast.Node) ([]string, bool) {
	switch n := node.(type) {
	case *ast.IdentifierNode:
		return []string{n.Value}, true
	case *ast.PointerNode:
		return []string{"#"}, n.Name == ""
	case *ast.ChainNode:
		return pathOf(n.Node)
	case *ast.MemberNode:
		path, ok := pathOf(n.Node)
		if !ok {
			return nil, false
		}
		switch p := n.Property.(type) {
		case *ast.StringNode:
			return append(path, p.Value), true
		case *ast.IntegerNode:
			return append(path, strconv.Itoa(p.Value)), true
		}
	}
	return nil, false
}

// bind takes a value for a name. It is false where the name has another value already.
func (m *matcher) bind(t *heard, path []string, value any) bool {
	member := strings.Join(path[1:], ".")
	switch path[0] {
	case "settings":
		m.literal++
		return text(m.s.settings[member]) == text(value)
	case "ref":
		return assignText(&t.ref, text(value))
	case "key":
		return assignText(&t.key, text(value))
	case "lead":
		if member == "lead_id" {
			member = "id"
		}
		return member != "" && assignMember(t.lead, member, value)
	case "change":
		return member != "" && assignMember(t.change, member, value)
	case "item":
		if member == "" {
			t.item = value
		}
		return true
	case "fields":
		if member != "" {
			return assignMember(t.fields, member, value)
		}
		mapping, ok := value.(map[string]any)
		for name, value := range mapping {
			if !assignMember(t.fields, name, value) {
				return false
			}
		}
		return ok || value == nil
	case "items", "each", "refs", "ids":
		list, ok := value.([]any)
		if !ok || t.items != nil && len(t.items) != len(list) {
			return false
		}
		for i, element := range list {
			item := t.of(i)
			fits := false
			switch path[0] {
			case "each":
				fits = m.tree(item, m.v.each, element)
			case "refs":
				fits = assignText(&item.ref, text(element))
			case "ids":
				fits = m.bind(item, []string{"lead", "id"}, element)
			}
			if !fits {
				return false
			}
		}
		return true
	}
	return false
}

func assignText(into *string, value string) bool {
	if *into == "" {
		*into = value
	}
	return *into == value
}

func assignMember(into map[string]any, name string, value any) bool {
	if was, there := into[name]; there && was != nil {
		return value == nil || same(was, value) || text(was) == text(value) || lead.NormalEmail(text(was)) == lead.NormalEmail(text(value))
	}
	into[name] = value
	return true
}

// settle holds computed values against what else the request says. A value of what is said nowhere else stays, and so
// does a choice but for the last time.
func (m *matcher) settle(t *heard, last bool) bool {
	for _, item := range t.items {
		if !m.settle(item, last) {
			return false
		}
	}
	known := func() map[string]any {
		return map[string]any{"settings": m.s.settings, "ref": t.ref, "key": t.key, "lead": t.lead}
	}
	choices := t.choices
	t.choices = nil
	for _, c := range choices {
		instead, ok := m.s.evaluate(c.node.Right, known(), t.knows)
		switch {
		case !ok && !last:
			t.choices = append(t.choices, c)
		case ok && same(instead, c.value):
			if !m.expr(t, c.node.Left, nil, nil) {
				return false
			}
		case !m.attempt(t, func(t *heard) bool { return m.expr(t, c.node.Left, c.value, nil) }):
			if !m.expr(t, c.node.Right, c.value, nil) {
				return false
			}
		}
	}
	var kept []sum
	for _, s := range t.sums {
		if value, ok := m.s.evaluate(s.node, known(), t.knows); ok {
			if !same(value, s.value) && text(value) != text(s.value) {
				return false
			}
			continue
		}
		kept = append(kept, s)
		if spelled, ok := spelledOf(s.node); ok && !m.expr(t, spelled, s.value, nil) {
			return false
		}
	}
	t.sums = kept
	return true
}

// knows says whether a name has a value.
func (t *heard) knows(name string) bool {
	switch top, member, _ := strings.Cut(name, "."); top {
	case "settings":
		return true
	case "ref":
		return t.ref != ""
	case "key":
		return t.key != ""
	case "lead":
		if member == "lead_id" {
			member = "id"
		}
		return t.lead[member] != nil
	}
	return false
}

// spelledOf is what a function spells otherwise, such as the address in normal_email(lead.email).
func spelledOf(node ast.Node) (ast.Node, bool) {
	name, arguments := "", []ast.Node(nil)
	switch n := node.(type) {
	case *ast.CallNode:
		name, arguments = n.Callee.String(), n.Arguments
	case *ast.BuiltinNode:
		name, arguments = n.Name, n.Arguments
	}
	if !slices.Contains([]string{"normal_email", "lower", "upper", "trim"}, name) || len(arguments) != 1 {
		return nil, false
	}
	if _, ok := pathOf(arguments[0]); ok {
		return arguments[0], true
	}
	return spelledOf(arguments[0])
}

// ast is an expression as it was written.
func (s *StandIn) ast(e *expression) ast.Node {
	if node, ok := s.parsed[e.text]; ok {
		return node
	}
	tree, err := parser.Parse(e.text)
	if err != nil {
		return &ast.NilNode{} // it was compiled before
	}
	s.parsed[e.text] = tree.Node
	return tree.Node
}

// constant is the value of a node that tells nothing of a lead.
func (s *StandIn) constant(node ast.Node) (any, bool) {
	return s.evaluate(node, map[string]any{"settings": s.settings}, func(name string) bool { return ofSettings([]string{name}) })
}

// evaluate is the value of a node, where all that it reads is known.
func (s *StandIn) evaluate(node ast.Node, env map[string]any, known func(name string) bool) (any, bool) {
	open := &pointers{}
	ast.Walk(&node, open)
	if open.found {
		return nil, false
	}
	names := &reads{}
	ast.Walk(&node, names)
	if slices.ContainsFunc(names.all, func(name string) bool { return !known(name) }) {
		return nil, false
	}
	source := node.String()
	e, ok := s.compiled[source]
	if !ok {
		e, _ = compile(source, atRequest, s.recipe.settingNames())
		s.compiled[source] = e
	}
	if e == nil {
		return nil, false
	}
	value, err := e.run(env)
	return value, err == nil
}

// pointers finds what stands for the element of a list outside of the function that goes over it.
type pointers struct{ found bool }

func (p *pointers) Visit(node *ast.Node) {
	if _, ok := (*node).(*ast.PointerNode); ok {
		p.found = true
	}
}

// same compares values as JSON has them.
func same(a, b any) bool {
	left, err := json.Marshal(a)
	if err != nil {
		return false
	}
	right, err := json.Marshal(b)
	return err == nil && bytes.Equal(left, right)
}
