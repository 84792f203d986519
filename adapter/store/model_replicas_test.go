package store_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/delivery/deliverytest"
	"segment-saasquatch/adapter/store"
	"segment-saasquatch/mapping"
)

// modelled is an event as the model of TestReplicasModel knows it.
type modelled struct {
	user    string
	token   int64     // of its last lease, 0 if none holds
	until   time.Time // the end of that lease on the database's clock
	marked  bool      // it may have been sent, without an outcome
	sent    int
	outcome adapter.Outcome
}

// replicasModel compares what the replicas of a store do with what they may do.
type replicasModel struct {
	*testing.T
	clock    *deliverytest.Clock
	leaseFor time.Duration
	events   map[string]*modelled // by user
	lost     int                  // leases that were lost
}

// lease takes events, and checks that none is settled, or leased already. A lease that was
// not committed took none.
func (m *replicasModel) lease(q *store.Queue, limit int) []adapter.Leased {
	now := m.clock.Now()
	events, err := q.Lease(context.Background(), limit, 1<<30)
	if err != nil && !errors.As(err, new(*adapter.UnavailableError)) {
		m.Fatal(err)
	}
	for _, l := range events {
		e := m.events[l.UserID]
		switch {
		case e == nil:
			m.Fatalf("%s was leased and never accepted", l.UserID)
		case e.outcome != adapter.Pending:
			m.Errorf("%s was leased, and is %s", e.user, e.outcome)
		case e.token != 0 && now.Before(e.until):
			m.Errorf("%s was leased twice", e.user)
		case l.Interrupted != e.marked:
			m.Errorf("%s: interrupted %v, want %v", e.user, l.Interrupted, e.marked)
		}
		e.token, e.until = l.Token, now.Add(m.leaseFor)
	}
	return events
}

// holds checks whether the event is the process's still, as err says.
func (m *replicasModel) holds(l *adapter.Leased, operation string, err error) bool {
	e := m.events[l.UserID]
	held := e.token == l.Token && e.outcome == adapter.Pending
	switch {
	case err != nil && !errors.Is(err, adapter.ErrLeaseLost):
		m.Fatalf("%s %s: %v", operation, e.user, err)
	case held != (err == nil):
		m.Errorf("%s %s: %v, and the lease is the process's: %v", operation, e.user, err, held)
	case !held:
		m.lost++
	}
	return err == nil
}

// TestReplicasModel has two replicas accept, lease, mark and record in random order. Their
// clocks are five minutes from the database's, leases end while they hold events, and
// connections are lost during COMMITs. No event may be sent twice, since a lost mark sends
// nothing, and none may count twice or be missing.
func TestReplicasModel(t *testing.T) {
	const leaseFor = time.Minute
	opts := store.WithLease(postgresOptions(t), leaseFor)
	c := deliverytest.NewStoppedClock()
	opts = store.WithDatabaseClock(opts, c.Now)
	m := &replicasModel{T: t, clock: c, leaseFor: leaseFor, events: make(map[string]*modelled)}
	random := rand.New(rand.NewPCG(1, 1))
	var stores [2]*store.Store
	var replicas [2]*store.Queue
	var proxies [2]*proxy
	for i, skew := range []time.Duration{-5 * time.Minute, 5 * time.Minute} {
		opts, p := throughProxy(t, opts)
		opts.Now = func() time.Time { return c.Now().Add(skew) }
		stores[i], proxies[i] = open(t, opts), p
		replicas[i] = connection(t, stores[i], "default", "tenant")
		p.every(8, commitFaults...)
	}
	var hands [2][]adapter.Leased
	ctx := context.Background()
	send := func(r int, crash bool) {
		l := hands[r][0]
		hands[r] = hands[r][1:]
		e := m.events[l.UserID]
		step := adapter.Step{Outcome: adapter.Delivered, Counted: true, Began: c.Now(), At: c.Now()}
		if l.Interrupted {
			step = adapter.Step{Outcome: adapter.Dead, Reason: mapping.ReasonUnkeyedAmbiguous, At: c.Now()}
		} else {
			if !m.holds(&l, "mark", replicas[r].MarkSending(ctx, &l)) {
				return
			}
			e.marked = true
			e.sent++
			if crash {
				return
			}
			if random.IntN(4) == 0 { // it was not processed
				e.sent--
				step.Outcome, step.Reason, step.Due = adapter.Pending, mapping.ReasonTimeout, c.Now()
			}
		}
		if m.holds(&l, "record", replicas[r].Record(ctx, &l, step)) {
			e.token, e.marked, e.outcome = 0, false, step.Outcome
		}
	}
	for range 200 {
		r := random.IntN(2)
		switch random.IntN(8) {
		case 0, 1:
			list := make([]adapter.Arrival, 1+random.IntN(5))
			for i := range list {
				list[i] = event("")
				list[i].Keyed, list[i].UserID = false, fmt.Sprintf("user-%d", len(m.events))
				m.events[list[i].UserID] = &modelled{user: list[i].UserID, outcome: adapter.Pending}
			}
			if err := replicas[r].Accept(ctx, list); err != nil {
				t.Fatal(err)
			}
		case 2, 3:
			hands[r] = append(hands[r], m.lease(replicas[r], 1+random.IntN(10))...)
		case 4, 5, 6:
			for range min(len(hands[r]), 4) {
				send(r, random.IntN(10) == 0)
			}
		case 7:
			c.Advance(time.Duration(random.IntN(30)) * time.Second)
		}
	}
	for range 20 {
		c.Advance(leaseFor)
		for r := range replicas {
			hands[r] = m.lease(replicas[r], 1<<20)
			for len(hands[r]) > 0 {
				send(r, false)
			}
		}
	}
	for _, p := range proxies {
		p.off()
	}
	settled := make(map[adapter.Outcome]int)
	for _, e := range m.events {
		settled[e.outcome]++
		if e.outcome == adapter.Pending || e.sent > 1 {
			t.Errorf("%s is %s, and was sent %d times", e.user, e.outcome, e.sent)
		}
	}
	totals := balanced(t, stores[0])[0]
	if totals.Accepted != int64(len(m.events)) ||
		totals.Events[adapter.Delivered] != int64(settled[adapter.Delivered]) ||
		totals.Events[adapter.Dead] != int64(settled[adapter.Dead]) {
		t.Errorf("got %+v, want %v of %d", totals, settled, len(m.events))
	}
	for user, n := range storedOf(t, stores[0]) {
		if n != 1 {
			t.Errorf("%s is stored %d times", user, n)
		}
	}
	t.Logf("%d events: %v, %d leases lost", len(m.events), settled, m.lost)
	if settled[adapter.Dead] == 0 || m.lost == 0 {
		t.Error("the model shows little")
	}
}
