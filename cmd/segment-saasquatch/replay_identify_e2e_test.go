package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// identifyPartial are incremental identify calls of three users. The userId of one is a number in one call, and the
// text of the number in the other.
const identifyPartial = `{"type":"identify","userId":"u1","messageId":"idn-00001",` +
	`"timestamp":"2026-10-30T10:00:00Z","traits":{"email":"u1@example.com","firstName":"Ann"}}
{"type":"identify","userId":"u1","messageId":"idn-00002","timestamp":"2026-10-31T10:00:00Z","traits":{"plan":"gold"}}
{"type":"identify","userId":"u2","messageId":"idn-00003","timestamp":"2026-10-31T10:00:00Z",` +
	`"receivedAt":"2026-10-29T10:00:00Z","traits":{"plan":"new"}}
{"type":"identify","userId":"u2","messageId":"idn-00004","timestamp":"2026-10-30T10:00:00Z","traits":{"plan":"old"}}
{"type":"identify","userId":42,"messageId":"idn-00005","timestamp":"2026-10-30T10:00:00Z","traits":{"plan":"n"}}
{"type":"identify","userId":"42","messageId":"idn-00006","timestamp":"2026-10-31T10:00:00Z","traits":{"plan":"s"}}
`

func writeEvents(t *testing.T, text string) (file string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "events.ndjson")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// reasonsOf counts the events of a report by outcome and reason.
func (r *replayed) reasonsOf() string {
	var parts []string
	for _, tally := range r.Outcomes {
		parts = append(parts, strings.TrimSpace(fmt.Sprintf("%d %s %s", tally.Events, tally.Outcome, tally.Reason)))
	}
	return strings.Join(parts, ", ")
}

// TestReplayMergesIdentify sends one upsert a user with the traits of all calls, with either store and through a
// server. A second replay sends none.
func TestReplayMergesIdentify(t *testing.T) {
	t.Parallel()
	file := writeEvents(t, identifyPartial)
	for _, way := range []string{"sqlite", "postgres", "server"} {
		t.Run(way, func(t *testing.T) {
			sandbox := startSandbox(t, "--users", "known")
			data := t.TempDir()
			env := replayEnv(sandbox, data)
			var args []string
			switch way {
			case "postgres":
				env = append(env, "STORE="+newDatabase(t))
			case "server":
				s := startDurable(t, sandbox, data, "ADMIN_LISTEN_ADDR=127.0.0.1:0", "ADMIN_TOKEN="+adminToken)
				args = []string{"--yes", "--server", "http://" +
					s.stderr.await(t, `"msg":"admin","address":"([^"]+)"`)[1]}
			}
			if way != "postgres" { // the first run makes the tables makes
				code, foreseen := runReplay(t, env, nil, append(args, "--dry-run", file)...)
				if code != exitOK || foreseen.reasonsOf() != "3 skipped identify_superseded, 3 pending" {
					t.Errorf("foreseen: exit code %d: %s", code, foreseen.reasonsOf())
				}
			}
			code, report := runReplay(t, env, nil, append(args, file)...)
			if code != exitOK || report.reasonsOf() != "3 delivered, 3 skipped identify_superseded" ||
				report.Merged != 1 {
				t.Errorf("exit code %d: %s, %d merged", code, report.reasonsOf(), report.Merged)
			}
			if u := lookUp(t, sandbox, "u1"); u.Email != "u1@example.com" || u.FirstName != "Ann" ||
				u.CustomFields["plan"] != "gold" {
				t.Errorf("u1 is %+v", u)
			}
			if u := lookUp(t, sandbox, "u2"); u.CustomFields["plan"] != "new" {
				t.Errorf("u2 is %+v", u)
			}
			if u := lookUp(t, sandbox, "42"); u.CustomFields["plan"] != "s" {
				t.Errorf("42 is %+v", u)
			}
			before := requests(t, sandbox)
			for _, again := range [][]string{{file}, {"--resume", "1"}} {
				code, report := runReplay(t, env, nil, append(args, again...)...)
				if code != exitOK || requests(t, sandbox) != before {
					t.Errorf("%v: exit code %d, %d requests more: %s", again, code,
						requests(t, sandbox)-before, report.reasonsOf())
				}
			}
		})
	}
}

