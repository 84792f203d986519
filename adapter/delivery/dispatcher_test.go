package delivery_test

import (
	"context"
	"errors"
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
	"segment-saasquatch/mapping"
)

// memoryQueue is a Queue in memory, as a store would be.
type memoryQueue struct {
	mu      sync.Mutex
	events  map[int64]*queued
	settled map[int64]adapter.Step
	next    int64
	wake    chan struct{}
	lease   time.Duration // how long leases last, 0 for ever
	fail    error         // of Record and Lease
	marks   int
}

type queued struct {
	adapter.Leased
	due   time.Time
	taken bool
}

func newMemoryQueue() *memoryQueue {
	return &memoryQueue{events: make(map[int64]*queued), settled: make(map[int64]adapter.Step), wake: make(chan struct{}, 1)}
}

func (q *memoryQueue) Accept(_ context.Context, arrivals []adapter.Arrival) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.fail != nil {
		return q.fail
	}
	for i := range arrivals {
		a := &arrivals[i]
		if a.Outcome != adapter.Pending {
			continue
		}
		if slices.ContainsFunc(arrivals[:i], func(b adapter.Arrival) bool { return a.Keyed && b.MessageID == a.MessageID }) {
			a.Outcome, a.Reason = adapter.Duplicate, mapping.ReasonAlreadyAccepted
			continue
		}
		q.next++
		q.events[q.next] = &queued{Leased: adapter.Leased{
			ID: q.next, MessageID: a.MessageID, UserID: a.UserID, AccountID: a.AccountID, Payload: slices.Clone(a.Payload), ReceivedAt: time.Now(),
		}, due: time.Now()}
	}
	select {
	case q.wake <- struct{}{}:
	default:
	}
	return nil
}

func (q *memoryQueue) Lease(_ context.Context, limit int, _ int64) ([]adapter.Leased, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.fail != nil {
		return nil, q.fail
	}
	var due []*queued
	for _, e := range q.events {
		if !e.taken && !e.due.After(time.Now()) {
			due = append(due, e)
		}
	}
	slices.SortFunc(due, func(a, b *queued) int {
		if c := a.due.Compare(b.due); c != 0 {
			return c
		}
		return int(a.ID - b.ID)
	})
	return q.take(due[:min(limit, len(due))]), nil
}

func (q *memoryQueue) LeaseParked(_ context.Context, parked []adapter.Parked, _ int64) ([]adapter.Leased, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.fail != nil {
		return nil, q.fail
	}
	var found []*queued
	for _, p := range parked {
		if e := q.events[p.ID]; e != nil && !e.taken && e.due.Equal(p.Due) {
			found = append(found, e)
		}
	}
	return q.take(found), nil
}

func (q *memoryQueue) take(events []*queued) (leased []adapter.Leased) {
	for _, e := range events {
		e.taken = true
		e.Token++
		if q.lease > 0 {
			e.Until = time.Now().Add(q.lease)
		}
		leased = append(leased, e.Leased)
	}
	return leased
}

func (q *memoryQueue) MarkSending(_ context.Context, leased *adapter.Leased) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.marks++
	return q.fail
}

func (q *memoryQueue) Record(_ context.Context, leased *adapter.Leased, step adapter.Step) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.fail != nil {
		return q.fail
	}
	e := q.events[leased.ID]
	if e == nil || e.Token != leased.Token {
		return adapter.ErrLeaseLost
	}
	if step.Outcome != adapter.Pending {
		delete(q.events, leased.ID)
		q.settled[leased.ID] = step
		return nil
	}
	e.taken, e.due = false, step.Due
	if step.Counted {
		e.Attempts++
		e.Failed++
		if e.FirstAttempt.IsZero() {
			e.FirstAttempt = step.Began
		}
	}
	if step.Ambiguous && e.AmbiguousSince.IsZero() {
		e.AmbiguousSince = step.Began
	}
	return nil
}

func (q *memoryQueue) Release(_ context.Context, leased []*adapter.Leased) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, l := range leased {
		if e := q.events[l.ID]; e != nil && e.Token == l.Token {
			e.taken = false
		}
	}
	return nil
}

