package main

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestRestoreBackup backs up a server with pending events, which are delivered after that. The server is killed and
// the backup restored. No event counts twice: SaaSquatch knows the keys, or the events are held until a redrive.
func TestRestoreBackup(t *testing.T) {
	for name, old := range map[string]bool{"young": false, "old": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sandbox, dir := startSandbox(t), filepath.Join(t.TempDir(), "data")
			env, backup := serverEnv(sandbox, []string{"DATA_DIR=" + dir}), filepath.Join(t.TempDir(), "backup.db")
			command := func(want int, args ...string) string {
				t.Helper()
				p := start(t, env, args...)
				if code := p.wait(); code != want {
					t.Fatalf("%v: exit code %d, want %d\n%s", args, code, want, p.stderr.String())
				}
				return p.stdout.String() + p.stderr.String()
			}
			s := startDurable(t, sandbox, dir, "SAASQUATCH_API_KEY=wrong")
			batch, want := sampleBatch(t, 50)
			if got := post(t, s.url, testSecret, batch, batch); got.Status != 200 {
				t.Fatalf("got %+v", got)
			}
			if out := command(exitOK, "store", "backup", backup); !strings.Contains(out,
				"50 pending and 0 settled events") {
				t.Errorf("backup says %s", out)
			}
			if out := command(exitFailed, "store", "restore", "--yes", backup); !strings.Contains(out, "in use by") {
				t.Errorf("beside a server it says %s", out)
			}
			kill := func(s *server) {
				if err := s.Process.Signal(syscall.SIGKILL); err != nil {
					t.Fatal(err)
				}
				s.wait()
			}
			kill(s)
			s = startDurable(t, sandbox, dir)
			awaitDrained(t, env, 30*time.Second)
			checkArrived(t, sandbox, want)
			kill(s)

			args := []string{"store", "restore", "--yes", backup}
			if old {
				r, err := http.Post(sandbox+"/_sandbox/clock", "application/json",
					strings.NewReader(`{"advance":"25h"}`))
				if err != nil || r.StatusCode >= 300 {
					t.Fatal(r, err)
				}
				args = append(args, "--taken-at", "25h")
			}
			out := command(exitOK, args...)
			if held := strings.Contains(out, "50 events are held"); held != old {
				t.Errorf("restore says %s", out)
			}
			checkConservation(t, env)
			startDurable(t, sandbox, dir)
			awaitDrained(t, env, 30*time.Second)
			checkArrived(t, sandbox, want)
			if !old {
				return
			}
			out = command(exitOK, "deliveries", "redrive", "--reason", "restored", "--yes")
			if !strings.Contains(out, "50 of 50 deliveries are pending now") {
				t.Errorf("redrive says %s", out)
			}
			awaitDrained(t, env, 30*time.Second)
			for key, n := range arrived(t, sandbox) {
				if n != 2 { // the operator has asked for it
					t.Errorf("event %s arrived %d times", key, n)
				}
			}
		})
	}
}

// TestBackupInterrupted ends a backup by a signal. No file is left.
func TestBackupInterrupted(t *testing.T) {
	env, path := storeWithDeliveries(t)
	dir := t.TempDir()
	// The backup waits for the lock of another process on the schema.
	hold := openSQL(t, path)
	if _, err := hold.Exec(`PRAGMA locking_mode = exclusive; PRAGMA journal_mode = delete; BEGIN ` +
		`EXCLUSIVE`); err != nil {
		t.Fatal(err)
	}
	var list []string
	for name, value := range env {
		list = append(list, name+"="+value)
	}
	p := start(t, list, "store", "backup", filepath.Join(dir, "backup.db"))
	awaitState(t, 20*time.Second, 5*time.Millisecond, func() (bool, string) {
		left, err := filepath.Glob(filepath.Join(dir, ".backup.db-*"))
		return err != nil || len(left) > 0, "the backup does not begin"
	})
	if err := p.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if code := p.wait(); code != exitInterrupted {
		t.Errorf("exit code %d", code)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left %v, %v", left, err)
	}
}
