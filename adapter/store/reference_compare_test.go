package store_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/delivery/deliverytest"
	"segment-saasquatch/adapter/store"
	"segment-saasquatch/mapping"
)

// TestReference does thousands of random things to a store and to the reference,
// and has both tell all they know again and again.
func TestReference(t *testing.T) {
	for name, bounds := range map[string]struct {
		retention   store.Retention
		deadLetters int64
	}{
		"bounded":  {store.Retention{Ledger: 30 * time.Hour, Dead: 50 * time.Hour, Payloads: 3 * time.Hour}, 1500},
		"for ever": {store.Retention{}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			forEachEngine(t, func(t *testing.T, opts store.Options) {
				opts.Retention, opts.Limits.DeadLetters = bounds.retention, bounds.deadLetters
				operations := 1000
				leaseFor := time.Duration(0)
				if opts.Path == "" {
					operations, leaseFor = 1000, 20*time.Minute
				}
				opts = store.WithPatientLease(store.WithLease(store.WithMessagesInMemory(opts, 40), leaseFor))
				var between *proxy
				if opts.Path == "" {
					opts, between = throughProxy(t, opts)
				}
				p := newPair(t, opts, leaseFor)
				if p.proxy = between; between != nil {
					// A lost connection takes the ids with it that it has in reserve, and those of the
					// next one may be lower: the reference wants them in the order of acceptance.
					execute(t, between.database, `ALTER SEQUENCE delivery_ids CACHE 1`)
				}
				for i := range operations {
					p.operate()
					if i%50 == 49 {
						p.compare()
					}
					if t.Failed() {
						t.Fatalf("after %d operations, the last ones %v", i+1, p.did)
					}
				}
			})
		})
	}
}

// pair is a store and the reference beside it.
type pair struct {
	t      *testing.T
	opts   store.Options
	clock  *deliverytest.Clock // of the database
	skew   atomic.Int64        // of the process's clock to it
	random *rand.Rand
	ref    *reference
	store  *store.Store
	queues map[string]*store.Queue
	// tenants are those that the connections have at present.
	tenants map[string]string
	// proxy loses connections during COMMITs, nil for none.
	proxy *proxy
	hand  []held
	did   []string   // last
	mu    sync.Mutex // the store drops in the background too
	// dropped are the payloads that the store told of.
	dropped map[adapter.Outcome]int64
}

// held is an event that the process has leased.
type held struct {
	queue  *store.Queue
	leased adapter.Leased
	token  int64 // the reference's
	tenant string
}

// tenants are those that connections have.
var tenants = []string{"host/tenant", "host/another", "elsewhere/tenant"}

func newPair(t *testing.T, opts store.Options, leaseFor time.Duration) *pair {
	c := deliverytest.NewStoppedClock()
	p := &pair{t: t, clock: c, random: rand.New(rand.NewPCG(uint64(opts.Retention.Ledger), 11)),
		tenants: map[string]string{"one": tenants[0], "sibling": tenants[0], "other": tenants[1]}}
	opts.Now = p.now
	p.opts = store.WithDatabaseClock(opts, c.Now)
	p.ref = newReference(p.now, c.Now, opts.Retention, opts.Limits.DeadLetters, leaseFor)
	p.ref.present = p.tenants
	p.dropped = make(map[adapter.Outcome]int64)
	p.opts.OnDropped = func(d store.Dropped) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.dropped[d.Outcome] += d.Payloads
	}
	p.open()
	return p
}

// now is the clock of the process.
func (p *pair) now() time.Time { return p.clock.Now().Add(time.Duration(p.skew.Load())) }

func (p *pair) open() {
	p.opts.Tenants = maps.Clone(p.tenants)
	p.store, p.queues = open(p.t, p.opts), make(map[string]*store.Queue)
	for name, tenant := range p.tenants {
		p.queues[name] = connection(p.t, p.store, name, tenant)
	}
}

// connection returns one of them.
func (p *pair) connection() string { return []string{"one", "sibling", "other"}[p.random.IntN(3)] }

