package recipes

import (
	"strings"
	"testing"
	"time"

	"github.com/leadrelay/leadrelay/connectors"
	"github.com/leadrelay/leadrelay/connectors/connectortest"
	"github.com/leadrelay/leadrelay/connectors/rest/conformance"
	"github.com/leadrelay/leadrelay/internal/lead"
)

const activecampaignSpec = "activecampaign/contacts-v3.json"

var activecampaignSettings = map[string]any{"api_token": "t0ken-s3cret", "id_field": 7}

func TestActiveCampaignConformance(t *testing.T) {
	fields := append(recipe(t, "activecampaign").Fields, connectors.FieldRule{To: "field.9", From: "company"}, connectors.FieldRule{To: "field.12", From: "note"})
	conformance.Run(t, recipe(t, "activecampaign"), conformance.Options{
		Settings: map[string]any{"list_id": 2}, Fields: fields, Check: connectortest.Describe(t, activecampaignSpec).CheckRequest,
	})
}

const (
	activecampaignContact = `{"contact":{"email":"$EMAIL","firstName":"Zenobia","lastName":"Quillfeather1","phone":"+44 20 7946 0001","fieldValues":[{"field":"7","value":"$ID"}]}}`
	activecampaignSync    = `POST /api/3/contact/sync ` + activecampaignContact
	activecampaignPut     = `PUT /api/3/contacts/113 ` + activecampaignContact
	activecampaignOwner   = `GET /api/3/contacts/113/fieldValues?limit=100`
	activecampaignDelete  = `DELETE /api/3/contacts/113`
	activecampaignFind    = `GET /api/3/fieldValues?filters%5Bfieldid%5D=7&filters%5Bval%5D=$ID`
	activecampaignLists   = `GET /api/3/contacts/113/contactLists?limit=100`
	activecampaignJoin    = `POST /api/3/contactLists {"contactList":{"list":"2","contact":"113","status":"1"}}`
	activecampaignFields  = `GET /api/3/fields?limit=100`
)

var (
	activecampaignKept = `{"fieldValues":[{"contact":"113","field":"7","value":"$ID","id":"11797","owner":"113"}],
		"contact":{"email":"$EMAIL","firstName":"Zenobia","lastName":"Quillfeather1","phone":"+44 20 7946 0001","id":"113","fieldValues":["11797"]}}`
	activecampaignCreated = says{status: 201, body: activecampaignKept}
	activecampaignUpdated = says{status: 200, body: activecampaignKept}
	activecampaignGone    = says{status: 404, body: `{"message":"No Result found for Subscriber with id 113"}`}
)

func activecampaignOwned(by string) says {
	return says{status: 200, body: `{"fieldValues":[{"contact":"113","field":"3","value":"lead_0000000000000000000003","id":"1"},{"contact":"113","field":"7","value":"` + by + `","id":"2"}]}`}
}

