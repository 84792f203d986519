package store

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"slices"
	"time"

	"segment-saasquatch/adapter"
)

// targets returns the numbers of the tenants that deliveries are moved to.
func (s *Store) targets(ctx context.Context, redeliveries []adapter.Redelivery) (map[string]int64, error) {
	targets := make(map[string]int64)
	for i := range redeliveries {
		name := redeliveries[i].Tenant
		if _, ok := targets[name]; ok || name == "" {
			continue
		}
		id, err := s.names.id(ctx, name)
		if err != nil {
			return nil, err
		}
		targets[name] = id
	}
	return targets, nil
}

// movable is a pending event that may go to another tenant.
type movable struct {
	id, connection, tenant, run int64
	messageID                   string
	bodyHash                    sql.NullInt64
	bytes                       int64
}

// identity tells the event from others, as today's version does. An earlier version may
// have stored it under the body hash of the row.
func (s *Store) identity(m *movable, as redelivery) eventIdentity {
	identity := eventIdentity{messageID: m.messageID}
	if m.bodyHash.Valid {
		identity.bodyHash = s.redriveHash(m.id, m.bodyHash, as)
		if identity.bodyHash != any(m.bodyHash.Int64) {
			identity.former = m.bodyHash.Int64
		}
	}
	return identity
}

// movePending has pending events go to other tenants. To those they are new: no
// attempt was made there, and what the tenant has already makes them duplicates.
// Events that a process has in hand stay with it, and so do those that wait for an
// import job.
func (s *Store) movePending(
	ctx context.Context, tx *sql.Tx, byID map[int64]redelivery, ids []int64, targets map[string]int64, now time.Time,
	changed sums, runs runSums,
) (redriven adapter.Redriven, err error) {
	if len(ids) == 0 {
		return redriven, nil
	}
	if err := s.engine.refresh(ctx, tx); err != nil {
		return redriven, err
	}
	movables, err := s.lockMovable(ctx, tx, ids, now)
	if err != nil {
		return redriven, err
	}
	for i := range movables {
		row := &movables[i]
		as := byID[row.id]
		target := targets[as.Tenant]
		if target == row.tenant {
			redriven.Pending++ // another redrive was faster
			continue
		}
		identity := s.identity(row, as)
		reasons, err := s.engine.known(ctx, tx, target, []eventIdentity{identity})
		if err != nil {
			return redriven, err
		}
		if reason := reasons[0]; reason != "" {
			if err := s.settleDuplicate(ctx, tx, row, as, target, reason, now); err != nil {
				return redriven, err
			}
			redriven.Duplicate++
			changed.add(row.connection, adapter.Pending, -1, -row.bytes)
			changed.add(row.connection, adapter.Duplicate, 1, 0)
			runs.settle(row.run, adapter.Duplicate, reason)
			continue
		}
		_, err = tx.ExecContext(ctx, `UPDATE queue SET tenant = $1, due_at = $2, redriven = 1, failed = 0,
			first_attempt_at = NULL, ambiguous_at = NULL, sending_at = NULL, body_hash = CAST($3 AS bigint),
			event = coalesce($4, event) WHERE id = $5`,
			target, milliseconds(now), identity.bodyHash, orNull(as.event), row.id)
		if err != nil {
			return redriven, err
		}
		redriven.Pending++
	}
	return redriven, nil
}

// lockMovable returns the pending events that no process has in hand, by id. Until the
// transaction ends no process can take them.
func (s *Store) lockMovable(
	ctx context.Context, tx *sql.Tx, ids []int64, now time.Time,
) (movables []movable, err error) {
	over, err := s.engine.leaseTime(ctx, tx, now)
	if err != nil {
		return nil, err
	}
	list := idList(ids, func(id *int64) int64 { return *id })
	rows, err := tx.QueryContext(ctx, `UPDATE queue SET lease = NULL WHERE id IN `+list+`
		AND due_at < `+heldText+` AND (lease IS NULL OR due_at <= $1)
		RETURNING id, connection, tenant, coalesce(run, 0), message_id, body_hash, length(payload)`, milliseconds(over))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var row movable
		err := rows.Scan(&row.id, &row.connection, &row.tenant, &row.run, &row.messageID, &row.bodyHash, &row.bytes)
		if err != nil {
			return nil, err
		}
		movables = append(movables, row)
	}
	slices.SortFunc(movables, func(a, b movable) int { return cmp.Compare(a.id, b.id) })
	return movables, rows.Err()
}

// settleDuplicate moves a pending event to the log as a duplicate at the tenant. As
// nowDuplicate does, it takes the body hash.
func (s *Store) settleDuplicate(
	ctx context.Context, tx *sql.Tx, row *movable, as redelivery, tenant int64, reason adapter.Reason, now time.Time,
) error {
	user, account := cut(as.UserID), cut(as.AccountID)
	_, err := tx.ExecContext(ctx, `INSERT INTO deliveries (id, connection, tenant, outcome, message_id,
			user_hash, user_id, account_id, event_key, received_at, first_attempt_ms, last_attempt_ms, settled_ms, attempts, status, ambiguous, reason, run, event)
		SELECT id, connection, $1, 2, message_id, $2, $3, $4, event_key, received_at,
			first_attempt_at - received_at, last_attempt_at - received_at, $5 - received_at, attempts, status, CASE WHEN ambiguous_at IS NULL THEN 0 ELSE 1 END, $6, run, coalesce($7, event)
		FROM queue WHERE id = $8`,
		tenant, userHash(as.UserID), user, accountOf(account, user), milliseconds(now), string(reason), orNull(as.event), row.id)
	if err != nil {
		return err
	}
	if keep, until := s.retention.payload(adapter.Duplicate, now); keep {
		_, err := tx.ExecContext(ctx, `INSERT INTO payloads (delivery, keep_until, payload, checksum)
			SELECT id, $1, payload, checksum FROM queue WHERE id = $2`, timeOrNull(until), row.id)
		if err != nil {
			return err
		}
	}
	_, err = tx.ExecContext(ctx, `DELETE FROM queue WHERE id = $1`, row.id)
	return err
}

// moveRefused has a delivery of the log belong to another tenant.
func moveRefused(ctx context.Context, tx *sql.Tx, id, tenant int64) error {
	_, err := tx.ExecContext(ctx, `UPDATE deliveries SET tenant = $1 WHERE id = $2`, tenant, id)
	return err
}
