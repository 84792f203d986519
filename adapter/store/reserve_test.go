package store_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/store"
)

// freeOn returns the free bytes of a disk, its ballast included.
func freeOn(t *testing.T, dir string) int64 {
	t.Helper()
	var stat unix.Statfs_t
	if err := unix.Statfs(dir, &stat); err != nil {
		t.Fatal(err)
	}
	free := int64(stat.Bavail) * int64(stat.Bsize)
	if info, err := os.Stat(filepath.Join(dir, "adapter.db-ballast")); err == nil {
		free += info.Size()
	}
	return free
}

// acceptUntilFull accepts requests of several sizes until the disk has only its reserve
// left, and returns how many events were acknowledged.
func acceptUntilFull(t *testing.T, q *store.Queue) (stored int) {
	t.Helper()
	for i, size := 0, 1; ; i, size = i+1, 1+(size*7)%200 {
		err := q.Accept(context.Background(), arrivals(stored, size))
		switch unavailable, ok := errors.AsType[*adapter.UnavailableError](err); {
		case err == nil:
			stored += size
		case !ok || !strings.Contains(unavailable.Message, "too little room"):
			t.Fatalf("after %d events: %v", stored, err)
		case size == 1: // not even one
			return stored
		default:
			size = 200 // the next one is of one event
		}
	}
}

func TestDiskSmallerThanReserve(t *testing.T) {
	opts := sqliteOptions(t)
	opts.Limits.FreeDisk = 1 << 60
	s, err := store.Open(context.Background(), opts)
	if err == nil {
		t.Fatal("opened", s.Close())
	}
	var stat unix.Statfs_t
	if err := unix.Statfs(filepath.Dir(opts.Path), &stat); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"backlog.min_free_disk", strconv.FormatInt(1<<60, 10),
		strconv.FormatInt(int64(stat.Blocks)*int64(stat.Bsize), 10)} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in %v", want, err)
		}
	}
}

// TestReserve fills a disk up to its reserve, which holds to the byte, delivers, and
// accepts again in the room that this has made.
func TestReserve(t *testing.T) {
	const reserve = 2 << 20
	dir := smallDisk(t, 8)
	opts := store.Options{Path: filepath.Join(dir, "adapter.db"), Limits: store.Limits{FreeDisk: reserve}}
	s := open(t, opts)
	q := connection(t, s, "default", "tenant")
	stored := acceptUntilFull(t, q)
	t.Logf("%d events fit", stored)
	if stored < 1000 {
		t.Errorf("%d events are few for such a disk", stored)
	}
	if free := freeOn(t, dir); free < reserve {
		t.Errorf("%d bytes are free of a reserve of %d", free, reserve)
	}
	if err := s.Ready(); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("%d are to stay free", reserve)) {
		t.Errorf("ready: %v", err)
	}
	if n := deliverAll(t, q); n != stored {
		t.Errorf("%d of %d were delivered", n, stored)
	}
	for s.Ready() != nil { // the log is copied in the background
		if err := s.Retain(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	accept(t, q, arrivals(stored, 10)...)
	balanced(t, s)
}

// deliverAll settles all that is pending, and returns how much that was.
func deliverAll(t *testing.T, q *store.Queue) (n int) {
	t.Helper()
	for {
		leased := lease(t, q, 100)
		if len(leased) == 0 {
			return n
		}
		n += len(leased)
		record(t, q, leased, adapter.Step{Outcome: adapter.Delivered, At: leased[0].ReceivedAt})
	}
}

// TestKilledOnFullDisk kills a process that has filled the disk up to its reserve, lets
// another program take that too, and starts again: it delivers and makes room.
func TestKilledOnFullDisk(t *testing.T) {
	const reserve = 2 << 20
	dir := smallDisk(t, 8)
	opts := store.Options{Path: filepath.Join(dir, "adapter.db"), Limits: store.Limits{FreeDisk: reserve}}
	t.Setenv("TEST_RESERVE", strconv.Itoa(reserve))
	holder := holdStore(t, opts.Path)
	_ = holder.Process.Kill()
	_ = holder.Wait() // it was killed
	rest := filepath.Join(dir, "rest")
	fillUp(t, rest)
	s := open(t, opts)
	q := connection(t, s, "default", "tenant")
	if err := q.Accept(context.Background(), []adapter.Arrival{event("another")}); !errors.As(err,
		new(*adapter.UnavailableError)) {
		t.Errorf("accepted on a full disk: %v", err)
	}
	if n := deliverAll(t, q); n < 1000 {
		t.Errorf("%d were delivered", n)
	}
	fillUp(t, rest+"2") // the ballast as well
	if err := s.Retain(context.Background()); err != nil {
		t.Fatal(err)
	}
	balanced(t, s)
	for _, name := range []string{rest, rest + "2"} {
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
	for s.Ready() != nil {
		if err := s.Retain(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	accept(t, q, event("another"))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	open(t, opts)
	if info, err := os.Stat(opts.Path + "-ballast"); err != nil || info.Size() != reserve/4 {
		t.Errorf("there is no ballast again: %v", err)
	}
}