// TestReplayLeavesNewerProfiles replays an archive after live calls: a newer profile, and the newest call of the
// archive itself.
func TestReplayLeavesNewerProfiles(t *testing.T) {
	t.Parallel()
	sandbox := startSandbox(t)
	data := t.TempDir()
	s := startDurable(t, sandbox, data, "ADMIN_LISTEN_ADDR=127.0.0.1:0", "ADMIN_TOKEN="+adminToken)
	admin := "http://" + s.stderr.await(t, `"msg":"admin","address":"([^"]+)"`)[1]
	env := replayEnv(sandbox, data)
	newest := strings.Split(identifyPartial, "\n")[1]
	live := `{"type":"identify","userId":"u2","messageId":"live-0001","timestamp":"2026-11-02T10:00:00Z",` +
		`"traits":{"plan":"live"}}`
	postRaw(t, s.url, testSecret, []byte("["+newest+","+live+"]"))
	awaitDrained(t, append(env, "STORE="), 20*time.Second)
	_, report := runReplay(t, env, nil, "--server", admin, "--yes", writeEvents(t, identifyPartial))
	if got := report.reasonsOf(); got != "2 delivered, 4 skipped identify_superseded" {
		t.Errorf("got %s", got)
	}
	if u := lookUp(t, sandbox, "u1"); u.Email != "u1@example.com" || u.CustomFields["plan"] != "gold" {
		t.Errorf("u1 is %+v", u)
	}
	if u := lookUp(t, sandbox, "u2"); u.CustomFields["plan"] != "live" {
		t.Errorf("u2 is %+v", u)
	}
}

// TestReplayOfIdentifyIsKilled kills a replay of identify calls several times. It leaves no files, and no profile
// lacks a trait.
func TestReplayOfIdentifyIsKilled(t *testing.T) {
	t.Parallel()
	const users, calls = 900, 3
	var lines strings.Builder
	for call := range calls {
		for user := range users {
			fmt.Fprintf(&lines, `{"type":"identify","userId":"u%d","messageId":"message-%d-%d",`+
				`"timestamp":"2026-10-%02dT10:00:00Z","traits":{"t%d":%d}}`+"\n", user, user, call,
				10+(user+call*7)%20, call, user)
		}
	}
	file := writeEvents(t, lines.String())
	for bulk, flags := range slowCalls {
		t.Run("bulk "+bulk, func(t *testing.T) {
			t.Parallel()
			killReplayOfIdentify(t, file, users, calls, flags.latency, "--bulk", bulk, "--concurrency",
				flags.concurrency)
		})
	}
}

func killReplayOfIdentify(t *testing.T, file string, users, calls int, latency string, flags ...string) {
	sandbox := startSandbox(t, "--latency", latency)
	temporary := t.TempDir()
	env := append(replayEnv(sandbox, t.TempDir()), "TMPDIR="+temporary)
	flags = append([]string{"replay", "--progress", "json"}, flags...)
	args := append(slices.Clone(flags), file)
	for kill := 1; kill <= 3; kill++ {
		p := start(t, env, args...)
		p.stderr.await(t, `run 1: `)
		p.stderr.await(t, fmt.Sprintf(`"delivered":([%d-9]\d\d|\d{4})`, kill))
		// It may have reached its end before the signal. Then the next replay has less to do.
		if err := p.Process.Signal(syscall.SIGKILL); err != nil && !errors.Is(err, os.ErrProcessDone) {
			t.Fatal(err)
		}
		<-p.exited
		args = append(slices.Clone(flags), "--resume", "1")
	}
	code, report := runReplay(t, env, nil, "--resume", "1")
	if want := fmt.Sprintf("%d delivered, %d skipped identify_superseded", users, users*(calls-1)); code != exitOK ||
		report.reasonsOf() != want {
		t.Errorf("exit code %d: %s, want %s", code, report.reasonsOf(), want)
	}
	for user := 0; user < users; user += 37 {
		if u := lookUp(t, sandbox, fmt.Sprintf("u%d", user)); len(u.CustomFields) != calls {
			t.Errorf("u%d is %+v", user, u)
		}
	}
	if left, err := os.ReadDir(temporary); err != nil || len(left) > 0 {
		t.Errorf("files were left: %v, %v", left, err)
	}
	checkConservation(t, env)
}

