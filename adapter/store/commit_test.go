package store_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/store"
)

// poison has the database refuse events with that event key.
func poison(t *testing.T, opts store.Options) {
	t.Helper()
	db := raw(t, opts)
	if opts.Path != "" {
		execute(t, db,
			`CREATE TRIGGER poison BEFORE INSERT ON queue WHEN NEW.event_key = 'poison' BEGIN
				SELECT RAISE(ABORT, 'poisoned'); END`)
		return
	}
	execute(t, db, `CREATE FUNCTION poison() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
		IF NEW.event_key = 'poison' THEN RAISE check_violation USING MESSAGE = 'poisoned'; END IF;
		RETURN NEW;
	END $$`)
	execute(t, db, `CREATE TRIGGER poison BEFORE INSERT ON queue FOR EACH ROW EXECUTE FUNCTION poison()`)
}

// TestOneSpoilsNoOther has requests that the database refuses share transactions
// with others: those are stored, with their duplicates found, and of the refused
// ones nothing is.
func TestOneSpoilsNoOther(t *testing.T) {
	forEachEngine(t, func(t *testing.T, opts store.Options) {
		s := open(t, opts)
		q := connection(t, s, "default", "tenant")
		poison(t, opts)
		accept(t, q, event("message-first"))
		const requests = 200
		var wait sync.WaitGroup
		for i := range requests {
			wait.Go(func() {
				list := []adapter.Arrival{event(fmt.Sprintf("message-%d-a", i)), event("message-first"),
					event(fmt.Sprintf("message-%d-b", i))}
				if i%4 == 0 {
					list[2].EventKey = "poison"
				}
				err := q.Accept(context.Background(), list)
				var unavailable *adapter.UnavailableError
				switch {
				case i%4 == 0 && (err == nil || !strings.Contains(err.Error(), "poisoned") ||
					errors.As(err, &unavailable)):
					t.Errorf("request %d: %v", i, err)
				case i%4 > 0 && (err != nil || list[0].Outcome != adapter.Pending ||
					list[1].Outcome != adapter.Duplicate || list[2].Outcome != adapter.Pending):
					t.Errorf("request %d: %v, %v", i, list, err)
				}
			})
		}
		wait.Wait()
		got := balanced(t, s)[0]
		if good := int64(requests * 3 / 4); got.Accepted != 1+3*good || got.Events[adapter.Pending] != 1+2*good ||
			got.Events[adapter.Duplicate] != good {
			t.Errorf("got %+v", got)
		}
		if err := s.Ready(); err != nil {
			t.Errorf("the store works: %v", err)
		}
		// What was refused is not known, in memory neither.
		if got := accept(t, q, event("message-0-a"), event("message-0-b")); got != "pending, pending" {
			t.Errorf("got %s", got)
		}
	})
}

// TestCloseWhileAccepting closes the store under its producers: whatever was
// acknowledged is on disk, and nothing else is.
func TestCloseWhileAccepting(t *testing.T) {
	forEachEngine(t, func(t *testing.T, opts store.Options) {
		s := open(t, opts)
		q := connection(t, s, "default", "tenant")
		var mu sync.Mutex
		acknowledged := make(map[string]bool)
		var producers sync.WaitGroup
		begun := make(chan struct{}, 1<<16)
		for p := range 32 {
			producers.Go(func() {
				for i := 0; ; i++ {
					list := []adapter.Arrival{event(fmt.Sprintf("message-%d-%d", p, i))}
					err := q.Accept(context.Background(), list)
					var unavailable *adapter.UnavailableError
					switch {
					case err == nil:
						mu.Lock()
						acknowledged[list[0].MessageID] = true
						mu.Unlock()
						select {
						case begun <- struct{}{}:
						default:
						}
						continue
					case !errors.As(err, &unavailable) || !errors.Is(err, store.ErrClosed):
						t.Error(err)
					}
					return
				}
			})
		}
		for range 500 {
			<-begun
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		producers.Wait()
		s = open(t, opts)
		stored := lease(t, connection(t, s, "default", "tenant"), 1<<20)
		if len(stored) != len(acknowledged) {
			t.Errorf("%d events are on disk, %d were acknowledged", len(stored), len(acknowledged))
		}
		for i := range stored {
			if !acknowledged[stored[i].MessageID] {
				t.Errorf("%s was not acknowledged, but is on disk", stored[i].MessageID)
			}
		}
		balanced(t, s)
	})
}

// TestRefusedMakesNoDuplicates has requests be refused after others of the same
// transaction were found to be their duplicates. Tried again without them, those
// are new, and their senders must not hear of duplicates.
func TestRefusedMakesNoDuplicates(t *testing.T) {
	forEachEngine(t, func(t *testing.T, opts store.Options) {
		s := open(t, opts)
		refused, q := connection(t, s, "refused", "tenant"), connection(t, s, "default", "tenant")
		db := raw(t, opts)
		// The totals come last in a transaction.
		if opts.Path != "" {
			execute(t, db, `CREATE TRIGGER refuse BEFORE INSERT ON totals WHEN NEW.connection = (SELECT id
				FROM names WHERE name = 'refused')
				BEGIN SELECT RAISE(ABORT, 'poisoned'); END`)
		} else {
			execute(t, db, `CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
				IF NEW.connection = (SELECT id FROM names WHERE name = 'refused')
					THEN RAISE check_violation USING MESSAGE = 'poisoned'; END IF;
				RETURN NEW;
			END $$`)
			execute(t, db, `CREATE TRIGGER refuse BEFORE INSERT ON totals FOR EACH ROW EXECUTE FUNCTION refuse()`)
		}
		const events = 200
		var wait sync.WaitGroup
		for i := range events {
			wait.Go(func() {
				if err := refused.Accept(context.Background(),
					[]adapter.Arrival{event(fmt.Sprintf("message-%d", i))}); err == nil {
					t.Error("accepted what the database refuses")
				}
			})
			wait.Go(func() {
				if got := accept(t, q, event(fmt.Sprintf("message-%d", i))); got != "pending" {
					t.Errorf("event %d: %s", i, got)
				}
			})
		}
		wait.Wait()
		if got := balanced(t, s); len(got) != 1 || got[0].Events[adapter.Pending] != events {
			t.Errorf("got %+v", got)
		}
	})
}
