package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/leadrelay/leadrelay/connectors"
	"github.com/leadrelay/leadrelay/connectors/connectortest"
	"github.com/leadrelay/leadrelay/internal/lead"
)

// fields are rules that give each column the lead's member or custom field of its name.
func fields(names ...string) []connectors.FieldRule {
	var rules []connectors.FieldRule
	for _, name := range names {
		rules = append(rules, connectors.FieldRule{To: name, From: name})
	}
	return rules
}

// open opens a connector to p's table; rules are the kind's own where there are none, settings override.
func (p place) open(t testing.TB, settings map[string]any, rules ...connectors.FieldRule) *connector {
	t.Helper()
	if rules == nil {
		rules = Kind.Fields
	}
	mapping, err := connectors.NewMapping(rules)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]any{"url": p.url(), "table": p.table()}
	maps.Copy(all, settings)
	opened, err := Kind.Open(all, connectors.Env{Name: "warehouse", Fields: mapping})
	if err != nil {
		t.Fatal(err)
	}
	c := opened.(*connector)
	t.Cleanup(func() { c.Close() })
	return c
}

func push(c *connector, change lead.Change) error {
	_, err := c.Push(context.Background(), change, "")
	return err
}

func pushed(t testing.TB, c *connector, changes ...lead.Change) {
	t.Helper()
	for _, change := range changes {
		if err := push(c, change); err != nil {
			t.Fatalf("%s: %v", change.Op, err)
		}
	}
}

func batch(c *connector, changes ...lead.Change) []connectors.Result {
	items := make([]connectors.Item, len(changes))
	for i := range changes {
		items[i].Change = changes[i]
	}
	return c.PushBatch(context.Background(), items)
}

func create(i int) lead.Change { return connectortest.Created(connectortest.Sample(i)) }
func update(i int) lead.Change {
	return connectortest.Updated(connectortest.Edited(connectortest.Sample(i)))
}
func remove(i int) lead.Change { return connectortest.Deleted(connectortest.Sample(i)) }

// with is the creation of a lead that has these custom fields.
func with(i int, custom map[string]any) lead.Change {
	l := connectortest.Sample(i)
	l.Custom = custom
	return connectortest.Created(l)
}

// wantFault checks whose an error is, what it says, and that nothing of the samples, nor the password, shows in it.
func wantFault(t testing.TB, err error, want connectors.Fault, texts ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want a %v fault", want)
	}
	if got, _ := connectors.FaultOf(err); got != want {
		t.Fatalf("got a %v fault, want %v: %v", got, want, err)
	}
	for _, text := range append(texts, "postgres: ") {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("%q is not in: %v", text, err)
		}
	}
	for _, secret := range []string{password, encoded, "battery", "secret word", "Zenobia", "zenobia", "Quillfeather"} {
		if strings.Contains(err.Error(), secret) {
			t.Errorf("%q shows in: %v", secret, err)
		}
	}
}

// text is a column of a lead's row as text, "NULL" where it is that.
func (p place) text(t testing.TB, i int, column string) string {
	t.Helper()
	sql := fmt.Sprintf("SELECT COALESCE(%s::text, 'NULL') FROM %s WHERE lead_id = $1", pgx.Identifier{column}.Sanitize(), p.table())
	return value[string](t, p.server, sql, connectortest.Sample(i).ID)
}

func (p place) count(t testing.TB) int {
	t.Helper()
	return len(p.Records())
}

func TestTheTableIsMadeAsItsReaderWantsIt(t *testing.T) {
	p := newPlace(t)
	c := p.open(t, nil)
	pushed(t, c, create(1), update(1), create(2), remove(2))
	rows, err := p.admin.Query(context.Background(), `SELECT attname || ' ' || format_type(atttypid, atttypmod) FROM pg_attribute
		WHERE attrelid = $1::text::regclass AND attnum > 0 ORDER BY attnum`, p.table())
	if err != nil {
		t.Fatal(err)
	}
	columns, err := pgx.CollectRows(rows, pgx.RowTo[string])
	want := []string{"lead_id text", "name text", "email text", "source text", "note text",
		"created_at timestamp with time zone", "updated_at timestamp with time zone", "revision bigint"}
	if err != nil || !slices.Equal(columns, want) {
		t.Errorf("got %q, %v; want %q", columns, err, want)
	}
	edited := connectortest.Edited(connectortest.Sample(1))
	got := p.Records()
	if len(got) != 1 || !maps.Equal(got[0].Fields, map[string]string{
		"lead_id": edited.ID, "name": edited.Name, "email": edited.Email, "source": edited.Source, "note": edited.Note,
		"created_at": "2026-03-14T15:09:26Z", "updated_at": "2026-03-14T15:10:26Z", "revision": "2",
	}) {
		t.Errorf("got %q", got)
	}
}

