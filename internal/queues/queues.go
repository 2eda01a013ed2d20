// Package queues is asynq's own monitor (https://github.com/hibiken/asynqmon), made fit to stand behind the console: it
// changes nothing, shares the store's connections, is built when the first asks for it, and its page runs under a
// Content-Security-Policy and reaches out to nobody.
package queues

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"path"
	"regexp"
	"strings"
	"sync"

	"github.com/hibiken/asynq"
	"github.com/hibiken/asynqmon"
	"github.com/redis/go-redis/v9"
)

// Root is where the monitor's paths begin.
const Root = "/console/queues"

// Monitor returns the monitor of the queues on a Redis. The client stays the caller's to close; the monitor holds nothing
// beside it.
func Monitor(client redis.UniversalClient) http.Handler {
	built := sync.OnceValues(func() (http.Handler, page) {
		// It is never closed: that would close the client.
		monitor := asynqmon.New(asynqmon.Options{RootPath: Root, RedisConnOpt: shared{client}, ReadOnly: true})
		return monitor, pageOf(monitor)
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		monitor, page := built()
		below := strings.TrimPrefix(r.URL.Path, Root)
		switch {
		case strings.HasPrefix(below, "/api/"):
			monitor.ServeHTTP(w, r)
		case path.Ext(below) == "":
			page.ServeHTTP(w, r) // at whatever address its script has given it
		default:
			if strings.HasPrefix(below, "/static/") {
				w.Header().Set("Cache-Control", "private, max-age=31536000, immutable") // its name says what it holds
			}
			if path.Ext(below) == ".svg" {
				w = picture{w}
			}
			monitor.ServeHTTP(w, r)
		}
	})
}

// shared gives asynq a client that is there already.
type shared struct{ client redis.UniversalClient }

var _ asynq.RedisConnOpt = shared{}

func (s shared) MakeRedisClient() any { return s.client }

// picture is an answer that is an SVG, which asynqmon calls plain text.
type picture struct{ http.ResponseWriter }

func (p picture) Write(body []byte) (int, error) {
	p.Header().Set("Content-Type", "image/svg+xml")
	return p.ResponseWriter.Write(body)
}

// page is the monitor's only one, without the fonts of Google and the manifest, which browsers fetch without the
// session.
type page struct {
	head, rest []byte
	scripts    string // of the policy
}

func pageOf(monitor http.Handler) page {
	r, err := http.NewRequest(http.MethodGet, Root, nil)
	if err != nil {
		panic(err) // of an address that is ours
	}
	answer := recorded{header: http.Header{}}
	monitor.ServeHTTP(&answer, r)
	reachesOut := regexp.MustCompile(`<link rel="(stylesheet|manifest)"[^>]*>`)
	inlineScript := regexp.MustCompile(`(?s)<script>(.*?)</script>`)
	text := reachesOut.ReplaceAll(answer.body.Bytes(), nil)
	var p page
	for _, script := range inlineScript.FindAllSubmatch(text, -1) {
		sum := sha256.Sum256(script[1])
		p.scripts += " 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
	}
	const head = "<head>"
	begins := bytes.Index(text, []byte(head))
	if begins < 0 {
		panic("queues: asynqmon's page has no head") // the tests have seen the version that is in use
	}
	p.head, p.rest = text[:begins+len(head)], text[begins+len(head):]
	return p
}

// recorded is an answer that is kept.
type recorded struct {
	header http.Header
	body   bytes.Buffer
}

func (a *recorded) Header() http.Header                { return a.header }
func (a *recorded) WriteHeader(int)                    {}
func (a *recorded) Write(body []byte) (n int, e error) { return a.body.Write(body) }

// ServeHTTP answers the page with a policy that lets its own scripts run, and the styles that they make: those carry the
// nonce that stands in the page (https://cssinjs.org/csp).
func (p page) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	nonce := rand.Text()
	header := w.Header()
	header.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'"+p.scripts+"; style-src 'nonce-"+nonce+"'; "+
		"img-src 'self' data:; connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'")
	header.Set("Content-Type", "text/html; charset=utf-8")
	fmt.Fprintf(w, `%s<meta property="csp-nonce" content="%s">%s`, p.head, nonce, p.rest)
}
