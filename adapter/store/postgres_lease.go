package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"segment-saasquatch/adapter"
)

// errNothingDue ends a transaction that finds no event to lease.
var errNothingDue = errors.New("nothing is due")

// fillFor is how long a lease goes on to look for events after it has left out some that upserts keep back. So many of
// them do not hold up the process, or other processes, for long.
const fillFor = 100 * time.Millisecond

// lease leases due events that no other process has leased. An event whose lease is over by the database's clock is
// due: its process has died or given it up. The process computes the end of its own leases by its own clocks, counted
// from before the query. So it never works on an event for longer than the database allows.
func (e *postgresEngine) lease(
	ctx context.Context, q *Queue, now time.Time, request leaseRequest,
) (leased []adapter.Leased, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	// The caller cannot interrupt a transaction that has begun: if a lease were committed without an answer, its
	// events would wait until it ends, even after a clean shutdown.
	caller := ctx
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), applyTimeout)
	defer cancel()
	for more := true; more && len(leased) == 0 && caller.Err() == nil; {
		err = retry(ctx, func() (err error) {
			leased, more, err = e.leaseOnce(ctx, q, now, request)
			return err
		})
		if errors.Is(err, errNothingDue) {
			return nil, nil
		}
		if err != nil {
			q.scan.reset()
			return nil, err
		}
	}
	return leased, nil
}

// leaseOnce is one transaction. More is set if it has left out events, and others may be due.
func (e *postgresEngine) leaseOnce(
	ctx context.Context, q *Queue, now time.Time, request leaseRequest,
) (leased []adapter.Leased, more bool, err error) {
	l := leaseTransaction{
		engine: e, ctx: ctx, queue: q, now: now, token: e.owner.token(), place: make(map[int64]int),
		marked: make(map[int64]bool),
	}
	err = e.transact(ctx, unmarkedOptions, func(tx pgx.Tx, mark commitMark) (err error) {
		l.tx, l.mark = tx, mark
		if l.database, err = e.clockOf(tx.QueryRow(ctx, clockSQL)); err != nil {
			return fmt.Errorf("ask for the time: %w", err)
		}
		if more, err = l.fill(request); err != nil {
			return err
		}
		if !l.wrote {
			return errNothingDue // nothing to commit
		}
		if leased, err = l.load(); err != nil {
			return fmt.Errorf("read the leased events: %w", err)
		}
		return nil
	})
	if err != nil {
		return nil, false, err
	}
	return leased, more, nil
}

// leaseTransaction is one lease transaction.
type leaseTransaction struct {
	engine        *postgresEngine
	ctx           context.Context
	tx            pgx.Tx
	mark          commitMark
	queue         *Queue
	now, database time.Time
	token         int64
	// wrote is set once the transaction has something to commit.
	wrote bool
	// place is the place of each leased event in the answer, and marked has those that an earlier lease had marked.
	place  map[int64]int
	marked map[int64]bool
}

// fill leases events until the request is satisfied. It looks again if upserts keep back some of the events that it
// has found. More is set if it ends for the sake of time.
func (l *leaseTransaction) fill(request leaseRequest) (more bool, err error) {
	began := time.Now()
	for {
		var found []due
		if request.parked != nil {
			found, err = l.parked(request)
		} else {
			found, err = l.due(request.limit, request.maxBytes)
		}
		if err != nil {
			return false, fmt.Errorf("look for due events: %w", err)
		}
		if len(found) == 0 {
			return false, nil
		}
		free, kept, err := l.keepBack(found)
		if err != nil {
			return false, fmt.Errorf("look for upserts that wait: %w", err)
		}
		if request.parked != nil {
			return false, l.take(fitting(free, request.maxBytes))
		}
		if err := l.putOff(kept); err != nil {
			return false, fmt.Errorf("put off events: %w", err)
		}
		if err := l.take(free); err != nil {
			return false, err
		}
		for i := range free {
			request.maxBytes -= free[i].bytes
		}
		request.limit -= len(free)
		if len(kept) == 0 || request.limit <= 0 || request.maxBytes <= 0 {
			return false, nil
		}
		if time.Since(began) > l.engine.fillFor {
			return true, nil
		}
	}
}

// write notes that the transaction is about to write, and has to be marked before.
func (l *leaseTransaction) write() error {
	if l.wrote {
		return nil
	}
	l.wrote = true
	_, err := l.tx.Exec(l.ctx, l.mark.statement())
	return wrap("mark the transaction", err)
}