func TestAnExistingTableKeepsWhatIsTheOperators(t *testing.T) {
	p := newPlace(t)
	p.make(t, "id bigserial PRIMARY KEY, lead_id text UNIQUE, name text, owner text DEFAULT 'nobody', revision bigint")
	p.exec(t, "GRANT USAGE ON SEQUENCE "+p.schema+".leads_id_seq TO "+user)
	p.exec(t, "INSERT INTO "+p.table()+" (name, owner) VALUES ('of another source', 'somebody')")
	c := p.open(t, nil, fields("name")...)
	pushed(t, c, create(1), create(2))
	p.exec(t, "UPDATE "+p.table()+" SET owner = 'Ann' WHERE lead_id = $1", connectortest.Sample(1).ID)
	pushed(t, c, update(1), remove(2))
	if owner := p.text(t, 1, "owner"); owner != "Ann" {
		t.Errorf("the owner is %q", owner)
	}
	if n := value[int](t, p.server, "SELECT count(*) FROM "+p.table()); n != 2 {
		t.Errorf("%d rows, want the lead's and the operator's own", n)
	}
}

func TestT25WhatTheTableLacksIsNamedWithTheStatementThatAddsIt(t *testing.T) {
	for name, row := range map[string]struct {
		table    string // "": there is none
		settings map[string]any
		want     string
	}{
		"the table":              {"", map[string]any{"create_table": false}, "there is no table"},
		"two columns":            {"lead_id text PRIMARY KEY, source text", nil, `ADD COLUMN "name" text, ADD COLUMN "revision" bigint`},
		"the key":                {"name text, source text, revision bigint", nil, `ADD COLUMN "lead_id" text UNIQUE`},
		"a unique key":           {"lead_id text, name text, source text, revision bigint", nil, "must be unique"},
		"a key unique by itself": {"lead_id text, name text, source text, revision bigint, UNIQUE (lead_id, name)", nil, "must be unique"},
		"a key checked at once":  {"lead_id text UNIQUE DEFERRABLE, name text, source text, revision bigint", nil, "must be unique"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t)
			if row.table != "" {
				p.make(t, row.table)
				if strings.Contains(row.table, "lead_id") {
					p.exec(t, "INSERT INTO "+p.table()+" (lead_id) VALUES ('of-another')")
				}
			}
			c := p.open(t, row.settings, fields("name", "source")...)
			err := c.Check(context.Background())
			wantFault(t, err, connectors.Setup, row.want)
			wantFault(t, push(c, create(1)), connectors.Setup, row.want)
			wantFault(t, push(c, remove(1)), connectors.Setup, row.want)

			if name == "a key checked at once" {
				return // that constraint must go, and what hangs on it only the operator knows
			}
			_, remedy, ok := strings.Cut(err.Error(), ": CREATE")
			if ok {
				remedy = "CREATE" + remedy
			} else {
				_, remedy, _ = strings.Cut(err.Error(), ": ALTER")
				remedy = "ALTER" + remedy
			}
			p.exec(t, remedy)
			p.exec(t, "GRANT SELECT, INSERT, UPDATE, DELETE ON "+p.table()+" TO "+user)
			if err := c.Check(context.Background()); err != nil {
				t.Errorf("after %s: %v", remedy, err)
			}
			pushed(t, c, create(1), update(1))
			if got := p.text(t, 1, "source"); got != "website" {
				t.Errorf("the source is %q", got)
			}
		})
	}
}

func TestKeyAndRevisionMustHaveTypesForThem(t *testing.T) {
	p := newPlace(t)
	p.make(t, "lead_id bigint PRIMARY KEY, name text, revision text")
	wantFault(t, push(p.open(t, nil, fields("name")...), create(1)), connectors.Setup, `"lead_id" must be text`)
	p.exec(t, "ALTER TABLE "+p.table()+" ALTER lead_id TYPE text")
	wantFault(t, push(p.open(t, nil, fields("name")...), create(1)), connectors.Setup, `"revision" must be bigint`)
	pushed(t, p.open(t, map[string]any{"revision": ""}, fields("name")...), create(1))
}

