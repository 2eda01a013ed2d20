package recipes

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
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

var salesforceSettings = map[string]any{
	"my_domain": "acme", "client_id": "3MVG9", "client_secret": "s3cret-$N", "external_id": "Lead_Id__c",
}

// salesforceSends checks requests against what jsforce was recorded to send, for the object Lead and its external id
// field Lead_Id__c. Describe and delete by external id are not among it: their paths are made of those that are.
func salesforceSends(t *testing.T) func(*http.Request) error {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(connectortest.SpecDir(t), "sdk-wire-recordings.txt"))
	if err != nil {
		t.Fatal(err)
	}
	recorded := func(title string) (method, path string, body map[string]any) {
		_, rest, found := strings.Cut(string(text), "## "+title+"\n")
		line, _, _ := strings.Cut(rest, "\n")
		method, rest, _ = strings.Cut(line, " ")
		path, rest, _ = strings.Cut(rest, " ")
		decoder := json.NewDecoder(strings.NewReader(rest))
		if err := decoder.Decode(new(any)); !found || err != nil { // the headers
			t.Fatalf("no recording of %q: %v", title, err)
		}
		if err := decoder.Decode(&body); err != nil {
			t.Fatal(err)
		}
		return method, path, body
	}
	method, path, many := recorded("sf upsert many")
	_, one, _ := recorded("sf upsert")
	byID := one[:strings.LastIndexByte(one, '/')+1]
	object := byID[:strings.Index(byID, "Lead_Id__c")]
	names := func(value any) []string { return slices.Sorted(maps.Keys(value.(map[string]any))) }
	return func(r *http.Request) error {
		switch {
		case r.Method == http.MethodPost && r.URL.Path == "/services/oauth2/token":
			return nil
		case r.Header.Get("Authorization") == "" || r.URL.RawQuery != "":
			return fmt.Errorf("signed in by %q, query %q", r.Header.Get("Authorization"), r.URL.RawQuery)
		case r.Method == http.MethodGet && r.URL.Path == object+"describe", r.Method == http.MethodDelete && strings.HasPrefix(r.URL.Path, byID):
			return nil
		case r.Method != method || r.URL.Path != path:
			return fmt.Errorf("%s %s was not recorded", r.Method, r.URL.Path)
		}
		var body map[string]any
		text, _ := io.ReadAll(r.Body)
		if err := json.Unmarshal(text, &body); err != nil {
			return err
		}
		if !slices.Equal(names(body), names(many)) || body["allOrNone"] != many["allOrNone"] {
			return fmt.Errorf("sent %s", text)
		}
		records := body["records"].([]any)
		if len(records) > 200 {
			return fmt.Errorf("%d records: there are at most 200", len(records))
		}
		theirs := many["records"].([]any)[0].(map[string]any)
		for _, record := range records {
			ours := record.(map[string]any)
			if fmt.Sprint(ours["attributes"]) != fmt.Sprint(theirs["attributes"]) || ours["Lead_Id__c"] == nil {
				return fmt.Errorf("the record %v", ours)
			}
			delete(ours, "attributes")
			for name, value := range ours {
				switch value.(type) {
				case map[string]any, []any:
					return fmt.Errorf("%s is %T", name, value)
				}
			}
		}
		return nil
	}
}

func TestSalesforceConformance(t *testing.T) {
	conformance.Run(t, recipe(t, "salesforce"), conformance.Options{Check: salesforceSends(t), Settings: map[string]any{"external_id": "Lead_Id__c"}})
}

const (
	salesforceRecord = `{"attributes":{"type":"Lead"},"Lead_Id__c":"$ID","Email":"$EMAIL","Company":"$COMPANY","FirstName":"Zenobia","LastName":"Quillfeather1","Phone":"+44 20 7946 0001","Description":"Please ring after teatime, case 1."}`
	salesforceUpsert = `PATCH /services/data/v63.0/composite/sobjects/Lead/Lead_Id__c {"allOrNone":false,"records":[` + salesforceRecord + `]}`
	salesforceDelete = `DELETE /services/data/v63.0/sobjects/Lead/Lead_Id__c/$ID`
)

