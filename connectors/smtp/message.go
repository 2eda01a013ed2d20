package smtp

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/mail"
	"slices"
	"strings"
	"time"

	"github.com/leadrelay/leadrelay/connectors"
	"github.com/leadrelay/leadrelay/internal/lead"
	"github.com/leadrelay/leadrelay/internal/mailserver"
)

const maxText = 1 << 20 // bytes, less than any server takes

// message is the whole mail about change. But for its date it is the same on every attempt.
func (m *mailer) message(change lead.Change, now time.Time) ([]byte, error) {
	subject, err := m.subjectOf(change)
	if err != nil {
		return nil, err
	}
	text, err := m.text(change)
	if err != nil {
		return nil, err
	}
	if len(text) > maxText {
		return nil, &connectors.Error{Fault: connectors.Lead, Err: errors.New("the mail would be longer than 1 MiB; choose what it says by fields or body")}
	}
	letter := mailserver.Letter{ID: change.ID, Thread: change.Lead.ID, Subject: subject, Text: text}
	if m.replyToLead && change.Op != lead.Delete {
		letter.ReplyTo = &mail.Address{Name: change.Lead.Name, Address: change.Lead.Email}
	}
	whole, err := m.Compose(letter, now)
	if err != nil {
		return nil, &connectors.Error{Fault: connectors.Lead, Err: errors.New("the lead cannot be written as a mail")}
	}
	return whole, nil
}

func (m *mailer) subjectOf(change lead.Change) (string, error) {
	l := change.Lead
	switch change.Op {
	case lead.Delete:
		return "Lead deleted: " + l.ID, nil
	case lead.Update:
		return m.templated(m.subject, l, mailserver.OneLine, mailserver.OneLine("Lead changed: "+cmp.Or(l.Name, l.Email)))
	default:
		return m.templated(m.subject, l, mailserver.OneLine, mailserver.OneLine("New lead: "+cmp.Or(l.Name, l.Email)))
	}
}

func (m *mailer) text(change lead.Change) (string, error) {
	l := change.Lead
	if change.Op == lead.Delete {
		return fmt.Sprintf("The lead %s was deleted. Please delete the mails about it, too.\n", l.ID), nil
	}
	fields, err := m.shown(l)
	if err != nil {
		return "", err
	}
	var list strings.Builder
	for _, f := range fields {
		lines := strings.Split(strings.TrimSpace(separators.Replace(connectors.CellText(f.Value))), "\n")
		switch {
		case len(lines) > 1:
			fmt.Fprintf(&list, "%s:\n  %s\n", f.To, strings.Join(lines, "\n  "))
		case lines[0] != "":
			fmt.Fprintf(&list, "%s: %s\n", f.To, lines[0])
		}
	}
	fmt.Fprintf(&list, "\nLead %s, revision %d, %s\n", l.ID, l.Revision, change.Time.UTC().Format("2006-01-02 15:04:05 UTC"))
	return m.templated(m.body, l, func(text string) string { return text }, list.String())
}

// templated is what a template makes of l, or usual where there is none or it makes nothing.
func (m *mailer) templated(t connectors.Mapping, l lead.Lead, clean func(string) string, usual string) (string, error) {
	fields, err := t.Apply(l)
	if err != nil || len(fields) == 0 {
		return usual, err
	}
	text, _ := fields[0].Value.(string)
	return cmp.Or(clean(text), usual), nil
}

// shown is what the mail lists: the configured fields, or the whole lead.
func (m *mailer) shown(l lead.Lead) ([]connectors.Field, error) {
	if len(m.fields.Names()) > 0 {
		return m.fields.Apply(l)
	}
	fields := []connectors.Field{
		{To: "Name", Value: l.Name}, {To: "Email", Value: l.Email}, {To: "Source", Value: l.Source}, {To: "Note", Value: l.Note},
	}
	for _, name := range slices.Sorted(maps.Keys(l.Custom)) {
		fields = append(fields, connectors.Field{To: name, Value: l.Custom[name]})
	}
	return fields, nil
}

// separators are the line breaks of Unicode; some mail program begins a line after them.
var separators = strings.NewReplacer("\u2028", "\n", "\u2029", "\n")
