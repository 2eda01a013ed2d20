package recipes

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/leadrelay/leadrelay/connectors"
	"github.com/leadrelay/leadrelay/connectors/connectortest"
	"github.com/leadrelay/leadrelay/connectors/rest/conformance"
	"github.com/leadrelay/leadrelay/internal/lead"
)

// episode is one push of a lead, or one check or search, and what it asks of the vendor. In its texts $ID, $EMAIL and
// $COMPANY are the lead's.
type episode struct {
	do      string // create, update, delete, check or find
	ref     string // of the record before
	edit    func(*lead.Lead)
	answers []says
	asks    []string // METHOD /uri and, where it matters, the JSON body
	is      string   // the ref afterwards, or what Find found
	fault   connectors.Fault
	fails   string // what the error says; "": it succeeds
	wait    time.Duration
	warns   string // in the log
}

// play runs an episode with a vendor of its own.
func (e episode) play(t *testing.T, name string, settings map[string]any, fields []connectors.FieldRule, check func(*http.Request) error) {
	t.Helper()
	l := connectortest.Sample(1)
	if e.edit != nil {
		e.edit(&l)
	}
	fill := strings.NewReplacer("$ID", l.ID, "$EMAIL", l.Email, "$COMPANY", "Quillfeather \\u0026 Daughters 1").Replace
	answers := make([]says, len(e.answers))
	for i, answer := range e.answers {
		answers[i] = says{answer.status, fill(answer.body), answer.header}
	}
	c := converse(t, name, settings, fields, check, answers...)
	var ref string
	var err error
	switch ctx := context.Background(); e.do {
	case "create":
		ref, err = c.Push(ctx, connectortest.Created(l), fill(e.ref))
	case "update":
		ref, err = c.Push(ctx, connectortest.Updated(l), fill(e.ref))
	case "delete":
		ref, err = c.Push(ctx, connectortest.Deleted(l), fill(e.ref))
	case "check":
		c.optional = true
		err = c.Connector.(connectors.Checker).Check(ctx)
	case "find":
		ref, _, err = c.Connector.(connectors.Finder).Find(ctx, lead.Lead{ID: l.ID})
	}
	requests := c.requests()
	if len(requests) != len(e.asks) {
		t.Errorf("asked %d times, want %d: %+v", len(requests), len(e.asks), requests)
	}
	for i := range min(len(requests), len(e.asks)) {
		method, rest, _ := strings.Cut(fill(e.asks[i]), " ")
		uri, body, _ := strings.Cut(rest, " ")
		sent(t, requests[i], method+" "+uri, body)
	}
	switch fault, wait := connectors.FaultOf(err); {
	case e.fails != "":
		if faulty(t, err, e.fault, fill(e.fails)); wait != e.wait {
			t.Errorf("waits %s, want %s", wait, e.wait)
		}
		for _, personal := range []string{l.Email, l.Name, "Quillfeather"} {
			if strings.Contains(err.Error(), personal) {
				t.Errorf("the error tells %q: %v", personal, err)
			}
		}
	case err != nil:
		t.Errorf("the fault %v: %v", fault, err)
	case ref != fill(e.is):
		t.Errorf("the ref is %q, want %q", ref, fill(e.is))
	}
	if log := c.log.String(); !strings.Contains(log, e.warns) || e.warns == "" && strings.Contains(log, "WARN") {
		t.Errorf("logged %q, want %q", log, e.warns)
	}
}

// plays runs episodes by name.
func plays(t *testing.T, name string, settings map[string]any, fields []connectors.FieldRule, check func(*http.Request) error, episodes map[string]episode) {
	t.Helper()
	for title, e := range episodes {
		t.Run(title, func(t *testing.T) { e.play(t, name, settings, fields, check) })
	}
}

var brevoSettings = map[string]any{"api_key": "xkeysib-s3cret", "list_id": 12}

func TestBrevoConformance(t *testing.T) {
	conformance.Run(t, recipe(t, "brevo"), conformance.Options{Settings: map[string]any{"list_id": 12}, Check: connectortest.Describe(t, "brevo/contacts.json").CheckRequest})
}

