package rest

import (
	"reflect"
	"strings"
	"testing"

	"github.com/leadrelay/leadrelay/connectors"
	"github.com/leadrelay/leadrelay/internal/lead"
)

// A calculation with names of its own is kept as what it says, without the marks of JSON.
func TestAStandInShowsTheTextsInWhatItCannotReadBackwards(t *testing.T) {
	s, c := standIn(t, crmOf(`data: "{{ fromPairs(map(toPairs(fields), let value = #[1]; [#[0], map(chunks(value, 90), ({text: #}))])) }}"`), nil)
	l := person("1")
	l.Name = `<b>"Ada"</b>`
	if _, err := c.Push(t.Context(), change(lead.Create, l), ""); err != nil {
		t.Fatal(err)
	}
	for _, value := range s.Records()[0].Fields {
		if strings.Contains(value, l.Name) {
			return
		}
	}
	t.Errorf("the name does not show: %q", s.Records())
}

// A record is the same whether a verb wrote its fields or a step did.
func TestAStandInShowsWhatAStepWroteByTheFieldsAlone(t *testing.T) {
	s, c := standIn(t, strings.Replace(crmOf(`"...": "{{ fields }}"`), `update: {request: "PATCH /people/{{ ref }}", body: {ext: "{{ lead.id }}", "...": "{{ fields }}"}, success: status == 204}`,
		`update: {request: "GET /people/{{ ref }}", success: answer.id != nil, example: {id: "{{ ref }}"}, then: [{request: "PATCH /people/{{ ref }}", body: {"...": "{{ fields }}"}, success: status == 204}]}`, 1), nil)
	ref, err := push(c, lead.Create, "1", "")
	wantRef(t, "1001", ref, err)
	before := s.Records()
	ref, err = push(c, lead.Update, "1", ref)
	wantRef(t, "1001", ref, err)
	if after := s.Records(); !reflect.DeepEqual(after, before) {
		t.Errorf("after the update %q, before %q", after, before)
	}
	l := person("1")
	l.Name = "Grace"
	if _, err := c.Push(t.Context(), change(lead.Update, l), ref); err != nil || s.Records()[0].Fields["name"] != "Grace" {
		t.Errorf("%v: %q", err, s.Records())
	}
}

// An event that does not name its lead is known by all that it says.
func TestAStandInKnowsAnEventThatIsToldAgain(t *testing.T) {
	s, c := standIn(t, top+`
event: true
fields: [{to: text, from: name}]
verbs:
  check: {request: GET /me, success: answer.ok == true, example: {ok: true}}
  create: {request: POST /messages, form: {text: "{{ fields.text }}", id: "{{ sha256(change.id) }}"}, success: answer.ok == true, example: {ok: true}}
`, nil)
	for _, id := range []string{"1", "1", "2"} {
		if _, err := push(c, lead.Create, id, ""); err != nil {
			t.Fatal(err)
		}
	}
	if records := s.Records(); len(records) != 2 {
		t.Errorf("it holds %q", records)
	}
}

func TestT25AFieldThatIsUncheckedIsNotNamed(t *testing.T) {
	v := newVendor(t, says{status: 201, body: `{"ok":true,"id":5,"kept":{"phone":"1"}}`})
	c := open(t, v, simple, map[string]any{"token": "t"}, connectors.FieldRule{To: "news", Value: false}, connectors.FieldRule{To: "phone", Value: "1"})
	ref, err := push(c, lead.Create, "1", "")
	wantRef(t, "5", ref, err)
	if strings.Contains(v.log.String(), "field=") {
		t.Errorf("logged %s", v.log.String())
	}
}
