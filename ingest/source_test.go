package ingest_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/leadrelay/leadrelay/ingest"
	"github.com/leadrelay/leadrelay/internal/sources"
	"github.com/leadrelay/leadrelay/internal/store"
)

const typeformSecret = "a-secret-of-typeform"

func openSource(t testing.TB, kind string, settings map[string]any, o sources.Options) ingest.Source {
	t.Helper()
	for _, k := range sources.Kinds() {
		if k.Name == kind {
			o.Name = strings.ToLower(t.Name()[:4])
			opened, err := k.Open(settings, o)
			if err != nil {
				t.Fatal(err)
			}
			return ingest.Source{Name: "signup", Source: opened}
		}
	}
	t.Fatalf("there is no kind %s", kind)
	return ingest.Source{}
}

// typeforms is a front end with Typeform as a source, and its store.
func typeforms(t testing.TB, fields ...sources.Rule) *api {
	return start(t, func(o *ingest.Options) {
		o.Sources = []ingest.Source{openSource(t, "typeform", map[string]any{"secret": typeformSecret}, sources.Options{Fields: fields})}
	})
}

// submission is a Typeform delivery (https://www.typeform.com/developers/webhooks/example-payload/).
func submission(token, email string) string {
	return fmt.Sprintf(`{"event_id":"01%s","event_type":"form_response","form_response":{"form_id":"lT4Z3j","token":%q,
"submitted_at":"2026-11-26T10:00:00Z","definition":{"id":"lT4Z3j","title":"Signup","fields":[{"id":"e","ref":"mail","type":"email","title":"Your address"}]},
"answers":[{"type":"email","email":%q,"field":{"id":"e","type":"email","ref":"mail"}}]}}`, token, token, email)
}

