package store_test

import (
	"context"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"segment-saasquatch/adapter/store"
)

// BenchmarkBackup copies a database of 300 MB while 16 senders accept up to 4000 events a
// second, with Backup, which examines the copy too, and with VACUUM INTO. It holds the p99 of
// accepting against that without a copy, and measures how long the write-ahead log gets.
func BenchmarkBackup(b *testing.B) {
	events := scaled(250_000)
	opts := sqliteOptions(b)
	s := open(b, opts)
	q := connection(b, s, "default", "tenant")
	fill(b, q, events)
	next := events
	copies := map[string]func(to string) error{
		"backup": func(to string) error {
			_, err := store.Backup(context.Background(), store.BackupOptions{Path: opts.Path, To: to})
			return err
		},
		"vacuum": func(to string) error {
			db := raw(b, opts)
			defer db.Close()
			_, err := db.Exec(`VACUUM INTO ?1`, to)
			return err
		},
		"nothing": func(string) error { time.Sleep(3 * time.Second); return nil },
	}
	for b.Loop() {
		p99 := make(map[string]float64)
		for _, name := range []string{"nothing", "backup", "vacuum"} {
			var took time.Duration
			var log int64
			p99[name], log = acceptDuring(b, q, opts.Path, &next, func() {
				began := time.Now()
				if err := copies[name](emptyFile(b)); err != nil {
					b.Error(err)
				}
				took = time.Since(began)
			})
			b.ReportMetric(float64(log)/1e6, name+"-log-MB")
			if name == "nothing" {
				b.ReportMetric(p99[name]*1000, "p99-ms")
				continue
			}
			b.ReportMetric(p99[name]/p99["nothing"], name+"-p99-ratio")
			b.ReportMetric(took.Seconds(), name+"-s")
		}
	}
}

// acceptDuring accepts events as long as fn runs, and returns the p99 in seconds and the
// longest log.
func acceptDuring(b *testing.B, q *store.Queue, path string, next *int, fn func()) (p99 float64, log int64) {
	const senders, pause = 16, 4 * time.Millisecond
	ctx, stop := context.WithCancel(context.Background())
	var workers sync.WaitGroup
	var mu sync.Mutex
	var latencies []time.Duration
	for range senders {
		workers.Go(func() {
			for ctx.Err() == nil {
				mu.Lock()
				first := *next
				*next++
				mu.Unlock()
				one := arrivals(first, 1)
				began := time.Now()
				if err := q.Accept(context.Background(), one); err != nil {
					b.Error(err)
					return
				}
				took := time.Since(began)
				mu.Lock()
				latencies = append(latencies, took)
				mu.Unlock()
				time.Sleep(max(0, pause-took))
			}
		})
	}
	workers.Go(func() {
		for ctx.Err() == nil {
			if info, err := os.Stat(path + "-wal"); err == nil {
				log = max(log, info.Size())
			}
			time.Sleep(10 * time.Millisecond)
		}
	})
	fn()
	stop()
	workers.Wait()
	slices.Sort(latencies)
	return latencies[len(latencies)*99/100].Seconds(), log
}
