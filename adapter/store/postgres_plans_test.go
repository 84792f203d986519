package store_test

import (
	"context"
	"database/sql"
	"fmt"
	"testing"
	"time"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/store"
	"segment-saasquatch/mapping"
)

// TestStatementsOnAgedStatistics has a queue and a log grow after PostgreSQL took its
// statistics of nearly empty ones, and after the connections have prepared their
// statements. No statement may read more pages than the events need that it is about.
func TestStatementsOnAgedStatistics(t *testing.T) {
	const rows, events = 30_000, 100
	opts := postgresOptions(t)
	s := open(t, opts)
	q := connection(t, s, "default", testTenant)
	work := func(first int) {
		accept(t, q, arrivals(first, events)...)
		known := arrivals(first, events)
		if err := q.Accept(context.Background(), known); err != nil || known[0].Outcome != adapter.Duplicate {
			t.Fatal(known[0], err)
		}
		leased := lease(t, q, events)
		now := time.Now()
		steps := []adapter.Step{
			{Outcome: adapter.Delivered, Began: now, At: now, Upsert: true},
			{Outcome: adapter.Dead, Reason: mapping.ReasonRefused, Began: now, At: now},
			{Outcome: adapter.Pending, Reason: mapping.ReasonTimeout, Began: now, At: now, Due: now.Add(time.Hour),
				Upsert: true},
		}
		for i := range 12 {
			if err := q.MarkSending(context.Background(), &leased[i]); err != nil {
				t.Fatal(err)
			}
			record(t, q, leased[i:i+1], steps[i%len(steps)])
		}
		if err := q.Release(context.Background(), pointers(leased[12:20])); err != nil {
			t.Fatal(err)
		}
		if got := redrive(t, s, leased[1].ID, leased[2].ID); got.Pending != 2 {
			t.Fatalf("redriven %+v", got)
		}
		if got := redriveTo(t, s, liveTenant, leased[5].ID); got.Pending != 1 {
			t.Fatalf("moved %+v", got)
		}
		var ids []int64
		for i := range leased {
			ids = append(ids, leased[i].ID)
		}
		if n, err := s.Purge(context.Background(), ids); err != nil || n != events {
			t.Fatal(n, err)
		}
	}
	for i := range 7 { // PostgreSQL keeps the plan of the sixth time
		work(i * events)
	}
	func() {
		db, err := sql.Open("pgx", opts.URL.Reveal())
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close() // the pages that it reads count from then on
		for _, statement := range []string{
			`ALTER TABLE queue SET (autovacuum_enabled = false)`,
			`ALTER TABLE deliveries SET (autovacuum_enabled = false)`,
			// A busy day leaves indexes that differ in size; then the queue is empty.
			fmt.Sprintf(`INSERT INTO queue (id, connection, tenant, due_at, body_hash, message_id, user_id,
				event_key, received_at, payload)
				SELECT n, 1, 2, 1, 0, 'former ' || n, 'user', 'key', 0, ''
					FROM generate_series(100001, %d) AS n`, 100000+2*rows),
			`DELETE FROM queue WHERE id > 100001`, `VACUUM ANALYZE queue`, `REINDEX INDEX queue_tenant_due`, `ANALYZE`,
			`DELETE FROM queue WHERE id = 100001`,
			fmt.Sprintf(`INSERT INTO queue (id, connection, tenant, due_at, body_hash, message_id, user_id,
				event_key, received_at, payload, holds)
				SELECT n, 1, 2, extract(epoch FROM now()) * 1000, 0, 'queued ' || n, 'user ' || n, '@identify', 0,
					'', 9
					FROM generate_series(1000001, %d) AS n`, 1000000+rows),
			fmt.Sprintf(`INSERT INTO deliveries (id, connection, tenant, outcome, body_hash, message_id, user_id,
				event_key, received_at, settled_ms, attempts, ambiguous)
				SELECT n, 1, 2, 1, 0, 'delivered ' || n, 'user', 'key', 0, 0, 1, 0
					FROM generate_series(2000001, %d) AS n`, 2000000+rows),
		} {
			execute(t, db, statement)
		}
	}()
	awaitFilled(t, opts, rows)
	before := pages(t, opts)
	work(10 * events)
	if err := s.Close(); err != nil { // then the connections have told what they read
		t.Fatal(err)
	}
	after := pages(t, opts)
	for _, table := range []string{"queue", "deliveries", "leases"} {
		// With the seven times before, which the connections may not have told yet. A statement
		// with a bad plan adds tens of thousands.
		if read := after[table] - before[table]; read > 500*events {
			t.Errorf("%s: %d pages read for %d events", table, read, events)
		}
	}
}

// awaitFilled waits until PostgreSQL has counted the rows that were put in, and with them the
// pages that this took.
func awaitFilled(t *testing.T, opts store.Options, rows int) {
	t.Helper()
	db := raw(t, opts)
	await(t, func() (filled bool) {
		err := db.QueryRow(`SELECT count(*) = 2 FROM pg_stat_user_tables
			WHERE relname = 'queue' AND n_tup_ins >= 3 * $1
				OR relname = 'deliveries' AND n_tup_ins >= $1`, rows).Scan(&filled)
		if err != nil {
			t.Fatal(err)
		}
		return filled
	})
}

func pointers(leased []adapter.Leased) (list []*adapter.Leased) {
	for i := range leased {
		list = append(list, &leased[i])
	}
	return list
}

// pages returns how many pages of tables and their indexes have been read, from memory or
// from the disk.
func pages(t *testing.T, opts store.Options) map[string]int64 {
	t.Helper()
	rows, err := raw(t,
		opts).Query(
		`SELECT relname, heap_blks_hit + heap_blks_read + coalesce(idx_blks_hit + idx_blks_read, 0) FROM
			pg_statio_user_tables`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	read := make(map[string]int64)
	for rows.Next() {
		var table string
		var n int64
		if err := rows.Scan(&table, &n); err != nil {
			t.Fatal(err)
		}
		read[table] = n
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return read
}
