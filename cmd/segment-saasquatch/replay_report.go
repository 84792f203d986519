package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/archive"
	"segment-saasquatch/adapter/replay"
)

// report prints the report, and writes the file of --report.
func (r *replaying) report(report *replay.Report) error {
	report.Took = time.Since(r.began)
	report.SetPassedOver(r.passedOver)
	report.UserFiles = r.users.Report()
	if r.flags.reportFile != "" {
		if err := r.flags.report().write(func(out io.Writer) error {
			encoder := json.NewEncoder(out)
			encoder.SetIndent("", "  ")
			return encoder.Encode(report)
		}); err != nil {
			return fmt.Errorf("write the report: %w", err)
		}
	}
	return r.printReport(report)
}

func (r *replaying) printReport(report *replay.Report) error {
	table := newTable(r.stdout)
	title := "run " + strconv.FormatInt(report.Run, 10)
	switch {
	case report.DryRun:
		title = "dry run: nothing was sent"
	case report.Run == 0:
		title = "files for import"
	}
	if report.Interrupted {
		title += ", not at its end"
	}
	fmt.Fprintln(r.stdout, title)
	fmt.Fprintln(table, "OUTCOME\tREASON\tEVENTS")
	for _, tally := range report.Outcomes {
		outcome := tally.Outcome.String()
		if report.DryRun && tally.Outcome == adapter.Pending {
			outcome = "would be sent"
		}
		fmt.Fprintf(table, "%s\t%s\t%d\n", outcome, orDash(string(tally.Reason)), tally.Events)
	}
	if len(report.Warnings) > 0 {
		fmt.Fprintln(table, "\nWARNING\t\tEVENTS")
		for _, warning := range slices.Sorted(maps.Keys(report.Warnings)) {
			fmt.Fprintf(table, "%s\t\t%d\n", warning, report.Warnings[warning])
		}
	}
	if len(report.Events) > 0 {
		fmt.Fprintln(table, "\nEVENT KEY\t\tEVENTS\tFIRST (UTC)\tLAST (UTC)")
		for _, key := range slices.Sorted(maps.Keys(report.Events)) {
			of := report.Events[key]
			fmt.Fprintf(table, "%s\t\t%d\t%s\t%s\n",
				plain(key), of.Events, orDash(second(of.First)), orDash(second(of.Last)))
		}
	}
	if err := table.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(r.stdout, "\n%d objects, %d lines, %s read in %s\n",
		report.Objects, report.Lines, bytesText(report.TextBytes), report.Took.Round(time.Millisecond))
	if report.PassedOver > 0 {
		fmt.Fprintf(r.stdout, "%d objects passed over:\n", report.PassedOver)
		for _, passed := range report.PassedOverFor {
			fmt.Fprintf(r.stdout, "  %d, %s: %s\n", passed.Objects, passed.Reason, plainLine(namesText(&passed)))
		}
	}
	printRemarks(r.stdout, report)
	if report.DryRun {
		if n := r.conn.SaaSquatch.Bulk; n > 1 && r.spec.Via == replay.ViaAPI {
			fmt.Fprintf(r.stdout, "%d events to send, in calls of up to %d", report.Requests, n)
		} else {
			fmt.Fprintf(r.stdout, "%d requests", report.Requests)
		}
		if report.Estimate > 0 {
			fmt.Fprintf(r.stdout, ", %s at %v a second", report.Estimate.Round(time.Second), r.flags.rate)
		}
		fmt.Fprintln(r.stdout)
	}
	for _, job := range report.Jobs {
		fmt.Fprintf(r.stdout, "import job %s: %s, %d events, %d failed\n",
			orDash(plain(job.ID)), job.Status, job.Events, job.Failed)
	}
	for _, name := range report.Files {
		fmt.Fprintln(r.stdout, name)
	}
	for i := range report.Faults {
		fmt.Fprintf(r.stdout, "damaged: %s\n", plainLine(report.Faults[i].Fault))
	}
	return nil
}

