package store_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/store"
)

// letters stores dead letters with payloads of a size, and returns what a redrive is told of
// them.
func letters(t testing.TB, q *store.Queue, first, n, size int) []adapter.Redelivery {
	t.Helper()
	list, redeliveries := arrivals(first, n), make([]adapter.Redelivery, 0, n)
	for i := range list {
		list[i].Outcome, list[i].Reason = adapter.Rejected, "missing_event_name"
		list[i].Payload = bytes.Repeat([]byte("x"), size)
	}
	accept(t, q, list...)
	found, err := q.Store().Find(context.Background(), adapter.Filter{Outcomes: []adapter.Outcome{adapter.Rejected}},
		n)
	if err != nil || len(found) != n {
		t.Fatalf("found %d dead letters of %d, %v", len(found), n, err)
	}
	for i := range found {
		redeliveries = append(redeliveries, adapter.Redelivery{
			ID: found[i].ID, UserID: "user", AccountID: "user", EventKey: "order_completed", Event: "Order Completed",
			Keyed: true, Bytes: size,
		})
	}
	return redeliveries
}

// TestRedriveInSteps bounds the rows and the bytes of a step. A redrive that is interrupted ends
// between two of them and says how many were redriven.
func TestRedriveInSteps(t *testing.T) {
	forEachEngine(t, func(t *testing.T, opts store.Options) {
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		var steps int
		var rows int64
		s := open(t, store.WithStepped(opts, func(n int, size int64) {
			steps++
			if rows += int64(n); n > 1 && size > 4<<20 || n > 1000 {
				t.Errorf("a step of %d rows with %d bytes", n, size)
			}
			if steps == 3 {
				cancel()
			}
		}))
		q := connection(t, s, "default", "tenant")
		large := letters(t, q, 0, 8, 3<<20)
		if done, err := s.Redrive(context.Background(), large[:2]); err != nil || done.Pending != 2 || steps != 2 {
			t.Errorf("two large payloads: %+v in %d steps, %v", done, steps, err)
		}
		rows = 0
		done, err := s.Redrive(ctx, large[2:])
		if !errors.Is(err, context.Canceled) || steps != 3 || done.Pending != int(rows) {
			t.Errorf("interrupted: %+v, %d rows in %d steps, %v", done, rows, steps, err)
		}
		if got := balanced(t, s)[0]; got.Events[adapter.Pending] != 2+rows || got.Events[adapter.Rejected] != 6-rows {
			t.Errorf("got %+v", got)
		}
		// The rest of it goes on.
		if done, err = s.Redrive(context.Background(), large[2:]); err != nil || done.Pending != 6 {
			t.Errorf("once more: %+v, %v", done, err)
		}
		balanced(t, s)
	})
}

// TestRedriveBesideAServer redrives events that a server has accepted again since the operator's
// command began, and has moved to the table of messageIds meanwhile: none of them is sent twice.
func TestRedriveBesideAServer(t *testing.T) {
	opts := store.WithMessagesInMemory(sqliteOptions(t), 50)
	server := open(t, opts)
	q := connection(t, server, "default", "tenant")
	opts.Shared = true
	operator := open(t, opts)
	const part = 40
	for round := range 6 {
		list := letters(t, q, round*part, part, 100)
		accept(t, q, arrivals(round*part, part/2)...) // each a second time
		if round == 3 {
			server.Maintain(t.Context())
		}
		done, err := operator.Redrive(context.Background(), list)
		if want := (adapter.Redriven{Pending: part / 2, Duplicate: part / 2}); err != nil || done != want {
			t.Errorf("round %d: got %+v, %v, want %+v", round, done, err, want)
		}
		server.Maintain(t.Context())
	}
	balanced(t, server)
}

// TestRedriveKeepsTheLogShort redrives 90 MB beside live traffic and looks at the write-ahead
// log.
func TestRedriveKeepsTheLogShort(t *testing.T) {
	for _, beside := range []bool{false, true} {
		t.Run(fmt.Sprintf("beside %v", beside), func(t *testing.T) {
			t.Parallel()
			const size, part, limit = 90 << 10, 100, 64 << 20
			opts := sqliteOptions(t)
			filled := open(t, opts)
			var list []adapter.Redelivery
			for first := 0; first < 10*part; first += part {
				list = append(list, letters(t, connection(t, filled, "default", "tenant"), first, part, size)...)
			}
			closeStore(t, filled) // which ends its log

			var longest int64
			opts = store.WithStepped(opts, func(int, int64) { longest = max(longest, fileSize(t, opts.Path+"-wal")) })
			s := open(t, opts)
			q := connection(t, s, "default", "tenant")
			if beside {
				opts.Shared = true
				s = open(t, opts)
			}
			for i := 0; i < len(list); i += part {
				if done, err := s.Redrive(context.Background(), list[i:i+part]); err != nil || done.Pending != part {
					t.Fatalf("got %+v, %v", done, err)
				}
				accept(t, q, arrivals(10_000+i, 10)...)
			}
			t.Logf("%d MiB", longest>>20)
			if longest > limit {
				t.Errorf("the log took %d bytes, want up to %d", longest, limit)
			}
		})
	}
}
