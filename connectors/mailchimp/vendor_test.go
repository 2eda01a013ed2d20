package mailchimp

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/leadrelay/leadrelay/connectors/connectortest"
)

const (
	testKey  = "0123456789abcdef0123456789abcdef-us21"
	testList = "a1b2c3d4e5"
)

// vendor is a stand-in of Mailchimp with one audience. It does what the vendor documents and what is told of it
// in the threads that the connector names; where nobody knows, it does what would hurt most.
type vendor struct {
	t testing.TB

	mayMoveAnyone bool // an address may be changed whatever the member's status

	mu       sync.Mutex
	tags     []string                  // merge fields of the audience
	fields   map[string]map[string]any // what else is said of them
	role     string                    // of the key's user
	members  map[string]*stored
	erased   map[string]bool // hashes that were deleted permanently
	requests []recorded
}

type stored struct {
	email, status string
	optedOut      bool // by the person: setting subscribed is refused
	merge         map[string]any
}

type recorded struct {
	method, path string // path with its query
	header       http.Header
	body         []byte
}

func newVendor(t testing.TB) *vendor {
	return &vendor{
		t: t, members: map[string]*stored{}, erased: map[string]bool{},
		tags: []string{"FNAME", "LNAME", "PHONE", "COMPANY", "NOTE", "SOURCE", "BUDGET", "OK", "TAGS", "ADDRESS"},
	}
}

func (v *vendor) Records() []connectortest.Record {
	v.mu.Lock()
	defer v.mu.Unlock()
	var records []connectortest.Record
	for key, m := range v.members {
		if m.status == archived {
			continue
		}
		fields := map[string]string{"EMAIL": m.email, "status": m.status}
		for tag, value := range m.merge {
			fields[tag] = fmt.Sprint(value)
		}
		records = append(records, connectortest.Record{Key: key, Fields: fields})
	}
	return records
}

// member returns a copy of what is held of an address, and whether there is anything, archived or not.
func (v *vendor) member(address string) (stored, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	m, ok := v.members[hash(address)]
	if !ok {
		return stored{}, false
	}
	return *m, true
}

// edit does what a person or an operator does in Mailchimp itself.
func (v *vendor) edit(address string, change func(m *stored)) {
	v.mu.Lock()
	defer v.mu.Unlock()
	change(v.members[hash(address)])
}

func unsubscribe(m *stored) { m.status, m.optedOut = unsubscribed, true }

// calls returns the requests since the last call of calls.
func (v *vendor) calls() []recorded {
	v.mu.Lock()
	defer v.mu.Unlock()
	calls := v.requests
	v.requests = nil
	return calls
}

func (v *vendor) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	v.mu.Lock()
	defer v.mu.Unlock()
	body, _ := io.ReadAll(r.Body)
	v.requests = append(v.requests, recorded{r.Method, r.URL.RequestURI(), r.Header.Clone(), body})
	r.Body = io.NopCloser(bytes.NewReader(body))

	answer := httptest.NewRecorder()
	v.answer(answer, r, body)
	if d := described(v.t); d != nil && r.URL.Path != "/3.0/" { // that describes audiences alone
		r.Body = io.NopCloser(bytes.NewReader(body))
		if err := errors.Join(d.CheckRequest(r), d.CheckAnswer(r, answer)); err != nil {
			v.t.Errorf("not by the vendor's description: %v", err)
		}
	}
	maps.Copy(w.Header(), answer.Header())
	w.WriteHeader(answer.Code)
	w.Write(answer.Body.Bytes())
}

