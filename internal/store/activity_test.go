package store_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/leadrelay/leadrelay/internal/store"
)

func (s *server) activity(p *store.Store, span store.Span) store.Activity {
	s.t.Helper()
	a, err := p.Activity(s.t.Context(), span)
	if err != nil {
		s.t.Fatal(err)
	}
	return a
}

func TestActivityOfAllProcessesIsAddedUp(t *testing.T) {
	onEach(t, func(s *server) {
		one, other, reader := s.process(), s.process(), s.process()
		for _, span := range []store.Span{store.LastHour, store.LastDay} {
			if a := s.activity(reader, span); len(a.Connectors)+len(a.Sources) > 0 || a.Sum("crm").Synced != 0 || a.PerMinute("crm") != 0 {
				t.Errorf("before anything: %+v", a)
			}
		}
		for _, p := range []*store.Store{one, other} {
			for range 30 {
				p.CountSynced("crm")
				p.CountAccepted("website")
			}
			p.CountFailed("list", "lead", "list: 422 the address looks fake")
			p.CountAccepted("")
			for range 18 {
				p.CountCall("crm", 20*time.Millisecond)
			}
			p.CountCall("crm", 3*time.Second)
			p.CountCall("crm", time.Hour)
			p.Close()
		}
		for _, span := range []store.Span{store.LastHour, store.LastDay} {
			a := s.activity(reader, span)
			crm := a.Sum("crm")
			if crm.Synced != 60 || crm.Failed != 0 || a.Sum("list").Failed != 2 || len(a.Connectors["crm"]) != span.Steps {
				t.Errorf("%s: got %+v, %+v", span.Name, crm, a.Sum("list"))
			}
			half, _ := crm.Latency(.5)
			most, _ := crm.Latency(.91)
			all, ok := crm.Latency(1)
			if half <= 10*time.Millisecond || half > 25*time.Millisecond || most <= 2500*time.Millisecond || most > 5*time.Second || all != time.Minute || !ok {
				t.Errorf("%s: latency %s, %s, %s", span.Name, half, most, all)
			}
			if _, ok := a.Sum("list").Latency(.5); ok {
				t.Errorf("%s: the latency of no call is known", span.Name)
			}
			if got := a.BusiestSources(); !slices.Equal(got, []string{"website", ""}) {
				t.Errorf("%s: sources %q", span.Name, got)
			}
		}
		if rate := s.activity(reader, store.LastHour).PerMinute("crm"); rate < 60./5 || rate > 60./4 {
			t.Errorf("%.1f a minute", rate)
		}
		failures, err := reader.LastFailures(t.Context())
		if f := failures["list"]; err != nil || len(failures) != 1 || f.Fault != "lead" || f.Reason != "list: 422 the address looks fake" || reader.Now().Sub(f.At).Abs() > time.Hour {
			t.Errorf("failures %+v, %v", failures, err)
		}
		// It goes by itself.
		keys := s.keys("lr:{activity}:*:*")
		for _, key := range keys {
			ttl, most := s.client.PTTL(t.Context(), key).Val(), 2*time.Hour
			if strings.Contains(key, ":day:") {
				most = 48 * time.Hour
			}
			if ttl <= most/2-time.Minute || ttl > most {
				t.Errorf("%s stays for %s", key, ttl)
			}
		}
		if len(keys) != 4 && len(keys) != 8 { // 8: the two were not in the same hour
			t.Errorf("there are %q", keys)
		}
	})
}

func TestActivityIsWrittenWhileAProcessRuns(t *testing.T) {
	onEach(t, func(s *server) {
		p, reader := s.process(), s.process()
		for total := int64(1); total <= 2; total++ {
			p.CountSynced("crm")
			for end := time.Now().Add(time.Minute); s.activity(reader, store.LastHour).Sum("crm").Synced < total; {
				if time.Now().After(end) {
					t.Fatal("it is not written")
				}
			}
		}
	})
}

func TestActivityIsThatOfTheSpan(t *testing.T) {
	onEach(t, func(s *server) {
		p := s.process()
		// Each hash begins anew after a span's time, so that a span is in two of them.
		for _, span := range []store.Span{store.LastHour, store.LastDay} {
			last := p.Now().UnixMilli() / span.Step.Milliseconds()
			for ago := range int64(2 * span.Steps) {
				step := last - ago
				key := fmt.Sprintf("lr:{activity}:connectors:%s:%d", span.Name, step/int64(span.Steps))
				if err := s.client.HSet(t.Context(), key, fmt.Sprint(step, " crm"), 1+ago).Err(); err != nil {
					t.Fatal(err)
				}
			}
			a := s.activity(p, span)
			moved := 0 // the time went on meanwhile
			for a.Connectors["crm"][span.Steps-1-moved].Synced == 0 {
				moved++
			}
			for i, got := range a.Connectors["crm"][:span.Steps-moved] {
				if want := int64(span.Steps - moved - i); got.Synced != want {
					t.Errorf("%s: step %d has %d, want %d", span.Name, i, got.Synced, want)
				}
			}
		}
	})
}

func TestNobodyFillsTheStoreWithSources(t *testing.T) {
	onEach(t, func(s *server) {
		p, reader := s.process(), s.process()
		for i := range 1000 {
			p.CountAccepted(fmt.Sprint("source ", i))
		}
		p.CountAccepted("source 0")
		p.CountAccepted(strings.Repeat("ü", 500))
		p.Close()
		a := s.activity(reader, store.LastHour)
		names := a.BusiestSources()
		var other int64
		for _, n := range a.Sources[store.OtherSources] {
			other += n
		}
		if len(names) > 101 || names[0] != store.OtherSources || other < 900 || other > 951 { // two hours' where one ended meanwhile
			t.Errorf("%d sources, %d are of others", len(names), other)
		}
		if !slices.Contains(names, "source 0") || a.Sources["source 0"] == nil {
			t.Errorf("the first is not told apart: %q", names)
		}
		q := s.process()
		q.CountAccepted(strings.Repeat("ü", 500))
		q.CountFailed("crm", "remote", strings.Repeat("no ", 10_000))
		q.Close()
		for _, name := range s.activity(reader, store.LastHour).BusiestSources() {
			if len([]rune(name)) > 65 {
				t.Errorf("%q is kept", name)
			}
		}
		if f, err := reader.LastFailures(t.Context()); err != nil || len(f["crm"].Reason) > 510 {
			t.Errorf("%d of a reason are kept, %v", len(f["crm"].Reason), err)
		}
	})
}
