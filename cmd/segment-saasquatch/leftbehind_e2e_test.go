package main

import (
	"strings"
	"testing"
)

// TestLeftBehind changes the place of the store, and the host of the tenant. It expects a warning with the counts of
// the events that stay behind.
func TestLeftBehind(t *testing.T) {
	sandbox, dir := startSandbox(t), t.TempDir()
	s := startDurable(t, sandbox, dir)
	accepted(t, s, "delivered-1", "delivered-2")
	s.stderr.await(t, `"outcome":"delivered"[^\n]*\n(.*\n)*.*"outcome":"delivered"`)
	s.stop(t)
	s = startDurable(t, sandbox, dir, "SAASQUATCH_API_KEY=TEST_wrong-key")
	accepted(t, s, "pending-1")
	s.stop(t)

	const counts = `"pending":1,"settled":2`
	for name, env := range map[string]string{"PostgreSQL": "STORE=" + newDatabase(t),
		"direct delivery": "DELIVERY=direct"} {
		s := startDurable(t, sandbox, dir, env)
		if line := s.stderr.await(t, `"msg":"a store in the data directory is not `+
			`used".*`)[0]; !strings.Contains(line, counts) {
			t.Errorf("%s: %s", name, line)
		}
		s.stop(t)
	}

	alias := strings.Replace(sandbox, "127.0.0.1", "localhost", 1)
	s = startDurable(t, alias, dir)
	line := s.stderr.await(t, `"msg":"the ledger has events of this tenant alias at another host".*`)[0]
	if !strings.Contains(line, `"other_pending":1,"other_settled":2`) ||
		!strings.Contains(line, `"pending":0,"settled":0`) {
		t.Error(line)
	}
	s.stop(t)
	s = startDurable(t, sandbox, dir)
	s.stop(t)
	if out := s.stderr.String(); strings.Contains(out, "another host") || strings.Contains(out, "is not used") {
		t.Errorf("as before: %s", out)
	}
}
