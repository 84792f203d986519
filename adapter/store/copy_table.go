package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"segment-saasquatch/adapter"
)

// copiedTable is a table that Copy copies row by row.
type copiedTable struct {
	name string
	// key are the columns by which it is copied in order. Nil for a small table with text in its key, which the
	// databases order differently: such a table is copied as a whole.
	key []string
}

// copiedTables are all tables of a store, except those that describe a database itself. The totals are last: they
// mark a store as filled.
var copiedTables = []copiedTable{
	{name: "names", key: []string{"id"}},
	{name: "event_names", key: []string{"id"}},
	{name: "former_identities", key: []string{"before_id"}},
	{name: "uncounted_dead_letters", key: []string{"after_id"}},
	{name: "runs", key: []string{"id"}},
	{name: "run_objects"},
	{name: "run_outcomes"},
	{name: "run_jobs", key: []string{"run", "number"}},
	{name: "run_rejected", key: []string{"run", "delivery"}},
	{name: "rejected", key: []string{"digest"}},
	{name: "attempts", key: []string{"delivery", "number"}},
	{name: "payloads", key: []string{"delivery"}},
	{name: "dead_letters", key: []string{"outcome", "delivery"}},
	{name: "deliveries", key: []string{"id"}},
	{name: "queue", key: []string{"id"}},
	{name: "totals", key: []string{"connection", "shard", "outcome"}},
}

// derivedColumns are computed by the database.
var derivedColumns = []string{"message_key"}

// Bounds of one transaction of a copy.
const (
	copyRows  = 2000
	copyBytes = 8 << 20
)

// table copies the rows of a table that the target lacks, and returns the number of rows in both.
func (c *copying) table(ctx context.Context, table *copiedTable) (done int64, err error) {
	var total int64
	if err := c.from.QueryRowContext(ctx, `SELECT count(*) FROM `+table.name).Scan(&total); err != nil {
		return 0, err
	}
	var last []any
	err = c.to.write(ctx, func(tx *sql.Tx) (err error) {
		if table.key == nil {
			_, err = tx.ExecContext(ctx, `DELETE FROM `+table.name)
			return err
		}
		if last, err = table.last(ctx, tx); err != nil {
			return err
		}
		return tx.QueryRowContext(ctx, `SELECT count(*) FROM `+table.name).Scan(&done)
	})
	if err != nil {
		return 0, err
	}
	columns, err := table.columns(ctx, c.from)
	if err != nil {
		return 0, err
	}
	rows, err := table.after(ctx, c.from, columns, last)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for more := true; more; {
		c.progress(table.name, done, total)
		var part [][]any
		if part, more, err = nextRows(rows, columns); err != nil {
			return done, err
		}
		if len(part) == 0 {
			break
		}
		if err := c.to.insertRows(ctx, table.name, columns, part); err != nil {
			return done, err
		}
		done += int64(len(part))
	}
	return done, c.recount(ctx, table.name, total)
}

// recount returns an error unless the target has as many rows as the source.
func (c *copying) recount(ctx context.Context, table string, want int64) error {
	return c.to.read(ctx, shortRead, func(tx *sql.Tx) error {
		var got int64
		if err := tx.QueryRowContext(ctx, `SELECT count(*) FROM `+table).Scan(&got); err != nil {
			return err
		}
		if got != want {
			return fmt.Errorf("it has %d rows instead of %d: delete the store to fill, and copy again", got, want)
		}
		return nil
	})
}

// columns returns the names of the columns that are copied.
func (t *copiedTable) columns(ctx context.Context, tx *sql.Tx) (names []string, err error) {
	rows, err := tx.QueryContext(ctx, `SELECT * FROM `+t.name+` LIMIT 0`)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	names, err = rows.Columns()
	return slices.DeleteFunc(names, func(name string) bool { return slices.Contains(derivedColumns, name) }), err
}

// last returns the key of the last row, nil if there is none.
func (t *copiedTable) last(ctx context.Context, tx *sql.Tx) ([]any, error) {
	key, into := make([]any, len(t.key)), make([]any, len(t.key))
	for i := range key {
		into[i] = &key[i]
	}
	err := tx.QueryRowContext(ctx, `SELECT `+strings.Join(t.key, ", ")+` FROM `+t.name+
		` ORDER BY `+strings.Join(t.key, " DESC, ")+` DESC LIMIT 1`).Scan(into...)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	return key, err
}

// after returns the rows after the one with the key, all for nil, in the order of their keys.
func (t *copiedTable) after(ctx context.Context, tx *sql.Tx, columns []string, key []any) (*sql.Rows, error) {
	query := `SELECT ` + strings.Join(columns, ", ") + ` FROM ` + t.name
	if key != nil {
		places := make([]string, len(key))
		for i := range places {
			places[i] = "$" + strconv.Itoa(i+1)
		}
		query += ` WHERE (` + strings.Join(t.key, ", ") + `) > (` + strings.Join(places, ", ") + `)`
	}
	if t.key != nil {
		query += ` ORDER BY ` + strings.Join(t.key, ", ")
	}
	return tx.QueryContext(ctx, query, key...)
}

// nextRows reads the rows for one transaction, and reports whether there may be more.
func nextRows(rows *sql.Rows, columns []string) (part [][]any, more bool, err error) {
	bytes := 0
	for len(part) < copyRows && bytes < copyBytes {
		if !rows.Next() {
			return part, false, rows.Err()
		}
		row, into := make([]any, len(columns)), make([]any, len(columns))
		for i := range row {
			into[i] = &row[i]
		}
		if err := rows.Scan(into...); err != nil {
			return nil, false, err
		}
		for i, value := range row {
			switch value := value.(type) {
			case string: // of SQLite, which stores texts that PostgreSQL does not
				row[i] = adapter.StorableText(value)
				bytes += len(value)
			case []byte:
				bytes += len(value)
			}
		}
		part = append(part, row)
	}
	return part, true, nil
}

// insertRows inserts rows in one transaction.
func (e *sqliteEngine) insertRows(ctx context.Context, table string, columns []string, rows [][]any) error {
	return e.write(ctx, func(tx *sql.Tx) (err error) {
		insert, err := tx.PrepareContext(ctx, `INSERT INTO `+table+` (`+strings.Join(columns, ", ")+`) VALUES (`+
			repeat(`?`, len(columns))+`)`)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, insert.Close()) }()
		for _, row := range rows {
			if _, err := insert.ExecContext(ctx, row...); err != nil {
				return err
			}
		}
		return nil
	})
}

func (e *postgresEngine) insertRows(ctx context.Context, table string, columns []string, rows [][]any) error {
	return retry(ctx, func() error {
		return e.transact(ctx, markedOptions, func(tx pgx.Tx, _ commitMark) error {
			_, err := tx.CopyFrom(ctx, pgx.Identifier{table}, columns, pgx.CopyFromRows(rows))
			return err
		})
	})
}
