package store_test

import (
	"context"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

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

// leaseAll leases events in batches until there are n.
func leaseAll(b *testing.B, q *store.Queue, n, together int) (all []adapter.Leased) {
	for len(all) < n {
		leased, err := q.Lease(context.Background(), min(together, n-len(all)), 32<<20)
		if err != nil || len(leased) == 0 {
			b.Fatal(len(leased), err)
		}
		all = append(all, leased...)
	}
	return all
}

// cpuTime returns the processor time that this process has used.
func cpuTime(b *testing.B) time.Duration {
	var used unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &used); err != nil {
		b.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// cycle accepts, leases and settles events in batches, and reports the processor time of each part for an event, in
// microseconds. Together is the number of events in a batch.
func cycle(b *testing.B, q *store.Queue, together int) (accepting, leasing, recording time.Duration) {
	const all = 4096
	for n := 0; n < b.N; n += all {
		before := cpuTime(b)
		events := arrivals(n, all)
		accepting -= cpuTime(b) - before // of the benchmark itself
		for i := 0; i < all; i += together {
			if err := q.Accept(context.Background(), events[i:min(i+together, all)]); err != nil {
				b.Fatal(err)
			}
		}
		accepted := cpuTime(b)
		steps := delivered(leaseAll(b, q, all, together))
		leased := cpuTime(b)
		for i := 0; i < all; i += together {
			if err := q.RecordAll(context.Background(), steps[i:min(i+together, all)]); err != nil {
				b.Fatal(err)
			}
		}
		accepting += accepted - before
		leasing += leased - accepted
		recording += cpuTime(b) - leased
	}
	return accepting, leasing, recording
}

// BenchmarkCycle accepts, leases and settles events, 256 at a time, and one at a time for comparison.
func BenchmarkCycle(b *testing.B) {
	for _, together := range []int{256, 1} {
		b.Run(strconv.Itoa(together), func(b *testing.B) {
			s := open(b, sqliteOptions(b))
			accepting, leasing, recording := cycle(b, connection(b, s, "default", "tenant"), together)
			events := float64((b.N + 4095) / 4096 * 4096)
			for unit, took := range map[string]time.Duration{
				"accept-µs": accepting, "lease-µs": leasing, "record-µs": recording,
			} {
				b.ReportMetric(took.Seconds()*1e6/events, unit)
			}
		})
	}
}
