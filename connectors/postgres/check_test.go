package postgres

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/leadrelay/leadrelay/connectors"
)

// says are the problems of a check, each begun by what it looked at.
func says(t *testing.T, err error) (all []string) {
	t.Helper()
	for _, problem := range connectors.Problems(err) {
		if fault, _ := connectors.FaultOf(problem); fault != connectors.Setup {
			t.Errorf("the fault is %v: %v", fault, problem)
		}
		all = append(all, strings.TrimPrefix(problem.Error(), "postgres: "))
	}
	return all
}

func TestACheckNamesAllThatIsMissing(t *testing.T) {
	p := newPlace(t)
	p.exec(t, "CREATE TABLE "+p.table()+` (lead_id text, name integer, source text GENERATED ALWAYS AS ('x') STORED, revision text,
		number bigint GENERATED ALWAYS AS IDENTITY, since timestamptz NOT NULL DEFAULT now(), owner text NOT NULL)`)
	p.exec(t, "GRANT SELECT, INSERT, UPDATE ON "+p.table()+" TO "+user)
	got := says(t, p.open(t, nil, fields("name", "source")...).Check(context.Background()))
	table := pgx.Identifier(strings.Split(p.table(), ".")).Sanitize()
	want := []string{
		`look at the table: column "revision" must be bigint`,
		`look at the table: column "lead_id" must be unique by itself, by a constraint that is not DEFERRABLE; to make it so: ALTER TABLE ` + table + ` ADD UNIQUE ("lead_id")`,
		`look at the table: rows may not be deleted; to allow it: GRANT SELECT, INSERT, UPDATE, DELETE ON ` + table + ` TO "relay"`,
		`look at the columns: column "source" is generated and takes no value: take it out of fields`,
		`look at the columns: column "owner" must have a value and gets none: add it to fields, or give it a default; to do so: ALTER TABLE ` + table + ` ALTER COLUMN "owner" DROP NOT NULL`,
		`look at the columns: column "name" takes a number, and name is none: map something else to it, or take it out of fields`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("says:\n  %s\nwant:\n  %s", strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
}

func TestACheckOfMissingColumnsSaysTheRestAsWell(t *testing.T) {
	p := newPlace(t)
	p.exec(t, "CREATE TABLE "+p.table()+" (lead_id text PRIMARY KEY, revision bigint)")
	p.exec(t, "GRANT SELECT, INSERT, UPDATE ON "+p.table()+" TO "+user)
	got := says(t, p.open(t, nil, fields("name", "source")...).Check(context.Background()))
	if len(got) != 2 || !strings.Contains(got[0], `ADD COLUMN "name" text, ADD COLUMN "source" text`) || !strings.Contains(got[1], "rows may not be deleted") {
		t.Errorf("says %q", got)
	}
}
