package store

import (
	"context"
	"database/sql"
	"fmt"
)

func (e *sqliteEngine) hasTable(ctx context.Context, tx *sql.Tx, name string) (has bool, err error) {
	const query = `SELECT EXISTS (SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?1)`
	err = tx.QueryRowContext(ctx, query, name).Scan(&has)
	return has, err
}

func (e *postgresEngine) hasTable(ctx context.Context, tx *sql.Tx, name string) (has bool, err error) {
	err = tx.QueryRowContext(ctx, `SELECT to_regclass($1) IS NOT NULL`, name).Scan(&has)
	return has, err
}

// afterCopy fills the table messages, and sets the next id.
func (e *sqliteEngine) afterCopy(ctx context.Context, next int64) error {
	for {
		set := newMessageSet()
		err := e.read(ctx, shortRead, func(tx *sql.Tx) error {
			var id int64
			var messageID string
			rows, err := tx.QueryContext(ctx, `SELECT id, message_id FROM queue
					WHERE id > (SELECT indexed_id FROM counter) AND message_id <> ''
				UNION ALL SELECT id, message_id FROM deliveries
					WHERE id > (SELECT indexed_id FROM counter) AND message_id <> ''
				ORDER BY id LIMIT ?1`, messagesInMemory)
			return eachRow(rows, err, func() { set.add(entry{textHash(messageID), id}) }, &id, &messageID)
		})
		if err != nil {
			return fmt.Errorf("index messageIds: %w", err)
		}
		indexed := set.last
		if len(set.first) == 0 {
			indexed = next - 1
		}
		err = e.write(ctx, func(tx *sql.Tx) error {
			if err := insertMessages(ctx, tx, set.sorted()); err != nil {
				return err
			}
			_, err := tx.ExecContext(ctx, `UPDATE counter SET indexed_id = ?1, next_id = ?2`, indexed, next)
			return err
		})
		if err != nil {
			return fmt.Errorf("index messageIds: %w", err)
		}
		if len(set.first) == 0 {
			return nil
		}
	}
}

// afterCopy sets the sequences to values that no row has.
func (e *postgresEngine) afterCopy(ctx context.Context, next int64) error {
	return e.write(ctx, func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, `SELECT setval('delivery_ids', $1, false)`, next); err != nil {
			return err
		}
		for _, table := range []string{"names", "event_names", "runs"} {
			_, err := tx.ExecContext(ctx, `SELECT setval(pg_get_serial_sequence($1, 'id'),
				(SELECT coalesce(max(id), 0) + 1 FROM `+table+`), false)`, table)
			if err != nil {
				return err
			}
		}
		return nil
	})
}
