package store

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"segment-saasquatch/adapter"
)

// errNothingDue ends a transaction that finds no event to lease.
var errNothingDue = errors.New("nothing is due")

// lease takes due events that no other process has in hand. A lease whose end has come
// on the database's clock is due like any other event: its process has died, or has
// given it up. The process takes it to end by its own clocks, counted from before it
// asked, so that it never goes on for longer than the database lets it.
func (e *postgresEngine) lease(ctx context.Context, q *Queue, now time.Time, request leaseRequest) ([]adapter.Leased, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	// Once begun it is not cut short: the events of a lease that was committed without
	// its answer would wait until it ends, though the process stops in good order.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), applyTimeout)
	defer cancel()
	until, token := now.Add(e.leaseFor), rand.Int64()
	var leased []adapter.Leased
	var ids []int64
	err := e.transact(ctx, unmarked, func(tx pgx.Tx, mark commitMark) (err error) {
		database, err := e.clockOf(tx.QueryRow(ctx, clockSQL))
		if err != nil {
			return fmt.Errorf("ask for the time: %w", err)
		}
		if request.parked != nil {
			ids, err = lockParked(ctx, tx, q, request)
		} else {
			ids, err = dueIDs(ctx, tx, q, now, database, request)
		}
		if err != nil {
			return err
		}
		if len(ids) == 0 {
			return errNothingDue // there is nothing to commit
		}
		if _, err := tx.Exec(ctx, mark.statement()); err != nil {
			return fmt.Errorf("mark the transaction: %w", err)
		}
		rows, err := tx.Query(ctx, `UPDATE queue SET due_at = $1, lease = $2 WHERE id = ANY ($3)
			RETURNING id, message_id, coalesce(body_hash, 1) = 0, user_id, account_id, received_at, attempts, failed, redriven <> 0, first_attempt_at, ambiguous_at, sending_at, payload, coalesce(run, 0), checksum`,
			milliseconds(database.Add(e.leaseFor)), token, ids)
		if err != nil {
			return fmt.Errorf("lease events: %w", err)
		}
		leased, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (adapter.Leased, error) {
			l := adapter.Leased{Until: until, Token: token}
			var account sql.NullString
			var received int64
			var first, ambiguous, sending, sum sql.NullInt64
			err := row.Scan(&l.ID, &l.MessageID, &l.Keyed, &l.UserID, &account, &received, &l.Attempts, &l.Failed, &l.Redriven, &first, &ambiguous, &sending, &l.Payload, &l.Run, &sum)
			l.Damaged = isDamaged(l.Payload, l.ID, sum)
			complete(&l, account, received, first, ambiguous, sending)
			return l, err
		})
		return err
	})
	if errors.Is(err, errNothingDue) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	place := make(map[int64]int, len(ids))
	for i, id := range ids {
		place[id] = i
	}
	slices.SortFunc(leased, func(a, b adapter.Leased) int { return cmp.Compare(place[a.ID], place[b.ID]) })
	return leased, nil
}

// dueIDs locks due events of the queue's tenant, the one that is due longest first. Those
// that are leased are due at the end of the lease, on the database's clock.
func dueIDs(ctx context.Context, tx pgx.Tx, q *Queue, now, database time.Time, request leaseRequest) ([]int64, error) {
	latest := now
	if database.After(now) {
		latest = database
	}
	rows, err := tx.Query(ctx, `SELECT id, octet_length(payload) FROM queue WHERE connection = $1 AND tenant = $2 AND due_at <= $3
		AND due_at <= CASE WHEN lease IS NULL THEN $4::bigint ELSE $5::bigint END
		ORDER BY due_at, id LIMIT $6 FOR UPDATE SKIP LOCKED`,
		q.connection, q.tenant, milliseconds(latest), milliseconds(now), milliseconds(database), request.limit)
	if err != nil {
		return nil, fmt.Errorf("look for due events: %w", err)
	}
	return withinBytes(rows, request.maxBytes)
}

