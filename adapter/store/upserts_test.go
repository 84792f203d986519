package store_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/delivery/deliverytest"
	"segment-saasquatch/adapter/store"
	"segment-saasquatch/mapping"
)

// ofUser returns an event of a user, and upsertOf an upsert.
func ofUser(user, messageID string) adapter.Arrival {
	a := event(messageID)
	a.UserID, a.AccountID = user, user
	return a
}

func upsertOf(user, messageID string) adapter.Arrival {
	a := ofUser(user, messageID)
	a.EventKey = adapter.UpsertEventKey
	return a
}

// waiting is a store with a clock that tests move.
type waiting struct {
	t     *testing.T
	clock *deliverytest.Clock
	store *store.Store
	queue *store.Queue
	opts  store.Options
}

func newWaiting(t *testing.T, opts store.Options) *waiting {
	w := &waiting{t: t, clock: deliverytest.NewStoppedClock(), opts: opts}
	w.opts.Now = w.clock.Now
	w.opts = store.WithDatabaseClock(w.opts, w.clock.Now)
	w.store = open(t, w.opts)
	w.queue = connection(t, w.store, "default", "tenant")
	return w
}

// restart closes the store and opens it again.
func (w *waiting) restart() {
	w.t.Helper()
	closeStore(w.t, w.store)
	w.store = open(w.t, w.opts)
	w.queue = connection(w.t, w.store, "default", "tenant")
}

// lease leases all that is due, which has to be the events with these messageIds.
func (w *waiting) lease(want ...string) []adapter.Leased {
	w.t.Helper()
	leased := lease(w.t, w.queue, 100)
	got := make([]string, len(leased))
	for i := range leased {
		got[i] = leased[i].MessageID
	}
	if !slices.Equal(got, want) {
		w.t.Fatalf("leased %v, want %v", got, want)
	}
	return leased
}

// retry puts an upsert back after an attempt.
func (w *waiting) retry(leased *adapter.Leased, wait time.Duration) {
	w.t.Helper()
	w.record(adapter.Recording{Leased: leased, Step: w.attempt(adapter.Pending, wait)})
}

// attempt returns the step of an attempt at an upsert.
func (w *waiting) attempt(outcome adapter.Outcome, wait time.Duration) adapter.Step {
	step := adapter.Step{Outcome: outcome, EventKey: adapter.UpsertEventKey, Upsert: true, Status: 200, Counted: true,
		Began: w.clock.Now(), At: w.clock.Now()}
	if outcome == adapter.Pending {
		step.Status, step.Reason, step.Due = 503, mapping.ReasonServerError, w.clock.Now().Add(wait)
	}
	return step
}

func (w *waiting) record(steps ...adapter.Recording) {
	w.t.Helper()
	if err := w.queue.RecordAll(context.Background(), steps); err != nil {
		w.t.Fatal(err)
	}
	for i := range steps {
		if steps[i].Lost {
			w.t.Errorf("step %d is lost", i)
		}
	}
}

func (w *waiting) release(leased ...adapter.Leased) {
	w.t.Helper()
	var list []*adapter.Leased
	for i := range leased {
		list = append(list, &leased[i])
	}
	if err := w.queue.Release(context.Background(), list); err != nil {
		w.t.Fatal(err)
	}
}

// due returns when a pending event is due.
func (w *waiting) due(messageID string) time.Duration {
	w.t.Helper()
	found, err := w.store.Find(context.Background(), adapter.Filter{MessageID: messageID}, 1)
	if err != nil || len(found) != 1 || found[0].DueAt == nil {
		w.t.Fatalf("found %+v, %v", found, err)
	}
	return found[0].DueAt.Sub(w.clock.Now())
}

