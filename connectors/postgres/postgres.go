package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/leadrelay/leadrelay/connectors"
	"github.com/leadrelay/leadrelay/internal/lead"
)

// Settings are what config.yaml says; the package comment explains them.
type Settings struct {
	URL            connectors.Secret `mapstructure:"url" required:"true" help:"postgres://user:password@host:5432/database?sslmode=verify-full"`
	Table          string            `mapstructure:"table" help:"the table, or schema.table"`
	KeyColumn      string            `mapstructure:"key" help:"the column of the lead's id; unique"`
	RevisionColumn string            `mapstructure:"revision" help:"the column of the lead's revision; empty: none, and an older state may replace a newer one"`
	CreateTable    bool              `mapstructure:"create_table" help:"make the table where it is missing"`
	Timeout        time.Duration     `mapstructure:"timeout" help:"of one push"`
}

var defaults = Settings{Table: "leads", KeyColumn: "lead_id", RevisionColumn: "revision", CreateTable: true, Timeout: 30 * time.Second}

// Kind is the line of this package in the table of kinds.
var Kind = func() connectors.Kind {
	k := connectors.Define("postgres", defaults, open)
	k.Title = "a table of PostgreSQL"
	k.Docs = "https://www.postgresql.org/docs/current/sql-insert.html"
	k.Limits = connectors.Limits{Concurrency: inFlight}
	k.MaxBatch = maxBatch
	k.Fields = []connectors.FieldRule{
		{To: "name", From: "name"}, {To: "email", From: "email"}, {To: "source", From: "source"},
		{To: "note", From: "note"}, {To: createdAt, From: "created_at"}, {To: updatedAt, From: "updated_at"},
	}
	return k
}()

const (
	maxBatch      = 500
	maxParameters = 65535 // of one statement: https://www.postgresql.org/docs/current/limits.html
	maxName       = 63    // bytes; PostgreSQL cuts a longer identifier: https://www.postgresql.org/docs/current/sql-syntax-lexical.html#SQL-SYNTAX-IDENTIFIERS

	// inFlight pushes over all workers are as many connections as a server with max_connections of 100 should spare.
	inFlight = 4
	// maxConns of one process is more, for the worker's limits may be set higher.
	maxConns    = 16
	maxIdle     = time.Minute
	connectFor  = 10 * time.Second
	cancelFor   = 5 * time.Second // that the server may take to answer a cancelled statement
	largestPart = 1 << 20         // bytes of one message of the server's
)

// connector embeds Settings, so that fmt sees the URL in an exported field and hides it.
type connector struct {
	Settings
	pool    *pgxpool.Pool
	fields  connectors.Mapping
	name    pgx.Identifier
	columns []string // the key, the fields, and the revision where there is one
	scope   string
	known   atomic.Pointer[table] // as it was last looked at; nil: never
}

var _ interface {
	connectors.Connector
	connectors.Keyed
	connectors.Batcher
	connectors.Checker
	connectors.Limited
} = (*connector)(nil)

func open(s Settings, env connectors.Env) (connectors.Connector, error) {
	var problems []error
	problem := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	c := &connector{Settings: s, fields: env.Fields, name: strings.Split(s.Table, "."), columns: []string{s.KeyColumn}}
	var config *pgxpool.Config
	if s.URL == "" {
		problem("url: required")
	} else {
		var err error
		if config, err = parse(s.URL.Reveal()); err != nil {
			problem("url: %w", err)
		}
	}
	if len(c.name) > 2 {
		problem("table: must be a name, or schema.table")
	}
	for _, name := range c.name {
		if err := identifier(name); err != nil {
			problem("table: %w", err)
		}
	}
	if err := identifier(s.KeyColumn); err != nil {
		problem("key: %w", err)
	}
	if s.RevisionColumn != "" {
		if err := identifier(s.RevisionColumn); err != nil {
			problem("revision: %w", err)
		} else if s.RevisionColumn == s.KeyColumn {
			problem("revision: must be another column than key")
		}
	}
	if s.Timeout <= 0 {
		problem("timeout: must be above 0")
	}
	for _, name := range env.Fields.Names() {
		if err := identifier(name); err != nil {
			problem("fields: %q: %w", name, err)
		} else if name == s.KeyColumn || name == s.RevisionColumn {
			problem("fields: %s is always written, remove its rule", name)
		}
		c.columns = append(c.columns, name)
	}
	if len(c.columns) == 1 {
		problem("fields: map at least one column")
	}
	if problems != nil {
		return nil, errors.Join(problems...)
	}
	if s.RevisionColumn != "" {
		c.columns = append(c.columns, s.RevisionColumn)
	}
	server := config.ConnConfig
	c.scope = fmt.Sprintf("postgres:%s:%d/%s", server.Host, server.Port, server.Database)
	var err error
	if c.pool, err = pgxpool.NewWithConfig(context.Background(), config); err != nil {
		return nil, errors.New("url: cannot be used") // what the library says may hold the password
	}
	return c, nil
}

