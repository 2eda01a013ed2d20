package store_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/leadrelay/leadrelay/internal/embedded"
	"github.com/leadrelay/leadrelay/internal/lead"
	"github.com/leadrelay/leadrelay/internal/redistest"
	"github.com/leadrelay/leadrelay/internal/store"
)

func patchOf(email string) lead.Patch { return lead.Patch{Email: &email} }

// keep stores a submission, or fails the test.
func (s *server) keep(p *store.Store, sub store.Submission, once *store.Idempotency) store.Submission {
	s.t.Helper()
	kept, _, err := p.Keep(s.t.Context(), sub, once)
	if err != nil {
		s.t.Fatal(err)
	}
	return kept
}

// all lists every submission that matches, by pages.
func (s *server) all(p *store.Store, q store.SubmissionQuery) (all []store.Submission) {
	s.t.Helper()
	for {
		page, next, err := p.Submissions(s.t.Context(), q)
		if err != nil {
			s.t.Fatal(err)
		}
		if all = append(all, page...); next == "" {
			return all
		}
		if len(page) != q.Limit || next != page[len(page)-1].ID {
			s.t.Fatalf("a page of %d, limit %d, goes on at %s", len(page), q.Limit, next)
		}
		q.Before = next
	}
}

func (s *server) leads(p *store.Store) []lead.Lead {
	s.t.Helper()
	leads, _, err := p.List(s.t.Context(), store.Query{Limit: 1000})
	if err != nil {
		s.t.Fatal(err)
	}
	return leads
}

func (s *server) counts(p *store.Store, want map[string]map[store.SubmissionState]int) {
	s.t.Helper()
	got, err := p.CountSubmissions(s.t.Context())
	if err != nil || !reflect.DeepEqual(got, want) {
		s.t.Errorf("counted %v, %v; want %v", got, err, want)
	}
}

// gone fails the test unless the error is that there is no such thing.
func (s *server) gone(what string, err error) {
	s.t.Helper()
	if !errors.Is(err, store.ErrNotFound) {
		s.t.Errorf("%s: got %v, want %v", what, err, store.ErrNotFound)
	}
}

var payload = []byte("{\"your-email\":\"jane@example.com\"}\x00\xff")

func TestASubmissionIsKeptAsItWasSent(t *testing.T) {
	onEach(t, func(s *server) {
		p, other := s.process(), s.process()
		before := p.Now()
		for _, sub := range []store.Submission{
			{Origin: "form/contact", State: store.Spam, Reason: "the honeypot was filled in", Payload: payload},
			{Origin: "source/signup", State: store.Unmapped, Reason: "email: is required", Payload: payload},
			{Origin: "source/ads: 1", State: store.Fetching, Payload: []byte("{}")},
		} {
			kept := s.keep(p, sub, nil)
			if _, ok := lead.ShardOf(kept.ID); !ok || kept.Received.Before(before) || kept.Received.After(p.Now()) ||
				(sub.State == store.Fetching) != kept.Next.Equal(kept.Received) {
				t.Errorf("%s: %+v", sub.State, kept)
			}
			sub.ID, sub.Received, sub.Next = kept.ID, kept.Received, kept.Next
			if got, err := other.Submission(t.Context(), kept.ID); err != nil || !reflect.DeepEqual(got, sub) || !reflect.DeepEqual(kept, sub) {
				t.Errorf("kept %+v, answered %+v, read %+v, %v", sub, kept, got, err)
			}
			if err := other.Drop(t.Context(), kept.ID); err != nil {
				t.Error(err)
			}
			_, err := p.Submission(t.Context(), kept.ID)
			s.gone("a dropped submission", err)
			s.gone("dropping it again", p.Drop(t.Context(), kept.ID))
		}
		_, err := p.Submission(t.Context(), "lead_1")
		s.gone("what is no id", err)
	})
}

