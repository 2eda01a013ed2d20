package ingest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"reflect"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"github.com/leadrelay/leadrelay/ingest"
	"github.com/leadrelay/leadrelay/internal/lead"
	"github.com/leadrelay/leadrelay/internal/redistest"
	"github.com/leadrelay/leadrelay/internal/store"
)

const (
	site       = "https://www.example.com"
	urlencoded = "application/x-www-form-urlencoded"
)

// contact is a form of site.
func contact() ingest.Form {
	return ingest.Form{Name: "contact", Origins: []string{site}, Source: "website"}
}

func startForm(t testing.TB, f ingest.Form, change ...func(*ingest.Options)) *api {
	return start(t, func(o *ingest.Options) {
		o.Forms = []ingest.Form{f}
		for _, also := range change {
			also(o)
		}
	})
}

// formAnswer is an answer to a browser or a script.
type formAnswer struct {
	status int
	header http.Header
	text   string
	body   map[string]any // nil: a page
}

func (got formAnswer) code() any { return got.body["error"] }

// problems are what is told of each field.
func (got formAnswer) problems() map[string]string {
	all := map[string]string{}
	list, _ := got.body["problems"].([]any)
	for _, one := range list {
		problem := one.(map[string]any)
		all[problem["field"].(string)] = problem["message"].(string)
	}
	return all
}

var browser = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}

// send posts a form as a script of site does; a header may say otherwise, "" leaves it out.
func (a *api) send(contentType, body string, headers ...string) formAnswer {
	a.t.Helper()
	return a.sendTo("contact", contentType, body, headers...)
}

func (a *api) sendTo(form, contentType, body string, headers ...string) formAnswer {
	a.t.Helper()
	req, err := http.NewRequest("POST", a.url+"/f/"+form, strings.NewReader(body))
	if err != nil {
		a.t.Fatal(err)
	}
	return a.ask(req, append([]string{"Content-Type", contentType, "Origin", site, "Accept", "application/json"}, headers...)...)
}

func (a *api) ask(req *http.Request, headers ...string) formAnswer {
	a.t.Helper()
	for i := 0; i+1 < len(headers); i += 2 {
		if req.Header.Set(headers[i], headers[i+1]); headers[i+1] == "" {
			req.Header.Del(headers[i])
		}
	}
	resp, err := browser.Do(req)
	if err != nil {
		a.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		a.t.Fatal(err)
	}
	got := formAnswer{status: resp.StatusCode, header: resp.Header, text: string(text)}
	if strings.HasPrefix(resp.Header.Get("Content-Type"), "application/json") {
		if err := json.Unmarshal(text, &got.body); err != nil {
			a.t.Fatalf("not JSON: %s", text)
		}
	}
	return got
}

// fill sends fields, and again where the machine had too much to do for it.
func (a *api) fill(fields string, headers ...string) formAnswer {
	a.t.Helper()
	for {
		if got := a.send(urlencoded, fields, headers...); got.status != 503 {
			return got
		}
	}
}

// stored are the leads there are, newest first, without what differs from one to the next.
func (a *api) stored() (all []map[string]any) {
	a.t.Helper()
	for _, one := range a.do("GET", "/api/v1/leads", full, "").body["data"].([]any) {
		l := one.(map[string]any)
		for _, name := range []string{"lead_id", "created_at", "updated_at", "revision"} {
			delete(l, name)
		}
		all = append(all, l)
	}
	return all
}

// spam is what was kept aside.
func (a *api) spam() []store.Submission {
	a.t.Helper()
	kept, _, err := a.store.Submissions(context.Background(), store.SubmissionQuery{State: store.Spam, Limit: 100})
	if err != nil {
		a.t.Fatal(err)
	}
	return kept
}

// parts is a form as multipart/form-data: names and texts.
func parts(t testing.TB, fields ...string) (contentType, body string) {
	var buffer bytes.Buffer
	w := multipart.NewWriter(&buffer)
	for i := 0; i+1 < len(fields); i += 2 {
		if err := w.WriteField(fields[i], fields[i+1]); err != nil {
			t.Fatal(err)
		}
	}
	w.Close()
	return w.FormDataContentType(), buffer.String()
}

