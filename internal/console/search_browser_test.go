package console_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/leadrelay/leadrelay/internal/chromium"
	"github.com/leadrelay/leadrelay/internal/console"
	"github.com/leadrelay/leadrelay/internal/store"
)

// unmapped is the id of a submission that waits to be mapped again.
func unmapped(t *testing.T, w *world) string {
	t.Helper()
	found, _, err := w.store.Submissions(t.Context(), store.SubmissionQuery{State: store.Unmapped, Limit: 1})
	if err != nil || len(found) != 1 {
		t.Fatalf("there are %d, %v", len(found), err)
	}
	return found[0].ID
}

// tabTo presses Tab until what has the focus is as wanted.
func (v *tab) tabTo(wanted string) {
	v.T.Helper()
	for range 80 {
		if chromium.Eval[bool](v.Tab, "Boolean(document.activeElement?.matches("+chromium.Quote(wanted)+"))") {
			return
		}
		v.press(kb.Tab)
	}
	v.T.Fatalf("the keyboard does not reach %s", wanted)
}

func TestALongSearchGoesOnByItself(t *testing.T) {
	w := newWorld(t, func(w *world, _ *console.Options) { w.store.SetConnectors(nil) })
	id := needles(t, w, 45_000)
	v := w.tab(t)
	v.look("light", 390, 844)
	v.login()
	v.open("/console/leads")
	v.tabTo("#q")
	v.press("NEEDLE", kb.Enter)
	v.reads("tbody th", "Needle")
	v.reads("[data-found]", "1 lead found.")
	v.Until("!document.querySelector('[data-further] .looked')")
	v.Picture("found")
	if at := chromium.Eval[string](v.Tab, "location.href"); strings.Contains(strings.ToLower(at), "needle") {
		t.Errorf("the name stands in %s", at)
	}
	v.tabTo("tbody th a")
	v.press(kb.Enter)
	v.reads(".id", id)
	v.quiet()
}

func TestALongSearchCanBeStopped(t *testing.T) {
	w := newWorld(t, nil)
	needles(t, w, 22_000)
	v := w.tab(t)
	v.look("light", 390, 844)
	v.login()
	chromium.Call(v.Tab, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{
		Source: `window.fetch = (at, how) => new Promise((_, fail) => how.signal.addEventListener("abort", () => fail(how.signal.reason)));`,
	})
	v.open("/console/leads")
	v.Do(chromedp.SendKeys(chromedp.CSS("#q"), "needle"))
	v.press(kb.Enter)
	v.reads("[data-further] button", "Stop")
	v.reads(".looked", "of 22\u202f001 leads so far.")
	v.Picture("looking")
	if axe() != "" {
		v.accessible("a search under way")
	}
	v.tabTo("[data-further] button")
	v.press(kb.Enter)
	v.Until("document.activeElement?.textContent === 'Look further'")
	v.reads("[data-found]", "0 leads found.")
	v.quiet()
}

func TestTheInboxInABrowser(t *testing.T) {
	w := newWorld(t, remapping)
	for i := range 3 {
		w.keep("source/signup", store.Unmapped, "email: is required", fmt.Sprintf(`{"who": "p%d@example.com"}`, i))
	}
	bad := w.keep("source/signup", store.Unmapped, "email: is required", `{"name": "nobody"}`)
	for i := range 5 {
		w.keep("form/contact", store.Spam, "too fast", fmt.Sprintf(`{"email": "s%d@example.com"}`, i))
	}
	v := w.tab(t)
	v.look("light", 390, 844)
	v.login()

	// By the keyboard alone: two of the spam are no spam.
	v.open("/console/inbox?state=spam")
	v.tabTo(".tick input")
	v.press(" ", kb.Tab)
	v.tabTo(".tick input")
	v.press(" ")
	v.tabTo(".chosen button[value=release]")
	v.press(kb.Enter)
	v.reads("h1", "Make leads of 2 submissions?")
	v.Picture("release")
	v.tabTo("form[action='/console/inbox/many'] button")
	v.press(kb.Enter)
	v.reads(".flash", "2 are now leads.")
	if n := w.inboxCount("form/contact", store.Spam); n != 3 {
		t.Errorf("%d are left", n)
	}

	// One, and all of an origin.
	v.open("/console/inbox/" + bad.ID)
	v.click("form[action$='/map'] button")
	v.reads(".flash.bad", "It is no lead yet: cannot be mapped: email: is required")
	v.open("/console/inbox?origin=source%2Fsignup")
	v.Picture("of-origin")
	v.click(".all button[value=map]")
	v.reads("h1", "Map 4 submissions again?")
	v.click("form[action='/console/inbox/many'] button")
	v.reads(".flash", "3 are now leads.")
	v.reads(".flash", "1 stay: cannot be mapped: email: is required.")
	v.Picture("mapped")

	// What is not confirmed is not done.
	v.open("/console/inbox?origin=form%2Fcontact")
	v.click(".all button[value=drop]")
	v.reads("h1", "Drop 3 submissions?")
	v.click("form[action='/console/inbox/many'] a")
	v.reads("h1", "Inbox")
	if n := w.inboxCount("form/contact", store.Spam); n != 3 {
		t.Errorf("%d are left", n)
	}
	v.click(".all button[value=drop]")
	v.click("form[action='/console/inbox/many'] button.bad")
	v.reads(".flash", "3 are dropped.")
	v.quiet()
}

func TestWithoutScriptsASearchAndTheInboxWork(t *testing.T) {
	w := newWorld(t, remapping)
	id := needles(t, w, 22_000)
	w.keep("form/contact", store.Spam, "too fast", `{"email": "s@example.com"}`)
	v := w.tab(t)
	off := true
	chromium.Call(v.Tab, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: off})
	v.login()
	v.open("/console/leads")
	v.Do(chromedp.SendKeys(chromedp.CSS("#q"), "needle"))
	v.click("[role=search] button")
	v.reads(".looked", "Looked at")
	for chromium.Eval[bool](v.Tab, "Boolean(document.querySelector('.looked a'))") {
		v.click(".looked a")
	}
	v.reads("tbody th", "Needle")
	v.click("tbody th a")
	v.reads(".id", id)
	v.open("/console/inbox")
	v.Do(chromedp.Click(chromedp.CSS(".tick input")))
	v.click(".chosen button[value=drop]")
	v.click("form[action='/console/inbox/many'] button.bad")
	v.reads(".flash", "1 is dropped.")
}

// Nobody but who is signed in gets to the confirmation.
func TestAConfirmationNeedsALogin(t *testing.T) {
	w := newWorld(t, remapping)
	w.keep("form/contact", store.Spam, "too fast", `{}`)
	b := w.browser()
	path := "/console/inbox/many?do=drop&origin=form%2Fcontact"
	if a := b.get(path); a.status != http.StatusSeeOther || !strings.HasPrefix(a.to(), "/console/login") {
		t.Errorf("%d %s", a.status, a.to())
	}
	if a := b.do(http.MethodPost, "/console/inbox/many", fieldsOf(w.operator().page(path))); a.status != http.StatusSeeOther || a.to() != "/console/login" {
		t.Errorf("%d %s", a.status, a.to())
	}
	if n := w.inboxCount("form/contact", store.Spam); n != 1 {
		t.Errorf("%d are left", n)
	}
}
