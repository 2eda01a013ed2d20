package mailchimp

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/leadrelay/leadrelay/connectors"
	"github.com/leadrelay/leadrelay/connectors/connectortest"
	"github.com/leadrelay/leadrelay/internal/lead"
)

func TestConformance(t *testing.T) {
	connectortest.Run(t, connectortest.Harness{
		Kind:      Kind,
		NewVendor: func(t testing.TB) connectortest.Vendor { return newVendor(t) },
		Settings: func(baseURL string, _ connectortest.Vendor) map[string]any {
			return map[string]any{"api_key": testKey, "list_id": testList, "base_url": baseURL}
		},
		Fields: []connectors.FieldRule{
			{To: "FNAME", From: "first_name"}, {To: "LNAME", From: "last_name"}, {To: "PHONE", From: "phone"},
			{To: "COMPANY", From: "company"}, {To: "NOTE", From: "note"}, {To: "SOURCE", From: "source"},
			{To: "BUDGET", From: "budget"}, {To: "OK", From: "newsletter"}, {To: "TAGS", From: "tags"}, {To: "ADDRESS", From: "address"},
		},
		Secrets:      []string{testKey},
		Required:     []string{"api_key", "list_id"},
		NoSuchField:  "NO_SUCH_FIELD",
		KeyedByEmail: true,
		BadLead: func(l lead.Lead) lead.Lead {
			l.Email = "zenobia@refused.example"
			return l
		},
	})
}

// mailbox is a connector, the stand-in behind it, and what lies between them.
type mailbox struct {
	testing.TB
	*vendor
	connectors.Connector
	url string
	log *bytes.Buffer

	spoiler atomic.Pointer[spoiler]
}

// spoiler may answer in the vendor's place.
type spoiler func(w http.ResponseWriter, r *http.Request, v http.Handler)

func (m *mailbox) spoil(s spoiler) { m.spoiler.Store(&s) }
func (m *mailbox) behave()         { m.spoiler.Store(nil) }

