package store_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/store"
)

// payloadBytes is the size of a usual track call.
const payloadBytes = 1000

// arrivals returns events that no others are the same as. Their ids are as long
// as those of Segment's libraries.
func arrivals(first, n int) []adapter.Arrival {
	payload := bytes.Repeat([]byte("x"), payloadBytes)
	list := make([]adapter.Arrival, n)
	for i := range list {
		user := fmt.Sprintf("user-%08d", (first+i)%100_000)
		list[i] = adapter.Arrival{
			MessageID: fmt.Sprintf("5e8a1d3c-7f42-4b6e-9a0d-%012d", first+i), Keyed: true,
			UserID: user, AccountID: user, Event: "Order Completed", EventKey: "order_completed", Payload: payload,
			Outcome: adapter.Pending,
		}
	}
	return list
}

// syncRate measures how often in a second the disk can be made to keep so many
// bytes. It is what every figure of accepting is held against.
func syncRate(b *testing.B, dir string, size int) float64 {
	b.Helper()
	file, err := os.Create(filepath.Join(dir, "sync"))
	if err != nil {
		b.Fatal(err)
	}
	defer file.Close()
	data := bytes.Repeat([]byte("x"), size)
	started, n := time.Now(), 0
	for ; time.Since(started) < time.Second || n < 20; n++ {
		if _, err := file.WriteAt(data, 0); err != nil {
			b.Fatal(err)
		}
		if err := unix.Fdatasync(int(file.Fd())); err != nil {
			b.Fatal(err)
		}
	}
	return float64(n) / time.Since(started).Seconds()
}

