package rest

import (
	"context"
	"strings"
	"testing"

	"github.com/leadrelay/leadrelay/connectors"
)

// inspected is a vendor whose fields are on several pages, and that tells what a token may do.
const inspected = top + `
settings: [{name: token, secret: true, required: true, help: of the account}, {name: account, help: its number}]
auth: {bearer: "{{ settings.token }}"}
record_url: https://acme.example/{{ settings.account }}/people/{{ ref }}
fields: [{to: first, from: first_name}]
verbs:
  check:
    request: GET /fields
    query: {from: "{{ page }}"}
    success: answer.fields != nil
    mend: let it read fields
    fields:
      list: answer.fields
      next: answer.next
      name: field.key
      writable: field.locked != true
      takes: field.type
      mend: make it in {{ settings.base_url }}
    requires:
      - {that: 'any(listed, .key == "ext")', otherwise: there is no field ext, example: {fields: [{key: first}]}}
    then:
      - {request: GET /rights, success: answer.rights != nil, optional: true, example: {rights: [write]},
         requires: [{that: '"write" in answer.rights', otherwise: "it may not write, but {{ join(answer.rights, \",\") }}", example: {rights: [read]}}]}
      - {when: settings.account != "", request: "GET /accounts/{{ settings.account }}", success: answer.id != nil, mend: set account, example: {id: 1}}
    example: {fields: [{key: ext}, {key: first}]}
  find: {request: GET /people, query: {ext: "{{ lead.id }}"}, success: answer.list != nil, ref: "answer.list[0].id", example: {list: [{id: "{{ ref }}"}]}}
  create: {request: POST /people, body: {ext: "{{ lead.id }}", "...": "{{ fields }}"}, ref: answer.id, example: {id: "{{ ref }}"}}
  update: {request: "PATCH /people/{{ ref }}", body: {"...": "{{ fields }}"}, success: answer.id != nil, example: {id: "{{ ref }}"}}
  delete: {request: "DELETE /people/{{ ref }}", success: status == 204}
errors: [{status: 404, verbs: [update, delete], gone: true, example: {}}]
`

func TestACheckReadsAllPagesAndSaysAllThatIsMissing(t *testing.T) {
	rights, account := says{status: 200, body: `{"rights":["write"]}`}, says{status: 200, body: `{"id":17}`}
	for name, c := range map[string]struct {
		answers []says
		asks    []string
		fault   connectors.Fault
		problem []string
	}{
		"all is there": {[]says{{status: 200, body: `{"fields":[{"key":"first"}],"next":"p2"}`}, {status: 200, body: `{"fields":[{"key":"ext"}],"next":null}`}, rights, account},
			[]string{"GET /fields", "GET /fields?from=p2", "GET /rights", "GET /accounts/17"}, 0, nil},
		"all is wrong": {[]says{{status: 200, body: `{"fields":[]}`}, {status: 200, body: `{"rights":["read","list"]}`}, {status: 404, body: `{"message":"no account"}`}},
			[]string{"GET /fields", "GET /rights", "GET /accounts/17"}, connectors.Setup,
			[]string{"acme: check: there is no field first: make it in $URL, or take it out of fields", "acme: check: there is no field ext", "acme: check: it may not write, but read,list", "acme: check: 404 no account: set account"}},
		"what may be refused is": {[]says{{status: 200, body: `{"fields":[{"key":"first"},{"key":"ext"}]}`}, {status: 403}, account}, []string{"GET /fields", "GET /rights", "GET /accounts/17"}, 0, nil},
		"what may be refused fails": {[]says{{status: 200, body: `{"fields":[{"key":"first"},{"key":"ext"}]}`}, {status: 500}, account}, []string{"GET /fields", "GET /rights", "GET /accounts/17"},
			connectors.Remote, []string{"acme: check: 500 Internal Server Error"}},
		"the fields may not be read": {[]says{{status: 403}, rights, account}, []string{"GET /fields", "GET /rights", "GET /accounts/17"}, connectors.Setup, []string{"acme: check: 403 Forbidden: let it read fields"}},
		"one trouble is told once":   {[]says{{status: 403, body: `{"message":"blocked"}`}, rights, {status: 403, body: `{"message":"blocked"}`}}, []string{"GET /fields", "GET /rights", "GET /accounts/17"}, connectors.Setup, []string{"acme: check: 403 blocked: let it read fields", "acme: check: 403 blocked: set account"}},
		"nobody is let in":           {[]says{{status: 401}}, []string{"GET /fields"}, connectors.Setup, []string{"acme: check: 401 Unauthorized"}},
		"it is down":                 {[]says{{status: 503}}, []string{"GET /fields"}, connectors.Remote, []string{"acme: check: 503 Service Unavailable"}},
		"no list": {[]says{{status: 200, body: `{"fields":"many"}`}}, []string{"GET /fields"}, connectors.Unknown,
			[]string{"acme: check: the answer does not list the fields"}},
	} {
		t.Run(name, func(t *testing.T) {
			v := newVendor(t, c.answers...)
			opened := open(t, v, inspected, map[string]any{"token": "s3cret-t0ken", "account": "17"})
			err := opened.(connectors.Checker).Check(context.Background())
			v.wants(c.asks...)
			problems := connectors.Problems(err)
			if fault, _ := connectors.FaultOf(err); len(problems) != len(c.problem) || err != nil && fault != c.fault {
				t.Fatalf("the fault %v: %v, want %v: %q", fault, problems, c.fault, c.problem)
			}
			for i, problem := range problems {
				if want := strings.ReplaceAll(c.problem[i], "$URL", v.url); problem.Error() != want {
					t.Errorf("says %q, want %q", problem, want)
				}
			}
		})
	}
}

