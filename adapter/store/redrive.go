package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"segment-saasquatch/adapter"
)

// Redrive makes deliveries pending again; see [adapter.DeliveryLog].
func (s *Store) Redrive(ctx context.Context, redeliveries []adapter.Redelivery) (adapter.Redriven, error) {
	var total adapter.Redriven
	targets, err := s.targets(ctx, redeliveries)
	if err != nil {
		return total, fmt.Errorf("redrive deliveries: %w", err)
	}
	err = inSteps(redeliveries, func(step []adapter.Redelivery) error {
		events, err := s.eventNames.of(ctx, len(step), func(i int) string { return step[i].Event })
		if err != nil {
			return err
		}
		var redriven adapter.Redriven
		err = s.engine.write(ctx, func(tx *sql.Tx) (err error) {
			redriven, err = s.redrive(ctx, tx, step, events, targets)
			return err
		})
		if err == nil {
			total.Pending += redriven.Pending
			total.Duplicate += redriven.Duplicate
		}
		return err
	})
	s.wakeAll()
	if err != nil {
		return total, fmt.Errorf("redrive deliveries: %w", err)
	}
	return total, nil
}

func (s *Store) redrive(
	ctx context.Context, tx *sql.Tx, redeliveries []adapter.Redelivery, events []int64, targets map[string]int64,
) (adapter.Redriven, error) {
	now := s.now()
	ids := make([]int64, len(redeliveries))
	var staying, leaving []int64
	byID := make(map[int64]redelivery, len(redeliveries))
	for i := range redeliveries {
		ids[i] = redeliveries[i].ID
		byID[ids[i]] = redelivery{&redeliveries[i], events[i]}
		if redeliveries[i].Tenant == "" {
			staying = append(staying, ids[i])
		} else {
			leaving = append(leaving, ids[i])
		}
	}
	redriven, err := s.hurry(ctx, tx, staying, now)
	if err != nil {
		return redriven, err
	}
	changed, runs := make(sums), make(runSums)
	moved, err := s.movePending(ctx, tx, byID, leaving, targets, now, changed, runs)
	if err != nil {
		return redriven, err
	}
	redriven.Pending += moved.Pending
	redriven.Duplicate += moved.Duplicate
	refused, err := s.refused(ctx, tx, ids)
	if err != nil {
		return redriven, err
	}
	if err := forgetRejected(ctx, tx, idList(refused, func(row *settled) int64 { return row.id })); err != nil {
		return redriven, err
	}
	for _, row := range refused {
		if to := byID[row.id].Tenant; to != "" {
			if err := moveRefused(ctx, tx, row.id, targets[to]); err != nil {
				return redriven, fmt.Errorf("move delivery %d: %w", row.id, err)
			}
		}
		duplicate, bytes, err := s.enqueueAgain(ctx, tx, row, byID[row.id], now)
		if err != nil {
			return redriven, fmt.Errorf("put delivery %d back: %w", row.id, err)
		}
		changed.add(row.connection, row.outcome, -1, 0)
		runs.add(row.run, row.outcome, row.reason, -1)
		if duplicate == "" {
			redriven.Pending++
			changed.add(row.connection, adapter.Pending, 1, bytes)
			runs.add(row.run, adapter.Pending, "", 1)
		} else {
			redriven.Duplicate++
			changed.add(row.connection, adapter.Duplicate, 1, 0)
			runs.add(row.run, adapter.Duplicate, duplicate, 1)
		}
	}
	return redriven, errors.Join(s.addSums(ctx, tx, changed), s.addRunSums(ctx, tx, runs))
}

// hurry makes pending events due that nobody has in hand.
func (s *Store) hurry(ctx context.Context, tx *sql.Tx, ids []int64, now time.Time) (redriven adapter.Redriven, err error) {
	list := idList(ids, func(id *int64) int64 { return *id })
	if err := tx.QueryRowContext(ctx, `SELECT count(*) FROM queue WHERE id IN `+list).Scan(&redriven.Pending); err != nil {
		return redriven, err
	}
	_, err = tx.ExecContext(ctx, `UPDATE queue SET due_at = $1 WHERE due_at > $2 AND lease IS NULL AND id IN `+list, milliseconds(now), milliseconds(now))
	return redriven, err
}

// refused returns those of the deliveries that are dead or rejected and have
// their payload still. They do not count as dead letters any more.
func (s *Store) refused(ctx context.Context, tx *sql.Tx, ids []int64) ([]settled, error) {
	list := idList(ids, func(id *int64) int64 { return *id })
	refused, err := s.lockRefused(ctx, tx, `id IN `+list, len(ids))
	if err != nil || len(refused) == 0 {
		return nil, err
	}
	// From here on no other transaction drops their payloads.
	if _, err := s.takeDeadLetters(ctx, tx, ids); err != nil {
		return nil, err
	}
	kept, err := idsIn(ctx, tx, `SELECT delivery FROM payloads WHERE delivery IN `+list)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(refused, func(row settled) bool {
		_, ok := kept[row.id]
		return !ok
	}), nil
}

// idsIn returns the ids that a query yields.
func idsIn(ctx context.Context, tx *sql.Tx, query string) (ids map[int64]struct{}, err error) {
	rows, err := tx.QueryContext(ctx, query)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	ids = make(map[int64]struct{})
	for rows.Next() {
		var id int64
		if err := rows.Scan(&id); err != nil {
			return nil, err
		}
		ids[id] = struct{}{}
	}
	return ids, rows.Err()
}

