package rest

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/leadrelay/leadrelay/connectors"
	"github.com/leadrelay/leadrelay/internal/lead"
)

// standIn makes the stand-in of a recipe and opens the recipe's connector to it.
func standIn(t testing.TB, source string, settings map[string]any, fields ...connectors.FieldRule) (*StandIn, connectors.Connector) {
	t.Helper()
	recipe, err := Parse("acme.yaml", []byte(source))
	if err != nil {
		t.Fatal(err)
	}
	s, err := recipe.StandIn(settings)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	kind := recipe.Kind()
	if fields == nil {
		fields = kind.Fields
	}
	mapping, err := connectors.NewMapping(fields)
	if err != nil {
		t.Fatal(err)
	}
	c, err := kind.Open(s.Settings(server.URL), connectors.Env{Name: "acme", Fields: mapping, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.(io.Closer).Close() })
	return s, c
}

// crm is a recipe of a vendor that creates, finds, updates and deletes; %s is the rest of a body.
const crm = top + `
fields: [{to: name, from: name}, {to: size, from: budget}, {to: tags, from: tags}, {to: phone, from: phone}]
verbs:
  check: {request: GET /me, success: answer.id != nil, example: {id: 1}}
  find: {request: GET /people, query: {ext: "{{ lead.id }}"}, success: answer.list != nil, ref: "answer.list[0].id", example: {list: [{id: "{{ ref }}"}]}}
  create: {request: POST /people, body: {ext: "{{ lead.id }}", %s}, ref: answer.id, success: answer.id != nil, example: {id: "{{ ref }}"}}
  update: {request: "PATCH /people/{{ ref }}", body: {ext: "{{ lead.id }}", %[1]s}, success: status == 204}
  delete: {request: "DELETE /people/{{ ref }}", success: status == 204}
errors:
  - {status: 404, verbs: [update, delete], gone: true}
`

func crmOf(body string) string { return fmt.Sprintf(crm, body) }

// shaped is what the stand-in holds of a lead under the vendor's names.
var shaped = map[string]string{"name": "Ada Lovelace", "size": "1500", "tags": `["a","b"]`, "phone": ""}

// A stand-in reads a request by the recipe's own templates, whatever they make of a lead.
func TestAStandInFindsTheFieldsInARequest(t *testing.T) {
	for name, body := range map[string]string{
		"spread":                `email: "{{ lead.email }}", "...": "{{ fields }}"`,
		"a member":              `attributes: "{{ fields }}"`,
		"one by one":            `n: "{{ fields.name }}", s: "{{ fields.size }}", t: "{{ fields.tags }}", p: "{{ fields.phone }}"`,
		"merged":                `data: "{{ merge({email: lead.email}, fields, {source: \"web\"}) }}"`,
		"compact":               `data: "{{ compact(merge(fields, {email: lead.email, none: lead.missing})) }}", p: "{{ fields.phone }}"`,
		"pairs":                 `data: "{{ map(toPairs(fields), {{name: #[0], value: #[1]}}) }}"`,
		"names":                 `data: "{{ map(sort(keys(fields)), {{field: #, value: fields[#]}}) }}"`,
		"two lists":             `data: "{{ concat([{field: \"id\", value: lead.id}], map(keys(fields), {{field: #, value: fields[#]}})) }}"`,
		"prefixes":              `data: "{{ map(keys(fields), {{field: trimPrefix(\"f.\" + #, \"f.\"), value: fields[#]}}) }}"`,
		"JSON in a text":        `data: "{{ toJSON(fields) }}"`,
		"a condition":           `data: '{{ lead.email != "" ? {inner: fields} : nil }}'`,
		"another when there is": `n: '{{ fields.name ?? "nobody" }}', s: "{{ fields.size }}", t: "{{ fields.tags }}", p: '{{ fields.phone ?? "none" }}'`,
		"by the settings":       `'{{ settings.timeout == "30s" ? "yes" : "no" }}': 1, "...": "{{ fields }}"`,
	} {
		t.Run(name, func(t *testing.T) {
			s, c := standIn(t, crmOf(body), nil)
			ref, err := push(c, lead.Create, "1", "")
			wantRef(t, "1001", ref, err)
			records := s.Records()
			if len(records) != 1 || records[0].Ref != "1001" {
				t.Fatalf("got %v", records)
			}
			for field, want := range shaped {
				if got, there := records[0].Fields[field]; got != want || !there {
					t.Errorf("%s is %q, %v; want %q: all are %q", field, got, there, want, records[0].Fields)
				}
			}
			changed := person("1")
			changed.Name = "Countess of Lovelace"
			if _, err := c.Push(context.Background(), change(lead.Update, changed), ref); err != nil {
				t.Fatal(err)
			}
			if got := s.Records()[0].Fields["name"]; got != "Countess of Lovelace" || len(s.Records()) != 1 {
				t.Errorf("after the update the name is %q of %v", got, s.Records())
			}
			found, ok, err := c.(connectors.Finder).Find(context.Background(), lead.Lead{ID: "lead_1"})
			if found != "1001" || !ok || err != nil {
				t.Errorf("found %q, %v, %v", found, ok, err)
			}
			if _, err := push(c, lead.Delete, "1", ref); err != nil {
				t.Fatal(err)
			}
			if _, err := push(c, lead.Delete, "1", ref); err != nil {
				t.Errorf("again: %v", err)
			}
			if left := s.Records(); len(left) != 0 {
				t.Errorf("left are %v", left)
			}
		})
	}
}

