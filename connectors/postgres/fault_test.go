package postgres

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/leadrelay/leadrelay/connectors"
	"github.com/leadrelay/leadrelay/connectors/connectortest"
	"github.com/leadrelay/leadrelay/internal/lead"
)

func TestWrongSettingsAreNamed(t *testing.T) {
	mapping, _ := connectors.NewMapping(fields("lead_id", "revision", strings.Repeat("n", 64), "nul\x00"))
	_, err := Kind.Open(map[string]any{"url": "mysql://localhost/crm", "table": "a.b.c", "timeout": "0s"}, connectors.Env{Fields: mapping})
	want := `url: must be a URL such as postgres://user:password@host:5432/database
table: must be a name, or schema.table
timeout: must be above 0
fields: lead_id is always written, remove its rule
fields: revision is always written, remove its rule
fields: "` + strings.Repeat("n", 64) + `": is longer than 63 bytes
fields: "nul\x00": holds U+0000`
	if err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
	_, err = Kind.Open(map[string]any{"table": "crm.", "key": "id", "revision": "id"}, connectors.Env{})
	want = "url: required\ntable: required\nrevision: must be another column than key\nfields: map at least one column"
	if err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
}

func TestABadURLIsRefusedAndNotRepeated(t *testing.T) {
	mapping, _ := connectors.NewMapping(Kind.Fields)
	for _, url := range []string{
		"relay:hunter2@db/crm",
		"host=db password=hunter2",
		"postgres://relay:hunter2@db:port/crm",
		"postgres://relay:12/hunter2@db/crm",
		"postgres://relay:a@hunter2@db/crm",
		"postgres://relay:hunter2%zz@db/crm",
		"postgres://relay:hunter2@db/crm?sslmode=hunter2",
		"postgres://relay:hunter2@db/crm?sslmode=verify-full&sslrootcert=/no/hunter2",
		"postgres://relay:hunter2@[db/crm",
		"postgres://relay:hunter2@db/crm?connect_timeout=hunter2",
		"postgres://relay:hunter2@db/crm?pool_max_conns=hunter2",
		"postgres://relay:hunter2@db/crm\x00",
	} {
		_, err := Kind.Open(map[string]any{"url": url}, connectors.Env{Fields: mapping})
		if err == nil || !strings.HasPrefix(err.Error(), "url: ") || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: got %v", url, err)
		}
	}
	for _, url := range []string{
		"postgresql://relay:hun%40ter%2F2#@db1:5432,db2:5433/crm?target_session_attrs=read-write&connect_timeout=3",
		"postgres:///crm?host=/run/postgresql&sslmode=disable",
	} {
		c, err := Kind.Open(map[string]any{"url": url}, connectors.Env{Fields: mapping})
		if err != nil {
			t.Errorf("%s: %v", url, err)
			continue
		}
		c.(io.Closer).Close()
	}
}

func TestT24WhatKeepsUsOutIsSetup(t *testing.T) {
	p := newPlace(t)
	p.exec(t, "CREATE ROLE outsider LOGIN PASSWORD '"+password+"'")
	defer p.exec(t, "DROP ROLE outsider")
	p.exec(t, "CREATE DATABASE closed")
	defer p.exec(t, "DROP DATABASE closed")
	p.exec(t, "REVOKE CONNECT ON DATABASE closed FROM PUBLIC")
	for name, row := range map[string]struct{ url, want string }{
		"a wrong password":          {p.urlOf(user, "battery-wrong", database), "28P01: password authentication failed"},
		"no such user":              {p.urlOf("nobody-here", encoded, database), "28P01"},
		"no such database":          {p.urlOf(user, encoded, "no_such_database"), `3D000: database "no_such_database" does not exist`},
		"a database that is closed": {p.urlOf("outsider", encoded, "closed"), "42501: permission denied for database"},
		"a schema that is closed":   {p.urlOf("outsider", encoded, database), "42501"},
	} {
		t.Run(name, func(t *testing.T) {
			c := p.open(t, map[string]any{"url": row.url})
			wantFault(t, c.Check(context.Background()), connectors.Setup, row.want)
			for _, change := range []lead.Change{create(1), remove(1)} {
				err := push(c, change)
				wantFault(t, err, connectors.Setup, row.want)
			}
			for _, result := range batch(c, create(1), remove(2)) {
				wantFault(t, result.Err, connectors.Setup, row.want)
			}
		})
	}
}