func (q *memoryQueue) Wake() <-chan struct{} { return q.wake }

// left returns how many events are pending, and how many of those are in hand.
func (q *memoryQueue) left() (pending, taken int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, e := range q.events {
		pending++
		if e.taken {
			taken++
		}
	}
	return pending, taken
}

func (q *memoryQueue) setFail(err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.fail = err
}

// senderFunc is a Sender.
type senderFunc func(event *mapping.UserEvent) adapter.Attempt

func (f senderFunc) Send(_ context.Context, mapped *mapping.Result) adapter.Attempt {
	return f(&mapped.UserEvent)
}

var (
	delivered   = adapter.Attempt{Outcome: adapter.Delivered, Status: 200}
	serverError = adapter.Attempt{Outcome: adapter.Pending, Reason: mapping.ReasonServerError, Status: 503}
	unreachable = adapter.Attempt{Outcome: adapter.Pending, Reason: mapping.ReasonNetworkError, Unprocessed: true}
	wrongKey    = adapter.Attempt{Outcome: adapter.Pending, Reason: mapping.ReasonUnauthorized, Status: 401, Misconfigured: true, Unprocessed: true}
)

// rig is a Durable and a Dispatcher over a queue in memory.
type rig struct {
	*testing.T
	queue   *memoryQueue
	durable *delivery.Durable
	options delivery.DispatcherOptions
	// longPolls is for tests of simulated days, see longPoll.
	longPolls bool
	sender    senderFunc
	breaker   *delivery.Breaker

	mu      sync.Mutex
	results map[string]adapter.Result // by messageId
	times   map[string]int            // how often each was told
	errors  []error

	stop    context.CancelFunc
	stopped chan error
}

func newRig(t *testing.T, sender senderFunc) *rig {
	mapper, err := mapping.New(mapping.DefaultRules())
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{T: t, queue: newMemoryQueue(), sender: sender, results: make(map[string]adapter.Result), times: make(map[string]int), breaker: delivery.NewBreaker(delivery.BreakerOptions{})}
	tell := func(result adapter.Result) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.results[result.MessageID] = result
		r.times[result.MessageID]++
	}
	r.durable = delivery.NewDurable(mapper, r.queue, delivery.DurableOptions{Record: tell})
	r.options = delivery.DispatcherOptions{Record: tell, OnError: func(err error) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.errors = append(r.errors, err)
	}}
	return r
}

// start starts the loop.
func (r *rig) start() {
	mapper, err := mapping.New(mapping.DefaultRules())
	if err != nil {
		r.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r.stop, r.stopped = cancel, make(chan error, 1)
	queue := adapter.Queue(r.queue)
	if r.longPolls {
		queue = longPoll{r.queue, r.queue.untilDue}
	}
	d := delivery.NewDispatcher(mapper, r.sender, r.breaker, queue, r.options)
	go func() { r.stopped <- d.Run(ctx) }()
}

// end ends the loop and checks that it has given everything back.
func (r *rig) end() {
	r.Helper()
	r.stop()
	if err := <-r.stopped; err != nil {
		r.Error(err)
	}
	if _, taken := r.queue.left(); taken != 0 {
		r.Errorf("%d events are still in hand", taken)
	}
}

// accept accepts track calls of users with messageIds.
func (r *rig) accept(users, messageIDs []string) adapter.Receipt {
	r.Helper()
	var events [][]byte
	for i, id := range messageIDs {
		events = append(events, fmt.Appendf(nil, `{"type":"track","userId":%q,"event":"x","messageId":%q}`, users[i%len(users)], id))
	}
	receipt, err := r.durable.Accept(context.Background(), events)
	if err != nil {
		r.Fatal(err)
	}
	return receipt
}

func (r *rig) result(messageID string) adapter.Result {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.results[messageID]
}

// permit lets simulated time permit, and whatever is due in it happen.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func messages(prefix string, n int) (ids []string) {
	for i := range n {
		ids = append(ids, fmt.Sprintf("%s-%06d", prefix, i))
	}
	return ids
}

