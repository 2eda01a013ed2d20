package console_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/leadrelay/leadrelay/internal/chromium"
	"github.com/leadrelay/leadrelay/internal/console"
	"github.com/leadrelay/leadrelay/internal/redistest"
	"github.com/leadrelay/leadrelay/internal/store"
)

// patience is how long a test waits for what must come.
const patience = 2 * time.Minute

func TestMain(m *testing.M) {
	code := redistest.Main(m)
	chromium.Stop()
	os.Exit(code)
}

// missing skips the test by name; with LEADRELAY_NO_SKIP it fails.
func missing(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("LEADRELAY_NO_SKIP") != "" {
		t.Fatal("missing: ", what)
	}
	t.Skip("needs ", what)
}

// tab is a page of an operator's real browser.
type tab struct {
	*chromium.Tab
	w *world
}

func (w *world) tab(t *testing.T) *tab {
	t.Helper()
	v := &tab{chromium.Open(t, "console", patience), w}
	v.look("light", 1280, 900)
	return v
}

func (v *tab) open(path string) { v.T.Helper(); v.Do(chromedp.Navigate(v.w.url + path)) }

// reads waits for words in an element.
func (v *tab) reads(css, words string) {
	v.T.Helper()
	v.Until(fmt.Sprintf("document.querySelector(%s)?.innerText.includes(%s)", chromium.Quote(css), chromium.Quote(words)))
}

// click presses what is there, and answers once another page is.
func (v *tab) click(css string) {
	v.T.Helper()
	if _, err := chromedp.RunResponse(v.Ctx, chromedp.Click(chromedp.CSS(css))); err != nil {
		v.T.Fatalf("%s: %v", css, err)
	}
}

// press types keys, wherever the focus is.
func (v *tab) press(keys ...string) {
	v.T.Helper()
	for _, key := range keys {
		v.Do(chromedp.KeyEvent(key))
	}
}

func (v *tab) look(scheme string, width, height int64) {
	v.T.Helper()
	_, err := chromedp.Call(v.Ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
	})
	if err != nil {
		v.T.Fatal(err)
	}
	v.Do(chromedp.EmulateViewport(width, height))
}

// login signs in by the form.
func (v *tab) login() {
	v.T.Helper()
	v.open("/console")
	v.Do(chromedp.SendKeys(chromedp.CSS("#name"), "olga"), chromedp.SendKeys(chromedp.CSS("#password"), password))
	v.click("form button")
	v.reads("h1", "Overview")
}

// quiet checks that the page's console said nothing.
func (v *tab) quiet() {
	v.T.Helper()
	if said := v.Complaints(); len(said) > 0 {
		v.T.Errorf("the page complains: %q", said)
	}
}

// axe is axe-core, which checks a page's accessibility.
var axe = sync.OnceValue(func() string {
	for _, dir := range filepath.SplitList(os.Getenv("NODE_PATH")) {
		if text, err := os.ReadFile(filepath.Join(dir, "axe-core", "axe.min.js")); err == nil {
			return string(text)
		}
	}
	return ""
})

// accessible checks a page by axe-core, and that it is no wider than the window.
func (v *tab) accessible(name string) {
	v.T.Helper()
	chromium.Eval[any](v.Tab, axe()+"; window.leadrelayFaults = undefined; axe.run().then((r) => { window.leadrelayFaults = r.violations"+
		".filter((v) => v.impact === 'serious' || v.impact === 'critical')"+
		".map((v) => v.id + ': ' + v.nodes.map((n) => n.html.slice(0, 120) + ' ' + n.failureSummary).join(' | ')); }); null")
	v.Until("window.leadrelayFaults")
	for _, fault := range chromium.Eval[[]string](v.Tab, "window.leadrelayFaults") {
		v.T.Errorf("%s: %s", name, fault)
	}
	if chromium.Eval[bool](v.Tab, "document.documentElement.scrollWidth > document.documentElement.clientWidth") {
		v.T.Errorf("%s is wider than the window", name)
	}
}

