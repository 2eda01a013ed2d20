package ingest_test

import (
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/leadrelay/leadrelay/ingest"
)

// itself stands for the front end's own host in a table.
const itself = "SELF"

func TestOnlyPagesOfItsOriginsMayPostAForm(t *testing.T) {
	for _, c := range []struct {
		name            string
		origins         []string
		origin, referer string
		allowed         bool
	}{
		{"listed", []string{"https://a.example", site}, site, "", true},
		{"a referer beside it counts for nothing", []string{site}, "https://evil.example", site + "/", false},
		{"not listed", []string{site}, "https://evil.example", "", false},
		{"another scheme", []string{site}, "http://www.example.com", "", false},
		{"another port", []string{site}, site + ":8443", "", false},
		{"the parent", []string{site}, "https://example.com", "", false},
		{"a name that begins alike", []string{site}, site + ".evil.example", "", false},
		{"a path is no origin", []string{site}, site + "/", "", false},
		{"any", []string{"*"}, "https://evil.example", "", true},
		{"any, even of no place", []string{"*"}, "null", "", true},
		{"no place", []string{"null"}, "null", "", true},
		{"no place that is not listed", []string{site}, "null", "", false},
		{"the server's own page", nil, "http://" + itself, "", true},
		{"a page like the server's", nil, "http://" + itself + ".evil.example", "", false},
		{"a referer alone", []string{site}, "", site + "/contact?a=b", true},
		{"a referer of another place", []string{site}, "", "https://evil.example/" + site, false},
		{"a referer with another's name before it", []string{site}, "", "https://www.example.com@evil.example/", false},
		{"a referer of no web page", []string{"*"}, "", "file:///home/jane/form.html", false},
		{"neither", []string{site}, "", "", false},
		{"neither, where any may", []string{"*"}, "", "", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := contact()
			f.Origins = c.origins
			a := startForm(t, f)
			host := strings.TrimPrefix(a.url, "http://")
			origin := strings.ReplaceAll(c.origin, itself, host)
			got := a.fill("email=jane@example.com", "Origin", origin, "Referer", c.referer)
			wantStatus, wantLeads, wantAllow := 403, 0, ""
			if c.allowed {
				wantStatus, wantLeads, wantAllow = 200, 1, origin
			}
			if got.status != wantStatus || !c.allowed && got.code() != "origin_not_allowed" || len(a.stored()) != wantLeads {
				t.Errorf("got %d %s and %d leads", got.status, got.text, len(a.stored()))
			}
			if allow := got.header.Get("Access-Control-Allow-Origin"); allow != wantAllow || got.header.Get("Vary") != "Origin" ||
				got.header.Get("Access-Control-Allow-Credentials") != "" {
				t.Errorf("answered with %v", got.header)
			}
			if refused := a.fill("email=jane", "Origin", origin, "Referer", c.referer); refused.header.Get("Access-Control-Allow-Origin") != wantAllow {
				t.Errorf("a page could not read what is wrong: %v", refused.header)
			}
			if origin == "" {
				return
			}
			req, _ := http.NewRequest("OPTIONS", a.url+"/f/contact", nil)
			before := a.ask(req, "Origin", origin, "Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "idempotency-key,accept")
			if c.allowed != (before.status == 204) || before.header.Get("Access-Control-Allow-Origin") != wantAllow {
				t.Errorf("the preflight: got %d %v", before.status, before.header)
			}
			if c.allowed && (before.header.Get("Access-Control-Allow-Methods") != "POST" ||
				before.header.Get("Access-Control-Allow-Headers") != "content-type, accept, idempotency-key" || !strings.Contains(before.header.Get("Vary"), "Origin")) {
				t.Errorf("the preflight: got %v", before.header)
			}
			req, _ = http.NewRequest("GET", a.url+"/f/contact/token", nil)
			if token := a.ask(req, "Origin", origin); c.allowed != (token.status == 200) || token.header.Get("Access-Control-Allow-Origin") != wantAllow {
				t.Errorf("its token: got %d %s", token.status, token.text)
			}
		})
	}
}

func TestAnOriginThatIsGivenTwiceIsNone(t *testing.T) {
	a := startForm(t, contact())
	req, _ := http.NewRequest("POST", a.url+"/f/contact", strings.NewReader("email=jane@example.com"))
	req.Header["Origin"] = []string{site, site}
	if got := a.ask(req, "Content-Type", urlencoded, "Referer", site); got.status != 403 || got.header.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("got %d %v", got.status, got.header)
	}
}

