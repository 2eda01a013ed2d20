package ingest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"github.com/leadrelay/leadrelay/ingest"
	"github.com/leadrelay/leadrelay/internal/lead"
	"github.com/leadrelay/leadrelay/internal/redistest"
	"github.com/leadrelay/leadrelay/internal/store"
)

func TestMain(m *testing.M) { os.Exit(redistest.Main(m)) }

const full, createOnly = "a-full-key-of-sixteen", "a-create-key-of-sixteen"

// api is a front end on a real Redis.
type api struct {
	t     testing.TB
	url   string
	redis *redistest.Redis
	store *store.Store
}

func start(t testing.TB, change func(*ingest.Options)) *api {
	r := redistest.StartAlone(t)
	client := store.Connect(r.Options())
	t.Cleanup(func() { client.Close() })
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	s, err := store.New(context.Background(), client, []store.Connector{{Name: "crm"}, {Name: "hook", Event: true}}, log)
	if err != nil {
		t.Fatal(err)
	}
	options := ingest.Options{Store: s, Log: log, Metrics: prometheus.NewRegistry(), Keys: []ingest.Key{
		{Name: "full", Secret: full, Scope: ingest.Full}, {Name: "form", Secret: createOnly, Scope: ingest.CreateOnly},
	}}
	if change != nil {
		change(&options)
	}
	front := httptest.NewUnstartedServer(nil)
	front.Config = ingest.Serving(held(t, ingest.New(options)))
	front.Start()
	t.Cleanup(func() { front.Close(); s.Close() })
	return &api{t, front.URL, r, s}
}

