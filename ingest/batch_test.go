package ingest_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/leadrelay/leadrelay/ingest"
	"github.com/leadrelay/leadrelay/internal/redistest"
)

const batchPath, ndjson = "/api/v1/leads/batch", "application/x-ndjson"

// item is what a batch's answer says of one lead.
type item struct {
	Success  bool
	Data     map[string]any
	Error    string
	Message  string
	Problems []struct{ Field, Message string }
}

func (i item) id() string {
	id, _ := i.Data["lead_id"].(string)
	return id
}

// items are those of an answer, whose counts must be theirs.
func (got answer) items(t testing.TB) (all []item) {
	t.Helper()
	var body struct {
		Success           bool
		Data              []item
		Message           string
		Accepted, Refused int
	}
	if err := json.Unmarshal([]byte(got.text), &body); err != nil || got.status != 200 || !body.Success || body.Data == nil {
		t.Fatalf("got %d %s, %v", got.status, got.text, err)
	}
	accepted := 0
	for _, one := range body.Data {
		if one.Success {
			accepted++
		}
		if one.Success != (one.Error == "") || one.Success != (one.id() != "") || one.Success == (one.Message != "") {
			t.Errorf("an item says %+v", one)
		}
	}
	if want := fmt.Sprintf("%d of %d leads added", accepted, len(body.Data)); body.Message != want || body.Accepted != accepted || body.Refused != len(body.Data)-accepted {
		t.Errorf("%s, %d accepted, %d refused; want %s", body.Message, body.Accepted, body.Refused, want)
	}
	return body.Data
}

// leads lists what there is.
func (a *api) leads() []any {
	a.t.Helper()
	got := a.do("GET", "/api/v1/leads?limit=200", full, "")
	if got.status != 200 {
		a.t.Fatalf("got %d %s", got.status, got.text)
	}
	return got.body["data"].([]any)
}

func (a *api) batch(body string, headers ...string) answer {
	a.t.Helper()
	return a.do("POST", batchPath, full, body, headers...)
}

// many are so many leads, with an address each that begins with prefix.
func many(n int, prefix string) (leads []string) {
	for i := range n {
		leads = append(leads, fmt.Sprintf(`{"email":"%s%d@example.com","n":%d}`, prefix, i, i))
	}
	return leads
}

func array(leads ...string) string { return "[" + strings.Join(leads, ",") + "]" }

func TestP1EachLeadOfABatchIsAnsweredForItselfInOrder(t *testing.T) {
	a := start(t, nil)
	leads := []string{
		`{"email":"a@example.com","name":"A","tags":["x, \"y\" ]}\\"]}`, `{"name":"B"}`, `{"email":"c@example","name":1}`, `5`, `null`,
		"{\"email\":\"\xff@example.com\"}", `{"email":"d@example.com"}`, `{"email":"a@example.com","note":"` + strings.Repeat("n", 70_000) + `"}`, `{"email":"e@example.com"}`,
	}
	want := []string{"", "validation_failed", "validation_failed", "malformed_json", "malformed_json", "malformed_json", "", "payload_too_large", ""}
	for form, got := range map[string]answer{
		"an array":         a.batch(" [ " + strings.Join(leads, " ,\n") + " ]\n"),
		"lines":            a.batch(strings.Join(leads, "\n"), "Content-Type", ndjson),
		"lines of Windows": a.batch("\r\n"+strings.Join(leads, "\r\n \r\n")+"\r\n", "Content-Type", ndjson+"; charset=UTF-8"),
	} {
		items := got.items(t)
		if len(items) != len(leads) {
			t.Fatalf("%s: got %s", form, got.text)
		}
		for i, one := range items {
			if one.Error != want[i] {
				t.Errorf("%s: lead %d: got %+v, want %q", form, i, one, want[i])
			}
		}
		if problems := items[2].Problems; len(problems) != 2 || problems[0].Field != "email" || problems[1].Field != "name" {
			t.Errorf("%s: got %+v", form, problems)
		}
		if tags := items[0].Data["tags"]; fmt.Sprint(tags) != `[x, "y" ]}\]` {
			t.Errorf("%s: got %v", form, tags)
		}
		for _, i := range []int{0, 6, 8} {
			kept := a.do("GET", "/api/v1/leads/"+items[i].id(), full, "")
			if kept.status != 200 || kept.body["data"].(map[string]any)["email"] != items[i].Data["email"] {
				t.Errorf("%s: lead %d is kept as %s", form, i, kept.text)
			}
		}
	}
	if n := len(a.leads()); n != 9 {
		t.Errorf("there are %d leads, want 9", n)
	}
	if _, text := a.plain("/metrics"); !strings.Contains(text, `leadrelay_accepted_total{operation="create"} 9`) {
		t.Errorf("not counted as 9: %s", text)
	}
}