func TestDurableAccept(t *testing.T) {
	r := newRig(t, nil)
	receipt, err := r.durable.Accept(context.Background(), [][]byte{
		[]byte(`{"type":"track","userId":"u","event":"x","messageId":"message-1"}`),
		[]byte(`{"type":"track","userId":"u","event":"x","messageId":"message-1"}`),
		[]byte(`{"type":"page","userId":"u","messageId":"message-2"}`),
		[]byte(`{"type":"track","userId":"u","messageId":"message-3"}`),
	})
	if err != nil || receipt.Redeliver {
		t.Fatalf("got %+v, %v", receipt, err)
	}
	var got []string
	for i, result := range receipt.Results {
		if result.Index != i {
			t.Errorf("result %d has index %d", i, result.Index)
		}
		got = append(got, result.Outcome.String()+" "+string(result.Reason))
	}
	if want := "pending accepted, duplicate already_accepted, skipped unsupported_type, rejected missing_event_name"; strings.Join(got, ", ") != want {
		t.Errorf("got %s", strings.Join(got, ", "))
	}
	if r.times["message-2"] != 1 || r.times["message-3"] != 1 || r.results["message-1"].Outcome != adapter.Duplicate || r.times["message-1"] != 1 {
		t.Errorf("told %v", r.times)
	}
	r.queue.fail = &adapter.UnavailableError{Message: "the disk is full"}
	if _, err := r.durable.Accept(context.Background(), [][]byte{[]byte(`{}`)}); !errors.Is(err, r.queue.fail) {
		t.Errorf("got %v", err)
	}
}

func TestDispatchDelivers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(*mapping.UserEvent) adapter.Attempt {
			time.Sleep(100 * time.Millisecond)
			return delivered
		})
		r.start()
		ids := messages("message", 200)
		r.accept(messages("user", 50), ids)
		pass(10 * time.Second)
		for _, id := range ids {
			if got := r.result(id); got.Outcome != adapter.Delivered || got.Attempts != 1 || got.Lag <= 0 || got.IdempotencyKey != id || got.EventKey != "x" || got.Duration != 100*time.Millisecond {
				t.Fatalf("%s: got %+v", id, got)
			}
		}
		r.end()
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
		"delivered":                  {"message-1", false, []adapter.Attempt{delivered}, time.Second, adapter.Delivered, "", 1},
		"duplicate":                  {"message-1", false, []adapter.Attempt{conflict}, time.Second, adapter.Duplicate, mapping.ReasonConflict, 1},
		"conflict after failure":     {"message-1", false, []adapter.Attempt{serverError, conflict}, time.Minute, adapter.Duplicate, mapping.ReasonConflictAfterFailure, 2},
		"dead":                       {"message-1", false, []adapter.Attempt{dead}, time.Second, adapter.Dead, mapping.ReasonUserNotFound, 1},
		"retried":                    {"message-1", false, []adapter.Attempt{serverError, serverError, delivered}, time.Minute, adapter.Delivered, "", 3},
		"misconfigured":              {"message-1", false, []adapter.Attempt{wrongKey, wrongKey, delivered}, time.Minute, adapter.Delivered, "", 1},
		"horizon":                    {"message-1", false, []adapter.Attempt{serverError}, 23 * time.Hour, adapter.Dead, mapping.ReasonHorizonOver, 0},
		"horizon unreachable":        {"message-1", false, []adapter.Attempt{unreachable}, 23 * time.Hour, adapter.Dead, mapping.ReasonHorizonOver, 0},
		"misconfigured for days":     {"message-1", false, []adapter.Attempt{wrongKey}, 100 * time.Hour, 0, "", 0},
		"without a key":              {"m", false, []adapter.Attempt{serverError, delivered}, time.Minute, adapter.Delivered, "", 2},
		"without a key, ambiguous":   {"m", true, []adapter.Attempt{serverError, delivered}, time.Minute, adapter.Dead, mapping.ReasonUnkeyedAmbiguous, 1},
		"without a key, unprocessed": {"m", true, []adapter.Attempt{unreachable, delivered}, time.Minute, adapter.Delivered, "", 2},
		"with a key, ambiguous":      {"message-1", true, []adapter.Attempt{serverError, delivered}, time.Minute, adapter.Delivered, "", 2},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				script := test.script
				r := newRig(t, func(*mapping.UserEvent) adapter.Attempt {
					attempt := script[0]
					if len(script) > 1 {
						script = script[1:]
					}
					return attempt
				})
				r.longPolls = true
				r.options.UnkeyedDead = test.unkeyedDead
				r.start()
				r.accept([]string{"u"}, []string{test.messageID})
				pass(test.within)
				got := r.result(test.messageID)
				if got.Outcome != test.want || got.Reason != test.reason || test.attempts > 0 && got.Attempts != test.attempts {
					t.Errorf("got %+v", got)
				}
				if marked := r.queue.marks > 0; marked != (test.unkeyedDead && test.messageID == "m") {
					t.Errorf("%d marks", r.queue.marks)
				}
				r.end()
			})
		})
	}
}

