package store_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/delivery/deliverytest"
	"segment-saasquatch/adapter/store"
	"segment-saasquatch/mapping"
)

const runTenant = "tenant"

func beginRun(t testing.TB, s *store.Store) *adapter.Run {
	t.Helper()
	run, err := s.BeginRun(context.Background(), "default", runTenant, json.RawMessage(`{"sources":["a"]}`))
	if err != nil {
		t.Fatal(err)
	}
	return run
}

// acceptBatch stores a batch and returns what became of its arrivals.
func acceptBatch(t testing.TB, s *store.Store, run *adapter.Run, batch *adapter.Batch) string {
	t.Helper()
	if err := s.AcceptBatch(context.Background(), run, batch); err != nil {
		t.Fatal(err)
	}
	var marks []string
	for i := range batch.Arrivals {
		marks = append(marks, strings.Trim(batch.Arrivals[i].Outcome.String()+" "+string(batch.Arrivals[i].Reason),
			" "))
	}
	return strings.Join(marks, ", ")
}

// outcomes returns what became of a run's events.
func outcomes(t testing.TB, s *store.Store, run *adapter.Run) string {
	t.Helper()
	state, err := s.RunState(context.Background(), run)
	if err != nil {
		t.Fatal(err)
	}
	return tallyText(state.Outcomes)
}

func tallyText(tallies []adapter.Tally) string {
	var parts []string
	for _, tally := range tallies {
		parts = append(parts, strings.TrimSpace(fmt.Sprintf("%d %s %s", tally.Events, tally.Outcome, tally.Reason)))
	}
	return strings.Join(parts, ", ")
}

func wantText(t testing.TB, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %q, want %q", what, got, want)
	}
}

// TestRunDuplicates has one event come live, in an earlier run, twice in a batch
// and in another batch: it is stored once.
func TestRunDuplicates(t *testing.T) {
	forEachEngine(t, func(t *testing.T, opts store.Options) {
		s := open(t, opts)
		q := connection(t, s, "default", runTenant)
		accept(t, q, event("message-live"))
		record(t, q, lease(t, q, 1), adapter.Step{Outcome: adapter.Delivered, Counted: true, Began: time.Now(),
			At: time.Now()})
		accept(t, q, event("message-pending"))

		first := beginRun(t, s)
		batch := &adapter.Batch{Arrivals: []adapter.Arrival{event("message-live"), event("message-pending"),
			event("message-new"), event("message-new"), unkeyed("m", 1), unkeyed("m", 2), unkeyed("m", 1)}}
		wantText(t, "first batch", acceptBatch(t, s, first, batch),
			"duplicate already_delivered, duplicate already_accepted, pending, duplicate already_accepted, "+
				"pending, pending, duplicate already_accepted")
		second := beginRun(t, s)
		wantText(t, "second run", acceptBatch(t, s, second,
			&adapter.Batch{Arrivals: []adapter.Arrival{event("message-new"), event("message-live")}}),
			"duplicate already_accepted, duplicate already_delivered")

		wantText(t, "first run", outcomes(t, s, first),
			"3 duplicate already_accepted, 1 duplicate already_delivered, 3 pending")
		wantText(t, "second run", outcomes(t, s, second),
			"1 duplicate already_accepted, 1 duplicate already_delivered")
		// A duplicate of a replay has no row of its own.
		found, err := s.Find(context.Background(), adapter.Filter{}, 100)
		if err != nil || len(found) != 5 {
			t.Errorf("%d deliveries, %v", len(found), err)
		}
		if found, err = s.Find(context.Background(), adapter.Filter{Run: first.ID}, 100); err != nil ||
			len(found) != 3 {
			t.Errorf("%d deliveries of the run, %v", len(found), err)
		}
		balanced(t, s)
	})
}