// furnished is a world in which there is something of everything.
func furnished(t *testing.T) (w *world, leadID, spamID string) {
	w = newWorld(t, func(w *world, o *console.Options) {
		remapping(w, o)
		var all []store.Connector
		for _, name := range []string{"hubspot", "mailchimp", "sheet", "slack", "webhook", "erp"} {
			all = append(all, store.Connector{Name: name})
		}
		w.store.SetConnectors(all)
		o.WouldSend = wouldSend
	})
	people := []string{"Jane Doe", "Ada Lovelace", "Grace Hopper", "", "Linus van Pelt", "Zoë Müller", "Karl-Friedrich von Hohenstein-Wittelsbach"}
	for i := range 23 {
		name := people[i%len(people)]
		l := w.add(name, fmt.Sprintf("person.number%02d@example.com", i), []string{"website", "webinar-2026", ""}[i%3],
			map[string]any{"company": "Example GmbH", "utm_campaign": "spring", "consent": map[string]any{"text": "I agree to be contacted by e-mail.", "at": "2026-11-26T02:30:00Z"}})
		leadID = l.ID
	}
	n := 0
	w.work("hubspot", done)
	w.work("slack", done)
	w.work("mailchimp", func(c *store.Claim) store.Verb {
		switch n++; {
		case n%4 == 0 || c.Change.Lead.ID == leadID:
			return parked("mailchimp: put member: 400 Invalid Resource: the address looks fake or invalid, please enter a real one")(c)
		case n%7 == 0:
			return parked("mailchimp: put member ID: 400 Member In Compliance State")(c)
		}
		return done(c)
	})
	w.work("erp", func(c *store.Claim) store.Verb {
		c.Record = store.Record{State: store.Retrying, Fault: "remote", Reason: "erp: 502 Bad Gateway", Attempts: 4, At: w.store.Now().UnixMilli(), Next: w.store.Now().Add(time.Hour).UnixMilli()}
		return store.Later
	})
	now := w.store.Now()
	for name, g := range map[string]store.Gate{
		"erp":       {State: store.GateDown, Reason: "erp: 502 Bad Gateway", Since: now.Add(-25 * time.Minute), Until: now.Add(9 * time.Minute)},
		"mailchimp": {State: store.GateHeld, Reason: "mailchimp: 401 API Key Invalid: your API key may be invalid, or you've attempted to access the wrong datacenter", Since: now.Add(-2 * time.Hour), Until: now.Add(5 * time.Minute)},
		"slack":     {State: store.GatePaused, Reason: "paused by an operator", Since: now.Add(-26 * time.Hour)},
		"webhook":   {State: store.GateWaiting, Reason: "webhook: 429 Too Many Requests", Since: now, Until: now.Add(10 * time.Minute)},
	} {
		if err := w.store.SetGate(t.Context(), name, g); err != nil {
			t.Fatal(err)
		}
	}
	spamID = w.keep("form/contact", store.Spam, "the honeypot company_url is filled", `{"name":"Best Prices","email":"best@prices.example.com","note":"Buy cheap watches!"}`).ID
	w.keep("source/signup", store.Unmapped, "email: the expression found nothing", `{"who":"jane"}`)
	w.keep("source/meta", store.Fetching, "graph: 500 Internal Server Error", `{"leadgen_id":"1"}`)
	return w, leadID, spamID
}

func TestEveryPageIsAccessibleInEveryLook(t *testing.T) {
	if axe() == "" {
		missing(t, "axe-core, found by NODE_PATH: npm install axe-core")
	}
	for _, look := range []struct {
		name, scheme  string
		width, height int64
	}{{"light", "light", 1280, 900}, {"dark", "dark", 1280, 900}, {"phone", "light", 390, 844}, {"phone-dark", "dark", 360, 740}} {
		t.Run(look.name, func(t *testing.T) {
			w, leadID, spamID := furnished(t)
			v := w.tab(t)
			v.look(look.scheme, look.width, look.height)
			v.open("/console/login")
			v.Picture("login")
			v.accessible("login")
			v.Do(chromedp.SendKeys(chromedp.CSS("#name"), "olga"), chromedp.SendKeys(chromedp.CSS("#password"), "wrong"))
			v.click("form button")
			v.reads("[role=alert]", "wrong")
			v.Picture("login-wrong")
			v.accessible("login, refused")
			v.Forgive() // of a refused login the browser itself tells
			v.login()
			v.Until("document.querySelector('.live.on')")
			for _, p := range []struct{ name, path string }{
				{"overview", "/console"}, {"leads", "/console/leads"}, {"lead", "/console/leads/" + leadID}, {"delete", "/console/leads/" + leadID + "/delete"},
				{"sends", "/console/leads/" + leadID + "/sends/hubspot"}, {"sends-nothing", "/console/leads/" + leadID + "/sends/mailchimp"},
				{"failed", "/console/failed"}, {"inbox", "/console/inbox"}, {"submission", "/console/inbox/" + spamID}, {"audit", "/console/audit"},
				{"no-leads", "/console/leads?source=none"}, {"leads-of-state", "/console/leads?connector=mailchimp&state=parked"},
				{"inbox-of-origin", "/console/inbox?origin=form%2Fcontact"}, {"many", "/console/inbox/many?do=drop&origin=form%2Fcontact"},
				{"unmapped", "/console/inbox/" + unmapped(t, w)},
			} {
				v.open(p.path)
				if p.name == "failed" {
					chromium.Eval[any](v.Tab, "document.querySelector('details').open = true; null")
				}
				v.Picture(p.name)
				v.accessible(p.name)
			}
			v.quiet()
			v.open("/console/nothing")
			v.Picture("nothing")
			v.accessible("nothing")
		})
	}
}

