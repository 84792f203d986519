package store_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/store"
)

// BenchmarkIndexCost accepts and delivers events by turns with the indexes of the log by
// outcome and by run, and without them. Target: they cost less than 10 % for live events
// that are delivered. All events of a replay have an entry, and so have skipped events.
func BenchmarkIndexCost(b *testing.B) {
	for _, engine := range []struct {
		name    string
		options func(testing.TB) store.Options
		drop    []string
	}{
		{"sqlite", sqliteOptions, []string{
			`DROP TRIGGER deliveries_outcome_added`, `DROP TRIGGER deliveries_outcome_removed`,
			`DROP TRIGGER deliveries_run_added`,
			`DROP TRIGGER deliveries_run_removed`, `DROP TRIGGER deliveries_changed`,
		}},
		{"postgres", postgresOptions, []string{`DROP INDEX deliveries_outcome`, `DROP INDEX deliveries_run`}},
	} {
		for _, kind := range []struct {
			name string
			step func(testing.TB, *store.Store, *store.Queue, int)
		}{{"live", deliverLive}, {"replayed", deliverReplayed}, {"skipped", acceptSkipped}} {
			b.Run(engine.name+"/"+kind.name, func(b *testing.B) {
				var stores [2]*store.Store
				var queues [2]*store.Queue
				for i := range stores {
					opts := engine.options(b)
					stores[i] = open(b, opts)
					queues[i] = connection(b, stores[i], "default", runTenant)
					if i == 1 {
						db := raw(b, opts)
						for _, statement := range engine.drop {
							execute(b, db, statement)
						}
					}
				}
				best := [2]time.Duration{time.Hour, time.Hour}
				var sum, cpu [2]time.Duration
				for n := 0; b.Loop(); n++ {
					for k := range stores {
						i := (n + k) % 2
						started, before := time.Now(), processorTime(b)
						kind.step(b, stores[i], queues[i], n*costEvents)
						took := time.Since(started)
						best[i], sum[i], cpu[i] = min(best[i], took), sum[i]+took, cpu[i]+processorTime(b)-before
					}
				}
				b.ReportMetric(best[0].Seconds()/best[1].Seconds(), "best-×without")
				b.ReportMetric(sum[0].Seconds()/sum[1].Seconds(), "×without")
				b.ReportMetric(cpu[0].Seconds()/cpu[1].Seconds(), "cpu-×without") // SQLite's is the process's
				b.ReportMetric(float64(best[0].Microseconds())/costEvents, "µs/event")
			})
		}
	}
}

const costEvents = 2000

// processorTime is how long the process has been on a processor.
func processorTime(b *testing.B) time.Duration {
	b.Helper()
	var usage unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

func deliverLive(b testing.TB, _ *store.Store, q *store.Queue, first int) {
	fillFrom(b, q, first, costEvents)
	drain(b, q)
}

func deliverReplayed(b testing.TB, s *store.Store, q *store.Queue, first int) {
	run := beginRun(b, s)
	list := arrivals(first, costEvents)
	acceptBatch(b, s, run, &adapter.Batch{Arrivals: list})
	drain(b, q)
}

func acceptSkipped(b testing.TB, _ *store.Store, q *store.Queue, first int) {
	list := arrivals(first, costEvents)
	for i := range list {
		list[i].MessageID = fmt.Sprintf("skipped-%d", first+i)
		list[i].Outcome, list[i].Reason = adapter.Skipped, "unsupported_type"
	}
	if err := q.Accept(context.Background(), list); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkIndexBesideAccept accepts single events while the events of an earlier version
// are indexed, and after that. Target: twice the 99th percentile at most.
func BenchmarkIndexBesideAccept(b *testing.B) {
	for _, engine := range []struct {
		name    string
		options func(testing.TB) store.Options
	}{{"sqlite", sqliteOptions}, {"postgres", postgresOptions}} {
		b.Run(engine.name, func(b *testing.B) {
			opts := engine.options(b)
			now := time.Now()
			fillLedger(b, opts, ledger{settled: ledgerRows(b)[0], from: now.Add(-90 * 24 * time.Hour), to: now})
			withoutIndexes(b, opts)
			s := open(b, opts)
			q := connection(b, s, "busy", "tenant")
			first := 1 << 30
			// accepted returns the 99th percentile of accepting until the end.
			accepted := func(end func(n int) bool) (time.Duration, int) {
				var took []time.Duration
				for n := 0; n < 10 || !end(n); n++ {
					first++
					started := time.Now()
					if err := q.Accept(context.Background(), arrivals(first, 1)); err != nil {
						b.Fatal(err)
					}
					took = append(took, time.Since(started))
				}
				slices.Sort(took)
				return took[len(took)*99/100], len(took)
			}
			began := time.Now()
			during, events := accepted(func(n int) bool { return n%10 == 0 && isComplete(b, s) })
			indexing := time.Since(began)
			after, _ := accepted(func(n int) bool { return n >= events })
			b.ReportMetric(indexing.Seconds(), "s-indexing")
			b.ReportMetric(during.Seconds()*1000, "p99-ms")
			b.ReportMetric(during.Seconds()/after.Seconds(), "p99-×after")
			b.ReportMetric(0, "ns/op")
		})
	}
}
