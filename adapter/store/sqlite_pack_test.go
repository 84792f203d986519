package store_test

import (
	"context"
	"testing"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/store"
)

// TestPurgeFreesMessageIDs gets the space of purged deliveries back from the table of
// messageIds, whose entries are in no order of age, and finds all others still.
func TestPurgeFreesMessageIDs(t *testing.T) {
	t.Parallel()
	const events, purged = 24_000, 8_000
	opts := store.WithMessagesInMemory(sqliteOptions(t), 2000)
	s := open(t, opts)
	ctx := context.Background()
	q := connection(t, s, "default", "tenant")
	list := arrivals(0, events)
	for i := range list {
		list[i].Outcome, list[i].Reason, list[i].Payload = adapter.Skipped, "unsupported_type", nil
	}
	for first := 0; first < events; first += 2000 {
		accept(t, q, list[first:first+2000]...)
	}
	retain := func() {
		t.Helper()
		if err := s.Retain(ctx); err != nil {
			t.Fatal(err)
		}
	}
	db := raw(t, opts)
	pages := func() (n int64) {
		t.Helper()
		if err := db.QueryRow(`SELECT count(*) FROM dbstat WHERE name = 'messages'`).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	awaitIndexed(t, db, 2000)
	retain()
	before := pages()
	ids := make([]int64, purged)
	for i := range ids {
		ids[i] = int64(i + 1)
	}
	if n, err := s.Purge(ctx, ids); err != nil || n != purged {
		t.Fatal(n, err)
	}
	retain()
	if after := pages(); after*100 > before*80 {
		t.Errorf("the messageIds take %d pages, %d before a third of them was purged", after, before)
	}
	for _, i := range []int{purged, purged + 1, events / 2, events - 1} {
		found, err := s.Find(ctx, adapter.Filter{MessageID: list[i].MessageID}, 10)
		if err != nil || len(found) != 1 {
			t.Errorf("event %d: found %v, %v", i, found, err)
		}
	}
	var entries, deliveries int64
	err := db.QueryRow(
		`SELECT (SELECT count(*) FROM messages), (SELECT count(*) FROM deliveries WHERE id <= (SELECT indexed_id
			FROM counter))`).
		Scan(&entries, &deliveries)
	if err != nil || entries != deliveries {
		t.Errorf("%d entries of %d deliveries, %v", entries, deliveries, err)
	}
	balanced(t, s)
}
