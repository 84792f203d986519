package store_test

import (
	"context"
	"testing"
	"time"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/store"
)

func redrive(t *testing.T, s *store.Store, ids ...int64) adapter.Redriven {
	t.Helper()
	var list []adapter.Redelivery
	for _, id := range ids {
		list = append(list, adapter.Redelivery{ID: id, UserID: "user", AccountID: "account", EventKey: "today's key", Keyed: true})
	}
	done, err := s.Redrive(context.Background(), list)
	if err != nil {
		t.Fatal(err)
	}
	return done
}

func TestRedrive(t *testing.T) {
	forEachEngine(t, func(t *testing.T, opts store.Options) {
		c := newClock()
		opts.Now = c.now
		s := open(t, opts)
		q := connection(t, s, "default", "tenant")
		dead := func(messageID string) int64 {
			accept(t, q, event(messageID))
			leased := lease(t, q, 1)
			record(t, q, leased, adapter.Step{Outcome: adapter.Dead, Reason: adapter.ReasonRefused, Status: 400, Counted: true, Ambiguous: true, Began: c.now(), At: c.now()})
			return leased[0].ID
		}
		first := dead("message-1")
		if got := redrive(t, s, first, 1<<40); got != (adapter.Redriven{Pending: 1}) {
			t.Errorf("got %+v", got)
		}
		select {
		case <-q.Wake():
		default:
			t.Error("the queue was not woken")
		}
		leased := lease(t, q, 10)
		if len(leased) != 1 || leased[0].ID != first || !leased[0].Redriven || leased[0].Attempts != 1 || leased[0].Failed != 0 || !leased[0].AmbiguousSince.IsZero() ||
			string(leased[0].Payload) != `{"messageId":"message-1"}` {
			t.Fatalf("got %+v", leased)
		}
		record(t, q, leased, adapter.Step{Outcome: adapter.Delivered, Status: 200, Counted: true, Began: c.now(), At: c.now()})
		if got := redrive(t, s, first); got != (adapter.Redriven{}) {
			t.Errorf("a delivered event was redriven: %+v", got)
		}

		// Two dead ones of the same event: one is sent.
		one, two := dead("message-2"), dead("message-2")
		if got := redrive(t, s, one, two); got != (adapter.Redriven{Pending: 1, Duplicate: 1}) {
			t.Errorf("got %+v", got)
		}
		record(t, q, lease(t, q, 10), adapter.Step{Outcome: adapter.Delivered, At: c.now()})
		three := dead("message-3")
		accept(t, q, event("message-3"))
		record(t, q, lease(t, q, 10), adapter.Step{Outcome: adapter.Delivered, At: c.now()})
		if got := redrive(t, s, three); got != (adapter.Redriven{Duplicate: 1}) {
			t.Errorf("one that was delivered since: %+v", got)
		}

		// Rejected ones, and pending ones that wait.
		rejected := event("message-4")
		rejected.Outcome, rejected.Reason, rejected.UserID, rejected.EventKey = adapter.Rejected, "missing_event_name", "", ""
		accept(t, q, rejected, event("message-5"))
		waiting := lease(t, q, 10)
		record(t, q, waiting, adapter.Step{Outcome: adapter.Pending, Reason: adapter.ReasonTimeout, Counted: true, Began: c.now(), At: c.now(), Due: c.now().Add(time.Hour)})
		found, err := s.Find(context.Background(), adapter.Filter{Outcomes: []adapter.Outcome{adapter.Rejected, adapter.Pending}}, 10)
		if err != nil || len(found) != 2 {
			t.Fatalf("got %v, %v", found, err)
		}
		if got := redrive(t, s, found[0].ID, found[1].ID); got != (adapter.Redriven{Pending: 2}) {
			t.Errorf("got %+v", got)
		}
		leased = lease(t, q, 10)
		if len(leased) != 2 || leased[0].UserID != "user" {
			t.Errorf("got %+v", leased)
		}
		balanced(t, s)
	})
}