// TestUpsertKeepsBack has an upsert wait for its retry while later and earlier events of its user, and those of
// others, are due.
func TestUpsertKeepsBack(t *testing.T) {
	forEachEngine(t, func(t *testing.T, opts store.Options) {
		w := newWaiting(t, opts)
		account := ofUser("u", "other account")
		account.AccountID = "a"
		accept(t, w.queue, ofUser("u", "before"), upsertOf("u", "upsert"), ofUser("u", "after"), upsertOf("u", "next"),
			ofUser("v", "other user"), account, ofUser("u ", "trailing space"))
		sibling := connection(t, w.store, "sibling", "tenant")
		accept(t, sibling, ofUser("u", "of the sibling"))

		all := w.lease("before", "upsert", "after", "next", "other user", "other account", "trailing space")
		w.retry(&all[1], time.Minute)
		w.release(append(all[:1:1], all[2:]...)...)
		if leased := lease(t, sibling, 10); len(leased) != 1 {
			t.Errorf("leased %d events of another connection", len(leased))
		}
		w.restart()
		w.lease("before", "other user", "other account", "trailing space")
		for _, id := range []string{"after", "next"} {
			if got := w.due(id); got != time.Minute {
				t.Errorf("%s is due in %s, want that of the upsert", id, got)
			}
		}
		w.clock.Advance(time.Minute)
		again := w.lease("upsert", "after", "next")
		if again[0].Superseded || again[0].Attempts != 1 {
			t.Errorf("leased %+v", again[0])
		}
	})
}

// TestUpsertInHandKeepsNothingBack leases events behind an upsert that the process works on. When the upsert is
// settled, nothing keeps back its user's events.
func TestUpsertInHandKeepsNothingBack(t *testing.T) {
	forEachEngine(t, func(t *testing.T, opts store.Options) {
		w := newWaiting(t, opts)
		accept(t, w.queue, upsertOf("u", "1"), upsertOf("u", "2"))
		all := w.lease("1", "2")
		accept(t, w.queue, ofUser("u", "3"))
		w.lease("3")
		w.retry(&all[1], time.Minute)
		accept(t, w.queue, ofUser("u", "4"))
		w.lease() // the second upsert is not in hand
		w.record(adapter.Recording{Leased: &all[0], Step: w.attempt(adapter.Delivered, 0)})
		w.clock.Advance(time.Minute)
		w.lease("2", "4")
	})
}

// TestKeptBackLeavesHead has thousands of events of a user wait behind an upsert, and one of another user behind them.
func TestKeptBackLeavesHead(t *testing.T) {
	forEachEngine(t, func(t *testing.T, opts store.Options) {
		w := newWaiting(t, opts)
		accept(t, w.queue, upsertOf("u", "upsert"))
		upsert := w.lease("upsert")
		var list []adapter.Arrival
		for i := range 3000 {
			list = append(list, ofUser("u", fmt.Sprint("event-", i)))
		}
		accept(t, w.queue, append(list, ofUser("v", "other"))...)
		w.retry(&upsert[0], time.Second)
		w.lease("other")
		w.lease()
		w.clock.Advance(time.Second)
		if got := w.due("event-0"); got != time.Second { // no earlier than two seconds from the lease
			t.Errorf("due in %s", got)
		}
		w.lease("upsert")
		w.clock.Advance(time.Second)
		if leased := lease(t, w.queue, 4000); len(leased) != 3000 {
			t.Errorf("leased %d events", len(leased))
		}
	})
}

// TestAmbiguousIsNotKeptBack leases an event that SaaSquatch may have processed, though an upsert waits.
func TestAmbiguousIsNotKeptBack(t *testing.T) {
	forEachEngine(t, func(t *testing.T, opts store.Options) {
		w := newWaiting(t, opts)
		accept(t, w.queue, upsertOf("u", "upsert"), ofUser("u", "event"))
		all := w.lease("upsert", "event")
		step := w.attempt(adapter.Pending, 0)
		step.Upsert, step.EventKey, step.Ambiguous = false, "", true
		w.record(adapter.Recording{Leased: &all[0], Step: w.attempt(adapter.Pending, time.Minute)},
			adapter.Recording{Leased: &all[1], Step: step})
		w.lease("event")
	})
}

