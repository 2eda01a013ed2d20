package rest

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/leadrelay/leadrelay/connectors"
	"github.com/leadrelay/leadrelay/internal/lead"
)

// steps has a verb whose answer says what its steps are to do, and a search in two places.
const steps = top + `
verbs:
  check: {request: GET /me}
  find:
    unless: {request: GET /newest, success: answer.list != nil, ref: "answer.list[0].id"}
    request: GET /search
    query: {id: "{{ lead.id }}"}
    success: answer.list != nil
    ref: answer.list[0].id
  create: {request: POST /people, ref: answer.id}
  update:
    before:
      - {request: "POST /people/{{ ref }}/lock", when: answer == nil}
    request: GET /people/{{ ref }}
    success: answer.id != nil
    then:
      - {when: "answer.tags == nil", request: "POST /people/{{ ref }}/tags"}
      - {when: '"a" in answer.tags', request: "PUT /people/{{ ref }}", body: {tags: "{{ concat(answer.tags, [\"b\"]) }}"}}
      - {when: 'answer.tags[0] == "a"', request: "PUT /people/{{ ref }}/seen"}
  delete: {request: "DELETE /people/{{ ref }}"}
errors:
  - {status: 404, verbs: [update], gone: true}
`

func TestStepsReadTheAnswerOfTheirVerb(t *testing.T) {
	v := newVendor(t, says{status: 200}, says{200, `{"id": 7, "tags": ["a"]}`, nil}, says{200, `{"id": 7, "tags": ["a", "b"]}`, nil}, says{status: 204})
	ref, err := push(open(t, v, steps, nil), lead.Update, "1", "7")
	wantRef(t, "7", ref, err)
	v.wants("POST /people/7/lock", "GET /people/7", `PUT /people/7 {"tags":["a","b"]}`, "PUT /people/7/seen")

	if _, err := Parse("acme.yaml", []byte(strings.Replace(steps, "/people/{{ ref }}/seen", "/people/{{ answer.email }}", 1))); err == nil || !strings.Contains(err.Error(), "answer is not known here") {
		t.Errorf("an answer, which may hold an address, is let into a URL: %v", err)
	}
}

func TestFindLooksInTwoPlaces(t *testing.T) {
	for title, c := range map[string]struct {
		answers []says
		asks    []string
		ref     string
		fault   string
	}{
		"in the first":        {[]says{{200, `{"list": [{"id": 7}]}`, nil}}, []string{"GET /newest"}, "7", ""},
		"in the second":       {[]says{{200, `{"list": []}`, nil}, {200, `{"list": [{"id": 8}]}`, nil}}, []string{"GET /newest", "GET /search?id=lead_1"}, "8", ""},
		"in neither":          {[]says{{200, `{"list": []}`, nil}, {200, `{"list": []}`, nil}}, []string{"GET /newest", "GET /search?id=lead_1"}, "", ""},
		"the first is broken": {[]says{{500, "", nil}}, []string{"GET /newest"}, "", "acme: find: 500"},
	} {
		t.Run(title, func(t *testing.T) {
			v := newVendor(t, c.answers...)
			ref, found, err := open(t, v, steps, nil).(connectors.Finder).Find(context.Background(), lead.Lead{ID: "lead_1"})
			if c.fault != "" {
				wantFault(t, err, connectors.Remote, c.fault)
			} else if err != nil || ref != c.ref || found != (c.ref != "") {
				t.Errorf("got %q, %v, %v", ref, found, err)
			}
			v.wants(c.asks...)
		})
	}
}

func TestRatesMayBeForTheSettingsToSay(t *testing.T) {
	source := strings.Replace(steps, "verbs:", `settings: [{name: tokens, type: integer, default: 1000, help: "of a day"}]
limits: {rates: [{calls: 20, per: 2s}, {cost: settings.tokens, per: 24h}]}
verbs:`, 1)
	recipe, err := Parse("acme.yaml", []byte(source))
	if err != nil {
		t.Fatal(err)
	}
	if rates := recipe.Kind().Limits.Rates; len(rates) != 2 || rates[1].Most != 1000 {
		t.Errorf("by default %v", rates)
	}
	for tokens, most := range map[int]int{5000: 2500, 0: 1, -7: 1} {
		c := open(t, newVendor(t), source, map[string]any{"tokens": tokens, "reserve": 0.5})
		rates := c.(connectors.Limited).Limits().Rates
		if len(rates) != 2 || rates[0] != (connectors.Rate{Most: 10, Per: 2 * time.Second}) || rates[1] != (connectors.Rate{Most: most, Per: 24 * time.Hour, ByCost: true}) {
			t.Errorf("of %d tokens: %v", tokens, rates)
		}
	}
	for _, wrong := range []string{"cost: lead.id", "cost: settings.nope", "cost: 0", "cost: tokens"} {
		if _, err := Parse("acme.yaml", []byte(strings.Replace(source, "cost: settings.tokens", wrong, 1))); err == nil {
			t.Errorf("%s is no problem", wrong)
		}
	}
}

func TestAWaitIsAtMostADay(t *testing.T) {
	source := steps + `  - {status: 429, fault: throttled, wait: 'header["x-wait"]'}` + "\n"
	for said, want := range map[string]time.Duration{"7": 7 * time.Second, "1e300": 24 * time.Hour, "-3": 0, "soon": 0} {
		v := newVendor(t, says{429, "", map[string]string{"X-Wait": said}})
		_, err := push(open(t, v, source, nil), lead.Create, "1", "")
		if fault, wait := connectors.FaultOf(err); fault != connectors.Throttled || wait != want {
			t.Errorf("%s: waits %s for %v, want %s", said, wait, err, want)
		}
	}
}
