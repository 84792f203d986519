package jsonata

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dop251/goja"
)

// active counts the evaluators in use, including new ones.
var active atomic.Int64

// guard ends the current call of a runtime, at the latest after [Timeout]. The runtime stops between any two of its
// instructions. Go code asks for the reason itself.
type guard struct {
	vm       *goja.Runtime
	began    time.Time
	peers    int64         // active at the start
	finished chan struct{} // closed by end
	cause    atomic.Pointer[error]

	mu    sync.Mutex
	timer *time.Timer
	ended bool
}

// newGuard starts to guard the runtime, until end. It interrupts the runtime when done is closed.
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

// expire ends the call once it has had its time. If more calls run than there are processors, a call has had only its
// share of one.
func (g *guard) expire() {
	share := float64(max(g.peers, active.Load())) / float64(runtime.GOMAXPROCS(0))
	left := time.Duration(max(share, 1)*float64(Timeout)) - time.Since(g.began)
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

// interrupt ends the call for a reason. The first reason counts. After end it does nothing, since another call may
// run.
func (g *guard) interrupt(reason error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.ended && g.cause.CompareAndSwap(nil, &reason) {
		g.vm.Interrupt(reason)
	}
}

// reason returns why the call must end; nil if it may go on.
func (g *guard) reason() error {
	if cause := g.cause.Load(); cause != nil {
		return *cause
	}
	return nil
}

// end stops the guard and returns the reason of an interrupt; nil if there was none.
func (g *guard) end() error {
	close(g.finished)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.ended = true
	g.timer.Stop()
	return g.reason()
}
