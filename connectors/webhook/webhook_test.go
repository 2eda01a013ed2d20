package webhook

import (
	"bufio"
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/leadrelay/leadrelay/connectors"
	"github.com/leadrelay/leadrelay/connectors/connectortest"
	"github.com/leadrelay/leadrelay/internal/lead"
)

const (
	testSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo="
	oldSecret  = "whsec_c2l4IGJ5IG5pbmUuIGZvcnR5IHR3by4gYWx3YXlz"
)

// receiver is a receiver by the book: it verifies signature and age, and takes each webhook-id once.
type receiver struct {
	secret string // "": none is expected

	mu       sync.Mutex
	seen     map[string]bool
	records  map[string]map[string]string
	requests []received
}

type received struct {
	header http.Header
	body   string
}

func newReceiver(secret string) *receiver {
	return &receiver{secret: secret, seen: map[string]bool{}, records: map[string]map[string]string{}}
}

func (r *receiver) Records() []connectortest.Record {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []connectortest.Record
	for id, fields := range r.records {
		all = append(all, connectortest.Record{Key: id, Fields: fields})
	}
	return all
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, _ := io.ReadAll(req.Body)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.requests = append(r.requests, received{req.Header.Clone(), string(body)})
	id := req.Header.Get("webhook-id")
	var event struct {
		Type      string         `json:"type"`
		Timestamp time.Time      `json:"timestamp"`
		Data      map[string]any `json:"data"`
	}
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.UseNumber()
	decoder.DisallowUnknownFields()
	switch {
	case req.Method != http.MethodPost, req.Header.Get("Content-Type") != "application/json", id == "":
		http.Error(w, "no webhook", http.StatusBadRequest)
		return
	case r.secret != "" && verify(r.secret, req.Header, body) != nil:
		http.Error(w, "wrong signature", http.StatusUnauthorized)
		return
	case decoder.Decode(&event) != nil || event.Timestamp.IsZero() || !strings.HasPrefix(event.Type, "lead."):
		http.Error(w, "no event", http.StatusBadRequest)
		return
	}
	w.WriteHeader(http.StatusNoContent)
	if r.seen[id] {
		return
	}
	r.seen[id] = true
	lead := event.Data["lead_id"].(string)
	if event.Type == "lead.deleted" {
		delete(r.records, lead)
		return
	}
	fields := map[string]string{}
	for name, value := range event.Data {
		fields[name] = fmt.Sprint(value)
	}
	r.records[lead] = fields
}

// verify is what a receiver does, written from the specification and not from the code it tests.
func verify(secret string, header http.Header, body []byte) error {
	seconds, err := strconv.ParseInt(header.Get("webhook-timestamp"), 10, 64)
	if err != nil {
		return err
	}
	if age := time.Since(time.Unix(seconds, 0)).Abs(); age > 5*time.Minute {
		return fmt.Errorf("the attempt is %s old", age)
	}
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
	if err != nil {
		return err
	}
	mac := hmac.New(sha256.New, key)
	fmt.Fprintf(mac, "%s.%s.%s", header.Get("webhook-id"), header.Get("webhook-timestamp"), body)
	for _, signature := range strings.Split(header.Get("webhook-signature"), " ") {
		version, encoded, _ := strings.Cut(signature, ",")
		given, err := base64.StdEncoding.DecodeString(encoded)
		if version == "v1" && err == nil && hmac.Equal(given, mac.Sum(nil)) {
			return nil
		}
	}
	return fmt.Errorf("no signature fits")
}

func TestWebhookConforms(t *testing.T) {
	connectortest.Run(t, connectortest.Harness{
		Kind:      Kind,
		NewVendor: func(testing.TB) connectortest.Vendor { return newReceiver(testSecret) },
		Settings: func(baseURL string, _ connectortest.Vendor) map[string]any {
			return map[string]any{
				"url": baseURL + "/hooks/t0ken-in-the-path", "secret": testSecret, "previous_secret": oldSecret,
				"allow_private": true,
			}
		},
		Secrets:  []string{testSecret, testSecret[6:], oldSecret, oldSecret[6:], "t0ken-in-the-path"},
		Required: []string{"url"},

		ReachOnly: true,
	})
}

func TestWebhookWithFieldsConforms(t *testing.T) {
	connectortest.Run(t, connectortest.Harness{
		Kind:      Kind,
		NewVendor: func(testing.TB) connectortest.Vendor { return newReceiver("") },
		Settings: func(baseURL string, _ connectortest.Vendor) map[string]any {
			return map[string]any{"url": baseURL, "allow_private": true}
		},
		ReachOnly: true,
		Fields:    []connectors.FieldRule{{To: "mail", From: "email"}, {To: "who", Template: "{{.first_name}} {{.last_name}}"}},
	})
}