func TestAListOfFieldsWithoutEndIsGivenUp(t *testing.T) {
	answers := make([]says, maxPages)
	for i := range answers {
		answers[i] = says{status: 200, body: `{"fields":[{"key":"ext"}],"next":"again"}`}
	}
	v := newVendor(t, answers...)
	err := open(t, v, inspected, map[string]any{"token": "s3cret-t0ken"}).(connectors.Checker).Check(context.Background())
	wantFault(t, err, connectors.Unknown, "the fields are on more than 100 pages")
}

func TestACheckOfARecipeIsHeldToItsExamples(t *testing.T) {
	for name, c := range map[string]struct{ old, new, want string }{
		"as it is":                             {"", "", ""},
		"a field that is not listed":           {"example: {fields: [{key: ext}, {key: first}]}", "example: {fields: [{key: ext}]}", "acme.yaml:13: check: example: fields: there is no field first"},
		"one that takes something else":        {"{key: ext}, {key: first}]}", "{key: ext}, {key: first, type: number}]}", "fields: the field first takes a number, and first_name is none"},
		"a page that is not the last":          {"{key: ext}, {key: first}]}", "{key: ext}, {key: first}], next: p2}", "fields: next: it must be the last page"},
		"an example that lacks something":      {"example: {rights: [write]},", "example: {rights: [read]},", "acme.yaml:27: check: step: example: requires: it may not write, but read"},
		"one of what is lacking that does not": {"example: {rights: [read]}}]", "example: {rights: [read, write]}}]", "acme.yaml:27: check: step: requires: line 28: example: it meets what is required"},
		"one that is no success":               {"example: {rights: [read]}}]", "example: {error: no}}]", "requires: line 28: example: it is no success"},
	} {
		source := strings.Replace(inspected, c.old, c.new, 1)
		if c.old != "" && source == inspected {
			t.Fatalf("%s: %q is not there", name, c.old)
		}
		recipe, err := Parse("acme.yaml", []byte(source))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		_, err = recipe.StandIn(nil)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
}

func TestWhatBelongsToACheckIsRefusedElsewhere(t *testing.T) {
	for name, c := range map[string]struct{ old, new, want string }{
		"fields of another verb":     {"create: {request: POST /people,", "create: {request: POST /people, fields: {list: answer.fields},", "create: fields, requires, mend and optional belong to check"},
		"requires of another step":   {"create: {request: POST /people,", "create: {request: POST /people, then: [{request: GET /x, requires: [{that: 'true', otherwise: x}]}],", "create: fields, requires, mend and optional belong to check"},
		"a look before a step":       {"- {when: settings.account", "- {unless: {request: GET /x, ref: answer.id}, when: settings.account", "check: takes no unless, before, on or list"},
		"a lead in a problem":        {"otherwise: there is no field ext", `otherwise: "no {{ field.key }}"`, "field is not known here"},
		"a secret in the link":       {"{{ settings.account }}/people", "{{ settings.token }}/people", "record_url: must not hold a secret"},
		"all settings in the link":   {"{{ settings.account }}/people", "{{ text(settings) }}/people", "record_url: must not hold a secret"},
		"a person in the link":       {"people/{{ ref }}", "people/{{ lead.email }}", "lead is not known here"},
		"a page of what has no next": {"      next: answer.next\n", "", "page is not known here"},
	} {
		source := strings.Replace(inspected, c.old, c.new, 1)
		if source == inspected {
			t.Fatalf("%s: %q is not there", name, c.old)
		}
		if _, err := Parse("acme.yaml", []byte(source)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
}

func TestARecordsAddressIsWholeOrNotAtAll(t *testing.T) {
	v := newVendor(t)
	linked := func(account string) connectors.Linked {
		return open(t, v, inspected, map[string]any{"token": "s3cret-t0ken", "account": account}).(connectors.Linked)
	}
	for _, row := range []struct{ account, ref, want string }{
		{"17", "51", "https://acme.example/17/people/51"},
		{"17", "a b/c?d#e&f", "https://acme.example/17/people/a%20b%2Fc%3Fd%23e%26f"},
		{"17", "..", ""}, {"17", "", ""}, {"", "51", ""},
	} {
		if got := linked(row.account).RecordURL(row.ref); got != row.want {
			t.Errorf("%q, %q: %q, want %q", row.account, row.ref, got, row.want)
		}
	}
	if got := open(t, newVendor(t), simple, map[string]any{"token": "s3cret-t0ken"}).(connectors.Linked).RecordURL("51"); got != "" {
		t.Errorf("of a recipe that does not say where: %q", got)
	}
}
