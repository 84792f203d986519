package store

import (
	"context"
	"database/sql"
	"strings"
	"time"

	"segment-saasquatch/adapter"
)

// WithMessagesInMemory returns the options with another size of SQLite's index in
// memory, so that a test need not store a great many events to have it spill.
func WithMessagesInMemory(opts Options, n int) Options {
	opts.messagesInMemory = n
	return opts
}

// Examine looks at the database as the store does every second.
func (s *Store) Examine(ctx context.Context) { s.examine(ctx) }

// TrimSlack is the part of the limit on dead letters that is freed beyond need.
const TrimSlack = trimSlack

// WithPatientLease returns the options with leases of PostgreSQL that go on until they are filled, on a slow machine
// too.
func WithPatientLease(opts Options) Options {
	opts.fillFor = time.Hour
	return opts
}

// WithLease returns the options with another length of PostgreSQL's leases.
func WithLease(opts Options, d time.Duration) Options {
	opts.leaseFor = d
	return opts
}

// WithResolve returns the options with another time for which PostgreSQL is asked whether a
// transaction was committed.
func WithResolve(opts Options, d time.Duration) Options {
	opts.resolveFor = d
	return opts
}

// WithDatabaseClock returns the options with another clock in the place of PostgreSQL's.
func WithDatabaseClock(opts Options, now func() time.Time) Options {
	opts.databaseNow = now
	return opts
}

// OnOneClock returns the options with the clock of the process in the place of
// PostgreSQL's, unless they have one.
func OnOneClock(opts Options) Options {
	if opts.databaseNow == nil {
		opts.databaseNow = opts.Now
	}
	return opts
}

// WithEventNames returns the options with another number of event names that the store
// holds.
func WithEventNames(opts Options, n int) Options {
	opts.maxEventNames = n
	return opts
}

// WithCommitted returns the options with a function that is called between each commit
// and its answer.
func WithCommitted(opts Options, f func()) Options {
	opts.committed = f
	return opts
}

// WithScanNoted returns the options with another number of deliveries that a filter passes
// over without a word.
func WithScanNoted(opts Options, n int64) Options {
	opts.scanNoted = n
	return opts
}

// WithScanning returns the options with a function that each long read calls.
func WithScanning(opts Options, f func()) Options {
	opts.scanning, opts.longReadWait = f, 10*time.Millisecond
	return opts
}

// WithMaxLog returns the options with another bound of SQLite's write-ahead log, so that a
// test need not write as much.
func WithMaxLog(opts Options, bytes int64) Options {
	opts.maxLog = bytes
	return opts
}

// WithHeldLogAfter returns the options with another time after which a reader that holds
// the log is told of.
func WithHeldLogAfter(opts Options, d time.Duration) Options {
	opts.heldLogAfter = d
	return opts
}

// WithPatience returns the options with another time after which the database is taken to
// hang, and a write is tried without traffic.
func WithPatience(opts Options, d time.Duration) Options {
	opts.patience = patience{idle: d, suspect: d / 4, hang: d, check: d / 10, quiet: 20 * d}
	return opts
}

// WithPooler returns the options of a store that takes it for known that there is a pooler.
func WithPooler(opts Options) Options {
	opts.pooled = true
	return opts
}

// CopiedTables are the tables that a copy takes along.
func CopiedTables() (names []string) {
	for _, table := range copiedTables {
		names = append(names, table.name)
	}
	return names
}

// Read runs f on a snapshot of the database.
func Read(s *Store, f func(*sql.Tx) error) error {
	return s.engine.read(context.Background(), shortRead, f)
}

// WithStepped returns the options with a function that is told of each step of operators'
// work.
func WithStepped(opts Options, f func(rows int, bytes int64)) Options {
	opts.stepped = f
	return opts
}

// Maintain lets the engine look after itself.
func (s *Store) Maintain(ctx context.Context) error { return s.engine.maintain(ctx) }

// Store returns the store of the queue.
func (q *Queue) Store() *Store { return q.store }

// WithStep returns the options with a function that is called before each step of the
// replacement.
func WithStep(opts RestoreOptions, f func(name string)) RestoreOptions {
	opts.step = f
	return opts
}

// Plans returns how the database reads each source of a filter.
func (s *Store) Plans(ctx context.Context, filter adapter.Filter) (plans []string, err error) {
	explain := "EXPLAIN "
	if _, ok := s.engine.(*sqliteEngine); ok {
		explain = "EXPLAIN QUERY PLAN "
	}
	err = s.engine.read(ctx, shortRead, func(tx *sql.Tx) error {
		return s.eachSource(ctx, tx, &filter, func(from *source, c *conditions) error {
			query, args := from.query(c, 50)
			plan, err := readPlan(ctx, tx, explain+query, args)
			plans = append(plans, plan)
			return err
		})
	})
	return plans, err
}

func readPlan(ctx context.Context, tx *sql.Tx, query string, args []any) (string, error) {
	rows, err := tx.QueryContext(ctx, query, args...)
	if err != nil {
		return "", err
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		return "", err
	}
	values := make([]any, len(columns))
	var line string
	for i := range values {
		values[i] = new(any)
	}
	values[len(values)-1] = &line // the text, which SQLite puts behind numbers
	var plan strings.Builder
	for rows.Next() {
		if err := rows.Scan(values...); err != nil {
			return "", err
		}
		plan.WriteString(line + "\n")
	}
	return plan.String(), rows.Err()
}

// Indexed reports whether the indexes of the log are complete.
func (s *Store) Indexed(ctx context.Context) (complete bool, err error) {
	err = s.engine.read(ctx, shortRead, func(tx *sql.Tx) error {
		complete, err = s.indexed(ctx, tx)
		return err
	})
	return complete, err
}

// Index completes the indexes of the log.
func (s *Store) Index(ctx context.Context) error { return s.index(ctx) }

// UserHash is what deliveries of a user are found by.
func UserHash(userID string) int64 { return userHash(userID).(int64) }

// HasMigrationCost reports whether it is known what a migration costs.
func HasMigrationCost(engine string, version int64) bool {
	_, ok := migrationCosts[engine][version]
	return ok
}

// IDOrder is the order of a tenant's rows in an index.
func IDOrder(s *Store) string { return s.engine.idOrder() }
