package store_test

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/delivery/deliverytest"
	"segment-saasquatch/adapter/store"
	"segment-saasquatch/mapping"
)

func TestLease(t *testing.T) {
	forEachEngine(t, func(t *testing.T, opts store.Options) {
		c := deliverytest.NewStoppedClock()
		opts.Now = c.Now
		s := open(t, opts)
		q, other := connection(t, s, "default", "tenant"), connection(t, s, "other", "tenant")
		if got := lease(t, q, 10); len(got) != 0 {
			t.Errorf("an empty queue leases %v", got)
		}
		for i := range 5 {
			accept(t, q, event(fmt.Sprintf("message-%d", i)))
			c.Advance(time.Second)
		}
		accept(t, other, event("message-other"))
		first := lease(t, q, 2)
		if len(first) != 2 || first[0].MessageID != "message-0" || first[1].MessageID != "message-1" {
			t.Fatalf("got %+v", first)
		}
		l := &first[0]
		if l.UserID != "user" || l.AccountID != "account" || string(l.Payload) != `{"messageId":"message-0"}` ||
			!l.ReceivedAt.Equal(deliverytest.NewStoppedClock().Now()) ||
			l.Attempts != 0 || l.Failed != 0 || l.Redriven || !l.FirstAttempt.IsZero() || !l.AmbiguousSince.IsZero() ||
			l.Interrupted {
			t.Errorf("got %+v", l)
		}
		// Bytes bound a lease, but never to nothing.
		small, err := q.Lease(context.Background(), 10, 1)
		if err != nil || len(small) != 1 || small[0].MessageID != "message-2" {
			t.Errorf("got %v, %v", small, err)
		}
		rest := lease(t, q, 10)
		if len(rest) != 2 || len(lease(t, q, 10)) != 0 {
			t.Errorf("got %v", rest)
		}

		// Put back, with an attempt that may have been processed.
		began := c.Now()
		due := began.Add(time.Minute)
		record(t, q, first[:1], adapter.Step{Outcome: adapter.Pending, Reason: mapping.ReasonServerError,
			Detail: "HTTP 503", Status: 503, Counted: true, Ambiguous: true,
			Began: began, At: began.Add(time.Second), Due: due})
		if got := lease(t, q, 10); len(got) != 0 {
			t.Errorf("leased before its time: %v", got)
		}
		c.Advance(65 * time.Second)
		again := lease(t, q, 10)
		if len(again) != 1 || again[0].Attempts != 1 || again[0].Failed != 1 || !again[0].FirstAttempt.Equal(began) ||
			!again[0].AmbiguousSince.Equal(began) {
			t.Fatalf("got %+v", again)
		}
		// Put back without an attempt: nothing is forgotten.
		record(t, q, again, adapter.Step{Outcome: adapter.Pending, At: c.Now(), Due: c.Now()})
		delivery, err := s.Get(context.Background(), again[0].ID)
		if err != nil || delivery.Reason != mapping.ReasonServerError || delivery.Status != 503 ||
			delivery.Attempts != 1 || len(delivery.History) != 1 ||
			delivery.History[0].Reason != mapping.ReasonServerError || delivery.History[0].Duration != time.Second {
			t.Errorf("got %+v, %v", delivery, err)
		}
		again = lease(t, q, 10)
		if err := q.MarkSending(context.Background(), &again[0]); err != nil {
			t.Fatal(err)
		}
		if err := q.Release(context.Background(), []*adapter.Leased{&again[0], &rest[0]}); err != nil {
			t.Fatal(err)
		}
		again = lease(t, q, 10)
		slices.SortFunc(again, func(a, b adapter.Leased) int { return cmp.Compare(a.ID, b.ID) })
		if len(again) != 2 || !again[0].Interrupted || again[1].Interrupted {
			t.Errorf("got %+v", again)
		}
		// Put back without an attempt, twice: it is still unknown what became of the marked attempt.
		for range 2 {
			record(t, q, again[:1], adapter.Step{Outcome: adapter.Pending, At: c.Now(), Due: c.Now()})
			if again[0] = lease(t, q, 10)[0]; !again[0].Interrupted {
				t.Error("the mark is lost")
			}
		}
		record(t, q, again, adapter.Step{Outcome: adapter.Delivered, Status: 200, Counted: true, Began: c.Now(),
			At: c.Now().Add(time.Second)})
		if err := q.Record(context.Background(), &again[0], adapter.Step{Outcome: adapter.Delivered,
			At: c.Now()}); !errors.Is(err, adapter.ErrLeaseLost) {
			t.Errorf("recorded twice: %v", err)
		}
		if n, err := s.Purge(context.Background(), []int64{small[0].ID}); n != 1 || err != nil {
			t.Errorf("purged %d, %v", n, err)
		}
		if err := q.Record(context.Background(), &small[0], adapter.Step{Outcome: adapter.Delivered,
			At: c.Now()}); !errors.Is(err, adapter.ErrLeaseLost) {
			t.Errorf("recorded after a purge: %v", err)
		}
		balanced(t, s)
	})
}

