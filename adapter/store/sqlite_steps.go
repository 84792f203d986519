package store

import (
	"context"
	"time"

	"segment-saasquatch/adapter"
)

// Bounds of the time that a step leaves to the events of this process before it waits for the writer.
const (
	yieldFor   = 20 * time.Millisecond
	yieldPause = 500 * time.Microsecond
)

// yield waits until no transaction of events has the writer.
func (e *sqliteEngine) yield(ctx context.Context) {
	for waited := time.Duration(0); waited < yieldFor && len(e.writing) > 0; waited += yieldPause {
		if adapter.Wait(ctx, yieldPause) != nil {
			return
		}
	}
}

// stepped keeps the write-ahead log short. The writer goes on while it copies most of the log.
func (e *sqliteEngine) stepped(ctx context.Context) {
	_ = e.maintainLog(ctx) // if it fails the log grows, and the next step tries again
}
