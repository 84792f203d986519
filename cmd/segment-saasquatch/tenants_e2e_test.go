package main

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The tenants of the tests. The tests begin with the test tenant.
const (
	opsTest, opsTestKey = "test_ops", "TEST_ops"
	opsLive, opsLiveKey = "ops", "LIVE_ops"
)

// tenantEnv is the environment of a connection to a tenant.
func tenantEnv(sandbox, alias, key string) []string {
	return []string{"SAASQUATCH_BASE_URL=" + sandbox, "SAASQUATCH_TENANT_ALIAS=" + alias, "SAASQUATCH_API_KEY=" + key}
}

// stop ends a server with SIGTERM.
func (s *server) stop(t *testing.T) {
	t.Helper()
	if err := s.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code := s.wait(); code != exitOK {
		t.Errorf("exit code %d", code)
	}
}

// track returns an event whose messageId is its key.
func track(id string) []byte {
	return fmt.Appendf(nil, `{"type":"track","userId":"u-%s","event":"x","messageId":"%s"}`, id, id)
}

// accepted sends events that become pending.
func accepted(t *testing.T, s *server, ids ...string) {
	t.Helper()
	for _, id := range ids {
		got := post(t, s.url, testSecret, track(id), track(id))
		if got.Status != http.StatusOK || got.Counts["pending"] != 1 {
			t.Errorf("event %s: %+v", id, got)
		}
	}
}

// keysOf returns the idempotency keys of events.
func keysOf(ids ...string) map[string]int {
	keys := make(map[string]int)
	for _, id := range ids {
		keys[id+"/u-"+id] = 1
	}
	return keys
}

// checkDeliveries runs a deliveries command and looks for texts in its output.
func checkDeliveries(t *testing.T, env []string, want int, args []string, texts ...string) {
	t.Helper()
	code, out, stderr := deliveries(t, env, args...)
	if code != want {
		t.Errorf("%v: exit code %d, want %d", args, code, want)
	}
	for _, text := range texts {
		if !strings.Contains(out+stderr, text) {
			t.Errorf("%v: no %q in\n%s%s", args, text, out, stderr)
		}
	}
}

// TestFromTestToLive leaves pending and dead events with a test tenant, and restarts on the same store with a live
// tenant. The live tenant gets no event before the operator asks for it.
func TestFromTestToLive(t *testing.T) {
	t.Parallel()
	for _, engine := range []string{"sqlite", "postgres"} {
		t.Run(engine, func(t *testing.T) {
			p := start(t, nil, "sandbox", "--listen-addr", "127.0.0.1:0", "--tenant", opsTest, "--api-key", opsTestKey)
			testSandbox := p.stdout.await(t, `base URL SAASQUATCH_BASE_URL=(\S+)\n`)[1]
			liveSandbox := startSandbox(t, "--tenant", opsLive, "--api-key", opsLiveKey)
			const token = "a-token-of-sixteen-or-more"
			store := []string{
				"DELIVERY=durable", "DATA_DIR=" + t.TempDir(), "ADMIN_LISTEN_ADDR=127.0.0.1:0", "ADMIN_TOKEN=" + token,
			}
			if engine == "postgres" {
				store = append(store, "STORE="+newDatabase(t))
			}
			with := func(tenant []string) []string { return append(store[:len(store):len(store)], tenant...) }
			onTest := with(tenantEnv(testSandbox, opsTest, opsTestKey))
			onLive := with(tenantEnv(liveSandbox, opsLive, opsLiveKey))
			testName, liveName := testSandbox+"/test_ops", liveSandbox+"/ops"

			s := startServer(t, testSandbox, onTest, "--config", neverUpsert(t))
			accepted(t, s, "dead-0001", "dead-0002", "dead-0003", "dead-0004")
			s.stderr.await(t, strings.Repeat(`(?s)"outcome":"dead".*`, 4))
			s.stop(t)
			s = startServer(t, testSandbox, append(onTest, "SAASQUATCH_API_KEY=TEST_wrong"))
			accepted(t, s, "pending-1", "pending-2", "pending-3")
			s.stop(t)

			s = startServer(t, liveSandbox, onLive)
			s.stderr.await(t, `"level":"warn".*"pending events are `+
				`held","connection":"default","reason":"tenant_changed","events":3,`+
				`"tenant":"`+testName+`","present_tenant":"`+liveName+`","remedy":"[^"]*redrive --to-tenant`)
			accepted(t, s, "live-0001")
			s.stderr.await(t, `"outcome":"delivered".*"message_id":"live-0001"`)
			checkDeliveries(t, onLive, exitOK, []string{"redrive", "--yes"},
				"0 of 4 deliveries are pending now; 4 stay with the tenant "+testName)
			checkDeliveries(t, onLive, exitOK, []string{"stats"},
				"default: 3 pending events of the tenant "+testName+" are held")
			checkConservation(t, onLive)
			checkArrived(t, liveSandbox, keysOf("live-0001"))

			// Only --to-tenant moves them, once, with and without a server.
			checkDeliveries(t, onLive, exitUsage, []string{"redrive", "--to-tenant", opsLive}, "nothing was changed")
			checkDeliveries(t, onLive, exitUsage, []string{"redrive", "--to-tenant", opsTest, "--yes"},
				"default has ops")
			admin := "http://" + s.stderr.await(t, `"msg":"admin","address":"([^"]+)"`)[1]
			for _, args := range [][]string{{"--dry-run"}, {"--yes", "--outcome", "dead"},
				{"--yes", "--server", admin}} {
				checkDeliveries(t, onLive, exitOK, append([]string{"redrive", "--to-tenant", opsLive}, args...),
					"go from the tenant "+testName+" to "+liveName, "Events of a test tenant go to a live one")
			}
			awaitDrained(t, onLive, 20*time.Second)
			all := []string{
				"live-0001", "dead-0001", "dead-0002", "dead-0003", "dead-0004", "pending-1", "pending-2", "pending-3",
			}
			checkArrived(t, liveSandbox, keysOf(all...))
			checkArrived(t, testSandbox, nil)
			s.stop(t)
			s.stderr.await(t, `"action":"redrive","filter":\["limit",`+
				`"to_tenant"\].*"moved":\[\{"connection":"default"`)

			// Back again: the events of the live tenant wait there, and go on by themselves.
			s = startServer(t, liveSandbox, append(onLive, "SAASQUATCH_API_KEY=LIVE_wrong"))
			accepted(t, s, "late-0001")
			s.stop(t)
			s = startServer(t, testSandbox, onTest)
			s.stderr.await(t, `"pending events are held"`)
			accepted(t, s, "pending-1") // the test tenant never got it
			s.stderr.await(t, `"outcome":"delivered".*"message_id":"pending-1"`)
			s.stop(t)
			s = startServer(t, liveSandbox, onLive)
			s.stderr.await(t, `"outcome":"delivered".*"message_id":"late-0001"`)
			if strings.Contains(s.stderr.String(), "pending events are held") {
				t.Error("events are held still")
			}
			checkArrived(t, liveSandbox, keysOf(append(all, "late-0001")...))
			checkArrived(t, testSandbox, keysOf("pending-1"))
			checkConservation(t, onLive)
		})
	}
}

