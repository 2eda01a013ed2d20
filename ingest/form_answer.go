package ingest

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"errors"
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/leadrelay/leadrelay/internal/lead"
)

// Origins that are no place.
const (
	AnyOrigin  = "*"
	NullOrigin = "null" // a page that hides where it is
)

// originOf is the origin of the page that a request comes from (https://www.rfc-editor.org/rfc/rfc6454): what the browser
// says, else that of the Referer; "" where neither tells.
func originOf(r *http.Request) string {
	switch given := r.Header["Origin"]; len(given) {
	case 1:
		return given[0]
	case 0:
		return originOfURL(r.Referer())
	default:
		return ""
	}
}

// originOfURL is the origin of an address, "" of one that is not on the web.
func originOfURL(address string) string {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" {
		return ""
	}
	return u.Scheme + "://" + strings.ToLower(u.Host)
}

// allows says whether pages of an origin may post the form. Those of the host that was asked always may.
func (f *form) allows(origin, host string) bool {
	if origin == "" {
		return false
	}
	_, from, _ := strings.Cut(origin, "://")
	return slices.Contains(f.Origins, origin) || slices.Contains(f.Origins, AnyOrigin) || from != "" && strings.EqualFold(from, host)
}

// The headers of every answer to a page; net/http only reads them.
var (
	varyOrigin = []string{"Origin"}
	exposed    = []string{"Retry-After"}
)

// cors lets scripts of pages that may post read the answer (https://fetch.spec.whatwg.org/#http-cors-protocol).
func (p *post) cors() {
	header := p.w.Header()
	header["Vary"] = varyOrigin
	if origin := p.r.Header["Origin"]; p.allowed && origin != nil {
		header["Access-Control-Allow-Origin"], header["Access-Control-Expose-Headers"] = origin, exposed
	}
}

// preflight answers OPTIONS /f/:form: what a page may send.
func (s *server) preflight(p *post) {
	header := p.w.Header()
	header.Set("Allow", "OPTIONS, POST")
	if !p.allowed {
		fail(p.w, errOrigin.status, errOrigin.code, errOrigin.message)
		return
	}
	header.Set("Vary", "Origin, Access-Control-Request-Method, Access-Control-Request-Headers")
	header.Set("Access-Control-Allow-Methods", "POST")
	header.Set("Access-Control-Allow-Headers", "content-type, accept, idempotency-key")
	header.Set("Access-Control-Max-Age", "600")
	header["Cache-Control"] = noStore
	p.w.WriteHeader(http.StatusNoContent)
}

// wantsJSON says whether an answer is for a script: application/json is named in Accept and not less welcome than a page
// (https://www.rfc-editor.org/rfc/rfc9110#name-accept).
func wantsJSON(r *http.Request) bool {
	script, page, exactly := 0., 0., 0 // how exactly the page's quality was said
	for _, line := range r.Header["Accept"] {
		for clause := range strings.SplitSeq(line, ",") {
			media, params, _ := strings.Cut(clause, ";")
			media = strings.ToLower(strings.TrimSpace(media))
			exact := slices.Index([]string{"*/*", "text/*", "text/html"}, media) + 1
			switch {
			case media == "application/json":
				script = quality(params)
			case exact > exactly:
				page, exactly = quality(params), exact
			}
		}
	}
	return script > 0 && script >= page
}

// quality is how welcome a media type is, by its parameters; 0 where that cannot be read.
func quality(params string) float64 {
	for param := range strings.SplitSeq(params, ";") {
		name, value, _ := strings.Cut(strings.TrimSpace(param), "=")
		if strings.EqualFold(name, "q") {
			q, err := strconv.ParseFloat(value, 64)
			if err != nil || !(q >= 0 && q <= 1) {
				return 0
			}
			return q
		}
	}
	return 1
}

const thanks = "Thank you! Your message has been sent."

// thank answers that the form was sent: the same, whatever it was taken for.
func (p *post) thank() {
	if wantsJSON(p.r) {
		answer{Success: true, Message: thanks}.write(p.w, http.StatusOK)
		return
	}
	to := p.form.Success
	if wanted := p.fields.text("_redirect"); p.form.mayRedirect(wanted) {
		to = wanted
	}
	if to != "" {
		p.redirect(to)
		return
	}
	p.page(http.StatusOK, page{Title: "Thank you!", Text: "Your message has been sent."})
}

