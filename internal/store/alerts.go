package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	alertsKey   = "lr:{alerts}:state"
	refusalsKey = "lr:{alerts}:refusals"
)

func alertQueueKey(to string) string   { return "lr:{alerts}:queue:" + to }
func alertTroubleKey(to string) string { return "lr:{alerts}:trouble:" + to }
func alertLeaseKey(what string) string { return "lr:{alerts}:lease:" + what }

// Alert is a condition that operators are told of, as it was seen last, and what they were told. internal/alerts decides.
type Alert struct {
	Condition string    `json:"condition"`
	Subject   string    `json:"subject"` // the connector, or the process
	Bad       bool      `json:"bad"`
	Since     time.Time `json:"since"`            // since when it is bad, or well
	Reason    string    `json:"reason,omitempty"` // without personal data or secrets
	Ended     string    `json:"ended,omitempty"`  // why it is over, where it did not become well

	Open    bool      `json:"open"`             // operators were told of the trouble and not of its end
	Began   time.Time `json:"began,omitzero"`   // since when the trouble lasts that is Open
	Told    time.Time `json:"told,omitzero"`    // when they were told of trouble last
	Untold  int       `json:"untold,omitzero"`  // troubles since Told that were too many to tell
	Counted bool      `json:"counted,omitzero"` // the trouble there is, is one of them
}

// Alerts are all there are, as they were read.
type Alerts struct {
	List []Alert
	text string
}

// Alerts reads what is known of all alerts.
func (s *Store) Alerts(ctx context.Context) (a Alerts, err error) {
	a.text, err = s.client.Get(ctx, alertsKey).Result()
	if errors.Is(err, redis.Nil) {
		return Alerts{}, nil
	}
	if err != nil {
		return a, wrapRedis(err)
	}
	if err := json.Unmarshal([]byte(a.text), &a.List); err != nil {
		return a, fmt.Errorf("store: alerts: %w", err)
	}
	return a, nil
}

const (
	maxAlertQueue = 100 // messages that wait for a destination; the oldest go first

	// AlertLife is how long a message waits for its destination at most.
	AlertLife = 12 * time.Hour
)

// NoteAlerts replaces what is known of all alerts, and queues a message for destinations, in one step: what was decided is
// told, whoever dies. done is false where another process was first; then nothing is changed. dropped are the messages
// that had to make room.
func (s *Store) NoteAlerts(ctx context.Context, was Alerts, now []Alert, message string, to []string) (done bool, dropped map[string]int64, err error) {
	text := ""
	if len(now) > 0 {
		encoded, err := json.Marshal(now)
		if err != nil {
			return false, nil, err
		}
		text = string(encoded)
	}
	if text == was.text && message == "" {
		return true, nil, nil
	}
	keys := []string{alertsKey}
	for _, name := range to {
		keys = append(keys, alertQueueKey(name))
	}
	answer, err := alertScript.Run(ctx, s.client, keys, was.text, text, message, maxAlertQueue, AlertLife.Milliseconds()).Int64Slice()
	if err != nil || len(answer) == 0 {
		return false, nil, wrapRedis(err)
	}
	dropped = map[string]int64{}
	for i, name := range to {
		dropped[name] = answer[i+1]
	}
	return true, dropped, nil
}

// FirstAlerts returns the message that has waited longest for each destination for which any waits.
func (s *Store) FirstAlerts(ctx context.Context, to []string) (map[string]string, error) {
	reads := make([]*redis.StringCmd, len(to))
	_, err := s.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, name := range to {
			reads[i] = p.LIndex(ctx, alertQueueKey(name), 0)
		}
		return nil
	})
	if err != nil && !errors.Is(err, redis.Nil) {
		return nil, wrapRedis(err)
	}
	first := map[string]string{}
	for i, name := range to {
		if message, err := reads[i].Result(); err == nil {
			first[name] = message
		} else if !errors.Is(err, redis.Nil) {
			return nil, wrapRedis(err)
		}
	}
	return first, nil
}

// EndAlert takes a message out of a destination's queue.
func (s *Store) EndAlert(ctx context.Context, to, message string) error {
	return wrapRedis(s.client.LRem(ctx, alertQueueKey(to), 1, message).Err())
}

