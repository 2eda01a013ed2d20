package ingest

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	accepted *prometheus.CounterVec
	seconds  *prometheus.HistogramVec

	deliveries *prometheus.CounterVec
	posts      *prometheus.CounterVec
	unverified *prometheus.CounterVec
}

func newMetrics(registry prometheus.Registerer) *metrics {
	m := &metrics{
		accepted: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "leadrelay_accepted_total", Help: "Requests that were answered 2xx, by what they asked for.",
		}, []string{"operation"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "leadrelay_request_seconds", Help: "How long requests took, by route and status.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 5},
		}, []string{"route", "status"}),
	}
	m.deliveries = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "leadrelay_source_deliveries_total",
		Help: "Deliveries of third-party sources, by what became of them: lead, kept (as a submission), left_out, refused or unavailable.",
	}, []string{"source", "outcome"})
	m.posts = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "leadrelay_form_posts_total",
		Help: "Posts of website forms, by what became of them: lead, spam (kept aside), or the code of the error that was answered.",
	}, []string{"form", "outcome"})
	m.unverified = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "leadrelay_form_captcha_unverified_total",
		Help: "Posts of website forms whose captcha the provider could not be asked about.",
	}, []string{"form"})
	registry.MustRegister(m.accepted, m.seconds, m.deliveries, m.posts, m.unverified)
	return m
}

func (m *metrics) observe(route string, status int, took time.Duration) {
	m.seconds.WithLabelValues(route, strconv.Itoa(status)).Observe(took.Seconds())
}
