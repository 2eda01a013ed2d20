package ingest

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/julienschmidt/httprouter"

	"github.com/leadrelay/leadrelay/internal/lead"
	"github.com/leadrelay/leadrelay/internal/sources"
	"github.com/leadrelay/leadrelay/internal/store"
)

// Source is a third-party source: another service that sends leads to /in/NAME.
type Source struct {
	Name   string
	Source *sources.Source
}

// SourceOrigin is how the store knows where the submissions of a source came in.
func SourceOrigin(name string) string { return "source/" + name }

// origin is SourceOrigin.
func (s Source) origin() string { return SourceOrigin(s.Name) }

const (
	// maxDelivery bounds a delivery: form tools send every answer with its question.
	maxDelivery = 1 << 20
	// redeliveredWithin is how long a sender may repeat a delivery and make no second lead: longer than any of them tries
	// by itself.
	redeliveredWithin = 7 * 24 * time.Hour
)

func (s *server) source(params httprouter.Params) (Source, bool) {
	i := slices.IndexFunc(s.Sources, func(source Source) bool { return source.Name == params.ByName("source") })
	if i < 0 {
		return Source{}, false
	}
	return s.Sources[i], true
}

// delivered answers POST /in/:source. A 2xx means that every lead of the delivery is a lead, or is kept as a submission.
func (s *server) delivered(w http.ResponseWriter, r *http.Request, params httprouter.Params) {
	source, ok := s.source(params)
	if !ok {
		fail(w, http.StatusNotFound, "not_found", "there is no source of this name; sources are declared in the configuration")
		return
	}
	outcome := "refused"
	defer func() { s.metrics.deliveries.WithLabelValues(source.Name, outcome).Inc() }()
	body, ok := readBody(w, r, maxDelivery)
	if !ok {
		return
	}
	delivery, err := source.Source.Receive(r.Method, r.Header, r.URL.Query(), body)
	switch {
	case errors.Is(err, sources.ErrMalformed):
		fail(w, http.StatusBadRequest, "bad_request", err.Error())
		return
	case errors.Is(err, sources.ErrStale):
		fail(w, http.StatusUnauthorized, "stale", err.Error())
		return
	case err != nil:
		fail(w, http.StatusUnauthorized, "unverified", err.Error())
		return
	}
	ctx, cancel := patient(r)
	defer cancel()
	taken := 0
	for _, item := range delivery.Items {
		isLead, err := s.takeItem(ctx, source, item)
		if err != nil {
			// What was taken is known when the sender repeats the delivery.
			outcome = "unavailable"
			s.refuse(w, err)
			return
		}
		if isLead {
			taken++
		}
	}
	switch n := len(delivery.Items); {
	case n == 0:
		outcome = "left_out"
	case taken == n:
		outcome = "lead"
	default:
		outcome = "kept"
	}
	answer{Success: true, Error: new(""), Message: strconv.Itoa(len(delivery.Items)) + " received"}.write(w, http.StatusOK)
}

// takeItem makes a lead of one item, or keeps it until what it lacks is there. An error is the store's.
func (s *server) takeItem(ctx context.Context, source Source, item sources.Item) (isLead bool, err error) {
	once := &store.Idempotency{Key: source.origin() + "\n" + item.Key, For: redeliveredWithin, Group: source.origin()}
	kept := store.Submission{Origin: source.origin(), State: store.Fetching, Payload: item.Payload}
	if !item.Fetch {
		patch, err := source.Source.Map(item.Payload)
		if err == nil {
			var l lead.Lead
			l, err = s.accept(ctx, patch, once)
			var invalid lead.Invalid
			switch {
			case err == nil:
				s.metrics.accepted.WithLabelValues("source").Inc()
				s.Log.Debug("lead accepted", "lead", l.ID, "source", source.Name)
				return true, nil
			case !errors.As(err, &invalid): // of what a lead would hold together with that of its address
				return false, err
			}
		}
		kept.State, kept.Reason = store.Unmapped, err.Error()
	}
	sub, _, err := s.Store.Keep(ctx, kept, once)
	if err == nil && kept.State == store.Unmapped {
		s.Log.Warn("a delivery is kept and is no lead; see `leadrelay inbox`", "source", source.Name, "submission", sub.ID, "reason", kept.Reason)
	}
	return false, err
}

// challenged answers GET /in/:source: how some senders see that the address is ours.
func (s *server) challenged(w http.ResponseWriter, r *http.Request, params httprouter.Params) {
	source, ok := s.source(params)
	if ok {
		if text, expected := source.Source.Challenge(r.URL.Query()); expected {
			header := w.Header()
			header["Content-Type"], header["Cache-Control"], header["X-Content-Type-Options"] = []string{"text/plain; charset=utf-8"}, noStore, noSniff
			w.Write([]byte(text)) // a client that is gone cannot be told
			return
		}
	}
	fail(w, http.StatusForbidden, "forbidden", "this address takes deliveries by POST")
}
