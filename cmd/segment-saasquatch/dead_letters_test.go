package main

import (
	"database/sql"
	"io"
	"net/http"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

// TestDamagedPayload changes a byte of a pending and of a rejected event. Neither is sent, and every command says
// why.
func TestDamagedPayload(t *testing.T) {
	t.Parallel()
	sandbox, dir := startSandbox(t), t.TempDir()
	s := startDurable(t, sandbox, dir, "SAASQUATCH_API_KEY=TEST_wrong") // keeps what it accepts
	body := []byte(`[{"type":"track","userId":"ann","event":"x","messageId":"message-1"},{"userId":"ann"}]`)
	post(t, s.url, testSecret, body, body)
	if err := s.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code := s.wait(); code != exitOK {
		t.Fatalf("exit code %d", code)
	}
	db, err := sql.Open("sqlite", filepath.Join(dir, storeFile))
	if err != nil {
		t.Fatal(err)
	}
	for _, statement := range []string{
		`UPDATE queue SET payload = CAST(replace(payload, 'ann', 'bnn') AS BLOB), due_at = 0`,
		`UPDATE payloads SET payload = CAST(replace(payload, 'ann', 'bnn') AS BLOB)`,
	} {
		if _, err := db.Exec(statement); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	s = startDurable(t, sandbox, dir)
	s.stderr.await(t, `"level":"error".*"outcome":"dead","reason":"payload_damaged","message_id":"message-1"`)
	env := []string{"DATA_DIR=" + dir, "SAASQUATCH_TENANT_ALIAS=" + sandboxTenant, "SAASQUATCH_BASE_URL=" + sandbox}
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{"show", "1"}, "payload, damaged in the store"},
		{[]string{"show", "2"}, "payload, damaged in the store"},
		{[]string{"list", "--reason", "payload_damaged"}, "message-1"},
		{[]string{"export", "--outcome", "dead"}, `"payload_damaged":true`},
		{[]string{"redrive", "--yes"}, "0 of 2 deliveries are pending now; 2 have a payload that is damaged in " +
			"the store, and stay as they are: replay them"},
		{[]string{"purge", "--reason", "payload_damaged", "--yes"}, "1 deliveries were deleted: 1 dead"},
	} {
		if code, stdout, stderr := deliveries(t, env, test.args...); code != exitOK ||
			!strings.Contains(stdout, test.want) {
			t.Errorf("%v: exit code %d, no %q in %s%s", test.args, code, test.want, stdout, stderr)
		}
	}
	if got := arrived(t, sandbox); len(got) > 0 {
		t.Errorf("SaaSquatch got %v", got)
	}
	checkConservation(t, env)
}

// TestDeadLettersAreDropped fills the smallest dead_letters.max_bytes with payloads of rejected events.
func TestDeadLettersAreDropped(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := startDurable(t, startSandbox(t), dir, "DEAD_LETTERS_MAX_BYTES=1MiB", "ADMIN_LISTEN_ADDR=127.0.0.1:0")
	admin := "http://" + s.stderr.await(t, `"msg":"admin","address":"([^"]+)"`)[1]
	event := `{"filler":"` + strings.Repeat("x", 300<<10) + `"}`
	body := []byte("[" + strings.Repeat(event+",", 3) + event + "]")
	post(t, s.url, testSecret, body, body)
	s.stderr.await(t, `"level":"warn".*dead_letters.max_bytes is full","events":1`)
	env := []string{"DATA_DIR=" + dir, "SAASQUATCH_TENANT_ALIAS=" + sandboxTenant, "SAASQUATCH_BASE_URL=" + s.sandbox}
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{"show", "1"}, "the payload was dropped: dead_letters.max_bytes"},
		{[]string{"list", "--json", "--id", "1"}, `"payload_dropped":true`},
		{[]string{"export", "--id", "1"}, `"payload_dropped":true`},
		{[]string{"redrive", "--id", "1", "--yes"},
			"0 of 1 deliveries are pending now; 1 have no payload any more, since dead_letters.max_bytes had no room"},
		{[]string{"show", "2"}, `"filler"`},
	} {
		if code, stdout, stderr := deliveries(t, env, test.args...); code != exitOK ||
			!strings.Contains(stdout, test.want) {
			t.Errorf("%v: exit code %d, no %q in %.500s%s", test.args, code, test.want, stdout, stderr)
		}
	}
	checkConservation(t, env)
	response, err := http.Get(admin + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	metrics, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`payloads_dropped_total{outcome="rejected"} 1`, `payloads_dropped_total{outcome="dead"} 0`,
		`dead_letter_bytes{connection="default",outcome="rejected"} 921639`,
	} {
		if !strings.Contains(string(metrics), want) {
			lines := regexp.MustCompile(`(?m)^.*(letter|dropped).*$`).FindAllString(string(metrics), -1)
			t.Errorf("no %s in %s", want, lines)
		}
	}
}
