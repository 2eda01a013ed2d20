package main

import (
	"context"
	"encoding/json"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/leadrelay/leadrelay/internal/config"
	"github.com/leadrelay/leadrelay/internal/store"
)

// connectorStatus is how a connector is doing, as --json prints it: no personal data.
type connectorStatus struct {
	Connector string         `json:"connector"`
	State     string         `json:"state"`
	Reason    string         `json:"reason,omitempty"` // why its leads are kept back
	Since     *time.Time     `json:"since,omitempty"`
	Backlog   int64          `json:"backlog"`
	Parked    int64          `json:"parked"`
	Oldest    *time.Time     `json:"oldest,omitempty"`
	PerMinute float64        `json:"synced_per_minute"` // in the last few minutes
	LastError *store.Failure `json:"last_error,omitempty"`
}

func statusCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show each connector: its state, what is behind, how fast it goes, what went wrong",
		Long: `Show each connector: its state, the leads it is not in step with and since when the oldest waits, how many changes
reach it in a minute (in the last few), how many leads are parked, and why its leads are kept back, or what its last
error was. What was pushed in the last seconds may not be counted yet.`,
		Example: `  leadrelay status
  leadrelay status --json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return onConfigured(cmd, namesAlone(), func(ctx context.Context, s *store.Store, c *config.Config) error {
				all, err := statuses(ctx, s)
				if err != nil {
					return err
				}
				alerting, err := readAlerts(ctx, s, c)
				if err != nil {
					return err
				}
				words, _ := s.Persistence(ctx).Survives()
				if asJSON {
					return json.NewEncoder(cmd.OutOrStdout()).Encode(map[string]any{"connectors": all, "persistence": words, "alerts": alerting})
				}
				table := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
				fmt.Fprintln(table, "CONNECTOR\tSTATE\tBACKLOG\tOLDEST\tRATE\tPARKED\tLAST ERROR")
				for _, c := range all {
					fmt.Fprintf(table, "%s\t%s\t%d\t%s\t%s\t%d\t%s\n",
						c.Connector, c.State, c.Backlog, c.oldest(s.Now()), c.rate(), c.Parked, c.trouble(s.Now()))
				}
				table.Flush()
				fmt.Fprintf(cmd.OutOrStdout(), "\npersistence: %s\n%s", words, alerting.inShort())
				return nil
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func statuses(ctx context.Context, s *store.Store) ([]connectorStatus, error) {
	found, err := s.Statuses(ctx)
	if err != nil {
		return nil, err
	}
	activity, err := s.Activity(ctx, store.LastHour)
	if err != nil {
		return nil, err
	}
	all := []connectorStatus{}
	for _, st := range found {
		c := connectorStatus{
			Connector: st.Connector, State: st.State, Reason: st.Reason, Backlog: st.Backlog, Parked: st.Parked,
			PerMinute: activity.PerMinute(st.Connector),
		}
		if c.Reason == store.LimitsUsedUp {
			c.Reason += " until " + st.Until.Format(time.RFC3339)
		}
		if !st.Since.IsZero() {
			c.Since = &st.Since
		}
		if !st.Oldest.IsZero() {
			c.Oldest = &st.Oldest
		}
		if !st.Failure.At.IsZero() {
			c.LastError = &st.Failure
		}
		all = append(all, c)
	}
	return all, nil
}

func (c connectorStatus) oldest(now time.Time) string {
	if c.Oldest == nil {
		return "-"
	}
	return ageOf(now, *c.Oldest)
}

func (c connectorStatus) rate() string {
	if c.PerMinute == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f/min", c.PerMinute)
}

// trouble is why leads are kept back, or else the last error. That an operator paused the connector, its state says.
func (c connectorStatus) trouble(now time.Time) string {
	switch {
	case c.Reason != "" && c.State != string(store.GatePaused):
		if c.Since == nil {
			return c.Reason
		}
		return c.Reason + " (for " + ageOf(now, *c.Since) + ")"
	case c.LastError != nil:
		return c.LastError.Reason + " (" + ageOf(now, c.LastError.At) + " ago)"
	default:
		return "-"
	}
}

func ageOf(now, at time.Time) string { return max(0, now.Sub(at)).Round(time.Second).String() }
