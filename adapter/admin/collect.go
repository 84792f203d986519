package admin

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/delivery"
)

// Log reads a store for the metrics.
type Log interface {
	// Totals returns the running totals of every connection.
	Totals(ctx context.Context) ([]adapter.Totals, error)
	// Backlog describes the pending events of every connection.
	Backlog(ctx context.Context) ([]adapter.Backlog, error)
}

// WatchStore adds the store's numbers to the metrics. Processes that share a store all report the same. The store is
// up if ready, which /readyz asks too, returns nil and the numbers can be read.
func (m *Metrics) WatchStore(log Log, ready func() error, now func() time.Time) {
	m.registry.MustRegister(&storeCollector{log, ready, now})
}

// WatchConnections adds the number of open connections of a listening address, and how many the server closed to make
// room for others. The label address is the name of the setting.
func (m *Metrics) WatchConnections(setting string, count func() (open int, shed uint64)) {
	labels := prometheus.Labels{"address": setting}
	m.watch("open_connections", "Connections that clients have open.", labels,
		func() float64 { open, _ := count(); return float64(open) })
	m.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
		Namespace: namespace, Name: "connections_shed_total",
		Help: "Connections without a request that were closed to make room for others.", ConstLabels: labels,
	}, func() float64 { _, shed := count(); return float64(shed) }))
}

// WatchSkew adds how far the clock of this process is ahead of the database's.
func (m *Metrics) WatchSkew(skew func() time.Duration) {
	m.watch("clock_skew_seconds",
		"How far the clock of this process is ahead of the database's, negative if it is behind; 0 with SQLite.", nil,
		func() float64 { return skew().Seconds() })
}

// WatchWriteAheadLog adds the size of SQLite's write-ahead log, and how long a reader has kept SQLite from restarting
// it. It adds nothing for a store without such a log.
func (m *Metrics) WatchWriteAheadLog(log func() (bytes int64, held time.Duration, known bool)) {
	if _, _, known := log(); !known {
		return
	}
	m.watch("write_ahead_log_bytes", "Size of SQLite's write-ahead log.", nil,
		func() float64 { bytes, _, _ := log(); return float64(bytes) })
	m.watch("write_ahead_log_held_seconds",
		"How long a reader has kept SQLite's write-ahead log from beginning anew, 0 if none does.", nil,
		func() float64 { _, held, _ := log(); return held.Seconds() })
}

// WatchBreakers adds the state of the connections' circuit breakers.
func (m *Metrics) WatchBreakers(breakers map[string]func() delivery.BreakerState) {
	m.registry.MustRegister(breakerCollector(breakers))
}

// watch adds a gauge that asks for its value when the metrics are read.
func (m *Metrics) watch(name, help string, labels prometheus.Labels, value func() float64) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(
		prometheus.GaugeOpts{Namespace: namespace, Name: name, Help: help, ConstLabels: labels}, value))
}

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(prometheus.BuildFQName(namespace, "", name), help, labels, nil)
}

var (
	storeUp  = describe("store_up", "1 if the store works, as /readyz says, and answered, else 0.")
	accepted = describe("deliveries_accepted_total", "Events accepted since the store was made.", "connection")
	outcomes = describe("deliveries", "Events by their outcome since the store was made.", "connection", "outcome")

	conservation = describe("conservation_difference",
		"Accepted events less those that have an outcome or are pending: 0 unless events are lost or made up.",
		"connection")
	letterBytes = describe("dead_letter_bytes",
		"Payloads of rejected and dead events that are kept.", "connection", "outcome")
	backlog      = describe("backlog_events", "Pending events.", "connection")
	backlogBytes = describe("backlog_bytes", "Payloads of pending events.", "connection")
	oldest       = describe("backlog_oldest_age_seconds",
		"Age of the oldest pending event that is not held, 0 if there is none.", "connection")
	held = describe("held_events",
		"Pending events of a tenant that the connection does not have, or of no configured connection: not sent.",
		"connection", "reason", "tenant")

	paused   = describe("tenant_paused", "1 while no requests are sent but probes, else 0.", "connection", "reason")
	limit    = describe("concurrency_limit", "Requests that may be in flight at once.", "connection")
	inFlight = describe("requests_in_flight", "Requests in flight.", "connection")
)

// collectTimeout bounds the time that the store may take to answer.
const collectTimeout = 5 * time.Second

// storeCollector asks the store whenever the metrics are read.
type storeCollector struct {
	log   Log
	ready func() error
	now   func() time.Time
}

// Describe lists the metrics.
func (c *storeCollector) Describe(to chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{
		storeUp, accepted, outcomes, conservation, letterBytes, backlog, backlogBytes, oldest, held,
	} {
		to <- desc
	}
}

// Collect reads the store.
func (c *storeCollector) Collect(to chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), collectTimeout)
	defer cancel()
	totals, err := c.log.Totals(ctx)
	var backlogs []adapter.Backlog
	if err == nil {
		backlogs, err = c.log.Backlog(ctx)
	}
	gauge(to, storeUp, oneIf(err == nil && c.ready() == nil))
	for _, t := range totals {
		difference := t.Accepted
		for outcome, events := range t.Events {
			difference -= events
			gauge(to, outcomes, float64(events), t.Connection, outcome.String())
		}
		for outcome, bytes := range t.PayloadBytes {
			gauge(to, letterBytes, float64(bytes), t.Connection, outcome.String())
		}
		to <- prometheus.MustNewConstMetric(accepted, prometheus.CounterValue, float64(t.Accepted), t.Connection)
		gauge(to, conservation, float64(difference), t.Connection)
	}
	for _, b := range backlogs {
		age := 0.0
		if !b.Oldest.IsZero() {
			age = max(0, c.now().Sub(b.Oldest).Seconds())
		}
		gauge(to, backlog, float64(b.Events), b.Connection)
		gauge(to, backlogBytes, float64(b.Bytes), b.Connection)
		gauge(to, oldest, age, b.Connection)
		for i := range b.Held {
			h := &b.Held[i]
			gauge(to, held, float64(h.Events), b.Connection, string(h.Reason), h.Tenant)
		}
	}
}

func gauge(to chan<- prometheus.Metric, desc *prometheus.Desc, value float64, labels ...string) {
	to <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, labels...)
}

func oneIf(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}

// breakerCollector asks the circuit breakers, by connection.
type breakerCollector map[string]func() delivery.BreakerState

// Describe lists the metrics.
func (c breakerCollector) Describe(to chan<- *prometheus.Desc) {
	to <- paused
	to <- limit
	to <- inFlight
}

// Collect asks the circuit breakers.
func (c breakerCollector) Collect(to chan<- prometheus.Metric) {
	for connection, state := range c {
		s := state()
		gauge(to, paused, oneIf(s.Paused), connection, string(s.Reason))
		gauge(to, limit, float64(s.Limit), connection)
		gauge(to, inFlight, float64(s.InFlight), connection)
	}
}
