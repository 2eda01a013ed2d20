package recipes

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/leadrelay/leadrelay/connectors"
	"github.com/leadrelay/leadrelay/connectors/connectortest"
	"github.com/leadrelay/leadrelay/connectors/rest/conformance"
	"github.com/leadrelay/leadrelay/internal/lead"
)

const pipedriveKey = "9dc80c50d78a15643bfc4ca79d76156a73a1ca0e"

var (
	pipedriveSettings = map[string]any{"company": "acme", "api_token": "t0ken-s3cret", "lead_id_field": pipedriveKey}
	pipedriveAlone    = map[string]any{"company": "acme", "api_token": "t0ken-s3cret", "lead_id_field": pipedriveKey, "inbox": false}
)

// pipedriveOwn are a person's fields of one's own in the recipe's example.
var pipedriveOwn = [3]string{"5b436e45b63857305f9691910b6567351b5517bc", "9dc80c50d78a15643bfc4ca79d76156a73a1ca0e", "d4de1c1518b4531717c676029a45911c340390a6"}

// pipedriveDescription checks requests. A company's own address has /api before both versions, the description only
// before the second.
func pipedriveDescription(t *testing.T) func(*http.Request) error {
	described := connectortest.Describe(t, "pipedrive/persons-leads-v1.json", "pipedrive/persons-leads-v2.json").CheckRequest
	return func(r *http.Request) error {
		r = r.Clone(r.Context())
		if strings.HasPrefix(r.URL.Path, "/api/v1/") {
			r.URL.Path = strings.TrimPrefix(r.URL.Path, "/api")
		}
		return described(r)
	}
}

// Pipedrive has no person without a name, so the name that a lead may lack is a field of one's own here.
func TestPipedriveConformance(t *testing.T) {
	fields := []connectors.FieldRule{{To: "custom_fields." + pipedriveOwn[0], From: "name"}, {To: "custom_fields." + pipedriveOwn[1], From: "company"}, {To: "custom_fields." + pipedriveOwn[2], From: "note"}}
	for title, inbox := range map[string]bool{"with leads": true, "persons alone": false} {
		t.Run(title, func(t *testing.T) {
			conformance.Run(t, recipe(t, "pipedrive"), conformance.Options{Settings: map[string]any{"inbox": inbox}, Fields: fields, Check: pipedriveDescription(t)})
		})
	}
}

const (
	pipedriveCustom  = `"custom_fields":{"` + pipedriveKey + `":"$ID"}`
	pipedriveEmails  = `"emails":[{"value":"$EMAIL","primary":true,"label":"work"}]`
	pipedrivePhones  = `"phones":[{"value":"+44 20 7946 0001","primary":true,"label":"work"}]`
	pipedriveValues  = `{"name":"Zenobia Quillfeather1",` + pipedriveEmails + `,` + pipedrivePhones + `,` + pipedriveCustom + `}`
	pipedriveCreate  = `POST /api/v2/persons ` + pipedriveValues
	pipedriveRead    = `GET /api/v2/persons/42`
	pipedrivePatch   = `PATCH /api/v2/persons/42 ` + pipedriveValues
	pipedriveDelete  = `DELETE /api/v2/persons/42`
	pipedriveLeads   = `GET /api/v1/leads?limit=1&person_id=42`
	pipedriveAllOf   = `GET /api/v1/leads?limit=100&person_id=42`
	pipedriveAdd     = `POST /api/v1/leads {"title":"Zenobia Quillfeather1","person_id":42}`
	pipedriveRemove  = `DELETE /api/v1/leads/adf21080-0e10-11eb-879b-05d71fb426ec`
	pipedriveNewest  = `GET /api/v2/persons?custom_fields=` + pipedriveKey + `&limit=100&sort_by=add_time&sort_direction=desc`
	pipedriveSearch  = `GET /api/v2/persons/search?exact_match=true&fields=custom_fields&term=$ID`
	pipedriveFields  = `GET /api/v2/personFields?limit=500`
	pipedriveLead    = `{"id":"adf21080-0e10-11eb-879b-05d71fb426ec","title":"Zenobia Quillfeather1","person_id":42,"is_archived":false}`
	pipedriveUnknown = `{"success":false,"error":"requested lead not found","error_info":"Object was not found.","data":null,"additional_data":null}`
)

