package ingest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"mime"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strconv"
	"strings"

	"github.com/leadrelay/leadrelay/internal/lead"
	"github.com/leadrelay/leadrelay/internal/store"
	"github.com/leadrelay/leadrelay/internal/tracing"
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
	once, done, ok := s.idempotency(w, r, key, patch)
	if !ok {
		return
	}
	defer done()
	ctx, cancel := patient(r)
	defer cancel()
	l, err := s.accept(ctx, patch, once)
	if err == nil {
		l, err = s.shown(l, patch, key)
	}
	if err != nil {
		s.refuse(w, err)
		return
	}
	s.tellAccepted(r, "create", l, key)
	answer{Success: true, Message: "Lead added successfully", Data: leadJSON(l, "created_at")}.write(w, http.StatusOK)
}

// shown is what a key is shown of a lead it added. Under dedupe the lead may have been there: a key that may read nothing
// is shown what it sent, not what others did.
func (s *server) shown(l lead.Lead, patch lead.Patch, key Key) (lead.Lead, error) {
	if key.Scope == Full || !s.Dedupe {
		return l, nil
	}
	l, _, err := patch.Apply(lead.Lead{ID: l.ID, Revision: l.Revision, Created: l.Created})
	return l, err
}

func (s *server) tellAccepted(r *http.Request, operation string, l lead.Lead, key Key) {
	s.metrics.accepted.WithLabelValues(operation).Inc()
	if s.Log.Enabled(r.Context(), slog.LevelDebug) {
		s.Log.Debug("lead accepted", "lead", l.ID, "revision", l.Revision, "key", key.Name)
	}
}

// accept stores a new lead, or under dedupe what it changes of the one with its address.
func (s *server) accept(ctx context.Context, patch lead.Patch, once *store.Idempotency) (l lead.Lead, err error) {
	defer func() {
		if err == nil {
			s.accepted(ctx, l)
			s.Store.CountAccepted(l.Source)
		}
	}()
	if !s.Dedupe {
		return s.Store.Create(ctx, patch, once)
	}
	err = s.inTurn(ctx, lead.NormalEmail(*patch.Email), func() (err error) {
		l, err = s.Store.CreateOrUpdate(ctx, patch, once)
		return err
	})
	return l, err
}

// accepted tells of a lead that was made or changed.
func (s *server) accepted(ctx context.Context, l lead.Lead) {
	op := lead.Create
	if l.Revision > 1 {
		op = lead.Update
	}
	s.Tracing.Accepted(ctx, tracing.Change{Lead: l.ID, Revision: l.Revision, Op: op})
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
	once, done, ok := s.idempotency(w, r, key, patch)
	if !ok {
		return
	}
	defer done()
	ctx, cancel := patient(r)
	defer cancel()
	var l lead.Lead
	err = s.inTurn(ctx, id, func() (err error) {
		l, err = s.Store.Update(ctx, id, patch, once)
		return err
	})
	if err != nil {
		s.refuse(w, err)
		return
	}
	s.accepted(ctx, l)
	s.tellAccepted(r, "update", l, key)
	answer{Success: true, Error: new(""), Message: "Lead updated successfully", Data: leadJSON(l, "updated_at")}.write(w, http.StatusOK)
}

func (s *server) delete(w http.ResponseWriter, r *http.Request, id string, key Key) {
	ctx, cancel := patient(r)
	defer cancel()
	if err := s.inTurn(ctx, id, func() error { return s.Store.Delete(ctx, id) }); err != nil {
		s.refuse(w, err)
		return
	}
	s.Tracing.Accepted(ctx, tracing.Change{Lead: id, Op: lead.Delete})
	s.metrics.accepted.WithLabelValues("delete").Inc()
	s.Log.Debug("lead deleted", "lead", id, "key", key.Name)
	answer{Success: true, Error: new(""), Message: "Lead deleted successfully"}.write(w, http.StatusOK)
}

