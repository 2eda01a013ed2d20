package console_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/html"

	"github.com/leadrelay/leadrelay/internal/console"
	"github.com/leadrelay/leadrelay/internal/lead"
)

// paper stands in for the configuration file and its loader.
type paper struct {
	mu       sync.Mutex
	revision int
	readOnly bool
	broken   string // why it cannot be read
	entries  []console.Entry
	versions []console.Version
	kept     map[string][]console.Entry // by version
	trouble  error                      // of writing it
	refusal  string                     // why the program does not take it over
	tried    []console.Entry            // what was tried, checked, planned
}

const hushed = "s3cret-of-the-list"

// written is a file with something of everything.
func written() *paper {
	return &paper{kept: map[string][]console.Entry{}, entries: []console.Entry{
		{Name: "newsletter", Kind: "list", When: `source == "website"`, Settings: map[string]any{
			"api_key": hushed, "list_id": "a1b2c3", "timeout": "30s", "port": 587, "double": true, "to": []any{"sales@example.com", "boss@example.com"},
			"headers": map[string]any{"x-team": "sales"}, "strange": map[string]any{"kept": []any{1, 2}},
		}, Fields: []console.FieldRule{{To: "FNAME", From: "first_name"}, {To: "NOTE", Template: "{{.source}}: {{.note}}"}, {To: "SCORE", Value: 7}, {To: "ZIP", Value: "0123"}},
			Other: map[string]any{"concurrency": 4, "retry": map[string]any{"max": "5m"}, "unheard": true}},
		{Name: "crm", Kind: "crm", Settings: map[string]any{"token": "${CRM_TOKEN}"}},
		{Name: "keyfile", Kind: "crm", Settings: map[string]any{"token_file": "/run/secrets/crm"}},
	}}
}

var common = []console.Setting{
	{Name: "concurrency", Type: "integer", Default: "16", Help: "pushes in flight in one worker process"},
	{Name: "retry.initial", Type: "duration", Default: "1s", Help: "the first delay"},
	{Name: "retry.max", Type: "duration", Default: "15m", Help: "delays grow to this"},
}

func (p *paper) Kinds() []console.Kind {
	return []console.Kind{
		{Name: "crm", Title: "A CRM", Docs: "https://crm.example.com/docs", Common: common,
			Settings: []console.Setting{{Name: "token", Type: "text", Secret: true, Required: true, Help: "of a private app"}, {Name: "mode", Type: "text", OneOf: []string{"fast", "safe"}, Help: "how"}},
			Fields:   []console.FieldRule{{To: "email", From: "email"}, {To: "firstname", From: "first_name"}}},
		{Name: "hook", Title: "A webhook", Docs: "https://hook.example.com", Event: true, Common: common, Settings: []console.Setting{{Name: "url", Type: "text", Required: true, Help: "where to"}}},
		{Name: "list", Title: "A mailing list", Docs: "https://list.example.com/docs", Common: common, Settings: []console.Setting{
			{Name: "api_key", Type: "text", Secret: true, Required: true, Help: "Account, Keys"},
			{Name: "list_id", Type: "text", Required: true, Help: "which list"},
			{Name: "timeout", Type: "duration", Default: "15s", Help: "of one request"},
			{Name: "port", Type: "integer", Default: "25", Help: "where it listens"},
			{Name: "double", Type: "bool", Default: "false", Help: "asks first"},
			{Name: "to", Type: "list", Help: "who is told"},
			{Name: "headers", Type: "mapping", Help: "more of them"},
			{Name: "subject", Type: "text", Default: "Hello", Help: "of its mails"},
			{Name: "body", Type: "text", Lines: true, Help: "of its mails"},
		}},
	}
}

func (p *paper) Kind(e console.Entry) (console.Kind, error) {
	for _, kind := range p.Kinds() {
		if kind.Name == e.Kind {
			return kind, nil
		}
	}
	return console.Kind{Name: e.Kind}, fmt.Errorf("type: there is no kind %s", e.Kind)
}

func (p *paper) at() string { return fmt.Sprintf("rev%d", p.revision) }

func (p *paper) File() (console.File, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f := console.File{Path: "config.yaml", Writable: !p.readOnly}
	if p.broken != "" {
		return f, fmt.Errorf("%s", p.broken)
	}
	f.Revision, f.Entries = p.at(), slices.Clone(p.entries)
	return f, nil
}

