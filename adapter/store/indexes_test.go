package store_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/store"
	"segment-saasquatch/mapping"
)

// smallLedger is large enough for PostgreSQL to prefer an index.
func smallLedger() ledger {
	now := time.Now()
	return ledger{settled: 5000, pending: 2000, from: now.Add(-90 * 24 * time.Hour), to: now}
}

// TestFiltersReadIndexes keeps filters from reading more than what they pick, or than
// what their note says.
func TestFiltersReadIndexes(t *testing.T) {
	const (
		byOutcome = "deliveries_by_outcome USING PRIMARY KEY (of_outcome=?|deliveries_outcome"
		refused   = "deliveries_by_outcome USING PRIMARY KEY (of_outcome=?|deliveries_refused,deliveries_outcome"
		byRun     = "deliveries_by_run USING PRIMARY KEY (of_run=? AND of_outcome=?|deliveries_run"
		repeated  = "run_rejected USING PRIMARY KEY (run=?|run_rejected"
		byID      = "SCAN deliveries|deliveries_pkey"
		byUser    = "deliveries_user|deliveries_user"
		pending   = "SCAN queue|queue_pkey"
		scanned   = "SCAN queue|queue" // PostgreSQL may sort the few that it finds
		ofFew     = "queue_oldest,queue_tenant_due|queue"
	)
	outcome := func(outcomes ...adapter.Outcome) adapter.Filter { return adapter.Filter{Outcomes: outcomes} }
	forEachEngine(t, func(t *testing.T, opts store.Options) {
		l := smallLedger()
		fillLedger(t, opts, l)
		s := open(t, opts)
		for name, test := range map[string]struct {
			filter adapter.Filter
			want   []string
		}{
			"nothing":           {adapter.Filter{}, []string{pending, byID}},
			"dead":              {outcome(adapter.Dead), []string{refused}},
			"dead and rejected": {outcome(adapter.Dead, adapter.Rejected), []string{refused, refused}},
			"skipped":           {outcome(adapter.Skipped), []string{byOutcome}},
			"skipped of a connection": {
				adapter.Filter{Outcomes: []adapter.Outcome{adapter.Skipped}, Connection: "quiet"},
				[]string{byOutcome}},
			"dead for a reason": {
				adapter.Filter{Outcomes: []adapter.Outcome{adapter.Dead}, Reason: "rare_reason"}, []string{refused}},
			"delivered": {outcome(adapter.Delivered), []string{byID}},
			"run": {
				adapter.Filter{Run: 7, Outcomes: []adapter.Outcome{adapter.Skipped}}, []string{byRun, repeated}},
			"user": {
				adapter.Filter{UserID: "rare", Outcomes: []adapter.Outcome{adapter.Delivered}}, []string{byUser}},
			"pending": {outcome(adapter.Pending), []string{pending}},
			"pending of a large connection": {
				adapter.Filter{Connection: "busy", Outcomes: []adapter.Outcome{adapter.Pending}}, []string{scanned}},
			"pending of a small connection": {
				adapter.Filter{Connection: "quiet", Outcomes: []adapter.Outcome{adapter.Pending}}, []string{ofFew}},
			"pending of a user": {
				adapter.Filter{UserID: "user-6000", Outcomes: []adapter.Outcome{adapter.Pending}}, []string{scanned}},
			"pending for a reason": {
				adapter.Filter{Reason: mapping.ReasonAccepted, Outcomes: []adapter.Outcome{adapter.Pending}},
				[]string{scanned}},
			"before": {adapter.Filter{Before: 100, Outcomes: []adapter.Outcome{adapter.Dead}}, []string{refused}},
			"since": {
				adapter.Filter{Since: l.to.Add(-24 * time.Hour), Outcomes: []adapter.Outcome{adapter.Delivered}},
				[]string{"deliveries USING INTEGER PRIMARY KEY (rowid>?)|deliveries_pkey"}},
			"dead until": {
				adapter.Filter{Until: l.from.Add(24 * time.Hour), Outcomes: []adapter.Outcome{adapter.Dead}},
				[]string{refused}},
		} {
			plans, err := s.Plans(context.Background(), test.filter)
			if err != nil {
				t.Fatal(err)
			}
			if len(plans) != len(test.want) {
				t.Errorf("%s: %d plans, want %d:\n%s", name, len(plans), len(test.want), strings.Join(plans, "\n"))
				continue
			}
			for i, plan := range plans {
				want, other, _ := strings.Cut(test.want[i], "|")
				if opts.Path == "" {
					want = other
				}
				names := func(index string) bool { return strings.Contains(plan, index) }
				if !slices.ContainsFunc(strings.Split(want, ","), names) {
					t.Errorf("%s:\n%swant %s", name, plan, want)
				}
				isSorted := strings.Contains(plan, "Sort") || strings.Contains(plan, "TEMP B-TREE")
				maySort := test.want[i] == ofFew || opts.Path == "" && slices.Contains([]string{byUser, scanned,
					repeated}, test.want[i])
				if isSorted && !maySort {
					t.Errorf("%s: it sorts:\n%s", name, plan)
				}
			}
		}
	})
}

