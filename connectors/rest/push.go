package rest

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/leadrelay/leadrelay/connectors"
	"github.com/leadrelay/leadrelay/internal/lead"
)

// task is one lead's way through the verbs that bring its record up to date.
type task struct {
	change  lead.Change
	ref     string
	env     map[string]any
	verb    *verb // what is to be done next; nil: result stands
	without []string
	turns   int
	result  connectors.Result
}

// maxTurns bounds how often a vendor may send a lead from one verb to another.
const maxTurns = 6

// pushAll brings records up to date, together where the recipe's verbs take several.
func (c *connector) pushAll(ctx context.Context, items []connectors.Item) []connectors.Result {
	tasks := make([]*task, len(items))
	for i, item := range items {
		tasks[i] = c.begin(item)
	}
	for {
		waiting := slices.DeleteFunc(slices.Clone(tasks), func(t *task) bool { return t.verb == nil })
		if len(waiting) == 0 {
			break
		}
		for _, group := range together(waiting) {
			c.perform(ctx, group[0].verb, group)
		}
	}
	results := make([]connectors.Result, len(tasks))
	for i, t := range tasks {
		results[i] = t.result
	}
	return results
}

// begin says what is to be done first.
func (c *connector) begin(item connectors.Item) *task {
	t := &task{change: item.Change, ref: item.Ref}
	l := item.Change.Lead
	verbs := c.recipe.verbs
	if item.Change.Op == lead.Delete {
		t.env = c.environment(item.Change, item.Ref, nil)
		if t.ref == "" && t.env["key"] == l.ID {
			// Nobody needs to remember a key that is the lead's id: an upsert whose answer was lost may have used it.
			t.setRef(l.ID)
		}
		switch {
		case c.recipe.Event:
			t.verb = verbs[remove]
		case t.ref == "": // no request ever went out for the lead
		case c.given.values[onDelete] == erase && l.Email == "":
			// Only who is deleted is erased: a lead that the filter leaves out now may come back.
			t.verb = verbs[erase]
		default:
			t.verb = verbs[remove]
		}
		return t
	}
	fields, err := c.fieldsOf(l)
	if err != nil {
		t.end(c.fail(string(item.Change.Op), err))
		return t
	}
	t.env = c.environment(item.Change, item.Ref, fields)
	switch {
	case c.recipe.Event && item.Change.Op == lead.Create:
		t.verb = verbs[create]
	case c.recipe.Event:
		t.verb = verbs[update]
	case item.Ref == "", c.recipe.key != nil && item.Ref != t.env["key"], verbs[update] == nil:
		t.verb = c.making()
	default:
		t.verb = verbs[update]
	}
	return t
}

// making is the verb for a record that is not there yet.
func (c *connector) making() *verb {
	if v := c.recipe.verbs[upsert]; v != nil {
		return v
	}
	return c.recipe.verbs[create]
}

func (t *task) end(err error) {
	t.verb = nil
	t.result.Err = err
}

// next is another turn under another verb.
func (c *connector) next(t *task, v *verb) {
	if t.turns++; t.turns > maxTurns {
		t.end(c.fail(t.verb.what, &connectors.Error{Err: errors.New("the system sends us from one request to another and back")}))
		return
	}
	t.verb = v
}

func (t *task) setRef(ref string) {
	t.ref = ref
	t.env["ref"] = ref
}

// together parts tasks into requests: those of one verb, up to its maximum, no address twice (trap T3).
func together(tasks []*task) (groups [][]*task) {
	open := map[*verb][]int{} // the groups of a verb that have room
	for _, t := range tasks {
		address := lead.NormalEmail(t.change.Lead.Email)
		placed := false
		for _, g := range open[t.verb] {
			if len(groups[g]) < max(1, t.verb.max) && (address == "" || !slices.ContainsFunc(groups[g], func(other *task) bool {
				return lead.NormalEmail(other.change.Lead.Email) == address
			})) {
				groups[g] = append(groups[g], t)
				placed = true
				break
			}
		}
		if !placed {
			groups = append(groups, []*task{t})
			open[t.verb] = append(open[t.verb], len(groups)-1)
		}
	}
	return groups
}