// problems is what a loader could have against an entry.
func problems(e console.Entry) (list []console.Problem) {
	if strings.Contains(e.When, "==") && strings.HasSuffix(strings.TrimSpace(e.When), "==") {
		list = append(list, console.Problem{Place: "when", Text: "column 9: unexpected end"})
	}
	for i, rule := range e.Fields {
		if rule.To == "" {
			list = append(list, console.Problem{Place: fmt.Sprintf("fields[%d]", i), Text: "to: required"})
		}
	}
	if value, given := e.Settings["port"]; given {
		if _, is := value.(int); !is {
			list = append(list, console.Problem{Place: "settings.port", Text: "must be a whole number"})
		}
	}
	if e.Kind == "list" && e.Settings["list_id"] == nil {
		list = append(list, console.Problem{Place: "settings.list_id", Text: "required"})
	}
	if e.Name == "" || strings.Contains(e.Name, " ") {
		list = append(list, console.Problem{Place: "name", Text: "must be of a-z and 0-9"})
	}
	return list
}

func (p *paper) Try(_ context.Context, e console.Entry, l lead.Lead, ref string) console.Outcome {
	p.note(e)
	out := console.Outcome{Problems: problems(e), Taken: !strings.Contains(e.When, "nobody"), Whole: len(e.Fields) == 0}
	for _, rule := range e.Fields {
		value, is := l.Value(rule.From)
		if !is {
			value = fmt.Sprint(rule.Template, rule.Value)
		}
		out.Fields = append(out.Fields, console.Mapped{To: rule.To, Value: fmt.Sprint(value)})
	}
	out.Requests = []console.SendingRequest{{Line: "PUT /members/" + l.ID + "?ref=" + ref, Header: http.Header{"Authorization": {"Bearer ••••"}}, Body: `{"email":"` + l.Email + `"}`}}
	return out
}

func (p *paper) note(e console.Entry) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tried = append(p.tried, e)
}

func (p *paper) last() console.Entry {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.tried[len(p.tried)-1]
}

func (p *paper) Check(_ context.Context, e console.Entry) (console.Answer, []console.Problem) {
	p.note(e)
	if found := problems(e); found != nil {
		return console.Answer{}, found
	}
	if e.Settings["api_key"] == hushed {
		return console.Answer{Good: true, Text: "signed in, what the settings name is there"}, nil
	}
	return console.Answer{Text: "NOT READY (setup): 401 Unauthorized"}, nil
}

func (p *paper) Plan(_ context.Context, e console.Entry) (console.Plan, []console.Problem, error) {
	p.note(e)
	if found := problems(e); found != nil {
		return console.Plan{}, found, nil
	}
	return console.Plan{Looked: 20_000, Leads: 1_000_000, Missing: 12, Outdated: 34_567, Fit: 8, Calls: 40, Takes: "4m", Command: "leadrelay sync " + e.Name,
		Rejected: []console.Rejected{{Reason: "when: does not fit the lead", Leads: 3}}}, nil, nil
}

// changed is the entries after an edit.
func (p *paper) changed(e console.Edit) []console.Entry {
	all := slices.Clone(p.entries)
	i := slices.IndexFunc(all, func(one console.Entry) bool { return one.Name == e.Name })
	switch {
	case e.Entry == nil:
		return slices.Delete(all, i, i+1)
	case e.Name == "":
		return append(all, *e.Entry)
	}
	all[i] = *e.Entry
	return all
}

func (p *paper) Diff(e console.Edit) (string, []console.Problem, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if e.Was != p.at() {
		return "", nil, console.ErrChanged
	}
	name, found := e.Name, []console.Problem(nil)
	if e.Entry != nil {
		name, found = e.Entry.Name, problems(*e.Entry)
	}
	return fmt.Sprintf("--- config.yaml\n+++ config.yaml\n@@ -1,3 +1,3 @@\n connectors:\n-  - name: %s at %s\n+  - name: %s, edited\n     api_key: ••••\n", e.Name, p.at(), name), found, nil
}

