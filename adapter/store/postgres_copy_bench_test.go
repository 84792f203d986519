package store_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// BenchmarkPostgresAcceptCopy accepts requests of 1000 events of 2.2 KB, eight at once. Then it empties the queue and
// puts the same rows into it by COPY, in transactions of 1000 rows, eight at once. It reports the medians. Target: at
// least 0.4 of the rate of COPY.
func BenchmarkPostgresAcceptCopy(b *testing.B) {
	events := scaled(50_000)
	var rates, ratios []float64
	for b.Loop() {
		accepting, copying := acceptThenCopy(b, events)
		rates = append(rates, float64(events)/accepting.Seconds())
		ratios = append(ratios, copying.Seconds()/accepting.Seconds())
	}
	slices.Sort(rates)
	slices.Sort(ratios)
	b.ReportMetric(0, "ns/op") // of both together
	b.ReportMetric(rates[len(rates)/2], "events/s")
	b.ReportMetric(ratios[len(ratios)/2], "accept/copy")
}

// acceptThenCopy returns how long both take. Events is a multiple of 1000.
func acceptThenCopy(b *testing.B, events int) (accepting, copying time.Duration) {
	b.Helper()
	const batch = 1000
	opts := postgresOptions(b)
	s := open(b, opts)
	q := connection(b, s, "default", "tenant")
	list := arrivals(0, events)
	payload, err := os.ReadFile(filepath.Join("..", "..", "testdata", "bench", "order_completed.json"))
	if err != nil {
		b.Fatal(err)
	}
	for i := range list {
		list[i].Payload = payload
	}
	accepting = eightAtOnce(b, events/batch, func(_, i int) error {
		return q.Accept(context.Background(), list[i*batch:(i+1)*batch])
	})
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}

	ctx := context.Background()
	conns := make([]*pgx.Conn, 8)
	for i := range conns {
		conn, err := pgx.Connect(ctx, opts.URL.Reveal())
		if err != nil {
			b.Fatal(err)
		}
		defer func() { _ = conn.Close(ctx) }()
		conns[i] = conn
	}
	var columns string
	if err := conns[0].QueryRow(ctx, `SELECT string_agg(column_name, ',') FROM information_schema.columns
		WHERE table_name = 'queue' AND is_generated = 'NEVER'`).Scan(&columns); err != nil {
		b.Fatal(err)
	}
	batches := make([]bytes.Buffer, events/batch)
	for i := range batches {
		if _, err := conns[0].PgConn().CopyTo(ctx, &batches[i], fmt.Sprintf(`COPY (SELECT %s FROM queue ORDER BY id
			OFFSET %d LIMIT %d) TO STDOUT (FORMAT binary)`, columns, i*batch, batch)); err != nil {
			b.Fatal(err)
		}
	}
	if _, err := conns[0].Exec(ctx, `TRUNCATE queue`); err != nil {
		b.Fatal(err)
	}
	copying = eightAtOnce(b, len(batches), func(worker, i int) error {
		_, err := conns[worker].PgConn().CopyFrom(ctx, &batches[i],
			`COPY queue (`+columns+`) FROM STDIN (FORMAT binary)`)
		return err
	})
	copied := 0
	err = conns[0].QueryRow(ctx, `SELECT count(*) FROM queue`).Scan(&copied)
	if err != nil || copied != events {
		b.Fatalf("%d rows of %d were copied: %v", copied, events, err)
	}
	return accepting, copying
}

// eightAtOnce returns how long eight workers take for n tasks.
func eightAtOnce(b *testing.B, n int, task func(worker, i int) error) time.Duration {
	b.Helper()
	began := time.Now()
	var workers sync.WaitGroup
	for worker := range 8 {
		workers.Go(func() {
			for i := worker; i < n; i += 8 {
				if err := task(worker, i); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	workers.Wait()
	return time.Since(began)
}