// TestParkedIsKeptBack asks for parked events behind an upsert that waits.
func TestParkedIsKeptBack(t *testing.T) {
	forEachEngine(t, func(t *testing.T, opts store.Options) {
		w := newWaiting(t, opts)
		accept(t, w.queue, upsertOf("u", "upsert"), ofUser("u", "event"))
		all := w.lease("upsert", "event")
		due := w.clock.Now().Add(time.Minute)
		var parked []adapter.Parked
		for i := range all {
			w.record(adapter.Recording{Leased: &all[i], Step: adapter.Step{Outcome: adapter.Pending, At: w.clock.Now(),
				Due: due}})
			parked = append(parked, adapter.Parked{ID: all[i].ID, Due: due})
		}
		slices.Reverse(parked)
		leased, err := w.queue.LeaseParked(context.Background(), parked, 1<<20)
		if err != nil || len(leased) != 1 || leased[0].MessageID != "upsert" {
			t.Fatalf("leased %+v, %v", leased, err)
		}
		if got := w.due("event"); got != time.Minute {
			t.Errorf("due in %s", got)
		}
		leased, err = w.queue.LeaseParked(context.Background(), parked[:1], 1<<20)
		if err != nil || len(leased) != 1 || leased[0].MessageID != "event" {
			t.Fatalf("leased %+v, %v", leased, err)
		}
	})
}

// TestUpsertIsSuperseded tries an upsert until it keeps back nothing. A newer one then supersedes it, also while the
// older one is in hand. A redrive makes it an ordinary upsert again.
func TestUpsertIsSuperseded(t *testing.T) {
	forEachEngine(t, func(t *testing.T, opts store.Options) {
		for _, inHand := range []bool{false, true} {
			t.Run(fmt.Sprint("in hand ", inHand), func(t *testing.T) {
				own := sqliteOptions
				if opts.Path == "" {
					own = postgresOptions
				}
				w := newWaiting(t, own(t))
				accept(t, w.queue, upsertOf("u", "old"))
				for try := range adapter.MaxHoldingTries {
					if try == adapter.MaxHoldingTries-2 {
						accept(t, w.queue, ofUser("u", "event"))
					}
					all := lease(t, w.queue, 10)
					w.release(all[1:]...)
					w.retry(&all[0], time.Minute)
					if try < adapter.MaxHoldingTries-1 {
						w.lease()
						w.clock.Advance(time.Minute)
					}
				}
				event := w.lease("event") // the tenth try was the last for which it waits
				delivered := w.attempt(adapter.Delivered, 0)
				delivered.Upsert, delivered.EventKey = false, ""
				w.record(adapter.Recording{Leased: &event[0], Step: delivered})
				w.clock.Advance(time.Minute)
				accept(t, w.queue, upsertOf("u", "new"))
				all := w.lease("old", "new")
				if all[0].Superseded {
					t.Fatal("superseded before the newer one is delivered")
				}
				old, newer := &all[0], &all[1]
				if !inHand {
					w.retry(old, time.Minute)
				}
				w.record(adapter.Recording{Leased: newer, Step: w.attempt(adapter.Delivered, 0)})
				if inHand {
					w.retry(old, time.Minute)
				}
				w.clock.Advance(time.Minute)
				again := w.lease("old")
				if !again[0].Superseded {
					t.Fatal("the older upsert is not superseded")
				}
				step := w.attempt(adapter.Dead, 0)
				step.Reason = mapping.ReasonRefused
				w.record(adapter.Recording{Leased: &again[0], Step: step})
				_, err := w.store.Redrive(context.Background(), []adapter.Redelivery{{ID: old.ID, UserID: "u",
					AccountID: "u", EventKey: adapter.UpsertEventKey, Keyed: true}})
				if err != nil {
					t.Fatal(err)
				}
				if redriven := w.lease("old"); redriven[0].Superseded {
					t.Error("it is superseded after a redrive")
				} else {
					w.retry(&redriven[0], time.Minute)
				}
				accept(t, w.queue, ofUser("u", "last"))
				w.lease()
			})
		}
	})
}

