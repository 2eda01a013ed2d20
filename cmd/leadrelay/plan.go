package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/spf13/cobra"

	"github.com/leadrelay/leadrelay/connectors"
	"github.com/leadrelay/leadrelay/connectors/all"
	"github.com/leadrelay/leadrelay/internal/config"
	"github.com/leadrelay/leadrelay/internal/console"
	"github.com/leadrelay/leadrelay/internal/store"
)

const (
	planSamples  = 3  // leads of each connector that a plan shows with what would be sent of them
	planExamples = 3  // ids that stand for many
	planAttempts = 50 // leads of one sort that are tried for the samples
)

// planned is what a configuration would do with one connector.
type planned struct {
	Connector string `json:"connector"`
	Type      string `json:"type"`
	Event     bool   `json:"event"`
	Change    string `json:"change"` // against the configuration in use: new, changed or unchanged

	// Gets and Loses are the leads that only one of the two configurations' filters lets through.
	Gets  crowd `json:"gets"`
	Loses crowd `json:"loses"`

	// Where the leads stand with a connector that holds records.
	Missing  int `json:"missing"`
	Outdated int `json:"outdated"`
	LeftOut  int `json:"left_out"`
	InStep   int `json:"in_step"`
	Waiting  int `json:"waiting"`
	Parked   int `json:"parked"`

	Rejected []rejection   `json:"rejected,omitempty"`
	Effort   effort        `json:"effort"` // of `leadrelay sync`
	Samples  []plannedLead `json:"samples,omitempty"`
}

// crowd is many leads, and some of their ids.
type crowd struct {
	Leads    int      `json:"leads"`
	Examples []string `json:"examples,omitempty"`
}

func (c *crowd) add(id string) {
	c.Leads++
	if len(c.Examples) < planExamples {
		c.Examples = append(c.Examples, id)
	}
}

// rejection is why leads do not fit a mapping or a filter.
type rejection struct {
	Reason string `json:"reason"`
	crowd
}

// plannedLead is a lead and what would be sent of it.
type plannedLead struct {
	LeadID   string                 `json:"lead_id"`
	Why      difference             `json:"why,omitempty"`
	Requests []connectors.Rehearsed `json:"requests"`
	Note     string                 `json:"note,omitempty"`
}

// planOutcome is a whole plan.
type planOutcome struct {
	Connectors []planned `json:"connectors"`
	TakenOut   []string  `json:"taken_out"`

	// Problems are why the configuration would not be taken over as it is here. Then nothing shows what would be sent.
	Problems []string `json:"problems,omitempty"`
}

func (p planned) toPush() int { return p.Missing + p.Outdated + p.LeftOut }

