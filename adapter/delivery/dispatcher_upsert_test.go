package delivery_test

import (
	"context"
	"encoding/json"
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
		body := fmt.Appendf(nil, `{"id":%q,"accountId":%q,"customFields":{"m":%q}}`, call.UserID, call.UserID, call.MessageID)
		return mapping.Result{
			Kind: mapping.KindUserUpsert, MessageID: call.MessageID,
			Upserts: []mapping.UserUpsert{{UserID: call.UserID, AccountID: call.UserID, Body: body}},
		}
	})
}

// callsFunc is SaaSquatch by a function. It keeps the calls in their order, those
// that were answered with success.
type callsFunc struct {
	answer func(call, user string, number int) adapter.Attempt

	mu   sync.Mutex
	n    map[string]int
	made []string // "track message-1" of those that succeeded
	all  []string
	last time.Time // when the last of them succeeded
}

func (c *callsFunc) call(kind, user, id string) adapter.Attempt {
	time.Sleep(50 * time.Millisecond)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n == nil {
		c.n = make(map[string]int)
	}
	c.n[id]++
	attempt := c.answer(kind, user, c.n[id])
	c.all = append(c.all, kind+" "+id)
	if attempt.Outcome == adapter.Delivered {
		c.made, c.last = append(c.made, kind+" "+id), time.Now()
	}
	return attempt
}

func (c *callsFunc) Track(_ context.Context, event *mapping.UserEvent) adapter.Attempt {
	return c.call("track", event.UserID, event.IdempotencyKey)
}

func (c *callsFunc) Upsert(_ context.Context, upsert *mapping.UserUpsert) adapter.Attempt {
	var body struct{ CustomFields struct{ M string } }
	_ = json.Unmarshal(upsert.Body, &body) // one without is that of an event
	return c.call("upsert", upsert.UserID, body.CustomFields.M)
}

func (c *callsFunc) succeeded() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return strings.Join(c.made, ", ")
}

// newUpsertSimulation is a simulation with identify calls over the calls.
func newUpsertSimulation(t *testing.T, answer func(call, user string, number int) adapter.Attempt) (*simulation, *callsFunc) {
	s := newSimulation(t, nil)
	calls := &callsFunc{answer: answer}
	s.mapper = identifies(t, mapping.EnsureNever)
	s.sender = delivery.NewSender(calls, delivery.SenderOptions{})
	return s, calls
}