// TestBulkAnswerSaysAlone leases events whose last attempt was a bulk call with an unclear answer.
func TestBulkAnswerSaysAlone(t *testing.T) {
	forEachEngine(t, func(t *testing.T, opts store.Options) {
		w := newWaiting(t, opts)
		accept(t, w.queue, event("1"), event("2"), event("3"))
		reasons := []mapping.Reason{mapping.ReasonBulkUnclear, mapping.ReasonUnexpectedAnswer, mapping.ReasonTimeout}
		for i, leased := range w.lease("1", "2", "3") {
			if leased.Alone {
				t.Errorf("%s is alone at first", leased.MessageID)
			}
			w.record(adapter.Recording{Leased: &leased, Step: adapter.Step{Outcome: adapter.Pending,
				Reason: reasons[i], Began: w.clock.Now(), At: w.clock.Now(), Due: w.clock.Now()}})
		}
		for i, leased := range w.lease("1", "2", "3") {
			if want := i < 2; leased.Alone != want {
				t.Errorf("after %s: alone is %t", reasons[i], leased.Alone)
			}
		}
	})
}

// TestRecordAllInOrder records steps of one user in one call: the last try of an upsert, a newer upsert, and an event
// that was settled before, which is lost.
func TestRecordAllInOrder(t *testing.T) {
	forEachEngine(t, func(t *testing.T, opts store.Options) {
		w := newWaiting(t, opts)
		accept(t, w.queue, upsertOf("u", "old"))
		for range adapter.MaxHoldingTries - 1 {
			w.retry(&w.lease("old")[0], 0)
		}
		accept(t, w.queue, upsertOf("u", "new"), ofUser("u", "event"), ofUser("u", "purged"))
		all := w.lease("old", "new", "event", "purged")
		if _, err := w.store.Purge(context.Background(), []int64{all[3].ID}); err != nil {
			t.Fatal(err)
		}
		event := w.attempt(adapter.Delivered, 0)
		event.Upsert, event.EventKey = false, "key"
		steps := []adapter.Recording{
			{Leased: &all[0], Step: w.attempt(adapter.Pending, time.Minute)},
			{Leased: &all[1], Step: w.attempt(adapter.Delivered, 0)},
			{Leased: &all[3], Step: event},
			{Leased: &all[2], Step: event},
		}
		if err := w.queue.RecordAll(context.Background(), steps); err != nil {
			t.Fatal(err)
		}
		for i := range steps {
			if lost := i == 2; steps[i].Lost != lost {
				t.Errorf("step %d is lost: %t", i, steps[i].Lost)
			}
		}
		balanced(t, w.store)
		w.clock.Advance(time.Minute)
		if again := w.lease("old"); !again[0].Superseded {
			t.Error("the older upsert is not superseded")
		}
	})
}

// TestLeaseBehindCursor accepts, puts back and releases events that are due before those in hand.
func TestLeaseBehindCursor(t *testing.T) {
	forEachEngine(t, func(t *testing.T, opts store.Options) {
		w := newWaiting(t, opts)
		accept(t, w.queue, event("1"), event("2"), event("3"))
		all := w.lease("1", "2", "3")
		w.clock.Advance(-time.Minute) // the clock was set right
		accept(t, w.queue, event("4"))
		w.lease("4")
		w.record(adapter.Recording{Leased: &all[0], Step: adapter.Step{Outcome: adapter.Pending, At: w.clock.Now(),
			Due: w.clock.Now().Add(-time.Minute)}})
		w.lease("1")
		w.clock.Advance(time.Minute)
		w.release(all[1])
		w.lease("2")
	})
}
