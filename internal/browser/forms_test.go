package browser

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"

	"github.com/leadrelay/leadrelay/ingest"
	"github.com/leadrelay/leadrelay/internal/chromium"
	"github.com/leadrelay/leadrelay/internal/redistest"
	"github.com/leadrelay/leadrelay/internal/store"
)

var (
	send   = chromedp.Click(chromedp.CSS("#send"))
	status = "[role=status]"
)

// said waits until the visitor is told a state of the form.
func (v *tab) said(state string) string {
	v.T.Helper()
	v.Until("document.querySelector('[role=status][data-state=" + state + "]')")
	return v.text(status)
}

func withRedirects(w *world, f *ingest.Form) {
	f.Success, f.Error = w.site+"/thanks", w.site+"/contact"
	w.publish("/thanks", webpage{html: "<!doctype html><title>Thanks</title><h1>Thank you!</h1>"})
}

func TestWithoutTheScriptAFormBringsItsLeadAndThePageOfThanks(t *testing.T) {
	w := newWorld(t, withRedirects)
	w.contact(false, "", `<p><label>Budget <input name="budget" value="5000"></label></p>`)
	v := visitor(t)
	v.open(w.site + "/contact")
	v.fill("your-name", "Jane Doe", "your-email", "jane@example.com", "note", "Hello,\nworld")
	v.Picture("filled")
	v.arrive(send)
	if got := chromium.Eval[string](v.Tab, "location.href"); got != w.site+"/thanks" {
		t.Errorf("arrived at %s", got)
	}
	l := w.one()
	if l.Name != "Jane Doe" || l.Email != "jane@example.com" || strings.ReplaceAll(l.Note, "\r\n", "\n") != "Hello,\nworld" || l.Source != "website" || l.Custom["budget"] != "5000" {
		t.Errorf("got %+v", l)
	}
}

func TestWithoutTheScriptAnErrorGoesToItsPage(t *testing.T) {
	w := newWorld(t, withRedirects)
	w.contact(false, "", "")
	v := visitor(t)
	v.open(w.site + "/contact")
	v.fill("your-name", "Jane Doe", "your-email", "jane@localhost") // well-formed to the browser
	v.arrive(send)
	got, err := url.Parse(chromium.Eval[string](v.Tab, "location.href"))
	if err != nil || got.Path != "/contact" || got.Query().Get("error") != "validation_failed" || got.Query().Get("fields") != "your-email" {
		t.Errorf("arrived at %v", got)
	}
	w.none()
}

func TestWithoutRedirectsAFormHasPagesOfOurs(t *testing.T) {
	w := newWorld(t, nil)
	w.contact(false, "", "")
	v := visitor(t)
	v.open(w.site + "/contact")
	v.fill("your-name", "Jane Doe", "your-email", "jane@localhost")
	if response := v.arrive(send); response.Status != http.StatusUnprocessableEntity {
		t.Errorf("got %d", response.Status)
	}
	v.Picture("error")
	if v.text("h1") == "" || chromium.Eval[string](v.Tab, "document.documentElement.lang") != "en" {
		t.Error("the page of the error has no heading or language")
	}
	w.none()
	v.open(w.site + "/contact")
	v.fill("your-name", "Jane Doe", "your-email", "jane@example.com")
	if response := v.arrive(send); response.Status != http.StatusOK {
		t.Errorf("got %d", response.Status)
	}
	if v.text("h1") == "" {
		t.Error("the page of thanks has no heading")
	}
	w.one()
}

