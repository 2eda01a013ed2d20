package connectortest

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/leadrelay/leadrelay/connectors"
	"github.com/leadrelay/leadrelay/internal/lead"
)

const page = "<!doctype html><html><body><h1>Please sign in</h1></body></html>"

type mutation struct {
	name    string
	prepare func(w *world, l lead.Lead) (c lead.Change, ref string)
	settled func(w *world, c lead.Change)
}

// mutations are the three changes as a worker meets them: of a lead that is already at the vendor, but for
// the create.
var mutations = []mutation{
	{
		"create",
		func(_ *world, l lead.Lead) (lead.Change, string) { return Created(l), "" },
		func(w *world, c lead.Change) { w.count(1); w.holds(c.Lead) },
	},
	{
		"update",
		func(w *world, l lead.Lead) (lead.Change, string) {
			ref := w.pushed(Created(l), "")
			return Updated(Edited(l)), ref
		},
		func(w *world, c lead.Change) { w.count(1); w.holds(c.Lead) },
	},
	{
		"change of address",
		func(w *world, l lead.Lead) (lead.Change, string) {
			ref := w.pushed(Created(l), "")
			l = Edited(l)
			l.Email = "somebody.else@example.org"
			return Updated(l), ref
		},
		func(w *world, c lead.Change) { w.count(1); w.holds(c.Lead) },
	},
	{
		"delete",
		func(w *world, l lead.Lead) (lead.Change, string) {
			ref := w.pushed(Created(l), "")
			return Deleted(l), ref
		},
		func(w *world, _ lead.Change) { w.count(0) },
	},
}

// mutations are those the system is told of.
func (h Harness) mutations() []mutation {
	if h.CreatesOnly {
		return mutations[:1]
	}
	return mutations
}

// spoilt pushes each mutation with the answer to each of its writes spoilt in turn, checks the outcome, and
// then that the worker's next attempt settles it.
func spoilt(t testing.TB, h Harness, answer func(http.ResponseWriter, *httptest.ResponseRecorder), outcome func(w *world, when string, err error, settled func())) {
	t.Helper()
	for _, m := range h.mutations() {
		for n := 1; n <= 5; n++ {
			w := newWorld(t, h)
			l := Sample(1)
			change, ref := m.prepare(w, l)
			spoil, struck := w.front.onChange(n, answer)
			w.front.set(spoil)
			_, err := w.push(change, ref)
			w.front.set(nil)
			if !struck() {
				if n == 1 {
					t.Errorf("%s: no request changed what the vendor holds", m.name)
				}
				break
			}
			outcome(w, fmt.Sprintf("%s, answer %d", m.name, n), err, func() { m.settled(w, change) })
			if err == nil {
				continue
			}
			if change.Op == lead.Create {
				ref = w.recovered(l)
			}
			w.pushed(change, ref)
			m.settled(w, change)
		}
	}
}

