package delivery_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/delivery"
	"segment-saasquatch/adapter/delivery/deliverytest"
	"segment-saasquatch/mapping"
)

func TestDispatchDelivers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSimulation(t, func(*mapping.UserEvent) adapter.Attempt {
			time.Sleep(100 * time.Millisecond)
			return delivered
		})
		stop := s.start()
		ids := messages("message", 200)
		s.acceptOf(messages("user", 50), ids)
		sleep(10 * time.Second)
		for _, id := range ids {
			if got := s.result(id); got.Outcome != adapter.Delivered || got.Attempts != 1 || got.Lag <= 0 ||
				got.IdempotencyKey != id || got.EventKey != "x" || got.Duration != 100*time.Millisecond {
				t.Fatalf("%s: got %+v", id, got)
			}
		}
		stop()
	})
}

// TestDispatchOutcomes follows one event through a script of attempts.
func TestDispatchOutcomes(t *testing.T) {
	conflict := adapter.Attempt{Outcome: adapter.Duplicate, Reason: mapping.ReasonConflict, Status: 409}
	dead := adapter.Attempt{Outcome: adapter.Dead, Reason: mapping.ReasonUserNotFound, Status: 404}
	for name, test := range map[string]struct {
		messageID   string
		unkeyedDead bool
		script      []adapter.Attempt // the last is repeated
		within      time.Duration
		want        adapter.Outcome
		reason      mapping.Reason
		attempts    int
	}{
		"delivered": {"message-1", false, []adapter.Attempt{delivered}, time.Second,
			adapter.Delivered, "", 1},
		"duplicate": {"message-1", false, []adapter.Attempt{conflict}, time.Second, adapter.Duplicate,
			mapping.ReasonConflict, 1},
		"conflict after failure": {"message-1", false, []adapter.Attempt{serverError, conflict}, time.Minute,
			adapter.Duplicate, mapping.ReasonConflictAfterFailure, 2},
		"dead": {"message-1", false, []adapter.Attempt{dead}, time.Second, adapter.Dead,
			mapping.ReasonUserNotFound, 1},
		"retried": {"message-1", false, []adapter.Attempt{serverError, serverError, delivered},
			time.Minute, adapter.Delivered, "", 3},
		"misconfigured": {"message-1", false, []adapter.Attempt{wrongKey, wrongKey, delivered},
			time.Minute, adapter.Delivered, "", 1},
		"horizon": {"message-1", false, []adapter.Attempt{serverError}, 23 * time.Hour,
			adapter.Dead, mapping.ReasonHorizonOver, 0},
		"horizon unreachable": {"message-1", false, []adapter.Attempt{unreachable}, 23 * time.Hour,
			adapter.Dead, mapping.ReasonHorizonOver, 0},
		"misconfigured for days": {"message-1", false, []adapter.Attempt{wrongKey}, 100 * time.Hour, 0, "", 0},
		"without a key": {"m", false, []adapter.Attempt{serverError, delivered}, time.Minute,
			adapter.Delivered, "", 2},
		"without a key, ambiguous": {"m", true, []adapter.Attempt{serverError, delivered}, time.Minute, adapter.Dead,
			mapping.ReasonUnkeyedAmbiguous, 1},
		"without a key, unprocessed": {"m", true, []adapter.Attempt{unreachable, delivered}, time.Minute,
			adapter.Delivered, "", 2},
		"with a key, ambiguous": {"message-1", true, []adapter.Attempt{serverError, delivered}, time.Minute,
			adapter.Delivered, "", 2},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSimulation(t, nil)
				s.sender = deliverytest.Script(0, test.script, nil)
				s.queue.LongPoll = true
				s.options.UnkeyedDead = test.unkeyedDead
				stop := s.start()
				s.accept("u", test.messageID)
				sleep(test.within)
				var got adapter.Result // none if the event is pending
				if test.want != 0 {
					got = s.result(test.messageID)
				} else {
					s.checkToldOnce(0)
				}
				if got.Outcome != test.want || got.Reason != test.reason || test.attempts > 0 &&
					got.Attempts != test.attempts {
					t.Errorf("got %+v", got)
				}
				marks := s.queue.Stats().Marks
				if marked := marks > 0; marked != (test.unkeyedDead && test.messageID == "m") {
					t.Errorf("%d marks", marks)
				}
				stop()
			})
		})
	}
}