// AlertTrouble is why a destination is not reached.
type AlertTrouble struct {
	Reason string    `json:"reason"` // without secrets
	Since  time.Time `json:"since"`
	Tries  int       `json:"tries"`
	Next   time.Time `json:"next"` // when it is tried again
}

// AlertDestination is how a destination is doing.
type AlertDestination struct {
	Waiting int64         // messages
	Trouble *AlertTrouble // nil: none
}

// AlertDestinations reads how destinations are doing.
func (s *Store) AlertDestinations(ctx context.Context, to []string) (map[string]AlertDestination, error) {
	waiting, troubles := make([]*redis.IntCmd, len(to)), make([]*redis.StringCmd, len(to))
	_, err := s.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, name := range to {
			waiting[i], troubles[i] = p.LLen(ctx, alertQueueKey(name)), p.Get(ctx, alertTroubleKey(name))
		}
		return nil
	})
	if err != nil && !errors.Is(err, redis.Nil) {
		return nil, wrapRedis(err)
	}
	all := map[string]AlertDestination{}
	for i, name := range to {
		d := AlertDestination{Waiting: waiting[i].Val()}
		if text := troubles[i].Val(); text != "" {
			if err := json.Unmarshal([]byte(text), &d.Trouble); err != nil {
				return nil, fmt.Errorf("store: trouble of an alert's destination: %w", err)
			}
		}
		all[name] = d
	}
	return all, nil
}

// NoteAlertTrouble notes that a destination is not reached; it is forgotten with the messages that wait. nil: it is.
func (s *Store) NoteAlertTrouble(ctx context.Context, to string, trouble *AlertTrouble) error {
	if trouble == nil {
		return wrapRedis(s.client.Del(ctx, alertTroubleKey(to)).Err())
	}
	text, err := json.Marshal(trouble)
	if err != nil {
		return err
	}
	return wrapRedis(s.client.Set(ctx, alertTroubleKey(to), text, 2*AlertLife).Err())
}

// LeaseAlerts reports whether a process is the one that does something about alerts; no other will for the time given,
// which the same token prolongs.
func (s *Store) LeaseAlerts(ctx context.Context, what, token string, alone time.Duration) (bool, error) {
	n, err := leaseScript.Run(ctx, s.client, []string{alertLeaseKey(what)}, token, alone.Milliseconds()).Int()
	return n == 1, wrapRedis(err)
}

// EndAlertLease lets another process do it.
func (s *Store) EndAlertLease(ctx context.Context, what, token string) error {
	return wrapRedis(unlockScript.Run(ctx, s.client, []string{alertLeaseKey(what)}, token).Err())
}

// Refusal is a configuration that a process does not take over.
type Refusal struct {
	Process string    `json:"-"`
	Problem string    `json:"problem"` // without secrets
	Since   time.Time `json:"since"`
	Seen    time.Time `json:"seen"` // when the process said so last
	Gone    bool      `json:"-"`    // the process has not said so for a while: it has ended
}

const (
	// RefusalEvery is how often a process says again that it does not take a configuration over.
	RefusalEvery = 5 * time.Second

	refusalGone      = 3 * RefusalEvery
	refusalForgotten = 24 * time.Hour
)

// ReportRefusal notes that a process does not take a configuration over.
func (s *Store) ReportRefusal(ctx context.Context, r Refusal) error {
	r.Seen = s.Now()
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return wrapRedis(s.client.HSet(ctx, refusalsKey, r.Process, text).Err())
}

// EndRefusal notes that a process runs by the configuration that its file holds.
func (s *Store) EndRefusal(ctx context.Context, process string) error {
	return wrapRedis(s.client.HDel(ctx, refusalsKey, process).Err())
}

// Refusals lists them, those of processes that ended too, for a day.
func (s *Store) Refusals(ctx context.Context) (all []Refusal, err error) {
	texts, err := s.client.HGetAll(ctx, refusalsKey).Result()
	if err != nil {
		return nil, wrapRedis(err)
	}
	for process, text := range texts {
		r := Refusal{Process: process}
		if err := json.Unmarshal([]byte(text), &r); err != nil {
			return nil, fmt.Errorf("store: refusal: %w", err)
		}
		silent := s.Now().Sub(r.Seen)
		if silent > refusalForgotten {
			if err := s.EndRefusal(ctx, process); err != nil {
				return nil, err
			}
			continue
		}
		r.Gone = silent > refusalGone
		all = append(all, r)
	}
	return all, nil
}
