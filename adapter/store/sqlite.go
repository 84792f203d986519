package store

import (
	"cmp"
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"modernc.org/sqlite"
)

// sqliteEngine is a database in a file, for one process. One connection writes and the others read. Readers and the
// writer do not block each other.
type sqliteEngine struct {
	path   string // behind symlinks
	shared bool   // see Options
	// operators is set if the store is open for operators' work.
	operators bool
	now       func() time.Time
	cache     int64 // of the writing connection, in bytes
	claim     *claim
	files     databaseFiles
	ballast   ballast
	readers   [len(sqliteReaders)]*sql.DB // by readKind
	writers   *sql.DB                     // of one connection

	// writing has one place, for the user of the writing connection. It is no mutex: SQLite may sleep meanwhile, and
	// a goroutine that waits for a mutex stops the simulated time of tests.
	writing     chan struct{}
	connection  *sql.Conn
	statements  *statements
	leaseReader leaseReader
	cursors     *dueCursors
	rewrites    map[string]*sql.Stmt // prepared for operators' work

	leases       leases
	messages     messageIndex
	checkpointer *sql.DB
	log          writeAheadLog
	// longReads is the number of running long reads. They keep the log from restarting.
	longReads atomic.Int64
}

const defaultCache = 32 << 20 // bytes

// openSQLite opens or makes the file.
func openSQLite(ctx context.Context, opts Options) (_ engine, err error) {
	e := &sqliteEngine{
		shared: opts.Shared, operators: opts.forOperators(), now: opts.Now, cache: cmp.Or(opts.Cache, defaultCache),
		writing: make(chan struct{}, 1), leases: newLeases(), cursors: newDueCursors(),
		rewrites: make(map[string]*sql.Stmt),
		log: writeAheadLog{
			limit: cmp.Or(opts.maxLog, maxLog), copying: make(chan struct{}, 1), tried: time.Now(),
		},
		messages: messageIndex{limit: cmp.Or(opts.messagesInMemory, messagesInMemory), recent: newMessageSet()},
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, e.close())
		}
	}()
	path, err := filepath.Abs(opts.Path)
	if err != nil {
		return nil, fmt.Errorf("open the store: %w", err)
	}
	if opts.Shared {
		err = e.joinFile(path)
	} else {
		err = e.claimFile(path)
	}
	if err != nil {
		return nil, err
	}
	if !opts.Shared {
		if err := makePrivate(e.path); err != nil {
			return nil, fmt.Errorf("open the store: %w", e.remedy(err))
		}
		if err := e.prepareDisk(opts.Limits.FreeDisk); err != nil {
			return nil, fmt.Errorf("open the store %s: %w", e.path, err)
		}
	}
	e.files.names = [files]string{path, e.path + logSuffix, e.path + indexSuffix}
	if err := wholePages(e.path); err != nil {
		return nil, fmt.Errorf("open the store %s: %w", e.path, err)
	}
	if err := e.connect(ctx, &opts); err != nil {
		return nil, fmt.Errorf("open the store %s: %w", e.path, e.remedy(err))
	}
	return e, nil
}

// joinFile opens the database file beside a process that may have claimed it. It returns an error that wraps
// [fs.ErrNotExist] without a remedy: there may be no store yet.
func (e *sqliteEngine) joinFile(path string) (err error) {
	e.path = path // until symlinks are resolved
	if interrupted, err := pendingSwap(path); interrupted != nil || err != nil {
		return cmp.Or(e.remedy(err), error(&RestoreInterruptedError{Path: path}))
	}
	switch e.claim, err = joinDatabase(path); {
	case errors.Is(err, fs.ErrNotExist):
		return err
	case err != nil:
		return e.remedy(err)
	}
	e.path = e.claim.path
	return nil
}