// TestRunOutcomes follows the events of a run to their outcomes, and back.
func TestRunOutcomes(t *testing.T) {
	forEachEngine(t, func(t *testing.T, opts store.Options) {
		s := open(t, opts)
		q := connection(t, s, "default", runTenant)
		run := beginRun(t, s)
		bad := adapter.Arrival{Payload: []byte("{"), Outcome: adapter.Rejected, Reason: "invalid_json"}
		batch := &adapter.Batch{
			Arrivals: []adapter.Arrival{event("message-1"), event("message-2"), event("message-3"), bad},
			Tallies:  []adapter.Tally{{Outcome: adapter.Skipped, Reason: "no_user_id", Events: 7}},
		}
		acceptBatch(t, s, run, batch)
		wantText(t, "accepted", outcomes(t, s, run), "7 skipped no_user_id, 1 rejected invalid_json, 3 pending")

		leased := lease(t, q, 10)
		if len(leased) != 3 || leased[0].Run != run.ID {
			t.Fatalf("leased %+v", leased)
		}
		now := time.Now()
		record(t, q, leased[:1], adapter.Step{Outcome: adapter.Delivered, Counted: true, Began: now, At: now})
		record(t, q, leased[1:2], adapter.Step{Outcome: adapter.Dead, Reason: mapping.ReasonUserNotFound,
			Counted: true, Began: now, At: now})
		record(t, q, leased[2:], adapter.Step{Outcome: adapter.Pending, Reason: mapping.ReasonServerError,
			Counted: true, Began: now, At: now, Due: now.Add(time.Hour)})
		wantText(t, "recorded", outcomes(t, s, run),
			"1 delivered, 7 skipped no_user_id, 1 rejected invalid_json, 1 dead user_not_found, 1 pending")

		var payloads []string
		_, err := s.Failures(context.Background(), run.ID, func(payload []byte) error {
			payloads = append(payloads, string(payload))
			return nil
		})
		if want := []string{`{"messageId":"message-2"}`, "{"}; err != nil ||
			!slices.Equal(slices.Sorted(slices.Values(payloads)), slices.Sorted(slices.Values(want))) {
			t.Errorf("failures %q, %v", payloads, err)
		}

		redrive(t, s, leased[1].ID)
		wantText(t, "redriven", outcomes(t, s, run),
			"1 delivered, 7 skipped no_user_id, 1 rejected invalid_json, 2 pending")
		if _, err := s.Purge(context.Background(), []int64{leased[2].ID}); err != nil {
			t.Fatal(err)
		}
		wantText(t, "purged", outcomes(t, s, run),
			"1 delivered, 7 skipped no_user_id, 1 rejected invalid_json, 1 dead, 1 pending")
		balanced(t, s)
	})
}

