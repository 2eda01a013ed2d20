package ingest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/leadrelay/leadrelay/internal/lead"
	"github.com/leadrelay/leadrelay/internal/store"
)

const (
	// maxBatch is how many leads one batch may hold.
	maxBatch = 1000
	// maxBatchesBytes bounds the batches in memory at once, by their bodies: a few times as much goes with each.
	maxBatchesBytes = 64 << 20
	// addressesAtOnce bounds how many leads of a batch are under way to the store at once, under dedupe.
	addressesAtOnce = 64
)

// The two forms of a batch (https://github.com/ndjson/ndjson-spec for the other).
const (
	arrayType  = "application/json"
	ndjsonType = "application/x-ndjson"
)

// batch accepts many leads, each by itself: the answer says of each, in order, what became of it.
func (s *server) batch(w http.ResponseWriter, r *http.Request, _ string, key Key) {
	form := mediaType(r)
	if form != arrayType && form != ndjsonType {
		fail(w, http.StatusUnsupportedMediaType, "unsupported_media_type",
			"send the leads as a JSON array, with Content-Type: "+arrayType+", or one a line, with Content-Type: "+ndjsonType)
		return
	}
	release, err := s.reserve(r)
	if err != nil {
		s.unavailable(w, err)
		return
	}
	defer release()
	body, ok := readBody(w, r, s.BatchBytes)
	if !ok {
		return
	}
	texts, err := leadsOf(form, body)
	if err != nil {
		s.refuse(w, err)
		return
	}
	if len(texts) > maxBatch {
		fail(w, http.StatusRequestEntityTooLarge, "payload_too_large",
			"a batch is at most "+strconv.Itoa(maxBatch)+" leads, and none of these was added; send them in several")
		return
	}
	parsed, err := s.parseBatch(form, texts)
	if err != nil {
		s.refuse(w, err)
		return
	}
	scoped, done, ok := s.idempotencyKey(w, r, key)
	if !ok {
		return
	}
	defer done()
	parsed.identify(scoped)
	ctx, cancel := context.WithTimeout(r.Context(), batchTimeout)
	defer cancel()
	for n, one := range s.acceptMany(ctx, parsed.leads) {
		if one.Err == nil {
			one.Lead, one.Err = s.shown(one.Lead, parsed.leads[n].Patch, key)
		}
		parsed.outcomes[parsed.of[n]] = one
	}
	s.answerBatch(w, r, parsed.outcomes, key, len(body))
}

// reserve waits until a batch's body may be read.
func (s *server) reserve(r *http.Request) (release func(), err error) {
	size := s.BatchBytes
	if r.ContentLength >= 0 {
		size = min(size, r.ContentLength)
	}
	size = min(size, maxBatchesBytes)
	ctx, cancel := patient(r)
	defer cancel()
	if err := s.batches.Acquire(ctx, size); err != nil {
		return nil, errCrowded
	}
	return func() { s.batches.Release(size) }, nil
}

// leadsOf splits a batch into its leads, one more than maxBatch at most. Each is yet to be parsed.
func leadsOf(form string, body []byte) ([][]byte, error) {
	if form == arrayType {
		return elements(body)
	}
	var lines [][]byte
	for line := range bytes.SplitSeq(body, []byte{'\n'}) {
		if line = trimSpace(line); len(line) > 0 && len(lines) <= maxBatch {
			lines = append(lines, line)
		}
	}
	return lines, nil
}

// notAnArray is why none of a batch's leads can be told for certain.
type notAnArray string

func (why notAnArray) Error() string {
	return "the body is not one JSON array of leads: " + string(why)
}
func (notAnArray) Is(target error) bool { return target == lead.ErrMalformed }

// elements splits a JSON array, one element more than maxBatch at most. The body is an array if each of them is a JSON
// value.
func elements(body []byte) (all [][]byte, err error) {
	body = trimSpace(body)
	if len(body) < 2 || body[0] != '[' || body[len(body)-1] != ']' {
		return nil, notAnArray("it does not begin with [ and end with ]")
	}
	inner := body[1 : len(body)-1]
	depth, began := 0, 0
	for i := 0; i < len(inner); i++ {
		switch inner[i] {
		case '"':
			for i++; i < len(inner) && inner[i] != '"'; i++ {
				if inner[i] == '\\' {
					i++
				}
			}
		case '{', '[':
			depth++
		case '}', ']':
			depth--
		case ',':
			if depth == 0 {
				all, began = append(all, trimSpace(inner[began:i])), i+1
			}
		}
		if depth < 0 {
			return nil, notAnArray("it ends before its end")
		}
		if len(all) > maxBatch {
			return all, nil
		}
	}
	if last := trimSpace(inner[began:]); len(all) > 0 || len(last) > 0 {
		all = append(all, last)
	}
	return all, nil
}

