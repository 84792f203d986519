package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"

	"segment-saasquatch/adapter"
)

// Payloads of rejected and dead deliveries, the dead letters, are kept within Limits.DeadLetters. Each has a row in
// the table dead_letters, and the totals of its outcome have the sum of their sizes. A transaction that exceeds the
// limit is committed; then steps drop the oldest payloads, those of rejected deliveries first. The deliveries stay.

// Bounds of a step, which holds the writer.
const (
	trimRows  = 1000
	trimBytes = 8 << 20
	// trimSteps is the number of steps right after a transaction. The next transaction and Retain do the rest.
	trimSteps = 8
)

// A trimSlack-th of the limit is freed beyond need when payloads of rejected deliveries are dropped, so that not
// every transaction has to drop some.
const trimSlack = 64

// Dropped describes payloads that were dropped, or not stored, because there was no room.
type Dropped struct {
	// Outcome is Rejected or Dead.
	Outcome adapter.Outcome
	// Payloads is their number, and Bytes their size.
	Payloads, Bytes int64
	// First and Last are the lowest and the highest id of their deliveries.
	First, Last int64
}

func (d *Dropped) add(id, bytes int64) {
	if d.Payloads == 0 || id < d.First {
		d.First = id
	}
	d.Last = max(d.Last, id)
	d.Payloads++
	d.Bytes += bytes
}

// isDeadLetter reports whether the payload of deliveries with the outcome can be sent again.
func isDeadLetter(outcome adapter.Outcome) bool {
	return outcome == adapter.Rejected || outcome == adapter.Dead
}

// deadLetters has the sizes of the kept payloads during a transaction.
type deadLetters struct {
	limit          int64 // 0 for none
	rejected, dead int64
	// unkept are payloads that had no room.
	unkept Dropped
}

const sizesSQL = `SELECT outcome, CAST(sum(bytes) AS bigint) FROM totals WHERE outcome IN (4, 5) GROUP BY outcome`

func (l *deadLetters) set(outcome adapter.Outcome, bytes int64) {
	if outcome == adapter.Dead {
		l.dead = bytes
	} else {
		l.rejected = bytes
	}
}

// keep reports whether the payload of a delivery is kept, and counts it. The payload of a dead delivery is always
// kept. That of a rejected one is not kept if the dead ones leave no room that could be freed for it, or if payloads
// come faster than older ones are dropped.
func (l *deadLetters) keep(outcome adapter.Outcome, bytes int64) bool {
	if outcome == adapter.Dead {
		l.dead += bytes
		return true
	}
	if l.limit > 0 && (l.dead+bytes > l.limit || l.dead+l.rejected > l.limit+l.limit/8) {
		return false
	}
	l.rejected += bytes
	return true
}

// refuse counts the payload of a rejected delivery that is not kept.
func (l *deadLetters) refuse(id, bytes int64) {
	l.unkept.Outcome = adapter.Rejected
	l.unkept.add(id, bytes)
}

// excess is the number of bytes to drop.
func (l *deadLetters) excess() int64 {
	if l.limit == 0 {
		return 0
	}
	return max(0, l.dead+l.rejected-l.limit)
}

// applied is the effect of a transaction on the dead letters.
type applied struct {
	// over is set if they exceed the limit.
	over bool
	// unkept are payloads that found no room.
	unkept Dropped
}

// applied returns the effect of a transaction; nil is a transaction without dead letters.
func (l *deadLetters) applied() applied {
	if l == nil {
		return applied{}
	}
	return applied{over: l.excess() > 0, unkept: l.unkept}
}

// afterApply reports payloads that were not kept, and makes room if the dead letters exceed the limit.
func (s *Store) afterApply(done applied) {
	s.tellDropped(done.unkept)
	if !done.over {
		return
	}
	for range trimSteps {
		// Retain meets the same error: the events are stored.
		if more, err := s.trimDeadLetters(s.stopped); err != nil || !more {
			return
		}
	}
}

func (s *Store) tellDropped(dropped Dropped) {
	if dropped.Payloads > 0 {
		s.onDropped(dropped)
	}
}

