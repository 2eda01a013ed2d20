package main

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/leadrelay/leadrelay/internal/config"
	"github.com/leadrelay/leadrelay/internal/embedded"
	"github.com/leadrelay/leadrelay/internal/store"
)

// activityOf is what went on in the last hour of a running `leadrelay up`.
func activityOf(t *testing.T, r *running) store.Activity {
	t.Helper()
	url, ok := embedded.Running(filepath.Join(r.dir, "data"))
	if !ok {
		t.Fatal("no store runs")
	}
	s, err := openStore(t.Context(), embeddedRedis(url), &config.Config{}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer closeStore(s)
	activity, err := s.Activity(t.Context(), store.LastHour)
	if err != nil {
		t.Fatal(err)
	}
	return activity
}

func TestStatusSaysHowFastItGoesAndWhatWentWrong(t *testing.T) {
	for _, engine := range []string{"", "in-process"} {
		t.Run(engine, func(t *testing.T) {
			hook := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnprocessableEntity) }))
			t.Cleanup(hook.Close)
			r := startUp(t, t.TempDir(), engine, fmt.Sprintf("  - {name: hook, type: webhook, settings: {url: %q, secret: whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=, allow_private: true}}\n", hook.URL))
			verb := func(args ...string) string {
				t.Helper()
				code, out, stderr := outcome(append(args, "--config", filepath.Join(r.dir, "config.yaml"))...)
				if code != 0 {
					t.Fatalf("%v ended with %d: %s", args, code, stderr)
				}
				return out
			}
			type status struct {
				Connector, State, Reason string
				Backlog, Parked          int64
				PerMinute                float64 `json:"synced_per_minute"`
				LastError                *struct {
					At            time.Time
					Fault, Reason string
				} `json:"last_error"`
			}
			read := func() (sheet, failing status) {
				t.Helper()
				var all struct{ Connectors []status }
				if err := json.Unmarshal([]byte(verb("status", "--json")), &all); err != nil || len(all.Connectors) != 2 {
					t.Fatalf("got %+v, %v", all, err)
				}
				return all.Connectors[0], all.Connectors[1]
			}
			if sheet, hook := read(); sheet.PerMinute != 0 || sheet.LastError != nil || hook.LastError != nil || sheet.State != "in step" {
				t.Errorf("before anything: %+v, %+v", sheet, hook)
			}
			if got := verb("status"); !regexp.MustCompile(`CONNECTOR +STATE +BACKLOG +OLDEST +RATE +PARKED +LAST ERROR\nsheet +in step +0 +- +- +0 +-\n`).MatchString(got) {
				t.Errorf("before anything: %s", got)
			}
			for i := range 5 {
				r.post(fmt.Sprintf(`{"email":"p%d@example.com","source":"fair"}`, i))
			}
			wait(t, "what was pushed to be counted", func() bool {
				counted := activityOf(t, r)
				_, hook := read()
				return hook.Parked == 5 && counted.Sum("sheet").Synced == 5 && counted.Sum("hook").Failed == 5 && len(counted.Sources["fair"]) > 0
			})
			sheet, failing := read()
			if sheet.PerMinute <= 1 || sheet.PerMinute > 1.25 || sheet.LastError != nil || sheet.Backlog != 0 {
				t.Errorf("sheet: %+v", sheet)
			}
			if e := failing.LastError; failing.PerMinute != 0 || failing.Parked != 5 || e == nil || e.Fault != "lead" || !strings.Contains(e.Reason, "422") || time.Since(e.At).Abs() > time.Hour {
				t.Errorf("hook: %+v", failing)
			}
			activity := activityOf(t, r)
			if _, ok := activity.Sum("sheet").Latency(.5); !ok || activity.Sum("hook").Failed != 5 || !slices.Equal(activity.BusiestSources(), []string{"fair"}) {
				t.Errorf("counted is %+v", activity)
			}
			got := verb("status")
			for _, line := range []string{`sheet +in step +0 +- +1\.\d/min +0 +-`, `hook +in step +0 +- +- +5 +.*422.* \(\d+m?\d*s ago\)`} {
				if !regexp.MustCompile(line).MatchString(got) || strings.Contains(got, "example.com") {
					t.Errorf("status has no %s: %s", line, got)
				}
			}
			// An operator's pause is no error, and hides none.
			verb("pause", "hook")
			if got := verb("status"); !regexp.MustCompile(`hook +paused .*422.* ago\)`).MatchString(got) {
				t.Errorf("paused: %s", got)
			}
			if _, failing := read(); failing.State != "paused" || failing.Reason == "" {
				t.Errorf("paused: %+v", failing)
			}
		})
	}
}
