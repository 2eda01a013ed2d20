package console_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/leadrelay/leadrelay/internal/console"
	"github.com/leadrelay/leadrelay/internal/lead"
	"github.com/leadrelay/leadrelay/internal/redistest"
	"github.com/leadrelay/leadrelay/internal/store"
)

// words are the words of a page, without its markup.
func words(page string) string {
	var out strings.Builder
	inside := false
	for _, r := range page {
		switch {
		case r == '<':
			inside = true
			out.WriteByte(' ')
		case r == '>':
			inside = false
		case !inside:
			out.WriteRune(r)
		}
	}
	return strings.Join(strings.Fields(out.String()), " ")
}

// says checks that a page has words.
func says(t *testing.T, page string, wanted ...string) {
	t.Helper()
	text := words(page)
	for _, want := range wanted {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in: %s", want, text)
		}
	}
}

func TestWithNothingEachPageSaysSo(t *testing.T) {
	w := newWorld(t, func(w *world, _ *console.Options) { w.store.SetConnectors(nil) })
	b := w.operator()
	says(t, b.page("/console"), "No connector is configured.", "Nothing waits", "a1b2c3", "2 Jan 2026, 03:04:05 UTC", "Redis")
	says(t, b.page("/console/leads"), "No lead has come yet.")
	says(t, b.page("/console/leads?source=website"), "No lead is like that.", "Show all")
	says(t, b.page("/console/failed"), "Nothing failed.")
	says(t, b.page("/console/inbox"), "The inbox is empty.")
	says(t, b.page("/console/inbox?state=spam"), "Nothing like that waits.")
	says(t, b.page("/console/audit"), "olga signed in")
	l := w.add("Jane Doe", "jane@example.com", "", nil)
	says(t, b.page("/console/leads/"+l.ID), "No connector is configured, so the lead is kept here alone.")
	if said, _ := b.say("/console/leads/"+l.ID+"/push", "connector", ""); said != "There is no connector to push it to." {
		t.Errorf("said %q", said)
	}
}

func TestTheOverviewSaysHowEachConnectorIsDoingAndWhy(t *testing.T) {
	ctx := context.Background()
	problem := "connectors[0].list: must not be empty"
	w := newWorld(t, func(w *world, o *console.Options) {
		var all []store.Connector
		for _, name := range []string{"instep", "behind", "waiting", "limited", "down", "held", "paused"} {
			all = append(all, store.Connector{Name: name})
		}
		w.store.SetConnectors(all)
		o.Config = func() console.ConfigState { return console.ConfigState{Revision: "a1b2c3", Problem: problem} }
	})
	w.add("Jane Doe", "jane@example.com", "website", nil)
	w.add("John Doe", "john@example.com", "website", nil)
	w.work("instep", done)
	w.work("held", parked("400 Invalid"))
	now := w.store.Now()
	for name, g := range map[string]store.Gate{
		"waiting": {State: store.GateWaiting, Reason: "429 Too Many Requests", Until: now.Add(90 * time.Minute), Since: now},
		"down":    {State: store.GateDown, Reason: "connection refused", Since: now.Add(-3 * time.Hour)},
		"held":    {State: store.GateHeld, Reason: "401 Unauthorized", Until: now.Add(10 * time.Minute)},
		"paused":  {State: store.GatePaused, Reason: "paused by an operator", Since: now.Add(-50 * time.Hour)},
	} {
		if err := w.store.SetGate(ctx, name, g); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.store.NoteRest(ctx, "limited", now.Add(time.Hour), time.Hour); err != nil {
		t.Fatal(err)
	}
	w.keep("form/contact", store.Spam, "the honeypot is filled", `{}`)
	w.keep("source/signup", store.Unmapped, "no address", `{}`)
	b := w.operator()
	page := b.page("/console")
	says(t, page,
		"instep in step Every lead has arrived. Backlog 0 Oldest – Failed",
		"behind behind Leads are on their way. Backlog 2 Oldest 0 s",
		"waiting waiting 429 Too Many Requests Goes on in 1 h Backlog 2",
		"limited waiting its limits are used up Goes on in 59 min",
		"down down connection refused For 3 h",
		"held held 401 Unauthorized Tried again in 9 min Backlog 0 Oldest – Failed 2",
		"paused paused paused by an operator For 2 days",
		"form/contact 1 0 0", "source/signup 0 1 0", problem,
	)
	if !strings.Contains(page, "a restart of Redis") && !strings.Contains(page, "survives") {
		t.Error("nothing is said of persistence")
	}
	for _, name := range []string{"jane", "Doe", "john"} {
		if strings.Contains(page, name) {
			t.Errorf("the overview shows %s", name)
		}
	}
}

func TestPauseAndResume(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t, nil)
	b := w.operator()
	if said, at := b.say("/console/connectors/crm/pause"); said != "crm is paused. Its leads are kept until it is resumed." || at != "/console" {
		t.Errorf("said %q at %s", said, at)
	}
	if gates, err := w.store.Gates(ctx); err != nil || gates["crm"].State != store.GatePaused || len(gates) != 1 {
		t.Errorf("gates %+v, %v", gates, err)
	}
	says(t, b.page("/console"), "crm paused paused by an operator For")
	if strings.Contains(b.page("/console"), "crm is paused.") {
		t.Error("what was said is said again")
	}
	if said, _ := b.say("/console/connectors/crm/resume"); said != "crm is resumed. Its leads go out now." {
		t.Errorf("said %q", said)
	}
	if gates, err := w.store.Gates(ctx); err != nil || len(gates) != 0 {
		t.Errorf("gates %+v, %v", gates, err)
	}
	if got := w.acts(); !slices.Equal(got, []string{"olga resumed crm", "olga paused crm", "olga signed in"}) {
		t.Errorf("the trail is %q", got)
	}
	says(t, b.page("/console/audit"), "olga resumed crm", "olga paused crm", "olga signed in")
}

