package connectortest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/leadrelay/leadrelay/connectors"
	"github.com/leadrelay/leadrelay/internal/lead"
)

// The kit is tested with a small CRM that has a keyed write, PUT /records/{key}, and a keyless one,
// POST /records, and with connectors to it that keep the contract or break one promise of it.

type crm struct {
	mu      sync.Mutex
	next    int
	records map[string]map[string]string
}

func newCRM(testing.TB) Vendor { return &crm{records: map[string]map[string]string{}} }

func (v *crm) Records() []Record {
	v.mu.Lock()
	defer v.mu.Unlock()
	var all []Record
	for key, fields := range v.records {
		all = append(all, Record{key, fields})
	}
	return all
}

func (v *crm) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	v.mu.Lock()
	defer v.mu.Unlock()
	key := strings.TrimPrefix(strings.TrimPrefix(r.URL.Path, "/records"), "/")
	fields := map[string]string{}
	if len(body) > 0 && json.Unmarshal(body, &fields) != nil {
		http.Error(w, `{"message":"no JSON"}`, http.StatusBadRequest)
		return
	}
	switch _, known := v.records[key]; {
	case fields["Name"] == "refused":
		http.Error(w, `{"message":"bad name"}`, http.StatusUnprocessableEntity)
		return
	case r.Method == http.MethodPost:
		v.next++
		key = fmt.Sprint(v.next)
		v.records[key] = fields
	case r.Method == http.MethodPut:
		v.records[key] = fields
	case r.Method == http.MethodDelete:
		delete(v.records, key)
	case r.Method == http.MethodPatch && !known:
		http.NotFound(w, r)
		return
	case r.Method == http.MethodPatch:
		v.records[key] = fields
	case r.Method == http.MethodGet:
		key = ""
		for k, fields := range v.records {
			if fields["Lead"] == r.URL.Query().Get("lead") {
				key = k
			}
		}
	}
	json.NewEncoder(w).Encode(map[string]string{"id": key})
}

type crmSettings struct {
	URL string            `mapstructure:"url"`
	Key connectors.Secret `mapstructure:"api_key"`
}

// broken is the promise that a connector breaks.
type broken int

const (
	nothing broken = iota
	duplicates
	losesUpdates
	ignoresDeletes
	forgetsOldKey
	leaksEmailInError
	leaksSecretInError
	leaksEmailInLog
	printsSecret
	hidesSecretBadly
	swallowsErrors
	blamesTheLead
	forgetsRetryAfter
	panicsOnNonsense
	ignoresContext
	sharesState
	leaksGoroutine
	opensOnOpen
	mixesUpBatch
	dropsLastOfBatch
	findsNothingOnError
	findsWrongly
	plainErrors
	keepsOldValues
	followsRedirects
)

type keyedCRM struct {
	URL    string
	Secret connectors.Secret
	Shown  string
	env    connectors.Env
	client *connectors.Client
	breaks broken
	stop   chan struct{}
}

var shared sync.Map

func openKeyed(breaks broken) func(crmSettings, connectors.Env) (connectors.Connector, error) {
	return func(s crmSettings, env connectors.Env) (connectors.Connector, error) {
		var problems []error
		if s.URL == "" {
			problems = append(problems, errors.New("url: required"))
		}
		if s.Key == "" {
			problems = append(problems, errors.New("api_key: required"))
		}
		if problems != nil {
			return nil, errors.Join(problems...)
		}
		c := &keyedCRM{URL: s.URL, Secret: s.Key, env: env, client: connectors.NewClient(connectors.ClientOptions{}), breaks: breaks, stop: make(chan struct{})}
		switch breaks {
		case printsSecret:
			c.Shown = s.Key.Reveal()
		case leaksGoroutine:
			go func() { <-c.stop }()
		case opensOnOpen:
			http.Get(s.URL)
		case sharesState:
			shared.LoadOrStore("url", s.URL)
		case followsRedirects:
			c.client.HTTP().CheckRedirect = nil
		}
		return c, nil
	}
}

func (c *keyedCRM) Close() error { return c.client.Close() }

func keyOf(l lead.Lead) string {
	sum := sha256.Sum256([]byte(lead.NormalEmail(l.Email)))
	return hex.EncodeToString(sum[:8])
}

