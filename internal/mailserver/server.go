// Package mailserver hands mails over to the operator's own SMTP server, and says whose fault it is where that fails.
// connectors/smtp explains the settings, and what each answer of a server means.
package mailserver

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/mail"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/leadrelay/leadrelay/connectors"
)

// Settings are what config.yaml says of a mail server, and of who writes to whom by it.
type Settings struct {
	Host string `mapstructure:"host" required:"true" help:"your mail server"`
	Port int    `mapstructure:"port" help:"0: 587, or 465 with tls: implicit, or 25 with tls: none"`
	TLS  string `mapstructure:"tls" oneof:"starttls implicit none" help:"starttls must be offered; with none mails go in the clear"`

	// Username is a Secret because some vendors' tokens are username and password in one
	// (https://postmarkapp.com/developer/user-guide/send-email-with-smtp).
	Username connectors.Secret `mapstructure:"username" help:"empty: nobody signs in"`
	Password connectors.Secret `mapstructure:"password" help:"of the user"`

	From    string        `mapstructure:"from" required:"true" help:"the sender, such as Leads <leads@example.com>"`
	To      []string      `mapstructure:"to" required:"true" help:"the recipients, such as [sales@example.com]"`
	Timeout time.Duration `mapstructure:"timeout" help:"of each step: connecting, signing in, one command"`
}

// Values of Settings.TLS.
const (
	StartTLS    = "starttls"
	ImplicitTLS = "implicit"
	NoTLS       = "none"
)

// Defaults are the settings that need not be given.
func Defaults() Settings { return Settings{TLS: StartTLS, Timeout: 30 * time.Second} }

var ports = map[string]int{StartTLS: 587, ImplicitTLS: 465, NoTLS: 25}

// maxRecipients is as many as every server must take (RFC 5321, 4.5.3.1.8).
const maxRecipients = 100

// Server is a mail server, with the sender and the recipients of all mails.
type Server struct {
	Settings
	from *mail.Address
	to   []*mail.Address
}

// Envelope says for people who writes to whom, by which server.
func (m *Server) Envelope() string {
	to := make([]string, len(m.to))
	for i, address := range m.to {
		to[i] = address.Address
	}
	return fmt.Sprintf("mail from %s to %s by %s", m.from.Address, strings.Join(to, ", "), net.JoinHostPort(m.Host, strconv.Itoa(m.Port)))
}

// Open checks the settings and reports all problems at once (errors.Join), each beginning with its key. It does no I/O.
func Open(s Settings) (*Server, error) {
	var problems []error
	problem := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }

	m := &Server{Settings: s}
	switch {
	case s.Host == "":
		problem("host: required")
	case strings.ContainsAny(s.Host, " /@[]") || strings.Contains(s.Host, ":") && !isIP(s.Host):
		problem("host: must be a host name or an IP address; the port is a setting of its own")
	}
	switch usual := ports[s.TLS]; {
	case usual == 0:
		problem("tls: must be %s, %s or %s", StartTLS, ImplicitTLS, NoTLS)
	case s.TLS == NoTLS && s.Username != "" && !isLoopback(s.Host):
		problem("tls: %s would send the password in the clear; it takes a username only where host is this machine", NoTLS)
	default:
		m.Port = cmp.Or(s.Port, usual)
	}
	if s.Port < 0 || s.Port > 65535 {
		problem("port: must be 1 to 65535")
	}
	switch {
	case s.Username != "" && s.Password == "":
		problem("password: required with a username")
	case s.Username == "" && s.Password != "":
		problem("username: required with a password")
	}

	var err error
	if s.From == "" {
		problem("from: required")
	} else if m.from, err = address(s.From); err != nil {
		problem("from: %w", err)
	}
	switch {
	case len(s.To) == 0:
		problem("to: required, a list of addresses")
	case len(s.To) > maxRecipients:
		problem("to: at most %d addresses", maxRecipients)
	}
	for i, text := range s.To {
		to, err := address(text)
		if err != nil {
			problem("to[%d]: %w", i, err)
			continue
		}
		if slices.ContainsFunc(m.to, func(a *mail.Address) bool { return a.Address == to.Address }) {
			problem("to[%d]: is listed twice", i)
		}
		m.to = append(m.to, to)
	}
	if s.Timeout <= 0 {
		problem("timeout: must be more than 0")
	}
	if problems != nil {
		return nil, errors.Join(problems...)
	}
	return m, nil
}

// address reads an address of the settings. Those that only some mail systems take (quoted, or not ASCII) are refused.
func address(text string) (*mail.Address, error) {
	a, err := mail.ParseAddress(text)
	switch {
	case err != nil:
		return nil, errors.New(`must be an address such as "Jane Doe <jane@example.com>"`)
	case !plain(a.Address):
		return nil, errors.New("the address must be ASCII without quotes; write a domain such as bücher.example as xn--bcher-kva.example")
	}
	return a, nil
}

// plain says whether every mail system takes an address: it is ASCII and needs no quotes.
func plain(address string) bool {
	return strings.IndexFunc(address, func(r rune) bool { return r <= ' ' || r >= 0x7f }) < 0 &&
		(&mail.Address{Address: address}).String() == "<"+address+">"
}

func isIP(host string) bool {
	_, err := netip.ParseAddr(host)
	return err == nil
}

func isLoopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.Unmap().IsLoopback()
}

// Limits spare the server: one that is asked for more connections than it likes turns away all of them.
func (m *Server) Limits() connectors.Limits {
	account := sha256.Sum256([]byte(m.Username))
	return connectors.Limits{
		Scope:       "smtp:" + net.JoinHostPort(m.Host, fmt.Sprint(m.Port)) + ":" + hex.EncodeToString(account[:6]),
		Concurrency: 2,
	}
}

// Check signs in and names the sender and all recipients. No mail is sent.
func (m *Server) Check(ctx context.Context) error {
	s, err := m.connect(ctx, nil)
	if err != nil {
		return err
	}
	defer s.close()
	if err := s.envelope(); err != nil {
		return err
	}
	return s.reset()
}
