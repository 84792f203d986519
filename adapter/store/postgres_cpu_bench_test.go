package store_test

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/store"
)

// BenchmarkPostgresCPU accepts, leases and records events in large pieces, and prints the CPU time of the server's
// processes, and of this process, for each event.
func BenchmarkPostgresCPU(b *testing.B) {
	const window, piece = 1000, 200
	events := max(window, scaled(20*window))
	opts := postgresOptions(b)
	s := open(b, opts)
	q := connection(b, s, "default", testTenant)
	db := sqlOpen(b, opts)
	spent := make(map[string]time.Duration)
	phase := func(name string, fn func()) {
		server, client := serverCPU(b, db), ownCPU(b)
		fn()
		spent[name+"-server"] += serverCPU(b, db) - server
		spent[name+"-client"] += ownCPU(b) - client
	}
	drained := 0
	for b.Loop() {
		phase("accept", func() {
			for first := drained; first < drained+events; first += window {
				if err := q.Accept(context.Background(), arrivals(first, window)); err != nil {
					b.Fatal(err)
				}
			}
		})
		for range events / window {
			var leased []adapter.Leased
			phase("lease", func() { leased = lease(b, q, window) })
			phase("record", func() {
				for first := 0; first < len(leased); first += piece {
					recordPiece(b, q, leased[first:min(first+piece, len(leased))])
				}
			})
			drained += len(leased)
		}
	}
	for name, d := range spent {
		b.ReportMetric(float64(d.Microseconds())/float64(drained), name+"-µs/event")
	}
}

func recordPiece(b *testing.B, q *store.Queue, leased []adapter.Leased) {
	b.Helper()
	steps := make([]adapter.Recording, len(leased))
	for i := range leased {
		at := leased[i].ReceivedAt
		steps[i] = adapter.Recording{Leased: &leased[i], Step: adapter.Step{
			Outcome: adapter.Delivered, Status: 200, Counted: true, Began: at, At: at.Add(200 * time.Millisecond),
		}}
	}
	if err := q.RecordAll(context.Background(), steps); err != nil {
		b.Fatal(err)
	}
	for i := range steps {
		if steps[i].Lost {
			b.Fatal("a lease is lost")
		}
	}
}

// serverCPU returns the CPU time of the server's processes that work for the database.
func serverCPU(b *testing.B, db *sql.DB) (d time.Duration) {
	b.Helper()
	rows, err := db.Query(`SELECT pid FROM pg_stat_activity WHERE datname = current_database()`)
	if err != nil {
		b.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var pid int
		if err := rows.Scan(&pid); err != nil {
			b.Fatal(err)
		}
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/schedstat", pid))
		if err != nil {
			continue // it has ended, or is on another machine
		}
		var ns int64
		if _, err := fmt.Sscan(strings.Fields(string(stat))[0], &ns); err != nil {
			b.Fatal(err)
		}
		d += time.Duration(ns)
	}
	return d
}

func ownCPU(b *testing.B) time.Duration {
	b.Helper()
	var usage unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