// TestDamagedPayloadIsNotSent has the store find one of a user's payloads to be damaged.
// What it barriers would map to another event.
func TestDamagedPayloadIsNotSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var sent []string
		r := newRig(t, func(event *mapping.UserEvent) adapter.Attempt {
			sent = append(sent, event.IdempotencyKey)
			return delivered
		})
		r.accept([]string{"u"}, messages("m", 3))
		r.queue.events[2].Damaged = true
		r.start()
		pass(time.Minute)
		if !slices.Equal(sent, []string{"m-000000", "m-000002"}) {
			t.Errorf("sent %q", sent)
		}
		got := r.result("m-000001")
		if got.Outcome != adapter.Dead || got.Reason != mapping.ReasonPayloadDamaged || got.Attempts != 0 || got.IdempotencyKey != "" ||
			!strings.Contains(got.Detail, "replay the event") {
			t.Errorf("got %+v", got)
		}
		if step := r.queue.settled[2]; step.Counted || !step.Began.IsZero() {
			t.Errorf("recorded as an attempt: %+v", step)
		}
		r.end()
	})
}

// TestNothingIsSentAfterTheHorizon has a process be down for longer.
func TestNothingIsSentAfterTheHorizon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sent := 0
		r := newRig(t, func(*mapping.UserEvent) adapter.Attempt {
			sent++
			return serverError
		})
		r.start()
		r.accept([]string{"u"}, []string{"message-1"})
		pass(time.Second)
		r.end()
		pass(24 * time.Hour)
		before := sent
		r.start()
		pass(time.Hour)
		if got := r.result("message-1"); sent != before || got.Reason != mapping.ReasonHorizonOver {
			t.Errorf("sent %d times more, got %+v", sent-before, got)
		}
		r.end()
	})
}

// TestInterruptedAttempt starts with an event whose attempt nobody recorded.
func TestInterruptedAttempt(t *testing.T) {
	for _, test := range []struct {
		messageID string
		dead      bool
		want      adapter.Outcome
	}{{"m", true, adapter.Dead}, {"m", false, adapter.Delivered}, {"message-1", true, adapter.Delivered}} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, func(*mapping.UserEvent) adapter.Attempt { return delivered })
			r.options.UnkeyedDead = test.dead
			r.accept([]string{"u"}, []string{test.messageID})
			r.queue.events[1].Interrupted = true
			r.start()
			pass(time.Second)
			if got := r.result(test.messageID); got.Outcome != test.want {
				t.Errorf("%+v: got %+v", test, got)
			}
			r.end()
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
		r := newRig(t, func(event *mapping.UserEvent) adapter.Attempt {
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
		r.start()
		r.accept([]string{"one", "two"}, messages("message", 40))
		pass(time.Minute)
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
		r.end()
	})
}

// TestOneUserHoldsUpNoOther has one user with a great many slow events.
func TestOneUserHoldsUpNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(event *mapping.UserEvent) adapter.Attempt {
			if event.UserID == "slow" {
				time.Sleep(5 * time.Second)
			} else {
				time.Sleep(100 * time.Millisecond)
			}
			return delivered
		})
		r.start()
		r.accept([]string{"slow"}, messages("slow", 5000))
		pass(time.Second)
		r.accept(messages("user", 100), messages("quick", 100))
		pass(5 * time.Second)
		for _, id := range messages("quick", 100) {
			if got := r.result(id); got.Outcome != adapter.Delivered {
				t.Fatalf("%s: got %+v", id, got)
			}
		}
		r.end()
	})
}

