package recipes

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/leadrelay/leadrelay/connectors"
	"github.com/leadrelay/leadrelay/connectors/connectortest"
	"github.com/leadrelay/leadrelay/connectors/rest/conformance"
	"github.com/leadrelay/leadrelay/internal/lead"
)

var hubspotSettings = map[string]any{"access_token": "pat-na1-s3cret"}

// hubspotModels are the requests that @hubspot/api-client 13.5 can make for these purposes, and what its models have
// of members: of the body, and of an input in it.
var hubspotModels = map[string][2][]string{
	"GET /crm/v3/properties/contacts": {},
	// Of https://developers.hubspot.com/docs/apps/legacy-apps/private-apps/overview:
	"POST /oauth/v2/private-apps/get/access-token-info": {{"tokenKey"}},
	"GET /crm/v3/objects/contacts/{id}":                 {},
	"PATCH /crm/v3/objects/contacts/{id}":               {{"properties"}},
	"DELETE /crm/v3/objects/contacts/{id}":              {},
	"POST /crm/v3/objects/contacts/gdpr-delete":         {{"objectId", "idProperty"}},
	"POST /crm/v3/objects/contacts/batch/read":          {{"idProperty", "inputs", "properties", "propertiesWithHistory"}, {"id"}},
	"POST /crm/v3/objects/contacts/batch/upsert":        {{"inputs"}, {"id", "idProperty", "objectWriteTraceId", "properties"}},
	"POST /crm/v3/objects/contacts/batch/update":        {{"inputs"}, {"id", "idProperty", "objectWriteTraceId", "properties"}},
}

// hubspotSends checks a request against the models.
func hubspotSends(r *http.Request) error {
	path := r.URL.Path
	if id, ok := strings.CutPrefix(path, "/crm/v3/objects/contacts/"); ok && !strings.Contains(id, "batch/") && id != "gdpr-delete" {
		path = "/crm/v3/objects/contacts/{id}"
	}
	model, ok := hubspotModels[r.Method+" "+path]
	if !ok {
		return fmt.Errorf("%s %s: the library makes no such request", r.Method, path)
	}
	for name := range r.URL.Query() {
		if name != "idProperty" {
			return fmt.Errorf("query: %s", name)
		}
	}
	text, err := io.ReadAll(r.Body)
	if err != nil || model[0] == nil {
		return err
	}
	var body map[string]any
	if err := json.Unmarshal(text, &body); err != nil {
		return err
	}
	known := func(what string, members map[string]any, model []string) error {
		for name, value := range members {
			if !slices.Contains(model, name) {
				return fmt.Errorf("%s: the model has no %s", what, name)
			}
			if properties, ok := value.(map[string]any); ok {
				for name, value := range properties {
					if _, ok := value.(string); !ok {
						return fmt.Errorf("the property %s is %T: all are texts", name, value)
					}
				}
			}
		}
		return nil
	}
	inputs, _ := body["inputs"].([]any)
	if len(inputs) > 100 {
		return fmt.Errorf("%d inputs: there are at most 100", len(inputs))
	}
	for _, input := range inputs {
		if err := known("input", input.(map[string]any), model[1]); err != nil {
			return err
		}
	}
	return known("body", body, model[0])
}

func TestHubspotConformance(t *testing.T) {
	conformance.Run(t, recipe(t, "hubspot"), conformance.Options{Check: hubspotSends})
}

