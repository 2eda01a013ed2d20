package rest

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/leadrelay/leadrelay/connectors"
	"github.com/leadrelay/leadrelay/internal/lead"
)

// least is the least a recipe has; a test puts its own lines in.
const least = top + `
settings: [{name: token, secret: true, required: true, help: of the account}]
verbs:
  check: {request: GET /me, success: answer.id != nil}
  find: {request: GET /people, query: {ext: "{{ lead.id }}"}, success: answer.list != nil, ref: "answer.list[0].id"}
  create: {request: POST /people, ref: answer.id}
  update: {request: "PATCH /people/{{ ref }}"}
  delete: {request: "DELETE /people/{{ ref }}"}
`

func TestAWrongRecipeIsRefusedWithFileLineAndReason(t *testing.T) {
	if _, err := Parse("acme.yaml", []byte(least)); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ old, new, want string }{
		"no YAML":                {"verbs:", "verbs: [", "acme.yaml: "},
		"an unknown key":         {"docs:", "doc:", "acme.yaml:4: doc: unknown; see leadrelay connectors schema"},
		"a missing key":          {"title: Acme\n", "", "acme.yaml:2: recipe: missing property 'title'"},
		"a wrong type":           {"name: acme", "name: [acme]", "acme.yaml:2: name: got array, want string"},
		"an unknown verb":        {"  find:", "  fetch:", "fetch: unknown"},
		"a typo in a name":       {"{{ ref }}\"}\n  delete", "{{ reff }}\"}\n  delete", "acme.yaml:12: request: {{ reff }}: reff is not known here"},
		"an unknown setting":     {"GET /me", "\"GET /me/{{ settings.tokken }}\"", "acme.yaml:9: request: {{ settings.tokken }}: settings.tokken: the recipe has no such setting"},
		"an unknown function":    {"answer.id != nil", "exists(answer.id)", "acme.yaml:9: there is no function exists"},
		"a broken expression":    {"answer.id != nil", "answer.id !=", "acme.yaml:9: column"},
		"an open template":       {"{{ lead.id }}", "{{ lead.id", "acme.yaml:10: {{ without }}"},
		"an address in a URL":    {"{{ lead.id }}", "{{ lead.email }}", "acme.yaml:10: find: a URL must not hold personal data"},
		"a hidden one":           {"{{ lead.id }}", "{{ md5(lead.id) + lead.custom }}", "must not hold personal data"},
		"a whole lead":           {"{{ lead.id }}", "{{ lead }}", "must not hold personal data"},
		"a query in the path":    {"GET /me", "\"GET /me?x=1\"", "acme.yaml:9: request: put what follows the ? under query"},
		"no method":              {"GET /me", "FETCH /me", "acme.yaml:9: verbs.check.request: "},
		"no delete":              {"  delete: {request: \"DELETE /people/{{ ref }}\"}\n", "", "acme.yaml:9: verbs: delete: required"},
		"no check":               {"  check: {request: GET /me, success: answer.id != nil}\n", "", "verbs: check: required"},
		"create without find":    {"  find:", "  lookup:", "find: required"},
		"find without success":   {"success: answer.list != nil, ", "", "acme.yaml:10: find: success: required"},
		"create without ref":     {"POST /people, ref: answer.id", "POST /people", "acme.yaml:11: create: ref: required"},
		"two settings of a name": {"settings: [", "settings: [{name: token, help: x}, ", "token: every recipe has it, or it is there twice"},
		"a secret's default":     {"secret: true,", "secret: true, default: x,", "a secret has no default"},
		"a rule of every answer": {"verbs:", "errors: [{fault: lead}]\nverbs:", "acme.yaml:8: errors: give status, when or both"},
		"a rule of two minds":    {"verbs:", "errors: [{status: 404, fault: lead, gone: true}]\nverbs:", "acme.yaml:8: errors: give one of"},
		"a rule of none":         {"verbs:", "errors: [{status: 404}]\nverbs:", "give one of fault, exists"},
		"exists without lookup":  {"verbs:", "errors: [{status: 409, exists: true}]\nverbs:", "acme.yaml:8: exists: true needs the verb lookup"},
		"a field twice":          {"verbs:", "fields: [{to: a, from: name}, {to: a, from: note}]\nverbs:", `fields[1]: to: "a" is mapped twice`},
		"a personal key":         {"verbs:", "key: lead.email\nverbs:", "acme.yaml:8: key: must not hold personal data"},
		"an unknown grant":       {"verbs:", "auth: {oauth2: {token_url: x, grant: password}}\nverbs:", "acme.yaml:8: auth: grant: must be client_credentials, jwt_bearer, refresh_token"},
		"a rate of nothing":      {"verbs:", "limits: {rates: [{per: 1s}]}\nverbs:", "acme.yaml:8: limits.rates.0"},
	} {
		t.Run(name, func(t *testing.T) {
			source := strings.Replace(least, c.old, c.new, 1)
			if source == least {
				t.Fatal("the case changes nothing")
			}
			_, err := Parse("acme.yaml", []byte(source))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestAllProblemsOfARecipeAreSaidAtOnce(t *testing.T) {
	source := strings.NewReplacer("{{ ref }}", "{{ x }}", "answer.id != nil", "y()").Replace(least)
	_, err := Parse("acme.yaml", []byte(source))
	if err == nil || strings.Count(err.Error(), "acme.yaml:") != 3 {
		t.Errorf("got %v, want three problems", err)
	}
}

// TestTheSchemaNamesWhatTheRecipeReads: what an editor completes is what the program takes.
func TestTheSchemaNamesWhatTheRecipeReads(t *testing.T) {
	var schema struct {
		Properties map[string]any
		Defs       map[string]struct{ Properties map[string]any } `json:"$defs"`
	}
	if err := json.Unmarshal(Schema, &schema); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		properties map[string]any
		document   any
	}{
		"recipe": {schema.Properties, document{}}, "verb": {schema.Defs["verb"].Properties, verbDocument{}},
		"step": {schema.Defs["step"].Properties, stepDocument{}}, "rule": {schema.Defs["rule"].Properties, ruleDocument{}},
		"setting": {schema.Defs["setting"].Properties, settingDocument{}}, "results": {schema.Defs["results"].Properties, resultsDocument{}},
		"auth": {schema.Defs["auth"].Properties, authDocument{}}, "listing": {schema.Defs["listing"].Properties, listingDocument{}},
	} {
		var keys []string
		for _, field := range reflect.VisibleFields(reflect.TypeOf(c.document)) {
			keys = append(keys, field.Tag.Get("yaml"))
		}
		slices.Sort(keys)
		if known := slices.Sorted(maps.Keys(c.properties)); !slices.Equal(known, keys) {
			t.Errorf("%s: the schema has %q, the program reads %q", name, known, keys)
		}
	}
}

func TestSettingsAreCheckedByName(t *testing.T) {
	source := strings.Replace(least, "help: of the account}]", `help: of the account}, {name: kind, one_of: [a, b], default: a, help: x}, {name: count, type: integer, default: 3, help: x}]`, 1)
	source = strings.Replace(source, "verbs:", "limits: {rates: [{calls: 10, per: 1s}]}\nverbs:", 1)
	recipe, err := Parse("acme.yaml", []byte(source))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		settings map[string]any
		want     string
	}{
		"none":            {nil, "token: required (of the account)"},
		"an unknown one":  {map[string]any{"token": "x", "tokn": "y"}, "tokn: unknown setting, did you mean token?"},
		"a wrong type":    {map[string]any{"token": "x", "count": "many"}, "count: must be a whole number"},
		"a wrong choice":  {map[string]any{"token": "x", "kind": "c"}, "kind: must be a or b"},
		"no URL":          {map[string]any{"token": "x", "base_url": "acme"}, "base_url: must be a URL"},
		"a long timeout":  {map[string]any{"token": "x", "timeout": "1h"}, "timeout: must be from 1s to 90s"},
		"all in reserve":  {map[string]any{"token": "x", "reserve": 1.0}, "reserve: must be from 0 to 0.9"},
		"a broken header": {map[string]any{"token": "x\r\ny: z"}, "control characters"},
	} {
		t.Run(name, func(t *testing.T) {
			withAuth, err := Parse("acme.yaml", []byte(strings.Replace(source, "verbs:", "auth: {bearer: \"{{ settings.token }}\"}\nverbs:", 1)))
			if err != nil {
				t.Fatal(err)
			}
			_, err = withAuth.Kind().Open(c.settings, connectors.Env{})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
	c, err := recipe.Kind().Open(map[string]any{"token": "x"}, connectors.Env{})
	if err != nil {
		t.Fatal(err)
	}
	if got := c.(connectors.Limited).Limits().Rates; !reflect.DeepEqual(got, []connectors.Rate{{Most: 7, Per: 1e9}}) {
		t.Errorf("of 10 calls, 3 in reserve, there are %+v", got)
	}
	if text := fmt.Sprintf("%+v %#v", recipe.Kind().Settings, recipe.Kind().Settings); strings.Contains(text, "s3cret") {
		t.Error(text)
	}
}

func TestTheLimitsScopeTellsAccountsApartAndNoSecret(t *testing.T) {
	recipe, err := Parse("acme.yaml", []byte(least))
	if err != nil {
		t.Fatal(err)
	}
	scope := func(token string) string {
		c, err := recipe.Kind().Open(map[string]any{"token": token}, connectors.Env{})
		if err != nil {
			t.Fatal(err)
		}
		return c.(connectors.Limited).Limits().Scope
	}
	if a, b := scope("s3cret-1"), scope("s3cret-2"); a == b || a != scope("s3cret-1") || strings.Contains(a, "s3cret") {
		t.Errorf("the scopes are %q and %q", a, b)
	}
}

func TestValuesAreWrittenAsTheVendorWantsThem(t *testing.T) {
	body := func(values string) string {
		source := strings.Replace(least, "POST /people, ref", `POST /people, body: "{{ fields }}", ref`, 1)
		source = strings.Replace(source, "verbs:", "values: "+values+"\nverbs:", 1)
		v := newVendor(t, says{status: 200, body: `{"id":1}`})
		c := open(t, v, source, map[string]any{"token": "x"},
			connectors.FieldRule{To: "custom.budget", From: "budget"}, connectors.FieldRule{To: "tags", From: "tags"},
			connectors.FieldRule{To: "phone", From: "phone"}, connectors.FieldRule{To: "yes", Value: true})
		if _, err := push(c, lead.Create, "1", ""); err != nil {
			t.Fatal(err)
		}
		return strings.TrimPrefix(v.got()[0], "POST /people ")
	}
	for values, want := range map[string]string{
		`{}`: `{"custom.budget":1500,"phone":null,"tags":["a","b"],"yes":true}`,
		`{empty: omit, number: text, bool: text, list: ";"}`: `{"custom.budget":"1500","tags":"a;b","yes":"true"}`,
		`{empty: text, nested: "."}`:                         `{"custom":{"budget":1500},"phone":"","tags":["a","b"],"yes":true}`,
	} {
		if got := body(values); got != want {
			t.Errorf("%s: sent %s, want %s", values, got, want)
		}
	}
}

// TestValuesCannotLeaveTheirPlace: what a person typed into a form never becomes another part of the request.
func TestValuesCannotLeaveTheirPlace(t *testing.T) {
	source := top + `
settings: [{name: token, help: x}]
verbs:
  check: {request: GET /me, success: answer.id != nil}
  find: {request: GET /people, query: {ext: "{{ lead.id }}"}, success: answer.list != nil, ref: "answer.list[0].id"}
  create:
    request: POST /people/{{ lead.id }}/x
    query: {q: "a={{ lead.id }}"}
    headers: {x-lead: "{{ lead.id }}"}
    body: {text: "Dear {{ lead.name }},", "{{ lead.name }}": 1, n: "{{ lead.name }}"}
    ref: answer.id
  update: {request: PATCH /people}
  delete: {request: DELETE /people}
`
	l := person("1")
	l.ID = `a/../b?c=d&e #%2F`
	l.Name = "\"}, \"admin\": true, \"x\": {\"\n"
	v := newVendor(t, says{status: 200, body: `{"id":1}`})
	c := open(t, v, source, nil)
	if _, err := c.Push(t.Context(), change(lead.Create, l), ""); err != nil {
		t.Fatal(err)
	}
	method, rest, _ := strings.Cut(v.got()[0], " ")
	uri, sent, _ := strings.Cut(rest, " ")
	if method != "POST" || uri != `/people/a%2F..%2Fb%3Fc=d&e%20%23%252F/x?q=a%3Da%2F..%2Fb%3Fc%3Dd%26e+%23%252F` {
		t.Errorf("asked %s", uri)
	}
	var body map[string]any
	if err := json.Unmarshal([]byte(sent), &body); err != nil || len(body) != 3 || body["n"] != l.Name || body["text"] != "Dear "+l.Name+"," {
		t.Errorf("sent %s (%v)", sent, err)
	}
	for _, id := range []string{"", "..", "."} {
		l.ID = id
		_, err := c.Push(t.Context(), change(lead.Create, l), "")
		wantFault(t, err, connectors.Lead, "does not fit")
	}
	l.ID = "x\r\ny"
	_, err := c.Push(t.Context(), change(lead.Create, l), "")
	wantFault(t, err, connectors.Lead, "does not fit")
}
