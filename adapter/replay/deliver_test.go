package replay_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"segment-saasquatch/adapter/replay/replaytest"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/archive"
	"segment-saasquatch/adapter/archive/archivetest"
	"segment-saasquatch/adapter/replay"
	"segment-saasquatch/mapping"
)

// TestDeliver replays an archive with everything that archives have. The expected events arrive once, and a second
// replay sends nothing.
func TestDeliver(t *testing.T) {
	t.Parallel()
	made, spec := replaytest.MakeArchive(t, archivetest.Options{EventsPerDay: 600})
	want := replaytest.Expect(made)
	if len(want.Keys) < 100 || want.Unkeyed < 10 || want.Outcomes["duplicate"] < 10 ||
		want.Outcomes["rejected"] < 10 || damagedFiles(made) < 2 {
		t.Fatalf("the archive has too little of something: %+v", want.Outcomes)
	}
	to := newTenant()
	p := startProcess(t, replaytest.StorePath(t), to)
	defer p.end()
	outcomes := p.deliver(spec)
	replaytest.Check(t, want, to.received(), outcomes)

	again := p.deliver(spec)
	if n := len(to.received()); n != 0 {
		t.Errorf("%d events arrived again: %s", n, replaytest.Text(again))
	}
	_, objects, err := p.store.Run(context.Background(), 1)
	if err != nil {
		t.Fatal(err)
	}
	faults := 0
	for _, object := range objects {
		if object.Fault != "" {
			faults++
		}
		if object.Done == (object.Fault != "") {
			t.Errorf("object %+v", object)
		}
	}
	if want := damagedFiles(made); faults != want {
		t.Errorf("%d faults, want %d", faults, want)
	}
	for _, c := range verified(t, p) {
		if len(c.Faults) > 0 {
			t.Error(c.Faults)
		}
	}
}