func TestEmptyPagesAreAccessible(t *testing.T) {
	if axe() == "" {
		missing(t, "axe-core, found by NODE_PATH: npm install axe-core")
	}
	w := newWorld(t, func(w *world, _ *console.Options) { w.store.SetConnectors(nil) })
	v := w.tab(t)
	v.login()
	for _, path := range readable {
		v.open(path)
		v.Picture("empty" + strings.ReplaceAll(path, "/", "-"))
		v.accessible(path)
	}
	v.quiet()
}

func TestAnOperatorAtWork(t *testing.T) {
	w, leadID, spamID := furnished(t)
	v := w.tab(t)
	v.login()
	card := func(name string) string { return "[data-connector=" + name + "] " }

	// Pause and resume.
	v.click("[aria-label='Pause hubspot']")
	v.reads(".flash", "hubspot is paused.")
	v.reads(card("hubspot")+".state", "paused")
	if gates, err := w.store.Gates(t.Context()); err != nil || gates["hubspot"].State != store.GatePaused {
		t.Errorf("gates %+v, %v", gates, err)
	}
	v.Picture("paused")
	v.click("[aria-label='Resume hubspot']")
	v.reads(".flash", "hubspot is resumed.")
	v.reads(card("hubspot")+".state", "in step")

	// Search, and push again.
	v.click("nav a[href='/console/leads']")
	v.Do(chromedp.SendKeys(chromedp.CSS("#q"), "Person.Number22@example.com"))
	v.press(kb.Enter)
	v.reads(".id", leadID)
	if at := chromium.Eval[string](v.Tab, "location.href"); strings.Contains(at, "example.com") {
		t.Errorf("the address stands in %s", at)
	}
	v.reads(card("mailchimp")+".state", "failed")
	v.click("[aria-label='Push again to mailchimp']")
	v.reads(".flash", "The lead will be pushed to mailchimp again.")
	v.reads(card("mailchimp")+".state", "on its way")
	v.Picture("pushed")
	if href := chromium.Eval[string](v.Tab, "document.querySelector("+chromium.Quote(card("hubspot")+"a")+").href"); !strings.HasPrefix(href, "https://hubspot.example.com/contacts/remote-") {
		t.Errorf("the record is at %s", href)
	}

	// One that failed, all of a reason, and all.
	v.click("nav a[href='/console/failed']")
	failed, _ := strconv.Atoi(chromium.Eval[string](v.Tab, "document.querySelector('.group .n').textContent"))
	chromium.Eval[any](v.Tab, "document.querySelector('details').open = true; null")
	v.click("details form button")
	v.reads(".flash", "The lead will be pushed to mailchimp again.")
	v.reads(".group .n", strconv.Itoa(failed-1))
	v.click(".group form button")
	v.reads(".flash", "will be pushed to mailchimp again.")
	v.click("[aria-label='Push all again of mailchimp']")
	v.reads(".flash", "will be pushed to mailchimp again.")
	v.reads(".empty", "Nothing failed.")

	// Out of the spam, a lead that is deleted.
	v.open("/console/inbox/" + spamID)
	v.reads("pre", "Buy cheap watches!")
	v.click("button.main")
	v.reads(".flash", "It is a lead now")
	v.reads("h1", "Best Prices")
	v.click("a.bad")
	v.reads("h1", "Delete the lead of Best Prices")
	v.click("button.bad")
	v.reads(".flash", "The lead is deleted")

	v.click("nav a[href='/console/audit']")
	v.reads("tbody", "deleted the lead")
	v.Picture("audit")
	v.quiet()
	v.click(".who button")
	v.reads(".flash", "You are signed out.")
	v.open("/console/audit")
	v.reads("h1", "Sign in")
}

