package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/leadrelay/leadrelay/internal/config"
	"github.com/leadrelay/leadrelay/internal/embedded"
	"github.com/leadrelay/leadrelay/internal/lead"
	"github.com/leadrelay/leadrelay/internal/store"
)

// onStore runs an operator's verb on the store that the configuration names, or on the embedded one of a
// running `leadrelay up`.
func onStore(cmd *cobra.Command, do func(ctx context.Context, s *store.Store) error) error {
	return onConfigured(cmd, namesAlone(), func(ctx context.Context, s *store.Store, _ *config.Config) error { return do(ctx, s) })
}

// namesAlone loads no more of a configuration than what most verbs need: no secret but the store's.
func namesAlone() []config.Option {
	return []config.Option{config.SkipFrontEnd(), config.SkipSources(), config.SkipConnectors(), config.SkipAlerts()}
}

// onConfigured is onStore for a verb that needs the configuration as well, as options have it loaded.
func onConfigured(cmd *cobra.Command, options []config.Option, do func(ctx context.Context, s *store.Store, c *config.Config) error) error {
	c, log, err := load(cmd, orBuiltIn(cmd, options...)...)
	if err != nil {
		return err
	}
	defer c.Close()
	at := c.Redis
	if c.Redis.URL == "" {
		url, running := embedded.Running(c.DataDir)
		if !running {
			return fmt.Errorf("no `leadrelay up` runs on data_dir %s; start it, or set redis.url or LEADRELAY_REDIS_URL", c.DataDir)
		}
		at = embeddedRedis(url)
	}
	s, err := openStore(cmd.Context(), at, c, log)
	if err != nil {
		return err
	}
	defer closeStore(s)
	return do(cmd.Context(), s, c)
}

// known checks that a name given on the command line is a configured connector.
func known(s *store.Store, name string) error {
	var names []string
	for _, c := range s.Connectors() {
		names = append(names, c.Name)
	}
	if slices.Contains(names, name) {
		return nil
	}
	if len(names) == 0 {
		return fmt.Errorf("there is no connector %q; the configuration has none", name)
	}
	return fmt.Errorf("there is no connector %q; there are: %s", name, strings.Join(names, ", "))
}

