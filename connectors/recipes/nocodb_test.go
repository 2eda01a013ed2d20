package recipes

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/leadrelay/leadrelay/connectors"
	"github.com/leadrelay/leadrelay/connectors/connectortest"
	"github.com/leadrelay/leadrelay/connectors/rest/conformance"
	"github.com/leadrelay/leadrelay/internal/lead"
)

// The answers are those of NocoDB 0.301.3.
var (
	nocodbSettings   = map[string]any{"api_token": "t0ken-s3cret", "base_id": "p1", "table_id": "m1"}
	nocodbV2Settings = map[string]any{"api_token": "t0ken-s3cret", "table_id": "m1"}
	nocodbFields     = []connectors.FieldRule{{To: "Name", From: "name"}, {To: "Budget", From: "budget"}, {To: "Newsletter", From: "newsletter"}, {To: "Tags", From: "tags"}}
)

const (
	nocodbRecords   = `/api/v3/data/p1/m1/records`
	nocodbV2Records = `/api/v2/tables/m1/records`
	nocodbValues    = `"Name":"Zenobia Quillfeather1","Email":"$EMAIL","Phone":"+44 20 7946 0001","Company":"$COMPANY","Note":"Please ring after teatime, case 1.","Lead ID":"$ID"`
	nocodbFind      = `GET ` + nocodbRecords + `?pageSize=1&where=%28%22Lead+ID%22%2Ceq%2C%22$ID%22%29`
	nocodbV2Find    = `GET ` + nocodbV2Records + `?limit=1&where=%28Lead+ID%2Ceq%2C$ID%29`
	nocodbTable     = `GET /api/v3/meta/bases/p1/tables/m1`
	nocodbV2Table   = `GET /api/v2/meta/tables/m1`
)

// nocodbKept is a record as a write answers with it.
func nocodbKept(id, values string) string {
	return `{"id":` + id + `,"fields":{"CreatedAt":"2026-11-25 21:50:00+00:00","UpdatedAt":null,` + values + `}}`
}

func nocodbRefuses(status int, code, message string) says {
	return says{status: status, body: `{"error":"` + code + `","message":"` + message + `"}`}
}

func TestNocoDBConformance(t *testing.T) {
	for _, name := range []string{"nocodb", "nocodb_v2"} {
		t.Run(name, func(t *testing.T) {
			conformance.Run(t, recipe(t, name), conformance.Options{Ref: func(n int) string { return fmt.Sprint(n) }})
		})
	}
}