// parse reads the URL. What the library says of a bad one may hold the password, so it is not repeated.
func parse(url string) (*pgxpool.Config, error) {
	_, rest, ok := strings.Cut(url, "://")
	if !ok || !strings.HasPrefix(url, "postgres://") && !strings.HasPrefix(url, "postgresql://") {
		return nil, errors.New("must be a URL such as postgres://user:password@host:5432/database")
	}
	if i := strings.IndexAny(rest, "@/"); i >= 0 && rest[i] == '@' {
		rest = rest[i+1:]
	}
	if strings.Contains(rest, "@") {
		// Read on, half a password would be taken for a host or a database, and be shown as such.
		return nil, errors.New("percent-encode the special characters of user and password: @ is %40, / is %2F, : is %3A")
	}
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, errors.New("is no URL that libpq would take: look at its port, its parameters after ? and the files these name")
	}
	config.MaxConns, config.MinConns, config.MinIdleConns = maxConns, 0, 0
	config.MaxConnIdleTime = maxIdle
	server := config.ConnConfig
	if server.ConnectTimeout == 0 {
		server.ConnectTimeout = connectFor
	}
	// PgBouncer refuses a connection with parameters that it does not know; it knows these:
	// https://www.pgbouncer.org/config.html#ignore_startup_parameters
	server.RuntimeParams["client_encoding"] = "UTF8"
	if server.RuntimeParams["application_name"] == "" {
		server.RuntimeParams["application_name"] = "leadrelay"
	}
	server.MaxProtocolMessageBodyLen = largestPart
	server.BuildContextWatcherHandler = func(conn *pgconn.PgConn) ctxwatch.Handler {
		return &pgconn.CancelRequestContextWatcherHandler{Conn: conn, DeadlineDelay: cancelFor}
	}
	return config, nil
}

func identifier(name string) error {
	switch {
	case name == "":
		return errors.New("required")
	case len(name) > maxName:
		return fmt.Errorf("is longer than %d bytes", maxName)
	case strings.ContainsRune(name, 0):
		return errors.New("holds U+0000")
	}
	return nil
}

// Close closes the connections.
func (c *connector) Close() error {
	c.pool.Close()
	return nil
}

// Key is the lead's id: it locates the row.
func (c *connector) Key(l lead.Lead) string { return l.ID }

// Limits count connectors to one database together: each push in flight is a connection to it.
func (c *connector) Limits() connectors.Limits {
	return connectors.Limits{Scope: c.scope, Concurrency: inFlight}
}

// MaxBatch is as many rows as one statement has parameters for, within reason.
func (c *connector) MaxBatch() int { return max(1, min(maxBatch, maxParameters/len(c.columns))) }

func (c *connector) Push(ctx context.Context, change lead.Change, ref string) (string, error) {
	result := c.PushBatch(ctx, []connectors.Item{{Change: change, Ref: ref}})[0]
	return result.Ref, result.Err
}

// PushBatch writes all items at once, and what is refused in ever smaller parts: see Batches in the package comment.
func (c *connector) PushBatch(ctx context.Context, items []connectors.Item) []connectors.Result {
	results := make([]connectors.Result, len(items))
	var rows []row
	for i, item := range items {
		r, err := c.row(item.Change)
		if err != nil {
			results[i].Err = fail("write", err)
			continue
		}
		r.item = i
		rows = append(rows, r)
		if !r.remove {
			results[i].Ref = r.id
		}
	}
	// One order for everyone: two batches that wait for each other's rows are a deadlock.
	slices.SortFunc(rows, func(a, b row) int { return strings.Compare(a.id, b.id) })
	if len(rows) > 0 {
		ctx, cancel := within(ctx, c.Timeout)
		defer cancel()
		c.put(ctx, rows, func(r row, err error) { results[r.item] = connectors.Result{Err: err} })
	}
	return results
}

// bounded is a context with a deadline whose Err still asks that of the one it bounds: a worker's tells there, before
// its timers do, that its fence has lapsed.
type bounded struct {
	context.Context
	of context.Context
}

func (b bounded) Err() error {
	if err := b.of.Err(); err != nil {
		return err
	}
	return b.Context.Err()
}

func within(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	timed, cancel := context.WithTimeout(ctx, d)
	return bounded{timed, ctx}, cancel
}