// link is where a link of a page goes that says text, "" where there is none.
func link(page, text string) string {
	before, _, ok := strings.Cut(page, ">"+text+"</a>")
	if !ok {
		return ""
	}
	_, after, _ := strings.Cut(before[strings.LastIndex(before, "<a "):], `href="`)
	href, _, _ := strings.Cut(after, `"`)
	return strings.ReplaceAll(href, "&amp;", "&")
}

func TestLeadsAreSearchedFilteredAndPaged(t *testing.T) {
	w := newWorld(t, nil)
	b := w.operator()
	var all []lead.Lead
	for i := range 120 {
		source := "website"
		if i%10 == 0 {
			source = "fair & square"
		}
		all = append(all, w.add(fmt.Sprintf("Person %03d", i), fmt.Sprintf("person%03d@example.com", i), source, nil))
	}
	walk := func(path string, want int) {
		t.Helper()
		seen, pages := map[string]bool{}, 0
		for path != "" {
			page := b.page(path)
			for _, l := range all {
				if strings.Contains(page, `"/console/leads/`+l.ID+`"`) {
					if seen[l.ID] {
						t.Errorf("%s is on two pages", l.Name)
					}
					seen[l.ID] = true
				}
			}
			if pages++; pages > 1 && link(page, "Newest") == "" {
				t.Error("there is no way back")
			}
			path = link(page, "Older")
		}
		if len(seen) != want {
			t.Errorf("%d leads on %d pages, want %d", len(seen), pages, want)
		}
	}
	walk("/console/leads", 120)
	walk("/console/leads?source=fair+%26+square", 12)
	if page := b.page("/console/leads"); strings.Index(page, "Person 119") > strings.Index(page, "Person 090") {
		t.Error("the newest is not the first")
	}

	search := func(what string) string {
		t.Helper()
		a := b.post("/console/leads", "q", what)
		if a.status != http.StatusSeeOther || strings.Contains(a.to(), "@") || strings.Contains(a.to(), "example") {
			t.Errorf("%s: %d %s", what, a.status, a.to())
		}
		return a.to()
	}
	if got := search(" Person007@Example.com "); got != "/console/leads/"+all[7].ID {
		t.Errorf("found %s", got)
	}
	if got := search(all[9].ID); got != "/console/leads/"+all[9].ID {
		t.Errorf("found %s", got)
	}
	says(t, b.page(search("nobody@example.com")), "No lead is like that.", "nobody@example.com")
	again := w.add("Person again", "person007@example.com", "fair", nil)
	page := b.page(search("person007@example.com"))
	says(t, page, "Leads of person007@example.com", "Person 007", "Person again")
	if strings.Contains(page, "Person 008") || !strings.Contains(page, again.ID) {
		t.Error("the search finds others")
	}
	if got := w.acts(); len(got) != 1 {
		t.Errorf("looking is in the trail: %q", got)
	}
}

