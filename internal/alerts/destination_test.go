package alerts_test

import (
	"encoding/json"
	"fmt"
	"io"
	"log"
	"mime/quotedprintable"
	"net"
	"net/http"
	"net/http/httptest"
	"net/mail"
	"strings"
	"sync"
	"testing"
	"time"

	server "github.com/emersion/go-smtp"

	"github.com/leadrelay/leadrelay/connectors"
	"github.com/leadrelay/leadrelay/internal/alerts"
)

var at = time.Date(2026, 3, 14, 15, 9, 26, 0, time.UTC)

// sample is a message of everything there is to say.
func sample() alerts.Message {
	return alerts.Message{ID: "alert_1", At: at, Console: "https://leads.example.com/console", Events: []alerts.Event{
		{Condition: alerts.Held, Subject: "crm", State: alerts.Raised, Bad: true, Since: at.Add(-90 * time.Second), Waiting: 17, Reason: "403 <Forbidden> & more"},
		{Condition: alerts.Down, Subject: "hook", State: alerts.Reminder, Bad: true, Since: at.Add(-25 * time.Hour), Reason: "timed out"},
		{Condition: alerts.Behind, Subject: "sheet", State: alerts.Flapping, Since: at.Add(-time.Minute), From: at.Add(-time.Hour), Times: 3},
		{Condition: alerts.Config, Subject: "web-1:17", State: alerts.Ended, Since: at.Add(-time.Minute), From: at.Add(-11 * time.Minute)},
	}}
}

const sampleText = `Connector crm is held: its settings or its account are refused
  Why: 403 <Forbidden> & more
  Since: 2026-03-14 15:07:56 UTC, for 1m30s
  Waiting: 17 leads; they are kept
  What to do: mend its settings or its account, then ` + "`leadrelay resume crm`; `leadrelay status`" + ` has the state

Connector hook is still down: its system fails or does not answer
  Why: timed out
  Since: 2026-03-13 14:09:26 UTC, for 25h0m0s
  What to do: it is tried again by itself; when its system is well, ` + "`leadrelay resume hook`" + ` does so at once

It came and went: connector sheet is not behind any more
  How often: 3 times more since 2026-03-14 14:09:26 UTC

The process web-1:17 runs by its configuration again
  It lasted: 10m0s, since 2026-03-14 14:58:26 UTC

https://leads.example.com/console
`

func TestAMessageIsPlainWords(t *testing.T) {
	if got := sample().Text(); got != sampleText {
		t.Errorf("got\n%s\nwant\n%s", got, sampleText)
	}
	if got := sample().Title(); got != "3 alerts, over: 1" {
		t.Errorf("its title is %q", got)
	}
	one := alerts.Message{At: at, Events: sample().Events[:1]}
	if got := one.Title(); got != "connector crm is held: its settings or its account are refused" {
		t.Errorf("its title is %q", got)
	}
	var many alerts.Message
	for range 1000 {
		many.Events = append(many.Events, sample().Events[0])
	}
	if got := many.Text(); len(got) > 8000 || !strings.Contains(got, "and 980 more") {
		t.Errorf("a text of %d: %s", len(got), got)
	}
}

func TestSlackIsSentWhatItTakes(t *testing.T) {
	var mu sync.Mutex
	var got map[string]any
	answer, word := 200, "ok"
	slack := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if r.Method != "POST" || r.URL.Path != "/services/T0/B0/hush" || r.Header.Get("Content-Type") != "application/json" {
			t.Errorf("got %s %s %v", r.Method, r.URL, r.Header)
		}
		got = nil
		if err := json.NewDecoder(r.Body).Decode(&got); err != nil {
			t.Error(err)
		}
		w.WriteHeader(answer)
		io.WriteString(w, word)
	}))
	t.Cleanup(slack.Close)
	d := open(t, "chat", "slack", map[string]any{"url": slack.URL + "/services/T0/B0/hush", "allow_private": true})
	if err := d.Send(t.Context(), sample()); err != nil {
		t.Fatal(err)
	}
	want := "*leadrelay: 3 alerts, over: 1*\n" + strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace(sampleText)
	if len(got) != 1 || got["text"] != want {
		t.Errorf("got %v\nwant %s", got, want)
	}
	for _, row := range []struct {
		status int
		word   string
		fault  connectors.Fault
	}{
		{404, "no_service", connectors.Setup}, {410, "channel_is_archived", connectors.Setup}, {403, "invalid_token", connectors.Setup},
		{400, "invalid_payload", connectors.Lead}, {500, "rollup_error", connectors.Remote}, {429, "rate_limited", connectors.Throttled},
	} {
		answer, word = row.status, row.word
		err := d.Send(t.Context(), sample())
		if fault, _ := connectors.FaultOf(err); err == nil || fault != row.fault || err.Error() != fmt.Sprintf("slack: %d %s", row.status, row.word) {
			t.Errorf("%d %s: got %v, %v", row.status, row.word, fault, err)
		}
	}
	if text := fmt.Sprintf("%v %+v %#v", d, d, d); strings.Contains(text, "hush") {
		t.Errorf("it is printed as %s", text)
	}
}

