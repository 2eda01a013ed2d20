package store

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// What went on lately is counted for people to look at, in steps of a span: what was pushed to each connector, and what
// was accepted from each source. Each process adds up what it sees and writes it every flushEvery, so that nothing that
// is counted waits for Redis; what could not be written is missing in a chart.
//
// A span's counters stand in hashes that each begin anew after a span's time, "STEP NAME" -> counters: two hashes hold
// a whole span of all connectors.

// Span is how far back one looks, and how closely.
type Span struct {
	Name  string
	Step  time.Duration
	Steps int
}

// The spans that are counted.
var (
	LastHour = Span{"hour", time.Minute, 60}
	LastDay  = Span{"day", 10 * time.Minute, 144}
)

var spans = []Span{LastHour, LastDay}

func (s Span) length() time.Duration { return s.Step * time.Duration(s.Steps) }

// step is the number of the step that a time is in.
func (s Span) step(at time.Time) int64 { return at.UnixMilli() / s.Step.Milliseconds() }

// turn is the number of the hash that a step is counted in.
func (s Span) turn(step int64) int64 { return step / int64(s.Steps) }

// ends is when a turn's hash is not looked at any more.
func (s Span) ends(turn int64) int64 { return (turn + 2) * s.length().Milliseconds() }

// OtherSources is what sources are counted as that are one too many.
const OtherSources = "other"

// LatencyBounds are the bounds, in seconds, by which pushes are counted: each counts those that took no longer.
var LatencyBounds = []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60}

const failuresKey = "lr:{activity}:failures"

func activityKey(of string, s Span, turn int64) string {
	return fmt.Sprintf("lr:{activity}:%s:%s:%d", of, s.Name, turn)
}

// Pushes is what was pushed to a connector in a time.
type Pushes struct {
	Synced int64 // changes that reached it
	Failed int64
	took   []int64 // calls by LatencyBounds, and those that took longer
}

func (p *Pushes) add(other Pushes) {
	p.Synced += other.Synced
	p.Failed += other.Failed
	for i, n := range other.took {
		if i >= len(p.took) {
			p.took = append(p.took, 0)
		}
		p.took[i] += n
	}
}

// Latency is how long the given part of calls took at most, such as 0.5 of them, as far as their counts tell. ok is
// false where there were none.
func (p Pushes) Latency(part float64) (took time.Duration, ok bool) {
	var calls, below int64
	for _, n := range p.took {
		calls += n
	}
	rank := part * float64(calls)
	for i, n := range p.took {
		if n == 0 || float64(below+n) < rank {
			below += n
			continue
		}
		low, high := 0.0, LatencyBounds[min(i, len(LatencyBounds)-1)]
		if i > 0 {
			low = LatencyBounds[i-1]
		}
		seconds := low + (high-low)*(rank-float64(below))/float64(n)
		return time.Duration(seconds * float64(time.Second)), true
	}
	return 0, false
}

// Failure is a push that failed.
type Failure struct {
	At     time.Time `json:"at"`
	Fault  string    `json:"fault"`
	Reason string    `json:"reason"` // ids, no personal data or secrets
}

// Activity is what went on in a span, by its steps, the oldest first. The last one is not over yet.
type Activity struct {
	Span       Span
	At         time.Time // when it was read
	Connectors map[string][]Pushes
	Sources    map[string][]int64 // leads accepted
}

// Activity reads what went on in the span that ends now.
func (s *Store) Activity(ctx context.Context, span Span) (Activity, error) {
	a := Activity{Span: span, At: s.clock.Now(), Connectors: map[string][]Pushes{}, Sources: map[string][]int64{}}
	last := span.step(a.At)
	first := last - int64(span.Steps) + 1
	var connectors, sources []*redis.MapStringStringCmd
	_, err := s.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		for turn := span.turn(first); turn <= span.turn(last); turn++ {
			connectors = append(connectors, p.HGetAll(ctx, activityKey("connectors", span, turn)))
			sources = append(sources, p.HGetAll(ctx, activityKey("sources", span, turn)))
		}
		return nil
	})
	if err != nil {
		return Activity{}, wrapRedis(err)
	}
	each := func(reads []*redis.MapStringStringCmd, do func(name string, place int, counters []int64)) {
		for _, read := range reads {
			for field, text := range read.Val() {
				number, name, _ := strings.Cut(field, " ")
				step, err := strconv.ParseInt(number, 10, 64)
				if counters := readCounters(text); err == nil && step >= first && step <= last && len(counters) > 0 {
					do(name, int(step-first), counters)
				}
			}
		}
	}
	each(connectors, func(name string, place int, counters []int64) {
		if a.Connectors[name] == nil {
			a.Connectors[name] = make([]Pushes, span.Steps)
		}
		p := Pushes{Synced: counters[0]}
		if len(counters) > 1 {
			p.Failed, p.took = counters[1], counters[2:min(len(counters), 3+len(LatencyBounds))]
		}
		a.Connectors[name][place] = p
	})
	each(sources, func(name string, place int, counters []int64) {
		if a.Sources[name] == nil {
			a.Sources[name] = make([]int64, span.Steps)
		}
		a.Sources[name][place] = counters[0]
	})
	return a, nil
}

// readCounters reads what counterText wrote, nil where it is not that.
func readCounters(text string) []int64 {
	parts := strings.Fields(text)
	counters := make([]int64, len(parts))
	for i, part := range parts {
		n, err := strconv.ParseInt(part, 10, 64)
		if err != nil {
			return nil
		}
		counters[i] = n
	}
	return counters
}

// Sum adds up what was pushed to a connector.
func (a Activity) Sum(connector string) (sum Pushes) {
	for _, p := range a.Connectors[connector] {
		sum.add(p)
	}
	return sum
}

// rateSteps is over how many steps of the last hour a rate is taken.
const rateSteps = 5

// PerMinute is how many changes reach a connector in a minute, in the last few of them. The activity must be of the
// LastHour.
func (a Activity) PerMinute(connector string) float64 {
	steps := a.Connectors[connector]
	if len(steps) == 0 {
		return 0
	}
	var synced int64
	for _, p := range steps[len(steps)-rateSteps:] {
		synced += p.Synced
	}
	over := time.Duration(rateSteps-1)*a.Span.Step + a.At.Sub(a.At.Truncate(a.Span.Step))
	return float64(synced) / over.Minutes()
}

// BusiestSources are the sources by how much was accepted from them, most first.
func (a Activity) BusiestSources() (names []string) {
	sums := map[string]int64{}
	for name, steps := range a.Sources {
		for _, n := range steps {
			sums[name] += n
		}
	}
	return slices.SortedFunc(maps.Keys(sums), func(x, y string) int {
		return cmp.Or(cmp.Compare(sums[y], sums[x]), cmp.Compare(x, y))
	})
}

// LastFailures reads the last failed push of each connector that had one.
func (s *Store) LastFailures(ctx context.Context) (map[string]Failure, error) {
	texts, err := s.client.HGetAll(ctx, failuresKey).Result()
	if err != nil {
		return nil, wrapRedis(err)
	}
	failures := make(map[string]Failure, len(texts))
	for name, text := range texts {
		var f Failure
		if err := json.Unmarshal([]byte(text), &f); err != nil {
			return nil, fmt.Errorf("store: last failure of %s: %w", name, err)
		}
		failures[name] = f
	}
	return failures, nil
}
