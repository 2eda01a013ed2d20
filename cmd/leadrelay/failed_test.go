package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestFailedSaysWhyLeadsAreParked(t *testing.T) {
	hook := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnprocessableEntity) }))
	t.Cleanup(hook.Close)
	r := startUp(t, t.TempDir(), "", fmt.Sprintf("  - {name: hook, type: webhook, settings: {url: %q, secret: whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=, allow_private: true}}\n", hook.URL))
	failed := func(args ...string) string {
		t.Helper()
		code, out, stderr := outcome(append([]string{"failed", "--config", filepath.Join(r.dir, "config.yaml")}, args...)...)
		if code != 0 {
			t.Fatalf("failed ended with %d: %s", code, stderr)
		}
		return out
	}
	if got := failed(); !strings.Contains(got, "no lead is parked") {
		t.Errorf("with none: %s", got)
	}
	var ids []string
	for i := range 5 {
		ids = append(ids, r.post(fmt.Sprintf(`{"email":"p%d@example.com"}`, i)))
	}
	var groups []parkedGroup
	wait(t, "every lead to be parked", func() bool {
		if err := json.Unmarshal([]byte(failed("hook", "--json")), &groups); err != nil {
			t.Fatal(err)
		}
		return len(groups) == 1 && groups[0].Leads == 5
	})
	if g := groups[0]; g.Connector != "hook" || !strings.Contains(g.Reason, "422") || len(g.Examples) != parkedExamples || !slices.Contains(ids, g.Examples[0]) {
		t.Errorf("got %+v", g)
	}
	if got := failed(); !strings.Contains(got, "hook") || !strings.Contains(got, "422") || strings.Contains(got, "example.com") || strings.Contains(got, "sheet") {
		t.Errorf("got %s", got)
	}
	if got := failed("sheet"); !strings.Contains(got, "no lead is parked") {
		t.Errorf("of another connector: %s", got)
	}
}
