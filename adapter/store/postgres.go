package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// postgresEngine is a database that several processes share. A lease gives an event to one process for a limited
// time. When a process dies, its events are due again once its leases end, by the clock of the database.
type postgresEngine struct {
	pool      *pgxpool.Pool
	db        *sql.DB         // uses the pool
	slots     connectionSlots // limits the connections
	operators bool            // see Options.forOperators
	shards    chan int64
	writers   commitWriters
	leaseFor  time.Duration
	fillFor   time.Duration
	owner     *leaseOwner
	// repeats is set while many of the events to accept are duplicates.
	repeats atomic.Bool
	// readSlots has a place for each running read, for the kinds of reads that are bounded.
	readSlots map[readKind]chan struct{}
	// resolveFor is resolveTimeout, except in tests.
	resolveFor time.Duration
	// databaseNow replaces the clock of the database in tests, nil otherwise.
	databaseNow func() time.Time
}

const (
	// postgresCommitters is the number of transactions of events that a process runs at once. With few connections it
	// runs fewer.
	postgresCommitters = 4
	// totalsShards bounds the rows of the running totals. Processes that share a shard wait for each other's commits.
	totalsShards = 32
	// leaseFor exceeds the longest attempt, which takes a minute, and leaves time to wait for it. The events of a
	// process that died wait for this time.
	leaseFor = 90 * time.Second
)

// openPostgres connects, and makes the tables if needed.
func openPostgres(ctx context.Context, opts Options) (_ engine, err error) {
	e, err := connectPostgres(ctx, opts)
	if err != nil {
		return nil, fmt.Errorf("open the store: %w", err)
	}
	if err := e.prepare(ctx, &opts); err != nil {
		return nil, fmt.Errorf("open the store: %w", errors.Join(e.remedy(err), e.close()))
	}
	return e, nil
}

// prepare checks that the database can be the store, and makes the tables if needed.
func (e *postgresEngine) prepare(ctx context.Context, opts *Options) error {
	if err := e.checkDatabase(ctx); err != nil {
		return err
	}
	if err := e.checkDurable(ctx); err != nil {
		return err
	}
	if err := migrate(ctx, e.db, "postgres", opts); err != nil || opts.Shared {
		return err
	}
	return errors.Join(e.forgetCommits(ctx), e.forgetLeases(ctx))
}

func (e *postgresEngine) close() error {
	err := e.db.Close()
	e.pool.Close()
	return err
}

func (e *postgresEngine) committers() int { return cap(e.shards) }

// shard is a shard that no transaction of events writes, so none waits for operators' work.
func (e *postgresEngine) shard() int64 { return totalsShards }

// idOrder is no plain column: with statistics of an empty queue, PostgreSQL would use an index on it to look up
// events by id.
func (e *postgresEngine) idOrder() string { return "(id + 0)" }

func (e *postgresEngine) lockRows() string { return " FOR UPDATE" }

// read leaves half of the pool to events: short and long reads take up to a quarter each.
func (e *postgresEngine) read(ctx context.Context, kind readKind, fn func(*sql.Tx) error) error {
	if slots := e.readSlots[kind]; slots != nil {
		select {
		case slots <- struct{}{}:
			defer func() { <-slots }()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	var tx *sql.Tx
	leave, err := e.begin(ctx, func() (err error) {
		tx, err = e.db.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true})
		return err
	})
	if err != nil {
		return err
	}
	defer leave()
	defer func() { _ = tx.Rollback() }() // it has only read
	return fn(tx)
}

// postgresTries is how often a transaction is tried that loses its connection, or that PostgreSQL ends for the sake of
// other transactions.
const postgresTries = 5

func (e *postgresEngine) write(ctx context.Context, fn func(*sql.Tx) error) error {
	return retry(ctx, func() error { return e.writeOnce(ctx, fn) })
}

// retry runs a transaction again while it is not committed for a reason that may pass.
func retry(ctx context.Context, fn func() error) (err error) {
	for range postgresTries {
		if err = fn(); !mayRetry(err) || ctx.Err() != nil {
			return err
		}
	}
	return err
}

func (e *postgresEngine) writeOnce(ctx context.Context, fn func(*sql.Tx) error) error {
	var tx *sql.Tx
	leave, err := e.begin(ctx, func() (err error) {
		tx, err = e.db.BeginTx(ctx, nil)
		return err
	})
	if err != nil {
		return err
	}
	mark := e.writers.begin()
	if err = executeEach(ctx, tx, []string{steadySQL, durableSQL, mark.statement()}); err == nil {
		err = fn(tx)
	}
	return e.end(mark, leave, err, tx.Commit, tx.Rollback)
}

// mayRetry reports whether the transaction was not committed but may succeed on another try.
func mayRetry(err error) bool {
	return !errors.As(err, new(*unknownCommitError)) &&
		(isConflict(err) || isLost(err) || errors.As(err, new(*notCommittedError)))
}

// isConflict reports whether another try may succeed: after a deadlock, after a serialization failure, or when
// another transaction has stored the same event first, which the next try finds.
func isConflict(err error) bool {
	var fault *pgconn.PgError
	return errors.As(err, &fault) && (fault.Code == "40P01" || fault.Code == "40001" || fault.Code == "23505")
}

// clockSQL reads the clock of the database in milliseconds, when the statement runs and not when the transaction
// began.
const clockSQL = `SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000 AS bigint)`

// clockOf reads the answer to clockSQL.
func (e *postgresEngine) clockOf(row interface{ Scan(...any) error }) (time.Time, error) {
	var now int64
	if err := row.Scan(&now); err != nil {
		return time.Time{}, err
	}
	if e.databaseNow != nil {
		return e.databaseNow(), nil
	}
	return time.UnixMilli(now), nil
}

func (e *postgresEngine) clock(ctx context.Context) (now time.Time, known bool, err error) {
	err = e.useConnection(ctx, func() (err error) {
		now, err = e.clockOf(e.pool.QueryRow(ctx, clockSQL))
		return err
	})
	return now, true, err
}

func (e *postgresEngine) leaseTime(ctx context.Context, tx *sql.Tx, _ time.Time) (time.Time, error) {
	return e.clockOf(tx.QueryRowContext(ctx, clockSQL))
}

// maintain does nothing: PostgreSQL maintains itself.
func (e *postgresEngine) maintain(context.Context) error { return nil }

// heldLog is not known: the log is the server's.
func (e *postgresEngine) heldLog(bool) (log HeldLog, known bool) { return HeldLog{}, false }

func (e *postgresEngine) strained() bool { return false }

// compact does nothing: autovacuum makes room for new rows. PostgreSQL returns room within a table to the file system
// only by VACUUM FULL, which would lock the table.
func (e *postgresEngine) compact(context.Context) (bool, error) { return false, nil }

// check does nothing: the server checks its files.
func (e *postgresEngine) check() error { return nil }

// freeDisk is not known: the disk is the server's.
func (e *postgresEngine) freeDisk() (int64, error) { return -1, nil }

// forget does nothing: the index of messageIds is PostgreSQL's own.
func (e *postgresEngine) forget(context.Context, *sql.Tx, []removedMessage) error { return nil }

// refresh does nothing: the index has what other processes have accepted.
func (e *postgresEngine) refresh(context.Context, *sql.Tx) error { return nil }

func (e *postgresEngine) byMessage(
	_ context.Context, _ *sql.Tx, messageID string,
) (clause string, args []any, err error) {
	return "message_key = md5(?)::uuid AND message_id = ?", []any{messageID, messageID}, nil
}
