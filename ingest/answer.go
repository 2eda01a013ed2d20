package ingest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"sort"
	"time"

	"github.com/leadrelay/leadrelay/internal/lead"
	"github.com/leadrelay/leadrelay/internal/store"
)

// answer is the envelope of every answer. Members that are nil are left out, as the leads API has it.
type answer struct {
	Success  bool            `json:"success"`
	Error    *string         `json:"error,omitempty"`
	Data     json.RawMessage `json:"data,omitempty"`
	Message  string          `json:"message"`
	Problems []lead.Problem  `json:"problems,omitempty"`
}

func writeLead(w http.ResponseWriter, a answer, data json.RawMessage) {
	writeLeadStatus(w, http.StatusOK, a, data)
}

func writeLeadStatus(w http.ResponseWriter, status int, a answer, data json.RawMessage) {
	a.Data = data
	writeJSON(w, status, a)
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	header := w.Header()
	header.Set("Content-Type", "application/json; charset=utf-8")
	header.Set("Cache-Control", "no-store")
	header.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	encoder.Encode(body) // a client that is gone cannot be told
}

// fail answers an error: code for programs, message for people.
func fail(w http.ResponseWriter, status int, code, message string) {
	writeJSON(w, status, answer{Error: &code, Message: message})
}

var errCrowded = errors.New("too many requests at once")

// unavailable answers that the request may be sent again.
func (s *server) unavailable(w http.ResponseWriter, err error) {
	if !errors.Is(err, errCrowded) && !errors.Is(err, context.Canceled) && s.toldUnavailable.Allow() {
		s.Log.Warn("the store is unavailable; while it is, this is told every few seconds", "error", err)
	}
	w.Header().Set("Retry-After", "2")
	fail(w, http.StatusServiceUnavailable, "unavailable", "leads cannot be accepted at the moment; send the request again, with the same Idempotency-Key if it had one")
}

// refuse answers an error of parsing or of the store.
func (s *server) refuse(w http.ResponseWriter, err error) {
	var invalid lead.Invalid
	switch {
	case errors.As(err, &invalid):
		writeJSON(w, http.StatusUnprocessableEntity, answer{
			Error: new("validation_failed"), Message: invalid.Error(), Problems: invalid,
		})
	case errors.Is(err, lead.ErrMalformed):
		fail(w, http.StatusBadRequest, "malformed_json", err.Error())
	case errors.Is(err, store.ErrNotFound):
		fail(w, http.StatusNotFound, "not_found", "there is no lead with this id")
	case errors.Is(err, store.ErrKeyReused):
		fail(w, http.StatusUnprocessableEntity, "idempotency_key_reused", "this Idempotency-Key was used for a request with another body")
	case errors.Is(err, store.ErrBusy):
		w.Header().Set("Retry-After", "1")
		fail(w, http.StatusConflict, "conflict", "the lead is being changed by other requests; send it again")
	default:
		s.unavailable(w, err)
	}
}

func timestamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// leadJSON writes a lead as the API shows it: the API's members in their order, then those asked for, then the
// custom fields by name.
func leadJSON(l lead.Lead, members ...string) json.RawMessage {
	var out bytes.Buffer
	out.WriteByte('{')
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	member := func(name string, value any) {
		if out.Len() > 1 {
			out.WriteByte(',')
		}
		encoder.Encode(name)
		out.Truncate(out.Len() - 1) // Encode ends with a newline
		out.WriteByte(':')
		encoder.Encode(value) // what was decoded from JSON encodes again
		out.Truncate(out.Len() - 1)
	}
	member("lead_id", l.ID)
	member("name", l.Name)
	member("email", l.Email)
	member("source", l.Source)
	member("note", l.Note)
	for _, name := range members {
		switch name {
		case "created_at":
			member(name, timestamp(l.Created))
		case "updated_at":
			member(name, timestamp(l.Updated))
		case "revision":
			member(name, l.Revision)
		}
	}
	names := make([]string, 0, len(l.Custom))
	for name := range l.Custom {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		member(name, l.Custom[name])
	}
	out.WriteByte('}')
	return out.Bytes()
}

// withMember adds one member to a JSON object.
func withMember(object json.RawMessage, name string, value any) json.RawMessage {
	text, err := json.Marshal(map[string]any{name: value})
	if err != nil {
		panic("ingest: " + err.Error())
	}
	return append(append(object[:len(object)-1:len(object)-1], ','), text[1:]...)
}

// standing is where a lead stands with a connector, as the API shows it.
type standing struct {
	Name        string   `json:"name"`
	State       string   `json:"state"`
	InStep      bool     `json:"in_step"`
	RemoteID    string   `json:"remote_id"`
	Revision    int64    `json:"synced_revision"`
	LastOutcome *outcome `json:"last_outcome"`
}

type outcome struct {
	At       string `json:"at"`
	OK       bool   `json:"ok"`
	Fault    string `json:"fault,omitempty"`
	Reason   string `json:"reason,omitempty"`
	Attempts int    `json:"attempts,omitempty"`
	NextTry  string `json:"next_try,omitempty"`
}

func standings(found store.Found) []standing {
	all := []standing{}
	for _, st := range found.Standings {
		shown := standing{
			Name: st.Connector, State: string(st.State), RemoteID: st.Record.Ref, Revision: st.Record.Synced,
			InStep: st.State == store.InStep || st.State == store.Skipped,
		}
		if at := st.Record.LastOutcome(); !at.IsZero() {
			shown.LastOutcome = &outcome{
				At: timestamp(at), OK: st.Record.Fault == "",
				Fault: st.Record.Fault, Reason: st.Record.Reason, Attempts: st.Record.Attempts,
			}
			if st.Record.Next > 0 {
				shown.LastOutcome.NextTry = timestamp(time.UnixMilli(st.Record.Next))
			}
		}
		all = append(all, shown)
	}
	return all
}
