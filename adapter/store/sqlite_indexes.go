package store

import (
	"context"
	"database/sql"
	"errors"
	"strconv"
	"time"
)

// logIndexes are tables; see migration 7.
func (e *sqliteEngine) logIndexes() logIndexes {
	return logIndexes{
		byOutcome: logIndex{
			from: "deliveries_by_outcome CROSS JOIN deliveries ON id = of_id", outcome: "of_outcome", id: "of_id",
		},
		byRun: logIndex{
			from: "deliveries_by_run CROSS JOIN deliveries ON id = of_id",
			run:  "of_run", outcome: "of_outcome", id: "of_id",
		},
		userID: "id",
	}
}

func (e *sqliteEngine) indexed(ctx context.Context, tx *sql.Tx) (bool, error) {
	_, left, err := unindexed(ctx, tx)
	return !left, err
}

// unindexed returns the id up to which deliveries may be missing in the indexes.
func unindexed(ctx context.Context, tx *sql.Tx) (upTo int64, left bool, err error) {
	err = tx.QueryRowContext(ctx, `SELECT up_to_id FROM unindexed_deliveries`).Scan(&upTo)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, false, nil
	}
	return upTo, err == nil, err
}

// indexRows is the number of deliveries that one transaction indexes.
const indexRows = 1000

// index adds the newest of the missing deliveries.
func (e *sqliteEngine) index(ctx context.Context) (next time.Duration, err error) {
	var upTo, after int64
	var left, last bool
	err = e.read(ctx, shortRead, func(tx *sql.Tx) error {
		if upTo, left, err = unindexed(ctx, tx); err != nil || !left {
			return err
		}
		const behind = `SELECT id FROM deliveries WHERE id <= ?1 ORDER BY id DESC LIMIT 1 OFFSET `
		err = tx.QueryRowContext(ctx, behind+strconv.Itoa(indexRows), upTo).Scan(&after)
		if last = errors.Is(err, sql.ErrNoRows); last {
			err = nil
		}
		return err
	})
	if err != nil || !left {
		return 0, err
	}
	if !last {
		next = retainRest
	}
	return next, e.write(ctx, func(tx *sql.Tx) error {
		err := executeEach(ctx, tx, []string{
			`INSERT OR IGNORE INTO deliveries_by_outcome SELECT outcome, id FROM deliveries
				WHERE +outcome <> 1 AND id > ?1 AND id <= ?2 ORDER BY id`,
			`INSERT OR IGNORE INTO deliveries_by_run SELECT run, outcome, id FROM deliveries
				WHERE +run IS NOT NULL AND id > ?1 AND id <= ?2 ORDER BY id`,
		}, after, upTo)
		if err != nil {
			return err
		}
		if last {
			_, err = tx.ExecContext(ctx, `DELETE FROM unindexed_deliveries`)
		} else {
			_, err = tx.ExecContext(ctx, `UPDATE unindexed_deliveries SET up_to_id = ?1`, after)
		}
		return err
	})
}
