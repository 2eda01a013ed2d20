package rest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/leadrelay/leadrelay/connectors"
	"github.com/leadrelay/leadrelay/internal/lead"
)

// exemplary is a lead that examples are tried with.
func exemplary(i int) lead.Change {
	at := time.Date(2026, 3, 14, 15, 9, 26, 0, time.UTC)
	return lead.Change{ID: fmt.Sprintf("chg_example_%d", i), Op: lead.Create, Time: at, Lead: lead.Lead{
		ID: fmt.Sprintf("lead_example_%d", i), Name: "Ada Example", Email: fmt.Sprintf("ada%d@example.com", i), Source: "website", Note: "an example",
		Custom: map[string]any{"company": "Example Ltd", "phone": "+44 20 7946 0000"}, Revision: 1, Created: at, Updated: at,
	}}
}

// check holds the recipe's examples to what the connector will make of them.
func (s *StandIn) check() (problems []error) {
	problem := func(line int, format string, args ...any) {
		problems = append(problems, fmt.Errorf("%s:%d: "+format, append([]any{s.recipe.file, line}, args...)...))
	}
	for _, to := range s.routes {
		v := to.verb
		var err error
		switch {
		case to.role == own && v.name != find && v.name != lookup, to.role == further:
			err = s.checkDone(to)
		default:
			err = s.checkFound(to)
		}
		if err == nil {
			err = s.checkRequest(to)
		}
		if err != nil {
			problem(v.line, "%s: %v", v.what, err)
		}
	}
	for _, r := range s.recipe.rules {
		if err := s.checkRule(r); err != nil {
			problem(r.line, "errors: %v", err)
		}
	}
	return problems
}

// example is what an example reads of the i-th lead.
func (s *StandIn) example(i int) map[string]any {
	c := exemplary(i)
	fields, _ := s.engine.fieldsOf(c.Lead)
	ref := fmt.Sprint(1000 + i)
	if s.recipe.key != nil {
		ref = s.engine.keyOf(c.Lead)
	}
	return s.engine.environment(c, ref, fields)
}

// verdict is what the connector makes of a reply.
func (s *StandIn) verdict(v *verb, a reply, env map[string]any) verdict {
	g, env := s.got(a, env)
	return s.engine.verdict(g, v, env)
}

// got is a reply as the connector reads it.
func (s *StandIn) got(a reply, env map[string]any) (*got, map[string]any) {
	r := &connectors.Response{Status: a.status, Header: http.Header{}, Body: []byte(a.text())}
	g := &got{Response: r, err: connectors.StatusError(r)}
	if g.answer, g.isJSON = decode(r.Body); !g.isJSON && len(r.Body) > 0 {
		g.answer = string(r.Body)
	}
	env = maps.Clone(env)
	if env == nil {
		env = map[string]any{}
	}
	env["answer"], env["status"], env["header"] = g.answer, g.Status, map[string]any{}
	return g, env
}

var errNoExample = errors.New("example: required: an empty answer does not say that it was done")

// checkRequest holds a request to be possible, and to be recognised by the stand-in.
func (s *StandIn) checkRequest(to *route) error {
	v := to.verb
	env := s.example(1)
	if v.name == find && to.role == own {
		env = s.engine.environment(lead.Change{Lead: lead.Lead{ID: exemplary(1).Lead.ID}}, "", nil)
	}
	if to.step != nil && to.role == further {
		if to.step.when != nil && !to.step.when.holds(env) {
			return nil
		}
		if list := to.step.list; list != nil {
			_, answered := s.got(s.replied(list, []map[string]any{env}), env)
			if items, ok := list.ref.value(answered).([]any); ok && len(items) > 0 {
				env["item"] = items[0]
			}
		}
	}
	if v.max > 0 {
		each, err := v.each.value(env)
		if err != nil {
			return fmt.Errorf("each: %w", plainError(err))
		}
		env = map[string]any{"settings": s.settings, "items": []any{env}, "each": []any{each}, "refs": []any{env["ref"]}, "ids": []any{exemplary(1).Lead.ID}}
	}
	r, err := s.engine.request(context.Background(), v, env)
	if err != nil {
		if _, why := v.body.value(env); why != nil {
			err = fmt.Errorf("body: %w", plainError(why))
		}
		return err
	}
	var body []byte
	if r.Body != nil {
		body, _ = io.ReadAll(r.Body)
	}
	if to, _ := s.recognise(r, body); to == nil {
		return fmt.Errorf("the stand-in does not recognise %s %s %s", r.Method, r.URL.RequestURI(), body)
	}
	return nil
}

