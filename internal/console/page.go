package console

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"embed"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/leadrelay/leadrelay/internal/store"
)

// visit is one request, and who makes it.
type visit struct {
	*site
	w    http.ResponseWriter
	r    *http.Request
	ctx  context.Context
	path string // its pattern

	operator string // "": nobody is signed in
	session  store.Session
}

// refusal is why a visit is not answered as was asked, in words for the page.
type refusal struct {
	status      int
	title, text string
}

func (r refusal) Error() string { return r.title }

// flash is what the next page says once.
type flash struct {
	Bad  bool   `json:"bad,omitempty"`
	Text string `json:"text"` // without personal data
}

// page is what every page shows.
type page struct {
	Title    string
	Section  string // of the navigation
	Operator string
	Token    string
	Flash    *flash
	Queues   bool // there is a monitor
	Badges   badges
	Now      time.Time
	Data     any
}

//go:embed pages/*.html
var pagesDir embed.FS

// pages are parsed when the first is shown.
var pages = sync.OnceValue(func() map[string]*template.Template {
	all := map[string]*template.Template{}
	base := template.Must(template.New("base.html").Funcs(template.FuncMap{
		"age": age, "stamp": stamp, "iso": iso, "number": number, "plural": plural, "outcome": outcomeOf,
	}).ParseFS(pagesDir, "pages/base.html", "pages/activity.html", "pages/diff.html"))
	for _, name := range []string{"login", "overview", "leads", "lead", "sends", "failed", "inbox", "submission", "many", "audit", "confirm", "error",
		"signedin", "connectors", "catalogue", "connector", "byhand", "history", "version"} {
		all[name] = template.Must(template.Must(base.Clone()).ParseFS(pagesDir, "pages/"+name+".html"))
	}
	return all
})

// show renders a page.
func (v *visit) show(status int, name string, p page) error {
	p.Operator, p.Token, p.Now = v.operator, v.session.Token, v.Store.Now()
	p.Flash = v.takeFlash()
	p.Queues = v.Queues != nil
	if v.operator != "" {
		p.Badges = v.badges()
	}
	var out bytes.Buffer
	if err := pages()[name].Execute(&out, p); err != nil {
		panic(err) // of templates that are ours
	}
	v.w.Header().Set("Content-Type", "text/html; charset=utf-8")
	v.w.WriteHeader(status)
	v.w.Write(out.Bytes()) // who is gone cannot be told
	return nil
}

// fail answers a refusal as a page.
func (v *visit) fail(r refusal) {
	if r.status == http.StatusServiceUnavailable {
		v.w.Header().Set("Retry-After", "5")
	}
	v.show(r.status, "error", page{Title: r.title, Data: r.text})
}

// goTo sends the browser to another page of the console.
func (v *visit) goTo(path string) error {
	v.w.Header().Set("Location", path)
	v.w.WriteHeader(http.StatusSeeOther)
	return nil
}

func escape(text string) string { return url.QueryEscape(text) }

// say has the page that follows say something.
func (v *visit) say(format string, args ...any) { v.flash(flash{Text: fmt.Sprintf(format, args...)}) }

func (v *visit) complain(format string, args ...any) {
	v.flash(flash{Bad: true, Text: fmt.Sprintf(format, args...)})
}

const flashCookie = "leadrelay_flash"

func (v *visit) flash(f flash) {
	text, err := json.Marshal(f)
	if err != nil {
		return
	}
	sealed, err := v.seal("flash", string(text))
	if err != nil {
		return // it is not said
	}
	c := v.cookie(flashCookie, sealed)
	c.MaxAge = 60
	http.SetCookie(v.w, c)
}

// takeFlash returns what is to be said, and forgets it.
func (v *visit) takeFlash() *flash {
	sealed := v.has(flashCookie)
	if sealed == "" {
		return nil
	}
	v.forget(flashCookie)
	text, ok := v.unseal("flash", sealed)
	f := &flash{}
	if !ok || json.Unmarshal([]byte(text), f) != nil {
		return nil
	}
	return f
}

// sealing encrypts what browsers keep for us, by a key that all processes share.
type sealing struct{ sealer atomic.Pointer[cipher.AEAD] }

func (v *visit) cipher() (cipher.AEAD, error) {
	if sealer := v.sealing.sealer.Load(); sealer != nil {
		return *sealer, nil
	}
	key, err := v.Store.Secret(v.ctx, "console")
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	sealer, err := cipher.NewGCMWithRandomNonce(block)
	if err == nil {
		v.sealing.sealer.Store(&sealer)
	}
	return sealer, err
}

// seal encrypts a text that only unseal for the same purpose reads.
func (v *visit) seal(purpose, text string) (string, error) {
	sealer, err := v.cipher()
	if err != nil {
		return "", err
	}
	return base64.RawURLEncoding.EncodeToString(sealer.Seal(nil, nil, []byte(text), []byte(purpose))), nil
}

func (v *visit) unseal(purpose, sealed string) (text string, ok bool) {
	data, err := base64.RawURLEncoding.DecodeString(sealed)
	if err != nil {
		return "", false
	}
	sealer, err := v.cipher()
	if err != nil {
		return "", false
	}
	opened, err := sealer.Open(nil, nil, data, []byte(purpose))
	return string(opened), err == nil
}

// stamp is a time as people read it.
func stamp(at time.Time) string {
	if at.IsZero() {
		return "–"
	}
	return at.UTC().Format("2 Jan 2006, 15:04:05 UTC")
}

func iso(at time.Time) string { return at.UTC().Format(time.RFC3339) }

// age is how long ago, or from now, a time is.
func age(now, at time.Time) string {
	d := now.Sub(at)
	if d < 0 {
		d = -d
	}
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h", int(d.Hours()))
	default:
		return fmt.Sprintf("%d days", int(d.Hours()/24))
	}
}

// number groups the digits of a count.
func number(n any) string {
	text := fmt.Sprint(n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "\u202f" + text[i:]
	}
	return text
}

func plural(n int64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return number(n) + " " + many
}

// pageID is the id in the path.
func (v *visit) pageID() string { return v.r.PathValue("id") }

// known is nil for a connector that is configured.
func (v *visit) known(name string) error {
	for _, c := range v.Store.Connectors() {
		if c.Name == name {
			return nil
		}
	}
	return refusal{http.StatusNotFound, "There is no such connector", "It may have been taken out of the configuration. Nothing was done."}
}

// shown is a JSON value as people read it: a text as it is.
func shown(value any) string {
	if text, ok := value.(string); ok {
		return text
	}
	var out strings.Builder
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return ""
	}
	return strings.TrimSpace(out.String())
}
