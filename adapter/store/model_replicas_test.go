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
	"segment-saasquatch/adapter/delivery/deliverytest"
	"segment-saasquatch/adapter/store"
	"segment-saasquatch/mapping"
)

// modelled is an event as the model of TestReplicasModel knows it.
type modelled struct {
	name    string
	token   int64     // of its last lease, 0 if none holds
	until   time.Time // the end of that lease on the database's clock
	replica int       // that leased it last
	marked  bool      // it may have been sent, without an outcome
	sent    int
	outcome adapter.Outcome
	// tries are the attempts of an upsert, and behind are the upserts of the user that were accepted before.
	isUpsert bool
	tries    int
	behind   []*modelled
}

// keptBackBy returns an upsert that must be delivered before the event, unless the replica has it in hand.
func (e *modelled) keptBackBy(replica int, now time.Time) *modelled {
	for _, h := range e.behind {
		inHand := h.token != 0 && now.Before(h.until) && h.replica == replica
		if h.outcome == adapter.Pending && h.tries < adapter.MaxHoldingTries && !inHand {
			return h
		}
	}
	return nil
}

// replicasModel compares what the replicas of a store do with what they may do.
type replicasModel struct {
	*testing.T
	clock    *deliverytest.Clock
	leaseFor time.Duration
	events   map[string]*modelled // by messageId
	users    map[string][]*modelled
	lost     int // leases that were lost
	kept     int // events in hand behind an upsert that was put back
	// superseded are the upserts that a newer one superseded.
	superseded int
}

// arrival returns a new event of a user.
func (m *replicasModel) arrival(user string, isUpsert bool) adapter.Arrival {
	e := &modelled{
		name: fmt.Sprintf("event-%d", len(m.events)), outcome: adapter.Pending, isUpsert: isUpsert,
		behind: m.users[user],
	}
	a := event(e.name)
	a.Keyed, a.Identity, a.UserID = false, 1, user
	if isUpsert {
		a.EventKey = adapter.UpsertEventKey
		m.users[user] = append(slices.Clone(m.users[user]), e)
	}
	m.events[e.name] = e
	return a
}

// lease takes events, and checks that none is settled, or leased already, or behind an upsert that the replica has not
// in hand. A lease that was not committed took none.
func (m *replicasModel) lease(replica int, q *store.Queue, limit int) []adapter.Leased {
	now := m.clock.Now()
	events, err := q.Lease(context.Background(), limit, 1<<30)
	if err != nil && !errors.As(err, new(*adapter.UnavailableError)) {
		m.Fatal(err)
	}
	for _, l := range events {
		e := m.events[l.MessageID]
		switch {
		case e == nil:
			m.Fatalf("%s was leased and never accepted", l.MessageID)
		case e.outcome != adapter.Pending:
			m.Errorf("%s was leased, and is %s", e.name, e.outcome)
		case e.token != 0 && now.Before(e.until):
			m.Errorf("%s was leased twice", e.name)
		case l.Interrupted != e.marked:
			m.Errorf("%s: interrupted %v, want %v", e.name, l.Interrupted, e.marked)
		case e.keptBackBy(replica, now) != nil:
			m.Errorf("%s was leased before %s", e.name, e.keptBackBy(replica, now).name)
		}
		e.token, e.until, e.replica = l.Token, now.Add(m.leaseFor), replica
	}
	return events
}

// holds checks whether the event is the process's still, as err says.
func (m *replicasModel) holds(l *adapter.Leased, operation string, err error) bool {
	e := m.events[l.MessageID]
	held := e.token == l.Token && e.outcome == adapter.Pending
	switch {
	case err != nil && !errors.Is(err, adapter.ErrLeaseLost):
		m.Fatalf("%s %s: %v", operation, e.name, err)
	case held != (err == nil):
		m.Errorf("%s %s: %v, and the lease is the process's: %v", operation, e.name, err, held)
	case !held:
		m.lost++
	}
	return err == nil
}

