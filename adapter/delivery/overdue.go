package delivery

import (
	"context"
	"sync/atomic"
	"time"

	"segment-saasquatch/adapter"
)

// recordPatience is how long an outcome may wait to be recorded before no further attempt begins.
const recordPatience = 2 * time.Second

// overdue counts the outcomes that have waited for the store for longer than recordPatience. While
// there is one, the outcome of a new attempt could not be recorded either, and its event would be
// sent once more after its lease.
type overdue struct{ waiting atomic.Int64 }

// any reports whether an outcome is overdue.
func (o *overdue) any() bool { return o.waiting.Load() > 0 }

// recordWatch measures the wait of one outcome.
type recordWatch struct {
	of    *overdue
	timer *time.Timer
	ended bool
}

// watch begins the wait of an outcome.
func (o *overdue) watch() *recordWatch {
	return &recordWatch{of: o, timer: time.AfterFunc(recordPatience, func() { o.waiting.Add(1) })}
}

// end ends the wait. After the first call, further ones do nothing.
func (w *recordWatch) end() {
	if w.ended {
		return
	}
	w.ended = true
	if !w.timer.Stop() {
		w.of.waiting.Add(-1)
	}
}

// awaitRecording waits while outcomes are overdue, at most until the event's lease is over. It
// returns false if ctx ended before that.
func (d *Dispatcher) awaitRecording(ctx context.Context, event *adapter.Leased) bool {
	for d.overdue.any() && !d.leaseOver(event) {
		if adapter.Wait(ctx, leaseRest.Base) != nil {
			return false
		}
	}
	return true
}
