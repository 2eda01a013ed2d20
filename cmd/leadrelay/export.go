package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	csvconnector "github.com/leadrelay/leadrelay/connectors/csv"
	"github.com/leadrelay/leadrelay/internal/lead"
	"github.com/leadrelay/leadrelay/internal/store"
)

const (
	// exportPage is how many leads are in memory at once.
	exportPage = 500
	// maxExportColumns bounds the custom fields that a CSV file has columns for.
	maxExportColumns = 2000
	// statesAtOnce is how many leads' states are asked for at once.
	statesAtOnce = 16
)

func exportCommand() *cobra.Command {
	var format, output, source, since string
	var withState, mark bool
	cmd := &cobra.Command{
		Use:   "export",
		Short: "Write all leads to a CSV or NDJSON file",
		Long: `Write all leads that are there when it begins, the newest first, to a file or to standard output: CSV, or NDJSON, which
has a lead a line as the API shows it. "leadrelay import" reads both again. The file holds personal data: only you may
read it. It is there when it is whole.

In CSV each custom field has a column. To know them, all leads are read twice. CSV has nothing but texts: numbers and
lists come back as texts, from NDJSON as they are. A text that a spreadsheet would take for a formula, a number or a
date has an apostrophe before it, as the csv connector writes it.`,
		Example: `  leadrelay export -o leads.csv
  leadrelay export --format ndjson | gzip > leads.ndjson.gz
  leadrelay export --source website --since 720h --with-state -o recent.csv`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ndjson, err := parseFormat(format, output)
			if err != nil {
				return err
			}
			return onStore(cmd, func(ctx context.Context, s *store.Store) error {
				now := s.Now()
				e := &exporter{store: s, source: source, withState: withState}
				if e.since, err = parseSince(since, now); err != nil {
					return err
				}
				e.before = lead.NewID(now.Add(time.Millisecond), 0)
				n := 0
				err := replaceFile(output, cmd.OutOrStdout(), func(out io.Writer) (err error) {
					if ndjson {
						n, err = e.ndjson(ctx, out)
					} else {
						n, err = e.csv(ctx, out, mark)
					}
					return err
				})
				if err != nil {
					return err
				}
				fmt.Fprintf(cmd.ErrOrStderr(), "%d leads exported\n", n)
				return nil
			})
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&format, "format", "", "csv or ndjson; by default what the file's name ends with says, or else csv")
	flags.StringVarP(&output, "output", "o", "-", `the file; "-" is standard output`)
	flags.StringVar(&source, "source", "", "only leads of this source")
	flags.StringVar(&since, "since", "", "only leads that changed since: a duration such as 720h, or a date such as 2026-01-31")
	flags.BoolVar(&withState, "with-state", false, "also where each lead stands with the connectors")
	flags.BoolVar(&mark, "bom", true, "begin a CSV file with a byte order mark, without which Excel misreads every umlaut")
	return cmd
}

// replaceFile writes a file, or standard output for "-". The file is there when it is whole, for its owner alone.
func replaceFile(name string, stdout io.Writer, write func(io.Writer) error) (err error) {
	buffered := func(out io.Writer) error {
		b := bufio.NewWriterSize(out, 64<<10)
		return errors.Join(write(b), b.Flush())
	}
	if name == "-" {
		return buffered(stdout)
	}
	if info, err := os.Stat(name); err == nil && !info.Mode().IsRegular() {
		file, err := os.OpenFile(name, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		return errors.Join(buffered(file), file.Close())
	}
	file, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".*") // 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(file.Name())
		}
	}()
	if err := errors.Join(buffered(file), file.Close()); err != nil {
		return err
	}
	return os.Rename(file.Name(), name)
}

// exporter is one run of export.
type exporter struct {
	store     *store.Store
	source    string
	since     time.Time
	before    string // an id that is newer than those to export
	withState bool
}

// exported is a lead, and where it stands.
type exported struct {
	lead.Lead
	standings []store.Standing
}

// pages calls do with the leads, page by page and newest first.
func (e *exporter) pages(ctx context.Context, do func([]lead.Lead) error) error {
	for q := (store.Query{Source: e.source, Before: e.before, Limit: exportPage}); ; {
		page, next, err := e.store.List(ctx, q)
		if err != nil {
			return err
		}
		page = slices.DeleteFunc(page, func(l lead.Lead) bool { return l.Updated.Before(e.since) })
		if err := do(page); err != nil || next == "" {
			return err
		}
		q.Before = next
	}
}