func TestALeadOfABatchIsAnsweredAsALeadAlone(t *testing.T) {
	a := start(t, nil)
	const body = `{"name":"John Doe","email":"john@gmail.com","budget":12.50,"about":"<b> & \u2028"}`
	alone, one := a.do("POST", "/api/v1/leads", full, body), a.batch(array(body))
	if !strings.HasPrefix(one.text, `{"success":true,"data":[{"success":true,"data":{"lead_id":"lead_`) ||
		!strings.HasSuffix(one.text, `}}],"message":"1 of 1 leads added","accepted":1,"refused":0}`+"\n") {
		t.Errorf("got %s", one.text)
	}
	shape := func(got answer) string {
		at := strings.Index(got.text, `"name":`)
		return got.text[at : at+strings.Index(got.text[at:], `"created_at"`)]
	}
	if shape(alone) != shape(one) || !strings.Contains(one.text, `"budget":12.50`) {
		t.Errorf("alone %s\nin a batch %s", alone.text, one.text)
	}
}

func TestOfABatchThatIsNoArrayNothingIsAccepted(t *testing.T) {
	a := start(t, nil)
	const lead = `{"email":"a@example.com"}`
	for _, body := range []string{
		lead, "[", "]", "[" + lead, lead + "]", "[" + lead + ",]", "[," + lead + "]", "[" + lead + lead + "]", "[" + lead + "]]",
		"[" + lead + "],[" + lead + "]", "[" + lead + "] x", "[" + lead + `,{"email":]`, "[" + lead + `,{"email":"b@example.com"]`,
		"[" + lead + ",{]}", `[` + lead + `,"]`, `[` + lead + `,"\"]`, "[" + lead + ",nul]", "[" + lead + ",{'a':1}]", "[" + lead + ",\f]", "null", " ", "[" + lead + "\n" + lead + "]",
	} {
		got := a.batch(body)
		if got.status != 400 || got.body["error"] != "malformed_json" || got.body["success"] != false || !strings.Contains(fmt.Sprint(got.body["message"]), "array") {
			t.Errorf("%s: got %d %s", body, got.status, got.text)
		}
	}
	if leads := a.leads(); len(leads) != 0 {
		t.Errorf("accepted were %v", leads)
	}
	for _, empty := range []answer{a.batch("[]"), a.batch(" [ ] "), a.batch("\n \r\n", "Content-Type", ndjson)} {
		if items := empty.items(t); len(items) != 0 {
			t.Errorf("an empty batch: %v", items)
		}
	}
}

func TestABatchIsBounded(t *testing.T) {
	a := start(t, func(o *ingest.Options) { o.BatchBytes = 100_000 })
	for form, join := range map[string]func(leads []string) string{
		"application/json": func(leads []string) string { return array(leads...) },
		ndjson:             func(leads []string) string { return strings.Join(leads, "\n") },
	} {
		if got := a.batch(join(many(1001, "a")), "Content-Type", form); got.status != 413 || got.body["error"] != "payload_too_large" || !strings.Contains(got.text, "1000") {
			t.Errorf("%s: 1001 leads: got %d %s", form, got.status, got.text)
		}
		if got := a.batch(strings.Repeat(" ", 100_001-len(join(many(1, "a"))))+join(many(1, "a")), "Content-Type", form); got.status != 413 || !strings.Contains(got.text, "100000") {
			t.Errorf("%s: one byte too many: got %d %s", form, got.status, got.text)
		}
		if leads := a.leads(); len(leads) != 0 {
			t.Fatalf("%s: accepted were %v", form, leads)
		}
	}
	items := a.batch(array(many(1000, "a")...)).items(t)
	for i, one := range items {
		if one.Data["email"] != fmt.Sprintf("a%d@example.com", i) {
			t.Fatalf("lead %d: got %+v", i, one)
		}
	}
	for _, form := range []string{"", "text/csv", "application/x-www-form-urlencoded", "application/json; charset=latin1"} {
		if got := a.batch("[]", "Content-Type", form); got.status != 415 || !strings.Contains(got.text, ndjson) {
			t.Errorf("%q: got %d %s", form, got.status, got.text)
		}
	}
	if got := a.batch("[]", "Content-Encoding", "gzip"); got.status != 415 {
		t.Errorf("got %d %s", got.status, got.text)
	}
	for key, status := range map[string]int{"": 401, "nonsense": 401, createOnly: 200} {
		if got := a.do("POST", batchPath, key, "[]"); got.status != status {
			t.Errorf("with the key %q: got %d %s", key, got.status, got.text)
		}
	}
}