// perform makes one verb's request for tasks and says what is next for each.
func (c *connector) perform(ctx context.Context, v *verb, tasks []*task) {
	tasks = slices.DeleteFunc(slices.Clone(tasks), func(t *task) bool { return !c.prepare(ctx, v, t) })
	if len(tasks) == 0 {
		return
	}
	env := tasks[0].env
	if v.max > 0 {
		var err error
		if env, tasks, err = c.batch(v, tasks); err != nil || len(tasks) == 0 {
			for _, t := range tasks {
				t.end(c.fail(v.what, err))
			}
			return
		}
	}
	got, err := c.do(ctx, v, env, tasks)
	if err != nil {
		for _, t := range tasks {
			t.end(c.fail(v.what, err))
		}
		return
	}
	if v.max > 0 && v.results != nil && got.accepted() {
		if verdicts, ok := c.perItem(got, v, env, tasks); ok {
			for i, t := range tasks {
				c.follow(ctx, v, t, verdicts[i])
			}
			return
		}
	}
	whole := c.verdict(got, v, env)
	if len(tasks) > 1 && whole.aboutOne() {
		// One of them spoils the rest: it is found by halves.
		half := len(tasks) / 2
		c.perform(ctx, v, tasks[:half])
		c.perform(ctx, v, tasks[half:])
		return
	}
	for _, t := range tasks {
		c.follow(ctx, v, t, whole)
	}
}

// prepare asks whether there is anything to be done, and does what goes before. goOn is false where the task ended.
func (c *connector) prepare(ctx context.Context, v *verb, t *task) (goOn bool) {
	for _, name := range []string{"answer", "status", "header"} { // another verb's
		delete(t.env, name)
	}
	if v.unless != nil {
		found, err := c.look(ctx, v.unless, t.env)
		if err != nil {
			t.end(c.fail(v.what, fmt.Errorf("look: %w", err)))
			return false
		}
		switch {
		case found == "":
		case v.name == create && !c.recipe.Event:
			t.setRef(found)
			c.next(t, c.recipe.verbs[update])
			return false
		default:
			if t.change.Op != lead.Delete {
				t.result.Ref = t.ref
			}
			t.end(nil)
			return false
		}
	}
	// A record that a step before does not find is the verb's own to miss.
	if err := c.steps(ctx, v.before, t, true); err != nil {
		t.end(c.fail(v.what, err))
		return false
	}
	return true
}

// batch is the environment of a request for several leads. A lead that does not fit the recipe is left out.
func (c *connector) batch(v *verb, tasks []*task) (env map[string]any, fitting []*task, err error) {
	items, each, refs, ids := []any{}, []any{}, []any{}, []any{}
	for _, t := range tasks {
		value, err := v.each.value(t.env)
		if err != nil {
			t.end(c.fail(v.what, doesNotFit(err)))
			continue
		}
		fitting = append(fitting, t)
		items, each = append(items, any(t.env)), append(each, value)
		refs, ids = append(refs, t.ref), append(ids, t.change.Lead.ID)
	}
	return map[string]any{"settings": c.given.values, "items": items, "each": each, "refs": refs, "ids": ids}, fitting, nil
}

func doesNotFit(error) error {
	return &connectors.Error{Fault: connectors.Lead, NotSent: true, Err: errors.New("the recipe does not fit this lead")}
}

// follow does what a verdict says.
func (c *connector) follow(ctx context.Context, v *verb, t *task, got verdict) {
	verbs := c.recipe.verbs
	removing := t.change.Op == lead.Delete
	switch got.outcome {
	case isFault:
		if got.err != nil {
			t.end(c.fail(v.what, got.err))
			return
		}
		c.succeed(ctx, v, t, got.ref)
	case isDone:
		c.succeed(ctx, v, t, "")
	case isGone:
		switch {
		case removing:
			c.succeed(ctx, v, t, "")
		case v == verbs[update]:
			t.setRef("")
			c.next(t, c.making())
		default:
			t.end(c.fail(v.what, &connectors.Error{Fault: connectors.Setup, Err: errors.New("what the record would belong to is not there: " + got.reason)}))
		}
	case isExists:
		if v == verbs[update] || verbs[update] == nil || removing {
			t.end(c.fail(v.what, &connectors.Error{Fault: connectors.Lead, Err: errors.New("another record has this lead's key: " + got.reason)}))
			return
		}
		ref, err := got.ref, error(nil)
		if ref == "" {
			if ref, err = c.look(ctx, verbs[lookup], t.env); err == nil && ref == "" {
				err = &connectors.Error{Err: errors.New("the system has a record of this lead and does not find it yet: " + got.reason)}
			}
		}
		if err != nil {
			t.end(c.fail(v.what, err))
			return
		}
		t.setRef(ref)
		c.next(t, verbs[update])
	case isWithout:
		if slices.Contains(t.without, got.without) || !drop(t.env["fields"], got.without, c.recipe.values.Nested) {
			t.end(c.fail(v.what, &connectors.Error{Fault: connectors.Lead, Err: errors.New(got.reason)}))
			return
		}
		c.log.Warn("a record is written without a field that the vendor refuses", "lead", t.change.Lead.ID, "connector", c.recipe.Name, "field", got.without, "reason", got.reason)
		t.without = append(t.without, got.without)
		c.next(t, v)
	}
}

