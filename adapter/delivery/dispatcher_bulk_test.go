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

// bulkTakes is how long each call takes in the tests of bulk calls.
const bulkTakes = 100 * time.Millisecond

var (
	unknownUser = adapter.Attempt{Outcome: adapter.Dead, Reason: mapping.ReasonUserNotFound, Status: 404}
	unclear     = adapter.Attempt{
		Outcome: adapter.Pending, Reason: mapping.ReasonBulkUnclear, Status: 200, Alone: true,
	}
	tooLarge = adapter.Attempt{
		Outcome: adapter.Pending, Reason: mapping.ReasonBulkUnclear, Status: 413, Unprocessed: true, Alone: true,
	}
)

// newBulkSimulation is a simulation with calls for up to 100 events or upserts. SaaSquatch answers each
// item by a function.
func newBulkSimulation(
	t *testing.T, answer func(call *deliverytest.Call) adapter.Attempt,
) (*simulation, *deliverytest.Sender) {
	t.Helper()
	s := newSimulation(t, nil)
	client := &deliverytest.Sender{Answer: func(_ context.Context, call *deliverytest.Call) adapter.Attempt {
		time.Sleep(bulkTakes)
		return answer(call)
	}}
	s.mapper = identifies(t, mapping.EnsureMissing)
	s.sender = delivery.NewSender(client, delivery.SenderOptions{})
	s.options.Bulk = adapter.MaxBulk
	s.options.Random = func() float64 { return 0.9 }
	return s, client
}

func deliver(*deliverytest.Call) adapter.Attempt { return delivered }

// whole has every bulk call that meets a condition come to an attempt as a whole.
func whole(attempt adapter.Attempt, meets func(items []*deliverytest.Call) bool) func(
	[]*deliverytest.Call) *adapter.BulkAttempt {
	return func(items []*deliverytest.Call) *adapter.BulkAttempt {
		if !meets(items) {
			return nil
		}
		time.Sleep(bulkTakes)
		bulk := deliverytest.Whole(items, attempt)
		bulk.Divisible = attempt.Status == tooLarge.Status
		return bulk
	}
}

// has returns a condition: one of the items is of the user.
func has(user string) func(items []*deliverytest.Call) bool {
	return func(items []*deliverytest.Call) bool {
		return slices.ContainsFunc(items, func(call *deliverytest.Call) bool { return call.UserID == user })
	}
}

// checkBulks checks what holds for all bulk calls.
func checkBulks(t *testing.T, client *deliverytest.Sender) {
	t.Helper()
	for _, items := range client.Bulks() {
		users := make(map[string]bool)
		for _, item := range items {
			if users[item.UserID] || item.Kind != items[0].Kind || item.Kind == "track" && item.ID == "" {
				t.Errorf("%s %q of %s shares a call", item.Kind, item.ID, item.UserID)
			}
			users[item.UserID] = true
		}
		if len(items) > adapter.MaxBulk || len(items) < 1 {
			t.Errorf("a call of %d items", len(items))
		}
	}
}

// callsOf returns the calls for an event, such as "bulk" and "alone".
func callsOf(client *deliverytest.Sender, id string) (made []string) {
	for _, call := range client.Ended() {
		switch {
		case call.ID != id:
		case call.Bulk != 0:
			made = append(made, "bulk")
		default:
			made = append(made, "alone")
		}
	}
	return made
}

// TestBulkCallTakesWhatWaits checks that calls are full while enough events wait, and that an event does
// not wait for others.
func TestBulkCallTakesWhatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, client := newBulkSimulation(t, deliver)
		ids := messages("message", 250)
		s.acceptOf(messages("user", 250), ids)
		stop := s.start()
		sleep(bulkTakes + untilRecorded)
		for _, id := range ids {
			if got := s.result(id); got.Outcome != adapter.Delivered || got.Call != adapter.CallTrackBulk {
				t.Fatalf("got %+v", got)
			}
		}
		sizes := client.Sizes()
		if slices.Sort(sizes); !slices.Equal(sizes, []int{50, 100, 100}) {
			t.Errorf("calls of %v", sizes)
		}
		sleep(time.Minute)
		s.accept("user", "message-last")
		sleep(bulkTakes + untilRecorded)
		if got := s.result("message-last"); got.Call != adapter.CallTrack || got.Lag != bulkTakes {
			t.Errorf("got %+v", got)
		}
		checkBulks(t, client)
		stop()
	})
}