var (
	// https://help.salesforce.com/s/articleView?id=xcloud.remoteaccess_oauth_client_credentials_flow.htm
	salesforceToken = says{status: 200, body: `{"access_token":"00D5g!AQEAQ","signature":"c2ln","scope":"api","instance_url":"https://acme.my.salesforce.com","id":"https://login.salesforce.com/id/00D5g/0055g","token_type":"Bearer","issued_at":"1718000000000"}`}
	salesforceDone  = says{status: 200, body: `[{"id":"00Q5g00000AbCdEEAV","success":true,"errors":[],"created":true}]`}
)

// signingIn puts the request for an access token before each episode.
func signingIn(path string, token says, episodes map[string]episode) map[string]episode {
	all := map[string]episode{}
	for title, e := range episodes {
		if len(e.answers) > 0 {
			e.answers = append([]says{token}, e.answers...)
			e.asks = append([]string{"POST " + path}, e.asks...)
		}
		all[title] = e
	}
	return all
}

func salesforcePlays(t *testing.T, settings map[string]any, fields []connectors.FieldRule, check func(*http.Request) error, episodes map[string]episode) {
	t.Helper()
	plays(t, "salesforce", settings, fields, check, signingIn("/services/oauth2/token", salesforceToken, episodes))
}

func TestSalesforceIsAskedAsItsClientLibraryAsks(t *testing.T) {
	salesforcePlays(t, salesforceSettings, nil, salesforceSends(t), map[string]episode{
		"create": {do: "create", answers: []says{salesforceDone}, asks: []string{salesforceUpsert}, is: "$ID"},
		"update": {do: "update", ref: "$ID", answers: []says{{status: 200, body: `[{"id":"00Q5g00000AbCdEEAV","success":true,"errors":[],"created":false}]`}}, asks: []string{salesforceUpsert}, is: "$ID"},
		"an update that clears values": {do: "update", ref: "$ID", edit: func(l *lead.Lead) { l.Name, l.Note, l.Custom = "", "", map[string]any{"company": ""} }, answers: []says{salesforceDone}, is: "$ID",
			asks: []string{`PATCH /services/data/v63.0/composite/sobjects/Lead/Lead_Id__c {"allOrNone":false,"records":[{"attributes":{"type":"Lead"},"Lead_Id__c":"$ID","Email":"$EMAIL","Company":"[not provided]","FirstName":null,"LastName":"[not provided]","Phone":null,"Description":null}]}`}},
		"delete": {do: "delete", ref: "$ID", answers: []says{{status: 204}}, asks: []string{salesforceDelete}},
		"a delete of who is gone": {
			do: "delete", ref: "$ID", answers: []says{{status: 404, body: `[{"errorCode":"NOT_FOUND","message":"The requested resource does not exist"}]`}}, asks: []string{salesforceDelete}},
		"a delete of who was deleted there": {
			do: "delete", ref: "$ID", answers: []says{{status: 404, body: `[{"errorCode":"ENTITY_IS_DELETED","message":"entity is deleted","fields":[]}]`}}, asks: []string{salesforceDelete}},
		"a delete by a field that is not there": {
			do: "delete", ref: "$ID", answers: []says{{status: 404, body: `[{"errorCode":"NOT_FOUND","message":"Provided external ID field does not exist or is not accessible: Lead_Id__c"}]`}}, asks: []string{salesforceDelete},
			fault: connectors.Setup, fails: "404 Provided external ID field does not exist"},
		"a page in place of a 404":      {do: "delete", ref: "$ID", answers: []says{{status: 404, body: "<html></html>"}}, asks: []string{salesforceDelete}, fault: connectors.Setup, fails: "404"},
		"a create whose answer is lost": {do: "create", answers: []says{{}}, asks: []string{salesforceUpsert}, fault: connectors.Unknown, fails: "salesforce: upsert: no whole answer"},
		"and is made again":             {do: "create", ref: "$ID", answers: []says{salesforceDone}, asks: []string{salesforceUpsert}, is: "$ID"},
		"a success that is none":        {do: "create", answers: []says{{status: 200, body: `[]`}}, asks: []string{salesforceUpsert}, fault: connectors.Unknown, fails: "says nothing of this lead"},
	})
	contact := maps.Clone(salesforceSettings)
	contact["object"] = "Contact"
	salesforcePlays(t, contact, nil, nil, map[string]episode{
		"a contact has no company": {do: "create", answers: []says{salesforceDone}, is: "$ID",
			asks: []string{`PATCH /services/data/v63.0/composite/sobjects/Contact/Lead_Id__c {"allOrNone":false,"records":[{"attributes":{"type":"Contact"},"Lead_Id__c":"$ID","Email":"$EMAIL","FirstName":"Zenobia","LastName":"Quillfeather1","Phone":"+44 20 7946 0001","Description":"Please ring after teatime, case 1."}]}`}},
	})
	salesforcePlays(t, salesforceSettings, []connectors.FieldRule{{To: "Company", From: "source"}, {To: "Interests__c", From: "tags"}, {To: "Budget__c", From: "budget"}}, nil, map[string]episode{
		"fields of one's own": {do: "create", edit: func(l *lead.Lead) { l.Custom["tags"] = []any{"one", "two"} }, answers: []says{salesforceDone}, is: "$ID",
			asks: []string{`PATCH /services/data/v63.0/composite/sobjects/Lead/Lead_Id__c {"allOrNone":false,"records":[{"attributes":{"type":"Lead"},"Lead_Id__c":"$ID","Email":"$EMAIL","Company":"website","Interests__c":"one;two","Budget__c":1500}]}`}},
	})
}

