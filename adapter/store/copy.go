package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"segment-saasquatch/adapter"
)

// CopyOptions configure a [Copy].
type CopyOptions struct {
	// From and To are the stores: a file of SQLite or a database of PostgreSQL each. No other process of this program
	// may use them meanwhile.
	From, To Options
	// Progress is called with the number of copied rows and of all rows of a table. Default: it does nothing.
	Progress func(table string, done, total int64)
}

// Copied has the numbers of a copied store.
type Copied struct {
	// Pending and Settled are the numbers of deliveries.
	Pending int64 `json:"pending"`
	Settled int64 `json:"settled"`
	Runs    int64 `json:"runs"`
	// Rows is the number of rows of all kinds.
	Rows int64 `json:"rows"`
}

// Copy copies a store with its pending events, its ledger, its dead letters and its runs. The deliveries keep their
// ids. The target has to be empty, unless an earlier copy of the same store was interrupted: then Copy goes on with
// it. Open refuses the target until the copy is complete and the rows of both stores have been counted.
//
// No server may use either store. Copy recognises a server of a PostgreSQL store by its sessions. So it misses a
// server that has lost its connections for the moment.
func Copy(ctx context.Context, opts CopyOptions) (*Copied, error) {
	if opts.Progress == nil {
		opts.Progress = func(string, int64, int64) {}
	}
	from, err := openCopied(ctx, opts.From)
	if err != nil {
		return nil, fmt.Errorf("open the store to copy: %w", err)
	}
	defer func() { _ = from.close() }() // it was only read
	to, err := openCopied(ctx, opts.To)
	if err != nil {
		return nil, fmt.Errorf("open the store to fill: %w", err)
	}
	var copied *Copied
	err = from.read(ctx, shortRead, func(tx *sql.Tx) (err error) {
		c := copying{from: tx, to: to, progress: opts.Progress}
		copied, err = c.run(ctx)
		return err
	})
	return copied, errors.Join(err, to.close())
}

// copyApplication is the application_name of the sessions of a copy.
const copyApplication = application + " copy"

// sessionsSQL counts the sessions of an application in the database.
const sessionsSQL = `SELECT count(*) FROM pg_stat_activity
	WHERE datname = current_database() AND application_name = $1`

// openCopied opens a store that no other process uses.
func openCopied(ctx context.Context, opts Options) (engine, error) {
	opts.Limits = Limits{}
	if opts.URL.IsZero() {
		return openSQLite(ctx, opts)
	}
	opts.application = copyApplication
	opened, err := openPostgres(ctx, opts)
	if err != nil {
		return nil, err
	}
	err = checkNotInUse(ctx, opened)
	if err == nil {
		err = opened.write(ctx, func(tx *sql.Tx) error { return endAllLeases(ctx, tx) })
	}
	if err != nil {
		return nil, errors.Join(err, opened.close())
	}
	return opened, nil
}

// sessionsEnd is how long PostgreSQL may take to end the sessions of a process that has ended.
const sessionsEnd = 3 * time.Second

// checkNotInUse returns ErrInUse if a server has sessions in the database.
func checkNotInUse(ctx context.Context, opened engine) error {
	for began := time.Now(); ; {
		others := 0
		err := opened.read(ctx, shortRead, func(tx *sql.Tx) error {
			return tx.QueryRowContext(ctx, sessionsSQL, application).Scan(&others)
		})
		switch {
		case err != nil || others == 0:
			return err
		case time.Since(began) > sessionsEnd || adapter.Wait(ctx, sessionsEnd/20) != nil:
			return ErrInUse
		}
	}
}

// endAllLeases moves the marks of a PostgreSQL store's leases to the queue, which is copied. The processes of the
// leases have ended.
func endAllLeases(ctx context.Context, tx *sql.Tx) error {
	_, err := tx.ExecContext(ctx, `WITH over AS (DELETE FROM leases RETURNING id, sending_at)
		UPDATE queue q SET sending_at = o.sending_at FROM over o WHERE q.id = o.id AND o.sending_at IS NOT NULL`)
	return wrap("end leases", err)
}

// ErrInUse means that a server works on a database.
var ErrInUse = errors.New("a server works on the database: stop it first")

// UnfinishedCopyError means that a copy into the store was interrupted.
type UnfinishedCopyError struct{}

func (*UnfinishedCopyError) Error() string {
	return "a copy into the store is not complete: run store copy again, with the same two stores"
}

// checkCopied returns an UnfinishedCopyError if a copy into the store is not complete.
func checkCopied(ctx context.Context, e engine) error {
	return e.read(ctx, shortRead, func(tx *sql.Tx) error {
		unfinished, err := e.hasTable(ctx, tx, copyingTable)
		if err == nil && unfinished {
			err = &UnfinishedCopyError{}
		}
		return err
	})
}