const (
	hubspotProperties = `{"email":"$EMAIL","leadrelay_id":"$ID","firstname":"Zenobia","lastname":"Quillfeather1","company":"$COMPANY","phone":"+44 20 7946 0001","message":"Please ring after teatime, case 1."}`
	hubspotUpsert     = `POST /crm/v3/objects/contacts/batch/upsert {"inputs":[{"idProperty":"leadrelay_id","id":"$ID","objectWriteTraceId":"$ID","properties":` + hubspotProperties + `}]}`
	hubspotUpdate     = `POST /crm/v3/objects/contacts/batch/update {"inputs":[{"id":"51","objectWriteTraceId":"$ID","properties":` + hubspotProperties + `}]}`
	hubspotRead       = `POST /crm/v3/objects/contacts/batch/read {"idProperty":"email","inputs":[{"id":"$EMAIL"}],"properties":["email"],"propertiesWithHistory":[]}`
	hubspotFind       = `GET /crm/v3/objects/contacts/$ID?idProperty=leadrelay_id`
	hubspotDelete     = `DELETE /crm/v3/objects/contacts/51`
)

// hubspotDone is the answer to a batch, as https://developers.hubspot.com/docs/api-reference/error-handling shows it:
// results have no objectWriteTraceId.
func hubspotDone(status int, results, errors string) says {
	if errors != "" {
		errors = `,"numErrors":1,"errors":[` + errors + `]`
	}
	return says{status: status, body: `{"status":"COMPLETE","results":[` + results + `],"startedAt":"2024-08-15T17:09:13.610Z","completedAt":"2024-08-15T17:09:13.910Z"` + errors + `}`}
}

func hubspotContact(id, leadID string) string {
	return `{"id":"` + id + `","properties":{"createdate":"2024-08-15T17:09:13.648Z","hs_object_id":"` + id + `","leadrelay_id":"` + leadID + `","lifecyclestage":"lead"},
		"createdAt":"2024-08-15T17:09:13.648Z","updatedAt":"2024-08-15T17:09:13.648Z","archived":false}`
}

var (
	hubspotIs51 = hubspotDone(200, hubspotContact("51", "$ID"), "")
	// https://github.com/HubSpot/hubspot-api-nodejs/issues/545
	hubspotExists = says{status: 409, body: `{"status":"error","message":"Contact already exists. Existing ID: 51","correlationId":"2dea5219-07f2-40ce-82ec-9c2e302317a4","category":"CONFLICT"}`}
	hubspotNot51  = hubspotDone(207, "", `{"status":"error","category":"OBJECT_NOT_FOUND","message":"Could not get some CONTACT objects, they may be deleted or not exist. Check that ids are valid.","context":{"ids":["51"]}}`)
	hubspotNone   = says{status: 404, body: `{"status":"error","message":"resource not found","correlationId":"5f6f0b6c-ae4f-4ad9-8a0e-a2f3f0a2f0a8"}`}
)

func TestHubspotIsAskedAsItsClientLibraryAsks(t *testing.T) {
	plays(t, "hubspot", hubspotSettings, nil, hubspotSends, map[string]episode{
		"create": {do: "create", answers: []says{hubspotIs51}, asks: []string{hubspotUpsert}, is: "51"},
		"update": {do: "update", ref: "51", answers: []says{hubspotIs51}, asks: []string{hubspotUpdate}, is: "51"},
		"an update that clears values": {do: "update", ref: "51", edit: func(l *lead.Lead) { l.Name, l.Note, l.Custom = "", "", nil }, answers: []says{hubspotIs51}, is: "51",
			asks: []string{`POST /crm/v3/objects/contacts/batch/update {"inputs":[{"id":"51","objectWriteTraceId":"$ID","properties":{"email":"$EMAIL","leadrelay_id":"$ID","firstname":"","lastname":"","company":"","phone":"","message":""}}]}`}},
		"an update of a contact that somebody deleted": {
			do: "update", ref: "51", answers: []says{hubspotNot51, hubspotDone(201, hubspotContact("52", "$ID"), "")}, asks: []string{hubspotUpdate, hubspotUpsert}, is: "52"},
		"an update of a contact that was merged into another is left out of the results": {
			do: "update", ref: "51", answers: []says{hubspotDone(200, "", ""), hubspotDone(200, hubspotContact("60", "$ID"), "")}, asks: []string{hubspotUpdate, hubspotUpsert}, is: "60"},
		"an update whose address another contact has": {
			do: "update", ref: "50", answers: []says{hubspotExists}, asks: []string{strings.Replace(hubspotUpdate, `"51"`, `"50"`, 1)}, fault: connectors.Lead, fails: "another record has this lead's key"},
		"delete":                           {do: "delete", ref: "51", answers: []says{{status: 204}}, asks: []string{hubspotDelete}},
		"a delete of who is gone":          {do: "delete", ref: "51", answers: []says{hubspotNone}, asks: []string{hubspotDelete}},
		"a create whose answer is lost":    {do: "create", answers: []says{{}}, asks: []string{hubspotUpsert}, fault: connectors.Unknown, fails: "hubspot: upsert: no whole answer"},
		"and what it left is found":        {do: "find", answers: []says{{status: 200, body: hubspotContact("51", "$ID")}}, asks: []string{hubspotFind}, is: "51"},
		"or it left nothing":               {do: "find", answers: []says{hubspotNone}, asks: []string{hubspotFind}},
		"a page in place of a 404 is none": {do: "find", answers: []says{{status: 404, body: "<h1>404</h1>"}}, asks: []string{hubspotFind}, fault: connectors.Setup, fails: "404"},
	})
}

