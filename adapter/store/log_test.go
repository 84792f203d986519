package store_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/store"
)

// TestFind compares what random filters pick with what they should.
func TestFind(t *testing.T) {
	forEachEngine(t, func(t *testing.T, opts store.Options) {
		c := newClock()
		opts.Now = c.now
		s := open(t, store.WithMessagesInMemory(opts, 50))
		ctx := context.Background()
		random := rand.New(rand.NewPCG(1, 2))
		queues := []*store.Queue{connection(t, s, "one", "tenant"), connection(t, s, "two", "tenant 2")}
		start := c.now()
		for i := range 300 {
			a := event(fmt.Sprintf("message-%d", i%250))
			a.UserID, a.AccountID, a.EventKey = fmt.Sprintf("user-%d", random.IntN(5)), "account", fmt.Sprintf("key%d", random.IntN(3))
			if random.IntN(4) == 0 {
				a.Outcome, a.Reason = adapter.Rejected, "missing_type"
			}
			accept(t, queues[random.IntN(2)], a)
			c.advance(time.Duration(random.IntN(3600)) * time.Second)
			if i%100 == 0 {
				time.Sleep(store.MaintainInterval) // SQLite's index works on a real file
			}
		}
		for _, q := range queues {
			for i, l := range lease(t, q, 100) {
				step := adapter.Step{Outcome: adapter.Delivered, At: c.now()}
				if i%3 == 0 {
					step = adapter.Step{Outcome: adapter.Dead, Reason: adapter.ReasonRefused, At: c.now()}
				}
				record(t, q, []adapter.Leased{l}, step)
			}
		}
		all, err := s.Find(ctx, adapter.Filter{}, 1000)
		if err != nil || len(all) != 300 {
			t.Fatalf("%d deliveries, %v", len(all), err)
		}
		if !slices.IsSortedFunc(all, func(a, b adapter.Delivery) int { return int(b.ID - a.ID) }) {
			t.Error("not the newest first")
		}
		for range 300 {
			f := randomFilter(random, start, c.now(), all)
			limit := 1 + random.IntN(100)
			var want []int64
			counts := make(map[adapter.Summary]int64)
			for i := range all {
				if picks(&f, &all[i]) {
					counts[adapter.Summary{Connection: all[i].Connection, Outcome: all[i].Outcome, Reason: all[i].Reason}]++
					if len(want) < limit {
						want = append(want, all[i].ID)
					}
				}
			}
			found, err := s.Find(ctx, f, limit)
			if err != nil {
				t.Fatal(err)
			}
			var got []int64
			for i := range found {
				got = append(got, found[i].ID)
			}
			if !slices.Equal(got, want) {
				t.Errorf("%+v: got %v, want %v", f, got, want)
			}
			summaries, err := s.Summarize(ctx, f)
			if err != nil {
				t.Fatal(err)
			}
			for _, summary := range summaries {
				n := summary.Events
				summary.Events = 0
				if counts[summary] != n {
					t.Errorf("%+v: counted %d of %+v, want %d", f, n, summary, counts[summary])
				}
				delete(counts, summary)
			}
			if len(counts) > 0 {
				t.Errorf("%+v: not counted: %v", f, counts)
			}
		}
	})
}

func randomFilter(random *rand.Rand, from, to time.Time, all []adapter.Delivery) (f adapter.Filter) {
	moment := func() time.Time { return from.Add(time.Duration(random.Int64N(int64(to.Sub(from))))) }
	for _, set := range []func(){
		func() { f.Connection = []string{"one", "two", "three"}[random.IntN(3)] },
		func() {
			for _, outcome := range adapter.Outcomes {
				if random.IntN(2) == 0 {
					f.Outcomes = append(f.Outcomes, outcome)
				}
			}
		},
		func() {
			f.Reason = []adapter.Reason{"missing_type", adapter.ReasonRefused, adapter.ReasonAccepted}[random.IntN(3)]
		},
		func() { f.EventKey = fmt.Sprintf("key%d", random.IntN(4)) },
		func() { f.UserID = fmt.Sprintf("user-%d", random.IntN(6)) },
		func() { f.MessageID = fmt.Sprintf("message-%d", random.IntN(260)) },
		func() { f.Since = moment() },
		func() { f.Until = moment() },
		func() { f.Before = all[random.IntN(len(all))].ID },
		func() { f.IDs = []int64{all[0].ID, all[random.IntN(len(all))].ID, 1 << 40} },
	} {
		if random.IntN(5) == 0 {
			set()
		}
	}
	return f
}

// picks is what a filter means.
func picks(f *adapter.Filter, d *adapter.Delivery) bool {
	return (f.IDs == nil || slices.Contains(f.IDs, d.ID)) &&
		(f.Connection == "" || f.Connection == d.Connection) &&
		(len(f.Outcomes) == 0 || slices.Contains(f.Outcomes, d.Outcome)) &&
		(f.Reason == "" || f.Reason == d.Reason) &&
		(f.EventKey == "" || f.EventKey == d.EventKey) &&
		(f.UserID == "" || f.UserID == d.UserID) &&
		(f.MessageID == "" || f.MessageID == d.MessageID) &&
		(f.Since.IsZero() || !d.ReceivedAt.Before(f.Since)) &&
		(f.Until.IsZero() || d.ReceivedAt.Before(f.Until)) &&
		(f.Before == 0 || d.ID < f.Before)
}

func TestGet(t *testing.T) {
	forEachEngine(t, func(t *testing.T, opts store.Options) {
		c := newClock()
		opts.Now = c.now
		s := open(t, opts)
		q := connection(t, s, "default", "tenant")
		received := c.now()
		accept(t, q, event("message-1"))
		leased := lease(t, q, 1)
		id := leased[0].ID
		for i := range 2 {
			c.advance(time.Minute)
			record(t, q, leased, adapter.Step{Outcome: adapter.Pending, Reason: adapter.ReasonTimeout, Detail: fmt.Sprint("try ", i), Counted: true,
				Began: c.now(), At: c.now().Add(time.Second), Due: c.now()})
			leased = lease(t, q, 1)
		}
		c.advance(time.Minute)
		record(t, q, leased, adapter.Step{Outcome: adapter.Dead, Reason: adapter.ReasonRefused, Detail: "no", Status: 400, EventKey: "new key", Counted: true,
			Began: c.now(), At: c.now().Add(time.Second)})
		d, err := s.Get(context.Background(), id)
		if err != nil {
			t.Fatal(err)
		}
		if d.Outcome != adapter.Dead || d.Reason != adapter.ReasonRefused || d.Detail != "no" || d.Status != 400 || d.Attempts != 3 || d.EventKey != "new key" ||
			!d.ReceivedAt.Equal(received) || !d.FirstAttemptAt.Equal(received.Add(time.Minute)) || !d.LastAttemptAt.Equal(received.Add(3*time.Minute)) ||
			d.Lag() != 3*time.Minute+time.Second || len(d.History) != 3 || d.History[2].Status != 400 || string(d.Payload) != `{"messageId":"message-1"}` {
			t.Errorf("got %+v", d)
		}
		if _, err := s.Get(context.Background(), 1<<40); !errors.Is(err, adapter.ErrNoDelivery) {
			t.Errorf("got %v", err)
		}
	})
}
