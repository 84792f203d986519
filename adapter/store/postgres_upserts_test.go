package store_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/delivery/deliverytest"
	"segment-saasquatch/adapter/store"
	"segment-saasquatch/mapping"
)

// replicas opens a store twice, on one clock.
func replicas(t *testing.T, leaseFor time.Duration) (c *deliverytest.Clock, opts store.Options, of [2]*store.Queue) {
	t.Helper()
	c = deliverytest.NewStoppedClock()
	opts = store.WithLease(postgresOptions(t), leaseFor)
	opts.Now = c.Now
	for i := range of {
		of[i] = connection(t, open(t, opts), "default", testTenant)
	}
	return c, opts, of
}

// messages returns the messageIds of leased events.
func messages(leased []adapter.Leased) string {
	var ids []string
	for i := range leased {
		ids = append(ids, leased[i].MessageID)
	}
	return strings.Join(ids, " ")
}

// putBack puts back an event after an attempt.
func putBack(t *testing.T, c *deliverytest.Clock, q *store.Queue, leased *adapter.Leased, wait time.Duration) {
	t.Helper()
	step := adapter.Step{
		Outcome: adapter.Pending, Reason: mapping.ReasonTimeout, Began: c.Now(), At: c.Now(), Due: c.Now().Add(wait),
		Upsert: leased.MessageID[0] == 'h',
	}
	if err := q.Record(context.Background(), leased, step); err != nil {
		t.Fatal(err)
	}
}

// deliver settles events.
func deliver(t *testing.T, c *deliverytest.Clock, q *store.Queue, leased ...adapter.Leased) {
	t.Helper()
	for i := range leased {
		step := adapter.Step{
			Outcome: adapter.Delivered, Counted: true, Began: c.Now(), At: c.Now(),
			Upsert: leased[i].MessageID[0] == 'h',
		}
		if err := q.Record(context.Background(), &leased[i], step); err != nil {
			t.Fatal(err)
		}
	}
}

// wants leases events and compares their messageIds.
func wants(t *testing.T, q *store.Queue, limit int, want string) []adapter.Leased {
	t.Helper()
	leased := lease(t, q, limit)
	if got := messages(leased); got != want {
		t.Fatalf("leased %q, want %q", got, want)
	}
	return leased
}

// TestUpsertKeepsBackOnReplicas follows an upsert and a later event of its user through two replicas: no replica
// leases the event while the upsert waits, or another replica has it in hand.
func TestUpsertKeepsBackOnReplicas(t *testing.T) {
	t.Parallel()
	const leaseFor = time.Minute
	c, _, of := replicas(t, leaseFor)
	first, second := of[0], of[1]
	accept(t, first, upsertOf("u", "h1"))
	accept(t, second, ofUser("u", "e1"), ofUser("other", "e2"))
	hand := wants(t, first, 1, "h1")
	deliver(t, c, second, wants(t, second, 10, "e2")...)
	c.Advance(3 * time.Second)
	wants(t, second, 10, "")
	// The process that has the upsert in hand keeps the order itself.
	hand = append(hand, wants(t, first, 10, "")...)
	c.Advance(3 * time.Second)
	hand = append(hand, wants(t, first, 10, "e1")...)
	putBack(t, c, first, &hand[0], 20*time.Second)
	putBack(t, c, first, &hand[1], 0)
	wants(t, first, 10, "")
	wants(t, second, 10, "")
	c.Advance(19 * time.Second)
	wants(t, second, 10, "")
	c.Advance(time.Second)
	wants(t, second, 10, "h1 e1") // and this replica dies
	c.Advance(leaseFor - time.Second)
	wants(t, first, 10, "")
	c.Advance(time.Second)
	deliver(t, c, first, wants(t, first, 10, "h1 e1")...)
}

// TestUpsertHoldsSoManyTries tries an upsert until it no longer keeps back events. Then a newer upsert supersedes it.
func TestUpsertHoldsSoManyTries(t *testing.T) {
	t.Parallel()
	c, _, of := replicas(t, time.Minute)
	accept(t, of[0], upsertOf("u", "h1"), ofUser("u", "e1"), upsertOf("u", "h2"), upsertOf("other", "h3"))
	deliver(t, c, of[0], wants(t, of[0], 10, "h1 e1 h2 h3")[3])
	c.Advance(time.Minute) // the lease ends, without an attempt
	for try := range adapter.MaxHoldingTries {
		h1 := wants(t, of[try%2], 1, "h1")
		wants(t, of[1-try%2], 10, "")
		putBack(t, c, of[try%2], &h1[0], time.Hour)
		if try < adapter.MaxHoldingTries-1 {
			wants(t, of[0], 10, "")
			c.Advance(time.Hour)
		}
	}
	c.Advance(2 * time.Second)
	rest := wants(t, of[1], 10, "e1 h2")
	deliver(t, c, of[1], rest[0])
	if rest[1].Superseded {
		t.Error("an upsert that was not tried is superseded")
	}
	deliver(t, c, of[1], rest[1])
	c.Advance(time.Hour)
	h1 := wants(t, of[0], 10, "h1")
	if !h1[0].Superseded {
		t.Error("the older upsert is not superseded")
	}
	putBack(t, c, of[0], &h1[0], 0)
	if h1 = wants(t, of[1], 10, "h1"); !h1[0].Superseded {
		t.Error("the older upsert is no longer superseded")
	}
}

