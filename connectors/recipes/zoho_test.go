package recipes

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/leadrelay/leadrelay/connectors"
	"github.com/leadrelay/leadrelay/connectors/connectortest"
	"github.com/leadrelay/leadrelay/connectors/rest/conformance"
	"github.com/leadrelay/leadrelay/internal/lead"
)

var zohoSettings = map[string]any{"client_id": "1000.GMB0", "client_secret": "s3cret", "refresh_token": "1000.r3fresh.$N", "accounts_url": "$VENDOR"}

// zohoSends checks requests against the vendor's description, but for those that it has none of: access tokens and
// COQL (https://www.zoho.com/crm/developer/docs/api/v8/COQL-Overview.html).
func zohoSends(t *testing.T) func(*http.Request) error {
	described := connectortest.Describe(t, "zoho/fields.json", "zoho/modules.json", "zoho/record.json").CheckRequest
	return func(r *http.Request) error {
		switch r.URL.Path {
		case "/oauth/v2/token":
			return nil
		case "/crm/v8/coql":
			if r.Method != http.MethodPost {
				return fmt.Errorf("%s", r.Method)
			}
		default:
			if err := described(r); err != nil {
				return err
			}
		}
		if got := r.Header.Get("Authorization"); !strings.HasPrefix(got, "Zoho-oauthtoken ") {
			return fmt.Errorf("signed in by %q", got)
		}
		return nil
	}
}

func TestZohoConformance(t *testing.T) {
	conformance.Run(t, recipe(t, "zoho"), conformance.Options{Check: zohoSends(t)})
}

const (
	zohoFields = `"Leadrelay_ID":"$ID","Email":"$EMAIL","Company":"$COMPANY","First_Name":"Zenobia","Last_Name":"Quillfeather1","Phone":"+44 20 7946 0001","Description":"Please ring after teatime, case 1."}`
	zohoUpsert = `POST /crm/v8/Leads/upsert {"data":[{` + zohoFields + `],"duplicate_check_fields":["Leadrelay_ID","Email"]}`
	zohoUpdate = `PUT /crm/v8/Leads {"data":[{"id":"7244",` + zohoFields + `]}`
	zohoFind   = `POST /crm/v8/coql {"select_query":"select id from Leads where Leadrelay_ID = '$ID'"}`
	zohoDelete = `DELETE /crm/v8/Leads?ids=7244`
)

// zohoToken is the answer of https://www.zoho.com/crm/developer/docs/api/v8/refresh.html.
var zohoToken = says{status: 200, body: `{"access_token":"1000.8cb99d.9be93","api_domain":"https://www.zohoapis.com","token_type":"Bearer","expires_in":3600}`}

// zohoRenewed is the n-th token after it.
func zohoRenewed(n int) says {
	return says{status: 200, body: strings.Replace(zohoToken.body, "9be93", fmt.Sprintf("9be93-%d", n), 1)}
}

// zohoDone is what https://www.zoho.com/crm/developer/docs/api/v8/upsert-records.html says of a record.
func zohoDone(action, id string) string {
	duplicate := map[string]string{"added": "null", "updated": `"Email"`}[action]
	return `{"code":"SUCCESS","duplicate_field":` + duplicate + `,"action":"` + map[string]string{"added": "insert", "updated": "update"}[action] + `","details":{"Modified_Time":"2024-07-16T09:39:27+05:30",
		"Modified_By":{"name":"Patricia Boyle","id":"724445000000323001"},"Created_Time":"2024-07-16T09:39:27+05:30","id":"` + id + `","Created_By":{"name":"Patricia Boyle","id":"724445000000323001"}},"message":"record ` + action + `","status":"success"}`
}

func zohoRefused(code, message, details string) string {
	return `{"code":"` + code + `","details":{` + details + `},"message":"` + message + `","status":"error"}`
}

func zohoAnswer(status int, records ...string) says {
	return says{status: status, body: `{"data":[` + strings.Join(records, ",") + `]}`}
}

