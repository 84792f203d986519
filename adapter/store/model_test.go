package store_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/delivery/deliverytest"
	"segment-saasquatch/adapter/store"
	"segment-saasquatch/mapping"
)

// TestConservation does whatever can be done, in random order, and has every row
// counted again and again.
func TestConservation(t *testing.T) {
	forEachEngine(t, func(t *testing.T, opts store.Options) {
		for seed := range uint64(deliverytest.Explore(1)) {
			c := deliverytest.NewStoppedClock()
			opts.Now = c.Now
			opts.Retention = store.Retention{Ledger: 30 * time.Hour, Dead: 40 * time.Hour, Payloads: time.Hour}
			opts = store.WithMessagesInMemory(opts, 30)
			random := rand.New(rand.NewPCG(seed, 7))
			s := open(t, opts)
			q := connection(t, s, "default", "tenant")
			accepted := balancedTotal(t, s)
			var hand []adapter.Leased
			ctx := context.Background()
			for step := range 400 {
				switch random.IntN(10) {
				case 0, 1, 2:
					var list []adapter.Arrival
					for range 1 + random.IntN(20) {
						a := event(fmt.Sprintf("message-%d", random.IntN(200)))
						switch random.IntN(6) {
						case 0:
							a.Outcome, a.Reason = adapter.Rejected, "missing_type"
						case 1:
							a.Outcome, a.Reason = adapter.Skipped, "unsupported_type"
						case 2:
							a.Keyed, a.Identity = false, int64(1+random.IntN(3))
						}
						list = append(list, a)
					}
					accept(t, q, list...)
					accepted += int64(len(list))
				case 3, 4:
					hand = append(hand, lease(t, q, 1+random.IntN(30))...)
				case 5, 6:
					for range min(len(hand), 15) {
						l := hand[0]
						hand = hand[1:]
						outcome := adapter.Outcomes[random.IntN(len(adapter.Outcomes))]
						record := adapter.Step{Outcome: outcome, Reason: mapping.ReasonRefused,
							Counted: random.IntN(2) == 0, Ambiguous: random.IntN(2) == 0,
							Began: c.Now(), At: c.Now(),
							Due: c.Now().Add(time.Duration(random.IntN(100)) * time.Minute)}
						// Purged, or leased again when its lease was over.
						if err := q.Record(ctx, &l, record); err != nil && err != adapter.ErrLeaseLost {
							t.Fatal(err)
						}
					}
				case 7:
					found, err := s.Find(ctx, adapter.Filter{Before: int64(1 + random.IntN(2000))}, 20)
					if err != nil {
						t.Fatal(err)
					}
					var ids []int64
					for i := range found {
						ids = append(ids, found[i].ID)
					}
					if random.IntN(3) == 0 {
						if _, err := s.Purge(ctx, ids[:min(len(ids), 3)]); err != nil {
							t.Fatal(err)
						}
					} else {
						redrive(t, s, ids...)
					}
				case 8:
					c.Advance(time.Duration(random.IntN(300)) * time.Minute)
					if err := s.Retain(ctx); err != nil {
						t.Fatal(err)
					}
				case 9:
					if random.IntN(4) > 0 {
						continue
					}
					if err := s.Close(); err != nil {
						t.Fatal(err)
					}
					s = open(t, opts)
					q = connection(t, s, "default", "tenant")
					hand = nil
				}
				if step%20 == 0 {
					if got := balancedTotal(t, s); got != accepted {
						t.Fatalf("seed %d, step %d: %d accepted, want %d", seed, step, got, accepted)
					}
				}
			}
			backlog, err := s.Backlog(ctx)
			totals := balanced(t, s)[0]
			if err != nil || backlog[0].Events != totals.Events[adapter.Pending] {
				t.Errorf("seed %d: backlog %+v, %v, totals %+v", seed, backlog, err, totals)
			}
			sameByOutcome(t, s)
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// balancedTotal returns how many were accepted, after all rows have been counted.
func balancedTotal(t *testing.T, s *store.Store) (total int64) {
	t.Helper()
	for _, v := range balanced(t, s) {
		total += v.Accepted
	}
	return total
}