// trimDeadLetters drops some payloads if they exceed the limit, and reports whether it has to drop more.
func (s *Store) trimDeadLetters(ctx context.Context) (more bool, err error) {
	if s.limits.DeadLetters == 0 {
		return false, nil
	}
	// One caller at a time, until OnDropped has returned: a caller that finds nothing to drop can rely on that.
	select {
	case s.trimming <- struct{}{}:
		defer func() { <-s.trimming }()
	case <-ctx.Done():
		return false, ctx.Err()
	}
	var rejected, dead Dropped
	err = s.engine.write(ctx, func(tx *sql.Tx) error {
		rejected, dead, more = Dropped{}, Dropped{}, false // it may be tried again
		sizes, err := s.readDeadLetters(ctx, tx)
		if err != nil {
			return err
		}
		excess := sizes.excess()
		if excess == 0 {
			return nil
		}
		var left bool
		rejected, left, err = s.dropOldest(ctx, tx, adapter.Rejected, excess+s.limits.DeadLetters/trimSlack)
		if excess -= rejected.Bytes; err != nil || excess <= 0 {
			return err
		}
		if more = left; left {
			return nil
		}
		dead, more, err = s.dropOldest(ctx, tx, adapter.Dead, excess)
		return err
	})
	if err != nil {
		return false, fmt.Errorf("drop payloads of dead letters: %w", err)
	}
	s.tellDropped(rejected)
	s.tellDropped(dead)
	return more, nil
}

func (s *Store) readDeadLetters(ctx context.Context, tx *sql.Tx) (*deadLetters, error) {
	rows, err := tx.QueryContext(ctx, sizesSQL)
	return readSizes(rows, err, s.limits.DeadLetters)
}

// readSizes reads the rows of sizesSQL.
func readSizes(rows *sql.Rows, err error, limit int64) (*deadLetters, error) {
	l := &deadLetters{limit: limit}
	var outcome adapter.Outcome
	var bytes int64
	err = eachRow(rows, err, func() { l.set(outcome, bytes) }, &outcome, &bytes)
	return l, err
}

// letter is a row of the table dead_letters.
type letter struct {
	id, connection, bytes int64
	outcome               adapter.Outcome
}

// dropOldest drops the oldest payloads of deliveries with the outcome, until so many bytes are free or the step is
// large enough. It reports whether it has to drop more payloads of the outcome.
func (s *Store) dropOldest(
	ctx context.Context, tx *sql.Tx, outcome adapter.Outcome, bytes int64,
) (dropped Dropped, more bool, err error) {
	dropped.Outcome = outcome
	var ids []int64
	var id, size, chosen int64
	rows, err := tx.QueryContext(ctx, `SELECT delivery, bytes FROM dead_letters WHERE outcome = $1
		ORDER BY delivery LIMIT `+strconv.Itoa(trimRows), int64(outcome))
	err = eachRowUntil(rows, err, func() error {
		ids = append(ids, id)
		if chosen += size; chosen >= min(bytes, trimBytes) {
			return errEnough
		}
		return nil
	}, &id, &size)
	if err != nil {
		return dropped, false, err
	}
	letters, err := s.takeDeadLetters(ctx, tx, ids)
	if err != nil {
		return dropped, false, err
	}
	for i := range letters {
		dropped.add(letters[i].id, letters[i].bytes)
	}
	_, err = tx.ExecContext(ctx, `DELETE FROM payloads WHERE delivery IN `+
		idList(letters, func(l *letter) int64 { return l.id }))
	// The totals have changed if another process took some of the payloads.
	more = chosen < bytes && (chosen >= trimBytes || len(ids) == trimRows) || len(letters) < len(ids)
	return dropped, more, err
}

// takeDeadLetters deletes the rows of the deliveries from the table dead_letters, subtracts their sizes from the
// totals, and returns the rows. The caller deletes the payloads.
func (s *Store) takeDeadLetters(ctx context.Context, tx *sql.Tx, ids []int64) (taken []letter, err error) {
	changed := make(sums)
	if taken, err = s.takeLetters(ctx, tx, ids, changed); err != nil {
		return nil, err
	}
	return taken, s.addSums(ctx, tx, changed)
}