// opened is a webhook to a receiver, and that receiver.
func opened(t *testing.T, settings map[string]any, rules ...connectors.FieldRule) (*hook, *receiver) {
	t.Helper()
	to := newReceiver("")
	server := httptest.NewServer(to)
	t.Cleanup(server.Close)
	settings = maps.Clone(settings)
	if settings == nil {
		settings = map[string]any{}
	}
	settings["url"], settings["allow_private"] = server.URL, true
	mapping, err := connectors.NewMapping(rules)
	if err != nil {
		t.Fatal(err)
	}
	connector, err := Kind.Open(settings, connectors.Env{Name: "hook", Fields: mapping, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	h := connector.(*hook)
	t.Cleanup(func() { h.Close() })
	return h, to
}

func push(t *testing.T, h *hook, change lead.Change) {
	t.Helper()
	if _, err := h.Push(context.Background(), change, ""); err != nil {
		t.Fatal(err)
	}
}

func TestBodyIsWhatIsDocumented(t *testing.T) {
	l := connectortest.Sample(1)
	l.Custom = map[string]any{
		"company": "Quillfeather & Daughters", "budget": json.Number("12345678901234567890.50"),
		"newsletter": true, "tags": []any{"a", "b"},
	}
	bare := lead.Lead{ID: l.ID, Email: l.Email, Revision: 1, Created: l.Created, Updated: l.Updated}
	fields := []connectors.FieldRule{
		{To: "mail", From: "email"}, {To: "greeting", Template: "Dear {{.first_name}}"},
		{To: "missing", From: "no_such_field"}, {To: "list", Value: 7},
	}
	for _, row := range []struct {
		file   string
		rules  []connectors.FieldRule
		change lead.Change
	}{
		{"created.json", nil, connectortest.Created(l)},
		{"updated.json", nil, connectortest.Updated(connectortest.Edited(l))},
		{"deleted.json", nil, connectortest.Deleted(l)},
		{"created-bare.json", nil, connectortest.Created(bare)},
		{"created-with-fields.json", fields, connectortest.Created(l)},
		{"deleted-with-fields.json", fields, connectortest.Deleted(l)},
	} {
		t.Run(row.file, func(t *testing.T) {
			h, to := opened(t, nil, row.rules...)
			push(t, h, row.change)
			want, err := os.ReadFile(filepath.Join("testdata", row.file))
			if err != nil {
				t.Fatal(err)
			}
			if got := to.requests[0].body; got != strings.TrimSpace(string(want)) {
				t.Errorf("got  %s\nwant %s", got, want)
			}
		})
	}
}

func TestARetrySendsTheSameBytesUnderTheSameIDAtANewTime(t *testing.T) {
	h, to := opened(t, map[string]any{"secret": testSecret})
	change := connectortest.Created(connectortest.Sample(1))
	change.ID = change.Lead.ID + ".1.hook"
	start := time.Now()
	h.Now = func() time.Time { return start }
	push(t, h, change)
	h.Now = func() time.Time { return start.Add(time.Minute) }
	push(t, h, change)
	first, second := to.requests[0], to.requests[1]
	if first.body != second.body {
		t.Errorf("first %s\nsecond %s", first.body, second.body)
	}
	id := first.header.Get("webhook-id")
	if id == "" || second.header.Get("webhook-id") != id {
		t.Errorf("ids %q and %q", id, second.header.Get("webhook-id"))
	}
	if strings.Contains(id, ".") { // https://github.com/standard-webhooks/standard-webhooks, "Signature scheme"
		t.Errorf("the id %q holds a dot, which separates the signed parts", id)
	}
	if got, want := second.header.Get("webhook-timestamp"), strconv.FormatInt(start.Unix()+60, 10); got != want {
		t.Errorf("the second attempt's timestamp is %s, want %s", got, want)
	}
	for _, r := range to.requests {
		if err := verify(testSecret, r.header, []byte(r.body)); err != nil {
			t.Error(err)
		}
	}
	if len(to.records) != 1 || len(to.seen) != 1 {
		t.Errorf("the receiver took the change %d times", len(to.seen))
	}
}

func TestEveryChangeHasAnIDOfItsOwn(t *testing.T) {
	h, to := opened(t, nil)
	l := connectortest.Sample(1)
	push(t, h, connectortest.Created(l))
	push(t, h, connectortest.Updated(connectortest.Edited(l)))
	push(t, h, connectortest.Deleted(connectortest.Edited(l)))
	push(t, h, connectortest.Created(connectortest.Sample(2)))
	if len(to.seen) != 4 {
		t.Errorf("got %v, want 4 ids", slices.Collect(maps.Keys(to.seen)))
	}
}

func TestASecretMayComeWithoutItsPrefix(t *testing.T) {
	h, to := opened(t, map[string]any{"secret": strings.TrimPrefix(testSecret, "whsec_")})
	push(t, h, connectortest.Created(connectortest.Sample(1)))
	if err := verify(testSecret, to.requests[0].header, []byte(to.requests[0].body)); err != nil {
		t.Error(err)
	}
}

func TestSignaturesDuringRotationFitBothSecrets(t *testing.T) {
	h, to := opened(t, map[string]any{"secret": testSecret, "previous_secret": oldSecret})
	push(t, h, connectortest.Created(connectortest.Sample(1)))
	r := to.requests[0]
	for _, secret := range []string{testSecret, oldSecret} {
		if err := verify(secret, r.header, []byte(r.body)); err != nil {
			t.Error(err)
		}
	}
	if got := len(strings.Split(r.header.Get("webhook-signature"), " ")); got != 2 {
		t.Errorf("%d signatures, want 2", got)
	}
}

func TestWithoutASecretNothingIsSigned(t *testing.T) {
	h, to := opened(t, nil)
	push(t, h, connectortest.Created(connectortest.Sample(1)))
	if got := to.requests[0].header.Values("webhook-signature"); got != nil {
		t.Errorf("got %q", got)
	}
}

func TestSignaturesAreTheReferenceVectors(t *testing.T) {
	data, err := os.ReadFile(filepath.Join(connectortest.SpecDir(t), "standard-webhooks", "vectors.json"))
	if err != nil {
		t.Fatal(err)
	}
	var vectors struct {
		Sign []struct {
			Secret, ID, Payload, Signature string
			Timestamp                      int64
		}
		Headers []string
	}
	if err := json.Unmarshal(data, &vectors); err != nil {
		t.Fatal(err)
	}
	if len(vectors.Sign) == 0 {
		t.Fatal("there are no vectors")
	}
	for _, v := range vectors.Sign {
		signer, _ := opened(t, map[string]any{"secret": v.Secret})
		signer.Now = func() time.Time { return time.Unix(v.Timestamp, 0) }
		header := http.Header{}
		signer.Sign(header, v.ID, []byte(v.Payload))
		if got := header.Get("webhook-signature"); got != v.Signature {
			t.Errorf("got %s, want %s", got, v.Signature)
		}
	}
	h, to := opened(t, map[string]any{"secret": testSecret})
	push(t, h, connectortest.Created(connectortest.Sample(1)))
	for _, name := range vectors.Headers {
		if to.requests[0].header.Get(name) == "" {
			t.Errorf("the header %s is missing", name)
		}
	}
}

func TestAPrivateAddressIsRefusedUnlessAllowed(t *testing.T) {
	reached := make(chan string, 100)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { reached <- r.Host }))
	defer server.Close()
	served, _ := url.Parse(server.URL)
	port := served.Port()
	open := func(address string, private bool) connectors.Connector {
		c, err := Kind.Open(map[string]any{"url": address, "allow_private": private, "timeout": "2s"}, connectors.Env{Name: "hook", Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatalf("%s: %v", address, err)
		}
		t.Cleanup(func() { c.(*hook).Close() })
		return c
	}
	change := connectortest.Created(connectortest.Sample(1))
	for _, host := range []string{
		"localhost", "127.0.0.1", "127.1.2.3", "[::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "0.0.0.0", "[::]",
		"169.254.169.254", "[fe80::1]", "10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1", "[fd00::1]",
		"[64:ff9b::7f00:1]", "[2002:7f00:1::]",
	} {
		_, err := open("http://"+host+":"+port+"/", false).Push(context.Background(), change, "")
		if fault, _ := connectors.FaultOf(err); err == nil || fault != connectors.Setup || !strings.Contains(err.Error(), "allow_private") {
			t.Errorf("%s: got %v, %v; want a setup fault that names allow_private", host, fault, err)
		}
	}
	// Written as a number the address is a name like any other: refused when it resolves, and else unknown.
	for _, host := range []string{"2130706433", "0x7f000001", "0177.0.0.1", "127.1", "localhost."} {
		if _, err := open("http://"+host+":"+port+"/", false).Push(context.Background(), change, ""); err == nil {
			t.Errorf("%s: no error", host)
		}
	}
	if len(reached) != 0 {
		t.Fatalf("the private server was reached as %s", <-reached)
	}
	for _, host := range []string{"localhost", "127.0.0.1"} {
		if _, err := open("http://"+host+":"+port+"/", true).Push(context.Background(), change, ""); err != nil {
			t.Errorf("%s with allow_private: %v", host, err)
		}
	}
	if len(reached) != 2 {
		t.Errorf("allowed, the private server was reached %d times, want 2", len(reached))
	}
}

// The specification's answer is the status. What a receiver does with the body is its own affair.
func TestTheStatusIsTheWholeAnswer(t *testing.T) {
	const head = "HTTP/1.1 %s\r\nConnection: x\r\n"
	endless := func(w *bufio.ReadWriter, pause func()) {
		for w.Flush() == nil {
			w.WriteString("x")
			pause()
		}
	}
	bodies := map[string]func(conn net.Conn, w *bufio.ReadWriter){
		"a body that is cut":      func(_ net.Conn, w *bufio.ReadWriter) { w.WriteString("Content-Length: 100\r\n\r\nx") },
		"a body that never ends":  func(_ net.Conn, w *bufio.ReadWriter) { w.WriteString("\r\n"); endless(w, func() {}) },
		"a body that never comes": func(conn net.Conn, w *bufio.ReadWriter) { w.WriteString("\r\n"); w.Flush(); conn.Read(make([]byte, 1)) },
		"a body that drips": func(_ net.Conn, w *bufio.ReadWriter) {
			w.WriteString("\r\n")
			endless(w, func() { time.Sleep(10 * time.Millisecond) })
		},
		"a body that is no gzip": func(_ net.Conn, w *bufio.ReadWriter) {
			w.WriteString("Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\nxx")
		},
	}
	for status, want := range map[string]error{
		"200 OK":                  nil,
		"410 Gone":                &connectors.Error{Fault: connectors.Setup},
		"429 Too Many Requests":   &connectors.Error{Fault: connectors.Throttled},
		"101 Switching Protocols": &connectors.Error{Fault: connectors.Unknown},
	} {
		for name, rest := range bodies {
			t.Run(status+" and "+name, func(t *testing.T) {
				t.Parallel()
				server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					io.Copy(io.Discard, r.Body)
					conn, buffered, err := http.NewResponseController(w).Hijack()
					if err != nil {
						t.Error(err)
						return
					}
					defer conn.Close()
					fmt.Fprintf(buffered, head, status)
					rest(conn, buffered)
					buffered.Flush()
				}))
				t.Cleanup(server.Close)
				c, err := Kind.Open(map[string]any{"url": server.URL, "allow_private": true, "timeout": "10m"}, connectors.Env{})
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { c.(*hook).Close() })
				_, err = c.Push(t.Context(), connectortest.Created(connectortest.Sample(1)), "")
				got, _ := connectors.FaultOf(err)
				if fault, _ := connectors.FaultOf(want); (err == nil) != (want == nil) || got != fault {
					t.Errorf("got %v, %v; want %v", got, err, fault)
				}
			})
		}
	}
}