func TestMissingPrivilegesAreNamedWithTheStatementThatGivesThem(t *testing.T) {
	for name, privileges := range map[string]string{
		"none":                  "",
		"no delete":             "SELECT, INSERT, UPDATE",
		"no select":             "INSERT, UPDATE, DELETE",
		"no update of a column": "SELECT, INSERT, UPDATE (source, revision), DELETE",
		"no insert of a column": "SELECT, INSERT (lead_id, source, revision), UPDATE, DELETE",
		"only what is needed":   "SELECT (lead_id, name, source, revision), INSERT (lead_id, name, source, revision), UPDATE (name, source, revision), DELETE",
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t)
			p.exec(t, "CREATE TABLE "+p.table()+" (lead_id text PRIMARY KEY, name text, source text, revision bigint, other text)")
			if privileges != "" {
				p.exec(t, "GRANT "+privileges+" ON "+p.table()+" TO "+user)
			}
			c := p.open(t, nil, fields("name", "source")...)
			if name != "only what is needed" {
				err := c.Check(context.Background())
				wantFault(t, err, connectors.Setup, "GRANT SELECT, INSERT, UPDATE, DELETE ON ")
				wantFault(t, push(c, create(1)), connectors.Setup, "GRANT")
				_, remedy, _ := strings.Cut(err.Error(), ": GRANT")
				p.exec(t, "GRANT"+remedy)
			}
			if err := c.Check(context.Background()); err != nil {
				t.Error(err)
			}
			pushed(t, c, create(1), update(1), remove(1))
		})
	}
}

func TestATableThatMayNotBeMadeIsNamedWithTheStatementThatMakesIt(t *testing.T) {
	p := newPlace(t)
	p.exec(t, "ALTER SCHEMA "+p.schema+" OWNER TO postgres")
	p.exec(t, "GRANT USAGE ON SCHEMA "+p.schema+" TO "+user)
	c := p.open(t, nil)
	err := c.Check(context.Background())
	wantFault(t, err, connectors.Setup, "there is no table", "CREATE TABLE")
	wantFault(t, push(c, create(1)), connectors.Setup, "there is no table", "CREATE TABLE")
	_, remedy, _ := strings.Cut(err.Error(), "to do so: ")
	p.exec(t, remedy)
	p.exec(t, "GRANT SELECT, INSERT, UPDATE, DELETE ON "+p.table()+" TO "+user)
	pushed(t, c, create(1))

	nowhere := p.open(t, map[string]any{"table": "no_such_schema.leads"})
	wantFault(t, nowhere.Check(context.Background()), connectors.Setup, "there is no such schema")
	wantFault(t, push(nowhere, create(1)), connectors.Setup, "there is no such schema")
}

func TestCheckMakesNothing(t *testing.T) {
	p := newPlace(t)
	if err := p.open(t, nil).Check(context.Background()); err != nil {
		t.Error(err)
	}
	if value[bool](t, p.server, "SELECT to_regclass($1) IS NOT NULL", p.table()) {
		t.Error("it made the table")
	}
}

func TestATableThatChangesIsSeen(t *testing.T) {
	p := newPlace(t)
	c := p.open(t, nil, fields("name", "phone")...)
	pushed(t, c, create(1))
	p.exec(t, "DROP TABLE "+p.table())
	pushed(t, c, create(2), remove(1))
	if n := p.count(t); n != 1 {
		t.Errorf("%d rows in the table that was made anew", n)
	}
	// What was rendered as text must now be JSON.
	p.exec(t, "ALTER TABLE "+p.table()+" ALTER phone TYPE jsonb USING to_jsonb(phone)")
	pushed(t, c, update(2))
	if got := p.text(t, 2, "phone"); got != `"+44 20 7946 0002"` {
		t.Errorf("got %s", got)
	}
	p.exec(t, "ALTER TABLE "+p.table()+" DROP COLUMN phone")
	wantFault(t, push(c, create(3)), connectors.Setup, `ADD COLUMN "phone" text`)
	p.exec(t, "DROP TABLE "+p.table())
	p.exec(t, "CREATE VIEW "+p.table()+" AS SELECT ''::text AS lead_id, ''::text AS name, ''::text AS phone, 1 AS revision")
	wantFault(t, push(c, create(3)), connectors.Setup, "must be unique")
	p.exec(t, "DROP VIEW "+p.table())
	pushed(t, c, create(3))
}

