package sources

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/expr-lang/expr"
	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/file"
	"github.com/expr-lang/expr/vm"

	"github.com/leadrelay/leadrelay/connectors"
	"github.com/leadrelay/leadrelay/internal/lead"
)

// expression is a compiled expression over a delivery (https://expr-lang.org/docs/language-definition). A name, or a
// member of what is not there, is nil.
type expression struct {
	program *vm.Program

	// chooses: it picks a value and calculates nothing, so numbers stay as they are written.
	chooses bool
}

// compile checks an expression. known are the only names it may use; nil: any.
func compile(text string, condition bool, known []string) (*expression, error) {
	uses, bounds := &uses{chooses: true}, &connectors.Bounds{}
	options := []expr.Option{
		expr.AllowUndefinedVariables(), expr.Patch(uses), expr.Patch(bounds), expr.Patch(lenient{}),
	}
	if condition {
		options = append(options, expr.AsBool())
	}
	program, err := expr.Compile(text, options...)
	if err == nil {
		err = bounds.Refusal(text)
	}
	var at *file.Error
	switch {
	case errors.As(err, &at) && at.Line > 1:
		return nil, fmt.Errorf("line %d, column %d: %s", at.Line, at.Column+1, at.Message)
	case errors.As(err, &at):
		return nil, fmt.Errorf("column %d: %s", at.Column+1, at.Message)
	case err != nil:
		return nil, err
	}
	if known != nil {
		for _, name := range uses.names {
			if !slices.Contains(known, name) {
				return nil, fmt.Errorf("a delivery has no %s here (known: %s)", name, strings.Join(known, ", "))
			}
		}
	}
	return &expression{program: program, chooses: uses.chooses}, nil
}

// uses collects what an expression is made of.
type uses struct {
	names   []string
	chooses bool
}

func (u *uses) Visit(node *ast.Node) {
	switch n := (*node).(type) {
	case *ast.IdentifierNode:
		u.names = append(u.names, n.Value)
	case *ast.BinaryNode:
		u.chooses = u.chooses && n.Operator == "??"
	case *ast.MemberNode, *ast.ChainNode, *ast.StringNode, *ast.IntegerNode, *ast.NilNode:
	default:
		u.chooses = false
	}
}

// lenient makes every a.b an a?.b: what people leave out of a form is not in the delivery.
type lenient struct{}

func (lenient) Visit(node *ast.Node) {
	if member, ok := (*node).(*ast.MemberNode); ok {
		member.Optional = true
		ast.Patch(node, &ast.ChainNode{Node: member})
	}
}

// environment is what expressions see of a delivery.
type environment struct {
	values  map[string]any
	numeric map[string]any // values with numbers to calculate with; nil until it is needed
}

func newEnvironment(payload map[string]any, answers []answer) *environment {
	values := make(map[string]any, len(payload)+3)
	for name, value := range payload {
		values[name] = value
	}
	values["body"] = payload
	values["fields"] = byName(answers)
	values["found"] = recognise(answers)
	return &environment{values: values}
}

func (e *environment) calculable() map[string]any {
	if e.numeric == nil {
		e.numeric, _ = lead.Numeric(e.values).(map[string]any)
	}
	return e.numeric
}

var errUnfit = errors.New("the expression does not fit this delivery")

func (x *expression) evaluate(env *environment) (any, error) {
	values := env.values
	if !x.chooses {
		values = env.calculable()
	}
	value, err := expr.Run(x.program, values)
	if err != nil {
		return nil, errUnfit // the language's own text repeats values
	}
	return value, nil
}

func (x *expression) decide(env *environment) (bool, error) {
	value, err := x.evaluate(env)
	if err != nil {
		return false, err
	}
	decision, ok := value.(bool)
	if !ok {
		return false, errUnfit
	}
	return decision, nil
}

// What an expression sees of a text or a list is a little more than a lead can hold: enough to be refused as too long.
const (
	maxText = lead.MaxCustomValue + 1
	maxList = lead.MaxCustomValue/2 + 1
)

// visible cuts long texts and lists, so that what an expression makes of them has a bound, too.
func visible(value any) any {
	switch v := value.(type) {
	case string:
		if len(v) > maxText && utf8.RuneCountInString(v) > maxText {
			return string([]rune(v)[:maxText])
		}
	case []any:
		v = v[:min(len(v), maxList)]
		for i := range v {
			v[i] = visible(v[i])
		}
		return v
	case map[string]any:
		for name := range v {
			v[name] = visible(v[name])
		}
	}
	return value
}