// postOffice is a real SMTP server that keeps what it is sent.
type postOffice struct {
	mu    sync.Mutex
	mails []*mail.Message
	texts []string
	to    []string
	fails int // so many mails are refused for now
}

func (o *postOffice) NewSession(*server.Conn) (server.Session, error) { return o, nil }
func (o *postOffice) Mail(string, *server.MailOptions) error          { return nil }
func (o *postOffice) Reset()                                          {}
func (o *postOffice) Logout() error                                   { return nil }

func (o *postOffice) Rcpt(to string, _ *server.RcptOptions) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.to = append(o.to, to)
	return nil
}

func (o *postOffice) Data(r io.Reader) error {
	m, err := mail.ReadMessage(r)
	if err != nil {
		return err
	}
	text, err := io.ReadAll(quotedprintable.NewReader(m.Body))
	if err != nil {
		return err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.mails, o.texts = append(o.mails, m), append(o.texts, strings.ReplaceAll(string(text), "\r\n", "\n"))
	if o.fails--; o.fails >= 0 {
		return &server.SMTPError{Code: 451, EnhancedCode: server.EnhancedCode{4, 3, 0}, Message: "not now"}
	}
	return nil
}

func newPostOffice(t *testing.T) (*postOffice, map[string]any) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	o := &postOffice{}
	s := server.NewServer(o)
	s.Domain, s.ErrorLog = "mail.example.com", log.New(io.Discard, "", 0)
	ended := make(chan struct{})
	go func() { defer close(ended); s.Serve(l) }()
	t.Cleanup(func() { l.Close(); s.Close(); <-ended })
	return o, map[string]any{
		"host": "127.0.0.1", "port": l.Addr().(*net.TCPAddr).Port, "tls": "none",
		"from": "leadrelay <leads@example.com>", "to": []any{"ops@example.com", "boss@example.com"},
	}
}

func TestAMailIsSentToAllAndRepeatedUnderItsMessageID(t *testing.T) {
	o, settings := newPostOffice(t)
	o.fails = 1
	d := open(t, "mail", "smtp", settings)
	if err := d.Send(t.Context(), sample()); err == nil || !strings.Contains(err.Error(), "not now") {
		t.Errorf("got %v", err)
	}
	if err := d.Send(t.Context(), sample()); err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(o.to[:2]) != "[ops@example.com boss@example.com]" || len(o.mails) != 2 {
		t.Fatalf("got %d mails to %v", len(o.mails), o.to)
	}
	for i, m := range o.mails {
		if m.Header.Get("Message-ID") != "<alert_1@example.com>" || m.Header.Get("Subject") != "leadrelay: 3 alerts, over: 1" || m.Header.Get("Auto-Submitted") != "auto-generated" {
			t.Errorf("got %v", m.Header)
		}
		if o.texts[i] != sampleText {
			t.Errorf("got %s", o.texts[i])
		}
	}
}

func TestATestSaysThatItIsOne(t *testing.T) {
	r := newReceiver(t)
	if err := r.to("ops").Test(t.Context()); err != nil {
		t.Fatal(err)
	}
	if m := r.got()[0]; m.Type != "alert.test" || len(m.Data.Alerts) != 0 || !strings.Contains(m.Data.Text, "This is a test") {
		t.Errorf("got %+v", m)
	}
}

func TestAPrivateAddressIsRefusedUnlessAllowed(t *testing.T) {
	r := newReceiver(t)
	for kind, settings := range map[string]map[string]any{
		"webhook": {"url": r.server.URL, "secret": secret},
		"slack":   {"url": "https" + strings.TrimPrefix(r.server.URL, "http")},
	} {
		err := open(t, "ops", kind, settings).Test(t.Context())
		if fault, _ := connectors.FaultOf(err); err == nil || fault != connectors.Setup || !strings.Contains(err.Error(), "not public") {
			t.Errorf("%s: got %v", kind, err)
		}
	}
	if n := len(r.got()); n != 0 {
		t.Errorf("it got %d messages", n)
	}
}
