package delivery_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/delivery"
	"segment-saasquatch/adapter/delivery/deliverytest"
	"segment-saasquatch/mapping"
)

// freezing is the queue as one process sees it that freezes once, at a point.
type freezing struct {
	*deliverytest.Queue
	point  string
	freeze func()
	once   sync.Once
}

func (f *freezing) at(point string) {
	if point == f.point {
		f.once.Do(f.freeze)
	}
}

func (f *freezing) Lease(ctx context.Context, limit int, maxBytes int64) ([]adapter.Leased, error) {
	leased, err := f.Queue.Lease(ctx, limit, maxBytes)
	if len(leased) > 0 {
		f.at("after the lease")
	}
	return leased, err
}

func (f *freezing) MarkSending(ctx context.Context, leased *adapter.Leased) error {
	f.at("before the mark")
	defer f.at("after the mark")
	return f.Queue.MarkSending(ctx, leased)
}

// TestFrozenReplica freezes one of two replicas between the lease of an event and its
// attempt, for longer than a lease or almost as long. The event must not be sent twice,
// whatever the clocks of the replica did meanwhile.
func TestFrozenReplica(t *testing.T) {
	const leaseFor = 90 * time.Second
	for _, point := range []string{"after the lease", "before the mark", "after the mark"} {
		for _, frozen := range []time.Duration{80 * time.Second, 2 * time.Minute} {
			for clocks, jump := range map[string][2]time.Duration{ // of the wall clock and of the monotonic clock
				"go on":                   {0, 0},
				"monotonic clock stopped": {0, -frozen},
				"wall clock went back":    {-10 * time.Minute, 0},
				"wall clock went forward": {10 * time.Minute, 0},
				"both clocks stopped":     {-frozen, -frozen},
			} {
				for _, dead := range []bool{true, false} {
					if !dead && (point != "after the lease" || clocks == "both clocks stopped") {
						continue // there is no mark, or nothing tells of the freeze
					}
					t.Run(fmt.Sprintf("%s, %v, %s, dead=%v", point, frozen, clocks, dead), func(t *testing.T) {
						synctest.Test(t, func(t *testing.T) {
							var sent atomic.Int64
							s := newSimulation(t, func(*mapping.UserEvent) adapter.Attempt {
								sent.Add(1)
								return delivered
							})
							s.queue.LeaseFor = leaseFor
							s.options.UnkeyedDead = dead
							s.accept("u", "no key")

							clock := deliverytest.NewClock()
							replica := &freezing{Queue: s.queue, point: point, freeze: func() {
								time.Sleep(frozen)
								clock.Jump(jump[0], jump[1])
							}}
							options := s.options
							options.Now = clock.Process.Now
							stopReplica := s.runOn(replica, options)
							synctest.Wait()
							stop := s.start() // the other replica
							sleep(30 * time.Minute)
							if err := stopReplica(); err != nil {
								t.Error(err)
							}
							stop()
							got := s.result("no key")
							switch {
							case sent.Load() == 1 && got.Outcome == adapter.Delivered:
							case sent.Load() <= 1 && got.Reason == mapping.ReasonUnkeyedAmbiguous &&
								point == "after the mark" && frozen > leaseFor:
								// The other replica cannot know whether it was sent.
							default:
								t.Errorf("sent %d times, got %+v", sent.Load(), got)
							}
						})
					})
				}
			}
		}
	}
}

// TestLeaseEndsAtTheBreaker suspends the machine while an event waits for the breaker. No timer
// of the process notices, and the event must be leased anew before it is sent.
func TestLeaseEndsAtTheBreaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		leases := int64(0)
		s := newSimulation(t, nil)
		s.sender = deliverytest.NewSender(func(*mapping.UserEvent) adapter.Attempt {
			leases = s.queue.Event("message-1").Lease
			return delivered
		})
		s.queue.LeaseFor = 90 * time.Second
		s.breaker = delivery.NewBreaker(delivery.BreakerOptions{Floor: 1, Ceiling: 1})
		before, err := s.breaker.Acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		clock := s.onClock()
		s.accept("u", "message-1")
		stop := s.start()
		sleep(10 * time.Second)
		clock.Jump(2*time.Minute, 0)
		before.Done(delivered)
		sleep(time.Minute)
		if got := s.result("message-1"); got.Outcome != adapter.Delivered || leases != 2 {
			t.Errorf("sent under lease %d, got %+v", leases, got)
		}
		stop()
	})
}

// TestNoAttemptWithoutRecording has the store not answer, or fail, while events come in
// one by one or wait for the breaker. No attempt may begin whose outcome cannot be recorded.
func TestNoAttemptWithoutRecording(t *testing.T) {
	const events, until = 60, 62 * time.Second
	for name, test := range map[string]struct {
		fault  error // nil if the store hangs
		atOnce bool  // and one after the other through the breaker
		most   int64 // that are sent before the store works again: those within recordPatience
		least  int64
	}{
		"unavailable":            {&adapter.UnavailableError{Message: "the store cannot be reached"}, false, 3, 1},
		"hangs":                  {nil, false, 3, 1},
		"unavailable, a breaker": {&adapter.UnavailableError{Message: "the store cannot be reached"}, true, 4, 1},
		"hangs, a breaker":       {nil, true, 4, 1},
		// A fault that may be one event's own must not hold up the others.
		"a fault of ours": {errStore, false, events, events},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var sent atomic.Int64
				s := newSimulation(t, func(*mapping.UserEvent) adapter.Attempt {
					sent.Add(1)
					time.Sleep(900 * time.Millisecond)
					return delivered
				})
				began := time.Now()
				s.queue.Fault = func(operation string) error {
					if left := until - time.Since(began); operation == "record" && left > 0 {
						if test.fault == nil {
							time.Sleep(left)
						}
						return test.fault
					}
					return nil
				}
				if test.atOnce {
					s.breaker = delivery.NewBreaker(delivery.BreakerOptions{Floor: 1, Ceiling: 1})
				}
				stop := s.start()
				for i := range events {
					s.accept(fmt.Sprint("user-", i), fmt.Sprintf("message-%06d", i))
					if !test.atOnce {
						sleep(time.Second)
					}
				}
				time.Sleep(time.Until(began.Add(until - time.Second)))
				if n := sent.Load(); n > test.most || n < test.least {
					t.Errorf("%d events were sent whose outcome could not be recorded", n)
				}
				sleep(3 * time.Minute)
				if sent.Load() != events || s.queue.Pending() != 0 {
					t.Errorf("sent %d, %d pending", sent.Load(), s.queue.Pending())
				}
				stop()
			})
		})
	}
}