func TestWithTheScriptAVisitorStaysAndTheLeadKnowsWhereTheVisitBegan(t *testing.T) {
	w := newWorld(t, nil)
	search := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Content-Type", "text/html")
		rw.Write([]byte(`<!doctype html><a id="ad" href="` + w.site + `/landing?utm_source=news&amp;utm_campaign=spring&amp;gclid=g-1&amp;other=x">An ad</a>`))
	}))
	defer search.Close()
	w.publish("/landing", webpage{html: `<!doctype html><script src="` + w.front + `/f/contact/embed.js" async></script><a id="next" href="/contact?step=2">Contact</a>`})
	w.contact(true, "", "")
	v := visitor(t)
	v.open(search.URL)
	v.arrive(chromedp.Click(chromedp.CSS("#ad")))
	v.arrive(chromedp.Click(chromedp.CSS("#next")))
	if w.tokensAsked() != 0 {
		t.Error("a token was fetched before anybody touched the form")
	}
	v.fill("your-name", "Jane Doe", "your-email", "jane@example.com")
	v.Do(send)
	if got := v.said("success"); got != "Thank you! Your message has been sent." {
		t.Errorf("said %q", got)
	}
	if got := chromium.Eval[string](v.Tab, "location.href"); got != w.site+"/contact?step=2" {
		t.Errorf("the visitor is at %s", got)
	}
	if got := chromium.Eval[string](v.Tab, "document.querySelector('#email').value"); got != "" {
		t.Errorf("the form still has %q", got)
	}
	l := w.one()
	for name, want := range map[string]any{
		"utm_source": "news", "utm_campaign": "spring", "gclid": "g-1", "other": nil, "step": nil, "_token": nil,
		"referrer": search.URL + "/", "landing_page": w.site + "/landing",
	} {
		if got := l.Custom[name]; got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
	if n := w.tokensAsked(); n != 1 {
		t.Errorf("%d tokens were fetched", n)
	}
	if got := v.Complaints(); len(got) != 0 {
		t.Errorf("the console says %q", got)
	}
}