func TestValuesBecomeWhatTheColumnsAre(t *testing.T) {
	p := newPlace(t)
	p.exec(t, "CREATE TYPE "+p.schema+".mood AS ENUM ('glad', 'sad')")
	p.exec(t, "CREATE DOMAIN "+p.schema+".parcel AS jsonb")
	p.make(t, `lead_id text PRIMARY KEY, revision integer, an_integer integer, a_numeric numeric(10,2), a_float double precision, a_bool boolean,
		a_time timestamptz, a_date date, a_jsonb jsonb, a_json json, a_domain `+p.schema+`.parcel, an_array text[], integers bigint[], a_word varchar(5),
		an_enum `+p.schema+`.mood, a_text text, a_required text NOT NULL, bytes bytea`)
	columns := []string{"an_integer", "a_numeric", "a_float", "a_bool", "a_time", "a_date", "a_jsonb", "a_json", "a_domain", "an_array",
		"integers", "a_word", "an_enum", "a_text", "a_required"}
	c := p.open(t, nil, fields(columns...)...)
	list := []any{"one", json.Number("2"), nil, `th"r\ee`, "NULL", true}
	object := map[string]any{"city": "Zürich", "<tag>": []any{}}
	for i, row := range []struct {
		column string
		value  any
		want   string
	}{
		{"an_integer", "1500", "1500"},
		{"an_integer", json.Number("-7"), "-7"},
		{"an_integer", "", "NULL"},
		{"a_numeric", "1500", "1500.00"},
		{"a_numeric", json.Number("1e3"), "1000.00"},
		{"a_float", json.Number("0.5"), "0.5"},
		{"a_bool", true, "true"},
		{"a_bool", "no", "false"},
		{"a_bool", "", "NULL"},
		{"a_time", "2026-03-14T15:09:26+01:00", "2026-03-14 14:09:26+00"},
		{"a_date", "2026-03-14", "2026-03-14"},
		{"a_jsonb", object, `{"city": "Zürich", "<tag>": []}`},
		{"a_jsonb", list, `["one", 2, null, "th\"r\\ee", "NULL", true]`},
		{"a_jsonb", "a text", `"a text"`},
		{"a_jsonb", json.Number("12345678901234567890.50"), "12345678901234567890.50"},
		{"a_jsonb", "nul\x00 and \\u0000", `"nul and \\u0000"`},
		{"a_jsonb", []any{map[string]any{"n\x00ul": "\x00"}}, `[{"nul": ""}]`},
		{"a_json", false, "false"},
		{"a_domain", object, `{"city": "Zürich", "<tag>": []}`},
		{"an_array", list, `{one,2,NULL,"th\"r\\ee","NULL",true}`},
		{"an_array", "alone, {with} \"marks\"", `{"alone, {with} \"marks\""}`},
		{"an_array", []any{}, "{}"},
		{"an_array", []any{[]any{"x"}, object}, `{x,"{\"<tag>\":[],\"city\":\"Zürich\"}"}`},
		{"integers", []any{json.Number("1"), "22"}, "{1,22}"},
		{"a_word", "12345", "12345"},
		{"an_enum", "glad", "glad"},
		{"a_text", list, `one, 2, , th"r\ee, NULL, true`},
		{"a_text", object, `{"<tag>":[],"city":"Zürich"}`},
		{"a_text", json.Number("1500.0"), "1500.0"},
		{"a_text", "a\x00b\x01c\xff\r\n\td", "abc\uFFFD\n\td"},
		{"a_text", "NULL", "NULL"},
		{"a_text", "", "NULL"},
		{"a_text", []any{}, "NULL"},
		{"an_integer", []any{}, "NULL"},
		{"a_jsonb", []any{}, "[]"},
		{"a_jsonb", "", "NULL"},
		{"an_array", "", "NULL"},
		{"a_required", []any{}, ""},
		{"a_required", "x", "x"},
		{"a_required", "", ""},
		{"a_required", nil, ""},
	} {
		custom := map[string]any{}
		if row.value != nil {
			custom[row.column] = row.value
		}
		if err := push(c, with(i, custom)); err != nil {
			t.Errorf("%v into %s: %v", row.value, row.column, err)
			continue
		}
		if got := p.text(t, i, row.column); got != row.want {
			t.Errorf("%v into %s: got %s, want %s", row.value, row.column, got, row.want)
		}
	}
}

