package console_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/leadrelay/leadrelay/internal/console"
	"github.com/leadrelay/leadrelay/internal/lead"
	"github.com/leadrelay/leadrelay/internal/redistest"
	"github.com/leadrelay/leadrelay/internal/store"
)

const password = "correct horse battery"

// hashOf makes each hash once: it takes time.
var hashOf = sync.OnceValue(func() string {
	hash, err := console.HashPassword(password)
	if err != nil {
		panic(err)
	}
	return hash
})

// world is a console on a Redis.
type world struct {
	t       testing.TB
	redis   *redistest.Redis
	store   *store.Store
	console *console.Console
	url     string
	options console.Options
	logs    logs
}

// logs is what was logged.
type logs struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func newWorld(t testing.TB, change func(w *world, o *console.Options)) *world {
	t.Helper()
	return newWorldOn(t, redistest.Start(t), change)
}

func newWorldOn(t testing.TB, r *redistest.Redis, change func(w *world, o *console.Options)) *world {
	t.Helper()
	w := &world{t: t, redis: r}
	w.store = w.process("crm", "newsletter")
	w.options = console.Options{
		Store: w.store, Log: slog.New(slog.NewTextHandler(&w.logs, nil)),
		Operators: []console.Operator{{Name: "olga", PasswordHash: hashOf()}},
		Config: func() console.ConfigState {
			return console.ConfigState{Revision: "a1b2c3", Loaded: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
		},
		RemoteURL: func(connector, ref string) string {
			return "https://" + connector + ".example.com/contacts/" + url.PathEscape(ref)
		},
		Settings: written(),
	}
	if change != nil {
		change(w, &w.options)
	}
	w.console, w.url = w.serve(w.options)
	return w
}

// process is the store as one more process has it.
func (w *world) process(connectors ...string) *store.Store {
	w.t.Helper()
	client := store.Connect(w.redis.Options())
	var all []store.Connector
	for _, name := range connectors {
		all = append(all, store.Connector{Name: name})
	}
	s, err := store.New(context.Background(), client, all, slog.New(slog.DiscardHandler))
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { s.Close(); client.Close() })
	return s
}

func (w *world) serve(o console.Options) (*console.Console, string) {
	w.t.Helper()
	c, err := console.New(o)
	if err != nil {
		w.t.Fatal(err)
	}
	server := httptest.NewServer(c)
	w.t.Cleanup(func() { c.Close(); server.Close() })
	return c, server.URL
}

// limit has the console served with a timeout for what is read and what is written.
func (w *world) limit(timeout time.Duration) {
	server := httptest.NewUnstartedServer(w.console)
	server.Config.ReadTimeout, server.Config.WriteTimeout = timeout, timeout
	server.Start()
	w.t.Cleanup(func() { w.console.Close(); server.Close() })
	w.url = server.URL
}

// add makes a lead.
func (w *world) add(name, email, source string, custom map[string]any) lead.Lead {
	w.t.Helper()
	note := ""
	l, err := w.store.Create(context.Background(), lead.Patch{Name: &name, Email: &email, Source: &source, Note: &note, Custom: custom}, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	return l
}

// work does what workers do: it settles all that is due for a connector as outcome says.
func (w *world) work(name string, outcome func(c *store.Claim) store.Verb) {
	w.t.Helper()
	ctx := context.Background()
	for shard := range lead.Shards {
		claims, err := w.store.Claim(ctx, store.Connector{Name: name}, shard, 10_000, uuid.NewString(), time.Minute)
		if err != nil {
			w.t.Fatal(err)
		}
		for _, c := range claims {
			verb := outcome(c)
			if _, err := w.store.Settle(ctx, c, verb, w.store.Now().Add(time.Hour), time.Minute); err != nil {
				w.t.Fatal(err)
			}
		}
	}
}

func done(c *store.Claim) store.Verb {
	c.Record = store.Record{Synced: c.Change.Lead.Revision, Ref: "remote-" + c.Change.Lead.ID[len(c.Change.Lead.ID)-4:], At: time.Now().UnixMilli()}
	return store.Done
}

// parked settles a push that was refused for a reason.
func parked(reason string) func(c *store.Claim) store.Verb {
	return func(c *store.Claim) store.Verb {
		c.Record = store.Record{State: store.Parked, Fault: "lead", Reason: strings.ReplaceAll(reason, "ID", c.Change.Lead.ID), Attempts: 1, At: time.Now().UnixMilli()}
		return store.Park
	}
}

// keep puts a submission into the inbox.
func (w *world) keep(origin string, state store.SubmissionState, reason, payload string) store.Submission {
	w.t.Helper()
	sub, _, err := w.store.Keep(context.Background(), store.Submission{Origin: origin, State: state, Reason: reason, Payload: []byte(payload)}, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	return sub
}

// state is where a lead stands with a connector.
func (w *world) state(id, connector string) store.State {
	w.t.Helper()
	found, err := w.store.Get(context.Background(), id)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, st := range found.Standings {
		if st.Connector == connector {
			return st.State
		}
	}
	return ""
}

// acts is the audit trail, newest first, as lines.
func (w *world) acts() (all []string) {
	w.t.Helper()
	acts, _, err := w.store.Acts(context.Background(), 0, 1000)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, a := range acts {
		if time.Since(a.At).Abs() > time.Hour {
			w.t.Errorf("%+v is of another time", a)
		}
		all = append(all, strings.Join(strings.Fields(fmt.Sprint(a.Operator, " ", a.What, " ", a.Connector, " ", a.Lead, " ", a.Detail)), " "))
	}
	return all
}

// browser is an operator's.
type browser struct {
	w      *world
	client *http.Client
	url    string
	site   string // Sec-Fetch-Site of what is posted; "": not sent
	origin string // the same of Origin
}

func (w *world) browser() *browser { return w.browserAt(w.url) }

func (w *world) browserAt(url string) *browser {
	jar, err := cookiejar.New(nil)
	if err != nil {
		w.t.Fatal(err)
	}
	client := &http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	w.t.Cleanup(client.CloseIdleConnections)
	return &browser{w: w, client: client, url: url, site: "same-origin", origin: url}
}

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   string
}

// to is where the answer redirects to.
func (a answer) to() string { return a.header.Get("Location") }

func (b *browser) do(method, path string, form url.Values) answer {
	b.w.t.Helper()
	var body io.Reader
	if form != nil {
		body = strings.NewReader(form.Encode())
	}
	r, err := http.NewRequest(method, b.url+path, body)
	if err != nil {
		b.w.t.Fatal(err)
	}
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		if b.origin != "" {
			r.Header.Set("Origin", b.origin)
		}
	}
	if b.site != "" {
		r.Header.Set("Sec-Fetch-Site", b.site)
	}
	return b.send(r)
}

