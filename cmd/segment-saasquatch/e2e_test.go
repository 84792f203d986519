package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// binary is the built program, shared by all tests.
var binary string

func TestMain(m *testing.M) {
	if latency, ok := os.LookupEnv(sinkEnv); ok {
		runSink(latency)
	}
	os.Exit(testMain(m))
}

func testMain(m *testing.M) int {
	dir, err := os.MkdirTemp("", "segment-saasquatch")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	binary = filepath.Join(dir, "segment-saasquatch")
	build := exec.Command("go", "build", "-tags", "nomsgpack", "-o", binary, ".")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build the program: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// needCommand skips the test if a program is not installed. In CI it fails the test.
func needCommand(t testing.TB, name string) {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("%s is not installed", name)
		}
		t.Skipf("SKIP: start %s with apt-get install %[1]s", name)
	}
}

// process is a running process of the built program.
type process struct {
	*exec.Cmd
	t      testing.TB
	stdout output
	stderr output
	exited chan error
}

// output collects the output of a process, and wakes the tests that wait for it.
type output struct {
	mu      sync.Mutex
	text    bytes.Buffer
	changed chan struct{}
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.text.Write(p)
	close(o.changed)
	o.changed = make(chan struct{})
	return len(p), nil
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// await waits until the output matches and returns the submatches.
func (o *output) await(t testing.TB, pattern string) []string {
	t.Helper()
	re := regexp.MustCompile(pattern)
	deadline := time.After(20 * time.Second)
	for {
		o.mu.Lock()
		found, changed := re.FindStringSubmatch(o.text.String()), o.changed
		o.mu.Unlock()
		if found != nil {
			return found
		}
		select {
		case <-changed:
		case <-deadline:
			t.Fatalf("no %q in the output:\n%s", pattern, o)
		}
	}
}

// awaitState calls look at each interval until it returns true. It is for the state of other processes, which send
// the test no notice of a change.
func awaitState(t testing.TB, timeout, interval time.Duration, look func() (reached bool, state string)) {
	t.Helper()
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for deadline := time.Now().Add(timeout); ; <-ticker.C {
		reached, state := look()
		if reached {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("after %v: %s", timeout, state)
		}
	}
}

// start starts the program. Its environment is env only.
func start(t testing.TB, env []string, args ...string) *process {
	t.Helper()
	return startCommand(t, env, exec.Command(binary, args...))
}

// startCommand starts the program through another program.
func startCommand(t testing.TB, env []string, command *exec.Cmd) *process {
	t.Helper()
	p := &process{Cmd: command, t: t, exited: make(chan error, 1)}
	p.stdout.changed, p.stderr.changed = make(chan struct{}), make(chan struct{})
	p.Env, p.Stdout, p.Stderr = append([]string{}, env...), &p.stdout, &p.stderr
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { p.exited <- p.Wait() }()
	t.Cleanup(func() {
		_ = p.Process.Kill()
		if t.Failed() {
			t.Logf("%v\nstdout:\n%.3000s\nstderr:\n%.6000s", command.Args[1:], &p.stdout, &p.stderr)
		}
	})
	return p
}

// wait waits for the end of the process and returns its exit code.
func (p *process) wait() int {
	p.t.Helper()
	select {
	case <-p.exited:
		return p.ProcessState.ExitCode()
	case <-time.After(30 * time.Second):
		p.t.Fatal("the process does not end")
		return -1
	}
}

// server is a serving process, and its sandbox.
type server struct {
	*process
	url, sandbox string
}

const testSecret = "the-shared-secret"

// startSandbox starts the sandbox command and returns its URL.
func startSandbox(t testing.TB, args ...string) string {
	t.Helper()
	p := start(t, nil, append([]string{"sandbox", "--listen-addr", "127.0.0.1:0", "--users", "any"}, args...)...)
	return p.stdout.await(t, `base URL SAASQUATCH_BASE_URL=(\S+)\n`)[1]
}

// startServer starts a server in front of a sandbox. Unless env says otherwise it uses direct delivery, so that the
// answer has the outcomes.
func startServer(t *testing.T, sandbox string, env []string, args ...string) *server {
	t.Helper()
	return serving(t, sandbox, start(t, serverEnv(sandbox, env), append([]string{"serve"}, args...)...))
}

// serving waits until the process serves.
func serving(t testing.TB, sandbox string, p *process) *server {
	t.Helper()
	address := p.stderr.await(t, `"msg":"serving","address":"([^"]+)"`)[1]
	return &server{process: p, url: "http://" + address + "/segment", sandbox: sandbox}
}

// serverEnv returns the environment for startServer.
func serverEnv(sandbox string, env []string) []string {
	return append([]string{
		"LISTEN_ADDR=127.0.0.1:0",
		"ADMIN_LISTEN_ADDR=none",
		"DELIVERY=direct",
		"SEGMENT_SHARED_SECRET=" + testSecret,
		"SAASQUATCH_TENANT_ALIAS=" + sandboxTenant,
		"SAASQUATCH_API_KEY=" + sandboxKey,
		"SAASQUATCH_BASE_URL=" + sandbox,
	}, env...)
}

// reply is an answer of the webhook.
type reply struct {
	Status  int
	Message string         `json:"message"`
	Counts  map[string]int `json:"counts"`
	Results []struct {
		Outcome string `json:"outcome"`
		Reason  string `json:"reason"`
	} `json:"results"`
}

// post sends a body, signed over the bytes of signed.
func post(t *testing.T, url, secret string, body, signed []byte) reply {
	t.Helper()
	status, text := postSigned(t, url, secret, body, signed)
	r := reply{Status: status}
	if err := json.Unmarshal(text, &r); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return r
}

// postRaw sends a signed body and returns the text of the answer.
func postRaw(t *testing.T, url, secret string, body []byte) string {
	t.Helper()
	_, text := postSigned(t, url, secret, body, body)
	return string(text)
}

func postSigned(t testing.TB, url, secret string, body, signed []byte) (status int, answer []byte) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("X-Signature", sign(secret, signed))
	request.Close = true // as Segment does
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	answer, err = io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, answer
}

