package store_test

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/delivery/deliverytest"
	"segment-saasquatch/adapter/store"
)

// identify returns an identify call of a user, with its own time unless that is empty.
func identify(messageID, userID, accountID, at string) adapter.Arrival {
	payload := fmt.Sprintf(`{"type":"identify","messageId":%q`, messageID)
	if at != "" {
		payload += fmt.Sprintf(`,"timestamp":%q`, at)
	}
	return adapter.Arrival{
		MessageID: messageID, Keyed: true, UserID: userID, AccountID: accountID, EventKey: adapter.UpsertEventKey,
		Payload: []byte(payload + "}"), Outcome: adapter.Pending,
	}
}

// identifies asks for a user's calls and returns their messageIds with their times.
func identifies(t testing.TB, s *store.Store, tenant, userID, accountID string, since int64) string {
	t.Helper()
	// The user stands among others, of whom nothing is known.
	found, err := s.Identifies(context.Background(), "default", tenant, []adapter.IdentifyQuery{
		{UserID: "unknown", AccountID: "unknown", Since: math.MinInt64}, {UserID: userID, AccountID: accountID,
			Since: since}, {UserID: "", AccountID: "", Since: math.MinInt64},
	})
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, known := range found {
		if known.Query != 1 {
			t.Errorf("answer %+v", known)
		}
		list = append(list, known.MessageID+" "+time.UnixMilli(known.At).UTC().Format("15:04"))
	}
	slices.Sort(list)
	return strings.Join(list, ", ")
}

// TestIdentifies looks for newer profiles, in the queue and in the log, of live traffic
// and of replays, with payloads and without.
func TestIdentifies(t *testing.T) {
	forEachEngine(t, func(t *testing.T, opts store.Options) {
		clock := deliverytest.NewStoppedClock() // at 12:00
		opts.Now = clock.Now
		opts.Retention = store.Retention{Payloads: time.Minute}
		s := open(t, opts)
		q := connection(t, s, "default", runTenant)
		long := "u" + strings.Repeat("é", 400) // more than is kept of an id
		done := func(arrivals ...adapter.Arrival) {
			accept(t, q, arrivals...)
			record(t, q, lease(t, q, 100), adapter.Step{Outcome: adapter.Delivered, Counted: true,
				EventKey: adapter.UpsertEventKey, Began: clock.Now(), At: clock.Now()})
		}
		done(identify("live-1", "u", "u", "2026-03-01T10:00:00Z"), identify("live-2", "u", "account",
			"2026-03-01T10:30:00Z"), identify("live-3", long, long, ""))
		accept(t, q, event("track"))
		record(t, q, lease(t, q, 100), adapter.Step{Outcome: adapter.Delivered, Counted: true, Began: clock.Now(),
			At: clock.Now()})
		accept(t, q, identify("dead", "u", "u", ""))
		record(t, q, lease(t, q, 100), adapter.Step{Outcome: adapter.Dead, Counted: true, Began: clock.Now(),
			At: clock.Now()})
		run := beginRun(t, s)
		acceptBatch(t, s, run, &adapter.Batch{Arrivals: []adapter.Arrival{identify("run-1", "u", "u",
			"2026-03-01T09:00:00Z"), identify("run-2", "u", "u", "")}})
		record(t, q, lease(t, q, 100), adapter.Step{Outcome: adapter.Delivered, Counted: true,
			EventKey: adapter.UpsertEventKey, Began: clock.Now(), At: clock.Now()})

		wantText(t, "with payloads", identifies(t, s, runTenant, "u", "u", math.MinInt64), "live-1 10:00, run-1 09:00")
		since := time.Date(2026, 3, 1, 9, 30, 0, 0, time.UTC).UnixMilli()
		wantText(t, "newer ones", identifies(t, s, runTenant, "u", "u", since), "live-1 10:00")
		wantText(t, "of another account", identifies(t, s, runTenant, "u", "account", since), "live-2 10:30")
		wantText(t, "of a long userId", identifies(t, s, runTenant, long, long, since), "live-3 12:00")
		wantText(t, "of another tenant", identifies(t, s, "another", "u", "u", since), "")
		wantText(t, "of no call", identifies(t, s, runTenant, "v", "v", since), "")

		clock.Advance(time.Hour) // the payloads are gone
		if err := s.Retain(context.Background()); err != nil {
			t.Fatal(err)
		}
		wantText(t, "without payloads", identifies(t, s, runTenant, "u", "u", since), "live-1 12:00")

		accept(t, q, identify("pending-1", "u", "u", "2026-03-01T09:45:00Z"), identify("pending-2", "u", "u", ""),
			identify("pending-3", "u", "other", ""), identify("pending-4", "u", "u", "2026-03-01T08:00:00Z"))
		acceptBatch(t, s, run, &adapter.Batch{Arrivals: []adapter.Arrival{identify("run-3", "u", "u",
			"2026-03-01T09:40:00Z"), identify("run-4", "u", "u", "")}})
		wantText(t, "with pending ones", identifies(t, s, runTenant, "u", "u", since),
			"live-1 12:00, pending-1 09:45, pending-2 13:00, run-3 09:40")

		var many []adapter.Arrival
		for i := range 2 * adapter.MaxIdentifies {
			many = append(many, identify(fmt.Sprintf("many-%d", i), "busy", "busy", ""))
		}
		accept(t, q, many...)
		if n := len(strings.Split(identifies(t, s, runTenant, "busy", "busy", math.MinInt64),
			", ")); n != adapter.MaxIdentifies {
			t.Errorf("%d calls of a busy user", n)
		}
		if _, err := s.Identifies(context.Background(), "default", runTenant, make([]adapter.IdentifyQuery,
			adapter.MaxIdentifyQueries+1)); err == nil {
			t.Error("too many queries were answered")
		}
	})
}