// pipedrivePerson is person 42, last written at a time; it was added at 16:40:31.
func pipedrivePerson(written, values string) string {
	return `{"id":42,"name":"Zenobia Quillfeather1","owner_id":1,"org_id":null,"add_time":"2026-05-02T16:40:31Z","update_time":"2026-05-02T` + written + `Z","is_deleted":false,"visible_to":7,"label_ids":[],` + values + `}`
}

func pipedriveSays(data string) says {
	return says{status: 200, body: `{"success":true,"data":` + data + `}`}
}

var (
	pipedriveFresh   = pipedriveSays(pipedrivePerson("16:40:31", pipedriveEmails+`,`+pipedrivePhones+`,`+pipedriveCustom))
	pipedriveKept    = pipedriveSays(pipedrivePerson("17:00:00", pipedriveEmails+`,`+pipedrivePhones+`,`+pipedriveCustom))
	pipedriveAdded   = says{status: 201, body: `{"success":true,"data":` + pipedriveLead + `}`}
	pipedriveNone    = pipedriveSays(`[]`)
	pipedriveNobody  = pipedriveSays(`{"items":[]}`)
	pipedriveGone    = says{status: 404, body: `{"success":false,"error":"Person not found","error_info":"Please check developers.pipedrive.com","data":null}`}
	pipedriveDeleted = pipedriveSays(strings.Replace(pipedrivePerson("17:00:00", pipedriveEmails), `"is_deleted":false`, `"is_deleted":true`, 1))
)

