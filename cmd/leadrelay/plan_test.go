package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/leadrelay/leadrelay/connectors"
	"github.com/leadrelay/leadrelay/internal/config"
	"github.com/leadrelay/leadrelay/internal/lead"
)

var updateGolden = flag.Bool("update", false, "write the golden files anew")

// planText runs `leadrelay plan` for another configuration and prints what varies from run to run as what it is.
func (r *running) planText(text string, ids []string, args ...string) string {
	r.t.Helper()
	path := filepath.Join(r.dir, "new.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		r.t.Fatal(err)
	}
	code, out, stderr := outcome(append([]string{"plan", "--config", filepath.Join(r.dir, "config.yaml"), path}, args...)...)
	if code != 0 {
		r.t.Fatalf("plan ended with %d: %s", code, stderr)
	}
	for i, id := range ids {
		out = strings.ReplaceAll(out, id, fmt.Sprintf("lead_%d", i+1))
	}
	out = strings.ReplaceAll(out, r.dir, "DIR")
	for pattern, name := range map[string]string{
		`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ`: "TIME",
		`(Webhook-Timestamp: )\d+`:        "${1}SECONDS",
	} {
		out = regexp.MustCompile(pattern).ReplaceAllString(out, name)
	}
	return out
}

// golden compares a text with the one that was once looked at and found right.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *updateGolden {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s: got\n%s\nwant\n%s", name, got, want)
	}
}

// TestAPlanSaysWhatAConfigurationWouldDo: nobody listens at any of its addresses.
func TestAPlanSaysWhatAConfigurationWouldDo(t *testing.T) {
	t.Setenv("PLAN_TOKEN", "pat-secret-of-hubspot")
	t.Setenv("PLAN_SIGNING", "whsec_c2VjcmV0LW9mLXRoZS13ZWJob29rLXNlY3JldA==")
	dir := t.TempDir()
	r := startUp(t, dir, "", `  - {name: list, type: csv, when: 'source == "web"', settings: {path: "`+dir+`/list.csv"}, fields: [{to: who, from: name}, {to: mail, from: email}]}`+"\n"+
		`  - {name: gone, type: csv, settings: {path: "`+dir+`/gone.csv"}}`+"\n")
	var ids []string
	for _, body := range []string{
		`{"email":"ada@example.com","name":"Ada Lovelace","source":"web","budget":900}`,
		`{"email":"bob@example.com","name":"Bob","source":"fair","budget":100}`,
		`{"email":"cy@example.com","name":"Cy","source":"fair","budget":"lots"}`,
	} {
		id := r.post(body)
		ids = append(ids, id)
		wait(t, "the next millisecond", func() bool { return time.Now().UnixMilli() > lead.IDTime(id).UnixMilli() }) // the order is shown
	}
	wait(t, "the list to be in step", func() bool { return r.syncs("list", "--dry-run")["in_step"] == 3.0 })
	next := strings.NewReplacer(
		`when: 'source == "web"'`, `when: 'source == "fair"'`,
		`  - {name: gone, type: csv, settings: {path: "`+dir+`/gone.csv"}}`, strings.TrimSuffix(`  - name: crm
    type: hubspot
    when: email != "cy@example.com"
    settings: {access_token: "${PLAN_TOKEN}", base_url: "http://127.0.0.1:1"}
    fields: [{to: firstname, from: first_name}, {to: company, template: "{{if eq .source \"fair\"}}{{slice .name 9}}{{else}}Engines{{end}}"}]
  - name: hook
    type: webhook
    when: budget > 500
    settings: {url: "http://127.0.0.1:1/secret-path", secret: "${PLAN_SIGNING}"}
    fields: [{to: name, from: name}]
`, "\n"),
	).Replace(r.read())
	if text := r.planText(next, ids); !strings.Contains(text, "secret-") {
		golden(t, "plan.golden", text)
	} else {
		t.Errorf("a secret is shown:\n%s", text)
	}

	var plan planOutcome
	if err := json.Unmarshal([]byte(r.planText(next, ids, "--json")), &plan); err != nil {
		t.Fatal(err)
	}
	changes := map[string]string{}
	for _, c := range plan.Connectors {
		changes[c.Connector] = c.Change
	}
	if got := fmt.Sprint(changes, plan.TakenOut, plan.Problems); got != "map[crm:new hook:new list:changed sheet:unchanged] [gone] []" {
		t.Errorf("got %s", got)
	}
	if crm := plan.Connectors[2]; crm.Gets.Leads != 2 || len(crm.Samples) != 1 || len(crm.Samples[0].Requests) != 1 || crm.Samples[0].Requests[0].Header.Get("Authorization") != "Bearer "+connectors.Masked {
		t.Errorf("got %+v", crm)
	}
	if text := r.planText(next, ids, "--no-samples"); strings.Contains(text, "POST") || strings.Contains(text, "Ada") {
		t.Errorf("without samples:\n%s", text)
	}

	// Where the secrets are not, the leads are counted all the same.
	os.Unsetenv("PLAN_TOKEN")
	text := r.planText(next, ids)
	if !strings.Contains(text, "PLAN_TOKEN is not set") || strings.Contains(text, "POST") || !strings.Contains(text, "crm (hubspot, new): 2 lacking") {
		t.Errorf("without a secret:\n%s", text)
	}
}

