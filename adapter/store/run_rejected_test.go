package store_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/delivery/deliverytest"
	"segment-saasquatch/adapter/store"
)

// bad is a line that the mapping rejects.
func bad(payload string) adapter.Arrival {
	return adapter.Arrival{Payload: []byte(payload), Outcome: adapter.Rejected, Reason: "invalid_json"}
}

// failures returns the payloads of a run's failures, in the order of acceptance.
func failures(t *testing.T, s *store.Store, run *adapter.Run) string {
	t.Helper()
	var payloads []string
	missing, err := s.Failures(context.Background(), run.ID, func(payload []byte) error {
		payloads = append(payloads, string(payload))
		return nil
	})
	if err != nil || missing > 0 {
		t.Fatalf("%d missing, %v", missing, err)
	}
	return strings.Join(payloads, " ")
}

// deadLetters lists the rejected deliveries with their repeats, the oldest first.
func deadLetters(t *testing.T, s *store.Store, filter adapter.Filter) string {
	t.Helper()
	filter.Outcomes = []adapter.Outcome{adapter.Rejected}
	found, err := s.Find(context.Background(), filter, 1000)
	if err != nil {
		t.Fatal(err)
	}
	var letters []string
	for i := range slices.Backward(found) {
		got, err := s.Get(context.Background(), found[i].ID)
		if err != nil || got.Repeats != found[i].Repeats {
			t.Errorf("got %+v, %v, found %+v", got, err, found[i])
		}
		letters = append(letters, fmt.Sprintf("%s×%d", got.Payload, got.Repeats))
	}
	return strings.Join(letters, " ")
}

// TestRejectedAgain replays an archive with bad lines: each is one dead letter, and
// each run reports it.
func TestRejectedAgain(t *testing.T) {
	forEachEngine(t, func(t *testing.T, opts store.Options) {
		c := deliverytest.NewStoppedClock()
		opts.Now, opts.Retention = c.Now, store.Retention{Dead: 30 * 24 * time.Hour}
		s := open(t, opts)
		q := connection(t, s, "default", runTenant)
		accept(t, q, bad("{live"), bad("{live"))
		check := func(run *adapter.Run, outcome, letters string, accepted int64) {
			t.Helper()
			wantText(t, "outcomes", outcomes(t, s, run), outcome)
			wantText(t, "dead letters", deadLetters(t, s, adapter.Filter{}), letters)
			if got := balanced(t, s)[0]; got.Accepted != accepted || got.Events[adapter.Rejected] != accepted {
				t.Errorf("%d accepted, %d rejected, want %d", got.Accepted, got.Events[adapter.Rejected], accepted)
			}
		}
		first := beginRun(t, s)
		archive := func() *adapter.Batch {
			return &adapter.Batch{Arrivals: []adapter.Arrival{bad("{1"), bad("{2"), bad("{1"), bad("{live")}}
		}
		wantText(t, "first run", acceptBatch(t, s, first, archive()),
			"rejected invalid_json, rejected invalid_json, rejected invalid_json, rejected invalid_json")
		check(first, "4 rejected invalid_json", "{live×0 {live×0 {1×1 {2×0 {live×0", 5)
		wantText(t, "failures of the first run", failures(t, s, first), "{1 {2 {live")

		second := beginRun(t, s)
		acceptBatch(t, s, second, archive())
		acceptBatch(t, s, second, &adapter.Batch{Arrivals: []adapter.Arrival{bad("{2"), bad("{3")}})
		check(second, "6 rejected invalid_json", "{live×0 {live×0 {1×3 {2×2 {live×1 {3×0", 6)
		wantText(t, "failures of the second run", failures(t, s, second), "{1 {2 {live {3")
		wantText(t, "dead letters of the second run", deadLetters(t, s, adapter.Filter{Run: second.ID}),
			"{1×3 {2×2 {live×1 {3×0")
		wantText(t, "dead letters of the first run", deadLetters(t, s, adapter.Filter{Run: first.ID}),
			"{1×3 {2×2 {live×1")

		// Of another connection or tenant it is another dead letter.
		for _, run := range [][2]string{{"sibling", runTenant}, {"default", "another tenant"}} {
			other, err := s.BeginRun(context.Background(), run[0], run[1], []byte(`{}`))
			if err != nil {
				t.Fatal(err)
			}
			acceptBatch(t, s, other, &adapter.Batch{Arrivals: []adapter.Arrival{bad("{1")}})
			wantText(t, "dead letters of "+run[0], deadLetters(t, s, adapter.Filter{Run: other.ID}), "{1×0")
		}

		// A redriven, purged or forgotten event is no dead letter any more.
		found, err := s.Find(context.Background(), adapter.Filter{Run: first.ID,
			Outcomes: []adapter.Outcome{adapter.Rejected}}, 10)
		if err != nil {
			t.Fatal(err)
		}
		live, two, one := found[0].ID, found[1].ID, found[2].ID
		if got := redrive(t, s, one); got.Pending != 1 {
			t.Errorf("redriven %+v", got)
		}
		if n, err := s.Purge(context.Background(), []int64{two}); n != 1 || err != nil {
			t.Errorf("purged %d, %v", n, err)
		}
		third := beginRun(t, s)
		acceptBatch(t, s, third, archive())
		wantText(t, "dead letters of the third run", deadLetters(t, s, adapter.Filter{Run: third.ID}),
			"{live×2 {1×1 {2×0")
		wantText(t, "failures of the first run", failures(t, s, first), "{live")
		balanced(t, s)

		c.Advance(31 * 24 * time.Hour)
		retain(t, s)
		if _, err := s.Get(context.Background(), live); err == nil {
			t.Error("retention has left a dead letter")
		}
		fourth := beginRun(t, s)
		acceptBatch(t, s, fourth, archive())
		wantText(t, "dead letters of the fourth run", deadLetters(t, s, adapter.Filter{Run: fourth.ID}),
			"{1×1 {2×0 {live×0")
		balanced(t, s)
	})
}

