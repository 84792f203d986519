package store_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/store"
)

// TestMessageIndex has the index of messageIds go from memory to its table over
// and over, and looks for every event before, meanwhile, afterwards and after a
// restart.
func TestMessageIndex(t *testing.T) {
	opts := store.WithMessagesInMemory(sqliteOptions(t), 100)
	ctx := context.Background()
	s := open(t, opts)
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
			time.Sleep(store.MaintainInterval) // the index works on a real file, so time is real
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