// TestReopen ends a process in the middle of its work.
func TestReopen(t *testing.T) {
	forEachEngine(t, func(t *testing.T, opts store.Options) {
		c := deliverytest.NewStoppedClock()
		opts.Now = c.Now
		s := open(t, opts)
		q := connection(t, s, "default", "tenant")
		accept(t, q, event("message-1"), event("message-2"), event("message-3"))
		leased := lease(t, q, 2)
		record(t, q, leased[:1], adapter.Step{Outcome: adapter.Delivered, At: c.Now()})
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if err := q.Accept(context.Background(), []adapter.Arrival{event("message-4")}); err == nil {
			t.Error("accepted after Close")
		}
		c.Advance(time.Hour) // the leases of PostgreSQL end
		s = open(t, opts)
		q = connection(t, s, "default", "tenant")
		left := lease(t, q, 10)
		if len(left) != 2 || left[0].MessageID == "message-1" || left[1].MessageID == "message-1" {
			t.Errorf("got %+v", left)
		}
		if got := accept(t, q, event("message-1"),
			event("message-2")); got != "duplicate already_delivered, duplicate already_accepted" {
			t.Errorf("got %s", got)
		}
		balanced(t, s)
	})
}

// TestNothingIsLeasedTwice has many workers lease and record at once, while more
// comes in.
func TestNothingIsLeasedTwice(t *testing.T) {
	forEachEngine(t, func(t *testing.T, opts store.Options) {
		stores := []*store.Store{open(t, opts)}
		if opts.Path == "" {
			stores = append(stores, open(t, opts), open(t, opts))
		}
		events := deliverytest.Explore(1500) // a multiple of 60
		var mu sync.Mutex
		times := make(map[string]int)
		done := make(chan struct{})
		var wait, producers sync.WaitGroup
		for p := range 3 {
			q := connection(t, stores[p%len(stores)], "default", "tenant")
			producers.Go(func() {
				for i := p * events / 3; i < (p+1)*events/3; i += 20 {
					if err := q.Accept(context.Background(), arrivals(i, 20)); err != nil {
						t.Error(err)
					}
				}
			})
		}
		for w := range 6 {
			q := connection(t, stores[w%len(stores)], "default", "tenant")
			wait.Go(func() {
				for {
					leased, err := q.Lease(context.Background(), 50, 1<<30)
					if err != nil {
						t.Error(err)
						return
					}
					for i := range leased {
						step := adapter.Step{Outcome: adapter.Delivered, Counted: true, Began: leased[i].ReceivedAt,
							At: leased[i].ReceivedAt}
						if leased[i].Attempts == 0 && leased[i].ID%5 == 0 {
							step = adapter.Step{Outcome: adapter.Pending, Counted: true, Reason: mapping.ReasonTimeout,
								Began: leased[i].ReceivedAt, At: leased[i].ReceivedAt, Due: leased[i].ReceivedAt}
						}
						if err := q.Record(context.Background(), &leased[i], step); err != nil {
							t.Error(err)
						}
						if step.Outcome == adapter.Delivered {
							mu.Lock()
							times[leased[i].MessageID]++
							mu.Unlock()
						}
					}
					if len(leased) == 0 {
						select {
						case <-done:
							return
						case <-q.Wake():
						case <-time.After(time.Millisecond): // the workers share a real database
						}
					}
				}
			})
		}
		producers.Wait()
		close(done)
		wait.Wait()
		for _, q := range []*store.Queue{connection(t, stores[0], "default", "tenant")} {
			for _, l := range lease(t, q, events) { // what came back last
				record(t, q, []adapter.Leased{l}, adapter.Step{Outcome: adapter.Delivered, At: l.ReceivedAt})
				times[l.MessageID]++
			}
		}
		if len(times) != events {
			t.Errorf("%d events were delivered, want %d", len(times), events)
		}
		for id, n := range times {
			if n != 1 {
				t.Errorf("%s was delivered %d times", id, n)
			}
		}
		if got := balanced(t, stores[0])[0]; got.Events[adapter.Delivered] != int64(events) ||
			got.Events[adapter.Pending] != 0 {
			t.Errorf("got %+v", got)
		}
	})
}

