package main

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"
)

// TestRestoreAsks checks that restore changes nothing unless the operator agrees.
func TestRestoreAsks(t *testing.T) {
	env, path := storeWithDeliveries(t)
	lookup := func(name string) (string, bool) { value, ok := env[name]; return value, ok }
	backup := filepath.Join(t.TempDir(), "backup.db")
	if code, _, stderr := runCommandIn(t, env, "", "store", "backup", backup); code != exitOK {
		t.Fatal(stderr)
	}
	for _, typed := range []string{"n\n", "y\n"} {
		want := exitOK
		if typed == "n\n" {
			want = exitFailed
		}
		var stdout, stderr bytes.Buffer
		code := run(t.Context(), []string{"store", "restore", backup}, lookup, newTerminal(t, typed), &stdout, &stderr)
		if code != want || !strings.Contains(stderr.String(), "it takes the place of "+path) {
			t.Errorf("%q: exit code %d\n%s%s", typed, code, &stdout, &stderr)
		}
		if kept, err := filepath.Glob(path + ".replaced-*"); err != nil || (len(kept) > 0) != (want == exitOK) {
			t.Errorf("%q: kept %v, %v", typed, kept, err)
		}
	}
}
