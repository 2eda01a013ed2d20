package recipes

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/leadrelay/leadrelay/connectors"
	"github.com/leadrelay/leadrelay/connectors/connectortest"
	"github.com/leadrelay/leadrelay/connectors/rest/conformance"
	"github.com/leadrelay/leadrelay/internal/lead"
)

var airtableSettings = map[string]any{"access_token": "pat-s3cret", "base_id": "app1", "table": "Leads"}

// recordings are what vendors' own client libraries were recorded to send.
func recordings(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(connectortest.SpecDir(t), "sdk-wire-recordings.txt"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// recorded is one of them: its line, and its JSON body where there is one.
func recorded(t *testing.T, title string) (method, path string, body map[string]any) {
	t.Helper()
	_, rest, found := strings.Cut(recordings(t), "## "+title+"\n")
	if !found {
		t.Fatalf("no recording of %q", title)
	}
	line, _, _ := strings.Cut(rest, "\n")
	method, rest, _ = strings.Cut(line, " ")
	path, rest, _ = strings.Cut(rest, " ")
	decoder := json.NewDecoder(strings.NewReader(rest))
	decoder.Decode(new(any)) // the headers
	decoder.Decode(&body)
	return method, path, body
}

// shape is a JSON value with its texts and numbers left out.
func shape(value any) any {
	switch v := value.(type) {
	case map[string]any:
		shaped := map[string]any{}
		for name, below := range v {
			shaped[name] = shape(below)
		}
		return shaped
	case []any:
		if len(v) > 0 {
			return []any{shape(v[0])}
		}
		return v
	case bool:
		return v
	}
	return "…"
}

// airtableSends checks requests against what airtable.js was recorded to send: for the table Leads of the base app1.
func airtableSends(t *testing.T) func(*http.Request) error {
	_, path, upsert := recorded(t, "airtable upsert")
	_, _, create := recorded(t, "airtable create")
	_, deletes, _ := recorded(t, "airtable destroy")
	_, finds, _ := recorded(t, "airtable find")
	path = strings.TrimSuffix(strings.TrimPrefix(path, "/at"), "/?")
	parameters := func(uri string) (names []string) {
		_, query, _ := strings.Cut(uri, "?")
		for part := range strings.SplitSeq(query, "&") {
			name, _, _ := strings.Cut(part, "=")
			names = append(names, name)
		}
		return names
	}
	shaped := func(body map[string]any) string {
		body = maps.Clone(body)
		body["records"] = []any{} // each vendor's table has fields of its own
		return fmt.Sprint(shape(body))
	}
	return func(r *http.Request) error {
		if !strings.HasPrefix(r.Header.Get("Authorization"), "Bearer ") {
			return fmt.Errorf("signed in by %q", r.Header.Get("Authorization"))
		}
		if r.Method == http.MethodGet && slices.Contains([]string{"/v0/meta/bases/app1/tables", "/v0/meta/bases", "/v0/meta/whoami"}, r.URL.Path) {
			return nil
		}
		if r.URL.Path != path {
			return fmt.Errorf("%s %s was not recorded", r.Method, r.URL.Path)
		}
		switch r.Method {
		case http.MethodGet, http.MethodDelete:
			known := parameters(map[string]string{http.MethodGet: finds, http.MethodDelete: deletes}[r.Method])
			for _, name := range parameters(r.URL.RequestURI()) {
				if !slices.Contains(known, name) && name != "fields%5B%5D" {
					return fmt.Errorf("the parameter %s was not recorded", name)
				}
			}
			return nil
		}
		var body map[string]any
		text, _ := io.ReadAll(r.Body)
		if err := json.Unmarshal(text, &body); err != nil {
			return err
		}
		records := body["records"].([]any)
		if len(records) > 10 {
			return fmt.Errorf("%d records: there are at most 10", len(records))
		}
		theirs := map[string]any{"typecast": true, "records": create["records"]}
		if _, byID := records[0].(map[string]any)["id"]; !byID {
			theirs = upsert
		}
		if got, want := shaped(body), shaped(theirs); got != want {
			return fmt.Errorf("sent %s, want %s", got, want)
		}
		return nil
	}
}

func TestAirtableConformance(t *testing.T) {
	conformance.Run(t, recipe(t, "airtable"), conformance.Options{
		Settings: map[string]any{"base_id": "app1", "table": "Leads"}, Check: airtableSends(t),
		Ref: func(n int) string { return fmt.Sprintf("rec%014d", n) },
	})
}

const (
	airtableFields = `{"Lead ID":"$ID","Name":"Zenobia Quillfeather1","Email":"$EMAIL","Phone":"+44 20 7946 0001","Company":"$COMPANY","Note":"Please ring after teatime, case 1."}`
	airtableUpsert = `PATCH /v0/app1/Leads {"performUpsert":{"fieldsToMergeOn":["Lead ID"]},"typecast":true,"records":[{"fields":` + airtableFields + `}]}`
	airtableUpdate = `PATCH /v0/app1/Leads {"typecast":true,"records":[{"id":"rec1","fields":` + airtableFields + `}]}`
	airtableFind   = `GET /v0/app1/Leads?fields%5B%5D=Lead+ID&filterByFormula=%7BLead+ID%7D%3D%27$ID%27&maxRecords=1`
	airtableThere  = `GET /v0/app1/Leads?fields%5B%5D=Lead+ID&filterByFormula=RECORD_ID%28%29%3D%27rec1%27&maxRecords=1`
	airtableDelete = `DELETE /v0/app1/Leads?records%5B%5D=rec1`
	airtableMeta   = `GET /v0/meta/bases/app1/tables`
)

var (
	airtableDone = says{status: 200, body: `{"records":[{"id":"rec1","createdTime":"2026-03-14T15:09:26.000Z","fields":` + airtableFields + `}],"updatedRecords":[],"createdRecords":["rec1"]}`}
	airtableHas  = says{status: 200, body: `{"records":[{"id":"rec1","createdTime":"2026-03-14T15:09:26.000Z","fields":{}}]}`}
	airtableNone = says{status: 200, body: `{"records":[]}`}
	// https://github.com/domdomegg/airtable-mcp-server/issues/28
	airtableGone = airtableRefuses(422, "ROW_DOES_NOT_EXIST", "Record ID rec1 does not exist in this table")
	// https://airtable.com/developers/web/api/errors
	airtableForbidden = airtableRefuses(403, "INVALID_PERMISSIONS_OR_MODEL_NOT_FOUND", "Invalid permissions, or the requested model was not found.")
)

func airtableRefuses(status int, kind, message string) says {
	return says{status: status, body: `{"error":{"type":"` + kind + `","message":"` + message + `"}}`}
}

func airtableTables(fields string) says {
	return says{status: 200, body: `{"tables":[{"id":"tblOther","name":"Companies","fields":[]},{"id":"tblLeads","name":"Leads","fields":[` + fields + `]}]}`}
}

func TestAirtableIsAskedAsItsClientAsks(t *testing.T) {
	all := airtableTables(`{"id":"fld0","name":"Lead ID"},{"id":"fld1","name":"Name"},{"id":"fld2","name":"Email"},{"id":"fld3","name":"Phone"},{"id":"fld4","name":"Company"},{"id":"fld5","name":"Note"}`)
	plays(t, "airtable", airtableSettings, nil, airtableSends(t), map[string]episode{
		"create": {do: "create", answers: []says{airtableDone}, asks: []string{airtableUpsert}, is: "rec1"},
		"update": {do: "update", ref: "rec1", answers: []says{airtableDone}, asks: []string{airtableUpdate}, is: "rec1"},
		"update that clears values": {do: "update", ref: "rec1", edit: func(l *lead.Lead) { l.Name, l.Note, l.Custom = "", "", nil },
			answers: []says{{status: 200, body: `{"records":[{"id":"rec1","fields":{"Lead ID":"$ID","Email":"$EMAIL"}}]}`}},
			asks:    []string{`PATCH /v0/app1/Leads {"typecast":true,"records":[{"id":"rec1","fields":{"Lead ID":"$ID","Email":"$EMAIL","Name":null,"Phone":null,"Company":null,"Note":null}}]}`}, is: "rec1"},
		"update of a record that somebody deleted": {do: "update", ref: "rec0", answers: []says{airtableGone, airtableDone},
			asks: []string{strings.Replace(airtableUpdate, "rec1", "rec0", 1), airtableUpsert}, is: "rec1"},
		"delete":                             {do: "delete", ref: "rec1", answers: []says{airtableHas, {status: 200, body: `{"records":[{"id":"rec1","deleted":true}]}`}}, asks: []string{airtableThere, airtableDelete}},
		"delete of what is gone":             {do: "delete", ref: "rec1", answers: []says{airtableNone}, asks: []string{airtableThere}},
		"delete of what goes in that moment": {do: "delete", ref: "rec1", answers: []says{airtableHas, airtableGone}, asks: []string{airtableThere, airtableDelete}},
		"a create whose answer is lost":      {do: "create", answers: []says{{}}, asks: []string{airtableUpsert}, fault: connectors.Unknown, fails: "airtable: upsert: no whole answer"},
		"find":                               {do: "find", answers: []says{airtableHas}, asks: []string{airtableFind}, is: "rec1"},
		"find where there is none":           {do: "find", answers: []says{airtableNone}, asks: []string{airtableFind}},
		"check":                              {do: "check", answers: []says{all}, asks: []string{airtableMeta}},
		"check without the table": {do: "check", answers: []says{{status: 200, body: `{"tables":[{"id":"tblOther","name":"Companies","fields":[]}]}`}}, asks: []string{airtableMeta},
			fault: connectors.Setup, fails: "the base has no table Leads"},
		"check without the field for the id": {do: "check", answers: []says{airtableTables(`{"id":"fld1","name":"Name"}`)}, asks: []string{airtableMeta},
			fault: connectors.Setup, fails: "the table has no field Lead ID"},
		"check without mapped fields": {do: "check", answers: []says{airtableTables(`{"id":"fld0","name":"Lead ID"},{"id":"fld1","name":"Name"},{"id":"fld2","name":"Email"}`)}, asks: []string{airtableMeta},
			fault: connectors.Setup, fails: "there is no field Note"},
	})
	byID := map[string]any{"access_token": "k", "base_id": "app1", "table": "tblLeads"}
	plays(t, "airtable", byID, []connectors.FieldRule{{To: "fld1", From: "name"}}, nil, map[string]episode{
		"tables and fields by their ids": {do: "check", answers: []says{all}, asks: []string{airtableMeta}},
	})
}

func TestAirtableBatches(t *testing.T) {
	var items []connectors.Item
	for i := range 12 {
		items = append(items, connectors.Item{Change: connectortest.Created(connectortest.Sample(i))})
	}
	written := func(n ...int) says {
		var records []string
		for _, i := range n {
			records = append(records, fmt.Sprintf(`{"id":"rec%d","fields":{"Lead ID":%q,"Name":"x","Email":"x","Phone":"x","Company":"x","Note":"x"}}`, i, connectortest.Sample(i).ID))
		}
		return says{status: 200, body: `{"records":[` + strings.Join(records, ",") + `]}`}
	}
	// The ninth cannot be: it is found by halves. The answer's order is not the request's.
	bad := airtableRefuses(422, "INVALID_VALUE_FOR_COLUMN", `Field \"Email\" cannot accept the provided value`)
	c := converse(t, "airtable", airtableSettings, nil, airtableSends(t), bad, written(4, 3, 2, 1, 0), bad, written(5, 6), bad, written(7), bad, bad, written(9), written(10, 11))
	results := c.Connector.(connectors.Batcher).PushBatch(t.Context(), items)
	for i, result := range results {
		switch {
		case i == 8:
			faulty(t, result.Err, connectors.Lead, "422 Field")
		case result.Err != nil || result.Ref != fmt.Sprintf("rec%d", i):
			t.Errorf("%d: %q, %v", i, result.Ref, result.Err)
		}
	}
	deleted := []connectors.Item{{Change: connectortest.Deleted(connectortest.Sample(1)), Ref: "rec1"}, {Change: connectortest.Deleted(connectortest.Sample(2)), Ref: "rec2"}, {Change: connectortest.Deleted(connectortest.Sample(3)), Ref: "rec3"}}
	c = converse(t, "airtable", airtableSettings, nil, airtableSends(t), airtableHas, airtableNone, airtableHas, says{status: 200, body: `{"records":[{"id":"rec1","deleted":true},{"id":"rec3","deleted":true}]}`})
	for i, result := range c.Connector.(connectors.Batcher).PushBatch(t.Context(), deleted) {
		if result.Err != nil {
			t.Errorf("%d: %v", i, result.Err)
		}
	}
	sent(t, c.requests()[3], "DELETE /v0/app1/Leads?records%5B%5D=rec1&records%5B%5D=rec3", "")
}

// TestT24AirtableErrorsAreWhoseTheyAre: https://airtable.com/developers/web/api/errors
func TestT24AirtableErrorsAreWhoseTheyAre(t *testing.T) {
	one := func(answer says, fault connectors.Fault, fails string, wait time.Duration) episode {
		return episode{do: "create", answers: []says{answer}, asks: []string{airtableUpsert}, fault: fault, fails: fails, wait: wait}
	}
	plays(t, "airtable", airtableSettings, nil, airtableSends(t), map[string]episode{
		"a wrong token":                            one(airtableRefuses(401, "AUTHENTICATION_REQUIRED", "Authentication required"), connectors.Setup, "401 Authentication required", 0),
		"no permission":                            one(airtableForbidden, connectors.Setup, "403 Invalid permissions", 0),
		"no base":                                  one(says{status: 404, body: `{"error":"NOT_FOUND"}`}, connectors.Setup, "404 NOT_FOUND", 0),
		"a field that is not there":                one(airtableRefuses(422, "UNKNOWN_FIELD_NAME", `Unknown field name: \"Phone\"`), connectors.Setup, `422 Unknown field name`, 0),
		"a field that is calculated":               one(airtableRefuses(422, "INVALID_VALUE_FOR_COLUMN", `Field \"Name\" cannot accept a value because the field is computed`), connectors.Setup, "field is computed", 0),
		"a value that does not fit":                one(airtableRefuses(422, "INVALID_VALUE_FOR_COLUMN", `Field \"Email\" cannot accept the provided value`), connectors.Lead, "cannot accept the provided value", 0),
		"too many requests":                        one(says{status: 429, body: `{"errors":[{"error":"RATE_LIMIT_REACHED","message":"Rate limit exceeded. Please try again later"}]}`}, connectors.Throttled, "429 Rate limit exceeded", 30*time.Second),
		"the month is used up":                     one(says{status: 429, body: `{"errors":[{"error":"PUBLIC_API_BILLING_LIMIT_EXCEEDED","message":"The API billing plan limit has been exceeded."}]}`}, connectors.Throttled, "429 The API billing plan limit", time.Hour),
		"trouble of Airtable's":                    one(says{status: 503, body: `<html>`}, connectors.Remote, "503", 0),
		"a success that is not one":                one(says{status: 200, body: `{"records":[]}`}, connectors.Unknown, "says nothing of this lead", 0),
		"a delete where the table is out of reach": {do: "delete", ref: "rec1", answers: []says{airtableForbidden}, asks: []string{airtableThere}, fault: connectors.Setup, fails: "403"},
		"a delete without permission":              {do: "delete", ref: "rec1", answers: []says{airtableHas, airtableRefuses(403, "INVALID_PERMISSIONS", "You are not permitted to delete records")}, asks: []string{airtableThere, airtableDelete}, fault: connectors.Setup, fails: "403 You are not permitted"},
	})
}

func TestT16AirtableAFailedSearchIsNoMissingRecord(t *testing.T) {
	plays(t, "airtable", airtableSettings, nil, nil, map[string]episode{
		"failed":        {do: "find", answers: []says{{status: 500}}, asks: []string{airtableFind}, fault: connectors.Remote, fails: "airtable: find: 500"},
		"no list":       {do: "find", answers: []says{{status: 200, body: `{}`}}, asks: []string{airtableFind}, fault: connectors.Unknown, fails: "airtable: find: 200"},
		"of the delete": {do: "delete", ref: "rec1", answers: []says{{status: 200, body: `{}`}}, asks: []string{airtableThere}, fault: connectors.Unknown, fails: "airtable: delete: look: 200"},
	})
}

// TestT25AirtableNamesFieldsWhoseValuesItDrops: with typecast a text that is no number becomes an empty cell. One that is
// unchecked is left out of answers, as empty ones are.
func TestT25AirtableNamesFieldsWhoseValuesItDrops(t *testing.T) {
	fields := []connectors.FieldRule{{To: "Budget", From: "note"}, {To: "Newsletter", From: "newsletter"}}
	kept := says{status: 200, body: `{"records":[{"id":"rec1","fields":{"Lead ID":"$ID"}}]}`}
	episode{do: "create", edit: func(l *lead.Lead) { l.Custom["newsletter"] = false }, answers: []says{kept},
		asks: []string{`PATCH /v0/app1/Leads {"performUpsert":{"fieldsToMergeOn":["Lead ID"]},"typecast":true,"records":[{"fields":{"Lead ID":"$ID","Budget":"Please ring after teatime, case 1.","Newsletter":false}}]}`},
		is:   "rec1", warns: "field=Budget"}.play(t, "airtable", airtableSettings, fields, nil)
	c := converse(t, "airtable", airtableSettings, fields, nil, says{status: 200, body: `{"records":[{"id":"rec1","fields":{"Lead ID":"` + connectortest.Sample(1).ID + `","Budget":7}}]}`})
	l := connectortest.Sample(1)
	l.Custom["newsletter"] = false
	if _, err := c.Push(t.Context(), connectortest.Created(l), ""); err != nil || strings.Contains(c.log.String(), "WARN") {
		t.Errorf("%v: logged %s", err, c.log.String())
	}
}

func TestAirtableLimitsAreThoseOfABase(t *testing.T) {
	scope := func(settings map[string]any) string {
		return converse(t, "airtable", settings, nil, nil).Connector.(connectors.Limited).Limits().Scope
	}
	settings := map[string]any{"access_token": "another", "base_id": "app1", "table": "Other", "base_url": "https://api.airtable.com"}
	same := map[string]any{"access_token": "pat", "base_id": "app1", "table": "Leads", "base_url": "https://api.airtable.com"}
	other := map[string]any{"access_token": "pat", "base_id": "app2", "table": "Leads", "base_url": "https://api.airtable.com"}
	if scope(settings) != scope(same) || scope(same) == scope(other) {
		t.Error("the scope of the limits is not the base")
	}
	if got, want := recipe(t, "airtable").Kind().Limits.Rates, (connectors.Rate{Most: 5, Per: time.Second}); len(got) != 1 || got[0] != want {
		t.Errorf("the rates are %v", got)
	}
}

func TestAirtableSettings(t *testing.T) {
	for name, c := range map[string]struct {
		settings map[string]any
		want     string
	}{
		"no token": {map[string]any{"base_id": "app1", "table": "Leads"}, "access_token: required"},
		"no base":  {map[string]any{"access_token": "k", "table": "Leads"}, "base_id: required"},
		"no table": {map[string]any{"access_token": "k", "base_id": "app1"}, "table: required"},
	} {
		if _, err := recipe(t, "airtable").Kind().Open(c.settings, connectors.Env{}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
}
