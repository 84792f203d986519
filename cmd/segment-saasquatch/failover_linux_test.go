package main

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// cluster is a PostgreSQL server for one test.
type cluster struct {
	*process
	t    *testing.T
	data string
	port int
}

func (c *cluster) url() string {
	return fmt.Sprintf("postgres://postgres@127.0.0.1:%d/postgres?sslmode=disable", c.port)
}

// query runs a statement and returns what psql prints.
func (c *cluster) query(sql string) string {
	c.t.Helper()
	out, err := exec.Command("psql", c.url(), "-qAtc", sql).CombinedOutput()
	if err != nil {
		c.t.Fatalf("%s: %v: %s", sql, err, out)
	}
	return strings.TrimSpace(string(out))
}

// await waits until the statement prints want.
func (c *cluster) await(sql, want string) {
	c.t.Helper()
	awaitState(c.t, 30*time.Second, 50*time.Millisecond, func() (bool, string) {
		out, err := exec.Command("psql", c.url(), "-qAtc", sql).CombinedOutput()
		return err == nil && strings.TrimSpace(string(out)) == want, fmt.Sprintf("%s: %v: %s", sql, err, out)
	})
}

// signal reaches every process of the server at once, like a fault of its machine.
func (c *cluster) signal(signal syscall.Signal) {
	c.t.Helper()
	for _, pid := range append(backends(c.Process.Pid), c.Process.Pid) {
		// A backend may have ended by itself.
		if err := syscall.Kill(pid, signal); err != nil && err != syscall.ESRCH {
			c.t.Fatal(err)
		}
	}
}

// backends returns the child processes of a PostgreSQL server.
func backends(postmaster int) (pids []int) {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		// pid (command) state ppid
		fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
		if fields[1] != strconv.Itoa(postmaster) {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path))); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// postgresPrograms returns the folder of PostgreSQL's own programs.
func postgresPrograms(t *testing.T) string {
	t.Helper()
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if len(found) > 0 {
		return filepath.Dir(slices.Max(found))
	}
	path, err := exec.LookPath("initdb")
	switch {
	case err == nil:
		return filepath.Dir(path)
	case os.Getenv("CI") == "true":
		t.Fatal("PostgreSQL's server programs are not installed")
	}
	t.Skip("SKIP: start two PostgreSQL servers with the programs of `apt-get install postgresql`")
	return ""
}

// asPostgres makes the command run as the user postgres, since PostgreSQL refuses to run as root.
func asPostgres(t *testing.T, command *exec.Cmd) *exec.Cmd {
	t.Helper()
	if os.Getuid() != 0 {
		return command
	}
	uid, gid := postgresUser(t)
	command.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
	return command
}

func postgresUser(t *testing.T) (uid, gid int) {
	t.Helper()
	account, err := user.Lookup("postgres")
	if err != nil {
		t.Fatal(err)
	}
	if uid, err = strconv.Atoi(account.Uid); err != nil {
		t.Fatal(err)
	}
	if gid, err = strconv.Atoi(account.Gid); err != nil {
		t.Fatal(err)
	}
	return uid, gid
}

// clusterDir makes a folder that the user postgres can write.
func clusterDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "cluster-") // the user postgres may not enter t.TempDir
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if os.Getuid() == 0 {
		uid, gid := postgresUser(t)
		if err := os.Chown(dir, uid, gid); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// startCluster starts a server on the data in dir.
func startCluster(t *testing.T, programs, dir string, settings ...string) *cluster {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := listener.Addr().(*net.TCPAddr).Port
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	args := []string{"-D", dir, "-p", strconv.Itoa(port), "-c", "listen_addresses=127.0.0.1", "-c",
		"unix_socket_directories="}
	for _, setting := range settings {
		args = append(args, "-c", setting)
	}
	c := &cluster{
		process: startCommand(t, nil, asPostgres(t, exec.Command(filepath.Join(programs, "postgres"), args...))),
		t:       t, data: dir, port: port,
	}
	t.Cleanup(func() { c.signal(syscall.SIGKILL) })
	c.await("SELECT 1", "1")
	return c
}

// startPrimary starts a server with a standby that confirms each commit.
func startPrimary(t *testing.T) (primary, standby *cluster) {
	t.Helper()
	needCommand(t, "psql")
	programs := postgresPrograms(t)
	run := func(program string, args ...string) {
		t.Helper()
		if out, err := asPostgres(t, exec.Command(filepath.Join(programs, program),
			args...)).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", program, err, out)
		}
	}
	dir := clusterDir(t)
	run("initdb", "-A", "trust", "-U", "postgres", "--no-sync", "-D", dir)
	primary = startCluster(t, programs, dir)
	copied := filepath.Join(clusterDir(t), "data")
	run("pg_basebackup", "-d", primary.url()+"&application_name=standby", "-R", "-c", "fast",
		"--no-sync", "-D", copied)
	standby = startCluster(t, programs, copied)
	primary.query("ALTER SYSTEM SET synchronous_standby_names = 'standby'")
	primary.query("SELECT pg_reload_conf()")
	primary.await("SELECT sync_state FROM pg_stat_replication", "sync")
	return primary, standby
}

