package main

import (
	"encoding/json"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
)

// TestAFormAsConfigured posts a form that has everything, through `up`, down to the sheet and the inbox.
func TestAFormAsConfigured(t *testing.T) {
	r := startUp(t, t.TempDir(), "")
	r.reconfigure(r.read() + `
forms:
  - name: course
    origins: [https://www.example.com]
    fields: [{to: email, from: your-email}, {to: name, from: your-name}]
    required: [name]
    source: website
    set: [{to: campaign, value: spring}, {to: seats, value: 3}]
    redirect: {success: "https://www.example.com/thanks", error: "https://www.example.com/course"}
    honeypot: company_url
    rate: {posts: 5, per: 1h}
    consent: {field: terms, text: I agree., version: v2, required: true}
`)
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	post := func(values url.Values) (status int, location string) {
		t.Helper()
		req, err := http.NewRequest("POST", r.url+"/f/course", strings.NewReader(values.Encode()))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.Header.Set("Origin", "https://www.example.com")
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.StatusCode, resp.Header.Get("Location")
	}
	filled := func(email string) url.Values {
		return url.Values{"your-email": {email}, "your-name": {"Jane"}, "terms": {"on"}, "campaign": {"mine"}, "utm_source": {"mail"}}
	}
	if status, location := post(filled("jane@example.com")); status != 303 || location != "https://www.example.com/thanks" {
		t.Errorf("got %d %s", status, location)
	}
	spam := filled("bot@example.com")
	spam.Set("company_url", "http://spam.example")
	if status, location := post(spam); status != 303 || location != "https://www.example.com/thanks" {
		t.Errorf("spam: got %d %s", status, location)
	}
	if status, location := post(url.Values{"your-email": {"x@example.com"}}); status != 303 || !strings.HasPrefix(location, "https://www.example.com/course?") || !strings.Contains(location, "your-name") || !strings.Contains(location, "terms") {
		t.Errorf("without name and consent: got %d %s", status, location)
	}
	_, text := r.call("GET", "/api/v1/leads?source=website", "")
	var found struct{ Data []map[string]any }
	if err := json.Unmarshal([]byte(text), &found); err != nil || len(found.Data) != 1 {
		t.Fatalf("got %s", text)
	}
	for name, want := range map[string]any{"email": "jane@example.com", "name": "Jane", "campaign": "spring", "seats": 3.0, "utm_source": "mail", "consent": true, "consent_version": "v2"} {
		if got := found.Data[0][name]; got != want {
			t.Errorf("%s: got %v, want %v", name, got, want)
		}
	}
	code, out, stderr := outcome("inbox", "--json", "--config", filepath.Join(r.dir, "config.yaml"))
	if code != 0 || !strings.Contains(out, "honeypot") || strings.Contains(out, "bot@example.com") {
		t.Errorf("the inbox: %d %s %s", code, out, stderr)
	}
	post(filled("second@example.com"))
	post(filled("third@example.com"))
	if status, _ := post(filled("fourth@example.com")); status == 200 {
		t.Errorf("a sixth post within the hour: got %d", status)
	}
}