// TestDeadProcess has one process take events and never come back.
func TestDeadProcess(t *testing.T) {
	opts := postgresOptions(t)
	c := deliverytest.NewStoppedClock()
	opts.Now = c.Now
	dead, alive := open(t, opts), open(t, opts)
	q, left := connection(t, dead, "default", "tenant"), connection(t, alive, "default", "tenant")
	accept(t, q, event("message-1"), event("message-2"))
	leased := lease(t, q, 10)
	if len(leased) != 2 || !leased[0].Until.After(c.Now()) {
		t.Fatalf("got %+v", leased)
	}
	if got := lease(t, left, 10); len(got) != 0 {
		t.Errorf("leased twice: %+v", got)
	}
	c.Advance(leased[0].Until.Sub(c.Now()))
	taken := lease(t, left, 10)
	if len(taken) != 2 || taken[0].Token == leased[0].Token {
		t.Fatalf("got %+v", taken)
	}
	if err := q.MarkSending(context.Background(), &leased[0]); !errors.Is(err, adapter.ErrLeaseLost) {
		t.Errorf("the dead process marks: %v", err)
	}
	if err := left.MarkSending(context.Background(), &taken[1]); err != nil {
		t.Error(err)
	}
	step := adapter.Step{Outcome: adapter.Delivered, At: c.Now()}
	if err := q.Record(context.Background(), &leased[0], step); !errors.Is(err, adapter.ErrLeaseLost) {
		t.Errorf("the dead process records: %v", err)
	}
	record(t, left, taken, step)
	balanced(t, alive)
}

// TestLeaseParked leases events before they are due, if they are as they were put back.
func TestLeaseParked(t *testing.T) {
	forEachEngine(t, func(t *testing.T, opts store.Options) {
		c := deliverytest.NewStoppedClock()
		opts.Now = c.Now
		s := open(t, opts)
		q := connection(t, s, "default", "tenant")
		accept(t, q, arrivals(0, 8)...)
		leased := lease(t, q, 8)
		due := c.Now().Add(10 * time.Second)
		parked := make([]adapter.Parked, len(leased))
		for i := range leased {
			parked[i] = adapter.Parked{ID: leased[i].ID, Due: due}
		}
		record(t, q, leased[:6], adapter.Step{Outcome: adapter.Pending, At: c.Now(), Due: due})
		// One that failed since, or was put back for another reason, is not due yet.
		record(t, q, leased[6:7], adapter.Step{Outcome: adapter.Pending, At: c.Now(), Due: due.Add(time.Millisecond)})
		if _, err := s.Purge(context.Background(), []int64{leased[0].ID}); err != nil {
			t.Fatal(err)
		}
		var last []adapter.Leased
		ask := func(q *store.Queue, maxBytes int64, parked ...adapter.Parked) (ids []int64) {
			t.Helper()
			got, err := q.LeaseParked(context.Background(), parked, maxBytes)
			if err != nil {
				t.Fatal(err)
			}
			for i := range got {
				if !bytes.Equal(got[i].Payload, leased[0].Payload) {
					t.Errorf("event %d has lost its payload", got[i].ID)
				}
				ids = append(ids, got[i].ID)
			}
			last = got
			return ids
		}
		if got := ask(connection(t, s, "another", "tenant"), 1<<20, parked...); got != nil {
			t.Errorf("another connection got %v", got)
		}
		if got := ask(q, 1<<20); got != nil {
			t.Errorf("got %v of none", got)
		}
		if got, want := ask(q, 1<<20, parked[2], parked[1], parked[0]), []int64{parked[2].ID,
			parked[1].ID}; !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
		if got, want := ask(q, 1, parked...), []int64{parked[3].ID}; !slices.Equal(got, want) {
			t.Errorf("one byte: got %v, want %v", got, want)
		}
		if got, want := ask(q, 1<<20, parked...), []int64{parked[4].ID, parked[5].ID}; !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
		// Given back, they are due, as the next process finds.
		if err := q.Release(context.Background(), []*adapter.Leased{&last[0], &last[1]}); err != nil {
			t.Fatal(err)
		}
		if got := lease(t, q, 10); len(got) != 2 || got[0].ID != last[0].ID || got[1].ID != last[1].ID {
			t.Errorf("%d events are due", len(got))
		}
		c.Advance(20 * time.Second)
		if got := lease(t, q, 10); len(got) != 1 || got[0].ID != leased[6].ID {
			t.Errorf("%d events are due", len(got))
		}
	})
}

