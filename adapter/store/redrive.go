package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"segment-saasquatch/adapter"
	"segment-saasquatch/mapping"
)

// Redrive makes deliveries pending again; see [adapter.DeliveryStore].
func (s *Store) Redrive(ctx context.Context, redeliveries []adapter.Redelivery) (adapter.Redriven, error) {
	var total, redriven adapter.Redriven
	list, err := s.redeliveries(ctx, redeliveries)
	if err != nil {
		return total, fmt.Errorf("redrive deliveries: %w", err)
	}
	change := stepwise[redelivery]{
		size: func(r *redelivery) int64 { return int64(r.Bytes) },
		// A server beside this process may have accepted many events meanwhile.
		prepare: func(ctx context.Context) error {
			return s.read(ctx, func(tx *sql.Tx) error { return s.engine.refresh(ctx, tx) })
		},
		change: func(ctx context.Context, tx *sql.Tx, part []redelivery) (err error) {
			redriven, err = s.redrive(ctx, tx, part)
			return err
		},
		done: func() { total.Add(redriven) },
	}
	err = change.run(ctx, s, list)
	s.wakeAll()
	if err != nil {
		return total, fmt.Errorf("redrive deliveries: %w", err)
	}
	return total, nil
}

// redelivery is a delivery to put back, with the numbers of its event name and of its new tenant.
type redelivery struct {
	*adapter.Redelivery
	event, target int64
}

// redeliveries looks up the numbers of the names.
func (s *Store) redeliveries(ctx context.Context, redeliveries []adapter.Redelivery) ([]redelivery, error) {
	targets, err := s.targets(ctx, redeliveries)
	if err != nil {
		return nil, err
	}
	events, err := s.eventNames.of(ctx, len(redeliveries), func(i int) string { return redeliveries[i].Event })
	if err != nil {
		return nil, err
	}
	list := make([]redelivery, len(redeliveries))
	for i := range redeliveries {
		list[i] = redelivery{&redeliveries[i], events[i], targets[redeliveries[i].Tenant]}
	}
	return list, nil
}

// redriving is a step of a redrive.
type redriving struct {
	*Store
	ctx  context.Context
	tx   *sql.Tx
	now  time.Time
	byID map[int64]redelivery
	// seen are the events that the step has put into the queue.
	seen     map[storedIdentity]struct{}
	redriven adapter.Redriven
	changed  sums
	runs     runSums
}

// storedIdentity is the identity of an event in the queue.
type storedIdentity struct {
	tenant, bodyHash int64
	messageID        string
}

func (s *Store) redrive(ctx context.Context, tx *sql.Tx, part []redelivery) (adapter.Redriven, error) {
	r := redriving{
		Store: s, ctx: ctx, tx: tx, now: s.now(), byID: make(map[int64]redelivery, len(part)),
		seen: make(map[storedIdentity]struct{}), changed: make(sums), runs: make(runSums),
	}
	if err := s.engine.refresh(ctx, tx); err != nil {
		return r.redriven, err
	}
	ids := make([]int64, len(part))
	var staying, leaving []int64
	for i := range part {
		ids[i] = part[i].ID
		r.byID[ids[i]] = part[i]
		if part[i].Tenant == "" {
			staying = append(staying, ids[i])
		} else {
			leaving = append(leaving, ids[i])
		}
	}
	if err := r.movePending(leaving); err != nil {
		return r.redriven, fmt.Errorf("move pending events: %w", err)
	}
	refused, err := r.putBack(ids)
	if err != nil {
		return r.redriven, fmt.Errorf("put deliveries back: %w", err)
	}
	staying = slices.DeleteFunc(staying, func(id int64) bool { _, ok := refused[id]; return ok })
	if err := r.makeDue(staying); err != nil {
		return r.redriven, fmt.Errorf("make events due: %w", err)
	}
	// Last, since on PostgreSQL other operators' work waits for these rows.
	return r.redriven, errors.Join(s.addSums(ctx, tx, r.changed), s.addRunSums(ctx, tx, r.runs))
}

// makeDue makes pending events due that no process has leased.
func (r *redriving) makeDue(ids []int64) error {
	if len(ids) == 0 {
		return nil
	}
	list, pending := numberList(ids), 0
	if err := r.tx.QueryRowContext(r.ctx, `SELECT count(*) FROM queue WHERE id IN `+list).Scan(&pending); err != nil {
		return err
	}
	if pending == 0 {
		return nil
	}
	r.redriven.Pending += pending
	_, err := r.tx.ExecContext(r.ctx,
		`UPDATE queue SET due_at = $1 WHERE due_at > $2 AND lease IS NULL AND id IN `+list,
		milliseconds(r.now), milliseconds(r.now))
	return err
}

// candidate is an event that may move to the queue, or to another tenant's part of it.
type candidate struct {
	tenant int64
	eventIdentity
}

