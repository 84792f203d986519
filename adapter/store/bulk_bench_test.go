package store_test

import (
	"context"
	"testing"
	"time"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/store"
)

// delivered returns the recordings of a successful attempt at each event.
func delivered(leased []adapter.Leased) []adapter.Recording {
	steps := make([]adapter.Recording, len(leased))
	for i := range leased {
		at := leased[i].ReceivedAt
		steps[i] = adapter.Recording{Leased: &leased[i], Step: adapter.Step{
			Outcome: adapter.Delivered, Status: 200, EventKey: "order_completed", Counted: true, Began: at,
			At: at.Add(200 * time.Millisecond)}}
	}
	return steps
}

// leaseAll leases events, 1000 at a time, until there are n.
func leaseAll(b *testing.B, q *store.Queue, n int) (all []adapter.Leased) {
	for len(all) < n {
		leased, err := q.Lease(context.Background(), min(1000, n-len(all)), 32<<20)
		if err != nil || len(leased) == 0 {
			b.Fatal(len(leased), err)
		}
		all = append(all, leased...)
	}
	return all
}

// BenchmarkLease leases 1000 events at a time. The time is that of one event.
func BenchmarkLease(b *testing.B) {
	s := open(b, sqliteOptions(b))
	q := connection(b, s, "default", "tenant")
	const all = 4000
	fill(b, q, all)
	b.ResetTimer()
	for n := 0; n < b.N; {
		leased := leaseAll(b, q, min(all, b.N-n))
		n += len(leased)
		b.StopTimer()
		var back []*adapter.Leased
		for i := range leased {
			back = append(back, &leased[i])
		}
		if err := q.Release(context.Background(), back); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}

// BenchmarkRecordAll settles events, 256 at a time, and one at a time for comparison. The time is that of one event.
func BenchmarkRecordAll(b *testing.B) {
	for name, together := range map[string]int{"together": 256, "single": 1} {
		b.Run(name, func(b *testing.B) {
			s := open(b, sqliteOptions(b))
			q := connection(b, s, "default", "tenant")
			fill(b, q, b.N)
			steps := delivered(leaseAll(b, q, b.N))
			b.ResetTimer()
			for n := 0; n < b.N; n += together {
				if err := q.RecordAll(context.Background(), steps[n:min(n+together, b.N)]); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
