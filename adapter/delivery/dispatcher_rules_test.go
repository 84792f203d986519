package delivery_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/delivery/deliverytest"
	"segment-saasquatch/mapping"
)

var (
	forbidden = adapter.Attempt{Outcome: adapter.Pending, Reason: mapping.ReasonForbidden, Status: 403,
		Misconfigured: true, Unprocessed: true}
)

// TestHistoryDecides starts with an event that has been through something.
func TestHistoryDecides(t *testing.T) {
	const keyed, unkeyed = "message-1", "no key"
	for name, test := range map[string]struct {
		messageID   string
		history     func(event *deliverytest.Event, now time.Time)
		unkeyedDead bool
		answer      adapter.Attempt
		sent        int
		outcome     adapter.Outcome
		reason      mapping.Reason
		attempts    int
	}{
		"new": {keyed, func(*deliverytest.Event, time.Time) {}, false, conflict, 1, adapter.Duplicate,
			mapping.ReasonConflict, 1},
		"failed before": {keyed, func(e *deliverytest.Event, now time.Time) {
			e.Attempts, e.Failed, e.FirstAttempt = 2, 2, now
		}, false, conflict, 1, adapter.Duplicate, mapping.ReasonConflictAfterFailure, 3},
		"redriven": {keyed, func(e *deliverytest.Event, _ time.Time) { e.Redriven = true }, false, conflict, 1,
			adapter.Duplicate, mapping.ReasonConflictAfterFailure, 1},
		"ambiguous within the horizon": {keyed, func(e *deliverytest.Event, now time.Time) {
			e.Attempts, e.FirstAttempt, e.AmbiguousSince = 1, now.Add(-23*time.Hour+time.Second),
				now.Add(-23*time.Hour+time.Second)
		}, false, delivered, 1, adapter.Delivered, "", 2},
		"ambiguous beyond the horizon": {keyed, func(e *deliverytest.Event, now time.Time) {
			e.Attempts, e.FirstAttempt, e.AmbiguousSince = 1, now.Add(-23*time.Hour), now.Add(-23*time.Hour)
		}, false, delivered, 0, adapter.Dead, mapping.ReasonHorizonOver, 1},
		"never processed, days ago": {keyed, func(e *deliverytest.Event, now time.Time) {
			e.Attempts, e.FirstAttempt = 5, now.Add(-72*time.Hour)
		}, false, delivered, 1, adapter.Delivered, "", 6},
		"received days ago": {keyed, func(e *deliverytest.Event,
			now time.Time) {
			e.ReceivedAt = now.Add(-240 * time.Hour)
		}, false, delivered, 1, adapter.Delivered, "",
			1},
		"keyed, interrupted": {keyed, func(e *deliverytest.Event, _ time.Time) { e.Marked = true }, true,
			delivered, 1, adapter.Delivered, "", 1},
		"unkeyed, interrupted": {unkeyed, func(e *deliverytest.Event, _ time.Time) { e.Marked = true }, true,
			delivered, 0, adapter.Dead, mapping.ReasonUnkeyedAmbiguous, 0},
		"unkeyed, to be retried": {unkeyed, func(e *deliverytest.Event, _ time.Time) { e.Marked = true }, false,
			delivered, 1, adapter.Delivered, "", 1},
		"unkeyed, once ambiguous": {unkeyed, func(e *deliverytest.Event, now time.Time) {
			e.Attempts,
				e.AmbiguousSince = 1, now
		}, true, delivered, 0, adapter.Dead, mapping.ReasonUnkeyedAmbiguous, 1},
		"unkeyed, ambiguous for too long": {unkeyed, func(e *deliverytest.Event, now time.Time) {
			e.Attempts, e.AmbiguousSince = 1, now.Add(-23*time.Hour)
		}, false, delivered, 0, adapter.Dead, mapping.ReasonHorizonOver, 1},
		"unkeyed, never processed": {unkeyed, func(e *deliverytest.Event, now time.Time) {
			e.Attempts,
				e.FirstAttempt = 1, now
		}, true, delivered, 1, adapter.Delivered, "", 2},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				sent := 0
				s := newSimulation(t, func(*mapping.UserEvent) adapter.Attempt {
					sent++
					return test.answer
				})
				s.options.UnkeyedDead = test.unkeyedDead
				s.accept("u", test.messageID)
				s.queue.Change(0, func(event *deliverytest.Event) { test.history(event, time.Now()) })
				stop := s.start()
				sleep(time.Second)
				stop()
				got := s.result(test.messageID)
				if sent != test.sent || got.Outcome != test.outcome || got.Reason != test.reason ||
					got.Attempts != test.attempts {
					t.Errorf("sent %d times, got %+v", sent, got)
				}
				if got.Outcome == adapter.Dead && got.Detail == "" {
					t.Error("no detail")
				}
			})
		})
	}
}