// dueSQL locks due events of the queue's tenant, those with the earliest due time first. An event that no process has
// leased is due by the clock of the process, any other event by the database's. A lease in the queue belongs to a
// program that knows no table of leases; it ends when the event is due. The sum keeps PostgreSQL from using the index
// to look up ids.
const dueSQL = `SELECT ` + dueColumns + `
	FROM queue q WHERE q.connection = $1 AND q.tenant = $2 AND q.due_at BETWEEN $7 AND $3
	AND CASE WHEN q.lease IS NULL AND coalesce(` + untilSQL + `, 0) = 0 THEN q.due_at <= $4
		ELSE greatest(q.due_at, ` + untilSQL + `) <= $5 END
	ORDER BY q.due_at, (q.id + 0) LIMIT $6 FOR UPDATE OF q SKIP LOCKED`

// untilSQL is when the lease of an event ends, 0 if it was given back.
const untilSQL = `(SELECT l.until FROM leases l WHERE l.id = q.id)`

// dueColumns are the columns of a due event, in the order of its fields.
const dueColumns = `q.id, q.due_at, octet_length(q.payload), q.user_id, coalesce(q.account_id, q.user_id),
	q.ambiguous_at IS NOT NULL, q.lease IS NOT NULL`

// due is an event that can be leased.
type due struct {
	id, at, bytes int64
	user          user
	// isAmbiguous is set if SaaSquatch may have processed the event.
	isAmbiguous bool
	// wasTaken is set if the queue has a lease that is over.
	wasTaken bool
}

// user is a user of the tenant.
type user struct{ id, account string }

func (d *due) fields() []any {
	return []any{
		&d.id, &d.at, &d.bytes, &d.user.id, &d.user.account, &d.isAmbiguous, &d.wasTaken,
	}
}

// due returns due events, and locks them.
func (l *leaseTransaction) due(limit int, maxBytes int64) ([]due, error) {
	now, database := milliseconds(l.now), milliseconds(l.database)
	latest, behind := max(now, database), min(now, database)
	scan := &l.queue.scan
	scan.mu.Lock()
	defer scan.mu.Unlock()
	if from, ok := scan.start(); ok && l.engine.databaseNow == nil {
		found, last, err := l.dueSince(from, latest, limit, maxBytes)
		if err != nil || len(found) > 0 || scan.isSlow() {
			scan.reach(last, behind)
			return found, err
		}
	}
	began := time.Now()
	found, last, err := l.dueSince(math.MinInt64, latest, limit, maxBytes)
	scan.end(time.Since(began), last, behind)
	return found, err
}

// parked locks and returns parked events that are pending, not leased, and whose due time has not changed. Their due
// time stays: if the process dies, they wait for it.
func (l *leaseTransaction) parked(request leaseRequest) ([]due, error) {
	place := make(map[int64]int, len(request.parked))
	for i, p := range request.parked {
		place[p.ID] = i
	}
	inOrder := slices.SortedFunc(slices.Values(request.parked), func(a, b adapter.Parked) int {
		return cmp.Compare(a.ID, b.ID)
	})
	ids, times := make([]int64, len(inOrder)), make([]int64, len(inOrder))
	for i, p := range inOrder {
		ids[i], times[i] = p.ID, milliseconds(p.Due)
	}
	rows, err := l.tx.Query(l.ctx, `SELECT `+dueColumns+` FROM queue q
		WHERE q.id = ANY ($1) AND q.due_at = ($2::bigint[])[width_bucket(q.id, $1::bigint[])]
		AND q.lease IS NULL AND coalesce(`+untilSQL+`, 0) = 0 AND q.connection = $3 AND q.tenant = $4
		FOR UPDATE OF q SKIP LOCKED`,
		ids, times, l.queue.connection, l.queue.tenant)
	if err != nil {
		return nil, err
	}
	var found []due
	var next due
	_, err = pgx.ForEachRow(rows, next.fields(), func() error {
		found = append(found, next)
		return nil
	})
	slices.SortFunc(found, func(a, b due) int { return cmp.Compare(place[a.id], place[b.id]) })
	return found, err
}

// fitting returns the first events, with about maxBytes of payload beyond the first one.
func fitting(events []due, maxBytes int64) []due {
	for i := range events {
		if maxBytes <= 0 {
			return events[:i]
		}
		maxBytes -= events[i].bytes
	}
	return events
}

