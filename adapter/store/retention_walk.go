package store

import (
	"context"
	"database/sql"
	"strconv"
	"sync"
	"time"

	"segment-saasquatch/adapter"
)

// walk reads the log from its beginning, in the order of acceptance, and deletes events whose retention is over. It
// records which events it can skip. An event that is settled after a walk has begun stays for at least one retention,
// however long ago it was accepted.
type walk struct {
	// refused selects dead letters, which have an index. Otherwise the walk selects the other events.
	refused bool
	keep    time.Duration // 0 for ever

	mu sync.Mutex
	// next is when the retention of an event may be over. No walk begins before that.
	next time.Time
	// Up to the id passed, no event is selected by this walk, until the time again. They are dead letters, which are
	// kept longer than other events.
	passed int64
	again  time.Time
}

// pass is one reading of the log.
type pass struct {
	began time.Time
	// after is the last id that was read.
	after int64
	// isFirst is set until the first selected event that stays. Until then passed is after.
	isFirst bool
	passed  int64
	// next is when the retention of the first event that stays is over.
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

// end records the results of a pass that has reached the end.
func (w *walk) end(p *pass) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.next = p.next
	if p.began.Before(w.again) {
		w.passed = max(w.passed, p.passed)
	}
}

// deleteOld returns a step that deletes some events of a walk whose retention is over.
func (s *Store) deleteOld(w *walk) func(context.Context) (bool, error) {
	var current *pass
	return func(ctx context.Context) (more bool, err error) {
		if current == nil {
			if current = w.begin(s.now()); current == nil {
				return false, nil
			}
		}
		var old []int64
		err = s.read(ctx, func(tx *sql.Tx) error {
			old, more, err = w.look(ctx, tx, current)
			return err
		})
		if err == nil && len(old) > 0 {
			err = s.engine.write(ctx, func(tx *sql.Tx) error {
				_, err := s.remove(ctx, tx, old, nil)
				return err
			})
		}
		if err == nil && !more {
			w.end(current)
		}
		return more, err
	}
}

// look continues a pass. It returns some events whose retention is over, and whether there are more events to read.
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