// each calls do with each lead and where it stands, and counts them.
func (e *exporter) each(ctx context.Context, do func(exported) error) (n int, err error) {
	return n, e.pages(ctx, func(page []lead.Lead) error {
		all, err := e.standings(ctx, page)
		for _, one := range all {
			if err != nil {
				break
			}
			n++
			err = do(one)
		}
		return err
	})
}

func (e *exporter) standings(ctx context.Context, page []lead.Lead) ([]exported, error) {
	all := make([]exported, len(page))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(statesAtOnce)
	for i, l := range page {
		all[i].Lead = l
		if !e.withState {
			continue
		}
		group.Go(func() error {
			found, err := e.store.Get(ctx, l.ID)
			if errors.Is(err, store.ErrNotFound) {
				return nil // deleted in this moment
			}
			all[i].standings = found.Standings
			return err
		})
	}
	return all, group.Wait()
}

// ownColumns are those of every lead, in the order of the API.
var ownColumns = []string{leadIDColumn, "name", "email", "source", "note", "created_at", "updated_at"}

const statesColumn = "connectors"

func (e *exporter) ndjson(ctx context.Context, out io.Writer) (int, error) {
	return e.each(ctx, func(one exported) error {
		line := []byte("{")
		add := func(name string, value any) {
			line = append(append(appendJSON(line, name), ':'), appendJSON(nil, value)...)
			line = append(line, ',')
		}
		for _, name := range ownColumns {
			value, ok := one.Value(name)
			if !ok {
				value = ""
			}
			add(name, value)
		}
		for _, name := range slices.Sorted(maps.Keys(one.Custom)) {
			add(name, one.Custom[name])
		}
		if e.withState {
			add(statesColumn, standing(store.Found{Lead: one.Lead, Standings: one.standings}).Connectors)
		}
		line[len(line)-1] = '}'
		_, err := out.Write(append(line, '\n'))
		return err
	})
}

// appendJSON appends a value of a lead, HTML's signs as they are.
func appendJSON(to []byte, value any) []byte {
	b := bytes.NewBuffer(to)
	encoder := json.NewEncoder(b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		panic("export: what was decoded from JSON encodes again: " + err.Error())
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

const exportComma = ','

func (e *exporter) csv(ctx context.Context, out io.Writer, mark bool) (int, error) {
	custom, err := e.customFields(ctx)
	if err != nil {
		return 0, err
	}
	columns := ownColumns
	if e.withState {
		columns = append(slices.Clone(columns), statesColumn)
	}
	own := len(columns)
	columns = slices.Concat(columns, slices.Sorted(maps.Keys(custom)))
	cells := make([]string, len(columns))
	for i, name := range columns {
		cells[i] = csvconnector.Cell(name, exportComma)
	}
	if mark {
		io.WriteString(out, "\ufeff")
	}
	w := csv.NewWriter(out)
	w.Comma = exportComma
	if err := w.Write(cells); err != nil {
		return 0, err
	}
	lost := 0
	n, err := e.each(ctx, func(one exported) error {
		for i, name := range columns {
			value, _ := one.Value(name)
			if i >= own {
				value = one.Custom[name]
			}
			cells[i] = csvconnector.Cell(value, exportComma)
		}
		if e.withState {
			cells[own-1] = csvconnector.Cell(states(one.standings), exportComma)
		}
		for name := range one.Custom {
			if !custom[name] {
				lost++
			}
		}
		return w.Write(cells)
	})
	w.Flush()
	if err = errors.Join(err, w.Error()); err == nil && lost > 0 {
		err = errors.New("leads were given new custom fields while they were exported, which have no column; export again")
	}
	return n, err
}

// customFields are the names of all custom fields of the leads.
func (e *exporter) customFields(ctx context.Context) (map[string]bool, error) {
	names := map[string]bool{}
	return names, e.pages(ctx, func(page []lead.Lead) error {
		for _, l := range page {
			for name := range l.Custom {
				names[name] = true
			}
		}
		if len(names) > maxExportColumns {
			return fmt.Errorf("the leads have more than %d different custom fields, too many for columns; use --format ndjson, or fewer leads by --source and --since", maxExportColumns)
		}
		return nil
	})
}

// states says in a cell where a lead stands.
func states(standings []store.Standing) string {
	var words []string
	for _, st := range standings {
		words = append(words, st.Connector+": "+string(st.State))
	}
	return strings.Join(words, ", ")
}