func TestAFieldOfTheFormGoesBeforeWhatTheScriptKnows(t *testing.T) {
	w := newWorld(t, nil)
	w.contact(true, "", `<input type="hidden" name="utm_source"><input type="hidden" name="utm_medium" value="fixed">
<p><label>How did you find us? <input name="referrer"></label></p>`)
	v := visitor(t)
	v.open(w.site + "/contact?utm_source=news&utm_medium=mail")
	v.fill("your-name", "Jane Doe", "your-email", "jane@example.com")
	v.Do(send)
	v.said("success")
	l := w.one()
	for name, want := range map[string]any{"utm_source": "news", "utm_medium": "fixed", "referrer": nil} {
		if got := l.Custom[name]; got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
}

func TestErrorsStandAtTheirFieldsUntilTheseChange(t *testing.T) {
	w := newWorld(t, func(_ *world, f *ingest.Form) { f.Required = []string{"name", "phone"} })
	w.contact(true, "", `<fieldset><legend>Phone</legend><label><input type="radio" name="phone" value="home"> Home</label>
<label><input type="radio" name="phone" value="work"> Work</label></fieldset>`)
	v := visitor(t)
	v.open(w.site + "/contact")
	v.fill("your-name", "Jane Doe", "your-email", "jane@localhost")
	v.Do(send)
	if got := v.said("error"); got != "Please check the marked fields." {
		t.Errorf("said %q", got)
	}
	v.Picture("errors")
	described := `((id) => document.querySelector(id).getAttribute("aria-describedby").split(" ").map((i) => document.getElementById(i).textContent).join("|"))`
	if got := chromium.Eval[string](v.Tab, described+`("#email")`); !strings.HasPrefix(got, "We answer there.|is not") || !strings.Contains(got, "e-mail") {
		t.Errorf("the e-mail field is described by %q", got)
	}
	if got := chromium.Eval[int](v.Tab, `document.querySelectorAll("[name=phone][aria-invalid=true][aria-describedby]").length`); got != 2 {
		t.Errorf("%d of the radio buttons are marked", got)
	}
	if got := chromium.Eval[string](v.Tab, `document.activeElement.id`); got != "email" {
		t.Errorf("the focus is on %q, want the first field in error", got)
	}
	if got := chromium.Eval[string](v.Tab, `document.querySelector("#name").outerHTML`); strings.Contains(got, "aria-") {
		t.Errorf("the field without an error is %s", got)
	}
	w.none()

	v.refill("your-email", "jane@example.com")
	if got := chromium.Eval[string](v.Tab, `document.querySelector("#email").outerHTML`); strings.Contains(got, "aria-invalid") || !strings.Contains(got, `aria-describedby="hint"`) {
		t.Errorf("after it was changed the field is %s", got)
	}
	v.Do(chromedp.Click(chromedp.CSS("[value=work]")))
	if got := chromium.Eval[int](v.Tab, `document.querySelectorAll("[aria-invalid], [data-leadrelay-error]").length`); got != 0 {
		t.Errorf("%d marks are left", got)
	}
	v.Do(send)
	v.said("success")
	if l := w.one(); l.Email != "jane@example.com" || l.Custom["phone"] != "work" {
		t.Errorf("got %+v", l)
	}
	if seen := w.seen(); len(seen) != 2 || seen[0].key == seen[1].key || len(seen[0].key) != 32 {
		t.Errorf("posts %+v, want a key for each content", seen)
	}
}

func TestWithJavaScriptOffTheFormStillWorks(t *testing.T) {
	w := newWorld(t, withRedirects)
	w.contact(true, "", "")
	v := visitor(t)
	v.scripts(false)
	v.open(w.site + "/contact")
	v.fill("your-name", "Jane Doe", "your-email", "jane@example.com")
	v.arrive(send)
	if got := chromium.Eval[string](v.Tab, "location.href"); got != w.site+"/thanks" {
		t.Errorf("arrived at %s", got)
	}
	if l := w.one(); l.Email != "jane@example.com" || l.Custom["landing_page"] != nil {
		t.Errorf("got %+v", l)
	}
}

func TestWhenTheScriptDoesNotLoadTheFormStillWorks(t *testing.T) {
	w := newWorld(t, withRedirects)
	w.publish("/contact", webpage{html: strings.Replace(w.contactHTML(true, "", ""), "/embed.js", "/away.js", 1)})
	v := visitor(t)
	v.open(w.site + "/contact")
	v.fill("your-name", "Jane Doe", "your-email", "jane@example.com")
	v.arrive(send)
	if got := chromium.Eval[string](v.Tab, "location.href"); got != w.site+"/thanks" {
		t.Errorf("arrived at %s", got)
	}
	w.one()
}

func TestOfflineAndBackIsOneLead(t *testing.T) {
	// The visitor is offline from the first touch, so that the token comes only when all is filled in.
	w := newWorld(t, func(_ *world, f *ingest.Form) { f.MinFill, f.RequireToken = 3*time.Second, true })
	w.contact(true, "", "")
	v := visitor(t)
	v.open(w.site + "/contact")
	v.offline(true)
	v.fill("your-name", "Jane Doe", "your-email", "jane@example.com")
	v.Do(send)
	if got := v.said("waiting"); !strings.Contains(got, "no connection") {
		t.Errorf("said %q", got)
	}
	v.Picture("offline")
	leaves := "dispatchEvent(new Event('beforeunload', {cancelable: true}))"
	if chromium.Eval[bool](v.Tab, leaves) {
		t.Error("the page may be left without a question")
	}
	if got := chromium.Eval[string](v.Tab, "document.querySelector('#email').value"); got != "jane@example.com" {
		t.Errorf("the form has %q", got)
	}
	// The visitor goes on, and is connected again in the middle of a sentence: the clock stands still, so that it is one.
	chromium.Eval[any](v.Tab, "window.now = Date.now; { const at = Date.now(); Date.now = () => at; } null")
	v.fill("note", "and one ")
	v.offline(false)
	v.Until("navigator.onLine")
	v.fill("note", "thing more")
	w.none()
	chromium.Eval[any](v.Tab, "Date.now = window.now; null")
	v.said("success")
	if !chromium.Eval[bool](v.Tab, leaves) {
		t.Error("the page asks whether it may be left when all is sent")
	}
	if l := w.one(); l.Note != "and one thing more" {
		t.Errorf("got %+v", l)
	}
	if seen := w.seen(); len(seen) != 1 {
		t.Errorf("posts %+v, want one", seen)
	}
}

func TestAnAnswerThatIsLostMakesNoSecondLead(t *testing.T) {
	w := newWorld(t, nil)
	w.contact(true, "", "")
	w.answerFirst(2, func(_ http.ResponseWriter, r *http.Request, front http.Handler) { // one repeat may be the browser's own
		front.ServeHTTP(httptest.NewRecorder(), r)
		panic(http.ErrAbortHandler)
	})
	v := visitor(t)
	v.open(w.site + "/contact")
	v.fill("your-name", "Jane Doe", "your-email", "jane@example.com")
	v.Do(send)
	v.said("waiting")
	v.said("success")
	w.one()
	if seen := w.seen(); len(seen) != 3 || seen[0].key == "" || seen[0] != seen[1] || seen[0] != seen[2] {
		t.Errorf("posts %+v, want three of one key", seen)
	}
}

func TestAServerThatHasNoTimeIsAskedAgain(t *testing.T) {
	w := newWorld(t, func(_ *world, f *ingest.Form) { f.Posts, f.Per = 1, 2*time.Second })
	w.contact(true, `data-text-success="Well done."`, "")
	v := visitor(t)
	v.open(w.site + "/contact")
	v.fill("your-name", "Jane Doe", "your-email", "jane@example.com")
	v.Do(send)
	if got := v.said("success"); got != "Well done." {
		t.Errorf("said %q, want the text of the form", got)
	}
	v.fill("your-name", "John Doe", "your-email", "john@example.com")
	v.Do(send)
	if got := v.said("waiting"); !strings.Contains(got, "Trying again") {
		t.Errorf("said %q", got)
	}
	v.said("success")
	if found := w.leads(); len(found) != 2 {
		t.Errorf("leads %+v, want two", found)
	}
}

func TestWhoLeavesThePageHasSentTheForm(t *testing.T) {
	w := newWorld(t, nil)
	w.contact(true, "", "")
	asked, release := make(chan struct{}), make(chan struct{})
	first := sync.OnceFunc(func() { close(asked) })
	w.instead = func(_ http.ResponseWriter, r *http.Request, _ http.Handler) bool {
		if r.Method == http.MethodOptions { // before the form itself is on its way
			first()
			<-release
		}
		return false
	}
	v := visitor(t)
	v.open(w.site + "/contact")
	v.fill("your-name", "Jane Doe", "your-email", "jane@example.com")
	v.Do(send)
	v.wait(asked)
	// What else the page asks for ends with it.
	began, ended := make(chan struct{}), make(chan struct{})
	other := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(began)
		<-r.Context().Done()
		close(ended)
	}))
	defer other.Close()
	chromium.Eval[any](v.Tab, "fetch("+chromium.Quote(other.URL)+", {mode: 'no-cors'}); null")
	v.wait(began)
	chromium.Call(v.Tab, page.Close, cdp.Empty{})
	v.wait(ended)
	close(release)
	if !redistest.Within(patience/2, func() bool { return len(w.leads()) == 1 }) {
		t.Error("there is no lead")
	}
}

