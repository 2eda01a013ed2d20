package console_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/leadrelay/leadrelay/internal/console"
	"github.com/leadrelay/leadrelay/internal/lead"
	"github.com/leadrelay/leadrelay/internal/redistest"
	"github.com/leadrelay/leadrelay/internal/store"
)

// remapping is a console whose sources were mended: who is in a payload is the address.
func remapping(w *world, o *console.Options) {
	o.Remap = func(ctx context.Context, sub store.Submission) (console.Remapped, error) {
		if sub.State == store.Fetching {
			return console.Remapped{Fetching: true}, w.store.Resubmit(ctx, sub)
		}
		patch, err := lead.ParseNew([]byte(strings.ReplaceAll(string(sub.Payload), `"who"`, `"email"`)))
		if err != nil {
			sub.Reason = err.Error()
			return console.Remapped{Problem: "cannot be mapped: " + sub.Reason}, w.store.Resubmit(ctx, sub)
		}
		l, err := w.store.Release(ctx, sub.ID, patch, o.Dedupe)
		return console.Remapped{LeadID: l.ID}, err
	}
}

func TestASubmissionIsMappedAgain(t *testing.T) {
	w := newWorld(t, remapping)
	good := w.keep("source/signup", store.Unmapped, "email: is required", `{"who": "jane@example.com"}`)
	bad := w.keep("source/signup", store.Unmapped, "email: is required", `{"name": "Jane"}`)
	fetching := w.keep("source/meta", store.Fetching, "graph: 500", `{"leadgen_id":"1"}`)
	spam := w.keep("form/contact", store.Spam, "too fast", `{"email": "j@example.com"}`)
	b := w.operator()
	says(t, b.page("/console/inbox/"+good.ID), "Map it again")
	says(t, b.page("/console/inbox/"+fetching.ID), "Fetch it now")
	if strings.Contains(b.page("/console/inbox/"+spam.ID), "Map it again") {
		t.Error("spam is to be mapped")
	}
	if said, at := b.say("/console/inbox/" + good.ID + "/map"); said != "It is a lead now, on its way to every connector." || at != "/console/leads/"+good.ID {
		t.Errorf("said %q at %s", said, at)
	}
	if found, err := w.store.Get(t.Context(), good.ID); err != nil || found.Lead.Email != "jane@example.com" || w.state(good.ID, "crm") != store.Pending {
		t.Errorf("got %+v, %v", found, err)
	}
	if said, at := b.say("/console/inbox/" + bad.ID + "/map"); said != "It is no lead yet: cannot be mapped: email: is required" || at != "/console/inbox/"+bad.ID {
		t.Errorf("said %q at %s", said, at)
	}
	if said, _ := b.say("/console/inbox/" + fetching.ID + "/map"); said != "A worker fetches it now." {
		t.Errorf("said %q", said)
	}
	if said, _ := b.say("/console/inbox/" + spam.ID + "/map"); !strings.Contains(said, "spam") {
		t.Errorf("said %q", said)
	}
	if a := b.post("/console/inbox/" + good.ID + "/map"); a.status != http.StatusNotFound {
		t.Errorf("one that is a lead: %d", a.status)
	}
	want := []string{"olga mapped again " + fetching.ID, "olga mapped again " + bad.ID, "olga mapped again " + good.ID, "olga signed in"}
	if got := w.acts(); !slices.Equal(got, want) {
		t.Errorf("the trail is %q", got)
	}
}

// fieldsOf are the fields of the form that a confirmation sends.
func fieldsOf(page string) url.Values {
	form := url.Values{}
	_, main, _ := strings.Cut(page, `class="row" method="post"`)
	for _, field := range regexp.MustCompile(`name="(\w+)" value="([^"]*)"`).FindAllStringSubmatch(main, -1) {
		form.Add(field[1], field[2])
	}
	return form
}

// confirmed goes through the confirmation of an action on many submissions, and returns what was asked and what was said
// then.
func (b *browser) confirmed(query string) (asked, said, at string) {
	b.w.t.Helper()
	page := b.page("/console/inbox/many?" + query)
	a := b.do(http.MethodPost, "/console/inbox/many", fieldsOf(page))
	if a.status != http.StatusSeeOther {
		b.w.t.Fatalf("%s: %d %s", query, a.status, a.body)
	}
	found := regexp.MustCompile(`<p class="flash[^"]*">([^<]*)</p></div>`).FindStringSubmatch(b.page(a.to()))
	if found == nil {
		b.w.t.Fatalf("%s: %s says nothing", query, a.to())
	}
	return words(page), found[1], a.to()
}

