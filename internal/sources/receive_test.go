package sources_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/leadrelay/leadrelay/connectors/connectortest"
	"github.com/leadrelay/leadrelay/internal/sources"
)

func TestEveryKindIsTested(t *testing.T) {
	for _, kind := range sources.Kinds() {
		if !slices.ContainsFunc(services, func(s service) bool { return s.kind == kind.Name }) {
			t.Errorf("%s has no service here", kind.Name)
		}
	}
}

func TestADeliveryIsReceived(t *testing.T) {
	for _, s := range services {
		t.Run(s.kind, func(t *testing.T) {
			for name, settings := range map[string]map[string]any{"secret": s.settings, "previous secret": s.previous} {
				if settings == nil {
					continue
				}
				body := []byte(s.body)
				d, err := open(t, s.kind, settings, sources.Options{}).Receive("POST", s.sign(body, at), nil, body)
				if err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				wantID := s.id
				if wantID == "" {
					sum := sha256.Sum256(body)
					wantID = hex.EncodeToString(sum[:])
				}
				wantKey := s.key
				if wantKey == "" {
					wantKey = wantID
				}
				if d.ID != wantID || len(d.Items) != 1 || d.Items[0].Key != wantKey || d.Items[0].Fetch != (s.kind == "meta") {
					t.Errorf("%s: got ID %q, %d items %+v; want ID %q, key %q", name, d.ID, len(d.Items), d.Items, wantID, wantKey)
				}
			}
		})
	}
}

func TestARetryHasTheSameIDsAndAnotherDeliveryHasNot(t *testing.T) {
	for _, s := range services {
		t.Run(s.kind, func(t *testing.T) {
			source := open(t, s.kind, s.settings, sources.Options{})
			receive := func(body string, at time.Time) sources.Delivery {
				t.Helper()
				d, err := source.Receive("POST", s.sign([]byte(body), at), nil, []byte(body))
				if err != nil {
					t.Fatal(err)
				}
				return d
			}
			first, again := receive(s.body, at), receive(s.body, at.Add(time.Minute))
			if first.ID != again.ID || first.Items[0].Key != again.Items[0].Key {
				t.Errorf("%s, %s became %s, %s when it was sent again", first.ID, first.Items[0].Key, again.ID, again.Items[0].Key)
			}
			if s.kind == "standardwebhooks" {
				return // its id is in a header
			}
			replaced := strings.NewReplacer(`"token":"a`, `"token":"b`, "invitees/inv456", "invitees/inv457", "444444444444", "444444444445",
				`"responseId":"2`, `"responseId":"3`, `"id":"6321`, `"id":"6322`, `"company":"Acme"`, `"company":"Apex"`, `"id":17`, `"id":18`).Replace(s.body)
			if other := receive(replaced, at); other.ID == first.ID || other.Items[0].Key == first.Items[0].Key {
				t.Errorf("another delivery has the same ID %s, key %s", other.ID, other.Items[0].Key)
			}
		})
	}
}

func TestWhatIsAlteredByOneByteIsRefused(t *testing.T) {
	for _, s := range services {
		t.Run(s.kind, func(t *testing.T) {
			source := open(t, s.kind, s.settings, sources.Options{})
			body := []byte(s.body)
			good := s.sign(body, at)
			check := func(what string, header http.Header, body []byte) {
				t.Helper()
				if d, err := source.Receive("POST", header, nil, body); !errors.Is(err, sources.ErrUnverified) || d.Items != nil {
					t.Errorf("%s: got %d items, %v", what, len(d.Items), err)
				}
			}
			if !s.unsigned {
				for i := range body {
					altered := slices.Clone(body)
					altered[i] ^= 1
					check(fmt.Sprintf("byte %d of the body altered", i), good, altered)
					check(fmt.Sprintf("byte %d of the body missing", i), good, slices.Delete(slices.Clone(body), i, i+1))
				}
				check("a byte more", good, append(slices.Clone(body), ' '))
				check("no body", good, nil)
			}
			for name := range good {
				value := good.Get(name)
				for i := range value {
					for _, bit := range []byte{1, 2, 4, 8, 16} { // 32 is the case of a letter, which hex has in both
						altered := good.Clone()
						altered.Set(name, value[:i]+string(value[i]^bit)+value[i+1:])
						check(fmt.Sprintf("bit %d of byte %d of %s altered", bit, i, name), altered, body)
					}
					altered := good.Clone()
					altered.Set(name, value[:i]+value[i+1:])
					check(fmt.Sprintf("byte %d of %s missing", i, name), altered, body)
				}
				for what, values := range map[string][]string{
					"missing": nil, "empty": {""}, "twice": {value, value}, "good and bad": {value, "x"}, "bad and good": {"x", value}, "joined": {value + ", " + value},
				} {
					if what == "joined" && (s.kind == "calendly" || s.kind == "standardwebhooks") {
						continue // their header may hold several
					}
					altered := good.Clone()
					altered[name] = values
					check(name+" "+what, altered, body)
				}
			}
		})
	}
}

