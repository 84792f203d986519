package store

import (
	"context"
	"database/sql"
	"fmt"
	"strconv"
	"time"

	"segment-saasquatch/adapter"
	"segment-saasquatch/mapping"
)

// Retention bounds how long settled events are kept after their outcome.
type Retention struct {
	// Ledger is for delivered, duplicate and skipped events: for that long a redelivery is recognised. 0 keeps them
	// for ever.
	Ledger time.Duration
	// Dead is for dead and rejected events and their payloads, within Limits.DeadLetters. 0 keeps them for ever.
	Dead time.Duration
	// Payloads is for the payloads of delivered, duplicate and skipped events. 0
	// drops them at once.
	Payloads time.Duration
}

// payload decides whether the payload of an event with this outcome is kept, and until when. The zero time means as
// long as the event.
func (r Retention) payload(outcome adapter.Outcome, settled time.Time) (keep bool, until time.Time) {
	switch outcome {
	case adapter.Dead, adapter.Rejected:
		return true, time.Time{}
	default:
		return r.Payloads > 0, settled.Add(r.Payloads)
	}
}

// Pace of the background work: small steps with pauses, so that no event waits for it.
const (
	retainInterval = time.Minute
	retainRows     = 500
	retainRest     = 50 * time.Millisecond
)

// retain runs Retain periodically.
func (s *Store) retain(ctx context.Context, onError func(error)) {
	for {
		if err := s.Retain(ctx); err != nil && ctx.Err() == nil {
			onError(fmt.Errorf("delete old deliveries: %w", err))
		}
		if adapter.Wait(ctx, retainInterval) != nil {
			return
		}
	}
}

// maintainInterval is the interval of an engine's own work.
const maintainInterval = 250 * time.Millisecond

// maintain runs the engine's own work periodically. Its errors show in the health of the store, since the events'
// transactions meet them too.
func (s *Store) maintain(ctx context.Context) {
	for adapter.Wait(ctx, maintainInterval) == nil {
		_ = s.engine.maintain(ctx)
	}
}

// Retain deletes the deliveries and payloads whose retention is over, or that exceed the limit, and returns the space
// to the file system. The store calls it every minute. It works in small steps, and events go on between them. While
// a reader holds SQLite's write-ahead log beyond its bound, the rest waits for the next call.
func (s *Store) Retain(ctx context.Context) error {
	steps := []func(context.Context) (more bool, err error){
		s.dropPayloads, s.deleteOld(&s.oldRefused), s.deleteOld(&s.oldSettled), s.countDeadLetters,
		s.trimDeadLetters, s.forgetFormer, s.deleteRuns, s.engine.compact,
	}
	for _, step := range steps {
		for {
			if s.engine.strained() {
				return nil
			}
			more, err := step(ctx)
			if err != nil {
				return err
			}
			if !more {
				break
			}
			if err := adapter.Wait(ctx, retainRest); err != nil {
				return err
			}
		}
	}
	return nil
}

// dropPayloads deletes some payloads whose time is over.
func (s *Store) dropPayloads(ctx context.Context) (more bool, err error) {
	now := milliseconds(s.now())
	if s.retention.Payloads == 0 {
		now = 1 << 62 // they were kept by another setting
	}
	err = s.engine.write(ctx, func(tx *sql.Tx) error {
		n, err := affectedRows(tx.ExecContext(ctx, `DELETE FROM payloads WHERE delivery IN (
			SELECT delivery FROM payloads WHERE keep_until <= $1
			ORDER BY keep_until LIMIT `+strconv.Itoa(retainRows)+`)`, now))
		more = n == retainRows
		return err
	})
	return more, err
}

// deleteRuns deletes runs that ended longer ago than the retention of the ledger. They are few, but their objects may
// be many.
func (s *Store) deleteRuns(ctx context.Context) (more bool, err error) {
	if s.retention.Ledger == 0 {
		return false, nil
	}
	before := milliseconds(s.now().Add(-s.retention.Ledger))
	return false, s.engine.write(ctx, func(tx *sql.Tx) error {
		old := ` IN (SELECT id FROM runs
			WHERE ended_at < $1 AND NOT EXISTS (SELECT 1 FROM queue WHERE queue.run = runs.id))`
		for _, table := range []string{"run_objects", "run_outcomes", "run_jobs", "run_rejected"} {
			if _, err := tx.ExecContext(ctx, `DELETE FROM `+table+` WHERE run`+old, before); err != nil {
				return err
			}
		}
		_, err := tx.ExecContext(ctx, `DELETE FROM runs WHERE id`+old, before)
		return err
	})
}

// settled is a row of the log, with the columns that removal needs.
type settled struct {
	id, connection int64
	outcome        adapter.Outcome
	// Only for a redrive.
	run, tenant int64
	reason      mapping.Reason
	messageID   string
	bodyHash    sql.NullInt64
}