func TestWhatDoesNotFitIsTheLeadsFaultAndNamesItsColumnAndNoValue(t *testing.T) {
	p := newPlace(t)
	p.make(t, `lead_id text PRIMARY KEY, revision bigint, an_integer integer, a_small smallint, a_numeric numeric(5,2), a_time timestamptz, a_json jsonb,
		integers int[], a_word varchar(5), a_required integer NOT NULL DEFAULT 0, "only" text UNIQUE, positive int CONSTRAINT "must be positive" CHECK (positive > 0)`)
	p.exec(t, "CREATE FUNCTION "+p.schema+".complain() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'secret word of %', NEW.a_word; END $$")
	p.exec(t, "CREATE TRIGGER complain BEFORE INSERT ON "+p.table()+" FOR EACH ROW WHEN (NEW.a_word = 'ban') EXECUTE FUNCTION "+p.schema+".complain()")
	c := p.open(t, nil, fields("an_integer", "a_small", "a_numeric", "a_time", "a_json", "integers", "a_word", "a_required", "only", "positive")...)
	good := map[string]any{"a_required": "1", "only": "secret word"}
	pushed(t, c, with(1, good))
	for name, row := range map[string]struct {
		custom map[string]any
		want   string
	}{
		"a text as a number":     {map[string]any{"an_integer": "secret word"}, `22P02: a value does not fit its column's type (column "an_integer")`},
		"a large number":         {map[string]any{"a_small": "70000"}, `22003: a number is too large for its column (column "a_small")`},
		"a larger number":        {map[string]any{"a_numeric": "70000"}, `22003`},
		"no time":                {map[string]any{"a_time": "secret word"}, `(column "a_time")`},
		"no such day":            {map[string]any{"a_time": "2026-02-30"}, `22008: a value does not fit its column's type (column "a_time")`},
		"a large number as JSON": {map[string]any{"a_json": json.Number("1e400000")}, `(column "a_json")`},
		"texts as numbers":       {map[string]any{"integers": []any{"secret word"}}, `(column "integers")`},
		"a long text":            {map[string]any{"a_word": "secret word"}, `22001: a text is too long for its column (character varying(5))`},
		"nothing":                {map[string]any{"a_required": ""}, `23502: the column must not be empty (column "a_required")`},
		"twice the same":         {map[string]any{"only": "secret word"}, `23505: another row has the same value where it must be unique (constraint "leads_only_key")`},
		"a check":                {map[string]any{"positive": "-1"}, `23514: a check does not allow a value (constraint "must be positive")`},
		"a trigger":              {map[string]any{"a_word": "ban"}, `P0001: a trigger refuses it`},
	} {
		custom := map[string]any{"a_required": "1"}
		maps.Copy(custom, row.custom)
		t.Run(name, func(t *testing.T) {
			wantFault(t, push(c, with(2, custom)), connectors.Lead, row.want)
		})
	}
	p.exec(t, "CREATE TABLE "+p.schema+".orders (lead_id text REFERENCES "+p.table()+")")
	p.exec(t, "INSERT INTO "+p.schema+".orders VALUES ($1)", connectortest.Sample(1).ID)
	results := batch(c, remove(1), with(3, map[string]any{"a_required": "1"}), remove(4))
	wantFault(t, results[0].Err, connectors.Lead, `23503: a foreign key does not allow it (constraint "orders_lead_id_fkey")`)
	if results[1].Err != nil || results[2].Err != nil || p.count(t) != 2 {
		t.Errorf("got %+v and %d rows", results, p.count(t))
	}
}

func TestAConstraintThatIsOnlyCheckedAtTheCommitIsHeard(t *testing.T) {
	p := newPlace(t)
	p.make(t, "lead_id text PRIMARY KEY, revision bigint, name text UNIQUE DEFERRABLE INITIALLY DEFERRED")
	c := p.open(t, nil, fields("name")...)
	same := create(2)
	same.Lead.Name = connectortest.Sample(1).Name
	results := batch(c, create(1), same, create(3))
	if results[0].Err != nil || results[2].Err != nil || p.count(t) != 2 {
		t.Errorf("got %+v and %d rows", results, p.count(t))
	}
	wantFault(t, results[1].Err, connectors.Lead, `(constraint "leads_name_key")`)
}