func (s *server) get(w http.ResponseWriter, r *http.Request, id string, _ Key) {
	ctx, cancel := patient(r)
	defer cancel()
	found, err := s.Store.Get(ctx, id)
	if err != nil {
		s.refuse(w, err)
		return
	}
	if found.Deleted {
		// What is left is shown with its 404: an operator sees who has not confirmed the delete yet.
		answer{
			Error: new("not_found"), Message: "the lead was deleted; connectors that had it are being told",
			Data: appendJSON(nil, map[string]any{
				"lead_id": found.Lead.ID, "deleted_at": timestamp(found.Lead.Updated), "connectors": standings(found),
			}),
		}.write(w, http.StatusNotFound)
		return
	}
	text := leadJSON(found.Lead, "created_at", "updated_at", "revision")
	answer{Success: true, Error: new(""), Message: "Lead found", Data: withMember(text, "connectors", standings(found))}.write(w, http.StatusOK)
}

const (
	defaultPage = 50
	maxPage     = 200
)

func (s *server) list(w http.ResponseWriter, r *http.Request, _ string, _ Key) {
	query, problem := parseQuery(r.URL.RawQuery)
	if problem != "" {
		fail(w, http.StatusBadRequest, "bad_request", problem)
		return
	}
	ctx, cancel := patient(r)
	defer cancel()
	leads, next, err := s.Store.List(ctx, query)
	if err != nil {
		s.refuse(w, err)
		return
	}
	data := make([]json.RawMessage, len(leads))
	for i, l := range leads {
		data[i] = leadJSON(l, "created_at", "updated_at", "revision")
	}
	writeJSON(w, http.StatusOK, struct {
		Success    bool              `json:"success"`
		Error      string            `json:"error"`
		Data       []json.RawMessage `json:"data"`
		NextCursor string            `json:"next_cursor"`
		Message    string            `json:"message"`
	}{true, "", data, next, strconv.Itoa(len(data)) + " leads"})
}

