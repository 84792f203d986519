package store_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/delivery/deliverytest"
	"segment-saasquatch/adapter/store"
	"segment-saasquatch/mapping"
)

// event returns a keyed event to deliver.
func event(messageID string) adapter.Arrival {
	return adapter.Arrival{
		MessageID: messageID, Keyed: true, UserID: "user", AccountID: "account", EventKey: "key",
		Payload: []byte(`{"messageId":"` + messageID + `"}`), Outcome: adapter.Pending,
	}
}

// unkeyed returns an event to deliver whose messageId is no valid key. Its fingerprint
// is the identity of another event, which a new store does not look for.
func unkeyed(messageID string, identity int64) adapter.Arrival {
	a := event(messageID)
	a.Keyed, a.Identity, a.Fingerprint = false, identity, 3-identity
	return a
}

// accept stores arrivals and returns what became of each.
func accept(t testing.TB, q *store.Queue, list ...adapter.Arrival) string {
	t.Helper()
	if err := q.Accept(context.Background(), list); err != nil {
		t.Fatal(err)
	}
	var marks []string
	for i := range list {
		marks = append(marks, strings.Trim(list[i].Outcome.String()+" "+string(list[i].Reason), " "))
	}
	return strings.Join(marks, ", ")
}

func lease(t testing.TB, q *store.Queue, limit int) []adapter.Leased {
	t.Helper()
	leased, err := q.Lease(context.Background(), limit, 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	return leased
}

// record takes a step for each leased event.
func record(t testing.TB, q *store.Queue, leased []adapter.Leased, step adapter.Step) {
	t.Helper()
	for i := range leased {
		if err := q.Record(context.Background(), &leased[i], step); err != nil {
			t.Fatal(err)
		}
	}
}

// balanced has all rows counted.
func balanced(t testing.TB, s *store.Store) []adapter.Conservation {
	t.Helper()
	verified, err := s.Verify(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range verified {
		for _, fault := range v.Faults {
			t.Errorf("%s: %s", v.Connection, fault)
		}
	}
	return verified
}

func TestIdentity(t *testing.T) {
	forEachEngine(t, func(t *testing.T, opts store.Options) {
		c := deliverytest.NewStoppedClock()
		opts.Now = c.Now
		s := open(t, opts)
		q := connection(t, s, "default", "tenant")
		sibling, other := connection(t, s, "sibling", "tenant"), connection(t, s, "other", "another tenant")
		check := func(what, got, want string) {
			t.Helper()
			if got != want {
				t.Errorf("%s: got %s, want %s", what, got, want)
			}
		}
		check("new", accept(t, q, event("message-1")), "pending")
		check("pending", accept(t, q, event("message-1")), "duplicate already_accepted")
		changed := event("message-1")
		changed.UserID = "another user"
		check("a valid key decides alone", accept(t, q, changed), "duplicate already_accepted")
		check("another connection of the tenant", accept(t, sibling, event("message-1")), "duplicate already_accepted")
		check("another tenant", accept(t, other, event("message-1")), "pending")
		check("within a request", accept(t, q, event("message-2"), event("message-2"), event("message-3")),
			"pending, duplicate already_accepted, pending")
		check("no valid key", accept(t, q, unkeyed("m", 1), unkeyed("m", 2), unkeyed("m", 1)),
			"pending, pending, duplicate already_accepted")
		none := event("")
		check("no messageId", accept(t, q, none, none), "pending, pending")
		rejected, skipped := event("message-4"), event("message-5")
		rejected.Outcome, rejected.Reason, skipped.Outcome, skipped.Reason = adapter.Rejected, "invalid_json",
			adapter.Skipped, "unsupported_type"
		check("settled at once", accept(t, q, rejected, skipped), "rejected invalid_json, skipped unsupported_type")
		check("what was not sent comes again", accept(t, q, rejected, skipped, event("message-4"), event("message-5")),
			"rejected invalid_json, skipped unsupported_type, pending, pending")

		leased := lease(t, q, 100)
		outcomes := map[string]adapter.Outcome{"message-1": adapter.Delivered, "message-2": adapter.Duplicate,
			"message-3": adapter.Dead, "message-4": adapter.Skipped, "message-5": adapter.Rejected}
		for i := range leased {
			outcome, ok := outcomes[leased[i].MessageID]
			if !ok {
				outcome = adapter.Delivered
			}
			record(t, q, leased[i:i+1], adapter.Step{Outcome: outcome, At: c.Now()})
		}
		check("delivered", accept(t, q, event("message-1"), event("message-2"), unkeyed("m", 1)),
			"duplicate already_delivered, duplicate already_delivered, duplicate already_delivered")
		check("not delivered", accept(t, q, event("message-3"), event("message-4"), event("message-5"),
			unkeyed("m", 3)), "pending, pending, pending, pending")
		check("duplicates make duplicates no longer than what they are duplicates of",
			accept(t, q, event("message-1")), "duplicate already_delivered")

		long := strings.Repeat("é", 5<<19)
		check("an endless messageId", accept(t, q, unkeyed(long, 1), unkeyed(long, 2), unkeyed(long, 1)),
			"pending, pending, duplicate already_accepted")
		check("what texts cannot hold", accept(t, q, unkeyed("a\x00b", 1), unkeyed("a\xffb", 2)), "pending, pending")
		balanced(t, s)
	})
}

// TestAcceptConcurrently sends the same events from many sides at once.
func TestAcceptConcurrently(t *testing.T) {
	forEachEngine(t, func(t *testing.T, opts store.Options) {
		stores := []*store.Store{open(t, opts)}
		if opts.Path == "" { // several processes can share it
			stores = append(stores, open(t, opts), open(t, opts))
		}
		const events, producers = 20, 64
		var mu sync.Mutex
		pending := make(map[string]int)
		var wait sync.WaitGroup
		for p := range producers {
			q := connection(t, stores[p%len(stores)], "default", "tenant")
			wait.Go(func() {
				for first := 0; first < events; first += 10 {
					list := make([]adapter.Arrival, 10)
					for i := range list {
						list[i] = event(fmt.Sprintf("message-%04d", (first+i+p*7)%events))
					}
					if err := q.Accept(context.Background(), list); err != nil {
						t.Error(err)
					}
					mu.Lock()
					for i := range list {
						if list[i].Outcome == adapter.Pending {
							pending[list[i].MessageID]++
						}
					}
					mu.Unlock()
				}
			})
		}
		wait.Wait()
		if len(pending) != events {
			t.Errorf("%d events are pending, want %d", len(pending), events)
		}
		for id, n := range pending {
			if n != 1 {
				t.Errorf("%s was accepted %d times", id, n)
			}
		}
		balanced(t, stores[0])
	})
}

// TestSettleWhileAccepted has events come again while they are being settled by
// another process.
func TestSettleWhileAccepted(t *testing.T) {
	forEachEngine(t, func(t *testing.T, opts store.Options) {
		one := open(t, opts)
		other := one
		if opts.Path == "" {
			other = open(t, opts)
		}
		q, again := connection(t, one, "default", "tenant"), connection(t, other, "default", "tenant")
		for round := range 20 {
			list := make([]adapter.Arrival, 20)
			for i := range list {
				list[i] = event(fmt.Sprintf("message-%d-%d", round, i))
			}
			accept(t, q, list...)
			leased := lease(t, q, 100)
			var wait sync.WaitGroup
			wait.Go(func() {
				for i := range leased {
					if err := q.Record(context.Background(), &leased[i], adapter.Step{Outcome: adapter.Delivered,
						At: leased[i].ReceivedAt}); err != nil {
						t.Error(err)
					}
				}
			})
			for range 3 {
				wait.Go(func() {
					redelivery := slices.Clone(list)
					for i := range redelivery {
						redelivery[i].Outcome, redelivery[i].Reason = adapter.Pending, ""
					}
					if got := accept(t, again, redelivery...); strings.Contains(got, "pending") {
						t.Errorf("an event was accepted twice: %s", got)
					}
				})
			}
			wait.Wait()
		}
		balanced(t, one)
	})
}

func TestLimits(t *testing.T) {
	forEachEngine(t, func(t *testing.T, opts store.Options) {
		opts.Limits.Shares = map[string]store.Share{"default": {Events: 3, Bytes: 100}}
		s := open(t, opts)
		q := connection(t, s, "default", "tenant")
		accept(t, q, event("message-1"), event("message-2"))
		for name, list := range map[string][]adapter.Arrival{
			"events": {event("message-3"), event("message-4")},
			"bytes":  {{MessageID: "message-5", Keyed: true, Payload: make([]byte, 90), Outcome: adapter.Pending}},
		} {
			var unavailable *adapter.UnavailableError
			if err := q.Accept(context.Background(), list); !errors.As(err, &unavailable) ||
				!strings.Contains(unavailable.Message, "backlog of the connection is full") {
				t.Errorf("%s: got %v", name, err)
			}
		}
		if got := balanced(t, s)[0]; got.Accepted != 2 {
			t.Errorf("accepted %d", got.Accepted)
		}
		leased := lease(t, q, 1)
		record(t, q, leased, adapter.Step{Outcome: adapter.Delivered, At: leased[0].ReceivedAt})
		accept(t, q, event("message-3"))
	})
}

// TestShares has one connection take all of its share, which costs the others nothing: not
// in the process that has accepted the events, and not in another one, or the next.
func TestShares(t *testing.T) {
	forEachEngine(t, func(t *testing.T, opts store.Options) {
		share := store.Share{Events: 3}
		opts.Limits.Shares = map[string]store.Share{"full": share, "other": share, "empty": share}
		s := open(t, opts)
		full := connection(t, s, "full", "tenant")
		accept(t, full, arrivals(0, 3)...)
		accept(t, connection(t, s, "other", "tenant"), arrivals(10, 2)...)
		if err := s.Ready(); err != nil {
			t.Errorf("a full share makes the store unready: %v", err)
		}
		if opts.URL.IsZero() {
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		}
		s = open(t, opts)
		full, other, empty := connection(t, s, "full", "tenant"), connection(t, s, "other", "tenant"),
			connection(t, s, "empty", "tenant")
		if err := full.Accept(context.Background(), arrivals(20, 1)); !errors.As(err, new(*adapter.UnavailableError)) {
			t.Errorf("got %v", err)
		}
		if err := other.Accept(context.Background(), arrivals(30, 2)); !errors.As(err,
			new(*adapter.UnavailableError)) {
			t.Errorf("got %v", err)
		}
		accept(t, other, arrivals(40, 1)...)
		accept(t, empty, arrivals(50, 3)...)
		record(t, full, lease(t, full, 1), adapter.Step{Outcome: adapter.Delivered,
			At: deliverytest.NewStoppedClock().Now()})
		accept(t, full, arrivals(60, 1)...)
		if err := full.Accept(context.Background(), arrivals(70, 1)); !errors.As(err, new(*adapter.UnavailableError)) {
			t.Errorf("got %v", err)
		}
	})
}

// TestAcceptIsAllOrNothing has a request fail in its midst, together with others.
func TestAcceptIsAllOrNothing(t *testing.T) {
	forEachEngine(t, func(t *testing.T, opts store.Options) {
		s := open(t, opts)
		q := connection(t, s, "default", "tenant")
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		stored := 0
		for i := range 50 {
			// Select takes either way, so both happen.
			if err := q.Accept(ctx, []adapter.Arrival{event(fmt.Sprintf("message-%02d-a", i)),
				event(fmt.Sprintf("message-%02d-b", i))}); err == nil {
				stored += 2
			} else if !errors.Is(err, context.Canceled) {
				t.Fatal(err)
			}
		}
		if got := balanced(t, s); stored > 0 && got[0].Accepted != int64(stored) || stored == 0 && len(got) > 0 {
			t.Errorf("%d were acknowledged, got %+v", stored, got)
		}
	})
}

// TestHashCollision accepts two messageIds of which SQLite's index sees the same:
// the first 48 bits of their SHA-256 agree. They were found by trial.
func TestHashCollision(t *testing.T) {
	forEachEngine(t, func(t *testing.T, opts store.Options) {
		const one, two = "message-8430988", "message-23274626"
		s := open(t, store.WithMessagesInMemory(opts, 1))
		q := connection(t, s, "default", "tenant")
		check := func(want string) {
			t.Helper()
			if got := accept(t, q, event(one), event(two)); got != want {
				t.Errorf("got %s, want %s", got, want)
			}
		}
		check("pending, pending")
		check("duplicate already_accepted, duplicate already_accepted")
		leased := lease(t, q, 1)
		record(t, q, leased, adapter.Step{Outcome: adapter.Delivered, At: leased[0].ReceivedAt})
		check("duplicate already_delivered, duplicate already_accepted")
		for _, messageID := range []string{one, two} {
			found, err := s.Find(context.Background(), adapter.Filter{MessageID: messageID}, 10)
			if err != nil || len(found) != 3 {
				t.Fatalf("%s: found %v, %v", messageID, found, err)
			}
			for i := range found {
				if found[i].MessageID != messageID {
					t.Errorf("found %s, want %s", found[i].MessageID, messageID)
				}
			}
		}
	})
}

// TestOddArrivals accepts what a database may refuse, alone and among others, with
// every outcome.
func TestOddArrivals(t *testing.T) {
	forEachEngine(t, func(t *testing.T, opts store.Options) {
		s := open(t, opts)
		q := connection(t, s, "default", "tenant")
		long := strings.Repeat("ü", 5<<20)
		var list []adapter.Arrival
		for i, outcome := range []adapter.Outcome{adapter.Pending, adapter.Rejected, adapter.Skipped} {
			for _, text := range []string{"", "\x00", "a\x00b", "\xff\xfe", "\xed\xa0\x80", "'; DROP TABLE queue; --",
				"\U0001F600", long} {
				for k, payload := range [][]byte{nil, {}, {0}, []byte("\xff\x00{"), []byte("{}")} {
					if text == long && (i > 0 || k < 4) { // once is enough
						continue
					}
					list = append(list, adapter.Arrival{MessageID: text, Identity: int64(k + 1), UserID: text,
						AccountID: text, Event: text, EventKey: text, Detail: text,
						Outcome: outcome, Reason: "missing_type", Payload: payload})
				}
			}
		}
		for i := range list {
			if err := q.Accept(context.Background(), list[i:i+1]); err != nil {
				t.Errorf("%.20q as %s with payload %q: %v", list[i].MessageID, list[i].Outcome, list[i].Payload, err)
			}
		}
		if err := q.Accept(context.Background(), slices.Clone(list)); err != nil {
			t.Errorf("all together: %v", err)
		}
		leased := lease(t, q, 1000)
		for i := range leased {
			record(t, q, leased[i:i+1], adapter.Step{Outcome: adapter.Dead, Reason: mapping.ReasonRefused,
				Detail: strings.Repeat("ü", 300) + "\x00", EventKey: "\xff", At: leased[i].ReceivedAt})
		}
		if got := balanced(t, s)[0]; got.Accepted != int64(2*len(list)) || got.Events[adapter.Pending] != 0 {
			t.Errorf("got %+v", got)
		}
		found, err := s.Find(context.Background(), adapter.Filter{}, 1000)
		if err != nil || len(found) != 2*len(list) {
			t.Fatalf("found %d, %v", len(found), err)
		}
		for i := range found {
			if d := &found[i]; len(d.Detail) > 512 || len(d.MessageID) > 512 || len(d.UserID) > 512 {
				t.Errorf("delivery %d keeps more of a text than there is room for", d.ID)
			}
		}
	})
}

// TestHugeRequest accepts more than one transaction would gather by itself.
func TestHugeRequest(t *testing.T) {
	forEachEngine(t, func(t *testing.T, opts store.Options) {
		const events = 10_000
		s := open(t, opts)
		q := connection(t, s, "default", "tenant")
		list := arrivals(0, events)
		for i := range list {
			list[i].Payload = fmt.Appendf(nil, `%d`, i)
		}
		if got := accept(t, q, list...); strings.Contains(got, "duplicate") {
			t.Error("new events are duplicates")
		}
		leased := lease(t, q, events+1)
		if len(leased) != events {
			t.Fatalf("leased %d", len(leased))
		}
		for i := range leased {
			if leased[i].MessageID != list[i].MessageID || string(leased[i].Payload) != string(list[i].Payload) ||
				i > 0 && leased[i].ID <= leased[i-1].ID {
				t.Fatalf("event %d is %s, id %d", i, leased[i].MessageID, leased[i].ID)
			}
		}
		balanced(t, s)
	})
}

// TestLimitsHoldTogether has more requests come at once than there is room for.
func TestLimitsHoldTogether(t *testing.T) {
	for name, share := range map[string]store.Share{"events": {Events: 100}, "bytes": {Bytes: 100 * payloadBytes}} {
		t.Run(name, func(t *testing.T) {
			forEachEngine(t, func(t *testing.T, opts store.Options) {
				opts.Limits.Shares = map[string]store.Share{"default": share}
				s := open(t, opts)
				q := connection(t, s, "default", "tenant")
				var accepted atomic.Int64
				var wait sync.WaitGroup
				for i := range 64 {
					wait.Go(func() {
						var unavailable *adapter.UnavailableError
						switch err := q.Accept(context.Background(), arrivals(10*i, 10)); {
						case err == nil:
							accepted.Add(10)
						case !errors.As(err, &unavailable):
							t.Error(err)
						}
					})
				}
				wait.Wait()
				if got := accepted.Load(); got > 100 || got == 0 {
					t.Errorf("accepted %d events, want up to 100", got)
				}
				// Room that was set aside in vain can be had again.
				for i := accepted.Load(); i < 100; i++ {
					accept(t, q, arrivals(1000+int(i), 1)...)
				}
				if err := q.Accept(context.Background(), arrivals(2000, 1)); err == nil {
					t.Error("accepted one more than there is room for")
				}
				leased := lease(t, q, 1)
				record(t, q, leased, adapter.Step{Outcome: adapter.Delivered, At: leased[0].ReceivedAt})
				accept(t, q, arrivals(2000, 1)...)
				if got := balanced(t, s)[0]; got.Accepted != 101 || got.Events[adapter.Pending] != 100 {
					t.Errorf("got %+v", got)
				}
			})
		})
	}
}