func TestP1P2ARequestIsKeptOnceHoweverOftenItComes(t *testing.T) {
	onEach(t, func(s *server) {
		processes := []*store.Store{s.process(), s.process()}
		sub := store.Submission{Origin: "source/signup", State: store.Unmapped, Payload: payload}
		once := &store.Idempotency{Key: "source/signup\ndelivery 1", Fingerprint: "of the body", For: 72 * time.Hour}
		var mu sync.Mutex
		var group sync.WaitGroup
		kept := map[string]bool{}
		for i := range 50 {
			group.Go(func() {
				one, _, err := processes[i%2].Keep(t.Context(), sub, once)
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				defer mu.Unlock()
				kept[one.ID+one.Received.String()] = true
			})
		}
		group.Wait()
		p := processes[0]
		found := s.all(p, store.SubmissionQuery{Limit: 10})
		if len(found) != 1 || len(kept) != 1 || !kept[found[0].ID+found[0].Received.String()] {
			s.t.Fatalf("kept %v, answered %v", found, kept)
		}

		// Now its mapping is mended: the delivery that comes again is the one that waits.
		for name, create := range map[string]func(context.Context, lead.Patch, *store.Idempotency) (lead.Lead, error){
			"a create": p.Create, "one by address": p.CreateOrUpdate,
		} {
			if l, err := create(t.Context(), patchOf("jane@example.com"), once); err != nil || l.ID != found[0].ID {
				t.Errorf("%s: got %s, %v; want %s", name, l.ID, err, found[0].ID)
			}
		}
		many := p.CreateMany(t.Context(), []store.NewLead{{Patch: patchOf("jane@example.com"), Once: once}})
		if many[0].Err != nil || !many[0].Seen || many[0].Lead.ID != found[0].ID {
			t.Errorf("in a batch: %+v", many[0])
		}
		if leads := s.leads(p); len(leads) != 0 {
			t.Errorf("it became %v", leads)
		}
		another := &store.Idempotency{Key: once.Key, Fingerprint: "of another body"}
		if _, _, err := p.Keep(t.Context(), sub, another); !errors.Is(err, store.ErrKeyReused) {
			t.Errorf("another body under the key: %v", err)
		}
		for _, key := range s.keys("lr:*:k:*") {
			if ttl := s.client.TTL(t.Context(), key).Val(); ttl <= 71*time.Hour || ttl > 72*time.Hour {
				t.Errorf("a repeat is known for %s", ttl)
			}
		}
	})
}

func TestP2ADeliveryThatBecameALeadIsNotKeptAgain(t *testing.T) {
	onEach(t, func(s *server) {
		p := s.process()
		for name, create := range map[string]func(context.Context, lead.Patch, *store.Idempotency) (lead.Lead, error){
			"a create": p.Create, "one by address": p.CreateOrUpdate,
		} {
			once := &store.Idempotency{Key: name}
			l, err := create(t.Context(), patchOf("jane@example.com"), once)
			if err != nil {
				s.t.Fatal(err)
			}
			kept := s.keep(p, store.Submission{Origin: "source/signup", State: store.Unmapped}, once)
			if kept.ID != l.ID {
				t.Errorf("%s: got %s, want %s", name, kept.ID, l.ID)
			}
		}
		s.counts(p, map[string]map[store.SubmissionState]int{})
	})
}

// TestP1ARequestThatNeverCameToItsLeadIsKept: under dedupe the key is noted first, and its process died.
func TestP1ARequestThatNeverCameToItsLeadIsKept(t *testing.T) {
	onEach(t, func(s *server) {
		p := s.process()
		once := &store.Idempotency{Key: "k"}
		died := s.process(failing(func(args []any) bool { return args[0] == "hget" }))
		if _, err := died.CreateOrUpdate(t.Context(), patchOf("jane@example.com"), once); err == nil {
			s.t.Fatal("it did not die")
		}
		kept := s.keep(p, store.Submission{Origin: "source/signup", State: store.Unmapped}, once)
		if _, err := p.Submission(t.Context(), kept.ID); err != nil {
			t.Error(err)
		}
		if again := s.keep(p, store.Submission{Origin: "source/signup", State: store.Unmapped}, once); again.ID != kept.ID {
			t.Errorf("the repeat is %s, was %s", again.ID, kept.ID)
		}
	})
}