func TestBatchesThatWouldNotFitIntoMemoryTogetherWaitAndAreTurnedAway(t *testing.T) {
	a := start(t, func(o *ingest.Options) { o.BatchBytes = 1 << 40 })
	body, arrives := io.Pipe() // its length is not told: it may become as large as is allowed
	req, _ := http.NewRequest("POST", a.url+batchPath, body)
	req.Header.Set("Authorization", "Bearer "+full)
	req.Header.Set("Content-Type", "application/json")
	first := make(chan int)
	go func() {
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Error(err)
			first <- 0
			return
		}
		resp.Body.Close()
		first <- resp.StatusCode
	}()
	io.WriteString(arrives, "["+many(1, "a")[0])
	for {
		got := a.batch(array(many(1, "b")...))
		if got.status == 503 && got.header.Get("Retry-After") != "" {
			break
		}
		if got.status != 200 { // it was there before the first one's headers were
			t.Fatalf("got %d %s", got.status, got.text)
		}
	}
	io.WriteString(arrives, "]")
	arrives.Close()
	if status := <-first; status != 200 {
		t.Errorf("the first: got %d", status)
	}
	a.batch(array(many(1, "c")...)).items(t)
}

func TestP2ARepeatedBatchIsAnsweredAlikeAndMendedLeadByLead(t *testing.T) {
	for _, dedupe := range []bool{false, true} {
		t.Run(fmt.Sprint("dedupe ", dedupe), func(t *testing.T) {
			a := start(t, func(o *ingest.Options) { o.Dedupe = dedupe })
			leads := many(40, "a")
			leads[7] = `{"email":"a7@example"}`
			first := a.batch(array(leads...), "Idempotency-Key", "one")
			before := first.items(t)
			if before[7].Error != "validation_failed" {
				t.Errorf("lead 7: %+v", before[7])
			}
			if again := a.batch(strings.Join(leads, "\n"), "Idempotency-Key", `"one"`, "Content-Type", ndjson); again.text != first.text {
				t.Errorf("the repeat: %s\nwas %s", again.text, first.text)
			}
			leads[3] = `{ "n" : 3, "email": "a3@example.com" }` // the same
			leads[5] = `{"email":"other@example.com"}`
			leads[7] = many(8, "a")[7]
			after := a.batch(array(leads...), "Idempotency-Key", "one").items(t)
			for i, one := range after {
				switch {
				case i == 5:
					if one.Error != "idempotency_key_reused" {
						t.Errorf("lead 5, another one: %+v", one)
					}
				case i == 7:
					if !one.Success {
						t.Errorf("lead 7, mended: %+v", one)
					}
				case one.id() != before[i].id() || one.Data["created_at"] != before[i].Data["created_at"]:
					t.Errorf("lead %d: %+v, was %+v", i, one, before[i])
				}
			}
			if n := len(a.leads()); n != 40 {
				t.Errorf("there are %d leads", n)
			}
			if other := a.do("POST", batchPath, createOnly, array(`{"email":"b@example.com"}`), "Idempotency-Key", "one").items(t); !other[0].Success {
				t.Errorf("another client's key: %+v", other)
			}
			if got := a.batch("[]", "Idempotency-Key", ""); got.status != 400 || !strings.Contains(got.text, "Idempotency-Key") {
				t.Errorf("an empty key: got %d %s", got.status, got.text)
			}
		})
	}
}

