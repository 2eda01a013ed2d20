package store_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/leadrelay/leadrelay/internal/lead"
	"github.com/leadrelay/leadrelay/internal/store"
)

func TestASessionLastsWhileItIsUsedAndNoLongerThanItMay(t *testing.T) {
	onEach(t, func(s *server) {
		ctx := t.Context()
		one, other := s.process(), s.process()
		if _, ok, err := one.Session(ctx, "secret"); ok || err != nil {
			t.Errorf("there is one: %v", err)
		}
		if err := one.BeginSession(ctx, "secret", store.Session{Operator: "olga", Login: "l", Token: "t"}); err != nil {
			t.Fatal(err)
		}
		session, ok, err := other.Session(ctx, "secret")
		if !ok || err != nil || session.Operator != "olga" || session.Login != "l" || session.Token != "t" || one.Now().Sub(session.Began).Abs() > time.Minute {
			t.Errorf("got %+v, %v, %v", session, ok, err)
		}
		key := s.keys("lr:session:*")[0]
		lasts := func(least, most time.Duration) {
			t.Helper()
			if ttl := s.client.PTTL(ctx, key).Val(); ttl < least || ttl > most {
				t.Errorf("it lasts for %s, want %s to %s", ttl, least, most)
			}
		}
		lasts(store.SessionIdle-time.Minute, store.SessionIdle)
		began := session.Began
		session.Began = began.Add(-store.SessionLife + 20*time.Minute)
		if err := other.ProlongSession(ctx, "secret", session); err != nil {
			t.Fatal(err)
		}
		lasts(19*time.Minute, 20*time.Minute)
		session.Began = began.Add(-store.SessionLife - time.Second)
		if err := other.ProlongSession(ctx, "secret", session); err != nil {
			t.Fatal(err)
		}
		if _, ok, err := one.Session(ctx, "secret"); ok || err != nil {
			t.Errorf("it is over and still there: %v", err)
		}
		// One that ended does not come back by being used.
		if err := one.BeginSession(ctx, "secret", store.Session{Operator: "olga"}); err != nil {
			t.Fatal(err)
		}
		if err := other.EndSession(ctx, "secret"); err != nil {
			t.Fatal(err)
		}
		session.Began = began
		if err := one.ProlongSession(ctx, "secret", session); err != nil {
			t.Fatal(err)
		}
		if _, ok, err := one.Session(ctx, "secret"); ok || err != nil {
			t.Errorf("it is back: %v", err)
		}
	})
}

func TestTheAuditTrailIsTheNewestFirst(t *testing.T) {
	onEach(t, func(s *server) {
		ctx, p := t.Context(), s.process()
		if acts, more, err := p.Acts(ctx, 0, 10); len(acts) != 0 || more || err != nil {
			t.Errorf("got %v, %v, %v", acts, more, err)
		}
		for i := range 5 {
			if err := p.NoteAct(ctx, store.Act{Operator: "olga", What: fmt.Sprint(i), Connector: "crm", Lead: "lead_1", Detail: "d"}); err != nil {
				t.Fatal(err)
			}
		}
		acts, more, err := p.Acts(ctx, 1, 2)
		if err != nil || !more || len(acts) != 2 || acts[0].What != "3" || acts[1].What != "2" || acts[0].Connector != "crm" || acts[0].At.IsZero() {
			t.Errorf("got %+v, %v, %v", acts, more, err)
		}
		if acts, more, err := p.Acts(ctx, 3, 2); len(acts) != 2 || more || err != nil {
			t.Errorf("got %+v, %v, %v", acts, more, err)
		}
	})
}

func TestWhatIsParkedIsReadInPages(t *testing.T) {
	onEach(t, func(s *server) {
		ctx, p := t.Context(), s.process()
		p.SetConnectors([]store.Connector{{Name: "crm"}, {Name: "sheet"}})
		var leads []store.NewLead
		for i := range 60 {
			email := fmt.Sprintf("person%d@example.com", i)
			leads = append(leads, store.NewLead{Patch: lead.Patch{Email: &email}})
		}
		var ids []string
		for _, made := range p.CreateMany(ctx, leads) {
			if made.Err != nil {
				t.Fatal(made.Err)
			}
			ids = append(ids, made.Lead.ID)
		}
		for shard := range lead.Shards {
			claims, err := p.Claim(ctx, store.Connector{Name: "crm"}, shard, 100, uuid.NewString(), time.Minute)
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range claims {
				c.Record = store.Record{State: store.Parked, Fault: "lead", Reason: "400 of " + c.Change.Lead.ID}
				if _, err := p.Settle(ctx, c, store.Park, time.Time{}, time.Minute); err != nil {
					t.Fatal(err)
				}
			}
		}
		check := func(what string, some []store.ParkedRecord, want int) {
			t.Helper()
			var got []string
			for _, one := range some {
				if got = append(got, one.ID); one.Record.Reason != "400 of "+one.ID || !slices.Contains(ids, one.ID) {
					t.Errorf("%s: %+v", what, one)
				}
			}
			slices.Sort(got)
			if got = slices.Compact(got); len(got) != want || len(some) != want {
				t.Errorf("%s: %d, of them %d different, want %d", what, len(some), len(got), want)
			}
		}
		for limit, want := range map[int]int{1: 1, 10: 10, 60: 60, 1000: 60} {
			latest, err := p.LatestParked(ctx, []string{"crm", "sheet"}, limit)
			if err != nil {
				t.Fatal(err)
			}
			check(fmt.Sprint("the latest ", limit), latest["crm"], want)
			check("of another", latest["sheet"], 0)
		}
		var all []store.ParkedRecord
		if err := p.EachParked(ctx, "crm", func(some []store.ParkedRecord) error { all = append(all, some...); return nil }); err != nil {
			t.Fatal(err)
		}
		check("all", all, 60)
		enough := errors.New("enough")
		if err := p.EachParked(ctx, "crm", func([]store.ParkedRecord) error { return enough }); err != enough {
			t.Errorf("got %v", err)
		}
		stands := func(want store.State) {
			t.Helper()
			found, err := p.Get(ctx, ids[0])
			if err != nil || found.Standings[0].State != want || found.Standings[1].State != store.Pending {
				t.Errorf("it stands at %+v, %v, want %s", found.Standings, err, want)
			}
		}
		stands(store.Parked)
		if err := p.Replay(ctx, "crm", ids[0]); err != nil {
			t.Fatal(err)
		}
		stands(store.Pending)

		statuses, err := p.Statuses(ctx)
		if err != nil || len(statuses) != 2 || statuses[0].Connector != "crm" || statuses[0].State != store.StatusBehind ||
			statuses[0].Parked != 59 || statuses[0].Backlog != 1 || statuses[1].Backlog != 60 {
			t.Errorf("got %+v, %v", statuses, err)
		}
		if err := p.SetGate(ctx, "crm", store.Gate{State: store.GateWaiting, Reason: "429", Until: p.Now().Add(time.Hour)}); err != nil {
			t.Fatal(err)
		}
		statuses, err = p.Statuses(ctx)
		if err != nil || statuses[0].State != "waiting" || statuses[0].Reason != "429" || statuses[0].Until.IsZero() {
			t.Errorf("got %+v, %v", statuses, err)
		}
	})
}