// connectorNames completes the name of a connector in a shell.
func connectorNames(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	c, _, err := load(cmd, orBuiltIn(cmd, namesAlone()...)...)
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	var names []string
	for _, connector := range c.Connectors {
		names = append(names, connector.Name)
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

func leadsCommand() *cobra.Command {
	var asJSON bool
	show := &cobra.Command{
		Use:   "show ID|EMAIL",
		Short: "Show where a lead stands with each connector, and what happened to it",
		Long: `Show where a lead stands with each connector, and what happened to it: each change that was accepted, and each attempt to
push it with its requests, as far as that is kept (the latest 4,096 of each of 32 shards of leads). Answers are masked.`,
		Example: `  leadrelay leads show jane@example.com
  leadrelay leads show lead_1j9v2k0c8m3n5p7q9r1s3t5`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return onConfigured(cmd, namesAlone(), func(ctx context.Context, s *store.Store, c *config.Config) error {
				recordURL := recordURLs(c)
				ids := []string{args[0]}
				if strings.Contains(args[0], "@") {
					leads, _, err := s.List(ctx, store.Query{Email: args[0], Limit: 20})
					if err != nil {
						return err
					}
					ids = nil
					for _, l := range leads {
						ids = append(ids, l.ID)
					}
				}
				if len(ids) == 0 {
					return errors.New("there is no lead with this address")
				}
				for _, id := range ids {
					found, history, err := s.GetWithHistory(ctx, id)
					if errors.Is(err, store.ErrNotFound) {
						return fmt.Errorf("%s: there is no lead with this id; `leadrelay leads show EMAIL` finds one by its address", id)
					}
					if err != nil {
						return err
					}
					within := standing(found)
					within.History = historyOf(history)
					if asJSON {
						if err := json.NewEncoder(cmd.OutOrStdout()).Encode(within.linked(recordURL)); err != nil {
							return err
						}
						continue
					}
					showLead(cmd, found, recordURL)
					showHistory(cmd.OutOrStdout(), within.History)
				}
				return nil
			})
		},
	}
	parked := &cobra.Command{
		Use:     "parked CONNECTOR",
		Short:   "List the leads a connector refused, with the reasons",
		Example: `  leadrelay leads parked newsletter`,
		Args:    cobra.ExactArgs(1),

		ValidArgsFunction: connectorNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			return onStore(cmd, func(ctx context.Context, s *store.Store) error {
				if err := known(s, args[0]); err != nil {
					return err
				}
				all, err := s.Parked(ctx, args[0], maxParked)
				if err != nil {
					return err
				}
				if len(all) == maxParked {
					fmt.Fprintf(cmd.ErrOrStderr(), "leadrelay: there may be more than these %d; `leadrelay status` counts them\n", maxParked)
				}
				if asJSON {
					list := []leadStanding{}
					for _, found := range all {
						list = append(list, standing(found))
					}
					return json.NewEncoder(cmd.OutOrStdout()).Encode(list)
				}
				for _, found := range all {
					for _, st := range found.Standings {
						if st.Connector == args[0] {
							fmt.Fprintf(cmd.OutOrStdout(), "%s  %s  %s\n", found.Lead.ID, st.Record.LastOutcome().Format(time.RFC3339), st.Record.Reason)
						}
					}
				}
				return nil
			})
		},
	}
	cmd := &cobra.Command{
		Use:     "leads",
		Short:   "Look at leads",
		Example: show.Example + "\n" + parked.Example,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return fmt.Errorf("unknown command %q for %q; there are list, show and parked", args[0], cmd.CommandPath())
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.PersistentFlags().BoolVar(&asJSON, "json", false, "print JSON: of show an object for each lead, of list and parked a list")
	cmd.AddCommand(leadsListCommand(&asJSON), show, parked)
	return cmd
}

// maxParked is how many parked leads are listed.
const maxParked = 1000

// leadStanding is where a lead stands, as --json prints it: ids, no personal data.
type leadStanding struct {
	LeadID     string           `json:"lead_id"`
	Revision   int64            `json:"revision"`
	UpdatedAt  time.Time        `json:"updated_at"`
	Deleted    bool             `json:"deleted"`
	Connectors []standingWithin `json:"connectors"`
	History    []happened       `json:"history,omitempty"` // the newest first
}

type standingWithin struct {
	Name     string     `json:"name"`
	State    string     `json:"state"`
	Revision int64      `json:"synced_revision"`
	RemoteID string     `json:"remote_id"`
	URL      string     `json:"url,omitempty"` // where people see the record
	Attempts int        `json:"attempts"`
	Fault    string     `json:"fault,omitempty"`
	Reason   string     `json:"reason,omitempty"`
	LastAt   *time.Time `json:"last_outcome_at,omitempty"`
	NextTry  *time.Time `json:"next_try,omitempty"`
}

func standing(found store.Found) leadStanding {
	all := leadStanding{
		LeadID: found.Lead.ID, Revision: found.Lead.Revision, UpdatedAt: found.Lead.Updated, Deleted: found.Deleted,
		Connectors: []standingWithin{},
	}
	for _, st := range found.Standings {
		within := standingWithin{
			Name: st.Connector, State: string(st.State), Revision: st.Record.Synced, RemoteID: st.Record.Ref,
			Attempts: st.Record.Attempts, Fault: st.Record.Fault, Reason: st.Record.Reason,
		}
		if at := st.Record.LastOutcome(); !at.IsZero() {
			within.LastAt = &at
		}
		if st.Record.Next > 0 {
			next := time.UnixMilli(st.Record.Next).UTC()
			within.NextTry = &next
		}
		all.Connectors = append(all.Connectors, within)
	}
	return all
}

// linked adds where people see the records.
func (l leadStanding) linked(recordURL func(connector, ref string) string) leadStanding {
	for i, within := range l.Connectors {
		l.Connectors[i].URL = recordURL(within.Name, within.RemoteID)
	}
	return l
}

func showLead(cmd *cobra.Command, found store.Found, recordURL func(connector, ref string) string) {
	out := cmd.OutOrStdout()
	deleted := ""
	if found.Deleted {
		deleted = " (deleted)"
	}
	fmt.Fprintf(out, "%s  revision %d  changed %s%s\n", found.Lead.ID, found.Lead.Revision, found.Lead.Updated.Format(time.RFC3339), deleted)
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "  CONNECTOR\tSTATE\tHAS REVISION\tREMOTE ID\tATTEMPTS\tREASON")
	for _, st := range found.Standings {
		fmt.Fprintf(table, "  %s\t%s\t%d\t%s\t%d\t%s\n", st.Connector, st.State, st.Record.Synced, st.Record.Ref, st.Record.Attempts, st.Record.Reason)
	}
	table.Flush()
	for _, st := range found.Standings {
		if url := recordURL(st.Connector, st.Record.Ref); url != "" {
			fmt.Fprintf(out, "  %s has it at %s\n", st.Connector, url)
		}
	}
}

