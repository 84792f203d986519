package delivery

import (
	"sync"
	"time"
)

const (
	// uptimeGap is the longest time between two looks at the clock that is no gap. The
	// loop looks more often, even while a store hangs.
	uptimeGap = 2 * time.Minute
	// minTrial is how long a process tries an event at least that no attempt can have
	// delivered, whatever its age: SaaSquatch, or the network, may still be down when a
	// process or a machine wakes up.
	minTrial = time.Hour
)

// uptime knows since when a Dispatcher has been running without a gap. A process that
// was stopped, a machine that was suspended and a clock that jumps forward all make one:
// time has passed in which nothing was tried.
type uptime struct {
	mu         sync.Mutex
	last, from time.Time
}

// at returns how long the Dispatcher has been running at a time that is now.
func (u *uptime) at(now time.Time) time.Duration {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.from.IsZero() || now.Sub(u.last) > uptimeGap {
		u.from = now
	}
	u.last = now
	return now.Sub(u.from)
}
