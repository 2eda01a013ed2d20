package mailserver

import (
	"bytes"
	stdmail "net/mail"
	"strings"
	"time"
	"unicode"

	"github.com/wneessen/go-mail"

	"github.com/leadrelay/leadrelay/connectors"
)

// MaxSubject is how many characters a subject has at most.
const MaxSubject = 200

// Letter is one mail to all recipients, in plain text.
type Letter struct {
	ID      string // of its Message-ID: the same on every attempt, and no other's
	Thread  string // the same for all letters that belong together
	Subject string // one line, see OneLine
	Text    string

	// ReplyTo is left out where only some mail systems take the address.
	ReplyTo *stdmail.Address
}

// Compose writes a letter as it is sent. But for its date it is the same on every attempt. Absence notices are asked not
// to answer.
func (m *Server) Compose(l Letter, now time.Time) ([]byte, error) {
	_, domain, _ := strings.Cut(m.from.Address, "@")
	msg := mail.NewMsg() // UTF-8 as quoted-printable: lines are short, and servers need not take eight bits
	msg.FromMailAddress(m.from)
	msg.ToMailAddress(m.to...)
	if l.ReplyTo != nil && plain(l.ReplyTo.Address) {
		msg.ReplyToMailAddress(&stdmail.Address{Name: OneLine(l.ReplyTo.Name), Address: l.ReplyTo.Address})
	}
	msg.Subject(l.Subject)
	msg.SetDateWithValue(now)
	msg.SetMessageIDWithValue(dotAtom(l.ID) + "@" + domain)
	msg.SetGenHeader(mail.HeaderReferences, "<"+dotAtom(l.Thread)+"@"+domain+">")
	msg.SetUserAgent(connectors.UserAgent)
	msg.SetGenHeader("Auto-Submitted", "auto-generated")
	// What Exchange heeds (https://learn.microsoft.com/en-us/openspecs/exchange_server_protocols/ms-oxcmail/ced68690-498a-4567-9d14-5c01f974d8b1).
	msg.SetGenHeader(mail.HeaderXAutoResponseSuppress, "OOF, AutoReply")
	msg.SetBodyString(mail.TypeTextPlain, l.Text)
	var whole bytes.Buffer
	if _, err := msg.WriteTo(&whole); err != nil {
		return nil, err
	}
	return whole.Bytes(), nil
}

// OneLine makes text fit for a header: no control characters, nothing that reads as an encoded word (RFC 2047), and
// no longer than people read.
func OneLine(text string) string {
	text = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, text)
	text = strings.ReplaceAll(strings.Join(strings.Fields(text), " "), "=?", "= ?")
	if runes := []rune(text); len(runes) > MaxSubject {
		text = string(runes[:MaxSubject-1]) + "…"
	}
	return text
}

// dotAtom makes an id fit for the left side of a Message-ID (RFC 5322, 3.6.4).
func dotAtom(id string) string {
	return strings.Map(func(r rune) rune {
		if r < 0x7f && (unicode.IsLetter(r) || unicode.IsDigit(r) || strings.ContainsRune("-._", r)) {
			return r
		}
		return '_'
	}, id)
}