// TestKilledMove kills the command that moves events several times, and the server that sends them. Each event
// arrives once.
func TestKilledMove(t *testing.T) {
	t.Parallel()
	dir, sandbox := t.TempDir(), startSandbox(t, "--tenant", opsLive, "--api-key", opsLiveKey)
	store := []string{"DELIVERY=durable", "DATA_DIR=" + dir}
	live := append(store, tenantEnv(sandbox, opsLive, opsLiveKey)...)
	s := startServer(t, sandbox, append(store, tenantEnv("http://127.0.0.1:1", opsTest, opsTestKey)...))
	want := make(map[string]int)
	const batches, batch = 8, 500
	for range batches {
		body, keys := sampleBatch(t, batch)
		if got := post(t, s.url, testSecret, body, body); got.Status != http.StatusOK {
			t.Fatalf("got %+v", got)
		}
		for key := range keys {
			want[key] = 1
		}
	}
	s.stop(t)
	s = startServer(t, sandbox, live)
	kills := 0
	for done := false; !done; {
		p := start(t, live, "deliveries", "redrive", "--to-tenant", opsLive, "--yes", "--limit", "1500")
		select {
		case <-p.exited:
			done = strings.Contains(p.stdout.String(), "0 of 0 deliveries")
		case <-time.After(time.Duration(30+rand.IntN(150)) * time.Millisecond): // a crash at any moment
			if kills++; kills > 10 {
				p.wait()
				continue
			}
			_ = p.Process.Kill()
			p.wait()
			if kills%4 == 0 {
				_ = s.Process.Kill()
				s.wait()
				s = startServer(t, sandbox, live)
			}
		}
	}
	awaitDrained(t, live, time.Minute)
	checkArrived(t, sandbox, want)
	checkConservation(t, live)
	if kills == 0 {
		t.Error("the command was never killed")
	}
}

// TestRunOfAFormerTenant refuses to resume a replay whose connection has another tenant now, with the store and
// through a server.
func TestRunOfAFormerTenant(t *testing.T) {
	t.Parallel()
	const token = "a-token-of-sixteen-or-more"
	sandbox := startSandbox(t, "--tenant", opsLive, "--api-key", opsLiveKey)
	store := []string{
		"DELIVERY=durable", "DATA_DIR=" + t.TempDir(), "ADMIN_LISTEN_ADDR=127.0.0.1:0", "ADMIN_TOKEN=" + token,
	}
	onTest := append(store[:len(store):len(store)], tenantEnv("http://127.0.0.1:1", opsTest, opsTestKey)...)
	onLive := append(store[:len(store):len(store)], tenantEnv(sandbox, opsLive, opsLiveKey)...)
	p := start(t, onTest, "replay", "--any-age", "--yes", "--progress", "none", "../../testdata/archive")
	p.stderr.await(t, `run 1: if it is interrupted`)
	awaitPending(t, onTest)
	_ = p.Process.Kill()
	p.wait()

	s := startServer(t, sandbox, onLive)
	admin := "http://" + s.stderr.await(t, `"msg":"admin","address":"([^"]+)"`)[1]
	refused := func(args ...string) {
		t.Helper()
		p := start(t, onLive, append([]string{"replay", "--resume", "1", "--yes", "--progress", "none"}, args...)...)
		want := "run 1 sends to the tenant http://127.0.0.1:1/test_ops, but its connection default has the tenant " +
			sandbox + "/ops now"
		if code := p.wait(); code == exitOK || !strings.Contains(p.stderr.String(), want) {
			t.Errorf("%v: exit code %d %s", args, code, &p.stderr)
		}
	}
	refused("--server", admin)
	s.stop(t)
	refused()
	checkArrived(t, sandbox, nil)
}

// awaitPending waits until events are pending.
func awaitPending(t *testing.T, env []string) {
	t.Helper()
	awaitState(t, 20*time.Second, 50*time.Millisecond, func() (bool, string) {
		_, out, _ := deliveries(t, env, "list", "--outcome", "pending", "--limit", "1", "--json")
		return strings.Contains(out, "{"), "no event is pending"
	})
}