func TestABatchWhoseKeyIsInFlightIsAnswered409(t *testing.T) {
	a := start(t, nil)
	a.post(`{"email":"warm@example.com"}`)
	a.redis.Signal(syscall.SIGSTOP)
	answers := make(chan answer, 2)
	for range 2 {
		go func() { answers <- a.batch(array(many(3, "a")...), "Idempotency-Key", "k") }()
	}
	if got := <-answers; got.status != 409 || got.body["error"] != "request_in_flight" {
		t.Errorf("while the first is in flight: got %d %s", got.status, got.text)
	}
	a.redis.Signal(syscall.SIGCONT)
	(<-answers).items(t)
}

func TestP2UnderDedupeABatchsLeadsOfOneAddressAreOneLeadInTheirOrder(t *testing.T) {
	a := start(t, func(o *ingest.Options) { o.Dedupe = true })
	known := a.post(`{"email":"jane@example.com","name":"Jane","note":"private","phone":"123"}`)
	got := a.do("POST", batchPath, createOnly, array(
		`{"email":"jane@example.com","plan":"free"}`, `{"email":"joe@example.com","n":1}`, `{"email":"JANE@example.com","plan":"pro"}`,
		`{"email":"Joe@example.com","n":2}`, `{"email":"joe@example.com","n":3}`,
	))
	items := got.items(t)
	if items[0].id() != known || items[2].id() != known || items[1].id() != items[3].id() || items[3].id() != items[4].id() {
		t.Errorf("got %s", got.text)
	}
	if strings.Contains(got.text, "private") || strings.Contains(got.text, "phone") || strings.Contains(got.text, "Jane") {
		t.Errorf("a key that may only add is shown %s", got.text)
	}
	for id, want := range map[string]string{known: `"plan":"pro"`, items[1].id(): `"n":3`} {
		if kept := a.do("GET", "/api/v1/leads/"+id, full, ""); !strings.Contains(kept.text, want) {
			t.Errorf("%s is not in %s", want, kept.text)
		}
	}

	const batches, addresses = 4, 50
	var group sync.WaitGroup
	for range batches {
		group.Go(func() {
			for i, one := range a.batch(array(many(addresses, "many")...)).items(t) {
				if one.Data["n"] != float64(i) {
					t.Errorf("lead %d: %+v", i, one)
				}
			}
		})
	}
	group.Wait()
	if n := len(a.leads()); n != 2+addresses {
		t.Errorf("there are %d leads, want %d", n, 2+addresses)
	}
}

// away has every script of some shards fail.
type away struct{ shards atomic.Value }

var errAway = errors.New("this server is away")

func (h *away) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) { return next(ctx, network, addr) }
}
func (h *away) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }
func (h *away) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		prefix, _ := h.shards.Load().(string)
		var here []redis.Cmder
		for _, cmd := range cmds {
			if args := cmd.Args(); prefix != "" && len(args) > 3 && strings.HasPrefix(fmt.Sprint(args[3]), prefix) {
				cmd.SetErr(errAway)
			} else {
				here = append(here, cmd)
			}
		}
		if len(here) == 0 {
			return errAway
		}
		return next(ctx, here)
	}
}

func TestP1WhatAStoreThatIsPartlyAwayDidNotGetIsToldLeadByLead(t *testing.T) {
	hook := &away{}
	a := start(t, func(o *ingest.Options) { o.Store.Client().AddHook(hook) })
	leads := array(append(many(200, "a"), `{"email":"nobody"}`)...)
	hook.shards.Store("lr:{0") // 10 of 32
	first := a.batch(leads, "Idempotency-Key", "k").items(t)
	refused := 0
	for i, one := range first {
		switch one.Error {
		case "unavailable":
			refused++
		case "":
		default:
			if i != 200 {
				t.Errorf("lead %d: %+v", i, one)
			}
		}
	}
	if refused == 0 || len(a.leads()) != 200-refused {
		t.Errorf("%d were refused, %d are there", refused, len(a.leads()))
	}
	hook.shards.Store("")
	for i, one := range a.batch(leads, "Idempotency-Key", "k").items(t) {
		if one.Success != (i != 200) || first[i].Success && one.id() != first[i].id() {
			t.Errorf("lead %d: %+v, was %+v", i, one, first[i])
		}
	}
	if n := len(a.leads()); n != 200 {
		t.Errorf("there are %d leads", n)
	}
}

