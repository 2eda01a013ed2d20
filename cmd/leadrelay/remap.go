package main

import (
	"context"
	"errors"

	"github.com/leadrelay/leadrelay/ingest"
	"github.com/leadrelay/leadrelay/internal/config"
	"github.com/leadrelay/leadrelay/internal/console"
	"github.com/leadrelay/leadrelay/internal/lead"
	"github.com/leadrelay/leadrelay/internal/store"
)

// mapper makes a lead of what a source sent.
type mapper interface {
	Map(payload []byte) (lead.Patch, error)
}

// origin is what a configured source makes of its submissions.
type origin struct {
	mapper
	fetches bool // what they hold may only name a lead
}

// sourcesOf are the configured sources, by the origin of their submissions.
func sourcesOf(c *config.Config) map[string]origin {
	all := map[string]origin{}
	for _, source := range c.Sources {
		all[ingest.SourceOrigin(source.Name)] = origin{source.Source, source.Fetches}
	}
	return all
}

// release makes a submission a lead. It says why it could not, if so.
func release(ctx context.Context, s *store.Store, sub store.Submission, patch lead.Patch, c *config.Config) (l lead.Lead, problem string, err error) {
	l, err = s.Release(ctx, sub.ID, patch, c.Leads.Dedupe == config.DedupeEmail)
	var invalid lead.Invalid
	if errors.As(err, &invalid) { // together with what the lead of its address has
		return l, invalid.Error(), nil
	}
	return l, "", err
}

// remapper maps submissions again by a configuration, for `leadrelay inbox retry` and for the console: what becomes a
// lead is one from then on, of the rest the new reason is kept, and what has to be fetched is due now.
func remapper(s *store.Store, c *config.Config) func(context.Context, store.Submission) (console.Remapped, error) {
	sources := sourcesOf(c)
	return func(ctx context.Context, sub store.Submission) (console.Remapped, error) {
		source, configured := sources[sub.Origin]
		switch {
		case sub.State == store.Spam:
			return console.Remapped{Problem: "is spam: `leadrelay inbox release` makes a lead of it"}, nil
		case !configured:
			return console.Remapped{Problem: "the configuration has no " + sub.Origin + " any more: put it back, or `leadrelay inbox drop`"}, nil
		}
		if sub.State == store.Unmapped {
			patch, unmapped := source.Map(sub.Payload)
			if unmapped == nil {
				l, problem, err := release(ctx, s, sub, patch, c)
				if err != nil || problem == "" {
					return console.Remapped{LeadID: l.ID}, err
				}
				sub.Reason = problem
			} else {
				sub.Reason = unmapped.Error()
			}
			if !source.fetches {
				return console.Remapped{Problem: "cannot be mapped: " + sub.Reason}, s.Resubmit(ctx, sub)
			}
			sub.State = store.Fetching // as it may be that it never was fetched
		}
		err := s.Resubmit(ctx, sub)
		return console.Remapped{Fetching: err == nil}, err
	}
}
