package rest

import (
	"crypto/md5"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/expr-lang/expr"
	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/file"
	"github.com/expr-lang/expr/parser"
	"github.com/expr-lang/expr/vm"

	"github.com/leadrelay/leadrelay/internal/lead"
)

// expression is compiled text of expr-lang (https://expr-lang.org/docs/language-definition) over the names of a
// scope. What is not there is nil, at any depth: answer.results[0].id of an empty answer is nil.
type expression struct {
	text    string
	program *vm.Program
	names   []string // the first two parts of each name it reads: "lead.email", "fields", "ref"
	tells   bool     // its value may hold personal data: it reads the lead beyond its id, and not through a digest
}

// scope is what an expression may name. Each template and expression of a recipe has one of the scopes below.
type scope []string

var (
	atOpen    = scope{"settings"}                                           // addresses, authentication
	atRequest = scope{"settings", "lead", "fields", "ref", "change", "key"} // one lead's request
	atBatch   = scope{"settings", "items", "each", "refs", "ids"}           // a batch's request
	atAnswer  = append(slices.Clone(atRequest), "answer", "status", "header")
	atResult  = append(slices.Clone(atAnswer), "result", "error", "items")
	atStep    = append(slices.Clone(atAnswer), "item") // a further request: the answer is the verb's own
	atElement = scope{"settings", "result", "error"}   // one element of an answer about several leads
	atFailure = scope{"error"}                         // an answer, or such an element, that is no success
)

// functionNames are those of functions.
var functionNames = []string{"md5", "sha256", "base64", "text", "normal_email", "escape_html", "capture", "chunks", "merge", "compact"}

// functions are what recipes may call beside the language's own.
var functions = []expr.Option{
	expr.Function("md5", func(args ...any) (any, error) {
		sum := md5.Sum([]byte(text(args[0])))
		return hex.EncodeToString(sum[:]), nil
	}, new(func(any) string)),
	expr.Function("sha256", func(args ...any) (any, error) {
		sum := sha256.Sum256([]byte(text(args[0])))
		return hex.EncodeToString(sum[:]), nil
	}, new(func(any) string)),
	expr.Function("base64", func(args ...any) (any, error) {
		return base64.StdEncoding.EncodeToString([]byte(text(args[0]))), nil
	}, new(func(any) string)),
	expr.Function("text", func(args ...any) (any, error) { return text(args[0]), nil }, new(func(any) string)),
	// normal_email is the form in which two spellings of an address are one.
	expr.Function("normal_email", func(args ...any) (any, error) {
		return lead.NormalEmail(text(args[0])), nil
	}, new(func(any) string)),
	// escape_html replaces & < > and quotes.
	expr.Function("escape_html", func(args ...any) (any, error) {
		return html.EscapeString(text(args[0])), nil
	}, new(func(any) string)),
	// capture is the first group of a regular expression's first match, nil where there is none.
	expr.Function("capture", func(args ...any) (any, error) {
		pattern, err := regexp.Compile(text(args[1]))
		if err != nil {
			return nil, err
		}
		if found := pattern.FindStringSubmatch(text(args[0])); len(found) > 1 {
			return found[1], nil
		}
		return nil, nil
	}, new(func(any, string) any)),
	// chunks cuts a text into parts of at most n characters.
	expr.Function("chunks", func(args ...any) (any, error) {
		size, _ := args[1].(int)
		if size < 1 {
			return nil, errors.New("chunks: the size must be at least 1")
		}
		parts := []any{}
		for runes := []rune(text(args[0])); len(runes) > 0; {
			n := min(size, len(runes))
			parts = append(parts, string(runes[:n]))
			runes = runes[n:]
		}
		return parts, nil
	}, new(func(any, int) []any)),
	expr.Function(partName, partOf, new(func(any, any) any)),
	// merge is one mapping of several; later ones win, nil ones count for nothing.
	expr.Function("merge", func(args ...any) (any, error) {
		merged := map[string]any{}
		for _, arg := range args {
			part, ok := asJSON(arg).(map[string]any)
			if !ok && arg != nil {
				return nil, errors.New("merge: takes mappings")
			}
			for name, value := range part {
				merged[name] = value
			}
		}
		return merged, nil
	}),
	// compact leaves out of a mapping, or a list, what is nil or "".
	expr.Function("compact", func(args ...any) (any, error) {
		empty := func(value any) bool { return value == nil || value == "" }
		switch v := asJSON(args[0]).(type) {
		case map[string]any:
			kept := map[string]any{}
			for name, value := range v {
				if !empty(value) {
					kept[name] = value
				}
			}
			return kept, nil
		case []any:
			return slices.DeleteFunc(slices.Clone(v), empty), nil
		}
		return args[0], nil
	}, new(func(any) any)),
}