func typeformSign(body string) string {
	mac := hmac.New(sha256.New, []byte(typeformSecret))
	mac.Write([]byte(body))
	return "sha256=" + base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

func (a *api) deliver(body, signature string) answer {
	a.t.Helper()
	return a.do("POST", "/in/signup", "", body, "Typeform-Signature", signature)
}

func (a *api) leadsOf(email string) int {
	a.t.Helper()
	return len(a.do("GET", "/api/v1/leads?email="+email, full, "").body["data"].([]any))
}

func TestADeliveryIsALeadOnceHoweverOftenItComes(t *testing.T) {
	a := typeforms(t)
	body := submission("t1", "jane@example.com")
	var group sync.WaitGroup
	for range 20 {
		group.Go(func() {
			if got := a.deliver(body, typeformSign(body)); got.status != 200 {
				t.Errorf("got %d %s", got.status, got.text)
			}
		})
	}
	group.Wait()
	if got := a.leadsOf("jane@example.com"); got != 1 {
		t.Errorf("20 deliveries of one submission made %d leads", got)
	}
}

func TestADeliveryThatIsNotVerifiedIsRefusedAndKeepsNothing(t *testing.T) {
	a := typeforms(t)
	body := submission("t1", "jane@example.com")
	signature := typeformSign(body)
	for name, c := range map[string]struct {
		body, signature string
		status          int
	}{
		"no signature":        {body, "", 401},
		"another signature":   {body, typeformSign(body + " "), 401},
		"an altered body":     {strings.Replace(body, "jane", "june", 1), signature, 401},
		"an unsigned scheme":  {body, strings.TrimPrefix(signature, "sha256="), 401},
		"signed and not JSON": {"hello", typeformSign("hello"), 400},
	} {
		if got := a.deliver(c.body, c.signature); got.status != c.status || got.body["success"] != false {
			t.Errorf("%s: got %d %s", name, got.status, got.text)
		}
	}
	if got := a.do("POST", "/in/unknown", "", body, "Typeform-Signature", signature); got.status != 404 {
		t.Errorf("an unknown source: %d %s", got.status, got.text)
	}
	if got := a.deliver(`{"pad":"`+strings.Repeat("x", 1<<20)+`"}`, signature); got.status != 413 {
		t.Errorf("a huge one: %d %.200s", got.status, got.text)
	}
	if got := a.leadsOf("jane@example.com"); got != 0 {
		t.Errorf("refused deliveries made %d leads", got)
	}
	if counts, err := a.store.CountSubmissions(context.Background()); err != nil || len(counts) != 0 {
		t.Errorf("refused deliveries are kept: %v, %v", counts, err)
	}
}

func TestP1ADeliveryThatCannotBeMappedIsKeptAndIsALeadWhenTheMappingIsMended(t *testing.T) {
	a := typeforms(t, sources.Rule{To: "email", From: "nowhere.at.all"})
	body := submission("t1", "jane@example.com")
	for range 2 {
		if got := a.deliver(body, typeformSign(body)); got.status != 200 {
			t.Fatalf("got %d %s", got.status, got.text)
		}
	}
	ctx := context.Background()
	kept, _, err := a.store.Submissions(ctx, store.SubmissionQuery{State: store.Unmapped, Limit: 10})
	if err != nil || len(kept) != 1 || kept[0].Origin != "source/signup" || !strings.Contains(kept[0].Reason, "email") || strings.Contains(kept[0].Reason, "jane") {
		t.Fatalf("got %+v, %v", kept, err)
	}
	mended := openSource(t, "typeform", map[string]any{"secret": typeformSecret}, sources.Options{})
	patch, err := mended.Source.Map(kept[0].Payload)
	if err != nil {
		t.Fatal(err)
	}
	l, err := a.store.Release(ctx, kept[0].ID, patch, false)
	if err != nil || l.Email != "jane@example.com" || l.ID != kept[0].ID {
		t.Errorf("got %+v, %v", l, err)
	}
	if got := a.deliver(body, typeformSign(body)); got.status != 200 || a.leadsOf("jane@example.com") != 1 {
		t.Errorf("a delivery that comes again after it is a lead: %d %s, %d leads", got.status, got.text, a.leadsOf("jane@example.com"))
	}
}

func TestADeliveryWhileRedisIsAwayIsAnswered503SoThatItComesAgain(t *testing.T) {
	a := typeforms(t)
	body := submission("t1", "jane@example.com")
	a.redis.Kill()
	if got := a.deliver(body, typeformSign(body)); got.status != 503 || got.header.Get("Retry-After") == "" {
		t.Errorf("got %d %s", got.status, got.text)
	}
}

func TestMetasAddressIsVerifiedByItsTokenAndADeliveryIsToBeFetched(t *testing.T) {
	a := start(t, func(o *ingest.Options) {
		o.Sources = []ingest.Source{openSource(t, "meta", map[string]any{
			"app_secret": typeformSecret, "verify_token": "meatyhamhock", "access_token": "token",
		}, sources.Options{})}
	})
	ask := func(token string) (int, string) {
		return a.plain("/in/signup?hub.mode=subscribe&hub.challenge=1158201444&hub.verify_token=" + token)
	}
	if status, text := ask("meatyhamhock"); status != 200 || text != "1158201444" {
		t.Errorf("got %d %s", status, text)
	}
	if status, _ := ask("another"); status != 403 {
		t.Errorf("a wrong token: got %d", status)
	}
	body := `{"object":"page","entry":[{"id":"1","time":1,"changes":[{"field":"leadgen","value":{"leadgen_id":"444","form_id":"2","page_id":"1","created_time":1}},` +
		`{"field":"leadgen","value":{"leadgen_id":"445","form_id":"2","page_id":"1","created_time":1}}]}]}`
	mac := hmac.New(sha256.New, []byte(typeformSecret))
	mac.Write([]byte(body))
	for range 2 {
		if got := a.do("POST", "/in/signup", "", body, "X-Hub-Signature-256", fmt.Sprintf("sha256=%x", mac.Sum(nil))); got.status != 200 {
			t.Fatalf("got %d %s", got.status, got.text)
		}
	}
	counts, err := a.store.CountSubmissions(context.Background())
	if err != nil || counts["source/signup"][store.Fetching] != 2 {
		t.Errorf("got %v, %v; want two leads to fetch", counts, err)
	}
}