func (p *paper) Save(_ context.Context, e console.Edit, who string) (console.Saved, []console.Problem, error) {
	if _, found, err := p.Diff(e); err != nil || found != nil {
		return console.Saved{}, found, err
	}
	if p.trouble != nil {
		return console.Saved{}, nil, p.trouble
	}
	return p.replace(p.changed(e), who), nil, nil
}

func (p *paper) replace(entries []console.Entry, who string) console.Saved {
	p.mu.Lock()
	defer p.mu.Unlock()
	id := fmt.Sprintf("v%d", p.revision)
	p.kept[id] = p.entries
	p.versions = slices.Insert(p.versions, 0, console.Version{ID: id, Who: who, Revision: p.at(), At: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)})
	p.revision++
	p.entries = entries
	return console.Saved{Revision: p.at(), Refused: p.refusal}
}

func (p *paper) Versions() ([]console.Version, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.versions), nil
}

func (p *paper) DiffBack(id string) (string, error) {
	return "-  - name: as it is\n+  - name: as " + id + "\n", nil
}

func (p *paper) GoBack(_ context.Context, id, who string) (console.Saved, []console.Problem, error) {
	entries, ok := p.kept[id]
	if !ok {
		return console.Saved{}, nil, errors.New("there is no such version")
	}
	return p.replace(entries, who), nil, nil
}

// entry is what the file has under a name now.
func (p *paper) entry(t *testing.T, name string) console.Entry {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range p.entries {
		if e.Name == name {
			return e
		}
	}
	t.Fatalf("the file has no %s", name)
	return console.Entry{}
}

// onPaper is a world whose configuration is p.
func onPaper(t *testing.T, p *paper) *world {
	t.Helper()
	return newWorld(t, func(_ *world, o *console.Options) { o.Settings = p })
}

// form is what a browser would send of a page's form that edits: all its fields but buttons.
func (b *browser) form(path string) url.Values {
	b.w.t.Helper()
	return formIn(b.w.t, b.page(path))
}

func formIn(t testing.TB, page string) url.Values {
	t.Helper()
	root, err := html.Parse(strings.NewReader(page))
	if err != nil {
		t.Fatal(err)
	}
	form := url.Values{}
	var walk func(n *html.Node, inside bool)
	walk = func(n *html.Node, inside bool) {
		attributes := map[string]string{}
		for _, a := range n.Attr {
			attributes[a.Key] = a.Val
		}
		inside = inside || n.Data == "form" && attributes["class"] == "editor"
		if name := attributes["name"]; inside && name != "" {
			switch n.Data {
			case "input":
				form.Add(name, attributes["value"])
			case "textarea":
				// Browsers end lines like this.
				form.Add(name, strings.ReplaceAll(textOf(n), "\n", "\r\n"))
			case "select":
				form.Add(name, chosen(n))
			}
		}
		for child := n.FirstChild; child != nil; child = child.NextSibling {
			walk(child, inside)
		}
	}
	walk(root, false)
	if len(form) == 0 {
		t.Fatalf("no form to edit in %s", page)
	}
	return form
}

func textOf(n *html.Node) (text string) {
	for child := n.FirstChild; child != nil; child = child.NextSibling {
		text += child.Data
	}
	return text
}

func chosen(n *html.Node) string {
	var first *string
	for option := n.FirstChild; option != nil; option = option.NextSibling {
		if option.Data != "option" {
			continue
		}
		value, selected := textOf(option), false
		for _, a := range option.Attr {
			if a.Key == "value" {
				value = a.Val
			}
			selected = selected || a.Key == "selected"
		}
		if selected {
			return value
		}
		if first == nil {
			first = &value
		}
	}
	if first == nil {
		return ""
	}
	return *first
}

// shows checks that a page has words, as a browser shows them.
func shows(t *testing.T, page string, wanted ...string) {
	t.Helper()
	text := strings.Join(strings.Fields(html.UnescapeString(words(page))), " ")
	for _, want := range wanted {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in: %s", want, text)
		}
	}
}

// edit fills in the form of a page and presses a button.
func (b *browser) edit(path, do string, change func(url.Values)) answer {
	b.w.t.Helper()
	form := b.form(path)
	if change != nil {
		change(form)
	}
	return b.press(path, do, form)
}

func (b *browser) press(path, do string, form url.Values) answer {
	b.w.t.Helper()
	form = maps.Clone(form)
	form.Set("do", do)
	return b.do(http.MethodPost, path, form)
}
