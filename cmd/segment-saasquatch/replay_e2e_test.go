package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"segment-saasquatch/adapter/archive/archivetest"
	"segment-saasquatch/adapter/replay"
)

// replayEnv returns the environment of a replay to a sandbox, with a store in dir.
func replayEnv(sandbox, dir string) []string {
	return []string{
		"DATA_DIR=" + dir,
		"SAASQUATCH_TENANT_ALIAS=" + sandboxTenant,
		"SAASQUATCH_API_KEY=" + sandboxKey,
		"SAASQUATCH_BASE_URL=" + sandbox,
		"ADMIN_TOKEN=" + adminToken,
		// AWS's credential chain looks for these.
		"AWS_ACCESS_KEY_ID=" + os.Getenv("AWS_ACCESS_KEY_ID"),
		"AWS_SECRET_ACCESS_KEY=" + os.Getenv("AWS_SECRET_ACCESS_KEY"),
		"AWS_REGION=" + os.Getenv("AWS_REGION"),
	}
}

const adminToken = "token-of-sixteen-characters"

// replayed is the report of a replay.
type replayed struct {
	Run      int64
	Requests int64
	Outcomes []struct {
		Outcome, Reason string
		Events          int
	}
	Lines          int64
	Merged         int64 `json:"identify_merged"`
	ConsentDenials int64 `json:"consent_denials"`
	UserFiles      []struct {
		File             string
		Lines, Unmatched int
	} `json:"user_files"`
	Faults []struct{ Object, Fault string }
	Files  []string
	Jobs   []struct {
		ID, Status     string
		Events, Failed int
	}
}

// byOutcome counts the events by outcome.
func (r *replayed) byOutcome() map[string]int {
	counts := make(map[string]int)
	for _, tally := range r.Outcomes {
		counts[tally.Outcome] += tally.Events
	}
	return counts
}

// runReplay runs a replay to its end and returns its report.
func runReplay(t *testing.T, env []string, stdin io.Reader, args ...string) (code int, report *replayed) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "report.json")
	cmd := exec.Command(binary, append([]string{"replay", "--report", file, "--progress", "none"}, args...)...)
	var stderr bytes.Buffer
	cmd.Env, cmd.Stdin, cmd.Stderr = env, stdin, &stderr
	err := cmd.Run()
	if code = cmd.ProcessState.ExitCode(); err != nil && code != exitFailed {
		t.Fatalf("%v: %v\n%s", args, err, &stderr)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v: %v\n%s", args, err, &stderr)
	}
	report = &replayed{}
	if err := json.Unmarshal(text, report); err != nil {
		t.Fatal(err)
	}
	return code, report
}

// arrivedKeys returns how often each event arrived at a sandbox, by its key, or by its user if it has none.
func arrivedKeys(t *testing.T, sandbox string) map[string]int {
	t.Helper()
	keys := make(map[string]int)
	for both, n := range arrived(t, sandbox) {
		key, user, _ := strings.Cut(both, "/")
		if key == "" {
			key = "/" + user
		}
		keys[key] += n
	}
	return keys
}

func compare(t *testing.T, want *archivetest.Expectation, received, outcomes map[string]int) {
	t.Helper()
	for _, fault := range want.Compare(received, outcomes) {
		t.Error(fault)
	}
}

func makeArchive(o archivetest.Options) (*archivetest.Archive, *archivetest.Expectation) {
	o.Now = time.Now()
	made := archivetest.Generate(o)
	return made, made.Expect(o.Now, append(slices.Clone(replay.DefaultIntegrations), "All"))
}

// passTwoDays moves the sandbox's clock, so that it forgets the keys.
func passTwoDays(t *testing.T, sandbox string) {
	t.Helper()
	response, err := http.Post(sandbox+"/_sandbox/clock", "application/json", strings.NewReader(`{"advance":"48h"}`))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		t.Fatal(response.Status)
	}
}

func requests(t *testing.T, sandbox string) int {
	t.Helper()
	return get[struct{ Requests int }](t, sandbox+"/_sandbox/stats").Requests
}

