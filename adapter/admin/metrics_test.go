package admin

import (
	"context"
	"flag"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/delivery"
	"segment-saasquatch/mapping"
)

var update = flag.Bool("update", false, "write the golden files anew")

// fixedLog is a store with constant numbers.
type fixedLog struct {
	totals   []adapter.Totals
	backlogs []adapter.Backlog
}

func (l *fixedLog) Totals(context.Context) ([]adapter.Totals, error)   { return l.totals, nil }
func (l *fixedLog) Backlog(context.Context) ([]adapter.Backlog, error) { return l.backlogs, nil }

// TestMetricsGolden compares all of our metrics in a fixed state with testdata/metrics/want.txt. In it an event of
// connection eu is lost.
func TestMetricsGolden(t *testing.T) {
	now := time.Date(2026, 11, 1, 8, 0, 0, 0, time.UTC)
	m := NewMetrics()
	m.WatchStore(&fixedLog{
		totals: []adapter.Totals{
			{Connection: "default", Accepted: 10, Events: map[adapter.Outcome]int64{
				adapter.Delivered: 4, adapter.Duplicate: 1, adapter.Skipped: 1, adapter.Rejected: 1, adapter.Dead: 1,
				adapter.Pending: 2,
			}, PayloadBytes: map[adapter.Outcome]int64{adapter.Rejected: 2, adapter.Dead: 1000}},
			{Connection: "eu", Accepted: 2, Events: map[adapter.Outcome]int64{adapter.Delivered: 1}},
		},
		backlogs: []adapter.Backlog{
			{Connection: "default", Events: 2, Bytes: 300, Oldest: now.Add(-90 * time.Second)},
			{Connection: "eu"},
			{Connection: "former", Events: 7, Bytes: 700, Held: []adapter.Held{
				{Tenant: "https://host/test_ops", Reason: mapping.ReasonTenantChanged, Events: 3},
				{Tenant: "https://host/test_other", Reason: mapping.ReasonTenantChanged, Events: 4},
			}},
			{Connection: "ahead", Events: 1, Bytes: 1, Oldest: now.Add(time.Second)}, // by another machine's clock
		},
	}, func() error { return nil }, func() time.Time { return now })
	m.WatchConnections("listen_addr", func() (int, uint64) { return 3, 17 })
	m.WatchSkew(func() time.Duration { return -1500 * time.Millisecond })
	m.WatchWriteAheadLog(func() (int64, time.Duration, bool) { return 33_554_432, 90 * time.Second, true })
	m.WatchBreakers(map[string]func() delivery.BreakerState{
		"default": func() delivery.BreakerState { return delivery.BreakerState{Limit: 64, InFlight: 3} },
		"eu": func() delivery.BreakerState {
			return delivery.BreakerState{Paused: true, Reason: mapping.ReasonUnauthorized, Limit: 1, InFlight: 1}
		},
	})
	m.BacklogLimit("default", 10, 1<<20)
	m.Request("default", 200, "")
	m.Request("default", 503, "store_unavailable")
	m.Request("", 404, "unknown_path")
	event, attempt := m.Event("default"), m.Attempt("default")
	for _, lag := range []time.Duration{5 * time.Millisecond, 200 * time.Millisecond, time.Hour, 30 * time.Hour} {
		event(adapter.Result{Outcome: adapter.Delivered, Lag: lag})
	}
	event(adapter.Result{Outcome: adapter.Duplicate, Reason: mapping.ReasonConflict, Lag: time.Second})
	event(adapter.Result{Outcome: adapter.Dead, Reason: mapping.ReasonRefused, Lag: time.Second})
	attempt(adapter.Attempt{Outcome: adapter.Delivered, Status: 200}, 20*time.Millisecond)
	attempt(adapter.Attempt{Outcome: adapter.Pending, Reason: mapping.ReasonTimeout}, 10*time.Second)

	recorder := httptest.NewRecorder()
	m.handler().ServeHTTP(recorder, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	var got strings.Builder
	for line := range strings.Lines(recorder.Body.String()) {
		if strings.Contains(line, namespace+"_") {
			got.WriteString(line)
		}
	}
	path := filepath.Join("..", "..", "testdata", "metrics", "want.txt")
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got.String() != string(want) {
		t.Errorf("got\n%s\nwant\n%s", &got, want)
	}
}
