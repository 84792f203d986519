package main

import (
	"bytes"
	cryptorand "crypto/rand"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// startDurable starts a server with its store in dir.
func startDurable(t *testing.T, sandbox, dir string, env ...string) *server {
	t.Helper()
	return startServer(t, sandbox, append([]string{"DELIVERY=durable", "DATA_DIR=" + dir}, env...))
}

// deliveries runs a deliveries command on the store in dir.
func deliveries(t testing.TB, env []string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	p := start(t, env, append([]string{"deliveries"}, args...)...)
	code = p.wait()
	return code, p.stdout.String(), p.stderr.String()
}

// checkConservation counts all rows of the store.
func checkConservation(t *testing.T, env []string) {
	t.Helper()
	if code, out, stderr := deliveries(t, env, "stats", "--verify"); code != exitOK {
		t.Errorf("stats --verify: exit code %d\n%s%s", code, out, stderr)
	}
}

// load is a sender like Segment that goes on until it is stopped. It sends each batch again until one of the
// servers accepts it.
type load struct {
	t    *testing.T
	urls atomic.Pointer[[]string]

	mu           sync.Mutex
	acknowledged map[string]int // by name, such as idempotency key and user
	changed      chan struct{}  // closed at the next acknowledgement

	stop    chan struct{}
	senders sync.WaitGroup
}

// startLoad starts a load of sample events.
func startLoad(t *testing.T, senders, batch int, urls ...string) *load {
	t.Helper()
	return startLoadOf(t, senders, func() batches {
		return func() ([]byte, map[string]int) { return sampleBatch(t, batch) }
	}, urls...)
}

// batches returns the next batch of a sender, and names of its events.
type batches func() (body []byte, want map[string]int)

func startLoadOf(t *testing.T, senders int, source func() batches, urls ...string) *load {
	l := &load{t: t, acknowledged: make(map[string]int), changed: make(chan struct{}), stop: make(chan struct{})}
	l.urls.Store(&urls)
	client := &http.Client{Timeout: 10 * time.Second}
	for range senders {
		next := source()
		l.senders.Go(func() {
			for l.pause() {
				body, want := next()
				for !l.post(client, body) {
					if !l.pause() {
						return // the batch was never acknowledged, so nothing is promised
					}
				}
				l.acknowledge(want)
			}
		})
	}
	return l
}

// pause is a real sender's pause between two requests. It returns false once the load is stopped.
func (l *load) pause() bool {
	select {
	case <-l.stop:
		return false
	case <-time.After(10 * time.Millisecond):
		return true
	}
}

func (l *load) acknowledge(events map[string]int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for key := range events {
		l.acknowledged[key]++
	}
	close(l.changed)
	l.changed = make(chan struct{})
}

func (l *load) post(client *http.Client, body []byte) bool {
	urls := *l.urls.Load()
	request, err := http.NewRequest(http.MethodPost, urls[rand.IntN(len(urls))], bytes.NewReader(body))
	if err != nil {
		l.t.Error(err)
		return false
	}
	request.Header.Set("X-Signature", sign(testSecret, body))
	request.Close = true
	response, err := client.Do(request)
	if err != nil {
		return false
	}
	response.Body.Close()
	return response.StatusCode == http.StatusOK
}

// awaitAcknowledged waits until this number of further events is acknowledged.
func (l *load) awaitAcknowledged(more int) {
	l.t.Helper()
	look := func() (int, chan struct{}) {
		l.mu.Lock()
		defer l.mu.Unlock()
		return len(l.acknowledged), l.changed
	}
	before, changed := look()
	deadline := time.After(time.Minute)
	for now := before; now < before+more; now, changed = look() {
		select {
		case <-changed:
		case <-deadline:
			l.t.Fatalf("%d events are acknowledged, and were %d a minute ago", now, before)
		}
	}
}

// finish stops the load and returns the acknowledged events.
func (l *load) finish() map[string]int {
	close(l.stop)
	l.senders.Wait()
	return l.acknowledged
}

// awaitDrained waits until no event is pending.
func awaitDrained(t testing.TB, env []string, timeout time.Duration) {
	t.Helper()
	awaitState(t, timeout, 200*time.Millisecond, func() (bool, string) {
		code, out, stderr := deliveries(t, env, "list", "--outcome", "pending", "--limit", "1", "--json")
		return code == exitOK && strings.TrimSpace(out) == "", "still pending: " + out + stderr
	})
}

// checkExactlyOnce compares the acknowledged events with those that arrived. An event without an acknowledgement may
// have arrived once, too.
func checkExactlyOnce(t *testing.T, sandbox string, acknowledged map[string]int) {
	t.Helper()
	got := arrived(t, sandbox)
	missing := 0
	for key := range acknowledged {
		if got[key] == 0 {
			missing++
		}
	}
	if missing > 0 {
		t.Errorf("%d of %d acknowledged events did not arrive", missing, len(acknowledged))
	}
	for key, n := range got {
		if n != 1 {
			t.Errorf("event %s arrived %d times", key, n)
		}
	}
	t.Logf("%d events acknowledged, %d arrived", len(acknowledged), len(got))
}

// faults are the faults of SaaSquatch in tests of crashes.
var faults = []string{"--fail", "5%:503", "--fail", "2%:503:after", "--reset", "3%", "--latency", "2ms"}

// TestFsyncBeforeTheAnswer traces the system calls of the server. Between a request and its answer there must be a
// call that writes the events to the disk.
func TestFsyncBeforeTheAnswer(t *testing.T) {
	t.Parallel()
	needCommand(t, "strace")
	s := startDurable(t, "http://127.0.0.1:1", t.TempDir())
	trace := filepath.Join(t.TempDir(), "trace")
	tracer := exec.Command("strace", "-f", "-s", "32", "-o", trace, "-e", "trace=fsync,fdatasync,write", "-p",
		fmt.Sprint(s.Process.Pid))
	stderr := &output{changed: make(chan struct{})}
	tracer.Stderr = stderr
	if err := tracer.Start(); err != nil {
		t.Fatal(err)
	}
	stderr.await(t, "attached")
	const requests = 50
	for i := range requests {
		event := fmt.Appendf(nil, `{"type":"track","userId":"u","event":"x","messageId":"message-%08d"}`, i)
		if got := post(t, s.url, testSecret, event, event); got.Status != http.StatusOK {
			t.Fatalf("got %+v", got)
		}
	}
	if err := tracer.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	_ = tracer.Wait() // strace ends with the signal
	text, err := os.ReadFile(trace)
	if err != nil {
		t.Fatal(err)
	}
	answers, synced, syncs := 0, 0, 0
	for line := range strings.Lines(string(text)) {
		switch {
		case regexp.MustCompile(`f(data)?sync.*= 0`).MatchString(line):
			synced++
			syncs++
		case strings.Contains(line, `"HTTP/1.1 200`):
			if answers++; synced == 0 {
				t.Errorf("answer %d was sent without a sync since the one before", answers)
			}
			synced = 0
		}
	}
	if answers != requests {
		t.Errorf("%d answers in the trace, want %d", answers, requests)
	}
	t.Logf("%d answers, %d syncs", answers, syncs)
}

// TestDiskFull fills a small disk, makes room again, and checks every acknowledged event.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	dir := smallDisk(t, 8)
	sandbox := startSandbox(t)
	env := []string{"DATA_DIR=" + filepath.Join(dir, "data")}
	s := startDurable(t, sandbox, filepath.Join(dir, "data"), "BACKLOG_MIN_FREE_DISK=0",
		"SAASQUATCH_API_KEY=TEST_wrong-key")
	acknowledged := make(map[string]int)
	full := reply{}
	for range 100 {
		body, want := sampleBatch(t, 500)
		if full = post(t, s.url, testSecret, body, body); full.Status != http.StatusOK {
			break
		}
		for key := range want {
			acknowledged[key]++
		}
	}
	if full.Status != http.StatusServiceUnavailable || !strings.Contains(full.Message, "disk is full") {
		t.Fatalf("got %+v", full)
	}
	s.stderr.await(t, `"level":"error".*disk is full`)
	ready := strings.TrimSuffix(s.url, "segment") + "readyz"
	if response, err := http.Get(ready); err != nil || response.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("ready with a full disk: %v %v", response, err)
	}
	if out, err := exec.Command("mount", "-o", "remount,size=256m", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	s.stderr.await(t, `the store works again`)
	body, want := sampleBatch(t, 500)
	if got := post(t, s.url, testSecret, body, body); got.Status != http.StatusOK {
		t.Errorf("with room again: %+v", got)
	}
	for key := range want {
		acknowledged[key]++
	}
	if err := s.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code := s.wait(); code != exitOK {
		t.Errorf("exit code %d", code)
	}
	checkConservation(t, env)

	startDurable(t, sandbox, filepath.Join(dir, "data"))
	awaitDrained(t, env, time.Minute)
	checkExactlyOnce(t, sandbox, acknowledged)
}

