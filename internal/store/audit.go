package store

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	auditKey = "lr:audit"
	maxAudit = 10_000 // acts that are kept
)

// Act is one thing that an operator did: ids and names, no personal data.
type Act struct {
	At        time.Time `json:"at"`
	Operator  string    `json:"operator"`
	What      string    `json:"what"`
	Connector string    `json:"connector,omitempty"`
	Lead      string    `json:"lead,omitempty"`   // of a lead or submission
	Detail    string    `json:"detail,omitempty"` // such as how many leads
}

// NoteAct adds an act, at the time it is, to the audit trail, of which the newest are kept.
func (s *Store) NoteAct(ctx context.Context, act Act) error {
	act.At = s.clock.Now().UTC()
	text, err := json.Marshal(act)
	if err != nil {
		return err
	}
	_, err = s.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		p.LPush(ctx, auditKey, text)
		p.LTrim(ctx, auditKey, 0, maxAudit-1)
		return nil
	})
	return wrapRedis(err)
}

// Acts returns up to limit acts of the audit trail, newest first, after skip others, and whether there are older ones.
func (s *Store) Acts(ctx context.Context, skip, limit int) (acts []Act, more bool, err error) {
	texts, err := s.client.LRange(ctx, auditKey, int64(skip), int64(skip)+int64(limit)).Result()
	if err != nil {
		return nil, false, wrapRedis(err)
	}
	for i, text := range texts {
		if i == limit {
			return acts, true, nil
		}
		var act Act
		if err := json.Unmarshal([]byte(text), &act); err != nil {
			return nil, false, fmt.Errorf("store: audit trail: %w", err)
		}
		acts = append(acts, act)
	}
	return acts, false, nil
}