func TestTheOverviewFollowsWhatHappens(t *testing.T) {
	w := newWorld(t, nil)
	v := w.tab(t)
	v.login()
	v.Until("document.querySelector('.live.on')")
	field := func(connector, name string) string {
		return "[data-connector=" + connector + "] [data-field=" + name + "]"
	}
	v.reads(field("crm", "state"), "in step")
	chromium.Eval[any](v.Tab, "window.same = true; null")
	w.add("Jane Doe", "jane@example.com", "website", nil)
	v.reads(field("crm", "state"), "behind")
	v.reads(field("crm", "backlog"), "1")
	v.reads("[data-changes]", "crm is behind")
	w.work("newsletter", parked("400"))
	v.reads(field("newsletter", "parked"), "1")
	v.Until("!document.querySelector('[data-badge=failed]').hidden")
	if err := w.store.SetGate(t.Context(), "crm", store.Gate{State: store.GateDown, Reason: "connection refused", Since: w.store.Now()}); err != nil {
		t.Fatal(err)
	}
	v.reads(field("crm", "why"), "connection refused")
	v.Until(`!document.querySelector("[aria-label='Try now crm']").closest("form").hidden`)
	if !chromium.Eval[bool](v.Tab, "window.same") {
		t.Error("the page was loaded again")
	}
	if err := w.store.SetGate(t.Context(), "crm", store.Gate{State: store.GatePaused, Since: w.store.Now()}); err != nil {
		t.Fatal(err)
	}
	v.Until(`document.querySelector("[aria-label='Pause crm']").closest("form").hidden && document.querySelector("[aria-label='Resume crm']")`)
	v.Picture("live")
	// A connector that is new is shown, too.
	w.store.SetConnectors([]store.Connector{{Name: "crm"}, {Name: "newsletter"}, {Name: "sheet"}})
	v.reads(field("sheet", "state"), "in step")
	// What cannot be read is said, and taken back.
	w.redis.Client.Del(t.Context(), "lr:gates")
	w.redis.Client.Set(t.Context(), "lr:gates", "no hash", 0)
	v.reads("[data-problem]", "Redis does not answer")
	v.Picture("trouble")
	w.redis.Client.Del(t.Context(), "lr:gates")
	v.Until("document.querySelector('[data-problem]').hidden")
	w.console.Close()
	v.Until("!document.querySelector('[data-problem]').hidden")
	v.Picture("lost")
}

func TestAKeyboardAloneIsEnough(t *testing.T) {
	w, _, _ := furnished(t)
	v := w.tab(t)
	v.open("/console")
	v.press("olga", kb.Tab, password, kb.Enter) // the name has the focus
	v.reads("h1", "Overview")
	v.press(kb.Tab)
	if got := chromium.Eval[string](v.Tab, "document.activeElement.className"); got != "skip" {
		t.Errorf("first comes %q", got)
	}
	if !chromium.Eval[bool](v.Tab, "document.activeElement.getBoundingClientRect().top >= 0") {
		t.Error("the way to the content cannot be seen")
	}
	v.press(kb.Enter, kb.Tab)
	v.Until("document.activeElement.closest('main')")
	for range 40 {
		if chromium.Eval[string](v.Tab, "document.activeElement.getAttribute('aria-label') ?? ''") == "Pause hubspot" {
			break
		}
		v.press(kb.Tab)
	}
	if chromium.Eval[string](v.Tab, "getComputedStyle(document.activeElement).outlineStyle") == "none" {
		t.Error("where the focus is cannot be seen")
	}
	v.press(kb.Enter)
	v.reads(".flash", "hubspot is paused.")
}

func TestWithoutScriptsAllWorks(t *testing.T) {
	w, leadID, _ := furnished(t)
	v := w.tab(t)
	off := true
	if _, err := chromedp.Call(v.Ctx, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: off}); err != nil {
		t.Fatal(err)
	}
	v.login()
	v.click("[aria-label='Pause hubspot']")
	v.reads(".flash", "hubspot is paused.")
	v.click("nav a[href='/console/leads']")
	v.Do(chromedp.SendKeys(chromedp.CSS("#q"), leadID))
	v.click("[role=search] button")
	v.reads(".id", leadID)
	v.click("[aria-label='Push again to hubspot']")
	v.reads(".flash", "The lead will be pushed to hubspot again.")
	v.click(".who button")
	v.reads(".flash", "You are signed out.")
}
