package rest

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/leadrelay/leadrelay/connectors"
)

// got is an answer.
type got struct {
	*connectors.Response
	err     error // what the status means where the recipe says nothing
	answer  any   // the JSON of the body, its text where it is none, nil where it is empty
	isJSON  bool
	secrets []string
}

// accepted says whether the answer's status is a success.
func (g *got) accepted() bool { return g.Status >= 200 && g.Status < 300 }

// do makes a verb's request. What came of it is for verdict to say; an error is a request without a whole answer.
func (c *connector) do(ctx context.Context, v *verb, env map[string]any, tasks []*task) (*got, error) {
	var refused []string // access tokens that were revoked before their time: our own, and the one others have
	for {
		req, err := c.request(ctx, v, env)
		if err != nil {
			return nil, err
		}
		var token string
		if token, err = c.sign.sign(ctx, req, refused); err != nil {
			return nil, err
		}
		if err := connectors.Spend(ctx, v.cost); err != nil {
			return nil, err
		}
		if c.told != nil {
			c.told(v)
		}
		resp, err := c.client.Do(req)
		if resp == nil {
			return nil, err
		}
		if resp.Status == http.StatusUnauthorized && token != "" && len(refused) < 2 {
			refused = append(refused, token)
			continue
		}
		g := &got{Response: resp, err: err, secrets: c.given.secrets}
		if token != "" {
			g.secrets = append(slices.Clone(g.secrets), token)
		}
		if g.answer, g.isJSON = decode(resp.Body); !g.isJSON {
			if said := strings.TrimSpace(string(resp.Body)); said != "" {
				g.answer = said
			}
		}
		env["answer"], env["status"], env["header"] = g.answer, g.Status, headersOf(resp.Header)
		c.hold(ctx, env)
		return g, nil
	}
}

func headersOf(h http.Header) map[string]any {
	headers := make(map[string]any, len(h))
	for name := range h {
		headers[strings.ToLower(name)] = h.Get(name)
	}
	return headers
}

// request builds a verb's request. What does not fit is the lead's fault: settings were checked before.
func (c *connector) request(ctx context.Context, v *verb, env map[string]any) (*http.Request, error) {
	path, err := v.segments.text(env, inPath)
	if err != nil {
		return nil, doesNotFit(err)
	}
	query := url.Values{}
	for _, q := range v.query {
		value, err := q.value.value(env)
		if err != nil {
			return nil, doesNotFit(err)
		}
		switch value := value.(type) {
		case nil:
		case []any:
			for _, element := range value {
				query.Add(q.name, text(element))
			}
		default:
			query.Set(q.name, text(value))
		}
	}
	address := c.baseURL + path
	if len(query) > 0 {
		address += "?" + query.Encode()
	}
	body, err := v.body.value(env)
	if err != nil {
		return nil, doesNotFit(err)
	}
	req, err := connectors.NewJSONRequest(ctx, v.method, address, body)
	if err != nil {
		return nil, err
	}
	if v.form != nil {
		form := url.Values{}
		for _, f := range v.form {
			value, err := f.value.value(env)
			if err != nil {
				return nil, doesNotFit(err)
			}
			if value != nil {
				form.Set(f.name, text(value))
			}
		}
		encoded := form.Encode()
		req.Body = io.NopCloser(strings.NewReader(encoded))
		req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(encoded)), nil }
		req.ContentLength = int64(len(encoded))
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for name, value := range c.headers {
		req.Header.Set(name, value)
	}
	for name, t := range v.headers {
		value, err := t.text(env, inHeader)
		if err != nil {
			return nil, doesNotFit(err)
		}
		req.Header.Set(name, value)
	}
	return req, nil
}

// verdict is what an answer means for one lead: with outcome isFault and no err, success.
type verdict struct {
	outcome outcome
	ref     string
	without string
	reason  string
	err     error
}

// aboutOne says whether one of several leads may be meant.
func (v verdict) aboutOne() bool {
	if v.outcome != isFault {
		return true
	}
	fault, _ := connectors.FaultOf(v.err)
	return v.err != nil && fault == connectors.Lead
}

