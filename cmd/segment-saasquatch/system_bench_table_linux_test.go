package main

import (
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"testing"
	"time"
)

// systemRow is a row of the table of BenchmarkSystem.
type systemRow struct {
	name, base, target string
	start              starter
	startBase          starter // nil if there is no baseline

	ran        bool // the others were not chosen
	failed     bool
	bases, own []sample
}

// columns are the figures of a row, in the order of the table.
func (r *systemRow) columns() (rate, ofBase, cpu, timesBase, busy []float64) {
	for i, own := range r.own {
		rate, busy = append(rate, own.rate), append(busy, own.busy)
		cpu = append(cpu, float64(own.cpu)/float64(time.Microsecond))
		if len(r.bases) > 0 {
			ofBase = append(ofBase, own.rate/r.bases[i].rate)
			timesBase = append(timesBase, float64(own.cpu)/float64(r.bases[i].cpu))
		}
	}
	return rate, ofBase, cpu, timesBase, busy
}

func (r *systemRow) report(b *testing.B) {
	rate, ofBase, cpu, timesBase, _ := r.columns()
	b.ReportMetric(0, "ns/op") // of both together
	b.ReportMetric(median(rate), "events/s")
	b.ReportMetric(median(cpu), "cpu-µs/event")
	if len(r.bases) > 0 {
		b.ReportMetric(median(ofBase), "rate/baseline")
		b.ReportMetric(median(timesBase), "cpu/baseline")
	}
}

// printSystemTable prints the rows that ran, and before them the floor of all rows.
func printSystemTable(rows []systemRow) {
	floor := systemRow{name: "floor: a bare client, 64 at once"}
	pairs := 0
	for i := range rows {
		if rows[i].base == "floor" {
			floor.own = append(floor.own, rows[i].bases...)
		}
		pairs = max(pairs, len(rows[i].own))
	}
	fmt.Printf("\n%s, %d processors, %s. Medians of %d pairs, ranges in brackets.\n\n",
		time.Now().UTC().Format(time.DateOnly), runtime.NumCPU(), runtime.Version(), pairs)
	fmt.Println("| | events/s | baseline | rate / baseline's | CPU µs an event | CPU / baseline's | peak MiB | " +
		"machine busy | target |")
	fmt.Println("|---|---|---|---|---|---|---|---|---|")
	if len(floor.own) > 0 {
		floor.print()
	}
	for i := range rows {
		if rows[i].ran {
			rows[i].print()
		}
	}
}

func (r *systemRow) print() {
	switch {
	case r.failed:
		fmt.Printf("| %s | FAIL: see above | | | | | | | %s |\n", r.name, r.target)
		return
	case len(r.own) == 0: // without -v a benchmark does not print why it was skipped
		fmt.Printf("| %s | SKIP: start PostgreSQL with `service postgresql start`, or name one in TEST_POSTGRES "+
			"| | | | | | | %s |\n", r.name, r.target)
		return
	}
	rate, ofBase, cpu, timesBase, busy := r.columns()
	peak := "" // after the last round
	if last := r.own[len(r.own)-1].peak; last > 0 {
		peak = strconv.FormatInt(last>>20, 10)
	}
	fmt.Printf("| %s | %s | %s | %s | %s | %s | %s | %s | %s |\n", r.name, ranged(rate, "%.0f"), r.base,
		ranged(ofBase, "%.2f"), ranged(cpu, "%.1f"), ranged(timesBase, "%.2f"), peak, ranged(busy, "%.2f"), r.target)
}

// ranged writes the median of values, and their range if there are several.
func ranged(values []float64, format string) string {
	switch len(values) {
	case 0:
		return ""
	case 1:
		return fmt.Sprintf(format, values[0])
	}
	return fmt.Sprintf(format+" ["+format+"–"+format+"]", median(values), slices.Min(values), slices.Max(values))
}

// median returns the middle value, of an even number the upper one.
func median(values []float64) float64 {
	return slices.Sorted(slices.Values(values))[len(values)/2]
}
