package connectors

import (
	"strings"
	"testing"
)

func TestMisfit(t *testing.T) {
	for _, row := range []struct {
		rule  FieldRule
		takes any
		want  string // "": it may fit
	}{
		{FieldRule{From: "name"}, "number", "takes a number, and name is none"},
		{FieldRule{From: "email"}, "date", "takes a date, and email is none"},
		{FieldRule{From: "revision"}, "number", ""},
		{FieldRule{From: "created_at"}, "date", ""},
		{FieldRule{From: "created_at"}, "bool", "takes a bool, and created_at is none"},
		{FieldRule{From: "name"}, "text", ""},
		{FieldRule{From: "name"}, nil, ""},
		{FieldRule{From: "age"}, "number", ""},                 // a custom field holds anything
		{FieldRule{Template: "{{.name}}"}, "number", ""},       // so does a template
		{FieldRule{From: "source"}, []any{"web", "phone"}, ""}, // as may this
		{FieldRule{From: "name"}, "none", "takes no value"},
		{FieldRule{Value: 12}, "number", ""},
		{FieldRule{Value: "12"}, "number", ""},
		{FieldRule{Value: "many"}, "number", `takes a number, and "many" is none`},
		{FieldRule{Value: true}, "bool", ""},
		{FieldRule{Value: "Yes"}, "bool", `takes a bool, and "Yes" is none`},
		{FieldRule{Value: "2026-03-14"}, "date", ""},
		{FieldRule{Value: "web"}, []any{"web", "phone"}, ""},
		{FieldRule{Value: []any{"web", "fax"}}, []any{"web", "phone"}, `has no option "fax", only web, phone`},
		{FieldRule{Value: 3}, []any{1, 2}, `has no option "3", only 1, 2`},
		{FieldRule{Value: "x"}, []any{}, ""}, // the vendor does not list them here
	} {
		if got := row.rule.Misfit(row.takes); got != row.want {
			t.Errorf("%+v to what takes %v: %q, want %q", row.rule, row.takes, got, row.want)
		}
	}
	var many []any
	for range 30 {
		many = append(many, "option")
	}
	if got := (FieldRule{Value: "x"}).Misfit(many); !strings.HasSuffix(got, " and 20 more") {
		t.Errorf("an endless list: %q", got)
	}
}