func (v *vendor) answer(w http.ResponseWriter, r *http.Request, body []byte) {
	if _, password, _ := r.BasicAuth(); password != testKey {
		problem(w, 401, "API Key Invalid", "Your API key may be invalid, or you've attempted to access the wrong datacenter.")
		return
	}
	if r.Method == "GET" && r.URL.Path == "/3.0/" {
		reply(w, 200, map[string]any{"role": v.role})
		return
	}
	path, ok := strings.CutPrefix(r.URL.Path, "/3.0/lists/"+testList)
	if !ok {
		notFound(w)
		return
	}
	key, isMember := strings.CutPrefix(path, "/members/")
	key, erase := strings.CutSuffix(key, "/actions/delete-permanent")
	if key != "" && !isMember || strings.Contains(key, "/") {
		key = ""
	}
	var change struct {
		Email       string         `json:"email_address"`
		StatusIfNew string         `json:"status_if_new"`
		Status      string         `json:"status"`
		Merge       map[string]any `json:"merge_fields"`
	}
	if len(body) > 0 {
		if err := json.Unmarshal(body, &change); err != nil {
			problem(w, 400, "JSON Parse Error", "We encountered an unspecified JSON parsing error.")
			return
		}
	}
	m := v.members[key]

	switch {
	case r.Method == "GET" && path == "":
		reply(w, 200, map[string]any{"id": testList})
		return
	case r.Method == "GET" && path == "/merge-fields":
		fields := []any{}
		for _, tag := range v.tags {
			field := map[string]any{"tag": tag, "type": "text"}
			maps.Copy(field, v.fields[tag])
			fields = append(fields, field)
		}
		reply(w, 200, map[string]any{"merge_fields": fields})
		return
	case key == "":
		notFound(w)
		return
	case r.Method == "PUT" && m == nil:
		if v.refuses(w, change.Email, change.Merge) {
			return
		}
		if change.Status == "" {
			change.Status = change.StatusIfNew
		}
		key = hash(change.Email) // whatever the path says
		if v.members[key] != nil {
			problem(w, 400, "Member Exists", change.Email+" is already a list member. Use PUT to insert or update list members.")
			return
		}
		m = &stored{email: change.Email, status: change.Status, merge: map[string]any{}}
		for _, tag := range v.tags {
			m.merge[tag] = ""
		}
		v.members[key] = m
	case m == nil:
		notFound(w)
		return
	case r.Method == "POST" && erase:
		delete(v.members, key)
		v.erased[key] = true
		w.WriteHeader(204)
		return
	case r.Method == "DELETE":
		if m.status == cleaned || m.status == pending || m.status == archived {
			problem(w, 405, "Method Not Allowed", "This list member cannot be removed. Can not archive a contact that is bounced, pending or archived")
			return
		}
		m.status, m.optedOut = archived, false
		w.WriteHeader(204)
		return
	case r.Method == "GET":
	case r.Method == "PUT" || r.Method == "PATCH":
		if change.Email == "" {
			change.Email = m.email
		}
		if v.refuses(w, change.Email, change.Merge) {
			return
		}
		moved := hash(change.Email)
		if moved != key && (v.members[moved] != nil || !v.mayMoveAnyone && (m.status == unsubscribed || m.status == cleaned)) {
			problem(w, 400, "Invalid Resource", fmt.Sprintf("%q is already in this list, or %s is not subscribed.", change.Email, m.email))
			return
		}
		if change.Status == subscribed && m.optedOut {
			problem(w, 400, "Member In Compliance State", m.email+" is in a compliance state due to unsubscribe, bounce, or compliance review and cannot be subscribed.")
			return
		}
		delete(v.members, key)
		key = moved
		v.members[key] = m
		m.email = change.Email
		if change.Status != "" {
			m.status = change.Status
		}
	default:
		problem(w, 405, "Method Not Allowed", "The requested method and resource are not compatible.")
		return
	}
	for tag, value := range change.Merge {
		if slices.Contains(v.tags, tag) { // others are dropped without a word
			m.merge[tag] = value
		}
	}
	reply(w, 200, map[string]any{"id": key, "email_address": m.email, "status": m.status, "merge_fields": m.merge, "list_id": testList})
}

// refuses answers what is wrong with the record itself.
func (v *vendor) refuses(w http.ResponseWriter, address string, merge map[string]any) bool {
	switch {
	case strings.HasSuffix(address, "@refused.example"):
		problem(w, 400, "Invalid Resource", address+" looks fake or invalid, please enter a real email address.")
	case v.erased[hash(address)]:
		problem(w, 400, "Forgotten Email Not Subscribed", address+" was permanently deleted and cannot be re-imported. The contact must re-subscribe to get back on the list.")
	case merge["PHONE"] == "refused":
		w.Header().Set("Content-Type", "application/problem+json; charset=utf-8")
		w.WriteHeader(400)
		fmt.Fprint(w, `{"type":"https://mailchimp.com/developer/marketing/docs/errors/","title":"Invalid Resource","status":400,`+
			`"detail":"Your merge fields were invalid.","instance":"i","errors":[{"field":"PHONE","message":"Please enter a phone, not refused"}]}`)
	default:
		return false
	}
	return true
}

func notFound(w http.ResponseWriter) {
	problem(w, 404, "Resource Not Found", "The requested resource could not be found.")
}

func problem(w http.ResponseWriter, status int, title, detail string) {
	w.Header().Set("Content-Type", "application/problem+json; charset=utf-8")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(map[string]any{
		"type": "https://mailchimp.com/developer/marketing/docs/errors/", "title": title, "status": status, "detail": detail, "instance": "4b1c",
	})
}

func reply(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(body)
}

var (
	describing  sync.Once
	description *connectortest.Description
)

// described is the vendor's own description of the API, read once; nil where SPEC_DIR is not set, see
// TestRequestsAreCheckedAgainstTheVendorsDescription.
func described(t testing.TB) *connectortest.Description {
	if os.Getenv("SPEC_DIR") != "" {
		describing.Do(func() { description = connectortest.Describe(t, "mailchimp/lists-v3.0.55.yaml") })
	}
	return description
}
