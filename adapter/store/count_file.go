package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"

	"segment-saasquatch/adapter"
)

// CountFile returns the numbers of pending and settled deliveries of an SQLite database by its running totals. It
// changes nothing, and reads a file of any version of this program.
func CountFile(ctx context.Context, path string) (pending, settled int64, err error) {
	path, err = filepath.Abs(path)
	if err != nil {
		return 0, 0, err
	}
	name := fileSource(path) + "?mode=ro&_pragma=query_only(true)"
	db, err := sql.Open("sqlite", name)
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	err = db.QueryRowContext(ctx, `SELECT coalesce(sum(events) FILTER (WHERE outcome = ?1), 0),
		coalesce(sum(events) FILTER (WHERE outcome NOT IN (0, ?1)), 0) FROM totals`, int64(adapter.Pending)).
		Scan(&pending, &settled)
	if err != nil {
		return 0, 0, fmt.Errorf("count the events in %s: %w", path, err)
	}
	return pending, settled, nil
}
