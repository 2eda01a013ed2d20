package smtp

import (
	"bufio"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"mime"
	"mime/quotedprintable"
	"net"
	"net/mail"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	server "github.com/emersion/go-smtp"

	"github.com/leadrelay/leadrelay/connectors/connectortest"
	"github.com/leadrelay/leadrelay/internal/mailserver"
)

const (
	testUser     = "account-of-ours"
	testPassword = "correct horse battery"
)

// authority signs the certificates of the test servers. The system trusts it: TestMain sees to that.
var authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

func TestMain(m *testing.M) {
	os.Exit(func() int {
		authority.key, _ = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		der := signed(&x509.Certificate{
			Subject: pkix.Name{CommonName: "leadrelay tests"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
		}, nil, authority.key)
		authority.certificate, _ = x509.ParseCertificate(der)
		dir, err := os.MkdirTemp("", "authority")
		if err != nil {
			log.Fatal(err)
		}
		defer os.RemoveAll(dir)
		file := filepath.Join(dir, "ca.pem")
		if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
			log.Fatal(err)
		}
		os.Setenv("SSL_CERT_FILE", file)
		return m.Run()
	}())
}

// signed makes a certificate that is valid for an hour; parent nil: signed by itself.
func signed(template, parent *x509.Certificate, key *ecdsa.PrivateKey) []byte {
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	if parent == nil {
		parent = template
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, authority.key)
	if err != nil {
		log.Fatal(err)
	}
	return der
}

// certificate is a server's for localhost and 127.0.0.1, signed by issuer or, if that is nil, by itself.
func certificate(t testing.TB, issuer *x509.Certificate) *tls.Config {
	t.Helper()
	if runtime.GOOS == "darwin" || runtime.GOOS == "windows" {
		connectortest.SkipOrFail(t, "crypto/x509 does not read SSL_CERT_FILE on "+runtime.GOOS+": run this test on Linux")
	}
	der := signed(&x509.Certificate{
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}, issuer, authority.key)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: authority.key}}}
}

func listen(t testing.TB, host string) (net.Listener, int) {
	t.Helper()
	l, err := net.Listen("tcp", host+":0")
	if err != nil {
		t.Fatal(err)
	}
	return l, l.Addr().(*net.TCPAddr).Port
}

// office is a real SMTP server. It takes mail for everybody from whoever has signed in, but for what refuse says.
type office struct {
	port       int
	mechanisms []string

	mu          sync.Mutex
	refuse      func(step, argument string) error // "MAIL", "RCPT", "DATA"; nil: nothing
	deliveries  []delivery
	sessions    int
	boxesOpened int
}

// delivery is one mail as it came.
type delivery struct {
	hello, from, mechanism string
	to                     []string
	encrypted              bool
	raw                    string
}

// newOffice starts a server for a tls setting.
func newOffice(t testing.TB, mode string, mechanisms ...string) *office {
	t.Helper()
	var config *tls.Config
	if mode != mailserver.NoTLS {
		config = certificate(t, authority.certificate)
	}
	return newOfficeAt(t, "127.0.0.1", mode, config, mechanisms...)
}

func newOfficeAt(t testing.TB, host, mode string, config *tls.Config, mechanisms ...string) *office {
	t.Helper()
	o := &office{mechanisms: mechanisms}
	l, port := listen(t, host)
	o.port = port
	s := server.NewServer(server.BackendFunc(func(c *server.Conn) (server.Session, error) {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.sessions++
		_, encrypted := c.TLSConnectionState()
		return &visit{office: o, delivery: delivery{hello: c.Hostname(), encrypted: encrypted}}, nil
	}))
	s.Domain = "mail.example.com"
	s.ErrorLog = log.New(io.Discard, "", 0)
	s.ReadTimeout = time.Minute
	s.EnableSMTPUTF8 = true
	s.AllowInsecureAuth = mode == mailserver.NoTLS
	switch mode {
	case mailserver.StartTLS:
		s.TLSConfig = config
	case mailserver.ImplicitTLS:
		l = tls.NewListener(l, config)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.Serve(l)
	}()
	t.Cleanup(func() {
		l.Close() // s knows of it only once it serves
		s.Close()
		<-ended
	})
	return o
}