func TestABatchWithoutAStoreIsAnswered503AsAWhole(t *testing.T) {
	for _, dedupe := range []bool{false, true} {
		t.Run(fmt.Sprint("dedupe ", dedupe), func(t *testing.T) {
			a := start(t, func(o *ingest.Options) { o.Dedupe = dedupe })
			a.redis.Kill()
			got := a.batch(array(`{"email":"a@example.com"}`, `{"email":"b"}`, `{"email":"c@example.com"}`))
			if got.status != 503 || got.body["error"] != "unavailable" || got.header.Get("Retry-After") == "" {
				t.Errorf("got %d %s", got.status, got.text)
			}
			if none := a.batch(array(`{"email":"b"}`)).items(t); none[0].Error != "validation_failed" {
				t.Errorf("what needs no store: %+v", none)
			}
		})
	}
}

// TestABatchIsFewScripts: not a round trip, and not a script either, for each lead.
func TestABatchIsFewScripts(t *testing.T) {
	a := start(t, nil)
	scripts := func() (n int) {
		redistest.EachMaster(a.redis.Client, func(ctx context.Context, c *redis.Client) error {
			for line := range strings.Lines(c.Info(ctx, "commandstats").Val()) {
				for _, name := range []string{"eval", "evalsha"} {
					var count int
					if _, err := fmt.Sscanf(line, "cmdstat_"+name+":calls=%d,", &count); err == nil {
						n += count
					}
				}
			}
			return nil
		})
		return n
	}
	before := scripts()
	a.batch(array(many(1000, "a")...)).items(t)
	// Four hold the leads. Two jobs for each are enqueued by scripts as well, and each may have to be sent whole first.
	if took := scripts() - before; took > 2*(4+4*2) {
		t.Errorf("1000 leads took %d scripts", took)
	}
}

func FuzzBatch(f *testing.F) {
	a := start(f, nil)
	for _, seed := range []string{
		`[]`, `[{"email":"a@example.com"},{"email":"b@example.com","x":"],[{\""}]`, "{\"email\":\"a@example.com\"}\n\n5\r\n[", `[[]]`, `[{"a":1]}]`, `["\"]`, `[1,2,]`, "[\"\xff\"]",
	} {
		f.Add(seed, false)
		f.Add(seed, true)
	}
	f.Fuzz(func(t *testing.T, body string, lines bool) {
		if len(body) > 50_000 {
			return
		}
		req, _ := http.NewRequest("POST", a.url+batchPath, strings.NewReader(body))
		req.Header.Set("Authorization", "Bearer "+createOnly)
		req.Header.Set("Content-Type", "application/json")
		if lines {
			req.Header.Set("Content-Type", ndjson)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil || !json.Valid(text) {
			t.Fatalf("%q: the answer is not JSON: %s, %v", body, text, err)
		}
		var sent []json.RawMessage
		if lines {
			for line := range strings.SplitSeq(body, "\n") {
				if line = strings.Trim(line, " \t\r"); line != "" {
					sent = append(sent, json.RawMessage(line))
				}
			}
		} else if json.Unmarshal([]byte(body), &sent) != nil || sent == nil {
			if resp.StatusCode != 400 {
				t.Fatalf("%q is no array: got %d %s", body, resp.StatusCode, text)
			}
			return
		}
		if len(sent) > 1000 {
			if resp.StatusCode != 413 {
				t.Fatalf("%d leads: got %d %s", len(sent), resp.StatusCode, text)
			}
			return
		}
		items := answer{status: resp.StatusCode, text: string(text)}.items(t)
		if len(items) != len(sent) {
			t.Fatalf("%q: of %d leads %d are answered", body, len(sent), len(items))
		}
		for i, one := range items {
			// A lead is accepted in a batch if it is alone.
			if alone := (&api{t: t, url: a.url}).do("POST", "/api/v1/leads", createOnly, string(sent[i])); (alone.status == 200) != one.Success {
				t.Fatalf("%q: %+v in a batch, %d %s alone", sent[i], one, alone.status, alone.text)
			}
		}
	})
}
