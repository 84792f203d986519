package main

import (
	"database/sql"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func openSQL(t *testing.T, path string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	db.SetMaxOpenConns(1)
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// TestStoreCommands runs the commands with all kinds of command lines.
func TestStoreCommands(t *testing.T) {
	env, path := storeWithDeliveries(t)
	dir := t.TempDir()
	backup, other := filepath.Join(dir, "backup.db"),
		map[string]string{"STORE": "postgres://user:secret@127.0.0.1:1/none"}
	exists := filepath.Join(dir, "exists")
	if err := os.WriteFile(exists, []byte("something else"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		env  map[string]string
		args []string
		code int
		want string
	}{
		{env, []string{"backup", backup}, exitOK, "1 pending and 2 settled events"},
		{env, []string{"backup", backup}, exitUsage, "which exists: name another file, or add --force"},
		{env, []string{"backup", "--force", "--json", backup}, exitOK, `"pending":1,"settled":2}`},
		{env, []string{"backup", "--force", path}, exitUsage, "FILE is " + path + ", which the command reads"},
		{env, []string{"backup", filepath.Join(dir, "none", "x")}, exitUsage, "whose directory does not exist"},
		{env, []string{"backup"}, exitUsage, "accepts 1 arg"},
		{map[string]string{"DATA_DIR": dir}, []string{"backup", backup + "2"}, exitUsage, "there is no store at"},
		{other, []string{"backup", backup + "2"}, exitUsage, "pg_dump --format=custom"},
		{other, []string{"restore", backup}, exitUsage, "pg_restore"},
		{other, []string{"hold", "--yes"}, exitFailed, "see that PostgreSQL runs"},
		{env, []string{"restore", backup}, exitUsage,
			"nothing was changed: there is no terminal for the confirmation"},
		{env, []string{"restore", "--dry-run", backup}, exitOK, "1 events are pending; SaaSquatch knows the keys"},
		{env, []string{"restore", "--dry-run", "--taken-at", "25h", backup}, exitOK,
			"1 of them are held as dead letters with the reason restored"},
		{env, []string{"restore", "--dry-run", "--taken-at", "25h", "--send", backup}, exitOK,
			"all are sent, and 1 of them count again"},
		{env, []string{"restore", "--taken-at", "2100-01-01", backup}, exitUsage, "--taken-at is in the future"},
		{env, []string{"restore", "--taken-at", "x", backup}, exitUsage, "--taken-at: \"x\" is not a time"},
		{env, []string{"restore", "--yes", exists}, exitFailed, "is no SQLite database"},
		{env, []string{"restore", "--yes", backup + "2"}, exitUsage, "there is no backup"},
		{env, []string{"restore", "--yes", dir}, exitUsage, "is a directory"},
		{env, []string{"restore", "--yes", "--json", "--taken-at", "25h", backup}, exitOK,
			`"pending":1,"key_forgotten":1,"no_key":0`},
		{env, []string{"hold", "--dry-run"}, exitOK, "no event is pending"},
		{env, []string{"hold"}, exitUsage, "there is no terminal for the confirmation"},
		{env, []string{"restore", "--yes", "--send", backup}, exitOK, "is restored from " + backup},
		{env, []string{"hold", "--yes", "--json", "--taken-at", "25h"}, exitOK, `"held":1,"done":true}`},
		{map[string]string{"DATA_DIR": filepath.Join(dir, "none")}, []string{"hold", "--yes"}, exitUsage,
			"there is no store in"},
	} {
		code, stdout, stderr := runCommandIn(t, c.env, "", append([]string{"store"}, c.args...)...)
		if code != c.code || !strings.Contains(stdout+stderr, c.want) || strings.Contains(stdout+stderr, "secret") {
			t.Errorf("%v: exit code %d, want %d and %s\n%s%s", c.args, code, c.code, c.want, stdout, stderr)
		}
		if strings.Contains(strings.Join(c.args, " "), "--json") {
			if err := json.Unmarshal([]byte(stdout), &struct{}{}); err != nil {
				t.Errorf("%v: %v", c.args, err)
			}
		}
	}
	kept, err := filepath.Glob(path + ".replaced-*")
	if err != nil || len(kept) != 2 {
		t.Errorf("kept %v, %v", kept, err)
	}
	if left, err := filepath.Glob(filepath.Join(dir, ".*")); err != nil || len(left) > 0 {
		t.Errorf("left %v, %v", left, err)
	}
}
