package deliverytest

import (
	"sync"
	"time"

	"segment-saasquatch/adapter"
)

// Clock is a wall clock and a monotonic clock that tests move. It is safe for concurrent use.
type Clock struct {
	// Process is the time of a process that has these clocks.
	Process *adapter.Clock

	began     time.Time
	elapsed   func() time.Duration
	mu        sync.Mutex
	wall      time.Duration
	monotonic time.Duration
}

// NewClock returns a Clock that goes on by itself.
func NewClock() *Clock {
	began := time.Now()
	return newClock(began, func() time.Duration { return time.Since(began) })
}

// NewStoppedClock returns a Clock that moves only when the test moves it.
func NewStoppedClock() *Clock {
	return newClock(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), func() time.Duration { return 0 })
}

func newClock(began time.Time, elapsed func() time.Duration) *Clock {
	c := &Clock{began: began.Round(0), elapsed: elapsed}
	c.Process = adapter.NewClock(adapter.ClockOptions{Read: c.read})
	return c
}

func (c *Clock) read() (wall time.Time, monotonic time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	elapsed := c.elapsed()
	return c.began.Add(elapsed + c.wall), elapsed + c.monotonic
}

// Now returns the time of the wall clock.
func (c *Clock) Now() time.Time {
	wall, _ := c.read()
	return wall
}

// Advance moves both clocks, as time does.
func (c *Clock) Advance(d time.Duration) { c.Jump(d, d) }

// Jump moves the wall clock and the monotonic clock.
func (c *Clock) Jump(wall, monotonic time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wall += wall
	c.monotonic += monotonic
}