func TestAServerWithoutAConnectionToSpareIsThrottling(t *testing.T) {
	p := newPlace(t)
	p.exec(t, "ALTER ROLE "+user+" CONNECTION LIMIT 0")
	defer p.exec(t, "ALTER ROLE "+user+" CONNECTION LIMIT -1")
	c := p.open(t, nil)
	wantFault(t, push(c, create(1)), connectors.Throttled, "53300: too many connections")
	p.exec(t, "ALTER ROLE "+user+" CONNECTION LIMIT -1")
	pushed(t, c, create(1))
}

func TestAServerThatIsNotThereIsRemote(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listener.Close()
	for url, want := range map[string]string{
		"postgres://relay:" + encoded + "@" + listener.Addr().String() + "/crm":    "connection refused",
		"postgres://relay:" + encoded + "@/crm?host=/no/such/folder":               "no such file",
		"postgres://relay:" + encoded + "@does-not-exist.invalid/crm":              "no",
		"postgres://relay:" + encoded + "@" + silent(t) + "/crm?connect_timeout=1": "no connection: ",
	} {
		mapping, _ := connectors.NewMapping(Kind.Fields)
		c, err := Kind.Open(map[string]any{"url": url, "timeout": "5s"}, connectors.Env{Fields: mapping})
		if err != nil {
			t.Fatal(err)
		}
		_, err = c.Push(context.Background(), create(1), "")
		wantFault(t, err, connectors.Remote, want)
		var classified *connectors.Error
		if !errors.As(err, &classified) || !classified.NotSent {
			t.Errorf("%s: got %#v", url, err)
		}
		c.(io.Closer).Close()
	}
}

// silent is the address of a server that takes connections and says nothing.
func silent(t testing.TB) string {
	t.Helper()
	return serve(t, func(conn net.Conn) { io.Copy(io.Discard, conn) })
}

// serve hands each connection to f, and is gone with the test.
func serve(t testing.TB, f func(net.Conn)) (address string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	var mu sync.Mutex
	var open []net.Conn
	group.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open = append(open, conn)
			mu.Unlock()
			group.Go(func() {
				defer conn.Close()
				f(conn)
			})
		}
	})
	t.Cleanup(func() {
		listener.Close()
		mu.Lock()
		for _, conn := range open {
			conn.Close()
		}
		mu.Unlock()
		group.Wait()
	})
	return listener.Addr().String()
}

func TestTLSIsAsTheURLSays(t *testing.T) {
	running(t)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"localhost"}}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	// What begins a connection with TLS, and the answer yes: https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-SSL
	secured := serve(t, func(conn net.Conn) {
		if _, err := io.ReadFull(conn, make([]byte, 8)); err != nil {
			return
		}
		conn.Write([]byte("S"))
		tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{certificate}, PrivateKey: key}}}).Handshake()
	})
	p := newPlace(t)
	untrusted := fmt.Sprintf("postgres://%s:%s@%s/%s?sslmode=verify-full", user, encoded, secured, database)
	wantFault(t, push(p.open(t, map[string]any{"url": untrusted}), create(1)), connectors.Setup, "certificate is not valid or is not trusted")
	between := newProxy(t, p.server)
	wantFault(t, push(p.open(t, map[string]any{"url": between.url("require")}), create(1)), connectors.Setup, "does not speak TLS")
	pushed(t, p.open(t, map[string]any{"url": between.url("disable")}), create(1))
}

// proxy stands between a connector and the server, and spoils the next write as it is told.
type proxy struct {
	address string
	mu      sync.Mutex
	spoil   outcome
}

type outcome int

const (
	whole       outcome = iota
	lostAnswer          // the server carries it out, and nobody hears of it
	lostRequest         // half of it arrives
)

