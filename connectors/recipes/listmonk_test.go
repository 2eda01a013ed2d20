package recipes

import (
	"crypto/md5"
	"encoding/hex"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"strings"
	"testing"

	"github.com/leadrelay/leadrelay/connectors"
	"github.com/leadrelay/leadrelay/connectors/connectortest"
	"github.com/leadrelay/leadrelay/connectors/rest/conformance"
	"github.com/leadrelay/leadrelay/internal/lead"
)

var listmonkSettings = map[string]any{"api_user": "relay", "api_token": "t0ken-s3cret", "lists": []any{3, 4}}

// listmonkDescription checks requests, but for two: PATCH is not described, and of PUT /subscribers/lists the
// description says that target_list_ids is one number and has items. per_page, a number or "all", is more than the
// checker can read.
func listmonkDescription(t *testing.T) func(*http.Request) error {
	described := connectortest.Describe(t, "listmonk/collections.yaml").CheckRequest
	return func(r *http.Request) error {
		if r.Method == http.MethodPatch || r.Method == http.MethodPut && r.URL.Path == "/api/subscribers/lists" {
			return nil
		}
		r = r.Clone(r.Context())
		query := r.URL.Query()
		query.Del("per_page")
		r.URL.RawQuery = query.Encode()
		return described(r)
	}
}

// listmonk never has a subscriber without a name, so the name that a lead may lack is an attribute here.
func TestListmonkConformance(t *testing.T) {
	conformance.Run(t, recipe(t, "listmonk"), conformance.Options{
		Settings: map[string]any{"lists": []any{3, 4}},
		Fields:   []connectors.FieldRule{{To: "attribs.full_name", From: "name"}, {To: "attribs.company", From: "company"}, {To: "attribs.note", From: "note"}},
		Check:    listmonkDescription(t),
	})
}

const (
	listmonkAttribs = `{"company":"$COMPANY","phone":"+44 20 7946 0001","source":"website","lead_id":"$ID"}`
	listmonkCreate  = `POST /api/subscribers {"email":"$EMAIL","name":"Zenobia Quillfeather1","status":"enabled","lists":[3,4],
		"preconfirm_subscriptions":false,"attribs":` + listmonkAttribs + `}`
	listmonkPatch = `PATCH /api/subscribers/7 {"email":"$EMAIL","name":"Zenobia Quillfeather1","preconfirm_subscriptions":true,"attribs":` + listmonkAttribs + `}`
	listmonkRead  = `GET /api/subscribers/7`
	listmonkDel   = `DELETE /api/subscribers/7`
	listmonkFind  = `GET /api/subscribers?per_page=1&query=subscribers.attribs-%3E%3E%27lead_id%27+%3D+%27$ID%27`
	listmonkLists = `GET /api/lists?minimal=true&per_page=all`
	listmonkTry   = `GET /api/subscribers?per_page=1&query=subscribers.attribs-%3E%3E%27lead_id%27+%3D+%27%27`
)

var listmonkLookup = func() string {
	sum := md5.Sum([]byte(strings.ToLower(connectortest.Sample(1).Email)))
	return `GET /api/subscribers?per_page=1&query=md5%28lower%28subscribers.email%29%29+%3D+%27` + hex.EncodeToString(sum[:]) + `%27`
}()

// listmonkHas is subscriber 7 as listmonk 6.2 writes one, with the status in list 3 and in list 4.
func listmonkHas(attribs, three, four string) says {
	list := func(id, status string) string {
		return `{"subscription_status":"` + status + `","subscription_meta":{},"id":` + id + `,"uuid":"075c53d6-6da7-4da7-b42c-7b09e72515bc","name":"Default list","type":"private","optin":"single","status":"active","tags":["test"],"description":""}`
	}
	var lists []string
	if three != "" {
		lists = append(lists, list("3", three))
	}
	if four != "" {
		lists = append(lists, list("4", four))
	}
	return says{status: 200, body: `{"data":{"id":7,"created_at":"2026-11-25T21:36:44.179077Z","updated_at":"2026-11-25T21:37:22.976607Z","uuid":"254f3732-3488-4cd4-9baa-13144c780380",
		"email":"$EMAIL","name":"Zenobia Quillfeather1","attribs":` + attribs + `,"status":"enabled","lists":[` + strings.Join(lists, ",") + `]}}`}
}

