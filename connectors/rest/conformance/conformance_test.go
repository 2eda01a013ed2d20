package conformance_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/leadrelay/leadrelay/connectors"
	"github.com/leadrelay/leadrelay/connectors/connectortest"
	"github.com/leadrelay/leadrelay/connectors/rest"
	"github.com/leadrelay/leadrelay/connectors/rest/conformance"
)

// crm is a vendor with no keyed write: records are found by a field that holds the lead's id.
const crm = `
name: acme
title: Acme contacts
docs: https://acme.example/api
settings:
  - {name: api_key, secret: true, required: true, help: of the account}
  - {name: pipeline, type: integer, required: true, help: where leads go}
base_url: https://api.acme.example/v2
auth: {bearer: "{{ settings.api_key }}"}
fields: [{to: first, from: first_name}, {to: last, from: last_name}, {to: note, from: note}]
verbs:
  check: {request: GET /me, success: answer.id != nil, example: {id: 1}}
  find: {request: GET /people, query: {external: "{{ lead.id }}"}, success: answer.people != nil, ref: "answer.people[0].id", example: {people: [{id: "{{ ref }}"}]}}
  create:
    request: POST /people
    body: {external: "{{ lead.id }}", pipeline: "{{ settings.pipeline }}", email: "{{ lead.email }}", "...": "{{ fields }}"}
    success: answer.id != nil
    ref: answer.id
    example: {id: "{{ ref }}"}
  update:
    request: PATCH /people/{{ ref }}
    body: {external: "{{ lead.id }}", email: "{{ lead.email }}", "...": "{{ fields }}"}
    success: answer.id == int(ref)
    example: {id: "{{ int(ref) }}"}
  delete: {request: "DELETE /people/{{ ref }}", success: status == 204}
errors:
  - {status: 404, verbs: [update, delete], when: error.code == "no_person", gone: true, example: {code: no_person}}
  - {status: 400, when: error.code == "quota", fault: throttled, wait: "60"}
`

// list is a vendor that knows people by a digest of their address and takes several at once.
const list = `
name: acme
title: Acme list
docs: https://acme.example/api
settings: [{name: token, secret: true, required: true, help: of the account}]
base_url: https://api.acme.example
auth: {oauth2: {grant: client_credentials, token_url: "{{ settings.base_url }}/oauth2/access", client_id: relay, client_secret: "{{ settings.token }}"}}
key: md5(normal_email(lead.email))
fields: [{to: name, from: name}, {to: note, from: note}]
values: {empty: text}
verbs:
  check: {request: GET /lists, success: answer.lists != nil, fields: {list: "answer.lists[0].fields", name: field.name}, example: {lists: [{fields: [{name: name}, {name: note}]}]}}
  upsert:
    max: 50
    request: PUT /members
    each: {hash: "{{ key }}", email: "{{ lead.email }}", data: "{{ fields }}"}
    body: {members: "{{ each }}"}
    results: {from: answer.members, key: result.hash, item: key}
    failures: {from: answer.errors, key: error.hash, item: key}
    success: result.state == "ok"
    example: {members: "{{ each }}", errors: []}
    example_each: {hash: "{{ ref }}", state: ok}
  delete: {request: "DELETE /members/{{ ref }}", success: answer.deleted == true, example: {deleted: true}}
errors:
  - {status: 404, verbs: [delete], gone: true}
  - {status: 207, when: error.reason != nil, fault: lead, reason: error.reason, example: {hash: "{{ key }}", reason: "not an address: {{ lead.email }}"}}
`

// byAddress is a vendor that is only asked for upserts by address: who has a new one has two records then.
const byAddress = `
name: acme
title: Acme contacts
docs: https://acme.example/api
base_url: https://api.acme.example
fields: [{to: name, from: name}]
verbs:
  check: {request: GET /me, success: answer.id != nil, example: {id: 1}}
  find: {request: GET /people, query: {external: "{{ lead.id }}"}, success: answer.people != nil, ref: "answer.people[0].id", example: {people: [{id: "{{ ref }}"}]}}
  upsert: {request: POST /people/sync, body: {external: "{{ lead.id }}", email: "{{ lead.email }}", "...": "{{ fields }}"}, success: answer.id != nil, ref: answer.id, example: {id: "{{ ref }}"}}
  delete: {request: "DELETE /people/{{ ref }}", success: status == 204}
errors: [{status: 404, verbs: [delete], gone: true}]
`

