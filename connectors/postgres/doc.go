// Package postgres keeps a table of a PostgreSQL database in step with the leads: one row per lead, written and deleted
// by its lead_id.
//
// # Settings
//
//	connectors:
//	  - name: warehouse
//	    type: postgres
//	    settings:
//	      url_file: /run/secrets/postgres   # or url: postgres://user:password@host:5432/database?sslmode=verify-full
//	      table: leads                      # or schema.table
//	      key: lead_id                      # the column of the lead's id; unique
//	      revision: revision                # the column of its revision, see Order; "" for none
//	      create_table: true                # where it is missing
//	      timeout: 30s                      # of one push
//	    fields:                             # the other columns
//	      - {to: name, from: name}
//	      - {to: budget, from: budget}
//
// The url is libpq's (https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING-URIS): several hosts,
// sslmode, sslrootcert and target_session_attrs included. Without sslmode the server's certificate is not looked at, and
// a server without TLS gets everything in the clear. Special characters in the password are percent-encoded.
//
// Names are taken as they are written, upper case too: PostgreSQL folds an unquoted Leads to leads, this does not. The
// user needs SELECT, INSERT and UPDATE on the columns, and DELETE on the table. Other columns, indexes, triggers and
// rows are the operator's and stay as they are.
//
// # The table
//
// A missing table is made, with a text primary key, a bigint revision, created_at and updated_at as timestamptz and a
// text column for every other field. One that is there is never altered: what it lacks is a setup fault that names the
// statement to run. `leadrelay check --live` finds the same without writing, and names besides columns that are
// generated, that must have a value and get none, and that are of another type than what is mapped to them.
//
// # Values
//
// Every value is a parameter that goes out as text and that PostgreSQL itself reads as the column's type: "1500" fits
// integer, numeric and text, "2026-01-02T03:04:05Z" timestamptz, "true" boolean. What does not fit is the lead's fault.
// A json or jsonb column gets the value as JSON, an array column a list element by element, and any other a list
// joined with commas and an object as JSON.
//
// What the lead lacks is NULL, and so is an empty text: forms send one for a number that was left out. A text
// column that is NOT NULL gets the empty text. U+0000, which no PostgreSQL text can hold
// (https://www.postgresql.org/docs/current/datatype-character.html), is removed.
//
// # Order
//
// The row holds the lead's revision, and an older one never replaces it: that also stops a push that a paused process
// sends after its turn. Of a lead that is there no more, nothing is left to compare: such a push brings its row back,
// and the delete is pushed again as soon as that process finds that its turn was over. A row that is newer than what
// leadrelay has, as after Redis was set back, is left alone; that is the lead's fault, so that it is seen. A delete asks
// for no revision: what has to go goes.
//
// # Batches
//
// A batch is one transaction in one round trip: an INSERT … ON CONFLICT DO UPDATE of many rows and a DELETE. What the
// server refuses for the sake of a value, a lock or the time it takes is tried again in eighths, down to the row that
// it is about: one bad lead, or one row that somebody has locked, fails alone. One statement is under way at a time,
// the server itself gives up those that take longer than half of timeout (a tenth of it for a lock), and a push that is
// called off is cancelled at the server: nothing is carried out long after its time.
//
// Statements are parsed anew each time, and nothing is set but for the transaction, so PgBouncer may pool
// transactions (https://www.pgbouncer.org/features.html).
//
// # Errors
//
// By SQLSTATE (https://www.postgresql.org/docs/current/errcodes-appendix.html), which every error names: see faultOf.
// The server's message, detail and context repeat values, so that they are shown only of a refused connection, before any
// lead is on its way. A commit whose answer is lost is an unknown outcome; to repeat it does no harm.
package postgres
