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
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/leadrelay/leadrelay/connectors"
	"github.com/leadrelay/leadrelay/internal/lead"
)

// The kit is tested with a small CRM that has a keyed write, PUT /records/{key}, and a keyless one,
// POST /records, and with connectors to it that keep the contract or break one promise of it.

type crm struct {
	mu      sync.Mutex
	full    bool // it takes no more records, and says so
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
	if v.full {
		w.Header().Set("Full", "yes")
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
	believesAnyAnswer
	putsEmailInURL
	readsWithoutEnd
	heedsSpelling
	keepsWhoIsLeftOut
	calledOffIsTheLeads
	writesInCheck
	neverFailsCheck
	checksOneField
	limitsBackwards
	asksForNothing
	doublesKeyless
	dialsAnew
	deletesAnybody
	cutsValues
	blamesTheRemote
	remembersOne
	callsForNothing
	refusesDoubles
	tellsOfUpdates
	sendsRehearsals
	rehearsesAnother
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
		if breaks == asksForNothing {
			problems = nil
		} else if s.Key == "" {
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

func (c *keyedCRM) Key(l lead.Lead) string {
	address := lead.NormalEmail(l.Email)
	if c.breaks == heedsSpelling {
		address = l.Email
	}
	sum := sha256.Sum256([]byte(address))
	return hex.EncodeToString(sum[:8])
}

func (c *keyedCRM) Limits() connectors.Limits {
	if c.breaks == limitsBackwards {
		return connectors.Limits{Rates: []connectors.Rate{{Most: 1}}}
	}
	return connectors.Limits{Rates: []connectors.Rate{{Most: 1, Per: time.Millisecond}}}
}

func (c *keyedCRM) Check(ctx context.Context) error {
	method := http.MethodGet
	if c.breaks == writesInCheck {
		method = http.MethodPost
	}
	resp, err := c.call(ctx, method, "/records", nil)
	switch {
	case c.breaks == neverFailsCheck:
		return nil
	case err != nil:
		return err
	}
	var problems []error
	missing := func(what string) {
		problems = append(problems, &connectors.Error{Fault: connectors.Setup, Err: errors.New("crm: check: " + what)})
	}
	for _, name := range c.env.Fields.Names() {
		if !slices.Contains([]string{"Name", "Email", "Note"}, name) && (len(problems) == 0 || c.breaks != checksOneField) {
			missing("there is no field " + name)
		}
	}
	if resp.Header.Get("Full") != "" {
		missing("there is no room")
	}
	return errors.Join(problems...)
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
	if c.breaks == readsWithoutEnd {
		answer, err := http.DefaultClient.Do(req)
		if err != nil {
			return nil, err
		}
		defer answer.Body.Close()
		whole, err := io.ReadAll(answer.Body)
		return &connectors.Response{Status: answer.StatusCode, Body: whole[:min(len(whole), 1000)]}, err
	}
	if c.breaks == dialsAnew {
		defer c.client.Close()
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
	if c.breaks == blamesTheRemote {
		fault = connectors.Remote
	}
	if c.breaks == calledOffIsTheLeads && errors.Is(err, context.Canceled) {
		fault = connectors.Lead
	}
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
			if c.breaks == cutsValues {
				body[f.To] = body[f.To][:min(len(body[f.To]), 40)]
			}
		}
	}
	return body, nil
}

func (c *keyedCRM) Push(ctx context.Context, change lead.Change, ref string) (string, error) {
	l := change.Lead
	if c.breaks == leaksEmailInLog {
		c.env.Log.Debug("push", slog.String("who", l.Email))
	}
	if c.breaks == remembersOne && change.Op == lead.Update {
		previous, _ := shared.Swap("lead", l)
		if previous, ok := previous.(lead.Lead); ok {
			l = previous
		}
	}
	if change.Op == lead.Delete {
		if c.breaks == deletesAnybody && ref == "" {
			ref = c.Key(Sample(1))
		}
		if ref == "" || c.breaks == ignoresDeletes || c.breaks == keepsWhoIsLeftOut && l.Email != "" {
			return ref, nil
		}
		return ref, c.write(ctx, http.MethodDelete, ref, "", nil)
	}
	body, err := c.body(l)
	if err != nil {
		return "", err
	}
	key := c.Key(l)
	if c.breaks == duplicates {
		key = fmt.Sprint(change.ID, ref)
	}
	if c.breaks == losesUpdates && change.Op == lead.Update {
		return key, nil
	}
	if c.breaks == keepsOldValues && l.Note == "" {
		body["Note"] = "as before"
	}
	if ref != "" && ref != key && c.breaks != forgetsOldKey && c.breaks != heedsSpelling && c.breaks != duplicates {
		if err := c.write(ctx, http.MethodDelete, ref, "", nil); err != nil {
			return "", err
		}
	}
	query := ""
	if c.breaks == putsEmailInURL {
		query = "?who=" + url.QueryEscape(l.Email)
	}
	if err := c.write(ctx, http.MethodPut, key, query, body); err != nil {
		if c.breaks == leaksEmailInError {
			err = &connectors.Error{Err: fmt.Errorf("crm: %s: %w", l.Email, err)}
		}
		return "", err
	}
	return key, nil
}

func (c *keyedCRM) Rehearse(ctx context.Context, change lead.Change, ref string) ([]connectors.Rehearsed, error) {
	switch c.breaks {
	case sendsRehearsals:
		_, err := c.Push(context.Background(), change, ref)
		return nil, err
	case rehearsesAnother:
		change.Lead.Name += " Esq."
	}
	vendor := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		json.NewEncoder(w).Encode(map[string]string{"id": path.Base(r.URL.Path)})
	})
	return connectors.RehearseRequests(ctx, vendor, []string{c.Secret.Reveal()}, func(ctx context.Context) error {
		_, err := c.Push(ctx, change, ref)
		return err
	})
}