// claimFile makes the data directory, finishes an interrupted restore, and claims the database file.
func (e *sqliteEngine) claimFile(path string) (err error) {
	e.path = path // until symlinks are resolved
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return fmt.Errorf("make the data directory: %w", e.remedy(err))
	}
	if err := finishSwap(path); err != nil {
		return e.remedy(err)
	}
	if e.claim, err = claimDatabase(path); err != nil {
		return e.remedy(err)
	}
	e.path = e.claim.path
	return nil
}

// prepareDisk checks that the disk can hold the reserve, and makes the ballast. Open goes on without a ballast that
// cannot be made: the disk may be full.
func (e *sqliteEngine) prepareDisk(reserve int64) error {
	if err := fitsReserve(filepath.Dir(e.path), reserve); err != nil {
		return err
	}
	e.ballast = newBallast(e.path, reserve)
	if e.ballast.size == 0 { // there may be one from another configuration
		_ = os.Remove(e.ballast.path)
	}
	_ = e.ballast.keep()
	return nil
}

// makePrivate makes the file and its companions readable by their owner only, because they hold the payloads. SQLite
// gives new companions the mode of the file. Files of another owner keep their mode.
func makePrivate(path string) error {
	for _, name := range []string{path, path + logSuffix, path + indexSuffix, path + ".lock"} {
		info, err := os.Stat(name)
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			err = os.Chmod(name, 0o600)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission) {
			return err
		}
	}
	return nil
}

// pageSize is SQLite's default, in bytes.
const pageSize = 4096

// wholePages returns an error if the file ends within a page: SQLite reads the missing part as zeros. If there is a
// write-ahead log, the page may be in the log.
func wholePages(path string) error {
	file, err := os.Stat(path)
	if err != nil {
		return err
	}
	if log, err := os.Stat(path + logSuffix); err == nil && log.Size() > 0 || file.Size()%pageSize == 0 {
		return nil
	}
	return fmt.Errorf("the store is damaged: its file ends within a page: %s", damagedRemedy)
}

const damagedRemedy = "restore a backup with `segment-saasquatch store restore FILE`, " +
	"which keeps the damaged files under another name; " +
	"a copy of the database alone, put in its place beside another log, looks like this too. " +
	"Without a backup, put all files of the " +
	"database aside and start with a new one; sqlite3's .recover can save events out of the damaged file"

// sqliteReaders is the number of reading connections of each kind.
var sqliteReaders = [...]int{shortRead: 3, leaseRead: 1, healthRead: 2, longRead: longReads}

func (e *sqliteEngine) connect(ctx context.Context, opts *Options) (err error) {
	const patient = "_pragma=busy_timeout(10000)&"
	writing := fmt.Sprintf(patient+
		"_txlock=immediate&_pragma=wal_autocheckpoint(0)&_pragma=cache_size(-%d)", e.cache>>10) // in KiB
	if e.writers, err = e.pool(writing, 1); err != nil {
		return err
	}
	if err := migrate(ctx, e.writers, "sqlite", opts); err != nil {
		return err
	}
	for kind, n := range sqliteReaders {
		if e.readers[kind], err = e.pool(patient+"_pragma=query_only(true)", n); err != nil {
			return err
		}
	}
	copying := fmt.Sprintf("_pragma=busy_timeout(%d)&_pragma=wal_autocheckpoint(0)", restartWait.Milliseconds())
	if e.checkpointer, err = e.pool(copying, 1); err != nil {
		return err
	}
	// A full disk or deleted files allow no further connection.
	for _, needed := range append(e.readers[:], e.checkpointer) {
		if err := needed.PingContext(ctx); err != nil {
			return err
		}
	}
	if e.connection, err = e.writers.Conn(ctx); err != nil {
		return err
	}
	if e.statements, err = prepareStatements(ctx, e.connection); err != nil {
		return err
	}
	if e.leaseReader, err = openLeaseReader(ctx, e.readers[leaseRead]); err != nil {
		return err
	}
	if err := e.read(ctx, shortRead, func(tx *sql.Tx) error { return e.loadMessages(ctx, tx) }); err != nil {
		return err
	}
	return e.files.learn()
}