// TestLastTryIsBeforeTheHorizon follows an event that SaaSquatch never takes.
func TestLastTryIsBeforeTheHorizon(t *testing.T) {
	for name, answer := range map[string]adapter.Attempt{"ambiguous": serverError, "unprocessed": unreachable} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var sent []time.Time
				s := newSimulation(t, func(*mapping.UserEvent) adapter.Attempt {
					sent = append(sent, time.Now())
					time.Sleep(2 * time.Second)
					return answer
				})
				s.queue.LongPoll = true
				s.accept("u", "message-1")
				stop := s.start()
				sleep(30 * time.Hour)
				stop()
				got := s.result("message-1")
				if got.Outcome != adapter.Dead || got.Reason != mapping.ReasonHorizonOver ||
					got.Attempts != len(sent) || !strings.Contains(got.Detail, string(answer.Reason)) {
					t.Errorf("got %+v after %d attempts", got, len(sent))
				}
				last := sent[len(sent)-1].Sub(sent[0])
				// It is due ten seconds before the horizon. A paused tenant lets it begin later.
				if last > adapter.DefaultHorizon || last < adapter.DefaultHorizon-time.Minute {
					t.Errorf("the last attempt was %v after the first", last)
				}
			})
		})
	}
}

// TestRetriesAreSpaced has the jitter always be the longest.
func TestRetriesAreSpaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSimulation(t, func(*mapping.UserEvent) adapter.Attempt { return serverError })
		s.options.Random = func() float64 { return 0.999999 }
		s.accept("u", "message-1")
		stop := s.start()
		var waits []time.Duration
		for attempts := 0; len(waits) < 13; sleep(100 * time.Millisecond) {
			if event := s.queue.Event("message-1"); event.Recorded > attempts {
				attempts = event.Recorded
				waits = append(waits, event.Wait.Round(time.Second))
			}
		}
		second := time.Second
		want := []time.Duration{4 * second, 8 * second, 16 * second, 32 * second, 64 * second, 128 * second,
			256 * second, 512 * second, 1024 * second, 1800 * second, 1800 * second, 1800 * second, 1800 * second}
		if !slices.Equal(waits, want) {
			t.Errorf("waits %v", waits)
		}
		stop()
	})
}

func TestRetryAfterIsHonoured(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSimulation(t, func(*mapping.UserEvent) adapter.Attempt {
			return adapter.Attempt{Outcome: adapter.Pending, Reason: mapping.ReasonRateLimited, Status: 429,
				Unprocessed: true, RetryAfter: 10 * time.Minute}
		})
		s.accept("u", "message-1")
		stop := s.start()
		sleep(time.Second)
		if wait := s.queue.Event("message-1").Wait; wait < 10*time.Minute || wait > 10*time.Minute+4*time.Second {
			t.Errorf("waits %v", wait)
		}
		stop()
	})
}

// TestRefusedEventIsTriedSeldom has SaaSquatch forbid one event for ever while it
// takes others, so that the breaker sees no reason for a pause.
func TestRefusedEventIsTriedSeldom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const days = 7
		s := newSimulation(t, func(event *mapping.UserEvent) adapter.Attempt {
			if event.UserID == "forbidden" {
				return forbidden
			}
			return delivered
		})
		s.queue.LongPoll = true
		s.accept("forbidden", "message-1")
		stop := s.start()
		for i := range days * 24 * 60 {
			s.accept("u", fmt.Sprintf("other-%06d", i))
			time.Sleep(time.Minute)
		}
		synctest.Wait()
		event := s.queue.Event("message-1")
		if event.Outcome != adapter.Pending || event.Attempts != 0 || event.Last.Reason != mapping.ReasonForbidden {
			t.Errorf("got %+v", event)
		}
		// On average it waits for five minutes.
		if event.Recorded < days*24*6 || event.Recorded > days*24*20 {
			t.Errorf("%d attempts", event.Recorded)
		}
		stop()
	})
}