// BenchmarkAccept accepts single events from 64 producers, each of which waits
// until its event is on disk. Target: 10 times as many as fdatasync calls of 4 KiB.
func BenchmarkAccept(b *testing.B) {
	opts := sqliteOptions(b)
	s := open(b, opts)
	rate := syncRate(b, filepath.Dir(opts.Path), 4096)
	q := connection(b, s, "default", "tenant")
	events := arrivals(0, b.N)
	var taken atomic.Int64
	b.ResetTimer()
	var producers sync.WaitGroup
	for range 64 {
		producers.Go(func() {
			for {
				i := int(taken.Add(1)) - 1
				if i >= len(events) {
					return
				}
				if err := q.Accept(context.Background(), events[i:i+1]); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	producers.Wait()
	perSecond := float64(b.N) / b.Elapsed().Seconds()
	b.ReportMetric(perSecond, "events/s")
	b.ReportMetric(perSecond/rate, "×fdatasync")
}

// BenchmarkAcceptRequest accepts requests of 4000 events, one after the other.
// Target: the 99th percentile takes up to 25 times an fdatasync of as many bytes.
func BenchmarkAcceptRequest(b *testing.B) {
	opts := sqliteOptions(b)
	s := open(b, opts)
	rate := syncRate(b, filepath.Dir(opts.Path), 4000*payloadBytes)
	q := connection(b, s, "default", "tenant")
	took := make([]time.Duration, 0, b.N)
	for i := 0; b.Loop(); i++ {
		b.StopTimer()
		events := arrivals(i*4000, 4000)
		b.StartTimer()
		started := time.Now()
		if err := q.Accept(context.Background(), events); err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(started))
	}
	slices.Sort(took)
	p99 := took[len(took)*99/100]
	b.ReportMetric(p99.Seconds()*1000, "p99-ms")
	b.ReportMetric(p99.Seconds()*rate, "p99/fdatasync")
	b.ReportMetric(4000*float64(b.N)/b.Elapsed().Seconds(), "events/s")
}

// BenchmarkDrain leases events and records them as delivered, 64 at a time.
func BenchmarkDrain(b *testing.B) {
	s := open(b, sqliteOptions(b))
	q := connection(b, s, "default", "tenant")
	fill(b, q, b.N)
	b.ResetTimer()
	drain(b, q)
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
}

// BenchmarkDrainBehindHeld drains while a million events of another tenant are due
// before those of the queue's. Target: as fast as BenchmarkDrain.
func BenchmarkDrainBehindHeld(b *testing.B) {
	const held = 1_000_000
	opts := sqliteOptions(b)
	opts.Tenants = map[string]string{"default": liveTenant}
	s := open(b, opts)
	fill(b, connection(b, s, "default", testTenant), held)
	q := connection(b, s, "default", liveTenant)
	fill(b, q, b.N)
	b.ResetTimer()
	drain(b, q)
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
	b.StopTimer()
	started := time.Now()
	if _, err := s.Backlog(context.Background()); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(time.Since(started).Seconds()*1000, "backlog-ms")
}

// scaled returns n, or much less with -short. So CI finds out that the large benchmarks work.
func scaled(n int) int {
	if testing.Short() {
		return n / 50
	}
	return n
}

func fill(b testing.TB, q *store.Queue, n int) { fillFrom(b, q, 0, n) }

// fillFrom accepts events that have not been accepted before, from a number on.
func fillFrom(b testing.TB, q *store.Queue, from, n int) {
	for first := from; first < from+n; first += 4000 {
		if err := q.Accept(context.Background(), arrivals(first, min(4000, from+n-first))); err != nil {
			b.Fatal(err)
		}
	}
}

// drain delivers all that is due.
func drain(b testing.TB, q *store.Queue) {
	ctx := context.Background()
	for {
		leased, err := q.Lease(ctx, 1024, 32<<20)
		if err != nil {
			b.Fatal(err)
		}
		if len(leased) == 0 {
			return
		}
		var taken atomic.Int64
		var workers sync.WaitGroup
		for range 64 {
			workers.Go(func() {
				for {
					i := int(taken.Add(1)) - 1
					if i >= len(leased) {
						return
					}
					at := leased[i].ReceivedAt
					step := adapter.Step{Outcome: adapter.Delivered, Status: 200, Counted: true, Began: at,
						At: at.Add(200 * time.Millisecond)}
					if err := q.Record(ctx, &leased[i], step); err != nil {
						b.Error(err)
						return
					}
				}
			})
		}
		workers.Wait()
	}
}

// BenchmarkDiskPerDelivered measures what a delivered event takes on disk, with and
// without the room that is kept for events to come: up to 8 MB in the SQLite file, and the
// table of pending events in PostgreSQL. Target: 160 bytes without it in SQLite.
func BenchmarkDiskPerDelivered(b *testing.B) {
	deliver := func(s *store.Store, events int) {
		q := connection(b, s, "default", "tenant")
		for first := 0; first < events; first += 4000 {
			if err := q.Accept(context.Background(), arrivals(first, 4000)); err != nil {
				b.Fatal(err)
			}
			drain(b, q)
		}
	}
	b.Run("postgres", func(b *testing.B) {
		const events = 20_000
		for b.Loop() {
			opts := postgresOptions(b)
			s := open(b, opts)
			_, before := databaseSize(b, opts)
			deliver(s, events)
			ledger, all := databaseSize(b, opts)
			b.ReportMetric(float64(all-before)/events, "B/event-with-free-pages")
			b.ReportMetric(float64(ledger)/events, "B/event")
		}
	})
	b.Run("sqlite", func(b *testing.B) {
		const events = 100_000
		benchmarkFile(b, events, func(s *store.Store) { deliver(s, events) })
	})
}

// databaseSize returns the sizes of a PostgreSQL database's ledger with its indexes, and of
// the whole database, without deleted rows as far as their room can be given back.
func databaseSize(b *testing.B, opts store.Options) (ledger, all int64) {
	b.Helper()
	db, err := sql.Open("pgx", opts.URL.Reveal())
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec(`VACUUM`); err != nil {
		b.Fatal(err)
	}
	err = db.QueryRow(`SELECT pg_total_relation_size('deliveries'), pg_database_size(current_database())`).Scan(
		&ledger, &all)
	if err != nil {
		b.Fatal(err)
	}
	return ledger, all
}

func benchmarkFile(b *testing.B, events int, deliver func(*store.Store)) {
	for b.Loop() {
		opts := sqliteOptions(b)
		s := open(b, opts)
		deliver(s)
		if err := s.Retain(context.Background()); err != nil {
			b.Fatal(err)
		}
		if err := s.Close(); err != nil { // which empties the write-ahead log
			b.Fatal(err)
		}
		info, err := os.Stat(opts.Path)
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(info.Size())/float64(events), "B/event-with-free-pages")
		b.ReportMetric(float64(info.Size()-freeBytes(b, opts.Path))/float64(events), "B/event")
	}
}

// freeBytes returns how much of a database file is free pages.
func freeBytes(b *testing.B, path string) int64 {
	b.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	var pages, size int64
	if err := errors.Join(db.QueryRow(`PRAGMA freelist_count`).Scan(&pages),
		db.QueryRow(`PRAGMA page_size`).Scan(&size)); err != nil {
		b.Fatal(err)
	}
	return pages * size
}

// BenchmarkMillionPending opens a database with a million pending events in a
// process of its own. Targets: up to a second, and up to 150 MB resident with the
// first window of events in hand.
func BenchmarkMillionPending(b *testing.B) {
	events := scaled(1_000_000)
	if path := os.Getenv("BENCH_PENDING"); path != "" {
		openPending(b, path)
		return
	}
	opts := sqliteOptions(b)
	s := open(b, opts)
	fill(b, connection(b, s, "default", "tenant"), events)
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		child := exec.Command(os.Args[0], "-test.run=^$", "-test.bench=^BenchmarkMillionPending$",
			"-test.benchtime=1x")
		child.Env = append(os.Environ(), "BENCH_PENDING="+opts.Path)
		out, err := child.CombinedOutput()
		found := regexp.MustCompile(`opened in ([\d.]+) s, ([\d.]+) MB`).FindSubmatch(out)
		if err != nil || found == nil {
			b.Fatalf("%v: %s", err, out)
		}
		for i, unit := range []string{"open-s", "MB-resident"} {
			value, err := strconv.ParseFloat(string(found[i+1]), 64)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(value, unit)
		}
	}
}

// openPending is the process of its own.
func openPending(b *testing.B, path string) {
	started := time.Now()
	s := open(b, store.Options{Path: path})
	q := connection(b, s, "default", "tenant")
	took := time.Since(started)
	leased, err := q.Lease(context.Background(), 2048, 32<<20)
	if err != nil || len(leased) == 0 {
		b.Fatal(leased, err)
	}
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		b.Skip("SKIP: start the benchmark on Linux, which tells the resident memory")
	}
	kilobytes, err := strconv.Atoi(string(regexp.MustCompile(`VmHWM:\s+(\d+)`).FindSubmatch(status)[1]))
	if err != nil {
		b.Fatal(err)
	}
	fmt.Printf("opened in %.3f s, %.1f MB\n", took.Seconds(), float64(kilobytes)/1000)
}