// send is do for a request that is made already.
func (b *browser) send(r *http.Request) answer {
	b.w.t.Helper()
	a, err := b.try(r)
	if err != nil {
		b.w.t.Fatal(err)
	}
	return a
}

// try is send for what may be called beside the test.
func (b *browser) try(r *http.Request) (answer, error) {
	response, err := b.client.Do(r)
	if err != nil {
		return answer{}, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return answer{response.StatusCode, response.Header, string(text)}, err
}

func (b *browser) get(path string) answer {
	b.w.t.Helper()
	return b.do(http.MethodGet, path, nil)
}

// page is what a path shows; it must be there.
func (b *browser) page(path string) string {
	b.w.t.Helper()
	a := b.get(path)
	if a.status != http.StatusOK {
		b.w.t.Fatalf("%s: %d %s %s", path, a.status, a.to(), a.body)
	}
	return a.body
}

var tokenPattern = regexp.MustCompile(`name="token" value="([^"]+)"`)

// token is the one in a page's forms.
func (b *browser) token(path string) string {
	b.w.t.Helper()
	found := tokenPattern.FindStringSubmatch(b.page(path))
	if found == nil {
		b.w.t.Fatalf("%s has no token", path)
	}
	return found[1]
}

// post sends a form of the session.
func (b *browser) post(path string, fields ...string) answer {
	b.w.t.Helper()
	form := url.Values{"token": {b.token("/console")}}
	for i := 0; i+1 < len(fields); i += 2 {
		form.Set(fields[i], fields[i+1])
	}
	return b.do(http.MethodPost, path, form)
}

// say sends a form and returns what the page that follows says.
func (b *browser) say(path string, fields ...string) (said, at string) {
	b.w.t.Helper()
	a := b.post(path, fields...)
	if a.status != http.StatusSeeOther {
		b.w.t.Fatalf("%s: %d %s", path, a.status, a.body)
	}
	found := regexp.MustCompile(`<p class="flash[^"]*">([^<]*)</p></div>`).FindStringSubmatch(b.page(a.to()))
	if found == nil {
		b.w.t.Fatalf("%s says nothing", a.to())
	}
	return found[1], a.to()
}

// login signs in with a password.
func (b *browser) login(name, password string, fields ...string) answer {
	b.w.t.Helper()
	form := url.Values{"token": {b.token("/console/login")}, "name": {name}, "password": {password}}
	for i := 0; i+1 < len(fields); i += 2 {
		form.Set(fields[i], fields[i+1])
	}
	return b.do(http.MethodPost, "/console/login", form)
}

// operator is a browser that is signed in.
func (w *world) operator() *browser {
	w.t.Helper()
	b := w.browser()
	if a := b.login("olga", password); a.status != http.StatusSeeOther || a.to() != "/console" {
		w.t.Fatalf("the login was answered %d %s", a.status, a.body)
	}
	return b
}

// session is the cookie that the browser holds.
func (b *browser) session() *http.Cookie {
	b.w.t.Helper()
	at, err := url.Parse(b.url + "/console")
	if err != nil {
		b.w.t.Fatal(err)
	}
	for _, c := range b.client.Jar.Cookies(at) {
		if strings.HasSuffix(c.Name, "leadrelay_session") {
			return c
		}
	}
	return nil
}
