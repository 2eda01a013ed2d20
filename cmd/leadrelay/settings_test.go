package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"golang.org/x/net/html"

	"github.com/leadrelay/leadrelay/connectors/all"
	"github.com/leadrelay/leadrelay/internal/config"
	"github.com/leadrelay/leadrelay/internal/console"
	"github.com/leadrelay/leadrelay/internal/redistest"
)

// operator is signed in to the console of a running leadrelay.
type operator struct {
	r      *running
	client *http.Client
}

const operatorPassword = "correct horse battery"

// signIn adds an operator to the configuration, and is theirs.
func (r *running) signIn() *operator {
	r.t.Helper()
	hash, err := console.HashPassword(operatorPassword)
	if err != nil {
		r.t.Fatal(err)
	}
	r.reconfigure(r.read() + fmt.Sprintf("operators: [{name: anna, password_hash: '%s'}]\n", hash))
	return r.login()
}

// login is an operator who is configured.
func (r *running) login() *operator {
	r.t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		r.t.Fatal(err)
	}
	o := &operator{r, &http.Client{Jar: jar}}
	_, login := o.page("/console/login")
	token := regexp.MustCompile(`name="token" value="([^"]+)"`).FindStringSubmatch(login)
	if token == nil {
		r.t.Fatalf("there is no login: %s", login)
	}
	o.send("/console/login", url.Values{"token": {token[1]}, "name": {"anna"}, "password": {operatorPassword}})
	return o
}

