package rest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/leadrelay/leadrelay/connectors"
	"github.com/leadrelay/leadrelay/internal/lead"
)

// Kind is the recipe as a line of the table of kinds.
func (r *Recipe) Kind() connectors.Kind {
	return connectors.DefineDynamic(connectors.Kind{
		Name: r.Name, Title: r.Title, Docs: r.Docs, Event: r.Event, Fields: r.Fields, Settings: r.structure(),
		Limits: connectors.Limits{Concurrency: r.limits.concurrency, Rates: r.limits.with(r.defaults())}, MaxBatch: r.maxBatch(),
	}, r.open)
}

// maxBatch is the most leads one of the recipe's requests takes.
func (r *Recipe) maxBatch() (most int) {
	most = 1
	for _, v := range r.verbs {
		most = max(most, v.max)
	}
	return most
}

// connector executes a recipe with an operator's settings.
type connector struct {
	recipe  *Recipe
	fields  connectors.Mapping
	log     *slog.Logger
	given   given
	client  *connectors.Client
	baseURL string
	headers map[string]string
	sign    credentials
	warned  sync.Map // names of fields that the vendor drops

	told func(*verb) // of each request, in a rehearsal; else nil
}

func (r *Recipe) open(decoded reflect.Value, env connectors.Env) (connectors.Connector, error) {
	given, problems := r.read(decoded)
	c := &connector{recipe: r, fields: env.Fields, log: env.Log, given: given, headers: map[string]string{}}
	scope := map[string]any{"settings": given.values}
	if c.baseURL = given.baseURL; c.baseURL == "" && r.baseURL != nil {
		address, err := r.baseURL.text(scope, inHost)
		if err != nil {
			problems = append(problems, fmt.Errorf("base_url: %w", err))
		}
		c.baseURL = strings.TrimRight(address, "/")
	}
	given.values[baseURLSetting] = c.baseURL
	if problems == nil {
		if err := connectors.CheckBaseURL(c.baseURL); err != nil {
			problems = append(problems, fmt.Errorf("base_url: %w", err))
		}
	}
	for name, t := range r.headers {
		value, err := t.text(scope, inHeader)
		if err != nil {
			problems = append(problems, fmt.Errorf("headers: %s: %w", name, err))
		}
		c.headers[name] = value
	}
	if problems != nil {
		return nil, errors.Join(problems...)
	}
	c.client = connectors.NewClient(connectors.ClientOptions{Timeout: given.timeout, Secrets: given.secrets})
	var err error
	if c.sign, err = newCredentials(r.auth, scope, c.client); err != nil {
		return nil, err
	}
	return c.withAbilities(), nil
}

// inHost refuses what would lead to another host.
func inHost(value string) (string, error) {
	if strings.ContainsAny(value, "/?#@\\ \t\r\n") {
		return "", errors.New("a setting that is part of the address holds more than a name")
	}
	return value, nil
}

// The abilities of a connector are those of its recipe.
type (
	keyer   struct{ of *connector }
	finder  struct{ of *connector }
	batcher struct{ of *connector }
)

func (k keyer) Key(l lead.Lead) string { return k.of.keyOf(l) }

func (f finder) Find(ctx context.Context, l lead.Lead) (ref string, found bool, err error) {
	ref, err = f.of.look(ctx, f.of.recipe.verbs[find], f.of.environment(lead.Change{Lead: l}, "", nil))
	return ref, ref != "", f.of.fail(find, err)
}

func (f finder) Settles() time.Duration { return f.of.recipe.verbs[find].settles }

func (b batcher) MaxBatch() int { return b.of.recipe.maxBatch() }

func (b batcher) PushBatch(ctx context.Context, items []connectors.Item) []connectors.Result {
	return b.of.pushAll(ctx, items)
}

func (c *connector) withAbilities() connectors.Connector {
	keyed, finds, batches := c.recipe.key != nil, c.recipe.verbs[find] != nil, c.recipe.maxBatch() > 1
	switch {
	case c.recipe.Event:
		return struct{ *connector }{c} // fmt prints what a pointer leads to, secrets too, but not within a struct
	case keyed && batches:
		return struct {
			*connector
			keyer
			batcher
		}{c, keyer{c}, batcher{c}}
	case keyed:
		return struct {
			*connector
			keyer
		}{c, keyer{c}}
	case finds && batches:
		return struct {
			*connector
			finder
			batcher
		}{c, finder{c}, batcher{c}}
	default:
		return struct {
			*connector
			finder
		}{c, finder{c}}
	}
}

// SharesRecords says whether leads of one address come to have one record.
func (c *connector) SharesRecords() bool {
	return slices.ContainsFunc(c.recipe.identity(), func(e *expression) bool { return slices.Contains(e.names, "lead.email") })
}

// Push brings one record up to date.
func (c *connector) Push(ctx context.Context, change lead.Change, ref string) (string, error) {
	result := c.pushAll(ctx, []connectors.Item{{Change: change, Ref: ref}})[0]
	return result.Ref, result.Err
}

// Close closes idle connections.
func (c *connector) Close() error { return c.client.Close() }

