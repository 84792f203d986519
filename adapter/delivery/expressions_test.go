package delivery_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/delivery"
	"segment-saasquatch/adapter/delivery/deliverytest"
	"segment-saasquatch/mapping"
)

// endless is an expression that takes its whole time for each event.
const endless = `($f := function($n){$f($n)}; $f(1))`

// transforming returns a mapper that evaluates the expression over each track call, one
// at a time.
func transforming(t *testing.T, transform string) *mapping.Mapper {
	t.Helper()
	rules := mapping.DefaultRules()
	rules.AnyAge, rules.Transform = true, transform
	mapper, err := mapping.New(rules)
	if err != nil {
		t.Fatal(err)
	}
	return mapper.WithEvaluations(1)
}

func trackCalls(user string, count int) [][]byte {
	events := make([][]byte, count)
	for i := range events {
		events[i] = fmt.Appendf(nil, `{"type":"track","userId":"%s-%d","event":"x","messageId":"message-%[2]d"}`, user,
			i)
	}
	return events
}

// TestNoExpressionBeforeTheAnswer accepts events over which every expression fails, and
// delivers them.
func TestNoExpressionBeforeTheAnswer(t *testing.T) {
	rules := mapping.DefaultRules()
	rules.AnyAge = true
	rules.Transform = `fields.drop ? null : fields.keep ? {"key": "kept"} : $error("x")`
	rules.Segments = `$error("x")`
	mapper, err := mapping.New(rules)
	if err != nil {
		t.Fatal(err)
	}
	queue := deliverytest.NewQueue(t)
	results := make(chan adapter.Result, 10)
	record := func(r adapter.Result) { results <- r }
	durable := delivery.NewDurable(mapper, queue, delivery.DurableOptions{Record: record})
	receipt, err := durable.Accept(t.Context(), [][]byte{
		[]byte(`{"type":"track","userId":"u-1","event":"x","messageId":"message-1"}`),
		[]byte(`{"type":"track","userId":"u-2","event":"x","messageId":"message-2","properties":{"drop":true}}`),
		[]byte(`{"type":"track","userId":"u-3","event":"x","messageId":"message-3","properties":{"keep":true}}`),
		[]byte(`{"type":"identify","userId":"u-4","messageId":"message-4"}`),
		[]byte(`{"type":"page","userId":"u-5","messageId":"message-5"}`),
	})
	if err != nil {
		t.Fatal(err)
	}
	for i, result := range receipt.Results[:4] {
		if result.Outcome != adapter.Pending || result.Reason != mapping.ReasonAccepted || result.Detail != "" {
			t.Errorf("event %d is %+v", i+1, result)
		}
	}
	if got := receipt.Results[4]; got.Outcome != adapter.Skipped || (<-results).MessageID != "message-5" {
		t.Errorf("got %+v", got)
	}

	sender := deliverytest.Always(delivered)
	dispatcher := delivery.NewDispatcher(mapper, sender, delivery.NewBreaker(delivery.BreakerOptions{}), queue,
		delivery.DispatcherOptions{Record: record})
	ctx, stop := context.WithCancel(t.Context())
	stopped := make(chan error)
	go func() { stopped <- dispatcher.Run(ctx) }()
	got := make(map[string]adapter.Result)
	for len(got) < 4 {
		result := <-results
		if _, twice := got[result.MessageID]; twice {
			t.Errorf("%s was told twice", result.MessageID)
		}
		got[result.MessageID] = result
	}
	stop()
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	for id, want := range map[string]adapter.Result{
		"message-1": {Outcome: adapter.Rejected, Reason: mapping.RejectExpressionFailed},
		"message-2": {Outcome: adapter.Skipped, Reason: mapping.SkipEventNotSelected},
		"message-3": {Outcome: adapter.Delivered, EventKey: "kept"},
		"message-4": {Outcome: adapter.Rejected, Reason: mapping.RejectExpressionFailed},
	} {
		if r := got[id]; r.Outcome != want.Outcome || r.Reason != want.Reason || want.EventKey != "" &&
			r.EventKey != want.EventKey {
			t.Errorf("%s is %+v, want %+v", id, r, want)
		}
	}
}

