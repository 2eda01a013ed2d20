package googlesheets

import (
	"context"
	"fmt"
	"slices"
	"sort"
	"time"

	"github.com/leadrelay/leadrelay/connectors"
	"github.com/leadrelay/leadrelay/internal/lead"
)

// write takes one turn: it reads the tab and brings the rows of all edits up to date at once. It returns an error for
// each edit and the leads of rows that were hit in their place; or one error, where all failed together.
func (c *connector) write(ctx context.Context, edits []edit) (errs []error, spoilt []string, err error) {
	if err := c.begin(ctx); err != nil {
		return nil, nil, fail("write", err)
	}
	defer c.end()
	before, err := c.read(ctx)
	if err != nil {
		return nil, nil, err
	}
	p := c.plan(before, edits)
	met, err := c.carryOut(ctx, p)
	if fault, _ := connectors.FaultOf(err); err != nil && fault == connectors.Setup {
		// A row that is gone is refused just as a tab that must not be written to.
		if now, failed := c.read(ctx); failed == nil && !now.same(before) {
			err = moved
		}
	}
	if err != nil {
		return nil, nil, err
	}
	return met.errs, c.repair(ctx, before, edits, met), nil
}

// moved is the fault of nobody: the next attempt reads the tab anew.
var moved = failure(connectors.Remote, "write", "rows or columns moved while they were written")

// staleAfter is how old what was read may be when it is written by. It is less than any lease lasts that the worker
// may have on the tab, and more than a process takes that is not paused.
const staleAfter = 5 * time.Second

// plan is what is to be sent, and what the answer says if nothing moved meanwhile.
type plan struct {
	by       time.Time // when the tab was as planned for
	requests []request
	columns  map[string]int // where ours are after the requests
	edits    []edit
	errs     []error      // of edits that are not tried, one for each edit
	rows     []plannedRow // that are written
	removals []removal
}

type plannedRow struct {
	edit  int
	row   int  // after the requests
	fresh bool // inserted by them
}

type removal struct {
	edit  int
	reply int // whose reply says whether the row was the lead's
}

func (c *connector) plan(t tab, edits []edit) plan {
	p := plan{by: t.at, edits: edits, errs: make([]error, len(edits)), columns: map[string]int{}}
	p.insertColumns(t, c.columns)

	rowsOf := map[string][]int{}
	for row, id := range t.ids {
		rowsOf[id] = append(rowsOf[id], row)
	}
	fields := c.runs(p.columns, false)
	written := []int{} // columns
	for _, name := range c.columns[1:] {
		written = append(written, p.columns[name])
	}
	locks := t.rowLocks()
	type doomed struct{ row, edit int }
	var fresh []int // edits
	var gone []doomed
	for i, e := range edits {
		rows := rowsOf[e.id]
		sort.Ints(rows)
		if slices.ContainsFunc(locks, func(l protectedRange) bool {
			return slices.ContainsFunc(rows, func(row int) bool {
				if e.op == put && row == rows[0] {
					return l.holds(row, written...)
				}
				return l.holds(row)
			})
		}) {
			p.errs[i] = failure(connectors.Lead, "write", "its row is protected: let the service account edit it, and replay the lead")
			continue
		}
		switch {
		case e.op == remove:
			for _, row := range rows {
				gone = append(gone, doomed{row, i})
			}
		case len(rows) == 0:
			if e.op == put {
				fresh = append(fresh, i)
			}
		default:
			p.rows = append(p.rows, plannedRow{edit: i, row: rows[0]})
			for _, r := range fields {
				p.update(t.id, rows[0], r.column, []rowData{r.of(e)})
			}
			if e.op == put {
				for _, row := range rows[1:] {
					gone = append(gone, doomed{row, i})
				}
			}
		}
	}
	p.insertRows(t, t.below(), fresh, c.runs(p.columns, true))
	if frozen := max(1, t.frozen); len(gone) > 0 && t.rows+len(fresh)-len(gone) <= frozen {
		// A row that is not frozen must be left: https://github.com/theoephraim/node-google-spreadsheet/issues/186
		p.requests = append(p.requests, request{InsertDimension: &insertDimension{
			Range: dimensionRange{t.id, "ROWS", t.rows + len(fresh), t.rows + len(fresh) + 1}, InheritFromBefore: true,
		}})
	}

	// From the last row up, so that each is still where it was read. All are above the inserted ones.
	slices.SortFunc(gone, func(a, b doomed) int { return b.row - a.row })
	for _, d := range gone {
		p.removals = append(p.removals, removal{d.edit, len(p.requests)})
		p.requests = append(p.requests,
			request{FindReplace: &findReplace{
				Find: edits[d.edit].id, MatchCase: true, MatchEntireCell: true,
				Range: gridRange{t.id, d.row, d.row + 1, p.columns[idColumn], p.columns[idColumn] + 1},
			}},
			request{DeleteDimension: &deleteDimension{dimensionRange{t.id, "ROWS", d.row, d.row + 1}}},
		)
		for k := range p.rows {
			if p.rows[k].row > d.row {
				p.rows[k].row--
			}
		}
	}
	if p.rows == nil && p.removals == nil {
		p.requests = nil // columns alone are not worth a call
	}
	return p
}

