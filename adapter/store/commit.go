package store

import (
	"context"
	"errors"
	"fmt"
	"runtime"

	"segment-saasquatch/adapter"
)

// Bounds of a transaction. Larger transactions would delay the next callers too much.
const (
	maxRows  = 8192
	maxBytes = 32 << 20
)

// submission is a change that waits for its commit.
type submission struct {
	change change
	done   chan error
}

// commit makes a change durable together with the other waiting changes. Until its turn comes, ctx can withdraw it;
// then nothing has changed.
func (s *Store) commit(ctx context.Context, c change) error {
	defer s.backlog.leave(c)
	submitted := &submission{change: c, done: make(chan error, 1)}
	select {
	case s.submitted <- submitted:
		return <-submitted.done
	case <-ctx.Done():
		return &adapter.UnavailableError{Message: "the store was busy for too long", Err: ctx.Err()}
	case <-s.stopped.Done():
		return &adapter.UnavailableError{Message: "the server is stopping", Err: ErrClosed}
	}
}

// commitAll commits the waiting changes in a loop. The more changes wait, the more events share the cost of one sync.
func (s *Store) commitAll() {
	batch := make([]*submission, 0, 256)
	for {
		select {
		case first := <-s.submitted:
			batch = s.gather(append(batch[:0], first))
			s.applyBatch(batch)
		case <-s.stopped.Done():
			return
		}
	}
}

// gather adds the changes that wait now, up to the bounds of one transaction.
func (s *Store) gather(batch []*submission) []*submission {
	rows, bytes := batch[0].change.weight()
	yields := 0
	for rows < maxRows && bytes < maxBytes {
		select {
		case next := <-s.submitted:
			batch = append(batch, next)
			moreRows, moreBytes := next.change.weight()
			rows, bytes = rows+moreRows, bytes+moreBytes
			yields = 0
		default:
			// Callers that were just answered may be about to submit again. Without this pause they would take turns
			// in small transactions.
			if yields++; yields > 2 {
				return batch
			}
			runtime.Gosched()
		}
	}
	return batch
}

// applyBatch applies the changes together, and one by one if one of them fails the others. It never applies changes
// again that may have been committed.
func (s *Store) applyBatch(batch []*submission) {
	changes := make([]change, len(batch))
	for i := range batch {
		changes[i] = batch[i].change
	}
	err := s.apply(changes)
	if isWithdrawn(err) {
		if batch = withdraw(batch); len(batch) > 0 {
			s.applyBatch(batch)
		}
		return
	}
	if err != nil && len(batch) > 1 && !errors.As(err, new(*adapter.UnavailableError)) &&
		!errors.As(err, new(*unknownCommitError)) {
		for i := range batch {
			batch[i].done <- answer(changes[i], s.apply(changes[i:i+1]))
		}
		return
	}
	for i := range batch {
		batch[i].done <- answer(changes[i], err)
	}
}

// unconfirmedError means that changes were committed to files that a restart does not find. They must not be
// acknowledged.
type unconfirmedError struct{ *adapter.UnavailableError }

func (e *unconfirmedError) Unwrap() error { return e.UnavailableError }

// answer returns the result for the submitter of the change. An outcome that was committed to lost files is not
// recorded again: if the files are put back, it is there.
func answer(c change, err error) error {
	unconfirmed, ok := errors.AsType[*unconfirmedError](err)
	if !ok {
		return err
	}
	if _, ok := c.(recordings); ok {
		return nil
	}
	return unconfirmed.UnavailableError
}

// apply applies the changes and updates the health of the database.
func (s *Store) apply(changes []change) error {
	s.progress.begin()
	defer s.progress.end()
	done, err := s.engine.apply(changes)
	if err == nil {
		s.progress.succeed()
		s.backlog.count(changes)
		s.committed()
		if lost := s.engine.check(); lost != nil {
			unavailable := s.engine.explain(lost)
			s.health.set(unavailable)
			return &unconfirmedError{unavailable}
		}
		s.health.set(nil)
		if s.limits.FreeDisk > 0 {
			_ = s.watchDisk() // the next measurement reports a fault
		}
		s.afterApply(done)
		return nil
	}
	if isWithdrawn(err) {
		return err
	}
	if unavailable := s.engine.explain(err); unavailable != nil {
		s.health.set(unavailable)
		return unavailable
	}
	return fmt.Errorf("write to the store: %w", err)
}
