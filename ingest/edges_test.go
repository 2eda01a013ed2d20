package ingest_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/leadrelay/leadrelay/ingest"
)

func TestOnlyOneWellFormedBearerKeyLetsIn(t *testing.T) {
	a := start(t, nil)
	for _, c := range []struct {
		values []string
		status int
	}{
		{[]string{"Bearer " + full}, 200},
		{[]string{"bearer " + full}, 200},
		{[]string{"BEARER   " + full + " "}, 200},
		{[]string{"Bearer " + full, "Bearer " + full}, 401},
		{[]string{"Bearer " + full, "Bearer nonsense"}, 401},
		{[]string{"Bearer " + createOnly, "Bearer " + full}, 401},
		{[]string{"Bearer " + full + ", Bearer x"}, 401},
		{[]string{"Bearer\t" + full}, 401},
		{[]string{"Bearer \"" + full + "\""}, 401},
		{[]string{"Bearer"}, 401},
		{[]string{"Bearer "}, 401},
		{[]string{""}, 401},
		{[]string{"Basic " + full}, 401},
		{[]string{full}, 401},
	} {
		req, _ := http.NewRequest("GET", a.url+"/api/v1/leads", nil)
		req.Header["Authorization"] = c.values
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != c.status {
			t.Errorf("%q: got %d, want %d", c.values, resp.StatusCode, c.status)
		}
	}
}

func TestWhatCanBeGotCanBeAskedForByHead(t *testing.T) {
	a := start(t, nil)
	id := a.post(`{"email":"a@example.com"}`)
	for _, path := range []string{"/healthz", "/readyz", "/metrics", "/api/v1/leads", "/api/v1/leads/" + id} {
		req, _ := http.NewRequest("HEAD", a.url+path, nil)
		req.Header.Set("Authorization", "Bearer "+full)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != 200 {
			t.Errorf("HEAD %s: got %d", path, resp.StatusCode)
		}
	}
}

func TestAnIdempotencyKeyMayBeQuotedAsTheDraftHasIt(t *testing.T) {
	a := start(t, nil)
	send := func(key string) answer {
		return a.do("POST", "/api/v1/leads", full, `{"email":"a@example.com"}`, "Idempotency-Key", key)
	}
	for bare, quoted := range map[string]string{"k-1": `"k-1"`, `a"b\c`: `"a\"b\\c"`, strings.Repeat("k", 255): `"` + strings.Repeat("k", 255) + `"`} {
		if first, again := send(bare), send(quoted); first.status != 200 || first.text != again.text {
			t.Errorf("%s: %d %s, then as %s: %d %s", bare, first.status, first.text, quoted, again.status, again.text)
		}
	}
	for _, bad := range []string{"", `""`, `"k`, `"k"x`, `"a"b"`, `"a\b"`, `"k";p=1`, "ä", `"ä"`, "a\tb", `"` + strings.Repeat("k", 256) + `"`} {
		if got := send(bad); got.status != 400 || !strings.Contains(got.text, "Idempotency-Key") {
			t.Errorf("%s: got %d %s", bad, got.status, got.text)
		}
	}
}

func TestARefusedRequestDoesNotUseUpItsIdempotencyKey(t *testing.T) {
	a := start(t, nil)
	if got := a.do("POST", "/api/v1/leads", full, `{"email":"a@example"}`, "Idempotency-Key", "k"); got.status != 422 {
		t.Fatalf("got %d %s", got.status, got.text)
	}
	if got := a.do("POST", "/api/v1/leads", full, `{"email":"a@example.com"}`, "Idempotency-Key", "k"); got.status != 200 {
		t.Errorf("the mended request: got %d %s", got.status, got.text)
	}
}

func TestAnAnswerIsReplayedAfterTheLeadWasChangedAndDeleted(t *testing.T) {
	a := start(t, nil)
	create := func() answer {
		return a.do("POST", "/api/v1/leads", createOnly, `{"email":"a@example.com","x":[1.0]}`, "Idempotency-Key", "k")
	}
	first := create()
	path := "/api/v1/leads/" + first.body["data"].(map[string]any)["lead_id"].(string)
	a.do("PUT", path, full, `{"email":"b@example.com","x":null}`)
	if again := create(); again.text != first.text {
		t.Errorf("after an update: %s, was %s", again.text, first.text)
	}
	a.do("DELETE", path, full, "")
	if again := create(); again.text != first.text {
		t.Errorf("after the delete: %s, was %s", again.text, first.text)
	}
	if got := a.do("GET", path, full, ""); got.status != 404 {
		t.Errorf("a replay brought the lead back: %d %s", got.status, got.text)
	}
}

