package store_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/delivery/deliverytest"
	"segment-saasquatch/adapter/store"
	"segment-saasquatch/mapping"
)

// mergedUpsert returns a live identify call and an upsert of merged traits that bears
// the call's messageId, and how a redrive describes the upsert: as the call.
func mergedUpsert(live adapter.Arrival) (merged adapter.Arrival, as adapter.Redelivery) {
	merged = live
	merged.Keyed, merged.Identity, merged.Fingerprint = false, 99, 0
	as = adapter.Redelivery{
		UserID: live.UserID, AccountID: live.AccountID, EventKey: live.EventKey,
		Keyed: live.Keyed, Identity: live.Identity, Fingerprint: live.Fingerprint,
	}
	if live.MessageID == "" {
		merged.MessageID = "merged:0000000000000063"
	}
	return merged, as
}

// TestMergedUpsertKeepsIdentity takes merged upserts through the ways of an operator,
// beside live deliveries of the calls whose messageIds they bear.
func TestMergedUpsertKeepsIdentity(t *testing.T) {
	forEachEngine(t, func(t *testing.T, opts store.Options) {
		c := deliverytest.NewStoppedClock()
		opts.Now = c.Now
		opts.Retention = store.Retention{Dead: 1000 * time.Hour}
		formerStore(t, opts, c.Now()) // of an earlier version, which knew no merged upserts
		s, q := openWith(t, opts, testTenant)
		moved := connection(t, s, "default", liveTenant)
		settle := func(q *store.Queue, outcome adapter.Outcome) {
			t.Helper()
			record(t, q, lease(t, q, 100), adapter.Step{Outcome: outcome, Reason: mapping.ReasonRefused, At: c.Now()})
		}
		redrive := func(what string, as adapter.Redelivery, outcome adapter.Outcome, tenant string) {
			t.Helper()
			found, err := s.Find(context.Background(), adapter.Filter{Connection: "default",
				Outcomes: []adapter.Outcome{outcome}}, 1)
			if err != nil || len(found) != 1 {
				t.Fatalf("%s: %+v, %v", what, found, err)
			}
			as.ID, as.Tenant = found[0].ID, tenant
			done, err := s.Redrive(context.Background(), []adapter.Redelivery{as})
			if err != nil || done != (adapter.Redriven{Pending: 1}) {
				t.Fatalf("%s: %+v, %v", what, done, err)
			}
		}
		for name, live := range map[string]adapter.Arrival{"key": event("message-1"), "no key": unkeyed("m", 7),
			"none": event("")} {
			live.Keyed = live.Keyed && live.MessageID != ""
			merged, as := mergedUpsert(live)
			step := func(text string) string { return fmt.Sprintf("%s: %s", name, text) }

			accept(t, q, live)
			accept(t, moved, live)
			settle(q, adapter.Delivered)
			settle(moved, adapter.Delivered)
			wantText(t, step("beside the call"), accept(t, q, merged), "pending")
			redrive(step("pending"), as, adapter.Pending, "")
			settle(q, adapter.Dead)
			redrive(step("dead"), as, adapter.Dead, "")
			wantText(t, step("while it is pending"), accept(t, q, merged), "duplicate already_accepted")
			settle(q, adapter.Dead)
			wantText(t, step("after it died"), accept(t, q, merged), "pending")
			settle(q, adapter.Delivered)
			wantText(t, step("delivered"), accept(t, q, merged), "duplicate already_delivered")

			// An operator forgets it.
			found, err := s.Find(context.Background(), adapter.Filter{MessageID: merged.MessageID,
				Outcomes: []adapter.Outcome{adapter.Dead, adapter.Delivered}}, 10)
			if err != nil || len(found) < 2 {
				t.Fatalf("%s: %+v, %v", name, found, err)
			}
			if _, err := s.Purge(context.Background(), idsOf(found), adapter.Dead, adapter.Delivered); err != nil {
				t.Fatal(err)
			}
			if accept(t, q, live); live.MessageID != "" {
				settle(q, adapter.Delivered)
			}
			wantText(t, step("purged"), accept(t, q, merged), "pending")

			// To another tenant, pending and dead.
			redrive(step("pending, to another tenant"), as, adapter.Pending, liveTenant)
			settle(moved, adapter.Delivered)
			wantText(t, step("at the other tenant"), accept(t, moved, merged), "duplicate already_delivered")
			more := merged
			more.Identity = 101
			wantText(t, step("of more calls"), accept(t, q, more), "pending")
			settle(q, adapter.Dead)
			redrive(step("dead, to another tenant"), as, adapter.Dead, liveTenant)
			settle(moved, adapter.Delivered)
			wantText(t, step("of more calls, at the other tenant"), accept(t, moved, more),
				"duplicate already_delivered")

			// Rejected by the rules of its first day.
			rejected := merged
			rejected.Identity, rejected.Outcome, rejected.Reason = 103, adapter.Rejected, "expression_failed"
			wantText(t, step("rejected"), accept(t, q, rejected), "rejected expression_failed")
			redrive(step("rejected"), as, adapter.Rejected, "")
			settle(q, adapter.Delivered)
			rejected.Outcome = adapter.Pending
			wantText(t, step("delivered by a redrive"), accept(t, q, rejected), "duplicate already_delivered")
			balanced(t, s)
		}
	})
}
