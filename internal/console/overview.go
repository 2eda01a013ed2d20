package console

import (
	"cmp"
	"context"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/leadrelay/leadrelay/internal/store"
)

// overview is what the overview shows and the live one keeps up to date: ready to be read, without personal data.
type overview struct {
	At         string  `json:"at"`
	Connectors []card  `json:"connectors"`
	Inbox      []inbox `json:"inbox"`
	Config     config  `json:"config"`
	Badges     badges  `json:"badges"`
}

// card is how one connector is doing.
type card struct {
	Name    string `json:"name"`
	State   string `json:"state"` // as it is called
	Look    string `json:"look"`  // the class of its looks
	Why     string `json:"why"`
	When    string `json:"when"`
	Backlog string `json:"backlog"`
	Oldest  string `json:"oldest"`
	Parked  string `json:"parked"`
	Failing bool   `json:"failing"` // some are parked
	Held    bool   `json:"held"`    // resuming it would let leads through
	Paused  bool   `json:"paused"`
}

// inbox is what of an origin is no lead yet.
type inbox struct {
	Origin   string `json:"origin"`
	Spam     int    `json:"spam"`
	Unmapped int    `json:"unmapped"`
	Fetching int    `json:"fetching"`
}

type config struct {
	Revision string `json:"revision"`
	Loaded   string `json:"loaded"`
	Problem  string `json:"problem"`
}

// badges are the counts in the navigation.
type badges struct {
	Failed int64 `json:"failed"`
	Inbox  int64 `json:"inbox"`
}

// read reads the overview.
func (s *site) read(ctx context.Context) (overview, error) {
	statuses, err := s.Store.Statuses(ctx)
	if err != nil {
		return overview{}, err
	}
	counts, err := s.Store.CountSubmissions(ctx)
	if err != nil {
		return overview{}, err
	}
	now, conf := s.Store.Now(), s.Config()
	o := overview{
		At: now.UTC().Format("15:04:05 UTC"), Connectors: []card{}, Inbox: []inbox{},
		Config: config{conf.Revision, stamp(conf.Loaded), conf.Problem},
	}
	for _, one := range statuses {
		o.Connectors = append(o.Connectors, newCard(now, one))
		o.Badges.Failed += one.Parked
	}
	for _, origin := range slices.Sorted(maps.Keys(counts)) {
		n := counts[origin]
		i := inbox{origin, n[store.Spam], n[store.Unmapped], n[store.Fetching]}
		if sum := i.Spam + i.Unmapped + i.Fetching; sum > 0 {
			o.Inbox = append(o.Inbox, i)
			o.Badges.Inbox += int64(sum)
		}
	}
	return o, nil
}

func newCard(now time.Time, s store.Status) card {
	c := card{
		Name: s.Connector, State: s.State, Look: s.State, Why: s.Reason, Failing: s.Parked > 0,
		Backlog: number(s.Backlog), Oldest: "–", Parked: number(s.Parked), Held: true,
		Paused: s.State == string(store.GatePaused),
	}
	if !s.Oldest.IsZero() {
		c.Oldest = age(now, s.Oldest)
	}
	if !s.Since.IsZero() {
		c.When = "For " + age(now, s.Since)
	}
	tried := func(what string) {
		if s.Until.After(now) {
			c.When = what + " in " + age(now, s.Until)
		}
	}
	switch s.State {
	case store.StatusInStep:
		c.Look, c.Why, c.Held = "in-step", "Every lead has arrived.", false
		if s.Parked > 0 {
			c.Why = "Every lead has arrived but those that failed."
		}
	case store.StatusBehind:
		c.Why, c.Held = "Leads are on their way.", false
	case string(store.GateWaiting):
		c.Why = cmp.Or(c.Why, "The system asked to wait.")
		tried("Goes on")
	case string(store.GateDown), string(store.GateHeld):
		tried("Tried again")
	}
	return c
}

func (s *site) overview(v *visit) error {
	o, err := s.live.fresh(v.ctx, s)
	if err != nil {
		return err
	}
	charts, err := s.activity(v.ctx, spanOf(v.r))
	if err != nil {
		return err
	}
	words, safe := s.Store.Persistence(v.ctx).Survives()
	return v.show(http.StatusOK, "overview", page{Title: "Overview", Section: "overview", Data: struct {
		overview
		Activity    *activity
		Persistence string
		Safe        bool
	}{o, charts, words, safe}})
}

// badges are left out where they cannot be read in time: the page itself says why.
func (v *visit) badges() badges {
	ctx, cancel := context.WithTimeout(v.ctx, time.Second)
	defer cancel()
	o, err := v.live.recent(ctx, v.site)
	if err != nil {
		return badges{}
	}
	return o.Badges
}

func (s *site) pause(v *visit) error {
	name := v.r.PathValue("name")
	return v.setGate(name, "paused", name+" is paused. Its leads are kept until it is resumed.",
		store.Gate{State: store.GatePaused, Reason: "paused by an operator", Since: s.Store.Now()})
}

func (s *site) resume(v *visit) error {
	name := v.r.PathValue("name")
	return v.setGate(name, "resumed", name+" is resumed. Its leads go out now.", store.Gate{Since: s.Store.Now()})
}

func (v *visit) setGate(name, what, said string, gate store.Gate) error {
	if err := v.known(name); err != nil {
		return err
	}
	err := v.act(store.Act{What: what, Connector: name}, func() error { return v.Store.SetGate(v.ctx, name, gate) })
	if err != nil {
		return err
	}
	v.say("%s", said)
	if v.r.PostForm.Get("from") == "connectors" {
		return v.goTo("/console/connectors")
	}
	return v.goTo("/console")
}