func (p *pair) operate() {
	operation := []struct {
		name string
		do   func()
	}{
		{"accept", p.accept}, {"accept", p.accept}, {"lease", p.lease}, {"lease", p.lease}, {"lease", p.leaseParked},
		{"record", p.record}, {"record", p.record}, {"record", p.record}, {"try", p.try},
		{"release", p.release}, {"mark", p.mark}, {"redrive", p.redrive}, {"purge", p.purge},
		{"pass time", p.passTime}, {"restart", p.restart},
	}[p.random.IntN(15)]
	p.did = append(p.did[max(0, len(p.did)-10):], operation.name)
	done := p.loseCommits(operation.name)
	operation.do()
	done()
	p.mu.Lock()
	defer p.mu.Unlock()
	if !maps.Equal(p.dropped, p.ref.dropped) {
		p.t.Errorf("%s: dropped %v, want %v", operation.name, p.dropped, p.ref.dropped)
	}
}

// loseCommits has connections be lost during the first COMMITs of the operation, until done
// is called. Neither the store nor the reference may do anything else for that.
func (p *pair) loseCommits(operation string) (done func()) {
	faults := commitFaults
	switch {
	case p.proxy == nil || p.random.IntN(20) > 0 || operation == "restart":
		return func() {}
	case operation == "lease": // one that is not committed is the caller's to repeat
		faults = []commitFault{replyLost, commitLate}
	}
	p.proxy.once(1, faults[p.random.IntN(len(faults))])
	return p.proxy.off
}

func (p *pair) accept() {
	name := p.connection()
	list := make([]adapter.Arrival, 1+p.random.IntN(8))
	for i := range list {
		a := &list[i]
		*a = event(fmt.Sprintf("message-%d", p.random.IntN(80)))
		a.UserID = fmt.Sprintf("user-%d", p.random.IntN(3))
		a.AccountID = []string{a.UserID, "account"}[p.random.IntN(2)]
		if p.random.IntN(4) == 0 {
			a.EventKey = adapter.UpsertEventKey
		}
		a.Event = p.name()
		a.Payload = fmt.Appendf(nil, `{"n":%0*d}`, p.random.IntN(50), p.random.IntN(10))
		switch p.random.IntN(10) {
		case 0:
			a.Outcome, a.Reason, a.Detail = adapter.Rejected, "missing_type", "no type"
			if p.random.IntN(2) == 0 {
				a.Keyed, a.Identity = false, int64(1+p.random.IntN(2))
			}
		case 1:
			a.Outcome, a.Reason = adapter.Skipped, "unsupported_type"
		case 2:
			a.MessageID, a.Keyed = "", false
		case 3, 4:
			a.Keyed, a.Identity, a.Fingerprint = false, int64(1+p.random.IntN(2)), int64(1+p.random.IntN(2))
		}
	}
	before := slices.Clone(list)
	if err := p.queues[name].Accept(context.Background(), list); err != nil {
		p.t.Fatal(err)
	}
	found, err := p.store.Find(context.Background(), adapter.Filter{}, len(list))
	if err != nil || len(found) != len(list) {
		p.t.Fatalf("the new events are not there: %v, %v", found, err)
	}
	slices.Reverse(found) // ids grow with the order of acceptance
	for i := range before {
		p.ref.accept(name, p.tenants[name], found[i].ID, &before[i])
		want := p.ref.find(found[i].ID)
		if before[i].Outcome == adapter.Pending && want.Outcome == adapter.Pending {
			want.Reason = "" // the arrival bears none
		}
		if list[i].Outcome != want.Outcome || list[i].Reason != want.Reason {
			p.t.Errorf("%s of %s: got %s %s, want %s %s", list[i].MessageID, name, list[i].Outcome, list[i].Reason,
				want.Outcome, want.Reason)
		}
		if want.Outcome == adapter.Pending {
			want.Reason = mapping.ReasonAccepted
		}
	}
	p.ref.trim()
}

// name returns Segment's name of an event, sometimes none.
func (p *pair) name() string { return []string{"", "Order Completed", "Signed Up"}[p.random.IntN(3)] }

func (p *pair) lease() {
	name := p.connection()
	limit, maxBytes := 1+p.random.IntN(10), int64(1+p.random.IntN(400))
	leased, err := p.queues[name].Lease(context.Background(), limit, maxBytes)
	if err != nil {
		p.t.Fatal(err)
	}
	p.compareLeased(name, leased, p.ref.lease(name, limit, maxBytes))
}

