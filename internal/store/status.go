package store

import (
	"context"
	"time"
)

// What Status.State is where the gate lets leads through.
const (
	StatusInStep = "in step"
	StatusBehind = "behind"
)

// LimitsUsedUp is the Reason where nothing but the vendor's limits keeps leads back, until Until.
const LimitsUsedUp = "its limits are used up"

// Status is how a connector is doing as a whole.
type Status struct {
	Connector string
	State     string // StatusInStep, StatusBehind, or the GateState that keeps leads back
	Reason    string // why they are kept back
	Since     time.Time
	Until     time.Time // when that is over or tried again, zero if nobody knows
	Failure   Failure   // the last push that failed, however long ago; zero if there is none
	Totals
}

// Statuses reads how every connector is doing.
func (s *Store) Statuses(ctx context.Context) ([]Status, error) {
	var names []string
	for _, c := range s.Connectors() {
		names = append(names, c.Name)
	}
	totals, err := s.Totals(ctx, names)
	if err != nil {
		return nil, err
	}
	gates, err := s.Gates(ctx)
	if err != nil {
		return nil, err
	}
	rests, err := s.Rests(ctx, names)
	if err != nil {
		return nil, err
	}
	failures, err := s.LastFailures(ctx)
	if err != nil {
		return nil, err
	}
	now := s.Now()
	all := make([]Status, len(names))
	for i, name := range names {
		gate, rest := gates[name], rests[name]
		c := Status{Connector: name, State: StatusInStep, Totals: totals[name], Failure: failures[name]}
		switch {
		case !gate.Opens(now):
			c.State, c.Reason, c.Since, c.Until = string(gate.State), gate.Reason, gate.Since, gate.Until
		case c.Backlog > 0 && !rest.IsZero():
			c.State, c.Reason, c.Until = string(GateWaiting), LimitsUsedUp, rest
		case c.Backlog > 0:
			c.State = StatusBehind
		}
		all[i] = c
	}
	return all, nil
}
