package store_test

import (
	"context"
	"database/sql"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/delivery"
	"segment-saasquatch/adapter/store"
	"segment-saasquatch/mapping"
)

// lockWrites has another program keep every write to the queue waiting until release is
// called. Reads go on.
func lockWrites(t *testing.T, opts store.Options) (release func()) {
	t.Helper()
	db := raw(t, opts)
	if opts.Path != "" {
		db.SetMaxOpenConns(1)
		execute(t, db, `PRAGMA busy_timeout = 60000`)
		execute(t, db, `BEGIN IMMEDIATE`)
		return func() { execute(t, db, `ROLLBACK`) }
	}
	tx, err := db.Begin()
	if err == nil {
		_, err = tx.Exec(`LOCK TABLE queue IN SHARE MODE`)
	}
	if err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := tx.Rollback(); err != nil {
			t.Error(err)
		}
	}
}

// awaitReady waits until the store is ready or, if there is a text, not ready with it.
func awaitReady(t *testing.T, s *store.Store, text string) {
	t.Helper()
	await(t, func() bool {
		err := s.Ready()
		if text == "" || err == nil {
			return (err == nil) == (text == "")
		}
		return strings.Contains(err.Error(), text)
	})
}

// await waits for a condition that must come true within a minute. The store, a server or a process
// brings it about, so time is real.
func await(t testing.TB, condition func() bool) {
	t.Helper()
	if !comesTrue(condition) {
		t.Fatal("the condition did not come true within a minute")
	}
}

// comesTrue is await for goroutines that may not end the test.
func comesTrue(condition func() bool) bool {
	const every = 10 * time.Millisecond
	for range time.Minute / every {
		if condition() {
			return true
		}
		time.Sleep(every)
	}
	return false
}

// acceptWhenReady stores an event, once the store takes it.
func acceptWhenReady(t *testing.T, q *store.Queue, arrival adapter.Arrival) {
	t.Helper()
	await(t, func() bool {
		err := q.Accept(context.Background(), []adapter.Arrival{arrival})
		if err != nil && !errors.As(err, new(*adapter.UnavailableError)) {
			t.Fatal(err)
		}
		return err == nil
	})
}

// TestHang has another program lock the database. The store is not ready then and takes
// nothing more, and what it has not committed when the sender leaves is not stored.
func TestHang(t *testing.T) {
	forEachEngine(t, func(t *testing.T, opts store.Options) {
		s := open(t, store.WithPatience(opts, 200*time.Millisecond))
		q := connection(t, s, "default", "tenant")
		release := lockWrites(t, opts)
		ctx, cancel := context.WithCancel(context.Background())
		left := make(chan error)
		go func() { left <- q.Accept(ctx, []adapter.Arrival{event("message-left")}) }()
		stayed := make(chan error)
		go func() { stayed <- q.Accept(context.Background(), []adapter.Arrival{event("message-stayed")}) }()
		awaitReady(t, s, "the store does not answer")
		// While the lock is held, only an answer at once ends these.
		var unavailable *adapter.UnavailableError
		if err := q.Accept(context.Background(), []adapter.Arrival{event("message-late")}); !errors.As(err,
			&unavailable) {
			t.Errorf("accepted while the database hangs: %v", err)
		}
		cancel()
		release()
		if err := <-left; !errors.As(err, &unavailable) {
			t.Errorf("the sender that left: %v", err)
		}
		// It may have come after the store has noticed.
		want := []string{"message-again"}
		if err := <-stayed; err == nil {
			want = []string{"message-stayed", "message-again"}
		} else if !errors.As(err, &unavailable) {
			t.Errorf("the sender that stayed: %v", err)
		}
		awaitReady(t, s, "")
		acceptWhenReady(t, q, event("message-again"))
		var stored []string
		for _, l := range lease(t, q, 10) {
			stored = append(stored, l.MessageID)
		}
		if strings.Join(stored, " ") != strings.Join(want, " ") {
			t.Errorf("%s are stored, want %s", stored, want)
		}
		balanced(t, s)
	})
}