func start(t testing.TB, settings map[string]any, rules ...connectors.FieldRule) *mailbox {
	t.Helper()
	m := &mailbox{TB: t, vendor: newVendor(t), log: &bytes.Buffer{}}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s := m.spoiler.Load(); s != nil {
			(*s)(w, r, m.vendor)
			return
		}
		m.vendor.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	m.url = server.URL
	all := map[string]any{"api_key": testKey, "list_id": testList, "base_url": server.URL}
	for key, value := range settings {
		all[key] = value
	}
	if rules == nil {
		rules = Kind.Fields
	}
	mapping, err := connectors.NewMapping(rules)
	if err != nil {
		t.Fatal(err)
	}
	m.Connector, err = Kind.Open(all, connectors.Env{Name: "newsletter", Fields: mapping, Log: slog.New(slog.NewTextHandler(m.log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Connector.(io.Closer).Close() })
	return m
}

// pushed is a Push that must succeed.
func (m *mailbox) pushed(c lead.Change, ref string) string {
	m.Helper()
	ref, err := m.Push(context.Background(), c, ref)
	if err != nil {
		m.Fatalf("Push of %s: %v", c.Op, err)
	}
	return ref
}

// refused is a Push that must fail; it returns the error's text.
func (m *mailbox) refused(c lead.Change, ref string, want connectors.Fault) string {
	m.Helper()
	_, err := m.Push(context.Background(), c, ref)
	if err == nil {
		m.Fatalf("Push of %s: no error", c.Op)
	}
	if got, _ := connectors.FaultOf(err); got != want {
		m.Errorf("the fault is %v, want %v: %v", got, want, err)
	}
	for _, own := range []string{"zenobia", "quill", "@", "example"} {
		if strings.Contains(strings.ToLower(err.Error()), own) {
			m.Errorf("the error tells of the person (%q): %v", own, err)
		}
	}
	return err.Error()
}

// holds checks the whole audience: address and status of each member that is not archived.
func (m *mailbox) holds(want ...string) {
	m.Helper()
	var got []string
	for _, record := range m.Records() {
		got = append(got, record.Fields["EMAIL"]+" "+record.Fields["status"])
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		m.Errorf("the audience holds %q, want %q", got, want)
	}
}

// said checks the methods of the requests since the last look.
func (m *mailbox) said(want ...string) []recorded {
	m.Helper()
	calls := m.calls()
	var got []string
	for _, call := range calls {
		got = append(got, call.method)
	}
	if !slices.Equal(got, want) {
		m.Fatalf("the requests are %q, want %q", got, want)
	}
	return calls
}

func zenobia(address string) lead.Lead {
	l := connectortest.Sample(1)
	l.Email = address
	return l
}

const (
	john, johnHash = "John@EXAMPLE.com", "d4c74594d841139328695756648b6bd6" // md5 of john@example.com
	home           = "zenobia@home.example"
	work           = "zenobia@work.example"
)

func TestT7KeyIsTheHashOfTheLowerCasedAddress(t *testing.T) {
	m := start(t, nil)
	if key := m.Connector.(connectors.Keyed).Key(zenobia(john)); key != johnHash {
		t.Errorf("Key is %s, want %s", key, johnHash)
	}
	ref := m.pushed(connectortest.Created(zenobia(john)), "")
	if ref != johnHash {
		t.Errorf("Push returned %s, want %s", ref, johnHash)
	}
	if call := m.said("PUT")[0]; call.path != "/3.0/lists/"+testList+"/members/"+johnHash {
		t.Errorf("the path is %s", call.path)
	}
	m.pushed(connectortest.Updated(zenobia("john@example.COM")), ref)
	m.said("PUT")
	m.holds("john@example.COM subscribed")
	m.pushed(connectortest.Deleted(zenobia(john)), ref)
	m.holds()
}

func TestT8ConsentIsNotRetriedAndNotOverruled(t *testing.T) {
	m := start(t, map[string]any{"on_delete": "delete-permanent", "status_if_archived": "subscribed"})
	ref := m.pushed(connectortest.Created(zenobia(home)), "")

	m.edit(home, unsubscribe)
	m.pushed(connectortest.Updated(connectortest.Edited(zenobia(home))), ref)
	m.pushed(connectortest.Created(zenobia(home)), "")
	m.holds(home + " unsubscribed") // and the rest of the member is up to date
	if got, _ := m.member(home); got.merge["FNAME"] != "Zenobia" {
		t.Errorf("FNAME is %q", got.merge["FNAME"])
	}

	m.edit(home, func(s *stored) { s.status = archived })
	if text := m.refused(connectortest.Updated(zenobia(home)), ref, connectors.Lead); text !=
		"mailchimp: bring back member: blocked by consent: 400 Member In Compliance State" {
		t.Errorf("got %q", text)
	}

	m.pushed(connectortest.Deleted(zenobia(home)), ref)
	if text := m.refused(connectortest.Created(zenobia(home)), "", connectors.Lead); text !=
		"mailchimp: put member: blocked by consent: 400 Forgotten Email Not Subscribed" {
		t.Errorf("got %q", text)
	}
}

func TestT9ADeleteArchivesUnlessErasureIsAskedFor(t *testing.T) {
	m := start(t, nil)
	ref := m.pushed(connectortest.Created(zenobia(home)), "")
	m.pushed(connectortest.Deleted(zenobia(home)), ref)
	m.holds()
	if got, ok := m.member(home); !ok || got.status != archived {
		t.Errorf("the member is %+v, want it archived", got)
	}

	m = start(t, map[string]any{"on_delete": "delete-permanent"})
	ref = m.pushed(connectortest.Created(zenobia(home)), "")
	m.calls()
	m.pushed(connectortest.Deleted(zenobia(home)), ref)
	if call := m.said("POST")[0]; call.path != "/3.0/lists/"+testList+"/members/"+ref+"/actions/delete-permanent" || len(call.body) != 0 {
		t.Errorf("the request is %s with %q", call.path, call.body)
	}
	if got, ok := m.member(home); ok {
		t.Errorf("the member is still %+v", got)
	}
	m.pushed(connectortest.Deleted(zenobia(home)), ref)
}

func TestT9OnlyADeletedLeadIsErasedNotOneThatMayComeBack(t *testing.T) {
	m := start(t, map[string]any{"on_delete": "delete-permanent"})
	for _, row := range []struct{ name, ref string }{
		{"a lead that the filter leaves out", hash(home)},
		{"a former address of a lead", hash(work)},
	} {
		m.pushed(connectortest.Created(zenobia(home)), "")
		m.pushed(connectortest.Created(zenobia(work)), "")
		m.calls()
		left := connectortest.Updated(zenobia(home))
		left.Op = lead.Delete // of a lead that is still there
		m.pushed(left, row.ref)
		if call := m.said("DELETE")[0]; !strings.HasSuffix(call.path, "/members/"+row.ref) {
			t.Errorf("%s: the request is %s", row.name, call.path)
		}
	}
	m.pushed(connectortest.Created(zenobia(work)), "")
	m.holds(home+" pending", work+" pending")
}

func TestT10ThrottlingIsByConcurrencyAndMayBeABare403(t *testing.T) {
	m := start(t, nil)
	limits := m.Connector.(connectors.Limited).Limits()
	if limits.Concurrency != 10 {
		t.Errorf("concurrency is %d, want 10", limits.Concurrency)
	}
	if !strings.HasPrefix(limits.Scope, "mailchimp:") || strings.Contains(limits.Scope, testKey[:6]) {
		t.Errorf("the scope is %q", limits.Scope)
	}
	other := start(t, map[string]any{"list_id": "another"}).Connector.(connectors.Limited).Limits()
	if other.Scope != limits.Scope {
		t.Errorf("two lists of one account have the scopes %q and %q", limits.Scope, other.Scope)
	}
	another := start(t, map[string]any{"api_key": "ffff-us21"}).Connector.(connectors.Limited).Limits()
	if another.Scope == limits.Scope {
		t.Errorf("two accounts share the scope %q", limits.Scope)
	}

	for _, body := range []string{"", "<html>Access Denied zenobia@home.example</html>", `{"title":`} {
		m.spoil(answering(403, body))
		m.refused(connectortest.Created(zenobia(home)), "", connectors.Throttled)
		m.refused(connectortest.Updated(zenobia(work)), hash(home), connectors.Throttled)
		m.refused(connectortest.Deleted(zenobia(home)), hash(home), connectors.Throttled)
	}
}

// answering gives the same answer to every request.
func answering(status int, body string) spoiler {
	return func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		w.WriteHeader(status)
		io.WriteString(w, body)
	}
}

// TestEveryAnswerIsTheRightFault goes through the vendor's list of errors
// (https://mailchimp.com/developer/marketing/docs/errors/) and what proxies answer in its place.
func TestEveryAnswerIsTheRightFault(t *testing.T) {
	said := func(status int, title, detail string) string {
		return fmt.Sprintf(`{"type":"https://mailchimp.com/developer/marketing/docs/errors/","title":%q,"status":%d,"detail":%q,"instance":"i"}`, title, status, detail)
	}
	const html = "<html><h1>zenobia@home.example</h1></html>"
	m := start(t, nil)
	for _, row := range []struct {
		status int
		body   string
		want   connectors.Fault // of a create, a change of address and a delete alike
	}{
		{400, said(400, "Bad Request", "Your request could not be processed."), connectors.Lead},
		{400, said(400, "Invalid Action", "The action requested was not valid for this resource."), connectors.Lead},
		{400, said(400, "Invalid Resource", "zenobia@home.example looks fake or invalid, please enter a real email address."), connectors.Lead},
		{400, said(400, "JSON Parse Error", "We encountered an unspecified JSON parsing error."), connectors.Lead},
		{400, said(400, "Member Exists", "zenobia@home.example is already a list member. Use PUT to insert or update list members."), connectors.Lead},
		{400, said(400, "Member In Compliance State", "zenobia@home.example is in a compliance state due to unsubscribe, bounce, or compliance review and cannot be subscribed."), connectors.Lead},
		{400, said(400, "Forgotten Email Not Subscribed", "zenobia@home.example was permanently deleted and cannot be re-imported. The contact must re-subscribe to get back on the list."), connectors.Lead},
		{401, said(401, "API Key Missing", "Your request did not include an API key."), connectors.Setup},
		{401, said(401, "API Key Invalid", "Your API key may be invalid, or you've attempted to access the wrong datacenter."), connectors.Setup},
		{401, "", connectors.Setup},
		{403, said(403, "Forbidden", "You are not permitted to access this resource."), connectors.Setup},
		{403, said(403, "User Disabled", "This account has been disabled."), connectors.Setup},
		{403, said(403, "Wrong Datacenter", "The API key provided is linked to a different datacenter."), connectors.Setup},
		{403, `{"message":"Forbidden"}`, connectors.Setup},
		{404, said(404, "Resource Not Found", "The requested resource could not be found."), connectors.Setup}, // the list, too
		{404, html, connectors.Setup},
		{414, said(414, "Resource Nesting Too Deep", "The sub-resource requested is nested too deep."), connectors.Lead},
		{422, said(422, "Invalid Method Override", "The X-HTTP-Method-Override method is invalid."), connectors.Lead},
		{426, said(426, "Upgrade Required", "Use HTTPS."), connectors.Lead},
		{429, said(429, "Too Many Requests", "You have exceeded the limit of 10 simultaneous connections."), connectors.Throttled},
		{429, "", connectors.Throttled},
		{429, html, connectors.Throttled},
		{500, said(500, "Internal Server Error", "zenobia@home.example"), connectors.Remote},
		{502, html, connectors.Remote},
		{503, said(503, "Service Unavailable", "Try again."), connectors.Remote},
		{503, "", connectors.Remote},
		{504, "", connectors.Remote},
		{200, "", connectors.Unknown},
		{200, html, connectors.Unknown},
		{200, "{}", connectors.Unknown},
		{200, `{"id":"` + hash(home) + `"}`, connectors.Unknown},
		{200, said(400, "Member In Compliance State", "zenobia@home.example"), connectors.Unknown},
		{202, "", connectors.Unknown},
	} {
		m.spoil(answering(row.status, row.body))
		for _, text := range []string{
			m.refused(connectortest.Created(zenobia(home)), "", row.want),
			m.refused(connectortest.Updated(zenobia(work)), hash(home), row.want),
			m.refused(connectortest.Deleted(zenobia(home)), hash(home), row.want),
		} {
			if row.status >= 300 && !strings.Contains(text, fmt.Sprint(row.status)) {
				t.Errorf("%d: the error does not say so: %s", row.status, text)
			}
		}
	}
}

func TestASilentMailchimpIsAnUnknownOutcome(t *testing.T) {
	m := start(t, map[string]any{"timeout": "1s"})
	m.spoil(func(_ http.ResponseWriter, r *http.Request, _ http.Handler) {
		io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
	})
	m.refused(connectortest.Created(zenobia(home)), "", connectors.Unknown)
}

func TestT25FieldsTheAudienceLacksAreNamedOnce(t *testing.T) {
	m := start(t, nil, connectors.FieldRule{To: "FNAME", From: "first_name"}, connectors.FieldRule{To: "SHOE_SIZE", From: "phone"})
	m.pushed(connectortest.Created(connectortest.Sample(1)), "")
	m.pushed(connectortest.Created(connectortest.Sample(2)), "")
	if log := m.log.String(); strings.Count(log, "SHOE_SIZE") != 1 || strings.Contains(log, "FNAME") || strings.Contains(log, "7946") {
		t.Errorf("the log says\n%s", log)
	}
	err := m.Connector.(connectors.Checker).Check(context.Background())
	if fault, _ := connectors.FaultOf(err); err == nil || fault != connectors.Setup || !strings.HasPrefix(err.Error(), "mailchimp: check: the audience has no merge field SHOE_SIZE: add it") {
		t.Errorf("Check: %v", err)
	}
}

// TestMoves changes an address with the answer lost after each step, by every way the change may take.
func TestMoves(t *testing.T) {
	for _, row := range []struct {
		name    string
		prepare func(m *mailbox)
		lose    []string // the methods whose first answer is lost, one attempt after the other
		want    string   // the one member there is in the end
	}{
		{"nothing is lost", nil, nil, work + " subscribed"},
		{"the answer to PATCH is lost", nil, []string{"PATCH"}, work + " subscribed"},
		{"the answer to PATCH is lost, and that to the PUT that follows", nil, []string{"PATCH", "PUT"}, work + " subscribed"},
		{"nobody is there", func(m *mailbox) { delete(m.members, hash(home)) }, nil, work + " subscribed"},
		{"nobody is there, and the answer to PUT is lost", func(m *mailbox) { delete(m.members, hash(home)) }, []string{"PUT"}, work + " subscribed"},
		{"the new address is a member", withWork(subscribed), nil, work + " subscribed"},
		{"the new address is a member, and the answer to PUT is lost", withWork(subscribed), []string{"PUT"}, work + " subscribed"},
		{"the new address is a member, and the answer to DELETE is lost", withWork(subscribed), []string{"DELETE"}, work + " subscribed"},
		{"the new address is a member, and all answers are lost", withWork(subscribed), []string{"PATCH", "PUT", "DELETE"}, work + " subscribed"},
		{"the new address has unsubscribed", withWork(unsubscribed), []string{"PUT", "DELETE"}, work + " unsubscribed"},
		{"the new address is archived", withWork(archived), []string{"PUT", "DELETE"}, work + " pending"},
		{"the old address has unsubscribed", func(m *mailbox) { m.edit(home, unsubscribe) }, []string{"PUT", "DELETE"}, work + " unsubscribed"},
		{"the old address has unsubscribed, the new one is archived", func(m *mailbox) {
			withWork(archived)(m)
			m.edit(home, unsubscribe)
		}, []string{"PUT", "DELETE"}, work + " unsubscribed"},
		{"the old address awaits confirmation, the new one is archived", func(m *mailbox) {
			withWork(archived)(m)
			m.edit(home, func(s *stored) { s.status = pending })
		}, []string{"PUT", "DELETE"}, work + " pending"},
		{"the old address is archived", func(m *mailbox) { m.edit(home, func(s *stored) { s.status = archived }) }, []string{"PUT", "DELETE"}, work + " pending"},
		{"the old address is archived, and nothing is lost", func(m *mailbox) { m.edit(home, func(s *stored) { s.status = archived }) }, nil, work + " pending"},
	} {
		t.Run(row.name, func(t *testing.T) {
			m := start(t, nil)
			neighbour := "neighbour@home.example"
			m.pushed(connectortest.Created(zenobia(neighbour)), "")
			ref := m.pushed(connectortest.Created(zenobia(home)), "")
			if row.prepare != nil {
				row.prepare(m)
			}
			move := connectortest.Updated(connectortest.Edited(zenobia(work)))
			for _, method := range row.lose {
				var lost atomic.Bool
				m.spoil(func(w http.ResponseWriter, r *http.Request, v http.Handler) {
					recorder := httptest.NewRecorder()
					v.ServeHTTP(recorder, r)
					if r.Method == method && !lost.Load() {
						lost.Store(true)
						panic(http.ErrAbortHandler)
					}
					w.WriteHeader(recorder.Code)
					w.Write(recorder.Body.Bytes())
				})
				_, err := m.Push(context.Background(), move, ref)
				if fault, _ := connectors.FaultOf(err); method == row.lose[0] && (!lost.Load() || err == nil || fault != connectors.Unknown) {
					t.Errorf("%s: lost %v, error %v", method, lost.Load(), err)
				}
			}
			m.behave()
			newRef := m.pushed(move, ref)
			m.holds(neighbour+" subscribed", row.want)
			m.pushed(move, ref) // the worker may have forgotten
			m.pushed(move, newRef)
			m.holds(neighbour+" subscribed", row.want)
			if got, _ := m.member(work); got.merge["FNAME"] != "Wilhelmina" {
				t.Errorf("FNAME is %q", got.merge["FNAME"])
			}
		})
	}
}

// withWork puts a member of the new address there beforehand.
func withWork(status string) func(m *mailbox) {
	return func(m *mailbox) {
		m.Helper()
		m.pushed(connectortest.Created(zenobia(work)), "")
		m.edit(work, func(s *stored) { s.status = status })
	}
}

func TestAMoveThatIsRefusedLeavesTheOldMember(t *testing.T) {
	m := start(t, nil)
	ref := m.pushed(connectortest.Created(zenobia(home)), "")
	m.calls()
	m.refused(connectortest.Updated(zenobia("zenobia@refused.example")), ref, connectors.Lead)
	m.said("GET", "PATCH", "PUT")
	m.holds(home + " subscribed")
}

func TestAMoveIsNotBelievedButChecked(t *testing.T) {
	m := start(t, nil)
	ref := m.pushed(connectortest.Created(zenobia(home)), "")
	m.spoil(func(w http.ResponseWriter, r *http.Request, v http.Handler) {
		if r.Method == "PATCH" { // a success that leaves the address as it was
			reply(w, 200, map[string]any{"id": ref, "status": subscribed, "merge_fields": map[string]any{}})
			return
		}
		v.ServeHTTP(w, r)
	})
	m.pushed(connectortest.Updated(zenobia(work)), ref)
	m.holds(work + " subscribed")
}

func TestAMoveKeepsASubscriptionThatNewMembersDoNotGet(t *testing.T) {
	m := start(t, map[string]any{"status_if_new": "transactional"})
	ref := m.pushed(connectortest.Created(zenobia(home)), "")
	m.edit(home, func(s *stored) { s.status = subscribed })
	m.spoil(func(w http.ResponseWriter, r *http.Request, v http.Handler) {
		if r.Method == "PATCH" {
			problem(w, 400, "Invalid Resource", "no")
			return
		}
		v.ServeHTTP(w, r)
	})
	m.pushed(connectortest.Updated(zenobia(work)), ref)
	m.holds(work + " subscribed")
}

// The vendor here lets any member's address be changed; the answer is lost, and the lead changes once more. The
// worker then takes away what the lost change may have left, and moves on from the last ref it is sure of.
func TestT8AChangeOfAddressThatIsOvertakenSubscribesNobodyUnasked(t *testing.T) {
	const third = "zenobia@third.example"
	for before, want := range map[string]string{
		subscribed:    third + " subscribed",
		unsubscribed:  third + " pending", // asked: that it had unsubscribed cannot be told any more
		pending:       third + " pending",
		transactional: third + " pending",
		archived:      third + " pending",
	} {
		t.Run(before, func(t *testing.T) {
			m := start(t, nil)
			m.mayMoveAnyone = true
			ref := m.pushed(connectortest.Created(zenobia(home)), "")
			m.edit(home, func(s *stored) { s.status = before })
			m.spoil(func(w http.ResponseWriter, r *http.Request, v http.Handler) {
				answer := httptest.NewRecorder()
				v.ServeHTTP(answer, r)
				if r.Method == "PATCH" || r.Method == "DELETE" {
					panic(http.ErrAbortHandler)
				}
				reply(w, answer.Code, json.RawMessage(answer.Body.Bytes()))
			})
			m.refused(connectortest.Updated(zenobia(work)), ref, connectors.Unknown)
			m.behave()
			m.pushed(connectortest.Deleted(zenobia(third)), hash(work))
			m.pushed(connectortest.Updated(zenobia(third)), ref)
			m.holds(want)
		})
	}
}

func TestAMoveBackAndForthLeavesOneMember(t *testing.T) {
	m := start(t, nil)
	m.pushed(connectortest.Created(zenobia(work)), "")
	ref := m.pushed(connectortest.Created(zenobia(home)), "")
	for range 2 {
		ref = m.pushed(connectortest.Updated(zenobia(work)), ref) // there already: home is archived
		ref = m.pushed(connectortest.Updated(zenobia(home)), ref)
	}
	if len(m.Records()) != 1 {
		t.Errorf("the audience holds %v", m.Records())
	}
}

func TestReturningLeads(t *testing.T) {
	for _, row := range []struct {
		name     string
		settings map[string]any
		want     string
	}{
		{"who may have unsubscribed before is asked, not subscribed", nil, home + " pending"},
		{"unless the operator says otherwise", map[string]any{"status_if_archived": "subscribed"}, home + " subscribed"},
		{"a status that is no subscription is given again", map[string]any{"status_if_new": "transactional"}, home + " transactional"},
	} {
		t.Run(row.name, func(t *testing.T) {
			m := start(t, row.settings)
			ref := m.pushed(connectortest.Created(zenobia(home)), "")
			m.edit(home, unsubscribe)
			m.pushed(connectortest.Deleted(zenobia(home)), ref)
			m.holds()
			m.pushed(connectortest.Created(zenobia(home)), "")
			m.holds(row.want)
			m.calls()
			m.pushed(connectortest.Updated(zenobia(home)), ref)
			m.said("PUT") // nobody is asked twice
			m.holds(row.want)
		})
	}
}

func TestDeletes(t *testing.T) {
	status := func(s string) func(m *mailbox) {
		return func(m *mailbox) { m.edit(home, func(member *stored) { member.status = s }) }
	}
	for _, row := range []struct {
		name    string
		prepare func(m *mailbox)
		said    []string
		holds   []string
	}{
		{"of a subscribed member", status(subscribed), []string{"DELETE"}, nil},
		{"of an unsubscribed member", status(unsubscribed), []string{"DELETE"}, nil},
		{"of an archived member", status(archived), []string{"DELETE", "GET"}, nil},
		{"of a cleaned member, who cannot be archived", status(cleaned), []string{"DELETE", "GET"}, []string{home + " cleaned"}},
		{"of a pending member, who cannot be archived either", status(pending), []string{"DELETE", "GET", "PATCH", "DELETE"}, nil},
		{"of nobody", func(m *mailbox) { delete(m.members, hash(home)) }, []string{"DELETE", "GET"}, nil},
	} {
		t.Run(row.name, func(t *testing.T) {
			m := start(t, nil)
			ref := m.pushed(connectortest.Created(zenobia(home)), "")
			row.prepare(m)
			m.calls()
			m.pushed(connectortest.Deleted(zenobia(home)), ref)
			m.said(row.said...)
			m.holds(row.holds...)
			if cleaned := row.holds != nil; cleaned != strings.Contains(m.log.String(), "cleaned") {
				t.Errorf("the log says\n%s", m.log)
			}
		})
	}
	t.Run("before anything was sent", func(t *testing.T) {
		m := start(t, nil)
		m.pushed(connectortest.Deleted(zenobia(home)), "")
		m.said()
	})
	t.Run("of a list that is not there is no success", func(t *testing.T) {
		for _, onDelete := range []string{archive, deletePermanent} {
			m := start(t, map[string]any{"list_id": "other", "on_delete": onDelete})
			m.refused(connectortest.Deleted(zenobia(home)), hash(home), connectors.Setup)
		}
	})
	t.Run("answered by something else than Mailchimp is no success", func(t *testing.T) {
		m := start(t, nil)
		m.spoil(func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
			io.WriteString(w, "<html>Welcome</html>")
		})
		m.refused(connectortest.Deleted(zenobia(home)), hash(home), connectors.Unknown)
		m.spoil(func(w http.ResponseWriter, _ *http.Request, _ http.Handler) { http.NotFound(w, nil) })
		m.refused(connectortest.Deleted(zenobia(home)), hash(home), connectors.Setup)
	})
}