func TestT1HubspotIsNotSearchedAndWhoIsThereIsAdopted(t *testing.T) {
	// The id is not in every message: 409 of a batch without objectWriteTraceId.
	nameless := says{status: 409, body: `{"status":"error","message":"Contact already exists","correlationId":"c0895ebf-9e3e-4b7d-b6e6-124e02d3f9c3","category":"CONFLICT"}`}
	item := hubspotDone(207, "", `{"status":"error","category":"CONFLICT","message":"Contact already exists. Existing ID: 51","context":{"objectWriteTraceId":["$ID"],"existingId":["51"]}}`)
	plays(t, "hubspot", hubspotSettings, nil, hubspotSends, map[string]episode{
		"the whole request is refused": {do: "create", answers: []says{hubspotExists, hubspotIs51}, asks: []string{hubspotUpsert, hubspotUpdate}, is: "51"},
		"the contact's part of it is":  {do: "create", answers: []says{item, hubspotIs51}, asks: []string{hubspotUpsert, hubspotUpdate}, is: "51"},
		"without the id":               {do: "create", answers: []says{nameless, hubspotIs51, hubspotIs51}, asks: []string{hubspotUpsert, hubspotRead, hubspotUpdate}, is: "51"},
		"without the id, and not to be found": {do: "create", answers: []says{nameless, hubspotDone(207, "", `{"status":"error","category":"OBJECT_NOT_FOUND","message":"Could not get some CONTACT objects, they may be deleted or not exist. Check that ids are valid.","context":{"ids":["$EMAIL"]}}`)},
			asks: []string{hubspotUpsert, hubspotRead}, fault: connectors.Remote, fails: "does not find it yet"},
	})
}

func TestT2HubspotABare2xxIsNoSuccess(t *testing.T) {
	for _, status := range []int{200, 201, 204, 207} {
		for _, body := range []string{"", "{}", "[]", `{"status":"COMPLETE"}`, `{"status":"error","message":"internal error"}`, "<html></html>"} {
			if status == 204 && body != "" {
				continue
			}
			episode{do: "create", answers: []says{{status: status, body: body}}, asks: []string{hubspotUpsert}, fault: connectors.Unknown, fails: "hubspot: upsert: "}.
				play(t, "hubspot", hubspotSettings, nil, nil)
		}
	}
	for _, status := range []int{200, 202, 207} {
		episode{do: "delete", ref: "51", answers: []says{{status: status, body: "{}"}}, asks: []string{hubspotDelete}, fault: connectors.Unknown, fails: "hubspot: delete: "}.
			play(t, "hubspot", hubspotSettings, nil, nil)
	}
}

