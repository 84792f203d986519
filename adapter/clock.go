package adapter

import (
	"sync"
	"time"
)

// Clock is the time of a process. Now is the time of the wall clock until the wall clock goes back.
// Then Now goes on from the time that it had. So nothing waits until the wall clock catches up, and
// no age or lease becomes longer.
//
// Now follows a wall clock that goes forward, because a suspended machine stops the monotonic clock
// but not the time. So a lease has ended as soon as one of the two clocks says so.
//
// The hole: the offset ends with the process. The next process compares the wall clock with times
// on disk that may be ahead of it by the offset.
//
// A Clock is safe for concurrent use.
type Clock struct {
	read   func() (wall time.Time, monotonic time.Duration)
	onJump func(Jump)

	mu     sync.Mutex
	offset time.Duration // from the wall clock to Now, never negative
	// wall and monotonic are an earlier reading, to compare the next one with.
	wall      time.Time
	monotonic time.Duration
}

// Jump is a step of the wall clock that the monotonic clock did not make.
type Jump struct {
	// By is how far the wall clock went forward; it is negative if the clock went back.
	By time.Duration
	// Offset is how far the process's time is ahead of the wall clock after the jump.
	Offset time.Duration
}

// ClockOptions are the choices of a Clock.
type ClockOptions struct {
	// Read returns the wall clock, and the monotonic clock since any moment, at the same instant.
	// Default: those of time.Now.
	Read func() (wall time.Time, monotonic time.Duration)
	// OnJump is called for each jump, by the caller of Now that notices it. Default: none.
	OnJump func(Jump)
}

const (
	// jumpTolerance is the largest step that is no jump. Now follows it, even back.
	jumpTolerance = time.Second
	// undoTolerance is how much a jump forward may differ from the offset that it undoes.
	undoTolerance = 5 * time.Second
	// comparedFor is how long readings are compared with the same earlier one. Clocks that drift
	// apart by less than jumpTolerance in that time do not jump.
	comparedFor = time.Minute
)

// NewClock returns a Clock that starts at the time of the wall clock.
func NewClock(opts ClockOptions) *Clock {
	if opts.Read == nil {
		began := time.Now()
		opts.Read = func() (time.Time, time.Duration) {
			now := time.Now()
			return now.Round(0), now.Sub(began)
		}
	}
	if opts.OnJump == nil {
		opts.OnJump = func(Jump) {}
	}
	c := &Clock{read: opts.Read, onJump: opts.OnJump}
	c.wall, c.monotonic = opts.Read()
	return c
}

// Now returns the time, without a monotonic reading. It is never more than
// jumpTolerance, 1 s, before the time of an earlier call.
func (c *Clock) Now() time.Time {
	now, jump := c.now()
	if jump.By != 0 {
		c.onJump(jump)
	}
	return now
}

func (c *Clock) now() (now time.Time, jump Jump) {
	c.mu.Lock()
	defer c.mu.Unlock()
	wall, monotonic := c.read()
	passed := monotonic - c.monotonic
	by := wall.Sub(c.wall) - passed
	switch {
	case by < -jumpTolerance:
		c.offset -= by
		jump.By = by
	case by > jumpTolerance:
		// The clock was set right again; the machine was not suspended.
		if c.offset > 0 && (by-c.offset).Abs() <= undoTolerance {
			c.offset = max(0, c.offset-by)
		}
		jump.By = by
	}
	if jump.By != 0 || passed >= comparedFor {
		c.wall, c.monotonic = wall, monotonic
	}
	jump.Offset = c.offset
	return wall.Add(c.offset), jump
}
