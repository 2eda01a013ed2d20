package store

import (
	"context"
	"encoding/json"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	flushEvery = 2 * time.Second
	// maxSources is how many sources a process tells apart within an hour, as they come: anybody may send any.
	maxSources = 50
	// maxName is how much of a source's name is kept, in characters, and maxReason of why a push failed.
	maxName   = 64
	maxReason = 500
)

// counting adds up what this process has seen since it was written last.
type counting struct {
	mu       sync.Mutex
	pushes   map[string]*Pushes
	failures map[string]Failure // the last
	accepted map[string]int64
	known    map[string]bool // the sources that are told apart
	since    int64           // the hour that this is so in
	ended    chan struct{}   // is closed when the last was written
}

func (c *counting) pushesOf(connector string) *Pushes {
	if c.pushes == nil {
		c.pushes = map[string]*Pushes{}
	}
	if c.pushes[connector] == nil {
		c.pushes[connector] = &Pushes{}
	}
	return c.pushes[connector]
}

// CountSynced counts a change that reached a connector.
func (s *Store) CountSynced(connector string) {
	s.counting.mu.Lock()
	defer s.counting.mu.Unlock()
	s.counting.pushesOf(connector).Synced++
}

// CountFailed counts a push that failed, and keeps why.
func (s *Store) CountFailed(connector, fault, reason string) {
	at := s.clock.Now()
	s.counting.mu.Lock()
	defer s.counting.mu.Unlock()
	s.counting.pushesOf(connector).Failed++
	if s.counting.failures == nil {
		s.counting.failures = map[string]Failure{}
	}
	s.counting.failures[connector] = Failure{at, fault, cut(reason, maxReason)}
}

// CountCall counts a call, of one push or a batch of them, by how long it took.
func (s *Store) CountCall(connector string, took time.Duration) {
	i, _ := slices.BinarySearch(LatencyBounds, took.Seconds())
	s.counting.mu.Lock()
	defer s.counting.mu.Unlock()
	p := s.counting.pushesOf(connector)
	if p.took == nil {
		p.took = make([]int64, len(LatencyBounds)+1)
	}
	p.took[i]++
}

// CountAccepted counts a lead that was accepted, by its source.
func (s *Store) CountAccepted(source string) {
	name := cut(source, maxName)
	hour := LastHour.turn(LastHour.step(s.clock.Now()))
	c := &s.counting
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.known == nil || c.since != hour {
		c.known, c.since = map[string]bool{}, hour
	}
	if !c.known[name] && len(c.known) >= maxSources {
		name = OtherSources
	} else {
		c.known[name] = true
	}
	if c.accepted == nil {
		c.accepted = map[string]int64{}
	}
	c.accepted[name]++
}

// cut is the beginning of a text.
func cut(text string, most int) string {
	n := 0
	for i := range text {
		if n++; n > most {
			return text[:i] + "…"
		}
	}
	return text
}

// take returns what was counted and begins anew.
func (c *counting) take() (pushes map[string]*Pushes, failures map[string]Failure, accepted map[string]int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	pushes, failures, accepted = c.pushes, c.failures, c.accepted
	c.pushes, c.failures, c.accepted = nil, nil, nil
	return pushes, failures, accepted
}

// keepActivity writes what was counted from time to time, and at last when ctx ends.
func (s *Store) keepActivity(ctx context.Context) {
	defer close(s.counting.ended)
	tick := time.NewTicker(flushEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			s.writeActivity()
		case <-ctx.Done():
			s.writeActivity()
			return
		}
	}
}

// writeActivity adds what was counted to what all processes have, in one round trip.
func (s *Store) writeActivity() {
	pushes, failures, accepted := s.counting.take()
	if len(pushes)+len(accepted) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), closeWithin)
	defer cancel()
	now := s.clock.Now()
	var keys []string
	var args []any
	for _, span := range spans {
		step := span.step(now)
		turn := span.turn(step)
		count := func(of string, counters map[string]string) {
			if len(counters) == 0 {
				return
			}
			keys, args = append(keys, activityKey(of, span, turn)), append(args, span.ends(turn), len(counters))
			for name, text := range counters {
				args = append(args, strconv.FormatInt(step, 10)+" "+name, text)
			}
		}
		texts := map[string]string{}
		for name, p := range pushes {
			texts[name] = counterText(p.counters()...)
		}
		count("connectors", texts)
		texts = map[string]string{}
		for name, n := range accepted {
			texts[name] = counterText(n)
		}
		count("sources", texts)
	}
	_, err := s.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		p.Eval(ctx, countScript.text, keys, args...)
		for name, f := range failures {
			text, err := json.Marshal(f)
			if err != nil {
				return err
			}
			p.HSet(ctx, failuresKey, name, text)
		}
		return nil
	})
	if err != nil {
		s.log.Debug("what went on could not be noted; a chart lacks it", "error", err)
	}
}

// counterText writes counters, but for zeros at the end.
func counterText(counters ...int64) string {
	for len(counters) > 1 && counters[len(counters)-1] == 0 {
		counters = counters[:len(counters)-1]
	}
	var text []byte
	for i, n := range counters {
		if i > 0 {
			text = append(text, ' ')
		}
		text = strconv.AppendInt(text, n, 10)
	}
	return string(text)
}

func (p Pushes) counters() []int64 { return append([]int64{p.Synced, p.Failed}, p.took...) }
