package console_test

import (
	"errors"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/leadrelay/leadrelay/internal/console"
	"github.com/leadrelay/leadrelay/internal/store"
)

func TestTheListSaysWhatCanBeDoneWithEachConnector(t *testing.T) {
	p := written()
	w := onPaper(t, p)
	w.store.SetConnectors([]store.Connector{{Name: "newsletter"}, {Name: "crm"}, {Name: "former"}})
	b := w.operator()
	page := b.page("/console/connectors")
	shows(t, page, "newsletter list , A mailing list", "crm crm , A CRM", "keyfile crm , A CRM not in use", "The file has it no more.", "Add a connector", "As config.yaml has them.")
	for _, link := range []string{`href="/console/connectors/newsletter"`, `href="/console/connectors/crm/remove"`, `action="/console/connectors/former/pause"`} {
		if !strings.Contains(page, link) {
			t.Errorf("there is no %s", link)
		}
	}
	if strings.Contains(page, `href="/console/connectors/former"`) {
		t.Error("what the file has no more can be edited")
	}
	if said, at := b.say("/console/connectors/crm/pause", "from", "connectors"); said != "crm is paused. Its leads are kept until it is resumed." || at != "/console/connectors" {
		t.Errorf("said %q at %s", said, at)
	}
	p.broken = "line 3 cannot be read"
	shows(t, b.page("/console/connectors"), "The file cannot be edited here: line 3 cannot be read", "crm")
	for _, path := range []string{"/console/connectors/crm", "/console/catalogue", "/console/connectors/crm/remove"} {
		if a := b.get(path); a.status != http.StatusConflict {
			t.Errorf("%s of a broken file: %d", path, a.status)
		}
	}
}

func TestWithoutAFileThereIsNothingToEdit(t *testing.T) {
	w := newWorld(t, func(_ *world, o *console.Options) { o.Settings = nil })
	b := w.operator()
	shows(t, b.page("/console/connectors"), "built-in configuration", "crm", "newsletter")
	for _, path := range []string{"/console/connectors/crm", "/console/catalogue", "/console/catalogue/list", "/console/history", "/console/history/x"} {
		if a := b.get(path); a.status != http.StatusNotFound || !strings.Contains(a.body, "There is no file to edit") {
			t.Errorf("%s: %d", path, a.status)
		}
	}
}

func TestTheFormHasWhatTheFileHasAndNoSecret(t *testing.T) {
	w := onPaper(t, written())
	b := w.operator()
	page := b.page("/console/connectors/newsletter")
	if strings.Contains(page, hushed) {
		t.Error("the page holds the secret")
	}
	form := formIn(t, page)
	want := url.Values{
		"when": {`source == "website"`}, "set.list_id": {"a1b2c3"}, "set.timeout": {"30s"}, "set.port": {"587"}, "set.double": {"true"},
		"set.to": {"sales@example.com\r\nboss@example.com"}, "set.headers": {"x-team: sales"}, "set.subject": {""}, "how.api_key": {"keep"}, "secret.api_key": {""},
		"set.concurrency": {"4"}, "set.retry.max": {"5m"}, "set.retry.initial": {""}, "was": {"rev0"},
		"to": {"FNAME", "NOTE", "SCORE", "ZIP"}, "source": {"from", "template", "value", "value"}, "text": {"first_name", "{{.source}}: {{.note}}", "7", "0123"},
	}
	for name, values := range want {
		if !slices.Equal(form[name], values) {
			t.Errorf("%s is %q, want %q", name, form[name], values)
		}
	}
	for _, part := range []string{`placeholder="15s"`, `placeholder="Hello"`, `inputmode="numeric"`, `type="password"`} {
		if !strings.Contains(page, part) {
			t.Errorf("there is no %s", part)
		}
	}
	shows(t, page, "api_key required set", "which list", "as usual: false", "settings.strange , unheard .")
	shows(t, b.page("/console/connectors/crm"), "from ${CRM_TOKEN}", "The usual ones of the kind:", "firstname from first_name", "fast")
	shows(t, b.page("/console/connectors/keyfile"), "from the file /run/secrets/crm")
	if a := b.get("/console/connectors/nobody"); a.status != http.StatusNotFound {
		t.Errorf("a connector that is not there: %d", a.status)
	}
}