// hostile would be at home in any part of a page.
const hostile = `"'><script>alert(1)</script><img src=x onerror=alert(1)>{{.}}</textarea></pre>` + "`${1}` javascript:alert(1)"

func TestWhatALeadHoldsIsTextAndNothingElse(t *testing.T) {
	w := newWorld(t, func(w *world, o *console.Options) {
		o.RemoteURL = func(string, string) string { return "javascript:alert(1)//" + hostile }
	})
	l := w.add(hostile, `"'><script>alert(1)</script>`+"@example.com", hostile, map[string]any{
		hostile: hostile, "list": []any{hostile, map[string]any{hostile: hostile}}, "yes": true, "n": json.Number("12.50"),
	})
	w.work("crm", parked(hostile))
	w.work("newsletter", func(c *store.Claim) store.Verb {
		c.Record = store.Record{Synced: 1, Ref: hostile, Fault: hostile, Reason: hostile, At: 1}
		return store.Done
	})
	if err := w.store.SetGate(t.Context(), "crm", store.Gate{State: store.GateHeld, Reason: hostile}); err != nil {
		t.Fatal(err)
	}
	sub := w.keep("form/"+hostile, store.Unmapped, hostile, `{"note": "`+strings.ReplaceAll(hostile, `"`, `\"`)+`"}`)
	raw := w.keep("form/x", store.Spam, hostile, hostile+"\xff")
	w.store.NoteAct(t.Context(), store.Act{Operator: hostile, What: hostile, Connector: hostile, Lead: hostile, Detail: hostile})
	b := w.operator()
	paths := append(readable, "/console/leads/"+l.ID, "/console/leads/"+l.ID+"/delete", "/console/inbox/"+sub.ID, "/console/inbox/"+raw.ID,
		"/console/inbox/"+raw.ID+"/drop", "/console/leads?source=%22%3E%3Cscript%3Ealert(1)%3C/script%3E", "/console/login?next=%22%3E%3Cscript%3Ealert(1)%3C/script%3E",
		"/console/inbox?state=%22%3E%3Cscript%3Ealert(1)%3C/script%3E&origin=%22%3E%3Cscript%3E")
	pages := map[string]string{}
	for _, path := range paths {
		a := b.get(path)
		pages[path] = a.body
		if strings.HasPrefix(path, "/console/login") {
			pages[path] = w.browser().page(path)
		}
	}
	a := b.post("/console/leads", "q", `"><script>alert(1)</script>@example.com`)
	pages["search"] = b.page(a.to())
	pages["login"] = w.browser().login(`"><script>alert(1)</script>`, "wrong").body
	for path, page := range pages {
		for _, bad := range []string{"<script>", "<img src=x", "</pre>`", `"javascript:`, "'javascript:", "</textarea>"} {
			if strings.Contains(page, bad) {
				t.Errorf("%s has %s", path, bad)
			}
		}
		if page == "" {
			t.Errorf("%s is empty", path)
		}
	}
	says(t, pages["/console/leads/"+l.ID], "12.50", "true", "alert(1)")
}

