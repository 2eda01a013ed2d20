package smtp

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/mail"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	server "github.com/emersion/go-smtp"

	"github.com/leadrelay/leadrelay/connectors"
	"github.com/leadrelay/leadrelay/connectors/connectortest"
	"github.com/leadrelay/leadrelay/internal/lead"
	"github.com/leadrelay/leadrelay/internal/mailserver"
)

func TestSMTPConforms(t *testing.T) {
	o := newOffice(t, mailserver.StartTLS, "PLAIN", "LOGIN")
	connectortest.Run(t, connectortest.Harness{
		Kind:      Kind,
		NewVendor: func(testing.TB) connectortest.Vendor { return o.mailbox() },
		Settings: func(_ string, v connectortest.Vendor) map[string]any {
			settings := o.settings(mailserver.StartTLS, v.(*mailbox).address)
			settings["events"] = []any{"created", "updated", "deleted"}
			return settings
		},
		Secrets:  []string{testUser, testPassword},
		Required: []string{"host", "from", "to"},
	})
}

func TestSMTPWithFieldsConforms(t *testing.T) {
	o := newOffice(t, mailserver.ImplicitTLS, "LOGIN")
	connectortest.Run(t, connectortest.Harness{
		Kind:      Kind,
		NewVendor: func(testing.TB) connectortest.Vendor { return o.mailbox() },
		Settings: func(_ string, v connectortest.Vendor) map[string]any {
			settings := o.settings(mailserver.ImplicitTLS, v.(*mailbox).address)
			settings["events"] = []any{"created", "updated", "deleted"}
			return settings
		},
		Fields: []connectors.FieldRule{
			{To: "Mail address", From: "email"}, {To: "Who", Template: "{{.first_name}} {{.last_name}}"}, {To: "What", From: "note"},
		},
	})
}

