package store_test

import (
	"bytes"
	"context"
	"reflect"
	"testing"
	"time"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/delivery/deliverytest"
	"segment-saasquatch/adapter/store"
	"segment-saasquatch/mapping"
)

func redrive(t *testing.T, s *store.Store, ids ...int64) adapter.Redriven {
	t.Helper()
	var list []adapter.Redelivery
	for _, id := range ids {
		list = append(list, adapter.Redelivery{ID: id, UserID: "user", AccountID: "account", Event: "today's name",
			EventKey: "today's key", Keyed: true})
	}
	done, err := s.Redrive(context.Background(), list)
	if err != nil {
		t.Fatal(err)
	}
	return done
}

func TestRedrive(t *testing.T) {
	forEachEngine(t, func(t *testing.T, opts store.Options) {
		c := deliverytest.NewStoppedClock()
		opts.Now = c.Now
		s := open(t, opts)
		q := connection(t, s, "default", "tenant")
		dead := func(messageID string) int64 {
			accept(t, q, event(messageID))
			leased := lease(t, q, 1)
			record(t, q, leased, adapter.Step{Outcome: adapter.Dead, Reason: mapping.ReasonRefused, Status: 400,
				Counted: true, Ambiguous: true, Began: c.Now(), At: c.Now()})
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
		if len(leased) != 1 || leased[0].ID != first || !leased[0].Redriven || leased[0].Attempts != 1 ||
			leased[0].Failed != 0 || !leased[0].AmbiguousSince.IsZero() ||
			string(leased[0].Payload) != `{"messageId":"message-1"}` {
			t.Fatalf("got %+v", leased)
		}
		record(t, q, leased, adapter.Step{Outcome: adapter.Delivered, Status: 200, Counted: true, Began: c.Now(),
			At: c.Now()})
		if got := redrive(t, s, first); got != (adapter.Redriven{}) {
			t.Errorf("a delivered event was redriven: %+v", got)
		}

		// Two dead ones of the same event: one is sent.
		one, two := dead("message-2"), dead("message-2")
		if got := redrive(t, s, one, two); got != (adapter.Redriven{Pending: 1, Duplicate: 1}) {
			t.Errorf("got %+v", got)
		}
		record(t, q, lease(t, q, 10), adapter.Step{Outcome: adapter.Delivered, At: c.Now()})
		three := dead("message-3")
		accept(t, q, event("message-3"))
		record(t, q, lease(t, q, 10), adapter.Step{Outcome: adapter.Delivered, At: c.Now()})
		if got := redrive(t, s, three); got != (adapter.Redriven{Duplicate: 1}) {
			t.Errorf("one that was delivered since: %+v", got)
		}

		// Rejected ones, and pending ones that wait.
		rejected := event("message-4")
		rejected.Outcome, rejected.Reason, rejected.UserID, rejected.EventKey = adapter.Rejected, "missing_event_name",
			"", ""
		accept(t, q, rejected, event("message-5"))
		waiting := lease(t, q, 10)
		record(t, q, waiting, adapter.Step{Outcome: adapter.Pending, Reason: mapping.ReasonTimeout, Counted: true,
			Began: c.Now(), At: c.Now(), Due: c.Now().Add(time.Hour)})
		found, err := s.Find(context.Background(), adapter.Filter{Outcomes: []adapter.Outcome{adapter.Rejected,
			adapter.Pending}}, 10)
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
		if n, err := s.Purge(context.Background(), append(ids, 1<<40), adapter.Pending, adapter.Delivered); n != 2 ||
			err != nil {
			t.Errorf("purged %d, %v", n, err)
		}
		got := balanced(t, s)[0]
		if got.Accepted != 2 || got.Events[adapter.Delivered] != 1 || got.Events[adapter.Dead] != 1 ||
			got.Removed[adapter.Dead] != 1 || got.Events[adapter.Pending] != 0 {
			t.Errorf("got %+v", got)
		}
		if got := accept(t, q, event("message-1"), event("message-2")); got != "pending, pending" {
			t.Errorf("purged events are known still: %s", got)
		}
	})
}

func TestRetention(t *testing.T) {
	forEachEngine(t, func(t *testing.T, opts store.Options) {
		c := deliverytest.NewStoppedClock()
		opts.Now = c.Now
		opts.Retention = store.Retention{Ledger: 48 * time.Hour, Dead: 96 * time.Hour, Payloads: time.Hour}
		s := open(t, opts)
		q := connection(t, s, "default", "tenant")
		ctx := context.Background()
		accept(t, q, event("message-1"), event("message-2"), event("message-3"))
		leased := lease(t, q, 3)
		record(t, q, leased[:1], adapter.Step{Outcome: adapter.Delivered, At: c.Now()})
		record(t, q, leased[1:2], adapter.Step{Outcome: adapter.Dead, Reason: mapping.ReasonRefused, Counted: true,
			Began: c.Now(), At: c.Now()})
		record(t, q, leased[2:], adapter.Step{Outcome: adapter.Pending, At: c.Now(),
			Due: c.Now().Add(1000 * time.Hour)})
		check := func(after time.Duration, deliveries, payloads int, again string) {
			t.Helper()
			c.Advance(after)
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
	c := deliverytest.NewStoppedClock()
	opts.Now = c.Now
	opts.Retention = store.Retention{Ledger: time.Hour, Dead: time.Hour}
	s := open(t, opts)
	q := connection(t, s, "default", "tenant")
	for first := 0; first < 4000; first += 500 {
		list := arrivals(first, 500)
		for i := range list {
			list[i].Payload = bytes.Repeat([]byte("x"), 12_000)
		}
		accept(t, q, list...)
	}
	before := fileSize(t, opts.Path)
	drain(t, q)
	c.Advance(100 * time.Hour)
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

// TestRedriveOutcomes redrives an event of every outcome.
func TestRedriveOutcomes(t *testing.T) {
	forEachEngine(t, func(t *testing.T, opts store.Options) {
		for outcome, want := range map[adapter.Outcome]adapter.Redriven{
			adapter.Delivered: {}, adapter.Duplicate: {}, adapter.Skipped: {}, adapter.Rejected: {Pending: 1},
			adapter.Dead: {Pending: 1}, adapter.Pending: {Pending: 1},
		} {
			c := deliverytest.NewStoppedClock()
			opts.Now = c.Now
			opts.Retention.Payloads = time.Hour // so that no payload is missing
			s := open(t, opts)
			q := connection(t, s, outcome.String(), outcome.String())
			accept(t, q, event("message-1"))
			leased := lease(t, q, 1)
			record(t, q, leased, adapter.Step{Outcome: outcome, Reason: mapping.ReasonTimeout, At: c.Now(),
				Due: c.Now().Add(time.Hour)})
			c.Advance(time.Minute)
			if got := redrive(t, s, leased[0].ID); got != want {
				t.Errorf("%s: got %+v, want %+v", outcome, got, want)
			}
			if got := len(lease(t, q, 10)); got != want.Pending {
				t.Errorf("%s: %d events are due, want %d", outcome, got, want.Pending)
			}
			d, err := s.Get(context.Background(), leased[0].ID)
			if err != nil || want.Pending == 0 && (d.Outcome != outcome || d.EventKey != "key") || want.Pending == 1 &&
				d.Outcome != adapter.Pending {
				t.Errorf("%s: got %+v, %v", outcome, d, err)
			}
			balanced(t, s)
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// TestRedrivenDuplicate has an event be a duplicate of one that then dies, or is
// deleted: it comes again and is accepted, for it was never delivered.
func TestRedrivenDuplicate(t *testing.T) {
	forEachEngine(t, func(t *testing.T, opts store.Options) {
		c := deliverytest.NewStoppedClock()
		opts.Now = c.Now
		s := open(t, opts)
		q := connection(t, s, "default", "tenant")
		settle := func(outcome adapter.Outcome) int64 {
			t.Helper()
			leased := lease(t, q, 1)
			record(t, q, leased, adapter.Step{Outcome: outcome, Reason: mapping.ReasonRefused, At: c.Now()})
			return leased[0].ID
		}
		accept(t, q, event("message-1"))
		one := settle(adapter.Dead)
		accept(t, q, event("message-1"))
		two := settle(adapter.Dead)
		if got := redrive(t, s, one, two); got != (adapter.Redriven{Pending: 1, Duplicate: 1}) {
			t.Fatalf("got %+v", got)
		}
		settle(adapter.Dead)
		if got := redrive(t, s, one); got != (adapter.Redriven{Pending: 1}) {
			t.Errorf("once more: got %+v", got)
		}
		settle(adapter.Dead)
		if got := accept(t, q, event("message-1")); got != "pending" {
			t.Errorf("an event that was never delivered comes again: %s", got)
		}
		delivered := settle(adapter.Delivered)
		if got := redrive(t, s, one); got != (adapter.Redriven{Duplicate: 1}) {
			t.Errorf("after it was delivered: got %+v", got)
		}
		if n, err := s.Purge(context.Background(), []int64{delivered}); n != 1 || err != nil {
			t.Fatal(n, err)
		}
		if got := accept(t, q, event("message-1")); got != "pending" {
			t.Errorf("an operator forgot the delivery: %s", got)
		}
		balanced(t, s)
	})
}

// TestRedriveKeepsIdentity gives a rejected event the identity that today's mapping
// finds, and leaves a dead one its own: what stands in its payload may be another.
func TestRedriveKeepsIdentity(t *testing.T) {
	forEachEngine(t, func(t *testing.T, opts store.Options) {
		s := open(t, opts)
		q := connection(t, s, "default", "tenant")
		rejected := unkeyed("message-1", 0)
		rejected.Outcome, rejected.Reason, rejected.UserID, rejected.AccountID = adapter.Rejected,
			"missing_event_name", "", ""
		accept(t, q, rejected, event("message-1"))
		leased := lease(t, q, 1)
		record(t, q, leased, adapter.Step{Outcome: adapter.Delivered, At: leased[0].ReceivedAt})
		as := adapter.Redelivery{ID: leased[0].ID - 1, UserID: "user", AccountID: "account", EventKey: "key",
			Identity: 7}
		done, err := s.Redrive(context.Background(), []adapter.Redelivery{as})
		if err != nil || done != (adapter.Redriven{Pending: 1}) {
			t.Fatalf("an event of its own: %+v, %v", done, err)
		}
		if got := accept(t, q, unkeyed("message-1", 7), unkeyed("message-1",
			8)); got != "duplicate already_accepted, pending" {
			t.Errorf("got %s", got)
		}
		leased = lease(t, q, 1)
		record(t, q, leased, adapter.Step{Outcome: adapter.Dead, Reason: mapping.ReasonRefused,
			At: leased[0].ReceivedAt})
		as.Keyed, as.Identity = true, 0
		if done, err = s.Redrive(context.Background(), []adapter.Redelivery{as}); err != nil ||
			done != (adapter.Redriven{Pending: 1}) {
			t.Errorf("one that looks like the event that was delivered: %+v, %v", done, err)
		}
		if got := accept(t, q, unkeyed("message-1", 7)); got != "duplicate already_accepted" {
			t.Errorf("got %s", got)
		}
		balanced(t, s)
	})
}

// TestManyAtOnce redrives and purges more than one step changes.
func TestManyAtOnce(t *testing.T) {
	forEachEngine(t, func(t *testing.T, opts store.Options) {
		const events = 601
		s := open(t, opts)
		q := connection(t, s, "default", "tenant")
		list := arrivals(0, events)
		for i := range list {
			list[i].Outcome, list[i].Reason = adapter.Rejected, "missing_type"
		}
		accept(t, q, list...)
		found, err := s.Find(context.Background(), adapter.Filter{}, 2*events)
		if err != nil {
			t.Fatal(err)
		}
		var ids []int64
		for i := range found {
			ids = append(ids, found[i].ID)
		}
		if got := redrive(t, s, ids...); got != (adapter.Redriven{Pending: events}) {
			t.Errorf("redriven %+v", got)
		}
		if got := balanced(t, s)[0]; got.Events[adapter.Pending] != events || got.Events[adapter.Rejected] != 0 {
			t.Errorf("got %+v", got)
		}
		if n, err := s.Purge(context.Background(), ids); n != events || err != nil {
			t.Errorf("purged %d, %v", n, err)
		}
		if got := balanced(t, s)[0]; got.Accepted != events || got.Removed[adapter.Dead] != events ||
			got.Events[adapter.Dead] != events {
			t.Errorf("got %+v", got)
		}
		if backlog, err := s.Backlog(context.Background()); err != nil || !reflect.DeepEqual(backlog[0],
			adapter.Backlog{Connection: "default"}) {
			t.Errorf("got %+v, %v", backlog, err)
		}
	})
}

// TestRetentionForEver keeps everything, however much time passes, and drops
// payloads that were kept under another setting.
func TestRetentionForEver(t *testing.T) {
	forEachEngine(t, func(t *testing.T, opts store.Options) {
		c := deliverytest.NewStoppedClock()
		opts.Now = c.Now
		opts.Retention.Payloads = 1000 * time.Hour
		s := open(t, opts)
		q := connection(t, s, "default", "tenant")
		accept(t, q, event("message-1"), event("message-2"))
		leased := lease(t, q, 2)
		record(t, q, leased[:1], adapter.Step{Outcome: adapter.Delivered, At: c.Now()})
		record(t, q, leased[1:], adapter.Step{Outcome: adapter.Dead, Reason: mapping.ReasonRefused, At: c.Now()})
		check := func(payloads int) {
			t.Helper()
			if err := s.Retain(context.Background()); err != nil {
				t.Fatal(err)
			}
			kept, err := s.Payloads(context.Background(), []int64{leased[0].ID, leased[1].ID})
			if err != nil || len(kept) != payloads {
				t.Errorf("%d payloads are left, want %d, %v", len(kept), payloads, err)
			}
			if got := balanced(t, s)[0]; got.Rows[adapter.Delivered] != 1 || got.Rows[adapter.Dead] != 1 {
				t.Errorf("got %+v", got)
			}
		}
		check(2)
		c.Advance(999 * time.Hour)
		check(2)
		c.Advance(time.Hour)
		check(1)
		c.Advance(100_000 * time.Hour)
		check(1)
		if got := accept(t, q, event("message-1")); got != "duplicate already_delivered" {
			t.Errorf("got %s", got)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		opts.Retention.Payloads = 0
		s = open(t, opts)
		check(1) // that of the duplicate has gone as well
		found, err := s.Find(context.Background(), adapter.Filter{}, 10)
		if err != nil || len(found) != 3 {
			t.Fatal(found, err)
		}
		if kept, err := s.Payloads(context.Background(), []int64{found[0].ID}); err != nil || len(kept) != 0 {
			t.Errorf("kept %v, %v", kept, err)
		}
	})
}

// TestRetentionInSteps deletes more than one step does, and goes on where it was
// stopped.
func TestRetentionInSteps(t *testing.T) {
	forEachEngine(t, func(t *testing.T, opts store.Options) {
		const events = 1203
		c := deliverytest.NewStoppedClock()
		opts.Now = c.Now
		opts.Retention = store.Retention{Ledger: time.Hour, Dead: 100 * time.Hour, Payloads: time.Minute}
		s := open(t, opts)
		q := connection(t, s, "default", "tenant")
		list := arrivals(0, events)
		for i := range list {
			list[i].Outcome, list[i].Reason = adapter.Skipped, "unsupported_type"
			if i%100 == 0 {
				list[i].Outcome = adapter.Rejected
			}
		}
		accept(t, q, list...)
		c.Advance(2 * time.Hour)
		ended, cancel := context.WithCancel(context.Background())
		cancel()
		if err := s.Retain(ended); err == nil {
			t.Error("worked on after it was stopped")
		}
		balanced(t, s)
		if err := s.Retain(context.Background()); err != nil {
			t.Fatal(err)
		}
		got := balanced(t, s)[0]
		if got.Rows[adapter.Skipped] != 0 || got.Rows[adapter.Rejected] != 13 ||
			got.Removed[adapter.Skipped] != events-13 || got.Events[adapter.Skipped] != events-13 ||
			got.Accepted != events {
			t.Errorf("got %+v", got)
		}
	})
}
