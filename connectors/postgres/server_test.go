package postgres

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	osuser "os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/leadrelay/leadrelay/connectors/connectortest"
)

// What the server of these tests has.
const (
	adminPassword = "admin-of-these-tests"
	user          = "relay"
	password      = "correct-horse/battery@staple"
	encoded       = "correct-horse%2Fbattery%40staple" // as a URL has it
	database      = "crm"
	appliedName   = "application_name = 'leadrelay'"
)

// server is a PostgreSQL of this test program's own, reached by a socket in a folder of its own.
type server struct {
	dir   string
	admin *pgxpool.Pool
	end   func() error // nil: it does not run
}

var shared struct {
	once sync.Once
	*server
	err error
}

func TestMain(m *testing.M) {
	code := m.Run()
	if shared.server != nil {
		shared.admin.Close()
		shared.stop()
		os.RemoveAll(shared.dir)
	}
	os.Exit(code)
}

// running is the server, started with the first test that needs it.
func running(t testing.TB) *server {
	t.Helper()
	if program("initdb") == "" {
		connectortest.SkipOrFail(t, "PostgreSQL is not installed: apt-get install postgresql")
	}
	shared.once.Do(func() { shared.server, shared.err = newServer() })
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	return shared.server
}

// program is where a program is, "" where it is not. Debian keeps those of the server out of PATH.
func program(name string) string {
	if path, err := exec.LookPath(name); err == nil {
		return path
	}
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/" + name)
	if found == nil {
		return ""
	}
	version := func(path string) int {
		n, _ := strconv.Atoi(strings.Split(path, "/")[4])
		return n
	}
	return slices.MaxFunc(found, func(a, b string) int { return cmp.Compare(version(a), version(b)) })
}

// folder is one that belongs to whom unprivileged runs programs as. Its path is short: it holds sockets.
func folder() (string, error) {
	dir, err := os.MkdirTemp("", "pg")
	if err == nil && os.Geteuid() == 0 {
		id := nobody()
		err = os.Chown(dir, int(id.Uid), int(id.Gid))
	}
	return dir, err
}

func nobody() *syscall.Credential {
	account, err := osuser.Lookup("nobody")
	if err != nil {
		panic(err)
	}
	uid, _ := strconv.Atoi(account.Uid)
	gid, _ := strconv.Atoi(account.Gid)
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
}

// unprivileged is a command that is not root's, for neither PostgreSQL nor PgBouncer runs as that.
func unprivileged(dir, name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	if os.Geteuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: nobody()}
	}
	return cmd
}

