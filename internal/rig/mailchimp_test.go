package rig

import (
	"crypto/md5"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
)

const (
	audience     = "a1b2c3d4e5"
	mailchimpKey = "5ecre70f7ha7mu57n075h0w1nany1095-us21"
)

// mailchimp is a stand-in of Mailchimp with one audience, as far as the connector uses it: members keyed by the MD5
// of their lower-cased address, archived ones still there.
// https://mailchimp.com/developer/marketing/api/list-members/
type mailchimp struct {
	mu       sync.Mutex
	members  map[string]*member
	problems []string
}

type member struct {
	Email  string            `json:"email_address"`
	Status string            `json:"status"`
	Merge  map[string]string `json:"merge_fields"`
}

func newMailchimp() *mailchimp { return &mailchimp{members: map[string]*member{}} }

func subscriberHash(address string) string {
	sum := md5.Sum([]byte(strings.ToLower(address)))
	return hex.EncodeToString(sum[:])
}

func (m *mailchimp) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	m.mu.Lock()
	defer m.mu.Unlock()
	answer := func(status int, value any) {
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		w.WriteHeader(status)
		json.NewEncoder(w).Encode(value)
	}
	problem := func(status int, title, detail string) {
		answer(status, map[string]any{"title": title, "status": status, "detail": detail})
	}
	if _, key, _ := r.BasicAuth(); key != mailchimpKey {
		problem(401, "API Key Invalid", "")
		return
	}
	if strings.Contains(r.URL.String(), marker) {
		m.problems = append(m.problems, "mailchimp: personal data in a URL")
	}
	path, ok := strings.CutPrefix(r.URL.Path, "/3.0/lists/"+audience)
	if ok && path == "" {
		answer(200, map[string]any{"id": audience})
		return
	}
	key, isMember := strings.CutPrefix(path, "/members/")
	if !ok || !isMember {
		problem(404, "Resource Not Found", "The requested resource could not be found.")
		return
	}
	var change struct {
		member
		StatusIfNew string `json:"status_if_new"`
	}
	if len(body) > 0 && json.Unmarshal(body, &change) != nil {
		problem(400, "JSON Parse Error", "")
		return
	}
	is := m.members[key]
	switch {
	case is == nil && r.Method == http.MethodPut:
		if key != subscriberHash(change.Email) {
			m.problems = append(m.problems, "mailchimp: a member was put under another's key")
		}
		if change.Status == "" {
			change.Status = change.StatusIfNew
		}
		is = &member{Email: change.Email, Status: change.Status, Merge: map[string]string{}}
		m.members[key] = is
	case is == nil:
		problem(404, "Resource Not Found", "The requested resource could not be found.")
		return
	case r.Method == http.MethodGet:
	case r.Method == http.MethodDelete:
		if is.Status == "pending" || is.Status == "archived" {
			problem(405, "Method Not Allowed", is.Email+" cannot be removed. Can not archive a contact that is bounced, pending or archived")
			return
		}
		is.Status = "archived"
		w.WriteHeader(http.StatusNoContent)
		return
	case r.Method == http.MethodPut || r.Method == http.MethodPatch:
		if change.Email == "" {
			change.Email = is.Email
		}
		moved := subscriberHash(change.Email)
		if moved != key && (m.members[moved] != nil || is.Status == "unsubscribed") {
			problem(400, "Invalid Resource", change.Email+" is already in this list, or "+is.Email+" is not subscribed.")
			return
		}
		delete(m.members, key)
		key, is.Email = moved, change.Email
		m.members[key] = is
		if change.Status != "" {
			is.Status = change.Status
		}
	default:
		problem(405, "Method Not Allowed", "")
		return
	}
	for tag, value := range change.Merge {
		is.Merge[tag] = value
	}
	answer(200, map[string]any{"id": key, "email_address": is.Email, "status": is.Status, "merge_fields": is.Merge})
}

// compare says which members are not the accepted leads.
func (m *mailchimp) compare(leads []*lead) []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	problems := append([]string(nil), m.problems...)
	problem := func(format string, args ...any) {
		problems = append(problems, "mailchimp: "+fmt.Sprintf(format, args...))
	}
	wanted := map[string][]*lead{} // leads of one address share a member
	whose := map[string]*lead{}
	for _, l := range leads {
		for _, address := range l.addresses {
			if whose[address] == nil || !l.deleted {
				whose[address] = l
			}
		}
		if !l.deleted {
			wanted[l.Email] = append(wanted[l.Email], l)
		}
	}
	for address, sharing := range wanted {
		is := m.members[subscriberHash(address)]
		l := sharing[0]
		switch {
		case is == nil || is.Status == "archived":
			problem("%s (%s, revision %d, one of %d) is no member: lost", l.id, address, l.revision, len(sharing))
		case !slices.ContainsFunc(sharing, func(l *lead) bool {
			return is.Merge["FNAME"]+" "+is.Merge["LNAME"] == l.Name && is.Merge["NOTE"] == l.Note
		}):
			problem("%s (one of %d) is %v, accepted was %v: stale", l.id, len(sharing), is.Merge, l.person)
		}
	}
	for _, is := range m.members {
		if is.Status == "archived" || wanted[is.Email] != nil {
			continue
		}
		switch l := whose[is.Email]; {
		case l == nil:
			problem("%s is a member and was never accepted", is.Email)
		case l.deleted:
			problem("%s (%s) is a member and was deleted: undead", l.id, is.Email)
		default:
			problem("%s is a member by its former address %s: doubled", l.id, is.Email)
		}
	}
	return problems
}
