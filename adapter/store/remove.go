package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"segment-saasquatch/adapter"
)

// idList writes ids as a list for IN. Numbers need no quoting.
func idList[T any](rows []T, id func(*T) int64) string {
	if len(rows) == 0 {
		return "(NULL)" // PostgreSQL takes no empty list
	}
	var b strings.Builder
	b.WriteByte('(')
	for i := range rows {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(strconv.FormatInt(id(&rows[i]), 10))
	}
	b.WriteByte(')')
	return b.String()
}

// outcomeList writes outcomes as a condition, empty for all outcomes.
func outcomeList(outcomes []adapter.Outcome) string {
	if len(outcomes) == 0 {
		return ""
	}
	return " AND outcome IN " + outcomeNumbers(outcomes)
}

// outcomeNumbers writes outcomes as a list for IN.
func outcomeNumbers(outcomes []adapter.Outcome) string {
	return idList(outcomes, func(outcome *adapter.Outcome) int64 { return int64(*outcome) })
}

// numberList writes numbers as a list for IN.
func numberList(numbers []int64) string {
	return idList(numbers, func(number *int64) int64 { return *number })
}

// remove deletes settled deliveries with one of the outcomes and all rows that belong to them, and counts them as
// removed. It returns their number.
func (s *Store) remove(ctx context.Context, tx *sql.Tx, ids []int64, outcomes []adapter.Outcome) (int, error) {
	removed := make(map[sumKey]int64)
	var messages []removedMessage
	var removedIDs []int64 // only these: another may have been redriven meanwhile
	var key sumKey
	var message removedMessage
	gone, err := tx.QueryContext(ctx, `DELETE FROM deliveries WHERE id IN `+numberList(ids)+outcomeList(outcomes)+
		` RETURNING id, message_id, connection, outcome`)
	err = eachRow(gone, err, func() {
		removed[key]++
		messages, removedIDs = append(messages, message), append(removedIDs, message.id)
	}, &message.id, &message.messageID, &key.connection, &key.outcome)
	if err != nil {
		return 0, fmt.Errorf("delete deliveries: %w", err)
	}
	if err := s.engine.forget(ctx, tx, messages); err != nil {
		return 0, fmt.Errorf("forget messageIds: %w", err)
	}
	if _, err := s.takeDeadLetters(ctx, tx, removedIDs); err != nil {
		return 0, err
	}
	list := numberList(removedIDs)
	for _, table := range []string{"payloads", "attempts"} {
		if _, err := tx.ExecContext(ctx, `DELETE FROM `+table+` WHERE delivery IN `+list); err != nil {
			return 0, fmt.Errorf("delete %s: %w", table, err)
		}
	}
	if err := forgetRejected(ctx, tx, list); err != nil {
		return 0, err
	}
	for key, count := range removed {
		if err := s.addTotal(ctx, tx, key, sum{}, count); err != nil {
			return 0, err
		}
	}
	return len(messages), nil
}

// addTotal adds to the running totals.
func (s *Store) addTotal(ctx context.Context, tx *sql.Tx, key sumKey, add sum, removed int64) error {
	_, err := tx.ExecContext(ctx, `INSERT INTO totals (connection, shard, outcome, events, removed, bytes)
		VALUES ($1, $2, $3, $4, $5, $6)
		ON CONFLICT (connection, shard, outcome) DO UPDATE SET events = totals.events + excluded.events,
			removed = totals.removed + excluded.removed, bytes = totals.bytes + excluded.bytes`,
		key.connection, s.engine.shard(), int64(key.outcome), add.events, removed, add.bytes)
	return wrap("add to the totals", err)
}

// addSums adds the sums of a transaction to the running totals.
func (s *Store) addSums(ctx context.Context, tx *sql.Tx, all sums) error {
	for key, add := range all {
		if err := s.addTotal(ctx, tx, key, add, 0); err != nil {
			return err
		}
	}
	return nil
}

// addRunSums adds the sums of a transaction to the outcomes of runs.
func (s *Store) addRunSums(ctx context.Context, tx *sql.Tx, all runSums) error {
	for key, events := range all {
		_, err := tx.ExecContext(ctx, `INSERT INTO run_outcomes (run, shard, outcome, reason, events)
			VALUES ($1, $2, $3, $4, $5)
			ON CONFLICT (run, shard, outcome, reason) DO UPDATE SET events = run_outcomes.events + excluded.events`,
			key.run, s.engine.shard(), int64(key.outcome), string(key.reason), events)
		if err != nil {
			return fmt.Errorf("add to the outcomes of a run: %w", err)
		}
	}
	return nil
}

// Purge deletes deliveries; see [adapter.DeliveryStore].
func (s *Store) Purge(ctx context.Context, ids []int64, outcomes ...adapter.Outcome) (int, error) {
	purged, n := 0, 0
	change := stepwise[int64]{
		size: func(*int64) int64 { return 0 },
		change: func(ctx context.Context, tx *sql.Tx, part []int64) (err error) {
			n, err = s.purge(ctx, tx, part, outcomes)
			return err
		},
		done: func() { purged += n },
	}
	err := change.run(ctx, s, ids)
	if err != nil {
		return purged, fmt.Errorf("purge deliveries: %w", err)
	}
	return purged, nil
}

func (s *Store) purge(ctx context.Context, tx *sql.Tx, ids []int64, outcomes []adapter.Outcome) (n int, err error) {
	if len(outcomes) == 0 || slices.Contains(outcomes, adapter.Pending) {
		if n, err = s.purgePending(ctx, tx, ids); err != nil {
			return 0, err
		}
	}
	more, err := s.remove(ctx, tx, ids, outcomes)
	return n + more, err
}

// purgePending deletes pending events and their histories. They then count as dead and removed.
func (s *Store) purgePending(ctx context.Context, tx *sql.Tx, ids []int64) (int, error) {
	if _, err := s.engine.endLeases(ctx, tx, ids, endOfTime); err != nil {
		return 0, fmt.Errorf("end leases: %w", err)
	}
	changed, runs := make(sums), make(runSums)
	removed := make(map[int64]int64)
	var messages []removedMessage
	var message removedMessage
	var connection, bytes, run int64
	rows, err := tx.QueryContext(ctx, `DELETE FROM queue WHERE id IN `+numberList(ids)+
		` RETURNING id, message_id, connection, length(payload), coalesce(run, 0)`)
	err = eachRow(rows, err, func() {
		messages = append(messages, message)
		changed.add(connection, adapter.Pending, -1, -bytes)
		changed.add(connection, adapter.Dead, 1, 0)
		runs.settle(run, adapter.Dead, "")
		removed[connection]++
	}, &message.id, &message.messageID, &connection, &bytes, &run)
	if err != nil {
		return 0, fmt.Errorf("delete pending events: %w", err)
	}
	if err := s.engine.forget(ctx, tx, messages); err != nil {
		return 0, fmt.Errorf("forget messageIds: %w", err)
	}
	for connection, count := range removed {
		if err := s.addTotal(ctx, tx, sumKey{connection, adapter.Dead}, sum{}, count); err != nil {
			return 0, err
		}
	}
	list := idList(messages, func(m *removedMessage) int64 { return m.id })
	if _, err := tx.ExecContext(ctx, `DELETE FROM attempts WHERE delivery IN `+list); err != nil {
		return 0, fmt.Errorf("delete attempts: %w", err)
	}
	return len(messages), errors.Join(s.addSums(ctx, tx, changed), s.addRunSums(ctx, tx, runs))
}
