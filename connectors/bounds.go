package connectors

import (
	"fmt"

	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/file"
)

// Bounds sees to it, as a visitor of an expression's nodes (expr.Patch), that what operators write in config.yaml costs
// little whatever it is evaluated on. The language itself bounds what ranges and lists may hold.
type Bounds struct {
	refused *file.Error
	loops   map[ast.Node]int // for each loop, how deep the loops within it are nested, itself counted
}

// maxLoops bounds what one evaluation can cost: a value may be a list of thousands, and each loop within a loop multiplies.
const maxLoops = 2

// Visit implements ast.Visitor. A node is visited after what it contains.
func (b *Bounds) Visit(node *ast.Node) {
	switch n := (*node).(type) {
	case *ast.CallNode:
		name := "call"
		if callee, ok := n.Callee.(*ast.IdentifierNode); ok {
			name = callee.Value
		}
		b.refuse(n, "unknown function "+name) // any name may be a field, but no field can be called
	case *ast.BuiltinNode:
		if n.Name == "reduce" || n.Name == "repeat" { // they make a text of any length out of a short one
			b.refuse(n, "unknown function "+n.Name)
		}
	case *ast.PredicateNode:
		inner := inside{all: b.loops}
		ast.Walk(&n.Node, &inner)
		if b.loops == nil {
			b.loops = map[ast.Node]int{}
		}
		b.loops[n] = 1 + inner.deepest
		if b.loops[n] > maxLoops {
			b.refuse(n, fmt.Sprintf("at most %d functions like any and filter may be nested", maxLoops))
		}
	}
}

func (b *Bounds) refuse(node ast.Node, reason string) {
	if b.refused == nil {
		b.refused = &file.Error{Location: node.Location(), Message: reason}
	}
}

// Refusal says what of the expression, whose text is given, is out of bounds: a *file.Error, or nil.
func (b *Bounds) Refusal(text string) error {
	if b.refused == nil {
		return nil
	}
	return b.refused.Bind(file.NewSource(text))
}

type inside struct {
	all     map[ast.Node]int
	deepest int
}

func (i *inside) Visit(node *ast.Node) { i.deepest = max(i.deepest, i.all[*node]) }
