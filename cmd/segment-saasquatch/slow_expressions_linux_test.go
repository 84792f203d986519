package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// slowTransform uses the whole time of an expression over an event of slowBatch, first in a match of a regular
// expression.
const slowTransform = `events:
      transform: '$merge([$, {"fields": {
        "a": $map(fields.items, function($i) {$contains($pad("", 60, "a"), /(a+)+\1\1b$/)}),
        "b": $count($distinct(fields.items.{"id": [id, id]}))}}])'
`

// slowBatch returns events of 9000 items.
func slowBatch(events int) []byte {
	var items bytes.Buffer
	for i := range 9000 {
		fmt.Fprintf(&items, `,{"id":%d}`, i)
	}
	var batch bytes.Buffer
	for i := range events {
		fmt.Fprintf(&batch, `,{"type":"track","userId":"slow-%d","event":"Cart `+
			`Viewed","messageId":"slow-%08[1]d","properties":{"items":[%s]}}`,
			i, items.Bytes()[1:])
	}
	return append(append([]byte("["), batch.Bytes()[1:]...), ']')
}

// TestSlowExpressions has a connection whose expressions use all of their time. Neither its sender nor another
// connection nor the shutdown waits for them.
func TestSlowExpressions(t *testing.T) {
	sandbox, dir := startSandbox(t), t.TempDir()
	connection := func(name, rules string) string {
		return fmt.Sprintf(`
  - name: %s
    path: /segment/%[1]s
    segment: {shared_secret: %s}
    saasquatch: {tenant_alias: %s, api_key: %s, base_url: %q}
    %s`, name, testSecret, sandboxTenant, sandboxKey, sandbox, rules)
	}
	config := configFile(t, "listen_addr: 127.0.0.1:0\nadmin: {listen_addr: none}\ndata_dir: "+dir+"\nconnections:"+
		connection("slow", slowTransform)+connection("quick", `events: {transform: '$merge([$, {"key": "mapped"}])'}`))
	p := start(t, nil, "serve", "--config", config)
	base := "http://" + p.stderr.await(t, `"msg":"serving","address":"([^"]+)"`)[1]

	const slow, quick = 20, 100
	body := slowBatch(slow)
	if got := post(t, base+"/segment/slow", testSecret, body, body); got.Status != http.StatusOK ||
		got.Counts["pending"] != slow {
		t.Errorf("got %+v", got)
	}
	batch, want := sampleBatch(t, quick)
	if got := post(t, base+"/segment/quick", testSecret, batch, batch); got.Status != http.StatusOK ||
		got.Counts["pending"] != quick {
		t.Errorf("got %+v", got)
	}
	awaitState(t, time.Minute, 20*time.Millisecond, func() (bool, string) {
		n := len(arrived(t, sandbox))
		return n >= quick, fmt.Sprintf("%d of %d events arrived", n, quick)
	})
	checkArrived(t, sandbox, want)
	if failed := strings.Count(p.stderr.String(), "expression_failed"); failed > slow/2 {
		t.Errorf("%d slow events had their outcomes before the quick ones", failed)
	}
	if err := p.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code := p.wait(); code != exitOK {
		t.Errorf("exit code %d", code)
	}
	checkConservation(t, []string{"DATA_DIR=" + dir})
}

// TestSenderOfSlowExpressionsLeaves closes the sender's connection during the evaluation of its batch. That ends the
// evaluation.
func TestSenderOfSlowExpressionsLeaves(t *testing.T) {
	s := startServer(t, startSandbox(t), []string{"ANSWER_BUDGET=60s"}, "--config",
		configFile(t, strings.ReplaceAll(slowTransform, "\n    ", "\n")))
	body := slowBatch(40)
	ctx, leave := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer leave()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("X-Signature", sign(testSecret, body))
	if response, err := http.DefaultClient.Do(request); !errors.Is(err, context.DeadlineExceeded) {
		if err == nil {
			response.Body.Close()
		}
		t.Fatalf("got %v", err)
	}
	// The whole batch would take 80 s of a processor.
	used := time.Duration(-time.Hour) // the first look measures nothing yet
	awaitState(t, 20*time.Second, 300*time.Millisecond, func() (bool, string) {
		before := used
		used = processorTime(t, s.Process.Pid)
		return used-before < 100*time.Millisecond, "the evaluation goes on after the sender left"
	})
	if err := s.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code := s.wait(); code != exitOK {
		t.Errorf("exit code %d", code)
	}
}

// processorTime returns the processor time that a process has used.
func processorTime(t *testing.T, pid int) time.Duration {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	// See proc(5): utime and stime are the fields 14 and 15, in hundredths of a second.
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	var ticks int
	for _, field := range fields[11:13] {
		n, err := strconv.Atoi(field)
		if err != nil {
			t.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}
