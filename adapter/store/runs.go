package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"time"

	"segment-saasquatch/adapter"
)

var _ adapter.RunStore = (*Store)(nil)

// BeginRun makes a run; see [adapter.RunStore].
func (s *Store) BeginRun(ctx context.Context, connection, tenant string, spec json.RawMessage) (*adapter.Run, error) {
	q, err := s.newQueue(ctx, connection, tenant)
	if err != nil {
		return nil, err
	}
	now := s.now()
	run := &adapter.Run{
		Connection: connection, Tenant: tenant, Spec: spec, StartedAt: now, UpdatedAt: now, Owner: rand.Int64(),
	}
	err = s.engine.write(ctx, func(tx *sql.Tx) error {
		return tx.QueryRowContext(ctx, `INSERT INTO runs (connection, tenant, owner, spec, started_at, updated_at)
			VALUES ($1, $2, $3, $4, $5, $5) RETURNING id`,
			q.connection, q.tenant, run.Owner, string(spec), milliseconds(now)).Scan(&run.ID)
	})
	if err != nil {
		return nil, s.explained("begin a run", err)
	}
	return run, nil
}

// TakeRun makes the caller the owner of a run; see [adapter.RunStore].
func (s *Store) TakeRun(
	ctx context.Context, id int64,
) (run *adapter.Run, objects []adapter.ObjectProgress, err error) {
	q, err := s.queueOf(ctx, id)
	if err == nil {
		err = s.checkRun(ctx, id, q)
	}
	if err != nil {
		return nil, nil, err
	}
	owner := rand.Int64()
	err = s.engine.write(ctx, func(tx *sql.Tx) error {
		const query = `UPDATE runs SET owner = $1, ended_at = NULL WHERE id = $2`
		found, err := affected(tx.ExecContext(ctx, query, owner, id))
		if err == nil && !found {
			return adapter.ErrNoRun
		}
		return err
	})
	if err != nil {
		return nil, nil, s.explained(fmt.Sprintf("take run %d", id), err)
	}
	if run, objects, err = s.Run(ctx, id); err != nil {
		return nil, nil, err
	}
	run.Owner = owner
	return run, objects, nil
}

// Run returns a run; see [adapter.RunStore].
func (s *Store) Run(ctx context.Context, id int64) (run *adapter.Run, objects []adapter.ObjectProgress, err error) {
	err = s.read(ctx, func(tx *sql.Tx) error {
		runs, err := s.readRuns(ctx, tx, id)
		if err != nil {
			return err
		}
		if len(runs) == 0 || id == 0 {
			return adapter.ErrNoRun
		}
		run = &runs[0]
		objects, err = readObjects(ctx, tx, id)
		return err
	})
	if err != nil {
		return nil, nil, s.explained(fmt.Sprintf("read run %d", id), err)
	}
	return run, objects, nil
}

// Runs returns all runs; see [adapter.RunStore].
func (s *Store) Runs(ctx context.Context) ([]adapter.Run, error) {
	runs, err := readValue(ctx, s.read, func(tx *sql.Tx) ([]adapter.Run, error) { return s.readRuns(ctx, tx, 0) })
	return runs, s.explained("list the runs", err)
}

// readRuns reads one run, or all of them if id is 0.
func (s *Store) readRuns(ctx context.Context, tx *sql.Tx, id int64) (runs []adapter.Run, err error) {
	var connection, tenant, started, updated int64
	var spec string
	var progress sql.NullString
	var ended sql.NullInt64
	var number int64
	rows, err := tx.QueryContext(ctx, `SELECT id, connection, tenant, spec, progress, started_at, updated_at, ended_at
		FROM runs WHERE id = $1 OR $1 = 0 ORDER BY id DESC`, id)
	err = eachRowUntil(rows, err, func() (err error) {
		run := adapter.Run{ID: number, Spec: json.RawMessage(spec), EndedAt: nullTime(ended)}
		run.StartedAt, run.UpdatedAt = time.UnixMilli(started).UTC(), time.UnixMilli(updated).UTC()
		if progress.Valid {
			run.Progress = json.RawMessage(progress.String)
		}
		run.Connection, run.Tenant, err = s.names.both(connection, tenant)
		runs = append(runs, run)
		return err
	}, &number, &connection, &tenant, &spec, &progress, &started, &updated, &ended)
	if err != nil {
		return nil, err
	}
	for i := range runs {
		if runs[i].Outcomes, err = readOutcomes(ctx, tx, runs[i].ID); err != nil {
			return nil, err
		}
	}
	return runs, nil
}

