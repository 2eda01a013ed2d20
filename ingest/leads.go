package ingest

import (
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/leadrelay/leadrelay/internal/lead"
	"github.com/leadrelay/leadrelay/internal/store"
)

func (s *server) create(w http.ResponseWriter, r *http.Request, _ string, key Key) {
	body, ok := s.body(w, r)
	if !ok {
		return
	}
	patch, err := lead.ParseNew(body)
	if err != nil {
		s.refuse(w, err)
		return
	}
	once, done, ok := s.idempotency(w, r, key, body)
	if !ok {
		return
	}
	defer done()
	accept := s.Store.Create
	if s.Dedupe {
		accept = s.Store.CreateOrUpdate
	}
	l, err := accept(r.Context(), patch, once)
	if err != nil {
		s.refuse(w, err)
		return
	}
	s.metrics.accepted.WithLabelValues("create").Inc()
	s.Log.Debug("lead accepted", "lead", l.ID, "revision", l.Revision, "key", key.Name)
	writeLead(w, answer{Success: true, Message: "Lead added successfully"}, leadJSON(l, "created_at"))
}

func (s *server) update(w http.ResponseWriter, r *http.Request, id string, key Key) {
	body, ok := s.body(w, r)
	if !ok {
		return
	}
	patch, err := lead.ParsePatch(body)
	if err != nil {
		s.refuse(w, err)
		return
	}
	once, done, ok := s.idempotency(w, r, key, body)
	if !ok {
		return
	}
	defer done()
	l, err := s.Store.Update(r.Context(), id, patch, once)
	if err != nil {
		s.refuse(w, err)
		return
	}
	s.metrics.accepted.WithLabelValues("update").Inc()
	s.Log.Debug("lead accepted", "lead", l.ID, "revision", l.Revision, "key", key.Name)
	writeLead(w, answer{Success: true, Error: new(""), Message: "Lead updated successfully"}, leadJSON(l, "updated_at"))
}

func (s *server) delete(w http.ResponseWriter, r *http.Request, id string, key Key) {
	if err := s.Store.Delete(r.Context(), id); err != nil {
		s.refuse(w, err)
		return
	}
	s.metrics.accepted.WithLabelValues("delete").Inc()
	s.Log.Debug("lead deleted", "lead", id, "key", key.Name)
	writeJSON(w, http.StatusOK, answer{Success: true, Error: new(""), Message: "Lead deleted successfully"})
}

func (s *server) get(w http.ResponseWriter, r *http.Request, id string, _ Key) {
	found, err := s.Store.Get(r.Context(), id)
	if err != nil {
		s.refuse(w, err)
		return
	}
	if found.Deleted {
		// What is left is shown with its 404: an operator sees who has not confirmed the delete yet.
		text, _ := json.Marshal(map[string]any{
			"lead_id": found.Lead.ID, "deleted_at": timestamp(found.Lead.Updated), "connectors": standings(found),
		})
		writeLeadStatus(w, http.StatusNotFound, answer{
			Error: new("not_found"), Message: "the lead was deleted; connectors that had it are being told",
		}, text)
		return
	}
	text := leadJSON(found.Lead, "created_at", "updated_at", "revision")
	writeLead(w, answer{Success: true, Error: new(""), Message: "Lead found"}, withMember(text, "connectors", standings(found)))
}

const (
	defaultPage = 50
	maxPage     = 200
)

func (s *server) list(w http.ResponseWriter, r *http.Request, _ string, _ Key) {
	query, problem := parseQuery(r.URL.Query())
	if problem != "" {
		fail(w, http.StatusBadRequest, "bad_request", problem)
		return
	}
	leads, next, err := s.Store.List(r.Context(), query)
	if err != nil {
		s.refuse(w, err)
		return
	}
	page := make([]json.RawMessage, len(leads))
	for i, l := range leads {
		page[i] = leadJSON(l, "created_at", "updated_at", "revision")
	}
	writeJSON(w, http.StatusOK, map[string]any{
		"success": true, "error": "", "data": page, "next_cursor": next, "message": strconv.Itoa(len(page)) + " leads",
	})
}