func TestAKeyThatMayOnlyAddIsShownNothingOfALeadThatWasThere(t *testing.T) {
	a := start(t, func(o *ingest.Options) { o.Dedupe = true })
	id := a.post(`{"email":"jane@example.com","name":"Jane","source":"crm","note":"private","phone":"123"}`)
	got := a.do("POST", "/api/v1/leads", createOnly, `{"email":"JANE@example.com","plan":"pro"}`)
	want := fmt.Sprintf(`"data":{"lead_id":"%s","name":"","email":"JANE@example.com","source":"","note":"","created_at":`, id)
	if got.status != 200 || !strings.Contains(got.text, want) || !strings.Contains(got.text, `"plan":"pro"`) || strings.Contains(got.text, "phone") {
		t.Errorf("got %d %s", got.status, got.text)
	}
	if got := a.do("GET", "/api/v1/leads/"+id, full, ""); !strings.Contains(got.text, `"name":"Jane"`) || !strings.Contains(got.text, `"plan":"pro"`) {
		t.Errorf("the lead is now %s", got.text)
	}
}

func TestManyChangesOfOneLeadAtOnceAreAllAccepted(t *testing.T) {
	a := start(t, func(o *ingest.Options) { o.Dedupe = true })
	id := a.post(`{"email":"a@example.com"}`)
	change := func(method, path, body, key string) {
		for {
			got := a.do(method, path, full, body, "Idempotency-Key", key)
			if got.status == 503 || got.body["error"] == "request_in_flight" {
				continue // a machine with too much to do
			}
			if got.status != 200 {
				t.Errorf("got %d %s", got.status, got.text)
			}
			return
		}
	}
	const updates, creates = 150, 100
	var group sync.WaitGroup
	for i := range updates {
		group.Go(func() { change("PUT", "/api/v1/leads/"+id, fmt.Sprintf(`{"n":%d}`, i), fmt.Sprint(i)) })
	}
	for i := range creates {
		group.Go(func() {
			change("POST", "/api/v1/leads", fmt.Sprintf(`{"email":"b@example.com","n":%d}`, i), fmt.Sprint(i))
		})
	}
	group.Wait()
	if got := a.do("GET", "/api/v1/leads/"+id, full, ""); got.body["data"].(map[string]any)["revision"] != float64(1+updates) {
		t.Errorf("after %d changes: %s", updates, got.text)
	}
	got := a.do("GET", "/api/v1/leads?email=b@example.com", full, "")
	if data := got.body["data"].([]any); len(data) != 1 || data[0].(map[string]any)["revision"] != float64(creates) {
		t.Errorf("after %d creates of one address: %s", creates, got.text)
	}
}

func TestAQueryThatIsNotUnderstoodFindsNothingInsteadOfEverything(t *testing.T) {
	a := start(t, nil)
	a.post(`{"email":"a+b@example.com","source":"web"}`)
	for _, query := range []string{"email=%zz", "email=x%zz&limit=1", "a;b", "limit=1&limit=2", "Email=a@example.com"} {
		if got := a.do("GET", "/api/v1/leads?"+query, full, ""); got.status != 400 || got.body["error"] != "bad_request" {
			t.Errorf("%s: got %d %s", query, got.status, got.text)
		}
	}
	for _, query := range []string{"email=a%2Bb@example.com", "email=a+b@example.com", "email=A%2BB@EXAMPLE.com%20", "source=%20web"} {
		if got := a.do("GET", "/api/v1/leads?"+query, full, ""); got.status != 200 || len(got.body["data"].([]any)) != 1 {
			t.Errorf("%s: got %d %s", query, got.status, got.text)
		}
	}
}

