package store_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/store"
	"segment-saasquatch/mapping"
)

// fillCopied fills a store with deliveries of all outcomes, one of which is leased.
func fillCopied(t *testing.T, opts store.Options, n int) {
	t.Helper()
	s, err := store.Open(context.Background(), opts)
	if err != nil {
		t.Fatal(err)
	}
	q := connection(t, s, "default", "tenant")
	list := make([]adapter.Arrival, n)
	for i := range list {
		list[i] = event(fmt.Sprintf("message-%d", i))
		list[i].Event = "Order Completed"
		if i%10 == 9 {
			list[i].Outcome, list[i].Reason, list[i].Payload = adapter.Rejected, "invalid_json", []byte("{\x00\xff")
		}
	}
	accept(t, q, list...)
	steps := []adapter.Step{
		{Outcome: adapter.Delivered, Status: 200, Counted: true},
		{Outcome: adapter.Dead, Status: 404, Reason: mapping.ReasonUserNotFound, Counted: true},
		{Outcome: adapter.Pending, Reason: mapping.ReasonTimeout, Counted: true, Ambiguous: true,
			Due: time.Now().Add(time.Hour)},
	}
	for i, l := range lease(t, q, n*2/3) {
		step := steps[i%len(steps)]
		step.Began, step.At = time.Now(), time.Now()
		record(t, q, []adapter.Leased{l}, step)
	}
	lease(t, q, 1) // and the process dies
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// described is all that operators see of a store.
func described(t *testing.T, opts store.Options) (deliveries []string, totals []adapter.Conservation) {
	t.Helper()
	s, err := store.Open(context.Background(), opts)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	found, err := s.Find(context.Background(), adapter.Filter{}, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	for i := range found {
		d, err := s.Get(context.Background(), found[i].ID)
		if err != nil {
			t.Fatal(err)
		}
		deliveries = append(deliveries, fmt.Sprintf("%+v %s", *d, d.Payload))
	}
	return deliveries, balanced(t, s)
}

// TestCopy copies stores between all engines. A copy that is broken off after one of its steps
// leaves a store that does not open, and goes on.
func TestCopy(t *testing.T) {
	engines := map[string]func(testing.TB) store.Options{"sqlite": sqliteOptions, "postgres": postgresOptions}
	for from, source := range engines {
		for to, target := range engines {
			t.Run(from+" to "+to, func(t *testing.T) {
				source, target := source(t), target(t)
				fillCopied(t, source, 300)
				opts := store.CopyOptions{From: source, To: target}
				for broken := 1; ; broken += 7 {
					ctx, cancel := context.WithCancel(context.Background())
					calls := 0
					opts.Progress = func(string, int64, int64) {
						if calls++; calls == broken {
							cancel()
						}
					}
					copied, err := store.Copy(ctx, opts)
					cancel()
					if err == nil {
						if copied.Pending+copied.Settled != 300 {
							t.Errorf("got %+v", copied)
						}
						break
					}
					if broken > 100 {
						t.Fatal(err)
					}
					if _, err := store.Open(context.Background(), target); !errors.As(err,
						new(*store.UnfinishedCopyError)) {
						t.Fatalf("a copy that is not complete opens: %v", err)
					}
				}
				before, wantTotals := described(t, source)
				after, totals := described(t, target)
				if !slices.Equal(before, after) {
					t.Errorf("got %q\nwant %q", after, before)
				}
				if fmt.Sprint(totals) != fmt.Sprint(wantTotals) {
					t.Errorf("got %+v, want %+v", totals, wantTotals)
				}
				s := open(t, target)
				q := connection(t, s, "default", "tenant")
				if got := accept(t, q, event("message-0")); got != "duplicate already_delivered" {
					t.Errorf("an event of the copied ledger comes again: %s", got)
				}
				if got := accept(t, q, event("new-message")); got != "pending" {
					t.Errorf("a new event: %s", got)
				}
				balanced(t, s)
			})
		}
	}
}

// TestCopyIsRefused copies into stores, and out of stores, that it must leave alone.
func TestCopyIsRefused(t *testing.T) {
	forEachEngine(t, func(t *testing.T, opts store.Options) {
		source := sqliteOptions(t)
		fillCopied(t, source, 3)
		fillCopied(t, opts, 3)
		if _, err := store.Copy(context.Background(), store.CopyOptions{From: source, To: opts}); err == nil {
			t.Error("a store with events was filled")
		}
		server := open(t, opts)
		if _, err := store.Copy(context.Background(), store.CopyOptions{From: opts,
			To: sqliteOptions(t)}); err == nil {
			t.Error("a store in use was copied")
		}
		balanced(t, server)
	})
}

// TestCopiedTables holds the tables that a copy knows against those of the databases.
func TestCopiedTables(t *testing.T) {
	own := []string{
		"schema_version", "schema_additions", "probe", "counter", "messages", "commits", "leases", "sqlite_sequence",
		"deliveries_by_outcome", "deliveries_by_run", "unindexed_deliveries", "packed_messages",
	}
	forEachEngine(t, func(t *testing.T, opts store.Options) {
		s := open(t, opts)
		query := `SELECT tablename FROM pg_tables WHERE schemaname = 'public'`
		if opts.URL.IsZero() {
			query = `SELECT name FROM sqlite_master WHERE type = 'table'`
		}
		err := store.Read(s, func(tx *sql.Tx) error {
			rows, err := tx.Query(query)
			if err != nil {
				return err
			}
			defer rows.Close()
			for rows.Next() {
				var name string
				if err := rows.Scan(&name); err != nil {
					return err
				}
				if !slices.Contains(store.CopiedTables(), name) && !slices.Contains(own, name) {
					t.Errorf("table %s is neither copied nor a database's own", name)
				}
			}
			return rows.Err()
		})
		if err != nil {
			t.Fatal(err)
		}
	})
}

// TestCopyOfMark copies an event that was being sent when its process died.
func TestCopyOfMark(t *testing.T) {
	from, to := postgresOptions(t), sqliteOptions(t)
	s := open(t, from)
	q := connection(t, s, "default", "tenant")
	accept(t, q, event("message-1"))
	leased := lease(t, q, 1)
	if err := q.MarkSending(context.Background(), &leased[0]); err != nil {
		t.Fatal(err)
	}
	closeStore(t, s)
	if _, err := store.Copy(context.Background(), store.CopyOptions{From: from, To: to}); err != nil {
		t.Fatal(err)
	}
	leased = lease(t, connection(t, open(t, to), "default", "tenant"), 1)
	if len(leased) != 1 || !leased[0].Interrupted {
		t.Errorf("leased %+v", leased)
	}
}
