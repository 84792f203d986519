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
	"segment-saasquatch/mapping"
)

// storeWithDeliveries makes a store with a delivery of each kind, and returns the environment that names the store.
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
	q, err := s.Connection(ctx, "default", "https://host/test_ops")
	if err != nil {
		t.Fatal(err)
	}
	arrival := func(id, user string) adapter.Arrival {
		return adapter.Arrival{MessageID: id, Keyed: true, UserID: user, AccountID: user, Event: "X Ordered",
			EventKey: "x", Outcome: adapter.Pending,
			Payload: []byte(`{"type":"track","userId":"u","event":"x","messageId":"` + id + `"}`)}
	}
	list := []adapter.Arrival{arrival("message-dead", "evil\x1b[31muser"), arrival("message-delivered", "u"),
		arrival("message-pending", "u")}
	if err := q.Accept(ctx, list); err != nil {
		t.Fatal(err)
	}
	leased, err := q.Lease(ctx, 2, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	at := leased[0].ReceivedAt.Add(time.Second)
	for i, step := range []adapter.Step{
		{Outcome: adapter.Dead, Reason: mapping.ReasonRefused, Detail: "no such\x07field", Status: 400,
			Counted: true, Began: at, At: at},
		{Outcome: adapter.Delivered, Status: 200, Counted: true, Began: at, At: at},
	} {
		if err := q.Record(ctx, &leased[i], step); err != nil {
			t.Fatal(err)
		}
	}
	return map[string]string{"DATA_DIR": dir, "SAASQUATCH_BASE_URL": "https://host",
		"SAASQUATCH_TENANT_ALIAS": "test_ops"}, path
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
	t.Parallel()
	env, _ := storeWithDeliveries(t)
	out := filepath.Join(t.TempDir(), "dead.ndjson")
	for _, test := range []struct {
		name string
		args []string
		code int
		want []string // in standard output or standard error
		not  []string
	}{
		{"list", []string{"list"}, exitOK, []string{"MESSAGE ID", "message-dead", "message-delivered",
			"message-pending", "evil·[31muser"}, []string{"\x1b"}},
		{"list some", []string{"list", "--outcome", "dead,pending", "--limit", "1"}, exitOK,
			[]string{"message-pending", "there may be more"}, []string{"message-dead"}},
		{"list by user", []string{"list", "--user", "u", "--since", "1h", "--json"}, exitOK,
			[]string{`"message_id":"message-delivered"`}, []string{"message-dead"}},
		{"list by Segment's name", []string{"list", "--event", "X Ordered"}, exitOK,
			[]string{"message-dead", "message-pending", "X Ordered  x "}, nil},
		{"list by the event key", []string{"list", "--event-key", "x", "--outcome", "dead"}, exitOK,
			[]string{"message-dead"}, []string{"message-pending"}},
		{"list by the key as a name", []string{"list", "--event", "x"}, exitOK,
			[]string{"no delivery is listed", "--event-key"}, []string{"message-"}},
		{"list by an empty name", []string{"list", "--event", ""}, exitUsage, []string{"--event is empty"}, nil},
		{"list nothing", []string{"list", "--since", "2999-01-01", "--json"}, exitOK, nil, []string{"{"}},
		{"list with an empty filter", []string{"list", "--user", ""}, exitUsage, []string{"--user is empty"}, nil},
		{"list with an unknown outcome", []string{"list", "--outcome", "lost"}, exitUsage,
			[]string{"lost", "delivered"}, nil},
		{"list with a wrong time", []string{"list", "--since", "yesterday"}, exitUsage,
			[]string{"--since", "2h or 7d"}, nil},
		{"list with a wrong limit", []string{"list", "--limit", "0"}, exitUsage, []string{"--limit is 0"}, nil},
		{"show", []string{"show", "1"}, exitOK, []string{"refused", "400", "no such·field", "failed attempts",
			`"messageId": "message-dead"`}, []string{"\x07", "\x1b"}},
		{"show as JSON", []string{"show", "1", "--json"}, exitOK,
			[]string{`"payload":{"type":"track"`, `"history":[{"number":1`}, nil},
		{"show one that is not there", []string{"show", "99"}, exitFailed, []string{"no delivery with this id"}, nil},
		{"show no number", []string{"show", "message-dead"}, exitUsage,
			[]string{"write the number of a delivery"}, nil},
		{"stats", []string{"stats"}, exitOK, []string{"ACCEPTED"}, nil},
		{"stats by reason", []string{"stats", "--outcome", "dead"}, exitOK, []string{"refused", "ACCEPTED"}, nil},
		{"verify", []string{"stats", "--verify"}, exitOK,
			[]string{"3 accepted = 1 delivered + 0 duplicate + 0 skipped + 0 rejected + 1 dead + 1 pending",
				"the balance holds"}, nil},
		{"export", []string{"export", "--outcome", "dead", "--out", out}, exitOK, nil, []string{"{"}},
		{"redrive without a terminal", []string{"redrive"}, exitUsage, []string{"nothing was changed", "--yes"}, nil},
		{"redrive dry", []string{"redrive", "--dry-run"}, exitOK, []string{"1 of 1 deliveries would be sent"}, nil},
		{"redrive what was delivered", []string{"redrive", "--outcome", "delivered", "--yes"}, exitUsage,
			[]string{"count them twice"}, nil},
		{"purge everything", []string{"purge", "--yes"}, exitUsage, []string{"needs a filter"}, nil},
		{"purge dry", []string{"purge", "--user", "u", "--dry-run", "--json"}, exitOK,
			[]string{`{"purged":{"delivered":1,"pending":1}}`}, nil},
		{"server without a token", []string{"list", "--server", "http://127.0.0.1:1"}, exitUsage,
			[]string{"ADMIN_TOKEN"}, nil},
		{"still as before", []string{"stats", "--verify"}, exitOK,
			[]string{"1 delivered + 0 duplicate + 0 skipped + 0 rejected + 1 dead + 1 pending"}, nil},
		{"redrive", []string{"redrive", "--yes"}, exitOK, []string{"1 of 1 deliveries are pending now"}, nil},
		{"purge", []string{"purge", "--outcome", "pending", "--yes"}, exitOK,
			[]string{"2 deliveries were deleted: 2 pending"}, nil},
		{"afterwards", []string{"stats", "--verify"}, exitOK,
			[]string{"3 accepted = 1 delivered + 0 duplicate + 0 skipped + 0 rejected + 2 dead + 0 pending"}, nil},
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
	if err != nil || json.Unmarshal(text, &delivery) != nil || delivery.MessageID != "message-dead" ||
		len(delivery.Payload) == 0 {
		t.Errorf("exported %s, %v", text, err)
	}
}

// TestDeliveriesOfAFormerTenant runs commands on a store with deliveries of a former tenant of the connection.
func TestDeliveriesOfAFormerTenant(t *testing.T) {
	t.Parallel()
	env, _ := storeWithDeliveries(t)
	live := map[string]string{"DATA_DIR": env["DATA_DIR"], "SAASQUATCH_BASE_URL": "https://host",
		"SAASQUATCH_TENANT_ALIAS": "ops"}
	unknown := map[string]string{"DATA_DIR": env["DATA_DIR"]}
	const fromTest = "go from the tenant https://host/test_ops to https://host/ops, connection default\n" +
		"Events of a test tenant go to a live one: there they fire programs and rewards, and cannot be deleted."
	for _, test := range []struct {
		name string
		env  map[string]string
		args []string
		code int
		want []string // in standard output or standard error
	}{
		{"list", live, []string{"list"}, exitOK, []string{"pending    tenant_changed", "dead       refused"}},
		{"list as JSON", live, []string{"list", "--outcome", "pending", "--json"}, exitOK,
			[]string{`"tenant":"https://host/test_ops"`, `"reason":"tenant_changed"`}},
		{"list by reason", live, []string{"list", "--reason", "tenant_changed", "--json"}, exitOK,
			[]string{`"message_id":"message-pending"`}},
		{"list by tenant", live, []string{"list", "--tenant", "test_ops", "--outcome", "dead"}, exitOK,
			[]string{"message-dead"}},
		{"list where the tenant is not known", unknown, []string{"list", "--outcome", "pending"}, exitOK,
			[]string{"pending  accepted"}},
		{"show", live, []string{"show", "3"}, exitOK,
			[]string{"tenant        https://host/test_ops", "tenant_changed"}},
		{"export", live, []string{"export", "--outcome", "dead"}, exitOK,
			[]string{`"tenant":"https://host/test_ops"`}},
		{"stats", live, []string{"stats"}, exitOK,
			[]string{"default: 1 pending events of the tenant https://host/test_ops are held: tenant_changed",
				"--to-tenant"}},
		{"stats as JSON", live, []string{"stats", "--json"}, exitOK,
			[]string{`"held":[{"tenant":"https://host/test_ops","reason":"tenant_changed","events":1}]`}},
		{"verify", live, []string{"stats", "--verify"}, exitOK, []string{"the balance holds"}},
		{"redrive", live, []string{"redrive", "--yes"}, exitOK, []string{
			"0 of 1 deliveries are pending now; 1 stay with the tenant https://host/test_ops, while their " +
				"connection default has https://host/ops: redrive --to-tenant ops moves them"}},
		{"redrive where the tenant is not known", unknown, []string{"redrive", "--yes"}, exitUsage,
			[]string{"SAASQUATCH_TENANT_ALIAS"}},
		{"redrive to an unknown tenant", live, []string{"redrive", "--to-tenant", "oops", "--yes"}, exitUsage,
			[]string{`no connection has the tenant "oops"`, "default has ops"}},
		{"redrive to the former tenant", live, []string{"redrive", "--to-tenant", "test_ops", "--yes"}, exitUsage,
			[]string{`no connection has the tenant "test_ops"`}},
		{"redrive to no tenant", live, []string{"redrive", "--to-tenant", "", "--yes"}, exitUsage,
			[]string{"--to-tenant is empty"}},
		{"move without a terminal", live, []string{"redrive", "--to-tenant", "ops"}, exitUsage,
			[]string{"nothing was changed", "--yes"}},
		{"move dry", live, []string{"redrive", "--to-tenant", "ops", "--dry-run"}, exitOK,
			[]string{"2 of 2 deliveries would be sent\n2 " + fromTest}},
		{"move some", live, []string{"redrive", "--to-tenant", "ops", "--outcome", "pending", "--yes"}, exitOK,
			[]string{"1 of 1 deliveries are pending now\n1 " + fromTest}},
		{"move", live, []string{"redrive", "--to-tenant", "ops", "--yes", "--json"}, exitOK, []string{
			`"matched":1,"sent":1,"duplicate":0`, `"moved":[{"connection":"default",` +
				`"from":"https://host/test_ops","to":"https://host/ops","events":1}]`}},
		{"move again", live, []string{"redrive", "--to-tenant", "ops", "--yes"}, exitOK,
			[]string{"0 of 0 deliveries"}},
		{"afterwards", live, []string{"stats", "--verify"}, exitOK,
			[]string{"3 accepted = 1 delivered + 0 duplicate + 0 skipped + 0 rejected + 0 dead + 2 pending",
				"the balance holds"}},
		{"move back", env, []string{"redrive", "--to-tenant", "test_ops", "--yes"}, exitOK,
			[]string{"2 of 2 deliveries are pending now", "the live one never gets them"}},
		{"purge by tenant", live, []string{"purge", "--tenant", "test_ops", "--dry-run"}, exitOK,
			[]string{"3 deliveries would be deleted: 1 delivered, 2 pending"}},
		{"purge by another tenant", live, []string{"purge", "--tenant", "ops", "--yes"}, exitOK,
			[]string{"0 deliveries were deleted"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			code, stdout, stderr := runDeliveries(t, test.env, test.args...)
			if code != test.code {
				t.Errorf("exit code %d, want %d\n%s%s", code, test.code, stdout, stderr)
			}
			for _, want := range test.want {
				if !strings.Contains(stdout+stderr, want) {
					t.Errorf("no %q in\n%s%s", want, stdout, stderr)
				}
			}
		})
	}
}

func TestVerifyFails(t *testing.T) {
	t.Parallel()
	env, path := storeWithDeliveries(t)
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
	if code, stdout, stderr := runDeliveries(t, env, "stats", "--verify"); code != exitFailed {
		t.Errorf("of an empty file: exit code %d\n%s%s", code, stdout, stderr)
	}
	if code, _, stderr := runDeliveries(t, map[string]string{"DATA_DIR": t.TempDir()}, "list"); code != exitFailed ||
		!strings.Contains(stderr, "data_dir") {
		t.Errorf("without a store: exit code %d\n%s", code, stderr)
	}
}