func TestNocoDBIsAskedAsItsPagesSay(t *testing.T) {
	kept := says{status: 200, body: `{"records":[` + nocodbKept("16", nocodbValues) + `]}`}
	create := `POST ` + nocodbRecords + ` [{"fields":{` + nocodbValues + `}}]`
	update := `PATCH ` + nocodbRecords + ` [{"id":"16","fields":{` + nocodbValues + `}}]`
	remove := `DELETE ` + nocodbRecords + ` [{"id":"16"}]`
	gone := nocodbRefuses(404, "ERR_RECORD_NOT_FOUND", "Record '16' not found")
	fields := func(names ...string) says {
		return says{status: 200, body: `{"id":"m1","title":"Leads","fields":[{"title":"` + strings.Join(names, `"},{"title":"`) + `"}]}`}
	}
	noField := `there is no field Lead ID: add it`
	plays(t, "nocodb", nocodbSettings, nil, nil, map[string]episode{
		"create":                              {do: "create", answers: []says{kept}, asks: []string{create}, is: "16"},
		"update":                              {do: "update", ref: "16", answers: []says{kept}, asks: []string{update}, is: "16"},
		"update of a record somebody deleted": {do: "update", ref: "16", answers: []says{gone, {status: 200, body: `{"records":[` + nocodbKept("17", nocodbValues) + `]}`}}, asks: []string{update, create}, is: "17"},
		"update that clears values": {do: "update", ref: "16", edit: func(l *lead.Lead) { l.Name, l.Note, l.Custom = "", "", nil }, answers: []says{kept}, is: "16",
			asks: []string{`PATCH ` + nocodbRecords + ` [{"id":"16","fields":{"Name":null,"Email":"$EMAIL","Phone":null,"Company":null,"Note":null,"Lead ID":"$ID"}}]`}},
		"delete":                        {do: "delete", ref: "16", answers: []says{{status: 200, body: `{"records":[{"id":"16","deleted":true}]}`}}, asks: []string{remove}},
		"delete of what is gone":        {do: "delete", ref: "16", answers: []says{gone}, asks: []string{remove}},
		"find":                          {do: "find", answers: []says{kept}, asks: []string{nocodbFind}, is: "16"},
		"find of nobody":                {do: "find", answers: []says{{status: 200, body: `{"records":[],"nestedNext":null}`}}, asks: []string{nocodbFind}},
		"find that is not held to":      {do: "find", answers: []says{{status: 200, body: `{"records":[` + nocodbKept("3", `"Lead ID":"lead_of_another"`) + `]}`}}, asks: []string{nocodbFind}},
		"find without the field":        {do: "find", answers: []says{nocodbRefuses(422, "ERR_INVALID_FILTER", "Invalid filter field 'Lead ID' not found")}, asks: []string{nocodbFind}, fault: connectors.Setup, fails: "422 Invalid filter field"},
		"a create whose answer is lost": {do: "create", answers: []says{{}}, asks: []string{create}, fault: connectors.Unknown, fails: "nocodb: create: no whole answer"},
		"check":                         {do: "check", answers: []says{fields("Id", "Name", "Email", "Phone", "Company", "Note", "Lead ID")}, asks: []string{nocodbTable}},
		"check without the field":       {do: "check", answers: []says{fields("Id", "Name")}, asks: []string{nocodbTable}, fault: connectors.Setup, fails: noField},
		"check of an unknown field":     {do: "check", answers: []says{fields("Id", "Name", "Email", "Phone", "Company", "Lead ID")}, asks: []string{nocodbTable}, fault: connectors.Setup, fails: "there is no field Note"},
		"check of a table that is not":  {do: "check", answers: []says{nocodbRefuses(422, "ERR_TABLE_NOT_FOUND", "Table 'm1' not found")}, asks: []string{nocodbTable}, fault: connectors.Setup, fails: "422 Table 'm1' not found"},
		"a table that is not":           {do: "create", answers: []says{nocodbRefuses(422, "ERR_TABLE_NOT_FOUND", "Table 'm1' not found")}, asks: []string{create}, fault: connectors.Setup, fails: "422 Table 'm1' not found"},
		"a token that is not":           {do: "create", answers: []says{nocodbRefuses(401, "ERR_AUTHENTICATION_REQUIRED", "Authentication required - Invalid token")}, asks: []string{create}, fault: connectors.Setup, fails: "401 Authentication required"},
		"a value that does not fit":     {do: "create", answers: []says{nocodbRefuses(422, "ERR_INVALID_VALUE_FOR_FIELD", "Invalid value 'Zenobia Quillfeather1' for type 'Number' on column 'Name'")}, asks: []string{create}, fault: connectors.Lead, fails: "422 Invalid value '<redacted>'"},
		"too many requests":             {do: "create", answers: []says{{status: 429, body: `{"message":"ThrottlerException: Too Many Requests"}`}}, asks: []string{create}, fault: connectors.Throttled, fails: "429 ThrottlerException", wait: 30 * time.Second},
		"too many requests, for longer": {do: "create", answers: []says{{status: 429, header: map[string]string{"Retry-After": "45"}}}, asks: []string{create}, fault: connectors.Throttled, fails: "429", wait: 45 * time.Second},
	})
	c := converse(t, "nocodb", nocodbSettings, nocodbFields, nil, says{status: 200, body: `{"records":[` + nocodbKept("1", `"Name":"x","Budget":1500,"Newsletter":true,"Tags":["a"],"Lead ID":"`+connectortest.Sample(1).ID+`"`) + `]}`})
	l := connectortest.Sample(1)
	l.Custom["tags"] = []any{"a"}
	if _, err := c.Push(t.Context(), connectortest.Created(l), ""); err != nil {
		t.Fatal(err)
	}
	request := c.requests()[0]
	sent(t, request, "POST "+nocodbRecords, `[{"fields":{"Name":"Zenobia Quillfeather1","Budget":1500,"Newsletter":true,"Tags":["a"],"Lead ID":"`+l.ID+`"}}]`)
	if got := request.header.Get("xc-token"); got != "t0ken-s3cret" {
		t.Errorf("signed in with %q", got)
	}
}