// trimSpace trims what is white space to JSON.
func trimSpace(text []byte) []byte { return bytes.Trim(text, " \t\r\n") }

// parsedBatch is a batch on its way: what became of each of its leads, and those that can be accepted.
type parsedBatch struct {
	outcomes []store.Created
	leads    []store.NewLead
	of       []int // which of the batch they are
}

// parseBatch parses a batch's leads. The error says that the batch as a whole cannot be read.
func (s *server) parseBatch(form string, texts [][]byte) (*parsedBatch, error) {
	b := &parsedBatch{
		outcomes: make([]store.Created, len(texts)), leads: make([]store.NewLead, 0, len(texts)), of: make([]int, 0, len(texts)),
	}
	for i, text := range texts {
		patch, err := lead.Patch{}, error(errItemTooLarge(s.BodyBytes))
		if int64(len(text)) <= s.BodyBytes {
			patch, err = lead.ParseNew(text)
		}
		if err == nil {
			b.leads, b.of = append(b.leads, store.NewLead{Patch: patch}), append(b.of, i)
			continue
		}
		var invalid lead.Invalid
		if form == arrayType && !errors.As(err, &invalid) && !json.Valid(text) {
			return nil, notAnArray(fmt.Sprintf("syntax error in number %d", i+1))
		}
		b.outcomes[i].Err = err
	}
	return b, nil
}

// errItemTooLarge is a lead of a batch that is larger than so many bytes.
type errItemTooLarge int64

func (e errItemTooLarge) Error() string {
	return "this lead is larger than " + strconv.FormatInt(int64(e), 10) + " bytes"
}

// identify gives each lead an idempotency key of its own, by that of the batch and its place there.
func (b *parsedBatch) identify(scoped string) {
	if scoped == "" {
		return
	}
	for n := range b.leads {
		b.leads[n].Once = &store.Idempotency{
			Key: scoped + "\n" + strconv.Itoa(b.of[n]), Fingerprint: fingerprint(b.leads[n].Patch),
		}
	}
}

// acceptMany stores new leads, or under dedupe what they change of those with their addresses: of one address in the
// order in which they were sent.
func (s *server) acceptMany(ctx context.Context, leads []store.NewLead) []store.Created {
	if !s.Dedupe {
		created := s.Store.CreateMany(ctx, leads)
		for _, one := range created {
			if one.Err == nil && !one.Seen {
				s.accepted(ctx, one.Lead)
				s.Store.CountAccepted(one.Lead.Source)
			}
		}
		return created
	}
	created := make([]store.Created, len(leads))
	var group errgroup.Group
	group.SetLimit(addressesAtOnce)
	for _, places := range store.ByAddress(leads) {
		group.Go(func() error {
			for _, n := range places {
				created[n].Lead, created[n].Err = s.accept(ctx, leads[n].Patch, leads[n].Once)
			}
			return nil
		})
	}
	group.Wait()
	return created
}

// answerBatch answers what became of each lead; when none was accepted because the store is away, as for a lead alone.
func (s *server) answerBatch(w http.ResponseWriter, r *http.Request, outcomes []store.Created, key Key, size int) {
	out := append(make([]byte, 0, size+160*len(outcomes)+100), `{"success":true,"data":[`...)
	accepted := 0
	var away error
	debug := s.Log.Enabled(r.Context(), slog.LevelDebug)
	for i, one := range outcomes {
		if i > 0 {
			out = append(out, ',')
		}
		if one.Err == nil {
			accepted++
			out = append(appendLead(append(out, `{"success":true,"data":`...), one.Lead, "created_at"), '}')
			if debug {
				s.Log.Debug("lead accepted", "lead", one.Lead.ID, "revision", one.Lead.Revision, "key", key.Name)
			}
			continue
		}
		status, refused := itemRefusal(one.Err)
		if status == http.StatusServiceUnavailable {
			away = one.Err
		}
		out = refused.append(out)
	}
	if away != nil {
		if accepted == 0 {
			s.unavailable(w, away)
			return
		}
		s.tellUnavailable(away)
	}
	s.metrics.accepted.WithLabelValues("create").Add(float64(accepted))
	out = fmt.Appendf(out, `],"message":"%d of %d leads added","accepted":%d,"refused":%d}`,
		accepted, len(outcomes), accepted, len(outcomes)-accepted)
	send(w, http.StatusOK, out)
}

// itemRefusal is how an error of one lead of a batch is answered.
func itemRefusal(err error) (status int, a answer) {
	var large errItemTooLarge
	if errors.As(err, &large) {
		return http.StatusRequestEntityTooLarge, answer{Error: new("payload_too_large"), Message: large.Error()}
	}
	status, a = refusal(err)
	if errors.Is(err, lead.ErrMalformed) {
		a.Message = "this lead is not one JSON object" + strings.TrimPrefix(a.Message, lead.ErrMalformed.Error())
	}
	return status, a
}