func TestAnAnswersBodyDoesNotCostTheConnection(t *testing.T) {
	var opened atomic.Int32
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, `{"ok":true,"padding":"`+strings.Repeat("x", 100_000)+`"}`)
	}))
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			opened.Add(1)
		}
	}
	server.Start()
	t.Cleanup(server.Close)
	c, err := Kind.Open(map[string]any{"url": server.URL, "allow_private": true}, connectors.Env{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.(*hook).Close() })
	for i := range 5 {
		if _, err := c.Push(t.Context(), connectortest.Created(connectortest.Sample(i)), ""); err != nil {
			t.Fatal(err)
		}
	}
	if n := opened.Load(); n != 1 {
		t.Errorf("%d connections were opened, want 1", n)
	}
}

func TestStatusesOfTheSpecification(t *testing.T) {
	for status, want := range map[int]connectors.Fault{
		400: connectors.Lead, 401: connectors.Setup, 403: connectors.Setup, 404: connectors.Setup, 405: connectors.Setup, 408: connectors.Remote,
		409: connectors.Lead, 410: connectors.Setup, 422: connectors.Lead, 423: connectors.Remote, 425: connectors.Remote,
		429: connectors.Throttled, 500: connectors.Remote, 502: connectors.Remote, 504: connectors.Remote, 307: connectors.Setup,
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }))
		c, err := Kind.Open(map[string]any{"url": server.URL, "allow_private": true}, connectors.Env{})
		if err != nil {
			t.Fatal(err)
		}
		_, err = c.Push(context.Background(), connectortest.Created(connectortest.Sample(1)), "")
		got, _ := connectors.FaultOf(err)
		if err == nil || got != want || !strings.HasPrefix(err.Error(), "webhook: post: "+strconv.Itoa(status)) {
			t.Errorf("%d: got %v, %v; want %v", status, got, err, want)
		}
		c.(*hook).Close()
		server.Close()
	}
}

