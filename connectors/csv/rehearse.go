package csv

import (
	"context"
	"fmt"
	"io"

	"github.com/leadrelay/leadrelay/connectors"
	"github.com/leadrelay/leadrelay/internal/lead"
	"github.com/leadrelay/leadrelay/internal/lockedfile"
)

// Rehearse shows the row that a push would write, below its header, in the file as it is now.
func (c *connector) Rehearse(_ context.Context, change lead.Change, _ string) ([]connectors.Rehearsed, error) {
	e, err := c.edit(change)
	if err != nil {
		return nil, fmt.Errorf("csv: %w", err)
	}
	s, err := c.file.look()
	if err != nil {
		return nil, fmt.Errorf("csv: %w", err)
	}
	before := s.numbersOf(e.id)
	s.edit([]edit{e})
	if !e.writes() {
		var gone []connectors.Rehearsed
		for _, number := range before {
			gone = append(gone, connectors.Rehearsed{Line: fmt.Sprintf("remove row %d of %s", number, c.file.Path())})
		}
		return gone, nil
	}
	verb := ""
	if before == nil {
		verb = "new "
	}
	var written []connectors.Rehearsed
	for _, number := range s.numbersOf(e.id) {
		written = append(written, connectors.Rehearsed{
			Line: fmt.Sprintf("%srow %d of %s", verb, number, c.file.Path()), Body: s.header + s.rows[number-2].text,
		})
	}
	return written, nil
}

// numbersOf are the numbers of a lead's rows, as spreadsheets count them.
func (s *sheet) numbersOf(id string) (numbers []int) {
	for i, r := range s.rows {
		if r.id == id {
			numbers = append(numbers, i+2)
		}
	}
	return numbers
}

// look reads the file without its lock, for which a file would have to be made.
func (f *file) look() (*sheet, error) {
	open, err := f.Check()
	if err != nil {
		return nil, err
	}
	if open == nil {
		return newSheet(f.columns, f.comma), nil
	}
	defer open.Close()
	content, err := io.ReadAll(open)
	if err != nil {
		return nil, lockedfile.Fault("read", err)
	}
	s, err := readSheet(string(content), f.columns, f.comma, f.bom)
	if err != nil {
		return nil, &connectors.Error{Fault: connectors.Setup, Err: fmt.Errorf("read: %w", err)}
	}
	return s, nil
}