// hubspotPeople are the items of a batch of n samples; each has the ref of its place in refs, if any.
func hubspotPeople(n int, refs ...string) (items []connectors.Item) {
	for i := range n {
		item := connectors.Item{Change: connectortest.Created(connectortest.Sample(i + 1))}
		if i < len(refs) && refs[i] != "" {
			item = connectors.Item{Change: connectortest.Updated(connectortest.Sample(i + 1)), Ref: refs[i]}
		}
		items = append(items, item)
	}
	return items
}

// hubspotIDs are the ids of the inputs of each request.
func hubspotIDs(t *testing.T, requests []asked) (all []string) {
	for _, r := range requests {
		var body struct{ Inputs []struct{ ID string } }
		if err := json.Unmarshal([]byte(r.body), &body); err != nil {
			t.Fatal(err)
		}
		line := r.uri[strings.LastIndexByte(r.uri, '/')+1:]
		for _, input := range body.Inputs {
			line += " " + strings.TrimLeft(strings.TrimPrefix(input.ID, "lead_1jkq7g2a0"), "0")
		}
		all = append(all, line)
	}
	return all
}

func hubspotBatch(t *testing.T, items []connectors.Item, want []string, asks []string, answers ...says) []connectors.Result {
	t.Helper()
	c := converse(t, "hubspot", hubspotSettings, nil, hubspotSends, answers...)
	results := c.Connector.(connectors.Batcher).PushBatch(context.Background(), items)
	for i, result := range results {
		got := result.Ref
		if result.Err != nil {
			fault, _ := connectors.FaultOf(result.Err)
			got = fault.String()
		}
		if got != want[i] {
			t.Errorf("item %d is %s (%v), want %s", i, got, result.Err, want[i])
		}
	}
	if got := hubspotIDs(t, c.requests()); !slices.Equal(got, asks) {
		t.Errorf("asked for %q, want %q", got, asks)
	}
	return results
}

func TestT3HubspotABatchThatOneContactSpoilsIsSplitUntilItIsAlone(t *testing.T) {
	id := func(i int) string { return connectortest.Sample(i).ID }
	// https://github.com/HubSpot/hubspot-api-python/issues/51: the first of the duplicates alone is named.
	hubspotBatch(t, hubspotPeople(3), []string{"1001", "51", "1003"}, []string{"upsert 1 2 3", "upsert 1", "upsert 2 3", "upsert 2", "upsert 3", "update 51"},
		hubspotExists, hubspotDone(200, hubspotContact("1001", id(1)), ""),
		hubspotExists, hubspotExists, hubspotDone(200, hubspotContact("1003", id(3)), ""),
		hubspotDone(200, hubspotContact("51", id(2)), ""))

	// https://github.com/Joystream/youtube-synch/pull/355: one address twice in a batch is a conflict, too.
	twice := hubspotPeople(2)
	twice[1].Change.Lead.Email = strings.ToUpper(twice[0].Change.Lead.Email)
	hubspotBatch(t, twice, []string{"1001", "51"}, []string{"upsert 1", "upsert 2", "update 51"},
		hubspotDone(200, hubspotContact("1001", id(1)), ""), hubspotExists, hubspotDone(200, hubspotContact("51", id(2)), ""))
}

func TestT4HubspotALeadThatTheAnswerDoesNotSpeakOfIsUnknown(t *testing.T) {
	id := func(i int) string { return connectortest.Sample(i).ID }
	for _, empty := range []says{hubspotDone(200, "", ""), hubspotDone(207, "", ""), {status: 200, body: `{"results":[],"errors":[]}`}} {
		hubspotBatch(t, hubspotPeople(2), []string{"unknown", "unknown"}, []string{"upsert 1 2"}, empty)
	}
	hubspotBatch(t, hubspotPeople(3), []string{"1001", "unknown", "1003"}, []string{"upsert 1 2 3"},
		hubspotDone(200, hubspotContact("1003", id(3))+","+hubspotContact("1001", id(1)), ""))
	// Of an update the contact may have been merged away: it is asked for by the lead's id before anybody despairs.
	hubspotBatch(t, hubspotPeople(2, "51", "52"), []string{"51", "unknown"}, []string{"update 51 52", "upsert 2"},
		hubspotDone(200, hubspotContact("51", id(1)), ""), hubspotDone(200, "", ""))
}

