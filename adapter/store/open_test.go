package store_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/store"
	"segment-saasquatch/mapping"
)

func fileSize(t testing.TB, path string) int64 {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	wal, err := os.Stat(path + "-wal")
	if err != nil {
		return info.Size()
	}
	return info.Size() + wal.Size()
}

// raw opens the database beside the store.
func raw(t testing.TB, opts store.Options) *sql.DB {
	t.Helper()
	driver, source := "sqlite", opts.Path+"?_pragma=busy_timeout(10000)" // the store writes by itself, too
	if opts.Path == "" {
		driver, source = "pgx", opts.URL.Reveal()
	}
	db, err := sql.Open(driver, source)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func execute(t testing.TB, db *sql.DB, statement string) {
	t.Helper()
	if _, err := db.Exec(statement); err != nil {
		t.Fatal(err)
	}
}

func TestNewerSchemaIsRefused(t *testing.T) {
	forEachEngine(t, func(t *testing.T, opts store.Options) {
		if err := open(t, opts).Close(); err != nil {
			t.Fatal(err)
		}
		db := raw(t, opts)
		execute(t, db, `INSERT INTO schema_version (version_id, is_applied) VALUES (99, true)`)
		_, err := store.Open(context.Background(), opts)
		var newer *store.NewerSchemaError
		if !errors.As(err, &newer) || newer.Found != 99 || !strings.Contains(err.Error(), "schema version 99") {
			t.Errorf("got %v", err)
		}
	})
}

func TestVerifyFindsFaults(t *testing.T) {
	forEachEngine(t, func(t *testing.T, opts store.Options) {
		s := open(t, opts)
		q := connection(t, s, "default", "tenant")
		accept(t, q, event("message-1"), event("message-2"))
		leased := lease(t, q, 1)
		record(t, q, leased, adapter.Step{Outcome: adapter.Delivered, At: leased[0].ReceivedAt})
		balanced(t, s)
		db := raw(t, opts)
		for _, tamper := range []struct{ statement, want string }{
			{`DELETE FROM deliveries`, "delivered: 1 counted less 0 removed are 1, but there are 0 rows"},
			{`DELETE FROM queue`, "pending: 1 counted less 0 removed are 1, but there are 0 rows"},
			{`UPDATE totals SET events = 3 WHERE outcome = 0`, "3 accepted, but 2 have an outcome or are pending"},
		} {
			execute(t, db, tamper.statement)
			verified, err := s.Verify(context.Background())
			if err != nil || !strings.Contains(strings.Join(verified[0].Faults, "\n"), tamper.want) {
				t.Errorf("%s: got %v, %v", tamper.statement, verified, err)
			}
		}
	})
}

func TestSecondProcessIsRefused(t *testing.T) {
	opts := sqliteOptions(t)
	s := open(t, opts)
	_, err := store.Open(context.Background(), opts)
	var inUse *store.InUseError
	if !errors.As(err, &inUse) || inUse.PID != os.Getpid() || !strings.Contains(err.Error(), "data_dir") {
		t.Errorf("got %v", err)
	}
	// Operators may look, and change things, all the same.
	q := connection(t, s, "default", "tenant")
	accept(t, q, event("message-1"))
	leased := lease(t, q, 1)
	record(t, q, leased, adapter.Step{Outcome: adapter.Dead, Reason: mapping.ReasonRefused, At: leased[0].ReceivedAt})
	beside := opts
	beside.Shared = true
	operator := open(t, beside)
	if found, err := operator.Find(context.Background(), adapter.Filter{MessageID: "message-1"}, 10); err != nil ||
		len(found) != 1 {
		t.Errorf("got %v, %v", found, err)
	}
	if got := redrive(t, operator, leased[0].ID); got.Pending != 1 {
		t.Errorf("got %+v", got)
	}
	if again := lease(t, q, 1); len(again) != 1 {
		t.Errorf("the server does not see it: %v", again)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	open(t, opts) // the lock is free again
}

func TestOpenFails(t *testing.T) {
	dir := t.TempDir()
	garbage, folder := filepath.Join(dir, "garbage.db"), filepath.Join(dir, "folder.db")
	if err := os.WriteFile(garbage, []byte(strings.Repeat("this is no database ", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		opts store.Options
		want []string
	}{
		"garbage":   {store.Options{Path: garbage}, []string{"damaged", "restore a backup"}},
		"directory": {store.Options{Path: folder}, []string{folder, "remove the directory"}},
		"file as dir": {store.Options{Path: filepath.Join(garbage, "adapter.db")},
			[]string{"make the data directory"}},
		"absent shared": {store.Options{Path: filepath.Join(dir, "absent.db"), Shared: true}, []string{"absent.db"}},
		"no server": {store.Options{URL: adapter.NewSecret("postgres://user:hunter2@127.0.0.1:1/database")},
			[]string{"PostgreSQL runs"}},
		"no URL": {store.Options{URL: adapter.NewSecret("postgres://user:hunter2@host:x/database")},
			[]string{"postgres://user:password@host"}},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
			defer cancel()
			s, err := store.Open(ctx, test.opts)
			if err == nil {
				t.Fatal(s.Close())
			}
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("no %q in %v", want, err)
				}
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("the error tells the password: %v", err)
			}
		})
	}
}

