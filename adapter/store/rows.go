package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
)

// querier is a database, a connection or a transaction.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// eachRow scans each row of a query into dest, calls fn after each scan, and closes the rows. It takes both results
// of the query, and returns the error of a query that failed.
func eachRow(rows *sql.Rows, err error, fn func(), dest ...any) error {
	return eachRowUntil(rows, err, func() error {
		fn()
		return nil
	}, dest...)
}

// errEnough ends eachRowUntil before the last row.
var errEnough = errors.New("enough rows")

// eachRowUntil is eachRow for a function that can fail. It ends at the first error of fn, and returns that error
// unless it is errEnough.
func eachRowUntil(rows *sql.Rows, err error, fn func() error, dest ...any) error {
	if err != nil {
		return err
	}
	for err == nil && rows.Next() {
		if err = rows.Scan(dest...); err == nil {
			err = fn()
		}
	}
	switch {
	case err == nil:
		err = rows.Err()
	case errors.Is(err, errEnough):
		err = nil
	}
	return errors.Join(err, rows.Close())
}

// allRows returns the rows of a query. Fields returns the fields of a row in the order of the columns.
func allRows[T any](rows *sql.Rows, err error, fields func(*T) []any) (all []T, _ error) {
	var row T
	if err := eachRow(rows, err, func() { all = append(all, row) }, fields(&row)...); err != nil {
		return nil, err
	}
	return all, nil
}

// column returns the only column of a query.
func column[T any](rows *sql.Rows, err error) ([]T, error) {
	return allRows(rows, err, func(value *T) []any { return []any{value} })
}

// readValue runs fn in a transaction of read, such as [Store.read], and returns what fn returns.
func readValue[T any](
	ctx context.Context, read func(context.Context, func(*sql.Tx) error) error, fn func(*sql.Tx) (T, error),
) (value T, err error) {
	err = read(ctx, func(tx *sql.Tx) (err error) {
		value, err = fn(tx)
		return err
	})
	if err != nil {
		var zero T
		return zero, err
	}
	return value, nil
}

// executeEach executes the statements with the same arguments.
func executeEach(ctx context.Context, tx *sql.Tx, statements []string, args ...any) error {
	for _, statement := range statements {
		if _, err := tx.ExecContext(ctx, statement, args...); err != nil {
			return err
		}
	}
	return nil
}

// affected reports whether a statement changed a row.
func affected(result sql.Result, err error) (bool, error) {
	n, err := affectedRows(result, err)
	return n > 0, err
}

// affectedRows returns how many rows a statement changed.
func affectedRows(result sql.Result, err error) (int64, error) {
	if err != nil {
		return 0, err
	}
	return result.RowsAffected()
}

// wrap adds the action that failed to an error. It returns nil for nil.
func wrap(action string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", action, err)
}