// pool returns up to n connections, which stay open. A new connection opens the file that has the name of the
// database. It is refused if that is another file by then.
func (e *sqliteEngine) pool(settings string, n int) (*sql.DB, error) {
	connector, err := sqlite.NewConnector(e.dsn(settings))
	if err != nil {
		return nil, err
	}
	db := sql.OpenDB(checkedConnector{connector, e.check})
	db.SetMaxOpenConns(n)
	db.SetMaxIdleConns(n)
	return db, nil
}

// checkedConnector connects only if check finds no fault before and after.
type checkedConnector struct {
	driver.Connector
	check func() error
}

func (c checkedConnector) Connect(ctx context.Context) (driver.Conn, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	conn, err := c.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	if err := c.check(); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return conn, nil
}

// check returns a *FilesLostError if the files under the names are no longer those that were opened.
func (e *sqliteEngine) check() error { return e.files.check() }

// dsn returns the data source with the settings of all connections. With synchronous(full), a committed transaction
// in the write-ahead log is on disk. A log that restarts is cut to the length from which it restarts: a longer file
// would grow by one transaction each time.
func (e *sqliteEngine) dsn(settings string) string {
	return fileSource(e.path) + "?mode=rw&_pragma=auto_vacuum(incremental)&_pragma=journal_mode(wal)" +
		"&_pragma=synchronous(full)&_pragma=journal_size_limit(" +
		strconv.FormatInt(e.restartBytes(), 10) + ")&" + settings
}

// close closes the database. Lost files stay open until the process ends: the last connection to close would delete
// the log of the file that has replaced the database.
func (e *sqliteEngine) close() error {
	if err := e.check(); err != nil {
		return e.save(err)
	}
	var errs []error
	errs = append(errs, e.leaseReader.close())
	for _, readers := range e.readers {
		if readers != nil {
			errs = append(errs, readers.Close())
		}
	}
	if e.checkpointer != nil {
		errs = append(errs, e.checkpointer.Close())
	}
	if e.statements != nil {
		errs = append(errs, e.statements.close())
	}
	for _, statement := range e.rewrites {
		errs = append(errs, statement.Close())
	}
	if e.connection != nil {
		errs = append(errs, e.connection.Close())
	}
	if e.writers != nil {
		errs = append(errs, e.writers.Close())
	}
	if e.claim != nil {
		errs = append(errs, e.claim.release())
	}
	return errors.Join(errs...)
}

// save copies a database that has no name any more, and adds the name of the copy to the error. The end of this
// process would delete the database.
func (e *sqliteEngine) save(err error) error {
	lost, ok := errors.AsType[*FilesLostError](err)
	if !ok || !lost.unnamed || e.shared || e.connection == nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(e.path), 0o750); err != nil {
		return errors.Join(lost, fmt.Errorf("save the events: %w", e.remedy(err)))
	}
	file, err := os.CreateTemp(filepath.Dir(e.path), filepath.Base(e.path)+".saved-*")
	if err != nil {
		return errors.Join(lost, fmt.Errorf("save the events: %w", e.remedy(err)))
	}
	_, err = e.connection.ExecContext(context.Background(), `VACUUM INTO ?1`, file.Name())
	if err = errors.Join(err, file.Sync(), file.Close()); err != nil {
		return errors.Join(lost, fmt.Errorf("save the events: %w", e.remedy(err)))
	}
	return fmt.Errorf("%s: the events were saved to %s: put it in place of %s, take %s and %s away, and start again",
		strings.Join(lost.Files, ", "), file.Name(), e.path, e.path+logSuffix, e.path+indexSuffix)
}

func (e *sqliteEngine) lockWriter() { e.writing <- struct{}{} }

func (e *sqliteEngine) unlockWriter() { <-e.writing }

func (e *sqliteEngine) committers() int { return 1 }