// namesText names the first objects that the replay passed over for a reason.
func namesText(passed *replay.PassedOver) string {
	text := strings.Join(passed.First, ", ")
	if passed.Objects > int64(len(passed.First)) {
		text += ", …"
	}
	return text
}

// printRemarks writes remarks that an operator may not expect.
func printRemarks(out io.Writer, report *replay.Report) {
	if report.ConsentDenials > 0 {
		fmt.Fprintf(out, "%d events deny a category of consent, which alone leaves no event out: "+
			"--consent CATEGORY does that\n", report.ConsentDenials)
	}
	if report.Merged > 0 {
		fmt.Fprintf(out, "%d identify calls have traits of older calls of their users\n", report.Merged)
	}
	if report.MergedCut > 0 {
		fmt.Fprintf(out, "%d of them lack the oldest traits, which come to more than 1 MiB\n", report.MergedCut)
	}
	for _, file := range report.UserFiles {
		since := ""
		if file.Resumed {
			since = " since the run was resumed"
		}
		fmt.Fprintf(out, "%s: %d of %d lines matched no event%s\n",
			plain(file.File), file.Unmatched, file.Lines, since)
	}
}

func second(t *time.Time) string {
	if t == nil {
		return ""
	}
	return t.UTC().Format(momentLayout)
}

// bytesText writes a number of bytes with a unit, and one decimal from 1 kB on.
func bytesText(n int64) string {
	units := []string{"B", "kB", "MB", "GB", "TB"}
	value, unit := float64(n), 0
	for value >= 1000 && unit < len(units)-1 {
		value, unit = value/1000, unit+1
	}
	if unit == 0 {
		return strconv.FormatInt(n, 10) + " B"
	}
	return fmt.Sprintf("%.1f %s", value, units[unit])
}

// writeFailures writes the dead and rejected events of a run to the file of --failures, one a line, as they are
// in the archive.
func (r *replaying) writeFailures(ctx context.Context, replays adapter.RunStore, run int64) error {
	if r.flags.failedFile == "" {
		return nil
	}
	var missing int64
	err := r.flags.failures().write(func(out io.Writer) (err error) {
		missing, err = replays.Failures(ctx, run, func(payload []byte) error {
			_, err := out.Write(append(payload, '\n'))
			return err
		})
		return err
	})
	if err == nil && missing > 0 {
		fmt.Fprintf(r.stderr, "%d dead or rejected events are not in the file: "+
			"their payloads were dropped for dead_letters.max_bytes, or are damaged\n", missing)
	}
	return err
}

const (
	// totalPatience bounds the wait of a dry run for the size of the archive. Without the size there is no
	// note: to list a bucket with millions of objects takes minutes.
	totalPatience = 5 * time.Second
	// notedMemory is the memory in bytes from which on there is a note.
	notedMemory = 100_000_000
)

// noteMemory writes how much memory the detection of repeated events may take, before the archive is read.
func noteMemory(ctx context.Context, out io.Writer, opened *archive.Archive, limit int64) {
	ctx, cancel := context.WithTimeout(ctx, totalPatience)
	defer cancel()
	total, err := opened.Total(ctx)
	if err != nil {
		return // reading reports the error
	}
	if note := memoryNote(total, limit); note != "" {
		fmt.Fprintln(out, note)
	}
}

// memoryNote returns the note, empty for little memory.
func memoryNote(total archive.Total, limit int64) string {
	memory := replay.SeenMemory(total.Bytes, limit)
	if memory < notedMemory {
		return ""
	}
	return fmt.Sprintf("note: the archive has %.1f GB; finding its repeated events may take %.1f GB of memory, "+
		"27 bytes for each event to send; --from, --to, --source or --limit make it less",
		float64(total.Bytes)/1e9, float64(memory)/1e9)
}
