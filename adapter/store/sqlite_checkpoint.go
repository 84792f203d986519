package store

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
)

// The write-ahead log goes to the database file in the background, so that no
// event waits for that, as long as the log is not too long.
const (
	checkpointFrames = 1000  // in the background
	forcedFrames     = 16384 // while events wait, 64 MiB
)

// checkpoints decides when to bring the write-ahead log to the database file.
type checkpoints struct {
	frames atomic.Int64 // about how many there are
}

// wrote is told how much a transaction has changed. A row with its payload takes
// its share of a page and of those of the indexes.
func (c *checkpoints) wrote(changes []change) {
	frames := 4
	for _, change := range changes {
		rows, bytes := change.weight()
		frames += rows + int(bytes/3000)
	}
	c.frames.Add(int64(frames))
}

// checkpoint copies what no reader keeps from being copied. The writer goes on
// meanwhile, unless it is the writer's connection that does it: then the log
// begins anew with the next transaction.
func (e *sqliteEngine) checkpoint(ctx context.Context, byWriter bool) error {
	var busy, frames, copied int64
	row := e.checkpointer.QueryRowContext
	if byWriter {
		row = e.connection.QueryRowContext
	}
	if err := row(ctx, `PRAGMA wal_checkpoint(PASSIVE)`).Scan(&busy, &frames, &copied); err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	if copied == frames {
		frames = 0
	}
	e.checkpoints.frames.Store(frames)
	return nil
}

// maintain brings the write-ahead log to the database file and the newest
// messageIds to their table.
func (e *sqliteEngine) maintain(ctx context.Context) error {
	var errs []error
	if !e.shared {
		errs = append(errs, e.mergeMessages(ctx))
	}
	if e.checkpoints.frames.Load() >= checkpointFrames {
		errs = append(errs, e.checkpoint(ctx, false))
	}
	return errors.Join(errs...)
}
