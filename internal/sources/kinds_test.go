package sources_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/leadrelay/leadrelay/internal/sources"
)

// at is when everything here was signed.
var at = time.Unix(1614265330, 0)

const (
	secret       = "a-secret-of-the-test"
	otherSecret  = "another-secret-of-the-test"
	metaSecret   = "app-secret-of-the-test"
	verifyToken  = "meatyhamhock"
	accessToken  = "EAAB-access-token-of-the-test"
	whsec        = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw" // of the specification's vector
	previousWhse = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
)

// service is a kind with a sender that signs by it. The signatures are made here from the services' documentation,
// not by the code under test.
type service struct {
	kind     string
	settings map[string]any
	previous map[string]any // settings whose previous secret is the one that signs

	sign func(body []byte, at time.Time) http.Header

	unsigned bool          // the secret comes along, and signs nothing
	ages     time.Duration // how old a signature may be; 0: any age

	body string // a delivery as the service documents it
	id   string // the delivery's ID; "": the digest of the body
	key  string // its item's; "": id
	lead string // the lead it makes
}

func mac(key, text string) []byte {
	h := hmac.New(sha256.New, []byte(key))
	h.Write([]byte(text))
	return h.Sum(nil)
}

func header(pairs ...string) http.Header {
	h := http.Header{}
	for i := 0; i < len(pairs); i += 2 {
		h.Set(pairs[i], pairs[i+1])
	}
	return h
}