func (e *sqliteEngine) shard() int64 { return 0 }

func (e *sqliteEngine) idOrder() string { return "id" }

// lockRows is not needed: one transaction writes at a time.
func (e *sqliteEngine) lockRows() string { return "" }

// read runs fn on a snapshot.
func (e *sqliteEngine) read(ctx context.Context, kind readKind, fn func(*sql.Tx) error) error {
	if kind == longRead {
		e.longReads.Add(1)
		defer e.longReads.Add(-1)
	}
	tx, err := e.readers[kind].BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // it has only read
	return fn(tx)
}

// write runs fn in a transaction.
func (e *sqliteEngine) write(ctx context.Context, fn func(*sql.Tx) error) error {
	select {
	case e.writing <- struct{}{}:
		defer e.unlockWriter()
	case <-ctx.Done():
		return ctx.Err()
	}
	if err := e.check(); err != nil {
		return err
	}
	// With ctx, database/sql would end the transaction in the background, after the next one has begun on the
	// connection.
	tx, err := e.connection.BeginTx(context.WithoutCancel(ctx), nil)
	if err != nil {
		return err
	}
	if err := fn(tx); err != nil {
		err = errors.Join(err, tx.Rollback())
		if isFull(err) { // the next try may find room
			e.makeRoom()
		}
		return err
	}
	if err := tx.Commit(); err != nil {
		return err
	}
	e.cursors.reset() // fn may have made events due
	e.boundLog()
	return e.check()
}

// probe writes the time. For operators' work it writes the row unchanged, because their work must not change the time
// of the last write by a server.
func (e *sqliteEngine) probe(ctx context.Context) error {
	at := milliseconds(e.now())
	if e.operators {
		at = 0
	}
	return e.write(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `UPDATE probe SET probed_at = max(probed_at, ?1)`, at)
		return err
	})
}

func (e *sqliteEngine) probed(ctx context.Context, tx *sql.Tx) (time.Time, error) {
	var at int64
	if err := tx.QueryRowContext(ctx, `SELECT probed_at FROM probe`).Scan(&at); err != nil {
		return time.Time{}, err
	}
	return time.UnixMilli(at), nil
}

// compactPages is the number of pages that one step gives back.
const compactPages = 512

// slackPages stay free for new events, as long as the disk has room.
const slackPages = 4 * compactPages

// compact packs the messageIds, and gives back the free pages beyond the slack.
func (e *sqliteEngine) compact(ctx context.Context) (more bool, err error) {
	if more, err := e.packMessages(ctx); err != nil || more {
		return more, err
	}
	room, err := e.freeDisk()
	if err != nil {
		return false, err
	}
	slack := int64(slackPages)
	if room < enoughDisk(e.ballast.reserve) {
		slack = 0
	}
	e.lockWriter()
	defer e.unlockWriter()
	if err := e.check(); err != nil {
		return false, err
	}
	var free int64
	if err := e.connection.QueryRowContext(ctx, `PRAGMA freelist_count`).Scan(&free); err != nil {
		return false, fmt.Errorf("count free pages: %w", err)
	}
	if free <= slack {
		return false, nil
	}
	vacuum := fmt.Sprintf(`PRAGMA incremental_vacuum(%d)`, compactPages)
	if err = runPragma(ctx, e.connection, vacuum); isFull(err) {
		e.makeRoom()
		err = runPragma(ctx, e.connection, vacuum)
	}
	if err != nil {
		return false, fmt.Errorf("give back free pages: %w", err)
	}
	e.log.shrunk.Store(true)
	e.boundLog()
	return free-compactPages > slack, nil
}

// runPragma reads all rows of a pragma, as incremental_vacuum requires.
func runPragma(ctx context.Context, conn *sql.Conn, pragma string) error {
	rows, err := conn.QueryContext(ctx, pragma)
	if err != nil {
		return err
	}
	for rows.Next() {
	}
	return errors.Join(rows.Err(), rows.Close())
}
