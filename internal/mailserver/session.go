package mailserver

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/textproto"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	protocol "github.com/wneessen/go-mail/smtp"

	"github.com/leadrelay/leadrelay/connectors"
)

const (
	// mailPatience is how long the mail and the answer to it may take: a client that gives up sooner sends twice
	// (RFC 5321, 4.5.3.2.6). The context of a push ends before.
	mailPatience = 10 * time.Minute

	quitPatience = time.Second
	maxRead      = 1 << 20 // bytes of a whole session, certificates too
)

// session is one connection to the server, and one mail at most. go-mail's own Client would do the steps in one
// call, whose error does not tell them apart, and would make an error of a connection that breaks after the mail.
type session struct {
	*Server
	ctx    context.Context
	conn   net.Conn    // the one below TLS
	stop   func() bool // closing conn when ctx is done
	client *protocol.Client
	said   []string // what no error may repeat

	mute  bool // no QUIT must follow: nobody listens, or the server would take it for the end of the mail
	ended bool // the mail's last line may have gone out
}

// Send hands a whole mail over, for all recipients or for none. Once the server has accepted it nothing that follows is
// an error. said lists what no error may repeat.
func (m *Server) Send(ctx context.Context, message []byte, said []string) error {
	s, err := m.connect(ctx, said)
	if err != nil {
		return err
	}
	defer s.close()
	if err := s.envelope(); err != nil {
		return err
	}
	return s.mail(message)
}

// connect dials, makes the connection private and signs in.
func (m *Server) connect(ctx context.Context, said []string) (*session, error) {
	s := &session{Server: m, ctx: ctx, said: said}
	dialing, cancel := context.WithTimeout(ctx, m.Timeout)
	defer cancel()
	var err error
	if late(ctx) == nil {
		s.conn, err = (&net.Dialer{}).DialContext(dialing, "tcp", net.JoinHostPort(m.Host, fmt.Sprint(m.Port)))
	}
	if s.conn == nil {
		return nil, s.failure("connect", err)
	}
	s.conn = &limited{Conn: s.conn, left: maxRead}
	s.stop = context.AfterFunc(ctx, func() { s.conn.Close() })
	if err := s.open(); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *session) open() error {
	config := &tls.Config{ServerName: s.Host, MinVersion: tls.VersionTLS12}
	conn := s.conn
	if s.TLS == ImplicitTLS {
		secured := tls.Client(s.conn, config)
		if err := s.step("tls", func() error { return secured.HandshakeContext(s.ctx) }); err != nil {
			return err
		}
		conn = secured
	}
	if err := s.step("greeting", func() (err error) { s.client, err = protocol.NewClient(conn, s.Host); return err }); err != nil {
		return err
	}
	s.client.SkipSMTPUTF8(true) // all headers and addresses are ASCII; a server that is told otherwise may not find a way on
	if err := s.step("hello", func() error { return s.client.Hello(literal(s.conn.LocalAddr())) }); err != nil {
		return err
	}
	if s.TLS == StartTLS {
		if offered, _ := s.client.Extension("STARTTLS"); !offered {
			return s.setup("starttls: the server does not offer it; tls: implicit is for ports such as 465, tls: none for a server without TLS")
		}
		if err := s.step("starttls", func() error { return s.client.StartTLS(config) }); err != nil {
			return err
		}
	}
	if s.Username == "" {
		return nil
	}
	_, mechanisms := s.client.Extension("AUTH")
	var auth protocol.Auth
	switch offered := strings.Fields(strings.ToUpper(mechanisms)); {
	// Without TLS the host is this machine: open sees to that.
	case slices.Contains(offered, "PLAIN"):
		auth = protocol.PlainAuth("", s.Username.Reveal(), s.Password.Reveal(), s.Host, true)
	case slices.Contains(offered, "LOGIN"):
		auth = protocol.LoginAuth(s.Username.Reveal(), s.Password.Reveal(), s.Host, true)
	default:
		return s.setup("auth: the server offers neither PLAIN nor LOGIN on this port; without username and password nobody signs in")
	}
	return s.step("auth", func() error { return s.client.Auth(auth) })
}

