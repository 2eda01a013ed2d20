package rest

import (
	"context"
	"strings"
	"testing"

	"github.com/leadrelay/leadrelay/connectors"
	"github.com/leadrelay/leadrelay/internal/lead"
)

// shared is a vendor where two leads may have one record.
const shared = top + `
settings: [{name: list, help: a list to be on}]
fields: [{to: first, from: first_name}]
verbs:
  check:
    request: GET /me
    success: answer.id != nil
    fields: {list: answer.fields}
    then: [{when: settings.list != "", request: "GET /lists/{{ settings.list }}", success: answer.id != nil}]
  find: {request: GET /people, query: {ext: "{{ lead.id }}"}, success: answer.people != nil, ref: "answer.people[0].id"}
  upsert:
    request: POST /people
    body: {ext: "{{ lead.id }}", email: "{{ lead.email }}"}
    ref: answer.id
    then:
      - unless: {request: "GET /people/{{ ref }}/lists", success: answer.lists != nil, ref: 'find(answer.lists, # == settings.list)'}
        request: PUT /lists/{{ settings.list }}/members/{{ ref }}
  update: {request: "PATCH /people/{{ ref }}", body: {"...": "{{ fields }}"}}
  delete:
    unless: {request: "GET /people/{{ ref }}", success: answer.ext != nil, ref: "answer.ext != lead.id ? answer.ext : nil"}
    request: DELETE /people/{{ ref }}
    before: [{request: "DELETE /people/{{ ref }}/deals"}]
errors:
  - {status: 404, verbs: [update, delete], when: error.code == "no_such_person", gone: true}
`

func openShared(t *testing.T, answers ...says) (*vendor, connectors.Connector) {
	v := newVendor(t, answers...)
	return v, open(t, v, shared, map[string]any{"list": "L1"})
}

func TestADeleteLeavesWhatHasBecomeAnotherLeads(t *testing.T) {
	v, c := openShared(t, says{status: 200, body: `{"ext":"lead_2"}`})
	ref, err := push(c, lead.Delete, "1", "17")
	wantRef(t, "", ref, err)
	v.wants("GET /people/17")

	v, c = openShared(t, says{status: 200, body: `{"ext":"lead_1"}`}, says{status: 204}, says{status: 204})
	ref, err = push(c, lead.Delete, "1", "17")
	wantRef(t, "", ref, err)
	v.wants("GET /people/17", "DELETE /people/17/deals", "DELETE /people/17")

	gone := says{status: 404, body: `{"code":"no_such_person"}`}
	v, c = openShared(t, gone, gone, gone)
	ref, err = push(c, lead.Delete, "1", "17")
	wantRef(t, "", ref, err)
	v.wants("GET /people/17", "DELETE /people/17/deals", "DELETE /people/17")

	v, c = openShared(t, says{status: 503})
	_, err = push(c, lead.Delete, "1", "17")
	wantFault(t, err, connectors.Remote, "acme: delete: look: 503")
	v.wants("GET /people/17")
}

// double is a vendor that would make a second record of one address.
const double = top + `
verbs:
  check: {request: GET /me}
  find: {request: GET /people, query: {ext: "{{ lead.id }}"}, success: answer.people != nil, ref: "answer.people[0].id"}
  create:
    unless: {request: POST /people/search, body: {email: "{{ lead.email }}"}, success: answer.people != nil, ref: "answer.people[0].id"}
    request: POST /people
    body: {email: "{{ lead.email }}"}
    ref: answer.id
  update: {request: "PATCH /people/{{ ref }}", body: {ext: "{{ lead.id }}"}, success: answer.id != nil}
  delete: {request: "DELETE /people/{{ ref }}"}
errors:
  - {status: 404, verbs: [update], gone: true}
`

