package recipes

import (
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

var klaviyoSettings = map[string]any{"api_key": "pk_s3cret"}

// klaviyoDescription checks requests, but for those of lists, whose description there is not.
func klaviyoDescription(t *testing.T) func(*http.Request) error {
	described := connectortest.Describe(t, "klaviyo/create_or_update_profile.json", "klaviyo/update_profile.json", "klaviyo/get_profiles.json",
		"klaviyo/add_profiles_to_list.json", "klaviyo/request_profile_deletion.json").CheckRequest
	return func(r *http.Request) error {
		if r.Method == http.MethodGet && strings.HasPrefix(r.URL.Path, "/api/lists/") {
			return nil
		}
		return described(r)
	}
}

func TestKlaviyoConformance(t *testing.T) {
	conformance.Run(t, recipe(t, "klaviyo"), conformance.Options{Settings: map[string]any{"list_id": "Y6nRLr"}, Check: klaviyoDescription(t)})
}

const (
	klaviyoID     = "01GDDKASAP8TKDDA2GRZDSVP4H"
	klaviyoImport = `POST /api/profile-import {"data":{"type":"profile","attributes":{"email":"$EMAIL","external_id":"$ID",
		"first_name":"Zenobia","last_name":"Quillfeather1","organization":"$COMPANY"}}}`
	klaviyoPatch = `PATCH /api/profiles/` + klaviyoID + ` {"data":{"type":"profile","id":"` + klaviyoID + `","attributes":{"email":"$EMAIL","external_id":"$ID",
		"first_name":"Zenobia","last_name":"Quillfeather1","organization":"$COMPANY"}}}`
	klaviyoAdd    = `POST /api/lists/Y6nRLr/relationships/profiles {"data":[{"type":"profile","id":"` + klaviyoID + `"}]}`
	klaviyoFind   = `GET /api/profiles?fields%5Bprofile%5D=external_id&filter=equals%28external_id%2C%22$ID%22%29`
	klaviyoOwner  = `GET /api/profiles?fields%5Bprofile%5D=external_id&filter=equals%28id%2C%22` + klaviyoID + `%22%29`
	klaviyoDelete = `POST /api/data-privacy-deletion-jobs {"data":{"type":"data-privacy-deletion-job","attributes":{"profile":{"data":{"type":"profile","id":"` + klaviyoID + `","attributes":{}}}}}}`
	klaviyoTry    = `GET /api/profiles?fields%5Bprofile%5D=external_id&page%5Bsize%5D=1`
)

var klaviyoProfile = `{"data":{"type":"profile","id":"` + klaviyoID + `","attributes":{"email":"$EMAIL","external_id":"$ID"},"links":{"self":"https://a.klaviyo.com/api/profiles/` + klaviyoID + `"}}}`

// klaviyoOwned is a list with the profile, as it belongs to whom.
func klaviyoOwned(by string) says {
	return says{status: 200, body: `{"data":[{"type":"profile","id":"` + klaviyoID + `","attributes":{"external_id":` + by + `},"links":{"self":"x"}}],"links":{"self":"x"}}`}
}

var klaviyoNone = says{status: 200, body: `{"data":[],"links":{"self":"x"}}`}

// klaviyoRefuses is an error as https://developers.klaviyo.com/en/docs/rate_limits_and_error_handling shows it.
func klaviyoRefuses(status int, code, detail, pointer, meta string) says {
	number := map[int]string{400: "400", 401: "401", 403: "403", 404: "404", 409: "409", 429: "429"}[status]
	return says{status: status, body: `{"errors":[{"id":"bf03176f-c362-4731-8c90-3f5da9c30fc7","status":` + number + `,"code":"` + code + `","title":"Invalid input.","detail":"` + detail + `","source":{"pointer":"` + pointer + `"},"links":{},"meta":{` + meta + `}}]}`}
}

var (
	klaviyoGone = klaviyoRefuses(404, "not_found", "A profile with id "+klaviyoID+" does not exist.", "/data/id", "")
	// https://github.com/klaviyo/klaviyo-api-node/issues/75
	klaviyoDuplicate = klaviyoRefuses(409, "duplicate_profile", "A profile already exists with one of these identifiers.", "/data/attributes", `"duplicate_profile_id":"`+klaviyoID+`"`)
	klaviyoBadPhone  = klaviyoRefuses(400, "invalid", "Invalid phone number format (Example of a valid format: +12345678901)", "/data/attributes/phone_number", "")
)

func TestKlaviyoIsAskedAsItsDescriptionSays(t *testing.T) {
	created, updated := says{status: 201, body: klaviyoProfile}, says{status: 200, body: klaviyoProfile}
	plays(t, "klaviyo", klaviyoSettings, nil, klaviyoDescription(t), map[string]episode{
		"create": {do: "create", answers: []says{created}, asks: []string{klaviyoImport}, is: klaviyoID},
		"create of a profile that has the address already": {do: "create", answers: []says{updated}, asks: []string{klaviyoImport}, is: klaviyoID},
		"update": {do: "update", ref: klaviyoID, answers: []says{updated}, asks: []string{klaviyoPatch}, is: klaviyoID},
		"update of a profile that somebody deleted": {do: "update", ref: klaviyoID, answers: []says{klaviyoGone, created}, asks: []string{klaviyoPatch, klaviyoImport}, is: klaviyoID},
		"update that clears values": {do: "update", ref: klaviyoID, edit: func(l *lead.Lead) { l.Name, l.Custom = "", nil }, answers: []says{updated},
			asks: []string{`PATCH /api/profiles/` + klaviyoID + ` {"data":{"type":"profile","id":"` + klaviyoID + `","attributes":{"email":"$EMAIL","external_id":"$ID","first_name":null,"last_name":null,"organization":null}}}`}, is: klaviyoID},
		"delete":                 {do: "delete", ref: klaviyoID, answers: []says{klaviyoOwned(`"$ID"`), {status: 202}}, asks: []string{klaviyoOwner, klaviyoDelete}},
		"delete of what is gone": {do: "delete", ref: klaviyoID, answers: []says{klaviyoNone, klaviyoGone}, asks: []string{klaviyoOwner, klaviyoDelete}},
		"delete of a profile that another system gave its own id": {do: "delete", ref: klaviyoID, answers: []says{klaviyoOwned(`"shop-17"`), {status: 202}}, asks: []string{klaviyoOwner, klaviyoDelete}},
		"delete of a profile that has become another lead's":      {do: "delete", ref: klaviyoID, answers: []says{klaviyoOwned(`"lead_0000000000000000000002"`)}, asks: []string{klaviyoOwner}},
		"delete where the owner is not known":                     {do: "delete", ref: klaviyoID, answers: []says{{status: 500}}, asks: []string{klaviyoOwner}, fault: connectors.Remote, fails: "klaviyo: delete: look: 500"},
		"find":                                                    {do: "find", answers: []says{klaviyoOwned(`"$ID"`)}, asks: []string{klaviyoFind}, is: klaviyoID},
		"find of nobody":                                          {do: "find", answers: []says{klaviyoNone}, asks: []string{klaviyoFind}},
		"a create whose answer is lost":                           {do: "create", answers: []says{{}}, asks: []string{klaviyoImport}, fault: connectors.Unknown, fails: "klaviyo: upsert: no whole answer"},
		"check":                                                   {do: "check", answers: []says{klaviyoNone}, asks: []string{klaviyoTry}},
	})
}

func TestKlaviyoSignsInWithTheRevisionItWasWrittenFor(t *testing.T) {
	c := converse(t, "klaviyo", klaviyoSettings, nil, klaviyoDescription(t), says{status: 201, body: klaviyoProfile})
	if _, err := c.Push(t.Context(), connectortest.Created(connectortest.Sample(1)), ""); err != nil {
		t.Fatal(err)
	}
	header := c.requests()[0].header
	for name, want := range map[string]string{"Authorization": "Klaviyo-API-Key pk_s3cret", "Revision": "2026-07-15", "Content-Type": "application/vnd.api+json"} {
		if got := header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

// TestT11KlaviyoPutsInAListAndSubscribesNobody: every request is named, and none is the call that lifts suppressions.
func TestT11KlaviyoPutsInAListAndSubscribesNobody(t *testing.T) {
	listed := map[string]any{"api_key": "pk_s3cret", "list_id": "Y6nRLr"}
	created, updated, added := says{status: 201, body: klaviyoProfile}, says{status: 200, body: klaviyoProfile}, says{status: 204}
	noList := klaviyoRefuses(404, "not_found", "A list with id Y6nRLr does not exist.", "/data/id", "")
	plays(t, "klaviyo", listed, nil, klaviyoDescription(t), map[string]episode{
		"create": {do: "create", answers: []says{created, added}, asks: []string{klaviyoImport, klaviyoAdd}, is: klaviyoID},
		"update, and the first attempt after a lost answer": {do: "update", ref: klaviyoID, answers: []says{updated, added}, asks: []string{klaviyoPatch, klaviyoAdd}, is: klaviyoID},
		"the answer about the list is lost":                 {do: "create", answers: []says{created, {}}, asks: []string{klaviyoImport, klaviyoAdd}, fault: connectors.Unknown, fails: "klaviyo: upsert: no whole answer"},
		"there is no such list":                             {do: "update", ref: klaviyoID, answers: []says{updated, noList}, asks: []string{klaviyoPatch, klaviyoAdd}, fault: connectors.Setup, fails: "404 A list with id Y6nRLr does not exist."},
		"delete":                                            {do: "delete", ref: klaviyoID, answers: []says{klaviyoOwned(`"$ID"`), {status: 202}}, asks: []string{klaviyoOwner, klaviyoDelete}},
		"check":                                             {do: "check", answers: []says{klaviyoNone, {status: 200, body: `{"data":{"type":"list","id":"Y6nRLr"}}`}}, asks: []string{klaviyoTry, "GET /api/lists/Y6nRLr"}},
		"check of a list that is not there":                 {do: "check", answers: []says{klaviyoNone, noList}, asks: []string{klaviyoTry, "GET /api/lists/Y6nRLr"}, fault: connectors.Setup, fails: "A list with id"},
	})
}

// TestKlaviyoAdoptsTheProfileThatItMeansByADuplicate, and leaves out a telephone number that may be the reason before.
func TestKlaviyoAdoptsTheProfileThatItMeansByADuplicate(t *testing.T) {
	const (
		phone       = `{"email":"$EMAIL","external_id":"$ID","phone_number":"+44 20 7946 0001"}}}`
		none        = `{"email":"$EMAIL","external_id":"$ID"}}}`
		post        = `POST /api/profile-import {"data":{"type":"profile","attributes":`
		patch       = `PATCH /api/profiles/` + klaviyoID + ` {"data":{"type":"profile","id":"` + klaviyoID + `","attributes":`
		anotherLead = "another record has this lead's key: 409 A "
	)
	created, updated := says{status: 201, body: klaviyoProfile}, says{status: 200, body: klaviyoProfile}
	plays(t, "klaviyo", klaviyoSettings, nil, klaviyoDescription(t), map[string]episode{
		"create": {do: "create", answers: []says{klaviyoDuplicate, updated}, asks: []string{klaviyoImport, klaviyoPatch}, is: klaviyoID},
		"an update to the address of another profile": {do: "update", ref: klaviyoID, answers: []says{klaviyoDuplicate}, asks: []string{klaviyoPatch}, fault: connectors.Lead, fails: anotherLead},
	})
	plays(t, "klaviyo", klaviyoSettings, []connectors.FieldRule{{To: "phone_number", From: "phone"}}, klaviyoDescription(t), map[string]episode{
		"the number is another profile's":  {do: "create", answers: []says{klaviyoDuplicate, created}, asks: []string{post + phone, post + none}, is: klaviyoID, warns: "field=phone_number"},
		"the address is":                   {do: "create", answers: []says{klaviyoDuplicate, klaviyoDuplicate, updated}, asks: []string{post + phone, post + none, patch + none}, is: klaviyoID, warns: "field=phone_number"},
		"the number is none":               {do: "create", answers: []says{klaviyoBadPhone, created}, asks: []string{post + phone, post + none}, is: klaviyoID, warns: "Invalid phone number format"},
		"the number is none, of an update": {do: "update", ref: klaviyoID, answers: []says{klaviyoBadPhone, updated}, asks: []string{patch + phone, patch + none}, is: klaviyoID, warns: "field=phone_number"},
		"it was not the number, of an update": {do: "update", ref: klaviyoID, answers: []says{klaviyoDuplicate, klaviyoDuplicate}, asks: []string{patch + phone, patch + none},
			fault: connectors.Lead, fails: anotherLead, warns: "field=phone_number"},
	})
}

func TestKlaviyoWritesPropertiesAndPlaces(t *testing.T) {
	fields := []connectors.FieldRule{{To: "first_name", From: "first_name"}, {To: "properties.Budget", From: "budget"}, {To: "properties.Source", From: "source"}, {To: "location.city", From: "city"}}
	plays(t, "klaviyo", klaviyoSettings, fields, klaviyoDescription(t), map[string]episode{
		"create": {do: "create", answers: []says{{status: 201, body: klaviyoProfile}}, is: klaviyoID,
			asks: []string{`POST /api/profile-import {"data":{"type":"profile","attributes":{"email":"$EMAIL","external_id":"$ID","first_name":"Zenobia","properties":{"Budget":1500,"Source":"website"},"location":{"city":null}}}}`}},
		"a field that is not of profiles": {do: "create", answers: []says{klaviyoRefuses(400, "invalid", "'budget' is not a valid field for the resource 'profile'.", "/data/attributes/budget", "")},
			asks: []string{`POST /api/profile-import`}, fault: connectors.Setup, fails: "400 'budget' is not a valid field"},
	})
}

func TestT24KlaviyoErrorsAreWhoseTheyAre(t *testing.T) {
	one := func(answer says, fault connectors.Fault, fails string) episode {
		return episode{do: "update", ref: klaviyoID, answers: []says{answer}, asks: []string{klaviyoPatch}, fault: fault, fails: fails}
	}
	throttled := one(says{status: 429, header: map[string]string{"Retry-After": "17"}, body: `{"errors":[{"status":429,"code":"throttled","title":"Request was throttled.","detail":"Expected available in 17 seconds."}]}`}, connectors.Throttled, "429")
	throttled.wait = 17 * time.Second
	plays(t, "klaviyo", klaviyoSettings, nil, klaviyoDescription(t), map[string]episode{
		"a wrong key":                 one(klaviyoRefuses(401, "not_authenticated", "Missing or invalid private key.", "/data", ""), connectors.Setup, "401 Missing or invalid private key."),
		"a scope is missing":          one(klaviyoRefuses(403, "permission_denied", "You do not have permission to perform this action.", "/data", ""), connectors.Setup, "403 You do not have permission"),
		"an address that is none":     one(klaviyoRefuses(400, "invalid", "Invalid email address", "/data/attributes/email", ""), connectors.Lead, "400 Invalid email address"),
		"a 404 of no profile":         one(says{status: 404, body: `<html>no such page</html>`}, connectors.Setup, "404"),
		"too many requests":           throttled,
		"trouble of Klaviyo's":        one(says{status: 503}, connectors.Remote, "503"),
		"a success without a profile": one(says{status: 200, body: `{"data":null}`}, connectors.Unknown, "200"),
	})
	plays(t, "klaviyo", klaviyoSettings, nil, klaviyoDescription(t), map[string]episode{
		"a search that fails is no missing profile": {do: "find", answers: []says{{status: 404, body: `<html>`}}, asks: []string{klaviyoFind}, fault: connectors.Setup, fails: "klaviyo: find: 404"},
		"nor is one whose answer lists nothing":     {do: "find", answers: []says{{status: 200, body: `{}`}}, asks: []string{klaviyoFind}, fault: connectors.Unknown, fails: "klaviyo: find"},
	})
}

// TestKlaviyoCallsCostWhatTheirEndpointsAllow: the headers are about the minute, and are not there with a 429.
// https://developers.klaviyo.com/en/docs/rate_limits_and_error_handling
func TestKlaviyoCallsCostWhatTheirEndpointsAllow(t *testing.T) {
	for remaining, held := range map[string]bool{"650": false, "200": true} {
		headers := map[string]string{"RateLimit-Limit": "700, 75;w=1, 700;w=60", "RateLimit-Remaining": remaining, "RateLimit-Reset": "600"}
		c := converse(t, "klaviyo", map[string]any{"api_key": "k", "list_id": "Y6nRLr"}, nil, nil, says{201, klaviyoProfile, headers}, says{status: 204})
		host := &spending{}
		if _, err := c.Push(connectors.WithHost(t.Context(), host), connectortest.Created(connectortest.Sample(1)), ""); err != nil {
			t.Fatal(err)
		}
		if got := host.until.After(time.Now().Add(9 * time.Minute)); got != held {
			t.Errorf("%s of 700 left: held until %v", remaining, host.until)
		}
		if !slices.Equal(host.costs, []int{1, 5}) {
			t.Errorf("spent %v", host.costs)
		}
	}
}