func TestAStandInKeepsWhatItCannotReadBackwards(t *testing.T) {
	s, c := standIn(t, crmOf(`text: '{{ join(map(keys(fields), upper(#)), ",") + " of " + upper(lead.name) }}', size: "{{ (fields.size ?? 0) * 2 }}"`), nil)
	if _, err := push(c, lead.Create, "1", ""); err != nil {
		t.Fatal(err)
	}
	all := fmt.Sprint(s.Records())
	for _, want := range []string{"ADA LOVELACE", "3000", "lead_1"} {
		if !strings.Contains(all, want) {
			t.Errorf("%q is not in %s", want, all)
		}
	}
}

func TestAStandInKnowsRecordsByWhatIsCalculatedOfTheLead(t *testing.T) {
	s, c := standIn(t, top+`
key: sha256(normal_email(lead.email))
fields: [{to: name, from: name}]
verbs:
  check: {request: GET /me, success: answer.id != nil, example: {id: 1}}
  upsert: {request: "PUT /members/{{ key }}", body: {email: "{{ lead.email }}", "...": "{{ fields }}"}, success: answer.id != nil, example: {id: "{{ ref }}"}}
  delete: {request: "DELETE /members/{{ ref }}", success: status == 204}
errors: [{status: 404, verbs: [delete], gone: true}]
`, nil)
	if !s.ByAddress() {
		t.Error("two leads of one address do not share a record")
	}
	ref, err := push(c, lead.Create, "1", "")
	if err != nil || ref != c.(connectors.Keyed).Key(person("1")) {
		t.Errorf("got %q, %v", ref, err)
	}
	other := person("2")
	other.Email = strings.ToUpper(person("1").Email)
	if again, err := c.Push(context.Background(), change(lead.Create, other), ""); err != nil || again != ref {
		t.Errorf("got %q, %v", again, err)
	}
	other.Email = "elsewhere@example.com"
	if _, err := c.Push(context.Background(), change(lead.Update, other), ref); err != nil {
		t.Fatal(err)
	}
	if records := s.Records(); len(records) != 1 || records[0].Fields["lead.email"] != "elsewhere@example.com" {
		t.Errorf("got %v", records)
	}
}

// batches is a recipe of a vendor that says of each of several leads what became of it; %s says how.
const batches = top + `
unique: [lead.id, lead.email]
fields: [{to: name, from: name}]
verbs:
  check: {request: GET /me, success: answer.id != nil, example: {id: 1}}
  find: {request: GET /people, query: {ext: "{{ lead.id }}"}, success: answer.list != nil, ref: "answer.list[0].id", example: {list: [{id: "{{ ref }}"}]}}
  upsert:
    request: POST /batch
    max: 10
    each: {ext: "{{ lead.id }}", email: "{{ lead.email }}", "...": "{{ fields }}"}
    body: {people: "{{ each }}"}
    success: result.ok == true
    ref: result.id
    %s
  update: {request: "PATCH /people/{{ ref }}", body: {ext: "{{ lead.id }}", email: "{{ lead.email }}", "...": "{{ fields }}"}, success: status == 204}
  delete:
    request: DELETE /people
    max: 10
    query: {ids: "{{ refs }}"}
    success: answer.ok == true
    example: {ok: true}
errors:
  - {status: [404, 200], verbs: [update, delete], when: error.message == "none", gone: true, example: {message: none}}
  - {status: [409, 207], when: 'error.message startsWith "it is "', exists: 'capture(error.message, "it is (\\d+)")', example: {ok: false, ext: "{{ lead.id }}", message: "it is {{ ref }}"}}
  - {status: [422, 207], when: error.message == "bad", fault: lead, example: {ok: false, ext: "{{ lead.id }}", message: bad}}
`

