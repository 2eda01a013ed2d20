package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/leadrelay/leadrelay/connectors"
	"github.com/leadrelay/leadrelay/connectors/all"
	"github.com/leadrelay/leadrelay/internal/config"
	"github.com/leadrelay/leadrelay/internal/store"
)

// planSamples is how many leads of each connector a plan shows as they would be given.
const planSamples = 3

// planned is what a configuration would do with one connector.
type planned struct {
	Connector string         `json:"connector"`
	Type      string         `json:"type"`
	New       bool           `json:"new"`
	Missing   int            `json:"missing"`
	Outdated  int            `json:"outdated"`
	LeftOut   int            `json:"left_out"`
	InStep    int            `json:"in_step"`
	Waiting   int            `json:"waiting"`
	Parked    int            `json:"parked"`
	Rejected  map[string]int `json:"rejected,omitempty"` // reasons of mapping and filter, and how many leads they are of
	Calls     int            `json:"calls"`              // that `leadrelay sync` would take
	Seconds   float64        `json:"seconds"`            // that they take under the limits, 0 where there are none
	Samples   []plannedLead  `json:"samples,omitempty"`
}

type plannedLead struct {
	LeadID string         `json:"lead_id"`
	Why    difference     `json:"why"`
	Fields map[string]any `json:"fields"`
}

func (p planned) toPush() int { return p.Missing + p.Outdated + p.LeftOut }

func planCommand() *cobra.Command {
	var asJSON, quiet bool
	cmd := &cobra.Command{
		Use:   "plan [NEW.yaml]",
		Short: "Say what a configuration would do with the leads that are recorded, before it is used",
		Long: `Say what a configuration would do with the leads that are recorded, without asking any outside system: which leads each
connector lacks, would be given otherwise or would lose, which do not fit its mapping, and how many calls and how much
time "leadrelay sync" would take under the vendor's limits. Without NEW.yaml it is the configuration in use.

New and changed leads are pushed by a configuration as soon as it is used; what is said here of those that are there
already happens by "leadrelay sync CONNECTOR". The samples show personal data.`,
		Example: `  leadrelay plan new-config.yaml
  leadrelay plan --json --no-samples`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			path, _ := cmd.Flags().GetString("config")
			options := orBuiltIn(cmd, namesAlone()...)
			if len(args) == 1 {
				path, options = args[0], namesAlone()
			}
			next, err := config.Load(path, all.Kinds(), options...)
			if err != nil {
				return err
			}
			return onStore(cmd, func(ctx context.Context, s *store.Store) error {
				var plans []planned
				for _, c := range next.Connectors {
					p, err := planOf(ctx, s, c)
					if err != nil {
						return err
					}
					if quiet {
						p.Samples = nil
					}
					plans = append(plans, p)
				}
				var dropped []string
				for _, c := range s.Connectors() {
					if !slices.ContainsFunc(next.Connectors, func(n config.Connector) bool { return n.Name == c.Name }) {
						dropped = append(dropped, c.Name)
					}
				}
				if asJSON {
					return json.NewEncoder(cmd.OutOrStdout()).Encode(map[string]any{"connectors": plans, "taken_out": dropped})
				}
				for _, p := range plans {
					showPlan(cmd, p)
				}
				for _, name := range dropped {
					fmt.Fprintf(cmd.OutOrStdout(), "%s: taken out; its system keeps what it has, and `leadrelay drop %s` forgets its backlog\n", name, name)
				}
				return nil
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.Flags().BoolVar(&quiet, "no-samples", false, "without the leads that show what is sent")
	return cmd
}

// planOf looks at every lead as a connector would be given it.
func planOf(ctx context.Context, s *store.Store, c config.Connector) (planned, error) {
	p := planned{Connector: c.Name, Type: c.Type, Rejected: map[string]int{}}
	p.New = !slices.ContainsFunc(s.Connectors(), func(known store.Connector) bool { return known.Name == c.Name })
	if c.Event {
		return p, nil // is told of what happens from now on
	}
	err := s.EachHeld(ctx, c.Name, func(int64) {}, func(page []store.Held) error {
		for _, h := range page {
			d := differs(c, h)
			fields, err := c.Fields.Apply(h.Lead)
			switch d {
			case missing:
				p.Missing++
			case outdated:
				p.Outdated++
			case leftOut:
				p.LeftOut++
			case waiting:
				p.Waiting++
			case isParked:
				p.Parked++
			case unmatched:
				p.Rejected["when: does not fit the lead"]++
			default:
				p.InStep++
			}
			if err != nil && (d == missing || d == outdated) {
				p.Rejected[connectors.Redact(err.Error())]++
				continue
			}
			if (d == missing || d == outdated) && len(p.Samples) < planSamples {
				sample := plannedLead{h.Lead.ID, d, map[string]any{}}
				for _, field := range fields {
					sample.Fields[field.To] = field.Value
				}
				p.Samples = append(p.Samples, sample)
			}
		}
		return ctx.Err()
	})
	p.Calls, p.Seconds = effort(c, p.toPush())
	return p, err
}

// effort is how many calls so many pushes take where the vendor takes batches, and how long at least, by the limits.
func effort(c config.Connector, pushes int) (calls int, seconds float64) {
	batch, limits := 1, c.Limits
	for _, kind := range all.Whole() {
		if kind.Name == c.Type {
			batch = max(1, kind.MaxBatch)
			if len(limits.Rates) == 0 {
				limits = kind.Limits
			}
		}
	}
	calls = (pushes + batch - 1) / batch
	for _, rate := range limits.Rates {
		if !rate.ByCost {
			seconds = math.Max(seconds, float64(calls)/float64(rate.Most)*rate.Per.Seconds())
		}
	}
	return calls, seconds
}

func showPlan(cmd *cobra.Command, p planned) {
	out := cmd.OutOrStdout()
	isNew := ""
	if p.New {
		isNew = ", new"
	}
	fmt.Fprintf(out, "%s (%s%s): ", p.Connector, p.Type, isNew)
	if n := p.toPush(); n == 0 {
		fmt.Fprintf(out, "nothing to bring in step\n")
	} else {
		fmt.Fprintf(out, "%d lacking, %d to be given otherwise, %d to take away: %d calls", p.Missing, p.Outdated, p.LeftOut, p.Calls)
		if p.Seconds >= 1 {
			fmt.Fprintf(out, ", %s at least by its limits", (time.Duration(p.Seconds) * time.Second).String())
		}
		fmt.Fprintf(out, "; by `leadrelay sync %s`\n", p.Connector)
	}
	for reason, n := range p.Rejected {
		fmt.Fprintf(out, "  %d leads: %s\n", n, reason)
	}
	for _, sample := range p.Samples {
		text, err := json.Marshal(sample.Fields)
		if err != nil {
			text = []byte(errors.New("cannot be shown").Error())
		}
		fmt.Fprintf(out, "  %s  %s  %s\n", sample.LeadID, strings.ReplaceAll(string(sample.Why), "_", " "), text)
	}
}
