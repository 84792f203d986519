package delivery_test

import (
	"bytes"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/delivery"
	"segment-saasquatch/adapter/delivery/deliverytest"
	"segment-saasquatch/mapping"
)

// sent notes what a sender gets, by user.
type sent struct {
	mu    sync.Mutex
	times map[string][]string
}

func (s *sent) add(event *mapping.UserEvent) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.times == nil {
		s.times = make(map[string][]string)
	}
	s.times[event.UserID] = append(s.times[event.UserID], event.IdempotencyKey)
}

// of returns the keys of a user in the order in which they came.
func (s *sent) of(user string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.times[user]
}

// untilRecorded is how long after its attempt an outcome is recorded at the latest, while the queue
// is quick.
const untilRecorded = 20 * time.Millisecond

// TestLongBacklogOfOneUser has the events of one user alone in the queue. They take as
// long as the calls take one after the other, and not a moment more.
func TestLongBacklogOfOneUser(t *testing.T) {
	for _, n := range []int{3000, deliverytest.Explore(6000)} {
		for _, takes := range []time.Duration{2 * time.Millisecond, 50 * time.Millisecond} {
			t.Run(fmt.Sprint(n, " events of ", takes), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					var got sent
					s := newSimulation(t, func(event *mapping.UserEvent) adapter.Attempt {
						got.add(event)
						time.Sleep(takes)
						return delivered
					})
					s.queue.LeaseFor = 90 * time.Second
					s.accept("user", messages("message", n)...)
					began := time.Now()
					stop := s.start()
					sleep(time.Duration(n)*takes + untilRecorded)
					if pending := s.queue.Pending(); pending > 0 {
						t.Errorf("%d are pending after %v", pending, time.Since(began))
					}
					if !slices.IsSorted(got.of("user")) {
						t.Error("they came in another order")
					}
					stop()
				})
			})
		}
	}
}

// TestBacklogAfterAnOutage has SaaSquatch be away while a user's events come. Attempts
// took long, or failed, which must not make the events wait once it is back.
func TestBacklogAfterAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 3000
		var away sync.Mutex // held while SaaSquatch is away
		s := newSimulation(t, func(*mapping.UserEvent) adapter.Attempt {
			if !away.TryLock() {
				time.Sleep(10 * time.Second)
				return serverError
			}
			away.Unlock()
			time.Sleep(2 * time.Millisecond)
			return delivered
		})
		away.Lock()
		s.accept("user", messages("message", n)...)
		stop := s.start()
		sleep(5 * time.Minute)
		away.Unlock()
		// The tenant's next probe is due within a minute, and retries within some more.
		sleep(time.Minute + 15*time.Second)
		if pending := s.queue.Pending(); pending > 20 {
			t.Errorf("%d are pending still", pending)
		}
		stop()
	})
}

// TestParkedEventsKeepTheirOrder has a user's events come while earlier ones are parked.
func TestParkedEventsKeepTheirOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got sent
		s := newSimulation(t, func(event *mapping.UserEvent) adapter.Attempt {
			got.add(event)
			time.Sleep(10 * time.Millisecond)
			return delivered
		})
		s.queue.Takes = time.Millisecond
		ids := messages("message", 12_000)
		s.accept("user", ids[:6000]...)
		stop := s.start()
		for i := 6000; i < len(ids); i += 100 {
			sleep(time.Second)
			s.accept("user", ids[i:i+100]...)
		}
		sleep(2 * time.Minute)
		if !slices.Equal(got.of("user"), ids) {
			t.Errorf("%d came, or came in another order", len(got.of("user")))
		}
		stop()
	})
}

// TestLongBacklogLeavesRoom has users with long backlogs of large events before others.
func TestLongBacklogLeavesRoom(t *testing.T) {
	for name, size := range map[string]int{"small": 0, "large": 1 << 20} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSimulation(t, nil)
				body := bytes.Repeat([]byte("x"), size) // all share it
				const backlog = 500
				for i := range 3 {
					s.accept(fmt.Sprint("heavy-", i), messages(fmt.Sprint("heavy-", i), backlog)...)
				}
				for i := range s.queue.Events() {
					s.queue.Change(i, func(event *deliverytest.Event) { event.Payload = body })
				}
				s.accept("other", "message-other")
				s.mapper = mapperFunc(func([]byte, time.Time) mapping.Result {
					return mapping.Result{Kind: mapping.KindSkip, Reason: "identify_disabled"}
				})
				s.queue.Takes = 50 * time.Millisecond
				stop := s.start()
				sleep(5 * time.Second)
				s.result("message-other")
				sleep(backlog * 60 * time.Millisecond)
				if n := s.queue.Pending(); n > 0 {
					t.Errorf("%d are pending still", n)
				}
				if most := s.queue.Stats().MostBytes; most > 32<<20+2*int64(size) {
					t.Errorf("%d bytes in hand at most", most)
				}
				stop()
			})
		})
	}
}

// TestParkedEventsAreDueForTheNextProcess stops a Dispatcher that has parked events.
func TestParkedEventsAreDueForTheNextProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 3000
		var got sent
		s := newSimulation(t, func(event *mapping.UserEvent) adapter.Attempt {
			got.add(event)
			time.Sleep(2 * time.Millisecond)
			return delivered
		})
		ids := messages("message", n)
		s.accept("user", ids...)
		stop := s.start()
		sleep(time.Second)
		stop()
		stop = s.start()
		sleep(n*2*time.Millisecond - time.Second)
		if !slices.Equal(got.of("user"), ids) {
			t.Errorf("%d came, or came in another order", len(got.of("user")))
		}
		stop()
	})
}

// TestForgottenEventsComeBack has more parked events than are remembered. The others come
// back when they are due.
func TestForgottenEventsComeBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSimulation(t, func(*mapping.UserEvent) adapter.Attempt {
			time.Sleep(2 * time.Millisecond)
			return delivered
		})
		s.prepare = func(d *delivery.Dispatcher) { d.RememberParked(1000) }
		s.accept("user", messages("message", 10_000)...)
		s.accept("other", "message-other")
		stop := s.start()
		sleep(2*time.Millisecond + untilRecorded)
		s.result("message-other")
		sleep(time.Hour)
		if n := s.queue.Pending(); n > 0 {
			t.Errorf("%d are pending still", n)
		}
		s.accept("user", "message-last")
		sleep(2*time.Millisecond + untilRecorded)
		s.result("message-last")
		stop()
	})
}
