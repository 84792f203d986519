package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"segment-saasquatch/adapter"
	"segment-saasquatch/mapping"
)

// Restored describes the pending events of a database that was restored from a backup. The server may have delivered
// them after the backup, which the database does not know. Events that SaaSquatch would count again are held as dead
// letters.
type Restored struct {
	// TakenAt is when the backup was taken, or an earlier time if the exact one is unknown.
	TakenAt time.Time `json:"taken_at,omitzero"`
	// Pending is the number of pending events.
	Pending int64 `json:"pending"`
	// KeyForgotten is the number of those events whose key SaaSquatch may have forgotten since.
	KeyForgotten int64 `json:"key_forgotten"`
	// NoKey is the number of further ones that have no key.
	NoKey int64 `json:"no_key"`

	bytes int64 // of the payloads to hold
}

// Hold returns the number of events to hold.
func (r *Restored) Hold() int64 { return r.KeyForgotten + r.NoKey }

// RestoredOptions configure the examination of a restored database.
type RestoredOptions struct {
	// TakenAt is when the backup was taken. Default: [Store.LastWrite].
	TakenAt time.Time
	// Horizon is how long after an attempt SaaSquatch knows its key; see [delivery.DispatcherOptions]. Default:
	// [adapter.DefaultHorizon].
	Horizon time.Duration
}

// LastWrite returns the latest time at which a server has written to the database, the zero time if there is none. A
// running server writes a time every few seconds, so LastWrite tells when a backup was taken. Hold and operators'
// work do not change it, except for the outcomes that a redrive decides.
func (s *Store) LastWrite(ctx context.Context) (time.Time, error) {
	last, err := readValue(ctx, s.read, func(tx *sql.Tx) (time.Time, error) { return s.lastWrite(ctx, tx) })
	return last, s.explained("read the time of the last write", err)
}

func (s *Store) lastWrite(ctx context.Context, tx *sql.Tx) (time.Time, error) {
	probed, err := s.engine.probed(ctx, tx)
	if err != nil {
		return time.Time{}, err
	}
	// Times from a clock that ran ahead say nothing.
	now := s.now()
	end := milliseconds(now.Add(clockTolerance))
	var last int64
	// A database of an earlier version has no times of probes.
	err = tx.QueryRowContext(ctx, `SELECT coalesce(max(at), 0) FROM (
		SELECT max(received_at) AS at FROM queue WHERE received_at <= $1
		UNION ALL SELECT max(last_attempt_at) FROM queue WHERE last_attempt_at <= $1
		UNION ALL SELECT max(received_at) FROM deliveries WHERE received_at <= $1
		UNION ALL SELECT max(received_at + settled_ms) FROM deliveries
			WHERE received_at + settled_ms <= $1 AND coalesce(reason, '') <> $2
		UNION ALL SELECT max(updated_at) FROM runs WHERE updated_at <= $1) AS times`,
		end, string(mapping.ReasonRestored)).Scan(&last)
	if err != nil {
		return time.Time{}, err
	}
	if probed := milliseconds(probed); probed <= end {
		last = max(last, probed)
	}
	if last <= 0 {
		return time.Time{}, nil
	}
	return time.UnixMilli(min(last, milliseconds(now))).UTC(), nil
}

// clockTolerance is how far another machine's clock may be ahead.
const clockTolerance = 5 * time.Minute

// serverInterval is the longest time between two writes of a server, with a margin.
const serverInterval = 30 * time.Second

// ServerRunsError means that a server writes to the database, or wrote to it just now.
type ServerRunsError struct{ Ago time.Duration }

func (e *ServerRunsError) Error() string {
	return fmt.Sprintf("a server wrote to the store %s ago: stop all servers, wait for %s, and try again",
		max(e.Ago, 0).Round(time.Second), serverInterval)
}

// CheckNoServer returns a [ServerRunsError] if a server has written to the database in the last 30 seconds. An SQLite
// store that is open offline has no server.
func (s *Store) CheckNoServer(ctx context.Context) error {
	now, shared, err := s.engine.clock(ctx)
	if err != nil {
		return s.explained("ask for the time", err)
	}
	if !shared {
		return nil
	}
	last, err := s.LastWrite(ctx)
	if err != nil {
		return err
	}
	if ago := now.Sub(last); ago < serverInterval {
		return &ServerRunsError{Ago: ago}
	}
	return nil
}

// restoration has the decisions of Hold.
type restoration struct {
	taken time.Time
	// all is set if SaaSquatch may have forgotten the keys of attempts right after the backup.
	all bool
}