func TestADoubleClickIsOneLead(t *testing.T) {
	twice := chromedp.DoubleClick(chromedp.CSS("#send"))
	t.Run("with the script", func(t *testing.T) {
		w := newWorld(t, nil)
		w.contact(true, "", "")
		v := visitor(t)
		v.open(w.site + "/contact")
		v.fill("your-name", "Jane Doe", "your-email", "jane@example.com")
		v.Do(twice)
		v.said("success")
		w.one()
		v.fill("your-name", "Jane Doe", "your-email", "jane@example.com")
		chromium.Eval[any](v.Tab, "document.querySelector('form').requestSubmit(); document.querySelector('form').requestSubmit(); null")
		v.Until("document.querySelector('#email').value == ''")
		if found := w.leads(); len(found) != 2 {
			t.Errorf("leads %+v, want two: the visitor wrote twice", found)
		}
		if seen := w.seen(); len(seen) != 2 || seen[0].key == seen[1].key {
			t.Errorf("posts %+v, want two of two keys", seen)
		}
	})
	t.Run("without", func(t *testing.T) {
		w := newWorld(t, withRedirects)
		w.contact(false, "", "")
		v := visitor(t)
		v.open(w.site + "/contact")
		v.fill("your-name", "Jane Doe", "your-email", "jane@example.com")
		v.Do(twice)
		v.Until("location.pathname == '/thanks'")
		w.one()
	})
}

