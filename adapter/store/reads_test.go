package store_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/store"
)

// TestLongReadsLeaveRoom has people read the whole store while events come and go.
func TestLongReadsLeaveRoom(t *testing.T) {
	forEachEngine(t, func(t *testing.T, opts store.Options) {
		const together = 2
		entered, leave := make(chan struct{}, 2*together), make(chan struct{})
		opts = store.WithScanning(opts, func() {
			entered <- struct{}{}
			<-leave
		})
		s := open(t, opts)
		q := connection(t, s, "default", "tenant")
		accept(t, q, event("message-1"), event("message-2"))
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		var readers sync.WaitGroup
		for range together {
			readers.Go(func() {
				if _, err := s.Verify(ctx); err != nil {
					t.Error(err)
				}
			})
			<-entered
		}
		for name, read := range map[string]func() error{
			"verify": func() error { _, err := s.Verify(ctx); return err },
			"stats":  func() error { _, err := s.Summarize(ctx, adapter.Filter{Reason: "refused"}); return err },
			"list":   func() error { _, err := s.Find(ctx, adapter.Filter{EventKey: "key"}, 10); return err },
			"export": func() error { _, err := s.Find(ctx, adapter.Filter{Before: 10}, 10); return err },
		} {
			if busy, ok := errors.AsType[*adapter.BusyError](read()); !ok || busy.RetryAfter <= 0 {
				t.Errorf("a third %s is not refused: %v", name, busy)
			}
		}
		// Many times as many as there are connections for each.
		for range 20 {
			accept(t, q, unkeyed("", 1))
			record(t, q, lease(t, q, 1), adapter.Step{Outcome: adapter.Delivered, At: time.Now()})
			for name, read := range map[string]func() error{
				"totals":  func() error { _, err := s.Totals(ctx); return err },
				"backlog": func() error { _, err := s.Backlog(ctx); return err },
				"stats":   func() error { _, err := s.Summarize(ctx, adapter.Filter{}); return err },
				"newest":  func() error { _, err := s.Find(ctx, adapter.Filter{}, 10); return err },
				"one": func() error {
					_, err := s.Find(ctx, adapter.Filter{MessageID: "message-1"},
						10)
					return err
				},
				"show": func() error { _, err := s.Get(ctx, 1); return err },
			} {
				if err := read(); err != nil && !errors.Is(err, adapter.ErrNoDelivery) {
					t.Errorf("%s: %v", name, err)
				}
			}
		}
		s.Examine(ctx)
		if err := s.Ready(); err != nil {
			t.Error(err)
		}
		close(leave)
		readers.Wait()
		balanced(t, s)
	})
}

// TestNewNamesBesideReaders reads deliveries whose names another process has added, by more
// readers than there are connections.
func TestNewNamesBesideReaders(t *testing.T) {
	forEachEngine(t, func(t *testing.T, opts store.Options) {
		s := open(t, opts)
		opts.Shared = true
		for round := range 5 {
			other := open(t, opts)
			q := connection(t, other, fmt.Sprint("connection-", round), fmt.Sprint("tenant-", round))
			accept(t, q, event(fmt.Sprint("message-", round)))
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer cancel()
			var readers sync.WaitGroup
			for range 40 {
				readers.Go(func() {
					if found, err := s.Find(ctx, adapter.Filter{}, 1); err != nil || len(found) != 1 {
						t.Errorf("found %v, %v", found, err)
					}
				})
				readers.Go(func() {
					if _, err := s.Backlog(ctx); err != nil {
						t.Error(err)
					}
				})
			}
			readers.Wait()
			closeStore(t, other)
		}
	})
}
