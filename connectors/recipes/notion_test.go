package recipes

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/leadrelay/leadrelay/connectors"
	"github.com/leadrelay/leadrelay/connectors/connectortest"
	"github.com/leadrelay/leadrelay/connectors/rest/conformance"
	"github.com/leadrelay/leadrelay/internal/lead"
)

const (
	notionSource = "d9824bdc-8445-4327-be8b-5b47500af6ce"
	notionPage   = "59833787-2cf9-4fdf-8782-e53db20768a5"
)

var notionSettings = map[string]any{"token": "ntn-s3cret", "data_source_id": notionSource}

// notionSends checks requests against Notion's description and what its own client was recorded to send.
func notionSends(t *testing.T) func(*http.Request) error {
	described := connectortest.Describe(t, "notion/notion-openapi.json").CheckRequest
	return func(r *http.Request) error {
		if got := r.Header.Get("Notion-Version"); got != "2025-09-03" {
			return fmt.Errorf("the version is %q", got)
		}
		if r.Method == http.MethodPost && r.URL.Path == "/v1/pages" {
			// Of the parents of a page the description does not know data sources, which Notion's client sends.
			body, _ := io.ReadAll(r.Body)
			body = bytes.Replace(body, []byte(`{"data_source_id":"`+notionSource+`","type":"data_source_id"}`), []byte(`{"page_id":"`+notionPage+`"}`), 1)
			r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
		}
		return described(r)
	}
}

func TestNotionConformance(t *testing.T) {
	conformance.Run(t, recipe(t, "notion"), conformance.Options{Settings: map[string]any{"data_source_id": notionSource}, Check: notionSends(t)})
}

const (
	notionProperties = `{"Lead ID":{"rich_text":[{"text":{"content":"$ID"}}]},"Name":{"title":[{"text":{"content":"Zenobia Quillfeather1"}}]},"Email":{"email":"$EMAIL"},
		"Phone":{"phone_number":"+44 20 7946 0001"},"Company":{"rich_text":[{"text":{"content":"$COMPANY"}}]},"Note":{"rich_text":[{"text":{"content":"Please ring after teatime, case 1."}}]}}`
	notionCreate = `POST /v1/pages {"parent":{"type":"data_source_id","data_source_id":"` + notionSource + `"},"properties":` + notionProperties + `}`
	notionUpdate = `PATCH /v1/pages/` + notionPage + ` {"properties":` + notionProperties + `}`
	notionTrash  = `PATCH /v1/pages/` + notionPage + ` {"in_trash":true}`
	notionFind   = `POST /v1/data_sources/` + notionSource + `/query {"filter":{"property":"Lead ID","rich_text":{"equals":"$ID"}},"page_size":1}`
	notionLook   = `GET /v1/data_sources/` + notionSource
)

var (
	notionDone    = says{status: 200, body: `{"object":"page","id":"` + notionPage + `","created_time":"2026-03-14T15:09:00.000Z","archived":false,"in_trash":false,"properties":{},"url":"https://www.notion.so/x"}`}
	notionTrashed = says{status: 200, body: `{"object":"page","id":"` + notionPage + `","archived":true,"in_trash":true,"properties":{}}`}
	// https://developers.notion.com/reference/status-codes
	notionGone     = notionRefuses(404, "object_not_found", "Could not find page with ID: "+notionPage+". Make sure the relevant pages and databases are shared with your integration.")
	notionUnshared = notionRefuses(404, "object_not_found", "Could not find data_source with ID: "+notionSource+". Make sure the relevant pages and databases are shared with your integration.")
	// https://github.com/dvanoni/notero/issues/704
	notionArchived = notionRefuses(400, "validation_error", "Can't edit block that is archived. You must unarchive the block before editing.")
	notionHas      = says{status: 200, body: `{"object":"data_source","id":"` + notionSource + `","properties":{"Lead ID":{"id":"a","name":"Lead ID","type":"rich_text","rich_text":{}},
		"Name":{"id":"title","name":"Name","type":"title","title":{}},"Email":{"id":"b","type":"email"},"Phone":{"id":"c","type":"phone_number"},"Company":{"id":"d","type":"rich_text"},"Note":{"id":"e","type":"rich_text"}}}`}
)