// perItem is what the connector makes of a reply about several leads.
func (s *StandIn) perItem(v *verb, a reply, envs []map[string]any) ([]verdict, bool) {
	tasks := make([]*task, len(envs))
	for i := range envs {
		tasks[i] = &task{change: exemplary(i + 1), env: envs[i], ref: text(envs[i]["ref"])}
	}
	g, env := s.got(a, map[string]any{"settings": s.settings})
	return s.engine.perItem(g, v, env, tasks)
}

// checkDone holds a verb's example to be a success, with the right ref, and finds out with which status.
func (s *StandIn) checkDone(to *route) (err error) {
	statuses := []int{http.StatusOK, http.StatusCreated, http.StatusAccepted, http.StatusMultiStatus}
	if to.verb.example == nil {
		statuses = append([]int{http.StatusNoContent}, statuses...)
	}
	for i, status := range statuses {
		s.statuses[to.verb] = status
		switch failure := s.checkSuccess(to); {
		case failure == nil:
			return nil
		case i == 0:
			err = failure
		}
	}
	return err
}

func (s *StandIn) checkSuccess(to *route) error {
	v := to.verb
	envs := []map[string]any{s.example(1)}
	if v.max > 1 {
		envs = append(envs, s.example(2))
	}
	a := s.replied(v, envs)
	var verdicts []verdict
	if v.max > 0 && v.results != nil {
		var ok bool
		if verdicts, ok = s.perItem(v, a, envs); !ok {
			return errors.New("example: results finds no list in it")
		}
		if v.failures != nil && !s.put(a.body, v.failures.from, []any{}) {
			return errors.New("failures: from: must be a place in the answer, such as answer.errors")
		}
	} else {
		verdicts = []verdict{s.verdict(v, a, envs[0])}
	}
	for i, got := range verdicts {
		switch {
		case to.role == further && (got.outcome == isExists || got.outcome == isDone):
		case got.outcome != isFault:
			return fmt.Errorf("example: a rule of errors takes it: %s", got.reason)
		case got.err != nil && v.example == nil:
			return errNoExample
		case got.err != nil:
			return fmt.Errorf("example: is no success: %w", got.err)
		case to.role == own && (v.name == create || v.name == upsert) && v.ref != nil && got.ref != envs[i]["ref"]:
			return fmt.Errorf("example: ref is %q in it, want what {{ ref }} stands for, %q", got.ref, envs[i]["ref"])
		}
	}
	_, env := s.got(a, envs[0])
	return s.checkRequirements(v, env)
}

