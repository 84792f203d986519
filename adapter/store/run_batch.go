package store

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"

	"segment-saasquatch/adapter"
	"segment-saasquatch/mapping"
)

// heldUntil is the due time of an event that waits for an import job: never.
const heldUntil = 1 << 62

var heldText = strconv.Itoa(heldUntil)

// AcceptBatch stores a batch of a run; see [adapter.RunStore].
func (s *Store) AcceptBatch(ctx context.Context, run *adapter.Run, batch *adapter.Batch) error {
	q, err := s.queueOf(ctx, run.ID)
	if err == nil {
		err = s.checkRun(ctx, run.ID, q)
	}
	if err != nil {
		return err
	}
	if err := s.health.refuses(); err != nil {
		return err
	}
	events, err := s.nameEvents(ctx, batch.Arrivals)
	if err != nil {
		return err
	}
	a := &acceptance{queue: q, arrivals: batch.Arrivals, events: events, at: s.now(), run: run, batch: batch}
	rows, bytes := a.weight()
	if err := s.admit(q, rows, bytes); err != nil {
		return err
	}
	if err := s.commit(ctx, a); err != nil {
		return err
	}
	if !batch.Held {
		s.wakeAll()
	}
	return nil
}

// queueOf returns a queue of a run's connection and tenant.
func (s *Store) queueOf(ctx context.Context, run int64) (*Queue, error) {
	s.mu.Lock()
	q, ok := s.runs[run]
	s.mu.Unlock()
	if ok {
		return q, nil
	}
	q = &Queue{store: s, wake: make(chan struct{}, 1)}
	err := s.read(ctx, func(tx *sql.Tx) error {
		err := tx.QueryRowContext(ctx, `SELECT connection, tenant FROM runs WHERE id = $1`, run).
			Scan(&q.connection, &q.tenant)
		if errors.Is(err, sql.ErrNoRows) {
			return adapter.ErrNoRun
		}
		return err
	})
	if err != nil {
		return nil, s.explained(fmt.Sprintf("read run %d", run), err)
	}
	var name string
	err = s.names.resolve(ctx, func() (err error) {
		name, err = s.names.name(q.connection)
		return err
	})
	if err != nil {
		return nil, s.explained(fmt.Sprintf("read the connection of run %d", run), err)
	}
	q.share = s.limits.Shares[name]
	s.mu.Lock()
	defer s.mu.Unlock()
	s.runs[run] = q
	return q, nil
}

// runID returns the number of the replay, 0 for live traffic.
func (a *acceptance) runID() int64 {
	if a.run == nil {
		return 0
	}
	return a.run.ID
}

// due returns the due time of the events.
func (a *acceptance) due() int64 {
	if a.run != nil && a.batch.Held {
		return heldUntil
	}
	return milliseconds(a.at)
}

// lease returns the token of events that wait for an import job. Such a lease does not end, so no one else delivers
// or redrives them.
func (a *acceptance) lease() any {
	if a.run != nil && a.batch.Held {
		return a.run.ID
	}
	return nil
}

// reasonOf returns the reason of an arrival in the counts of its run.
func (a *acceptance) reasonOf(i int, outcome adapter.Outcome) mapping.Reason {
	if outcome == adapter.Pending {
		return ""
	}
	return a.arrivals[i].Reason
}

// digest identifies the payload of a rejected arrival of a run.
func (a *acceptance) digest(arrival *adapter.Arrival) []byte {
	hash := sha256.New()
	_ = binary.Write(hash, binary.BigEndian, [2]int64{a.queue.connection, a.queue.tenant}) // a hash takes everything
	_, _ = hash.Write(arrival.Payload)
	return hash.Sum(nil)
}

// advance records the progress of a run.
func (t *transaction) advance(a *acceptance) error {
	if a.run == nil {
		return nil
	}
	found, err := affected(t.runProgress.Exec(
		a.run.ID, a.run.Owner, orNull(string(a.batch.Progress)), milliseconds(a.at)))
	if err != nil {
		return fmt.Errorf("record the progress of a run: %w", err)
	}
	if !found {
		return adapter.ErrRunTaken
	}
	for i := range a.batch.Objects {
		o := &a.batch.Objects[i]
		_, err := t.runObject.Exec(a.run.ID, o.Object, o.Version, o.Lines, asInt(o.Done), orNull(cut(o.Fault)))
		if err != nil {
			return fmt.Errorf("record the progress in an object: %w", err)
		}
	}
	for _, tally := range a.batch.Tallies {
		t.runs.add(a.run.ID, tally.Outcome, tally.Reason, tally.Events)
	}
	return nil
}
