package store_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/store"
	"segment-saasquatch/mapping"
)

// withoutIndexes takes the indexes of the log away, as an earlier version left it.
func withoutIndexes(t testing.TB, opts store.Options) {
	t.Helper()
	db := raw(t, opts)
	statements := []string{`DROP INDEX deliveries_outcome`, `DROP INDEX deliveries_run`}
	if opts.Path != "" {
		statements = []string{
			`DELETE FROM deliveries_by_outcome`, `DELETE FROM deliveries_by_run`,
			`INSERT INTO unindexed_deliveries SELECT max(id) FROM deliveries`,
		}
	}
	for _, statement := range statements {
		execute(t, db, statement)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

// rare returns what filters find that read the indexes.
func rare(t *testing.T, s *store.Store) (ids [][]int64) {
	t.Helper()
	for _, filter := range []adapter.Filter{
		{Outcomes: []adapter.Outcome{adapter.Dead}}, {Outcomes: []adapter.Outcome{adapter.Dead, adapter.Rejected}},
		{Outcomes: []adapter.Outcome{adapter.Skipped}}, {Run: 7}, {Run: 7, Outcomes: []adapter.Outcome{adapter.Dead}},
	} {
		found, err := s.Find(context.Background(), filter, 1000)
		if err != nil {
			t.Fatal(err)
		}
		var of []int64
		for i := range found {
			of = append(of, found[i].ID)
		}
		ids = append(ids, of)
	}
	return ids
}

// TestIndexesAreCompleted opens a store of an earlier version: filters find the same
// before the indexes are complete, and after.
func TestIndexesAreCompleted(t *testing.T) {
	forEachEngine(t, func(t *testing.T, opts store.Options) {
		fillLedger(t, opts, smallLedger())
		s := open(t, opts)
		want := rare(t, s)
		if len(want[0]) != rareRows/3 || len(want[3]) != rareRows {
			t.Fatalf("found %v", want)
		}
		closeStore(t, s)
		withoutIndexes(t, opts)
		// A process beside the server completes nothing.
		shared := opts
		shared.Shared = true
		other := open(t, shared)
		if got := rare(t, other); !slices.EqualFunc(got, want, slices.Equal) {
			t.Errorf("before: found %v, want %v", got, want)
		}
		if isComplete(t, other) {
			t.Error("the indexes are complete before a server was there")
		}
		s = open(t, opts)
		awaitIndexes(t, s)
		for _, opened := range []*store.Store{s, other} {
			if got := rare(t, opened); !slices.EqualFunc(got, want, slices.Equal) {
				t.Errorf("after: found %v, want %v", got, want)
			}
		}
		if !isComplete(t, other) {
			t.Error("a process beside the server does not see that the indexes are complete")
		}
	})
}

func isComplete(t testing.TB, s *store.Store) bool {
	t.Helper()
	complete, err := s.Indexed(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return complete
}

func awaitIndexes(t *testing.T, s *store.Store) {
	t.Helper()
	await(t, func() bool { return isComplete(t, s) })
}

// TestIndexesBesideEvents settles, redrives and purges events while an earlier
// version's are indexed.
func TestIndexesBesideEvents(t *testing.T) {
	forEachEngine(t, func(t *testing.T, opts store.Options) {
		fillLedger(t, opts, smallLedger())
		withoutIndexes(t, opts)
		s := open(t, opts)
		ctx := context.Background()
		q := connection(t, s, "busy", "tenant")
		for i := range 20 {
			a := event(fmt.Sprintf("message-%d", i))
			b := event(fmt.Sprintf("other-%d", i))
			b.Outcome, b.Reason = adapter.Skipped, "unsupported_type"
			accept(t, q, a, b)
			record(t, q, lease(t, q, 1), adapter.Step{Outcome: adapter.Dead, Reason: mapping.ReasonRefused,
				At: time.Now()})
		}
		dead, err := s.Find(ctx, adapter.Filter{Outcomes: []adapter.Outcome{adapter.Dead}}, 8)
		if err != nil {
			t.Fatal(err)
		}
		var again []adapter.Redelivery
		for i := range dead[:4] {
			again = append(again, adapter.Redelivery{ID: dead[i].ID, UserID: "user", AccountID: "user",
				EventKey: "key", Keyed: true})
		}
		if _, err := s.Redrive(ctx, again); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Purge(ctx, []int64{dead[4].ID, dead[5].ID, 3, 4, 5}); err != nil {
			t.Fatal(err)
		}
		awaitIndexes(t, s)
		sameByOutcome(t, s)
	})
}

// sameByOutcome compares the deliveries found by an outcome or a run with all deliveries.
func sameByOutcome(t *testing.T, s *store.Store) {
	t.Helper()
	ctx := context.Background()
	all, err := s.Find(ctx, adapter.Filter{}, 100_000)
	if err != nil {
		t.Fatal(err)
	}
	byOutcome, byRun := make(map[adapter.Outcome][]int64), make(map[int64][]int64)
	for i := range all {
		byOutcome[all[i].Outcome] = append(byOutcome[all[i].Outcome], all[i].ID)
		byRun[all[i].Run] = append(byRun[all[i].Run], all[i].ID)
	}
	check := func(filter adapter.Filter, want []int64) {
		found, err := s.Find(ctx, filter, 100_000)
		if err != nil {
			t.Fatal(err)
		}
		var got []int64
		for i := range found {
			got = append(got, found[i].ID)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%+v: found %d deliveries, want %d", filter, len(got), len(want))
		}
	}
	for _, outcome := range adapter.Outcomes {
		check(adapter.Filter{Outcomes: []adapter.Outcome{outcome}}, byOutcome[outcome])
	}
	for run, want := range byRun {
		if run != 0 {
			check(adapter.Filter{Run: run}, want)
		}
	}
}

// TestInvalidIndex drops what a process left behind that was stopped while it made an
// index, and makes it again. Of several processes that do so at once, all succeed.
func TestInvalidIndex(t *testing.T) {
	t.Parallel()
	opts := postgresOptions(t)
	fillLedger(t, opts, smallLedger())
	withoutIndexes(t, opts)
	db := raw(t, opts)
	// It fails, and leaves an index that is not valid.
	if _, err := db.Exec(
		`CREATE UNIQUE INDEX CONCURRENTLY deliveries_outcome ON deliveries (connection)`); err == nil {
		t.Fatal("a unique index on connections was made")
	}
	var opened errgroup.Group
	stores := make([]*store.Store, 3)
	for i := range stores {
		opened.Go(func() (err error) {
			stores[i], err = store.Open(context.Background(), opts)
			return err
		})
	}
	err := opened.Wait()
	for _, s := range stores {
		if s != nil {
			t.Cleanup(func() { closeStore(t, s) })
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	awaitIndexes(t, stores[0])
	var definition string
	if err := db.QueryRow(`SELECT indexdef FROM pg_indexes WHERE indexname = 'deliveries_outcome'`).Scan(
		&definition); err != nil {
		t.Fatal(err)
	}
	if want :=
		"CREATE INDEX deliveries_outcome ON public.deliveries USING btree (outcome, id) " +
			"WHERE (outcome <> 1)"; definition != want {
		t.Errorf("the index is %s, want %s", definition, want)
	}
}

// TestNewIndexesAreThoseOfUpgrades compares the indexes of a new database with those that
// are made in the background.
func TestNewIndexesAreThoseOfUpgrades(t *testing.T) {
	t.Parallel()
	opts := postgresOptions(t)
	s := open(t, opts)
	made := definitions(t, opts)
	withoutIndexes(t, opts)
	if err := s.Index(context.Background()); err != nil {
		t.Fatal(err)
	}
	if again := definitions(t, opts); len(made) != 2 || !slices.Equal(again, made) {
		t.Errorf("upgrades make %q, a new database has %q", again, made)
	}
}

func definitions(t *testing.T, opts store.Options) (list []string) {
	t.Helper()
	rows, err := raw(t,
		opts).Query(
		`SELECT indexdef FROM pg_indexes WHERE indexname IN ('deliveries_outcome', 'deliveries_run') ORDER BY 1`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var definition string
		if err := rows.Scan(&definition); err != nil {
			t.Fatal(err)
		}
		list = append(list, definition)
	}
	return list
}