func TestAFormIsTheSameLeadHoweverItIsEncoded(t *testing.T) {
	f := contact()
	f.Fields = []ingest.FormField{{To: "email", From: "your-email"}, {To: "name", From: "full[name]"}, {To: "topics", From: "interests[]"}}
	f.Set = map[string]any{"campaign": "spring", "score": json.Number("7")}
	a := startForm(t, f)
	want := map[string]any{
		"email": "jane@example.com", "name": "Jane Doe", "source": "website", "note": "two\r\nlines; a=b & 100%",
		"campaign": "spring", "score": 7., "topics": []any{"a"}, "size": []any{"s", "m"}, "company": "Łódź 🏭",
		"utm_source": "ads", "utm_medium": "cpc", "gclid": "g1", "referrer": "https://search.example/", "landing_page": site + "/spring",
	}
	fields := []string{
		"your-email", " jane@example.com ", "full[name]", "Jane Doe", "note", "two\r\nlines; a=b & 100%",
		"interests[]", "a", "size", "s", "size", "m", "size", "", "company", "Łódź 🏭", "phone", "", "blank", "  ", "list[]", "",
		"utm_source", "ads", "utm_medium", "cpc", "gclid", "g1", "referrer", "https://search.example/", "landing_page", site + "/spring",
		"source", "elsewhere", "campaign", "autumn", "_subject", "ours", "g-recaptcha-response", "a token", "h-captcha-response", "another",
	}
	var query []string
	members := map[string]any{}
	for i := 0; i < len(fields); i += 2 {
		query = append(query, escape(fields[i])+"="+escape(fields[i+1]))
		name := strings.TrimSuffix(fields[i], "[]")
		switch before := members[name].(type) {
		case nil:
			if members[name] = fields[i+1]; name != fields[i] {
				members[name] = []any{fields[i+1]}
			}
		case string:
			members[name] = []any{before, fields[i+1]}
		case []any:
			members[name] = append(before, fields[i+1])
		}
	}
	members["nothing"] = nil
	object, err := json.Marshal(members)
	if err != nil {
		t.Fatal(err)
	}
	multipartType, multipartBody := parts(t, fields...)
	for contentType, body := range map[string]string{
		urlencoded:                        strings.Join(query, "&"),
		urlencoded + "; charset=UTF-8":    "&" + strings.Join(query, "&&") + "&=nameless",
		multipartType:                     multipartBody,
		"application/json":                string(object),
		"application/json; charset=utf-8": string(object) + "\n",
	} {
		if got := a.send(contentType, body); got.status != 200 || got.body["success"] != true || len(got.body) != 2 {
			t.Errorf("%s: got %d %s", contentType, got.status, got.text)
			continue
		}
		if got := a.stored()[0]; !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %v, want %v", contentType, got, want)
		}
	}
	if got := len(a.stored()); got != 5 {
		t.Errorf("5 posts that nobody looks for repeats of made %d leads", got)
	}
}

func escape(text string) string {
	var out strings.Builder
	for _, c := range []byte(text) {
		fmt.Fprintf(&out, "%%%02X", c)
	}
	return out.String()
}

func TestJSONMayHoldWhatTheAPITakes(t *testing.T) {
	a := startForm(t, contact())
	if got := a.send("application/json", `{"email":"jane@example.com","budget":12.50,"vip":true,"plan":{"name":"pro","seats":[1,2]}}`); got.status != 200 {
		t.Fatalf("got %d %s", got.status, got.text)
	}
	if got := a.do("GET", "/api/v1/leads", full, ""); !strings.Contains(got.text, `"budget":12.50,"plan":{"name":"pro","seats":[1,2]},"vip":true`) {
		t.Errorf("got %s", got.text)
	}
}

func TestOfSeveralFieldsForOneNameTheFirstThatIsFilledInCounts(t *testing.T) {
	f := contact()
	f.Fields = []ingest.FormField{{To: "phone", From: "mobile"}, {To: "phone", From: "landline"}, {To: "page", From: "source"}}
	a := startForm(t, f)
	for fields, want := range map[string]string{
		"mobile=1&landline=2&phone=3": "1", "mobile=&landline=2&phone=3": "2", "phone=3": "3", "phone=3&landline=2": "2",
	} {
		if got := a.fill("email=jane@example.com&source=pricing&" + fields); got.status != 200 {
			t.Fatalf("%s: got %d %s", fields, got.status, got.text)
		}
		if got := a.stored()[0]; got["phone"] != want || got["page"] != "pricing" || got["source"] != "website" {
			t.Errorf("%s: got %v", fields, got)
		}
	}
}

