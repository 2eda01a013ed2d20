package console

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/leadrelay/leadrelay/internal/lead"
	"github.com/leadrelay/leadrelay/internal/store"
)

const inboxPage = 50

// inboxList is what the inbox shows.
type inboxList struct {
	Submissions   []store.Submission
	States        []store.SubmissionState
	Origins       []string
	State, Origin string // that are shown; "": all
	First, Next   string
	Verbs         []inboxVerb // for those on the page
	AllVerbs      []inboxVerb // for all of the origin
}

var submissionStates = []store.SubmissionState{store.Spam, store.Unmapped, store.Fetching}

func (s *site) inbox(v *visit) error {
	asked := v.r.URL.Query()
	q := store.SubmissionQuery{
		State: store.SubmissionState(asked.Get("state")), Origin: asked.Get("origin"), Before: asked.Get("before"), Limit: inboxPage,
	}
	counts, err := s.Store.CountSubmissions(v.ctx)
	if err != nil {
		return err
	}
	found, next, err := s.Store.Submissions(v.ctx, q)
	if err != nil {
		return err
	}
	list := inboxList{Submissions: found, States: submissionStates, State: string(q.State), Origin: q.Origin}
	var here, there []store.SubmissionState
	for _, sub := range found {
		here = append(here, sub.State)
	}
	for state, n := range counts[q.Origin] {
		if n > 0 && (q.State == "" || q.State == state) {
			there = append(there, state)
		}
	}
	list.Verbs, list.AllVerbs = s.offered(here...), s.offered(there...)
	list.Origins = slices.Sorted(maps.Keys(counts))
	at := url.Values{}
	for _, name := range []string{"state", "origin"} {
		if value := asked.Get(name); value != "" {
			at.Set(name, value)
		}
	}
	if q.Before != "" {
		list.First = "/console/inbox?" + at.Encode()
	}
	if next != "" {
		at.Set("before", next)
		list.Next = "/console/inbox?" + at.Encode()
	}
	return v.show(http.StatusOK, "inbox", page{Title: "Inbox", Section: "inbox", Data: list})
}

// gone is said of what is in the inbox no more.
var gone = refusal{http.StatusNotFound, "It is in the inbox no more", "It was released, mapped or dropped, or never was there."}

// waiting returns the submission of the path.
func (v *visit) waiting() (store.Submission, error) {
	sub, err := v.Store.Submission(v.ctx, v.pageID())
	if errors.Is(err, store.ErrNotFound) {
		err = gone
	}
	return sub, err
}

func (s *site) submission(v *visit) error {
	sub, err := v.waiting()
	if errors.Is(err, gone) {
		if _, err := s.Store.Get(v.ctx, v.pageID()); err == nil {
			return v.goTo("/console/leads/" + v.pageID())
		}
	}
	if err != nil {
		return err
	}
	var sent bytes.Buffer
	if json.Indent(&sent, sub.Payload, "", "  ") != nil {
		sent.Reset()
		sent.WriteString(strings.ToValidUTF8(string(sub.Payload), "\uFFFD"))
	}
	return v.show(http.StatusOK, "submission", page{Title: "Submission", Section: "inbox", Data: struct {
		store.Submission
		Sent   string
		Mapped bool // it can be mapped again here
	}{sub, sent.String(), s.Remap != nil && sub.State != store.Spam}})
}

// release makes a lead of spam.
func (s *site) release(v *visit) error {
	sub, err := v.waiting()
	if err != nil {
		return err
	}
	if sub.State != store.Spam {
		v.complain("Only what was taken for spam can be released.")
		return v.goTo("/console/inbox/" + sub.ID)
	}
	patch, err := lead.ParseNew(sub.Payload)
	var l lead.Lead
	if err == nil {
		err = v.act(store.Act{What: "released from spam", Lead: sub.ID}, func() error {
			l, err = s.Store.Release(v.ctx, sub.ID, patch, s.Dedupe)
			return err
		})
	}
	if isNoLead(err) {
		v.complain("It cannot become a lead: %s.", err)
		return v.goTo("/console/inbox/" + sub.ID)
	}
	if err != nil {
		return err
	}
	v.say("It is a lead now, on its way to every connector.")
	return v.goTo("/console/leads/" + l.ID)
}

// isNoLead says of an error that what was sent is at fault.
func isNoLead(err error) bool {
	var invalid lead.Invalid
	return errors.As(err, &invalid) || errors.Is(err, lead.ErrMalformed)
}

func (s *site) askDrop(v *visit) error {
	sub, err := v.waiting()
	if err != nil {
		return err
	}
	return v.show(http.StatusOK, "confirm", page{Title: "Drop a submission", Section: "inbox", Data: confirm{
		"Drop this submission?", "It is forgotten for good, with what was sent, and becomes no lead. It cannot be undone.",
		"/console/inbox/" + sub.ID + "/drop", "Drop for good", "/console/inbox/" + sub.ID,
	}})
}

func (s *site) drop(v *visit) error {
	sub, err := v.waiting()
	if err != nil {
		return err
	}
	err = v.act(store.Act{What: "dropped the submission", Lead: sub.ID}, func() error { return s.Store.Drop(v.ctx, sub.ID) })
	if err != nil {
		return err
	}
	v.say("The submission is dropped.")
	return v.goTo("/console/inbox")
}