var (
	zohoNoID   = zohoRefused("INVALID_DATA", "the id given seems to be invalid", `"api_name":"id","json_path":"$.data[0].id"`)
	zohoNotDel = zohoRefused("INVALID_DATA", "record not deleted", `"id":"7244"`)
	zohoIsDel  = `{"code":"SUCCESS","details":{"id":"7244"},"message":"record deleted","status":"success"}`
)

func zohoPlays(t *testing.T, settings map[string]any, fields []connectors.FieldRule, episodes map[string]episode) {
	t.Helper()
	plays(t, "zoho", settings, fields, zohoSends(t), signingIn("/oauth/v2/token", zohoToken, episodes))
}

func TestZohoIsAskedAsItsDescriptionSays(t *testing.T) {
	zohoPlays(t, zohoSettings, nil, map[string]episode{
		"create": {do: "create", answers: []says{zohoAnswer(200, zohoDone("added", "7244"))}, asks: []string{zohoUpsert}, is: "7244"},
		"a create of somebody whose address is there": {
			do: "create", answers: []says{zohoAnswer(200, zohoDone("updated", "7244"))}, asks: []string{zohoUpsert}, is: "7244"},
		"a create of somebody whose unique value is there": {
			do: "create", answers: []says{zohoAnswer(400, zohoRefused("DUPLICATE_DATA", "duplicate data", `"api_name":"Phone","json_path":"$.data[0].Phone","duplicate_record":{"id":"7244","module":{"api_name":"Leads","id":"1"}}`)), zohoAnswer(200, zohoDone("updated", "7244"))},
			asks: []string{zohoUpsert, zohoUpdate}, is: "7244"},
		"the same, as it was said before": {
			do: "create", answers: []says{zohoAnswer(200, zohoRefused("DUPLICATE_DATA", "duplicate data", `"api_name":"Email","id":"7244"`)), zohoAnswer(200, zohoDone("updated", "7244"))},
			asks: []string{zohoUpsert, zohoUpdate}, is: "7244"},
		"update": {do: "update", ref: "7244", answers: []says{zohoAnswer(200, zohoDone("updated", "7244"))}, asks: []string{zohoUpdate}, is: "7244"},
		"an update that clears values": {do: "update", ref: "7244", edit: func(l *lead.Lead) { l.Name, l.Note, l.Custom = "", "", nil }, answers: []says{zohoAnswer(200, zohoDone("updated", "7244"))}, is: "7244",
			asks: []string{`PUT /crm/v8/Leads {"data":[{"id":"7244","Leadrelay_ID":"$ID","Email":"$EMAIL","Company":"[not provided]","First_Name":null,"Last_Name":"[not provided]","Phone":null,"Description":null}]}`}},
		"an update of a record that somebody deleted": {
			do: "update", ref: "7244", answers: []says{zohoAnswer(400, zohoNoID), zohoAnswer(201, zohoDone("added", "7245"))}, asks: []string{zohoUpdate, zohoUpsert}, is: "7245"},
		"an update whose unique value another record has": {
			do: "update", ref: "7244", answers: []says{zohoAnswer(400, zohoRefused("DUPLICATE_DATA", "duplicate data", `"api_name":"Email","id":"99"`))}, asks: []string{zohoUpdate}, fault: connectors.Lead, fails: "another record has this lead's key"},
		"delete":                          {do: "delete", ref: "7244", answers: []says{zohoAnswer(200, zohoIsDel)}, asks: []string{zohoDelete}},
		"a delete of what is gone":        {do: "delete", ref: "7244", answers: []says{zohoAnswer(400, zohoNotDel)}, asks: []string{zohoDelete}},
		"a delete that is none":           {do: "delete", ref: "7244", answers: []says{{status: 200, body: "{}"}}, asks: []string{zohoDelete}, fault: connectors.Unknown, fails: "200"},
		"a create whose answer is lost":   {do: "create", answers: []says{{}}, asks: []string{zohoUpsert}, fault: connectors.Unknown, fails: "zoho: upsert: no whole answer"},
		"and what it left is found":       {do: "find", answers: []says{{status: 200, body: `{"data":[{"id":"7244"}],"info":{"count":1,"more_records":false}}`}}, asks: []string{zohoFind}, is: "7244"},
		"or it left nothing":              {do: "find", answers: []says{{status: 204}}, asks: []string{zohoFind}},
		"an answer that is none is no no": {do: "find", answers: []says{{status: 200}}, asks: []string{zohoFind}, fault: connectors.Unknown, fails: "zoho: find: 200"},
	})
	contact := maps.Clone(zohoSettings)
	contact["module"], contact["id_field"] = "Contacts", "Ext"
	zohoPlays(t, contact, []connectors.FieldRule{{To: "Last_Name", From: "last_name"}, {To: "Interests", From: "tags"}}, map[string]episode{
		"a contact has no company": {do: "create", edit: func(l *lead.Lead) { l.Custom["tags"] = []any{"one", "two"} }, answers: []says{zohoAnswer(201, zohoDone("added", "7244"))}, is: "7244",
			asks: []string{`POST /crm/v8/Contacts/upsert {"data":[{"Ext":"$ID","Email":"$EMAIL","Last_Name":"Quillfeather1","Interests":["one","two"]}],"duplicate_check_fields":["Ext","Email"]}`}},
	})
}

