package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/leadrelay/leadrelay/internal/config"
	"github.com/leadrelay/leadrelay/internal/lead"
	"github.com/leadrelay/leadrelay/internal/store"
)

// inboxPage is how many submissions are in memory at once: each may be as large as a delivery.
const inboxPage = 50

func inboxCommand() *cobra.Command {
	var which selection
	var asJSON bool
	var limit int
	cmd := &cobra.Command{
		Use:   "inbox",
		Short: "Show what came in and is no lead yet: spam, what could not be mapped, what has to be fetched",
		Long: `Show what came in and is no lead yet, the newest first: what a form took for spam, deliveries of a source that could
not be mapped to a lead, and those that only name one, which a worker fetches. What is shown is no personal data, but
for "inbox show".`,
		Example: `  leadrelay inbox
  leadrelay inbox --origin form/contact --state spam
  leadrelay inbox show lead_1j9v2k0c8m3n5p7q9r1s3t5      # what was sent
  leadrelay inbox release lead_1j9v2k0c8m3n5p7q9r1s3t5   # it is no spam
  leadrelay inbox retry --origin source/signup           # after its mapping was mended
  leadrelay inbox drop --origin form/contact --state spam --older-than 720h`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return fmt.Errorf("unknown command %q for %q; there are show, release, retry and drop", args[0], cmd.CommandPath())
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			if limit < 1 {
				return errors.New("--limit: must be at least 1")
			}
			return onStore(cmd, func(ctx context.Context, s *store.Store) error {
				counts, err := countInbox(ctx, s, which)
				if err != nil {
					return err
				}
				list, enough := []submission{}, errors.New("enough")
				err = which.each(ctx, s, func(sub store.Submission) error {
					if len(list) == limit {
						return enough
					}
					list = append(list, newSubmission(sub))
					return nil
				})
				if err != nil && err != enough {
					return err
				}
				if asJSON {
					err = json.NewEncoder(cmd.OutOrStdout()).Encode(map[string]any{"counts": counts, "submissions": list})
				} else {
					err = showInbox(cmd.OutOrStdout(), counts, list, s.Now())
				}
				if len(list) == limit {
					fmt.Fprintf(cmd.ErrOrStderr(), "leadrelay: there may be more than these %d; --limit shows more\n", limit)
				}
				return err
			})
		},
	}
	which.flags(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.Flags().IntVar(&limit, "limit", 50, "how many to show")
	cmd.AddCommand(inboxShowCommand(), inboxReleaseCommand(), inboxRetryCommand(), inboxDropCommand())
	return cmd
}

// selection is which submissions a command is about.
type selection struct {
	origin, state string
	olderThan     time.Duration
}

func (w *selection) flags(cmd *cobra.Command) {
	w.originFlag(cmd)
	cmd.Flags().StringVar(&w.state, "state", "", "only those of this state: spam, unmapped or fetching")
}

func (w *selection) originFlag(cmd *cobra.Command) {
	cmd.Flags().StringVar(&w.origin, "origin", "", "only those of this form or source, as form/NAME or source/NAME")
}

// check says what is wrong with what the command line says.
func (w *selection) check() error {
	kind, name, _ := strings.Cut(w.origin, "/")
	if w.origin != "" && (kind != "form" && kind != "source" || name == "") {
		return errors.New("--origin: must be form/NAME or source/NAME")
	}
	switch store.SubmissionState(w.state) {
	case "", store.Spam, store.Unmapped, store.Fetching:
	default:
		return errors.New("--state: must be spam, unmapped or fetching")
	}
	if w.olderThan < 0 {
		return errors.New("--older-than: must not be negative")
	}
	return nil
}

// each calls do with each of the submissions, newest first.
func (w *selection) each(ctx context.Context, s *store.Store, do func(store.Submission) error) error {
	if err := w.check(); err != nil {
		return err
	}
	q := store.SubmissionQuery{Origin: w.origin, State: store.SubmissionState(w.state), Limit: inboxPage}
	if w.olderThan > 0 {
		q.Before = lead.NewID(s.Now().Add(-w.olderThan), 0)
	}
	for {
		page, next, err := s.Submissions(ctx, q)
		if err != nil {
			return err
		}
		for _, sub := range page {
			if err := do(sub); err != nil {
				return err
			}
		}
		if q.Before = next; next == "" {
			return nil
		}
	}
}

