package main

import (
	"bufio"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/leadrelay/leadrelay/internal/config"
	"github.com/leadrelay/leadrelay/internal/lead"
	"github.com/leadrelay/leadrelay/internal/store"
)

const (
	// importBatch is how many leads go to the store at once, and importBatchBytes how large they are together.
	importBatch      = 1000
	importBatchBytes = 4 << 20
	// importKnownFor is how long a row that was imported is known.
	importKnownFor = 30 * 24 * time.Hour
	// batchTimeout bounds one try of a batch.
	batchTimeout = 30 * time.Second
	// addressesAtOnce bounds how many leads are under way to the store at once, under dedupe.
	addressesAtOnce = 64
	// firstProblems is how many a dry run prints.
	firstProblems = 20
)

// awayFor is how long an import waits for a Redis that takes no leads.
var awayFor = 5 * time.Minute

func importCommand() *cobra.Command {
	var maps, ignored, set []string
	var format, delimiter, source, rejected string
	var dryRun bool
	cmd := &cobra.Command{
		Use:   "import FILE",
		Short: "Add the leads of a CSV or NDJSON file",
		Long: `Add the leads of a file, each as if it were posted, or of standard input, which is "-". A CSV file's first line
names the columns. Those for email, name (or first and last name), note and source are found by what they are usually
called, or by --map; all others become custom fields under their headers. What stands between the cells (a comma, a
semicolon, a tab or |) is found out. NDJSON has one object a line, with the members that the API takes.

An import may be ended and run again at any time: it goes on with what is still to do. For 30 days a row with the same
content is known, from whichever file, and adds nothing, even if its lead was deleted since; in one file, a row that
stands there twice is two leads. Under "leads.dedupe: email" a row changes the lead that has its address, and empty
cells change nothing.

Rows that are no leads are left out, and written to FILE.rejected.csv, or .ndjson, with their lines and the reasons; the
command then ends with an exit code of 1. That file can be mended and imported. It replaces the one of an import before.

A file that leadrelay wrote itself, which has a column lead_id, is read as it was meant: the apostrophes that keep
spreadsheets from making formulas of texts are taken away. The leads are new ones, with ids and times of their own.`,
		Example: `  leadrelay import leads.csv --dry-run                  # what would become of the columns, and what is wrong
  leadrelay import leads.csv
  leadrelay import fair.csv --source fair --set campaign=spring --map "Work E-Mail=email" --ignore "Row No"
  zcat leads.ndjson.gz | leadrelay import - --format ndjson`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			w, err := newWishes(maps, ignored, source, set)
			if err != nil {
				return err
			}
			comma, err := parseDelimiter(delimiter)
			if err != nil {
				return err
			}
			f, err := openLeads(cmd.InOrStdin(), args[0], rejected)
			if err != nil {
				return err
			}
			defer f.Close()
			if err := f.read(format, comma, w); err != nil {
				return fmt.Errorf("%s: %w", f.name, err)
			}
			i := &importer{cmd: cmd, file: f, seen: map[uint64]uint32{}, revisions: map[uint64]int64{}}
			if dryRun {
				return i.rehearse(cmd.Context())
			}
			return onConfigured(cmd, namesAlone(), func(ctx context.Context, s *store.Store, c *config.Config) error {
				i.store, i.dedupe, i.began = s, c.Leads.Dedupe == config.DedupeEmail, s.Now()
				return i.run(ctx)
			})
		},
	}
	flags := cmd.Flags()
	flags.StringArrayVar(&maps, "map", nil, "the member or custom field that a column is, as HEADER=FIELD; repeatable")
	flags.StringArrayVar(&ignored, "ignore", nil, "a column to leave out; repeatable")
	flags.StringVar(&source, "source", "", "the source of every lead")
	flags.StringArrayVar(&set, "set", nil, "a member or custom field of every lead, as FIELD=VALUE; repeatable")
	flags.StringVar(&format, "format", "", "csv or ndjson; by default what the file's name ends with says, or else csv")
	flags.StringVar(&delimiter, "delimiter", "", `what stands between the cells: "," ";" "|" or tab; by default it is found out`)
	flags.StringVar(&rejected, "rejected", "", "the file for rows that are no leads")
	flags.BoolVar(&dryRun, "dry-run", false, "only say what would be done")
	return cmd
}

