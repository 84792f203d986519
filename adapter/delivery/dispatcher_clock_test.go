package delivery_test

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"segment-saasquatch/adapter"
	"segment-saasquatch/mapping"
)

// jumping is the clock of a process whose wall clock tests move.
type jumping struct {
	*adapter.Clock
	ahead atomic.Int64 // of the wall clock, to the time that permits
}

func newJumping() *jumping {
	j := &jumping{}
	began := time.Now()
	j.Clock = adapter.NewClock(adapter.ClockOptions{Read: func() (time.Time, time.Duration) {
		return time.Now().Round(0).Add(time.Duration(j.ahead.Load())), time.Since(began)
	}})
	return j
}

// jump moves the wall clock.
func (j *jumping) jump(d time.Duration) { j.ahead.Add(int64(d)) }

// onClock has the dispatcher and its queue use a clock that jumps.
func (s *simulation) onClock() *jumping {
	j := newJumping()
	s.options.Now, s.queue.now = j.Now, j.Now
	return j
}

// TestClockGoesBack sets the clock back by an hour while events wait for their next
// attempt. They must not wait for the hour to permit again.
func TestClockGoesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		s := newSimulation(t, func(*mapping.UserEvent) adapter.Attempt {
			if time.Since(began) < 20*time.Second {
				return unreachable
			}
			return delivered
		})
		clock := s.onClock()
		s.accept("u", "message-1")
		stop := s.start()
		pass(10 * time.Second)
		clock.jump(-time.Hour)
		s.accept("v", "message-2")
		pass(2 * time.Minute)
		for _, id := range []string{"message-1", "message-2"} {
			got := s.result(id)
			if got.Outcome != adapter.Delivered || got.Lag < 0 || got.Lag > 2*time.Minute || got.Duration < 0 {
				t.Errorf("%s: got %+v", id, got)
			}
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

// TestKeyEndsBySuspendedTime sets the clock back and suspends the machine, with an event
// that SaaSquatch may have. It must not be sent once its horizon has passed in truth.
func TestKeyEndsBySuspendedTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var sent atomic.Int64
		s := newSimulation(t, func(*mapping.UserEvent) adapter.Attempt {
			sent.Add(1)
			return serverError
		})
		clock := s.onClock()
		s.accept("u", "message-1")
		stop := s.start()
		pass(time.Minute)
		clock.jump(-2 * time.Hour)
		pass(time.Minute)
		before := sent.Load()
		clock.jump(adapter.DefaultHorizon) // that no monotonic clock has seen
		pass(time.Hour)
		if got := s.result("message-1"); got.Reason != mapping.ReasonHorizonOver || sent.Load() > before {
			t.Errorf("sent %d times beyond the horizon, got %+v", sent.Load()-before, got)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

// TestNothingDiesAsleep moves the clock forward by 25 hours, or stops the process for as
// long, while SaaSquatch cannot be reached. No attempt can have delivered the events, so
// none may be given up before SaaSquatch could be reached for a while.
func TestNothingDiesAsleep(t *testing.T) {
	const asleep = 25 * time.Hour
	for name, test := range map[string]struct {
		leaseFor time.Duration
		upserts  bool // in front of the events
		after    time.Duration
		sleep    func(s *simulation, clock *jumping, stop func() error) (again func() error)
	}{
		"jump between attempts": {after: 3 * time.Second, sleep: jumpBy(asleep)},
		// Attempts take 2 s and begin when the event is accepted.
		"jump during an attempt":      {after: time.Second, sleep: jumpBy(asleep)},
		"jump while leased":           {leaseFor: 90 * time.Second, after: 3 * time.Second, sleep: jumpBy(asleep)},
		"jump during a leased one":    {leaseFor: 90 * time.Second, after: time.Second, sleep: jumpBy(asleep)},
		"jump, upserts in front":      {upserts: true, after: 3 * time.Second, sleep: jumpBy(asleep)},
		"jump during an upsert":       {upserts: true, after: time.Second, sleep: jumpBy(asleep)},
		"two jumps":                   {after: time.Second, sleep: jumpBy(asleep, asleep)},
		"jump while paused":           {after: 3 * time.Minute, sleep: jumpBy(asleep)},
		"stopped and started again":   {after: 3 * time.Second, sleep: restartAfter(asleep)},
		"stopped, upserts in front":   {upserts: true, after: 3 * time.Second, sleep: restartAfter(asleep)},
		"stopped while it was paused": {after: 3 * time.Minute, sleep: restartAfter(asleep)},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var up atomic.Bool
				s := newSimulation(t, func(*mapping.UserEvent) adapter.Attempt {
					time.Sleep(2 * time.Second)
					if up.Load() {
						return delivered
					}
					return unreachable
				})
				s.mapper = identifies(t, mapping.EnsureNever)
				s.queue.leaseFor = test.leaseFor
				clock := s.onClock()
				ids := messages("message", 20)
				for _, id := range ids {
					if test.upserts {
						s.acceptCalls("identify user-" + id + " identify-" + id)
					}
					s.accept("user-"+id, id)
				}
				stop := s.start()
				pass(test.after)
				stop = test.sleep(s, clock, stop)
				pass(10 * time.Minute) // SaaSquatch stays down
				up.Store(true)
				pass(time.Hour)
				for _, id := range ids {
					if got := s.result(id); got.Outcome != adapter.Delivered {
						t.Errorf("%s: got %+v", id, got)
					}
				}
				if err := stop(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

func jumpBy(jumps ...time.Duration) func(*simulation, *jumping, func() error) func() error {
	return func(_ *simulation, clock *jumping, stop func() error) func() error {
		for _, d := range jumps {
			clock.jump(d)
			pass(4 * time.Second)
		}
		return stop
	}
}

func restartAfter(d time.Duration) func(*simulation, *jumping, func() error) func() error {
	return func(s *simulation, _ *jumping, stop func() error) func() error {
		if err := stop(); err != nil {
			s.Error(err)
		}
		pass(d)
		return s.start()
	}
}

// TestTrialEnds has a process start with events that are days old and that no attempt
// can have delivered. They are given up after an hour, not never.
func TestTrialEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSimulation(t, func(*mapping.UserEvent) adapter.Attempt { return unreachable })
		s.accept("u", "message-1")
		event := s.queue.events[0]
		event.Attempts, event.Failed, event.FirstAttempt = 5, 5, time.Now().Add(-72*time.Hour)
		stop := s.start()
		pass(59 * time.Minute)
		if n := s.queue.pending(); n != 1 {
			t.Error("given up early")
		}
		pass(2 * time.Hour)
		got := s.result("message-1")
		if got.Outcome != adapter.Dead || got.Reason != mapping.ReasonHorizonOver || got.Attempts < 7 {
			t.Errorf("got %+v", got)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}
