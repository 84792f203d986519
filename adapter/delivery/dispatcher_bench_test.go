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

// BenchmarkDispatcher delivers through an instant sender from an instant queue.
func BenchmarkDispatcher(b *testing.B) {
	mapper, err := mapping.New(mapping.DefaultRules())
	if err != nil {
		b.Fatal(err)
	}
	sender := deliverytest.Always(delivered)
	sender.KeepNothing = true
	queue := &endlessQueue{Queue: deliverytest.NewQueue(b), left: b.N, done: make(chan struct{})}
	breaker := delivery.NewBreaker(delivery.BreakerOptions{Floor: 64, Ceiling: 64})
	d := delivery.NewDispatcher(mapper, sender, breaker, queue, delivery.DispatcherOptions{})
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
		user := fmt.Sprintf("user-%d", q.id%1000)
		leased[i] = adapter.Leased{ID: q.id, MessageID: "message-1", UserID: user, AccountID: user,
			ReceivedAt: time.Now(),
			Payload: fmt.Appendf(nil,
				`{"type":"track","userId":%q,"event":"Order Completed","messageId":"message-1",`+
					`"properties":{"total":1}}`, user)}
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
