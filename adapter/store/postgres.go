package store

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"

	"segment-saasquatch/adapter"
)

// postgresEngine is a database that several processes share. Events are leased to
// one of them for a while; those of a process that dies are due again when its
// leases end, by the clock of the database.
type postgresEngine struct {
	pool     *pgxpool.Pool
	db       *sql.DB // over the pool
	shards   chan int64
	writers  commitWriters
	leaseFor time.Duration
	// resolveFor is resolveTimeout, except in tests.
	resolveFor time.Duration
	// databaseNow takes the place of the database's clock in tests, nil for none.
	databaseNow func() time.Time
}

const (
	// postgresCommitters is how many transactions of events a process has under
	// way at once.
	postgresCommitters = 4
	// totalsShards bounds the rows of the running totals. Processes that happen
	// to use the same shard wait for each other for the length of a commit.
	totalsShards = 32
	// leaseFor has to exceed the longest attempt, which takes a minute, and leave
	// time to wait for it. So long the events of a process that died wait.
	leaseFor = 90 * time.Second
	// postgresConnections are for the committers, leases, operators and the rest.
	postgresConnections = 2*postgresCommitters + 4
	connectTimeout      = 10 * time.Second
	// application is the application_name of a server's sessions.
	application = "segment-saasquatch"
)

// openPostgres connects and makes the tables if need be.
func openPostgres(ctx context.Context, opts Options) (_ engine, err error) {
	config, err := pgxpool.ParseConfig(opts.URL.Reveal())
	if err != nil {
		// The error of the parser may have parts of the URL, and of the password.
		return nil, errors.New("open the store: the URL of the PostgreSQL database cannot be read: write postgres://user:password@host:5432/database")
	}
	config.MaxConns = max(config.MaxConns, postgresConnections)
	if config.ConnConfig.ConnectTimeout == 0 {
		config.ConnConfig.ConnectTimeout = connectTimeout
	}
	config.ConnConfig.RuntimeParams["application_name"] = cmp.Or(opts.application, application)
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("open the store: %w", err)
	}
	e := &postgresEngine{
		pool: pool, db: stdlib.OpenDBFromPool(pool), shards: make(chan int64, postgresCommitters),
		leaseFor: leaseFor, resolveFor: cmp.Or(opts.resolveFor, resolveTimeout), databaseNow: opts.databaseNow,
	}
	if opts.leaseFor > 0 {
		e.leaseFor = opts.leaseFor
	}
	first := rand.Int64N(totalsShards)
	for i := range int64(postgresCommitters) {
		e.shards <- (first + i) % totalsShards
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, e.close())
		}
	}()
	if err := pool.Ping(ctx); err != nil {
		return nil, fmt.Errorf("open the store: %w: see that PostgreSQL runs, and that the store's URL has the right host, user, password and database", err)
	}
	if err := migrate(ctx, e.db, "postgres", opts.Shared); err != nil {
		return nil, fmt.Errorf("open the store: %w", err)
	}
	if !opts.Shared {
		err := e.checkDurable(ctx)
		if err == nil {
			err = e.forgetCommits(ctx)
		}
		if err != nil {
			return nil, fmt.Errorf("open the store: %w", err)
		}
	}
	return e, nil
}

func (e *postgresEngine) close() error {
	err := e.db.Close()
	e.pool.Close()
	return err
}

func (e *postgresEngine) committers() int { return postgresCommitters }

// shard is one that no transaction of events writes, so that none waits for operators' work.
func (e *postgresEngine) shard() int64 { return totalsShards }

func (e *postgresEngine) lockRows() string { return " FOR UPDATE" }

func (e *postgresEngine) read(ctx context.Context, fn func(*sql.Tx) error) error {
	tx, err := e.db.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true})
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // it has only read
	return fn(tx)
}

// postgresTries is how often a transaction is tried that PostgreSQL ends for the
// sake of others.
const postgresTries = 5

func (e *postgresEngine) write(ctx context.Context, fn func(*sql.Tx) error) (err error) {
	for range postgresTries {
		if err = e.writeOnce(ctx, fn); !mayRetry(err) {
			return err
		}
	}
	return err
}