func TestTwoLeadsOfOneAddressShareAMember(t *testing.T) {
	m := start(t, nil)
	first, second := zenobia(home), connectortest.Sample(2)
	second.Email = strings.ToUpper(home)
	one := m.pushed(connectortest.Created(first), "")
	two := m.pushed(connectortest.Created(second), "")
	if one != two {
		t.Errorf("the refs are %s and %s", one, two)
	}
	m.holds(strings.ToUpper(home) + " subscribed")
}

func TestAnErrorNamesTheFieldAndNothingElse(t *testing.T) {
	m := start(t, nil, connectors.FieldRule{To: "PHONE", Value: "refused"})
	if text := m.refused(connectortest.Created(zenobia("zenobia.o'quill@home.example")), "", connectors.Lead); text !=
		"mailchimp: put member: 400 Invalid Resource: Your merge fields were invalid. (PHONE)" {
		t.Errorf("got %q", text)
	}
	m = start(t, nil)
	if text := m.refused(connectortest.Created(zenobia("Zenobia.O'Quill@refused.example")), "", connectors.Lead); text !=
		"mailchimp: put member: 400 Invalid Resource: <redacted> looks fake or invalid, please enter a real email address." {
		t.Errorf("got %q", text)
	}
	m.refused(connectortest.Created(zenobia("")), "", connectors.Lead)
}