// leaseParked asks for events of any kind, most of them with their due time.
func (p *pair) leaseParked() {
	name, maxBytes := p.connection(), int64(1+p.random.IntN(400))
	parked := []adapter.Parked{{ID: 1 << 40, Due: p.now()}}
	for _, i := range p.random.Perm(len(p.ref.events))[:min(len(p.ref.events), 20)] {
		e := p.ref.events[i]
		parked = append(parked, adapter.Parked{ID: e.ID,
			Due: e.due.Add(time.Duration(p.random.IntN(5)/4) * time.Second)})
	}
	leased, err := p.queues[name].LeaseParked(context.Background(), parked, maxBytes)
	if err != nil {
		p.t.Fatal(err)
	}
	p.compareLeased(name, leased, p.ref.leaseParked(name, parked, maxBytes))
}

func (p *pair) compareLeased(name string, leased []adapter.Leased, want []*known) {
	if len(leased) != len(want) {
		p.t.Fatalf("leased %d events of %s, want %d", len(leased), name, len(want))
	}
	for i := range leased {
		l, e := &leased[i], want[i]
		expected := adapter.Leased{ID: e.ID, MessageID: e.MessageID, Keyed: e.identity.keyed(), UserID: e.UserID,
			AccountID: e.AccountID, Payload: e.payload, ReceivedAt: e.ReceivedAt.Local(),
			Attempts: e.Attempts, Failed: e.failed, Redriven: e.redriven, AmbiguousSince: local(&e.ambiguous),
			FirstAttempt: local(e.FirstAttemptAt),
			Interrupted:  e.sending, Alone: e.alone, Token: l.Token}
		if e.upsert != nil && e.upsert.superseded {
			expected.Superseded = true
		} else if e.upsert != nil {
			expected.Tries = e.upsert.tries
		}
		if p.ref.leaseFor > 0 {
			expected.Until = p.now().Add(p.ref.leaseFor)
		}
		if !reflect.DeepEqual(*l, expected) {
			p.t.Errorf("leased %+v, want %+v", *l, expected)
		}
		token := p.random.Int64()
		p.ref.handed(e, token)
		p.hand = append(p.hand, held{p.queues[name], *l, token, e.Tenant})
	}
}

// local returns a time as a lease shows it.
func local(t *time.Time) time.Time {
	if t == nil || t.IsZero() {
		return time.Time{}
	}
	return t.Local()
}

// take takes some of the events in hand.
func (p *pair) take() []held {
	p.random.Shuffle(len(p.hand), func(i, j int) { p.hand[i], p.hand[j] = p.hand[j], p.hand[i] })
	n := min(len(p.hand), p.random.IntN(6))
	taken := slices.Clone(p.hand[:n])
	p.hand = p.hand[n:]
	return taken
}

// record records steps in one call for each queue.
func (p *pair) record() {
	byQueue := make(map[*store.Queue][]held)
	for _, h := range p.take() {
		byQueue[h.queue] = append(byQueue[h.queue], h)
	}
	for _, name := range []string{"one", "sibling", "other"} {
		q := p.queues[name]
		var steps []adapter.Step
		for range byQueue[q] {
			steps = append(steps, p.step())
		}
		p.recordAll(q, byQueue[q], steps)
	}
}

// step returns any step. Half of them put the event back.
func (p *pair) step() adapter.Step {
	step := adapter.Step{Outcome: adapter.Outcomes[p.random.IntN(len(adapter.Outcomes))], Status: []int{0, 200,
		503}[p.random.IntN(3)],
		Counted: p.random.IntN(2) == 0, Ambiguous: p.random.IntN(3) == 0, Upsert: p.random.IntN(3) == 0,
		Began: p.now(), At: p.now().Add(time.Duration(p.random.IntN(5000)) * time.Millisecond)}
	if p.random.IntN(2) == 0 {
		step.Outcome = adapter.Pending
	}
	if p.random.IntN(4) > 0 {
		step.Reason = []mapping.Reason{mapping.ReasonTimeout, mapping.ReasonBulkUnclear}[p.random.IntN(2)]
		step.Detail = []string{"", "a detail"}[p.random.IntN(2)]
	}
	if p.random.IntN(4) == 0 {
		step.EventKey = "new key"
	}
	if step.Upsert {
		step.EventKey = []string{"", adapter.UpsertEventKey}[p.random.IntN(2)]
	}
	if !step.Counted && !step.Ambiguous && p.random.IntN(2) == 0 {
		step.Began = time.Time{}
	}
	if step.Outcome == adapter.Pending {
		step.Due = p.now().Add(time.Duration(p.random.IntN(120)) * time.Minute)
	}
	return step
}