func (e *postgresEngine) writeOnce(ctx context.Context, fn func(*sql.Tx) error) error {
	tx, err := e.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	mark := e.writers.begin()
	if _, err = tx.ExecContext(ctx, durablySQL); err == nil {
		_, err = tx.ExecContext(ctx, mark.statement())
	}
	if err == nil {
		err = fn(tx)
	}
	if err != nil {
		failed := tx.Rollback()
		if failed == nil {
			e.writers.ended(mark)
		}
		return errors.Join(err, failed)
	}
	return e.afterCommit(mark, tx.Commit())
}

// mayRetry reports whether the transaction was not committed, and may be if it is tried
// again.
func mayRetry(err error) bool { return isConflict(err) || errors.As(err, new(*notCommittedError)) }

// isConflict reports whether the transaction may succeed if it is tried again:
// after a deadlock, a serialization failure, or where another transaction has stored
// the same event first, which the next try finds.
func isConflict(err error) bool {
	var fault *pgconn.PgError
	return errors.As(err, &fault) && (fault.Code == "40P01" || fault.Code == "40001" || fault.Code == "23505")
}

// explain tells a database that is out of order from a fault of ours.
func (e *postgresEngine) explain(err error) *adapter.UnavailableError {
	if errors.As(err, new(*unknownCommitError)) {
		return nil // it does not say that nothing was stored
	}
	var fault *pgconn.PgError
	if !errors.As(err, &fault) {
		var connect *pgconn.ConnectError
		var network net.Error
		if errors.As(err, &connect) || errors.As(err, &network) || errors.Is(err, io.ErrUnexpectedEOF) ||
			pgconn.SafeToRetry(err) || pgconn.Timeout(err) {
			return &adapter.UnavailableError{Message: "the store cannot be reached", Err: err}
		}
		return nil
	}
	message, remedy := "", ""
	switch {
	case fault.Code == "53100":
		message = "the disk of the store is full"
	case fault.Code == "25006":
		message, remedy = "the store cannot be written to",
			": name the primary in the store's URL; with several hosts, add target_session_attrs=read-write"
	case fault.Code == "42501":
		message, remedy = "the store cannot be written to",
			": grant the user in the store's URL SELECT, INSERT, UPDATE and DELETE on all tables of the store, "+
				"and USAGE on its sequences"
	case fault.Code[:2] == "53": // insufficient resources
		message = "the store is overloaded"
	case fault.Code[:2] == "57", fault.Code[:2] == "08": // operator intervention, connection exception
		message = "the store cannot be reached"
	case fault.Code[:2] == "58", fault.Code[:2] == "XX": // system error, internal error
		message = "the store reports an error"
	default:
		return nil
	}
	if remedy != "" {
		err = fmt.Errorf("%w%s", err, remedy)
	}
	return &adapter.UnavailableError{Message: message, Err: err}
}

// clockSQL asks for the time of the database in milliseconds, at the moment at which the
// statement runs, and not that at which the transaction began.
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
	now, err = e.clockOf(e.pool.QueryRow(ctx, clockSQL))
	return now, true, err
}

func (e *postgresEngine) leaseTime(ctx context.Context, tx *sql.Tx, _ time.Time) (time.Time, error) {
	return e.clockOf(tx.QueryRowContext(ctx, clockSQL))
}

// maintain has nothing to do: PostgreSQL looks after itself.
func (e *postgresEngine) maintain(context.Context) error { return nil }

// compact leaves it to autovacuum to make room for new rows. PostgreSQL gives room
// in the midst of a table back to the file system only by VACUUM FULL, which
// would lock the table.
func (e *postgresEngine) compact(context.Context) (bool, error) { return false, nil }

// check does nothing: the server looks after its files.
func (e *postgresEngine) check() error { return nil }

// freeDisk is not known: the disk is the server's.
func (e *postgresEngine) freeDisk() (int64, error) { return -1, nil }

// forget has nothing to do: the index of messageIds is PostgreSQL's own.
func (e *postgresEngine) forget(context.Context, *sql.Tx, []removedMessage) error { return nil }

// refresh has nothing to do: what others have accepted is in the index.
func (e *postgresEngine) refresh(context.Context, *sql.Tx) error { return nil }

func (e *postgresEngine) byMessage(_ context.Context, _ *sql.Tx, messageID string) (clause string, args []any, err error) {
	return "message_key = md5(?)::uuid AND message_id = ?", []any{messageID, messageID}, nil
}
