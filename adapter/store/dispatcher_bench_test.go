package store_test

import (
	"bytes"
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/delivery"
	"segment-saasquatch/adapter/delivery/deliverytest"
	"segment-saasquatch/adapter/store"
	"segment-saasquatch/mapping"
)

// BenchmarkBacklogOfOneUser delivers 2000 pending events of one user, and of as many
// users. Reported are events a second, and how long one user's take against a loop that
// sends and records one after the other. Target: up to 1.2 times as long.
func BenchmarkBacklogOfOneUser(b *testing.B) {
	for name, options := range map[string]func(testing.TB) store.Options{"sqlite": sqliteOptions,
		"postgres": postgresOptions} {
		b.Run(name, func(b *testing.B) {
			const events = 2000
			sender := newSleepingSender()
			one := func(int) string { return "user" }
			many := func(i int) string { return fmt.Sprint("user-", i) }
			var alone, ofOne, ofMany time.Duration
			for b.Loop() {
				alone += sendInTurn(b, pendingEvents(b, options(b), events, one), sender)
				ofOne += dispatchAll(b, pendingEvents(b, options(b), events, one), sender, events)
				ofMany += dispatchAll(b, pendingEvents(b, options(b), events, many), sender, events)
			}
			n := float64(b.N)
			b.ReportMetric(n*events/ofOne.Seconds(), "one-user-events/s")
			b.ReportMetric(n*events/ofMany.Seconds(), "many-users-events/s")
			b.ReportMetric(ofOne.Seconds()/alone.Seconds(), "×one-after-the-other")
			b.ReportMetric(0, "ns/op") // of all together, which means nothing
		})
	}
}

// newSleepingSender returns a sender that takes as long as a call to a sandbox nearby.
func newSleepingSender() *deliverytest.Sender {
	sender := deliverytest.NewSender(func(*mapping.UserEvent) adapter.Attempt {
		time.Sleep(1500 * time.Microsecond)
		return adapter.Attempt{Outcome: adapter.Delivered, Status: 200}
	})
	sender.KeepNothing = true
	return sender
}

// pendingEvents returns a queue with pending events.
func pendingEvents(b *testing.B, opts store.Options, n int, user func(int) string) *store.Queue {
	q := connection(b, open(b, opts), "default", "tenant")
	list := arrivals(0, n)
	for i := range list {
		list[i].UserID, list[i].AccountID = user(i), user(i)
		list[i].Payload = fmt.Appendf(nil,
			`{"type":"track","userId":%q,"event":"x","messageId":%q,"properties":{"text":%q}}`,
			user(i), list[i].MessageID, bytes.Repeat([]byte("x"), payloadBytes-150))
	}
	if err := q.Accept(context.Background(), list); err != nil {
		b.Fatal(err)
	}
	return q
}

// sendInTurn returns how long the calls and their records take one after the other.
func sendInTurn(b *testing.B, q *store.Queue, sender *deliverytest.Sender) time.Duration {
	began := time.Now()
	for {
		leased := lease(b, q, 1024)
		if len(leased) == 0 {
			return time.Since(began)
		}
		for i := range leased {
			at := time.Now()
			attempt := sender.Send(context.Background(), &mapping.Result{})
			record(b, q, leased[i:i+1], adapter.Step{Outcome: attempt.Outcome, Status: attempt.Status, Counted: true,
				Began: at, At: time.Now()})
		}
	}
}

// dispatchAll returns how long a Dispatcher takes for pending events.
func dispatchAll(b *testing.B, q *store.Queue, sender *deliverytest.Sender, events int) time.Duration {
	rules := mapping.DefaultRules()
	rules.AnyAge = true
	mapper, err := mapping.New(rules)
	if err != nil {
		b.Fatal(err)
	}
	var left atomic.Int64
	left.Store(int64(events))
	delivered, stopped := make(chan struct{}), make(chan error, 1)
	d := delivery.NewDispatcher(mapper, sender, delivery.NewBreaker(delivery.BreakerOptions{Floor: 64}), q,
		delivery.DispatcherOptions{
			Record: func(r adapter.Result) {
				if r.Outcome != adapter.Delivered {
					b.Errorf("%s ended as %s", r.MessageID, r.Outcome)
				}
				if left.Add(-1) == 0 {
					close(delivered)
				}
			},
			OnError: func(err error) { b.Error(err) },
		})
	ctx, cancel := context.WithCancel(context.Background())
	began := time.Now()
	go func() { stopped <- d.Run(ctx) }()
	<-delivered
	took := time.Since(began)
	cancel()
	if err := <-stopped; err != nil {
		b.Error(err)
	}
	return took
}