const (
	brevoCreate = `POST /v3/contacts {"email":"$EMAIL","ext_id":"$ID","updateEnabled":true,"listIds":[12],
		"attributes":{"FIRSTNAME":"Zenobia","LASTNAME":"Quillfeather1","SMS":"+44 20 7946 0001"}}`
	brevoUpdate = `PUT /v3/contacts/$ID?identifierType=ext_id {"attributes":{"FIRSTNAME":"Zenobia","LASTNAME":"Quillfeather1","SMS":"+44 20 7946 0001"}}`
	brevoRead   = `GET /v3/contacts/$ID?identifierType=ext_id`
	brevoDelete = `DELETE /v3/contacts/$ID?identifierType=ext_id`
)

// https://developers.brevo.com/reference/get-contact-info
var brevoKept = says{status: 200, body: `{"id":42,"email":"$EMAIL","emailBlacklisted":false,"smsBlacklisted":false,"createdAt":"2026-05-02T16:40:31Z",
	"modifiedAt":"2026-05-02T16:40:31Z","listIds":[12],"attributes":{"FIRSTNAME":"Zenobia","LASTNAME":"Quillfeather1","SMS":"442079460001"},"statistics":{}}`}

// https://developers.brevo.com/reference/update-contact
var brevoGone = says{status: 404, body: `{"code":"document_not_found","message":"Contact does not exist"}`}

func brevoRefuses(code, message string) says {
	return says{status: 400, body: `{"code":"` + code + `","message":"` + message + `"}`}
}

func TestBrevoIsAskedAsItsDescriptionSays(t *testing.T) {
	created := says{status: 201, body: `{"id":42}`}
	plays(t, "brevo", brevoSettings, nil, connectortest.Describe(t, "brevo/contacts.json").CheckRequest, map[string]episode{
		"create": {do: "create", answers: []says{created, brevoKept}, asks: []string{brevoCreate, brevoRead}, is: "$ID"},
		"create of a contact that is there": {
			do: "create", answers: []says{{status: 204}, brevoKept}, asks: []string{brevoCreate, brevoRead}, is: "$ID"},
		"update": {do: "update", ref: "$ID", answers: []says{{status: 204}, brevoKept}, asks: []string{brevoUpdate, brevoRead}, is: "$ID"},
		"update of a contact that somebody deleted": {
			do: "update", ref: "$ID", answers: []says{brevoGone, created, brevoKept}, asks: []string{brevoUpdate, brevoCreate, brevoRead}, is: "$ID"},
		"update that clears values": {
			do: "update", ref: "$ID", edit: func(l *lead.Lead) { l.Name, l.Custom = "", nil }, answers: []says{{status: 204}, brevoKept},
			asks: []string{`PUT /v3/contacts/$ID?identifierType=ext_id {"attributes":{"FIRSTNAME":"","LASTNAME":"","SMS":""}}`, brevoRead}, is: "$ID"},
		"delete":                 {do: "delete", ref: "$ID", answers: []says{{status: 204}}, asks: []string{brevoDelete}},
		"delete of what is gone": {do: "delete", ref: "$ID", answers: []says{brevoGone}, asks: []string{brevoDelete}},
		"a create whose answer is lost": {
			do: "create", answers: []says{{}}, asks: []string{brevoCreate}, fault: connectors.Unknown, fails: "brevo: upsert: no whole answer"},
		"check": {do: "check",
			answers: []says{{status: 200, body: `{"attributes":[{"name":"FIRSTNAME","category":"normal","type":"text"},{"name":"LASTNAME","category":"normal","type":"text"},{"name":"SMS","category":"normal","type":"text"}]}`}, {status: 200, body: `{"id":12,"name":"Leads"}`}},
			asks:    []string{"GET /v3/contacts/attributes", "GET /v3/contacts/lists/12"}},
		"check of a list that is not there": {do: "check",
			answers: []says{{status: 200, body: `{"attributes":[{"name":"FIRSTNAME"},{"name":"LASTNAME"},{"name":"SMS"}]}`}, {status: 404, body: `{"code":"document_not_found","message":"List ID does not exist"}`}},
			asks:    []string{"GET /v3/contacts/attributes", "GET /v3/contacts/lists/12"}, fault: connectors.Setup, fails: "404 List ID does not exist"},
	})
}

