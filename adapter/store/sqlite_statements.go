package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
)

// statements are the prepared statements that accept, lease and settle events.
type statements struct {
	begin, commit, rollback, allocate, candidates, logArrival, keepPayload,
	keepQueued, putBack, makeDue, attempt, markSending, addTotal, runProgress, runObject,
	addRunOutcome, rejectAgain, runRejected, deadLetterSizes, addDeadLetter, logState *sql.Stmt

	// For many events at once.
	enqueue, known, settleAll, dequeueAll, supersedeAll rowStatements
}

// An error ends the whole transaction. With OR FAIL, SQLite need not prepare to undo a single statement.
const (
	enqueueSQL = `INSERT OR FAIL INTO queue (id, connection, due_at, received_at, tenant, body_hash, message_id,
		user_id,
		account_id, event_key, payload, run, lease, event, checksum, holds) VALUES `
	enqueueRow = `(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`

	knownSQL = `SELECT hash FROM messages WHERE hash IN `

	candidatesSQL = `SELECT delivery FROM messages WHERE hash = ?1`

	logArrivalSQL = `INSERT OR FAIL INTO deliveries (id, connection, tenant, outcome, body_hash, message_id,
		user_hash, user_id, account_id,
	event_key, received_at, settled_ms, attempts, ambiguous, reason, detail, run, event)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, 0, 0, 0, ?12, ?13, ?14, ?15)`

	keepPayloadSQL = `INSERT OR FAIL INTO payloads (delivery, keep_until, payload, checksum) VALUES (?1, ?2, ?3, ?4)`

	keepQueuedSQL = `INSERT OR FAIL INTO payloads (delivery, keep_until, payload, checksum)
	SELECT id, ?2, payload, checksum FROM queue WHERE id = ?1`

	putBackSQL = `UPDATE OR FAIL queue SET due_at = ?2, event_key = coalesce(?3, event_key),
	attempts = attempts + ?4, failed = failed + ?4,
	first_attempt_at = coalesce(first_attempt_at, ?5), last_attempt_at = coalesce(?5, last_attempt_at),
	ambiguous_at = coalesce(ambiguous_at, ?6), sending_at = CASE WHEN ?13 THEN sending_at END,
	status = CASE WHEN ?8 IS NULL THEN status ELSE ?7 END,
	call = CASE WHEN ?8 IS NULL THEN call ELSE ?12 END,
	detail = CASE WHEN ?8 IS NULL THEN detail ELSE ?9 END,
	reason = coalesce(?8, reason),
	holds = CASE WHEN ?11 IS NULL OR holds < 0 AND ?11 >= 0 THEN holds WHEN ?11 >= 0 THEN coalesce(holds, 0) + ?11 END
WHERE id = ?1 AND tenant = ?10`

	makeDueSQL = `UPDATE OR FAIL queue SET due_at = ?2 WHERE id = ?1 AND due_at > ?2 AND tenant = ?3`

	attemptSQL = `INSERT OR FAIL INTO attempts (delivery, number, began_at, duration_ms, status, reason, detail, call)
SELECT ?1, coalesce(max(number), 0) + 1, ?2, ?3, ?4, ?5, ?6, ?7 FROM attempts WHERE delivery = ?1`

	markSendingSQL = `UPDATE OR FAIL queue SET sending_at = ?2 WHERE id = ?1 AND tenant = ?3`

	addTotalSQL = `INSERT INTO totals (connection, shard, outcome, events, removed, bytes)
	VALUES (?1, 0, ?2, ?3, 0, ?4)
ON CONFLICT (connection, shard, outcome) DO UPDATE
	SET events = events + excluded.events, bytes = bytes + excluded.bytes`

	runProgressSQL = `UPDATE OR FAIL runs SET progress = coalesce(?3, progress), updated_at = ?4
	WHERE id = ?1 AND owner = ?2`

	runObjectSQL = `INSERT INTO run_objects (run, object, version, lines, done, fault) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
ON CONFLICT (run, object) DO UPDATE SET version = excluded.version, lines = excluded.lines,
	done = excluded.done, fault = excluded.fault`

	addRunOutcomeSQL = `INSERT INTO run_outcomes (run, shard, outcome, reason, events) VALUES (?1, 0, ?2, ?3, ?4)
ON CONFLICT (run, shard, outcome, reason) DO UPDATE SET events = events + excluded.events`

	rejectAgainSQL = `INSERT INTO rejected (digest, delivery, repeats) VALUES (?1, ?2, 0)
ON CONFLICT (digest) DO UPDATE SET repeats = repeats + 1 RETURNING delivery`

	runRejectedSQL = `INSERT OR IGNORE INTO run_rejected (run, delivery) VALUES (?1, ?2)`

	addDeadLetterSQL = `INSERT OR FAIL INTO dead_letters (outcome, delivery, connection, bytes)
	VALUES (?1, ?2, ?3, ?4)`
)

var supersedeSQL = `UPDATE OR FAIL queue SET holds = -1 WHERE id IN (SELECT h.id FROM queue q JOIN queue h
	ON h.connection = q.connection AND h.tenant = q.tenant AND h.user_id = q.user_id AND h.account_id IS q.account_id
		AND h.id < q.id AND h.` + overdueText + ` WHERE q.id IN `