// TestWrongConfigurationKillsNothing has the API key be wrong for a weekend. Some of
// the events could not be delivered before that either.
func TestWrongConfigurationKillsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		answer, sent := unreachable, 0
		s := newSimulation(t, func(*mapping.UserEvent) adapter.Attempt {
			mu.Lock()
			defer mu.Unlock()
			sent++
			return answer
		})
		s.queue.LongPoll = true
		set := func(a adapter.Attempt) (before int) {
			mu.Lock()
			defer mu.Unlock()
			before, answer, sent = sent, a, 0
			return before
		}
		ids := messages("message", 500)
		for i, id := range ids {
			s.accept(fmt.Sprintf("user-%d", i), id)
		}
		stop := s.start()
		sleep(time.Minute)
		set(wrongKey)
		sleep(60 * time.Hour)
		// Three, the ones in flight with them, and a probe every five minutes.
		if n := set(delivered); n < 60*12/2 || n > 100+60*60/4 {
			t.Errorf("%d attempts with a wrong key", n)
		}
		sleep(20 * time.Minute)
		for _, id := range ids {
			if got := s.result(id); got.Outcome != adapter.Delivered {
				t.Fatalf("got %+v", got)
			}
		}
		stop()
	})
}

// TestTodaysRulesDecide changes the rules between acceptance and delivery.
func TestTodaysRulesDecide(t *testing.T) {
	for _, test := range []struct {
		mapped  mapping.Result
		outcome adapter.Outcome
	}{
		{mapping.Result{Kind: mapping.KindSkip, Reason: "event_not_selected"}, adapter.Skipped},
		{mapping.Result{Kind: mapping.KindReject, Reason: "empty_event_key", Detail: "nothing is left"},
			adapter.Rejected},
	} {
		t.Run(test.outcome.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSimulation(t, func(*mapping.UserEvent) adapter.Attempt {
					t.Error("it was sent")
					return delivered
				})
				s.accept("u", "message-1")
				accepted := time.Now()
				s.mapper = mapperFunc(func(_ []byte, now time.Time) mapping.Result {
					if !now.Equal(accepted) {
						t.Errorf("mapped at %v, accepted at %v", now, accepted)
					}
					return test.mapped
				})
				sleep(time.Hour)
				stop := s.start()
				sleep(time.Second)
				stop()
				got := s.result("message-1")
				if got.Outcome != test.outcome || string(got.Reason) != string(test.mapped.Reason) ||
					got.Detail != test.mapped.Detail || got.Attempts != 0 || got.Lag < time.Hour {
					t.Errorf("got %+v", got)
				}
			})
		})
	}
}

// TestPanicInMappingIsRetried has the mapping panic at one event until it is mended.
func TestPanicInMappingIsRetried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sent := 0
		s := newSimulation(t, func(*mapping.UserEvent) adapter.Attempt {
			sent++
			return delivered
		})
		s.accept("u", "message-1")
		s.accept("v", "message-2")
		sound := s.mapper
		var mended sync.Map
		s.mapper = mapperFunc(func(event []byte, now time.Time) mapping.Result {
			if _, ok := mended.Load(true); !ok && bytes.Contains(event, []byte("message-1")) {
				panic("a fault")
			}
			return sound.MapWith(event, now, mapping.Options{})
		})
		stop := s.start()
		sleep(time.Minute)
		event := s.queue.Event("message-1")
		if sent != 1 || s.panics < 2 || event.Attempts != s.panics ||
			event.Last.Reason != mapping.ReasonInternalError || !event.AmbiguousSince.IsZero() {
			t.Errorf("%d sent, %d panics, %+v", sent, s.panics, event)
		}
		mended.Store(true, true)
		sleep(time.Hour)
		if got := s.result("message-1"); got.Outcome != adapter.Delivered {
			t.Errorf("got %+v", got)
		}
		stop()
	})
}

// TestPanicInRecordIsContained checks that who is told cannot end the loop.
func TestPanicInRecordIsContained(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSimulation(t, func(*mapping.UserEvent) adapter.Attempt { return delivered })
		s.options.Record = func(adapter.Result) { panic("a fault") }
		s.accept("u", "message-1", "message-2")
		stop := s.start()
		sleep(time.Second)
		if stop(); s.queue.Pending() != 0 || s.panics != 2 {
			t.Errorf("%d pending, %d panics", s.queue.Pending(), s.panics)
		}
	})
}