func notionRefuses(status int, code, message string) says {
	return says{status: status, body: fmt.Sprintf(`{"object":"error","status":%d,"code":%q,"message":%q,"request_id":"570bb569-54fe-46c6-87b4-140ac7b89ec8"}`, status, code, message)}
}

func TestNotionIsAskedAsItsDescriptionSays(t *testing.T) {
	has := func(from, to string) says {
		return says{status: 200, body: strings.Replace(notionHas.body, from, to, 1)}
	}
	plays(t, "notion", notionSettings, nil, notionSends(t), map[string]episode{
		"create": {do: "create", answers: []says{notionDone}, asks: []string{notionCreate}, is: notionPage},
		"update": {do: "update", ref: notionPage, answers: []says{notionDone}, asks: []string{notionUpdate}, is: notionPage},
		"update that clears values": {do: "update", ref: notionPage, edit: func(l *lead.Lead) { l.Name, l.Note, l.Custom = "", "", nil }, answers: []says{notionDone},
			asks: []string{`PATCH /v1/pages/` + notionPage + ` {"properties":{"Lead ID":{"rich_text":[{"text":{"content":"$ID"}}]},"Name":{"title":[]},"Email":{"email":"$EMAIL"},"Phone":{"phone_number":null},"Company":{"rich_text":[]},"Note":{"rich_text":[]}}}`}, is: notionPage},
		"update of a page that is gone":    {do: "update", ref: notionPage, answers: []says{notionGone, notionDone}, asks: []string{notionUpdate, notionCreate}, is: notionPage},
		"update of a page in the trash":    {do: "update", ref: notionPage, answers: []says{notionArchived, notionDone}, asks: []string{notionUpdate, notionCreate}, is: notionPage},
		"delete":                           {do: "delete", ref: notionPage, answers: []says{notionHas, notionTrashed}, asks: []string{notionLook, notionTrash}},
		"delete of a page that is gone":    {do: "delete", ref: notionPage, answers: []says{notionHas, notionGone}, asks: []string{notionLook, notionTrash}},
		"delete of a page in the trash":    {do: "delete", ref: notionPage, answers: []says{notionHas, notionArchived}, asks: []string{notionLook, notionTrash}},
		"delete where nothing is shared":   {do: "delete", ref: notionPage, answers: []says{notionUnshared}, asks: []string{notionLook}, fault: connectors.Setup, fails: "404 Could not find data_source"},
		"update where nothing is shared":   {do: "update", ref: notionPage, answers: []says{notionGone, notionUnshared}, asks: []string{notionUpdate, notionCreate}, fault: connectors.Setup, fails: "notion: create: 404"},
		"delete that did not do it":        {do: "delete", ref: notionPage, answers: []says{notionHas, notionDone}, asks: []string{notionLook, notionTrash}, fault: connectors.Unknown, fails: "200"},
		"a create whose answer is lost":    {do: "create", answers: []says{{}}, asks: []string{notionCreate}, fault: connectors.Unknown, fails: "notion: create: no whole answer"},
		"find":                             {do: "find", answers: []says{{status: 200, body: `{"object":"list","results":[` + notionDone.body + `],"next_cursor":null,"has_more":false}`}}, asks: []string{notionFind}, is: notionPage},
		"find where there is none":         {do: "find", answers: []says{{status: 200, body: `{"object":"list","results":[],"next_cursor":null,"has_more":false}`}}, asks: []string{notionFind}},
		"check":                            {do: "check", answers: []says{notionHas}, asks: []string{notionLook}},
		"check without the property":       {do: "check", answers: []says{has(`"Lead ID":`, `"Other ID":`)}, asks: []string{notionLook}, fault: connectors.Setup, fails: "there is no property Lead ID of the type Text"},
		"check with another type of it":    {do: "check", answers: []says{has(`"rich_text","rich_text":{}`, `"number"`)}, asks: []string{notionLook}, fault: connectors.Setup, fails: "there is no property Lead ID of the type Text"},
		"check with another type of field": {do: "check", answers: []says{has(`"phone_number"`, `"number"`)}, asks: []string{notionLook}, fault: connectors.Setup, fails: "there is no field phone_number:Phone"},
	})
}

