package smtp

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/leadrelay/leadrelay/connectors"
	"github.com/leadrelay/leadrelay/internal/lead"
	"github.com/leadrelay/leadrelay/internal/mailserver"
)

// Settings are what config.yaml says; the package comment explains them.
type Settings struct {
	mailserver.Settings `mapstructure:",squash"`

	Events      []string `mapstructure:"events" help:"what is told of: created, updated, deleted"`
	ReplyToLead bool     `mapstructure:"reply_to_lead" help:"an answer to the mail goes to the lead"`
	Subject     string   `mapstructure:"subject" help:"a text/template over the lead's names, as in fields; empty: the usual"`
	Body        string   `mapstructure:"body" multiline:"true" help:"likewise, in place of fields; empty: the fields, one a line"`
}

// events are the changes that may be told of, by their names in the settings.
var events = map[string]lead.Op{"created": lead.Create, "updated": lead.Update, "deleted": lead.Delete}

// Kind is the line of this package in the table of kinds.
var Kind = func() connectors.Kind {
	k := connectors.Define("smtp", Settings{Settings: mailserver.Defaults(), Events: []string{"created"}, ReplyToLead: true}, open)
	k.Event = true
	k.Title = "mail, by SMTP"
	k.Docs = "https://www.rfc-editor.org/rfc/rfc5321"
	return k
}()

type mailer struct {
	*mailserver.Server
	told        map[lead.Op]bool
	replyToLead bool
	fields      connectors.Mapping
	subject     connectors.Mapping // one rule, or none: the usual subject
	body        connectors.Mapping // likewise
}

func open(s Settings, env connectors.Env) (connectors.Connector, error) {
	server, err := mailserver.Open(s.Settings)
	problems := connectors.Problems(err)
	problem := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }

	m := &mailer{Server: server, told: map[lead.Op]bool{}, replyToLead: s.ReplyToLead, fields: env.Fields}
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
	if problems != nil {
		return nil, errors.Join(problems...)
	}
	return m, nil
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

// Push sends one mail, if change is among the events. The ref stays what it is: a mail has none.
func (m *mailer) Push(ctx context.Context, change lead.Change, ref string) (string, error) {
	if !m.told[change.Op] {
		return ref, nil
	}
	message, err := m.message(change, time.Now())
	if err != nil {
		return "", fmt.Errorf("smtp: %w", err)
	}
	if err := m.Send(ctx, message, change.Lead.Personal()); err != nil {
		return "", fmt.Errorf("smtp: %w", err)
	}
	return ref, nil
}

// Check signs in and names the sender and all recipients. No mail is sent.
func (m *mailer) Check(ctx context.Context) error {
	if err := m.Server.Check(ctx); err != nil {
		return fmt.Errorf("smtp: %w", err)
	}
	return nil
}
