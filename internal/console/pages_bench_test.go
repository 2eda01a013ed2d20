package console_test

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"

	"github.com/leadrelay/leadrelay/internal/lead"
	"github.com/leadrelay/leadrelay/internal/redistest"
	"github.com/leadrelay/leadrelay/internal/store"
)

// BenchmarkPages asks for each page of the console, on a store with 20 connectors and LEADRELAY_BENCH_LEADS leads, by
// default few. A page is to take less than 200 ms of the server's time at a million:
//
//	LEADRELAY_BENCH_LEADS=1000000 go test -run '^$' -bench Pages -benchtime 20x -timeout 1h ./internal/console
//
// max-ms is the slowest of all requests for a page: of the overview, one that draws the charts anew.
func BenchmarkPages(b *testing.B) {
	leads, err := strconv.Atoi(cmp.Or(os.Getenv("LEADRELAY_BENCH_LEADS"), "5000"))
	if err != nil {
		b.Fatal("LEADRELAY_BENCH_LEADS: ", err)
	}
	s := seeded(b, leads)
	operator := s.operator()
	search := operator.post("/console/leads", "q", "many@example.com")
	if search.status != http.StatusSeeOther {
		b.Fatalf("the search was answered %d", search.status)
	}
	named := operator.post("/console/leads", "q", "zzyzx")
	if named.status != http.StatusSeeOther {
		b.Fatalf("the search by name was answered %d", named.status)
	}
	for _, page := range []struct{ name, path string }{
		{"overview", "/console"},
		{"overview of a day", "/console?span=day"},
		{"leads", "/console/leads"},
		{"leads, older", "/console/leads?before=" + s.middle},
		{"leads of an address", search.to()},
		{"leads of a frequent source", "/console/leads?source=website"},
		{"leads of a rare source", "/console/leads?source=rare"},
		{"leads of no source", "/console/leads?source=none"},
		{"leads of a name that nobody has", named.to()},
		{"leads that failed", "/console/leads?connector=" + seededConnector(19) + "&state=parked"},
		{"leads that are behind", "/console/leads?connector=" + seededConnector(18) + "&state=pending"},
		{"leads in step", "/console/leads?connector=" + seededConnector(3) + "&state=in_step"},
		{"lead", "/console/leads/" + s.parked},
		{"lead, to be deleted", "/console/leads/" + s.parked + "/delete"},
		{"failed", "/console/failed"},
		{"inbox", "/console/inbox"},
		{"inbox, older", "/console/inbox?before=" + s.spam},
		{"inbox of an origin", "/console/inbox?state=unmapped&origin=source/signup"},
		{"submission", "/console/inbox/" + s.spam},
		{"submission, to be dropped", "/console/inbox/" + s.spam + "/drop"},
		{"audit", "/console/audit"},
		{"audit, older", "/console/audit?skip=5000"},
	} {
		b.Run(page.name, func(b *testing.B) {
			var slowest time.Duration
			for b.Loop() {
				began := time.Now()
				operator.page(page.path)
				slowest = max(slowest, time.Since(began))
			}
			b.ReportMetric(float64(b.Elapsed())/float64(b.N)/float64(time.Millisecond), "ms/page")
			b.ReportMetric(float64(slowest)/float64(time.Millisecond), "max-ms")
		})
	}
}

// seeds is a world with a lot in it.
type seeds struct {
	*world
	leads        int
	middle       string // a lead of half the age
	parked, spam string // one of each
}

const (
	seededConnectors = 20
	seedBatch        = 1000
)

// seededConnector is the name of a connector. The last is held, the one before it is down.
func seededConnector(i int) string { return fmt.Sprintf("connector-%02d", i) }

func seeded(b *testing.B, leads int) *seeds {
	b.Helper()
	r := redistest.StartAlone(b)
	r.Configure(b, "appendonly", "no")
	b.Cleanup(func() { r.Client.FlushDBAsync(context.Background()) }) // which else takes long
	s := &seeds{world: newWorldOn(b, r, nil), leads: leads}
	began := time.Now()
	var all []store.Connector
	for i := range seededConnectors {
		all = append(all, store.Connector{Name: seededConnector(i)})
	}
	s.store.SetConnectors(all)
	batches := (leads + seedBatch - 1) / seedBatch
	for _, refused := range []bool{true, false} {
		for batch := range batches {
			if isRefused(batch) == refused {
				s.create(batch, min(seedBatch, leads-batch*seedBatch), all)
			}
		}
		if refused {
			s.park()
		}
	}
	s.fillInbox()
	now := s.store.Now()
	for name, gate := range map[string]store.Gate{
		seededConnector(19): {State: store.GateHeld, Reason: "401 Unauthorized", Since: now.Add(-24 * time.Hour)},
		seededConnector(18): {State: store.GateDown, Reason: "503 Service Unavailable", Since: now.Add(-2 * time.Hour)},
	} {
		if err := s.store.SetGate(b.Context(), name, gate); err != nil {
			b.Fatal(err)
		}
	}
	s.each(10_000, func(i int) error {
		return s.store.NoteAct(context.Background(), store.Act{Operator: "olga", What: "pushed again", Connector: seededConnector(i % 20), Lead: s.parked})
	})
	s.live()
	info := s.redis.Client.Info(b.Context(), "memory").Val()
	b.Logf("%d leads were seeded in %s; Redis has %s", leads, time.Since(began).Round(time.Second), info[len("# Memory\r\nused_memory:"):min(len(info), 40)])
	return s
}