// background starts a program that ends with its standard input, so that it does not outlive this one.
func background(dir, signal, name string, args ...string) (end func() error, err error) {
	cmd := unprivileged(dir, "sh", append([]string{"-c", `"$@" & read -r _; kill -` + signal + ` $!; wait $!`, "sh", name}, args...)...)
	input, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	log, err := os.OpenFile(filepath.Join(dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return func() error {
		input.Close()
		return cmd.Wait()
	}, nil
}

// answers waits until connect succeeds.
func answers(dir string, connect func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for {
		err := connect(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			log, _ := os.ReadFile(filepath.Join(dir, "log"))
			return fmt.Errorf("it does not answer: %w\n%s", err, log)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func newServer() (*server, error) {
	dir, err := folder()
	if err != nil {
		return nil, err
	}
	s := &server{dir: dir}
	secret := filepath.Join(dir, "password")
	if err := os.WriteFile(secret, []byte(adminPassword), 0o644); err != nil {
		return nil, err
	}
	out, err := unprivileged(dir, program("initdb"), "-D", filepath.Join(dir, "data"), "-U", "postgres", "-E", "UTF8", "--locale=C",
		"--auth=scram-sha-256", "--pwfile="+secret, "--no-sync").CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("initdb: %w: %s", err, out)
	}
	if s.admin, err = pgxpool.New(context.Background(), s.urlOf("postgres", adminPassword, "postgres")); err != nil {
		return nil, err
	}
	if err := s.start(); err != nil {
		return nil, err
	}
	for _, sql := range []string{
		"CREATE ROLE " + user + " LOGIN PASSWORD '" + password + "'",
		"CREATE DATABASE " + database + " OWNER " + user,
	} {
		if _, err := s.admin.Exec(context.Background(), sql); err != nil {
			return nil, err
		}
	}
	s.admin.Close()
	s.admin, err = pgxpool.New(context.Background(), s.urlOf("postgres", adminPassword, database))
	return s, err
}

func (s *server) start() error {
	end, err := background(s.dir, "INT", program("postgres"), "-D", filepath.Join(s.dir, "data"), "-k", s.dir,
		"-c", "listen_addresses=", "-c", "fsync=off", "-c", "max_connections=60", "-c", "deadlock_timeout=100ms", "-c", "log_min_messages=fatal")
	if err != nil {
		return err
	}
	s.end = end
	return answers(s.dir, s.admin.Ping)
}

// stop ends the server as its operator would, whoever is connected.
func (s *server) stop() {
	if s.end != nil {
		s.end()
		s.end = nil
	}
}

func (s *server) urlOf(user, password, database string) string {
	return fmt.Sprintf("postgres://%s:%s@/%s?host=%s", user, password, database, s.dir)
}

func (s *server) url() string { return s.urlOf(user, encoded, database) }

// exec runs SQL as the operator.
func (s *server) exec(t testing.TB, sql string, args ...any) {
	t.Helper()
	if _, err := s.admin.Exec(context.Background(), sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// value is the one value that a query has.
func value[T any](t testing.TB, s *server, sql string, args ...any) (v T) {
	t.Helper()
	if err := s.admin.QueryRow(context.Background(), sql, args...).Scan(&v); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return v
}

// eventually waits until a query of the server's says true.
func (s *server) eventually(t testing.TB, sql string) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !value[bool](t, s, sql); {
		if time.Now().After(end) {
			t.Fatalf("it never became true: %s", sql)
		}
	}
}

// waiting says that a statement of the connector's waits for a lock.
const waiting = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE " + appliedName + " AND wait_event_type = 'Lock')"

// hold runs SQL in a transaction that stays open, with the locks it takes, until release.
func (s *server) hold(t testing.TB, sql string, args ...any) (release func()) {
	t.Helper()
	tx, err := s.admin.Begin(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	release = sync.OnceFunc(func() { tx.Rollback(context.Background()) })
	t.Cleanup(release)
	if _, err := tx.Exec(context.Background(), sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return release
}

var schemas int

// schema makes a schema that is the connector's user's, for one test.
func (s *server) schema(t testing.TB) string {
	t.Helper()
	schemas++
	name := fmt.Sprintf("s%d", schemas)
	s.exec(t, "CREATE SCHEMA "+name+" AUTHORIZATION "+user)
	t.Cleanup(func() { s.exec(t, "DROP SCHEMA "+name+" CASCADE") })
	return name
}

// place is where one test's table is, or will be.
type place struct {
	*server
	schema string
}

func newPlace(t testing.TB) place {
	t.Helper()
	s := running(t)
	return place{s, s.schema(t)}
}

func (p place) table() string { return p.schema + ".leads" }

// make makes the table as its operator would, and lets the connector use it.
func (p place) make(t testing.TB, columns string) {
	t.Helper()
	p.exec(t, "CREATE TABLE "+p.table()+" ("+columns+")")
	p.exec(t, "GRANT SELECT, INSERT, UPDATE, DELETE ON "+p.table()+" TO "+user)
}

// Records are the rows as a person sees them, by lead_id.
func (p place) Records() []connectortest.Record {
	ctx := context.Background()
	rows, err := p.admin.Query(ctx, "SELECT * FROM "+p.table()+" ORDER BY lead_id")
	var all []map[string]any
	if err == nil {
		all, err = pgx.CollectRows(rows, pgx.RowToMap)
	}
	var refused *pgconn.PgError
	switch {
	case errors.As(err, &refused) && refused.Code == "42P01":
		return nil
	case err != nil:
		panic(err)
	}
	var records []connectortest.Record
	for _, row := range all {
		fields := map[string]string{}
		for name, v := range row {
			switch v := v.(type) {
			case nil:
				fields[name] = ""
			case time.Time:
				fields[name] = v.UTC().Format(time.RFC3339)
			default:
				fields[name] = fmt.Sprint(v)
			}
		}
		records = append(records, connectortest.Record{Key: fields["lead_id"], Fields: fields})
	}
	return records
}

// pooler is a PgBouncer before the server that pools transactions, with fewer connections to it than it is given.
func (s *server) pooler(t testing.TB) (url string) {
	t.Helper()
	if program("pgbouncer") == "" {
		connectortest.SkipOrFail(t, "PgBouncer is not installed: apt-get install pgbouncer")
	}
	dir, err := folder()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	config := filepath.Join(dir, "pgbouncer.ini")
	text := fmt.Sprintf("[databases]\n%[1]s = host=%[2]s dbname=%[1]s user=%[3]s password=%[4]s\n"+
		"[pgbouncer]\nlisten_addr =\nlisten_port = 5432\nunix_socket_dir = %[5]s\nauth_type = any\npool_mode = transaction\ndefault_pool_size = 2\n",
		database, s.dir, user, password, dir)
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	end, err := background(dir, "TERM", program("pgbouncer"), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { end() })
	url = fmt.Sprintf("postgres://%s@/%s?host=%s", user, database, dir)
	err = answers(dir, func(ctx context.Context) error {
		conn, err := pgx.Connect(ctx, url+"&default_query_exec_mode=exec")
		if err == nil {
			conn.Close(ctx)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return url
}