// TestT17BrevoTakesWhoIsThereAndLeavesOutAPhoneNumberThatIsAnothers: the bodies are those of
// https://github.com/PipedreamHQ/pipedream/issues/15034 and https://github.com/pass-culture/pass-culture-main/pull/22628.
func TestT17BrevoTakesWhoIsThereAndLeavesOutAPhoneNumberThatIsAnothers(t *testing.T) {
	const (
		createWithout = `POST /v3/contacts {"email":"$EMAIL","ext_id":"$ID","updateEnabled":true,"listIds":[12],"attributes":{"FIRSTNAME":"Zenobia","LASTNAME":"Quillfeather1"}}`
		updateWithout = `PUT /v3/contacts/$ID?identifierType=ext_id {"attributes":{"FIRSTNAME":"Zenobia","LASTNAME":"Quillfeather1"}}`
	)
	taken := says{status: 400, body: `{"code":"duplicate_parameter","message":"Unable to create contact, SMS is already associated with another Contact","metadata":{"duplicate_identifiers":["SMS"]}}`}
	plays(t, "brevo", brevoSettings, nil, connectortest.Describe(t, "brevo/contacts.json").CheckRequest, map[string]episode{
		"the number is another contact's": {do: "create", answers: []says{taken, {status: 201, body: `{"id":42}`}, brevoKept},
			asks: []string{brevoCreate, createWithout, brevoRead}, is: "$ID", warns: "field=SMS"},
		"so it is of an update": {do: "update", ref: "$ID",
			answers: []says{brevoRefuses("invalid_parameter", "Unable to update contact, SMS is already associate with another Contact"), {status: 204}, brevoKept},
			asks:    []string{brevoUpdate, updateWithout, brevoRead}, is: "$ID", warns: "field=SMS"},
		"the number is none": {do: "create", answers: []says{brevoRefuses("invalid_parameter", "Invalid phone number"), {status: 204}, brevoKept},
			asks: []string{brevoCreate, createWithout, brevoRead}, is: "$ID", warns: "field=SMS"},
		"it was not the number": {do: "create", answers: []says{taken, taken}, asks: []string{brevoCreate, createWithout}, warns: "field=SMS",
			fault: connectors.Lead, fails: "400 Unable to create contact, SMS"},
		"there is no number": {do: "create", edit: func(l *lead.Lead) { l.Custom = nil }, answers: []says{{status: 201, body: `{"id":42}`}, brevoKept},
			asks: []string{`POST /v3/contacts {"email":"$EMAIL","ext_id":"$ID","updateEnabled":true,"listIds":[12],"attributes":{"FIRSTNAME":"Zenobia","LASTNAME":"Quillfeather1","SMS":""}}`, brevoRead}, is: "$ID"},
	})
}

func TestT25BrevoNamesAttributesThatItDrops(t *testing.T) {
	fields := []connectors.FieldRule{{To: "FIRSTNAME", From: "first_name"}, {To: "BUDGET", From: "budget"}}
	plays(t, "brevo", map[string]any{"api_key": "k"}, fields, connectortest.Describe(t, "brevo/contacts.json").CheckRequest, map[string]episode{
		"that are not there": {do: "check", answers: []says{{status: 200, body: `{"attributes":[{"name":"FIRSTNAME"}]}`}}, asks: []string{"GET /v3/contacts/attributes"},
			fault: connectors.Setup, fails: "there is no field BUDGET"},
		"that have another type": {do: "create", answers: []says{{status: 201, body: `{"id":42}`}, {status: 200, body: `{"id":42,"email":"$EMAIL","attributes":{"FIRSTNAME":"Zenobia"}}`}},
			asks: []string{`POST /v3/contacts {"email":"$EMAIL","ext_id":"$ID","updateEnabled":true,"attributes":{"FIRSTNAME":"Zenobia","BUDGET":1500}}`, brevoRead},
			is:   "$ID", warns: "field=BUDGET"},
	})
}

