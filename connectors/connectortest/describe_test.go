package connectortest

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestADescriptionTellsRightRequestsFromWrongOnes(t *testing.T) {
	for _, row := range []struct {
		files       []string
		method, url string
		contentType string
		good        string
		bad         string
	}{
		{[]string{"brevo/contacts.json"}, "POST", "/v3/contacts", "application/json",
			`{"email":"zee@example.com","ext_id":"lead_1","updateEnabled":true}`, `{"email":7}`},
		{[]string{"klaviyo/get_profiles.json", "klaviyo/create_or_update_profile.json"}, "POST", "/api/profile-import", "application/vnd.api+json",
			`{"data":{"type":"profile","attributes":{"email":"zee@example.com","external_id":"lead_1"}}}`, `{"data":{"attributes":{}}}`},
		{[]string{"mailchimp/lists-v3.0.55.yaml"}, "PUT", "/3.0/lists/a1/members/0123456789abcdef0123456789abcdef", "application/json",
			`{"email_address":"zee@example.com","status_if_new":"subscribed"}`, `{"email_address":"zee@example.com","status_if_new":"friend"}`},
		{[]string{"listmonk/collections.yaml"}, "POST", "/api/subscribers", "application/json",
			`{"email":"zee@example.com","name":"Zee","status":"enabled","lists":[1]}`, `{"email":"zee@example.com","name":"Zee","status":"enabled","lists":"one"}`},
		{[]string{"pipedrive/persons-leads-v2.json"}, "POST", "/api/v2/persons", "application/json",
			`{"name":"Zee","emails":[{"value":"zee@example.com","primary":true}]}`, `{"name":17}`},
		{[]string{"zoho/record.json"}, "POST", "/crm/v8/Leads/upsert", "application/json",
			`{"data":[{"Last_Name":"Zee"}],"duplicate_check_fields":["Email"]}`, `{"data":[{"Last_Name":"Zee"}],"duplicate_check_fields":"Email"}`},
		{[]string{"notion/notion-openapi.json"}, "PATCH", "/v1/pages/59833787-2cf9-4fdf-8782-e53db20768a5", "application/json",
			`{"archived":true}`, `{"archived":"yes"}`},
	} {
		t.Run(row.files[0], func(t *testing.T) {
			d := Describe(t, row.files...)
			request := func(body string) *http.Request {
				r := httptest.NewRequest(row.method, "http://127.0.0.1:4711"+row.url, strings.NewReader(body))
				r.Header.Set("Content-Type", row.contentType)
				r.Header.Set("revision", "2026-07-15")
				r.Header.Set("Notion-Version", "2022-06-28")
				return r
			}
			good := request(row.good)
			if err := d.CheckRequest(good); err != nil {
				t.Errorf("the good request: %v", err)
			}
			if rest, _ := io.ReadAll(good.Body); string(rest) != row.good {
				t.Errorf("its body is then %q", rest)
			}
			if d.CheckRequest(request(row.bad)) == nil {
				t.Error("the bad request is accepted")
			}
			unknown := request(row.good)
			unknown.URL.Path += "/no/such/call"
			if d.CheckRequest(unknown) == nil {
				t.Error("an unknown call is accepted")
			}
		})
	}
}

func TestADescriptionTellsRightAnswersFromWrongOnes(t *testing.T) {
	d := Describe(t, "brevo/contacts.json")
	r := httptest.NewRequest("POST", "/v3/contacts", strings.NewReader(`{"email":"zee@example.com"}`))
	r.Header.Set("Content-Type", "application/json")
	answer := func(status int, body string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		io.WriteString(w, body)
		return w
	}
	if err := d.CheckAnswer(r, answer(201, `{"id":17}`)); err != nil {
		t.Errorf("a good answer: %v", err)
	}
	if d.CheckAnswer(r, answer(201, `{"id":"seventeen"}`)) == nil {
		t.Error("a bad answer is accepted")
	}
}