// TestLostLeaseIsTold has an event be purged during its attempt.
func TestLostLeaseIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSimulation(t, nil)
		s.sender = deliverytest.NewSender(func(*mapping.UserEvent) adapter.Attempt {
			s.queue.Purge(0)
			return delivered
		})
		s.accept("u", "message-1")
		stop := s.start()
		sleep(time.Minute)
		stop()
		if len(s.results) != 0 || len(s.errors) != 1 || !errors.Is(s.errors[0], adapter.ErrLeaseLost) {
			t.Errorf("told %v and %v", s.results, s.errors)
		}
	})
}

// TestAttemptsEndBeforeTheirLeases has users with many events, so that leases end
// before it is their turn.
func TestAttemptsEndBeforeTheirLeases(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSimulation(t, nil)
		sent := make(map[string]int)
		var mu sync.Mutex
		s.sender = deliverytest.NewSender(func(event *mapping.UserEvent) adapter.Attempt {
			left := time.Until(s.queue.Event(event.IdempotencyKey).Until)
			if left < 10*time.Second {
				t.Errorf("an attempt began %v before the end of its lease", left)
			}
			mu.Lock()
			sent[event.IdempotencyKey]++
			mu.Unlock()
			time.Sleep(4 * time.Second)
			return delivered
		})
		s.queue.LeaseFor = 30 * time.Second
		for i := range 10 {
			s.accept(fmt.Sprintf("user-%d", i), messages(fmt.Sprintf("message-%d", i), 30)...)
		}
		stop := s.start()
		sleep(10 * time.Minute)
		stop()
		if n := s.queue.Pending(); n != 0 || len(sent) != 300 {
			t.Errorf("%d pending, %d sent", n, len(sent))
		}
		for id, n := range sent {
			if n != 1 {
				t.Errorf("%s was sent %d times", id, n)
			}
		}
	})
}

// TestNothingUnmarkedIsSent has the store fail to mark events that must not be sent
// twice.
func TestNothingUnmarkedIsSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSimulation(t, nil)
		s.queue.Fail(errStore, "mark")
		s.sender = deliverytest.NewSender(func(*mapping.UserEvent) adapter.Attempt {
			if !s.queue.Numbered(0).Marked {
				t.Error("it was sent unmarked")
			}
			return delivered
		})
		s.options.UnkeyedDead = true
		s.accept("u", "no key")
		stop := s.start()
		sleep(time.Minute)
		if state := s.breaker.State(); state.InFlight != 0 || s.queue.Pending() != 1 || len(s.errors) != 1 {
			t.Errorf("breaker %+v, %d pending, told %v", state, s.queue.Pending(), s.errors)
		}
		s.queue.Fail(nil, "mark")
		sleep(time.Second)
		stop()
		if got := s.result("no key"); got.Outcome != adapter.Delivered {
			t.Errorf("got %+v", got)
		}
	})
}

// TestLeaseFailureIsToldOnce has the store hand out nothing for an hour, twice.
func TestLeaseFailureIsToldOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSimulation(t, func(*mapping.UserEvent) adapter.Attempt { return delivered })
		stop := s.start()
		for i := range 2 {
			s.queue.Fail(errStore, "lease")
			id := fmt.Sprintf("message-%d", i)
			s.accept("u", id)
			sleep(time.Hour)
			if len(s.errors) != i+1 || !errors.Is(s.errors[i], errStore) {
				t.Errorf("told %v", s.errors)
			}
			s.queue.Fail(nil, "lease")
			sleep(6 * time.Second)
			if got := s.result(id); got.Outcome != adapter.Delivered {
				t.Errorf("got %+v", got)
			}
		}
		stop()
	})
}

// TestStopIsBoundedWhileTheStoreFails stops with attempts in flight whose outcomes
// cannot be recorded.
func TestStopIsBoundedWhileTheStoreFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSimulation(t, func(*mapping.UserEvent) adapter.Attempt {
			time.Sleep(3 * time.Second)
			return delivered
		})
		for i := range 100 {
			s.accept(fmt.Sprintf("user-%d", i), fmt.Sprintf("message-%06d", i))
		}
		stop := s.run()
		sleep(time.Second)
		s.queue.Fail(errStore)
		began := time.Now()
		err := stop()
		if took := time.Since(began); took < 2*time.Second || took > 8*time.Second {
			t.Errorf("took %v", took)
		}
		if !errors.Is(err, errStore) || len(s.results) != 0 {
			t.Errorf("got %v, told %d results", err, len(s.results))
		}
	})
}