func TestProblemsAreToldByTheFormsOwnNames(t *testing.T) {
	f := contact()
	f.Fields = []ingest.FormField{{To: "email", From: "your-email"}, {To: "name", From: "your-name"}, {To: "topics", From: "interests[]"}}
	f.Required = []string{"name", "company", "topics", "email"}
	f.Consent = &ingest.Consent{Field: "terms", Text: "I agree.", Required: true}
	a := startForm(t, f)
	const fine = "your-email=jane@example.com&your-name=Jane&company=X&interests[]=a&terms=on"
	for fields, want := range map[string]map[string]string{
		fine: {},
		"":   {"your-email": "is required", "your-name": "is required", "company": "is required", "interests": "is required", "terms": "has to be agreed to"},
		"your-email=%20&your-name=+&company=&interests[]=&terms=off":                                                            {"your-email": "is required", "your-name": "is required", "company": "is required", "interests": "is required", "terms": "has to be agreed to"},
		"your-email=jane&your-name=Jane&company=X&interests=a&terms=1":                                                          {"your-email": "is not a valid e-mail address"},
		"your-email=jane@example.com&your-email=june@example.com&your-name=Jane&your-name=Jane&company=X&interests=a&terms=yes": {"your-email": "is given more than once"},
		fine + "&lead_id=1": {"lead_id": "is set by the server"},
		fine + "&note=" + strings.Repeat("n", lead.MaxNote+1): {"note": "is longer than 10000 characters"},
		strings.Replace(fine, "=Jane", "=Ja%00ne", 1):         {"your-name": "holds control characters"},
	} {
		got := a.fill(fields)
		if len(want) == 0 {
			if got.status != 200 {
				t.Errorf("%.99s: got %d %s", fields, got.status, got.text)
			}
			continue
		}
		if got.status != 422 || got.code() != "validation_failed" || !reflect.DeepEqual(got.problems(), want) {
			t.Errorf("%.99s: got %d %s, want %v", fields, got.status, got.text, want)
		}
		if strings.Contains(got.text, "jane@") {
			t.Errorf("%.99s: a value is repeated: %s", fields, got.text)
		}
	}
	if got := a.send("application/json", `{"your-email":["a@example.com",{}],"your-name":5,"company":["X"],"interests":{"a":1e999},"terms":true}`); got.status != 422 ||
		!reflect.DeepEqual(got.problems(), map[string]string{"your-email": "must be a string", "your-name": "must be a string", "interests": "holds a number that is too large"}) {
		t.Errorf("got %d %s", got.status, got.text)
	}
	if got := len(a.stored()); got != 1 {
		t.Errorf("%d leads, want that of the one post without problems", got)
	}
}

func TestConsentIsKeptAsItWasGiven(t *testing.T) {
	text, version := contact(), contact()
	version.Name = "other"
	text.Consent = &ingest.Consent{Field: "terms", Text: "I agree."}
	version.Consent = &ingest.Consent{Field: "terms", Version: "2026-01"}
	a := startForm(t, text, func(o *ingest.Options) { o.Forms = append(o.Forms, version) })
	kept := map[string][2]any{"contact": {"I agree.", nil}, "other": {nil, "2026-01"}}
	for fields, want := range map[string]bool{
		"terms=on": true, "terms=0&terms=1": true, "terms=I+agree": true, "": false, "terms=": false, "terms=False": false, "consent=on": false,
	} {
		for form, what := range kept {
			before := a.store.Now().Truncate(time.Second)
			got := a.sendTo(form, urlencoded, "email=jane@example.com&consent_at=1999-01-01T00:00:00Z&consent_text=x&consent_version=x&"+fields)
			if got.status != 200 {
				t.Fatalf("%s: got %d %s", fields, got.status, got.text)
			}
			l := a.stored()[0]
			at, err := time.Parse(time.RFC3339, fmt.Sprint(l["consent_at"]))
			if l["consent"] != want || l["consent_text"] != what[0] || l["consent_version"] != what[1] || l["terms"] != nil ||
				err != nil || at.Before(before) || at.After(a.store.Now()) {
				t.Errorf("%s: got %v", fields, l)
			}
		}
	}
}

func TestAFileIsRefusedAndItsFieldIsNamed(t *testing.T) {
	a := startForm(t, contact())
	post := func(disposition, content string) formAnswer {
		return a.send("multipart/form-data; boundary=b", "--b\r\nContent-Disposition: form-data; name=\"email\"\r\n\r\njane@example.com\r\n"+
			"--b\r\nContent-Disposition: form-data; "+disposition+"\r\nContent-Type: application/octet-stream\r\n\r\n"+content+"\r\n--b--\r\n")
	}
	for _, disposition := range []string{`name="cv"; filename="cv.pdf"`, `name="cv"; filename*=utf-8''cv.pdf`, `name="cv"; filename="/"`, `name="cv"; filename=""`} {
		for _, content := range []string{"x", strings.Repeat("x", 1<<20)} {
			if strings.HasSuffix(disposition, `""`) && len(content) > 1 {
				continue // what is too large is not read to see whether it is a file
			}
			got := post(disposition, content)
			if got.status != 415 || got.problems()["cv"] == "" || !strings.Contains(fmt.Sprint(got.body["message"]), "Files") {
				t.Errorf("%s of %d: got %d %s", disposition, len(content), got.status, got.text)
			}
		}
	}
	if got := len(a.stored()); got != 0 {
		t.Errorf("refused posts made %d leads", got)
	}
	if got := post(`name="cv"; filename=""`, ""); got.status != 200 {
		t.Errorf("an input for a file that was left empty: got %d %s", got.status, got.text)
	}
	if got := a.stored(); len(got) != 1 || got[0]["cv"] != nil {
		t.Errorf("got %v", got)
	}
}

