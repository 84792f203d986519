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

// migrate brings the tables to this program's version, and refuses those of a
// newer one: an older program would not keep the newer one's promises.
// Beside another process it changes nothing.
func migrate(ctx context.Context, db *sql.DB, engine string, shared bool) error {
	dir, err := fs.Sub(migrations, "migrations/"+engine)
	if err != nil {
		return err
	}
	dialect, opts := goose.DialectSQLite3, []goose.ProviderOption{goose.WithDisableGlobalRegistry(true), goose.WithTableName("schema_version")}
	if engine == "postgres" {
		dialect = goose.DialectPostgres
		locker, err := lock.NewPostgresSessionLocker()
		if err != nil {
			return err
		}
		opts = append(opts, goose.WithSessionLocker(locker))
	}
	provider, err := goose.NewProvider(dialect, db, dir, opts...)
	if err != nil {
		return err
	}
	current, newest, err := provider.GetVersions(ctx)
	if err != nil {
		return fmt.Errorf("read the schema version: %w", err)
	}
	if current > newest {
		return &NewerSchemaError{Found: current, Known: newest}
	}
	if shared {
		if current < newest {
			return fmt.Errorf("it has schema version %d, and this program needs version %d: the server makes and migrates it when it starts", current, newest)
		}
		return nil
	}
	if _, err := provider.Up(ctx); err != nil {
		var partial *goose.PartialError
		if errors.As(err, &partial) {
			err = partial.Err
		}
		return fmt.Errorf("migrate the schema from version %d to %d: %w", current, newest, err)
	}
	return nil
}

// NewerSchemaError means that a newer version of this program has made or
// migrated the tables.
type NewerSchemaError struct {
	// Found is the version of the tables, Known the newest that this program knows.
	Found, Known int64
}

func (e *NewerSchemaError) Error() string {
	return fmt.Sprintf("the store has schema version %d, but this program knows versions up to %d only: run the version that wrote it, or a newer one", e.Found, e.Known)
}
