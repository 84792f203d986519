package store_test

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/delivery"
	"segment-saasquatch/adapter/store"
)

// ledgerRows returns the sizes of BenchmarkLedger: LEDGER_ROWS has them, separated by
// commas. Default: one that is small enough for every run.
func ledgerRows(b *testing.B) (sizes []int64) {
	b.Helper()
	text := os.Getenv("LEDGER_ROWS")
	if text == "" {
		text = "20000"
	}
	for number := range strings.SplitSeq(text, ",") {
		size, err := strconv.ParseInt(number, 10, 64)
		if err != nil || size < fewRows {
			b.Fatalf("LEDGER_ROWS is %q: write numbers of at least 1000, separated by commas", text)
		}
		sizes = append(sizes, size)
	}
	return sizes
}

// fewRows is how many events the store has that others are compared with: as few as a page
// of each filter.
const fewRows = 1000

// BenchmarkLedger compares stores with many events, and a fifth as many pending ones, with
// one that has a page of them. It writes a line for each operation: how long it takes, how many times as long as
// in the small store, and how many deliveries it says that it scans. Target: 1.5 times as
// long at most, except what scans.
//
//	LEDGER_ROWS=1000000,5000000 go test ./adapter/store -run '^$' -bench Ledger -benchtime 1x -timeout 1h
func BenchmarkLedger(b *testing.B) {
	for _, engine := range []struct {
		name    string
		options func(testing.TB) store.Options
	}{{"sqlite", sqliteOptions}, {"postgres", postgresOptions}} {
		b.Run(engine.name, func(b *testing.B) {
			worst := 0.0
			for _, size := range ledgerRows(b) {
				few, many := ledgerOperations(b, engine.options(b), fewRows), ledgerOperations(b, engine.options(b),
					size)
				var text strings.Builder
				table := tabwriter.NewWriter(&text, 0, 0, 2, ' ', tabwriter.AlignRight)
				for i := range many {
					least, most := bestOf(b, few[i], many[i])
					ratio := most.Seconds() / least.Seconds()
					note := ""
					if scans := many[i].scan.Deliveries; scans > 0 {
						note = fmt.Sprintf("scans up to %d", scans)
					} else {
						worst = max(worst, ratio)
					}
					fmt.Fprintf(table, "%s\t%.2f ms\t%.2f ×\t%s\t\n", many[i].name, most.Seconds()*1000, ratio, note)
				}
				_ = table.Flush()                                         // to a builder
				fmt.Printf("\n%s, %d rows\n%s", engine.name, size, &text) // go test shortens a longer log
			}
			b.ReportMetric(worst, "×few")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// operation is one that is measured.
type operation struct {
	name string
	scan adapter.Scan
	run  func() error
}

// bestOf returns the shortest times of an operation on two stores, on which it runs by
// turns, so that what else the machine does slows down both.
func bestOf(b *testing.B, few, many operation) (least, most time.Duration) {
	b.Helper()
	budget := 40 * time.Millisecond
	if os.Getenv("LEDGER_ROWS") != "" {
		budget = 4 * time.Second
	}
	least, most = time.Hour, time.Hour
	for i, began := 0, time.Now(); i < 30 && (i < 2 || time.Since(began) < budget); i++ {
		for _, one := range []struct {
			operation
			best *time.Duration
		}{{few, &least}, {many, &most}} {
			started := time.Now()
			if err := one.run(); err != nil {
				b.Fatal(err)
			}
			*one.best = min(*one.best, time.Since(started))
		}
	}
	return least, most
}

// ledgerOperations fills a store and returns all operations on it, to be measured in
// their order.
func ledgerOperations(b *testing.B, opts store.Options, rows int64) (all []operation) {
	b.Helper()
	ctx := context.Background()
	to := time.Now()
	from := to.Add(-90 * 24 * time.Hour)
	began := time.Now()
	fillLedger(b, opts, ledger{settled: rows, pending: rows / 5, from: from, to: to})
	b.Logf("%d rows were filled in %.1f s", rows, time.Since(began).Seconds())
	opts = store.WithScanNoted(opts, 100)
	s := open(b, opts)
	operations := delivery.NewOperations(s, map[string]delivery.Mapper{}, nil)
	measure := func(name string, scan adapter.Scan, run func() error) {
		all = append(all, operation{name, scan, run})
	}
	q := connection(b, s, "other", "tenant")
	first := 1 << 30
	const events = 1000
	measure("accept", adapter.Scan{}, func() error {
		first += events
		return q.Accept(ctx, arrivals(first, events))
	})
	measure("lease", adapter.Scan{}, func() error {
		leased, err := q.Lease(ctx, 100, 32<<20)
		if err != nil {
			return err
		}
		released := make([]*adapter.Leased, len(leased))
		for i := range leased {
			released[i] = &leased[i]
		}
		return q.Release(ctx, released)
	})
	measure("accept and drain", adapter.Scan{}, func() error {
		first += events
		fillFrom(b, q, first, events)
		drain(b, q)
		return nil
	})
	since := to.Add(-24 * time.Hour)
	middle := from.Add(to.Sub(from) / 2)
	outcome := func(outcomes ...adapter.Outcome) adapter.Filter { return adapter.Filter{Outcomes: outcomes} }
	for _, list := range []struct {
		name   string
		filter adapter.Filter
	}{
		{"list", adapter.Filter{}},
		{"list dead", outcome(adapter.Dead)},
		{"list dead,rejected", outcome(adapter.Dead, adapter.Rejected)},
		{"list skipped", outcome(adapter.Skipped)},
		{"list delivered", outcome(adapter.Delivered)},
		{"list pending", outcome(adapter.Pending)},
		{"list run", adapter.Filter{Run: 7}},
		{"list user", adapter.Filter{UserID: "rare", Outcomes: outcome(adapter.Delivered, adapter.Dead,
			adapter.Skipped).Outcomes}},
		{"list messageId", adapter.Filter{MessageID: "5e8a1d3c-7f42-4b6e-9a0d-000000000500"}},
		{"list id", adapter.Filter{IDs: []int64{5}}},
		{"list since", adapter.Filter{Since: since}},
		{"list until", adapter.Filter{Until: middle}},
		{"list dead since", adapter.Filter{Since: since, Outcomes: outcome(adapter.Dead).Outcomes}},
		{"list pending of a connection", adapter.Filter{Connection: "busy",
			Outcomes: outcome(adapter.Pending).Outcomes}},
		{"list pending of a small connection", adapter.Filter{Connection: "quiet",
			Outcomes: outcome(adapter.Pending).Outcomes}},
		{"list connection", adapter.Filter{Connection: "busy"}},
		{"list small connection", adapter.Filter{Connection: "quiet"}},
		{"list reason", adapter.Filter{Reason: "rare_reason"}},
		{"list event", adapter.Filter{Event: "Order Completed"}},
		{"list event of an hour", adapter.Filter{Event: "x", Since: middle, Until: middle.Add(time.Hour)}},
		{"list user, pending", adapter.Filter{UserID: "rare"}},
	} {
		scan, err := s.Scans(ctx, list.filter)
		if err != nil {
			b.Fatal(err)
		}
		measure(list.name, scan, func() error {
			_, err := operations.List(ctx, list.filter, 50)
			return err
		})
	}
	measure("scans", adapter.Scan{}, func() error {
		_, err := s.Scans(ctx, adapter.Filter{Reason: "x", Since: since})
		return err
	})
	measure("stats", adapter.Scan{}, func() error {
		_, err := operations.Stats(ctx, adapter.Filter{})
		return err
	})
	measure("metrics", adapter.Scan{}, func() error {
		if _, err := s.Totals(ctx); err != nil {
			return err
		}
		_, err := s.Backlog(ctx)
		return err
	})
	measure("redrive --dry-run", adapter.Scan{}, func() error {
		_, err := operations.Redrive(ctx, adapter.Filter{}, 0, "", true)
		return err
	})
	measure("export of 1000 since", adapter.Scan{}, func() error {
		return operations.Export(ctx, adapter.Filter{Since: to.Add(-time.Hour)}, 1000,
			func(*adapter.Delivery) error { return nil })
	})
	measure("purge of 100", adapter.Scan{}, func() error {
		_, err := operations.Purge(ctx, adapter.Filter{Since: from, Outcomes: outcome(adapter.Delivered).Outcomes},
			100, false)
		return err
	})
	// Dead letters have been deleted after the first time, and other events are kept for
	// longer.
	opts.Retention = store.Retention{Dead: 24 * time.Hour, Ledger: 1000 * 24 * time.Hour}
	var retaining *store.Store
	measure("retention with nothing to delete", adapter.Scan{}, func() error {
		if retaining == nil {
			closeStore(b, s)
			retaining = open(b, opts)
		}
		return retaining.Retain(ctx)
	})
	return all
}