// TestStoreInUse starts a second process on the store of the first.
func TestStoreInUse(t *testing.T) {
	t.Parallel()
	sandbox, dir := startSandbox(t), t.TempDir()
	first := startDurable(t, sandbox, dir)
	second := start(t, []string{
		"LISTEN_ADDR=127.0.0.1:0", "ADMIN_LISTEN_ADDR=none", "DATA_DIR=" + dir, "SEGMENT_SHARED_SECRET=" + testSecret,
		"SAASQUATCH_TENANT_ALIAS=" + sandboxTenant, "SAASQUATCH_API_KEY=" + sandboxKey,
		"SAASQUATCH_BASE_URL=" + sandbox,
	}, "serve")
	if code := second.wait(); code != exitFailed ||
		!strings.Contains(second.stderr.String(), fmt.Sprintf("in use by process %d", first.Process.Pid)) {
		t.Errorf("exit code %d: %s", code, &second.stderr)
	}
}

// TestRedrive has an event refused for an unknown user, and redrives it once SaaSquatch knows the user.
func TestRedrive(t *testing.T) {
	t.Parallel()
	p := start(t, nil, "sandbox", "--listen-addr", "127.0.0.1:0")
	sandbox := p.stdout.await(t, `base URL SAASQUATCH_BASE_URL=(\S+)\n`)[1]
	const token = "a-token-of-sixteen-or-more"
	dir := t.TempDir()
	s := startServer(t, sandbox, []string{"DELIVERY=durable", "DATA_DIR=" + dir, "ADMIN_LISTEN_ADDR=127.0.0.1:0",
		"ADMIN_TOKEN=" + token}, "--config", neverUpsert(t))
	admin := "http://" + s.stderr.await(t, `"msg":"admin","address":"([^"]+)"`)[1]
	event := []byte(`{"type":"track","userId":"new","event":"x","messageId":"12345678"}`)
	if got := post(t, s.url, testSecret, event, event); got.Status != http.StatusOK || got.Counts["pending"] != 1 {
		t.Errorf("got %+v", got)
	}
	s.stderr.await(t, `"outcome":"dead","reason":"user_not_found"`)
	for name, env := range map[string][]string{
		"directly":       {"DATA_DIR=" + dir},
		"through server": {"ADMIN_TOKEN=" + token},
	} {
		args := []string{"list", "--outcome", "dead", "--json"}
		if name == "through server" {
			args = append(args, "--server", admin)
		}
		if code, out, stderr := deliveries(t, env, args...); code != exitOK ||
			!strings.Contains(out, "user_not_found") {
			t.Errorf("%s: exit code %d %s %s", name, code, out, stderr)
		}
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
	if code, out, stderr := deliveries(t, []string{"ADMIN_TOKEN=" + token}, "redrive", "--server", admin, "--reason",
		"user_not_found", "--yes"); code != exitOK {
		t.Errorf("redrive: exit code %d %s %s", code, out, stderr)
	}
	s.stderr.await(t, `"outcome":"delivered".*"message_id":"12345678"`)
	s.stderr.await(t, `"msg":"admin action"`)
	if strings.Contains(s.stderr.String(), token) {
		t.Error("the log holds the admin token")
	}
	metrics, err := http.Get(admin + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer metrics.Body.Close()
	text := new(bytes.Buffer)
	if _, err := text.ReadFrom(metrics.Body); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`segment_saasquatch_events_total{connection="default",outcome="delivered"`,
		"segment_saasquatch_conservation_difference"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("no %s in the metrics:\n%s", want, text)
		}
	}
	checkConservation(t, []string{"DATA_DIR=" + dir})
}