var services = []service{{
	kind:     "typeform",
	settings: map[string]any{"secret": secret},
	previous: map[string]any{"secret": otherSecret, "previous_secret": secret},
	sign: func(body []byte, _ time.Time) http.Header {
		return header("Typeform-Signature", "sha256="+base64.StdEncoding.EncodeToString(mac(secret, string(body))))
	},
	id: "a3a12ec67a1365927098a606107fac15",
	body: `{"event_id":"LtWXD3crgy","event_type":"form_response","form_response":{
		"form_id":"lT4Z3j","token":"a3a12ec67a1365927098a606107fac15","landed_at":"2018-01-18T18:07:02Z","submitted_at":"2018-01-18T18:17:02Z",
		"calculated":{"score":9},"variables":[{"key":"score","type":"number","number":4}],
		"hidden":{"utm_source":"newsletter","source":"partner","user_id":"","gclid":"Cj0"},
		"definition":{"id":"lT4Z3j","title":"Webhooks example","fields":[
			{"id":"DlXFaesGBpoF","title":"Tell us in a few sentences.","type":"long_text","ref":"readable_ref_long_text"},
			{"id":"SMEUb7VJz92Q","title":"Please give us your email address.","type":"email","ref":"readable_ref_email"},
			{"id":"JwWggjAKtOkA","title":"What is your first name?","type":"short_text","ref":"readable_ref_short_text"},
			{"id":"KoJxDM3c6x8h","title":"When did you move?","type":"date","ref":"01GRC8GR2017M6WW347T86VV39"},
			{"id":"PNe8ZKBK8C2Q","title":"Which pictures do you like?","type":"picture_choice","ref":"7ffa8e0c-9b1f-4f5b-9b0e-0f1a2b3c4d5e"},
			{"id":"k6TP9oLGgHjl","title":"Which theme?","type":"multiple_choice","ref":"readable_ref_theme"},
			{"id":"Q7M2XAwY04dW","title":"How much do you like it?","type":"rating","ref":"readable_ref_rating"},
			{"id":"gRp0UPJ1","title":"About you","type":"group","properties":{"fields":[
				{"id":"WOTdC00F8A3h","title":"Your phone","type":"phone_number","ref":"01H9ZQ8V6N5R4S3T2W1X0Y9Z8A"}]}},
			{"id":"NRsxU591jIW9","title":"Visited before?","type":"yes_no","ref":"yes_no_ref"}]},
		"answers":[
			{"type":"text","text":"It's cold!\nVery.","field":{"id":"DlXFaesGBpoF","type":"long_text","ref":"readable_ref_long_text"}},
			{"type":"email","email":"laura@example.com","field":{"id":"SMEUb7VJz92Q","type":"email","ref":"readable_ref_email"}},
			{"type":"text","text":"Laura","field":{"id":"JwWggjAKtOkA","type":"short_text"}},
			{"type":"date","date":"2005-10-15","field":{"id":"KoJxDM3c6x8h","type":"date","ref":"01GRC8GR2017M6WW347T86VV39"}},
			{"type":"choices","choices":{"ids":["a","b"],"labels":["London","New York"],"other":"Rome"},"field":{"id":"PNe8ZKBK8C2Q","type":"picture_choice","ref":"7ffa8e0c-9b1f-4f5b-9b0e-0f1a2b3c4d5e"}},
			{"type":"choice","choice":{"label":"Dark","id":"x"},"field":{"id":"k6TP9oLGgHjl","type":"multiple_choice","ref":"readable_ref_theme"}},
			{"type":"number","number":4.50,"field":{"id":"Q7M2XAwY04dW","type":"rating","ref":"readable_ref_rating"}},
			{"type":"phone_number","phone_number":"+34123456789","field":{"id":"WOTdC00F8A3h","type":"phone_number","ref":"01H9ZQ8V6N5R4S3T2W1X0Y9Z8A"}},
			{"type":"boolean","boolean":false,"field":{"id":"NRsxU591jIW9","type":"yes_no","ref":"yes_no_ref"}}]}}`,
	lead: `{"email":"laura@example.com","name":"Laura","source":"here","phone":"+34123456789",
		"readable_ref_long_text":"It's cold!\nVery.","When did you move?":"2005-10-15","Which pictures do you like?":["London","New York","Rome"],
		"readable_ref_theme":"Dark","readable_ref_rating":4.50,"yes_no_ref":false,"utm_source":"newsletter","form_source":"partner","gclid":"Cj0"}`,
}, {
	kind:     "calendly",
	settings: map[string]any{"secret": secret},
	previous: map[string]any{"secret": otherSecret, "previous_secret": secret},
	sign: func(body []byte, at time.Time) http.Header {
		t := strconv.FormatInt(at.Unix(), 10)
		return header("Calendly-Webhook-Signature", "t="+t+",v1="+hex.EncodeToString(mac(secret, t+"."+string(body))))
	},
	ages: 3 * time.Minute,
	id:   "invitee.created https://api.calendly.com/scheduled_events/evt123/invitees/inv456",
	body: `{"event":"invitee.created","created_at":"2024-01-15T10:30:00.000000Z","created_by":"https://api.calendly.com/users/abc123","payload":{
		"uri":"https://api.calendly.com/scheduled_events/evt123/invitees/inv456","email":"jane@example.com","name":null,"first_name":"Jane","last_name":"Doe",
		"status":"active","timezone":"America/New_York","event":"https://api.calendly.com/scheduled_events/evt123","rescheduled":false,
		"text_reminder_number":"+1 404-555-1234","old_invitee":null,
		"questions_and_answers":[{"question":"Company size","answer":"10 to 50","position":0},{"question":"Please share anything else","answer":"","position":1}],
		"tracking":{"utm_campaign":"spring","utm_source":null,"utm_medium":"cpc","utm_content":null,"utm_term":null,"salesforce_uuid":null},
		"scheduled_event":{"uri":"https://api.calendly.com/scheduled_events/evt123","name":"15 Minute Meeting","start_time":"2024-01-19T14:00:00.000000Z"}}}`,
	lead: `{"email":"jane@example.com","name":"Jane Doe","source":"here","phone":"+1 404-555-1234","timezone":"America/New_York",
		"event_name":"15 Minute Meeting","event_start":"2024-01-19T14:00:00.000000Z","Company size":"10 to 50","utm_campaign":"spring","utm_medium":"cpc"}`,
}, {
	kind:     "meta",
	settings: map[string]any{"app_secret": metaSecret, "verify_token": verifyToken, "access_token": accessToken},
	sign: func(body []byte, _ time.Time) http.Header {
		return header("X-Hub-Signature-256", "sha256="+hex.EncodeToString(mac(metaSecret, string(body))))
	},
	key: "444444444444",
	body: `{"object":"page","entry":[{"id":"153125381133","time":1438292065,"changes":[{"field":"leadgen","value":{
		"leadgen_id":444444444444,"page_id":"153125381133","form_id":1234567890123456789,"adgroup_id":12312312312,"ad_id":"12312312312","created_time":1440120384}}]}]}`,
}, {
	kind:     "tally",
	settings: map[string]any{"secret": secret},
	previous: map[string]any{"secret": otherSecret, "previous_secret": secret},
	sign: func(body []byte, _ time.Time) http.Header {
		return header("Tally-Signature", base64.StdEncoding.EncodeToString(mac(secret, string(body))))
	},
	id: "2wgx4n",
	body: `{"eventId":"a4cb511e-d513-4fa5-baee-b815d718dfd1","eventType":"FORM_RESPONSE","createdAt":"2023-06-28T15:00:21.889Z","data":{
		"responseId":"2wgx4n","submissionId":"2wgx4n","respondentId":"dwQKYm","formId":"VwbNEw","formName":"Contact","createdAt":"2023-06-28T15:00:21.000Z","fields":[
		{"key":"question_mVGEg3_8b5711e3","label":"utm_source","type":"HIDDEN_FIELDS","value":"google"},
		{"key":"question_nPpjVn","label":"Your name","type":"INPUT_TEXT","value":"Ada Lovelace"},
		{"key":"question_3EKz4n","label":"Where do we write to?","type":"INPUT_EMAIL","value":"ada@example.com"},
		{"key":"question_w4Q4Xn","label":"Phone number","type":"INPUT_PHONE_NUMBER","value":"+32486000000"},
		{"key":"question_mO7Zx4","label":"Message","type":"TEXTAREA","value":"Line one\nline two"},
		{"key":"question_nrPNOM","label":"Age","type":"INPUT_NUMBER","value":36},
		{"key":"question_n9BPgo","label":"Colour","type":"MULTIPLE_CHOICE","value":["6bde6b38"],"options":[{"id":"6bde6b38","text":"Blue"},{"id":"2bba8f3c","text":"Red"}]},
		{"key":"question_meaEjo","label":"Topics","type":"CHECKBOXES","value":["c1","c3"],"options":[{"id":"c1","text":"Engines"},{"id":"c2","text":"Looms"},{"id":"c3","text":"Numbers"}]},
		{"key":"question_meaEjo_c1","label":"Topics (Engines)","type":"CHECKBOXES","value":true},
		{"key":"question_meaEjo_c2","label":"Topics (Looms)","type":"CHECKBOXES","value":false},
		{"key":"question_nW2ONw","label":"Nothing chosen","type":"CHECKBOXES","value":[],"options":[{"id":"d1","text":"D"}]},
		{"key":"question_wLPqwJ","label":"CV","type":"FILE_UPLOAD","value":[{"id":"f","name":"cv.pdf","url":"https://storage.example.com/cv.pdf","mimeType":"application/pdf","size":9}]},
		{"key":"question_mR6Vzn","label":null,"type":"INPUT_TEXT","value":"unlabelled"},
		{"key":"question_mDVJp7","label":"Empty","type":"INPUT_LINK","value":null}]}}`,
	lead: `{"email":"ada@example.com","name":"Ada Lovelace","source":"here","note":"Line one\nline two","phone":"+32486000000","utm_source":"google",
		"Age":36,"Colour":["Blue"],"Topics":["Engines","Numbers"],"CV":["https://storage.example.com/cv.pdf"],"question_mR6Vzn":"unlabelled"}`,
}, {
	kind:     "webflow",
	settings: map[string]any{"secret": secret},
	previous: map[string]any{"secret": otherSecret, "previous_secret": secret},
	sign: func(body []byte, at time.Time) http.Header {
		t := strconv.FormatInt(at.UnixMilli(), 10)
		return header("X-Webflow-Timestamp", t, "X-Webflow-Signature", hex.EncodeToString(mac(secret, t+":"+string(body))))
	},
	ages: 5 * time.Minute,
	id:   "6321ca84df3949bfc6752327",
	body: `{"triggerType":"form_submission","payload":{"name":"Contact Us","siteId":"65427cf400e02b306eaa049c",
		"data":{"First Name":"Zaphod","Last Name":"Beeblebrox","email":"zaphod@heartofgold.example","Phone Number":15550000000,"Heads":"2"},
		"schema":[{"fieldName":"First Name","fieldType":"FormTextInput","fieldElementId":"285042f7-d554-dc7f-102c-aa10d6a2d2c4"}],
		"submittedAt":"2022-09-14T12:35:16.117Z","id":"6321ca84df3949bfc6752327","formId":"65429eadebe8a9f3a30f62d0","formElementId":"4e038d2c-6a1e-4953-7be9-a59a2b453177"}}`,
	lead: `{"email":"zaphod@heartofgold.example","name":"Zaphod Beeblebrox","source":"here","phone":15550000000,"Heads":"2","form_name":"Contact Us"}`,
}, {
	kind:     "standardwebhooks",
	settings: map[string]any{"secret": whsec},
	previous: map[string]any{"secret": previousWhse, "previous_secret": whsec},
	sign: func(body []byte, at time.Time) http.Header {
		key, _ := base64.StdEncoding.DecodeString(strings.TrimPrefix(whsec, "whsec_"))
		t := strconv.FormatInt(at.Unix(), 10)
		return header("Webhook-Id", "msg_p5jXN8AQM9LWM0D4loKWxJek", "Webhook-Timestamp", t,
			"Webhook-Signature", "v1,"+base64.StdEncoding.EncodeToString(mac(string(key), "msg_p5jXN8AQM9LWM0D4loKWxJek."+t+"."+string(body))))
	},
	ages: 5 * time.Minute,
	id:   "msg_p5jXN8AQM9LWM0D4loKWxJek",
	body: `{"type":"lead.created","timestamp":"2026-03-14T15:09:26Z","data":{"lead_id":"lead_1","revision":1,"name":"Ann Lee","email":"ann@example.com",
		"source":"website","note":"Call me","budget":1000.50}}`,
	lead: `{"email":"ann@example.com","name":"Ann Lee","source":"here","note":"Call me","budget":1000.50,"form_source":"website","form_lead_id":"lead_1","form_revision":1}`,
}, {
	kind:     "jsonform",
	settings: map[string]any{"secret": secret},
	previous: map[string]any{"secret": otherSecret, "previous_secret": secret},
	sign: func([]byte, time.Time) http.Header {
		return header("X-Webhook-Secret", secret)
	},
	unsigned: true,
	body:     `{"your-email":"ann@example.com","first_name":"Ann","last_name":"Lee","phone":"555","message":"Hello\nthere","company":"Acme","empty":"","form_id":"3"}`,
	lead:     `{"email":"ann@example.com","name":"Ann Lee","source":"here","phone":"555","note":"Hello\nthere","company":"Acme","form_id":"3"}`,
}, {
	kind: "generic",
	settings: map[string]any{"secret": secret, "header": "X-Signature", "prefix": "sha256=", "signed": "{timestamp}.{body}",
		"timestamp_header": "X-Timestamp", "id": "event.id"},
	previous: map[string]any{"secret": otherSecret, "previous_secret": secret, "header": "X-Signature", "prefix": "sha256=",
		"signed": "{timestamp}.{body}", "timestamp_header": "X-Timestamp", "id": "event.id"},
	sign: func(body []byte, at time.Time) http.Header {
		t := strconv.FormatInt(at.Unix(), 10)
		return header("X-Timestamp", t, "X-Signature", "sha256="+hex.EncodeToString(mac(secret, t+"."+string(body))))
	},
	ages: 5 * time.Minute,
	id:   "17",
	body: `{"event":{"id":17},"contact":{"mail":"ann@example.com"}}`,
	lead: `{"email":"ann@example.com","source":"here"}`,
}}

