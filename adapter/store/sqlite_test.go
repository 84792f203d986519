package store_test

import (
	"context"
	"database/sql"
	"fmt"
	"testing"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/store"
)

// awaitIndexed waits until the messageIds of all but the newest deliveries are in their table.
func awaitIndexed(t *testing.T, db *sql.DB, newest int64) {
	t.Helper()
	await(t, func() bool {
		var left int64
		if err := db.QueryRow(`SELECT next_id - 1 - indexed_id FROM counter`).Scan(&left); err != nil {
			t.Fatal(err)
		}
		return left < newest
	})
}

// TestMessageIndex has the index of messageIds go from memory to its table over
// and over, and looks for every event before, meanwhile, afterwards and after a
// restart.
func TestMessageIndex(t *testing.T) {
	const inMemory = 100
	opts := store.WithMessagesInMemory(sqliteOptions(t), inMemory)
	ctx := context.Background()
	s := open(t, opts)
	db := raw(t, opts)
	q := connection(t, s, "default", "tenant")
	const events = 1000
	send := func(q *store.Queue, first int) (duplicates int) {
		t.Helper()
		list := arrivals(first, 50)
		if err := q.Accept(ctx, list); err != nil {
			t.Fatal(err)
		}
		for i := range list {
			if list[i].Outcome == adapter.Duplicate {
				duplicates++
			}
		}
		return duplicates
	}
	for first := 0; first < events; first += 50 {
		if n := send(q, first); n != 0 {
			t.Fatalf("%d of 50 new events are duplicates", n)
		}
		if n := send(q, first); n != 50 {
			t.Fatalf("%d of 50 events that came again at once are duplicates", n)
		}
		if first%200 == 0 {
			awaitIndexed(t, db, 2*inMemory) // each event has two deliveries
		}
	}
	check := func(q *store.Queue) {
		t.Helper()
		for first := 0; first < events; first += 50 {
			if n := send(q, first); n != 50 {
				t.Errorf("events from %d: %d of 50 are duplicates", first, n)
			}
		}
	}
	check(q)
	for i := range events {
		found, err := s.Find(ctx, adapter.Filter{MessageID: arrivals(i, 1)[0].MessageID,
			Outcomes: []adapter.Outcome{adapter.Pending}}, 10)
		if err != nil || len(found) != 1 || found[0].EventKey != "order_completed" {
			t.Fatalf("event %d: found %v, error %v", i, found, err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, opts)
	check(connection(t, s, "default", "tenant"))
	if n := send(connection(t, s, "other", "another tenant"), 0); n != 0 {
		t.Errorf("%d events of another tenant are duplicates", n)
	}
	verified, err := s.Verify(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range verified {
		if len(v.Faults) > 0 {
			t.Error(v.Connection, v.Faults)
		}
	}
	if got := fmt.Sprint(verified[0].Accepted, verified[0].Events[adapter.Pending]); got != "4000 1000" {
		t.Errorf("accepted and pending: %s", got)
	}
}
