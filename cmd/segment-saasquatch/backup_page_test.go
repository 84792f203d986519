package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/store"
)

// TestBackupPage runs the commands of docs/backup.md, against an SQLite and a PostgreSQL store. It runs the commands
// of Litestream if Litestream is installed.
func TestBackupPage(t *testing.T) {
	needCommand(t, "sqlite3")
	needCommand(t, "pg_restore")
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "backup.md"))
	if err != nil {
		t.Fatal(err)
	}
	lite, dump, found := strings.Cut(string(page), "\n## PostgreSQL\n")
	if !found {
		t.Fatal("no part on PostgreSQL")
	}
	blocks := regexp.MustCompile("(?s)```sh\n(.*?)```")
	env, path := storeWithDeliveries(t)
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "bin"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(binary, filepath.Join(dir, "bin", "segment-saasquatch")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Dir(path), filepath.Join(dir, "data")); err != nil {
		t.Fatal(err)
	}
	delete(env, "DATA_DIR")
	run := func(t *testing.T, env map[string]string, script string) string {
		t.Helper()
		command := exec.Command("sh", "-e", "-c", script)
		command.Dir, command.Env = dir, []string{"PATH=" + os.Getenv("PATH")}
		for name, value := range env {
			command.Env = append(command.Env, name+"="+value)
		}
		out, err := command.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s\n%s", err, script, out)
		}
		return string(out)
	}
	t.Run("SQLite", func(t *testing.T) {
		said := ""
		for _, block := range blocks.FindAllStringSubmatch(lite, -1) {
			if !strings.Contains(block[1], "litestream") {
				said += run(t, env, block[1])
			}
		}
		for _, want := range []string{"1 pending and 2 settled events", "backup.db is sound",
			"is restored from backup.db"} {
			if !strings.Contains(said, want) {
				t.Errorf("nothing says %q: %s", want, said)
			}
		}
		for _, name := range []string{"backup-2.db", "backup-3.db"} {
			run(t, env, "bin/segment-saasquatch store restore --yes --taken-at 25h "+name)
		}
		for _, block := range blocks.FindAllStringSubmatch(dump, -1) {
			if strings.Contains(block[1], "redrive") {
				if said := run(t, env, block[1]); !strings.Contains(said, "1 of 1 deliveries are pending now") {
					t.Errorf("it says %s", said)
				}
			}
		}
	})
	t.Run("PostgreSQL", func(t *testing.T) {
		url := newDatabase(t)
		prepared := map[string]string{"STORE": url}
		s, err := store.Open(t.Context(), store.Options{URL: adapter.NewSecret(url)})
		if err != nil {
			t.Fatal(err)
		}
		q, err := s.Connection(t.Context(), "default", "https://host/test_ops")
		if err == nil {
			one := adapter.Arrival{MessageID: "message-1", Keyed: true, Outcome: adapter.Pending,
				Payload: []byte("{}")}
			err = q.Accept(t.Context(), []adapter.Arrival{one})
		}
		if err = errors.Join(err, s.Close()); err != nil {
			t.Fatal(err)
		}
		run(t, prepared, `psql --quiet "$STORE" -c "UPDATE probe SET probed_at = now() - interval '1 day'" \
			-c "UPDATE queue SET received_at = received_at - 86400000"`)
		at := strings.LastIndex(url, "/")
		name, query, _ := strings.Cut(url[at+1:], "?")
		prepared["RESTORED"] = url[:at+1] + name + "_restored?" + query
		t.Cleanup(func() { run(t, prepared, `dropdb --maintenance-db="$STORE" `+name+`_restored`) })
		said := ""
		for _, block := range blocks.FindAllStringSubmatch(dump, -1) {
			if !strings.Contains(block[1], "redrive") {
				said += run(t, prepared, strings.ReplaceAll(block[1], `"$STORE" restored`,
					`"$STORE" `+name+"_restored"))
			}
		}
		if !strings.Contains(said, "1 of them are held") || !strings.Contains(said, "1 events are held") {
			t.Errorf("it says %s", said)
		}
	})
}