// verdict reads an answer that is about one lead, or about all of a batch alike.
func (c *connector) verdict(g *got, v *verb, env map[string]any) verdict {
	if g.accepted() && v.results == nil && v.success != nil && v.success.holds(env) {
		return c.success(v, env)
	}
	failure := c.recipe.failure(g.answer)
	env = with(env, "error", failure)
	for _, rule := range c.recipe.rules {
		if rule.meets(v.name, g.Status, env) {
			return c.ruled(rule, g, env, failure)
		}
	}
	if !g.accepted() {
		return verdict{err: c.hidden(g, failure)}
	}
	if v.success != nil || v.results != nil || !g.isJSON && g.answer != nil {
		return verdict{err: &connectors.Error{Fault: connectors.Unknown, Err: fmt.Errorf("%d answer does not say that it was done", g.Status)}}
	}
	return c.success(v, env)
}

// success reads the record's ref.
func (c *connector) success(v *verb, env map[string]any) verdict {
	if v.echo != nil {
		c.warnDropped(v, env)
	}
	if v.ref == nil {
		return verdict{}
	}
	ref := text(v.ref.value(env))
	if making := v == c.recipe.verbs[create] || v == c.recipe.verbs[upsert]; ref == "" && c.recipe.key == nil && making {
		return verdict{err: &connectors.Error{Fault: connectors.Unknown, Err: errors.New("the answer names no record")}}
	}
	return verdict{ref: ref}
}

// judge is verdict where there is only success or an error.
func (c *connector) judge(g *got, v *verb, env map[string]any) error {
	got := c.verdict(g, v, env)
	if got.outcome != isFault {
		return &connectors.Error{Fault: connectors.Setup, Err: errors.New(got.reason)}
	}
	return got.err
}

// ruled is a rule's verdict. failure is the part of the answer that the rule is about.
func (c *connector) ruled(r *rule, g *got, env map[string]any, failure any) verdict {
	reason := ""
	if r.reason != nil {
		reason = text(r.reason.value(env))
	}
	reason = cmp.Or(reason, explain(failure), http.StatusText(g.Status))
	reason = fmt.Sprintf("%d %s", g.Status, g.Redact(reason, g.secrets...))
	v := verdict{outcome: r.outcome, without: r.without, reason: reason}
	switch r.outcome {
	case isExists:
		if r.exists != nil {
			if v.ref = text(r.exists.value(env)); v.ref == "" {
				return verdict{err: &connectors.Error{Fault: connectors.Lead, Err: errors.New(reason)}}
			}
		}
	case isFault:
		e := &connectors.Error{Fault: r.fault, RetryAfter: connectors.RetryAfter(g.Header, time.Now()), Err: errors.New(reason)}
		if seconds, ok := quantity(r.wait.value(env)); ok && seconds > 0 {
			e.RetryAfter = time.Duration(min(seconds, (24*time.Hour).Seconds()) * float64(time.Second))
		}
		v.err = e
	}
	return v
}

// explain takes the reason out of a failure.
func explain(failure any) string {
	encoded, _ := json.Marshal(failure)
	return connectors.Explain(encoded)
}

// hidden is what the status means, without the secrets that a vendor may repeat.
func (c *connector) hidden(g *got, failure any) error {
	var e *connectors.Error
	if errors.As(g.err, &e) {
		if said := explain(failure); said != "" && g.Status >= 400 {
			e.Err = fmt.Errorf("%d %s", g.Status, g.Redact(said))
		}
		e.Err = errors.New(connectors.Redact(e.Err.Error(), g.secrets...))
		return e
	}
	return g.err
}

