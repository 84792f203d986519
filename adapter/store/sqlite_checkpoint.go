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

// forcedFrames is the length of the log that is not waited with: half of the ballast is
// room enough to copy it on a full disk.
func (e *sqliteEngine) forcedFrames() int64 {
	if e.ballast.size == 0 {
		return forcedFrames
	}
	return min(forcedFrames, e.ballast.size/2/pageSize)
}

// checkpoints decides when to bring the write-ahead log to the database file.
type checkpoints struct {
	frames atomic.Int64 // about how many there are
}

// wrote is told how much a transaction has changed.
func (c *checkpoints) wrote(changes []change) {
	rows, bytes := 0, int64(0)
	for _, change := range changes {
		moreRows, moreBytes := change.weight()
		rows, bytes = rows+moreRows, bytes+moreBytes
	}
	c.add(rows, bytes)
}

// add counts the frames of a transaction. A row with its payload takes its share of a page
// and of those of the indexes.
func (c *checkpoints) add(rows int, bytes int64) (frames int64) {
	frames = 4 + int64(rows) + bytes/3000
	c.frames.Add(frames)
	return frames
}

// checkpoint copies what no reader keeps from being copied. The writer goes on
// meanwhile, unless it is the writer's connection that does it: then the log
// begins anew with the next transaction.
func (e *sqliteEngine) checkpoint(ctx context.Context, byWriter bool) error {
	if err := e.check(); err != nil { // lost files stay as they are, to be copied
		return err
	}
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
// messageIds to their table, and keeps the ballast.
func (e *sqliteEngine) maintain(ctx context.Context) error {
	var errs []error
	if !e.shared {
		errs = append(errs, e.mergeMessages(ctx), e.ballast.keep())
	}
	if e.checkpoints.frames.Load() >= min(checkpointFrames, e.forcedFrames()) {
		errs = append(errs, e.checkpoint(ctx, false))
	}
	return errors.Join(errs...)
}
