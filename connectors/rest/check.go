package rest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/leadrelay/leadrelay/connectors"
	"github.com/leadrelay/leadrelay/internal/lead"
)

// listing is how a vendor tells which fields it has.
type listing struct {
	list     *expression // over an answer: its fields
	next     *expression // over an answer: what page is in the request for more of them, nil at the end
	name     *expression // over one field: what rules call it, one name or several
	writable *expression
	takes    *expression // what values it takes: as connectors.FieldRule.Misfit reads it
	mend     *template
}

type listingDocument struct {
	List     yaml.Node `yaml:"list"`
	Next     yaml.Node `yaml:"next"`
	Name     yaml.Node `yaml:"name"`
	Writable yaml.Node `yaml:"writable"`
	Takes    yaml.Node `yaml:"takes"`
	Mend     yaml.Node `yaml:"mend"`
}

// requirement is what an answer must say, or the connector cannot work.
type requirement struct {
	that      *expression
	otherwise *template
	example   *tree // an answer that does not say it
	line      int
}

type requirementDocument struct {
	That      yaml.Node `yaml:"that"`
	Otherwise yaml.Node `yaml:"otherwise"`
	Example   yaml.Node `yaml:"example"`
}

var (
	atPage    = append(slices.Clone(atAnswer), "page")
	atField   = scope{"settings", "field"}
	atChecked = append(slices.Clone(atAnswer), "listed") // listed: the fields of all pages
)

func (p *reader) listing(d *listingDocument) *listing {
	if d == nil {
		return nil
	}
	return &listing{
		list: p.expression(&d.List, atAnswer), next: p.expression(&d.Next, atPage), name: p.expression(&d.Name, atField),
		writable: p.expression(&d.Writable, atField), takes: p.expression(&d.Takes, atField), mend: p.template(&d.Mend, atOpen),
	}
}

func (p *reader) requirements(nodes []yaml.Node) (all []*requirement) {
	for _, node := range nodes {
		var d requirementDocument
		if err := node.Decode(&d); err != nil {
			p.problem(&node, "requires: %v", err)
			continue
		}
		all = append(all, &requirement{
			that: p.expression(&d.That, atChecked), otherwise: p.template(&d.Otherwise, atChecked),
			example: p.tree(&d.Example, atExample), line: node.Line,
		})
	}
	return all
}

// onlyOfCheck refuses in other verbs what the verb check alone has, and in check what it does not read.
func (p *reader) onlyOfCheck(v *verb) {
	at := &yaml.Node{Line: v.line}
	all := slices.Concat(v.before, v.then)
	if v.name != checkVerb {
		if v.fields != nil || v.requires != nil || v.mend != nil ||
			slices.ContainsFunc(all, func(s *step) bool { return s.request.requires != nil || s.request.mend != nil || s.request.optional }) {
			p.problem(at, "%s: fields, requires, mend and optional belong to check", v.name)
		}
		return
	}
	if v.unless != nil || v.before != nil || slices.ContainsFunc(all, func(s *step) bool { return s.on != nil || s.unless != nil || s.list != nil }) {
		p.problem(at, "check: takes no unless, before, on or list: say when a request of then is made")
	}
}

// maxPages bounds what a vendor can list.
const maxPages = 100

// Check signs in and asks for everything that the settings and the mapping name. It says all that is missing, each as
// an error of its own.
func (c *connector) Check(ctx context.Context) error {
	v := c.recipe.verbs[checkVerb]
	env := c.environment(lead.Change{}, "", nil)
	listed, err := c.listed(ctx, v, env)
	var problems []error
	if err != nil {
		problems = append(problems, err)
		// Who is let in may be asked the rest, though it lack the right to this.
		if fault, _ := connectors.FaultOf(err); fault != connectors.Setup || env["status"] == nil || env["status"] == http.StatusUnauthorized {
			return c.fail(checkVerb, err)
		}
	} else {
		problems = append(problems, c.misfits(v.fields, listed)...)
		problems = append(problems, c.unmet(v, with(env, "listed", listed))...)
	}
	for _, s := range v.then {
		if s.when == nil || s.when.holds(env) {
			problems = append(problems, c.checkStep(ctx, s.request, env)...)
		}
	}
	var all []error
	said := map[string]bool{}
	for _, problem := range problems {
		if !said[problem.Error()] {
			said[problem.Error()] = true
			all = append(all, c.fail(checkVerb, problem))
		}
	}
	return errors.Join(all...)
}