// checkReplay replays an archive, and again two days later.
func checkReplay(
	t *testing.T, made *archivetest.Archive, want *archivetest.Expectation, stdin func() io.Reader, args ...string,
) {
	t.Helper()
	sandbox := startSandbox(t)
	env := replayEnv(sandbox, t.TempDir())
	_, foreseen := runReplay(t, env, stdin(), append([]string{"--dry-run"}, args...)...)
	if requests(t, sandbox) != 0 {
		t.Error("a dry run made requests")
	}
	code, report := runReplay(t, env, stdin(), args...)
	compare(t, want, arrivedKeys(t, sandbox), report.byOutcome())
	if code != exitFailed || foreseen.Requests != int64(want.Outcomes["delivered"]) {
		t.Errorf("exit code %d; %d requests were foreseen, want %d", code, foreseen.Requests,
			want.Outcomes["delivered"])
	}
	passTwoDays(t, sandbox)
	before := requests(t, sandbox)
	_, again := runReplay(t, env, stdin(), args...)
	if after := requests(t, sandbox); after != before {
		t.Errorf("%d calls at the second replay: %+v", after-before, again.Outcomes)
	}
	checkConservation(t, env)
	if made == nil {
		return
	}
	damaged := 0
	for _, file := range made.Files {
		if file.Log && file.Damage != archivetest.Whole {
			damaged++
		}
	}
	if len(report.Faults) != damaged || damaged == 0 {
		t.Errorf("%d faults, want %d", len(report.Faults), damaged)
	}
}

func noInput() io.Reader { return strings.NewReader("") }

func TestReplayDirectory(t *testing.T) {
	t.Parallel()
	made, want := makeArchive(archivetest.Options{EventsPerDay: 800})
	dir := t.TempDir()
	made.WriteDir(t, dir)
	checkReplay(t, made, want, noInput, "--identify", "none", dir)
}

func TestReplayStandardInput(t *testing.T) {
	t.Parallel()
	made, want := makeArchive(archivetest.Options{EventsPerDay: 400, Clean: true})
	var input bytes.Buffer
	for i := range made.Lines {
		input.WriteString(made.Lines[i].Text + "\n")
	}
	checkReplay(t, nil, want, func() io.Reader { return bytes.NewReader(input.Bytes()) }, "-")
}

// TestReplayS3 replays from a real S3 server.
func TestReplayS3(t *testing.T) {
	s3 := archivetest.StartS3(t, "archive")
	made, want := makeArchive(archivetest.Options{EventsPerDay: 800})
	made.Upload(t, s3.Bucket("archive"), "a/prefix/")
	checkReplay(t, made, want, noInput, "--identify", "none", s3.URL("archive", "a/prefix/"))
}

// TestReplayIsKilled kills a replay at ten points and resumes it each time.
func TestReplayIsKilled(t *testing.T) {
	t.Parallel()
	made, want := makeArchive(archivetest.Options{EventsPerDay: 1500})
	dir := t.TempDir()
	made.WriteDir(t, dir)
	for bulk, flags := range slowCalls {
		t.Run("bulk "+bulk, func(t *testing.T) {
			t.Parallel()
			killReplay(t, want, flags.latency, dir, "--bulk", bulk, "--concurrency", flags.concurrency)
		})
	}
}

// slowCalls have flags of a sandbox and of replay, by --bulk. A replay goes on for long enough to be killed.
var slowCalls = map[string]struct{ latency, concurrency string }{"1": {"3ms", "8"}, "100": {"30ms", "3"}}