// failing has commands fail before they are sent.
type failing func(args []any) bool

var errFailing = errors.New("the connection is gone")

func (f failing) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) { return next(ctx, network, addr) }
}
func (f failing) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if f(cmd.Args()) {
			cmd.SetErr(errFailing)
			return errFailing
		}
		return next(ctx, cmd)
	}
}
func (f failing) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		for _, cmd := range cmds {
			if f(cmd.Args()) {
				for _, cmd := range cmds {
					cmd.SetErr(errFailing)
				}
				return errFailing
			}
		}
		return next(ctx, cmds)
	}
}

func TestP1P2ASubmissionBecomesOneLeadWithItsWork(t *testing.T) {
	onEach(t, func(s *server) {
		hook := store.Connector{Name: "hook", Event: true}
		processes := []*store.Store{s.process(), s.process()}
		for _, p := range processes {
			p.SetConnectors([]store.Connector{crm, hook})
		}
		p := processes[0]
		kept := s.keep(p, store.Submission{Origin: "form/contact", State: store.Spam, Payload: payload}, nil)
		var group sync.WaitGroup
		for i := range 50 {
			group.Go(func() {
				l, err := processes[i%2].Release(t.Context(), kept.ID, patchOf(fmt.Sprintf("jane%d@example.com", i)), false)
				if err != nil || l.ID != kept.ID || l.Revision != 1 {
					t.Errorf("got %+v, %v", l, err)
				}
			})
		}
		group.Wait()
		leads := s.leads(p)
		if len(leads) != 1 || leads[0].ID != kept.ID {
			s.t.Fatalf("it became %v", leads)
		}
		if again, err := p.Release(t.Context(), kept.ID, patchOf("other@example.com"), false); err != nil || !reflect.DeepEqual(again, leads[0]) {
			t.Errorf("a repeat: %+v, %v; want %+v", again, err, leads[0])
		}
		if again, err := p.Release(t.Context(), kept.ID, patchOf("other@example.com"), true); err != nil || again.ID != kept.ID {
			t.Errorf("a repeat after dedupe was switched on: %+v, %v", again, err)
		}
		if found, _, _ := p.List(t.Context(), store.Query{Email: leads[0].Email, Limit: 9}); len(found) != 1 {
			t.Errorf("by its address there are %v", found)
		}
		totals, err := p.Totals(t.Context(), []string{"crm", "hook"})
		if err != nil || totals["crm"].Backlog != 1 || totals["hook"].Backlog != 1 {
			t.Errorf("the work is %v, %v", totals, err)
		}
		s.claim(p, leads[0], "1", time.Minute)
		s.counts(p, map[string]map[store.SubmissionState]int{})

		if err := p.Delete(t.Context(), kept.ID); err != nil {
			s.t.Fatal(err)
		}
		for _, dedupe := range []bool{false, true} {
			_, err = p.Release(t.Context(), kept.ID, patchOf("jane@example.com"), dedupe)
			s.gone("a release after the lead was deleted", err)
		}
		_, err = p.Release(t.Context(), lead.NewID(p.Now(), -1), patchOf("jane@example.com"), true)
		s.gone("of what never was", err)
		if leads := s.leads(p); len(leads) != 0 {
			t.Errorf("it came back as %v", leads)
		}
	})
}