func TestAStandInAnswersForEachOfABatch(t *testing.T) {
	for name, how := range map[string]string{
		"by a key":     `{results: {from: answer.done, key: result.ext}, failures: {from: answer.failed, key: error.ext}, example: {done: "{{ each }}"}, example_each: {ok: true, ext: "{{ lead.id }}", id: "{{ ref }}"}}`,
		"by position":  `{results: {from: answer.done}, example: {done: "{{ each }}"}, example_each: {ok: true, id: "{{ ref }}"}}`,
		"not at all":   `{success: "answer.ok == true", max: 1, ref: "answer.people[0]", example: {ok: true, people: ["{{ ref }}"]}}`,
		"only failing": `{results: {from: answer.done, key: result.ext}, example: {done: "{{ each }}"}, example_each: {ok: true, ext: "{{ lead.id }}", id: "{{ ref }}"}}`,
	} {
		t.Run(name, func(t *testing.T) {
			source := strings.Replace(batches, "    success: result.ok == true\n    ref: result.id\n    %s", "    <<: "+how, 1)
			if name != "not at all" {
				source = strings.Replace(source, "    <<:", "    success: result.ok == true\n    ref: result.id\n    <<:", 1)
			} else {
				source = strings.Replace(source, "    max: 10\n    each: {ext", "    each: {ext", 1)
			}
			s, c := standIn(t, source, nil)
			if got := s.BadDomain(); got == "" {
				t.Fatal("it refuses nobody")
			}
			bad, double := person("3"), person("4")
			bad.Email = "x@" + s.BadDomain()
			double.Email = person("1").Email
			var items []connectors.Item
			for _, l := range []lead.Lead{person("1"), person("2"), bad} {
				items = append(items, connectors.Item{Change: change(lead.Create, l)})
			}
			results := c.(connectors.Batcher).PushBatch(context.Background(), items)
			wantRef(t, "1001", results[0].Ref, results[0].Err)
			wantRef(t, "1002", results[1].Ref, results[1].Err)
			wantFault(t, results[2].Err, connectors.Lead, "bad")
			ref, err := c.Push(context.Background(), change(lead.Create, double), "")
			wantRef(t, "1001", ref, err) // adopted
			if records := s.Records(); len(records) != 2 || records[0].Fields["lead.id"] != "lead_4" {
				t.Errorf("got %v", records)
			}
			items = []connectors.Item{{Change: change(lead.Delete, person("4")), Ref: "1001"}, {Change: change(lead.Delete, person("2")), Ref: "1002"}}
			for range 2 {
				for i, result := range c.(connectors.Batcher).PushBatch(context.Background(), items) {
					if result.Err != nil {
						t.Errorf("delete %d: %v", i, result.Err)
					}
				}
				if left := s.Records(); len(left) != 0 {
					t.Errorf("left are %v", left)
				}
			}
		})
	}
}

