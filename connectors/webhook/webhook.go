// Package webhook tells a URL of each accepted change, signed by the Standard Webhooks rules
// (https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md).
//
// Each change is one POST:
//
//	webhook-id: …             the same on every attempt at this change: the receiver's key against repeats
//	webhook-timestamp: …      Unix seconds of the attempt
//	webhook-signature: v1,…   base64 of HMAC-SHA256 over "<id>.<timestamp>.<body>"; where a secret is set
//
//	{"type":"lead.created","timestamp":"2026-03-14T15:09:26Z","data":{"lead_id":"lead_…","revision":1,…}}
//
// type is lead.created, lead.updated or lead.deleted; timestamp is when the change was accepted. data is the lead
// as the API returns it, custom fields beside the others; with `fields` configured it is lead_id, revision and
// those fields; of a deleted lead it is lead_id and revision alone. The body is the same bytes on every attempt.
//
// A receiver gets a lead's changes in the order of their revisions, each at least once. 2xx accepts a change,
// whatever follows it. 410 holds the connector, as the specification asks, and so do 401 to 405, 407 and
// redirects, which are not followed. 429, and 503 with Retry-After, wait as asked; 408, 423, 425 and other 5xx are
// tried again later. Any other 4xx, 409 too, parks the change as refused.
//
// `leadrelay check --live` asks OPTIONS of the address, which is no change and is not signed: any answer will do.
package webhook

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/leadrelay/leadrelay/connectors"
	"github.com/leadrelay/leadrelay/internal/lead"
)

// Settings are what config.yaml may say of a webhook.
type Settings = connectors.WebhookSettings

// Kind is the webhook's line in the table of kinds.
var Kind = func() connectors.Kind {
	kind := connectors.Define("webhook", Settings{Timeout: connectors.WebhookTimeout}, open)
	kind.Event = true
	kind.Title = "a webhook, signed by Standard Webhooks"
	kind.Docs = "https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md"
	return kind
}()

type hook struct {
	*connectors.Webhook
	fields connectors.Mapping
	mapped bool
}

func open(s Settings, env connectors.Env) (connectors.Connector, error) {
	receiver, err := connectors.NewWebhook(s)
	problems := []error{err}
	names := env.Fields.Names()
	for _, name := range []string{"lead_id", "revision"} {
		if slices.Contains(names, name) {
			problems = append(problems, fmt.Errorf("fields: %s is always sent and cannot be mapped", name))
		}
	}
	if err := errors.Join(problems...); err != nil {
		return nil, err
	}
	return &hook{Webhook: receiver, fields: env.Fields, mapped: len(names) > 0}, nil
}

func (h *hook) String() string   { return "webhook" }
func (h *hook) GoString() string { return "webhook" }

// Push sends change once. The ref stays what it is: a receiver has none.
func (h *hook) Push(ctx context.Context, change lead.Change, ref string) (string, error) {
	body, err := h.body(change)
	if err != nil {
		return "", fmt.Errorf("webhook: %w", err)
	}
	if err := h.Post(ctx, change.ID, body); err != nil {
		return "", fmt.Errorf("webhook: post: %w", err)
	}
	return ref, nil
}

type event struct {
	Type      string         `json:"type"`
	Timestamp string         `json:"timestamp"`
	Data      map[string]any `json:"data"`
}

var types = map[lead.Op]string{
	lead.Create: "lead.created",
	lead.Update: "lead.updated",
	lead.Delete: "lead.deleted",
}

// body follows from change alone, so that every attempt sends the same bytes.
func (h *hook) body(change lead.Change) ([]byte, error) {
	data, err := h.data(change)
	if err != nil {
		return nil, err
	}
	body, err := json.Marshal(event{types[change.Op], rfc3339(change.Time), data})
	if err != nil {
		return nil, &connectors.Error{Fault: connectors.Lead, Err: errors.New("the lead cannot be written as JSON")}
	}
	return body, nil
}

func (h *hook) data(change lead.Change) (map[string]any, error) {
	l := change.Lead
	data := make(map[string]any, 8+len(l.Custom))
	switch {
	case change.Op == lead.Delete:
	case h.mapped:
		fields, err := h.fields.Apply(l)
		if err != nil {
			return nil, err
		}
		for _, f := range fields {
			data[f.To] = f.Value
		}
	default:
		for name, value := range l.Custom {
			data[name] = value
		}
		data["name"], data["email"], data["source"], data["note"] = l.Name, l.Email, l.Source, l.Note
		data["created_at"], data["updated_at"] = rfc3339(l.Created), rfc3339(l.Updated)
	}
	data["lead_id"], data["revision"] = l.ID, l.Revision
	return data, nil
}

func rfc3339(t time.Time) string { return t.UTC().Format(time.RFC3339) }
