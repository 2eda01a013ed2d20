package connectors

import (
	"errors"
	"fmt"

	"github.com/expr-lang/expr"
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
	bounds := &Bounds{}
	program, err := expr.Compile(expression, expr.AllowUndefinedVariables(), expr.AsBool(), expr.Patch(bounds))
	if err == nil {
		err = bounds.Refusal(expression)
	}
	if err != nil {
		return Filter{}, err
	}
	return Filter{program}, nil
}

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
