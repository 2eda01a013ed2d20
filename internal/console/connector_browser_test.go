package console_test

import (
	"strings"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/leadrelay/leadrelay/internal/chromium"
)

// fill puts a text into an input, as typing does.
func (v *tab) fill(css, text string) {
	v.T.Helper()
	chromium.Eval[any](v.Tab, "{ const input = document.querySelector("+chromium.Quote(css)+"); input.focus(); input.select(); } null")
	v.press(kb.Delete, text)
}

// value is what an input holds.
func (v *tab) value(css string) string {
	v.T.Helper()
	return chromium.Eval[string](v.Tab, "document.querySelector("+chromium.Quote(css)+").value")
}

// choose picks an option of a select.
func (v *tab) choose(css, option string) {
	v.T.Helper()
	v.Do(chromedp.SetValue(chromedp.CSS(css), option))
}

func TestTheOutcomeIsShownAsItIsTyped(t *testing.T) {
	p := written()
	w := onPaper(t, p)
	w.add("Jane Doe", "jane@example.com", "website", nil)
	v := w.tab(t)
	v.login()
	v.open("/console/connectors/newsletter")
	v.reads("[data-outcome]", "Jane Doe")
	v.reads("[data-outcome] .state", "taken")
	chromium.Eval[any](v.Tab, "window.same = true; null")
	v.fill("#when", "nobody == 1")
	v.reads("[data-outcome] .state", "left out")
	v.fill("#when", "source ==")
	v.reads("[data-problem-of=when]", "unexpected end")
	v.Picture("typed-wrong")
	v.fill("#when", `source == "website"`)
	v.Until("document.querySelector('[data-problem-of=when]').hidden")
	v.fill("[name=to]", "")
	v.reads("[data-problem-of='fields[0]']", "to: required")
	v.fill("[name=to]", "GREETING")
	v.fill("[name=text]", "name")
	v.reads(".mapped", "GREETING")
	v.reads(".mapped", "Jane Doe")
	v.Do(chromedp.Focus(chromedp.CSS("#set-list_id")))
	if _, err := chromedp.RunResponse(v.Ctx, chromedp.KeyEvent(kb.Enter)); err != nil {
		t.Fatal(err)
	}
	if p.revision != 0 || v.value("[name=to]") != "GREETING" {
		t.Error("the enter key has saved, or lost what was typed")
	}
	chromium.Eval[any](v.Tab, "window.same = true; null")
	v.fill("#lead", "nobody@example.com")
	v.reads("[data-outcome]", "There is no such lead.")
	if !chromium.Eval[bool](v.Tab, "window.same") {
		t.Error("the page was loaded again")
	}
	if p.revision != 0 || len(w.acts()) != 1 {
		t.Errorf("typing has saved, or acted: %q", w.acts())
	}
	// A session that has ended says so, and keeps what was typed.
	w.redis.Client.Del(t.Context(), w.redis.Keys(t, "lr:session:*")...)
	v.fill("#lead", "jane@example.com")
	v.reads("[data-outcome]", "It cannot be tried now.")
	if got := v.value("[name=to]"); got != "GREETING" {
		t.Errorf("the field is %q", got)
	}
	v.quiet()
}