// plain asks for a page that is no JSON.
func (a *api) plain(path string) (status int, text string) {
	a.t.Helper()
	resp, err := http.Get(a.url + path)
	if err != nil {
		a.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		a.t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

// answer is an HTTP answer.
type answer struct {
	status int
	header http.Header
	text   string
	body   map[string]any
}

func (a *api) do(method, path, key, body string, headers ...string) answer {
	a.t.Helper()
	req, err := http.NewRequest(method, a.url+path, strings.NewReader(body))
	if err != nil {
		a.t.Fatal(err)
	}
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		a.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		a.t.Fatal(err)
	}
	got := answer{status: resp.StatusCode, header: resp.Header, text: string(text)}
	if err := json.Unmarshal(text, &got.body); err != nil {
		a.t.Fatalf("%s %s: not JSON: %s", method, path, text)
	}
	return got
}

// post creates a lead, and again where the machine had too much to do for it, and returns its id.
func (a *api) post(body string) string {
	a.t.Helper()
	got := a.do("POST", "/api/v1/leads", full, body)
	for end := time.Now().Add(time.Minute); got.status != 200; got = a.do("POST", "/api/v1/leads", full, body) {
		if got.status != 503 || time.Now().After(end) {
			a.t.Fatalf("got %d %s", got.status, got.text)
		}
	}
	return got.body["data"].(map[string]any)["lead_id"].(string)
}

// keys lists an object's members in the order they were sent.
func keys(t *testing.T, text string) []string {
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.Token()
	var names []string
	for decoder.More() {
		name, err := decoder.Token()
		if err != nil {
			t.Fatal(err)
		}
		var value json.RawMessage
		if err := decoder.Decode(&value); err != nil {
			t.Fatal(err)
		}
		names = append(names, name.(string))
		if name == "data" {
			for _, inner := range keys(t, string(value)) {
				names = append(names, "data."+inner)
			}
		}
	}
	return names
}

func TestTheSeedsAnswersToTheLetter(t *testing.T) {
	a := start(t, nil)
	created := a.do("POST", "/api/v1/leads", full, `{"name":"John Doe","email":"john@gmail.com","source":"website","note":"Might be interested in React course"}`)
	want := []string{"success", "data", "data.lead_id", "data.name", "data.email", "data.source", "data.note", "data.created_at", "message"}
	if got := keys(t, created.text); created.status != 200 || !slices.Equal(got, want) || created.body["message"] != "Lead added successfully" {
		t.Errorf("create: got %d %s", created.status, created.text)
	}
	data := created.body["data"].(map[string]any)
	id := data["lead_id"].(string)
	if !strings.HasPrefix(id, "lead_") || !regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$`).MatchString(data["created_at"].(string)) {
		t.Errorf("create: got %v", data)
	}
	updated := a.do("PUT", "/api/v1/leads/"+id, full, `{"email":"john.new@gmail.com","note":"Followed up today - very interested in React course"}`)
	want = []string{"success", "error", "data", "data.lead_id", "data.name", "data.email", "data.source", "data.note", "data.updated_at", "message"}
	if got := keys(t, updated.text); updated.status != 200 || !slices.Equal(got, want) || updated.body["error"] != "" || updated.body["message"] != "Lead updated successfully" {
		t.Errorf("update: got %d %s", updated.status, updated.text)
	}
	if data := updated.body["data"].(map[string]any); data["name"] != "John Doe" || data["email"] != "john.new@gmail.com" {
		t.Errorf("update: got %v", data)
	}
	deleted := a.do("DELETE", "/api/v1/leads/"+id, full, "")
	if got := keys(t, deleted.text); deleted.status != 200 || !slices.Equal(got, []string{"success", "error", "message"}) || deleted.body["message"] != "Lead deleted successfully" {
		t.Errorf("delete: got %d %s", deleted.status, deleted.text)
	}
	if again := a.do("DELETE", "/api/v1/leads/"+id, full, ""); again.status != 404 {
		t.Errorf("a second delete: got %d %s", again.status, again.text)
	}
}

func TestErrorsSayWhatIsWrong(t *testing.T) {
	a := start(t, func(o *ingest.Options) { o.BodyBytes = 20_000 })
	id := a.post(`{"email":"a@example.com"}`)
	const leads = "/api/v1/leads"
	for name, c := range map[string]struct {
		method, path, key, body string
		headers                 []string
		status                  int
		code, says              string
	}{
		"no key":                     {method: "POST", path: leads, body: `{}`, status: 401, code: "unauthorized", says: "Authorization: Bearer"},
		"a wrong key":                {method: "POST", path: leads, key: "nonsense", body: `{}`, status: 401, code: "unauthorized"},
		"a create key may not read":  {method: "GET", path: leads, key: createOnly, status: 403, code: "forbidden", says: "only add"},
		"a create key may not write": {method: "PUT", path: leads + "/" + id, key: createOnly, body: `{}`, status: 403, code: "forbidden"},
		"no such path":               {method: "GET", path: "/api/v1/lead", key: full, status: 404, code: "not_found"},
		"no such lead":               {method: "PUT", path: leads + "/lead_12345", key: full, body: `{"name":"x"}`, status: 404, code: "not_found", says: "no lead"},
		"no such method":             {method: "PATCH", path: leads + "/" + id, key: full, body: `{}`, status: 405, code: "method_not_allowed", says: "PUT"},
		"not JSON":                   {method: "POST", path: leads, key: full, body: `{"email":`, status: 400, code: "malformed_json"},
		"two objects":                {method: "POST", path: leads, key: full, body: `{"email":"a@x.com"}{}`, status: 400, code: "malformed_json"},
		"an array":                   {method: "POST", path: leads, key: full, body: `[]`, status: 400, code: "malformed_json"},
		"a form":                     {method: "POST", path: leads, key: full, body: `email=a`, headers: []string{"Content-Type", "application/x-www-form-urlencoded"}, status: 415, code: "unsupported_media_type", says: "application/json"},
		"too large":                  {method: "POST", path: leads, key: full, body: `{"email":"a@x.com","note":"` + strings.Repeat("n", 21_000) + `"}`, status: 413, code: "payload_too_large", says: "20000"},
		"no address":                 {method: "POST", path: leads, key: full, body: `{"name":"A"}`, status: 422, code: "validation_failed", says: "email: is required"},
		"a bad address":              {method: "POST", path: leads, key: full, body: `{"email":"a@b"}`, status: 422, code: "validation_failed", says: "email: is not a valid"},
		"clearing the address":       {method: "PUT", path: leads + "/" + id, key: full, body: `{"email":null}`, status: 422, code: "validation_failed", says: "email: is required"},
		"too long":                   {method: "POST", path: leads, key: full, body: `{"email":"a@x.com","note":"` + strings.Repeat("n", 10_001) + `"}`, status: 422, code: "validation_failed", says: "note: is longer than 10000"},
		"a wrong type":               {method: "POST", path: leads, key: full, body: `{"email":"a@x.com","name":["A"]}`, status: 422, code: "validation_failed", says: "name: must be a string"},
		"several problems":           {method: "POST", path: leads, key: full, body: `{"email":"x","name":1,"created_at":"now"}`, status: 422, code: "validation_failed", says: "created_at: is set by the server; email: is not a valid e-mail address; name: must be a string"},
		"a bad cursor":               {method: "GET", path: leads + "?cursor=x", key: full, status: 400, code: "bad_request", says: "cursor"},
		"a bad limit":                {method: "GET", path: leads + "?limit=0", key: full, status: 400, code: "bad_request", says: "limit"},
		"a bad idempotency key":      {method: "POST", path: leads, key: full, body: `{"email":"a@x.com"}`, headers: []string{"Idempotency-Key", strings.Repeat("k", 256)}, status: 400, code: "bad_request", says: "Idempotency-Key"},
	} {
		got := a.do(c.method, c.path, c.key, c.body, c.headers...)
		message, _ := got.body["message"].(string)
		if got.status != c.status || got.body["error"] != c.code || got.body["success"] != false || !strings.Contains(message, c.says) || message == "" {
			t.Errorf("%s: got %d %s, want %d %s %q", name, got.status, got.text, c.status, c.code, c.says)
		}
		if got.status == 401 && got.header.Get("WWW-Authenticate") == "" {
			t.Errorf("%s: 401 without WWW-Authenticate", name)
		}
		if got.status == 405 && got.header.Get("Allow") == "" {
			t.Errorf("%s: 405 without Allow", name)
		}
	}
}

func TestCustomFieldsAreKeptReturnedAndClearedByNull(t *testing.T) {
	a := start(t, nil)
	id := a.post(`{"email":"a@example.com","budget":12.50,"big":12345678901234567890,"tags":["x",1],"vip":true,"absent":null}`)
	got := a.do("GET", "/api/v1/leads/"+id, full, "")
	for _, want := range []string{`"budget":12.50`, `"big":12345678901234567890`, `"tags":["x",1]`, `"vip":true`} {
		if !strings.Contains(got.text, want) {
			t.Errorf("%s is not in %s", want, got.text)
		}
	}
	if strings.Contains(got.text, "absent") {
		t.Errorf("a field that was never set shows: %s", got.text)
	}
	got = a.do("PUT", "/api/v1/leads/"+id, full, `{"vip":null,"note":null}`)
	if strings.Contains(got.text, "vip") || !strings.Contains(got.text, `"big":12345678901234567890`) {
		t.Errorf("after clearing a field: %s", got.text)
	}
}

func TestIdempotencyKeys(t *testing.T) {
	a := start(t, nil)
	const body = `{"email":"a@example.com","name":"A"}`
	first := a.do("POST", "/api/v1/leads", full, body, "Idempotency-Key", "one")
	again := a.do("POST", "/api/v1/leads", full, `{ "name": "A", "email": "a@example.com" }`, "Idempotency-Key", "one")
	if first.status != 200 || first.text != again.text {
		t.Errorf("a repeated create: %s, then %s", first.text, again.text)
	}
	if got := a.do("POST", "/api/v1/leads", full, `{"email":"b@example.com"}`, "Idempotency-Key", "one"); got.status != 422 || got.body["error"] != "idempotency_key_reused" {
		t.Errorf("another body under the key: got %d %s", got.status, got.text)
	}
	if got := a.do("POST", "/api/v1/leads", createOnly, `{"email":"b@example.com"}`, "Idempotency-Key", "one"); got.status != 200 {
		t.Errorf("another client's key of the same name: got %d %s", got.status, got.text)
	}
	path := "/api/v1/leads/" + first.body["data"].(map[string]any)["lead_id"].(string)
	put := a.do("PUT", path, full, `{"name":"B"}`, "Idempotency-Key", "two")
	a.do("PUT", path, full, `{"name":"C"}`)
	if got := a.do("PUT", path, full, `{"name":"B"}`, "Idempotency-Key", "two"); got.text != put.text {
		t.Errorf("a repeated update: %s, then %s", put.text, got.text)
	}
	if got := a.do("GET", path, full, ""); got.body["data"].(map[string]any)["name"] != "C" {
		t.Errorf("a repeated update overwrote a later one: %s", got.text)
	}
	if got := a.do("PUT", path, full, `{"name":"D"}`, "Idempotency-Key", "two"); got.status != 422 {
		t.Errorf("another update under the key: got %d %s", got.status, got.text)
	}
	for _, key := range a.redis.Keys(t, "lr:*:[ka]:*") {
		if ttl := a.redis.Client.TTL(context.Background(), key).Val(); ttl <= 23*time.Hour || ttl > 24*time.Hour {
			t.Errorf("%s is kept for %s, want a day", key, ttl)
		}
	}
}

func TestARequestWhoseKeyIsInFlightIsAnswered409(t *testing.T) {
	a := start(t, nil)
	a.post(`{"email":"warm@example.com"}`)
	a.redis.Signal(syscall.SIGSTOP) // whichever request comes first stays in flight
	const requests = 8
	answers := make(chan answer, requests)
	for range requests {
		go func() {
			answers <- a.do("POST", "/api/v1/leads", full, `{"email":"a@example.com"}`, "Idempotency-Key", "k")
		}()
	}
	for range requests - 1 {
		if got := <-answers; got.status != 409 || got.body["error"] != "request_in_flight" || got.header.Get("Retry-After") == "" {
			t.Errorf("while the first is in flight: got %d %s", got.status, got.text)
		}
	}
	a.redis.Signal(syscall.SIGCONT)
	if got := <-answers; got.status != 200 {
		t.Errorf("the first: got %d %s", got.status, got.text)
	}
	if got := a.do("GET", "/api/v1/leads?email=a@example.com", full, ""); len(got.body["data"].([]any)) != 1 {
		t.Errorf("one key made other than one lead: %s", got.text)
	}
}

func TestListIsNewestFirstByPagesAndFiltered(t *testing.T) {
	a := start(t, nil)
	var ids []string
	email, source := map[string]string{}, map[string]string{}
	for i := range 25 {
		address, from := fmt.Sprintf("a%d@example.com", i%5), []string{"web", "fair"}[i%2]
		id := a.post(fmt.Sprintf(`{"email":%q,"source":%q}`, address, from))
		ids, email[id], source[id] = append(ids, id), address, from
	}
	slices.Sort(ids) // by age; those of one millisecond by chance
	slices.Reverse(ids)
	of := func(address, from string) (some []string) {
		for _, id := range ids {
			if (address == "" || email[id] == address) && (from == "" || source[id] == from) {
				some = append(some, id)
			}
		}
		return some
	}
	page := func(query string) (got []string, next string) {
		answer := a.do("GET", "/api/v1/leads?"+query, full, "")
		if answer.status != 200 {
			t.Fatalf("%s: got %d %s", query, answer.status, answer.text)
		}
		for _, one := range answer.body["data"].([]any) {
			got = append(got, one.(map[string]any)["lead_id"].(string))
		}
		return got, answer.body["next_cursor"].(string)
	}
	all := func(query string) (got []string) {
		for cursor := ""; ; {
			ids, next := page(query + "&cursor=" + cursor)
			got = append(got, ids...)
			if cursor = next; next == "" {
				return got
			}
		}
	}
	if got := all("limit=7"); !slices.Equal(got, ids) {
		t.Errorf("got %v, want %v", got, ids)
	}
	if got, want := all("limit=2&email=A3%40example.com"), of("a3@example.com", ""); !slices.Equal(got, want) || len(got) != 5 {
		t.Errorf("by address: got %v, want %v", got, want)
	}
	if got, want := all("limit=3&source=fair"), of("", "fair"); !slices.Equal(got, want) || len(got) != 12 {
		t.Errorf("by source: got %v, want %v", got, want)
	}
	if got, want := all("limit=1&source=fair&email=a3@example.com"), of("a3@example.com", "fair"); !slices.Equal(got, want) || len(got) != 3 {
		t.Errorf("by both: got %v, want %v", got, want)
	}
	if got, next := page("source=nowhere"); len(got) != 0 || next != "" {
		t.Errorf("of no source: got %v, next %q", got, next)
	}
	a.do("PUT", "/api/v1/leads/"+ids[0], full, `{"email":"moved@example.com"}`)
	if got := all("email=moved@example.com"); !slices.Equal(got, ids[:1]) {
		t.Errorf("after its address changed: got %v", got)
	}
	a.do("DELETE", "/api/v1/leads/"+ids[0], full, "")
	if got := all("email=moved@example.com"); len(got) != 0 {
		t.Errorf("after its delete: got %v", got)
	}
}

func TestAKeysRateIsAnswered429WithRetryAfter(t *testing.T) {
	a := start(t, func(o *ingest.Options) { o.Rate, o.Burst = 0.001, 2 })
	for i := range 3 {
		got := a.do("POST", "/api/v1/leads", full, `{"email":"a@example.com"}`)
		if i < 2 && got.status != 200 || i == 2 && (got.status != 429 || got.header.Get("Retry-After") == "") {
			t.Errorf("request %d: got %d %s", i, got.status, got.text)
		}
	}
	if got := a.do("POST", "/api/v1/leads", createOnly, `{"email":"a@example.com"}`); got.status != 200 {
		t.Errorf("another key is held up: %d", got.status)
	}
}

func TestHealthReadinessAndMetrics(t *testing.T) {
	a := start(t, nil)
	if got := a.do("GET", "/healthz", "", ""); got.status != 200 {
		t.Errorf("healthz: %d", got.status)
	}
	got := a.do("GET", "/readyz", "", "")
	if got.status != 200 || !strings.Contains(got.text, "survives a crash of leadrelay, of Redis and of the machine") {
		t.Errorf("readyz: %d %s", got.status, got.text)
	}
	a.redis.Kill()
	if got := a.do("GET", "/readyz", "", ""); got.status != 503 || got.header.Get("Retry-After") == "" {
		t.Errorf("readyz without Redis: %d %s", got.status, got.text)
	}
	if got := a.do("GET", "/healthz", "", ""); got.status != 200 {
		t.Errorf("healthz without Redis: %d", got.status)
	}
	if got := a.do("POST", "/api/v1/leads", full, `{"email":"a@example.com"}`); got.status != 503 || got.header.Get("Retry-After") == "" {
		t.Errorf("a create without Redis: %d %s", got.status, got.text)
	}
}

func TestARedisThatHangsIsAnswered503AndRecoversByItself(t *testing.T) {
	a := start(t, nil)
	a.post(`{"email":"a@example.com"}`)
	a.redis.Signal(syscall.SIGSTOP)
	var group sync.WaitGroup
	for range 50 {
		group.Go(func() {
			got := a.do("POST", "/api/v1/leads", full, `{"email":"b@example.com"}`, "Idempotency-Key", lead.NewID(time.Now(), -1))
			if got.status != 503 || got.header.Get("Retry-After") == "" {
				t.Errorf("got %d %s", got.status, got.text)
			}
		})
	}
	group.Wait()
	a.redis.Signal(syscall.SIGCONT)
	for end := time.Now().Add(time.Minute); a.do("POST", "/api/v1/leads", full, `{"email":"c@example.com"}`).status != 200; {
		if time.Now().After(end) {
			t.Fatal("still no lead is accepted after Redis came back")
		}
	}
}

// TestAcceptingALeadIsOneRoundTrip counts what Redis was asked while one lead was accepted.
func TestAcceptingALeadIsOneRoundTrip(t *testing.T) {
	a := start(t, nil)
	calls := func() (n int) {
		redistest.EachMaster(a.redis.Client, func(ctx context.Context, c *redis.Client) error {
			for line := range strings.Lines(c.Info(ctx, "commandstats").Val()) {
				var count int
				if _, err := fmt.Sscanf(line, "cmdstat_evalsha:calls=%d,", &count); err == nil {
					n += count
				}
			}
			return nil
		})
		return n
	}
	// Enqueueing the jobs is behind the answer and only where no worker is awake: let one be, for every shard.
	awake := func() {
		a.redis.Client.Pipelined(context.Background(), func(p redis.Pipeliner) error {
			for shard := range 32 {
				for _, c := range []string{"crm", "hook"} {
					p.HSet(context.Background(), fmt.Sprintf("lr:{%02d}:w", shard), c, time.Now().Add(5*time.Second).UnixMilli())
				}
			}
			return nil
		})
	}
	awake()
	a.post(`{"email":"warm@example.com"}`) // loads the script
	scripts := 0
	for range 10 {
		awake()
		before := calls()
		a.post(`{"email":"a@example.com"}`)
		scripts += calls() - before
	}
	if scripts != 10 {
		t.Errorf("10 leads took %d scripts, want one each", scripts)
	}
}

func FuzzCreate(f *testing.F) {
	a := start(f, nil)
	for _, seed := range []string{`{"email":"a@example.com"}`, `{"email":"a@example.com","x":{"y":[1e400]}}`, `{`, `{"email":"a@example.com","":1}`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, body string) {
		req, _ := http.NewRequest("POST", a.url+"/api/v1/leads", strings.NewReader(body))
		req.Header.Set("Authorization", "Bearer "+full)
		req.Header.Set("Content-Type", "application/json")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		var got map[string]json.RawMessage
		if err := json.NewDecoder(resp.Body).Decode(&got); err != nil {
			t.Fatalf("%q: the answer is not JSON: %v", body, err)
		}
		if !slices.Contains([]int{200, 400, 413, 422}, resp.StatusCode) {
			t.Fatalf("%q: got %d %v", body, resp.StatusCode, got)
		}
		if resp.StatusCode != 200 {
			return
		}
		var created map[string]json.RawMessage
		json.Unmarshal(got["data"], &created)
		var id string
		json.Unmarshal(created["lead_id"], &id)
		var kept struct{ Data map[string]json.RawMessage }
		req, _ = http.NewRequest("GET", a.url+"/api/v1/leads/"+id, nil)
		req.Header.Set("Authorization", "Bearer "+full)
		read, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer read.Body.Close()
		if err := json.NewDecoder(read.Body).Decode(&kept); err != nil {
			t.Fatalf("%q: what was kept is not JSON: %v", body, err)
		}
		for name, value := range created {
			if !bytes.Equal(kept.Data[name], value) {
				t.Fatalf("%q: %s was answered as %s and kept as %s", body, name, value, kept.Data[name])
			}
		}
	})
}
