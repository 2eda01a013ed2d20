package console_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/hibiken/asynq"

	"github.com/leadrelay/leadrelay/internal/chromium"
	"github.com/leadrelay/leadrelay/internal/console"
	"github.com/leadrelay/leadrelay/internal/queues"
	"github.com/leadrelay/leadrelay/internal/redistest"
)

// monitored is a world with asynq's monitor, and jobs to see there.
func monitored(t *testing.T) *world {
	t.Helper()
	w := newWorld(t, func(w *world, o *console.Options) { o.Queues = queues.Monitor(w.store.Client()) })
	w.add("Jane Doe", "jane@example.com", "website", map[string]any{"phone": "+49 30 1234567"})
	// The jobs follow behind the lead.
	inspector := asynq.NewInspectorFromRedisClient(w.redis.Client)
	if !redistest.Within(patience, func() bool { names, err := inspector.Queues(); return err == nil && len(names) == 2 }) {
		t.Fatal("no jobs come")
	}
	return w
}

// queueNames are those that the monitor shows.
func (b *browser) queueNames() (names []string) {
	b.w.t.Helper()
	var answer struct {
		Queues []struct{ Queue string }
	}
	if err := json.Unmarshal([]byte(b.page("/console/queues/api/queues")), &answer); err != nil {
		b.w.t.Fatal(err)
	}
	for _, q := range answer.Queues {
		names = append(names, q.Queue)
	}
	return names
}

func TestTheQueuesAreShownToOperatorsAlone(t *testing.T) {
	w := monitored(t)
	stranger, b := w.browser(), w.operator()
	for _, path := range []string{"/console/queues", "/console/queues/", "/console/queues/static/js/any.js", "/console/queues/favicon.ico"} {
		if a := stranger.get(path); a.status != http.StatusSeeOther || !strings.HasPrefix(a.to(), "/console/login") {
			t.Errorf("%s of a stranger: %d %s", path, a.status, a.to())
		}
	}
	if a := stranger.get("/console/queues/api/queues"); a.status != http.StatusUnauthorized || strings.Contains(a.body, "crm") {
		t.Errorf("the queues of a stranger: %d %s", a.status, a.body)
	}
	if names := b.queueNames(); len(names) != 2 {
		t.Errorf("the queues are %q", names)
	}
	if !strings.Contains(b.page("/console"), `href="/console/queues"`) {
		t.Error("nothing leads to the queues")
	}
	without := newWorldOn(t, w.redis, nil).operator()
	if a := without.get("/console/queues"); a.status != http.StatusNotFound || strings.Contains(without.page("/console"), "/console/queues") {
		t.Errorf("without a monitor: %d", a.status)
	}
}

// What acts is the console's own, and audited.
func TestTheMonitorOfTheQueuesChangesNothing(t *testing.T) {
	w := monitored(t)
	b := w.operator()
	token := b.token("/console")
	name := b.queueNames()[0]
	before := w.redis.Keys(t, "asynq:*")
	acts := len(w.acts())
	for _, method := range []string{http.MethodPost, http.MethodDelete, http.MethodPut, http.MethodPatch, http.MethodOptions} {
		for _, path := range []string{
			"", "/", "/api/queues/" + name, "/api/queues/" + name + ":pause", "/api/queues/" + name + "/pending_tasks:delete_all",
			"/api/queues/" + name + "/pending_tasks:archive_all",
		} {
			a := b.do(method, "/console/queues"+path, url.Values{"token": {token}})
			if a.status != http.StatusMethodNotAllowed || a.header.Get("Allow") != "GET, HEAD" {
				t.Errorf("%s %s: %d", method, path, a.status)
			}
		}
	}
	if after := w.redis.Keys(t, "asynq:*"); len(after) != len(before) {
		t.Errorf("the keys were %q and are %q", before, after)
	}
	if got := len(w.acts()); got != acts {
		t.Errorf("%d acts are noted", got-acts)
	}
}

