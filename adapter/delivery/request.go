package delivery

import (
	"sync"
	"sync/atomic"

	"segment-saasquatch/adapter"
	"segment-saasquatch/mapping"
)

// request is the events of one request. Its results change until close. Later results are late.
type request struct {
	users    []*directEvent // the first event of each user
	taken    atomic.Int64   // how many of users have a worker
	open     atomic.Int64   // how many events are not settled yet
	settled  chan struct{}  // closed when none is open
	answered chan struct{}  // closed when all results have been recorded for the answer

	mu       sync.Mutex
	results  []adapter.Result
	recorded []bool // whether a result has been recorded before the answer
	closed   bool
}

// user identifies the user of an event.
type user struct{ accountID, userID string }

// directEvent is an event of a request that is to be sent.
type directEvent struct {
	index  int
	mapped mapping.Result
	next   *directEvent // the same user's next event
}

// settle completes a result and records it, unless it is pending: the answer records pending
// results. The outcome of an event that was pending in the answer is recorded after the answer.
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

// close ends the request and returns its results, which do not change any more.
func (r *request) close() []adapter.Result {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	return r.results
}