// answerChecks are about what a connector makes of the answers it gets, and of those it does not get.
var answerChecks = []check{
	{"an answer lost after the vendor applied the request is an unknown outcome, and the next attempt leaves one record", needsHTTP, func(t testing.TB, h Harness) {
		spoilt(t, h, lose, func(w *world, when string, err error, _ func()) {
			w.wantFault(when, err, connectors.Unknown)
		})
	}},
	{"a delete after a create whose answer was lost leaves nothing", both(needsHTTP, needsRecords), in(func(w *world) {
		l := Sample(1)
		spoil, _ := w.front.onChange(1, lose)
		w.front.set(spoil)
		w.push(Created(l), "")
		w.front.set(nil)
		w.pushed(Deleted(l), w.recovered(l))
		w.count(0)
	})},
	{"a cut answer is never taken for a record that is not there", needsHTTP, func(t testing.TB, h Harness) {
		spoilt(t, h, cut, successIsTrue)
	}},
	{"a page, nonsense or nothing in place of JSON is never taken for a record that is not there", needsHTTP, func(t testing.TB, h Harness) {
		spoilt(t, h, replaced("text/html", page), successIsTrue)
		for _, body := range []string{"", "null", "{}", "[]", "true", "17", `"ok"`, `{"id":`, `{"data":null}`, `{"error":null}`, "\x00\xff"} {
			spoilt(t, h, replaced("application/json", body), successIsTrue)
		}
	}},
	{"a success that is not the vendor's own is no success", both(needsHTTP, needsRecords), in(func(w *world) {
		l := Sample(1)
		ref := w.pushed(Created(l), "")
		for _, body := range []string{
			page, "", "null", "{}", "[]", `"ok"`, `{"ok":true}`, `{"ok":false,"error":"invalid_auth"}`, `{"error":{"code":500,"message":"try again"}}`,
		} {
			for _, writesOnly := range []bool{false, true} {
				w.front.set(instead(http.StatusOK, http.Header{}, writesOnly, func([]byte) string { return body }))
				for _, try := range []struct {
					change lead.Change
					ref    string
				}{{Created(Sample(2)), ""}, {Updated(Edited(l)), ref}, {Deleted(l), ref}} {
					if slices.Contains(w.h.Successes[try.change.Op], body) {
						continue
					}
					_, err := w.push(try.change, try.ref)
					if err == nil {
						w.Errorf("200 with %.40q: the %s succeeded, and the vendor knows nothing of it", body, try.change.Op)
					} else if fault, _ := connectors.FaultOf(err); fault == connectors.Lead || fault == connectors.Setup {
						w.Errorf("200 with %.40q: %s: the fault is %v, want one that is retried: %v", body, try.change.Op, fault, err)
					}
				}
			}
		}
		w.front.set(nil)
		w.count(1)
		w.holds(l)
	})},
	{"an answer that does not end is not read to its end", needsHTTP, in(func(w *world) {
		for _, status := range []int{200, 400, 500} {
			flood, read := w.front.flood(status)
			w.front.set(flood)
			_, err := w.push(Created(Sample(1)), "")
			if err == nil && !w.h.Kind.Event {
				w.Errorf("%d: no error", status)
			}
			w.guarded("the answer", func() {
				if read() {
					w.Errorf("%d: all of 64 MB was read", status)
				}
			})
			w.front.set(nil)
		}
	})},
	{"an answer of 10 MB is not believed blindly", needsHTTP, func(t testing.TB, h Harness) {
		spoilt(t, h, replaced("application/json", `{"id":"`+strings.Repeat("x", 10<<20)+`"}`), successIsTrue)
	}},
	{"a page in place of every answer leaves one record", both(needsHTTP, needsChanges), in(func(w *world) {
		l := Sample(1)
		ref := w.pushed(Created(l), "")
		l = Edited(l)
		w.front.set(afterwards(replaced("text/html", page)))
		if _, err := w.push(Updated(l), ref); err == nil {
			w.holds(l)
		}
		w.front.set(nil)
		w.pushed(Updated(l), ref)
		w.count(1)
		w.holds(l)
	})},
	{"every status is the right fault, with JSON, a page or nothing in its body", needsHTTP, in(func(w *world) {
		next := 0
		for _, status := range errorStatuses() {
			header := http.Header{}
			if status/100 == 3 && status != http.StatusNotModified {
				header.Set("Location", w.front.server.URL+"/followed")
			}
			want := w.status(&connectors.Response{Status: status, Header: header})
			for _, writesOnly := range []bool{false, true} {
				for _, body := range errorBodies {
					when := fmt.Sprintf("%d with %s", status, body.name)
					wants := []connectors.Fault{want}
					if !body.json {
						wants = append(wants, connectors.Remote, connectors.Throttled)
					}
					next++
					l := Sample(next)
					w.front.set(instead(status, header, writesOnly, body.text(l)))
					_, err := w.push(Created(l), "")
					w.wantFault(when, err, wants...)
					if w.Failed() {
						w.Fatalf("stopped at status %d", status)
					}
				}
			}
		}
		w.count(0)
		w.front.set(nil)
		w.pushed(Created(Sample(0)), "")
		w.holds(Sample(0))
	})},
	{"no status makes an update a success, or a delete but that of what is gone", both(needsHTTP, needsChanges), in(func(w *world) {
		l := Sample(1)
		ref := w.pushed(Created(l), "")
		l = Edited(l)
		for _, status := range errorStatuses() {
			for _, body := range errorBodies {
				w.front.set(instead(status, http.Header{}, false, body.text(l)))
				if _, err := w.push(Updated(l), ref); err == nil {
					w.Errorf("%d with %s: the update succeeded", status, body.name)
				}
				_, err := w.push(Deleted(l), ref)
				_, special := w.h.Faults[status]
				if gone := status == http.StatusNotFound || status == http.StatusGone; err == nil && !gone && !special {
					w.Errorf("%d with %s: the delete succeeded", status, body.name)
				}
			}
		}
		w.front.set(nil)
		w.pushed(Updated(l), ref)
		w.count(1)
		w.holds(l)
	})},
	{"no redirect is followed", needsHTTP, in(func(w *world) {
		for _, status := range []int{301, 302, 303, 307, 308} {
			followed := false
			w.front.set(func(rw http.ResponseWriter, r *http.Request, _ http.Handler) {
				if r.URL.Path == "/followed" {
					followed = true
					return
				}
				rw.Header().Set("Location", "/followed")
				rw.WriteHeader(status)
			})
			_, err := w.push(Created(Sample(1)), "")
			w.front.set(nil)
			if err == nil || followed {
				w.Errorf("%d: error %v, followed %v", status, err, followed)
			}
		}
	})},
	{"Retry-After survives, as seconds and as a date", needsHTTP, in(func(w *world) {
		for _, row := range []struct {
			status     int
			value      string
			least, max time.Duration
		}{
			{429, "7", 7 * time.Second, 7 * time.Second},
			{503, "120", 120 * time.Second, 120 * time.Second},
			{429, time.Now().Add(time.Hour).UTC().Format(http.TimeFormat), 50 * time.Minute, 61 * time.Minute},
			{503, time.Now().Add(time.Hour).UTC().Format(http.TimeFormat), 50 * time.Minute, 61 * time.Minute},
			{429, time.Now().Add(-time.Hour).UTC().Format(http.TimeFormat), 0, 0},
			{429, time.Now().AddDate(1, 0, 0).UTC().Format(http.TimeFormat), time.Hour, 24 * time.Hour},
			{429, "-1", 0, 0},
			{429, "soon", 0, 0},
			{429, "1e300", 0, 24 * time.Hour},
		} {
			header := http.Header{"Retry-After": {row.value}}
			w.front.set(instead(row.status, header, false, func([]byte) string { return `{"message":"slow down"}` }))
			_, err := w.push(Created(Sample(1)), "")
			when := fmt.Sprintf("%d with Retry-After %q", row.status, row.value)
			w.wantFault(when, err, w.status(&connectors.Response{Status: row.status, Header: header}))
			if _, wait := connectors.FaultOf(err); wait < row.least || wait > row.max {
				w.Errorf("%s: the wait is %s, want %s to %s", when, wait, row.least, row.max)
			}
		}
	})},
	{"a refused connection is the remote's fault", needsHTTP, func(t testing.TB, h Harness) {
		vendor := h.NewVendor(t)
		w := openWorld(t, h, vendor, nil, unreachable(t))
		_, err := w.push(Created(Sample(1)), "")
		w.wantFault("create", err, connectors.Remote)
		_, err = w.push(Deleted(Sample(2)), "1001")
		if err != nil {
			w.wantFault("delete", err, connectors.Remote)
		}
	}},
	{"a call that is cancelled returns at once", needsHTTP, in(func(w *world) {
		for _, m := range w.h.mutations() {
			change, ref := m.prepare(w, Sample(1))
			arrived := make(chan struct{}, 1)
			w.front.set(w.front.hold(arrived))
			ctx, cancel := context.WithCancel(context.Background())
			go func() {
				select {
				case <-arrived:
				case <-w.front.closed:
				}
				cancel()
			}()
			_, err := w.pushIn(ctx, change, ref)
			w.wantFault(m.name, err, connectors.Unknown, connectors.Remote)
			w.front.set(nil)
			cancel()
		}
	})},
	{"a call that is cancelled or past its deadline is not sent", nil, in(func(w *world) {
		cancelled, cancel := context.WithCancel(context.Background())
		cancel()
		expired, cancel := context.WithDeadline(context.Background(), time.Now().Add(-time.Minute))
		defer cancel()
		contexts := map[string]context.Context{"cancelled": cancelled, "past its deadline": expired}
		if w.front != nil {
			contexts["past its deadline before the timer fires"] = pausedContext{context.Background()}
		}
		for name, ctx := range contexts {
			_, err := w.pushIn(ctx, Created(Sample(1)), "")
			if err == nil {
				w.Errorf("%s: no error", name)
			}
			if fault, _ := connectors.FaultOf(err); fault != connectors.Remote {
				w.Errorf("%s: the fault is %v, want remote: nothing was sent: %v", name, fault, err)
			}
		}
		w.count(0)
		if w.front != nil && w.front.seen() != 0 {
			w.Errorf("%d requests were sent", w.front.seen())
		}
	})},
	{"Find never takes a failed search for an answer", both(needsHTTP, needsFinder), in(func(w *world) {
		w.pushed(Created(Sample(1)), "")
		finder := w.connector.(connectors.Finder)
		for _, status := range []int{400, 401, 403, 429, 500, 503} {
			for _, body := range errorBodies {
				w.front.set(instead(status, http.Header{}, false, body.text(Sample(1))))
				w.findFails(finder, fmt.Sprintf("%d with %s", status, body.name))
			}
		}
		w.front.set(afterwards(replaced("text/html", page)))
		w.findFails(finder, "a page")
		w.front.set(afterwards(lose))
		w.findFails(finder, "a lost answer")
		w.front.set(afterwards(cut))
		w.findFails(finder, "a cut answer")
	})},
	{"Check succeeds with a working vendor and writes nothing", needsChecker, in(func(w *world) {
		w.pushed(Created(Sample(1)), "")
		before := canonical(w.vendor.Records())
		if err := w.check(); err != nil {
			w.Errorf("got %v", err)
		}
		if after := canonical(w.vendor.Records()); after != before {
			w.Errorf("Check changed what the vendor holds:\n%s\nbefore:\n%s", after, before)
		}
	})},
	{"Check fails with a vendor that does not let us in, and with none", both(needsHTTP, needsChecker), func(t testing.TB, h Harness) {
		w := newWorld(t, h)
		for _, status := range []int{401, 403, 404, 500} {
			if h.ReachOnly {
				break
			}
			w.front.set(instead(status, http.Header{}, false, errorBodies[0].text(Sample(1))))
			w.wantFault(fmt.Sprint(status), w.check(), w.status(&connectors.Response{Status: status}))
		}
		away := openWorld(t, h, h.NewVendor(t), nil, unreachable(t))
		away.wantFault("a refused connection", away.check(), connectors.Remote)
	}},
	{"Check names every mapped field that is not there", func(can abilities) bool { return can.checker && can.fields }, func(t testing.TB, h Harness) {
		if h.Fields == nil {
			h.Fields = h.Kind.Fields
		}
		another := h.NoSuchField + "_2"
		h.Fields = append(slices.Clone(h.Fields), connectors.FieldRule{To: h.NoSuchField, From: "note"}, connectors.FieldRule{To: another, From: "note"})
		w := newWorld(t, h)
		err := w.check()
		w.wantFault("two fields too many", err, connectors.Setup)
		problems := connectors.Problems(err)
		for _, name := range []string{h.NoSuchField, another} {
			named := regexp.MustCompile(`\b` + name + `\b`)
			if !slices.ContainsFunc(problems, func(problem error) bool { return named.MatchString(problem.Error()) }) {
				w.Errorf("nothing is said of the field %s: %v", name, err)
			}
		}
	}},
	{"Check says what is missing", func(can abilities) bool { return can.checker && can.unready }, func(t testing.TB, h Harness) {
		for says, spoil := range h.Unready {
			vendor := h.NewVendor(t)
			spoil(vendor)
			w := newWorldOf(t, h, vendor)
			err := w.check()
			w.wantFault(says, err, connectors.Setup)
			if err != nil && !strings.Contains(err.Error(), says) {
				w.Errorf("not said: %q, but: %v", says, err)
			}
		}
	}},
}

