package smtp

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
	"strings"
	"time"

	"github.com/leadrelay/leadrelay/connectors"
	"github.com/leadrelay/leadrelay/internal/lead"
)

// Settings are what config.yaml says; the package comment explains them.
type Settings struct {
	Host string `mapstructure:"host" required:"true" help:"your mail server"`
	Port int    `mapstructure:"port" help:"0: 587, or 465 with tls: implicit, or 25 with tls: none"`
	TLS  string `mapstructure:"tls" oneof:"starttls implicit none" help:"starttls must be offered; with none mails go in the clear"`

	// Username is a Secret because some vendors' tokens are username and password in one
	// (https://postmarkapp.com/developer/user-guide/send-email-with-smtp).
	Username connectors.Secret `mapstructure:"username" help:"empty: nobody signs in"`
	Password connectors.Secret `mapstructure:"password" help:"of the user"`

	From        string        `mapstructure:"from" required:"true" help:"the sender, such as Leads <leads@example.com>"`
	To          []string      `mapstructure:"to" required:"true" help:"the recipients, such as [sales@example.com]"`
	Events      []string      `mapstructure:"events" help:"what is told of: created, updated, deleted"`
	ReplyToLead bool          `mapstructure:"reply_to_lead" help:"an answer to the mail goes to the lead"`
	Subject     string        `mapstructure:"subject" help:"a text/template over the lead's names, as in fields; empty: the usual"`
	Body        string        `mapstructure:"body" help:"likewise, in place of fields; empty: the fields, one a line"`
	Timeout     time.Duration `mapstructure:"timeout" help:"of each step: connecting, signing in, one command"`
}

const (
	startTLS    = "starttls"
	implicitTLS = "implicit"
	noTLS       = "none"
)

var ports = map[string]int{startTLS: 587, implicitTLS: 465, noTLS: 25}

// events are the changes that may be told of, by their names in the settings.
var events = map[string]lead.Op{"created": lead.Create, "updated": lead.Update, "deleted": lead.Delete}

// maxRecipients is as many as every server must take (RFC 5321, 4.5.3.1.8).
const maxRecipients = 100

// Kind is the line of this package in the table of kinds.
var Kind = func() connectors.Kind {
	k := connectors.Define("smtp", Settings{
		TLS: startTLS, Events: []string{"created"}, ReplyToLead: true, Timeout: 30 * time.Second,
	}, open)
	k.Event = true
	k.Title = "mail, by SMTP"
	k.Docs = "https://www.rfc-editor.org/rfc/rfc5321"
	return k
}()

type mailer struct {
	Settings
	from    *mail.Address
	to      []*mail.Address
	told    map[lead.Op]bool
	fields  connectors.Mapping
	subject connectors.Mapping // one rule, or none: the usual subject
	body    connectors.Mapping // likewise
}

func open(s Settings, env connectors.Env) (connectors.Connector, error) {
	var problems []error
	problem := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }

	m := &mailer{Settings: s, told: map[lead.Op]bool{}, fields: env.Fields}
	switch {
	case s.Host == "":
		problem("host: required")
	case strings.ContainsAny(s.Host, " /@[]") || strings.Contains(s.Host, ":") && !isIP(s.Host):
		problem("host: must be a host name or an IP address; the port is a setting of its own")
	}
	switch usual := ports[s.TLS]; {
	case usual == 0:
		problem("tls: must be %s, %s or %s", startTLS, implicitTLS, noTLS)
	case s.TLS == noTLS && s.Username != "" && !isLoopback(s.Host):
		problem("tls: %s would send the password in the clear; it takes a username only where host is this machine", noTLS)
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

	if len(s.Events) == 0 {
		problem("events: required, any of created, updated and deleted")
	}
	for i, name := range s.Events {
		op, known := events[name]
		if !known {
			problem("events[%d]: must be created, updated or deleted", i)
		}
		m.told[op] = true
	}
	if m.subject, err = template("subject", s.Subject); err != nil {
		problem("%w", err)
	}
	if m.body, err = template("body", s.Body); err != nil {
		problem("%w", err)
	}
	if s.Body != "" && len(env.Fields.Names()) > 0 {
		problem("body: says all of the mail, so that fields would be left out; give one of them")
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

// template is a mapping of one rule, or of none where there is no text.
func template(name, text string) (connectors.Mapping, error) {
	if text == "" {
		return connectors.Mapping{}, nil
	}
	m, err := connectors.NewMapping([]connectors.FieldRule{{To: name, Template: text}})
	if err != nil {
		return m, fmt.Errorf("%s: %s", name, strings.TrimPrefix(err.Error(), "[0]: template: "))
	}
	return m, nil
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
func (m *mailer) Limits() connectors.Limits {
	account := sha256.Sum256([]byte(m.Username))
	return connectors.Limits{
		Scope:       "smtp:" + net.JoinHostPort(m.Host, fmt.Sprint(m.Port)) + ":" + hex.EncodeToString(account[:6]),
		Concurrency: 2,
	}
}

// Push sends one mail, if change is among the events. The ref stays what it is: a mail has none.
func (m *mailer) Push(ctx context.Context, change lead.Change, ref string) (string, error) {
	if !m.told[change.Op] {
		return ref, nil
	}
	message, err := m.message(change, time.Now())
	if err != nil {
		return "", fmt.Errorf("smtp: %w", err)
	}
	if err := m.send(ctx, message, textsOf(change.Lead)); err != nil {
		return "", fmt.Errorf("smtp: %w", err)
	}
	return ref, nil
}

// Check signs in and names the sender and all recipients. No mail is sent.
func (m *mailer) Check(ctx context.Context) error {
	s, err := m.connect(ctx, nil)
	if err == nil {
		defer s.close()
		err = s.envelope()
	}
	if err == nil {
		err = s.reset()
	}
	if err != nil {
		return fmt.Errorf("smtp: %w", err)
	}
	return nil
}
