package connectors

import (
	"errors"
	"fmt"
	"strings"

	"github.com/expr-lang/expr"
	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/vm"

	"github.com/leadrelay/leadrelay/internal/lead"
)

// Filter says which leads a connector is given. The zero value lets every lead through.
type Filter struct {
	program *vm.Program
}

// NewFilter compiles an expression over the names of lead.Lead.Values, such as
// `source == "website" && budget > 1000` (https://expr-lang.org/docs/language-definition). A name the lead does
// not have is nil.
func NewFilter(expression string) (Filter, error) {
	if expression == "" {
		return Filter{}, nil
	}
	calls, loops := &unknownCalls{}, loops{}
	program, err := expr.Compile(expression, expr.AllowUndefinedVariables(), expr.AsBool(), expr.Patch(calls), expr.Patch(loops))
	switch {
	case err != nil:
		return Filter{}, err
	case len(calls.names) > 0:
		return Filter{}, fmt.Errorf("unknown function %s", strings.Join(calls.names, ", "))
	case loops.deepest() > maxLoops:
		return Filter{}, fmt.Errorf("at most %d functions like any and filter may be nested", maxLoops)
	}
	return Filter{program}, nil
}

// unknownCalls finds calls of functions that a filter does not have: any name may be a custom field, but no field
// can be called. reduce is left out: it can double a text with each element of a list.
type unknownCalls struct{ names []string }

func (u *unknownCalls) Visit(node *ast.Node) {
	switch call := (*node).(type) {
	case *ast.CallNode:
		name := "call"
		if callee, ok := call.Callee.(*ast.IdentifierNode); ok {
			name = callee.Value
		}
		u.names = append(u.names, name)
	case *ast.BuiltinNode:
		if call.Name == "reduce" {
			u.names = append(u.names, call.Name)
		}
	}
}

// maxLoops bounds what one lead can cost: a custom field may be a list of thousands, and each loop within a loop
// multiplies. The language itself bounds what ranges and lists may hold.
const maxLoops = 2

// loops holds, for each loop of an expression, how deep the loops within it are nested, itself counted. A node is
// visited after what it contains.
type loops map[ast.Node]int

func (l loops) Visit(node *ast.Node) {
	if loop, ok := (*node).(*ast.PredicateNode); ok {
		inner := inside{all: l}
		ast.Walk(&loop.Node, &inner)
		l[loop] = 1 + inner.deepest
	}
}

func (l loops) deepest() (depth int) {
	for _, d := range l {
		depth = max(depth, d)
	}
	return depth
}

type inside struct {
	all     loops
	deepest int
}

func (i *inside) Visit(node *ast.Node) { i.deepest = max(i.deepest, i.all[*node]) }

// Match evaluates the filter. An expression that cannot be evaluated for this lead (a text compared with a
// number) is a Lead fault: guessing would send or withhold a person's data.
func (f Filter) Match(l lead.Lead) (bool, error) {
	if f.program == nil {
		return true, nil
	}
	result, err := expr.Run(f.program, l.NumericValues())
	if err != nil {
		return false, &Error{Fault: Lead, Err: errors.New("when: the expression does not fit this lead")}
	}
	match, ok := result.(bool)
	if !ok {
		return false, &Error{Fault: Lead, Err: fmt.Errorf("when: the result is not true or false")}
	}
	return match, nil
}