func opened(t testing.TB, settings map[string]any, rules ...connectors.FieldRule) *mailer {
	t.Helper()
	mapping, err := connectors.NewMapping(rules)
	if err != nil {
		t.Fatal(err)
	}
	connector, err := Kind.Open(settings, connectors.Env{Name: "sales", Fields: mapping, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return connector.(*mailer)
}

func with(settings map[string]any, more map[string]any) map[string]any {
	settings = maps.Clone(settings)
	maps.Copy(settings, more)
	return settings
}

func pushed(t testing.TB, m *mailer, changes ...lead.Change) {
	t.Helper()
	for _, change := range changes {
		if ref, err := m.Push(t.Context(), change, ""); err != nil || ref != "" {
			t.Fatalf("%s: %q, %v", change.Op, ref, err)
		}
	}
}

// letters are the mails that came, as a mail program reads them.
func letters(t testing.TB, o *office) []letter {
	t.Helper()
	var all []letter
	for _, d := range o.received() {
		l, err := d.read()
		if err != nil {
			t.Fatalf("%v:\n%s", err, d.raw)
		}
		all = append(all, l)
	}
	return all
}

func theLetter(t testing.TB, o *office) letter {
	t.Helper()
	all := letters(t, o)
	if len(all) != 1 {
		t.Fatalf("%d mails came, want 1", len(all))
	}
	return all[0]
}

var everyEvent = map[string]any{"events": []any{"created", "updated", "deleted"}}

func TestTheMailIsWhatIsDocumented(t *testing.T) {
	o := newOffice(t, mailserver.NoTLS)
	m := opened(t, with(o.settings(mailserver.NoTLS, "sales@example.com", "Jürgen Doe <jd@example.com>"), everyEvent))
	l := connectortest.Sample(1)
	l.Note = "Please ring.\r\nAfter teatime."
	l.Custom = map[string]any{
		"budget": json.Number("1500.50"), "newsletter": true, "tags": []any{"a", json.Number("2")}, "empty": "",
		"site": map[string]any{"url": "https://example.com/?a&b"},
	}
	bare := lead.Lead{ID: connectortest.Sample(2).ID, Email: "bare@example.com", Revision: 1, Updated: connectortest.SampleTime}
	before := time.Now().Truncate(time.Second)
	pushed(t, m, connectortest.Created(l), connectortest.Updated(connectortest.Edited(l)), connectortest.Deleted(l), connectortest.Created(bare))

	all := letters(t, o)
	if len(all) != 4 {
		t.Fatalf("%d mails came, want 4", len(all))
	}
	for i, want := range []struct{ file, subject, replyTo string }{
		{"created.txt", "New lead: Zenobia Quillfeather1", `"Zenobia Quillfeather1" <zenobia.quillfeather1@example.com>`},
		{"updated.txt", "Lead changed: Wilhelmina Featherstone2", `"Wilhelmina Featherstone2" <zenobia.quillfeather1@example.com>`},
		{"deleted.txt", "Lead deleted: " + l.ID, ""},
		{"created-bare.txt", "New lead: bare@example.com", "<bare@example.com>"},
	} {
		got := all[i]
		text, err := os.ReadFile(filepath.Join("testdata", want.file))
		if err != nil {
			t.Fatal(err)
		}
		if got.text != string(text) {
			t.Errorf("%s: got\n%s\nwant\n%s", want.file, got.text, text)
		}
		if got.subject != want.subject {
			t.Errorf("the subject is %q, want %q", got.subject, want.subject)
		}
		if replyTo := got.header.Get("Reply-To"); replyTo != want.replyTo {
			t.Errorf("Reply-To is %s, want %s", replyTo, want.replyTo)
		}
		if got.from != "leads@example.com" || !slices.Equal(got.to, []string{"sales@example.com", "jd@example.com"}) {
			t.Errorf("the envelope is from %s to %s", got.from, got.to)
		}
		to, err := got.header.AddressList("To")
		if err != nil || len(to) != 2 || to[0].String() != "<sales@example.com>" || to[1].Name != "Jürgen Doe" {
			t.Errorf("To is %v, %v", to, err)
		}
		if from := got.header.Get("From"); from != `"Leads" <leads@example.com>` {
			t.Errorf("From is %s", from)
		}
		if date, err := got.header.Date(); err != nil || date.Before(before) || date.After(time.Now().Add(time.Second)) {
			t.Errorf("Date is %s, %v", got.header.Get("Date"), err)
		}
		if got.header.Get("Auto-Submitted") != "auto-generated" || got.header.Get("X-Auto-Response-Suppress") != "OOF, AutoReply" {
			t.Errorf("an absence notice would answer: %v", got.header)
		}
		if got.hello != "[127.0.0.1]" {
			t.Errorf("the client calls itself %s", got.hello)
		}
	}
	if one, two := all[0].header.Get("References"), all[2].header.Get("References"); one == "" || one != two {
		t.Errorf("the mails of one lead are no thread: %s, %s", one, two)
	}
	if one, other := all[0].header.Get("References"), all[3].header.Get("References"); one == other {
		t.Errorf("two leads share the thread %s", one)
	}
}

func TestFieldsAndTemplatesSayWhatTheMailSays(t *testing.T) {
	l := connectortest.Sample(1)
	for _, row := range []struct {
		name          string
		settings      map[string]any
		rules         []connectors.FieldRule
		subject, text string
	}{
		{"fields", nil, []connectors.FieldRule{{To: "Who", From: "name"}, {To: "None", From: "none"}, {To: "Firm", From: "company"}, {To: "Team", Value: "west"}},
			"New lead: " + l.Name, "Who: Zenobia Quillfeather1\nFirm: Quillfeather & Daughters 1\nTeam: west\n\nLead " + l.ID + ", revision 1, 2026-03-14 15:09:26 UTC\n"},
		{"templates", map[string]any{"subject": "[{{.source}}] {{.first_name}}{{.none}}", "body": "Dear team,\n\n{{.name}} <{{.email}}> of {{.company}}\n"}, nil,
			"[website] Zenobia", "Dear team,\n\nZenobia Quillfeather1 <zenobia.quillfeather1@example.com> of Quillfeather & Daughters 1\n"},
		{"a subject of nothing", map[string]any{"subject": "{{.none}} "}, []connectors.FieldRule{{To: "A", Value: "b"}},
			"New lead: " + l.Name, "A: b\n\nLead " + l.ID + ", revision 1, 2026-03-14 15:09:26 UTC\n"},
	} {
		t.Run(row.name, func(t *testing.T) {
			o := newOffice(t, mailserver.NoTLS)
			pushed(t, opened(t, with(o.settings(mailserver.NoTLS), row.settings), row.rules...), connectortest.Created(l))
			if got := theLetter(t, o); got.subject != row.subject || got.text != row.text {
				t.Errorf("got  %q\n%q\nwant %q\n%q", got.subject, got.text, row.subject, row.text)
			}
		})
	}
}

func TestATemplateOrATextThatDoesNotFitIsTheLeadsFault(t *testing.T) {
	o := newOffice(t, mailserver.NoTLS)
	huge := connectortest.Sample(1)
	huge.Custom = map[string]any{}
	for i := range 110 {
		huge.Custom[fmt.Sprint("c", i)] = strings.Repeat("x", lead.MaxCustomValue)
	}
	for _, m := range []*mailer{
		opened(t, with(o.settings(mailserver.NoTLS), map[string]any{"subject": "{{index .name 1 2}}"})),
		opened(t, with(o.settings(mailserver.NoTLS), map[string]any{"body": "{{slice .source 0 100}}"})),
		opened(t, o.settings(mailserver.NoTLS)),
	} {
		_, err := m.Push(t.Context(), connectortest.Created(huge), "")
		if fault, _ := connectors.FaultOf(err); err == nil || fault != connectors.Lead || !strings.HasPrefix(err.Error(), "smtp: ") {
			t.Errorf("got %v, %v", fault, err)
		}
	}
	if o.visits() != 0 {
		t.Errorf("the server was asked %d times", o.visits())
	}
}

func TestNoLeadCanWriteAHeaderOrEndTheMail(t *testing.T) {
	const evil = "Zee\r\nBcc: victim@example.com\r\n\r\nhello\r\n.\r\nMAIL FROM:<x@example.com>\n.\nA\r.\rB\u2028C\u0085D\x1b[2J\x00"
	l := connectortest.Sample(1)
	l.Name, l.Note, l.Source = evil, evil, evil
	l.Custom = map[string]any{"x": evil, "y": "=?utf-8?q?=0D=0ABcc:_victim@example.com?="}
	for name, settings := range map[string]map[string]any{
		"the usual mail":  nil,
		"templates":       {"subject": "{{.note}}", "body": "{{.note}}\n"},
		"an encoded word": {"subject": "=?utf-8?q?=0D=0ABcc:_a@example.com?= {{.y}}"},
	} {
		t.Run(name, func(t *testing.T) {
			o := newOffice(t, mailserver.NoTLS)
			pushed(t, opened(t, with(o.settings(mailserver.NoTLS), settings)), connectortest.Created(l))
			got := theLetter(t, o)
			want := []string{
				"Auto-Submitted", "Content-Transfer-Encoding", "Content-Type", "Date", "From", "Message-Id", "Mime-Version", "References", "Reply-To",
				"Subject", "To", "User-Agent", "X-Auto-Response-Suppress", "X-Mailer",
			}
			if names := slices.Sorted(maps.Keys(got.header)); !slices.Equal(names, want) {
				t.Errorf("the headers are %q", names)
			}
			if !slices.Equal(got.to, []string{"sales@example.com"}) {
				t.Errorf("it went to %s", got.to)
			}
			if strings.ContainsAny(got.subject, "\r\n\u2028\u0085\x1b\x00") {
				t.Errorf("the subject has several lines: %q", got.subject)
			}
			replyTo, err := mail.ParseAddress(got.header.Get("Reply-To"))
			if err != nil || replyTo.Address != l.Email || strings.ContainsAny(replyTo.Name, "\r\n") {
				t.Errorf("Reply-To is %v, %v", replyTo, err)
			}
			if name == "an encoded word" && !strings.Contains(got.subject, "0D=0ABcc:_victim") {
				t.Errorf("the subject was decoded: %q", got.subject)
			}
			if name != "templates" {
				if strings.Contains(got.text, "\u2028") {
					t.Errorf("some mail programs begin a line at U+2028: %q", got.text)
				}
				for line := range strings.Lines(got.text) {
					if strings.HasPrefix(line, "Bcc") || strings.HasPrefix(line, "hello") || strings.HasPrefix(line, ".") || strings.HasPrefix(line, "C") {
						t.Errorf("a lead's line is not indented: %q", line)
					}
				}
			}
			if count := strings.Count(got.text, "MAIL FROM:<x@example.com>"); count == 0 {
				t.Errorf("the text does not show what the lead says:\n%s", got.text)
			}
		})
	}
	// A server takes exactly CR LF "." CR LF for the end; other line ends make some servers see one where others do not.
	o := newOffice(t, mailserver.NoTLS)
	pushed(t, opened(t, o.settings(mailserver.NoTLS)), connectortest.Created(l))
	raw := o.received()[0].raw
	if rest := strings.ReplaceAll(raw, "\r\n", ""); strings.ContainsAny(rest, "\r\n") {
		t.Errorf("a bare line end: %q", raw)
	}
}

func TestTextsArriveWholeInShortLines(t *testing.T) {
	o := newOffice(t, mailserver.NoTLS)
	l := connectortest.Sample(1)
	l.Name = strings.Repeat("Zoë-Ünïcödé👩‍🚀", 12)
	l.Note = ".\n..\n.dot\n" + strings.Repeat("長", lead.MaxNote-12) + "\n= =3D trailing \n"
	l.Custom = map[string]any{"word": strings.Repeat("w", lead.MaxCustomValue)}
	m := opened(t, with(o.settings(mailserver.NoTLS), map[string]any{"body": "{{.name}}\n{{.note}}{{.word}}\n"}))
	pushed(t, m, connectortest.Created(l))
	got := theLetter(t, o)
	if want := l.Name + "\n" + l.Note + l.Custom["word"].(string) + "\n"; got.text != want {
		t.Errorf("the text differs: %d bytes, want %d", len(got.text), len(want))
	}
	if want := "New lead: " + l.Name; got.subject != want {
		t.Errorf("the subject is %q, want %q", got.subject, want)
	}
	for line := range strings.Lines(got.raw) {
		if len(line) > 200 { // RFC 5322, 2.1.1: 998 at most
			t.Errorf("a line has %d bytes: %s", len(line), line)
		}
		if i := strings.IndexFunc(line, func(r rune) bool { return r >= 0x7f }); i >= 0 {
			t.Errorf("a line is not ASCII: %q", line)
		}
	}
	word := connectortest.Sample(2)
	word.Name = strings.Repeat("w", 5000)
	pushed(t, m, connectortest.Created(word))
	if got := letters(t, o)[1].subject; len([]rune(got)) != mailserver.MaxSubject || !strings.HasSuffix(got, "…") {
		t.Errorf("the subject has %d characters: %s", len([]rune(got)), got)
	}
}

func TestAMailIsRepeatedUnderItsMessageIDAndEveryChangeHasItsOwn(t *testing.T) {
	o := newOffice(t, mailserver.NoTLS)
	m := opened(t, with(o.settings(mailserver.NoTLS), everyEvent))
	l := connectortest.Sample(1)
	created := connectortest.Created(l)
	created.ID = l.ID + ".1.sales"
	pushed(t, m, created, created, connectortest.Updated(connectortest.Edited(l)), connectortest.Deleted(connectortest.Edited(l)), connectortest.Created(connectortest.Sample(2)))
	var ids []string
	for _, l := range letters(t, o) {
		ids = append(ids, l.header.Get("Message-ID"))
	}
	if len(ids) != 5 || ids[0] != ids[1] || ids[0] != "<"+created.ID+"@example.com>" {
		t.Errorf("got %q", ids)
	}
	slices.Sort(ids)
	if different := slices.Compact(ids); len(different) != 4 {
		t.Errorf("got %q, want 4", different)
	}
}

func TestOnlyTheConfiguredEventsAreMailed(t *testing.T) {
	l := connectortest.Sample(1)
	for _, row := range []struct {
		events []any
		want   []string
	}{
		{nil, []string{"New"}},
		{[]any{"updated"}, []string{"Lead changed"}},
		{[]any{"deleted", "created"}, []string{"New", "Lead deleted"}},
	} {
		o := newOffice(t, mailserver.NoTLS)
		settings := o.settings(mailserver.NoTLS)
		if row.events != nil {
			settings["events"] = row.events
		}
		m := opened(t, settings)
		for _, change := range []lead.Change{connectortest.Created(l), connectortest.Updated(connectortest.Edited(l)), connectortest.Deleted(l)} {
			if ref, err := m.Push(t.Context(), change, "a ref"); err != nil || ref != "a ref" {
				t.Errorf("%s: %q, %v", change.Op, ref, err)
			}
		}
		all := letters(t, o)
		if len(all) != len(row.want) || o.visits() != len(row.want) {
			t.Fatalf("%v: %d mails in %d sessions, want %q", row.events, len(all), o.visits(), row.want)
		}
		for i, want := range row.want {
			if !strings.HasPrefix(all[i].subject, want) {
				t.Errorf("%v: mail %d is %q, want %q", row.events, i, all[i].subject, want)
			}
		}
	}
}

func TestReplyToIsTheLeadWhereThatCanBe(t *testing.T) {
	for _, row := range []struct {
		name, address string
		settings      map[string]any
		want          string
	}{
		{`Zoë "Zee", Ünïcödé`, "o'hara+x@example.ie", nil, "o'hara+x@example.ie"},
		{"", "a@b.example", nil, "a@b.example"},
		{"Zee", "jörg@example.com", nil, ""},
		{"Zee", "joerg@exämple.com", nil, ""},
		{"Zee", "zee@example.com", map[string]any{"reply_to_lead": false}, ""},
	} {
		o := newOffice(t, mailserver.NoTLS)
		l := connectortest.Sample(1)
		l.Name, l.Email = row.name, row.address
		pushed(t, opened(t, with(o.settings(mailserver.NoTLS), row.settings)), connectortest.Created(l))
		got := theLetter(t, o)
		if row.want == "" {
			if got.header.Get("Reply-To") != "" {
				t.Errorf("%s: Reply-To is %s", row.address, got.header.Get("Reply-To"))
			}
		} else if a, err := mail.ParseAddress(got.header.Get("Reply-To")); err != nil || a.Address != row.want || a.Name != row.name {
			t.Errorf("%s: Reply-To is %v, %v", row.address, a, err)
		}
		if !strings.Contains(got.text, "Email: "+row.address+"\n") {
			t.Errorf("the text does not show %s:\n%s", row.address, got.text)
		}
	}
}

func TestTheConnectionIsAsPrivateAsConfigured(t *testing.T) {
	for _, mode := range []string{mailserver.StartTLS, mailserver.ImplicitTLS, mailserver.NoTLS} {
		for _, mechanism := range []string{"", "PLAIN", "LOGIN"} {
			t.Run(mode+" "+mechanism, func(t *testing.T) {
				var mechanisms []string
				if mechanism != "" {
					mechanisms = []string{mechanism}
				}
				o := newOffice(t, mode, mechanisms...)
				m := opened(t, with(o.settings(mode), map[string]any{"host": "localhost"}))
				pushed(t, m, connectortest.Created(connectortest.Sample(1)))
				got := theLetter(t, o)
				if got.encrypted != (mode != mailserver.NoTLS) || got.mechanism != mechanism {
					t.Errorf("encrypted %v, signed in by %q", got.encrypted, got.mechanism)
				}
			})
		}
	}
}

func TestNothingIsSaidWithoutTheTLSThatIsConfigured(t *testing.T) {
	bare := newScripted(t, map[string]string{"EHLO": "250-mail.example.com\r\n250 AUTH PLAIN LOGIN"})
	old := newScripted(t, map[string]string{"EHLO": "502 what?"})
	lying := newScripted(t, map[string]string{"EHLO": "250-mail.example.com\r\n250-AUTH PLAIN\r\n250 STARTTLS", "STARTTLS": "454 4.7.0 not today"})
	for _, row := range []struct {
		server *scripted
		mode   string
		want   connectors.Fault
		text   string
	}{
		{bare, mailserver.StartTLS, connectors.Setup, "smtp: starttls: the server does not offer it; tls: implicit is for"},
		{old, mailserver.StartTLS, connectors.Setup, "smtp: starttls: the server does not offer it"},
		{lying, mailserver.StartTLS, connectors.Remote, "smtp: starttls: 454/4.7.0 not today"},
		{bare, mailserver.ImplicitTLS, connectors.Setup, "smtp: tls: the server does not begin with TLS; port 587 and most others need tls: starttls"},
	} {
		m := opened(t, with(row.server.settings(), map[string]any{"tls": row.mode, "username": testUser, "password": testPassword}))
		_, err := m.Push(t.Context(), connectortest.Created(connectortest.Sample(1)), "")
		var e *connectors.Error
		if !errors.As(err, &e) || e.Fault != row.want || !e.NotSent || !strings.HasPrefix(err.Error(), row.text) {
			t.Errorf("%s: got %+v, want %v, %s", row.mode, err, row.want, row.text)
		}
		for _, verb := range row.server.verbs() {
			if slices.Contains([]string{"AUTH", "MAIL", "RCPT1", "DATA"}, verb) {
				t.Errorf("%s: the server heard %s", row.mode, verb)
			}
		}
	}
}

func TestACertificateThatIsNotTrustedIsASetupFault(t *testing.T) {
	for name, row := range map[string]struct {
		host, want string
		issuer     *x509.Certificate
	}{
		"another name":            {"127.0.0.2", "certificate is valid for ", authority.certificate},
		"an authority of its own": {"127.0.0.1", "unknown authority", nil},
	} {
		for _, mode := range []string{mailserver.StartTLS, mailserver.ImplicitTLS} {
			t.Run(name+" "+mode, func(t *testing.T) {
				o := newOfficeAt(t, row.host, mode, certificate(t, row.issuer))
				m := opened(t, with(o.settings(mode), map[string]any{"host": row.host}))
				_, err := m.Push(t.Context(), connectortest.Created(connectortest.Sample(1)), "")
				fault, _ := connectors.FaultOf(err)
				if err == nil || fault != connectors.Setup || !strings.Contains(err.Error(), row.want) || !strings.Contains(err.Error(), "SSL_CERT_FILE") {
					t.Errorf("got %v, %v", fault, err)
				}
			})
		}
	}
}

// In go-mail the error of a failed AUTH is not the one that carries the codes of a reply.
func TestT27AFailedSignInIsASetupFault(t *testing.T) {
	for _, mechanism := range []string{"PLAIN", "LOGIN"} {
		o := newOffice(t, mailserver.StartTLS, mechanism)
		m := opened(t, with(o.settings(mailserver.StartTLS), map[string]any{"password": "wrong horse battery"}))
		for _, call := range []func() error{
			func() error {
				_, err := m.Push(t.Context(), connectortest.Created(connectortest.Sample(1)), "")
				return err
			},
			func() error { return m.Check(t.Context()) },
		} {
			err := call()
			var e *connectors.Error
			if !errors.As(err, &e) || e.Fault != connectors.Setup || !e.NotSent ||
				err.Error() != "smtp: auth: 535/5.7.8: the username and the password are not accepted" {
				t.Errorf("%s: got %+v", mechanism, err)
			}
		}
		if len(o.received()) != 0 {
			t.Error("a mail was sent")
		}
	}
	credentials := base64.StdEncoding.EncodeToString([]byte("\x00" + testUser + "\x00" + testPassword))
	for reply, want := range map[string]connectors.Fault{
		"535 5.7.8 bad credentials " + credentials: connectors.Setup,
		"535 " + testUser + " unknown":             connectors.Setup,
		"534 5.7.9 use a stronger mechanism":       connectors.Setup,
		"538 5.7.11 encryption required":           connectors.Setup,
		"530 5.7.0 must issue STARTTLS first":      connectors.Setup,
		"504 5.5.4 mechanism " + credentials:       connectors.Setup,
		"432 4.7.12 a new password is needed":      connectors.Setup,
		"454 4.7.0 temporary failure":              connectors.Remote,
		"421 4.7.0 too many connections":           connectors.Throttled,
		cut:                                        connectors.Remote,
		"334 !not base64":                          connectors.Remote,
	} {
		s := newScripted(t, map[string]string{"EHLO": "250-mail.example.com\r\n250 AUTH PLAIN", "AUTH": reply})
		m := opened(t, with(s.settings(), map[string]any{"username": testUser, "password": testPassword}))
		_, err := m.Push(t.Context(), connectortest.Created(connectortest.Sample(1)), "")
		var e *connectors.Error
		if !errors.As(err, &e) || e.Fault != want || !e.NotSent {
			t.Errorf("%s: got %+v, want %v", reply, err, want)
		}
		for _, secret := range []string{testUser, testPassword, credentials} {
			if err != nil && strings.Contains(err.Error(), secret) {
				t.Errorf("%s: the error shows a secret: %v", reply, err)
			}
		}
	}
	without := newScripted(t, nil)
	m := opened(t, with(without.settings(), map[string]any{"username": testUser, "password": testPassword}))
	_, err := m.Push(t.Context(), connectortest.Created(connectortest.Sample(1)), "")
	if fault, _ := connectors.FaultOf(err); err == nil || fault != connectors.Setup || !strings.Contains(err.Error(), "neither PLAIN nor LOGIN") {
		t.Errorf("got %v, %v", fault, err)
	}
	needed := newOffice(t, mailserver.NoTLS, "PLAIN")
	settings := needed.settings(mailserver.NoTLS)
	delete(settings, "username")
	delete(settings, "password")
	_, err = opened(t, settings).Push(t.Context(), connectortest.Created(connectortest.Sample(1)), "")
	if fault, _ := connectors.FaultOf(err); err == nil || fault != connectors.Setup || !strings.HasPrefix(err.Error(), "smtp: from: 530/5.7.0 ") {
		t.Errorf("got %v, %v", fault, err)
	}
}

func TestARefusalIsOfTheSettingsBeforeTheMailAndOfTheLeadAfter(t *testing.T) {
	for _, row := range []struct {
		verb, reply string
		want        connectors.Fault
		text        string
		helo        string // the reply to HELO, which follows where EHLO is refused
	}{
		{"greeting", "554 5.7.1 your address is on a list", connectors.Setup, "greeting: 554/5.7.1 your address is on a list", ""},
		{"greeting", "421 too many connections", connectors.Throttled, "greeting: 421 too many connections", ""},
		{"greeting", "220-hello\r\n220 there", -1, "", ""},
		{"greeting", "HTTP/1.1 400 Bad Request", connectors.Remote, "greeting: the connection was lost, or what came is not SMTP", ""},
		{"EHLO", "421 4.3.2 going down", connectors.Throttled, "hello: 421/4.3.2 going down", cut},
		{"EHLO", "502 what?", -1, "", "250 mail.example.com"},
		{"EHLO", "550 not you", connectors.Setup, "hello: 550 not you", "550 not you"},
		{"MAIL", "550 5.7.1 not your sender", connectors.Setup, "from: 550/5.7.1 not your sender", ""},
		{"MAIL", "530 5.7.0 sign in", connectors.Setup, "from: 530", ""},
		{"MAIL", "451 4.3.0 try later", connectors.Remote, "from: 451/4.3.0 try later", ""},
		{"MAIL", "452 4.3.1 no storage", connectors.Throttled, "from: 452/4.3.1", ""},
		{"MAIL", "452 no storage", connectors.Throttled, "from: 452", ""},
		{"RCPT1", "550 5.1.1 nobody here", connectors.Setup, "to[0]: 550/5.1.1 nobody here", ""},
		{"RCPT2", "550-5.1.1 nobody\r\n550 5.1.1 here", connectors.Setup, "to[1]: 550/5.1.1 nobody 5.1.1 here", ""},
		{"RCPT2", "552 5.2.2 full", connectors.Setup, "to[1]: 552/5.2.2 full", ""},
		{"RCPT2", "554 5.7.1 relay access denied", connectors.Setup, "to[1]: 554", ""},
		{"RCPT2", "450 4.7.1 greylisted", connectors.Throttled, "to[1]: 450/4.7.1 greylisted", ""},
		{"RCPT2", "451 4.7.1 greylisted", connectors.Throttled, "to[1]: 451", ""},
		{"RCPT2", "450 greylisted", connectors.Throttled, "to[1]: 450 greylisted", ""},
		{"RCPT2", "450 4.2.1 mailbox busy", connectors.Remote, "to[1]: 450/4.2.1", ""},
		{"RCPT2", "451 aborted", connectors.Remote, "to[1]: 451", ""},
		{"RCPT2", "452 4.5.3 too many recipients", connectors.Throttled, "to[1]: 452", ""},
		{"RCPT2", "251 will forward", -1, "", ""},
		{"DATA", "554 no valid recipients", connectors.Setup, "data: 554 no valid recipients", ""},
		{"DATA", "421 too slow", connectors.Throttled, "data: 421", ""},
		{"DATA", "250 fine", connectors.Remote, "data: 250 fine", ""},
		{".", "552 5.3.4 too big", connectors.Lead, "mail: 552/5.3.4 too big", ""},
		{".", "552 too big", connectors.Lead, "mail: 552 too big", ""},
		{".", "554 5.7.1 looks like spam", connectors.Lead, "mail: 554/5.7.1 looks like spam", ""},
		{".", "550 5.6.0 lines are too long", connectors.Lead, "mail: 550", ""},
		{".", "552 5.2.3 too big for the mailbox", connectors.Lead, "mail: 552", ""},
		{".", "554 5.1.8 the sender's domain is unknown", connectors.Setup, "mail: 554/5.1.8", ""},
		{".", "552 5.2.2 full", connectors.Setup, "mail: 552", ""},
		{".", "530 sign in", connectors.Setup, "mail: 530", ""},
		{".", "451 4.7.1 suspicious, try later", connectors.Remote, "mail: 451/4.7.1", ""},
		{".", "421 4.7.0 suspicious, try later", connectors.Remote, "mail: 421/4.7.0", ""},
		{".", "251 accepted in another way", -1, "", ""},
		{".", "354 go on", connectors.Unknown, "mail: 354", ""},
		{".", "999 what", connectors.Unknown, "mail: 999", ""},
		{".", "nonsense", connectors.Unknown, "mail: no answer: the connection was lost, or what came is not SMTP", ""},
	} {
		s := newScripted(t, map[string]string{row.verb: row.reply, "HELO": row.helo})
		ref, err := opened(t, s.settings()).Push(t.Context(), connectortest.Created(connectortest.Sample(1)), "")
		if row.want < 0 {
			if err != nil || ref != "" || s.whole() != 1 {
				t.Errorf("%s %s: got %v, %d mails; want one", row.verb, row.reply, err, s.whole())
			}
			continue
		}
		var e *connectors.Error
		if !errors.As(err, &e) || e.Fault != row.want || !strings.HasPrefix(err.Error(), "smtp: "+row.text) {
			t.Errorf("%s %s: got %+v; want %v, %q", row.verb, row.reply, err, row.want, row.text)
			continue
		}
		if e.NotSent != (row.verb != ".") {
			t.Errorf("%s %s: NotSent is %v", row.verb, row.reply, e.NotSent)
		}
		// Whoever shows an error redacts it once more.
		if again := connectors.Redact(err.Error()); again != err.Error() {
			t.Errorf("%s %s: %q is redacted to %q", row.verb, row.reply, err, again)
		}
	}
}

func TestARefusedRecipientLeavesNobodyWithAMail(t *testing.T) {
	o := newOffice(t, mailserver.NoTLS)
	o.refuse = func(step, argument string) error {
		if argument == "b@example.com" {
			return &server.SMTPError{Code: 550, EnhancedCode: server.EnhancedCode{5, 1, 1}, Message: "b@example.com is unknown"}
		}
		return nil
	}
	m := opened(t, o.settings(mailserver.NoTLS, "a@example.com", "b@example.com", "c@example.com"))
	_, err := m.Push(t.Context(), connectortest.Created(connectortest.Sample(1)), "")
	checked := m.Check(t.Context())
	for _, err := range []error{err, checked} {
		if fault, _ := connectors.FaultOf(err); err == nil || fault != connectors.Setup || err.Error() != "smtp: to[1]: 550/5.1.1 <redacted> is unknown" {
			t.Errorf("got %v, %v", fault, err)
		}
	}
	if len(o.received()) != 0 {
		t.Error("a mail was sent")
	}
}

func TestWithoutAnAnswerItDependsOnWhetherTheMailWasWhole(t *testing.T) {
	l, port := listen(t, "127.0.0.1")
	l.Close() // nobody listens there now
	_, err := opened(t, (&office{port: port}).settings(mailserver.NoTLS)).Push(t.Context(), connectortest.Created(connectortest.Sample(1)), "")
	var e *connectors.Error
	if !errors.As(err, &e) || e.Fault != connectors.Remote || !e.NotSent || err.Error() != "smtp: connect: connection refused" {
		t.Errorf("got %+v", err)
	}
	for _, verb := range []string{"greeting", "EHLO", "MAIL", "RCPT2", "DATA", "."} {
		want, text := connectors.Remote, "the connection was closed"
		if verb == "." {
			want, text = connectors.Unknown, "mail: no answer: the connection was closed"
		}
		s := newScripted(t, map[string]string{verb: cut})
		_, err := opened(t, s.settings()).Push(t.Context(), connectortest.Created(connectortest.Sample(1)), "")
		if !errors.As(err, &e) || e.Fault != want || e.NotSent != (verb != ".") || !strings.Contains(err.Error(), text) {
			t.Errorf("cut at %s: got %+v, want %v", verb, err, want)
		}
	}
}

func TestAServerThatHangsIsLeftWhenTheTimeIsOver(t *testing.T) {
	for _, verb := range []string{"greeting", "EHLO", "MAIL", "RCPT2", "DATA"} {
		s := newScripted(t, map[string]string{verb: hang})
		m := opened(t, with(s.settings(), map[string]any{"timeout": "50ms"}))
		_, err := m.Push(t.Context(), connectortest.Created(connectortest.Sample(1)), "")
		var e *connectors.Error
		if !errors.As(err, &e) || e.Fault != connectors.Remote || !e.NotSent || !strings.Contains(err.Error(), ": timed out") {
			t.Errorf("%s: got %+v", verb, err)
		}
		if verb == "greeting" && !strings.Contains(err.Error(), "needs tls: implicit") {
			t.Errorf("got %v", err)
		}
	}
}

func TestACancelledPushEndsAtOnce(t *testing.T) {
	for _, verb := range []string{"greeting", "EHLO", "MAIL", "RCPT2", "DATA", "."} {
		ctx, cancel := context.WithCancel(t.Context())
		s := newScripted(t, map[string]string{verb: hang}, func(heard string) {
			if heard == verb {
				cancel()
			}
		})
		_, err := opened(t, with(s.settings(), map[string]any{"timeout": "1h"})).Push(ctx, connectortest.Created(connectortest.Sample(1)), "")
		want := connectors.Remote
		if verb == "." {
			want = connectors.Unknown
		}
		var e *connectors.Error
		if !errors.As(err, &e) || e.Fault != want || e.NotSent != (verb != ".") || !errors.Is(err, context.Canceled) {
			t.Errorf("%s: got %+v, want %v", verb, err, want)
		}
		<-s.ended
	}
	s := newScripted(t, nil)
	ctx, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer cancel()
	_, err := opened(t, s.settings()).Push(ctx, connectortest.Created(connectortest.Sample(1)), "")
	var e *connectors.Error
	if !errors.As(err, &e) || !e.NotSent || !errors.Is(err, context.DeadlineExceeded) || len(s.verbs()) != 0 {
		t.Errorf("got %+v, the server heard %q", err, s.verbs())
	}
}

// overdue is a context whose deadline passes without its timer having fired, as in a process that was paused.
type overdue struct {
	context.Context
	passed atomic.Bool
}

func (c *overdue) Deadline() (time.Time, bool) {
	if c.passed.Load() {
		return time.Now().Add(-time.Second), true
	}
	return time.Time{}, false
}

// Whatever is written after DATA is the mail: go-mail would end it before a QUIT.
func TestPastItsTimeNoMailIsSentAndNoEmptyOneEither(t *testing.T) {
	for _, last := range []string{"greeting", "EHLO", "MAIL", "RCPT2", "DATA"} {
		ctx := &overdue{Context: t.Context()}
		s := newScripted(t, nil, func(verb string) {
			if verb == last {
				ctx.passed.Store(true)
			}
		})
		_, err := opened(t, s.settings()).Push(ctx, connectortest.Created(connectortest.Sample(1)), "")
		<-s.ended
		var e *connectors.Error
		if !errors.As(err, &e) || e.Fault != connectors.Remote || !e.NotSent || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: got %+v", last, err)
		}
		if verbs := s.verbs(); verbs[len(verbs)-1] != last || s.whole() != 0 {
			t.Errorf("%s: %d mails, the server heard %q", last, s.whole(), verbs)
		}
	}
}

func TestWhatFollowsAnAcceptedMailIsNoError(t *testing.T) {
	for _, reply := range []string{"500 what?", "421 too late", cut, "nonsense"} {
		s := newScripted(t, map[string]string{"QUIT": reply})
		if _, err := opened(t, s.settings()).Push(t.Context(), connectortest.Created(connectortest.Sample(1)), ""); err != nil {
			t.Errorf("%s: %v", reply, err)
		}
		<-s.ended
		if want := []string{"greeting", "EHLO", "MAIL", "RCPT1", "RCPT2", "DATA", ".", "QUIT"}; !slices.Equal(s.verbs(), want) || s.whole() != 1 {
			t.Errorf("the server heard %q", s.verbs())
		}
	}
	s := newScripted(t, map[string]string{"QUIT": hang})
	if _, err := opened(t, s.settings()).Push(t.Context(), connectortest.Created(connectortest.Sample(1)), ""); err != nil {
		t.Error(err)
	}
}

func TestAServerThatNeverStopsTalkingIsLeft(t *testing.T) {
	l, port := listen(t, "127.0.0.1")
	done := make(chan error, 1)
	go func() {
		conn, err := l.Accept()
		if err != nil {
			done <- err
			return
		}
		defer conn.Close()
		for err == nil {
			_, err = io.WriteString(conn, "220-"+strings.Repeat("welcome ", 1000)+"\r\n")
		}
		done <- nil
	}()
	t.Cleanup(func() { l.Close() })
	m := opened(t, with((&office{port: port}).settings(mailserver.NoTLS), map[string]any{"timeout": "1h"}))
	_, err := m.Push(t.Context(), connectortest.Created(connectortest.Sample(1)), "")
	if fault, _ := connectors.FaultOf(err); err == nil || fault != connectors.Remote || len(err.Error()) > 200 {
		t.Errorf("got %v, %v", fault, err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestAReplyThatRepeatsTheMailShowsNothingOfTheLead(t *testing.T) {
	l := connectortest.Sample(1)
	l.Custom["names"] = []any{"Ottoline Marsh"}
	for _, step := range []string{"MAIL", "RCPT", "DATA"} {
		o := newOffice(t, mailserver.NoTLS, "PLAIN")
		o.refuse = func(at, argument string) error {
			if at != step {
				return nil
			}
			return &server.SMTPError{Code: 554, EnhancedCode: server.EnhancedCode{5, 6, 0}, Message: fmt.Sprintf("from %s (%s): %s <%s> said %s, %s of %s",
				testUser, testPassword, l.Name, l.Email, l.Note, "Ottoline Marsh", l.Custom["company"])}
		}
		_, err := opened(t, o.settings(mailserver.NoTLS)).Push(t.Context(), connectortest.Created(l), "")
		if err == nil {
			t.Fatal("no error")
		}
		for _, value := range append(l.Personal(), testUser, testPassword) {
			if strings.Contains(err.Error(), value) {
				t.Errorf("%s: %q is in %v", step, value, err)
			}
		}
	}
}

func TestCheckSignsInAndSendsNothing(t *testing.T) {
	o := newOffice(t, mailserver.StartTLS, "PLAIN")
	if err := opened(t, o.settings(mailserver.StartTLS)).Check(t.Context()); err != nil {
		t.Error(err)
	}
	if len(o.received()) != 0 || o.visits() == 0 {
		t.Errorf("%d mails in %d sessions", len(o.received()), o.visits())
	}
	s := newScripted(t, nil)
	if err := opened(t, s.settings()).Check(t.Context()); err != nil {
		t.Error(err)
	}
	<-s.ended
	if want := []string{"greeting", "EHLO", "MAIL", "RCPT1", "RCPT2", "RSET", "QUIT"}; !slices.Equal(s.verbs(), want) {
		t.Errorf("the server heard %q", s.verbs())
	}
}

func TestConnectorsOfOneAccountShareTheirLimits(t *testing.T) {
	settings := newOffice(t, mailserver.NoTLS, "PLAIN").settings(mailserver.NoTLS)
	scope := func(more map[string]any) string { return opened(t, with(settings, more)).Limits().Scope }
	if scope(nil) != scope(map[string]any{"from": "other@example.com"}) {
		t.Error("two connectors of one account do not share")
	}
	for _, other := range []map[string]any{{"port": 26}, {"host": "localhost"}, {"username": "other"}} {
		if scope(nil) == scope(other) {
			t.Errorf("%v shares", other)
		}
	}
}

func TestThePortFollowsFromTLS(t *testing.T) {
	for mode, want := range map[string]string{"": ":587:", mailserver.StartTLS: ":587:", mailserver.ImplicitTLS: ":465:", mailserver.NoTLS: ":25:"} {
		settings := map[string]any{"host": "mail.example.com", "from": "a@example.com", "to": []any{"b@example.com"}}
		if mode != "" {
			settings["tls"] = mode
		}
		if scope := opened(t, settings).Limits().Scope; !strings.Contains(scope, want) {
			t.Errorf("%s: %s", mode, scope)
		}
	}
}

func TestSettingsThatAreRefused(t *testing.T) {
	good := map[string]any{"host": "mail.example.com", "from": "a@example.com", "to": []any{"b@example.com"}}
	many := make([]any, 101)
	for i := range many {
		many[i] = fmt.Sprintf("x%d@example.com", i)
	}
	for _, row := range []struct {
		name     string
		settings map[string]any
		want     string
	}{
		{"a port in the host", map[string]any{"host": "mail.example.com:25"}, "host: must be a host name or an IP address; the port is a setting of its own"},
		{"a URL", map[string]any{"host": "smtp://mail.example.com"}, "host: must be a host name or an IP address; the port is a setting of its own"},
		{"no port", map[string]any{"port": 65536}, "port: must be 1 to 65535"},
		{"a negative port", map[string]any{"port": -1}, "port: must be 1 to 65535"},
		{"another tls", map[string]any{"tls": "ssl"}, "tls: must be starttls, implicit or none"},
		{"a password in the clear", map[string]any{"tls": "none", "username": "x", "password": "y"}, "tls: none would send the password in the clear; it takes a username only where host is this machine"},
		{"a username alone", map[string]any{"username": "x"}, "password: required with a username"},
		{"a password alone", map[string]any{"password": "x"}, "username: required with a password"},
		{"no sender's address", map[string]any{"from": "leads"}, `from: must be an address such as "Jane Doe <jane@example.com>"`},
		{"two senders", map[string]any{"from": "a@example.com, b@example.com"}, `from: must be an address such as "Jane Doe <jane@example.com>"`},
		{"a header in the sender", map[string]any{"from": "a@example.com\r\nBcc: b@example.com"}, `from: must be an address such as "Jane Doe <jane@example.com>"`},
		{"a sender that is not ASCII", map[string]any{"from": "a@exämple.com"}, "from: the address must be ASCII without quotes; write a domain such as bücher.example as xn--bcher-kva.example"},
		{"a quoted recipient", map[string]any{"to": []any{"b@example.com", `"x@evil.example"@example.com`}}, "to[1]: the address must be ASCII without quotes; write a domain such as bücher.example as xn--bcher-kva.example"},
		{"no recipient", map[string]any{"to": []any{}}, "to: required, a list of addresses"},
		{"too many recipients", map[string]any{"to": many}, "to: at most 100 addresses"},
		{"a recipient twice", map[string]any{"to": []any{"b@example.com", "B <b@example.com>"}}, "to[1]: is listed twice"},
		{"another event", map[string]any{"events": []any{"created", "create"}}, "events[1]: must be created, updated or deleted"},
		{"no event", map[string]any{"events": []any{}}, "events: required, any of created, updated and deleted"},
		{"a broken subject", map[string]any{"subject": "{{.name"}, "subject: template: template:1: unclosed action"},
		{"a broken body", map[string]any{"body": "{{nope .name}}"}, `body: template: template:1: function "nope" not defined`},
		{"no time", map[string]any{"timeout": "0s"}, "timeout: must be more than 0"},
		{"several at once", map[string]any{"host": "", "to": []any{"x"}}, "host: required\n" + `to[0]: must be an address such as "Jane Doe <jane@example.com>"`},
	} {
		t.Run(row.name, func(t *testing.T) {
			_, err := Kind.Open(with(good, row.settings), connectors.Env{})
			if err == nil || err.Error() != row.want {
				t.Errorf("got  %v\nwant %s", err, row.want)
			}
		})
	}
	mapping, err := connectors.NewMapping([]connectors.FieldRule{{To: "a", From: "email"}})
	if err != nil {
		t.Fatal(err)
	}
	_, err = Kind.Open(with(good, map[string]any{"body": "x"}), connectors.Env{Fields: mapping})
	if err == nil || err.Error() != "body: says all of the mail, so that fields would be left out; give one of them" {
		t.Errorf("got %v", err)
	}
	for _, host := range []string{"localhost", "127.0.0.1", "::1", "127.1.2.3"} {
		if _, err := Kind.Open(with(good, map[string]any{"host": host, "tls": "none", "username": "x", "password": "y"}), connectors.Env{}); err != nil {
			t.Errorf("%s: %v", host, err)
		}
	}
}