// TestStoreFails has the queue fail for a while, in the midst of deliveries.
func TestStoreFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		sent := 0
		r := newRig(t, func(*mapping.UserEvent) adapter.Attempt {
			time.Sleep(time.Second)
			mu.Lock()
			defer mu.Unlock()
			sent++
			return delivered
		})
		r.start()
		r.accept(messages("user", 500), messages("message", 500))
		pass(1500 * time.Millisecond)
		r.queue.setFail(&adapter.UnavailableError{Message: "the disk is full"})
		pass(time.Minute)
		mu.Lock()
		stuck := sent
		mu.Unlock()
		pass(10 * time.Minute)
		mu.Lock()
		if sent != stuck {
			t.Errorf("%d events were sent whose outcome could not be recorded", sent-stuck)
		}
		mu.Unlock()
		r.queue.setFail(nil)
		pass(time.Minute)
		if pending, _ := r.queue.left(); pending != 0 || sent != 500 {
			t.Errorf("%d pending, %d sent", pending, sent)
		}
		for id, n := range r.times {
			if n != 1 {
				t.Errorf("%s was told %d times", id, n)
			}
		}
		if len(r.errors) == 0 || len(r.errors) > 3 {
			t.Errorf("%d errors were told", len(r.errors))
		}
		r.end()
	})
}

// TestLeaseRunsOut has events wait for longer than their leases last.
func TestLeaseRunsOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		attempts := make(map[string]int)
		var mu sync.Mutex
		r := newRig(t, func(event *mapping.UserEvent) adapter.Attempt {
			mu.Lock()
			defer mu.Unlock()
			attempts[event.IdempotencyKey]++
			return delivered
		})
		r.breaker = delivery.NewBreaker(delivery.BreakerOptions{RateLimit: 1})
		r.queue.lease = time.Minute
		r.start()
		r.accept(messages("user", 200), messages("message", 200))
		pass(10 * time.Minute)
		if len(attempts) != 200 {
			t.Errorf("%d events were sent", len(attempts))
		}
		for id, n := range attempts {
			if n != 1 {
				t.Errorf("%s was sent %d times", id, n)
			}
		}
		r.end()
	})
}

// TestStopInTheMiddle stops while attempts are under way.
func TestStopInTheMiddle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(*mapping.UserEvent) adapter.Attempt {
			time.Sleep(5 * time.Second)
			return delivered
		})
		r.start()
		r.accept(messages("user", 300), messages("message", 300))
		pass(2 * time.Second)
		began := time.Now()
		r.end()
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("took %v", took)
		}
		pending, _ := r.queue.left()
		if done := len(r.queue.settled); done == 0 || pending == 0 || done+pending != 300 || len(r.times) != done {
			t.Errorf("%d settled, %d pending, %d told", done, pending, len(r.times))
		}
	})
}

func TestPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		panics, told := 1, 0
		r := newRig(t, func(*mapping.UserEvent) adapter.Attempt {
			if panics > 0 {
				panics--
				panic("a fault")
			}
			return delivered
		})
		r.options.OnPanic = func(any, []byte) { told++ }
		r.start()
		r.accept([]string{"u"}, []string{"message-1"})
		pass(time.Minute)
		if got := r.result("message-1"); told != 1 || got.Outcome != adapter.Delivered || got.Attempts != 2 {
			t.Errorf("told %d times, got %+v", told, got)
		}
		r.end()
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
		r := newRig(t, func(*mapping.UserEvent) adapter.Attempt {
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
		r.longPolls = true
		r.start()
		for i := range events {
			r.accept([]string{fmt.Sprintf("user-%d", i)}, []string{fmt.Sprintf("message-%06d", i)})
			time.Sleep(12 * time.Second)
		}
		pass(2 * time.Hour)
		if pending, _ := r.queue.left(); pending != 0 {
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
		t.Logf("%d attempts at %d events, at most %d in a second of the outage, %d at once", total, events, worst, most)
		if total > 3*events || worst > 20 || most > adapter.DefaultConcurrency {
			t.Error("a storm")
		}
		for _, result := range r.results {
			if result.Outcome != adapter.Delivered {
				t.Fatalf("got %+v", result)
			}
		}
		r.end()
	})
}

