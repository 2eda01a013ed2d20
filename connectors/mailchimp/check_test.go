package mailchimp

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/leadrelay/leadrelay/connectors"
)

func TestACheckNamesAllThatIsMissing(t *testing.T) {
	m := start(t, nil,
		connectors.FieldRule{To: "UTM", From: "utm"}, connectors.FieldRule{To: "BUDGET", From: "email"},
		connectors.FieldRule{To: "SOURCE", Value: "fax"}, connectors.FieldRule{To: "FNAME", From: "first_name"})
	m.vendor.mu.Lock()
	m.vendor.fields = map[string]map[string]any{
		"BUDGET": {"type": "number"}, "COMPANY": {"required": true},
		"SOURCE": {"type": "dropdown", "options": map[string]any{"choices": []any{"web", "phone"}}},
	}
	m.vendor.role = "viewer"
	m.vendor.mu.Unlock()
	var says []string
	for _, problem := range connectors.Problems(m.Connector.(connectors.Checker).Check(context.Background())) {
		if fault, _ := connectors.FaultOf(problem); fault != connectors.Setup {
			t.Errorf("the fault is %v: %v", fault, problem)
		}
		says = append(says, strings.TrimPrefix(problem.Error(), "mailchimp: check: "))
	}
	want := []string{
		"the audience has no merge field UTM: add it under Audience, Settings, Audience fields and *|MERGE|* tags, or take it out of fields",
		"the merge field BUDGET takes a number, and email is none: map something else to it, or take it out of fields",
		`the merge field SOURCE has no option "fax", only web, phone: map something else to it, or take it out of fields`,
		"the audience requires the merge field COMPANY: add it to fields, or make it optional there",
		"the user of the api_key is a viewer, who may not change the audience: make it a manager, or take a key of one",
	}
	if !slices.Equal(says, want) {
		t.Errorf("says:\n  %s\nwant:\n  %s", strings.Join(says, "\n  "), strings.Join(want, "\n  "))
	}
}
