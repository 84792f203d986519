package delivery

import (
	"sync"
	"sync/atomic"

	"segment-saasquatch/adapter"
	"segment-saasquatch/mapping"
)

// request is the events of one request on their way. Its results change until
// close; those who come after that are late.
type request struct {
	users    []*delivery   // the first event of each user
	taken    atomic.Int64  // how many of users have been taken up
	open     atomic.Int64  // how many events are not settled yet
	settled  chan struct{} // closed when none is open
	answered chan struct{} // closed when all results have been recorded for the answer
	// refusals counts the attempts that showed the configuration to be wrong, and
	// fault is the last of them.
	refusals atomic.Int64
	fault    atomic.Pointer[adapter.Attempt]
	passed   atomic.Bool // an event has its outcome from SaaSquatch

	mu       sync.Mutex
	results  []adapter.Result
	recorded []bool // whether a result has been recorded, so that the answer need not
	closed   bool
}

// user is whom an event is about.
type user struct{ accountID, userID string }

// delivery is one event to send.
type delivery struct {
	index  int
	mapped mapping.Result
	next   *delivery // the same user's next event
}

// maxRefusals is how many attempts must find the configuration wrong, and none
// right, before the request's other events are not tried. One is not enough: a 403
// may be about one user, and a proxy may stray once.
const maxRefusals = 3

// refused counts an attempt that found the configuration wrong.
func (r *request) refused(attempt *adapter.Attempt) {
	r.fault.Store(attempt)
	r.refusals.Add(1)
}

// gaveUp returns the attempt to blame if no event of the request can permit, else nil.
func (r *request) gaveUp() *adapter.Attempt {
	if r.refusals.Load() < maxRefusals || r.passed.Load() {
		return nil
	}
	return r.fault.Load()
}

// settle completes a result and has it recorded, unless it is pending: those are
// recorded with the answer. The outcome of an event that was answered for already
// is recorded after that answer.
func (r *request) settle(index int, record func(adapter.Result), complete func(*adapter.Result)) {
	r.mu.Lock()
	result := r.results[index]
	complete(&result)
	late := r.closed
	if !late {
		r.results[index], r.recorded[index] = result, result.Outcome.Settled()
	}
	r.mu.Unlock()

	if late {
		<-r.answered
	}
	if result.Outcome.Settled() {
		record(result)
	}
	if r.open.Add(-1) == 0 {
		close(r.settled)
	}
}

// close ends the request and returns its results, which nobody changes any more.
func (r *request) close() []adapter.Result {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	return r.results
}