// duplicates returns for each candidate the reason why it is a duplicate, empty if it is none. It compares the
// candidate with the events of its tenant, and with earlier candidates of the step.
func (r *redriving) duplicates(candidates []candidate) ([]mapping.Reason, error) {
	reasons := make([]mapping.Reason, len(candidates))
	byTenant := make(map[int64][]int)
	for i := range candidates {
		byTenant[candidates[i].tenant] = append(byTenant[candidates[i].tenant], i)
	}
	for tenant, places := range byTenant {
		identities := make([]eventIdentity, len(places))
		for i, place := range places {
			identities[i] = candidates[place].eventIdentity
		}
		known, err := r.engine.known(r.ctx, r.tx, tenant, identities)
		if err != nil {
			return nil, err
		}
		for i, place := range places {
			reasons[place] = known[i]
		}
	}
	for i := range candidates {
		c := &candidates[i]
		hashes := c.hashes()
		for _, hash := range hashes {
			if _, ok := r.seen[storedIdentity{c.tenant, hash, c.messageID}]; ok {
				reasons[i] = duplicateReason(true)
			}
		}
		if reasons[i] == "" && len(hashes) > 0 {
			r.seen[storedIdentity{c.tenant, hashes[0], c.messageID}] = struct{}{}
		}
	}
	return reasons, nil
}

// rewriteColumns are the columns of the table r, from which a statement of a redrive takes the new values of the
// rows. A statement need not use all of them.
const rewriteColumns = `id, tenant, body_hash, user_hash, user_id, account_id, event_key, event, reason, now`

// rewritten is a row of the table r.
type rewritten struct {
	id, tenant int64
	// bodyHash, event and reason are nil if there is none.
	bodyHash, event, reason any
	as                      redelivery
	now                     time.Time
}

// putBack moves dead and rejected deliveries with a kept payload from the log to the queue. They no longer count as
// dead letters. If the same event is pending or delivered by now, the delivery becomes a duplicate. The retry horizon
// begins anew: the operator wants the event sent. putBack returns the sizes of the payloads by delivery.
func (r *redriving) putBack(ids []int64) (sizes map[int64]int64, err error) {
	refused, sizes, err := r.refused(ids)
	if err != nil || len(refused) == 0 {
		return nil, err
	}
	candidates := make([]candidate, len(refused))
	for i := range refused {
		row := &refused[i]
		as := r.byID[row.id]
		tenant := row.tenant
		if as.Tenant != "" {
			tenant = as.target
		}
		identity := eventIdentity{id: row.id, messageID: row.messageID, former: r.formerHashes(row, as)}
		if row.messageID != "" {
			identity.bodyHash = r.redriveHash(row.id, row.bodyHash, as)
		}
		candidates[i] = candidate{tenant, identity}
	}
	reasons, err := r.duplicates(candidates)
	if err != nil {
		return nil, fmt.Errorf("look for duplicates: %w", err)
	}
	var pending, duplicate []rewritten
	for i := range refused {
		row := &refused[i]
		as := r.byID[row.id]
		write := rewritten{
			id: row.id, tenant: candidates[i].tenant, bodyHash: candidates[i].bodyHash,
			event: orNull(as.event), as: as, now: r.now,
		}
		r.changed.add(row.connection, row.outcome, -1, 0)
		r.runs.add(row.run, row.outcome, row.reason, -1)
		if reason := reasons[i]; reason != "" {
			write.reason = string(reason)
			duplicate = append(duplicate, write)
			r.changed.add(row.connection, adapter.Duplicate, 1, 0)
			r.runs.add(row.run, adapter.Duplicate, reason, 1)
			continue
		}
		pending = append(pending, write)
		r.changed.add(row.connection, adapter.Pending, 1, sizes[row.id])
		r.runs.add(row.run, adapter.Pending, "", 1)
	}
	r.redriven.Pending += len(pending)
	r.redriven.Duplicate += len(duplicate)
	if err := r.enqueueAgain(pending); err != nil {
		return nil, err
	}
	return sizes, r.nowDuplicates(duplicate)
}

// refused returns the deliveries that are dead or rejected and whose payload is kept, and the sizes of the payloads.
func (r *redriving) refused(ids []int64) (refused []settled, sizes map[int64]int64, err error) {
	list := numberList(ids)
	refused, err = r.lockRefused(r.ctx, r.tx, `id IN `+list, len(ids))
	if err != nil || len(refused) == 0 {
		return nil, nil, err
	}
	// From here on no other transaction drops their payloads.
	if _, err := r.takeLetters(r.ctx, r.tx, ids, r.changed); err != nil {
		return nil, nil, err
	}
	if sizes, err = payloadSizes(r.ctx, r.tx, list); err != nil {
		return nil, nil, fmt.Errorf("look for payloads: %w", err)
	}
	refused = slices.DeleteFunc(refused, func(row settled) bool {
		_, kept := sizes[row.id]
		return !kept
	})
	var rejected []int64
	for i := range refused {
		if refused[i].outcome == adapter.Rejected {
			rejected = append(rejected, refused[i].id)
		}
	}
	if len(rejected) == 0 {
		return refused, sizes, nil
	}
	return refused, sizes, forgetRejected(r.ctx, r.tx, numberList(rejected))
}

