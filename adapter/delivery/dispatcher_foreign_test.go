package delivery_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/delivery"
	"segment-saasquatch/mapping"
)

var (
	foreign = adapter.Attempt{
		Outcome: adapter.Pending, Reason: mapping.ReasonUnexpectedAnswer, Detail: "HTTP 404, a page", Status: 404,
		Foreign: true, Unprocessed: true,
	}
	pageFor200 = adapter.Attempt{Outcome: adapter.Pending, Reason: mapping.ReasonUnexpectedAnswer,
		Detail: "HTTP 200, a page", Status: 200}
)

// answersByUser is a tenant before which a firewall stops the events of some users.
type answersByUser struct {
	mu      sync.Mutex
	foreign func(user string) bool
	sent    map[string]int // by user
}

func (a *answersByUser) send(event *mapping.UserEvent) adapter.Attempt {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.sent == nil {
		a.sent = make(map[string]int)
	}
	a.sent[event.UserID]++
	if a.foreign(event.UserID) {
		return foreign
	}
	return delivered
}

// set changes who is stopped, and returns how many requests there were before.
func (a *answersByUser) set(foreign func(user string) bool) (before int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, n := range a.sent {
		before += n
	}
	a.foreign, a.sent = foreign, nil
	return before
}

func allUsers(string) bool      { return true }
func noUser(string) bool        { return false }
func oddUsers(user string) bool { return strings.HasPrefix(user, "odd") }

// newForeignSimulation returns a simulation that counts the pauses of its breaker.
func newForeignSimulation(t *testing.T, tenant *answersByUser) (s *simulation, pauses func() []mapping.Reason) {
	s = newSimulation(t, tenant.send)
	s.queue.LongPoll = true
	var mu sync.Mutex
	var reasons []mapping.Reason
	s.breaker = delivery.NewBreaker(delivery.BreakerOptions{OnChange: func(state delivery.BreakerState) {
		if state.Paused {
			mu.Lock()
			defer mu.Unlock()
			reasons = append(reasons, state.Reason)
		}
	}})
	return s, func() []mapping.Reason {
		mu.Lock()
		defer mu.Unlock()
		return reasons
	}
}

// TestOddEventAmongGoodOnes has a firewall stop one event. It is tried until the
// horizon, is dead then, and the tenant is never paused: whether others come all the
// time or only with it.
func TestOddEventAmongGoodOnes(t *testing.T) {
	for name, every := range map[string]time.Duration{"busy": 10 * time.Second, "quiet": 7 * time.Hour,
		"one batch": 1000 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tenant := &answersByUser{foreign: oddUsers}
				s, pauses := newForeignSimulation(t, tenant)
				for i, id := range messages("good", 20) {
					if i == 10 {
						s.accept("odd", "message-odd")
					}
					s.accept(fmt.Sprintf("user-%d", i), id)
				}
				stop := s.start()
				last := 0
				for began := time.Now(); time.Since(began) < 30*time.Hour; last++ {
					time.Sleep(min(every, 30*time.Hour))
					s.accept("later", fmt.Sprintf("later-%06d", last))
				}
				sleep(time.Hour)
				stop()
				got := s.result("message-odd")
				if got.Outcome != adapter.Dead || got.Reason != mapping.ReasonUnexpectedAnswer || got.Status != 404 ||
					!strings.Contains(got.Detail, foreign.Detail) {
					t.Errorf("got %+v", got)
				}
				if got.Attempts < 10 || got.Lag < 22*time.Hour || got.Lag > 31*time.Hour {
					t.Errorf("dead after %d attempts and %v", got.Attempts, got.Lag)
				}
				if pauses := pauses(); len(pauses) > 0 {
					t.Errorf("paused for %v", pauses)
				}
				for i, id := range messages("later", last) {
					if got := s.result(id); got.Outcome != adapter.Delivered || got.Lag > time.Minute {
						t.Fatalf("later event %d: %+v", i, got)
					}
				}
			})
		})
	}
}

// TestWrongBaseURLKillsNothing has every answer be a page, from the start or from some
// time on, for a weekend: the tenant is paused, and every event is delivered at last.
func TestWrongBaseURLKillsNothing(t *testing.T) {
	for name, events := range map[string]int{"many": 500, "three": 3} {
		for _, before := range []time.Duration{0, time.Hour} {
			t.Run(fmt.Sprintf("%s after %v", name, before), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					tenant := &answersByUser{foreign: allUsers}
					s, pauses := newForeignSimulation(t, tenant)
					stop := s.start()
					if before > 0 {
						tenant.set(noUser)
						s.accept("early", "message-early")
						sleep(before)
						tenant.set(allUsers)
					}
					ids := messages("message", events)
					for i, id := range ids {
						s.accept(fmt.Sprintf("user-%d", i), id)
					}
					sleep(60 * time.Hour)
					reasons := pauses()
					if len(reasons) != 1 || reasons[0] != mapping.ReasonUnexpectedAnswer {
						t.Errorf("paused for %v", reasons)
					}
					if state := s.breaker.State(); !state.Paused || state.Reason != mapping.ReasonUnexpectedAnswer {
						t.Errorf("the breaker is %+v", state)
					}
					if n := tenant.set(noUser); n > 200+60*60/4 {
						t.Errorf("%d requests", n)
					}
					if got := s.queue.Pending(); got != events {
						t.Errorf("%d of %d are pending", got, events)
					}
					sleep(20 * time.Minute)
					for _, id := range ids {
						if got := s.result(id); got.Outcome != adapter.Delivered || got.Attempts > 10 {
							t.Fatalf("got %+v", got)
						}
					}
					stop()
				})
			})
		}
	}
}

