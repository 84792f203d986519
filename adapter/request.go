package adapter

import (
	"sync"
	"sync/atomic"

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
	// misconfigured is the attempt that showed the configuration to be wrong.
	misconfigured atomic.Pointer[Attempt]

	mu      sync.Mutex
	results []Result
	closed  bool
}

// user is whom an event is about.
type user struct{ accountID, userID string }

// delivery is one event to send.
type delivery struct {
	index     int
	messageID string
	event     mapping.UserEvent
	next      *delivery // the same user's next event
}

// settle completes a result and has it recorded, unless it is pending: those are
// recorded with the answer. The outcome of an event that was answered for already
// is recorded after that answer.
func (r *request) settle(index int, record func(Result), complete func(*Result)) {
	r.mu.Lock()
	result := r.results[index]
	complete(&result)
	result.recorded = result.Outcome.Settled()
	late := r.closed
	if !late {
		r.results[index] = result
	}
	r.mu.Unlock()

	if late {
		<-r.answered
	}
	if result.recorded {
		record(result)
	}
	if r.open.Add(-1) == 0 {
		close(r.settled)
	}
}

// close ends the request and returns its results, which nobody changes any more.
func (r *request) close() []Result {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	return r.results
}