func (o *office) refused(step, argument string) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.refuse == nil {
		return nil
	}
	return o.refuse(step, argument)
}

func (o *office) received() []delivery {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.deliveries)
}

func (o *office) visits() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.sessions
}

// settings are those of a connector to this office.
func (o *office) settings(mode string, to ...any) map[string]any {
	if to == nil {
		to = []any{"sales@example.com"}
	}
	s := map[string]any{
		"host": "127.0.0.1", "port": o.port, "tls": mode, "from": "Leads <leads@example.com>", "to": to,
	}
	if len(o.mechanisms) > 0 {
		s["username"], s["password"] = testUser, testPassword
	}
	return s
}

// visit is one session at an office.
type visit struct {
	*office
	delivery
}

func (v *visit) AuthMechanisms() []string { return v.mechanisms }

func (v *visit) Auth(mechanism string) (sasl.Server, error) {
	check := func(username, password string) error {
		if username != testUser || password != testPassword {
			return server.ErrAuthFailed
		}
		v.mechanism = mechanism
		return nil
	}
	if mechanism == "PLAIN" {
		return sasl.NewPlainServer(func(_, username, password string) error { return check(username, password) }), nil
	}
	return &login{check: check}, nil
}

// login is the server's side of AUTH LOGIN, which go-sasl has no more.
type login struct {
	check func(username, password string) error
	asked int
	name  string
}

func (l *login) Next(response []byte) (challenge []byte, done bool, err error) {
	l.asked++
	switch l.asked {
	case 1:
		return []byte("Username:"), false, nil
	case 2:
		l.name = string(response)
		return []byte("Password:"), false, nil
	default:
		return nil, true, l.check(l.name, string(response))
	}
}

func (v *visit) Mail(from string, opts *server.MailOptions) error {
	if len(v.mechanisms) > 0 && v.mechanism == "" {
		return &server.SMTPError{Code: 530, EnhancedCode: server.EnhancedCode{5, 7, 0}, Message: "Authentication required"}
	}
	if opts.UTF8 {
		return errors.New("nothing that is sent needs SMTPUTF8")
	}
	v.from, v.to = from, nil
	return v.refused("MAIL", from)
}

func (v *visit) Rcpt(to string, _ *server.RcptOptions) error {
	v.to = append(v.to, to)
	return v.refused("RCPT", to)
}