func TestAnOperatorEditsConnectors(t *testing.T) {
	p := written()
	w := onPaper(t, p)
	w.add("Jane Doe", "jane@example.com", "website", nil)
	v := w.tab(t)
	v.login()
	v.click("nav a[href='/console/connectors']")
	v.click("[aria-label='Edit newsletter']")
	v.fill("#set-list_id", "b2b2b2")
	v.fill("#set-api_key", "wr0ng")
	v.click("button[value=test]")
	v.reads("#result .flash.bad", "NOT READY")
	v.Picture("tested")
	v.choose("[name='how.api_key']", "env")
	v.fill("#set-api_key", "LIST_KEY")
	v.click("button[value=plan]")
	v.reads("#result", "Of the newest")
	v.reads(".diff .added", "newsletter, edited")
	v.reads(".origin", "from ${LIST_KEY}, not saved yet")
	v.Picture("planned")
	v.fill("#set-port", "many")
	v.click("button[value=save]")
	v.reads(".problem", "must be a whole number")
	v.Picture("refused")
	v.Forgive() // the browser tells of the refusal itself
	v.fill("#set-port", "26")
	v.click("button[value=save]")
	v.reads(".flash", "newsletter is saved, and in use")
	e := p.entry(t, "newsletter")
	if e.Settings["list_id"] != "b2b2b2" || e.Settings["api_key"] != "${LIST_KEY}" || e.Settings["port"] != 26 {
		t.Errorf("saved is %v", e.Settings)
	}

	// Somebody else saves meanwhile.
	v.click("[aria-label='Edit crm']")
	p.replace(p.entries, "anna")
	v.choose("#set-mode", "safe")
	v.click("button[value=save]")
	v.reads("[role=alert]", "Somebody else changed the file meanwhile")
	v.Picture("conflict")
	v.Forgive()
	v.click("button[value=save]")
	v.reads(".flash", "crm is saved")
	if got := p.entry(t, "crm").Settings["mode"]; got != "safe" {
		t.Errorf("the mode is %v", got)
	}

	// One more, then one less.
	v.click("a[href='/console/catalogue']")
	v.fill("#q", "webh")
	v.Until("document.querySelector('[data-kind^=crm]').hidden && !document.querySelector('[data-kind^=hook]').hidden")
	v.Picture("catalogue")
	v.click("[data-kind^=hook] a")
	v.fill("#name", "hook")
	v.fill("#set-url", "https://example.com/leads")
	v.click("button[value=add]")
	v.fill("[name=to]", "mail")
	v.fill("[name=text]", "email")
	v.click("button[value=save]")
	v.reads(".flash", "hook is added")
	if e := p.entry(t, "hook"); e.Settings["url"] != "https://example.com/leads" || len(e.Fields) != 1 || e.Fields[0].From != "email" {
		t.Errorf("added is %v", e)
	}
	v.click("[aria-label='Remove keyfile…']")
	v.Picture("remove")
	v.click("button.bad")
	v.reads(".flash", "keyfile is removed")

	// And back.
	v.click("a[href='/console/history']")
	v.Picture("history")
	v.click("tbody a")
	v.reads("h2", "What going back changes")
	v.Picture("version")
	v.click("button.bad")
	v.reads(".flash", "is back, and in use")
	p.entry(t, "keyfile")
	v.quiet()
	trail := strings.Join(w.acts(), "\n")
	for _, act := range []string{"tested the settings newsletter", "changed the settings newsletter", "changed the settings crm", "added the connector hook", "removed the connector keyfile", "went back"} {
		if !strings.Contains(trail, act) {
			t.Errorf("the trail has no %q: %s", act, trail)
		}
	}
}

func TestWithoutScriptsAConnectorIsEdited(t *testing.T) {
	p := written()
	w := onPaper(t, p)
	w.add("Jane Doe", "jane@example.com", "website", nil)
	v := w.tab(t)
	chromium.Call(v.Tab, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
	v.login()
	v.open("/console/connectors/crm")
	v.click("button[value=own]")
	v.fill("#lead", "jane@example.com")
	v.click("button[value=add]")
	v.fill("li:last-child [name=to]", "who")
	v.fill("li:last-child [name=text]", "name")
	v.click(".choice button")
	v.reads(".mapped", "who")
	v.reads(".mapped", "Jane Doe")
	v.click("button[value='remove:0']")
	v.click("button[value=save]")
	v.reads(".flash", "crm is saved, and in use")
	var to []string
	for _, rule := range p.entry(t, "crm").Fields {
		to = append(to, rule.To+"="+rule.From)
	}
	if got := strings.Join(to, " "); got != "firstname=first_name who=name" {
		t.Errorf("the fields are %s", got)
	}
}

func TestTheFormsOfConnectorsAreAccessible(t *testing.T) {
	if axe() == "" {
		missing(t, "axe-core, found by NODE_PATH: npm install axe-core")
	}
	for _, look := range []struct {
		name, scheme  string
		width, height int64
	}{{"light", "light", 1280, 900}, {"dark", "dark", 1280, 900}, {"phone", "light", 360, 740}, {"phone-dark", "dark", 360, 740}} {
		t.Run(look.name, func(t *testing.T) {
			p := written()
			w := onPaper(t, p)
			w.add("Jane Doe", "jane.doe-von-hohenstein-wittelsbach@example.com", "website", nil)
			p.replace(p.entries, "olga")
			v := w.tab(t)
			v.look(look.scheme, look.width, look.height)
			v.login()
			for _, one := range []struct{ name, path string }{
				{"connectors", "/console/connectors"}, {"connector", "/console/connectors/newsletter"}, {"usual", "/console/connectors/crm"}, {"catalogue", "/console/catalogue"},
				{"add", "/console/catalogue/hook"}, {"remove", "/console/connectors/crm/remove"}, {"history", "/console/history"}, {"version", "/console/history/v0"},
			} {
				v.open(one.path)
				chromium.Eval[any](v.Tab, "document.querySelectorAll('details').forEach((d) => { d.open = true; }); null")
				v.Picture(one.name)
				v.accessible(one.name)
			}
			v.open("/console/connectors/newsletter")
			v.click("button[value=plan]")
			v.reads("#result", "What saving changes")
			v.Picture("plan")
			v.accessible("plan")
			v.fill("#set-port", "many")
			v.fill("#when", "source ==")
			v.click("button[value=save]")
			v.reads(".problem", "must be a whole number")
			v.Picture("problems")
			v.accessible("problems")
			v.Forgive()
			p.mu.Lock()
			p.readOnly = true
			p.mu.Unlock()
			v.open("/console/connectors/crm")
			v.click("button[value=save]")
			v.reads("h1", "A change to make by hand")
			v.Picture("by-hand")
			v.accessible("by hand")
			v.quiet()
		})
	}
}