// lockParked locks parked events that are pending, not leased, and due when they were.
func lockParked(ctx context.Context, tx pgx.Tx, q *Queue, request leaseRequest) ([]int64, error) {
	ids, dues := make([]int64, len(request.parked)), make([]int64, len(request.parked))
	for i, p := range request.parked {
		ids[i], dues[i] = p.ID, milliseconds(p.Due)
	}
	rows, err := tx.Query(ctx, `SELECT q.id, octet_length(q.payload)
		FROM unnest($1::bigint[], $2::bigint[]) WITH ORDINALITY AS s (id, due, place) JOIN queue q ON q.id = s.id
		WHERE q.due_at = s.due AND q.lease IS NULL AND q.connection = $3 AND q.tenant = $4
		ORDER BY s.place FOR UPDATE OF q SKIP LOCKED`, ids, dues, q.connection, q.tenant)
	if err != nil {
		return nil, fmt.Errorf("look for parked events: %w", err)
	}
	return withinBytes(rows, request.maxBytes)
}

// withinBytes reads ids and the sizes of their payloads, as far as there is room.
func withinBytes(rows pgx.Rows, maxBytes int64) (ids []int64, err error) {
	var id, bytes int64
	_, err = pgx.ForEachRow(rows, []any{&id, &bytes}, func() error {
		if maxBytes > 0 {
			ids = append(ids, id)
		}
		maxBytes -= bytes
		return nil
	})
	return ids, err
}

// steps are recordings, a slice for each column.
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