func replayCommand() *cobra.Command {
	var parked, asJSON bool
	cmd := &cobra.Command{
		Use:   "replay CONNECTOR [ID...]",
		Short: "Push leads again: those named, or all that are parked",
		Long: `Push leads to a connector again, as they are now: those named, whatever became of them, or with --parked all that
the connector refused. Pushing again what is in step does no harm.`,
		Example: `  leadrelay replay newsletter lead_1j9v2k0c8m3n5p7q9r1s3t5
  leadrelay replay newsletter --parked`,
		Args: cobra.MinimumNArgs(1),

		ValidArgsFunction: connectorNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			return onStore(cmd, func(ctx context.Context, s *store.Store) error {
				name, ids := args[0], args[1:]
				if err := known(s, name); err != nil {
					return err
				}
				if parked == (len(ids) > 0) {
					return errors.New("name the leads to push again, or give --parked, one of both")
				}
				if parked {
					totals, err := s.Totals(ctx, []string{name})
					if err != nil {
						return err
					}
					shown := newProgress(cmd.ErrOrStderr(), totals[name].Parked, false)
					n, err := s.ReplayParked(ctx, name, func(done int) { shown.tell(int64(done), fmt.Sprintf("%d leads", done)) })
					shown.end()
					if err != nil {
						return err
					}
					return tell(cmd, asJSON, replayed{name, n, nil}, "%d leads will be pushed to %s again", n, name)
				}
				for _, id := range ids {
					if _, ok := lead.ShardOf(id); !ok {
						return fmt.Errorf("%q is not a lead's id, which begins with lead_; `leadrelay leads show EMAIL` tells it", id)
					}
				}
				for _, id := range ids {
					if err := s.Replay(ctx, name, id); err != nil {
						return fmt.Errorf("%s: %w", id, err)
					}
				}
				return tell(cmd, asJSON, replayed{name, len(ids), ids}, "%s will be pushed to %s again", strings.Join(ids, ", "), name)
			})
		},
	}
	cmd.Flags().BoolVar(&parked, "parked", false, "all leads the connector refused or that were given up")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// replayed is what replay did, as --json prints it.
type replayed struct {
	Connector string   `json:"connector"`
	Leads     int      `json:"leads"`
	IDs       []string `json:"ids,omitempty"`
}

// tell prints what a verb did: as JSON, or in words.
func tell(cmd *cobra.Command, asJSON bool, what any, words string, args ...any) error {
	if asJSON {
		return json.NewEncoder(cmd.OutOrStdout()).Encode(what)
	}
	_, err := fmt.Fprintf(cmd.OutOrStdout(), words+"\n", args...)
	return err
}

func pauseCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "pause CONNECTOR",
		Short:   "Stop pushing to a connector; its leads are kept",
		Example: `  leadrelay pause newsletter`,
		Args:    cobra.ExactArgs(1),

		ValidArgsFunction: connectorNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			return setGate(cmd, asJSON, args[0], store.GatePaused, "paused by an operator")
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func resumeCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "resume CONNECTOR",
		Short:   "Push to a connector again at once, whether it was paused, held or down",
		Example: `  leadrelay resume newsletter`,
		Args:    cobra.ExactArgs(1),

		ValidArgsFunction: connectorNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			return setGate(cmd, asJSON, args[0], store.GateOpen, "")
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func setGate(cmd *cobra.Command, asJSON bool, name string, state store.GateState, reason string) error {
	return onStore(cmd, func(ctx context.Context, s *store.Store) error {
		if err := known(s, name); err != nil {
			return err
		}
		if err := s.SetGate(ctx, name, store.Gate{State: state, Reason: reason, Since: s.Now()}); err != nil {
			return err
		}
		return tell(cmd, asJSON, map[string]any{"connector": name, "state": cmp.Or(string(state), "open")}, "%s is %s", name, cmp.Or(string(state), "open"))
	})
}