func TestT14SalesforceWritesByExternalIdOrNotAtAll(t *testing.T) {
	kind := recipe(t, "salesforce").Kind()
	for _, name := range []string{"external_id", "my_domain", "client_id"} {
		settings := maps.Clone(salesforceSettings)
		delete(settings, name)
		if _, err := kind.Open(settings, connectors.Env{}); err == nil || !strings.HasPrefix(err.Error(), name+": required") {
			t.Errorf("without %s: %v", name, err)
		}
	}
	c := converse(t, "salesforce", salesforceSettings, nil, nil)
	if key := c.Connector.(connectors.Keyed).Key(connectortest.Sample(1)); key != connectortest.Sample(1).ID {
		t.Errorf("the key is %q", key)
	}
	ask := []string{"GET /services/data/v63.0/sobjects/Lead/describe"}
	described := func(own string) []says {
		return []says{{status: 200, body: `{"name":"Lead","fields":[{"name":"Id","externalId":false,"unique":false},{"name":"Email","createable":true,"updateable":true},` + own + `{"name":"FirstName"},{"name":"LastName"},{"name":"Phone"},{"name":"Description"}]}`}}
	}
	salesforcePlays(t, salesforceSettings, nil, salesforceSends(t), map[string]episode{
		"it is there":       {do: "check", answers: described(`{"name":"Lead_Id__c","externalId":true,"unique":true},`), asks: ask},
		"it is not there":   {do: "check", answers: described(""), asks: ask, fault: connectors.Setup, fails: "the field Lead_Id__c is not there, or not both External ID and Unique"},
		"it is not unique":  {do: "check", answers: described(`{"name":"Lead_Id__c","externalId":true,"unique":false},`), asks: ask, fault: connectors.Setup, fails: "Unique"},
		"it is no key":      {do: "check", answers: described(`{"name":"Lead_Id__c","externalId":false,"unique":true},`), asks: ask, fault: connectors.Setup, fails: "External ID"},
		"no such object":    {do: "check", answers: []says{{status: 404, body: `[{"errorCode":"NOT_FOUND","message":"The requested resource does not exist"}]`}}, asks: ask, fault: connectors.Setup, fails: "404 The requested resource does not exist"},
		"not for this user": {do: "check", answers: []says{{status: 403, body: `[{"errorCode":"API_DISABLED_FOR_ORG","message":"API is not enabled for this Organization or Partner"}]`}}, asks: ask, fault: connectors.Setup, fails: "403 API is not enabled"},
	})
}