// takeLetters deletes the rows of the deliveries from the table dead_letters, returns the rows, and adds their sizes
// to changed. The caller adds changed to the totals, and deletes or moves the payloads. A caller that moves a delivery
// locks its row first.
func (s *Store) takeLetters(
	ctx context.Context, tx *sql.Tx, ids []int64, changed sums,
) (taken []letter, err error) {
	if len(ids) == 0 {
		return nil, nil
	}
	rows, err := tx.QueryContext(ctx, `DELETE FROM dead_letters WHERE outcome IN (4, 5) AND delivery IN `+
		numberList(ids)+` RETURNING delivery, connection, outcome, bytes`)
	taken, err = allRows(rows, err, func(l *letter) []any { return []any{&l.id, &l.connection, &l.outcome, &l.bytes} })
	for _, l := range taken {
		changed.add(l.connection, l.outcome, 0, -l.bytes)
	}
	return taken, wrap("take dead letters", err)
}

// countDeadLetters adds some dead letters of an earlier version to the table and the totals, and reports whether
// there are more.
func (s *Store) countDeadLetters(ctx context.Context) (more bool, err error) {
	var after int64
	err = s.read(ctx, func(tx *sql.Tx) error {
		return tx.QueryRowContext(ctx, `SELECT after_id FROM uncounted_dead_letters`).Scan(&after)
	})
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	if err == nil {
		err = s.engine.write(ctx, func(tx *sql.Tx) error {
			more, err = s.countAfter(ctx, tx, after)
			return err
		})
	}
	if err != nil {
		return false, fmt.Errorf("count dead letters: %w", err)
	}
	return more, nil
}

func (s *Store) countAfter(ctx context.Context, tx *sql.Tx, after int64) (more bool, err error) {
	found, err := s.lockRefused(ctx, tx, `id > `+strconv.FormatInt(after, 10), retainRows)
	if err != nil {
		return false, err
	}
	if len(found) == 0 {
		_, err := tx.ExecContext(ctx, `DELETE FROM uncounted_dead_letters`)
		return false, err
	}
	changed := make(sums)
	var l letter
	rows, err := tx.QueryContext(ctx, `INSERT INTO dead_letters (outcome, delivery, connection, bytes)
		SELECT d.outcome, d.id, d.connection, length(p.payload) FROM deliveries d JOIN payloads p ON p.delivery = d.id
		WHERE d.id IN `+idList(found, func(row *settled) int64 { return row.id })+`
		ON CONFLICT DO NOTHING RETURNING connection, outcome, bytes`)
	err = eachRow(rows, err, func() { changed.add(l.connection, l.outcome, 0, l.bytes) },
		&l.connection, &l.outcome, &l.bytes)
	if err != nil {
		return false, err
	}
	if err := s.addSums(ctx, tx, changed); err != nil {
		return false, err
	}
	_, err = tx.ExecContext(ctx, `UPDATE uncounted_dead_letters SET after_id = $1`, found[len(found)-1].id)
	return true, err
}

// lockRefused returns dead and rejected deliveries in the order of their ids. No other transaction can change them
// until this one ends.
func (s *Store) lockRefused(ctx context.Context, tx *sql.Tx, condition string, limit int) ([]settled, error) {
	rows, err := tx.QueryContext(ctx, `SELECT id, connection, outcome, coalesce(run, 0), coalesce(reason, ''),
			body_hash, tenant, message_id FROM deliveries
		WHERE outcome IN (4, 5) AND `+condition+` ORDER BY id LIMIT `+strconv.Itoa(limit)+s.engine.lockRows())
	return allRows(rows, err, func(row *settled) []any {
		return []any{
			&row.id, &row.connection, &row.outcome, &row.run, &row.reason, &row.bodyHash, &row.tenant, &row.messageID,
		}
	})
}
