package store

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Collector reads the backlog of every connector from the sync records when it is scraped.
func (s *Store) Collector() prometheus.Collector {
	gauge := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("leadrelay_"+name, help, labels, nil)
	}
	return &collector{
		store:       s,
		backlog:     gauge("backlog", "Leads a connector is not in step with.", "connector"),
		oldest:      gauge("oldest_unsynced_seconds", "Age of the oldest change a connector is not in step with; 0 if there is none.", "connector"),
		parked:      gauge("parked", "Leads a connector refused or that were given up, waiting for a change or a replay.", "connector"),
		submissions: gauge("submissions", "What was accepted and is no lead yet, by where it came in and what it waits for.", "origin", "state"),
		open:        gauge("gate_open", "1 when leads go through to the connector, 0 when it is down, held, paused or asked to wait.", "connector"),
	}
}

type collector struct {
	store                         *Store
	backlog, oldest, parked, open *prometheus.Desc
	submissions                   *prometheus.Desc
}

const scrapeTimeout = 3 * time.Second

func (c *collector) Describe(descs chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{c.backlog, c.oldest, c.parked, c.submissions, c.open} {
		descs <- desc
	}
}

func (c *collector) Collect(metrics chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTimeout)
	defer cancel()
	var names []string
	for _, connector := range c.store.Connectors() {
		names = append(names, connector.Name)
	}
	totals, err := c.store.Totals(ctx, names)
	if err != nil {
		return
	}
	gates, err := c.store.Gates(ctx)
	if err != nil {
		return
	}
	counts, err := c.store.CountSubmissions(ctx)
	if err != nil {
		return
	}
	for origin, states := range counts {
		for state, n := range states {
			metrics <- prometheus.MustNewConstMetric(c.submissions, prometheus.GaugeValue, float64(n), origin, string(state))
		}
	}
	now := c.store.Now()
	for name, t := range totals {
		send := func(desc *prometheus.Desc, value float64) {
			metrics <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, name)
		}
		age, open := 0.0, 0.0
		if !t.Oldest.IsZero() {
			age = max(0, now.Sub(t.Oldest).Seconds())
		}
		if gates[name].Opens(now) {
			open = 1
		}
		send(c.backlog, float64(t.Backlog))
		send(c.oldest, age)
		send(c.parked, float64(t.Parked))
		send(c.open, open)
	}
}
