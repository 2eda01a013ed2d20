package connectors

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/leadrelay/leadrelay/internal/lead"
)

func ann() lead.Lead {
	at := time.Date(2026, 3, 14, 15, 9, 26, 0, time.UTC)
	return lead.Lead{
		ID: "lead_1", Name: "Ann Marie Lee", Email: "ann@example.com", Source: "website", Revision: 3,
		Custom:  map[string]any{"budget": json.Number("1500"), "vip": true, "tags": []any{"a"}, "company": "Acme"},
		Created: at, Updated: at.Add(time.Hour),
	}
}

func TestMappingGivesTheVendorsFieldsInOrder(t *testing.T) {
	m, err := NewMapping([]FieldRule{
		{To: "FNAME", From: "first_name"},
		{To: "LNAME", From: "last_name"},
		{To: "BUDGET", From: "budget"},
		{To: "VIP", From: "vip"},
		{To: "NOTE", From: "note"},
		{To: "NONE", From: "no_such_field"},
		{To: "LINE", Template: "{{.name}} of {{.company}} ({{.source}}{{.note}}{{.no_such_field}})"},
		{To: "ORIGIN", Value: "leadrelay"},
		{To: "SINCE", From: "created_at"},
	})
	if err != nil {
		t.Fatal(err)
	}
	got, err := m.Apply(ann())
	if err != nil {
		t.Fatal(err)
	}
	want := []Field{
		{"FNAME", "Ann Marie"}, {"LNAME", "Lee"}, {"BUDGET", json.Number("1500")}, {"VIP", true}, {"NOTE", nil},
		{"NONE", nil}, {"LINE", "Ann Marie Lee of Acme (website)"}, {"ORIGIN", "leadrelay"}, {"SINCE", "2026-03-14T15:09:26Z"},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	if got := strings.Join(m.Names(), " "); got != "FNAME LNAME BUDGET VIP NOTE NONE LINE ORIGIN SINCE" {
		t.Errorf("names: %s", got)
	}
}

func TestTheZeroMappingMapsNothing(t *testing.T) {
	fields, err := Mapping{}.Apply(ann())
	if err != nil || len(fields) != 0 || len(Mapping{}.Names()) != 0 {
		t.Errorf("got %v, %v", fields, err)
	}
}

func TestBadRulesAreAllNamedAtOnce(t *testing.T) {
	_, err := NewMapping([]FieldRule{
		{To: "A", From: "name"},
		{From: "name"},
		{To: "A", From: "email"},
		{To: "B"},
		{To: "C", From: "name", Value: 1},
		{To: "D", Template: "{{.name"},
	})
	if err == nil {
		t.Fatal("no error")
	}
	lines := strings.Split(err.Error(), "\n")
	want := []string{
		"[1]: to: required", `[2]: to: "A" is mapped twice`, "[3]: give one of from, template and value",
		"[4]: give one of from, template and value", "[5]: template: ",
	}
	if len(lines) != len(want) {
		t.Fatalf("got %q", lines)
	}
	for i := range want {
		if !strings.HasPrefix(lines[i], want[i]) {
			t.Errorf("got %q, want %q", lines[i], want[i])
		}
	}
}

func TestATemplateThatDoesNotFitIsTheLeadsFaultAndShowsNothingOfIt(t *testing.T) {
	m, err := NewMapping([]FieldRule{{To: "X", Template: "{{slice .name 0 100}}"}})
	if err != nil {
		t.Fatal(err)
	}
	_, err = m.Apply(ann())
	if fault, _ := FaultOf(err); err == nil || fault != Lead || err.Error() != "field X: the template does not fit this lead" {
		t.Errorf("got %v, %v", fault, err)
	}
}

func TestATemplatePrintsAFieldTheLeadDoesNotHaveAsNothing(t *testing.T) {
	for template, want := range map[string]string{
		`{{.no}}|{{printf "%s %d %v" .no .no .source}}`:                              "|  website",
		`{{print .no}}|{{println .no}}|{{.no | html}}|{{.no | urlquery}}|{{js .no}}`: "|\n|||",
		`{{if .no}}x{{end}}{{range .no}}x{{end}}{{with .no}}x{{else}}none{{end}}`:    "none",
		`{{if eq .no "x"}}x{{end}}{{index . "no"}}`:                                  "",
		`{{html .name "<"}} {{urlquery .name}} {{js "'"}} {{printf "%q" .name}}`:     `Ann Marie Lee&lt; Ann+Marie+Lee \' "Ann Marie Lee"`,
	} {
		m, err := NewMapping([]FieldRule{{To: "X", Template: template}})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := m.Apply(ann()); err != nil || got[0].Value != want {
			t.Errorf("%s: got %q, %v; want %q", template, got, err, want)
		}
	}
}

func TestATemplateThatWritesWithoutEndIsStopped(t *testing.T) {
	m, err := NewMapping([]FieldRule{{To: "X", Template: `{{range 1000000000000}}xxxxxxxx{{end}}`}})
	if err != nil {
		t.Fatal(err)
	}
	_, err = m.Apply(ann())
	if fault, _ := FaultOf(err); err == nil || fault != Lead {
		t.Errorf("got %v, %v", fault, err)
	}
}

func FuzzMapping(f *testing.F) {
	f.Add("{{.name}} {{printf \"%q\" .company}}")
	f.Add("{{range .tags}}{{.}}{{end}}")
	f.Fuzz(func(t *testing.T, template string) {
		m, err := NewMapping([]FieldRule{{To: "X", Template: template}})
		if err != nil || strings.Contains(template, "{{") && strings.ContainsAny(template, "%") {
			return // printf can be asked for any width
		}
		if _, err := m.Apply(ann()); err != nil && strings.Contains(err.Error(), "Ann") {
			t.Errorf("the error shows the lead: %v", err)
		}
	})
}