// listed makes the check's own request, page by page, and returns the fields that the vendor lists. env has the last
// answer after it.
func (c *connector) listed(ctx context.Context, v *verb, env map[string]any) (listed []any, err error) {
	listed = []any{}
	for range maxPages {
		got, err := c.do(ctx, v, env, nil)
		if err == nil {
			err = c.judge(got, v, env)
		}
		if err != nil {
			return nil, c.mended(err, v, env)
		}
		if v.fields == nil {
			return nil, nil
		}
		said := v.fields.list.value(env)
		if said == nil {
			return nil, nil // this answer cannot tell
		}
		fields, ok := said.([]any)
		if !ok {
			return nil, &connectors.Error{Fault: connectors.Unknown, Err: errors.New("the answer does not list the fields")}
		}
		listed = append(listed, fields...)
		env["page"] = v.fields.next.value(env)
		if env["page"] == nil {
			return listed, nil
		}
	}
	return nil, &connectors.Error{Fault: connectors.Unknown, Err: fmt.Errorf("the fields are on more than %d pages", maxPages)}
}

// checkStep makes one more request of the check.
func (c *connector) checkStep(ctx context.Context, v *verb, env map[string]any) []error {
	env = with(env, "answer", nil)
	got, err := c.do(ctx, v, env, nil)
	if err == nil {
		err = c.judge(got, v, env)
	}
	if err != nil {
		if fault, _ := connectors.FaultOf(err); v.optional && (fault == connectors.Setup || fault == connectors.Lead) {
			return nil
		}
		return []error{c.mended(err, v, env)}
	}
	return c.unmet(v, env)
}

// mended adds to a refusal what is to be done about it. No lead is to blame for any.
func (c *connector) mended(err error, v *verb, env map[string]any) error {
	var e *connectors.Error
	if !errors.As(err, &e) {
		return err
	}
	if e.Fault == connectors.Lead {
		e.Fault = connectors.Setup
	}
	if e.Fault == connectors.Setup && v.mend != nil && env["status"] != http.StatusUnauthorized {
		if mend, err := v.mend.plain(env); err == nil {
			e.Err = fmt.Errorf("%w: %s", e.Err, mend)
		}
	}
	return err
}

// unmet says which requirements an answer does not meet.
func (c *connector) unmet(v *verb, env map[string]any) (problems []error) {
	for _, r := range v.requires {
		if !r.that.holds(env) {
			problems = append(problems, missing("%s", r.says(env)))
		}
	}
	return problems
}

// says is the requirement's problem in words.
func (r *requirement) says(env map[string]any) string {
	said, err := r.otherwise.plain(env)
	if err != nil {
		return "what it requires is not there: " + r.that.text
	}
	return said
}

func missing(format string, args ...any) error {
	return &connectors.Error{Fault: connectors.Setup, Err: fmt.Errorf(format, args...)}
}

// misfits says which mapped fields the vendor does not have, or not for what is mapped to them.
func (c *connector) misfits(l *listing, listed []any) (problems []error) {
	if l == nil || listed == nil {
		return nil
	}
	known := l.byName(c.given.values, listed)
	mend := "add it there"
	if l.mend != nil {
		if said, err := l.mend.plain(map[string]any{"settings": c.given.values}); err == nil {
			mend = said
		}
	}
	for _, rule := range c.fields.Rules() {
		field, there := known[rule.To]
		if !there {
			meant := ""
			for name := range known {
				if strings.EqualFold(name, rule.To) {
					meant = " (there is " + name + ")"
				}
			}
			problems = append(problems, missing("there is no field %s%s: %s, or take it out of fields", rule.To, meant, mend))
			continue
		}
		env := map[string]any{"settings": c.given.values, "field": field}
		if l.writable != nil && l.writable.value(env) == false {
			problems = append(problems, missing("the field %s may not be written: allow it, or take it out of fields", rule.To))
			continue
		}
		if why := rule.Misfit(l.takes.value(env)); why != "" {
			problems = append(problems, missing("the field %s %s: map something else to it, or take it out of fields", rule.To, why))
		}
	}
	return problems
}

// byName has what the vendor lists by the names that rules call it.
func (l *listing) byName(settings map[string]any, listed []any) map[string]any {
	known := map[string]any{}
	for _, field := range listed {
		var name any = field
		if l.name != nil {
			name = l.name.value(map[string]any{"settings": settings, "field": field})
		}
		for _, one := range oneOrMore(name) {
			if called := text(one); called != "" {
				known[called] = field
			}
		}
	}
	return known
}
