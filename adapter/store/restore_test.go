package store_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"segment-saasquatch/adapter/store"
)

// backupOf returns a backup with one event.
func backupOf(t *testing.T, messageID string) string {
	t.Helper()
	opts := sqliteOptions(t)
	s := open(t, opts)
	accept(t, connection(t, s, "default", "tenant"), event(messageID))
	return backUp(t, opts)
}

// restore restores a backup as the command does.
func restore(opts store.RestoreOptions) (*store.Restoration, error) {
	ctx := context.Background()
	r, err := store.PrepareRestore(ctx, opts)
	if err != nil {
		return nil, err
	}
	return r, errors.Join(r.Commit(ctx, false, nil), r.Close())
}

// killed leaves a database with an event, message-1, that is in the log alone.
func killed(t *testing.T) string {
	t.Helper()
	path := sqliteOptions(t).Path
	other := holdStore(t, path)
	if err := other.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = other.Wait()
	if log, err := os.Stat(path + "-wal"); err != nil || log.Size() == 0 {
		t.Fatalf("no log: %v", err)
	}
	return path
}

// contents opens a store as a server and returns its events.
func contents(t *testing.T, path string) string {
	t.Helper()
	s, err := store.Open(context.Background(), store.Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	balanced(t, s)
	ids := messagesOf(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(ids)
}

// TestRestore puts a backup in the place of a database whose server was killed. The former
// one stays, with its log.
func TestRestore(t *testing.T) {
	path, backup := killed(t), backupOf(t, "message-2")
	before, err := os.ReadFile(backup)
	if err != nil {
		t.Fatal(err)
	}
	r, err := restore(store.RestoreOptions{Path: path, File: backup})
	if err != nil {
		t.Fatal(err)
	}
	if r.Pending != 1 || r.Hold() != 0 || time.Since(r.TakenAt) > time.Minute || r.Database != path {
		t.Errorf("got %+v", r)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	left, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, entry := range left {
		names = append(names, entry.Name())
	}
	former := filepath.Base(r.Replaced)
	want := []string{"adapter.db", "adapter.db.lock", former, former + "-wal"}
	if slices.Sort(want); !slices.Equal(names, want) || !strings.HasPrefix(former, "adapter.db.replaced-2") {
		t.Errorf("files %v, want %v", names, want)
	}
	if got := contents(t, path); got != "[message-2]" {
		t.Errorf("restored %s", got)
	}
	if got := contents(t, r.Replaced); got != "[message-1]" {
		t.Errorf("kept %s", got)
	}
	if after, err := os.ReadFile(backup); err != nil || string(after) != string(before) {
		t.Errorf("the backup was changed: %v", err)
	}
}

// TestRestoreCopies restores other files than those of Backup: a database with its log, and one
// where there is no database yet.
func TestRestoreCopies(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "adapter.db")
	r, err := restore(store.RestoreOptions{Path: path, File: killed(t)})
	if err != nil || r.Replaced != "" {
		t.Fatalf("%+v, %v", r, err)
	}
	if got := contents(t, path); got != "[message-1]" {
		t.Errorf("restored %s", got)
	}
	if left, err := filepath.Glob(path + ".replaced*"); err != nil || len(left) > 0 {
		t.Errorf("kept %v, %v", left, err)
	}
}

// TestRestoreDamaged restores over a database that cannot be opened, as the error says.
func TestRestoreDamaged(t *testing.T) {
	backup, garbage := backupOf(t, "message-2"), []byte("garbage, and a lot of it")
	for name, damage := range map[string]func(path string) error{
		"garbage":   func(path string) error { return os.WriteFile(path, garbage, 0o600) },
		"truncated": func(path string) error { return os.Truncate(path, 5000) },
		"another log": func(path string) error { // a copy put over the database of a killed server
			other := killed(t)
			log, err := os.ReadFile(other + "-wal")
			if err != nil {
				return err
			}
			return os.WriteFile(path+"-wal", log, 0o600)
		},
	} {
		t.Run(name, func(t *testing.T) {
			opts := sqliteOptions(t)
			s := open(t, opts)
			accept(t, connection(t, s, "default", "tenant"), arrivals(0, 300)...)
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if err := damage(opts.Path); err != nil {
				t.Fatal(err)
			}
			if s, err := store.Open(context.Background(), opts); err == nil {
				t.Log("it opens all the same")
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
			} else if !strings.Contains(err.Error(), "store restore FILE") {
				t.Errorf("no remedy in %v", err)
			}
			if _, err := restore(store.RestoreOptions{Path: opts.Path, File: backup}); err != nil {
				t.Fatal(err)
			}
			if got := contents(t, opts.Path); got != "[message-2]" {
				t.Errorf("restored %s", got)
			}
		})
	}
}

// TestRestoreRefuses leaves the database as it is.
func TestRestoreRefuses(t *testing.T) {
	dir, whole := t.TempDir(), backupOf(t, "message-2")
	write := func(name string, change func(path string) error) string {
		path := filepath.Join(dir, name)
		data, err := os.ReadFile(whole)
		if err == nil {
			err = os.WriteFile(path, data, 0o600)
		}
		if err = errors.Join(err, change(path)); err != nil {
			t.Fatal(err)
		}
		return path
	}
	sql := func(statement string) func(string) error {
		return func(path string) error {
			_, err := raw(t, store.Options{Path: path}).Exec(statement)
			return err
		}
	}
	running := sqliteOptions(t)
	open(t, running)
	former := sqliteOptions(t)
	s := open(t, former)
	accept(t, connection(t, s, "default", "tenant"), event("message-1"))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	text := func(path string) error { return os.WriteFile(path, []byte("PGDMP, or other text"), 0o600) }
	newer := sql(`INSERT INTO schema_version (version_id, is_applied) VALUES (99, true)`)
	unbalanced := sql(`UPDATE totals SET events = 7 WHERE outcome = 6`)
	cases := map[string]struct{ file, want string }{
		"the database": {former.Path, "the database itself"},
		"missing":      {filepath.Join(dir, "missing"), "no such file"},
		"a directory":  {dir, "no regular file"},
		"empty":        {write("empty", func(p string) error { return os.Truncate(p, 0) }), "is empty"},
		"text":         {write("text", text), "no SQLite database"},
		"within a page": {write("within", func(p string) error { return os.Truncate(p, 5000) }),
			"ends within a page"},
		"truncated":      {write("truncated", func(p string) error { return os.Truncate(p, 40960) }), "is damaged"},
		"newer":          {write("newer", newer), "schema version 99"},
		"foreign":        {write("foreign", sql(`DROP TABLE queue`)), "of another program, without the table queue"},
		"unbalanced":     {write("unbalanced", unbalanced), "7 counted less 0 removed are 7, but there are 1 rows"},
		"another server": {running.Path, "server that runs"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			path := former.Path
			_, err := restore(store.RestoreOptions{Path: path, File: c.file})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v", err)
			}
			if left, err := filepath.Glob(filepath.Dir(path) + "/.*"); err != nil || len(left) > 0 {
				t.Errorf("left %v, %v", left, err)
			}
			if got := contents(t, path); got != "[message-1]" {
				t.Errorf("the database holds %s", got)
			}
		})
	}
	t.Run("a server runs", func(t *testing.T) {
		var inUse *store.InUseError
		if _, err := restore(store.RestoreOptions{Path: running.Path, File: whole}); !errors.As(err, &inUse) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("interrupted", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "adapter.db")
		ctx, cancel := context.WithCancel(context.Background())
		opts := store.RestoreOptions{Path: path, File: whole, Progress: func(int64, int64) { cancel() }}
		_, err := store.PrepareRestore(ctx, opts)
		if !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		if left, err := filepath.Glob(filepath.Dir(path) + "/*"); err != nil || len(left) != 1 ||
			left[0] != path+".lock" {
			t.Errorf("left %v, %v", left, err)
		}
	})
}

