package ingest_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/leadrelay/leadrelay/ingest"
)

const captchaSecret = "a-secret-of-the-provider"

// verifier is a captcha provider's siteverify; it checks what it is sent and says what it is told to.
type verifier struct {
	url   string
	asked atomic.Int64
	say   atomic.Pointer[http.HandlerFunc]
}

func startVerifier(t testing.TB) *verifier {
	v := &verifier{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		v.asked.Add(1)
		if r.Method != "POST" || r.Header.Get("Content-Type") != urlencoded || r.URL.RawQuery != "" {
			t.Errorf("it is asked by %s %s, %s", r.Method, r.URL, r.Header.Get("Content-Type"))
		}
		if r.PostFormValue("secret") != captchaSecret || r.PostFormValue("remoteip") != "127.0.0.1" || len(r.PostForm) != 3 {
			t.Errorf("it is asked %v", r.PostForm)
		}
		(*v.say.Load())(w, r)
	}))
	t.Cleanup(server.Close)
	v.url = server.URL + "/siteverify"
	v.says(200, `{"success":true}`)
	return v
}

func (v *verifier) says(status int, body string) {
	v.does(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		fmt.Fprint(w, body)
	})
}

func (v *verifier) does(do http.HandlerFunc) { v.say.Store(&do) }

var widgets = map[string]string{
	ingest.Turnstile: "cf-turnstile-response", ingest.HCaptcha: "h-captcha-response", ingest.ReCAPTCHA: "g-recaptcha-response",
}

func TestACaptchaIsVerifiedByItsProvider(t *testing.T) {
	for provider, field := range widgets {
		t.Run(provider, func(t *testing.T) {
			v := startVerifier(t)
			v.does(func(w http.ResponseWriter, r *http.Request) {
				fmt.Fprintf(w, `{"success":%t,"challenge_ts":"2026-11-26T10:00:00Z","hostname":"www.example.com","error-codes":["invalid-input-response"]}`,
					r.PostFormValue("response") == "good")
			})
			f := contact()
			f.Captcha = &ingest.Captcha{Provider: provider, Secret: captchaSecret, URL: v.url}
			a := startForm(t, f)
			for token, want := range map[string]int{"good": 200, "bad": 422, "": 422, strings.Repeat("x", 9000): 422} {
				before := v.asked.Load()
				got := a.fill("email=jane@example.com&" + field + "=" + token)
				if got.status != want || want == 422 && got.code() != "captcha_failed" {
					t.Errorf("%.20q: got %d %s", token, got.status, got.text)
				}
				if asked := v.asked.Load() - before; asked != 1 && (token == "good" || token == "bad") || asked != 0 && len(token) != 4 && len(token) != 3 {
					t.Errorf("%.20q: the provider is asked %d times", token, asked)
				}
			}
			before := v.asked.Load()
			if got := a.fill("email=jane&" + field + "=good"); got.status != 422 || got.code() != "validation_failed" || v.asked.Load() != before {
				t.Errorf("a token counts once, and is used up for a post with problems: got %d %s", got.status, got.text)
			}
			if got := a.stored(); len(got) != 1 || got[0][field] != nil {
				t.Errorf("got %v", got)
			}
		})
	}
}