// TestLeaseOrder leases events by the time that they are due, and those of one
// time in the order of acceptance.
func TestLeaseOrder(t *testing.T) {
	forEachEngine(t, func(t *testing.T, opts store.Options) {
		c := deliverytest.NewStoppedClock()
		opts.Now = c.Now
		s := open(t, opts)
		q := connection(t, s, "default", "tenant")
		random := rand.New(rand.NewPCG(3, 5))
		accept(t, q, arrivals(0, 200)...)
		due := make(map[int64]time.Time)
		leased := lease(t, q, 200)
		random.Shuffle(len(leased), func(i, j int) { leased[i], leased[j] = leased[j], leased[i] })
		for i := range leased {
			at := c.Now().Add(time.Duration(1+random.IntN(20)) * time.Minute)
			due[leased[i].ID] = at
			record(t, q, leased[i:i+1], adapter.Step{Outcome: adapter.Pending, Reason: mapping.ReasonTimeout,
				At: c.Now(), Due: at})
		}
		n := 0
		for n < len(due) {
			got := lease(t, q, 7)
			for i := range got {
				if due[got[i].ID].After(c.Now()) {
					t.Errorf("event %d was leased before its time", got[i].ID)
				}
				if i > 0 && cmp.Or(due[got[i-1].ID].Compare(due[got[i].ID]), cmp.Compare(got[i-1].ID,
					got[i].ID)) >= 0 {
					t.Errorf("event %d, due %v, was leased before %d, due %v", got[i-1].ID, due[got[i-1].ID],
						got[i].ID, due[got[i].ID])
				}
			}
			n += len(got)
			if len(got) == 0 {
				c.Advance(time.Minute)
			}
			if c.Now().After(deliverytest.NewStoppedClock().Now().Add(21 * time.Minute)) {
				t.Fatalf("only %d events came back", n)
			}
			record(t, q, got, adapter.Step{Outcome: adapter.Delivered, At: c.Now()})
		}
	})
}

