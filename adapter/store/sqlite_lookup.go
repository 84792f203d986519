package store

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"segment-saasquatch/adapter"
)

// leaseLookup looks for the events of one lease, on one snapshot.
type leaseLookup struct {
	engine  *sqliteEngine
	ctx     context.Context
	queue   *Queue
	now     time.Time
	request leaseRequest
	tx      *sql.Tx
	users   map[userOf]*userHolds
	leased  []adapter.Leased
	// kept are the due events that it has left out.
	kept []keptBack
}

// userOf is a user as the queue has it. An account is null if it is the userId.
type userOf struct {
	userID  string
	account sql.NullString
}

// keptBack is an event with the upsert that keeps it back.
type keptBack struct{ id, by int64 }

// maxKept is the number of left out events after which a look-up ends. One transaction makes them due later.
const maxKept = 1024

// run returns the leased events. After an error it has leased none.
func (l *leaseLookup) run() (_ []adapter.Leased, err error) {
	l.engine.leases.begin()
	defer func() {
		if err != nil {
			for i := range l.leased {
				l.engine.leases.end(l.leased[i].ID)
			}
		}
	}()
	err = l.engine.read(l.ctx, leaseRead, func(tx *sql.Tx) error {
		l.tx = tx
		if l.request.parked != nil {
			return l.takeParked()
		}
		return l.takeDue()
	})
	if err != nil {
		return nil, err
	}
	return l.leased, nil
}

// isFull reports whether the lease takes no more events.
func (l *leaseLookup) isFull() bool {
	return len(l.leased) == l.request.limit || l.request.maxBytes <= 0 || len(l.kept) >= maxKept
}

// takeDue leases due events. It finds them in the index, without their rows.
func (l *leaseLookup) takeDue() (err error) {
	const dueSQL = `SELECT id FROM queue WHERE connection = ?1 AND tenant = ?2 AND due_at <= ?3 ORDER BY due_at, id`
	rows, err := l.tx.QueryContext(l.ctx, dueSQL, l.queue.connection, l.queue.tenant, milliseconds(l.now))
	var id int64
	var part []int64
	err = eachRowUntil(rows, err, func() error {
		if !l.engine.leases.isFree(id) {
			return nil
		}
		if part = append(part, id); len(part) < min(loadRows, l.request.limit-len(l.leased)) {
			return nil
		}
		err := l.takeAll(part, nil)
		part = part[:0]
		if err == nil && l.isFull() {
			err = errEnough
		}
		return err
	}, &id)
	if err == nil && len(part) > 0 {
		err = l.takeAll(part, nil)
	}
	return wrap("look for due events", err)
}

// takeParked leases parked events that are pending and whose due time has not changed.
func (l *leaseLookup) takeParked() error {
	ids := make([]int64, 0, min(loadRows, len(l.request.parked)))
	dues := make(map[int64]int64, len(l.request.parked))
	for part := range slices.Chunk(l.request.parked, loadRows) {
		ids = ids[:0]
		for _, p := range part {
			if l.engine.leases.isFree(p.ID) {
				ids, dues[p.ID] = append(ids, p.ID), milliseconds(p.Due)
			}
		}
		if err := l.takeAll(ids, dues); err != nil {
			return fmt.Errorf("look for parked events: %w", err)
		}
		if l.isFull() {
			return nil
		}
	}
	return nil
}

// dueRow is a row of the queue, with the first upsert that may keep back the event.
type dueRow struct {
	leased                  adapter.Leased
	connection, tenant, due int64
	user                    userOf
	isAmbiguous             bool
	firstHolder             sql.NullInt64
}

// takeAll leases events in the order of their ids in the list, as far as the lease has room. With dues, it leases
// those that have these due times.
func (l *leaseLookup) takeAll(ids []int64, dues map[int64]int64) error {
	found, err := l.load(ids)
	if err != nil {
		return err
	}
	for _, id := range ids {
		i, ok := slices.BinarySearchFunc(found, id, func(row dueRow, id int64) int {
			return cmp.Compare(row.leased.ID, id)
		})
		if !ok || l.isFull() {
			continue
		}
		row := &found[i]
		if due, parked := dues[id]; parked && (row.due != due || row.connection != l.queue.connection ||
			row.tenant != l.queue.tenant) {
			continue
		}
		by, err := l.keeper(row)
		if err != nil {
			return fmt.Errorf("look for upserts: %w", err)
		}
		switch {
		case by != 0 && dues == nil:
			l.kept = append(l.kept, keptBack{id, by})
		case by == 0 && l.engine.leases.take(id):
			l.leased = append(l.leased, row.leased)
			l.request.maxBytes -= int64(len(row.leased.Payload))
		}
	}
	return nil
}