func TestAnAnswerAboutAnotherMemberIsUnknown(t *testing.T) {
	m := start(t, nil)
	m.spoil(func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		reply(w, 200, map[string]any{"id": hash(work), "status": subscribed, "merge_fields": map[string]any{}})
	})
	m.refused(connectortest.Created(zenobia(home)), "", connectors.Unknown)
}

// TestRequests compares all that goes out with testdata.
func TestRequests(t *testing.T) {
	rules := []connectors.FieldRule{
		{To: "FNAME", From: "first_name"}, {To: "LNAME", From: "last_name"}, {To: "PHONE", From: "mobile"},
		{To: "BUDGET", From: "budget"}, {To: "OK", From: "newsletter"}, {To: "TAGS", From: "tags"},
		{To: "ADDRESS", From: "address"}, {To: "SOURCE", Value: 1.5},
	}
	l := zenobia(home)
	l.Custom = map[string]any{
		"budget": json.Number("1500.50"), "newsletter": true, "tags": []any{"one", json.Number("2"), map[string]any{"a": "b"}},
		"address": map[string]any{"addr1": "1 Quill Row", "city": "Zürich", "state": "", "zip": "8000", "country": "CH"},
	}
	m := start(t, nil, rules...)
	members := "/3.0/lists/" + testList + "/members/"

	ref := m.pushed(connectortest.Created(l), "")
	sent(t, m.said("PUT")[0], "PUT", members+hash(home), "put.json")

	moved := l
	moved.Email = work
	ref = m.pushed(connectortest.Updated(moved), ref)
	sent(t, m.said("GET", "PATCH")[1], "PATCH", members+hash(home), "patch.json")

	m.pushed(connectortest.Deleted(moved), ref)
	sent(t, m.said("DELETE")[0], "DELETE", members+hash(work), "")

	m.pushed(connectortest.Created(moved), "")
	calls := m.said("PUT", "PUT")
	sent(t, calls[1], "PUT", members+hash(work), "bring_back.json")

	m.pushed(connectortest.Deleted(moved), ref)
	calls = m.said("DELETE", "GET", "PATCH", "DELETE")
	sent(t, calls[1], "GET", members+hash(work)+"?fields=status", "")
	sent(t, calls[2], "PATCH", members+hash(work), "unsubscribe.json")

	if err := m.Connector.(connectors.Checker).Check(context.Background()); err != nil {
		t.Error(err)
	}
	calls = m.said("GET", "GET", "GET")
	sent(t, calls[2], "GET", "/3.0/?fields=role", "")
	sent(t, calls[0], "GET", "/3.0/lists/"+testList+"?fields=id", "")
	sent(t, calls[1], "GET", "/3.0/lists/"+testList+"/merge-fields?fields=merge_fields.tag,merge_fields.type,merge_fields.required,merge_fields.options&count=1000", "")
}

