package main

import (
	"bufio"
	"fmt"
	"math"
	"net"
	"net/http"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestConnectionBounds(t *testing.T) {
	for _, test := range []struct {
		files, memory, upstream int64
		senders, operators      int
	}{
		{1 << 20, math.MaxInt64, 64, 2048, 64},
		{1024, math.MaxInt64, 64, 1024 - 64 - 64 - 64, 64},
		{256, math.MaxInt64, 64, 256 - 32 - 64 - 64, 32},
		{256, math.MaxInt64, 1000, 64, 32}, // many tenants
		{20, math.MaxInt64, 64, 16, 4},
		{1 << 20, 128 << 20, 64, 512, 64},
		{1 << 20, 1 << 20, 64, 16, 64},
	} {
		senders, operators := connectionBounds(test.files, test.memory, test.upstream)
		if senders != test.senders || operators != test.operators {
			t.Errorf("%+v: got %d and %d", test, senders, operators)
		}
	}
}

// TestIdleStrangersBesideFewFiles opens 400 connections to a server that may open 256 files. The connections stay
// idle, or stall in a header.
func TestIdleStrangersBesideFewFiles(t *testing.T) {
	sandbox := startSandbox(t)
	s := serving(t, sandbox, startCommand(t, serverEnv(sandbox, nil),
		exec.Command("/bin/sh", "-c", `ulimit -n 256 && exec "$0" serve`, binary)))
	event := []byte(`{"type":"track","userId":"u","event":"E","messageId":"message-1"}`)
	address := strings.TrimSuffix(strings.TrimPrefix(s.url, "http://"), "/segment")
	for i := range 400 {
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if i%2 == 0 {
			fmt.Fprintf(c, "POST /segment HTTP/1.1\r\nX-%d: ", i)
		}
	}
	began := time.Now()
	for range 3 {
		if got := post(t, s.url, testSecret, event, event); got.Status != http.StatusOK {
			t.Errorf("%+v", got)
		}
	}
	// Without the bound it took 5 s, until the headers timed out.
	if took := time.Since(began); took > 4*time.Second {
		t.Errorf("three good requests took %s", took)
	}
	s.stderr.await(t, `"the limit of open connections is reached: [^}]*"limit":96`)
	if text := s.stderr.String(); strings.Contains(text, "too many open files") {
		t.Error("the process was out of files")
	}
}

// TestStallsBesideTheEnd ends a server while senders stall in every way. The server exits with 0, long before
// shutdown_timeout.
func TestStallsBesideTheEnd(t *testing.T) {
	s := startServer(t, startSandbox(t), []string{"SHUTDOWN_TIMEOUT=60s"})
	address := strings.TrimSuffix(strings.TrimPrefix(s.url, "http://"), "/segment")
	const signature = "X-Signature: 0123456789012345678901234567890123456789\r\n"
	for i := range 20 {
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		switch i % 5 {
		case 1:
			fmt.Fprint(c, "POST /segment HTTP/1.1\r\n")
		case 2:
			fmt.Fprint(c, "POST /segment HTTP/1.1\r\nHost: x\r\n"+signature+"Content-Length: 5000000\r\n\r\n[")
		case 3:
			fmt.Fprint(c, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
			if _, err := http.ReadResponse(bufio.NewReader(c), nil); err != nil {
				t.Fatal(err)
			}
		case 4:
			fmt.Fprint(c, "POST /segment HTTP/1.1\r\nHost: x\r\n"+signature+"Content-Length: 5000000\r\n\r\n[")
			_ = c.(*net.TCPConn).CloseWrite()
		}
	}
	began := time.Now()
	if err := s.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code := s.wait(); code != exitOK {
		t.Errorf("exit code %d", code)
	}
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("it took %s", took)
	}
}