func TestACreateThatLooksFirstAdoptsWhatItFinds(t *testing.T) {
	search, create := `POST /people/search {"email":"1@example.com"}`, `POST /people {"email":"1@example.com"}`
	found, none := says{status: 200, body: `{"people":[{"id":9}]}`}, says{status: 200, body: `{"people":[]}`}
	for name, c := range map[string]struct {
		op      lead.Op
		ref     string
		answers []says
		want    string
		asked   []string
	}{
		"somebody else's": {lead.Create, "", []says{found, {status: 200, body: `{"id":9}`}}, "9", []string{search, `PATCH /people/9 {"ext":"lead_1"}`}},
		"nobody's":        {lead.Create, "", []says{none, {status: 200, body: `{"id":17}`}}, "17", []string{search, create}},
		"deleted there, and there under another id": {lead.Update, "17", []says{{status: 404}, found, {status: 200, body: `{"id":9}`}}, "9",
			[]string{`PATCH /people/17 {"ext":"lead_1"}`, search, `PATCH /people/9 {"ext":"lead_1"}`}},
	} {
		t.Run(name, func(t *testing.T) {
			v := newVendor(t, c.answers...)
			ref, err := push(open(t, v, double, nil), c.op, "1", c.ref)
			wantRef(t, c.want, ref, err)
			v.wants(c.asked...)
		})
	}

	v := newVendor(t, says{status: 200, body: `{}`})
	_, err := push(open(t, v, double, nil), lead.Create, "1", "")
	wantFault(t, err, connectors.Unknown, "acme: create: look: 200")
	v.wants(search)
}

// TestALookOfAnUpsertMayFindNothing: it is not the upsert itself, whose answer must name a record.
func TestALookOfAnUpsertMayFindNothing(t *testing.T) {
	v, c := openShared(t, says{status: 200, body: `{"id":17}`}, says{status: 200, body: `{"lists":["L2"]}`}, says{status: 204})
	ref, err := push(c, lead.Create, "1", "")
	wantRef(t, "17", ref, err)
	v.wants(`POST /people {"email":"1@example.com","ext":"lead_1"}`, "GET /people/17/lists", "PUT /lists/L1/members/17")

	v, c = openShared(t, says{status: 200, body: `{"id":17}`}, says{status: 200, body: `{"lists":["L1"]}`})
	ref, err = push(c, lead.Create, "1", "")
	wantRef(t, "17", ref, err)
	v.wants(`POST /people {"email":"1@example.com","ext":"lead_1"}`, "GET /people/17/lists")
}

func TestACheckAsksForWhatElseTheSettingsName(t *testing.T) {
	for name, c := range map[string]struct {
		answers []says
		fault   connectors.Fault
		fails   string
	}{
		"all is there":                 {[]says{{status: 200, body: `{"id":1,"fields":["first"]}`}, {status: 200, body: `{"id":"L1"}`}}, 0, ""},
		"the fields cannot be told":    {[]says{{status: 200, body: `{"id":1}`}, {status: 200, body: `{"id":"L1"}`}}, 0, ""},
		"a field is not there":         {[]says{{status: 200, body: `{"id":1,"fields":["last"]}`}, {status: 200, body: `{"id":"L1"}`}}, connectors.Setup, "there is no field first"},
		"the list is not there":        {[]says{{status: 200, body: `{"id":1,"fields":["first"]}`}, {status: 404}}, connectors.Setup, "acme: check: 404"},
		"the list's answer is no list": {[]says{{status: 200, body: `{"id":1,"fields":["first"]}`}, {status: 200, body: `{}`}}, connectors.Unknown, "acme: check: 200"},
	} {
		t.Run(name, func(t *testing.T) {
			v, opened := openShared(t, c.answers...)
			err := opened.(connectors.Checker).Check(context.Background())
			if c.fails == "" && err != nil {
				t.Error(err)
			} else if c.fails != "" {
				wantFault(t, err, c.fault, c.fails)
			}
			if got := strings.Join(v.got(), " "); !strings.HasPrefix(got, "GET /me") {
				t.Errorf("asked %s", got)
			}
		})
	}
}
