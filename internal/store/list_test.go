package store_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/leadrelay/leadrelay/internal/lead"
	"github.com/leadrelay/leadrelay/internal/store"
)

// createAll makes leads, newest first in what it returns.
func createAll(t *testing.T, p *store.Store, patches ...lead.Patch) (all []lead.Lead) {
	t.Helper()
	var leads []store.NewLead
	for _, patch := range patches {
		leads = append(leads, store.NewLead{Patch: patch})
	}
	for some := range slices.Chunk(leads, 1000) {
		for _, made := range p.CreateMany(t.Context(), some) {
			if made.Err != nil {
				t.Fatal(made.Err)
			}
			all = append(all, made.Lead)
		}
	}
	slices.SortFunc(all, func(a, b lead.Lead) int { return strings.Compare(b.ID, a.ID) })
	return all
}

func person(name, email, source string) lead.Patch {
	return lead.Patch{Name: &name, Email: &email, Source: &source}
}

// settleAll settles what is due for a connector as outcome says; "" leaves a lead alone, with its fence.
func settleAll(t *testing.T, p *store.Store, name string, outcome func(c *store.Claim) store.Verb) {
	t.Helper()
	for shard := range lead.Shards {
		claims, err := p.Claim(t.Context(), store.Connector{Name: name}, shard, 100_000, uuid.NewString(), time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range claims {
			if verb := outcome(c); verb != "" {
				if _, err := p.Settle(t.Context(), c, verb, p.Now().Add(time.Hour), time.Minute); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
}

// listAll walks all pages of a query. It checks that each but those that end early is full, and that progress is told.
func listAll(t *testing.T, p *store.Store, q store.Query) (ids []string, pages int) {
	t.Helper()
	before := int64(0)
	for {
		page, next, err := p.List(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		if len(page) > q.Limit {
			t.Errorf("%d leads on a page of %d", len(page), q.Limit)
		}
		for _, l := range page {
			ids = append(ids, l.ID)
		}
		looked, all, err := p.Progress(t.Context(), q, next)
		if err != nil || looked < before || looked > all || (next == "") != (looked == all) && q.Connector == "" && q.Email == "" {
			t.Errorf("%+v: at %q it looked at %d of %d, before that at %d, %v", q, next, looked, all, before, err)
		}
		if pages++; next == "" {
			return ids, pages
		}
		if next == q.Before {
			t.Fatal("the search does not go on")
		}
		q.Before, before = next, looked
	}
}

func TestLeadsAreFoundByWhatTheyAreAndWhereTheyStand(t *testing.T) {
	onEach(t, func(s *server) {
		p := s.process()
		p.SetConnectors([]store.Connector{{Name: "crm"}, {Name: "sheet"}})
		names := []string{"Jane Doe", "Zoë Müller", "", "Søren Kierkegaard", "Łukasz Weiß"}
		var patches []lead.Patch
		for i := range 1500 {
			patches = append(patches, person(names[i%len(names)], fmt.Sprintf("p%d@example.com", i%700), []string{"website", "fair"}[i%2]))
		}
		all := createAll(t, p, patches...)
		place := map[string]int{}
		for i, l := range all {
			place[l.ID] = i
		}
		// Where each stands with crm, by its place: sheet has none of them.
		states := []store.State{store.InStep, store.Parked, store.Retrying, store.Skipped, store.Pending, store.InStep, store.InStep}
		stateOf := func(l lead.Lead) store.State { return states[place[l.ID]%len(states)] }
		settleAll(t, p, "crm", func(c *store.Claim) store.Verb {
			c.Record = store.Record{Synced: c.Change.Lead.Revision, At: 1}
			switch stateOf(c.Change.Lead) {
			case store.Parked:
				c.Record = store.Record{State: store.Parked}
				return store.Park
			case store.Retrying:
				c.Record = store.Record{State: store.Retrying, Attempts: 1}
				return store.Later
			case store.Pending:
				return ""
			case store.Skipped:
				c.Record.State = store.Skipped
			}
			return store.Done
		})
		// One that is parked is pushed again, one is deleted.
		replayed, gone := all[1], all[8]
		if err := p.Replay(t.Context(), "crm", replayed.ID); err != nil {
			t.Fatal(err)
		}
		if err := p.Delete(t.Context(), gone.ID); err != nil {
			t.Fatal(err)
		}
		crm := func(l lead.Lead) store.State {
			if l.ID == replayed.ID {
				return store.Pending
			}
			return stateOf(l)
		}
		since := all[400].Created
		for name, c := range map[string]struct {
			q    store.Query
			want func(l lead.Lead) bool
		}{
			"all":     {store.Query{}, func(lead.Lead) bool { return true }},
			"source":  {store.Query{Source: "fair"}, func(l lead.Lead) bool { return l.Source == "fair" }},
			"address": {store.Query{Email: "P7@Example.com"}, func(l lead.Lead) bool { return l.Email == "p7@example.com" }},
			"name":    {store.Query{Name: "mull"}, func(l lead.Lead) bool { return l.Name == "Zoë Müller" }},
			"since":   {store.Query{Since: since}, func(l lead.Lead) bool { return !l.Created.Before(since) }},
			"of old":  {store.Query{Since: time.Unix(-1e9, 0)}, func(lead.Lead) bool { return true }},
			"to come": {store.Query{Since: p.Now().Add(time.Hour)}, func(lead.Lead) bool { return false }},
			"nobody":  {store.Query{Name: "Nobody"}, func(lead.Lead) bool { return false }},
			"parked":  {store.Query{Connector: "crm", State: store.Parked}, func(l lead.Lead) bool { return crm(l) == store.Parked }},
			"retried": {store.Query{Connector: "crm", State: store.Retrying}, func(l lead.Lead) bool { return crm(l) == store.Retrying }},
			"behind":  {store.Query{Connector: "crm", State: store.Pending}, func(l lead.Lead) bool { return crm(l) == store.Pending }},
			"in step": {store.Query{Connector: "crm", State: store.InStep}, func(l lead.Lead) bool { return crm(l) == store.InStep }},
			"skipped": {store.Query{Connector: "crm", State: store.Skipped}, func(l lead.Lead) bool { return crm(l) == store.Skipped }},
			"sheet":   {store.Query{Connector: "sheet", State: store.Pending}, func(lead.Lead) bool { return true }},
			"none":    {store.Query{Connector: "sheet", State: store.InStep}, func(lead.Lead) bool { return false }},
			"the lot": {store.Query{Name: "doe", Source: "fair", Connector: "crm", State: store.Parked, Since: since}, func(l lead.Lead) bool {
				return l.Name == "Jane Doe" && l.Source == "fair" && crm(l) == store.Parked && !l.Created.Before(since)
			}},
			"address and state": {store.Query{Email: "p7@example.com", Connector: "crm", State: store.InStep}, func(l lead.Lead) bool {
				return l.Email == "p7@example.com" && crm(l) == store.InStep
			}},
		} {
			var want []string
			for _, l := range all {
				if l.ID != gone.ID && c.want(l) {
					want = append(want, l.ID)
				}
			}
			for _, limit := range []int{1, 7, 50, 5000} {
				if limit == 1 && len(want) > 300 {
					continue // it takes long
				}
				c.q.Limit = limit
				if got, _ := listAll(t, p, c.q); !slices.Equal(got, want) {
					t.Errorf("%s by %d: %d leads, want %d", name, limit, len(got), len(want))
				}
			}
			// However little time there is, it goes on to the end.
			c.q.Limit, c.q.Within = 50, time.Nanosecond
			if got, _ := listAll(t, p, c.q); !slices.Equal(got, want) {
				t.Errorf("%s in no time: %d leads, want %d", name, len(got), len(want))
			}
		}
		if _, pages := listAll(t, p, store.Query{Name: "Nobody", Limit: 50, Within: time.Nanosecond}); pages < 2 {
			t.Errorf("in no time it looks at all on %d page", pages)
		}

		found, err := p.Standings(t.Context(), all[:20])
		if err != nil {
			t.Fatal(err)
		}
		for i, one := range found {
			if one.Lead.ID != all[i].ID || all[i].ID == gone.ID {
				continue
			}
			if len(one.Standings) != 2 || one.Standings[0].State != crm(all[i]) || one.Standings[1].State != store.Pending {
				t.Errorf("%d stands at %+v, want %s", i, one.Standings, crm(all[i]))
			}
		}
	})
}

// Of a state that more leads are in than are looked at at once, leads are found all the same.
func TestManyLeadsInAState(t *testing.T) {
	onEach(t, func(s *server) {
		p := s.process()
		p.SetConnectors([]store.Connector{{Name: "crm"}})
		var patches []lead.Patch
		for i := range 20_500 {
			patches = append(patches, person("", fmt.Sprintf("p%d@example.com", i), ""))
		}
		all := createAll(t, p, patches...)
		rare := all[len(all)-1]
		settleAll(t, p, "crm", func(c *store.Claim) store.Verb {
			if c.Change.Lead.ID != rare.ID {
				return ""
			}
			c.Record = store.Record{Synced: 1, State: store.Skipped}
			return store.Done
		})
		page, next, err := p.List(t.Context(), store.Query{Connector: "crm", State: store.Pending, Limit: 3})
		if err != nil || len(page) != 3 || page[0].ID != all[0].ID || next != all[2].ID {
			t.Errorf("got %d leads, next %q, %v", len(page), next, err)
		}
		if got, pages := listAll(t, p, store.Query{Connector: "crm", State: store.Skipped, Limit: 3}); !slices.Equal(got, []string{rare.ID}) || pages < 2 {
			t.Errorf("the rare one: got %q on %d pages", got, pages)
		}
	})
}

func TestANameIsFoundByAnyPartOfItWithoutRegardToCaseAndAccents(t *testing.T) {
	onEach(t, func(s *server) {
		p := s.process()
		for name, parts := range map[string][]string{
			"Zoë Müller": {"zoe", "MULLER", "ë m", "mül", "ZOË MÜLLER"}, "Łukasz Weiß": {"lukasz", "WEISS", "weiß"},
			"Søren": {"soren", "SØR"}, "José": {"Jose\u0301", "jose"}, "Jose\u0301 Díaz": {"José", "diaz"}, "王小明": {"小明"}, "Jane": {"jané"},
			"Αθηνά": {"αθηνα"},
		} {
			l := createAll(t, p, person(name, "a@example.com", ""))[0]
			for _, part := range parts {
				if got, _, err := p.List(t.Context(), store.Query{Name: part, Limit: 1}); err != nil || len(got) != 1 || got[0].ID != l.ID {
					t.Errorf("%q is not found by %q: %v, %v", name, part, got, err)
				}
			}
			for _, other := range []string{"muler", "x", "zoemuller", "."} {
				if got, _, err := p.List(t.Context(), store.Query{Name: other, Limit: 1}); err != nil || len(got) != 0 {
					t.Errorf("%q is found by %q: %v", got[0].Name, other, err)
				}
			}
			if err := p.Delete(t.Context(), l.ID); err != nil {
				t.Fatal(err)
			}
		}
	})
}