func TestAFormMayBeInAnotherEncoding(t *testing.T) {
	a := startForm(t, contact())
	latinType, latin := parts(t, "email", "jane@example.com", "name", "J\xe9r\xf4me", "_charset_", "windows-1252")
	for name, c := range map[string]struct{ contentType, body, want string }{
		"by the header":             {urlencoded + "; charset=iso-8859-1", "email=jane@example.com&name=J%E9r%F4me", "Jérôme"},
		"by the field":              {urlencoded, "name=J%E9r%F4me&_charset_=windows-1252&email=jane@example.com", "Jérôme"},
		"in several parts":          {latinType, latin, "Jérôme"},
		"shift_jis":                 {urlencoded, "_charset_=Shift_JIS&email=jane@example.com&name=%83%65%83%58%83%67", "テスト"},
		"the field says it is ours": {urlencoded, "_charset_=UTF-8&email=jane@example.com&name=J%C3%A9r%C3%B4me", "Jérôme"},
	} {
		got := a.send(c.contentType, c.body)
		if got.status != 200 {
			t.Errorf("%s: got %d %s", name, got.status, got.text)
		} else if l := a.stored()[0]; l["name"] != c.want {
			t.Errorf("%s: got %v", name, l)
		}
	}
	for body, status := range map[string]int{
		"email=jane@example.com&name=J%E9":                      400,
		"email=jane@example.com&na%E9me=J":                      400,
		"email=jane@example.com&name=%zz":                       400,
		"email=jane@example.com&_charset_=klingon&name=J":       415,
		"email=jane@example.com&_charset_=klingon%0d%0a&name=J": 415,
	} {
		if got := a.send(urlencoded, body); got.status != status || got.body["message"] == "" {
			t.Errorf("%s: got %d %s, want %d", body, got.status, got.text, status)
		}
	}
}

