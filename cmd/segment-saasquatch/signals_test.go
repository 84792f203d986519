package main

import (
	"bufio"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// TestHangup checks that a server goes on after SIGHUP and still ends in good order. Another command ends on SIGHUP
// as on SIGTERM, unless it was started to ignore it.
func TestHangup(t *testing.T) {
	s := startServer(t, startSandbox(t), nil)
	event := []byte(`{"type":"track","userId":"u","event":"E","messageId":"message-1"}`)
	for range 3 {
		if err := s.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		if got := post(t, s.url, testSecret, event, event); got.Status != http.StatusOK {
			t.Errorf("%+v", got)
		}
	}
	if err := s.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code := s.wait(); code != exitOK {
		t.Errorf("exit code %d", code)
	}

	sandbox := start(t, nil, "sandbox", "--listen-addr", "127.0.0.1:0")
	sandbox.stdout.await(t, "base URL")
	if err := sandbox.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	if code := sandbox.wait(); code != exitOK {
		t.Errorf("exit code %d", code)
	}
}

// TestReaderOfTheLogIsGone closes the pipe of a server's log.
func TestReaderOfTheLogIsGone(t *testing.T) {
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(binary, "serve")
	cmd.Stdout, cmd.Stderr = writer, writer
	cmd.Env = []string{
		"LISTEN_ADDR=127.0.0.1:0", "ADMIN_LISTEN_ADDR=none", "DELIVERY=direct", "LOG_FORMAT=json",
		"SEGMENT_SHARED_SECRET=" + testSecret, "SAASQUATCH_TENANT_ALIAS=" + sandboxTenant,
		"SAASQUATCH_API_KEY=" + sandboxKey, "SAASQUATCH_BASE_URL=" + startSandbox(t),
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	writer.Close()
	address := ""
	for lines := bufio.NewScanner(reader); address == "" && lines.Scan(); {
		if _, rest, ok := strings.Cut(lines.Text(), `"msg":"serving","address":"`); ok {
			address, _, _ = strings.Cut(rest, `"`)
		}
	}
	reader.Close()
	event := []byte(`{"type":"track","userId":"u","event":"E","messageId":"message-1"}`)
	for range 3 {
		if got := post(t, "http://"+address+"/segment", testSecret, event, event); got.Status != http.StatusOK {
			t.Errorf("%+v", got)
		}
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("ended with %v", err)
	}
}