func (c *keyedCRM) call(ctx context.Context, method, path string, body any) (*connectors.Response, error) {
	base := c.URL
	if c.breaks == sharesState {
		first, _ := shared.Load("url")
		base = first.(string)
	}
	if c.breaks == ignoresContext {
		ctx = context.Background()
	}
	req, err := connectors.NewJSONRequest(ctx, method, base+path, body)
	if err != nil {
		return nil, err
	}
	answer, err := c.client.Do(req)
	if err == nil {
		return answer, nil
	}
	switch c.breaks {
	case swallowsErrors:
		return answer, nil
	case leaksSecretInError:
		return answer, &connectors.Error{Err: fmt.Errorf("crm: with key %s: %w", c.Secret.Reveal(), err)}
	case plainErrors:
		return answer, fmt.Errorf("crm: %s", err)
	case blamesTheLead:
		return answer, &connectors.Error{Fault: connectors.Lead, Err: fmt.Errorf("crm: %w", err)}
	}
	fault, wait := connectors.FaultOf(err)
	if c.breaks == forgetsRetryAfter {
		wait = 0
	}
	return answer, &connectors.Error{Fault: fault, RetryAfter: wait, Err: fmt.Errorf("crm: %s: %w", strings.ToLower(method), err)}
}

func (c *keyedCRM) body(l lead.Lead) (map[string]string, error) {
	fields, err := c.env.Fields.Apply(l)
	if err != nil {
		return nil, err
	}
	body := map[string]string{"Lead": l.ID}
	for _, f := range fields {
		if f.Value != nil {
			body[f.To] = fmt.Sprint(f.Value)
		}
	}
	return body, nil
}

func (c *keyedCRM) Push(ctx context.Context, change lead.Change, ref string) (string, error) {
	l := change.Lead
	if c.breaks == leaksEmailInLog {
		c.env.Log.Debug("push", slog.String("who", l.Email))
	}
	if change.Op == lead.Delete {
		if ref == "" || c.breaks == ignoresDeletes {
			return ref, nil
		}
		_, err := c.call(ctx, http.MethodDelete, "/records/"+ref, nil)
		return ref, err
	}
	body, err := c.body(l)
	if err != nil {
		return "", err
	}
	key := keyOf(l)
	if c.breaks == duplicates {
		key = fmt.Sprint(change.ID, ref)
	}
	if c.breaks == losesUpdates && change.Op == lead.Update {
		return key, nil
	}
	if c.breaks == keepsOldValues && l.Note == "" {
		body["Note"] = "as before"
	}
	if ref != "" && ref != key && c.breaks != forgetsOldKey && c.breaks != duplicates {
		if _, err := c.call(ctx, http.MethodDelete, "/records/"+ref, nil); err != nil {
			return "", err
		}
	}
	answer, err := c.call(ctx, http.MethodPut, "/records/"+key, body)
	if err != nil {
		if c.breaks == leaksEmailInError {
			err = &connectors.Error{Err: fmt.Errorf("crm: %s: %w", l.Email, err)}
		}
		return "", err
	}
	if c.breaks == panicsOnNonsense {
		var got map[string]any
		json.Unmarshal(answer.Body, &got)
		_ = got["id"].(string)
	}
	return key, nil
}

func (c *keyedCRM) Key(l lead.Lead) string { return keyOf(l) }

func (c *keyedCRM) MaxBatch() int { return 10 }

func (c *keyedCRM) PushBatch(ctx context.Context, items []connectors.Item) []connectors.Result {
	results := make([]connectors.Result, len(items))
	for i, item := range items {
		if c.breaks == dropsLastOfBatch && i > 0 && i == len(items)-1 {
			results[i].Ref = keyOf(item.Change.Lead)
			continue
		}
		results[i].Ref, results[i].Err = c.Push(ctx, item.Change, item.Ref)
	}
	if c.breaks == mixesUpBatch {
		slices.Reverse(results)
	}
	return results
}

// foundCRM creates without a key and finds by the lead's id.
type foundCRM struct{ *keyedCRM }

func (c foundCRM) Push(ctx context.Context, change lead.Change, ref string) (string, error) {
	if change.Op == lead.Delete {
		if ref != "" {
			_, err := c.call(ctx, http.MethodDelete, "/records/"+ref, nil)
			return ref, err
		}
		return ref, nil
	}
	body, err := c.body(change.Lead)
	if err != nil {
		return "", err
	}
	if ref != "" {
		answer, err := c.call(ctx, http.MethodPatch, "/records/"+ref, body)
		if err == nil || answer == nil || answer.Status != http.StatusNotFound {
			return ref, err
		}
	}
	answer, err := c.call(ctx, http.MethodPost, "/records", body)
	if err != nil {
		return "", err
	}
	return c.id(answer)
}