// parkedGroup is why leads of a connector are parked, and how many.
type parkedGroup struct {
	Connector string   `json:"connector"`
	Reason    string   `json:"reason"`
	Leads     int      `json:"leads"`
	Examples  []string `json:"examples"`
}

const parkedExamples = 3

func failedCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "failed [CONNECTOR]",
		Short: "Show why leads are parked, by connector and reason",
		Example: `  leadrelay failed
  leadrelay failed newsletter --json`,
		Args: cobra.MaximumNArgs(1),

		ValidArgsFunction: connectorNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			return onStore(cmd, func(ctx context.Context, s *store.Store) error {
				names := args
				if len(names) == 0 {
					for _, c := range s.Connectors() {
						names = append(names, c.Name)
					}
				} else if err := known(s, names[0]); err != nil {
					return err
				}
				all := []*parkedGroup{}
				for _, name := range names {
					found, err := firstParked(ctx, s, name)
					if err != nil {
						return err
					}
					if len(found) == maxParked {
						fmt.Fprintf(cmd.ErrOrStderr(), "leadrelay: of %s these are the first %d; `leadrelay status` counts them all\n", name, maxParked)
					}
					all = append(all, parkedBy(name, found)...)
				}
				if asJSON {
					return json.NewEncoder(cmd.OutOrStdout()).Encode(all)
				}
				if len(all) == 0 {
					fmt.Fprintln(cmd.OutOrStdout(), "no lead is parked")
					return nil
				}
				table := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
				fmt.Fprintln(table, "CONNECTOR\tLEADS\tSUCH AS\tREASON")
				for _, r := range all {
					fmt.Fprintf(table, "%s\t%d\t%s\t%s\n", r.Connector, r.Leads, r.Examples[0], r.Reason)
				}
				return table.Flush()
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// firstParked are the leads that are parked for a connector, up to maxParked.
func firstParked(ctx context.Context, s *store.Store, connector string) (found []store.ParkedRecord, err error) {
	enough := errors.New("enough")
	err = s.EachParked(ctx, connector, func(page []store.ParkedRecord) error {
		for _, one := range page {
			if one.Record.State != store.Parked {
				continue // changed meanwhile
			}
			if found = append(found, one); len(found) == maxParked {
				return enough
			}
		}
		return nil
	})
	if err == enough {
		err = nil
	}
	return found, err
}

// parkedBy groups parked leads by why they are, most of them first.
func parkedBy(connector string, found []store.ParkedRecord) []*parkedGroup {
	byReason := map[string]*parkedGroup{}
	for _, one := range found {
		reason := one.Reason()
		r := byReason[reason]
		if r == nil {
			r = &parkedGroup{Connector: connector, Reason: reason}
			byReason[reason] = r
		}
		if r.Leads++; len(r.Examples) < parkedExamples {
			r.Examples = append(r.Examples, one.ID)
		}
	}
	return slices.SortedFunc(maps.Values(byReason), func(a, b *parkedGroup) int {
		return cmp.Or(cmp.Compare(b.Leads, a.Leads), cmp.Compare(a.Reason, b.Reason))
	})
}

func dropCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "drop CONNECTOR",
		Short: "Forget the backlog of a connector that was taken out of the configuration",
		Long: `Forget the backlog of a connector that was taken out of the configuration, and what it had of each lead. The outside
system keeps what it has. Should a connector of this name be configured again, it begins anew: "leadrelay sync" fills it.`,
		Example: `  leadrelay drop old-crm`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return onStore(cmd, func(ctx context.Context, s *store.Store) error {
				if known(s, args[0]) == nil {
					return fmt.Errorf("%s is configured; take it out of the configuration first, or `leadrelay pause %s`", args[0], args[0])
				}
				shown := newProgress(cmd.ErrOrStderr(), -1, false)
				n, err := s.Disown(ctx, args[0], func(done int) { shown.tell(int64(done), fmt.Sprintf("%d leads", done)) })
				shown.end()
				if err != nil {
					return err
				}
				if n == 0 {
					return fmt.Errorf("nothing is known of a connector %q", args[0])
				}
				return tell(cmd, asJSON, map[string]any{"connector": args[0], "leads": n}, "%s is forgotten; it had to do with %d leads", args[0], n)
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}
