package delivery_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/delivery"
	"segment-saasquatch/mapping"
)

// simulation is a Dispatcher over a simulatedQueue.
type simulation struct {
	*testing.T
	queue   *simulatedQueue
	mapper  delivery.Mapper
	breaker *delivery.Breaker
	options delivery.DispatcherOptions
	// longPolls is for tests of simulated days, see longPoll.
	longPolls bool
	send      senderFunc
	sender    adapter.Sender // instead of send, unless it is nil
	prepare   func(*delivery.Dispatcher)

	mu      sync.Mutex
	results map[string][]adapter.Result // by messageId
	errors  []error
	panics  int
}

func newSimulation(t *testing.T, send senderFunc) *simulation {
	t.Helper()
	rules := mapping.DefaultRules()
	rules.AnyAge = true
	mapper, err := mapping.New(rules)
	if err != nil {
		t.Fatal(err)
	}
	s := &simulation{
		T: t, queue: newSimulatedQueue(t), mapper: mapper, send: send,
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

// start runs a Dispatcher, and returns what ends it and waits for that.
func (s *simulation) start() (stop func() error) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	sender := s.sender
	if sender == nil {
		sender = s.send
	}
	queue := adapter.Queue(s.queue)
	if s.longPolls {
		queue = longPoll{s.queue, s.queue.untilDue}
	}
	d := delivery.NewDispatcher(s.mapper, sender, s.breaker, queue, s.options)
	if s.prepare != nil {
		s.prepare(d)
	}
	go func() { ended <- d.Run(ctx) }()
	return func() error {
		cancel()
		return <-ended
	}
}

// accept puts track calls of a user in the queue.
func (s *simulation) accept(user string, messageIDs ...string) {
	s.Helper()
	events := make([][]byte, len(messageIDs))
	for i, id := range messageIDs {
		events[i] = fmt.Appendf(nil, `{"type":"track","userId":%q,"event":"x","messageId":%q}`, user, id)
	}
	if _, err := delivery.NewDurable(s.mapper, s.queue, delivery.DurableOptions{}).Accept(context.Background(), events); err != nil {
		s.Fatal(err)
	}
}

// result returns the outcome that was told, and fails if it was not told once.
func (s *simulation) result(messageID string) adapter.Result {
	s.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := len(s.results[messageID]); n != 1 {
		s.Fatalf("%s was told %d times", messageID, n)
	}
	return s.results[messageID][0]
}

// TestHugeUserDelaysOthersLittle has a user with 30 000 events before others, in
// a store that takes a millisecond for each record.
func TestHugeUserDelaysOthersLittle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const huge, others = 30_000, 200
		var mu sync.Mutex
		var order []string
		s := newSimulation(t, func(event *mapping.UserEvent) adapter.Attempt {
			if event.UserID == "huge" {
				mu.Lock()
				order = append(order, event.IdempotencyKey)
				mu.Unlock()
			}
			time.Sleep(50 * time.Millisecond)
			return delivered
		})
		s.queue.takes = time.Millisecond
		s.accept("huge", messages("huge", huge)...)
		stop := s.start()
		for i := range others {
			s.accept(fmt.Sprintf("user-%d", i), fmt.Sprintf("other-%06d", i))
		}
		pass(30 * time.Second)
		slowest := time.Duration(0)
		for i := range others {
			slowest = max(slowest, s.result(fmt.Sprintf("other-%06d", i)).Lag)
		}
		t.Logf("others waited for %v at most; %d events parked until then", slowest, s.queue.parks)
		if slowest > 5*time.Second {
			t.Errorf("another user's event waited for %v", slowest)
		}
		// Those who come later meet the parked events coming back.
		for i := range 100 {
			pass(10 * time.Second)
			s.accept(fmt.Sprintf("user-%d", i), fmt.Sprintf("later-%06d", i))
		}
		pass(30 * time.Second)
		slowest = 0
		for i := range 100 {
			slowest = max(slowest, s.result(fmt.Sprintf("later-%06d", i)).Lag)
		}
		if slowest > 5*time.Second {
			t.Errorf("a later event waited for %v", slowest)
		}
		began := time.Now()
		for s.queue.pending() > 0 && time.Since(began) < 4*time.Hour {
			pass(time.Minute)
		}
		if n := s.queue.pending(); n > 0 {
			t.Errorf("%d are pending still", n)
		}
		inversions := 0
		for i := 1; i < len(order); i++ {
			if order[i] < order[i-1] {
				inversions++
			}
		}
		t.Logf("later ones waited for %v at most; %d parks for %d events, %d steps back in the order", slowest, s.queue.parks, huge, inversions)
		if s.queue.parks > 10*huge {
			t.Errorf("%d parks for %d events", s.queue.parks, huge)
		}
		if inversions > huge/100 {
			t.Errorf("%d steps back in the order of %d events", inversions, huge)
		}
		if took, alone := time.Since(began)+1030*time.Second, huge*51*time.Millisecond; took > alone*11/10 {
			t.Errorf("the huge user took %v, where it takes %v without parking", took, alone)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}
