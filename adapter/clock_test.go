package adapter_test

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"segment-saasquatch/adapter"
)

// clocks are a wall clock and a monotonic clock that tests move.
type clocks struct {
	wall      time.Time
	monotonic time.Duration
}

func newClocks() *clocks { return &clocks{wall: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)} }

func (c *clocks) read() (time.Time, time.Duration) { return c.wall, c.monotonic }

// pass lets time pass on both clocks.
func (c *clocks) pass(d time.Duration) {
	c.wall = c.wall.Add(d)
	c.monotonic += d
}

// TestClock moves the wall clock in every way. Now must never go back by more than the
// tolerance, and must go forward by at least what each of the two clocks does.
func TestClock(t *testing.T) {
	const hour = time.Hour
	for name, test := range map[string]struct {
		jumps  []time.Duration // of the wall clock, with a minute before each
		passed time.Duration   // on Now in the end
		told   []adapter.Jump
	}{
		"none": {[]time.Duration{0, 0}, 2 * time.Minute, nil},
		"back": {[]time.Duration{-hour}, time.Minute, []adapter.Jump{{By: -hour, Offset: hour}}},
		"back twice": {[]time.Duration{-hour, -hour}, 2 * time.Minute,
			[]adapter.Jump{{By: -hour, Offset: hour}, {By: -hour, Offset: 2 * hour}}},
		"back and right again": {[]time.Duration{-hour, hour}, 2 * time.Minute,
			[]adapter.Jump{{By: -hour, Offset: hour}, {By: hour}}},
		"back and almost right": {[]time.Duration{-hour, hour - 3*time.Second}, 2 * time.Minute,
			[]adapter.Jump{{By: -hour, Offset: hour}, {By: hour - 3*time.Second, Offset: 3 * time.Second}}},
		"back and suspended": {[]time.Duration{-hour, 2 * hour}, 2*time.Minute + 2*hour,
			[]adapter.Jump{{By: -hour, Offset: hour}, {By: 2 * hour, Offset: hour}}},
		"forward": {[]time.Duration{25 * hour}, 25*hour + time.Minute,
			[]adapter.Jump{{By: 25 * hour}}},
		"forward and back": {[]time.Duration{25 * hour, -25 * hour}, 25*hour + 2*time.Minute,
			[]adapter.Jump{{By: 25 * hour}, {By: -25 * hour, Offset: 25 * hour}}},
		"a small step is no jump": {[]time.Duration{-900 * time.Millisecond}, time.Minute - 900*time.Millisecond,
			nil},
		"slow drift is no jump": {slices.Repeat([]time.Duration{-400 * time.Millisecond}, 20),
			20*time.Minute - 8*time.Second, nil},
		"forward by a second or two": {[]time.Duration{1500 * time.Millisecond}, time.Minute + 1500*time.Millisecond,
			[]adapter.Jump{{By: 1500 * time.Millisecond}}},
	} {
		t.Run(name, func(t *testing.T) {
			at := newClocks()
			var told []adapter.Jump
			clock := adapter.NewClock(adapter.ClockOptions{Read: at.read,
				OnJump: func(j adapter.Jump) { told = append(told, j) }})
			first := clock.Now()
			for _, jump := range test.jumps {
				at.pass(time.Minute)
				clock.Now()
				before, monotonic, wall := clock.Now(), at.monotonic, at.wall
				at.wall = at.wall.Add(jump)
				now := clock.Now()
				if now.Sub(before) < at.monotonic-monotonic-time.Second {
					t.Errorf("Now went back from %v to %v", before, now)
				}
				undone := len(told) > 0 && told[len(told)-1].Offset < 5*time.Second
				if !undone && now.Sub(before) < at.wall.Sub(wall) {
					t.Errorf("Now went on by %v, the wall clock by %v", now.Sub(before), at.wall.Sub(wall))
				}
			}
			if passed := clock.Now().Sub(first); passed != test.passed || !slices.Equal(told, test.told) {
				t.Errorf("%v passed, want %v; told %+v, want %+v", passed, test.passed, told, test.told)
			}
		})
	}
}

// TestClockOfTheProcess reads the clocks of time.Now.
func TestClockOfTheProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		clock := adapter.NewClock(adapter.ClockOptions{OnJump: func(j adapter.Jump) { t.Errorf("told %+v", j) }})
		for range 3 {
			time.Sleep(25 * time.Minute)
			if now := clock.Now(); !now.Equal(time.Now()) {
				t.Errorf("got %v at %v", now, time.Now())
			}
		}
	})
}