// write changes a record, and believes only an answer that is about it.
func (c *keyedCRM) write(ctx context.Context, method, key, query string, body any) error {
	answer, err := c.call(ctx, method, "/records/"+key+query, body)
	if err != nil || c.breaks == swallowsErrors || c.breaks == believesAnyAnswer {
		return err
	}
	var got map[string]any
	json.Unmarshal(answer.Body, &got)
	if c.breaks == panicsOnNonsense {
		_ = got["id"].(string)
	}
	if got["id"] != key {
		fault := connectors.Unknown
		if c.breaks == blamesTheLead {
			fault = connectors.Lead
		}
		return &connectors.Error{Fault: fault, Err: errors.New("crm: the answer is not about this record")}
	}
	return nil
}

func (c *keyedCRM) MaxBatch() int { return 10 }

func (c *keyedCRM) PushBatch(ctx context.Context, items []connectors.Item) []connectors.Result {
	results := make([]connectors.Result, len(items))
	if c.breaks == callsForNothing {
		c.call(ctx, http.MethodGet, "/records", nil)
	}
	seen := map[string]bool{}
	for i, item := range items {
		if key := c.Key(item.Change.Lead); c.breaks == refusesDoubles && seen[key] {
			results[i].Err = &connectors.Error{Fault: connectors.Lead, Err: errors.New("crm: twice in one batch")}
			continue
		} else {
			seen[key] = true
		}
		if c.breaks == dropsLastOfBatch && i > 0 && i == len(items)-1 {
			results[i].Ref = c.Key(item.Change.Lead)
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
			return ref, c.write(ctx, http.MethodDelete, ref, "", nil)
		}
		return ref, nil
	}
	body, err := c.body(change.Lead)
	if err != nil {
		return "", err
	}
	if ref != "" && c.breaks != doublesKeyless {
		answer, err := c.call(ctx, http.MethodPatch, "/records/"+ref, body)
		if err == nil {
			_, err = c.id(answer)
			return ref, err
		}
		if answer == nil || answer.Status != http.StatusNotFound {
			return ref, err
		}
	}
	answer, err := c.call(ctx, http.MethodPost, "/records", body)
	if err != nil {
		return "", err
	}
	return c.id(answer)
}

