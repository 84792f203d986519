package store

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"segment-saasquatch/adapter"
)

// steps has recordings as a slice for each column.
type steps struct {
	ids, tokens, times             []int64
	outcomes                       []int16
	userHashes, counted, ambiguous []*int64
	counts, keeps, marks           []int64
	users                          []string
	accounts, events               []*string
	statuses, calls                []*int64
	reasons, details               []*string
	keepUntil, tries               []*int64
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
	s.calls = append(s.calls, asPointer[int64](orNull(int64(step.Call))))
	s.reasons = append(s.reasons, asPointer[string](orNull(string(step.Reason))))
	s.details = append(s.details, asPointer[string](orNull(cut(step.Detail))))
	s.keeps = append(s.keeps, asInt(r.stored))
	s.marks = append(s.marks, asInt(r.keepsMark()))
	s.keepUntil = append(s.keepUntil, asPointer[int64](timeOrNull(r.keepUntil)))
	s.tries = append(s.tries, asPointer[int64](r.tries()))
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
	overdue, err := t.overdue(recordings)
	if err != nil {
		return fmt.Errorf("look for overdue upserts: %w", err)
	}
	if len(settle)+len(putBack) > 1 || len(overdue) > 0 {
		if err := t.lock(recordings, overdue); err != nil {
			return fmt.Errorf("lock events: %w", err)
		}
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
	if err := t.supersede(overdue, settled); err != nil {
		return fmt.Errorf("supersede upserts: %w", err)
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

// lock locks all rows of the queue that the recordings change. Several statements would lock them in another order
// than that of the ids, and two transactions could wait for each other.
func (t *postgresTransaction) lock(recordings []*recording, overdue []overdueUpsert) error {
	ids := make([]int64, 0, len(recordings)+len(overdue))
	for _, r := range recordings {
		ids = append(ids, r.leased.ID)
	}
	for _, o := range overdue {
		ids = append(ids, o.id)
	}
	slices.Sort(ids)
	_, err := t.tx.Exec(t.ctx, `SELECT id FROM queue WHERE id = ANY ($1) ORDER BY id + 0 FOR UPDATE`, ids)
	return err
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

// settledColumns are the columns of the queue that the log takes over. Without the payloads, the rows in between are
// small.
const settledColumns = `q.id, q.connection, q.tenant, q.body_hash, q.message_id, q.event_key, q.received_at,
	q.first_attempt_at, q.last_attempt_at, q.attempts, q.status, q.ambiguous_at, q.run, q.event, q.call`

// keepPayloadsSQL keeps payloads of the events that settle deletes.
const keepPayloadsSQL = `, kept AS (
		INSERT INTO payloads (delivery, keep_until, payload, checksum)
		SELECT q.id, s.keep_until, q.payload, q.checksum FROM gone q JOIN step s ON s.id = q.id WHERE s.keep <> 0
	), letters AS (
		INSERT INTO dead_letters (outcome, delivery, connection, bytes)
		SELECT s.outcome, q.id, q.connection, length(q.payload)
		FROM gone q JOIN step s ON s.id = q.id WHERE s.keep <> 0 AND s.outcome IN (4, 5)
	)`

// settle moves events to the log and returns their ids. It locks rows of the queue before those of the leases, as
// every transaction does.
func (t *postgresTransaction) settle(s *steps, by ownership) (map[int64]struct{}, error) {
	returning, keep := settledColumns, ``
	if slices.ContainsFunc(s.keeps, func(keep int64) bool { return keep != 0 }) {
		returning, keep = `q.*`, keepPayloadsSQL
	}
	return t.ids(`WITH step AS (
			SELECT * FROM unnest($1::bigint[], $3::bigint[], $4::smallint[], $5::bigint[], $6::text[], $7::text[],
				$8::text[], $9::bigint[], $10::bigint[], $11::bigint[], $12::bigint[], $13::text[], $14::text[],
				$15::bigint[], $16::bigint[], $17::bigint[])
			AS s (id, at, outcome, user_hash, user_id, account_id, event_key, count, counted, ambiguous, status,
				reason,
				detail, keep, keep_until, call)
		), gone AS (
			DELETE FROM queue q WHERE q.id = ANY ($1) AND `+string(by)+` RETURNING `+returning+`
		), ended AS (
			DELETE FROM leases WHERE id = ANY (ARRAY(SELECT id FROM gone))
		)`+keep+`
		INSERT INTO deliveries (id, connection, tenant, outcome, body_hash, message_id, user_hash, user_id, account_id,
			event_key, received_at, first_attempt_ms, last_attempt_ms, settled_ms, attempts, status, ambiguous, reason,
			detail, run, event, call)
		SELECT q.id, q.connection, q.tenant, s.outcome, q.body_hash, q.message_id, s.user_hash, s.user_id,
			s.account_id,
			coalesce(s.event_key, q.event_key), q.received_at, coalesce(q.first_attempt_at, s.counted) - q.received_at,
			coalesce(s.counted, q.last_attempt_at) - q.received_at, s.at - q.received_at, q.attempts + s.count,
			coalesce(s.status, q.status), (q.ambiguous_at IS NOT NULL OR s.ambiguous IS NOT NULL)::int, s.reason,
			s.detail, q.run, q.event, coalesce(s.call, q.call)
		FROM gone q JOIN step s ON s.id = q.id
		RETURNING id`,
		s.ids, s.tokens, s.times, s.outcomes, s.userHashes, s.users, s.accounts, s.events, s.counts, s.counted,
		s.ambiguous, s.statuses, s.reasons, s.details, s.keeps, s.keepUntil,
		s.calls)
}

// putBack makes events due later, and returns their ids. A mark that an event keeps moves from its lease to the queue.
// It clears the lease in the queue, because a program that knows no table of leases takes such an event for leased.
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
				ambiguous_at = coalesce(q.ambiguous_at, s.ambiguous),
				sending_at = CASE WHEN s.mark <> 0
					THEN coalesce(q.sending_at, (SELECT l.sending_at FROM leases l WHERE l.id = q.id)) END,
				status = CASE WHEN s.reason IS NULL THEN q.status ELSE s.status END,
				call = CASE WHEN s.reason IS NULL THEN q.call ELSE s.call END,
				detail = CASE WHEN s.reason IS NULL THEN q.detail ELSE s.detail END,
				reason = coalesce(s.reason, q.reason),
				holds = CASE WHEN s.tries IS NULL OR q.holds < 0 AND s.tries >= 0 THEN q.holds
					WHEN s.tries >= 0 THEN coalesce(q.holds, 0) + s.tries END
			FROM unnest($1::bigint[], $3::bigint[], $4::text[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bigint[],
				$9::text[], $10::text[], $11::bigint[], $12::bigint[], $13::bigint[])
				AS s (id, due, event_key, count, counted, ambiguous, status, reason, detail, tries, call, mark)
			WHERE q.id = ANY ($1) AND q.id = s.id AND `+string(by)+` RETURNING q.id
		), ended AS (
			DELETE FROM leases WHERE id = ANY (ARRAY(SELECT id FROM back))
		)
		SELECT id FROM back`,
		s.ids, s.tokens, s.times, s.events, s.counts, s.counted, s.ambiguous, s.statuses, s.reasons, s.details,
		s.tries, s.calls, s.marks)
}

// recordAttempts adds attempts that did not deliver to the events' histories.
func (t *postgresTransaction) recordAttempts(failed []*recording) error {
	if len(failed) == 0 {
		return nil
	}
	var ids, began, took []int64
	var statuses, calls []*int64
	var reasons []string
	var details []*string
	for _, r := range failed {
		step := &r.step
		ids = append(ids, r.leased.ID)
		began = append(began, milliseconds(step.Began))
		took = append(took, step.At.Sub(step.Began).Milliseconds())
		statuses = append(statuses, asPointer[int64](orNull(int64(step.Status))))
		calls = append(calls, asPointer[int64](orNull(int64(step.Call))))
		reasons = append(reasons, string(step.Reason))
		details = append(details, asPointer[string](orNull(cut(step.Detail))))
	}
	_, err := t.tx.Exec(t.ctx, `INSERT INTO attempts (delivery, number, began_at, duration_ms, status, reason, detail,
			call)
		SELECT i.id, coalesce((SELECT max(number) FROM attempts a WHERE a.delivery = i.id), 0) + 1,
			i.began, i.took, i.status, i.reason, i.detail, i.call
		FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::text[], $6::text[], $7::bigint[])
			AS i (id, began, took, status, reason, detail, call)`,
		ids, began, took, statuses, reasons, details, calls)
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
