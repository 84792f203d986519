package store_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/delivery/deliverytest"
	"segment-saasquatch/adapter/store"
	"segment-saasquatch/mapping"
)

// TestFind compares what random filters pick with what they should.
func TestFind(t *testing.T) {
	forEachEngine(t, func(t *testing.T, opts store.Options) {
		c := deliverytest.NewStoppedClock()
		opts.Now = c.Now
		opts.Tenants = map[string]string{"one": "host/tenant", "two": "host/second"}
		const inMemory = 50
		s := open(t, store.WithMessagesInMemory(opts, inMemory))
		var db *sql.DB // of SQLite
		if opts.Path != "" {
			db = raw(t, opts)
		} else {
			// Each connection to the database has ids in reserve. On a busy machine several accept
			// the events, and the ids would be in another order than the simulated times.
			execute(t, raw(t, opts), `ALTER SEQUENCE delivery_ids CACHE 1`)
		}
		ctx := context.Background()
		random := rand.New(rand.NewPCG(1, 2))
		queues := []*store.Queue{
			connection(t, s, "one", "host/tenant"), connection(t, s, "two", "host/second"),
			connection(t, s, "two", "elsewhere/tenant"), connection(t, s, "gone", "host/second"),
		}
		start := c.Now()
		for i := range 300 {
			a := event(fmt.Sprintf("message-%d", i%250))
			a.UserID, a.AccountID, a.EventKey = fmt.Sprintf("user-%d", random.IntN(5)), "account", fmt.Sprintf("key%d",
				random.IntN(3))
			a.Event = []string{"", "Order Completed", "Signed Up"}[random.IntN(3)]
			if random.IntN(4) == 0 {
				a.Outcome, a.Reason = adapter.Rejected, "missing_type"
			}
			accept(t, queues[random.IntN(len(queues))], a)
			c.Advance(time.Duration(random.IntN(3600)) * time.Second)
			if i%100 == 0 && db != nil {
				awaitIndexed(t, db, inMemory)
			}
		}
		for _, q := range queues {
			for i, l := range lease(t, q, 45) {
				step := adapter.Step{Outcome: adapter.Delivered, At: c.Now()}
				if i%3 == 0 {
					step = adapter.Step{Outcome: adapter.Dead, Reason: mapping.ReasonRefused, At: c.Now()}
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
		for i := range all {
			want := mapping.ReasonAccepted
			switch {
			case all[i].Connection == "gone":
				want = mapping.ReasonConnectionRemoved
			case all[i].Tenant == "elsewhere/tenant":
				want = mapping.ReasonTenantChanged
			}
			if all[i].Outcome == adapter.Pending && all[i].Reason != want {
				t.Errorf("%+v is pending for another reason than %s", all[i], want)
			}
		}
		for range deliverytest.Explore(100) {
			f := randomFilter(random, start, c.Now(), all)
			limit := 1 + random.IntN(100)
			var want []int64
			counts := make(map[adapter.Summary]int64)
			for i := range all {
				if picks(&f, &all[i]) {
					counted := adapter.Summary{Connection: all[i].Connection, Outcome: all[i].Outcome}
					if !f.PicksAll() { // else it has the totals
						counted.Tenant, counted.Reason = all[i].Tenant, all[i].Reason
					}
					counts[counted]++
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
		func() { f.Connection = []string{"one", "two", "gone", "three"}[random.IntN(4)] },
		func() {
			for _, outcome := range adapter.Outcomes {
				if random.IntN(2) == 0 {
					f.Outcomes = append(f.Outcomes, outcome)
				}
			}
		},
		func() {
			f.Reason = []mapping.Reason{
				"missing_type", mapping.ReasonRefused, mapping.ReasonAccepted, mapping.ReasonTenantChanged,
				mapping.ReasonConnectionRemoved,
			}[random.IntN(5)]
		},
		func() {
			f.Tenant = []string{"host/tenant", "elsewhere/tenant", "tenant", "second", "one", "none"}[random.IntN(6)]
		},
		func() { f.Former = true },
		func() { f.Event = []string{"Order Completed", "Signed Up", "signedUp"}[random.IntN(3)] },
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
		(f.Tenant == "" || f.Tenant == d.Tenant || f.Tenant == adapter.TenantAlias(d.Tenant)) &&
		(!f.Former || d.Connection == "gone" || d.Tenant == "elsewhere/tenant") &&
		(len(f.Outcomes) == 0 || slices.Contains(f.Outcomes, d.Outcome)) &&
		(f.Reason == "" || f.Reason == d.Reason) &&
		(f.Event == "" || f.Event == d.Event) &&
		(f.EventKey == "" || f.EventKey == d.EventKey) &&
		(f.UserID == "" || f.UserID == d.UserID) &&
		(f.MessageID == "" || f.MessageID == d.MessageID) &&
		(f.Since.IsZero() || !d.ReceivedAt.Before(f.Since)) &&
		(f.Until.IsZero() || d.ReceivedAt.Before(f.Until)) &&
		(f.Before == 0 || d.ID < f.Before)
}

func TestGet(t *testing.T) {
	forEachEngine(t, func(t *testing.T, opts store.Options) {
		c := deliverytest.NewStoppedClock()
		opts.Now = c.Now
		s := open(t, opts)
		q := connection(t, s, "default", "tenant")
		received := c.Now()
		accept(t, q, event("message-1"))
		leased := lease(t, q, 1)
		id := leased[0].ID
		for i := range 2 {
			c.Advance(time.Minute)
			record(t, q, leased, adapter.Step{Outcome: adapter.Pending, Reason: mapping.ReasonTimeout,
				Detail: fmt.Sprint("try ", i), Counted: true, Call: adapter.CallTrackBulk,
				Began: c.Now(), At: c.Now().Add(time.Second), Due: c.Now()})
			leased = lease(t, q, 1)
		}
		c.Advance(time.Minute)
		record(t, q, leased, adapter.Step{Outcome: adapter.Dead, Reason: mapping.ReasonRefused, Detail: "no",
			Status: 400, EventKey: "new key", Counted: true, Call: adapter.CallTrack,
			Began: c.Now(), At: c.Now().Add(time.Second)})
		d, err := s.Get(context.Background(), id)
		if err != nil {
			t.Fatal(err)
		}
		if d.Outcome != adapter.Dead || d.Reason != mapping.ReasonRefused || d.Detail != "no" || d.Status != 400 ||
			d.Attempts != 3 || d.EventKey != "new key" ||
			!d.ReceivedAt.Equal(received) || !d.FirstAttemptAt.Equal(received.Add(time.Minute)) ||
			!d.LastAttemptAt.Equal(received.Add(3*time.Minute)) ||
			d.Lag() != 3*time.Minute+time.Second || len(d.History) != 3 || d.History[2].Status != 400 ||
			d.Call != adapter.CallTrack || d.History[0].Call != adapter.CallTrackBulk ||
			d.History[2].Call != adapter.CallTrack ||
			string(d.Payload) != `{"messageId":"message-1"}` {
			t.Errorf("got %+v", d)
		}
		if _, err := s.Get(context.Background(), 1<<40); !errors.Is(err, adapter.ErrNoDelivery) {
			t.Errorf("got %v", err)
		}
	})
}

// TestPaging walks through the log a page at a time while more comes in.
func TestPaging(t *testing.T) {
	forEachEngine(t, func(t *testing.T, opts store.Options) {
		s := open(t, opts)
		q := connection(t, s, "default", "tenant")
		const events = 95
		accept(t, q, arrivals(0, events)...)
		for i, l := range lease(t, q, 50) {
			outcome := []adapter.Outcome{adapter.Delivered, adapter.Dead}[i%2]
			record(t, q, []adapter.Leased{l}, adapter.Step{Outcome: outcome, At: l.ReceivedAt})
		}
		for _, limit := range []int{1, 10, 94, 95, 96} {
			var ids []int64
			filter := adapter.Filter{EventKey: "order_completed"}
			for {
				page, err := s.Find(context.Background(), filter, limit)
				if err != nil || len(page) > limit {
					t.Fatal(len(page), err)
				}
				if len(page) == 0 {
					break
				}
				for i := range page {
					ids = append(ids, page[i].ID)
				}
				filter.Before = page[len(page)-1].ID
				newer := arrivals(0, 1)[0]
				newer.MessageID, newer.Keyed = "", false
				accept(t, q, newer)
			}
			descending := slices.IsSortedFunc(ids, func(a, b int64) int { return int(b - a) })
			slices.Sort(ids)
			if unique := len(slices.Compact(slices.Clone(ids))); unique != len(ids) || !descending ||
				len(ids) < events {
				t.Errorf("pages of %d: %d deliveries, %d different, newest first: %v", limit, len(ids), unique,
					descending)
			}
		}
	})
}

// TestOddFilters looks for what no database holds.
func TestOddFilters(t *testing.T) {
	forEachEngine(t, func(t *testing.T, opts store.Options) {
		s := open(t, opts)
		q := connection(t, s, "default", "tenant")
		accept(t, q, event("message-1"), event("message-2"))
		record(t, q, lease(t, q, 1), adapter.Step{Outcome: adapter.Delivered,
			At: deliverytest.NewStoppedClock().Now()})
		for _, text := range []string{"\x00", "message-1\x00", "\xff", "' OR 1=1 --", "%", "_", "?", "$1",
			string(make([]byte, 1<<20))} {
			for name, filter := range map[string]adapter.Filter{
				"connection": {Connection: text}, "reason": {Reason: mapping.Reason(text)}, "event": {Event: text},
				"event key": {EventKey: text}, "user": {UserID: text}, "messageId": {MessageID: text},
			} {
				found, err := s.Find(context.Background(), filter, 10)
				if err != nil || len(found) > 0 {
					t.Errorf("%s %.20q: found %v, %v", name, text, found, err)
				}
				summaries, err := s.Summarize(context.Background(), filter)
				if err != nil || len(summaries) > 0 {
					t.Errorf("%s %.20q: counted %v, %v", name, text, summaries, err)
				}
			}
		}
		// Texts are found as they are stored.
		odd := unkeyed("odd\x00"+strings.Repeat("é", 400), 1)
		odd.UserID = "user\xff"
		accept(t, q, odd)
		for range 2 {
			found, err := s.Find(context.Background(), adapter.Filter{MessageID: odd.MessageID}, 10)
			if err != nil || len(found) != 1 {
				t.Errorf("found %v, %v", found, err)
			}
			record(t, q, lease(t, q, 10), adapter.Step{Outcome: adapter.Delivered,
				At: deliverytest.NewStoppedClock().Now()})
		}
	})
}
