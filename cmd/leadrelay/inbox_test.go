package main

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/leadrelay/leadrelay/internal/lead"
	"github.com/leadrelay/leadrelay/internal/redistest"
	"github.com/leadrelay/leadrelay/internal/store"
)

// inboxDesk is a desk, and the store that commands work on.
type inboxDesk struct {
	*desk
	store *store.Store
}

func newInboxDesk(t *testing.T, further string) *inboxDesk {
	t.Helper()
	r := redistest.Start(t)
	s, err := store.New(context.Background(), r.Client, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return &inboxDesk{newDesk(t, r, further), s}
}

func (d *inboxDesk) keep(state store.SubmissionState, origin, reason, payload string) (id string) {
	d.t.Helper()
	sub, _, err := d.store.Keep(context.Background(), store.Submission{Origin: origin, State: state, Reason: reason, Payload: []byte(payload)}, nil)
	if err != nil {
		d.t.Fatal(err)
	}
	return sub.ID
}

// inbox is what --json says of each that waits: its state and reason, by id.
func (d *inboxDesk) inbox(args ...string) map[string][2]string {
	d.t.Helper()
	out, _ := d.run(0, append([]string{"inbox", "--json"}, args...)...)
	var answer struct {
		Submissions []submission
	}
	if err := json.Unmarshal([]byte(out), &answer); err != nil || answer.Submissions == nil {
		d.t.Fatalf("%v: %s", err, out)
	}
	found := map[string][2]string{}
	for _, sub := range answer.Submissions {
		found[sub.ID] = [2]string{sub.State, sub.Reason}
	}
	return found
}

func TestInboxListsAndShows(t *testing.T) {
	d := newInboxDesk(t, "")
	if out, _ := d.run(0, "inbox"); out != "nothing waits\n" {
		t.Errorf("an empty one: %s", out)
	}
	spam := d.keep(store.Spam, "form/contact", "the honeypot is filled", `{"email":"a@example.com","note":"\u001b[2J","n":"`+"\u202e\u009b"+`"}`)
	for range 2 {
		d.keep(store.Unmapped, "source/signup", "email: is required", `{"who":"b@example.com"}`)
	}
	d.keep(store.Fetching, "source/signup", "", `{"leadgen_id":"1"}`)
	broken := d.keep(store.Unmapped, "source/other", "the body is not one JSON object", "not JSON: c@example.com")

	out, _ := d.run(0, "inbox")
	for _, want := range []string{`form/contact +1 spam\n`, `source/signup +2 unmapped, 1 fetching\n`, `ID +ORIGIN +STATE +RECEIVED +AGE +ATTEMPTS +REASON\n`,
		spam + ` +form/contact +spam +\S+Z +\S+ +0 +the honeypot is filled\n`} {
		if !regexp.MustCompile(want).MatchString(out) {
			t.Errorf("%q is not in:\n%s", want, out)
		}
	}
	if strings.Contains(out, "@") {
		t.Errorf("a list tells of persons:\n%s", out)
	}
	for want, args := range map[int][]string{
		5: nil, 1: {"--origin", "form/contact"}, 3: {"--state", "unmapped"}, 2: {"--state", "unmapped", "--origin", "source/signup"},
		0: {"--state", "spam", "--origin", "source/signup"}, 4: {"--limit", "4"},
	} {
		if got := d.inbox(args...); len(got) != want {
			t.Errorf("%q: %d of %d: %v", args, len(got), want, got)
		}
	}
	if _, errs := d.run(0, "inbox", "--limit", "4"); !strings.Contains(errs, "--limit shows more") {
		t.Errorf("that there are more is not said: %s", errs)
	}

	out, _ = d.run(0, "inbox", "show", spam)
	says(t, out, "spam of form/contact", "the honeypot is filled", `"email": "a@example.com"`, `\u001b[2J`, `\u202e`, `\u009b`)
	if strings.ContainsAny(out, "\x1b\u202e\u009b") {
		t.Errorf("a stranger steers the terminal: %q", out)
	}
	out, _ = d.run(0, "inbox", "show", broken)
	says(t, out, "not JSON: c@example.com")
	out, _ = d.run(0, "inbox", "show", spam, "--json")
	var shown struct{ Sent map[string]any }
	if err := json.Unmarshal([]byte(out), &shown); err != nil || shown.Sent["email"] != "a@example.com" {
		t.Errorf("%v: %s", err, out)
	}

	for want, args := range map[string][]string{
		"waits no more": {"show", "lead_1j9v2k0c8m3n5p7q9r1s3t5"},
		"there are show, release, retry and drop":    {"what"},
		"--state: must be":                           {"--state", "x"},
		"--origin: must be":                          {"--origin", "contact"},
		"--limit: must be":                           {"--limit", "0"},
		"name the submissions to release":            {"release"},
		"--all and --origin go together":             {"release", "--all"},
		"--origin go together":                       {"release", spam, "--origin", "form/contact"},
		"name the submissions, or give --origin":     {"retry", spam, "--origin", "form/contact"},
		"name the submissions to drop, or give some": {"drop", "--yes"},
	} {
		if _, errs := d.run(1, append([]string{"inbox"}, args...)...); !strings.Contains(errs, want) {
			t.Errorf("%q says %q, want %q", args, errs, want)
		}
	}
}

func TestInboxReleaseMakesLeadsOfSpam(t *testing.T) {
	d := newInboxDesk(t, sheetConnector)
	one := d.keep(store.Spam, "form/contact", "too fast", `{"email":"a@example.com","source":"website","phone":"+44"}`)
	bad := d.keep(store.Spam, "form/contact", "too fast", `{"email":"nobody"}`)
	unmapped := d.keep(store.Unmapped, "source/signup", "email: is required", `{}`)
	out, _ := d.run(0, "inbox", "release", one)
	says(t, out, one+" is lead "+one)
	if got := d.leads(); len(got) != 1 || got[0]["phone"] != "+44" || got[0]["source"] != "website" {
		t.Errorf("got %v", got)
	}
	if out, _ := d.run(0, "status"); !regexp.MustCompile(`sheet +behind +1`).MatchString(out) {
		t.Errorf("the lead is no work for the connector: %s", out)
	}
	_, errs := d.run(1, "inbox", "release", one, bad, unmapped)
	says(t, errs, one+": waits no more", bad+": what was sent is no lead: email: is not a valid", unmapped+": is no spam", "nothing has become of 3 submissions")

	for i := range 120 {
		d.keep(store.Spam, "form/contact", "too fast", fmt.Sprintf(`{"email":"p%d@example.com"}`, i))
	}
	other := d.keep(store.Spam, "form/other", "too fast", `{"email":"other@example.com"}`)
	out, errs = d.run(1, "inbox", "release", "--all", "--origin", "form/contact")
	says(t, out, "120 of 121 are leads now")
	says(t, errs, bad+": what was sent is no lead")
	if got := d.inbox(); len(got) != 3 || got[other][0] != "spam" || got[bad][0] != "spam" {
		t.Errorf("there are left: %v", got)
	}
	if got := len(d.leads()); got != 121 {
		t.Errorf("there are %d leads", got)
	}
}

func TestInboxReleaseUnderDedupeChangesTheLeadOfAnAddress(t *testing.T) {
	d := newInboxDesk(t, "leads: {dedupe: email}\n")
	d.run(0, "import", d.write("leads.csv", "email,name,phone\na@example.com,A,+44\n"))
	for i := range 3 { // what was sent last counts; of one millisecond, chance says which that was
		id := d.keep(store.Spam, "form/contact", "too fast", fmt.Sprintf(`{"email":"A@example.com","visits":%d}`, i))
		wait(t, "the next millisecond", func() bool { return d.store.Now().UnixMilli() > lead.IDTime(id).UnixMilli() })
	}
	out, _ := d.run(0, "inbox", "release", "--all", "--origin", "form/contact")
	says(t, out, "3 of 3 are leads now")
	want := []map[string]any{{"email": "A@example.com", "name": "A", "phone": "+44", "visits": 2.0}}
	if got := d.leads(); !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// signup is a source, its mapping yet to be given.
const signup = "sources:\n  - {name: signup, type: generic, settings: {secret: a-secret-of-sixteen-characters, header: X-Signature}, fields: [%s]}\n"

func (d *inboxDesk) reconfigure(further string) {
	d.t.Helper()
	text, _, _ := strings.Cut(d.read("config.yaml"), "sources:")
	d.write("config.yaml", text+further)
}

func TestInboxRetryMapsAgainByTheConfigurationAsItIsNow(t *testing.T) {
	d := newInboxDesk(t, "")
	good := d.keep(store.Unmapped, "source/signup", "email: is required", `{"who":{"mail":"a@example.com"}}`)
	bad := d.keep(store.Unmapped, "source/signup", "email: is required", `{"who":{"mail":"nobody"}}`)
	gone := d.keep(store.Unmapped, "source/gone", "email: is required", `{"email":"b@example.com"}`)
	spam := d.keep(store.Spam, "form/contact", "too fast", `{"email":"c@example.com"}`)

	d.reconfigure(fmt.Sprintf(signup, "{to: email, from: body.email}"))
	out, errs := d.run(1, "inbox", "retry", good)
	says(t, out, "0 are leads now")
	says(t, errs, good+": cannot be mapped: email: is required")

	d.reconfigure(fmt.Sprintf(signup, "{to: email, from: body.who.mail}"))
	out, errs = d.run(1, "inbox", "retry")
	says(t, out, "1 are leads now, 0 are to be fetched")
	says(t, errs, bad+": cannot be mapped: email: is not a valid", gone+": the configuration has no source/gone any more: put it back, or `leadrelay inbox drop`",
		"nothing has become of 2 submissions")
	if got := d.addresses(); !reflect.DeepEqual(got, map[string]int{"a@example.com": 1}) {
		t.Errorf("got %v", got)
	}
	want := map[string][2]string{
		bad: {"unmapped", "email: is not a valid e-mail address"}, gone: {"unmapped", "email: is required"}, spam: {"spam", "too fast"},
	}
	if got := d.inbox(); !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	_, errs = d.run(1, "inbox", "retry", spam, good)
	says(t, errs, spam+": is spam: `leadrelay inbox release`", good+": waits no more")
	d.run(1, "inbox", "retry", "--origin", "source/gone")
	if out, _ := d.run(0, "inbox", "retry", "--origin", "source/none"); !strings.Contains(out, "0 are leads now") {
		t.Errorf("nothing to do: %s", out)
	}
	d.reconfigure("sources:\n  - {name: signup, type: typeform, settings: {secret: \"${NO_SUCH_SECRET}\"}}\n")
	_, errs = d.run(1, "inbox", "retry")
	says(t, errs, "NO_SUCH_SECRET")
	d.run(0, "inbox") // needs no source's secret
}

// TestInboxRetryFetchesAgainWhatAWorkerGaveUp has the token expired and mended.
func TestInboxRetryFetchesAgainWhatAWorkerGaveUp(t *testing.T) {
	expired := make(chan struct{})
	graph := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id := strings.TrimPrefix(r.URL.Path, "/v25.0/")
		select {
		case <-expired:
			fmt.Fprintf(w, `{"id":%q,"field_data":[{"name":"email","values":["m%s@example.com"]}]}`, id, id)
		default:
			w.WriteHeader(http.StatusNotFound)
			fmt.Fprint(w, `{"error":{"code":100,"error_subcode":33,"message":"gone"}}`)
		}
	}))
	defer graph.Close()
	r := startUp(t, t.TempDir(), "in-process", "sources:\n  - {name: ads, type: meta, settings: {app_secret: s, verify_token: t, access_token: a, base_url: \""+graph.URL+"\"}}\n")
	file := r.dir + "/config.yaml"
	d := &desk{t: t, dir: r.dir, file: file}
	body := `{"entry":[{"changes":[{"field":"leadgen","value":{"leadgen_id":"7"}}]}]}`
	req, _ := http.NewRequest("POST", r.url+"/in/ads", strings.NewReader(body))
	req.Header.Set("X-Hub-Signature-256", "sha256="+hmacHex("s", body))
	resp, err := http.DefaultClient.Do(req)
	if err != nil || resp.StatusCode != 200 {
		t.Fatalf("%v %v", err, resp)
	}
	resp.Body.Close()
	waiting := func() string { out, _ := d.run(0, "inbox"); return out }
	wait(t, "the worker to give up", func() bool { return strings.Contains(waiting(), "1 unmapped") })
	close(expired)
	out, _ := d.run(0, "inbox", "retry", "--origin", "source/ads")
	says(t, out, "0 are leads now, 1 are to be fetched by a worker")
	wait(t, "the lead", func() bool { return d.addresses()["m7@example.com"] == 1 })
	if got := waiting(); got != "nothing waits\n" {
		t.Errorf("got %s", got)
	}
}