// chat is a vendor that is told of new leads.
const chat = `
name: acme
title: Acme chat
docs: https://acme.example/api
event: true
settings: [{name: hook, secret: true, required: true, help: the last part of the address}]
base_url: https://chat.acme.example
verbs:
  check: {request: "GET /hooks/{{ settings.hook }}", success: answer.channel != nil, example: {channel: leads}}
  create: {request: "POST /hooks/{{ settings.hook }}", body: {text: "New: {{ lead.name }}, {{ lead.email }} ({{ change.id }})"}, success: answer == "ok", example: ok}
`

// log is a vendor that is told of everything.
const log = `
name: acme
title: Acme log
docs: https://acme.example/api
event: true
base_url: https://log.acme.example
fields: [{to: name, from: name}]
verbs:
  check: {request: GET /me, success: answer.id != nil, example: {id: 1}}
  create: &event {request: POST /events, body: {op: "{{ change.op }}", id: "{{ change.id }}", lead: "{{ lead.id }}", data: "{{ fields }}"}, success: answer.accepted == true, example: {accepted: true}}
  update: *event
  delete: {request: POST /events, body: {op: delete, id: "{{ change.id }}", lead: "{{ lead.id }}"}, success: answer.accepted == true, example: {accepted: true}}
`

func parse(t testing.TB, source string) *rest.Recipe {
	t.Helper()
	recipe, err := rest.Parse("acme.yaml", []byte(source))
	if err != nil {
		t.Fatal(err)
	}
	return recipe
}

func TestRecipesThatKeepTheContractPass(t *testing.T) {
	t.Run("found", func(t *testing.T) { conformance.Run(t, parse(t, crm), conformance.Options{}) })
	t.Run("keyed", func(t *testing.T) { conformance.Run(t, parse(t, list), conformance.Options{}) })
	t.Run("told of creates", func(t *testing.T) { conformance.Run(t, parse(t, chat), conformance.Options{}) })
	t.Run("told of everything", func(t *testing.T) { conformance.Run(t, parse(t, log), conformance.Options{}) })
}

// Each row breaks a promise in a recipe: the named checks must notice.
func TestABrokenRecipeFails(t *testing.T) {
	for name, c := range map[string]struct {
		source   string
		old, new string
		by       []string // each begins a promise that must be broken
	}{
		"a create that cannot be found again": {crm, "POST /people\n    body: {external: \"{{ lead.id }}\", ", "POST /people\n    body: {",
			[]string{"the same create with its ref forgotten", "an answer lost after the vendor applied", "a delete after a create whose answer was lost", "Find finds"}},
		"what is gone is not told from what is wrong": {crm, "  - {status: 404, verbs: [update, delete], when: error.code == \"no_person\", gone: true, example: {code: no_person}}\n", "",
			[]string{"a delete twice", "an update of a record that is gone"}},
		"500s are swallowed": {crm, "errors:", "errors:\n  - {status: 5xx, done: true}",
			[]string{"every status", "no status makes an update a success"}},
		"500s park the lead": {crm, "errors:", "errors:\n  - {status: 500, fault: lead}", []string{"every status"}},
		"429s hold the connector for ever": {crm, "errors:", "errors:\n  - {status: [409, 422, 429], fault: lead}",
			[]string{"every status", "Retry-After"}},
		"any 2xx is a success": {crm, "success: answer.id == int(ref)", "success: status == 200",
			[]string{"a success that is not the vendor's own"}},
		"any 2xx is a delete": {crm, "success: status == 204", "success: status < 300",
			[]string{"a success that is not the vendor's own"}},
		"a failed search finds nothing": {crm, "errors:", "errors:\n  - {verbs: [find], status: [400, 401, 403, 500, 503], gone: true}", []string{"Find never takes"}},
		"cleared values are left":       {crm, "base_url:", "values: {empty: omit}\nbase_url:", []string{"a value that is cleared"}},
		"values are cut":                {crm, `"...": "{{ fields }}"`, `"...": "{{ merge(fields, {note: split(fields.note ?? \"\", \".\")[0]}) }}"`, []string{"unusual values"}},
		"an update forgets a field":     {crm, `email: "{{ lead.email }}", "...": "{{ fields }}"}` + "\n    success: answer.id == int", `email: "{{ lead.email }}", first: "{{ fields.first }}"}` + "\n    success: answer.id == int", []string{"a create, an update"}},
		"an address that moves doubles": {byAddress, "", "", []string{"a changed address leaves"}},
		"the reason tells of the lead":  {log, "verbs:", "errors: [{status: 400, fault: lead, reason: lead.note}]\nverbs:", []string{"every status"}},
	} {
		t.Run(name, func(t *testing.T) {
			source := strings.Replace(c.source, c.old, c.new, 1)
			if c.old != "" && source == c.source {
				t.Fatalf("%q is not there", c.old)
			}
			promises, err := conformance.Examine(parse(t, source), conformance.Options{})
			if err != nil {
				t.Fatal(err)
			}
			missing := slices.Clone(c.by)
			for promise, complaints := range promises {
				if complaints != nil {
					missing = slices.DeleteFunc(missing, func(by string) bool { return strings.HasPrefix(promise, by) })
				}
				if len(missing) == 0 {
					return
				}
			}
			t.Errorf("nothing that begins with %q is broken", missing)
		})
	}
}