func TestAStandInTellsRequestsOfOnePathApart(t *testing.T) {
	s, c := standIn(t, top+`
fields: [{to: name, from: name}]
verbs:
  check: {request: POST /graphql, body: {query: "{ me { id } }"}, success: answer.data.me.id != nil, example: {data: {me: {id: 1}}}}
  find: {request: POST /graphql, body: {query: "query($id: ID!) { person(ext: $id) { id } }", variables: {id: "{{ lead.id }}"}}, success: answer.data != nil, ref: answer.data.person.id, example: {data: {person: {id: "{{ ref }}"}}}}
  create: {request: POST /graphql, body: {query: "mutation($in: In!) { create(in: $in) { id } }", variables: {in: {ext: "{{ lead.id }}", "...": "{{ fields }}"}}}, success: answer.data.create.id != nil, ref: answer.data.create.id, example: {data: {create: {id: "{{ ref }}"}}}}
  update: {request: POST /graphql, body: {query: "mutation($id: ID!, $in: In!) { update(id: $id, in: $in) { id } }", variables: {id: "{{ ref }}", in: {ext: "{{ lead.id }}", "...": "{{ fields }}"}}}, success: answer.data.update.id != nil, example: {data: {update: {id: "{{ ref }}"}}}}
  delete: {request: POST /graphql, body: {query: "mutation($id: ID!) { delete(id: $id) { id } }", variables: {id: "{{ ref }}"}}, success: answer.data.delete.id != nil, example: {data: {delete: {id: "{{ ref }}"}}}}
errors: [{when: 'error.errors[0].code == "NOT_FOUND"', gone: true, example: {data: null, errors: [{code: NOT_FOUND}]}}]
`, nil)
	ref, err := push(c, lead.Create, "1", "")
	wantRef(t, "1001", ref, err)
	if found, ok, err := c.(connectors.Finder).Find(context.Background(), lead.Lead{ID: "lead_2"}); found != "" || ok || err != nil {
		t.Errorf("found %q, %v, %v", found, ok, err)
	}
	ref, err = push(c, lead.Update, "1", "9999") // somebody deleted it
	wantRef(t, "1002", ref, err)
	if _, err = push(c, lead.Delete, "1", ref); err != nil || len(s.Records()) != 1 {
		t.Errorf("got %v, %v", err, s.Records())
	}
	if err := c.(connectors.Checker).Check(context.Background()); err != nil {
		t.Error(err)
	}
}

func TestAStandInReadsForms(t *testing.T) {
	s, c := standIn(t, strings.NewReplacer(`body: {ext: "{{ lead.id }}", `, `form: {ext: "{{ lead.id }}", `).Replace(crmOf(`email: "{{ lead.email }}", n: "{{ fields.name }}", p: "{{ fields.phone }}"`)), nil)
	if _, err := push(c, lead.Create, "1", ""); err != nil {
		t.Fatal(err)
	}
	if got := s.Records()[0].Fields; got["name"] != "Ada Lovelace" || got["lead.email"] != "1@example.com" || got["lead.id"] != "lead_1" {
		t.Errorf("got %v", got)
	}
}

func TestAStandInLetsInWhoSignsInAsTheRecipeSays(t *testing.T) {
	secrets := "settings: [{name: user, help: x}, {name: key, secret: true, required: true, help: x}, {name: other, secret: true, help: x}]\n"
	for name, auth := range map[string]string{
		"bearer":             `auth: {bearer: "{{ settings.key }}"}`,
		"basic":              `auth: {basic: {user: "{{ settings.user }}", password: "{{ settings.key }}"}}`,
		"header":             `auth: {header: {name: X-Key, value: "key {{ settings.key }}"}}`,
		"query":              `auth: {query: {name: key, value: "{{ settings.key }}"}}`,
		"any header":         `headers: {X-Key: "{{ settings.key }}"}`,
		"client credentials": `auth: {oauth2: {grant: client_credentials, token_url: "{{ settings.base_url }}/oauth/token", client_id: "{{ settings.user }}", client_secret: "{{ settings.key }}"}}`,
		"credentials, basic": `auth: {oauth2: {grant: client_credentials, in_header: true, scheme: Token, token_url: "{{ settings.base_url }}/oauth/token", client_id: "{{ settings.user }}", client_secret: "{{ settings.key }}"}}`,
		"refresh token":      `auth: {oauth2: {grant: refresh_token, token_url: "{{ settings.base_url }}/oauth/token", client_id: "{{ settings.user }}", client_secret: "{{ settings.other }}", refresh_token: "{{ settings.key }}"}}`,
		"JWT":                `auth: {oauth2: {grant: jwt_bearer, token_url: "{{ settings.base_url }}/oauth/token", client_id: "{{ settings.user }}", private_key: "{{ settings.key }}", audience: x}}`,
	} {
		t.Run(name, func(t *testing.T) {
			s, c := standIn(t, strings.Replace(crmOf(`"...": "{{ fields }}"`), "fields:", secrets+auth+"\nfields:", 1), nil)
			if _, err := push(c, lead.Create, "1", ""); err != nil {
				t.Fatal(err)
			}
			// Another account's stand-in does not let this one in.
			given := s.Settings("https://one.example")
			key := strings.NewReplacer("stand-in", "other", "A", "B").Replace(given["key"].(string))
			if name == "JWT" {
				key = given["key"].(string)
				given["user"] = "another"
			}
			other, err := s.recipe.StandIn(map[string]any{"key": key, "user": given["user"], "other": given["other"]})
			if err != nil {
				t.Fatal(err)
			}
			server := httptest.NewServer(other)
			defer server.Close()
			stranger, err := s.recipe.Kind().Open(s.Settings(server.URL), connectors.Env{Log: slog.New(slog.DiscardHandler)})
			if err != nil {
				t.Fatal(err)
			}
			_, err = push(stranger, lead.Create, "1", "")
			wantFault(t, err, connectors.Setup, "")
			if len(other.Records()) != 0 {
				t.Error("a stranger wrote")
			}
		})
	}
}

