package replay

import (
	"context"
	"time"

	"golang.org/x/time/rate"

	"segment-saasquatch/adapter"
)

// admission decides how many events go into the queue, and when: no more than can
// be delivered soon, so that live traffic never stands behind a whole archive.
type admission struct {
	replays adapter.RunStore
	run     *adapter.Run
	window  int64
	rate    *rate.Limiter // nil for no limit
	waiting func(why string)
	state   func(*adapter.RunState)

	room int64 // as of the last look
}

const (
	// maxBatch is how many events are stored at a time.
	maxBatch = 512
	// maxPending bounds the events of a run that wait for their next attempt, while
	// SaaSquatch is down.
	maxPending = 10_000
	// stateInterval is how often the store is asked while there is no room.
	stateInterval = 20 * time.Millisecond
	// yieldInterval is how long live traffic that waits has the delivery to itself.
	yieldInterval = 250 * time.Millisecond
)

// What a replay waits for.
const (
	waitingForRoom = "delivery"
	waitingForLive = "live traffic"
	waitingForTime = "retries"
)

// await returns how many events may be stored now, at least one. It fails if ctx
// ends, or the store cannot be asked.
func (a *admission) await(ctx context.Context) (int, error) {
	for a.room <= 0 {
		state, err := a.replays.RunState(ctx, a.run)
		if err != nil {
			return 0, err
		}
		a.state(state)
		interval := stateInterval
		switch a.room = min(a.window-state.Due, maxPending-state.Pending); {
		case state.LiveWaiting:
			a.room = 0
			interval = yieldInterval
			a.waiting(waitingForLive)
		case a.room <= 0:
			a.waiting(waitingForRoom)
		}
		if a.room <= 0 {
			if err := adapter.Wait(ctx, interval); err != nil {
				return 0, err
			}
		}
	}
	a.waiting("")
	return int(min(a.room, maxBatch, a.burst())), nil
}

// burst is how many events may be stored at once under the rate limit.
func (a *admission) burst() int64 {
	if a.rate == nil {
		return maxBatch
	}
	return int64(a.rate.Burst())
}

// took counts events that were stored, and waits as long as the rate limit
// demands. Duplicates cost nothing.
func (a *admission) took(ctx context.Context, events int) error {
	a.room -= int64(events)
	if a.rate == nil || events == 0 {
		return nil
	}
	return a.rate.WaitN(ctx, events)
}

// newRate returns the limiter of a rate, nil for none. Its burst is a fifth of a
// second's events.
func newRate(perSecond float64) *rate.Limiter {
	if perSecond <= 0 {
		return nil
	}
	return rate.NewLimiter(rate.Limit(perSecond), max(1, int(perSecond/5)))
}
