package delivery_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
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

// watchedQueue sees the steps that a Dispatcher records, before the queue does. An error of watch is that
// of RecordAll.
type watchedQueue struct {
	*deliverytest.Queue
	watch func(recordings []adapter.Recording) error
}

func (q *watchedQueue) RecordAll(ctx context.Context, recordings []adapter.Recording) error {
	if err := q.watch(recordings); err != nil {
		return err
	}
	return q.Queue.RecordAll(ctx, recordings)
}

// watch runs a Dispatcher on a watchedQueue.
func (s *simulation) watch(watch func(recordings []adapter.Recording) error) (stop func() error) {
	return s.runOn(&watchedQueue{s.queue, watch}, s.options)
}

// TestOutcomesAreRecordedTogether checks that outcomes share calls of the queue, and that none waits for
// long.
func TestOutcomesAreRecordedTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSimulation(t, func(*mapping.UserEvent) adapter.Attempt {
			time.Sleep(50 * time.Millisecond)
			return delivered
		})
		s.acceptOf(messages("user", 1000), messages("message", 1000))
		stop := s.start()
		sleep(10 * time.Second)
		s.checkToldOnce(1000)
		// There are 64 attempts at once, when the breaker knows the tenant.
		if n := s.queue.Stats().Records; n > 30 {
			t.Errorf("%d records", n)
		}
		before := s.queue.Stats().Records
		for i := range 20 {
			id := fmt.Sprintf("later-%d", i)
			s.accept("user", id)
			sleep(50*time.Millisecond + 10*time.Millisecond)
			if got := s.result(id); got.Outcome != adapter.Delivered {
				t.Errorf("got %+v", got)
			}
		}
		if n := s.queue.Stats().Records - before; n != 20 {
			t.Errorf("%d records of 20 outcomes", n)
		}
		stop()
	})
}

// TestNextEventNeedNotWaitForARecord has a slow queue. The next event of the user is sent meanwhile,
// unless the event before it has no key.
func TestNextEventNeedNotWaitForARecord(t *testing.T) {
	for messageID, waits := range map[string]bool{"message-1": false, "no key": true} {
		for _, dead := range []bool{false, true} {
			for _, bulk := range []int{1, adapter.MaxBulk} {
				synctest.Test(t, func(t *testing.T) {
					s := newSimulation(t, nil)
					s.options.UnkeyedDead, s.options.Bulk = dead, bulk
					s.queue.Takes = time.Second
					sender := deliverytest.NewNumberedSender(func(event *mapping.UserEvent, n int) adapter.Attempt {
						time.Sleep(100 * time.Millisecond)
						if event.IdempotencyKey == "message-2" {
							return delivered
						}
						if n == 1 && s.queue.Numbered(0).Recorded != 0 {
							t.Error("recorded before the attempt has ended")
						}
						return serverError
					})
					s.sender = sender
					s.accept("u", messageID, "message-2")
					stop := s.start()
					sleep(500 * time.Millisecond)
					want := []string{"u/x", "u/x"}
					if waits {
						want = want[:1]
					}
					if got := sender.Sent(); !slices.Equal(got, want) {
						t.Errorf("%s: sent %q", messageID, got)
					}
					sleep(2 * time.Second)
					if n := sender.Requests(); n < 2 {
						t.Errorf("%s: %d requests", messageID, n)
					}
					stop()
				})
			}
		}
	}
}

// TestStepsOfAUserKeepTheirOrder watches the order in which the steps of users are recorded, while the
// queue is slow, or does not say whether it has recorded them.
func TestStepsOfAUserKeepTheirOrder(t *testing.T) {
	for _, bulk := range []int{1, adapter.MaxBulk} {
		synctest.Test(t, func(t *testing.T) {
			s := newSimulation(t, nil)
			s.options.Bulk = bulk
			s.queue.Takes = 70 * time.Millisecond
			unknown := 0
			s.queue.Unknown = func() bool { unknown++; return unknown%3 == 0 }
			sender := deliverytest.NewSender(func(*mapping.UserEvent) adapter.Attempt {
				time.Sleep(10 * time.Millisecond)
				return delivered
			})
			s.sender = sender
			var mu sync.Mutex
			recorded := make(map[string][]string)
			stop := s.watch(func(recordings []adapter.Recording) error {
				mu.Lock()
				defer mu.Unlock()
				for _, r := range recordings {
					if of := recorded[r.Leased.UserID]; !slices.Contains(of, r.Leased.MessageID) {
						recorded[r.Leased.UserID] = append(of, r.Leased.MessageID)
					}
				}
				return nil
			})
			s.acceptOf(messages("user", 20), messages("message", 600))
			sleep(time.Minute)
			if err := stop(); err != nil {
				t.Error(err)
			}
			s.checkToldOnce(600)
			attempted := make(map[string][]string)
			for _, call := range sender.Ended() {
				attempted[call.UserID] = append(attempted[call.UserID], call.ID)
			}
			for user, ids := range attempted {
				if !slices.Equal(recorded[user], ids) || len(ids) != 30 {
					t.Errorf("attempted %v, recorded %v", ids, recorded[user])
				}
			}
			if unknown < 3 {
				t.Error("no record was unknown")
			}
		})
	}
}

