package store

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

// Gate says whether a connector may be pushed to, for all workers together.
type Gate struct {
	State  GateState `json:"state"`
	Reason string    `json:"reason,omitempty"` // without personal data or secrets
	Since  time.Time `json:"since,omitzero"`
	// Until is when a Waiting gate opens, or when a Down or Held connector is next probed with one lead.
	Until time.Time `json:"until,omitzero"`
	Tries int       `json:"tries,omitempty"` // probes, or waits, in a row
	// Lead is the only lead that failed so far while the connector is Down: it may be the lead's own trouble, so
	// any other probes the connector at once.
	Lead string `json:"lead,omitempty"`
}

// GateState is why a gate is not open.
type GateState string

const (
	GateOpen    GateState = ""        // leads go through
	GateWaiting GateState = "waiting" // the vendor asked to wait
	GateDown    GateState = "down"    // an outage: the breaker is open
	GateHeld    GateState = "held"    // settings or account are wrong
	GatePaused  GateState = "paused"  // by an operator
)

// Opens says whether leads go through at a time: the gate is open, or what it waited for is over.
func (g Gate) Opens(now time.Time) bool {
	return g.State == GateOpen || g.State == GateWaiting && !now.Before(g.Until)
}

// Gates reads every connector's gate; one that is missing is open.
func (s *Store) Gates(ctx context.Context) (map[string]Gate, error) {
	texts, err := s.client.HGetAll(ctx, gatesKey).Result()
	if err != nil {
		return nil, wrapRedis(err)
	}
	gates := make(map[string]Gate, len(texts))
	for name, text := range texts {
		if gates[name], err = decodeGate(name, text); err != nil {
			return nil, err
		}
	}
	return gates, nil
}

// SetGate replaces a connector's gate, on an operator's word, and tells every worker.
func (s *Store) SetGate(ctx context.Context, name string, g Gate) error {
	_, err := s.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		if text := g.encode(); text == "" {
			p.HDel(ctx, gatesKey, name)
		} else {
			p.HSet(ctx, gatesKey, name, text)
		}
		p.Publish(ctx, bellChannel, gatesRing)
		return nil
	})
	return wrapRedis(err)
}

// MoveGate replaces a connector's gate after what a worker saw, and tells every worker. An operator's pause stands
// above all. It returns the gate as it is now.
func (s *Store) MoveGate(ctx context.Context, name string, g Gate) (Gate, error) {
	text, err := gateScript.Run(ctx, s.client, []string{gatesKey}, name, g.encode()).Text()
	if err != nil {
		return g, wrapRedis(err)
	}
	now, err := decodeGate(name, text)
	if err != nil {
		return g, err
	}
	return now, wrapRedis(s.client.Publish(ctx, bellChannel, gatesRing).Err())
}

// encode writes the gate, "" for an open one.
func (g Gate) encode() string {
	if g.State == GateOpen {
		return ""
	}
	text, err := json.Marshal(g)
	if err != nil {
		panic("store: a gate always encodes: " + err.Error())
	}
	return string(text)
}

func decodeGate(name, text string) (g Gate, err error) {
	if text == "" {
		return g, nil
	}
	if err := json.Unmarshal([]byte(text), &g); err != nil {
		return g, fmt.Errorf("store: gate of %s: %w", name, err)
	}
	return g, nil
}

// Probe reports whether this worker is the one to probe a connector; no other will be for the time given.
func (s *Store) Probe(ctx context.Context, name string, alone time.Duration) (bool, error) {
	ok, err := s.client.SetNX(ctx, "lr:{probe:"+name+"}", 1, alone).Result()
	return ok, wrapRedis(err)
}

// EndProbe lets the next probe begin.
func (s *Store) EndProbe(ctx context.Context, name string) error {
	return wrapRedis(s.client.Del(ctx, "lr:{probe:"+name+"}").Err())
}
