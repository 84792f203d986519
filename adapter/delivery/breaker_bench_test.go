package delivery

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
)

// BenchmarkBreaker measures a request's share of the breaker, from Acquire to Done.
func BenchmarkBreaker(b *testing.B) {
	once := func(b *testing.B, g *Breaker, ctx context.Context) {
		permit, err := g.Acquire(ctx)
		if err != nil {
			b.Fatal(err)
		}
		permit.Done(delivered)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	b.Run("uncontended", func(b *testing.B) {
		b.ReportAllocs()
		g := NewBreaker(BreakerOptions{})
		for b.Loop() {
			once(b, g, ctx)
		}
	})
	b.Run("rate limit", func(b *testing.B) {
		b.ReportAllocs()
		g := NewBreaker(BreakerOptions{RateLimit: 1e9})
		for b.Loop() {
			once(b, g, ctx)
		}
	})
	// All but four wait at any time.
	b.Run("64 goroutines", func(b *testing.B) {
		b.ReportAllocs()
		g := NewBreaker(BreakerOptions{Floor: 4, Ceiling: 4})
		var left atomic.Int64
		left.Store(int64(b.N))
		var wait sync.WaitGroup
		for range 64 {
			wait.Go(func() {
				for left.Add(-1) >= 0 {
					permit, err := g.Acquire(ctx)
					if err != nil {
						b.Error(err)
						return
					}
					runtime.Gosched() // the request
					permit.Done(delivered)
				}
			})
		}
		wait.Wait()
	})
}
