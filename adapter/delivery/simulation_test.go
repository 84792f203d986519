package delivery_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/delivery"
	"segment-saasquatch/adapter/delivery/deliverytest"
	"segment-saasquatch/mapping"
)

var errStore = errors.New("the store is out of order")

// Answers of SaaSquatch.
var (
	delivered   = adapter.Attempt{Outcome: adapter.Delivered, Status: 200}
	conflict    = adapter.Attempt{Outcome: adapter.Duplicate, Reason: mapping.ReasonConflict, Status: 409}
	serverError = adapter.Attempt{Outcome: adapter.Pending, Reason: mapping.ReasonServerError, Status: 503}
	unreachable = adapter.Attempt{Outcome: adapter.Pending, Reason: mapping.ReasonNetworkError, Unprocessed: true}
	wrongKey    = adapter.Attempt{
		Outcome: adapter.Pending, Reason: mapping.ReasonUnauthorized, Status: 401, Misconfigured: true,
		Unprocessed: true,
	}
)

// simulation is a Dispatcher between a queue and a SaaSquatch, both simulated.
type simulation struct {
	*testing.T
	queue   *deliverytest.Queue
	mapper  delivery.Mapper
	breaker *delivery.Breaker
	options delivery.DispatcherOptions
	sender  adapter.Sender
	prepare func(*delivery.Dispatcher)

	mu      sync.Mutex
	results map[string][]adapter.Result // by messageId
	errors  []error
	panics  int
}

// newSimulation returns a simulation whose SaaSquatch answers events by a function.
func newSimulation(t *testing.T, answer func(*mapping.UserEvent) adapter.Attempt) *simulation {
	t.Helper()
	s := &simulation{
		T: t, queue: deliverytest.NewQueue(t), mapper: newMapper(t), sender: deliverytest.NewSender(answer),
		breaker: delivery.NewBreaker(delivery.BreakerOptions{}), results: make(map[string][]adapter.Result),
	}
	s.options = delivery.DispatcherOptions{
		Record: func(r adapter.Result) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.results[r.MessageID] = append(s.results[r.MessageID], r)
		},
		OnError: func(err error) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.errors = append(s.errors, err)
		},
		OnPanic: func(any, []byte) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.panics++
		},
	}
	return s
}

func newMapper(t testing.TB) *mapping.Mapper {
	t.Helper()
	rules := mapping.DefaultRules()
	rules.AnyAge = true
	mapper, err := mapping.New(rules)
	if err != nil {
		t.Fatal(err)
	}
	return mapper
}

// run runs a Dispatcher until stop is called. stop returns when the Dispatcher has ended.
func (s *simulation) run() (stop func() error) {
	return s.runOn(s.queue, s.options)
}

// runOn runs a Dispatcher that sees the queue in another way.
func (s *simulation) runOn(queue adapter.Queue, options delivery.DispatcherOptions) (stop func() error) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	d := delivery.NewDispatcher(s.mapper, s.sender, s.breaker, queue, options)
	if s.prepare != nil {
		s.prepare(d)
	}
	go func() { ended <- d.Run(ctx) }()
	return func() error {
		cancel()
		return <-ended
	}
}

// start runs a Dispatcher until stop is called, which checks that it has released everything.
func (s *simulation) start() (stop func()) {
	stopped := s.run()
	return func() {
		s.Helper()
		if err := stopped(); err != nil {
			s.Error(err)
		}
		if n := s.queue.Stats().InHand; n != 0 {
			s.Errorf("%d events are still in hand", n)
		}
	}
}

// accept puts track calls of a user in the queue, all in one request.
func (s *simulation) accept(user string, messageIDs ...string) {
	s.Helper()
	s.acceptOf([]string{user}, messageIDs)
}

// acceptOf puts track calls in the queue, of the users by turns and all in one request.
func (s *simulation) acceptOf(users, messageIDs []string) {
	s.Helper()
	events := make([][]byte, len(messageIDs))
	for i, id := range messageIDs {
		events[i] = track(users[i%len(users)], "x", id)
	}
	s.acceptEvents(events)
}

func (s *simulation) acceptEvents(events [][]byte) {
	s.Helper()
	durable := delivery.NewDurable(s.mapper, s.queue, delivery.DurableOptions{})
	if _, err := durable.Accept(context.Background(), events); err != nil {
		s.Fatal(err)
	}
}

func track(user, event, messageID string) []byte {
	return fmt.Appendf(nil, `{"type":"track","userId":%q,"event":%q,"messageId":%q}`, user, event, messageID)
}

// messages returns n messageIds.
func messages(prefix string, n int) (ids []string) {
	for i := range n {
		ids = append(ids, fmt.Sprintf("%s-%06d", prefix, i))
	}
	return ids
}

// sleep lets simulated time pass, and waits until all that is due in it has happened.
func sleep(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// result returns the outcome that was recorded. It fails the test unless there is exactly one.
func (s *simulation) result(messageID string) adapter.Result {
	s.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := len(s.results[messageID]); n != 1 {
		s.Fatalf("%s was told %d times", messageID, n)
	}
	return s.results[messageID][0]
}

// checkToldOnce checks that n outcomes were recorded, each once.
func (s *simulation) checkToldOnce(n int) {
	s.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.results) != n {
		s.Errorf("%d outcomes were told, want %d", len(s.results), n)
	}
	for id, results := range s.results {
		if len(results) != 1 {
			s.Errorf("%s was told %d times", id, len(results))
		}
	}
}

// mapperFunc is a Mapper.
type mapperFunc func(event []byte, now time.Time) mapping.Result

func (f mapperFunc) MapWith(event []byte, now time.Time, _ mapping.Options) mapping.Result {
	return f(event, now)
}