// settleAllSQL settles the events of the rows v. It finds an event whose tenant is still that of its row. An event
// keeps its user unless v has one, which is a shortened one.
const (
	settleAllSQL = `INSERT OR FAIL INTO deliveries (id, connection, tenant, outcome, body_hash, message_id,
		user_hash, user_id, account_id, event_key, received_at, first_attempt_ms, last_attempt_ms, settled_ms,
		attempts, status, ambiguous, reason, detail, run, event, call)
	SELECT q.id, q.connection, q.tenant, v.outcome, q.body_hash, q.message_id,
		v.user_hash, coalesce(v.user_id, q.user_id),
		CASE WHEN v.user_id IS NULL THEN q.account_id ELSE v.account_id END,
		coalesce(v.event_key, q.event_key), q.received_at, coalesce(q.first_attempt_at, v.counted) - q.received_at,
		coalesce(v.counted, q.last_attempt_at) - q.received_at, v.at - q.received_at,
		q.attempts + (v.counted IS NOT NULL), coalesce(v.status, q.status),
		q.ambiguous_at IS NOT NULL OR v.ambiguous, v.reason, v.detail, q.run, q.event,
		coalesce(v.call, q.call)
	FROM v CROSS JOIN queue q ON q.id = v.id AND q.tenant = v.tenant`
	settleAllRow = `id, tenant, outcome, user_hash, user_id, account_id, event_key, counted, at, status, ambiguous,
		reason, detail, call`
)

// Numbers of rows of the statements for many events. Such a statement costs much less than one for each row.
var (
	rowSizes  = []int{64, 8, 1}
	hashSizes = []int{manyHashes, 8, 1}
)

// manyHashes is the number of hashes that a statement looks for.
const manyHashes = 64

// prepareMany prepares the statements for many events.
func (s *statements) prepareMany(ctx context.Context, conn *sql.Conn) error {
	for _, of := range []struct {
		statements *rowStatements
		columns    int
		results    int
		sizes      []int
		text       func(rows int) string
	}{
		{&s.enqueue, rowColumns, 0, rowSizes, func(rows int) string { return enqueueSQL + repeat(enqueueRow, rows) }},
		{&s.known, 1, 1, hashSizes, func(rows int) string { return knownSQL + "(" + repeat("?", rows) + ")" }},
		{&s.settleAll, settleColumns, 0, rowSizes, func(rows int) string {
			row := "(" + repeat("?", settleColumns) + ")"
			return "WITH v (" + settleAllRow + ") AS (VALUES " + repeat(row, rows) + ") " + settleAllSQL
		}},
		{&s.supersedeAll, 1, 0, rowSizes, func(rows int) string {
			return supersedeSQL + "(" + repeat("?", rows) + "))"
		}},
		{&s.dequeueAll, 1, 0, rowSizes, func(rows int) string {
			return "DELETE FROM queue WHERE id IN (" + repeat("?", rows) + ")"
		}},
	} {
		var err error
		if *of.statements, err = prepareRows(ctx, conn, of.columns, of.results, of.sizes, of.text); err != nil {
			return err
		}
	}
	return nil
}

// repeat returns a text n times, separated by commas.
func repeat(text string, n int) string {
	return strings.TrimSuffix(strings.Repeat(text+", ", n), ", ")
}

func prepareStatements(ctx context.Context, conn *sql.Conn) (*statements, error) {
	s := &statements{}
	for _, statement := range s.all() {
		prepared, err := conn.PrepareContext(ctx, statement.text)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("prepare %q: %w", statement.text, err), s.close())
		}
		*statement.prepared = prepared
	}
	if err := s.prepareMany(ctx, conn); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

type statement struct {
	prepared **sql.Stmt
	text     string
}

func (s *statements) all() []statement {
	return []statement{
		{&s.begin, `BEGIN IMMEDIATE`},
		{&s.commit, `COMMIT`},
		{&s.rollback, `ROLLBACK`},
		{&s.allocate, `UPDATE counter SET next_id = next_id + ?1 RETURNING next_id`},
		{&s.candidates, candidatesSQL},
		{&s.logArrival, logArrivalSQL},
		{&s.keepPayload, keepPayloadSQL},
		{&s.keepQueued, keepQueuedSQL},
		{&s.putBack, putBackSQL},
		{&s.makeDue, makeDueSQL},
		{&s.attempt, attemptSQL},
		{&s.markSending, markSendingSQL},
		{&s.addTotal, addTotalSQL},
		{&s.runProgress, runProgressSQL},
		{&s.runObject, runObjectSQL},
		{&s.addRunOutcome, addRunOutcomeSQL},
		{&s.rejectAgain, rejectAgainSQL},
		{&s.runRejected, runRejectedSQL},
		{&s.deadLetterSizes, sizesSQL},
		{&s.addDeadLetter, addDeadLetterSQL},
		{&s.logState, string(checkpointNoop)},
	}
}

func (s *statements) close() error {
	var errs []error
	for _, statement := range s.all() {
		if *statement.prepared != nil {
			errs = append(errs, (*statement.prepared).Close())
		}
	}
	for _, many := range []*rowStatements{&s.enqueue, &s.known, &s.settleAll, &s.dequeueAll, &s.supersedeAll} {
		errs = append(errs, many.close())
	}
	return errors.Join(errs...)
}