func TestALeadsPageSaysWhereItStandsEverywhere(t *testing.T) {
	w := newWorld(t, nil)
	ctx := context.Background()
	l := w.add("Jane Doe", "jane@example.com", "website", map[string]any{"budget": json.Number("1200"), "tags": []any{"a", "b"}})
	b := w.operator()
	says(t, b.page("/console/leads/"+l.ID), "Jane Doe", "jane@example.com", "website", "budget 1200", `tags [&#34;a&#34;,&#34;b&#34;]`, "crm on its way", "newsletter on its way", "Has revision none", "Last attempt none yet")
	w.work("crm", done)
	w.work("newsletter", func(c *store.Claim) store.Verb {
		c.Record = store.Record{State: store.Retrying, Fault: "remote", Reason: "newsletter: 502 Bad Gateway", Attempts: 3, At: w.store.Now().UnixMilli(), Next: w.store.Now().Add(time.Hour).UnixMilli()}
		return store.Later
	})
	page := b.page("/console/leads/" + l.ID)
	says(t, page, "crm in step Record there remote-"+l.ID[len(l.ID)-4:], "Has revision 1",
		"newsletter failed, is tried again newsletter: 502 Bad Gateway", "Failed attempts 3 in a row", "Fault remote", "Next try in 59 min")
	if !strings.Contains(page, `href="https://crm.example.com/contacts/remote-`) || !strings.Contains(page, `rel="noreferrer noopener"`) {
		t.Error("there is no way to the record")
	}
	// A connector that is configured no more is told of, and nothing can be pushed to it.
	w.store.SetConnectors([]store.Connector{{Name: "newsletter"}})
	says(t, b.page("/console/leads/"+l.ID), "It is configured no more.")
	if a := b.post("/console/leads/"+l.ID+"/push", "connector", "crm"); a.status != http.StatusNotFound {
		t.Errorf("pushed to what is not there: %d", a.status)
	}
	// The id of a submission leads to the inbox.
	sub := w.keep("form/contact", store.Spam, "too fast", `{}`)
	if a := b.get("/console/leads/" + sub.ID); a.to() != "/console/inbox/"+sub.ID {
		t.Errorf("%d %s", a.status, a.to())
	}
	// A deleted one is told of until the last connector has confirmed.
	if err := w.store.Delete(ctx, l.ID); err != nil {
		t.Fatal(err)
	}
	page = b.page("/console/leads/" + l.ID)
	says(t, page, "A deleted lead")
	if strings.Contains(page, "jane@") || strings.Contains(page, "Delete this lead") {
		t.Error("the deleted lead is still shown")
	}
	for _, a := range []answer{b.get("/console/leads/" + l.ID + "/delete"), b.post("/console/leads/" + l.ID + "/delete")} {
		if a.status != http.StatusNotFound {
			t.Errorf("it can be deleted twice: %d", a.status)
		}
	}
}

func TestALeadIsPushedAgainToOneOrAll(t *testing.T) {
	w := newWorld(t, nil)
	l := w.add("Jane Doe", "jane@example.com", "website", nil)
	w.work("crm", done)
	w.work("newsletter", done)
	b := w.operator()
	said, at := b.say("/console/leads/"+l.ID+"/push", "connector", "crm")
	if said != "The lead will be pushed to crm again." || at != "/console/leads/"+l.ID {
		t.Errorf("said %q at %s", said, at)
	}
	if w.state(l.ID, "crm") != store.Pending || w.state(l.ID, "newsletter") != store.InStep {
		t.Errorf("it is %s and %s", w.state(l.ID, "crm"), w.state(l.ID, "newsletter"))
	}
	w.work("crm", done)
	if said, _ := b.say("/console/leads/" + l.ID + "/push"); said != "The lead will be pushed to crm, newsletter again." {
		t.Errorf("said %q", said)
	}
	if w.state(l.ID, "crm") != store.Pending || w.state(l.ID, "newsletter") != store.Pending {
		t.Errorf("it is %s and %s", w.state(l.ID, "crm"), w.state(l.ID, "newsletter"))
	}
	if got := w.acts(); !slices.Equal(got[:2], []string{"olga pushed again " + l.ID, "olga pushed again crm " + l.ID}) {
		t.Errorf("the trail is %q", got)
	}
}

func TestALeadIsDeletedOnceThatWasAskedTwice(t *testing.T) {
	w := newWorld(t, nil)
	l := w.add("Jane Doe", "jane@example.com", "website", nil)
	b := w.operator()
	says(t, b.page("/console/leads/"+l.ID+"/delete"), "Delete the lead of Jane Doe (jane@example.com)?", "It cannot be undone.", "Keep it")
	if _, err := w.store.Get(t.Context(), l.ID); err != nil {
		t.Errorf("asking deletes: %v", err)
	}
	if said, at := b.say("/console/leads/" + l.ID + "/delete"); at != "/console/leads" || !strings.Contains(said, "deleted") {
		t.Errorf("said %q at %s", said, at)
	}
	if found, err := w.store.Get(t.Context(), l.ID); err == nil && !found.Deleted {
		t.Error("it is not deleted")
	}
	if got := w.acts(); got[0] != "olga deleted the lead "+l.ID {
		t.Errorf("the trail is %q", got)
	}
}