// record settles events or puts them back. One whose lease is lost is left alone.
func (t *postgresTransaction) record(recordings []*recording) error {
	if len(recordings) == 0 {
		return nil
	}
	// In one order, or two transactions could wait for each other.
	slices.SortFunc(recordings, func(a, b *recording) int { return cmp.Compare(a.leased.ID, b.leased.ID) })
	var settle, putBack steps
	for _, r := range recordings {
		if r.step.Outcome == adapter.Pending {
			putBack.add(r)
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
		settle.add(r)
	}
	settled, err := t.settle(&settle)
	if err != nil {
		return fmt.Errorf("settle events: %w", err)
	}
	back, err := t.putBack(&putBack)
	if err != nil {
		return fmt.Errorf("put events back: %w", err)
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

func (t *postgresTransaction) settle(s *steps) (map[int64]struct{}, error) {
	if len(s.ids) == 0 {
		return nil, nil
	}
	return t.ids(`WITH step AS (
			SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::smallint[], $5::bigint[], $6::text[], $7::text[], $8::text[], $9::bigint[], $10::bigint[],
				$11::bigint[], $12::bigint[], $13::text[], $14::text[], $15::bigint[], $16::bigint[])
			AS s (id, token, at, outcome, user_hash, user_id, account_id, event_key, count, counted, ambiguous, status, reason, detail, keep, keep_until)
		), gone AS (
			DELETE FROM queue q USING step s WHERE q.id = s.id AND q.lease = s.token RETURNING q.*
		), kept AS (
			INSERT INTO payloads (delivery, keep_until, payload, checksum)
			SELECT q.id, s.keep_until, q.payload, q.checksum FROM gone q JOIN step s ON s.id = q.id WHERE s.keep <> 0
		), letters AS (
			INSERT INTO dead_letters (outcome, delivery, connection, bytes)
			SELECT s.outcome, q.id, q.connection, length(q.payload) FROM gone q JOIN step s ON s.id = q.id WHERE s.keep <> 0 AND s.outcome IN (4, 5)
		)
		INSERT INTO deliveries (id, connection, tenant, outcome, body_hash, message_id, user_hash, user_id, account_id, event_key, received_at,
			first_attempt_ms, last_attempt_ms, settled_ms, attempts, status, ambiguous, reason, detail, run, event)
		SELECT q.id, q.connection, q.tenant, s.outcome, q.body_hash, q.message_id, s.user_hash, s.user_id, s.account_id, coalesce(s.event_key, q.event_key), q.received_at,
			coalesce(q.first_attempt_at, s.counted) - q.received_at, coalesce(s.counted, q.last_attempt_at) - q.received_at, s.at - q.received_at,
			q.attempts + s.count, coalesce(s.status, q.status), (q.ambiguous_at IS NOT NULL OR s.ambiguous IS NOT NULL)::int, s.reason, s.detail, q.run, q.event
		FROM gone q JOIN step s ON s.id = q.id
		RETURNING id`,
		s.ids, s.tokens, s.times, s.outcomes, s.userHashes, s.users, s.accounts, s.events, s.counts, s.counted,
		s.ambiguous, s.statuses, s.reasons, s.details, s.keeps, s.keepUntil)
}

func (t *postgresTransaction) putBack(s *steps) (map[int64]struct{}, error) {
	if len(s.ids) == 0 {
		return nil, nil
	}
	return t.ids(`UPDATE queue q SET due_at = s.due, lease = NULL, event_key = coalesce(s.event_key, q.event_key),
			attempts = q.attempts + s.count, failed = q.failed + s.count,
			first_attempt_at = coalesce(q.first_attempt_at, s.counted), last_attempt_at = coalesce(s.counted, q.last_attempt_at),
			ambiguous_at = coalesce(q.ambiguous_at, s.ambiguous), sending_at = NULL,
			status = CASE WHEN s.reason IS NULL THEN q.status ELSE s.status END,
			detail = CASE WHEN s.reason IS NULL THEN q.detail ELSE s.detail END,
			reason = coalesce(s.reason, q.reason)
		FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::text[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bigint[], $9::text[], $10::text[])
			AS s (id, token, due, event_key, count, counted, ambiguous, status, reason, detail)
		WHERE q.id = s.id AND q.lease = s.token RETURNING q.id`,
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
		SELECT i.id, coalesce((SELECT max(number) FROM attempts a WHERE a.delivery = i.id), 0) + 1, i.began, i.took, i.status, i.reason, i.detail
		FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::text[], $6::text[]) AS i (id, began, took, status, reason, detail)`,
		ids, began, took, statuses, reasons, details)
	if err != nil {
		return fmt.Errorf("record attempts: %w", err)
	}
	return nil
}

// leasedArrays returns ids and tokens in the order in which rows are to be locked.
func leasedArrays(leased []*adapter.Leased) (ids, tokens []int64) {
	slices.SortFunc(leased, func(a, b *adapter.Leased) int { return cmp.Compare(a.ID, b.ID) })
	for _, l := range leased {
		ids, tokens = append(ids, l.ID), append(tokens, l.Token)
	}
	return ids, tokens
}

// mark records that attempts begin. One whose lease is lost is left alone.
func (t *postgresTransaction) mark(marks []*marking) error {
	if len(marks) == 0 {
		return nil
	}
	// In one order, or two transactions could wait for each other.
	slices.SortFunc(marks, func(a, b *marking) int { return cmp.Compare(a.leased.ID, b.leased.ID) })
	var ids, tokens, times []int64
	for _, m := range marks {
		ids, tokens, times = append(ids, m.leased.ID), append(tokens, m.leased.Token), append(times, milliseconds(m.at))
	}
	marked, err := t.ids(`UPDATE queue q SET sending_at = s.at FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS s (id, token, at)
		WHERE q.id = s.id AND q.lease = s.token RETURNING q.id`, ids, tokens, times)
	if err != nil {
		return fmt.Errorf("mark events: %w", err)
	}
	for _, m := range marks {
		_, found := marked[m.leased.ID]
		m.lost = !found
	}
	return nil
}

// release makes events due again. They were when they were leased.
func (t *postgresTransaction) release(releases []*release) error {
	for _, r := range releases {
		ids, tokens := leasedArrays(slices.Clone(r.leased))
		_, err := t.tx.Exec(t.ctx, `UPDATE queue q SET due_at = least(q.due_at, $1), lease = NULL FROM unnest($2::bigint[], $3::bigint[]) AS s (id, token)
			WHERE q.id = s.id AND q.lease = s.token`, milliseconds(r.queue.store.now()), ids, tokens)
		if err != nil {
			return fmt.Errorf("release events: %w", err)
		}
	}
	return nil
}