// TestNotionPropertiesOfEveryType: https://developers.notion.com/reference/page-property-values and, for the 2,000
// characters of a text, https://developers.notion.com/reference/request-limits
func TestNotionPropertiesOfEveryType(t *testing.T) {
	long := strings.Repeat("ä", 2000)
	for title, c := range map[string]struct {
		to    string
		value any
		want  string // the property P
	}{
		"a long text":            {"rich_text:P", long + "b", `{"rich_text":[{"text":{"content":"` + long + `"}},{"text":{"content":"b"}}]}`},
		"a name with a colon":    {"rich_text:P: Q", "x", ``},
		"a number":               {"number:P", 7.5, `{"number":7.5}`},
		"a number as text":       {"rich_text:P", 7, `{"rich_text":[{"text":{"content":"7"}}]}`},
		"checked":                {"checkbox:P", true, `{"checkbox":true}`},
		"unchecked":              {"checkbox:P", false, `{"checkbox":false}`},
		"checked in a form":      {"checkbox:P", "on", `{"checkbox":true}`},
		"a choice":               {"select:P", "Gold", `{"select":{"name":"Gold"}}`},
		"a status":               {"status:P", "New", `{"status":{"name":"New"}}`},
		"several choices":        {"multi_select:P", []any{"a", "b"}, `{"multi_select":[{"name":"a"},{"name":"b"}]}`},
		"one of several choices": {"multi_select:P", "a", `{"multi_select":[{"name":"a"}]}`},
		"a date":                 {"date:P", "2026-03-14", `{"date":{"start":"2026-03-14"}}`},
		"a link":                 {"url:P", "https://example.com", `{"url":"https://example.com"}`},
		"a phone number":         {"phone_number:P", 442079460001, `{"phone_number":"442079460001"}`},
		"no number":              {"number:P", nil, `{"number":null}`},
		"no mark":                {"checkbox:P", nil, `{"checkbox":false}`},
		"no choice":              {"select:P", nil, `{"select":null}`},
		"no choices":             {"multi_select:P", nil, `{"multi_select":[]}`},
		"no date":                {"date:P", nil, `{"date":null}`},
	} {
		t.Run(title, func(t *testing.T) {
			property := `"P":` + c.want
			if c.want == "" {
				property = `"P: Q":{"rich_text":[{"text":{"content":"x"}}]}`
			}
			e := episode{do: "update", ref: notionPage, edit: func(l *lead.Lead) { l.Custom = map[string]any{"v": c.value} }, answers: []says{notionDone}, is: notionPage,
				asks: []string{`PATCH /v1/pages/` + notionPage + ` {"properties":{"Lead ID":{"rich_text":[{"text":{"content":"$ID"}}]},` + property + `}}`}}
			e.play(t, "notion", notionSettings, []connectors.FieldRule{{To: c.to, From: "v"}}, notionSends(t))
		})
	}
}

// TestT24NotionErrorsAreWhoseTheyAre: https://developers.notion.com/reference/status-codes
func TestT24NotionErrorsAreWhoseTheyAre(t *testing.T) {
	one := func(answer says, fault connectors.Fault, fails string, wait time.Duration) episode {
		return episode{do: "create", answers: []says{answer}, asks: []string{notionCreate}, fault: fault, fails: fails, wait: wait}
	}
	wait := func(answer says) says {
		answer.header = map[string]string{"Retry-After": "7"}
		return answer
	}
	plays(t, "notion", notionSettings, nil, notionSends(t), map[string]episode{
		"a wrong token":             one(notionRefuses(401, "unauthorized", "API token is invalid."), connectors.Setup, "401 API token is invalid.: unauthorized", 0),
		"no permission":             one(notionRefuses(403, "restricted_resource", "Insufficient permissions for this endpoint."), connectors.Setup, "403", 0),
		"a missing data source":     one(notionUnshared, connectors.Setup, "404", 0),
		"a missing property":        one(notionRefuses(400, "validation_error", "Phone is not a property that exists."), connectors.Setup, "400 Phone is not a property that exists.: validation_error", 0),
		"another type":              one(notionRefuses(400, "validation_error", "Phone is expected to be rich_text."), connectors.Setup, "400", 0),
		"a value that does not fit": one(notionRefuses(400, "validation_error", "body failed validation: body.properties.Email.email should be a valid email."), connectors.Lead, "400 body failed validation", 0),
		"a conflict":                one(notionRefuses(409, "conflict_error", "Conflict occurred while saving. Please try again."), connectors.Remote, "409", 0),
		"too many requests":         one(wait(notionRefuses(429, "rate_limited", "You have been rate limited. Please try again in a few minutes.")), connectors.Throttled, "429", 7*time.Second),
		"trouble of Notion's":       one(notionRefuses(500, "internal_server_error", "Unexpected error occurred."), connectors.Remote, "500", 0),
		"too much for Notion":       one(wait(notionRefuses(529, "service_overload", "Please slow down.")), connectors.Throttled, "529", 7*time.Second),
		"no page":                   one(says{status: 200, body: `{"object":"list","results":[]}`}, connectors.Unknown, "200", 0),
	})
}