func TestBodiesThatAreNoForm(t *testing.T) {
	a := startForm(t, contact(), func(o *ingest.Options) { o.BodyBytes = 20_000 })
	many, manyParts := "email=jane@example.com", []string{"email", "jane@example.com"}
	manyMembers := map[string]string{"email": "jane@example.com"}
	for i := range 500 {
		many += fmt.Sprintf("&f%d", i%3)
		manyParts = append(manyParts, "f", "")
		manyMembers[fmt.Sprint("f", i)] = ""
	}
	manyType, manyBody := parts(t, manyParts...)
	manyJSON, _ := json.Marshal(manyMembers)
	for name, c := range map[string]struct {
		contentType, body string
		status            int
		code              string
	}{
		"plain text":               {"text/plain", "email=jane@example.com", 415, "unsupported_media_type"},
		"of no type":               {"", "email=jane@example.com", 415, "unsupported_media_type"},
		"of a broken type":         {urlencoded + "; charset", "email=jane@example.com", 415, "unsupported_media_type"},
		"JSON in another encoding": {"application/json; charset=latin1", `{}`, 415, "unsupported_media_type"},
		"JSON that is none":        {"application/json", `{"email":`, 400, "malformed_json"},
		"an array":                 {"application/json", `[]`, 400, "malformed_json"},
		"null":                     {"application/json", `null`, 400, "malformed_json"},
		"two objects":              {"application/json", `{"email":"a@example.com"}{}`, 400, "malformed_json"},
		"JSON that is not UTF-8":   {"application/json", "{\"email\":\"a@example.com\",\"x\":\"\xff\"}", 400, "malformed_json"},
		"a form without boundary":  {"multipart/form-data", "--b--", 400, "bad_request"},
		"a form that ends early":   {"multipart/form-data; boundary=b", "--b\r\nContent-Disposition: form-data; name=\"email\"\r\n\r\njane@example.com", 400, "bad_request"},
		"a form of nothing":        {"multipart/form-data; boundary=b", "", 400, "bad_request"},
		"a part of two names":      {"multipart/form-data; boundary=b", "--b\r\nContent-Disposition: form-data; name=a; name=b\r\n\r\nx\r\n--b--\r\n", 400, "bad_request"},
		"an empty form":            {urlencoded, "", 422, "validation_failed"},
		"too large":                {urlencoded, "email=jane@example.com&note=" + strings.Repeat("n", 20_000), 413, "payload_too_large"},
		"too large in parts":       {"multipart/form-data; boundary=b", "--b\r\nContent-Disposition: form-data; name=a\r\n\r\n" + strings.Repeat("n", 20_000) + "\r\n--b--\r\n", 413, "payload_too_large"},
		"too many fields":          {urlencoded, many, 413, "payload_too_large"},
		"too many parts":           {manyType, manyBody, 413, "payload_too_large"},
		"too large in small parts": {"multipart/form-data; boundary=b", strings.Repeat("--b\r\nContent-Disposition: form-data; name=\"\"\r\n\r\n\r\n", 450), 413, "payload_too_large"},
		"too many members":         {"application/json", string(manyJSON), 413, "payload_too_large"},
	} {
		if got := a.send(c.contentType, c.body); got.status != c.status || got.code() != c.code || got.body["message"] == "" {
			t.Errorf("%s: got %d %s, want %d %s", name, got.status, got.text, c.status, c.code)
		}
	}
	if got := a.send(urlencoded, "x", "Content-Encoding", "gzip"); got.status != 415 {
		t.Errorf("compressed: got %d %s", got.status, got.text)
	}
	req, _ := http.NewRequest("POST", a.url+"/f/contact", io.NopCloser(strings.NewReader("note="+strings.Repeat("n", 1<<20))))
	if got := a.ask(req, "Content-Type", urlencoded, "Origin", site, "Accept", "application/json"); got.status != 413 {
		t.Errorf("large without saying so: got %d %s", got.status, got.text)
	}
	if got := a.do("POST", "/f/unknown", "", "{}", "Accept", "application/json"); got.status != 404 || got.body["error"] != "not_found" {
		t.Errorf("an unknown form: got %d %s", got.status, got.text)
	}
	if got := a.do("PUT", "/f/contact", "", "{}"); got.status != 405 {
		t.Errorf("PUT: got %d %s", got.status, got.text)
	}
	if got := len(a.stored()); got != 0 {
		t.Errorf("refused posts made %d leads", got)
	}
}

// TestTheSamePostAtOnceIsOneLead is a person who clicks again and again, on two front ends.
func TestTheSamePostAtOnceIsOneLead(t *testing.T) {
	for name, c := range map[string]struct {
		dedupe bool
		key    string
	}{"by content": {}, "by key": {key: "a-fill"}, "by content under dedupe": {dedupe: true}, "by key under dedupe": {dedupe: true, key: "a-fill"}} {
		t.Run(name, func(t *testing.T) {
			f := contact()
			f.DoubleSubmit = 10 * time.Minute
			f.Success = site + "/thanks"
			f.Consent = &ingest.Consent{Field: "terms", Text: "I agree."}
			var other *httptest.Server
			a := startForm(t, f, func(o *ingest.Options) {
				o.Dedupe = c.dedupe
				twin := *o
				twin.Metrics = prometheus.NewRegistry()
				other = httptest.NewServer(ingest.New(twin))
			})
			defer other.Close()
			const fields = "email=jane@example.com&name=Jane&terms=on"
			var group sync.WaitGroup
			for i := range 50 {
				url, accept := a.url, "application/json"
				if i%2 == 0 {
					url = other.URL
				}
				if i%3 == 0 {
					accept = "text/html"
				}
				group.Go(func() {
					for {
						req, _ := http.NewRequest("POST", url+"/f/contact", strings.NewReader(fields))
						got := a.ask(req, "Content-Type", urlencoded, "Origin", site, "Accept", accept, "Idempotency-Key", c.key)
						if got.status == 503 {
							continue // a machine with too much to do
						}
						if want := map[string]int{"text/html": 303, "application/json": 200}[accept]; got.status != want || want == 303 && got.header.Get("Location") != f.Success {
							t.Errorf("got %d %s", got.status, got.text)
						}
						return
					}
				})
			}
			group.Wait()
			if got := a.stored(); len(got) != 1 {
				t.Errorf("one post made %d leads", len(got))
			}
			if got := a.fill("email=jane@example.com&name=June&terms=on", "Idempotency-Key", c.key); c.key != "" && (got.status != 422 || got.code() != "idempotency_key_reused") || c.key == "" && got.status != 200 {
				t.Errorf("another content: got %d %s", got.status, got.text)
			}
			known := 10 * time.Minute
			if c.key != "" {
				known = 24 * time.Hour
			}
			for _, key := range a.redis.Keys(t, "lr:*:k:*") {
				if ttl := a.redis.Client.TTL(context.Background(), key).Val(); ttl > known || ttl < known-time.Minute {
					t.Errorf("a repeat is known for %s, want %s", ttl, known)
				}
			}
		})
	}
}