// TestCounters follows the numbers of an event from attempt to attempt, over a
// restart and a redrive.
func TestCounters(t *testing.T) {
	forEachEngine(t, func(t *testing.T, opts store.Options) {
		c := deliverytest.NewStoppedClock()
		opts.Now = c.Now
		s := open(t, opts)
		q := connection(t, s, "default", "tenant")
		accept(t, q, event("message-1"))
		attempt := func(step adapter.Step) *adapter.Leased {
			t.Helper()
			leased := lease(t, q, 1)
			if len(leased) != 1 {
				t.Fatalf("leased %v", leased)
			}
			step.Began, step.At, step.Due = c.Now(), c.Now().Add(time.Second), c.Now().Add(time.Minute)
			record(t, q, leased, step)
			c.Advance(time.Minute)
			return &leased[0]
		}
		check := func(l *adapter.Leased, attempts, failed int, first, ambiguous time.Time, redriven bool) {
			t.Helper()
			if l.Attempts != attempts || l.Failed != failed || !l.FirstAttempt.Equal(first) ||
				!l.AmbiguousSince.Equal(ambiguous) || l.Redriven != redriven {
				t.Errorf("got %+v", l)
			}
		}
		start := c.Now()
		never := time.Time{}
		misconfigured := adapter.Step{Outcome: adapter.Pending, Reason: mapping.ReasonUnauthorized, Status: 401}
		limited := adapter.Step{Outcome: adapter.Pending, Reason: mapping.ReasonRateLimited, Status: 429,
			Counted: true}
		failed := adapter.Step{Outcome: adapter.Pending, Reason: mapping.ReasonTimeout, Counted: true, Ambiguous: true}
		check(attempt(misconfigured), 0, 0, never, never, false)
		check(attempt(limited), 0, 0, never, never, false)
		first := start.Add(time.Minute) // the first that counts
		check(attempt(failed), 1, 1, first, never, false)
		ambiguous := start.Add(2 * time.Minute)
		check(attempt(failed), 2, 2, first, ambiguous, false)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = open(t, opts)
		q = connection(t, s, "default", "tenant")
		check(attempt(misconfigured), 3, 3, first, ambiguous, false)
		dead := attempt(adapter.Step{Outcome: adapter.Dead, Reason: mapping.ReasonHorizonOver, Counted: true})
		check(dead, 3, 3, first, ambiguous, false)
		redrive(t, s, dead.ID)
		// The redrive forgets the horizon, not the number of attempts.
		check(attempt(failed), 4, 0, never, never, true)
		check(attempt(failed), 5, 1, start.Add(6*time.Minute), start.Add(6*time.Minute), true)
		delivery, err := s.Get(context.Background(), dead.ID)
		if err != nil {
			t.Fatal(err)
		}
		var reasons []mapping.Reason
		for i, try := range delivery.History {
			if try.Number != i+1 || !try.At.Equal(start.Add(time.Duration(i)*time.Minute)) ||
				try.Duration != time.Second {
				t.Errorf("got %+v", try)
			}
			reasons = append(reasons, try.Reason)
		}
		if got := fmt.Sprint(
			reasons); got != "[unauthorized rate_limited timeout timeout unauthorized horizon_over timeout timeout]" {
			t.Errorf("got %s", got)
		}
	})
}

// TestStaleSteps has a process that lost an event do all that it can to it.
func TestStaleSteps(t *testing.T) {
	forEachEngine(t, func(t *testing.T, opts store.Options) {
		s := open(t, opts)
		q := connection(t, s, "default", "tenant")
		accept(t, q, event("message-1"), event("message-2"))
		leased := lease(t, q, 2)
		if n, err := s.Purge(context.Background(), []int64{leased[0].ID}); n != 1 || err != nil {
			t.Fatal(n, err)
		}
		ctx := context.Background()
		both := []*adapter.Leased{&leased[0], &leased[1]}
		if err := q.MarkSending(ctx, &leased[0]); !errors.Is(err, adapter.ErrLeaseLost) {
			t.Errorf("marked an event that is gone: %v", err)
		}
		if err := q.MarkSending(ctx, &leased[1]); err != nil {
			t.Error(err)
		}
		for _, step := range []adapter.Step{
			{Outcome: adapter.Pending, Reason: mapping.ReasonTimeout, Counted: true, Began: leased[0].ReceivedAt,
				At: leased[0].ReceivedAt, Due: leased[0].ReceivedAt},
			{Outcome: adapter.Dead, Reason: mapping.ReasonRefused, Counted: true, Began: leased[0].ReceivedAt,
				At: leased[0].ReceivedAt},
		} {
			if err := q.Record(ctx, &leased[0], step); !errors.Is(err, adapter.ErrLeaseLost) {
				t.Errorf("%s: %v", step.Outcome, err)
			}
		}
		if err := q.Release(ctx, both); err != nil {
			t.Error(err)
		}
		if left := lease(t, q, 10); len(left) != 1 || left[0].MessageID != "message-2" || !left[0].Interrupted {
			t.Errorf("got %+v", left)
		}
		if _, err := s.Get(ctx, leased[0].ID); !errors.Is(err, adapter.ErrNoDelivery) {
			t.Errorf("got %v", err)
		}
		balanced(t, s)
	})
}