// isRefused says whether the leads of a batch are to be refused by all connectors.
func isRefused(batch int) bool { return batch%100 == 2 }

// waiting are the connectors that the leads of a batch wait for: all for one batch of 500, else the one that is held for
// one of 5 and the one that is down for one of 20.
func waiting(batch int, all []store.Connector) (some []store.Connector) {
	if batch%500 == 1 || isRefused(batch) {
		return all
	}
	if batch%5 == 0 {
		some = append(some, all[19])
	}
	if batch%20 == 0 {
		some = append(some, all[18])
	}
	return some
}

// create makes leads that are in step with all connectors but those they wait for.
func (s *seeds) create(batch, n int, all []store.Connector) {
	s.t.Helper()
	behind := waiting(batch, all)
	s.store.SetConnectors(behind)
	defer s.store.SetConnectors(all)
	leads := make([]store.NewLead, n)
	for i := range leads {
		number := batch*seedBatch + i
		name, email, source, note := fmt.Sprintf("Person %d", number), fmt.Sprintf("person%d@example.com", number), "website", "I am interested in the course"
		switch {
		case number < 5:
			source = "rare"
		case number%3 == 1:
			source = fmt.Sprintf("campaign-%d", number%40)
		}
		if number%(s.leads/200+1) == 7 {
			email = "many@example.com"
		}
		leads[i].Patch = lead.Patch{Name: &name, Email: &email, Source: &source, Note: &note, Custom: map[string]any{"company": "Example GmbH", "utm_campaign": "spring"}}
	}
	made := s.store.CreateMany(s.t.Context(), leads)
	waits := map[string]bool{}
	for _, c := range behind {
		waits[c.Name] = true
	}
	_, err := s.redis.Client.Pipelined(s.t.Context(), func(p redis.Pipeliner) error {
		for _, one := range made {
			if one.Err != nil {
				return one.Err
			}
			var records []any
			for i, c := range all {
				if !waits[c.Name] {
					records = append(records, c.Name, fmt.Sprintf(`1 {"r":"%d","t":1790000000000}`, i))
				}
			}
			if len(records) == 0 {
				continue
			}
			shard, _ := lead.ShardOf(one.Lead.ID)
			p.HSet(s.t.Context(), fmt.Sprintf("lr:{%02d}:s:%s", shard, one.Lead.ID), records...)
		}
		return nil
	})
	if err != nil {
		s.t.Fatal(err)
	}
	if batch == s.leads/seedBatch/2 {
		s.middle = made[0].Lead.ID
	}
}

// park has every connector refuse what waits for it.
func (s *seeds) park() {
	s.t.Helper()
	var mu sync.Mutex
	s.each(seededConnectors*lead.Shards, func(i int) error {
		ctx, name := context.Background(), seededConnector(i%seededConnectors)
		for {
			claims, err := s.store.Claim(ctx, store.Connector{Name: name}, i/seededConnectors, 500, uuid.NewString(), time.Minute)
			if err != nil || len(claims) == 0 {
				return err
			}
			for n, c := range claims {
				refuse := parked(fmt.Sprintf("%s: 422 field %d of ID is not what it should be", name, n%7))
				if _, err := s.store.Settle(ctx, c, refuse(c), time.Time{}, time.Minute); err != nil {
					return err
				}
			}
			mu.Lock()
			s.parked = claims[0].Change.Lead.ID
			mu.Unlock()
		}
	})
}

// fillInbox keeps submissions: one for a hundred leads.
func (s *seeds) fillInbox() {
	s.t.Helper()
	var mu sync.Mutex
	s.each(max(s.leads/100, 100), func(i int) error {
		sub := store.Submission{Origin: "form/contact", State: store.Spam, Reason: "the honeypot is filled", Payload: []byte(`{"email":"bot@example.com","note":"Buy cheap watches!"}`)}
		switch i % 4 {
		case 1:
			sub.Origin, sub.State, sub.Reason = "source/signup", store.Unmapped, "email: the expression found nothing"
		case 2:
			sub.Origin, sub.State = "source/ads", store.Fetching
		}
		kept, _, err := s.store.Keep(context.Background(), sub, nil)
		if sub.State == store.Spam {
			mu.Lock()
			s.spam = kept.ID
			mu.Unlock()
		}
		return err
	})
}

// live lets a lot have gone on lately.
func (s *seeds) live() {
	s.t.Helper()
	for _, span := range []store.Span{store.LastHour, store.LastDay} {
		for ago := range int64(span.Steps) {
			for i := range seededConnectors {
				s.went(span, ago, "connectors", seededConnector(i), "1200 3 0 10 300 400 80 20 4 2 1")
			}
			for i := range 50 {
				s.went(span, ago, "sources", fmt.Sprintf("campaign-%d", i), "25")
			}
		}
	}
}

// each does something n times, several at once.
func (s *seeds) each(n int, do func(i int) error) {
	s.t.Helper()
	var group errgroup.Group
	group.SetLimit(64)
	for i := range n {
		group.Go(func() error { return do(i) })
	}
	if err := group.Wait(); err != nil {
		s.t.Fatal(err)
	}
}