func TestActiveCampaignIsAskedAsItsDescriptionSays(t *testing.T) {
	plays(t, "activecampaign", activecampaignSettings, nil, connectortest.Describe(t, activecampaignSpec).CheckRequest, map[string]episode{
		"create": {do: "create", answers: []says{activecampaignCreated}, asks: []string{activecampaignSync}, is: "113"},
		"create of a contact that has the address already": {do: "create", answers: []says{activecampaignUpdated}, asks: []string{activecampaignSync}, is: "113"},
		"update": {do: "update", ref: "113", answers: []says{activecampaignUpdated}, asks: []string{activecampaignPut}, is: "113"},
		"update of a contact that somebody deleted": {do: "update", ref: "113", answers: []says{activecampaignGone, activecampaignCreated}, asks: []string{activecampaignPut, activecampaignSync}, is: "113"},
		"update that clears values": {do: "update", ref: "113", edit: func(l *lead.Lead) { l.Name, l.Custom = "", nil }, answers: []says{activecampaignUpdated},
			asks: []string{`PUT /api/3/contacts/113 {"contact":{"email":"$EMAIL","firstName":"","lastName":"","phone":"","fieldValues":[{"field":"7","value":"$ID"}]}}`}, is: "113"},
		"delete": {do: "delete", ref: "113", answers: []says{activecampaignOwned("$ID"), {status: 200, body: `{}`}}, asks: []string{activecampaignOwner, activecampaignDelete}},
		"delete of what is gone": {do: "delete", ref: "113", answers: []says{activecampaignGone, {status: 404, body: `{"message":"No result found for contact with id 113"}`}},
			asks: []string{activecampaignOwner, activecampaignDelete}},
		"delete of a contact that has become another lead's": {do: "delete", ref: "113", answers: []says{activecampaignOwned("lead_0000000000000000000002")}, asks: []string{activecampaignOwner}},
		"delete whose answer is another's": {do: "delete", ref: "113", answers: []says{activecampaignOwned("$ID"), {status: 200, body: `{}`, header: map[string]string{"Content-Type": "text/html"}}},
			asks: []string{activecampaignOwner, activecampaignDelete}, fault: connectors.Unknown, fails: "activecampaign: delete: 200"},
		"find":           {do: "find", answers: []says{activecampaignOwned("$ID")}, asks: []string{activecampaignFind}, is: "113"},
		"find of nobody": {do: "find", answers: []says{{status: 200, body: `{"fieldValues":[],"meta":{"total":"0"}}`}}, asks: []string{activecampaignFind}},
		// As if the filter did not count: a contact that is not the lead's is not taken for it.
		"find of another":               {do: "find", answers: []says{activecampaignOwned("lead_0000000000000000000002")}, asks: []string{activecampaignFind}},
		"a create whose answer is lost": {do: "create", answers: []says{{}}, asks: []string{activecampaignSync}, fault: connectors.Unknown, fails: "activecampaign: upsert: no whole answer"},
		"check": {do: "check", answers: []says{{status: 200, body: `{"fields":[{"id":"7"}],"meta":{"total":"1"}}`}, {status: 200, body: `{"field":{"id":"7"}}`}},
			asks: []string{activecampaignFields, "GET /api/3/fields/7"}},
		"check of more fields than are listed": {do: "check", answers: []says{{status: 200, body: `{"fields":[],"meta":{"total":"101"}}`}, {status: 200, body: `{"fields":[],"meta":{"total":"101"}}`}, {status: 200, body: `{"field":{"id":"7"}}`}},
			asks: []string{activecampaignFields, "GET /api/3/fields?limit=100&offset=100", "GET /api/3/fields/7"}},
		"check of a field for the id that is not there": {do: "check", answers: []says{{status: 200, body: `{"fields":[{"id":"1"}],"meta":{"total":"1"}}`}, {status: 404, body: `{"message":"No Result found for Field with id 7"}`}},
			asks: []string{activecampaignFields, "GET /api/3/fields/7"}, fault: connectors.Setup, fails: "404 No Result found for Field with id 7"},
	})
}

// TestActiveCampaignSubscribesOnlyWhoNeverWasInTheList: a status, of whatever kind, stays.
func TestActiveCampaignSubscribesOnlyWhoNeverWasInTheList(t *testing.T) {
	settings := map[string]any{"api_token": "t0ken-s3cret", "id_field": 7, "list_id": 2}
	lists := func(entries string) says { return says{status: 200, body: `{"contactLists":[` + entries + `]}`} }
	joined := says{status: 200, body: `{"contacts":[],"contactList":{"contact":"113","list":"2","status":1,"id":"2"}}`}
	plays(t, "activecampaign", settings, nil, connectortest.Describe(t, activecampaignSpec).CheckRequest, map[string]episode{
		"who is in no list":     {do: "create", answers: []says{activecampaignCreated, lists(``), joined}, asks: []string{activecampaignSync, activecampaignLists, activecampaignJoin}, is: "113"},
		"who is in another":     {do: "create", answers: []says{activecampaignCreated, lists(`{"list":"1","status":"1","id":"8"}`), joined}, asks: []string{activecampaignSync, activecampaignLists, activecampaignJoin}, is: "113"},
		"who left":              {do: "create", answers: []says{activecampaignUpdated, lists(`{"list":2,"status":2,"id":9}`)}, asks: []string{activecampaignSync, activecampaignLists}, is: "113"},
		"who is in it":          {do: "update", ref: "113", answers: []says{activecampaignUpdated, lists(`{"list":"2","status":"1","id":"9"}`)}, asks: []string{activecampaignPut, activecampaignLists}, is: "113"},
		"after a lost answer":   {do: "update", ref: "113", answers: []says{activecampaignUpdated, lists(``), joined}, asks: []string{activecampaignPut, activecampaignLists, activecampaignJoin}, is: "113"},
		"the list is not told":  {do: "create", answers: []says{activecampaignCreated, {status: 200, body: `{}`}}, asks: []string{activecampaignSync, activecampaignLists}, fault: connectors.Unknown, fails: "activecampaign: upsert: look: 200"},
		"the list is not there": {do: "create", answers: []says{activecampaignCreated, lists(``), {status: 404, body: `{"message":"No Result found for _List with id 2"}`}}, asks: []string{activecampaignSync, activecampaignLists, activecampaignJoin}, fault: connectors.Setup, fails: "404 No Result found for _List"},
		"check of the list":     {do: "check", answers: []says{{status: 200, body: `{"fields":[],"meta":{"total":"0"}}`}, {status: 200, body: `{"field":{"id":"7"}}`}, {status: 200, body: `{"list":{"id":"2"}}`}}, asks: []string{activecampaignFields, "GET /api/3/fields/7", "GET /api/3/lists/2"}},
		"check without a right": {do: "check", answers: []says{{status: 200, body: `{"fields":[],"meta":{"total":"0"}}`}, {status: 200, body: `{"field":{"id":"7"}}`}, {status: 403, body: `{"errors":[{"status":403,"title":"Forbidden","detail":"You do not have permission to view lists."}]}`}},
			asks: []string{activecampaignFields, "GET /api/3/fields/7", "GET /api/3/lists/2"}, fault: connectors.Setup, fails: "403 You do not have permission to view lists."},
	})
}

