package main

import (
	"strings"
	"testing"

	"segment-saasquatch/adapter/archive"
)

// TestMemoryNote checks the note before a dry run over a large archive.
func TestMemoryNote(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		bytes, limit int64
		want         string
	}{
		{0, 0, ""},
		{100_000_000, 0, ""},
		{10_000_000_000, 0, "the archive has 10.0 GB; finding its repeated events may take 1.2 GB of memory"},
		{10_000_000_000, 10_000_000, "may take 0.3 GB of memory"},
		{10_000_000_000, 1000, ""},
	} {
		got := memoryNote(archive.Total{Bytes: test.bytes, Objects: 10}, test.limit)
		if test.want == "" && got != "" || !strings.Contains(got, test.want) {
			t.Errorf("%+v: %q", test, got)
		}
	}
}