// TestT18ZohoA2xxDoesNotMeanThatEveryRecordSucceeded: https://www.zoho.com/crm/developer/docs/api/v8/upsert-records.html
func TestT18ZohoA2xxDoesNotMeanThatEveryRecordSucceeded(t *testing.T) {
	check := zohoSends(t)
	for _, status := range []int{200, 202, 207} {
		c := converse(t, "zoho", zohoSettings, nil, check, zohoToken, zohoAnswer(status,
			zohoDone("added", "7001"),
			zohoRefused("MANDATORY_NOT_FOUND", "required field not found", `"api_name":"Last_Name","json_path":"$.data[1].Last_Name"`),
			zohoRefused("INVALID_DATA", "invalid data", `"expected_data_type":"email","api_name":"Email","json_path":"$.data[2].Email"`),
			zohoDone("updated", "7004")))
		batcher := c.Connector.(connectors.Batcher)
		if most := batcher.MaxBatch(); most != 100 {
			t.Errorf("MaxBatch is %d", most)
		}
		results := batcher.PushBatch(context.Background(), hubspotPeople(4))
		for i, ref := range map[int]string{0: "7001", 3: "7004"} {
			if results[i].Err != nil || results[i].Ref != ref {
				t.Errorf("%d: item %d: %+v", status, i, results[i])
			}
		}
		faulty(t, results[1].Err, connectors.Lead, "required field not found")
		faulty(t, results[2].Err, connectors.Lead, "invalid data")
	}
	// An answer that speaks of fewer records than were sent is not taken for any of them.
	c := converse(t, "zoho", zohoSettings, nil, check, zohoToken, zohoAnswer(207, zohoDone("added", "7001")))
	for _, result := range c.Connector.(connectors.Batcher).PushBatch(context.Background(), hubspotPeople(2)) {
		faulty(t, result.Err, connectors.Unknown, "says nothing of this lead")
	}
	// Deletes say which record they are about.
	c = converse(t, "zoho", zohoSettings, nil, check, zohoToken, zohoAnswer(207, zohoNotDel, strings.ReplaceAll(zohoIsDel, "7244", "7245")))
	var items []connectors.Item
	for i, ref := range []string{"7245", "7244", "7246"} {
		items = append(items, connectors.Item{Change: connectortest.Deleted(connectortest.Sample(i + 1)), Ref: ref})
	}
	results := c.Connector.(connectors.Batcher).PushBatch(context.Background(), items)
	sent(t, c.requests()[1], "DELETE /crm/v8/Leads?ids="+url.QueryEscape("7245,7244,7246"), "")
	if results[0].Err != nil || results[1].Err != nil {
		t.Errorf("%v, %v", results[0].Err, results[1].Err)
	}
	faulty(t, results[2].Err, connectors.Unknown, "says nothing of this lead")
}