// dueSince returns events that are due since a time. It has left none that is due before last.
func (l *leaseTransaction) dueSince(
	from, latest int64, limit int, maxBytes int64,
) (found []due, last int64, err error) {
	rows, err := l.tx.Query(l.ctx, dueSQL, l.queue.connection, l.queue.tenant, latest, milliseconds(l.now),
		milliseconds(l.database), limit, from)
	if err != nil {
		return nil, from, err
	}
	var next due
	last, left := latest, limit
	_, err = pgx.ForEachRow(rows, next.fields(), func() error {
		if left--; left == 0 || maxBytes <= 0 {
			last = min(last, next.at)
		}
		if maxBytes > 0 {
			found = append(found, next)
		}
		maxBytes -= next.bytes
		return nil
	})
	return found, last, err
}

// take leases locked events, except those that another process has leased since the statement that looked for them
// began.
func (l *leaseTransaction) take(events []due) error {
	if len(events) == 0 {
		return nil
	}
	if err := l.write(); err != nil {
		return err
	}
	if err := l.endFormer(events); err != nil {
		return fmt.Errorf("end former leases: %w", err)
	}
	var ids, early []int64
	for i := range events {
		if events[i].at > milliseconds(l.database) && events[i].at <= milliseconds(l.now) {
			early = append(early, events[i].id)
		}
		ids = append(ids, events[i].id)
		l.place[events[i].id] = len(l.place)
	}
	if len(early) > 0 {
		// When this lease is over, the event is due by the database's clock.
		_, err := l.tx.Exec(l.ctx, `UPDATE queue SET due_at = $1 WHERE id = ANY ($2)`,
			milliseconds(l.database), early)
		if err != nil {
			return fmt.Errorf("make events due: %w", err)
		}
	}
	return wrap("lease events", l.insert(ids))
}

// endFormer deletes leases in the queue that are over. Their process must not record an outcome any more.
func (l *leaseTransaction) endFormer(events []due) error {
	var ids []int64
	for i := range events {
		if events[i].wasTaken {
			ids = append(ids, events[i].id)
		}
	}
	if len(ids) == 0 {
		return nil
	}
	_, err := l.tx.Exec(l.ctx, `UPDATE queue SET lease = NULL WHERE id = ANY ($1)`, ids)
	return err
}

// insert writes leases, and notes which of the events an earlier lease had marked.
func (l *leaseTransaction) insert(ids []int64) error {
	slices.Sort(ids)
	rows, err := l.tx.Query(l.ctx, `INSERT INTO leases AS l (id, token, until)
		SELECT id, $2, $3 FROM unnest($1::bigint[]) AS i (id)
		ON CONFLICT (id) DO UPDATE SET token = excluded.token, until = excluded.until WHERE l.until <= $4
		RETURNING id, sending_at IS NOT NULL`,
		ids, l.token, milliseconds(l.database.Add(l.engine.leaseFor)), milliseconds(l.database))
	if err != nil {
		return err
	}
	var id int64
	var isMarked bool
	_, err = pgx.ForEachRow(rows, []any{&id, &isMarked}, func() error {
		l.marked[id] = isMarked
		return nil
	})
	return err
}

// load reads the events that the transaction has leased, in the order in which it found them.
func (l *leaseTransaction) load() ([]adapter.Leased, error) {
	if len(l.marked) == 0 {
		return nil, nil
	}
	ids := slices.Sorted(maps.Keys(l.marked))
	rows, err := l.tx.Query(l.ctx, `SELECT id, message_id, coalesce(body_hash, 1) = 0, user_id, account_id,
			received_at,
			attempts, failed, redriven <> 0, first_attempt_at, ambiguous_at, sending_at, payload, coalesce(run, 0),
			checksum, holds, reason
		FROM queue WHERE id = ANY ($1)`, ids)
	if err != nil {
		return nil, err
	}
	until := l.now.Add(l.engine.leaseFor)
	room := make([]adapter.Leased, 0, len(ids))
	leased, err := pgx.AppendRows(room, rows, func(row pgx.CollectableRow) (adapter.Leased, error) {
		event := adapter.Leased{Until: until, Token: l.token}
		var r leasedRow
		err := row.Scan(&event.ID, &event.MessageID, &event.Keyed, &event.UserID, &r.account, &r.received,
			&event.Attempts, &event.Failed, &event.Redriven, &r.first, &r.ambiguous, &r.sending, &event.Payload,
			&event.Run, &r.checksum, &r.holds, &r.reason)
		r.complete(&event)
		event.Interrupted = event.Interrupted || l.marked[event.ID]
		return event, err
	})
	slices.SortFunc(leased, func(a, b adapter.Leased) int { return cmp.Compare(l.place[a.ID], l.place[b.ID]) })
	return leased, err
}
