package store

import (
	"context"
	"database/sql"
	"fmt"
	"strconv"
)

// The table of messageIds is in the order of hashes. Each deletion leaves a page a little emptier, and frees none.
// New messageIds fill the pages again, unless the store has become smaller. Then the table is packed in parts: the
// entries of a part are deleted, and inserted again in their order.
const (
	// packRows is the number of entries that one transaction packs.
	packRows = 1000
	// The table is packed when a packPart-th of its entries, and at least packLeast, are gone.
	packPart  = 8
	packLeast = 4096
)

// packMessages packs a part of the table if it is sparse, and reports whether there is more to pack.
func (e *sqliteEngine) packMessages(ctx context.Context) (more bool, err error) {
	if e.shared {
		return false, nil
	}
	var held, most int64
	var after sql.NullInt64
	err = e.read(ctx, shortRead, func(tx *sql.Tx) error {
		err := tx.QueryRowContext(ctx,
			`SELECT coalesce(sum(events - removed), 0) FROM totals WHERE outcome <> 0`).Scan(&held)
		if err != nil {
			return err
		}
		return tx.QueryRowContext(ctx, `SELECT deliveries, after_hash FROM packed_messages`).Scan(&most, &after)
	})
	if err != nil {
		return false, fmt.Errorf("look for free space: %w", err)
	}
	isSparse := most-held >= max(packLeast, most/packPart)
	switch {
	case after.Valid:
	case isSparse:
		after.Int64 = -1 // below all hashes
	case held-most >= max(packLeast, most/packPart):
		return false, e.write(ctx, func(tx *sql.Tx) error {
			_, err := tx.ExecContext(ctx, `UPDATE packed_messages SET deliveries = ?1`, held)
			return err
		})
	default:
		return false, nil
	}
	err = e.write(ctx, func(tx *sql.Tx) (err error) {
		more, err = packAfter(ctx, tx, after.Int64, held)
		return err
	})
	if err != nil {
		return false, fmt.Errorf("pack messageIds: %w", err)
	}
	return more, nil
}

// packAfter packs the entries after a hash. At the end of the table it records the number of deliveries.
func packAfter(ctx context.Context, tx *sql.Tx, after, held int64) (more bool, err error) {
	entries, err := messagesAfter(ctx, tx, after)
	if err != nil {
		return false, err
	}
	if len(entries) == 0 {
		_, err := tx.ExecContext(ctx, `UPDATE packed_messages SET deliveries = ?1, after_hash = NULL`, held)
		return false, err
	}
	last := entries[len(entries)-1].hash
	if _, err := tx.ExecContext(ctx, `DELETE FROM messages WHERE hash > ?1 AND hash <= ?2`, after, last); err != nil {
		return false, err
	}
	if err := insertMessages(ctx, tx, entries); err != nil {
		return false, err
	}
	_, err = tx.ExecContext(ctx, `UPDATE packed_messages SET after_hash = ?1`, last)
	return true, err
}

// messagesAfter returns about packRows entries after a hash, with all entries of the last hash.
func messagesAfter(ctx context.Context, tx *sql.Tx, after int64) (entries []entry, err error) {
	rows, err := tx.QueryContext(ctx, `SELECT hash, delivery FROM messages WHERE hash > ?1 AND hash <= (
			SELECT max(hash) FROM (
				SELECT hash FROM messages WHERE hash > ?1 ORDER BY hash LIMIT `+strconv.Itoa(packRows)+`))
		ORDER BY hash, delivery`, after)
	return allRows(rows, err, func(e *entry) []any { return []any{&e.hash, &e.id} })
}
