package postgres

import (
	"context"
	"errors"

	"github.com/leadrelay/leadrelay/connectors"
)

// Check looks at the table as a push would, and at what a push finds out by being refused: it says all that is missing.
func (c *connector) Check(ctx context.Context) error {
	ctx, cancel := within(ctx, c.Timeout)
	defer cancel()
	t, problems, err := c.inspect(ctx)
	switch {
	case err != nil:
		return err
	case t == nil && problems == nil:
		return c.mayCreate(ctx)
	}
	refused, err := c.refusals(ctx, t)
	if err != nil {
		return err
	}
	return errors.Join(append(problems, refused...)...)
}

// demands tells of each column its name, whether each row must bring a value for it, and whether none may: it is
// generated (https://www.postgresql.org/docs/current/catalog-pg-attribute.html).
const demands = `
SELECT attname, attnotnull AND NOT atthasdef AND attidentity = '', attgenerated <> '' OR attidentity = 'a'
FROM pg_attribute WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped ORDER BY attnum`

// refusals says which columns every lead would be refused for.
func (c *connector) refusals(ctx context.Context, t *table) (problems []error, err error) {
	const what = "look at the columns"
	results, err := c.call(ctx, what, statement{sql: demands, values: [][]byte{[]byte(c.name.Sanitize())}})
	if err != nil {
		return nil, err
	}
	ours := map[string]bool{}
	for _, name := range c.columns {
		ours[name] = true
	}
	for _, row := range results[0].Rows {
		switch name := string(row[0]); {
		case ours[name] && yes(row[2]):
			problems = append(problems, failure(connectors.Setup, what, "column %s is generated and takes no value: take it out of fields", quote(name)))
		case !ours[name] && yes(row[1]):
			problems = append(problems, failure(connectors.Setup, what,
				"column %s must have a value and gets none: add it to fields, or give it a default; to do so: ALTER TABLE %s ALTER COLUMN %s DROP NOT NULL", quote(name), c.name.Sanitize(), quote(name)))
		}
	}
	if t == nil {
		return problems, nil
	}
	for i, rule := range c.fields.Rules() {
		column := t.columns[i+1] // the key goes before them
		if rule.Value != nil && column.category != numericCategory {
			continue // the server reads many texts as a truth or a time
		}
		if why := rule.Misfit(column.takes()); why != "" {
			problems = append(problems, failure(connectors.Setup, what, "column %s %s: map something else to it, or take it out of fields", quote(rule.To), why))
		}
	}
	return problems, nil
}

// takes is what values the column takes, as connectors.FieldRule.Misfit reads it.
func (c column) takes() any {
	switch c.category {
	case numericCategory:
		return "number"
	case 'B':
		return "bool"
	case 'D':
		return "date"
	}
	return nil
}
