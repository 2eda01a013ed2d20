package recipes

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/leadrelay/leadrelay/connectors"
	"github.com/leadrelay/leadrelay/connectors/connectortest"
	"github.com/leadrelay/leadrelay/connectors/rest/conformance"
	"github.com/leadrelay/leadrelay/internal/lead"
)

var odooSettings = map[string]any{"database": "db", "user_id": 2, "api_key": "pw"}

// odooSends checks requests against what odoorpc was recorded to send: the envelope, the sign-in, and what each method
// of the model takes.
func odooSends(t *testing.T) func(*http.Request) error {
	theirs := map[string]map[string]any{}
	_, rest, _ := strings.Cut(recordings(t), "## odoorpc")
	for line := range strings.SplitSeq(rest, "\n") {
		_, text, found := strings.Cut(line, " POST /jsonrpc ")
		if !found {
			continue
		}
		var body map[string]any
		if err := json.Unmarshal([]byte(text), &body); err != nil {
			t.Fatal(err)
		}
		args := body["params"].(map[string]any)["args"].([]any)
		theirs[args[4].(string)] = body
	}
	return func(r *http.Request) error {
		text, _ := io.ReadAll(r.Body)
		var body map[string]any
		if err := json.Unmarshal(text, &body); err != nil {
			return err
		}
		params, _ := body["params"].(map[string]any)
		args, _ := params["args"].([]any)
		if r.Method != http.MethodPost || r.URL.Path != "/jsonrpc" || len(args) < 6 {
			return fmt.Errorf("sent %s %s %s", r.Method, r.URL.Path, text)
		}
		method, _ := args[4].(string)
		if method == "check_access_rights" || method == "has_access" { // was not recorded
			method = "fields_get"
		}
		want := theirs[method]
		if want == nil {
			return fmt.Errorf("no recording of %s", method)
		}
		recorded := want["params"].(map[string]any)
		if body["jsonrpc"] != want["jsonrpc"] || body["method"] != want["method"] || len(body) != len(want) || params["service"] != recorded["service"] || params["method"] != "execute_kw" {
			return fmt.Errorf("sent %s", text)
		}
		signed := recorded["args"].([]any)
		if !reflect.DeepEqual(args[:4], signed[:4]) {
			return fmt.Errorf("signed in by %v, want %v", args[:4], signed[:4])
		}
		if method == "fields_get" { // recorded without arguments
			return nil
		}
		ours, them := args[5].([]any), signed[5].([]any)
		if method == "create" {
			if batch, ok := ours[0].([]any); ok { // one mapping, or a list of them
				ours = batch[:1]
			}
		}
		if len(ours) != len(them) || reflect.TypeOf(ours[0]) != reflect.TypeOf(them[0]) {
			return fmt.Errorf("%s of %v, want it like %v", method, ours, them)
		}
		return nil
	}
}

func TestOdooConformance(t *testing.T) {
	conformance.Run(t, recipe(t, "odoo"), conformance.Options{Settings: odooSettings, Check: odooSends(t)})
}

const odooValues = `{"x_lead_id":"$ID","name":"$COMPANY","contact_name":"Zenobia Quillfeather1","email_from":"$EMAIL","partner_name":"$COMPANY","phone":"+44 20 7946 0001",
	"description":"<p style=\"white-space: pre-wrap\">Please ring after teatime, case 1.</p>"}`

// odooCall is a request as its method and arguments.
func odooCall(method, args string) string {
	return `POST /jsonrpc {"jsonrpc":"2.0","method":"call","id":1,"params":{"service":"object","method":"execute_kw","args":["db",2,"pw","crm.lead","` + method + `",` + args + `]}}`
}

var (
	odooCreate = odooCall("create", `[[`+odooValues+`]]`)
	odooIsIt   = odooCall("search", `[[["id","in",[7]]]],{"context":{"active_test":false}}`)
	odooWrite  = odooCall("write", `[[7],`+odooValues+`]`)
	odooUnlink = odooCall("unlink", `[[7]]`)
	odooFind   = odooCall("search", `[[["x_lead_id","=","$ID"]]],{"limit":1,"context":{"active_test":false}}`)
	odooFields = odooCall("fields_get", `[],{"attributes":["type","readonly","store","selection"]}`)
)

