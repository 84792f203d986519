package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
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

// TestSenderLeavesSlowStore has senders hang up after 100 ms, while another process locks the store. If the lock ends
// within the adapter's 4 s, everything is stored, and the log says only that the sender left. Otherwise nothing is.
func TestSenderLeavesSlowStore(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		want   string // in the log
		stored int
	}{
		"sqlite":        {`"status":200,"reason":"sender_left","sender_left":true`, 300},
		"sqlite late":   {`"status":503,"reason":"store_unavailable","sender_left":true`, 0},
		"postgres":      {`"status":200,"reason":"sender_left","sender_left":true`, 300},
		"postgres late": {`"status":503,"reason":"store_unavailable","sender_left":true`, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			env := []string{"DATA_DIR=" + dir}
			lock := func() (unlock func()) { return lockFile(t, filepath.Join(dir, "adapter.db")) }
			if strings.HasPrefix(name, "postgres") {
				database := newDatabase(t)
				env = append(env, "STORE="+database)
				lock = func() (unlock func()) { return lockQueue(t, database) }
			}
			s := startServer(t, "http://127.0.0.1:9", append(env, "DELIVERY=durable"))
			unlock := lock()
			client := &http.Client{Timeout: 100 * time.Millisecond}
			body, _ := sampleBatch(t, 300)
			request, err := http.NewRequest(http.MethodPost, s.url, strings.NewReader(string(body)))
			if err != nil {
				t.Fatal(err)
			}
			request.Header.Set("X-Signature", sign(testSecret, body))
			if response, err := client.Do(request); err == nil {
				response.Body.Close()
				t.Fatalf("the store is not slow: %s", response.Status)
			}
			if test.stored == 0 {
				s.stderr.await(t, `"msg":"request".*`+test.want)
			}
			<-time.After(300 * time.Millisecond) // the server notices that the sender left
			unlock()
			s.stderr.await(t, `"msg":"request".*`+test.want)
			if said := strings.Contains(s.stderr.String(), "accept events"); said != (test.stored == 0) {
				t.Errorf("the log says that the store was busy: %t\n%s", said, &s.stderr)
			}
			// It answers the next sender.
			body, _ = sampleBatch(t, 1)
			awaitState(t, 20*time.Second, 100*time.Millisecond, func() (bool, string) {
				status, answer := postSigned(t, s.url, testSecret, body, body)
				return status == http.StatusOK, string(answer)
			})
			_, list, _ := deliveries(t, env, "list", "--limit", "1000", "--json")
			if stored := strings.Count(list, "\n"); stored != test.stored+1 {
				t.Errorf("%d events are stored, want %d", stored-1, test.stored)
			}
			checkConservation(t, env)
		})
	}
}

// lockFile keeps other processes from writing to a SQLite store.
func lockFile(t *testing.T, path string) (unlock func()) {
	t.Helper()
	db := openSQL(t, path)
	if _, err := db.Exec("BEGIN IMMEDIATE"); err != nil {
		t.Fatal(err)
	}
	return func() {
		if _, err := db.Exec("ROLLBACK"); err != nil {
			t.Error(err)
		}
	}
}

// lockQueue keeps other processes from writing to the queue of a PostgreSQL store.
func lockQueue(t *testing.T, database string) (unlock func()) {
	t.Helper()
	command := exec.Command("psql", database, "-qAt")
	in, err := command.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out := &output{changed: make(chan struct{})}
	command.Stdout = out
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(in, "BEGIN; LOCK TABLE queue IN EXCLUSIVE MODE; SELECT 'locked';")
	out.await(t, "locked")
	return func() {
		in.Close()
		if err := command.Wait(); err != nil {
			t.Error(err)
		}
	}
}