// 500 with 20 bad ones among them, 500 bad ones, and 500 good ones.
func TestBadItemsOfFullBatchesFailAlone(t *testing.T) {
	p := newPlace(t)
	p.make(t, "lead_id text PRIMARY KEY, revision bigint, budget integer")
	c := p.open(t, nil, fields("budget")...)
	if most := c.MaxBatch(); most != 500 {
		t.Fatalf("MaxBatch is %d", most)
	}
	good, all := 0, 0
	for _, bad := range []func(i int) bool{
		func(i int) bool { return i%25 == 3 },
		func(int) bool { return true },
		func(int) bool { return false },
	} {
		var changes []lead.Change
		for range 500 {
			budget := "1500"
			if bad(len(changes)) {
				budget = "secret word"
			}
			changes = append(changes, with(all, map[string]any{"budget": budget}))
			all++
		}
		for i, result := range batch(c, changes...) {
			switch {
			case bad(i):
				wantFault(t, result.Err, connectors.Lead, `column "budget"`)
			case result.Err != nil || result.Ref != changes[i].Lead.ID:
				t.Fatalf("item %d: %+v", i, result)
			default:
				good++
			}
		}
	}
	if n := value[int](t, p.server, "SELECT count(*) FROM "+p.table()+" WHERE budget = 1500"); n != good || good != 980 {
		t.Errorf("%d rows of %d good leads", n, good)
	}
}

func TestManyColumnsStillFitIntoOneStatement(t *testing.T) {
	p := newPlace(t)
	var names []string
	for i := range 400 {
		names = append(names, fmt.Sprintf("column_%d", i))
	}
	c := p.open(t, nil, fields(names...)...)
	if most := c.MaxBatch(); most != 65535/402 {
		t.Fatalf("MaxBatch is %d", most)
	}
	var changes []lead.Change
	for i := range c.MaxBatch() {
		changes = append(changes, with(i, map[string]any{"column_399": "x"}))
	}
	for i, result := range batch(c, changes...) {
		if result.Err != nil {
			t.Fatalf("item %d: %v", i, result.Err)
		}
	}
	if n := value[int](t, p.server, "SELECT count(*) FROM "+p.table()+" WHERE column_399 = 'x'"); n != len(changes) {
		t.Errorf("%d rows of %d", n, len(changes))
	}
}

func TestNamesAndValuesAreNeverSQL(t *testing.T) {
	p := newPlace(t)
	evil := `le"ads'; DROP TABLE bystander; --`
	p.exec(t, "CREATE TABLE "+p.schema+".bystander (); ALTER TABLE "+p.schema+".bystander OWNER TO "+user)
	c := p.open(t, map[string]any{"table": p.schema + "." + evil, "key": `id"); --`, "revision": `$1 "rev"`},
		connectors.FieldRule{To: `na"me) VALUES ('x'); --`, From: "name"}, connectors.FieldRule{To: "Upper Case", From: "note"})
	if err := c.Check(context.Background()); err != nil {
		t.Fatal(err)
	}
	l := connectortest.Sample(1)
	l.Name, l.Note = `'); DROP SCHEMA `+p.schema+` CASCADE; --`, `$1 $$ \' {"`+"`"
	pushed(t, c, connectortest.Created(l), connectortest.Updated(l), create(2), remove(2))
	table := pgx.Identifier{p.schema, evil}.Sanitize()
	sql := `SELECT "id""); --" || '|' || "na""me) VALUES ('x'); --" || '|' || "Upper Case" || '|' || "$1 ""rev""" FROM ` + table
	if got, want := value[string](t, p.server, sql), l.ID+"|"+l.Name+"|"+l.Note+"|1"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	value[int](t, p.server, "SELECT count(*) FROM "+p.schema+".bystander")
	p.exec(t, "ALTER TABLE "+table+` RENAME COLUMN "Upper Case" TO "other"`)
	wantFault(t, push(c, create(3)), connectors.Setup, `ADD COLUMN "Upper Case" text`)
}

func TestT24DeletingWhatIsNotThereSucceeds(t *testing.T) {
	p := newPlace(t)
	c := p.open(t, nil)
	pushed(t, c, remove(1), create(1), remove(1), remove(1), update(1))
	if n := p.count(t); n != 1 {
		t.Errorf("%d rows", n)
	}
}

