package store_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/store"
	"segment-saasquatch/mapping"
)

// pgbouncer is a pooler before PostgreSQL.
type pgbouncer struct {
	t       testing.TB
	config  string
	address string
	process *exec.Cmd
	said    bytes.Buffer
}

// throughPooler returns the options of a store that reaches its database through PgBouncer
// with the settings, a line each.
func throughPooler(t testing.TB, opts store.Options, settings ...string) (store.Options, *pgbouncer) {
	t.Helper()
	if _, err := exec.LookPath(pgbouncerPath()); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip("SKIP: install pgbouncer with `apt-get install pgbouncer`")
	}
	source, err := url.Parse(opts.URL.Reveal())
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().(*net.TCPAddr)
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	port, password := source.Port(), ""
	if port == "" {
		port = "5432"
	}
	if text, ok := source.User.Password(); ok {
		password = " password=" + text
	}
	// Any user comes in, as the user of the tests.
	p := &pgbouncer{t: t, config: filepath.Join(t.TempDir(), "pgbouncer.ini"), address: address.String()}
	text := fmt.Sprintf("[databases]\n* = host=%s port=%s user=%s%s\n"+
		"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = %d\nunix_socket_dir =\nauth_type = any\n%s\n",
		source.Hostname(), port, source.User.Username(), password,
		address.Port, strings.Join(settings, "\n"))
	if err := os.WriteFile(p.config, []byte(text), 0o644); err != nil { // for the user that it becomes
		t.Fatal(err)
	}
	p.start()
	t.Cleanup(p.kill)
	source.Host = p.address
	query := source.Query()
	query.Set("sslmode", "disable")
	source.RawQuery = query.Encode()
	opts.URL = adapter.NewSecret(source.String())
	return opts, p
}

// pgbouncerPath is where Debian has it if it is not in the PATH.
func pgbouncerPath() string {
	if path, err := exec.LookPath("pgbouncer"); err == nil {
		return path
	}
	return "/usr/sbin/pgbouncer"
}

// start starts PgBouncer and waits until it listens.
func (p *pgbouncer) start() {
	p.t.Helper()
	args := []string{"-q", p.config}
	if os.Geteuid() == 0 { // as root it refuses to run
		args = append([]string{"-u", "postgres"}, args...)
		if err := openDirectories(filepath.Dir(p.config)); err != nil {
			p.t.Fatal(err)
		}
	}
	p.said.Reset()
	p.process = exec.Command(pgbouncerPath(), args...)
	p.process.Stdout, p.process.Stderr = &p.said, &p.said
	if err := p.process.Start(); err != nil {
		p.t.Fatal(err)
	}
	await(p.t, func() bool {
		conn, err := net.Dial("tcp", p.address)
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	})
}

// openDirectories lets every user reach a directory of the test.
func openDirectories(dir string) error {
	for ; dir != filepath.Clean(os.TempDir()) && len(dir) > 1; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			return err
		}
	}
	return nil
}

// kill ends PgBouncer at once.
func (p *pgbouncer) kill() {
	_ = p.process.Process.Kill() // it may have ended
	_ = p.process.Wait()
}

// TestPooler runs a store behind PgBouncer: on a new database, on one with tables, and
// beyond the end of the pooler. Two connections to PostgreSQL serve all of the store's, so
// that with transaction pooling each is handed from one to the other.
func TestPooler(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"transaction", "session"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			size := map[string]string{"transaction": "2", "session": "20"}[mode]
			opts, pooler := throughPooler(t, postgresOptions(t), "pool_mode = "+mode, "default_pool_size = "+size)
			for round := range 2 {
				s := open(t, opts)
				q := connection(t, s, "default", "tenant")
				serveThrough(t, s, q, fmt.Sprintf("round-%d", round))
				pooler.kill()
				pooler.start()
				// The store's connections are dead, and it is not told before it uses one.
				accept(t, q, event(fmt.Sprintf("after-%d", round)))
				serveThrough(t, s, q, fmt.Sprintf("again-%d", round))
				balanced(t, s)
				if err := s.Ready(); err != nil {
					t.Errorf("round %d: %v", round, err)
				}
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// TestPoolerLimits has PgBouncer take fewer clients than the store would have.
func TestPoolerLimits(t *testing.T) {
	t.Parallel()
	opts, _ := throughPooler(t, postgresOptions(t), "pool_mode = transaction", "max_client_conn = 5")
	workWithin(t, opts, 1)
}

// TestPoolerFaults: what PgBouncer refuses has a remedy.
func TestPoolerFaults(t *testing.T) {
	t.Parallel()
	statements, _ := throughPooler(t, postgresOptions(t), "pool_mode = statement")
	transactions, _ := throughPooler(t, postgresOptions(t), "pool_mode = transaction")
	for want, opts := range map[string]store.Options{
		"pool_mode is transaction or session": statements,
		"ALTER ROLE":                          withParameter(t, transactions, "search_path", "public"),
	} {
		s, err := store.Open(context.Background(), opts)
		if err == nil {
			t.Fatal("opened", s.Close())
		}
		if !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in %v", want, err)
		}
	}
}

// serveThrough accepts events from several senders, delivers most of them, and redrives the
// dead ones.
func serveThrough(t *testing.T, s *store.Store, q *store.Queue, name string) {
	t.Helper()
	const senders, each = 6, 5
	var sending sync.WaitGroup
	for sender := range senders {
		sending.Go(func() {
			for i := range each {
				arrival := event(fmt.Sprintf("%s-%d-%d", name, sender, i))
				arrival.Event = fmt.Sprintf("Event %s %d", name, sender)
				if err := q.Accept(context.Background(), []adapter.Arrival{arrival}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	sending.Wait()
	leased := lease(t, q, 1000)
	if len(leased) < senders*each {
		t.Errorf("%s: leased %d of %d", name, len(leased), senders*each)
	}
	var dead []int64
	for i := range leased {
		outcome, reason := adapter.Delivered, mapping.Reason("")
		if i%10 == 0 {
			outcome, reason = adapter.Dead, mapping.ReasonRefused
			dead = append(dead, leased[i].ID)
		}
		record(t, q, leased[i:i+1], adapter.Step{Outcome: outcome, Reason: reason, At: leased[i].ReceivedAt})
	}
	if got := redrive(t, s, dead...); got.Pending != len(dead) {
		t.Errorf("%s: redrove %+v of %d", name, got, len(dead))
	}
	again := lease(t, q, 1000)
	if len(again) != len(dead) {
		t.Errorf("%s: leased %d of %d redriven ones", name, len(again), len(dead))
	}
	for i := range again {
		record(t, q, again[i:i+1], adapter.Step{Outcome: adapter.Delivered, At: again[i].ReceivedAt})
	}
	found, err := s.Find(context.Background(), adapter.Filter{MessageID: name + "-3-3"}, 10)
	if err != nil || len(found) != 1 || found[0].Outcome != adapter.Delivered {
		t.Errorf("%s: found %v, %v", name, found, err)
	}
}
