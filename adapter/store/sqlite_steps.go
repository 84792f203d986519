package store

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Bounds of the time that a step leaves the writer to the events of this process before it
// queues for it.
const (
	yieldFor   = 20 * time.Millisecond
	yieldPause = 500 * time.Microsecond
)

// yield waits until no transaction of events has the writer.
func (e *sqliteEngine) yield(ctx context.Context) {
	for waited := time.Duration(0); waited < yieldFor && len(e.writing) > 0; waited += yieldPause {
		if !rest(ctx, yieldPause) {
			return
		}
	}
}

// Bounds of the write-ahead log during operators' work.
const (
	// stepFrames is how much steps add to the log before it begins anew: 16 MiB. The live
	// events of that time come on top.
	stepFrames = 4096
	// restartRetry is how much they add before the next try where it could not.
	restartRetry = 256
	// restartPatience is how long a restart of the log waits for other processes and for
	// readers, while no event is stored.
	restartPatience = 5 * time.Millisecond
)

// stepped counts what the step added to the write-ahead log, and has it begin anew.
func (e *sqliteEngine) stepped(ctx context.Context, rows int, bytes int64) {
	frames := e.checkpoints.add(rows, bytes)
	limit := min(stepFrames, e.forcedFrames())
	if e.stepFrames += frames; e.stepFrames < limit {
		return
	}
	e.stepFrames = 0
	if e.restartLog(ctx) != nil {
		e.stepFrames = limit - restartRetry
	}
}

// errLogInUse means that another process or a reader keeps the log from beginning anew.
var errLogInUse = errors.New("the write-ahead log is in use")

// restartLog has the log begin anew with the next transaction. Most of it is copied to the
// database file while the writer goes on.
func (e *sqliteEngine) restartLog(ctx context.Context) (err error) {
	if err := e.checkpoint(ctx, false); err != nil {
		return err
	}
	select {
	case e.writing <- struct{}{}:
		defer e.unlockWriter()
	case <-ctx.Done():
		return ctx.Err()
	}
	if err := e.check(); err != nil {
		return err
	}
	setPatience := func(d time.Duration) error {
		return runPragma(ctx, e.connection, fmt.Sprintf(`PRAGMA busy_timeout(%d)`, d.Milliseconds()))
	}
	if err := setPatience(restartPatience); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, setPatience(busyTimeout)) }()
	var busy, frames, copied int64
	row := e.connection.QueryRowContext(ctx, `PRAGMA wal_checkpoint(RESTART)`)
	if err := row.Scan(&busy, &frames, &copied); err != nil {
		return fmt.Errorf("begin the write-ahead log anew: %w", err)
	}
	if busy != 0 {
		return errLogInUse
	}
	e.checkpoints.frames.Store(0)
	return nil
}