func TestAPageOfAnotherOriginIsRefused(t *testing.T) {
	elsewhere := func(_ *world, f *ingest.Form) { f.Origins = []string{"https://www.example.com"} }
	t.Run("with the script", func(t *testing.T) {
		w := newWorld(t, elsewhere)
		w.contact(true, "", "")
		v := visitor(t)
		v.open(w.site + "/contact")
		v.fill("your-name", "Jane Doe", "your-email", "jane@example.com")
		v.Do(send)
		if got := v.said("error"); got != "That could not be sent. Please try again later." {
			t.Errorf("said %q", got)
		}
		if got := chromium.Eval[string](v.Tab, "document.querySelector('#email').value"); got != "jane@example.com" {
			t.Errorf("the form has %q, want what was entered", got)
		}
		w.none()
	})
	t.Run("without", func(t *testing.T) {
		w := newWorld(t, elsewhere)
		w.contact(false, "", "")
		v := visitor(t)
		v.open(w.site + "/contact")
		v.fill("your-name", "Jane Doe", "your-email", "jane@example.com")
		if response := v.arrive(send); response.Status != http.StatusForbidden {
			t.Errorf("got %d", response.Status)
		}
		w.none()
	})
}

func TestWhoFillsInTheHoneypotIsThankedAndKeptAside(t *testing.T) {
	w := newWorld(t, nil)
	w.contact(true, "", "")
	v := visitor(t)
	v.open(w.site + "/contact")
	v.fill("your-name", "Jane Doe", "your-email", "jane@example.com")
	chromium.Eval[any](v.Tab, "document.querySelector('[name=company_url]').value = 'https://spam.example'; null")
	v.Do(send)
	v.said("success")
	w.none()
	kept, _, err := w.store.Submissions(context.Background(), store.SubmissionQuery{Limit: 10})
	if err != nil {
		t.Fatal(err)
	}
	if len(kept) != 1 || kept[0].State != store.Spam || kept[0].Origin != "form/contact" || kept[0].Reason == "" {
		t.Errorf("kept %+v", kept)
	}
}

// strict is a policy that allows nothing but what the script needs.
func (w *world) strict() string {
	return "default-src 'none'; script-src " + w.front + "; connect-src " + w.front + "; style-src 'self'; form-action " + w.front +
		"; require-trusted-types-for 'script'"
}

func TestAStrictContentSecurityPolicyIsKept(t *testing.T) {
	w := newWorld(t, func(_ *world, f *ingest.Form) { f.Required = []string{"phone"} })
	w.publish("/contact", webpage{html: w.contactHTML(true, "", `<p><label>Phone <input name="phone"></label></p>`), policy: w.strict()})
	v := visitor(t)
	v.open(w.site + "/contact")
	v.fill("your-name", "Jane Doe", "your-email", "jane@example.com")
	v.Do(send)
	v.said("error")
	v.fill("phone", "123")
	v.Do(send)
	v.said("success")
	w.one()
	got := slices.DeleteFunc(v.Complaints(), func(text string) bool { return strings.Contains(text, "422") })
	if len(got) != 0 {
		t.Errorf("the console says %q", got)
	}
}