// TestT15SalesforceFaultsAreToldByTheCode has the codes as a request and as one of its records says them:
// https://developer.salesforce.com/docs/platform/api-rest/guide/errorcodes.html
func TestT15SalesforceFaultsAreToldByTheCode(t *testing.T) {
	of := func(code, message string) says { // one record
		return says{status: 200, body: fmt.Sprintf(`[{"success":false,"errors":[{"statusCode":%q,"message":%q,"fields":[]}]}]`, code, message)}
	}
	whole := func(status int, code, message string) says {
		return says{status: status, body: fmt.Sprintf(`[{"message":%q,"errorCode":%q}]`, message, code)}
	}
	episodes := map[string]episode{}
	for _, row := range []struct {
		answer says
		fault  connectors.Fault
		fails  string
		wait   time.Duration
	}{
		{of("UNABLE_TO_LOCK_ROW", "unable to obtain exclusive access to this record or 1 records: 00Q5g00000AbCdE"), connectors.Remote, "UNABLE_TO_LOCK_ROW", 0},
		{whole(400, "UNABLE_TO_LOCK_ROW", "unable to obtain exclusive access to this record"), connectors.Remote, "400 unable to obtain exclusive access", 0},
		{of("CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY", "LeadTrigger: System.LimitException: Too many SOQL queries: 101"), connectors.Remote, "Too many SOQL queries", 0},
		{whole(503, "SERVER_UNAVAILABLE", "Server too busy"), connectors.Remote, "503 Server too busy", 0},
		{whole(500, "UNKNOWN_EXCEPTION", "An unexpected error occurred."), connectors.Remote, "500", 0},
		{whole(403, "REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded."), connectors.Throttled, "403 TotalRequests Limit exceeded", 15 * time.Minute},
		{whole(403, "API_DISABLED_FOR_ORG", "API is not enabled"), connectors.Setup, "403 API is not enabled", 0},
		{whole(400, "INVALID_FIELD", "No such column 'Shoe__c' on sobject of type Lead"), connectors.Setup, "No such column 'Shoe__c'", 0},
		{whole(404, "NOT_FOUND", "Provided external ID field does not exist or is not accessible: Lead_Id__c"), connectors.Setup, "Provided external ID field", 0},
		{of("STORAGE_LIMIT_EXCEEDED", "storage limit exceeded"), connectors.Setup, "storage limit exceeded", 0},
		{whole(400, "JSON_PARSER_ERROR", "Cannot deserialize instance of string from START_ARRAY value [line:1, column:80]"), connectors.Lead, "400 Cannot deserialize", 0},
		{of("DUPLICATES_DETECTED", "Use one of these records?"), connectors.Lead, "200 Use one of these records?: DUPLICATES_DETECTED", 0},
		{of("DUPLICATE_EXTERNAL_ID", "Lead_Id__c: more than one record found for external id field: [00Q5g, 00Q5h]"), connectors.Lead, "DUPLICATE_EXTERNAL_ID", 0},
		{of("DUPLICATE_VALUE", "duplicate value found: Badge__c duplicates value on record with id: 00Q5g"), connectors.Lead, "DUPLICATE_VALUE", 0},
		{of("FIELD_CUSTOM_VALIDATION_EXCEPTION", "$EMAIL is not welcome"), connectors.Lead, "FIELD_CUSTOM_VALIDATION_EXCEPTION", 0},
		{of("REQUIRED_FIELD_MISSING", "Required fields are missing: [LastName]"), connectors.Lead, "[LastName]", 0},
		{of("INVALID_EMAIL_ADDRESS", "Email: invalid email address: $EMAIL"), connectors.Lead, "INVALID_EMAIL_ADDRESS", 0},
		{of("STRING_TOO_LONG", "First Name: data value too large: Zenobia (max length=40)"), connectors.Lead, "STRING_TOO_LONG", 0},
		{of("CANNOT_UPDATE_CONVERTED_LEAD", "cannot reference converted lead"), connectors.Lead, "cannot reference converted", 0},
		{of("ENTITY_IS_DELETED", "entity is deleted"), connectors.Lead, "ENTITY_IS_DELETED", 0},
	} {
		episodes[row.fails] = episode{do: "create", answers: []says{row.answer}, asks: []string{salesforceUpsert}, fault: row.fault, fails: row.fails, wait: row.wait}
	}
	episodes["several matches"] = episode{do: "delete", ref: "$ID", answers: []says{{status: 300, body: `["/services/data/v63.0/sobjects/Lead/00Q5g","/services/data/v63.0/sobjects/Lead/00Q5h"]`}},
		asks: []string{salesforceDelete}, fault: connectors.Lead, fails: "several records have this external id"}
	salesforcePlays(t, salesforceSettings, nil, salesforceSends(t), episodes)

	// A session that is over is replaced, once.
	expired := whole(401, "INVALID_SESSION_ID", "Session expired or invalid")
	again := says{status: 200, body: strings.Replace(salesforceToken.body, "AQEAQ", "AQEAR", 1)}
	plays(t, "salesforce", salesforceSettings, nil, salesforceSends(t), map[string]episode{
		"a session that is over": {do: "create", answers: []says{salesforceToken, expired, again, salesforceDone},
			asks: []string{"POST /services/oauth2/token", salesforceUpsert, "POST /services/oauth2/token", salesforceUpsert}, is: "$ID"},
	})
}