func TestWhatAVerifierThatFailsMeansIsTheFormsChoice(t *testing.T) {
	elsewhere := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("the secret goes elsewhere: %s %s", r.Method, r.PostFormValue("secret"))
	}))
	defer elsewhere.Close()
	v := startVerifier(t)
	hang := make(chan struct{})
	defer close(hang)
	says := func(status int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status); fmt.Fprint(w, body) }
	}
	var log bytes.Buffer
	closed, open := contact(), contact()
	open.Name = "open"
	closed.Captcha = &ingest.Captcha{Provider: ingest.Turnstile, Secret: captchaSecret, URL: v.url, Timeout: 200 * time.Millisecond}
	open.Captcha = &ingest.Captcha{Provider: ingest.Turnstile, Secret: captchaSecret, URL: v.url, Timeout: 200 * time.Millisecond, FailOpen: true}
	a := startForm(t, closed, func(o *ingest.Options) {
		o.Forms = append(o.Forms, open)
		o.Log = slog.New(slog.NewTextHandler(&syncWriter{w: &log}, nil))
	})
	failures := 0
	for name, does := range map[string]http.HandlerFunc{
		"it fails":                 says(500, `{"success":true}`),
		"it is away":               says(502, "<html>Bad gateway"),
		"it throttles":             says(429, `{"success":false}`),
		"a page":                   says(200, "<html>Welcome"),
		"nothing":                  says(200, ""),
		"a success that is a text": says(200, `{"success":"true"}`),
		"no success":               says(200, `{"hostname":"www.example.com"}`),
		"an array":                 says(200, `[{"success":true}]`),
		"half an answer":           says(200, `{"success":true`),
		"endless":                  says(200, `{"success":true,"x":"`+strings.Repeat("x", 1<<20)+`"}`),
		"our secret is wrong":      says(200, `{"success":false,"error-codes":["invalid-input-secret"]}`),
		"the same as an error":     says(400, `{"success":false,"error-codes":["missing-input-secret"]}`),
		"its own trouble":          says(200, `{"success":false,"error-codes":["internal-error"]}`),
		"it leads elsewhere": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere.URL, http.StatusTemporaryRedirect)
		},
		"it hangs": func(w http.ResponseWriter, r *http.Request) { <-hang },
		"it hangs up": func(w http.ResponseWriter, _ *http.Request) {
			conn, _, _ := w.(http.Hijacker).Hijack()
			conn.Close()
		},
	} {
		v.does(does)
		failures++
		if got := a.send(urlencoded, "email=jane@example.com&cf-turnstile-response=t"); got.status != 503 || got.code() != "unavailable" || got.header.Get("Retry-After") == "" {
			t.Errorf("%s: closed: got %d %s", name, got.status, got.text)
		}
		if got := a.sendTo("open", urlencoded, "email=jane@example.com&cf-turnstile-response=t"); got.status != 200 {
			t.Errorf("%s: open: got %d %s", name, got.status, got.text)
		}
	}
	if got := len(a.stored()); got != failures {
		t.Errorf("%d failures made %d leads, want one each where posts are accepted meanwhile", failures, got)
	}
	_, metrics := a.plain("/metrics")
	for _, form := range []string{"contact", "open"} {
		if line := fmt.Sprintf("leadrelay_form_captcha_unverified_total{form=%q} %d", form, failures); !strings.Contains(metrics, line) {
			t.Errorf("%s is not in the metrics", line)
		}
	}
	if !strings.Contains(log.String(), "captcha cannot be verified") || strings.Contains(log.String(), captchaSecret) || strings.Contains(log.String(), "jane") {
		t.Errorf("logged: %s", &log)
	}

	v.says(200, `{"success":false,"error-codes":["missing-input-response"]}`)
	if got := a.sendTo("open", urlencoded, "email=jane@example.com"); got.status != 422 || got.code() != "captcha_failed" {
		t.Errorf("open, and no token though the provider answers: got %d %s", got.status, got.text)
	}
	v.says(500, "")
	if got := a.sendTo("open", urlencoded, "email=jane@example.com"); got.status != 200 {
		t.Errorf("open, and no token as the provider is away: got %d %s", got.status, got.text)
	}
	v.says(400, `{"success":false,"error-codes":["bad-request"]}`)
	if got := a.sendTo("open", urlencoded, "email=jane@example.com&cf-turnstile-response=%00"); got.status != 422 {
		t.Errorf("a token that breaks the question: got %d %s", got.status, got.text)
	}
}

func TestAScoreOfReCAPTCHAIsAPersonsFromHalf(t *testing.T) {
	v := startVerifier(t)
	f := contact()
	f.Captcha = &ingest.Captcha{Provider: ingest.ReCAPTCHA, Secret: captchaSecret, URL: v.url}
	a := startForm(t, f)
	for score, want := range map[string]int{"0.1": 422, "0.5": 200, "0.9": 200} {
		v.says(200, `{"success":true,"score":`+score+`,"action":"submit"}`)
		if got := a.fill("email=jane@example.com&g-recaptcha-response=t"); got.status != want {
			t.Errorf("%s: got %d %s", score, got.status, got.text)
		}
	}
}

// TestARepeatNeedsNoOtherCaptcha has a verifier that takes a token once, as they do.
func TestARepeatNeedsNoOtherCaptcha(t *testing.T) {
	v := startVerifier(t)
	var used atomic.Bool
	v.does(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"success":%t,"error-codes":["timeout-or-duplicate"]}`, !used.Swap(true))
	})
	f := contact()
	f.DoubleSubmit, f.Honeypot = 10*time.Minute, "company_url"
	f.Captcha = &ingest.Captcha{Provider: ingest.HCaptcha, Secret: captchaSecret, URL: v.url}
	a := startForm(t, f)
	const fields = "email=jane@example.com&h-captcha-response=once"
	for _, key := range []string{"", "a-fill"} {
		used.Store(false)
		a.redis.Kill() // the token is used up before the lead is stored
		if got := a.send(urlencoded, fields, "Idempotency-Key", key); got.status != 503 || !used.Load() {
			t.Fatalf("without Redis: got %d %s", got.status, got.text)
		}
		a.redis.Restart(t)
		for range 2 {
			if got := a.fill(fields, "Idempotency-Key", key); got.status != 200 {
				t.Errorf("with key %q: the same again got %d %s", key, got.status, got.text)
			}
		}
		for _, other := range []string{"&note=other", "&company_url=x"} {
			if got := a.fill(fields+other, "Idempotency-Key", key+"x"); got.status != 422 || got.code() != "captcha_failed" {
				t.Errorf("with key %q: another post with the same token got %d %s", key, got.status, got.text)
			}
		}
	}
	if got := len(a.stored()); got != 2 {
		t.Errorf("2 posts that were repeated made %d leads", got)
	}
}