// TestRestoreKilled kills a restore before each of its steps. The next process finds the
// former database or the restored one, each with its own log.
func TestRestoreKilled(t *testing.T) {
	if step := os.Getenv("TEST_RESTORE_KILLED"); step != "" {
		opts := store.RestoreOptions{Path: os.Getenv("TEST_RESTORE_PATH"), File: os.Getenv("TEST_RESTORE_FILE")}
		_, err := restore(store.WithStep(opts, func(name string) {
			if name == step {
				_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			}
		}))
		t.Fatalf("not killed: %v", err)
	}
	backup := backupOf(t, "message-2")
	steps := []struct{ name, want string }{
		{"decide", "[message-1]"}, {"move -wal", "[message-2]"}, {"remove the index", "[message-2]"},
		{"keep the database", "[message-2]"}, {"replace", "[message-2]"}, {"sync", "[message-2]"},
	}
	for _, step := range steps {
		// Not in parallel: a process that another test is starting has a copy of the locks for a
		// moment.
		t.Run(step.name, func(t *testing.T) {
			path := killed(t)
			child := exec.Command(os.Args[0], "-test.run=^TestRestoreKilled$")
			child.Env = append(os.Environ(), "TEST_RESTORE_KILLED="+step.name,
				"TEST_RESTORE_PATH="+path, "TEST_RESTORE_FILE="+backup)
			out, err := child.CombinedOutput()
			if state, ok := child.ProcessState.Sys().(syscall.WaitStatus); !ok || state.Signal() != syscall.SIGKILL {
				t.Fatalf("%v: %s", err, out)
			}
			if interrupted := step.name != "decide" && step.name != "sync"; interrupted {
				var half *store.RestoreInterruptedError
				if _, err := store.Open(context.Background(), store.Options{Path: path, Shared: true}); !errors.As(err,
					&half) {
					t.Errorf("beside it: %v", err)
				}
				_, err := store.Backup(context.Background(), store.BackupOptions{Path: path, To: emptyFile(t)})
				if !errors.As(err, &half) {
					t.Errorf("back it up: %v", err)
				}
			}
			if got := contents(t, path); got != step.want {
				t.Errorf("got %s, want %s", got, step.want)
			}
			former, err := filepath.Glob(path + ".replaced-*Z")
			switch {
			case err != nil:
				t.Fatal(err)
			case step.name == "decide":
				// What it has left goes with the next one.
				if _, err := restore(store.RestoreOptions{Path: path, File: backup}); err != nil {
					t.Fatal(err)
				}
			case len(former) != 1:
				t.Errorf("kept %v", former)
			case contents(t, former[0]) != "[message-1]":
				t.Error("the former database is not whole")
			}
			if left, err := filepath.Glob(filepath.Dir(path) + "/.*"); err != nil || len(left) > 0 {
				t.Errorf("left %v, %v", left, err)
			}
			if _, err := os.Stat(path + "-wal"); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("a log: %v", err)
			}
		})
	}
}