func (v *visit) Data(r io.Reader) error {
	raw, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	if err := v.refused("DATA", string(raw)); err != nil {
		return err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.raw = string(raw)
	v.deliveries = append(v.deliveries, v.delivery)
	return nil
}

func (v *visit) Reset()        {}
func (v *visit) Logout() error { return nil }

// letter is a delivery as a mail program shows it.
type letter struct {
	delivery
	header  mail.Header
	subject string
	text    string
}

func (d delivery) read() (letter, error) {
	m, err := mail.ReadMessage(strings.NewReader(d.raw))
	if err != nil {
		return letter{}, err
	}
	subject, err := new(mime.WordDecoder).DecodeHeader(m.Header.Get("Subject"))
	if err != nil {
		return letter{}, err
	}
	kind, parameters, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	if err != nil || kind != "text/plain" || parameters["charset"] != "UTF-8" || m.Header.Get("Content-Transfer-Encoding") != "quoted-printable" {
		return letter{}, fmt.Errorf("not the content that is expected: %v", m.Header)
	}
	text, err := io.ReadAll(quotedprintable.NewReader(m.Body))
	return letter{d, m.Header, subject, strings.ReplaceAll(string(text), "\r\n", "\n")}, err
}

// mailbox is one recipient at an office, who reads each Message-ID once, keeps a list of leads by it and does what
// the mails ask for.
type mailbox struct {
	*office
	address string
}

func (o *office) mailbox() *mailbox {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.boxesOpened++
	return &mailbox{o, fmt.Sprintf("sales-%d@example.com", o.boxesOpened)}
}

func (b *mailbox) Records() []connectortest.Record {
	seen := map[string]bool{}
	leads := map[string]map[string]string{}
	for _, d := range b.received() {
		if !slices.Equal(d.to, []string{b.address}) {
			continue
		}
		l, err := d.read()
		if err != nil {
			return []connectortest.Record{{Key: "unreadable", Fields: map[string]string{"error": err.Error()}}}
		}
		if id := l.header.Get("Message-ID"); seen[id] {
			continue
		} else {
			seen[id] = true
		}
		id, _, _ := strings.Cut(strings.TrimPrefix(l.header.Get("References"), "<"), "@")
		if strings.HasPrefix(l.subject, "Lead deleted: ") {
			delete(leads, id)
			continue
		}
		leads[id] = fieldsOf(l.text)
	}
	var records []connectortest.Record
	for id, fields := range leads {
		records = append(records, connectortest.Record{Key: id, Fields: fields})
	}
	return records
}

// fieldsOf reads the list in a mail.
func fieldsOf(text string) map[string]string {
	fields := map[string]string{}
	label := ""
	for line := range strings.Lines(text) {
		switch continued, indented := strings.CutPrefix(line, "  "); {
		case line == "\n":
			return fields
		case indented:
			fields[label] += continued
		default:
			label, line, _ = strings.Cut(line, ":")
			fields[label] = strings.TrimPrefix(line, " ")
		}
	}
	return fields
}

// Replies of a scripted server that are none.
const (
	cut  = "cut"  // the connection ends
	hang = "hang" // nothing comes
)

// scripted is a server that answers as its script says, by verb ("greeting", "EHLO", … "." for the mail), and else as
// a good one. It is for what a real one does only in its worst hours.
type scripted struct {
	port   int
	script map[string]string
	on     []func(verb string) // are told of each verb before it is answered

	mu    sync.Mutex
	heard []string // verbs
	mails int      // that came whole
	ended chan struct{}
}

func newScripted(t testing.TB, script map[string]string, on ...func(verb string)) *scripted {
	t.Helper()
	l, port := listen(t, "127.0.0.1")
	s := &scripted{port: port, script: script, on: on, ended: make(chan struct{}, 100)}
	var group sync.WaitGroup
	group.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			group.Go(func() {
				s.serve(conn)
				conn.Close()
				s.ended <- struct{}{}
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		group.Wait()
	})
	return s
}

func (s *scripted) settings() map[string]any {
	return (&office{port: s.port}).settings(mailserver.NoTLS, "first@example.com", "second@example.com")
}

var goodReplies = map[string]string{
	"greeting": "220 mail.example.com", "EHLO": "250-mail.example.com\r\n250 ENHANCEDSTATUSCODES", "DATA": "354 go on", "QUIT": "221 bye",
}

func (s *scripted) serve(conn net.Conn) {
	in := bufio.NewReader(conn)
	answer := func(verb string) bool {
		s.mu.Lock()
		s.heard = append(s.heard, verb)
		s.mu.Unlock()
		for _, on := range s.on {
			on(verb)
		}
		reply := s.script[verb]
		switch reply {
		case cut:
			return false
		case hang:
			io.Copy(io.Discard, in) // until the client is gone
			return false
		case "":
			if reply = goodReplies[verb]; reply == "" {
				reply = "250 fine"
			}
		}
		_, err := io.WriteString(conn, reply+"\r\n")
		return err == nil && verb != "QUIT"
	}
	if !answer("greeting") {
		return
	}
	recipients := 0
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		verb, _, _ := strings.Cut(strings.ToUpper(strings.TrimSpace(line)), " ")
		if verb == "RCPT" {
			recipients++
			verb += fmt.Sprint(recipients)
		}
		if !answer(verb) {
			return
		}
		if verb != "DATA" || s.script["DATA"] != "" {
			continue
		}
		for end := false; !end; {
			line, err := in.ReadBytes('\n')
			if err != nil {
				return
			}
			end = bytes.Equal(line, []byte(".\r\n"))
		}
		s.mu.Lock()
		s.mails++
		s.mu.Unlock()
		if !answer(".") {
			return
		}
	}
}

func (s *scripted) verbs() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.heard)
}

func (s *scripted) whole() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mails
}
