package delivery_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/delivery"
	"segment-saasquatch/adapter/delivery/deliverytest"
	"segment-saasquatch/mapping"
)

// BenchmarkDispatcher delivers from an instant queue, by calls for one event and for many. SaaSquatch
// answers at once, or after 80 ms. Compare the events a second of one run.
func BenchmarkDispatcher(b *testing.B) {
	for _, takes := range []time.Duration{0, 80 * time.Millisecond} {
		for _, bulk := range []int{1, adapter.MaxBulk} {
			b.Run(fmt.Sprintf("takes=%v/bulk=%d", takes, bulk), func(b *testing.B) {
				benchmarkDispatcher(b, takes, bulk)
			})
		}
	}
}

func benchmarkDispatcher(b *testing.B, takes time.Duration, bulk int) {
	mapper, err := mapping.New(mapping.DefaultRules())
	if err != nil {
		b.Fatal(err)
	}
	var calls atomic.Int64
	sender := &deliverytest.Sender{KeepNothing: true}
	sender.Answer = func(context.Context, *deliverytest.Call) adapter.Attempt {
		calls.Add(1)
		time.Sleep(takes)
		return delivered
	}
	sender.Bulk = func(items []*deliverytest.Call) *adapter.BulkAttempt {
		calls.Add(1)
		time.Sleep(takes)
		return deliverytest.Whole(items, delivered)
	}
	queue := &endlessQueue{Queue: deliverytest.NewQueue(b), left: b.N, done: make(chan struct{})}
	breaker := delivery.NewBreaker(delivery.BreakerOptions{Floor: 64, Ceiling: 64})
	d := delivery.NewDispatcher(mapper, sender, breaker, queue, delivery.DispatcherOptions{Bulk: bulk})
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
	b.ReportMetric(float64(b.N)/float64(calls.Load()), "events/call")
}

// endlessQueue hands out as many events as are left, and takes any outcome.
type endlessQueue struct {
	*deliverytest.Queue
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
		user := fmt.Sprintf("user-%d", q.id%10_000)
		messageID := fmt.Sprintf("message-%d", q.id)
		leased[i] = adapter.Leased{ID: q.id, MessageID: messageID, UserID: user, AccountID: user,
			ReceivedAt: time.Now(),
			Payload: fmt.Appendf(nil,
				`{"type":"track","userId":%q,"event":"Order Completed","messageId":%q,`+
					`"properties":{"total":1}}`, user, messageID)}
	}
	return leased, nil
}

func (q *endlessQueue) RecordAll(_ context.Context, recordings []adapter.Recording) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.recorded -= len(recordings); q.recorded == 0 && q.left == 0 {
		close(q.done)
	}
	return nil
}

func (q *endlessQueue) Wake() <-chan struct{} { return nil }