// ExamineRestored counts the pending events and those that Hold would hold.
//
// An event that was pending at the time of the backup can only have been delivered after it. So the age of the
// backup, not that of the event, decides whether SaaSquatch still knows the key of that attempt. Upserts have no key,
// but they count nothing twice. Old upserts could overwrite newer ones, so they are held too once the backup is old.
func (s *Store) ExamineRestored(ctx context.Context, opts RestoredOptions) (*Restored, error) {
	found := &Restored{}
	err := s.read(ctx, func(tx *sql.Tx) (err error) {
		r, err := s.restoration(ctx, tx, opts)
		if err != nil {
			return err
		}
		found.TakenAt = r.taken
		var all, unkeyed, allBytes, unkeyedBytes int64
		err = tx.QueryRowContext(ctx, `SELECT count(*), coalesce(sum(length(payload)), 0),
			coalesce(sum(CASE WHEN `+noKey+` THEN 1 ELSE 0 END), 0),
			coalesce(sum(CASE WHEN `+noKey+` THEN length(payload) ELSE 0 END), 0) FROM queue`, adapter.UpsertEventKey).
			Scan(&all, &allBytes, &unkeyed, &unkeyedBytes)
		found.Pending, found.NoKey, found.bytes = all, unkeyed, unkeyedBytes
		if r.all {
			found.KeyForgotten, found.bytes = all-unkeyed, allBytes
		}
		return err
	})
	if err != nil {
		return nil, s.explained("count the pending events", err)
	}
	return found, nil
}

// noKey is the condition for events that SaaSquatch counts again on a second attempt.
const noKey = `coalesce(body_hash, 1) <> 0 AND event_key <> $1`

func (s *Store) restoration(ctx context.Context, tx *sql.Tx, opts RestoredOptions) (r restoration, err error) {
	now := s.now()
	if r.taken = opts.TakenAt; r.taken.IsZero() {
		if r.taken, err = s.lastWrite(ctx, tx); err != nil {
			return r, err
		}
	}
	if opts.Horizon <= 0 {
		opts.Horizon = adapter.DefaultHorizon
	}
	r.all = !now.Before(r.taken.Add(opts.Horizon))
	return r, nil
}

// HeldBytesError means that the payloads of held events exceed the limit on dead letters, and would be dropped.
type HeldBytesError struct{ Needed, Limit int64 }

func (e *HeldBytesError) Error() string {
	return fmt.Sprintf("with the events to hold, the payloads of dead letters take %d bytes, and "+
		"dead_letters.max_bytes is %d: "+
		"raise it, here and for the server, or the oldest payloads are dropped", e.Needed, e.Limit)
}

// Hold turns the pending events that SaaSquatch could count again into dead letters with the reason restored. It
// marks the other events with a key as possibly processed at the time of the backup. So their attempts end while
// SaaSquatch knows the key. No server may run meanwhile. After an interruption, the next call goes on.
//
// It calls progress, unless it is nil, with the number of examined events.
func (s *Store) Hold(ctx context.Context, opts RestoredOptions, progress func(done int64)) (*Restored, error) {
	found, err := s.ExamineRestored(ctx, opts)
	if err != nil {
		return nil, err
	}
	var r restoration
	var kept int64
	err = s.read(ctx, func(tx *sql.Tx) error {
		if r, err = s.restoration(ctx, tx, opts); err != nil {
			return err
		}
		letters, err := s.readDeadLetters(ctx, tx)
		kept = letters.dead
		return err
	})
	if err != nil {
		return nil, s.explained("hold restored events", err)
	}
	if limit := s.limits.DeadLetters; limit > 0 && found.Hold() > 0 && kept+found.bytes > limit {
		return nil, &HeldBytesError{Needed: kept + found.bytes, Limit: limit}
	}
	for after, done := int64(0), int64(0); ; {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		var rows []restoredEvent
		err := s.engine.write(ctx, func(tx *sql.Tx) error {
			if rows, err = s.nextRestored(ctx, tx, after); err != nil || len(rows) == 0 {
				return err
			}
			return s.holdStep(ctx, tx, r, rows)
		})
		if err != nil {
			return nil, s.explained("hold restored events", err)
		}
		if len(rows) == 0 {
			return found, nil
		}
		s.engine.stepped(ctx)
		after = rows[len(rows)-1].id
		if done += int64(len(rows)); progress != nil {
			progress(done)
		}
	}
}

// restoredEvent is a pending event of a restored database.
type restoredEvent struct {
	id, connection, run, bytes int64
	userID                     string
	keyed, upsert              bool
}

// Bounds of a step of Hold, in events and in bytes of their payloads beyond the first event.
const (
	holdRows  = 500
	holdBytes = 8 << 20
)

