package postgres

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/leadrelay/leadrelay/connectors"
)

// The fields whose columns a table that is made here has as times.
const (
	createdAt = "created_at"
	updatedAt = "updated_at"
)

// table is what a push must know of the table: its columns, in the order of connector.columns.
type table struct{ columns []column }

type column struct {
	category byte   // of its type: https://www.postgresql.org/docs/current/catalog-pg-type.html#CATALOG-TYPCATEGORY-TABLE
	typeName string // of a domain, the type below it
	notNull  bool
}

const (
	arrayCategory   = 'A'
	numericCategory = 'N'
	stringCategory  = 'S'
)

// describe tells of each column its name, type, and whether it is NOT NULL, ours to read and write, and unique by
// itself as ON CONFLICT wants it (https://www.postgresql.org/docs/current/sql-insert.html#SQL-ON-CONFLICT); and whether
// rows may be deleted. What ON CONFLICT reads of EXCLUDED needs SELECT, says the same page.
const describe = `
SELECT a.attname, t.typcategory, COALESCE(b.typname, t.typname), a.attnotnull,
	has_column_privilege(a.attrelid, a.attnum, 'SELECT') AND has_column_privilege(a.attrelid, a.attnum, 'INSERT')
		AND (a.attname = $2 OR has_column_privilege(a.attrelid, a.attnum, 'UPDATE')),
	(SELECT bool_and(i.indimmediate) FROM pg_index i WHERE i.indrelid = a.attrelid AND i.indisunique AND i.indisvalid
		AND i.indpred IS NULL AND i.indnkeyatts = 1 AND i.indkey[0] = a.attnum),
	has_table_privilege(a.attrelid, 'DELETE')
FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid LEFT JOIN pg_type b ON b.oid = t.typbasetype
WHERE a.attrelid = to_regclass($1) AND a.attnum > 0 AND NOT a.attisdropped`

// look finds out whether the table is as a push needs it, and says what is missing. It returns nil where there is no
// table, but one is to be made.
func (c *connector) look(ctx context.Context) (*table, error) {
	t, problems, err := c.inspect(ctx)
	switch {
	case err != nil:
		return nil, err
	case problems != nil:
		return nil, problems[0]
	}
	return t, nil
}

// inspect is look, with all that is missing. With problems the table is nil where its columns are not known.
func (c *connector) inspect(ctx context.Context) (*table, []error, error) {
	const what = "look at the table"
	results, err := c.call(ctx, what,
		statement{sql: `SELECT current_setting('transaction_read_only')`},
		statement{sql: describe, values: [][]byte{[]byte(c.name.Sanitize()), []byte(c.KeyColumn)}})
	if err != nil {
		return nil, nil, err
	}
	if string(results[0].Rows[0][0]) == "on" {
		c.pool.Reset() // the next connection may lead to the server that took over
		return nil, nil, failure(connectors.Setup, what, readOnly)
	}
	found, rows := map[string][][]byte{}, results[1].Rows
	for _, row := range rows {
		found[string(row[0])] = row
	}
	if len(found) == 0 {
		if c.CreateTable {
			return nil, nil, nil
		}
		return nil, nil, failure(connectors.Setup, what, "there is no table %s; to make it: %s", c.name.Sanitize(), c.definition())
	}
	t := &table{}
	var problems []error
	problem := func(format string, args ...any) {
		problems = append(problems, failure(connectors.Setup, what, format, args...))
	}
	var missing, forbidden []string
	for _, name := range c.columns {
		row, ok := found[name]
		if !ok {
			missing = append(missing, "ADD COLUMN "+c.columnDefinition(name, "UNIQUE"))
			continue
		}
		if !yes(row[4]) {
			forbidden = append(forbidden, quote(name))
		}
		t.columns = append(t.columns, column{category: row[1][0], typeName: string(row[2]), notNull: yes(row[3])})
	}
	if missing != nil {
		problem("columns are missing; to add them: ALTER TABLE %s %s", c.name.Sanitize(), strings.Join(missing, ", "))
	}
	if key, ok := found[c.KeyColumn]; ok {
		if key[1][0] != stringCategory {
			problem("column %s must be text: lead ids are", quote(c.KeyColumn))
		}
		if revision, ok := found[c.RevisionColumn]; ok && revision[1][0] != numericCategory {
			problem("column %s must be bigint", quote(c.RevisionColumn))
		}
		if !yes(key[5]) {
			problem("column %s must be unique by itself, by a constraint that is not DEFERRABLE; to make it so: ALTER TABLE %s ADD UNIQUE (%s)", quote(c.KeyColumn), c.name.Sanitize(), quote(c.KeyColumn))
		}
	}
	var withheld []string
	if forbidden != nil {
		withheld = append(withheld, "columns "+strings.Join(forbidden, ", ")+" may not be read and written")
	}
	if !yes(rows[0][6]) {
		withheld = append(withheld, "rows may not be deleted")
	}
	if withheld != nil {
		problem("%s; %s", strings.Join(withheld, ", and "), c.grant())
	}
	if missing != nil {
		return nil, problems, nil
	}
	return t, problems, nil
}