func TestT5HubspotASecondaryAddressBelongsToItsContactAndTheIdIsKept(t *testing.T) {
	// The body is that of https://github.com/PipedreamHQ/pipedream/issues/11236.
	secondary := says{status: 409, body: `{"message":"Contact already exists. Existing ID: 51","identityProfile":{"vid":51,"identity":[{"value":"first@example.com","type":"EMAIL","timestamp":1696530378178,"isPrimary":true},{"value":"$EMAIL","type":"EMAIL","timestamp":1696530378178,"isSecondary":true}]},"status":"error","category":"CONFLICT"}`}
	plays(t, "hubspot", hubspotSettings, nil, hubspotSends, map[string]episode{
		"it is adopted":            {do: "create", answers: []says{secondary, hubspotIs51}, asks: []string{hubspotUpsert, hubspotUpdate}, is: "51"},
		"and known by its id":      {do: "update", ref: "51", answers: []says{hubspotIs51}, asks: []string{hubspotUpdate}, is: "51"},
		"also where it is deleted": {do: "delete", ref: "51", answers: []says{{status: 204}}, asks: []string{hubspotDelete}},
	})
}

func TestT6HubspotErasesByIdAlone(t *testing.T) {
	settings := maps.Clone(hubspotSettings)
	settings["on_delete"] = "erase"
	erase := `POST /crm/v3/objects/contacts/gdpr-delete {"objectId":"51"}`
	plays(t, "hubspot", settings, nil, hubspotSends, map[string]episode{
		"who is deleted":         {do: "delete", ref: "51", answers: []says{{status: 204}}, asks: []string{erase}},
		"who is gone":            {do: "delete", ref: "51", answers: []says{hubspotNone}, asks: []string{erase}},
		"who was never there":    {do: "delete"},
		"what is no erasure yet": {do: "delete", ref: "51", answers: []says{{status: 200, body: "{}"}}, asks: []string{erase}, fault: connectors.Unknown, fails: "hubspot: erase: "},
	})
	c := converse(t, "hubspot", settings, nil, hubspotSends, says{status: 204})
	left := connectortest.Updated(connectortest.Sample(1))
	left.Op = lead.Delete // the filter leaves it out: it may come back
	if _, err := c.Push(context.Background(), left, "51"); err != nil {
		t.Error(err)
	}
	sent(t, c.requests()[0], hubspotDelete, "")
}

