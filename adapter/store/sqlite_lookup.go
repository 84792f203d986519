package store

import (
	"cmp"
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"slices"
	"time"

	"segment-saasquatch/adapter"
)

// leaseLookup looks for the events of one lease, on one snapshot.
type leaseLookup struct {
	engine  *sqliteEngine
	queue   *Queue
	now     time.Time
	request leaseRequest
	args    []driver.NamedValue
	users   map[userOf]*userHolds
	leased  []adapter.Leased
	// kept are the due events that it has left out.
	kept []keptBack
	// last is the place of the last event that it has seen, and left the first place of a due event that is not in
	// hand.
	last, left duePlace
}

// userOf is a user of the queue.
type userOf struct{ userID, accountID string }

// keptBack is an event with the upsert that keeps it back.
type keptBack struct{ id, by int64 }

// maxKept is the number of left out events after which a look-up ends. One transaction makes them due later.
const maxKept = 1024

// run returns the leased events. After an error it has leased none.
func (l *leaseLookup) run() (_ []adapter.Leased, err error) {
	l.engine.leases.begin()
	from := firstPlace
	if l.request.parked == nil {
		from = l.engine.cursors.begin(l.queue, time.Now())
	}
	r := &l.engine.leaseReader
	if _, err := r.begin.exec(nil); err != nil {
		return nil, fmt.Errorf("begin to look for events: %w", err)
	}
	if l.request.parked != nil {
		err = l.takeParked()
	} else {
		err = l.takeDue(from)
	}
	if _, ended := r.rollback.exec(nil); err == nil {
		err = ended
	}
	if err != nil {
		for i := range l.leased {
			l.engine.leases.end(l.leased[i].ID)
		}
		l.engine.cursors.reset()
		return nil, err
	}
	if l.request.parked == nil {
		if l.left.before(l.last) {
			l.last = l.left
		}
		l.engine.cursors.end(l.queue, l.last)
	}
	return l.leased, nil
}

// isFull reports whether the lease takes no more events.
func (l *leaseLookup) isFull() bool {
	return len(l.leased) == l.request.limit || l.request.maxBytes <= 0 || len(l.kept) >= maxKept
}

// takeDue leases due events from a place on. It finds them in the index, without their rows.
func (l *leaseLookup) takeDue(from duePlace) error {
	var part []int64
	l.last, l.left = from, lastPlace
	err := l.engine.leaseReader.due.query(
		appendValues(nil, l.queue.connection, l.queue.tenant, milliseconds(l.now), from.due, from.id),
		func(row []driver.Value) error {
			place := duePlace{row[0].(int64), row[1].(int64)}
			l.last = place
			if !l.engine.leases.isFree(place.id) {
				if !l.engine.leases.isInHand(place.id) {
					l.leave(place) // its lease has just ended
				}
				return nil
			}
			if part = append(part, place.id); len(part) < min(loadRows, l.request.limit-len(l.leased)) {
				return nil
			}
			err := l.takeAll(part, nil)
			part = part[:0]
			if err == nil && l.isFull() {
				err = errEnough
			}
			return err
		})
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

// takeAll leases events in the order of their ids in the list, as far as the lease has room. With dues, it leases
// those that have these due times.
func (l *leaseLookup) takeAll(ids []int64, dues map[int64]int64) error {
	l.leased = slices.Grow(l.leased, len(ids))
	found, err := l.load(ids)
	if err != nil {
		return err
	}
	for _, id := range ids {
		i, ok := slices.BinarySearchFunc(found, id, func(row dueRow, id int64) int {
			return cmp.Compare(row.leased.ID, id)
		})
		if !ok {
			continue
		}
		row := &found[i]
		if l.isFull() {
			l.leave(duePlace{row.due, id})
			continue
		}
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
			l.leave(duePlace{row.due, id})
		case by == 0 && l.engine.leases.take(id):
			l.leased = append(l.leased, row.leased)
			l.request.maxBytes -= int64(len(row.leased.Payload))
		default:
			l.leave(duePlace{row.due, id})
		}
	}
	return nil
}

// leave notes that the event at the place is due and not in hand.
func (l *leaseLookup) leave(place duePlace) {
	if place.before(l.left) {
		l.left = place
	}
}

// load returns the rows of events in the order of their ids.
func (l *leaseLookup) load(ids []int64) ([]dueRow, error) {
	l.args = l.args[:0]
	for _, id := range ids {
		l.args = appendValues(l.args, id)
	}
	found := make([]dueRow, 0, len(ids))
	err := l.engine.leaseReader.load.query(l.args, func(row []driver.Value) error {
		found = append(found, dueRow{})
		found[len(found)-1].read(row)
		return nil
	})
	slices.SortFunc(found, func(a, b dueRow) int { return cmp.Compare(a.leased.ID, b.leased.ID) })
	return found, err
}

// userHolds is what a look-up knows of the upserts of a user: up to the id checked, the process has all in hand that
// hold. Next is the first other one, 0 if none is known.
type userHolds struct{ checked, next int64 }

// keeper returns the upsert that keeps back the event, 0 if there is none.
func (l *leaseLookup) keeper(row *dueRow) (int64, error) {
	if row.firstHolder == 0 || row.isAmbiguous {
		return 0, nil
	}
	if !l.engine.leases.isInHand(row.firstHolder) {
		return row.firstHolder, nil
	}
	user := l.users[row.user]
	if user == nil {
		if l.users == nil {
			l.users = make(map[userOf]*userHolds)
		}
		user = &userHolds{checked: row.firstHolder}
		l.users[row.user] = user
	}
	id := row.leased.ID
	if user.next != 0 && l.engine.leases.isInHand(user.next) {
		user.checked, user.next = user.next, 0
	}
	if user.next == 0 && user.checked < id {
		err := l.engine.leaseReader.nextHolder.query(appendValues(nil, l.queue.connection, l.queue.tenant,
			row.user.userID, row.account, user.checked, id), func(row []driver.Value) error {
			holder := row[0].(int64)
			if !l.engine.leases.isInHand(holder) {
				user.next = holder
				return errEnough
			}
			user.checked = holder
			return nil
		})
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
func (e *sqliteEngine) keepBack(ctx context.Context, now time.Time, kept []keptBack) error {
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
