package ingest_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/leadrelay/leadrelay/ingest"
	"github.com/leadrelay/leadrelay/internal/lead"
)

// TestSpamIsKeptAsideAndAnsweredLikeALead compares what a program sees of a post that is taken for spam with what a
// person sees, and releases the spam.
func TestSpamIsKeptAsideAndAnsweredLikeALead(t *testing.T) {
	f := contact()
	f.Honeypot, f.MinFill, f.RequireToken = "company_url", time.Minute, true
	f.Set = map[string]any{"campaign": "spring"}
	f.Consent = &ingest.Consent{Field: "terms", Text: "I agree."}
	f.DoubleSubmit = 10 * time.Minute
	a := startForm(t, f)
	secret, err := a.store.Secret(context.Background(), "forms")
	if err != nil {
		t.Fatal(err)
	}
	now := a.store.Now()
	sign := func(form string, ago time.Duration) string { return ingest.SignToken(secret, form, now.Add(-ago)) }
	fine := sign("contact", 2*time.Minute)
	altered, err := base64.RawURLEncoding.DecodeString(fine)
	if err != nil {
		t.Fatal(err)
	}
	altered[7]-- // a little earlier
	plain := map[string]string{"script": "application/json", "person": "text/html"}
	want := map[string]formAnswer{}
	for who, accept := range plain {
		want[who] = a.fill("email=jane@example.com&_token="+fine+"&company_url=+&who="+who, "Accept", accept)
		if want[who].status != 200 {
			t.Fatalf("got %d %s", want[who].status, want[who].text)
		}
		want[who].header.Del("Date")
	}
	if got := len(a.stored()); got != 2 {
		t.Fatalf("2 posts of persons made %d leads", got)
	}
	spam := map[string]string{
		"company_url=x&_token=" + fine:                "honeypot",
		"company_url[]=&company_url=x&_token=" + fine: "honeypot",
		"":                             "no _token",
		"_token=":                      "no _token",
		"_token=" + sign("contact", 0): "less than 1m0s",
		"_token=" + sign("contact", 59*time.Second):                                                "less than 1m0s",
		"_token=" + sign("contact", 25*time.Hour):                                                  "stale",
		"_token=" + sign("contact", -10*time.Minute):                                               "forged",
		"_token=" + sign("contac", 2*time.Minute):                                                  "forged",
		"_token=" + base64.RawURLEncoding.EncodeToString(altered):                                  "forged",
		"_token=" + ingest.SignToken([]byte("another secret"), "contact", now.Add(-2*time.Minute)): "forged",
		"_token=" + fine + "A":                                                                     "forged",
		"_token=nonsense%20":                                                                       "forged",
	}
	reasons := map[string]string{}
	n := 0
	for fields, reason := range spam {
		for who, accept := range plain {
			n++
			email := fmt.Sprintf("spam%d@example.com", n)
			reasons[email] = reason
			got := a.fill("email="+email+"&terms=on&note=Buy+now&"+fields, "Accept", accept)
			got.header.Del("Date")
			if !reflect.DeepEqual(got, want[who]) {
				t.Errorf("%s: a %s sees %d %v %s, of a lead %d %v %s", fields, who, got.status, got.header, got.text, want[who].status, want[who].header, want[who].text)
			}
		}
	}
	if got := a.fill("email=nonsense&company_url=x"); got.status != 422 || got.code() != "validation_failed" {
		t.Errorf("a program that sends no address: got %d %s", got.status, got.text)
	}
	if got := len(a.stored()); got != 2 {
		t.Errorf("spam made %d leads", got-2)
	}
	kept := a.spam()
	if len(kept) != n {
		t.Errorf("%d of %d are kept", len(kept), n)
	}
	for _, sub := range kept {
		patch, err := lead.ParseNew(sub.Payload)
		if err != nil {
			t.Fatalf("%s: %v", sub.Payload, err)
		}
		if reason := reasons[*patch.Email]; sub.Origin != ingest.FormOrigin("contact") || reason == "" || !strings.Contains(sub.Reason, reason) {
			t.Errorf("%s of %s is kept as %q, want %q", *patch.Email, sub.Origin, sub.Reason, reason)
		}
		if *patch.Source != "website" || patch.Custom["campaign"] != "spring" || patch.Custom["consent"] != true || patch.Custom["consent_at"] == nil ||
			patch.Custom["company_url"] != nil || patch.Custom["_token"] != nil {
			t.Errorf("it would be released as %s", sub.Payload)
		}
	}
	patch, _ := lead.ParseNew(kept[0].Payload)
	l, err := a.store.Release(context.Background(), kept[0].ID, patch, false)
	if err != nil || l.Email != *patch.Email || len(a.stored()) != 3 {
		t.Errorf("released %+v, %v", l, err)
	}
}

