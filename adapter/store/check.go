package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sys/unix"
	"modernc.org/sqlite"
)

// Check checks whether a server could deliver from the store, and returns notes about it. It makes, migrates and
// changes nothing, and needs no lock: a store that a server has open is a note. It does not look for damage, which
// takes longer the larger the store is.
func Check(ctx context.Context, opts Options) (notes []string, err error) {
	check := checkSQLite
	if !opts.URL.IsZero() {
		check = checkPostgres
	}
	if notes, err = check(ctx, opts); err != nil {
		return notes, fmt.Errorf("check the store: %w", err)
	}
	return notes, nil
}

// note describes what a server does with the tables when it starts.
func (s schema) note() []string {
	switch {
	case s.found == 0:
		return []string{"it has no tables yet: serve makes them"}
	case s.found < s.newest:
		return []string{fmt.Sprintf("it has schema version %d: serve migrates it to version %d", s.found, s.newest)}
	default:
		return nil
	}
}

// checkApplication is the application_name of the sessions of Check.
const checkApplication = application + " check"

func checkPostgres(ctx context.Context, opts Options) (notes []string, err error) {
	opts.application = checkApplication
	e, err := connectPostgres(ctx, opts)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(e.remedy(err), e.close()) }()
	if err := e.checkDatabase(ctx); err != nil {
		return nil, err
	}
	if err := e.checkDurable(ctx); err != nil {
		return nil, err
	}
	s, err := readSchema(ctx, e.db, "postgres")
	if err != nil {
		return nil, err
	}
	var servers int
	var readOnly, mayCreate bool
	err = e.useConnection(ctx, func() error {
		return errors.Join(
			e.pool.QueryRow(ctx, sessionsSQL, application).Scan(&servers),
			e.pool.QueryRow(ctx, `SELECT current_setting('transaction_read_only') = 'on',
				has_schema_privilege(current_schema(), 'CREATE')`).Scan(&readOnly, &mayCreate))
	})
	switch {
	case err != nil:
		return nil, fmt.Errorf("ask for the rights of the user: %w", err)
	case readOnly:
		return nil, errors.New("the database takes no writes: " + readOnlyRemedy)
	case !s.isCurrent() && !mayCreate:
		return nil, errors.New("the user may not make the tables: " + grantsRemedy)
	case s.isCurrent():
		if err := e.checkGrants(ctx); err != nil {
			return nil, err
		}
	}
	if err := checkCopied(ctx, e); err != nil {
		return nil, err
	}
	if servers > 0 {
		notes = append(notes, fmt.Sprintf("it is in use: servers have %d connections to it", servers))
	}
	return append(notes, s.note()...), nil
}

// checkGrants lets PostgreSQL plan the writes of a server, which fails if a grant is missing.
func (e *postgresEngine) checkGrants(ctx context.Context) error {
	err := e.useConnection(ctx, func() error {
		return pgx.BeginTxFunc(ctx, e.pool, pgx.TxOptions{AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
			_, err := tx.Exec(ctx, `EXPLAIN `+e.probeStatement())
			return err
		})
	})
	return wrap("plan a write", err)
}

func checkSQLite(ctx context.Context, opts Options) (notes []string, err error) {
	path, err := filepath.Abs(opts.Path)
	if err != nil {
		return nil, err
	}
	e := &sqliteEngine{path: path, shared: true}
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return nil, e.remedy(&fs.PathError{Op: "open", Path: path, Err: unix.EISDIR})
	}
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		if err := mayMake(filepath.Dir(path), opts.Limits.FreeDisk); err != nil {
			return nil, e.remedy(err)
		}
		return []string{path + " is not there yet: serve makes it"}, nil
	}
	if e.claim, err = joinDatabase(path); err != nil {
		return nil, e.remedy(err)
	}
	defer func() { err = errors.Join(err, e.claim.release()) }()
	e.path = e.claim.path
	for _, name := range []string{e.path, filepath.Dir(e.path)} {
		if err := unix.Access(name, unix.R_OK|unix.W_OK); err != nil {
			return nil, e.remedy(&fs.PathError{Op: "write", Path: name, Err: err})
		}
	}
	if err := fitsReserve(filepath.Dir(e.path), opts.Limits.FreeDisk); err != nil {
		return nil, err
	}
	if err := wholePages(e.path); err != nil {
		return nil, fmt.Errorf("%s: %w", e.path, err)
	}
	inUse, err := e.inUse()
	if err != nil {
		return nil, err
	}
	log, err := os.Stat(e.path + logSuffix)
	switch {
	case inUse != "":
		notes = append(notes, "it is in use by "+inUse+": a second server is refused")
	case err == nil && log.Size() > 0:
		// Without the index of the log, only a process with write access can read it.
		return []string{"the server that had it open was killed: the next one takes over the events in " +
			e.path + logSuffix}, nil
	}
	s, err := e.readOnlySchema(ctx, inUse != "")
	if err != nil {
		return nil, fmt.Errorf("%s: %w", e.path, e.remedy(err))
	}
	return append(notes, s.note()...), nil
}

// readOnlySchema reads the version of a file that is in use, or that is closed and has no log.
func (e *sqliteEngine) readOnlySchema(ctx context.Context, inUse bool) (schema, error) {
	source := fileSource(e.path) + "?mode=ro&_pragma=busy_timeout(10000)"
	if !inUse { // otherwise SQLite would make the companions, owned by the user of this process
		source += "&immutable=1"
	}
	connector, err := sqlite.NewConnector(source)
	if err != nil {
		return schema{}, err
	}
	reader := sql.OpenDB(connector)
	e.readers[shortRead] = reader
	s, err := readSchema(ctx, reader, "sqlite")
	if err == nil {
		err = checkCopied(ctx, e)
	}
	return s, errors.Join(err, reader.Close())
}

// inUse returns the process that has the file open, empty for none.
func (e *sqliteEngine) inUse() (string, error) {
	claimed.mu.Lock()
	here := claimed.files[e.claim.id].exclusive
	claimed.mu.Unlock()
	if here {
		return "process " + strconv.Itoa(os.Getpid()), nil
	}
	locked, err := databaseLocked(e.claim.file)
	if err != nil {
		return "", fmt.Errorf("look for the lock of the store: %s: %w", e.path, err)
	}
	companion := e.path + ".lock"
	if !locked && !companionLocked(companion) {
		return "", nil
	}
	text, err := os.ReadFile(companion)
	if pid := strings.TrimSpace(string(text)); err == nil && pid != "" {
		return "process " + pid, nil
	}
	return "another process", nil
}

// mayMake returns an error if the directory, or its first parent that exists, cannot have the store.
func mayMake(dir string, reserve int64) error {
	for {
		info, err := os.Stat(dir)
		if errors.Is(err, fs.ErrNotExist) && dir != filepath.Dir(dir) {
			dir = filepath.Dir(dir)
			continue
		}
		switch {
		case err != nil:
			return err
		case !info.IsDir():
			return &fs.PathError{Op: "open", Path: dir, Err: unix.ENOTDIR}
		}
		if err := unix.Access(dir, unix.W_OK|unix.X_OK); err != nil {
			return &fs.PathError{Op: "write", Path: dir, Err: err}
		}
		return fitsReserve(dir, reserve)
	}
}