func TestSettingsThatAreRefused(t *testing.T) {
	const good = "https://example.com/hook"
	for _, row := range []struct {
		name     string
		settings map[string]any
		want     string
	}{
		{"no URL", map[string]any{}, "url: required"},
		{"no scheme", map[string]any{"url": "example.com/hook"}, "url: must be an http:// or https:// URL"},
		{"another scheme", map[string]any{"url": "file:///etc/passwd"}, "url: must be an http:// or https:// URL"},
		{"no host", map[string]any{"url": "https:///hook"}, "url: must be an http:// or https:// URL"},
		{"no URL at all", map[string]any{"url": "https://exa mple"}, "url: must be an http:// or https:// URL"},
		{"a password in the URL", map[string]any{"url": "https://me:pw@example.com"}, "url: must hold no user or password; the signature says who sends"},
		{"a fragment", map[string]any{"url": good + "#top"}, "url: must hold no fragment"},
		{"a raw secret", map[string]any{"url": good, "secret": "swordfish"}, `secret: must be "whsec_" and base64: write echo "whsec_$(openssl rand -base64 32)" for a new one`},
		{"a secret that is not base64", map[string]any{"url": good, "secret": "whsec_sword fish"}, `secret: what follows "whsec_" is not base64`},
		{"a port that is none", map[string]any{"url": "https://example.com:99999/hook"}, "url: the port must be 1 to 65535"},
		{"a secret that is not base64 by one character", map[string]any{"url": good, "secret": testSecret[:20] + "-" + testSecret[21:]}, `secret: what follows "whsec_" is not base64`},
		{"a long secret", map[string]any{"url": good, "secret": base64.StdEncoding.EncodeToString(make([]byte, 65))}, "secret: the key has 65 bytes, must be 24 to 64"},
		{"a short secret", map[string]any{"url": good, "secret": "whsec_c2hvcnQ="}, "secret: the key has 5 bytes, must be 24 to 64"},
		{"a previous secret alone", map[string]any{"url": good, "previous_secret": oldSecret}, "previous_secret: there is no secret that follows it"},
		{"no time", map[string]any{"url": good, "timeout": "0s"}, "timeout: must be more than 0"},
		{"several at once", map[string]any{"secret": "x", "timeout": "-1s"}, "url: required\n" + `secret: must be "whsec_" and base64: write echo "whsec_$(openssl rand -base64 32)" for a new one` + "\ntimeout: must be more than 0"},
	} {
		t.Run(row.name, func(t *testing.T) {
			_, err := Kind.Open(row.settings, connectors.Env{})
			if err == nil || err.Error() != row.want {
				t.Errorf("got  %v\nwant %s", err, row.want)
			}
		})
	}
}

