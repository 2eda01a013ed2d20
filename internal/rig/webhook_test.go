package rig

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
)

// webhook is a receiver of events. It remembers which came first, and complains of what no receiver should see.
type webhook struct {
	key []byte // of the signature

	mu       sync.Mutex
	events   map[string][]event // by lead, each webhook-id once, in order of first arrival
	bodies   map[string][32]byte
	problems []string
}

type event struct {
	kind     string
	revision int64
	person   person
}

func newWebhook(key []byte) *webhook {
	return &webhook{key: key, events: map[string][]event{}, bodies: map[string][32]byte{}}
}

func (h *webhook) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	h.mu.Lock()
	defer h.mu.Unlock()
	problem := func(format string, args ...any) {
		h.problems = append(h.problems, "webhook: "+fmt.Sprintf(format, args...))
	}
	id := r.Header.Get("webhook-id")
	mac := hmac.New(sha256.New, h.key)
	fmt.Fprintf(mac, "%s.%s.%s", id, r.Header.Get("webhook-timestamp"), body)
	if r.Header.Get("webhook-signature") != "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)) {
		problem("the signature of %s is wrong", id)
	}
	var got struct {
		Type string
		Data struct {
			LeadID   string `json:"lead_id"`
			Revision int64
			person
		}
	}
	if err := json.Unmarshal(body, &got); err != nil || id == "" {
		problem("not an event: %v", err)
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	e := event{got.Type, got.Data.Revision, got.Data.person}
	lead := got.Data.LeadID
	known := h.events[lead]
	sum := sha256.Sum256(body)
	before, seen := h.bodies[id]
	switch {
	case seen && before != sum:
		problem("%s came with two bodies", id)
	case !seen && len(known) > 0 && known[len(known)-1].revision >= e.revision:
		problem("%s: revision %d came after %d", lead, e.revision, known[len(known)-1].revision)
	}
	if len(known) > 0 && known[len(known)-1].kind == "lead.deleted" && e.kind != "lead.deleted" {
		problem("%s: revision %d came after the delete: undead", lead, e.revision)
	}
	if e.kind == "lead.deleted" && e.person != (person{}) {
		problem("%s: the delete holds personal data", lead)
	}
	if !seen {
		h.bodies[id] = sum
		h.events[lead] = append(known, e)
	}
	w.WriteHeader(http.StatusNoContent)
}

// complaints are what should not have come, whatever comes after.
func (h *webhook) complaints() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.problems)
}

// compare says what the receiver was told otherwise than it was accepted.
func (h *webhook) compare(leads []*lead) []string {
	problems := h.complaints()
	h.mu.Lock()
	defer h.mu.Unlock()
	problem := func(format string, args ...any) {
		problems = append(problems, "webhook: "+fmt.Sprintf(format, args...))
	}
	accepted := map[string]bool{}
	for _, l := range leads {
		accepted[l.id] = true
		events := h.events[l.id]
		if l.deleted {
			// A delete overtakes what is unsent; who was never told of the lead is not told of its end.
			if n := len(events); n > 0 && (events[n-1].kind != "lead.deleted" || events[n-1].revision != l.revision) {
				problem("%s was deleted as revision %d and the last it was told is %s of revision %d", l.id, l.revision, events[n-1].kind, events[n-1].revision)
			}
			continue
		}
		if int64(len(events)) != l.revision {
			problem("%s: %d events of %d revisions: lost", l.id, len(events), l.revision)
			continue
		}
		for i, e := range events {
			kind := "lead.updated"
			if i == 0 {
				kind = "lead.created"
			}
			if e.kind != kind || e.revision != int64(i+1) {
				problem("%s: event %d is %s of revision %d", l.id, i+1, e.kind, e.revision)
			}
		}
		if last := events[len(events)-1]; last.person != l.person {
			problem("%s: the last it was told is %v, accepted was %v", l.id, last.person, l.person)
		}
	}
	for id := range h.events {
		if !accepted[id] {
			problem("%s was told of and never accepted", id)
		}
	}
	return problems
}