// get reads JSON from a URL.
func get[T any](t testing.TB, url string) (value T) {
	t.Helper()
	response, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if err := json.NewDecoder(response.Body).Decode(&value); err != nil {
		t.Fatal(err)
	}
	return value
}

// arrivedEvent is an event at the sandbox.
type arrivedEvent struct {
	IdempotencyKey, UserID string
	Fields                 struct{ ID string }
}

// arrivedEvents returns the events at the sandbox in the order of their arrival.
func arrivedEvents(t *testing.T, sandbox string) (events []arrivedEvent) {
	t.Helper()
	request, err := http.NewRequest(http.MethodGet, sandbox+"/_sandbox/events?limit=100000", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Accept", "application/x-ndjson")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	lines := bufio.NewScanner(response.Body)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var event arrivedEvent
		if err := json.Unmarshal(lines.Bytes(), &event); err != nil {
			t.Fatal(err)
		}
		events = append(events, event)
	}
	return events
}

// arrived returns how often each idempotency key arrived at the sandbox.
func arrived(t *testing.T, sandbox string) map[string]int {
	t.Helper()
	count := make(map[string]int)
	for _, event := range arrivedEvents(t, sandbox) {
		count[event.IdempotencyKey+"/"+event.UserID]++
	}
	return count
}

// sampleBatch returns an array of n events and their messageIds and users.
func sampleBatch(t testing.TB, n int) (body []byte, want map[string]int) {
	t.Helper()
	want = make(map[string]int, n)
	events := make([][]byte, n)
	for i := range events {
		event, err := sampleEvent("Order Completed", fmt.Sprintf("user-%d", i), time.Now())
		if err != nil {
			t.Fatal(err)
		}
		var ids struct{ MessageID, UserID string }
		if err := json.Unmarshal(event, &ids); err != nil {
			t.Fatal(err)
		}
		want[ids.MessageID+"/"+ids.UserID]++
		events[i] = event
	}
	return append(append([]byte("["), bytes.Join(events, []byte(","))...), ']'), want
}

