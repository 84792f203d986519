package delivery_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/delivery"
	"segment-saasquatch/adapter/delivery/deliverytest"
	"segment-saasquatch/mapping"
)

// identifies maps events as the mapping does, and identify calls to one upsert of
// the user. Event and upsert carry the messageId for the test to tell them by.
func identifies(t testing.TB, ensure mapping.Ensure) delivery.Mapper {
	rules := mapping.DefaultRules()
	rules.AnyAge = true
	mapper, err := mapping.New(rules)
	if err != nil {
		t.Fatal(err)
	}
	return mapperFunc(func(event []byte, now time.Time) mapping.Result {
		var call struct{ Type, UserID, MessageID string }
		if err := json.Unmarshal(event, &call); err != nil {
			t.Error(err)
		}
		if call.Type != "identify" {
			mapped := mapper.Map(event, now)
			mapped.Ensure = ensure
			return mapped
		}
		body := fmt.Appendf(nil, `{"id":%q,"accountId":%q,"customFields":{"m":%q}}`, call.UserID, call.UserID,
			call.MessageID)
		return mapping.Result{
			Kind: mapping.KindUserUpsert, MessageID: call.MessageID,
			Upserts: []mapping.UserUpsert{{UserID: call.UserID, AccountID: call.UserID, Body: body}},
		}
	})
}

// calls is a simulated SaaSquatch that takes 50 ms for each call.
type calls struct{ *deliverytest.Sender }

// succeeded returns the calls that succeeded, such as "track message-1", in the order of the answers.
func (c calls) succeeded() (list []*deliverytest.Call) {
	for _, call := range c.Ended() {
		if call.Attempt.Outcome == adapter.Delivered {
			list = append(list, call)
		}
	}
	return list
}

func namesOf(list []*deliverytest.Call) string {
	names := make([]string, len(list))
	for i, call := range list {
		names[i] = call.Kind + " " + call.ID
	}
	return strings.Join(names, ", ")
}

// newUpsertSimulation is a simulation of identify calls and events.
func newUpsertSimulation(
	t *testing.T, answer func(kind, user string, number int) adapter.Attempt,
) (*simulation, calls) {
	s := newSimulation(t, nil)
	client := &deliverytest.Sender{Answer: func(_ context.Context, call *deliverytest.Call) adapter.Attempt {
		time.Sleep(50 * time.Millisecond)
		return answer(call.Kind, call.UserID, call.Number)
	}}
	s.mapper = identifies(t, mapping.EnsureNever)
	s.sender = delivery.NewSender(client, delivery.SenderOptions{})
	return s, calls{client}
}

// acceptCalls accepts calls such as "identify u message-1", all in one request.
func (s *simulation) acceptCalls(calls ...string) {
	s.Helper()
	var events [][]byte
	for _, call := range calls {
		words := strings.Fields(call)
		events = append(events, fmt.Appendf(nil, `{"type":%q,"userId":%q,"event":"x","messageId":%q}`, words[0],
			words[1], words[2]))
	}
	s.acceptEvents(events)
}

// failing answers the first upserts with 503, and everything else with success.
func failing(upserts int) func(string, string, int) adapter.Attempt {
	return func(call, user string, number int) adapter.Attempt {
		if call == "upsert" && user == "u" && number <= upserts {
			return serverError
		}
		return delivered
	}
}

// TestIdentifyHoldsBackNoLonger checks that what waited for an identify goes at once
// when that is through.
func TestIdentifyHoldsBackNoLonger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, calls := newUpsertSimulation(t, failing(1))
		s.options.Random = func() float64 { return 0.9 }
		stop := s.start()
		began := time.Now()
		s.acceptCalls("identify u message-1", "track u message-2", "track u message-3")
		sleep(time.Minute)
		// The attempts, the wait of 3.6 s, and the time until the queue is looked at.
		done := calls.succeeded()
		took := done[len(done)-1].Ended.Sub(began)
		if namesOf(done) != "upsert message-1, track message-2, track message-3" || took > 4500*time.Millisecond {
			t.Errorf("%s after %v", namesOf(done), took)
		}
		stop()
	})
}

func TestIdentifyIsDelivered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, calls := newUpsertSimulation(t, failing(0))
		stop := s.start()
		s.acceptCalls("identify u message-1", "track u message-2")
		sleep(time.Second)
		if got := s.result("message-1"); got.Outcome != adapter.Delivered || got.EventKey != adapter.UpsertEventKey ||
			got.IdempotencyKey != "" || got.Attempts != 1 {
			t.Errorf("got %+v", got)
		}
		if event := s.queue.Event("message-1"); event.UserID != "u" || event.AccountID != "u" ||
			event.Last.EventKey != adapter.UpsertEventKey {
			t.Errorf("stored %+v", event)
		}
		if got := namesOf(calls.succeeded()); got != "upsert message-1, track message-2" {
			t.Error(got)
		}
		stop()
	})
}