// perItem reads what an answer says of each of several leads. ok is false where it is no such answer.
func (c *connector) perItem(g *got, v *verb, env map[string]any, tasks []*task) (verdicts []verdict, ok bool) {
	list, isList := v.results.from.value(env).([]any)
	if !isList {
		return nil, false
	}
	done := c.assign(v.results, list, tasks)
	failed := map[int]any{}
	if v.failures != nil {
		failures, _ := v.failures.from.value(env).([]any)
		failed = c.assign(v.failures, failures, tasks)
	}
	verdicts = make([]verdict, len(tasks))
	for i, t := range tasks {
		result, there := done[i]
		failure, refused := failed[i]
		own := with(t.env, "result", result)
		own["answer"], own["status"], own["header"] = env["answer"], env["status"], env["header"]
		switch {
		case refused:
			verdicts[i] = c.itemVerdict(g, v, own, failure)
		case !there && v.results.gone:
			verdicts[i] = verdict{outcome: isGone, reason: fmt.Sprintf("%d says nothing of this lead", g.Status)}
		case !there:
			verdicts[i] = verdict{err: &connectors.Error{Fault: connectors.Unknown, Err: errors.New("the answer says nothing of this lead")}}
		case v.success == nil || v.success.holds(own):
			verdicts[i] = c.success(v, own)
		default:
			verdicts[i] = c.itemVerdict(g, v, own, result)
		}
	}
	return verdicts, true
}

// itemVerdict reads one lead's failure in an answer about several.
func (c *connector) itemVerdict(g *got, v *verb, env map[string]any, failure any) verdict {
	failure = c.recipe.failure(failure)
	env = with(env, "error", failure)
	for _, rule := range c.recipe.rules {
		if rule.meets(v.name, g.Status, env) {
			return c.ruled(rule, g, env, failure)
		}
	}
	return verdict{err: &connectors.Error{Err: fmt.Errorf("%d for this lead: %s", g.Status, g.Redact(explain(failure), g.secrets...))}}
}

// assign gives each task its element of a list, by position or by key. One element is about one lead, whatever its key.
func (c *connector) assign(r *results, list []any, tasks []*task) map[int]any {
	assigned := map[int]any{}
	if r.key == nil || len(list) == 1 && len(tasks) == 1 {
		if len(list) == len(tasks) {
			for i := range tasks {
				assigned[i] = list[i]
			}
		}
		return assigned
	}
	byKey := map[string]any{}
	for _, element := range list {
		env := map[string]any{"settings": c.given.values, "result": element, "error": element}
		for _, key := range oneOrMore(r.key.value(env)) {
			byKey[text(key)] = element
		}
	}
	for i, t := range tasks {
		keys := []any{t.change.Lead.ID}
		if r.item != nil {
			keys = oneOrMore(r.item.value(t.env))
		}
		for _, key := range keys {
			if element, ok := byKey[text(key)]; ok && text(key) != "" {
				assigned[i] = element
			}
		}
	}
	return assigned
}

func oneOrMore(value any) []any {
	if list, ok := value.([]any); ok {
		return list
	}
	return []any{value}
}

// look asks for a record; "" where there is none.
func (c *connector) look(ctx context.Context, v *verb, env map[string]any) (ref string, err error) {
	if v.unless != nil {
		if ref, err := c.look(ctx, v.unless, env); ref != "" || err != nil {
			return ref, err
		}
	}
	env = with(env, "answer", nil)
	g, err := c.do(ctx, v, env, nil)
	if err != nil {
		return "", err
	}
	got := c.verdict(g, v, env)
	switch got.outcome {
	case isGone:
		return "", nil
	case isFault:
		return got.ref, got.err
	}
	return "", &connectors.Error{Err: errors.New(got.reason)}
}

// list asks for what a step is made for.
func (c *connector) list(ctx context.Context, v *verb, env map[string]any) ([]any, error) {
	env = with(env, "answer", nil)
	g, err := c.do(ctx, v, env, nil)
	if err != nil {
		return nil, err
	}
	got := c.verdict(g, v, env)
	switch {
	case got.outcome == isGone:
		return nil, nil
	case got.outcome != isFault:
		return nil, &connectors.Error{Err: errors.New(got.reason)}
	case got.err != nil:
		return nil, got.err
	}
	items, _ := v.ref.value(env).([]any)
	return items, nil
}