// TestZohoErrors goes through https://www.zoho.com/crm/developer/docs/api/v8/status-codes.html: the request is refused,
// or each of its records.
func TestZohoErrors(t *testing.T) {
	request := func(status int, code, message string) says {
		return says{status: status, body: zohoRefused(code, message, "")}
	}
	record := func(code, message string) says { return zohoAnswer(400, zohoRefused(code, message, "")) }
	episodes := map[string]episode{}
	for _, row := range []struct {
		answer says
		fault  connectors.Fault
		fails  string
	}{
		{request(400, "INVALID_MODULE", "the module name given seems to be invalid"), connectors.Setup, "400 the module name given seems to be invalid: INVALID_MODULE"},
		{request(401, "OAUTH_SCOPE_MISMATCH", "invalid oauth scope to access this URL"), connectors.Setup, "invalid oauth scope"},
		{request(403, "NO_PERMISSION", "permission denied"), connectors.Setup, "403 permission denied"},
		{record("NO_PERMISSION", "no permission to perform an action on this record"), connectors.Lead, "400 no permission"},
		{record("STORAGE_SPACE_EXCEEDED", "Storage space exceeded"), connectors.Setup, "STORAGE_SPACE_EXCEEDED"},
		{request(404, "INVALID_URL_PATTERN", "Please check if the URL trying to access is a correct one"), connectors.Setup, "404 Please check"},
		{request(429, "TOO_MANY_REQUESTS", "You have reached the maximum limit of API requests"), connectors.Throttled, "429 You have reached"},
		{request(500, "INTERNAL_ERROR", "Internal server error occurred."), connectors.Remote, "500 Internal server error"},
		{record("RECORD_LOCKED", "The record under merge is locked"), connectors.Remote, "RECORD_LOCKED"},
		{record("MANDATORY_NOT_FOUND", "required field not found"), connectors.Lead, "400 required field not found: MANDATORY_NOT_FOUND"},
		{record("INVALID_DATA", "$EMAIL is invalid data"), connectors.Lead, "INVALID_DATA"},
		{record("CONVERTED_RECORD", "can't update the converted record"), connectors.Lead, "CONVERTED_RECORD"},
		{request(400, "LIMIT_EXCEEDED", "Record count exceeded"), connectors.Lead, "400 Record count exceeded"},
	} {
		answers, asks := []says{row.answer}, []string{zohoUpsert}
		if row.answer.status == 401 { // it may have been the token, or the next one
			answers, asks = []says{row.answer, zohoRenewed(1), row.answer, zohoRenewed(2), row.answer}, []string{zohoUpsert, "POST /oauth/v2/token", zohoUpsert, "POST /oauth/v2/token", zohoUpsert}
		}
		episodes[row.fails] = episode{do: "create", answers: answers, asks: asks, fault: row.fault, fails: row.fails}
	}
	// https://www.zoho.com/crm/developer/docs/api/v8/refresh.html: a token lasts an hour, and not always that long.
	episodes["a token that is over"] = episode{do: "create", answers: []says{request(401, "INVALID_TOKEN", "invalid oauth token"), zohoRenewed(1), zohoAnswer(200, zohoDone("added", "7244"))},
		asks: []string{zohoUpsert, "POST /oauth/v2/token", zohoUpsert}, is: "7244"}
	zohoPlays(t, zohoSettings, nil, episodes)
}