func sent(t *testing.T, call recorded, method, path, file string) {
	t.Helper()
	if call.method != method || call.path != path {
		t.Errorf("the request is %s %s, want %s %s", call.method, call.path, method, path)
	}
	want := map[string]string{"Accept": "application/json", "User-Agent": connectors.UserAgent}
	if file != "" {
		want["Content-Type"] = "application/json"
	}
	for name, value := range want {
		if got := call.header.Get(name); got != value {
			t.Errorf("%s %s: %s is %q, want %q", method, path, name, got, value)
		}
	}
	if _, password, ok := (&http.Request{Header: call.header}).BasicAuth(); !ok || password != testKey {
		t.Errorf("%s %s: the API key is not its password", method, path)
	}
	if file == "" {
		if len(call.body) != 0 {
			t.Errorf("%s %s: the body is %s, want none", method, path, call.body)
		}
		return
	}
	golden, err := os.ReadFile("testdata/" + file)
	if err != nil {
		t.Fatal(err)
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, golden); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	if got := string(call.body); got != compact.String() {
		t.Errorf("%s %s: the body is\n%s\n%s is\n%s", method, path, got, file, &compact)
	}
}

// Every request of every test is checked by the stand-in; here it is shown that the check can fail.
func TestRequestsAreCheckedAgainstTheVendorsDescription(t *testing.T) {
	connectortest.SpecDir(t)
	d := described(t)
	if d == nil {
		t.Fatal("the description was not read")
	}
	const address = `"email_address":"a@b.example"`
	for _, row := range []struct {
		name, method, path, body string
		wrong                    bool
	}{
		{"a right one", "PUT", "/members/x", `{` + address + `,"status_if_new":"subscribed","merge_fields":{"FNAME":"a","ADDRESS":{"city":"b"}}}`, false},
		{"an unknown status", "PUT", "/members/x", `{` + address + `,"status_if_new":"archived"}`, true},
		{"no status_if_new", "PUT", "/members/x", `{` + address + `}`, true},
		{"no address", "PUT", "/members/x", `{"status_if_new":"subscribed"}`, true},
		{"an address that is a number", "PUT", "/members/x", `{"email_address":1,"status_if_new":"subscribed"}`, true},
		{"merge fields that are a list", "PATCH", "/members/x", `{"merge_fields":["a"]}`, true},
		{"an unknown status in a PATCH", "PATCH", "/members/x", `{"status":"archived"}`, true},
		{"nothing", "PUT", "/members/x", ``, true},
		{"no JSON", "PUT", "/members/x", `email_address=a@b.example`, true},
		{"an unknown path", "POST", "/members/x/actions/forget", ``, true},
		{"a method that a member does not take", "POST", "/members/x", `{}`, true},
		{"a count that is no number", "GET", "/merge-fields?count=all", ``, true},
	} {
		r := httptest.NewRequest(row.method, "/3.0/lists/"+testList+row.path, strings.NewReader(row.body))
		r.Header.Set("Content-Type", "application/json")
		if err := d.CheckRequest(r); (err != nil) != row.wrong {
			t.Errorf("%s: got %v", row.name, err)
		}
	}

	// A request that is wrong fails the test that sends it.
	failing := &complaints{TB: t}
	v := newVendor(failing)
	r := httptest.NewRequest("PUT", "/3.0/lists/"+testList+"/members/"+hash(home), strings.NewReader(`{"email_address":"`+home+`"}`))
	r.Header.Set("Content-Type", "application/json")
	r.SetBasicAuth("any", testKey)
	v.ServeHTTP(httptest.NewRecorder(), r)
	if failing.count != 1 {
		t.Errorf("the stand-in complained %d times of a wrong request", failing.count)
	}
}