func TestSpamThatIsSentAgainIsKeptOnceAndCostsNoPersonALead(t *testing.T) {
	f := contact()
	f.MinFill, f.DoubleSubmit = time.Minute, 10*time.Minute
	a := startForm(t, f)
	secret, err := a.store.Secret(context.Background(), "forms")
	if err != nil {
		t.Fatal(err)
	}
	fast := "&_token=" + ingest.SignToken(secret, "contact", a.store.Now())
	slow := "&_token=" + ingest.SignToken(secret, "contact", a.store.Now().Add(-time.Hour))
	for _, key := range []string{"", "a-fill"} {
		fields := "email=jane@example.com&key=" + key
		for range 3 {
			a.fill(fields+fast, "Idempotency-Key", key)
		}
		before := len(a.stored())
		if got := a.fill(fields+slow, "Idempotency-Key", key); got.status != 200 || len(a.stored()) != before+1 {
			t.Errorf("with key %q: what was sent again after a while got %d %s and %d leads", key, got.status, got.text, len(a.stored())-before)
		}
	}
	if got := len(a.spam()); got != 2 {
		t.Errorf("2 posts that came 3 times each are kept %d times", got)
	}
}

func TestATokenIsAskedForWithTheForm(t *testing.T) {
	f := contact()
	f.RequireToken = true
	a := startForm(t, f)
	req, _ := http.NewRequest("GET", a.url+"/f/contact/token", nil)
	got := a.ask(req, "Origin", site)
	token, _ := got.body["token"].(string)
	if got.status != 200 || token == "" || len(got.body) != 1 || got.header.Get("Cache-Control") != "no-store" || got.header.Get("Access-Control-Allow-Origin") != site {
		t.Fatalf("got %d %v %s", got.status, got.header, got.text)
	}
	if got := a.fill("email=jane@example.com&_token=" + token); got.status != 200 || len(a.stored()) != 1 {
		t.Errorf("with it: got %d %s and %d leads", got.status, got.text, len(a.stored()))
	}
	if got := a.ask(mustRequest(t, a.url+"/f/contact/token")); got.status != 200 {
		t.Errorf("for another server: got %d %s", got.status, got.text)
	}
	if got := a.ask(mustRequest(t, a.url+"/f/unknown/token"), "Accept", "application/json"); got.status != 404 {
		t.Errorf("of an unknown form: got %d %s", got.status, got.text)
	}
}

