package sources_test

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/leadrelay/leadrelay/connectors"
	"github.com/leadrelay/leadrelay/connectors/connectortest"
	"github.com/leadrelay/leadrelay/internal/sources"
)

// leadFields are the fields of a lead by Meta's own description.
func leadFields(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(connectortest.SpecDir(t), "facebook", "Lead.json"))
	if err != nil {
		t.Fatal(err)
	}
	var described struct {
		APIs   []struct{ Name, Method string } `json:"apis"`
		Fields []struct{ Name string }         `json:"fields"`
	}
	if err := json.Unmarshal(text, &described); err != nil || len(described.Fields) == 0 || described.APIs[1].Method != "GET" {
		t.Fatalf("the description cannot be read: %v", err)
	}
	var names []string
	for _, f := range described.Fields {
		names = append(names, f.Name)
	}
	return names
}

const leadgenID = "444444444444"

// graph stands in for the Graph API: it checks what it is sent by Meta's description of a lead, and answers each
// request by what a test says.
func graph(t *testing.T, settings map[string]any, answer http.HandlerFunc) *sources.Source {
	t.Helper()
	known := leadFields(t)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		query := r.URL.Query()
		if r.Method != "GET" || r.URL.Path != "/v25.0/"+leadgenID {
			t.Errorf("%s %s", r.Method, r.URL.Path)
		}
		if r.Header.Get("Authorization") != "Bearer "+accessToken || strings.Contains(r.URL.String(), accessToken) || query.Has("access_token") {
			t.Error("the token has to be in the header, and nowhere in the URL")
		}
		if got, want := query.Get("appsecret_proof"), hex.EncodeToString(mac(metaSecret, accessToken)); got != want {
			t.Errorf("appsecret_proof %s, want %s", got, want)
		}
		for field := range strings.SplitSeq(query.Get("fields"), ",") {
			if !slices.Contains(known, field) {
				t.Errorf("a lead has no field %q", field)
			}
		}
		answer(w, r)
	}))
	t.Cleanup(server.Close)
	all := map[string]any{"base_url": server.URL}
	for key, value := range serviceOf(t, "meta").settings {
		all[key] = value
	}
	for key, value := range settings {
		all[key] = value
	}
	return open(t, "meta", all, sources.Options{When: `form_id == "1234567890123456789" && created_time == 1440120384`})
}

// named is the payload of the delivery's one item.
func named(t *testing.T, source *sources.Source) []byte {
	t.Helper()
	s := serviceOf(t, "meta")
	d, err := source.Receive("POST", s.sign([]byte(s.body), at), nil, []byte(s.body))
	if err != nil || len(d.Items) != 1 {
		t.Fatal(d, err)
	}
	return d.Items[0].Payload
}

func answers(status int, body string, headers ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for name, values := range header(headers...) {
			w.Header()[name] = values
		}
		w.WriteHeader(status)
		fmt.Fprint(w, body)
	}
}

func TestMetaLeadIsFetchedAndMapped(t *testing.T) {
	known := leadFields(t)
	for name, c := range map[string]struct{ answer, want string }{
		"a full name": {`{"created_time":"2015-08-20T21:26:24+0000","id":"444444444444","form_id":"1234567890123456789","platform":"ig","is_organic":false,
			"campaign_name":"Spring","field_data":[{"name":"full_name","values":["Jane Doe"]},{"name":"email","values":["jane\u0040example.com"]},
			{"name":"phone_number","values":["+14045551234"]},{"name":"car_make","values":["Honda","BMW"]},{"name":"company_name","values":["Acme"]},
			{"name":"first_name","values":["Jane"]},{"name":"nothing","values":[]},{"name":"source","values":["me"]}]}`,
			`{"name":"Jane Doe","email":"jane@example.com","source":"here","phone":"+14045551234","car_make":["Honda","BMW"],"company_name":"Acme",
			"first_name":"Jane","form_source":"me","leadgen_id":"444444444444","form_id":"1234567890123456789","ad_id":"12312312312","platform":"ig","campaign_name":"Spring"}`},
		"its parts": {`{"id":"444444444444","field_data":[{"name":"first_name","values":["Jane"]},{"name":"last_name","values":["Doe"]},{"name":"work_email","values":["jane@example.com"]}]}`,
			`{"name":"Jane Doe","email":"jane@example.com","source":"here","leadgen_id":"444444444444","form_id":"1234567890123456789","ad_id":"12312312312"}`},
	} {
		t.Run(name, func(t *testing.T) {
			for field := range members(t, []byte(c.answer)) {
				if !slices.Contains(known, field) {
					t.Fatalf("the stand-in answers with %s, which a lead has not", field)
				}
			}
			source := graph(t, nil, answers(200, c.answer))
			fetched, err := source.Fetch(context.Background(), named(t, source))
			if err != nil {
				t.Fatal(err)
			}
			if got, want := mapped(t, source, string(fetched)), members(t, []byte(c.want)); !reflect.DeepEqual(got, want) {
				t.Errorf("got  %v\nwant %v", got, want)
			}
		})
	}
}