func (w *world) inboxCount(origin string, state store.SubmissionState) int {
	w.t.Helper()
	counts, err := w.store.CountSubmissions(context.Background())
	if err != nil {
		w.t.Fatal(err)
	}
	return counts[origin][state]
}

func TestManySubmissionsAtOnce(t *testing.T) {
	w := newWorld(t, remapping)
	var ids []string
	for i := range 120 {
		payload := fmt.Sprintf(`{"who": "p%d@example.com"}`, i)
		if i%10 == 0 {
			payload = `{"name": "nobody"}`
		}
		ids = append(ids, w.keep("source/signup", store.Unmapped, "email: is required", payload).ID)
	}
	w.keep("source/signup", store.Fetching, "graph: 500", `{}`)
	other := w.keep("source/other", store.Unmapped, "email: is required", `{"who": "other@example.com"}`)
	var spam []string
	for i := range 60 {
		spam = append(spam, w.keep("form/contact", store.Spam, "too fast", fmt.Sprintf(`{"email": "s%d@example.com"}`, i)).ID)
	}
	b := w.operator()
	if page := b.page("/console/inbox"); strings.Contains(page, "Drop all") || !strings.Contains(page, "Those that are ticked:") {
		t.Error("all of all can be dropped at once, or none")
	}
	says(t, b.page("/console/inbox?origin=source%2Fsignup"), "All of source/signup: Map again all… Drop all…")
	says(t, b.page("/console/inbox?origin=form%2Fcontact"), "All of form/contact: Release all… Drop all…")

	// Map again all of an origin: asking changes nothing.
	asked, said, at := b.confirmed("do=map&origin=source/signup")
	if !strings.Contains(asked, "Map 121 submissions again? 1 fetching of source/signup 120 unmapped of source/signup") {
		t.Errorf("asked is %s", asked)
	}
	if said != "108 are now leads. A worker fetches 1 now. 12 stay: cannot be mapped: email: is required." || at != "/console/inbox?origin=source%2Fsignup&state=" {
		t.Errorf("said %q at %s", said, at)
	}
	if w.inboxCount("source/signup", store.Unmapped) != 12 || w.inboxCount("source/other", store.Unmapped) != 1 {
		t.Error("it mapped others")
	}
	if found, err := w.store.Get(t.Context(), ids[1]); err != nil || found.Lead.Email != "p1@example.com" {
		t.Errorf("got %+v, %v", found, err)
	}

	// Some that are ticked: only spam can be released.
	_, said, _ = b.confirmed(url.Values{"do": {"release"}, "id": {spam[0], spam[1], other.ID}}.Encode())
	if said != "2 are now leads." || w.inboxCount("form/contact", store.Spam) != 58 || w.inboxCount("source/other", store.Unmapped) != 1 {
		t.Errorf("said %q", said)
	}
	// Drop what was there when it was asked: what came since stays.
	page := b.page("/console/inbox/many?do=drop&origin=form/contact&state=spam")
	says(t, page, "Drop 58 submissions?", "It cannot be undone.", "Leave them")
	if w.inboxCount("form/contact", store.Spam) != 58 {
		t.Error("asking drops")
	}
	asking := w.store.Now()
	redistest.Within(time.Minute, func() bool { return w.store.Now().Sub(asking) > 2*time.Millisecond }) // an id is of its millisecond
	w.keep("form/contact", store.Spam, "too fast", `{"email": "late@example.com"}`)
	if a := b.do(http.MethodPost, "/console/inbox/many", fieldsOf(page)); a.status != http.StatusSeeOther {
		t.Errorf("%d %s", a.status, a.body)
	}
	if n := w.inboxCount("form/contact", store.Spam); n != 1 {
		t.Errorf("%d are left, want that which came since", n)
	}
	if got := w.acts(); !slices.Equal(got[:3], []string{"olga dropped submissions all spam of form/contact", "olga released from spam 2 spam of form/contact", "olga mapped again all of source/signup"}) {
		t.Errorf("the trail is %q", got)
	}

	for query, want := range map[string]string{"do=drop": "Choose some first", "do=release&origin=source/signup": "nothing among these", "do=map&id=" + spam[2]: "nothing among these"} {
		a := b.get("/console/inbox/many?" + query)
		if a.status != http.StatusSeeOther || !strings.Contains(b.page(a.to()), want) {
			t.Errorf("%s: %d %s", query, a.status, a.to())
		}
	}
	for _, query := range []string{"do=nothing&origin=form/contact", "do=release&origin=form/contact&state=unmapped", "do=drop&id=made-up", "origin=form/contact"} {
		if a := b.get("/console/inbox/many?" + query); a.status != http.StatusNotFound {
			t.Errorf("%s: %d", query, a.status)
		}
	}
	for _, fields := range [][]string{{"do", "drop"}, {"do", "drop", "origin", "form/contact"}, {"do", "nothing", "origin", "form/contact"}} {
		if a := b.post("/console/inbox/many", fields...); a.status != http.StatusNotFound {
			t.Errorf("%q: %d", fields, a.status)
		}
	}
	if w.inboxCount("form/contact", store.Spam) != 1 {
		t.Error("it was dropped unasked")
	}
}

