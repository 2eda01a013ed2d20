package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/leadrelay/leadrelay/connectors"
	"github.com/leadrelay/leadrelay/internal/alerts"
	"github.com/leadrelay/leadrelay/internal/config"
	"github.com/leadrelay/leadrelay/internal/store"
)

func alertSettings(c *config.Config) alerts.Settings {
	a := c.Alerts
	return alerts.Settings{After: a.After, Oldest: a.Oldest, Remind: a.Remind, Console: a.ConsoleURL, To: a.To}
}

// watch returns what tells operators, which goes on by each configuration that is taken over.
func (l *live) watch() *alerts.Watcher {
	l.alerts = alerts.New(alertSettings(l.config), alerts.Options{Store: l.store, Log: l.log, Metrics: l.registry})
	return l.alerts
}

// reportRefusals says in the store, for a worker to tell of, that this process does not take a configuration over, again
// and again until it does or ctx ends: a process that is not heard of has ended.
func (l *live) reportRefusals(ctx context.Context) {
	process := processName()
	tick := time.NewTicker(store.RefusalEvery)
	defer tick.Stop()
	reported := true // by a process of this name, maybe, that has ended
	for {
		l.mu.Lock()
		problem, since, turned := l.problem, l.refused, l.turned
		l.mu.Unlock()
		writing, cancel := context.WithTimeout(ctx, store.RefusalEvery)
		var err error
		if problem != "" {
			reported = true
			line := connectors.Redact(strings.Join(strings.Fields(problem), " "))
			err = l.store.ReportRefusal(writing, store.Refusal{Process: process, Problem: line, Since: since})
		} else if reported {
			err = l.store.EndRefusal(writing, process)
			reported = err != nil
		}
		cancel()
		if err != nil && ctx.Err() == nil {
			l.log.Warn("whether the configuration is taken over cannot be noted for alerts", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-turned:
		}
	}
}

// processName is what operators know a process by: its host and its number there.
func processName() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown host"
	}
	return fmt.Sprintf("%s:%d", host, os.Getpid())
}

// alerting is what operators are told of at present, as --json prints it.
type alerting struct {
	Alerts       []alertNow       `json:"alerts"`
	Destinations []destinationNow `json:"destinations"`
}

type alertNow struct {
	Condition string    `json:"condition"`
	Subject   string    `json:"subject"`
	Told      bool      `json:"told"`
	Since     time.Time `json:"since"`
	Reason    string    `json:"reason,omitempty"`
}

type destinationNow struct {
	Name    string     `json:"name"`
	Type    string     `json:"type"`
	Waiting int64      `json:"waiting"` // messages
	Trouble string     `json:"trouble,omitempty"`
	Since   *time.Time `json:"trouble_since,omitempty"`
	Next    *time.Time `json:"next_try,omitempty"`
}

func readAlerts(ctx context.Context, s *store.Store, c *config.Config) (alerting, error) {
	now := alerting{Alerts: []alertNow{}, Destinations: []destinationNow{}}
	known, err := s.Alerts(ctx)
	if err != nil {
		return now, err
	}
	for _, a := range known.List {
		if a.Bad {
			now.Alerts = append(now.Alerts, alertNow{a.Condition, a.Subject, a.Open, a.Since, a.Reason})
		}
	}
	var names []string
	for _, d := range c.Alerts.To {
		names = append(names, d.Name)
	}
	states, err := s.AlertDestinations(ctx, names)
	if err != nil {
		return now, err
	}
	for _, d := range c.Alerts.To {
		state := states[d.Name]
		one := destinationNow{Name: d.Name, Type: d.Type, Waiting: state.Waiting}
		if t := state.Trouble; t != nil {
			one.Trouble, one.Since = t.Reason, &t.Since
			if state.Waiting > 0 {
				one.Next = &t.Next
			}
		}
		now.Destinations = append(now.Destinations, one)
	}
	return now, nil
}

// inShort are the lines of `leadrelay status` about alerts: none where there is nothing to say.
func (a alerting) inShort() string {
	var text strings.Builder
	if n := len(a.Alerts); n > 0 {
		fmt.Fprintf(&text, "alerts: %d, see `leadrelay alerts`\n", n)
	}
	for _, d := range a.Destinations {
		if d.Trouble != "" {
			fmt.Fprintf(&text, "alerts do not reach %s: %s\n", d.Name, d.Trouble)
		}
	}
	return text.String()
}