// insertColumns adds those of names that the header lacks: inserted, they overwrite nothing.
func (p *plan) insertColumns(t tab, names []string) {
	var missing []cell
	for _, name := range names {
		column, there := t.header[name]
		if !there {
			column = t.width + len(missing)
			missing = append(missing, textCell(name))
		}
		p.columns[name] = column
	}
	if missing == nil {
		return
	}
	p.requests = append(p.requests, request{InsertDimension: &insertDimension{
		Range:             dimensionRange{t.id, "COLUMNS", t.width, t.width + len(missing)},
		InheritFromBefore: t.width >= t.columns, // at the grid's end it must: https://github.com/nithinmurali/pygsheets/issues/46
	}})
	p.update(t.id, 0, t.width, []rowData{{missing}})
}

// insertRows adds a row for each of the edits, the first of them as row at.
func (p *plan) insertRows(t tab, at int, fresh []int, runs []run) {
	if len(fresh) == 0 {
		return
	}
	p.requests = append(p.requests, request{InsertDimension: &insertDimension{
		Range: dimensionRange{t.id, "ROWS", at, at + len(fresh)},
		// Formats come from the last lead's row, not from the header; but see insertColumns.
		InheritFromBefore: at > 1 || at >= t.rows,
	}})
	for _, r := range runs {
		rows := make([]rowData, len(fresh))
		for k, i := range fresh {
			rows[k] = r.of(p.edits[i])
		}
		p.update(t.id, at, r.column, rows)
	}
	for k, i := range fresh {
		p.rows = append(p.rows, plannedRow{edit: i, row: at + k, fresh: true})
	}
}

func (p *plan) update(sheet, row, column int, rows []rowData) {
	p.requests = append(p.requests, request{UpdateCells: &updateCells{
		Start: coordinate{sheet, row, column}, Rows: rows, Fields: "userEnteredValue",
	}})
}

// run is columns of ours that stand side by side. What stands between runs is not ours to write.
type run struct {
	column int
	fields []int // indexes into connector.columns; 0 is lead_id
}

func (c *connector) runs(at map[string]int, withID bool) []run {
	var fields []int
	for i := range c.columns {
		if i > 0 || withID {
			fields = append(fields, i)
		}
	}
	slices.SortFunc(fields, func(a, b int) int { return at[c.columns[a]] - at[c.columns[b]] })
	var found []run
	next := -1 // the column that would go on with the last run
	for _, field := range fields {
		column := at[c.columns[field]]
		if column != next {
			found = append(found, run{column: column})
		}
		last := &found[len(found)-1]
		last.fields = append(last.fields, field)
		next = column + 1
	}
	return found
}

func (r run) of(e edit) rowData {
	values := make([]cell, len(r.fields))
	for i, field := range r.fields {
		switch {
		case field == 0:
			values[i] = textCell(e.id)
		case e.op == put:
			values[i] = e.cells[field-1]
		}
	}
	return rowData{values}
}

// outcome is what a write met.
type outcome struct {
	errs         []error  // one for each edit
	overwritten  []string // the lead_ids of rows that were written in another's place, "" for rows without
	missed       bool     // a row was deleted that was not the lead's
	columnsMoved bool     // and nobody knows what was written where
}

