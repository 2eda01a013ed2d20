package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/leadrelay/leadrelay/internal/lead"
)

// maxHistory is how many entries a shard keeps, the newest: so many that a lead's are there for weeks at a few hundred
// leads a day, and as much memory however many leads there are. scripts/prelude.lua has it, too.
const maxHistory = 4096

// Attempt is one try to bring a lead in step with a connector, as its history tells it: ids, no personal data.
type Attempt struct {
	Op     lead.Op
	Began  time.Time
	Took   time.Duration
	Fault  string // connectors.Fault; "": it did not fail
	Reason string
	Calls  []Call // requests that it made
}

// Call is one request of an Attempt.
type Call struct {
	Line   string    `json:"l"` // "POST /crm/v3/objects/contacts"
	Status int       `json:"s,omitempty"`
	Began  time.Time `json:"-"`           // kept of an Attempt alone
	Ms     int64     `json:"d"`           // how long it took
	Said   string    `json:"m,omitempty"` // an answer that is no success, masked, or why there was none
}

// Outcome is what an attempt came to.
type Outcome string

const (
	OutcomeInStep  Outcome = "in_step"  // the remote has the revision
	OutcomeSkipped Outcome = "left_out" // the connector's `when` leaves the lead out
	OutcomeNothing Outcome = "nothing"  // the remote never had the lead that is deleted
	OutcomeRetried Outcome = "retried"  // it failed and is tried again
	OutcomeParked  Outcome = "parked"   // it failed and is not
)

// HistoryEntry is one thing that happened to a lead: a change that was accepted, or an attempt.
type HistoryEntry struct {
	At       time.Time
	Revision int64
	Op       lead.Op

	Connector string // "": the change was accepted
	Outcome   Outcome
	Took      time.Duration
	Fault     string
	Reason    string
	Calls     []Call
}

// historyText is a HistoryEntry as it is stored.
type historyText struct {
	At        int64   `json:"t"` // Unix ms
	Revision  int64   `json:"r"`
	Op        lead.Op `json:"o"`
	Connector string  `json:"c,omitempty"`
	Outcome   Outcome `json:"v,omitempty"`
	Ms        int64   `json:"d,omitempty"`
	Fault     string  `json:"e,omitempty"`
	Reason    string  `json:"m,omitempty"`
	Calls     []Call  `json:"q,omitempty"`
}

// Outcome is what the claim's Attempt comes to when it is settled.
func (c *Claim) Outcome(verb Verb) Outcome {
	switch {
	case verb == Park:
		return OutcomeParked
	case verb == Later:
		return OutcomeRetried
	case c.Record.State == Skipped:
		return OutcomeSkipped
	case c.Change.Op == lead.Delete && len(c.Attempt.Calls) == 0 && c.Attempt.Took == 0:
		return OutcomeNothing
	default:
		return OutcomeInStep
	}
}

// told is the claim's attempt for the lead's history, "" where there is none to tell of.
func (c *Claim) told(verb Verb, now time.Time) string {
	a := c.Attempt
	if a == nil {
		return ""
	}
	text, err := json.Marshal(historyText{
		At: now.UnixMilli(), Revision: c.Change.Lead.Revision, Op: a.Op, Connector: c.Connector.Name,
		Outcome: c.Outcome(verb), Ms: a.Took.Milliseconds(), Fault: a.Fault, Reason: a.Reason, Calls: a.Calls,
	})
	if err != nil {
		panic("store: an attempt always encodes: " + err.Error())
	}
	return string(text)
}

// GetWithHistory is Get with what happened to the lead, newest first, down to its creation. Of a lead that is gone Found has
// what its history tells; ErrNotFound when that tells nothing either.
func (s *Store) GetWithHistory(ctx context.Context, id string) (Found, []HistoryEntry, error) {
	found, err := s.Get(ctx, id)
	gone := errors.Is(err, ErrNotFound)
	if err != nil && !gone {
		return Found{}, nil, err
	}
	history, err := s.History(ctx, id)
	switch {
	case err != nil:
		return Found{}, nil, err
	case gone && len(history) == 0:
		return Found{}, nil, ErrNotFound
	case gone:
		found = Found{Lead: lead.Lead{ID: id, Revision: history[0].Revision, Updated: history[0].At}, Deleted: true}
	case !found.Deleted:
		history = append(history, HistoryEntry{At: found.Lead.Created, Revision: 1, Op: lead.Create})
	}
	return found, history, nil
}

const historyPage = 512

// History returns what happened to a lead, newest first, as far as it is kept; of the changes without the first, which
// the lead's own time of creation tells. It is there for a lead that was deleted, too.
func (s *Store) History(ctx context.Context, id string) ([]HistoryEntry, error) {
	shard, ok := lead.ShardOf(id)
	if !ok {
		return nil, ErrNotFound
	}
	// Clocks of processes may differ by dueSkew, and an id is made before its lead is written.
	began := lead.IDTime(id).Add(-2 * dueSkew).UnixMilli()
	var history []HistoryEntry
	for from := int64(0); from < maxHistory; from += historyPage {
		page, err := s.client.LRange(ctx, historyKey(prefixes[shard]), from, from+historyPage-1).Result()
		if err != nil {
			return nil, wrapRedis(err)
		}
		for _, text := range page {
			whose, told, _ := strings.Cut(text, " ")
			if whose != id {
				continue
			}
			var e historyText
			if err := json.Unmarshal([]byte(told), &e); err != nil {
				return nil, fmt.Errorf("store: history of %s: %w", id, err)
			}
			history = append(history, HistoryEntry{
				At: time.UnixMilli(e.At).UTC(), Revision: e.Revision, Op: e.Op, Connector: e.Connector, Outcome: e.Outcome,
				Took: time.Duration(e.Ms) * time.Millisecond, Fault: e.Fault, Reason: e.Reason, Calls: e.Calls,
			})
		}
		if len(page) < historyPage {
			break
		}
		if last := page[len(page)-1]; timeOf(last) < began {
			break
		}
	}
	// What is written beside each other by several processes may be a moment out of order, and pages move meanwhile.
	slices.SortStableFunc(history, func(a, b HistoryEntry) int { return b.At.Compare(a.At) })
	return slices.CompactFunc(history, func(a, b HistoryEntry) bool {
		return a.At.Equal(b.At) && a.Connector == b.Connector && a.Revision == b.Revision && a.Op == b.Op && a.Outcome == b.Outcome
	}), nil
}

// timeOf is when an entry of any lead's was written.
func timeOf(text string) int64 {
	_, told, _ := strings.Cut(text, " ")
	var e struct {
		At int64 `json:"t"`
	}
	if json.Unmarshal([]byte(told), &e) != nil {
		return 0
	}
	return e.At
}
