package csv

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/leadrelay/leadrelay/connectors"
	"github.com/leadrelay/leadrelay/internal/lead"
	"github.com/leadrelay/leadrelay/internal/lockedfile"
)

// Settings are what config.yaml says; the package comment explains them.
type Settings struct {
	Path      string `mapstructure:"path" required:"true" help:"the file; made where it is missing"`
	Delimiter string `mapstructure:"delimiter" help:"between cells: a comma, a semicolon, | or a tab"`
	BOM       bool   `mapstructure:"bom" help:"a byte order mark, for Excel"`
}

var defaults = Settings{Delimiter: ",", BOM: true}

// Kind is the line of this package in the table of kinds.
var Kind = func() connectors.Kind {
	k := connectors.Define("csv", defaults, open)
	k.Title = "a CSV file"
	k.Docs = "https://www.rfc-editor.org/rfc/rfc4180"
	k.Limits = connectors.Limits{Concurrency: 1}
	k.MaxBatch = maxBatch
	k.Fields = []connectors.FieldRule{
		{To: "name", From: "name"}, {To: "email", From: "email"}, {To: "source", From: "source"},
		{To: "note", From: "note"}, {To: "created_at", From: "created_at"}, {To: "updated_at", From: "updated_at"},
	}
	return k
}()

func open(s Settings, env connectors.Env) (connectors.Connector, error) {
	var problems []error
	if err := lockedfile.CheckPath(s.Path); err != nil {
		problems = append(problems, err)
	}
	if len(s.Delimiter) != 1 || !strings.Contains(",;|\t", s.Delimiter) {
		problems = append(problems, errors.New(`delimiter: must be ",", ";", "|" or a tab ("\t")`))
	}
	columns := []string{idColumn}
	for _, name := range env.Fields.Names() {
		if name == idColumn {
			problems = append(problems, errors.New("fields: lead_id is always the first column, remove its rule"))
		}
		columns = append(columns, name)
	}
	if problems != nil {
		return nil, errors.Join(problems...)
	}
	return &connector{
		file:   file{File: lockedfile.New(s.Path), columns: columns, comma: s.Delimiter[0], bom: s.BOM},
		fields: env.Fields,
	}, nil
}

type connector struct {
	file   file
	fields connectors.Mapping
}

// Key is the lead's id: it locates the row.
func (c *connector) Key(l lead.Lead) string { return l.ID }

// Limits are those of the file.
func (c *connector) Limits() connectors.Limits { return c.file.Limits("csv") }

// maxBatch is as many as one rewrite of the file should be worth to all of them.
const maxBatch = 1000

// MaxBatch is of one rewrite of the file.
func (c *connector) MaxBatch() int { return maxBatch }

func (c *connector) Push(ctx context.Context, change lead.Change, ref string) (string, error) {
	result := c.PushBatch(ctx, []connectors.Item{{Change: change, Ref: ref}})[0]
	return result.Ref, result.Err
}

// PushBatch writes all items at once: after a failure none of them may be taken for written.
func (c *connector) PushBatch(ctx context.Context, items []connectors.Item) []connectors.Result {
	results := make([]connectors.Result, len(items))
	edits := make([]edit, 0, len(items))
	for i, item := range items {
		e, err := c.edit(item.Change)
		if err != nil {
			results[i].Err = fmt.Errorf("csv: %w", err)
			continue
		}
		if e.writes() {
			results[i].Ref = e.id
		}
		edits = append(edits, e)
	}
	if len(edits) == 0 {
		return results
	}
	if err := c.file.write(ctx, edits); err != nil {
		for i := range results {
			if results[i].Err == nil {
				results[i] = connectors.Result{Err: fmt.Errorf("csv: %w", err)}
			}
		}
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
	e.values = append(make([]any, 0, len(fields)+1), e.id)
	for _, field := range fields {
		e.values = append(e.values, field.Value)
	}
	return e, nil
}

// Check finds out whether the file, or the folder it will be made in, may be written, without doing so.
func (c *connector) Check(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("csv: check: %w", err)
	}
	if err := c.file.check(); err != nil {
		return fmt.Errorf("csv: check: %w", err)
	}
	return nil
}