func mustRequest(t testing.TB, url string) *http.Request {
	req, err := http.NewRequest("GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	return req
}

// TestARateCountsTheAddressThatProxiesVouchFor posts twice where one post is allowed, with X-Forwarded-For as given.
func TestARateCountsTheAddressThatProxiesVouchFor(t *testing.T) {
	here := []string{"127.0.0.0/8", "::1/128"}
	proxies := append(here, "10.0.0.0/8", "2001:db8:ffff::/48")
	for name, c := range map[string]struct {
		trusted       []string
		first, second []string
		same          bool // both are one client's
	}{
		"nobody is trusted":                       {nil, []string{"192.0.2.1"}, []string{"192.0.2.2"}, true},
		"another network is trusted":              {[]string{"10.0.0.0/8"}, []string{"192.0.2.1"}, []string{"192.0.2.2"}, true},
		"two clients":                             {proxies, []string{"192.0.2.1"}, []string{"192.0.2.2"}, false},
		"one client":                              {proxies, []string{"192.0.2.1"}, []string{"192.0.2.1"}, true},
		"what a client writes counts for nothing": {proxies, []string{"198.51.100.1, 192.0.2.1"}, []string{"198.51.100.2, 192.0.2.1"}, true},
		"nor on a line of its own":                {proxies, []string{"198.51.100.1", "192.0.2.1"}, []string{"198.51.100.2", "192.0.2.1"}, true},
		"nor a trusted address":                   {proxies, []string{"10.9.9.9, 192.0.2.1"}, []string{"10.8.8.8, 192.0.2.1"}, true},
		"through several proxies":                 {proxies, []string{"192.0.2.1, 10.0.0.1", "2001:db8:ffff::1"}, []string{"192.0.2.2,10.0.0.1,10.0.0.2"}, false},
		"one client by two ways":                  {proxies, []string{"192.0.2.1, 10.0.0.1"}, []string{"192.0.2.1"}, true},
		"with ports":                              {proxies, []string{"192.0.2.1:1234"}, []string{"192.0.2.1:5678"}, true},
		"IPv4 as IPv6":                            {proxies, []string{"::ffff:192.0.2.1"}, []string{"192.0.2.1"}, true},
		"two of one IPv6 network":                 {proxies, []string{"2001:db8:1:2::1"}, []string{"[2001:db8:1:2:ffff::9]:443"}, true},
		"two of two IPv6 networks":                {proxies, []string{"2001:db8:1:2::1"}, []string{"2001:db8:1:3::1"}, false},
		"garbage is the proxy's":                  {proxies, []string{"192.0.2.1, unknown"}, []string{"192.0.2.2, "}, true},
		"garbage behind a proxy as well":          {proxies, []string{"nonsense, 10.0.0.1"}, []string{"nonsense, 10.0.0.2"}, true},
		"proxies alone":                           {proxies, []string{"10.0.0.1"}, []string{"10.0.0.2"}, false},
		"no header":                               {proxies, nil, nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			f := contact()
			f.Posts, f.Per = 1, time.Hour
			a := startForm(t, f, func(o *ingest.Options) {
				for _, network := range c.trusted {
					o.TrustedProxies = append(o.TrustedProxies, netip.MustParsePrefix(network))
				}
			})
			post := func(forwarded []string) formAnswer {
				req, _ := http.NewRequest("POST", a.url+"/f/contact", strings.NewReader("email=jane"))
				req.Header["X-Forwarded-For"] = forwarded
				return a.ask(req, "Content-Type", urlencoded, "Origin", site, "Accept", "application/json")
			}
			if got := post(c.first); got.status != 422 {
				t.Fatalf("the first: got %d %s", got.status, got.text)
			}
			got := post(c.second)
			if c.same && (got.status != 429 || got.code() != "too_many_requests" || got.header.Get("Retry-After") == "" || got.header.Get("Access-Control-Allow-Origin") != site) {
				t.Errorf("the second of one client: got %d %v %s", got.status, got.header, got.text)
			}
			if !c.same && got.status != 422 {
				t.Errorf("the second, of another client: got %d %s", got.status, got.text)
			}
		})
	}
}

func TestARateIsOfOneForm(t *testing.T) {
	f := contact()
	f.Posts, f.Per = 2, time.Hour
	other := f
	other.Name = "other"
	a := startForm(t, f, func(o *ingest.Options) { o.Forms = append(o.Forms, other) })
	for i, want := range []int{200, 200, 429} {
		if got := a.fill("email=jane@example.com"); got.status != want {
			t.Errorf("post %d: got %d %s", i, got.status, got.text)
		}
	}
	if got := a.sendTo("other", urlencoded, "email=jane@example.com"); got.status != 200 {
		t.Errorf("another form: got %d %s", got.status, got.text)
	}
	if got := a.fill("email=jane@example.com", "Accept", "text/html"); got.status != 429 || got.body != nil || got.header.Get("Retry-After") == "" {
		t.Errorf("for a person: got %d %s", got.status, got.text)
	}
}
