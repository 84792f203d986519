package store_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/store"
)

// BenchmarkRedrive redrives dead letters beside live traffic of 300 events a second, through
// the store that takes the traffic and, on SQLite, through one beside it. It holds the 99th
// percentile of accepting against that of the traffic alone. Targets: a ratio up to 2, 2000
// events/s, with which 500 000 take 4 minutes, and a write-ahead log up to 64 MB.
func BenchmarkRedrive(b *testing.B) {
	for name, run := range map[string]func(*testing.B) (live, redriving store.Options){
		"sqlite": func(b *testing.B) (live, redriving store.Options) {
			live = sqliteOptions(b)
			return live, live
		},
		"sqlite beside": func(b *testing.B) (live, redriving store.Options) {
			live = sqliteOptions(b)
			redriving = live
			redriving.Shared = true
			return live, redriving
		},
		"postgres": func(b *testing.B) (live, redriving store.Options) {
			live = postgresOptions(b)
			return live, live
		},
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				live, redriving := run(b)
				benchmarkRedrive(b, live, redriving)
			}
		})
	}
}

const liveRate = 300 // events a second

func benchmarkRedrive(b *testing.B, opts, redriving store.Options) {
	const logLimit = 64 << 20
	dead := scaled(100_000)
	// So many messageIds are in memory alone, as a server has them most of the time.
	unmergedIDs := scaled(60_000)
	filled := open(b, opts)
	bury(b, connection(b, filled, "default", "tenant"), 0, dead)
	if err := filled.Close(); err != nil { // which ends the write-ahead log
		b.Fatal(err)
	}
	s := open(b, opts)
	q := connection(b, s, "default", "tenant")
	for first := dead; first < dead+unmergedIDs; first += 1000 {
		list := arrivals(first, 1000)
		for i := range list {
			list[i].Payload = nil
		}
		accept(b, connection(b, s, "other", "tenant"), list...)
	}
	alone := acceptFor(q, "alone", time.After(time.Duration(scaled(10_000))*time.Millisecond))
	operator := s
	if redriving.Shared {
		operator = open(b, redriving)
	}
	done := make(chan time.Time)
	var redriven int
	log := func() int64 {
		if opts.Path == "" {
			return 0
		}
		return fileSize(b, opts.Path+"-wal")
	}
	before, longest := log(), int64(0)
	started := time.Now()
	go func() {
		defer close(done)
		redriven = redriveAll(b, operator, func() { longest = max(longest, log()) })
	}()
	beside := acceptFor(q, "beside", done)
	took := time.Since(started)
	if redriven != dead || longest > max(before, logLimit) {
		b.Errorf("%d of %d were redriven, with a write-ahead log of %d bytes, %d before", redriven, dead, longest,
			before)
	}
	b.ReportMetric(float64(redriven)/took.Seconds(), "redriven/s")
	b.ReportMetric(alone.Seconds()*1000, "p99-alone-ms")
	b.ReportMetric(beside.Seconds()*1000, "p99-beside-ms")
	b.ReportMetric(float64(beside)/float64(alone), "×p99")
	b.ReportMetric(float64(longest)/(1<<20), "log-MB")
}

// bury stores dead letters.
func bury(b testing.TB, q *store.Queue, first, n int) {
	b.Helper()
	for ; n > 0; first, n = first+4000, n-4000 {
		list := arrivals(first, min(n, 4000))
		for i := range list {
			list[i].Outcome, list[i].Reason = adapter.Rejected, "missing_event_name"
		}
		if err := q.Accept(context.Background(), list); err != nil {
			b.Fatal(err)
		}
	}
}

// redriveAll redrives all dead letters, as the operations do, and returns how many they were.
// It calls look now and then.
func redriveAll(b testing.TB, s *store.Store, look func()) (redriven int) {
	ctx := context.Background()
	filter := adapter.Filter{Outcomes: []adapter.Outcome{adapter.Dead, adapter.Rejected}}
	for {
		found, err := s.Find(ctx, filter, 500)
		if err != nil {
			b.Error(err)
		}
		if err != nil || len(found) == 0 {
			return redriven
		}
		list := make([]adapter.Redelivery, len(found))
		for i := range found {
			list[i] = adapter.Redelivery{
				ID: found[i].ID, UserID: "user", AccountID: "user", EventKey: "order_completed",
				Event: "Order Completed",
				Keyed: true, Bytes: payloadBytes,
			}
		}
		done, err := s.Redrive(ctx, list)
		redriven += done.Pending
		look()
		if err != nil {
			b.Error(err)
			return redriven
		}
		filter.Before = found[len(found)-1].ID
	}
}

// acceptFor accepts single events at the live rate until done, and returns the 99th percentile
// of how long they took, from the time at which each was to begin.
func acceptFor(q *store.Queue, name string, done <-chan time.Time) time.Duration {
	var mu sync.Mutex
	var took []time.Duration
	var accepting sync.WaitGroup
	ticker := time.NewTicker(time.Second / liveRate)
	defer ticker.Stop()
	for n := 0; ; n++ {
		select {
		case <-done:
			accepting.Wait()
			slices.Sort(took)
			return took[len(took)*99/100]
		case began := <-ticker.C:
			accepting.Go(func() {
				list := arrivals(n, 1)
				list[0].MessageID = fmt.Sprintf("5e8a1d3c-7f42-4b6e-%s-%012d", name, n)
				err := q.Accept(context.Background(), list)
				mu.Lock()
				defer mu.Unlock()
				took = append(took, time.Since(began))
				if err != nil {
					panic(err)
				}
			})
		}
	}
}