func TestSalesforceABatchIsReadRecordByRecordInItsOrder(t *testing.T) {
	c := converse(t, "salesforce", salesforceSettings, nil, salesforceSends(t), salesforceToken, says{status: 200, body: `[{"id":"00Q1","success":true,"errors":[],"created":true},
		{"success":false,"errors":[{"statusCode":"REQUIRED_FIELD_MISSING","message":"Required fields are missing: [LastName]","fields":["LastName"]}]},
		{"success":false,"errors":[{"statusCode":"UNABLE_TO_LOCK_ROW","message":"unable to obtain exclusive access to this record","fields":[]}]},
		{"id":"00Q4","success":true,"errors":[],"created":false}]`})
	batcher := c.Connector.(connectors.Batcher)
	if most := batcher.MaxBatch(); most != 200 {
		t.Errorf("MaxBatch is %d", most)
	}
	results := batcher.PushBatch(context.Background(), hubspotPeople(4))
	for _, i := range []int{0, 3} {
		if results[i].Err != nil || results[i].Ref != connectortest.Sample(i+1).ID {
			t.Errorf("item %d: %+v", i, results[i])
		}
	}
	faulty(t, results[1].Err, connectors.Lead, "[LastName]")
	faulty(t, results[2].Err, connectors.Remote, "UNABLE_TO_LOCK_ROW")
}

// salesforceForm is the request for an access token.
func salesforceForm(t *testing.T, c *conversation) url.Values {
	t.Helper()
	if _, err := c.Push(context.Background(), connectortest.Created(connectortest.Sample(1)), ""); err != nil {
		t.Fatal(err)
	}
	requests := c.requests()
	if got := requests[1].header.Get("Authorization"); got != "Bearer 00D5g!AQEAQ" {
		t.Errorf("signed in by %q", got)
	}
	form, err := url.ParseQuery(requests[0].body)
	if err != nil {
		t.Fatal(err)
	}
	return form
}