// maxExpression is more than anybody can read, and bounds what it takes to parse one.
const maxExpression = 4096

var errTooLong = fmt.Errorf("an expression has at most %d characters", maxExpression)

// compile checks an expression against what its scope has; settings lists the recipe's own.
func compile(source string, in scope, settings []string) (*expression, error) {
	env := map[string]any{}
	for _, name := range in {
		env[name] = new(any)
	}
	if len(source) > maxExpression {
		return nil, errTooLong
	}
	tree, err := parser.Parse(source)
	if err != nil {
		return nil, plainError(err)
	}
	names := &reads{}
	ast.Walk(&tree.Node, names)
	for _, name := range names.calls {
		if !slices.Contains(functionNames, name) {
			return nil, fmt.Errorf("there is no function %s", name)
		}
	}
	for _, name := range names.all {
		top, member, _ := strings.Cut(name, ".")
		if !slices.Contains(in, top) {
			return nil, fmt.Errorf("%s is not known here (known: %s)", top, strings.Join(in, ", "))
		}
		if top == "settings" && member != "" && !slices.Contains(settings, member) {
			return nil, fmt.Errorf("settings.%s: the recipe has no such setting", member)
		}
	}
	program, err := expr.Compile(source, append([]expr.Option{
		expr.AllowUndefinedVariables(), expr.Patch(safely{}), expr.DisableBuiltin("now"), expr.DisableBuiltin("reduce"),
	}, functions...)...)
	if err != nil {
		return nil, plainError(err)
	}
	shown := &reads{}
	ast.Walk(&tree.Node, digests{})
	ast.Walk(&tree.Node, shown)
	return &expression{source, program, names.all, slices.ContainsFunc(shown.all, isPersonal)}, nil
}

// isPersonal says whether a name stands for something of a person.
func isPersonal(name string) bool {
	switch top, member, _ := strings.Cut(name, "."); top {
	case "fields", "items", "each":
		return true
	case "lead":
		return member != "id" && member != "lead_id" && member != "revision"
	}
	return false
}

// digests takes calls whose value tells nothing of what they are given out of an expression.
type digests struct{}

func (digests) Visit(node *ast.Node) {
	if call, ok := (*node).(*ast.CallNode); ok {
		if callee, ok := call.Callee.(*ast.IdentifierNode); ok && (callee.Value == "md5" || callee.Value == "sha256") {
			ast.Patch(node, &ast.StringNode{})
		}
	}
}

// plainError is expr's error in one line.
func plainError(err error) error {
	var at *file.Error
	if errors.As(err, &at) {
		return fmt.Errorf("column %d: %s", at.Column+1, at.Message)
	}
	return err
}

// run evaluates the expression; one that fails has no value.
func (e *expression) run(env map[string]any) (any, error) {
	value, err := expr.Run(e.program, env)
	return asJSON(value), err
}

// asJSON is a value in the types JSON has: the language's own functions make others, such as keys, toPairs and fromPairs.
func asJSON(value any) any {
	switch value.(type) {
	case nil, string, bool, int, float64:
		return value
	}
	switch v := reflect.ValueOf(value); v.Kind() {
	case reflect.Slice, reflect.Array:
		list := make([]any, v.Len())
		for i := range list {
			list[i] = asJSON(v.Index(i).Interface())
		}
		return list
	case reflect.Map:
		mapping := make(map[string]any, v.Len())
		for _, name := range v.MapKeys() {
			mapping[fmt.Sprint(name.Interface())] = asJSON(v.MapIndex(name).Interface())
		}
		return mapping
	}
	return value
}

// value is run for what is read of an answer: where the answer is not as expected, nil.
func (e *expression) value(env map[string]any) any {
	if e == nil {
		return nil
	}
	value, err := e.run(env)
	if err != nil {
		return nil
	}
	return value
}

// holds says whether the expression is true.
func (e *expression) holds(env map[string]any) bool { return e.value(env) == true }

// safely makes every a.b and a[b] nil where a is nil, or nothing that could have a b, or has none.
type safely struct{}