// TestSlowExpressionsOfOneConnection delivers two connections, whose mappers take their
// time by themselves. The slow one delays nothing of the other, and ends at once.
func TestSlowExpressionsOfOneConnection(t *testing.T) {
	const events = 100
	type connection struct {
		queue   *deliverytest.Queue
		stopped chan error
		mu      sync.Mutex
		told    map[adapter.Outcome]int
		all     chan struct{} // closed when all have their outcomes
	}
	ctx, stop := context.WithCancel(t.Context())
	breaker := delivery.NewBreaker(delivery.BreakerOptions{})
	begin := func(transform string) *connection {
		c := &connection{queue: deliverytest.NewQueue(t), stopped: make(chan error),
			told: make(map[adapter.Outcome]int), all: make(chan struct{})}
		mapper := transforming(t, transform)
		if _, err := delivery.NewDurable(mapper, c.queue, delivery.DurableOptions{}).Accept(ctx,
			trackCalls("u", events)); err != nil {
			t.Fatal(err)
		}
		sender := deliverytest.Always(delivered)
		dispatcher := delivery.NewDispatcher(mapper, sender, breaker, c.queue,
			delivery.DispatcherOptions{Record: func(r adapter.Result) {
				c.mu.Lock()
				defer c.mu.Unlock()
				c.told[r.Outcome]++
				if c.told[r.Outcome] == events {
					close(c.all)
				}
			}})
		go func() { c.stopped <- dispatcher.Run(ctx) }()
		return c
	}
	slow := begin(endless)
	quick := begin(`$merge([$, {"key": "mapped"}])`)
	<-quick.all
	slow.mu.Lock()
	settled := slow.told[adapter.Rejected] + slow.told[adapter.Delivered]
	slow.mu.Unlock()
	if quick.told[adapter.Delivered] != events || settled > events/2 {
		t.Errorf("%v, when the slow connection had %d outcomes", quick.told, settled)
	}
	stop()
	for _, c := range []*connection{slow, quick} {
		if err := <-c.stopped; err != nil {
			t.Error(err)
		}
	}
	// What was cut short is pending as it was.
	slow.mu.Lock()
	defer slow.mu.Unlock()
	if pending, taken := slow.queue.Pending(), slow.queue.Stats().InHand; taken != 0 ||
		pending+slow.told[adapter.Rejected] != events {
		t.Errorf("%d are pending and %d in hand; told %v", pending, taken, slow.told)
	}
}

// TestDirectEvaluatesWithinItsBudget accepts more slow events than there is time for,
// until the budget is over and until the sender has left.
func TestDirectEvaluatesWithinItsBudget(t *testing.T) {
	const events = 200
	mapper := transforming(t, endless)
	sender := deliverytest.Always(delivered)
	for name, test := range map[string]struct{ budget, leaves time.Duration }{
		"budget":      {100 * time.Millisecond, time.Hour},
		"sender left": {time.Hour, 100 * time.Millisecond},
	} {
		direct := delivery.NewDirect(mapper, delivery.NewRetrier(sender,
			delivery.NewBreaker(delivery.BreakerOptions{}), delivery.RetrierOptions{}),
			delivery.DirectOptions{Budget: test.budget})
		ctx, leave := context.WithTimeout(t.Context(), test.leaves)
		receipt, err := direct.Accept(ctx, trackCalls("u", events))
		if err != nil || !receipt.Redeliver || ctx.Err() == nil && name != "budget" {
			t.Errorf("%s: redeliver %v, %v", name, receipt.Redeliver, err)
		}
		leave()
		unfinished := 0
		for i, result := range receipt.Results {
			if result.MessageID != fmt.Sprintf("message-%d", i) {
				t.Errorf("%s: event %d is %+v", name, i, result)
			}
			if result.Outcome == adapter.Pending && result.Reason == mapping.ReasonBudgetExceeded {
				unfinished++
			}
		}
		// Without an end to the evaluations, none of the events would be left.
		if unfinished < events/2 {
			t.Errorf("%s: %d events are pending", name, unfinished)
		}
	}
}

// TestEvaluationEndsWithTheLease has the lease of an identify end during its evaluation.
// It is given back as it was, and its user's next event does not overtake it.
func TestEvaluationEndsWithTheLease(t *testing.T) {
	rules := mapping.DefaultRules()
	rules.AnyAge, rules.Segments = true,
		`$string($reduce([1..60], function($made, $i){{"a": $made, "b": $made}}, {"x": 1}))`
	mapper, err := mapping.New(rules)
	if err != nil {
		t.Fatal(err)
	}
	queue, released := deliverytest.NewQueue(t), make(chan struct{})
	queue.Fault = func(operation string) error {
		if operation == "release" {
			released <- struct{}{}
		}
		return nil
	}
	told := make(chan adapter.Result, 2)
	// Half a second is left for the evaluation, a quarter of what it takes.
	queue.LeaseFor = 5*time.Second + 500*time.Millisecond
	_, err = delivery.NewDurable(mapper, queue, delivery.DurableOptions{}).Accept(t.Context(), [][]byte{
		[]byte(`{"type":"identify","userId":"u","messageId":"message-1"}`),
		[]byte(`{"type":"track","userId":"u","event":"x","messageId":"message-2"}`),
	})
	if err != nil {
		t.Fatal(err)
	}
	sender := deliverytest.NewSender(func(*mapping.UserEvent) adapter.Attempt {
		panic("an event overtook the identify of its user")
	})
	dispatcher := delivery.NewDispatcher(mapper, sender, delivery.NewBreaker(delivery.BreakerOptions{}), queue,
		delivery.DispatcherOptions{
			AttemptTimeout: time.Millisecond,
			Record:         func(r adapter.Result) { told <- r },
			OnPanic:        func(cause any, _ []byte) { told <- adapter.Result{Detail: fmt.Sprint(cause)} },
		})
	ctx, stop := context.WithCancel(t.Context())
	stopped := make(chan error)
	go func() { stopped <- dispatcher.Run(ctx) }()
	for range 2 { // the second time without an end of the first
		select {
		case <-released:
		case r := <-told:
			t.Fatalf("told %+v", r)
		}
	}
	stop()
	for {
		select {
		case <-released:
			continue
		case err := <-stopped:
			if err != nil {
				t.Error(err)
			}
		}
		break
	}
	if pending, taken := queue.Pending(), queue.Stats().InHand; pending != 2 || taken != 0 {
		t.Errorf("%d are pending, %d in hand", pending, taken)
	}
}