func TestWhatIsNotTouchedStaysAsItIsWritten(t *testing.T) {
	for _, name := range []string{"newsletter", "crm", "keyfile"} {
		p := written()
		w := onPaper(t, p)
		before := p.entry(t, name)
		if a := w.operator().edit("/console/connectors/"+name, "save", nil); a.status != http.StatusSeeOther {
			t.Fatalf("%s: %d %s", name, a.status, words(a.body))
		}
		after := p.entry(t, name)
		if len(after.Other) == 0 {
			after.Other = nil
		}
		if !reflect.DeepEqual(after, before) {
			t.Errorf("was %#v\nis  %#v", before, after)
		}
	}
}

func TestWhatIsSavedIsWhatTheFormSays(t *testing.T) {
	p := written()
	w := onPaper(t, p)
	b := w.operator()
	a := b.edit("/console/connectors/newsletter", "save", func(form url.Values) {
		form.Set("when", "email contains \"@\"\r\n&& true")
		form.Set("set.list_id", "${LIST}")
		form.Set("set.port", "25")
		form.Set("set.timeout", "")
		form.Set("set.double", "")
		form.Set("set.to", "Sales <sales@example.com>\r\n\r\n42\r\n\"7\"")
		form.Set("set.headers", "x-team: support\r\nx-count: 3")
		form.Set("set.subject", `""`)
		form.Set("set.body", "Hello\r\n{{.name}}")
		form.Set("set.concurrency", "")
		form.Set("set.retry.initial", "2s")
		form.Set("how.api_key", "env")
		form.Set("secret.api_key", "LIST_KEY")
		form["to"] = []string{"NAME", "", "AGREED", "SCORE"}
		form["source"] = []string{"from", "from", "value", "value"}
		form["text"] = []string{"name", "", "true", `"7"`}
	})
	if a.status != http.StatusSeeOther || a.to() != "/console/connectors" {
		t.Fatalf("%d %s", a.status, words(a.body))
	}
	shows(t, b.page(a.to()), "newsletter is saved, and in use (configuration rev1).")
	want := console.Entry{Name: "newsletter", Kind: "list", When: "email contains \"@\"\n&& true", Settings: map[string]any{
		"api_key": "${LIST_KEY}", "list_id": "${LIST}", "port": 25, "to": []any{"Sales <sales@example.com>", 42, "7"},
		"headers": map[string]any{"x-team": "support", "x-count": 3}, "subject": "", "body": "Hello\n{{.name}}",
		"strange": map[string]any{"kept": []any{1, 2}},
	}, Fields: []console.FieldRule{{To: "NAME", From: "name"}, {To: "AGREED", Value: true}, {To: "SCORE", Value: "7"}},
		Other: map[string]any{"retry": map[string]any{"max": "5m", "initial": "2s"}, "unheard": true}}
	if got := p.entry(t, "newsletter"); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %#v\nwant %#v", got, want)
	}
	if acts := w.acts(); acts[0] != "olga changed the settings newsletter" {
		t.Errorf("the trail has %q", acts[0])
	}
}

func TestASecretIsReplacedAndNeverShown(t *testing.T) {
	for name, one := range map[string]struct {
		how, text string
		want      map[string]any
	}{
		"value":                 {"value", "n3w", map[string]any{"token": "n3w"}},
		"value, by typing":      {"keep", "n3w", map[string]any{"token": "n3w"}},
		"value with a variable": {"value", "a${B}", map[string]any{"token": "a$${B}"}},
		"variable":              {"env", "OTHER", map[string]any{"token": "${OTHER}"}},
		"variable as written":   {"env", "${OTHER}", map[string]any{"token": "${OTHER}"}},
		"file":                  {"file", "/run/other", map[string]any{"token_file": "/run/other"}},
		"none":                  {"none", "", map[string]any{}},
		"nothing was given":     {"value", "", map[string]any{"token": "${CRM_TOKEN}"}},
	} {
		p := written()
		w := onPaper(t, p)
		b := w.operator()
		path := "/console/connectors/crm"
		// First it is tried, and the form comes back with what was typed: sealed.
		a := b.edit(path, "try", func(form url.Values) {
			form.Set("how.token", one.how)
			form.Set("secret.token", one.text)
		})
		if a.status != http.StatusOK || strings.Contains(a.body, "n3w") || strings.Contains(a.body, "a${B}") {
			t.Errorf("%s: %d, or the page holds it: %s", name, a.status, a.body)
		}
		if a := b.press(path, "save", formIn(t, a.body)); a.status != http.StatusSeeOther {
			t.Fatalf("%s: %d %s", name, a.status, words(a.body))
		}
		if got := p.entry(t, "crm").Settings; !reflect.DeepEqual(got, one.want) {
			t.Errorf("%s: got %v, want %v", name, got, one.want)
		}
		if strings.Contains(w.logs.String(), "n3w") {
			t.Errorf("%s: the log has it", name)
		}
	}
}

