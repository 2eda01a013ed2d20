package ingest_test

import (
	"compress/gzip"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/leadrelay/leadrelay/ingest"
)

// fetch gets what a browser would, with headers as pairs.
func (a *api) fetch(method, path string, headers ...string) (*http.Response, string) {
	a.t.Helper()
	req, err := http.NewRequest(method, a.url+path, nil)
	if err != nil {
		a.t.Fatal(err)
	}
	req.Header.Set("Accept-Encoding", "identity") // else the client unpacks without a word
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		a.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		a.t.Fatal(err)
	}
	return resp, string(body)
}

func withForms(forms ...ingest.Form) func(*ingest.Options) {
	return func(o *ingest.Options) { o.Forms, o.Demo = forms, true }
}

func TestTheScriptIsSmallAndCached(t *testing.T) {
	a := start(t, withForms(ingest.Form{Name: "contact", Origins: []string{"https://www.example.com"}}))
	source, err := os.ReadFile("embed.js")
	if err != nil {
		t.Fatal(err)
	}
	const path = "/f/contact/embed.js"
	plain, text := a.fetch("GET", path, "Origin", "https://elsewhere.example")
	if plain.StatusCode != 200 || text != string(source) {
		t.Errorf("got %d and %d bytes", plain.StatusCode, len(text))
	}
	for name, want := range map[string]string{
		"Content-Type": "text/javascript; charset=utf-8", "Cache-Control": "public, max-age=300", "Vary": "Accept-Encoding",
		"X-Content-Type-Options": "nosniff", "Access-Control-Allow-Origin": "*", "Cross-Origin-Resource-Policy": "cross-origin",
		"Content-Encoding": "",
	} {
		if got := strings.Join(plain.Header.Values(name), "|"); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	packed, body := a.fetch("GET", path, "Accept-Encoding", "gzip, br")
	if len(body) > 6<<10 {
		t.Errorf("the script is %d bytes on its way, want at most 6 KiB", len(body))
	}
	reader, err := gzip.NewReader(strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if unpacked, err := io.ReadAll(reader); err != nil || string(unpacked) != string(source) || packed.Header.Get("Content-Encoding") != "gzip" {
		t.Errorf("packed, it is another: %v %v", err, packed.Header)
	}
	etag, other := plain.Header.Get("ETag"), packed.Header.Get("ETag")
	if etag == "" || etag == other {
		t.Errorf("the ETags are %s and %s", etag, other)
	}
	for _, headers := range [][]string{{"If-None-Match", etag}, {"If-None-Match", other, "Accept-Encoding", "gzip"}} {
		if again, body := a.fetch("GET", path, headers...); again.StatusCode != http.StatusNotModified || body != "" || again.Header.Get("ETag") != headers[1] {
			t.Errorf("%v: got %d %q %v", headers, again.StatusCode, body, again.Header)
		}
	}
	if again, _ := a.fetch("GET", path, "If-None-Match", `"older"`); again.StatusCode != 200 {
		t.Errorf("a changed script is answered %d", again.StatusCode)
	}
	if head, body := a.fetch("HEAD", path); head.StatusCode != 200 || body != "" || head.Header.Get("ETag") != etag {
		t.Errorf("HEAD: got %d %q", head.StatusCode, body)
	}
	if none, _ := a.fetch("GET", "/f/other/embed.js"); none.StatusCode != 404 {
		t.Errorf("of a form that is not there: got %d", none.StatusCode)
	}
}

func TestTheDemoShowsTheFormThatIsAskedFor(t *testing.T) {
	a := start(t, withForms(
		ingest.Form{Name: "contact", Origins: []string{"https://www.example.com"}, Success: "https://thanks.example/page"},
		ingest.Form{
			Name: "offer", Fields: []ingest.FormField{{To: "email", From: "your[email]"}, {To: "team_size", From: "size"}},
			Required: []string{"team_size"}, Honeypot: "url",
			Consent: &ingest.Consent{Field: "terms", Text: `Yes, "please" <script>alert(1)</script>`, Required: true},
		},
	))
	resp, first := a.fetch("GET", "/demo")
	if resp.StatusCode != 200 || !strings.Contains(first, `action="`+a.url+`/f/contact"`) || !strings.Contains(first, `src="`+a.url+`/f/contact/embed.js"`) {
		t.Errorf("got %d %s", resp.StatusCode, first)
	}
	policy := resp.Header.Get("Content-Security-Policy")
	if !strings.Contains(policy, "default-src 'none'; script-src 'self'; connect-src 'self'; style-src 'sha256-") ||
		!strings.HasSuffix(policy, "; form-action 'self' https://thanks.example") || strings.Contains(policy, "unsafe") {
		t.Errorf("the policy is %s", policy)
	}
	_, offer := a.fetch("GET", "/demo?form=offer")
	for _, want := range []string{
		`action="` + a.url + `/f/offer"`, `<input name="your[email]" type="email" autocomplete="email" required>`, "Team size\n", `<input name="size" required>`,
		`<input name="terms" type="checkbox" required>`, `<input name="url" tabindex="-1" autocomplete="off">`,
	} {
		if !strings.Contains(offer, want) {
			t.Errorf("the demo does not have %s", want)
		}
	}
	if strings.Contains(offer, "<script>alert") {
		t.Error("a text of the configuration is taken for markup")
	}
	if _, behind := a.fetch("GET", "/demo", "X-Forwarded-Proto", "https"); !strings.Contains(behind, `action="https://`) {
		t.Error("behind a proxy with TLS the form is not sent by https")
	}
}

func TestTheDemoIsThereOnlyWhereItIsAskedFor(t *testing.T) {
	a := start(t, func(o *ingest.Options) { o.Forms = []ingest.Form{{Name: "contact"}} })
	if resp, _ := a.fetch("GET", "/demo"); resp.StatusCode != 404 {
		t.Errorf("got %d", resp.StatusCode)
	}
}

func TestTheDemoWithoutFormsSaysSo(t *testing.T) {
	a := start(t, withForms())
	if resp, body := a.fetch("GET", "/demo"); resp.StatusCode != 200 || !strings.Contains(body, "No form yet") {
		t.Errorf("got %d %s", resp.StatusCode, body)
	}
}
