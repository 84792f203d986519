package store_test

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/store"
)

// TestMergeSettled joins what a tenant has taken under two hosts.
func TestMergeSettled(t *testing.T) {
	const former, present = "http://127.0.0.1:1/test_x", "http://localhost:1/test_x"
	forEachEngine(t, func(t *testing.T, opts store.Options) {
		s := open(t, opts)
		ctx := context.Background()
		old, q := connection(t, s, "default", former), connection(t, s, "default", present)
		for i := range 20 {
			accept(t, old, event(fmt.Sprintf("message-%d", i)))
		}
		record(t, old, lease(t, old, 15), adapter.Step{Outcome: adapter.Delivered})
		accept(t, q, event("message-0")) // the ledger did not know it
		if got := s.Namesakes(present); !slices.Equal(got, []string{former}) {
			t.Errorf("namesakes %v", got)
		}
		for range 2 {
			if _, err := s.MergeSettled(ctx, former, present, func(int64) {}); err != nil {
				t.Fatal(err)
			}
		}
		for tenant, want := range map[string]store.TenantEvents{
			former:  {Tenant: former, Pending: 5},
			present: {Tenant: present, Pending: 1, Settled: 15},
			"none":  {Tenant: "none"},
		} {
			if got, err := s.EventsOf(ctx, tenant); err != nil || got != want {
				t.Errorf("%s: got %+v, %v, want %+v", tenant, got, err, want)
			}
		}
		if got := accept(t, q, event("message-1")); got != "duplicate already_delivered" {
			t.Errorf("an event that the former host took comes again: %s", got)
		}
		balanced(t, s)
	})
}