// TestBulkKeepsTheOrderOfAUser has users with many events, with identify calls and unkeyed events among
// them. Some fail at first.
func TestBulkKeepsTheOrderOfAUser(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var busy sync.Map
		s, client := newBulkSimulation(t, func(call *deliverytest.Call) adapter.Attempt {
			if call.Kind == "upsert" && call.Number == 1 && strings.HasSuffix(call.ID, "5") {
				return serverError
			}
			return delivered
		})
		answer := client.Answer
		client.Answer = func(ctx context.Context, call *deliverytest.Call) adapter.Attempt {
			if _, twice := busy.LoadOrStore(call.UserID, true); twice {
				t.Errorf("user %s has two attempts at once", call.UserID)
			}
			defer busy.Delete(call.UserID)
			return answer(ctx, call)
		}
		want := make(map[string][]string)
		for i := range 40 {
			for j := range 12 {
				user, id := fmt.Sprintf("user-%02d", i), fmt.Sprintf("message-%02d-%02d", i, j)
				kind := "track"
				if j%5 == 0 {
					kind = "identify"
				} else if j == 7 {
					id = "no" // a messageId that is no key
				}
				s.acceptCalls(kind + " " + user + " " + id)
				if id == "no" {
					id = ""
				}
				want[user] = append(want[user], id)
			}
		}
		stop := s.start()
		sleep(5 * time.Minute)
		got := make(map[string][]string)
		for _, call := range client.Ended() {
			if call.Attempt.Outcome == adapter.Delivered {
				got[call.UserID] = append(got[call.UserID], call.ID)
			}
		}
		for user, ids := range want {
			if !slices.Equal(got[user], ids) {
				t.Errorf("%s: %v", user, got[user])
			}
		}
		checkBulks(t, client)
		stop()
	})
}

// TestUsersOfTodaysRulesShareNoCall changes the rules, so that events of several users are events of one.
func TestUsersOfTodaysRulesShareNoCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, client := newBulkSimulation(t, deliver)
		s.acceptOf(messages("user", 20), messages("message", 20))
		before := s.mapper
		s.mapper = mapperFunc(func(event []byte, now time.Time) mapping.Result {
			mapped := before.MapWith(event, now, mapping.Options{})
			if n := mapped.UserEvent.UserID; n < "user-000010" {
				mapped.UserEvent.UserID, mapped.UserEvent.AccountID = "one", "one"
			}
			return mapped
		})
		stop := s.start()
		sleep(time.Minute)
		s.checkToldOnce(20)
		if sizes := client.Sizes(); !slices.Equal(sizes, []int{11}) {
			t.Errorf("calls of %v", sizes)
		}
		checkBulks(t, client)
		stop()
	})
}

// TestBulkItems has one item of a call come to something else than the others.
func TestBulkItems(t *testing.T) {
	const user, id = "user-000003", "message-000003"
	forItem := func(attempt adapter.Attempt) func(*deliverytest.Call) adapter.Attempt {
		return func(call *deliverytest.Call) adapter.Attempt {
			if call.ID == id && call.Bulk != 0 {
				return attempt
			}
			return delivered
		}
	}
	for name, test := range map[string]struct {
		answer   adapter.Attempt
		calls    string // all for the user
		within   time.Duration
		outcome  adapter.Outcome
		reason   mapping.Reason
		attempts int
	}{
		"conflict": {conflict, "track", bulkTakes, adapter.Duplicate, mapping.ReasonConflict, 1},
		"unknown user": {unknownUser, "track upsert track", 3 * bulkTakes, adapter.Delivered, "",
			1},
		"unclear": {unclear, "track track", 5 * time.Second, adapter.Delivered, "", 2},
		"refused": {adapter.Attempt{Outcome: adapter.Dead, Reason: mapping.ReasonRefused, Status: 400}, "track",
			bulkTakes, adapter.Dead, mapping.ReasonRefused, 1},
		"needs a call of its own": {tooLarge, "track track", 2 * bulkTakes, adapter.Delivered, "", 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, client := newBulkSimulation(t, forItem(test.answer))
				ids := messages("message", 20)
				s.acceptOf(messages("user", 20), ids)
				stop := s.start()
				sleep(bulkTakes + untilRecorded)
				for _, other := range ids {
					if other == id {
						continue
					}
					if got := s.result(other); got.Outcome != adapter.Delivered || got.Attempts != 1 {
						t.Errorf("%s: got %+v", other, got)
					}
				}
				sleep(test.within - bulkTakes)
				got := s.result(id)
				if got.Outcome != test.outcome || got.Reason != test.reason || got.Attempts != test.attempts {
					t.Errorf("got %+v", got)
				}
				var made []string
				for i, call := range client.Ended() {
					if call.UserID != user {
						continue
					}
					made = append(made, call.Kind)
					if alone := call.Bulk == 0; alone != (len(made) > 1) || call.Event != nil && call.ID != id {
						t.Errorf("call %d: %+v", i, call)
					}
				}
				if strings.Join(made, " ") != test.calls {
					t.Errorf("calls %v", made)
				}
				stop()
			})
		})
	}
}

