package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// formerRelease is the commit of the release that this one has to work beside. A new
// release moves it on.
const formerRelease = "5a969180f340d2c4a7d9a7622fea5388e6654b37"

// formerBinary builds the program of the former release, once for all runs of the test.
func formerBinary(t *testing.T) string {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = os.TempDir()
	}
	built := filepath.Join(cache, "segment-saasquatch", "former-"+formerRelease)
	if _, err := os.Stat(built); err == nil {
		return built
	}
	needCommand(t, "git")
	needCommand(t, "tar")
	source, err := exec.Command("git", "-C", "../..", "archive", "--format=tar", formerRelease).Output()
	if err != nil {
		remedy := "git fetch --depth 1 origin " + formerRelease
		if os.Getenv("CI") == "true" {
			t.Fatalf("the clone has no commit of the former release, get it with `%s`: %v", remedy, err)
		}
		t.Skipf("SKIP: get the commit of the former release with `%s`: %v", remedy, err)
	}
	dir := t.TempDir()
	unpack := exec.Command("tar", "-x", "-C", dir)
	unpack.Stdin = bytes.NewReader(source)
	build := exec.Command("go", "build", "-tags", "nomsgpack", "-o", built+".new", "./cmd/segment-saasquatch")
	build.Dir = dir
	for _, command := range []*exec.Cmd{unpack, build} {
		if out, err := command.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", command.Args, err, out)
		}
	}
	if err := os.Rename(built+".new", built); err != nil {
		t.Fatal(err)
	}
	return built
}

// TestRollingUpgrade has the former release work on a PostgreSQL store, then both, the
// former one start once more, the new one end, and the former one go on alone. No event
// may be lost or sent twice.
func TestRollingUpgrade(t *testing.T) {
	former, database, sandbox := formerBinary(t), newDatabase(t), startSandbox(t, "--latency", "5ms")
	env := []string{"DELIVERY=durable", "STORE=" + database, "DATA_DIR=" + t.TempDir()}
	run := func(program string) *server {
		return serving(t, sandbox, startCommand(t, serverEnv(sandbox, env), exec.Command(program, "serve")))
	}
	end := func(s *server) {
		if err := s.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		if code := s.wait(); code != exitOK {
			t.Errorf("exit code %d", code)
		}
	}
	const more = 150 // events in each phase
	old := run(former)
	l := startLoad(t, 4, 5, old.url)
	l.await(more)
	current := run(binary)
	if line := current.stderr.await(t, `"msg":"the store is about to be migrated"[^\n]*`)[0]; !strings.Contains(line, `"to":`) {
		t.Errorf("got %s", line)
	}
	l.urls.Store(&[]string{old.url, current.url})
	l.await(more)
	again := run(former)
	l.urls.Store(&[]string{again.url, current.url})
	end(old)
	l.await(more)
	l.urls.Store(&[]string{again.url})
	end(current)
	l.await(more)
	acknowledged := l.finish()
	awaitDrained(t, env, time.Minute)
	checkExactlyOnce(t, sandbox, acknowledged)
	checkConservation(t, env)
	stats := get[struct{ Conflicts, EventsAccepted int }](t, sandbox+"/_sandbox/stats")
	if stats.Conflicts != 0 {
		t.Errorf("%d events were sent twice", stats.Conflicts)
	}
	if lines := linesWith(again.stderr.String(), `"level":"error"`); len(lines) > 0 {
		t.Errorf("the former release logs errors:\n%s", strings.Join(lines, "\n"))
	}
}

func linesWith(text, part string) []string {
	return slices.DeleteFunc(strings.Split(text, "\n"), func(line string) bool { return !strings.Contains(line, part) })
}

// await waits until so many more events are acknowledged.
func (l *load) await(more int) {
	l.t.Helper()
	count := func() int {
		l.mu.Lock()
		defer l.mu.Unlock()
		return len(l.acknowledged)
	}
	deadline := time.Now().Add(time.Minute)
	for target := count() + more; count() < target; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			l.t.Fatalf("%d events are acknowledged, want %d", count(), target)
		}
	}
}
