package connectors

import (
	"strings"
	"testing"
)

func TestFilterSaysWhichLeadsAConnectorIsGiven(t *testing.T) {
	for _, row := range []struct {
		expression string
		want       bool
	}{
		{"", true},
		{`source == "website"`, true},
		{`source == "shop"`, false},
		{`source == "website" && budget > 1000`, true},
		{`budget >= 1500 and vip`, true},
		{`email endsWith "@example.com"`, true},
		{`"a" in tags`, true},
		{`no_such_field == nil`, true},
		{`no_such_field == "x"`, false},
		{`no_such_field`, false},
		{`note == ""`, true},
		{`first_name == "Ann Marie" && last_name == "Lee"`, true},
		{`revision > 2`, true},
	} {
		filter, err := NewFilter(row.expression)
		if err != nil {
			t.Errorf("%s: %v", row.expression, err)
			continue
		}
		if got, err := filter.Match(ann()); err != nil || got != row.want {
			t.Errorf("%s: got %v, %v; want %v", row.expression, got, err, row.want)
		}
	}
}

func TestAnExpressionThatIsNoFilterIsRefused(t *testing.T) {
	for _, expression := range []string{`source ==`, `1 + 1`, `"text"`, `source == 'x`} {
		if _, err := NewFilter(expression); err == nil {
			t.Errorf("%s: accepted", expression)
		}
	}
}

func TestAFilterThatDoesNotFitTheLeadIsTheLeadsFaultAndShowsNothingOfIt(t *testing.T) {
	for _, expression := range []string{`name > 5`, `no_such_field > 5`, `company + budget == 1`} {
		filter, err := NewFilter(expression)
		if err != nil {
			t.Fatalf("%s: %v", expression, err)
		}
		match, err := filter.Match(ann())
		if fault, _ := FaultOf(err); match || err == nil || fault != Lead {
			t.Errorf("%s: got %v, %v, %v", expression, match, fault, err)
		} else if strings.Contains(err.Error(), "Ann") || strings.Contains(err.Error(), "Acme") {
			t.Errorf("%s: the error shows the lead: %v", expression, err)
		}
	}
}

func TestAFunctionThatDoesNotExistIsRefusedAtLoad(t *testing.T) {
	for _, bad := range []string{`contians(name, "x")`, `name.upper() == "X"`} {
		if _, err := NewFilter(bad); err == nil {
			t.Errorf("%s is accepted", bad)
		}
	}
	for _, good := range []string{`lower(source) == "website"`, `name contains "x" and len(tags ?? []) > 1`, `email endsWith "@example.com"`} {
		if _, err := NewFilter(good); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
}

func TestALeadCannotMakeAFilterRunForHours(t *testing.T) {
	for expression, want := range map[string]string{
		`any(tags, any(tags, any(tags, # == 1)))`:                 "at most 2 functions like any and filter may be nested",
		`true or len(filter(tags, all(tags, none(tags, #)))) > 1`: "at most 2 functions like any and filter may be nested",
		`len(reduce(tags, #acc + #acc, "double")) > 0`:            "unknown function reduce",
		`repeat("x", 1000000000) == ""`:                           "unknown function repeat",
	} {
		if _, err := NewFilter(expression); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", expression, err, want)
		}
	}
	l := ann()
	l.Custom["orders"] = []any{map[string]any{"items": []any{"pen"}}}
	for _, expression := range []string{
		`any(tags, # == "a") and any(tags, any(tags, # == "a")) and any(tags, # == "a")`, `any(orders, any(.items, # == "pen"))`,
	} {
		filter, err := NewFilter(expression)
		if err != nil {
			t.Fatalf("%s: %v", expression, err)
		}
		if match, err := filter.Match(l); err != nil || !match {
			t.Errorf("%s: got %v, %v", expression, match, err)
		}
	}
	for _, expression := range []string{`len(1..100000000) > 0`, `all(1..9999, {all(1..9999, {# > 0})})`} {
		filter, err := NewFilter(expression)
		if err != nil {
			t.Fatalf("%s: %v", expression, err)
		}
		_, err = filter.Match(l)
		if fault, _ := FaultOf(err); err == nil || fault != Lead {
			t.Errorf("%s: got %v, %v", expression, fault, err)
		}
	}
}