func checkArrived(t *testing.T, sandbox string, want map[string]int) {
	t.Helper()
	got := arrived(t, sandbox)
	if len(got) != len(want) {
		t.Errorf("%d events arrived, want %d", len(got), len(want))
	}
	for key := range want {
		if got[key] != 1 {
			t.Errorf("event %s arrived %d times", key, got[key])
		}
	}
}

// TestQuickStart runs serve --sandbox, as README.md does, and then the commands that it prints.
func TestQuickStart(t *testing.T) {
	t.Parallel()
	needCommand(t, "curl")
	p := start(t, []string{"TMPDIR=" + t.TempDir(), "ADMIN_LISTEN_ADDR=none"}, "serve", "--sandbox",
		"--listen-addr", "127.0.0.1:0")
	p.stdout.await(t, `Ctrl-C ends it`)
	printed := p.stdout.String()
	curl := regexp.MustCompile(`(?s)curl .*?\n\n`).FindString(printed)
	for _, want := range []string{`"message":"pending"`, `"message":"duplicate"`, `"message":"duplicate"`} {
		out, err := exec.CommandContext(t.Context(), "sh", "-c", curl).CombinedOutput()
		if err != nil || !strings.Contains(string(out), want) {
			t.Fatalf("%s\n%v: %s", curl, err, out)
		}
	}
	command := strings.Fields(regexp.MustCompile(`segment-saasquatch (send .*)`).FindStringSubmatch(printed)[1])
	if code, out, stderr := runCommand(t, "", command...); code != exitOK ||
		!strings.Contains(out, "100 events: 100 pending") {
		t.Errorf("%v: exit code %d %s %s", command, code, out, stderr)
	}
	p.stderr.await(t, `"outcome":"delivered"`)
	if err := p.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if code := p.wait(); code != 0 {
		t.Errorf("exit code %d after Ctrl-C", code)
	}
}

func TestConfiguredSecretIsNotPrinted(t *testing.T) {
	t.Parallel()
	p := start(t, []string{"SEGMENT_SHARED_SECRET=" + testSecret, "ADMIN_LISTEN_ADDR=none"}, "serve", "--sandbox",
		"--listen-addr", "127.0.0.1:0")
	p.stdout.await(t, `Ctrl-C ends it`)
	if out := p.stdout.String() + p.stderr.String(); strings.Contains(out, testSecret) ||
		!strings.Contains(out, "/segment\n") {
		t.Errorf("got\n%s", out)
	}
}

func TestSingleAndBatchAndReplay(t *testing.T) {
	t.Parallel()
	s := startServer(t, startSandbox(t), nil)
	event, err := sampleEvent("Signed Up", "user-x", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"delivered", "duplicate"} {
		if got := post(t, s.url, testSecret, event, event); got.Status != 200 || got.Message != want {
			t.Errorf("single event, time %d: %+v", i+1, got)
		}
	}
	batch, want := sampleBatch(t, 1000)
	for i, outcome := range []string{"delivered", "duplicate"} {
		if got := post(t, s.url, testSecret, batch, batch); got.Status != 200 || got.Counts[outcome] != 1000 {
			t.Errorf("batch, time %d: %+v", i+1, got)
		}
	}
	var ids struct{ MessageID, UserID string }
	if err := json.Unmarshal(event, &ids); err != nil {
		t.Fatal(err)
	}
	want[ids.MessageID+"/"+ids.UserID] = 1
	checkArrived(t, s.sandbox, want)

	if got := post(t, s.url, "another-secret", batch, batch); got.Status != 401 {
		t.Errorf("wrong signature: %+v", got)
	}
	first := batch[1 : bytes.Index(batch, []byte(`},{"type"`))+1]
	if got := post(t, s.url, testSecret, batch, first); got.Status != 401 ||
		!strings.Contains(got.Message, "allow_first_element_signature") {
		t.Errorf("signature of the first event alone: %+v", got)
	}
	for _, secret := range []string{testSecret, sandboxKey} {
		if strings.Contains(s.stderr.String(), secret) {
			t.Errorf("the log holds the secret %s", secret)
		}
	}
	if strings.Contains(s.stderr.String(), "user-x") {
		t.Error("the log holds a user")
	}
}