func (c foundCRM) Settles() time.Duration { return 0 }

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

// openTeller tells of creates alone.
func openTeller(breaks broken) func(crmSettings, connectors.Env) (connectors.Connector, error) {
	return func(s crmSettings, env connectors.Env) (connectors.Connector, error) {
		c, err := openKeyed(breaks)(s, env)
		if err != nil {
			return nil, err
		}
		return teller{c.(*keyedCRM)}, nil
	}
}

type teller struct{ of *keyedCRM }

func (c teller) Push(ctx context.Context, change lead.Change, ref string) (string, error) {
	if change.Op != lead.Create && c.of.breaks != tellsOfUpdates {
		return ref, nil
	}
	return c.of.Push(ctx, change, ref)
}

func (c teller) Close() error { return c.of.Close() }

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

		NoSuchField: "Nmae",
		Unready:     map[string]func(Vendor){"there is no room": func(v Vendor) { v.(*crm).full = true }},
	}
}

func keyedHarness(breaks broken) Harness {
	h := crmHarness(openKeyed(breaks))
	h.KeyedByEmail = true
	return h
}

func foundHarness(breaks broken) Harness { return crmHarness(openFound(breaks)) }

func tellerHarness(breaks broken) Harness {
	h := crmHarness(openTeller(breaks))
	h.Kind.Event, h.CreatesOnly = true, true
	return h
}

func TestAConnectorThatKeepsTheContractPasses(t *testing.T) {
	t.Run("with a keyed write", func(t *testing.T) { Run(t, keyedHarness(nothing)) })
	t.Run("with Find", func(t *testing.T) { Run(t, foundHarness(nothing)) })
	t.Run("that is told of creates alone", func(t *testing.T) { Run(t, tellerHarness(nothing)) })
	t.Run("not over HTTP", func(t *testing.T) { Run(t, memoryHarness()) })
}

