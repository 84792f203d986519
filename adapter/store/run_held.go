package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"

	"segment-saasquatch/adapter"
)

var _ adapter.ImportStore = (*Store)(nil)

// Held returns events that wait for an import job; see [adapter.ImportStore].
func (s *Store) Held(
	ctx context.Context, run *adapter.Run, after int64, limit int, maxBytes int64,
) ([]adapter.Leased, error) {
	held, err := readValue(ctx, s.read, func(tx *sql.Tx) ([]adapter.Leased, error) {
		return readHeld(ctx, tx, run.ID, after, limit, maxBytes)
	})
	return held, s.explained("read the held events of a run", err)
}

func readHeld(
	ctx context.Context, tx *sql.Tx, run, after int64, limit int, maxBytes int64,
) (held []adapter.Leased, err error) {
	if maxBytes <= 0 {
		return nil, nil
	}
	var l adapter.Leased
	var row leasedRow
	rows, err := tx.QueryContext(ctx, `SELECT id, message_id, coalesce(body_hash, 1) = 0, user_id, account_id,
			received_at, attempts, failed, first_attempt_at, ambiguous_at, sending_at, payload, checksum
		FROM queue WHERE run = $1 AND due_at = `+heldText+` AND id > $2 ORDER BY id LIMIT $3`, run, after, limit)
	err = eachRowUntil(rows, err, func() error {
		l.Run, l.Token = run, run
		row.complete(&l)
		held = append(held, l)
		if maxBytes -= int64(len(l.Payload)); maxBytes <= 0 {
			return errEnough
		}
		return nil
	}, &l.ID, &l.MessageID, &l.Keyed, &l.UserID, &row.account, &row.received, &l.Attempts, &l.Failed, &row.first,
		&row.ambiguous, &row.sending, &l.Payload, &row.checksum)
	return held, err
}

// Settle records the outcome of a held event; see [adapter.ImportStore].
func (s *Store) Settle(ctx context.Context, run *adapter.Run, held *adapter.Leased, step adapter.Step) error {
	q, err := s.queueOf(ctx, run.ID)
	if err != nil {
		return err
	}
	return q.Record(ctx, held, step)
}

// Jobs returns the import jobs of a run; see [adapter.ImportStore].
func (s *Store) Jobs(ctx context.Context, run *adapter.Run) ([]adapter.RunJob, error) {
	jobs, err := readValue(ctx, s.read, func(tx *sql.Tx) ([]adapter.RunJob, error) {
		return readJobs(ctx, tx, run.ID)
	})
	return jobs, s.explained("read the import jobs of a run", err)
}

func readJobs(ctx context.Context, tx *sql.Tx, run int64) (jobs []adapter.RunJob, err error) {
	var job adapter.RunJob
	var state string
	rows, err := tx.QueryContext(ctx, `SELECT number, first_id, last_id, state FROM run_jobs
		WHERE run = $1 ORDER BY number`, run)
	err = eachRow(rows, err, func() {
		job.State = json.RawMessage(state)
		jobs = append(jobs, job)
	}, &job.Number, &job.First, &job.Last, &state)
	return jobs, err
}

// PutJob records an import job; see [adapter.ImportStore].
func (s *Store) PutJob(ctx context.Context, run *adapter.Run, job adapter.RunJob) error {
	err := s.engine.write(ctx, func(tx *sql.Tx) error {
		found, err := affected(tx.ExecContext(ctx, `UPDATE runs SET updated_at = $1 WHERE id = $2 AND owner = $3`,
			milliseconds(s.now()), run.ID, run.Owner))
		if err != nil {
			return err
		}
		if !found {
			return adapter.ErrRunTaken
		}
		_, err = tx.ExecContext(ctx, `INSERT INTO run_jobs (run, number, first_id, last_id, state)
			VALUES ($1, $2, $3, $4, $5)
			ON CONFLICT (run, number) DO UPDATE
				SET first_id = excluded.first_id, last_id = excluded.last_id, state = excluded.state`,
			run.ID, job.Number, job.First, job.Last, string(job.State))
		return err
	})
	return s.explained(fmt.Sprintf("record import job %d", job.Number), err)
}