func TestP2UnderDedupeASubmissionGoesToTheLeadOfItsAddress(t *testing.T) {
	onEach(t, func(s *server) {
		processes := []*store.Store{s.process(), s.process()}
		p := processes[0]
		known, err := p.CreateOrUpdate(t.Context(), patchOf("jane@example.com"), nil)
		if err != nil {
			s.t.Fatal(err)
		}
		kept := s.keep(p, store.Submission{Origin: "source/ads", State: store.Fetching, Payload: payload}, nil)
		patch := patchOf("Jane@example.com")
		patch.Custom = map[string]any{"plan": "pro"}
		var group sync.WaitGroup
		for i := range 50 {
			group.Go(func() {
				l, err := processes[i%2].Release(t.Context(), kept.ID, patch, true)
				if err != nil || l.ID != known.ID || l.Revision != 2 || l.Custom["plan"] != "pro" {
					t.Errorf("got %+v, %v", l, err)
				}
			})
		}
		group.Wait()
		if _, err := p.Update(t.Context(), known.ID, lead.Patch{Custom: map[string]any{"plan": nil}}, nil); err != nil {
			s.t.Fatal(err)
		}
		if l, err := p.Release(t.Context(), kept.ID, patch, true); err != nil || l.ID != known.ID || l.Revision != 3 {
			t.Errorf("a repeat gives %+v, %v", l, err)
		}
		if l, err := p.Release(t.Context(), kept.ID, patch, false); err != nil || l.ID != known.ID {
			t.Errorf("a repeat after dedupe was switched off gives %+v, %v", l, err)
		}
		s.counts(p, map[string]map[store.SubmissionState]int{})
		if leads := s.leads(p); len(leads) != 1 {
			t.Errorf("there are %v", leads)
		}
	})
}

// TestP2AReleaseThatACrashCutShortIsRepeatedForOneLead: the lead was written, and the submission still there.
func TestP2AReleaseThatACrashCutShortIsRepeatedForOneLead(t *testing.T) {
	onEach(t, func(s *server) {
		p := s.process()
		kept := s.keep(p, store.Submission{Origin: "form/contact", State: store.Spam, Payload: payload}, nil)
		died := s.process(failing(func(args []any) bool {
			return len(args) == 8 && strings.Contains(fmt.Sprint(args[3]), ":q:") // a script with an id alone: the drop
		}))
		if _, err := died.Release(t.Context(), kept.ID, patchOf("jane@example.com"), true); !errors.Is(err, errFailing) {
			s.t.Fatalf("got %v", err)
		}
		leads := s.leads(p)
		if len(leads) != 1 {
			s.t.Fatalf("there are %v", leads)
		}
		// Since then the person has moved: what the submission says is old.
		if _, err := p.Update(t.Context(), leads[0].ID, patchOf("moved@example.com"), nil); err != nil {
			s.t.Fatal(err)
		}
		if l, err := p.Release(t.Context(), kept.ID, patchOf("jane@example.com"), true); err != nil || l.ID != leads[0].ID {
			t.Errorf("got %+v, %v", l, err)
		}
		if leads := s.leads(p); len(leads) != 1 || leads[0].Email != "moved@example.com" {
			t.Errorf("there are %v", leads)
		}
		s.counts(p, map[string]map[store.SubmissionState]int{})
	})
}

func TestP7WhatIsDroppedLeavesNothingBehind(t *testing.T) {
	onEach(t, func(s *server) {
		p := s.process()
		for _, state := range []store.SubmissionState{store.Spam, store.Unmapped, store.Fetching} {
			kept := s.keep(p, store.Submission{Origin: "form/contact", State: state, Payload: payload}, nil)
			if err := p.Drop(t.Context(), kept.ID); err != nil {
				t.Error(err)
			}
		}
		kept := s.keep(p, store.Submission{Origin: "form/contact", State: store.Fetching, Payload: payload}, nil)
		for _, key := range s.keys("lr:{*}:*") {
			if strings.Contains(key, "jane") {
				t.Errorf("a key holds an address: %s", key)
			}
		}
		if _, err := p.Release(t.Context(), kept.ID, patchOf("jane@example.com"), false); err != nil {
			s.t.Fatal(err)
		}
		if err := p.Delete(t.Context(), kept.ID); err != nil {
			s.t.Fatal(err)
		}
		// The history of a lead outlives it, and tells ids alone.
		isHistory := func(key string) bool { return strings.HasSuffix(key, ":h") }
		if left := slices.DeleteFunc(s.keys("lr:{*}:*"), isHistory); len(left) != 0 {
			t.Errorf("left are %v", left)
		}
		for _, key := range s.keys("lr:{*}:h") {
			for _, text := range p.Client().LRange(t.Context(), key, 0, -1).Val() {
				if !strings.HasPrefix(text, kept.ID+" {") || strings.Contains(text, "jane") {
					t.Errorf("the history is told %s", text)
				}
			}
		}
	})
}