func TestFieldsThatAreAlwaysSentCannotBeMapped(t *testing.T) {
	mapping, err := connectors.NewMapping([]connectors.FieldRule{{To: "lead_id", From: "email"}})
	if err != nil {
		t.Fatal(err)
	}
	_, err = Kind.Open(map[string]any{"url": "https://example.com"}, connectors.Env{Fields: mapping})
	if err == nil || err.Error() != "fields: lead_id is always sent and cannot be mapped" {
		t.Errorf("got %v", err)
	}
}

func TestTypesCoverEveryOperation(t *testing.T) {
	for _, op := range []lead.Op{lead.Create, lead.Update, lead.Delete} {
		if !slices.Contains([]string{"lead.created", "lead.updated", "lead.deleted"}, types[op]) {
			t.Errorf("%s is %q", op, types[op])
		}
	}
}

func BenchmarkBody(b *testing.B) {
	receiver, err := connectors.NewWebhook(Settings{URL: "https://example.com", Secret: testSecret, Timeout: time.Second})
	if err != nil {
		b.Fatal(err)
	}
	h := &hook{Webhook: receiver}
	change := connectortest.Created(connectortest.Sample(1))
	b.ReportAllocs()
	for b.Loop() {
		body, _ := h.body(change)
		h.Sign(http.Header{}, change.ID, body)
	}
}