// envelope names the sender and the recipients.
func (s *session) envelope() error {
	if err := s.step("from", func() error { return s.client.Mail("<" + s.from.Address + ">") }); err != nil {
		return err
	}
	for i, to := range s.to {
		if err := s.step(fmt.Sprintf("to[%d]", i), func() error { return s.client.Rcpt("<" + to.Address + ">") }); err != nil {
			return err
		}
	}
	return nil
}

func (s *session) reset() error { return s.step("reset", s.client.Reset) }

func (s *session) mail(message []byte) error {
	var data io.WriteCloser
	if err := s.step("data", func() (err error) { data, err = s.client.Data(); return err }); err != nil {
		return err
	}
	return s.within(mailPatience, "mail", func() error {
		// What is not written whole must not be closed: that would end a mail that is not whole.
		if _, err := data.Write(message); err != nil {
			return err
		}
		s.ended = true
		err := data.Close()
		if reply := replyIn(err); reply != nil && reply.Code/100 == 2 {
			return nil // any 2xx accepts (RFC 5321, 4.2.1)
		}
		return err
	})
}

// close says good-bye where somebody listens.
func (s *session) close() {
	if s.client != nil && !s.mute {
		s.conn.SetDeadline(time.Now().Add(quitPatience))
		s.client.Quit()
	}
	s.stop()
	s.conn.Close()
}

func (s *session) step(name string, do func() error) error { return s.within(s.Timeout, name, do) }

// within does one step of the session, and says whose fault it is where that fails.
func (s *session) within(patience time.Duration, name string, do func() error) error {
	err := late(s.ctx)
	if err == nil {
		s.conn.SetDeadline(time.Now().Add(patience))
		err = do()
	}
	if err != nil {
		return s.failure(name, err)
	}
	return nil
}

// late is why nothing may be sent any more. A process that was paused past its deadline must not: the timer that
// cancels ctx may fire too late.
func late(ctx context.Context) error {
	if deadline, ok := ctx.Deadline(); ok && !time.Now().Before(deadline) {
		return context.DeadlineExceeded
	}
	return ctx.Err()
}

func (s *session) setup(text string) error {
	return &connectors.Error{Fault: connectors.Setup, NotSent: true, Err: errors.New(text)}
}

// failure says whose fault err is, with the server's reply where there is one.
func (s *session) failure(step string, err error) error {
	e := &connectors.Error{NotSent: !s.ended}
	if reply := replyIn(err); reply != nil {
		e.Fault = faultOf(reply, s.ended)
		e.Err = fmt.Errorf("%s: %s", step, s.words(reply, step == "auth"))
		return e
	}
	s.mute = true
	reason := late(s.ctx)
	switch {
	case reason != nil:
	case step == "greeting" && s.TLS != ImplicitTLS && isTimeout(err):
		reason = errors.New("timed out; a port that begins with TLS, such as 465, needs tls: implicit")
	default:
		e.Fault, reason = trouble(err)
	}
	if s.ended {
		e.Fault = connectors.Unknown
		reason = fmt.Errorf("no answer: %w", reason)
	}
	e.Err = fmt.Errorf("%s: %w", step, reason)
	return e
}

func replyIn(err error) *textproto.Error {
	var reply *textproto.Error
	errors.As(err, &reply)
	return reply
}

var enhancedPattern = regexp.MustCompile(`^[245]\.\d{1,3}\.\d{1,3}\b`)

// enhanced is the enhanced status code of a reply (RFC 3463), "" where it has none.
func enhanced(reply *textproto.Error) string { return enhancedPattern.FindString(reply.Msg) }

// words repeat a reply without what the lead and the settings say. Of one to AUTH they are its codes alone: some
// servers repeat what they were sent, as base64. The codes are written so that they do not look like a telephone
// number, which would be redacted.
func (s *session) words(reply *textproto.Error, auth bool) string {
	text, status := fmt.Sprint(reply.Code), enhanced(reply)
	if status != "" {
		text += "/" + status
	}
	switch said := strings.Join(strings.Fields(strings.TrimPrefix(reply.Msg, status)), " "); {
	case auth && reply.Code/100 == 5:
		text += ": the username and the password are not accepted"
	case !auth && said != "":
		text += " " + connectors.Redact(said, append(s.said, s.Username.Reveal(), s.Password.Reveal())...)
	}
	return text
}

