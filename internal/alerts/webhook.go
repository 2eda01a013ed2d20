package alerts

import (
	"context"
	"encoding/json"

	"github.com/leadrelay/leadrelay/connectors"
)

// webhook posts a message by Standard Webhooks:
//
//	{"type":"alert","timestamp":"2026-03-14T15:09:26Z","data":{"title":"…","text":"…","alerts":[
//	  {"condition":"held","subject":"crm","state":"alerting","alerting":true,"since":"…","reason":"…","waiting":17}]}}
//
// Each alert is an Event; condition and subject say which belong together. type is alert.test, with no alerts, for a test.
// webhook-id is the same on every attempt.
type webhook struct{ *connectors.Webhook }

var webhookKind = define("webhook", connectors.WebhookSettings{Timeout: connectors.WebhookTimeout},
	func(s connectors.WebhookSettings) (sender, error) {
		receiver, err := connectors.NewWebhook(s)
		if err != nil {
			return nil, err
		}
		return webhook{receiver}, nil
	})

type webhookEvent struct {
	Type      string       `json:"type"`
	Timestamp string       `json:"timestamp"`
	Data      webhookAlert `json:"data"`
}

type webhookAlert struct {
	Title   string  `json:"title"`
	Text    string  `json:"text"`
	Alerts  []Event `json:"alerts"`
	Console string  `json:"console,omitempty"`
}

func (w webhook) send(ctx context.Context, m Message) error {
	e := webhookEvent{"alert", m.At.UTC().Format("2006-01-02T15:04:05Z07:00"), webhookAlert{m.Title(), m.Text(), m.Events, m.Console}}
	if m.Test {
		e.Type, e.Data.Alerts = "alert.test", []Event{}
	}
	body, err := json.Marshal(e)
	if err != nil {
		return failure("webhook", err)
	}
	return failure("webhook", w.Post(ctx, m.ID, body))
}