// TestFailover stops the primary of two replicas under load, and promotes the synchronous standby.
func TestFailover(t *testing.T) {
	primary, standby := startPrimary(t)
	sandbox := startSandbox(t, faults...)
	env := []string{fmt.Sprintf("STORE=postgres://postgres@127.0.0.1:%d,"+
		"127.0.0.1:%d/postgres?sslmode=disable&target_session_attrs=read-write",
		primary.port, standby.port)}
	var urls []string
	for range 2 {
		urls = append(urls, startDurable(t, sandbox, t.TempDir(), env...).url)
	}
	l := startLoad(t, 4, 5, urls...)
	l.awaitAcknowledged(200)
	primary.signal(syscall.SIGKILL)
	standby.query("SELECT pg_promote()")
	l.awaitAcknowledged(200)
	acknowledged := l.finish()
	awaitDrained(t, env, time.Minute)
	checkExactlyOnce(t, sandbox, acknowledged)
	checkConservation(t, env)
}

// TestStandbyGone freezes the synchronous standby. Senders get their answers within Segment's five seconds, and each
// event stored by then arrives once.
func TestStandbyGone(t *testing.T) {
	primary, standby := startPrimary(t)
	sandbox := startSandbox(t)
	env := []string{"STORE=" + primary.url()}
	s := startDurable(t, sandbox, t.TempDir(), env...)
	standby.signal(syscall.SIGSTOP)
	body, want := sampleBatch(t, 20)
	began := time.Now()
	if got := post(t, s.url, testSecret, body, body); got.Status != 503 {
		t.Errorf("without the standby: %+v", got)
	}
	// The server answers after 4 s. A loaded machine may need longer, but not the 10 s of a commit that waits.
	if took := time.Since(began); took > 8*time.Second {
		t.Errorf("the answer took %v, and Segment waits for 5 s", took)
	}
	standby.signal(syscall.SIGCONT)
	for deadline := time.Now().Add(30 * time.Second); ; {
		if status, _ := postSigned(t, s.url, testSecret, body, body); status == 200 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the store does not come back")
		}
	}
	awaitDrained(t, env, time.Minute)
	checkExactlyOnce(t, sandbox, want)
	checkConservation(t, env)
}

// TestFrozenProcess freezes one of two replicas with events in flight, until its leases are over by the database's
// clock. An event without a key is sent at most once, as configured.
func TestFrozenProcess(t *testing.T) {
	database := newDatabase(t)
	sandbox := startSandbox(t, "--latency", "20ms")
	env := []string{"STORE=" + database, "UNKEYED_AMBIGUOUS=dead", "SAASQUATCH_CONCURRENCY=1",
		"SAASQUATCH_MIN_CONCURRENCY=1"}
	frozen := startDurable(t, sandbox, t.TempDir(), env...)
	var events [][]byte
	for i := range 100 {
		events = append(events, fmt.Appendf(nil, `{"type":"track","userId":"user-%d","event":"x"}`, i))
	}
	body := append(append([]byte("["), bytes.Join(events, []byte(","))...), ']')
	if got := post(t, frozen.url, testSecret, body, body); got.Status != 200 {
		t.Fatalf("got %+v", got)
	}
	frozen.stderr.await(t, `"outcome":"delivered"`)
	if err := frozen.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	// This has the effect of a wait that is longer than a lease.
	const endLeases = "WITH ended AS (UPDATE leases SET until = 1 RETURNING 1) SELECT count(*) > 20 FROM ended"
	if out, err := exec.Command("psql", database, "-qAtc", endLeases).CombinedOutput(); err != nil ||
		string(out) != "t\n" {
		t.Fatalf("too few events in hand: %v: %s", err, out)
	}
	other := startDurable(t, sandbox, t.TempDir(), env...)
	awaitDrained(t, env, time.Minute)
	if err := other.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code := other.wait(); code != exitOK {
		t.Errorf("exit code %d", code)
	}
	if err := frozen.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	// The process delivers this event after all events that it had leased.
	last := []byte(`{"type":"track","userId":"last","event":"x"}`)
	if got := post(t, frozen.url, testSecret, last, last); got.Status != 200 {
		t.Fatalf("got %+v", got)
	}
	awaitDrained(t, env, time.Minute)
	got := arrived(t, sandbox)
	for key, n := range got {
		if n != 1 {
			t.Errorf("event %s was sent %d times", key, n)
		}
	}
	// The outcome of the event in flight is unknown.
	if len(got) < len(events) {
		t.Errorf("%d events arrived, want %d", len(got), len(events)+1)
	}
	checkConservation(t, env)
}
