package rest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// checkRequirements holds the example of a check's answer to list the recipe's fields and to meet all that is required,
// and the example of each requirement not to meet it.
func (s *StandIn) checkRequirements(v *verb, env map[string]any) error {
	if l := v.fields; l != nil {
		listed, ok := l.list.value(env).([]any)
		if !ok {
			return errors.New("example: fields: list finds no list in it")
		}
		if l.next.value(env) != nil {
			return errors.New("example: fields: next: it must be the last page")
		}
		if problems := s.engine.misfits(l, listed); problems != nil {
			return fmt.Errorf("example: fields: %w", problems[0])
		}
		env = with(env, "listed", listed)
	}
	if problems := s.engine.unmet(v, env); problems != nil {
		return fmt.Errorf("example: requires: %w", problems[0])
	}
	for _, r := range v.requires {
		if r.example == nil {
			continue
		}
		_, env := s.got(s.evaluated(s.statuses[v], r.example, env), env)
		if v.fields != nil {
			env = with(env, "listed", v.fields.list.value(env))
		}
		switch {
		case r.that.holds(env) && s.moot(r):
		case r.that.holds(env):
			return fmt.Errorf("requires: line %d: example: it meets what is required", r.line)
		case v.success != nil && !v.success.holds(env):
			return fmt.Errorf("requires: line %d: example: it is no success of the request", r.line)
		}
	}
	return nil
}

// moot says whether a requirement is about a setting that is not set.
func (s *StandIn) moot(r *requirement) bool {
	return slices.ContainsFunc(r.that.names, func(name string) bool {
		name, ofSettings := strings.CutPrefix(name, "settings.")
		if !ofSettings {
			return false
		}
		switch value := s.settings[name].(type) {
		case nil:
			return true
		case []any:
			return len(value) == 0
		default:
			return value == "" || value == 0 || value == false
		}
	})
}

// ListsFields says whether the check names mapped fields that the vendor does not have.
func (s *StandIn) ListsFields() bool { return s.recipe.verbs[checkVerb].fields != nil }

// Lacks makes the stand-in one of a vendor that does not have what the n-th requirement with an example is about, and
// returns what the check must say then; "" where there is no n-th.
func (s *StandIn) Lacks(n int) string {
	for _, to := range s.routes {
		if to.step != nil && to.step.when != nil && !to.step.when.holds(s.example(1)) {
			continue // it is not asked here
		}
		for _, r := range to.verb.requires {
			if r.example == nil || s.moot(r) {
				continue
			}
			if n--; n < 0 {
				s.mu.Lock()
				defer s.mu.Unlock()
				s.lacking = r
				_, env := s.got(s.evaluated(s.statuses[to.verb], r.example, s.example(1)), s.example(1))
				if l := to.verb.fields; l != nil {
					env["listed"] = l.list.value(env)
				}
				return r.says(env)
			}
		}
	}
	return ""
}