// acceptCalls accepts calls such as "identify u message-1", all in one request.
func (s *simulation) acceptCalls(calls ...string) {
	s.Helper()
	var events [][]byte
	for _, call := range calls {
		words := strings.Fields(call)
		events = append(events, fmt.Appendf(nil, `{"type":%q,"userId":%q,"event":"x","messageId":%q}`, words[0], words[1], words[2]))
	}
	if _, err := delivery.NewDurable(s.mapper, s.queue, delivery.DurableOptions{}).Accept(context.Background(), events); err != nil {
		s.Fatal(err)
	}
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
		pass(time.Minute)
		// The attempts, the wait of 3.6 s, and the time until the queue is looked at.
		if took := calls.last.Sub(began); calls.succeeded() != "upsert message-1, track message-2, track message-3" || took > 4500*time.Millisecond {
			t.Errorf("%s after %v", calls.succeeded(), took)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

func TestIdentifyIsDelivered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, calls := newUpsertSimulation(t, failing(0))
		stop := s.start()
		s.acceptCalls("identify u message-1", "track u message-2")
		pass(time.Second)
		if got := s.result("message-1"); got.Outcome != adapter.Delivered || got.EventKey != adapter.UpsertEventKey || got.IdempotencyKey != "" || got.Attempts != 1 {
			t.Errorf("got %+v", got)
		}
		if event := s.queue.event("message-1"); event.UserID != "u" || event.AccountID != "u" || event.last.EventKey != adapter.UpsertEventKey {
			t.Errorf("stored %+v", event)
		}
		if got := calls.succeeded(); got != "upsert message-1, track message-2" {
			t.Error(got)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

// TestUpsertsAreNeverAmbiguous has upserts without a valid key that nobody knows the
// outcome of, where events like that are given up at once.
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
			s.longPolls = true
			s.options.UnkeyedDead = true
			s.queue.fault = func(operation string) error {
				if operation == "mark" {
					t.Errorf("%s: an upsert is marked as not to be repeated", name)
				}
				return nil
			}
			stop := s.start()
			s.acceptCalls("identify u m")
			for range 24 * 60 * 4 { // others keep the tenant from being paused
				s.acceptCalls(fmt.Sprintf("track v message-%d", time.Now().UnixNano()))
				pass(15 * time.Second)
			}
			if got := s.result("m"); got.Reason != test.want || got.Outcome.Settled() != true {
				t.Errorf("%s: got %+v", name, got)
			}
			if event := s.queue.event("m"); event.marked || event.Interrupted || !event.AmbiguousSince.IsZero() {
				t.Errorf("%s: stored %+v", name, event)
			}
			if err := stop(); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestEventsWaitForTheIdentify has an identify succeed at a later attempt, with
// events of its user before it, in the same request, and later.
func TestEventsWaitForTheIdentify(t *testing.T) {
	for _, fails := range []int{1, 3, 6} {
		synctest.Test(t, func(t *testing.T) {
			s, calls := newUpsertSimulation(t, failing(fails))
			s.options.Random = func() float64 { return 0.9 }
			stop := s.start()
			s.acceptCalls("track u message-1", "identify u message-2", "track u message-3", "identify u message-4", "track u message-5", "track v message-6")
			pass(time.Second)
			s.acceptCalls("track u message-7")
			if got := calls.succeeded(); got != "track message-1, track message-6" && got != "track message-6, track message-1" {
				t.Errorf("%d failures: after a second %s", fails, got)
			}
			for i := range 100 {
				pass(10 * time.Second)
				if i == 0 {
					s.acceptCalls("track u message-8")
				}
			}
			own := slices.DeleteFunc(calls.made, func(call string) bool { return call == "track message-6" })
			if got := strings.Join(own, ", "); got != "track message-1, upsert message-2, track message-3, upsert message-4, track message-5, track message-7, track message-8" {
				t.Errorf("%d failures: %s", fails, got)
			}
			if n := len(calls.all); n != 8+2*fails {
				t.Errorf("%d failures: %d calls", fails, n)
			}
			if err := stop(); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestIdentifyHoldsBackForAWhile has an identify that never succeeds while the
// tenant works.
func TestIdentifyHoldsBackForAWhile(t *testing.T) {
	for name, answer := range map[string]adapter.Attempt{"fails": serverError, "is forbidden": {Outcome: adapter.Pending, Reason: mapping.ReasonForbidden, Misconfigured: true, Unprocessed: true}} {
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
			for time.Since(began) < 3*time.Hour && calls.succeeded() == "" {
				pass(time.Second)
			}
			t.Logf("an identify that %s held up the event for %v and %d attempts", name, time.Since(began), calls.n["message-1"])
			// A tenant that refuses the configuration is probed by either.
			if n := calls.n["message-1"]; calls.succeeded() != "track message-2" || n < 10 || n > 12 {
				t.Errorf("%s: %s after %d attempts at the identify", name, calls.succeeded(), n)
			}
			pass(time.Minute)
			s.acceptCalls("track u message-3")
			pass(15 * time.Minute) // for a pause of the tenant to end
			if got := calls.succeeded(); got != "track message-2, track message-3" {
				t.Errorf("%s: a later event waits still: %s", name, got)
			}
			if err := stop(); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestOrderOutlivesTheProcess ends the process while an identify waits for its next
// attempt, in order or by a crash. The next one must not send what is behind it.
func TestOrderOutlivesTheProcess(t *testing.T) {
	for _, crash := range []bool{false, true} {
		// The attempt takes 50 ms, and each record of the queue 100 ms.
		for after := 20 * time.Millisecond; after < 10*time.Second; after += 40 * time.Millisecond {
			synctest.Test(t, func(t *testing.T) {
				s, calls := newUpsertSimulation(t, failing(5))
				s.options.Random = func() float64 { return 0.9 }
				s.queue.takes = 100 * time.Millisecond
				var crashed atomic.Bool
				s.queue.fault = func(string) error {
					if crashed.Load() {
						return errStore
					}
					return nil
				}
				stop := s.start()
				s.acceptCalls("identify u message-1", "track u message-2", "track u message-3")
				pass(after)
				crashed.Store(crash)
				if err := stop(); err != nil && !crash {
					t.Error(err)
				}
				crashed.Store(false)
				s.queue.restart()
				s.sender = delivery.NewSender(calls, delivery.SenderOptions{})
				s.longPolls = true
				stop = s.start()
				for range 60 {
					pass(10 * time.Second)
				}
				if got := calls.succeeded(); got != "upsert message-1, track message-2, track message-3" {
					t.Errorf("crash=%t after %v: %s", crash, after, got)
				}
				if err := stop(); err != nil {
					t.Error(err)
				}
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
			s.queue.leaseFor = lease
			back = time.Now().Add(10 * time.Minute)
			stop := s.start()
			want := make(map[string][]string)
			for j, kind := range []string{"identify", "track", "identify", "track"} {
				pass(time.Duration(j) * 10 * time.Second)
				for i := range 50 {
					user := fmt.Sprintf("user-%d", i)
					id := fmt.Sprintf("message-%03d-%d", i, j)
					s.acceptCalls(fmt.Sprintf("%s %s %s", kind, user, id))
					want[user] = append(want[user], map[string]string{"identify": "upsert "}[kind]+id)
				}
			}
			for s.queue.pending() > 0 && time.Since(back) < 2*time.Hour {
				pass(time.Minute)
			}
			got := make(map[string][]string)
			for _, call := range calls.made {
				kind, id, _ := strings.Cut(call, " ")
				var i, j int
				if _, err := fmt.Sscanf(id, "message-%03d-%d", &i, &j); err != nil {
					t.Fatal(err)
				}
				user := fmt.Sprintf("user-%d", i)
				got[user] = append(got[user], map[string]string{"upsert": "upsert "}[kind]+id)
			}
			for user, calls := range want {
				if !slices.Equal(got[user], calls) {
					t.Errorf("leases of %v, %s: %v", lease, user, got[user])
				}
			}
			if err := stop(); err != nil {
				t.Error(err)
			}
		})
	}
}
