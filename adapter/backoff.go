package adapter

import (
	"context"
	"time"
)

// Wait waits for d. If ctx ends first it returns the error of ctx. If the deadline of ctx comes
// first it returns context.DeadlineExceeded at once.
func Wait(ctx context.Context, d time.Duration) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) <= d {
		return context.DeadlineExceeded
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Backoff is a wait that doubles each time, from Base up to Max. It has no jitter: callers that
// share a server add their own.
type Backoff struct {
	Base, Max time.Duration

	last time.Duration
}

// Next returns the next wait.
func (b *Backoff) Next() time.Duration {
	b.last = min(max(b.Base, 2*b.last), b.Max)
	return b.last
}

// Reset starts again from Base.
func (b *Backoff) Reset() { b.last = 0 }
