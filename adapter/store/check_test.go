package store_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/store"
)

// check returns the notes on a store that a server could deliver from.
func check(t *testing.T, opts store.Options) string {
	t.Helper()
	notes, err := store.Check(context.Background(), opts)
	if err != nil {
		t.Error(err)
	}
	return strings.Join(notes, "\n")
}

// TestCheck looks at a store before its tables are made, beside a server, after it, and at
// one of an earlier version. Nothing changes.
func TestCheck(t *testing.T) {
	forEachEngine(t, func(t *testing.T, opts store.Options) {
		none := map[bool]string{true: "has no tables yet", false: "is not there yet"}[opts.Path == ""]
		for range 2 {
			if got := check(t, opts); !strings.Contains(got, none) || !strings.Contains(got, "serve makes") {
				t.Errorf("no store yet: %q", got)
			}
		}
		if opts.Path != "" {
			if _, err := os.Stat(filepath.Dir(opts.Path)); !os.IsNotExist(err) {
				t.Errorf("it has made the directory: %v", err)
			}
		}
		s := open(t, opts)
		accept(t, connection(t, s, "default", "tenant"), event("message-1"))
		if got := check(t, opts); !strings.HasPrefix(got, "it is in use") || strings.Contains(got, "\n") {
			t.Errorf("in use: %q", got)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		before := filesOf(t, opts)
		await(t, func() bool { // PostgreSQL takes a moment to end connections
			return check(t, opts) == ""
		})
		tamper(t, opts, `DELETE FROM schema_version WHERE version_id > 3`)
		if got := check(t, opts); !strings.Contains(got, "it has schema version 3: serve migrates it") {
			t.Errorf("earlier version: %q", got)
		}
		tamper(t, opts, `CREATE TABLE copying (state text)`)
		if _, err := store.Check(context.Background(), opts); !errors.As(err, new(*store.UnfinishedCopyError)) {
			t.Errorf("a copy that was broken off: %v", err)
		}
		tamper(t, opts, `INSERT INTO schema_version (version_id, is_applied) VALUES (99, true)`)
		_, err := store.Check(context.Background(), opts)
		if err == nil || !strings.Contains(err.Error(), "schema version 99") {
			t.Errorf("later version: %v", err)
		}
		if after := filesOf(t, opts); after != before {
			t.Errorf("files before: %s, after: %s", before, after)
		}
	})
}

// tamper changes the database and leaves no file open.
func tamper(t *testing.T, opts store.Options, statement string) {
	t.Helper()
	db := raw(t, opts)
	execute(t, db, statement)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

// filesOf names the files of an SQLite store.
func filesOf(t *testing.T, opts store.Options) string {
	t.Helper()
	if opts.Path == "" {
		return ""
	}
	found, err := filepath.Glob(opts.Path + "*")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(found, " ")
}

// TestCheckKilled looks at a file whose server was killed.
func TestCheckKilled(t *testing.T) {
	opts := sqliteOptions(t)
	other := holdStore(t, opts.Path)
	if got := check(t, opts); !strings.HasPrefix(got, "it is in use by process ") {
		t.Errorf("in use: %q", got)
	}
	if err := other.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = other.Wait() // it was killed
	before := filesOf(t, opts)
	if got := check(t, opts); !strings.Contains(got, "was killed: the next one takes over") {
		t.Errorf("killed: %q", got)
	}
	if after := filesOf(t, opts); after != before {
		t.Errorf("files before: %s, after: %s", before, after)
	}
	open(t, opts)
}

// TestCheckFinds looks at stores that no server could deliver from.
func TestCheckFinds(t *testing.T) {
	dir := t.TempDir()
	foreign, garbage := filepath.Join(dir, "foreign.db"), filepath.Join(dir, "garbage.db")
	execute(t, raw(t, store.Options{Path: foreign}), `CREATE TABLE notes (text text)`)
	if err := os.WriteFile(garbage, []byte(strings.Repeat("no database.", 4096)), 0o600); err != nil {
		t.Fatal(err)
	}
	stored := postgresOptions(t)
	if err := open(t, stored).Close(); err != nil {
		t.Fatal(err)
	}
	db := raw(t, stored)
	reader, role := newRole(t, stored, db, "")
	execute(t, db, `GRANT SELECT ON ALL TABLES IN SCHEMA public TO `+role)
	standby := withParameter(t, stored, "default_transaction_read_only", "on")
	empty := postgresOptions(t)
	visitor, _ := newRole(t, empty, raw(t, empty), "")
	for name, test := range map[string]struct {
		opts store.Options
		want string
	}{
		"foreign file": {store.Options{Path: foreign}, "another program's"},
		"garbage":      {store.Options{Path: garbage}, "damaged"},
		"directory":    {store.Options{Path: dir}, "remove the directory"},
		"file as dir": {store.Options{Path: filepath.Join(garbage, "adapter.db")},
			"a part of the path is a file"},
		"small disk": {store.Options{Path: filepath.Join(dir, "a", "b.db"),
			Limits: store.Limits{FreeDisk: 1 << 60}}, "larger disk"},
		"no grants":        {reader, "grant the user"},
		"no right to make": {visitor, "may not make the tables"},
		"read-only":        {standby, "name the primary"},
		"no server": {store.Options{URL: adapter.NewSecret("postgres://user:hunter2@127.0.0.1:1/x")},
			"PostgreSQL runs"},
	} {
		notes, err := store.Check(context.Background(), test.opts)
		if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %q, %v, want %s", name, notes, err, test.want)
		}
	}
}
