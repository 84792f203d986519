package main

import (
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestDatabaseDeletedUnderServer deletes the database of a server with acknowledged events, follows the remedy in the
// log, and starts again. Every event arrives, once.
func TestDatabaseDeletedUnderServer(t *testing.T) {
	t.Parallel()
	sandbox, dir := startSandbox(t), filepath.Join(t.TempDir(), "data")
	const token = "an-admin-token-of-some-length"
	s := startDurable(t, sandbox, dir, "SAASQUATCH_API_KEY=wrong", "ADMIN_LISTEN_ADDR=127.0.0.1:0",
		"ADMIN_TOKEN="+token)
	admin := "http://" + s.stderr.await(t, `"msg":"admin","address":"([^"]+)"`)[1]
	batch, want := sampleBatch(t, 20)
	if got := post(t, s.url, testSecret, batch, batch); got.Status != 200 {
		t.Fatalf("got %+v", got)
	}
	stored, err := filepath.Glob(filepath.Join(dir, "adapter.db*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range stored {
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
	more, _ := sampleBatch(t, 1)
	if got := post(t, s.url, testSecret, more, more); got.Status != 503 {
		t.Errorf("acknowledged: %+v", got)
	}
	if response, err := http.Get(strings.TrimSuffix(s.url, "/segment") + "/readyz"); err != nil ||
		response.StatusCode != 503 {
		t.Errorf("ready: %v %v", response, err)
	}
	var line struct{ Level, Error string }
	found := s.stderr.await(t, `(\{[^\n]*the store does not work[^\n]*)\n`)[1]
	if err := json.Unmarshal([]byte(found), &line); err != nil || line.Level != "error" {
		t.Errorf("%v: %s", err, found)
	}
	if code, out, stderr := deliveries(t, []string{"ADMIN_TOKEN=" + token}, "export", "--server",
		admin); code != exitOK || strings.Count(out, "\n") != 20 {
		t.Errorf("export: exit code %d\n%s%s", code, out, stderr)
	}
	command := regexp.MustCompile("`(mkdir SAVED .*?)`").FindStringSubmatch(line.Error)
	if command == nil {
		t.Fatalf("no command in %q", line.Error)
	}
	shell := exec.Command("sh", "-c", command[1])
	shell.Dir = t.TempDir()
	if out, err := shell.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if err := s.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code := s.wait(); code != exitFailed {
		t.Errorf("exit code %d", code)
	}
	for _, name := range []string{"adapter.db", "adapter.db-wal"} {
		if err := os.Rename(filepath.Join(shell.Dir, "SAVED", name), filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	startDurable(t, sandbox, dir)
	awaitDrained(t, []string{"DATA_DIR=" + dir}, 30*time.Second)
	checkArrived(t, sandbox, want)
}
