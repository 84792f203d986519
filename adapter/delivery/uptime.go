package delivery

import (
	"sync"
	"time"
)

const (
	// uptimeGap is the longest time between two readings of the clock that is no gap. The loop
	// reads the clock more often, even while a store hangs.
	uptimeGap = 2 * time.Minute
	// minTrial is how long a process tries an event at least that no attempt can have delivered,
	// whatever the event's age. SaaSquatch or the network may still be down when a process or a
	// machine wakes up.
	minTrial = time.Hour
)

// uptime measures how long a Dispatcher has been running without a gap. A stopped process, a
// suspended machine and a clock that jumps forward all make a gap: time has passed without
// attempts.
type uptime struct {
	mu         sync.Mutex
	last, from time.Time
}

// at returns how long the Dispatcher has been running at the present time now.
func (u *uptime) at(now time.Time) time.Duration {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.from.IsZero() || now.Sub(u.last) > uptimeGap {
		u.from = now
	}
	u.last = now
	return now.Sub(u.from)
}
