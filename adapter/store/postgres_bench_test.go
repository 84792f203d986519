package store_test

import (
	"context"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"segment-saasquatch/adapter/store"
)

// BenchmarkUnnamedStatements accepts and drains the same events with named prepared
// statements and without. It takes turns, so that other load meets both alike, and reports
// the median of the ratios.
func BenchmarkUnnamedStatements(b *testing.B) {
	for _, batch := range []int{1, 1000} {
		b.Run("batch-"+strconv.Itoa(batch), func(b *testing.B) {
			var accepts, drains []float64
			for b.Loop() {
				named := acceptAndDrain(b, postgresOptions(b), batch)
				unnamed := acceptAndDrain(b, store.WithPooler(postgresOptions(b)), batch)
				accepts = append(accepts, unnamed[0]/named[0])
				drains = append(drains, unnamed[1]/named[1])
			}
			slices.Sort(accepts)
			slices.Sort(drains)
			b.ReportMetric(accepts[len(accepts)/2], "accept-unnamed/named")
			b.ReportMetric(drains[len(drains)/2], "drain-unnamed/named")
		})
	}
}

// acceptAndDrain returns the seconds that accepting and draining take.
func acceptAndDrain(b *testing.B, opts store.Options, batch int) [2]float64 {
	b.Helper()
	s := open(b, opts)
	defer func() { _ = s.Close() }()
	q := connection(b, s, "default", "tenant")
	events := arrivals(0, min(8000, 2000*batch))
	fill(b, connection(b, s, "warm", "tenant"), 100)
	began := time.Now()
	var taken atomic.Int64
	var producers sync.WaitGroup
	for range 16 {
		producers.Go(func() {
			for {
				first := (int(taken.Add(1)) - 1) * batch
				if first >= len(events) {
					return
				}
				if err := q.Accept(context.Background(), events[first:min(first+batch, len(events))]); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	producers.Wait()
	accepted := time.Now()
	drain(b, q)
	return [2]float64{accepted.Sub(began).Seconds(), time.Since(accepted).Seconds()}
}