func parseQuery(values url.Values) (q store.Query, problem string) {
	q.Limit = defaultPage
	for name, given := range values {
		value := given[0]
		switch name {
		case "email":
			q.Email = strings.TrimSpace(value)
		case "source":
			q.Source = value
		case "cursor":
			if _, ok := lead.ShardOf(value); !ok && value != "" {
				return q, "cursor: is not one that this API gave"
			}
			q.Before = value
		case "limit":
			n, err := strconv.Atoi(value)
			if err != nil || n < 1 || n > maxPage {
				return q, "limit: must be a whole number from 1 to " + strconv.Itoa(maxPage)
			}
			q.Limit = n
		default:
			return q, "unknown parameter; known are email, source, cursor and limit"
		}
	}
	return q, ""
}

// body reads a JSON request's body, or answers why it cannot.
func (s *server) body(w http.ResponseWriter, r *http.Request) ([]byte, bool) {
	mediaType, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	charset := params["charset"]
	if err != nil || mediaType != "application/json" || charset != "" && !strings.EqualFold(charset, "utf-8") {
		fail(w, http.StatusUnsupportedMediaType, "unsupported_media_type", "send the lead as JSON, with Content-Type: application/json")
		return nil, false
	}
	if encoding := r.Header.Get("Content-Encoding"); encoding != "" && encoding != "identity" {
		fail(w, http.StatusUnsupportedMediaType, "unsupported_media_type", "send the body without Content-Encoding")
		return nil, false
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, s.BodyBytes))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		fail(w, http.StatusRequestEntityTooLarge, "payload_too_large", "the body is larger than "+strconv.FormatInt(s.BodyBytes, 10)+" bytes")
		return nil, false
	case err != nil:
		fail(w, http.StatusBadRequest, "bad_request", "the body could not be read whole")
		return nil, false
	}
	return body, true
}

const maxIdempotencyKey = 255

// idempotency reads the Idempotency-Key header
// (https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/), or answers why it cannot be
// used. done must be called when the request is answered.
func (s *server) idempotency(w http.ResponseWriter, r *http.Request, key Key, body []byte) (once *store.Idempotency, done func(), ok bool) {
	values := r.Header.Values("Idempotency-Key")
	if len(values) == 0 {
		return nil, func() {}, true
	}
	text := values[0]
	if len(values) > 1 || text == "" || len(text) > maxIdempotencyKey ||
		strings.ContainsFunc(text, func(c rune) bool { return c < ' ' || c > '~' }) {
		fail(w, http.StatusBadRequest, "bad_request", "Idempotency-Key: must be one printable ASCII text of at most "+strconv.Itoa(maxIdempotencyKey)+" characters")
		return nil, nil, false
	}
	// A key belongs to who sent it and to the resource it was sent to.
	scoped := strings.Join([]string{key.Name, r.Method, r.URL.Path, text}, "\n")
	if !s.flying.begin(scoped) {
		w.Header().Set("Retry-After", "1")
		fail(w, http.StatusConflict, "request_in_flight", "a request with this Idempotency-Key is being answered; send it again in a moment")
		return nil, nil, false
	}
	return &store.Idempotency{Key: scoped, Fingerprint: canonical(body)}, func() { s.flying.end(scoped) }, true
}

// canonical is a JSON object's text without what makes no difference: white space and the order of members.
func canonical(body []byte) string {
	decoder := json.NewDecoder(strings.NewReader(string(body)))
	decoder.UseNumber()
	var value any
	if decoder.Decode(&value) != nil {
		return string(body)
	}
	text, err := json.Marshal(value)
	if err != nil {
		return string(body)
	}
	return string(text)
}