// mayRedirect says whether an address that was sent is on a site that the form names.
func (f *form) mayRedirect(address string) bool {
	return slices.ContainsFunc(f.Origins, func(origin string) bool {
		path, on := strings.CutPrefix(address, origin)
		return on && strings.Contains(origin, "://") && (path == "" || strings.IndexByte("/?#", path[0]) >= 0)
	})
}

func (p *post) redirect(to string) {
	p.w.Header()["Cache-Control"] = noStore
	http.Redirect(p.w, p.r, to, http.StatusSeeOther)
}

// refuse answers an error, and returns its code.
func (p *post) refuse(err error) (code string) {
	status, a := refusal(err)
	wait := map[int]time.Duration{http.StatusServiceUnavailable: 2 * time.Second, http.StatusConflict: time.Second}[status]
	var refused refused
	ours := errors.As(err, &refused)
	if refused.wait > 0 {
		wait = refused.wait
	}
	if wait > 0 {
		p.w.Header().Set("Retry-After", seconds(wait))
	}
	switch status {
	case http.StatusServiceUnavailable:
		if !ours {
			p.tellUnavailable(err)
		}
		a.Message = "This form cannot be sent at the moment. Please try again in a moment."
	case http.StatusConflict:
		a.Message = "This form could not be sent. Please send it again."
	}
	switch {
	case wantsJSON(p.r):
		a.write(p.w, status)
	// To a page that may not post, or to none, nobody is sent from here.
	case p.form != nil && p.allowed && p.form.Error != "":
		p.redirect(withError(p.form.Error, *a.Error, a.Problems))
	default:
		p.page(status, page{Title: "This form was not sent", Text: a.Message, Problems: a.Problems, Back: p.back(), Again: true})
	}
	return *a.Error
}

// maxToldFields bounds the names in an address.
const maxToldFields = 20

// withError tells a page by its address what was wrong, and with which fields.
func withError(address, code string, problems []lead.Problem) string {
	u, err := url.Parse(address)
	if err != nil {
		return address
	}
	query := u.Query()
	query.Set("error", code)
	var fields []string
	for _, problem := range problems[:min(len(problems), maxToldFields)] {
		fields = append(fields, problem.Field)
	}
	if query.Del("fields"); fields != nil {
		query.Set("fields", strings.Join(slices.Compact(fields), ","))
	}
	u.RawQuery = query.Encode()
	return u.String()
}

// back is the page with the form, "" where it does not say where it is or may not post.
func (p *post) back() string {
	if p.form == nil || !p.form.allows(originOfURL(p.r.Referer()), p.r.Host) {
		return ""
	}
	return p.r.Referer()
}

// page is what a browser is shown where the form names no page of its own.
type page struct {
	Title, Text string
	Problems    []lead.Problem
	Back        string // the page with the form, if that is known
	Again       bool   // the form is to be sent again
}

//go:embed form_page.html
var pageHTML string

var (
	pageTemplate = template.Must(template.New("page").Parse(pageHTML))
	pagePolicy   = []string{"default-src 'none'; style-src " + styleHash(pageHTML) + "; base-uri 'none'; form-action 'none'"}
	htmlType     = []string{"text/html; charset=utf-8"}
	noReferrer   = []string{"no-referrer"}
)

// styleHash names the <style> of a page in its Content-Security-Policy (https://www.w3.org/TR/CSP3/#match-element-to-source-list).
func styleHash(html string) string {
	_, style, _ := strings.Cut(html, "<style>")
	style, _, _ = strings.Cut(style, "</style>")
	sum := sha256.Sum256([]byte(style))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

func (p *post) page(status int, shown page) {
	var body bytes.Buffer
	if err := pageTemplate.Execute(&body, shown); err != nil {
		panic("ingest: " + err.Error())
	}
	header := p.w.Header()
	header["Content-Type"], header["Cache-Control"], header["X-Content-Type-Options"] = htmlType, noStore, noSniff
	header["Content-Security-Policy"], header["Referrer-Policy"] = pagePolicy, noReferrer
	p.w.WriteHeader(status)
	p.w.Write(body.Bytes()) // a client that is gone cannot be told
}