func TestAWrongSettingIsSaidAtItsPlaceAndNothingIsSaved(t *testing.T) {
	p := written()
	w := onPaper(t, p)
	b := w.operator()
	before := p.entry(t, "newsletter")
	wrong := func(form url.Values) {
		form.Set("when", "source ==")
		form.Set("set.port", "many")
		form.Set("set.list_id", "")
		form.Set("how.api_key", "value")
		form.Set("secret.api_key", "typed-just-now")
		form["to"] = append([]string{""}, form["to"]...)
		form["source"] = append([]string{"template"}, form["source"]...)
		form["text"] = append([]string{"Hello"}, form["text"]...)
	}
	for _, do := range []string{"save", "plan", "test", "try"} {
		a := b.edit("/console/connectors/newsletter", do, wrong)
		if do == "save" && a.status != http.StatusUnprocessableEntity {
			t.Errorf("%s: %d", do, a.status)
		}
		shows(t, a.body, "column 9: unexpected end", "must be a whole number", "to: required")
		form := formIn(t, a.body)
		if form.Get("when") != "source ==" || form.Get("set.port") != "many" || form.Get("set.list_id") != "" || form["text"][0] != "Hello" || form.Get("how.api_key") != "typed" {
			t.Errorf("%s: what was typed is lost: %v", do, form)
		}
		if strings.Contains(a.body, "typed-just-now") {
			t.Errorf("%s: the page holds the secret", do)
		}
		if !strings.Contains(a.body, `aria-invalid="true"`) {
			t.Errorf("%s: no input is marked", do)
		}
	}
	if after := p.entry(t, "newsletter"); !reflect.DeepEqual(after, before) || p.revision != 0 {
		t.Errorf("the file has become %#v", after)
	}
}

func TestWhoSavesAfterSomebodyElseSeesBothChanges(t *testing.T) {
	p := written()
	w := onPaper(t, p)
	b, other := w.operator(), w.operator()
	mine := b.form("/console/connectors/newsletter")
	mine.Set("set.list_id", "mine")
	if a := other.edit("/console/connectors/newsletter", "save", func(form url.Values) { form.Set("set.list_id", "theirs") }); a.status != http.StatusSeeOther {
		t.Fatal(a.status)
	}
	for _, do := range []string{"save", "plan"} {
		a := b.press("/console/connectors/newsletter", do, mine)
		if do == "save" && a.status != http.StatusConflict {
			t.Errorf("%d", a.status)
		}
		shows(t, a.body, "Somebody else changed the file meanwhile", "- - name: newsletter at rev1")
		if got := p.entry(t, "newsletter").Settings["list_id"]; got != "theirs" {
			t.Errorf("the list is %v", got)
		}
		again := formIn(t, a.body)
		if again.Get("set.list_id") != "mine" {
			t.Error("what was typed is lost")
		}
		if do == "plan" {
			if a := b.press("/console/connectors/newsletter", "save", again); a.status != http.StatusSeeOther {
				t.Errorf("once more: %d", a.status)
			}
		}
	}
	if got := p.entry(t, "newsletter").Settings["list_id"]; got != "mine" {
		t.Errorf("the list is %v", got)
	}
}

func TestRowsAreAddedMovedAndRemovedWithoutAScript(t *testing.T) {
	w := onPaper(t, written())
	b := w.operator()
	path := "/console/connectors/newsletter"
	for _, one := range []struct {
		do   string
		want []string
	}{{"add", []string{"FNAME", "NOTE", "SCORE", "ZIP", ""}}, {"up:2", []string{"FNAME", "SCORE", "NOTE", "ZIP"}}, {"up:0", []string{"FNAME", "NOTE", "SCORE", "ZIP"}},
		{"remove:1", []string{"FNAME", "SCORE", "ZIP"}}, {"remove:9", []string{"FNAME", "NOTE", "SCORE", "ZIP"}}, {"remove:-1", []string{"FNAME", "NOTE", "SCORE", "ZIP"}}} {
		a := b.edit(path, one.do, func(form url.Values) { form.Set("set.list_id", "typed") })
		form := formIn(t, a.body)
		if !slices.Equal(form["to"], one.want) || form.Get("set.list_id") != "typed" {
			t.Errorf("%s: %v", one.do, form["to"])
		}
	}
	form := formIn(t, b.edit("/console/connectors/crm", "own", nil).body)
	if !slices.Equal(form["to"], []string{"email", "firstname"}) || !slices.Equal(form["text"], []string{"email", "first_name"}) {
		t.Errorf("the usual ones are %v", form)
	}
}

