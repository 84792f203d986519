package store

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"

	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
)

//go:embed migrations
var migrations embed.FS

// schema is the version of the tables.
type schema struct {
	// found is the version of the tables, 0 if there are none, and newest the last one that
	// this program knows.
	found, newest int64
}

// migrate brings the tables to this program's version, and refuses those of a
// newer one: an older program would not keep the newer one's promises.
// Beside another process it changes nothing.
func migrate(ctx context.Context, db *sql.DB, engine string, shared bool) error {
	provider, err := newMigrator(db, engine)
	if err != nil {
		return err
	}
	s, err := readSchema(ctx, db, engine)
	switch {
	case err != nil:
		return err
	case s.found == s.newest:
		return nil
	case shared:
		return fmt.Errorf("it has schema version %d, and this program needs version %d: "+
			"the server makes and migrates it when it starts", s.found, s.newest)
	}
	if _, err := provider.Up(ctx); err != nil {
		var partial *goose.PartialError
		if errors.As(err, &partial) {
			err = partial.Err
		}
		return fmt.Errorf("migrate the schema from version %d to %d: %w", s.found, s.newest, err)
	}
	return nil
}

func newMigrator(db *sql.DB, engine string) (*goose.Provider, error) {
	dir, err := fs.Sub(migrations, "migrations/"+engine)
	if err != nil {
		return nil, err
	}
	dialect := goose.DialectSQLite3
	opts := []goose.ProviderOption{goose.WithDisableGlobalRegistry(true), goose.WithTableName("schema_version")}
	if engine == "postgres" {
		dialect = goose.DialectPostgres
		opts = append(opts, goose.WithLocker(&transactionLocker{}))
	}
	return goose.NewProvider(dialect, db, dir, opts...)
}

// readSchema reads the version of the tables and changes nothing. It returns an error for
// those of a newer program, or of another one.
func readSchema(ctx context.Context, db *sql.DB, engine string) (schema, error) {
	provider, err := newMigrator(db, engine)
	if err != nil {
		return schema{}, err
	}
	sources := provider.ListSources()
	s := schema{newest: sources[len(sources)-1].Version}
	query := schemaSQLite
	if engine == "postgres" {
		query = schemaPostgres
	}
	var usable, versioned, ours, complete bool
	if err := db.QueryRowContext(ctx, query).Scan(&usable, &versioned, &ours, &complete); err != nil {
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
	err = db.QueryRowContext(ctx, `SELECT coalesce(max(version_id), 0) FROM schema_version`).Scan(&s.found)
	if err != nil {
		return schema{}, fmt.Errorf("read the schema version: %w", err)
	}
	switch {
	case s.found > 0 && !complete:
		return schema{}, ErrForeignSchema
	case s.found > s.newest:
		return schema{}, &NewerSchemaError{Found: s.found, Known: s.newest}
	}
	return s, nil
}

// The columns are whether there is a place for tables of ours, whether it has a table of versions,
// whether that has the columns of ours, and whether the tables of the first version are there.
const (
	schemaSQLite = `SELECT NOT EXISTS (SELECT 1 FROM sqlite_master)
			OR EXISTS (SELECT 1 FROM sqlite_master WHERE name = 'schema_version'),
		EXISTS (SELECT 1 FROM sqlite_master WHERE name = 'schema_version'),
		(SELECT count(*) FROM pragma_table_info('schema_version') WHERE name IN ('version_id', 'is_applied')) = 2,
		(SELECT count(*) FROM sqlite_master WHERE name IN ('names', 'deliveries', 'totals')) = 3`
	schemaPostgres = `SELECT current_schema() IS NOT NULL,
		to_regclass(quote_ident(current_schema()) || '.schema_version') IS NOT NULL,
		(SELECT count(*) FROM pg_attribute WHERE attrelid = to_regclass(quote_ident(current_schema()) || '.schema_version')
			AND attname IN ('version_id', 'is_applied') AND NOT attisdropped) = 2,
		(SELECT count(*) FROM pg_class WHERE relnamespace = quote_ident(current_schema())::regnamespace
			AND relname IN ('names', 'deliveries', 'totals')) = 3`
)

// ErrNoSchema means that PostgreSQL's search_path leads to no schema for the tables.
var ErrNoSchema = errors.New("search_path names no schema that is there and that the user may use: " +
	"CREATE SCHEMA it and grant USAGE and CREATE on it, or correct search_path in the store's URL, " +
	"of the role or of the database")

// ErrForeignSchema means that the database has tables that are not the store's: a table of
// versions, or with SQLite any.
var ErrForeignSchema = errors.New("the tables, such as schema_version, are another program's: " +
	"give the store a database or a data_dir of its own, or on PostgreSQL a schema " +
	"(search_path=NAME in the store's URL)")

// transactionLocker has one process migrate at a time. A transaction of its own holds the
// lock: a pooler keeps none of a session. Earlier versions take the same lock for a session.
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

// Unlock gives the lock up.
func (l *transactionLocker) Unlock(context.Context, *sql.DB) error { return l.tx.Rollback() }

// NewerSchemaError means that a newer version of this program has made or
// migrated the tables.
type NewerSchemaError struct {
	// Found is the version of the tables, Known the newest that this program knows.
	Found, Known int64
}

func (e *NewerSchemaError) Error() string {
	return fmt.Sprintf("the store has schema version %d, but this program knows versions up to %d only: run the version that wrote it, or a newer one", e.Found, e.Known)
}