// TestDamagedPayloadIsNotSent has the store find one of a user's payloads to be damaged.
// The damaged payload would map to another event.
func TestDamagedPayloadIsNotSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var sent []string
		s := newSimulation(t, func(event *mapping.UserEvent) adapter.Attempt {
			sent = append(sent, event.IdempotencyKey)
			return delivered
		})
		s.accept("u", messages("m", 3)...)
		s.queue.Change(1, func(event *deliverytest.Event) { event.Damaged = true })
		stop := s.start()
		sleep(time.Minute)
		if !slices.Equal(sent, []string{"m-000000", "m-000002"}) {
			t.Errorf("sent %q", sent)
		}
		got := s.result("m-000001")
		if got.Outcome != adapter.Dead || got.Reason != mapping.ReasonPayloadDamaged || got.Attempts != 0 ||
			got.IdempotencyKey != "" ||
			!strings.Contains(got.Detail, "replay the event") {
			t.Errorf("got %+v", got)
		}
		if step := s.queue.Numbered(1).Last; step.Counted || !step.Began.IsZero() {
			t.Errorf("recorded as an attempt: %+v", step)
		}
		stop()
	})
}

// TestNothingIsSentAfterTheHorizon has a process be down for longer.
func TestNothingIsSentAfterTheHorizon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sent := 0
		s := newSimulation(t, func(*mapping.UserEvent) adapter.Attempt {
			sent++
			return serverError
		})
		stop := s.start()
		s.accept("u", "message-1")
		sleep(time.Second)
		stop()
		sleep(24 * time.Hour)
		before := sent
		stop = s.start()
		sleep(time.Hour)
		if got := s.result("message-1"); sent != before || got.Reason != mapping.ReasonHorizonOver {
			t.Errorf("sent %d times more, got %+v", sent-before, got)
		}
		stop()
	})
}

// TestInterruptedAttempt starts with an event whose attempt has no recorded end.
func TestInterruptedAttempt(t *testing.T) {
	for _, test := range []struct {
		messageID string
		dead      bool
		want      adapter.Outcome
	}{{"m", true, adapter.Dead}, {"m", false, adapter.Delivered}, {"message-1", true, adapter.Delivered}} {
		synctest.Test(t, func(t *testing.T) {
			s := newSimulation(t, func(*mapping.UserEvent) adapter.Attempt { return delivered })
			s.options.UnkeyedDead = test.dead
			s.accept("u", test.messageID)
			s.queue.Change(0, func(event *deliverytest.Event) { event.Marked = true })
			stop := s.start()
			sleep(time.Second)
			if got := s.result(test.messageID); got.Outcome != test.want {
				t.Errorf("%+v: got %+v", test, got)
			}
			stop()
		})
	}
}

// TestOrderOfAUser checks that one user never has two attempts at once, and that
// the order is kept, but for events that failed.
func TestOrderOfAUser(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		busy := make(map[string]bool)
		sent := make(map[string][]string)
		s := newSimulation(t, func(event *mapping.UserEvent) adapter.Attempt {
			mu.Lock()
			if busy[event.UserID] {
				t.Errorf("user %s has two attempts at once", event.UserID)
			}
			busy[event.UserID] = true
			mu.Unlock()
			time.Sleep(50 * time.Millisecond)
			mu.Lock()
			defer mu.Unlock()
			busy[event.UserID] = false
			if event.IdempotencyKey == "message-000003" && len(sent["failed"]) == 0 {
				sent["failed"] = append(sent["failed"], event.IdempotencyKey)
				return serverError
			}
			sent[event.UserID] = append(sent[event.UserID], event.IdempotencyKey)
			return delivered
		})
		stop := s.start()
		s.acceptOf([]string{"one", "two"}, messages("message", 40))
		sleep(time.Minute)
		for user, ids := range sent {
			if user == "one" && len(ids) != 20 || user == "two" && len(ids) != 20 {
				t.Errorf("user %s: %d events", user, len(ids))
			}
			if user == "one" && !slices.IsSorted(ids) {
				t.Errorf("user %s: %v", user, ids)
			}
		}
		if last := sent["two"][19]; last != "message-000003" {
			t.Errorf("the event that failed did not let the others go ahead: %v", sent["two"])
		}
		stop()
	})
}