// successIsTrue allows a spoilt answer to be an error or to be ignored, but then the change must be there.
func successIsTrue(w *world, when string, err error, settled func()) {
	w.Helper()
	if err == nil {
		settled()
		return
	}
	if fault, _ := connectors.FaultOf(err); fault == connectors.Lead || fault == connectors.Setup {
		w.Errorf("%s: the fault is %v, want one that is retried: the vendor applied the request: %v", when, fault, err)
	}
}

func (w *world) findFails(finder connectors.Finder, when string) {
	w.Helper()
	var err error
	w.guarded("Find", func() { _, _, err = finder.Find(context.Background(), lead.Lead{ID: Sample(1).ID}) })
	w.inspect("Find", err)
	if err == nil {
		w.Errorf("%s: Find gave no error", when)
	}
}

func (w *world) check() (err error) {
	w.Helper()
	w.guarded("Check", func() { err = w.connector.(connectors.Checker).Check(context.Background()) })
	w.inspect("Check", err)
	return err
}

func errorStatuses() []int {
	var all []int
	for status := 300; status < 600; status++ {
		if http.StatusText(status) != "" {
			all = append(all, status)
		}
	}
	return append(all, 419, 420, 440, 444, 499, 509, 520, 521, 522, 529, 598, 599)
}