func TestMetaFieldsAreAskedForAsConfigured(t *testing.T) {
	source := graph(t, map[string]any{"lead_fields": []any{"field_data", "ad_name"}}, func(w http.ResponseWriter, r *http.Request) {
		if got := r.URL.Query().Get("fields"); got != "field_data,ad_name" {
			t.Errorf("asked for %s", got)
		}
		fmt.Fprint(w, `{"id":"444444444444","field_data":[]}`)
	})
	if _, err := source.Fetch(context.Background(), named(t, source)); err != nil {
		t.Error(err)
	}
}

func graphError(code, subcode int, message string) string {
	return fmt.Sprintf(`{"error":{"message":%q,"type":"OAuthException","code":%d,"error_subcode":%d,"fbtrace_id":"EJplcsCHuLu"}}`, message, code, subcode)
}

func TestT23T24MetaErrorsAreSomeonesFault(t *testing.T) {
	usage := `{"153125381133":[{"type":"leadgen","call_count":100,"estimated_time_to_regain_access":19},{"type":"pages","estimated_time_to_regain_access":2}]}`
	for _, c := range []struct {
		name   string
		answer http.HandlerFunc
		fault  connectors.Fault
		wait   time.Duration
		says   string
	}{
		{"an expired token", answers(400, graphError(190, 463, "Error validating access token: Session has expired")), connectors.Setup, 0, "set a new one"},
		{"a malformed token", answers(400, graphError(190, 0, "Malformed access token "+accessToken)), connectors.Setup, 0, "Malformed access token"},
		{"a session", answers(401, graphError(102, 0, "Session key invalid")), connectors.Setup, 0, "set a new one"},
		{"no permission", answers(403, graphError(200, 0, "Requires leads_retrieval permission to manage the object")), connectors.Setup, 0, "leads_retrieval"},
		{"another permission", answers(400, graphError(10, 0, "Application does not have permission for this action")), connectors.Setup, 0, "leads_retrieval"},
		{"a proof of another app", answers(400, graphError(100, 0, "Invalid appsecret_proof provided in the API argument")), connectors.Setup, 0, "appsecret_proof"},
		{"an old version", answers(400, graphError(2635, 0, "You are calling a deprecated version of the Ads API")), connectors.Setup, 0, "deprecated version"},
		{"the app's limit", answers(400, graphError(4, 0, "Application request limit reached")), connectors.Throttled, 0, "limit reached"},
		{"the user's limit", answers(400, graphError(17, 0, "User request limit reached")), connectors.Throttled, 0, ""},
		{"the page's limit", answers(403, graphError(32, 0, "Page request limit reached")), connectors.Throttled, 0, ""},
		{"a custom limit", answers(400, graphError(613, 0, "Calls to this api have exceeded the rate limit."), "Retry-After", "7"), connectors.Throttled, 7 * time.Second, ""},
		{"the limit of lead retrieval", answers(400, graphError(80005, 0, "There have been too many leadgen api calls to this Page account."), "X-Business-Use-Case-Usage", usage), connectors.Throttled, 19 * time.Minute, ""},
		{"429", answers(429, "slow down", "Retry-After", "3"), connectors.Throttled, 3 * time.Second, ""},
		{"a lead that is gone", answers(400, graphError(100, 33, "Unsupported get request. Object with ID '444444444444' does not exist, cannot be loaded due to missing permissions")), connectors.Lead, 0, "the lead is deleted or too old"},
		{"404", answers(404, graphError(803, 0, "Some of the aliases you requested do not exist: 444444444444")), connectors.Lead, 0, "the lead is deleted or too old"},
		{"an unknown trouble", answers(500, graphError(1, 99, "An unknown error occurred")), connectors.Remote, 0, ""},
		{"a service that is down", answers(503, graphError(2, 0, "Service temporarily unavailable")), connectors.Remote, 0, ""},
		{"a transient error", answers(400, `{"error":{"message":"Try again","code":3050,"is_transient":true}}`), connectors.Remote, 0, ""},
		{"500 without a word", answers(500, "<html>"), connectors.Remote, 0, ""},
		{"an error with 200", answers(200, graphError(190, 0, "Invalid OAuth access token")), connectors.Setup, 0, "set a new one"},
		{"a redirect", answers(302, "", "Location", "https://example.com/"), connectors.Setup, 0, "redirects are not followed"},
		{"not JSON", answers(200, "<html>"), connectors.Remote, 0, "200 answer is not the lead"},
		{"another lead", answers(200, `{"id":"444444444445","field_data":[]}`), connectors.Remote, 0, "200 answer is not the lead"},
		{"no answers", answers(200, `{"id":"444444444444"}`), connectors.Remote, 0, "200 answer is not the lead"},
		{"cut in its head", func(w http.ResponseWriter, _ *http.Request) { hangUp(t, w, "HTTP/1.1 200 OK\r\nContent-Le") }, connectors.Remote, 0, ""},
		{"cut in its body", func(w http.ResponseWriter, _ *http.Request) {
			hangUp(t, w, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"+`{"id":"444444444444","field_data":[]}`)
		}, connectors.Remote, 0, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			source := graph(t, nil, c.answer)
			fetched, err := source.Fetch(context.Background(), named(t, source))
			fault, wait := connectors.FaultOf(err)
			if err == nil || fetched != nil || fault != c.fault || wait != c.wait || !strings.Contains(err.Error(), c.says) || !strings.HasPrefix(err.Error(), "meta: get lead: ") {
				t.Errorf("got %v, %v, after %v; want %v, %v, %q", err, fault, wait, c.fault, c.wait, c.says)
			}
			for _, hidden := range []string{accessToken, metaSecret, leadgenID, "127.0.0.1"} {
				if strings.Contains(err.Error(), hidden) {
					t.Errorf("%q holds %s", err, hidden)
				}
			}
		})
	}
}