func planCommand() *cobra.Command {
	var asJSON, quiet bool
	cmd := &cobra.Command{
		Use:   "plan [NEW.yaml]",
		Short: "Say what a configuration would do with the leads that are recorded, before it is used",
		Long: `Say what a configuration would do with the leads that are recorded, without asking any outside system: which leads each
connector would get and lose by its "when" against the configuration in use, which it lacks, would be given otherwise or
would lose, which do not fit its mapping, how many calls and how much time "leadrelay sync" would take under the vendor's
limits, and for some leads exactly what would be sent, secrets masked. Without NEW.yaml it is the configuration in use.

New and changed leads are pushed by a configuration as soon as it is used; what is said here of those that are there
already happens by "leadrelay sync CONNECTOR". The samples show personal data.`,
		Example: `  leadrelay plan new-config.yaml
  leadrelay plan --json --no-samples`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return onConfigured(cmd, namesAlone(), func(ctx context.Context, s *store.Store, used *config.Config) error {
				next, problems, err := proposed(cmd, args)
				if err != nil {
					return err
				}
				defer next.Close()
				outcome := planOutcome{Problems: problems, TakenOut: []string{}, Connectors: []planned{}}
				for _, c := range next.Connectors {
					shown := &planProgress{out: cmd.ErrOrStderr(), connector: c.Name}
					p := planning{store: s, each: s.EachHeld, next: c, used: named(used, c.Name), samples: !quiet, looked: shown.tell}
					one, err := p.look(ctx)
					shown.end()
					if err != nil {
						return err
					}
					outcome.Connectors = append(outcome.Connectors, one)
				}
				for _, c := range used.Connectors {
					if named(next, c.Name) == nil {
						outcome.TakenOut = append(outcome.TakenOut, c.Name)
					}
				}
				if asJSON {
					return writeJSON(cmd.OutOrStdout(), outcome)
				}
				showPlan(cmd.OutOrStdout(), outcome)
				return nil
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.Flags().BoolVar(&quiet, "no-samples", false, "without the leads that show what is sent")
	return cmd
}

// proposed loads the configuration that is planned. Where a secret is missing on this machine, or else something that only
// opening a connector needs, its connectors are not open, and problems say why.
func proposed(cmd *cobra.Command, args []string) (c *config.Config, problems []string, err error) {
	path, _ := cmd.Flags().GetString("config")
	var base []config.Option
	if len(args) == 1 {
		path = args[0]
	} else {
		base = orBuiltIn(cmd)
	}
	c, err = config.Load(path, all.Kinds(), append(slices.Clone(base), config.SkipFrontEnd(), config.SkipSources())...)
	if err == nil {
		return c, nil, nil
	}
	invalid := (*config.Invalid)(nil)
	if !errors.As(err, &invalid) {
		return nil, nil, err
	}
	if c, unopened := config.Load(path, all.Kinds(), append(slices.Clone(base), namesAlone()...)...); unopened == nil {
		return c, invalid.Problems, nil
	}
	return nil, nil, err
}

// named finds a connector by its name; nil: there is none.
func named(c *config.Config, name string) *config.Connector {
	for i := range c.Connectors {
		if c.Connectors[i].Name == name {
			return &c.Connectors[i]
		}
	}
	return nil
}

// planning looks at every lead as one connector would be given it.
type planning struct {
	store   *store.Store
	each    eachHeld
	next    config.Connector
	used    *config.Connector // nil: it is new
	samples bool
	looked  func(looked, total int64) // is told how far it is

	rejected map[string]*crowd // by the reason
	attempts map[difference]int
	takes    map[difference][]connectors.Rehearsed // what one such lead takes
}

// eachHeld goes over leads as a connector has them, see store.EachHeld.
type eachHeld func(ctx context.Context, connector string, total func(leads int64), do func([]store.Held) error) error

func (p *planning) look(ctx context.Context) (planned, error) {
	p.rejected, p.attempts, p.takes = map[string]*crowd{}, map[difference]int{}, map[difference][]connectors.Rehearsed{}
	got := planned{Connector: p.next.Name, Type: p.next.Type, Event: p.next.Event, Change: p.change()}
	var total, looked int64
	err := p.each(ctx, p.next.Name, func(leads int64) { total = leads }, func(page []store.Held) error {
		for _, h := range page {
			p.filter(&got, h)
			if !p.next.Event {
				p.stand(ctx, &got, h)
			}
			looked++
		}
		p.looked(looked, total)
		return ctx.Err()
	})
	if err != nil {
		return got, err
	}
	if p.next.Event {
		if err := p.recent(ctx, &got); err != nil {
			return got, err
		}
	}
	for reason, leads := range p.rejected {
		got.Rejected = append(got.Rejected, rejection{reason, *leads})
		slices.Sort(leads.Examples)
	}
	slices.Sort(got.Gets.Examples)
	slices.Sort(got.Loses.Examples)
	slices.SortStableFunc(got.Samples, func(a, b plannedLead) int {
		return cmp.Or(cmp.Compare(a.Why, b.Why), cmp.Compare(a.LeadID, b.LeadID))
	})
	slices.SortFunc(got.Rejected, func(a, b rejection) int {
		return cmp.Or(cmp.Compare(b.Leads, a.Leads), cmp.Compare(a.Reason, b.Reason))
	})
	got.Effort = effortOf(p.next, map[difference]int{missing: got.Missing, outdated: got.Outdated, leftOut: got.LeftOut}, p.takes)
	return got, nil
}

// change says how the connector differs from the one in use.
func (p *planning) change() string {
	switch {
	case p.used == nil:
		return "new"
	case p.used.Written != p.next.Written:
		return "changed"
	}
	return "unchanged"
}

// filter compares what the filters of both configurations say of a lead.
func (p *planning) filter(got *planned, h store.Held) {
	match, err := p.next.Filter.Match(h.Lead)
	if err != nil {
		p.reject(connectors.Redact(err.Error()), h.Lead.ID)
		return
	}
	was := false
	if p.used != nil {
		was, _ = p.used.Filter.Match(h.Lead)
	}
	switch {
	case match && !was:
		got.Gets.add(h.Lead.ID)
	case was && !match:
		got.Loses.add(h.Lead.ID)
	}
	if match {
		if _, err := p.next.Fields.Apply(h.Lead); err != nil {
			p.reject(connectors.Redact(err.Error()), h.Lead.ID)
		}
	}
}

func (p *planning) reject(reason, id string) {
	if p.rejected[reason] == nil {
		p.rejected[reason] = &crowd{}
	}
	p.rejected[reason].add(id)
}

// stand says where a lead stands with a connector that holds records.
func (p *planning) stand(ctx context.Context, got *planned, h store.Held) {
	d := differs(p.next, h)
	switch d {
	case missing:
		got.Missing++
	case outdated:
		got.Outdated++
	case leftOut:
		got.LeftOut++
	case waiting:
		got.Waiting++
	case isParked:
		got.Parked++
	case inStep:
		got.InStep++
	}
	if d == missing || d == outdated || d == leftOut {
		p.sample(ctx, got, h, d)
	}
}

// sample shows what would be sent of a lead, as long as there are few samples. One of each sort tells what all take.
func (p *planning) sample(ctx context.Context, got *planned, h store.Held, d difference) {
	wanted := p.samples && len(got.Samples) < planSamples
	if _, known := p.takes[d]; p.next.Connector == nil || known && !wanted || p.attempts[d] == planAttempts {
		return
	}
	p.attempts[d]++
	s := wouldSend(ctx, p.next, h)
	if s.Verdict == console.VerdictRejected {
		if _, err := p.next.Fields.Apply(h.Lead); err == nil { // else that was said
			p.reject(s.Note, h.Lead.ID)
		}
		return
	}
	p.takes[d] = s.Requests
	if wanted {
		got.Samples = append(got.Samples, plannedLead{h.Lead.ID, d, s.Requests, s.Note})
	}
}

// recentLeads is how many leads are looked through for some that an event connector would be told of.
const recentLeads = 100

// recent shows what an event connector would be told, by the newest leads.
func (p *planning) recent(ctx context.Context, got *planned) error {
	if !p.samples || p.next.Connector == nil {
		return nil
	}
	leads, _, err := p.store.List(ctx, store.Query{Limit: recentLeads})
	if err != nil {
		return err
	}
	for _, l := range leads {
		s := wouldSend(ctx, p.next, store.Held{Lead: l})
		if len(s.Requests) > 0 && len(got.Samples) < planSamples {
			got.Samples = append(got.Samples, plannedLead{LeadID: l.ID, Requests: s.Requests, Note: s.Note})
		}
	}
	return nil
}

// planProgress shows how far a plan is.
type planProgress struct {
	out       io.Writer
	connector string
	shown     *progress
}

func (p *planProgress) tell(looked, total int64) {
	if p.shown == nil {
		p.shown = newProgress(p.out, total, false)
	}
	p.shown.tell(looked, fmt.Sprintf("%s: %d of %d leads looked at", p.connector, looked, total))
}

func (p *planProgress) end() {
	if p.shown != nil {
		p.shown.end()
	}
}