func TestPagesHoldStillWhileLeadsComeAndGo(t *testing.T) {
	a := start(t, nil)
	var ids []string
	for i := range 9 {
		ids = append(ids, a.post(fmt.Sprintf(`{"email":"a%d@example.com"}`, i)))
	}
	seen := map[string]int{}
	for cursor, page := "", 0; page == 0 || cursor != ""; page++ {
		got := a.do("GET", "/api/v1/leads?limit=3&cursor="+cursor, full, "")
		last := ""
		for _, one := range got.body["data"].([]any) {
			last = one.(map[string]any)["lead_id"].(string)
			seen[last]++
		}
		cursor = got.body["next_cursor"].(string)
		a.post(`{"email":"new@example.com"}`)
		if page == 0 {
			a.do("DELETE", "/api/v1/leads/"+last, full, "") // the lead the cursor points at
		}
	}
	if len(seen) != len(ids) {
		t.Errorf("saw %d leads, want the %d that were there at the start", len(seen), len(ids))
	}
	for _, id := range ids {
		if seen[id] != 1 {
			t.Errorf("%s was seen %d times", id, seen[id])
		}
	}
}

func TestTheBodyLimitIsExact(t *testing.T) {
	a := start(t, func(o *ingest.Options) { o.BodyBytes = 1024 })
	lead := `{"email":"a@example.com"}`
	for _, c := range []struct{ size, status int }{{1024, 200}, {1025, 413}, {1 << 20, 413}} {
		body := lead + strings.Repeat(" ", c.size-len(lead))
		for _, chunked := range []bool{false, true} {
			req, _ := http.NewRequest("POST", a.url+"/api/v1/leads", strings.NewReader(body))
			if chunked {
				req.Body, req.ContentLength = io.NopCloser(strings.NewReader(body)), -1
			}
			req.Header.Set("Authorization", "Bearer "+full)
			req.Header.Set("Content-Type", "application/json")
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode != c.status {
				t.Errorf("%d bytes, chunked %v: got %d, want %d", c.size, chunked, resp.StatusCode, c.status)
			}
		}
	}
}

// TestABodyThatDoesNotArrive sends less than it announces, then waits or ends.
func TestABodyThatDoesNotArrive(t *testing.T) {
	handler := held(t, ingest.New(ingest.Options{
		Log: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry(), Keys: []ingest.Key{{Name: "full", Secret: full, Scope: ingest.Full}},
	}))
	for _, c := range []struct {
		ends   bool
		within time.Duration
		status string
		code   string
	}{{false, 50 * time.Millisecond, "408", "request_timeout"}, {true, time.Minute, "400", "bad_request"}} {
		front := httptest.NewUnstartedServer(nil)
		front.Config = ingest.Serving(handler)
		front.Config.ReadHeaderTimeout, front.Config.ReadTimeout = time.Minute, c.within
		front.Start()
		conn, err := net.Dial("tcp", front.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(conn, "POST /api/v1/leads HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{", full)
		if c.ends {
			conn.(*net.TCPConn).CloseWrite()
		}
		got, err := io.ReadAll(conn)
		if err != nil || !strings.HasPrefix(string(got), "HTTP/1.1 "+c.status) || !strings.Contains(string(got), `"error":"`+c.code+`"`) {
			t.Errorf("got %s, %v; want %s %s", got, err, c.status, c.code)
		}
		conn.Close()
		front.Close()
	}
}

func TestADefectIsAnswered500CountedAndLoggedWithoutValues(t *testing.T) {
	var log bytes.Buffer
	handler := ingest.New(ingest.Options{ // without a store every call to it is a defect
		Log: slog.New(slog.NewTextHandler(&log, nil)), Metrics: prometheus.NewRegistry(),
		Keys: []ingest.Key{{Name: "full", Secret: full, Scope: ingest.Full}},
	})
	req := httptest.NewRequest("POST", "/api/v1/leads", strings.NewReader(`{"email":"jane@example.com"}`))
	req.Header.Set("Authorization", "Bearer "+full)
	req.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, req)
	var got map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != 500 || got["success"] != false || got["error"] != "internal" {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
	if !strings.Contains(log.String(), "store.(*Store)") || strings.Contains(log.String(), "jane") {
		t.Errorf("logged: %s", &log)
	}
	metrics := httptest.NewRecorder()
	handler.ServeHTTP(metrics, httptest.NewRequest("GET", "/metrics", nil))
	if !strings.Contains(metrics.Body.String(), `leadrelay_request_seconds_count{route="create",status="500"} 1`) {
		t.Errorf("not counted as a 500: %s", metrics.Body)
	}
}