func TestT20HubspotALifecycleStageGoesBackOnlyWhereTheOperatorSaysSo(t *testing.T) {
	fields := []connectors.FieldRule{{To: "lifecyclestage", Value: "subscriber"}}
	update := `POST /crm/v3/objects/contacts/batch/update {"inputs":[{"id":"51","objectWriteTraceId":"$ID","properties":{"email":"$EMAIL","leadrelay_id":"$ID","lifecyclestage":"subscriber"}}]}`
	upsert := `POST /crm/v3/objects/contacts/batch/upsert {"inputs":[{"id":"$ID","idProperty":"leadrelay_id","objectWriteTraceId":"$ID","properties":{"email":"$EMAIL","leadrelay_id":"$ID","lifecyclestage":"subscriber"}}]}`
	reset := `PATCH /crm/v3/objects/contacts/51 {"properties":{"lifecyclestage":""}}`
	cleared := says{status: 200, body: hubspotContact("51", "$ID")}
	plays(t, "hubspot", hubspotSettings, fields, hubspotSends, map[string]episode{
		"not by itself": {do: "update", ref: "51", answers: []says{hubspotIs51}, asks: []string{update}, is: "51"},
	})
	settings := maps.Clone(hubspotSettings)
	settings["reset_lifecyclestage"] = true
	plays(t, "hubspot", settings, fields, hubspotSends, map[string]episode{
		"where it is set":               {do: "update", ref: "51", answers: []says{cleared, hubspotIs51}, asks: []string{reset, update}, is: "51"},
		"of a contact that is adopted":  {do: "create", answers: []says{hubspotExists, cleared, hubspotIs51}, asks: []string{upsert, reset, update}, is: "51"},
		"of a contact somebody deleted": {do: "update", ref: "51", answers: []says{hubspotNone, hubspotNot51, hubspotIs51}, asks: []string{reset, update, upsert}, is: "51"},
		"unless that fails":             {do: "update", ref: "51", answers: []says{{status: 500}}, asks: []string{reset}, fault: connectors.Remote, fails: "hubspot: update: 500"},
	})
	plays(t, "hubspot", settings, nil, hubspotSends, map[string]episode{
		"and not where nothing is mapped to it": {do: "update", ref: "51", answers: []says{hubspotIs51}, asks: []string{hubspotUpdate}, is: "51"},
	})
}

func TestHubspotABatchIsReadContactByContact(t *testing.T) {
	id := func(i int) string { return connectortest.Sample(i).ID }
	traced := func(category, message string, i int) string {
		return fmt.Sprintf(`{"status":"error","category":%q,"message":%q,"context":{"objectWriteTraceId":[%q]}}`, category, message, id(i))
	}
	results := hubspotBatch(t, hubspotPeople(4), []string{"1001", "lead", "51", "setup"}, []string{"upsert 1 2 3 4", "update 51"},
		hubspotDone(207, hubspotContact("1001", id(1)), strings.Join([]string{
			traced("VALIDATION_ERROR", `Property values were not valid: [{"isValid":false,"message":"Email address `+connectortest.Sample(2).Email+` is invalid","error":"INVALID_EMAIL","name":"email"}]`, 2),
			traced("CONFLICT", "Contact already exists. Existing ID: 51", 3),
			traced("VALIDATION_ERROR", `Property values were not valid: [{"isValid":false,"message":"Property \"missing\" does not exist","error":"PROPERTY_DOESNT_EXIST","name":"missing"}]`, 4)}, ",")),
		hubspotDone(200, hubspotContact("51", id(3)), ""))
	if text := results[1].Err.Error(); strings.Contains(text, "zenobia") || !strings.Contains(text, "INVALID_EMAIL") {
		t.Error(text)
	}
	// Who is gone is known by the trace of the request, or by the ids alone.
	gone := `{"status":"error","category":"OBJECT_NOT_FOUND","message":"Could not get some CONTACT objects, they may be deleted or not exist. Check that ids are valid.","context":{%s}}`
	hubspotBatch(t, hubspotPeople(4, "51", "52", "53", "54"), []string{"51", "1002", "1003", "1004"}, []string{"update 51 52 53 54", "upsert 2 3 4"},
		hubspotDone(207, hubspotContact("51", id(1)), fmt.Sprintf(gone, `"ids":["52","53"]`)+","+fmt.Sprintf(gone, `"ids":["54"],"objectWriteTraceId":["`+id(4)+`"]`)),
		hubspotDone(200, hubspotContact("1002", id(2))+","+hubspotContact("1003", id(3))+","+hubspotContact("1004", id(4)), ""))
}