// TestRejectedAgainConcurrently has several processes replay the same bad lines, beside
// operators who purge and redrive them.
func TestRejectedAgainConcurrently(t *testing.T) {
	forEachEngine(t, func(t *testing.T, opts store.Options) {
		stores := []*store.Store{open(t, opts)}
		if opts.Path == "" {
			stores = append(stores, open(t, opts), open(t, opts))
		}
		const producers, rounds, lines = 6, 5, 40
		var wait sync.WaitGroup
		var runs []*adapter.Run
		for p := range producers {
			s := stores[p%len(stores)]
			run := beginRun(t, s)
			runs = append(runs, run)
			wait.Go(func() {
				for range rounds {
					var list []adapter.Arrival
					for i := range lines {
						list = append(list, bad(fmt.Sprintf("{%d", (i+7*p)%lines)),
							event(fmt.Sprintf("message-%03d", (i+11*p)%lines)))
					}
					acceptBatch(t, s, run, &adapter.Batch{Arrivals: list})
				}
			})
		}
		wait.Go(func() {
			for range rounds {
				found, err := stores[0].Find(context.Background(),
					adapter.Filter{Outcomes: []adapter.Outcome{adapter.Rejected}}, 4)
				if err != nil {
					t.Error(err)
					return
				}
				for i := range found {
					if i%2 == 0 {
						redrive(t, stores[0], found[i].ID)
					} else if _, err := stores[0].Purge(context.Background(), []int64{found[i].ID},
						adapter.Rejected); err != nil {
						t.Error(err)
					}
				}
			}
		})
		wait.Wait()
		var rejected int64
		for _, run := range runs {
			state, err := stores[0].RunState(context.Background(), run)
			if err != nil {
				t.Fatal(err)
			}
			for _, tally := range state.Outcomes {
				if tally.Outcome != adapter.Duplicate {
					rejected += tally.Events // those that were redriven are pending
				}
			}
		}
		if rejected != producers*rounds*lines+lines {
			t.Errorf("the runs count %d rejected and stored events, want %d", rejected, producers*rounds*lines+lines)
		}
		found, err := stores[0].Find(context.Background(),
			adapter.Filter{Outcomes: []adapter.Outcome{adapter.Rejected}}, 1000)
		if err != nil {
			t.Fatal(err)
		}
		seen := make(map[string]bool)
		for i := range found {
			got, err := stores[0].Get(context.Background(), found[i].ID)
			if err != nil || seen[string(got.Payload)] {
				t.Errorf("%s is a dead letter twice, %v", got.Payload, err)
			}
			seen[string(got.Payload)] = true
		}
		balanced(t, stores[0])
	})
}