func TestASecretOfSomeoneElseIsRefused(t *testing.T) {
	for _, s := range services {
		t.Run(s.kind, func(t *testing.T) {
			settings := map[string]any{}
			for key, value := range s.settings {
				settings[key] = value
				switch key {
				case "secret", "app_secret":
					settings[key] = otherSecret
					if s.kind == "standardwebhooks" {
						settings[key] = previousWhse
					}
				}
			}
			body := []byte(s.body)
			if _, err := open(t, s.kind, settings, sources.Options{}).Receive("POST", s.sign(body, at), nil, body); !errors.Is(err, sources.ErrUnverified) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestAnOldOrFutureSignatureIsStale(t *testing.T) {
	for _, s := range services {
		if s.ages == 0 {
			continue
		}
		t.Run(s.kind, func(t *testing.T) {
			for age, want := range map[time.Duration]error{
				s.ages: nil, s.ages + time.Second: sources.ErrStale, -s.ages: nil, -s.ages - time.Second: sources.ErrStale, 1000 * time.Hour: sources.ErrStale,
			} {
				source := open(t, s.kind, s.settings, sources.Options{Now: func() time.Time { return at.Add(age) }})
				body := []byte(s.body)
				if _, err := source.Receive("POST", s.sign(body, at), nil, body); !errors.Is(err, want) {
					t.Errorf("signed %v ago: got %v, want %v", age, err, want)
				}
			}
			settings := map[string]any{"tolerance": "1h"}
			for key, value := range s.settings {
				settings[key] = value
			}
			source := open(t, s.kind, settings, sources.Options{Now: func() time.Time { return at.Add(time.Hour) }})
			body := []byte(s.body)
			if _, err := source.Receive("POST", s.sign(body, at), nil, body); err != nil {
				t.Errorf("within the configured tolerance: %v", err)
			}
		})
	}
}

func TestWhatIsNoJSONObjectIsMalformed(t *testing.T) {
	for _, s := range services {
		t.Run(s.kind, func(t *testing.T) {
			source := open(t, s.kind, s.settings, sources.Options{})
			for _, text := range []string{"", "null", "[]", `"x"`, "{", `{"a":1}{"a":2}`, "a=b&c=d", "\xff", `{"a":1} x`} {
				body := []byte(text)
				if _, err := source.Receive("POST", s.sign(body, at), nil, body); !errors.Is(err, sources.ErrMalformed) {
					t.Errorf("%q: got %v", text, err)
				}
			}
			body := []byte(s.body)
			if _, err := source.Receive("GET", s.sign(body, at), nil, body); !errors.Is(err, sources.ErrMalformed) {
				t.Errorf("GET: got %v", err)
			}
			if d, err := source.Receive("POST", s.sign([]byte("{}"), at), nil, []byte("{}")); err != nil || len(d.Items) != 1 && s.kind != "meta" {
				t.Errorf("a delivery that cannot be understood must be kept: %+v, %v", d, err)
			}
		})
	}
}

// Vectors that the services publish, or that other programs make: these were made by
// printf '%s' BODY | openssl dgst -sha256 -hmac SECRET [-binary | base64].
func TestPublishedVectors(t *testing.T) {
	const body = `{"event_id":"1"}`
	for _, v := range []struct {
		name, kind string
		settings   map[string]any
		header     http.Header
		body       string
		at         int64
		want       error
	}{
		{"typeform by openssl", "typeform", map[string]any{"secret": "abc123"}, header("Typeform-Signature", "sha256=eChwCsSdaOrlDY+K90ShNR22qKRLT2Hgndx+TSs4VYQ="), body, 0, nil},
		{"tally by openssl", "tally", map[string]any{"secret": "abc123"}, header("Tally-Signature", "eChwCsSdaOrlDY+K90ShNR22qKRLT2Hgndx+TSs4VYQ="), body, 0, nil},
		{"calendly by openssl", "calendly", map[string]any{"secret": "abc123"}, header("Calendly-Webhook-Signature", "t=1492774577,v1=bdc1347a24490679cf1593f2ff3090ba4f734039b0c9d6c092cf29e82421be67"), body, 1492774577, nil},
		{"webflow by openssl", "webflow", map[string]any{"secret": "abc123"}, header("X-Webflow-Timestamp", "1663849649733", "X-Webflow-Signature", "afdea516a97d9b7ab03141a65e6706886bc6fba83f0ef050f43e0bb76075fe32"), body, 1663849649, nil},
		{"meta by openssl", "meta", map[string]any{"app_secret": "abc123", "verify_token": "v", "access_token": "a"}, header("X-Hub-Signature-256", "sha256=7828700ac49d68eae50d8f8af744a1351db6a8a44b4f61e09ddc7e4d2b385584"), body, 0, nil},
		// https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries#testing-the-webhook-payload-validation
		{"GitHub", "generic", map[string]any{"secret": "It's a Secret to Everybody", "header": "X-Hub-Signature-256", "prefix": "sha256="},
			header("X-Hub-Signature-256", "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"), "Hello, World!", 0, sources.ErrMalformed},
		// https://api.slack.com/authentication/verifying-requests-from-slack
		{"Slack", "generic", map[string]any{"secret": "8f742231b10e8888abcd99yyyzzz85a5", "header": "X-Slack-Signature", "prefix": "v0=",
			"signed": "v0:{timestamp}:{body}", "timestamp_header": "X-Slack-Request-Timestamp"},
			header("X-Slack-Request-Timestamp", "1531420618", "X-Slack-Signature", "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503"),
			"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c",
			1531420618, sources.ErrMalformed},
	} {
		t.Run(v.name, func(t *testing.T) {
			source := open(t, v.kind, v.settings, sources.Options{Now: func() time.Time { return time.Unix(v.at, 0) }})
			if _, err := source.Receive("POST", v.header, nil, []byte(v.body)); !errors.Is(err, v.want) {
				t.Errorf("got %v, want %v", err, v.want)
			}
		})
	}
}

func TestStandardWebhooksVectors(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(connectortest.SpecDir(t), "standard-webhooks", "vectors.json"))
	if err != nil {
		t.Fatal(err)
	}
	var vectors struct {
		Sign []struct {
			Secret, ID, Payload, Signature string
			Timestamp                      int64
		}
		Invalid   []string `json:"invalid_signatures"`
		Tolerance int      `json:"tolerance_seconds"`
	}
	if err := json.Unmarshal(text, &vectors); err != nil || len(vectors.Sign) == 0 || len(vectors.Invalid) == 0 {
		t.Fatalf("the vectors cannot be read: %v", err)
	}
	for _, v := range vectors.Sign {
		receive := func(age time.Duration, signature string) error {
			source := open(t, "standardwebhooks", map[string]any{"secret": v.Secret},
				sources.Options{Now: func() time.Time { return time.Unix(v.Timestamp, 0).Add(age) }})
			h := header("webhook-id", v.ID, "webhook-timestamp", fmt.Sprint(v.Timestamp), "webhook-signature", signature)
			_, err := source.Receive("POST", h, nil, []byte(v.Payload))
			return err
		}
		tolerance := time.Duration(vectors.Tolerance) * time.Second
		for signature, want := range map[string]error{
			v.Signature: nil,
			vectors.Invalid[0] + " v2," + v.Signature[3:] + " " + v.Signature + " " + vectors.Invalid[0]: nil,
			"v2," + v.Signature[3:]:  sources.ErrUnverified,
			"v1a," + v.Signature[3:]: sources.ErrUnverified,
			v.Signature[3:]:          sources.ErrUnverified,
			vectors.Invalid[0]:       sources.ErrUnverified,
			vectors.Invalid[1]:       sources.ErrUnverified,
		} {
			if err := receive(0, signature); !errors.Is(err, want) {
				t.Errorf("%s: got %v, want %v", signature, err, want)
			}
		}
		for _, age := range []time.Duration{tolerance + time.Second, -tolerance - time.Second} {
			if err := receive(age, v.Signature); !errors.Is(err, sources.ErrStale) {
				t.Errorf("%v old: got %v", age, err)
			}
		}
		if err := receive(tolerance, v.Signature); err != nil {
			t.Errorf("%v old: %v", tolerance, err)
		}
	}
}

func TestOtherEventsAreLeftOut(t *testing.T) {
	for _, c := range []struct{ kind, body string }{
		{"typeform", `{"event_id":"1","event_type":"form_response_partial","form_response":{"token":"t"}}`},
		{"calendly", `{"event":"invitee.canceled","payload":{"uri":"u","email":"a@example.com"}}`},
		{"tally", `{"eventId":"1","eventType":"FORM_CLOSED"}`},
		{"webflow", `{"triggerType":"site_publish","payload":{}}`},
		{"meta", `{"object":"page","entry":[{"id":"1","changes":[{"field":"feed","value":{"leadgen_id":1}}]}]}`},
	} {
		s := serviceOf(t, c.kind)
		d, err := open(t, c.kind, s.settings, sources.Options{}).Receive("POST", s.sign([]byte(c.body), at), nil, []byte(c.body))
		if err != nil || len(d.Items) != 0 || d.ID == "" {
			t.Errorf("%s: got %+v, %v", c.kind, d, err)
		}
	}
	s := serviceOf(t, "calendly")
	body := []byte(`{"event":"invitee.canceled","payload":{"uri":"u","email":"a@example.com"}}`)
	d, err := open(t, "calendly", map[string]any{"secret": secret, "events": []any{"invitee.created", "invitee.canceled"}}, sources.Options{}).
		Receive("POST", s.sign(body, at), nil, body)
	if err != nil || len(d.Items) != 1 || d.Items[0].Key != "invitee.canceled u" {
		t.Errorf("an event that was asked for: got %+v, %v", d, err)
	}
}

func TestCalendlySignatureHasPartsInAnyOrderAndOthers(t *testing.T) {
	s := serviceOf(t, "calendly")
	body := []byte(s.body)
	stamp, signature, _ := strings.Cut(s.sign(body, at).Get("Calendly-Webhook-Signature"), ",")
	source := open(t, "calendly", s.settings, sources.Options{})
	for text, want := range map[string]error{
		signature + "," + stamp:               nil,
		stamp + ",v2=00," + signature:         nil,
		stamp + ",v1=00," + signature:         nil,
		stamp + "," + stamp + "," + signature: sources.ErrUnverified,
		stamp:                                 sources.ErrUnverified,
		signature:                             sources.ErrUnverified,
		"t=," + signature:                     sources.ErrUnverified,
		"t=-1," + signature:                   sources.ErrUnverified,
		"t=99999999999999999999," + signature: sources.ErrUnverified,
		stamp + ",v1=":                        sources.ErrUnverified,
	} {
		if _, err := source.Receive("POST", header("Calendly-Webhook-Signature", text), nil, body); !errors.Is(err, want) {
			t.Errorf("%s: got %v, want %v", text, err, want)
		}
	}
}

func TestGenericSchemes(t *testing.T) {
	body := []byte(`{"contact":{"mail":"ann@example.com"}}`)
	for _, c := range []struct {
		name     string
		settings map[string]any
		header   http.Header
		want     error
	}{
		{"sha1 hex in upper case", map[string]any{"secret": "k", "header": "X-Sig", "algorithm": "sha1"}, header("X-Sig", "6DE492AF6CDB31EE65D1C9A969A60AD3E8280C27"), nil},
		{"sha512 base64", map[string]any{"secret": "k", "header": "X-Sig", "algorithm": "sha512", "encoding": "base64"}, header("X-Sig", "McjOp59i0ogoBmL896bdmQWlSg1HkqMuMkLrfG0ez2Bv0sy7cXiz27oTBb+fHeB1cwsqCqCq2JFyfpNzGiRJkg=="), nil},
		{"id signed", map[string]any{"secret": "k", "header": "X-Sig", "signed": "{id}.{body}!", "id_header": "X-Id"}, header("X-Sig", "dacc5a29584736173d67f5716b2e28ae943a2258dfe70b1d4ebb5ceb8bfb2813", "X-Id", "7"), nil},
		{"id altered", map[string]any{"secret": "k", "header": "X-Sig", "signed": "{id}.{body}!", "id_header": "X-Id"}, header("X-Sig", "dacc5a29584736173d67f5716b2e28ae943a2258dfe70b1d4ebb5ceb8bfb2813", "X-Id", "8"), sources.ErrUnverified},
		{"id that looks like a placeholder", map[string]any{"secret": "k", "header": "X-Sig", "signed": "{id}.{body}!", "id_header": "X-Id"}, header("X-Sig", "dacc5a29584736173d67f5716b2e28ae943a2258dfe70b1d4ebb5ceb8bfb2813", "X-Id", "{body}"), sources.ErrUnverified},
		{"bearer", map[string]any{"secret": "k", "verify": "header", "header": "Authorization", "prefix": "Bearer "}, header("Authorization", "Bearer k"), nil},
		{"bearer of another", map[string]any{"secret": "k", "verify": "header", "header": "Authorization", "prefix": "Bearer "}, header("Authorization", "Bearer kk"), sources.ErrUnverified},
		{"bearer without a prefix", map[string]any{"secret": "k", "verify": "header", "header": "Authorization", "prefix": "Bearer "}, header("Authorization", "k"), sources.ErrUnverified},
		{"basic", map[string]any{"secret": "k", "verify": "basic", "username": "u"}, header("Authorization", "Basic dTpr"), nil},
		{"basic, previous", map[string]any{"secret": "new", "previous_secret": "k", "verify": "basic", "username": "u"}, header("Authorization", "Basic dTpr"), nil},
		{"basic of another user", map[string]any{"secret": "k", "verify": "basic", "username": "v"}, header("Authorization", "Basic dTpr"), sources.ErrUnverified},
		{"basic of another password", map[string]any{"secret": "l", "verify": "basic", "username": "u"}, header("Authorization", "Basic dTpr"), sources.ErrUnverified},
		{"basic without any", map[string]any{"secret": "k", "verify": "basic", "username": "u"}, header(), sources.ErrUnverified},
		{"basic of nobody", map[string]any{"secret": "k", "verify": "basic", "username": "u"}, header("Authorization", "Basic Og=="), sources.ErrUnverified},
		{"an empty signature", map[string]any{"secret": "k", "header": "X-Sig"}, header("X-Sig", ""), sources.ErrUnverified},
		{"a prefix alone", map[string]any{"secret": "k", "header": "X-Sig", "prefix": "sha256="}, header("X-Sig", "sha256="), sources.ErrUnverified},
	} {
		t.Run(c.name, func(t *testing.T) {
			d, err := open(t, "generic", c.settings, sources.Options{}).Receive("POST", c.header, nil, body)
			if !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
			if c.name == "id signed" && d.ID != "7" {
				t.Errorf("got ID %q", d.ID)
			}
		})
	}
}

func TestWhenLeavesOut(t *testing.T) {
	s := serviceOf(t, "webflow")
	body := []byte(s.body)
	for when, items := range map[string]int{
		`payload.name == "Contact Us"`:             1,
		`payload.name == "Newsletter"`:             0,
		`payload.nothing.at.all == nil`:            1,
		`fields.Heads == "2" && found.email != ""`: 1,
		`fields["Phone Number"] > 20000000000`:     0,
		`payload.name > 3`:                         1, // it does not fit: kept, and Map says so
	} {
		source := open(t, "webflow", s.settings, sources.Options{When: when})
		d, err := source.Receive("POST", s.sign(body, at), nil, body)
		if err != nil || len(d.Items) != items {
			t.Errorf("%s: got %d items, %v", when, len(d.Items), err)
		}
		_, err = source.Map(body)
		if fits := items == 1 && when != `payload.name > 3`; fits != (err == nil) {
			t.Errorf("%s: Map: %v", when, err)
		}
	}
}

func TestMetaDeliversMany(t *testing.T) {
	s := serviceOf(t, "meta")
	body := []byte(`{"object":"page","entry":[
		{"id":"1","time":1,"changes":[
			{"field":"leadgen","value":{"leadgen_id":"11","form_id":"1","page_id":1}},
			{"field":"feed","value":{"leadgen_id":"99"}},
			{"field":"leadgen","value":{"leadgen_id":12,"form_id":2}},
			{"field":"leadgen","value":{"leadgen_id":12,"form_id":2}},
			{"field":"leadgen","value":{"form_id":"3"}}]},
		{"id":"2","time":1,"changes":[{"field":"leadgen","value":{"leadgen_id":13,"form_id":"1"}}]},
		{"id":"3","time":1}, null, 7, {"changes":{}}, {"changes":[null, 3, {"field":"leadgen"}, {"field":"leadgen","value":[]}]}]}`)
	d, err := open(t, "meta", s.settings, sources.Options{}).Receive("POST", s.sign(body, at), nil, body)
	if err != nil {
		t.Fatal(err)
	}
	keys := map[string]bool{}
	for _, item := range d.Items {
		if keys[item.Key] || !item.Fetch || !json.Valid(item.Payload) {
			t.Errorf("item %+v", item)
		}
		keys[item.Key] = true
	}
	if len(keys) != 5 || !keys["11"] || !keys["12"] || !keys["13"] { // two name no lead: kept, to be seen
		t.Errorf("got %v", keys)
	}
	if got := members(t, d.Items[1].Payload)["form_id"]; got != "2" {
		t.Errorf("an id is a text wherever Meta writes a number: got %#v", got)
	}

	d, err = open(t, "meta", s.settings, sources.Options{When: `form_id in ["1"]`}).Receive("POST", s.sign(body, at), nil, body)
	if err != nil || len(d.Items) != 2 {
		t.Errorf("when: got %+v, %v", d.Items, err)
	}
}

func TestMetaChallenge(t *testing.T) {
	source := open(t, "meta", serviceOf(t, "meta").settings, sources.Options{})
	query := func(pairs ...string) map[string][]string {
		q := map[string][]string{}
		for i := 0; i < len(pairs); i += 2 {
			q[pairs[i]] = append(q[pairs[i]], pairs[i+1])
		}
		return q
	}
	answer, ok := source.Challenge(query("hub.mode", "subscribe", "hub.challenge", "1158201444", "hub.verify_token", verifyToken))
	if answer != "1158201444" || !ok {
		t.Errorf("got %q, %v", answer, ok)
	}
	for name, q := range map[string]map[string][]string{
		"nothing":      nil,
		"no token":     query("hub.mode", "subscribe", "hub.challenge", "1"),
		"wrong token":  query("hub.mode", "subscribe", "hub.challenge", "1", "hub.verify_token", "meatyhamhocK"),
		"empty token":  query("hub.mode", "subscribe", "hub.challenge", "1", "hub.verify_token", ""),
		"two tokens":   query("hub.mode", "subscribe", "hub.challenge", "1", "hub.verify_token", verifyToken, "hub.verify_token", "x"),
		"other mode":   query("hub.mode", "unsubscribe", "hub.challenge", "1", "hub.verify_token", verifyToken),
		"no challenge": query("hub.mode", "subscribe", "hub.verify_token", verifyToken),
		"long":         query("hub.mode", "subscribe", "hub.challenge", strings.Repeat("1", 5000), "hub.verify_token", verifyToken),
	} {
		if answer, ok := source.Challenge(q); ok || answer != "" {
			t.Errorf("%s: got %q, %v", name, answer, ok)
		}
	}
	if _, ok := open(t, "tally", map[string]any{"secret": secret}, sources.Options{}).
		Challenge(query("hub.mode", "subscribe", "hub.challenge", "1", "hub.verify_token", "")); ok {
		t.Error("tally answers a challenge")
	}
}
