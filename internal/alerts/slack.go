package alerts

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/leadrelay/leadrelay/connectors"
)

// SlackSettings are those of an incoming webhook of Slack
// (https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks), or of what takes the same, as Mattermost.
type SlackSettings struct {
	URL          connectors.Secret `mapstructure:"url" required:"true" help:"the incoming webhook's address, which is its only credential"`
	AllowPrivate bool              `mapstructure:"allow_private" help:"url may lead to this machine or a private network"`
	Timeout      time.Duration     `mapstructure:"timeout" help:"of one request"`
}

type slack struct {
	settings SlackSettings // never printed: fmt would not hide a secret in an unexported field
	client   *connectors.Client
}

var slackKind = define("slack", SlackSettings{Timeout: connectors.WebhookTimeout}, func(s SlackSettings) (sender, error) {
	problems := []error{connectors.CheckWebhookURL(s.URL)}
	if !s.AllowPrivate && strings.HasPrefix(s.URL.Reveal(), "http://") {
		problems = append(problems, errors.New("url: must be https://, as Slack shows it"))
	}
	if s.Timeout <= 0 {
		problems = append(problems, errors.New("timeout: must be more than 0"))
	}
	if err := errors.Join(problems...); err != nil {
		return nil, err
	}
	return slack{s, connectors.NewClient(connectors.ClientOptions{Timeout: s.Timeout, PublicOnly: !s.AllowPrivate})}, nil
})

func (s slack) Close() error { return s.client.Close() }

// escape is what Slack asks for in texts (https://docs.slack.dev/messaging/formatting-message-text#escaping).
var escape = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;")

// slackWord is what Slack says of a refusal, in place of JSON: no_service, channel_is_archived.
var slackWord = regexp.MustCompile(`^[a-z_]{2,60}$`)

func (s slack) send(ctx context.Context, m Message) error {
	text := escape.Replace("*leadrelay: " + m.Title() + "*\n" + m.Text())
	req, err := connectors.NewJSONRequest(ctx, http.MethodPost, s.settings.URL.Reveal(), map[string]any{"text": text})
	if err != nil {
		return failure("slack", err)
	}
	answer, err := s.client.Do(req)
	var refusal *connectors.Error
	if answer != nil && errors.As(err, &refusal) {
		if word := strings.TrimSpace(string(answer.Body)); slackWord.MatchString(word) {
			refusal.Err = fmt.Errorf("%d %s", answer.Status, word)
		}
	}
	return failure("slack", err)
}
