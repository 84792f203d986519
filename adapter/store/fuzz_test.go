package store_test

import (
	"bytes"
	"context"
	"path/filepath"
	"testing"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/store"
	"segment-saasquatch/mapping"
)

// FuzzArrival accepts an event of any bytes and gets its payload back as it was,
// from the queue and, once it is dead, from the log.
func FuzzArrival(f *testing.F) {
	f.Add("message-1", "user", "account", "Event", "key", []byte(`{"type":"track"}`), true, int64(0))
	f.Add("", "", "", "", "", []byte{}, false, int64(0))
	f.Add("a\x00b", "\xff", "\xed\xa0\x80", "\x00", "'", []byte("\x00\xff"), false, int64(-1))
	s := open(f, store.Options{Path: filepath.Join(f.TempDir(), "adapter.db")})
	q := connection(f, s, "default", "tenant")
	ctx := context.Background()
	f.Fuzz(func(t *testing.T, messageID, userID, accountID, name, eventKey string, payload []byte, keyed bool,
		identity int64) {
		arrival := adapter.Arrival{MessageID: messageID, UserID: userID, AccountID: accountID, Event: name,
			EventKey: eventKey, Keyed: keyed, Identity: identity | 1,
			Payload: payload, Outcome: adapter.Pending}
		// Dead events make no duplicates, so the one before does not matter.
		if got := accept(t, q, arrival); got != "pending" {
			t.Fatalf("accepted as %s", got)
		}
		again := accept(t, q, arrival)
		if want := map[bool]string{true: "duplicate already_accepted",
			false: "pending"}[messageID != ""]; again != want {
			t.Errorf("accepted again as %s, want %s", again, want)
		}
		leased := lease(t, q, 3)
		if want := 1 + map[bool]int{true: 0, false: 1}[messageID != ""]; len(leased) != want {
			t.Fatalf("leased %d, want %d", len(leased), want)
		}
		for i := range leased {
			if !bytes.Equal(leased[i].Payload, payload) {
				t.Errorf("leased payload %q, want %q", leased[i].Payload, payload)
			}
			record(t, q, leased[i:i+1], adapter.Step{Outcome: adapter.Dead, Reason: mapping.ReasonRefused,
				Detail: userID, At: leased[i].ReceivedAt})
			got, err := s.Get(ctx, leased[i].ID)
			if err != nil || !bytes.Equal(got.Payload, payload) {
				t.Errorf("got payload %q, %v, want %q", got.Payload, err, payload)
			}
		}
		found, err := s.Find(ctx, adapter.Filter{MessageID: messageID, EventKey: eventKey}, 1)
		if err != nil || len(found) != 1 {
			t.Errorf("found %v, %v", found, err)
		}
	})
}