func TestWhatFailedIsGroupedAndPushedAgain(t *testing.T) {
	w := newWorld(t, nil)
	reasons := map[string]string{}
	for i := range 60 {
		l := w.add("Person", fmt.Sprintf("person%d@example.com", i), "website", nil)
		switch {
		case i < 40:
			reasons[l.ID] = "crm: put contact ID: 400 Bad Request" // each names its lead
		case i < 55:
			reasons[l.ID] = "crm: 422 The phone is invalid"
		default:
			reasons[l.ID] = ""
		}
	}
	w.work("crm", func(c *store.Claim) store.Verb { return parked(reasons[c.Change.Lead.ID])(c) })
	w.work("newsletter", func(c *store.Claim) store.Verb {
		if reasons[c.Change.Lead.ID] == "" {
			return parked("newsletter: 400 Bad Request")(c)
		}
		return done(c)
	})
	parkedNow := func(name string) int64 {
		t.Helper()
		totals, err := w.store.Totals(t.Context(), []string{name})
		if err != nil {
			t.Fatal(err)
		}
		return totals[name].Parked
	}
	b := w.operator()
	page := b.page("/console/failed")
	says(t, page, "Failed 65 Inbox", "crm 60 leads", "40 crm: put contact ID: 400 Bad Request lead", "15 crm: 422 The phone is invalid lead", "5 no reason was given lead",
		"newsletter 5 leads", "The latest 20")
	if strings.Contains(page, "example.com") {
		t.Error("it shows addresses")
	}
	// One.
	var one string
	for id, reason := range reasons {
		if reason != "" && strings.Contains(page, "/console/leads/"+id+"/push") && w.state(id, "crm") == store.Parked {
			one = id
			break
		}
	}
	if said, at := b.say("/console/leads/"+one+"/push", "connector", "crm", "from", "failed"); at != "/console/failed" || !strings.Contains(said, "crm") {
		t.Errorf("said %q at %s", said, at)
	}
	if parkedNow("crm") != 59 {
		t.Errorf("%d are parked", parkedNow("crm"))
	}
	says(t, b.page("/console/leads/"+one), "crm on its way crm: ")
	w.work("crm", func(c *store.Claim) store.Verb { return parked(reasons[c.Change.Lead.ID])(c) })

	// A group.
	_, after, _ := strings.Cut(page, "15</span> crm: 422")
	_, after, _ = strings.Cut(after, `name="reason" value="`)
	key, _, _ := strings.Cut(after, `"`)
	if said, _ := b.say("/console/failed/push", "connector", "crm", "reason", key); said != "15 leads will be pushed to crm again." {
		t.Errorf("said %q", said)
	}
	if page := b.page("/console/failed"); parkedNow("crm") != 45 || strings.Contains(page, "422 The phone") || !strings.Contains(page, "crm: put contact ID") {
		t.Errorf("%d are parked", parkedNow("crm"))
	}
	if said, _ := b.say("/console/failed/push", "connector", "crm", "reason", key); said != "There was none left to push to crm again." {
		t.Errorf("said %q", said)
	}
	// All of one connector, and of no other.
	if said, _ := b.say("/console/failed/push", "connector", "crm"); said != "45 leads will be pushed to crm again." {
		t.Errorf("said %q", said)
	}
	if parkedNow("crm") != 0 || parkedNow("newsletter") != 5 {
		t.Errorf("parked are %d and %d", parkedNow("crm"), parkedNow("newsletter"))
	}
	want := []string{
		"olga pushed again crm all that failed", "olga pushed again crm those that failed for: crm: 422 The phone is invalid", "olga pushed again crm " + one,
	}
	if got := w.acts(); !slices.Equal(got[:3], want) {
		t.Errorf("the trail is %q, want %q", got, want)
	}
}

