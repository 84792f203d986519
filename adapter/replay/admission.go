package replay

import (
	"context"
	"time"

	"golang.org/x/time/rate"

	"segment-saasquatch/adapter"
)

// Admission limits how many events a run stores, and when.
type Admission interface {
	// Room waits until events may be stored and returns how many: at least one.
	Room(ctx context.Context) (int, error)
	// Stored counts stored events and the bytes of their payloads, without duplicates. It may wait.
	Stored(ctx context.Context, events int, bytes int64) error
}

// queueAdmission keeps the queue short, so that live traffic never waits behind a whole archive.
type queueAdmission struct {
	runs     adapter.RunStore
	run      *adapter.Run
	window   int64
	rate     *rate.Limiter
	progress *Progress

	room int64 // at the last look
}

func newQueueAdmission(runs adapter.RunStore, run *adapter.Run, opts *Options) *queueAdmission {
	limit, burst := rate.Inf, maxBatch
	if opts.Rate > 0 {
		limit, burst = rate.Limit(opts.Rate), max(1, int(opts.Rate/5)) // a fifth of a second's events
	}
	return &queueAdmission{
		runs: runs, run: run, window: int64(opts.Window), rate: rate.NewLimiter(limit, burst), progress: opts.Progress,
	}
}

const (
	// maxPending limits the events of a run that wait for a retry while SaaSquatch is down.
	maxPending = 10_000
	// stateInterval is the time between two looks at the store while there is no room.
	stateInterval = 20 * time.Millisecond
	// yieldInterval is how long the replay leaves delivery to live traffic that waits.
	yieldInterval = 250 * time.Millisecond
)

// Values of Snapshot.Waiting.
const (
	waitingForRoom = "delivery"
	waitingForLive = "live traffic"
	waitingForTime = "retries"
)

func (a *queueAdmission) Room(ctx context.Context) (int, error) {
	for a.room <= 0 {
		state, err := a.runs.RunState(ctx, a.run)
		if err != nil {
			return 0, err
		}
		a.progress.update(func(s *Snapshot) { s.Outcomes = state.Outcomes })
		why, interval := waitingForRoom, stateInterval
		a.room = min(a.window-state.Due, maxPending-state.Pending)
		if state.LiveWaiting {
			a.room, why, interval = 0, waitingForLive, yieldInterval
		}
		if a.room > 0 {
			break
		}
		a.progress.SetWaiting(why)
		if err := adapter.Wait(ctx, interval); err != nil {
			return 0, err
		}
	}
	a.progress.SetWaiting("")
	return int(min(a.room, int64(a.rate.Burst()))), nil
}

// Stored waits as long as the rate limit demands. Duplicates cost nothing.
func (a *queueAdmission) Stored(ctx context.Context, events int, _ int64) error {
	a.room -= int64(events)
	return a.rate.WaitN(ctx, events)
}
