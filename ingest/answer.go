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
	send(w, status, a.append(make([]byte, 0, 256+len(a.Data))))
}

func (a answer) append(out []byte) []byte {
	out = strconv.AppendBool(append(out, `{"success":`...), a.Success)
	if a.Error != nil {
		out = appendText(append(out, `,"error":`...), *a.Error)
	}
	if a.Data != nil {
		out = append(append(out, `,"data":`...), a.Data...)
	}
	if a.Message != "" {
		out = appendText(append(out, `,"message":`...), a.Message)
	}
	if a.Problems != nil {
		out = appendJSON(append(out, `,"problems":`...), a.Problems)
	}
	return append(out, '}')
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
	body = append(body, '\n')
	if len(body) > 1024 { // of a short one net/http says the length by itself
		header.Set("Content-Length", strconv.Itoa(len(body)))
	}
	w.WriteHeader(status)
	w.Write(body) // a client that is gone cannot be told
}

func writeJSON(w http.ResponseWriter, status int, body any) { send(w, status, appendJSON(nil, body)) }

// appendJSON appends a value that always encodes, HTML's signs as they are.
func appendJSON(out []byte, value any) []byte {
	buffer := bytes.NewBuffer(out)
	encoder := json.NewEncoder(buffer)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		panic("ingest: " + err.Error())
	}
	return bytes.TrimSuffix(buffer.Bytes(), []byte{'\n'})
}

// appendText is appendJSON of a text, most of which stand in JSON as they are.
func appendText(out []byte, text string) []byte {
	if isPlain(text) {
		return append(append(append(out, '"'), text...), '"')
	}
	return appendJSON(out, text)
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

// refused is why a request is not carried out, as it is answered.
type refused struct {
	status        int
	code, message string
	problems      []lead.Problem
	wait          time.Duration // until the request may be sent again; 0: not said
}

func (r refused) Error() string { return r.message }

func (s *server) tellUnavailable(err error) {
	if !errors.Is(err, errCrowded) && !errors.Is(err, context.Canceled) && s.toldUnavailable.Allow() {
		s.Log.Warn("the store is unavailable; while it is, this is told every few seconds", "error", err)
	}
}

var errCrowded = errors.New("too many requests at once")

const unavailableMessage = "leads cannot be accepted at the moment; send the request again, with the same Idempotency-Key if it had one"

// unavailable answers that the request may be sent again.
func (s *server) unavailable(w http.ResponseWriter, err error) {
	s.tellUnavailable(err)
	w.Header().Set("Retry-After", "2")
	fail(w, http.StatusServiceUnavailable, "unavailable", unavailableMessage)
}

// refuse answers an error of parsing or of the store.
func (s *server) refuse(w http.ResponseWriter, err error) {
	status, a := refusal(err)
	switch status {
	case http.StatusServiceUnavailable:
		s.unavailable(w, err)
		return
	case http.StatusConflict:
		w.Header().Set("Retry-After", "1")
	}
	a.write(w, status)
}

// refusal is how an error is answered.
func refusal(err error) (status int, a answer) {
	var invalid lead.Invalid
	var refused refused
	switch {
	case errors.As(err, &refused):
		return refused.status, answer{Error: &refused.code, Message: refused.message, Problems: refused.problems}
	case errors.As(err, &invalid):
		return http.StatusUnprocessableEntity, answer{Error: new("validation_failed"), Message: invalid.Error(), Problems: invalid}
	case errors.Is(err, lead.ErrMalformed):
		return http.StatusBadRequest, answer{Error: new("malformed_json"), Message: err.Error()}
	case errors.Is(err, store.ErrNotFound):
		return http.StatusNotFound, answer{Error: new("not_found"), Message: "there is no lead with this id"}
	case errors.Is(err, store.ErrKeyReused):
		return http.StatusUnprocessableEntity, answer{Error: new("idempotency_key_reused"), Message: "this Idempotency-Key was used for a request with another body"}
	case errors.Is(err, store.ErrBusy):
		return http.StatusConflict, answer{Error: new("conflict"), Message: "the lead is being changed by other requests; send it again"}
	default:
		return http.StatusServiceUnavailable, answer{Error: new("unavailable"), Message: unavailableMessage}
	}
}

func timestamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// leadJSON is appendLead to nothing.
func leadJSON(l lead.Lead, members ...string) []byte {
	return appendLead(make([]byte, 0, 256+len(l.Note)), l, members...)
}

// appendLead writes a lead as the API shows it: the API's members in their order, then those asked for, then the
// custom fields by name.
func appendLead(out []byte, l lead.Lead, members ...string) []byte {
	out = appendText(append(out, `{"lead_id":`...), l.ID)
	out = appendText(append(out, `,"name":`...), l.Name)
	out = appendText(append(out, `,"email":`...), l.Email)
	out = appendText(append(out, `,"source":`...), l.Source)
	out = appendText(append(out, `,"note":`...), l.Note)
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
	if len(l.Custom) == 0 {
		return append(out, '}')
	}
	for _, name := range slices.Sorted(maps.Keys(l.Custom)) {
		out = append(appendText(append(out, ','), name), ':')
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
	out = append(appendText(out, name), ':')
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
