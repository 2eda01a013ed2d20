package googlesheets

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/leadrelay/leadrelay/connectors"
)

// Check signs in, reads the header as a push would, and names what is protected from the service account of what every
// push writes. Whether the spreadsheet is shared with it as an editor or as a viewer, the Sheets API does not tell
// before something is written, and the Drive API, which does (files.get, capabilities.canEdit), asks for a right to
// files that nothing else here needs.
func (c *connector) Check(ctx context.Context) error {
	if err := c.begin(ctx); err != nil {
		return fail("check", err)
	}
	defer c.end()
	t, err := c.readHeader(ctx)
	if err != nil {
		return err
	}
	var problems []error
	protected := func(what string) {
		problems = append(problems, fail("check", &connectors.Error{Fault: connectors.Setup, Err: fmt.Errorf(
			"%s of the tab %q is protected: let the service account (client_email in its key) edit it, under Data, Protect sheets and ranges", what, c.Sheet)}))
	}
	absent := slices.DeleteFunc(slices.Clone(c.columns), func(name string) bool { _, there := t.header[name]; return there })
	locked := func(holds func(protectedRange) bool) bool { return slices.ContainsFunc(t.locks, holds) }
	if len(absent) > 0 && locked(func(l protectedRange) bool { return l.Range.StartRowIndex == 0 }) {
		protected("row 1, which lacks " + strings.Join(absent, ", ") + ",")
	}
	if locked(func(l protectedRange) bool {
		r := l.Range
		return r.StartColumnIndex == 0 && r.EndColumnIndex == 0 && (r.EndRowIndex == 0 || r.EndRowIndex >= t.rows)
	}) {
		protected("the end, where new leads go,")
	}
	for _, name := range c.columns {
		column, there := t.header[name]
		if there && locked(func(l protectedRange) bool {
			r := l.Range
			return r.EndColumnIndex > 0 && r.StartColumnIndex <= column && column < r.EndColumnIndex && (r.EndRowIndex == 0 || r.EndRowIndex >= t.rows)
		}) {
			protected("the column " + name)
		}
	}
	return errors.Join(problems...)
}

// RecordURL is where the spreadsheet is: which row a lead has, people may change at any time.
func (c *connector) RecordURL(string) string {
	return "https://docs.google.com/spreadsheets/d/" + c.SpreadsheetID + "/edit"
}