// TestUnclearItemWaits checks that an event that SaaSquatch may have processed waits for its next attempt
// as others do.
func TestUnclearItemWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, client := newBulkSimulation(t, deliver)
		client.Bulk = whole(unclear, has("user-000000"))
		ids := messages("message", 20)
		s.acceptOf(messages("user", 20), ids)
		stop := s.start()
		sleep(bulkTakes + untilRecorded)
		for _, id := range ids {
			event := s.queue.Event(id)
			if event.Outcome != adapter.Pending || event.Wait != 3600*time.Millisecond ||
				event.AmbiguousSince.IsZero() {
				t.Fatalf("got %+v", event)
			}
		}
		sleep(5 * time.Second)
		for _, id := range ids {
			if got := s.result(id); got.Outcome != adapter.Delivered || got.Call != adapter.CallTrack ||
				!slices.Equal(callsOf(client, id), []string{"alone"}) {
				t.Errorf("got %+v by %v", got, callsOf(client, id))
			}
		}
		stop()
	})
}

// TestFailedBulkCallIsOneFailure has a call with more events than the breaker needs to open.
func TestFailedBulkCallIsOneFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var fails atomic.Int64
		s, client := newBulkSimulation(t, deliver)
		client.Bulk = whole(serverError, func([]*deliverytest.Call) bool { return fails.Add(1) == 1 })
		ids := messages("message", 100)
		s.acceptOf(messages("user", 100), ids)
		stop := s.start()
		sleep(bulkTakes + untilRecorded)
		if s.breaker.State().Paused {
			t.Error("the tenant is paused")
		}
		if n := s.queue.Stats().InHand; n != 0 {
			t.Errorf("%d are in hand", n)
		}
		sleep(10 * time.Second)
		for _, id := range ids {
			if got := s.result(id); got.Outcome != adapter.Delivered || got.Attempts != 2 {
				t.Fatalf("got %+v", got)
			}
		}
		stop()
	})
}

// TestRefusedBulkCallIsDivided has SaaSquatch take smaller calls only, or refuse calls with one event.
func TestRefusedBulkCallIsDivided(t *testing.T) {
	rounds := 0
	round := func(s *simulation, client *deliverytest.Sender) (sizes []int) {
		s.Helper()
		before := len(client.Sizes())
		ids := messages(fmt.Sprintf("message-%d", rounds), 100)
		rounds++
		s.acceptOf(messages("user", 100), ids)
		sleep(10 * time.Second)
		for _, id := range ids {
			if got := s.result(id); !got.Outcome.Settled() {
				s.Fatalf("got %+v", got)
			}
		}
		return client.Sizes()[before:]
	}
	moreThan := func(most int) func(items []*deliverytest.Call) bool {
		return func(items []*deliverytest.Call) bool { return len(items) > most }
	}
	synctest.Test(t, func(t *testing.T) {
		s, client := newBulkSimulation(t, deliver)
		stop := s.start()
		client.Bulk = whole(tooLarge, moreThan(30))
		if sizes := round(s, client); !slices.Equal(sizes, []int{100, 50, 25, 25, 50, 25, 25}) {
			t.Errorf("calls of %v", sizes)
		}
		for _, call := range client.Ended() {
			if call.Bulk == 0 {
				t.Errorf("%s went alone", call.ID)
			}
		}
		if sizes := round(s, client); slices.Max(sizes) > 30 || slices.Min(sizes) < 18 || len(sizes) > 5 {
			t.Errorf("calls of %v, although larger ones were refused", sizes)
		}
		client.Bulk = nil
		for range 60 {
			round(s, client)
		}
		if sizes := round(s, client); slices.Max(sizes) < 50 {
			t.Errorf("calls of %v, although larger ones pass again", sizes)
		}
		stop()
	})
	t.Run("single events", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s, client := newBulkSimulation(t, deliver)
			stop := s.start()
			client.Bulk = whole(tooLarge, moreThan(1))
			round(s, client)
			client.Bulk = nil
			for range 60 {
				round(s, client)
			}
			if sizes := round(s, client); len(sizes) == 0 || slices.Max(sizes) < 50 {
				t.Errorf("calls of %v, although larger ones pass again", sizes)
			}
			stop()
		})
	})
	t.Run("one event", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s, client := newBulkSimulation(t, func(call *deliverytest.Call) adapter.Attempt {
				if call.UserID == "user-000042" {
					return adapter.Attempt{Outcome: adapter.Dead, Reason: mapping.ReasonRefused, Status: 400}
				}
				return delivered
			})
			stop := s.start()
			client.Bulk = whole(tooLarge, has("user-000042"))
			round(s, client)
			client.Bulk = nil
			if sizes := round(s, client); !slices.Equal(sizes, []int{100}) {
				t.Errorf("calls of %v, although only one event was refused", sizes)
			}
			n := 0
			for _, call := range client.Ended() {
				if call.Bulk == 0 {
					n++
				}
			}
			if got := s.result(fmt.Sprintf("message-%d-000042", rounds-2)); n != 1 || got.Outcome != adapter.Dead ||
				got.Call != adapter.CallTrack || got.Attempts != 1 {
				t.Errorf("%d alone, got %+v", n, got)
			}
			stop()
		})
	})
	t.Run("every call", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s, client := newBulkSimulation(t, deliver)
			stop := s.start()
			client.Bulk = whole(tooLarge, moreThan(0))
			if sizes := round(s, client); len(sizes) > 10 {
				t.Errorf("calls of %v, and each is refused", sizes)
			}
			stop()
		})
	})
	t.Run("halves that fail", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s, client := newBulkSimulation(t, deliver)
			stop := s.start()
			began := time.Now()
			client.Bulk = func(items []*deliverytest.Call) *adapter.BulkAttempt {
				attempt := serverError
				if len(items) == 100 {
					attempt = tooLarge
				}
				early := func([]*deliverytest.Call) bool { return time.Since(began) < time.Second }
				return whole(attempt, early)(items)
			}
			s.acceptOf(messages("user", 100), messages("first", 100))
			sleep(time.Minute)
			if sizes := round(s, client); !slices.Equal(sizes, []int{100}) {
				t.Errorf("calls of %v, although no smaller ones passed", sizes)
			}
			stop()
		})
	})
}