func parseQuery(raw string) (q store.Query, problem string) {
	q.Limit = defaultPage
	values, err := url.ParseQuery(raw)
	if err != nil {
		return q, "the query is not well encoded" // without what was lost of it, it would find other leads
	}
	for name, given := range values {
		value := given[0]
		if len(given) > 1 {
			return q, "a parameter is given more than once"
		}
		switch name {
		case "email":
			// No address holds a space: it is a plus that was not encoded.
			q.Email = strings.ReplaceAll(strings.TrimSpace(value), " ", "+")
		case "source":
			q.Source = strings.TrimSpace(value) // as it was when it was stored
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
	if mediaType(r) != "application/json" {
		fail(w, http.StatusUnsupportedMediaType, "unsupported_media_type", "send the lead as JSON, with Content-Type: application/json")
		return nil, false
	}
	return readBody(w, r, s.BodyBytes)
}

// mediaType is that of a request's body, "" where it is unknown or the body is not UTF-8.
func mediaType(r *http.Request) string {
	name, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if charset := params["charset"]; err != nil || charset != "" && !strings.EqualFold(charset, "utf-8") {
		return ""
	}
	return name
}

// readBody reads a body of at most so many bytes, or answers why it cannot.
func readBody(w http.ResponseWriter, r *http.Request, most int64) ([]byte, bool) {
	body, err := wholeBody(w, r, most)
	if err != nil {
		status, a := refusal(err)
		a.write(w, status)
		return nil, false
	}
	return body, true
}

// wholeBody reads a body of at most so many bytes. The error is refused.
func wholeBody(w http.ResponseWriter, r *http.Request, most int64) ([]byte, error) {
	if err := checkEncoding(r); err != nil {
		return nil, err
	}
	if r.ContentLength > most {
		return nil, unread(w, &http.MaxBytesError{Limit: most})
	}
	var body bytes.Buffer
	body.Grow(int(max(0, r.ContentLength)) + bytes.MinRead)
	if _, err := body.ReadFrom(http.MaxBytesReader(w, r.Body, most)); err != nil {
		return nil, unread(w, err)
	}
	return body.Bytes(), nil
}

func checkEncoding(r *http.Request) error {
	if encoding := r.Header.Get("Content-Encoding"); encoding != "" && encoding != "identity" {
		return refused{status: http.StatusUnsupportedMediaType, code: "unsupported_media_type", message: "send the body without Content-Encoding"}
	}
	return nil
}

// unread is how an error of reading a body is answered.
func unread(w http.ResponseWriter, err error) error {
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return refused{status: http.StatusRequestEntityTooLarge, code: "payload_too_large",
			message: "the body is larger than " + strconv.FormatInt(tooLarge.Limit, 10) + " bytes"}
	case errors.Is(err, os.ErrDeadlineExceeded):
		w.Header().Set("Connection", "close")
		return refused{status: http.StatusRequestTimeout, code: "request_timeout", message: "the body took too long to arrive; send the request again"}
	default:
		return refused{status: http.StatusBadRequest, code: "bad_request", message: "the body could not be read whole"}
	}
}

const maxIdempotencyKey = 255

// idempotency is what the store is to know of a request by its Idempotency-Key, nil without one; or it answers why the
// key cannot be used. done must be called when the request is answered.
func (s *server) idempotency(w http.ResponseWriter, r *http.Request, key Key, patch lead.Patch) (once *store.Idempotency, done func(), ok bool) {
	scoped, done, ok := s.idempotencyKey(w, r, key)
	if scoped != "" {
		once = &store.Idempotency{Key: scoped, Fingerprint: fingerprint(patch)}
	}
	return once, done, ok
}

// fingerprint is what is asked for: white space and the order of members make no difference.
func fingerprint(patch lead.Patch) string {
	asked, err := json.Marshal(patch)
	if err != nil {
		panic("ingest: a parsed patch always encodes")
	}
	return string(asked)
}

// clientsKey reads the Idempotency-Key header
// (https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/), "" without one. The error is refused.
func clientsKey(r *http.Request) (string, error) {
	values := r.Header.Values("Idempotency-Key")
	if len(values) == 0 {
		return "", nil
	}
	text, ok := unquoteKey(values[0])
	if len(values) > 1 || !ok || text == "" || len(text) > maxIdempotencyKey ||
		strings.ContainsFunc(text, func(c rune) bool { return c < ' ' || c > '~' }) {
		return "", refused{status: http.StatusBadRequest, code: "bad_request",
			message: "Idempotency-Key: must be one printable ASCII text of at most " + strconv.Itoa(maxIdempotencyKey) + " characters"}
	}
	return text, nil
}

// idempotencyKey is clientsKey for who sent it, "" without one, or answers why it cannot be used. done must be called
// when the request is answered.
func (s *server) idempotencyKey(w http.ResponseWriter, r *http.Request, key Key) (scoped string, done func(), ok bool) {
	text, err := clientsKey(r)
	if err != nil {
		s.refuse(w, err)
		return "", nil, false
	}
	if text == "" {
		return "", func() {}, true
	}
	// A key belongs to who sent it and to the resource it was sent to.
	scoped = strings.Join([]string{key.Name, r.Method, r.URL.Path, text}, "\n")
	if _, first := s.flying.begin(scoped); !first {
		w.Header().Set("Retry-After", "1")
		fail(w, http.StatusConflict, "request_in_flight", "a request with this Idempotency-Key is being answered; send it again in a moment")
		return "", nil, false
	}
	return scoped, func() { s.flying.end(scoped) }, true
}

var (
	quotedKey = regexp.MustCompile(`^"(([ !#-\[\]-~]|\\["\\])*)"$`)
	unescape  = strings.NewReplacer(`\"`, `"`, `\\`, `\`)
)

// unquoteKey returns the key that a header's value holds: the value itself, or what stands in it as a string of
// RFC 9651, which is how the draft has it.
func unquoteKey(value string) (key string, ok bool) {
	if !strings.HasPrefix(value, `"`) {
		return value, true
	}
	quoted := quotedKey.FindStringSubmatch(value)
	if quoted == nil {
		return "", false
	}
	return unescape.Replace(quoted[1]), true
}
