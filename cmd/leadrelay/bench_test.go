package main

import (
	"context"
	"encoding/json"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/leadrelay/leadrelay/connectors/connectortest"
	"github.com/leadrelay/leadrelay/internal/bench"
)

func TestBenchMeasuresEverySection(t *testing.T) {
	if _, err := exec.LookPath("redis-server"); err != nil {
		connectortest.SkipOrFail(t, "redis-server is not installed: apt-get install redis-server")
	}
	t.Setenv("LEADRELAY_TEST_IS_MAIN", "1") // bench starts this program again
	code, out, errs := outcome("bench", "--json", "--rounds", "1", "--for", "100ms", "--leads", "300", "--samples", "8", "--connections", "4")
	if code != 0 {
		t.Fatalf("%d %s", code, errs)
	}
	var report bench.Report
	if err := json.Unmarshal([]byte(out), &report); err != nil {
		t.Fatal(err)
	}
	if len(report.Accept) != 5 || len(report.Drain) != 3 || report.Idle == nil || report.Both == nil || report.Kill == nil || report.Memory == nil {
		t.Fatalf("a section is missing: %s", out)
	}
	for _, accept := range report.Accept {
		if accept.PerSecond <= 0 || accept.P50 <= 0 || accept.P99 < accept.P50 {
			t.Errorf("accept: %+v", accept)
		}
	}
	for _, drain := range report.Drain {
		if drain.PerSecond <= 0 {
			t.Errorf("drain: %+v", drain)
		}
	}
	if report.Idle.Post.P50 <= 0 || report.Idle.Arrival.P50 <= 0 || report.Both.AcceptedPerSecond <= 0 || report.Memory.BytesPerLead < 150 {
		t.Errorf("%s", out)
	}
	for _, ratio := range report.Ratios {
		if ratio.Value <= 0 {
			t.Errorf("ratio: %+v", ratio)
		}
	}
	if !strings.Contains(errs, "accept, round 1 of 1: hset at 4 connections") {
		t.Errorf("it does not tell how it gets on: %s", errs)
	}
}

func TestBenchOfARunningInstanceLeavesNothingBehind(t *testing.T) {
	engines(t, func(t *testing.T, dir, engine string) {
		r := startUp(t, dir, engine)
		t.Setenv("LEADRELAY_API_KEY", r.key)
		var out, errs output
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if code := run(ctx, []string{"bench", "--url", r.url, "--for", "100ms", "--connections", "4", "--json"}, &out, &errs); code != 0 {
			t.Fatalf("%d %s", code, &errs)
		}
		var report bench.Report
		if err := json.Unmarshal([]byte(out.String()), &report); err != nil {
			t.Fatal(err)
		}
		if len(report.Accept) != 1 || report.Accept[0].PerSecond <= 0 || len(report.Drain) != 1 || report.Drain[0].Candidate != "sheet" {
			t.Errorf("got %s", &out)
		}
		if _, text := r.call("GET", "/api/v1/leads?source=leadrelay-bench", ""); !strings.Contains(text, `"data":[]`) {
			t.Errorf("leads are left: %.300s", text)
		}
	})
}