func (c foundCRM) id(answer *connectors.Response) (string, error) {
	var got struct {
		ID *string `json:"id"`
	}
	if err := answer.JSON(&got); err != nil || got.ID == nil || len(*got.ID) > 100 {
		return "", &connectors.Error{Fault: connectors.Unknown, Err: errors.New("crm: the answer has no id")}
	}
	return *got.ID, nil
}

func (c foundCRM) Find(ctx context.Context, l lead.Lead) (string, bool, error) {
	if c.breaks == findsWrongly {
		return "1", true, nil
	}
	answer, err := c.call(ctx, http.MethodGet, "/records?lead="+l.ID, nil)
	if err != nil {
		if c.breaks == findsNothingOnError {
			return "", false, nil
		}
		return "", false, err
	}
	ref, err := c.id(answer)
	return ref, err == nil && ref != "", err
}

// openFound hides the abilities of keyedCRM that foundCRM must not have.
func openFound(breaks broken) func(crmSettings, connectors.Env) (connectors.Connector, error) {
	return func(s crmSettings, env connectors.Env) (connectors.Connector, error) {
		c, err := openKeyed(breaks)(s, env)
		if err != nil {
			return nil, err
		}
		found := foundCRM{c.(*keyedCRM)}
		return struct {
			connectors.Connector
			connectors.Finder
			io.Closer
		}{found, found, found}, nil
	}
}

const crmKey = "k3y-0f-the-crm"

func crmHarness(open func(crmSettings, connectors.Env) (connectors.Connector, error)) Harness {
	kind := connectors.Define("crm", crmSettings{}, open)
	kind.Fields = []connectors.FieldRule{{To: "Name", From: "name"}, {To: "Email", From: "email"}, {To: "Note", From: "note"}}
	return Harness{
		Kind:      kind,
		NewVendor: newCRM,
		Settings: func(baseURL string, _ Vendor) map[string]any {
			return map[string]any{"url": baseURL, "api_key": crmKey}
		},
		Secrets:  []string{crmKey},
		Required: []string{"url", "api_key"},
		BadLead:  func(l lead.Lead) lead.Lead { l.Name = "refused"; return l },
	}
}

func keyedHarness(breaks broken) Harness {
	h := crmHarness(openKeyed(breaks))
	h.KeyedByEmail = true
	return h
}

func foundHarness(breaks broken) Harness { return crmHarness(openFound(breaks)) }

func TestAConnectorThatKeepsTheContractPasses(t *testing.T) {
	t.Run("with a keyed write", func(t *testing.T) { Run(t, keyedHarness(nothing)) })
	t.Run("with Find", func(t *testing.T) { Run(t, foundHarness(nothing)) })
	t.Run("not over HTTP", func(t *testing.T) { Run(t, memoryHarness()) })
}

// Each promise is checked by breaking it: the kit must notice, by the named checks.
func TestABrokenConnectorFails(t *testing.T) {
	for name, row := range map[string]struct {
		harness Harness
		by      string // part of a promise that must be among the failed
	}{
		"duplicates":                    {keyedHarness(duplicates), "the same create twice"},
		"loses updates":                 {keyedHarness(losesUpdates), "a create, an update and a delete"},
		"ignores deletes":               {keyedHarness(ignoresDeletes), "a delete twice"},
		"forgets the old key":           {keyedHarness(forgetsOldKey), "a changed address"},
		"keeps old values":              {keyedHarness(keepsOldValues), "a value that is cleared"},
		"leaks the address in an error": {keyedHarness(leaksEmailInError), "every status"},
		"leaks the address in the log":  {keyedHarness(leaksEmailInLog), "a create, an update and a delete"},
		"prints its secret":             {keyedHarness(printsSecret), "printing the connector"},
		"swallows errors":               {keyedHarness(swallowsErrors), "every status"},
		"blames the lead":               {keyedHarness(blamesTheLead), "a refused connection"},
		"forgets Retry-After":           {keyedHarness(forgetsRetryAfter), "Retry-After"},
		"panics on nonsense":            {keyedHarness(panicsOnNonsense), "nonsense"},
		"ignores the context":           {keyedHarness(ignoresContext), "not sent"},
		"shares state among instances":  {keyedHarness(sharesState), "do not mix"},
		"leaves a goroutine":            {keyedHarness(leaksGoroutine), "after Close"},
		"calls on open":                 {keyedHarness(opensOnOpen), "opening calls nobody"},
		"mixes up a batch":              {keyedHarness(mixesUpBatch), "a batch of everything"},
		"drops the last of a batch":     {keyedHarness(dropsLastOfBatch), "the largest batch"},
		"returns unclassified errors":   {keyedHarness(plainErrors), "every status"},
		"follows redirects":             {keyedHarness(followsRedirects), "no redirect"},
		"takes a failed search for no":  {foundHarness(findsNothingOnError), "Find never takes"},
		"finds what is not there":       {foundHarness(findsWrongly), "Find finds by"},
		"leaks its secret in an error":  {keyedHarness(leaksSecretInError), "every status"},
	} {
		t.Run(name, func(t *testing.T) {
			failed := failures(t, row.harness, row.by)
			if failed == nil {
				t.Errorf("no check whose promise holds %q failed", row.by)
			}
		})
	}
}

