package store_test

import (
	"context"
	"database/sql"
	"testing"
	"time"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/store"
)

// BenchmarkPostgresWrites accepts events, leases them and records them as delivered, and
// prints what that writes: bytes of the write-ahead log for an event, on a server without other
// work, and updates of rows, and those of them that write an index (not HOT). Target: none.
func BenchmarkPostgresWrites(b *testing.B) {
	opts := postgresOptions(b)
	s := open(b, opts)
	q := connection(b, s, "default", testTenant)
	db := sqlOpen(b, opts)
	log := func() (bytes float64) {
		return number(b, db, `SELECT pg_current_wal_lsn() - '0/0'::pg_lsn`)
	}
	const events = 10_000
	before, delivered := log(), 0
	for b.Loop() {
		fillFrom(b, q, delivered, events)
		drain(b, q)
		delivered += events
	}
	b.ReportMetric((log()-before)/float64(delivered), "WAL-B/event")
	b.ReportMetric(float64(delivered)/b.Elapsed().Seconds(), "events/s")
	closeStoreB(b, s) // then the connections have told what they did
	for unit, expression := range map[string]string{
		"updates/event": "sum(n_tup_upd)", "index-updates/event": "sum(n_tup_upd - n_tup_hot_upd)",
	} {
		updates := number(b, db, `SELECT `+expression+` FROM pg_stat_user_tables WHERE relname IN ('queue', 'leases')`)
		b.ReportMetric(updates/float64(delivered), unit)
	}
}

// BenchmarkPostgresIdleTransaction drains a queue beside a transaction that was left open, so
// that nothing can be vacuumed. It prints what a lease takes at the beginning and at the end.
// Target: up to 1.5 times as long at the end.
func BenchmarkPostgresIdleTransaction(b *testing.B) {
	const events, window = 60_000, 1024
	opts := postgresOptions(b)
	s := open(b, opts)
	q := connection(b, s, "default", testTenant)
	db := sqlOpen(b, opts)
	for round := 0; b.Loop(); round++ {
		fillFrom(b, q, round*events, events)
		idle, err := db.Begin()
		if err != nil {
			b.Fatal(err)
		}
		if _, err := idle.Exec(`SELECT txid_current()`); err != nil {
			b.Fatal(err)
		}
		var took []time.Duration
		for {
			started := time.Now()
			leased, err := q.Lease(context.Background(), window, 1<<30)
			if err != nil {
				b.Fatal(err)
			}
			if len(leased) == 0 {
				break
			}
			took = append(took, time.Since(started))
			recordAll(b, q, leased)
		}
		if err := idle.Rollback(); err != nil {
			b.Fatal(err)
		}
		first, last := mean(took[1:6]), mean(took[len(took)-6:len(took)-1])
		b.ReportMetric(first, "first-ms")
		b.ReportMetric(last, "last-ms")
		b.ReportMetric(last/first, "last/first")
	}
}

func mean(list []time.Duration) (ms float64) {
	for _, d := range list {
		ms += d.Seconds() * 1000 / float64(len(list))
	}
	return ms
}

func sqlOpen(b *testing.B, opts store.Options) *sql.DB {
	b.Helper()
	db, err := sql.Open("pgx", opts.URL.Reveal())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = db.Close() })
	return db
}

func number(b *testing.B, db *sql.DB, query string) (n float64) {
	b.Helper()
	if err := db.QueryRow(query).Scan(&n); err != nil {
		b.Fatal(err)
	}
	return n
}

func closeStoreB(b *testing.B, s *store.Store) {
	b.Helper()
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
}

// recordAll records leased events as delivered.
func recordAll(b *testing.B, q *store.Queue, leased []adapter.Leased) {
	b.Helper()
	errs := make(chan error)
	for i := range leased {
		at := leased[i].ReceivedAt
		step := adapter.Step{Outcome: adapter.Delivered, Status: 200, Counted: true, Began: at, At: at}
		go func() { errs <- q.Record(context.Background(), &leased[i], step) }()
	}
	for range leased {
		if err := <-errs; err != nil {
			b.Error(err)
		}
	}
}
