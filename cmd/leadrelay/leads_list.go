package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/leadrelay/leadrelay/internal/lead"
	"github.com/leadrelay/leadrelay/internal/store"
)

// leadStates are the states of a lead with a connector, as `leads show` prints them.
var leadStates = []string{string(store.Pending), string(store.Retrying), string(store.Parked), string(store.InStep), string(store.Skipped)}

// listPage is how many leads are in memory at once beside those that are listed.
const listPage = 500

func leadsListCommand(asJSON *bool) *cobra.Command {
	var name, source, connector, state, since string
	var limit int
	var personal bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List leads, by name, source, or where they stand with a connector",
		Long: `List leads, the newest first, and where each stands with the connectors. What is shown is no personal data, unless
--show-personal asks for names and addresses.

--name finds any part of a name, without regard to case and accents. All leads are looked at for it, as they are for
--source: of very many that takes a while. --state is one of ` + strings.Join(leadStates, ", ") + `.`,
		Example: `  leadrelay leads list --connector newsletter --state parked
  leadrelay leads list --name müller --show-personal
  leadrelay leads list --source website --since 24h --limit 1000 --json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case limit < 1:
				return errors.New("--limit: must be at least 1")
			case (connector == "") != (state == ""):
				return errors.New("--connector and --state go together: where do the leads stand, and with which connector?")
			case state != "" && !slices.Contains(leadStates, state):
				return errors.New("--state: must be one of " + strings.Join(leadStates, ", "))
			case utf8.RuneCountInString(name) > lead.MaxName:
				return fmt.Errorf("--name: no name is longer than %d characters", lead.MaxName)
			}
			return onStore(cmd, func(ctx context.Context, s *store.Store) error {
				q := store.Query{Name: name, Source: source, Connector: connector, State: store.State(state)}
				var err error
				if q.Since, err = parseSince(since, s.Now()); err != nil {
					return err
				}
				if connector != "" {
					if err := known(s, connector); err != nil {
						return err
					}
				}
				list, more, err := listLeads(ctx, s, q, limit, personal)
				if err != nil {
					return err
				}
				if more {
					fmt.Fprintf(cmd.ErrOrStderr(), "leadrelay: there may be more than these %d; --limit shows more\n", limit)
				}
				if *asJSON {
					return json.NewEncoder(cmd.OutOrStdout()).Encode(list)
				}
				return showLeads(cmd.OutOrStdout(), list, personal)
			})
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&name, "name", "", "only leads with this in their name")
	flags.StringVar(&source, "source", "", "only leads of this source")
	flags.StringVar(&connector, "connector", "", "with --state: only leads that stand so with this connector")
	flags.StringVar(&state, "state", "", "with --connector: "+strings.Join(leadStates, ", "))
	flags.StringVar(&since, "since", "", "only leads received since: a duration such as 720h, or a date such as 2026-01-31")
	flags.IntVar(&limit, "limit", 50, "how many to list")
	flags.BoolVar(&personal, "show-personal", false, "show names and addresses, too")
	cmd.RegisterFlagCompletionFunc("state", cobra.FixedCompletions(leadStates, cobra.ShellCompDirectiveNoFileComp))
	cmd.RegisterFlagCompletionFunc("connector", func(cmd *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
		return connectorNames(cmd, nil, typed)
	})
	return cmd
}

// listedLead is a lead as --json lists it.
type listedLead struct {
	leadStanding
	CreatedAt time.Time `json:"created_at"`
	Source    string    `json:"source"`
	*person             // nil: not asked for
}

// person is what --show-personal adds.
type person struct {
	Name  string `json:"name"`
	Email string `json:"email"`
}

// listLeads lists up to limit leads, and says whether there may be more.
func listLeads(ctx context.Context, s *store.Store, q store.Query, limit int, personal bool) (list []listedLead, more bool, err error) {
	list = []listedLead{}
	for {
		q.Limit = min(limit-len(list), listPage)
		page, next, err := s.List(ctx, q)
		if err != nil {
			return nil, false, err
		}
		found, err := s.Standings(ctx, page)
		if err != nil {
			return nil, false, err
		}
		for _, one := range found {
			l := listedLead{leadStanding: standing(one), CreatedAt: one.Lead.Created, Source: one.Lead.Source}
			if personal {
				l.person = &person{one.Lead.Name, one.Lead.Email}
			}
			list = append(list, l)
		}
		if next == "" || len(list) == limit {
			return list, next != "", nil
		}
		q.Before = next
	}
}

func showLeads(out io.Writer, list []listedLead, personal bool) error {
	if len(list) == 0 {
		_, err := fmt.Fprintln(out, "there are none")
		return err
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	heads := "ID\tRECEIVED\tSOURCE\tSTANDING"
	if personal {
		heads += "\tNAME\tE-MAIL"
	}
	fmt.Fprintln(table, heads)
	for _, l := range list {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s", l.LeadID, l.CreatedAt.Format(time.RFC3339), printable(l.Source), l.glance())
		if personal {
			fmt.Fprintf(table, "\t%s\t%s", printable(l.Name), printable(l.Email))
		}
		fmt.Fprintln(table)
	}
	return table.Flush()
}

// glance says where a lead stands, in few words: with the connectors it is not in step with, if any.
func (l listedLead) glance() string {
	var behind []string
	for _, c := range l.Connectors {
		if c.State != string(store.InStep) && c.State != string(store.Skipped) {
			behind = append(behind, c.Name+" "+c.State)
		}
	}
	switch {
	case len(l.Connectors) == 0:
		return "-"
	case len(behind) == 0:
		return string(store.InStep)
	}
	return strings.Join(behind, ", ")
}