func TestAStandInSaysWhereAccessTokensAre(t *testing.T) {
	oauth := `
settings: [{name: accounts, default: "https://accounts.acme.example/v2", help: x}, {name: id, required: true, help: x}, {name: host, default: login, help: x}]
auth: {oauth2: {grant: client_credentials, token_url: "%s/oauth/token", client_id: "{{ settings.id }}", client_secret: x}}
fields:`
	s, c := standIn(t, strings.Replace(crmOf(`"...": "{{ fields }}"`), "fields:", fmt.Sprintf(oauth, "{{ settings.accounts }}"), 1), nil)
	if ref, err := push(c, lead.Create, "1", ""); err != nil {
		t.Errorf("got %q, %v", ref, err)
	}
	if got := s.Settings("http://here")["accounts"]; got != "http://here/v2" {
		t.Errorf("accounts is %v", got)
	}
	for _, c := range []struct {
		method, path string
		want         bool
	}{{"POST", "/v2/oauth/token", true}, {"GET", "/v2/oauth/token", false}, {"POST", "/oauth/token", false}} {
		if got := s.SignIn(httptest.NewRequest(c.method, c.path, nil)); got != c.want {
			t.Errorf("%s %s: got %v", c.method, c.path, got)
		}
	}
	recipe, err := Parse("acme.yaml", []byte(strings.Replace(crmOf(`"...": "{{ fields }}"`), "fields:", fmt.Sprintf(oauth, "https://{{ settings.host }}.acme.example"), 1)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err = recipe.StandIn(nil); err == nil || !strings.Contains(err.Error(), "acme.yaml: auth: token_url: tests cannot lead it elsewhere") {
		t.Errorf("got %v", err)
	}
}

func TestAStandInIsWhereItsRecipeSays(t *testing.T) {
	source := strings.Replace(crmOf(`"...": "{{ fields }}"`), "base_url: https://api.acme.example", "settings: [{name: region, default: eu, help: x}]\nbase_url: https://{{ settings.region }}.acme.example/api/v3/", 1)
	s, c := standIn(t, source, nil)
	if got := s.Settings("http://here")["base_url"]; got != "http://here/api/v3" {
		t.Errorf("base_url is %v", got)
	}
	if _, err := push(c, lead.Create, "1", ""); err != nil {
		t.Error(err)
	}
	s, c = standIn(t, strings.Replace(crmOf(`"...": "{{ fields }}"`), "base_url: https://api.acme.example\n", "", 1), map[string]any{"base_url": "https://crm.example/odoo"})
	if got := s.Settings("http://here")["base_url"]; got != "http://here/odoo" {
		t.Errorf("base_url is %v", got)
	}
	if _, err := push(c, lead.Create, "1", ""); err != nil {
		t.Error(err)
	}
}

func TestAStandInRemembersWhatStepsDid(t *testing.T) {
	source := strings.Replace(crmOf(`"...": "{{ fields }}"`), `ref: answer.id, success: answer.id != nil, example: {id: "{{ ref }}"}}`, `ref: answer.id, success: answer.id != nil, example: {id: "{{ ref }}"},
    then: [
      {unless: {request: "GET /people/{{ ref }}/lists", success: answer.lists != nil, ref: "answer.lists[0].id", example: {lists: [{id: 7}]}},
       request: POST /lists/7/people, body: {id: "{{ ref }}"}, success: answer.ok == true, example: {ok: true}},
      {list: {request: "GET /people/{{ ref }}/notes", success: answer.notes != nil, ref: answer.notes, example: {notes: [{id: 1}, {id: 2}]}},
       request: "DELETE /notes/{{ item.id }}", success: status == 204}]}`, 1)
	var asked []string
	recipe, err := Parse("acme.yaml", []byte(source))
	if err != nil {
		t.Fatal(err)
	}
	s, err := recipe.StandIn(nil)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.Method+" "+r.URL.Path)
		s.ServeHTTP(w, r)
	}))
	defer server.Close()
	c, err := recipe.Kind().Open(s.Settings(server.URL), connectors.Env{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := push(c, lead.Create, "1", ""); err != nil {
		t.Fatal(err)
	}
	want := []string{"POST /people", "GET /people/1001/lists", "POST /lists/7/people", "GET /people/1001/notes", "DELETE /notes/1", "DELETE /notes/2"}
	if !reflect.DeepEqual(asked, want) {
		t.Errorf("asked %q", asked)
	}
	if got := s.Records()[0].Fields["POST /lists/7/people"]; got != "done" {
		t.Errorf("the step is %q in %v", got, s.Records())
	}
	get := func(path string) string {
		answer, err := http.Get(server.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		text, _ := io.ReadAll(answer.Body)
		return string(text)
	}
	if got := get("/people/1001/lists"); !strings.Contains(got, "7") {
		t.Errorf("once it was done the look says %s", got)
	}
	if got := get("/people/9/lists"); strings.Contains(got, "7") {
		t.Errorf("of another it says %s", got)
	}
}

// Some vendors replace whole what they are sent: their recipes read the record first, and write it in a step.
func TestAStandInTakesWhatAStepWrites(t *testing.T) {
	source := crmOf(`email: "{{ lead.email }}", "...": "{{ fields }}"`)
	update := regexp.MustCompile("(?m)^  update: .*$").FindString(source)
	s, c := standIn(t, strings.Replace(source, update, `  update:
    request: GET /people/{{ ref }}
    success: answer.id != nil
    example: {id: "{{ ref }}", emails: ["{{ lead.email }}"]}
    then:
      - request: PUT /people/{{ ref }}
        body:
          emails: "{{ let theirs = answer.emails ?? []; lead.email in theirs ? theirs : concat([lead.email], theirs) }}"
          name: '{{ fields.name ?? lead.email }}'
          size: "{{ fields.size }}"
        success: status == 204`, 1), nil)
	ref, err := push(c, lead.Create, "1", "")
	wantRef(t, "1001", ref, err)
	l := person("1")
	for _, change := range []struct{ name, email, size, want string }{
		{"Countess of Lovelace", l.Email, "1500", "Countess of Lovelace"},
		{"Countess of Lovelace", "new@example.com", "1500", "Countess of Lovelace"},
		{"", "new@example.com", "1500", ""},
		{"", "newer@example.com", "1500", ""},
	} {
		l.Name, l.Email = change.name, change.email
		if _, err := c.Push(context.Background(), lead.Change{Op: lead.Update, Lead: l}, ref); err != nil {
			t.Fatal(err)
		}
		records := s.Records()
		if got := records[0].Fields; len(records) != 1 || got["name"] != change.want || got["lead.email"] != change.email || got["size"] != change.size {
			t.Errorf("want %v, got %v", change, records)
		}
	}
	ref, err = push(c, lead.Update, "1", "9999")
	wantRef(t, "1002", ref, err)
}

func TestABatchOfNobodyIsRefused(t *testing.T) {
	s, _ := standIn(t, strings.Replace(batches, "%s", `results: {from: answer.done}
    example: {done: "{{ each }}"}
    example_each: {ok: true, id: "{{ ref }}"}`, 1), nil)
	eleven := strings.TrimSuffix(strings.Repeat(`{"ext": "a", "email": "b", "name": "c"},`, 11), ",")
	for body, want := range map[string]string{`{"people": []}`: "about nobody", `{"people": [` + eleven + `]}`: "at most 10"} {
		w := httptest.NewRecorder()
		s.ServeHTTP(w, httptest.NewRequest("POST", "/batch", strings.NewReader(body)))
		if w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), want) || len(s.Records()) != 0 {
			t.Errorf("%s: got %d %s", body, w.Code, w.Body)
		}
	}
}