func TestTheInbox(t *testing.T) {
	w := newWorld(t, nil)
	b := w.operator()
	spam := w.keep("form/contact", store.Spam, "the honeypot is filled", `{"name": "Jane Doe", "email": "jane@example.com"}`)
	broken := w.keep("form/contact", store.Spam, "too fast", `{"name": "Jane Doe", "email": "none"}`)
	unmapped := w.keep("source/signup", store.Unmapped, "email: is missing", `{"who":"jane"}`)
	fetching := w.keep("source/meta", store.Fetching, "graph: 500", `{"leadgen_id":"1"}`)
	page := b.page("/console/inbox")
	says(t, page, "the honeypot is filled", "too fast", "email: is missing", "graph: 500", "Inbox 4")
	if strings.Contains(page, "jane") {
		t.Error("the list shows what was sent")
	}
	page = b.page("/console/inbox?state=spam&origin=form%2Fcontact")
	says(t, page, "the honeypot is filled")
	if strings.Contains(page, "graph: 500") {
		t.Error("the filter lets others through")
	}
	says(t, b.page("/console/inbox/"+spam.ID), "form/contact", "the honeypot is filled", `&#34;email&#34;: &#34;jane@example.com&#34;`, "make it a lead")
	says(t, b.page("/console/inbox/"+unmapped.ID), "leadrelay inbox retry "+unmapped.ID)
	says(t, b.page("/console/inbox/"+fetching.ID), "leadrelay inbox retry "+fetching.ID)

	said, at := b.say("/console/inbox/" + spam.ID + "/release")
	if said != "It is a lead now, on its way to every connector." || at != "/console/leads/"+spam.ID {
		t.Errorf("said %q at %s", said, at)
	}
	if found, err := w.store.Get(t.Context(), spam.ID); err != nil || found.Lead.Email != "jane@example.com" || w.state(spam.ID, "crm") != store.Pending {
		t.Errorf("got %+v, %v", found, err)
	}
	if a := b.get("/console/inbox/" + spam.ID); a.to() != "/console/leads/"+spam.ID {
		t.Errorf("%d %s", a.status, a.to())
	}
	if said, at := b.say("/console/inbox/" + broken.ID + "/release"); !strings.Contains(said, "email") || at != "/console/inbox/"+broken.ID {
		t.Errorf("said %q at %s", said, at)
	}
	if said, _ := b.say("/console/inbox/" + unmapped.ID + "/release"); !strings.Contains(said, "spam") {
		t.Errorf("said %q", said)
	}
	says(t, b.page("/console/inbox/"+unmapped.ID+"/drop"), "Drop this submission?")
	if said, at := b.say("/console/inbox/" + unmapped.ID + "/drop"); said != "The submission is dropped." || at != "/console/inbox" {
		t.Errorf("said %q at %s", said, at)
	}
	if _, err := w.store.Submission(t.Context(), unmapped.ID); err == nil {
		t.Error("it is not dropped")
	}
	for range 60 {
		w.keep("form/contact", store.Spam, "one of many", `{}`)
	}
	if page := b.page("/console/inbox"); strings.Count(page, "one of many") != 50 || !strings.Contains(page, `rel="next">Older</a>`) {
		t.Error("the inbox is not paged")
	}
	want := []string{"olga dropped the submission " + unmapped.ID, "olga released from spam " + spam.ID, "olga signed in"}
	if got := w.acts(); !slices.Equal(got, want) {
		t.Errorf("the trail is %q", got)
	}
}

func TestReleasedUnderDedupeItUpdatesTheLeadOfItsAddress(t *testing.T) {
	w := newWorld(t, func(_ *world, o *console.Options) { o.Dedupe = true })
	name, email := "Jane", "jane@example.com"
	l, err := w.store.CreateOrUpdate(t.Context(), lead.Patch{Name: &name, Email: &email}, nil)
	if err != nil {
		t.Fatal(err)
	}
	sub := w.keep("form/contact", store.Spam, "too fast", `{"name": "Jane Doe", "email": "Jane@example.com"}`)
	if _, at := w.operator().say("/console/inbox/" + sub.ID + "/release"); at != "/console/leads/"+l.ID {
		t.Errorf("it is %s", at)
	}
}

func TestAnActThatCannotBeNotedIsNotDone(t *testing.T) {
	w := newWorld(t, nil)
	b := w.operator()
	token := b.token("/console")
	// The trail's key holds something else, so that nothing can be added to it.
	if err := w.redis.Client.Del(t.Context(), "lr:audit").Err(); err != nil {
		t.Fatal(err)
	}
	if err := w.redis.Client.Set(t.Context(), "lr:audit", "x", 0).Err(); err != nil {
		t.Fatal(err)
	}
	a := b.do(http.MethodPost, "/console/connectors/crm/pause", map[string][]string{"token": {token}})
	if a.status != http.StatusServiceUnavailable {
		t.Errorf("%d %s", a.status, a.body)
	}
	if gates, err := w.store.Gates(t.Context()); err != nil || len(gates) != 0 {
		t.Errorf("gates %v, %v", gates, err)
	}
}

