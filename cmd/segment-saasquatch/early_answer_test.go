package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestEarlyAnswersArrive sends whole requests of some megabytes before it reads the answer, as node-fetch does, and
// ends the server while a sender goes on.
func TestEarlyAnswersArrive(t *testing.T) {
	s := startServer(t, "http://127.0.0.1:1", []string{"ADMIN_LISTEN_ADDR=127.0.0.1:0",
		"ADMIN_TOKEN=a-token-of-the-admin"})
	address := strings.TrimSuffix(strings.TrimPrefix(s.url, "http://"), "/segment")
	admin := s.stderr.await(t, `"msg":"admin","address":"([^"]+)"`)[1]
	dial := func(address string) net.Conn {
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}

	stalled := dial(address)
	if _, err := io.WriteString(stalled, "POST /segment HTTP/1.1\r\nHost: x\r\nX-Signat"); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		address, request string
		megabytes        int
		status           int
	}{
		{address, "POST /segment", 4, 401}, {address, "POST /segment", 9, 401},
		{address, "POST /segment\tX-Signature: zz", 4, 401},
		{address, "POST /segment\tX-Signature: " + strings.Repeat("0", 40), 12, 413},
		{address, "POST /no-such-path", 4, 404}, {address, "GET /segment", 4, 405}, {address, "PUT /healthz", 4, 405},
		{admin, "POST /admin/v1/redrive", 4, 401},
	} {
		for range 3 {
			c := dial(test.address)
			line, header, _ := strings.Cut(test.request, "\t")
			if header != "" {
				header += "\r\n"
			}
			_, err := fmt.Fprintf(c, "%s HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n%sContent-Length: "+
				"%d\r\n\r\n%s",
				line, header, test.megabytes<<20, strings.Repeat(" ", test.megabytes<<20))
			if err != nil {
				t.Errorf("%s, %d MB: %v", line, test.megabytes, err)
				continue
			}
			response, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err != nil {
				t.Errorf("%s, %d MB: %v", line, test.megabytes, err)
				continue
			}
			if text, err := io.ReadAll(response.Body); err != nil || response.StatusCode != test.status {
				t.Errorf("%s, %d MB: got %s %s, %v", line, test.megabytes, response.Status, text, err)
			}
		}
	}
	if got, err := io.ReadAll(stalled); len(got) > 0 || err != nil {
		t.Errorf("a header that stalls: got %q, %v", got, err)
	}

	slow := dial(address)
	if _, err := io.WriteString(slow, "POST /segment HTTP/1.1\r\nHost: x\r\nContent-Length: "+
		"1000\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if response, err := http.ReadResponse(bufio.NewReader(slow), nil); err != nil || response.StatusCode != 401 {
		t.Fatalf("got %v, %v", response, err)
	}
	began := time.Now()
	if err := s.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code := s.wait(); code != exitOK {
		t.Errorf("exit code %d", code)
	}
	if took := time.Since(began); took > 8*time.Second { // it takes a second on an idle machine
		t.Errorf("it took %s to stop", took)
	}
}