func TestNocoDBV2IsAskedAsItsPagesSay(t *testing.T) {
	create := `POST ` + nocodbV2Records + ` {` + nocodbValues + `}`
	update := `PATCH ` + nocodbV2Records + ` [{` + nocodbValues + `,"Id":"16"}]`
	remove := `DELETE ` + nocodbV2Records + ` [{"Id":"16"}]`
	gone, goneBefore := nocodbRefuses(404, "ERR_RECORD_NOT_FOUND", "Record '16' not found"), nocodbRefuses(404, "RECORD_NOT_FOUND", "Record '16' not found")
	columns := func(names ...string) says {
		return says{status: 200, body: `{"id":"m1","title":"Leads","columns":[{"title":"` + strings.Join(names, `"},{"title":"`) + `"}]}`}
	}
	plays(t, "nocodb_v2", nocodbV2Settings, nil, nil, map[string]episode{
		"create":                              {do: "create", answers: []says{{status: 200, body: `{"Id":16}`}}, asks: []string{create}, is: "16"},
		"update":                              {do: "update", ref: "16", answers: []says{{status: 200, body: `[{"Id":"16"}]`}}, asks: []string{update}, is: "16"},
		"update of a record somebody deleted": {do: "update", ref: "16", answers: []says{gone, {status: 200, body: `{"Id":17}`}}, asks: []string{update, create}, is: "17"},
		"update, of an earlier version":       {do: "update", ref: "16", answers: []says{goneBefore, {status: 200, body: `{"Id":17}`}}, asks: []string{update, create}, is: "17"},
		"delete":                              {do: "delete", ref: "16", answers: []says{{status: 200, body: `[{"Id":"16"}]`}}, asks: []string{remove}},
		"delete of what is gone":              {do: "delete", ref: "16", answers: []says{gone}, asks: []string{remove}},
		"find":                                {do: "find", answers: []says{{status: 200, body: `{"list":[{"Id":16,"Lead ID":"$ID"}],"pageInfo":{"totalRows":1}}`}}, asks: []string{nocodbV2Find}, is: "16"},
		"find of nobody":                      {do: "find", answers: []says{{status: 200, body: `{"list":[],"pageInfo":{"totalRows":0}}`}}, asks: []string{nocodbV2Find}},
		"find without the field":              {do: "find", answers: []says{{status: 422, body: `{"msg":"Column alias 'Lead ID' not found."}`}}, asks: []string{nocodbV2Find}, fault: connectors.Setup, fails: "422 Column alias 'Lead ID' not found."},
		"a create whose answer is lost":       {do: "create", answers: []says{{}}, asks: []string{create}, fault: connectors.Unknown, fails: "nocodb_v2: create: no whole answer"},
		"an answer that names no record":      {do: "create", answers: []says{{status: 200, body: `{}`}}, asks: []string{create}, fault: connectors.Unknown, fails: "does not say that it was done"},
		"check":                               {do: "check", answers: []says{columns("Id", "Name", "Email", "Phone", "Company", "Note", "Lead ID")}, asks: []string{nocodbV2Table}},
		"check without the field":             {do: "check", answers: []says{columns("Id", "Name")}, asks: []string{nocodbV2Table}, fault: connectors.Setup, fails: "there is no field Lead ID: add it, as single line text"},
		"a table that is not":                 {do: "update", ref: "16", answers: []says{nocodbRefuses(404, "ERR_TABLE_NOT_FOUND", "Table 'm1' not found")}, asks: []string{update}, fault: connectors.Setup, fails: "404 Table 'm1' not found"},
		"a value that does not fit": {do: "create", asks: []string{create}, fault: connectors.Lead, fails: "400 Invalid value '<redacted>'",
			answers: []says{{status: 400, body: `{"error":"ERR_DATABASE_OP_FAILED","message":"Invalid value 'Zenobia Quillfeather1' for type 'bigint'","code":"22P02","details":{"dataType":"bigint","value":"Zenobia Quillfeather1"}}`}}},
	})
}

