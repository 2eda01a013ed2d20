package browser

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/accessibility"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/leadrelay/leadrelay/ingest"
	"github.com/leadrelay/leadrelay/internal/chromium"
)

// accessible is what an assistive technology is told of a node.
type accessible struct {
	role, name, description string
	properties              map[string]string
}

// accessibles are the nodes of a page, in its order.
func (v *tab) accessibles() (all []accessible) {
	v.T.Helper()
	text := func(value *accessibility.Value) string {
		if value == nil {
			return ""
		}
		var text string
		if json.Unmarshal(value.Value, &text) != nil {
			text = string(value.Value) // true, a number
		}
		return text
	}
	for _, node := range chromium.Call(v.Tab, accessibility.GetFullAXTree, accessibility.GetFullAXTreeParams{}).Nodes {
		if node.Ignored {
			continue
		}
		a := accessible{text(node.Role), text(node.Name), text(node.Description), map[string]string{}}
		for _, property := range node.Properties {
			a.properties[string(property.Name)] = text(property.Value)
		}
		all = append(all, a)
	}
	return all
}

// named is the only node of a role with a name.
func (v *tab) named(role, name string) accessible {
	v.T.Helper()
	all := v.accessibles()
	found := slices.DeleteFunc(slices.Clone(all), func(a accessible) bool { return a.role != role || a.name != name })
	if len(found) != 1 {
		v.T.Fatalf("%d nodes are a %s named %q, want one, in %+v", len(found), role, name, all)
	}
	return found[0]
}

// controlsAreNamed checks that whoever does not see the page can tell its controls.
func (v *tab) controlsAreNamed() {
	v.T.Helper()
	controls := 0
	for _, a := range v.accessibles() {
		if !slices.Contains([]string{"textbox", "combobox", "listbox", "checkbox", "radio", "button", "link"}, a.role) {
			continue
		}
		controls++
		if strings.TrimSpace(a.name) == "" {
			v.T.Errorf("a %s has no name", a.role)
		}
	}
	if controls == 0 {
		v.T.Error("the page has no controls")
	}
}

// press types keys, wherever the focus is.
func (v *tab) press(keys ...string) {
	v.T.Helper()
	for _, key := range keys {
		v.Do(chromedp.KeyEvent(key))
	}
}

func TestAKeyboardAloneIsEnoughAndAssistiveTechnologyIsToldAll(t *testing.T) {
	w := newWorld(t, func(_ *world, f *ingest.Form) { f.Required = []string{"phone"} })
	w.contact(true, "", `<p><label>Phone <input name="phone"></label></p>
<p><label><input type="checkbox" name="news"> News by mail</label></p>`)
	v := visitor(t)
	v.open(w.site + "/contact")
	v.controlsAreNamed()
	focus := func(want string) {
		t.Helper()
		if got := chromium.Eval[string](v.Tab, "document.activeElement.id || document.activeElement.name"); got != want {
			t.Errorf("the focus is on %q, want %q", got, want)
		}
	}
	v.press(kb.Tab, "Jane Doe", kb.Tab, "jane@localhost", kb.Tab, "Hello", kb.Tab, kb.Tab, " ")
	focus("news")
	v.press(kb.Tab)
	focus("send")
	v.press(kb.Enter)
	v.said("error")
	v.Picture("errors")
	focus("email")
	email := v.named("textbox", "E-mail")
	if email.properties["invalid"] != "true" || email.properties["required"] != "true" || email.properties["focused"] != "true" ||
		!strings.HasPrefix(email.description, "We answer there. ") || !strings.Contains(email.description, "e-mail") {
		t.Errorf("the e-mail field is %+v", email)
	}
	if phone := v.named("textbox", "Phone"); phone.properties["invalid"] != "true" || !strings.Contains(phone.description, "required") {
		t.Errorf("the phone field is %+v", phone)
	}
	if name := v.named("textbox", "Your name"); name.properties["invalid"] != "false" || name.description != "" {
		t.Errorf("the name field is %+v", name)
	}
	told := func(want string) {
		t.Helper()
		all := v.accessibles()
		i := slices.IndexFunc(all, func(a accessible) bool { return a.role == "status" })
		if i < 0 || all[i].properties["live"] != "polite" || !slices.ContainsFunc(all[i:], func(a accessible) bool { return a.name == want }) {
			t.Errorf("no status says %q in %+v", want, all)
		}
	}
	told("Please check the marked fields.")

	v.press(kb.Home)
	chromium.Eval[any](v.Tab, "document.activeElement.select(); null")
	v.press("jane@example.com", kb.Tab, kb.Tab, "123", kb.Enter) // in a field, Enter sends
	v.said("success")
	told("Thank you! Your message has been sent.")
	focus("phone")
	if l := w.one(); l.Name != "Jane Doe" || l.Note != "Hello" || l.Custom["phone"] != "123" || l.Custom["news"] != "on" {
		t.Errorf("got %+v", l)
	}
}

func TestWhileAFormIsSentItIsBusyAndTheFocusStays(t *testing.T) {
	w := newWorld(t, nil)
	w.contact(true, "", "")
	release := make(chan struct{})
	w.answerFirst(1, holdUntil(release))
	v := visitor(t)
	v.open(w.site + "/contact")
	v.fill("your-name", "Jane Doe", "your-email", "jane@example.com")
	v.Do(chromedp.Focus(chromedp.CSS("#send")))
	v.press(kb.Enter)
	if got := v.said("sending"); got != "Sending…" {
		t.Errorf("said %q", got)
	}
	if !chromium.Eval[bool](v.Tab, `document.querySelector("form").getAttribute("aria-busy") == "true" && document.querySelector("#send").disabled`) {
		t.Error("the form is not busy")
	}
	v.Picture("sending")
	close(release)
	v.said("success")
	if !chromium.Eval[bool](v.Tab, `document.querySelector("form").getAttribute("aria-busy") == "false" && document.activeElement.id == "send"`) {
		t.Error("the form is busy, or the focus is lost")
	}
	w.one()
}
