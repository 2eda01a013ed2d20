package rest_test

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/leadrelay/leadrelay/connectors"
	"github.com/leadrelay/leadrelay/connectors/connectortest"
	"github.com/leadrelay/leadrelay/connectors/rest"
)

// rehearsable is a recipe that looks for a record before it makes one. Its key stands in the query, where URLs write it in
// another way.
const rehearsable = `
name: crm
title: a CRM
docs: https://crm.example/docs
settings:
  - {name: key, secret: true, required: true, help: the key}
base_url: https://crm.example
auth: {query: {name: key, value: "{{ settings.key }}"}}
fields: [{to: name, from: name}]
verbs:
  check: {request: GET /me, success: answer.id != nil%[1]s}
  find: {request: GET /people, query: {lead: "{{ lead.id }}"}, success: status == 200, ref: "answer[0].id"%[2]s}
  create:
    unless: {request: GET /people, query: {mail: "{{ md5(lead.email) }}"}, success: status == 200, ref: "answer[0].id"%[2]s}
    request: POST /people
    body: {lead: "{{ lead.id }}", mail: "{{ md5(lead.email) }}", "...": "{{ fields }}"}
    ref: answer.id
    %[3]s
    then:
      - {request: "POST /people/{{ ref }}/tags", body: {tag: lead}, success: answer.id != nil%[1]s}
  update: {request: "PUT /people/{{ ref }}", body: {lead: "{{ lead.id }}", mail: "{{ md5(lead.email) }}", "...": "{{ fields }}"}, ref: answer.id%[1]s}
  delete: {request: "DELETE /people/{{ ref }}", success: status == 204}
errors:
  - {status: 404, verbs: [update, delete], gone: true}
`

func openRecipe(t *testing.T, source string, rules ...connectors.FieldRule) connectors.Connector {
	t.Helper()
	recipe, err := rest.Parse("crm.yaml", []byte(source))
	if err != nil {
		t.Fatal(err)
	}
	if rules == nil {
		rules = recipe.Fields
	}
	mapping, err := connectors.NewMapping(rules)
	if err != nil {
		t.Fatal(err)
	}
	c, err := recipe.Kind().Open(map[string]any{"key": "k+y /1"}, connectors.Env{Name: "crm", Fields: mapping, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestARehearsalShowsEachRequestOfALeadThatIsNew(t *testing.T) {
	c := openRecipe(t, fmt.Sprintf(rehearsable, `, example: {id: "{{ ref }}"}`, `, example: [{id: "{{ ref }}"}]`, `example: {id: "{{ ref }}"}`))
	l := connectortest.Sample(1)
	sent, err := connectors.Rehearse(t.Context(), c, connectortest.Created(l), "")
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, one := range sent {
		line, query, _ := strings.Cut(one.Line, "?")
		lines = append(lines, line)
		if !strings.Contains(query, "key="+connectors.Masked) {
			t.Errorf("the key is not masked: %s", one.Line)
		}
	}
	want := []string{"GET https://crm.example/people", "POST https://crm.example/people", "POST https://crm.example/people/‹id›/tags"}
	if strings.Join(lines, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(lines, "\n"), strings.Join(want, "\n"))
	}
	if body := "\"name\": \"" + l.Name + "\""; !strings.Contains(sent[1].Body, "\n  "+body) {
		t.Errorf("the body is\n%s\nwant it with %s", sent[1].Body, body)
	}
}

func TestARehearsalEndsWhereARecipeHasNoExamples(t *testing.T) {
	c := openRecipe(t, fmt.Sprintf(rehearsable, "", "", ""))
	sent, err := connectors.Rehearse(t.Context(), c, connectortest.Created(connectortest.Sample(1)), "")
	if !errors.Is(err, connectors.ErrUnanswered) || len(sent) != 1 || !strings.HasPrefix(sent[0].Line, "GET https://crm.example/people?") {
		t.Errorf("got %v and %+v", err, sent)
	}
}

func TestARehearsalRefusesWhatAPushWould(t *testing.T) {
	c := openRecipe(t, fmt.Sprintf(rehearsable, "", "", ""), connectors.FieldRule{To: "name", Template: "{{ index .name 3000 }}"})
	sent, err := connectors.Rehearse(t.Context(), c, connectortest.Created(connectortest.Sample(1)), "")
	if fault, _ := connectors.FaultOf(err); err == nil || fault != connectors.Lead || len(sent) != 0 || !strings.Contains(err.Error(), "field name") {
		t.Errorf("got %v and %+v", err, sent)
	}
}