func TestP3AnOlderStateNeverReplacesANewerOne(t *testing.T) {
	p := newPlace(t)
	c := p.open(t, nil)
	first := connectortest.Sample(1)
	second := connectortest.Edited(first)
	third := connectortest.Edited(second)
	pushed(t, c, connectortest.Created(first), connectortest.Updated(third))
	wantFault(t, push(c, connectortest.Updated(second)), connectors.Lead, "newer revision")
	results := batch(c, connectortest.Created(first), create(2), remove(3))
	wantFault(t, results[0].Err, connectors.Lead, "newer revision")
	if results[1].Err != nil || results[2].Err != nil {
		t.Errorf("its neighbours: %+v", results[1:])
	}
	if got := p.text(t, 1, "name"); got != third.Name || p.count(t) != 2 {
		t.Errorf("the name is %q; %d rows", got, p.count(t))
	}
	// The same once more is no older state, and a row that somebody made by hand has no revision.
	pushed(t, c, connectortest.Updated(third))
	p.exec(t, "UPDATE "+p.table()+" SET revision = NULL, name = 'by hand'")
	pushed(t, c, connectortest.Updated(third))
	if got := p.text(t, 1, "name"); got != third.Name {
		t.Errorf("the name is %q", got)
	}
	pushed(t, c, connectortest.Deleted(third))
	if n := p.count(t); n != 1 {
		t.Errorf("%d rows", n)
	}
}

func TestWithoutARevisionTheLastPushWins(t *testing.T) {
	p := newPlace(t)
	c := p.open(t, map[string]any{"revision": ""}, fields("name", "revision")...)
	pushed(t, c, update(1), create(1))
	if got := p.text(t, 1, "name"); got != connectortest.Sample(1).Name {
		t.Errorf("the name is %q", got)
	}
	if got := p.text(t, 1, "revision"); got != "1" {
		t.Errorf("the revision is %q", got)
	}
}

// Every instance makes the table, or finds it half made by another, and writes the same leads in another order.
func TestT14ManyInstancesAtOnceLeaveOneRowOfEachLead(t *testing.T) {
	for round := range 5 {
		p := newPlace(t)
		const instances, leads = 8, 40
		var group sync.WaitGroup
		for n := range instances {
			c := p.open(t, nil)
			group.Go(func() {
				var changes []lead.Change
				for i := range leads {
					changes = append(changes, create(i))
				}
				if n%2 == 1 {
					slices.Reverse(changes)
				}
				for i, result := range batch(c, changes...) {
					if result.Err != nil {
						t.Errorf("round %d, instance %d, item %d: %v", round, n, i, result.Err)
					}
				}
			})
		}
		group.Wait()
		if n := p.count(t); n != leads {
			t.Errorf("%d rows of %d leads", n, leads)
		}
	}
}

func TestARowThatSomebodyHasLockedHoldsUpNoOther(t *testing.T) {
	p := newPlace(t)
	c := p.open(t, map[string]any{"timeout": "5s"})
	var changes []lead.Change
	for i := range 100 {
		pushed(t, c, create(i))
		changes = append(changes, update(i))
	}
	release := p.hold(t, "SELECT FROM "+p.table()+" WHERE lead_id = $1 FOR UPDATE", connectortest.Sample(37).ID)
	for i, result := range batch(c, changes...) {
		if i == 37 {
			wantFault(t, result.Err, connectors.Remote, "55P03: another session held a lock for too long")
		} else if result.Err != nil {
			t.Errorf("item %d: %v", i, result.Err)
		}
	}
	release()
	pushed(t, c, update(37))
}

func TestAStatementThatTakesTooLongIsGivenUpByTheServer(t *testing.T) {
	p := newPlace(t)
	p.make(t, "lead_id text PRIMARY KEY, revision bigint, name text")
	p.exec(t, "CREATE FUNCTION "+p.schema+".dawdle() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(600); RETURN NEW; END $$")
	p.exec(t, "CREATE TRIGGER dawdle BEFORE INSERT ON "+p.table()+" FOR EACH ROW EXECUTE FUNCTION "+p.schema+".dawdle()")
	c := p.open(t, map[string]any{"timeout": "400ms"}, fields("name")...)
	if err := c.Check(context.Background()); err != nil {
		t.Fatal(err)
	}
	err := push(c, create(1))
	fault, _ := connectors.FaultOf(err)
	if fault != connectors.Remote {
		t.Errorf("got a %v fault: %v", fault, err)
	}
	p.eventually(t, "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE state = 'active' AND "+appliedName+")")
}