// checkFound holds the example of a search to name the record, and finds out how none is said. That of a look may be
// about none.
func (s *StandIn) checkFound(to *route) error {
	v := to.verb
	if v.example == nil {
		return errors.New("example: required: what the vendor answers where there is one, with {{ ref }}")
	}
	env := s.example(1)
	a := s.replied(v, []map[string]any{env})
	switch got := s.verdict(v, a, env); {
	case got.outcome != isFault:
		return fmt.Errorf("example: a rule of errors takes it: %s", got.reason)
	case got.err != nil:
		return fmt.Errorf("example: is no success: %w", got.err)
	case got.ref == "" && to.role == looks:
		s.nothing[v] = a
		return nil
	case got.ref == "":
		return errors.New("example: ref finds nothing in it")
	case to.role == own && got.ref != env["ref"]:
		return fmt.Errorf("example: ref is %q in it, want what {{ ref }} stands for, %q", got.ref, env["ref"])
	}
	without := maps.Clone(env)
	without["ref"] = nil
	unnamed := s.evaluated(http.StatusOK, v.example, without)
	candidates := []reply{}
	gone := s.shown(v, func(r *rule) bool { return r.outcome == isGone })
	if gone != nil && to.role == own {
		candidates = append(candidates, s.evaluated(gone.status, gone.example, env))
	}
	for _, body := range []any{emptied(a.body), withoutRecord(a.body, unnamed.body), map[string]any{}, []any{}, json.RawMessage("null")} {
		candidates = append(candidates, reply{http.StatusOK, body})
	}
	if gone != nil && to.role != own { // last: verbs that share the request may not share the rule
		candidates = append(candidates, s.evaluated(gone.status, gone.example, env))
	}
	for _, none := range candidates {
		_, env := s.got(none, env)
		got := s.verdict(v, none, env)
		found := got.ref != ""
		if list, ok := v.ref.value(env).([]any); to.role == lists && ok {
			found = len(list) > 0
		}
		if got.outcome == isGone || got.outcome == isFault && got.err == nil && !found {
			s.nothing[v] = none
			return nil
		}
	}
	if to.role != own {
		return nil
	}
	return errors.New("example: with its lists emptied it does not say that there is no record: give errors a rule with gone: true and an example of that answer")
}

// withoutRecord is an answer with null in the place of the mapping that names the record, which is where it differs from
// an answer that names none.
func withoutRecord(answer, unnamed any) any {
	all, ok := answer.(map[string]any)
	other, also := unnamed.(map[string]any)
	if !ok || !also {
		return answer
	}
	rest := maps.Clone(all)
	for name, value := range all {
		if same(value, other[name]) {
			continue
		}
		if _, deeper := value.(map[string]any); !deeper {
			return nil
		}
		rest[name] = withoutRecord(value, other[name])
	}
	return rest
}

// emptied is a JSON value with all its lists empty.
func emptied(value any) any {
	switch v := value.(type) {
	case []any:
		return []any{}
	case map[string]any:
		e := map[string]any{}
		for name, below := range v {
			e[name] = emptied(below)
		}
		return e
	}
	return value
}

// checkRule holds a rule's example to meet the rule.
func (s *StandIn) checkRule(r *rule) error {
	if r.example == nil {
		if r.when != nil && (r.outcome == isGone || r.outcome == isExists) {
			return errors.New("example: required with gone and exists: an answer that when is true of")
		}
		return nil
	}
	var statuses []int
	for _, success := range []bool{false, true} {
		if status, _ := r.status(success); !slices.Contains(statuses, status) {
			statuses = append(statuses, status)
		}
	}
	var reason error
	for _, name := range []string{upsert, create, update, find, lookup, remove, erase, checkVerb} {
		v := s.recipe.verbs[name]
		if v == nil || len(r.verbs) > 0 && !slices.Contains(r.verbs, name) {
			continue
		}
		for _, status := range statuses {
			for _, fields := range []any{s.example(1)["fields"], map[string]any{}} {
				env := s.example(1)
				env["fields"] = fields
				if reason = s.meetsRule(r, v, status, env); reason == nil {
					return nil
				}
			}
		}
	}
	return reason
}

func (s *StandIn) meetsRule(r *rule, v *verb, status int, env map[string]any) error {
	a := s.evaluated(status, r.example, env)
	g, env := s.got(a, env)
	env["error"] = s.recipe.failure(g.answer)
	switch first := slices.IndexFunc(s.recipe.rules, func(r *rule) bool { return r.meets(v.name, status, env) }); {
	case g.accepted() && v.results == nil && v.success.holds(env):
		return fmt.Errorf("example: is a success of %s", v.name)
	case first < 0:
		return errors.New("example: does not meet its rule")
	case s.recipe.rules[first] != r:
		return fmt.Errorf("example: the rule at line %d takes it", s.recipe.rules[first].line)
	case r.outcome != isExists || r.exists == nil:
		return nil
	}
	if ref := text(r.exists.value(env)); ref != env["ref"] {
		return fmt.Errorf("example: exists is %q in it: write {{ ref }} where the vendor has the record's id", ref)
	}
	return nil
}