// Each promise is checked by breaking it: the kit must notice, by the named checks. A check that no row makes
// fail is a defect.
func TestABrokenConnectorFails(t *testing.T) {
	mayFail := map[string]bool{}
	rows := map[string]struct {
		harness Harness
		by      []string // each begins a promise that must be among the failed
	}{
		"duplicates": {keyedHarness(duplicates), []string{"the same create twice", "the same create with its ref forgotten", "the same update twice",
			"a changed address that is pushed again", "a batch again", "an address that is only spelled"}},
		"doubles what it cannot key":    {foundHarness(doublesKeyless), []string{"a connector opened anew"}},
		"loses updates":                 {keyedHarness(losesUpdates), []string{"a create, an update", "an update of a lead never pushed", "an update of a record that is gone", "a page in place of every answer"}},
		"ignores deletes":               {keyedHarness(ignoresDeletes), []string{"a delete twice", "a delete after a create whose answer"}},
		"forgets the old key":           {keyedHarness(forgetsOldKey), []string{"a changed address leaves", "an address that changes there and back"}},
		"heeds an address's spelling":   {keyedHarness(heedsSpelling), []string{"an address that is only spelled", "two leads of one address"}},
		"keeps who is left out":         {keyedHarness(keepsWhoIsLeftOut), []string{"a lead that the filter leaves out"}},
		"takes away the wrong one":      {keyedHarness(deletesAnybody), []string{"a delete of a lead never pushed"}},
		"keeps old values":              {keyedHarness(keepsOldValues), []string{"a value that is cleared"}},
		"cuts values":                   {keyedHarness(cutsValues), []string{"unusual values"}},
		"leaks the address in an error": {keyedHarness(leaksEmailInError), []string{"every status", "a reason that repeats"}},
		"leaks the address in the log":  {keyedHarness(leaksEmailInLog), []string{"a create, an update"}},
		"leaks the address in a URL":    {keyedHarness(putsEmailInURL), []string{"a create, an update"}},
		"leaks its secret in an error":  {keyedHarness(leaksSecretInError), []string{"every status"}},
		"prints its secret":             {keyedHarness(printsSecret), []string{"printing the connector"}},
		"swallows errors":               {keyedHarness(swallowsErrors), []string{"every status", "no status makes", "a batch that fails as a whole"}},
		"blames the lead": {keyedHarness(blamesTheLead), []string{"a refused connection", "an answer lost", "a cut answer",
			"an answer of 10 MB", "a batch whose answer is lost"}},
		"blames nobody":                {keyedHarness(blamesTheRemote), []string{"a lead that the vendor refuses", "a bad item fails alone"}},
		"forgets Retry-After":          {keyedHarness(forgetsRetryAfter), []string{"Retry-After"}},
		"panics on nonsense":           {keyedHarness(panicsOnNonsense), []string{"a page, nonsense"}},
		"believes any answer":          {keyedHarness(believesAnyAnswer), []string{"a success that is not"}},
		"reads without end":            {keyedHarness(readsWithoutEnd), []string{"an answer that does not end"}},
		"ignores the context":          {keyedHarness(ignoresContext), []string{"a call that is cancelled or"}},
		"blames the lead for a cancel": {keyedHarness(calledOffIsTheLeads), []string{"a call that is cancelled returns"}},
		"shares state among instances": {keyedHarness(sharesState), []string{"two connectors of one kind"}},
		"shares state among pushes":    {keyedHarness(remembersOne), []string{"twenty goroutines"}},
		"leaves a goroutine":           {keyedHarness(leaksGoroutine), []string{"nothing runs on"}},
		"dials anew":                   {keyedHarness(dialsAnew), []string{"connections are used again"}},
		"calls on open":                {keyedHarness(opensOnOpen), []string{"opening calls nobody"}},
		"mixes up a batch":             {keyedHarness(mixesUpBatch), []string{"a batch of everything"}},
		"drops the last of a batch":    {keyedHarness(dropsLastOfBatch), []string{"the largest batch"}},
		"calls for an empty batch":     {keyedHarness(callsForNothing), []string{"an empty batch"}},
		"refuses doubles in a batch":   {keyedHarness(refusesDoubles), []string{"two leads of one address in one batch"}},
		"returns unclassified errors":  {keyedHarness(plainErrors), []string{"every status"}},
		"follows redirects":            {keyedHarness(followsRedirects), []string{"no redirect"}},
		"takes a failed search for no": {foundHarness(findsNothingOnError), []string{"Find never takes"}},
		"finds what is not there":      {foundHarness(findsWrongly), []string{"Find finds by"}},
		"writes in its check":          {keyedHarness(writesInCheck), []string{"Check succeeds"}},
		"checks nothing":               {keyedHarness(neverFailsCheck), []string{"Check fails", "Check says what is missing"}},
		"checks one field":             {keyedHarness(checksOneField), []string{"Check names every"}},
		"limits nothing":               {keyedHarness(limitsBackwards), []string{"limits make sense"}},
		"tells of what it need not":    {tellerHarness(tellsOfUpdates), []string{"what the vendor is not told of"}},
		"sends what it rehearses":      {keyedHarness(sendsRehearsals), []string{"a rehearsal changes nothing", "a rehearsal shows what"}},
		"rehearses another lead":       {keyedHarness(rehearsesAnother), []string{"a rehearsal shows what"}},
		"asks for no setting":          {keyedHarness(asksForNothing), []string{"a missing setting"}},
		"takes any setting":            {looseHarness(), []string{"an unknown setting", "a setting of the wrong type", "a secret may come from a file"}},
		"documents what is not":        {documentedHarness(t, "password: x"), []string{"the YAML"}},
	}
	ran := 0
	for name, row := range rows {
		t.Run(name, func(t *testing.T) {
			ran++
			for _, by := range row.by {
				if failed := failures(t, row.harness, by); len(failed) == 0 {
					t.Errorf("no check whose promise begins with %q failed", by)
				} else {
					for _, promise := range failed {
						mayFail[promise] = true
					}
				}
			}
		})
	}
	for _, c := range checks {
		if ran == len(rows) && !mayFail[c.promise] {
			t.Errorf("nothing here makes this check fail: %s", c.promise)
		}
	}
}