// copyingTable exists while a copy into the store is not complete. Its row has the state of the source.
const copyingTable = "copying"

// copying is a running copy.
type copying struct {
	from     *sql.Tx
	to       engine
	progress func(table string, done, total int64)
}

func (c *copying) run(ctx context.Context) (*Copied, error) {
	state, err := sourceState(ctx, c.from)
	if err != nil {
		return nil, fmt.Errorf("read the state of the store: %w", err)
	}
	if err := c.to.write(ctx, func(tx *sql.Tx) error { return begin(ctx, c.to, tx, state) }); err != nil {
		return nil, err
	}
	copied := new(Copied)
	for i := range copiedTables {
		table := &copiedTables[i]
		rows, err := c.table(ctx, table)
		if err != nil {
			return nil, fmt.Errorf("copy %s: %w", table.name, err)
		}
		copied.Rows += rows
		switch table.name {
		case "queue":
			copied.Pending = rows
		case "deliveries":
			copied.Settled = rows
		case "runs":
			copied.Runs = rows
		}
	}
	next, err := nextID(ctx, c.from)
	if err != nil {
		return nil, err
	}
	if err := c.to.afterCopy(ctx, next); err != nil {
		return nil, fmt.Errorf("complete the copy: %w", err)
	}
	return copied, c.to.write(ctx, func(tx *sql.Tx) error {
		// Leases of processes that have ended. The lease of a held event is its run's.
		_, err := tx.ExecContext(ctx, `UPDATE queue SET lease = NULL WHERE lease IS NOT NULL AND due_at < `+heldText)
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `DROP TABLE `+copyingTable)
		return err
	})
}

// begin marks a store as the target of a copy.
func begin(ctx context.Context, to engine, tx *sql.Tx, state string) error {
	resumed, err := to.hasTable(ctx, tx, copyingTable)
	if err != nil {
		return err
	}
	if resumed {
		var earlier string
		if err := tx.QueryRowContext(ctx, `SELECT state FROM `+copyingTable).Scan(&earlier); err != nil {
			return fmt.Errorf("read the state of the copy: %w", err)
		}
		if earlier != state {
			return errors.New("the store to copy has changed since a copy of it began, or is another one: " +
				"delete the store to fill, and copy again")
		}
		return nil
	}
	for _, table := range []string{"queue", "deliveries", "runs", "totals"} {
		var filled bool
		if err := tx.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM `+table+`)`).Scan(&filled); err != nil {
			return err
		}
		if filled {
			return errors.New("the store to fill has events already: copy into a new one")
		}
	}
	// A server that has started on the store has left the names of its connections.
	for i := range copiedTables {
		if _, err := tx.ExecContext(ctx, `DELETE FROM `+copiedTables[i].name); err != nil {
			return err
		}
	}
	if _, err := tx.ExecContext(ctx, `CREATE TABLE `+copyingTable+` (state text NOT NULL)`); err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO `+copyingTable+` VALUES ($1)`, state)
	return err
}

// sourceState changes with the store: each transaction with events or outcomes changes the totals, and each retry or
// mark the queue.
func sourceState(ctx context.Context, tx *sql.Tx) (string, error) {
	var parts []string
	for _, query := range []string{
		`SELECT coalesce(sum((events + removed) * (outcome + 1)), 0), coalesce(sum(removed), 0),
			coalesce(sum(bytes), 0) FROM totals`,
		`SELECT count(*), coalesce(sum(due_at), 0), coalesce(sum(attempts), 0) + count(sending_at) FROM queue`,
		`SELECT count(*), coalesce(sum(updated_at), 0), coalesce(max(id), 0) FROM runs`,
		`SELECT count(*), coalesce(min(id), 0), coalesce(max(id), 0) FROM deliveries`,
	} {
		var a, b, c string
		if err := tx.QueryRowContext(ctx, query).Scan(&a, &b, &c); err != nil {
			return "", err
		}
		parts = append(parts, a, b, c)
	}
	return strings.Join(parts, " "), nil
}

// nextID returns an id beyond that of every delivery.
func nextID(ctx context.Context, tx *sql.Tx) (next int64, err error) {
	for _, table := range []string{"queue", "deliveries"} {
		var last int64
		if err := tx.QueryRowContext(ctx, `SELECT coalesce(max(id), 0) FROM `+table).Scan(&last); err != nil {
			return 0, fmt.Errorf("read the newest id: %w", err)
		}
		next = max(next, last+1)
	}
	return next, nil
}