func TestTheTrailIsPagedAndBounded(t *testing.T) {
	w := newWorld(t, nil)
	for i := range 250 {
		if err := w.store.NoteAct(t.Context(), store.Act{Operator: "olga", What: fmt.Sprintf("did thing %03d.", i)}); err != nil {
			t.Fatal(err)
		}
	}
	b := w.operator()
	for path, want := range map[string][]string{
		"/console/audit": {"did thing 249.", "did thing 151."}, "/console/audit?skip=100": {"did thing 150.", "did thing 051."},
		"/console/audit?skip=200": {"did thing 050.", "did thing 000."}, "/console/audit?skip=-5": {"did thing 249."}, "/console/audit?skip=x": {"did thing 249."},
	} {
		page := b.page(path)
		says(t, page, want...)
		if older := strings.Contains(page, "Older"); older == strings.Contains(path, "200") {
			t.Errorf("%s: older ones %v", path, older)
		}
	}
	for range 110 {
		w.redis.Client.LPush(t.Context(), "lr:audit", repeat("{}", 100)...)
	}
	if err := w.store.NoteAct(t.Context(), store.Act{Operator: "olga", What: "the last"}); err != nil {
		t.Fatal(err)
	}
	if n := w.redis.Client.LLen(t.Context(), "lr:audit").Val(); n != 10_000 {
		t.Errorf("%d acts are kept", n)
	}
}

func repeat(text string, n int) (all []any) {
	for range n {
		all = append(all, text)
	}
	return all
}

func TestTheLogHoldsNoPersonalData(t *testing.T) {
	w := newWorld(t, nil)
	l := w.add("Jane Doe", "jane@example.com", "website", nil)
	b := w.operator()
	for _, path := range append(readable, "/console/leads/"+l.ID, "/console/leads/"+l.ID+"/delete") {
		b.page(path)
	}
	b.say("/console/leads/" + l.ID + "/push")
	b.post("/console/leads", "q", "jane@example.com")
	w.browser().login("jane@example.com", "Jane Doe's password")
	w.redis.Client.Set(t.Context(), "lr:gates", "no hash", 0)
	b.get("/console") // fails
	w.redis.Client.Del(t.Context(), "lr:gates")
	b.say("/console/leads/" + l.ID + "/delete")
	if !strings.Contains(w.logs.String(), "could not be made") {
		t.Errorf("the log is %s", w.logs.String())
	}
	for _, line := range append(strings.Split(w.logs.String(), "\n"), w.acts()...) {
		if strings.Contains(strings.ToLower(line), "jane") {
			t.Errorf("logged is %s", line)
		}
	}
}

func TestTheOverviewIsKeptLiveByOneReadForAll(t *testing.T) {
	w := newWorld(t, nil)
	w.limit(time.Second) // events go on for longer
	b, other := w.operator(), w.operator()
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	watch := func(b *browser) <-chan string {
		t.Helper()
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, b.url+"/console/live", nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := b.client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		if kind := response.Header.Get("Content-Type"); response.StatusCode != http.StatusOK || kind != "text/event-stream" {
			t.Fatalf("%d %s", response.StatusCode, kind)
		}
		events := make(chan string, 100)
		go func() {
			defer close(events)
			defer response.Body.Close()
			for lines := bufio.NewScanner(response.Body); lines.Scan(); {
				if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
					events <- data
				}
			}
		}()
		return events
	}
	until := func(events <-chan string, words ...string) {
		t.Helper()
		for deadline := time.After(time.Minute); ; {
			select {
			case e, ok := <-events:
				if !ok {
					t.Fatal("the stream ended")
				}
				if !slices.ContainsFunc(words, func(word string) bool { return !strings.Contains(e, word) }) {
					return
				}
			case <-deadline:
				t.Fatalf("never told of %q", words)
			}
		}
	}
	mine, theirs := watch(b), watch(other)
	until(mine, `"name":"crm","state":"in step"`, `"revision":"a1b2c3"`)
	w.add("Jane Doe", "jane@example.com", "website", nil)
	until(mine, `"name":"crm","state":"behind"`, `"backlog":"1"`)
	until(theirs, `"name":"crm","state":"behind"`)
	b.say("/console/connectors/crm/pause")
	until(theirs, `"state":"paused"`, `"held":true`)
	w.work("newsletter", parked("400"))
	until(mine, `"badges":{"failed":1,"inbox":0}`)
	w.keep("form/contact", store.Spam, "too fast", "{}")
	until(mine, `"origin":"form/contact","spam":1`)

	// While Redis cannot be read, that is said.
	w.redis.Client.Del(t.Context(), "lr:gates")
	w.redis.Client.Set(t.Context(), "lr:gates", "no hash", 0)
	until(mine, "{}")
	w.redis.Client.Del(t.Context(), "lr:gates")
	until(mine, `"state":"behind"`)

	// Whose session ends is told no more.
	b.say("/console/logout")
	ends := func(events <-chan string) {
		t.Helper()
		for deadline := time.After(time.Minute); ; {
			select {
			case _, ok := <-events:
				if !ok {
					return
				}
			case <-deadline:
				t.Fatal("the stream does not end")
			}
		}
	}
	ends(mine)
	until(theirs, `"state":"behind"`)
	w.console.Close()
	ends(theirs)
	if a := other.get("/console/live"); a.status != http.StatusServiceUnavailable {
		t.Errorf("after the end: %d", a.status)
	}
}

