package worker

import "github.com/prometheus/client_golang/prometheus"

// metrics carry connector names and faults, never anything of a lead.
type metrics struct {
	synced  *prometheus.CounterVec
	failed  *prometheus.CounterVec
	latency *prometheus.HistogramVec
}

func newMetrics(registry prometheus.Registerer) *metrics {
	m := &metrics{
		synced: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "leadrelay_synced_total", Help: "Changes that reached a connector's system.",
		}, []string{"connector"}),
		failed: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "leadrelay_failed_total", Help: "Pushes that failed, by whose fault it was.",
		}, []string{"connector", "fault"}),
		latency: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "leadrelay_push_seconds", Help: "How long a push or a batch of them took.",
			Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60},
		}, []string{"connector"}),
	}
	registry.MustRegister(m.synced, m.failed, m.latency)
	return m
}