// odooChecks are what a check asks: for the fields, and by both names that versions have for it, for the rights.
var odooChecks = func() []string {
	asks := []string{odooFields}
	for _, right := range []string{"create", "write", "unlink"} {
		asks = append(asks, odooCall("check_access_rights", fmt.Sprintf(`[%q,false]`, right)), odooCall("has_access", fmt.Sprintf(`[[],%q]`, right)))
	}
	return asks
}()

// odooRights are the answers of a version between the two: it knows one name of each right.
var odooRights = slices.Repeat([]says{odooSays(`true`), odooFails("builtins.AttributeError", "no such method")}, 3)

func odooSays(result string) says {
	return says{status: 200, body: `{"jsonrpc":"2.0","id":1,"result":` + result + `}`}
}

// odooFails is an error as Odoo puts it into a 200.
func odooFails(name, message string) says {
	return says{status: 200, body: fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"error":{"code":200,"message":"Odoo Server Error","data":{"name":%q,"debug":"Traceback (most recent call last):\n  File \"/odoo/http.py\"","message":%q,"arguments":[%[2]q],"context":{}}}}`, name, message)}
}

var odooMissing = odooFails("odoo.exceptions.MissingError", "Record does not exist or has been deleted.\n(Record: crm.lead(7,), User: 2)")

func TestOdooIsAskedAsItsClientAsks(t *testing.T) {
	all := `"name":{"type":"char"},"contact_name":{"type":"char"},"email_from":{"type":"char"},"partner_name":{"type":"char"},"phone":{"type":"char"},"description":{"type":"html"}`
	plays(t, "odoo", odooSettings, nil, odooSends(t), map[string]episode{
		"create": {do: "create", answers: []says{odooSays(`[7]`)}, asks: []string{odooCreate}, is: "7"},
		"update": {do: "update", ref: "7", answers: []says{odooSays(`[7]`), odooSays(`true`)}, asks: []string{odooIsIt, odooWrite}, is: "7"},
		"update that clears values": {do: "update", ref: "7", edit: func(l *lead.Lead) { l.Name, l.Note, l.Custom = "", "", nil }, answers: []says{odooSays(`[7]`), odooSays(`true`)},
			asks: []string{odooIsIt, odooCall("write", `[[7],{"x_lead_id":"$ID","name":"$EMAIL","contact_name":null,"email_from":"$EMAIL","partner_name":null,"phone":null,"description":null}]`)}, is: "7"},
		"a note is no HTML": {do: "create", edit: func(l *lead.Lead) { l.Note = "<b>5 > 3</b>\n&" }, answers: []says{odooSays(`[7]`)},
			asks: []string{strings.Replace(odooCreate, "Please ring after teatime, case 1.", "&lt;b&gt;5 &gt; 3&lt;/b&gt;\\n&amp;", 1)}, is: "7"},
		// To write what is not there is a success: https://github.com/odoo/odoo/issues/202143
		"update of a lead that somebody deleted": {do: "update", ref: "7", answers: []says{odooSays(`[]`), odooSays(`[8]`)}, asks: []string{odooIsIt, odooCreate}, is: "8"},
		"update of what goes in that moment":     {do: "update", ref: "7", answers: []says{odooSays(`[7]`), odooMissing}, asks: []string{odooIsIt, odooWrite}, fault: connectors.Remote, fails: "Record does not exist"},
		"update that failed":                     {do: "update", ref: "7", answers: []says{odooSays(`[7]`), odooSays(`false`)}, asks: []string{odooIsIt, odooWrite}, fault: connectors.Unknown, fails: "odoo: update: 200"},
		"delete":                                 {do: "delete", ref: "7", answers: []says{odooSays(`true`)}, asks: []string{odooUnlink}},
		"delete of what is gone":                 {do: "delete", ref: "7", answers: []says{odooMissing}, asks: []string{odooUnlink}},
		"a create whose answer is lost":          {do: "create", answers: []says{{}}, asks: []string{odooCreate}, fault: connectors.Unknown, fails: "odoo: create: no whole answer"},
		"find":                                   {do: "find", answers: []says{odooSays(`[7]`)}, asks: []string{odooFind}, is: "7"},
		"find where there is none":               {do: "find", answers: []says{odooSays(`[]`)}, asks: []string{odooFind}},
		"check":                                  {do: "check", answers: append([]says{odooSays(`{"x_lead_id":{"type":"char"},` + all + `}`)}, odooRights...), asks: odooChecks},
		"check without the field for the id":     {do: "check", answers: []says{odooSays(`{` + all + `}`)}, asks: []string{odooFields}, fault: connectors.Setup, fails: "leads have no field x_lead_id for one line of text"},
		"check without a mapped field":           {do: "check", answers: []says{odooSays(`{"x_lead_id":{"type":"char"},"name":{"type":"char"}}`)}, asks: []string{odooFields}, fault: connectors.Setup, fails: "there is no field description"},
		"check with a wrong key":                 {do: "check", answers: []says{odooFails("odoo.exceptions.AccessDenied", "Access Denied")}, asks: []string{odooFields}, fault: connectors.Setup, fails: "odoo: check: 200 Access Denied"},
	})
}

func TestOdooBatches(t *testing.T) {
	var created, updated, deleted []connectors.Item
	for i := range 4 {
		l := connectortest.Sample(i)
		created = append(created, connectors.Item{Change: connectortest.Created(l)})
		updated = append(updated, connectors.Item{Change: connectortest.Updated(l), Ref: fmt.Sprint(10 + i)})
		deleted = append(deleted, connectors.Item{Change: connectortest.Deleted(l), Ref: fmt.Sprint(10 + i)})
	}
	run := func(items []connectors.Item, answers ...says) (*conversation, []connectors.Result) {
		c := converse(t, "odoo", odooSettings, nil, odooSends(t), answers...)
		return c, c.Connector.(connectors.Batcher).PushBatch(t.Context(), items)
	}
	// All or none: the third, which is refused, is found by halves.
	invalid := odooFails("odoo.exceptions.ValidationError", "The operation cannot be completed")
	_, results := run(created, invalid, odooSays(`[10,11]`), invalid, invalid, odooSays(`[13]`))
	for i, result := range results {
		if i == 2 {
			faulty(t, result.Err, connectors.Lead, "The operation cannot be completed")
		} else if result.Err != nil || result.Ref != fmt.Sprint(10+i) {
			t.Errorf("%d: %q, %v", i, result.Ref, result.Err)
		}
	}
	_, results = run(created, odooSays(`[10,11]`))
	for _, result := range results {
		faulty(t, result.Err, connectors.Unknown, "says nothing of this lead")
	}
	// Of four, the second is gone.
	c, results := run(updated, odooSays(`[13,12,10]`), odooSays(`true`), odooSays(`true`), odooSays(`true`), odooSays(`[21]`))
	for i, want := range []string{"10", "21", "12", "13"} {
		if results[i].Err != nil || results[i].Ref != want {
			t.Errorf("%d: %q, %v, want %q", i, results[i].Ref, results[i].Err, want)
		}
	}
	sent(t, c.requests()[0], "POST /jsonrpc", strings.TrimPrefix(odooCall("search", `[[["id","in",[10,11,12,13]]]],{"context":{"active_test":false}}`), "POST /jsonrpc "))
	c, results = run(deleted, odooMissing, odooSays(`true`), odooMissing, odooMissing, odooSays(`true`))
	for i, result := range results {
		if result.Err != nil {
			t.Errorf("%d: %v", i, result.Err)
		}
	}
	sent(t, c.requests()[0], "POST /jsonrpc", strings.TrimPrefix(odooCall("unlink", `[[10,11,12,13]]`), "POST /jsonrpc "))
}

// TestT23OdooErrorsAreWithinA200: https://www.odoo.com/documentation/19.0/developer/reference/backend/orm.html#module-odoo.exceptions
func TestT23OdooErrorsAreWithinA200(t *testing.T) {
	one := func(answer says, fault connectors.Fault, fails string) episode {
		return episode{do: "create", answers: []says{answer}, asks: []string{odooCreate}, fault: fault, fails: fails}
	}
	plays(t, "odoo", odooSettings, nil, odooSends(t), map[string]episode{
		"a wrong key":              one(odooFails("odoo.exceptions.AccessDenied", "Access Denied"), connectors.Setup, "200 Access Denied"),
		"no right":                 one(odooFails("odoo.exceptions.AccessError", "You are not allowed to create 'Lead/Opportunity' (crm.lead) records."), connectors.Setup, "You are not allowed"),
		"no database":              one(odooFails("psycopg2.OperationalError", `connection to server failed: FATAL:  database "db" does not exist`), connectors.Setup, "does not exist"),
		"no CRM":                   one(odooFails("odoo.exceptions.UserError", "Object crm.lead doesn't exist"), connectors.Setup, "the app CRM is not installed"),
		"no field":                 one(odooFails("builtins.ValueError", "Invalid field 'x_lead_id' on model 'crm.lead'"), connectors.Setup, "Invalid field 'x_lead_id'"),
		"no such path":             one(odooFails("werkzeug.exceptions.NotFound", "404 Not Found"), connectors.Setup, "404 Not Found"),
		"a value that is not one":  one(odooFails("builtins.ValueError", "Wrong value for crm.lead.priority: '9'"), connectors.Lead, ".priority: '9'"),
		"a lead that is refused":   one(odooFails("odoo.exceptions.ValidationError", "The operation cannot be completed: a mandatory field is not set."), connectors.Lead, "a mandatory field is not set"),
		"a rule of the operator's": one(odooFails("odoo.exceptions.UserError", "No leads on Sundays"), connectors.Lead, "No leads on Sundays"),
		"transactions that meet":   one(odooFails("psycopg2.errors.SerializationFailure", "could not serialize access due to concurrent update"), connectors.Remote, "psycopg2.errors.SerializationFailure"),
		"a fault of Odoo's":        one(odooFails("builtins.AttributeError", "'NoneType' object has no attribute 'id'"), connectors.Remote, "builtins.AttributeError"),
		"too many requests":        one(says{status: 429, body: `<html>`}, connectors.Throttled, "429"),
		"trouble before Odoo":      one(says{status: 502, body: `<html>`}, connectors.Remote, "502"),
		"a page":                   one(says{status: 200, body: `<html>`}, connectors.Unknown, "200"),
		"a delete without a right": {do: "delete", ref: "7", answers: []says{odooFails("odoo.exceptions.AccessError", "You are not allowed to delete 'Lead/Opportunity' (crm.lead) records.")}, asks: []string{odooUnlink}, fault: connectors.Setup, fails: "You are not allowed to delete"},
	})
}

func TestT16OdooAFailedSearchIsNoMissingRecord(t *testing.T) {
	plays(t, "odoo", odooSettings, nil, odooSends(t), map[string]episode{
		"failed":        {do: "find", answers: []says{odooFails("psycopg2.errors.QueryCanceled", "canceling statement")}, asks: []string{odooFind}, fault: connectors.Remote, fails: "odoo: find: 200"},
		"no right":      {do: "find", answers: []says{odooFails("odoo.exceptions.AccessError", "You are not allowed to access")}, asks: []string{odooFind}, fault: connectors.Setup, fails: "odoo: find: 200"},
		"no list":       {do: "find", answers: []says{{status: 200, body: `{}`}}, asks: []string{odooFind}, fault: connectors.Unknown, fails: "odoo: find: 200"},
		"of the update": {do: "update", ref: "7", answers: []says{odooFails("odoo.exceptions.AccessError", "You are not allowed to access")}, asks: []string{odooIsIt}, fault: connectors.Setup, fails: "odoo: update: 200"},
	})
}

func TestOdooSettings(t *testing.T) {
	for name, c := range map[string]struct {
		settings map[string]any
		want     string
	}{
		"no address":      {odooSettings, "base_url: required"},
		"no database":     {map[string]any{"user_id": 2, "api_key": "k"}, "database: required"},
		"no user":         {map[string]any{"database": "db", "api_key": "k"}, "user_id: required"},
		"a user by login": {map[string]any{"database": "db", "user_id": "admin", "api_key": "k"}, "user_id: must be a whole number"},
		"no key":          {map[string]any{"database": "db", "user_id": 2}, "api_key: required"},
	} {
		if _, err := recipe(t, "odoo").Kind().Open(c.settings, connectors.Env{}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
}