var (
	listmonkKept   = listmonkHas(listmonkAttribs, "unconfirmed", "unconfirmed")
	listmonkOld    = listmonkHas(`{"company":"Former Ltd","tier":"gold","lead_id":"$ID"}`, "confirmed", "unconfirmed")
	listmonkTrue   = says{status: 200, body: `{"data":true}`}
	listmonkNone   = says{status: 200, body: `{"data":{"results":[],"search":"","query":"","total":0,"per_page":1,"page":1}}`}
	listmonkFound  = says{status: 200, body: `{"data":{"results":[{"id":7,"email":"$EMAIL","attribs":{}}],"total":1,"per_page":1,"page":1}}`}
	listmonkGone   = says{status: 400, body: `{"message":"Subscriber (7: ) not found"}`}
	listmonkNoPath = says{status: 404, body: `{"message":"404 unknown endpoint"}`}
	listmonkExists = says{status: 409, body: `{"message":"E-mail already exists."}`}
	listmonkTheirs = says{status: 200, body: `{"data":{"results":[{"id":3,"name":"Newsletter"},{"id":4,"name":"Courses"},{"id":5,"name":"Other"}],"query":"","total":3,"per_page":3,"page":1}}`}
)

func TestListmonkIsAskedAsItsDescriptionSays(t *testing.T) {
	plays(t, "listmonk", listmonkSettings, nil, listmonkDescription(t), map[string]episode{
		"create": {do: "create", answers: []says{listmonkKept}, asks: []string{listmonkCreate}, is: "7"},
		"update": {do: "update", ref: "7", answers: []says{listmonkKept, listmonkKept}, asks: []string{listmonkPatch, listmonkRead}, is: "7"},
		"update of a subscriber that somebody deleted": {do: "update", ref: "7", answers: []says{listmonkGone, listmonkGone, listmonkKept}, asks: []string{listmonkPatch, listmonkRead, listmonkCreate}, is: "7"},
		"update that clears values": {do: "update", ref: "7", edit: func(l *lead.Lead) { l.Name, l.Custom = "", nil },
			answers: []says{listmonkKept, {status: 200, body: `{"data":{"id":7,"email":"$EMAIL","name":"zenobia.quillfeather1","attribs":{"company":null,"phone":null,"source":"website","lead_id":"$ID"},"lists":[]}}`}},
			asks:    []string{`PATCH /api/subscribers/7 {"email":"$EMAIL","name":"zenobia.quillfeather1","preconfirm_subscriptions":true,"attribs":{"company":null,"phone":null,"source":"website","lead_id":"$ID"}}`, listmonkRead}, is: "7"},
		"delete":                           {do: "delete", ref: "7", answers: []says{listmonkKept, listmonkTrue}, asks: []string{listmonkRead, listmonkDel}},
		"delete of another lead's":         {do: "delete", ref: "7", answers: []says{listmonkHas(`{"lead_id":"lead_of_another"}`, "", "")}, asks: []string{listmonkRead}},
		"delete where the owner is lost":   {do: "delete", ref: "7", answers: []says{{status: 500}}, asks: []string{listmonkRead}, fault: connectors.Remote, fails: "listmonk: delete: look: 500"},
		"find":                             {do: "find", answers: []says{listmonkFound}, asks: []string{listmonkFind}, is: "7"},
		"find of nobody":                   {do: "find", answers: []says{listmonkNone}, asks: []string{listmonkFind}},
		"a create whose answer is lost":    {do: "create", answers: []says{{}}, asks: []string{listmonkCreate}, fault: connectors.Unknown, fails: "listmonk: create: no whole answer"},
		"check":                            {do: "check", answers: []says{listmonkTheirs, listmonkNone}, asks: []string{listmonkLists, listmonkTry}},
		"check of a list that is not":      {do: "check", answers: []says{{status: 200, body: `{"data":{"results":[{"id":3}]}}`}}, asks: []string{listmonkLists}, fault: connectors.Setup, fails: "the list 4 is not there, or not for this user"},
		"check of who may not search":      {do: "check", answers: []says{listmonkTheirs, {status: 403, body: `{"message":"Permission denied: subscribers:sql_query"}`}}, asks: []string{listmonkLists, listmonkTry}, fault: connectors.Setup, fails: "403 Permission denied"},
		"an address that is none":          {do: "create", answers: []says{{status: 400, body: `{"message":"Invalid email."}`}}, asks: []string{listmonkCreate}, fault: connectors.Lead, fails: "400 Invalid email."},
		"an answer that is not listmonk's": {do: "create", answers: []says{{status: 200, body: `<html></html>`}}, asks: []string{listmonkCreate}, fault: connectors.Unknown, fails: "does not say that it was done"},
		"a base_url that leads elsewhere":  {do: "update", ref: "7", answers: []says{listmonkNoPath, listmonkNoPath, listmonkNoPath}, asks: []string{listmonkPatch, listmonkRead, listmonkCreate}, fault: connectors.Setup, fails: "404 404 unknown endpoint"},
	})
}