// TestBrevoKeepsABlocklistingWhereTheAddressChanges, which Brevo itself does not, and sends the address only then.
func TestBrevoKeepsABlocklistingWhereTheAddressChanges(t *testing.T) {
	before := func(blocked string) says {
		return says{status: 200, body: `{"id":42,"email":"former@example.com","emailBlacklisted":` + blocked + `,"attributes":{"FIRSTNAME":"Zenobia","LASTNAME":"Quillfeather1","SMS":"442079460001"}}`}
	}
	moved := func(blocked string) string {
		return `PUT /v3/contacts/$ID?identifierType=ext_id {"attributes":{"EMAIL":"$EMAIL"},"emailBlacklisted":` + blocked + `}`
	}
	plays(t, "brevo", brevoSettings, nil, connectortest.Describe(t, "brevo/contacts.json").CheckRequest, map[string]episode{
		"of who is blocked": {do: "update", ref: "$ID", answers: []says{{status: 204}, before("true"), {status: 204}}, asks: []string{brevoUpdate, brevoRead, moved("true")}, is: "$ID"},
		"of who is not":     {do: "update", ref: "$ID", answers: []says{{status: 204}, before("false"), {status: 204}}, asks: []string{brevoUpdate, brevoRead, moved("false")}, is: "$ID"},
		"of a lead whose ref got lost": {do: "create", answers: []says{brevoRefuses("duplicate_parameter", "Unable to create contact, ext_id is already associated with another Contact"), {status: 204}, before("true"), {status: 204}},
			asks: []string{brevoCreate, brevoUpdate, brevoRead, moved("true")}, is: "$ID"},
		"that another contact has": {do: "update", ref: "$ID",
			answers: []says{{status: 204}, before("false"), brevoRefuses("duplicate_parameter", "Unable to update contact, email is already associated with another Contact")},
			asks:    []string{brevoUpdate, brevoRead, moved("false")}, fault: connectors.Lead, fails: "400 Unable to update contact, email is already associated"},
		"that only its spelling tells apart": {do: "update", ref: "$ID", edit: func(l *lead.Lead) { l.Email = "Zenobia.Quillfeather1@Example.com" },
			answers: []says{{status: 204}, {status: 200, body: `{"id":42,"email":"zenobia.quillfeather1@example.com","attributes":{"FIRSTNAME":"Zenobia","LASTNAME":"Quillfeather1","SMS":"442079460001"}}`}},
			asks:    []string{brevoUpdate, brevoRead}, is: "$ID"},
		"of a contact that is deleted meanwhile": {do: "update", ref: "$ID", answers: []says{{status: 204}, brevoGone}, asks: []string{brevoUpdate, brevoRead}, is: "$ID"},
		"and what it has cannot be read": {do: "update", ref: "$ID", answers: []says{{status: 204}, {status: 500}}, asks: []string{brevoUpdate, brevoRead},
			fault: connectors.Remote, fails: "brevo: update: list: 500"},
	})
}

