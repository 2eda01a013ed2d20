package sources_test

import (
	"crypto/hmac"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/leadrelay/leadrelay/internal/lead"
	"github.com/leadrelay/leadrelay/internal/sources"
)

func FuzzReceiveTypeform(f *testing.F)         { fuzzReceive(f, "typeform") }
func FuzzReceiveCalendly(f *testing.F)         { fuzzReceive(f, "calendly") }
func FuzzReceiveMeta(f *testing.F)             { fuzzReceive(f, "meta") }
func FuzzReceiveTally(f *testing.F)            { fuzzReceive(f, "tally") }
func FuzzReceiveWebflow(f *testing.F)          { fuzzReceive(f, "webflow") }
func FuzzReceiveStandardWebhooks(f *testing.F) { fuzzReceive(f, "standardwebhooks") }
func FuzzReceiveJSONForm(f *testing.F)         { fuzzReceive(f, "jsonform") }
func FuzzReceiveGeneric(f *testing.F)          { fuzzReceive(f, "generic") }

// fuzzReceive holds a kind to: nothing panics, nothing passes that its service did not sign, and what passes is whole.
// sign says whether the service signs the body, so that what comes after is fuzzed, too.
func fuzzReceive(f *testing.F, kind string) {
	s := serviceOf(f, kind)
	source := open(f, kind, s.settings, sources.Options{})
	signed := s.sign([]byte(s.body), at)
	var names []string
	for name := range signed {
		names = append(names, name)
	}
	slices.Sort(names)
	one := func(i int) string {
		if i < len(names) {
			return signed.Get(names[i])
		}
		return ""
	}
	f.Add(one(0), one(1), one(2), []byte(s.body), false)
	f.Add(one(0), one(1), one(2), []byte(s.body), true)
	f.Add("", "", "", []byte(s.body), false)
	f.Add("t=1,v1=,v1=0", "1614265330", "v1,", []byte("{}"), false)
	f.Add("sha256=", "-1", "v1, v1, v1a,x", []byte(`{"a":[[[[]]]]}`), true)
	f.Fuzz(func(t *testing.T, a, b, c string, body []byte, sign bool) {
		header := http.Header{}
		for i, value := range []string{a, b, c} {
			if i < len(names) {
				header.Set(names[i], value)
			}
		}
		if sign {
			header = s.sign(body, at)
		}
		d, err := source.Receive("POST", header, nil, body)
		if err != nil {
			if d.ID != "" || d.Items != nil {
				t.Errorf("a delivery with an error: %+v, %v", d, err)
			}
			return
		}
		if !s.isSigned(header, body) {
			t.Fatalf("%v passes with %q", header, body)
		}
		keys := map[string]bool{}
		for _, item := range d.Items {
			if item.Key == "" || keys[item.Key] || !json.Valid(item.Payload) {
				t.Errorf("item %+v", item)
			}
			keys[item.Key] = true
		}
		if d.ID == "" {
			t.Error("no ID")
		}
		again, err := source.Receive("POST", header, nil, body)
		if err != nil || again.ID != d.ID || len(again.Items) != len(d.Items) {
			t.Errorf("received again: %+v, %v", again, err)
		}
	})
}

// isSigned says whether the service could have sent this: it has, of a time within the tolerance, one of the
// signatures that the service makes of the body.
func (s service) isSigned(header http.Header, body []byte) bool {
	for second := -s.ages; second <= s.ages; second += time.Second {
		made := s.sign(body, at.Add(second))
		same := true
		for name := range made {
			given := header.Get(name)
			switch {
			case s.kind == "webflow" && name == "X-Webflow-Timestamp": // to the millisecond
				ms, err := strconv.ParseInt(given, 10, 64)
				if err != nil || ms/1000 != at.Add(second).Unix() && len(given) > 11 {
					same = false
				}
				made.Set("X-Webflow-Signature", hex.EncodeToString(mac(secret, given+":"+string(body))))
			case s.kind == "calendly", s.kind == "standardwebhooks" && name == "Webhook-Signature": // among others
				_, signature, _ := strings.Cut(made.Get(name), "v1")
				same = same && strings.Contains(given, signature)
			case s.kind == "standardwebhooks" && name == "Webhook-Id":
				same = same && given != ""
			default:
				same = same && hmac.Equal([]byte(given), []byte(made.Get(name)))
			}
		}
		if same {
			return true
		}
	}
	return false
}

func FuzzMapTypeform(f *testing.F)         { fuzzMap(f, "typeform") }
func FuzzMapCalendly(f *testing.F)         { fuzzMap(f, "calendly") }
func FuzzMapMeta(f *testing.F)             { fuzzMap(f, "meta") }
func FuzzMapTally(f *testing.F)            { fuzzMap(f, "tally") }
func FuzzMapWebflow(f *testing.F)          { fuzzMap(f, "webflow") }
func FuzzMapStandardWebhooks(f *testing.F) { fuzzMap(f, "standardwebhooks") }
func FuzzMapJSONForm(f *testing.F)         { fuzzMap(f, "jsonform") }
func FuzzMapGeneric(f *testing.F)          { fuzzMap(f, "generic") }

// fuzzMap holds a kind to: whatever is mapped gives an error or a lead that the API would take.
func fuzzMap(f *testing.F, kind string) {
	s := serviceOf(f, kind)
	source := open(f, kind, s.settings, sources.Options{})
	for _, one := range services {
		f.Add([]byte(one.body))
	}
	f.Add([]byte(`{"id":"1","field_data":[{"name":"email","values":["a@example.com"]},{"name":"a","values":[null,{}]}]}`))
	f.Add([]byte(`{"fields":[{"label":"email","value":"a@example.com","type":"email"},{"value":{"first":1,"last":{}}},null,[]],"name":{"first":"a"}}`))
	f.Fuzz(func(t *testing.T, payload []byte) {
		patch, err := source.Map(payload)
		if err != nil {
			return
		}
		if patch.Email == nil || patch.Source == nil {
			t.Fatalf("no address or no source: %+v", patch)
		}
		text, err := json.Marshal(membersOf(patch))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := lead.ParseNew(text); err != nil {
			t.Errorf("the API would refuse it: %v", err)
		}
		for name, value := range patch.Custom {
			if value == nil || value == "" {
				t.Errorf("%q is nothing", name)
			}
		}
	})
}
