package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"segment-saasquatch/adapter"
)

// idSlack is how far ids and times of acceptance may differ in order: by the length of a transaction, and by the skew
// of several machines' clocks.
const idSlack = 10 * time.Minute

// Bound finds the ids between which the deliveries of a time are; see
// [adapter.DeliveryStore].
func (s *Store) Bound(ctx context.Context, filter adapter.Filter) (adapter.Filter, error) {
	err := s.read(ctx, func(tx *sql.Tx) error { return bound(ctx, tx, &filter) })
	if err != nil {
		return filter, fmt.Errorf("bound the deliveries: %w", err)
	}
	return filter, nil
}

// bound adds bounds of the ids to the bounds of the time. A search for one day then does not read the whole log.
func bound(ctx context.Context, tx *sql.Tx, f *adapter.Filter) error {
	if f.Bounded || f.Since.IsZero() && f.Until.IsZero() {
		return nil
	}
	low, high, err := idRange(ctx, tx)
	if err != nil {
		return err
	}
	if !f.Since.IsZero() {
		first, err := firstSince(ctx, tx, low, high+1, f.Since.Add(-idSlack))
		if err != nil {
			return err
		}
		f.After = max(f.After, first-1)
	}
	if !f.Until.IsZero() {
		first, err := firstSince(ctx, tx, low, high+1, f.Until.Add(idSlack))
		if err != nil {
			return err
		}
		if f.Before == 0 || f.Before > first+1 {
			f.Before = first + 1
		}
	}
	f.Bounded = true
	return nil
}

// idRange returns the lowest and the highest id, 0 if there is none. Each is a query of its own: SQLite answers a
// query for both by a scan.
func idRange(ctx context.Context, tx *sql.Tx) (low, high int64, err error) {
	for _, table := range []string{"deliveries", "queue"} {
		var first, last sql.NullInt64
		if err := tx.QueryRowContext(ctx, `SELECT min(id) FROM `+table).Scan(&first); err != nil {
			return 0, 0, fmt.Errorf("bound the ids: %w", err)
		}
		if err := tx.QueryRowContext(ctx, `SELECT max(id) FROM `+table).Scan(&last); err != nil {
			return 0, 0, fmt.Errorf("bound the ids: %w", err)
		}
		if first.Valid && (low == 0 || first.Int64 < low) {
			low = first.Int64
		}
		high = max(high, last.Int64)
	}
	return low, high, nil
}

// nextSQL finds the first event from an id on, settled or pending.
const nextSQL = `SELECT id, received_at FROM (
		SELECT * FROM (SELECT id, received_at FROM deliveries WHERE id >= $1 ORDER BY id LIMIT 1) AS settled
		UNION ALL
		SELECT * FROM (SELECT id, received_at FROM queue WHERE id >= $1 ORDER BY id LIMIT 1) AS pending
	) AS next ORDER BY id LIMIT 1`

// firstSince bisects the ids from one to another, and returns an id that roughly separates the events before the time
// from those after it.
func firstSince(ctx context.Context, tx *sql.Tx, from, to int64, at time.Time) (int64, error) {
	for from < to {
		middle := from + (to-from)/2
		var id, received int64
		err := tx.QueryRowContext(ctx, nextSQL, middle).Scan(&id, &received)
		switch {
		case errors.Is(err, sql.ErrNoRows):
			to = middle
		case err != nil:
			return 0, fmt.Errorf("bound the ids: %w", err)
		case received >= milliseconds(at):
			to = middle
		default:
			from = id + 1
		}
	}
	return from, nil
}