// stalling lets some scripts through to Redis, and then none until it is released.
type stalling struct {
	left     atomic.Int64
	released chan struct{}
}

func (s *stalling) pass(cmds ...redis.Cmder) {
	if slices.ContainsFunc(cmds, func(c redis.Cmder) bool { return strings.HasPrefix(c.Name(), "eval") }) && s.left.Add(-int64(len(cmds))) < 0 {
		<-s.released
	}
}

func (s *stalling) DialHook(next redis.DialHook) redis.DialHook { return next }

func (s *stalling) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error { s.pass(cmd); return next(ctx, cmd) }
}

func (s *stalling) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error { s.pass(cmds...); return next(ctx, cmds) }
}

// stalled has the console's store stall after so many scripts, until the function that is returned is called.
func (w *world) stalled(o *console.Options) (stall func(after int64) (release func())) {
	s := &stalling{}
	s.left.Store(1 << 40)
	client := store.Connect(w.redis.Options())
	client.AddHook(s)
	slow, err := store.New(w.t.Context(), client, w.store.Connectors(), slog.New(slog.DiscardHandler))
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { slow.Close(); client.Close() })
	o.Store = slow
	return func(after int64) func() {
		s.released = make(chan struct{})
		s.left.Store(after)
		return func() { s.left.Store(1 << 40); close(s.released) }
	}
}

func TestWhereTheTimeDoesNotSufficeItSaysSoAndGoesOn(t *testing.T) {
	console.SetManyTimeout(t, time.Second)
	var stall func(int64) func()
	w := newWorld(t, func(w *world, o *console.Options) { stall = w.stalled(o) })
	for i := range 300 {
		w.add("Person", fmt.Sprintf("p%d@example.com", i), "", nil)
	}
	w.work("crm", parked("422"))
	for range 30 {
		w.keep("form/contact", store.Spam, "too fast", `{}`)
	}
	b := w.operator()
	said := func(path string) string {
		t.Helper()
		return words(b.page(path))
	}
	b.say("/console/leads", "state", "parked") // something is said, so that the key that seals it is known
	fields := url.Values{"token": {b.token("/console")}, "connector": {"crm"}}
	release := stall(100)
	a := b.do(http.MethodPost, "/console/failed/push", fields)
	release()
	if got := said(a.to()); a.to() != "/console/failed" || !regexp.MustCompile(`[1-9]\d* leads? will be pushed to crm again\. The time did not suffice for all: \d+ failed leads are left\.`).MatchString(got) {
		t.Errorf("said %s at %s", got, a.to())
	}
	if a = b.do(http.MethodPost, "/console/failed/push", fields); !strings.Contains(said(a.to()), "will be pushed to crm again.") {
		t.Error("it does not go on")
	}
	if totals, err := w.store.Totals(t.Context(), []string{"crm"}); err != nil || totals["crm"].Parked != 0 || totals["crm"].Backlog != 300 {
		t.Errorf("there are %+v, %v", totals, err)
	}

	form := fieldsOf(b.page("/console/inbox/many?do=drop&origin=form/contact"))
	release = stall(10)
	a = b.do(http.MethodPost, "/console/inbox/many", form)
	release()
	page := b.page(a.to())
	says(t, page, "10 are dropped. The time did not suffice for all of them: go on with the rest.", "Drop the rest?")
	a = b.do(http.MethodPost, "/console/inbox/many", fieldsOf(page))
	if got := said(a.to()); !regexp.MustCompile(`(19|20) are dropped\.`).MatchString(got) || w.inboxCount("form/contact", store.Spam) != 0 {
		t.Errorf("said %s, %d are left", got, w.inboxCount("form/contact", store.Spam))
	}
}