// TestHubspotErrors goes through https://developers.hubspot.com/docs/api-reference/error-handling.
func TestHubspotErrors(t *testing.T) {
	said := func(status int, category, message string) says {
		return says{status: status, body: fmt.Sprintf(`{"status":"error","message":%q,"correlationId":"a43683b0-5717-4ceb-80b4-104d02915d8c","category":%q}`, message, category)}
	}
	limit := func(policy string) says {
		return says{status: 429, body: `{"status":"error","message":"You have reached your limit.","errorType":"RATE_LIMIT","correlationId":"c033cdaa-2c40-4a64-ae48-b4cec88dad24","policyName":"` + policy + `","requestId":"3d3e35b7-0dae-4b9f-a6e3-9c230cbcf8dd"}`}
	}
	for _, row := range []struct {
		answer says
		fault  connectors.Fault
		fails  string
		wait   time.Duration
	}{
		{said(401, "INVALID_AUTHENTICATION", "Authentication credentials not found. This API supports OAuth 2.0 authentication"), connectors.Setup, "401 Authentication credentials not found", 0},
		{said(401, "EXPIRED_AUTHENTICATION", "The OAuth token used to make this call expired 7 second(s) ago."), connectors.Setup, "401", 0},
		{said(403, "MISSING_SCOPES", "One or more of the following scopes are required."), connectors.Setup, "403 One or more", 0},
		{said(400, "VALIDATION_ERROR", `Property values were not valid: [{"isValid":false,"message":"Email address $EMAIL is invalid","error":"INVALID_EMAIL","name":"email"}]`), connectors.Lead, "INVALID_EMAIL", 0},
		{said(400, "VALIDATION_ERROR", `Property values were not valid: [{"isValid":false,"message":"Property \"first000name\" does not exist","error":"PROPERTY_DOESNT_EXIST","name":"first000name"}]`), connectors.Setup, "first000name", 0},
		{said(400, "VALIDATION_ERROR", "Unable to perform update/upsert by non-unique 0-1 property leadrelay_id in portal ID 21939747"), connectors.Setup, "non-unique", 0},
		{said(409, "CONFLICT", "Something else is in the way"), connectors.Lead, "409", 0},
		{says{status: 414}, connectors.Lead, "414", 0},
		{said(423, "LOCKED", "Locked"), connectors.Remote, "423", 0},
		{limit("TEN_SECONDLY_ROLLING"), connectors.Throttled, "429", 10 * time.Second},
		{limit("DAILY"), connectors.Throttled, "429", time.Hour},
		{says{status: 429, body: "{}", header: map[string]string{"Retry-After": "7"}}, connectors.Throttled, "429", 7 * time.Second},
		{says{status: 477, body: "{}", header: map[string]string{"Retry-After": "7200"}}, connectors.Throttled, "477", 2 * time.Hour},
		{says{status: 502, body: "<html></html>"}, connectors.Remote, "502", 0},
		{says{status: 524}, connectors.Remote, "524", 0},
	} {
		for _, do := range []string{"create", "update"} {
			ask := map[string]string{"create": hubspotUpsert, "update": hubspotUpdate}[do]
			e := episode{do: do, ref: map[string]string{"update": "51"}[do], answers: []says{row.answer}, asks: []string{ask}, fault: row.fault, fails: row.fails, wait: row.wait}
			e.play(t, "hubspot", hubspotSettings, nil, hubspotSends)
		}
	}
}

