package console

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/leadrelay/leadrelay/internal/store"
)

// leadPage is what the page of a lead shows.
type leadPage struct {
	store.Found
	Custom    []field
	Standings []standing
	History   []store.HistoryEntry // the newest first
}

type field struct{ Name, Value string }

// standing is where the lead stands with one connector.
type standing struct {
	Connector  string
	Configured bool
	State      string
	Look       string
	Record     store.Record
	URL        string    // of the remote's record; "": not known
	Next       time.Time // zero: it is not waited for
}

// states are how people read a lead's state, and its looks.
var states = map[store.State][2]string{
	store.Pending:  {"on its way", "behind"},
	store.InStep:   {"in step", "in-step"},
	store.Skipped:  {"left out by its filter", "rest"},
	store.Retrying: {"failed, is tried again", "waiting"},
	store.Parked:   {"failed", "held"},
}

// outcomeOf is how people read what an attempt came to, and its looks.
func outcomeOf(o store.Outcome) [2]string {
	switch o {
	case store.OutcomeInStep:
		return [2]string{"in step", "in-step"}
	case store.OutcomeSkipped:
		return [2]string{"left out by its filter", "rest"}
	case store.OutcomeNothing:
		return [2]string{"nothing to delete", "rest"}
	case store.OutcomeParked:
		return [2]string{"failed", "held"}
	default:
		return [2]string{"failed, is tried again", "waiting"}
	}
}

func (s *site) lead(v *visit) error {
	id := v.pageID()
	found, history, err := s.Store.GetWithHistory(v.ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		// It may be no lead yet.
		if _, err := s.Store.Submission(v.ctx, id); err == nil {
			return v.goTo("/console/inbox/" + id)
		}
		return refusal{http.StatusNotFound, "There is no such lead", "It was deleted, or the id is not quite right. Search for the lead by its address."}
	}
	if err != nil {
		return err
	}
	p := leadPage{Found: found, History: history}
	for _, name := range slices.Sorted(maps.Keys(found.Lead.Custom)) {
		p.Custom = append(p.Custom, field{name, shown(found.Lead.Custom[name])})
	}
	now := s.Store.Now()
	for _, one := range found.Standings {
		words := states[one.State]
		st := standing{
			Connector: one.Connector, Configured: v.known(one.Connector) == nil, State: words[0], Look: words[1], Record: one.Record,
		}
		if one.Record.Ref != "" {
			st.URL = webAddress(s.RemoteURL(one.Connector, one.Record.Ref))
		}
		if at := time.UnixMilli(one.Record.Next); one.State == store.Retrying && at.After(now) {
			st.Next = at.UTC()
		}
		p.Standings = append(p.Standings, st)
	}
	return v.show(http.StatusOK, "lead", page{Title: "Lead", Section: "leads", Data: p})
}

// webAddress is the address where it is one of the web, else "".
func webAddress(address string) string {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" {
		return ""
	}
	return address
}

// pushLead pushes a lead again, to one connector or, where the form names none, to all.
func (s *site) pushLead(v *visit) error {
	id, name := v.pageID(), v.r.PostForm.Get("connector")
	found, err := s.Store.Get(v.ctx, id)
	if err != nil {
		return err
	}
	names := []string{name}
	if name == "" {
		names = nil
		for _, one := range found.Standings {
			if v.known(one.Connector) == nil {
				names = append(names, one.Connector)
			}
		}
	} else if err := v.known(name); err != nil {
		return err
	}
	if len(names) == 0 {
		v.complain("There is no connector to push it to.")
		return v.goTo("/console/leads/" + id)
	}
	err = v.act(store.Act{What: "pushed again", Connector: name, Lead: id}, func() error {
		for _, name := range names {
			if err := s.Store.Replay(v.ctx, name, id); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	v.say("The lead will be pushed to %s again.", strings.Join(names, ", "))
	if v.r.PostForm.Get("from") == "failed" {
		return v.goTo("/console/failed")
	}
	return v.goTo("/console/leads/" + id)
}

// confirm is what the page shows that asks once more.
type confirm struct {
	Question, Text string
	Action, Do     string // where the form goes, and what its button says
	Back           string
}

func (s *site) askDelete(v *visit) error {
	id := v.pageID()
	found, err := s.Store.Get(v.ctx, id)
	if err != nil {
		return err
	}
	if found.Deleted {
		return store.ErrNotFound
	}
	who := found.Lead.Email
	if found.Lead.Name != "" {
		who = fmt.Sprintf("%s (%s)", found.Lead.Name, found.Lead.Email)
	}
	return v.show(http.StatusOK, "confirm", page{Title: "Delete a lead", Section: "leads", Data: confirm{
		"Delete the lead of " + who + "?", "Leadrelay forgets the person at once, and every connector is told to remove its record. It cannot be undone.",
		"/console/leads/" + id + "/delete", "Delete for good", "/console/leads/" + id,
	}})
}

func (s *site) deleteLead(v *visit) error {
	id := v.pageID()
	found, err := s.Store.Get(v.ctx, id)
	if err != nil {
		return err
	}
	if found.Deleted {
		return store.ErrNotFound
	}
	err = v.act(store.Act{What: "deleted the lead", Lead: id}, func() error { return s.Store.Delete(v.ctx, id) })
	if err != nil {
		return err
	}
	v.say("The lead is deleted; its connectors are being told.")
	return v.goTo("/console/leads")
}