// TestLockedUpsertKeepsBack locks the row of an upsert, as a lease of another replica does before it is committed. A
// lease passes over the row, and must not take the later event.
func TestLockedUpsertKeepsBack(t *testing.T) {
	t.Parallel()
	c, opts, of := replicas(t, time.Minute)
	accept(t, of[0], upsertOf("u", "h1"), ofUser("u", "e1"), ofUser("other", "e2"))
	tx, err := raw(t, opts).Begin()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(`SELECT id FROM queue WHERE message_id = 'h1' FOR UPDATE`); err != nil {
		t.Fatal(err)
	}
	wants(t, of[1], 10, "e2")
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	c.Advance(2 * time.Second)
	wants(t, of[1], 10, "h1 e1")
}

// TestAmbiguousEventIsNotKeptBack leases an event that SaaSquatch may have processed: it must be settled in time. An
// upsert of another account keeps back nothing.
func TestAmbiguousEventIsNotKeptBack(t *testing.T) {
	t.Parallel()
	c, _, of := replicas(t, time.Minute)
	accept(t, of[0], ofUser("u", "e0"))
	early := wants(t, of[0], 1, "e0")
	accept(t, of[0], upsertOf("u", "h1"), ofUser("u", "e1"))
	accept(t, of[0], func() adapter.Arrival {
		a := ofUser("u", "e2")
		a.AccountID = "another"
		return a
	}())
	hand := wants(t, of[0], 10, "h1 e1 e2")
	step := adapter.Step{
		Outcome: adapter.Pending, Reason: mapping.ReasonBulkUnclear, Ambiguous: true, Counted: true,
		Began: c.Now(), At: c.Now(), Due: c.Now(),
	}
	record(t, of[0], []adapter.Leased{early[0], hand[1], hand[2]}, step)
	again := wants(t, of[1], 10, "e0 e1 e2")
	if !again[0].Alone || again[1].AmbiguousSince.IsZero() {
		t.Errorf("leased %+v", again)
	}
}

// TestParkedEventIsKeptBack leases parked events behind an upsert that another replica has in hand.
func TestParkedEventIsKeptBack(t *testing.T) {
	t.Parallel()
	c, _, of := replicas(t, time.Minute)
	accept(t, of[0], upsertOf("u", "h1"), ofUser("u", "e1"), ofUser("other", "e2"))
	hand := wants(t, of[0], 10, "h1 e1 e2")
	due := c.Now().Add(time.Hour)
	var parked []adapter.Parked
	for i := range hand[1:] {
		putBack(t, c, of[0], &hand[1+i], time.Hour)
		parked = append(parked, adapter.Parked{ID: hand[1+i].ID, Due: due})
	}
	leaseParked := func(q *store.Queue, want string) []adapter.Leased {
		t.Helper()
		leased, err := q.LeaseParked(context.Background(), parked, 1<<30)
		if got := messages(leased); err != nil || got != want {
			t.Fatalf("leased %q, %v, want %q", got, err, want)
		}
		return leased
	}
	leaseParked(of[1], "e2")
	leaseParked(of[0], "e1")
	deliver(t, c, of[0], hand[0])
}

// TestIdsFollowAcceptance accepts events through several connections and replicas, one after the other. A later event
// has the larger id, or an upsert would not keep it back.
func TestIdsFollowAcceptance(t *testing.T) {
	t.Parallel()
	_, _, of := replicas(t, time.Minute)
	last := int64(0)
	for round := range 20 {
		var others sync.WaitGroup // other connections
		for i := range 8 {
			others.Go(func() { accept(t, of[i%2], ofUser("other", fmt.Sprintf("other-%d-%d", round, i))) })
		}
		others.Wait()
		accept(t, of[round%2], ofUser("u", fmt.Sprintf("e%d", round)))
		for _, l := range lease(t, of[0], 100) {
			if l.UserID == "u" {
				if l.ID <= last {
					t.Fatalf("event %d follows event %d", l.ID, last)
				}
				last = l.ID
			}
		}
	}
}

// TestReplicasLeaseBesideUpserts has three replicas lease at once. An event may be leased only by the replica that has
// the upsert before it in hand.
func TestReplicasLeaseBesideUpserts(t *testing.T) {
	t.Parallel()
	const users = 150
	opts := postgresOptions(t)
	var of [3]*store.Queue
	for i := range of {
		of[i] = connection(t, open(t, opts), "default", testTenant)
	}
	var list []adapter.Arrival
	for i := range users {
		user := fmt.Sprintf("user-%d", i)
		list = append(list, upsertOf(user, "h-"+user), ofUser(user, "e-"+user), ofUser(user, "f-"+user))
	}
	accept(t, of[0], list...)
	var mu sync.Mutex
	inHand := make(map[string]int)
	settled := 0
	var workers sync.WaitGroup
	for i, q := range of {
		workers.Go(func() {
			for range 200 {
				leased, err := q.Lease(context.Background(), 7, 1<<30)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				for j := range leased {
					user := leased[j].UserID
					if leased[j].MessageID[0] == 'h' {
						inHand[user] = i
					} else if by, ok := inHand[user]; !ok || by != i {
						t.Errorf("replica %d leased %s, and its upsert is not in hand", i, leased[j].MessageID)
					}
				}
				settled += len(leased)
				mu.Unlock()
			}
		})
	}
	workers.Wait()
	if settled < users {
		t.Errorf("leased %d events", settled)
	}
}