// TestOneUserHoldsUpNoOther has one user with a great many slow events.
func TestOneUserHoldsUpNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSimulation(t, func(event *mapping.UserEvent) adapter.Attempt {
			if event.UserID == "slow" {
				time.Sleep(5 * time.Second)
			} else {
				time.Sleep(100 * time.Millisecond)
			}
			return delivered
		})
		stop := s.start()
		s.accept("slow", messages("slow", 5000)...)
		sleep(time.Second)
		s.acceptOf(messages("user", 100), messages("quick", 100))
		sleep(5 * time.Second)
		for _, id := range messages("quick", 100) {
			if got := s.result(id); got.Outcome != adapter.Delivered {
				t.Fatalf("%s: got %+v", id, got)
			}
		}
		stop()
	})
}

// TestStoreFails has the queue fail for a while, in the midst of deliveries.
func TestStoreFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		sent := 0
		s := newSimulation(t, func(*mapping.UserEvent) adapter.Attempt {
			time.Sleep(time.Second)
			mu.Lock()
			defer mu.Unlock()
			sent++
			return delivered
		})
		stop := s.start()
		s.acceptOf(messages("user", 500), messages("message", 500))
		sleep(1500 * time.Millisecond)
		s.queue.Fail(&adapter.UnavailableError{Message: "the disk is full"})
		sleep(time.Minute)
		mu.Lock()
		stuck := sent
		mu.Unlock()
		sleep(10 * time.Minute)
		mu.Lock()
		if sent != stuck {
			t.Errorf("%d events were sent whose outcome could not be recorded", sent-stuck)
		}
		mu.Unlock()
		s.queue.Fail(nil)
		sleep(time.Minute)
		if pending := s.queue.Pending(); pending != 0 || sent != 500 {
			t.Errorf("%d pending, %d sent", pending, sent)
		}
		s.checkToldOnce(500)
		if len(s.errors) == 0 || len(s.errors) > 3 {
			t.Errorf("%d errors were told", len(s.errors))
		}
		stop()
	})
}

// TestLeaseRunsOut has events wait for longer than their leases last.
func TestLeaseRunsOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		attempts := make(map[string]int)
		var mu sync.Mutex
		s := newSimulation(t, func(event *mapping.UserEvent) adapter.Attempt {
			mu.Lock()
			defer mu.Unlock()
			attempts[event.IdempotencyKey]++
			return delivered
		})
		s.breaker = delivery.NewBreaker(delivery.BreakerOptions{RateLimit: 1})
		s.queue.LeaseFor = time.Minute
		stop := s.start()
		s.acceptOf(messages("user", 200), messages("message", 200))
		sleep(10 * time.Minute)
		if len(attempts) != 200 {
			t.Errorf("%d events were sent", len(attempts))
		}
		for id, n := range attempts {
			if n != 1 {
				t.Errorf("%s was sent %d times", id, n)
			}
		}
		stop()
	})
}

// TestStopInTheMiddle stops while attempts are in flight.
func TestStopInTheMiddle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSimulation(t, func(*mapping.UserEvent) adapter.Attempt {
			time.Sleep(5 * time.Second)
			return delivered
		})
		stop := s.start()
		s.acceptOf(messages("user", 300), messages("message", 300))
		sleep(2 * time.Second)
		began := time.Now()
		stop()
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("took %v", took)
		}
		pending := s.queue.Pending()
		if pending == 0 || pending == 300 {
			t.Errorf("%d are pending", pending)
		}
		s.checkToldOnce(300 - pending)
	})
}

func TestPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		panics, told := 1, 0
		s := newSimulation(t, func(*mapping.UserEvent) adapter.Attempt {
			if panics > 0 {
				panics--
				panic("a fault")
			}
			return delivered
		})
		s.options.OnPanic = func(any, []byte) { told++ }
		stop := s.start()
		s.accept("u", "message-1")
		sleep(time.Minute)
		if got := s.result("message-1"); told != 1 || got.Outcome != adapter.Delivered || got.Attempts != 2 {
			t.Errorf("told %d times, got %+v", told, got)
		}
		stop()
	})
}