func TestT25ActiveCampaignNamesFieldsThatItDrops(t *testing.T) {
	fields := []connectors.FieldRule{{To: "firstName", From: "first_name"}, {To: "field.12", From: "company"}, {To: "field.9", Value: []any{"red", "blue"}}, {To: "field.10", From: "budget"}, {To: "field.11", From: "newsletter"}}
	const asked = `POST /api/3/contact/sync {"contact":{"email":"$EMAIL","firstName":"Zenobia","fieldValues":[{"field":"7","value":"$ID"},
		{"field":"10","value":"1500"},{"field":"11","value":"true"},{"field":"12","value":"$COMPANY"},{"field":"9","value":"||red||blue||"}]}}`
	kept := func(values string) says {
		return says{status: 201, body: `{"fieldValues":[{"field":"7","value":"$ID"},{"field":"9","value":"||red||blue||"},{"field":"10","value":"1500"},{"field":"11","value":"true"}` + values + `],"contact":{"id":"113","firstName":"Zenobia"}}`}
	}
	plays(t, "activecampaign", activecampaignSettings, fields, connectortest.Describe(t, activecampaignSpec).CheckRequest, map[string]episode{
		"all are kept":   {do: "create", answers: []says{kept(`,{"field":"12","value":"Q"}`)}, asks: []string{asked}, is: "113"},
		"one is dropped": {do: "create", answers: []says{kept(``)}, asks: []string{asked}, is: "113", warns: "field=field.12"},
		"one is not there": {do: "check", answers: []says{{status: 200, body: `{"fields":[{"id":"7"},{"id":"9"},{"id":"10"},{"id":"11"}],"meta":{"total":"4"}}`}}, asks: []string{activecampaignFields},
			fault: connectors.Setup, fails: "there is no field field.12"},
	})
}

func TestT24ActiveCampaignErrorsAreWhoseTheyAre(t *testing.T) {
	one := func(answer says, fault connectors.Fault, fails string) episode {
		return episode{do: "update", ref: "113", answers: []says{answer}, asks: []string{activecampaignPut}, fault: fault, fails: fails}
	}
	throttled := one(says{status: 429, header: map[string]string{"Retry-After": "1"}}, connectors.Throttled, "429")
	throttled.wait = time.Second
	plays(t, "activecampaign", activecampaignSettings, nil, connectortest.Describe(t, activecampaignSpec).CheckRequest, map[string]episode{
		"a wrong key":            one(says{status: 403, body: `{"message":"Forbidden"}`}, connectors.Setup, "403 Forbidden"),
		"an account that lapsed": one(says{status: 402}, connectors.Setup, "402"),
		"an address of another contact": one(says{status: 422, body: `{"errors":[{"title":"Email address already exists in the system","detail":"","code":"duplicate","source":{"pointer":"/data/attributes/email"}}]}`},
			connectors.Lead, "422 Email address already exists in the system"),
		"an address that is none": one(says{status: 422, body: `{"errors":[{"title":"Contact Email Address is not valid.","detail":"","code":"email_invalid","source":{"pointer":"/data/attributes/email"}}]}`},
			connectors.Lead, "422 Contact Email Address is not valid."),
		"a field that is not there":      one(says{status: 422, body: `{"errors":[{"title":"Field id not valid"}]}`}, connectors.Setup, "422 Field id not valid"),
		"another 404":                    one(says{status: 404, body: `<html>No such account</html>`}, connectors.Setup, "404"),
		"too many requests":              throttled,
		"trouble of ActiveCampaign's":    one(says{status: 502}, connectors.Remote, "502"),
		"a success without a contact":    one(says{status: 200, body: `{"result_code":0}`}, connectors.Unknown, "200"),
		"a search that lists nothing":    {do: "find", answers: []says{{status: 200, body: `{"message":"busy"}`}}, asks: []string{activecampaignFind}, fault: connectors.Unknown, fails: "activecampaign: find"},
		"a search that does not sign in": {do: "find", answers: []says{{status: 403}}, asks: []string{activecampaignFind}, fault: connectors.Setup, fails: "activecampaign: find: 403"},
	})
}

func TestActiveCampaignSettings(t *testing.T) {
	_, err := recipe(t, "activecampaign").Kind().Open(map[string]any{"list_id": "Leads"}, connectors.Env{})
	for _, want := range []string{"api_token: required", "id_field: required", "base_url: required", "list_id: must be a whole number"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}