// loadRows is the number of rows that one statement loads.
const loadRows = 64

var loadSQL = `SELECT id, connection, tenant, due_at, message_id, coalesce(body_hash, 1) = 0, user_id, account_id,
	received_at, attempts, failed, redriven, first_attempt_at, ambiguous_at, sending_at, payload, coalesce(run, 0),
	checksum, holds, reason,
	(SELECT h.id FROM queue h WHERE h.connection = q.connection AND h.tenant = q.tenant AND h.user_id = q.user_id
		AND h.account_id IS q.account_id AND h.id < q.id AND h.` + holdsText + ` ORDER BY h.id LIMIT 1)
FROM queue q WHERE id IN (` + repeat("?", loadRows) + `) ORDER BY id`

// load returns the rows of events in the order of their ids.
func (l *leaseLookup) load(ids []int64) ([]dueRow, error) {
	args := make([]any, loadRows) // null finds nothing
	for i, id := range ids {
		args[i] = id
	}
	found := make([]dueRow, 0, len(ids))
	rows, err := l.tx.StmtContext(l.ctx, l.engine.load).QueryContext(l.ctx, args...)
	if err != nil {
		return nil, err
	}
	for rows.Next() {
		found = append(found, dueRow{})
		row := &found[len(found)-1]
		var r leasedRow
		to := &row.leased
		err = rows.Scan(&to.ID, &row.connection, &row.tenant, &row.due, &to.MessageID, &to.Keyed, &to.UserID,
			&r.account, &r.received, &to.Attempts, &to.Failed, &to.Redriven, &r.first, &r.ambiguous, &r.sending, &to.Payload,
			&to.Run, &r.checksum, &r.holds, &r.reason, &row.firstHolder)
		if err != nil {
			break
		}
		r.complete(to)
		row.user, row.isAmbiguous = userOf{to.UserID, r.account}, r.ambiguous.Valid
	}
	return found, errors.Join(err, rows.Err(), rows.Close())
}

// userHolds is what a look-up knows of the upserts of a user: up to the id checked, the process has all in hand that
// hold. Next is the first other one, 0 if none is known.
type userHolds struct{ checked, next int64 }

var nextHolderSQL = `SELECT id FROM queue WHERE connection = ?1 AND tenant = ?2 AND user_id = ?3 AND account_id IS ?4
	AND id > ?5 AND id < ?6 AND ` + holdsText + ` ORDER BY id`

// keeper returns the upsert that keeps back the event, 0 if there is none.
func (l *leaseLookup) keeper(row *dueRow) (int64, error) {
	if !row.firstHolder.Valid || row.isAmbiguous {
		return 0, nil
	}
	if !l.engine.leases.isInHand(row.firstHolder.Int64) {
		return row.firstHolder.Int64, nil
	}
	user := l.users[row.user]
	if user == nil {
		if l.users == nil {
			l.users = make(map[userOf]*userHolds)
		}
		user = &userHolds{checked: row.firstHolder.Int64}
		l.users[row.user] = user
	}
	id := row.leased.ID
	if user.next != 0 && l.engine.leases.isInHand(user.next) {
		user.checked, user.next = user.next, 0
	}
	if user.next == 0 && user.checked < id {
		rows, err := l.tx.QueryContext(l.ctx, nextHolderSQL, l.queue.connection, l.queue.tenant, row.user.userID,
			row.user.account, user.checked, id)
		var holder int64
		err = eachRowUntil(rows, err, func() error {
			if !l.engine.leases.isInHand(holder) {
				user.next = holder
				return errEnough
			}
			user.checked = holder
			return nil
		}, &holder)
		if err != nil {
			return 0, err
		}
	}
	if user.next < id {
		return user.next, nil
	}
	return 0, nil
}

// keepBackSQL leaves an event alone whose upsert has changed since the look-up, unless it still holds.
var keepBackSQL = `UPDATE OR FAIL queue SET due_at = max(queue.due_at, ?1, h.due_at) FROM queue h
	WHERE queue.id = ?2 AND h.id = ?3 AND h.tenant = queue.tenant AND h.` + holdsText

// keepBack makes left out events due later.
func (e *sqliteEngine) keepBack(ctx context.Context, q *Queue, now time.Time, kept []keptBack) error {
	soonest := milliseconds(now.Add(keepBackFor))
	err := e.write(ctx, func(tx *sql.Tx) error {
		keep, err := tx.PrepareContext(ctx, keepBackSQL)
		if err != nil {
			return err
		}
		for _, k := range kept {
			if _, err = keep.ExecContext(ctx, soonest, k.id, k.by); err != nil {
				break
			}
		}
		return errors.Join(err, keep.Close())
	})
	return wrap("keep back events", err)
}