func TestT16NotionAFailedSearchIsNoMissingRecord(t *testing.T) {
	plays(t, "notion", notionSettings, nil, notionSends(t), map[string]episode{
		"failed":           {do: "find", answers: []says{notionRefuses(503, "service_unavailable", "Notion is unavailable.")}, asks: []string{notionFind}, fault: connectors.Remote, fails: "notion: find: 503"},
		"out of reach":     {do: "find", answers: []says{notionUnshared}, asks: []string{notionFind}, fault: connectors.Setup, fails: "notion: find: 404"},
		"no list":          {do: "find", answers: []says{{status: 200, body: `{"object":"page"}`}}, asks: []string{notionFind}, fault: connectors.Unknown, fails: "notion: find: 200"},
		"without property": {do: "find", answers: []says{notionRefuses(400, "validation_error", "Could not find property with name or id: Lead ID")}, asks: []string{notionFind}, fault: connectors.Setup, fails: "notion: find: 400"},
	})
}

func TestNotionSettings(t *testing.T) {
	for name, c := range map[string]struct {
		settings map[string]any
		want     string
	}{
		"no token":       {map[string]any{"data_source_id": "d"}, "token: required"},
		"no data source": {map[string]any{"token": "t"}, "data_source_id: required"},
		"a database":     {map[string]any{"token": "t", "data_source_id": "d", "database_id": "d"}, "database_id: unknown setting"},
	} {
		if _, err := recipe(t, "notion").Kind().Open(c.settings, connectors.Env{}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
	if got, want := recipe(t, "notion").Kind().Limits.Rates, (connectors.Rate{Most: 3, Per: time.Second}); len(got) != 1 || got[0] != want {
		t.Errorf("the rates are %v", got)
	}
}

// TestNotionIsAskedAsItsClientAsks: what Notion's own client was recorded to send has the same shape.
func TestNotionIsAskedAsItsClientAsks(t *testing.T) {
	fields := []connectors.FieldRule{{To: "title:Name", From: "name"}, {To: "email:Email", From: "email"}}
	l := connectortest.Sample(1)
	c := converse(t, "notion", notionSettings, fields, nil, notionDone, notionHas, notionTrashed)
	for _, change := range []lead.Change{connectortest.Created(l), connectortest.Deleted(l)} {
		ref := map[lead.Op]string{lead.Delete: notionPage}[change.Op]
		if _, err := c.Push(t.Context(), change, ref); err != nil {
			t.Fatal(err)
		}
	}
	requests := c.requests()
	for title, got := range map[string]asked{"notion create": requests[0], "notion update/trash": requests[2]} {
		method, path, want := recorded(t, title)
		var body map[string]any
		if err := json.Unmarshal([]byte(got.body), &body); err != nil {
			t.Fatal(err)
		}
		if properties, ok := body["properties"].(map[string]any); ok {
			delete(properties, "Lead ID")
		}
		path = strings.Replace(path, "/pages/"+notionSource, "/pages/"+notionPage, 1)
		if got.method != method || got.uri != path || !reflect.DeepEqual(shape(body), shape(want)) || got.header.Get("Notion-Version") != "2025-09-03" {
			t.Errorf("%s: sent %s %s %s, want %s %s %v", title, got.method, got.uri, got.body, method, path, want)
		}
	}
}