func TestPipedriveIsAskedAsItsDescriptionSays(t *testing.T) {
	listed := pipedriveSays(`[{"id":41,"custom_fields":{"` + pipedriveKey + `":"lead_of_another"}},{"id":42,"custom_fields":{"` + pipedriveKey + `":"$ID"}}]`)
	found := pipedriveSays(`{"items":[{"result_score":1.22,"item":{"id":42,"type":"person","name":"x","custom_fields":["$ID"]}}]}`)
	codes := func(own string) says {
		return says{status: 200, body: `{"success":true,"data":[{"field_name":"Name","field_code":"name","is_custom_field":false},{"field_name":"Lead ID","field_code":"` + own + `","is_custom_field":true}],"additional_data":{"next_cursor":null}}`}
	}
	plays(t, "pipedrive", pipedriveSettings, nil, pipedriveDescription(t), map[string]episode{
		"create":                          {do: "create", answers: []says{pipedriveFresh, pipedriveNone, pipedriveAdded}, asks: []string{pipedriveCreate, pipedriveLeads, pipedriveAdd}, is: "42"},
		"update":                          {do: "update", ref: "42", answers: []says{pipedriveKept, pipedriveKept}, asks: []string{pipedriveRead, pipedrivePatch}, is: "42"},
		"update of who is gone":           {do: "update", ref: "42", answers: []says{pipedriveGone, pipedriveFresh, pipedriveNone, pipedriveAdded}, asks: []string{pipedriveRead, pipedriveCreate, pipedriveLeads, pipedriveAdd}, is: "42"},
		"update of who is in the bin":     {do: "update", ref: "42", answers: []says{pipedriveDeleted, pipedriveFresh, pipedriveNone, pipedriveAdded}, asks: []string{pipedriveRead, pipedriveCreate, pipedriveLeads, pipedriveAdd}, is: "42"},
		"delete":                          {do: "delete", ref: "42", answers: []says{pipedriveSays(`[` + pipedriveLead + `]`), pipedriveSays(`{"id":"adf21080-0e10-11eb-879b-05d71fb426ec"}`), pipedriveSays(`{"id":42}`)}, asks: []string{pipedriveAllOf, pipedriveRemove, pipedriveDelete}},
		"delete of who has no lead":       {do: "delete", ref: "42", answers: []says{pipedriveSays(`null`), pipedriveSays(`{"id":42}`)}, asks: []string{pipedriveAllOf, pipedriveDelete}},
		"delete of what is gone":          {do: "delete", ref: "42", answers: []says{pipedriveSays(`[` + pipedriveLead + `]`), {status: 404, body: pipedriveUnknown}, {status: 410, body: pipedriveUnknown}}, asks: []string{pipedriveAllOf, pipedriveRemove, pipedriveDelete}},
		"find of who was added lately":    {do: "find", answers: []says{listed}, asks: []string{pipedriveNewest}, is: "42"},
		"find of who was added before":    {do: "find", answers: []says{pipedriveNone, found}, asks: []string{pipedriveNewest, pipedriveSearch}, is: "42"},
		"find of nobody":                  {do: "find", answers: []says{pipedriveNone, pipedriveNobody}, asks: []string{pipedriveNewest, pipedriveSearch}},
		"a create whose answer is lost":   {do: "create", answers: []says{{}}, asks: []string{pipedriveCreate}, fault: connectors.Unknown, fails: "pipedrive: create: no whole answer"},
		"check":                           {do: "check", answers: []says{codes(pipedriveKey)}, asks: []string{pipedriveFields}},
		"check without the field":         {do: "check", answers: []says{codes("0000")}, asks: []string{pipedriveFields}, fault: connectors.Setup, fails: "there is no person field with the API key " + pipedriveKey},
		"check of fields on two pages":    {do: "check", answers: []says{{status: 200, body: `{"success":true,"data":[],"additional_data":{"next_cursor":"eyJ"}}`}, codes(pipedriveKey)}, asks: []string{pipedriveFields, "GET /api/v2/personFields?cursor=eyJ&limit=500"}},
		"a token that is not":             {do: "create", answers: []says{{status: 401, body: `{"success":false,"error":"unauthorized access","errorCode":401}`}}, asks: []string{pipedriveCreate}, fault: connectors.Setup, fails: "401 unauthorized access"},
		"a value that is refused":         {do: "create", answers: []says{{status: 400, body: `{"success":false,"error":"Validation failed: emails: Zenobia Quillfeather1"}`}}, asks: []string{pipedriveCreate}, fault: connectors.Lead, fails: "400 Validation failed: emails: <redacted>"},
		"the field of the id is refused":  {do: "create", answers: []says{{status: 400, body: `{"success":false,"error":"Validation failed: custom_fields: Unrecognized key: ` + pipedriveKey + `"}`}}, asks: []string{pipedriveCreate}, fault: connectors.Setup, fails: "400 Validation failed"},
		"a success that is none":          {do: "create", answers: []says{{status: 200, body: `{"success":false,"error":"busy"}`}}, asks: []string{pipedriveCreate}, fault: connectors.Unknown, fails: "200 answer does not say that it was done"},
		"the budget is spent":             {do: "create", answers: []says{{status: 429, body: `{"success":false,"error":"request over limit","errorCode":429}`, header: map[string]string{"Retry-After": "90"}}}, asks: []string{pipedriveCreate}, fault: connectors.Throttled, fails: "429 request over limit", wait: 90 * time.Second},
		"404 of a page that is no answer": {do: "update", ref: "42", answers: []says{{status: 404, body: `<html></html>`}}, asks: []string{pipedriveRead}, fault: connectors.Setup, fails: "404"},
	})
	c := converse(t, "pipedrive", pipedriveAlone, nil, pipedriveDescription(t), pipedriveFresh)
	if _, err := c.Push(t.Context(), connectortest.Created(connectortest.Sample(1)), ""); err != nil {
		t.Fatal(err)
	}
	if got := c.requests()[0].header.Get("x-api-token"); got != "t0ken-s3cret" {
		t.Errorf("signed in with %q", got)
	}
}

// TestT16PipedriveAFailedSearchIsNoMissingRecord: whatever is wrong with an answer, nobody is created for it.
func TestT16PipedriveAFailedSearchIsNoMissingRecord(t *testing.T) {
	broken := map[string]says{
		"500":            {status: 500, body: `{"success":false,"error":"Internal error"}`},
		"400":            {status: 400, body: `{"success":false,"error":"Bad request"}`},
		"404":            {status: 404, body: `{"success":false,"error":"Not found"}`},
		"no success":     {status: 200, body: `{"success":false,"error":"Search is down"}`},
		"no list":        {status: 200, body: `{"success":true,"data":null}`},
		"no JSON":        {status: 200, body: `<html></html>`},
		"half an answer": {status: 200, body: `{"success":true,"data":{"ite`},
	}
	for title, answer := range broken {
		t.Run(title, func(t *testing.T) {
			for asked, answers := range map[string][]says{"newest": {answer}, "search": {pipedriveNone, answer}} {
				c := converse(t, "pipedrive", pipedriveSettings, nil, pipedriveDescription(t), answers...)
				ref, found, err := c.Connector.(connectors.Finder).Find(t.Context(), lead.Lead{ID: connectortest.Sample(1).ID})
				if err == nil {
					t.Errorf("%s: got %q, %v and no error", asked, ref, found)
				}
			}
		})
	}
}

