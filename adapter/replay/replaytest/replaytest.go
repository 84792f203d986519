// Package replaytest has archives and stores for tests of replays.
package replaytest

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/archive"
	"segment-saasquatch/adapter/archive/archivetest"
	"segment-saasquatch/adapter/replay"
	"segment-saasquatch/adapter/store"
	"segment-saasquatch/mapping"
)

// Connection and Tenant are the names of each run.
const (
	Connection = "default"
	Tenant     = "https://example.test/test_tenant"
)

// Now is the time of each archive.
var Now = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

// NewMapper returns a mapper with the default rules.
func NewMapper(t testing.TB) *mapping.Mapper {
	t.Helper()
	mapper, err := mapping.New(mapping.DefaultRules())
	if err != nil {
		t.Fatal(err)
	}
	return mapper
}

// NewOptions returns options with the default rules and the time Now.
func NewOptions(t testing.TB) replay.Options {
	t.Helper()
	return replay.Options{Mapper: NewMapper(t), Now: func() time.Time { return Now }}
}

// MakeArchive makes an archive in a directory, and the spec that replays it.
func MakeArchive(t testing.TB, o archivetest.Options) (*archivetest.Archive, *replay.Spec) {
	t.Helper()
	o.Now = Now
	made := archivetest.Generate(o)
	dir := t.TempDir()
	made.WriteDir(t, dir)
	return made, &replay.Spec{
		Sources: []string{dir}, Via: replay.ViaAPI, Identify: replay.IdentifyNone,
		Filter: replay.Filter{Integrations: replay.DefaultIntegrations},
	}
}

// Expect returns what a replay of the archive delivers.
func Expect(made *archivetest.Archive) *archivetest.Expectation {
	return made.Expect(Now, append(slices.Clone(replay.DefaultIntegrations), "All"))
}

// Check compares the received events, and the outcomes of a run, with the expectation.
func Check(t testing.TB, want *archivetest.Expectation, received map[string]int, outcomes []adapter.Tally) {
	t.Helper()
	got := make(map[string]int)
	for _, tally := range outcomes {
		got[tally.Outcome.String()] += int(tally.Events)
	}
	for _, fault := range want.Compare(received, got) {
		t.Error(fault)
	}
}

// Read opens the sources of a spec and calls fn with their blocks.
func Read(
	t testing.TB, spec *replay.Spec, stdin io.Reader, resume func(archive.Object) (int64, bool),
	fn func(replay.Blocks) error,
) error {
	t.Helper()
	opened, err := archive.Open(context.Background(), spec.Sources, archive.Options{
		Stdin: stdin, From: spec.From, To: spec.To, Sources: spec.SourceIDs,
	})
	if err != nil {
		t.Fatal(err)
	}
	reader := opened.Read(context.Background(), archive.ReadOptions{Resume: resume})
	err = fn(reader)
	if closeErr := reader.Close(); closeErr != nil {
		t.Error(closeErr)
	}
	if closeErr := opened.Close(); closeErr != nil {
		t.Error(closeErr)
	}
	return err
}

// Begin begins a run.
func Begin(t testing.TB, runs adapter.RunStore, spec *replay.Spec) *adapter.Run {
	t.Helper()
	text, err := json.Marshal(spec)
	if err != nil {
		t.Fatal(err)
	}
	run, err := runs.BeginRun(context.Background(), Connection, Tenant, text)
	if err != nil {
		t.Fatal(err)
	}
	return run
}

// Outcomes returns the outcomes of a run.
func Outcomes(t testing.TB, runs adapter.RunStore, id int64) []adapter.Tally {
	t.Helper()
	run, _, err := runs.Run(context.Background(), id)
	if err != nil {
		t.Fatal(err)
	}
	return run.Outcomes
}

// Text returns the tallies as one line.
func Text(tallies []adapter.Tally) string {
	var parts []string
	for _, tally := range tallies {
		parts = append(parts, strings.TrimSpace(fmt.Sprintf("%d %s %s", tally.Events, tally.Outcome, tally.Reason)))
	}
	return strings.Join(parts, ", ")
}

// emptyStore is the file of an empty store. The tests open some 300 stores, and most of the time of opening a new one
// goes into its tables.
var emptyStore = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "store")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	path := filepath.Join(dir, "adapter.db")
	opened, err := store.Open(context.Background(), store.Options{Path: path})
	if err != nil {
		return nil, err
	}
	if err := opened.Close(); err != nil {
		return nil, err
	}
	return os.ReadFile(path)
})

// StorePath makes an empty store and returns the path of its file.
func StorePath(t testing.TB) string {
	t.Helper()
	file, err := emptyStore()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "adapter.db")
	if err := os.WriteFile(path, file, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