func TestSubmissionsAreListedNewestFirstByPagesAndCounted(t *testing.T) {
	onEach(t, func(s *server) {
		p := s.process()
		states := []store.SubmissionState{store.Spam, store.Unmapped, store.Fetching}
		var ids []string
		kept := map[string]store.Submission{}
		counts := map[string]map[store.SubmissionState]int{}
		for i := range 40 {
			one := s.keep(p, store.Submission{Origin: fmt.Sprint("form/", i%4), State: states[i%3], Payload: payload}, nil)
			kept[one.ID], ids = one, append(ids, one.ID)
			if counts[one.Origin] == nil {
				counts[one.Origin] = map[store.SubmissionState]int{}
			}
			counts[one.Origin][one.State]++
		}
		s.counts(p, counts)
		slices.Sort(ids)
		slices.Reverse(ids)
		for _, q := range []store.SubmissionQuery{
			{Limit: 7}, {Limit: 40}, {Limit: 100}, {Limit: 3, Origin: "form/1"}, {Limit: 3, State: store.Unmapped},
			{Limit: 1, State: store.Fetching, Origin: "form/2"}, {Limit: 5, Origin: "form"},
		} {
			var want, got []string
			for _, id := range ids {
				if one := kept[id]; (q.Origin == "" || one.Origin == q.Origin) && (q.State == "" || one.State == q.State) {
					want = append(want, id)
				}
			}
			for _, one := range s.all(p, q) {
				got = append(got, one.ID)
				if !reflect.DeepEqual(one, kept[one.ID]) {
					t.Errorf("listed %+v, want %+v", one, kept[one.ID])
				}
			}
			if !slices.Equal(got, want) {
				t.Errorf("%+v: got %v, want %v", q, got, want)
			}
		}
	})
}

func TestOfAnOriginsSpamTheNewestIsKept(t *testing.T) {
	onEach(t, func(s *server) {
		p := s.process()
		const most, sent = 10_000, 11_000
		reviewed := s.keep(p, store.Submission{Origin: "form/contact", State: store.Unmapped}, nil)
		other := s.keep(p, store.Submission{Origin: "form/other", State: store.Spam}, nil)
		var mu sync.Mutex
		var group sync.WaitGroup
		var ids []string
		dropped := 0
		for range 100 {
			group.Go(func() {
				for range sent / 100 {
					kept, gone, err := p.Keep(t.Context(), store.Submission{Origin: "form/contact", State: store.Spam, Payload: payload}, nil)
					if err != nil {
						t.Error(err)
						return
					}
					mu.Lock()
					ids, dropped = append(ids, kept.ID), dropped+gone
					mu.Unlock()
				}
			})
		}
		group.Wait()
		slices.Sort(ids)
		found := s.all(p, store.SubmissionQuery{State: store.Spam, Origin: "form/contact", Limit: 1000})
		if len(found) > most || len(found) < most*9/10 || len(found)+dropped != sent {
			t.Errorf("of %d there are %d, and %d went for it", sent, len(found), dropped)
		}
		there := map[string]bool{}
		for _, one := range found {
			there[one.ID] = true
		}
		for _, newest := range ids[len(ids)-most/2:] {
			if !there[newest] {
				s.t.Fatalf("of the newest %d %s is gone", most/2, newest)
			}
		}
		if n := len(s.keys("lr:*:q:*")); n != len(found)+2 {
			t.Errorf("%d are kept, %d are listed", n, len(found)+2)
		}
		for _, kept := range []store.Submission{reviewed, other} {
			if _, err := p.Submission(t.Context(), kept.ID); err != nil {
				t.Errorf("%s of %s went for it: %v", kept.State, kept.Origin, err)
			}
		}
		s.counts(p, map[string]map[store.SubmissionState]int{
			"form/contact": {store.Spam: len(found), store.Unmapped: 1}, "form/other": {store.Spam: 1},
		})
	})
}

