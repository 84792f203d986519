package jsonata

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dop251/goja"
)

// active is how many evaluators are in use, or are being made for it.
var active atomic.Int64

// guard ends what runs in a runtime, at the latest after [Timeout]. The runtime itself
// heeds an interrupt between any two of its instructions; what runs in Go asks for the
// reason.
type guard struct {
	vm       *goja.Runtime
	began    time.Time
	peers    int64         // active at the begin
	finished chan struct{} // closed by end
	cause    atomic.Pointer[error]

	mu    sync.Mutex
	timer *time.Timer
	ended bool
}

// newGuard begins to guard the runtime, until end. It interrupts the runtime when done
// is closed.
func newGuard(vm *goja.Runtime, done <-chan struct{}) *guard {
	g := &guard{vm: vm, began: time.Now(), peers: active.Load(), finished: make(chan struct{})}
	g.mu.Lock()
	g.timer = time.AfterFunc(Timeout, g.expire)
	g.mu.Unlock()
	if done != nil {
		go func() {
			select {
			case <-done:
				g.interrupt(ErrEnded)
			case <-g.finished:
			}
		}()
	}
	return g
}

// expire ends what runs once it has had its time. Where more run at once than there are
// processors, it has had only its share of one.
func (g *guard) expire() {
	each := float64(max(g.peers, active.Load())) / float64(runtime.GOMAXPROCS(0))
	left := time.Duration(max(each, 1)*float64(Timeout)) - time.Since(g.began)
	if left <= 0 {
		g.interrupt(ErrTimeout)
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.ended {
		g.timer.Reset(left)
	}
}

// interrupt ends what runs, for a reason. The first reason counts. It does nothing
// after end, when something else may run.
func (g *guard) interrupt(reason error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.ended && g.cause.CompareAndSwap(nil, &reason) {
		g.vm.Interrupt(reason)
	}
}

// reason returns cause what runs has to end, nil if it need not.
func (g *guard) reason() error {
	if cause := g.cause.Load(); cause != nil {
		return *cause
	}
	return nil
}

// end ends the guard and returns the reason of an interrupt, nil if there was none.
func (g *guard) end() error {
	close(g.finished)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.ended = true
	g.timer.Stop()
	return g.reason()
}
