package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// syncs runs `leadrelay sync` on a running up and returns its counts.
func (r *running) syncs(args ...string) map[string]any {
	r.t.Helper()
	code, out, stderr := outcome(append([]string{"sync", "--json", "--config", filepath.Join(r.dir, "config.yaml")}, args...)...)
	if code != 0 {
		r.t.Fatalf("sync ended with %d: %s", code, stderr)
	}
	var counts map[string]any
	if err := json.Unmarshal([]byte(out), &counts); err != nil {
		r.t.Fatalf("%v: %s", err, out)
	}
	return counts
}

// reconfigure replaces the configuration and waits until it is taken over.
func (r *running) reconfigure(text string) {
	r.t.Helper()
	const said = "is taken over"
	before := strings.Count(r.out.String(), said)
	r.write(text)
	wait(r.t, "the new configuration", func() bool { return strings.Count(r.out.String(), said) > before })
}

// plans runs `leadrelay plan` for another configuration.
func (r *running) plans(text string) map[string]planned {
	r.t.Helper()
	path := filepath.Join(r.dir, "new.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		r.t.Fatal(err)
	}
	code, out, stderr := outcome("plan", "--json", "--config", filepath.Join(r.dir, "config.yaml"), path)
	if code != 0 {
		r.t.Fatalf("plan ended with %d: %s", code, stderr)
	}
	var answer struct{ Connectors []planned }
	if err := json.Unmarshal([]byte(out), &answer); err != nil {
		r.t.Fatal(err)
	}
	all := map[string]planned{}
	for _, p := range answer.Connectors {
		all[p.Connector] = p
	}
	return all
}

func TestSyncBringsAConnectorInStepWithWhatWasThereBeforeIt(t *testing.T) {
	r := startUp(t, t.TempDir(), "")
	first := r.read()
	for i := range 30 {
		r.post(fmt.Sprintf(`{"email":"p%d@example.com","name":"Person %d","source":"%s"}`, i, i, []string{"web", "fair"}[i%2]))
	}
	gone := r.post(`{"email":"gone@example.com"}`)
	r.call("DELETE", "/api/v1/leads/"+gone, "")
	path := filepath.Join(r.dir, "second.csv")
	second := fmt.Sprintf("  - {name: second, type: csv, settings: {path: %q}", path)
	text := func() string { text, _ := os.ReadFile(path); return string(text) }
	want := func(got map[string]any, missing, outdated, leftOut, inStep int) {
		t.Helper()
		for name, n := range map[string]int{"missing": missing, "outdated": outdated, "left_out": leftOut, "in_step": inStep, "leads": 30} {
			if got[name] != float64(n) {
				t.Errorf("%s: got %v, want %d: %v", name, got[name], n, got)
			}
		}
	}
	settled := func() {
		t.Helper()
		wait(t, "the second to be in step", func() bool { return r.syncs("second", "--dry-run")["in_step"] == 30.0 })
	}

	r.reconfigure(first + second + "}\n")
	want(r.syncs("second", "--dry-run"), 30, 0, 0, 0)
	if _, err := os.Stat(path); err == nil {
		t.Error("a dry run wrote something")
	}
	want(r.syncs("second"), 30, 0, 0, 0)
	settled()
	if got := inSheet(path); got != 30 {
		t.Errorf("the second has %d rows, want 30", got)
	}
	want(r.syncs("second"), 0, 0, 0, 30)

	// Another mapping.
	plan := r.plans(first + second + ", fields: [{to: email, from: email}, {to: who, template: 'Mx {{.name}}'}], limits: {rate: 10, per: 1s}}\n" +
		"  - {name: third, type: hubspot, when: 'source == \"web\"'}\n")
	if got := plan["second"]; got.Change != "changed" || got.Outdated != 30 || got.Effort.Calls != 1 {
		t.Errorf("the plan for the second: %+v", got)
	}
	if got := plan["third"]; got.Change != "new" || got.Gets.Leads != 15 || got.Missing != 15 || got.InStep != 15 {
		t.Errorf("the plan for the third: %+v", got)
	}
	r.reconfigure(first + second + ", fields: [{to: email, from: email}, {to: who, template: 'Mx {{.name}}'}]}\n")
	want(r.syncs("second", "--dry-run", "--where", `source == "fair"`), 0, 15, 0, 0)
	want(r.syncs("second"), 0, 30, 0, 0)
	settled()
	if !strings.Contains(text(), "Mx Person 7") {
		t.Errorf("the second is not written by the new mapping:\n%s", text())
	}

	// Another filter.
	r.reconfigure(first + second + ", when: 'source == \"web\"', fields: [{to: email, from: email}, {to: who, template: 'Mx {{.name}}'}]}\n")
	want(r.syncs("second"), 0, 0, 15, 15)
	settled()
	if got := inSheet(path); got != 15 || strings.Contains(text(), "Person 7") {
		t.Errorf("the second has %d rows, want the 15 of the web:\n%s", got, text())
	}
	if code, _, stderr := outcome("sync", "third", "--config", filepath.Join(r.dir, "config.yaml")); code == 0 || !strings.Contains(stderr, "there are: sheet, second") {
		t.Errorf("an unknown connector: %d %s", code, stderr)
	}
}

func TestDropForgetsAConnectorThatWasTakenOut(t *testing.T) {
	r := startUp(t, t.TempDir(), "", "  - {name: old, type: csv, settings: {path: /dev/null/leads.csv}}\n")
	file := filepath.Join(r.dir, "config.yaml")
	id := r.post(`{"email":"a@example.com"}`)
	deleted := r.post(`{"email":"b@example.com"}`)
	wait(t, "the old one to be tried", func() bool {
		_, text := r.call("GET", "/api/v1/leads/"+id, "")
		return strings.Contains(text, `"fault"`)
	})
	if status, text := r.call("DELETE", "/api/v1/leads/"+deleted, ""); status != 200 {
		t.Fatalf("delete: %d %s", status, text)
	}
	if code, _, stderr := outcome("drop", "old", "--config", file); code == 0 || !strings.Contains(stderr, "take it out of the configuration first") {
		t.Errorf("a configured one: %d %s", code, stderr)
	}
	text, _, _ := strings.Cut(r.read(), "  - {name: old")
	r.reconfigure(text)
	if code, out, stderr := outcome("drop", "old", "--config", file); code != 0 || !strings.Contains(out, "2 leads") {
		t.Errorf("drop: %d %s %s", code, out, stderr)
	}
	if _, text := r.call("GET", "/api/v1/leads/"+id, ""); strings.Contains(text, `"old"`) {
		t.Errorf("the lead still has a standing there: %s", text)
	}
	wait(t, "the deleted lead to be gone", func() bool {
		_, text := r.call("GET", "/api/v1/leads/"+deleted, "")
		return !strings.Contains(text, "deleted_at")
	})
	if code, _, stderr := outcome("drop", "old", "--config", file); code == 0 || !strings.Contains(stderr, "nothing is known") {
		t.Errorf("again: %d %s", code, stderr)
	}
}
