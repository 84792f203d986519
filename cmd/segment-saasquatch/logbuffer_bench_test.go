package main

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/config"
)

// BenchmarkEventLine writes the line of an event to a file: each line with one call under zap's lock, and through the
// buffer.
func BenchmarkEventLine(b *testing.B) {
	open := func(b *testing.B) *os.File {
		file, err := os.Create(filepath.Join(b.TempDir(), "log"))
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { file.Close() })
		return file
	}
	write := func(b *testing.B, log *zap.Logger) {
		record := logResult(log, "default")
		result := adapter.Result{
			MessageID: "ajs-next-1700000000000-3f1b6f5e", IdempotencyKey: "ajs-next-1700000000000-3f1b6f5e",
			EventKey: "order_completed", Outcome: adapter.Delivered, Status: 200, Attempts: 1,
			Duration: 30 * time.Millisecond, Lag: 50 * time.Millisecond,
		}
		b.ResetTimer()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				record(result)
			}
		})
	}
	b.Run("direct", func(b *testing.B) {
		encoder := newLogEncoder(config.Log{Format: "json"}, nil)
		write(b, zap.New(zapcore.NewCore(encoder, zapcore.Lock(open(b)), zap.InfoLevel)))
	})
	b.Run("buffer", func(b *testing.B) {
		buffer := newLogBuffer(open(b))
		log, err := newLogger(config.Log{Level: "info", Format: "json"}, buffer)
		if err != nil {
			b.Fatal(err)
		}
		write(b, log)
		buffer.close(time.Minute)
		b.ReportMetric(float64(buffer.Dropped())/float64(b.N), "dropped/op")
	})
}