// TestReplicasModel has three replicas accept, lease, mark and record in random order. Their
// clocks are up to five minutes from the database's, leases end while they hold events, and
// connections are lost during COMMITs. No event may be sent twice, since a lost mark sends
// nothing, and none may count twice or be missing. No event may be sent before an upsert of its
// user that waits for its next attempt.
func TestReplicasModel(t *testing.T) {
	const leaseFor = time.Minute
	opts := store.WithLease(postgresOptions(t), leaseFor)
	c := deliverytest.NewStoppedClock()
	opts = store.WithDatabaseClock(opts, c.Now)
	m := &replicasModel{
		T: t, clock: c, leaseFor: leaseFor, events: make(map[string]*modelled), users: make(map[string][]*modelled),
	}
	random := rand.New(rand.NewPCG(1, 1))
	var stores [3]*store.Store
	var replicas [3]*store.Queue
	var proxies [3]*proxy
	for i, skew := range []time.Duration{-5 * time.Minute, 0, 5 * time.Minute} {
		opts, p := throughProxy(t, opts)
		opts.Now = func() time.Time { return c.Now().Add(skew) }
		stores[i], proxies[i] = open(t, opts), p
		replicas[i] = connection(t, stores[i], "default", "tenant")
		p.every(8, commitFaults...)
	}
	var hands [3][]adapter.Leased
	ctx := context.Background()
	calm, stubborn := false, false
	// upsert sends an upsert. It fails most times, and the first one of a user for so long that a newer one supersedes
	// it.
	upsert := func(l *adapter.Leased, e *modelled) (step adapter.Step) {
		step = adapter.Step{
			Outcome: adapter.Delivered, Upsert: true, Counted: true, Began: c.Now(), At: c.Now(), Due: c.Now(),
		}
		switch {
		case l.Superseded:
			step.Outcome, step.Reason, step.Upsert = adapter.Dead, mapping.ReasonRefused, false
			if e.tries < adapter.MaxHoldingTries {
				t.Errorf("%s is superseded after %d attempts", e.name, e.tries)
			}
			m.superseded++
		case !calm && random.IntN(2) > 0, stubborn && len(e.behind) == 0:
			step.Outcome, step.Reason = adapter.Pending, mapping.ReasonTimeout
		}
		return step
	}
	send := func(r int, crash bool) {
		l := hands[r][0]
		hands[r] = hands[r][1:]
		e := m.events[l.MessageID]
		step := adapter.Step{Outcome: adapter.Delivered, Counted: true, Began: c.Now(), At: c.Now(), Due: c.Now()}
		switch {
		case l.Interrupted:
			step = adapter.Step{Outcome: adapter.Dead, Reason: mapping.ReasonUnkeyedAmbiguous, At: c.Now()}
		case e.keptBackBy(r, c.Now()) != nil:
			step = adapter.Step{Outcome: adapter.Pending, Upsert: e.isUpsert, At: c.Now(), Due: c.Now()}
			m.kept++
		case e.isUpsert:
			if crash {
				return
			}
			step = upsert(&l, e)
		default:
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
				step.Outcome, step.Reason = adapter.Pending, mapping.ReasonTimeout
			}
		}
		if m.holds(&l, "record", replicas[r].Record(ctx, &l, step)) {
			e.token, e.marked, e.outcome = 0, false, step.Outcome
			if step.Outcome == adapter.Pending && step.Upsert && !step.Began.IsZero() {
				e.tries++
			}
		}
	}
	for range 300 {
		r := random.IntN(len(replicas))
		switch random.IntN(8) {
		case 0, 1:
			list := make([]adapter.Arrival, 1+random.IntN(5))
			for i := range list {
				list[i] = m.arrival(fmt.Sprintf("user-%d", random.IntN(40)), random.IntN(6) == 0)
			}
			if err := replicas[r].Accept(ctx, list); err != nil {
				t.Fatal(err)
			}
		case 2, 3:
			hands[r] = append(hands[r], m.lease(r, replicas[r], 1+random.IntN(10))...)
		case 4, 5, 6:
			for range min(len(hands[r]), 4) {
				send(r, random.IntN(10) == 0)
			}
		case 7:
			c.Advance(time.Duration(random.IntN(30)) * time.Second)
		}
	}
	calm = true
	for round := range 20 {
		stubborn = round < 10
		c.Advance(leaseFor)
		for r := range replicas {
			hands[r] = m.lease(r, replicas[r], 1<<20)
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
			t.Errorf("%s is %s, and was sent %d times", e.name, e.outcome, e.sent)
		}
	}
	totals := balanced(t, stores[0])[0]
	if totals.Accepted != int64(len(m.events)) ||
		totals.Events[adapter.Delivered] != int64(settled[adapter.Delivered]) ||
		totals.Events[adapter.Dead] != int64(settled[adapter.Dead]) {
		t.Errorf("got %+v, want %v of %d", totals, settled, len(m.events))
	}
	found, err := stores[0].Find(ctx, adapter.Filter{}, 1<<20)
	stored := make(map[string]int)
	for i := range found {
		stored[found[i].MessageID]++
	}
	for name := range m.events {
		if stored[name] != 1 || err != nil {
			t.Errorf("%s is stored %d times, %v", name, stored[name], err)
		}
	}
	t.Logf("%d events: %v, %d leases lost, %d events kept in hand, %d upserts superseded",
		len(m.events), settled, m.lost, m.kept, m.superseded)
	if settled[adapter.Dead] == 0 || m.lost == 0 || m.kept == 0 || m.superseded == 0 {
		t.Error("the model shows little")
	}
}