// TestLoneEventIsNotGivenUp has the only event of a tenant get pages for days: the
// fault may be its own or the tenant's. Once another gets an answer, it is the event's.
func TestLoneEventIsNotGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tenant := &answersByUser{foreign: oddUsers}
		s, pauses := newForeignSimulation(t, tenant)
		stop := s.start()
		s.accept("odd", "message-odd")
		sleep(100 * time.Hour)
		if event := s.queue.Event("message-odd"); event.Outcome != adapter.Pending || event.Attempts != 0 {
			t.Errorf("got %+v", event)
		}
		for i := range 30 * 60 {
			s.accept("good", fmt.Sprintf("good-%06d", i))
			time.Sleep(time.Minute)
		}
		synctest.Wait()
		if got := s.result("message-odd"); got.Outcome != adapter.Dead ||
			got.Reason != mapping.ReasonUnexpectedAnswer {
			t.Errorf("got %+v", got)
		}
		if pauses := pauses(); len(pauses) > 0 {
			t.Errorf("paused for %v", pauses)
		}
		stop()
	})
}

// TestManyOddEventsAmongGoodOnes has a firewall stop a tenth of all events of a busy
// tenant, which is not paused for that.
func TestManyOddEventsAmongGoodOnes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tenant := &answersByUser{foreign: oddUsers}
		s, pauses := newForeignSimulation(t, tenant)
		s.options.Horizon = time.Hour
		stop := s.start()
		// The first answers are in any order. Without a proper one before them, three odd
		// ones in front would speak of the tenant.
		s.accept("good", "first")
		sleep(time.Second)
		const events = 2000
		ids := messages("message", events)
		for i, id := range ids {
			user := fmt.Sprintf("user-%d", i)
			if i%10 < 3 && i%30 < 10 { // three in a row
				user = "odd-" + user
			}
			s.accept(user, id)
			if i%10 == 0 {
				time.Sleep(200 * time.Millisecond)
			}
		}
		for i := range 2 * 720 {
			s.accept("good", fmt.Sprintf("good-%06d", i))
			time.Sleep(5 * time.Second)
		}
		synctest.Wait()
		dead := 0
		for _, id := range ids {
			switch got := s.result(id); {
			case got.Outcome == adapter.Dead && got.Reason == mapping.ReasonUnexpectedAnswer:
				dead++
			case got.Outcome != adapter.Delivered:
				t.Fatalf("got %+v", got)
			}
		}
		if dead < events/12 || dead > events/8 {
			t.Errorf("%d are dead", dead)
		}
		if pauses := pauses(); len(pauses) > 0 {
			t.Errorf("paused for %v", pauses)
		}
		stop()
	})
}

// TestPageInThePlaceOfASuccess has a proxy answer 200 with pages for a time: it is
// unknown what SaaSquatch got. With a key an event is tried until its key is forgotten,
// without one the configuration decides.
func TestPageInThePlaceOfASuccess(t *testing.T) {
	for name, test := range map[string]struct {
		messageID   string
		unkeyedDead bool
		outcome     adapter.Outcome
		reason      mapping.Reason
		least       int
	}{
		"keyed":            {"message-1", true, adapter.Dead, mapping.ReasonHorizonOver, 10},
		"unkeyed, retried": {"no key", false, adapter.Dead, mapping.ReasonHorizonOver, 10},
		"unkeyed, dead":    {"no key", true, adapter.Dead, mapping.ReasonUnkeyedAmbiguous, 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSimulation(t, func(*mapping.UserEvent) adapter.Attempt { return pageFor200 })
				s.queue.LongPoll = true
				s.options.UnkeyedDead = test.unkeyedDead
				s.accept("u", test.messageID)
				stop := s.start()
				sleep(30 * time.Hour)
				stop()
				got := s.result(test.messageID)
				if got.Outcome != test.outcome || got.Reason != test.reason || got.Attempts < test.least ||
					!strings.Contains(got.Detail, "unexpected_answer") {
					t.Errorf("got %+v", got)
				}
			})
		})
	}
	t.Run("pause", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := newSimulation(t, func(*mapping.UserEvent) adapter.Attempt { return pageFor200 })
			for i, id := range messages("message", 100) {
				s.accept(fmt.Sprintf("user-%d", i), id)
			}
			stop := s.start()
			sleep(time.Second)
			if state := s.breaker.State(); !state.Paused || state.Reason != mapping.ReasonUnexpectedAnswer {
				t.Errorf("the breaker is %+v", state)
			}
			stop()
		})
	})
}