func TestListmonkSignsInAndSubscribesAsItIsTold(t *testing.T) {
	settings := map[string]any{"api_user": "relay", "api_token": "t0ken-s3cret", "preconfirm": true, "status": "blocklisted"}
	c := converse(t, "listmonk", settings, []connectors.FieldRule{{To: "attribs.budget", From: "budget"}}, listmonkDescription(t), says{status: 200, body: `{"data":{"id":7,"attribs":{"budget":1500}}}`})
	l := connectortest.Sample(1)
	if _, err := c.Push(t.Context(), connectortest.Created(l), ""); err != nil {
		t.Fatal(err)
	}
	request := c.requests()[0]
	sent(t, request, "POST /api/subscribers", `{"email":"`+l.Email+`","status":"blocklisted","lists":[],"preconfirm_subscriptions":true,"attribs":{"budget":1500,"lead_id":"`+l.ID+`"}}`)
	if got := request.header.Get("Authorization"); got != "token relay:t0ken-s3cret" {
		t.Errorf("signed in with %q", got)
	}
}

// TestT19ListmonkAdoptsWhoIsThere: the subscriber whom the address is taken by gets the lead, and is put in the lists that
// it neither is in nor has left.
func TestT19ListmonkAdoptsWhoIsThere(t *testing.T) {
	add := func(status string) string {
		return `PUT /api/subscribers/lists {"ids":[7],"action":"add","status":"` + status + `","target_list_ids":[4]}`
	}
	still := `PUT /api/subscribers/lists {"ids":[7],"action":"add","status":"unsubscribed","target_list_ids":[3]}`
	adopt := []string{listmonkCreate, listmonkLookup, listmonkPatch, listmonkRead}
	plays(t, "listmonk", listmonkSettings, nil, listmonkDescription(t), map[string]episode{
		"of one list": {do: "create", answers: []says{listmonkExists, listmonkFound, listmonkKept, listmonkHas(listmonkAttribs, "confirmed", ""), listmonkTrue}, asks: append(adopt[:4:4], add("unconfirmed")), is: "7"},
		"of both":     {do: "create", answers: []says{listmonkExists, listmonkFound, listmonkKept, listmonkKept}, asks: adopt, is: "7"},
		"who left one list": {do: "create", answers: []says{listmonkExists, listmonkFound, listmonkKept, listmonkHas(listmonkAttribs, "unsubscribed", ""), listmonkTrue, listmonkTrue},
			asks: append(adopt[:4:4], still, add("unconfirmed")), is: "7"},
		"an update puts nobody in a list": {do: "update", ref: "7", answers: []says{listmonkKept, listmonkHas(listmonkAttribs, "confirmed", "")}, asks: adopt[2:], is: "7"},
		"a failed search is no missing record": {do: "create", answers: []says{listmonkExists, {status: 400, body: `{"message":"Error preparing subscriber query: pq: syntax error"}`}}, asks: adopt[:2],
			fault: connectors.Lead, fails: "Error preparing subscriber query"},
		"who is not seen": {do: "create", answers: []says{listmonkExists, listmonkNone}, asks: adopt[:2], fault: connectors.Remote, fails: "does not find it yet: 409 E-mail already exists."},
		"an update to the address of another": {do: "update", ref: "7", asks: adopt[2:3], fault: connectors.Lead, fails: "500 another subscriber has this address",
			answers: []says{{status: 500, body: `{"message":"Error updating Subscriber: pq: duplicate key value violates unique constraint \"subscribers_email_key\". Key (email)=($EMAIL) already exists."}`}}},
	})
	preconfirmed := map[string]any{"api_user": "relay", "api_token": "t0ken-s3cret", "lists": []any{"4"}, "preconfirm": true}
	plays(t, "listmonk", preconfirmed, nil, nil, map[string]episode{
		"whose consent the form got": {do: "create", answers: []says{listmonkExists, listmonkFound, listmonkKept, listmonkHas(listmonkAttribs, "confirmed", ""), listmonkTrue}, is: "7",
			asks: []string{strings.NewReplacer("[3,4]", "[4]", "false", "true").Replace(listmonkCreate), adopt[1], adopt[2], adopt[3], add("confirmed")}},
	})
}

