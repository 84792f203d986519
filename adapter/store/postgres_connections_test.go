package store_test

import (
	"context"
	"crypto/rand"
	"database/sql"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/store"
)

// withParameter returns the options with a parameter in the store's URL.
func withParameter(t testing.TB, opts store.Options, name, value string) store.Options {
	t.Helper()
	u, err := url.Parse(opts.URL.Reveal())
	if err != nil {
		t.Fatal(err)
	}
	query := u.Query()
	query.Set(name, value)
	u.RawQuery = query.Encode()
	opts.URL = adapter.NewSecret(u.String())
	return opts
}

// newRole makes a role that may log in, and returns the options of a store that does so.
func newRole(t testing.TB, opts store.Options, db *sql.DB, attributes string) (_ store.Options, role string) {
	t.Helper()
	role = "test_" + strings.ToLower(rand.Text())
	if _, err := db.Exec(`CREATE ROLE ` + role + ` LOGIN PASSWORD '` + role + `' ` + attributes); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_, err := db.Exec(`DROP OWNED BY ` + role)
		if _, dropErr := db.Exec(`DROP ROLE ` + role); dropErr != nil {
			t.Error(err, dropErr)
		}
	})
	u, err := url.Parse(opts.URL.Reveal())
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword(role, role)
	opts.URL = adapter.NewSecret(u.String())
	return opts, role
}

// grantAll lets a role work with a store.
func grantAll(t *testing.T, db *sql.DB, role string) {
	t.Helper()
	execute(t, db, `GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO `+role)
	execute(t, db, `GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO `+role)
}

// TestConnectionLimits accepts from 32 senders and leases, with fewer connections than the
// store would use. What finds none waits.
func TestConnectionLimits(t *testing.T) {
	t.Parallel()
	opts := postgresOptions(t)
	if err := open(t, opts).Close(); err != nil {
		t.Fatal(err)
	}
	db := raw(t, opts)
	limited, role := newRole(t, opts, db, "CONNECTION LIMIT 5")
	grantAll(t, db, role)
	other, otherRole := newRole(t, withParameter(t, opts, "pool_max_conns", "3"), db, "")
	grantAll(t, db, otherRole)
	t.Run("limit of the role", func(t *testing.T) { workWithin(t, limited, 1) })
	t.Run("pool_max_conns", func(t *testing.T) { workWithin(t, other, 0) })
}

// workWithin accepts, leases and reads with a store that learns so many times of refused
// connections.
func workWithin(t *testing.T, opts store.Options, want int32) {
	t.Helper()
	var refused atomic.Int32
	var message atomic.Value
	opts.OnHealth = func(err error) { t.Errorf("the store flaps: %v", err) }
	opts.OnRefused = func(err error) {
		refused.Add(1)
		message.Store(err.Error())
	}
	s := open(t, opts)
	q := connection(t, s, "default", "tenant")
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	var working sync.WaitGroup
	for i := range 32 {
		working.Go(func() {
			for j := range 5 {
				arrival := event(fmt.Sprintf("%s-%d-%d", t.Name(), i, j))
				if err := q.Accept(ctx, []adapter.Arrival{arrival}); err != nil {
					t.Error(err)
				}
				if _, err := q.Lease(ctx, 3, 1<<20); err != nil {
					t.Error(err)
				}
				if _, err := s.Find(ctx, adapter.Filter{MessageID: arrival.MessageID}, 1); err != nil {
					t.Error(err)
				}
			}
		})
	}
	working.Wait()
	if refused.Load() != want {
		t.Errorf("told %d times of refused connections, want %d: %v", refused.Load(), want, message.Load())
	}
	if text, _ := message.Load().(string); want > 0 && !strings.Contains(text, "pool_max_conns") {
		t.Errorf("no remedy in %q", text)
	}
	balanced(t, s)
}

