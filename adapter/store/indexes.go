package store

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"segment-saasquatch/adapter"
)

// If an earlier version has left events without the indexes of the log by outcome and by run, the background makes
// the indexes. So neither the start nor an event waits for them. Until they are complete, filters scan the log.

// indexInterval is the time between two tries after an error. Each try may cost the database minutes of work.
const indexInterval = time.Hour

// indexed reports whether the indexes of the log are complete. Complete indexes stay complete.
func (s *Store) indexed(ctx context.Context, tx *sql.Tx) (bool, error) {
	if s.isIndexed.Load() {
		return true, nil
	}
	complete, err := s.engine.indexed(ctx, tx)
	if err != nil {
		return false, fmt.Errorf("look at the indexes: %w", err)
	}
	if complete {
		s.isIndexed.Store(true)
	}
	return complete, nil
}

// completeIndexes lets the engine complete the indexes.
func (s *Store) completeIndexes(ctx context.Context, onError func(error)) {
	for {
		err := s.index(ctx)
		if err == nil || ctx.Err() != nil {
			return
		}
		onError(fmt.Errorf("index the deliveries: %w", err))
		if adapter.Wait(ctx, indexInterval) != nil {
			return
		}
	}
}

// index completes the indexes in steps. Events go on between the steps.
func (s *Store) index(ctx context.Context) error {
	for {
		next, err := s.engine.index(ctx)
		if err != nil || next == 0 {
			return err
		}
		if err := adapter.Wait(ctx, next); err != nil {
			return err
		}
	}
}