func TestExamineSaysWhatSpeaksAgainstAConnector(t *testing.T) {
	promises, err := Examine(foundHarness(findsWrongly))
	if err != nil {
		t.Fatal(err)
	}
	kept, broken := 0, map[string][]string{}
	for promise, complaints := range promises {
		if complaints == nil {
			kept++
		} else {
			broken[promise] = complaints
		}
	}
	said := broken["Find finds by the lead's id alone, and says so when there is none"]
	if kept == 0 || len(said) == 0 || !strings.Contains(said[0], `found "1" in an empty system`) {
		t.Errorf("%d are kept, broken are %q", kept, broken)
	}
	h := foundHarness(nothing)
	h.Kind.Fields = []connectors.FieldRule{{To: "x"}}
	if _, err := Examine(h); err == nil || !strings.Contains(err.Error(), "the field rules are refused") {
		t.Errorf("got %v", err)
	}
}

func TestAnExampleIsReadFromThePackageComment(t *testing.T) {
	h := documentedHarness(t, "api_key_file: /no/such/file")
	if got := h.example(); !strings.Contains(got, "api_key_file") {
		t.Errorf("the example is %q", got)
	}
	if failed := failures(t, h, "the YAML"); len(failed) > 0 {
		t.Errorf("a right example fails")
	}
}

// documentedHarness is of a connector whose package comment has an example with that setting in it.
func documentedHarness(t *testing.T, setting string) Harness {
	h := keyedHarness(nothing)
	h.dir = t.TempDir()
	source := "// Package crm is an example.\n//\n//\tconnectors:\n//\t  - name: a\n//\t    type: crm\n//\t    settings:\n" +
		"//\t      url: https://crm.example\n//\t      " + setting + "\n//\t    fields:\n//\t      - {to: Name, from: name}\n//\n// # More\n//\n//\tno YAML\npackage crm\n"
	if err := os.WriteFile(filepath.Join(h.dir, "doc.go"), []byte(source), 0o600); err != nil {
		t.Fatal(err)
	}
	return h
}

// looseHarness is of a connector that takes every setting the kit tries, of any type.
func looseHarness() Harness {
	type loose struct {
		URL  any `mapstructure:"url"`
		Key  any `mapstructure:"api_key"`
		File any `mapstructure:"api_key_file"`
		None any `mapstructure:"no_such_setting"`
	}
	h := keyedHarness(nothing)
	h.Kind = connectors.Define("crm", loose{}, func(s loose, env connectors.Env) (connectors.Connector, error) {
		return openKeyed(nothing)(crmSettings{URL: fmt.Sprint(s.URL), Key: crmKey}, env)
	})
	h.Kind.Settings = crmSettings{}
	return h
}

// failures runs the checks whose promise begins with by and returns the promises of those that failed.
func failures(t *testing.T, h Harness, by string) (promises []string) {
	shared.Clear()
	defer shared.Clear()
	can := abilitiesOf(newWorld(t, h))
	for _, c := range checks {
		if !strings.HasPrefix(c.promise, by) || c.needs != nil && !c.needs(can) {
			continue
		}
		if observed(func(t testing.TB) { c.run(t, h) }) != nil {
			promises = append(promises, c.promise)
		}
	}
	return promises
}

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