// TestIdleHang has a store without traffic find out that the database hangs, and that it
// works again.
func TestIdleHang(t *testing.T) {
	forEachEngine(t, func(t *testing.T, opts store.Options) {
		s := open(t, store.WithPatience(opts, 100*time.Millisecond))
		release := lockWrites(t, opts)
		awaitReady(t, s, "the store does not answer")
		release()
		awaitReady(t, s, "")
	})
}

// TestLocked sends an event a second while another program has SQLite's write lock. Each
// answer comes within 4 s, and those that come once the store has noticed come at once.
func TestLocked(t *testing.T) {
	t.Run("for half a minute", func(t *testing.T) { testLocked(t, 30*time.Second) })
	t.Run("for less than SQLite waits", func(t *testing.T) { testLocked(t, 8*time.Second) })
}

func testLocked(t *testing.T, locked time.Duration) {
	opts := sqliteOptions(t)
	mapper, err := mapping.New(mapping.DefaultRules())
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		s := open(t, opts)
		q := connection(t, s, "default", "tenant")
		durable := delivery.NewDurable(mapper, q, delivery.DurableOptions{})
		send := func() error {
			// Without a messageId: it would count twice if it was stored behind a 503.
			_, err := durable.Accept(context.Background(),
				[][]byte{[]byte(`{"type":"track","userId":"u","event":"x"}`)})
			return err
		}
		acknowledged := 0
		if err := send(); err == nil {
			acknowledged++
		}
		release := lockWrites(t, opts)
		began := time.Now()
		time.AfterFunc(locked, release)
		const requests = 40
		type reply struct {
			at, took time.Duration
			err      error
		}
		replies := make(chan reply, requests)
		for range requests {
			go func() {
				sent := time.Now()
				err := send()
				replies <- reply{sent.Sub(began), time.Since(sent), err}
			}()
			time.Sleep(time.Second)
		}
		for range requests {
			r := <-replies
			if r.err == nil {
				acknowledged++
			}
			switch {
			case r.took > 4*time.Second:
				t.Errorf("sent after %v, answered after %v: %v", r.at, r.took, r.err)
			case r.at > 5*time.Second && r.at < locked && (r.err == nil || r.took > 0):
				t.Errorf("sent after %v while the store is known to hang: %v after %v", r.at, r.err, r.took)
			case r.at > locked+time.Second && r.err != nil:
				t.Errorf("sent after %v, when the lock was gone: %v", r.at, r.err)
			}
		}
		if stored := len(lease(t, q, 100)); stored != acknowledged {
			t.Errorf("%d events are stored, %d were acknowledged", stored, acknowledged)
		}
	})
}

// TestCommitHangs has PostgreSQL hang in a commit. Such an event is stored although its
// sender has left, since it is too late to withdraw it.
func TestCommitHangs(t *testing.T) {
	opts := postgresOptions(t)
	s := open(t, opts)
	q := connection(t, s, "default", "tenant")
	db := raw(t, opts)
	db.SetMaxOpenConns(1)
	execute(t, db, `CREATE FUNCTION hang() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
		PERFORM pg_advisory_xact_lock(4711); RETURN NULL;
	END $$`)
	execute(t, db,
		`CREATE CONSTRAINT TRIGGER hang AFTER INSERT ON queue DEFERRABLE INITIALLY DEFERRED
			FOR EACH ROW EXECUTE FUNCTION hang()`)
	execute(t, db, `SELECT pg_advisory_lock(4711)`)
	ctx, cancel := context.WithCancel(context.Background())
	answer := make(chan error)
	go func() { answer <- q.Accept(ctx, []adapter.Arrival{event("message-1")}) }()
	awaitBlocked(t, raw(t, opts))
	cancel()
	execute(t, db, `SELECT pg_advisory_unlock(4711)`)
	if err := <-answer; err != nil {
		t.Errorf("committed: %v", err)
	}
	if stored := lease(t, q, 10); len(stored) != 1 {
		t.Errorf("%d events are stored", len(stored))
	}
}

// awaitBlocked waits until a session waits for an advisory lock.
func awaitBlocked(t *testing.T, db *sql.DB) {
	t.Helper()
	await(t, func() bool {
		var blocked int
		err := db.QueryRow(`SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
			AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`).Scan(&blocked)
		if err != nil {
			t.Fatal(err)
		}
		return blocked > 0
	})
}
