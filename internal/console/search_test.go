package console_test

import (
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/leadrelay/leadrelay/internal/console"
	"github.com/leadrelay/leadrelay/internal/lead"
	"github.com/leadrelay/leadrelay/internal/store"
)

// listed are the leads on a page, in their order.
func listed(page string) (ids []string) {
	for _, found := range regexp.MustCompile(`<th scope="row"><a href="/console/leads/(lead_\w+)"`).FindAllStringSubmatch(page, -1) {
		ids = append(ids, found[1])
	}
	return ids
}

func TestLeadsAreFoundByNameSourceAndState(t *testing.T) {
	w := newWorld(t, nil)
	names := []string{"Zoë Müller", "Jane Doe", "Łukasz Weiß", ""}
	byName := map[string][]string{}
	sources := map[string]string{}
	for i := range 40 {
		source := []string{"website", "fair & square"}[i/4%2]
		l := w.add(names[i%4], fmt.Sprintf("p%d@example.com", i), source, nil)
		byName[l.Name] = append([]string{l.ID}, byName[l.Name]...)
		sources[l.ID] = source
	}
	refused := map[string]bool{byName["Jane Doe"][2]: true, byName["Zoë Müller"][3]: true}
	w.work("crm", func(c *store.Claim) store.Verb {
		if refused[c.Change.Lead.ID] {
			return parked("422")(c)
		}
		return done(c)
	})
	b := w.operator()
	find := func(fields ...string) (page, at string) {
		t.Helper()
		a := b.post("/console/leads", fields...)
		for _, personal := range []string{"Doe", "ller", "ukasz", "%40", "@"} {
			if strings.Contains(a.to(), personal) {
				t.Errorf("%q stands in %s", personal, a.to())
			}
		}
		return b.page(a.to()), a.to()
	}
	check := func(page string, want ...string) {
		t.Helper()
		if got := listed(page); strings.Join(got, " ") != strings.Join(want, " ") {
			t.Errorf("listed are %q, want %q", got, want)
		}
	}
	page, _ := find("q", "MULL")
	check(page, byName["Zoë Müller"]...)
	says(t, page, "Leads with “MULL” in their name.", "Show all")
	page, _ = find("q", " lukasz weiss ")
	check(page, byName["Łukasz Weiß"]...)
	page, _ = find("q", "nobody")
	says(t, page, "No lead is like that.")
	page, at := find("connector", "crm", "state", "parked")
	check(page, byName["Jane Doe"][2], byName["Zoë Müller"][3])
	says(t, page, "Leads, with crm: failed.", "crm: failed newsletter: on its way failed: crm")
	if at != "/console/leads?connector=crm&state=parked" {
		t.Errorf("at %s", at)
	}
	page, _ = find("q", "doe", "connector", "crm", "state", "parked", "source", sources[byName["Jane Doe"][2]])
	check(page, byName["Jane Doe"][2])
	page, _ = find("q", "doe", "connector", "crm", "state", "in_step", "source", "fair & square")
	for _, id := range listed(page) {
		if sources[id] != "fair & square" || refused[id] {
			t.Errorf("%s is listed", id)
		}
	}
	says(t, page, "Leads from fair &amp; square with “doe” in their name, with crm: in step.", "crm: in step newsletter: on its way")
	page, _ = find("q", "p3@example.com", "connector", "newsletter", "state", "in_step")
	says(t, page, "No lead is like that.")
	page, _ = find("q", "P3@example.com", "connector", "newsletter", "state", "pending")
	check(page, byName[""][len(byName[""])-1])

	for _, fields := range [][]string{{"connector", "crm"}, {"state", "parked"}} {
		if said, at := b.say("/console/leads", fields...); at != "/console/leads" || !strings.Contains(said, "both") {
			t.Errorf("%q: said %q at %s", fields, said, at)
		}
	}
	if said, _ := b.say("/console/leads", "q", strings.Repeat("ä", 300)); !strings.Contains(said, "longer") {
		t.Errorf("of a long text: said %q", said)
	}
	if a := b.post("/console/leads"); a.to() != "/console/leads" {
		t.Errorf("for nothing: %s", a.to())
	}
	for _, path := range []string{"?connector=crm", "?state=parked", "?connector=crm&state=made-up", "?connector=none&state=parked", "?found=made-up"} {
		if a := b.get("/console/leads" + path); a.status != http.StatusNotFound {
			t.Errorf("%s: %d", path, a.status)
		}
	}
	if got := w.acts(); len(got) != 1 {
		t.Errorf("looking is in the trail: %q", got)
	}
}

// needles makes many leads, the oldest of them the only one that is called Needle.
func needles(t *testing.T, w *world, hay int) (id string) {
	t.Helper()
	id = w.add("Needle", "needle@example.com", "", nil).ID
	name, email := "Hay", "hay@example.com"
	leads := make([]store.NewLead, 1000)
	for i := range leads {
		leads[i].Patch = lead.Patch{Name: &name, Email: &email}
	}
	for range hay / len(leads) {
		for _, made := range w.store.CreateMany(t.Context(), leads) {
			if made.Err != nil {
				t.Fatal(made.Err)
			}
		}
	}
	return id
}

func TestALongSearchSaysHowFarItIsAndGoesOn(t *testing.T) {
	w := newWorld(t, func(w *world, _ *console.Options) { w.store.SetConnectors(nil) })
	id := needles(t, w, 22_000) // more than are looked at for one page, however quick it is
	b := w.operator()
	at := b.post("/console/leads", "q", "needle").to()
	before, pages := 0, 0
	for {
		page := b.page(at)
		pages++
		if got := listed(page); len(got) == 1 && got[0] == id {
			if strings.Contains(page, "Looked at") || link(page, "Newest") == "" {
				t.Error("the end of the search is not told from its middle")
			}
			break
		}
		progress := regexp.MustCompile(`Looked at ([\d\x{202f}]+) of 22\x{202f}001 leads so far\.`).FindStringSubmatch(page)
		if progress == nil {
			t.Fatalf("how far it is is not said: %s", words(page))
		}
		looked, _ := strconv.Atoi(strings.ReplaceAll(progress[1], "\u202f", ""))
		if looked <= before {
			t.Fatalf("it looked at %d, then at %d", before, looked)
		}
		says(t, page, "None among those looked at so far.")
		before, at = looked, link(page, "Look further")
		if strings.Contains(strings.ToLower(at), "needle") {
			t.Errorf("the name stands in %s", at)
		}
	}
	if pages < 2 {
		t.Error("it looked at all for one page")
	}
}
