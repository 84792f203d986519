package store_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/store"
	"segment-saasquatch/mapping"
)

// smallDisk mounts a disk of a few megabytes.
func smallDisk(t *testing.T, megabytes int, options ...string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	out, err := exec.Command("mount", "-t", "tmpfs", "-o",
		strings.Join(append(options, fmt.Sprintf("size=%dm", megabytes)), ","), "tmpfs", dir).CombinedOutput()
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("cannot mount a tmpfs: %v: %s", err, out)
		}
		t.Skipf("SKIP: run as root to mount a tmpfs: %v: %s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
	})
	return dir
}

// fillUp takes all the room that is left.
func fillUp(t *testing.T, path string) {
	t.Helper()
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for err == nil {
		_, err = file.Write(make([]byte, 4096))
	}
	if !errors.Is(err, unix.ENOSPC) {
		t.Fatal(err)
	}
}

// TestDiskFull fills the disk, makes room and looks for every event.
func TestDiskFull(t *testing.T) {
	dir := smallDisk(t, 6)
	ballast := filepath.Join(dir, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 3<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	health := make(chan error, 100)
	opts := store.Options{Path: filepath.Join(dir, "adapter.db"), OnHealth: func(err error) { health <- err }}
	s := open(t, opts)
	q := connection(t, s, "default", "tenant")
	ctx := context.Background()
	var unavailable *adapter.UnavailableError
	stored := 0
	for {
		err := q.Accept(ctx, arrivals(stored, 10))
		if err == nil {
			stored += 10
			continue
		}
		if !errors.As(err, &unavailable) || unavailable.Unavailable() != "the disk is full" {
			t.Fatalf("after %d events: %v", stored, err)
		}
		break
	}
	t.Logf("%d events fit", stored)
	fillUp(t, filepath.Join(dir, "rest"))
	// A small change may fit into what the failed one left of the log.
	leased := lease(t, q, 1)
	dead := adapter.Step{Outcome: adapter.Dead, Reason: mapping.ReasonRefused, At: leased[0].ReceivedAt}
	recorded := q.Record(ctx, &leased[0], dead)
	if recorded != nil && !errors.As(recorded, &unavailable) {
		t.Errorf("recorded on a full disk: %v", recorded)
	}
	if stored < 100 {
		t.Error("the disk was full from the beginning")
	}
	var ready error
	for range 3 { // just then it may try a small write of its own
		if err := q.Accept(ctx, arrivals(stored, 1000)); !errors.As(err, &unavailable) {
			t.Fatalf("there is no room at all: %v", err)
		}
		if ready = s.Ready(); ready != nil {
			break
		}
	}
	if !errors.As(ready, &unavailable) || unavailable.Message != "the disk is full" {
		t.Errorf("ready: %v", ready)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	// It finds out by itself, without an event to try it on.
	for s.Ready() != nil {
		select {
		case <-health:
		case <-time.After(30 * time.Second): // the disk is real
			t.Fatal("the store does not recover")
		}
	}
	if recorded != nil { // it can still be
		record(t, q, leased, dead)
	}
	accept(t, q, arrivals(stored, 10)...)
	stored += 10
	if got := balanced(t, s)[0]; got.Accepted != int64(stored) || got.Events[adapter.Dead] != 1 ||
		got.Events[adapter.Pending] != int64(stored-1) {
		t.Errorf("%d were acknowledged, got %+v", stored, got)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, opts)
	if left := lease(t, connection(t, s, "default", "tenant"), 2*stored); len(left) != stored-1 {
		t.Errorf("%d events are left, want %d", len(left), stored-1)
	}
	balanced(t, s)
}

// TestReadOnlyDisk opens a database that no user can write to.
func TestReadOnlyDisk(t *testing.T) {
	dir := smallDisk(t, 6)
	opts := store.Options{Path: filepath.Join(dir, "data", "adapter.db")}
	if err := open(t, opts).Close(); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mount", "-o", "remount,ro", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for name, opts := range map[string]store.Options{
		"a database":         opts,
		"no database":        {Path: filepath.Join(dir, "data", "new.db")},
		"no directory":       {Path: filepath.Join(dir, "new", "adapter.db")},
		"beside the process": {Path: opts.Path, Shared: true},
	} {
		s, err := store.Open(context.Background(), opts)
		if err == nil {
			t.Errorf("%s: opened", name)
			if err := s.Close(); err != nil {
				t.Error(err)
			}
			continue
		}
		if !strings.Contains(err.Error(), "must be able to write") || !strings.Contains(err.Error(), dir) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