// recordAll records the steps of events of a queue in one call.
func (p *pair) recordAll(q *store.Queue, taken []held, steps []adapter.Step) {
	recordings := make([]adapter.Recording, len(taken))
	for i := range taken {
		recordings[i] = adapter.Recording{Leased: &taken[i].leased, Step: steps[i]}
	}
	if err := q.RecordAll(context.Background(), recordings); err != nil {
		p.t.Fatal(err)
	}
	for i, h := range taken {
		held := p.ref.record(h.leased.ID, h.token, h.tenant, &steps[i])
		p.ref.trim()
		if held == recordings[i].Lost {
			p.t.Fatalf("step %d of %d: the lease is held: %t, lost: %t", i, len(taken), held, recordings[i].Lost)
		}
	}
}

// try tries an upsert again and again, as far as no other one keeps it back.
func (p *pair) try() {
	i := slices.IndexFunc(p.hand, func(h held) bool {
		e := p.ref.find(h.leased.ID)
		return e != nil && e.upsert != nil && p.ref.ofTenant(h.leased.ID, h.token, h.tenant) == e
	})
	if i < 0 {
		return
	}
	for range 1 + p.random.IntN(adapter.MaxHoldingTries+2) {
		h := p.hand[i]
		p.hand = slices.Delete(p.hand, i, i+1)
		e := p.ref.find(h.leased.ID)
		due := p.now().Add(time.Hour)
		p.recordAll(h.queue, []held{h}, []adapter.Step{{Outcome: adapter.Pending, Upsert: true,
			Reason: mapping.ReasonServerError, Status: 503, Began: p.now(), At: p.now(), Due: due}})
		parked := []adapter.Parked{{ID: e.ID, Due: due}}
		leased, err := h.queue.LeaseParked(context.Background(), parked, 1)
		if err != nil {
			p.t.Fatal(err)
		}
		before := len(p.hand)
		p.compareLeased(e.Connection, leased, p.ref.leaseParked(e.Connection, parked, 1))
		if i = before; len(p.hand) == before {
			return
		}
	}
}

func (p *pair) release() {
	for _, h := range p.take() {
		if err := h.queue.Release(context.Background(), []*adapter.Leased{&h.leased}); err != nil {
			p.t.Fatal(err)
		}
		p.ref.release(h.leased.ID, h.token)
	}
}

func (p *pair) mark() {
	for _, h := range p.take() {
		err := h.queue.MarkSending(context.Background(), &h.leased)
		switch held := p.ref.mark(h.leased.ID, h.token, h.tenant); {
		case held && err != nil:
			p.t.Fatal(err)
		case !held && !errors.Is(err, adapter.ErrLeaseLost):
			p.t.Fatalf("marked without a lease: %v", err)
		case !held:
			continue // the process has lost it
		}
		p.hand = append(p.hand, h)
	}
}

// someIDs picks ids, mostly known ones.
func (p *pair) someIDs() (ids []int64) {
	for range p.random.IntN(8) {
		if n := len(p.ref.events); n > 0 {
			ids = append(ids, p.ref.events[p.random.IntN(n)].ID)
		}
	}
	ids = append(ids, 1<<40)
	slices.Sort(ids)
	return slices.Compact(ids)
}

func (p *pair) redrive() {
	var list []adapter.Redelivery
	for _, id := range p.someIDs() {
		as := adapter.Redelivery{ID: id, Event: p.name(), UserID: "user-1", AccountID: "account",
			EventKey: []string{"today's key", adapter.UpsertEventKey}[p.random.IntN(2)], Keyed: p.random.IntN(3) > 0}
		if !as.Keyed {
			// no identity is a fingerprint
			as.Identity, as.Fingerprint = int64(1+p.random.IntN(2)), int64(3+p.random.IntN(2))
		}
		if p.random.IntN(2) == 0 {
			as.Tenant = tenants[p.random.IntN(len(tenants))]
		}
		list = append(list, as)
	}
	done, err := p.store.Redrive(context.Background(), list)
	if want := p.ref.redrive(list); err != nil || done != want {
		p.t.Errorf("redriven %+v, %v, want %+v", done, err, want)
	}
}

