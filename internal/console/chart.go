package console

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/leadrelay/leadrelay/internal/store"
)

// Charts are drawn on a ground that is as wide as there are steps and so high, and is stretched to where it is shown.
const (
	chartHeight = 40
	upTo        = 30 // bars stand on this line; what failed hangs below it
	leastBar    = 2  // of what is not nothing
)

// bars draws counts as bars that stand on a line, or hang from it. That of most is as high as there is room.
func bars(counts []int64, most int64, line, room float64, hang bool) string {
	var path strings.Builder
	for i, n := range counts {
		if n == 0 {
			continue
		}
		height := max(leastBar, room*float64(n)/float64(most))
		if !hang {
			height = -height
		}
		fmt.Fprintf(&path, "M%s %sh.8v%sh-.8z", coordinate(float64(i)+.1), coordinate(line), coordinate(height))
	}
	return path.String()
}

// curve draws times as a line that is interrupted where there is none. A lone one is a dot.
func curve(times []time.Duration, most time.Duration) string {
	var path strings.Builder
	move := true
	for i, t := range times {
		if t < 0 {
			move = true
			continue
		}
		x, y := coordinate(float64(i)+.5), coordinate(chartHeight-1-(chartHeight-2)*t.Seconds()/most.Seconds())
		if move {
			fmt.Fprintf(&path, "M%s %sh0", x, y)
		} else {
			fmt.Fprintf(&path, "L%s %s", x, y)
		}
		move = false
	}
	return path.String()
}

func coordinate(x float64) string { return strconv.FormatFloat(x, 'f', -1, 32) }

// pushesChart is what was pushed to a connector, drawn and in words.
type pushesChart struct {
	Connector string
	Span      string // in words
	Width     int
	Any       bool

	Synced, Failed string // bars
	SyncedSum      int64
	FailedSum      int64
	Most           string // synced in a minute

	Half, Nearly         string // curves: of the time that half of the calls, and 95 of 100, took at most
	HalfTook, NearlyTook string // in all of the span; "": there was no call
}

func newPushesChart(name string, a store.Activity) pushesChart {
	steps := a.Connectors[name]
	c := pushesChart{Connector: name, Span: inWords(a.Span), Width: a.Span.Steps}
	var synced, failed []int64
	var half, nearly []time.Duration
	var slowest time.Duration
	for _, p := range steps {
		synced, failed = append(synced, p.Synced), append(failed, p.Failed)
		h, ok := p.Latency(.5)
		n, _ := p.Latency(.95)
		if !ok {
			h, n = -1, -1
		}
		half, nearly, slowest = append(half, h), append(nearly, n), max(slowest, n)
	}
	if len(steps) == 0 {
		return c
	}
	sum := a.Sum(name)
	c.SyncedSum, c.FailedSum, c.Most = sum.Synced, sum.Failed, perMinute(slices.Max(synced), a.Span)
	c.Synced = bars(synced, slices.Max(synced), upTo, upTo, false)
	c.Failed = bars(failed, slices.Max(failed), upTo+1, chartHeight-upTo-1, true)
	if h, ok := sum.Latency(.5); ok {
		n, _ := sum.Latency(.95)
		c.HalfTook, c.NearlyTook = took(h), took(n)
		c.Half, c.Nearly = curve(half, slowest), curve(nearly, slowest)
	}
	c.Any = c.SyncedSum+c.FailedSum > 0 || c.HalfTook != ""
	return c
}

// acceptedChart is what was accepted of each source.
type acceptedChart struct {
	Span    string
	Width   int
	Height  int
	Leads   int64
	Sources []sourceChart
	Others  int64 // sources that are not shown
	Rest    int64 // their leads
}

type sourceChart struct {
	Name  string
	Leads int64
	Bars  string
}

// shownSources are the busiest.
const shownSources = 10

func newAcceptedChart(a store.Activity) acceptedChart {
	c := acceptedChart{Span: inWords(a.Span), Width: a.Span.Steps, Height: upTo}
	names := a.BusiestSources()
	var most int64 // of one source: they are drawn to one measure
	for _, name := range names[:min(shownSources, len(names))] {
		most = max(most, slices.Max(a.Sources[name]))
	}
	for i, name := range names {
		var leads int64
		for _, n := range a.Sources[name] {
			leads += n
		}
		c.Leads += leads
		if i < shownSources {
			c.Sources = append(c.Sources, sourceChart{name, leads, bars(a.Sources[name], most, upTo, upTo, false)})
		} else {
			c.Others++
			c.Rest += leads
		}
	}
	return c
}

func inWords(s store.Span) string { return "last " + s.Name }

// perMinute is how many of a step's count that is in a minute.
func perMinute(n int64, s store.Span) string {
	rate := float64(n) / s.Step.Minutes()
	if rate < 10 && rate != float64(int64(rate)) {
		return fmt.Sprintf("%.1f", rate)
	}
	return number(int64(rate + .5))
}

// took is a latency as people read it. That of the slowest calls is known no closer.
func took(d time.Duration) string {
	switch longest := store.LatencyBounds[len(store.LatencyBounds)-1]; {
	case d.Seconds() >= longest:
		return fmt.Sprintf("%.0f s or more", longest)
	case d >= 10*time.Second:
		return fmt.Sprintf("%.0f s", d.Seconds())
	case d >= time.Second:
		return fmt.Sprintf("%.1f s", d.Seconds())
	default:
		return fmt.Sprintf("%d ms", max(1, d.Milliseconds()))
	}
}
