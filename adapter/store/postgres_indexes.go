package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// postgresIndexes are the indexes that an upgrade makes in the background, by name. The migration makes them in a new
// database.
var postgresIndexes = []struct{ name, on string }{
	{"deliveries_outcome", "deliveries (outcome, id) WHERE outcome <> 1"},
	{"deliveries_run", "deliveries (run, outcome, id) WHERE run IS NOT NULL"},
}

func (e *postgresEngine) logIndexes() logIndexes {
	index := logIndex{from: "deliveries", run: "run", outcome: "outcome", id: "id"}
	// For a user with few events, the planner would scan the whole log.
	return logIndexes{byOutcome: index, byRun: index, userID: sorted}
}

// validSQL selects whether an index of the deliveries is complete. It has no row if there is no such index.
const validSQL = `SELECT indisvalid FROM pg_index
	WHERE indrelid = 'deliveries'::regclass AND indexrelid = to_regclass($1)`

func (e *postgresEngine) indexed(ctx context.Context, tx *sql.Tx) (bool, error) {
	for _, index := range postgresIndexes {
		var valid bool
		err := tx.QueryRowContext(ctx, validSQL, index.name).Scan(&valid)
		if errors.Is(err, sql.ErrNoRows) {
			return false, nil
		}
		if err != nil || !valid {
			return false, err
		}
	}
	return true, nil
}

// busyInterval is how often a replica looks for an index that another one makes.
const busyInterval = 10 * time.Second

// index makes the missing indexes. One of several replicas makes an index, and the others find that it exists. An
// incomplete index that a stopped replica has left is dropped first.
func (e *postgresEngine) index(ctx context.Context) (next time.Duration, err error) {
	for _, index := range postgresIndexes {
		var valid bool
		err := e.pool.QueryRow(ctx, validSQL, index.name).Scan(&valid)
		switch {
		case errors.Is(err, pgx.ErrNoRows):
		case err != nil:
			return 0, err
		case valid:
			continue
		default:
			if err := e.dropInvalid(ctx, index.name); isTaken(err) {
				return busyInterval, nil
			} else if err != nil {
				return 0, fmt.Errorf("drop the incomplete index %s: %w", index.name, err)
			}
		}
		if err := e.createIndex(ctx, index.name, index.on); isTaken(err) {
			return busyInterval, nil
		} else if err != nil {
			return 0, fmt.Errorf("make the index %s: %w", index.name, err)
		}
	}
	return 0, nil
}

// isTaken reports whether another replica is making the index: it exists, or the table is locked.
func isTaken(err error) bool {
	var fault *pgconn.PgError
	return errors.As(err, &fault) && (fault.Code == "42P07" || fault.Code == "23505" || fault.Code == "55P03")
}

// createIndex makes an index without blocking events.
func (e *postgresEngine) createIndex(ctx context.Context, name, on string) error {
	conn, err := e.pool.Acquire(ctx)
	if err != nil {
		return err
	}
	// The connection does not return to the pool, because of its setting.
	own := conn.Hijack()
	defer func() { _ = own.Close(context.WithoutCancel(ctx)) }()
	if _, err := own.Exec(ctx, `SET statement_timeout = 0`); err != nil {
		return err
	}
	_, err = own.Exec(ctx, `CREATE INDEX CONCURRENTLY `+name+` ON `+on)
	return err
}

// dropInvalid drops an incomplete index. A process that makes an index holds the lock on the table. So an index that
// is incomplete while dropInvalid has the lock is a leftover. Events may wait for the DROP, up to the lock_timeout.
func (e *postgresEngine) dropInvalid(ctx context.Context, name string) error {
	return pgx.BeginFunc(ctx, e.pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `SET LOCAL lock_timeout = '100ms'`); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `LOCK TABLE deliveries IN SHARE UPDATE EXCLUSIVE MODE`); err != nil {
			return err
		}
		var valid bool
		if err := tx.QueryRow(ctx, validSQL, name).Scan(&valid); err != nil || valid {
			return err
		}
		_, err := tx.Exec(ctx, `DROP INDEX `+name)
		return err
	})
}