func TestAPushThatIsCalledOffIsNotCarriedOutLater(t *testing.T) {
	p := newPlace(t)
	c := p.open(t, nil)
	pushed(t, c, create(1))
	release := p.hold(t, "LOCK TABLE "+p.table())
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	outcome := make(chan error)
	go func() {
		_, err := c.Push(ctx, create(2), "")
		outcome <- err
	}()
	p.eventually(t, waiting)
	cancel()
	wantFault(t, <-outcome, connectors.Remote, "57014")
	p.eventually(t, "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE state = 'active' AND "+appliedName+")")
	release()
	if n := p.count(t); n != 1 {
		t.Errorf("%d rows", n)
	}
	pushed(t, c, create(2))
}

// lapsed is the context of a worker whose fence lapsed while it was paused: no timer has fired yet.
type lapsed struct{ context.Context }

func (lapsed) Err() error { return context.DeadlineExceeded }

func TestP3APushWhoseFenceHasLapsedIsNotSent(t *testing.T) {
	p := newPlace(t)
	c := p.open(t, nil)
	pushed(t, c, create(1))
	_, err := c.Push(lapsed{context.Background()}, update(1), "")
	wantFault(t, err, connectors.Remote, "not sent")
	var classified *connectors.Error
	if !errors.As(err, &classified) || !classified.NotSent || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %#v", err)
	}
	if got := p.text(t, 1, "revision"); got != "1" {
		t.Errorf("the revision is %s", got)
	}
}

func TestAServerThatRestartsInMidPush(t *testing.T) {
	p := newPlace(t)
	c := p.open(t, nil)
	pushed(t, c, create(1))
	p.hold(t, "LOCK TABLE "+p.table())
	outcome := make(chan error)
	go func() { outcome <- push(c, create(2)) }()
	p.eventually(t, waiting)
	p.stop()
	wantFault(t, <-outcome, connectors.Remote, "57P01: the server is shutting down")
	err := push(c, create(2))
	wantFault(t, err, connectors.Remote, "no connection")
	var classified *connectors.Error
	if !errors.As(err, &classified) || !classified.NotSent {
		t.Errorf("got %#v", err)
	}
	p.admin.Reset()
	if err := p.start(); err != nil {
		t.Fatal(err)
	}
	pushed(t, c, create(2))
	if n := p.count(t); n != 2 {
		t.Errorf("%d rows", n)
	}
}

func TestAServerThatTakesNoWritesIsSetupUntilItDoes(t *testing.T) {
	p := newPlace(t)
	c := p.open(t, nil)
	pushed(t, c, create(1))
	p.exec(t, "ALTER ROLE "+user+" SET default_transaction_read_only = on")
	defer p.exec(t, "ALTER ROLE "+user+" RESET default_transaction_read_only")
	fresh := p.open(t, nil)
	wantFault(t, fresh.Check(context.Background()), connectors.Setup, "takes no writes")
	wantFault(t, push(fresh, create(2)), connectors.Setup, "takes no writes")
	c.pool.Reset() // as after a failover
	wantFault(t, push(c, create(2)), connectors.Setup, "takes no writes")
	p.exec(t, "ALTER ROLE "+user+" RESET default_transaction_read_only")
	pushed(t, c, create(2))
	pushed(t, fresh, create(3))
}

func TestConnectionsAreFewNamedAndUsedAgain(t *testing.T) {
	p := newPlace(t)
	c := p.open(t, nil)
	for i := range 10 {
		pushed(t, c, create(i))
	}
	if n := value[int](t, p.server, "SELECT count(*) FROM pg_stat_activity WHERE "+appliedName); n != 1 {
		t.Errorf("%d connections for 10 pushes, one after the other", n)
	}
	c.Close()
	p.eventually(t, "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE "+appliedName+")")
	one, other := p.open(t, nil).Limits(), p.open(t, map[string]any{"table": p.schema + ".others"}).Limits()
	if one.Scope != other.Scope || one.Concurrency != 4 || strings.Contains(one.Scope, "battery") {
		t.Errorf("got %+v and %+v", one, other)
	}
	if elsewhere := p.open(t, map[string]any{"url": p.urlOf(user, encoded, "postgres")}).Limits(); elsewhere.Scope == one.Scope {
		t.Errorf("another database shares %+v", one)
	}
}