// nextRestored returns the pending events of a step.
func (s *Store) nextRestored(ctx context.Context, tx *sql.Tx, after int64) (events []restoredEvent, err error) {
	var e restoredEvent
	bytes := int64(0)
	rows, err := tx.QueryContext(ctx, `SELECT id, connection, coalesce(run, 0), length(payload), user_id,
			coalesce(body_hash, 1) = 0, event_key = $1
		FROM queue WHERE id > $2 ORDER BY id LIMIT `+strconv.Itoa(holdRows)+s.engine.lockRows(),
		adapter.UpsertEventKey, after)
	err = eachRowUntil(rows, err, func() error {
		events = append(events, e)
		if bytes += e.bytes; bytes >= holdBytes {
			return errEnough
		}
		return nil
	}, &e.id, &e.connection, &e.run, &e.bytes, &e.userID, &e.keyed, &e.upsert)
	return events, err
}

// holdStep holds or marks some events.
func (s *Store) holdStep(ctx context.Context, tx *sql.Tx, r restoration, events []restoredEvent) error {
	var keyed []int64
	var forgotten, unkeyed []restoredEvent
	for _, e := range events {
		switch {
		case !e.keyed && !e.upsert:
			unkeyed = append(unkeyed, e)
		case r.all:
			forgotten = append(forgotten, e)
		case e.keyed && !e.upsert:
			keyed = append(keyed, e.id)
		}
	}
	if len(keyed) > 0 {
		_, err := tx.ExecContext(ctx, `UPDATE queue SET ambiguous_at = $1
			WHERE (ambiguous_at IS NULL OR ambiguous_at > $1) AND id IN `+
			numberList(keyed), milliseconds(r.taken))
		if err != nil {
			return fmt.Errorf("mark events: %w", err)
		}
	}
	taken := "the store was restored from a backup of " + r.taken.UTC().Format(time.RFC3339) +
		", and the event may have been delivered after it: "
	const remedy = "; `deliveries redrive --reason restored` sends it"
	if err := s.holdEvents(ctx, tx, forgotten, taken+"SaaSquatch may have forgotten its key"+remedy); err != nil {
		return err
	}
	return s.holdEvents(ctx, tx, unkeyed, taken+"it has no idempotency key"+remedy)
}

// holdEvents turns pending events into dead letters.
func (s *Store) holdEvents(ctx context.Context, tx *sql.Tx, events []restoredEvent, detail string) error {
	if len(events) == 0 {
		return nil
	}
	changed, runs := make(sums), make(runSums)
	var users strings.Builder
	for i, e := range events {
		hash := "NULL"
		if found := userHash(e.userID); found != nil {
			hash = strconv.FormatInt(found.(int64), 10)
		}
		if i > 0 {
			users.WriteByte(',')
		}
		fmt.Fprintf(&users, "(%d,%s)", e.id, hash)
		changed.add(e.connection, adapter.Pending, -1, -e.bytes)
		changed.add(e.connection, adapter.Dead, 1, e.bytes)
		runs.settle(e.run, adapter.Dead, mapping.ReasonRestored)
	}
	list := idList(events, func(e *restoredEvent) int64 { return e.id })
	_, err := tx.ExecContext(ctx, `WITH users (id, hash) AS (VALUES `+users.String()+`)
		INSERT INTO deliveries (id, connection, tenant, outcome, body_hash, message_id, user_hash, user_id, account_id,
			event_key, received_at, first_attempt_ms, last_attempt_ms, settled_ms, attempts, status,
			ambiguous, reason, detail, run, event, call)
		SELECT q.id, connection, tenant, 5, body_hash, message_id, CAST(u.hash AS bigint), user_id, account_id,
			event_key, received_at, first_attempt_at - received_at, last_attempt_at - received_at, $1 - received_at,
			attempts, status, 1, $2, $3, run, event, call
		FROM queue q JOIN users u ON u.id = q.id`, milliseconds(s.now()), string(mapping.ReasonRestored), detail)
	if err != nil {
		return fmt.Errorf("settle events: %w", err)
	}
	err = executeEach(ctx, tx, []string{
		`INSERT INTO payloads (delivery, payload, checksum)
			SELECT id, payload, checksum FROM queue WHERE id IN ` + list,
		`INSERT INTO dead_letters (outcome, delivery, connection, bytes)
			SELECT 5, id, connection, length(payload) FROM queue WHERE id IN ` + list,
		`DELETE FROM queue WHERE id IN ` + list,
	})
	if err != nil {
		return fmt.Errorf("hold events: %w", err)
	}
	return errors.Join(s.addSums(ctx, tx, changed), s.addRunSums(ctx, tx, runs))
}