// TestNewEventIsNoticedAtOnce has events come while there is nothing to do.
func TestNewEventIsNoticedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSimulation(t, func(*mapping.UserEvent) adapter.Attempt { return delivered })
		stop := s.start()
		for i := range 10 {
			sleep(10*time.Minute + 123*time.Millisecond - untilRecorded)
			id := fmt.Sprintf("message-%d", i)
			s.accept("u", id)
			sleep(untilRecorded)
			if got := s.result(id); got.Outcome != adapter.Delivered || got.Lag != 0 {
				t.Errorf("got %+v", got)
			}
		}
		stop()
	})
}

// TestStopCutsNoAttemptShort checks that attempts in flight end by themselves, and
// are recorded.
func TestStopCutsNoAttemptShort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSimulation(t, nil)
		s.accept("u", "message-1")
		s.accept("v", "message-2")
		s.sender = &deliverytest.Sender{Answer: func(ctx context.Context, _ *deliverytest.Call) adapter.Attempt {
			select {
			case <-time.After(3 * time.Second):
				return delivered
			case <-ctx.Done():
				return adapter.Attempt{Outcome: adapter.Pending, Reason: mapping.ReasonNetworkError}
			}
		}}
		stop := s.start()
		sleep(time.Second)
		stop()
		for _, id := range []string{"message-1", "message-2"} {
			if got := s.result(id); got.Outcome != adapter.Delivered || got.Duration != 3*time.Second {
				t.Errorf("%s: got %+v", id, got)
			}
		}
	})
}

// TestStopDuringAPause finds every worker waiting at the breaker.
func TestStopDuringAPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sent := 0
		s := newSimulation(t, func(*mapping.UserEvent) adapter.Attempt {
			sent++
			return delivered
		})
		for range 3 {
			permit, err := s.breaker.Acquire(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			permit.Done(wrongKey)
		}
		for i := range 6000 {
			s.accept(fmt.Sprintf("user-%d", i), fmt.Sprintf("message-%06d", i))
		}
		stop := s.start()
		sleep(time.Second)
		if s.queue.Stats().InHand != 4096 {
			t.Errorf("%d events in hand", s.queue.Stats().InHand)
		}
		began := time.Now()
		if stop(); time.Since(began) != 0 || sent != 0 {
			t.Errorf("stopped after %v, %d sent", time.Since(began), sent)
		}
	})
}

// TestWindowIsBounded has large events wait for slow attempts.
func TestWindowIsBounded(t *testing.T) {
	for name, test := range map[string]struct {
		events, bytes        int
		mostInHand, leastFew int
	}{
		"small": {10_000, 0, 4096, 4000},
		"large": {2000, 100 << 10, 32<<20/(100<<10) + 2, 300},
		"huge":  {20, 40 << 20, 2, 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSimulation(t, func(*mapping.UserEvent) adapter.Attempt {
					time.Sleep(time.Second)
					return delivered
				})
				body := bytes.Repeat([]byte("x"), test.bytes) // all share it
				for i := range test.events {
					user := fmt.Sprintf("user-%d", i)
					s.accept(user, fmt.Sprintf("message-%06d", i))
					if len(body) > 0 {
						s.queue.Change(i, func(event *deliverytest.Event) { event.Payload = body })
					}
				}
				if len(body) > 0 {
					s.mapper = mapperFunc(func([]byte, time.Time) mapping.Result {
						return mapping.Result{Kind: mapping.KindSkip, Reason: "identify_disabled"}
					})
					s.queue.Takes = time.Second
				}
				stop := s.start()
				sleep(10 * time.Minute)
				stop()
				if n := s.queue.Pending(); n != 0 || s.queue.Stats().MostInHand > test.mostInHand ||
					s.queue.Stats().MostInHand < test.leastFew {
					t.Errorf("%d pending, %d events in hand at most", n, s.queue.Stats().MostInHand)
				}
				if most := s.queue.Stats().MostBytes; most > 32<<20+int64(test.bytes) {
					t.Errorf("%d bytes in hand at most", most)
				}
			})
		})
	}
}