// mayCreate says whether the table could be made.
func (c *connector) mayCreate(ctx context.Context) error {
	const what = "look at the schema"
	var schema []byte
	if len(c.name) == 2 {
		schema = []byte(c.name[0])
	}
	results, err := c.call(ctx, what, statement{
		sql:    `SELECT has_schema_privilege(COALESCE($1::text, current_schema()::text), 'CREATE')`,
		values: [][]byte{schema},
	})
	if err == nil && !yes(results[0].Rows[0][0]) {
		err = c.mayNotCreate(what)
	}
	return err
}

// create makes the table. Of two who do so at once one may be refused in spite of IF NOT EXISTS, in several ways
// (https://github.com/psycopg/psycopg2/issues/1036), so they take turns.
func (c *connector) create(ctx context.Context) error {
	const what = "make the table"
	_, err := c.call(ctx, what, statement{sql: fmt.Sprintf("SELECT pg_advisory_xact_lock(%d)", turn)}, statement{sql: c.definition()})
	if codeOf(err) == "42501" {
		return c.mayNotCreate(what)
	}
	return err
}

// turn is the lock of those who make a table: https://www.postgresql.org/docs/current/explicit-locking.html#ADVISORY-LOCKS
const turn = 0x6c656164 // "lead"

func (c *connector) mayNotCreate(what string) error {
	return failure(connectors.Setup, what, "there is no table %s, and this user may not make it; to do so: %s", c.name.Sanitize(), c.definition())
}

func (c *connector) definition() string {
	columns := make([]string, len(c.columns))
	for i, name := range c.columns {
		columns[i] = c.columnDefinition(name, "PRIMARY KEY")
	}
	return fmt.Sprintf("CREATE TABLE IF NOT EXISTS %s (%s)", c.name.Sanitize(), strings.Join(columns, ", "))
}

// columnDefinition is that of a column made for leadrelay; unique is what the key's says beside its type.
func (c *connector) columnDefinition(name, unique string) string {
	switch name {
	case c.KeyColumn:
		return quote(name) + " text " + unique
	case c.RevisionColumn:
		return quote(name) + " bigint"
	case createdAt, updatedAt:
		return quote(name) + " timestamptz"
	default:
		return quote(name) + " text"
	}
}

func (c *connector) grant() string {
	return fmt.Sprintf("to allow it: GRANT SELECT, INSERT, UPDATE, DELETE ON %s TO %s", c.name.Sanitize(), quote(c.pool.Config().ConnConfig.User))
}

func quote(name string) string { return pgx.Identifier{name}.Sanitize() }

// yes is how the server writes true.
func yes(text []byte) bool { return string(text) == "t" }