func (o *operator) answer(resp *http.Response, err error) (status int, text string) {
	o.r.t.Helper()
	if err != nil {
		o.r.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		o.r.t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

func (o *operator) page(path string) (status int, text string) {
	o.r.t.Helper()
	return o.answer(o.client.Get(o.r.url + path))
}

// send posts a form and answers the page that follows.
func (o *operator) send(path string, form url.Values) (status int, text string) {
	o.r.t.Helper()
	return o.answer(o.client.PostForm(o.r.url+path, form))
}

// form is what a page's forms have, without their buttons.
func (o *operator) form(path string) url.Values {
	o.r.t.Helper()
	_, page := o.page(path)
	root, err := html.Parse(strings.NewReader(page))
	if err != nil {
		o.r.t.Fatal(err)
	}
	form := url.Values{}
	for n := range root.Descendants() {
		a := map[string]string{}
		for _, attribute := range n.Attr {
			a[attribute.Key] = attribute.Val
		}
		switch {
		case n.Data == "input" && a["name"] == "token":
			form.Set("token", a["value"])
		case n.Data == "input":
			form.Add(a["name"], a["value"])
		case n.Data == "textarea" && n.FirstChild != nil:
			form.Add(a["name"], n.FirstChild.Data)
		case n.Data == "textarea":
			form.Add(a["name"], "")
		case n.Data == "option":
			name := ""
			for _, attribute := range n.Parent.Attr {
				if attribute.Key == "name" {
					name = attribute.Val
				}
			}
			value := n.FirstChild.Data
			if given, is := a["value"]; is {
				value = given
			}
			_, selected := a["selected"]
			if n.Parent.FirstChild == n || n.PrevSibling.Type == html.TextNode && n.PrevSibling.PrevSibling == nil {
				form.Add(name, value) // until another is found to be selected
			} else if selected {
				form[name][len(form[name])-1] = value
			}
		}
	}
	return form
}

// press fills in a page's form and presses a button.
func (o *operator) press(path, do string, change map[string][]string) (status int, text string) {
	o.r.t.Helper()
	form := o.form(path)
	maps.Copy(form, change)
	form.Set("do", do)
	status, text = o.send(path, form)
	return status, html.UnescapeString(text)
}

func expect(t *testing.T, text string, wanted ...string) {
	t.Helper()
	for _, want := range wanted {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in %s", want, text)
		}
	}
}

const hookSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

// TestAConnectorIsEditedInTheBrowser: by its saved settings, and no others, the next lead goes out; what was wrong never
// counts; and one press takes it back.
func TestAConnectorIsEditedInTheBrowser(t *testing.T) {
	var mu sync.Mutex
	var events []string
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		defer mu.Unlock()
		events = append(events, string(body))
	}))
	defer receiver.Close()
	received := func(words string) func() bool {
		return func() bool {
			mu.Lock()
			defer mu.Unlock()
			return strings.Contains(strings.Join(events, "\n"), words)
		}
	}
	r := startUp(t, t.TempDir(), "", fmt.Sprintf(`  # What our shop is told.
  - name: hook
    type: webhook   # ours
    settings:
      url: %q
      secret: %s
      allow_private: true
`, receiver.URL, hookSecret))
	o := r.signIn()
	before := r.read()
	r.post(`{"email":"jane@example.com","name":"Jane Doe","source":"website"}`)
	wait(t, "the whole lead", received(`"email":"jane@example.com"`))

	// What it would do, and what saving would change, and no secret.
	changed := map[string][]string{
		"when": {`source == "website"`}, "to": {"who", "greeting"}, "source": {"from", "template"}, "text": {"name", "Hello {{.first_name}}"}, "set.timeout": {"20s"},
	}
	_, page := o.press("/console/connectors/hook", "plan", changed)
	expect(t, page, "Jane Doe", "Hello Jane", "taken", "+      timeout: 20s", "+    when: ", "It is told of what happens from now on")
	if strings.Contains(page, hookSecret) || strings.Contains(page, hookSecret[6:]) {
		t.Error("the page holds the secret")
	}
	_, page = o.press("/console/connectors/hook", "test", changed)
	expect(t, page, "ready: signed in, what the settings and fields name is there")

	// What is wrong is said at its place, and changes nothing.
	status, page := o.press("/console/connectors/hook", "save", map[string][]string{
		"when": {"source =="}, "to": {"who"}, "source": {"template"}, "text": {"{{.name"}, "set.timeout": {"soon"}, "set.retry.max": {"1ns"},
	})
	if status != http.StatusUnprocessableEntity {
		t.Errorf("wrong settings: %d", status)
	}
	expect(t, page, `must be a duration such as "30s"`, "template: ", "must not be below retry.initial", "{{.name", "soon")
	if r.read() != before {
		t.Error("wrong settings were saved")
	}

	status, page = o.press("/console/connectors/hook", "save", changed)
	if status != http.StatusOK {
		t.Fatalf("%d %s", status, page)
	}
	expect(t, page, "hook is saved, and in use")
	after := r.read()
	expect(t, after, "# What our shop is told.", "type: webhook   # ours", "secret: "+hookSecret)
	r.post(`{"email":"ada@example.com","name":"Ada Lovelace","source":"website"}`)
	r.post(`{"email":"bob@example.com","name":"Bob Stone","source":"fair"}`)
	r.post(`{"email":"eve@example.com","name":"Eve Moor","source":"website"}`)
	wait(t, "the mapped leads", received(`"greeting":"Hello Eve"`))
	mu.Lock()
	all := strings.Join(events, "\n")
	mu.Unlock()
	expect(t, all, `"who":"Ada Lovelace"`)
	if strings.Contains(all, "ada@example.com") || strings.Contains(all, "Bob") {
		t.Errorf("by the former settings went out %s", all)
	}

	// Added, in use, and removed.
	second := filepath.Join(r.dir, "second.csv")
	status, page = o.press("/console/catalogue/csv", "save", map[string][]string{"name": {"second"}, "set.path": {second}, "to": {"mail"}, "source": {"from"}, "text": {"email"}})
	if status != http.StatusOK {
		t.Fatalf("%d %s", status, page)
	}
	expect(t, page, "second is added, and in use")
	r.post(`{"email":"kim@example.com","source":"website"}`)
	wait(t, "a row in the new sheet", func() bool {
		text, _ := os.ReadFile(second)
		return strings.Contains(string(text), "mail") && strings.Contains(string(text), "kim@example.com")
	})
	_, page = o.press("/console/connectors/second", "plan", nil)
	expect(t, page, "To be given, as it lacks them</dt><dd>4</dd>", "leadrelay sync second")
	_, page = o.press("/console/connectors/second/remove", "", nil)
	expect(t, page, "second is removed, and in use")
	if got := r.read(); got != after {
		t.Errorf("adding and removing has left\n%s\nwant\n%s", got, after)
	}

	// Back to how it was.
	_, page = o.page("/console/history")
	versions := regexp.MustCompile(`/console/history/[^"]+`).FindAllString(page, -1)
	if len(versions) != 3 {
		t.Fatalf("the versions are %q", versions)
	}
	_, page = o.page(versions[2])
	if expect(t, page, "anna"); strings.Contains(page, hookSecret) {
		t.Error("the version's page holds the secret")
	}
	_, page = o.press(versions[2], "", nil)
	expect(t, page, "is back, and in use")
	if got := r.read(); got != before {
		t.Errorf("going back has left\n%s\nwant\n%s", got, before)
	}
	r.post(`{"email":"zoe@example.com","name":"Zoe"}`)
	wait(t, "the whole lead again", received(`"email":"zoe@example.com"`))
	if log := r.out.String(); strings.Contains(log, hookSecret) || strings.Contains(log, "jane@example.com") {
		t.Error("the log holds a secret, or a person")
	}
}

