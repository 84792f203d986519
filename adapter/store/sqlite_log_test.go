package store_test

import (
	"context"
	"database/sql"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/delivery/deliverytest"
	"segment-saasquatch/adapter/store"
)

// logSize is the size of the write-ahead log.
func logSize(t testing.TB, opts store.Options) int64 {
	t.Helper()
	info, err := os.Stat(opts.Path + "-wal")
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

// watchLog looks at the log until the function that it returns is called, which returns the
// largest size.
func watchLog(t testing.TB, opts store.Options) (largest func() int64) {
	t.Helper()
	var most atomic.Int64
	done := make(chan struct{})
	var watching sync.WaitGroup
	watching.Go(func() {
		for {
			if info, err := os.Stat(opts.Path + "-wal"); err == nil {
				most.Store(max(most.Load(), info.Size()))
			}
			select {
			case <-done:
				return
			case <-time.After(time.Millisecond):
			}
		}
	})
	return func() int64 {
		close(done)
		watching.Wait()
		return most.Load()
	}
}

// TestLogStaysShort has events come, be delivered, sent again, and deleted, and looks at the
// size of the write-ahead log.
func TestLogStaysShort(t *testing.T) {
	const maxLog, transaction, events, step = 512 << 10, 1 << 20, 1200, 100
	c := deliverytest.NewStoppedClock()
	opts := sqliteOptions(t)
	opts.Now = c.Now
	opts.Retention.Ledger = 24 * time.Hour
	opts = store.WithMaxLog(store.WithMessagesInMemory(opts, 1000), maxLog)
	s := open(t, opts)
	q := connection(t, s, "default", "tenant")
	ctx := context.Background()
	var dead []int64
	for _, phase := range []struct {
		name string
		run  func()
	}{
		{"accept", func() {
			for first := 0; first < events; first += step {
				accept(t, q, arrivals(first, step)...)
			}
		}},
		{"deliver", func() {
			for {
				leased := lease(t, q, step)
				if len(leased) == 0 {
					return
				}
				var workers sync.WaitGroup
				for i := range leased {
					outcome := adapter.Delivered
					if leased[i].ID%4 == 0 {
						outcome = adapter.Dead
						dead = append(dead, leased[i].ID)
					}
					workers.Go(func() {
						if err := q.Record(ctx, &leased[i], adapter.Step{Outcome: outcome, At: c.Now()}); err != nil {
							t.Error(err)
						}
					})
				}
				workers.Wait()
			}
		}},
		{"redrive", func() { redrive(t, s, dead...) }},
		{"purge", func() {
			if _, err := s.Purge(ctx, dead, adapter.Pending); err != nil {
				t.Fatal(err)
			}
		}},
		{"retain", func() {
			c.Advance(48 * time.Hour)
			if err := s.Retain(ctx); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		largest := watchLog(t, opts)
		phase.run()
		if got := largest(); got < maxLog/4 || got > maxLog+transaction {
			t.Errorf("%s: the log has %d bytes", phase.name, got)
		}
	}
	balanced(t, s)
}

// TestReaderThatHoldsTheLog has another process keep a transaction open while events come.
func TestReaderThatHoldsTheLog(t *testing.T) {
	if path := os.Getenv("TEST_HOLD_LOG"); path != "" {
		holdLog(t, path)
		return
	}
	const maxLog = 1 << 20
	told := make(chan store.HeldLog, 100)
	opts := store.WithHeldLogAfter(store.WithMaxLog(sqliteOptions(t), maxLog), 100*time.Millisecond)
	opts.OnHeldLog = func(log store.HeldLog) { told <- log }
	opts.Retention.Ledger = time.Hour
	c := deliverytest.NewStoppedClock()
	opts.Now = c.Now
	s := open(t, opts)
	q := connection(t, s, "default", "tenant")
	accept(t, q, event("message-1"))
	record(t, q, lease(t, q, 1), adapter.Step{Outcome: adapter.Delivered, At: c.Now()})
	c.Advance(48 * time.Hour)

	reader := exec.Command(os.Args[0], "-test.run=^TestReaderThatHoldsTheLog$", "-test.v")
	reader.Env = append(os.Environ(), "TEST_HOLD_LOG="+opts.Path)
	input, err := reader.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	output, err := reader.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := reader.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = reader.Process.Kill(); _ = reader.Wait() })
	for line, b := "", make([]byte, 1); !strings.Contains(line, "holding"); line += string(b) {
		if _, err := output.Read(b); err != nil {
			t.Fatalf("the reader ended: %v: %s", err, line)
		}
	}
	next := 0
	grow := func() {
		accept(t, q, arrivals(next, 100)...)
		next += 100
	}
	for logSize(t, opts) < 2*maxLog {
		grow()
	}
	wait := func(what string, is func(store.HeldLog) bool) {
		t.Helper()
		deadline := time.After(20 * time.Second)
		for {
			select {
			case log := <-told:
				if is(log) {
					return
				}
			case <-deadline:
				t.Fatal("the store does not tell of " + what)
			}
		}
	}
	wait("the reader", func(log store.HeldLog) bool {
		named := slices.ContainsFunc(log.Readers, func(name string) bool {
			return strings.HasPrefix(name, fmt.Sprintf("process %d (", reader.Process.Pid))
		})
		if log.For < 100*time.Millisecond || log.Bytes < 2*maxLog || !named && runtime.GOOS == "linux" {
			t.Errorf("got %+v, want process %d", log, reader.Process.Pid)
		}
		return true
	})
	if bytes, held, known := s.LogSize(); !known || held <= 0 || bytes < 2*maxLog {
		t.Errorf("got %d bytes, held for %v, %v", bytes, held, known)
	}
	if err := s.Retain(context.Background()); err != nil {
		t.Error(err)
	}
	found, err := s.Find(context.Background(), adapter.Filter{MessageID: "message-1"}, 1)
	if err != nil || len(found) != 1 {
		t.Errorf("retention adds to a log that is too long: %v, %v", found, err)
	}
	if err := input.Close(); err != nil {
		t.Fatal(err)
	}
	wait("its end", func(log store.HeldLog) bool { return log.For == 0 })
	grow()
	if size := logSize(t, opts); size > maxLog {
		t.Errorf("the log keeps %d bytes", size)
	}
	if _, held, _ := s.LogSize(); held != 0 {
		t.Errorf("held for %v", held)
	}
}

// holdLog is the other process. It reads until its input ends.
func holdLog(t *testing.T, path string) {
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	tx, err := db.Begin()
	if err != nil {
		t.Fatal(err)
	}
	var n int
	if err := tx.QueryRow(`SELECT count(*) FROM queue`).Scan(&n); err != nil {
		t.Fatal(err)
	}
	fmt.Println("holding")
	_, _ = io.Copy(io.Discard, os.Stdin)
	_ = tx.Rollback()
}