func (p *pair) purge() {
	if p.random.IntN(3) > 0 {
		return
	}
	ids := p.someIDs()
	var outcomes []adapter.Outcome
	for range p.random.IntN(4) {
		outcomes = append(outcomes, adapter.Outcomes[p.random.IntN(len(adapter.Outcomes))])
	}
	n, err := p.store.Purge(context.Background(), ids, outcomes...)
	if want := p.ref.purge(ids, outcomes); err != nil || n != want {
		p.t.Errorf("purged %d, %v, want %d", n, err, want)
	}
}

// passTime moves the clock. The store has to look after itself right then, since
// it does so in the background too.
func (p *pair) passTime() {
	p.clock.Advance(time.Duration(p.random.IntN(200)) * time.Minute)
	if p.ref.leaseFor > 0 { // the clock of another replica
		p.skew.Store(int64(p.random.IntN(3)-1) * int64(5*time.Minute))
	}
	if err := p.store.Retain(context.Background()); err != nil {
		p.t.Fatal(err)
	}
	p.ref.retain()
}

func (p *pair) restart() {
	if p.random.IntN(5) > 0 {
		return
	}
	if err := p.store.Close(); err != nil {
		p.t.Fatal(err)
	}
	p.hand = nil
	p.ref.restart()
	if p.random.IntN(2) == 0 {
		p.tenants[p.connection()] = tenants[p.random.IntN(len(tenants))]
	}
	p.open()
}

// compare has both tell all they know.
func (p *pair) compare() {
	p.t.Helper()
	ctx := context.Background()
	found, err := p.store.Find(ctx, adapter.Filter{}, 1<<20)
	if err != nil || len(found) != len(p.ref.events) {
		p.t.Fatalf("%d deliveries, %v, want %d", len(found), err, len(p.ref.events))
	}
	for i := range found {
		e := p.ref.events[len(found)-1-i]
		if want := p.shown(e); !reflect.DeepEqual(found[i], want) {
			p.t.Errorf("found %+v, want %+v", found[i], want)
		}
		if i%10 > 0 { // Get is slow
			continue
		}
		got, err := p.store.Get(ctx, e.ID)
		want := p.shown(e)
		if err != nil {
			p.t.Fatal(err)
		}
		if len(e.History) > 0 {
			want.History = e.History
		}
		if e.payload != nil {
			want.Payload = e.payload
		}
		if !reflect.DeepEqual(*got, want) {
			p.t.Errorf("got %+v, want %+v", *got, want)
		}
	}
	p.comparePayloads()
	verified, err := p.store.Verify(ctx)
	if want := p.ref.balance(); err != nil || !equal(verified, want) {
		p.t.Errorf("verified %+v, %v, want %+v", verified, err, want)
	}
	totals, err := p.store.Totals(ctx)
	if err != nil || len(totals) != len(verified) {
		p.t.Fatalf("totals %+v, %v", totals, err)
	}
	for i := range totals {
		if !reflect.DeepEqual(totals[i], verified[i].Totals) {
			p.t.Errorf("totals %+v, verified %+v", totals[i], verified[i].Totals)
		}
	}
	backlog, err := p.store.Backlog(ctx)
	if want := p.ref.backlog(); err != nil || !equal(backlog, want) {
		p.t.Errorf("backlog %+v, %v, want %+v", backlog, err, want)
	}
}

// equal takes no list and an empty one for the same.
func equal[T any](a, b []T) bool { return len(a) == 0 && len(b) == 0 || reflect.DeepEqual(a, b) }

// shown is an event as Find shows it.
func (p *pair) shown(e *known) adapter.Delivery {
	d := e.Delivery
	d.History = nil
	if d.Outcome == adapter.Pending {
		due := e.due
		d.DueAt = &due
		if d.Tenant != p.tenants[d.Connection] {
			d.Reason = mapping.ReasonTenantChanged
		}
	}
	return d
}

func (p *pair) comparePayloads() {
	p.t.Helper()
	ids := []int64{1 << 40}
	want := make(map[int64]adapter.StoredPayload)
	for _, e := range p.ref.events {
		ids = append(ids, e.ID)
		if e.payload != nil {
			want[e.ID] = adapter.StoredPayload{Bytes: e.payload}
		}
	}
	got, err := p.store.Payloads(context.Background(), ids)
	if err != nil || !reflect.DeepEqual(got, want) {
		p.t.Errorf("%d payloads, %v, want %d", len(got), err, len(want))
	}
}
