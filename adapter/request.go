package adapter

import (
	"sync"
	"sync/atomic"

	"segment-saasquatch/mapping"
)

// request is the events of one request on their way. Its results are complete
// when settled is closed; those who come after close are late.
type request struct {
	users   []*delivery  // the first event of each user
	taken   atomic.Int64 // how many of users have been taken up
	settled chan struct{}
	// misconfigured is the attempt that showed the configuration to be wrong.
	misconfigured atomic.Pointer[Attempt]

	mu      sync.Mutex
	results []Result
	open    int // how many results are still to come
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

// settle completes a result. It returns the result, and whether the request had
// been answered without it.
func (r *request) settle(index int, complete func(*Result)) (result Result, late bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	result = r.results[index]
	complete(&result)
	if r.closed {
		return result, true
	}
	r.results[index] = result
	if r.open--; r.open == 0 {
		close(r.settled)
	}
	return result, false
}

// close ends the request and returns its results, which nobody changes any more.
func (r *request) close() []Result {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	return r.results
}
