package store

import (
	"context"
	"database/sql"
	"strconv"
)

// failurePage is the number of payloads in memory. The largest payloads are as large as a line of an archive.
const failurePage = 20

// Failures yields the payloads of a run's dead and rejected events; see
// [adapter.RunStore].
func (s *Store) Failures(ctx context.Context, run int64, yield func([]byte) error) (missing int64, err error) {
	for after := int64(0); ; {
		var payloads [][]byte
		err := s.read(ctx, func(tx *sql.Tx) (err error) {
			payloads, after, err = failuresAfter(ctx, tx, run, after)
			return err
		})
		if err != nil {
			return missing, s.explained("read the failures of a run", err)
		}
		if len(payloads) == 0 {
			return missing, nil
		}
		for _, payload := range payloads {
			if payload == nil {
				missing++
				continue
			}
			if err := yield(payload); err != nil {
				return missing, err
			}
		}
	}
}

// failuresAfter returns some payloads, nil for dropped and damaged ones, and the id of the last.
func failuresAfter(ctx context.Context, tx *sql.Tx, run, after int64) (payloads [][]byte, last int64, err error) {
	var payload []byte
	var kept, sum sql.NullInt64
	page := strconv.Itoa(failurePage)
	// The deliveries that the run stored, and those that an earlier run had stored already.
	rows, err := tx.QueryContext(ctx, `SELECT id, kept, payload, checksum FROM (
			SELECT * FROM (SELECT d.id, p.delivery AS kept, p.payload, p.checksum
				FROM deliveries d LEFT JOIN payloads p ON p.delivery = d.id
				WHERE d.run = $1 AND d.id > $2 AND d.outcome IN (4, 5) ORDER BY d.id LIMIT `+page+`) AS own
			UNION ALL
			SELECT * FROM (SELECT d.id, p.delivery AS kept, p.payload, p.checksum
				FROM run_rejected r JOIN deliveries d ON d.id = r.delivery LEFT JOIN payloads p ON p.delivery = d.id
				WHERE r.run = $1 AND r.delivery > $2 AND d.run <> $1 AND d.outcome IN (4, 5)
				ORDER BY r.delivery LIMIT `+page+`) AS again
		) AS failures ORDER BY id LIMIT `+page, run, after)
	last = after
	err = eachRow(rows, err, func() {
		switch {
		case !kept.Valid || isDamaged(payload, last, sum):
			payload = nil
		case payload == nil:
			payload = []byte{}
		}
		payloads = append(payloads, payload)
	}, &last, &kept, &payload, &sum)
	if err != nil {
		return nil, after, err
	}
	return payloads, last, nil
}
