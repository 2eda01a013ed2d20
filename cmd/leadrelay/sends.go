package main

import (
	"context"
	"errors"

	"github.com/leadrelay/leadrelay/connectors"
	"github.com/leadrelay/leadrelay/internal/config"
	"github.com/leadrelay/leadrelay/internal/console"
	"github.com/leadrelay/leadrelay/internal/lead"
	"github.com/leadrelay/leadrelay/internal/store"
)

// sending is what a push of a lead to a connector would send now.
type sending struct {
	Requests []connectors.Rehearsed
	Verdict  console.Verdict
	Note     string // why it is so; without personal data
}

// Notes of a sending.
const (
	noteLeftOut = `its "when" leaves this lead out, and the system has nothing of it`
	noteRemoved = `its "when" leaves this lead out: its record is taken away`
	noteNothing = "the system has nothing of this lead that could be taken away"
	noteUntold  = "it is not told of such a change"
	noteLooked  = "an earlier attempt had no answer: the system is asked first whether it has the record"
	noteClosed  = "this process does not open connectors; `leadrelay plan` shows it, where their secrets are"
)

// wouldSend says what a connector would be sent now of a lead that it has as it was read. It sends nothing: it is for
// whoever wants to see before anything is done.
func wouldSend(ctx context.Context, c config.Connector, h store.Held) sending {
	if c.Connector == nil {
		return sending{Verdict: console.VerdictUnknown, Note: noteClosed}
	}
	change := h.Change(store.Connector{Name: c.Name, Event: c.Event})
	ref := h.Record.Ref
	there := ref != "" || h.Record.Sent || len(h.Record.Tried) > 0
	if ref == "" && len(h.Record.Tried) > 0 {
		ref = h.Record.Tried[0]
	}
	s := sending{Verdict: console.VerdictSends}
	if change.Op != lead.Delete {
		match, err := c.Filter.Match(h.Lead)
		switch {
		case err != nil:
			return sending{Verdict: console.VerdictRejected, Note: connectors.Redact(err.Error())}
		case !match && (c.Event || !there):
			return sending{Verdict: console.VerdictNothing, Note: noteLeftOut}
		case !match:
			change.Op, s.Note = lead.Delete, noteRemoved
		case !c.Event && ref == "":
			change.Op = lead.Create
		case !c.Event:
			change.Op = lead.Update
		}
	}
	if change.Op == lead.Delete && !there {
		return sending{Verdict: console.VerdictNothing, Note: noteNothing}
	}
	_, finds := c.Connector.(connectors.Finder)
	looked := finds && ref == "" && h.Record.Sent
	if looked {
		s.Note = noteLooked
	}
	var err error
	s.Requests, err = connectors.Rehearse(ctx, c.Connector, change, ref)
	switch fault, _ := connectors.FaultOf(err); {
	case err == nil && len(s.Requests) == 0 && c.Event:
		s.Verdict, s.Note = console.VerdictNothing, noteUntold
	case err == nil && len(s.Requests) == 0 && !looked:
		s.Verdict, s.Note = console.VerdictNothing, noteNothing
	case err == nil:
	case errors.Is(err, connectors.ErrUnanswered):
		s.Note = err.Error()
	case fault == connectors.Lead:
		s.Verdict, s.Note = console.VerdictRejected, connectors.Redact(err.Error())
	default:
		s.Verdict, s.Note = console.VerdictFails, connectors.Redact(err.Error())
	}
	return s
}

// wouldSend is what the console shows, by the configuration that is in use.
func (l *live) wouldSend(ctx context.Context, connector string, held store.Held) console.Sending {
	c := l.used(connector)
	if c == nil {
		return console.Sending{Verdict: console.VerdictUnknown, Note: "it is configured no more"}
	}
	return shownSending(wouldSend(ctx, *c, held))
}

// shownSending is a sending as the console shows it.
func shownSending(s sending) console.Sending {
	shown := console.Sending{Verdict: s.Verdict, Note: s.Note}
	for _, r := range s.Requests {
		shown.Requests = append(shown.Requests, console.SendingRequest{Line: r.Line, Header: r.Header, Body: r.Body})
	}
	return shown
}

// used is a connector as it is in use; nil: there is none of the name.
func (l *live) used(name string) *config.Connector {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := named(l.config, name)
	if c == nil {
		return nil
	}
	in := *c // a reload may take over connectors of the former
	return &in
}