// TestDispatchModel answers at random for a simulated day, and looks for events
// that are told twice, never, or sent after their horizon.
func TestDispatchModel(t *testing.T) {
	for seed := range uint64(3) {
		synctest.Test(t, func(t *testing.T) {
			random, ours := rand.New(rand.NewPCG(seed, 1)), rand.New(rand.NewPCG(seed, 2))
			var mu sync.Mutex // random is SaaSquatch's
			first := make(map[string]time.Time)
			attempts := []adapter.Attempt{delivered, serverError, serverError, unreachable,
				{Outcome: adapter.Pending, Reason: mapping.ReasonRateLimited, Status: 429, Unprocessed: true, RetryAfter: time.Second},
				{Outcome: adapter.Dead, Reason: mapping.ReasonRefused, Status: 400}}
			r := newRig(t, func(event *mapping.UserEvent) adapter.Attempt {
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
			r.longPolls = true
			r.start()
			const events = 600
			for i := range events / 20 {
				var ids []string
				for j := range 20 {
					ids = append(ids, fmt.Sprintf("message-%06d", i*20+j))
				}
				r.accept(messages("user", 1+ours.IntN(10)), ids)
				time.Sleep(time.Duration(ours.IntN(1000)) * time.Second)
				if i%10 == 9 {
					r.end()
					time.Sleep(time.Duration(ours.IntN(3)) * time.Hour)
					r.start()
				}
			}
			pass(48 * time.Hour)
			r.end()
			if pending, _ := r.queue.left(); pending != 0 || len(r.times) != events {
				t.Errorf("seed %d: %d pending, %d told", seed, pending, len(r.times))
			}
			for id, n := range r.times {
				if n != 1 {
					t.Errorf("seed %d: %s was told %d times", seed, id, n)
				}
			}
		})
	}
}

// BenchmarkDispatcher delivers through an instant sender from an instant queue.
func BenchmarkDispatcher(b *testing.B) {
	mapper, err := mapping.New(mapping.DefaultRules())
	if err != nil {
		b.Fatal(err)
	}
	queue := &endlessQueue{left: b.N, done: make(chan struct{})}
	breaker := delivery.NewBreaker(delivery.BreakerOptions{Floor: 64, Ceiling: 64})
	d := delivery.NewDispatcher(mapper, senderFunc(func(*mapping.UserEvent) adapter.Attempt { return delivered }), breaker, queue, delivery.DispatcherOptions{})
	ctx, cancel := context.WithCancel(context.Background())
	b.ReportAllocs()
	b.ResetTimer()
	stopped := make(chan error)
	go func() { stopped <- d.Run(ctx) }()
	<-queue.done
	b.StopTimer()
	cancel()
	if err := <-stopped; err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
}

// endlessQueue hands out as many events as are left, and takes any outcome.
type endlessQueue struct {
	memoryQueue
	mu             sync.Mutex
	left, recorded int
	id             int64
	done           chan struct{}
}

func (q *endlessQueue) Lease(_ context.Context, limit int, _ int64) ([]adapter.Leased, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	leased := make([]adapter.Leased, min(limit, q.left))
	q.left -= len(leased)
	q.recorded += len(leased)
	for i := range leased {
		q.id++
		user := fmt.Sprintf("user-%d", q.id%1000)
		leased[i] = adapter.Leased{ID: q.id, MessageID: "message-1", UserID: user, AccountID: user, ReceivedAt: time.Now(),
			Payload: fmt.Appendf(nil, `{"type":"track","userId":%q,"event":"Order Completed","messageId":"message-1","properties":{"total":1}}`, user)}
	}
	return leased, nil
}

func (q *endlessQueue) Record(context.Context, *adapter.Leased, adapter.Step) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.recorded--; q.recorded == 0 && q.left == 0 {
		close(q.done)
	}
	return nil
}

func (q *endlessQueue) Wake() <-chan struct{} { return nil }