func TestInboxRetryMakesAFetchDueNow(t *testing.T) {
	d := newInboxDesk(t, "sources:\n  - {name: ads, type: meta, settings: {app_secret: s, verify_token: t, access_token: a}}\n")
	id := d.keep(store.Fetching, "source/ads", "", `{"leadgen_id":"1"}`)
	ctx := context.Background()
	if err := d.store.Postpone(ctx, id, "away", d.store.Now().Add(time.Hour), true); err != nil {
		t.Fatal(err)
	}
	out, _ := d.run(0, "inbox", "retry", id)
	says(t, out, "1 are to be fetched by a worker")
	due, err := d.store.ClaimFetches(ctx, 10, time.Minute)
	if err != nil || len(due) != 1 || due[0].ID != id || due[0].Attempts != 1 || due[0].Reason != "away" {
		t.Errorf("got %v, %v", due, err)
	}
}

func TestInboxDropForgetsWhenToldTwice(t *testing.T) {
	d := newInboxDesk(t, "")
	one := d.keep(store.Spam, "form/contact", "too fast", `{}`)
	d.keep(store.Spam, "form/contact", "too fast", `{}`)
	other := d.keep(store.Unmapped, "source/signup", "no", `{}`)
	answering := func(answer string, args ...string) (int, string) {
		t.Helper()
		cmd := exec.Command(os.Args[0], append(args, "--config", d.file)...)
		cmd.Env = append(os.Environ(), "LEADRELAY_TEST_IS_MAIN=1")
		cmd.Stdin = strings.NewReader(answer)
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		var exit *exec.ExitError
		if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		return cmd.ProcessState.ExitCode(), out.String()
	}
	for _, answer := range []string{"", "n\n", "\n", "yeah\n"} {
		code, out := answering(answer, "inbox", "drop", "--origin", "form/contact")
		if code != 1 || !strings.Contains(out, "2 spam of form/contact: forgotten for good") || !strings.Contains(out, "nothing is dropped") {
			t.Errorf("%q: %d %s", answer, code, out)
		}
	}
	if got := d.inbox(); len(got) != 3 {
		t.Fatalf("some are dropped: %v", got)
	}
	if out, _ := d.run(0, "inbox", "drop", "--state", "spam", "--older-than", "1h", "--yes"); out != "there are none\n" {
		t.Errorf("what is newer: %s", out)
	}
	_, errs := d.run(1, "inbox", "drop", one, "lead_1j9v2k0c8m3n5p7q9r1s3t5", "--yes")
	says(t, errs, "waits no more")
	if code, out := answering("y\n", "inbox", "drop", one); code != 0 || !strings.Contains(out, "1 of 1 dropped") {
		t.Errorf("%d %s", code, out)
	}
	out, _ := d.run(0, "inbox", "drop", "--state", "spam", "--older-than", "1ns", "--yes")
	says(t, out, "1 of 1 dropped")
	if got := d.inbox(); len(got) != 1 || got[other][0] != "unmapped" {
		t.Errorf("there are left: %v", got)
	}
	if _, err := d.store.Submission(context.Background(), one); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("it is there still: %v", err)
	}
}

func hmacHex(key, text string) string {
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write([]byte(text))
	return hex.EncodeToString(mac.Sum(nil))
}