func TestAStandInOfEventsListsWhoWasTold(t *testing.T) {
	s, c := standIn(t, top+`
event: true
verbs:
  check: {request: GET /me, success: answer.id != nil, example: {id: 1}}
  create: {request: POST /hook, body: {text: "New: {{ lead.name }}\n{{ lead.id }}"}, success: answer == "ok", example: ok}
  update: {request: POST /hook, body: {text: "Changed: {{ lead.name }}\n{{ lead.id }}"}, success: answer == "ok", example: ok}
  delete: {request: POST /hook, body: {text: "Forgotten: {{ lead.id }}"}, success: answer == "ok", example: ok}
`, nil)
	for _, op := range []lead.Op{lead.Create, lead.Create, lead.Update} {
		if _, err := push(c, op, "1", ""); err != nil {
			t.Fatal(err)
		}
		if records := s.Records(); len(records) != 1 || records[0].Fields["lead.name"] != "Ada Lovelace" {
			t.Errorf("%s: got %v", op, records)
		}
	}
	if _, err := push(c, lead.Delete, "1", ""); err != nil || len(s.Records()) != 0 {
		t.Errorf("got %v, %v", err, s.Records())
	}
}

func TestAStandInRefusesWhatIsNoRequestOfTheRecipe(t *testing.T) {
	s, _ := standIn(t, crmOf(`"...": "{{ fields }}"`), nil)
	for name, r := range map[string]*http.Request{
		"a path":             httptest.NewRequest("GET", "/peoples", nil),
		"a method":           httptest.NewRequest("PUT", "/people/1", strings.NewReader("{}")),
		"a query":            httptest.NewRequest("GET", "/people?"+url.Values{"ext": {"lead_1"}, "page": {"2"}}.Encode(), nil),
		"a body where none":  httptest.NewRequest("DELETE", "/people/1", strings.NewReader("{}")),
		"none where a body":  httptest.NewRequest("POST", "/people", nil),
		"no JSON":            httptest.NewRequest("POST", "/people", strings.NewReader("ext=lead_1")),
		"a member too few":   httptest.NewRequest("POST", "/people", strings.NewReader(`{"name": "Ada"}`)),
		"a deeper path":      httptest.NewRequest("DELETE", "/people/1/2", nil),
		"nothing for a name": httptest.NewRequest("DELETE", "/people/", nil),
	} {
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		if w.Code != http.StatusNotImplemented || !strings.Contains(w.Body.String(), "the recipe makes no such request") {
			t.Errorf("%s: got %d %s", name, w.Code, w.Body)
		}
	}
}