func TestSalesforceSignsInByTheSettingsThatAreGiven(t *testing.T) {
	form := salesforceForm(t, converse(t, "salesforce", salesforceSettings, nil, nil, salesforceToken, salesforceDone))
	if form.Get("grant_type") != "client_credentials" || form.Get("client_id") != "3MVG9" || !strings.HasPrefix(form.Get("client_secret"), "s3cret-") || len(form) != 3 {
		t.Errorf("asked with %v", form)
	}

	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
	for domain, audience := range map[string]string{"acme": "https://login.salesforce.com", "acme--dev.sandbox": "https://test.salesforce.com"} {
		form := salesforceForm(t, converse(t, "salesforce", map[string]any{"my_domain": domain, "client_id": "3MVG9", "private_key": string(text), "username": "relay@acme.example", "external_id": "Lead_Id__c"},
			nil, nil, salesforceToken, salesforceDone))
		if form.Get("grant_type") != "urn:ietf:params:oauth:grant-type:jwt-bearer" {
			t.Errorf("asked with %v", form)
		}
		var claims struct {
			Iss, Sub, Aud string
			Iat, Exp      int64
		}
		payload, err := base64.RawURLEncoding.DecodeString(strings.Split(form.Get("assertion")+"..", ".")[1])
		if err == nil {
			err = json.NewDecoder(bytes.NewReader(payload)).Decode(&claims)
		}
		if err != nil || claims.Iss != "3MVG9" || claims.Sub != "relay@acme.example" || claims.Aud != audience || claims.Exp-claims.Iat > 200 {
			t.Errorf("%v: %s", err, payload)
		}
	}

	settings := maps.Clone(salesforceSettings)
	delete(settings, "client_secret")
	if _, err := recipe(t, "salesforce").Kind().Open(settings, connectors.Env{}); err == nil || err.Error() != "client_secret: required to sign in" {
		t.Errorf("with neither: %v", err)
	}
	refused := episode{do: "create", answers: []says{{status: 400, body: `{"error":"invalid_client_id","error_description":"client identifier invalid"}`}}, asks: []string{"POST /services/oauth2/token"},
		fault: connectors.Setup, fails: "salesforce: upsert: access token: 400 client identifier invalid"}
	refused.play(t, "salesforce", salesforceSettings, nil, salesforceSends(t))
}

func TestSalesforceDuplicatesThatARuleWarnsOfAreSavedWhereTheOperatorSaysSo(t *testing.T) {
	for allowed, want := range map[bool]string{false: "allowSave=false", true: "allowSave=true"} {
		settings := maps.Clone(salesforceSettings)
		settings["allow_duplicates"] = allowed
		c := converse(t, "salesforce", settings, nil, nil, salesforceToken, salesforceDone)
		if _, err := c.Push(context.Background(), connectortest.Created(connectortest.Sample(1)), ""); err != nil {
			t.Error(err)
		}
		if got := c.requests()[1].header.Get("Sforce-Duplicate-Rule-Header"); got != want {
			t.Errorf("sent %q, want %q", got, want)
		}
	}
}

func TestP6SalesforceTheReserveOfTheDayIsLeftToOtherApplications(t *testing.T) {
	for used, want := range map[string]time.Duration{
		"": 0, "api-usage=18/5000": 0, "api-usage=3499/5000": 0, "api-usage=3500/5000": 15 * time.Minute, "api-usage=5000/5000; per-app-api-usage=17/250(appName=x)": 15 * time.Minute, "soon": 0,
	} {
		answer := salesforceDone
		answer.header = map[string]string{"Sforce-Limit-Info": used}
		if got := held(t, converse(t, "salesforce", salesforceSettings, nil, nil, salesforceToken, answer)); got != want {
			t.Errorf("%s: held for %s, want %s", used, got, want)
		}
	}
	c := converse(t, "salesforce", salesforceSettings, nil, nil)
	if limits := c.Connector.(connectors.Limited).Limits(); limits.Concurrency != 5 || len(limits.Rates) != 1 || limits.Rates[0].Most != 70000 {
		t.Errorf("got %+v", limits)
	}
}