// Limits are the vendor's less what is reserved for the operator's other applications.
func (c *connector) Limits() connectors.Limits {
	l := connectors.Limits{Concurrency: c.recipe.limits.concurrency}
	for _, rate := range c.recipe.limits.with(c.given.values) {
		rate.Most = max(1, int(float64(rate.Most)*(1-c.given.reserve)))
		l.Rates = append(l.Rates, rate)
	}
	scope := c.baseURL + "\x00" + strings.Join(c.given.secrets, "\x00")
	if c.recipe.limits.scope != nil {
		scope, _ = c.recipe.limits.scope.plain(map[string]any{"settings": c.given.values})
	}
	sum := sha256.Sum256([]byte(scope))
	l.Scope = c.recipe.Name + ":" + hex.EncodeToString(sum[:8])
	return l
}

func (c *connector) keyOf(l lead.Lead) string {
	if c.recipe.key == nil {
		return ""
	}
	key := text(c.recipe.key.value(map[string]any{"lead": l.NumericValues(), "settings": c.given.values}))
	return key
}

// environment is what the recipe's expressions read of a change.
func (c *connector) environment(change lead.Change, ref string, fields map[string]any) map[string]any {
	return map[string]any{
		"settings": c.given.values,
		"lead":     change.Lead.NumericValues(),
		"fields":   fields,
		"ref":      ref,
		"key":      c.keyOf(change.Lead),
		"change": map[string]any{
			"id": change.ID, "op": string(change.Op), "time": change.Time.UTC().Format(time.RFC3339),
			"revision": int(change.Lead.Revision),
		},
	}
}

// fieldsOf maps a lead as the vendor wants values written.
func (c *connector) fieldsOf(l lead.Lead) (map[string]any, error) {
	mapped, err := c.fields.Apply(l)
	if err != nil {
		return nil, err
	}
	fields := map[string]any{}
	for _, f := range mapped {
		value, keep := c.recipe.values.write(f.Value)
		if !keep {
			continue
		}
		place, name := fields, f.To
		if parts := strings.Split(f.To, c.recipe.values.Nested); c.recipe.values.Nested != "" && len(parts) > 1 {
			for _, part := range parts[:len(parts)-1] {
				below, ok := place[part].(map[string]any)
				if !ok {
					below = map[string]any{}
					place[part] = below
				}
				place = below
			}
			name = parts[len(parts)-1]
		}
		place[name] = value
	}
	return fields, nil
}

// write is a value as the vendor wants it.
func (v values) write(value any) (written any, keep bool) {
	value = plainNumber(value)
	if value == nil || value == "" {
		switch v.Empty {
		case "omit":
			return nil, false
		case "text":
			return "", true
		}
		return nil, true
	}
	switch value := value.(type) {
	case bool:
		if v.Bool == "text" {
			return text(value), true
		}
	case int, float64:
		if v.Number == "text" {
			return text(value), true
		}
	case []any:
		if v.List != "" && v.List != "native" {
			texts := make([]string, len(value))
			for i, element := range value {
				texts[i] = text(element)
			}
			return strings.Join(texts, v.List), true
		}
	}
	return value, true
}

// fail puts an error's place before it; its fault stays.
func (c *connector) fail(what string, err error) error {
	if err == nil {
		return nil
	}
	var e *connectors.Error
	if !errors.As(err, &e) {
		err = &connectors.Error{Err: err}
	}
	return fmt.Errorf("%s: %s: %w", c.recipe.Name, what, err)
}

// hold keeps everybody from calling where the vendor's own headers say that little is left.
func (c *connector) hold(ctx context.Context, env map[string]any) {
	l := c.recipe.limits
	if l.remaining == nil || l.reset == nil {
		return
	}
	remaining, ok := quantity(l.remaining.value(env))
	reset, known := quantity(l.reset.value(env))
	if !ok || !known {
		return
	}
	limit, _ := quantity(l.limit.value(env))
	if remaining > limit*c.given.reserve {
		return
	}
	now := time.Now()
	until := now.Add(time.Duration(reset * float64(time.Second)))
	if reset > 1e9 { // a point in time
		until = time.Unix(int64(reset), 0)
	}
	if until.After(now) {
		connectors.HoldCalls(ctx, until)
	}
}

// quantity reads a number, also one that is written as text.
func quantity(value any) (float64, bool) {
	switch v := value.(type) {
	case int:
		return float64(v), true
	case float64:
		return v, true
	case string:
		var n float64
		if _, err := fmt.Sscanf(v, "%g", &n); err == nil {
			return n, true
		}
	}
	return 0, false
}

// warnDropped names fields that were sent and are not in what the vendor says it keeps, once each (trap T25).
func (c *connector) warnDropped(v *verb, env map[string]any) {
	echo, ok := v.echo.value(env).(map[string]any)
	if !ok {
		return
	}
	sent, _ := env["fields"].(map[string]any)
	for name, value := range sent {
		if value == nil || value == "" || value == false { // what is unchecked may be left out as what is empty
			continue
		}
		if kept, there := echo[name]; there && kept != nil {
			continue
		}
		if _, before := c.warned.LoadOrStore(name, true); !before {
			c.log.Warn("the vendor drops the values of a field: is it there, under this name?", "connector", c.recipe.Name, "field", name)
		}
	}
}