func parseDelimiter(text string) (byte, error) {
	switch {
	case text == "":
		return 0, nil
	case text == "tab", text == `\t`:
		return '\t', nil
	case len(text) == 1 && strings.Contains(delimiters, text):
		return text[0], nil
	}
	return 0, errors.New(`--delimiter: must be "," ";" "|" or tab`)
}

// parseFormat says whether a file is NDJSON.
func parseFormat(format, name string) (ndjson bool, err error) {
	if format == "" {
		format = "csv"
		if extension := strings.ToLower(filepath.Ext(name)); extension == ".ndjson" || extension == ".jsonl" {
			format = "ndjson"
		}
	}
	if format != "csv" && format != "ndjson" {
		return false, errors.New("--format: must be csv or ndjson")
	}
	return format == "ndjson", nil
}

// leadFile is a file of leads that is read, and the one for its rows that are none.
type leadFile struct {
	rowReader
	name string
	in   io.ReadCloser
	size int64        // in bytes; -1: unknown
	done atomic.Int64 // bytes that were read

	rejectedName string
	rejectedFile *os.File // nil until there is one
	rejectedText *bufio.Writer
}

func openLeads(stdin io.Reader, name, rejectedName string) (*leadFile, error) {
	f := &leadFile{name: name, size: -1, rejectedName: rejectedName}
	if name == "-" {
		f.name, f.in = "stdin", io.NopCloser(stdin)
		return f, nil
	}
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	switch {
	case err != nil:
	case info.IsDir():
		err = fmt.Errorf("%s is a folder; name a file, or - for standard input", name)
	case info.Mode().IsRegular():
		f.size = info.Size()
		if there, missing := os.Stat(rejectedName); missing == nil && os.SameFile(info, there) {
			err = errors.New("--rejected: is the file that is imported; name another")
		}
	}
	if err != nil {
		file.Close()
		return nil, err
	}
	f.in = file
	return f, nil
}

// Read counts what is read.
func (f *leadFile) Read(p []byte) (int, error) {
	n, err := f.in.Read(p)
	f.done.Add(int64(n))
	return n, err
}

// read begins to read the rows.
func (f *leadFile) read(format string, comma byte, w wishes) error {
	ndjson, err := parseFormat(format, f.name)
	if err != nil {
		return err
	}
	extension := ".csv"
	if ndjson {
		extension = ".ndjson"
		f.rowReader, err = newNDJSONRows(f, w)
	} else {
		f.rowReader, err = newCSVRows(f, comma, w)
	}
	if f.rejectedName == "" {
		f.rejectedName = f.name + ".rejected" + extension
	}
	return err
}