// complaints counts a test's failures instead of failing it.
type complaints struct {
	testing.TB
	count int
}

func (c *complaints) Errorf(string, ...any) { c.count++ }

func TestSettings(t *testing.T) {
	good := map[string]any{"api_key": "k-us6", "list_id": "a1"}
	for _, row := range []struct {
		name     string
		settings map[string]any
		want     string // "" for none
	}{
		{"the least", nil, ""},
		{"a key without its data centre", map[string]any{"api_key": "k"}, "api_key: must end in the data centre, as in …-us21; or set base_url"},
		{"a key that would name another host", map[string]any{"api_key": "k-evil.example/us6"}, "api_key: must end in the data centre, as in …-us21; or set base_url"},
		{"a key without its data centre, and a base_url", map[string]any{"api_key": "k", "base_url": "https://mock.example/"}, ""},
		{"the API root, as the vendor's pages give it", map[string]any{"base_url": "https://us6.api.mailchimp.com/3.0/"}, ""},
		{"no URL", map[string]any{"base_url": "us6"}, "base_url: must be a URL such as https://us21.api.mailchimp.com"},
		{"a URL with a password", map[string]any{"base_url": "https://a:b@c.example"}, "base_url: must be a URL such as https://us21.api.mailchimp.com"},
		{"an unknown status", map[string]any{"status_if_new": "active"}, "status_if_new: must be one of subscribed, pending, unsubscribed, transactional, cleaned"},
		{"a status that cannot be set", map[string]any{"status_if_archived": "archived"}, "status_if_archived: must be one of subscribed, pending, unsubscribed, transactional, cleaned"},
		{"an unknown on_delete", map[string]any{"on_delete": "forget"}, "on_delete: must be archive or delete-permanent"},
		{"no time", map[string]any{"timeout": "0s"}, "timeout: must be above 0"},
		{"everything wrong", map[string]any{"api_key": "", "list_id": "", "timeout": "-1s"}, "api_key: required\nlist_id: required\ntimeout: must be above 0"},
	} {
		t.Run(row.name, func(t *testing.T) {
			settings := map[string]any{}
			for _, part := range []map[string]any{good, row.settings} {
				for key, value := range part {
					settings[key] = value
				}
			}
			opened, err := Kind.Open(settings, connectors.Env{Log: slog.New(slog.DiscardHandler)})
			if got := fmt.Sprint(errors.Join(err)); err != nil && got != row.want || err == nil && row.want != "" {
				t.Errorf("got %q, want %q", got, row.want)
			}
			if err == nil && settings["api_key"] == good["api_key"] {
				if got := opened.(*connector).BaseURL; got != "https://us6.api.mailchimp.com" {
					t.Errorf("the base URL is %s", got)
				}
			}
		})
	}
}

func TestTheYAMLInThePackageCommentLoads(t *testing.T) {
	source, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	var example strings.Builder
	for line := range strings.Lines(string(source)) {
		if text, ok := strings.CutPrefix(line, "//\t"); ok {
			example.WriteString(text)
		}
	}
	var config struct {
		Connectors []struct {
			Type     string
			Settings map[string]any
		}
	}
	if err := yaml.Unmarshal([]byte(example.String()), &config); err != nil {
		t.Fatal(err)
	}
	if len(config.Connectors) != 1 || config.Connectors[0].Type != Kind.Name {
		t.Fatalf("the example is %+v", config)
	}
	settings := config.Connectors[0].Settings
	secret := filepath.Join(t.TempDir(), "mailchimp")
	if err := os.WriteFile(secret, []byte(testKey+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	settings["api_key_file"] = secret
	opened, err := Kind.Open(settings, connectors.Env{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	got := opened.(*connector).Settings
	want := defaults
	want.APIKey, want.ListID, want.BaseURL, want.StatusIfArchived = testKey, "a1b2c3d4e5", "https://us21.api.mailchimp.com", pending
	if got != want {
		t.Errorf("the example gives %+v; but for what it must set, the defaults are %+v", got, want)
	}
}
