package main

import (
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// storeRun runs a store command.
func storeRun(t *testing.T, env []string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	p := start(t, env, append([]string{"store"}, args...)...)
	code = p.wait()
	return code, p.stdout.String(), p.stderr.String()
}

// TestMoveToPostgres copies a store with pending events from a file to PostgreSQL, and back to another file.
func TestMoveToPostgres(t *testing.T) {
	t.Parallel()
	sandbox, dir, database := startSandbox(t), t.TempDir(), newDatabase(t)
	s := startDurable(t, sandbox, dir)
	accepted(t, s, "delivered-1")
	s.stderr.await(t, `"outcome":"delivered"`)
	s.stop(t)
	s = startDurable(t, sandbox, dir, "SAASQUATCH_API_KEY=TEST_wrong-key")
	accepted(t, s, "pending-1", "pending-2")
	if code, _, stderr := storeRun(t, nil, "copy", dir, database); code != exitFailed ||
		!strings.Contains(stderr, "in use by process") {
		t.Errorf("beside the server: exit code %d, %s", code, stderr)
	}
	s.stop(t)

	const want = `{"pending":2,"settled":1,"runs":0,`
	if code, out, stderr := storeRun(t, nil, "copy", "--json", dir, database); code != exitOK ||
		!strings.HasPrefix(out, want) {
		t.Fatalf("copy: exit code %d, %s %s", code, out, stderr)
	}
	s = startDurable(t, sandbox, t.TempDir(), "STORE="+database)
	if code, _, stderr := storeRun(t, nil, "copy", database, t.TempDir()); code != exitFailed ||
		!strings.Contains(stderr, "stop it first") {
		t.Errorf("beside the server: exit code %d, %s", code, stderr)
	}
	awaitDrained(t, []string{"STORE=" + database}, time.Minute)
	if got := post(t, s.url, testSecret, track("delivered-1"), track("delivered-1")); got.Counts["duplicate"] != 1 {
		t.Errorf("a delivered event comes again: %+v", got)
	}
	s.stop(t)
	checkArrived(t, sandbox, keysOf("delivered-1", "pending-1", "pending-2"))
	checkConservation(t, []string{"STORE=" + database})

	back := t.TempDir()
	if code, out, stderr := storeRun(t, nil, "copy", database, filepath.Join(back, storeFile)); code != exitOK ||
		!strings.Contains(out, "0 pending and 4 settled deliveries") {
		t.Fatalf("copy back: exit code %d, %s %s", code, out, stderr)
	}
	checkConservation(t, []string{"DATA_DIR=" + back})
	if code, _, stderr := storeRun(t, nil, "copy", dir, back); code != exitFailed ||
		!strings.Contains(stderr, "has events already") {
		t.Errorf("into a store with events: exit code %d, %s", code, stderr)
	}
}

// TestMergeTenants merges the events of a tenant that moved to another host.
func TestMergeTenants(t *testing.T) {
	t.Parallel()
	sandbox, dir := startSandbox(t), t.TempDir()
	s := startDurable(t, sandbox, dir)
	accepted(t, s, "delivered-1")
	s.stderr.await(t, `"outcome":"delivered"`)
	s.stop(t)
	s = startDurable(t, sandbox, dir, "SAASQUATCH_API_KEY=TEST_wrong-key")
	accepted(t, s, "pending-1", "pending-2")
	s.stop(t)

	alias := strings.Replace(sandbox, "127.0.0.1", "localhost", 1)
	s = startDurable(t, alias, dir)
	accepted(t, s, "pending-1")
	env := []string{"DATA_DIR=" + dir, "SAASQUATCH_BASE_URL=" + alias, "SAASQUATCH_TENANT_ALIAS=" + sandboxTenant}
	former, present := sandbox+"/"+sandboxTenant, alias+"/"+sandboxTenant
	for _, wrong := range [][]string{{former, former}, {present, present}, {"https://nowhere/x", present, "--yes"}} {
		if code, _, stderr := storeRun(t, env, append([]string{"merge-tenants"}, wrong...)...); code == exitOK {
			t.Errorf("%v: exit code %d, %s", wrong, code, stderr)
		}
	}
	awaitDelivered := `"outcome":"(delivered|duplicate)".*"message_id":"pending-1"`
	s.stderr.await(t, awaitDelivered)
	code, out, stderr := storeRun(t, env, "merge-tenants", former, present, "--dry-run")
	if code != exitOK || !strings.Contains(out, former+" has 1 settled and 2 pending deliveries") {
		t.Errorf("dry run: exit code %d, %s %s", code, out, stderr)
	}
	if code, out, stderr := storeRun(t, env, "merge-tenants", former, present, "--yes"); code != exitOK {
		t.Fatalf("exit code %d, %s %s", code, out, stderr)
	}
	s.stderr.await(t, `"outcome":"delivered".*"message_id":"pending-2"`)
	if got := post(t, s.url, testSecret, track("delivered-1"), track("delivered-1")); got.Status != http.StatusOK ||
		got.Counts["duplicate"] != 1 {
		t.Errorf("what the former host took comes again: %+v", got)
	}
	s.stop(t)
	checkArrived(t, sandbox, keysOf("delivered-1", "pending-1", "pending-2"))
	checkConservation(t, env)
}