func TestFirstElementSignature(t *testing.T) {
	t.Parallel()
	s := startServer(t, startSandbox(t), []string{"ALLOW_FIRST_ELEMENT_SIGNATURE=true"})
	s.stderr.await(t, `"level":"warn".*allow_first_element_signature`)
	code, out, stderr := runCommand(t, "", "send", "--to", s.url, "--secret", testSecret, "--batch", "3",
		"--sign-first-element")
	if code != exitOK || !strings.Contains(out, "3 events: 3 delivered") {
		t.Errorf("exit code %d %s %s", code, out, stderr)
	}
}

// TestNoUserIDReachesAnotherEndpoint sends hostile userIds and checks the paths of all requests to SaaSquatch.
func TestNoUserIDReachesAnotherEndpoint(t *testing.T) {
	t.Parallel()
	s := startServer(t, startSandbox(t), nil)
	for id, want := range map[string]string{
		"../../../x": "delivered", "..": "rejected", ".": "rejected", "a/../../b": "delivered", "%2e%2e": "delivered",
		"x?y#z": "delivered", "a b+c": "delivered", `a\..\b`: "delivered",
	} {
		quoted, err := json.Marshal(id)
		if err != nil {
			t.Fatal(err)
		}
		event := fmt.Appendf(nil, `{"type":"track","userId":%s,"event":"x","messageId":"%032x"}`, quoted, id)
		if got := post(t, s.url, testSecret, event, event); got.Status != 200 || got.Message != want {
			t.Errorf("%q: %+v", id, got)
		}
	}
	stats := get[struct{ UnexpectedRequests, EventsAccepted int }](t, s.sandbox+"/_sandbox/stats")
	if stats.UnexpectedRequests != 0 || len(arrived(t, s.sandbox)) != 6 {
		t.Errorf("got %+v, %v", stats, arrived(t, s.sandbox))
	}
}

// TestFaultsAndRedelivery sends a batch until it is accepted, as Segment does, while SaaSquatch fails before and
// after processing.
func TestFaultsAndRedelivery(t *testing.T) {
	t.Parallel()
	sandbox := startSandbox(t, "--fail", "5%:503", "--fail", "2%:500:after", "--fail", "1%:429:retry-after=1s",
		"--reset", "2%", "--timeout", "0.2%", "--latency", "2ms")
	s := startServer(t, sandbox, []string{"ANSWER_BUDGET=1s"})
	batch, want := sampleBatch(t, 1000)
	accepted := false
	for range 30 {
		got := post(t, s.url, testSecret, batch, batch)
		if got.Status == 200 {
			accepted = got.Counts["pending"] == 0 && got.Counts["delivered"]+got.Counts["duplicate"] == 1000
			break
		}
		if got.Status != 503 {
			t.Fatalf("got %+v", got)
		}
	}
	if !accepted {
		t.Fatal("the batch was never accepted")
	}
	checkArrived(t, sandbox, want)
	s.stderr.await(t, "conflict_after_failure")
}