// serviceOf returns a service by its kind.
func serviceOf(t testing.TB, kind string) service {
	t.Helper()
	for _, s := range services {
		if s.kind == kind {
			return s
		}
	}
	t.Fatalf("no service of kind %s", kind)
	return service{}
}

// open opens a source named here, at a time.
func open(t testing.TB, kind string, settings map[string]any, o sources.Options) *sources.Source {
	t.Helper()
	s, err := tryOpen(t, kind, settings, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func tryOpen(t testing.TB, kind string, settings map[string]any, o sources.Options) (*sources.Source, error) {
	t.Helper()
	if o.Name == "" {
		o.Name = "here"
	}
	if o.Now == nil {
		o.Now = func() time.Time { return at }
	}
	for _, k := range sources.Kinds() {
		if k.Name == kind {
			if kind == "generic" && o.Fields == nil {
				o.Fields = []sources.Rule{{To: "email", From: "contact.mail"}}
			}
			return k.Open(settings, o)
		}
	}
	t.Fatalf("no kind %s", kind)
	return nil, nil
}

// members is what a lead or a patch holds, numbers as they are written.
func members(t testing.TB, text []byte) map[string]any {
	t.Helper()
	decoder := json.NewDecoder(strings.NewReader(string(text)))
	decoder.UseNumber()
	var m map[string]any
	if err := decoder.Decode(&m); err != nil {
		t.Fatal(err)
	}
	return m
}
