package store_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"segment-saasquatch/adapter/store"
)

// TestNoInodes opens a database on a file system that has room but no inodes.
func TestNoInodes(t *testing.T) {
	dir := smallDisk(t, 8, "nr_inodes=3") // the root, a database and its lock
	opts := store.Options{Path: filepath.Join(dir, "adapter.db")}
	_, err := store.Open(context.Background(), opts)
	if err == nil || !strings.Contains(err.Error(), "no inodes left") || !strings.Contains(err.Error(), "df -i") {
		t.Errorf("got %v", err)
	}
	if err := os.Remove(opts.Path + ".lock"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "rest"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = store.Open(context.Background(), opts) // not even the lock
	if err == nil || !strings.Contains(err.Error(), "no inodes left") {
		t.Errorf("got %v", err)
	}
}

// TestPathsThatLeadNowhere opens what cannot be a database.
func TestPathsThatLeadNowhere(t *testing.T) {
	dir := t.TempDir()
	circle, dangling := filepath.Join(dir, "circle"), filepath.Join(dir, "dangling")
	if err := errors.Join(os.Symlink("circle", circle), os.Symlink("nowhere/adapter.db", dangling),
		os.WriteFile(filepath.Join(dir, "file"), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		circle:                                   "the path leads nowhere",
		filepath.Join(circle, "adapter.db"):      "the path leads nowhere",
		dangling:                                 "the path leads nowhere",
		filepath.Join(dir, "file", "adapter.db"): "a part of the path is a file",
		filepath.Join(dir, strings.Repeat("x", 300)): "the path leads nowhere",
		dir: "remove the directory",
	} {
		s, err := store.Open(context.Background(), store.Options{Path: path})
		if err == nil {
			err = s.Close()
		}
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), dir) {
			t.Errorf("%s: got %v", filepath.Base(path), err)
		}
	}
}
