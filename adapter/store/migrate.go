package store

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
)

//go:embed migrations
var migrations embed.FS

// firstAddition is, by engine, the first version of the schema that only adds to the version before it, and changes
// nothing that a program of that version uses.
//
// The table schema_version has the versions below it. A program refuses a version there that it does not know. The
// table schema_additions has the versions from it on, which a program accepts unknown. So a program of an earlier
// version works on the same tables, beside this one and after it. A later version can remove only what no program has
// used for a release. Its migration writes the first version whose program works without it to schema_version, which
// keeps out earlier programs.
var firstAddition = map[string]int64{"sqlite": 6, "postgres": 7}

// The tables of the two kinds of versions, in the order of their migration.
const (
	versionTable  = "schema_version"
	additionTable = "schema_additions"
)

// schema is the version of the tables.
type schema struct {
	// found is the version of the tables, 0 if there are none. newest is the last version that this program knows.
	// The tables may have additions beyond it.
	found, newest int64
}

// isCurrent reports whether the tables have all that this program needs.
func (s schema) isCurrent() bool { return s.found >= s.newest }

// migrate migrates the tables to this program's version, and refuses those of a newer version whose guarantees this
// program would break. Beside another process it changes nothing.
func migrate(ctx context.Context, db *sql.DB, engine string, opts *Options) error {
	s, err := readSchema(ctx, db, engine)
	switch {
	case err != nil:
		return err
	case s.isCurrent():
		return nil
	case opts.Shared:
		return fmt.Errorf("it has schema version %d, and this program needs version %d: "+
			"the server makes and migrates it when it starts", s.found, s.newest)
	}
	if s.found > 0 && opts.OnMigration != nil {
		m, err := estimate(ctx, db, engine, s.found, s.newest)
		if err != nil {
			return fmt.Errorf("measure the store before its migration: %w", err)
		}
		opts.OnMigration(m)
	}
	for _, table := range []string{versionTable, additionTable} {
		provider, err := newMigrator(db, engine, table)
		if err == nil {
			_, err = provider.Up(ctx)
		}
		if err != nil && !errors.Is(err, goose.ErrNoMigrations) {
			return fmt.Errorf("migrate the schema from version %d to %d: %w", s.found, s.newest, explainMigration(err))
		}
	}
	return nil
}

// explainMigration returns the cause of a failed migration, with the remedy if there is one.
func explainMigration(err error) error {
	var partial *goose.PartialError
	if errors.As(err, &partial) {
		err = partial.Err
	}
	var fault *pgconn.PgError
	if errors.As(err, &fault) && fault.Code == "55P03" { // lock_not_available
		return fmt.Errorf("%w: another session holds a lock on the tables, "+
			"perhaps in a transaction that was left open: "+
			"look for it in pg_stat_activity, end it, and start again", err)
	}
	return err
}

// newMigrator returns the migrations of a table of versions.
func newMigrator(db *sql.DB, engine, table string) (*goose.Provider, error) {
	dir, err := fs.Sub(migrations, "migrations/"+engine)
	if err != nil {
		return nil, err
	}
	all, err := versions(engine)
	if err != nil {
		return nil, err
	}
	others := slices.DeleteFunc(all, func(version int64) bool { return tableOf(engine, version) == table })
	dialect := goose.DialectSQLite3
	opts := []goose.ProviderOption{
		goose.WithDisableGlobalRegistry(true), goose.WithTableName(table), goose.WithExcludeVersions(others),
	}
	if engine == "postgres" {
		dialect = goose.DialectPostgres
		opts = append(opts, goose.WithLocker(&transactionLocker{}))
	}
	return goose.NewProvider(dialect, db, dir, opts...)
}

// versions returns the versions of this program's migrations in order.
func versions(engine string) (list []int64, err error) {
	files, err := fs.Glob(migrations, "migrations/"+engine+"/*.sql")
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		version, err := goose.NumericComponent(file)
		if err != nil {
			return nil, err
		}
		list = append(list, version)
	}
	slices.Sort(list)
	return list, nil
}

func tableOf(engine string, version int64) string {
	if version < firstAddition[engine] {
		return versionTable
	}
	return additionTable
}