func verified(t *testing.T, p *process) []adapter.Conservation {
	t.Helper()
	verified, err := p.store.Verify(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return verified
}

// TestCountAgrees compares a dry run with the replay.
func TestCountAgrees(t *testing.T) {
	t.Parallel()
	made, spec := replaytest.MakeArchive(t, archivetest.Options{EventsPerDay: 300})
	to := newTenant()
	p := startProcess(t, replaytest.StorePath(t), to)
	defer p.end()
	count := func(look *replay.Ledger) *replay.Report {
		counted := dryRun(t, spec, look, p.options())
		return counted.Report(100)
	}
	look := p.ledger()
	before := count(look)
	if without := count(nil); replaytest.Text(without.Outcomes) != replaytest.Text(before.Outcomes) {
		t.Errorf("with an empty ledger: %s\nwithout one: %s", replaytest.Text(before.Outcomes),
			replaytest.Text(without.Outcomes))
	}
	done := p.deliver(spec)
	want := replaytest.Expect(made)
	replaytest.Check(t, want, to.received(), done)
	if n := int64(want.Outcomes["delivered"]); before.Requests != n ||
		before.Estimate != time.Duration(n)*time.Second/100 {
		t.Errorf("%d requests in %s, want %d", before.Requests, before.Estimate, n)
	}
	if int(before.ObjectsFailed) != damagedFiles(made) || len(before.Faults) != damagedFiles(made) {
		t.Errorf("%d objects failed: %+v", before.ObjectsFailed, before.Faults)
	}
	run, objects, err := p.store.Run(context.Background(), 1)
	if err != nil {
		t.Fatal(err)
	}
	report, err := replay.ReportRun(run, objects)
	if err != nil {
		t.Fatal(err)
	}
	if report.Lines != before.Lines || report.Objects != before.Objects || report.Bytes != before.Bytes ||
		report.TextBytes != before.TextBytes ||
		fmt.Sprint(report.Warnings) != fmt.Sprint(before.Warnings) || len(report.Events) != len(before.Events) ||
		!report.First.Equal(*before.First) || !report.Last.Equal(*before.Last) {
		t.Errorf("replayed: %+v\nforeseen: %+v", report.Counts, before.Counts)
	}
	if report.Settled() || report.Failed() != int64(want.Outcomes["rejected"]) {
		t.Errorf("settled %t, %d failed", report.Settled(), report.Failed())
	}
	after := count(look)
	if after.Requests != 0 {
		t.Errorf("after the replay %d requests are foreseen: %s", after.Requests, replaytest.Text(after.Outcomes))
	}
}

// faulty is a store that fails at one batch, before or after storing it.
type faulty struct {
	adapter.RunStore
	at    int
	after bool
	n     int
}

var errCrash = errors.New("crash")

func (f *faulty) AcceptBatch(ctx context.Context, run *adapter.Run, batch *adapter.Batch) error {
	f.n++
	if f.n == f.at && !f.after {
		return errCrash
	}
	if err := f.RunStore.AcceptBatch(ctx, run, batch); err != nil {
		return err
	}
	if f.n == f.at {
		return errCrash
	}
	return nil
}

// TestResumeAnywhere ends a replay at every batch and resumes it in another process. Some events have no messageId, so
// only their place tells them apart.
func TestResumeAnywhere(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	const files, perFile = 3, 40
	for file := range files {
		var lines strings.Builder
		for i := range perFile {
			switch i % 4 {
			case 0: // none of these has a messageId, and they are all alike
				lines.WriteString(`{"type":"track","userId":"u-1","event":"Signed Up",` +
					`"timestamp":"2026-11-01T00:00:00Z"}` + "\n")
			case 1:
				fmt.Fprintf(&lines, `{"type":"track","userId":"u-2","event":"Signed Up","messageId":"message-%d-%d",`+
					`"timestamp":"2026-11-01T00:00:00Z"}`+"\n", file, i)
			case 2:
				lines.WriteString(`{"type":"page","userId":"u-1"}` + "\n\n")
			case 3:
				lines.WriteString("{\n")
			}
		}
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%d.ndjson", file)), []byte(lines.String()),
			0o600); err != nil {
			t.Fatal(err)
		}
	}
	spec := &replay.Spec{Sources: []string{dir}, Via: replay.ViaAPI}
	for _, after := range []bool{false, true} {
		first, step := replaytest.CrashPoints()
		for at := first; ; at += step {
			to := newTenant()
			path := replaytest.StorePath(t)
			p := startProcess(t, path, to)
			// Few events a batch make many batches.
			opts := p.options()
			opts.Window = 4
			failing := &faulty{RunStore: p.store, at: at, after: after}
			run := replaytest.Begin(p.t, failing, spec)
			err := deliver(t, failing, run, nil, spec, nil, opts)
			crashed := errors.Is(err, errCrash)
			if err != nil && !crashed {
				t.Fatal(err)
			}
			p.end()
			if crashed {
				p = startProcess(t, path, to)
				taken, objects, err := p.store.TakeRun(context.Background(), run.ID)
				if err != nil {
					t.Fatal(err)
				}
				err = deliver(t, p.store, taken, objects, spec, nil, p.options())
				if err != nil {
					t.Fatal(err)
				}
			} else {
				p = startProcess(t, path, to)
			}
			outcomes := replaytest.Text(replaytest.Outcomes(p.t, p.store, run.ID))
			p.end()
			if want := "60 delivered, 30 skipped unsupported_type, 30 rejected invalid_json"; outcomes != want {
				t.Fatalf("crash at batch %d, after it %t: %s", at, after, outcomes)
			}
			total := 0
			for key, n := range to.received() {
				total += n
				if strings.HasPrefix(key, "message-") && n != 1 {
					t.Errorf("crash at batch %d, after it %t: %s arrived %d times", at, after, key, n)
				}
			}
			if total != 60 {
				t.Fatalf("crash at batch %d, after it %t: %d events arrived", at, after, total)
			}
			if !crashed {
				if at < 15 {
					t.Fatalf("only %d batches", at)
				}
				break
			}
			at += at / 6 // not every one of the later
		}
	}
}

// TestResumeStandardInput resumes with the same standard input, and refuses another one.
func TestResumeStandardInput(t *testing.T) {
	t.Parallel()
	line := func(i int) string {
		const event = `{"type":"track","userId":"u-%d","event":"Signed Up","timestamp":"2026-11-01T00:00:00Z"}`
		return fmt.Sprintf(event+"\n", i)
	}
	var input strings.Builder
	for i := range 50 {
		input.WriteString(line(i))
	}
	spec := &replay.Spec{Sources: []string{"-"}, Via: replay.ViaAPI}
	for _, test := range []struct {
		name, second string
		want         error
	}{
		{"the same", input.String(), nil},
		{"longer", input.String() + line(50), nil},
		{"another", line(99) + input.String(), replay.ErrOtherInput},
		{"shorter", line(0), replay.ErrOtherInput},
		{"empty", "", replay.ErrOtherInput},
	} {
		t.Run(test.name, func(t *testing.T) {
			to := newTenant()
			p := startProcess(t, replaytest.StorePath(t), to)
			defer p.end()
			opts := p.options()
			opts.Window = 1
			failing := &faulty{RunStore: p.store, at: 20, after: true}
			run := replaytest.Begin(p.t, failing, spec)
			err := deliver(t, failing, run, nil, spec, strings.NewReader(input.String()), opts)
			if !errors.Is(err, errCrash) {
				t.Fatal(err)
			}
			taken, objects, err := p.store.TakeRun(context.Background(), run.ID)
			if err != nil {
				t.Fatal(err)
			}
			err = deliver(t, p.store, taken, objects, spec, strings.NewReader(test.second), opts)
			if !errors.Is(err, test.want) {
				t.Fatalf("got %v, want %v", err, test.want)
			}
			if test.want != nil {
				return
			}
			total := 0
			for _, n := range to.received() {
				total += n
			}
			if want := strings.Count(test.second, "\n"); total != want {
				t.Errorf("%d events arrived, want %d", total, want)
			}
		})
	}
}

