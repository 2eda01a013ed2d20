package ingest

import (
	"bytes"
	"cmp"
	_ "embed"
	"html/template"
	"net/http"
	"slices"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"

	"github.com/julienschmidt/httprouter"
)

var (
	//go:embed embed.js
	scriptSource []byte

	//go:embed demo.html
	demoHTML string
)

var script = sync.OnceValue(func() *published { return publish("text/javascript; charset=utf-8", scriptSource) })

// embedded answers GET /f/:form/embed.js, the script that websites embed: the same for every form, for it knows its own
// by its address.
func (s *server) embedded(p *post) { script().serve(p.w, p.r) }

var (
	demoTemplate = template.Must(template.New("demo").Parse(demoHTML))
	demoPolicy   = "default-src 'none'; script-src 'self'; connect-src 'self'; style-src " + styleHash(demoHTML) +
		"; base-uri 'none'; frame-ancestors 'none'; form-action 'self'"
)

// demoForm is a form as the demo shows it.
type demoForm struct {
	Form
	Action, Script string
	Inputs         []demoInput
	Agreement      *demoInput // nil: none is asked for

	Markup  template.HTML // the form
	Snippet string        // its text
}

type demoInput struct {
	Name, Label, Type, Autocomplete string
	Required                        bool
}

// demo answers GET /demo, a page that shows a form at work, and what to paste into a website.
func (s *server) demo(w http.ResponseWriter, r *http.Request, _ httprouter.Params) {
	var shown *demoForm
	policy := demoPolicy
	if i := slices.IndexFunc(s.Forms, func(f Form) bool { return f.Name == r.URL.Query().Get("form") }); len(s.Forms) > 0 {
		shown = newDemoForm(s.Forms[max(i, 0)], baseURL(r))
		for _, page := range []string{shown.Success, shown.Error} {
			// A post may lead to nothing that form-action does not name.
			if origin := originOfURL(page); origin != "" {
				policy += " " + origin
			}
		}
	}
	var body bytes.Buffer
	if err := demoTemplate.Execute(&body, map[string]any{"Forms": s.Forms, "Shown": shown}); err != nil {
		panic("ingest: " + err.Error())
	}
	header := w.Header()
	header["Content-Type"], header["Cache-Control"], header["X-Content-Type-Options"] = htmlType, noStore, noSniff
	header.Set("Content-Security-Policy", policy)
	header.Set("Referrer-Policy", "same-origin")
	w.Write(body.Bytes()) // a client that is gone cannot be told
}

// baseURL is how a browser has reached this server.
func baseURL(r *http.Request) string {
	if r.TLS != nil || r.Header.Get("X-Forwarded-Proto") == "https" {
		return "https://" + r.Host
	}
	return "http://" + r.Host
}

// newDemoForm gives a form the inputs that are known of it, and those that most have.
func newDemoForm(f Form, base string) *demoForm {
	address := base + "/f/" + f.Name
	d := &demoForm{Form: f, Action: address, Script: address + "/embed.js"}
	ofForm := map[string]string{} // the names of fields in the form, by those in the lead
	wanted := []string{"name", "email"}
	for _, field := range f.Fields {
		ofForm[field.To] = cmp.Or(ofForm[field.To], field.From)
		wanted = append(wanted, field.To)
	}
	wanted = append(wanted, f.Required...)
	wanted = append(slices.DeleteFunc(wanted, func(name string) bool { return name == "note" }), "note")
	for i, name := range wanted {
		if slices.Contains(wanted[:i], name) {
			continue
		}
		input := newDemoInput(name)
		input.Name = cmp.Or(ofForm[name], name)
		input.Required = name == "email" || slices.Contains(f.Required, name)
		d.Inputs = append(d.Inputs, input)
	}
	if c := f.Consent; c != nil {
		d.Agreement = &demoInput{Name: c.Field, Label: cmp.Or(c.Text, "I agree."), Required: c.Required}
	}
	var markup strings.Builder
	if err := demoTemplate.ExecuteTemplate(&markup, "form", d); err != nil {
		panic("ingest: " + err.Error())
	}
	d.Snippet = markup.String()
	d.Markup = template.HTML(d.Snippet) // the template has escaped what it was given
	return d
}

// newDemoInput is what asks for a lead's member or custom field.
func newDemoInput(name string) demoInput {
	switch name {
	case "name":
		return demoInput{Label: "Name", Autocomplete: "name"}
	case "email":
		return demoInput{Label: "E-mail", Type: "email", Autocomplete: "email"}
	case "note":
		return demoInput{Label: "Message", Type: "textarea"}
	case "phone":
		return demoInput{Label: "Phone", Type: "tel", Autocomplete: "tel"}
	case "company":
		return demoInput{Label: "Company", Autocomplete: "organization"}
	}
	words := strings.NewReplacer("_", " ", "-", " ").Replace(name)
	first, size := utf8.DecodeRuneInString(words)
	return demoInput{Label: string(unicode.ToUpper(first)) + words[size:]}
}