func TestThePlanOfTheConfigurationInUseChangesNothing(t *testing.T) {
	r := startUp(t, t.TempDir(), "")
	r.post(`{"email":"ada@example.com"}`)
	wait(t, "the sheet to be in step", func() bool { return r.syncs("sheet", "--dry-run")["in_step"] == 1.0 })
	code, out, stderr := outcome("plan", "--config", filepath.Join(r.dir, "config.yaml"))
	if code != 0 || out != "sheet (csv, unchanged): nothing to bring in step\n" {
		t.Errorf("got %d, %q, %q", code, out, stderr)
	}
}

func TestTheEffortOfASyncIsByTheLimits(t *testing.T) {
	request := func(cost, leads int) connectors.Rehearsed { return connectors.Rehearsed{Cost: cost, Leads: leads} }
	perDay := connectors.Rate{Most: 1000, Per: 24 * time.Hour}
	perSecond := connectors.Rate{Most: 10, Per: time.Second}
	credits := connectors.Rate{Most: 5000, Per: 24 * time.Hour, ByCost: true}
	for name, c := range map[string]struct {
		leads int
		each  []connectors.Rehearsed
		rates []connectors.Rate
		want  string
	}{
		"no limit":                       {100, nil, nil, "100 calls"},
		"within the limits":              {10, nil, []connectors.Rate{perDay, perSecond}, "10 calls"},
		"by the second":                  {95, nil, []connectors.Rate{perDay, perSecond}, "95 calls, 9s at least by its limit of 10 calls in 1s"},
		"by the day":                     {2500, nil, []connectors.Rate{perDay, perSecond}, "2,500 calls, 48h at least by its limit of 1,000 calls in 24h"},
		"several requests of each":       {1000, []connectors.Rehearsed{request(1, 0), request(1, 0)}, []connectors.Rate{perDay}, "2,000 calls, 24h at least by its limit of 1,000 calls in 24h"},
		"several leads in some of these": {1000, []connectors.Rehearsed{request(1, 100), request(1, 0)}, []connectors.Rate{perDay}, "1,010 calls, 24h at least by its limit of 1,000 calls in 24h"},
		"by what they cost":              {10000, []connectors.Rehearsed{request(20, 10)}, []connectors.Rate{credits}, "1,000 calls, 20,000 credits, 72h at least by its limit of 5,000 credits in 24h"},
	} {
		got := effortOf(config.Connector{Type: "none", Limits: connectors.Limits{Rates: c.rates}}, map[difference]int{missing: c.leads}, map[difference][]connectors.Rehearsed{missing: c.each}).String()
		if got != c.want {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
}
