package store_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"segment-saasquatch/adapter/store"
)

// BenchmarkRestore restores a backup with 200 000 pending events, all of which are held. It
// measures the longest log of the copy: it stays near 64 MB.
func BenchmarkRestore(b *testing.B) {
	events := scaled(200_000)
	opts := sqliteOptions(b)
	s := open(b, opts)
	fill(b, connection(b, s, "default", "tenant"), events)
	backup := backUp(b, opts)
	path := filepath.Join(b.TempDir(), "adapter.db")
	for b.Loop() {
		began := time.Now()
		r, err := store.PrepareRestore(context.Background(), store.RestoreOptions{
			Path: path, File: backup, Restored: store.RestoredOptions{TakenAt: began.Add(-30 * time.Hour)},
		})
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(time.Since(began).Seconds(), "prepare-s")
		began = time.Now()
		var longest int64
		err = r.Commit(context.Background(), false, func(int64) {
			logs, _ := filepath.Glob(filepath.Join(filepath.Dir(path), ".*-wal"))
			for _, log := range logs {
				if info, err := os.Stat(log); err == nil {
					longest = max(longest, info.Size())
				}
			}
		})
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(events)/time.Since(began).Seconds(), "held/s")
		b.ReportMetric(float64(longest)/1e6, "log-MB")
		if err := r.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