// faultOf says whose fault a refusal is. Before the mail itself the server has heard nothing but settings, and what
// it says is so for every lead; afterwards it may be so for this one alone.
func faultOf(reply *textproto.Error, ended bool) connectors.Fault {
	code, status := reply.Code, enhanced(reply)
	switch {
	case code == 432: // somebody must change the password (RFC 4954, 6)
		return connectors.Setup
	case code/100 == 4 && !ended && asksToWait(code, status):
		return connectors.Throttled
	case code/100 == 4:
		return connectors.Remote
	case code/100 == 5 && ended && !ofSettings(code, status):
		return connectors.Lead
	case code/100 == 5:
		return connectors.Setup
	case ended:
		return connectors.Unknown
	default:
		return connectors.Remote
	}
}

// asksToWait knows a server that closes or has too many connections (421), greylisting and rate limits (X.7.Z), a
// full or busy system (X.3.1, X.3.2, X.4.5) and too many recipients (X.5.3). Without an enhanced code, 450 and 452 are
// said for these.
func asksToWait(code int, status string) bool {
	switch {
	case code == 421, status == "" && (code == 450 || code == 452):
		return true
	case code < 450 || code > 452:
		return false
	}
	return strings.HasPrefix(status, "4.7.") || slices.Contains([]string{"4.3.1", "4.3.2", "4.4.5", "4.5.3"}, status)
}

// ofSettings knows the refusals of a mail that are not of what it says: the sign-in, the addresses (X.1.Z), the
// mailboxes (X.2.Z, but for the size).
func ofSettings(code int, status string) bool {
	switch {
	case slices.Contains([]int{521, 530, 534, 535, 538, 556}, code), slices.Contains([]string{"5.7.8", "5.7.9"}, status):
		return true
	case strings.HasPrefix(status, "5.2."):
		return status != "5.2.3"
	}
	return strings.HasPrefix(status, "5.1.")
}

// trouble says why there is no reply. It names kinds of errors only: texts repeat what came in place of SMTP.
func trouble(err error) (connectors.Fault, error) {
	var (
		certificate *tls.CertificateVerificationError
		dns         *net.DNSError
		operation   *net.OpError
		number      syscall.Errno
	)
	switch {
	case errors.As(err, &certificate):
		return connectors.Setup, fmt.Errorf("the server's certificate is not trusted: %s; host must be a name in it, and an authority of your own be made known by SSL_CERT_FILE",
			connectors.Redact(certificate.Err.Error()))
	case errors.As(err, new(tls.RecordHeaderError)):
		return connectors.Setup, errors.New("the server does not begin with TLS; port 587 and most others need tls: starttls")
	case errors.As(err, &dns) && dns.IsNotFound:
		return connectors.Remote, errors.New("no such host")
	case errors.As(err, &dns):
		return connectors.Remote, errors.New("the host name cannot be looked up")
	case isTimeout(err):
		return connectors.Remote, errors.New("timed out")
	case errors.As(err, &number):
		return connectors.Remote, number
	case errors.As(err, &operation) && operation.Op == "remote error": // a TLS alert
		return connectors.Remote, operation.Err
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return connectors.Remote, errors.New("the connection was closed")
	default:
		return connectors.Remote, errors.New("the connection was lost, or what came is not SMTP")
	}
}

func isTimeout(err error) bool {
	var network net.Error
	return errors.As(err, &network) && network.Timeout()
}

// literal is how a client without a name in the DNS calls itself (RFC 5321, 4.1.3 and 4.1.4).
func literal(address net.Addr) string {
	ip, err := netip.ParseAddrPort(address.String())
	if err != nil {
		return "localhost"
	}
	a := ip.Addr().Unmap().WithZone("")
	if a.Is6() {
		return "[IPv6:" + a.String() + "]"
	}
	return "[" + a.String() + "]"
}

// limited is a connection that takes no more than a session can need.
type limited struct {
	net.Conn
	left int
}

func (l *limited) Read(p []byte) (int, error) {
	if l.left <= 0 {
		return 0, errors.New("the server says too much")
	}
	n, err := l.Conn.Read(p[:min(len(p), l.left)])
	l.left -= n
	return n, err
}
