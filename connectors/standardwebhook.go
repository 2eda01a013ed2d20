package connectors

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// WebhookSettings are what config.yaml may say of a receiver of webhooks.
type WebhookSettings struct {
	// URL is a Secret because many receivers' URLs are their only credential.
	URL Secret `mapstructure:"url" required:"true" help:"where changes are posted"`

	// Secret signs: 24 to 64 bytes as base64, with or without "whsec_" before it. Empty: nothing is signed.
	Secret Secret `mapstructure:"secret" help:"signs each request: 24 to 64 bytes as base64, with or without whsec_ before it"`

	// PreviousSecret signs as well, until every receiver knows the new one.
	PreviousSecret Secret `mapstructure:"previous_secret" help:"also signs, while receivers change over to a new secret"`

	// AllowPrivate lets URL lead to loopback and private addresses.
	AllowPrivate bool `mapstructure:"allow_private" help:"url may lead to this machine or a private network"`

	// Timeout bounds one attempt.
	Timeout time.Duration `mapstructure:"timeout" help:"of one request"`
}

// WebhookTimeout is the usual Timeout: the specification recommends 15 to 30 s.
const WebhookTimeout = 15 * time.Second

// Webhook is a receiver that is posted to by the Standard Webhooks rules
// (https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md).
type Webhook struct {
	settings WebhookSettings // never printed: fmt would not hide a secret in an unexported field
	keys     [][]byte
	client   *Client

	Now func() time.Time // when a request is signed
}

// NewWebhook checks the settings and reports all problems at once (errors.Join), each beginning with its key.
func NewWebhook(s WebhookSettings) (*Webhook, error) {
	problems := []error{CheckWebhookURL(s.URL)}
	problem := func(err error) { problems = append(problems, err) }
	w := &Webhook{settings: s, Now: time.Now}
	for _, secret := range []struct {
		name  string
		value Secret
	}{{"secret", s.Secret}, {"previous_secret", s.PreviousSecret}} {
		if secret.value == "" {
			continue
		}
		key, err := signingKey(secret.value)
		if err != nil {
			problem(fmt.Errorf("%s: %w", secret.name, err))
		}
		w.keys = append(w.keys, key)
	}
	if s.PreviousSecret != "" && s.Secret == "" {
		problem(errors.New("previous_secret: there is no secret that follows it"))
	}
	if s.Timeout <= 0 {
		problem(errors.New("timeout: must be more than 0"))
	}
	if err := errors.Join(problems...); err != nil {
		return nil, err
	}
	// The specification knows no answer but the status.
	w.client = NewClient(ClientOptions{Timeout: s.Timeout, PublicOnly: !s.AllowPrivate, StatusOnly: true, SecretURL: true})
	return w, nil
}

// CheckWebhookURL says what is wrong with the setting url of a receiver; nil where nothing is.
func CheckWebhookURL(address Secret) error {
	if address == "" {
		return errors.New("url: required")
	}
	u, err := url.Parse(address.Reveal())
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

// signingKey returns the key in a Standard Webhooks secret, of the lengths the specification allows.
func signingKey(s Secret) ([]byte, error) {
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

// Close closes idle connections.
func (w *Webhook) Close() error { return w.client.Close() }

// Post makes one attempt to deliver a JSON body. id is the same on every attempt: the receiver's key against repeats.
func (w *Webhook) Post(ctx context.Context, id string, body []byte) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.settings.URL.Reveal(), bytes.NewReader(body))
	if err != nil {
		return &Error{Fault: Setup, Err: errors.New("the configured address is not a URL")}
	}
	req.Header.Set("Content-Type", "application/json")
	w.Sign(req.Header, id, body)
	_, err = w.client.Do(req)
	return err
}

// Reach finds out whether the address can be reached, and by a certificate that is trusted: it asks OPTIONS, which carries
// no event. Any answer will do, for a receiver need know no method but POST.
func (w *Webhook) Reach(ctx context.Context) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodOptions, w.settings.URL.Reveal(), nil)
	if err != nil {
		return &Error{Fault: Setup, Err: errors.New("the configured address is not a URL")}
	}
	if resp, err := w.client.Do(req); resp == nil && err != nil {
		return err
	}
	return nil
}

// Secrets lists what nobody may be shown of the settings.
func (w *Webhook) Secrets() []string {
	return []string{w.settings.URL.Reveal(), w.settings.Secret.Reveal(), w.settings.PreviousSecret.Reveal()}
}

// Sign sets the headers that say who sends a body and when. It signs with every key, newest first, for the time in
// which receivers change theirs.
func (w *Webhook) Sign(header http.Header, id string, body []byte) {
	id = strings.ReplaceAll(id, ".", "_") // nothing but what separates the signed parts is a dot, as the specification asks
	timestamp := strconv.FormatInt(w.Now().Unix(), 10)
	header.Set("webhook-id", id)
	header.Set("webhook-timestamp", timestamp)
	var signatures []byte
	for i, key := range w.keys {
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(id + "." + timestamp + "."))
		mac.Write(body)
		if i > 0 {
			signatures = append(signatures, ' ')
		}
		signatures = base64.StdEncoding.AppendEncode(append(signatures, "v1,"...), mac.Sum(nil))
	}
	if signatures != nil {
		header.Set("webhook-signature", string(signatures))
	}
}