func TestAFormOfAnyShapeIsSent(t *testing.T) {
	w := newWorld(t, nil)
	// Twice the script, no action, fields called as what scripts use, a form that comes late, a button with a value.
	w.publish("/contact", webpage{html: `<!doctype html><html lang="de"><title>Kontakt</title>
<script src="` + w.front + `/f/contact/embed.js" async></script>
<script src="` + w.front + `/f/contact/embed.js?again"></script>
<div id="late"></div>
<p data-leadrelay-message="contact"></p>`})
	v := visitor(t)
	v.open(w.site + "/contact")
	chromium.Eval[any](v.Tab, `document.querySelector("#late").innerHTML = '<form data-leadrelay method="post">' +
		'<input name="your-email" type="email" required><input name="submit"><input name="reset"><input name="action"><input name="form">' +
		'<select name="topics" multiple><option selected>a<option selected>b</select>' +
		'<input type="file" name="cv"><button id="send" name="way" value="fast">Senden</button></form>'; null`)
	v.fill("your-email", "jane@example.com", "action", "call")
	v.Do(send)
	if got := v.said("success"); got != "Vielen Dank! Ihre Nachricht ist angekommen." {
		t.Errorf("said %q", got)
	}
	l := w.one()
	topics, _ := l.Custom["topics"].([]any)
	if l.Custom["action"] != "call" || l.Custom["way"] != "fast" || !slices.Equal(topics, []any{"a", "b"}) {
		t.Errorf("got %+v", l)
	}
	if seen := w.seen(); len(seen) != 1 {
		t.Errorf("posts %+v, want one", seen)
	}
	if got := chromium.Eval[int](v.Tab, `document.querySelectorAll("[role=status]").length`); got != 1 {
		t.Errorf("%d places for messages", got)
	}
}

func TestFilesAreRefusedBeforeTheyAreSent(t *testing.T) {
	w := newWorld(t, nil)
	w.contact(true, `enctype="multipart/form-data"`, `<p><label>CV <input type="file" name="cv" id="cv"></label></p>`)
	v := visitor(t)
	v.open(w.site + "/contact")
	v.fill("your-name", "Jane Doe", "your-email", "jane@example.com")
	v.Do(chromedp.SetUploadFiles(chromedp.CSS("#cv"), []string{"doc.go"}), send)
	v.said("error")
	if got := v.text("[data-leadrelay-error]"); got != "Files cannot be sent with this form." {
		t.Errorf("said %q", got)
	}
	w.none()
	if len(w.seen()) != 0 {
		t.Error("it was posted")
	}
}

func TestAPageMayShowTheOutcomeItself(t *testing.T) {
	w := newWorld(t, nil)
	w.publish("/contact", webpage{html: w.contactHTML(true, "", "") + `<output></output><script>
addEventListener('leadrelay:error', (e) => { e.preventDefault(); document.querySelector('output').textContent = e.detail.status + e.detail.problems[0].field; });
addEventListener('leadrelay:success', (e) => { e.preventDefault(); document.querySelector('output').textContent = 'done'; });
</script>`})
	v := visitor(t)
	v.open(w.site + "/contact")
	v.fill("your-name", "Jane Doe", "your-email", "jane@localhost")
	v.Do(send)
	v.Until(`document.querySelector("output").textContent == "422your-email"`)
	if got := chromium.Eval[int](v.Tab, `document.querySelectorAll("[aria-invalid]").length`); got != 0 {
		t.Errorf("%d fields are marked", got)
	}
	v.refill("your-email", "jane@example.com")
	v.Do(send)
	v.Until(`document.querySelector("output").textContent == "done"`)
	if got := chromium.Eval[string](v.Tab, "document.querySelector('#email').value"); got == "" {
		t.Error("the form was reset")
	}
	w.one()
}

func TestAfterSuccessTheScriptGoesWhereTheFormSays(t *testing.T) {
	w := newWorld(t, nil)
	w.publish("/done", webpage{html: "<!doctype html><h1>Done</h1>"})
	w.contact(true, `data-redirect="/done"`, "")
	v := visitor(t)
	v.open(w.site + "/contact")
	v.fill("your-name", "Jane Doe", "your-email", "jane@example.com")
	v.arrive(send)
	if got := chromium.Eval[string](v.Tab, "location.href"); got != w.site+"/done" {
		t.Errorf("arrived at %s", got)
	}
	w.one()
}
