package postgres

import (
	"context"
	"fmt"
	"strings"

	"github.com/leadrelay/leadrelay/connectors"
	"github.com/leadrelay/leadrelay/internal/lead"
)

// Rehearse shows the statement of a push and its parameters. Until the table was looked at, its columns are taken for
// those of a table that is made here.
func (c *connector) Rehearse(_ context.Context, change lead.Change, _ string) ([]connectors.Rehearsed, error) {
	r, err := c.row(change)
	if err != nil {
		return nil, fail("write", err)
	}
	if r.remove {
		s := c.remove([]row{r})
		return []connectors.Rehearsed{{Line: "DELETE FROM " + c.name.Sanitize(), Body: s.shown()}}, nil
	}
	t := c.known.Load()
	if t == nil {
		t = &table{columns: make([]column, len(c.columns))}
	}
	s := c.upsert(t, []row{r})
	return []connectors.Rehearsed{{Line: "UPSERT INTO " + c.name.Sanitize(), Body: s.shown()}}, nil
}

// shown is a statement with its parameters below it, as comments.
func (s statement) shown() string {
	var text strings.Builder
	text.WriteString(s.sql)
	for i, value := range s.values {
		name := ""
		if i < len(s.columns) {
			name = " " + quote(s.columns[i])
		}
		if value == nil {
			fmt.Fprintf(&text, "\n-- $%d%s: NULL", i+1, name)
			continue
		}
		fmt.Fprintf(&text, "\n-- $%d%s: %s", i+1, name, strings.ReplaceAll(string(value), "\n", "\n--   "))
	}
	return text.String()
}