func TestPurge(t *testing.T) {
	forEachEngine(t, func(t *testing.T, opts store.Options) {
		s := open(t, opts)
		q := connection(t, s, "default", "tenant")
		accept(t, q, event("message-1"), event("message-2"))
		leased := lease(t, q, 1)
		record(t, q, leased, adapter.Step{Outcome: adapter.Delivered, At: leased[0].ReceivedAt})
		found, err := s.Find(context.Background(), adapter.Filter{}, 10)
		if err != nil {
			t.Fatal(err)
		}
		var ids []int64
		for i := range found {
			ids = append(ids, found[i].ID)
		}
		if n, err := s.Purge(context.Background(), ids, adapter.Dead, adapter.Skipped); n != 0 || err != nil {
			t.Errorf("purged %d of another outcome, %v", n, err)
		}
		if n, err := s.Purge(context.Background(), append(ids, 1<<40), adapter.Pending, adapter.Delivered); n != 2 || err != nil {
			t.Errorf("purged %d, %v", n, err)
		}
		got := balanced(t, s)[0]
		if got.Accepted != 2 || got.Events[adapter.Delivered] != 1 || got.Events[adapter.Dead] != 1 || got.Removed[adapter.Dead] != 1 || got.Events[adapter.Pending] != 0 {
			t.Errorf("got %+v", got)
		}
		if got := accept(t, q, event("message-1"), event("message-2")); got != "pending, pending" {
			t.Errorf("purged events are known still: %s", got)
		}
	})
}

func TestRetention(t *testing.T) {
	forEachEngine(t, func(t *testing.T, opts store.Options) {
		c := newClock()
		opts.Now = c.now
		opts.Retention = store.Retention{Ledger: 48 * time.Hour, Dead: 96 * time.Hour, Payloads: time.Hour}
		s := open(t, opts)
		q := connection(t, s, "default", "tenant")
		ctx := context.Background()
		accept(t, q, event("message-1"), event("message-2"), event("message-3"))
		leased := lease(t, q, 3)
		record(t, q, leased[:1], adapter.Step{Outcome: adapter.Delivered, At: c.now()})
		record(t, q, leased[1:2], adapter.Step{Outcome: adapter.Dead, Reason: adapter.ReasonRefused, Counted: true, Began: c.now(), At: c.now()})
		record(t, q, leased[2:], adapter.Step{Outcome: adapter.Pending, At: c.now(), Due: c.now().Add(1000 * time.Hour)})
		check := func(after time.Duration, deliveries, payloads int, again string) {
			t.Helper()
			c.advance(after)
			if err := s.Retain(ctx); err != nil {
				t.Fatal(err)
			}
			found, err := s.Find(ctx, adapter.Filter{}, 100)
			if err != nil || len(found) != deliveries {
				t.Errorf("%d deliveries are left, want %d, %v", len(found), deliveries, err)
			}
			kept, err := s.Payloads(ctx, []int64{leased[0].ID, leased[1].ID, leased[2].ID})
			if err != nil || len(kept) != payloads {
				t.Errorf("%d payloads are left, want %d, %v", len(kept), payloads, err)
			}
			if got := accept(t, q, event("message-1")); got != again {
				t.Errorf("message-1 comes again: %s, want %s", got, again)
			}
		}
		check(0, 3, 3, "duplicate already_delivered")
		check(2*time.Hour, 4, 2, "duplicate already_delivered")
		check(47*time.Hour, 3, 2, "pending")                    // the delivered one and the first duplicate have gone
		check(48*time.Hour, 2, 1, "duplicate already_accepted") // and the dead one
		balanced(t, s)
	})
}

// TestSpaceIsGivenBack deletes most of a database and looks at its file.
func TestSpaceIsGivenBack(t *testing.T) {
	opts := sqliteOptions(t)
	c := newClock()
	opts.Now = c.now
	opts.Retention = store.Retention{Ledger: time.Hour, Dead: time.Hour}
	s := open(t, opts)
	q := connection(t, s, "default", "tenant")
	fill(t, q, 40_000)
	before := fileSize(t, opts.Path)
	drain(t, q)
	c.advance(100 * time.Hour)
	if err := s.Retain(context.Background()); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil { // which brings the last of the log to the file
		t.Fatal(err)
	}
	after := fileSize(t, opts.Path)
	t.Logf("%d MiB before, %d MiB after", before>>20, after>>20)
	if after > 16<<20 || before < 40<<20 {
		t.Errorf("%d bytes before, %d after", before, after)
	}
}