func newProxy(t testing.TB, s *server) *proxy {
	p := &proxy{}
	p.address = serve(t, func(client net.Conn) {
		server, err := net.Dial("unix", filepath.Join(s.dir, ".s.PGSQL.5432"))
		if err != nil {
			return
		}
		defer server.Close()
		losing := make(chan struct{})
		go func() {
			defer client.Close()
			answer := make([]byte, 1<<16)
			for {
				n, err := server.Read(answer)
				if err != nil {
					return
				}
				select {
				case <-losing:
					return
				default:
				}
				client.Write(answer[:n])
			}
		}()
		request := make([]byte, 1<<20)
		for {
			n, err := client.Read(request)
			if err != nil {
				return
			}
			text := request[:n]
			if bytes.Contains(text, []byte("INSERT INTO")) || bytes.Contains(text, []byte("DELETE FROM")) {
				switch p.take() {
				case lostAnswer:
					close(losing)
				case lostRequest:
					server.Write(text[:n/2])
					return
				}
			}
			server.Write(text)
		}
	})
	return p
}

func (p *proxy) url(sslmode string) string {
	return fmt.Sprintf("postgres://%s:%s@%s/%s?sslmode=%s", user, encoded, p.address, database, sslmode)
}

func (p *proxy) arm(o outcome) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.spoil = o
}

func (p *proxy) take() outcome {
	p.mu.Lock()
	defer p.mu.Unlock()
	o := p.spoil
	p.spoil = whole
	return o
}

func TestP2AnAnswerThatIsLostIsUnknownAndTheNextPushLeavesOneRow(t *testing.T) {
	p := newPlace(t)
	between := newProxy(t, p.server)
	c := p.open(t, map[string]any{"url": between.url("disable")})
	pushed(t, c, create(1))
	first, edited := connectortest.Sample(2), connectortest.Edited(connectortest.Sample(2))
	for _, step := range []struct {
		change lead.Change
		rows   int
		name   string
	}{
		{connectortest.Created(first), 2, first.Name},
		{connectortest.Updated(edited), 2, edited.Name},
		{connectortest.Deleted(edited), 1, ""},
	} {
		between.arm(lostRequest)
		wantFault(t, push(c, step.change), connectors.Unknown, "no whole answer")
		between.arm(lostAnswer)
		wantFault(t, push(c, step.change), connectors.Unknown, "no whole answer")
		for range 2 {
			if n := p.count(t); n != step.rows {
				t.Fatalf("%s: %d rows, want %d", step.change.Op, n, step.rows)
			}
			if step.name != "" && p.text(t, 2, "name") != step.name {
				t.Errorf("%s: the name is %q", step.change.Op, p.text(t, 2, "name"))
			}
			pushed(t, c, step.change) // the worker's next attempt
		}
	}
	between.arm(lostAnswer)
	changes := []lead.Change{create(3), remove(1), update(4)}
	for _, result := range batch(c, changes...) {
		wantFault(t, result.Err, connectors.Unknown, "no whole answer")
	}
	for _, result := range batch(c, changes...) {
		if result.Err != nil {
			t.Error(result.Err)
		}
	}
	if n := p.count(t); n != 2 {
		t.Errorf("%d rows", n)
	}
}

func TestFaultsOfSQLSTATEs(t *testing.T) {
	for want, codes := range map[connectors.Fault]string{
		connectors.Remote: "08000 08003 08006 40001 40P01 53000 53100 53200 55P03 57014 57P01 57P02 57P03 58030 XX000 XX001 21000 2F000 38000 " +
			"55006 00000 A 2",
		connectors.Throttled: "53300",
		connectors.Setup:     "0A000 25006 28000 28P01 3D000 3F000 42501 42601 42703 42P01 42P10 428C9 55000",
		connectors.Lead:      "22001 22003 22007 22008 22021 22P02 22P05 23502 23503 23505 23514 23P01 44000 54000 P0001 P0004",
		connectors.Unknown:   "08007 40003",
	} {
		for _, code := range strings.Fields(codes) {
			if got := faultOf(code); got != want {
				t.Errorf("%s: got %v, want %v", code, got, want)
			}
			if meaning(code) == "" {
				t.Errorf("%s means nothing", code)
			}
		}
	}
}