// TestRateLimitCountsEvents has a limit of 100 events a second.
func TestRateLimitCountsEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, client := newBulkSimulation(t, deliver)
		s.breaker = delivery.NewBreaker(delivery.BreakerOptions{RateLimit: 100})
		s.acceptOf(messages("user", 500), messages("message", 500))
		began := time.Now()
		stop := s.start()
		sleep(10 * time.Second)
		s.checkToldOnce(500)
		ended := client.Ended()
		// The first ten go at once.
		took := ended[len(ended)-1].Ended.Sub(began) - bulkTakes
		if took < 4900*time.Millisecond || took > 5*time.Second {
			t.Errorf("took %v", took)
		}
		if sizes := client.Sizes(); slices.Max(sizes) != 10 {
			t.Errorf("calls of %v", sizes)
		}
		stop()
	})
}

// TestBulkCallsEndBeforeTheirLeases has calls wait until leases end.
func TestBulkCallsEndBeforeTheirLeases(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s *simulation
		s, client := newBulkSimulation(t, deliver)
		client.Answer = func(_ context.Context, call *deliverytest.Call) adapter.Attempt {
			if left := time.Until(s.queue.Event(call.ID).Until); left < 15*time.Second {
				t.Errorf("an attempt began %v before the end of its lease", left)
			}
			time.Sleep(4 * time.Second)
			return delivered
		}
		s.breaker = delivery.NewBreaker(delivery.BreakerOptions{Floor: 1, Ceiling: 1})
		s.options.Bulk = 5
		s.queue.LeaseFor = 30 * time.Second
		ids := messages("message", 200)
		for _, half := range [][]string{ids[:100], ids[100:]} {
			s.acceptOf(messages("user", 100), half)
			sleep(time.Second)
		}
		stop := s.start()
		sleep(10 * time.Minute)
		stop()
		s.checkToldOnce(200)
		for _, id := range ids {
			if made := callsOf(client, id); len(made) != 1 {
				t.Errorf("%s was sent %d times", id, len(made))
			}
		}
	})
}