// An example that does not mean what it stands for is found before anything is tried with it.
func TestExamplesAreHeldToTheRecipe(t *testing.T) {
	whole := strings.Replace(crmOf(`"...": "{{ fields }}"`), "errors:", `errors:
  - {status: 409, exists: answer.id, example: {id: "{{ ref }}"}}
  - {status: 422, when: error.code == "bad", fault: lead, example: {code: bad}}`, 1)
	batch := strings.Replace(batches, "%s", `results: {from: answer.done, key: result.ext}
    failures: {from: answer.failed, key: error.ext}
    example: {done: "{{ each }}"}
    example_each: {ok: true, ext: "{{ lead.id }}", id: "{{ ref }}"}`, 1)
	for name, c := range map[string]struct{ source, old, new, want string }{
		"as it is":               {whole, "", "", ""},
		"a batch as it is":       {batch, "", "", ""},
		"a wrong ref":            {whole, "ref: answer.id, success: answer.id != nil, example", "ref: answer.person.id, success: answer.id != nil, example", "acme.yaml:11: create: example: is no success: the answer names no record"},
		"another ref":            {whole, `success: answer.id != nil, example: {id: "{{ ref }}"}`, `success: answer.id != nil, example: {id: 42}`, `acme.yaml:11: create: example: ref is "42" in it, want what {{ ref }} stands for, "1001"`},
		"no success":             {whole, "ref: answer.id, success: answer.id != nil", "ref: answer.id, success: answer.ok == true", "acme.yaml:11: create: example: is no success"},
		"no example":             {whole, `success: answer.id != nil, example: {id: "{{ ref }}"}`, `success: answer.id != nil`, "acme.yaml:11: create: example: required"},
		"a search without one":   {whole, `, example: {list: [{id: "{{ ref }}"}]}`, "", "acme.yaml:10: find: example: required"},
		"a search for the wrong": {whole, `ref: "answer.list[0].id"`, `ref: "answer.list[0].ident"`, "acme.yaml:10: find: example: ref finds nothing in it"},
		"a search that must find": {whole, `success: answer.list != nil, ref: "answer.list[0].id"`, `success: "len(answer.list) > 0", ref: "answer.list[0].id"`,
			"acme.yaml:10: find: example: with its lists emptied it does not say that there is no record"},
		"a rule not met":            {whole, "example: {code: bad}", "example: {code: worse}", "acme.yaml:16: errors: example: does not meet its rule"},
		"a rule before it":          {whole, "- {status: 409,", "- {status: 4xx,", "acme.yaml:16: errors: example: the rule at line 15 takes it"},
		"exists of another":         {whole, `- {status: 409, exists: answer.id, example: {id: "{{ ref }}"}}`, "- {status: 409, exists: answer.id, example: {id: 7}}", `acme.yaml:15: errors: example: exists is "7" in it: write {{ ref }}`},
		"exists without":            {whole, `exists: answer.id, example: {id: "{{ ref }}"}`, `when: answer.id != nil, exists: answer.id`, "acme.yaml:15: errors: example: required with gone and exists"},
		"a check without":           {whole, "success: answer.id != nil, example: {id: 1}", "success: answer.id != nil, fields: {list: answer.id}, example: {id: 1}", "acme.yaml:9: check: example: fields: list finds no list in it"},
		"results of none":           {batch, "from: answer.done", "from: answer.results", "acme.yaml:13: upsert: example: results finds no list in it"},
		"results of others":         {batch, "key: result.ext", "key: result.external", "acme.yaml:13: upsert: example: is no success: the answer says nothing of this lead"},
		"failures from a sum":       {batch, "from: answer.failed", `from: "concat(answer.failed, [])"`, "acme.yaml:13: upsert: failures: from: must be a place in the answer"},
		"a request that fails":      {whole, `PATCH /people/{{ ref }}", body: {`, `PATCH /people/{{ ref }}", body: {n: "{{ lead.name + 1 }}", `, "acme.yaml:12: update: body: "},
		"a setting that is refused": {whole, "base_url: https://api.acme.example", "base_url: not a URL", "base_url: must be a URL"},
	} {
		source := strings.Replace(c.source, c.old, c.new, 1)
		if c.old != "" && source == c.source {
			t.Fatalf("%s: %q is not there", name, c.old)
		}
		recipe, err := Parse("acme.yaml", []byte(source))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		_, err = recipe.StandIn(nil)
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
}

func TestAnExpressionIsBounded(t *testing.T) {
	for name, text := range map[string]string{
		"long":             strings.Repeat("true or ", 1000) + "true",
		"deep":             strings.Repeat("(", 300000),
		"deep, but shut":   strings.Repeat("(", 300000) + "1" + strings.Repeat(")", 300000),
		"in a template":    "{{ " + strings.Repeat("[", 300000) + " }}",
		"shut at each end": "{{ " + strings.Repeat("}}", 300000),
	} {
		old, new := "answer.id != nil", "'"+text+"'"
		if strings.HasPrefix(text, "{{") {
			old, new = "/people/{{ ref }}", "/people/"+text
		}
		_, err := Parse("acme.yaml", []byte(strings.Replace(least, old, new, 1)))
		if err == nil || len(err.Error()) > 10000 {
			t.Errorf("%s: got %.300v", name, err)
		}
	}
}

// FuzzParse: whatever a recipe's text is, or one text in it, reading it ends and says what is wrong; what is read can be
// tried.
func FuzzParse(f *testing.F) {
	whole := crmOf(`"...": "{{ fields }}"`)
	places := []string{whole, "answer.list != nil", "/people/{{ ref }}", "{{ lead.id }}", "{{ fields }}", "answer.id != nil", "https://api.acme.example", "answer.list[0].id"}
	for i, place := range places {
		f.Add(byte(i), place)
	}
	f.Add(byte(0), strings.Replace(batches, "%s", `example: {}`, 1))
	f.Add(byte(0), "a: &a [*a]\nb: {{{{ }}")
	f.Add(byte(1), `let a = answer; map(filter(toPairs(a ?? {}), #[0] != ""), {{name: .x?.y[0], value: #}})`)
	f.Add(byte(3), `{{ capture(lead.id, "(.*)") }}{{ md5(lead.email) }}`)
	f.Fuzz(func(t *testing.T, place byte, text string) {
		source := text
		if i := int(place) % len(places); i > 0 {
			quoted, _ := json.Marshal(text)
			source = strings.NewReplacer(`"`+places[i]+`"`, string(quoted), places[i], string(quoted)).Replace(whole)
		}
		recipe, err := Parse("acme.yaml", []byte(source))
		switch {
		case err == nil:
			recipe.Kind()
			recipe.StandIn(nil)
		case !strings.HasPrefix(err.Error(), "acme.yaml"):
			t.Errorf("an error without the file: %v", err)
		}
	})
}