func TestScriptsAreAnsweredInJSONAndPeopleByAPage(t *testing.T) {
	a := startForm(t, contact())
	for accept, script := range map[string]bool{
		"": false, "*/*": false, "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8": false, "text/*": false,
		"application/json": true, "application/json, text/plain, */*": true, "Application/JSON;charset=utf-8": true, "text/html, application/json": true,
		"application/json;q=0.9, */*": false, "application/json;q=0.9, */*;q=0.8": true, "text/html;q=0.5, */*, application/json ; q=0.8": true,
		"text/html;q=0.9, application/json;q=0.8": false, "application/json;q=0": false, "application/json;q=x": false, "application/*": false,
		"text/html;q=0, text/*, application/json;q=0.1": true, "application/jsonp": false, "application/json;q=NaN": false,
	} {
		got := a.fill("email=jane@example.com", "Accept", accept)
		if got.status != 200 || script != (got.body != nil) || !script && !strings.HasPrefix(got.header.Get("Content-Type"), "text/html") {
			t.Errorf("%q: got %d %s", accept, got.status, got.text)
		}
	}
}

func TestABrowserIsSentToTheFormsPages(t *testing.T) {
	f := contact()
	f.Origins = append(f.Origins, "https://shop.example:8443", "*")
	f.Fields = []ingest.FormField{{To: "email", From: "your-email"}}
	f.Required = []string{"name"}
	f.Success, f.Error = site+"/thanks", site+"/contact?lang=en&error=old&fields=old#form"
	a := startForm(t, f)
	person := []string{"Accept", "text/html,*/*;q=0.8"}
	const fine = "your-email=jane@example.com&name=Jane"
	for fields, want := range map[string]string{
		fine:                        f.Success,
		"":                          site + "/contact?error=validation_failed&fields=name%2Cyour-email&lang=en#form",
		fine + "&_charset_=klingon": site + "/contact?error=unsupported_media_type&lang=en#form",

		fine + "&_redirect=" + url.QueryEscape(site+"/wanted?a=b#c"):         site + "/wanted?a=b#c",
		fine + "&_redirect=" + url.QueryEscape(site):                         site,
		fine + "&_redirect=" + url.QueryEscape("https://shop.example:8443/"): "https://shop.example:8443/",

		// Places that are not the form's.
		fine + "&_redirect=" + url.QueryEscape("https://evil.example/"):                        f.Success,
		fine + "&_redirect=" + url.QueryEscape(site+".evil.example/"):                          f.Success,
		fine + "&_redirect=" + url.QueryEscape(site+"@evil.example/"):                          f.Success,
		fine + "&_redirect=" + url.QueryEscape(site+":pw@evil.example/"):                       f.Success,
		fine + "&_redirect=" + url.QueryEscape(site+`\@evil.example/`):                         f.Success,
		fine + "&_redirect=" + url.QueryEscape(site+"\t.evil.example/"):                        f.Success,
		fine + "&_redirect=" + url.QueryEscape("http://www.example.com/"):                      f.Success,
		fine + "&_redirect=" + url.QueryEscape("https://shop.example/"):                        f.Success,
		fine + "&_redirect=" + url.QueryEscape("HTTPS://evil.example/"+site+"/"):               f.Success,
		fine + "&_redirect=" + url.QueryEscape("//evil.example/"):                              f.Success,
		fine + "&_redirect=" + url.QueryEscape(`/\evil.example/`):                              f.Success,
		fine + "&_redirect=" + url.QueryEscape("javascript:alert(1)//"+site+"/"):               f.Success,
		fine + "&_redirect=" + url.QueryEscape("*/anything"):                                   f.Success,
		fine + "&_redirect=" + url.QueryEscape(" "+site+"/"):                                   f.Success,
		fine + "&_redirect=https://evil.example/&_redirect=" + url.QueryEscape(site+"/second"): f.Success,
	} {
		if got := a.fill(fields, person...); got.status != 303 || got.header.Get("Location") != want || got.text != "" {
			t.Errorf("%s: got %d to %q, want %q", fields, got.status, got.header.Get("Location"), want)
		}
	}
	split := a.fill(fine+"&_redirect="+url.QueryEscape(site+"/a\r\nSet-Cookie: a=b\r\n\r\n<p>"), person...)
	if to := split.header.Get("Location"); split.status != 303 || !strings.HasPrefix(to, site+"/a") || split.header.Get("Set-Cookie") != "" || split.text != "" {
		t.Errorf("an address of several lines: got %d %v %s", split.status, split.header, split.text)
	}
	names := ""
	for range 30 {
		names += "&" + strings.Repeat("n", 101+len(names)/102) + "=x"
	}
	if to := a.fill(names, person...).header.Get("Location"); len(to) > 3000 || !strings.HasPrefix(to, site) {
		t.Errorf("many wrong fields: got to %s", to)
	}
	if got := a.fill(fine, append(person, "Origin", "", "Referer", "")...); got.status != 403 || got.header.Get("Location") != "" {
		t.Errorf("from a page that may not post: got %d to %s", got.status, got.header.Get("Location"))
	}
}