// TestRunIsTaken has a second process go on with a run.
func TestRunIsTaken(t *testing.T) {
	forEachEngine(t, func(t *testing.T, opts store.Options) {
		s := open(t, opts)
		ctx := context.Background()
		run := beginRun(t, s)
		progress := adapter.ObjectProgress{Object: "a/b.gz", Version: "v1", Lines: 12, Fault: "broken"}
		acceptBatch(t, s, run, &adapter.Batch{Arrivals: []adapter.Arrival{event("message-1")},
			Objects: []adapter.ObjectProgress{progress}, Progress: json.RawMessage(`{"lines":12}`)})
		taken, objects, err := s.TakeRun(ctx, run.ID)
		if err != nil {
			t.Fatal(err)
		}
		if len(objects) != 1 || objects[0] != progress || string(taken.Progress) != `{"lines":12}` ||
			string(taken.Spec) != `{"sources":["a"]}` {
			t.Errorf("taken: %+v, %+v", taken, objects)
		}
		late := &adapter.Batch{Arrivals: []adapter.Arrival{event("message-2")},
			Objects: []adapter.ObjectProgress{{Object: "a/b.gz", Lines: 13}}}
		// Others whose changes are written together with that one are not held up.
		q := connection(t, s, "default", runTenant)
		done := make(chan error, 8)
		for i := range cap(done) {
			go func() { done <- q.Accept(ctx, []adapter.Arrival{event(fmt.Sprintf("message-live-%d", i))}) }()
		}
		if err := s.AcceptBatch(ctx, run, late); !errors.Is(err, adapter.ErrRunTaken) {
			t.Errorf("a batch of the former owner: %v", err)
		}
		for range cap(done) {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		if err := s.EndRun(ctx, run); !errors.Is(err, adapter.ErrRunTaken) {
			t.Errorf("an end by the former owner: %v", err)
		}
		wantText(t, "outcomes", outcomes(t, s, taken), "1 pending")
		if err := s.EndRun(ctx, taken); err != nil {
			t.Error(err)
		}
		runs, err := s.Runs(ctx)
		if err != nil || len(runs) != 1 || runs[0].EndedAt.IsZero() {
			t.Errorf("runs %+v, %v", runs, err)
		}
		if _, _, err := s.TakeRun(ctx, run.ID+100); !errors.Is(err, adapter.ErrNoRun) {
			t.Errorf("a run that is not there: %v", err)
		}
		balanced(t, s)
	})
}

// TestRunStateSeesLiveTraffic tells events of live traffic that wait from others.
func TestRunStateSeesLiveTraffic(t *testing.T) {
	forEachEngine(t, func(t *testing.T, opts store.Options) {
		clock := deliverytest.NewStoppedClock()
		opts.Now = clock.Now
		s := open(t, opts)
		run := beginRun(t, s)
		acceptBatch(t, s, run, &adapter.Batch{Arrivals: []adapter.Arrival{event("message-1"), event("message-2")}})
		q := connection(t, s, "default", runTenant)
		state := func() *adapter.RunState {
			state, err := s.RunState(context.Background(), run)
			if err != nil {
				t.Fatal(err)
			}
			return state
		}
		lease(t, q, 1)
		clock.Advance(10 * time.Second)
		if got := state(); got.Due != 2 || got.Pending != 2 || got.LiveWaiting {
			t.Errorf("without live traffic: %+v", got)
		}
		accept(t, q, event("message-live"))
		if state().LiveWaiting {
			t.Error("an event waits as soon as it has come")
		}
		clock.Advance(5 * time.Second)
		if !state().LiveWaiting {
			t.Error("an event of live traffic waits, and that does not show")
		}
	})
}

// TestHeldEvents has events that wait only for the import job.
func TestHeldEvents(t *testing.T) {
	forEachEngine(t, func(t *testing.T, opts store.Options) {
		s := open(t, opts)
		ctx := context.Background()
		q := connection(t, s, "default", runTenant)
		run := beginRun(t, s)
		acceptBatch(t, s, run, &adapter.Batch{Held: true, Arrivals: []adapter.Arrival{event("message-1"),
			event("message-2"), event("message-3")}})
		if leased := lease(t, q, 10); len(leased) != 0 {
			t.Errorf("%d held events were leased", len(leased))
		}
		wantText(t, "live", accept(t, q, event("message-2")), "duplicate already_accepted")

		held, err := s.Held(ctx, run, 0, 2, 1<<20)
		if err != nil || len(held) != 2 || held[0].MessageID != "message-1" ||
			string(held[0].Payload) != `{"messageId":"message-1"}` {
			t.Fatalf("held %+v, %v", held, err)
		}
		redrive(t, s, held[0].ID, held[1].ID)
		if leased := lease(t, q, 10); len(leased) != 0 {
			t.Errorf("%d held events were leased after a redrive", len(leased))
		}
		if state, err := s.RunState(ctx, run); err != nil || state.Due != 0 || state.Pending != 3 {
			t.Errorf("state %+v, %v", state, err)
		}
		step := adapter.Step{Outcome: adapter.Delivered, Counted: true, Began: time.Now(), At: time.Now()}
		if err := s.Settle(ctx, run, &held[0], step); err != nil {
			t.Fatal(err)
		}
		if err := s.Settle(ctx, run, &held[0], step); !errors.Is(err, adapter.ErrLeaseLost) {
			t.Errorf("settled twice: %v", err)
		}
		rest, err := s.Held(ctx, run, held[0].ID, 10, 1)
		if err != nil || len(rest) != 1 || rest[0].MessageID != "message-2" {
			t.Errorf("held %+v, %v", rest, err)
		}
		job := adapter.RunJob{Number: 1, First: held[0].ID, Last: held[1].ID, State: json.RawMessage(`{"a":1}`)}
		for range 2 {
			if err := s.PutJob(ctx, run, job); err != nil {
				t.Fatal(err)
			}
			job.State = json.RawMessage(`{"a":2}`)
		}
		if jobs, err := s.Jobs(ctx, run); err != nil || len(jobs) != 1 || string(jobs[0].State) != `{"a":2}` ||
			jobs[0].Last != job.Last {
			t.Errorf("jobs %+v, %v", jobs, err)
		}
		wantText(t, "outcomes", outcomes(t, s, run), "1 delivered, 2 pending")
		balanced(t, s)
	})
}

// TestKnown looks events up as a dry run does, before and after the index of
// messageIds has gone to its table.
func TestKnown(t *testing.T) {
	forEachEngine(t, func(t *testing.T, opts store.Options) {
		s := open(t, store.WithMessagesInMemory(opts, 8))
		q := connection(t, s, "default", runTenant)
		const n = 200
		for i := range n {
			accept(t, q, event(fmt.Sprintf("message-%d", i)))
		}
		now := time.Now()
		record(t, q, lease(t, q, n/2), adapter.Step{Outcome: adapter.Delivered, Counted: true, Began: now, At: now})
		accept(t, q, unkeyed("short", 5))
		asked := []adapter.Arrival{event("message-0"), event("message-199"), event("message-200"), unkeyed("short", 5),
			unkeyed("short", 6), unkeyed("", 0)}
		for _, tenant := range []string{runTenant, "another", "default"} {
			got, err := s.Known(context.Background(), "default", tenant, asked)
			want := []mapping.Reason{mapping.ReasonAlreadyDelivered, mapping.ReasonAlreadyAccepted, "",
				mapping.ReasonAlreadyAccepted, "", ""}
			if tenant != runTenant {
				want = make([]mapping.Reason, len(asked))
			}
			if err != nil || !slices.Equal(got, want) {
				t.Errorf("tenant %s: got %q, %v, want %q", tenant, got, err, want)
			}
		}
	})
}

// TestOldRunsAreDeleted keeps runs as long as the ledger, and those with pending
// events longer.
func TestOldRunsAreDeleted(t *testing.T) {
	forEachEngine(t, func(t *testing.T, opts store.Options) {
		clock := deliverytest.NewStoppedClock()
		opts.Now, opts.Retention = clock.Now, store.Retention{Ledger: 48 * time.Hour, Dead: 48 * time.Hour}
		s := open(t, opts)
		ctx := context.Background()
		object := []adapter.ObjectProgress{{Object: "a", Lines: 1, Done: true}}
		done, pending, running := beginRun(t, s), beginRun(t, s), beginRun(t, s)
		acceptBatch(t, s, done, &adapter.Batch{Objects: object, Tallies: []adapter.Tally{{Outcome: adapter.Skipped,
			Reason: "no_user_id", Events: 1}}})
		acceptBatch(t, s, pending, &adapter.Batch{Objects: object, Arrivals: []adapter.Arrival{event("message-1")}})
		acceptBatch(t, s, running, &adapter.Batch{Objects: object})
		for _, run := range []*adapter.Run{done, pending} {
			if err := s.EndRun(ctx, run); err != nil {
				t.Fatal(err)
			}
		}
		left := func() (ids []int64) {
			if err := s.Retain(ctx); err != nil {
				t.Fatal(err)
			}
			runs, err := s.Runs(ctx)
			if err != nil {
				t.Fatal(err)
			}
			for i := range runs {
				ids = append(ids, runs[i].ID)
			}
			return ids
		}
		clock.Advance(47 * time.Hour)
		if got := left(); len(got) != 3 {
			t.Errorf("runs %v", got)
		}
		clock.Advance(2 * time.Hour)
		if got, want := left(), []int64{running.ID, pending.ID}; !slices.Equal(got, want) {
			t.Errorf("runs %v, want %v", got, want)
		}
	})
}