// hangUp writes an answer's beginning and closes the connection.
func hangUp(t *testing.T, w http.ResponseWriter, text string) {
	connection, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		t.Error(err)
		return
	}
	fmt.Fprint(connection, text)
	connection.Close()
}

func TestMetaThatHangsIsGivenUp(t *testing.T) {
	for name, c := range map[string]struct {
		settings map[string]any
		begin    func(http.ResponseWriter)
		cancel   bool
	}{
		"by the timeout":      {map[string]any{"timeout": "100ms"}, func(http.ResponseWriter) {}, false},
		"within the answer":   {map[string]any{"timeout": "100ms"}, func(w http.ResponseWriter) { w.Write([]byte(`{"id"`)); w.(http.Flusher).Flush() }, false},
		"when it is told to":  {nil, func(http.ResponseWriter) {}, true},
		"before it was begun": {nil, func(http.ResponseWriter) {}, true},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			source := graph(t, c.settings, func(w http.ResponseWriter, r *http.Request) {
				c.begin(w)
				if c.cancel {
					cancel()
				}
				<-r.Context().Done()
			})
			if name == "before it was begun" {
				cancel()
			}
			_, err := source.Fetch(ctx, named(t, source))
			if fault, _ := connectors.FaultOf(err); err == nil || fault != connectors.Remote {
				t.Errorf("got %v, %v", err, fault)
			}
		})
	}
}

func TestMetaThatIsNotThereIsRemote(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listener.Close()
	source := graph(t, map[string]any{"base_url": "http://" + listener.Addr().String()}, nil)
	_, err = source.Fetch(context.Background(), named(t, source))
	var fault *connectors.Error
	if !errors.As(err, &fault) || fault.Fault != connectors.Remote || !fault.NotSent {
		t.Errorf("got %v", err)
	}
}

func TestMetaDeliveryThatNamesNoLeadIsTheLeadsFault(t *testing.T) {
	source := graph(t, nil, func(http.ResponseWriter, *http.Request) { t.Error("something was asked") })
	for _, payload := range []string{`{}`, `{"leadgen_id":"../me/accounts"}`, `{"leadgen_id":""}`, `{"leadgen_id":"1?fields=x"}`, `{"leadgen_id":-1}`, `{"leadgen_id":1.5}`, `null`, `x`} {
		_, err := source.Fetch(context.Background(), []byte(payload))
		if fault, _ := connectors.FaultOf(err); err == nil || fault != connectors.Lead {
			t.Errorf("%s: got %v", payload, err)
		}
	}
}

func TestOnlyMetaFetches(t *testing.T) {
	for _, kind := range sources.Kinds() {
		if kind.Fetches != (kind.Name == "meta") {
			t.Errorf("%s fetches: %v", kind.Name, kind.Fetches)
		}
	}
	s := serviceOf(t, "tally")
	if got, err := open(t, "tally", s.settings, sources.Options{}).Fetch(context.Background(), []byte(s.body)); err != nil || string(got) != s.body {
		t.Errorf("got %s, %v", got, err)
	}
}