// TestNocoDBFindsTheOneThatSpoilsABatch: NocoDB does all of a request or none of it.
func TestNocoDBFindsTheOneThatSpoilsABatch(t *testing.T) {
	people := []lead.Lead{connectortest.Sample(1), connectortest.Sample(2), connectortest.Sample(3)}
	records := func(ids ...int) says {
		var all []string
		for _, i := range ids {
			all = append(all, nocodbKept(fmt.Sprint(10+i), `"Lead ID":"`+people[i-1].ID+`"`))
		}
		return says{status: 200, body: `{"records":[` + strings.Join(all, ",") + `]}`}
	}
	fields := []connectors.FieldRule{{To: "Note", From: "nothing"}}
	push := func(t *testing.T, ref string, op func(lead.Lead) lead.Change, answers ...says) (results []connectors.Result, sizes []int) {
		c := converse(t, "nocodb", nocodbSettings, fields, nil, answers...)
		var items []connectors.Item
		for i, l := range people {
			item := connectors.Item{Change: op(l)}
			if ref != "" {
				item.Ref = fmt.Sprint(11 + i)
			}
			items = append(items, item)
		}
		results = c.Connector.(connectors.Batcher).PushBatch(t.Context(), items)
		for _, request := range c.requests() {
			var records []any
			if err := json.Unmarshal([]byte(request.body), &records); err != nil {
				t.Error(err)
			}
			sizes = append(sizes, len(records))
		}
		return results, sizes
	}
	bad := nocodbRefuses(422, "ERR_INVALID_VALUE_FOR_FIELD", "Invalid value 'x' for type 'Number' on column 'Budget'")
	gone := nocodbRefuses(404, "ERR_RECORD_NOT_FOUND", "Record '12' not found")
	for title, c := range map[string]struct {
		ref     string
		op      func(lead.Lead) lead.Change
		answers []says
		sizes   string
		refs    string
		fault   int // of whom
	}{
		"all are made, in any order": {"", connectortest.Created, []says{records(3, 1, 2)}, "[3]", "11 12 13", 0},
		"one does not fit":           {"", connectortest.Created, []says{bad, records(1), bad, bad, records(3)}, "[3 1 2 1 1]", "11  13", 2},
		"all are updated":            {"yes", connectortest.Updated, []says{records(1, 2, 3)}, "[3]", "11 12 13", 0},
		"one was deleted":            {"yes", connectortest.Updated, []says{gone, records(1), gone, gone, records(3), records(2)}, "[3 1 2 1 1 1]", "11 12 13", 0},
		"all are deleted":            {"yes", connectortest.Deleted, []says{{status: 200, body: `{"records":[{"id":"11","deleted":true},{"id":"12","deleted":true},{"id":"13","deleted":true}]}`}}, "[3]", "  ", 0},
	} {
		t.Run(title, func(t *testing.T) {
			results, sizes := push(t, c.ref, c.op, c.answers...)
			var refs []string
			for i, r := range results {
				refs = append(refs, r.Ref)
				if i == c.fault-1 {
					faulty(t, r.Err, connectors.Lead, "422 Invalid value")
				} else if r.Err != nil {
					t.Errorf("%d: %v", i, r.Err)
				}
			}
			if got := strings.Join(refs, " "); got != c.refs || fmt.Sprint(sizes) != c.sizes {
				t.Errorf("the refs are %q in requests of %v, want %q in %s", got, sizes, c.refs, c.sizes)
			}
		})
	}
	for name, want := range map[string]int{"nocodb": 10, "nocodb_v2": 100} {
		if got := recipe(t, name).Kind().MaxBatch; got != want {
			t.Errorf("%s: batches of %d, want the vendor's %d", name, got, want)
		}
	}
}

// TestT25NocoDBDropsUnknownFieldsWithoutAWord, and is held to what it says it keeps. Version 2 does not say: there check
// names the field.
func TestT25NocoDBDropsUnknownFieldsWithoutAWord(t *testing.T) {
	fields := []connectors.FieldRule{{To: "Nmae", From: "name"}}
	create := `POST ` + nocodbRecords + ` [{"fields":{"Nmae":"Zenobia Quillfeather1","Lead ID":"$ID"}}]`
	plays(t, "nocodb", nocodbSettings, fields, nil, map[string]episode{
		"a field":           {do: "create", answers: []says{{status: 200, body: `{"records":[` + nocodbKept("16", `"Name":null,"Lead ID":"$ID"`) + `]}`}}, asks: []string{create}, is: "16", warns: "field=Nmae"},
		"that of the id":    {do: "create", answers: []says{{status: 200, body: `{"records":[` + nocodbKept("16", `"Nmae":"x"`) + `]}`}}, asks: []string{create}, fault: connectors.Setup, fails: "200 there is no field Lead ID"},
		"a field, in check": {do: "check", answers: []says{{status: 200, body: `{"id":"m1","fields":[{"title":"Lead ID"},{"title":"Name"}]}`}}, asks: []string{nocodbTable}, fault: connectors.Setup, fails: "there is no field Nmae"},
	})
	plays(t, "nocodb_v2", nocodbV2Settings, fields, nil, map[string]episode{
		"a field, in check": {do: "check", answers: []says{{status: 200, body: `{"id":"m1","columns":[{"title":"Id"},{"title":"Lead ID"},{"title":"Name"}]}`}}, asks: []string{nocodbV2Table}, fault: connectors.Setup, fails: "there is no field Nmae"},
	})
}

func TestNocoDBRefusesSettings(t *testing.T) {
	refusesSettings(t, "nocodb", nocodbSettings, map[string]map[string]any{
		"api_token: required": {"api_token": ""}, "base_id: required": {"base_id": ""}, "table_id: required": {"table_id": ""},
	})
	refusesSettings(t, "nocodb_v2", nocodbV2Settings, map[string]map[string]any{"api_token: required": {"api_token": ""}, "table_id: required": {"table_id": ""}})
}