// carryOut sends p, and compares what the answer says that it met with what was meant.
func (c *connector) carryOut(ctx context.Context, p plan) (outcome, error) {
	met := outcome{errs: p.errs}
	if len(p.requests) == 0 {
		return met, nil
	}
	// By both clocks: the wall clock may be set, and the other stands still while a machine sleeps.
	now := time.Now()
	if age := max(now.Sub(p.by), now.Round(0).Sub(p.by.Round(0))); age > staleAfter {
		return outcome{}, failure(connectors.Remote, "write", "not sent: the process was paused for %s", age.Round(time.Second))
	}
	answer, err := c.batchUpdate(ctx, batch{Requests: p.requests, Ranges: c.ranges(p)})
	if err != nil {
		c.guess = nil
		return outcome{}, err
	}
	header, ids := map[int]string{}, map[int]string{}
	answer.UpdatedSpreadsheet.cells(func(row, column int, text string) {
		if row == 0 {
			header[column] = text
		} else if column == p.columns[idColumn] {
			ids[row] = text
		}
	})
	for name, column := range p.columns {
		met.columnsMoved = met.columnsMoved || header[column] != name
	}
	if met.columnsMoved {
		for i, err := range met.errs {
			if err == nil {
				met.errs[i] = moved
			}
		}
		c.guess = nil
		return met, nil
	}
	for _, r := range p.rows {
		if got := ids[r.row]; got != p.edits[r.edit].id {
			met.errs[r.edit] = moved
			if !r.fresh {
				met.overwritten = append(met.overwritten, got)
			}
		}
	}
	for _, r := range p.removals {
		if answer.Replies[r.reply].FindReplace.OccurrencesChanged == 0 {
			met.errs[r.edit] = moved
			met.missed = true
		}
	}
	return met, nil
}

// ranges are the cells that tell what a write met: the header, and the lead_id of each row that was written.
func (c *connector) ranges(p plan) []string {
	rows := make([]int, len(p.rows))
	for i, r := range p.rows {
		rows[i] = r.row
	}
	sort.Ints(rows)
	ranges := []string{c.at("1:1")}
	column := letters(p.columns[idColumn])
	for i := 0; i < len(rows); {
		first := rows[i]
		last := first
		for i++; i < len(rows) && rows[i] <= last+1; i++ {
			last = rows[i]
		}
		ranges = append(ranges, c.at(fmt.Sprintf("%s%d:%s%d", column, first+1, column, last+1)))
	}
	return ranges
}

// repair finds out which leads' rows a write hit that are not in its batch (those that are will be pushed again),
// and says aloud what pushing them again does not undo; see the package comment.
func (c *connector) repair(ctx context.Context, before tab, edits []edit, met outcome) (spoilt []string) {
	if !met.columnsMoved && !met.missed && met.overwritten == nil {
		return nil
	}
	pushed := map[string]bool{}
	for _, e := range edits {
		pushed[e.id] = true
	}
	unnamed := 0
	var empties []edit
	for _, id := range met.overwritten {
		if _, ok := lead.ShardOf(id); !ok {
			unnamed++ // its text may be anything: not for the log
		} else if !pushed[id] {
			spoilt = append(spoilt, id)
			empties = append(empties, edit{op: empty, id: id})
		}
	}
	emptied := empties == nil
	if now, err := c.read(ctx); err == nil {
		if met.missed {
			vanished := c.vanished(before, now, pushed)
			spoilt = append(spoilt, vanished...)
			if len(vanished) == 0 {
				unnamed++
			}
		}
		if !emptied {
			again, err := c.carryOut(ctx, c.plan(now, empties))
			emptied = err == nil && !again.columnsMoved && again.overwritten == nil
		}
	} else if met.missed {
		unnamed++
	}
	if len(spoilt) > 0 || unnamed > 0 || met.columnsMoved { // else all who were hit are in the batch
		c.log.Error("the sheet was rearranged in the moment it was written to: these leads are pushed again, for what people had written look at the tab's version history",
			"leads", spoilt, "overwritten_emptied", emptied, "rows_without_lead_id", unnamed, "columns_moved", met.columnsMoved)
	}
	return spoilt
}

// vanished lists the leads of before that now lacks, but for those of the batch.
func (c *connector) vanished(before, now tab, pushed map[string]bool) []string {
	there := map[string]bool{}
	for _, id := range now.ids {
		there[id] = true
	}
	var ids []string
	for _, id := range before.ids {
		if _, ok := lead.ShardOf(id); ok && !there[id] && !pushed[id] {
			ids = append(ids, id)
		}
	}
	sort.Strings(ids)
	return ids
}