// claimed claims fetches until as many as wanted are there.
func (s *server) claimed(p *store.Store, want int, lease time.Duration) (all []store.Submission) {
	s.t.Helper()
	if !redistest.Within(10*time.Second, func() bool {
		some, err := p.ClaimFetches(s.t.Context(), want-len(all), lease)
		if err != nil {
			s.t.Fatal(err)
		}
		all = append(all, some...)
		return len(all) == want
	}) {
		s.t.Fatalf("%d are due, want %d", len(all), want)
	}
	return all
}

func (s *server) noneDue(p *store.Store) {
	s.t.Helper()
	if due, err := p.ClaimFetches(s.t.Context(), 100, time.Minute); err != nil || len(due) != 0 {
		s.t.Errorf("due are %v, %v", due, err)
	}
}

func TestP2AFetchIsClaimedByOneOfAllWorkersAndAgainWhenItsLeaseLapsed(t *testing.T) {
	onEach(t, func(s *server) {
		workers := []*store.Store{s.process(), s.process()}
		want := map[string]store.Submission{}
		for range 60 {
			kept := s.keep(workers[0], store.Submission{Origin: "source/ads", State: store.Fetching, Payload: payload}, nil)
			want[kept.ID] = kept
		}
		s.keep(workers[0], store.Submission{Origin: "source/ads", State: store.Unmapped, Payload: payload}, nil)
		var mu sync.Mutex
		var group sync.WaitGroup
		times := map[string]int{}
		for i := range 8 {
			group.Go(func() {
				for {
					some, err := workers[i%2].ClaimFetches(t.Context(), 7, time.Minute)
					if len(some) > 7 || err != nil {
						t.Errorf("claimed %d of at most 7, %v", len(some), err)
					}
					mu.Lock()
					for _, one := range some {
						times[one.ID]++
						if !reflect.DeepEqual(one, want[one.ID]) {
							t.Errorf("claimed %+v, want %+v", one, want[one.ID])
						}
					}
					done := len(times) == len(want) || err != nil
					mu.Unlock()
					if done {
						return
					}
				}
			})
		}
		group.Wait()
		if slices.Max(slices.Collect(maps.Values(times))) != 1 {
			t.Errorf("claimed so often: %v", times)
		}
		s.noneDue(workers[0])

		late := s.keep(workers[0], store.Submission{Origin: "source/ads", State: store.Fetching}, nil)
		s.claimed(workers[0], 1, 0)
		if again := s.claimed(workers[1], 1, time.Minute); again[0].ID != late.ID {
			t.Errorf("claimed %s, want %s whose lease lapsed", again[0].ID, late.ID)
		}
		s.noneDue(workers[0])
	})
}

func TestTheFetchesThatAreDueLongestAreClaimedFirst(t *testing.T) {
	onEach(t, func(s *server) {
		p := s.process()
		for i := range 30 {
			kept := s.keep(p, store.Submission{Origin: "source/ads", State: store.Fetching}, nil)
			if err := p.Postpone(t.Context(), kept.ID, fmt.Sprint(29-i), p.Now().Add(time.Duration(-i-1)*time.Minute), false); err != nil {
				s.t.Fatal(err)
			}
		}
		for first := 0; first < 30; first += 10 {
			var got []string
			for _, one := range s.claimed(p, 10, time.Minute) {
				got = append(got, one.Reason)
			}
			for n := first; n < first+10; n++ {
				if !slices.Contains(got, fmt.Sprint(n)) {
					t.Errorf("claimed %v, want %d to %d", got, first, first+9)
				}
			}
		}
	})
}

