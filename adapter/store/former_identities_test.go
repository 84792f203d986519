package store_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pressly/goose/v3"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/delivery/deliverytest"
	"segment-saasquatch/adapter/store"
	"segment-saasquatch/mapping"
)

// formerStore makes the database of a version that knew events without a key by their
// fingerprint: m-1 is pending as 11, m-2 delivered as 22, and m-3 dead as 33 and
// delivered as 33 besides. It has the tables of that version.
func formerStore(t *testing.T, opts store.Options, received time.Time) {
	t.Helper()
	engine, dialect, next := "sqlite", goose.DialectSQLite3, `UPDATE counter SET next_id = 5`
	if opts.Path == "" {
		engine, dialect, next = "postgres", goose.DialectPostgres, `SELECT setval('delivery_ids', 4)`
	} else if err := os.MkdirAll(filepath.Dir(opts.Path), 0o755); err != nil {
		t.Fatal(err)
	}
	db := raw(t, opts)
	provider, err := goose.NewProvider(dialect, db, os.DirFS("migrations/"+engine),
		goose.WithDisableGlobalRegistry(true), goose.WithTableName("schema_version"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := provider.UpTo(context.Background(), 2); err != nil {
		t.Fatal(err)
	}
	payload := []byte(`{"type":"track"}`)
	for _, step := range []struct {
		statement string
		args      []any
	}{
		{`INSERT INTO names (name) VALUES ('default')`, nil},
		{`INSERT INTO names (name) VALUES ('tenant')`, nil},
		{`INSERT INTO queue (id, connection, tenant, due_at, body_hash, message_id, user_id, event_key,
			received_at, payload)
			VALUES (1, 1, 2, $1, 11, 'm-1', 'u', 'key', $2,
				$3)`, []any{received.UnixMilli(), received.UnixMilli(), payload}},
		{`INSERT INTO deliveries (id, connection, tenant, outcome, body_hash, message_id, user_id, event_key,
			received_at, settled_ms, attempts, ambiguous)
			VALUES (2, 1, 2, 1, 22, 'm-2', 'u', 'key', $1, 5, 1, 0), (3, 1, 2, 5, 33, 'm-3', 'u', 'key', $2, 5, 1, 0),
				(4, 1, 2, 1, 33, 'm-3', 'u', 'key', $3, 5, 1,
					0)`, []any{received.UnixMilli(), received.UnixMilli(), received.UnixMilli()}},
		{`INSERT INTO payloads (delivery, payload) VALUES (3, $1)`, []any{payload}},
		{`INSERT INTO totals (connection, shard, outcome, events, removed, bytes)
			VALUES (1, 0, 0, 4, 0, 0), (1, 0, 1, 2, 0, 0), (1, 0, 5, 1, 0, 0), (1, 0, 6, 1, 0,
				$1)`, []any{len(payload)}},
		{next, nil},
	} {
		if _, err := db.Exec(step.statement, step.args...); err != nil {
			t.Fatalf("%s: %v", step.statement, err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

// formerRows counts what says that events are looked up by their former identity.
func formerRows(t *testing.T, opts store.Options) (n int) {
	t.Helper()
	if err := raw(t, opts).QueryRow(`SELECT count(*) FROM former_identities`).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// again is an unkeyed event under its identity and the fingerprint that today's rules
// give it.
func again(messageID string, identity, fingerprint int64) adapter.Arrival {
	a := event(messageID)
	a.Keyed, a.Identity, a.Fingerprint = false, identity, fingerprint
	return a
}

// TestFormerIdentities opens the database of an earlier version: what it holds is
// recognised, until the ledger has forgotten it.
func TestFormerIdentities(t *testing.T) {
	forEachEngine(t, func(t *testing.T, opts store.Options) {
		c := deliverytest.NewStoppedClock()
		opts.Now, opts.Retention = c.Now, store.Retention{Ledger: 90 * 24 * time.Hour}
		formerStore(t, opts, c.Now())
		s := open(t, opts)
		q := connection(t, s, "default", "tenant")
		balanced(t, s)

		list := []adapter.Arrival{again("m-1", 101, 11), again("m-2", 102, 22), again("m-2", 104, 24)}
		known, err := s.Known(context.Background(), "default", "tenant", list)
		if err != nil || known[0] != mapping.ReasonAlreadyAccepted || known[1] != mapping.ReasonAlreadyDelivered ||
			known[2] != "" {
			t.Errorf("known %q, %v", known, err)
		}
		wantText(t, "live", accept(t, q, list...), "duplicate already_accepted, duplicate already_delivered, pending")
		run := beginRun(t, s)
		batch := &adapter.Batch{Arrivals: []adapter.Arrival{again("m-1", 101, 11), again("m-2", 102, 22),
			again("m-2", 104, 99)}}
		wantText(t, "replayed", acceptBatch(t, s, run, batch),
			"duplicate already_accepted, duplicate already_delivered, duplicate already_accepted")

		wantText(t, "another version's replay", accept(t, q, again("m-9", 0, 55), again("m-9", 0, 55),
			again("m-9", 0, 56)), "pending, duplicate already_accepted, pending")

		// A dead letter of before, whose fingerprint is another by today's rules.
		redriven, err := s.Redrive(context.Background(), []adapter.Redelivery{{ID: 3, UserID: "u", AccountID: "u",
			EventKey: "key", Identity: 103, Fingerprint: 34}})
		if err != nil || redriven != (adapter.Redriven{Duplicate: 1}) {
			t.Errorf("redriven %+v, %v", redriven, err)
		}
		record(t, q, lease(t, q, 10), adapter.Step{Outcome: adapter.Delivered, At: c.Now()})
		wantText(t, "delivered since", accept(t, q, again("m-1", 101, 11)), "duplicate already_delivered")
		balanced(t, s)

		c.Advance(80 * 24 * time.Hour)
		retain(t, s)
		if n := formerRows(t, opts); n != 1 {
			t.Errorf("%d rows say what the ledger still knows", n)
		}
		wantText(t, "within the retention", accept(t, q, again("m-2", 112, 22)), "duplicate already_delivered")
		c.Advance(11 * 24 * time.Hour)
		retain(t, s)
		if n := formerRows(t, opts); n != 0 {
			t.Errorf("%d rows say what the ledger has forgotten", n)
		}
		wantText(t, "new", accept(t, q, again("m-5", 201, 202)), "pending")
		wantText(t, "no look-up by fingerprint", accept(t, q, again("m-5", 203, 201)), "pending")
		balanced(t, s)
	})
}

func retain(t *testing.T, s *store.Store) {
	t.Helper()
	if err := s.Retain(context.Background()); err != nil {
		t.Fatal(err)
	}
}

// TestNewStoreHasNoFormerIdentities has a store look up nothing by fingerprints that
// never held any.
func TestNewStoreHasNoFormerIdentities(t *testing.T) {
	forEachEngine(t, func(t *testing.T, opts store.Options) {
		s := open(t, opts)
		q := connection(t, s, "default", "tenant")
		wantText(t, "new", accept(t, q, again("m-1", 101, 11)), "pending")
		wantText(t, "its identity as a fingerprint", accept(t, q, again("m-1", 102, 101)), "pending")
		wantText(t, "other rules", accept(t, q, again("m-1", 101, 12)), "duplicate already_accepted")
		if n := formerRows(t, opts); n != 0 {
			t.Errorf("%d rows of a new store", n)
		}
	})
}

// TestFormerDeadLetter redrives a dead letter of an earlier version after the ledger has
// forgotten what that delivered: from then on it has today's identity.
func TestFormerDeadLetter(t *testing.T) {
	forEachEngine(t, func(t *testing.T, opts store.Options) {
		c := deliverytest.NewStoppedClock()
		opts.Now, opts.Retention = c.Now, store.Retention{Ledger: 90 * 24 * time.Hour}
		formerStore(t, opts, c.Now())
		s := open(t, opts)
		q := connection(t, s, "default", "tenant")
		record(t, q, lease(t, q, 10), adapter.Step{Outcome: adapter.Delivered, At: c.Now()})
		c.Advance(91 * 24 * time.Hour)
		retain(t, s)
		redriven, err := s.Redrive(context.Background(), []adapter.Redelivery{{ID: 3, UserID: "u", AccountID: "u",
			EventKey: "key", Identity: 103, Fingerprint: 34}})
		if err != nil || redriven != (adapter.Redriven{Pending: 1}) {
			t.Errorf("redriven %+v, %v", redriven, err)
		}
		wantText(t, "redriven", accept(t, q, again("m-3", 103, 35)), "duplicate already_accepted")
		record(t, q, lease(t, q, 10), adapter.Step{Outcome: adapter.Delivered, At: c.Now()})
		c.Advance(91 * 24 * time.Hour)
		retain(t, s)
		if n := formerRows(t, opts); n != 0 {
			t.Errorf("%d rows say what the store has forgotten", n)
		}
		balanced(t, s)
	})
}

// TestSettleFormerWhileAccepted has events come again under their new identity while
// another process settles what an earlier version stored of them.
func TestSettleFormerWhileAccepted(t *testing.T) {
	forEachEngine(t, func(t *testing.T, opts store.Options) {
		formerStore(t, opts, time.Now())
		one := open(t, opts)
		other := one
		if opts.Path == "" {
			other = open(t, opts)
		}
		q, redelivered := connection(t, one, "default", "tenant"), connection(t, other, "default", "tenant")
		for round := range 20 {
			former := make([]adapter.Arrival, 20)
			for i := range former {
				former[i] = again(fmt.Sprintf("m-%d-%d", round, i), 0, int64(1000+i))
			}
			accept(t, q, former...)
			leased := lease(t, q, 100)
			var wait sync.WaitGroup
			wait.Go(func() { record(t, q, leased, adapter.Step{Outcome: adapter.Delivered, At: time.Now()}) })
			for range 3 {
				wait.Go(func() {
					list := make([]adapter.Arrival, len(former))
					for i := range list {
						list[i] = again(former[i].MessageID, int64(2000+i), int64(1000+i))
					}
					if got := accept(t, redelivered, list...); strings.Contains(got, "pending") {
						t.Errorf("an event was accepted twice: %s", got)
					}
				})
			}
			wait.Wait()
		}
		balanced(t, one)
	})
}