// TestMigrationLock opens a new database twice at once, while an earlier version of the
// program migrates it: that one holds its lock for a session.
func TestMigrationLock(t *testing.T) {
	t.Parallel()
	opts := postgresOptions(t)
	db := raw(t, opts)
	db.SetMaxOpenConns(1)
	execute(t, db, `SELECT pg_advisory_lock(4097083626)`)
	opened := make(chan error)
	for range 2 {
		go func() {
			s, err := store.Open(context.Background(), withParameter(t, opts, "statement_timeout", "1000"))
			if err == nil {
				err = s.Close()
			}
			opened <- err
		}()
	}
	beside := raw(t, opts)
	awaitBlocked(t, beside)
	execute(t, beside, `SELECT pg_sleep(1.2)`) // beyond the statement_timeout
	execute(t, db, `SELECT pg_advisory_unlock(4097083626)`)
	for range 2 {
		if err := <-opened; err != nil {
			t.Error(err)
		}
	}
}

// TestTooFewConnections: the number of connections is never raised silently.
func TestTooFewConnections(t *testing.T) {
	t.Parallel()
	for _, value := range []string{"2", "0", "-1", "100000", "many"} {
		opts := store.Options{URL: adapter.NewSecret("postgres://127.0.0.1:1/x?pool_max_conns=" + value)}
		_, err := store.Open(context.Background(), opts)
		const want = "needs 3 connections"
		if err == nil || !strings.Contains(err.Error(), "pool_max_conns") || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v", value, err)
		}
	}
}

// TestDeadConnections ends all connections of an idle store. Each kind of access that comes
// first then succeeds.
func TestDeadConnections(t *testing.T) {
	t.Parallel()
	opts := postgresOptions(t)
	opts.OnHealth = func(err error) {
		// The store's own measurement every few seconds may be at work on a connection that ends.
		if err != nil && !strings.Contains(err.Error(), "measure the backlog") {
			t.Errorf("the store flaps: %v", err)
		}
	}
	s := open(t, opts)
	q := connection(t, s, "default", "tenant")
	db := raw(t, opts)
	ctx := context.Background()
	accept(t, q, event("message-1"), event("message-2"))
	leased := lease(t, q, 1)
	for name, access := range map[string]func() error{
		"accept": func() error { return q.Accept(ctx, []adapter.Arrival{event("message-3")}) },
		"name":   func() error { _, err := s.Connection(ctx, "other", "tenant"); return err },
		"lease":  func() error { _, err := q.Lease(ctx, 1, 1<<20); return err },
		"record": func() error {
			return q.Record(ctx, &leased[0], adapter.Step{Outcome: adapter.Delivered, At: time.Now()})
		},
		"read":    func() error { _, err := s.Backlog(ctx); return err },
		"examine": func() error { s.Examine(ctx); return s.Ready() },
	} {
		// The pool has as many idle connections as it can have.
		var reading sync.WaitGroup
		for range 12 {
			reading.Go(func() {
				if _, err := s.Find(ctx, adapter.Filter{}, 1); err != nil {
					t.Error(err)
				}
			})
		}
		reading.Wait()
		execute(t, db, `SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
			WHERE datname = current_database() AND pid <> pg_backend_pid()`)
		if err := access(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestFlapping has a grant come and go. The store tells of the first time and of the next,
// and that it works once it has done so for a while.
func TestFlapping(t *testing.T) {
	t.Parallel()
	opts := postgresOptions(t)
	if err := open(t, opts).Close(); err != nil {
		t.Fatal(err)
	}
	db := raw(t, opts)
	opts, role := newRole(t, opts, db, "")
	grantAll(t, db, role)
	var mu sync.Mutex
	var told []string
	opts.OnHealth = func(err error) {
		mu.Lock()
		defer mu.Unlock()
		text := "works"
		if err != nil { // with another reason, if the machine is slow
			text = "fails"
		}
		if len(told) == 0 || told[len(told)-1] != text {
			told = append(told, text)
		}
	}
	s := open(t, store.WithPatience(opts, 100*time.Millisecond))
	for range 6 {
		execute(t, db, `REVOKE INSERT ON queue FROM `+role)
		awaitReady(t, s, "grant the user")
		execute(t, db, `GRANT INSERT ON queue TO `+role)
		awaitReady(t, s, "")
	}
	await(t, func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(told) > 3
	})
	mu.Lock()
	defer mu.Unlock()
	const want = "fails, works, fails, works"
	if got := strings.Join(told, ", "); got != want {
		t.Errorf("told %s, want %s", got, want)
	}
}
