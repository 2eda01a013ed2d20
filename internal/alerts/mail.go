package alerts

import (
	"context"
	"errors"
	"time"

	"github.com/leadrelay/leadrelay/connectors"
	"github.com/leadrelay/leadrelay/internal/mailserver"
)

// mailer sends a message as one mail. Its Message-ID is the same on every attempt.
type mailer struct{ server *mailserver.Server }

var smtpKind = define("smtp", mailserver.Defaults(), func(s mailserver.Settings) (sender, error) {
	server, err := mailserver.Open(s)
	if err != nil {
		return nil, err
	}
	return mailer{server}, nil
})

func (m mailer) send(ctx context.Context, message Message) error {
	letter := mailserver.Letter{
		ID: message.ID, Thread: "leadrelay-alerts",
		Subject: mailserver.OneLine("leadrelay: " + message.Title()), Text: message.Text(),
	}
	whole, err := m.server.Compose(letter, time.Now())
	if err != nil {
		return failure("smtp", &connectors.Error{Fault: connectors.Lead, Err: errors.New("the message cannot be written as a mail")})
	}
	return failure("smtp", m.server.Send(ctx, whole, nil))
}