// TestUpsertsAreNeverAmbiguous has upserts without a valid key and with unknown
// outcomes, where such events are dead at once.
func TestUpsertsAreNeverAmbiguous(t *testing.T) {
	for name, test := range map[string]struct {
		answer adapter.Attempt
		fails  int
		want   mapping.Reason
	}{
		"once":  {adapter.Attempt{Outcome: adapter.Pending, Reason: mapping.ReasonTimeout}, 1, ""},
		"often": {adapter.Attempt{Outcome: adapter.Pending, Reason: mapping.ReasonNetworkError}, 10, ""},
		"ever":  {serverError, 1 << 30, mapping.ReasonHorizonOver},
	} {
		synctest.Test(t, func(t *testing.T) {
			s, _ := newUpsertSimulation(t, func(_, user string, number int) adapter.Attempt {
				if user == "u" && number <= test.fails {
					return test.answer
				}
				return delivered
			})
			s.queue.LongPoll = true
			s.options.UnkeyedDead = true
			s.queue.Fault = func(operation string) error {
				if operation == "mark" {
					t.Errorf("%s: an upsert is marked as not to be repeated", name)
				}
				return nil
			}
			stop := s.start()
			s.acceptCalls("identify u m")
			for range 24 * 60 * 4 { // others keep the tenant from being paused
				s.acceptCalls(fmt.Sprintf("track v message-%d", time.Now().UnixNano()))
				sleep(15 * time.Second)
			}
			if got := s.result("m"); got.Reason != test.want || got.Outcome.Settled() != true {
				t.Errorf("%s: got %+v", name, got)
			}
			if event := s.queue.Event("m"); event.Marked || event.Interrupted || !event.AmbiguousSince.IsZero() {
				t.Errorf("%s: stored %+v", name, event)
			}
			stop()
		})
	}
}

// TestMarkedEventWaitsForTheIdentify has a process die behind the calls for an identify and an event without a key,
// and before the record of the first. The next process sends the identify again, which fails, and not the event.
func TestMarkedEventWaitsForTheIdentify(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, calls := newUpsertSimulation(t, failing(2))
		s.options.UnkeyedDead = true
		s.acceptCalls("identify u message-1", "track u m", "track u message-2")
		s.queue.Change(1, func(event *deliverytest.Event) { event.Marked = true })
		stop := s.start()
		sleep(time.Minute)
		if got := namesOf(calls.succeeded()); got != "upsert message-1, track message-2" {
			t.Error(got)
		}
		if got := s.result("m"); got.Outcome != adapter.Dead || got.Reason != mapping.ReasonUnkeyedAmbiguous {
			t.Errorf("got %+v", got)
		}
		stop()
	})
}

// TestEventsWaitForTheIdentify has an identify succeed at a later attempt, with
// events of its user before it, in the same request, and later.
func TestEventsWaitForTheIdentify(t *testing.T) {
	for _, fails := range []int{1, 3, 6} {
		synctest.Test(t, func(t *testing.T) {
			s, calls := newUpsertSimulation(t, failing(fails))
			s.options.Random = func() float64 { return 0.9 }
			stop := s.start()
			s.acceptCalls("track u message-1", "identify u message-2", "track u message-3", "identify u message-4",
				"track u message-5", "track v message-6")
			sleep(time.Second)
			s.acceptCalls("track u message-7")
			if got := namesOf(calls.succeeded()); got != "track message-1, track message-6" &&
				got != "track message-6, track message-1" {
				t.Errorf("%d failures: after a second %s", fails, got)
			}
			for i := range 100 {
				sleep(10 * time.Second)
				if i == 0 {
					s.acceptCalls("track u message-8")
				}
			}
			own := slices.DeleteFunc(calls.succeeded(),
				func(call *deliverytest.Call) bool { return call.ID == "message-6" })
			if got := namesOf(
				own); got != "track message-1, upsert message-2, track message-3, "+
				"upsert message-4, track message-5, track message-7, track message-8" {
				t.Errorf("%d failures: %s", fails, got)
			}
			if n := calls.Requests(); n != 8+2*fails {
				t.Errorf("%d failures: %d calls", fails, n)
			}
			stop()
		})
	}
}