// TestWrongKeyPauses checks that a wrong API key only delays the events.
func TestWrongKeyPauses(t *testing.T) {
	t.Parallel()
	sandbox, dir := startSandbox(t), t.TempDir()
	s := startDurable(t, sandbox, dir, "SAASQUATCH_API_KEY=TEST_wrong-key")
	batch, want := sampleBatch(t, 200)
	if got := post(t, s.url, testSecret, batch, batch); got.Status != http.StatusOK || got.Counts["pending"] != 200 {
		t.Errorf("got %+v", got)
	}
	s.stderr.await(t, `"level":"error".*"reason":"unauthorized"`)
	if stats := get[struct{ Requests int }](t, sandbox+"/_sandbox/stats"); stats.Requests > 3+64 {
		t.Errorf("%d requests with a wrong key", stats.Requests)
	}
	if err := s.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code := s.wait(); code != exitOK {
		t.Errorf("exit code %d", code)
	}
	startDurable(t, sandbox, dir)
	awaitDrained(t, []string{"DATA_DIR=" + dir}, time.Minute)
	checkArrived(t, sandbox, want)
	var summary json.RawMessage
	code, out, _ := deliveries(t, []string{"DATA_DIR=" + dir}, "stats", "--json")
	if err := json.Unmarshal([]byte(out), &summary); code != exitOK || err != nil {
		t.Errorf("stats --json: exit code %d, %v: %s", code, err, out)
	}
}

