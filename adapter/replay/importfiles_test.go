package replay_test

import (
	"context"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"segment-saasquatch/adapter/archive/archivetest"
	"segment-saasquatch/adapter/replay"
	"segment-saasquatch/adapter/replay/replaytest"
)

// TestWriteFiles writes the lines of an archive into files of a few lines each.
func TestWriteFiles(t *testing.T) {
	t.Parallel()
	made, spec := replaytest.MakeArchive(t, archivetest.Options{EventsPerDay: 300})
	want := replaytest.Expect(made)
	spec.Via = replay.ViaImport
	dir := filepath.Join(t.TempDir(), "out")
	limits := replay.FileLimits{MaxLines: 70, MaxBytes: 1 << 20}
	write := func() (*replay.Written, error) {
		var written *replay.Written
		err := replaytest.Read(t, spec, nil, nil, func(blocks replay.Blocks) (err error) {
			written, err = replay.WriteFiles(context.Background(), spec, blocks, dir, replaytest.NewOptions(t), limits)
			return err
		})
		return written, err
	}
	written, err := write()
	if err != nil {
		t.Fatal(err)
	}
	keys := make(map[string]int)
	lines := 0
	for _, name := range written.Files {
		content, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		n := strings.Count(string(content), "\n")
		if lines += n; n > 70 {
			t.Errorf("%s has %d lines", name, n)
		}
		for line := range strings.Lines(string(content)) {
			if _, rest, ok := strings.Cut(line, `"idempotencyKey":"`); ok {
				key, _, _ := strings.Cut(rest, `"`)
				keys[key]++
			}
		}
	}
	if !maps.Equal(keys, want.Keys) || lines != want.Outcomes["delivered"] || len(written.Files) != (lines+69)/70 {
		t.Errorf("%d keys of %d, %d lines of %d, %d files", len(keys), len(want.Keys), lines,
			want.Outcomes["delivered"], len(written.Files))
	}
	if _, err := write(); err == nil {
		t.Error("files of an earlier time are no error")
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*.partial")); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}