// TestScans has filters say how many deliveries they go through.
func TestScans(t *testing.T) {
	forEachEngine(t, func(t *testing.T, opts store.Options) {
		l := smallLedger()
		fillLedger(t, opts, l)
		s := open(t, store.WithScanNoted(opts, 100))
		day := l.to.Sub(l.from) / 90
		settled := []adapter.Outcome{adapter.Delivered, adapter.Duplicate, adapter.Skipped, adapter.Rejected,
			adapter.Dead}
		for name, test := range map[string]struct {
			filter   adapter.Filter
			from, to int64
		}{
			"nothing": {adapter.Filter{}, 0, 0},
			"dead":    {adapter.Filter{Outcomes: []adapter.Outcome{adapter.Dead}}, 0, 0},
			// they are few
			"dead for a reason": {adapter.Filter{Outcomes: []adapter.Outcome{adapter.Dead}, Reason: "x"}, 0, 0},
			"run":               {adapter.Filter{Run: 7, Outcomes: settled}, 0, 0},
			"user":              {adapter.Filter{UserID: "rare", Outcomes: settled}, 0, 0},
			"messageId":         {adapter.Filter{MessageID: "x"}, 0, 0},
			// few are not
			"delivered":        {adapter.Filter{Outcomes: []adapter.Outcome{adapter.Delivered}}, 0, 0},
			"large connection": {adapter.Filter{Connection: "busy"}, 0, 0},
			"small connection": {adapter.Filter{Connection: "quiet", Outcomes: settled}, 4970, 4970},
			"reason":           {adapter.Filter{Reason: "x"}, 7000, 7000},
			"event":            {adapter.Filter{Event: "x", Outcomes: settled}, 5000, 5000},
			"event of a day": {adapter.Filter{Event: "x", Since: l.from.Add(10 * day),
				Until: l.from.Add(12 * day), Outcomes: settled}, 150, 170},
			"event since yesterday": {adapter.Filter{Event: "x", Since: l.to.Add(-day)}, 0, 180}, // of each table
			"pending of a user":     {adapter.Filter{UserID: "x"}, 2000, 2000},
			"pending for a reason": {adapter.Filter{Reason: "x", Outcomes: []adapter.Outcome{adapter.Pending}}, 2000,
				2000},
		} {
			got, err := s.Scans(context.Background(), test.filter)
			if err != nil {
				t.Fatal(err)
			}
			if got.Deliveries < test.from || got.Deliveries > test.to || got.Indexing {
				t.Errorf("%s: %+v, want %d to %d", name, got, test.from, test.to)
			}
		}
		closeStore(t, s)
		withoutIndexes(t, opts)
		opts.Shared = true
		s = open(t, store.WithScanNoted(opts, 100))
		got, err := s.Scans(context.Background(), adapter.Filter{Outcomes: []adapter.Outcome{adapter.Skipped}})
		if err != nil || !got.Indexing || got.Deliveries < 4900 {
			t.Errorf("without the indexes: %+v, %v", got, err)
		}
	})
}
