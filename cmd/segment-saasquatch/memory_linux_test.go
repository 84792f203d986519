package main

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// peakMemory returns the peak memory of the process so far, in bytes, with the pages of its program file.
func (p *process) peakMemory(t testing.TB) int64 {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`VmHWM:\s+(\d+) kB`).FindSubmatch(text)
	if found == nil {
		t.Fatalf("no VmHWM in\n%s", text)
	}
	kilobytes, err := strconv.ParseInt(string(found[1]), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return kilobytes << 10
}

// kill ends the process, so that the test's directory can be removed.
func (p *process) kill(t testing.TB) {
	t.Helper()
	if err := p.Process.Kill(); err != nil {
		t.Error(err)
	}
	<-p.exited
}

// largeBatch returns a batch of about n bytes in events of 2.3 KB, and its first event.
func largeBatch(sender, n int) (batch, first []byte) {
	pad := strings.Repeat("x", 2100)
	at := time.Now().UTC().Format(time.RFC3339)
	batch = []byte("[")
	for i := 0; len(batch) < n; i++ {
		if i > 0 {
			batch = append(batch, ',')
		}
		batch = fmt.Appendf(batch, `{"type":"track","userId":"u-%d","event":"Order `+
			`Completed","messageId":"large-%d-%d-%d",`+
			`"timestamp":"%s","properties":{"order_id":"%d","revenue":12.5,"currency":"USD","pad":"%s"}}`,
			i, sender, os.Getpid(), i, at, i, pad)
		if i == 0 {
			first = bytes.Clone(batch[1:])
		}
	}
	return append(batch, ']'), first
}

// sendLarge posts one batch of n bytes by each of the senders at the same time, and counts the answers by status. A
// sender without an answer fails the test.
func sendLarge(t *testing.T, url string, senders, n int) map[int]int {
	t.Helper()
	answers := make(map[int]int)
	var mu sync.Mutex
	var all sync.WaitGroup
	start := make(chan struct{})
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for sender := range senders {
		batch, first := largeBatch(sender, n)
		all.Go(func() {
			<-start
			request, err := http.NewRequest(http.MethodPost, url, bytes.NewReader(batch))
			if err != nil {
				t.Error(err)
				return
			}
			request.Header.Set("X-Signature", sign(testSecret, first))
			response, err := client.Do(request)
			if err != nil {
				t.Errorf("sender %d has no answer: %v", sender, err)
				return
			}
			response.Body.Close()
			mu.Lock()
			defer mu.Unlock()
			answers[response.StatusCode]++
		})
	}
	close(start)
	all.Wait()
	return answers
}

// noSandbox is a base URL without a listener.
const noSandbox = "http://127.0.0.1:1"

// durableEnv returns the environment of a server that accepts batches by their first event.
func durableEnv(t testing.TB) []string {
	return []string{"DELIVERY=durable", "DATA_DIR=" + t.TempDir(), "ALLOW_FIRST_ELEMENT_SIGNATURE=true",
		"SAASQUATCH_RATE_LIMIT=1"}
}

// TestMemoryCeiling sends fifty bodies of 9 MB at once to a server with the default limits.
// Each sender gets 200 or 503.
func TestMemoryCeiling(t *testing.T) {
	t.Parallel()
	const ceiling = 400_000_000
	s := startServer(t, noSandbox, durableEnv(t))
	answers := sendLarge(t, s.url, 50, 9_000_000)
	if answers[200] == 0 || answers[200]+answers[503] != 50 {
		t.Errorf("got %v", answers)
	}
	if peak := s.peakMemory(t); peak > ceiling {
		t.Errorf("the process had %d bytes, more than %d", peak, ceiling)
	}
	s.kill(t)
}

// TestContainerLimit runs the server with little memory. Sixteen senders post a batch of 4 MB at once. Some get
// status 503, and the kernel kills no process.
func TestContainerLimit(t *testing.T) {
	for _, megabytes := range []int{256, 128} {
		t.Run(fmt.Sprintf("%dMiB", megabytes), func(t *testing.T) {
			t.Parallel()
			processes := memoryGroup(t, int64(megabytes)<<20)
			s := serving(t, noSandbox, startCommand(t, serverEnv(noSandbox, durableEnv(t)),
				exec.Command("sh", "-c", `echo $$ >"$0" && exec "$@"`, processes, binary, "serve")))
			answers := sendLarge(t, s.url, 16, 4_000_000)
			if answers[200] == 0 || answers[200]+answers[503] != 16 {
				t.Errorf("got %v", answers)
			}
			s.kill(t)
		})
	}
}

// memoryGroup makes a control group with a memory limit, of version 1 or 2, and returns the file that takes its
// processes. The kernel kills a process of the group that exceeds the limit.
func memoryGroup(t *testing.T, limit int64) (processes string) {
	t.Helper()
	missing := func(err error) {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skipf("SKIP: start the test as root with memory control groups: %v", err)
	}
	root, file := "/sys/fs/cgroup/memory", "memory.limit_in_bytes"
	if _, err := os.Stat(root); err != nil {
		root, file = "/sys/fs/cgroup", "memory.max"
	}
	dir, err := os.MkdirTemp(root, "segment-saasquatch")
	if err != nil {
		missing(err)
	}
	t.Cleanup(func() { _ = os.Remove(dir) })
	if err := os.WriteFile(filepath.Join(dir, file), strconv.AppendInt(nil, limit, 10), 0o600); err != nil {
		missing(err)
	}
	return filepath.Join(dir, "cgroup.procs")
}
