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

// TestRetainInTime deletes each event in the hour after its time, also one that is settled
// long after others that were accepted later, whichever outcomes are kept for longer.
func TestRetainInTime(t *testing.T) {
	t.Parallel()
	const hour = time.Hour
	for name, retention := range map[string]store.Retention{
		"dead letters are kept for longer": {Ledger: 10 * hour, Dead: 30 * hour},
		"others are kept for longer":       {Ledger: 30 * hour, Dead: 10 * hour},
		"others are kept for ever":         {Dead: 10 * hour},
		"dead letters are kept for ever":   {Ledger: 10 * hour},
	} {
		t.Run(name, func(t *testing.T) {
			forEachEngine(t, func(t *testing.T, opts store.Options) {
				c := deliverytest.NewStoppedClock()
				opts.Now, opts.Retention = c.Now, retention
				s := open(t, opts)
				q := connection(t, s, "default", "tenant")
				for i := range 6 {
					rejected := event(fmt.Sprintf("message-%d", i))
					rejected.Outcome, rejected.Reason = adapter.Rejected, "missing_type"
					skipped := event(fmt.Sprintf("message-%d", i))
					skipped.Outcome, skipped.Reason = adapter.Skipped, "unsupported_type"
					accept(t, q, event(fmt.Sprintf("message-%d", i)), rejected, skipped)
				}
				settle := func(outcome adapter.Outcome, n int) {
					for _, l := range lease(t, q, n) {
						record(t, q, []adapter.Leased{l}, adapter.Step{Outcome: outcome, Reason: mapping.ReasonRefused,
							At: c.Now()})
					}
				}
				settle(adapter.Delivered, 2)
				settle(adapter.Dead, 2)
				for i := range 70 {
					if err := s.Retain(context.Background()); err != nil {
						t.Fatal(err)
					}
					switch i {
					case 5:
						settle(adapter.Delivered, 1)
					case 8: // redriven events are settled again, under their first ids
						found, err := s.Find(context.Background(),
							adapter.Filter{Outcomes: []adapter.Outcome{adapter.Dead}}, 2)
						if err != nil || len(found) != 2 {
							t.Fatal(found, err)
						}
						redrive(t, s, found[0].ID, found[1].ID)
						settle(adapter.Delivered, 2)
					case 14:
						settle(adapter.Dead, 1)
					}
					all, err := s.Find(context.Background(), adapter.Filter{}, 100)
					if err != nil {
						t.Fatal(err)
					}
					for _, d := range all {
						keep := retention.Ledger
						if d.Outcome == adapter.Dead || d.Outcome == adapter.Rejected {
							keep = retention.Dead
						}
						if d.SettledAt != nil && keep > 0 && c.Now().Sub(*d.SettledAt) > keep+hour {
							t.Errorf("after %d hours delivery %d is still there, %s since %s", i, d.ID, d.Outcome,
								d.SettledAt)
						}
					}
					c.Advance(hour)
				}
				balanced(t, s)
				sameByOutcome(t, s)
			})
		})
	}
}
