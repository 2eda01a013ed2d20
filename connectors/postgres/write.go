package postgres

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/leadrelay/leadrelay/connectors"
	"github.com/leadrelay/leadrelay/internal/lead"
)

// row is what a change wants of one row of the table.
type row struct {
	item   int // of the batch
	id     string
	remove bool
	values []any // in the order of connector.columns
}

func (c *connector) row(change lead.Change) (row, error) {
	l := change.Lead
	r := row{id: l.ID, remove: change.Op == lead.Delete}
	if r.remove {
		return r, nil
	}
	fields, err := c.fields.Apply(l)
	if err != nil {
		return row{}, err
	}
	r.values = append(make([]any, 0, len(c.columns)), l.ID)
	for _, field := range fields {
		r.values = append(r.values, field.Value)
	}
	if c.RevisionColumn != "" {
		r.values = append(r.values, l.Revision)
	}
	return r, nil
}

// put writes rows and calls failed with each that could not be.
func (c *connector) put(ctx context.Context, rows []row, failed func(row, error)) {
	t := c.known.Load()
	var err error
	if t != nil {
		err = c.write(ctx, t, rows)
	}
	if t == nil || refused(err) {
		// It was not looked at yet, or perhaps it has changed since.
		if t, err = c.prepare(ctx); err != nil {
			for _, r := range rows {
				failed(r, err)
			}
			return
		}
		c.known.Store(t)
		err = c.write(ctx, t, rows)
	}
	c.divide(ctx, t, rows, err, failed)
}

// parts is how many parts of a refused batch are tried next. More of them find a bad row in fewer steps, each of which
// may have to wait for a lock; fewer, in fewer statements.
const parts = 8

// divide goes on where a write of rows ended with err: what may be the matter with one row alone is tried in parts.
func (c *connector) divide(ctx context.Context, t *table, rows []row, err error, failed func(row, error)) {
	switch {
	case err == nil:
	case len(rows) == 1 || !divisible(err):
		for _, r := range rows {
			failed(r, err)
		}
	default:
		for part := range slices.Chunk(rows, (len(rows)+parts-1)/parts) {
			c.divide(ctx, t, part, c.write(ctx, t, part), failed)
		}
	}
}

// prepare looks at the table, and makes it where it is missing.
func (c *connector) prepare(ctx context.Context) (*table, error) {
	t, err := c.look(ctx)
	if t != nil || err != nil {
		return t, err
	}
	if err := c.create(ctx); err != nil {
		return nil, err
	}
	if t, err = c.look(ctx); t == nil && err == nil {
		err = failure(connectors.Remote, "make the table", "it is gone again")
	}
	return t, err
}

// write makes the table match all rows, or changes nothing.
func (c *connector) write(ctx context.Context, t *table, rows []row) error {
	const what = "write"
	var kept, removed []row
	for _, r := range rows {
		if r.remove {
			removed = append(removed, r)
		} else {
			kept = append(kept, r)
		}
	}
	var statements []statement
	if kept != nil {
		statements = append(statements, c.upsert(t, kept))
	}
	if removed != nil {
		statements = append(statements, c.remove(removed))
	}
	results, err := c.call(ctx, what, statements...)
	if err == nil && kept != nil && results[0].CommandTag.RowsAffected() < int64(len(kept)) {
		return failure(connectors.Lead, what, "the table has a newer revision of this lead, or a trigger keeps it out; "+
			"if leadrelay was set back to an older state, delete the row and replay the lead")
	}
	return err
}

// upsert leaves it to the server to read each parameter as its column's type, which it does where the parameters of
// VALUES go straight into a table: https://www.postgresql.org/docs/current/sql-values.html
func (c *connector) upsert(t *table, rows []row) statement {
	names := make([]string, len(c.columns))
	for i, name := range c.columns {
		names[i] = quote(name)
	}
	s := statement{columns: c.columns}
	var sql strings.Builder
	fmt.Fprintf(&sql, "INSERT INTO %s AS t (%s) VALUES ", c.name.Sanitize(), strings.Join(names, ", "))
	for i, r := range rows {
		separator := ", ("
		if i == 0 {
			separator = "("
		}
		for k, value := range r.values {
			s.values = append(s.values, t.columns[k].parameter(value))
			sql.WriteString(separator + "$" + strconv.Itoa(len(s.values)))
			separator = ", "
		}
		sql.WriteString(")")
	}
	fmt.Fprintf(&sql, " ON CONFLICT (%s) DO UPDATE SET ", names[0])
	for i, name := range names[1:] {
		if i > 0 {
			sql.WriteString(", ")
		}
		sql.WriteString(name + " = EXCLUDED." + name)
	}
	if c.RevisionColumn != "" {
		fmt.Fprintf(&sql, " WHERE COALESCE(t.%[1]s, 0) <= EXCLUDED.%[1]s", quote(c.RevisionColumn))
	}
	s.sql = sql.String()
	return s
}

func (c *connector) remove(rows []row) statement {
	ids := make([]any, len(rows))
	for i, r := range rows {
		ids[i] = r.id
	}
	return statement{
		sql:    fmt.Sprintf("DELETE FROM %s WHERE %s = ANY ($1::text[])", c.name.Sanitize(), quote(c.KeyColumn)),
		values: [][]byte{arrayOf(ids...)},
	}
}

// statement is one SQL command and its parameters, as texts; nil is NULL.
type statement struct {
	sql     string
	values  [][]byte
	columns []string // what the values are of, in turn
}

// What part of a push's timeout one statement may take, and may wait for a lock: what it is not given is for its parts.
const (
	statementShare = 2
	lockShare      = 10
)

// call carries statements out as one transaction, in one round trip, and tells the server how long each may take. what
// names the call in errors.
func (c *connector) call(ctx context.Context, what string, statements ...statement) ([]*pgconn.Result, error) {
	batch := &pgconn.Batch{}
	limit := func(share int64) []byte {
		return strconv.AppendInt(nil, max(1, min(math.MaxInt32, c.Timeout.Milliseconds()/share)), 10)
	}
	batch.ExecParams(`SELECT set_config('statement_timeout', $1, true), set_config('lock_timeout', $2, true)`,
		[][]byte{limit(statementShare), limit(lockShare)}, nil, nil, nil)
	for _, s := range statements {
		batch.ExecParams(s.sql, s.values, nil, nil, nil)
	}
	if err := ctx.Err(); err != nil {
		return nil, fail(what, notSent(err))
	}
	conn, err := c.pool.Acquire(ctx)
	if err != nil {
		return nil, fail("connect", c.unconnected(err))
	}
	defer conn.Release()
	if err := ctx.Err(); err != nil {
		return nil, fail(what, notSent(err))
	}
	results, err := conn.Conn().PgConn().ExecBatch(ctx, batch).ReadAll()
	var answer *pgconn.PgError
	switch {
	case err == nil:
		return results[1:], nil
	case errors.As(err, &answer):
		if answer.Code == codeReadOnly {
			c.pool.Reset() // the next connection may lead to the server that took over
		}
		return nil, fail(what, refusal(answer, statements))
	}
	return nil, fail(what, unanswered(err))
}