// neverUpsert returns a configuration file under which track events create no users.
func neverUpsert(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(file, []byte("users:\n  from_track: never\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestUnknownUserIsDead(t *testing.T) {
	t.Parallel()
	p := start(t, nil, "sandbox", "--listen-addr", "127.0.0.1:0")
	sandbox := p.stdout.await(t, `base URL SAASQUATCH_BASE_URL=(\S+)\n`)[1]
	s := startServer(t, sandbox, nil, "--config", neverUpsert(t))
	event := []byte(`{"type":"track","userId":"new","event":"x","messageId":"12345678"}`)
	if got := post(t, s.url, testSecret, event, event); got.Status != 200 || got.Results[0].Outcome != "dead" ||
		got.Results[0].Reason != "user_not_found" {
		t.Errorf("got %+v", got)
	}
	request, err := http.NewRequest(http.MethodPut, sandbox+"/api/v1/"+sandboxTenant+"/open/account/new/user/new",
		strings.NewReader(`{"id":"new","accountId":"new"}`))
	if err != nil {
		t.Fatal(err)
	}
	request.SetBasicAuth("", sandboxKey)
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if got := post(t, s.url, testSecret, event, event); got.Message != "delivered" {
		t.Errorf("after the upsert: %+v", got)
	}
}

// TestWrongKeyIsNotTheEventsFault checks the outcomes under a wrong API key and a wrong tenant.
func TestWrongKeyIsNotTheEventsFault(t *testing.T) {
	t.Parallel()
	sandbox := startSandbox(t)
	for setting, reason := range map[string]string{"SAASQUATCH_API_KEY=TEST_wrong-key": "unauthorized",
		"SAASQUATCH_TENANT_ALIAS=test_other": "tenant_not_found"} {
		s := startServer(t, sandbox, []string{setting})
		batch, _ := sampleBatch(t, 200)
		if got := post(t, s.url, testSecret, batch, batch); got.Status != 503 || got.Counts["pending"] != 200 ||
			got.Results[0].Reason != reason {
			t.Errorf("%s: %+v", setting, got)
		}
		s.stderr.await(t, `"level":"error".*"reason":"`+reason)
		if strings.Contains(s.stderr.String(), "TEST_wrong-key") {
			t.Error("the log holds the API key")
		}
	}
	if stats := get[struct{ Requests int }](t, sandbox+"/_sandbox/stats"); stats.Requests > 2*(64+2) {
		t.Errorf("%d requests with a wrong configuration", stats.Requests)
	}
}

func TestSaaSquatchIsDown(t *testing.T) {
	t.Parallel()
	s := startServer(t, "http://127.0.0.1:1", []string{"ANSWER_BUDGET=300ms"})
	batch, _ := sampleBatch(t, 50)
	got := post(t, s.url, testSecret, batch, batch)
	if got.Status != 503 || got.Counts["pending"] != 50 {
		t.Errorf("got %+v", got)
	}
	// On a busy machine the last attempts may still be in flight.
	reasons := make(map[string]int)
	for _, result := range got.Results {
		reasons[result.Reason]++
	}
	if reasons["network_error"] == 0 || reasons["network_error"]+reasons["budget_exceeded"] != len(got.Results) {
		t.Errorf("got reasons %v", reasons)
	}
}

// TestDrain ends the server during a request.
func TestDrain(t *testing.T) {
	t.Parallel()
	sandbox := startSandbox(t, "--latency", "1500ms")
	s := startServer(t, sandbox, []string{"SHUTDOWN_DELAY=1s"})
	base := strings.TrimSuffix(s.url, "/segment")
	if response, err := http.Get(base + "/readyz"); err != nil || response.StatusCode != 200 {
		t.Fatalf("ready: %v %v", response, err)
	}
	event, err := sampleEvent("Signed Up", "user", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	answer := make(chan reply)
	go func() { answer <- post(t, s.url, testSecret, event, event) }()
	awaitStats(t, sandbox, 1)
	if err := s.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	s.stderr.await(t, "not ready, still accepts requests")
	if response, err := http.Get(base + "/readyz"); err != nil || response.StatusCode != 503 {
		t.Errorf("ready while stopping: %v %v", response, err)
	}
	if got := <-answer; got.Status != 200 || got.Message != "delivered" {
		t.Errorf("the request under way: %+v", got)
	}
	if code := s.wait(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if _, err := http.Get(base + "/healthz"); err == nil {
		t.Error("still listening")
	}
}

// awaitStats waits until the sandbox has seen this number of requests.
func awaitStats(t *testing.T, sandbox string, requests int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for get[struct{ Requests int }](t, sandbox+"/_sandbox/stats").Requests < requests {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatal("the request does not arrive")
		}
	}
}

func TestSecondSignalEndsAtOnce(t *testing.T) {
	t.Parallel()
	sandbox := startSandbox(t, "--latency", "30s")
	s := startServer(t, sandbox, []string{"ANSWER_BUDGET=50s", "SAASQUATCH_ATTEMPT_TIMEOUT=50s"})
	event := []byte(`{"type":"track","userId":"u","event":"x","messageId":"12345678"}`)
	go func() {
		request, _ := http.NewRequest(http.MethodPost, s.url, bytes.NewReader(event))
		request.Header.Set("X-Signature", sign(testSecret, event))
		if response, err := http.DefaultClient.Do(request); err == nil {
			response.Body.Close()
		}
	}()
	awaitStats(t, sandbox, 1)
	_ = s.Process.Signal(os.Interrupt)
	s.stderr.await(t, "waits for the requests in flight")
	_ = s.Process.Signal(os.Interrupt)
	if code := s.wait(); code != exitInterrupted {
		t.Errorf("exit code %d", code)
	}
}

// TestConnections runs a test and a live tenant side by side from a file.
func TestConnections(t *testing.T) {
	t.Parallel()
	one := startSandbox(t, "--tenant", "test_one", "--api-key", "TEST_key-one")
	two := startSandbox(t, "--tenant", "two", "--api-key", "LIVE_key-two")
	file := filepath.Join(t.TempDir(), "config.yaml")
	config := fmt.Sprintf(`listen_addr: 127.0.0.1:0
admin: {listen_addr: none}
delivery: direct
connections:
  - name: test
    path: /segment/test
    segment: {shared_secret: secret-of-test}
    saasquatch: {tenant_alias: test_one, api_key: TEST_key-one, base_url: %q}
  - name: live
    path: /segment/live
    segment: {bearer_token: token-of-live}
    saasquatch: {tenant_alias: two, api_key: LIVE_key-two, base_url: %q}
    events: {keys: {Order Completed: order}}
`, one, two)
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	p := start(t, nil, "serve", "--config", file)
	base := "http://" + p.stderr.await(t, `"msg":"serving","address":"([^"]+)"`)[1]
	for _, args := range [][]string{
		{"send", "--to", base + "/segment/test", "--secret", "secret-of-test"},
		{"send", "--to", base + "/segment/live", "--bearer-token", "token-of-live"},
	} {
		if code, out, stderr := runCommand(t, "", args...); code != exitOK ||
			!strings.Contains(out, `"message":"delivered"`) {
			t.Errorf("%v: exit code %d %s %s", args, code, out, stderr)
		}
	}
	if code, _, _ := runCommand(t, "", "send", "--to", base+"/segment/live", "--secret",
		"secret-of-test"); code != exitFailed {
		t.Errorf("one connection's secret opens the other: exit code %d", code)
	}
	for sandbox, key := range map[string]string{one: "purchase", two: "order"} {
		response, err := http.Get(sandbox + "/_sandbox/events")
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil || !strings.Contains(string(text), `"key":"`+key+`"`) || len(arrived(t, sandbox)) != 1 {
			t.Errorf("%s: %v %s", key, err, text)
		}
	}
}

func TestWrongConfigurations(t *testing.T) {
	t.Parallel()
	busy := startServer(t, "http://127.0.0.1:1", nil)
	address := strings.TrimSuffix(strings.TrimPrefix(busy.url, "http://"), "/segment")
	valid := []string{"SEGMENT_SHARED_SECRET=" + testSecret, "SAASQUATCH_TENANT_ALIAS=test_x",
		"SAASQUATCH_API_KEY=TEST_x-and-more"}
	for name, test := range map[string]struct {
		env  []string
		args []string
		code int
		want []string
	}{
		"nothing": {nil, nil, exitUsage, []string{"segment.shared_secret", "tenant_alias", "api_key",
			"SAASQUATCH_API_KEY"}},
		"plain http": {append(valid[:3:3], "SAASQUATCH_BASE_URL=http://example.com"), nil, exitUsage,
			[]string{"saasquatch.base_url", "https"}},
		"test and live": {append(valid[:2:2], "SAASQUATCH_API_KEY=LIVE_x-and-more"), nil,
			exitUsage, []string{"LIVE_"}},
		"delivery": {append(valid[:3:3], "DELIVERY=fast"), nil, exitUsage, []string{"durable or direct"}},
		"no data dir": {append(valid[:3:3], "DATA_DIR=/proc/none/data"), nil, exitFailed,
			[]string{"make the data directory"}},
		"data in a file": {append(valid[:3:3], "DATA_DIR=/dev/null/data"), nil, exitUsage,
			[]string{"data_dir", "is no directory"}},
		"store is wrong": {append(valid[:3:3], "STORE=mysql://user:x-and-more@host/db"), nil, exitUsage,
			[]string{"postgres://"}},
		"no store": {append(valid[:3:3], "STORE=postgres://user:x-and-more@127.0.0.1:1/db"), nil, exitFailed,
			[]string{"PostgreSQL runs"}},
		"admin in use": {append(valid[:3:3], "ADMIN_LISTEN_ADDR="+address, "DELIVERY=direct"), nil, exitFailed,
			[]string{"admin.listen_addr"}},
		"no such flag": {valid, []string{"--listen-adr", ":1"}, exitUsage, []string{"--listen-adr"}},
		"address in use": {append(valid[:3:3], "DELIVERY=direct", "ADMIN_LISTEN_ADDR=none"),
			[]string{"--listen-addr", address}, exitFailed, []string{"address already in use"}},
		"no certificate": {append(valid[:3:3], "TLS_CERT_FILE=/absent.pem"), nil, exitUsage, []string{"tls"}},
		"secret in flag": {valid, []string{"--saasquatch-api-key", "x"}, exitUsage, []string{"unknown flag"}},
	} {
		t.Run(name, func(t *testing.T) {
			p := start(t, test.env, append([]string{"serve"}, test.args...)...)
			if code := p.wait(); code != test.code {
				t.Errorf("exit code %d, want %d", code, test.code)
			}
			for _, want := range test.want {
				if !strings.Contains(p.stderr.String(), want) {
					t.Errorf("no %q in\n%s", want, &p.stderr)
				}
			}
			if strings.Contains(p.stderr.String(), "x-and-more") {
				t.Errorf("the error tells a secret:\n%s", &p.stderr)
			}
		})
	}
}

func TestCheckAndPrint(t *testing.T) {
	t.Parallel()
	env := []string{"SEGMENT_SHARED_SECRET=" + testSecret, "SAASQUATCH_TENANT_ALIAS=test_x",
		"SAASQUATCH_API_KEY=TEST_x-and-more"}
	p := start(t, env, "serve", "--check")
	if code := p.wait(); code != 0 || !strings.Contains(p.stdout.String(), "the configuration is valid") {
		t.Errorf("exit code %d: %s%s", code, &p.stdout, &p.stderr)
	}
	p = start(t, env, "config", "print")
	if code := p.wait(); code != 0 || !strings.Contains(p.stdout.String(), "tenant_alias: test_x") {
		t.Errorf("exit code %d: %s%s", code, &p.stdout, &p.stderr)
	}
	if out := p.stdout.String(); strings.Contains(out, testSecret) || strings.Contains(out, "x-and-more") {
		t.Errorf("config print tells a secret:\n%s", out)
	}
}

func TestExampleConfigurationServes(t *testing.T) {
	t.Parallel()
	args := []string{"serve", "--check", "--config", filepath.Join("..", "..", "testdata", "config", "example.yaml")}
	p := start(t, []string{"SEGMENT_SHARED_SECRET=" + testSecret, "SAASQUATCH_API_KEY=TEST_x-and-more"}, args...)
	if code := p.wait(); code != 0 || p.stderr.String() != "" {
		t.Errorf("exit code %d: %s", code, &p.stderr)
	}
	p = start(t, nil, args...)
	if code := p.wait(); code != exitUsage || strings.Count(p.stderr.String(), "is a placeholder") != 2 {
		t.Errorf("with its placeholders: exit code %d: %s", code, &p.stderr)
	}
}

func TestVersion(t *testing.T) {
	code, out, _ := runCommand(t, "", "version")
	if code != exitOK || !strings.HasPrefix(out, "segment-saasquatch ") {
		t.Errorf("exit code %d: %s", code, out)
	}
}