// TestPipedrivePutsALeadInTheInboxOnce: also where the first attempt made the person and no lead, and never again after a
// deal was made of it, which leaves the person without a lead.
func TestPipedrivePutsALeadInTheInboxOnce(t *testing.T) {
	has := pipedriveSays(`[` + pipedriveLead + `]`)
	plays(t, "pipedrive", pipedriveSettings, nil, pipedriveDescription(t), map[string]episode{
		"the lead fails":                    {do: "create", answers: []says{pipedriveFresh, pipedriveNone, {status: 503}}, asks: []string{pipedriveCreate, pipedriveLeads, pipedriveAdd}, fault: connectors.Remote, fails: "pipedrive: create: 503"},
		"and is made by the next push":      {do: "update", ref: "42", answers: []says{pipedriveFresh, pipedriveNone, pipedriveAdded, pipedriveKept}, asks: []string{pipedriveRead, pipedriveLeads, pipedriveAdd, pipedrivePatch}, is: "42"},
		"the answer about it is lost":       {do: "update", ref: "42", answers: []says{pipedriveFresh, has, pipedriveKept}, asks: []string{pipedriveRead, pipedriveLeads, pipedrivePatch}, is: "42"},
		"whether there is one is not known": {do: "create", answers: []says{pipedriveFresh, {status: 500}}, asks: []string{pipedriveCreate, pipedriveLeads}, fault: connectors.Remote, fails: "pipedrive: create: look: 500"},
		"a deal was made of it":             {do: "update", ref: "42", answers: []says{pipedriveKept, pipedriveKept}, asks: []string{pipedriveRead, pipedrivePatch}, is: "42"},
	})
	plays(t, "pipedrive", pipedriveAlone, nil, pipedriveDescription(t), map[string]episode{
		"create": {do: "create", answers: []says{pipedriveFresh}, asks: []string{pipedriveCreate}, is: "42"},
		"update": {do: "update", ref: "42", answers: []says{pipedriveFresh, pipedriveKept}, asks: []string{pipedriveRead, pipedrivePatch}, is: "42"},
		"delete": {do: "delete", ref: "42", answers: []says{pipedriveSays(`{"id":42}`)}, asks: []string{pipedriveDelete}},
	})
}

func TestPipedriveLeavesWhatPeopleAddedToAPerson(t *testing.T) {
	const (
		private = `{"value":"Z@Home.example","primary":false,"label":"home"}`
		mobile  = `{"value":"07700 900000","primary":false,"label":"mobile"}`
	)
	read := func(emails, phones string) says {
		return pipedriveSays(pipedrivePerson("17:00:00", `"emails":[`+emails+`],"phones":[`+phones+`]`))
	}
	patch := func(emails, phones string) string {
		return `PATCH /api/v2/persons/42 {"name":"Zenobia Quillfeather1","emails":[` + emails + `],"phones":[` + phones + `],` + pipedriveCustom + `}`
	}
	lists := func(list string) string { // without its name
		_, values, _ := strings.Cut(list, ":[")
		return strings.TrimSuffix(values, "]")
	}
	ours, ring := lists(pipedriveEmails), lists(pipedrivePhones)
	old, oldRing := `{"value":"old@example.com","primary":true,"label":"work"}`, `{"value":"0123","primary":true,"label":"work"}`
	second := `{"value":"$EMAIL","primary":false,"label":"other"}`
	plays(t, "pipedrive", pipedriveAlone, nil, pipedriveDescription(t), map[string]episode{
		"more addresses": {do: "update", ref: "42", answers: []says{read(ours+`,`+private, ring+`,`+mobile), pipedriveKept}, is: "42",
			asks: []string{pipedriveRead, patch(ours+`,`+private, ring+`,`+mobile)}},
		"a new address takes the place of the first": {do: "update", ref: "42", answers: []says{read(old+`,`+private, oldRing+`,`+mobile), pipedriveKept}, is: "42",
			asks: []string{pipedriveRead, patch(ours+`,`+private, ring+`,`+mobile)}},
		"the lead's is the second": {do: "update", ref: "42", answers: []says{read(old+`,`+second, ring), pipedriveKept}, is: "42",
			asks: []string{pipedriveRead, patch(old+`,`+second, ring)}},
		"a number that is cleared": {do: "update", ref: "42", edit: func(l *lead.Lead) { l.Custom = nil }, answers: []says{read(ours, ring+`,`+mobile), pipedriveKept}, is: "42",
			asks: []string{pipedriveRead, patch(ours, mobile)}},
		"a name that is cleared": {do: "update", ref: "42", edit: func(l *lead.Lead) { l.Name = "" }, answers: []says{read(ours, ring), pipedriveKept}, is: "42",
			asks: []string{pipedriveRead, strings.Replace(patch(ours, ring), "Zenobia Quillfeather1", "$EMAIL", 1)}},
	})
	plays(t, "pipedrive", pipedriveAlone, []connectors.FieldRule{{To: "custom_fields.abc", From: "budget"}, {To: "job_title", From: "company"}}, pipedriveDescription(t), map[string]episode{
		"fields that are not mapped": {do: "update", ref: "42", answers: []says{read(ours, ring), pipedriveKept}, is: "42",
			asks: []string{pipedriveRead, `PATCH /api/v2/persons/42 {"name":"$EMAIL","job_title":"Quillfeather & Daughters 1","emails":[` + ours + `],"phones":[` + ring + `],"custom_fields":{"abc":1500,"` + pipedriveKey + `":"$ID"}}`}},
	})
}