// TestWhoSavesOverAnotherEditIsTold: and has nothing of theirs lost.
func TestWhoSavesOverAnotherEditIsTold(t *testing.T) {
	r := startUp(t, t.TempDir(), "")
	o := r.signIn()
	form := o.form("/console/connectors/sheet")
	r.reconfigure(strings.Replace(r.read(), "type: csv,", "type: csv, concurrency: 3,", 1))
	theirs := r.read()
	form.Set("do", "save")
	form.Set("when", "true")
	status, page := o.send("/console/connectors/sheet", form)
	if status != http.StatusConflict || r.read() != theirs {
		t.Errorf("got %d, the file is %s", status, r.read())
	}
	expect(t, page, "Somebody else changed the file meanwhile", "true</textarea>")
	// A file that somebody broke by hand is not edited, and mended by hand.
	r.write(theirs + "listen: [\n")
	if status, page := o.page("/console/connectors/sheet"); status != http.StatusConflict {
		t.Errorf("a broken file: %d %s", status, page)
	}
	r.write(theirs)
	if status, _ := o.page("/console/connectors/sheet"); status != http.StatusOK {
		t.Errorf("a mended file: %d", status)
	}
}

// TestASaveThatIsNotTakenOverSaysWhy: the loader has nothing against the file, and the console cannot run by it.
func TestASaveThatIsNotTakenOverSaysWhy(t *testing.T) {
	r := startUp(t, t.TempDir(), "")
	o := r.signIn()
	good := r.read()
	hash := regexp.MustCompile(`password_hash: '[^']*'`)
	r.write(hash.ReplaceAllString(good, "password_hash: '$$argon2id$$v=19$$m=1'"))
	status, page := o.press("/console/connectors/sheet", "save", map[string][]string{"when": {"true"}})
	if status != http.StatusOK {
		t.Fatalf("%d %s", status, page)
	}
	expect(t, page, "sheet is saved in the file, which is not in use: operator anna: password_hash")
	expect(t, r.read(), "when:", "m=1'")
	_, page = o.page("/console/history")
	_, page = o.press(regexp.MustCompile(`/console/history/[^"]+`).FindString(page), "", nil)
	expect(t, page, "is back in the file, which is not in use")
	r.reconfigure(good)
	_, page = o.page("/console/connectors")
	expect(t, page, "sheet")
}

// TestEveryKindHasAForm: with an input for each of its settings, that its loader has nothing against as it stands but
// what is required.
func TestEveryKindHasAForm(t *testing.T) {
	r := startUp(t, t.TempDir(), "")
	o := r.signIn()
	before := r.read()
	for _, kind := range all.Whole() {
		path := "/console/catalogue/" + kind.Name
		form := o.form(path)
		for _, s := range describe(kind).Settings {
			name := "set." + s.Name
			if s.Secret {
				name = "how." + s.Name
			}
			if len(form[name]) != 1 {
				t.Errorf("%s: there is no input for %s", kind.Name, s.Name)
			}
		}
		for _, name := range []string{"set.concurrency", "set.retry.horizon", "set.breaker.probe_max", "set.limits.per"} {
			if !form.Has(name) {
				t.Errorf("%s: there is no input for %s", kind.Name, name)
			}
		}
		status, page := o.press(path, "save", map[string][]string{"name": {"new"}})
		if status != http.StatusUnprocessableEntity && r.read() == before {
			t.Errorf("%s: nothing was saved, and nothing was said: %d", kind.Name, status)
		}
		for _, problem := range regexp.MustCompile(`<p class="problem">[^<]*`).FindAllString(page, -1) {
			if !strings.Contains(problem, "required") {
				t.Errorf("%s, as it stands: %s", kind.Name, problem)
			}
		}
	}
	if r.read() != before {
		t.Errorf("what lacks settings was saved: %s", r.read())
	}
}