func TestHubspotCheckLooksForTheIdPropertyAndTheMappedOnes(t *testing.T) {
	ask := []string{"GET /crm/v3/properties/contacts"}
	// https://developers.hubspot.com/docs/api-reference/crm-properties-v3/guide
	properties := func(own string) []says {
		return []says{{status: 200, body: `{"results":[` + own + `{"name":"firstname","label":"First Name","type":"string","fieldType":"text","groupName":"contactinformation"},{"name":"lastname"},{"name":"company"},{"name":"phone"},{"name":"message"}]}`}}
	}
	plays(t, "hubspot", hubspotSettings, nil, hubspotSends, map[string]episode{
		"all is there":        {do: "check", answers: properties(`{"name":"leadrelay_id","type":"string","hasUniqueValue":true},`), asks: ask},
		"no id property":      {do: "check", answers: properties(""), asks: ask, fault: connectors.Setup, fails: "there is no contact property leadrelay_id that requires unique values"},
		"one that is not one": {do: "check", answers: properties(`{"name":"leadrelay_id","type":"string","hasUniqueValue":false},`), asks: ask, fault: connectors.Setup, fails: "leadrelay_id"},
		"no scope": {do: "check", answers: []says{{status: 403, body: `{"status":"error","message":"This app hasn't been granted all required scopes to make this call.","category":"MISSING_SCOPES"}`}}, asks: ask,
			fault: connectors.Setup, fails: "hubspot: check: 403 This app hasn't been granted"},
		"a page": {do: "check", answers: []says{{status: 200, body: "<html></html>"}}, asks: ask, fault: connectors.Unknown, fails: "200"},
	})
	plays(t, "hubspot", hubspotSettings, []connectors.FieldRule{{To: "shoe_size", From: "shoe"}}, hubspotSends, map[string]episode{
		"a field that is not there": {do: "check", answers: properties(`{"name":"leadrelay_id","hasUniqueValue":true},`), asks: ask, fault: connectors.Setup, fails: "there is no field shoe_size"},
	})
}

func TestHubspotValuesAreTexts(t *testing.T) {
	fields := []connectors.FieldRule{{To: "budget", From: "budget"}, {To: "consent", From: "newsletter"}, {To: "interests", From: "tags"}}
	plays(t, "hubspot", hubspotSettings, fields, hubspotSends, map[string]episode{
		"numbers, truths and lists": {do: "create", edit: func(l *lead.Lead) { l.Custom["tags"] = []any{"one", "two"} }, answers: []says{hubspotIs51}, is: "51",
			asks: []string{`POST /crm/v3/objects/contacts/batch/upsert {"inputs":[{"id":"$ID","idProperty":"leadrelay_id","objectWriteTraceId":"$ID","properties":{"email":"$EMAIL","leadrelay_id":"$ID","budget":"1500","consent":"true","interests":"one;two"}}]}`}},
	})
}

// recipesHost is a worker that keeps what it is told of limits.
type recipesHost struct{ until time.Time }

func (*recipesHost) Spend(context.Context, int) error               { return nil }
func (h *recipesHost) HoldCalls(_ context.Context, until time.Time) { h.until = until }
func (*recipesHost) Memory() connectors.Memory                      { return connectors.MemoryOf(context.Background()) }

// held pushes one lead and returns for how long, to the minute, the vendor's answer keeps everybody from calling.
func held(t *testing.T, c *conversation) time.Duration {
	t.Helper()
	host := &recipesHost{}
	if _, err := c.Push(connectors.WithHost(context.Background(), host), connectortest.Created(connectortest.Sample(1)), ""); err != nil {
		t.Error(err)
	}
	if host.until.IsZero() {
		return 0
	}
	return time.Until(host.until).Round(time.Minute)
}

func TestP6HubspotTheReserveOfTheDayIsLeftToOtherApplications(t *testing.T) {
	for left, want := range map[string]time.Duration{"": 0, "249850": 0, "75001": 0, "75000": time.Hour, "0": time.Hour} {
		answer := hubspotDone(200, hubspotContact("51", connectortest.Sample(1).ID), "")
		if answer.header = map[string]string{"X-HubSpot-RateLimit-Daily": "250000", "X-HubSpot-RateLimit-Remaining": "95"}; left != "" {
			answer.header["X-HubSpot-RateLimit-Daily-Remaining"] = left
		}
		if got := held(t, converse(t, "hubspot", hubspotSettings, nil, hubspotSends, answer)); got != want {
			t.Errorf("%s are left: held for %s, want %s", left, got, want)
		}
	}
}