// TestT24BrevoErrorsAreWhoseTheyAre: https://developers.brevo.com/docs/how-it-works#error-codes
func TestT24BrevoErrorsAreWhoseTheyAre(t *testing.T) {
	one := func(do string, answer says, fault connectors.Fault, fails string) episode {
		asks := map[string]string{"create": brevoCreate, "update": brevoUpdate, "delete": brevoDelete}[do]
		return episode{do: do, ref: map[string]string{"update": "$ID", "delete": "$ID"}[do], answers: []says{answer}, asks: []string{asks}, fault: fault, fails: fails}
	}
	throttled := one("create", says{status: 429, body: `{"code":"too_many_requests","message":"Too many requests"}`, header: map[string]string{"x-sib-ratelimit-limit": "10", "x-sib-ratelimit-remaining": "0", "x-sib-ratelimit-reset": "45"}}, connectors.Throttled, "429")
	throttled.wait = 45 * time.Second
	plays(t, "brevo", brevoSettings, nil, connectortest.Describe(t, "brevo/contacts.json").CheckRequest, map[string]episode{
		"a wrong key":                   one("create", says{status: 401, body: `{"message":"Key not found","code":"unauthorized"}`}, connectors.Setup, "401 Key not found"),
		"a blocked IP address":          one("create", says{status: 401, body: `{"message":"We have detected you are using an unrecognised IP address","code":"unauthorized"}`}, connectors.Setup, "unrecognised IP address"),
		"no credits":                    one("create", says{status: 402, body: `{"code":"not_enough_credits","message":"Not enough credits"}`}, connectors.Setup, "402"),
		"no permission":                 one("create", says{status: 403, body: `{"code":"permission_denied","message":"Permission denied"}`}, connectors.Setup, "403"),
		"an address that is none":       one("create", brevoRefuses("invalid_parameter", "Invalid email address"), connectors.Lead, "400 Invalid email address"),
		"another 404":                   one("update", says{status: 404, body: `{"message":"no Route matched with those values"}`}, connectors.Setup, "404"),
		"another 404 of a delete":       one("delete", says{status: 404, body: `{"message":"no Route matched with those values"}`}, connectors.Setup, "404"),
		"the account's owner":           one("delete", says{status: 405, body: `{"code":"method_not_allowed","message":"You are not allowed to delete registered email contact with Brevo"}`}, connectors.Lead, "405"),
		"too many requests":             throttled,
		"trouble of Brevo's":            one("update", says{status: 503, body: `<html>`}, connectors.Remote, "503"),
		"a success that is not Brevo's": one("delete", says{status: 200, body: `{"ok":true}`}, connectors.Unknown, "200"),
	})
}

func TestBrevoSettings(t *testing.T) {
	for name, c := range map[string]struct {
		settings map[string]any
		want     string
	}{
		"no key":         {nil, "api_key: required"},
		"a list by name": {map[string]any{"api_key": "k", "list_id": "Leads"}, "list_id: must be a whole number"},
		"a misspelt one": {map[string]any{"api_key": "k", "list_ids": 2}, "list_ids: unknown setting"},
	} {
		if _, err := recipe(t, "brevo").Kind().Open(c.settings, connectors.Env{}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
}

// spending is a worker that notes what a push spends of the limits, and until when nobody is to call.
type spending struct {
	connectors.Host
	costs []int
	until time.Time
}

func (s *spending) Spend(_ context.Context, cost int) error {
	s.costs = append(s.costs, cost)
	return nil
}

func (s *spending) HoldCalls(_ context.Context, until time.Time) { s.until = until }

// TestBrevoHeadersHoldCalls: https://developers.brevo.com/docs/limit-headers
func TestBrevoHeadersHoldCalls(t *testing.T) {
	for remaining, held := range map[string]bool{"9": false, "2": true} {
		l, kept := connectortest.Sample(1), brevoKept
		kept.body = strings.Replace(kept.body, "$EMAIL", l.Email, 1)
		kept.header = map[string]string{"x-sib-ratelimit-limit": "10", "x-sib-ratelimit-remaining": remaining, "x-sib-ratelimit-reset": "600"}
		c := converse(t, "brevo", brevoSettings, nil, nil, says{status: 204}, kept)
		host := &spending{}
		if _, err := c.Push(connectors.WithHost(t.Context(), host), connectortest.Updated(l), l.ID); err != nil {
			t.Fatal(err)
		}
		if got := host.until.After(time.Now().Add(9 * time.Minute)); got != held {
			t.Errorf("%s of 10 left: held until %v", remaining, host.until)
		}
	}
	if got, want := recipe(t, "brevo").Kind().Limits.Rates, (connectors.Rate{Most: 10, Per: time.Second}); len(got) != 2 || got[0] != want {
		t.Errorf("the rates are %v", got)
	}
}
