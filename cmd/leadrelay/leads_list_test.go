package main

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/leadrelay/leadrelay/internal/lead"
	"github.com/leadrelay/leadrelay/internal/store"
)

func TestLeadsListFindsLeadsAndShowsNobodyUnlessAsked(t *testing.T) {
	d := newInboxDesk(t, "connectors: [{name: sheet, type: csv, settings: {path: sheet.csv}}, {name: other, type: csv, settings: {path: other.csv}}]\n")
	d.store.SetConnectors([]store.Connector{{Name: "sheet"}, {Name: "other"}})
	t.Setenv("LEADRELAY_NO_SKIP", "") // else each run warns that it is no setting
	if out, _ := d.run(0, "leads", "list"); out != "there are none\n" {
		t.Errorf("with none: %s", out)
	}
	d.run(0, "import", d.write("leads.csv", "email,name,source\njane@example.com,Jane Doe,website\nzoe@example.com,Zoë Müller,fair\nb@example.com,\u202eBob,website\n"))
	for i := range 120 {
		email, source := fmt.Sprintf("p%d@example.com", i), "many"
		if _, err := d.store.Create(t.Context(), lead.Patch{Email: &email, Source: &source}, nil); err != nil {
			t.Fatal(err)
		}
	}
	type one struct {
		LeadID     string `json:"lead_id"`
		Name       *string
		Email      *string
		Source     string
		CreatedAt  time.Time `json:"created_at"`
		Connectors []standingWithin
	}
	list := func(args ...string) (list []one) {
		t.Helper()
		out, _ := d.run(0, append([]string{"leads", "list", "--json"}, args...)...)
		if err := json.Unmarshal([]byte(out), &list); err != nil || list == nil {
			t.Fatalf("%v: %s", err, out)
		}
		return list
	}
	ids := map[string]string{} // by address
	for _, l := range list("--limit", "1000", "--show-personal") {
		if l.Name == nil || l.Email == nil {
			t.Fatalf("personal data were asked for: %+v", l)
		}
		ids[*l.Email] = l.LeadID
	}
	if len(ids) != 123 {
		t.Fatalf("%d leads are listed", len(ids))
	}
	// sheet refuses Jane.
	for shard := range lead.Shards {
		claims, err := d.store.Claim(context.Background(), store.Connector{Name: "sheet"}, shard, 1000, uuid.NewString(), time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range claims {
			verb := store.Done
			c.Record = store.Record{Synced: 1}
			if c.Change.Lead.ID == ids["jane@example.com"] {
				verb, c.Record = store.Park, store.Record{State: store.Parked, Reason: "sheet: no room"}
			}
			if _, err := d.store.Settle(context.Background(), c, verb, time.Time{}, time.Minute); err != nil {
				t.Fatal(err)
			}
		}
	}
	check := func(args []string, want ...string) {
		t.Helper()
		var got []string
		for _, l := range list(args...) {
			if l.Name != nil || l.Email != nil {
				t.Errorf("%q: personal data are shown: %+v", args, l)
			}
			got = append(got, l.LeadID)
		}
		var wanted []string
		for _, email := range want {
			wanted = append(wanted, ids[email])
		}
		slices.Sort(got)
		slices.Sort(wanted)
		if !slices.Equal(got, wanted) {
			t.Errorf("%q: got %q, want %q", args, got, wanted)
		}
	}
	check([]string{"--name", "MULLER"}, "zoe@example.com")
	check([]string{"--source", "website"}, "jane@example.com", "b@example.com")
	check([]string{"--connector", "sheet", "--state", "parked"}, "jane@example.com")
	check([]string{"--connector", "sheet", "--state", "in_step", "--name", "o"}, "zoe@example.com", "b@example.com")
	check([]string{"--connector", "other", "--state", "in_step"})
	check([]string{"--name", "doe", "--source", "fair"})
	check([]string{"--since", "2999-01-01"})
	if got := list("--since", "1h", "--limit", "1000"); len(got) != 123 {
		t.Errorf("since an hour ago there came %d", len(got))
	}
	if got := list("--connector", "other", "--state", "pending", "--limit", "1000"); len(got) != 123 || got[0].CreatedAt.IsZero() || got[0].Source != "many" || len(got[0].Connectors) != 2 {
		t.Errorf("%d are listed, the first is %+v", len(got), got[0])
	}
	out, errs := d.run(0, "leads", "list")
	if n := strings.Count(out, "\n"); n != 51 || !strings.Contains(errs, "--limit shows more") {
		t.Errorf("%d lines, and %s", n, errs)
	}
	out, errs = d.run(0, "leads", "list", "--source", "website")
	if !regexp.MustCompile(`ID +RECEIVED +SOURCE +STANDING\n`).MatchString(out) || errs != "" ||
		!regexp.MustCompile(ids["jane@example.com"]+` +\S+Z +website +other pending, sheet parked\n`).MatchString(out) || strings.Contains(out, "@") || strings.Contains(out, "Doe") {
		t.Errorf("got %s%s", out, errs)
	}
	out, _ = d.run(0, "leads", "list", "--source", "website", "--show-personal")
	says(t, out, "Jane Doe", "jane@example.com", `\u202eBob`)

	for want, args := range map[string][]string{
		"--limit: must be": {"--limit", "0"}, "--connector and --state go together": {"--connector", "sheet"}, "go together": {"--state", "parked"},
		"--state: must be one of pending": {"--connector", "sheet", "--state", "failed"}, "there are: sheet, other": {"--connector", "none", "--state", "parked"},
		"--since: must be": {"--since", "yesterday"}, "--name: no name": {"--name", strings.Repeat("x", 201)},
	} {
		if _, errs := d.run(1, append([]string{"leads", "list"}, args...)...); !strings.Contains(errs, want) {
			t.Errorf("%q says %q, want %q", args, errs, want)
		}
	}
}
