package postgres

import (
	"testing"

	"github.com/leadrelay/leadrelay/connectors"
	"github.com/leadrelay/leadrelay/connectors/connectortest"
	"github.com/leadrelay/leadrelay/internal/lead"
)

func TestConformance(t *testing.T) {
	direct := func(t testing.TB) string { return running(t).url() }
	for _, variant := range []struct {
		name   string
		url    func(testing.TB) string
		table  string // its columns; "": it is made by the connector
		fields []connectors.FieldRule
	}{
		{name: "a table of its own", url: direct},
		{name: "through a pooler of transactions", url: func(t testing.TB) string { return running(t).pooler(t) }},
		{
			name: "a table of the operator's", url: direct,
			table: `lead_id varchar(60) PRIMARY KEY, "Name" text NOT NULL, email text, "e-mail ""of"" sale" varchar(300), budget numeric, news boolean,
				tags text[], address jsonb, exact numeric(30,5), note text, created timestamptz, "Campaign" smallint, revision bigint,
				added_by_us timestamptz DEFAULT now()`,
			fields: []connectors.FieldRule{
				{To: "Name", From: "name"}, {To: "email", From: "email"}, {To: `e-mail "of" sale`, Template: "{{.email}}; {{.source}}"},
				{To: "budget", From: "budget"}, {To: "news", From: "newsletter"}, {To: "tags", From: "tags"}, {To: "address", From: "address"},
				{To: "exact", From: "exact"}, {To: "note", From: "note"}, {To: "created", From: "created_at"}, {To: "Campaign", Value: 7},
			},
		},
	} {
		t.Run(variant.name, func(t *testing.T) {
			running(t)
			url := variant.url(t)
			h := connectortest.Harness{
				Kind: Kind,
				NewVendor: func(t testing.TB) connectortest.Vendor {
					p := newPlace(t)
					if variant.table != "" {
						p.make(t, variant.table+", CHECK (note <> 'refused')")
					}
					return p
				},
				Settings: func(_ string, v connectortest.Vendor) map[string]any {
					return map[string]any{"url": url, "table": v.(place).table()}
				},
				Secrets:  []string{password, encoded},
				Required: []string{"url"},
				Fields:   variant.fields,
			}
			if variant.table != "" {
				h.BadLead = func(l lead.Lead) lead.Lead {
					l.Note = "refused"
					return l
				}
			}
			connectortest.Run(t, h)
		})
	}
}
