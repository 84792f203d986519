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

// formerRelease is the subject of the last commit of the former release, which must work on the same store. A new
// release changes it. A rewritten history keeps the subject.
const formerRelease = "Name the actor in the comments of" +
	" late, and keep their lines short"

// formerBinary builds the former release, once for all runs of the test.
func formerBinary(t *testing.T) string {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = os.TempDir()
	}
	needCommand(t, "git")
	needCommand(t, "tar")
	commit, err := exec.Command("git", "-C", "../..", "log", "-1", "--format=%H", "--fixed-strings",
		"--grep="+formerRelease).Output()
	if err != nil || len(commit) == 0 {
		// A copy of the source has no history. TestBesideFormerProgram needs none.
		t.Skipf("SKIP: start the test in a clone with the history of the former release: %v", err)
	}
	release := strings.TrimSpace(string(commit))
	built := filepath.Join(cache, "segment-saasquatch", "former-"+release)
	if _, err := os.Stat(built); err == nil {
		return built
	}
	source, err := exec.Command("git", "-C", "../..", "archive", "--format=tar", release).Output()
	if err != nil {
		t.Fatal(err)
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

// TestRollingUpgrade runs the former release on a PostgreSQL store, then both releases. The former one restarts, the
// new one ends, and the former one goes on alone. No event is lost or sent twice.
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
	l.awaitAcknowledged(more)
	current := run(binary)
	if line := current.stderr.await(t, `"msg":"the store is about to be `+
		`migrated"[^\n]*`)[0]; !strings.Contains(line, `"to":`) {
		t.Errorf("got %s", line)
	}
	l.urls.Store(&[]string{old.url, current.url})
	l.awaitAcknowledged(more)
	again := run(former)
	l.urls.Store(&[]string{again.url, current.url})
	end(old)
	l.awaitAcknowledged(more)
	l.urls.Store(&[]string{again.url})
	end(current)
	l.awaitAcknowledged(more)
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
	return slices.DeleteFunc(strings.Split(text, "\n"),
		func(line string) bool { return !strings.Contains(line, part) })
}