func TestAFailedFetchIsDueWhenItWasPostponedTo(t *testing.T) {
	onEach(t, func(s *server) {
		p := s.process()
		kept := s.keep(p, store.Submission{Origin: "source/ads", State: store.Fetching, Payload: payload}, nil)
		s.claimed(p, 1, time.Minute)
		next := p.Now().Add(time.Hour)
		for i, counts := range []bool{true, false, true} {
			if err := p.Postpone(t.Context(), kept.ID, fmt.Sprint("the vendor is down ", i), next, counts); err != nil {
				s.t.Fatal(err)
			}
		}
		s.noneDue(p)
		kept.Reason, kept.Next, kept.Attempts = "the vendor is down 2", next, 2
		if got, err := p.Submission(t.Context(), kept.ID); err != nil || !reflect.DeepEqual(got, kept) {
			t.Errorf("got %+v, %v; want %+v", got, err, kept)
		}
		if err := p.Postpone(t.Context(), kept.ID, "now", p.Now(), false); err != nil {
			s.t.Fatal(err)
		}
		s.claimed(p, 1, time.Minute)

		// It is given up, looked at, and tried once more.
		given := store.Submission{ID: kept.ID, State: store.Unmapped, Reason: "given up", Payload: []byte("fetched"), Attempts: 2}
		if err := p.Resubmit(t.Context(), given); err != nil {
			s.t.Fatal(err)
		}
		if err := p.Postpone(t.Context(), kept.ID, "by a worker that was late", p.Now(), true); err != nil {
			s.t.Fatal(err)
		}
		s.noneDue(p)
		given.Origin, given.Received = kept.Origin, kept.Received
		if got, err := p.Submission(t.Context(), kept.ID); err != nil || !reflect.DeepEqual(got, given) {
			t.Errorf("got %+v, %v; want %+v", got, err, given)
		}
		s.counts(p, map[string]map[store.SubmissionState]int{"source/ads": {store.Unmapped: 1}})
		given.State, given.Attempts = store.Fetching, 0
		if err := p.Resubmit(t.Context(), given); err != nil {
			s.t.Fatal(err)
		}
		s.counts(p, map[string]map[store.SubmissionState]int{"source/ads": {store.Fetching: 1}})
		if again := s.claimed(p, 1, time.Minute)[0]; again.Attempts != 0 || !bytes.Equal(again.Payload, given.Payload) {
			t.Errorf("claimed %+v", again)
		}

		if _, err := p.Release(t.Context(), kept.ID, patchOf("jane@example.com"), false); err != nil {
			s.t.Fatal(err)
		}
		s.gone("postponing what is a lead", p.Postpone(t.Context(), kept.ID, "", p.Now(), true))
		s.gone("resubmitting it", p.Resubmit(t.Context(), given))
		s.noneDue(p)
		if left := s.keys("lr:*:q:*"); len(left) != 0 {
			t.Errorf("left are %v", left)
		}
	})
}

func TestAFetchIsDueSoonerAfterRedisClockWasSetBack(t *testing.T) {
	onEach(t, func(s *server) {
		p := s.process()
		kept := s.keep(p, store.Submission{Origin: "source/ads", State: store.Fetching}, nil)
		if err := p.Postpone(t.Context(), kept.ID, "", p.Now().Add(24*time.Hour), false); err != nil {
			s.t.Fatal(err)
		}
		// A process read a clock that was a day ahead.
		if err := s.client.Set(t.Context(), "lr:clock", p.Now().Add(24*time.Hour).UnixMilli(), 0).Err(); err != nil {
			s.t.Fatal(err)
		}
		s.claimed(s.process(), 1, time.Minute)
	})
}

