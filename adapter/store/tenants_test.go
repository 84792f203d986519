package store_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/delivery/deliverytest"
	"segment-saasquatch/adapter/store"
	"segment-saasquatch/mapping"
)

const (
	testTenant = "https://host/test_ops"
	liveTenant = "https://host/ops"
)

// openWith opens the store with a connection that has the tenant.
func openWith(t *testing.T, opts store.Options, tenant string) (*store.Store, *store.Queue) {
	t.Helper()
	opts.Tenants = map[string]string{"default": tenant}
	s := open(t, opts)
	return s, connection(t, s, "default", tenant)
}

func closeStore(t testing.TB, s *store.Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// redriveTo moves deliveries to a tenant.
func redriveTo(t *testing.T, s *store.Store, tenant string, ids ...int64) adapter.Redriven {
	t.Helper()
	var list []adapter.Redelivery
	for _, id := range ids {
		list = append(list, adapter.Redelivery{
			ID: id, Tenant: tenant, UserID: "user", AccountID: "account", EventKey: "key", Keyed: true,
		})
	}
	done, err := s.Redrive(context.Background(), list)
	if err != nil {
		t.Fatal(err)
	}
	return done
}

// wantHeld checks how many events are held, and how old the others are.
func wantHeld(t *testing.T, s *store.Store, events int64, oldest time.Time, held ...adapter.Held) {
	t.Helper()
	backlog, err := s.Backlog(context.Background())
	if err != nil || len(backlog) != 1 {
		t.Fatalf("backlog %+v, %v", backlog, err)
	}
	got := backlog[0]
	if got.Events != events || !got.Oldest.Equal(oldest) || !equal(got.Held, held) {
		t.Errorf("backlog %+v, want %d events, the oldest of %s, held %+v", got, events, oldest, held)
	}
}

func idsOf(found []adapter.Delivery) (ids []int64) {
	for i := range found {
		ids = append(ids, found[i].ID)
	}
	return ids
}

// TestTenantChanged leaves pending and dead events with a test tenant, and goes on
// with a live one, and back.
func TestTenantChanged(t *testing.T) {
	forEachEngine(t, func(t *testing.T, opts store.Options) {
		ctx, c := context.Background(), deliverytest.NewStoppedClock()
		opts.Now = c.Now
		s, q := openWith(t, opts, testTenant)
		began := c.Now()
		for i := range 4 {
			accept(t, q, event(fmt.Sprintf("message-dead-%d", i)))
		}
		record(t, q, lease(t, q, 10), adapter.Step{
			Outcome: adapter.Dead, Reason: mapping.ReasonRefused, Status: 400, Counted: true, Ambiguous: true,
			Began: began, At: began,
		})
		accept(t, q, event("message-1"), event("message-2"), event("message-3"), event("message-both"))
		tried := lease(t, q, 1)
		record(t, q, tried, adapter.Step{
			Outcome: adapter.Pending, Reason: mapping.ReasonTimeout, Counted: true, Ambiguous: true, Began: began,
			At: began, Due: began,
		})
		wantHeld(t, s, 4, began)
		closeStore(t, s)

		c.Advance(time.Hour)
		s, q = openWith(t, opts, liveTenant)
		if leased := lease(t, q, 10); len(leased) > 0 {
			t.Fatalf("a live tenant gets %+v", leased)
		}
		wantHeld(t, s, 4, time.Time{}, adapter.Held{Tenant: testTenant, Reason: mapping.ReasonTenantChanged,
			Events: 4})
		// The event is new to the live tenant, and has an age of its own.
		if got := accept(t, q, event("message-both"), event("message-dead-0")); got != "pending, pending" {
			t.Errorf("got %s", got)
		}
		wantHeld(t, s, 6, c.Now(), adapter.Held{Tenant: testTenant, Reason: mapping.ReasonTenantChanged, Events: 4})
		record(t, q, lease(t, q, 10), adapter.Step{Outcome: adapter.Delivered, Counted: true, Began: c.Now(),
			At: c.Now()})

		// A plain redrive leaves dead letters with their tenant.
		dead, err := s.Find(ctx, adapter.Filter{Outcomes: []adapter.Outcome{adapter.Dead}}, 10)
		if err != nil || len(dead) != 4 || dead[0].Tenant != testTenant {
			t.Fatalf("got %+v, %v", dead, err)
		}
		if got := redrive(t, s, dead[3].ID); got != (adapter.Redriven{Pending: 1}) {
			t.Errorf("got %+v", got)
		}
		if leased := lease(t, q, 10); len(leased) > 0 {
			t.Fatalf("a live tenant gets a redriven event: %+v", leased)
		}

		// With its former tenant everything is due again, without a command.
		closeStore(t, s)
		s, q = openWith(t, opts, testTenant)
		wantHeld(t, s, 5, began)
		leased := lease(t, q, 10)
		if len(leased) != 5 || leased[0].Failed+leased[1].Failed != 1 {
			t.Fatalf("the former tenant gets %+v", leased)
		}
		if err := q.Release(ctx, []*adapter.Leased{&leased[0], &leased[1], &leased[2], &leased[3],
			&leased[4]}); err != nil {
			t.Fatal(err)
		}
		closeStore(t, s)

		// A move makes them the live tenant's; what that has is a duplicate.
		s, q = openWith(t, opts, liveTenant)
		former, err := s.Find(ctx, adapter.Filter{Former: true}, 100)
		if err != nil || len(former) != 8 {
			t.Fatalf("got %+v, %v", former, err)
		}
		if got := redriveTo(t, s, liveTenant, idsOf(former)...); got != (adapter.Redriven{Pending: 6, Duplicate: 2}) {
			t.Errorf("got %+v", got)
		}
		wantHeld(t, s, 6, began)
		leased = lease(t, q, 10)
		if len(leased) != 6 {
			t.Fatalf("the live tenant gets %+v", leased)
		}
		for i := range leased {
			l := &leased[i]
			isNew := l.Failed == 0 && l.AmbiguousSince.IsZero() && l.FirstAttempt.IsZero() && !l.Interrupted
			if !isNew || !l.Redriven || len(l.Payload) == 0 {
				t.Errorf("moved with facts of the other tenant only: %+v", l)
			}
		}
		record(t, q, leased, adapter.Step{Outcome: adapter.Delivered, Counted: true, Began: c.Now(), At: c.Now()})
		got := accept(t, q, event("message-1"), event("message-dead-2"), event("message-both"))
		wantText(t, "the live tenant's ledger", got, strings.Repeat("duplicate already_delivered, ",
			2)+"duplicate already_delivered")
		if got := redriveTo(t, s, liveTenant, idsOf(former)...); got != (adapter.Redriven{}) {
			t.Errorf("moved twice: %+v", got)
		}
		balanced(t, s)
		closeStore(t, s)

		_, q = openWith(t, opts, testTenant)
		if got := accept(t, q, event("message-1"), event("message-dead-2")); got != "pending, pending" {
			t.Errorf("the test tenant's ledger: %s", got)
		}
	})
}

// TestMoveDuplicates moves one event that several tenants have: it is sent once.
func TestMoveDuplicates(t *testing.T) {
	for payloads, keep := range map[string]time.Duration{"payloads dropped": 0, "payloads kept": time.Hour} {
		t.Run(payloads, func(t *testing.T) {
			forEachEngine(t, func(t *testing.T, opts store.Options) {
				ctx := context.Background()
				opts.Retention.Payloads = keep
				s, live := openWith(t, opts, liveTenant)
				one, two := connection(t, s, "default", "https://host/test_1"), connection(t, s, "default",
					"https://host/test_2")
				first := unkeyed("m", 1)
				first.Payload = []byte(`{"n":1}`)
				nameless := adapter.Arrival{Outcome: adapter.Pending, Payload: []byte(`{}`), UserID: "u"}
				accept(t, one, event("message-1"), first, unkeyed("m", 2), nameless)
				accept(t, two, event("message-1"), unkeyed("m", 1))
				accept(t, live, unkeyed("m", 2))
				record(t, live, lease(t, live, 10), adapter.Step{Outcome: adapter.Delivered, At: time.Now()})
				former, err := s.Find(ctx, adapter.Filter{Former: true}, 100)
				if err != nil || len(former) != 6 {
					t.Fatalf("got %+v, %v", former, err)
				}
				if got := redriveTo(t, s, liveTenant, idsOf(former)...); got != (adapter.Redriven{Pending: 3,
					Duplicate: 3}) {
					t.Errorf("got %+v", got)
				}
				leased := lease(t, live, 10)
				if len(leased) != 3 {
					t.Errorf("leased %+v", leased)
				}
				duplicates, err := s.Find(ctx, adapter.Filter{Outcomes: []adapter.Outcome{adapter.Duplicate}}, 100)
				if err != nil || len(duplicates) != 3 {
					t.Fatalf("got %+v, %v", duplicates, err)
				}
				kept, err := s.Payloads(ctx, idsOf(duplicates))
				if want := 3; err != nil || keep == 0 && len(kept) != 0 || keep > 0 && len(kept) != want {
					t.Errorf("%d payloads are kept, %v", len(kept), err)
				}
				for i := range duplicates {
					if d := &duplicates[i]; d.Tenant != liveTenant || d.SettledAt == nil ||
						d.Reason != mapping.ReasonAlreadyAccepted && d.Reason != mapping.ReasonAlreadyDelivered {
						t.Errorf("got %+v", d)
					}
				}
				balanced(t, s)
			})
		})
	}
}

// TestMoveInHand moves an event of which the attempt is under way. In SQLite its
// outcome is lost, and the event goes to the tenant that it was moved to. In
// PostgreSQL it stays with the process that has it, until that has died.
func TestMoveInHand(t *testing.T) {
	ctx := context.Background()
	step := adapter.Step{Outcome: adapter.Delivered, At: time.Now()}
	t.Run("sqlite", func(t *testing.T) {
		opts := sqliteOptions(t)
		server, old := openWith(t, opts, testTenant)
		accept(t, old, event("message-1"), event("message-2"), event("message-3"))
		leased := lease(t, old, 3)
		opts.Shared = true
		operator, live := openWith(t, opts, liveTenant)
		if got := redriveTo(t, operator, liveTenant, leased[0].ID, leased[1].ID,
			leased[2].ID); got != (adapter.Redriven{Pending: 3}) {
			t.Errorf("got %+v", got)
		}
		if err := old.Record(ctx, &leased[0], step); !errors.Is(err, adapter.ErrLeaseLost) {
			t.Errorf("recorded for another tenant: %v", err)
		}
		now := time.Now()
		back := adapter.Step{
			Outcome: adapter.Pending, Reason: mapping.ReasonTimeout, Counted: true, Began: now, At: now,
			Due: now.Add(time.Hour),
		}
		if err := old.Record(ctx, &leased[1], back); !errors.Is(err, adapter.ErrLeaseLost) {
			t.Errorf("put back for another tenant: %v", err)
		}
		if err := old.MarkSending(ctx, &leased[2]); !errors.Is(err, adapter.ErrLeaseLost) {
			t.Errorf("marked for another tenant: %v", err)
		}
		if again := lease(t, old, 10); len(again) > 0 {
			t.Errorf("the former tenant gets %+v", again)
		}
		if moved := lease(t, live, 10); len(moved) != 3 || moved[2].Interrupted || moved[1].Failed > 0 {
			t.Errorf("the new tenant gets %+v", moved)
		}
		// The process that has lost them has nothing in hand any more.
		if moved := lease(t, connection(t, server, "default", liveTenant), 10); len(moved) != 3 {
			t.Errorf("%d of the events that were lost can be leased", len(moved))
		}
		balanced(t, server)
	})
	t.Run("postgres", func(t *testing.T) {
		c := deliverytest.NewStoppedClock()
		opts := store.WithLease(postgresOptions(t), time.Minute)
		opts.Now = c.Now
		_, old := openWith(t, opts, testTenant)
		s, live := openWith(t, opts, liveTenant)
		accept(t, old, event("message-1"), event("message-2"))
		leased := lease(t, old, 2)
		if got := redriveTo(t, s, liveTenant, leased[0].ID); got != (adapter.Redriven{}) {
			t.Errorf("moved although a process has it in hand: %+v", got)
		}
		record(t, old, leased[:1], step)
		c.Advance(2 * time.Minute)
		if got := redriveTo(t, s, liveTenant, leased[1].ID); got != (adapter.Redriven{Pending: 1}) {
			t.Errorf("of a process that has died: %+v", got)
		}
		if err := old.Record(ctx, &leased[1], step); !errors.Is(err, adapter.ErrLeaseLost) {
			t.Errorf("recorded for another tenant: %v", err)
		}
		if moved := lease(t, live, 10); len(moved) != 1 {
			t.Errorf("the new tenant gets %+v", moved)
		}
		balanced(t, s)
	})
}

// TestMoveBesideAServer moves events that a server has got for the new tenant after the
// operator's process opened the store.
func TestMoveBesideAServer(t *testing.T) {
	forEachEngine(t, func(t *testing.T, opts store.Options) {
		server, live := openWith(t, opts, liveTenant)
		former := connection(t, server, "default", testTenant)
		opts.Shared = true
		operator, _ := openWith(t, opts, liveTenant)
		for i := range 2 {
			again := event(fmt.Sprintf("message-%d", i))
			accept(t, former, again, event(fmt.Sprintf("message-only-%d", i)))
			accept(t, live, again)
			record(t, live, lease(t, live, 1), adapter.Step{Outcome: adapter.Delivered, At: time.Now()})
			found, err := operator.Find(context.Background(), adapter.Filter{Former: true}, 10)
			if err != nil {
				t.Fatal(err)
			}
			if got := redriveTo(t, operator, liveTenant, idsOf(found)...); got != (adapter.Redriven{Pending: 1,
				Duplicate: 1}) {
				t.Errorf("got %+v", got)
			}
			record(t, live, lease(t, live, 10), adapter.Step{Outcome: adapter.Delivered, At: time.Now()})
		}
		balanced(t, server)
	})
}

// TestTenantsOfTwoProcesses has two processes share a database, with another tenant
// each, while events are moved from one to the other.
func TestTenantsOfTwoProcesses(t *testing.T) {
	opts := postgresOptions(t)
	_, old := openWith(t, opts, testTenant)
	s, live := openWith(t, opts, liveTenant)
	const events = 400
	for i := range events {
		accept(t, old, event(fmt.Sprintf("message-%d", i)))
	}
	former, err := s.Find(context.Background(), adapter.Filter{Former: true}, events)
	if err != nil || len(former) != events {
		t.Fatalf("%d events, %v", len(former), err)
	}
	var workers sync.WaitGroup
	var moved adapter.Redriven
	workers.Go(func() {
		for i := 0; i < events; i += 50 {
			done := redriveTo(t, s, liveTenant, idsOf(former[i:i+50])...)
			moved.Pending += done.Pending
			moved.Duplicate += done.Duplicate
		}
	})
	accepted := 0
	workers.Go(func() { // the same events come in at the new tenant
		for i := range events {
			list := []adapter.Arrival{event(fmt.Sprintf("message-%d", i))}
			if err := live.Accept(context.Background(), list); err != nil {
				t.Error(err)
				return
			}
			if list[0].Outcome == adapter.Pending {
				accepted++
			}
		}
	})
	counts := map[*store.Queue]map[string]int{old: {}, live: {}}
	stop := make(chan struct{})
	var leasing sync.WaitGroup
	for q, count := range counts {
		leasing.Go(func() {
			for {
				leased, err := q.Lease(context.Background(), 20, 1<<20)
				if err != nil {
					t.Error(err)
					return
				}
				for i := range leased {
					count[leased[i].MessageID]++
					step := adapter.Step{Outcome: adapter.Delivered, At: time.Now()}
					if err := q.Record(context.Background(), &leased[i], step); err != nil {
						t.Error(err)
					}
				}
				select {
				case <-stop:
					if len(leased) == 0 {
						return
					}
				default:
				}
			}
		})
	}
	workers.Wait()
	close(stop)
	leasing.Wait()
	for i := range events {
		if n := counts[live][fmt.Sprintf("message-%d", i)]; n != 1 {
			t.Errorf("event %d came to the live tenant %d times", i, n)
		}
	}
	if len(counts[live]) != moved.Pending+accepted || len(counts[old]) != events-moved.Pending-moved.Duplicate {
		t.Errorf("%d and %d events were sent, %d accepted, moved %+v", len(counts[live]), len(counts[old]), accepted,
			moved)
	}
	balanced(t, s)
}

// TestRunOfAFormerTenant refuses to go on with a replay whose connection has another
// tenant by now.
func TestRunOfAFormerTenant(t *testing.T) {
	forEachEngine(t, func(t *testing.T, opts store.Options) {
		ctx, c := context.Background(), deliverytest.NewStoppedClock()
		opts.Now = c.Now
		s, _ := openWith(t, opts, testTenant)
		run, err := s.BeginRun(ctx, "default", testTenant, []byte(`{}`))
		if err != nil || run.Tenant != testTenant {
			t.Fatalf("%+v, %v", run, err)
		}
		acceptBatch(t, s, run, &adapter.Batch{Arrivals: []adapter.Arrival{event("message-1")}})
		acceptBatch(t, s, run, &adapter.Batch{Held: true, Arrivals: []adapter.Arrival{event("message-2")}})
		closeStore(t, s)

		s, q := openWith(t, opts, liveTenant)
		_, _, taken := s.TakeRun(ctx, run.ID)
		_, state := s.RunState(ctx, run)
		batch := &adapter.Batch{Arrivals: []adapter.Arrival{event("message-3")}}
		for name, err := range map[string]error{"take": taken, "state": state, "batch": s.AcceptBatch(ctx, run,
			batch)} {
			var refused *adapter.RefusedError
			if !errors.As(err, &refused) || !strings.Contains(refused.Problem, testTenant) ||
				!strings.Contains(refused.Problem, liveTenant) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if again, _, err := s.Run(ctx, run.ID); err != nil || again.Tenant != testTenant {
			t.Errorf("got %+v, %v", again, err)
		}
		// What waits for an import job is not moved; the rest ends its run.
		former, err := s.Find(ctx, adapter.Filter{Former: true}, 10)
		if err != nil || len(former) != 2 {
			t.Fatalf("got %+v, %v", former, err)
		}
		if got := redriveTo(t, s, liveTenant, idsOf(former)...); got != (adapter.Redriven{Pending: 1}) {
			t.Errorf("got %+v", got)
		}
		record(t, q, lease(t, q, 10), adapter.Step{Outcome: adapter.Delivered, At: c.Now()})
		again, _, err := s.Run(ctx, run.ID)
		if err != nil {
			t.Fatal(err)
		}
		wantText(t, "outcomes", tallyText(again.Outcomes), "1 delivered, 1 pending")

		// Held events are no live traffic that a replay has to wait for.
		accept(t, connection(t, s, "default", testTenant), event("message-held"))
		c.Advance(time.Hour)
		next, err := s.BeginRun(ctx, "default", liveTenant, []byte(`{}`))
		if err != nil {
			t.Fatal(err)
		}
		if state, err := s.RunState(ctx, next); err != nil || state.LiveWaiting {
			t.Errorf("got %+v, %v", state, err)
		}
		closeStore(t, s)

		s, _ = openWith(t, opts, testTenant)
		if run, _, err = s.TakeRun(ctx, run.ID); err != nil {
			t.Fatalf("with the tenant of the run: %v", err)
		}
		if held, err := s.Held(ctx, run, 0, 10, 1<<20); err != nil || len(held) != 1 {
			t.Errorf("got %+v, %v", held, err)
		}
		balanced(t, s)
	})
}

// TestRemovedConnection names the pending events of a connection that is not
// configured any more.
func TestRemovedConnection(t *testing.T) {
	forEachEngine(t, func(t *testing.T, opts store.Options) {
		s, q := openWith(t, opts, testTenant)
		accept(t, q, event("message-1"))
		closeStore(t, s)
		opts.Tenants = map[string]string{"other": liveTenant}
		s = open(t, opts)
		connection(t, s, "other", liveTenant)
		wantHeld(t, s, 1, time.Time{}, adapter.Held{Tenant: testTenant, Reason: mapping.ReasonConnectionRemoved,
			Events: 1})
		found, err := s.Find(context.Background(), adapter.Filter{Reason: mapping.ReasonConnectionRemoved}, 10)
		if err != nil || len(found) != 1 || found[0].Reason != mapping.ReasonConnectionRemoved {
			t.Errorf("got %+v, %v", found, err)
		}
		closeStore(t, s)
		// Where the tenant is not known, no event counts as held.
		opts.Tenants = map[string]string{"default": ""}
		s = open(t, opts)
		found, err = s.Find(context.Background(), adapter.Filter{}, 10)
		if err != nil || len(found) != 1 || found[0].Reason != mapping.ReasonAccepted {
			t.Errorf("got %+v, %v", found, err)
		}
	})
}

// TestOldestBehindHeld has so many held events come first that the oldest of the
// others has to be looked for in another way.
func TestOldestBehindHeld(t *testing.T) {
	forEachEngine(t, func(t *testing.T, opts store.Options) {
		c := deliverytest.NewStoppedClock()
		opts.Now = c.Now
		s, live := openWith(t, opts, liveTenant)
		accept(t, connection(t, s, "default", testTenant), arrivals(0, 1000)...)
		c.Advance(time.Hour)
		want := c.Now()
		accept(t, live, event("message-1"))
		c.Advance(time.Hour)
		accept(t, live, event("message-2"))
		leased := lease(t, live, 1) // the first one is due last from now on
		record(t, live, leased, adapter.Step{Outcome: adapter.Pending, At: c.Now(), Due: c.Now().Add(time.Hour)})
		wantHeld(t, s, 1002, want, adapter.Held{Tenant: testTenant, Reason: mapping.ReasonTenantChanged, Events: 1000})
	})
}

// TestLeaseReadsItsIndex keeps the look for due events, and for tenants that have
// any, from reading the events of other tenants.
func TestLeaseReadsItsIndex(t *testing.T) {
	forEachEngine(t, func(t *testing.T, opts store.Options) {
		s, _ := openWith(t, opts, liveTenant)
		accept(t, connection(t, s, "default", testTenant), arrivals(0, 2000)...)
		db := raw(t, opts)
		explain := "EXPLAIN QUERY PLAN "
		if opts.Path == "" {
			execute(t, db, "ANALYZE queue")
			explain = "EXPLAIN "
		}
		for query, want := range map[string][2]string{
			// That of PostgreSQL is another one; see TestStatementsOnAgedStatistics.
			`SELECT id FROM queue WHERE connection = 1 AND tenant = 2 AND due_at <= 1000000
				ORDER BY due_at, id LIMIT 10`: {
				"COVERING INDEX queue_tenant_due (connection=? AND tenant=? AND due_at<?)", ""},
			`SELECT connection, tenant, received_at FROM queue WHERE (connection, tenant) >= (0, 0)
				ORDER BY connection, tenant, ` + store.IDOrder(s) + ` LIMIT 1`: {
				"INDEX queue_oldest ((connection,tenant)>(?,?))", "queue_oldest"},
		} {
			rows, err := db.Query(explain + query)
			if err != nil {
				t.Fatal(err)
			}
			var plan strings.Builder
			for rows.Next() {
				var a, b, c int
				var text string
				if opts.Path == "" {
					err = rows.Scan(&text)
				} else {
					err = rows.Scan(&a, &b, &c, &text)
				}
				if err != nil {
					t.Fatal(err)
				}
				plan.WriteString(text + "\n")
			}
			if err := errors.Join(rows.Err(), rows.Close()); err != nil {
				t.Fatal(err)
			}
			expected := want[0]
			if opts.Path == "" {
				expected = want[1]
			}
			if expected == "" {
				continue
			}
			isSorted := strings.Contains(plan.String(), "TEMP B-TREE") || strings.Contains(plan.String(), "Sort")
			if !strings.Contains(plan.String(), expected) || isSorted {
				t.Errorf("%s\n%swant %s", query, &plan, expected)
			}
		}
	})
}

// dropLookUps takes away what later versions of SQLite's schema find deliveries by.
func dropLookUps(t *testing.T, db *sql.DB) {
	t.Helper()
	for _, of := range []string{
		"TRIGGER deliveries_outcome_added", "TRIGGER deliveries_outcome_removed", "TRIGGER deliveries_run_added",
		"TRIGGER deliveries_run_removed", "TRIGGER deliveries_changed",
		"TABLE deliveries_by_outcome", "TABLE deliveries_by_run", "TABLE unindexed_deliveries",
		"TABLE packed_messages",
		"INDEX queue_oldest", "INDEX queue_upserts",
	} {
		execute(t, db, "DROP "+of)
	}
}

// TestOlderDatabase opens the tables of the version before tenants had a due order.
func TestOlderDatabase(t *testing.T) {
	forEachEngine(t, func(t *testing.T, opts store.Options) {
		s, q := openWith(t, opts, testTenant)
		accept(t, q, event("message-1"), event("message-2"))
		record(t, q, lease(t, q, 1), adapter.Step{Outcome: adapter.Dead, Reason: mapping.ReasonRefused,
			At: time.Now()})
		want, err := s.Find(context.Background(), adapter.Filter{}, 10)
		if err != nil {
			t.Fatal(err)
		}
		closeStore(t, s)
		db := raw(t, opts)
		if opts.Path != "" {
			dropLookUps(t, db)
			execute(t, db, `DROP TABLE probe`)
		}
		for _, statement := range []string{
			`DROP TABLE IF EXISTS commits`, `DROP TABLE IF EXISTS leases`, // of PostgreSQL only
			`DROP TABLE IF EXISTS schema_additions`,
			`DROP TABLE former_identities`, `DROP TABLE event_names`, `DROP TABLE rejected`, `DROP TABLE run_rejected`,
			`ALTER TABLE queue DROP COLUMN holds`, `ALTER TABLE queue DROP COLUMN call`,
			`ALTER TABLE deliveries DROP COLUMN call`, `ALTER TABLE attempts DROP COLUMN call`,
			`ALTER TABLE queue DROP COLUMN event`, `ALTER TABLE deliveries DROP COLUMN event`,
			`DROP TABLE dead_letters`, `DROP TABLE uncounted_dead_letters`, `ALTER TABLE queue DROP COLUMN checksum`,
			`ALTER TABLE payloads DROP COLUMN checksum`,
			`UPDATE totals SET bytes = 0 WHERE outcome = 5`,
			`DROP INDEX IF EXISTS queue_oldest`, `DROP INDEX queue_tenant_due`,
			`CREATE INDEX queue_due ON queue (connection, due_at)`,
			`DELETE FROM schema_version WHERE version_id > 2`,
		} {
			execute(t, db, statement)
		}
		if opts.Path == "" {
			execute(t, db, `DROP FUNCTION heed_leases CASCADE`)
		}
		s, _ = openWith(t, opts, testTenant)
		got, err := s.Find(context.Background(), adapter.Filter{}, 10)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v, %v, want %+v", got, err, want)
		}
		awaitIndexes(t, s)
		sameByOutcome(t, s)
		closeStore(t, s)
		s, q = openWith(t, opts, liveTenant)
		if leased := lease(t, q, 10); len(leased) > 0 {
			t.Errorf("a live tenant gets %+v", leased)
		}
		balanced(t, s)
	})
}