// readOutcomes reads the counts of a run's events by outcome and reason.
func readOutcomes(ctx context.Context, tx *sql.Tx, run int64) ([]adapter.Tally, error) {
	rows, err := tx.QueryContext(ctx, `SELECT outcome, reason, CAST(sum(events) AS bigint) FROM run_outcomes
		WHERE run = $1
		GROUP BY outcome, reason HAVING sum(events) <> 0 ORDER BY outcome, reason`, run)
	tallies, err := allRows(rows, err, func(t *adapter.Tally) []any { return []any{&t.Outcome, &t.Reason, &t.Events} })
	if err == nil && tallies == nil {
		tallies = []adapter.Tally{}
	}
	return tallies, err
}

func readObjects(ctx context.Context, tx *sql.Tx, run int64) (objects []adapter.ObjectProgress, err error) {
	var o adapter.ObjectProgress
	var done int64
	var fault sql.NullString
	rows, err := tx.QueryContext(ctx, `SELECT object, version, lines, done, fault FROM run_objects
		WHERE run = $1 ORDER BY object`, run)
	err = eachRow(rows, err, func() {
		o.Done, o.Fault = done != 0, fault.String
		objects = append(objects, o)
	}, &o.Object, &o.Version, &o.Lines, &done, &fault)
	return objects, err
}

// liveWait is how long an event of live traffic may be due before it counts as waiting. An event in flight is usually
// due for less.
const liveWait = 2 * time.Second

// RunState returns the state of a run; see [adapter.RunStore].
func (s *Store) RunState(ctx context.Context, run *adapter.Run) (state *adapter.RunState, err error) {
	q, err := s.queueOf(ctx, run.ID)
	if err == nil {
		err = s.checkRun(ctx, run.ID, q)
	}
	if err != nil {
		return nil, err
	}
	now := s.now()
	state = &adapter.RunState{}
	err = s.read(ctx, func(tx *sql.Tx) error {
		if state.Outcomes, err = readOutcomes(ctx, tx, run.ID); err != nil {
			return err
		}
		// A leased event may be due only at the end of its lease.
		err := tx.QueryRowContext(ctx, `SELECT count(*) FROM queue
			WHERE run = $1 AND (due_at <= $2 OR lease IS NOT NULL) AND due_at < `+heldText,
			run.ID, milliseconds(now)).Scan(&state.Due)
		if err != nil {
			return err
		}
		return tx.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM queue
			WHERE connection = $1 AND tenant = $2 AND due_at <= $3 AND run IS NULL)`,
			q.connection, q.tenant, milliseconds(now.Add(-liveWait))).Scan(&state.LiveWaiting)
	})
	if err != nil {
		return nil, s.explained("ask for the state of a run", err)
	}
	for _, tally := range state.Outcomes {
		if tally.Outcome == adapter.Pending {
			state.Pending += tally.Events
		}
	}
	return state, nil
}

// EndRun ends a run; see [adapter.RunStore].
func (s *Store) EndRun(ctx context.Context, run *adapter.Run) error {
	err := s.engine.write(ctx, func(tx *sql.Tx) error {
		found, err := affected(tx.ExecContext(ctx,
			`UPDATE runs SET ended_at = $1, updated_at = $1 WHERE id = $2 AND owner = $3`,
			milliseconds(s.now()), run.ID, run.Owner))
		if err == nil && !found {
			return adapter.ErrRunTaken
		}
		return err
	})
	return s.explained("end a run", err)
}