// TestUpsertsDoNotWaitForEvents has a slow call for the events that were taken with an identify.
func TestUpsertsDoNotWaitForEvents(t *testing.T) {
	for slow, quick := range map[string]string{"track": "upsert", "upsert": "track"} {
		synctest.Test(t, func(t *testing.T) {
			s, client := newBulkSimulation(t, deliver)
			client.Answer = func(_ context.Context, call *deliverytest.Call) adapter.Attempt {
				if call.Kind == slow {
					time.Sleep(5 * time.Second)
				}
				return delivered
			}
			for i := range 20 {
				kind := []string{"track", "identify"}[i%2]
				s.acceptCalls(fmt.Sprintf("%s user-%d message-%s-%06d", kind, i, kind, i))
			}
			stop := s.start()
			sleep(time.Second)
			if n := len(client.Ended()); n != 10 || client.Ended()[0].Kind != quick {
				t.Errorf("%d ended while the others take long", n)
			}
			sleep(10 * time.Second)
			s.checkToldOnce(20)
			stop()
		})
	}
}

// TestPendingUpsertsArePutBackTogether has a call for many upserts fail, beside one that succeeds, while
// the queue is slow.
func TestPendingUpsertsArePutBackTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := newBulkSimulation(t, func(call *deliverytest.Call) adapter.Attempt {
			if call.UserID != "user-000099" && call.Number == 1 {
				return serverError
			}
			return delivered
		})
		users := messages("user", 100)
		var calls []string
		for _, user := range users {
			calls = append(calls, "identify "+user+" identify-"+user, "track "+user+" track-"+user)
		}
		s.acceptCalls(calls...)
		s.queue.Takes = 200 * time.Millisecond
		stop := s.start()
		sleep(bulkTakes + 3*s.queue.Takes)
		if got := s.result("identify-user-000099"); got.Outcome != adapter.Delivered {
			t.Errorf("got %+v", got)
		}
		if stats := s.queue.Stats(); stats.InHand > 1 || stats.Records > 3 {
			t.Errorf("%+v", stats)
		}
		sleep(time.Minute)
		s.checkToldOnce(200)
		stop()
	})
}

// TestPanicInBulkCall has one event of a call make it panic. The others are delivered with their next
// attempts.
func TestPanicInBulkCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := newBulkSimulation(t, func(call *deliverytest.Call) adapter.Attempt {
			if call.UserID == "user-000003" {
				panic("a fault")
			}
			return delivered
		})
		ids := messages("message", 20)
		s.acceptOf(messages("user", 20), ids)
		stop := s.start()
		sleep(6 * time.Second)
		for i, id := range ids {
			if i == 3 {
				if event := s.queue.Event(id); event.Outcome != adapter.Pending || event.AmbiguousSince.IsZero() {
					t.Errorf("got %+v", event)
				}
				continue
			}
			if got := s.result(id); got.Outcome != adapter.Delivered || got.Attempts != 2 {
				t.Errorf("%s: got %+v", id, got)
			}
		}
		if state := s.breaker.State(); state.InFlight != 0 || s.panics != 2 {
			t.Errorf("breaker %+v, %d panics", state, s.panics)
		}
		stop()
	})
}

// TestUnkeyedEventsGoAlone mixes events with and without a key.
func TestUnkeyedEventsGoAlone(t *testing.T) {
	for _, dead := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			s, client := newBulkSimulation(t, deliver)
			s.options.UnkeyedDead = dead
			for i := range 40 {
				id := fmt.Sprintf("message-%d", i)
				if i%2 == 0 {
					id = fmt.Sprintf("no key %d", i)
				}
				s.accept(fmt.Sprintf("user-%d", i), id)
			}
			stop := s.start()
			sleep(time.Second)
			s.checkToldOnce(40)
			if sizes := client.Sizes(); !slices.Equal(sizes, []int{20}) || client.Requests() != 40 {
				t.Errorf("calls of %v, %d in all", sizes, client.Requests())
			}
			if marks := s.queue.Stats().Marks; dead != (marks == 20) || !dead && marks != 0 {
				t.Errorf("%d marks", marks)
			}
			checkBulks(t, client)
			stop()
		})
	}
}

// TestStopDuringBulkCalls stops while calls are in flight, and others wait for the breaker.
func TestStopDuringBulkCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, client := newBulkSimulation(t, func(call *deliverytest.Call) adapter.Attempt {
			time.Sleep(3 * time.Second)
			if strings.HasSuffix(call.ID, "7") && call.Bulk != 0 {
				return tooLarge // to be sent alone
			}
			return delivered
		})
		s.breaker = delivery.NewBreaker(delivery.BreakerOptions{Floor: 2, Ceiling: 2})
		s.acceptOf(messages("user", 1000), messages("message", 1000))
		stop := s.start()
		sleep(time.Second)
		stop()
		if pending := s.queue.Pending(); pending != 820 || client.Requests() != 200 {
			t.Errorf("%d are pending, %d were sent", pending, client.Requests())
		}
		s.checkToldOnce(180)
	})
}
