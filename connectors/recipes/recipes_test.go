package recipes

import (
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/leadrelay/leadrelay/connectors"
	"github.com/leadrelay/leadrelay/connectors/rest"
)

// recipe returns a recipe by name.
func recipe(t testing.TB, name string) *rest.Recipe {
	t.Helper()
	for _, r := range All() {
		if r.Name == name {
			return r
		}
	}
	t.Fatalf("there is no recipe %s", name)
	return nil
}

// says is one answer of a conversation.
type says struct {
	status int
	body   string
	header map[string]string
}

// asked is one request of a conversation.
type asked struct {
	method, uri string
	header      http.Header
	body        string
}

// conversation is a vendor that answers as it is told, request by request, and keeps what it was asked.
type conversation struct {
	t testing.TB
	connectors.Connector
	log strings.Builder

	mu      sync.Mutex
	answers []says
	asked   []asked

	// optional is set where what is asked beyond the answers may be refused: it says nothing then.
	optional bool
}

var conversations atomic.Int64

// converse opens a recipe's connector against a vendor that gives these answers, and no more. The requests are held
// to check, where it is given: the vendor's description. In settings $VENDOR is the vendor's address, and
// $N another number each time: ports come back, and an access token is kept by address and secrets.
func converse(t testing.TB, name string, settings map[string]any, fields []connectors.FieldRule, check func(*http.Request) error, answers ...says) *conversation {
	t.Helper()
	c := &conversation{t: t, answers: answers}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.mu.Lock()
		defer c.mu.Unlock()
		body, _ := io.ReadAll(r.Body)
		r.Body = io.NopCloser(strings.NewReader(string(body)))
		if c.optional && len(c.answers) == 0 {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		if check != nil {
			if err := check(r); err != nil {
				t.Errorf("not by the vendor's description: %v", err)
			}
		}
		c.asked = append(c.asked, asked{r.Method, r.URL.RequestURI(), r.Header.Clone(), string(body)})
		if len(c.answers) == 0 {
			t.Errorf("one request too many: %s %s", r.Method, r.URL.RequestURI())
			w.WriteHeader(http.StatusTeapot)
			return
		}
		next := c.answers[0]
		c.answers = c.answers[1:]
		if next.status == 0 { // the answer is lost
			panic(http.ErrAbortHandler)
		}
		w.Header().Set("Content-Type", "application/json")
		for name, value := range next.header {
			w.Header().Set(name, value)
		}
		w.WriteHeader(next.status)
		io.WriteString(w, next.body)
	}))
	t.Cleanup(server.Close)
	kind := recipe(t, name).Kind()
	if fields == nil {
		fields = kind.Fields
	}
	mapping, err := connectors.NewMapping(fields)
	if err != nil {
		t.Fatal(err)
	}
	given := map[string]any{"base_url": server.URL}
	for key, value := range settings {
		if text, ok := value.(string); ok {
			value = strings.NewReplacer("$VENDOR", server.URL, "$N", strconv.FormatInt(conversations.Add(1), 10)).Replace(text)
		}
		given[key] = value
	}
	log := slog.New(slog.NewTextHandler(&c.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	if c.Connector, err = kind.Open(given, connectors.Env{Name: "under-test", Fields: mapping, Log: log}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Connector.(io.Closer).Close()
		if len(c.answers) > 0 {
			t.Errorf("%d answers were not asked for", len(c.answers))
		}
	})
	return c
}

// requests returns what was asked since the last call.
func (c *conversation) requests() []asked {
	c.mu.Lock()
	defer c.mu.Unlock()
	requests := c.asked
	c.asked = nil
	return requests
}

// sent checks one request: its line, and its body as JSON where want is not "".
func sent(t testing.TB, got asked, line, want string) {
	t.Helper()
	if got.method+" "+got.uri != line {
		t.Errorf("asked %s %s, want %s", got.method, got.uri, line)
	}
	if want == "" {
		return
	}
	var gotBody, wantBody any
	if err := errors.Join(json.Unmarshal([]byte(got.body), &gotBody), json.Unmarshal([]byte(want), &wantBody)); err != nil {
		t.Fatalf("%v: got %s", err, got.body)
	}
	if !reflect.DeepEqual(gotBody, wantBody) {
		t.Errorf("sent %s\nwant %s", got.body, want)
	}
}

// faulty checks an error's fault and that its text holds a reason.
func faulty(t testing.TB, err error, fault connectors.Fault, reason string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want the fault %v", fault)
	}
	if got, _ := connectors.FaultOf(err); got != fault || !strings.Contains(err.Error(), reason) {
		t.Errorf("got the fault %v: %v; want %v with %q", got, err, fault, reason)
	}
}
