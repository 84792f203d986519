package delivery_test

import (
	"context"
	"time"

	"segment-saasquatch/adapter"
)

// longPoll is a queue in memory whose Lease waits until there is something to lease. A
// Dispatcher polls its queue twice a second, which would take most of the time of a test
// of simulated days.
type longPoll struct {
	adapter.Queue
	// untilDue returns how long it takes until the next event is due, at most longest.
	untilDue func(longest time.Duration) time.Duration
}

// longestPoll is how late a lease that has ended may be noticed. A Dispatcher takes two
// minutes without a look at the clock for a gap in its uptime.
const longestPoll = 20 * time.Second

func (q longPoll) Lease(ctx context.Context, limit int, maxBytes int64) ([]adapter.Leased, error) {
	leased, err := q.Queue.Lease(ctx, limit, maxBytes)
	if err != nil || len(leased) > 0 || ctx.Err() != nil {
		return leased, err
	}
	timer := time.NewTimer(q.untilDue(longestPoll))
	defer timer.Stop()
	select {
	case <-q.Wake():
	case <-timer.C:
	case <-ctx.Done():
		return nil, nil
	}
	return q.Queue.Lease(ctx, limit, maxBytes)
}

func (q *simulatedQueue) untilDue(longest time.Duration) time.Duration {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.due) == 0 {
		return longest
	}
	return min(longest, q.due[0].at.Sub(q.now()))
}

func (q *memoryQueue) untilDue(longest time.Duration) time.Duration {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, e := range q.events {
		if !e.taken {
			longest = min(longest, time.Until(e.due))
		}
	}
	return longest
}