func TestWhatIsNoDoubleSubmitIsALeadOfItsOwn(t *testing.T) {
	f := contact()
	f.DoubleSubmit = 10 * time.Minute
	loopback := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
	a := startForm(t, f, func(o *ingest.Options) {
		o.TrustedProxies = loopback
		other := f
		other.Name = "other"
		o.Forms = append(o.Forms, other)
	})
	const fields = "email=jane@example.com&note=a"
	for i, post := range []func() formAnswer{
		func() formAnswer { return a.fill(fields) },
		func() formAnswer { return a.fill(fields + "b") },
		func() formAnswer { return a.fill(fields, "X-Forwarded-For", "192.0.2.1") },
		func() formAnswer { return a.fill(fields, "X-Forwarded-For", "192.0.2.2") },
		func() formAnswer { return a.fill(fields, "Idempotency-Key", "k1") },
		func() formAnswer { return a.fill(fields, "Idempotency-Key", "k2") },
		func() formAnswer { return a.sendTo("other", urlencoded, fields) },
	} {
		if got := post(); got.status != 200 {
			t.Fatalf("got %d %s", got.status, got.text)
		}
		if got := len(a.stored()); got != i+1 {
			t.Errorf("after %d posts there are %d leads", i+1, got)
		}
	}
	if got := a.fill("_token=&note=a&email=+jane@example.com"); got.status != 200 || len(a.stored()) != 7 {
		t.Errorf("the same in another order: got %d %s and %d leads", got.status, got.text, len(a.stored()))
	}
	for _, bad := range []string{`"`, strings.Repeat("k", 256), "ä"} {
		if got := a.fill(fields, "Idempotency-Key", bad); got.status != 400 || got.code() != "bad_request" {
			t.Errorf("%s: got %d %s", bad, got.status, got.text)
		}
	}
}

// TestTheSecondOfTwoClicksIsAnsweredAsTheFirst is what browsers do of a double click: they give the first request up.
func TestTheSecondOfTwoClicksIsAnsweredAsTheFirst(t *testing.T) {
	f := contact()
	f.DoubleSubmit = 10 * time.Minute
	f.Success = site + "/thanks"
	arrived, left := make(chan struct{}, 3), make(chan struct{}, 3)
	var front *httptest.Server
	a := startForm(t, f, func(o *ingest.Options) {
		handler := ingest.New(*o)
		front = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			context.AfterFunc(r.Context(), func() { left <- struct{}{} })
			r.Body = &told{r.Body, arrived}
			handler.ServeHTTP(w, r)
		}))
		o.Metrics = prometheus.NewRegistry()
	})
	defer front.Close()
	a.fill("email=warm@example.com")
	click := func(ctx context.Context) (*http.Response, error) {
		req, _ := http.NewRequestWithContext(ctx, "POST", front.URL+"/f/contact", strings.NewReader("email=jane@example.com"))
		req.Header.Set("Content-Type", urlencoded)
		req.Header.Set("Origin", site)
		return browser.Do(req)
	}
	a.redis.Signal(syscall.SIGSTOP)
	ctx, giveUp := context.WithCancel(context.Background())
	gone := make(chan error, 1)
	go func() {
		_, err := click(ctx)
		gone <- err
	}()
	<-arrived
	second := make(chan *http.Response, 1)
	go func() {
		resp, err := click(context.Background())
		if err != nil {
			t.Error(err)
		}
		second <- resp
	}()
	<-arrived
	giveUp()
	if err := <-gone; err == nil {
		t.Error("the first was answered while Redis was away")
	}
	<-left
	a.redis.Signal(syscall.SIGCONT)
	resp := <-second
	if resp == nil {
		return
	}
	resp.Body.Close()
	if to := resp.Header.Get("Location"); resp.StatusCode != 303 || to != f.Success {
		t.Errorf("the second: got %d to %s", resp.StatusCode, to)
	}
	if got := len(a.stored()); got != 2 {
		t.Errorf("two clicks made %d leads", got-1)
	}
}

