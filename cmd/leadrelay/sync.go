package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/leadrelay/leadrelay/connectors"
	"github.com/leadrelay/leadrelay/internal/config"
	"github.com/leadrelay/leadrelay/internal/store"
)

// syncAhead is how many leads sync lets wait at once: what comes in meanwhile has no more than these before it.
const syncAhead = 200

// difference says what a lead lacks at a connector.
type difference string

const (
	inStep    difference = ""
	missing   difference = "missing"    // the connector should have it and does not
	outdated  difference = "outdated"   // it would be given something else now
	leftOut   difference = "left_out"   // `when` leaves it out now
	waiting   difference = "waiting"    // it is to be pushed anyway
	isParked  difference = "parked"     // it was refused; see replay
	unmatched difference = "unmatched"  // `when` does not fit it
	elsewhere difference = "not_looked" // --since or --where leave it out
)

// differs says what brings a lead in step with a connector as it is configured now, if anything.
func differs(c config.Connector, h store.Held) difference {
	match, err := c.Filter.Match(h.Lead)
	there := h.Record.Ref != "" || h.Record.Sent
	switch {
	case err != nil:
		return unmatched
	case h.Record.State == store.Parked:
		return isParked
	case h.Due:
		return waiting
	case !match && there && h.Record.State != store.Skipped:
		return leftOut
	case !match:
		return inStep
	case !h.Known || h.Record.State == store.Skipped || h.Record.Synced == 0:
		return missing
	case h.Record.Payload != c.Fields.Digest(h.Lead):
		return outdated
	}
	return inStep
}

func syncCommand() *cobra.Command {
	var since, where string
	var dryRun, asJSON bool
	cmd := &cobra.Command{
		Use:   "sync CONNECTOR",
		Short: "Bring a connector in step with the leads that were there before it, or before its mapping changed",
		Long: `Look at every lead, and push to a connector those that it lacks, those that it would be given otherwise by its
fields as they are configured now, and take away those that its "when" leaves out now. They go a few at a time, so
that what comes in meanwhile has hardly any before it. It may be ended and run again at any time: it goes on with
what is still to do.

Refused leads are left alone ("leadrelay replay CONNECTOR --parked" pushes them again).`,
		Example: `  leadrelay sync newsletter --dry-run
  leadrelay sync newsletter
  leadrelay sync crm --since 720h --where 'source == "website"'
  leadrelay sync crm --since 2026-01-31`,
		Args: cobra.ExactArgs(1),

		ValidArgsFunction: connectorNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			filter, err := connectors.NewFilter(where)
			if err != nil {
				return fmt.Errorf("--where: %w", err)
			}
			return onConfigured(cmd, namesAlone(), func(ctx context.Context, s *store.Store, c *config.Config) error {
				if err := known(s, args[0]); err != nil {
					return err
				}
				earliest, err := parseSince(since, s.Now())
				if err != nil {
					return err
				}
				for _, connector := range c.Connectors {
					if connector.Name != args[0] {
						continue
					}
					if connector.Event {
						return fmt.Errorf("%s is told of changes as they happen, and has nothing that could be out of step", connector.Name)
					}
					b := backfill{cmd: cmd, store: s, connector: connector, dryRun: dryRun, counts: map[difference]int{}}
					b.looks = func(h store.Held) bool {
						match, err := filter.Match(h.Lead)
						return err == nil && match && !h.Lead.Updated.Before(earliest)
					}
					if err := b.run(ctx); err != nil {
						return err
					}
					return b.report(asJSON)
				}
				return nil
			})
		},
	}
	cmd.Flags().StringVar(&since, "since", "", "only leads that changed since: a duration such as 720h, or a date such as 2026-01-31")
	cmd.Flags().StringVar(&where, "where", "", `only leads that an expression fits, as "when" has them`)
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "only say what would be done")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the counts as JSON")
	return cmd
}

// parseSince reads a duration before now or a date; "" is the beginning of time.
func parseSince(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if ago, err := time.ParseDuration(text); err == nil && ago >= 0 {
		return now.Add(-ago), nil
	}
	for _, layout := range []string{time.DateOnly, time.RFC3339} {
		if at, err := time.Parse(layout, text); err == nil {
			return at, nil
		}
	}
	return time.Time{}, fmt.Errorf("--since: must be a duration such as 720h, or a date such as 2026-01-31")
}

// backfill is one run of sync.
type backfill struct {
	cmd       *cobra.Command
	store     *store.Store
	connector config.Connector
	looks     func(store.Held) bool
	dryRun    bool

	total, looked int64
	ahead         int
	shown         *progress
	counts        map[difference]int
}

func (b *backfill) run(ctx context.Context) error {
	begin := func(leads int64) { b.total, b.shown = leads, newProgress(b.cmd.ErrOrStderr(), leads, false) }
	err := b.store.EachHeld(ctx, b.connector.Name, begin, func(page []store.Held) error {
		for _, h := range page {
			b.looked++
			d := elsewhere
			if b.looks(h) {
				d = differs(b.connector, h)
			}
			b.counts[d]++
			if b.dryRun || d != missing && d != outdated && d != leftOut {
				continue
			}
			if err := b.push(ctx, h.Lead.ID); err != nil {
				return err
			}
		}
		b.progress()
		return ctx.Err()
	})
	if b.shown != nil {
		b.shown.end()
	}
	return err
}

// push makes one lead due, after enough of those before it are pushed.
func (b *backfill) push(ctx context.Context, id string) error {
	for b.ahead >= syncAhead {
		totals, err := b.store.Totals(ctx, []string{b.connector.Name})
		if err != nil {
			return err
		}
		if b.ahead = int(totals[b.connector.Name].Backlog); b.ahead < syncAhead {
			break
		}
		b.progress()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(200 * time.Millisecond):
		}
	}
	b.ahead++
	err := b.store.Replay(ctx, b.connector.Name, id)
	if err == store.ErrNotFound {
		return nil // deleted in this moment
	}
	return err
}

func (b *backfill) queued() int { return b.counts[missing] + b.counts[outdated] + b.counts[leftOut] }

func (b *backfill) progress() {
	b.shown.tell(b.looked, fmt.Sprintf("%d of %d leads looked at, %d to push, %d wait", b.looked, b.total, b.queued(), b.ahead))
}

func (b *backfill) report(asJSON bool) error {
	out := b.cmd.OutOrStdout()
	if asJSON {
		return json.NewEncoder(out).Encode(map[string]any{
			"connector": b.connector.Name, "leads": b.looked, "dry_run": b.dryRun,
			"missing": b.counts[missing], "outdated": b.counts[outdated], "left_out": b.counts[leftOut],
			"waiting": b.counts[waiting], "parked": b.counts[isParked], "in_step": b.counts[inStep],
		})
	}
	verb := "are pushed to"
	if b.dryRun {
		verb = "would be pushed to"
	}
	fmt.Fprintf(out, "%d leads looked at; %d %s %s: %d that it lacks, %d that it would be given otherwise now, %d to take away\n",
		b.looked, b.queued(), verb, b.connector.Name, b.counts[missing], b.counts[outdated], b.counts[leftOut])
	if n := b.counts[isParked]; n > 0 {
		fmt.Fprintf(out, "%d are parked: `leadrelay replay %s --parked` pushes them again\n", n, b.connector.Name)
	}
	if n := b.counts[unmatched]; n > 0 {
		fmt.Fprintf(out, "%d do not fit `when`: `leadrelay check` and `leadrelay leads show` help to see why\n", n)
	}
	return nil
}