// reject writes a row to the file of those that are no leads.
func (f *leadFile) reject(one fileRow) error {
	if f.rejectedFile == nil {
		file, err := os.OpenFile(f.rejectedName, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
		if err != nil {
			return fmt.Errorf("rejected rows cannot be kept: %w; name another file by --rejected", err)
		}
		if info, err := file.Stat(); err == nil && info.Mode().IsRegular() {
			file.Chmod(0o600) // of a former import it may be another's: it holds personal data
		}
		f.rejectedFile, f.rejectedText = file, bufio.NewWriter(file)
		f.rejectedText.Write(f.head())
	}
	f.rejectedText.Write(f.rejected(one)) // Flush tells of an error
	return nil
}

// kept says whether what was rejected so far is written.
func (f *leadFile) kept() error {
	if f.rejectedFile == nil {
		return nil
	}
	if err := f.rejectedText.Flush(); err != nil {
		return fmt.Errorf("rejected rows cannot be kept: %w", err)
	}
	return nil
}

func (f *leadFile) Close() error {
	err := f.in.Close()
	if f.rejectedFile != nil {
		err = errors.Join(err, f.rejectedFile.Close())
	}
	return err
}

// importer is one run of import.
type importer struct {
	cmd    *cobra.Command
	file   *leadFile
	store  *store.Store
	dedupe bool
	began  time.Time
	shown  *progress

	// seen counts the rows of each content, by a part of its hash: where two contents share that, one of them only has
	// other numbers than it would have, in each run the same.
	seen map[uint64]uint32

	// revisions are, under dedupe, those that leads had after their latest row, by a part of the hash of their ids.
	revisions map[uint64]int64

	rows, added, changed, there, rejected int
}

// portion is the rows that go to the store at once.
type portion struct {
	rows  []fileRow
	leads []store.NewLead
	of    []int // which of the rows they are
	read  int64 // bytes of the file so far
}

// portions reads the file ahead of who writes to the store. When the channel is closed, failure says whether that was
// all of it.
func (i *importer) portions(ctx context.Context) (portions <-chan *portion, failure func() error) {
	next := make(chan *portion)
	var failed error
	go func() {
		defer close(next)
		for failed == nil {
			var p *portion
			p, failed = i.portion()
			if len(p.rows) == 0 {
				continue
			}
			select {
			case next <- p:
			case <-ctx.Done():
				return
			}
		}
	}()
	return next, func() error {
		if failed == io.EOF {
			return nil
		}
		return fmt.Errorf("%s cannot be read on after %d rows: %w", i.file.name, i.rows, failed)
	}
}

// portion reads rows until they are enough, or there are no more.
func (i *importer) portion() (*portion, error) {
	p := &portion{}
	for size := 0; len(p.rows) < importBatch && size < importBatchBytes; {
		one, err := i.file.next()
		if err != nil {
			return p, err
		}
		size += len(one.raw)
		var patch lead.Patch
		if one.err == nil {
			patch, one.err = lead.ParseNew(one.body)
		}
		if one.err == nil {
			p.leads = append(p.leads, store.NewLead{Patch: patch, Once: i.once(one.body)})
			p.of = append(p.of, len(p.rows))
		}
		p.rows = append(p.rows, one)
		p.read = i.file.done.Load()
	}
	return p, nil
}

// once names a row by its content, and by which of those with the same content it is.
func (i *importer) once(content []byte) *store.Idempotency {
	sum := sha256.Sum256(content)
	short := binary.LittleEndian.Uint64(sum[:])
	i.seen[short]++
	return &store.Idempotency{Key: "import\n" + string(sum[:]) + "\n" + strconv.Itoa(int(i.seen[short])), For: importKnownFor}
}

// each calls do with the portions of the file, until it returns an error or ctx ends.
func (i *importer) each(ctx context.Context, do func(*portion) error) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	portions, failure := i.portions(ctx)
	for {
		select {
		case p, more := <-portions:
			if more {
				if err := do(p); err != nil {
					return err
				}
			} else if ctx.Err() == nil {
				return failure()
			}
		case <-ctx.Done():
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
}

func (i *importer) run(ctx context.Context) error {
	i.shown = newProgress(i.cmd.ErrOrStderr(), i.file.size, true)
	err := i.each(ctx, func(p *portion) error {
		err := i.write(ctx, p)
		i.shown.tell(p.read, fmt.Sprintf("%d rows", i.rows))
		return err
	})
	i.shown.end()
	out := i.cmd.OutOrStdout()
	fmt.Fprintf(out, "%s: %d rows: %d new leads, ", i.file.name, i.rows, i.added)
	if i.dedupe {
		fmt.Fprintf(out, "%d changed ones, ", i.changed)
	}
	fmt.Fprintf(out, "%d were there already, %d rejected\n", i.there, i.rejected)
	if i.rejected > 0 {
		fmt.Fprintf(out, "the rejected rows are in %s, with their lines and the reasons\n", i.file.rejectedName)
	}
	if err != nil {
		fmt.Fprintln(out, "that was not the whole file: run the same command again, and it goes on with what is still to do")
		return err
	}
	i.tellLeftOut()
	return i.verdict()
}

func (i *importer) tellLeftOut() {
	if names := i.file.leftOut(); len(names) > 0 {
		fmt.Fprintf(i.cmd.ErrOrStderr(), "leadrelay: left out, as leadrelay sets them itself: %s\n", strings.Join(names, ", "))
	}
}

func (i *importer) verdict() error {
	if i.rejected > 0 {
		return fmt.Errorf("%d of %d rows are no leads", i.rejected, i.rows)
	}
	return nil
}

// rehearse says what run would do.
func (i *importer) rehearse(ctx context.Context) error {
	out := i.cmd.OutOrStdout()
	if err := i.file.show(out); err != nil {
		return err
	}
	fmt.Fprintln(out)
	err := i.each(ctx, func(p *portion) error {
		i.rows += len(p.rows)
		for _, one := range p.rows {
			if one.err == nil {
				continue
			}
			if i.rejected++; i.rejected <= firstProblems {
				fmt.Fprintf(out, "line %d: %s\n", one.line, printable(one.err.Error()))
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if i.rejected > firstProblems {
		fmt.Fprintf(out, "and %d more\n", i.rejected-firstProblems)
	}
	fmt.Fprintf(out, "%s: %d rows: %d leads would be added if they are not there already, %d rejected; nothing was written\n",
		i.file.name, i.rows, i.rows-i.rejected, i.rejected)
	i.tellLeftOut()
	return i.verdict()
}

// isAway says of a store's error that the lead may be given to it again.
func isAway(err error) bool {
	var invalid lead.Invalid
	return err != nil && !errors.As(err, &invalid)
}

// write gives a portion to the store, and its rows that are no leads to their file.
func (i *importer) write(ctx context.Context, p *portion) error {
	created, err := i.accept(ctx, p.leads)
	done := len(p.rows)
	for n, one := range created {
		switch {
		case one.Err == nil:
			i.count(one.Lead)
		case isAway(one.Err):
			done--
		default: // together with what the lead has already
			p.rows[p.of[n]].err = one.Err
		}
	}
	i.rows += done
	for _, one := range p.rows {
		if one.err != nil {
			i.rejected++
			err = cmp.Or(err, i.file.reject(one))
		}
	}
	return cmp.Or(err, i.file.kept())
}

// count says what became of a lead that is as a row has it.
func (i *importer) count(l lead.Lead) {
	isNew := !l.Updated.Before(i.began) // by the store's clock, which all processes share
	if i.dedupe {
		sum := sha256.Sum256([]byte(l.ID))
		short := binary.LittleEndian.Uint64(sum[:])
		isNew = isNew && i.revisions[short] != l.Revision
		i.revisions[short] = l.Revision
	}
	switch {
	case !isNew:
		i.there++
	case l.Revision == 1:
		i.added++
	default:
		i.changed++
	}
}

// accept gives leads to the store, again and again while that is away. Where it gives up, or ctx ends, the error of
// those that are not accepted says so.
func (i *importer) accept(ctx context.Context, leads []store.NewLead) ([]store.Created, error) {
	created := make([]store.Created, len(leads))
	todo := make([]int, len(leads))
	for n := range todo {
		todo[n] = n
	}
	wait, since := 250*time.Millisecond, time.Time{}
	for len(todo) > 0 {
		// A portion that was begun is ended, and known for ended: a Ctrl-C comes in between.
		try, cancel := context.WithTimeout(context.WithoutCancel(ctx), batchTimeout)
		some := make([]store.NewLead, len(todo))
		for k, n := range todo {
			some[k] = leads[n]
		}
		var failed []int
		var reason error
		for k, one := range i.send(try, some) {
			created[todo[k]] = one
			if !isAway(one.Err) {
				continue
			}
			if failed = append(failed, todo[k]); !errors.Is(one.Err, errUntried) {
				reason = one.Err
			}
		}
		cancel()
		switch now := time.Now(); {
		case len(failed) == 0:
			if !since.IsZero() {
				i.shown.say("Redis takes leads again")
			}
			return created, nil
		case since.IsZero():
			i.shown.say(fmt.Sprintf("Redis takes no leads at the moment, it is tried again for %s: %v", awayFor, reason))
			since = now
		case len(failed) < len(todo):
			since = now
		case now.Sub(since) > awayFor:
			return created, fmt.Errorf("redis took no lead for %s: %w", now.Sub(since).Round(time.Second), reason)
		}
		todo = failed
		select {
		case <-time.After(wait):
			wait = min(2*wait, 5*time.Second)
		case <-ctx.Done():
			return created, ctx.Err()
		}
	}
	return created, nil
}

// errUntried: a lead is not given to the store, which did not take one before it.
var errUntried = errors.New("it waits for one before it")

// send gives leads to the store once: under dedupe those of one address in the order of the file, and no more after one
// that it does not take.
func (i *importer) send(ctx context.Context, leads []store.NewLead) []store.Created {
	if !i.dedupe {
		return i.store.CreateMany(ctx, leads)
	}
	created := make([]store.Created, len(leads))
	var group errgroup.Group
	group.SetLimit(addressesAtOnce)
	var failed atomic.Bool
	for _, places := range store.ByAddress(leads) {
		group.Go(func() error {
			for _, n := range places {
				one := &created[n]
				if failed.Load() {
					one.Err = errUntried
					continue
				}
				one.Lead, one.Err = i.store.CreateOrUpdate(ctx, leads[n].Patch, leads[n].Once)
				if isAway(one.Err) {
					failed.Store(true)
				}
			}
			return nil
		})
	}
	group.Wait()
	return created
}