// TestT22ListmonkBefore61IsWrittenWhole: PUT takes away what it does not name, and before 5.0.3 it subscribes again whom it
// names the list of.
func TestT22ListmonkBefore61IsWrittenWhole(t *testing.T) {
	put := func(lists string) string {
		return `PUT /api/subscribers/7 {"email":"$EMAIL","name":"Zenobia Quillfeather1","status":"enabled","lists":` + lists + `,
			"attribs":{"company":"$COMPANY","phone":"+44 20 7946 0001","source":"website","tier":"gold","lead_id":"$ID"}}`
	}
	plays(t, "listmonk", listmonkSettings, nil, listmonkDescription(t), map[string]episode{
		"attributes and lists stay": {do: "update", ref: "7", answers: []says{listmonkNoPath, listmonkOld, listmonkKept}, asks: []string{listmonkPatch, listmonkRead, put("[3,4]")}, is: "7"},
		"who left a list stays out": {do: "update", ref: "7", answers: []says{listmonkNoPath, listmonkHas(`{"tier":"gold"}`, "confirmed", "unsubscribed"), listmonkKept, listmonkTrue}, is: "7",
			asks: []string{listmonkPatch, listmonkRead, put("[3]"), `PUT /api/subscribers/lists {"ids":[7],"action":"add","status":"unsubscribed","target_list_ids":[4]}`}},
		"the name alone changed": {do: "update", ref: "7", edit: func(l *lead.Lead) { l.Name = "Zoe" }, answers: []says{listmonkNoPath, listmonkKept, listmonkKept}, is: "7",
			asks: []string{strings.ReplaceAll(listmonkPatch, "Zenobia Quillfeather1", "Zoe"), listmonkRead,
				`PUT /api/subscribers/7 {"email":"$EMAIL","name":"Zoe","status":"enabled","lists":[3,4],"attribs":` + listmonkAttribs + `}`}},
		"nothing changed":               {do: "update", ref: "7", answers: []says{listmonkNoPath, listmonkKept}, asks: []string{listmonkPatch, listmonkRead}, is: "7"},
		"a subscriber somebody deleted": {do: "update", ref: "7", answers: []says{listmonkNoPath, listmonkGone, listmonkKept}, asks: []string{listmonkPatch, listmonkRead, listmonkCreate}, is: "7"},
		"the answer about it is lost":   {do: "update", ref: "7", answers: []says{listmonkNoPath, listmonkOld, {}}, asks: []string{listmonkPatch, listmonkRead, put("[3,4]")}, fault: connectors.Unknown, fails: "listmonk: update: no whole answer"},
	})
}