func TestAFormWithoutPagesOfItsOwnIsAnsweredByAPage(t *testing.T) {
	f := contact()
	f.Fields = []ingest.FormField{{To: "email", From: "your-email"}}
	a := startForm(t, f)
	person := func(fields string, headers ...string) formAnswer {
		return a.fill(fields, append([]string{"Accept", "text/html"}, headers...)...)
	}
	for name, c := range map[string]struct {
		got    formAnswer
		status int
		says   []string
		not    []string
	}{
		"a lead":            {person("your-email=jane@example.com", "Referer", site+"/"), 200, []string{"<h1", "Thank you!", "has been sent"}, []string{"href", "jane", "<ul>"}},
		"problems":          {person("your-email=jane&"+escape(`created_at`)+"=1", "Referer", site+"/contact?a=1&b=2"), 422, []string{"<strong>your-email</strong> is not a valid", "<strong>created_at</strong>", `href="https://www.example.com/contact?a=1&amp;b=2"`}, []string{"jane"}},
		"a field of tags":   {person("your-email=a@example.com&"+escape(`<script>`+strings.Repeat("x", 100))+"=1", "Referer", site+"/"), 422, []string{"&lt;script&gt;"}, []string{"<script"}},
		"no referer":        {person("your-email=jane"), 422, []string{"Back button"}, []string{"href"}},
		"a strange referer": {person("your-email=jane", "Referer", "https://evil.example/"), 422, []string{"Back button"}, []string{"href", "evil"}},
		"a script referer":  {person("your-email=jane", "Referer", "javascript:alert(1)//"+site), 422, []string{"Back button"}, []string{"href", "alert"}},
		"its own referer":   {person("your-email=jane", "Referer", a.url+"/demo"), 422, []string{`href="` + a.url + `/demo"`}, nil},
		"a strange origin":  {person("your-email=jane@example.com", "Origin", "https://evil.example", "Referer", "https://evil.example/"), 403, []string{"may not be sent"}, []string{"href", "evil"}},
		"too large":         {person("note=" + strings.Repeat("n", 1<<17)), 413, []string{"larger"}, nil},
	} {
		header := c.got.header
		if c.got.status != c.status || header.Get("Content-Type") != "text/html; charset=utf-8" || header.Get("Cache-Control") != "no-store" ||
			header.Get("X-Content-Type-Options") != "nosniff" || header.Get("Referrer-Policy") != "no-referrer" {
			t.Errorf("%s: got %d %v", name, c.got.status, header)
		}
		for _, text := range append(c.says, `<html lang="en">`, "<title>", `<h1 tabindex="-1" autofocus>`, `name="viewport"`) {
			if !strings.Contains(c.got.text, text) {
				t.Errorf("%s: %s is not in %s", name, text, c.got.text)
			}
		}
		for _, text := range append(c.not, "<script", " style=") {
			if strings.Contains(c.got.text, text) {
				t.Errorf("%s: %s is in %s", name, text, c.got.text)
			}
		}
		_, style, _ := strings.Cut(c.got.text, "<style>")
		style, _, _ = strings.Cut(style, "</style>")
		sum := sha256.Sum256([]byte(style))
		if want := "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; base-uri 'none'; form-action 'none'"; header.Get("Content-Security-Policy") != want || style == "" {
			t.Errorf("%s: the policy is %s, want %s", name, header.Get("Content-Security-Policy"), want)
		}
	}
}
