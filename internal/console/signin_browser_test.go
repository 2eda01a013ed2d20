package console_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"github.com/leadrelay/leadrelay/internal/chromium"
	"github.com/leadrelay/leadrelay/internal/openid"
)

// The provider is another site to the browser, which brings no session from there: only a real one shows that a page
// of ours leads on.
func TestARealBrowserSignsInThroughTheProvider(t *testing.T) {
	w, p := signedInBy(t)
	v := w.tab(t)
	v.open("/console/audit?skip=0")
	v.reads("h1", "Sign in")
	v.click("a.provider")
	v.reads("h1", "You are Anna")
	if at := chromium.Eval[string](v.Tab, "location.hostname"); at != "localhost" {
		t.Fatalf("the provider is at %s", at)
	}
	v.Do(chromedp.Click(chromedp.CSS("#yes")))
	v.reads("h1", "Audit trail")
	v.reads(".who", "anna@example.com")
	v.reads("tbody", "through localhost")
	v.Picture("signed-in")
	if at := chromium.Eval[string](v.Tab, "location.pathname + location.search"); at != "/console/audit?skip=0" {
		t.Errorf("led to %s", at)
	}
	if said := chromium.Eval[string](v.Tab, "document.cookie"); said != "" {
		t.Errorf("scripts read the cookies %s", said)
	}
	// Forms work in this session, and back leads to no answer that was used.
	v.open("/console")
	v.click("[aria-label='Pause crm']")
	v.reads(".flash", "crm is paused.")
	v.quiet()
	v.click(".who button")
	v.reads(".flash", "You are signed out.")
	v.open("/console/audit")
	v.reads("h1", "Sign in")

	// Who may not is told so, on the page they began from.
	p.behave(func() { p.who["email"] = "somebody@example.com" })
	v.click("a.provider")
	v.reads("h1", "You are Anna")
	v.Do(chromedp.Click(chromedp.CSS("#yes")))
	v.reads("[role=alert]", "you may not sign in here")
	v.Picture("not-allowed")
	// And a password can still be used from there.
	v.Do(chromedp.SendKeys(chromedp.CSS("#name"), "olga"), chromedp.SendKeys(chromedp.CSS("#password"), password))
	v.click("form button")
	v.reads("h1", "Audit trail")
	v.reads(".who", "olga")
}

func TestSigningInThroughTheProviderNeedsNoScripts(t *testing.T) {
	w, _ := signedInBy(t)
	v := w.tab(t)
	off := true
	if _, err := chromedp.Call(v.Ctx, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: off}); err != nil {
		t.Fatal(err)
	}
	v.open("/console")
	v.click("a.provider")
	v.reads("h1", "You are Anna")
	v.Do(chromedp.Click(chromedp.CSS("#yes")))
	v.reads("h1", "Overview")
	v.reads(".who", "anna@example.com")
}

// A page of another site's that leads to the provider's answer of its own signs nobody in.
func TestARealBrowserIsNotSignedInByAnothersAnswer(t *testing.T) {
	w, p := signedInBy(t)
	attacker := w.browser()
	theirs := p.yes(attacker.toProvider(""))
	p.behave(func() {
		p.answer = func(rw http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path != "/trap" {
				return false
			}
			rw.Header().Set("Content-Type", "text/html")
			rw.Write([]byte(`<h1>Win</h1><a id="win" href="` + w.url + strings.ReplaceAll(theirs, "&", "&amp;") + `">Win</a>`))
			return true
		}
	})
	v := w.tab(t)
	v.Do(chromedp.Navigate(p.url + "/trap"))
	v.Do(chromedp.Click(chromedp.CSS("#win")))
	v.reads("[role=alert]", "begun elsewhere")
	v.open("/console")
	v.reads("h1", "Sign in")
}

func TestEveryWayToSignInIsAccessible(t *testing.T) {
	if axe() == "" {
		missing(t, "axe-core, found by NODE_PATH: npm install axe-core")
	}
	for _, look := range []struct {
		name, scheme  string
		width, height int64
	}{{"light", "light", 1280, 900}, {"dark", "dark", 1280, 900}, {"phone", "light", 360, 740}, {"phone-dark", "dark", 360, 740}} {
		t.Run(look.name, func(t *testing.T) {
			w, p := signedInBy(t)
			v := w.tab(t)
			v.look(look.scheme, look.width, look.height)
			v.open("/console/login")
			v.Picture("login")
			v.accessible("both")
			v.open("/console/openid/callback?code=1&state=2")
			v.reads("[role=alert]", "begun elsewhere")
			v.Picture("elsewhere")
			v.accessible("refused")
			v.Forgive() // of a refused login the browser itself tells
			options := w.options
			named := p.options(openid.Rule{Domain: "example.com"})
			options.Operators, options.OpenID = nil, openid.New(named)
			if err := w.console.Reload(options); err != nil {
				t.Fatal(err)
			}
			p.behave(func() {
				p.who["email"] = "an.operator.with.quite.a.long.address.indeed@example.com"
			})
			v.open("/console/login")
			v.Picture("provider-alone")
			v.accessible("the provider alone")
			v.click("a.provider")
			v.Do(chromedp.Click(chromedp.CSS("#yes")))
			v.reads("h1", "Overview")
			v.Picture("overview")
			v.accessible("overview")
			v.quiet()
		})
	}
}

// The page that leads on, where the browser does not.
func TestThePageAfterTheProviderIsAccessible(t *testing.T) {
	if axe() == "" {
		missing(t, "axe-core, found by NODE_PATH: npm install axe-core")
	}
	w, p := signedInBy(t)
	b := w.browser()
	page := strings.Replace(b.through(p, "").body, `http-equiv="refresh"`, `name="refresh"`, 1)
	p.behave(func() {
		p.answer = func(rw http.ResponseWriter, r *http.Request) bool {
			if !strings.HasPrefix(r.URL.Path, "/console/") {
				return false
			}
			if r.URL.Path == "/console/page" {
				rw.Header().Set("Content-Type", "text/html; charset=utf-8")
				rw.Write([]byte(page))
			} else {
				w.console.ServeHTTP(rw, r)
			}
			return true
		}
	})
	v := w.tab(t)
	v.Do(chromedp.Navigate(p.url + "/console/page"))
	v.reads("h1", "You are signed in")
	v.Picture("page")
	v.accessible("the page")
}
