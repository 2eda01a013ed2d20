package xlsx

import (
	"context"
	"fmt"
	"strings"

	"github.com/leadrelay/leadrelay/connectors"
	"github.com/leadrelay/leadrelay/internal/lead"
	"github.com/leadrelay/leadrelay/internal/lockedfile"
)

// Rehearse shows the cells that a push would write, each by its name and its column's, in the workbook as it is now.
func (c *connector) Rehearse(_ context.Context, change lead.Change, _ string) ([]connectors.Rehearsed, error) {
	e, err := c.edit(change)
	if err != nil {
		return nil, fmt.Errorf("xlsx: %w", err)
	}
	w, err := c.file.look()
	if err != nil {
		return nil, fmt.Errorf("xlsx: %w", err)
	}
	before := w.sheet.numbersOf(e.id)
	place := fmt.Sprintf("of the worksheet %s in %s", c.file.sheet, c.file.Path())
	var shown []connectors.Rehearsed
	if !e.writes() {
		for _, number := range before {
			shown = append(shown, connectors.Rehearsed{Line: fmt.Sprintf("empty row %d %s", number, place)})
		}
		return shown, nil
	}
	verb, numbers := "", before
	if left := w.sheet.edit([]edit{e}); left != nil {
		return nil, fmt.Errorf("xlsx: %w", full())
	}
	if numbers == nil {
		verb = "new "
		for number := range w.sheet.placed {
			numbers = append(numbers, number)
		}
	}
	for _, number := range numbers {
		var cells strings.Builder
		for i, cell := range e.cells {
			value := cell.value
			if cell.kind == boolCell {
				value = map[string]string{"1": "TRUE", "0": "FALSE"}[value]
			}
			fmt.Fprintf(&cells, "%s %s: %s\n", cellName(w.sheet.at[i], number), w.sheet.columns[i], value)
		}
		shown = append(shown, connectors.Rehearsed{Line: fmt.Sprintf("%srow %d %s", verb, number, place), Body: cells.String()})
	}
	return shown, nil
}

// numbersOf are the numbers of a lead's rows.
func (s *sheet) numbersOf(id string) (numbers []int) {
	for _, r := range s.rows {
		if r.id == id && r.number > 1 {
			numbers = append(numbers, r.number)
		}
	}
	return numbers
}

// look reads the workbook without its lock, for which a file would have to be made.
func (f *file) look() (*workbook, error) {
	open, err := f.Check()
	var w *workbook
	switch {
	case err != nil:
		return nil, err
	case open == nil:
		w, err = newWorkbook(f.sheet, f.columns)
	default:
		defer open.Close()
		info, failed := open.Stat()
		if failed != nil {
			return nil, lockedfile.Fault("read", failed)
		}
		w, err = f.read(open, info)
	}
	if err != nil {
		return nil, unfit(err)
	}
	return w, nil
}