// TestARecipesSettingsAreInputs, too, as soon as it is known.
func TestARecipesSettingsAreInputs(t *testing.T) {
	r := startUp(t, t.TempDir(), "")
	o := r.signIn()
	recipe := recipeFile(t, acme)
	path := "/console/catalogue/rest"
	if form := o.form(path); form.Has("how.api_key") || !form.Has("set.recipe") {
		t.Errorf("without a recipe there is %v", form)
	}
	form := o.form(path)
	form.Set("do", "try")
	form.Set("set.recipe", recipe)
	_, page := o.send(path, form)
	expect(t, page, `name="how.api_key"`, `name="set.pipelines"`, "<option>fast</option>", "Acme CRM contacts", recipe)
	form.Set("do", "save")
	form.Set("name", "acme")
	form.Set("secret.api_key", "t0p-s3cret")
	form.Set("set.pipelines", "sales\nsupport")
	form.Set("set.mode", "safe")
	status, page := o.send(path, form)
	if status != http.StatusOK {
		t.Fatalf("%d %s", status, page)
	}
	expect(t, page, "acme is added, and in use", "Acme CRM contacts")
	c, err := config.Load(filepath.Join(r.dir, "config.yaml"), all.Kinds(), config.AllowMissingKeys())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if len(c.Connectors) != 2 || c.Connectors[1].Name != "acme" {
		t.Errorf("the file has %v", c.Connectors)
	}
	if _, page := o.page("/console/connectors/acme"); strings.Contains(page, "t0p-s3cret") {
		t.Error("the page holds the secret")
	}
}

// TestAFrontEndNeedsNoSecretsOfItsWorkers to edit their connectors.
func TestAFrontEndNeedsNoSecretsOfItsWorkers(t *testing.T) {
	hash, err := console.HashPassword(operatorPassword)
	if err != nil {
		t.Fatal(err)
	}
	redis := redistest.Start(t)
	r := &running{t: t, dir: t.TempDir(), out: &output{}}
	r.write(fmt.Sprintf(`listen: 127.0.0.1:0
data_dir: %q
redis: {url: %q}
api_keys: [{name: backend, key: a-key-of-sixteen-characters}]
operators: [{name: anna, password_hash: '%s'}]
connectors:
  - {name: list, type: mailchimp, settings: {api_key: "${ONLY_WORKERS_HAVE}", list_id: a1}}
`, r.dir, fmt.Sprintf("unix://%s?db=%d", redis.Options().Addrs[0], redis.Options().DB), hash))
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan int, 1)
	go func() {
		ended <- run(ctx, []string{"ingest", "--config", filepath.Join(r.dir, "config.yaml")}, r.out, r.out)
	}()
	t.Cleanup(func() { cancel(); <-ended })
	address := regexp.MustCompile(`accepting leads.* address=(\S+)`)
	wait(t, "it to listen", func() bool { return address.MatchString(r.out.String()) })
	r.url = "http://" + address.FindStringSubmatch(r.out.String())[1]
	o := r.login()
	status, page := o.press("/console/connectors/list", "save", map[string][]string{"set.list_id": {"b2"}, "set.timeout": {"never"}})
	if status != http.StatusUnprocessableEntity || strings.Contains(page, "ONLY_WORKERS_HAVE is not set") {
		t.Errorf("a wrong setting: %d %s", status, page)
	}
	expect(t, page, "must be a duration")
	_, page = o.press("/console/connectors/list", "save", map[string][]string{"set.list_id": {"b2"}})
	expect(t, page, "list is saved, and in use")
	expect(t, r.read(), "list_id: b2", "${ONLY_WORKERS_HAVE}")
}
