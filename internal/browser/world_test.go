package browser

import (
	"context"
	"fmt"
	"html/template"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/leadrelay/leadrelay/ingest"
	"github.com/leadrelay/leadrelay/internal/lead"
	"github.com/leadrelay/leadrelay/internal/redistest"
	"github.com/leadrelay/leadrelay/internal/store"
)

// world is a front end with a form, and a website on another origin that has it.
type world struct {
	t     *testing.T
	store *store.Store
	front string // the front end's origin
	site  string // the website's

	mu      sync.Mutex
	pages   map[string]webpage
	posts   []post                                                                       // that reached the front end, in order
	instead func(w http.ResponseWriter, r *http.Request, front http.Handler) (done bool) // answers what is asked of the form otherwise; may be nil
	tokens  int
}

// post is what came with a post to a form.
type post struct{ key, origin string }

// webpage is one of the website's.
type webpage struct {
	html   string
	policy string // Content-Security-Policy
}

// newWorld declares the form "contact" as change leaves it.
func newWorld(t *testing.T, change func(w *world, f *ingest.Form)) *world {
	t.Helper()
	return newWorldOf(t, func(w *world) []ingest.Form {
		form := ingest.Form{
			Name: "contact", Origins: []string{w.site}, Source: "website", Honeypot: "company_url", DoubleSubmit: time.Minute,
			Fields: []ingest.FormField{{To: "email", From: "your-email"}, {To: "name", From: "your-name"}},
		}
		if change != nil {
			change(w, &form)
		}
		return []ingest.Form{form}
	})
}

func newWorldOf(t *testing.T, forms func(w *world) []ingest.Form) *world {
	t.Helper()
	r := redistest.Start(t)
	client := store.Connect(r.Options())
	t.Cleanup(func() { client.Close() })
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	s, err := store.New(context.Background(), client, []store.Connector{{Name: "crm"}}, log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })

	w := &world{t: t, store: s, pages: map[string]webpage{}}
	site := httptest.NewServer(http.HandlerFunc(w.serveSite))
	t.Cleanup(site.Close)
	w.site = "http://localhost:" + port(site.URL) // another site than 127.0.0.1, to browsers

	front := ingest.New(ingest.Options{
		Store: s, Log: log, Metrics: prometheus.NewRegistry(), Forms: forms(w), Demo: true,
	})
	server := httptest.NewUnstartedServer(nil)
	server.Config = ingest.Serving(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { w.serveFront(rw, r, front) }))
	server.Start()
	t.Cleanup(func() { server.CloseClientConnections(); server.Close() })
	w.front = server.URL
	return w
}

func port(url string) string { return url[strings.LastIndex(url, ":")+1:] }

func (w *world) serveSite(rw http.ResponseWriter, r *http.Request) {
	w.mu.Lock()
	p, ok := w.pages[r.URL.Path]
	w.mu.Unlock()
	switch {
	case r.URL.Path == "/favicon.ico":
		rw.WriteHeader(http.StatusNoContent)
		return
	case !ok:
		http.NotFound(rw, r)
		return
	}
	rw.Header().Set("Content-Type", "text/html; charset=utf-8")
	if p.policy != "" {
		rw.Header().Set("Content-Security-Policy", p.policy)
	}
	io.WriteString(rw, p.html)
}

func (w *world) serveFront(rw http.ResponseWriter, r *http.Request, front http.Handler) {
	w.mu.Lock()
	instead := w.instead
	switch {
	case r.Method == http.MethodPost:
		w.posts = append(w.posts, post{r.Header.Get("Idempotency-Key"), r.Header.Get("Origin")})
	case strings.HasSuffix(r.URL.Path, "/token"):
		w.tokens++
	}
	w.mu.Unlock()
	if r.URL.Path == "/f/contact" && instead != nil && instead(rw, r, front) {
		return
	}
	front.ServeHTTP(rw, r)
}

// answerFirst has the first posts answered by instead.
func (w *world) answerFirst(posts int64, instead func(rw http.ResponseWriter, r *http.Request, front http.Handler)) {
	var n atomic.Int64
	w.mu.Lock()
	defer w.mu.Unlock()
	w.instead = func(rw http.ResponseWriter, r *http.Request, front http.Handler) bool {
		if r.Method != http.MethodPost || n.Add(1) > posts {
			return false
		}
		instead(rw, r, front)
		return true
	}
}

// holdUntil answers when released.
func holdUntil(release <-chan struct{}) func(http.ResponseWriter, *http.Request, http.Handler) {
	return func(rw http.ResponseWriter, r *http.Request, front http.Handler) {
		select {
		case <-release:
			front.ServeHTTP(rw, r)
		case <-r.Context().Done():
		}
	}
}

func (w *world) tokensAsked() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.tokens
}

func (w *world) seen() []post {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]post(nil), w.posts...)
}

// leads are all that were accepted.
func (w *world) leads() []lead.Lead {
	w.t.Helper()
	found, _, err := w.store.List(context.Background(), store.Query{Limit: 50})
	if err != nil {
		w.t.Fatal(err)
	}
	return found
}

// one is the only lead there is.
func (w *world) one() lead.Lead {
	w.t.Helper()
	found := w.leads()
	if len(found) != 1 {
		w.t.Fatalf("%d leads, want one: %+v", len(found), found)
	}
	return found[0]
}

// none checks that nothing was accepted.
func (w *world) none() {
	w.t.Helper()
	if found := w.leads(); len(found) != 0 {
		w.t.Errorf("leads %+v, want none", found)
	}
}

// publish puts a page on the website.
func (w *world) publish(path string, p webpage) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.pages[path] = p
}

// contact publishes the page /contact with the form, in which attributes and more stand, and the script if asked for.
func (w *world) contact(script bool, attributes, more string) {
	w.publish("/contact", webpage{html: w.contactHTML(script, attributes, more)})
}

func (w *world) contactHTML(script bool, attributes, more string) string {
	var tag string
	if script {
		tag = fmt.Sprintf(`<script src="%s/f/contact/embed.js" defer></script>`, w.front)
		attributes += ` data-leadrelay="contact"`
	}
	return fmt.Sprintf(`<!doctype html>
<html lang="en">
<title>Contact</title>
%s
<h1>Contact us</h1>
<form action="%s" method="post" %s>
<p><label for="name">Your name</label> <input id="name" name="your-name" required></p>
<p><label for="email">E-mail</label> <input id="email" name="your-email" type="email" required aria-describedby="hint">
<small id="hint">We answer there.</small></p>
<p><label>Message <textarea name="note"></textarea></label></p>
<p hidden><label>Leave this empty <input name="company_url" tabindex="-1" autocomplete="off"></label></p>
%s
<p><button id="send">Send</button></p>
</form>
`, tag, template.HTMLEscapeString(w.front+"/f/contact"), attributes, more)
}