func TestADraftIsTriedOnALead(t *testing.T) {
	p := written()
	w := onPaper(t, p)
	b := w.operator()
	path := "/console/connectors/newsletter"
	shows(t, b.page(path), "There is no lead yet to try the settings on.")
	first := w.add("Jane Doe", "jane@example.com", "website", nil)
	w.work("newsletter", done)
	w.add("John Roe", "john@example.com", "website", nil)
	shows(t, b.page(path), "John Roe john@example.com taken", "FNAME John")
	for _, asked := range []string{"Jane@Example.com", first.ID} {
		a := b.edit(path, "try", func(form url.Values) {
			form.Set("lead", asked)
			form["to"], form["source"], form["text"] = []string{"WHO"}, []string{"from"}, []string{"name"}
		})
		shows(t, a.body, "Jane Doe jane@example.com", "WHO Jane Doe", "PUT /members/"+first.ID+"?ref=remote-"+first.ID[len(first.ID)-4:], `{"email":"jane@example.com"}`)
		if formIn(t, a.body).Get("lead") != asked {
			t.Error("which lead was asked for is forgotten")
		}
	}
	for asked, want := range map[string]string{"nobody@example.com": "There is no such lead.", "Jane": "Choose a lead by its whole e-mail address", "lead_0": "Choose a lead"} {
		shows(t, b.edit(path, "try", func(form url.Values) { form.Set("lead", asked) }).body, want)
	}
	// The part of the page that is shown as it is typed.
	a := b.edit(path, "try", func(form url.Values) {
		form.Set("part", "outcome")
		form.Set("when", "nobody == 1")
	})
	if strings.Contains(a.body, "<html") || !strings.Contains(a.body, "left out") || !strings.Contains(a.body, "John Roe") {
		t.Errorf("the outcome alone is %s", a.body)
	}
	if before := len(w.acts()); before != 1 {
		t.Errorf("trying is no act, but there are %d", before)
	}
}

func TestADraftIsTestedAndPlanned(t *testing.T) {
	p := written()
	w := onPaper(t, p)
	b := w.operator()
	path := "/console/connectors/newsletter"
	shows(t, b.edit(path, "test", nil).body, "signed in, what the settings name is there")
	a := b.edit(path, "test", func(form url.Values) { form.Set("secret.api_key", "wrong") })
	shows(t, a.body, "NOT READY (setup): 401 Unauthorized")
	if got := p.last().Settings["api_key"]; got != "wrong" {
		t.Errorf("tested with %v", got)
	}
	if acts := w.acts(); acts[0] != "olga tested the settings newsletter" {
		t.Errorf("the trail has %q", acts[0])
	}
	a = b.edit(path, "plan", func(form url.Values) { form.Set("set.list_id", "other") })
	shows(t, a.body, "Of the newest 20 000 of 1 000 000 leads:", "34 567", "leadrelay sync newsletter , in 40 calls, 4m at least", "3: when: does not fit the lead",
		"What saving changes in config.yaml", "+ - name: newsletter, edited", "api_key: ••••")
	if p.last().Settings["list_id"] != "other" || p.revision != 0 {
		t.Error("something else was planned, or saved")
	}
}

func TestAFileThatCannotBeWrittenShowsTheChangeToMakeByHand(t *testing.T) {
	p := written()
	p.readOnly = true
	w := onPaper(t, p)
	b := w.operator()
	shows(t, b.page("/console/connectors"), "leadrelay may not write config.yaml")
	a := b.edit("/console/connectors/newsletter", "save", func(form url.Values) { form.Set("set.list_id", "other") })
	shows(t, a.body, "A change to make by hand", "+ - name: newsletter, edited")
	shows(t, b.page("/console/connectors/crm/remove"), "A change to make by hand", "- - name: crm at rev0")
	if p.revision != 0 {
		t.Error("it was saved")
	}
}

