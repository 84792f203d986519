package main

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// unkeyedEvents are events whose messageIds are not valid keys: of analytics-node, a number that looks like a key,
// and of an identify call.
func unkeyedEvents(now time.Time) []string {
	at := now.UTC().Format(time.RFC3339)
	return []string{
		`{"type":"track","userId":"u-1","event":"Order ` +
			`Completed","messageId":"node-0123456789abcdef0123456789abcdef-743be593-7789-4b74-8078-cbcc8894c586",` +
			`"timestamp":"` + at +
			`","context":{"groupId":"g-1"},"properties":{"order_id":"o-1","revenue":"39.95"}}`,
		`{"type":"track","userId":"u-1","event":"Caf\u00e9 Visited","messageId":12345678,"timestamp":"` + at +
			`","properties":{"price":5}}`,
		`{"type":"identify","userId":"u-1","messageId":"short","timestamp":"` + at +
			`","traits":{"email":"a@example.com","plan":"pro"}}`,
	}
}

// TestRulesChangeBetweenDeliveries redelivers and replays events without valid keys under changed rules. Each event
// counts once.
func TestRulesChangeBetweenDeliveries(t *testing.T) {
	t.Parallel()
	for name, store := range map[string]func() string{
		"sqlite": func() string { return "" }, "postgres": func() string { return "STORE=" + newDatabase(t) },
	} {
		t.Run(name, func(t *testing.T) {
			sandbox, dir := startSandbox(t), t.TempDir()
			env := []string{store()}
			live := unkeyedEvents(time.Now())
			batch := []byte("[" + strings.Join(live, ",") + "]")

			s := startDurable(t, sandbox, dir, env...)
			if got := post(t, s.url, testSecret, batch, batch); got.Status != http.StatusOK ||
				got.Counts["pending"] != 3 {
				t.Fatalf("got %+v", got)
			}
			awaitDrained(t, append(env, "DATA_DIR="+dir), time.Minute)
			if err := s.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			s.wait()
			before := requests(t, sandbox)

			config := filepath.Join(t.TempDir(), "config.yaml")
			rules := "account_id: [context.groupId, userId]\nevents:\n  keys: {Order Completed: " +
				"order_completed}\n  revenue_scale: 100\n" +
				"  transform: '$merge([$, {\"fields\": $merge([fields, {\"sent_at\": " +
				"$string($now())}])}])'\nusers:\n  segments: '[\"gold\"]'\n"
			if err := os.WriteFile(config, []byte(rules), 0o600); err != nil {
				t.Fatal(err)
			}
			s = startServer(t, sandbox, append([]string{"DELIVERY=durable", "DATA_DIR=" + dir}, env...),
				"--config", config)
			if got := post(t, s.url, testSecret, batch, batch); got.Status != http.StatusOK ||
				got.Counts["duplicate"] != 3 {
				t.Errorf("redelivered: %+v", got)
			}
			if err := s.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			s.wait()

			// Segment's archive has the same values and further fields.
			archive := filepath.Join(t.TempDir(), "archive.ndjson")
			var lines strings.Builder
			for _, event := range live {
				fmt.Fprintf(&lines, "%s,\"receivedAt\":%q,\"writeKey\":\"k\",\"integrations\":{}}\n",
					strings.TrimSuffix(event, "}"), time.Now().Add(time.Minute).UTC().Format(time.RFC3339))
			}
			if err := os.WriteFile(archive, []byte(lines.String()), 0o600); err != nil {
				t.Fatal(err)
			}
			replaying := append(replayEnv(sandbox, dir), env...)
			for _, args := range [][]string{{"--dry-run"}, {"--yes"}} {
				code, report := runReplay(t, replaying, nil,
					append(args, "--config", config, "--identify", "all", archive)...)
				if code != exitOK || report.byOutcome()["duplicate"] != 3 {
					t.Errorf("replayed with %v: exit code %d, %+v", args, code, report)
				}
			}
			if after := requests(t, sandbox); after != before {
				t.Errorf("%d requests after the rules had changed", after-before)
			}
			_, out, _ := deliveries(t, append(env, "DATA_DIR="+dir), "list", "--event", "Café Visited", "--outcome",
				"delivered", "--json")
			if !strings.Contains(out, `"message_id":"12345678"`) ||
				!strings.Contains(out, `"event":"Café Visited","event_key":"cafeVisited"`) {
				t.Errorf("listed %s", out)
			}
			checkConservation(t, append(env, "DATA_DIR="+dir))
		})
	}
}

// TestReplayOfRejectedLines replays an archive with bad lines several times. They stay the same dead letters, and
// every run reports them.
func TestReplayOfRejectedLines(t *testing.T) {
	t.Parallel()
	sandbox, dir := startSandbox(t), t.TempDir()
	env := replayEnv(sandbox, dir)
	archive := filepath.Join(t.TempDir(), "archive.ndjson")
	at := time.Now().UTC().Format(time.RFC3339)
	text := `{"type":"track","userId":"u","event":"x","messageId":"message-1","timestamp":"` + at +
		`"}` + "\n{no JSON\n" +
		`{"type":"track","userId":"u","event":"購入","messageId":"message-2"}` + "\n"
	if err := os.WriteFile(archive, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for run := 1; run <= 3; run++ {
		failed := filepath.Join(t.TempDir(), "failures.ndjson")
		code, report := runReplay(t, env, nil, "--yes", "--failures", failed, archive)
		if got := report.byOutcome(); code != exitFailed || got["rejected"] != 2 ||
			got["delivered"]+got["duplicate"] != 1 {
			t.Errorf("run %d: exit code %d, %+v", run, code, got)
		}
		if lines, err := os.ReadFile(failed); err != nil || string(lines) != text[strings.Index(text, "\n")+1:] {
			t.Errorf("failures of run %d: %q, %v", run, lines, err)
		}
		_, out, _ := deliveries(t, env, "list", "--run", fmt.Sprint(run), "--outcome", "rejected", "--json")
		want := ""
		if run > 1 {
			want = fmt.Sprintf(`"run":1,"repeats":%d`, run-1)
		}
		if strings.Count(out, `"outcome":"rejected"`) != 2 || want != "" && strings.Count(out, want) != 2 {
			t.Errorf("dead letters of run %d: %s", run, out)
		}
	}
	if _, out, _ := deliveries(t, env, "stats", "--verify"); !strings.Contains(out,
		"3 accepted = 1 delivered + 0 duplicate + 0 skipped + 2 rejected") {
		t.Errorf("after three runs: %s", out)
	}
}
