package googlesheets

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/leadrelay/leadrelay/connectors"
)

// pageRows is how many rows of lead_ids one call reads: some 65 bytes each, of at most 1 MiB that the client takes.
const pageRows = 10_000

// shape is what the last read found; with it the next needs no call to find out where to look.
type shape struct {
	idColumn int
	rows     int // of the whole grid
}

// tab is what the tab looked like at one moment. Rows and columns count from 0, as in the API's requests.
type tab struct {
	id            int
	rows, columns int            // of the whole grid
	frozen        int            // rows
	width         int            // columns up to the last with a header
	header        map[string]int // the first column of each text in row 0
	ids           map[int]string // the lead_id of each row below the header that has one
	locks         []protectedRange
	at            time.Time // when it was so
}

// same says whether nobody rearranged the tab between two reads.
func (t tab) same(as tab) bool {
	return t.id == as.id && t.rows == as.rows && t.columns == as.columns && t.frozen == as.frozen &&
		maps.Equal(t.header, as.header) && maps.Equal(t.ids, as.ids) && slices.Equal(t.locks, as.locks)
}

// rowLocks are the rows of leads that people have protected from us, and not with them the place below where new leads
// go: where that is protected, no lead is to blame.
func (t tab) rowLocks() []protectedRange {
	below := t.below()
	return slices.DeleteFunc(slices.Clone(t.locks), func(l protectedRange) bool { return l.Range.EndRowIndex > below })
}

// holds says whether a row has a cell in the range; with columns, one in those.
func (l protectedRange) holds(row int, columns ...int) bool {
	r := l.Range
	if row < r.StartRowIndex || row >= r.EndRowIndex {
		return false
	}
	return columns == nil || slices.ContainsFunc(columns, func(column int) bool {
		return column >= r.StartColumnIndex && (column < r.EndColumnIndex || r.EndColumnIndex == 0)
	})
}

// below is the row under the last lead's.
func (t tab) below() int {
	below := 1
	for row := range t.ids {
		below = max(below, row+1)
	}
	return below
}

// idColumn is where the lead_ids are, or will be when there is a header.
func (t tab) idColumn() int { return t.header[idColumn] }

func newTab(s spreadsheet, column int) tab {
	p := s.Sheets[0].Properties
	t := tab{
		id: p.SheetID, rows: p.GridProperties.RowCount, columns: p.GridProperties.ColumnCount,
		frozen: p.GridProperties.FrozenRowCount,
		header: map[string]int{}, ids: map[int]string{}, at: time.Now(),
		locks: slices.DeleteFunc(s.Sheets[0].ProtectedRanges, func(l protectedRange) bool {
			return l.WarningOnly || l.RequestingUserCanEdit
		}),
	}
	s.cells(func(row, col int, text string) {
		if row == 0 {
			t.width = max(t.width, col+1)
			if first, known := t.header[text]; !known || col < first {
				t.header[text] = col
			}
		} else if col == column {
			t.ids[row] = text
		}
	})
	return t
}

// check refuses a tab that must not be written to.
func (t tab) check() error {
	_, named := t.header[idColumn]
	switch {
	case named:
		return nil
	case t.width > 0:
		return failure(connectors.Setup, "read", "row 1 has no lead_id: was that column renamed? Name one lead_id, or use an empty tab")
	case len(t.ids) > 0:
		return failure(connectors.Setup, "read", "row 1 is empty and there is something below: put lead_id into it, or use an empty tab")
	}
	return nil
}

// read finds out what the tab looks like now.
func (c *connector) read(ctx context.Context) (t tab, err error) {
	defer func() {
		if err != nil {
			c.guess = nil
		}
	}()
	if c.guess == nil {
		if t, err = c.readHeader(ctx); err != nil {
			return tab{}, err
		}
		c.guess = &shape{t.idColumn(), t.rows}
	}
	if t, err = c.readPage(ctx, 0); err != nil {
		return tab{}, err
	}
	if t.idColumn() != c.guess.idColumn {
		c.guess = &shape{t.idColumn(), t.rows}
		if t, err = c.readPage(ctx, 0); err != nil {
			return tab{}, err
		}
	}
	paged := c.guess.rows > pageRows
	c.guess.rows = t.rows
	for first := pageRows; paged && first < t.rows && t.idColumn() == c.guess.idColumn; first += pageRows {
		page, err := c.readPage(ctx, first)
		if err != nil {
			return tab{}, err
		}
		for row, id := range page.ids {
			t.ids[row] = id
		}
		page.ids = t.ids
		t = page
	}
	if t.idColumn() != c.guess.idColumn {
		return tab{}, failure(connectors.Remote, "read", "columns moved while they were read")
	}
	return t, t.check()
}

// readHeader is the small read.
func (c *connector) readHeader(ctx context.Context) (tab, error) {
	got, err := c.get(ctx, c.at("1:1"))
	if err != nil {
		return tab{}, err
	}
	t := newTab(got, 0)
	return t, t.check()
}

// readPage reads the header and the lead_ids from row first on: all of them where the guess says that they fit.
func (c *connector) readPage(ctx context.Context, first int) (tab, error) {
	column := letters(c.guess.idColumn)
	cells := column + ":" + column
	if c.guess.rows > pageRows {
		cells = fmt.Sprintf("%s%d:%s%d", column, first+1, column, min(first+pageRows, c.guess.rows))
	}
	got, err := c.get(ctx, c.at("1:1"), c.at(cells))
	if err != nil {
		return tab{}, err
	}
	return newTab(got, c.guess.idColumn), nil
}

// letters names a column in A1 notation.
func letters(column int) string {
	name := ""
	for n := column + 1; n > 0; n = (n - 1) / 26 {
		name = string(rune('A'+(n-1)%26)) + name
	}
	return name
}
