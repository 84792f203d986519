package delivery_test

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/delivery/deliverytest"
	"segment-saasquatch/mapping"
)

// onClock has the dispatcher and its queue use a clock that the test moves.
func (s *simulation) onClock() *deliverytest.Clock {
	clock := deliverytest.NewClock()
	s.options.Now, s.queue.Now = clock.Process.Now, clock.Process.Now
	return clock
}

// TestClockGoesBack sets the clock back by an hour while events wait for their next
// attempt. They must not wait for the hour to pass again.
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
		sleep(10 * time.Second)
		clock.Jump(-time.Hour, 0)
		s.accept("v", "message-2")
		sleep(2 * time.Minute)
		for _, id := range []string{"message-1", "message-2"} {
			got := s.result(id)
			if got.Outcome != adapter.Delivered || got.Lag < 0 || got.Lag > 2*time.Minute || got.Duration < 0 {
				t.Errorf("%s: got %+v", id, got)
			}
		}
		stop()
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
		sleep(time.Minute)
		clock.Jump(-2*time.Hour, 0)
		sleep(time.Minute)
		before := sent.Load()
		clock.Jump(adapter.DefaultHorizon, 0) // that no monotonic clock has seen
		sleep(time.Hour)
		if got := s.result("message-1"); got.Reason != mapping.ReasonHorizonOver || sent.Load() > before {
			t.Errorf("sent %d times beyond the horizon, got %+v", sent.Load()-before, got)
		}
		stop()
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
		sleep    sleeper
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
				s.queue.LeaseFor = test.leaseFor
				clock := s.onClock()
				ids := messages("message", 20)
				for _, id := range ids {
					if test.upserts {
						s.acceptCalls("identify user-" + id + " identify-" + id)
					}
					s.accept("user-"+id, id)
				}
				stop := s.start()
				sleep(test.after)
				stop = test.sleep(s, clock, stop)
				sleep(10 * time.Minute) // SaaSquatch stays down
				up.Store(true)
				sleep(time.Hour)
				for _, id := range ids {
					if got := s.result(id); got.Outcome != adapter.Delivered {
						t.Errorf("%s: got %+v", id, got)
					}
				}
				stop()
			})
		})
	}
}

// sleeper moves the clock, or stops the Dispatcher for a while. It returns what stops the Dispatcher.
type sleeper func(s *simulation, clock *deliverytest.Clock, stop func()) func()

func jumpBy(jumps ...time.Duration) sleeper {
	return func(_ *simulation, clock *deliverytest.Clock, stop func()) func() {
		for _, d := range jumps {
			clock.Jump(d, 0)
			sleep(4 * time.Second)
		}
		return stop
	}
}

func restartAfter(d time.Duration) sleeper {
	return func(s *simulation, _ *deliverytest.Clock, stop func()) func() {
		stop()
		sleep(d)
		return s.start()
	}
}

// TestTrialEnds has a process start with events that are days old and that no attempt
// can have delivered. They are given up after an hour, not never.
func TestTrialEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSimulation(t, func(*mapping.UserEvent) adapter.Attempt { return unreachable })
		s.accept("u", "message-1")
		s.queue.Change(0, func(event *deliverytest.Event) {
			event.Attempts, event.Failed, event.FirstAttempt = 5, 5, time.Now().Add(-72*time.Hour)
		})
		stop := s.start()
		sleep(59 * time.Minute)
		if n := s.queue.Pending(); n != 1 {
			t.Error("given up early")
		}
		sleep(2 * time.Hour)
		got := s.result("message-1")
		if got.Outcome != adapter.Dead || got.Reason != mapping.ReasonHorizonOver || got.Attempts < 7 {
			t.Errorf("got %+v", got)
		}
		stop()
	})
}