// enqueueAgain moves a delivery from the log to the queue, unless the same event
// has come to be pending or delivered; then it is a duplicate from now on. It
// forgets the horizon: whoever redrives wants the event sent. It returns why the
// event is a duplicate, or nothing.
func (s *Store) enqueueAgain(ctx context.Context, tx *sql.Tx, row settled, as redelivery, now time.Time) (duplicate adapter.Reason, bytes int64, err error) {
	_, err = tx.ExecContext(ctx, `UPDATE deliveries SET body_hash = CASE WHEN message_id = '' THEN NULL ELSE CAST($1 AS bigint) END,
		user_hash = $2, user_id = $3, account_id = $4, event_key = $5, event = coalesce($6, event) WHERE id = $7`,
		s.redriveHash(row.id, row.bodyHash, as), userHash(as.UserID), cut(as.UserID), accountOf(cut(as.AccountID), cut(as.UserID)), cut(as.EventKey), orNull(as.event), row.id)
	if err != nil {
		return "", 0, err
	}
	isPending, isDelivered, err := s.engine.sameEvent(ctx, tx, row.id, s.formerHashes(row, as))
	if err != nil {
		return "", 0, err
	}
	if isPending || isDelivered {
		duplicate = duplicateReason(isPending)
		return duplicate, 0, s.nowDuplicate(ctx, tx, row, duplicate, now)
	}
	err = tx.QueryRowContext(ctx, `INSERT INTO queue (id, connection, tenant, due_at, body_hash, message_id, user_id, account_id, event_key,
			received_at, attempts, redriven, first_attempt_at, last_attempt_at, status, reason, detail, payload, run, event, checksum)
		SELECT d.id, d.connection, d.tenant, $1, d.body_hash, d.message_id, d.user_id, d.account_id, d.event_key,
			d.received_at, d.attempts, 1, NULL, d.received_at + d.last_attempt_ms, d.status, d.reason, d.detail, p.payload, d.run, d.event, p.checksum
		FROM deliveries d JOIN payloads p ON p.delivery = d.id WHERE d.id = $2
		RETURNING length(payload)`, milliseconds(now), row.id).Scan(&bytes)
	if err != nil {
		return "", 0, err
	}
	for _, statement := range []string{`DELETE FROM deliveries WHERE id = $1`, `DELETE FROM payloads WHERE delivery = $1`} {
		if _, err := tx.ExecContext(ctx, statement, row.id); err != nil {
			return "", 0, err
		}
	}
	return "", bytes, nil
}

// nowDuplicate gives a delivery of the log that outcome. It loses its body hash:
// what was not delivered itself must not keep the event out when the other one
// dies or is deleted.
func (s *Store) nowDuplicate(ctx context.Context, tx *sql.Tx, row settled, reason adapter.Reason, now time.Time) error {
	_, err := tx.ExecContext(ctx, `UPDATE deliveries SET outcome = 2, body_hash = NULL, reason = $1, detail = NULL, settled_ms = $2 - received_at WHERE id = $3`,
		string(reason), milliseconds(now), row.id)
	if err != nil {
		return err
	}
	if keep, until := s.retention.payload(adapter.Duplicate, now); keep {
		_, err = tx.ExecContext(ctx, `UPDATE payloads SET keep_until = $1 WHERE delivery = $2`, timeOrNull(until), row.id)
	} else {
		_, err = tx.ExecContext(ctx, `DELETE FROM payloads WHERE delivery = $1`, row.id)
	}
	return err
}

// redelivery is a delivery to put back, with the number of its event's name.
type redelivery struct {
	*adapter.Redelivery
	event int64
}

// redriveHash is the body hash of a row with a messageId that is put back, which is its
// own. The payload does not say it: that of merged traits looks like the call whose
// messageId it bears. A row that has none, such as a rejected event, or one of an earlier
// version, gets what today's mapping says; see bodyHash.
func (s *Store) redriveHash(id int64, own sql.NullInt64, as redelivery) any {
	switch {
	case own.Valid && !s.isFormer(id, own.Int64, as):
		return own.Int64
	case as.Keyed:
		return int64(0)
	default:
		return unkeyedHash(as.Identity, as.Fingerprint)
	}
}

// isFormer reports whether a row has the body hash of an earlier version: it is that
// old, or a replay of an earlier version brought it.
func (s *Store) isFormer(id, bodyHash int64, as redelivery) bool {
	return id < s.former.Load() || bodyHash != 0 && bodyHash == as.Fingerprint
}

// formerHashes are the body hashes under which earlier versions may have stored the
// same event: what today's rules make of it, and what the row had until now.
func (s *Store) formerHashes(row settled, as redelivery) (hashes []int64) {
	if as.Keyed || s.former.Load() == 0 {
		return nil
	}
	if as.Fingerprint != 0 {
		hashes = append(hashes, as.Fingerprint)
	}
	if row.bodyHash.Int64 != 0 {
		hashes = append(hashes, row.bodyHash.Int64)
	}
	return hashes
}

// forgetRejected is told of rejected deliveries that are not rejected any more, or
// gone: when a replay brings them again, they are new dead letters.
func forgetRejected(ctx context.Context, tx *sql.Tx, ids string) error {
	if _, err := tx.ExecContext(ctx, `DELETE FROM rejected WHERE delivery IN `+ids); err != nil {
		return fmt.Errorf("forget dead letters: %w", err)
	}
	return nil
}
