package admin

import (
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"segment-saasquatch/adapter"
)

// namespace begins the name of every metric.
const namespace = "segment_saasquatch"

// Metrics counts what happens in this process. The labels have few values: names of connections, outcomes, reasons and
// statuses.
type Metrics struct {
	registry                            *prometheus.Registry
	received, events, requests, dropped *prometheus.CounterVec
	attempts, lag                       *prometheus.HistogramVec
	// The connections' shares of the backlog.
	limits, byteLimits *prometheus.GaugeVec
}

// NewMetrics returns metrics that have counted nothing.
func NewMetrics() *Metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help}, labels)
	}
	gauge := func(name, help string, labels ...string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: namespace, Name: name, Help: help}, labels)
	}
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		received: counter("requests_total", "Requests of senders by the HTTP status of the answer; "+
			"without a connection at unknown paths, or refused by the server itself.", "connection", "status",
			"reason"),
		events: counter("events_total", "Events that have their outcome.", "connection", "outcome", "reason"),
		requests: counter("upstream_requests_total",
			"Requests to SaaSquatch by HTTP status; status 0 had no answer.", "connection", "status"),
		dropped: counter("payloads_dropped_total",
			"Payloads of rejected and dead events that dead_letters.max_bytes had no room for.", "outcome"),
		limits: gauge("backlog_limit_events",
			"How many events may be pending; beyond it requests get 503.", "connection"),
		byteLimits: gauge("backlog_limit_bytes",
			"How large the payloads of pending events may be; beyond it requests get 503.", "connection"),
		attempts: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: namespace, Name: "upstream_request_duration_seconds",
			Help:    "Time that requests to SaaSquatch took.",
			Buckets: []float64{0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60},
		}, []string{"connection"}),
		lag: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: namespace, Name: "end_to_end_lag_seconds",
			Help:    "Time from acceptance to delivery.",
			Buckets: []float64{0.01, 0.1, 0.5, 1, 5, 30, 60, 300, 1800, 3600, 4 * 3600, 12 * 3600, 24 * 3600},
			// For a Prometheus that asks for native histograms, beside the buckets.
			NativeHistogramBucketFactor:     1.1,
			NativeHistogramMaxBucketNumber:  160,
			NativeHistogramMinResetDuration: time.Hour,
		}, []string{"connection"}),
	}
	for _, outcome := range []adapter.Outcome{adapter.Rejected, adapter.Dead} {
		m.PayloadsDropped(outcome, 0) // an alert sees the first increase
	}
	m.registry.MustRegister(m.received, m.events, m.requests, m.dropped, m.attempts, m.lag, m.limits, m.byteLimits,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Request counts a request of a sender.
func (m *Metrics) Request(connection string, status int, reason string) {
	m.received.WithLabelValues(connection, strconv.Itoa(status), reason).Inc()
}

// Event returns a function that counts the outcome of a connection's events.
func (m *Metrics) Event(connection string) func(adapter.Result) {
	lag := m.lag.WithLabelValues(connection)
	return func(r adapter.Result) {
		m.events.WithLabelValues(connection, r.Outcome.String(), string(r.Reason)).Add(float64(max(1, r.Events)))
		if r.Outcome == adapter.Delivered && r.Lag > 0 {
			lag.Observe(r.Lag.Seconds())
		}
	}
}

// PayloadsDropped counts dropped payloads of events with the outcome.
func (m *Metrics) PayloadsDropped(outcome adapter.Outcome, payloads int64) {
	m.dropped.WithLabelValues(outcome.String()).Add(float64(payloads))
}

// Attempt returns a function that counts a connection's requests to SaaSquatch.
func (m *Metrics) Attempt(connection string) func(adapter.Attempt, time.Duration) {
	took := m.attempts.WithLabelValues(connection)
	return func(a adapter.Attempt, d time.Duration) {
		m.requests.WithLabelValues(connection, strconv.Itoa(a.Status)).Inc()
		took.Observe(d.Seconds())
	}
}

// BacklogLimit sets how many events of a connection may be pending, and how large their payloads may be together.
func (m *Metrics) BacklogLimit(connection string, events, bytes int64) {
	m.limits.WithLabelValues(connection).Set(float64(events))
	m.byteLimits.WithLabelValues(connection).Set(float64(bytes))
}

// WatchLog adds the number of dropped log lines.
func (m *Metrics) WatchLog(dropped func() uint64) {
	m.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
		Namespace: namespace, Name: "log_lines_dropped_total",
		Help: "Lines of the log that were dropped because they could not be written in time.",
	}, func() float64 { return float64(dropped()) }))
}

// handler serves the metrics. It leaves out metrics that it cannot gather; store_up shows that.
func (m *Metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{
		Registry: m.registry, ErrorHandling: promhttp.ContinueOnError,
	})
}