func TestASecretIsSharedByAllProcessesAndHasManyNames(t *testing.T) {
	onEach(t, func(s *server) {
		processes := []*store.Store{s.process(), s.process()}
		var mu sync.Mutex
		var group sync.WaitGroup
		made := map[string]bool{}
		for i := range 20 {
			group.Go(func() {
				secret, err := processes[i%2].Secret(t.Context(), "form tokens")
				if err != nil || len(secret) != 32 {
					t.Errorf("got %d bytes, %v", len(secret), err)
				}
				mu.Lock()
				defer mu.Unlock()
				made[string(secret)] = true
			})
		}
		group.Wait()
		other, err := processes[0].Secret(t.Context(), "another")
		if err != nil || len(made) != 1 || made[string(other)] {
			t.Errorf("of one name there are %d, of another it is shared: %v, %v", len(made), made[string(other)], err)
		}
	})
}

func TestP1SubmissionsAreThereAfterTheInProcessStoreWasRestarted(t *testing.T) {
	dir := t.TempDir()
	start := func() (p *store.Store, stop func()) {
		e, err := embedded.Start(t.Context(), embedded.Options{Dir: dir, Engine: embedded.InProcess})
		if err != nil {
			t.Fatal(err)
		}
		parsed, err := redis.ParseURL(e.URL())
		if err != nil {
			t.Fatal(err)
		}
		client := store.Connect(&redis.UniversalOptions{Addrs: []string{parsed.Addr}, Username: parsed.Username, Password: parsed.Password})
		if p, err = store.New(t.Context(), client, []store.Connector{crm}, slog.New(slog.DiscardHandler)); err != nil {
			t.Fatal(err)
		}
		return p, func() {
			p.Close()
			client.Close()
			e.Close(context.Background())
		}
	}
	p, stop := start()
	s := &server{t: t}
	once := &store.Idempotency{Key: "k", For: time.Hour}
	spam := s.keep(p, store.Submission{Origin: "form/contact", State: store.Spam, Payload: payload}, once)
	fetching := s.keep(p, store.Submission{Origin: "source/ads", State: store.Fetching, Payload: payload}, nil)
	waiting := s.keep(p, store.Submission{Origin: "source/ads", State: store.Fetching, Payload: payload}, nil)
	released := s.keep(p, store.Submission{Origin: "form/contact", State: store.Unmapped, Payload: payload}, nil)
	if _, err := p.Release(t.Context(), released.ID, patchOf("jane@example.com"), false); err != nil {
		t.Fatal(err)
	}
	if err := p.Postpone(t.Context(), waiting.ID, "down", p.Now().Add(time.Hour), true); err != nil {
		t.Fatal(err)
	}
	many := p.CreateMany(t.Context(), []store.NewLead{{Patch: patchOf("a@example.com"), Once: &store.Idempotency{Key: "a"}}, {Patch: patchOf("b@example.com")}})
	secret, err := p.Secret(t.Context(), "form tokens")
	if err != nil {
		t.Fatal(err)
	}
	before := s.all(p, store.SubmissionQuery{Limit: 10})
	stop()

	p, stop = start()
	defer stop()
	if after := s.all(p, store.SubmissionQuery{Limit: 10}); !reflect.DeepEqual(after, before) || len(after) != 3 {
		t.Errorf("after a restart there are %+v, were %+v", after, before)
	}
	if again := s.keep(p, store.Submission{Origin: "form/contact", State: store.Spam}, once); again.ID != spam.ID {
		t.Errorf("a repeat is kept as %s, was %s", again.ID, spam.ID)
	}
	if due := s.claimed(p, 1, time.Minute); due[0].ID != fetching.ID {
		t.Errorf("due is %s, want %s", due[0].ID, fetching.ID)
	}
	s.noneDue(p)
	if again, err := p.Secret(t.Context(), "form tokens"); err != nil || !bytes.Equal(again, secret) {
		t.Errorf("the secret is another one: %v", err)
	}
	var ids []string
	for _, l := range s.leads(p) {
		ids = append(ids, l.ID)
	}
	if len(ids) != 3 || !slices.Contains(ids, released.ID) || !slices.Contains(ids, many[0].Lead.ID) || !slices.Contains(ids, many[1].Lead.ID) {
		t.Errorf("the leads are %v", ids)
	}
}
