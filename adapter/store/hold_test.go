package store_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/store"
	"segment-saasquatch/mapping"
)

// restoredStore returns a store with pending events, as it is at the time of a backup:
// two with a key, one without, and an upsert.
func restoredStore(t *testing.T, opts store.Options, at time.Time) {
	t.Helper()
	opts.Now = func() time.Time { return at }
	s := open(t, opts)
	q := connection(t, s, "default", "tenant")
	upsert := unkeyed("4", 4)
	upsert.EventKey = adapter.UpsertEventKey
	accept(t, q, event("message-1"), event("message-2"), unkeyed("3", 3), upsert)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// openOffline opens a restored store at a time.
func openOffline(t *testing.T, opts store.Options, at time.Time) *store.Store {
	t.Helper()
	opts.Offline, opts.Now = true, func() time.Time { return at }
	return open(t, opts)
}

// dispositions returns what became of the events: pending, marked as possibly processed, or
// held.
func dispositions(t *testing.T, s *store.Store) map[string]string {
	t.Helper()
	found, err := s.Find(context.Background(), adapter.Filter{}, 100)
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string]string)
	for _, d := range found {
		text := d.Outcome.String()
		if d.Outcome == adapter.Pending && d.Ambiguous {
			text = "marked"
		} else if d.Reason == mapping.ReasonRestored {
			text = "held"
			if !strings.Contains(d.Detail, "redrive --reason restored") {
				t.Errorf("no remedy in %q", d.Detail)
			}
		}
		all[d.MessageID] = text
	}
	return all
}

// TestHold restores a backup at several ages. What SaaSquatch could count again becomes a
// dead letter, which a redrive sends.
func TestHold(t *testing.T) {
	taken := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	cases := []struct {
		name             string
		age              time.Duration
		opts             store.RestoredOptions
		forgotten, noKey int64
		want             string
	}{
		{"a minute", time.Minute, store.RestoredOptions{}, 0, 1, "marked marked held pending"},
		{"just in time", 23*time.Hour - time.Second, store.RestoredOptions{Horizon: 23 * time.Hour}, 0, 1,
			"marked marked held pending"},
		{"too old", 23 * time.Hour, store.RestoredOptions{}, 3, 1, "held held held held"},
		{"a shorter horizon", 2 * time.Hour, store.RestoredOptions{Horizon: time.Hour}, 3, 1, "held held held held"},
		{"taken later", 30 * time.Hour, store.RestoredOptions{TakenAt: taken.Add(29 * time.Hour)}, 0, 1,
			"marked marked held pending"},
	}
	forEachEngine(t, func(t *testing.T, opts store.Options) {
		for _, c := range cases {
			if opts.Path == "" && c.opts != (store.RestoredOptions{}) {
				continue // to make a database takes a while
			}
			t.Run(c.name, func(t *testing.T) {
				t.Parallel()
				own := postgresOptions
				if opts.Path != "" {
					own = sqliteOptions
				}
				opts := own(t)
				restoredStore(t, opts, taken)
				s := openOffline(t, opts, taken.Add(c.age))
				ctx := context.Background()
				if opts.Path == "" { // its probe has the database's time of when the tables were made
					execute(t, raw(t, opts), `UPDATE probe SET probed_at = to_timestamp(0)`)
				}
				if last, err := s.LastWrite(ctx); err != nil || !last.Equal(taken) {
					t.Errorf("last write %v, %v", last, err)
				}
				got, err := s.ExamineRestored(ctx, c.opts)
				if err != nil || got.Pending != 4 || got.KeyForgotten != c.forgotten || got.NoKey != c.noKey {
					t.Errorf("examined %+v, %v", got, err)
				}
				for range 2 { // the second one finds nothing more
					if _, err := s.Hold(ctx, c.opts, nil); err != nil {
						t.Fatal(err)
					}
				}
				if last, err := s.LastWrite(ctx); err != nil || !last.Equal(taken) {
					t.Errorf("last write after it %v, %v", last, err)
				}
				balanced(t, s)
				all := dispositions(t, s)
				if got := strings.Join([]string{all["message-1"], all["message-2"], all["3"], all["4"]},
					" "); got != c.want {
					t.Errorf("got %s, want %s", got, c.want)
				}
				held, err := s.Find(ctx, adapter.Filter{Reason: mapping.ReasonRestored}, 10)
				if err != nil {
					t.Fatal(err)
				}
				for _, d := range held {
					if got := redrive(t, s, d.ID); got.Pending != 1 {
						t.Errorf("redrive %s: %+v", d.MessageID, got)
					}
				}
				balanced(t, s)
				if leased := lease(t, connection(t, s, "default", "tenant"), 10); len(leased) != 4 {
					t.Errorf("%d due", len(leased))
				}
			})
		}
	})
}