// told tells when a body was read to its end.
type told struct {
	io.ReadCloser
	read chan struct{}
}

func (r *told) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	if err == io.EOF {
		r.read <- struct{}{}
	}
	return n, err
}

func TestAFormWhileRedisIsAwayIsAnswered503(t *testing.T) {
	f := contact()
	f.DoubleSubmit = 10 * time.Minute
	a := startForm(t, f)
	a.redis.Kill()
	if got := a.send(urlencoded, "email=jane@example.com"); got.status != 503 || got.code() != "unavailable" || got.header.Get("Retry-After") == "" {
		t.Errorf("got %d %s", got.status, got.text)
	}
	if got := a.send(urlencoded, "email=jane@example.com&_token=x"); got.status != 503 {
		t.Errorf("with a token whose secret is not known: got %d %s", got.status, got.text)
	}
	if got := a.send(urlencoded, "email=jane@example.com", "Accept", ""); got.status != 503 || got.body != nil || got.header.Get("Retry-After") == "" {
		t.Errorf("for a person: got %d %s", got.status, got.text)
	}
	if got := a.do("GET", "/f/contact/token", "", ""); got.status != 503 || got.header.Get("Retry-After") == "" {
		t.Errorf("a token: got %d %s", got.status, got.text)
	}
	a.redis.Restart(t)
	if got := a.fill("email=jane@example.com"); got.status != 200 || len(a.stored()) != 1 {
		t.Errorf("afterwards: got %d %s and %d leads", got.status, got.text, len(a.stored()))
	}
}

// TestAFormPostIsOneRoundTrip counts what Redis was asked while one post was accepted.
func TestAFormPostIsOneRoundTrip(t *testing.T) {
	f := contact()
	f.DoubleSubmit, f.MinFill, f.RequireToken = 10*time.Minute, time.Second, true
	a := startForm(t, f)
	secret, err := a.store.Secret(context.Background(), "forms")
	if err != nil {
		t.Fatal(err)
	}
	token := ingest.SignToken(secret, "contact", time.Now().Add(-time.Hour))
	calls := func() (scripts, reads int) {
		redistest.EachMaster(a.redis.Client, func(ctx context.Context, c *redis.Client) error {
			for line := range strings.Lines(c.Info(ctx, "commandstats").Val()) {
				var count int
				if _, err := fmt.Sscanf(line, "cmdstat_evalsha:calls=%d,", &count); err == nil {
					scripts += count
				}
				if _, err := fmt.Sscanf(line, "cmdstat_get:calls=%d,", &count); err == nil {
					reads += count
				}
			}
			return nil
		})
		return scripts, reads
	}
	post := func(n int) {
		a.redis.Client.Pipelined(context.Background(), func(p redis.Pipeliner) error { // every worker is awake: no jobs
			for shard := range lead.Shards {
				for _, c := range []string{"crm", "hook"} {
					p.HSet(context.Background(), fmt.Sprintf("lr:{%02d}:w", shard), c, time.Now().Add(5*time.Second).UnixMilli())
				}
			}
			return nil
		})
		if got := a.send(urlencoded, fmt.Sprintf("email=jane%d@example.com&_token=%s", n, token)); got.status != 200 {
			t.Fatalf("got %d %s", got.status, got.text)
		}
	}
	post(-1) // loads the script and the secret
	scripts, reads := calls()
	for n := range 10 {
		post(n)
	}
	if s, r := calls(); s-scripts != 10 || r != reads {
		t.Errorf("10 posts took %d scripts and %d reads, want one script each", s-scripts, r-reads)
	}
	if got := len(a.stored()); got != 11 {
		t.Errorf("11 posts made %d leads", got)
	}
}

