package xlsx

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"unicode/utf16"

	"github.com/leadrelay/leadrelay/connectors"
	"github.com/leadrelay/leadrelay/internal/lead"
	"github.com/leadrelay/leadrelay/internal/lockedfile"
)

// Settings are what config.yaml says; the package comment explains them.
type Settings struct {
	Path  string `mapstructure:"path" required:"true" help:"the workbook, a .xlsx file; made where it is missing"`
	Sheet string `mapstructure:"sheet" help:"the worksheet; a workbook that is there must have it"`
}

var defaults = Settings{Sheet: "Leads"}

// Kind is the line of this package in the table of kinds.
var Kind = func() connectors.Kind {
	k := connectors.Define("xlsx", defaults, open)
	k.Title = "a worksheet of an Excel workbook"
	k.Docs = "https://learn.microsoft.com/en-us/openspecs/office_standards/ms-xlsx/"
	k.Limits = connectors.Limits{Concurrency: 1}
	k.MaxBatch = maxBatch
	k.Fields = []connectors.FieldRule{
		{To: "name", From: "name"}, {To: "email", From: "email"}, {To: "source", From: "source"},
		{To: "note", From: "note"}, {To: "created_at", From: "created_at"}, {To: "updated_at", From: "updated_at"},
	}
	return k
}()

// idColumn is the header of the column that locates a lead's row.
const idColumn = "lead_id"

type connector struct {
	file   file
	fields connectors.Mapping
}

var _ interface {
	connectors.Connector
	connectors.Keyed
	connectors.Batcher
	connectors.Checker
	connectors.Limited
} = (*connector)(nil)

func open(s Settings, env connectors.Env) (connectors.Connector, error) {
	var problems []error
	problem := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	if err := lockedfile.CheckPath(s.Path); err != nil {
		problems = append(problems, err)
	} else if !strings.EqualFold(filepath.Ext(s.Path), ".xlsx") {
		problem("path: must end in .xlsx")
	}
	switch {
	case strings.TrimSpace(s.Sheet) == "":
		problem("sheet: required")
	case len(utf16.Encode([]rune(s.Sheet))) > 31:
		problem("sheet: a worksheet's name has at most 31 characters")
	case connectors.CellText(s.Sheet) != s.Sheet || strings.ContainsAny(s.Sheet, ":\\/?*[]\n\t") || strings.Trim(s.Sheet, "'") != s.Sheet:
		problem(`sheet: a worksheet's name holds none of : \ / ? * [ ] and neither begins nor ends with '`)
	case strings.EqualFold(s.Sheet, "history"):
		problem("sheet: Excel keeps that name for itself")
	}
	columns := []string{idColumn}
	known := map[string]bool{idColumn: true}
	for _, name := range env.Fields.Names() {
		header := headerText(name)
		switch {
		case header == idColumn:
			problem("fields: lead_id is always a column, remove its rule")
		case header == "":
			problem("fields: %q is no name for a column", name)
		case known[header]:
			problem("fields: %q would be a second column of that name", name)
		case textLength(header) > maxText:
			problem("fields: the name of a column is longer than a cell can hold")
		}
		known[header] = true
		columns = append(columns, header)
	}
	if len(columns) > maxColumns {
		problem("fields: a worksheet has at most %d columns", maxColumns)
	}
	if problems != nil {
		return nil, errors.Join(problems...)
	}
	return &connector{
		file:   file{File: lockedfile.New(s.Path), sheet: s.Sheet, columns: columns},
		fields: env.Fields,
	}, nil
}

// Key is the lead's id: it locates the row.
func (c *connector) Key(l lead.Lead) string { return l.ID }

// Limits are those of the file.
func (c *connector) Limits() connectors.Limits { return c.file.Limits("xlsx") }

// maxBatch is as many as one rewrite of the workbook should be worth to all of them.
const maxBatch = 1000

// MaxBatch is of one rewrite of the workbook.
func (c *connector) MaxBatch() int { return maxBatch }

func (c *connector) Push(ctx context.Context, change lead.Change, ref string) (string, error) {
	result := c.PushBatch(ctx, []connectors.Item{{Change: change, Ref: ref}})[0]
	return result.Ref, result.Err
}

// PushBatch writes all items at once: after a failure none of them may be taken for written. Alone fail a lead that
// does not fit a cell, and new leads for which the worksheet has no row left.
func (c *connector) PushBatch(ctx context.Context, items []connectors.Item) []connectors.Result {
	results := make([]connectors.Result, len(items))
	fail := func(i int, err error) { results[i] = connectors.Result{Err: fmt.Errorf("xlsx: %w", err)} }
	var edits []edit
	whose := map[string]int{} // the item of each edit
	for i, item := range items {
		e, err := c.edit(item.Change)
		if err != nil {
			fail(i, err)
			continue
		}
		if e.writes() {
			results[i].Ref = e.id
		}
		edits = append(edits, e)
		whose[e.id] = i
	}
	if len(edits) == 0 {
		return results
	}
	left, err := c.file.write(ctx, edits)
	if err != nil {
		for _, i := range whose {
			fail(i, err)
		}
		return results
	}
	for _, id := range left {
		fail(whose[id], full())
	}
	return results
}

func (c *connector) edit(change lead.Change) (edit, error) {
	e := edit{id: change.Lead.ID}
	if change.Op == lead.Delete {
		return e, nil
	}
	fields, err := c.fields.Apply(change.Lead)
	if err != nil {
		return edit{}, err
	}
	e.cells = append(make([]content, 0, len(fields)+1), content{textCell, e.id})
	for _, field := range fields {
		cell := contentOf(field.Value)
		if textLength(cell.value) > maxText {
			return edit{}, &connectors.Error{
				Fault: connectors.Lead, Err: fmt.Errorf("field %s: longer than the %d characters a cell holds", field.To, maxText),
			}
		}
		e.cells = append(e.cells, cell)
	}
	return e, nil
}

// Check finds out whether the workbook, or the folder it will be made in, may be written, and whether it has our
// worksheet, without writing.
func (c *connector) Check(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("xlsx: check: %w", err)
	}
	if err := c.file.check(); err != nil {
		return fmt.Errorf("xlsx: check: %w", err)
	}
	return nil
}

func full() error {
	return setup("write: the worksheet is full: no row up to %d is free; set another path or sheet", maxRows)
}

// setup is a fault of what the settings name.
func setup(format string, args ...any) error {
	return &connectors.Error{Fault: connectors.Setup, Err: fmt.Errorf(format, args...)}
}
