package browser

import (
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/leadrelay/leadrelay/ingest"
	"github.com/leadrelay/leadrelay/internal/chromium"
)

// faint lists the texts of a page whose contrast is below what WCAG 2.2 asks for, 4.5 to 1
// (https://www.w3.org/TR/WCAG22/#contrast-minimum).
const faint = `(() => {
	const read = (color) => { const c = color.match(/[\d.]+/g).map(Number); return c.length < 4 ? [...c, 1] : c; };
	const light = (c) => { const [r, g, b] = c.map((x) => (x /= 255) <= .04045 ? x / 12.92 : ((x + .055) / 1.055) ** 2.4); return .2126 * r + .7152 * g + .0722 * b; };
	const behind = (e) => { for (; e; e = e.parentElement) { const c = read(getComputedStyle(e).backgroundColor); if (c[3] == 1) return c; } return [255, 255, 255]; };
	return [...document.querySelectorAll("body *")].filter((e) => {
		if (![...e.childNodes].some((n) => n.nodeType == 3 && n.data.trim()) || !e.checkVisibility()) return false;
		const [a, b] = [light(read(getComputedStyle(e).color)), light(behind(e))];
		return (Math.max(a, b) + .05) / (Math.min(a, b) + .05) < 4.5;
	}).map((e) => e.outerHTML.slice(0, 80));
})()`

func TestTheDemoShowsAFormAtWork(t *testing.T) {
	for _, look := range []struct {
		name, scheme  string
		width, height int64
	}{{"light", "light", 1280, 900}, {"dark", "dark", 1280, 900}, {"phone", "light", 390, 844}, {"phone-dark", "dark", 360, 740}} {
		t.Run(look.name, func(t *testing.T) {
			w := newWorldOf(t, func(w *world) []ingest.Form {
				return []ingest.Form{{
					Name: "contact", Source: "website", Origins: []string{"https://www.example.com"}, Honeypot: "company_url",
					Fields:   []ingest.FormField{{To: "email", From: "your-email"}},
					Required: []string{"name", "phone"},
					Consent:  &ingest.Consent{Field: "terms", Text: "I agree to be contacted by e-mail.", Required: true},
				}, {Name: "newsletter"}}
			})
			v := visitor(t)
			v.emulate("prefers-color-scheme", look.scheme)
			v.Do(chromedp.EmulateViewport(look.width, look.height))
			v.open(w.front + "/demo")
			v.Picture("form")
			v.controlsAreNamed()
			check := func() {
				t.Helper()
				if got := chromium.Eval[[]string](v.Tab, faint); len(got) != 0 {
					t.Errorf("hard to read: %q", got)
				}
				if chromium.Eval[bool](v.Tab, "document.documentElement.scrollWidth > document.documentElement.clientWidth") {
					t.Error("the page is wider than the window")
				}
			}
			check()
			if chromium.Eval[bool](v.Tab, "document.querySelector('[name=company_url]').getBoundingClientRect().right > 0") {
				t.Error("the honeypot can be seen")
			}

			v.fill("name", "Jane Doe", "your-email", "jane@localhost", "phone", "123", "note", "Hello")
			v.Do(chromedp.Click(chromedp.CSS("[name=terms]")), chromedp.Click(chromedp.CSS("form button")))
			v.said("error")
			v.Picture("error")
			check()
			v.refill("your-email", "jane@example.com")
			v.Do(chromedp.Click(chromedp.CSS("form button")))
			v.said("success")
			check()
			if l := w.one(); l.Name != "Jane Doe" || l.Email != "jane@example.com" || l.Custom["phone"] != "123" || l.Note != "Hello" {
				t.Errorf("got %+v", l)
			}
			for _, text := range v.Complaints() {
				if !strings.Contains(text, "422") {
					t.Errorf("the console says %q", text)
				}
			}
		})
	}
}

// What the demo says to paste is what it shows: it works on a page of its own.
func TestWhatTheDemoSaysToPasteWorks(t *testing.T) {
	w := newWorld(t, func(w *world, f *ingest.Form) { f.Success = w.site + "/thanks" })
	w.publish("/thanks", webpage{html: "<!doctype html><h1>Thank you!</h1>"})
	v := visitor(t)
	v.open(w.front + "/demo")
	pasted := chromium.Eval[[]string](v.Tab, "[...document.querySelectorAll('pre')].map((e) => e.textContent)")
	if len(pasted) != 3 {
		t.Fatalf("got %q", pasted)
	}
	w.publish("/plain", webpage{html: "<!doctype html><style>" + pasted[1] + "</style>" + pasted[0]})
	w.publish("/script", webpage{html: "<!doctype html>" + pasted[0] + pasted[2]})

	v.open(w.site + "/plain")
	v.fill("your-name", "Jane Doe", "your-email", "jane@example.com")
	v.arrive(chromedp.Click(chromedp.CSS("form button")))
	if got := chromium.Eval[string](v.Tab, "location.href"); got != w.site+"/thanks" {
		t.Errorf("arrived at %s", got)
	}
	v.open(w.site + "/script")
	v.fill("your-name", "John Doe", "your-email", "john@example.com")
	v.Do(chromedp.Click(chromedp.CSS("form button")))
	v.said("success")
	if found := w.leads(); len(found) != 2 {
		t.Errorf("leads %+v, want two", found)
	}
}

func TestTheDemoWithoutTheScriptGoesToTheFormsPages(t *testing.T) {
	w := newWorld(t, withRedirects)
	v := visitor(t)
	v.scripts(false)
	v.open(w.front + "/demo")
	v.fill("your-name", "Jane Doe", "your-email", "jane@example.com")
	v.arrive(chromedp.Click(chromedp.CSS("form button")))
	if got := chromium.Eval[string](v.Tab, "location.href"); got != w.site+"/thanks" {
		t.Errorf("arrived at %s", got)
	}
	w.one()
}

func TestTheDemoWithoutFormsSaysHowToAddOne(t *testing.T) {
	w := newWorldOf(t, func(*world) []ingest.Form { return nil })
	v := visitor(t)
	v.open(w.front + "/demo")
	if got := v.text("main"); !strings.Contains(got, "forms:") || !strings.Contains(got, "origins:") {
		t.Errorf("says %q", got)
	}
	if got := v.Complaints(); len(got) != 0 {
		t.Errorf("the console says %q", got)
	}
}
