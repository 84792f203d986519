package store

import (
	"context"
	"database/sql"
	"sync"
	"time"

	"segment-saasquatch/adapter"
)

// leases are the events that this process has leased. They need not be on disk: no other process delivers from the
// file, and after a restart every event is due again.
type leases struct {
	// leasing is held during a look-up of events.
	leasing *sync.Mutex

	mu  *sync.Mutex
	ids map[int64]struct{}
	// ended are the leases that ended during a look-up: the snapshot may still show these events as due.
	ended map[int64]struct{}
}

func newLeases() leases {
	return leases{
		leasing: new(sync.Mutex), mu: new(sync.Mutex),
		ids: make(map[int64]struct{}), ended: make(map[int64]struct{}),
	}
}

// end ends the lease of an event.
func (l *leases) end(id int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, ok := l.ids[id]; ok {
		delete(l.ids, id)
		l.ended[id] = struct{}{}
	}
}

// begin forgets the leases that ended before the snapshot of a look-up.
func (l *leases) begin() {
	l.mu.Lock()
	defer l.mu.Unlock()
	clear(l.ended)
}

// take leases an event, and reports whether it was free.
func (l *leases) take(id int64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, taken := l.ids[id]; taken {
		return false
	}
	if _, ended := l.ended[id]; ended {
		return false
	}
	l.ids[id] = struct{}{}
	return true
}

// isInHand reports whether the process works on an event. After the lease has ended, a snapshot may still show the
// event as it was before.
func (l *leases) isInHand(id int64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, taken := l.ids[id]
	return taken
}

// isFree reports whether take would succeed.
func (l *leases) isFree(id int64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, taken := l.ids[id]
	_, ended := l.ended[id]
	return !taken && !ended
}

func (e *sqliteEngine) lease(
	ctx context.Context, q *Queue, now time.Time, request leaseRequest,
) ([]adapter.Leased, error) {
	e.leases.leasing.Lock()
	defer e.leases.leasing.Unlock()
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		// The outcome would go to a file that a restart does not find.
		if err := e.check(); err != nil {
			return nil, err
		}
		l := leaseLookup{engine: e, queue: q, now: now, request: request}
		leased, err := l.run()
		if err != nil || len(l.kept) == 0 {
			return leased, err
		}
		err = e.keepBack(ctx, now, l.kept)
		if len(leased) > 0 {
			return leased, nil // the next lease meets those events again
		}
		if err != nil {
			return nil, err
		}
	}
}

// clock is not known: SQLite has no clock of its own.
func (e *sqliteEngine) clock(context.Context) (now time.Time, known bool, err error) {
	return time.Time{}, false, nil
}

func (e *sqliteEngine) leaseTime(_ context.Context, _ *sql.Tx, now time.Time) (time.Time, error) {
	return now, nil
}

// endLeases has nothing to do: leases are in memory.
func (e *sqliteEngine) endLeases(context.Context, *sql.Tx, []int64, time.Time) (map[int64]struct{}, error) {
	return nil, nil
}

// leasedRow has the columns of a leased event that a row holds in another form.
type leasedRow struct {
	account, reason                            sql.NullString
	received                                   int64
	first, ambiguous, sending, checksum, holds sql.NullInt64
}

// complete fills in what follows from these columns.
func (r *leasedRow) complete(l *adapter.Leased) {
	l.Damaged = isDamaged(l.Payload, l.ID, r.checksum)
	l.AccountID = l.UserID
	if r.account.Valid {
		l.AccountID = r.account.String
	}
	l.ReceivedAt = time.UnixMilli(r.received)
	l.FirstAttempt, l.AmbiguousSince = nullTime(r.first), nullTime(r.ambiguous)
	l.Interrupted = r.sending.Valid
	l.Tries = int(max(0, r.holds.Int64))
	l.Superseded, l.Alone = r.holds.Valid && r.holds.Int64 == superseded, mustGoAlone(r.reason.String)
}

// nullTime returns the zero time for null.
func nullTime(ms sql.NullInt64) time.Time {
	if !ms.Valid {
		return time.Time{}
	}
	return time.UnixMilli(ms.Int64)
}
