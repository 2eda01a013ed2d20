package main

import (
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/leadrelay/leadrelay/internal/config"
	"github.com/leadrelay/leadrelay/internal/console"
	"github.com/leadrelay/leadrelay/internal/store"
)

// signedIn is an operator's browser, with the configuration's text without operators.
func (r *running) signedIn(configuration string) (page func(path string) string) {
	r.t.Helper()
	const password = "correct horse battery"
	hash, err := console.HashPassword(password)
	if err != nil {
		r.t.Fatal(err)
	}
	r.reconfigure(configuration + fmt.Sprintf("operators: [{name: anna, password_hash: '%s'}]\n", hash))
	client := &http.Client{}
	client.Jar, _ = cookiejar.New(nil)
	page = func(path string) string {
		r.t.Helper()
		resp, err := client.Get(r.url + path)
		if err != nil {
			r.t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != http.StatusOK {
			r.t.Fatalf("%s: %d, %v: %s", path, resp.StatusCode, err, body)
		}
		return html.UnescapeString(string(body))
	}
	token := regexp.MustCompile(`name="token" value="([^"]+)"`).FindStringSubmatch(page("/console/login"))
	resp, err := client.PostForm(r.url+"/console/login", url.Values{"token": {token[1]}, "name": {"anna"}, "password": {password}})
	if err != nil {
		r.t.Fatal(err)
	}
	resp.Body.Close()
	return page
}

// TestTheConsoleShowsWhatWouldBeSentByTheConfigurationInUse: nobody listens where the crm and the hook would be.
func TestTheConsoleShowsWhatWouldBeSentByTheConfigurationInUse(t *testing.T) {
	t.Setenv("CRM_TOKEN", "pat-secret-of-hubspot")
	r := startUp(t, t.TempDir(), "", `  - {name: crm, type: hubspot, when: 'source == "web"', settings: {access_token: "${CRM_TOKEN}", base_url: "http://127.0.0.1:1"}, fields: [{to: city, template: "{{slice .city 0 3}}"}]}`+"\n"+
		`  - {name: hook, type: webhook, settings: {url: "http://127.0.0.1:1/secret-path", allow_private: true}}`+"\n"+
		`  - {name: mail, type: smtp, when: 'budget > 5', settings: {host: 127.0.0.1, port: 1, from: leads@example.com, to: [sales@example.com], events: [deleted]}}`+"\n")
	configuration := r.read()
	ada := r.post(`{"email":"ada@example.com","name":"Ada","source":"web","city":"London","budget":9}`)
	bob := r.post(`{"email":"bob@example.com","name":"Bob","source":"fair","budget":"lots"}`)
	cy := r.post(`{"email":"cy@example.com","name":"Cy","source":"web","city":"Ur"}`)
	wait(t, "the sheet to be in step", func() bool { return r.syncs("sheet", "--dry-run")["in_step"] == 3.0 })
	page := r.signedIn(configuration)
	shows := func(id, connector string, words ...string) {
		t.Helper()
		text := page("/console/leads/" + id + "/sends/" + connector)
		for _, word := range words {
			if !strings.Contains(text, word) {
				t.Errorf("%s: %q is not in %s", connector, word, text)
			}
		}
		if strings.Contains(text, "secret-") {
			t.Errorf("%s: a secret is shown: %s", connector, text)
		}
	}
	shows(ada, "sheet", "of "+r.dir, "ada@example.com")
	shows(ada, "crm", "POST http://127.0.0.1:1/crm/v3/objects/contacts/batch/upsert", "Bearer ••••", `"city": "Lon"`, "Push it now")
	shows(bob, "crm", string(console.VerdictNothing), noteLeftOut)
	shows(cy, "crm", string(console.VerdictRejected), "field city: the template does not fit this lead")
	shows(cy, "hook", "POST ••••", `"type": "lead.created"`, `"email": "cy@example.com"`)
	shows(ada, "mail", string(console.VerdictNothing), noteUntold)
	shows(bob, "mail", string(console.VerdictRejected), "the expression does not fit this lead")

	// By another configuration it is another answer.
	r.reconfigure(strings.Replace(r.read(), `source == "web"`, `source == "fair"`, 1))
	shows(bob, "crm", string(console.VerdictRejected), "field city")
	if text := page("/console/leads/" + ada + "/sends/crm"); strings.Contains(text, "batch/upsert") {
		t.Errorf("what is left out now: %s", text)
	}

	// What a system has of a lead that the filter leaves out is taken away; of one that is deleted, where it has anything.
	r.reconfigure(strings.Replace(r.read(), "- {name: sheet, type: csv,", `- {name: sheet, type: csv, when: 'source == "web"',`, 1))
	shows(bob, "sheet", noteRemoved, "remove row ")
	r.call("DELETE", "/api/v1/leads/"+ada, "")
	shows(ada, "hook", string(console.VerdictNothing), noteNothing) // it never heard of the lead
}

func TestAProcessThatOpensNoConnectorsSaysSo(t *testing.T) {
	if got := wouldSend(t.Context(), config.Connector{Name: "crm"}, store.Held{}); got.Verdict != console.VerdictUnknown || got.Note != noteClosed {
		t.Errorf("got %+v", got)
	}
}
