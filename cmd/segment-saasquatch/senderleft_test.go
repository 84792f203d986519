package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// TestSenderHangsUp closes connections during requests and directly after them. Each request is stored completely or
// not at all, as its line in the log says, and the metrics count it.
func TestSenderHangsUp(t *testing.T) {
	t.Parallel()
	const requests, events = 16, 100
	s := startServer(t, "http://127.0.0.1:9", []string{"DELIVERY=durable", "DATA_DIR=" + t.TempDir(),
		"ADMIN_LISTEN_ADDR=127.0.0.1:0"})
	admin := "http://" + s.stderr.await(t, `"msg":"admin","address":"([^"]+)"`)[1]
	address := strings.TrimSuffix(strings.TrimPrefix(s.url, "http://"), "/segment")
	for i := range requests {
		body, _ := sampleBatch(t, events)
		sent := len(body)
		if i%4 == 0 {
			sent = len(body) * (i + 1) / requests
		}
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		if i%2 == 0 {
			_ = c.(*net.TCPConn).SetLinger(0) // a reset
		}
		fmt.Fprintf(c, "POST /segment HTTP/1.1\r\nHost: x\r\nX-Signature: %s\r\nContent-Length: %d\r\n\r\n%s",
			sign(testSecret, body), len(body), body[:sent])
		c.Close()
	}
	s.stderr.await(t, fmt.Sprintf(`(?s)(?:"msg":"request".*){%d}`, requests))
	counted := map[string]int{}
	for line := range strings.Lines(s.stderr.String()) {
		var request struct {
			Msg, Reason, Message string
			Status               int
			Left                 bool `json:"sender_left"`
		}
		if json.Unmarshal([]byte(line), &request) != nil || request.Msg != "request" {
			continue
		}
		counted[fmt.Sprintf(`reason=%q,status="%d"`, request.Reason, request.Status)]++
		switch {
		case request.Status == http.StatusOK && (request.Reason == "sender_left") == request.Left:
		case request.Status == http.StatusServiceUnavailable && request.Reason == "body_incomplete":
		default:
			t.Errorf("logged %s", line)
		}
	}
	response, err := http.Get(admin + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	metric := func(name string) int {
		found := regexp.MustCompile(`(?m)^segment_saasquatch_` + regexp.QuoteMeta(name) + ` (\d+)$`).FindSubmatch(text)
		if found == nil {
			return 0
		}
		n, _ := strconv.Atoi(string(found[1]))
		return n
	}
	stored := 0
	for labels, n := range counted {
		if got := metric(`requests_total{connection="default",` + labels + `}`); got != n {
			t.Errorf("%d requests with %s are counted, %d logged", got, labels, n)
		}
		if strings.Contains(labels, `"200"`) {
			stored += n
		}
	}
	if got := metric(`deliveries_accepted_total{connection="default"}`); got != stored*events || stored == 0 ||
		stored == requests {
		t.Errorf("%d events are stored, of %d requests with 200", got, stored)
	}
}