func TestOddPath(t *testing.T) {
	opts := store.Options{Path: filepath.Join(t.TempDir(), "a b%20?c#d&é", "adapter.db")}
	accept(t, connection(t, open(t, opts), "default", "tenant"), event("message-1"))
	if _, err := os.Stat(opts.Path); err != nil {
		t.Error(err)
	}
}

// TestServerGoesAway cuts all connections to PostgreSQL.
func TestServerGoesAway(t *testing.T) {
	opts := postgresOptions(t)
	s := open(t, opts)
	q := connection(t, s, "default", "tenant")
	accept(t, q, event("message-1"))
	admin := raw(t, opts)
	if _, err := admin.Exec(
		`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <>
			pg_backend_pid()`); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(20 * time.Second)
	for {
		err := q.Accept(context.Background(), []adapter.Arrival{event("message-2")})
		if err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
	if got := len(lease(t, q, 10)); got != 2 {
		t.Errorf("leased %d", got)
	}
	balanced(t, s)
}

// TestTruncatedDatabase cuts the file off at every page: either it is refused, with
// what can be done, or all is there.
func TestTruncatedDatabase(t *testing.T) {
	opts := sqliteOptions(t)
	s := open(t, opts)
	accept(t, connection(t, s, "default", "tenant"), arrivals(0, 300)...)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(opts.Path)
	if err != nil {
		t.Fatal(err)
	}
	const page = 4096
	for size := 100; size < len(whole); size += page/2*(1+len(whole)/page/20) + 1 {
		if err := os.WriteFile(opts.Path, whole[:size], 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := store.Open(context.Background(), opts)
		if err == nil {
			verified, verifyErr := s.Verify(context.Background())
			if verifyErr == nil && len(verified) == 1 && len(verified[0].Faults) == 0 {
				t.Errorf("%d of %d bytes: not noticed", size, len(whole))
			}
			if err := s.Close(); err != nil {
				t.Errorf("%d of %d bytes: %v", size, len(whole), err)
			}
			t.Errorf("%d of %d bytes: opened, and verified with %v", size, len(whole), verifyErr)
			continue
		}
		if !strings.Contains(err.Error(), "damaged") || !strings.Contains(err.Error(), "restore a backup") {
			t.Errorf("%d of %d bytes: %v", size, len(whole), err)
		}
	}
}

// TestOtherProcess opens a database that another process has open, and again when
// that has been killed. It runs itself as the other process.
func TestOtherProcess(t *testing.T) {
	if path := os.Getenv("TEST_HOLD_STORE"); path != "" {
		holdUntilTheEnd(t, path)
		return
	}
	opts := sqliteOptions(t)
	other := holdStore(t, opts.Path)
	_, err := store.Open(context.Background(), opts)
	var inUse *store.InUseError
	if !errors.As(err, &inUse) || inUse.PID != other.Process.Pid || !strings.Contains(err.Error(),
		fmt.Sprintf("process %d", inUse.PID)) {
		t.Errorf("got %v", err)
	}
	if err := other.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = other.Wait() // it was killed
	s := open(t, opts)
	q := connection(t, s, "default", "tenant")
	if got := lease(t, q, 10); len(got) != 1 || got[0].MessageID != "message-1" {
		t.Errorf("got %+v", got)
	}
	if got := accept(t, q, event("message-1")); got != "duplicate already_accepted" {
		t.Errorf("got %s", got)
	}
	balanced(t, s)
}

// TestShared has operators look, redrive and purge beside the process that
// delivers, which goes on with what they leave.
func TestShared(t *testing.T) {
	forEachEngine(t, func(t *testing.T, opts store.Options) {
		server := open(t, opts)
		q := connection(t, server, "default", "tenant")
		accept(t, q, event("message-1"), event("message-2"), event("message-3"))
		leased := lease(t, q, 3)
		record(t, q, leased[:1], adapter.Step{Outcome: adapter.Delivered, At: leased[0].ReceivedAt})
		beside := opts
		beside.Shared = true
		operator := open(t, beside)
		ctx := context.Background()
		// What comes in later is found too.
		accept(t, q, event("message-4"))
		for i, id := range []string{"message-1", "message-2", "message-3", "message-4"} {
			found, err := operator.Find(ctx, adapter.Filter{MessageID: id}, 10)
			if err != nil || len(found) != 1 || (found[0].Outcome == adapter.Delivered) != (i == 0) {
				t.Errorf("%s: found %v, %v", id, found, err)
			}
		}
		if n, err := operator.Purge(ctx, []int64{leased[0].ID, leased[1].ID}); n != 2 || err != nil {
			t.Errorf("purged %d, %v", n, err)
		}
		step := adapter.Step{Outcome: adapter.Dead, Reason: mapping.ReasonRefused, At: leased[1].ReceivedAt}
		if err := q.Record(ctx, &leased[1], step); !errors.Is(err, adapter.ErrLeaseLost) {
			t.Errorf("recorded what the operator has deleted: %v", err)
		}
		record(t, q, leased[2:], step)
		if got := accept(t, q, event("message-1"), event("message-2")); got != "pending, pending" {
			t.Errorf("what the operator has deleted comes again: %s", got)
		}
		if got := redrive(t, operator, leased[2].ID); got != (adapter.Redriven{Pending: 1}) {
			t.Errorf("got %+v", got)
		}
		if got := accept(t, q, event("message-3")); got != "duplicate already_accepted" {
			t.Errorf("what the operator has redriven comes again: %s", got)
		}
		balanced(t, operator)
		balanced(t, server)
	})
}

// TestOpenedFilesArePrivate opens a database that every user may read.
func TestOpenedFilesArePrivate(t *testing.T) {
	opts := store.Options{Path: filepath.Join(t.TempDir(), "adapter.db")}
	s, q := openWith(t, opts, testTenant)
	accept(t, q, event("message-1"))
	closeStore(t, s)
	for _, mode := range []os.FileMode{0o666, 0o640, 0o604, 0o600} {
		for _, name := range []string{opts.Path, opts.Path + "-wal", opts.Path + "-shm", opts.Path + ".lock"} {
			if err := os.Chmod(name, mode); err != nil && !errors.Is(err, os.ErrNotExist) {
				t.Fatal(err)
			}
		}
		s, q = openWith(t, opts, testTenant)
		accept(t, q, event("message-"+mode.String()))
		files, err := filepath.Glob(opts.Path + "*")
		if err != nil || len(files) < 3 {
			t.Fatalf("%v, %v", files, err)
		}
		for _, name := range files {
			if info, err := os.Stat(name); err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("%v: %s has %v, %v", mode, filepath.Base(name), info.Mode(), err)
			}
		}
		closeStore(t, s)
	}
}
