package store

import (
	"context"
	"database/sql"
	"fmt"
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

// begin forgets the leases that ended before the snapshot of a look-up, and returns the number of leased events.
func (l *leases) begin() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	clear(l.ended)
	return len(l.ids)
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

func (e *sqliteEngine) lease(
	ctx context.Context, q *Queue, now time.Time, request leaseRequest,
) (leased []adapter.Leased, err error) {
	// The outcome would go to a file that a restart does not find.
	if err := e.check(); err != nil {
		return nil, err
	}
	e.leases.leasing.Lock()
	defer e.leases.leasing.Unlock()
	inHand := e.leases.begin()
	defer func() {
		if err != nil {
			for i := range leased {
				e.leases.end(leased[i].ID)
			}
			leased = nil
		}
	}()
	err = e.read(ctx, leaseRead, func(tx *sql.Tx) error {
		var due []int64
		var err error
		if request.parked != nil {
			due, err = parkedIDs(ctx, tx, q, request.parked)
		} else {
			due, err = e.due(ctx, tx, q, now, inHand+request.limit)
		}
		if err != nil {
			return err
		}
		load, err := tx.PrepareContext(ctx, loadSQL)
		if err != nil {
			return err
		}
		defer load.Close()
		for _, id := range due {
			if len(leased) == request.limit || request.maxBytes <= 0 {
				break
			}
			if !e.leases.take(id) {
				continue
			}
			leased = append(leased, adapter.Leased{ID: id})
			l := &leased[len(leased)-1]
			if err := scanLeased(load.QueryRowContext(ctx, id), l); err != nil {
				return fmt.Errorf("read event %d: %w", id, err)
			}
			request.maxBytes -= int64(len(l.Payload))
		}
		return nil
	})
	return leased, err
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

// due returns the ids of due events of the queue's tenant. It reads only the index.
func (e *sqliteEngine) due(ctx context.Context, tx *sql.Tx, q *Queue, now time.Time, limit int) ([]int64, error) {
	rows, err := tx.QueryContext(ctx, `SELECT id FROM queue WHERE connection = ?1 AND tenant = ?2 AND due_at <= ?3
		ORDER BY due_at, id LIMIT ?4`, q.connection, q.tenant, milliseconds(now), limit)
	ids, err := column[int64](rows, err)
	return ids, wrap("look for due events", err)
}

// parkedIDs returns the ids of the parked events that are pending and whose due time has not changed.
func parkedIDs(ctx context.Context, tx *sql.Tx, q *Queue, parked []adapter.Parked) (ids []int64, err error) {
	find, err := tx.PrepareContext(ctx, `SELECT count(*) FROM queue
		WHERE id = ?1 AND connection = ?2 AND tenant = ?3 AND due_at = ?4`)
	if err != nil {
		return nil, err
	}
	defer find.Close()
	for _, p := range parked {
		var found bool
		err := find.QueryRowContext(ctx, p.ID, q.connection, q.tenant, milliseconds(p.Due)).Scan(&found)
		if err != nil {
			return nil, fmt.Errorf("look for parked event %d: %w", p.ID, err)
		}
		if found {
			ids = append(ids, p.ID)
		}
	}
	return ids, nil
}

const loadSQL = `SELECT message_id, coalesce(body_hash, 1) = 0, user_id, account_id, received_at, attempts, failed,
	redriven, first_attempt_at, ambiguous_at, sending_at, payload, coalesce(run, 0), checksum, holds, reason
FROM queue WHERE id = ?1`

func scanLeased(row *sql.Row, l *adapter.Leased) error {
	var r leasedRow
	err := row.Scan(&l.MessageID, &l.Keyed, &l.UserID, &r.account, &r.received, &l.Attempts, &l.Failed, &l.Redriven,
		&r.first, &r.ambiguous, &r.sending, &l.Payload, &l.Run, &r.checksum,
		&r.holds, &r.reason)
	r.complete(l)
	return err
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
	l.Superseded, l.Alone = r.holds.Valid && r.holds.Int64 == superseded, mustGoAlone(r.reason.String)
}

// nullTime returns the zero time for null.
func nullTime(ms sql.NullInt64) time.Time {
	if !ms.Valid {
		return time.Time{}
	}
	return time.UnixMilli(ms.Int64)
}