// ids are those of the submissions, oldest first: of one person, what was sent last is to count.
func (w *selection) ids(ctx context.Context, s *store.Store) (ids []string, err error) {
	err = w.each(ctx, s, func(sub store.Submission) error { ids = append(ids, sub.ID); return nil })
	slices.Reverse(ids)
	return ids, err
}

// inboxCount is how many submissions an origin has in each state.
type inboxCount struct {
	Origin   string `json:"origin"`
	Spam     int    `json:"spam"`
	Unmapped int    `json:"unmapped"`
	Fetching int    `json:"fetching"`
}

func (c inboxCount) String() string {
	var parts []string
	for _, part := range []struct {
		n     int
		state store.SubmissionState
	}{{c.Spam, store.Spam}, {c.Unmapped, store.Unmapped}, {c.Fetching, store.Fetching}} {
		if part.n > 0 {
			parts = append(parts, fmt.Sprint(part.n, " ", part.state))
		}
	}
	return strings.Join(parts, ", ")
}

// countInbox counts the submissions of the origin that is asked for, or of all.
func countInbox(ctx context.Context, s *store.Store, which selection) ([]inboxCount, error) {
	byOrigin, err := s.CountSubmissions(ctx)
	if err != nil {
		return nil, err
	}
	counts := []inboxCount{}
	for _, origin := range slices.Sorted(maps.Keys(byOrigin)) {
		n := byOrigin[origin]
		c := inboxCount{origin, n[store.Spam], n[store.Unmapped], n[store.Fetching]}
		if c.String() != "" && (which.origin == "" || which.origin == origin) {
			counts = append(counts, c)
		}
	}
	return counts, nil
}

// submission is what of one may be shown to anyone.
type submission struct {
	ID       string     `json:"id"`
	Origin   string     `json:"origin"`
	State    string     `json:"state"`
	Reason   string     `json:"reason"`
	Received time.Time  `json:"received_at"`
	Attempts int        `json:"attempts"`
	Next     *time.Time `json:"next_try,omitempty"`
}

func newSubmission(sub store.Submission) submission {
	shown := submission{sub.ID, sub.Origin, string(sub.State), sub.Reason, sub.Received, sub.Attempts, nil}
	if !sub.Next.IsZero() {
		shown.Next = &sub.Next
	}
	return shown
}

func showInbox(out io.Writer, counts []inboxCount, list []submission, now time.Time) error {
	if len(counts) == 0 {
		fmt.Fprintln(out, "nothing waits")
		return nil
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, c := range counts {
		fmt.Fprintf(table, "%s\t%s\n", c.Origin, c)
	}
	table.Flush()
	fmt.Fprintln(out)
	fmt.Fprintln(table, "ID\tORIGIN\tSTATE\tRECEIVED\tAGE\tATTEMPTS\tREASON")
	for _, sub := range list {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%d\t%s\n", sub.ID, sub.Origin, sub.State, sub.Received.Format(time.RFC3339),
			max(0, now.Sub(sub.Received)).Round(time.Second), sub.Attempts, printable(sub.Reason))
	}
	return table.Flush()
}

func inboxShowCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "show ID",
		Short:   "Show what was sent: personal data",
		Example: `  leadrelay inbox show lead_1j9v2k0c8m3n5p7q9r1s3t5`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return onStore(cmd, func(ctx context.Context, s *store.Store) error {
				sub, err := s.Submission(ctx, args[0])
				if errors.Is(err, store.ErrNotFound) {
					return fmt.Errorf("%s: %s", args[0], goneFromInbox)
				}
				if err != nil {
					return err
				}
				out := cmd.OutOrStdout()
				var sent any = string(sub.Payload)
				if json.Valid(sub.Payload) {
					sent = json.RawMessage(sub.Payload)
				}
				if asJSON {
					return json.NewEncoder(out).Encode(struct {
						submission
						Sent any `json:"sent"`
					}{newSubmission(sub), sent})
				}
				fmt.Fprintf(out, "%s  %s of %s  received %s  attempts %d\n", sub.ID, sub.State, sub.Origin, sub.Received.Format(time.RFC3339), sub.Attempts)
				if !sub.Next.IsZero() {
					fmt.Fprintf(out, "it is tried again at %s\n", sub.Next.Format(time.RFC3339))
				}
				fmt.Fprintf(out, "%s\n\n", printable(sub.Reason))
				var indented bytes.Buffer
				if json.Indent(&indented, sub.Payload, "", "  ") != nil {
					indented.Reset()
					indented.Write(sub.Payload)
				}
				for line := range strings.Lines(indented.String()) {
					fmt.Fprintln(out, printable(strings.TrimRight(line, "\r\n"))) // a stranger sent it
				}
				return nil
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// goneFromInbox is said of an id that is none of a submission.
const goneFromInbox = "waits no more, or never did: it was dropped, or is a lead (`leadrelay leads show ID`)"

// inboxRun does something to submissions, one by one, and notes which of them it could not be done to.
type inboxRun struct {
	store    *store.Store
	problems map[string][]string // ids by reason
}

// each calls do with each of the submissions. do says why it could not do it, if so; its error is the store's.
func (r *inboxRun) each(ctx context.Context, ids []string, do func(store.Submission) (problem string, err error)) error {
	r.problems = map[string][]string{}
	for _, id := range ids {
		if err := ctx.Err(); err != nil {
			return err
		}
		var problem string
		sub, err := r.store.Submission(ctx, id)
		if err == nil {
			problem, err = do(sub)
		}
		if errors.Is(err, store.ErrNotFound) {
			problem, err = goneFromInbox, nil
		}
		if err != nil {
			return err
		}
		if problem != "" {
			r.problems[problem] = append(r.problems[problem], id)
		}
	}
	return nil
}

// tell prints what could not be done, and to how many submissions. Its error says that there are any.
func (r *inboxRun) tell(out io.Writer) error {
	failed := 0
	for _, problem := range slices.Sorted(maps.Keys(r.problems)) {
		ids := r.problems[problem]
		failed += len(ids)
		which := ids[0]
		if len(ids) > 1 {
			which = fmt.Sprintf("%d, such as %s", len(ids), ids[0])
		}
		fmt.Fprintf(out, "%s: %s\n", which, printable(problem))
	}
	if failed > 0 {
		return fmt.Errorf("nothing has become of %d submissions", failed)
	}
	return nil
}

func inboxReleaseCommand() *cobra.Command {
	var which selection
	var all bool
	cmd := &cobra.Command{
		Use:   "release ID...|--all --origin ORIGIN",
		Short: "Make leads of what was taken for spam",
		Example: `  leadrelay inbox release lead_1j9v2k0c8m3n5p7q9r1s3t5
  leadrelay inbox release --all --origin form/contact`,
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case all == (len(args) > 0):
				return errors.New("name the submissions to release, or give --all and --origin, one of both")
			case all == (which.origin == ""):
				return errors.New("--all and --origin go together: all spam of one form is released")
			}
			which.state = string(store.Spam)
			return onConfigured(cmd, namesAlone(), func(ctx context.Context, s *store.Store, c *config.Config) (err error) {
				ids, out := args, cmd.OutOrStdout()
				if all {
					if ids, err = which.ids(ctx, s); err != nil {
						return err
					}
				}
				run, released := inboxRun{store: s}, 0
				err = run.each(ctx, ids, func(sub store.Submission) (string, error) {
					switch sub.State {
					case store.Unmapped:
						return "is no spam, but could not be mapped: `leadrelay inbox retry` maps it again", nil
					case store.Fetching:
						return "is no spam, but has to be fetched: `leadrelay inbox retry` has that done now", nil
					}
					patch, err := lead.ParseNew(sub.Payload)
					if err != nil {
						return "what was sent is no lead: " + err.Error(), nil
					}
					l, problem, err := release(ctx, s, sub, patch, c)
					if err == nil && problem == "" {
						if released++; !all {
							fmt.Fprintf(out, "%s is lead %s\n", sub.ID, l.ID)
						}
					}
					return problem, err
				})
				if all {
					fmt.Fprintf(out, "%d of %d are leads now\n", released, len(ids))
				}
				if err != nil {
					return err
				}
				return run.tell(cmd.ErrOrStderr())
			})
		},
	}
	which.originFlag(cmd)
	cmd.Flags().BoolVar(&all, "all", false, "all spam of --origin")
	return cmd
}