// succeed ends a task whose request was done, after the verb's further steps.
func (c *connector) succeed(ctx context.Context, v *verb, t *task, ref string) {
	if t.change.Op == lead.Delete {
		err := c.steps(ctx, v.then, t, false)
		t.result.Ref = ""
		t.end(c.fail(v.what, err))
		return
	}
	old := t.ref
	key := text(t.env["key"])
	switch {
	case key != "":
		ref = key
	case ref == "":
		ref = old
	}
	t.setRef(ref)
	if err := c.steps(ctx, v.then, t, false); err != nil {
		t.end(c.fail(v.what, err))
		return
	}
	t.result.Ref = ref
	if c.recipe.key != nil && old != "" && old != key && c.recipe.verbs[remove] != nil {
		// The record moved to another key: nobody stays under the old one.
		gone := &task{change: lead.Change{ID: t.change.ID, Op: lead.Delete, Lead: lead.Lead{ID: t.change.Lead.ID}, Time: t.change.Time}, ref: old, verb: c.recipe.verbs[remove]}
		gone.env = c.environment(gone.change, old, nil)
		for gone.verb != nil {
			c.perform(ctx, gone.verb, []*task{gone})
		}
		t.end(gone.result.Err)
		return
	}
	t.end(nil)
}

// steps makes the requests that go before or after a verb's own. Each may be repeated. mayMiss says that one that does
// not find what it is about is done.
func (c *connector) steps(ctx context.Context, steps []*step, t *task, mayMiss bool) error {
	for _, s := range steps {
		if len(s.on) > 0 && !slices.Contains(s.on, string(t.change.Op)) || s.when != nil && !s.when.holds(t.env) {
			continue
		}
		if s.unless != nil {
			ref, err := c.look(ctx, s.unless, t.env)
			if err != nil {
				return fmt.Errorf("look: %w", err)
			}
			if ref != "" {
				continue
			}
		}
		items := []any{nil}
		if s.list != nil {
			listed, err := c.list(ctx, s.list, t.env)
			if err != nil {
				return fmt.Errorf("list: %w", err)
			}
			items = listed
		}
		for _, item := range items {
			env := with(t.env, "item", item)
			got, err := c.do(ctx, s.request, env, nil)
			if err != nil {
				return err
			}
			switch v := c.verdict(got, s.request, env); {
			case v.outcome == isFault && v.err != nil:
				return v.err
			case v.outcome == isExists, v.outcome == isGone && (mayMiss || t.change.Op == lead.Delete), v.outcome == isDone, v.outcome == isFault:
			default:
				return &connectors.Error{Fault: connectors.Lead, Err: errors.New(v.reason)}
			}
		}
	}
	return nil
}

// drop takes a field out of a mapping, by its name as operators write it.
func drop(fields any, name, nested string) bool {
	mapping, ok := fields.(map[string]any)
	if !ok {
		return false
	}
	if _, ok := mapping[name]; ok {
		delete(mapping, name)
		return true
	}
	for _, below := range mapping {
		if nested != "" && drop(below, name, nested) {
			return true
		}
	}
	return false
}

func with(env map[string]any, name string, value any) map[string]any {
	copied := make(map[string]any, len(env)+1)
	for n, v := range env {
		copied[n] = v
	}
	copied[name] = value
	return copied
}