// failures runs the checks whose promise holds part and returns what they complained about.
func failures(t *testing.T, h Harness, part string) (complaints []string) {
	shared.Clear()
	defer shared.Clear()
	can := abilitiesOf(newWorld(t, h))
	for _, c := range checks {
		if !strings.Contains(c.promise, part) || c.needs != nil && !c.needs(can) {
			continue
		}
		r := &recorder{TB: t}
		done := make(chan struct{})
		go func() {
			defer close(done)
			defer r.finish()
			c.run(r, h)
		}()
		<-done
		complaints = append(complaints, r.complaints...)
	}
	return complaints
}

// recorder is a testing.TB whose failures are not the test's.
type recorder struct {
	testing.TB
	mu         sync.Mutex
	complaints []string
	cleanups   []func()
}

func (r *recorder) complain(text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.complaints = append(r.complaints, text)
}

func (r *recorder) finish() {
	for _, f := range slices.Backward(r.cleanups) {
		f()
	}
}

func (r *recorder) Helper()                   {}
func (r *recorder) Cleanup(f func())          { r.cleanups = append(r.cleanups, f) }
func (r *recorder) Error(args ...any)         { r.complain(fmt.Sprint(args...)) }
func (r *recorder) Errorf(f string, a ...any) { r.complain(fmt.Sprintf(f, a...)) }
func (r *recorder) Fail()                     { r.complain("failed") }
func (r *recorder) FailNow()                  { r.complain("failed"); runtime.Goexit() }
func (r *recorder) Fatal(args ...any)         { r.complain(fmt.Sprint(args...)); runtime.Goexit() }
func (r *recorder) Fatalf(f string, a ...any) { r.complain(fmt.Sprintf(f, a...)); runtime.Goexit() }
func (r *recorder) Failed() bool              { r.mu.Lock(); defer r.mu.Unlock(); return len(r.complaints) > 0 }
func (r *recorder) Log(...any)                {}
func (r *recorder) Logf(string, ...any)       {}

// memory is a vendor in this process, and the connector to it.
type memory struct {
	mu   sync.Mutex
	rows map[string]map[string]string
}

func (m *memory) Records() []Record {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []Record
	for key, fields := range m.rows {
		all = append(all, Record{key, fields})
	}
	return all
}

type memoryConnector struct{ to *memory }

func (c memoryConnector) Push(ctx context.Context, change lead.Change, _ string) (string, error) {
	if ctx.Err() != nil {
		return "", fmt.Errorf("memory: %w", ctx.Err())
	}
	c.to.mu.Lock()
	defer c.to.mu.Unlock()
	l := change.Lead
	if change.Op == lead.Delete {
		delete(c.to.rows, l.ID)
	} else {
		c.to.rows[l.ID] = map[string]string{"name": l.Name, "email": l.Email}
	}
	return l.ID, nil
}

func memoryHarness() Harness {
	type settings struct {
		To any `mapstructure:"to"`
	}
	return Harness{
		Kind: connectors.Define("memory", settings{}, func(s settings, _ connectors.Env) (connectors.Connector, error) {
			return memoryConnector{s.To.(*memory)}, nil
		}),
		NewVendor: func(testing.TB) Vendor { return &memory{rows: map[string]map[string]string{}} },
		Settings:  func(_ string, v Vendor) map[string]any { return map[string]any{"to": v} },
	}
}