// TestRefusedStepHoldsUpNoOther has the queue refuse the step of one event.
func TestRefusedStepHoldsUpNoOther(t *testing.T) {
	for _, bulk := range []int{1, adapter.MaxBulk} {
		synctest.Test(t, func(t *testing.T) {
			s := newSimulation(t, func(*mapping.UserEvent) adapter.Attempt { return delivered })
			s.options.Bulk = bulk
			var mended atomic.Bool
			var mu sync.Mutex
			recorded := make(map[string][]string)
			stop := s.watch(func(recordings []adapter.Recording) error {
				for _, r := range recordings {
					if r.Leased.MessageID == "message-000042" && !mended.Load() {
						return errStore
					}
				}
				mu.Lock()
				defer mu.Unlock()
				for _, r := range recordings {
					recorded[r.Leased.UserID] = append(recorded[r.Leased.UserID], r.Leased.MessageID)
				}
				return nil
			})
			ids := messages("message", 200)
			s.acceptOf(messages("user", 50), ids)
			sleep(time.Second)
			s.checkToldOnce(199)
			mu.Lock()
			for user, ids := range recorded {
				if !slices.IsSorted(ids) {
					t.Errorf("%s: recorded %v", user, ids)
				}
			}
			mu.Unlock()
			sleep(time.Minute)
			s.accept("user-000042", "message-later")
			sleep(untilRecorded)
			s.result("message-later")
			mended.Store(true)
			sleep(10 * time.Second)
			s.result("message-000042")
			if err := stop(); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestStopRecordsEverything stops in the midst of attempts, while the queue is slow or fails for a
// moment.
func TestStopRecordsEverything(t *testing.T) {
	for name, failure := range map[string]error{
		"slow": nil, "unavailable": &adapter.UnavailableError{Message: "the disk is full"}, "refused": errStore,
	} {
		for _, bulk := range []int{1, adapter.MaxBulk} {
			synctest.Test(t, func(t *testing.T) {
				s := newSimulation(t, nil)
				sender := deliverytest.NewSender(func(*mapping.UserEvent) adapter.Attempt {
					time.Sleep(2 * time.Second)
					return delivered
				})
				s.sender, s.options.Bulk = sender, bulk
				s.queue.Takes = 100 * time.Millisecond
				s.acceptOf(messages("user", 300), messages("message", 300))
				stop := s.start()
				sleep(time.Second)
				s.queue.Fail(failure, "record")
				time.AfterFunc(3*time.Second, func() { s.queue.Fail(nil, "record") })
				stop()
				if n := sender.Requests(); n == 0 || n != 300-s.queue.Pending() {
					t.Errorf("%s: %d were sent, %d are pending", name, n, s.queue.Pending())
				}
				s.checkToldOnce(sender.Requests())
				sleep(10 * time.Second)
			})
		}
	}
}

// TestLostMarkIsNotSent has another process get the lease of an unkeyed event before its mark.
func TestLostMarkIsNotSent(t *testing.T) {
	for _, bulk := range []int{1, adapter.MaxBulk} {
		synctest.Test(t, func(t *testing.T) {
			s := newSimulation(t, nil)
			sender := deliverytest.Always(delivered)
			s.sender, s.options.Bulk, s.options.UnkeyedDead = sender, bulk, true
			s.queue.Fault = func(operation string) error {
				if operation == "mark" && s.queue.Stats().Marks == 0 {
					s.queue.Purge(0)
				}
				return nil
			}
			s.accept("u", "no key", "message-2")
			stop := s.start()
			sleep(time.Second)
			if s.checkToldOnce(1); sender.Requests() != 1 || s.breaker.State().InFlight != 0 {
				t.Errorf("%d requests, breaker %+v", sender.Requests(), s.breaker.State())
			}
			stop()
		})
	}
}

// TestOlderUpsertIsNotSent has an upsert that was tried ten times become due while a newer one is in
// flight, or is delivered and not yet recorded.
func TestOlderUpsertIsNotSent(t *testing.T) {
	for _, bulk := range []int{1, adapter.MaxBulk} {
		for name, takes := range map[string]struct{ attempt, record time.Duration }{
			"in flight": {2 * time.Second, 0}, "not recorded": {50 * time.Millisecond, 2 * time.Second},
		} {
			synctest.Test(t, func(t *testing.T) {
				s, calls := newUpsertSimulation(t, nil)
				var attempt time.Duration
				calls.Answer = func(_ context.Context, call *deliverytest.Call) adapter.Attempt {
					time.Sleep(attempt)
					if call.ID == "message-1" && call.Number <= adapter.MaxHoldingTries {
						return serverError
					}
					return delivered
				}
				s.options.Bulk = bulk
				stop := s.start()
				s.acceptCalls("identify u message-1")
				for s.queue.Event("message-1").Tries < adapter.MaxHoldingTries {
					sleep(time.Second)
				}
				attempt, s.queue.Takes = takes.attempt, takes.record
				sleep(time.Until(s.queue.Event("message-1").Due) - time.Second)
				s.acceptCalls("identify u message-2")
				sleep(time.Minute)
				if got := namesOf(calls.succeeded()); got != "upsert message-2" {
					t.Errorf("%s: %s", name, got)
				}
				if got := s.result("message-1"); got.Reason != mapping.ReasonIdentifySuperseded {
					t.Errorf("%s: got %+v", name, got)
				}
				stop()
			})
		}
	}
}

// failingExpressions is a Mapper whose expressions panic for identify calls, until they are mended.
type failingExpressions struct {
	rules  func(event []byte, now time.Time, opts mapping.Options) mapping.Result
	mended *atomic.Bool
}

func (m failingExpressions) MapWith(event []byte, now time.Time, opts mapping.Options) mapping.Result {
	if !opts.RulesOnly && !m.mended.Load() && strings.Contains(string(event), "identify") {
		panic("a fault")
	}
	return m.rules(event, now, opts)
}

// TestPanicInAnIdentifyKeepsTheOrder has the expressions for an identify panic at first.
func TestPanicInAnIdentifyKeepsTheOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, calls := newUpsertSimulation(t, failing(0))
		mended := new(atomic.Bool)
		s.mapper = failingExpressions{s.mapper.MapWith, mended}
		stop := s.start()
		s.acceptCalls("identify u message-1", "track u message-2")
		sleep(20 * time.Second)
		if got := namesOf(calls.succeeded()); got != "" || s.panics == 0 {
			t.Errorf("%s after %d panics", got, s.panics)
		}
		mended.Store(true)
		sleep(time.Minute)
		if got := namesOf(calls.succeeded()); got != "upsert message-1, track message-2" {
			t.Error(got)
		}
		stop()
	})
}

// TestOrderHoldsWhileTheQueueIsSlow has an identify come while the one before it is put back, and an event
// while the identify is put back in turn.
func TestOrderHoldsWhileTheQueueIsSlow(t *testing.T) {
	for _, bulk := range []int{1, adapter.MaxBulk} {
		synctest.Test(t, func(t *testing.T) {
			s, calls := newUpsertSimulation(t, failing(1))
			s.options.Random, s.options.Bulk = func() float64 { return 0.9 }, bulk
			s.queue.Takes = 6 * time.Second
			stop := s.start()
			s.acceptCalls("identify u message-1")
			sleep(time.Second)
			s.acceptCalls("identify u message-2")
			sleep(6 * time.Second)
			s.acceptCalls("track u message-3")
			sleep(5 * time.Minute)
			if got := namesOf(calls.succeeded()); got != "upsert message-1, upsert message-2, track message-3" {
				t.Error(got)
			}
			stop()
		})
	}
}

// TestUpsertIsNotRepeatedAfterANewerOne has the queue refuse the step of a delivered upsert, until the
// process crashes. The next process repeats it, and must not repeat it after a newer one.
func TestUpsertIsNotRepeatedAfterANewerOne(t *testing.T) {
	for _, bulk := range []int{1, adapter.MaxBulk} {
		synctest.Test(t, func(t *testing.T) {
			s, calls := newUpsertSimulation(t, failing(0))
			s.options.Bulk = bulk
			stop := s.watch(func(recordings []adapter.Recording) error {
				for _, r := range recordings {
					if r.Leased.MessageID == "message-1" {
						return errStore
					}
				}
				return nil
			})
			s.acceptCalls("identify u message-1", "identify u message-2")
			sleep(time.Minute)
			s.queue.Fail(errStore)
			_ = stop()
			s.queue.Fail(nil)
			s.queue.Restart()
			end := s.start()
			sleep(time.Minute)
			s.checkToldOnce(2)
			if got := namesOf(calls.succeeded()); !strings.HasSuffix(got, "upsert message-1, upsert message-2") {
				t.Error(got)
			}
			end()
		})
	}
}

// TestReleaseOfAnUpsertIsRepeated has the queue fail to take back an upsert whose lease is about to end.
// Later events must not be sent before it.
func TestReleaseOfAnUpsertIsRepeated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, calls := newUpsertSimulation(t, failing(0))
		s.queue.LeaseFor = time.Minute
		s.queue.Overstated = -20 * time.Second // as far as the process knows
		s.breaker = delivery.NewBreaker(delivery.BreakerOptions{Floor: 1, Ceiling: 1})
		permit, err := s.breaker.Acquire(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		stop := s.start()
		s.acceptCalls("identify u message-1")
		sleep(20 * time.Second)
		s.queue.Fail(&adapter.UnavailableError{Message: "the disk is full"}, "release")
		sleep(10 * time.Second) // the process gives back the upsert 15 s before the end
		s.queue.Fail(nil, "release")
		s.acceptCalls("track u message-2")
		sleep(time.Second)
		permit.Cancel()
		sleep(5 * time.Minute)
		if got := namesOf(calls.succeeded()); got != "upsert message-1, track message-2" {
			t.Error(got)
		}
		stop()
	})
}
