package alerts

import (
	"slices"
	"time"

	"github.com/leadrelay/leadrelay/internal/store"
)

// Conditions, as Alert and Event name them.
const (
	Held   = "held"
	Down   = "down"
	Behind = "behind"
	Config = "config"
)

const (
	// calm is how long after trouble was told the same is not told again, but counted.
	calm = 15 * time.Minute

	// together is how long what is to be told waits for more to tell of.
	together = 15 * time.Second
)

// sighting is trouble that there is.
type sighting struct {
	condition, subject string
	reason             string
	since              time.Time
	waiting            int64 // leads
}

// seen is what there is in one moment.
type seen struct {
	at        time.Time
	sightings []sighting
	ended     func(condition, subject string) string // why trouble that is not there any more is over; "": it is well
}

// decide returns what is known of all alerts after a look, and what is to be told in one message, if anything is.
func (s Settings) decide(known []store.Alert, now seen) (next []store.Alert, events []Event) {
	type change struct {
		place int
		event Event
	}
	var changes []change
	urgent := false
	for _, a := range observed(known, now) {
		event, due := s.follow(&a, now.at)
		if event.State == "" && forgettable(a, now.at) {
			continue
		}
		if event.State != "" && !now.at.Before(due) {
			event.Waiting = now.waiting(a)
			changes = append(changes, change{len(next), event})
			urgent = urgent || !now.at.Before(due.Add(min(together, s.After/4)))
		}
		next = append(next, a)
	}
	if !urgent || len(s.To) == 0 {
		return next, nil
	}
	for _, c := range changes {
		next[c.place] = told(next[c.place], c.event.State, now.at)
		events = append(events, c.event)
	}
	return next, events
}

// observed brings what is known up to what is seen. A trouble's beginning stays what it was when it was seen first.
func observed(known []store.Alert, now seen) []store.Alert {
	next := slices.Clone(known)
	for i := range next {
		a := &next[i]
		if a.Bad && now.find(*a) < 0 {
			a.Bad, a.Since, a.Counted, a.Ended = false, now.at, false, now.ended(a.Condition, a.Subject)
			if a.Ended != "" {
				a.Untold = 0
			}
		}
	}
	for _, s := range now.sightings {
		i := slices.IndexFunc(next, func(a store.Alert) bool { return a.Condition == s.condition && a.Subject == s.subject })
		if i < 0 {
			i = len(next)
			next = append(next, store.Alert{Condition: s.condition, Subject: s.subject})
		}
		a := &next[i]
		if !a.Bad {
			a.Bad, a.Since, a.Ended = true, now.at, ""
			if s.since.Before(now.at) {
				a.Since = s.since
			}
		}
		a.Reason = s.reason
	}
	return next
}

// follow says what is to be told of an alert next, and when; no State: nothing. It counts trouble that is not told.
func (s Settings) follow(a *store.Alert, now time.Time) (e Event, due time.Time) {
	e = Event{Condition: a.Condition, Subject: a.Subject, Since: a.Since, Reason: a.Reason, Bad: a.Bad}
	lasted := a.Since.Add(s.After)
	calmed := a.Told.Add(calm)
	switch {
	case a.Bad && a.Open:
		if s.Remind > 0 {
			e.State, e.Since, due = Reminder, a.Began, a.Told.Add(s.Remind)
		}
	case a.Bad:
		e.State, due = Raised, lasted
		if !a.Told.IsZero() && lasted.Before(calmed) {
			due = calmed
			if !a.Counted && !now.Before(lasted) {
				a.Untold, a.Counted = a.Untold+1, true
			}
		}
		if a.Untold > 0 {
			e.State, e.Times, e.From = Flapping, a.Untold, a.Told
		}
	case a.Open:
		e.State, e.From, e.Ended, due = Ended, a.Began, a.Ended, lasted
	case a.Untold > 0:
		e.State, e.Times, e.From, due = Flapping, a.Untold, a.Told, calmed
	}
	return e, due
}

// told is an alert after operators were told of it.
func told(a store.Alert, state string, now time.Time) store.Alert {
	switch state {
	case Ended:
		a.Open = false
		return a
	case Raised, Flapping:
		a.Open, a.Began, a.Untold = a.Bad, a.Since, 0
	}
	a.Told = now
	return a
}

// forgettable says whether an alert has nothing to say any more: what was told a moment ago keeps the next from being told.
func forgettable(a store.Alert, now time.Time) bool {
	return !a.Bad && !a.Open && !now.Before(a.Told.Add(calm))
}

func (now seen) find(a store.Alert) int {
	return slices.IndexFunc(now.sightings, func(s sighting) bool { return s.condition == a.Condition && s.subject == a.Subject })
}

func (now seen) waiting(a store.Alert) int64 {
	if i := now.find(a); i >= 0 {
		return now.sightings[i].waiting
	}
	return 0
}
