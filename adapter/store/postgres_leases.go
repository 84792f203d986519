package store

import (
	"context"
	"database/sql"
	"fmt"
	"math"
	"time"
)

// endOfTime is after every lease.
var endOfTime = time.UnixMilli(math.MaxInt64)

// forgottenLeaseAfter is how long the lease of an event that is gone stays after its end. A program that knows no
// table of leases has purged the event.
const forgottenLeaseAfter = 24 * time.Hour

func (e *postgresEngine) endLeases(
	ctx context.Context, tx *sql.Tx, ids []int64, over time.Time,
) (inHand map[int64]struct{}, err error) {
	list := numberList(ids)
	// The next statement sees a lease that another transaction is about to commit.
	if _, err := idsIn(ctx, tx, `SELECT id FROM queue WHERE id IN `+list+` ORDER BY id + 0 FOR UPDATE`); err != nil {
		return nil, fmt.Errorf("lock events: %w", err)
	}
	_, err = tx.ExecContext(ctx, `WITH over AS (
			DELETE FROM leases WHERE until <= $1 AND id IN `+list+` RETURNING id, sending_at)
		UPDATE queue q SET sending_at = o.sending_at FROM over o
		WHERE q.id = o.id AND o.sending_at IS NOT NULL AND q.id IN `+list, milliseconds(over))
	if err != nil {
		return nil, fmt.Errorf("forget leases: %w", err)
	}
	return idsIn(ctx, tx, `SELECT id FROM leases WHERE id IN `+list)
}

// idsIn returns the ids that a query yields.
func idsIn(ctx context.Context, tx *sql.Tx, query string) (map[int64]struct{}, error) {
	ids := make(map[int64]struct{})
	var id int64
	rows, err := tx.QueryContext(ctx, query)
	err = eachRow(rows, err, func() { ids[id] = struct{}{} }, &id)
	return ids, err
}

// forgetLeases removes the leases of events that are gone.
func (e *postgresEngine) forgetLeases(ctx context.Context) error {
	_, err := e.pool.Exec(ctx, `DELETE FROM leases l USING (`+clockSQL+` AS now) AS c
		WHERE l.until < c.now - $1::bigint AND (SELECT true FROM queue q WHERE q.id = l.id LIMIT 1) IS NULL`,
		forgottenLeaseAfter.Milliseconds())
	return err
}
