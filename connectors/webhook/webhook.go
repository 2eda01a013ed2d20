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
package webhook

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/leadrelay/leadrelay/connectors"
	"github.com/leadrelay/leadrelay/internal/lead"
)

// Settings are what config.yaml may say of a webhook.
type Settings struct {
	// URL receives the changes. It is a Secret because many receivers' URLs are their only credential.
	URL connectors.Secret `mapstructure:"url" required:"true" help:"where changes are posted"`

	// Secret signs: 24 to 64 bytes as base64, with or without "whsec_" before it. Empty: nothing is signed.
	Secret connectors.Secret `mapstructure:"secret" help:"signs each request: 24 to 64 bytes as base64, with or without whsec_ before it"`

	// PreviousSecret signs as well, until every receiver knows the new one.
	PreviousSecret connectors.Secret `mapstructure:"previous_secret" help:"also signs, while receivers change over to a new secret"`

	// AllowPrivate lets URL lead to loopback and private addresses.
	AllowPrivate bool `mapstructure:"allow_private" help:"url may lead to this machine or a private network"`

	// Timeout bounds one attempt.
	Timeout time.Duration `mapstructure:"timeout" help:"of one request"`
}

// Kind is the webhook's line in the table of kinds.
var Kind = func() connectors.Kind {
	// The specification recommends 15 to 30 s.
	kind := connectors.Define("webhook", Settings{Timeout: 15 * time.Second}, open)
	kind.Event = true
	kind.Title = "a webhook, signed by Standard Webhooks"
	kind.Docs = "https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md"
	return kind
}()

type hook struct {
	settings Settings // never printed: fmt would not hide a secret in an unexported field
	keys     [][]byte
	fields   connectors.Mapping
	mapped   bool
	client   *connectors.Client
	now      func() time.Time
}

func open(s Settings, env connectors.Env) (connectors.Connector, error) {
	var problems []error
	problem := func(err error) {
		if err != nil {
			problems = append(problems, err)
		}
	}
	problem(checkURL(s.URL.Reveal()))
	h := &hook{settings: s, fields: env.Fields, now: time.Now}
	for _, secret := range []struct {
		name  string
		value connectors.Secret
	}{{"secret", s.Secret}, {"previous_secret", s.PreviousSecret}} {
		if secret.value == "" {
			continue
		}
		key, err := parseSecret(secret.value)
		if err != nil {
			problem(fmt.Errorf("%s: %w", secret.name, err))
		}
		h.keys = append(h.keys, key)
	}
	if s.PreviousSecret != "" && s.Secret == "" {
		problem(errors.New("previous_secret: there is no secret that follows it"))
	}
	if s.Timeout <= 0 {
		problem(errors.New("timeout: must be more than 0"))
	}
	names := env.Fields.Names()
	h.mapped = len(names) > 0
	for _, name := range []string{"lead_id", "revision"} {
		if slices.Contains(names, name) {
			problem(fmt.Errorf("fields: %s is always sent and cannot be mapped", name))
		}
	}
	if problems != nil {
		return nil, errors.Join(problems...)
	}
	// The specification knows no answer but the status.
	h.client = connectors.NewClient(connectors.ClientOptions{Timeout: s.Timeout, PublicOnly: !s.AllowPrivate, StatusOnly: true, SecretURL: true})
	return h, nil
}

func checkURL(text string) error {
	if text == "" {
		return errors.New("url: required")
	}
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "":
		return errors.New("url: must be an http:// or https:// URL")
	case u.User != nil:
		return errors.New("url: must hold no user or password; the signature says who sends")
	case u.Fragment != "":
		return errors.New("url: must hold no fragment")
	}
	if port, err := strconv.ParseUint(u.Port(), 10, 16); u.Port() != "" && (err != nil || port == 0) {
		return errors.New("url: the port must be 1 to 65535")
	}
	return nil
}

// parseSecret returns the key in a Standard Webhooks secret, of the lengths the specification allows.
func parseSecret(s connectors.Secret) ([]byte, error) {
	text, prefixed := strings.CutPrefix(s.Reveal(), "whsec_")
	key, err := base64.StdEncoding.DecodeString(text)
	switch {
	case err != nil && prefixed:
		return nil, errors.New(`what follows "whsec_" is not base64`)
	case err != nil:
		return nil, errors.New(`must be "whsec_" and base64: write echo "whsec_$(openssl rand -base64 32)" for a new one`)
	}
	if len(key) < 24 || len(key) > 64 {
		return nil, fmt.Errorf("the key has %d bytes, must be 24 to 64", len(key))
	}
	return key, nil
}

func (h *hook) String() string   { return "webhook" }
func (h *hook) GoString() string { return "webhook" }

// Close closes idle connections.
func (h *hook) Close() error { return h.client.Close() }

// Push sends change once. The ref stays what it is: a receiver has none.
func (h *hook) Push(ctx context.Context, change lead.Change, ref string) (string, error) {
	body, err := h.body(change)
	if err != nil {
		return "", fmt.Errorf("webhook: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, h.settings.URL.Reveal(), bytes.NewReader(body))
	if err != nil {
		return "", &connectors.Error{Fault: connectors.Setup, Err: errors.New("webhook: the configured address is not a URL")}
	}
	// Nothing but what separates the signed parts is a dot, as the specification asks.
	id := strings.ReplaceAll(change.ID, ".", "_")
	timestamp := strconv.FormatInt(h.now().Unix(), 10)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("webhook-id", id)
	req.Header.Set("webhook-timestamp", timestamp)
	if len(h.keys) > 0 {
		req.Header.Set("webhook-signature", signatures(h.keys, id, timestamp, body))
	}
	if _, err := h.client.Do(req); err != nil {
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

// signatures signs with every key, newest first, for the time in which receivers change theirs.
func signatures(keys [][]byte, id, timestamp string, body []byte) string {
	var header []byte
	for i, key := range keys {
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(id + "." + timestamp + "."))
		mac.Write(body)
		if i > 0 {
			header = append(header, ' ')
		}
		header = base64.StdEncoding.AppendEncode(append(header, "v1,"...), mac.Sum(nil))
	}
	return string(header)
}