// TestChangedObject resumes after an object was rewritten: its old events are duplicates.
func TestChangedObject(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	name := filepath.Join(dir, "events.ndjson")
	line := func(i int) string {
		return fmt.Sprintf(`{"type":"track","userId":"u","event":"Signed Up","messageId":"message-%d",`+
			`"timestamp":"2026-11-01T00:00:00Z"}`+"\n", i)
	}
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(line(1) + line(2))
	spec := &replay.Spec{Sources: []string{dir}, Via: replay.ViaAPI}
	to := newTenant()
	p := startProcess(t, replaytest.StorePath(t), to)
	defer p.end()
	p.deliver(spec)
	write(line(3) + line(1) + line(2) + line(4))
	taken, objects, err := p.store.TakeRun(context.Background(), 1)
	if err != nil {
		t.Fatal(err)
	}
	err = deliver(t, p.store, taken, objects, spec, nil, p.options())
	if err != nil {
		t.Fatal(err)
	}
	if received := to.received(); len(received) != 4 || received["message-1"] != 1 {
		t.Errorf("received %v", received)
	}
}

// TestLimit stops after the limit of sent events. Duplicates do not count.
func TestLimit(t *testing.T) {
	t.Parallel()
	_, spec := replaytest.MakeArchive(t, archivetest.Options{EventsPerDay: 300})
	to := newTenant()
	p := startProcess(t, replaytest.StorePath(t), to)
	defer p.end()
	for _, limit := range []int64{1, 7, 50} {
		spec.Limit = limit
		look := p.ledger()
		counted := dryRun(t, spec, look, p.options())
		p.deliver(spec)
		if n := int64(len(to.received())); n != limit || counted.Report(0).Requests != limit {
			t.Errorf("limit %d: %d events arrived, %d were foreseen", limit, n, counted.Report(0).Requests)
		}
	}
}

// TestDeadEvents makes SaaSquatch refuse some events for good, and others at first.
func TestDeadEvents(t *testing.T) {
	t.Parallel()
	made, spec := replaytest.MakeArchive(t, archivetest.Options{EventsPerDay: 200, Clean: true})
	to := newTenant()
	to.answer = func(event *mapping.UserEvent) adapter.Attempt {
		if event.Key == "purchase" {
			return adapter.Attempt{Outcome: adapter.Dead, Reason: mapping.ReasonUserNotFound, Status: 404}
		}
		return adapter.Attempt{Outcome: adapter.Delivered}
	}
	p := startProcess(t, replaytest.StorePath(t), to)
	defer p.end()
	outcomes := p.deliver(spec)
	dead := int64(0)
	for _, tally := range outcomes {
		if tally.Outcome == adapter.Dead && tally.Reason == mapping.ReasonUserNotFound {
			dead = tally.Events
		}
	}
	var failures int64
	_, err := p.store.Failures(context.Background(), 1, func(payload []byte) error {
		if strings.Contains(string(payload), "Order Completed") {
			failures++
		}
		return nil
	})
	if err != nil || dead == 0 || failures < dead {
		t.Errorf("%d dead, %d failures, %v", dead, failures, err)
	}
	_ = made
}

// TestLimitOfAPipe reaches the limit while the pipe stays open.
func TestLimitOfAPipe(t *testing.T) {
	t.Parallel()
	in, out := io.Pipe()
	defer out.Close()
	go func() {
		// More than a block, then no more and no end.
		for i := range 4000 {
			_, _ = fmt.Fprintf(out, `{"type":"track","userId":"u-%d","event":"Signed Up","messageId":"message-%d",`+
				`"timestamp":"2026-11-01T00:00:00Z"}`+"\n", i, i)
		}
	}()
	to := newTenant()
	p := startProcess(t, replaytest.StorePath(t), to)
	defer p.end()
	spec := &replay.Spec{Sources: []string{"-"}, Via: replay.ViaAPI, Limit: 5}
	run := replaytest.Begin(p.t, p.store, spec)
	opened, err := archive.Open(context.Background(), spec.Sources, archive.Options{Stdin: in})
	if err != nil {
		t.Fatal(err)
	}
	reader := opened.Read(context.Background(), archive.ReadOptions{})
	if err := replay.Deliver(context.Background(), p.store, run, nil, reader, p.options()); err != nil {
		t.Fatal(err)
	}
	if n := len(to.received()); n != 5 {
		t.Errorf("%d events arrived", n)
	}
	_ = out.Close()
	if err := errors.Join(reader.Close(), opened.Close()); err != nil {
		t.Error(err)
	}
}