func TestAFileThatCouldNotBeSavedSaysWhy(t *testing.T) {
	p := written()
	p.trouble = errors.New("config.yaml: no space left on device")
	w := onPaper(t, p)
	a := w.operator().edit("/console/connectors/newsletter", "save", nil)
	if a.status != http.StatusConflict {
		t.Errorf("%d", a.status)
	}
	shows(t, a.body, "The file cannot be edited here", "no space left on device")
	if acts := w.acts(); acts[0] != "olga changed the settings newsletter failed" {
		t.Errorf("the trail has %q", acts[0])
	}
}

func TestAConnectorIsAddedFromTheCatalogue(t *testing.T) {
	p := written()
	w := onPaper(t, p)
	b := w.operator()
	shows(t, b.page("/console/catalogue"), "A CRM", "A mailing list", "A webhook")
	found := b.page("/console/catalogue?q=MAIL")
	if shows(t, found, "A mailing list"); strings.Contains(found, "A CRM") {
		t.Error("what was not searched for is found")
	}
	shows(t, b.page("/console/catalogue?q=zzz"), "No kind is called like that.")
	if a := b.get("/console/catalogue/nothing"); a.status != http.StatusNotFound {
		t.Errorf("a kind that is not there: %d", a.status)
	}
	path := "/console/catalogue/hook"
	shows(t, b.page(path), "A webhook", "told of each change", "Required.")
	fill := func(name string) func(url.Values) {
		return func(form url.Values) {
			form.Set("name", name)
			form.Set("set.url", "https://example.com/leads")
		}
	}
	a := b.edit(path, "save", fill("crm"))
	if a.status != http.StatusUnprocessableEntity {
		t.Errorf("a name that is taken: %d", a.status)
	}
	shows(t, a.body, "there is a connector of this name already")
	a = b.edit(path, "save", fill("my hook"))
	if shows(t, a.body, "must be of a-z and 0-9"); a.status != http.StatusUnprocessableEntity {
		t.Errorf("a name that is none: %d", a.status)
	}
	a = b.edit(path, "save", fill("hook-2"))
	if a.status != http.StatusSeeOther {
		t.Fatalf("%d %s", a.status, words(a.body))
	}
	shows(t, b.page(a.to()), "hook-2 is added, and in use (configuration rev1).", "hook-2 hook , A webhook")
	want := console.Entry{Name: "hook-2", Kind: "hook", Settings: map[string]any{"url": "https://example.com/leads"}, Other: map[string]any{}}
	if got := p.entry(t, "hook-2"); !reflect.DeepEqual(got, want) {
		t.Errorf("got %#v", got)
	}
	if acts := w.acts(); acts[0] != "olga added the connector hook-2" {
		t.Errorf("the trail has %q", acts[0])
	}
}

func TestAConnectorIsRemovedAndComesBack(t *testing.T) {
	p := written()
	w := onPaper(t, p)
	b := w.operator()
	shows(t, b.page("/console/history"), "Nothing was saved here yet")
	w.add("Jane Doe", "jane@example.com", "website", nil)
	shows(t, b.page("/console/connectors/crm/remove"), "Remove crm?", "keeps what it has", "1 lead on the way to it, and 0 leads that failed", "leadrelay drop crm")
	if said, at := b.say("/console/connectors/crm/remove"); said != "crm is removed, and in use (configuration rev1)." || at != "/console/connectors" {
		t.Errorf("said %q at %s", said, at)
	}
	if a := b.get("/console/connectors/crm"); a.status != http.StatusNotFound {
		t.Errorf("it is still there: %d", a.status)
	}
	shows(t, b.page("/console/history"), "2 Jan 2026, 03:04:05 UTC", "olga", "rev0")
	shows(t, b.page("/console/history/v0"), "What going back changes", "+ - name: as v0", "Replaced by olga.")
	if p.revision != 1 {
		t.Error("looking at it has gone back")
	}
	p.refusal = "connectors[1]: the disk is full"
	said, _ := b.say("/console/history/v0")
	if !strings.Contains(said, "is back in the file, which is not in use: connectors[1]: the disk is full") {
		t.Errorf("said %q", said)
	}
	p.entry(t, "crm")
	acts := w.acts()
	if acts[0] != "olga went back to a version of the configuration rev0" || acts[1] != "olga removed the connector crm" {
		t.Errorf("the trail has %q", acts[:2])
	}
	for _, id := range []string{"v9", "..", "%2e%2e%2fconfig.yaml"} {
		if a := b.get("/console/history/" + id); a.status == http.StatusOK {
			t.Errorf("there is a version %s", id)
		}
	}
}