// A page asks Redis in few round trips, however much there is.
func TestPagesWithMany(t *testing.T) {
	w := newWorld(t, func(w *world, _ *console.Options) {
		var all []store.Connector
		for i := range 20 {
			all = append(all, store.Connector{Name: fmt.Sprintf("connector-%02d", i)})
		}
		w.store.SetConnectors(all)
	})
	var leads []store.NewLead
	for i := range 1500 {
		name, email, source := "Person", fmt.Sprintf("person%d@example.com", i), "website"
		leads = append(leads, store.NewLead{Patch: lead.Patch{Name: &name, Email: &email, Source: &source}})
	}
	for _, made := range w.store.CreateMany(t.Context(), leads) {
		if made.Err != nil {
			t.Fatal(made.Err)
		}
	}
	w.work("connector-00", parked("400 Bad Request"))
	b := w.operator()
	says(t, b.page("/console"), "connector-19 behind", "Backlog 1 500")
	says(t, b.page("/console/failed"), "connector-00 1 500 leads", "Grouped are the latest 500; pushing again takes them all.", "500 400 Bad Request")
	says(t, b.page("/console/leads"), "Older")
	if said, _ := b.say("/console/failed/push", "connector", "connector-00"); said != "1\u202f500 leads will be pushed to connector-00 again." {
		t.Errorf("said %q", said)
	}
	if !redistest.Within(time.Minute, func() bool { return strings.Contains(b.page("/console/failed"), "Nothing failed.") }) {
		t.Error("some are still parked")
	}
}

func TestALeadsHistoryIsShown(t *testing.T) {
	w := newWorld(t, nil)
	l := w.add("Jane Roe", "jane@example.com", "website", nil)
	w.work("crm", func(c *store.Claim) store.Verb {
		c.Attempt = &store.Attempt{Op: lead.Create, Took: 12 * time.Millisecond, Fault: "lead", Reason: "crm: 422 The phone is invalid", Calls: []store.Call{
			{Line: "POST /contacts", Status: 422, Ms: 11, Said: `{"message":"The phone is invalid"}`},
		}}
		return parked("crm: 422 The phone is invalid")(c)
	})
	b := w.operator()
	says(t, b.page("/console/leads/"+l.ID), "History", "crm create of revision 1 failed", "POST /contacts 422 11 ms", "The phone is invalid&#34;}", "create of revision 1 accepted")

	if err := w.store.Delete(context.Background(), l.ID); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"crm", "newsletter"} {
		w.work(name, func(c *store.Claim) store.Verb {
			c.Attempt = &store.Attempt{Op: lead.Delete}
			return done(c)
		})
	}
	page := b.page("/console/leads/" + l.ID)
	says(t, page, "A deleted lead", "delete of revision 2 nothing to delete", "delete of revision 2 accepted")
	if strings.Contains(page, "Jane") || strings.Contains(page, "example.com") {
		t.Error("it shows whose it was")
	}
}