// TestReplayDiskFull fills the disk while a replay gathers identify calls. The replay names the remedy, and leaves no
// file.
func TestReplayDiskFull(t *testing.T) {
	t.Parallel()
	dir := smallDisk(t, 8)
	var lines strings.Builder
	for i := range 60_000 {
		fmt.Fprintf(&lines, `{"type":"identify","userId":"u%d","messageId":"message-%d","traits":{"t":%q}}`+"\n", i,
			i, strings.Repeat("x", 700))
	}
	p := start(t, append(replayEnv("http://127.0.0.1:1", t.TempDir()), "TMPDIR="+dir), "replay", "--dry-run",
		"--progress", "none", writeEvents(t, lines.String()))
	if code := p.wait(); code != exitFailed || !strings.Contains(p.stderr.String(), "no space left on device") ||
		!strings.Contains(p.stderr.String(), "set TMPDIR") {
		t.Errorf("exit code %d:\n%s", code, &p.stderr)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("files were left: %v, %v", left, err)
	}
}

// TestReplayConnectionOfARun resumes a run under a configuration with several connections. The command names the
// connection of the run.
func TestReplayConnectionOfARun(t *testing.T) {
	t.Parallel()
	sandbox := startSandbox(t)
	config := filepath.Join(t.TempDir(), "config.yaml")
	var text strings.Builder
	text.WriteString("connections:\n")
	for _, name := range []string{"first", "second"} {
		fmt.Fprintf(&text, "  - {name: %s, path: /%s, segment: {shared_secret: [a-secret-of-sixteen]}, "+
			"saasquatch: {tenant_alias: %s, api_key: %s, base_url: %q}}\n", name, name, sandboxTenant,
			sandboxKey, sandbox)
	}
	if err := os.WriteFile(config, []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	env := []string{"DATA_DIR=" + t.TempDir()}
	file := writeEvents(t, `{"type":"track","userId":"u","event":"E","messageId":"message-1"}`+"\n")
	if code, _ := runReplay(t, env, nil, "--config", config, "--connection", "second", file); code != exitOK {
		t.Fatalf("exit code %d", code)
	}
	for _, test := range []struct {
		args []string
		want string
	}{
		{nil, "name one of first, second with --connection"},
		{[]string{"--connection", "first"}, "run 1 is of connection second: name it with --connection second"},
		{[]string{"--connection", "third"}, `--connection "third"`},
	} {
		p := start(t, env, append([]string{"replay", "--config", config, "--resume", "1"}, test.args...)...)
		if code := p.wait(); code == exitOK || !strings.Contains(p.stderr.String(), test.want) {
			t.Errorf("%v: exit code %d, want %s:\n%s", test.args, code, test.want, &p.stderr)
		}
		listing := start(t, env, "replay", "list", "--config", config)
		if code := listing.wait(); code != exitOK || !strings.Contains(listing.stdout.String(), "at its end") {
			t.Errorf("after %v the run was taken:\n%s", test.args, &listing.stdout)
		}
	}
	p := start(t, env, "replay", "--config", config, "--resume", "1", "--connection", "second")
	if code := p.wait(); code != exitOK || !strings.Contains(p.stderr.String(), "--resume 1 --connection second") {
		t.Errorf("exit code %d:\n%s", code, &p.stderr)
	}
}

// TestReplayDryRunFails checks that a dry run, and the writing of import files, end with the exit code of the replay,
// and write the rejected events.
func TestReplayDryRunFails(t *testing.T) {
	t.Parallel()
	const bad = `{"type":"track","userId":"u","messageId":"message-2"}`
	file := writeEvents(t, `{"type":"track","userId":"u","event":"E","messageId":"message-1"}`+"\n"+bad+"\n{\n")
	env := replayEnv("http://127.0.0.1:1", t.TempDir())
	for _, args := range [][]string{{"--dry-run"}, {"--via", "import", "--dry-run"},
		{"--via", "import", "--out", filepath.Join(t.TempDir(), "out")}} {
		failures := filepath.Join(t.TempDir(), "failures.ndjson")
		code, report := runReplay(t, env, nil, append(args, "--failures", failures, file)...)
		text, err := os.ReadFile(failures)
		if code != exitFailed || report.byOutcome()["rejected"] != 2 || err != nil || string(text) != bad+"\n{\n" {
			t.Errorf("%v: exit code %d, %s, failures %q, %v", args, code, report.reasonsOf(), text, err)
		}
	}
}

// TestReplayRemarks checks the remarks for operators, in the table and in the JSON.
func TestReplayRemarks(t *testing.T) {
	t.Parallel()
	file := writeEvents(t, `{"type":"track","userId":"u-1","event":"E","messageId":"message-1",`+
		`"context":{"consent":{"categoryPreferences":{"Advertising":false}}}}
{"type":"track","userId":"u-6 ","event":"E","messageId":"message-2"}
{"type":"track","userId":"u-7","event":"E","messageId":"message-3"}
`)
	except := filepath.Join(t.TempDir(), "except.csv")
	if err := os.WriteFile(except, []byte("user_id\r\n\"u-6 \"\r\nu-7 \r\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, dry := range []bool{true, false} {
		env := replayEnv(startSandbox(t), t.TempDir())
		args := []string{"--except-user-file", except, file}
		if dry {
			args = append(args, "--dry-run")
		}
		code, report := runReplay(t, env, nil, args...)
		sent := report.byOutcome()["pending"] + report.byOutcome()["delivered"]
		if code != exitOK || sent != 2 || report.ConsentDenials != 1 || len(report.UserFiles) != 1 ||
			report.UserFiles[0].Unmatched != 2 || report.UserFiles[0].Lines != 3 {
			t.Errorf("exit code %d, %s, %d denials, %+v", code, report.reasonsOf(),
				report.ConsentDenials, report.UserFiles)
		}
		p := start(t, env, append([]string{"replay", "--progress", "none"}, args...)...)
		p.wait()
		for _, want := range []string{"1 events deny a category of consent", "--consent CATEGORY",
			"except.csv: 2 of 3 lines matched no event"} {
			if strings.Count(p.stdout.String(), want) != 1 {
				t.Errorf("%q does not show once:\n%s", want, &p.stdout)
			}
		}
		code, report = runReplay(t, env, nil, append(args, "--consent", "Advertising")...)
		if code != exitOK || !strings.Contains(report.reasonsOf(), "1 skipped consent_denied") ||
			report.ConsentDenials != 0 {
			t.Errorf("exit code %d, %s, %d denials", code, report.reasonsOf(), report.ConsentDenials)
		}
	}
}

// TestWhereExample runs the example of --where in docs/replay.md over numbers, as text too.
func TestWhereExample(t *testing.T) {
	t.Parallel()
	found := regexp.MustCompile("`--where '([^']+)'`").FindStringSubmatch(page(t, "docs/replay.md"))
	if found == nil || !strings.Contains(found[1], "revenue") {
		t.Fatal("no example of --where in docs/replay.md")
	}
	track := func(id int, properties string) string {
		return fmt.Sprintf(`{"type":"track","userId":"u","event":"E","messageId":"message-%d","properties":%s}`+"\n",
			id, properties)
	}
	good := track(1, `{"revenue":100.01}`) + track(2, `{"revenue":"250.00"}`) + track(3, `{"revenue":100}`) +
		track(4, `{"revenue":"39.95"}`) + track(5, `{}`)
	env := replayEnv("http://127.0.0.1:1", t.TempDir())
	code, report := runReplay(t, env, nil, "--dry-run", "--where", found[1], writeEvents(t, good))
	if code != exitOK || report.reasonsOf() != "3 skipped filtered_where, 2 pending" {
		t.Errorf("exit code %d: %s", code, report.reasonsOf())
	}
	// An event for which the expression fails does not affect the others. It is written, and the run fails.
	bad := track(6, `{"revenue":"free"}`)
	failures := filepath.Join(t.TempDir(), "failures.ndjson")
	env = replayEnv(startSandbox(t), t.TempDir())
	code, report = runReplay(t, env, nil, "--where", found[1], "--failures", failures, writeEvents(t, bad+good))
	text, err := os.ReadFile(failures)
	if code != exitFailed || report.reasonsOf() != "2 delivered, 3 skipped filtered_where, 1 rejected "+
		"filtered_where_failed" || err != nil || string(text) != bad {
		t.Errorf("exit code %d: %s, failures %q, %v", code, report.reasonsOf(), text, err)
	}
}