// payloadSizes returns the sizes of the payloads that are kept, by delivery.
func payloadSizes(ctx context.Context, tx *sql.Tx, list string) (map[int64]int64, error) {
	sizes := make(map[int64]int64)
	var id, size int64
	rows, err := tx.QueryContext(ctx, `SELECT delivery, length(payload) FROM payloads WHERE delivery IN `+list)
	err = eachRow(rows, err, func() { sizes[id] = size }, &id, &size)
	return sizes, err
}

const enqueueAgainSQL = `INSERT INTO queue (id, connection, tenant, due_at, body_hash, message_id,
	user_id, account_id, event_key, received_at, attempts, redriven, first_attempt_at, last_attempt_at,
	status, reason, detail, payload, run, event, checksum, holds, call)
SELECT d.id, d.connection, r.tenant, r.now, r.body_hash, d.message_id, r.user_id, r.account_id, r.event_key,
	d.received_at, d.attempts, 1, NULL, d.received_at + d.last_attempt_ms, d.status, d.reason, d.detail,
	p.payload, d.run,
	coalesce(r.event, d.event), p.checksum, ` + holdsAgain + `, d.call
FROM r JOIN deliveries d ON d.id = r.id JOIN payloads p ON p.delivery = d.id`

// enqueueAgain moves deliveries from the log to the queue.
func (r *redriving) enqueueAgain(rows []rewritten) error {
	if len(rows) == 0 {
		return nil
	}
	if err := r.engine.rewrite(r.ctx, r.tx, enqueueAgainSQL, rows); err != nil {
		return fmt.Errorf("put events into the queue: %w", err)
	}
	list := idList(rows, func(row *rewritten) int64 { return row.id })
	err := executeEach(r.ctx, r.tx, []string{
		`DELETE FROM deliveries WHERE id IN ` + list, `DELETE FROM payloads WHERE delivery IN ` + list,
	})
	return wrap("take deliveries out of the log", err)
}

const nowDuplicateSQL = `UPDATE deliveries SET outcome = 2, tenant = r.tenant, body_hash = NULL,
	user_hash = r.user_hash, user_id = r.user_id, account_id = r.account_id, event_key = r.event_key,
	event = coalesce(r.event, deliveries.event), reason = r.reason, detail = NULL,
	settled_ms = r.now - deliveries.received_at
FROM r WHERE deliveries.id = r.id`

// nowDuplicates settles deliveries of the log as duplicates. They lose their body hash: a delivery that was not sent
// must not keep out the event when the other one dies or is deleted.
func (r *redriving) nowDuplicates(rows []rewritten) error {
	if len(rows) == 0 {
		return nil
	}
	if err := r.engine.rewrite(r.ctx, r.tx, nowDuplicateSQL, rows); err != nil {
		return fmt.Errorf("settle duplicates: %w", err)
	}
	list := idList(rows, func(row *rewritten) int64 { return row.id })
	var err error
	if keep, until := r.retention.payload(adapter.Duplicate, r.now); keep {
		_, err = r.tx.ExecContext(r.ctx,
			`UPDATE payloads SET keep_until = $1 WHERE delivery IN `+list, timeOrNull(until))
	} else {
		_, err = r.tx.ExecContext(r.ctx, `DELETE FROM payloads WHERE delivery IN `+list)
	}
	return err
}

// redriveHash is the body hash of a row with a messageId that is put back: its own. The payload does not give it: the
// payload of merged traits looks like the call whose messageId it has. A row without a hash, such as a rejected
// event, or one of an earlier version, gets the hash of today's mapping; see bodyHash.
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

// isFormer reports whether a row has the body hash of an earlier version: the row is that old, or a replay of an
// earlier version stored it.
func (s *Store) isFormer(id, bodyHash int64, as redelivery) bool {
	return id < s.former.Load() || bodyHash != 0 && bodyHash == as.Fingerprint
}

// formerHashes are the body hashes under which earlier versions may have stored the same event: the hash of today's
// rules, and the hash of the row.
func (s *Store) formerHashes(row *settled, as redelivery) (hashes []int64) {
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

// forgetRejected forgets rejected deliveries that are deleted or no longer rejected: if a replay brings them again,
// they are new dead letters.
func forgetRejected(ctx context.Context, tx *sql.Tx, ids string) error {
	_, err := tx.ExecContext(ctx, `DELETE FROM rejected WHERE delivery IN `+ids)
	return wrap("forget dead letters", err)
}
