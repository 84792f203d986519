package store

import (
	"context"
	"database/sql"
	"fmt"
	"slices"

	"segment-saasquatch/adapter"
)

// scanNoted is the number of deliveries that a filter may scan without a note. Scanning them takes some milliseconds.
const scanNoted = 50_000

// Scans estimates how many deliveries a filter scans; see [adapter.DeliveryStore]. It uses the totals and the ids,
// and reads no deliveries.
func (s *Store) Scans(ctx context.Context, filter adapter.Filter) (scan adapter.Scan, err error) {
	err = s.read(ctx, func(tx *sql.Tx) error {
		all, err := readTotals(ctx, tx)
		if err != nil {
			return err
		}
		low, high, err := idRange(ctx, tx)
		if err != nil {
			return err
		}
		return s.eachSource(ctx, tx, &filter, func(from *source, _ *conditions) error {
			rows, err := s.passed(ctx, tx, from, &filter, all)
			if filter.Before > 0 {
				high = min(high, filter.Before-1)
			}
			if rows = min(rows, high-max(low-1, filter.After)); rows > 0 {
				scan.Deliveries += rows
				scan.Indexing = scan.Indexing || from.building
			}
			return err
		})
	})
	if err != nil {
		return scan, fmt.Errorf("estimate the deliveries to scan: %w", err)
	}
	if scan.Deliveries < s.scanNoted {
		return adapter.Scan{}, nil
	}
	return scan, nil
}

// passed returns how many rows of a source the filter scans at most without a match.
func (s *Store) passed(
	ctx context.Context, tx *sql.Tx, from *source, f *adapter.Filter, all balances,
) (rows int64, err error) {
	// Whether it tells apart rows that the totals count together.
	isFine := f.Reason != "" || f.Event != "" || f.EventKey != "" || f.Tenant != "" || f.Former ||
		f.UserID != "" || f.Run != from.run
	connection, _ := s.names.find(f.Connection)
	if from.run != 0 && len(from.parts) > 0 && (isFine || connection != 0) {
		err := tx.QueryRowContext(ctx, `SELECT CAST(coalesce(sum(events), 0) AS bigint) FROM run_outcomes
			WHERE run = $1 AND outcome IN `+outcomeNumbers(from.parts), from.run).Scan(&rows)
		return rows, err
	}
	if from.run != 0 {
		return 0, nil
	}
	for id, b := range all {
		for _, outcome := range from.parts {
			picked := slices.Contains(from.picked, outcome) && (connection == 0 || connection == id)
			if isFine || !picked {
				rows += b.totals[outcome] - b.removed[outcome]
			}
		}
	}
	return rows, nil
}