func alertsCommand() *cobra.Command {
	var asJSON bool
	test := &cobra.Command{
		Use:   "test [NAME]",
		Short: "Send a test to each destination of alerts, or to one, and say what happened",
		Example: `  leadrelay alerts test
  leadrelay alerts test chat`,
		Args: cobra.MaximumNArgs(1),

		ValidArgsFunction: destinationNames,
		RunE:              func(cmd *cobra.Command, args []string) error { return testAlerts(cmd, args) },
	}
	cmd := &cobra.Command{
		Use:   "alerts",
		Short: "Show what operators are told of at present, and whether they are reached",
		Long: `Show what operators are told of at present, as a worker saw it last, and whether the destinations that alerts.to of the
configuration names are reached.`,
		Example: "  leadrelay alerts\n  leadrelay alerts --json\n" + test.Example,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return fmt.Errorf("unknown command %q for %q; there is test", args[0], cmd.CommandPath())
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			return onConfigured(cmd, namesAlone(), func(ctx context.Context, s *store.Store, c *config.Config) error {
				now, err := readAlerts(ctx, s, c)
				if err != nil {
					return err
				}
				if asJSON {
					return json.NewEncoder(cmd.OutOrStdout()).Encode(now)
				}
				return now.show(cmd)
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.AddCommand(test)
	return cmd
}

func (a alerting) show(cmd *cobra.Command) error {
	out := cmd.OutOrStdout()
	if len(a.Alerts) == 0 {
		fmt.Fprintln(out, "nothing is alerting")
	} else {
		table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
		fmt.Fprintln(table, "CONDITION\tOF\tSINCE\tTOLD\tREASON")
		for _, one := range a.Alerts {
			told := "not yet"
			if one.Told {
				told = "yes"
			}
			fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", one.Condition, one.Subject, one.Since.UTC().Format(time.RFC3339), told, one.Reason)
		}
		table.Flush()
	}
	if len(a.Destinations) == 0 {
		fmt.Fprintln(out, "\nnobody is told: alerts.to of the configuration names no destination")
		return nil
	}
	fmt.Fprintln(out)
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "DESTINATION\tTYPE\tWAITING\tTROUBLE")
	for _, d := range a.Destinations {
		fmt.Fprintf(table, "%s\t%s\t%d\t%s\n", d.Name, d.Type, d.Waiting, d.Trouble)
	}
	return table.Flush()
}

// destinationNames completes the name of a destination in a shell.
func destinationNames(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	c, _, err := load(cmd, orBuiltIn(cmd, namesAlone()...)...)
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	var names []string
	for _, d := range c.Alerts.To {
		names = append(names, d.Name)
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// testAlerts needs no store: what it sends is not queued.
func testAlerts(cmd *cobra.Command, args []string) error {
	c, _, err := load(cmd, orBuiltIn(cmd, config.SkipFrontEnd(), config.SkipSources(), config.SkipConnectors())...)
	if err != nil {
		return err
	}
	defer c.Close()
	var names []string
	var to []alerts.Destination
	for _, d := range c.Alerts.To {
		names = append(names, d.Name)
		if len(args) == 0 || d.Name == args[0] {
			to = append(to, d)
		}
	}
	switch {
	case len(names) == 0:
		return errors.New("there is no destination to test: alerts.to of the configuration names none")
	case len(to) == 0:
		return fmt.Errorf("there is no destination %q; there are: %s", args[0], strings.Join(names, ", "))
	}
	outcomes := make([]error, len(to))
	var group sync.WaitGroup
	for i, d := range to {
		group.Go(func() { outcomes[i] = d.Test(cmd.Context()) })
	}
	group.Wait()
	failed := 0
	for i, d := range to {
		said := "sent"
		if err := outcomes[i]; err != nil {
			fault, _ := connectors.FaultOf(err)
			said = fmt.Sprintf("NOT SENT (%s): %s", fault, connectors.Redact(err.Error()))
			failed++
		}
		fmt.Fprintf(cmd.OutOrStdout(), "%s (%s): %s\n", d.Name, d.Type, said)
	}
	if failed > 0 {
		return fmt.Errorf("%d of %d destinations are not reached", failed, len(to))
	}
	return nil
}