func TestP7LogsAndMetricsOfFormsHoldNoPersonalData(t *testing.T) {
	var log bytes.Buffer
	f := contact()
	f.Honeypot, f.Posts, f.Per = "company_url", 3, time.Hour
	registry := prometheus.NewRegistry()
	a := startForm(t, f, func(o *ingest.Options) {
		o.Log = slog.New(slog.NewTextHandler(&syncWriter{w: &log}, &slog.HandlerOptions{Level: slog.LevelDebug}))
		o.Metrics = registry
		o.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	})
	from := []string{"X-Forwarded-For", "203.0.113.77"}
	a.fill("email=jane@example.com&name=Doe", from...)
	a.fill("email=jane@example.com&name=Doe&company_url=x", from...)
	a.fill("email=jane@example&name=Doe", from...)
	a.fill("email=jane@example.com&name=Doe", from...)
	a.fill("email=jane@example.com&name=Doe", append(from, "Origin", "https://elsewhere.example")...)
	status, metrics := a.plain("/metrics")
	if status != 200 {
		t.Fatal(status)
	}
	for outcome, want := range map[string]int{"lead": 1, "spam": 1, "validation_failed": 1, "too_many_requests": 1, "origin_not_allowed": 1} {
		if line := fmt.Sprintf(`leadrelay_form_posts_total{form="contact",outcome=%q} %d`, outcome, want); !strings.Contains(metrics, line) {
			t.Errorf("%s is not in the metrics", line)
		}
	}
	if !strings.Contains(metrics, `leadrelay_accepted_total{operation="form"} 1`) || !strings.Contains(log.String(), "lead accepted") || !strings.Contains(log.String(), "honeypot") {
		t.Errorf("an accepted lead is not counted and logged: %s", &log)
	}
	for _, personal := range []string{"jane", "Doe", "203.0.113"} {
		if strings.Contains(log.String(), personal) || strings.Contains(metrics, personal) {
			t.Errorf("%s is in logs or metrics: %s", personal, &log)
		}
	}
}

// syncWriter is a writer that several may use at once.
type syncWriter struct {
	mu sync.Mutex
	w  io.Writer
}

func (s *syncWriter) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.w.Write(p)
}

func TestADefectWhileAFormIsTakenHoldsUpNoRepeat(t *testing.T) {
	f := contact()
	f.DoubleSubmit = 10 * time.Minute
	handler := ingest.New(ingest.Options{Log: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry(), Forms: []ingest.Form{f}}) // without a store
	for range 2 {
		req := httptest.NewRequest("POST", "/f/contact", strings.NewReader("email=jane@example.com"))
		req.Header.Set("Content-Type", urlencoded)
		req.Header.Set("Origin", site)
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, req)
		if w.Code != 500 || w.Header().Get("Access-Control-Allow-Origin") != site {
			t.Errorf("got %d %s", w.Code, w.Body)
		}
	}
}

// fuzzForm posts bodies of one content type and holds what becomes of them to what is promised of every post.
func fuzzForm(f *testing.F, contentType string) {
	form := contact()
	form.Fields = []ingest.FormField{{To: "email", From: "your-email"}}
	form.DoubleSubmit = time.Minute
	a := startForm(f, form)
	f.Fuzz(func(t *testing.T, body string) {
		a := *a
		a.t = t
		got := a.send(contentType, body)
		switch got.status {
		case 200:
			if got.body["success"] != true {
				t.Fatalf("%q: got %s", body, got.text)
			}
			kept := a.do("GET", "/api/v1/leads?limit=1", full, "").body["data"].([]any)[0].(map[string]any)
			if kept["source"] != "website" || kept["email"] == "" {
				t.Fatalf("%q made %v", body, kept)
			}
		case 400, 413, 415, 422:
			if got.body["success"] != false || got.body["message"] == "" {
				t.Fatalf("%q: got %s", body, got.text)
			}
		default:
			t.Fatalf("%q: got %d %s", body, got.status, got.text)
		}
	})
}

func FuzzFormURLEncoded(f *testing.F) {
	for _, seed := range []string{"email=a@example.com", "your-email=a%40example.com&x[]=1&x=2&_charset_=koi8-r&n=%C1", "=&&=%", "email=a@example.com&_charset_=utf-16le&x=a"} {
		f.Add(seed)
	}
	fuzzForm(f, urlencoded)
}

func FuzzFormMultipart(f *testing.F) {
	for _, seed := range []string{
		"--b\r\nContent-Disposition: form-data; name=\"your-email\"\r\n\r\na@example.com\r\n--b--\r\n",
		"--b\nContent-Disposition: form-data; name=email\n\na@example.com\n--b\nContent-Disposition: form-data; name=cv; filename=\"\"\n\n\n--b--",
		"--b\r\nContent-Transfer-Encoding: quoted-printable\r\nContent-Disposition: form-data; name=email\r\n\r\na=40example.com=\r\n\r\n--b--",
		"--b\r\nContent-Disposition: form-data; name=cv; filename=x\r\n\r\n", "--b--", "",
	} {
		f.Add(seed)
	}
	fuzzForm(f, "multipart/form-data; boundary=b")
}

func FuzzFormJSON(f *testing.F) {
	for _, seed := range []string{`{"your-email":"a@example.com","x":[null,"",{"y":1e400}]}`, `{"email":["a@example.com","a@example.com"]}`, `{"email":[[],{}]}`, `{"":1}`, `null`, `{`} {
		f.Add(seed)
	}
	fuzzForm(f, "application/json")
}