func TestPipedriveSpendsItsTokens(t *testing.T) {
	limits := func(settings map[string]any) []connectors.Rate {
		c := converse(t, "pipedrive", settings, nil, nil)
		return c.Connector.(connectors.Limited).Limits().Rates
	}
	seats := map[string]any{"company": "acme", "api_token": "t0ken-s3cret", "lead_id_field": pipedriveKey, "daily_tokens": 600000, "reserve": 0.5}
	for _, c := range []struct {
		settings    map[string]any
		calls, cost int
	}{{pipedriveSettings, 14, 21000}, {seats, 10, 300000}} {
		rates := limits(c.settings)
		if len(rates) != 2 || rates[0].Most != c.calls || rates[0].Per != 2*time.Second || rates[1].Most != c.cost || !rates[1].ByCost || rates[1].Per != 24*time.Hour {
			t.Errorf("the rates are %v, want %d in 2s and %d a day", rates, c.calls, c.cost)
		}
	}
	for _, c := range []struct {
		do      string
		answers []says
		spends  int
	}{
		{"create", []says{pipedriveFresh, pipedriveNone, pipedriveAdded}, 5 + 20 + 10},
		{"update", []says{pipedriveKept, pipedriveKept}, 1 + 5},
		{"delete", []says{pipedriveSays(`[` + pipedriveLead + `]`), pipedriveSays(`{}`), pipedriveSays(`{"id":42}`)}, 20 + 6 + 3},
		{"find", []says{pipedriveNone, pipedriveNobody}, 10 + 20},
	} {
		host := &spending{}
		conversation := converse(t, "pipedrive", pipedriveSettings, nil, pipedriveDescription(t), c.answers...)
		ctx, l := connectors.WithHost(t.Context(), host), connectortest.Sample(1)
		var err error
		switch c.do {
		case "create":
			_, err = conversation.Push(ctx, connectortest.Created(l), "")
		case "update":
			_, err = conversation.Push(ctx, connectortest.Updated(l), "42")
		case "delete":
			_, err = conversation.Push(ctx, connectortest.Deleted(l), "42")
		case "find":
			_, _, err = conversation.Connector.(connectors.Finder).Find(ctx, lead.Lead{ID: l.ID})
		}
		spent := 0
		for _, cost := range host.costs {
			spent += cost
		}
		if err != nil || spent != c.spends {
			t.Errorf("%s spends %d tokens and says %v, want %d", c.do, spent, err, c.spends)
		}
	}
}

func TestPipedriveRefusesSettings(t *testing.T) {
	refusesSettings(t, "pipedrive", pipedriveSettings, map[string]map[string]any{
		"company: required":       {"company": ""},
		"api_token: required":     {"api_token": ""},
		"lead_id_field: required": {"lead_id_field": ""},
		"base_url: ":              {"company": "acme.example/", "base_url": ""},
	})
}
