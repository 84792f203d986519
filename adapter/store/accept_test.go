package store_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/store"
)

// event returns a keyed event to deliver.
func event(messageID string) adapter.Arrival {
	return adapter.Arrival{
		MessageID: messageID, Keyed: true, UserID: "user", AccountID: "account", EventKey: "key",
		Payload: []byte(`{"messageId":"` + messageID + `"}`), Outcome: adapter.Pending,
	}
}

// unkeyed returns an event to deliver whose messageId is no valid key.
func unkeyed(messageID string, fingerprint int64) adapter.Arrival {
	a := event(messageID)
	a.Keyed, a.Fingerprint = false, fingerprint
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
		c := newClock()
		opts.Now = c.now
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
		changed.UserID = "somebody else"
		check("a valid key decides alone", accept(t, q, changed), "duplicate already_accepted")
		check("another connection of the tenant", accept(t, sibling, event("message-1")), "duplicate already_accepted")
		check("another tenant", accept(t, other, event("message-1")), "pending")
		check("within a request", accept(t, q, event("message-2"), event("message-2"), event("message-3")), "pending, duplicate already_accepted, pending")
		check("no valid key", accept(t, q, unkeyed("m", 1), unkeyed("m", 2), unkeyed("m", 1)), "pending, pending, duplicate already_accepted")
		none := event("")
		check("no messageId", accept(t, q, none, none), "pending, pending")
		rejected, skipped := event("message-4"), event("message-5")
		rejected.Outcome, rejected.Reason, skipped.Outcome, skipped.Reason = adapter.Rejected, "invalid_json", adapter.Skipped, "unsupported_type"
		check("settled at once", accept(t, q, rejected, skipped), "rejected invalid_json, skipped unsupported_type")
		check("what was not sent comes again", accept(t, q, rejected, skipped, event("message-4"), event("message-5")),
			"rejected invalid_json, skipped unsupported_type, pending, pending")

		leased := lease(t, q, 100)
		outcomes := map[string]adapter.Outcome{"message-1": adapter.Delivered, "message-2": adapter.Duplicate, "message-3": adapter.Dead, "message-4": adapter.Skipped, "message-5": adapter.Rejected}
		for i := range leased {
			outcome, ok := outcomes[leased[i].MessageID]
			if !ok {
				outcome = adapter.Delivered
			}
			record(t, q, leased[i:i+1], adapter.Step{Outcome: outcome, At: c.now()})
		}
		check("delivered", accept(t, q, event("message-1"), event("message-2"), unkeyed("m", 1)),
			"duplicate already_delivered, duplicate already_delivered, duplicate already_delivered")
		check("not delivered", accept(t, q, event("message-3"), event("message-4"), event("message-5"), unkeyed("m", 3)), "pending, pending, pending, pending")
		check("duplicates make duplicates no longer than what they are duplicates of", accept(t, q, event("message-1")), "duplicate already_delivered")

		long := strings.Repeat("é", 5<<19)
		check("an endless messageId", accept(t, q, unkeyed(long, 1), unkeyed(long, 2), unkeyed(long, 1)), "pending, pending, duplicate already_accepted")
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
		const events, producers = 200, 16
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
					if err := q.Record(context.Background(), &leased[i], adapter.Step{Outcome: adapter.Delivered, At: leased[i].ReceivedAt}); err != nil {
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
		opts.Limits = store.Limits{Events: 3, Bytes: 100}
		s := open(t, opts)
		q := connection(t, s, "default", "tenant")
		accept(t, q, event("message-1"), event("message-2"))
		for name, list := range map[string][]adapter.Arrival{
			"events": {event("message-3"), event("message-4")},
			"bytes":  {{MessageID: "message-5", Keyed: true, Payload: make([]byte, 90), Outcome: adapter.Pending}},
		} {
			var unavailable *adapter.UnavailableError
			if err := q.Accept(context.Background(), list); !errors.As(err, &unavailable) || !strings.Contains(unavailable.Message, "backlog is full") {
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

func TestFreeDisk(t *testing.T) {
	opts := sqliteOptions(t)
	opts.Limits.FreeDisk = 1 << 60
	err := connection(t, open(t, opts), "default", "tenant").Accept(context.Background(), []adapter.Arrival{event("message-1")})
	var unavailable *adapter.UnavailableError
	if !errors.As(err, &unavailable) || !strings.Contains(unavailable.Message, "the disk has") {
		t.Errorf("got %v", err)
	}
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
			if err := q.Accept(ctx, []adapter.Arrival{event(fmt.Sprintf("message-%02d-a", i)), event(fmt.Sprintf("message-%02d-b", i))}); err == nil {
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