// smallDisk mounts a disk of a few megabytes.
func smallDisk(t *testing.T, megabytes int) (dir string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "disk")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", fmt.Sprintf("size=%dm", megabytes), "tmpfs",
		dir).CombinedOutput(); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("mount a small disk: %v: %s", err, out)
		}
		t.Skipf("SKIP: start the test with the right to mount: %s", out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", "-l", dir).CombinedOutput(); err != nil {
			t.Errorf("unmount: %v: %s", err, out)
		}
	})
	return dir
}

// newDatabase makes a PostgreSQL database for one test and returns its URL.
func newDatabase(t testing.TB) string {
	t.Helper()
	needCommand(t, "psql")
	server := os.Getenv("TEST_POSTGRES")
	if server == "" {
		server = "postgres://postgres@127.0.0.1:5432/postgres?sslmode=disable"
	}
	name := "test_" + strings.ToLower(cryptorand.Text())
	if out, err := exec.Command("psql", server, "-qc", "CREATE DATABASE "+name).CombinedOutput(); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("no PostgreSQL: %v: %s", err, out)
		}
		t.Skipf("SKIP: start PostgreSQL with `service postgresql start`, or name one in TEST_POSTGRES: %s", out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("psql", server, "-qc",
			"DROP DATABASE "+name+" WITH (FORCE)").CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
	})
	target, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	target.Path = "/" + name
	return target.String()
}
