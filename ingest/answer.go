package ingest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/leadrelay/leadrelay/internal/lead"
	"github.com/leadrelay/leadrelay/internal/store"
)

// answer is the envelope of every answer. Members that are nil are left out, as the leads API has it.
type answer struct {
	Success  bool
	Error    *string
	Data     []byte // JSON
	Message  string
	Problems []lead.Problem
}

func (a answer) write(w http.ResponseWriter, status int) {
	out := make([]byte, 0, 256+len(a.Data))
	out = strconv.AppendBool(append(out, `{"success":`...), a.Success)
	if a.Error != nil {
		out = appendJSON(append(out, `,"error":`...), *a.Error)
	}
	if a.Data != nil {
		out = append(append(out, `,"data":`...), a.Data...)
	}
	out = appendJSON(append(out, `,"message":`...), a.Message)
	if a.Problems != nil {
		out = appendJSON(append(out, `,"problems":`...), a.Problems)
	}
	send(w, status, append(out, '}'))
}

// The headers of every answer; net/http only reads them.
var (
	jsonType = []string{"application/json; charset=utf-8"}
	noStore  = []string{"no-store"}
	noSniff  = []string{"nosniff"}
)

func send(w http.ResponseWriter, status int, body []byte) {
	header := w.Header()
	header["Content-Type"], header["Cache-Control"], header["X-Content-Type-Options"] = jsonType, noStore, noSniff
	w.WriteHeader(status)
	w.Write(append(body, '\n')) // a client that is gone cannot be told
}

func writeJSON(w http.ResponseWriter, status int, body any) { send(w, status, appendJSON(nil, body)) }

// appendJSON appends a value that always encodes, HTML's signs as they are.
func appendJSON(out []byte, value any) []byte {
	if text, ok := value.(string); ok && isPlain(text) {
		return append(append(append(out, '"'), text...), '"')
	}
	buffer := bytes.NewBuffer(out)
	encoder := json.NewEncoder(buffer)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		panic("ingest: " + err.Error())
	}
	return bytes.TrimSuffix(buffer.Bytes(), []byte{'\n'})
}

// isPlain says whether a text stands in JSON as it is.
func isPlain(text string) bool {
	for i := range len(text) {
		if c := text[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}

// fail answers an error: code for programs, message for people.
func fail(w http.ResponseWriter, status int, code, message string) {
	answer{Error: &code, Message: message}.write(w, status)
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
		answer{Error: new("validation_failed"), Message: invalid.Error(), Problems: invalid}.write(w, http.StatusUnprocessableEntity)
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
func leadJSON(l lead.Lead, members ...string) []byte {
	out := make([]byte, 0, 256+len(l.Note))
	out = appendJSON(append(out, `{"lead_id":`...), l.ID)
	out = appendJSON(append(out, `,"name":`...), l.Name)
	out = appendJSON(append(out, `,"email":`...), l.Email)
	out = appendJSON(append(out, `,"source":`...), l.Source)
	out = appendJSON(append(out, `,"note":`...), l.Note)
	for _, name := range members {
		switch name {
		case "created_at":
			out = appendTime(append(out, `,"created_at":`...), l.Created)
		case "updated_at":
			out = appendTime(append(out, `,"updated_at":`...), l.Updated)
		case "revision":
			out = strconv.AppendInt(append(out, `,"revision":`...), l.Revision, 10)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(l.Custom)) {
		out = append(appendJSON(append(out, ','), name), ':')
		out = appendJSON(out, l.Custom[name]) // what was decoded from JSON encodes again
	}
	return append(out, '}')
}

func appendTime(out []byte, t time.Time) []byte {
	return append(t.UTC().AppendFormat(append(out, '"'), time.RFC3339), '"')
}

// withMember adds one member to a JSON object.
func withMember(object []byte, name string, value any) []byte {
	out := append(object[:len(object)-1], ',')
	out = append(appendJSON(out, name), ':')
	return append(appendJSON(out, value), '}')
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
