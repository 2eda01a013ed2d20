package main

import (
	"slices"
	"time"

	"github.com/leadrelay/leadrelay/connectors"
	"github.com/leadrelay/leadrelay/connectors/all"
	"github.com/leadrelay/leadrelay/internal/config"
)

// effort is what pushes take of a vendor's limits.
type effort struct {
	Calls   int     `json:"calls"`
	Cost    int     `json:"cost,omitempty"`  // of the calls together, where the vendor counts it
	Seconds float64 `json:"seconds"`         // that they take at least, by the limits; 0: no limit holds them up
	Limit   string  `json:"limit,omitempty"` // the limit that it takes so long by
}

// effortOf counts the calls of so many leads, by what one lead of each sort takes. Where that is not known each lead, or
// each batch, is one call.
func effortOf(c config.Connector, leads map[difference]int, each map[difference][]connectors.Rehearsed) effort {
	batch, limits := boundsOf(c)
	var e effort
	for d, n := range leads {
		requests := each[d]
		if !slices.ContainsFunc(requests, func(r connectors.Rehearsed) bool { return r.Cost > 0 }) {
			calls := inBatches(n, batch)
			e.Calls, e.Cost = e.Calls+calls, e.Cost+calls
			continue
		}
		for _, r := range requests {
			calls := inBatches(n, max(1, r.Leads))
			e.Calls, e.Cost = e.Calls+calls, e.Cost+calls*r.Cost
		}
	}
	costs := false
	for _, rate := range limits.Rates {
		spent := e.Calls
		if rate.ByCost {
			spent, costs = e.Cost, true
		}
		// What a window lets through goes at once; whatever is beyond it waits for the next.
		if waits := max(0, spent-1) / max(1, rate.Most); waits > 0 {
			if took := float64(waits) * rate.Per.Seconds(); took > e.Seconds {
				e.Seconds, e.Limit = took, limitText(rate)
			}
		}
	}
	if !costs {
		e.Cost = 0
	}
	return e
}

func inBatches(n, most int) int { return (n + most - 1) / most }

// boundsOf are how many leads a call of a connector takes, and its limits: the configured ones, else the vendor's.
func boundsOf(c config.Connector) (batch int, limits connectors.Limits) {
	batch, limits = 1, c.Limits
	if batcher, ok := c.Connector.(connectors.Batcher); ok {
		return batcher.MaxBatch(), limits
	}
	if c.Connector != nil {
		return batch, limits
	}
	for _, kind := range all.Whole() {
		if kind.Name == c.Type {
			batch = max(1, kind.MaxBatch)
			if len(limits.Rates) == 0 {
				limits = kind.Limits
			}
		}
	}
	return batch, limits
}

func limitText(r connectors.Rate) string {
	what := "calls"
	if r.ByCost {
		what = "credits"
	}
	return number(r.Most) + " " + what + " in " + span(r.Per)
}

// span is a duration as people write it: 24h and not 24h0m0s.
func span(d time.Duration) string {
	text := d.String()
	for _, zero := range []string{"m0s", "h0m"} {
		if len(text) > len(zero) && text[len(text)-len(zero):] == zero {
			text = text[:len(text)-len(zero)+1]
		}
	}
	return text
}
