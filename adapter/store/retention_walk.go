package store

import (
	"context"
	"database/sql"
	"strconv"
	"sync"
	"time"

	"segment-saasquatch/adapter"
)

// walk goes through the log from its beginning, in the order of acceptance, and deletes
// events that are past their time. It remembers which events it can pass by. An event that
// is settled after a walk has begun is past its time one retention later at the earliest,
// however long ago it was accepted.
type walk struct {
	// refused has it look at dead letters alone, which have an index. Otherwise it looks at
	// the other events.
	refused bool
	keep    time.Duration // 0 for ever

	mu sync.Mutex
	// next is when an event may be past its time. Before that no walk begins.
	next time.Time
	// Up to the id passed all events are none of this walk's, until the time again. They
	// are dead letters that are kept for longer than other events.
	passed int64
	again  time.Time
}

// pass is one way through the log.
type pass struct {
	began time.Time
	// after is the last id that it has looked at.
	after int64
	// isFirst says that no event of the walk was met that stays. Until then passed is after.
	isFirst bool
	passed  int64
	// next is when the first event that stays is past its time.
	next time.Time
}

// begin returns a pass, nil if there is nothing to do.
func (w *walk) begin(now time.Time) *pass {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.keep == 0 || now.Before(w.next) {
		return nil
	}
	if !now.Before(w.again) {
		w.passed, w.again = 0, now.Add(w.keep)
	}
	return &pass{began: now, after: w.passed, isFirst: true, passed: w.passed, next: w.again}
}

// end remembers what a pass has met, after it has been at the end.
func (w *walk) end(p *pass) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.next = p.next
	if p.began.Before(w.again) {
		w.passed = max(w.passed, p.passed)
	}
}

// deleteOld returns a step that deletes some events of a walk that are past their time.
func (s *Store) deleteOld(w *walk) func(context.Context) (bool, error) {
	var under *pass
	return func(ctx context.Context) (more bool, err error) {
		if under == nil {
			if under = w.begin(s.now()); under == nil {
				return false, nil
			}
		}
		var old []int64
		err = s.read(ctx, func(tx *sql.Tx) error {
			old, more, err = w.look(ctx, tx, under)
			return err
		})
		if err == nil && len(old) > 0 {
			err = s.engine.write(ctx, func(tx *sql.Tx) error {
				_, err := s.remove(ctx, tx, old, nil)
				return err
			})
		}
		if err == nil && !more {
			w.end(under)
		}
		return more, err
	}
}

// look goes on with a pass. It returns some events that are past their time, and whether
// there is more to look at.
func (w *walk) look(ctx context.Context, tx *sql.Tx, p *pass) (old []int64, more bool, err error) {
	where := `WHERE id > $1`
	if w.refused {
		where += ` AND outcome IN (4, 5)`
	}
	rows, err := tx.QueryContext(ctx, `SELECT id, outcome, received_at, received_at + settled_ms FROM deliveries
		`+where+` ORDER BY id LIMIT `+strconv.Itoa(retainRows), p.after)
	stays := func(since int64) bool {
		until := time.UnixMilli(since).Add(w.keep)
		if until.Before(p.began) {
			return false
		}
		if until.Before(p.next) {
			p.next = until
		}
		return true
	}
	var id, received, settled int64
	var outcome adapter.Outcome
	err = eachRowUntil(rows, err, func() error {
		if stays(received) {
			more = false
			return errEnough // the events after it stay too
		}
		p.after, more = id, true
		switch {
		case isDeadLetter(outcome) != w.refused:
		case stays(settled):
			p.isFirst = false
		default:
			old = append(old, id)
		}
		if p.isFirst {
			p.passed = id
		}
		return nil
	}, &id, &outcome, &received, &settled)
	return old, more, err
}
