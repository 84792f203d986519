package replay_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"segment-saasquatch/adapter/replay/replaytest"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/archive"
	"segment-saasquatch/adapter/replay"
)

// entriesOf writes n events without messageId, so that only their place tells them apart. The last but one is
// rejected.
func entriesOf(t testing.TB, form string, n int) string {
	t.Helper()
	var out []string
	for i := range n {
		event := fmt.Sprintf(`{"type":"track","userId":"u-%d","event":"Signed Up","timestamp":"2026-11-01T00:00:00Z"}`,
			i)
		if i == n-2 {
			event = `{"type":"track","userId":"u-rejected","event":" "}`
		}
		if strings.HasPrefix(form, "pretty") {
			var indented bytes.Buffer
			if err := json.Indent(&indented, []byte(event), "", "  "); err != nil {
				t.Fatal(err)
			}
			event = indented.String()
		}
		out = append(out, event)
	}
	switch form {
	case "array":
		return "[" + strings.Join(out, ",") + "]"
	case "pretty array":
		return "[\n" + strings.Join(out, ",\n") + "\n]\n"
	case "pretty":
		return strings.Join(out, "\n")
	default:
		return strings.Join(out, "")
	}
}

// TestResumeEntries ends a replay of arrays and other forms at every batch and resumes it in another process. Each
// event arrives once.
func TestResumeEntries(t *testing.T) {
	t.Parallel()
	const n = 40
	for _, form := range []string{"array", "pretty array", "pretty", "concatenated"} {
		content := entriesOf(t, form, n)
		name := filepath.Join(t.TempDir(), "events.json")
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, source := range []string{name, "-"} {
			input := func() io.Reader { return strings.NewReader(content) }
			spec := &replay.Spec{Sources: []string{source}, Via: replay.ViaAPI}
			for at := 1; ; at += 5 {
				to, path := newTenant(), replaytest.StorePath(t)
				p := startProcess(t, path, to)
				opts := p.options()
				opts.Window = 3
				failing := &faulty{RunStore: p.store, at: at, after: at%2 == 0}
				run := replaytest.Begin(p.t, failing, spec)
				err := deliver(t, failing, run, nil, spec, input(), opts)
				p.end()
				if err == nil {
					break // there are fewer batches
				}
				if !errors.Is(err, errCrash) {
					t.Fatal(err)
				}
				p = startProcess(t, path, to)
				taken, objects, err := p.store.TakeRun(context.Background(), run.ID)
				if err != nil {
					t.Fatal(err)
				}
				err = deliver(t, p.store, taken, objects, spec, input(), opts)
				if err != nil {
					t.Fatalf("%s of %s, batch %d: %v", form, source, at, err)
				}
				for key, times := range to.received() {
					if times != 1 {
						t.Errorf("%s of %s, batch %d: %s came %d times", form, source, at, key, times)
					}
				}
				if got := replaytest.Text(replaytest.Outcomes(p.t, p.store,
					run.ID)); got != fmt.Sprintf("%d delivered, 1 rejected missing_event_name", n-1) {
					t.Errorf("%s of %s, batch %d: %s", form, source, at, got)
				}
				// A failure is a line that can be replayed.
				var failures []string
				if _, err := p.store.Failures(context.Background(), run.ID, func(payload []byte) error {
					failures = append(failures, string(payload))
					return nil
				}); err != nil {
					t.Fatal(err)
				}
				if len(failures) != 1 || strings.Contains(failures[0], "\n") || !json.Valid([]byte(failures[0])) ||
					!strings.Contains(failures[0], "u-rejected") {
					t.Errorf("%s of %s, batch %d: failures %q", form, source, at, failures)
				}
				p.end()
			}
		}
	}
}

// TestResumeLinesAsEntries resumes a run of an older version, which counted the lines of an array. No event is lost.
func TestResumeLinesAsEntries(t *testing.T) {
	t.Parallel()
	o := archive.Object{Key: "array.json", Version: "v"}
	entries := archive.Object{Key: o.Key, Version: o.Version + archive.OfEntries}
	for name, test := range map[string]struct {
		was                     adapter.ObjectProgress
		lines, entries          int64
		linesDone, entriesAreIt bool
	}{
		"lines": {was: adapter.ObjectProgress{Version: o.Version, Lines: 7}, lines: 7},
		"lines, done": {was: adapter.ObjectProgress{Version: o.Version, Lines: 7, Done: true}, lines: 7,
			linesDone: true},
		"entries": {was: adapter.ObjectProgress{Version: entries.Version, Lines: 7}, entries: 7},
		"entries, done": {was: adapter.ObjectProgress{Version: entries.Version, Lines: 7, Done: true}, entries: 7,
			linesDone: true, entriesAreIt: true},
		"changed": {was: adapter.ObjectProgress{Version: "w" + archive.OfEntries, Lines: 7, Done: true}},
	} {
		test.was.Object = o.Key
		resume := replay.Resume([]adapter.ObjectProgress{test.was})
		if after, done := resume(o); done != test.linesDone || !done && after != test.lines {
			t.Errorf("%s: lines behind %d, done %t", name, after, done)
		}
		if after, done := resume(entries); after != test.entries || done != test.entriesAreIt {
			t.Errorf("%s: entries behind %d, done %t", name, after, done)
		}
	}
}