func TestZohoSignsInAtTheAccountsOfItsDataCentre(t *testing.T) {
	c := converse(t, "zoho", zohoSettings, nil, nil, zohoToken, zohoAnswer(200, zohoDone("added", "7244")))
	if _, err := c.Push(context.Background(), connectortest.Created(connectortest.Sample(1)), ""); err != nil {
		t.Fatal(err)
	}
	requests := c.requests()
	form, _ := url.ParseQuery(requests[0].body)
	if requests[0].uri != "/oauth/v2/token" || form.Get("grant_type") != "refresh_token" || form.Get("client_id") != "1000.GMB0" || form.Get("client_secret") != "s3cret" ||
		!strings.HasPrefix(form.Get("refresh_token"), "1000.r3fresh.") || len(form) != 4 {
		t.Errorf("asked %s with %v", requests[0].uri, form)
	}
	if got := requests[1].header.Get("Authorization"); got != "Zoho-oauthtoken 1000.8cb99d.9be93" {
		t.Errorf("signed in by %q", got)
	}
	scopes := map[string]string{}
	for accounts, api := range map[string]string{
		"https://accounts.zoho.com": "https://www.zohoapis.com", "https://accounts.zoho.eu": "https://www.zohoapis.eu", "https://accounts.zoho.in": "https://www.zohoapis.in",
		"https://accounts.zoho.com.au": "https://www.zohoapis.com.au", "https://accounts.zohocloud.ca": "https://www.zohoapis.ca",
	} {
		settings := maps.Clone(zohoSettings)
		settings["accounts_url"] = accounts
		derived, given := zohoScope(t, settings), maps.Clone(settings)
		given["base_url"] = api
		if derived != zohoScope(t, given) || scopes[derived] != "" {
			t.Errorf("%s does not lead to %s alone", accounts, api)
		}
		scopes[derived] = api
	}
	// T23: a refusal comes with 200, too. https://www.zoho.com/crm/developer/docs/api/v8/refresh.html
	plays(t, "zoho", zohoSettings, nil, nil, map[string]episode{
		"a refresh token that was revoked": {do: "create", answers: []says{{status: 200, body: `{"error":"invalid_code"}`}}, asks: []string{"POST /oauth/v2/token"}, fault: connectors.Setup, fails: "zoho: upsert: access token: no access token: invalid_code"},
	})
}

// zohoScope is what shares limits: it follows from the address of the API and the secrets.
func zohoScope(t *testing.T, settings map[string]any) string {
	t.Helper()
	c, err := recipe(t, "zoho").Kind().Open(settings, connectors.Env{})
	if err != nil {
		t.Fatal(err)
	}
	return c.(connectors.Limited).Limits().Scope
}

func TestZohoCheckLooksForTheIdFieldAndTheMappedOnes(t *testing.T) {
	ask := []string{"GET /crm/v8/settings/fields?module=Leads"}
	fields := func(own string) []says {
		return []says{{status: 200, body: `{"fields":[` + own + `{"api_name":"First_Name","unique":{}},{"api_name":"Last_Name","unique":{}},{"api_name":"Phone","unique":{}},{"api_name":"Description","unique":{}}]}`}}
	}
	zohoPlays(t, zohoSettings, nil, map[string]episode{
		"all is there":       {do: "check", answers: fields(`{"api_name":"Leadrelay_ID","data_type":"text","unique":{"casesensitive":"false"}},`), asks: ask},
		"no id field":        {do: "check", answers: fields(""), asks: ask, fault: connectors.Setup, fails: "there is no field Leadrelay_ID that allows no duplicate values"},
		"it is not unique":   {do: "check", answers: fields(`{"api_name":"Leadrelay_ID","unique":{}},`), asks: ask, fault: connectors.Setup, fails: "Leadrelay_ID"},
		"it is of old times": {do: "check", answers: fields(`{"api_name":"Leadrelay_ID"},`), asks: ask, fault: connectors.Setup, fails: "Leadrelay_ID"},
		"a missing scope":    {do: "check", answers: []says{{status: 403, body: zohoRefused("NO_PERMISSION", "permission denied", "")}}, asks: ask, fault: connectors.Setup, fails: "zoho: check: 403 permission denied"},
	})
}

func TestP6ZohoTheReserveOfTheDayIsLeftToOtherApplications(t *testing.T) {
	for left, want := range map[string]time.Duration{"": 0, "24999": 0, "1501": 0, "1500": 15 * time.Minute, "0": 15 * time.Minute} {
		answer := zohoAnswer(200, zohoDone("added", "7244"))
		if left != "" {
			answer.header = map[string]string{"X-API-CREDITS-REMAINING": left}
		}
		if got := held(t, converse(t, "zoho", zohoSettings, nil, nil, zohoToken, answer)); got != want {
			t.Errorf("%s are left: held for %s, want %s", left, got, want)
		}
	}
}