// TestIdentifyHoldsBackForAWhile has an identify that never succeeds while the
// tenant works.
func TestIdentifyHoldsBackForAWhile(t *testing.T) {
	for name, answer := range map[string]adapter.Attempt{"fails": serverError,
		"is forbidden": {Outcome: adapter.Pending, Reason: mapping.ReasonForbidden, Misconfigured: true,
			Unprocessed: true}} {
		synctest.Test(t, func(t *testing.T) {
			s, calls := newUpsertSimulation(t, func(call, _ string, _ int) adapter.Attempt {
				if call == "upsert" {
					return answer
				}
				return delivered
			})
			stop := s.start()
			s.acceptCalls("identify u message-1", "track u message-2")
			began := time.Now()
			for time.Since(began) < 3*time.Hour && len(calls.succeeded()) == 0 {
				sleep(time.Second)
			}
			attempts := strings.Count(strings.Join(calls.Kinds(), " "), "upsert")
			t.Logf("an identify that %s held up the event for %v and %d attempts", name, time.Since(began), attempts)
			// A tenant that refuses the configuration is probed by either.
			if got := namesOf(calls.succeeded()); got != "track message-2" || attempts < 10 || attempts > 12 {
				t.Errorf("%s: %s after %d attempts at the identify", name, got, attempts)
			}
			sleep(time.Minute)
			s.acceptCalls("track u message-3")
			sleep(15 * time.Minute) // for a pause of the tenant to end
			if got := namesOf(calls.succeeded()); got != "track message-2, track message-3" {
				t.Errorf("%s: a later event waits still: %s", name, got)
			}
			stop()
		})
	}
}

// TestOrderOutlivesTheProcess ends the process while an identify waits for its next
// attempt, in order or by a crash. The next process must not send the events behind it.
func TestOrderOutlivesTheProcess(t *testing.T) {
	for _, crash := range []bool{false, true} {
		// The attempt takes 50 ms, and each record of the queue 100 ms.
		for after := 20 * time.Millisecond; after < 10*time.Second; after += 40 * time.Millisecond {
			synctest.Test(t, func(t *testing.T) {
				s, calls := newUpsertSimulation(t, failing(5))
				s.options.Random = func() float64 { return 0.9 }
				s.queue.Takes = 100 * time.Millisecond
				var crashed atomic.Bool
				s.queue.Fault = func(string) error {
					if crashed.Load() {
						return errStore
					}
					return nil
				}
				stop := s.run()
				s.acceptCalls("identify u message-1", "track u message-2", "track u message-3")
				sleep(after)
				crashed.Store(crash)
				if err := stop(); err != nil && !crash {
					t.Error(err)
				}
				crashed.Store(false)
				s.queue.Restart()
				s.sender = delivery.NewSender(calls.Sender, delivery.SenderOptions{})
				s.queue.LongPoll = true
				end := s.start()
				for range 60 {
					sleep(10 * time.Second)
				}
				if got := namesOf(calls.succeeded()); got != "upsert message-1, track message-2, track message-3" {
					t.Errorf("crash=%t after %v: %s", crash, after, got)
				}
				end()
			})
		}
	}
}

// TestOrderOutlivesAnOutage has the tenant be down for a while, and identify and event
// be due at quite different times by then.
func TestOrderOutlivesAnOutage(t *testing.T) {
	for _, lease := range []time.Duration{0, 90 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			var back time.Time
			s, calls := newUpsertSimulation(t, func(string, string, int) adapter.Attempt {
				if time.Now().Before(back) {
					return serverError
				}
				return delivered
			})
			s.queue.LeaseFor = lease
			back = time.Now().Add(10 * time.Minute)
			stop := s.start()
			want := make(map[string][]string)
			for j, kind := range []string{"identify", "track", "identify", "track"} {
				sleep(time.Duration(j) * 10 * time.Second)
				for i := range 50 {
					user := fmt.Sprintf("user-%d", i)
					id := fmt.Sprintf("message-%03d-%d", i, j)
					s.acceptCalls(fmt.Sprintf("%s %s %s", kind, user, id))
					want[user] = append(want[user], map[string]string{"identify": "upsert "}[kind]+id)
				}
			}
			for s.queue.Pending() > 0 && time.Since(back) < 2*time.Hour {
				sleep(time.Minute)
			}
			got := make(map[string][]string)
			for _, call := range calls.succeeded() {
				got[call.UserID] = append(got[call.UserID], map[string]string{"upsert": "upsert "}[call.Kind]+call.ID)
			}
			for user, calls := range want {
				if !slices.Equal(got[user], calls) {
					t.Errorf("leases of %v, %s: %v", lease, user, got[user])
				}
			}
			stop()
		})
	}
}
