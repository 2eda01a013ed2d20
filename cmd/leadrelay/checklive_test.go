package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/leadrelay/leadrelay/connectors/recipes"
	"github.com/leadrelay/leadrelay/connectors/rest"
)

// standIn is the vendor of a recipe that comes with leadrelay, and serves it through wrap, where that is not nil.
func standIn(t *testing.T, name string, wrap func(http.Handler) http.Handler) (vendor *rest.StandIn, url string) {
	t.Helper()
	all := recipes.All()
	i := slices.IndexFunc(all, func(r *rest.Recipe) bool { return r.Name == name })
	vendor, err := all[i].StandIn(map[string]any{"portal_id": "4201"})
	if err != nil {
		t.Fatal(err)
	}
	var handler http.Handler = vendor
	if wrap != nil {
		handler = wrap(vendor)
	}
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return vendor, server.URL
}

const hubspotConnector = `
  - {name: %s, type: hubspot, settings: {access_token: the-access-token-of-the-stand-in, base_url: %q, portal_id: "4201"}, fields: [{to: firstname, from: first_name}%s]}`

// checkedLive is what `leadrelay check --live` says of connectors.
func checkedLive(t *testing.T, connectors string, flags ...string) (code int, out string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(file, []byte("api_keys: [{name: backend, key: a-key-for-the-backend}]\nconnectors:"+connectors), 0o600); err != nil {
		t.Fatal(err)
	}
	var text, errs bytes.Buffer
	code = run(context.Background(), append([]string{"check", "--live", "-c", file}, flags...), &text, &errs)
	return code, text.String() + errs.String()
}

func TestCheckLiveSaysAllThatIsMissing(t *testing.T) {
	vendor, url := standIn(t, "hubspot", nil)
	sheet := fmt.Sprintf("\n  - {name: sheet, type: csv, settings: {path: %q}}", filepath.Join(t.TempDir(), "leads.csv"))
	well := fmt.Sprintf(hubspotConnector, "crm", url, "")
	if code, out := checkedLive(t, sheet+well); code != 0 || strings.Count(out, "): ready") != 2 {
		t.Errorf("all is there: %d: %s", code, out)
	}
	says := vendor.Lacks(1) // the right to write
	code, out := checkedLive(t, sheet+fmt.Sprintf(hubspotConnector, "crm", url, ", {to: utm_source, from: utm_source}, {to: shoe_size, from: shoe}"))
	for _, want := range []string{
		"sheet (csv): ready", "crm (hubspot): NOT READY (setup)\n",
		"\n  - there is no field utm_source: make it under Settings, Properties, Contact properties, or take it out of fields\n",
		"\n  - there is no field shoe_size: make it under", "\n  - " + says + "\n", "1 of 2 connectors are not ready",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("not said: %q in\n%s", want, out)
		}
	}
	if code != 1 || strings.Contains(out, "the configuration is valid") || strings.Contains(out, "the-access-token") {
		t.Errorf("exit %d: %s", code, out)
	}
	code, out = checkedLive(t, sheet+well, "--json")
	var said struct{ Connectors []liveCheck }
	if err := json.NewDecoder(strings.NewReader(out)).Decode(&said); err != nil || code != 1 || len(said.Connectors) != 2 {
		t.Fatalf("--json: exit %d, %v: %s", code, err, out)
	}
	if c := said.Connectors[0]; c.Connector != "sheet" || !c.Ready || c.Problems == nil {
		t.Errorf("--json: %+v", c)
	}
	if c := said.Connectors[1]; c.Ready || c.Fault != "setup" || !slices.Equal(c.Problems, []string{says}) {
		t.Errorf("--json: %+v", c)
	}
}

// TestCheckLiveAsksSideBySide: no connector is answered before both have asked.
func TestCheckLiveAsksSideBySide(t *testing.T) {
	var both sync.WaitGroup
	both.Add(2)
	config := ""
	for _, name := range []string{"one", "two"} {
		var first sync.Once
		_, url := standIn(t, "hubspot", func(vendor http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				first.Do(func() { both.Done(); both.Wait() })
				vendor.ServeHTTP(w, r)
			})
		})
		config += fmt.Sprintf(hubspotConnector, name, url, "")
	}
	code, out := checkedLive(t, config)
	if one, two := strings.Index(out, "one (hubspot): ready"), strings.Index(out, "two (hubspot): ready"); code != 0 || one < 0 || two < one {
		t.Errorf("exit %d: %s", code, out)
	}
}

func TestJSONOfACheckGoesWithLive(t *testing.T) {
	var errs bytes.Buffer
	if code := run(context.Background(), []string{"check", "--json"}, &errs, &errs); code == 0 || !strings.Contains(errs.String(), "--json goes with --live") {
		t.Errorf("%d: %s", code, &errs)
	}
}

// TestLeadsShowTellsWhereTheRecordIs: also in another process than the one that pushes.
func TestLeadsShowTellsWhereTheRecordIs(t *testing.T) {
	_, url := standIn(t, "hubspot", nil)
	r := startUp(t, t.TempDir(), "", fmt.Sprintf(hubspotConnector, "crm", url, "")[1:]+"\n")
	_, answer := r.call("POST", "/api/v1/leads", `{"email":"jane@example.com","name":"Jane Roe"}`)
	var made struct{ Lead struct{ ID string } }
	if err := json.Unmarshal([]byte(answer), &made); err != nil {
		t.Fatalf("%v: %s", err, answer)
	}
	show := func(flags ...string) string {
		var out bytes.Buffer
		run(context.Background(), append([]string{"leads", "show", "jane@example.com", "-c", filepath.Join(r.dir, "config.yaml")}, flags...), &out, io.Discard)
		return out.String()
	}
	const there = "https://app.hubspot.com/contacts/4201/record/0-1/1001"
	wait(t, "the record", func() bool { return strings.Contains(show(), "crm has it at "+there) })
	var lead leadStanding
	if out := show("--json"); json.Unmarshal([]byte(out), &lead) != nil || !slices.ContainsFunc(lead.Connectors, func(c standingWithin) bool { return c.Name == "crm" && c.URL == there }) {
		t.Errorf("--json: %s", out)
	}
	for _, c := range lead.Connectors {
		if c.Name == "sheet" && c.URL != "" {
			t.Errorf("a file has no address: %s", c.URL)
		}
	}
}
