package replay_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"segment-saasquatch/adapter/replay/replaytest"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/replay"
)

// limited are numbers of events, lines and objects.
type limited struct {
	sent, duplicate, skipped, rejected, lines, objects int64
}

func limitedOf(outcomes []adapter.Tally, counts *replay.Counts) limited {
	l := limited{lines: counts.Lines, objects: counts.Objects}
	for _, tally := range outcomes {
		switch tally.Outcome {
		case adapter.Pending, adapter.Delivered: // as a dry run and a run call them
			l.sent += tally.Events
		case adapter.Duplicate:
			l.duplicate += tally.Events
		case adapter.Skipped:
			l.skipped += tally.Events
		case adapter.Rejected:
			l.rejected += tally.Events
		}
	}
	return l
}

// TestLimitInABlock ends a replay at its limit. Lines behind the last sent event do not count, and a dry run agrees.
func TestLimitInABlock(t *testing.T) {
	t.Parallel()
	id := 0
	track := func() string {
		id++
		return fmt.Sprintf(`{"type":"track","userId":"u","event":"E","messageId":"message-%d"}`, id)
	}
	const page, broken, again = `{"type":"page","userId":"u"}`, `{`,
		`{"type":"track","userId":"u","event":"E","messageId":"same-message"}`
	for _, test := range []struct {
		name  string
		files [][]string
		limit int64
		want  limited
	}{
		{"skipped lines behind", [][]string{{page, track(), page, page}}, 1, limited{sent: 1, skipped: 1, lines: 2}},
		{"rejected lines behind", [][]string{{track(), broken, broken}}, 1, limited{sent: 1, lines: 1}},
		{"events behind", [][]string{{track(), page, track(), page, track()}}, 2,
			limited{sent: 2, skipped: 1, lines: 3}},
		{"rejected lines between", [][]string{{track(), broken, track(), broken}}, 2,
			limited{sent: 2, rejected: 1, lines: 3}},
		{"duplicates between", [][]string{{again, again, page, again, track(), page, again}}, 2,
			limited{sent: 2, duplicate: 2, skipped: 1, lines: 5}},
		{"the last line", [][]string{{page, track()}}, 1, limited{sent: 1, skipped: 1, lines: 2, objects: 1}},
		{"more than there is", [][]string{{track(), page}}, 5, limited{sent: 1, skipped: 1, lines: 2, objects: 1}},
		{"as many as there are", [][]string{{track(), page}, {page, track(), page}}, 2,
			limited{sent: 2, skipped: 2, lines: 4, objects: 1}},
		{"a second object", [][]string{{track(), page}, {page, track(), page, track()}, {track()}}, 2,
			limited{sent: 2, skipped: 2, lines: 4, objects: 1}},
		{"duplicates of an object before", [][]string{{again, page}, {again, page, track(), page}}, 2,
			limited{sent: 2, duplicate: 1, skipped: 2, lines: 5, objects: 1}},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			writeArchive(t, dir, test.files...)
			spec := &replay.Spec{Sources: []string{dir}, Via: replay.ViaAPI, Limit: test.limit}
			p := startProcess(t, replaytest.StorePath(t), newTenant())
			defer p.end()
			counted := dryRun(t, spec, nil, p.options())
			if got := limitedOf(counted.Outcomes, &counted.Counts); got != test.want {
				t.Errorf("foreseen: %+v, want %+v", got, test.want)
			}
			run := replaytest.Begin(p.t, p.store, spec)
			if err := deliver(t, p.store, run, nil, spec, nil, p.options()); err != nil {
				t.Fatal(err)
			}
			report := p.report(run.ID)
			if got := limitedOf(report.Outcomes, &report.Counts); got != test.want || report.Interrupted {
				t.Errorf("got %+v, interrupted %t, want %+v", got, report.Interrupted, test.want)
			}
		})
	}
}

func (p *process) report(id int64) *replay.Report {
	p.t.Helper()
	stored, objects, err := p.store.Run(context.Background(), id)
	if err != nil {
		p.t.Fatal(err)
	}
	report, err := replay.ReportRun(stored, objects)
	if err != nil {
		p.t.Fatal(err)
	}
	return report
}

// TestLimitOfAResumedRun resumes a run that had reached its limit, and one that reaches it after it was resumed.
func TestLimitOfAResumedRun(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var lines []string
	for i := range 6 {
		lines = append(lines, `{"type":"page"}`,
			fmt.Sprintf(`{"type":"track","userId":"u","event":"E","messageId":"message-%d"}`, i))
	}
	writeArchive(t, dir, lines)
	for _, test := range []struct{ limit, crash int }{{1, 1}, {2, 2}, {4, 2}, {4, 1}} {
		spec := &replay.Spec{Sources: []string{dir}, Via: replay.ViaAPI, Limit: int64(test.limit)}
		p := startProcess(t, replaytest.StorePath(t), newTenant())
		opts := p.options()
		opts.Window = 1 // one event a batch
		failing := &faulty{RunStore: p.store, at: test.crash, after: true}
		run := replaytest.Begin(p.t, failing, spec)
		err := deliver(t, failing, run, nil, spec, nil, opts)
		if !errors.Is(err, errCrash) {
			t.Fatal(err)
		}
		if report := p.report(run.ID); !report.Interrupted {
			t.Errorf("limit %d, crash at %d: the run is at its end", test.limit, test.crash)
		}
		for range 2 {
			taken, objects, err := p.store.TakeRun(context.Background(), run.ID)
			if err != nil {
				t.Fatal(err)
			}
			err = deliver(t, p.store, taken, objects, spec, nil, p.options())
			if err != nil {
				t.Fatal(err)
			}
			report := p.report(run.ID)
			n := int64(test.limit)
			if got := limitedOf(report.Outcomes, &report.Counts); report.Interrupted || got.sent != n ||
				got.skipped != n || got.lines != 2*n {
				t.Errorf("limit %d, crash at %d: interrupted %t, %+v", test.limit, test.crash, report.Interrupted, got)
			}
		}
		p.end()
	}
}