// readSchema reads the version of the tables and changes nothing. It returns an error for tables of a newer program,
// or of another one.
func readSchema(ctx context.Context, db *sql.DB, engine string) (schema, error) {
	all, err := versions(engine)
	if err != nil {
		return schema{}, err
	}
	s := schema{newest: all[len(all)-1]}
	query := schemaSQLite
	if engine == "postgres" {
		query = schemaPostgres
	}
	var usable, versioned, ours, complete, added bool
	if err := db.QueryRowContext(ctx, query).Scan(&usable, &versioned, &ours, &complete, &added); err != nil {
		return schema{}, fmt.Errorf("look for the tables: %w", err)
	}
	switch {
	case !usable && engine == "postgres":
		return schema{}, ErrNoSchema
	case !usable:
		return schema{}, ErrForeignSchema
	case !versioned:
		return s, nil
	case !ours:
		return schema{}, ErrForeignSchema
	}
	const newestOf = `SELECT coalesce(max(version_id), 0) FROM `
	err = db.QueryRowContext(ctx, newestOf+versionTable).Scan(&s.found)
	if err != nil {
		return schema{}, fmt.Errorf("read the schema version: %w", err)
	}
	switch {
	case s.found > 0 && !complete:
		return schema{}, ErrForeignSchema
	case s.found > s.newest:
		return schema{}, &NewerSchemaError{Found: s.found, Known: s.newest}
	}
	if added && s.found >= firstAddition[engine]-1 {
		var addition int64
		if err := db.QueryRowContext(ctx, newestOf+additionTable).Scan(&addition); err != nil {
			return schema{}, fmt.Errorf("read the additions to the schema: %w", err)
		}
		s.found = max(s.found, addition)
	}
	return s, nil
}

// The columns are: whether the store may have its tables here, whether there is a table of versions, whether that
// table has the store's columns, whether the tables of the first version exist, and whether there is a table of
// additions.
const (
	schemaSQLite = `SELECT NOT EXISTS (SELECT 1 FROM sqlite_master)
			OR EXISTS (SELECT 1 FROM sqlite_master WHERE name = 'schema_version'),
		EXISTS (SELECT 1 FROM sqlite_master WHERE name = 'schema_version'),
		(SELECT count(*) FROM pragma_table_info('schema_version') WHERE name IN ('version_id', 'is_applied')) = 2,
		(SELECT count(*) FROM sqlite_master WHERE name IN ('names', 'deliveries', 'totals')) = 3,
		EXISTS (SELECT 1 FROM sqlite_master WHERE name = 'schema_additions')`
	schemaPostgres = `SELECT current_schema() IS NOT NULL,
		to_regclass(quote_ident(current_schema()) || '.schema_version') IS NOT NULL,
		(SELECT count(*) FROM pg_attribute
			WHERE attrelid = to_regclass(quote_ident(current_schema()) || '.schema_version')
			AND attname IN ('version_id', 'is_applied') AND NOT attisdropped) = 2,
		(SELECT count(*) FROM pg_class WHERE relnamespace = quote_ident(current_schema())::regnamespace
			AND relname IN ('names', 'deliveries', 'totals')) = 3,
		to_regclass(quote_ident(current_schema()) || '.schema_additions') IS NOT NULL`
)

// ErrNoSchema means that PostgreSQL's search_path has no schema for the tables.
var ErrNoSchema = errors.New("search_path names no schema that is there and that the user may use: " +
	"CREATE SCHEMA it and grant USAGE and CREATE on it, or correct search_path in the store's URL, " +
	"of the role or of the database")

// ErrForeignSchema means that the database has tables of another program: a table of versions, or with SQLite any
// table.
var ErrForeignSchema = errors.New("the tables, such as schema_version, are another program's: " +
	"give the store a database or a data_dir of its own, or on PostgreSQL a schema " +
	"(search_path=NAME in the store's URL)")

// transactionLocker lets one process migrate at a time. A transaction of its own holds the lock, because a pooler
// keeps no lock of a session. Earlier versions take the same lock for a session.
type transactionLocker struct{ tx *sql.Tx }

// Lock waits for the lock. No timeout of the role ends it.
func (l *transactionLocker) Lock(ctx context.Context, db *sql.DB) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("lock the schema: %w", err)
	}
	for _, statement := range []string{
		`SET LOCAL statement_timeout = 0`, `SET LOCAL lock_timeout = 0`,
		`SET LOCAL idle_in_transaction_session_timeout = 0`,
		fmt.Sprintf(`SELECT pg_advisory_xact_lock(%d)`, lock.DefaultLockID),
	} {
		if _, err := tx.ExecContext(ctx, statement); err != nil {
			return errors.Join(fmt.Errorf("lock the schema: %w", err), tx.Rollback())
		}
	}
	l.tx = tx
	return nil
}

// Unlock releases the lock.
func (l *transactionLocker) Unlock(context.Context, *sql.DB) error { return l.tx.Rollback() }

// NewerSchemaError means that a newer version of this program has made or migrated the tables.
type NewerSchemaError struct {
	// Found is the version of the tables, Known the newest that this program knows.
	Found, Known int64
}

func (e *NewerSchemaError) Error() string {
	return fmt.Sprintf("the store has schema version %d, but this program knows versions up to %d only: "+
		"run the version that wrote it, or a newer one", e.Found, e.Known)
}