// TestOutage has SaaSquatch be down for ten hours. The attempts are few meanwhile,
// and do not come all at once when it is back.
func TestOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		const down, back, events = 10 * time.Minute, 10*time.Hour + 10*time.Minute, 3000
		var mu sync.Mutex
		perHour := make(map[int]int)
		most, inFlight := 0, 0
		perSecond := make(map[int]int)
		s := newSimulation(t, func(*mapping.UserEvent) adapter.Attempt {
			mu.Lock()
			at := time.Since(start)
			perHour[int(at.Hours())]++
			perSecond[int(at.Seconds())]++
			inFlight++
			most = max(most, inFlight)
			mu.Unlock()
			time.Sleep(100 * time.Millisecond)
			mu.Lock()
			inFlight--
			mu.Unlock()
			if at > down && at < back {
				return serverError
			}
			return delivered
		})
		s.queue.LongPoll = true
		stop := s.start()
		for i := range events {
			s.accept(fmt.Sprintf("user-%d", i), fmt.Sprintf("message-%06d", i))
			time.Sleep(12 * time.Second)
		}
		sleep(2 * time.Hour)
		if pending := s.queue.Pending(); pending != 0 {
			t.Errorf("%d are pending still", pending)
		}
		total, worst := 0, 0
		for _, n := range perHour {
			total += n
		}
		for second, n := range perSecond {
			if at := time.Duration(second) * time.Second; at > down && at < back-time.Second {
				worst = max(worst, n)
			}
		}
		for hour := range 13 {
			t.Logf("hour %2d: %5d attempts", hour, perHour[hour])
		}
		t.Logf("%d attempts at %d events, at most %d in a second of the outage, %d at once", total, events, worst,
			most)
		if total > 3*events || worst > 20 || most > adapter.DefaultConcurrency {
			t.Error("a storm")
		}
		for _, results := range s.results {
			if results[0].Outcome != adapter.Delivered {
				t.Fatalf("got %+v", results)
			}
		}
		stop()
	})
}

// TestDispatchModel answers at random for a simulated day, and looks for events
// that are told twice, never, or sent after their horizon.
func TestDispatchModel(t *testing.T) {
	for seed := range uint64(deliverytest.Explore(1)) {
		synctest.Test(t, func(t *testing.T) {
			random, ours := rand.New(rand.NewPCG(seed, 1)), rand.New(rand.NewPCG(seed, 2))
			var mu sync.Mutex // random is SaaSquatch's
			first := make(map[string]time.Time)
			attempts := []adapter.Attempt{delivered, serverError, serverError, unreachable,
				{Outcome: adapter.Pending, Reason: mapping.ReasonRateLimited, Status: 429, Unprocessed: true,
					RetryAfter: time.Second},
				{Outcome: adapter.Dead, Reason: mapping.ReasonRefused, Status: 400}}
			s := newSimulation(t, func(event *mapping.UserEvent) adapter.Attempt {
				mu.Lock()
				attempt := attempts[random.IntN(len(attempts))]
				pause := time.Duration(random.IntN(2000)) * time.Millisecond
				if began, ok := first[event.IdempotencyKey]; ok && time.Since(began) > adapter.DefaultHorizon {
					t.Errorf("%s was sent %v after its first attempt", event.IdempotencyKey, time.Since(began))
				}
				if attempt.Outcome == adapter.Pending && !attempt.Unprocessed && first[event.IdempotencyKey].IsZero() {
					first[event.IdempotencyKey] = time.Now()
				}
				mu.Unlock()
				time.Sleep(pause)
				return attempt
			})
			s.queue.LongPoll = true
			stop := s.start()
			const events = 600
			for i := range events / 20 {
				var ids []string
				for j := range 20 {
					ids = append(ids, fmt.Sprintf("message-%06d", i*20+j))
				}
				s.acceptOf(messages("user", 1+ours.IntN(10)), ids)
				time.Sleep(time.Duration(ours.IntN(1000)) * time.Second)
				if i%10 == 9 {
					stop()
					time.Sleep(time.Duration(ours.IntN(3)) * time.Hour)
					stop = s.start()
				}
			}
			sleep(48 * time.Hour)
			stop()
			if pending := s.queue.Pending(); pending != 0 {
				t.Errorf("%d pending", pending)
			}
			if s.checkToldOnce(events); t.Failed() {
				t.Fatalf("seed %d", seed)
			}
		})
	}
}