func TestOptions(t *testing.T) {
	var asked []string
	h, err := conformance.Harness(parse(t, crm), conformance.Options{
		Settings: map[string]any{"pipeline": 12, "base_url": "https://elsewhere.example/odoo"},
		Fields:   []connectors.FieldRule{{To: "n", From: "name"}},
		Faults:   map[int]connectors.Fault{418: connectors.Remote},
		Ref:      func(n int) string { return fmt.Sprint(10 * n) },
		Check: func(r *http.Request) error {
			body, _ := io.ReadAll(r.Body)
			asked = append(asked, r.Method+" "+r.URL.Path+" "+string(body))
			return nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	v := h.NewVendor(t)
	server := httptest.NewServer(v.(http.Handler))
	defer server.Close()
	settings := h.Settings(server.URL, v)
	if settings["pipeline"] != 12 || settings["base_url"] != server.URL+"/odoo" {
		t.Errorf("the settings are %v", settings)
	}
	if !slices.Equal(h.Required, []string{"api_key", "pipeline"}) || !slices.Equal(h.Secrets, []string{settings["api_key"].(string)}) {
		t.Errorf("required are %v, secret are %v", h.Required, h.Secrets)
	}
	if fault, ok := h.Faults[418]; len(h.Faults) != 1 || !ok || fault != connectors.Remote {
		t.Errorf("the faults are %v", h.Faults)
	}
	mapping, err := connectors.NewMapping(h.Fields)
	if err != nil {
		t.Fatal(err)
	}
	c, err := h.Kind.Open(settings, connectors.Env{Fields: mapping, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ref, err := c.Push(context.Background(), connectortest.Created(connectortest.Sample(1)), "")
	if ref != "10" || err != nil {
		t.Errorf("got %q, %v", ref, err)
	}
	want := `POST /odoo/people {"email":"zenobia.quillfeather1@example.com","external":"lead_1jkq7g2a000000000000001","n":"Zenobia Quillfeather1","pipeline":12}`
	if len(asked) != 1 || asked[0] != want {
		t.Errorf("asked %q", asked)
	}
}

func TestARequestThatIsNotAsDescribedIsTold(t *testing.T) {
	promises, err := conformance.Examine(parse(t, crm), conformance.Options{Check: func(r *http.Request) error {
		if r.Method == http.MethodPatch {
			return errors.New("there is no PATCH")
		}
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	for promise, complaints := range promises {
		patches := promise == "the same update twice leaves one record"
		told := slices.Contains(complaints, "not by the vendor's description: there is no PATCH")
		if patches && !told || promise == "the same create with its ref forgotten leaves one record" && complaints != nil && !told {
			t.Errorf("%s: %q", promise, complaints)
		}
	}
}

func TestARecipeWhoseExamplesAreWrongIsNotTried(t *testing.T) {
	source := strings.Replace(crm, "ref: answer.id\n", "ref: answer.person.id\n", 1)
	if _, err := conformance.Examine(parse(t, source), conformance.Options{}); err == nil || !strings.Contains(err.Error(), "acme.yaml:15: create: example: is no success") {
		t.Errorf("got %v", err)
	}
}

// TestTheRecipeInThePackageCommentKeepsEveryPromise: it is what people copy.
func TestTheRecipeInThePackageCommentKeepsEveryPromise(t *testing.T) {
	text, err := os.ReadFile("../doc.go")
	if err != nil {
		t.Fatal(err)
	}
	_, source, _ := strings.Cut(string(text), "//	name: acme\n")
	source, _, _ = strings.Cut("name: acme\n"+source, "//\n")
	recipe, err := rest.Parse("doc.go", []byte(strings.ReplaceAll(source, "//	", "")))
	if err != nil {
		t.Fatal(err)
	}
	conformance.Run(t, recipe, conformance.Options{})
}
