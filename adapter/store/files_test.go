package store_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/store"
)

// lostFiles are the ways in which the files of a store can go while it has them open.
var lostFiles = map[string]struct {
	spoil func(t *testing.T, path string)
	// want is what the error says of the file.
	want string
	// restore puts the files back; nil if they have no name any more.
	restore func(t *testing.T, path string)
	// restart says that nothing needs to be saved.
	restart bool
}{
	"database deleted": {spoil: deleteFile(""), want: "adapter.db was deleted"},
	"database renamed": {spoil: renameFile("", ".old"), want: "adapter.db was moved", restore: renameFile(".old",
		"")},
	"database replaced": {spoil: replaceFile(""), want: "adapter.db was replaced"},
	"database replaced by its backup": {
		spoil: func(t *testing.T, path string) {
			renameFile("", ".old")(t, path)
			copyFile(t, path+".old", path)
		},
		want: "adapter.db was replaced", restore: renameFile(".old", ""),
	},
	"log deleted": {spoil: deleteFile("-wal"), want: "adapter.db-wal was deleted"},
	"log renamed": {spoil: renameFile("-wal", ".old"), want: "adapter.db-wal was moved", restore: renameFile(".old",
		"-wal")},
	"log replaced":   {spoil: replaceFile("-wal"), want: "adapter.db-wal was replaced"},
	"index deleted":  {spoil: deleteFile("-shm"), want: "adapter.db-shm was deleted", restart: true},
	"index replaced": {spoil: replaceFile("-shm"), want: "adapter.db-shm was replaced", restart: true},
	"all deleted": {spoil: func(t *testing.T, path string) {
		for _, suffix := range []string{"", "-wal", "-shm", ".lock"} {
			deleteFile(suffix)(t, path)
		}
	}, want: "adapter.db-wal was deleted"},
	"directory renamed": {
		spoil:   func(t *testing.T, path string) { rename(t, filepath.Dir(path), filepath.Dir(path)+".old") },
		want:    "adapter.db was moved",
		restore: func(t *testing.T, path string) { rename(t, filepath.Dir(path)+".old", filepath.Dir(path)) },
	},
	"directory replaced": {
		spoil: func(t *testing.T, path string) {
			rename(t, filepath.Dir(path), filepath.Dir(path)+".old")
			if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil {
				t.Fatal(err)
			}
		},
		want: "adapter.db was moved",
		restore: func(t *testing.T, path string) {
			if err := os.Remove(filepath.Dir(path)); err != nil {
				t.Fatal(err)
			}
			rename(t, filepath.Dir(path)+".old", filepath.Dir(path))
		},
	},
	"directory deleted": {spoil: func(t *testing.T, path string) {
		if err := os.RemoveAll(filepath.Dir(path)); err != nil {
			t.Fatal(err)
		}
	}, want: "adapter.db was deleted"},
	"another disk mounted": {
		spoil:   func(t *testing.T, path string) { bind(t, t.TempDir(), filepath.Dir(path)) },
		want:    "adapter.db is out of reach",
		restore: func(t *testing.T, path string) { unmount(t, filepath.Dir(path)) },
	},
}

func deleteFile(suffix string) func(*testing.T, string) {
	return func(t *testing.T, path string) {
		if err := os.Remove(path + suffix); err != nil {
			t.Fatal(err)
		}
	}
}

func renameFile(from, to string) func(*testing.T, string) {
	return func(t *testing.T, path string) { rename(t, path+from, path+to) }
}

func rename(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	data, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, data, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func replaceFile(suffix string) func(*testing.T, string) {
	return func(t *testing.T, path string) {
		if err := os.WriteFile(path+".new", nil, 0o600); err != nil {
			t.Fatal(err)
		}
		rename(t, path+".new", path+suffix)
	}
}

// TestFilesLost takes the files from an open store in every way: nothing is acknowledged
// or leased from then on, and what was acknowledged is saved as the error says.
func TestFilesLost(t *testing.T) {
	for name, test := range lostFiles {
		t.Run(name, func(t *testing.T) {
			ctx := context.Background()
			changes := make(chan error, 10)
			opts := sqliteOptions(t)
			opts.OnHealth = func(err error) { changes <- err }
			s, err := store.Open(ctx, opts)
			if err != nil {
				t.Fatal(err)
			}
			q := connection(t, s, "default", "tenant")
			accept(t, q, event("message-1"), event("message-2"))
			leased := lease(t, q, 1)
			delivered := adapter.Step{Outcome: adapter.Delivered, At: leased[0].ReceivedAt}

			test.spoil(t, opts.Path)
			lost, ok := errors.AsType[*adapter.UnavailableError](q.Accept(ctx, arrivals(0, 1)))
			if !ok || lost.Message != "the store's files are lost" || !errors.As(lost, new(*store.FilesLostError)) {
				t.Fatalf("acknowledged: %v", lost)
			}
			if !strings.Contains(lost.Error(), test.want) {
				t.Errorf("no %q in %v", test.want, lost)
			}
			if ready := s.Ready(); !errors.As(ready, new(*store.FilesLostError)) {
				t.Errorf("ready: %v", ready)
			}
			if fault := <-changes; fault == nil || fault.Error() != lost.Error() {
				t.Errorf("logged: %v", fault)
			}
			if more, err := q.Lease(ctx, 1, 1<<20); !errors.As(err, new(*store.FilesLostError)) {
				t.Errorf("leased %d, %v", len(more), err)
			}
			if err := q.Record(ctx, &leased[0], delivered); !errors.As(err, new(*store.FilesLostError)) {
				t.Errorf("recorded: %v", err)
			}
			if found, err := s.Find(ctx, adapter.Filter{}, 10); err != nil || len(found) != 2 {
				t.Errorf("an export finds %d, %v", len(found), err)
			}
			if test.restore != nil {
				test.restore(t, opts.Path)
				if name == "database renamed" { // it finds out by itself
					if fault := <-changes; fault != nil {
						t.Fatalf("put back: %v", fault)
					}
				}
				record(t, q, leased, delivered)
				if got := accept(t, q, event("message-2"),
					event("message-3")); got != "duplicate already_accepted, pending" {
					t.Errorf("got %s", got)
				}
				if err := s.Ready(); err != nil {
					t.Errorf("put back: %v", err)
				}
				balanced(t, s)
				if err := s.Close(); err != nil {
					t.Error(err)
				}
				return
			}
			saved := filepath.Dir(opts.Path)
			if !test.restart {
				saved = save(t, lost.Error())
			} else if !strings.Contains(lost.Error(), "restart") {
				t.Errorf("got %v", lost)
			}
			err = s.Close()
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("closed: %v", err)
			}
			if !test.restart {
				// An operator who restarts it before reading the log loses nothing either.
				file := regexp.MustCompile(`saved to (\S+):`).FindStringSubmatch(err.Error())
				if file == nil {
					t.Fatalf("not saved: %v", err)
				}
				again := open(t, store.Options{Path: file[1]})
				if left := lease(t, connection(t, again, "default", "tenant"), 10); len(left) != 2 {
					t.Errorf("%d events were saved", len(left))
				}
			}
			// As another process would, for this one has the files open until it ends.
			copied := filepath.Join(t.TempDir(), "adapter.db")
			copyFile(t, filepath.Join(saved, "adapter.db"), copied)
			copyFile(t, filepath.Join(saved, "adapter.db-wal"), copied+"-wal")
			again := open(t, store.Options{Path: copied})
			if left := lease(t, connection(t, again, "default", "tenant"), 10); len(left) != 2 {
				t.Errorf("%d events were saved", len(left))
			}
			balanced(t, again)
		})
	}
}

