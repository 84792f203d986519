package store_test

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"segment-saasquatch/adapter"
	"segment-saasquatch/adapter/delivery"
	"segment-saasquatch/adapter/delivery/deliverytest"
	"segment-saasquatch/mapping"
)

// tenant is a SaaSquatch that is down for a while.
type tenant struct {
	mu       sync.Mutex
	down     bool
	began    time.Time
	attempts map[int]int // by hour
	arrived  map[string]int
}

// answer takes 200 ms, or fails at once.
func (s *tenant) answer(event *mapping.UserEvent) adapter.Attempt {
	s.mu.Lock()
	s.attempts[int(time.Since(s.began).Hours())]++
	down := s.down
	if !down {
		s.arrived[event.IdempotencyKey]++
	}
	s.mu.Unlock()
	if down {
		return adapter.Attempt{Outcome: adapter.Pending, Reason: mapping.ReasonServerError, Status: 503}
	}
	time.Sleep(200 * time.Millisecond)
	return adapter.Attempt{Outcome: adapter.Delivered, Status: 200}
}

// TestOutage accepts events for a simulated hour while SaaSquatch is down. The
// backlog is on disk and not in memory, the attempts are few, and when it is back
// everything is delivered without a storm.
func TestOutage(t *testing.T) {
	const hours, batches, batch = 1, 100, 100
	opts := sqliteOptions(t)
	synctest.Test(t, func(t *testing.T) {
		s := open(t, opts)
		q := connection(t, s, "default", "tenant")
		saasquatch := &tenant{down: true, began: time.Now(), attempts: make(map[int]int),
			arrived: make(map[string]int)}
		sender := deliverytest.NewSender(saasquatch.answer)
		sender.KeepNothing = true // the test measures memory
		mapper, err := mapping.New(mapping.DefaultRules())
		if err != nil {
			t.Fatal(err)
		}
		durable := delivery.NewDurable(mapper, q, delivery.DurableOptions{})
		dispatcher := delivery.NewDispatcher(mapper, sender, delivery.NewBreaker(delivery.BreakerOptions{}), q,
			delivery.DispatcherOptions{})
		ctx, cancel := context.WithCancel(context.Background())
		stopped := make(chan error)
		go func() { stopped <- dispatcher.Run(ctx) }()

		var early, late uint64
		for i := range batches {
			var events [][]byte
			for j := range batch {
				n := i*batch + j
				events = append(events,
					fmt.Appendf(nil,
						`{"type":"track","userId":"user-%d","event":"x","messageId":"message-%08d","timestamp":%q,`+
							`"properties":{"filler":"%0500d"}}`,
						n%5000, n, time.Now().Format(time.RFC3339), n))
			}
			if _, err := durable.Accept(ctx, events); err != nil {
				t.Fatal(err)
			}
			time.Sleep(hours * time.Hour / batches)
			switch i {
			case batches / 4:
				early = heap()
			case batches - 1:
				late = heap()
			}
		}
		backlog, err := s.Backlog(ctx)
		if err != nil || backlog[0].Events != batches*batch {
			t.Fatalf("got %+v, %v", backlog, err)
		}
		t.Logf("%d events are pending, %d MB on disk; heap %d MB after a quarter, %d MB at the end", backlog[0].Events,
			fileSize(t, opts.Path)>>20, early>>20, late>>20)
		if late > early+3<<20 {
			t.Error("the backlog is in memory")
		}
		saasquatch.mu.Lock()
		saasquatch.down = false
		saasquatch.mu.Unlock()
		back := time.Now()
		for backlog[0].Events > 0 && time.Since(back) < 3*time.Hour {
			time.Sleep(10 * time.Second)
			if backlog, err = s.Backlog(ctx); err != nil {
				t.Fatal(err)
			}
		}
		t.Logf("drained %v after it was back", time.Since(back))
		cancel()
		if err := <-stopped; err != nil {
			t.Error(err)
		}
		for hour := range hours + 3 {
			t.Logf("hour %2d: %6d attempts", hour, saasquatch.attempts[hour])
		}
		if len(saasquatch.arrived) != batches*batch {
			t.Errorf("%d events arrived, want %d", len(saasquatch.arrived), batches*batch)
		}
		for key, n := range saasquatch.arrived {
			if n != 1 {
				t.Errorf("%s arrived %d times", key, n)
			}
		}
		down := 0
		for hour := range hours {
			down += saasquatch.attempts[hour]
		}
		if down > 300 {
			t.Errorf("%d attempts during the outage", down)
		}
		balanced(t, s)
	})
}

// heap returns how much memory is in use.
func heap() uint64 {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}