// TestT24ListmonkSaysMissingAndForbiddenInItsOwnWay: a missing record is 400, in the installation's language; a bad
// credential is 403.
func TestT24ListmonkSaysMissingAndForbiddenInItsOwnWay(t *testing.T) {
	german := says{status: 400, body: `{"message":"Abonnent (7: ) nicht gefunden"}`}
	refused := says{status: 403, body: `{"message":"invalid API credentials"}`}
	plays(t, "listmonk", listmonkSettings, nil, listmonkDescription(t), map[string]episode{
		"update of what is gone":        {do: "update", ref: "7", answers: []says{german, german, listmonkKept}, asks: []string{listmonkPatch, listmonkRead, listmonkCreate}, is: "7"},
		"delete of what is gone":        {do: "delete", ref: "7", answers: []says{german, listmonkTrue}, asks: []string{listmonkRead, listmonkDel}},
		"another's number is not meant": {do: "update", ref: "7", answers: []says{{status: 400, body: `{"message":"Abonnent (71: ) nicht gefunden"}`}}, asks: []string{listmonkPatch}, fault: connectors.Lead, fails: "400 Abonnent"},
		"a bad credential":              {do: "create", answers: []says{refused}, asks: []string{listmonkCreate}, fault: connectors.Setup, fails: "403 invalid API credentials"},
		"a bad credential, of a delete": {do: "delete", ref: "7", answers: []says{refused}, asks: []string{listmonkRead}, fault: connectors.Setup, fails: "403 invalid API credentials"},
		"a bad credential, of check":    {do: "check", answers: []says{refused}, asks: []string{listmonkLists}, fault: connectors.Setup, fails: "403 invalid API credentials"},
	})
}

func TestT25ListmonkDropsWhatIsNoAttribute(t *testing.T) {
	fields := []connectors.FieldRule{{To: "company", From: "company"}}
	plays(t, "listmonk", listmonkSettings, fields, listmonkDescription(t), map[string]episode{
		"create": {do: "create", answers: []says{listmonkKept}, asks: []string{`POST /api/subscribers`}, is: "7", warns: "field=company"},
	})
}

func TestListmonkRefusesSettings(t *testing.T) {
	refusesSettings(t, "listmonk", listmonkSettings, map[string]map[string]any{
		"base_url: required":      {"base_url": ""},
		"api_user: required":      {"api_user": ""},
		"api_token: required":     {"api_token": ""},
		"status: must be enabled": {"status": "asleep"},
	})
}

// refusesSettings opens a recipe with good settings, and with some of them changed so that the error begins with the key
// of the map.
func refusesSettings(t *testing.T, name string, good map[string]any, bad map[string]map[string]any) {
	t.Helper()
	open := func(changed map[string]any) error {
		settings := map[string]any{"base_url": "https://vendor.example"}
		maps.Copy(settings, good)
		maps.Copy(settings, changed)
		c, err := recipe(t, name).Kind().Open(settings, connectors.Env{Log: slog.New(slog.DiscardHandler)})
		if err == nil {
			c.(io.Closer).Close()
		}
		return err
	}
	if err := open(nil); err != nil {
		t.Errorf("good settings are refused: %v", err)
	}
	for want, changed := range bad {
		if err := open(changed); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%v: got %v, want %s", changed, err, want)
		}
	}
}
