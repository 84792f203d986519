package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/store"
)

// storeWithDeliveries makes a store with one delivery of each kind that operators
// look at, and returns the environment that names it.
func storeWithDeliveries(t *testing.T) (env map[string]string, path string) {
	t.Helper()
	dir := t.TempDir()
	path = filepath.Join(dir, storeFile)
	ctx := context.Background()
	s, err := store.Open(ctx, store.Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	q, err := s.Connection(ctx, "default", "tenant")
	if err != nil {
		t.Fatal(err)
	}
	arrival := func(id, user string) adapter.Arrival {
		return adapter.Arrival{MessageID: id, Keyed: true, UserID: user, AccountID: user, EventKey: "x", Outcome: adapter.Pending,
			Payload: []byte(`{"type":"track","userId":"u","event":"x","messageId":"` + id + `"}`)}
	}
	list := []adapter.Arrival{arrival("message-dead", "evil\x1b[31muser"), arrival("message-delivered", "u"), arrival("message-pending", "u")}
	if err := q.Accept(ctx, list); err != nil {
		t.Fatal(err)
	}
	leased, err := q.Lease(ctx, 2, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	at := leased[0].ReceivedAt.Add(time.Second)
	for i, step := range []adapter.Step{
		{Outcome: adapter.Dead, Reason: adapter.ReasonRefused, Detail: "no such\x07field", Status: 400, Counted: true, Began: at, At: at},
		{Outcome: adapter.Delivered, Status: 200, Counted: true, Began: at, At: at},
	} {
		if err := q.Record(ctx, &leased[i], step); err != nil {
			t.Fatal(err)
		}
	}
	return map[string]string{"DATA_DIR": dir}, path
}

func runDeliveries(t *testing.T, env map[string]string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errOut bytes.Buffer
	lookup := func(name string) (string, bool) {
		value, ok := env[name]
		return value, ok
	}
	code = run(t.Context(), append([]string{"deliveries"}, args...), lookup, strings.NewReader("y\n"), &out, &errOut)
	return code, out.String(), errOut.String()
}

func TestDeliveriesCommands(t *testing.T) {
	env, _ := storeWithDeliveries(t)
	out := filepath.Join(t.TempDir(), "dead.ndjson")
	for _, test := range []struct {
		name string
		args []string
		code int
		want []string // in standard output or standard error
		not  []string
	}{
		{"list", []string{"list"}, exitOK, []string{"MESSAGE ID", "message-dead", "message-delivered", "message-pending", "evil·[31muser"}, []string{"\x1b"}},
		{"list some", []string{"list", "--outcome", "dead,pending", "--limit", "1"}, exitOK, []string{"message-pending", "there may be more"}, []string{"message-dead"}},
		{"list by user", []string{"list", "--user", "u", "--since", "1h", "--json"}, exitOK, []string{`"message_id":"message-delivered"`}, []string{"message-dead"}},
		{"list nothing", []string{"list", "--since", "2999-01-01", "--json"}, exitOK, nil, []string{"{"}},
		{"list with an empty filter", []string{"list", "--user", ""}, exitUsage, []string{"--user is empty"}, nil},
		{"list with an unknown outcome", []string{"list", "--outcome", "lost"}, exitUsage, []string{"lost", "delivered"}, nil},
		{"list with a wrong time", []string{"list", "--since", "yesterday"}, exitUsage, []string{"--since", "2h or 7d"}, nil},
		{"list with a wrong limit", []string{"list", "--limit", "0"}, exitUsage, []string{"--limit is 0"}, nil},
		{"show", []string{"show", "1"}, exitOK, []string{"refused", "400", "no such·field", "attempts that did not deliver", `"messageId": "message-dead"`}, []string{"\x07", "\x1b"}},
		{"show as JSON", []string{"show", "1", "--json"}, exitOK, []string{`"payload":{"type":"track"`, `"history":[{"number":1`}, nil},
		{"show one that is not there", []string{"show", "99"}, exitFailed, []string{"no delivery with this id"}, nil},
		{"show no number", []string{"show", "message-dead"}, exitUsage, []string{"write its number"}, nil},
		{"stats", []string{"stats"}, exitOK, []string{"refused", "ACCEPTED"}, nil},
		{"verify", []string{"stats", "--verify"}, exitOK, []string{"3 accepted = 1 delivered + 0 duplicate + 0 skipped + 0 rejected + 1 dead + 1 pending", "the balance holds"}, nil},
		{"export", []string{"export", "--outcome", "dead", "--out", out}, exitOK, nil, []string{"{"}},
		{"redrive without a terminal", []string{"redrive"}, exitUsage, []string{"nothing was changed", "--yes"}, nil},
		{"redrive dry", []string{"redrive", "--dry-run"}, exitOK, []string{"1 of 1 deliveries would be sent"}, nil},
		{"redrive what was delivered", []string{"redrive", "--outcome", "delivered", "--yes"}, exitUsage, []string{"count them twice"}, nil},
		{"purge everything", []string{"purge", "--yes"}, exitUsage, []string{"needs a filter"}, nil},
		{"purge dry", []string{"purge", "--user", "u", "--dry-run", "--json"}, exitOK, []string{`{"purged":{"delivered":1,"pending":1}}`}, nil},
		{"server without a token", []string{"list", "--server", "http://127.0.0.1:1"}, exitUsage, []string{"ADMIN_TOKEN"}, nil},
		{"still as before", []string{"stats", "--verify"}, exitOK, []string{"1 delivered + 0 duplicate + 0 skipped + 0 rejected + 1 dead + 1 pending"}, nil},
		{"redrive", []string{"redrive", "--yes"}, exitOK, []string{"1 of 1 deliveries are pending now"}, nil},
		{"purge", []string{"purge", "--outcome", "pending", "--yes"}, exitOK, []string{"2 deliveries were deleted: 2 pending"}, nil},
		{"afterwards", []string{"stats", "--verify"}, exitOK, []string{"3 accepted = 1 delivered + 0 duplicate + 0 skipped + 0 rejected + 2 dead + 0 pending"}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			code, stdout, stderr := runDeliveries(t, env, test.args...)
			if code != test.code {
				t.Errorf("exit code %d, want %d\n%s%s", code, test.code, stdout, stderr)
			}
			for _, want := range test.want {
				if !strings.Contains(stdout+stderr, want) {
					t.Errorf("no %q in\n%s%s", want, stdout, stderr)
				}
			}
			for _, not := range test.not {
				if strings.Contains(stdout, not) {
					t.Errorf("%q in\n%s", not, stdout)
				}
			}
		})
	}
	text, err := os.ReadFile(out)
	var delivery adapter.Delivery
	if err != nil || json.Unmarshal(text, &delivery) != nil || delivery.MessageID != "message-dead" || len(delivery.Payload) == 0 {
		t.Errorf("exported %s, %v", text, err)
	}
}

func TestVerifyFails(t *testing.T) {
	env, path := storeWithDeliveries(t)
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
	if code, stdout, stderr := runDeliveries(t, env, "stats", "--verify"); code != exitFailed {
		t.Errorf("of an empty file: exit code %d\n%s%s", code, stdout, stderr)
	}
	if code, _, stderr := runDeliveries(t, map[string]string{"DATA_DIR": t.TempDir()}, "list"); code != exitFailed || !strings.Contains(stderr, "data_dir") {
		t.Errorf("without a store: exit code %d\n%s", code, stderr)
	}
}