// errorBodies are what may come with a status. The JSON one repeats what was sent, as many vendors do.
var errorBodies = []struct {
	name string
	json bool
	text func(l lead.Lead) func(sent []byte) string
}{
	{"a reason that repeats the request", true, func(l lead.Lead) func([]byte) string {
		return func(sent []byte) string {
			said := fmt.Sprintf("%s is not allowed here.", l.Email)
			for _, value := range sentOf(sent, l) {
				said += fmt.Sprintf(" %s is not valid.", value)
			}
			body, _ := json.Marshal(map[string]any{"status": "error", "title": "Invalid Resource", "message": said, "detail": said})
			return string(body)
		}
	}},
	{"a page", false, func(l lead.Lead) func([]byte) string {
		return func([]byte) string { return page + l.Email + l.Name }
	}},
	{"nothing", false, func(lead.Lead) func([]byte) string { return func([]byte) string { return "" } }},
}

// sentOf lists the texts of a JSON request that hold something of l.
func sentOf(sent []byte, l lead.Lead) []string {
	var body any
	if json.Unmarshal(sent, &body) != nil {
		return nil
	}
	var found []string
	var walk func(any)
	walk = func(value any) {
		switch v := value.(type) {
		case string:
			for _, own := range personal(l) {
				if strings.Contains(v, own) {
					found = append(found, v)
					return
				}
			}
		case []any:
			for _, element := range v {
				walk(element)
			}
		case map[string]any:
			for _, element := range v {
				walk(element)
			}
		}
	}
	walk(body)
	return found
}

// unreachable is the URL of a port where nobody listens.
func unreachable(t testing.TB) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	url := "http://" + listener.Addr().String()
	listener.Close()
	return url
}

// pausedContext is that of a process that slept past its deadline and woke before its timers did.
type pausedContext struct{ context.Context }

func (pausedContext) Deadline() (time.Time, bool) { return time.Now().Add(-time.Second), true }