// save does what the error says, and returns the directory.
func save(t *testing.T, fault string) string {
	t.Helper()
	command := regexp.MustCompile("`(mkdir SAVED .*?)`").FindStringSubmatch(fault)
	if command == nil {
		t.Fatalf("no command in %q", fault)
	}
	dir := t.TempDir()
	shell := exec.Command("sh", "-c", command[1])
	shell.Dir = dir
	if out, err := shell.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", command[1], err, out)
	}
	return filepath.Join(dir, "SAVED")
}

// TestFilesLostBehindCommit takes the database away between the commit and the answer.
func TestFilesLostBehindCommit(t *testing.T) {
	var spoil atomic.Bool
	opts := sqliteOptions(t)
	s := open(t, store.WithCommitted(opts, func() {
		if spoil.Swap(false) {
			renameFile("", ".old")(t, opts.Path)
		}
	}))
	q := connection(t, s, "default", "tenant")
	accept(t, q, event("message-1"), event("message-2"))
	leased := lease(t, q, 1)
	ctx := context.Background()
	putBack := func() {
		t.Helper()
		renameFile(".old", "")(t, opts.Path)
	}

	spoil.Store(true)
	if err := q.Accept(ctx, []adapter.Arrival{event("message-3")}); !errors.As(err, new(*store.FilesLostError)) {
		t.Errorf("acknowledged: %v", err)
	}
	putBack()
	if got := accept(t, q, event("message-3")); got != "duplicate already_accepted" {
		t.Errorf("sent again: %s", got)
	}
	// The outcome is in the file, wherever that is. To record it twice would not do.
	spoil.Store(true)
	if err := q.Record(ctx, &leased[0], adapter.Step{Outcome: adapter.Delivered,
		At: leased[0].ReceivedAt}); err != nil {
		t.Errorf("recorded: %v", err)
	}
	if err := s.Ready(); !errors.As(err, new(*store.FilesLostError)) {
		t.Errorf("ready: %v", err)
	}
	putBack()
	if left := lease(t, q, 10); len(left) != 2 {
		t.Errorf("%d events are left", len(left))
	}
	balanced(t, s)
}

// TestHardLinkedCopy links the database: the store still writes to the file
// that a restart opens, once the link is gone.
func TestHardLinkedCopy(t *testing.T) {
	opts := sqliteOptions(t)
	s := open(t, opts)
	q := connection(t, s, "default", "tenant")
	if err := os.Link(opts.Path, opts.Path+".backup"); err != nil {
		t.Fatal(err)
	}
	accept(t, q, event("message-1"))
	if err := s.Ready(); err != nil {
		t.Error(err)
	}
}

// TestSymlinkLeadsElsewhere has the configured name lead to another database.
func TestSymlinkLeadsElsewhere(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"one", "two"} {
		if err := open(t, store.Options{Path: filepath.Join(dir, name, "adapter.db")}).Close(); err != nil {
			t.Fatal(err)
		}
	}
	link := filepath.Join(dir, "data")
	point := func(to string) {
		t.Helper()
		_ = os.Remove(link)
		if err := os.Symlink(to, link); err != nil {
			t.Fatal(err)
		}
	}
	point("one")
	s := open(t, store.Options{Path: filepath.Join(link, "adapter.db")})
	q := connection(t, s, "default", "tenant")
	accept(t, q, event("message-1"))
	point("two")
	if err := q.Accept(context.Background(), []adapter.Arrival{event("message-2")}); !errors.As(err,
		new(*store.FilesLostError)) {
		t.Errorf("acknowledged: %v", err)
	}
	point("one")
	accept(t, q, event("message-2"))
}