// TestHoldKeepsPayloads refuses to hold events whose payloads would be dropped.
func TestHoldKeepsPayloads(t *testing.T) {
	forEachEngine(t, func(t *testing.T, opts store.Options) {
		at := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
		restoredStore(t, opts, at)
		opts.Limits.DeadLetters = 50
		s := openOffline(t, opts, at.Add(30*time.Hour))
		var full *store.HeldBytesError
		if _, err := s.Hold(context.Background(), store.RestoredOptions{TakenAt: at}, nil); !errors.As(err, &full) {
			t.Errorf("got %v", err)
		}
		if all := dispositions(t, s); all["message-1"] != "pending" {
			t.Errorf("got %v", all)
		}
	})
}

// TestProbeTellsTheTime has an idle server write the time, and no operators' work.
func TestProbeTellsTheTime(t *testing.T) {
	forEachEngine(t, func(t *testing.T, opts store.Options) {
		opts = store.WithPatience(opts, 20*time.Millisecond)
		began := time.Now()
		s := open(t, opts)
		await(t, func() bool {
			last, err := s.LastWrite(context.Background())
			return err == nil && !last.Before(began.Truncate(time.Millisecond).Add(20*time.Millisecond))
		})
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		opts.Offline = true
		s = open(t, opts)
		before, err := s.LastWrite(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		s.Examine(context.Background())
		if after, err := s.LastWrite(context.Background()); err != nil || !after.Equal(before) {
			t.Errorf("%v, then %v, %v", before, after, err)
		}
		if opts.Path == "" {
			if err := s.CheckNoServer(context.Background()); !errors.As(err, new(*store.ServerRunsError)) {
				t.Errorf("a server a moment ago: %v", err)
			}
			execute(t, raw(t, opts), `UPDATE probe SET probed_at = now() - interval '1 minute'`)
		}
		if err := s.CheckNoServer(context.Background()); err != nil {
			t.Error(err)
		}
	})
}

// TestHoldOfRun holds events of a replay, those that wait for an import job too. The run
// counts them as dead.
func TestHoldOfRun(t *testing.T) {
	forEachEngine(t, func(t *testing.T, opts store.Options) {
		at := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
		opts.Now = func() time.Time { return at }
		s := open(t, opts)
		connection(t, s, "default", runTenant)
		run := beginRun(t, s)
		acceptBatch(t, s, run, &adapter.Batch{Arrivals: []adapter.Arrival{event("message-1")}})
		acceptBatch(t, s, run, &adapter.Batch{Held: true, Arrivals: []adapter.Arrival{event("message-2")}})
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = openOffline(t, opts, at.Add(30*time.Hour))
		done, err := s.Hold(context.Background(), store.RestoredOptions{TakenAt: at}, nil)
		if err != nil || done.KeyForgotten != 2 {
			t.Errorf("got %+v, %v", done, err)
		}
		balanced(t, s)
		if got := outcomes(t, s, run); got != "2 dead restored" {
			t.Errorf("the run has %s", got)
		}
	})
}
