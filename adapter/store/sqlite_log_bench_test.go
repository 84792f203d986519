package store_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/delivery/deliverytest"
	"segment-saasquatch/adapter/store"
)

// BenchmarkLog prints the largest size of the write-ahead log while 500 000 rows expire
// beside 300 events a second, and during two minutes of 1000 events a second. Target: no
// more than 64 MB and one transaction. It prints how long the accepts took, and how long a
// store takes to open that was killed at the end, too.
func BenchmarkLog(b *testing.B) {
	rows := scaled(500_000)
	b.Run("retention", func(b *testing.B) {
		opts := sqliteOptions(b)
		c := deliverytest.NewStoppedClock()
		opts.Now = c.Now
		opts.Retention.Ledger = 24 * time.Hour
		s := open(b, opts)
		q := connection(b, s, "default", "tenant")
		for first := 0; first < rows; first += 20_000 {
			for part := first; part < min(first+20_000, rows); part += 4000 {
				if err := q.Accept(context.Background(), arrivals(part, min(4000, rows-part))); err != nil {
					b.Fatal(err)
				}
			}
			drain(b, q)
		}
		c.Advance(48 * time.Hour)
		largest := watchLog(b, opts)
		done := make(chan error, 1)
		go func() { done <- s.Retain(context.Background()) }()
		took := traffic(b, q, rows, 300, func() bool { return len(done) == 0 })
		if err := <-done; err != nil {
			b.Fatal(err)
		}
		report(b, opts, largest(), took)
	})
	b.Run("soak", func(b *testing.B) {
		opts := sqliteOptions(b)
		s := open(b, opts)
		q := connection(b, s, "default", "tenant")
		ends := time.Now().Add(time.Duration(scaled(120)) * time.Second)
		largest := watchLog(b, opts)
		took := traffic(b, q, 0, 1000, func() bool { return time.Now().Before(ends) })
		report(b, opts, largest(), took)
	})
}

// traffic has so many events a second come, in requests of ten, and be delivered, and
// returns how long each request took.
func traffic(b *testing.B, q *store.Queue, first, perSecond int, more func() bool) (took []time.Duration) {
	const request = 10
	ctx := context.Background()
	delivering := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			drain(b, q)
			select {
			case <-delivering:
				return
			case <-time.After(10 * time.Millisecond):
			}
		}
	}()
	ticker := time.NewTicker(time.Second * request / time.Duration(perSecond))
	defer ticker.Stop()
	for ; more(); first += request {
		began := time.Now()
		if err := q.Accept(ctx, arrivals(first, request)); err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(began))
		<-ticker.C
	}
	close(delivering)
	<-done
	return took
}

func report(b *testing.B, opts store.Options, largest int64, took []time.Duration) {
	b.Helper()
	if len(took) == 0 {
		b.Fatal("no request came")
	}
	slices.Sort(took)
	b.ReportMetric(float64(largest)/(1<<20), "MB-largest-log")
	b.ReportMetric(float64(len(took)), "requests")
	b.ReportMetric(took[len(took)*99/100].Seconds()*1000, "p99-ms")
	b.ReportMetric(took[len(took)-1].Seconds()*1000, "max-ms")
	// A copy of the files is what a process that is killed leaves.
	killed := sqliteOptions(b)
	if err := os.MkdirAll(filepath.Dir(killed.Path), 0o700); err != nil {
		b.Fatal(err)
	}
	for _, suffix := range []string{"", "-wal"} {
		// Another process, since the end of a read in this one would undo SQLite's locks.
		if out, err := exec.Command("cp", opts.Path+suffix, killed.Path+suffix).CombinedOutput(); err != nil {
			b.Fatalf("%v: %s", err, out)
		}
	}
	began := time.Now()
	s := open(b, killed)
	b.ReportMetric(time.Since(began).Seconds()*1000, "start-ms")
	if _, err := s.Find(context.Background(), adapter.Filter{}, 1); err != nil {
		b.Fatal(err)
	}
}
