package store_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"segment-saasquatch/adapter/store"
)

// BenchmarkBacklogBesideOther reads what the metrics read: first of a small store, then
// beside the backlogs of three connections with 200 000 events each, where one has
// events of a former tenant as well. Target: a ratio of no more than 1.5.
func BenchmarkBacklogBesideOther(b *testing.B) {
	const reads = 200
	events := scaled(200_000)
	run := func(b *testing.B, opts store.Options) {
		opts.Tenants = map[string]string{"waiting": "a", "busy": "b", "changed": "c"}
		s := open(b, opts)
		queues := []*store.Queue{
			connection(b, s, "busy", "b"), connection(b, s, "waiting", "a"), connection(b, s, "changed", "former"),
		}
		fill(b, connection(b, s, "changed", "c"), 1)
		median := func() time.Duration {
			took := make([]time.Duration, reads)
			for i := range took {
				began := time.Now()
				if _, err := s.Totals(context.Background()); err != nil {
					b.Fatal(err)
				}
				if _, err := s.Backlog(context.Background()); err != nil {
					b.Fatal(err)
				}
				took[i] = time.Since(began)
			}
			slices.Sort(took)
			return took[reads/2]
		}
		for _, q := range queues {
			fill(b, q, 100)
		}
		small := median()
		for _, q := range queues {
			fill(b, q, events)
		}
		large := median()
		b.ReportMetric(float64(small.Microseconds()), "small-µs")
		b.ReportMetric(float64(large.Microseconds()), "large-µs")
		b.ReportMetric(float64(large)/float64(small), "ratio")
	}
	b.Run("sqlite", func(b *testing.B) { run(b, sqliteOptions(b)) })
	b.Run("postgres", func(b *testing.B) { run(b, postgresOptions(b)) })
}