func killReplay(t *testing.T, want *archivetest.Expectation, latency, dir string, flags ...string) {
	sandbox := startSandbox(t, "--latency", latency)
	// An event without a key cannot be sent exactly once.
	env := append(replayEnv(sandbox, t.TempDir()), "UNKEYED_AMBIGUOUS=dead")
	total := want.Outcomes["delivered"]
	flags = append([]string{"replay", "--progress", "json"}, flags...)
	args := append(slices.Clone(flags), "--identify", "none", dir)
	for kill := 1; kill <= 10; kill++ {
		p := start(t, env, args...)
		p.stderr.await(t, `run 1: `)
		for get[struct{ EventsAccepted int }](t, sandbox+"/_sandbox/stats").EventsAccepted < kill*total/11 {
			select {
			case err := <-p.exited:
				t.Fatalf("the replay ended before kill %d: %v", kill, err)
			case <-time.After(5 * time.Millisecond):
			}
		}
		if err := p.Process.Signal(syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		<-p.exited
		args = append(slices.Clone(flags), "--resume", "1")
	}
	_, report := runReplay(t, env, nil, "--resume", "1")
	isBulk := !slices.Contains(flags, "1")
	if calls := get[struct{ BulkCalls int }](t, sandbox+"/_sandbox/stats").BulkCalls; calls > 0 != isBulk {
		t.Errorf("%d bulk calls", calls)
	}
	received := arrivedKeys(t, sandbox)
	unkeyed := 0
	for key, n := range received {
		if _, keyed := want.Keys[key]; keyed {
			continue
		}
		if unkeyed += n; !strings.HasPrefix(key, "/") {
			t.Errorf("event %s should not have arrived", key)
		}
	}
	for key := range want.Keys {
		if received[key] != 1 {
			t.Errorf("event %s arrived %d times", key, received[key])
		}
	}
	outcomes := report.byOutcome()
	if unkeyed > want.Unkeyed || outcomes["skipped"] != want.Outcomes["skipped"] ||
		outcomes["rejected"] != want.Outcomes["rejected"] || outcomes["pending"] != 0 ||
		outcomes["delivered"]+outcomes["duplicate"]+outcomes["dead"] !=
			want.Outcomes["delivered"]+want.Outcomes["duplicate"] {
		t.Errorf("%d of %d events without a key arrived; outcomes %v, want %v", unkeyed, want.Unkeyed,
			outcomes, want.Outcomes)
	}
	checkConservation(t, env)
}

// TestReplayInterrupted interrupts a replay with one signal.
func TestReplayInterrupted(t *testing.T) {
	t.Parallel()
	made, want := makeArchive(archivetest.Options{EventsPerDay: 400, Clean: true})
	dir := t.TempDir()
	made.WriteDir(t, dir)
	sandbox := startSandbox(t)
	env := replayEnv(sandbox, t.TempDir())
	p := start(t, env, "replay", "--progress", "json", "--rate", "200", "--identify", "none", dir)
	p.stderr.await(t, `"delivered":\d`)
	if err := p.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if code := p.wait(); code != exitInterrupted {
		t.Errorf("exit code %d", code)
	}
	if text := p.stderr.String(); !strings.Contains(text, "go on with: segment-saasquatch replay --resume 1") {
		t.Errorf("no word of how to go on:\n%s", text)
	}
	listing := start(t, env, "replay", "list")
	if code := listing.wait(); code != exitOK || !strings.Contains(listing.stdout.String(), "to be resumed") {
		t.Errorf("exit code %d:\n%s%s", code, &listing.stdout, &listing.stderr)
	}
	_, report := runReplay(t, env, nil, "--resume", "1")
	compare(t, want, arrivedKeys(t, sandbox), report.byOutcome())
	listing = start(t, env, "replay", "list")
	if code := listing.wait(); code != exitOK || !strings.Contains(listing.stdout.String(), "at its end") {
		t.Errorf("exit code %d:\n%s", code, &listing.stdout)
	}
}

// TestReplayThroughServer replays an archive through a server with live traffic on the same store.
func TestReplayThroughServer(t *testing.T) {
	t.Parallel()
	made, want := makeArchive(archivetest.Options{EventsPerDay: 500, Clean: true})
	dir := t.TempDir()
	made.WriteDir(t, dir)
	sandbox := startSandbox(t)
	data := t.TempDir()
	s := startDurable(t, sandbox, data, "ADMIN_LISTEN_ADDR=127.0.0.1:0", "ADMIN_TOKEN="+adminToken)
	admin := "http://" + s.stderr.await(t, `"msg":"admin","address":"([^"]+)"`)[1]
	env := replayEnv(sandbox, data)

	p := start(t, env, "replay", dir)
	if code := p.wait(); code != exitFailed || !strings.Contains(p.stderr.String(), "--server http://") {
		t.Errorf("a store in use: exit code %d\n%s", code, &p.stderr)
	}
	load := startLoad(t, 2, 10, s.url)
	_, report := runReplay(t, env, nil, "--server", admin, "--yes", "--identify", "none", dir)
	acknowledged := load.finish()
	awaitDrained(t, env, 20*time.Second)
	received := arrivedKeys(t, sandbox)
	for both := range acknowledged {
		key, _, _ := strings.Cut(both, "/")
		if received[key] != 1 {
			t.Errorf("live event %s arrived %d times", key, received[key])
		}
		delete(received, key)
	}
	if len(acknowledged) == 0 {
		t.Error("there was no live traffic")
	}
	compare(t, want, received, report.byOutcome())
	_, again := runReplay(t, env, nil, "--server", admin, "--yes", "--dry-run", "--identify", "none", dir)
	if again.Requests != 0 {
		t.Errorf("%d requests are foreseen for what was replayed", again.Requests)
	}
	if _, resumed := runReplay(t, env, nil, "--server", admin, "--yes", "--resume",
		"1"); fmt.Sprint(resumed.Outcomes) != fmt.Sprint(report.Outcomes) {
		t.Errorf("resumed: %v, want %v", resumed.Outcomes, report.Outcomes)
	}
}

// TestReplayFailures writes the events that SaaSquatch refuses, and replays that file.
func TestReplayFailures(t *testing.T) {
	t.Parallel()
	made, want := makeArchive(archivetest.Options{EventsPerDay: 200, Clean: true})
	dir := t.TempDir()
	made.WriteDir(t, dir)
	strict := startSandbox(t, "--users", "known")
	file := filepath.Join(t.TempDir(), "failures.ndjson")
	_, report := runReplay(t, replayEnv(strict, t.TempDir()), nil, "--config", neverUpsert(t), "--failures", file,
		"--identify", "none", dir)
	// A second line of an event finds the first one pending or dead.
	got, sent := report.byOutcome(), want.Outcomes["delivered"]
	if got["dead"]+got["duplicate"] != sent+want.Outcomes["duplicate"] || got["dead"] < sent {
		t.Errorf("outcomes %+v", report.Outcomes)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if n := bytes.Count(text, []byte("\n")); n != report.byOutcome()["dead"]+report.byOutcome()["rejected"] {
		t.Errorf("%d failures", n)
	}
	easy := startSandbox(t)
	runReplay(t, replayEnv(easy, t.TempDir()), nil, file)
	received := arrivedKeys(t, easy)
	for key := range want.Keys {
		if received[key] != 1 {
			t.Errorf("event %s arrived %d times", key, received[key])
		}
	}
}

// TestReplayImport replays by import jobs. One job is aborted, and some records are refused.
func TestReplayImport(t *testing.T) {
	t.Parallel()
	made, want := makeArchive(archivetest.Options{EventsPerDay: 600, Clean: true})
	dir := t.TempDir()
	made.WriteDir(t, dir)
	sandbox := startSandbox(t, "--abort-job", "1", "--refuse-records", "2%:400", "--job-time", "300ms",
		"--record-base", "0")
	env := append(replayEnv(sandbox, t.TempDir()), "UNKEYED_AMBIGUOUS=dead")
	code, report := runReplay(t, env, nil, "--via", "import", dir)
	received := arrivedKeys(t, sandbox)
	reasons := make(map[string]int)
	for _, tally := range report.Outcomes {
		reasons[tally.Outcome+" "+tally.Reason] = tally.Events
	}
	if code != exitFailed || reasons["dead refused"] == 0 || reasons["duplicate conflict_after_failure"] == 0 ||
		reasons["dead unkeyed_ambiguous"] == 0 || reasons["pending "] != 0 {
		t.Errorf("exit code %d: %v", code, reasons)
	}
	missing := 0
	for key := range want.Keys {
		switch received[key] {
		case 0:
			missing++
		case 1:
		default:
			t.Errorf("event %s arrived %d times", key, received[key])
		}
	}
	if missing > reasons["dead refused"] {
		t.Errorf("%d events did not arrive, and %d were refused", missing, reasons["dead refused"])
	}
	if len(report.Jobs) != 1 || report.Jobs[0].Status != "COMPLETED" || report.Jobs[0].ID == "" ||
		report.Jobs[0].Failed == 0 || report.Jobs[0].Events <= report.Jobs[0].Failed {
		t.Errorf("jobs %+v", report.Jobs)
	}
	stats := get[struct {
		Jobs struct{ Completed, Aborted int }
	}](t, sandbox+"/_sandbox/stats")
	if stats.Jobs.Completed != 1 || stats.Jobs.Aborted != 1 {
		t.Errorf("jobs %+v", stats.Jobs)
	}
	checkConservation(t, env)
}

// TestReplayImportFiles writes the files and sends nothing.
func TestReplayImportFiles(t *testing.T) {
	t.Parallel()
	made, want := makeArchive(archivetest.Options{EventsPerDay: 300, Clean: true})
	dir, out := t.TempDir(), filepath.Join(t.TempDir(), "out")
	made.WriteDir(t, dir)
	_, report := runReplay(t, nil, nil, "--via", "import", "--out", out, dir)
	text, err := os.ReadFile(filepath.Join(out, "events-0001.jsonl"))
	if err != nil || len(report.Files) != 1 {
		t.Fatal(err, report.Files)
	}
	keys := make(map[string]int)
	unkeyed := 0
	for line := range bytes.Lines(text) {
		var event struct{ IdempotencyKey string }
		if err := json.Unmarshal(line, &event); err != nil {
			t.Fatal(err)
		}
		if event.IdempotencyKey == "" {
			unkeyed++
			keys["none"]++
		} else {
			keys[event.IdempotencyKey]++
		}
	}
	compare(t, want, keys, nil)
}

// TestReplayUsage checks wrong command lines.
func TestReplayUsage(t *testing.T) {
	t.Parallel()
	sandboxed := []string{"SAASQUATCH_TENANT_ALIAS=" + sandboxTenant, "SAASQUATCH_API_KEY=" + sandboxKey}
	live := []string{"SAASQUATCH_TENANT_ALIAS=alive", "SAASQUATCH_API_KEY=LIVE_key", "DATA_DIR=" + t.TempDir()}
	events := filepath.Join(t.TempDir(), "events.ndjson")
	if err := os.WriteFile(events, []byte("{}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name string
		env  []string
		args []string
		want string
	}{
		{"no source", sandboxed, nil, "no source: name a file"},
		{"no tenant", nil, []string{events}, "saasquatch.tenant_alias"},
		{"share", sandboxed, []string{"--sample", "200%", events}, `--sample: "200%" is not a share`},
		{"time", sandboxed, []string{"--since", "soon", events}, `--since: "soon" is not a time`},
		{"order", sandboxed, []string{"--from", "2026-11-02", "--to", "2026-11-01", events}, "exchange them"},
		{"expression", sandboxed, []string{"--where", "event =", events}, "--where: "},
		{"via", sandboxed, []string{"--via", "mail", events}, `via is "mail"`},
		{"out", sandboxed, []string{"--out", "x", events}, "--out needs --via import"},
		{"bulk of nothing", sandboxed, []string{"--bulk", "0", events}, "--bulk is 0: write a number of events"},
		{"bulk, too high", sandboxed, []string{"--bulk", "101", events}, "--bulk is 101: write a number of events"},
		{"bulk of a server", sandboxed, []string{"--bulk", "1", "--server", "http://127.0.0.1:1", events},
			"--bulk and --server exclude each other"},
		{"bulk of import jobs", sandboxed, []string{"--bulk", "9", "--via", "import", events},
			"--bulk and --via import exclude each other"},
		{"resumed", sandboxed, []string{"--resume", "1", "--event", "x"}, "--event cannot be changed"},
		{"sources of a resumed run", sandboxed, []string{"--resume", "1", events}, "leave out " +
			regexp.QuoteMeta(events)},
		{"users", sandboxed, []string{"--user-file", "none", events}, "--user-file: "},
		{"connection", sandboxed, []string{"--connection", "x", events}, `--connection "x"`},
		{"live", live, []string{events}, "add --yes to do it, or --dry-run"},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := start(t, test.env, append([]string{"replay"}, test.args...)...)
			if code := p.wait(); code != exitUsage || !regexp.MustCompile(test.want).MatchString(p.stderr.String()) {
				t.Errorf("exit code %d:\n%s", code, &p.stderr)
			}
		})
	}
	p := start(t, append(sandboxed, "DATA_DIR="+t.TempDir()), "replay", filepath.Join(t.TempDir(), "nothing"))
	if code := p.wait(); code != exitFailed {
		t.Errorf("a source that is not there: exit code %d:\n%s", code, &p.stderr)
	}
}

// TestReplayUsers replays an archive to a SaaSquatch without users. Replay creates the users with their newest
// profiles in the archive.
func TestReplayUsers(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	at := func(hour int) string {
		return time.Now().Add(-time.Duration(hour) * time.Hour).UTC().Format(time.RFC3339)
	}
	lines := fmt.Sprintf(`{"type":"track","userId":"u-1","event":"Signed Up","messageId":"message-1","timestamp":%q}
{"type":"identify","userId":"u-1","messageId":"message-2","timestamp":%q,"traits":{"firstName":"Newest"}}
{"type":"identify","userId":"u-1","messageId":"message-3","timestamp":%q,"traits":{"firstName":"Old"}}
{"type":"track","userId":"u-2","event":"Signed Up","messageId":"message-4","timestamp":%q}
`, at(9), at(1), at(5), at(9))
	if err := os.WriteFile(filepath.Join(dir, "events.ndjson"), []byte(lines), 0o600); err != nil {
		t.Fatal(err)
	}
	sandbox := startSandbox(t, "--users", "known")
	env := replayEnv(sandbox, t.TempDir())
	code, report := runReplay(t, env, nil, dir)
	if got := report.byOutcome(); code != exitOK || got["delivered"] != 3 || got["skipped"] != 1 {
		t.Errorf("exit code %d: %+v", code, report.Outcomes)
	}
	request, err := http.NewRequest(http.MethodGet, sandbox+"/api/v1/"+sandboxTenant+"/open/account/u-1/user/u-1", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.SetBasicAuth("", sandboxKey)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var user struct{ FirstName string }
	if err := json.NewDecoder(response.Body).Decode(&user); err != nil || user.FirstName != "Newest" {
		t.Errorf("the user is %+v, %v", user, err)
	}
}

// TestReplayExport replays an export of another store.
func TestReplayExport(t *testing.T) {
	sandbox, dir := startSandbox(t), t.TempDir()
	s := startDurable(t, sandbox, dir, "SAASQUATCH_API_KEY=TEST_wrong-key")
	body, want := sampleBatch(t, 20)
	if got := post(t, s.url, testSecret, body, body); got.Status != http.StatusOK {
		t.Fatalf("got %+v", got)
	}
	if err := s.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	s.wait()
	exported := filepath.Join(t.TempDir(), "pending.ndjson")
	if code, _, stderr := deliveries(t, []string{"DATA_DIR=" + dir}, "export", "--out", exported); code != exitOK {
		t.Fatalf("export: exit code %d: %s", code, stderr)
	}
	code, report := runReplay(t, replayEnv(sandbox, t.TempDir()), nil, "--yes", exported)
	if got := report.byOutcome(); code != exitOK || got["delivered"] != 20 {
		t.Errorf("exit code %d, %+v", code, got)
	}
	checkArrived(t, sandbox, want)
}