// P7: what the monitor shows of a job are names of ours.
func TestP7TheMonitorShowsNoPersonalData(t *testing.T) {
	w := monitored(t)
	b := w.operator()
	shown := 0
	for _, name := range b.queueNames() {
		for _, state := range []string{"pending", "active", "scheduled", "retry", "archived", "completed"} {
			text := b.page("/console/queues/api/queues/" + name + "/" + state + "_tasks")
			shown += strings.Count(text, `"payload"`)
			for _, personal := range []string{"jane", "Jane", "Doe", "example.com", "1234567"} {
				if strings.Contains(text, personal) {
					t.Errorf("%s of %s show %s", state, name, text)
				}
			}
		}
	}
	if shown == 0 {
		t.Error("there is no job to look at")
	}
}

// The monitor asks again and again by itself: that must not keep a session alive for ever.
func TestAnOpenMonitorDoesNotKeepASessionAlive(t *testing.T) {
	w := monitored(t)
	b := w.operator()
	key := w.redis.Keys(t, "lr:session:*")[0]
	left := func() float64 { return w.redis.Client.PTTL(t.Context(), key).Val().Minutes() }
	if err := w.redis.Client.Expire(t.Context(), key, 600e9).Err(); err != nil {
		t.Fatal(err)
	}
	b.page("/console/queues/api/servers")
	if left() > 11 {
		t.Errorf("the session lasts for %.0f minutes", left())
	}
	b.page("/console/queues")
	if left() < 50 {
		t.Errorf("opened by its reader: the session lasts for %.0f minutes", left())
	}
}

func TestTheMonitorsPageHasAPolicyOfItsOwn(t *testing.T) {
	b := monitored(t).operator()
	for _, path := range []string{"/console/queues", "/console/queues/", "/console/queues/servers"} {
		a := b.get(path)
		policy := a.header.Get("Content-Security-Policy")
		for _, directive := range []string{"default-src 'none'", "connect-src 'self'", "base-uri 'none'", "frame-ancestors 'none'", "form-action 'none'", "'sha256-", "style-src 'nonce-"} {
			if !strings.Contains(policy, directive) {
				t.Errorf("%s: the policy is %q", path, policy)
			}
		}
		for _, loose := range []string{"unsafe", "http", "*"} {
			if strings.Contains(policy, loose) {
				t.Errorf("%s: the policy is %q", path, policy)
			}
		}
		if strings.Contains(a.body, "googleapis") {
			t.Errorf("%s reaches out: %s", path, a.body)
		}
		if again := b.get(path).header.Get("Content-Security-Policy"); again == policy {
			t.Errorf("%s: the nonce is always the same", path)
		}
	}
	// What is no page of it keeps to the console's.
	if policy := b.get("/console/queues/api/queues").header.Get("Content-Security-Policy"); strings.Contains(policy, "nonce") {
		t.Errorf("the policy is %q", policy)
	}
}

func TestTheMonitorInABrowser(t *testing.T) {
	w := monitored(t)
	v := w.tab(t)
	v.login()
	if to := chromium.Eval[string](v.Tab, "document.querySelector('nav a[target=_blank]').getAttribute('href')"); to != "/console/queues" {
		t.Errorf("the navigation leads to %s", to)
	}
	v.open("/console/queues")
	v.reads("#root", "crm")
	v.reads("#root", "newsletter")
	v.Picture("queues")
	// Its styles are in force, and it has no buttons to act.
	if got := chromium.Eval[string](v.Tab, "getComputedStyle(document.querySelector('header')).position"); got != "absolute" && got != "fixed" {
		t.Errorf("the monitor has no styles: its header is %s", got)
	}
	v.Do(chromedp.Click(chromedp.CSS("table a[href*='crm']")))
	v.Until("location.pathname.startsWith('/console/queues/queues/')")
	v.reads("#root", "Queue size")
	v.open(chromium.Eval[string](v.Tab, "location.pathname") + "?status=pending")
	v.reads("#root table", "sync") // the job, by its type
	v.Picture("queue")
	for _, path := range []string{"/servers", "/schedulers", "/redis", "/settings"} {
		v.open("/console/queues" + path)
		v.Until("document.querySelector('#root main')?.innerText.length > 20")
		v.Picture("queues-" + path[1:])
	}
	if chromium.Eval[int](v.Tab, "performance.getEntriesByType('resource').filter((r) => !r.name.startsWith(location.origin)).length") != 0 {
		t.Error("the monitor reaches out")
	}
	if !chromium.Eval[bool](v.Tab, "[...document.images].every((i) => i.naturalWidth > 0)") {
		t.Error("a picture of the monitor is broken")
	}
	v.quiet()
}