func inboxRetryCommand() *cobra.Command {
	var which selection
	cmd := &cobra.Command{
		Use:   "retry [ID...]",
		Short: "Map deliveries again by the configuration as it is now, and fetch now what has to be fetched",
		Long: `Map deliveries that could not be mapped again, by the configuration as it is now: what becomes a lead is one from then
on, of the rest the new reason is kept. What a worker has to fetch is made due now, and what it gave up is fetched
again. Without ids, that is all of --origin, or of every source.

The sources of the configuration are read with their secrets, as "leadrelay ingest" reads them.`,
		Example: `  leadrelay inbox retry
  leadrelay inbox retry --origin source/signup
  leadrelay inbox retry lead_1j9v2k0c8m3n5p7q9r1s3t5`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if which.origin != "" && len(args) > 0 {
				return errors.New("name the submissions, or give --origin, one of both")
			}
			options := []config.Option{config.AllowMissingKeys(), config.SkipConnectors(), config.SkipAlerts()}
			return onConfigured(cmd, options, func(ctx context.Context, s *store.Store, c *config.Config) error {
				ids := args
				if len(ids) == 0 {
					for _, state := range []store.SubmissionState{store.Unmapped, store.Fetching} {
						which.state = string(state)
						some, err := which.ids(ctx, s)
						if err != nil {
							return err
						}
						ids = append(ids, some...)
					}
					slices.Sort(ids) // by time
				}
				run, again := inboxRun{store: s}, remapper(s, c)
				released, due := 0, 0
				err := run.each(ctx, ids, func(sub store.Submission) (string, error) {
					became, err := again(ctx, sub)
					if became.LeadID != "" {
						released++
					}
					if became.Fetching {
						due++
					}
					return became.Problem, err
				})
				fmt.Fprintf(cmd.OutOrStdout(), "%d are leads now, %d are to be fetched by a worker\n", released, due)
				if err != nil {
					return err
				}
				return run.tell(cmd.ErrOrStderr())
			})
		},
	}
	which.originFlag(cmd)
	return cmd
}

func inboxDropCommand() *cobra.Command {
	var which selection
	var yes bool
	cmd := &cobra.Command{
		Use:   "drop ID...|--origin ORIGIN --state STATE --older-than DURATION",
		Short: "Forget submissions for good, with what was sent",
		Example: `  leadrelay inbox drop lead_1j9v2k0c8m3n5p7q9r1s3t5
  leadrelay inbox drop --origin form/contact --state spam --older-than 720h
  leadrelay inbox drop --state spam --yes                # asks nothing`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if (len(args) > 0) == (which != selection{}) {
				return errors.New("name the submissions to drop, or give some of --origin, --state and --older-than, one of both")
			}
			return onStore(cmd, func(ctx context.Context, s *store.Store) error {
				run, found, ids := inboxRun{store: s}, map[string]int{}, []string{}
				note := func(sub store.Submission) (string, error) {
					ids = append(ids, sub.ID)
					found[fmt.Sprintf("%s of %s", sub.State, sub.Origin)]++
					return "", nil
				}
				var err error
				if len(args) > 0 {
					err = run.each(ctx, args, note)
				} else {
					err = which.each(ctx, s, func(sub store.Submission) error { _, err := note(sub); return err })
				}
				if err != nil {
					return err
				}
				if err := run.tell(cmd.ErrOrStderr()); err != nil {
					return err
				}
				if len(ids) == 0 {
					fmt.Fprintln(cmd.OutOrStdout(), "there are none")
					return nil
				}
				var what []string
				for _, group := range slices.Sorted(maps.Keys(found)) {
					what = append(what, fmt.Sprint(found[group], " ", group))
				}
				if !yes {
					fmt.Fprintf(cmd.ErrOrStderr(), "%s: forgotten for good, with what was sent? [y/N] ", strings.Join(what, ", "))
					if !confirmed(ctx, cmd.InOrStdin()) {
						return errors.New("nothing is dropped; answer y, or give --yes")
					}
				}
				dropped := 0
				err = run.each(ctx, ids, func(sub store.Submission) (string, error) {
					err := s.Drop(ctx, sub.ID)
					if err == nil {
						dropped++
					}
					return "", err
				})
				fmt.Fprintf(cmd.OutOrStdout(), "%d of %d dropped\n", dropped, len(ids))
				return err
			})
		},
	}
	which.flags(cmd)
	cmd.Flags().DurationVar(&which.olderThan, "older-than", 0, "only those received longer ago, such as 720h")
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return cmd
}

// confirmed reads whether the answer is yes.
func confirmed(ctx context.Context, in io.Reader) bool {
	answer := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(in).ReadString('\n')
		answer <- strings.ToLower(strings.TrimSpace(line))
	}()
	select {
	case said := <-answer:
		return said == "y" || said == "yes"
	case <-ctx.Done():
		return false
	}
}
