package worker

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/leadrelay/leadrelay/internal/store"
)

// metrics carry connector names and faults, never anything of a lead. What they count, the store's charts count, too.
type metrics struct {
	store   *store.Store
	synced  *prometheus.CounterVec
	failed  *prometheus.CounterVec
	latency *prometheus.HistogramVec
}

func newMetrics(registry prometheus.Registerer, s *store.Store) *metrics {
	m := &metrics{
		store: s,
		synced: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "leadrelay_synced_total", Help: "Changes that reached a connector's system.",
		}, []string{"connector"}),
		failed: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "leadrelay_failed_total", Help: "Pushes that failed, by whose fault it was.",
		}, []string{"connector", "fault"}),
		latency: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "leadrelay_push_seconds", Help: "How long a push or a batch of them took.",
			Buckets: store.LatencyBounds,
		}, []string{"connector"}),
	}
	registry.MustRegister(m.synced, m.failed, m.latency)
	return m
}

func (m *metrics) countSynced(connector string) {
	m.synced.WithLabelValues(connector).Inc()
	m.store.CountSynced(connector)
}

func (m *metrics) countFailed(connector, fault, reason string) {
	m.failed.WithLabelValues(connector, fault).Inc()
	m.store.CountFailed(connector, fault, reason)
}

func (m *metrics) countCall(connector string, took time.Duration) {
	m.latency.WithLabelValues(connector).Observe(took.Seconds())
	m.store.CountCall(connector, took)
}
