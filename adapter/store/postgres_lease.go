package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"segment-saasquatch/adapter"
)

// errNothingDue ends a transaction that finds no event to lease.
var errNothingDue = errors.New("nothing is due")

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
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), applyTimeout)
	defer cancel()
	err = retry(ctx, func() (err error) {
		leased, err = e.leaseOnce(ctx, q, now, request)
		return err
	})
	if errors.Is(err, errNothingDue) {
		return nil, nil
	}
	if err != nil {
		q.scan.reset()
	}
	return leased, err
}

func (e *postgresEngine) leaseOnce(
	ctx context.Context, q *Queue, now time.Time, request leaseRequest,
) (leased []adapter.Leased, err error) {
	l := leaseTransaction{engine: e, ctx: ctx, queue: q, now: now, token: rand.Int64()}
	err = e.transact(ctx, unmarkedOptions, func(tx pgx.Tx, mark commitMark) (err error) {
		l.tx = tx
		if l.database, err = e.clockOf(tx.QueryRow(ctx, clockSQL)); err != nil {
			return fmt.Errorf("ask for the time: %w", err)
		}
		var due []due
		if request.parked != nil {
			due, err = l.parked(request)
		} else {
			due, err = l.due(request.limit, request.maxBytes)
		}
		if err != nil {
			return fmt.Errorf("look for due events: %w", err)
		}
		if len(due) == 0 {
			return errNothingDue // nothing to commit
		}
		if _, err := tx.Exec(ctx, mark.statement()); err != nil {
			return fmt.Errorf("mark the transaction: %w", err)
		}
		if leased, err = l.take(due); err != nil {
			return fmt.Errorf("lease events: %w", err)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return leased, nil
}

// leaseTransaction is one lease transaction.
type leaseTransaction struct {
	engine        *postgresEngine
	ctx           context.Context
	tx            pgx.Tx
	queue         *Queue
	now, database time.Time
	token         int64
}

// dueSQL locks due events of the queue's tenant, those with the earliest due time first. An event that no process has
// leased is due by the clock of the process, any other event by the database's. A lease in the queue belongs to a
// program that knows no table of leases; it ends when the event is due. The sum keeps PostgreSQL from using the index
// to look up ids.
const dueSQL = `SELECT q.id, q.due_at, octet_length(q.payload), q.lease IS NOT NULL OR q.due_at > $5
	FROM queue q WHERE q.connection = $1 AND q.tenant = $2 AND q.due_at BETWEEN $7 AND $3
	AND CASE WHEN q.lease IS NULL AND coalesce(` + untilSQL + `, 0) = 0 THEN q.due_at <= $4
		ELSE greatest(q.due_at, ` + untilSQL + `) <= $5 END
	ORDER BY q.due_at, (q.id + 0) LIMIT $6 FOR UPDATE OF q SKIP LOCKED`

// untilSQL is when the lease of an event ends, 0 if it was given back.
const untilSQL = `(SELECT l.until FROM leases l WHERE l.id = q.id)`

// due is an event that can be leased.
type due struct {
	id int64
	// isStale is set if the lease has to change its row in the queue.
	isStale bool
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
	rows, err := l.tx.Query(l.ctx, `SELECT q.id, octet_length(q.payload), q.due_at > $5 AND q.due_at <= $6 FROM queue q
		WHERE q.id = ANY ($1) AND q.due_at = ($2::bigint[])[width_bucket(q.id, $1::bigint[])]
		AND q.lease IS NULL AND coalesce(`+untilSQL+`, 0) = 0 AND q.connection = $3 AND q.tenant = $4
		FOR UPDATE OF q SKIP LOCKED`,
		ids, times, l.queue.connection, l.queue.tenant, milliseconds(l.database), milliseconds(l.now))
	if err != nil {
		return nil, err
	}
	var found []due
	var next due
	var size int64
	sizes := make(map[int64]int64)
	_, err = pgx.ForEachRow(rows, []any{&next.id, &size, &next.isStale}, func() error {
		found, sizes[next.id] = append(found, next), size
		return nil
	})
	slices.SortFunc(found, func(a, b due) int { return cmp.Compare(place[a.id], place[b.id]) })
	room := request.maxBytes
	for i, event := range found {
		if room <= 0 {
			return found[:i], err
		}
		room -= sizes[event.id]
	}
	return found, err
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
	var at, bytes int64
	last, left := latest, limit
	_, err = pgx.ForEachRow(rows, []any{&next.id, &at, &bytes, &next.isStale}, func() error {
		if left--; left == 0 || maxBytes <= 0 {
			last = min(last, at)
		}
		if maxBytes > 0 {
			found = append(found, next)
		}
		maxBytes -= bytes
		return nil
	})
	return found, last, err
}

// take leases locked events, except those that another process has leased since the statement that looked for them
// began.
func (l *leaseTransaction) take(all []due) ([]adapter.Leased, error) {
	var ids, stale []int64
	place := make(map[int64]int, len(all))
	for i, event := range all {
		ids = append(ids, event.id)
		place[event.id] = i
		if event.isStale {
			stale = append(stale, event.id)
		}
	}
	if len(stale) > 0 {
		// The process of the former lease must not record an outcome any more. When this lease is over, the event is
		// due by the database's clock.
		_, err := l.tx.Exec(l.ctx, `UPDATE queue SET lease = NULL, due_at = least(due_at, $1) WHERE id = ANY ($2)`,
			milliseconds(l.database), stale)
		if err != nil {
			return nil, err
		}
	}
	taken, err := l.insert(ids)
	if err != nil {
		return nil, err
	}
	ids = slices.DeleteFunc(ids, func(id int64) bool {
		_, ok := taken[id]
		return !ok
	})
	rows, err := l.tx.Query(l.ctx, `SELECT id, message_id, coalesce(body_hash, 1) = 0, user_id, account_id,
			received_at,
			attempts, failed, redriven <> 0, first_attempt_at, ambiguous_at, sending_at, payload, coalesce(run, 0),
			checksum
		FROM queue WHERE id = ANY ($1)`, ids)
	if err != nil {
		return nil, err
	}
	until := l.now.Add(l.engine.leaseFor)
	leased, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (adapter.Leased, error) {
		l := adapter.Leased{Until: until, Token: l.token}
		var r leasedRow
		err := row.Scan(&l.ID, &l.MessageID, &l.Keyed, &l.UserID, &r.account, &r.received, &l.Attempts, &l.Failed,
			&l.Redriven, &r.first, &r.ambiguous, &r.sending, &l.Payload, &l.Run, &r.checksum)
		r.complete(&l)
		l.Interrupted = l.Interrupted || taken[l.ID]
		return l, err
	})
	slices.SortFunc(leased, func(a, b adapter.Leased) int { return cmp.Compare(place[a.ID], place[b.ID]) })
	return leased, err
}

// insert writes leases. It returns the events that it has leased, and whether an earlier lease had marked them.
func (l *leaseTransaction) insert(ids []int64) (taken map[int64]bool, err error) {
	ordered := slices.Sorted(slices.Values(ids))
	rows, err := l.tx.Query(l.ctx, `INSERT INTO leases AS l (id, token, until)
		SELECT id, $2, $3 FROM unnest($1::bigint[]) AS i (id)
		ON CONFLICT (id) DO UPDATE SET token = excluded.token, until = excluded.until WHERE l.until <= $4
		RETURNING id, sending_at IS NOT NULL`,
		ordered, l.token, milliseconds(l.database.Add(l.engine.leaseFor)), milliseconds(l.database))
	if err != nil {
		return nil, err
	}
	taken = make(map[int64]bool, len(ids))
	var id int64
	var isMarked bool
	_, err = pgx.ForEachRow(rows, []any{&id, &isMarked}, func() error {
		taken[id] = isMarked
		return nil
	})
	return taken, err
}

// steps has recordings as a slice for each column.
type steps struct {
	ids, tokens, times             []int64
	outcomes                       []int16
	userHashes, counted, ambiguous []*int64
	counts, keeps                  []int64
	users                          []string
	accounts, events               []*string
	statuses                       []*int64
	reasons, details               []*string
	keepUntil                      []*int64
}

func (s *steps) add(r *recording) {
	step, l := &r.step, r.leased
	at := step.At
	if step.Outcome == adapter.Pending {
		at = step.Due
	}
	s.ids = append(s.ids, l.ID)
	s.tokens = append(s.tokens, l.Token)
	s.times = append(s.times, milliseconds(at))
	s.outcomes = append(s.outcomes, int16(step.Outcome))
	s.userHashes = append(s.userHashes, asPointer[int64](userHash(l.UserID)))
	s.users = append(s.users, cut(l.UserID))
	s.accounts = append(s.accounts, asPointer[string](accountOf(cut(l.AccountID), cut(l.UserID))))
	s.events = append(s.events, asPointer[string](orNull(cut(step.EventKey))))
	s.counts = append(s.counts, asInt(step.Counted))
	s.counted = append(s.counted, asPointer[int64](r.counted()))
	s.ambiguous = append(s.ambiguous, asPointer[int64](r.ambiguous()))
	s.statuses = append(s.statuses, asPointer[int64](orNull(int64(step.Status))))
	s.reasons = append(s.reasons, asPointer[string](orNull(string(step.Reason))))
	s.details = append(s.details, asPointer[string](orNull(cut(step.Detail))))
	s.keeps = append(s.keeps, asInt(r.stored))
	s.keepUntil = append(s.keepUntil, asPointer[int64](timeOrNull(r.keepUntil)))
}

// record settles events or puts them back. It leaves out an event whose lease is lost.
func (t *postgresTransaction) record(recordings []*recording) error {
	if len(recordings) == 0 {
		return nil
	}
	// In one order, or two transactions could wait for each other.
	slices.SortStableFunc(recordings, func(a, b *recording) int { return cmp.Compare(a.leased.ID, b.leased.ID) })
	once, again := firstOfEach(recordings, func(r *recording) *adapter.Leased { return r.leased })
	if err := t.recordOnce(once); err != nil {
		return err
	}
	return t.record(again)
}

// firstOfEach splits a list that is sorted by event into the first entry of each event and the others. One process
// can have lost a lease to itself.
func firstOfEach[T any](sorted []T, of func(T) *adapter.Leased) (first, others []T) {
	for i, entry := range sorted {
		if i > 0 && of(entry).ID == of(sorted[i-1]).ID {
			others = append(others, entry)
		} else {
			first = append(first, entry)
		}
	}
	return first, others
}

// recordOnce records steps of different events, in the order of their ids.
func (t *postgresTransaction) recordOnce(recordings []*recording) error {
	settle, putBack := make(map[ownership]*steps), make(map[ownership]*steps)
	for _, r := range recordings {
		if r.step.Outcome == adapter.Pending {
			ownedSteps(putBack, r.leased).add(r)
			continue
		}
		r.stored = r.keepPayload
		if r.keepPayload && isDeadLetter(r.step.Outcome) {
			letters, err := t.deadLetters(r.queue)
			if err != nil {
				return err
			}
			r.stored = letters.keep(r.step.Outcome, int64(len(r.leased.Payload)))
		}
		ownedSteps(settle, r.leased).add(r)
	}
	settled, back := make(map[int64]struct{}), make(map[int64]struct{})
	for _, by := range []ownership{byLease, byRun} {
		if s := settle[by]; s != nil {
			ids, err := t.settle(s, by)
			if err != nil {
				return fmt.Errorf("settle events: %w", err)
			}
			maps.Copy(settled, ids)
		}
		if s := putBack[by]; s != nil {
			ids, err := t.putBack(s, by)
			if err != nil {
				return fmt.Errorf("put events back: %w", err)
			}
			maps.Copy(back, ids)
		}
	}
	var failed []*recording
	for _, r := range recordings {
		_, isSettled := settled[r.leased.ID]
		_, isBack := back[r.leased.ID]
		if r.lost = !isSettled && !isBack; r.lost {
			continue
		}
		if isSettled {
			t.sums.add(r.queue.connection, adapter.Pending, -1, -int64(len(r.leased.Payload)))
			t.sums.add(r.queue.connection, r.step.Outcome, 1, 0)
			switch bytes := int64(len(r.leased.Payload)); {
			case !isDeadLetter(r.step.Outcome):
			case r.stored:
				t.sums.add(r.queue.connection, r.step.Outcome, 0, bytes)
			default:
				t.letters.refuse(r.leased.ID, bytes)
			}
			t.runs.settle(r.leased.Run, r.step.Outcome, r.step.Reason)
		}
		if r.failedAttempt() {
			failed = append(failed, r)
		}
	}
	return t.recordAttempts(failed)
}

// ownership is the condition on the queue's row q by which an event is the process's own, where $1 are sorted ids and
// $2 their tokens. width_bucket finds the place of an id in the array, and so its token. With a join of arrays,
// statistics of an empty queue could choose a plan that reads the whole queue.
type ownership string

const (
	// byLease is for a leased event. If a program that knows no table of leases has taken over the event, its lease
	// is in the queue.
	byLease ownership = `q.lease IS NULL AND (SELECT l.token FROM leases l WHERE l.id = q.id) = ` + tokenOfID
	// byRun is for an event that waits for an import job.
	byRun ownership = `q.lease = ` + tokenOfID

	tokenOfID = `($2::bigint[])[width_bucket(q.id, $1::bigint[])]`
)

// ownedSteps returns the steps for the ownership of the leased event.
func ownedSteps(of map[ownership]*steps, leased *adapter.Leased) *steps {
	by := byLease
	if leased.Run != 0 && leased.Token == leased.Run {
		by = byRun
	}
	if of[by] == nil {
		of[by] = &steps{}
	}
	return of[by]
}

// settle moves events to the log and returns their ids. It locks rows of the queue before those of the leases, as
// every transaction does.
func (t *postgresTransaction) settle(s *steps, by ownership) (map[int64]struct{}, error) {
	return t.ids(`WITH step AS (
			SELECT * FROM unnest($1::bigint[], $3::bigint[], $4::smallint[], $5::bigint[], $6::text[], $7::text[],
				$8::text[], $9::bigint[], $10::bigint[], $11::bigint[], $12::bigint[], $13::text[], $14::text[],
				$15::bigint[], $16::bigint[])
			AS s (id, at, outcome, user_hash, user_id, account_id, event_key, count, counted, ambiguous, status,
				reason,
				detail, keep, keep_until)
		), gone AS (
			DELETE FROM queue q WHERE q.id = ANY ($1) AND `+string(by)+` RETURNING q.*
		), ended AS (
			DELETE FROM leases WHERE id = ANY (ARRAY(SELECT id FROM gone))
		), kept AS (
			INSERT INTO payloads (delivery, keep_until, payload, checksum)
			SELECT q.id, s.keep_until, q.payload, q.checksum FROM gone q JOIN step s ON s.id = q.id WHERE s.keep <> 0
		), letters AS (
			INSERT INTO dead_letters (outcome, delivery, connection, bytes)
			SELECT s.outcome, q.id, q.connection, length(q.payload)
			FROM gone q JOIN step s ON s.id = q.id WHERE s.keep <> 0 AND s.outcome IN (4, 5)
		)
		INSERT INTO deliveries (id, connection, tenant, outcome, body_hash, message_id, user_hash, user_id, account_id,
			event_key, received_at, first_attempt_ms, last_attempt_ms, settled_ms, attempts, status, ambiguous, reason,
			detail, run, event)
		SELECT q.id, q.connection, q.tenant, s.outcome, q.body_hash, q.message_id, s.user_hash, s.user_id,
			s.account_id,
			coalesce(s.event_key, q.event_key), q.received_at, coalesce(q.first_attempt_at, s.counted) - q.received_at,
			coalesce(s.counted, q.last_attempt_at) - q.received_at, s.at - q.received_at, q.attempts + s.count,
			coalesce(s.status, q.status), (q.ambiguous_at IS NOT NULL OR s.ambiguous IS NOT NULL)::int, s.reason,
			s.detail, q.run, q.event
		FROM gone q JOIN step s ON s.id = q.id
		RETURNING id`,
		s.ids, s.tokens, s.times, s.outcomes, s.userHashes, s.users, s.accounts, s.events, s.counts, s.counted,
		s.ambiguous, s.statuses, s.reasons, s.details, s.keeps, s.keepUntil)
}

// putBack makes events due later, and returns their ids. It clears the lease in the queue, because a program that
// knows no table of leases takes such an event for leased.
func (t *postgresTransaction) putBack(s *steps, by ownership) (map[int64]struct{}, error) {
	set := ``
	if by == byRun {
		set = `lease = NULL, `
	}
	return t.ids(`WITH back AS (
			UPDATE queue q SET `+set+`due_at = s.due, event_key = coalesce(s.event_key, q.event_key),
				attempts = q.attempts + s.count, failed = q.failed + s.count,
				first_attempt_at = coalesce(q.first_attempt_at, s.counted),
				last_attempt_at = coalesce(s.counted, q.last_attempt_at),
				ambiguous_at = coalesce(q.ambiguous_at, s.ambiguous), sending_at = NULL,
				status = CASE WHEN s.reason IS NULL THEN q.status ELSE s.status END,
				detail = CASE WHEN s.reason IS NULL THEN q.detail ELSE s.detail END,
				reason = coalesce(s.reason, q.reason)
			FROM unnest($1::bigint[], $3::bigint[], $4::text[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bigint[],
				$9::text[], $10::text[]) AS s (id, due, event_key, count, counted, ambiguous, status, reason, detail)
			WHERE q.id = ANY ($1) AND q.id = s.id AND `+string(by)+` RETURNING q.id
		), ended AS (
			DELETE FROM leases WHERE id = ANY (ARRAY(SELECT id FROM back))
		)
		SELECT id FROM back`,
		s.ids, s.tokens, s.times, s.events, s.counts, s.counted, s.ambiguous, s.statuses, s.reasons, s.details)
}

// recordAttempts adds attempts that did not deliver to the events' histories.
func (t *postgresTransaction) recordAttempts(failed []*recording) error {
	if len(failed) == 0 {
		return nil
	}
	var ids, began, took []int64
	var statuses []*int64
	var reasons []string
	var details []*string
	for _, r := range failed {
		step := &r.step
		ids = append(ids, r.leased.ID)
		began = append(began, milliseconds(step.Began))
		took = append(took, step.At.Sub(step.Began).Milliseconds())
		statuses = append(statuses, asPointer[int64](orNull(int64(step.Status))))
		reasons = append(reasons, string(step.Reason))
		details = append(details, asPointer[string](orNull(cut(step.Detail))))
	}
	_, err := t.tx.Exec(t.ctx, `INSERT INTO attempts (delivery, number, began_at, duration_ms, status, reason, detail)
		SELECT i.id, coalesce((SELECT max(number) FROM attempts a WHERE a.delivery = i.id), 0) + 1,
			i.began, i.took, i.status, i.reason, i.detail
		FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::text[], $6::text[])
			AS i (id, began, took, status, reason, detail)`,
		ids, began, took, statuses, reasons, details)
	return wrap("record attempts", err)
}

// leasedArrays returns ids and tokens in the order of the ids, in which rows are locked.
func leasedArrays(leased []*adapter.Leased) (ids, tokens []int64) {
	slices.SortFunc(leased, func(a, b *adapter.Leased) int { return cmp.Compare(a.ID, b.ID) })
	for _, l := range leased {
		ids, tokens = append(ids, l.ID), append(tokens, l.Token)
	}
	return ids, tokens
}

// mark records that attempts begin. It leaves out an event whose lease is lost.
func (t *postgresTransaction) mark(marks []*marking) error {
	if len(marks) == 0 {
		return nil
	}
	// In one order, or two transactions could wait for each other.
	slices.SortStableFunc(marks, func(a, b *marking) int { return cmp.Compare(a.leased.ID, b.leased.ID) })
	once, again := firstOfEach(marks, func(m *marking) *adapter.Leased { return m.leased })
	var ids, tokens, times []int64
	for _, m := range once {
		ids, tokens = append(ids, m.leased.ID), append(tokens, m.leased.Token)
		times = append(times, milliseconds(m.at))
	}
	marked, err := t.ids(`UPDATE leases q SET sending_at = ($3::bigint[])[width_bucket(q.id, $1::bigint[])]
		WHERE q.id = ANY ($1) AND q.token = `+tokenOfID+` RETURNING q.id`, ids, tokens, times)
	if err != nil {
		return fmt.Errorf("mark events: %w", err)
	}
	for _, m := range once {
		_, found := marked[m.leased.ID]
		m.lost = !found
	}
	return t.mark(again)
}

// release makes events due again, and ends their leases. Parked events were leased before they were due. The mark of
// an earlier lease stays.
func (t *postgresTransaction) release(releases []*release) error {
	for _, r := range releases {
		ids, tokens := leasedArrays(slices.Clone(r.leased))
		_, err := t.tx.Exec(t.ctx,
			`UPDATE queue q SET due_at = $3 WHERE q.id = ANY ($1) AND q.due_at > $3 AND `+string(byLease),
			ids, tokens, milliseconds(r.queue.store.now()))
		if err == nil {
			_, err = t.tx.Exec(t.ctx,
				`UPDATE leases q SET until = 0 WHERE q.id = ANY ($1) AND q.token = `+tokenOfID, ids, tokens)
		}
		if err != nil {
			return fmt.Errorf("release events: %w", err)
		}
	}
	return nil
}