func (safely) Visit(node *ast.Node) {
	switch n := (*node).(type) {
	case *ast.ChainNode:
		ast.Patch(node, n.Node)
	case *ast.MemberNode:
		ast.Patch(node, &ast.CallNode{Callee: &ast.IdentifierNode{Value: partName}, Arguments: []ast.Node{n.Node, n.Property}})
	}
}

// partName is the function that stands for a.b and a[b] in a compiled expression; recipes cannot name it.
const partName = "part of"

func partOf(args ...any) (any, error) {
	switch of := args[0].(type) {
	case nil, string:
		return nil, nil
	case map[string]any:
		if name, ok := args[1].(string); ok {
			return of[name], nil
		}
		return nil, nil
	}
	switch of := reflect.ValueOf(args[0]); of.Kind() {
	case reflect.Slice, reflect.Array:
		i, ok := args[1].(int)
		if i < 0 {
			i += of.Len()
		}
		if ok && i >= 0 && i < of.Len() {
			return of.Index(i).Interface(), nil
		}
	case reflect.Map: // what fromPairs and groupBy make
		if name := reflect.ValueOf(args[1]); name.IsValid() && name.Type().AssignableTo(of.Type().Key()) && name.Comparable() {
			if part := of.MapIndex(name); part.IsValid() {
				return part.Interface(), nil
			}
		}
	}
	return nil, nil
}

// reads lists the names an expression reads.
type reads struct{ all, calls []string }

func (r *reads) Visit(node *ast.Node) {
	switch n := (*node).(type) {
	case *ast.IdentifierNode:
		r.all = append(r.all, n.Value)
	case *ast.CallNode:
		// A function's name is no name of the scope.
		if callee, ok := n.Callee.(*ast.IdentifierNode); ok {
			r.calls = append(r.calls, callee.Value)
			r.all = slices.DeleteFunc(r.all, func(name string) bool { return name == callee.Value })
		}
	case *ast.MemberNode:
		top, isName := n.Node.(*ast.IdentifierNode)
		member, isText := n.Property.(*ast.StringNode)
		if isName && isText {
			if i := slices.Index(r.all, top.Value); i >= 0 {
				r.all = slices.Delete(r.all, i, i+1)
			}
			r.all = append(r.all, top.Value+"."+member.Value)
		}
	case *ast.VariableDeclaratorNode:
		r.all = slices.DeleteFunc(r.all, func(name string) bool { return name == n.Name || strings.HasPrefix(name, n.Name+".") })
	}
}

// text is a value as texts hold it: nothing for nil, JSON for what has parts.
func text(value any) string {
	switch v := value.(type) {
	case nil:
		return ""
	case string:
		return v
	case []any, map[string]any:
		encoded, _ := json.Marshal(v)
		return string(encoded)
	default:
		encoded, err := json.Marshal(v)
		if err != nil {
			return fmt.Sprint(v)
		}
		return strings.Trim(string(encoded), `"`)
	}
}

// decode reads JSON with whole numbers as ints and others as float64s; ok is false for what is no JSON.
func decode(body []byte) (value any, ok bool) {
	decoder := json.NewDecoder(strings.NewReader(string(body)))
	decoder.UseNumber()
	if err := decoder.Decode(&value); err != nil {
		return nil, false
	}
	if decoder.More() {
		return nil, false
	}
	return numbers(value), true
}

func numbers(value any) any {
	switch v := value.(type) {
	case json.Number:
		if n, err := v.Int64(); err == nil {
			return int(n)
		}
		if !strings.ContainsAny(v.String(), ".eE") {
			return v.String() // longer than an int: an id, not a quantity
		}
		f, err := v.Float64()
		if err != nil {
			return v.String()
		}
		return f
	case []any:
		for i := range v {
			v[i] = numbers(v[i])
		}
	case map[string]any:
		for name := range v {
			v[name] = numbers(v[name])
		}
	}
	return value
}

// plainNumber is a lead's value with numbers as expressions have them.
func plainNumber(value any) any {
	switch v := value.(type) {
	case json.Number:
		return numbers(v)
	case int64:
		return int(v)
	case []any:
		list := make([]any, len(v))
		for i := range v {
			list[i] = plainNumber(v[i])
		}
		return list
	case map[string]any:
		mapping := make(map[string]any, len(v))
		for name := range v {
			mapping[name] = plainNumber(v[name])
		}
		return mapping
	}
	return value
}
