package store

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"slices"

	"segment-saasquatch/adapter"
)

// targets returns the numbers of the tenants to which deliveries move.
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

// movable is a pending event that can move to another tenant.
type movable struct {
	id, connection, tenant, run int64
	messageID                   string
	bodyHash                    sql.NullInt64
	bytes                       int64
}

// identity returns the identity of the event by today's version. An earlier version may have stored it under the body
// hash of the row.
func (s *Store) identity(m *movable, as redelivery) eventIdentity {
	identity := eventIdentity{id: m.id, messageID: m.messageID}
	if m.bodyHash.Valid {
		identity.bodyHash = s.redriveHash(m.id, m.bodyHash, as)
		if identity.bodyHash != any(m.bodyHash.Int64) {
			identity.former = []int64{m.bodyHash.Int64}
		}
	}
	return identity
}

// movePending moves pending events to other tenants. The events are new there: no attempt was made, and they are
// duplicates of events that the tenant has. Leased events stay, and so do events that wait for an import job.
func (r *redriving) movePending(ids []int64) error {
	if len(ids) == 0 {
		return nil
	}
	movables, err := r.lockMovable(ids)
	if err != nil {
		return err
	}
	movables = slices.DeleteFunc(movables, func(m movable) bool {
		there := m.tenant == r.byID[m.id].target // another redrive was first
		if there {
			r.redriven.Pending++
		}
		return there
	})
	candidates := make([]candidate, len(movables))
	for i := range movables {
		as := r.byID[movables[i].id]
		candidates[i] = candidate{as.target, r.identity(&movables[i], as)}
	}
	reasons, err := r.duplicates(candidates)
	if err != nil {
		return fmt.Errorf("look for duplicates: %w", err)
	}
	var moved, duplicate []rewritten
	for i := range movables {
		m := &movables[i]
		as := r.byID[m.id]
		write := rewritten{
			id: m.id, tenant: as.target, bodyHash: candidates[i].bodyHash, event: orNull(as.event), as: as, now: r.now,
		}
		reason := reasons[i]
		if reason == "" {
			moved = append(moved, write)
			continue
		}
		write.reason = string(reason)
		duplicate = append(duplicate, write)
		r.changed.add(m.connection, adapter.Pending, -1, -m.bytes)
		r.changed.add(m.connection, adapter.Duplicate, 1, 0)
		r.runs.settle(m.run, adapter.Duplicate, reason)
	}
	r.redriven.Pending += len(moved)
	r.redriven.Duplicate += len(duplicate)
	if len(moved) > 0 {
		if err := r.engine.rewrite(r.ctx, r.tx, moveSQL, moved); err != nil {
			return err
		}
	}
	return r.settleDuplicates(duplicate)
}

const moveSQL = `UPDATE queue SET tenant = r.tenant, due_at = r.now, redriven = 1, failed = 0,
	first_attempt_at = NULL, ambiguous_at = NULL, sending_at = NULL, body_hash = r.body_hash,
	event = coalesce(r.event, queue.event), holds = CASE WHEN queue.holds IS NOT NULL THEN 0 END
FROM r WHERE queue.id = r.id`

// lockMovable returns the pending events that no process has leased, by id. No process can lease them until the
// transaction ends.
func (r *redriving) lockMovable(ids []int64) (movables []movable, err error) {
	over, err := r.engine.leaseTime(r.ctx, r.tx, r.now)
	if err != nil {
		return nil, err
	}
	inHand, err := r.engine.endLeases(r.ctx, r.tx, ids, over)
	if err != nil {
		return nil, err
	}
	ids = slices.DeleteFunc(slices.Clone(ids), func(id int64) bool {
		_, ok := inHand[id]
		return ok
	})
	list := numberList(ids)
	rows, err := r.tx.QueryContext(r.ctx, `UPDATE queue SET lease = NULL WHERE id IN `+list+`
		AND due_at < `+heldText+` AND (lease IS NULL OR due_at <= $1)
		RETURNING id, connection, tenant, coalesce(run, 0), message_id, body_hash, length(payload)`,
		milliseconds(over))
	movables, err = allRows(rows, err, func(row *movable) []any {
		return []any{&row.id, &row.connection, &row.tenant, &row.run, &row.messageID, &row.bodyHash, &row.bytes}
	})
	slices.SortFunc(movables, func(a, b movable) int { return cmp.Compare(a.id, b.id) })
	return movables, err
}

const settleDuplicateSQL = `INSERT INTO deliveries (id, connection, tenant, outcome, message_id,
	user_hash, user_id, account_id, event_key, received_at, first_attempt_ms, last_attempt_ms, settled_ms,
	attempts, status, ambiguous, reason, run, event, call)
SELECT q.id, q.connection, r.tenant, 2, q.message_id, r.user_hash, r.user_id, r.account_id, q.event_key,
	q.received_at, q.first_attempt_at - q.received_at, q.last_attempt_at - q.received_at, r.now - q.received_at,
	q.attempts, q.status, CASE WHEN q.ambiguous_at IS NULL THEN 0 ELSE 1 END, r.reason, q.run,
	coalesce(r.event, q.event), q.call
FROM r JOIN queue q ON q.id = r.id`

// settleDuplicates moves pending events to the log as duplicates of the tenant. As nowDuplicates does, it deletes the
// body hash.
func (r *redriving) settleDuplicates(rows []rewritten) error {
	if len(rows) == 0 {
		return nil
	}
	if err := r.engine.rewrite(r.ctx, r.tx, settleDuplicateSQL, rows); err != nil {
		return fmt.Errorf("settle duplicates: %w", err)
	}
	list := idList(rows, func(row *rewritten) int64 { return row.id })
	if keep, until := r.retention.payload(adapter.Duplicate, r.now); keep {
		_, err := r.tx.ExecContext(r.ctx, `INSERT INTO payloads (delivery, keep_until, payload, checksum)
			SELECT id, $1, payload, checksum FROM queue WHERE id IN `+list, timeOrNull(until))
		if err != nil {
			return fmt.Errorf("keep payloads: %w", err)
		}
	}
	_, err := r.tx.ExecContext(r.ctx, `DELETE FROM queue WHERE id IN `+list)
	return err
}
